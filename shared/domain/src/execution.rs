//! What is stored about an execution and its stages.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ExecutionId, Status};

/// The execution's own record (`EXEC#<id>`, `META`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// Id.
    pub id: ExecutionId,
    /// Application.
    pub application: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Id of the pipeline.
    pub pipeline_id: String,
    /// Revision of the pipeline.
    pub revision: u64,
    /// Hash of the plan.
    pub plan_hash: String,
    /// State machine (version) that runs it.
    pub state_machine: String,
    /// Status.
    pub status: Status,
    /// Number of the current run; 0 while it is queued.
    pub run: u32,
    /// Set once, by whoever ends the execution first; from then on nothing new begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Paused by a person: stages answer `Waiting` and do nothing.
    #[serde(default)]
    pub paused: bool,
    /// Its pauses, oldest first, [`Pause::KEPT`] at most. The last one has no end while the execution is paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<Pause>,
    /// Somebody asked to cancel it, be it after its end: Spinnaker shows that beside the status, which stays.
    #[serde(default)]
    pub canceled: bool,
    /// When it was asked for, UTC milliseconds.
    pub build_time: i64,
    /// When its first run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
}

impl Execution {
    /// Whether somebody asked to cancel it: a person, another pipeline, or a newer execution that took its place in
    /// the queue. One that a CANCELED stage ended was not.
    #[must_use]
    pub fn was_canceled(&self, plan: &crate::Plan) -> bool {
        self.canceled
            || self.ending.as_ref().is_some_and(|ending| {
                ending.status == Status::Canceled && plan.stage(&ending.by).is_none()
            })
    }

    /// Milliseconds between two times during which it was paused.
    ///
    /// Orca remembers only the last pause, and counts all of it or nothing; here each one counts as far as it lies between.
    /// A pause that the execution's end cut off counts for nothing: what a restart runs began after it.
    #[must_use]
    pub fn paused_millis(&self, from: i64, to: i64) -> i64 {
        let within = |pause: &Pause| {
            let end = match pause.resume_time {
                Some(end) => end.min(to),
                None if self.open_pause() == Some(pause) => to,
                None => return 0,
            };
            end.saturating_sub(pause.pause_time.max(from)).max(0)
        };
        self.pauses.iter().map(within).fold(0, i64::saturating_add)
    }

    /// The pause that goes on.
    #[must_use]
    pub fn open_pause(&self) -> Option<&Pause> {
        self.pauses
            .last()
            .filter(|pause| self.paused && pause.resume_time.is_none())
    }
}

/// One pause of an execution, with Orca's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// Who paused it.
    pub paused_by: String,
    /// When, UTC milliseconds.
    pub pause_time: i64,
    /// Who resumed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_time: Option<i64>,
}

impl Pause {
    /// How many pauses of an execution are kept: some ten kilobytes. The time of older ones counts as worked again.
    pub const KEPT: usize = 100;
}

/// Why and how an execution ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// TERMINAL, CANCELED or SUCCEEDED.
    pub status: Status,
    /// What a person reads.
    pub reason: String,
    /// A stage's `refId`, a person, or `step-functions`.
    pub by: String,
    /// UTC milliseconds.
    pub at: i64,
}

/// A stage's record (`EXEC#<id>`, `STAGE#<refId>`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageRecord {
    /// `refId`.
    pub ref_id: String,
    /// Status after the stage's policy: of its own task, its sub-stages have records of their own.
    pub status: Status,
    /// What the task ended as, before the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_status: Option<Status>,
    /// Number of the run that it last belonged to.
    #[serde(default)]
    pub run: u32,
    /// When it started, UTC milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// Its configuration with every expression resolved, stored once; keys that the stage itself added.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// What dependants may read.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// What the stage remembers from one invocation to the next; nobody else reads it.
    #[serde(default)]
    pub memory: Map<String, Value>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Invocations so far.
    #[serde(default)]
    pub attempts: u32,
    /// Who works on it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Who skipped it while it ran (`manualSkip`); kept beside the record, so that nobody's answer can lose it.
    #[serde(skip)]
    pub skipped_by: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An invocation's claim on a stage's record: until it ends, no other invocation acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Request id of the invocation.
    pub holder: String,
    /// The invocation's own deadline, UTC milliseconds.
    pub until: i64,
}

/// Why a stage failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What a person reads.
    pub reason: String,
    /// Operation, resource, request id and the like.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl StageRecord {
    /// The record of a stage that has not started.
    #[must_use]
    pub fn not_started(ref_id: &str) -> Self {
        Self {
            ref_id: ref_id.to_owned(),
            status: Status::NotStarted,
            task_status: None,
            run: 0,
            start_time: None,
            end_time: None,
            context: Map::new(),
            outputs: Map::new(),
            memory: Map::new(),
            waiting: None,
            attempts: 0,
            lease: None,
            skipped_by: None,
            failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn execution(paused: bool, pauses: &[(i64, Option<i64>)]) -> Execution {
        let pauses: Vec<Value> = pauses
            .iter()
            .map(|(from, to)| json!({ "pausedBy": "ada", "pauseTime": from, "resumeTime": to }))
            .collect();
        serde_json::from_value(json!({
            "id": ExecutionId::derive(1, &["pauses"]), "application": "shop", "pipeline": "release",
            "pipelineId": "p", "revision": 1, "planHash": "", "stateMachine": "", "status": "RUNNING",
            "run": 1, "buildTime": 1, "paused": paused, "pauses": pauses,
        }))
        .unwrap()
    }

    #[test]
    fn only_what_lies_between_two_times_counts_as_paused() {
        let twice = execution(false, &[(100, Some(200)), (500, Some(600))]);
        assert_eq!(twice.paused_millis(0, 1_000), 200);
        assert_eq!(twice.paused_millis(150, 550), 50 + 50);
        assert_eq!(twice.paused_millis(200, 500), 0);
        assert_eq!(twice.paused_millis(600, 100), 0, "a time that is none");
    }

    #[test]
    fn a_pause_that_goes_on_counts_until_now_and_one_that_an_end_cut_off_does_not() {
        let open = execution(true, &[(100, None)]);
        assert_eq!(open.paused_millis(0, 150), 50);
        assert_eq!(open.open_pause().map(|pause| pause.pause_time), Some(100));
        let cut_off = execution(false, &[(100, None)]);
        assert_eq!(cut_off.paused_millis(0, 150), 0);
        let again = execution(true, &[(100, None), (300, None)]);
        assert_eq!(again.paused_millis(0, 350), 50);
    }
}
