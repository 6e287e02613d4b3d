//! How an execution ended, what has to be undone, and what every stage's final status is: decisions, no calls.

use gennaker_cloud::step_functions::MachineStatus;
use gennaker_domain::policy::fails_on_expressions;
use gennaker_domain::rollup::{self, Records, Rollup};
use gennaker_domain::{Ending, Failure, FailurePolicy, Intent, Owner, Plan, StageRecord, Status};
use serde_json::Value;

/// Who ended an execution that nobody ended before its machine did.
pub const STEP_FUNCTIONS: &str = "step-functions";

/// What is said of a stage whose function died and never came back.
const NO_ANSWER: &str = "its function ended without an answer";

/// The record of a stage that its Task left RUNNING: TERMINAL, through the stage's policy.
fn given_up(plan: &Plan, record: &StageRecord, reason: &str, now: i64) -> StageRecord {
    let context = if record.context.is_empty() {
        plan.stage(&record.ref_id).map(|stage| &stage.context)
    } else {
        Some(&record.context)
    };
    let policy = context.map(FailurePolicy::of).unwrap_or_default();
    StageRecord {
        status: policy.outcome(Status::Terminal),
        task_status: Some(Status::Terminal),
        end_time: Some(now),
        waiting: None,
        lease: None,
        failure: Some(Failure {
            reason: reason.to_owned(),
            details: Value::Null,
        }),
        ..record.clone()
    }
}

fn is_open(record: &StageRecord) -> bool {
    !record.status.is_complete() && record.status != Status::NotStarted
}

/// The message in a cause: Lambda's are JSON with an `errorMessage`.
#[must_use]
pub fn message(cause: &str) -> String {
    serde_json::from_str::<Value>(cause)
        .ok()
        .as_ref()
        .and_then(|cause| cause.get("errorMessage"))
        .and_then(Value::as_str)
        .unwrap_or(cause)
        .to_owned()
}

/// How the execution ends if nobody has said so before its machine ended.
///
/// A machine that succeeded says nothing about the stages: their records do, and what the machine left RUNNING is
/// settled by its policy. A machine that failed without `ending` died of something that no stage answered.
#[must_use]
pub fn ending(
    plan: &Plan,
    records: &Records,
    machine: MachineStatus,
    cause: Option<&str>,
    now: i64,
) -> Ending {
    let cause = cause.filter(|cause| !cause.is_empty()).map(message);
    let said = |what: &str| match &cause {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    };
    let (status, reason) = match machine {
        MachineStatus::Succeeded => return from_records(plan, records, now),
        MachineStatus::Aborted => (
            Status::Canceled,
            said("the execution was stopped in Step Functions"),
        ),
        MachineStatus::TimedOut => (Status::Terminal, said("the state machine's time ran out")),
        MachineStatus::Failed | MachineStatus::Running => {
            (Status::Terminal, said("the state machine failed"))
        }
    };
    Ending {
        status,
        reason,
        by: STEP_FUNCTIONS.to_owned(),
        at: now,
    }
}

fn from_records(plan: &Plan, records: &Records, now: i64) -> Ending {
    let ending = |(status, reason): (Status, String), by: &str| Ending {
        status,
        reason,
        by: by.to_owned(),
        at: now,
    };
    let settled: Records = records
        .iter()
        .map(|(ref_id, record)| {
            let record = if is_open(record) {
                given_up(plan, record, NO_ANSWER, now)
            } else {
                record.clone()
            };
            (ref_id.clone(), record)
        })
        .collect();
    let rollup = Rollup::new(plan, &settled);
    let status = rollup.execution_status();
    // Nobody asked to cancel it: a stage is CANCELED.
    let canceled = plan
        .stages
        .iter()
        .filter(|_| status == Status::Canceled)
        .find(|stage| rollup.status(&stage.ref_id) == Status::Canceled);
    let by = canceled.map_or(STEP_FUNCTIONS, |stage| stage.ref_id.as_str());
    let found = match status {
        Status::Succeeded => (Status::Succeeded, "all stages are complete".to_owned()),
        status @ (Status::Terminal | Status::Canceled) => {
            let halted: Vec<String> = plan
                .stages
                .iter()
                .filter(|stage| rollup::task_status(&settled, &stage.ref_id).is_halt())
                .map(|stage| format!("`{}` ({})", stage.name, stage.ref_id))
                .collect();
            let reason = if halted.is_empty() {
                "a stage failed".to_owned()
            } else {
                format!("stages that failed: {}", halted.join(", "))
            };
            (status, reason)
        }
        _ => {
            let open: Vec<&str> = plan
                .stages
                .iter()
                .filter(|stage| stage.parent.is_none())
                .filter(|stage| !rollup.status(&stage.ref_id).is_complete())
                .map(|stage| stage.ref_id.as_str())
                .collect();
            (
                Status::Terminal,
                format!(
                    "the state machine ended before these stages: {}",
                    open.join(", ")
                ),
            )
        }
    };
    ending(found, by)
}

