#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::error_name::Poll;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value};

/// The `wait` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait;

impl Wait {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// What a wait does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The time has come, or a person skipped the rest.
    Over {
        /// Skipped.
        skipped: bool,
    },
    /// Not yet.
    Remaining {
        /// Milliseconds still to wait.
        millis: i64,
    },
}

/// How much too early the second look at a sleeping wait may come. Step Functions counts the time-out from when it calls the
/// function, the stage from when the function runs: without this the wait would sleep for its whole time again.
pub const TOLERANCE_MILLIS: i64 = 2_000;

/// Whether a wait of `wait_millis` that began `waited_millis` ago is over.
///
/// A wait of zero, or of less, is over at once; a null `waitTime` counts as zero, as in Orca. A wait that `sleeps` is looked
/// at twice, at its begin and when its Task's time has run out.
#[must_use]
pub fn decide(wait_millis: i64, waited_millis: i64, skipped: bool, sleeps: bool) -> Decision {
    let early = sleeps
        && waited_millis > 0
        && wait_millis.saturating_sub(waited_millis) <= TOLERANCE_MILLIS;
    if skipped || early || waited_millis >= wait_millis {
        Decision::Over {
            skipped: skipped && waited_millis < wait_millis,
        }
    } else {
        Decision::Remaining {
            millis: wait_millis.saturating_sub(waited_millis),
        }
    }
}

/// `waitTime` in milliseconds: a number of seconds, or a text that is one.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for anything else, an expression that was not resolved among it.
pub fn wait_millis(context: &Map<String, Value>) -> Result<i64, StageError> {
    let seconds = match context.get("waitTime") {
        None | Some(Value::Null) => Some(0.0),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) => None,
    };
    match seconds.filter(|seconds| seconds.is_finite() && seconds.abs() < 1e12) {
        #[allow(clippy::cast_possible_truncation)] // Below 1e15.
        Some(seconds) => Ok((seconds * 1_000.0) as i64),
        None => {
            let found = context.get("waitTime").cloned().unwrap_or_default();
            Err(StageError::invalid(
                "waitTime",
                format!("`{found}` is not a number of seconds"),
            ))
        }
    }
}

#[async_trait]
impl Stage for Wait {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let total = wait_millis(invocation.context)?;
        let skipped = invocation.context.get("skipRemainingWait") == Some(&Value::Bool(true))
            || invocation.wait_is_skipped().await?;
        Ok(
            match decide(total, invocation.waited(), skipped, invocation.stage.woken) {
                Decision::Over { skipped } => {
                    let mut context = Map::new();
                    if skipped {
                        context.insert("skipRemainingWait".to_owned(), true.into());
                    }
                    Step::Succeeded {
                        outputs: Map::new(),
                        context,
                    }
                }
                Decision::Remaining { millis } => Step::Waiting {
                    reason: format!("{} s of {} s left", (millis + 999) / 1_000, total / 1_000),
                    memory: Map::new(),
                    // The largest poll that does not overshoot, one minute at most: a skip takes effect then.
                    poll: Some(Poll::within(millis).min(Poll::OneMinute)),
                },
            },
        )
    }

    /// A wait that ends by itself before its time-out never times out: its Task's only time is that of the wait.
    #[allow(clippy::cast_precision_loss)] // Below 1e15.
    fn times_out(&self, context: &Map<String, Value>, limit_millis: f64) -> bool {
        wait_millis(context).is_ok_and(|millis| millis as f64 > limit_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wait_is_over_when_its_time_has_come_or_a_person_skips_it() {
        assert_eq!(
            decide(30_000, 29_999, false, false),
            Decision::Remaining { millis: 1 }
        );
        assert_eq!(
            decide(30_000, 30_000, false, false),
            Decision::Over { skipped: false }
        );
        assert_eq!(
            decide(30_000, 1, true, false),
            Decision::Over { skipped: true }
        );
        assert_eq!(
            decide(0, 0, false, false),
            Decision::Over { skipped: false }
        );
        assert_eq!(
            decide(-5, 0, false, false),
            Decision::Over { skipped: false }
        );
    }

    #[test]
    fn a_sleeping_wait_is_over_when_its_task_is_called_again_a_little_early() {
        assert_eq!(
            decide(1_000, 0, false, true),
            Decision::Remaining { millis: 1_000 },
            "the first look"
        );
        assert_eq!(
            decide(30_000, 29_950, false, true),
            Decision::Over { skipped: false }
        );
        assert_eq!(
            decide(30_000, 20_000, false, true),
            Decision::Remaining { millis: 10_000 }
        );
    }

    #[test]
    fn wait_time_is_read_as_people_write_it() {
        let millis = |value: Value| wait_millis(json!({ "waitTime": value }).as_object().unwrap());
        assert_eq!(millis(json!(30)).unwrap(), 30_000);
        assert_eq!(millis(json!("30")).unwrap(), 30_000);
        assert_eq!(millis(json!(1.5)).unwrap(), 1_500);
        assert_eq!(millis(json!(null)).unwrap(), 0);
        assert!(millis(json!("${x}")).is_err());
        assert!(millis(json!(1e300)).is_err());
        assert!(millis(json!({})).is_err());
    }
}
