#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::artifact;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::Value;

/// The `bindProducedArtifacts` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct BindProducedArtifacts;

impl BindProducedArtifacts {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// A list of the context; absent is empty.
fn list(name: &str, value: Option<&Value>) -> Result<Vec<Value>, StageError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(_) => Err(StageError::invalid(name, format!("`{name}` is not a list"))),
    }
}

#[async_trait]
impl Stage for BindProducedArtifacts {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let expected = list(
            "expectedArtifacts",
            invocation.context.get("expectedArtifacts"),
        )?;
        if expected.is_empty() {
            return Ok(Step::succeeded());
        }
        // The stage's own, else those of the nearest stage before it that made some.
        let produced = list("artifacts", invocation.lookup("artifacts"))?;
        Ok(match artifact::bind(&expected, &produced, &[], false) {
            Ok(bound) => Step::Succeeded {
                outputs: bound.outputs(),
                context: bound.outputs(),
            },
            Err(error) => Step::failed(error.to_string()),
        })
    }
}