/// When the last lease runs out that must be waited for, UTC milliseconds: of a stage with one of these open intents,
/// or of every running stage (`intents` none). None if there is nothing to wait for.
#[must_use]
pub fn lease_until(records: &Records, intents: Option<&[Intent]>, now: i64) -> Option<i64> {
    records
        .values()
        .filter(|record| is_open(record))
        .filter(|record| {
            intents.is_none_or(|intents| {
                intents
                    .iter()
                    .any(|intent| !intent.closed && intent.stage == record.ref_id)
            })
        })
        .filter_map(|record| record.lease.as_ref())
        .map(|lease| lease.until)
        .filter(|until| *until > now)
        .max()
}

/// What becomes of an open intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Its change stays, for this reason.
    Keep(&'static str),
    /// It is undone.
    Undo,
}

/// What becomes of an open intent of `stage`: its change stays if the execution succeeded, or its top-level stage did, or
/// if the deployment that it is a part of went back by itself.
#[must_use]
pub fn duty(plan: &Plan, records: &Records, ending: &Ending, stage: &str) -> Duty {
    let rollup = Rollup::new(plan, records);
    let is_complete = ending.status == Status::Succeeded
        || plan
            .top_level(stage)
            .is_some_and(|top| rollup.status(&top.ref_id).lets_dependants_start());
    if is_complete {
        Duty::Keep("its stage is complete")
    } else if went_back(plan, &rollup, stage) {
        Duty::Keep("its deployment rolled itself back")
    } else {
        Duty::Undo
    }
}

/// Whether the stage is a part of a deployment whose own sub-stages for a failure (`rollback.onFailure`) have brought it
/// where it is to be: a rollback succeeded, and each of the others did or had nothing to do. A sub-stage that failed or
/// was cut short leaves everything to be undone.
fn went_back(plan: &Plan, rollup: &Rollup<'_>, stage: &str) -> bool {
    plan.lineage(stage).iter().any(|of| {
        let sub_stages: Vec<(&str, Status)> = plan
            .children(&of.ref_id)
            .filter(|child| child.owner == Some(Owner::OnFailure))
            .map(|child| (child.stage_type.as_str(), rollup.status(&child.ref_id)))
            .collect();
        let rolled_back = sub_stages.iter().any(|(stage_type, status)| {
            matches!(*stage_type, "rollbackCluster" | "rollbackServerGroup")
                && *status == Status::Succeeded
        });
        rolled_back
            && sub_stages
                .iter()
                .all(|(_, status)| matches!(status, Status::Succeeded | Status::Skipped))
    })
}

/// The final records of stages that are not complete but have started; the others stay as they are.
///
/// CANCELED, as Orca ends what runs while its execution halts. A stage whose function died with its lease is what
/// failed a machine that nobody ended: it is TERMINAL with that reason. Seen past its Task, it is settled by its
/// policy.
#[must_use]
pub fn final_records(
    plan: &Plan,
    records: &Records,
    ending: &Ending,
    now: i64,
) -> Vec<StageRecord> {
    let mut open: Vec<&StageRecord> = records.values().filter(|record| is_open(record)).collect();
    open.sort_by(|a, b| a.ref_id.cmp(&b.ref_id));
    open.into_iter()
        .map(|record| match ending.status {
            Status::Succeeded => given_up(plan, record, NO_ANSWER, now),
            Status::Terminal if ending.by == STEP_FUNCTIONS && record.lease.is_some() => {
                given_up(plan, record, &ending.reason, now)
            }
            _ => StageRecord {
                status: if fails_on_expressions(&record.context) {
                    Status::Terminal
                } else {
                    Status::Canceled
                },
                task_status: Some(Status::Canceled),
                end_time: Some(now),
                waiting: None,
                lease: None,
                ..record.clone()
            },
        })
        .collect()
}
