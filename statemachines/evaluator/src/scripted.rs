//! What stands for the stage functions: stages that end as a case says, called by the real stage runtime.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_compiler::catalog;
use gennaker_decide::Decide;
use gennaker_domain::error_name::Poll;
use gennaker_domain::{ExecutionId, Intent, Status};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_start::Start;
use serde_json::{Map, Value, json};

use crate::case::{Outcome, Scripted};

/// How often the monitor of a child pipeline looks, in virtual milliseconds.
const MONITOR_MILLIS: i64 = 15_000;

/// What the record of a stage says that the script of this run does not have.
pub(crate) const NOT_PLANNED: &str = "the stage is not planned";

/// When a stage wants to be called again, because it then has something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub at: i64,
    pub execution: ExecutionId,
    pub stage: String,
    /// It only watches: it looks before anything else of the instant happens.
    pub watches: bool,
}

/// How often the stages of an execution were begun: by top-level stage, in which runs.
type Begun = HashMap<(ExecutionId, String), Vec<u32>>;

/// The stages of a case.
#[derive(Clone)]
pub(crate) struct ScriptedStage {
    pub scripts: Arc<BTreeMap<String, Scripted>>,
    pub start: Arc<Start>,
    pub decide: Arc<Decide>,
    looks: Arc<Mutex<Vec<Look>>>,
    begun: Arc<Mutex<Begun>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Java's idea of a true text, as the original reads `waitForCompletion`.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => {
            matches!(text.trim().to_lowercase().as_str(), "true" | "y" | "1")
        }
        Some(_) => false,
    }
}

/// The end that a running stage remembers.
pub(crate) fn remembered(memory: &Map<String, Value>) -> Option<Outcome> {
    let status = memory.get("status").and_then(Value::as_str)?;
    Some(Outcome {
        status: Status::parse(status)?,
        millis: memory.get("ends").and_then(Value::as_i64)?,
    })
}

impl ScriptedStage {
    pub fn new(
        scripts: Arc<BTreeMap<String, Scripted>>,
        start: Arc<Start>,
        decide: Arc<Decide>,
    ) -> Self {
        Self {
            scripts,
            start,
            decide,
            looks: Arc::default(),
            begun: Arc::default(),
        }
    }

    /// The looks that stages asked for since the last call.
    pub fn take_looks(&self) -> Vec<Look> {
        std::mem::take(&mut *locked(&self.looks))
    }

    fn look_at(&self, invocation: &Invocation<'_>, at: i64, watches: bool) {
        locked(&self.looks).push(Look {
            at,
            execution: invocation.run.execution.clone(),
            stage: invocation.stage.ref_id.clone(),
            watches,
        });
    }

    /// How often the stage was begun before: a restart counts once for a stage with all its sub-stages.
    fn nth(&self, invocation: &Invocation<'_>) -> usize {
        let top = invocation
            .plan
            .top_level(&invocation.stage.ref_id)
            .map_or(&invocation.stage.ref_id, |top| &top.ref_id);
        let key = (invocation.run.execution.clone(), top.clone());
        let mut begun = locked(&self.begun);
        let runs = begun.entry(key).or_default();
        if !runs.contains(&invocation.run.number) {
            runs.push(invocation.run.number);
        }
        runs.len().saturating_sub(1)
    }

    fn begin(&self, invocation: &Invocation<'_>) -> Step {
        let nth = self.nth(invocation);
        let script = self.scripts.get(&invocation.execution.pipeline_id);
        let outcome = script
            .and_then(|script| script.outcome(invocation.plan, &invocation.stage.ref_id, nth));
        let no_tasks = script
            .and_then(|script| script.stages.get(&invocation.stage.ref_id))
            .is_some_and(|stage| stage.no_tasks);
        match outcome {
            _ if no_tasks => Step::skipped("the stage has no tasks"),
            None => Step::skipped(NOT_PLANNED),
            Some(outcome) => {
                let ends = invocation.started.saturating_add(outcome.millis);
                self.look_at(invocation, ends, false);
                waiting(
                    "the script says when it ends",
                    json!({ "ends": ends, "status": outcome.status }),
                )
            }
        }
    }

