//! The parameters of an execution: what was given, and the defaults of the rest.

use gennaker_domain::Problem;
use serde_json::{Map, Value};

/// Whether a required parameter that is missing stops the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// A person or a program started it and can do better.
    Enforced,
    /// An event started it; as in Spinnaker, it runs without.
    Tolerated,
}

/// The parameters with the defaults of `config` (`parameterConfig`) filled in.
///
/// A given parameter wins by being there, whatever its value; parameters that the pipeline does not know are kept. A
/// required one counts as missing if it is not given, or null, and has no default but the empty text.
///
/// # Errors
/// One `missing-parameter` for each that is required and missing.
pub fn parameters(
    config: &[Value],
    given: &Map<String, Value>,
    required: Required,
) -> Result<Map<String, Value>, Vec<Problem>> {
    let mut filled = given.clone();
    let mut problems = Vec::new();
    for parameter in config {
        let Some(name) = parameter.get("name").and_then(Value::as_str) else {
            continue;
        };
        let default = parameter
            .get("default")
            .filter(|default| !default.is_null());
        let is_required = parameter.get("required") == Some(&Value::Bool(true));
        let has_value = given.get(name).is_some_and(|value| !value.is_null());
        let has_default = default.is_some_and(|default| default.as_str() != Some(""));
        if is_required && !has_value && !has_default && required == Required::Enforced {
            problems.push(
                Problem::error(
                    "missing-parameter",
                    format!("$.parameters['{name}']"),
                    format!("required parameter `{name}` is missing"),
                )
                .with_hint(format!("give it with `--parameter {name}=…`")),
            );
        }
        if !filled.contains_key(name)
            && let Some(default) = default
        {
            filled.insert(name.to_owned(), default.clone());
        }
    }
    if problems.is_empty() {
        Ok(filled)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_given_parameter_wins_by_being_there_and_the_rest_get_their_defaults() {
        let config = [
            json!({"name": "region", "default": "us-east-1"}),
            json!({"name": "note", "default": "none"}),
            json!({"name": "size"}),
        ];
        let filled = parameters(
            &config,
            &given(json!({"note": "", "extra": 1})),
            Required::Enforced,
        );
        assert_eq!(
            Value::Object(filled.unwrap()),
            json!({"note": "", "extra": 1, "region": "us-east-1"})
        );
    }

    #[test]
    fn every_required_parameter_that_is_missing_is_named() {
        let config = [
            json!({"name": "a", "required": true}),
            json!({"name": "b", "required": true, "default": ""}),
            json!({"name": "c", "required": true, "default": "x"}),
            json!({"name": "d", "required": true}),
        ];
        let problems = parameters(&config, &given(json!({"d": 1})), Required::Enforced);
        let named: Vec<String> = problems.unwrap_err().into_iter().map(|p| p.path).collect();
        assert_eq!(named, ["$.parameters['a']", "$.parameters['b']"]);
        assert!(parameters(&config, &Map::new(), Required::Tolerated).is_ok());
    }
}
