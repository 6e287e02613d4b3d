//! JSON as the original reads it: texts from numbers, numbers from texts, and what is refused.

use serde_json::{Map, Number, Value};

/// Why a JSON document cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("`{field}` {expected}, not {found}")]
pub struct Unreadable {
    /// Name of the field.
    pub field: String,
    /// What it has to be.
    pub expected: &'static str,
    /// What it is, shortened.
    pub found: String,
}

impl Unreadable {
    pub(crate) fn new(field: &str, expected: &'static str, found: &Value) -> Self {
        let mut text = found.to_string();
        if text.len() > 60 {
            let end = (0..=57).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        Self {
            field: field.to_owned(),
            expected,
            found: text,
        }
    }
}

/// An object, or an error that names the field.
pub(crate) fn object<'a>(
    field: &str,
    value: &'a Value,
) -> Result<Option<&'a Map<String, Value>>, Unreadable> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map)),
        other => Err(Unreadable::new(field, "has to be an object", other)),
    }
}

/// A list, or an error that names the field.
pub(crate) fn list<'a>(field: &str, value: &'a Value) -> Result<Option<&'a [Value]>, Unreadable> {
    match value {
        Value::Null => Ok(None),
        Value::Array(list) => Ok(Some(list)),
        other => Err(Unreadable::new(field, "has to be a list", other)),
    }
}

/// A text: numbers and booleans become one.
pub(crate) fn text(field: &str, value: &Value) -> Result<Option<String>, Unreadable> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok(Some(java_text(value))),
        other => Err(Unreadable::new(field, "has to be a text", other)),
    }
}

/// A list of texts; its elements may be null.
pub(crate) fn texts(field: &str, value: &Value) -> Result<Option<Vec<Option<String>>>, Unreadable> {
    list(field, value)?
        .map(|items| items.iter().map(|item| text(field, item)).collect())
        .transpose()
}

/// A boolean. A missing one is false; `"true"` and numbers that are not 0 are true.
pub(crate) fn boolean(field: &str, value: &Value) -> Result<bool, Unreadable> {
    Ok(nullable_boolean(field, value)?.unwrap_or(false))
}

/// A boolean that may be missing.
pub(crate) fn nullable_boolean(field: &str, value: &Value) -> Result<Option<bool>, Unreadable> {
    let refused = || Unreadable::new(field, "has to be true or false", value);
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            Ok(Some(number.as_i64() != Some(0)))
        }
        Value::String(text) => match text.trim() {
            "true" | "True" | "TRUE" => Ok(Some(true)),
            "false" | "False" | "FALSE" => Ok(Some(false)),
            "" | "null" => Ok(None),
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

/// An integer: fractions are cut off, texts are read.
pub(crate) fn integer(field: &str, value: &Value) -> Result<Option<i64>, Unreadable> {
    let refused = || Unreadable::new(field, "has to be an integer", value);
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => {
            let whole = match number.as_i64() {
                Some(whole) => whole,
                None => {
                    let float = number.as_f64().ok_or_else(refused)?.trunc();
                    if float.abs() > f64::from(i32::MAX) {
                        return Err(refused());
                    }
                    // Within the range of i32, so nothing is lost.
                    float as i64
                }
            };
            i32::try_from(whole).map_err(|_| refused())?;
            Ok(Some(whole))
        }
        Value::String(text) => match text.trim() {
            "" | "null" => Ok(None),
            digits => digits
                .parse::<i32>()
                .map(|n| Some(i64::from(n)))
                .map_err(|_| refused()),
        },
        _ => Err(refused()),
    }
}

/// Java's text of a value: `{a=1, b=[x, y]}`, `2.0`, `1.0E10`.
pub(crate) fn java_text(value: &Value) -> String {
    let mut out = String::new();
    write_java_text(value, &mut out);
    out
}

fn write_java_text(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_java_text(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(key);
                out.push('=');
                write_java_text(item, out);
            }
            out.push('}');
        }
    }
}

fn write_number(number: &Number, out: &mut String) {
    match number.as_f64() {
        Some(float) if number.is_f64() => out.push_str(&java_double(float)),
        _ => out.push_str(&number.to_string()),
    }
}

/// Java's `Double.toString`: decimal between 10^-3 and 10^7, otherwise with an exponent.
fn java_double(float: f64) -> String {
    if float == 0.0 {
        return if float.is_sign_negative() {
            "-0.0"
        } else {
            "0.0"
        }
        .to_owned();
    }
    let magnitude = float.abs();
    if (1e-3..1e7).contains(&magnitude) {
        return format!("{float:?}");
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

/// The value without null entries in its objects, as it is sent on; lists keep theirs.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map_without_nulls(map)),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

pub(crate) fn map_without_nulls(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), without_nulls(value)))
        .collect()
}

/// Deepest nesting that is read from outside; deeper ones are refused before they cost anything.
pub(crate) const MAX_DEPTH: usize = 100;

/// How deep the braces and brackets of a JSON text nest, counted without building anything.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_print_as_in_java() {
        for (value, wanted) in [
            (json!(2.0), "2.0"),
            (json!(1e10), "1.0E10"),
            (json!(1e-5), "1.0E-5"),
            (json!(1.25e8), "1.25E8"),
            (json!(0.1), "0.1"),
            (json!(100), "100"),
            (
                json!({"a": 1, "b": [null, "x", {}]}),
                "{a=1, b=[null, x, {}]}",
            ),
        ] {
            assert_eq!(java_text(&value), wanted);
        }
    }

    #[test]
    fn depth_ignores_what_is_quoted() {
        assert_eq!(depth(br#"{"a":["[[[",{"\"[":1}]}"#), 3);
        assert_eq!(depth(b"]]]["), 1);
    }
}
