//! Which execution may change a cluster, and how long.
//!
//! A stage that changes server groups takes the lock of their cluster, for the whole stage that it is a part of: a
//! deploy's cluster with all its sub-stages. Nobody gives a lock back for it to be free: it is held as long as what the
//! holder has stored says that it may still change the cluster ([`at_work`]), so a lock cannot be lost.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::context::{self, ContextError};
use crate::rollup::{Records, Rollup};
use crate::{Execution, ExecutionId, Plan};

/// The key of the settings in a stage's context.
pub const FIELD: &str = "clusterLock";

/// How long a stage waits for a lock unless it says otherwise, in minutes.
const DEFAULT_MINUTES: i64 = 120;

/// A cluster in an account and region: what is locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedCluster {
    /// Spinnaker's name of the account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The cluster.
    pub cluster: String,
}

impl std::fmt::Display for LockedCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.region, self.cluster)
    }
}

/// A lock as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLock {
    /// The execution that took it.
    pub execution: ExecutionId,
    /// Its run at that time.
    pub run: u32,
    /// Its application.
    pub application: String,
    /// Its pipeline.
    pub pipeline: String,
    /// `refId`s of the stages it was taken for, each with all of its sub-stages.
    pub stages: Vec<String>,
    /// When the execution took it, UTC milliseconds.
    pub since: i64,
    /// Counts the writes: whoever takes it over proves that nobody wrote meanwhile.
    pub version: i64,
}

/// What a stage does about a lock that another execution holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockSettings {
    /// Whether it waits at all.
    pub waits: bool,
    /// The longest wait, in minutes.
    pub minutes: i64,
}

impl Default for LockSettings {
    fn default() -> Self {
        Self {
            waits: true,
            minutes: DEFAULT_MINUTES,
        }
    }
}

impl LockSettings {
    /// Reads `"clusterLock": "wait"`, `"refuse"` or `{"whenHeld": "wait", "minutes": 30}`; without it a stage waits two
    /// hours.
    ///
    /// # Errors
    /// [`ContextError`] for anything else.
    pub fn from_context(context: &Map<String, Value>) -> Result<Self, ContextError> {
        let when_held = |key: &str, value: &Value| match value.as_str() {
            Some("wait") => Ok(true),
            Some("refuse") => Ok(false),
            _ => Err(ContextError::new(key, value, "`wait` or `refuse`")),
        };
        let mut settings = Self::default();
        match context.get(FIELD) {
            None | Some(Value::Null) => {}
            Some(Value::Object(said)) => {
                if let Some(value) = said.get("whenHeld") {
                    settings.waits = when_held("clusterLock.whenHeld", value)?;
                }
                if let Some(minutes) = context::integer(said, "minutes")? {
                    settings.minutes = minutes;
                }
            }
            Some(value) => settings.waits = when_held(FIELD, value)?,
        }
        Ok(settings)
    }
}

/// The stage for which the execution still has the lock, if it has it: one that has begun, and either is not over, or
/// ended in a way that its changes are undone when the execution ends.
#[must_use]
pub fn at_work<'a>(
    lock: &'a ClusterLock,
    holder: &Execution,
    plan: &Plan,
    records: &Records,
) -> Option<&'a str> {
    if holder.status.is_complete() || holder.status == crate::Status::NotStarted {
        return None;
    }
    let rollup = Rollup::new(plan, records);
    let has_begun = |stage: &str| {
        records.keys().any(|ref_id| {
            plan.lineage(ref_id)
                .iter()
                .any(|above| above.ref_id == stage)
        })
    };
    lock.stages
        .iter()
        .map(String::as_str)
        .find(|stage| has_begun(stage) && !rollup.status(stage).lets_dependants_start())
}

/// The sentence that tells a person who holds a lock, for which stage, and since when.
#[must_use]
pub fn held_by(cluster: &LockedCluster, lock: &ClusterLock, stage: &str) -> String {
    let since = Timestamp::from_millisecond(lock.since)
        .map_or_else(|_| lock.since.to_string(), |since| since.to_string());
    format!(
        "cluster `{}` of {}/{} is being changed by execution {} of `{}` in `{}` (stage `{stage}`) since {since}",
        cluster.cluster,
        cluster.account,
        cluster.region,
        lock.execution,
        lock.pipeline,
        lock.application,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Owner, PlanStage, StageRecord, Status};
    use serde_json::json;

    fn settings(value: Value) -> Result<LockSettings, ContextError> {
        LockSettings::from_context(value.as_object().unwrap())
    }

    #[test]
    fn a_stage_waits_for_two_hours_unless_it_says_otherwise() {
        assert_eq!(settings(json!({})).unwrap(), LockSettings::default());
        assert!(!settings(json!({"clusterLock": "refuse"})).unwrap().waits);
        let said = json!({"clusterLock": {"whenHeld": "wait", "minutes": "5"}});
        assert_eq!(settings(said).unwrap().minutes, 5);
        assert!(settings(json!({"clusterLock": "perhaps"})).is_err());
        assert!(settings(json!({"clusterLock": {"whenHeld": 1}})).is_err());
    }

    fn stage(ref_id: &str, parent: Option<&str>, function: Option<&str>) -> PlanStage {
        serde_json::from_value(json!({
            "refId": ref_id, "type": "x", "name": ref_id, "parent": parent, "function": function,
            "owner": parent.map(|_| Owner::After), "startsAfter": [], "context": {},
        }))
        .unwrap()
    }

    fn record(ref_id: &str, status: Status) -> (String, StageRecord) {
        let mut record = StageRecord::not_started(ref_id);
        record.status = status;
        record.task_status = Some(status);
        record.start_time = Some(1);
        (ref_id.to_owned(), record)
    }

    #[test]
    fn a_lock_is_held_until_its_stage_is_over_for_good() {
        let plan: Plan = serde_json::from_value(json!({
            "schema": crate::plan::SCHEMA, "application": "shop", "pipeline": "release", "pipelineId": "p",
            "spelEvaluator": "v4",
            "stages": [stage("1", None, Some("create")), stage("1>1", Some("1"), Some("disable"))],
        }))
        .unwrap();
        let execution = |status: Status| -> Execution {
            serde_json::from_value(json!({
                "id": ExecutionId::derive(1, &["lock"]), "application": "shop", "pipeline": "release", "pipelineId": "p",
                "revision": 1, "planHash": "", "stateMachine": "", "status": status, "run": 1, "paused": false,
                "canceled": false, "buildTime": 1,
            }))
            .unwrap()
        };
        let lock = ClusterLock {
            execution: ExecutionId::derive(1, &["lock"]),
            run: 1,
            application: "shop".to_owned(),
            pipeline: "release".to_owned(),
            stages: vec!["1".to_owned()],
            since: 0,
            version: 1,
        };
        let held = |status: Status, records: &[(&str, Status)]| {
            let records: Records = records
                .iter()
                .map(|(id, status)| record(id, *status))
                .collect();
            at_work(&lock, &execution(status), &plan, &records).is_some()
        };
        let running = Status::Running;
        assert!(held(running, &[("1", running)]));
        assert!(
            held(running, &[("1", Status::Succeeded)]),
            "a part is to come"
        );
        assert!(
            held(
                running,
                &[("1", Status::Succeeded), ("1>1", Status::Terminal)]
            ),
            "it will be undone"
        );
        assert!(!held(
            running,
            &[("1", Status::Succeeded), ("1>1", Status::Succeeded)]
        ));
        assert!(
            !held(running, &[]),
            "it was begun anew and has not come there"
        );
        assert!(
            !held(Status::Terminal, &[("1", running)]),
            "the execution has ended"
        );
    }
}
