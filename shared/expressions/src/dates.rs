//! Texts and parsing of Java's dates and times. The zone is UTC, as the original runs.

use crate::fault::{Eval, Fault};
use crate::value::Instant;
use jiff::civil::{Date, DateTime};

pub(crate) const MILLIS_PER_DAY: i64 = 86_400_000;
const SECONDS_PER_DAY: i64 = 86_400;

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From Monday, as `DayOfWeek` counts.
pub(crate) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const DAY_NAMES: [&str; 7] = [
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
    "SUNDAY",
];
const UNIT_NAMES: [&str; 16] = [
    "NANOS",
    "MICROS",
    "MILLIS",
    "SECONDS",
    "MINUTES",
    "HOURS",
    "HALF_DAYS",
    "DAYS",
    "WEEKS",
    "MONTHS",
    "YEARS",
    "DECADES",
    "CENTURIES",
    "MILLENNIA",
    "ERAS",
    "FOREVER",
];
const UNIT_TEXTS: [&str; 16] = [
    "Nanos",
    "Micros",
    "Millis",
    "Seconds",
    "Minutes",
    "Hours",
    "HalfDays",
    "Days",
    "Weeks",
    "Months",
    "Years",
    "Decades",
    "Centuries",
    "Millennia",
    "Eras",
    "Forever",
];

pub(crate) fn day_name(day: u8) -> &'static str {
    DAY_NAMES
        .get(usize::from(day).wrapping_sub(1))
        .copied()
        .unwrap_or("MONDAY")
}

pub(crate) fn unit_name(unit: u8) -> &'static str {
    UNIT_NAMES
        .get(usize::from(unit))
        .copied()
        .unwrap_or("FOREVER")
}

pub(crate) fn unit_text(unit: u8) -> &'static str {
    UNIT_TEXTS
        .get(usize::from(unit))
        .copied()
        .unwrap_or("Forever")
}

pub(crate) fn day_of_week(name: &str) -> Eval<u8> {
    DAY_NAMES
        .iter()
        .position(|known| *known == name)
        .map(|index| index as u8 + 1)
        .ok_or_else(|| Fault::new(format!("No enum constant java.time.DayOfWeek.{name}")))
}

pub(crate) fn chrono_unit(name: &str) -> Eval<u8> {
    UNIT_NAMES
        .iter()
        .position(|known| *known == name)
        .map(|index| index as u8)
        .ok_or_else(|| {
            Fault::new(format!(
                "No enum constant java.time.temporal.ChronoUnit.{name}"
            ))
        })
}

/// A point in time by its calendar fields, UTC, proleptic Gregorian (Java switches calendars in 1582).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) milli: i64,
    /// From Monday = 1.
    pub(crate) weekday: i64,
    pub(crate) day_of_year: i64,
}

/// Days since 1970 of a civil date (years far out of range included).
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Farther than Java's dates go; keeps the products below in range.
    let year = year.clamp(-1_000_000_000, 1_000_000_000);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(crate) fn fields(millis: i64) -> Fields {
    let days = millis.div_euclid(MILLIS_PER_DAY);
    let in_day = millis.rem_euclid(MILLIS_PER_DAY);
    let (year, month, day) = civil_from_days(days);
    Fields {
        year,
        month,
        day,
        hour: in_day / 3_600_000,
        minute: in_day / 60_000 % 60,
        second: in_day / 1_000 % 60,
        milli: in_day % 1_000,
        weekday: (days + 3).rem_euclid(7) + 1,
        day_of_year: days - days_from_civil(year, 1, 1) + 1,
    }
}

/// Milliseconds of calendar fields that may lie outside their ranges, as Java's lenient calendar takes them.
pub(crate) fn lenient_millis(
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    milli: i64,
) -> i64 {
    let months = year
        .saturating_mul(12)
        .saturating_add(month.saturating_sub(1));
    let days = days_from_civil(months.div_euclid(12), months.rem_euclid(12) + 1, 1)
        .saturating_add(day.saturating_sub(1));
    days.saturating_mul(MILLIS_PER_DAY)
        .saturating_add(hour.saturating_mul(3_600_000))
        .saturating_add(minute.saturating_mul(60_000))
        .saturating_add(second.saturating_mul(1_000))
        .saturating_add(milli)
}

fn short(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .and_then(|name| name.get(..3))
        .unwrap_or("???")
}

/// `java.util.Date.toString`: `Thu Jan 01 00:00:00 UTC 1970`.
pub(crate) fn date_text(millis: i64) -> String {
    let f = fields(millis);
    let year = if f.year > 0 { f.year } else { 1 - f.year };
    format!(
        "{} {} {:02} {:02}:{:02}:{:02} UTC {year:04}",
        short(&DAYS, f.weekday - 1),
        short(&MONTHS, f.month - 1),
        f.day,
        f.hour,
        f.minute,
        f.second
    )
}

