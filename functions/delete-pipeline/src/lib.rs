#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{Connection, Functions};
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_pipelines::{Outcome, Pipelines, given};
use serde_json::{Map, Value};

/// The `deletePipeline` stage.
#[derive(Clone, Debug)]
pub struct DeletePipeline {
    pipelines: Pipelines,
}

impl DeletePipeline {
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
}

#[async_trait]
impl Stage for DeletePipeline {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let config = match given(invocation.context, "pipeline") {
            Ok(Value::Object(config)) => config,
            Ok(_) => return Ok(Step::failed("pipeline is no object")),
            Err(error) => return Ok(Step::failed(error.to_string())),
        };
        Ok(
            match self.pipelines.delete(invocation, "delete", &config).await? {
                Outcome::Done(answer) => {
                    let mut context = Map::from_iter([(
                        "notification.type".to_owned(),
                        Value::from("deletepipeline"),
                    )]);
                    for (name, value) in [
                        ("application", config.get("application")),
                        ("pipeline.name", config.get("name")),
                        ("pipeline.id", answer.get("deleted").or(config.get("id"))),
                    ] {
                        if let Some(value) = value {
                            context.insert(name.to_owned(), value.clone());
                        }
                    }
                    Step::Succeeded {
                        outputs: Map::new(),
                        context,
                    }
                }
                Outcome::Refused(reason) => Step::failed(reason),
            },
        )
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.pipelines.undo(invocation, intent).await
    }
}
