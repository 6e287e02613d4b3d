//! From text to fields, by Quartz's own left-to-right rules: what follows a value that is complete is often ignored.

use std::collections::BTreeSet;

use super::{Cron, CronError, Days, FIRST_YEAR};

/// Longest expression that is read.
const MAX_LENGTH: usize = 4096;

/// Marks `*` in a field, and is what a literal 99 means to Quartz.
const ALL: i64 = 99;

/// Marks `?` in a field, and is what a literal 98 means to Quartz.
const NONE: i64 = 98;

/// Most days that `L-n` may count back.
const MAX_LAST_OFFSET: i64 = 30;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Field {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
}

const FIELDS: [Field; 7] = [
    Field::Second,
    Field::Minute,
    Field::Hour,
    Field::DayOfMonth,
    Field::Month,
    Field::DayOfWeek,
    Field::Year,
];

impl Field {
    /// Smallest value, largest value, and the message for others; none where anything is taken.
    fn range(self, last_year: i16) -> (i64, i64, Option<&'static str>) {
        match self {
            Self::Second | Self::Minute => (
                0,
                59,
                Some("Minute and Second values must be between 0 and 59"),
            ),
            Self::Hour => (0, 23, Some("Hour values must be between 0 and 23")),
            Self::DayOfMonth => (1, 31, Some("Day of month values must be between 1 and 31")),
            Self::Month => (1, 12, Some("Month values must be between 1 and 12")),
            Self::DayOfWeek => (1, 7, Some("Day-of-Week values must be between 1 and 7")),
            Self::Year => (i64::from(FIRST_YEAR), i64::from(last_year), None),
        }
    }

    /// Largest increment, and how Quartz names the bound.
    fn increment(self) -> Option<(i64, i64)> {
        match self {
            Self::Second | Self::Minute => Some((59, 60)),
            Self::Hour => Some((23, 24)),
            Self::DayOfMonth => Some((31, 31)),
            Self::Month => Some((12, 12)),
            Self::DayOfWeek => Some((7, 7)),
            Self::Year => None,
        }
    }

    /// Length of the cycle that a descending range wraps around; years do not.
    fn cycle(self) -> Option<i64> {
        match self {
            Self::Second | Self::Minute => Some(60),
            Self::Hour => Some(24),
            Self::DayOfMonth => Some(31),
            Self::Month => Some(12),
            Self::DayOfWeek => Some(7),
            Self::Year => None,
        }
    }
}

#[derive(Default)]
struct Reader {
    sets: [BTreeSet<i64>; 7],
    from_last: u32,
    nearest: BTreeSet<i16>,
    nearest_from_last: BTreeSet<i16>,
    last_day_of_week: bool,
    nth_day_of_week: u8,
    last_year: i16,
}

pub(super) fn parse(expression: &str, last_year: i16) -> Result<Cron, CronError> {
    if expression.len() > MAX_LENGTH {
        return Err(CronError::new(format!(
            "the expression has more than {MAX_LENGTH} characters"
        )));
    }
    let upper = expression.to_uppercase();
    let fields: Vec<&str> = upper.split([' ', '\t']).filter(|f| !f.is_empty()).collect();
    if fields.len() > FIELDS.len() {
        return Err(CronError::new(format!(
            "Invalid expression has too many terms: {upper}"
        )));
    }
    let mut reader = Reader {
        last_year,
        ..Reader::default()
    };
    for (text, field) in fields.iter().zip(FIELDS) {
        reader.field(text.trim_matches(|c: char| c <= ' '), field)?;
    }
    if fields.len() < 6 {
        return Err(CronError::new("Unexpected end of expression."));
    }
    if fields.len() < FIELDS.len() {
        reader.value("*", Field::Year)?;
    }
    reader.finish()
}

impl Reader {
    fn set(&mut self, field: Field) -> &mut BTreeSet<i64> {
        let [second, minute, hour, day, month, week, year] = &mut self.sets;
        match field {
            Field::Second => second,
            Field::Minute => minute,
            Field::Hour => hour,
            Field::DayOfMonth => day,
            Field::Month => month,
            Field::DayOfWeek => week,
            Field::Year => year,
        }
    }

    fn field(&mut self, text: &str, field: Field) -> Result<(), CronError> {
        if field == Field::DayOfWeek {
            if text.len() > 1 && text.contains('L') && text.contains(',') {
                return Err(CronError::new(
                    "Support for specifying 'L' with other days of the week is not implemented",
                ));
            }
            if text.matches('#').count() > 1 {
                return Err(CronError::new(
                    "Support for specifying multiple \"nth\" days is not implemented.",
                ));
            }
        }
        text.split(',')
            .filter(|value| !value.is_empty())
            .try_for_each(|value| self.value(value, field))
    }

