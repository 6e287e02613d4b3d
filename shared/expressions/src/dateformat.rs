//! `java.text.SimpleDateFormat` in English and UTC: patterns to text and back.

use crate::dates::{DAYS, Fields, MONTHS, days_from_civil, fields, lenient_millis};
use crate::fault::{Eval, Fault};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct DateFormat {
    pattern: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    Field(char, usize),
}

/// Longest pattern in bytes; formats repeat it once per use.
const MAX_PATTERN: usize = 1_000;
/// Widest number that a field pads to.
const MAX_WIDTH: usize = 300;

impl DateFormat {
    pub(crate) fn new(pattern: &str) -> Eval<DateFormat> {
        if pattern.len() > MAX_PATTERN {
            return Err(Fault::limit(format!(
                "a date pattern is longer than {MAX_PATTERN} bytes"
            )));
        }
        let mut parts: Vec<Part> = Vec::new();
        let literal = |parts: &mut Vec<Part>, c: char| match parts.last_mut() {
            Some(Part::Literal(text)) => text.push(c),
            _ => parts.push(Part::Literal(c.to_string())),
        };
        let chars: Vec<char> = pattern.chars().collect();
        let at = |index: usize| chars.get(index).copied();
        let mut index = 0;
        let mut quoted = false;
        while let Some(c) = at(index) {
            if c == '\'' {
                if at(index + 1) == Some('\'') {
                    literal(&mut parts, '\'');
                    index += 2;
                    continue;
                }
                quoted = !quoted;
                index += 1;
                continue;
            }
            if quoted || !c.is_ascii_alphabetic() {
                literal(&mut parts, c);
                index += 1;
                continue;
            }
            if !"GyMdkHmsSEDFwWahKzZYuXL".contains(c) {
                return Err(Fault::new(format!("Illegal pattern character '{c}'")));
            }
            let mut count = 1;
            while at(index + count) == Some(c) {
                count += 1;
            }
            if c == 'X' && count > 3 {
                return Err(Fault::new(format!(
                    "invalid ISO 8601 format: length={count}"
                )));
            }
            parts.push(Part::Field(c, count));
            index += count;
        }
        if quoted {
            return Err(Fault::new("Unterminated quote"));
        }
        Ok(DateFormat {
            pattern: pattern.to_string(),
            parts,
        })
    }

    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(crate) fn format(&self, millis: i64) -> String {
        let f = fields(millis);
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Field(letter, count) => field_text(*letter, *count, &f, &mut out),
            }
        }
        out
    }

    /// Reads a date from the start of a text; what follows is not looked at.
    pub(crate) fn parse(&self, text: &str, now_millis: i64) -> Eval<i64> {
        let unparseable = || Fault::new(format!("Unparseable date: \"{text}\""));
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let mut found = Parsed::default();
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => {
                    for c in literal.chars() {
                        if chars.get(at) != Some(&c) {
                            return Err(unparseable());
                        }
                        at += 1;
                    }
                }
                Part::Field(letter, count) => {
                    // Digits run into the next field only if that is a number too.
                    let abutting = matches!(self.parts.get(index + 1), Some(Part::Field(next, width)) if is_numeric(*next, *width));
                    at = read_field(
                        *letter, *count, abutting, &chars, at, &mut found, now_millis,
                    )
                    .ok_or_else(unparseable)?;
                }
            }
        }
        Ok(found.millis())
    }
}

fn is_numeric(letter: char, count: usize) -> bool {
    match letter {
        'M' | 'L' => count < 3,
        'G' | 'E' | 'a' | 'z' | 'Z' | 'X' => false,
        _ => true,
    }
}

fn padded(value: i64, width: usize, out: &mut String) {
    let width = width.min(MAX_WIDTH);
    out.push_str(&format!("{value:0width$}"));
}

fn name(names: &[&str], index: i64, full: bool, out: &mut String) {
    if let Some(name) = usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
    {
        out.push_str(if full {
            name
        } else {
            name.get(..3).unwrap_or(name)
        });
    }
}

fn field_text(letter: char, count: usize, f: &Fields, out: &mut String) {
    match letter {
        'G' => out.push_str(if f.year > 0 { "AD" } else { "BC" }),
        'y' => {
            let year = if f.year > 0 { f.year } else { 1 - f.year };
            if count == 2 {
                padded(year % 100, 2, out)
            } else {
                padded(year, count, out)
            }
        }
        'Y' => {
            let year = week_year(f);
            if count == 2 {
                padded(year % 100, 2, out)
            } else {
                padded(year, count, out)
            }
        }
        'M' | 'L' => match count {
            0..=2 => padded(f.month, count, out),
            3 => name(&MONTHS, f.month - 1, false, out),
            _ => name(&MONTHS, f.month - 1, true, out),
        },
        'd' => padded(f.day, count, out),
        'H' => padded(f.hour, count, out),
        'k' => padded(if f.hour == 0 { 24 } else { f.hour }, count, out),
        'K' => padded(f.hour % 12, count, out),
        'h' => padded(if f.hour % 12 == 0 { 12 } else { f.hour % 12 }, count, out),
        'm' => padded(f.minute, count, out),
        's' => padded(f.second, count, out),
        'S' => padded(f.milli, count, out),
        'E' => name(&DAYS, f.weekday - 1, count > 3, out),
        'D' => padded(f.day_of_year, count, out),
        'F' => padded((f.day - 1) / 7 + 1, count, out),
        'w' => padded(week_of_year(f), count, out),
        'W' => padded(week_of_month(f), count, out),
        'u' => padded(f.weekday, count, out),
        'a' => out.push_str(if f.hour < 12 { "AM" } else { "PM" }),
        'z' => out.push_str(if count > 3 {
            "Coordinated Universal Time"
        } else {
            "UTC"
        }),
        'Z' => out.push_str("+0000"),
        'X' => out.push('Z'),
        _ => {}
    }
}

