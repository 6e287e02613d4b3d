//! When a canary is judged, and over which time.

use gennaker_domain::duration;
use gennaker_lambda::StageError;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The time that one judgement looks at, UTC milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Start.
    pub start: i64,
    /// End.
    pub end: i64,
    /// How far the baseline's window is shifted back, milliseconds.
    pub baseline_shift: i64,
}

/// All judgements of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When the first judgement could be, as far as waiting goes.
    waits_from: i64,
    start: i64,
    interval: i64,
    lookback: i64,
    baseline_shift: i64,
    /// How many judgements there are.
    pub intervals: u32,
    /// Judged as soon as the time of a window has passed, without waiting for intervals.
    pub retrospective: bool,
}

const MINUTE: i64 = 60_000;
/// Each interval is a judgement, and a line in the stage's record.
const MOST_INTERVALS: i64 = 2_000;

/// A number, or a text that is one; people write both.
fn minutes(config: &Map<String, Value>, name: &str) -> Result<Option<i64>, StageError> {
    let found = match config.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(value) => value.as_f64(),
    };
    match found.filter(|number| (0.0..1e7).contains(number)) {
        #[allow(clippy::cast_possible_truncation)] // Below 1e12.
        Some(number) => Ok(Some((number * 60_000.0) as i64)),
        None => Err(StageError::invalid(
            format!("canaryConfig.{name}"),
            format!(
                "`{}` is not a number of minutes",
                config.get(name).unwrap_or(&Value::Null)
            ),
        )),
    }
}

fn instant(text: Option<&str>, path: &str) -> Result<Option<i64>, StageError> {
    match text.filter(|text| !text.trim().is_empty()) {
        None => Ok(None),
        Some(text) => text
            .trim()
            .parse::<Timestamp>()
            .map(|instant| Some(instant.as_millisecond()))
            .map_err(|error| StageError::invalid(path, format!("`{text}` is not a time: {error}"))),
    }
}

fn lifetime(config: &Map<String, Value>) -> Result<Option<i64>, StageError> {
    if let Some(text) = config.get("lifetimeDuration").and_then(Value::as_str) {
        return duration::millis(text).map(Some).ok_or_else(|| {
            StageError::invalid(
                "canaryConfig.lifetimeDuration",
                format!("`{text}` is not a duration such as PT1H"),
            )
        });
    }
    let hours = match config.get("lifetimeHours") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(value) => value.as_f64(),
    };
    match hours.filter(|hours| (0.0..1e5).contains(hours)) {
        #[allow(clippy::cast_possible_truncation)] // Below 1e12.
        Some(hours) => Ok(Some((hours * 3_600_000.0) as i64)),
        None => Err(StageError::invalid(
            "canaryConfig.lifetimeHours",
            "is not a number of hours",
        )),
    }
}

impl Schedule {
    /// The schedule of `canaryConfig`, of a stage that started at `started`.
    ///
    /// An interval of zero, or longer than the lifetime, is the lifetime; the number of intervals is rounded down. A
    /// lookback makes windows slide, otherwise they grow from the start.
    ///
    /// # Errors
    /// Neither an end nor a lifetime, or a field that is not what it should be.
    pub fn of(config: &Map<String, Value>, started: i64) -> Result<Self, StageError> {
        let scope = config
            .get("scopes")
            .and_then(Value::as_array)
            .and_then(|scopes| scopes.first());
        let text = |name: &str| {
            scope
                .and_then(|scope| scope.get(name))
                .and_then(Value::as_str)
        };
        let begins = instant(text("startTimeIso"), "canaryConfig.scopes[0].startTimeIso")?;
        let ends = instant(text("endTimeIso"), "canaryConfig.scopes[0].endTimeIso")?;
        let warmup = minutes(config, "beginCanaryAnalysisAfterMins")?.unwrap_or(0);
        let (start, total) = match (ends, lifetime(config)?) {
            (Some(ends), _) => {
                let start = begins.unwrap_or(started);
                (start, ends.saturating_sub(start))
            }
            (None, Some(lifetime)) => (begins.unwrap_or(started).saturating_add(warmup), lifetime),
            (None, None) => {
                return Err(StageError::invalid(
                    "canaryConfig",
                    "needs `lifetimeDuration`, or an `endTimeIso` in its first scope",
                ));
            }
        };
        if total < MINUTE {
            return Err(StageError::invalid(
                "canaryConfig",
                format!("a canary of {total} ms has no point to judge; one minute at least"),
            ));
        }
        let asked = minutes(config, "canaryAnalysisIntervalMins")?.unwrap_or(total);
        let interval = if asked == 0 || asked > total {
            total
        } else {
            asked
        };
        let intervals = total / interval.max(1);
        if intervals > MOST_INTERVALS {
            return Err(StageError::invalid(
                "canaryConfig.canaryAnalysisIntervalMins",
                format!("makes {intervals} intervals; {MOST_INTERVALS} at most"),
            ));
        }
        Ok(Self {
            waits_from: started.saturating_add(warmup),
            start,
            interval,
            lookback: minutes(config, "lookbackMins")?.unwrap_or(0),
            baseline_shift: minutes(config, "baselineAnalysisOffsetInMins")?.unwrap_or(0),
            intervals: u32::try_from(intervals).unwrap_or(u32::MAX),
            retrospective: ends.is_some(),
        })
    }