/// `Date.toGMTString`: `1 Jan 1970 00:00:00 GMT`.
pub(crate) fn gmt_text(millis: i64) -> String {
    let f = fields(millis);
    format!(
        "{} {} {} {:02}:{:02}:{:02} GMT",
        f.day,
        short(&MONTHS, f.month - 1),
        f.year,
        f.hour,
        f.minute,
        f.second
    )
}

/// `Date.toLocaleString` in the United States.
pub(crate) fn locale_text(millis: i64) -> String {
    let f = fields(millis);
    let hour = if f.hour % 12 == 0 { 12 } else { f.hour % 12 };
    let half = if f.hour < 12 { "AM" } else { "PM" };
    format!(
        "{} {}, {}, {hour}:{:02}:{:02} {half}",
        short(&MONTHS, f.month - 1),
        f.day,
        f.year,
        f.minute,
        f.second
    )
}

pub(crate) fn instant_of_millis(millis: i64) -> Instant {
    Instant {
        seconds: millis.div_euclid(1_000),
        nanos: (millis.rem_euclid(1_000) * 1_000_000) as u32,
    }
}

pub(crate) fn millis_of_instant(instant: Instant) -> Eval<i64> {
    instant
        .seconds
        .checked_mul(1_000)
        .and_then(|millis| millis.checked_add(i64::from(instant.nanos / 1_000_000)))
        .ok_or_else(|| Fault::new("long overflow"))
}

fn year_text(year: i64) -> String {
    if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else if year < 0 {
        format!("-{:04}", -year)
    } else {
        format!("+{year}")
    }
}

fn fraction(nanos: u32) -> String {
    if nanos == 0 {
        String::new()
    } else if nanos.is_multiple_of(1_000_000) {
        format!(".{:03}", nanos / 1_000_000)
    } else if nanos.is_multiple_of(1_000) {
        format!(".{:06}", nanos / 1_000)
    } else {
        format!(".{nanos:09}")
    }
}

pub(crate) fn instant_text(instant: Instant) -> String {
    let days = instant.seconds.div_euclid(SECONDS_PER_DAY);
    let in_day = instant.seconds.rem_euclid(SECONDS_PER_DAY);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{}-{month:02}-{day:02}T{:02}:{:02}:{:02}{}Z",
        year_text(year),
        in_day / 3_600,
        in_day / 60 % 60,
        in_day % 60,
        fraction(instant.nanos)
    )
}

pub(crate) fn local_date_text(date: Date) -> String {
    format!(
        "{}-{:02}-{:02}",
        year_text(i64::from(date.year())),
        date.month(),
        date.day()
    )
}

pub(crate) fn local_date_time_text(time: DateTime) -> String {
    let mut text = format!(
        "{}T{:02}:{:02}",
        local_date_text(time.date()),
        time.hour(),
        time.minute()
    );
    let nanos = time.subsec_nanosecond() as u32;
    if time.second() > 0 || nanos > 0 {
        text.push_str(&format!(":{:02}{}", time.second(), fraction(nanos)));
    }
    text
}

fn unparsed(text: &str, index: usize) -> Fault {
    Fault::new(format!(
        "Text '{text}' could not be parsed at index {index}"
    ))
}

fn two_digits(text: &str, at: usize) -> Option<i64> {
    text.get(at..at + 2)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// `LocalDate.parse`: `yyyy-MM-dd` only.
pub(crate) fn parse_local_date(text: &str) -> Eval<Date> {
    let (date, rest) = date_prefix(text, text)?;
    if !rest.is_empty() {
        return Err(unparsed(text, text.len() - rest.len()));
    }
    Ok(date)
}

fn date_prefix<'t>(all: &str, text: &'t str) -> Eval<(Date, &'t str)> {
    let year = text
        .get(..4)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let year: i64 = year
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| unparsed(all, 0))?;
    if text.get(4..5) != Some("-") {
        return Err(unparsed(all, 4.min(text.len())));
    }
    let month = two_digits(text, 5).ok_or_else(|| unparsed(all, 5))?;
    if text.get(7..8) != Some("-") {
        return Err(unparsed(all, 7.min(text.len())));
    }
    let day = two_digits(text, 8).ok_or_else(|| unparsed(all, 8))?;
    let date = Date::new(year as i16, month as i8, day as i8)
        .map_err(|_| Fault::new(format!("Text '{all}' could not be parsed: Invalid date")))?;
    Ok((date, text.get(10..).unwrap_or_default()))
}

