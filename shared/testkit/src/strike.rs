//! One crash at each call in turn, before it takes effect and after: what every function has to survive.

use crate::{Fault, Faults, Moment};

/// Where the one crash of a run strikes, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Strike(Option<(usize, Moment)>);

impl Strike {
    /// Arms the crash: it counts from the calls made so far, so what was set up before does not count.
    pub fn arm(self, faults: &Faults) -> Armed {
        let base = faults.calls().len();
        if let Some((call, moment)) = self.0 {
            faults.plan(base + call, moment, Fault::Crash);
        }
        Armed {
            faults: faults.clone(),
            base,
            expected: self.0.is_some(),
        }
    }
}

/// A run whose crash is armed.
#[derive(Debug)]
pub struct Armed {
    faults: Faults,
    base: usize,
    expected: bool,
}

impl Armed {
    /// Calls until it answers, with a new process after each crash, as Step Functions and Lambda do.
    ///
    /// # Panics
    /// If it fails ten times.
    #[allow(clippy::panic)] // For tests alone.
    pub async fn until_answered<T, E: std::fmt::Debug>(
        &self,
        call: impl AsyncFn() -> Result<T, E>,
    ) -> T {
        let mut last = None;
        for _ in 0..10 {
            match call().await {
                Ok(answer) => return answer,
                Err(error) => last = Some(error),
            }
            self.faults.revive();
        }
        panic!("failed ten times: {last:?}");
    }

    /// How many calls were made since the crash was armed.
    ///
    /// # Panics
    /// If the crash never struck.
    #[must_use]
    pub fn finish(self) -> usize {
        self.faults.revive();
        assert!(
            !self.expected || self.faults.struck() > 0,
            "the planned crash never struck"
        );
        self.faults.calls().len().saturating_sub(self.base)
    }
}

/// Runs once without a crash, then once with a crash before and once with a crash after each of the calls that the
/// first run made. `run` sets everything up, arms the strike, calls, checks, and answers [`Armed::finish`].
pub async fn at_every_call(run: impl AsyncFn(Strike) -> usize) {
    let calls = run(Strike(None)).await;
    assert!(calls > 0, "nothing was called");
    for call in 0..calls {
        for moment in [Moment::Before, Moment::After] {
            run(Strike(Some((call, moment)))).await;
        }
    }
}
