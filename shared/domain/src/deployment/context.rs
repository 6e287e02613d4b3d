//! Reading the loosely typed values of a stage's context: pipelines carry booleans and numbers as strings.

use serde_json::{Map, Value};

/// A value of a stage's context that cannot be read as what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is `{value}`, expected {expected}")]
pub struct ContextError {
    /// The key in the stage's context.
    pub key: String,
    /// What stands there, as JSON.
    pub value: String,
    /// What was expected.
    pub expected: &'static str,
}

impl ContextError {
    pub(crate) fn new(key: &str, value: &Value, expected: &'static str) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_string(),
            expected,
        }
    }
}

/// A text; absent, null and anything but a text is `None`.
pub(crate) fn text(context: &Map<String, Value>, key: &str) -> Option<String> {
    context.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// A text that says something: the empty one is `None` too.
pub(crate) fn filled_text(context: &Map<String, Value>, key: &str) -> Option<String> {
    text(context, key).filter(|text| !text.is_empty())
}

/// A list of texts; other elements are left out, no list is `None`.
pub(crate) fn text_list(context: &Map<String, Value>, key: &str) -> Option<Vec<String>> {
    context.get(key).and_then(Value::as_array).map(|list| {
        list.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    })
}

/// A flag, also as the text `"true"` or `"false"`; absent, null and the empty text are `None`.
pub(crate) fn flag(context: &Map<String, Value>, key: &str) -> Result<Option<bool>, ContextError> {
    match context.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(value @ Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(ContextError::new(key, value, "true or false")),
        },
        Some(value @ Value::Number(number)) => match number.as_i64() {
            Some(number) => Ok(Some(number != 0)),
            None => Err(ContextError::new(key, value, "true or false")),
        },
        Some(value) => Err(ContextError::new(key, value, "true or false")),
    }
}

/// A whole number, also as text; a fraction is cut off as the original's JSON library does.
pub(crate) fn integer(
    context: &Map<String, Value>,
    key: &str,
) -> Result<Option<i64>, ContextError> {
    context
        .get(key)
        .map_or(Ok(None), |value| whole_number(key, value))
}

/// See [`integer`].
pub(crate) fn whole_number(key: &str, value: &Value) -> Result<Option<i64>, ContextError> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Ok(Some(number)),
            // A cast saturates; what is far outside the range of a capacity is refused there.
            #[allow(clippy::cast_possible_truncation)]
            (None, Some(number)) if number.is_finite() => Ok(Some(number.trunc() as i64)),
            _ => Err(ContextError::new(key, value, "a whole number")),
        },
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| ContextError::new(key, value, "a whole number")),
        _ => Err(ContextError::new(key, value, "a whole number")),
    }
}

/// An object; absent and anything else is `None`.
pub(crate) fn object<'a>(
    context: &'a Map<String, Value>,
    key: &str,
) -> Option<&'a Map<String, Value>> {
    context.get(key).and_then(Value::as_object)
}
