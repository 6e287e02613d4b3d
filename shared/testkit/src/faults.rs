//! Faults at chosen calls: before they take effect, or after, with the answer lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gennaker_cloud::CloudError;

use crate::Strike;

/// When a fault strikes, as the caller cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call never took effect.
    Before,
    /// The call took effect, and the answer was lost.
    After,
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies: this call and every later one fails until [`Faults::revive`].
    Crash,
    /// AWS asks to slow down. Only sensible before the call takes effect.
    Throttle,
    /// This one call gets no answer.
    NoAnswer,
    /// This one description misses what was created less than half a minute ago. Only for calls that describe.
    Stale,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    call: usize,
    moment: Moment,
    fault: Fault,
}

/// What happens while a call is under way.
type Meanwhile = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    calls: Vec<String>,
    meanwhile: Option<(usize, Meanwhile)>,
    planned: Vec<Planned>,
    struck: usize,
    dead: bool,
    stale: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("calls", &self.calls.len())
            .field("planned", &self.planned)
            .field("struck", &self.struck)
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

/// Counts the calls of everything that shares it and makes chosen ones fail.
///
/// A world and a table that share one `Faults` count together, so "the seventh call" is the seventh of the stage,
/// whichever service it goes to.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

impl Faults {
    /// None planned.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the lock has its own message; the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a fault at call number `call`, counted from 0 since the beginning.
    pub fn plan(&self, call: usize, moment: Moment, fault: Fault) {
        self.state().planned.push(Planned {
            call,
            moment,
            fault,
        });
    }

    /// Plans a strike at a call from now on, if there is one to plan; how many calls there were before.
    #[allow(clippy::must_use_candidate)]
    pub fn arm(&self, strike: Option<Strike>) -> usize {
        let first = self.made();
        if let Some((call, moment, fault)) = strike {
            self.plan(first.saturating_add(call), moment, fault);
        }
        first
    }

    /// Does something in the middle of call number `call`, before it takes effect: another process that is at work at the
    /// same time. What it calls counts as well.
    pub fn meanwhile(&self, call: usize, what: impl FnOnce() + Send + 'static) {
        self.state().meanwhile = Some((call, Box::new(what)));
    }

    /// Names of the calls so far, such as `autoscaling:CreateAutoScalingGroup`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// How many calls there were so far.
    #[must_use]
    pub fn made(&self) -> usize {
        self.state().calls.len()
    }

    /// Names of the calls from this number on.
    #[must_use]
    pub fn calls_from(&self, first: usize) -> Vec<String> {
        self.state().calls.iter().skip(first).cloned().collect()
    }

    /// How many planned faults struck.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.state().struck
    }

    /// Whether a crash struck and [`Faults::revive`] was not called since.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// A new process after a crash.
    pub fn revive(&self) {
        self.state().dead = false;
    }

    /// Registers a call before it takes effect; its number is for [`Faults::after`].
    ///
    /// # Errors
    /// The planned fault, if it strikes before.
    pub fn before(&self, operation: &str, resource: &str) -> Result<usize, CloudError> {
        let mut state = self.state();
        if state.dead {
            return Err(no_answer(operation, resource));
        }
        let call = state.calls.len();
        state.calls.push(operation.to_owned());
        let meanwhile = state.meanwhile.take_if(|(at, _)| *at == call);
        drop(state);
        if let Some((_, what)) = meanwhile {
            what();
        }
        self.strike(call, Moment::Before, operation, resource)?;
        Ok(call)
    }

    /// Whether the description that was just registered is to miss what is new; asked once.
    #[must_use]
    pub fn take_stale(&self) -> bool {
        std::mem::take(&mut self.state().stale)
    }

    /// Registers that a call took effect.
    ///
    /// # Errors
    /// The planned fault, if it strikes after.
    pub fn after(&self, call: usize, operation: &str, resource: &str) -> Result<(), CloudError> {
        self.strike(call, Moment::After, operation, resource)
    }

    fn strike(
        &self,
        call: usize,
        moment: Moment,
        operation: &str,
        resource: &str,
    ) -> Result<(), CloudError> {
        let mut state = self.state();
        let Some(planned) = state
            .planned
            .iter()
            .find(|planned| planned.call == call && planned.moment == moment)
            .copied()
        else {
            return Ok(());
        };
        state.struck += 1;
        match planned.fault {
            Fault::Crash => {
                state.dead = true;
                Err(no_answer(operation, resource))
            }
            Fault::NoAnswer => Err(no_answer(operation, resource)),
            Fault::Stale => {
                state.stale = true;
                Ok(())
            }
            Fault::Throttle => Err(CloudError::Throttled {
                operation: operation.to_owned(),
                message: "rate exceeded".to_owned(),
            }),
        }
    }
}

fn no_answer(operation: &str, resource: &str) -> CloudError {
    CloudError::NoAnswer {
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        message: "the connection was lost".to_owned(),
    }
}
