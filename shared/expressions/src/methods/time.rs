//! `Date`, `java.time`, `SimpleDateFormat`, `UUID` and `Random`.

use super::*;
use crate::dateformat::DateFormat;
use crate::dates::{self, fields, lenient_millis};
use crate::value::{Instant, Random};
use jiff::civil::{Date, DateTime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn millis(value: &Value) -> Eval<i64> {
    match value {
        Value::Date(millis) => Ok(*millis),
        _ => Err(null_fault("a date")),
    }
}

fn int(value: i64) -> Eval<Value> {
    Ok(Value::Int(value as i32))
}

const DATE_CLASS: Class = Class::of(Base::Date);

pub(super) static DATE: &[Method] = &[
    method("getTime", &[], |_, t, _| millis(t).map(Value::Long)),
    method("toInstant", &[], |_, t, _| {
        millis(t).map(|millis| Value::Instant(dates::instant_of_millis(millis)))
    }),
    method("before", &[DATE_CLASS], |_, t, a| {
        Ok(Value::Bool(millis(t)? < millis(arg(a, 0))?))
    }),
    method("after", &[DATE_CLASS], |_, t, a| {
        Ok(Value::Bool(millis(t)? > millis(arg(a, 0))?))
    }),
    method("compareTo", &[DATE_CLASS], |_, t, a| {
        Ok(Value::Int(millis(t)?.cmp(&millis(arg(a, 0))?) as i32))
    }),
    method(
        "getYear",
        &[],
        |_, t, _| int(fields(millis(t)?).year - 1900),
    ),
    method("getMonth", &[], |_, t, _| int(fields(millis(t)?).month - 1)),
    method("getDate", &[], |_, t, _| int(fields(millis(t)?).day)),
    method("getDay", &[], |_, t, _| int(fields(millis(t)?).weekday % 7)),
    method("getHours", &[], |_, t, _| int(fields(millis(t)?).hour)),
    method("getMinutes", &[], |_, t, _| int(fields(millis(t)?).minute)),
    method("getSeconds", &[], |_, t, _| int(fields(millis(t)?).second)),
    method("getTimezoneOffset", &[], |_, _, _| int(0)),
    method("toGMTString", &[], |_, t, _| {
        Ok(Value::str(dates::gmt_text(millis(t)?)))
    }),
    method("toLocaleString", &[], |_, t, _| {
        Ok(Value::str(dates::locale_text(millis(t)?)))
    }),
    fixed("parse", &[STRING], |_, _, a| {
        dates::parse_legacy_date(text_arg(a, 0)?).map(Value::Long)
    }),
    fixed("from", &[Class::of(Base::Instant)], |_, _, a| {
        dates::millis_of_instant(instant(arg(a, 0))?).map(Value::Date)
    }),
    fixed("UTC", &[INT, INT, INT, INT, INT, INT], |_, _, a| {
        Ok(Value::Long(civil_args(a)))
    }),
];

/// Year since 1900, month from 0, day, hour, minute, second.
fn civil_args(args: &[Value]) -> i64 {
    let at = |index| i64::from(int_arg(args, index));
    lenient_millis(at(0) + 1900, at(1) + 1, at(2), at(3), at(4), at(5), 0)
}

pub(super) static NEW_DATE: &[Method] = &[
    fixed("", &[], |s, _, _| Ok(Value::Date(s.options.now_millis))),
    fixed("", &[STRING], |_, _, a| {
        dates::parse_legacy_date(text_arg(a, 0)?).map(Value::Date)
    }),
    fixed("", &[LONG], |_, _, a| Ok(Value::Date(long_arg(a, 0)))),
    fixed("", &[INT, INT, INT], |_, _, a| {
        Ok(Value::Date(civil_args(a)))
    }),
    fixed("", &[INT, INT, INT, INT, INT], |_, _, a| {
        Ok(Value::Date(civil_args(a)))
    }),
    fixed("", &[INT, INT, INT, INT, INT, INT], |_, _, a| {
        Ok(Value::Date(civil_args(a)))
    }),
];

fn format_of(value: &Value) -> Eval<&DateFormat> {
    match value {
        Value::DateFormat(format) => Ok(format),
        _ => Err(null_fault("a date format")),
    }
}

pub(super) static SIMPLE_DATE_FORMAT: &[Method] = &[
    method("format", &[DATE_CLASS], |_, t, a| match arg(a, 0) {
        Value::Date(millis) => Ok(Value::str(format_of(t)?.format(*millis))),
        _ => Err(Fault::new("date must not be null")),
    }),
    method("format", &[OBJECT], |_, t, a| match arg(a, 0) {
        Value::Date(millis) => Ok(Value::str(format_of(t)?.format(*millis))),
        number if number.is_number() => Ok(Value::str(
            format_of(t)?.format(crate::operators::to_i64(number)),
        )),
        _ => Err(Fault::new("Cannot format given Object as a Date")),
    }),
    method("parse", &[STRING], |s, t, a| {
        format_of(t)?
            .parse(text_arg(a, 0)?, s.options.now_millis)
            .map(Value::Date)
    }),
    method("toPattern", &[], |_, t, _| {
        Ok(Value::str(format_of(t)?.pattern()))
    }),
    method("toLocalizedPattern", &[], |_, t, _| {
        Ok(Value::str(format_of(t)?.pattern()))
    }),
    method("isLenient", &[], |_, _, _| Ok(Value::Bool(true))),
    method("get2DigitYearStart", &[], |s, _, _| {
        Ok(Value::Date(crate::dateformat::two_digit_start(
            s.options.now_millis,
        )))
    }),
];

pub(super) static NEW_SIMPLE_DATE_FORMAT: &[Method] = &[
    fixed("", &[], |_, _, _| {
        DateFormat::new("M/d/yy, h:mm a").map(|format| Value::DateFormat(Arc::new(format)))
    }),
    fixed("", &[STRING], |_, _, a| {
        DateFormat::new(text_arg(a, 0)?).map(|format| Value::DateFormat(Arc::new(format)))
    }),
];

fn instant(value: &Value) -> Eval<Instant> {
    match value {
        Value::Instant(instant) => Ok(*instant),
        _ => Err(null_fault("an instant")),
    }
}

/// Nanoseconds of each exact unit, by its position in `ChronoUnit`.
const UNIT_NANOS: [i128; 8] = [
    1,
    1_000,
    1_000_000,
    1_000_000_000,
    60_000_000_000,
    3_600_000_000_000,
    43_200_000_000_000,
    86_400_000_000_000,
];
/// The farthest instant of Java, in seconds from 1970.
const MAX_SECONDS: i128 = 31_556_889_864_403_199;

fn total_nanos(instant: Instant) -> i128 {
    i128::from(instant.seconds) * 1_000_000_000 + i128::from(instant.nanos)
}

fn instant_from(nanos: i128) -> Eval<Value> {
    let seconds = nanos.div_euclid(1_000_000_000);
    if seconds.abs() > MAX_SECONDS {
        return Err(Fault::new("Instant exceeds minimum or maximum instant"));
    }
    Ok(Value::Instant(Instant {
        seconds: seconds as i64,
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    }))
}

fn shifted(value: &Value, amount: i128, unit: i128) -> Eval<Value> {
    let moved = amount
        .checked_mul(unit)
        .and_then(|by| by.checked_add(total_nanos(instant(value).ok()?)));
    moved
        .ok_or_else(|| Fault::new("long overflow"))
        .and_then(instant_from)
}

fn unit(value: &Value) -> Eval<usize> {
    match value {
        Value::ChronoUnit(unit) => Ok(usize::from(*unit)),
        _ => Err(null_fault("a unit")),
    }
}

fn unsupported(unit: usize) -> Fault {
    Fault::new(format!(
        "Unsupported unit: {}",
        dates::unit_text(unit as u8)
    ))
}

fn shift_instant(value: &Value, amount: i128, by: usize) -> Eval<Value> {
    match UNIT_NANOS.get(by) {
        Some(nanos) => shifted(value, amount, *nanos),
        None => Err(unsupported(by)),
    }
}

const UNIT: Class = Class::of(Base::TemporalUnit);
const SECOND: i128 = 1_000_000_000;

pub(super) static INSTANT: &[Method] = &[
    method("getEpochSecond", &[], |_, t, _| {
        Ok(Value::Long(instant(t)?.seconds))
    }),
    method("getNano", &[], |_, t, _| {
        Ok(Value::Int(instant(t)?.nanos as i32))
    }),
    method("toEpochMilli", &[], |_, t, _| {
        dates::millis_of_instant(instant(t)?).map(Value::Long)
    }),
    method("plusSeconds", &[LONG], |_, t, a| {
        shifted(t, i128::from(long_arg(a, 0)), SECOND)
    }),
    method("plusMillis", &[LONG], |_, t, a| {
        shifted(t, i128::from(long_arg(a, 0)), 1_000_000)
    }),
    method("plusNanos", &[LONG], |_, t, a| {
        shifted(t, i128::from(long_arg(a, 0)), 1)
    }),
    method("minusSeconds", &[LONG], |_, t, a| {
        shifted(t, -i128::from(long_arg(a, 0)), SECOND)
    }),
    method("minusMillis", &[LONG], |_, t, a| {
        shifted(t, -i128::from(long_arg(a, 0)), 1_000_000)
    }),
    method("minusNanos", &[LONG], |_, t, a| {
        shifted(t, -i128::from(long_arg(a, 0)), 1)
    }),
    method("plus", &[LONG, UNIT], |_, t, a| {
        shift_instant(t, i128::from(long_arg(a, 0)), unit(arg(a, 1))?)
    }),
    method("minus", &[LONG, UNIT], |_, t, a| {
        shift_instant(t, -i128::from(long_arg(a, 0)), unit(arg(a, 1))?)
    }),
    method("truncatedTo", &[UNIT], |_, t, a| {
        let by = unit(arg(a, 0))?;
        let Some(nanos) = UNIT_NANOS.get(by) else {
            return Err(Fault::new("Unit is too large to be used for truncation"));
        };
        let total = total_nanos(instant(t)?);
        instant_from(total - total.rem_euclid(*nanos))
    }),
    method("isAfter", &[Class::of(Base::Instant)], |_, t, a| {
        Ok(Value::Bool(instant(t)? > instant(arg(a, 0))?))
    }),
    method("isBefore", &[Class::of(Base::Instant)], |_, t, a| {
        Ok(Value::Bool(instant(t)? < instant(arg(a, 0))?))
    }),
    method("compareTo", &[Class::of(Base::Instant)], |_, t, a| {
        Ok(Value::Int(instant(t)?.cmp(&instant(arg(a, 0))?) as i32))
    }),
    method("isSupported", &[UNIT], |_, _, a| {
        Ok(Value::Bool(matches!(unit(arg(a, 0)), Ok(0..=7))))
    }),
    fixed("now", &[], |s, _, _| {
        Ok(Value::Instant(dates::instant_of_millis(
            s.options.now_millis,
        )))
    }),
    fixed("parse", &[CHARS], |_, _, a| {
        dates::parse_instant(text_arg(a, 0)?).map(Value::Instant)
    }),
    fixed("ofEpochMilli", &[LONG], |_, _, a| {
        Ok(Value::Instant(dates::instant_of_millis(long_arg(a, 0))))
    }),
    fixed("ofEpochSecond", &[LONG], |_, _, a| {
        instant_from(i128::from(long_arg(a, 0)) * SECOND)
    }),
    fixed("ofEpochSecond", &[LONG, LONG], |_, _, a| {
        instant_from(i128::from(long_arg(a, 0)) * SECOND + i128::from(long_arg(a, 1)))
    }),
    fixed(
        "from",
        &[Class::of(Base::TemporalAccessor)],
        |_, _, a| match arg(a, 0) {
            Value::Instant(instant) => Ok(Value::Instant(*instant)),
            other => Err(Fault::new(format!(
                "Unable to obtain Instant from TemporalAccessor of type {}",
                other.class()
            ))),
        },
    ),
];

fn date(value: &Value) -> Eval<Date> {
    match value {
        Value::LocalDate(date) => Ok(*date),
        Value::LocalDateTime(time) => Ok(time.date()),
        _ => Err(null_fault("a date")),
    }
}

fn out_of_range<E: std::fmt::Display>(error: E) -> Fault {
    Fault::new(error.to_string())
}

fn days_span(amount: i64) -> Eval<jiff::Span> {
    jiff::Span::new().try_days(amount).map_err(out_of_range)
}

fn months_span(amount: i64) -> Eval<jiff::Span> {
    jiff::Span::new().try_months(amount).map_err(out_of_range)
}

/// The days or months that a unit of `ChronoUnit` stands for.
fn date_span(amount: i64, by: usize) -> Eval<jiff::Span> {
    let times = |factor: i64| {
        amount
            .checked_mul(factor)
            .ok_or_else(|| Fault::new("long overflow"))
    };
    match by {
        7 => days_span(amount),
        8 => days_span(times(7)?),
        9 => months_span(amount),
        10 => months_span(times(12)?),
        11 => months_span(times(120)?),
        12 => months_span(times(1_200)?),
        13 => months_span(times(12_000)?),
        _ => Err(unsupported(by)),
    }
}

fn add_to_date(value: &Value, span: jiff::Span) -> Eval<Value> {
    date(value)?
        .checked_add(span)
        .map(Value::LocalDate)
        .map_err(out_of_range)
}

fn now(session: &Session<'_>) -> Eval<DateTime> {
    let f = fields(session.options.now_millis);
    DateTime::new(
        f.year as i16,
        f.month as i8,
        f.day as i8,
        f.hour as i8,
        f.minute as i8,
        f.second as i8,
        (f.milli * 1_000_000) as i32,
    )
    .map_err(out_of_range)
}

fn new_date(year: i32, month: i32, day: i32) -> Eval<Date> {
    let year =
        i16::try_from(year).map_err(|_| Fault::new(format!("Invalid value for Year: {year}")))?;
    let month8 = i8::try_from(month)
        .ok()
        .filter(|month| (1..=12).contains(month));
    let Some(month8) = month8 else {
        return Err(Fault::new(format!(
            "Invalid value for MonthOfYear (valid values 1 - 12): {month}"
        )));
    };
    let day = i8::try_from(day).map_err(|_| {
        Fault::new(format!(
            "Invalid value for DayOfMonth (valid values 1 - 28/31): {day}"
        ))
    })?;
    Date::new(year, month8, day).map_err(out_of_range)
}

fn epoch_day(date: Date) -> i64 {
    dates::days_from_civil(
        i64::from(date.year()),
        i64::from(date.month()),
        i64::from(date.day()),
    )
}

fn date_of_epoch_day(days: i64) -> Eval<Date> {
    Date::constant(1970, 1, 1)
        .checked_add(days_span(days)?)
        .map_err(out_of_range)
}

fn clip_day(year: i16, month: i8, day: i8) -> Eval<Date> {
    let first = Date::new(year, month, 1).map_err(out_of_range)?;
    Date::new(year, month, day.min(first.days_in_month())).map_err(out_of_range)
}

const ACCESSOR: Class = Class::of(Base::TemporalAccessor);
const CHRONO_DATE: Class = Class::of(Base::ChronoLocalDate);
const CHRONO_DATE_TIME: Class = Class::of(Base::ChronoLocalDateTime);

pub(super) static LOCAL_DATE: &[Method] = &[
    method("getYear", &[], |_, t, _| int(i64::from(date(t)?.year()))),
    method("getMonthValue", &[], |_, t, _| {
        int(i64::from(date(t)?.month()))
    }),
    method("getDayOfMonth", &[], |_, t, _| {
        int(i64::from(date(t)?.day()))
    }),
    method("getDayOfYear", &[], |_, t, _| {
        int(i64::from(date(t)?.day_of_year()))
    }),
    method("getDayOfWeek", &[], |_, t, _| {
        Ok(Value::DayOfWeek(
            date(t)?.weekday().to_monday_one_offset() as u8
        ))
    }),
    method("isLeapYear", &[], |_, t, _| {
        Ok(Value::Bool(date(t)?.in_leap_year()))
    }),
    method("lengthOfMonth", &[], |_, t, _| {
        int(i64::from(date(t)?.days_in_month()))
    }),
    method("lengthOfYear", &[], |_, t, _| {
        int(i64::from(date(t)?.days_in_year()))
    }),
    method("toEpochDay", &[], |_, t, _| {
        Ok(Value::Long(epoch_day(date(t)?)))
    }),
    method("plusDays", &[LONG], |_, t, a| {
        add_to_date(t, days_span(long_arg(a, 0))?)
    }),
    method("plusWeeks", &[LONG], |_, t, a| {
        add_to_date(t, date_span(long_arg(a, 0), 8)?)
    }),
    method("plusMonths", &[LONG], |_, t, a| {
        add_to_date(t, months_span(long_arg(a, 0))?)
    }),
    method("plusYears", &[LONG], |_, t, a| {
        add_to_date(t, date_span(long_arg(a, 0), 10)?)
    }),
    method("minusDays", &[LONG], |_, t, a| {
        add_to_date(t, days_span(long_arg(a, 0).saturating_neg())?)
    }),
    method("minusWeeks", &[LONG], |_, t, a| {
        add_to_date(t, date_span(long_arg(a, 0).saturating_neg(), 8)?)
    }),
    method("minusMonths", &[LONG], |_, t, a| {
        add_to_date(t, months_span(long_arg(a, 0).saturating_neg())?)
    }),
    method("minusYears", &[LONG], |_, t, a| {
        add_to_date(t, date_span(long_arg(a, 0).saturating_neg(), 10)?)
    }),
    method("plus", &[LONG, UNIT], |_, t, a| {
        add_to_date(t, date_span(long_arg(a, 0), unit(arg(a, 1))?)?)
    }),
    method("minus", &[LONG, UNIT], |_, t, a| {
        add_to_date(
            t,
            date_span(long_arg(a, 0).saturating_neg(), unit(arg(a, 1))?)?,
        )
    }),
    method("withDayOfMonth", &[INT], |_, t, a| {
        let d = date(t)?;
        new_date(i32::from(d.year()), i32::from(d.month()), int_arg(a, 0)).map(Value::LocalDate)
    }),
    method("withMonth", &[INT], |_, t, a| {
        let d = date(t)?;
        new_date(i32::from(d.year()), int_arg(a, 0), 1)?;
        clip_day(d.year(), int_arg(a, 0) as i8, d.day()).map(Value::LocalDate)
    }),
    method("withYear", &[INT], |_, t, a| {
        let d = date(t)?;
        new_date(int_arg(a, 0), 1, 1)?;
        clip_day(int_arg(a, 0) as i16, d.month(), d.day()).map(Value::LocalDate)
    }),
    method("withDayOfYear", &[INT], |_, t, a| {
        of_year_day(i32::from(date(t)?.year()), int_arg(a, 0)).map(Value::LocalDate)
    }),
    method(
        "with",
        &[Class::of(Base::TemporalAdjuster)],
        |_, t, a| match arg(a, 0) {
            Value::LocalDate(other) => Ok(Value::LocalDate(*other)),
            Value::DayOfWeek(day) => {
                let current = i64::from(date(t)?.weekday().to_monday_one_offset());
                add_to_date(t, days_span(i64::from(*day) - current)?)
            }
            other => Err(Fault::new(format!(
                "Unsupported adjuster {}",
                other.class()
            ))),
        },
    ),
    method("isAfter", &[CHRONO_DATE], |_, t, a| {
        Ok(Value::Bool(date(t)? > date(arg(a, 0))?))
    }),
    method("isBefore", &[CHRONO_DATE], |_, t, a| {
        Ok(Value::Bool(date(t)? < date(arg(a, 0))?))
    }),
    method("isEqual", &[CHRONO_DATE], |_, t, a| {
        Ok(Value::Bool(date(t)? == date(arg(a, 0))?))
    }),
    method("compareTo", &[CHRONO_DATE], |_, t, a| {
        let (x, y) = (date(t)?, date(arg(a, 0))?);
        let parts = [
            x.year() - y.year(),
            i16::from(x.month() - y.month()),
            i16::from(x.day() - y.day()),
        ];
        Ok(Value::Int(
            parts
                .into_iter()
                .find(|part| *part != 0)
                .map_or(0, i32::from),
        ))
    }),
    method("isSupported", &[UNIT], |_, _, a| {
        Ok(Value::Bool(matches!(unit(arg(a, 0)), Ok(7..=14))))
    }),
    method("atStartOfDay", &[], |_, t, _| {
        Ok(Value::LocalDateTime(date(t)?.at(0, 0, 0, 0)))
    }),
    method("atTime", &[INT, INT], |_, t, a| {
        at_time(date(t)?, &[int_arg(a, 0), int_arg(a, 1)])
    }),
    method("atTime", &[INT, INT, INT], |_, t, a| {
        at_time(date(t)?, &[int_arg(a, 0), int_arg(a, 1), int_arg(a, 2)])
    }),
    method("atTime", &[INT, INT, INT, INT], |_, t, a| {
        at_time(
            date(t)?,
            &[int_arg(a, 0), int_arg(a, 1), int_arg(a, 2), int_arg(a, 3)],
        )
    }),
    fixed("now", &[], |s, _, _| Ok(Value::LocalDate(now(s)?.date()))),
    fixed("parse", &[CHARS], |_, _, a| {
        dates::parse_local_date(text_arg(a, 0)?).map(Value::LocalDate)
    }),
    fixed("of", &[INT, INT, INT], |_, _, a| {
        new_date(int_arg(a, 0), int_arg(a, 1), int_arg(a, 2)).map(Value::LocalDate)
    }),
    fixed("ofEpochDay", &[LONG], |_, _, a| {
        date_of_epoch_day(long_arg(a, 0)).map(Value::LocalDate)
    }),
    fixed("ofYearDay", &[INT, INT], |_, _, a| {
        of_year_day(int_arg(a, 0), int_arg(a, 1)).map(Value::LocalDate)
    }),
    fixed("from", &[ACCESSOR], |_, _, a| match arg(a, 0) {
        value @ (Value::LocalDate(_) | Value::LocalDateTime(_)) => {
            date(value).map(Value::LocalDate)
        }
        other => Err(Fault::new(format!(
            "Unable to obtain LocalDate from TemporalAccessor of type {}",
            other.class()
        ))),
    }),
];

fn of_year_day(year: i32, day: i32) -> Eval<Date> {
    let first = new_date(year, 1, 1)?;
    if day < 1 || day > i32::from(first.days_in_year()) {
        return Err(Fault::new(format!(
            "Invalid date 'DayOfYear {day}' as '{year}' is not a leap year"
        )));
    }
    first
        .checked_add(days_span(i64::from(day) - 1)?)
        .map_err(out_of_range)
}

fn at_time(date: Date, parts: &[i32]) -> Eval<Value> {
    let part = |index: usize| parts.get(index).copied().unwrap_or(0);
    let (hour, minute, second, nano) = (part(0), part(1), part(2), part(3));
    let small = |value: i32, max: i32, name: &str| -> Eval<i8> {
        if (0..=max).contains(&value) {
            Ok(value as i8)
        } else {
            Err(Fault::new(format!(
                "Invalid value for {name} (valid values 0 - {max}): {value}"
            )))
        }
    };
    let hour = small(hour, 23, "HourOfDay")?;
    let minute = small(minute, 59, "MinuteOfHour")?;
    let second = small(second, 59, "SecondOfMinute")?;
    if !(0..=999_999_999).contains(&nano) {
        return Err(Fault::new(format!(
            "Invalid value for NanoOfSecond (valid values 0 - 999999999): {nano}"
        )));
    }
    Ok(Value::LocalDateTime(date.at(hour, minute, second, nano)))
}

fn date_time(value: &Value) -> Eval<DateTime> {
    match value {
        Value::LocalDateTime(time) => Ok(*time),
        _ => Err(null_fault("a date and time")),
    }
}

fn add_time(value: &Value, amount: i64, unit: i128) -> Eval<Value> {
    let time = date_time(value)?;
    let nanos_in_day = i128::from(epoch_day(time.date())) * 86_400_000_000_000
        + i128::from(time.hour()) * 3_600_000_000_000
        + i128::from(time.minute()) * 60_000_000_000
        + i128::from(time.second()) * 1_000_000_000
        + i128::from(time.subsec_nanosecond());
    from_total(nanos_in_day + i128::from(amount) * unit)
}

fn from_total(total: i128) -> Eval<Value> {
    let days = i64::try_from(total.div_euclid(86_400_000_000_000)).map_err(out_of_range)?;
    let rest = total.rem_euclid(86_400_000_000_000) as i64;
    let date = date_of_epoch_day(days)?;
    let part = |unit: i64, modulo: i64| (rest / unit % modulo) as i32;
    at_time(
        date,
        &[
            part(3_600_000_000_000, 24),
            part(60_000_000_000, 60),
            part(1_000_000_000, 60),
            (rest % 1_000_000_000) as i32,
        ],
    )
}

fn add_date_part(value: &Value, span: jiff::Span) -> Eval<Value> {
    let time = date_time(value)?;
    let date = time.date().checked_add(span).map_err(out_of_range)?;
    Ok(Value::LocalDateTime(date.to_datetime(time.time())))
}

fn shift_date_time(value: &Value, amount: i64, by: usize) -> Eval<Value> {
    match UNIT_NANOS.get(by) {
        Some(nanos) if by < 7 => add_time(value, amount, *nanos),
        _ => add_date_part(value, date_span(amount, by)?),
    }
}

fn with_time(value: &Value, index: usize, to: i32) -> Eval<Value> {
    let time = date_time(value)?;
    let mut parts = [
        i32::from(time.hour()),
        i32::from(time.minute()),
        i32::from(time.second()),
        time.subsec_nanosecond(),
    ];
    if let Some(part) = parts.get_mut(index) {
        *part = to;
    }
    at_time(time.date(), &parts)
}

fn with_date(value: &Value, date: Value) -> Eval<Value> {
    match date {
        Value::LocalDate(date) => Ok(Value::LocalDateTime(
            date.to_datetime(date_time(value)?.time()),
        )),
        other => Ok(other),
    }
}

fn compare_times(t: &Value, other: &Value) -> Eval<std::cmp::Ordering> {
    Ok(date_time(t)?.cmp(&date_time(other)?))
}

pub(super) static LOCAL_DATE_TIME: &[Method] = &[
    method("getYear", &[], |_, t, _| {
        int(i64::from(date_time(t)?.year()))
    }),
    method("getMonthValue", &[], |_, t, _| {
        int(i64::from(date_time(t)?.month()))
    }),
    method("getDayOfMonth", &[], |_, t, _| {
        int(i64::from(date_time(t)?.day()))
    }),
    method("getDayOfYear", &[], |_, t, _| {
        int(i64::from(date_time(t)?.date().day_of_year()))
    }),
    method("getDayOfWeek", &[], |_, t, _| {
        Ok(Value::DayOfWeek(
            date_time(t)?.date().weekday().to_monday_one_offset() as u8,
        ))
    }),
    method("getHour", &[], |_, t, _| {
        int(i64::from(date_time(t)?.hour()))
    }),
    method("getMinute", &[], |_, t, _| {
        int(i64::from(date_time(t)?.minute()))
    }),
    method("getSecond", &[], |_, t, _| {
        int(i64::from(date_time(t)?.second()))
    }),
    method("getNano", &[], |_, t, _| {
        int(i64::from(date_time(t)?.subsec_nanosecond()))
    }),
    method("toLocalDate", &[], |_, t, _| {
        Ok(Value::LocalDate(date_time(t)?.date()))
    }),
    method("plusYears", &[LONG], |_, t, a| {
        add_date_part(t, date_span(long_arg(a, 0), 10)?)
    }),
    method("plusMonths", &[LONG], |_, t, a| {
        add_date_part(t, months_span(long_arg(a, 0))?)
    }),
    method("plusWeeks", &[LONG], |_, t, a| {
        add_date_part(t, date_span(long_arg(a, 0), 8)?)
    }),
    method("plusDays", &[LONG], |_, t, a| {
        add_date_part(t, days_span(long_arg(a, 0))?)
    }),
    method("plusHours", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0), 5)
    }),
    method("plusMinutes", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0), 4)
    }),
    method("plusSeconds", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0), 3)
    }),
    method("plusNanos", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0), 0)
    }),
    method("minusYears", &[LONG], |_, t, a| {
        add_date_part(t, date_span(long_arg(a, 0).saturating_neg(), 10)?)
    }),
    method("minusMonths", &[LONG], |_, t, a| {
        add_date_part(t, months_span(long_arg(a, 0).saturating_neg())?)
    }),
    method("minusWeeks", &[LONG], |_, t, a| {
        add_date_part(t, date_span(long_arg(a, 0).saturating_neg(), 8)?)
    }),
    method("minusDays", &[LONG], |_, t, a| {
        add_date_part(t, days_span(long_arg(a, 0).saturating_neg())?)
    }),
    method("minusHours", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0).saturating_neg(), 5)
    }),
    method("minusMinutes", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0).saturating_neg(), 4)
    }),
    method("minusSeconds", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0).saturating_neg(), 3)
    }),
    method("minusNanos", &[LONG], |_, t, a| {
        shift_date_time(t, long_arg(a, 0).saturating_neg(), 0)
    }),
    method("plus", &[LONG, UNIT], |_, t, a| {
        shift_date_time(t, long_arg(a, 0), unit(arg(a, 1))?)
    }),
    method("minus", &[LONG, UNIT], |_, t, a| {
        shift_date_time(t, long_arg(a, 0).saturating_neg(), unit(arg(a, 1))?)
    }),
    method("withHour", &[INT], |_, t, a| with_time(t, 0, int_arg(a, 0))),
    method("withMinute", &[INT], |_, t, a| {
        with_time(t, 1, int_arg(a, 0))
    }),
    method("withSecond", &[INT], |_, t, a| {
        with_time(t, 2, int_arg(a, 0))
    }),
    method("withNano", &[INT], |_, t, a| with_time(t, 3, int_arg(a, 0))),
    method("withDayOfMonth", &[INT], |_, t, a| {
        let d = date(t)?;
        with_date(
            t,
            Value::LocalDate(new_date(
                i32::from(d.year()),
                i32::from(d.month()),
                int_arg(a, 0),
            )?),
        )
    }),
    method("withMonth", &[INT], |_, t, a| {
        let d = date(t)?;
        new_date(i32::from(d.year()), int_arg(a, 0), 1)?;
        with_date(
            t,
            Value::LocalDate(clip_day(d.year(), int_arg(a, 0) as i8, d.day())?),
        )
    }),
    method("withYear", &[INT], |_, t, a| {
        let d = date(t)?;
        new_date(int_arg(a, 0), 1, 1)?;
        with_date(
            t,
            Value::LocalDate(clip_day(int_arg(a, 0) as i16, d.month(), d.day())?),
        )
    }),
    method("withDayOfYear", &[INT], |_, t, a| {
        with_date(
            t,
            Value::LocalDate(of_year_day(i32::from(date(t)?.year()), int_arg(a, 0))?),
        )
    }),
    method("truncatedTo", &[UNIT], |_, t, a| {
        let by = unit(arg(a, 0))?;
        let Some(nanos) = UNIT_NANOS.get(by) else {
            return Err(Fault::new("Unit is too large to be used for truncation"));
        };
        let time = date_time(t)?;
        let in_day = i128::from(time.hour()) * 3_600_000_000_000
            + i128::from(time.minute()) * 60_000_000_000
            + i128::from(time.second()) * 1_000_000_000
            + i128::from(time.subsec_nanosecond());
        from_total(
            i128::from(epoch_day(time.date())) * 86_400_000_000_000 + in_day
                - in_day.rem_euclid(*nanos),
        )
    }),
    method("isAfter", &[CHRONO_DATE_TIME], |_, t, a| {
        Ok(Value::Bool(compare_times(t, arg(a, 0))?.is_gt()))
    }),
    method("isBefore", &[CHRONO_DATE_TIME], |_, t, a| {
        Ok(Value::Bool(compare_times(t, arg(a, 0))?.is_lt()))
    }),
    method("isEqual", &[CHRONO_DATE_TIME], |_, t, a| {
        Ok(Value::Bool(compare_times(t, arg(a, 0))?.is_eq()))
    }),
    method("compareTo", &[CHRONO_DATE_TIME], |_, t, a| {
        let (x, y) = (date_time(t)?, date_time(arg(a, 0))?);
        let parts = [
            i32::from(x.year()) - i32::from(y.year()),
            i32::from(x.month() - y.month()),
            i32::from(x.day() - y.day()),
            x.time().cmp(&y.time()) as i32,
        ];
        Ok(Value::Int(
            parts.into_iter().find(|part| *part != 0).unwrap_or(0),
        ))
    }),
    method("isSupported", &[UNIT], |_, _, a| {
        Ok(Value::Bool(!matches!(unit(arg(a, 0)), Ok(15))))
    }),
    fixed("now", &[], |s, _, _| now(s).map(Value::LocalDateTime)),
    fixed("parse", &[CHARS], |_, _, a| {
        dates::parse_local_date_time(text_arg(a, 0)?).map(Value::LocalDateTime)
    }),
    fixed("of", &[INT, INT, INT, INT, INT], |_, _, a| of_parts(a)),
    fixed("of", &[INT, INT, INT, INT, INT, INT], |_, _, a| of_parts(a)),
    fixed("of", &[INT, INT, INT, INT, INT, INT, INT], |_, _, a| {
        of_parts(a)
    }),
    fixed("from", &[ACCESSOR], |_, _, a| match arg(a, 0) {
        Value::LocalDateTime(time) => Ok(Value::LocalDateTime(*time)),
        other => Err(Fault::new(format!(
            "Unable to obtain LocalDateTime from TemporalAccessor of type {}",
            other.class()
        ))),
    }),
];

