//! What a definition costs: states, transitions, history events, bytes.

use std::collections::HashMap;

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
    let ends = latest_ends(lowered);
    add(&lowered.flow, lowered, &ends, &mut sum);
    sum
}

/// By stage of the plan, the time by which it is over if every stage works until its time-out, in seconds from the
/// start: what bounds a join.
fn latest_ends(lowered: &Lowered) -> Vec<u64> {
    let index: HashMap<&str, usize> = lowered
        .stages
        .iter()
        .enumerate()
        .map(|(at, stage)| (stage.ref_id.as_str(), at))
        .collect();
    // A top-level stage and its sub-stages one after the other: too long for those side by side, which is safe.
    let mut lengths = vec![0_u64; lowered.stages.len()];
    let mut tops = vec![0_usize; lowered.stages.len()];
    let mut top = 0;
    for (at, stage) in lowered.stages.iter().enumerate() {
        if stage.parent.is_none() {
            top = at;
        }
        let task = lowered.tasks.get(at).copied().flatten();
        if let Some(length) = lengths.get_mut(top) {
            *length = length.saturating_add(task.map_or(0, |task| task.time_limit_seconds));
        }
        if let Some(slot) = tops.get_mut(at) {
            *slot = top;
        }
    }
    // Stages come in the pipeline's order, not the graph's: depth first over requisites, without recursion.
    let mut ends: Vec<Option<u64>> = vec![None; lowered.stages.len()];
    for start in 0..lowered.stages.len() {
        let mut open = vec![start];
        while let Some(at) = open.last().copied() {
            let stage = lowered.stages.get(at);
            if ends.get(at).copied().flatten().is_some() || stage.is_none_or(|s| s.parent.is_some())
            {
                open.pop();
                continue;
            }
            let requisites: Vec<usize> = stage
                .into_iter()
                .flat_map(|stage| &stage.requisites)
                .filter_map(|requisite| index.get(requisite.as_str()).copied())
                .collect();
            let missing: Vec<usize> = requisites
                .iter()
                .copied()
                .filter(|requisite| ends.get(*requisite).copied().flatten().is_none())
                .collect();
            if missing.is_empty() {
                let begins = requisites
                    .iter()
                    .filter_map(|requisite| ends.get(*requisite).copied().flatten())
                    .max()
                    .unwrap_or(0);
                let length = lengths.get(at).copied().unwrap_or(0);
                if let Some(slot) = ends.get_mut(at) {
                    *slot = Some(begins.saturating_add(length));
                }
                open.pop();
            } else {
                open.extend(missing);
            }
        }
    }
    tops.into_iter()
        .map(|top| ends.get(top).copied().flatten().unwrap_or(0))
        .collect()
}

fn add(flow: &Flow<Step>, lowered: &Lowered, ends: &[u64], sum: &mut Figures) {
    match flow {
        Flow::Step(step) => {
            let cost = match step {
                Step::Work(stage) => lowered.tasks.get(*stage).copied().flatten().map(cost),
                Step::Join(stage) => Some(join_cost(lowered, ends, *stage)),
            };
            let Some(cost) = cost else { return };
            sum.transitions.min += 1 + cost.least;
            sum.transitions.expected += 1 + cost.usual;
            sum.transitions.max += 1 + cost.most;
            let token = if cost.woken { TOKEN_EVENTS } else { 0 };
            sum.events.max += TASK_EVENTS + token + cost.most * (RETRY_EVENTS + token);
        }
        Flow::Series(parts) => parts.iter().for_each(|part| add(part, lowered, ends, sum)),
        Flow::Parallel(parts) => {
            sum.transitions.min += 1;
            sum.transitions.expected += 1;
            sum.transitions.max += 1;
            sum.events.max += PARALLEL_EVENTS;
            parts.iter().for_each(|part| add(part, lowered, ends, sum));
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

/// A join waits until the last requisite is over, from the start at worst.
fn join_cost(lowered: &Lowered, ends: &[u64], stage: usize) -> Cost {
    let length = lowered
        .tasks
        .get(stage)
        .copied()
        .flatten()
        .map_or(0, |task| task.time_limit_seconds);
    let waits = ends.get(stage).copied().unwrap_or(0).saturating_sub(length);
    Cost {
        least: 0,
        usual: 0,
        most: waits.div_ceil(u64::from(JOIN_LOOKS_AGAIN_SECONDS)),
        woken: true,
    }
}
