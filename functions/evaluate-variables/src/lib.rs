#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value};

/// A stage's own time-out is not an output: it would be the time-out of whoever comes after, and Orca filters it too.
const NO_OUTPUT: &str = "stageTimeoutMs";

/// The `evaluateVariables` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvaluateVariables;

impl EvaluateVariables {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// The outputs of a stage with these resolved variables: every key with its value, the last one where two are the same.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for what is no list of variables.
pub fn outputs(context: &Map<String, Value>) -> Result<Map<String, Value>, StageError> {
    let variables = match context.get("variables") {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Array(variables)) => variables,
        Some(other) => {
            return Err(StageError::invalid(
                "variables",
                format!("`{other}` is not a list of variables"),
            ));
        }
    };
    let mut outputs = Map::new();
    for (index, variable) in variables.iter().enumerate() {
        let key = variable
            .get("key")
            .and_then(Value::as_str)
            .filter(|key| !key.is_empty())
            .ok_or_else(|| {
                StageError::invalid(format!("variables[{index}].key"), "the variable has no key")
            })?;
        if key != NO_OUTPUT {
            let value = variable.get("value").cloned().unwrap_or_default();
            outputs.insert(key.to_owned(), value);
        }
    }
    Ok(outputs)
}

#[async_trait]
impl Stage for EvaluateVariables {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        Ok(Step::Succeeded {
            outputs: outputs(invocation.context)?,
            context: Map::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(variables: Value) -> Result<Map<String, Value>, StageError> {
        outputs(json!({ "variables": variables }).as_object().unwrap())
    }

    #[test]
    fn every_key_is_an_output_with_its_value_as_it_is() {
        let found = of(json!([
            { "key": "a", "value": 2, "sourceValue": "{1+1}" },
            { "key": "list", "value": [1, { "b": null }], "description": "d" },
            { "key": "a", "value": "last" },
            { "key": "none" },
            { "key": "stageTimeoutMs", "value": 1 },
        ]))
        .unwrap();
        assert_eq!(
            Value::Object(found),
            json!({ "a": "last", "list": [1, { "b": null }], "none": null })
        );
        assert!(of(json!(null)).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_list_of_variables_is_told() {
        for variables in [
            json!("a"),
            json!([{ "value": 1 }]),
            json!([{ "key": "" }]),
            json!([7]),
        ] {
            let error = of(variables.clone()).unwrap_err();
            assert!(
                matches!(error, StageError::InvalidConfiguration { .. }),
                "{variables}"
            );
        }
    }
}
