#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::{Answer, AwsFunctions, function_name};
use gennaker_cloud::{CloudError, Connection, Functions};
use gennaker_domain::child::{self, CANCELED_BY, MONITOR_LIMIT_MILLIS, Monitor, Outcome, Wanted};
use gennaker_domain::{ExecutionId, Intent, Status, error_name};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use serde_json::{Map, Value, json};

/// The one intent of the stage: a child may run.
pub const RUN_CHILD: &str = "run-child";

/// The `pipeline` stage.
pub struct Pipeline {
    functions: Arc<dyn Functions>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipeline")
    }
}

/// What `start` made of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The child is there.
    Child,
    /// There will be none, for this reason.
    Refused(String),
    /// The parent is ending.
    Ending,
}

/// Reads the answer of `start`.
///
/// # Errors
/// What is worth another try.
pub fn started(answer: Answer, wanted: &Wanted) -> Result<Started, CloudError> {
    match answer {
        Answer::Value(value) => {
            let problems = value.get("problems").and_then(Value::as_array);
            let Some(problems) = problems.filter(|problems| !problems.is_empty()) else {
                return Ok(Started::Child);
            };
            let code = |problem: &Value| {
                problem
                    .get("code")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let codes: Vec<String> = problems.iter().map(code).collect();
            let what = if wanted.strategy {
                "custom strategy"
            } else {
                "pipeline"
            };
            if codes.iter().any(|code| code == "parent-ending") {
                return Ok(Started::Ending);
            }
            // Orca's words, where it has some.
            if codes.iter().any(|code| code == "unknown-pipeline") {
                return Ok(Started::Refused(format!(
                    "The referenced {what} cannot be located ({})",
                    wanted.pipeline
                )));
            }
            if codes.iter().any(|code| code == "pipeline-disabled") {
                return Ok(Started::Refused(format!(
                    "The referenced {what} is disabled"
                )));
            }
            let texts: Vec<&str> = problems
                .iter()
                .filter_map(|problem| problem.get("message").and_then(Value::as_str))
                .collect();
            Ok(Started::Refused(texts.join("; ")))
        }
        Answer::Error { name, message } if name == error_name::INVALID_CONFIGURATION => {
            Ok(Started::Refused(message))
        }
        Answer::Error { name, message } => Err(CloudError::Throttled {
            operation: "lambda:InvokeFunction".to_owned(),
            message: format!("start answered {name}: {message}"),
        }),
    }
}

impl Pipeline {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self { functions }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsFunctions::new(connection)))
    }

    /// Has `start` create and begin the child; asking again finds it.
    async fn start(
        &self,
        invocation: &Invocation<'_>,
        wanted: &Wanted,
        id: &ExecutionId,
    ) -> Result<Started, StageError> {
        let payload = json!({
            "executionId": id,
            "application": wanted.application,
            "pipeline": wanted.pipeline,
            "parameters": wanted.parameters,
            "user": invocation.context.get("user"),
            "parent": {
                "execution": invocation.run.execution,
                "run": invocation.run.number,
                "stage": invocation.stage.ref_id,
            },
        });
        let start = function_name(invocation.prefix, "start");
        let answer = self.functions.invoke(&start, &payload).await?;
        Ok(started(answer, wanted)?)
    }

    /// Asks `decide` to cancel the child, if there is one that runs. What a person reads.
    async fn cancel(
        &self,
        invocation: &Invocation<'_>,
        id: &ExecutionId,
    ) -> Result<String, StageError> {
        // `start` creates no child once its parent is ending: one that is not there never will be.
        let Some(child) = invocation.store().execution(id).await? else {
            return Ok("no child was started".to_owned());
        };
        if child.status.is_complete() {
            return Ok(format!("child {id} has ended: {}", child.status));
        }
        let payload = json!({ "execution": id, "cancel": true, "user": CANCELED_BY });
        let decide = function_name(invocation.prefix, "decide");
        match self.functions.invoke(&decide, &payload).await? {
            Answer::Value(_) => Ok(format!("child {id} is canceled")),
            Answer::Error { name, message } => Err(StageError::Cloud(CloudError::Throttled {
                operation: "lambda:InvokeFunction".to_owned(),
                message: format!("decide answered {name}: {message}"),
            })),
        }
    }

    /// Waits for the child, or says what became of it.
    async fn monitor(
        &self,
        invocation: &Invocation<'_>,
        id: &ExecutionId,
    ) -> Result<Step, StageError> {
        let Some(watched) = invocation.watch(id).await? else {
            return Ok(Step::failed(format!("execution `{id}` not found")));
        };
        let mut about = about(id, &watched.name);
        let mut outcome = child::outcome(Monitor::Child, std::slice::from_ref(&watched));
        if let Outcome::Running { .. } = outcome
            && invocation.waited() >= MONITOR_LIMIT_MILLIS
            && !invocation.context.contains_key("stageTimeoutMs")
        {
            self.cancel(invocation, id).await?;
            outcome = Outcome::Over {
                status: Status::Terminal,
                reason: format!("`{}` did not end within 12 hours", watched.name),
                context: Map::new(),
                outputs: Map::new(),
            };
        }
        Ok(match outcome {
            Outcome::Running { reason } => Step::Waiting {
                reason,
                memory: about,
                poll: None,
            },
            Outcome::Over {
                status,
                reason,
                context,
                outputs,
            } => {
                about.extend(context);
                let keeps_outputs = invocation.context.get("skipDownstreamOutput")
                    != Some(&Value::Bool(true))
                    && invocation
                        .context
                        .get("skipDownstreamOutput")
                        .and_then(Value::as_str)
                        != Some("true");
                let outputs = if keeps_outputs { outputs } else { Map::new() };
                if status == Status::Succeeded {
                    Step::Succeeded {
                        outputs,
                        context: about,
                    }
                } else {
                    Step::Ended {
                        status,
                        reason,
                        outputs,
                        context: about,
                    }
                }
            }
        })
    }
}