    fn value(&mut self, text: &str, field: Field) -> Result<(), CronError> {
        let chars: Vec<char> = text.chars().collect();
        let Some(&first) = chars.first() else {
            return Ok(());
        };
        match first {
            'A'..='Z' if !is_last(&chars) => self.name(&chars, field),
            '?' => self.none(&chars, field),
            '*' | '/' => self.all(&chars, field),
            'L' => self.last(&chars, field),
            '0'..='9' => {
                let (value, at) = digits(&chars, 0)?;
                self.number(&chars, at, value, field)
            }
            other => Err(CronError::new(format!("Unexpected character: {other}"))),
        }
    }

    /// `JAN`, `MON-FRI`, `FRI#2`, `FRIL`. What else follows is ignored.
    fn name(&mut self, chars: &[char], field: Field) -> Result<(), CronError> {
        let word = |from: usize| -> Result<String, CronError> {
            chars
                .get(from..from + 3)
                .map(|part| part.iter().collect())
                .ok_or_else(|| {
                    CronError::new(format!(
                        "`{}` is no name of a month or of a day",
                        chars.iter().collect::<String>()
                    ))
                })
        };
        let start = word(0)?;
        let number = |word: &str| match field {
            Field::Month => {
                month(word).ok_or_else(|| CronError::new(format!("Invalid Month value: '{word}'")))
            }
            Field::DayOfWeek => weekday(word)
                .ok_or_else(|| CronError::new(format!("Invalid Day-of-Week value: '{word}'"))),
            _ => Err(CronError::new(format!(
                "Illegal characters for this position: '{word}'"
            ))),
        };
        let from = number(&start)?;
        match chars.get(3) {
            Some('-') => {
                let to = number(&word(4)?)?;
                return self.add(from, Some(to), 1, field);
            }
            Some('#') if field == Field::DayOfWeek => {
                let text: String = chars.get(4..).unwrap_or_default().iter().collect();
                self.nth_day_of_week = nth(&text)?;
            }
            Some('L') if field == Field::DayOfWeek => self.last_day_of_week = true,
            _ => {}
        }
        self.add(from, None, 0, field)
    }

    fn none(&mut self, chars: &[char], field: Field) -> Result<(), CronError> {
        if let (Some(&next), Some(&after)) = (chars.get(1), chars.get(2))
            && next != ' '
            && after != '\t'
        {
            return Err(CronError::new(format!(
                "Illegal character after '?': {next}"
            )));
        }
        if field != Field::DayOfWeek && field != Field::DayOfMonth {
            return Err(CronError::new(
                "'?' can only be specified for Day-of-Month or Day-of-Week.",
            ));
        }
        if field == Field::DayOfWeek && self.set(Field::DayOfMonth).last() == Some(&NONE) {
            return Err(CronError::new(
                "'?' can only be specified for Day-of-Month -OR- Day-of-Week.",
            ));
        }
        self.set(field).insert(NONE);
        Ok(())
    }

    fn all(&mut self, chars: &[char], field: Field) -> Result<(), CronError> {
        let slash = match chars {
            ['*'] => return self.add(ALL, None, 0, field),
            ['/'] => return Err(CronError::new("'/' must be followed by an integer.")),
            ['*', '/', rest @ ..] | ['/', rest @ ..] => rest,
            _ => return self.add(ALL, None, 1, field),
        };
        if slash.is_empty() {
            return Err(CronError::new("Unexpected end of string."));
        }
        let increment = integer(&slash.iter().collect::<String>())?;
        check_increment(increment, field)?;
        self.add(ALL, None, increment, field)
    }

    /// `L`, `L-3`, `LW`, `L-3W`.
    fn last(&mut self, chars: &[char], field: Field) -> Result<(), CronError> {
        if field < Field::DayOfMonth {
            return Err(CronError::new(
                "'L' not expected in seconds, minutes or hours fields.",
            ));
        }
        if field == Field::DayOfWeek {
            self.set(field).insert(7);
        }
        if field != Field::DayOfMonth {
            return Ok(());
        }
        let mut at = 1;
        let mut offset = 0;
        if chars.get(1) == Some(&'-') {
            if chars.get(2).is_none() {
                return Err(CronError::new("'L-' must be followed by an integer."));
            }
            (offset, at) = digits(chars, 2)?;
            if offset > MAX_LAST_OFFSET {
                return Err(CronError::new(format!(
                    "Offset from last day must be <= {MAX_LAST_OFFSET}"
                )));
            }
        }
        if chars.get(at) == Some(&'W') {
            self.nearest_from_last.insert(small(offset));
        } else {
            self.from_last |= 1 << offset;
        }
        Ok(())
    }