fn of_parts(a: &[Value]) -> Eval<Value> {
    at_time(
        new_date(int_arg(a, 0), int_arg(a, 1), int_arg(a, 2))?,
        &[int_arg(a, 3), int_arg(a, 4), int_arg(a, 5), int_arg(a, 6)],
    )
}

fn day(value: &Value) -> i64 {
    match value {
        Value::DayOfWeek(day) => i64::from(*day),
        _ => 1,
    }
}

fn day_value(index: i64) -> Value {
    Value::DayOfWeek((index - 1).rem_euclid(7) as u8 + 1)
}

pub(super) static DAY_OF_WEEK: &[Method] = &[
    method("getValue", &[], |_, t, _| int(day(t))),
    method("ordinal", &[], |_, t, _| int(day(t) - 1)),
    method("name", &[], |_, t, _| {
        Ok(Value::str(dates::day_name(day(t) as u8)))
    }),
    method("plus", &[LONG], |_, t, a| {
        Ok(day_value(day(t) + long_arg(a, 0) % 7))
    }),
    method("minus", &[LONG], |_, t, a| {
        Ok(day_value(day(t) - long_arg(a, 0) % 7))
    }),
    method("compareTo", &[Class::of(Base::DayOfWeek)], |_, t, a| {
        int(day(t) - day(arg(a, 0)))
    }),
    fixed("of", &[INT], |_, _, a| match int_arg(a, 0) {
        index @ 1..=7 => Ok(day_value(i64::from(index))),
        index => Err(Fault::new(format!("Invalid value for DayOfWeek: {index}"))),
    }),
    fixed("valueOf", &[STRING], |_, _, a| {
        dates::day_of_week(text_arg(a, 0)?).map(Value::DayOfWeek)
    }),
    fixed("values", &[], |_, _, _| {
        Ok(Value::array(
            Class::of(Base::DayOfWeek),
            (1..=7).map(Value::DayOfWeek).collect(),
        ))
    }),
    fixed("from", &[ACCESSOR], |_, _, a| match arg(a, 0) {
        value @ (Value::LocalDate(_) | Value::LocalDateTime(_)) => Ok(Value::DayOfWeek(
            date(value)?.weekday().to_monday_one_offset() as u8,
        )),
        Value::DayOfWeek(day) => Ok(Value::DayOfWeek(*day)),
        other => Err(Fault::new(format!(
            "Unable to obtain DayOfWeek from TemporalAccessor of type {}",
            other.class()
        ))),
    }),
];

