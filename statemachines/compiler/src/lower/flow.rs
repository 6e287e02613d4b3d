//! Waits and other stages that only pass time.

use serde_json::{Map, Value};

use super::Task;
use crate::catalog::{StageType, Waiting};

/// Longest literal wait that one `TimeoutSeconds` holds: the API's own maximum.
const LONGEST_SECONDS: f64 = 99_999_999.0;
/// What a wait that is computed when it starts is taken to last at most: one day. It bounds the events of the plan.
const COMPUTED_SECONDS: u64 = 86_400;

/// A `wait` of a literal length is woken: its Task's own time-out ends it, a skip wakes it before.
pub(super) fn literal_waits(
    known: &'static StageType,
    context: &Map<String, Value>,
    task: Task,
) -> Task {
    match known.name {
        "wait" => match literal_seconds(context.get("waitTime")) {
            Some(seconds) if seconds >= 1 => Task {
                waiting: Waiting::Woken {
                    look_again_seconds: seconds,
                },
                time_limit_seconds: u64::from(seconds),
                usual_seconds: Some(u64::from(seconds)),
                ..task
            },
            // Nothing to wait for: one call.
            Some(_) => task,
            None => Task {
                time_limit_seconds: COMPUTED_SECONDS,
                ..task
            },
        },
        "waitUntil" => Task {
            time_limit_seconds: COMPUTED_SECONDS,
            ..task
        },
        _ => task,
    }
}

/// The whole seconds of a `waitTime`, rounded up; none if it is an expression. Absent is 0.
fn literal_seconds(written: Option<&Value>) -> Option<u32> {
    let seconds = match written {
        None | Some(Value::Null) => 0.0,
        Some(Value::Number(number)) => number.as_f64()?,
        Some(Value::String(text)) if text.trim().is_empty() => 0.0,
        Some(Value::String(text)) => text.trim().parse::<f64>().ok()?,
        Some(_) => return None,
    };
    if seconds.is_nan() {
        return None;
    }
    // In range after the clamp; a negative wait is over at once.
    Some(seconds.ceil().clamp(0.0, LONGEST_SECONDS) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wait_is_literal_unless_it_is_an_expression() {
        for (written, expected) in [
            (json!(30), Some(30)),
            (json!("30"), Some(30)),
            (json!(0.2), Some(1)),
            (json!(-5), Some(0)),
            (json!(null), Some(0)),
            (json!(1e300), Some(99_999_999)),
            (json!("${parameters.minutes * 60}"), None),
            (json!("NaN"), None),
            (json!([1]), None),
        ] {
            assert_eq!(literal_seconds(Some(&written)), expected, "{written}");
        }
    }
}