    /// What may follow a number: `L`, `W`, `#n`, `-n`, `-n/n`, `/n`. Anything else is ignored.
    fn number(
        &mut self,
        chars: &[char],
        at: usize,
        value: i64,
        field: Field,
    ) -> Result<(), CronError> {
        let misplaced = |letter: char| {
            CronError::new(format!("'{letter}' option is not valid here. (pos={at})"))
        };
        match chars.get(at) {
            None => self.add(value, None, 0, field),
            Some('L') => {
                if field != Field::DayOfWeek {
                    return Err(misplaced('L'));
                }
                if !(1..=7).contains(&value) {
                    return Err(CronError::new("Day-of-Week values must be between 1 and 7"));
                }
                self.last_day_of_week = true;
                self.set(field).insert(value);
                Ok(())
            }
            Some('W') => {
                if field != Field::DayOfMonth {
                    return Err(misplaced('W'));
                }
                if value > 31 {
                    return Err(CronError::new(
                        "The 'W' option does not make sense with values larger than 31 (max number of days in a month)",
                    ));
                }
                self.nearest.insert(small(value));
                Ok(())
            }
            Some('#') => {
                if field != Field::DayOfWeek {
                    return Err(misplaced('#'));
                }
                let text: String = chars.get(at + 1..).unwrap_or_default().iter().collect();
                self.nth_day_of_week = nth(&text)?;
                self.set(field).insert(value);
                Ok(())
            }
            Some('-') => {
                let (end, at) = digits(chars, at + 1)?;
                let increment = if chars.get(at) == Some(&'/') {
                    digits(chars, at + 1)?.0
                } else {
                    1
                };
                self.add(value, Some(end), increment, field)
            }
            Some('/') => {
                if chars.get(at + 1).is_none() {
                    return Err(CronError::new("'/' must be followed by an integer."));
                }
                let (increment, end) = digits(chars, at + 1)?;
                // Only a second character that is no digit is an error to Quartz; a later one is ignored.
                if end == at + 2
                    && let Some(other) = chars.get(end)
                {
                    return Err(CronError::new(format!(
                        "Unexpected character '{other}' after '/'"
                    )));
                }
                check_increment(increment, field)?;
                self.add(value, None, increment, field)
            }
            Some(_) => self.add(value, None, 0, field),
        }
    }

