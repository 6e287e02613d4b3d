//! When an execution window lets a stage start.

use jiff::{
    Timestamp, ToSpan,
    civil::{DateTime, Weekday, time},
    tz::TimeZone,
};
use serde_json::{Map, Value};

/// The time zone of windows where an installation names none: Spinnaker's.
pub const TIME_ZONE: &str = "America/Los_Angeles";

/// Minutes of a day between which a stage may start, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: i64,
    to: i64,
}

const LAST_MINUTE: i64 = 24 * 60 - 1;

/// How long a stage with this configuration waits at `now` (UTC milliseconds), in milliseconds.
///
/// A jitter counts with its shortest delay: a simulation does not roll dice. Without a window that could open, or
/// with one that cannot be read, it does not wait.
#[must_use]
pub fn waits_millis(context: &Map<String, Value>, now: i64, manual: bool) -> i64 {
    let Some(window) = context
        .get("restrictedExecutionWindow")
        .and_then(Value::as_object)
    else {
        return 0;
    };
    let opens = opens_in_millis(window, TIME_ZONE, now)
        .ok()
        .flatten()
        .unwrap_or(0);
    let jitter = jitter_seconds(window, manual).map_or(0, |(shortest, _)| shortest);
    opens.saturating_add(jitter.saturating_mul(1_000))
}

/// Shortest and longest seconds that a stage waits once its window is open; none if it does not.
#[must_use]
pub fn jitter_seconds(window: &Map<String, Value>, manual: bool) -> Option<(i64, i64)> {
    let jitter = window.get("jitter")?;
    let is = |name: &str| jitter.get(name) == Some(&Value::Bool(true));
    if !is("enabled") || (manual && is("skipManual")) {
        return None;
    }
    let seconds = |name: &str| {
        jitter
            .get(name)
            .and_then(Value::as_i64)
            .unwrap_or(0)
            .clamp(0, 86_400)
    };
    let shortest = seconds("minDelay");
    Some((shortest, seconds("maxDelay").max(shortest)))
}

/// A time zone that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone")]
pub struct UnknownTimeZone(pub String);

/// Milliseconds until the window opens, 0 if it is open; none if it never does.
///
/// # Errors
/// [`UnknownTimeZone`].
pub fn opens_in_millis(
    window: &Map<String, Value>,
    time_zone: &str,
    now: i64,
) -> Result<Option<i64>, UnknownTimeZone> {
    let zone = TimeZone::get(time_zone).map_err(|_| UnknownTimeZone(time_zone.to_owned()))?;
    Ok(opens(window, &zone, now))
}

fn opens(window: &Map<String, Value>, zone: &TimeZone, now: i64) -> Option<i64> {
    let spans = spans(window);
    let days: Vec<i64> = list(window, "days").filter_map(Value::as_i64).collect();
    let spans = match (spans.is_empty(), days.is_empty()) {
        // Nothing is restricted.
        (true, true) => return Some(0),
        (true, false) => vec![Span {
            from: 0,
            to: LAST_MINUTE,
        }],
        (false, _) => spans,
    };
    let allowed = |weekday: Weekday| {
        // Sunday is 1.
        days.is_empty() || days.contains(&i64::from(weekday.to_sunday_one_offset()))
    };
    let start = Timestamp::from_millisecond(now).ok()?;
    let local = zone.to_datetime(start);
    // A day of the week comes again within seven days.
    for ahead in 0..=7_i64 {
        let date = local.date().checked_add(ahead.days()).ok()?;
        if !allowed(date.weekday()) {
            continue;
        }
        let minute = if ahead == 0 {
            i64::from(local.hour()) * 60 + i64::from(local.minute())
        } else {
            -1
        };
        for span in &spans {
            if (span.from..=span.to).contains(&minute) {
                return Some(0);
            }
            if minute < span.from {
                let hour = i8::try_from(span.from / 60).ok()?;
                let minute = i8::try_from(span.from % 60).ok()?;
                let opens = DateTime::from_parts(date, time(hour, minute, 0, 0));
                let opens = zone.to_timestamp(opens).ok()?.as_millisecond();
                return Some(opens.saturating_sub(now).max(0));
            }
        }
    }
    None
}

