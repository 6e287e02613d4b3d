//! `String.format` as `java.util.Formatter` does it in English.

use crate::dates::{DAYS, MONTHS, fields};
use crate::fault::{Eval, Fault};
use crate::operators::{to_big, to_f64};
use crate::session::Session;
use crate::text::char_text;
use crate::value::{Value, java_hash};
use num_bigint::{BigInt, Sign};

/// Widest field and longest fraction.
const MAX_WIDTH: usize = 100_000;

#[derive(Default, Clone)]
struct Spec {
    index: Index,
    left: bool,
    alternate: bool,
    plus: bool,
    space: bool,
    zero: bool,
    group: bool,
    brackets: bool,
    width: Option<usize>,
    precision: Option<usize>,
    conversion: char,
    date: Option<char>,
    text: String,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Index {
    #[default]
    Next,
    Same,
    At(usize),
}

pub(crate) fn format(session: &Session<'_>, pattern: &str, args: &Value) -> Eval<String> {
    let args = match args {
        Value::Array(array) => session.array_items(array).0.clone(),
        Value::Null => vec![Value::Null],
        other => vec![other.clone()],
    };
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut next = 0;
    let mut last: Option<usize> = None;
    while let Some(c) = chars.get(at).copied() {
        if c != '%' {
            out.push(c);
            at += 1;
            continue;
        }
        let (spec, end) = parse_spec(&chars, at)?;
        at = end;
        session.step()?;
        session.charge(spec.width.unwrap_or(0).max(spec.precision.unwrap_or(0)))?;
        match spec.conversion {
            '%' => {
                pad("%".to_string(), &spec, &mut out);
                continue;
            }
            'n' => {
                out.push('\n');
                continue;
            }
            _ => {}
        }
        let index = match spec.index {
            Index::At(index) => index,
            Index::Same => last.ok_or_else(|| missing(&spec))?,
            Index::Next => {
                next += 1;
                next - 1
            }
        };
        last = Some(index);
        let arg = args.get(index).ok_or_else(|| missing(&spec))?;
        convert(session, &spec, arg, &mut out)?;
        if out.len() > session.options.limits.bytes {
            return Err(session.too_large());
        }
    }
    Ok(out)
}

fn missing(spec: &Spec) -> Fault {
    Fault::new(format!("Format specifier '{}'", spec.text))
}

fn unknown(c: impl std::fmt::Display) -> Fault {
    Fault::new(format!("Conversion = '{c}'"))
}

fn parse_spec(chars: &[char], start: usize) -> Eval<(Spec, usize)> {
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut spec = Spec::default();
    let mut index = start + 1;
    let number = |mut index: usize| -> (Option<usize>, usize) {
        let from = index;
        let mut value: usize = 0;
        while let Some(digit) = at(index).to_digit(10) {
            value = value.saturating_mul(10).saturating_add(digit as usize);
            index += 1;
        }
        ((index > from).then_some(value), index)
    };
    if at(index) == '<' {
        spec.index = Index::Same;
        index += 1;
    } else if at(index) != '0' {
        let (value, end) = number(index);
        if let (Some(value), '$') = (value, at(end)) {
            spec.index = Index::At(value.saturating_sub(1));
            index = end + 1;
        }
    }
    loop {
        let flag = match at(index) {
            '-' => &mut spec.left,
            '#' => &mut spec.alternate,
            '+' => &mut spec.plus,
            ' ' => &mut spec.space,
            '0' => &mut spec.zero,
            ',' => &mut spec.group,
            '(' => &mut spec.brackets,
            _ => break,
        };
        if *flag {
            return Err(Fault::new(format!("Flags = '{}'", at(index))));
        }
        *flag = true;
        index += 1;
    }
    let (width, end) = number(index);
    index = end;
    spec.width = width;
    if at(index) == '.' {
        let (precision, end) = number(index + 1);
        if precision.is_none() {
            return Err(unknown('%'));
        }
        spec.precision = precision;
        index = end;
    }
    if spec.width.unwrap_or(0) > MAX_WIDTH || spec.precision.unwrap_or(0) > MAX_WIDTH {
        return Err(Fault::limit(format!("a format is wider than {MAX_WIDTH}")));
    }
    let Some(conversion) = chars.get(index).copied() else {
        return Err(unknown('%'));
    };
    spec.conversion = conversion;
    index += 1;
    if matches!(conversion, 't' | 'T') {
        let Some(date) = chars.get(index).copied() else {
            return Err(unknown(conversion));
        };
        spec.date = Some(date);
        index += 1;
    }
    if !"bBhHsScCdoxXeEfgGaAtT%n".contains(conversion) {
        return Err(unknown(conversion));
    }
    spec.text = chars.get(start..index).unwrap_or_default().iter().collect();
    check(&spec)?;
    Ok((spec, index))
}

fn flags_fault(flags: &str, conversion: char) -> Fault {
    Fault::new(format!("Conversion = {conversion}, Flags = {flags}"))
}

fn check(spec: &Spec) -> Eval<()> {
    let numeric = matches!(
        spec.conversion,
        'd' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'g' | 'G' | 'a' | 'A'
    );
    if (spec.left || (spec.zero && numeric)) && spec.width.is_none() && spec.conversion != 'n' {
        return Err(Fault::new(spec.text.clone()));
    }
    if spec.conversion == 'n' && (spec.width.is_some() || spec.precision.is_some() || spec.left) {
        return Err(Fault::new(spec.width.unwrap_or(0).to_string()));
    }
    if (spec.left && spec.zero) || (spec.plus && spec.space) {
        return Err(Fault::new("Flags = illegal combination"));
    }
    if !numeric {
        let bad = [
            (spec.plus, "+"),
            (spec.space, " "),
            (spec.zero, "0"),
            (spec.group, ","),
            (spec.brackets, "("),
        ];
        if let Some((_, flag)) = bad.iter().find(|(set, _)| *set) {
            return Err(flags_fault(flag, spec.conversion));
        }
        if spec.alternate && !matches!(spec.conversion, 's' | 'S') {
            return Err(flags_fault("#", spec.conversion));
        }
        if matches!(spec.conversion, 'c' | 'C' | 't' | 'T' | '%') && spec.precision.is_some() {
            return Err(Fault::new(spec.precision.unwrap_or(0).to_string()));
        }
    }
    match spec.conversion {
        'd' | 'o' | 'x' | 'X' => {
            if let Some(precision) = spec.precision {
                return Err(Fault::new(precision.to_string()));
            }
            if spec.conversion == 'd' && spec.alternate {
                return Err(flags_fault("#", 'd'));
            }
            if spec.conversion != 'd' && spec.group {
                return Err(flags_fault(",", spec.conversion));
            }
        }
        'e' | 'E' if spec.group => return Err(flags_fault(",", spec.conversion)),
        'g' | 'G' if spec.alternate => return Err(flags_fault("#", spec.conversion)),
        'a' | 'A' if spec.group || spec.brackets => return Err(flags_fault(",", spec.conversion)),
        _ => {}
    }
    Ok(())
}

fn pad(text: String, spec: &Spec, out: &mut String) {
    let length = crate::text::utf16_length(&text);
    let fill = " ".repeat(spec.width.unwrap_or(0).saturating_sub(length));
    if spec.left {
        out.push_str(&text);
        out.push_str(&fill);
    } else {
        out.push_str(&fill);
        out.push_str(&text);
    }
}

fn cut(text: String, spec: &Spec) -> String {
    match spec.precision {
        Some(precision) if precision < crate::text::utf16_length(&text) => {
            crate::text::utf16_slice(&text, 0, precision)
        }
        _ => text,
    }
}

fn upper(spec: &Spec, text: String) -> String {
    if spec.conversion.is_ascii_uppercase() {
        text.to_uppercase()
    } else {
        text
    }
}

fn mismatch(spec: &Spec, arg: &Value) -> Fault {
    Fault::new(format!("{} != {}", spec.conversion, arg.class()))
}

fn convert(session: &Session<'_>, spec: &Spec, arg: &Value, out: &mut String) -> Eval<()> {
    match spec.conversion {
        'b' | 'B' => {
            let text = match arg {
                Value::Null => "false".to_string(),
                Value::Bool(value) => value.to_string(),
                _ => "true".to_string(),
            };
            pad(upper(spec, cut(text, spec)), spec, out);
        }
        's' | 'S' => {
            if spec.alternate {
                return Err(flags_fault("#", 's'));
            }
            let text = session.text_of(arg)?;
            pad(upper(spec, cut(text, spec)), spec, out);
        }
        'h' | 'H' => {
            let text = if arg.is_null() {
                "null".to_string()
            } else {
                format!("{:x}", java_hash(arg, 0))
            };
            pad(upper(spec, cut(text, spec)), spec, out);
        }
        'c' | 'C' => {
            let code = match arg {
                Value::Null => {
                    pad(upper(spec, "null".to_string()), spec, out);
                    return Ok(());
                }
                Value::Char(unit) => {
                    pad(upper(spec, char_text(*unit)), spec, out);
                    return Ok(());
                }
                Value::Byte(value) => i32::from(*value),
                Value::Short(value) => i32::from(*value),
                Value::Int(value) => *value,
                other => return Err(mismatch(spec, other)),
            };
            let c = u32::try_from(code).ok().and_then(char::from_u32);
            let text = c
                .map(String::from)
                .ok_or_else(|| Fault::new(format!("Code point = 0x{code:x}")))?;
            pad(upper(spec, text), spec, out);
        }
        'd' | 'o' | 'x' | 'X' => match arg {
            Value::Null => pad(upper(spec, "null".to_string()), spec, out),
            Value::Byte(_) | Value::Short(_) | Value::Int(_) | Value::Long(_) | Value::Big(_) => {
                integer(spec, arg, out)?
            }
            other => return Err(mismatch(spec, other)),
        },
        'e' | 'E' | 'f' | 'g' | 'G' | 'a' | 'A' => match arg {
            Value::Null => pad(upper(spec, cut("null".to_string(), spec)), spec, out),
            Value::Float(_) | Value::Double(_) => real(spec, arg, out),
            other => return Err(mismatch(spec, other)),
        },
        't' | 'T' => date(spec, arg, out)?,
        _ => {}
    }
    Ok(())
}

/// The digits of a number with its signs, brackets, groups and zeros.
fn signed(spec: &Spec, negative: bool, digits: String) -> String {
    let mut body = digits;
    if spec.group {
        body = grouped(&body);
    }
    let (before, after) = if negative {
        if spec.brackets { ("(", ")") } else { ("-", "") }
    } else if spec.plus {
        ("+", "")
    } else if spec.space {
        (" ", "")
    } else {
        ("", "")
    };
    if spec.zero {
        let wanted = spec
            .width
            .unwrap_or(0)
            .saturating_sub(before.len() + after.len());
        let missing = wanted.saturating_sub(body.len());
        body.insert_str(0, &"0".repeat(missing));
    }
    format!("{before}{body}{after}")
}

fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    for (index, c) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out.push_str(rest);
    out
}

