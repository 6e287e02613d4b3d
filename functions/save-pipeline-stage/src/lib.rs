#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{Connection, Functions};
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_pipelines::{GivenError, Outcome, Pipelines, Save, given};
use serde_json::{Map, Value, json};

/// Pipelines that one call saves; the next call goes on. Machines are made one a second.
pub const TOGETHER: usize = 5;

/// Most pipelines that one stage saves.
pub const MOST: usize = 500;

/// The `savePipeline` and `updatePipeline` stages.
#[derive(Clone, Debug)]
pub struct SavePipelineStage {
    pipelines: Pipelines,
}

impl SavePipelineStage {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self {
            pipelines: Pipelines::new(functions),
        }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsFunctions::new(connection)))
    }

    /// `pipelines`, many at once: those that are refused are told and the others are saved.
    async fn bulk(&self, invocation: &Invocation<'_>, all: &[Value]) -> Result<Step, StageError> {
        let mut memory = invocation.memory.clone();
        let next = memory.get("next").and_then(Value::as_u64).unwrap_or(0);
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        let mut note = |list: &str, name: Value| {
            if let Some(list) = memory
                .entry(list)
                .or_insert_with(|| json!([]))
                .as_array_mut()
            {
                list.push(name);
            }
        };
        let mut at = next;
        for config in all.iter().skip(next).take(TOGETHER) {
            let name = config.get("name").cloned().unwrap_or_default();
            let save = Save {
                action: format!("save-{at}"),
                application: None,
                config: prepared(invocation.context, config, true),
                stale_check: stale_check(invocation.context),
            };
            match self.pipelines.save(invocation, &save).await?.0 {
                Outcome::Done(_) => note("successful", name),
                Outcome::Refused(reason) => {
                    note("failed", json!({ "name": name, "errorMsg": reason }))
                }
            }
            at += 1;
        }
        if at < all.len() {
            memory.insert("next".to_owned(), at.into());
            return Ok(Step::Waiting {
                reason: format!("{at} of {} pipelines saved", all.len()),
                memory,
                poll: None,
            });
        }
        let count = |name: &str| {
            memory
                .get(name)
                .and_then(Value::as_array)
                .map_or(0, Vec::len)
        };
        let failed = count("failed");
        let bulk = json!({
            "successful_pipelines_count": count("successful"),
            "successful_pipelines": memory.get("successful").cloned().unwrap_or_else(|| json!([])),
            "failed_pipelines_count": failed,
            "failed_pipelines": memory.get("failed").cloned().unwrap_or_else(|| json!([])),
        });
        let context = Map::from_iter([
            ("notification.type".to_owned(), "savepipeline".into()),
            ("bulksave".to_owned(), bulk),
        ]);
        Ok(Step::Succeeded {
            outputs: Map::new(),
            context,
        })
    }
}

fn flag(context: &Map<String, Value>, name: &str) -> bool {
    match context.get(name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn stale_check(context: &Map<String, Value>) -> bool {
    flag(context, "staleCheck")
}

/// The pipeline as it is saved: with the id that an earlier stage made known (`pipeline.id`), if it has none and is the only one.
fn prepared(context: &Map<String, Value>, config: &Value, many: bool) -> Map<String, Value> {
    let mut config = config.as_object().cloned().unwrap_or_default();
    let known = context.get("pipeline.id").and_then(Value::as_str);
    if let Some(id) = known.filter(|id| !many && !id.is_empty())
        && config.get("id").is_none_or(Value::is_null)
    {
        config.insert("id".to_owned(), id.into());
    }
    config
}

fn invalid(error: &GivenError) -> Step {
    Step::failed(error.to_string())
}

#[async_trait]
impl Stage for SavePipelineStage {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = invocation.context;
        if flag(context, "isBulkSavingPipelines") {
            return match given(context, "pipelines") {
                Ok(Value::Array(all)) if all.len() <= MOST => self.bulk(invocation, &all).await,
                Ok(Value::Array(all)) => Ok(Step::failed(format!(
                    "{} pipelines: {MOST} at most",
                    all.len()
                ))),
                Ok(_) => Ok(Step::failed("pipelines is no list")),
                Err(error) => Ok(invalid(&error)),
            };
        }
        let config = match given(context, "pipeline") {
            Ok(config @ Value::Object(_)) => config,
            Ok(_) => return Ok(Step::failed("pipeline is no object")),
            Err(error) => return Ok(invalid(&error)),
        };
        let save = Save {
            action: "save".to_owned(),
            application: None,
            config: prepared(context, &config, flag(context, "isSavingMultiplePipelines")),
            stale_check: stale_check(context),
        };
        let about = |id: Option<&Value>| {
            let mut about = Map::from_iter([
                ("notification.type".to_owned(), "savepipeline".into()),
                (
                    "application".to_owned(),
                    config.get("application").cloned().unwrap_or_default(),
                ),
                (
                    "pipeline.name".to_owned(),
                    config.get("name").cloned().unwrap_or_default(),
                ),
            ]);
            if let Some(id) = id {
                about.insert("pipeline.id".to_owned(), id.clone());
            }
            about
        };
        Ok(match self.pipelines.save(invocation, &save).await?.0 {
            Outcome::Done(answer) => Step::Succeeded {
                outputs: Map::new(),
                context: about(answer.get("id")),
            },
            Outcome::Refused(reason) => Step::failed(reason),
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.pipelines.undo(invocation, intent).await
    }
}