fn chrono_between(by: usize, from: &Value, to: &Value) -> Eval<i64> {
    match (from, to) {
        (Value::Instant(a), Value::Instant(b)) => match UNIT_NANOS.get(by) {
            Some(unit) => i64::try_from((total_nanos(*b) - total_nanos(*a)) / unit)
                .map_err(|_| Fault::new("long overflow")),
            None => Err(unsupported(by)),
        },
        (Value::LocalDate(a), Value::LocalDate(b)) => match by {
            7 => Ok(epoch_day(*b) - epoch_day(*a)),
            8 => Ok((epoch_day(*b) - epoch_day(*a)) / 7),
            9..=13 => months_between(*a, *b, 0).map(|months| months / month_factor(by)),
            _ => Err(unsupported(by)),
        },
        (Value::LocalDateTime(a), Value::LocalDateTime(b)) => {
            let nanos = |time: &DateTime| {
                i128::from(epoch_day(time.date())) * 86_400_000_000_000
                    + i128::from(time.hour()) * 3_600_000_000_000
                    + i128::from(time.minute()) * 60_000_000_000
                    + i128::from(time.second()) * 1_000_000_000
                    + i128::from(time.subsec_nanosecond())
            };
            let between = nanos(b) - nanos(a);
            match by {
                0..=7 => {
                    let unit = UNIT_NANOS.get(by).copied().unwrap_or(1);
                    i64::try_from(between / unit).map_err(|_| Fault::new("long overflow"))
                }
                8 => Ok((between / (7 * 86_400_000_000_000)) as i64),
                9..=13 => {
                    let order = b.time().cmp(&a.time()) as i64;
                    months_between(a.date(), b.date(), order)
                        .map(|months| months / month_factor(by))
                }
                _ => Err(unsupported(by)),
            }
        }
        (Value::LocalDate(a), Value::LocalDateTime(b)) => {
            chrono_between(by, &Value::LocalDate(*a), &Value::LocalDate(b.date()))
        }
        _ => Err(Fault::new(
            "Unable to obtain a temporal from TemporalAccessor",
        )),
    }
}

