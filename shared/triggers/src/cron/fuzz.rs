//! `H`: a value that differs from trigger to trigger and stays the same for one, so that not all fire at once.

/// Why an expression cannot be fuzzed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the expression has fewer than six fields separated by single spaces")]
pub struct FuzzError;

/// Parts of an expression as Echo cuts it: at every single space, so two in a row make an empty part.
fn parts(expression: &str) -> Result<Vec<&str>, FuzzError> {
    let trimmed = expression.trim_matches(|c: char| c <= ' ');
    let mut parts: Vec<&str> = trimmed.split(' ').collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    if parts.len() < 6 {
        return Err(FuzzError);
    }
    Ok(parts)
}

/// Whether seconds, minutes or hours contain `H`.
///
/// # Errors
/// [`FuzzError`].
pub fn has_fuzz(expression: &str) -> Result<bool, FuzzError> {
    let parts = parts(expression)?;
    Ok(parts.iter().take(3).any(|part| part.contains('H')))
}

/// The expression with every `H` in seconds, minutes and hours replaced by a number made of the trigger's stored id.
/// One without is given back as it is.
///
/// # Errors
/// [`FuzzError`].
pub fn fuzzed(trigger_id: &str, expression: &str) -> Result<String, FuzzError> {
    if !has_fuzz(expression)? {
        return Ok(expression.to_owned());
    }
    let parts = parts(expression)?;
    let hash = java_hash(trigger_id);
    let wanted = if parts.len() == 7 { 7 } else { 6 };
    let made: Vec<String> = parts
        .iter()
        .take(wanted)
        .enumerate()
        .map(|(at, part)| match at {
            0 | 1 => part.replace('H', &(hash % 60).abs().to_string()),
            2 => part.replace('H', &(hash % 24).abs().to_string()),
            _ => (*part).to_owned(),
        })
        .collect();
    Ok(made.join(" "))
}

/// Java's `String.hashCode`.
pub(crate) fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}
