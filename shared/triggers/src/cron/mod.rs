//! Quartz cron expressions: which instants they name, in a time zone.

mod due;
mod fuzz;
mod next;
mod parse;
mod schedule;

pub use fuzz::{FuzzError, fuzzed, has_fuzz};
pub use schedule::Schedule;

/// Why a text is no cron expression.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{0}")]
pub struct CronError(pub(crate) String);

impl CronError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// First year that Quartz counts from.
const FIRST_YEAR: i16 = 1970;

/// Years that Quartz looks ahead: the last one is this many after the current one.
const YEARS_AHEAD: i16 = 100;

/// Which days of a month or of a week fire.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    /// The day-of-month field counts.
    OfMonth {
        /// Bit n: day n.
        days: u32,
        /// Bit n: n days before the last one (`L`, `L-3`).
        from_last: u32,
        /// The weekday nearest to these days (`15W`), which may be 0 or beyond the month's end.
        nearest: Vec<i16>,
        /// The weekday nearest to the day so many before the last (`LW`, `L-3W`).
        nearest_from_last: Vec<i16>,
    },
    /// Bit n: day of the week n, 1 is Sunday.
    OfWeek(u8),
    /// The last such day of the month (`6L`); none where the number is no day of the week.
    LastOfWeek(Option<u8>),
    /// The n-th such day of the month (`MON#2`); none where the number is no day of the week.
    NthOfWeek(Option<u8>, u8),
}

/// A Quartz cron expression: seconds, minutes, hours, day of month, month, day of week and, optionally, year.
///
/// The rules are those of Quartz 2.5.2, but `W` is 2.3.2's: 2.5.2 skips months (`0 0 2 1W * ?`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// Bit n: second n.
    seconds: u64,
    /// Bit n: minute n.
    minutes: u64,
    /// Bit n: hour n.
    hours: u32,
    days: Days,
    /// Bit n: month n.
    months: u16,
    /// Years that fire, ascending; none is every year.
    years: Option<Vec<i16>>,
    /// The last year that can fire.
    last_year: i16,
}

impl Cron {
    /// Reads an expression. `year` is the current one: nothing fires later than a hundred years after it.
    ///
    /// # Errors
    /// What Quartz refuses, in its words where it has some.
    pub fn parse(expression: &str, year: i16) -> Result<Self, CronError> {
        parse::parse(expression, year.saturating_add(YEARS_AHEAD).min(2999))
    }
}
