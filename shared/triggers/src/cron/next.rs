//! The next time that fires.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

use super::{Cron, Days};

/// Gaps that one search crosses before it gives up; an expression that only names missing times has one gap a year.
const MAX_GAPS: usize = 400;

/// Days 1, 8, 15, 22 and 29.
const EVERY_SEVENTH: u64 = 1 << 1 | 1 << 8 | 1 << 15 | 1 << 22 | 1 << 29;

impl Cron {
    /// The first time after `after` (exclusive) that fires.
    ///
    /// A local time that does not exist is skipped; one that occurs twice fires on its second occurrence only, as in
    /// Quartz: an hourly expression has a two-hour gap in autumn. None if nothing fires within a hundred years.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let second = after.as_millisecond().div_euclid(1000) + 1;
        let start = Timestamp::from_second(second).ok()?;
        let mut from = zone.to_datetime(start);
        for _ in 0..MAX_GAPS {
            let local = self.next_local(from)?;
            let ambiguous = zone.to_ambiguous_timestamp(local);
            let offset = match ambiguous.offset() {
                AmbiguousOffset::Unambiguous { offset } => offset,
                AmbiguousOffset::Fold { after, .. } => after,
                AmbiguousOffset::Gap { .. } => {
                    from = end_of_gap(local, zone)?;
                    continue;
                }
            };
            return offset.to_timestamp(local).ok();
        }
        None
    }

    /// Whether the second of `at` fires.
    #[must_use]
    pub fn fires_at(&self, at: Timestamp, zone: &TimeZone) -> bool {
        let second = at.as_millisecond().div_euclid(1000);
        let Ok(before) = Timestamp::from_second(second - 1) else {
            return false;
        };
        self.next(before, zone)
            .is_some_and(|next| next.as_second() == second)
    }

    /// The first local time at or after `from`.
    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if let Some(day) = self.single_nearest() {
            let left = self.next_time(from.time());
            let start = if left.is_some() {
                today
            } else {
                today.tomorrow().ok()?
            };
            let date = self.next_nearest(start, day)?;
            let time = if date == today {
                left?
            } else {
                self.next_time(Time::midnight())?
            };
            return Some(date.to_datetime(time));
        }
        if self.day_fires(today)
            && let Some(time) = self.next_time(from.time())
        {
            return Some(today.to_datetime(time));
        }
        let date = self.next_date(today.tomorrow().ok()?)?;
        let time = self.next_time(Time::midnight())?;
        Some(date.to_datetime(time))
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let at = |bits: u64, value: i8| -> Option<i8> {
            let rest = bits >> value;
            if rest == 0 {
                return None;
            }
            i8::try_from(rest.trailing_zeros()).ok().map(|n| value + n)
        };
        let (mut hour, mut minute, mut second) = (from.hour(), from.minute(), from.second());
        match at(u64::from(self.hours), hour)? {
            same if same == hour => {}
            later => (hour, minute, second) = (later, 0, 0),
        }
        // Past the last second of this minute, or the last minute of this hour: the next one.
        if second > 0 && at(self.seconds, second).is_none() {
            (minute, second) = (minute + 1, 0);
        }
        match (minute < 60).then(|| at(self.minutes, minute)).flatten() {
            Some(same) if same == minute => {}
            Some(later) => (minute, second) = (later, 0),
            None => {
                if hour >= 23 {
                    return None;
                }
                hour = at(u64::from(self.hours), hour + 1)?;
                minute = at(self.minutes, 0)?;
                second = 0;
            }
        }
        let second = at(self.seconds, second)?;
        Time::new(hour, minute, second, 0).ok()
    }

    fn year_fires(&self, year: i16) -> bool {
        year <= self.last_year
            && self
                .years
                .as_ref()
                .is_none_or(|years| years.binary_search(&year).is_ok())
    }

    fn next_year(&self, year: i16) -> Option<i16> {
        let next = match &self.years {
            None => year,
            Some(years) => *years.get(years.partition_point(|y| *y < year))?,
        };
        (next <= self.last_year).then_some(next)
    }

    fn day_fires(&self, date: Date) -> bool {
        self.year_fires(date.year())
            && self.months >> date.month() & 1 == 1
            && self.days_of(date.first_of_month()) >> date.day() & 1 == 1
    }

    /// The first date at or after `from`.
    fn next_date(&self, from: Date) -> Option<Date> {
        let mut date = from;
        loop {
            let year = self.next_year(date.year())?;
            if year != date.year() {
                date = Date::new(year, 1, 1).ok()?;
            }
            let rest = self.months >> date.month();
            if rest == 0 {
                date = Date::new(year + 1, 1, 1).ok()?;
                continue;
            }
            let month = date.month() + i8::try_from(rest.trailing_zeros()).ok()?;
            if month != date.month() {
                date = Date::new(year, month, 1).ok()?;
            }
            let days = self.days_of(date.first_of_month()) >> date.day();
            if days != 0 {
                let day = date.day() + i8::try_from(days.trailing_zeros()).ok()?;
                return Date::new(year, month, day).ok();
            }
            date = if month == 12 {
                Date::new(year + 1, 1, 1).ok()?
            } else {
                Date::new(year, month + 1, 1).ok()?
            };
        }
    }

    /// The day before `W`, where the expression names nothing else.
    fn single_nearest(&self) -> Option<i16> {
        match &self.days {
            Days::OfMonth {
                days: 0,
                from_last: 0,
                nearest,
                nearest_from_last,
            } if nearest_from_last.is_empty() => match nearest.as_slice() {
                [day] => Some(*day),
                _ => None,
            },
            _ => None,
        }
    }

    /// The first date at or after `from` that is the weekday nearest to a day, found in the steps of Quartz 2.3.2: from
    /// a month whose date has passed it goes to that day of the next one, so that `29W` passes over a February
    /// without a 29th after it fired in January, and does not if it comes from elsewhere.
    fn next_nearest(&self, from: Date, day: i16) -> Option<Date> {
        let mut date = from;
        loop {
            if date.year() > self.last_year {
                return None;
            }
            let first = date.first_of_month();
            let last = i16::from(date.days_in_month());
            let moved =
                moved_to_weekday(day, i16::from(first.weekday().to_sunday_one_offset()), last);
            let candidate = first.checked_add(Span::new().days(moved - 1)).ok()?;
            if candidate < from {
                let next = first.checked_add(Span::new().months(1)).ok()?;
                date = next.checked_add(Span::new().days(day - 1)).ok()?;
                continue;
            }
            if candidate != date {
                date = candidate;
                continue;
            }
            let rest = self.months >> date.month();
            if rest & 1 == 0 {
                date = match i8::try_from(rest.trailing_zeros()) {
                    Ok(ahead) if rest != 0 => {
                        Date::new(date.year(), date.month() + ahead, 1).ok()?
                    }
                    _ => {
                        let month = i8::try_from(self.months.trailing_zeros()).ok()?;
                        Date::new(date.year() + 1, month, 1).ok()?
                    }
                };
                continue;
            }
            let year = self.next_year(date.year())?;
            if year != date.year() {
                date = Date::new(year, 1, 1).ok()?;
                continue;
            }
            return Some(date);
        }
    }

    /// The days of a month that fire: bit n is day n.
    fn days_of(&self, first: Date) -> u32 {
        let length = u32::try_from(first.days_in_month()).unwrap_or(28);
        let all = u32::MAX >> (31 - length) & !1;
        // 1 is Sunday, the day of the week of the first of the month.
        let weekday = u32::try_from(first.weekday().to_sunday_one_offset()).unwrap_or(1);
        // Every seventh day from the first one with that day of the week.
        let weekly = |day: u32| {
            let shifted = EVERY_SEVENTH << ((day + 7 - weekday) % 7);
            u32::try_from(shifted & u64::from(all)).unwrap_or(0)
        };
        match &self.days {
            Days::OfMonth {
                days,
                from_last,
                nearest,
                nearest_from_last,
            } => {
                let mut bits = days & all;
                let mut offsets = *from_last;
                while offsets != 0 {
                    let offset = offsets.trailing_zeros();
                    if offset < length {
                        bits |= 1 << (length - offset);
                    }
                    offsets &= offsets - 1;
                }
                let last = i16::try_from(length).unwrap_or(28);
                let start = i16::try_from(weekday).unwrap_or(1);
                for day in nearest
                    .iter()
                    .copied()
                    .chain(nearest_from_last.iter().map(|offset| last - offset))
                {
                    if let Some(day) = nearest_weekday(day, start, last) {
                        bits |= 1 << day;
                    }
                }
                bits
            }
            Days::OfWeek(week) => (1..=7)
                .filter(|day| week >> day & 1 == 1)
                .fold(0, |bits, day| bits | weekly(day)),
            Days::LastOfWeek(day) => day.map_or(0, |day| {
                let bits = weekly(u32::from(day));
                1 << (31 - bits.leading_zeros())
            }),
            Days::NthOfWeek(day, nth) => day.map_or(0, |day| {
                let mut bits = weekly(u32::from(day));
                for _ in 1..*nth {
                    bits &= bits.saturating_sub(1);
                }
                bits & bits.wrapping_neg()
            }),
        }
    }
}