/// The weekday from Sunday = 0, on which weeks start in the United States.
fn from_sunday(weekday: i64) -> i64 {
    weekday % 7
}

fn week_of_month(f: &Fields) -> i64 {
    let first = (from_sunday(f.weekday) - (f.day - 1)).rem_euclid(7);
    (f.day - 1 + first) / 7 + 1
}

/// Weeks start on Sunday; the week of January 1st is the first.
fn week_of_year(f: &Fields) -> i64 {
    let first = (from_sunday(f.weekday) - (f.day_of_year - 1)).rem_euclid(7);
    if week_year(f) > f.year {
        return 1;
    }
    (f.day_of_year - 1 + first) / 7 + 1
}

fn week_year(f: &Fields) -> i64 {
    let days_to_saturday = 6 - from_sunday(f.weekday);
    let length = days_from_civil(f.year + 1, 1, 1) - days_from_civil(f.year, 1, 1);
    if f.day_of_year + days_to_saturday > length {
        f.year + 1
    } else {
        f.year
    }
}

#[derive(Default)]
struct Parsed {
    year: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    weekday: Option<i64>,
    week_of_year: Option<i64>,
    week_of_month: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    milli: i64,
    offset_minutes: i64,
    last_day_field: char,
}

impl Parsed {
    fn millis(&self) -> i64 {
        let year = self.year.unwrap_or(1970);
        let year = if self.before_christ { 1 - year } else { year };
        let hour = match (self.hour, self.half_hour, self.afternoon) {
            (Some(hour), _, _) => hour,
            (None, Some(half), afternoon) => half + if afternoon == Some(true) { 12 } else { 0 },
            (None, None, Some(true)) => 12,
            _ => 0,
        };
        let minute = self.minute - self.offset_minutes;
        if let (Some(day_of_year), 'D') = (self.day_of_year, self.last_day_field) {
            return lenient_millis(year, 1, day_of_year, hour, minute, self.second, self.milli);
        }
        let month = self.month.unwrap_or(1);
        let mut day = self.day.unwrap_or(1);
        if self.day.is_none() || matches!(self.last_day_field, 'w' | 'W' | 'E') {
            let start = lenient_millis(year, month, 1, 0, 0, 0, 0);
            let first = fields(start);
            if let Some(week) = self.week_of_year {
                let january = fields(lenient_millis(year, 1, 1, 0, 0, 0, 0));
                let wanted = self.weekday.map_or(0, from_sunday);
                let day_of_year = (week - 1) * 7 + wanted - from_sunday(january.weekday) + 1;
                return lenient_millis(year, 1, day_of_year, hour, minute, self.second, self.milli);
            }
            if let Some(week) = self.week_of_month {
                let wanted = self.weekday.map_or(0, from_sunday);
                day = (week - 1) * 7 + wanted - from_sunday(first.weekday) + 1;
            } else if let (Some(weekday), None) = (self.weekday, self.day) {
                // The week day of the month's first week.
                day = 1 + (from_sunday(weekday) - from_sunday(first.weekday)).rem_euclid(7);
                if self.month.is_none() && self.day.is_none() {
                    day = 1 + from_sunday(weekday) - from_sunday(first.weekday);
                }
            }
        }
        lenient_millis(year, month, day, hour, minute, self.second, self.milli)
    }
}

fn digits(chars: &[char], at: usize, most: usize) -> Option<(i64, usize)> {
    let mut value: i64 = 0;
    let mut count = 0;
    while count < most.min(18)
        && let Some(digit) = chars.get(at + count).and_then(|c| c.to_digit(10))
    {
        value = value * 10 + i64::from(digit);
        count += 1;
    }
    (count > 0).then_some((value, at + count))
}

fn named(chars: &[char], at: usize, names: &[&str]) -> Option<(i64, usize)> {
    let rest: String = chars
        .get(at..)?
        .iter()
        .take(12)
        .collect::<String>()
        .to_lowercase();
    let mut best: Option<(i64, usize)> = None;
    for (index, name) in names.iter().enumerate() {
        for candidate in [
            name.to_lowercase(),
            name.get(..3).unwrap_or(name).to_lowercase(),
        ] {
            let longer = best.is_none_or(|(_, length)| candidate.len() > length);
            if rest.starts_with(&candidate) && longer {
                best = Some((index as i64, candidate.len()));
            }
        }
    }
    best.map(|(index, length)| (index, at + length))
}

