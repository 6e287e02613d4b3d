//! What a definition costs: states, transitions, history events, bytes.

use gennaker_domain::error_name::Poll;
use serde::Serialize;

use crate::{
    catalog::Waiting,
    emit::JOIN_LOOKS_AGAIN_SECONDS,
    graph::Flow,
    lower::{Lowered, Step, Task},
};

/// What one execution of a pipeline uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// States of the definition.
    pub states: u64,
    /// State transitions, which is what Step Functions charges: one for each state entered and for each retry.
    pub transitions: Transitions,
    /// History events, of which AWS allows 25,000 in an execution.
    pub events: Events,
    /// Bytes of the compact definition.
    pub bytes: usize,
}

/// Interval of transitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transitions {
    /// If nothing has to wait.
    pub min: u64,
    /// If server groups take some minutes each, and people and other pipelines answer within the hour.
    pub expected: u64,
    /// If every stage works until its time-out.
    pub max: u64,
}

/// Number of history events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// If every stage works until its time-out.
    pub max: u64,
}

/// `ExecutionStarted` and how it ended.
const EXECUTION_EVENTS: u64 = 2;
/// `TaskStateEntered`, `TaskScheduled`, `TaskStarted`, `TaskSucceeded`, `TaskStateExited`.
const TASK_EVENTS: u64 = 5;
/// `TaskSubmitted` of a `waitForTaskToken`.
const TOKEN_EVENTS: u64 = 1;
/// `TaskFailed` or `TaskTimedOut`, `TaskScheduled`, `TaskStarted`.
const RETRY_EVENTS: u64 = 3;
/// `ParallelStateEntered`, `ParallelStateStarted`, `ParallelStateSucceeded`, `ParallelStateExited`.
const PARALLEL_EVENTS: u64 = 4;
/// What a stage that watches the world usually needs, in seconds.
const USUAL_SECONDS: u64 = 60;
/// A join that waits longer than this is taken to have lost its wake-up: one day bounds its events.
const JOIN_LIMIT_SECONDS: u64 = 86_400;

/// Adds up a lowered pipeline. `states` and `bytes` are those of its definition.
#[must_use]
pub fn figures(lowered: &Lowered, states: u64, bytes: usize) -> Figures {
    let mut sum = Figures {
        states,
        bytes,
        events: Events {
            max: EXECUTION_EVENTS,
        },
        ..Figures::default()
    };
    add(&lowered.flow, lowered, &mut sum);
    sum
}

fn add(flow: &Flow<Step>, lowered: &Lowered, sum: &mut Figures) {
    match flow {
        Flow::Step(step) => {
            let cost = match step {
                Step::Work(stage) => lowered.tasks.get(*stage).copied().flatten().map(cost),
                Step::Join(_) => Some(join_cost()),
            };
            let Some(cost) = cost else { return };
            sum.transitions.min += 1 + cost.least;
            sum.transitions.expected += 1 + cost.usual;
            sum.transitions.max += 1 + cost.most;
            let token = if cost.woken { TOKEN_EVENTS } else { 0 };
            sum.events.max += TASK_EVENTS + token + cost.most * (RETRY_EVENTS + token);
        }
        Flow::Series(parts) => parts.iter().for_each(|part| add(part, lowered, sum)),
        Flow::Parallel(parts) => {
            sum.transitions.min += 1;
            sum.transitions.expected += 1;
            sum.transitions.max += 1;
            sum.events.max += PARALLEL_EVENTS;
            parts.iter().for_each(|part| add(part, lowered, sum));
        }
    }
}

struct Cost {
    least: u64,
    usual: u64,
    most: u64,
    woken: bool,
}

fn cost(task: Task) -> Cost {
    match task.waiting {
        Waiting::Polled => {
            let most = Poll::count(task.time_limit_seconds);
            let usual = Poll::count(task.usual_seconds.unwrap_or(USUAL_SECONDS)).min(most);
            Cost {
                least: 0,
                usual,
                most,
                woken: false,
            }
        }
        Waiting::Woken { look_again_seconds } => {
            let every = u64::from(look_again_seconds.max(1));
            let looks = task.time_limit_seconds.div_ceil(every);
            // A literal wait is ended by its own time-out; the clocks of two services may need one look more.
            let literal = task.usual_seconds.is_some();
            Cost {
                least: u64::from(literal),
                usual: u64::from(literal),
                most: looks + u64::from(literal),
                woken: true,
            }
        }
    }
}

fn join_cost() -> Cost {
    Cost {
        least: 0,
        usual: 0,
        most: JOIN_LIMIT_SECONDS / u64::from(JOIN_LOOKS_AGAIN_SECONDS),
        woken: true,
    }
}
