#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::error_name::Poll;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value};

/// The `waitUntil` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitUntil;

impl WaitUntil {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// `epochMillis`, UTC milliseconds: a number, or a text that is one. None if absent: nothing is waited for.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for anything else, an expression that was not resolved among it.
pub fn until(context: &Map<String, Value>) -> Result<Option<i64>, StageError> {
    let found = match context.get("epochMillis") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) => None,
    };
    match found.filter(|millis| millis.is_finite() && millis.abs() < 1e15) {
        #[allow(clippy::cast_possible_truncation)] // Below 1e15.
        Some(millis) => Ok(Some(millis as i64)),
        None => {
            let found = context.get("epochMillis").cloned().unwrap_or_default();
            Err(StageError::invalid(
                "epochMillis",
                format!("`{found}` is not a time in milliseconds since 1970"),
            ))
        }
    }
}

#[async_trait]
impl Stage for WaitUntil {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let Some(until) = until(invocation.context)? else {
            return Ok(Step::succeeded());
        };
        let left = until.saturating_sub(invocation.now);
        let start = Map::from_iter([("startTime".to_owned(), invocation.started.into())]);
        let over = |context: Map<String, Value>| Step::Succeeded {
            outputs: Map::new(),
            context,
        };
        if left <= 0 {
            return Ok(over(start));
        }
        let skipped = invocation.context.get("skipRemainingWait") == Some(&Value::Bool(true))
            || invocation.wait_is_skipped().await?;
        if skipped {
            let mut context = start;
            context.insert("skipRemainingWait".to_owned(), true.into());
            return Ok(over(context));
        }
        Ok(Step::Waiting {
            reason: format!("{} s left", (left + 999) / 1_000),
            memory: Map::new(),
            // The largest poll that does not overshoot: a wait of a month is 4,400 of them.
            poll: Some(Poll::within(left)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_time_is_read_as_people_write_it() {
        let read = |value: Value| until(json!({ "epochMillis": value }).as_object().unwrap());
        assert_eq!(
            read(json!(1_800_000_000_000_i64)).unwrap(),
            Some(1_800_000_000_000)
        );
        assert_eq!(
            read(json!(" 1800000000000 ")).unwrap(),
            Some(1_800_000_000_000)
        );
        assert_eq!(read(json!(null)).unwrap(), None);
        assert_eq!(read(json!("")).unwrap(), None);
        for wrong in [json!("${x}"), json!("tomorrow"), json!([]), json!(1e300)] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