fn integer(spec: &Spec, arg: &Value, out: &mut String) -> Eval<()> {
    if spec.conversion == 'd' {
        let value = to_big(arg);
        let negative = value.sign() == Sign::Minus;
        let digits = if negative {
            (-value).to_string()
        } else {
            value.to_string()
        };
        pad(signed(spec, negative, digits), spec, out);
        return Ok(());
    }
    let radix = if spec.conversion == 'o' { 8 } else { 16 };
    let big = matches!(arg, Value::Big(_));
    if !big && (spec.plus || spec.space || spec.brackets) {
        return Err(flags_fault("+", spec.conversion));
    }
    let value = match arg {
        Value::Byte(value) => BigInt::from(*value as u8),
        Value::Short(value) => BigInt::from(*value as u16),
        Value::Int(value) => BigInt::from(*value as u32),
        Value::Long(value) => BigInt::from(*value as u64),
        other => to_big(other),
    };
    let negative = value.sign() == Sign::Minus;
    let digits = if negative {
        (-value).to_str_radix(radix)
    } else {
        value.to_str_radix(radix)
    };
    let prefix = match (spec.alternate, radix) {
        (true, 8) => "0",
        (true, _) => "0x",
        _ => "",
    };
    let mut body = digits;
    if spec.zero {
        let missing = spec
            .width
            .unwrap_or(0)
            .saturating_sub(body.len() + prefix.len());
        body.insert_str(0, &"0".repeat(missing));
    }
    let plain = Spec {
        zero: false,
        group: false,
        ..spec.clone()
    };
    pad(
        upper(spec, signed(&plain, negative, format!("{prefix}{body}"))),
        spec,
        out,
    );
    Ok(())
}

