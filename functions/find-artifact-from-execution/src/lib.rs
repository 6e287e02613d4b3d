#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::execution_json::execution_json;
use gennaker_domain::{Execution, Status, artifact};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value};

/// How far back executions are looked at: more than a page of a list, less than a function's time.
const MOST_EXECUTIONS: usize = 500;

/// The `findArtifactFromExecution` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct FindArtifactFromExecution;

impl FindArtifactFromExecution {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// What the stage looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Id of the pipeline.
    pub pipeline: String,
    /// Statuses that count; none is any.
    pub statuses: Vec<Status>,
    /// What has to be found.
    pub expected: Vec<Value>,
}

impl Wanted {
    /// Reads a stage's resolved context.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] with field and value.
    pub fn of(context: &Map<String, Value>) -> Result<Self, StageError> {
        let pipeline = context
            .get("pipeline")
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .ok_or_else(|| StageError::invalid("pipeline", "the stage names no pipeline"))?;
        let options = context.get("executionOptions");
        let chosen = |names: &[&str]| {
            names.iter().any(
                |name| match options.and_then(|options| options.get(*name)) {
                    Some(Value::Bool(chosen)) => *chosen,
                    Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
                    _ => false,
                },
            )
        };
        let statuses = [
            (Status::Succeeded, &["succeeded", "successful"][..]),
            (Status::Terminal, &["terminal"][..]),
            (Status::Running, &["running"][..]),
        ]
        .into_iter()
        .filter(|(_, names)| chosen(names))
        .map(|(status, _)| status)
        .collect();
        let expected = match (
            context.get("expectedArtifacts"),
            context.get("expectedArtifact"),
        ) {
            (Some(Value::Array(expected)), _) => expected.clone(),
            (None | Some(Value::Null), Some(expected @ Value::Object(_))) => {
                vec![expected.clone()]
            }
            _ => {
                return Err(StageError::invalid(
                    "expectedArtifacts",
                    "the stage names no artifact that it looks for",
                ));
            }
        };
        Ok(Self {
            pipeline: pipeline.to_owned(),
            statuses,
            expected,
        })
    }

    fn counts(&self, execution: &Execution) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&execution.status)
    }
}

/// The artifacts of an execution, its own stage of this `refId` left out: it would find what it found before.
async fn artifacts(
    invocation: &Invocation<'_>,
    execution: &Execution,
) -> Result<Vec<Value>, StageError> {
    let store = invocation.store();
    let Some(plan) = store.plan(&execution.plan_hash).await? else {
        return Ok(Vec::new());
    };
    let records = store.stages(&execution.id).await?;
    let trigger = store.trigger(&execution.id).await?.unwrap_or(Value::Null);
    let json = execution_json(&plan, execution, &records, &trigger);
    Ok(artifact::of_execution(
        &json,
        Some(&invocation.stage.ref_id),
    ))
}

#[async_trait]
impl Stage for FindArtifactFromExecution {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let wanted = Wanted::of(invocation.context)?;
        let executions = invocation
            .store()
            .executions_of_pipeline(&wanted.pipeline, MOST_EXECUTIONS)
            .await?;
        let found = executions.iter().find(|execution| wanted.counts(execution));
        let candidates = match found {
            Some(execution) => artifacts(invocation, execution).await?,
            None => Vec::new(),
        };
        Ok(
            match artifact::bind(&wanted.expected, &candidates, &[], false) {
                Ok(bound) => Step::Succeeded {
                    outputs: bound.outputs(),
                    context: bound.outputs(),
                },
                Err(error) => Step::failed(match found {
                    Some(execution) => format!("{error} Looked at execution {}.", execution.id),
                    None => format!(
                        "{error} Pipeline `{}` has no execution that counts.",
                        wanted.pipeline
                    ),
                }),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(context: Value) -> Result<Wanted, StageError> {
        Wanted::of(context.as_object().unwrap())
    }

    #[test]
    fn statuses_are_read_under_both_names() {
        let expected = json!({ "id": "a", "matchArtifact": {} });
        let wanted = of(json!({ "pipeline": "p", "expectedArtifact": expected, "executionOptions": { "successful": true, "running": "true", "terminal": false } })).unwrap();
        assert_eq!(wanted.statuses, [Status::Succeeded, Status::Running]);
        assert_eq!(wanted.expected.len(), 1);
        let wanted = of(json!({ "pipeline": "p", "expectedArtifacts": [expected], "executionOptions": { "succeeded": true } })).unwrap();
        assert_eq!(wanted.statuses, [Status::Succeeded]);
        assert!(
            of(json!({ "pipeline": "p", "expectedArtifacts": [] }))
                .unwrap()
                .statuses
                .is_empty()
        );
    }

    #[test]
    fn a_stage_without_pipeline_or_artifact_is_told() {
        assert!(of(json!({ "expectedArtifacts": [] })).is_err());
        assert!(of(json!({ "pipeline": "p" })).is_err());
        assert!(of(json!({ "pipeline": "p", "expectedArtifact": "x" })).is_err());
    }
}
