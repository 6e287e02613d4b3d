#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::child::{self, MONITOR_LIMIT_MILLIS, Monitor, Outcome, Watched};
use gennaker_domain::{ExecutionId, Run, Status};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value};

/// Most executions that one stage waits for: each is read at every look.
pub const MOST: usize = 200;

/// The `monitorPipeline` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonitorPipeline;

impl MonitorPipeline {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// The executions that a stage waits for: `executionIds` without nulls, or the one of `executionId`.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for an id that is none, for the stage's own execution, and for too many.
pub fn executions(context: &Map<String, Value>, own: &Run) -> Result<Vec<ExecutionId>, StageError> {
    let listed: Vec<&Value> = match context.get("executionIds") {
        Some(Value::Array(list)) => list.iter().filter(|id| !id.is_null()).collect(),
        None | Some(Value::Null) => context
            .get("executionId")
            .filter(|id| !id.is_null())
            .into_iter()
            .collect(),
        Some(other) => vec![other],
    };
    if listed.len() > MOST {
        return Err(StageError::invalid(
            "executionIds",
            format!("{} executions: {MOST} at most", listed.len()),
        ));
    }
    let mut ids: Vec<ExecutionId> = Vec::new();
    for listed in listed {
        let text = listed
            .as_str()
            .map_or_else(|| listed.to_string(), str::to_owned);
        let id = ExecutionId::try_from(text)
            .map_err(|error| StageError::invalid("executionIds", error.to_string()))?;
        if id == own.execution {
            return Err(StageError::invalid(
                "executionIds",
                format!("`{id}` is this execution: it would wait for itself"),
            ));
        }
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Whether the stage waits for all, or ends with the first that fails.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for another `monitorBehavior`.
pub fn behavior(context: &Map<String, Value>) -> Result<Monitor, StageError> {
    match context.get("monitorBehavior").and_then(Value::as_str) {
        None | Some("" | "WaitForAllToComplete") => Ok(Monitor::All),
        Some("FailFast") => Ok(Monitor::FirstFailure),
        Some(other) => Err(StageError::invalid(
            "monitorBehavior",
            format!("`{other}` is neither `WaitForAllToComplete` nor `FailFast`"),
        )),
    }
}

#[async_trait]
impl Stage for MonitorPipeline {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let monitor = behavior(invocation.context)?;
        let ids = executions(invocation.context, invocation.run)?;
        if ids.is_empty() {
            return Ok(Step::failed("no pipeline execution ids to monitor"));
        }
        let mut watched: Vec<Watched> = Vec::with_capacity(ids.len());
        for id in &ids {
            match invocation.watch(id).await? {
                Some(found) => watched.push(found),
                None => return Ok(Step::failed(format!("execution `{id}` not found"))),
            }
        }
        Ok(match child::outcome(monitor, &watched) {
            Outcome::Running { reason } => {
                if invocation.spent() >= MONITOR_LIMIT_MILLIS
                    && !invocation.context.contains_key("stageTimeoutMs")
                {
                    Step::failed(format!("12 hours have passed: {reason}"))
                } else {
                    Step::waiting(invocation, reason)
                }
            }
            Outcome::Over {
                status: Status::Succeeded,
                context,
                outputs,
                ..
            } => {
                let inherited = invocation.lookup("artifacts");
                match child::bind_artifacts(invocation.context, inherited, outputs) {
                    Ok(outputs) => Step::Succeeded { outputs, context },
                    Err(unbound) => Step::Ended {
                        status: Status::Terminal,
                        reason: unbound.to_string(),
                        outputs: Map::new(),
                        context,
                    },
                }
            }
            Outcome::Over {
                status,
                reason,
                context,
                outputs,
            } => Step::Ended {
                status,
                reason,
                outputs,
                context,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn nulls_and_repetitions_are_left_out_and_one_id_may_stand_alone() {
        let own = ExecutionId::derive(9, &["own"]).run(1);
        let id = ExecutionId::derive(1, &["x"]);
        let read = |value: Value| executions(&context(value), &own);
        assert_eq!(
            read(json!({"executionIds": [id, null, id]})).unwrap(),
            std::slice::from_ref(&id)
        );
        assert_eq!(read(json!({"executionId": id})).unwrap(), [id]);
        assert!(read(json!({})).unwrap().is_empty());
        assert!(read(json!({"executionIds": ["nonsense"]})).is_err());
        assert!(read(json!({"executionIds": [own.execution]})).is_err());
        let many: Vec<String> = (0..=201)
            .map(|n| ExecutionId::derive(n, &["x"]).to_string())
            .collect();
        assert!(read(json!({"executionIds": many})).is_err());
    }

    #[test]
    fn a_behavior_is_one_of_two() {
        let read = |value: Value| behavior(&context(value));
        assert_eq!(read(json!({})).unwrap(), Monitor::All);
        assert_eq!(
            read(json!({"monitorBehavior": "FailFast"})).unwrap(),
            Monitor::FirstFailure
        );
        assert!(read(json!({"monitorBehavior": "failfast"})).is_err());
    }
}