fn real(spec: &Spec, arg: &Value, out: &mut String) {
    let value = to_f64(arg);
    if !value.is_finite() {
        let plain = Spec {
            zero: false,
            group: false,
            ..spec.clone()
        };
        let text = if value.is_nan() {
            "NaN".to_string()
        } else {
            signed(&plain, value < 0.0, "Infinity".to_string())
        };
        pad(upper(spec, text), &plain, out);
        return;
    }
    let negative = value.is_sign_negative();
    // Java rounds the decimal text of the number, not its exact value.
    let text = match arg {
        Value::Float(value) => format!("{:e}", value.abs()),
        _ => format!("{:e}", value.abs()),
    };
    let decimal = Decimal::parse(&text);
    let precision = spec.precision.unwrap_or(6);
    let body = match spec.conversion {
        'f' => decimal.fixed(precision, spec.alternate),
        'e' | 'E' => decimal.scientific(precision, spec.alternate),
        'g' | 'G' => {
            let precision = precision.max(1);
            if value == 0.0 {
                decimal.fixed(precision - 1, false)
            } else {
                let rounded = decimal.rounded(precision);
                if rounded.exponent >= -4 && rounded.exponent < precision as i64 {
                    rounded.fixed(
                        (precision as i64 - 1 - rounded.exponent).max(0) as usize,
                        false,
                    )
                } else {
                    rounded.scientific(precision - 1, false)
                }
            }
        }
        _ => hexadecimal(value.abs()),
    };
    pad(upper(spec, signed(spec, negative, body)), spec, out);
}