    /// A stage that starts another pipeline and, unless it is told otherwise, waits for its end.
    async fn child(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let waits = is_true(invocation.context.get("waitForCompletion"));
        let field = |name: &str| {
            let text = invocation.context.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let child = ExecutionId::derive(
            invocation.started,
            &[&invocation.run.to_string(), &invocation.stage.ref_id],
        );
        if invocation.memory.is_empty() {
            if waits {
                let undo = json!({ "execution": child });
                invocation.intend("start-pipeline", undo).await?;
            }
            let event = json!({
                "application": field("application"),
                "pipeline": field("pipeline"),
                "executionId": child,
                "trigger": { "type": "pipeline", "parentPipelineStageId": invocation.stage.ref_id },
            });
            let answer = match self.start.start(&event, invocation.now).await {
                Ok(answer) => answer,
                Err(error) => return Ok(Step::failed(error.to_string())),
            };
            if let Some(problems) = answer.get("problems") {
                return Ok(Step::failed(problems.to_string()));
            }
            if !waits {
                return Ok(Step::succeeded());
            }
        }
        let status = invocation
            .store()
            .execution(&child)
            .await?
            .map(|execution| execution.status);
        Ok(match status {
            Some(Status::Succeeded) => Step::succeeded(),
            Some(ended) if ended.is_complete() => {
                // As its `cancel` does, of a child that has ended too.
                invocation.store().note_cancel(&child).await?;
                let reason = format!("the child pipeline ended {ended}");
                if ended == Status::Canceled {
                    Step::Ended {
                        status: Status::Canceled,
                        reason,
                        outputs: Map::new(),
                        context: Map::new(),
                    }
                } else {
                    Step::failed(reason)
                }
            }
            _ => {
                let since = invocation.now.saturating_sub(invocation.started);
                let next = (since / MONITOR_MILLIS).saturating_add(1) * MONITOR_MILLIS;
                self.look_at(invocation, invocation.started.saturating_add(next), true);
                waiting("the child pipeline runs", json!({ "child": child }))
            }
        })
    }
}

fn waiting(reason: &str, memory: Value) -> Step {
    Step::Waiting {
        reason: reason.to_owned(),
        memory: memory.as_object().cloned().unwrap_or_default(),
        poll: Some(Poll::TenMinutes),
    }
}

#[async_trait]
impl Stage for ScriptedStage {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let script = self.scripts.get(&invocation.execution.pipeline_id);
        let scripted = script
            .and_then(|script| script.stages.get(&invocation.stage.ref_id))
            .is_none_or(|stage| stage.first.is_some());
        if invocation.stage.stage_type == "pipeline" && !scripted {
            return self.child(invocation).await;
        }
        let Some(end) = remembered(invocation.memory) else {
            return Ok(self.begin(invocation));
        };
        if invocation.now < end.millis {
            return Ok(Step::waiting(invocation, "the script says when it ends"));
        }
        Ok(match end.status {
            Status::Succeeded => Step::succeeded(),
            Status::Terminal => Step::failed("as the script says"),
            status => Step::Ended {
                status,
                reason: "as the script says".to_owned(),
                outputs: Map::new(),
                context: Map::new(),
            },
        })
    }

    fn serves(&self, stage_type: &str) -> bool {
        catalog::is_known(stage_type)
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let event = json!({
            "cancel": true,
            "execution": intent.undo.get("execution"),
            "user": "parent pipeline",
        });
        let canceled = self.decide.decide(&event, invocation.now).await;
        Ok(Undo::Done {
            result: canceled.map_or_else(|error| error.to_string(), |answer| answer.to_string()),
        })
    }
}
