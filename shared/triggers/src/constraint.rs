//! Payload and attribute constraints.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gennaker_expressions::{JsonPath, Pattern};
use serde_json::{Map, Value};

use crate::json::java_text;

/// Why a constraint gave no answer; the trigger does not match.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum ConstraintError {
    /// There are constraints and nothing to compare them with.
    #[error("the event has no payload")]
    NoPayload,
    /// The same, where keys may be JSON paths.
    #[error("the event has no payload")]
    NoDocument,
    /// A constraint has an empty key.
    #[error("the name of a constraint is empty")]
    EmptyKey,
    /// A constraint on a path has no regular expression.
    #[error("the constraint `{0}` has no value")]
    NoValue(String),
    /// A list that a path names holds null.
    #[error("`{0}` names a list with an empty value")]
    NullElement(String),
    /// A list that a path names holds something that is no text.
    #[error("`{0}` names a list with a value that is no text")]
    NotText(String),
    /// Following the path takes too long.
    #[error("{0}")]
    TooCostly(String),
}

impl ConstraintError {
    /// What the original throws.
    pub(crate) fn original(&self) -> &'static str {
        match self {
            Self::NoPayload | Self::NoValue(_) | Self::NullElement(_) => "NullPointerException",
            Self::NotText(_) => "ClassCastException",
            Self::NoDocument | Self::EmptyKey | Self::TooCostly(_) => "IllegalArgumentException",
        }
    }
}

/// Whether a part of the text matches. An invalid pattern matches nothing.
fn finds(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.finds(text) == Ok(true))
}

/// The regular expressions of constraints, compiled when they are first asked.
#[derive(Debug, Default)]
pub(crate) struct Patterns(OnceLock<BTreeMap<String, Option<Pattern>>>);

impl Clone for Patterns {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Patterns {
    /// Whether a part of the text matches one of the patterns that `constraints` holds.
    pub(crate) fn finds(
        &self,
        constraints: &[&Map<String, Value>],
        pattern: &str,
        text: &str,
    ) -> bool {
        let compiled = self.0.get_or_init(|| {
            constraints
                .iter()
                .flat_map(|map| map.values())
                .filter(|value| !value.is_null())
                .map(|value| {
                    let pattern = java_text(value);
                    let compiled = Pattern::new(&pattern).ok();
                    (pattern, compiled)
                })
                .collect()
        });
        compiled
            .get(pattern)
            .and_then(Option::as_ref)
            .is_some_and(|pattern| pattern.finds(text) == Ok(true))
    }
}

/// What stands against a trigger, for a person; none if every constraint holds.
pub type Verdict = Result<Option<String>, ConstraintError>;

fn unmet(key: &str, wanted: &Value, found: &str) -> String {
    // The payload is the sender's: only as much of it as a person needs.
    let shown: String = found.chars().take(80).collect();
    format!(
        "`{key}` is `{shown}`, which does not match `{}`",
        java_text(wanted)
    )
}

/// Every key has to be there, and its text has to contain the regular expression (none: any value does).
///
/// # Errors
/// There are constraints and no payload.
pub fn literal(constraints: &Map<String, Value>, payload: Option<&Map<String, Value>>) -> Verdict {
    literal_with(constraints, payload, &finds)
}

pub(crate) fn literal_with(
    constraints: &Map<String, Value>,
    payload: Option<&Map<String, Value>>,
    finds: &dyn Fn(&str, &str) -> bool,
) -> Verdict {
    for (key, wanted) in constraints {
        let payload = payload.ok_or(ConstraintError::NoPayload)?;
        let Some(found) = payload.get(key).filter(|value| !value.is_null()) else {
            return Ok(Some(format!("the payload has no `{key}`")));
        };
        let found = java_text(found);
        if !wanted.is_null() && !finds(&java_text(wanted), &found) {
            return Ok(Some(unmet(key, wanted, &found)));
        }
    }
    Ok(None)
}

/// As [`literal`], but a key that the payload lacks is a JSON path: its value, or one of a list of texts, has to
/// contain the regular expression.
///
/// # Errors
/// There is no payload, a path is empty, or a list that a path names holds something that is no text.
pub fn json_path(
    constraints: &Map<String, Value>,
    payload: Option<&Map<String, Value>>,
) -> Verdict {
    json_path_with(constraints, payload, &finds)
}

pub(crate) fn json_path_with(
    constraints: &Map<String, Value>,
    payload: Option<&Map<String, Value>>,
    finds: &dyn Fn(&str, &str) -> bool,
) -> Verdict {
    let payload = payload.ok_or(ConstraintError::NoDocument)?;
    for (key, wanted) in constraints {
        if let Some(found) = payload.get(key).filter(|value| !value.is_null()) {
            let found = java_text(found);
            if !wanted.is_null() && !finds(&java_text(wanted), &found) {
                return Ok(Some(unmet(key, wanted, &found)));
            }
            continue;
        }
        if key.is_empty() {
            return Err(ConstraintError::EmptyKey);
        }
        let path = match JsonPath::parse(key) {
            Ok(path) => path,
            Err(error) => {
                return Ok(Some(format!(
                    "the payload has no `{key}`, and it is no JSON path: {error}"
                )));
            }
        };
        let Some(values) = selected(&path, payload)? else {
            return Ok(Some(format!("`{key}` names nothing in the payload")));
        };
        if wanted.is_null() {
            return Err(ConstraintError::NoValue(key.clone()));
        }
        let pattern = java_text(wanted);
        let mut met = false;
        for value in &values {
            let text = match value {
                Value::String(text) => text,
                Value::Null => return Err(ConstraintError::NullElement(key.clone())),
                _ => return Err(ConstraintError::NotText(key.clone())),
            };
            if finds(&pattern, text) {
                met = true;
                break;
            }
        }
        if !met {
            let found = match values.as_slice() {
                [Value::String(one)] => one.clone(),
                several => java_text(&Value::Array(several.to_vec())),
            };
            return Ok(Some(unmet(key, wanted, &found)));
        }
    }
    Ok(None)
}

/// The values that a path selects: the text of a single one, the elements of a list, or everything that an indefinite
/// path found. None for nothing, and for an object.
fn selected(
    path: &JsonPath,
    payload: &Map<String, Value>,
) -> Result<Option<Vec<Value>>, ConstraintError> {
    let found = path
        .find(payload)
        .map_err(|error| ConstraintError::TooCostly(error.to_string()))?;
    if !path.is_definite() {
        return Ok(Some(found));
    }
    Ok(match found.into_iter().next() {
        None | Some(Value::Null | Value::Object(_)) => None,
        Some(Value::Array(items)) => Some(items),
        Some(scalar) => Some(vec![Value::String(java_text(&scalar))]),
    })
}

/// Every attribute has to be a header that has exactly this value among its own.
#[must_use]
pub fn headers(
    constraints: &Map<String, Value>,
    found: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Option<String> {
    for (key, wanted) in constraints {
        let Some(values) = found(key).filter(|values| !values.is_empty()) else {
            return Some(format!("the request has no header `{key}`"));
        };
        let wanted_text = java_text(wanted);
        if !wanted.is_null() && !values.contains(&wanted_text) {
            return Some(format!("the header `{key}` is not `{wanted_text}`"));
        }
    }
    None
}
