//! Templates of queries, as Kayenta expands them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{MetricsError, Scope};

/// What an expanded template may have at most, in bytes: no store takes longer queries.
const MAX_BYTES: usize = 64 * 1024;

/// The query's expanded template, none if it has no template.
///
/// `attributes` are the scope's properties that the source offers (`scope`, `location`, …); the query's own fields of
/// those names win over them, extended scope parameters over both.
///
/// # Errors
/// `customFilter`, which is no longer supported; a template that is not there; a name without a value.
pub fn expanded(
    templates: &Value,
    query: &Map<String, Value>,
    scope: &Scope,
    attributes: &[(&str, String)],
) -> Result<Option<String>, MetricsError> {
    if query
        .get("customFilter")
        .is_some_and(|value| !value.is_null())
    {
        return Err(MetricsError::query(
            "customFilter",
            "is no longer supported; use customInlineTemplate",
        ));
    }
    let text = |name: &str| {
        query
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let (field, template) = if let Some(inline) = text("customInlineTemplate") {
        ("customInlineTemplate", inline)
    } else if let Some(name) = text("customFilterTemplate") {
        let found = templates.get(name).and_then(Value::as_str);
        let template = found.ok_or_else(|| {
            let names: Vec<&str> = templates
                .as_object()
                .map(|map| map.keys().map(String::as_str).collect())
                .unwrap_or_default();
            let there = if names.is_empty() {
                "the configuration has no templates".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            MetricsError::query(
                "customFilterTemplate",
                format!("template `{name}` was not found; {there}"),
            )
        })?;
        ("customFilterTemplate", template)
    } else {
        return Ok(None);
    };
    let mut bindings: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in attributes {
        if !value.is_empty() {
            bindings.insert(name, value);
        }
        if let Some(own) = text(name) {
            bindings.insert(name, own);
        }
    }
    bindings.extend(
        scope
            .extended
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    expand(template, &bindings)
        .map(Some)
        .map_err(|reason| MetricsError::query(field, reason))
}

/// Replaces `${name}` (also written `$\{name}`) and `${name:-default}`; `$${name}` becomes `${name}`.
///
/// # Errors
/// A name without a value, and a result of more than 64 KiB. A `${` without its `}` is text, as the original has it.
pub fn expand(template: &str, bindings: &BTreeMap<&str, &str>) -> Result<String, String> {
    let template = template.replace("$\\{", "${");
    let mut result = String::with_capacity(template.len());
    let mut rest = template.as_str();
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some((inside, after)) = from.get(2..).and_then(|inside| inside.split_once('}')) else {
            break;
        };
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            result.push_str(inside);
            result.push('}');
        } else {
            result.push_str(before);
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let value = bindings.get(name).copied().or(default).ok_or_else(|| {
                let names: Vec<&str> = bindings.keys().copied().collect();
                format!(
                    "nothing is bound to `${{{name}}}`; there are {}",
                    names.join(", ")
                )
            })?;
            result.push_str(value);
        }
        if result.len() > MAX_BYTES {
            return Err("the expanded template is longer than 64 KiB".to_owned());
        }
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        Scope {
            scope: "shop-v002".to_owned(),
            location: "us-east-1".to_owned(),
            start: 0,
            end: 60_000,
            step: 60,
            extended: BTreeMap::from([("tier".to_owned(), "web".to_owned())]),
        }
    }

    fn of(templates: Value, query: Value) -> Result<Option<String>, MetricsError> {
        let scope = scope();
        let attributes = [
            ("scope", scope.scope.clone()),
            ("location", scope.location.clone()),
        ];
        expanded(&templates, query.as_object().unwrap(), &scope, &attributes)
    }

    #[test]
    fn names_defaults_and_escapes_are_expanded_as_the_original_does() {
        let bindings = BTreeMap::from([("a", "1"), ("b", "${a}")]);
        for (template, expected) in [
            ("${a}-$\\{a}", "1-1"),
            ("${c:-d}", "d"),
            ("${a:-d}", "1"),
            ("$${a} ${a}", "${a} 1"),
            ("${b}", "${a}"),
            ("${a", "${a"),
            ("a}{$", "a}{$"),
        ] {
            assert_eq!(expand(template, &bindings).unwrap(), expected, "{template}");
        }
        assert_eq!(
            expand("${c}", &bindings).unwrap_err(),
            "nothing is bound to `${c}`; there are a, b"
        );
    }

    #[test]
    fn an_inline_template_wins_over_a_named_one_and_extended_parameters_over_the_scope() {
        let query = json!({ "customInlineTemplate": "x=${tier}", "customFilterTemplate": "t" });
        assert_eq!(of(Value::Null, query).unwrap().unwrap(), "x=web");
        let query = json!({ "customFilterTemplate": "t", "location": "own" });
        let templates = json!({ "t": "${scope}/${location}" });
        assert_eq!(of(templates, query).unwrap().unwrap(), "shop-v002/own");
        assert_eq!(of(Value::Null, json!({ "metricName": "m" })).unwrap(), None);
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let error = of(
            json!({ "cpu": "x" }),
            json!({ "customFilterTemplate": "cup" }),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "customFilterTemplate: template `cup` was not found; there are cpu"
        );
        assert!(of(Value::Null, json!({ "customFilter": "x" })).is_err());
    }
}
