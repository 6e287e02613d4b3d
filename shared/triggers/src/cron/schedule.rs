//! What of a Quartz expression EventBridge Scheduler can say.

use super::{Cron, Days, FIRST_YEAR};

/// First and last year that EventBridge Scheduler takes (its user guide, "Cron-based schedules").
const SCHEDULER_YEARS: std::ops::RangeInclusive<i16> = FIRST_YEAR..=2199;

/// How a schedule fires a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The schedule fires exactly when the expression does.
    Exact {
        /// `cron(minutes hours day-of-month month day-of-week year)`.
        expression: String,
    },
    /// The schedule fires at least when the expression does: whoever is called checks the calendar
    /// ([`Cron::fires_at`]) and does nothing on the other days.
    CalendarCheck {
        /// `cron(…)`.
        expression: String,
        /// What the schedule cannot say.
        reason: String,
    },
    /// A schedule has no seconds: this expression cannot be kept.
    Refused {
        /// Why.
        reason: String,
        /// The nearest expression, in Quartz's syntax, that can be kept.
        nearest: String,
    },
}

impl Cron {
    /// The EventBridge Scheduler expression; the time zone goes beside it, unchanged.
    ///
    /// A schedule skips local times that do not exist, as Quartz does, and fires once where one occurs twice.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let minutes = numbers(self.minutes, 0, 59);
        let hours = numbers(u64::from(self.hours), 0, 23);
        let months = numbers(u64::from(self.months), 1, 12);
        let (days, check) = self.scheduled_days();
        let years = self.years.as_ref().map_or_else(
            || "*".to_owned(),
            |years| {
                let within: Vec<i64> = years
                    .iter()
                    .filter(|year| SCHEDULER_YEARS.contains(*year))
                    .map(|year| i64::from(*year))
                    .collect();
                ranges(&within)
            },
        );
        let (day_of_month, day_of_week) = &days;
        if self.seconds != 1 {
            let quartz = self.quartz_days();
            return Schedule::Refused {
                reason: if self.seconds.count_ones() == 1 {
                    "a schedule has no seconds: it fires at the full minute".to_owned()
                } else {
                    "a schedule fires once a minute at most".to_owned()
                },
                nearest: format!(
                    "0 {minutes} {hours} {} {months} {}{}",
                    quartz.0,
                    quartz.1,
                    if years == "*" {
                        String::new()
                    } else {
                        format!(" {years}")
                    }
                ),
            };
        }
        let expression =
            format!("cron({minutes} {hours} {day_of_month} {months} {day_of_week} {years})");
        match check {
            None => Schedule::Exact { expression },
            Some(reason) => Schedule::CalendarCheck { expression, reason },
        }
    }

    /// Day of month and day of week for a schedule, and what they cannot say.
    fn scheduled_days(&self) -> ((String, String), Option<String>) {
        let of_month = |text: String| (text, "?".to_owned());
        let of_week = |text: String| ("?".to_owned(), text);
        match &self.days {
            Days::OfMonth {
                days,
                from_last: 0,
                nearest,
                nearest_from_last,
            } if nearest.is_empty() && nearest_from_last.is_empty() => {
                (of_month(numbers(u64::from(*days), 1, 31)), None)
            }
            Days::OfMonth {
                days: 0,
                from_last: 1,
                nearest,
                nearest_from_last,
            } if nearest.is_empty() && nearest_from_last.is_empty() => {
                (of_month("L".to_owned()), None)
            }
            Days::OfMonth { .. } => (
                of_month("*".to_owned()),
                Some(format!(
                    "a schedule cannot say the days `{}`",
                    self.quartz_days().0
                )),
            ),
            Days::OfWeek(days) => (of_week(numbers(u64::from(*days), 1, 7)), None),
            Days::LastOfWeek(Some(day)) => (of_week(format!("{day}L")), None),
            Days::NthOfWeek(Some(day), nth) => (of_week(format!("{day}#{nth}")), None),
            Days::LastOfWeek(None) | Days::NthOfWeek(None, _) => (
                of_week("*".to_owned()),
                Some("the day of the week does not exist".to_owned()),
            ),
        }
    }

    /// Day of month and day of week in Quartz's syntax.
    fn quartz_days(&self) -> (String, String) {
        match &self.days {
            Days::OfMonth {
                days,
                from_last,
                nearest,
                nearest_from_last,
            } => {
                let last = |offset: i16, suffix: &str| match offset {
                    0 => format!("L{suffix}"),
                    offset => format!("L-{offset}{suffix}"),
                };
                let mut parts = Vec::new();
                if *days != 0 {
                    parts.push(numbers(u64::from(*days), 1, 31));
                }
                parts.extend(
                    (0..31)
                        .filter(|n| from_last >> n & 1 == 1)
                        .map(|n| last(n, "")),
                );
                parts.extend(nearest.iter().map(|day| format!("{day}W")));
                parts.extend(nearest_from_last.iter().map(|offset| last(*offset, "W")));
                (parts.join(","), "?".to_owned())
            }
            Days::OfWeek(days) => ("?".to_owned(), numbers(u64::from(*days), 1, 7)),
            Days::LastOfWeek(day) => ("?".to_owned(), format!("{}L", day.unwrap_or(1))),
            Days::NthOfWeek(day, nth) => ("?".to_owned(), format!("{}#{nth}", day.unwrap_or(1))),
        }
    }
}

/// The bits from `first` to `last` as a field: `*` if all are set.
fn numbers(bits: u64, first: u32, last: u32) -> String {
    let set: Vec<i64> = (first..=last)
        .filter(|n| bits >> n & 1 == 1)
        .map(i64::from)
        .collect();
    if set.len() == (last - first + 1) as usize {
        return "*".to_owned();
    }
    ranges(&set)
}

/// `1-3,7`: ascending numbers with runs of three or more written as ranges.
fn ranges(numbers: &[i64]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = numbers;
    while let Some((&start, _)) = rest.split_first() {
        let run = rest
            .iter()
            .zip(start..)
            .take_while(|(number, expected)| *number == expected)
            .count();
        let (head, tail) = rest.split_at(run.max(1));
        match head {
            [first, .., last] if head.len() > 2 => parts.push(format!("{first}-{last}")),
            _ => parts.extend(head.iter().map(ToString::to_string)),
        }
        rest = tail;
    }
    parts.join(",")
}
