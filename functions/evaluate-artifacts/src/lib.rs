#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_cloud::Connection;
use gennaker_domain::artifact;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value, json};

/// Bytes of all contents together: they are kept in the stage's record, which has 400 KB, as base64 and twice.
const MOST_BYTES: usize = 120_000;

/// The `evaluateArtifacts` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvaluateArtifacts;

impl EvaluateArtifacts {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// The embedded artifacts that these resolved contents make.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for what is no list of contents, or too long.
pub fn artifacts(context: &Map<String, Value>) -> Result<Vec<Value>, StageError> {
    let contents = match context.get("artifactContents") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(contents)) => contents,
        Some(other) => {
            return Err(StageError::invalid(
                "artifactContents",
                format!("`{other}` is not a list of contents"),
            ));
        }
    };
    let mut bytes = 0_usize;
    let mut made = Vec::with_capacity(contents.len());
    for (index, one) in contents.iter().enumerate() {
        let field = |name: &str| format!("artifactContents[{index}].{name}");
        let name = one
            .get("name")
            .and_then(Value::as_str)
            .ok_or_else(|| StageError::invalid(field("name"), "the artifact has no name"))?;
        // An expression may have made a list or a map of it.
        let text = match one.get("contents") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        bytes = bytes.saturating_add(text.len());
        if bytes > MOST_BYTES {
            return Err(StageError::invalid(
                field("contents"),
                format!("the contents have more than {MOST_BYTES} bytes together; keep them in S3"),
            ));
        }
        let mut metadata = Map::new();
        if let Some(id) = one.get("id").filter(|id| id.is_string()) {
            metadata.insert("id".to_owned(), id.clone());
        }
        made.push(json!({
            "type": "embedded/base64",
            "customKind": false,
            "name": name,
            "reference": STANDARD.encode(text),
            "metadata": metadata,
        }));
    }
    Ok(made)
}

#[async_trait]
impl Stage for EvaluateArtifacts {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let made = artifacts(invocation.context)?;
        let expected = invocation
            .context
            .get("expectedArtifacts")
            .and_then(Value::as_array)
            .filter(|expected| !expected.is_empty());
        let outputs = match expected {
            None => Map::from_iter([("artifacts".to_owned(), json!(made))]),
            Some(expected) => match artifact::bind(expected, &made, &[], false) {
                Ok(bound) => bound.outputs(),
                Err(error) => return Ok(Step::failed(error.to_string())),
            },
        };
        Ok(Step::Succeeded {
            outputs,
            context: Map::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(contents: Value) -> Result<Vec<Value>, StageError> {
        artifacts(json!({ "artifactContents": contents }).as_object().unwrap())
    }

    #[test]
    fn contents_become_embedded_artifacts() {
        let made = of(json!([
            { "name": "values.yml", "contents": "tag: v1\n", "id": "u-1" },
            { "name": "made", "contents": { "a": 1 } },
        ]))
        .unwrap();
        assert_eq!(made[0]["reference"], "dGFnOiB2MQo=");
        assert_eq!(
            (&made[0]["type"], &made[0]["metadata"]["id"]),
            (&json!("embedded/base64"), &json!("u-1"))
        );
        assert_eq!(made[1]["reference"], STANDARD.encode(r#"{"a":1}"#));
        assert!(of(json!(null)).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        for contents in [
            json!("x"),
            json!([{ "contents": "x" }]),
            json!([{ "name": "big", "contents": "x".repeat(MOST_BYTES + 1) }]),
        ] {
            assert!(of(contents).is_err());
        }
    }
}
