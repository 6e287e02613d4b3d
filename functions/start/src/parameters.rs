//! The parameters of an execution: what was given, and the defaults of the rest.

use gennaker_domain::Problem;
use gennaker_triggers::manual;
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
/// required one counts as missing if it is asked for (`conditional`), not given, or null, and has no default but the
/// empty text. Where [`Required::Enforced`], a given value has to be one of the options, and a date where one is wanted.
///
/// # Errors
/// One `missing-parameter` for each that is required and missing, one `invalid-parameter` for each wrong value.
pub fn parameters(
    config: &[Value],
    given: &Map<String, Value>,
    required: Required,
) -> Result<Map<String, Value>, Vec<Problem>> {
    let named = || {
        config.iter().filter_map(|parameter| {
            let name = parameter.get("name").and_then(Value::as_str)?;
            Some((name, parameter.as_object()?))
        })
    };
    let mut filled = given.clone();
    for (name, parameter) in named() {
        if !filled.contains_key(name)
            && let Some(default) = default_of(parameter)
        {
            filled.insert(name.to_owned(), default.clone());
        }
    }
    if required == Required::Tolerated {
        return Ok(filled);
    }
    let problems: Vec<Problem> = named()
        .filter(|(_, parameter)| manual::is_asked(parameter, &filled))
        .filter_map(|(name, parameter)| problem(name, parameter, given))
        .collect();
    if problems.is_empty() {
        Ok(filled)
    } else {
        Err(problems)
    }
}

fn default_of(parameter: &Map<String, Value>) -> Option<&Value> {
    parameter
        .get("default")
        .filter(|default| !default.is_null())
}

/// What keeps a start by hand from beginning with what was given for one parameter.
fn problem(
    name: &str,
    parameter: &Map<String, Value>,
    given: &Map<String, Value>,
) -> Option<Problem> {
    let path = format!("$.parameters['{name}']");
    if let Some(value) = given.get(name).filter(|value| !value.is_null()) {
        let wrong = manual::value_problem(parameter, value)?;
        let problem = Problem::error(
            "invalid-parameter",
            path,
            format!("parameter `{name}`: {wrong}"),
        );
        let options = options(parameter);
        return Some(if options.is_empty() {
            problem
        } else {
            problem.with_hint(format!("one of {options}"))
        });
    }
    let has_default = default_of(parameter).is_some_and(|default| default.as_str() != Some(""));
    let is_required = parameter.get("required") == Some(&Value::Bool(true));
    (is_required && !has_default).then(|| {
        Problem::error(
            "missing-parameter",
            path,
            format!("required parameter `{name}` is missing"),
        )
        .with_hint(format!("give it with `--parameter {name}=…`"))
    })
}

/// The options, for a hint: the first twenty.
fn options(parameter: &Map<String, Value>) -> String {
    let options = parameter.get("options").and_then(Value::as_array);
    let values: Vec<String> = options
        .into_iter()
        .flatten()
        .filter_map(|option| option.get("value"))
        .map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
        .map(|value| format!("`{value}`"))
        .take(20)
        .collect();
    values.join(", ")
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

    #[test]
    fn what_is_no_option_and_no_date_is_refused_where_a_person_gave_it() {
        let config = [
            json!({"name": "size", "hasOptions": true, "options": [{"value": "small"}, {"value": 3}], "default": "huge"}),
            json!({"name": "day", "constraint": "date"}),
        ];
        let check = |values: Value| {
            let problems = parameters(&config, &given(values), Required::Enforced);
            let problems = problems.err().unwrap_or_default();
            let codes: Vec<String> = problems.iter().map(|one| one.code.clone()).collect();
            (codes.len(), problems)
        };
        assert_eq!(check(json!({"size": "3", "day": "2026-01-31"})).0, 0);
        // What the author chose as a default is not the caller's mistake; nor is an empty value one.
        assert_eq!(check(json!({"day": ""})).0, 0);
        let (count, problems) = check(json!({"size": "large", "day": "soon"}));
        assert_eq!(count, 2);
        assert_eq!(problems[0].code, "invalid-parameter");
        assert_eq!(problems[0].hint.as_deref(), Some("one of `small`, `3`"));
        let event = given(json!({"size": "large"}));
        assert!(parameters(&config, &event, Required::Tolerated).is_ok());
    }

    #[test]
    fn a_required_parameter_is_missing_only_where_it_is_asked_for() {
        let config = [
            json!({"name": "kind", "default": "canary"}),
            json!({"name": "percent", "required": true, "conditional": true,
                "condition": {"parameter": "kind", "comparator": "=", "comparatorValue": "canary"}}),
        ];
        let asked = parameters(&config, &Map::new(), Required::Enforced);
        assert_eq!(asked.unwrap_err().len(), 1);
        let other = given(json!({"kind": "full"}));
        assert!(parameters(&config, &other, Required::Enforced).is_ok());
    }
}