    /// The window of judgement `number`, from 1.
    #[must_use]
    pub fn window(&self, number: u32) -> Window {
        let end = self
            .start
            .saturating_add(self.interval.saturating_mul(i64::from(number)));
        let start = if self.lookback > 0 {
            end.saturating_sub(self.lookback)
        } else {
            self.start
        };
        Window {
            start,
            end,
            baseline_shift: self.baseline_shift,
        }
    }

    /// When judgement `number` is due: when its window is over, and warm-up and intervals were waited for. A
    /// retrospective canary waits for the warm-up only.
    #[must_use]
    pub fn due(&self, number: u32) -> i64 {
        let waited = if self.retrospective {
            self.waits_from
        } else {
            self.waits_from
                .saturating_add(self.interval.saturating_mul(i64::from(number)))
        };
        waited.max(self.window(number).end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schedule(config: Value) -> Result<Schedule, StageError> {
        Schedule::of(config.as_object().unwrap(), 1_000 * MINUTE)
    }

    #[test]
    fn windows_grow_or_slide() {
        let growing = schedule(json!({ "lifetimeDuration": "PT1H", "canaryAnalysisIntervalMins": "25", "beginCanaryAnalysisAfterMins": 5 })).unwrap();
        assert_eq!(growing.intervals, 2);
        assert_eq!(
            growing.window(2),
            Window {
                start: 1_005 * MINUTE,
                end: 1_055 * MINUTE,
                baseline_shift: 0
            }
        );
        assert_eq!(growing.due(1), 1_030 * MINUTE);
        let sliding = schedule(json!({ "lifetimeHours": "1", "canaryAnalysisIntervalMins": 30, "lookbackMins": 10, "baselineAnalysisOffsetInMins": 60 })).unwrap();
        assert_eq!(
            sliding.window(1),
            Window {
                start: 1_020 * MINUTE,
                end: 1_030 * MINUTE,
                baseline_shift: 60 * MINUTE
            }
        );
    }

    #[test]
    fn an_interval_that_does_not_fit_is_the_lifetime() {
        for interval in [json!(0), json!(61), json!(null)] {
            assert_eq!(
                schedule(
                    json!({ "lifetimeDuration": "PT1H", "canaryAnalysisIntervalMins": interval })
                )
                .unwrap()
                .intervals,
                1
            );
        }
    }

    #[test]
    fn a_retrospective_canary_is_due_at_once() {
        let scope =
            json!({ "startTimeIso": "2026-01-01T00:00:00Z", "endTimeIso": "2026-01-01T02:00:00Z" });
        let schedule =
            schedule(json!({ "scopes": [scope], "canaryAnalysisIntervalMins": 60 })).unwrap();
        assert_eq!((schedule.intervals, schedule.retrospective), (2, true));
        assert!(schedule.due(2) <= schedule.window(2).end);
    }

    #[test]
    fn a_window_that_is_not_over_is_waited_for_whatever_the_scopes_say() {
        let minutes = |minutes: i64| Timestamp::from_millisecond(minutes * MINUTE).unwrap();
        let (begins, ends) = (minutes(1_000).to_string(), minutes(1_060).to_string());
        let future = json!({ "startTimeIso": begins, "endTimeIso": ends });
        let canary =
            schedule(json!({ "scopes": [future], "canaryAnalysisIntervalMins": 30 })).unwrap();
        assert_eq!(
            (canary.due(1), canary.due(2)),
            (1_030 * MINUTE, 1_060 * MINUTE)
        );
        // A start in the past moves the windows, and does not shorten the canary.
        let past = json!({ "startTimeIso": minutes(900).to_string() });
        let canary = schedule(json!({ "scopes": [past], "lifetimeDuration": "PT1H",
            "canaryAnalysisIntervalMins": 30, "beginCanaryAnalysisAfterMins": 10 }))
        .unwrap();
        assert_eq!(canary.window(1).start, 910 * MINUTE);
        assert_eq!(canary.due(1), 1_040 * MINUTE);
    }

    #[test]
    fn what_cannot_be_scheduled_says_why() {
        for config in [
            json!({}),
            json!({ "lifetimeDuration": "an hour" }),
            json!({ "lifetimeDuration": "PT10S" }),
            json!({ "lifetimeHours": 1, "lookbackMins": "x" }),
            json!({ "lifetimeDuration": "P30D", "canaryAnalysisIntervalMins": 1 }),
        ] {
            assert!(schedule(config.clone()).is_err(), "{config}");
        }
    }
}
