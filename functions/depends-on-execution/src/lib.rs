#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::{ExecutionId, Status};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value};

/// How long the stage waits if it says nothing: Orca's `DependsOnExecutionTask`.
pub const DEFAULT_TIMEOUT_MILLIS: i64 = 2 * 3_600_000;

/// The `dependsOnExecution` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct DependsOnExecution;

impl DependsOnExecution {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// What the other execution's status makes of the stage; none while it goes on.
#[must_use]
pub fn decide(status: Status) -> Option<Step> {
    if matches!(
        status,
        Status::Succeeded | Status::Stopped | Status::Skipped
    ) {
        return Some(Step::succeeded());
    }
    status.is_complete().then(|| {
        let reason = format!("Depended-on execution completed with status {status}");
        Step::Ended {
            status: Status::Canceled,
            context: Map::from_iter([("reason".to_owned(), reason.clone().into())]),
            reason,
            outputs: Map::new(),
        }
    })
}

#[async_trait]
impl Stage for DependsOnExecution {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let text = |name: &str| {
            let value = invocation.context.get(name).and_then(Value::as_str);
            value.map(str::trim).filter(|text| !text.is_empty())
        };
        let kind = text("executionType").unwrap_or("pipeline");
        let given = text("executionId")
            .ok_or_else(|| StageError::invalid("executionId", "the stage names no execution"))?;
        let missing = || {
            let error = format!("Execution ({kind}) {given} not found.");
            Step::Ended {
                status: Status::Terminal,
                context: Map::from_iter([("error".to_owned(), error.clone().into())]),
                reason: error,
                outputs: Map::new(),
            }
        };
        // There are no orchestrations here, and an id of another form was never given to an execution.
        let id = ExecutionId::try_from(given.to_owned()).ok();
        let Some(id) = id.filter(|_| kind.eq_ignore_ascii_case("pipeline")) else {
            return Ok(missing());
        };
        if id == invocation.run.execution {
            return Err(StageError::invalid(
                "executionId",
                "the execution would wait for itself",
            ));
        }
        let Some(watched) = invocation.watch(&id).await? else {
            return Ok(missing());
        };
        if let Some(step) = decide(watched.status) {
            return Ok(step);
        }
        let reason = format!("waits for `{}` ({id}, {})", watched.name, watched.status);
        if invocation.spent() >= DEFAULT_TIMEOUT_MILLIS
            && !invocation.context.contains_key("stageTimeoutMs")
        {
            return Ok(Step::failed(format!("two hours have passed: {reason}")));
        }
        Ok(Step::waiting(invocation, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_end_succeeds_a_bad_one_cancels_and_a_queued_execution_is_waited_for() {
        for status in [Status::Succeeded, Status::Stopped, Status::Skipped] {
            assert_eq!(decide(status), Some(Step::succeeded()));
        }
        for status in [Status::Terminal, Status::Canceled, Status::FailedContinue] {
            assert!(
                matches!(decide(status), Some(Step::Ended { status: Status::Canceled, reason, .. })
                if reason == format!("Depended-on execution completed with status {status}"))
            );
        }
        for status in [Status::NotStarted, Status::Running, Status::Paused] {
            assert_eq!(decide(status), None);
        }
    }
}
