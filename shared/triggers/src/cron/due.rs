//! Which fire time a call is about.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Cron;

/// How late a call may be whose schedule does not say when it was due.
const LATE: SignedDuration = SignedDuration::from_secs(120);

impl Cron {
    /// The fire time that a call at `at` is about: the latest one not after it, two minutes before it at most. None if
    /// the expression fires at no such time: the call was one of a schedule that fires on more days.
    ///
    /// Two calls about the same fire time get the same answer, however late each of them is. A schedule may fire at
    /// the first occurrence of a local time that occurs twice, where the expression fires at the second: the answer is
    /// the second.
    #[must_use]
    pub fn due(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut found = None;
        let mut from = at.checked_sub(LATE).ok()?;
        while let Some(next) = self.next(from, zone).filter(|next| *next <= at) {
            found = Some(next);
            from = next;
        }
        found.or_else(|| self.second_occurrence(at, zone))
    }

    /// The second occurrence of the minute of `at`, where its local time occurs twice and the expression fires then.
    fn second_occurrence(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = at.as_second().div_euclid(60).checked_mul(60)?;
        let local = zone.to_datetime(Timestamp::from_second(minute).ok()?);
        let ambiguous = zone.to_ambiguous_timestamp(local);
        let second = ambiguous.is_ambiguous().then(|| ambiguous.later().ok())??;
        self.fires_at(second, zone).then_some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn due(expression: &str, zone: &str, time: &str) -> Option<Timestamp> {
        let zone = TimeZone::get(zone).unwrap();
        Cron::parse(expression, 2026).unwrap().due(at(time), &zone)
    }

    #[test]
    fn calls_about_one_fire_time_have_the_same_answer() {
        let noon = Some(at("2026-11-02T12:00:00Z"));
        for time in ["12:00:00", "12:00:00.9", "12:01:30"] {
            let time = format!("2026-11-02T{time}Z");
            assert_eq!(due("0 0 12 * * ?", "UTC", &time), noon, "{time}");
        }
        assert_eq!(due("0 * * * * ?", "UTC", "2026-11-02T12:00:59Z"), noon);
    }

    #[test]
    fn what_is_not_due_is_none() {
        for time in ["2026-11-02T11:59:59Z", "2026-11-02T12:03:00Z"] {
            assert_eq!(due("0 0 12 * * ?", "UTC", time), None, "{time}");
        }
        // The last weekday but the 30th of October 2026 is a Friday: only the 30th fires.
        assert_eq!(due("0 0 12 LW * ?", "UTC", "2026-10-31T12:00:00Z"), None);
        assert!(due("0 0 12 LW * ?", "UTC", "2026-10-30T12:00:00Z").is_some());
    }

    #[test]
    fn both_occurrences_of_a_local_time_are_one_fire_time() {
        let second = Some(at("2026-11-01T09:30:00Z"));
        for time in ["2026-11-01T08:30:10Z", "2026-11-01T09:30:10Z"] {
            assert_eq!(
                due("0 30 1 * * ?", "America/Los_Angeles", time),
                second,
                "{time}"
            );
        }
    }
}