fn month_factor(by: usize) -> i64 {
    match by {
        9 => 1,
        10 => 12,
        11 => 120,
        12 => 1_200,
        _ => 12_000,
    }
}

/// Whole months between two dates; `order` tells how the times of day compare.
fn months_between(from: Date, to: Date, order: i64) -> Eval<i64> {
    let day_order = if epoch_day(to) > epoch_day(from) && order < 0 {
        -1
    } else if epoch_day(to) < epoch_day(from) && order > 0 {
        1
    } else {
        0
    };
    let packed = |date: Date, shift: i64| {
        (i64::from(date.year()) * 12 + i64::from(date.month()) - 1) * 32
            + i64::from(date.day())
            + shift
    };
    Ok((packed(to, day_order) - packed(from, 0)) / 32)
}

const TEMPORAL: Class = Class::of(Base::Temporal);

pub(super) static CHRONO_UNIT: &[Method] = &[
    method("between", &[TEMPORAL, TEMPORAL], |_, t, a| {
        chrono_between(unit(t)?, arg(a, 0), arg(a, 1)).map(Value::Long)
    }),
    method("name", &[], |_, t, _| {
        Ok(Value::str(dates::unit_name(unit(t)? as u8)))
    }),
    method("ordinal", &[], |_, t, _| int(unit(t)? as i64)),
    method("isDateBased", &[], |_, t, _| {
        Ok(Value::Bool((7..15).contains(&unit(t)?)))
    }),
    method("isTimeBased", &[], |_, t, _| Ok(Value::Bool(unit(t)? < 7))),
    method("isDurationEstimated", &[], |_, t, _| {
        Ok(Value::Bool(unit(t)? >= 7))
    }),
    method("compareTo", &[Class::of(Base::ChronoUnit)], |_, t, a| {
        int(unit(t)? as i64 - unit(arg(a, 0))? as i64)
    }),
    fixed("valueOf", &[STRING], |_, _, a| {
        dates::chrono_unit(text_arg(a, 0)?).map(Value::ChronoUnit)
    }),
    fixed("values", &[], |_, _, _| {
        Ok(Value::array(
            Class::of(Base::ChronoUnit),
            (0..16).map(Value::ChronoUnit).collect(),
        ))
    }),
];