/// What the stage's context says of its child.
fn about(id: &ExecutionId, name: &str) -> Map<String, Value> {
    Map::from_iter([
        ("executionId".to_owned(), json!(id)),
        ("executionName".to_owned(), name.into()),
    ])
}

/// The child of this stage in this run.
fn child_id(invocation: &Invocation<'_>, wanted: &Wanted) -> Result<ExecutionId, StageError> {
    match &wanted.execution {
        Some(known) => ExecutionId::try_from(known.clone())
            .map_err(|error| StageError::invalid("executionId", error.to_string())),
        None => Ok(child::of_stage(
            invocation.run,
            &invocation.stage.ref_id,
            &wanted.pipeline,
            invocation.started,
        )),
    }
}

fn wanted(invocation: &Invocation<'_>) -> Result<Wanted, StageError> {
    child::wanted(invocation.context)
        .map_err(|(field, message)| StageError::invalid(field, message))
}

#[async_trait]
impl Stage for Pipeline {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let wanted = wanted(invocation)?;
        if invocation.context.get("skippable") == Some(&Value::Bool(true))
            && invocation.is_skipped().await?
        {
            return Ok(Step::skipped("a person skipped it; its child runs on"));
        }
        let id = child_id(invocation, &wanted)?;
        if wanted.execution.is_none() && !invocation.memory.contains_key("executionId") {
            let undo = json!({ "execution": id, "wait": wanted.wait });
            invocation.intend(RUN_CHILD, undo).await?;
            match self.start(invocation, &wanted, &id).await? {
                Started::Child => invocation.done(RUN_CHILD).await?,
                Started::Refused(reason) => return Ok(Step::failed(reason)),
                Started::Ending => return Err(StageError::Ending),
            }
        }
        if !wanted.wait {
            let child = invocation.store().execution(&id).await?;
            let name = child.map_or_else(String::new, |child| child.pipeline);
            return Ok(Step::Succeeded {
                outputs: Map::new(),
                context: about(&id, &name),
            });
        }
        self.monitor(invocation, &id).await
    }

    async fn timed_out(&self, invocation: &Invocation<'_>) -> Result<(), StageError> {
        let wanted = wanted(invocation)?;
        // As Orca: where the failure is ignored, the child is not stopped either.
        let ignored = invocation.context.get("continuePipeline") == Some(&Value::Bool(true));
        if wanted.wait && !ignored {
            let id = child_id(invocation, &wanted)?;
            self.cancel(invocation, &id).await?;
        }
        Ok(())
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        if intent.undo.get("wait") == Some(&Value::Bool(false)) {
            return Ok(Undo::Done {
                result: "the stage did not wait for its child: it runs on".to_owned(),
            });
        }
        let id = intent.undo.get("execution").and_then(Value::as_str);
        let Some(id) = id.and_then(|id| ExecutionId::try_from(id.to_owned()).ok()) else {
            return Ok(Undo::Done {
                result: "the intent names no child".to_owned(),
            });
        };
        let result = self.cancel(invocation, &id).await?;
        Ok(Undo::Done { result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(value: Value) -> Wanted {
        child::wanted(value.as_object().unwrap()).unwrap()
    }

    #[test]
    fn the_refusals_of_start_read_like_orcas() {
        let plain = wanted(json!({"pipeline": "p-2"}));
        let refusal = |code: &str| {
            let answer = json!({"problems": [{"code": code, "message": "as it says"}]});
            started(Answer::Value(answer), &plain).unwrap()
        };
        let refused = |text: &str| Started::Refused(text.to_owned());
        assert_eq!(
            refusal("unknown-pipeline"),
            refused("The referenced pipeline cannot be located (p-2)")
        );
        assert_eq!(
            refusal("pipeline-disabled"),
            refused("The referenced pipeline is disabled")
        );
        assert_eq!(refusal("too-deep"), refused("as it says"));
        assert_eq!(refusal("parent-ending"), Started::Ending);
        let strategy = wanted(json!({"pipelineId": "s", "pipelineParameters": {"strategy": true}}));
        let answer = json!({"problems": [{"code": "pipeline-disabled", "message": ""}]});
        assert_eq!(
            started(Answer::Value(answer), &strategy).unwrap(),
            refused("The referenced custom strategy is disabled")
        );
    }

    #[test]
    fn an_error_of_start_is_tried_again_unless_the_request_is_wrong() {
        let plain = wanted(json!({"pipeline": "p-2"}));
        let error = |name: &str| Answer::Error {
            name: name.to_owned(),
            message: "no".to_owned(),
        };
        assert!(
            started(error("Throttled"), &plain)
                .unwrap_err()
                .is_passing()
        );
        assert!(
            started(error("Runtime.ExitError"), &plain)
                .unwrap_err()
                .is_passing()
        );
        assert_eq!(
            started(error("InvalidConfiguration"), &plain).unwrap(),
            Started::Refused("no".to_owned())
        );
    }
}
