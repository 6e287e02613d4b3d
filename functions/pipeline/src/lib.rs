#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{Connection, Functions};
use gennaker_domain::child::{self, MONITOR_LIMIT_MILLIS, Monitor, Outcome, Wanted};
use gennaker_domain::{ExecutionId, Intent, Status};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_pipelines::children::{Child, Children, Started};
use serde_json::{Map, Value, json};

/// The one intent of the stage: a child may run.
pub const RUN_CHILD: &str = "run-child";

/// The `pipeline` stage.
pub struct Pipeline {
    children: Children,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipeline")
    }
}

impl Pipeline {
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
            && invocation.spent() >= MONITOR_LIMIT_MILLIS
            && !invocation.context.contains_key("stageTimeoutMs")
        {
            self.children.cancel(invocation, id).await?;
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
                    let inherited = invocation.lookup("artifacts");
                    match child::bind_artifacts(invocation.context, inherited, outputs) {
                        Ok(outputs) => Step::Succeeded {
                            outputs,
                            context: about,
                        },
                        Err(unbound) => Step::Ended {
                            status: Status::Terminal,
                            reason: unbound.to_string(),
                            outputs: Map::new(),
                            context: about,
                        },
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

/// The child of this stage in this run, and whether it is there already.
async fn child_of(
    invocation: &Invocation<'_>,
    wanted: &Wanted,
) -> Result<(ExecutionId, bool), StageError> {
    let known = invocation
        .memory
        .get("executionId")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(known) = known.or_else(|| wanted.execution.clone()) {
        let id = ExecutionId::try_from(known)
            .map_err(|error| StageError::invalid("executionId", error.to_string()))?;
        return Ok((id, true));
    }
    let ref_id = &invocation.stage.ref_id;
    if let Some(id) = invocation.store().adopted(invocation.run, ref_id).await? {
        return Ok((id, true));
    }
    let id = child::of_stage(invocation.run, ref_id, &wanted.pipeline, invocation.started);
    Ok((id, false))
}

fn wanted(invocation: &Invocation<'_>) -> Result<Wanted, StageError> {
    child::wanted(invocation.context)
        .map_err(|(field, message)| StageError::invalid(field, message))
}

#[async_trait]
impl Stage for Pipeline {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let wanted = wanted(invocation)?;
        let (id, there) = child_of(invocation, &wanted).await?;
        if !invocation.memory.contains_key("executionId") {
            let undo = json!({ "execution": id, "wait": wanted.wait });
            invocation.intend(RUN_CHILD, undo).await?;
            if !there {
                let child = Child {
                    id: &id,
                    application: wanted.application.as_deref(),
                    pipeline: &wanted.pipeline,
                    parameters: &wanted.parameters,
                    strategy: wanted.strategy,
                };
                match self.children.start(invocation, child).await? {
                    Started::Child => {}
                    Started::Refused(reason) => return Ok(Step::failed(reason)),
                    Started::Ending => return Err(StageError::Ending),
                }
            }
            invocation.done(RUN_CHILD).await?;
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
            let (id, _) = child_of(invocation, &wanted).await?;
            self.children.cancel(invocation, &id).await?;
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
        let result = self.children.cancel(invocation, &id).await?;
        Ok(Undo::Done { result })
    }
}
