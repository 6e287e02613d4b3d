#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::error_name::Poll;
use gennaker_domain::window::{self, TIME_ZONE};
use gennaker_lambda::{Invocation, Stage, StageError, Step, setting};
use serde_json::{Map, Value};

/// The `restrictExecutionDuringTimeWindow` stage.
#[derive(Clone, Debug)]
pub struct RestrictExecutionDuringTimeWindow {
    time_zone: String,
}

impl RestrictExecutionDuringTimeWindow {
    /// With windows in this time zone.
    pub fn new(time_zone: impl Into<String>) -> Self {
        Self {
            time_zone: time_zone.into(),
        }
    }

    /// With the installation's time zone (`EXECUTION_WINDOW_TIME_ZONE`), Spinnaker's if it names none.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self::new(setting("EXECUTION_WINDOW_TIME_ZONE").unwrap_or_else(|| TIME_ZONE.to_owned()))
    }
}

/// A number from `shortest` to `longest`, the same for the same text.
#[must_use]
pub fn spread(text: &str, shortest: i64, longest: i64) -> i64 {
    // FNV-1a: the stages of a fleet of pipelines have to differ, nothing more.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let width = u64::try_from(longest.saturating_sub(shortest)).unwrap_or(0);
    // The high bits are mixed best; the remainder is below 86,401.
    let offset = (hash >> 16) % width.saturating_add(1);
    shortest.saturating_add(i64::try_from(offset).unwrap_or(0))
}

#[async_trait]
impl Stage for RestrictExecutionDuringTimeWindow {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let Some(Value::Object(restricted)) = invocation.context.get("restrictedExecutionWindow")
        else {
            return Ok(Step::succeeded());
        };
        let skipped = invocation.context.get("skipRemainingWait") == Some(&Value::Bool(true))
            || invocation.wait_is_skipped().await?;
        if skipped {
            return Ok(Step::Succeeded {
                outputs: Map::new(),
                context: Map::from_iter([("skipRemainingWait".to_owned(), true.into())]),
            });
        }
        let opened = invocation.memory.get("opened").and_then(Value::as_i64);
        let opened = match opened {
            Some(opened) => opened,
            None => match window::opens_in_millis(restricted, &self.time_zone, invocation.now) {
                Ok(Some(0)) => invocation.now,
                Ok(Some(left)) => {
                    let minutes = (left + 59_999) / 60_000;
                    return Ok(wait(
                        format!("the window opens in {minutes} min"),
                        left,
                        Map::new(),
                    ));
                }
                Ok(None) => {
                    return Ok(Step::failed("the execution window never opens"));
                }
                Err(error) => {
                    return Ok(Step::failed(format!(
                        "Exception occurred while calculating time window: {error}"
                    )));
                }
            },
        };
        let manual = invocation.trigger.get("type").and_then(Value::as_str) == Some("manual");
        let Some((shortest, longest)) = window::jitter_seconds(restricted, manual) else {
            return Ok(Step::succeeded());
        };
        let text = format!("{}/{}", invocation.run.execution, invocation.stage.ref_id);
        let seconds = spread(&text, shortest, longest);
        let left = opened
            .saturating_add(seconds.saturating_mul(1_000))
            .saturating_sub(invocation.now);
        if left <= 0 {
            return Ok(Step::succeeded());
        }
        Ok(wait(
            format!("{} s of jitter left", (left + 999) / 1_000),
            left,
            Map::from_iter([("opened".to_owned(), opened.into())]),
        ))
    }

    /// As in Spinnaker: the time until the window opens counts against no time-out.
    fn times_out(&self, _context: &Map<String, Value>, _limit_millis: f64) -> bool {
        false
    }
}

fn wait(reason: String, left: i64, memory: Map<String, Value>) -> Step {
    Step::Waiting {
        reason,
        memory,
        // The largest poll that does not overshoot: a weekend is 400 of them.
        poll: Some(Poll::within(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jitter_is_the_same_for_the_same_stage_and_spreads_over_its_range() {
        assert_eq!(spread("01J/1", 5, 5), 5);
        assert_eq!(spread("01J/1", 0, 600), spread("01J/1", 0, 600));
        let all: Vec<i64> = (0..1_000)
            .map(|n| spread(&format!("01J{n}/1"), 10, 29))
            .collect();
        assert!(all.iter().all(|seconds| (10..=29).contains(seconds)));
        for seconds in 10..=29 {
            let hits = all.iter().filter(|found| **found == seconds).count();
            assert!((20..=90).contains(&hits), "{seconds}: {hits}");
        }
        assert_eq!(spread("x", 9, 3), 9, "a range that is none is its begin");
    }
}