/// The weekday nearest to a day, within its month: Saturday goes to Friday, Sunday to Monday, but never out of the
/// month. As in Quartz 2.3.2 a day that the month does not have counts in the next one: `31W` is 30 November where
/// 1 December is a Saturday, and nothing otherwise.
fn nearest_weekday(day: i16, weekday_of_first: i16, last: i16) -> Option<u32> {
    let moved = moved_to_weekday(day, weekday_of_first, last);
    (1..=last)
        .contains(&moved)
        .then(|| u32::try_from(moved).ok())
        .flatten()
}

fn moved_to_weekday(day: i16, weekday_of_first: i16, last: i16) -> i16 {
    let weekday = (weekday_of_first - 1 + day - 1).rem_euclid(7) + 1;
    match weekday {
        7 if day == 1 => day + 2,
        7 => day - 1,
        1 if day == last => day - 2,
        1 => day + 1,
        _ => day,
    }
}

/// The first local time after the gap that `missing` falls into.
fn end_of_gap(missing: DateTime, zone: &TimeZone) -> Option<DateTime> {
    // The missing time read with the offset of after the gap is an instant before it.
    let AmbiguousOffset::Gap { after, .. } = zone.to_ambiguous_timestamp(missing).offset() else {
        return Some(missing);
    };
    let before = after.to_timestamp(missing).ok()?;
    let transition = zone.following(before).next()?;
    let end = transition.offset().to_datetime(transition.timestamp());
    // Never backwards, whatever the zone's data say.
    Some(end.max(missing))
}