    fn add(
        &mut self,
        value: i64,
        end: Option<i64>,
        increment: i64,
        field: Field,
    ) -> Result<(), CronError> {
        let (smallest, largest, message) = field.range(self.last_year);
        let marked = value == ALL
            || (value == NONE && matches!(field, Field::DayOfMonth | Field::DayOfWeek));
        if let Some(message) = message
            && !marked
            && (value < smallest || value > largest || end.is_some_and(|end| end > largest))
        {
            return Err(CronError::new(message));
        }
        if (-1..=0).contains(&increment) && value != ALL {
            self.set(field).insert(value);
            return Ok(());
        }
        let mut step = increment;
        if value == ALL && step <= 0 {
            step = 1;
            self.set(field).insert(ALL);
        }
        if step <= 0 {
            return Err(CronError::new(format!("an increment of {step} never ends")));
        }
        let start = if value == ALL { smallest } else { value };
        let mut stop = end.unwrap_or(largest);
        let mut cycle = None;
        if stop < start {
            let length = field
                .cycle()
                .ok_or_else(|| CronError::new("Start year must be less than stop year"))?;
            stop += length;
            cycle = Some(length);
        }
        // Years are kept only as far as they can fire: `0-999999999` is a valid range.
        let mut at = start;
        if field == Field::Year {
            stop = stop.min(largest);
            if at < smallest {
                at += (smallest - at).div_euclid(step) * step;
            }
        }
        while at <= stop {
            let kept = match cycle {
                None => at,
                Some(length) => match at % length {
                    0 if matches!(field, Field::Month | Field::DayOfWeek | Field::DayOfMonth) => {
                        length
                    }
                    rest => rest,
                },
            };
            self.set(field).insert(kept);
            at += step;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Cron, CronError> {
        let of_month = !self.set(Field::DayOfMonth).contains(&NONE);
        let of_week = !self.set(Field::DayOfWeek).contains(&NONE);
        if of_month == of_week {
            return Err(CronError::new(
                "Support for specifying both a day-of-week AND a day-of-month parameter is not implemented.",
            ));
        }
        let days = if of_month {
            Days::OfMonth {
                days: u32::try_from(bits(self.set(Field::DayOfMonth), 31)).unwrap_or(0),
                from_last: self.from_last,
                nearest: self.nearest.iter().copied().collect(),
                nearest_from_last: self.nearest_from_last.iter().copied().collect(),
            }
        } else {
            let first = self.set(Field::DayOfWeek).first().copied();
            // Quartz looks at the first day only; 0, which only `0#n` can name, lands on Saturdays.
            let only = first.and_then(|day| match day {
                0 => Some(7),
                1..=7 => u8::try_from(day).ok(),
                _ => None,
            });
            if self.last_day_of_week {
                Days::LastOfWeek(only)
            } else if self.nth_day_of_week != 0 {
                Days::NthOfWeek(only, self.nth_day_of_week)
            } else {
                let set = self.set(Field::DayOfWeek);
                Days::OfWeek(u8::try_from(bits(set, 7)).unwrap_or(0))
            }
        };
        let no_days = match &days {
            Days::OfMonth {
                days,
                from_last,
                nearest,
                nearest_from_last,
            } => {
                *days == 0 && *from_last == 0 && nearest.is_empty() && nearest_from_last.is_empty()
            }
            Days::OfWeek(days) => *days == 0,
            Days::LastOfWeek(_) | Days::NthOfWeek(..) => false,
        };
        let seconds = bits(self.set(Field::Second), 59);
        let minutes = bits(self.set(Field::Minute), 59);
        let hours = u32::try_from(bits(self.set(Field::Hour), 23)).unwrap_or(0);
        let months = u16::try_from(bits(self.set(Field::Month), 12)).unwrap_or(0);
        if seconds == 0 || minutes == 0 || hours == 0 || months == 0 || no_days {
            return Err(CronError::new("a field of the expression has no value"));
        }
        let last_year = self.last_year;
        let years = self.set(Field::Year);
        let years = (!years.contains(&ALL)).then(|| {
            years
                .iter()
                .filter_map(|year| i16::try_from(*year).ok())
                .filter(|year| (FIRST_YEAR..=last_year).contains(year))
                .collect()
        });
        Ok(Cron {
            seconds,
            minutes,
            hours,
            days,
            months,
            years,
            last_year,
        })
    }
}

/// The values up to `largest` as bits.
fn bits(values: &BTreeSet<i64>, largest: i64) -> u64 {
    values
        .iter()
        .filter(|value| (0..=largest).contains(*value))
        .fold(0, |bits, value| bits | 1 << value)
}

/// `L`, `LW`, `L-`, `L-3`, `L-3W`: these are not read as names.
fn is_last(chars: &[char]) -> bool {
    match chars {
        ['L'] | ['L', 'W'] => true,
        ['L', '-', rest @ ..] => {
            let rest = rest.strip_suffix(&['W']).unwrap_or(rest);
            rest.iter().all(char::is_ascii_digit)
        }
        _ => false,
    }
}

/// The number that starts at `at`, and where it ends.
fn digits(chars: &[char], at: usize) -> Result<(i64, usize), CronError> {
    let length = chars
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|c| c.is_ascii_digit())
        .count();
    let text: String = chars
        .get(at..at + length)
        .unwrap_or_default()
        .iter()
        .collect();
    if text.is_empty() {
        return Err(CronError::new(format!(
            "a number is missing at position {at} of `{}`",
            chars.iter().collect::<String>()
        )));
    }
    Ok((integer(&text)?, at + length))
}

/// A Java `int`.
fn integer(text: &str) -> Result<i64, CronError> {
    text.parse::<i32>()
        .map(i64::from)
        .map_err(|_| CronError::new(format!("`{text}` is no number")))
}

/// What follows `#`.
fn nth(text: &str) -> Result<u8, CronError> {
    integer(text)
        .ok()
        .filter(|n| (1..=5).contains(n))
        .and_then(|n| u8::try_from(n).ok())
        .ok_or_else(|| CronError::new("A numeric value between 1 and 5 must follow the '#' option"))
}

fn check_increment(increment: i64, field: Field) -> Result<(), CronError> {
    match field.increment() {
        Some((largest, named)) if increment > largest => Err(CronError::new(format!(
            "Increment >= {named} : {increment}"
        ))),
        _ => Ok(()),
    }
}

fn small(value: i64) -> i16 {
    i16::try_from(value).unwrap_or(i16::MAX)
}

fn position(names: &[&str], word: &str) -> Option<i64> {
    names
        .iter()
        .position(|name| *name == word)
        .and_then(|at| i64::try_from(at + 1).ok())
}

fn month(word: &str) -> Option<i64> {
    position(
        &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
        word,
    )
}

fn weekday(word: &str) -> Option<i64> {
    position(&["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], word)
}