fn uuid(value: &Value) -> u128 {
    match value {
        Value::Uuid(uuid) => *uuid,
        _ => 0,
    }
}

/// MD5, which `nameUUIDFromBytes` is made of.
fn md5(message: &[u8]) -> u128 {
    const SHIFTS: [u32; 16] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut data = message.to_vec();
    data.push(0x80);
    while data.len() % 64 != 56 {
        data.push(0);
    }
    data.extend((message.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in data.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|four| {
                four.iter()
                    .rev()
                    .fold(0u32, |word, byte| (word << 8) | u32::from(*byte))
            })
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64usize {
            let (mix, word) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            let constant = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = mix
                .wrapping_add(a)
                .wrapping_add(constant)
                .wrapping_add(words.get(word).copied().unwrap_or(0));
            a = d;
            d = c;
            c = b;
            let shift = SHIFTS.get(step / 16 * 4 + step % 4).copied().unwrap_or(7);
            b = b.wrapping_add(sum.rotate_left(shift));
        }
        state = [
            state[0].wrapping_add(a),
            state[1].wrapping_add(b),
            state[2].wrapping_add(c),
            state[3].wrapping_add(d),
        ];
    }
    let bytes: Vec<u8> = state.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes
        .iter()
        .fold(0u128, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// Sets version and variant of a UUID.
fn with_version(bits: u128, version: u128) -> u128 {
    let bits = bits & !(0xf << 76) | (version << 76);
    bits & !(0x3 << 62) | (0x2 << 62)
}

pub(super) static UUID: &[Method] = &[
    method(
        "version",
        &[],
        |_, t, _| int(((uuid(t) >> 76) & 0xf) as i64),
    ),
    method("variant", &[], |_, t, _| {
        let low = uuid(t) as u64;
        let variant =
            (low.checked_shr(64 - (low >> 62) as u32).unwrap_or(0)) as i64 & ((low as i64) >> 63);
        int(variant)
    }),
    method("getMostSignificantBits", &[], |_, t, _| {
        Ok(Value::Long((uuid(t) >> 64) as i64))
    }),
    method("getLeastSignificantBits", &[], |_, t, _| {
        Ok(Value::Long(uuid(t) as i64))
    }),
    method("timestamp", &[], |_, t, _| {
        let bits = uuid(t);
        if (bits >> 76) & 0xf != 1 {
            return Err(Fault::new("Not a time-based UUID"));
        }
        let most = (bits >> 64) as u64;
        Ok(Value::Long(
            (((most & 0x0fff) << 48) | (((most >> 16) & 0xffff) << 32) | (most >> 32)) as i64,
        ))
    }),
    method("clockSequence", &[], |_, t, _| {
        if (uuid(t) >> 76) & 0xf != 1 {
            return Err(Fault::new("Not a time-based UUID"));
        }
        int(((uuid(t) >> 48) & 0x3fff) as i64)
    }),
    method("node", &[], |_, t, _| {
        if (uuid(t) >> 76) & 0xf != 1 {
            return Err(Fault::new("Not a time-based UUID"));
        }
        Ok(Value::Long((uuid(t) & 0xffff_ffff_ffff) as i64))
    }),
    method("compareTo", &[Class::of(Base::Uuid)], |_, t, a| {
        crate::operators::compare(t, arg(a, 0)).map(|order| Value::Int(order as i32))
    }),
    fixed("fromString", &[STRING], |_, _, a| {
        dates::parse_uuid(text_arg(a, 0)?).map(Value::Uuid)
    }),
    fixed("randomUUID", &[], |s, _, _| {
        let bits = (u128::from(s.random_bits()) << 64) | u128::from(s.random_bits());
        Ok(Value::Uuid(with_version(bits, 4)))
    }),
    fixed("nameUUIDFromBytes", &[BYTE_ARRAY], |s, _, a| {
        Ok(Value::Uuid(with_version(
            md5(&string::bytes_of(s, arg(a, 0))?),
            3,
        )))
    }),
];

pub(super) static NEW_UUID: &[Method] = &[fixed("", &[LONG, LONG], |_, _, a| {
    Ok(Value::Uuid(
        (u128::from(long_arg(a, 0) as u64) << 64) | u128::from(long_arg(a, 1) as u64),
    ))
})];

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

fn random(value: &Value) -> Eval<&Random> {
    match value {
        Value::Random(random) => Ok(random),
        _ => Err(null_fault("a random generator")),
    }
}

impl Random {
    fn seeded(seed: i64) -> Random {
        Random {
            state: AtomicU64::new((seed as u64 ^ MULTIPLIER) & MASK),
            next_gaussian: AtomicU64::new(0),
        }
    }

    fn next(&self, bits: u32) -> i32 {
        let state = self
            .state
            .load(Ordering::Relaxed)
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(0xb)
            & MASK;
        self.state.store(state, Ordering::Relaxed);
        (state >> (48 - bits)) as u32 as i32
    }

    fn next_signed(&self) -> i32 {
        self.next(32)
    }

    fn next_long(&self) -> i64 {
        (i64::from(self.next_signed()) << 32).wrapping_add(i64::from(self.next_signed()))
    }

    fn next_double(&self) -> f64 {
        let high = (self.next(26) as i64) << 27;
        (high + i64::from(self.next(27))) as f64 / (1u64 << 53) as f64
    }

    fn next_int(&self, bound: i32) -> i32 {
        let mut bits = self.next(31);
        let m = bound.wrapping_sub(1);
        if bound & m == 0 {
            return ((i64::from(bound) * i64::from(bits)) >> 31) as i32;
        }
        loop {
            let value = bits % bound;
            if bits.wrapping_sub(value).wrapping_add(m) >= 0 {
                return value;
            }
            bits = self.next(31);
        }
    }

    fn next_gaussian(&self) -> f64 {
        let kept = self.next_gaussian.swap(0, Ordering::Relaxed);
        if kept != 0 {
            return f64::from_bits(kept);
        }
        // The polar method meets the circle within a few tries.
        for _ in 0..1_000 {
            let v1 = 2.0 * self.next_double() - 1.0;
            let v2 = 2.0 * self.next_double() - 1.0;
            let s = v1 * v1 + v2 * v2;
            if s < 1.0 && s != 0.0 {
                let multiplier = (-2.0 * s.ln() / s).sqrt();
                self.next_gaussian
                    .store((v2 * multiplier).to_bits(), Ordering::Relaxed);
                return v1 * multiplier;
            }
        }
        0.0
    }
}

pub(super) static RANDOM: &[Method] = &[
    method("nextInt", &[], |_, t, _| {
        Ok(Value::Int(random(t)?.next_signed()))
    }),
    method("nextInt", &[INT], |_, t, a| {
        let bound = int_arg(a, 0);
        if bound <= 0 {
            return Err(Fault::new("bound must be positive"));
        }
        Ok(Value::Int(random(t)?.next_int(bound)))
    }),
    method("nextInt", &[INT, INT], |_, t, a| {
        let (origin, bound) = (int_arg(a, 0), int_arg(a, 1));
        if origin >= bound {
            return Err(Fault::new("bound must be greater than origin"));
        }
        // Java 17's algorithm for a range.
        let generator = random(t)?;
        let mut value = generator.next_signed();
        let n = bound.wrapping_sub(origin);
        let m = n.wrapping_sub(1);
        if n & m == 0 {
            return Ok(Value::Int((value & m).wrapping_add(origin)));
        }
        if n > 0 {
            let mut u = ((value as u32) >> 1) as i32;
            loop {
                value = u % n;
                if u.wrapping_add(m).wrapping_sub(value) >= 0 {
                    return Ok(Value::Int(value.wrapping_add(origin)));
                }
                u = ((generator.next_signed() as u32) >> 1) as i32;
            }
        }
        while value < origin || value >= bound {
            value = generator.next_signed();
        }
        Ok(Value::Int(value))
    }),
    method("nextLong", &[], |_, t, _| {
        Ok(Value::Long(random(t)?.next_long()))
    }),
    method("nextDouble", &[], |_, t, _| {
        Ok(Value::Double(random(t)?.next_double()))
    }),
    method("nextFloat", &[], |_, t, _| {
        Ok(Value::Float(random(t)?.next(24) as f32 / (1 << 24) as f32))
    }),
    method("nextBoolean", &[], |_, t, _| {
        Ok(Value::Bool(random(t)?.next(1) != 0))
    }),
    method("nextGaussian", &[], |_, t, _| {
        Ok(Value::Double(random(t)?.next_gaussian()))
    }),
    method("setSeed", &[LONG], |_, t, a| {
        let generator = random(t)?;
        generator.state.store(
            (long_arg(a, 0) as u64 ^ MULTIPLIER) & MASK,
            Ordering::Relaxed,
        );
        generator.next_gaussian.store(0, Ordering::Relaxed);
        Ok(Value::Null)
    }),
];

pub(super) static NEW_RANDOM: &[Method] = &[
    fixed("", &[], |s, _, _| {
        Ok(Value::Random(Arc::new(Random::seeded(
            s.random_bits() as i64
        ))))
    }),
    fixed("", &[LONG], |_, _, a| {
        Ok(Value::Random(Arc::new(Random::seeded(long_arg(a, 0)))))
    }),
];
