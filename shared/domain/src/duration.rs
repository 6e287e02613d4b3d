//! Durations as Java writes them: `PT1H30M`, `P1DT12H`, `PT0.5S`.

/// Milliseconds of an ISO-8601 duration of days (of 24 hours), hours, minutes and seconds, upper or lower case; none if
/// the text is none, or too long for 64 bits. Parts of a millisecond are cut off.
#[must_use]
pub fn millis(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_uppercase();
    let (sign, rest) = signed(&text);
    let rest = rest.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    let mut total: i64 = 0;
    let mut parts = 0;
    for (mut rest, units) in [
        (days, &[('D', 86_400_000)][..]),
        (time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)][..]),
    ] {
        for (unit, of_one) in units {
            let Some((number, after)) = rest.split_once(*unit) else {
                continue;
            };
            total = total.checked_add(part(number, *unit == 'S')?.checked_mul(*of_one)? / 1_000)?;
            rest = after;
            parts += 1;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    (parts > 0).then_some(total.checked_mul(sign)?)
}

fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Thousandths of a number; only seconds have a fraction.
fn part(text: &str, with_fraction: bool) -> Option<i64> {
    let (sign, text) = signed(text);
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) if with_fraction && fraction.len() <= 9 => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let thousandths: String = format!("{fraction}000").chars().take(3).collect();
    whole
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000)?
        .checked_add(thousandths.parse().ok()?)?
        .checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("PT1H", Some(3_600_000)),
            ("pt1h30m", Some(5_400_000)),
            ("P1DT12H", Some(129_600_000)),
            ("P2D", Some(172_800_000)),
            ("PT0S", Some(0)),
            ("PT0.25S", Some(250)),
            ("PT1,5S", Some(1_500)),
            ("-PT1M", Some(-60_000)),
            ("PT-1M", Some(-60_000)),
            (" PT15M ", Some(900_000)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("PT1M1H", None),
            ("PT1.5H", None),
            ("P1Y", None),
            ("1h", None),
            ("PT99999999999999999999S", None),
            ("PT9223372036854775807H", None),
            ("PT\u{0661}S", None),
            ("", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