/// `Double.toHexString` of a positive number.
pub(crate) fn hexadecimal(value: f64) -> String {
    if value == 0.0 {
        return "0x0.0p0".to_string();
    }
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64;
    let fraction = format!("{:013x}", bits & ((1 << 52) - 1));
    let fraction = match fraction.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    if exponent == 0 {
        format!("0x0.{fraction}p-1022")
    } else {
        format!("0x1.{fraction}p{}", exponent - 1023)
    }
}

/// Decimal digits `d.ddd × 10^exponent`.
struct Decimal {
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn parse(scientific: &str) -> Decimal {
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        Decimal {
            digits: mantissa
                .bytes()
                .filter(u8::is_ascii_digit)
                .map(|digit| digit - b'0')
                .collect(),
            exponent: exponent.parse().unwrap_or(0),
        }
    }

    /// Half up to a count of digits.
    fn rounded(&self, count: usize) -> Decimal {
        let mut digits: Vec<u8> = self.digits.iter().copied().take(count).collect();
        let mut exponent = self.exponent;
        if self.digits.get(count).is_some_and(|digit| *digit >= 5) {
            let mut carry = true;
            for digit in digits.iter_mut().rev() {
                if *digit == 9 {
                    *digit = 0;
                } else {
                    *digit += 1;
                    carry = false;
                    break;
                }
            }
            if carry {
                digits.insert(0, 1);
                if digits.len() > count.max(1) {
                    digits.pop();
                }
                exponent += 1;
            }
        }
        Decimal { digits, exponent }
    }

    fn digit(&self, power: i64) -> u8 {
        usize::try_from(self.exponent - power)
            .ok()
            .and_then(|index| self.digits.get(index))
            .copied()
            .unwrap_or(0)
    }

    fn fixed(&self, precision: usize, alternate: bool) -> String {
        let keep = self.exponent + 1 + precision as i64;
        let rounded = if keep < 0 {
            Decimal {
                digits: vec![0],
                exponent: 0,
            }
        } else {
            self.rounded(keep as usize)
        };
        let top = rounded.exponent.max(0);
        let mut out: String = (0..=top)
            .rev()
            .map(|power| char::from(b'0' + rounded.digit(power)))
            .collect();
        if precision > 0 {
            out.push('.');
            out.extend(
                (1..=precision as i64).map(|place| char::from(b'0' + rounded.digit(-place))),
            );
        } else if alternate {
            out.push('.');
        }
        out
    }

    fn scientific(&self, precision: usize, alternate: bool) -> String {
        let rounded = self.rounded(precision + 1);
        let mut out = String::new();
        out.push(char::from(
            b'0' + rounded.digits.first().copied().unwrap_or(0),
        ));
        if precision > 0 {
            out.push('.');
            out.extend(
                (1..=precision).map(|index| {
                    char::from(b'0' + rounded.digits.get(index).copied().unwrap_or(0))
                }),
            );
        } else if alternate {
            out.push('.');
        }
        let exponent = if rounded.digits.iter().all(|digit| *digit == 0) {
            0
        } else {
            rounded.exponent
        };
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("e{sign}{:02}", exponent.abs()));
        out
    }
}

