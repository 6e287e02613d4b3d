//! Who of a pipeline's executions runs: slots, the queue, and the first call of a run.
//!
//! `start`, `finalize`, `decide` and `sweep` all come here, and any of them can finish what another one began: every
//! step is decided from what is stored.

use gennaker_domain::{Ending, Execution, ExecutionId, Plan, Status};
use serde_json::json;

use crate::step_functions::Started;
use crate::store::slots::Queued;
use crate::{CloudError, StepFunctions, Store};

/// Orca's reason for the executions that a newer one supersedes.
pub const SUPERSEDED: &str = "This execution was queued but then canceled because a newer queued execution superceded it. \
This pipeline is configured to automatically cancel waiting executions.";

/// How many executions of a pipeline may run at the same time; none is no limit.
#[must_use]
pub fn slot_count(plan: &Plan) -> Option<usize> {
    if plan.limit_concurrent {
        return Some(1);
    }
    match plan.max_concurrent_executions {
        0 => None,
        n => usize::try_from(n).ok(),
    }
}

/// What to do with a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: nobody waits, or no slot is free.
    Nothing,
    /// This one runs; these are cancelled.
    Run {
        /// Which one.
        run: Queued,
        /// Superseded by it.
        cancel: Vec<Queued>,
    },
}

/// Who runs next: with `keep_waiting` the oldest, else the newest, and the others are cancelled.
///
/// `queue` is oldest first, `holders` the number of slots that are taken, `slots` how many there are.
#[must_use]
pub fn next(queue: &[Queued], holders: usize, slots: Option<usize>, keep_waiting: bool) -> Next {
    if slots.is_some_and(|slots| holders >= slots) {
        return Next::Nothing;
    }
    let chosen = if keep_waiting {
        queue.split_first()
    } else {
        queue.split_last()
    };
    match chosen {
        None => Next::Nothing,
        Some((run, others)) => Next::Run {
            run: run.clone(),
            cancel: if keep_waiting {
                Vec::new()
            } else {
                others.to_vec()
            },
        },
    }
}

/// Starts the current run of an execution in Step Functions, once: its name is the run's.
///
/// # Errors
/// Those of Step Functions; `StateMachineDoesNotExist` if the version is gone.
pub async fn launch(
    step_functions: &dyn StepFunctions,
    execution: &Execution,
) -> Result<Started, CloudError> {
    let run = execution.id.run(execution.run);
    step_functions
        .start(&execution.state_machine, &run.to_string(), &json!({}))
        .await
}

/// Starts whoever of the pipeline's queue may run now, and cancels whom they supersede. Answers the executions that
/// were started and those that were cancelled.
///
/// Slots of executions that have ended are given back here, so a slot can never be lost. `plan` is the plan whose
/// limits hold: that of the pipeline's current revision.
///
/// # Errors
/// Those of the table and of Step Functions. What was decided stays: the next call goes on.
pub async fn promote(
    store: &Store,
    step_functions: &dyn StepFunctions,
    pipeline_id: &str,
    plan: &Plan,
    now: i64,
) -> Result<Promoted, CloudError> {
    // Each round either starts somebody, mends something or lost a race that somebody else won.
    const ROUNDS: usize = 100;
    let mut promoted = Promoted::default();
    for _ in 0..ROUNDS {
        let queue = store.queue(pipeline_id).await?;
        if queue.is_empty() {
            return Ok(promoted);
        }
        let slots = store.slots(pipeline_id).await?;
        let mut ended: Vec<ExecutionId> = Vec::new();
        for holder in &slots.holders {
            // One that waits has no slot: it had one in an earlier run, before its restart was queued.
            let over = store.execution(holder).await?.is_none_or(|execution| {
                execution.status.is_complete() || execution.status == Status::NotStarted
            });
            if over {
                ended.push(holder.clone());
            }
        }
        let holders = slots.holders.len().saturating_sub(ended.len());
        let Next::Run { run, cancel } = next(
            &queue,
            holders,
            slot_count(plan),
            plan.keep_waiting_pipelines,
        ) else {
            return Ok(promoted);
        };
        for other in &cancel {
            if cancel_queued(store, other, pipeline_id, now).await? {
                promoted.canceled.push(other.execution.clone());
            }
        }
        let execution = store.execution(&run.execution).await?;
        let Some(execution) = execution.filter(|e| e.status == Status::NotStarted) else {
            store.leave_queue(pipeline_id, &run).await?;
            continue;
        };
        let taken = store
            .change_slots(pipeline_id, &slots, &ended, Some((&run, &execution, now)))
            .await?;
        if taken && let Some(execution) = store.execution(&run.execution).await? {
            launch(step_functions, &execution).await?;
            promoted.started.push(execution.id);
        }
    }
    Ok(promoted)
}

/// What [`promote`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// Executions that run now.
    pub started: Vec<ExecutionId>,
    /// Executions that were superseded.
    pub canceled: Vec<ExecutionId>,
}

/// Cancels one that a newer one supersedes; whether it is cancelled now.
async fn cancel_queued(
    store: &Store,
    queued: &Queued,
    pipeline_id: &str,
    now: i64,
) -> Result<bool, CloudError> {
    let waiting = store.execution(&queued.execution).await?;
    match waiting {
        Some(execution) if execution.status == Status::NotStarted => {
            let ending = Ending {
                status: Status::Canceled,
                reason: SUPERSEDED.to_owned(),
                by: "start".to_owned(),
                at: now,
            };
            store
                .cancel_queued(&execution, queued, &ending, false)
                .await
        }
        // A person cancelled it while it waited; it kept its place until now.
        Some(execution) if execution.status == Status::Canceled => {
            let ending = Ending {
                reason: SUPERSEDED.to_owned(),
                ..execution.ending.clone().unwrap_or(Ending {
                    status: Status::Canceled,
                    reason: String::new(),
                    by: "start".to_owned(),
                    at: now,
                })
            };
            store
                .supersede_canceled(&execution, queued, &ending)
                .await?;
            Ok(false)
        }
        _ => {
            store.leave_queue(pipeline_id, queued).await?;
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(n: i64) -> Queued {
        Queued {
            execution: ExecutionId::derive(n, &["queue"]),
            at: n,
        }
    }

    #[test]
    fn the_oldest_runs_next_where_pipelines_keep_waiting_else_the_newest_alone() {
        let queue = [queued(1), queued(2), queued(3)];
        assert_eq!(
            next(&queue, 0, Some(1), true),
            Next::Run {
                run: queued(1),
                cancel: Vec::new()
            }
        );
        assert_eq!(
            next(&queue, 0, Some(1), false),
            Next::Run {
                run: queued(3),
                cancel: vec![queued(1), queued(2)]
            }
        );
    }

    #[test]
    fn nobody_runs_while_no_slot_is_free() {
        assert_eq!(next(&[queued(1)], 1, Some(1), true), Next::Nothing);
        assert_eq!(next(&[queued(1)], 3, Some(2), false), Next::Nothing);
        assert_eq!(next(&[], 0, None, true), Next::Nothing);
        assert_ne!(next(&[queued(1)], 3, None, true), Next::Nothing);
    }
}