/// Hours, minutes, seconds, nanoseconds, and what follows them.
fn time_prefix<'t>(all: &str, text: &'t str, seconds_needed: bool) -> Eval<([i64; 4], &'t str)> {
    let at = |offset: usize| all.len() - text.len() + offset;
    let hour = two_digits(text, 0).ok_or_else(|| unparsed(all, at(0)))?;
    if text.get(2..3) != Some(":") {
        return Err(unparsed(all, at(2)));
    }
    let minute = two_digits(text, 3).ok_or_else(|| unparsed(all, at(3)))?;
    let mut rest = text.get(5..).unwrap_or_default();
    let mut second = 0;
    let mut nanos = 0;
    if let Some(after) = rest.strip_prefix(':') {
        second = two_digits(after, 0).ok_or_else(|| unparsed(all, at(6)))?;
        rest = after.get(2..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count().min(9);
            if digits > 0 || seconds_needed {
                let padded = format!("{:0<9}", after.get(..digits).unwrap_or_default());
                nanos = padded.parse().unwrap_or(0);
                rest = after.get(digits..).unwrap_or_default();
            }
        }
    } else if seconds_needed {
        return Err(unparsed(all, at(5)));
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Fault::new(format!(
            "Text '{all}' could not be parsed: Invalid value for a field of time"
        )));
    }
    Ok(([hour, minute, second, nanos], rest))
}

/// `LocalDateTime.parse`.
pub(crate) fn parse_local_date_time(text: &str) -> Eval<DateTime> {
    let (date, rest) = date_prefix(text, text)?;
    let Some(rest) = rest.strip_prefix(['T', 't']) else {
        return Err(unparsed(text, 10));
    };
    let ([hour, minute, second, nanos], rest) = time_prefix(text, rest, false)?;
    if !rest.is_empty() {
        return Err(unparsed(text, text.len() - rest.len()));
    }
    Ok(date.at(hour as i8, minute as i8, second as i8, nanos as i32))
}

/// `Instant.parse`: UTC or, since Java 12, with an offset.
pub(crate) fn parse_instant(text: &str) -> Eval<Instant> {
    let (date, rest) = date_prefix(text, text)?;
    let Some(rest) = rest.strip_prefix(['T', 't']) else {
        return Err(unparsed(text, 10.min(text.len())));
    };
    let ([hour, minute, second, nanos], rest) = time_prefix(text, rest, true)?;
    let offset = match rest {
        "Z" | "z" => 0,
        rest => {
            let sign = match rest.chars().next() {
                Some('+') => 1,
                Some('-') => -1,
                _ => return Err(unparsed(text, text.len() - rest.len())),
            };
            let hours =
                two_digits(rest, 1).ok_or_else(|| unparsed(text, text.len() - rest.len()))?;
            let minutes = match rest.get(3..) {
                Some("") => 0,
                Some(tail) if tail.starts_with(':') && tail.len() == 3 => {
                    two_digits(tail, 1).ok_or_else(|| unparsed(text, text.len() - rest.len()))?
                }
                _ => return Err(unparsed(text, text.len() - rest.len())),
            };
            sign * (hours * 3_600 + minutes * 60)
        }
    };
    let days = days_from_civil(
        i64::from(date.year()),
        i64::from(date.month()),
        i64::from(date.day()),
    );
    Ok(Instant {
        seconds: days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - offset,
        nanos: nanos as u32,
    })
}

/// `UUID.fromString`: five groups of hex digits, longer ones cut.
pub(crate) fn parse_uuid(text: &str) -> Eval<u128> {
    let wrong = || Fault::new(format!("Invalid UUID string: {text}"));
    if text.len() > 36 {
        return Err(Fault::new("UUID string too large"));
    }
    let parts: Vec<&str> = text.split('-').collect();
    let [a, b, c, d, e] = parts.as_slice() else {
        return Err(wrong());
    };
    let group = |part: &str, bits: u32| -> Eval<u128> {
        if part.is_empty() || part.len() > 16 || part.starts_with('+') {
            return Err(Fault::new(format!("For input string: \"{part}\"")));
        }
        let value = u64::from_str_radix(part, 16)
            .map_err(|_| Fault::new(format!("For input string: \"{part}\"")))?;
        Ok(u128::from(value) & ((1 << bits) - 1))
    };
    Ok((group(a, 32)? << 96)
        | (group(b, 16)? << 80)
        | (group(c, 16)? << 64)
        | (group(d, 16)? << 48)
        | group(e, 48)?)
}

