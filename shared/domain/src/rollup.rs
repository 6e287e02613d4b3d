//! Statuses that are computed, never stored: of a stage from its task and its sub-stages, of an execution from its
//! stages. The rules are Orca's (`CompleteStageHandler`, `CompleteExecutionHandler`).

use std::collections::HashMap;

use crate::{FailurePolicy, Owner, Plan, Predecessor, StageRecord, Status};

/// Records by `refId`.
pub type Records = HashMap<String, StageRecord>;

/// Status of the stage's own task: of a stage without one, what its sub-stages make of it.
#[must_use]
pub fn task_status(records: &Records, ref_id: &str) -> Status {
    records
        .get(ref_id)
        .map_or(Status::NotStarted, |record| record.status)
}

/// Status of a stage with all its sub-stages.
///
/// Over the children and the stage's own task: any TERMINAL goes through the stage's own policy; STOPPED, CANCELED
/// and FAILED_CONTINUE are passed on; all SUCCEEDED or SKIPPED is SUCCEEDED; otherwise it is RUNNING once anything
/// has started. On-failure sub-stages never change the status: they only run when it is decided.
#[must_use]
pub fn stage_status(plan: &Plan, records: &Records, ref_id: &str) -> Status {
    let Some(stage) = plan.stage(ref_id) else {
        return Status::NotStarted;
    };
    let own = task_status(records, ref_id);
    let mut parts: Vec<Status> = plan
        .children(ref_id)
        .filter(|child| child.owner != Some(Owner::OnFailure))
        .map(|child| stage_status(plan, records, &child.ref_id))
        .collect();
    if parts.is_empty() {
        return own;
    }
    // The whole stage was skipped, or settled by finalize: its record says so whatever its sub-stages did.
    if stage.function.is_none() && own.is_complete() {
        return own;
    }
    if stage.function.is_some() {
        parts.push(own);
    }
    let any = |status: Status| parts.contains(&status);
    let failures_running = plan
        .children(ref_id)
        .filter(|child| child.owner == Some(Owner::OnFailure))
        .any(|child| stage_status(plan, records, &child.ref_id) == Status::Running);
    if failures_running {
        return Status::Running;
    }
    if any(Status::Terminal) {
        let context = records
            .get(ref_id)
            .filter(|r| !r.context.is_empty())
            .map_or(&stage.context, |r| &r.context);
        return FailurePolicy::of(context).outcome(Status::Terminal);
    }
    for passed_on in [Status::Stopped, Status::Canceled, Status::FailedContinue] {
        if any(passed_on) {
            return passed_on;
        }
    }
    if parts.iter().all(|status| *status == Status::NotStarted) {
        Status::NotStarted
    } else if parts
        .iter()
        .all(|status| matches!(status, Status::Succeeded | Status::Skipped))
    {
        if parts.iter().all(|status| *status == Status::Skipped) {
            Status::Skipped
        } else {
            Status::Succeeded
        }
    } else {
        Status::Running
    }
}

/// Whether a stage may start, as its predecessors stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All are complete and none halted.
    Ready,
    /// One halted: the stage never starts.
    Never {
        /// Which one.
        because_of: String,
    },
    /// These are not complete.
    NotYet {
        /// Their `refId`s.
        missing: Vec<String>,
    },
}

/// Whether the stage may start.
#[must_use]
pub fn readiness(plan: &Plan, records: &Records, ref_id: &str) -> Readiness {
    let Some(stage) = plan.stage(ref_id) else {
        return Readiness::NotYet {
            missing: Vec::new(),
        };
    };
    let status_of = |predecessor: &Predecessor| {
        if predecessor.whole {
            stage_status(plan, records, &predecessor.ref_id)
        } else {
            task_status(records, &predecessor.ref_id)
        }
    };
    let mut missing = Vec::new();
    for predecessor in &stage.starts_after {
        let status = status_of(predecessor);
        if stage.owner == Some(Owner::OnFailure) {
            if !status.is_complete() {
                missing.push(predecessor.ref_id.clone());
            }
        } else if status.is_halt() || never_starts(plan, records, &predecessor.ref_id) {
            return Readiness::Never {
                because_of: predecessor.ref_id.clone(),
            };
        } else if !status.lets_dependants_start() {
            missing.push(predecessor.ref_id.clone());
        }
    }
    if missing.is_empty() {
        Readiness::Ready
    } else {
        Readiness::NotYet { missing }
    }
}

/// Whether a stage that has not started never will, because something it starts after halted.
fn never_starts(plan: &Plan, records: &Records, ref_id: &str) -> bool {
    // Graphs are acyclic, and a plan of 1,000 stages may be as deep: a work list, not recursion.
    let mut seen: Vec<&str> = vec![ref_id];
    let mut at = 0;
    while let Some(current) = seen.get(at).copied() {
        at += 1;
        let Some(stage) = plan.stage(current) else {
            continue;
        };
        if stage_status(plan, records, current) != Status::NotStarted {
            continue;
        }
        for predecessor in &stage.starts_after {
            if stage_status(plan, records, &predecessor.ref_id).is_halt() {
                return true;
            }
            if !seen.contains(&predecessor.ref_id.as_str()) {
                seen.push(&predecessor.ref_id);
            }
        }
    }
    false
}

/// Status of an execution from its top-level stages; RUNNING while it is not decided.
///
/// In order: all SUCCEEDED, SKIPPED or FAILED_CONTINUE is SUCCEEDED; any TERMINAL is TERMINAL; any CANCELED is
/// CANCELED; any STOPPED with no other branch to go on is TERMINAL if a stopped stage has
/// `completeOtherBranchesThenFail`, else SUCCEEDED.
#[must_use]
pub fn execution_status(plan: &Plan, records: &Records) -> Status {
    let top: Vec<(&crate::PlanStage, Status)> = plan
        .stages
        .iter()
        .filter(|stage| stage.parent.is_none())
        .map(|stage| (stage, stage_status(plan, records, &stage.ref_id)))
        .collect();
    if top.is_empty() {
        return Status::Terminal;
    }
    let any = |wanted: Status| top.iter().any(|(_, status)| *status == wanted);
    if top.iter().all(|(_, status)| status.lets_dependants_start()) {
        return Status::Succeeded;
    }
    for decided in [Status::Terminal, Status::Canceled] {
        if any(decided) {
            return decided;
        }
    }
    let goes_on = top.iter().any(|(stage, status)| {
        *status == Status::Running
            || (*status == Status::NotStarted
                && readiness(plan, records, &stage.ref_id) == Readiness::Ready)
    });
    if any(Status::Stopped) && !goes_on {
        let fails = plan.stages.iter().any(|stage| {
            stage_status(plan, records, &stage.ref_id) == Status::Stopped && {
                let context = records
                    .get(&stage.ref_id)
                    .filter(|r| !r.context.is_empty())
                    .map_or(&stage.context, |r| &r.context);
                FailurePolicy::of(context).fails_pipeline_at_the_end()
            }
        });
        return if fails {
            Status::Terminal
        } else {
            Status::Succeeded
        };
    }
    Status::Running
}