/// The spans of `whitelist`, in order; one over midnight is two.
fn spans(window: &Map<String, Value>) -> Vec<Span> {
    let mut spans = Vec::new();
    for entry in list(window, "whitelist") {
        let number = |name: &str| entry.get(name).and_then(Value::as_i64).unwrap_or(0);
        let at = |hour: &str, minute: &str| {
            number(hour)
                .clamp(0, 23)
                .saturating_mul(60)
                .saturating_add(number(minute).clamp(0, 59))
        };
        let (from, to) = (at("startHour", "startMin"), at("endHour", "endMin"));
        if from <= to {
            spans.push(Span { from, to });
        } else {
            spans.push(Span { from: 0, to });
            spans.push(Span {
                from,
                to: LAST_MINUTE,
            });
        }
    }
    spans.sort();
    spans
}

fn list<'a>(window: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    window
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Hours until a window opens, at a local time of Los Angeles.
    fn hours(window: Value, local: &str) -> f64 {
        let zone = TimeZone::get(TIME_ZONE).unwrap();
        let at: DateTime = local.parse().unwrap();
        let now = zone.to_timestamp(at).unwrap().as_millisecond();
        let context = json!({"restrictedExecutionWindow": window});
        waits_millis(context.as_object().unwrap(), now, false) as f64 / 3_600_000.0
    }

    #[test]
    fn a_window_opens_on_its_days_in_its_hours() {
        let nine_to_five = json!([{"startHour": 9, "startMin": 0, "endHour": 17, "endMin": 0}]);
        // 2026-11-16 is a Monday.
        for (days, local, expected) in [
            (json!([]), "2026-11-16T08:00", 1.0),
            (json!([]), "2026-11-16T12:00", 0.0),
            (json!([]), "2026-11-16T17:00", 0.0),
            (json!([]), "2026-11-16T17:01", 24.0 - 8.0 - 1.0 / 60.0),
            (json!([3]), "2026-11-16T12:00", 21.0),
            (json!([1, 7]), "2026-11-16T12:00", 5.0 * 24.0 - 3.0),
        ] {
            let window = json!({"whitelist": nine_to_five, "days": days});
            let got = hours(window, local);
            assert!((got - expected).abs() < 1e-9, "{days} {local}: {got}");
        }
    }

    #[test]
    fn a_window_may_pass_midnight_or_be_whole_days() {
        let night =
            json!({"whitelist": [{"startHour": 22, "startMin": 0, "endHour": 6, "endMin": 0}]});
        assert_eq!(hours(night.clone(), "2026-11-16T23:00"), 0.0);
        assert_eq!(hours(night.clone(), "2026-11-16T05:00"), 0.0);
        assert_eq!(hours(night, "2026-11-16T12:00"), 10.0);
        assert_eq!(
            hours(json!({"days": [2], "whitelist": []}), "2026-11-17T00:00"),
            6.0 * 24.0
        );
        assert_eq!(hours(json!({}), "2026-11-17T00:00"), 0.0);
    }

    #[test]
    fn another_time_zone_opens_at_another_time_and_an_unknown_one_is_told() {
        let window =
            json!({"whitelist": [{"startHour": 9, "startMin": 0, "endHour": 17, "endMin": 0}]});
        let window = window.as_object().unwrap();
        // Noon in Berlin is three at night in Los Angeles.
        let noon = "2026-11-16T11:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .as_millisecond();
        assert_eq!(opens_in_millis(window, "Europe/Berlin", noon), Ok(Some(0)));
        assert_eq!(
            opens_in_millis(window, TIME_ZONE, noon),
            Ok(Some(6 * 3_600_000))
        );
        assert!(opens_in_millis(window, "Mars/Olympus", noon).is_err());
        let never = json!({"whitelist": [], "days": [9]});
        assert_eq!(
            opens_in_millis(never.as_object().unwrap(), TIME_ZONE, noon),
            Ok(None)
        );
    }

    #[test]
    fn a_jitter_counts_with_its_shortest_delay() {
        let window = json!({"restrictedExecutionWindow": {"jitter": {"enabled": true, "minDelay": 30, "maxDelay": 60, "skipManual": true}}});
        let context = window.as_object().unwrap();
        assert_eq!(waits_millis(context, 0, false), 30_000);
        assert_eq!(waits_millis(context, 0, true), 0);
    }
}