/// `Date.parse`, the deprecated reader of nearly any notation: words, numbers and the signs between them.
pub(crate) fn parse_legacy_date(text: &str) -> Eval<i64> {
    let wrong = || Fault::new("null");
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied();
    let (mut year, mut month, mut day) = (None::<i64>, None::<i64>, None::<i64>);
    let (mut hour, mut minute, mut second) = (None::<i64>, None::<i64>, None::<i64>);
    let mut offset: Option<i64> = None;
    let mut previous = '\0';
    let mut index = 0;
    while let Some(c) = at(index) {
        index += 1;
        if c <= ' ' || c == ',' {
            continue;
        }
        if c == '(' {
            let mut depth = 1;
            while depth > 0 {
                match at(index) {
                    Some('(') => depth += 1,
                    Some(')') => depth -= 1,
                    Some(_) => {}
                    None => break,
                }
                index += 1;
            }
            continue;
        }
        if c.is_ascii_digit() {
            let mut number = i64::from(c as u8 - b'0');
            while let Some(digit) = at(index).and_then(|c| c.to_digit(10)) {
                number = number.saturating_mul(10).saturating_add(i64::from(digit));
                index += 1;
            }
            let next = at(index).unwrap_or('\0');
            if (previous == '+' || previous == '-') && year.is_some() {
                let minutes = if number < 24 {
                    number * 60
                } else {
                    number % 100 + number / 100 * 60
                };
                let signed = if previous == '+' { -minutes } else { minutes };
                if offset.is_some_and(|offset| offset != 0) {
                    return Err(wrong());
                }
                offset = Some(signed);
            } else if number >= 70 && year.is_none() && (next <= ' ' || next == ',' || next == '/')
            {
                year = Some(number);
            } else if number >= 70 && year.is_some() {
                return Err(wrong());
            } else if next == ':' {
                if hour.is_none() {
                    hour = Some(number);
                } else if minute.is_none() {
                    minute = Some(number);
                } else {
                    return Err(wrong());
                }
            } else if next == '/' {
                if month.is_none() {
                    month = Some(number - 1);
                } else if day.is_none() {
                    day = Some(number);
                } else {
                    return Err(wrong());
                }
            } else if next > ' ' && next != ',' && next != '-' {
                return Err(wrong());
            } else if hour.is_some() && minute.is_none() {
                minute = Some(number);
            } else if minute.is_some() && second.is_none() {
                second = Some(number);
            } else if day.is_none() {
                day = Some(number);
            } else if year.is_none() && month.is_some() && day.is_some() {
                year = Some(number);
            } else {
                return Err(wrong());
            }
            previous = '\0';
        } else if matches!(c, '/' | ':' | '+' | '-') {
            previous = c;
        } else {
            let start = index - 1;
            while at(index).is_some_and(|c| c.is_ascii_alphabetic()) {
                index += 1;
            }
            let word: String = chars
                .get(start..index)
                .unwrap_or_default()
                .iter()
                .collect::<String>()
                .to_lowercase();
            if word.len() < 2 {
                return Err(wrong());
            }
            let month_of = MONTHS
                .iter()
                .position(|name| name.to_lowercase().starts_with(&word));
            if DAYS
                .iter()
                .any(|name| name.to_lowercase().starts_with(&word))
            {
                // Week days say nothing.
            } else if word == "am" || word == "pm" {
                match hour {
                    Some(12) if word == "am" => hour = Some(0),
                    Some(h) if word == "pm" && h < 12 => hour = Some(h + 12),
                    Some(h) if (1..=12).contains(&h) => {}
                    _ => return Err(wrong()),
                }
            } else if let Some(found) = month_of {
                if month.is_some() {
                    return Err(wrong());
                }
                month = Some(found as i64);
            } else {
                let zone = match word.as_str() {
                    "gmt" | "ut" | "utc" => 0,
                    "est" => 300,
                    "edt" => 240,
                    "cst" => 360,
                    "cdt" => 300,
                    "mst" => 420,
                    "mdt" => 360,
                    "pst" => 480,
                    "pdt" => 420,
                    _ => return Err(wrong()),
                };
                offset = Some(zone);
            }
            previous = '\0';
        }
    }
    let (Some(year), Some(month), Some(day)) = (year, month, day) else {
        return Err(wrong());
    };
    let year = if year < 100 {
        if year < 70 { year + 2000 } else { year + 1900 }
    } else {
        year
    };
    Ok(lenient_millis(
        year,
        month + 1,
        day,
        hour.unwrap_or(0),
        minute.unwrap_or(0).saturating_add(offset.unwrap_or(0)),
        second.unwrap_or(0),
        0,
    ))
}
