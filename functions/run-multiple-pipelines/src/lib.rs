#![doc = include_str!("../README.md")]

pub mod levels;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{Connection, Functions};
use gennaker_domain::child::{self, Watched};
use gennaker_domain::{ExecutionId, Intent, Status};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_pipelines::children::{Child, Children, Started};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use levels::App;

/// How long the stage waits if it says nothing: Orca's `MonitorMultiplePipelinesTask`.
pub const DEFAULT_TIMEOUT_MILLIS: i64 = 24 * 3_600_000;

/// The `runMultiplePipelines` stage.
#[derive(Clone, Debug)]
pub struct RunMultiplePipelines {
    children: Children,
}

impl RunMultiplePipelines {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self {
            children: Children::new(functions),
        }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsFunctions::new(connection)))
    }
}

/// What the stage remembers between two calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Memory {
    /// The level at work.
    level: usize,
    /// Whether its children were started.
    started: bool,
    /// Apps of it that could not be started, and why.
    refused: Vec<(String, String)>,
    /// What became of the children of the levels before.
    results: Vec<Value>,
}

impl Memory {
    fn read(memory: &Map<String, Value>) -> Self {
        serde_json::from_value(Value::Object(memory.clone())).unwrap_or_default()
    }

    fn written(&self) -> Map<String, Value> {
        match json!(self) {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// What the ends of a level's children, and those that could not be started, make of the level.
#[must_use]
pub fn verdict(ends: &[Status], refused: usize) -> Status {
    let failed = |status: &Status| status.is_halt() && *status != Status::Canceled;
    if refused > 0 || ends.iter().any(failed) {
        Status::Terminal
    } else if ends.iter().all(|status| *status == Status::Succeeded) {
        Status::Succeeded
    } else {
        Status::Canceled
    }
}

/// The child of an app: the same at every try.
fn id_of(invocation: &Invocation<'_>, app: &App) -> ExecutionId {
    child::of_stage(
        invocation.run,
        &invocation.stage.ref_id,
        &app.name,
        invocation.started,
    )
}

impl RunMultiplePipelines {
    /// Starts the children of one level, those side by side.
    async fn start(
        &self,
        invocation: &Invocation<'_>,
        level: &[App],
        memory: &mut Memory,
    ) -> Result<(), StageError> {
        let action = format!("run-level-{}", memory.level);
        let ids: Vec<ExecutionId> = level.iter().map(|app| id_of(invocation, app)).collect();
        invocation
            .intend(&action, json!({ "executions": ids }))
            .await?;
        let application = invocation
            .context
            .get("pipelineApplication")
            .and_then(Value::as_str)
            .unwrap_or(&invocation.execution.application);
        memory.refused.clear();
        for (app, id) in level.iter().zip(&ids) {
            let child = Child {
                id,
                application: Some(application),
                pipeline: &app.pipeline,
                parameters: &app.arguments,
                strategy: false,
            };
            match self.children.start(invocation, child).await? {
                Started::Child => {}
                Started::Refused(reason) => memory.refused.push((app.name.clone(), reason)),
                Started::Ending => return Err(StageError::Ending),
            }
        }
        invocation.done(&action).await?;
        memory.started = true;
        Ok(())
    }

    async fn cancel(
        &self,
        invocation: &Invocation<'_>,
        level: &[App],
        memory: &Memory,
    ) -> Result<(), StageError> {
        for app in level {
            if !memory.refused.iter().any(|(name, _)| *name == app.name) {
                self.children
                    .cancel(invocation, &id_of(invocation, app))
                    .await?;
            }
        }
        Ok(())
    }

    /// The children of a level as they stand; those that could not be started are left out.
    async fn watch(
        &self,
        invocation: &Invocation<'_>,
        level: &[App],
        memory: &mut Memory,
    ) -> Result<Vec<(String, ExecutionId, Watched)>, StageError> {
        let mut watched = Vec::with_capacity(level.len());
        for app in level {
            if memory.refused.iter().any(|(name, _)| *name == app.name) {
                continue;
            }
            let id = id_of(invocation, app);
            match invocation.watch(&id).await? {
                Some(found) => watched.push((app.name.clone(), id, found)),
                None => {
                    let reason = format!("execution `{id}` not found");
                    memory.refused.push((app.name.clone(), reason));
                }
            }
        }
        Ok(watched)
    }
}

fn levels_of(invocation: &Invocation<'_>) -> Result<Vec<Vec<App>>, String> {
    levels::levels(levels::apps(invocation.context)?)
}

/// The stage's end: the list of its children is all that dependants see.
fn end(status: Status, reason: String, memory: &Memory) -> Step {
    let ids: Vec<&Value> = memory
        .results
        .iter()
        .filter_map(|result| result.get("id"))
        .collect();
    let outputs = Map::from_iter([("executionsList".to_owned(), json!(memory.results))]);
    let context = Map::from_iter([
        ("executionIds".to_owned(), json!(ids)),
        ("levelNumber".to_owned(), memory.level.into()),
    ]);
    if status == Status::Succeeded {
        return Step::Succeeded { outputs, context };
    }
    Step::Ended {
        status,
        reason,
        outputs,
        context,
    }
}

#[async_trait]
impl Stage for RunMultiplePipelines {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let all = match levels_of(invocation) {
            Ok(all) => all,
            Err(reason) => return Ok(Step::failed(reason)),
        };
        let ignored = invocation.context.get("ignoreUncompleted") == Some(&Value::Bool(true));
        let mut memory = Memory::read(invocation.memory);
        while let Some(level) = all.get(memory.level) {
            if !memory.started {
                self.start(invocation, level, &mut memory).await?;
            }
            let watched = self.watch(invocation, level, &mut memory).await?;
            let open: Vec<String> = watched
                .iter()
                .filter(|(_, _, child)| !child.status.is_complete())
                .map(|(name, id, child)| format!("{name} ({id}, {})", child.status))
                .collect();
            if !open.is_empty() {
                if invocation.spent() >= DEFAULT_TIMEOUT_MILLIS
                    && !invocation.context.contains_key("stageTimeoutMs")
                {
                    self.cancel(invocation, level, &memory).await?;
                    return Ok(Step::failed(format!(
                        "24 hours have passed: waits for {}",
                        open.join(", ")
                    )));
                }
                return Ok(Step::Waiting {
                    reason: format!(
                        "level {} of {}: waits for {}",
                        memory.level + 1,
                        all.len(),
                        open.join(", ")
                    ),
                    memory: memory.written(),
                    poll: None,
                });
            }
            let mut reasons: Vec<String> = memory
                .refused
                .iter()
                .map(|(name, reason)| format!("{name}: {reason}"))
                .collect();
            let mut ends = Vec::with_capacity(watched.len());
            for (name, id, child) in &watched {
                let execution = invocation.store().execution(id).await?;
                memory.results.push(json!({
                    "id": id,
                    "executionIdentifier": name,
                    "startTime": execution.as_ref().and_then(|execution| execution.start_time),
                    "endTime": execution.as_ref().and_then(|execution| execution.end_time),
                    "status": child.status,
                }));
                ends.push(child.status);
                if child.status != Status::Succeeded {
                    reasons.push(format!("{name}: {}", child.status));
                }
            }
            let status = verdict(&ends, memory.refused.len());
            let last = memory.level.saturating_add(1) >= all.len();
            if ends.is_empty() {
                let reason = format!("Child Pipelines were not executed: {}", reasons.join("; "));
                return Ok(end(Status::Terminal, reason, &memory));
            }
            if last || (status != Status::Succeeded && !ignored) {
                let what = if status == Status::Canceled {
                    "At least one monitored pipeline was cancelled"
                } else {
                    "At least one monitored pipeline failed, look for errors in failed pipelines"
                };
                return Ok(end(
                    status,
                    format!("{what}: {}", reasons.join("; ")),
                    &memory,
                ));
            }
            memory.level = memory.level.saturating_add(1);
            memory.started = false;
            memory.refused.clear();
        }
        // Levels are never left but by a return.
        Ok(end(Status::Succeeded, String::new(), &memory))
    }

    async fn timed_out(&self, invocation: &Invocation<'_>) -> Result<(), StageError> {
        let memory = Memory::read(invocation.memory);
        let all = levels_of(invocation).unwrap_or_default();
        match all.get(memory.level) {
            Some(level) => self.cancel(invocation, level, &memory).await,
            None => Ok(()),
        }
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let ids = intent.undo.get("executions").and_then(Value::as_array);
        let mut results = Vec::new();
        for id in ids.into_iter().flatten().filter_map(Value::as_str) {
            if let Ok(id) = ExecutionId::try_from(id.to_owned()) {
                results.push(self.children.cancel(invocation, &id).await?);
            }
        }
        Ok(Undo::Done {
            result: results.join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_a_cancel_and_one_that_never_began_is_a_failure() {
        use Status::{Canceled, Stopped, Succeeded, Terminal};
        assert_eq!(verdict(&[Succeeded, Succeeded], 0), Succeeded);
        assert_eq!(verdict(&[Succeeded, Canceled], 0), Canceled);
        assert_eq!(verdict(&[Stopped, Canceled], 0), Terminal);
        assert_eq!(verdict(&[Succeeded], 1), Terminal);
    }
}