fn date(spec: &Spec, arg: &Value, out: &mut String) -> Eval<()> {
    if arg.is_null() {
        pad(upper(spec, "null".to_string()), spec, out);
        return Ok(());
    }
    let mut zoned = true;
    let millis = match arg {
        Value::Date(millis) => *millis,
        Value::Long(millis) => *millis,
        Value::LocalDate(date) => {
            zoned = false;
            crate::dates::lenient_millis(
                i64::from(date.year()),
                i64::from(date.month()),
                i64::from(date.day()),
                0,
                0,
                0,
                0,
            )
        }
        Value::LocalDateTime(time) => {
            zoned = false;
            crate::dates::lenient_millis(
                i64::from(time.year()),
                i64::from(time.month()),
                i64::from(time.day()),
                i64::from(time.hour()),
                i64::from(time.minute()),
                i64::from(time.second()),
                i64::from(time.millisecond()),
            )
        }
        other => return Err(mismatch(spec, other)),
    };
    let only_date = matches!(arg, Value::LocalDate(_));
    let letter = spec.date.unwrap_or('c');
    let text = date_part(letter, millis, zoned, only_date).ok_or_else(|| {
        if "HIklMSLNpzZsQBbhAaCYyjmdeRTrDFc".contains(letter) {
            Fault::new(format!("Unsupported field for {letter}"))
        } else {
            unknown(format!("t{letter}"))
        }
    })?;
    pad(upper(spec, text), spec, out);
    Ok(())
}

fn date_part(letter: char, millis: i64, zoned: bool, only_date: bool) -> Option<String> {
    let f = fields(millis);
    let hour12 = if f.hour % 12 == 0 { 12 } else { f.hour % 12 };
    let part = |letter: char| date_part(letter, millis, zoned, only_date);
    let day = DAYS.get((f.weekday - 1) as usize).copied()?;
    let month = MONTHS.get((f.month - 1) as usize).copied()?;
    if only_date && "HIklMSLNpsQRTrczZ".contains(letter) {
        return None;
    }
    if !zoned && "zZsQc".contains(letter) {
        return None;
    }
    Some(match letter {
        'H' => format!("{:02}", f.hour),
        'I' => format!("{hour12:02}"),
        'k' => f.hour.to_string(),
        'l' => hour12.to_string(),
        'M' => format!("{:02}", f.minute),
        'S' => format!("{:02}", f.second),
        'L' => format!("{:03}", f.milli),
        'N' => format!("{:09}", f.milli * 1_000_000),
        'p' => if f.hour < 12 { "am" } else { "pm" }.to_string(),
        'z' => "+0000".to_string(),
        'Z' => "UTC".to_string(),
        's' => millis.div_euclid(1_000).to_string(),
        'Q' => millis.to_string(),
        'B' => month.to_string(),
        'b' | 'h' => month.get(..3)?.to_string(),
        'A' => day.to_string(),
        'a' => day.get(..3)?.to_string(),
        'C' => format!("{:02}", f.year / 100),
        'Y' => format!("{:04}", f.year),
        'y' => format!("{:02}", f.year % 100),
        'j' => format!("{:03}", f.day_of_year),
        'm' => format!("{:02}", f.month),
        'd' => format!("{:02}", f.day),
        'e' => f.day.to_string(),
        'R' => format!("{}:{}", part('H')?, part('M')?),
        'T' => format!("{}:{}:{}", part('H')?, part('M')?, part('S')?),
        'r' => format!(
            "{}:{}:{} {}",
            part('I')?,
            part('M')?,
            part('S')?,
            part('p')?.to_uppercase()
        ),
        'D' => format!("{}/{}/{}", part('m')?, part('d')?, part('y')?),
        'F' => format!("{}-{}-{}", part('Y')?, part('m')?, part('d')?),
        'c' => format!(
            "{} {} {} {} {} {}",
            part('a')?,
            part('b')?,
            part('d')?,
            part('T')?,
            part('Z')?,
            part('Y')?
        ),
        _ => return None,
    })
}