/// 80 years before now: where two-digit years start.
pub(crate) fn two_digit_start(now_millis: i64) -> i64 {
    let f = fields(now_millis);
    lenient_millis(
        f.year - 80,
        f.month,
        f.day,
        f.hour,
        f.minute,
        f.second,
        f.milli,
    )
}

fn read_field(
    letter: char,
    count: usize,
    abutting: bool,
    chars: &[char],
    at: usize,
    found: &mut Parsed,
    now_millis: i64,
) -> Option<usize> {
    let mut at = at;
    if is_numeric(letter, count) {
        while matches!(chars.get(at), Some(' ' | '\t')) {
            at += 1;
        }
        let negative = chars.get(at) == Some(&'-');
        let start = if negative { at + 1 } else { at };
        let most = if abutting { count } else { 18 };
        let (value, end) = digits(chars, start, most)?;
        let value = if negative { -value } else { value };
        match letter {
            'y' | 'Y' => {
                let two = end - start == 2 && count <= 2 && !negative;
                found.year = Some(if two {
                    let threshold = fields(two_digit_start(now_millis)).year;
                    let century = threshold - threshold.rem_euclid(100);
                    let year = century + value;
                    if year < threshold { year + 100 } else { year }
                } else {
                    value
                });
            }
            'M' | 'L' => found.month = Some(value),
            'd' => {
                found.day = Some(value);
                found.last_day_field = 'd';
            }
            'D' => {
                found.day_of_year = Some(value);
                found.last_day_field = 'D';
            }
            'w' => {
                found.week_of_year = Some(value);
                found.last_day_field = 'w';
            }
            'W' => {
                found.week_of_month = Some(value);
                found.last_day_field = 'W';
            }
            'u' => found.weekday = Some(value),
            'H' => found.hour = Some(value),
            'k' => found.hour = Some(if value == 24 { 0 } else { value }),
            'K' => found.half_hour = Some(value),
            'h' => found.half_hour = Some(if value == 12 { 0 } else { value }),
            'm' => found.minute = value,
            's' => found.second = value,
            'S' => found.milli = value,
            _ => {}
        }
        return Some(end);
    }
    while matches!(chars.get(at), Some(' ' | '\t')) {
        at += 1;
    }
    match letter {
        'M' | 'L' => {
            let (index, end) = named(chars, at, &MONTHS)?;
            found.month = Some(index + 1);
            Some(end)
        }
        'E' => {
            let (index, end) = named(chars, at, &DAYS)?;
            found.weekday = Some(index + 1);
            Some(end)
        }
        'a' | 'G' => {
            let word: String = chars
                .get(at..at + 2)?
                .iter()
                .collect::<String>()
                .to_uppercase();
            match (letter, word.as_str()) {
                ('a', "AM") => found.afternoon = Some(false),
                ('a', "PM") => found.afternoon = Some(true),
                ('G', "AD") => {}
                ('G', "BC") => found.before_christ = true,
                _ => return None,
            }
            Some(at + 2)
        }
        _ => read_zone(letter, count, chars, at, found),
    }
}

fn read_zone(
    letter: char,
    count: usize,
    chars: &[char],
    at: usize,
    found: &mut Parsed,
) -> Option<usize> {
    if letter == 'X' && chars.get(at) == Some(&'Z') {
        return Some(at + 1);
    }
    let sign_at = |at: usize| match chars.get(at) {
        Some('+') => Some(1),
        Some('-') => Some(-1),
        _ => None,
    };
    let offset = |at: usize, sign: i64, found: &mut Parsed| -> Option<usize> {
        let (hours, after) = digits(chars, at + 1, 2)?;
        if letter == 'X' && count == 1 {
            found.offset_minutes = sign * hours * 60;
            return (after == at + 3).then_some(after);
        }
        let colon = chars.get(after) == Some(&':');
        if letter == 'X' && colon != (count == 3) {
            return None;
        }
        let (minutes, end) = digits(chars, if colon { after + 1 } else { after }, 2)?;
        found.offset_minutes = sign * (hours * 60 + minutes);
        Some(end)
    };
    if let Some(sign) = sign_at(at) {
        return offset(at, sign, found);
    }
    if letter == 'X' {
        return None;
    }
    let word: String = chars
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|c| c.is_ascii_alphabetic())
        .collect();
    let end = at + word.chars().count();
    let minutes = match word.to_uppercase().as_str() {
        "UTC" | "UT" | "Z" => 0,
        "GMT" => {
            return match sign_at(end) {
                Some(sign) => offset(end, sign, found),
                None => Some(end),
            };
        }
        "EST" => -300,
        "EDT" => -240,
        "CST" => -360,
        "CDT" => -300,
        "MST" => -420,
        "MDT" => -360,
        "PST" => -480,
        "PDT" => -420,
        "CET" => 60,
        "CEST" => 120,
        _ => return None,
    };
    found.offset_minutes = minutes;
    Some(end)
}
