//! The text of values: Java's `toString`, number texts, UTF-16 indexing.

use crate::session::Session;
use crate::value::{MAX_VALUE_DEPTH, Value};
use crate::{fault::Fault, value::Map};

/// Java's text of a double (the shortest digits that read back, as since Java 19).
pub(crate) fn double_text(value: f64) -> String {
    if let Some(special) = special_text(value) {
        return special.to_string();
    }
    if value == 0.0 {
        return if value.is_sign_negative() {
            "-0.0"
        } else {
            "0.0"
        }
        .to_string();
    }
    let mut shortest = format!("{value:e}");
    if !shortest.contains('.') {
        // With one digit, Java takes the nearest of two digits if it reads back too: 4.9E-324, not 5E-324.
        let two = format!("{value:.1e}");
        if two.parse::<f64>() == Ok(value) {
            shortest = two;
        }
    }
    java_layout(&shortest)
}

/// Java's text of a float.
pub(crate) fn float_text(value: f32) -> String {
    if let Some(special) = special_text(f64::from(value)) {
        return special.to_string();
    }
    if value == 0.0 {
        return if value.is_sign_negative() {
            "-0.0"
        } else {
            "0.0"
        }
        .to_string();
    }
    let mut shortest = format!("{value:e}");
    if !shortest.contains('.') {
        let two = format!("{value:.1e}");
        if two.parse::<f32>() == Ok(value) {
            shortest = two;
        }
    }
    java_layout(&shortest)
}

fn special_text(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("Infinity")
    } else if value == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

/// From `d.ddde±n` to Java's: plain between 10^-3 and 10^7, else `d.dddE±n`, always with a fraction.
fn java_layout(scientific: &str) -> String {
    let (sign, rest) = scientific
        .strip_prefix('-')
        .map_or(("", scientific), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once('e').unwrap_or((rest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    if (-3..7).contains(&exponent) {
        if exponent < 0 {
            let zeros = "0".repeat((-exponent - 1) as usize);
            return format!("{sign}0.{zeros}{digits}");
        }
        let whole_length = exponent as usize + 1;
        if digits.len() <= whole_length {
            return format!(
                "{sign}{digits}{}.0",
                "0".repeat(whole_length - digits.len())
            );
        }
        let (whole, fraction) = digits.split_at(whole_length);
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let rest = if rest.is_empty() { "0" } else { rest };
    format!("{sign}{first}.{rest}E{exponent}")
}

/// The text of one UTF-16 unit; half a surrogate pair is the replacement character.
pub(crate) fn char_text(unit: u16) -> String {
    String::from_utf16_lossy(&[unit])
}

/// The length in UTF-16 units.
pub(crate) fn utf16_length(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// The unit at an index.
pub(crate) fn unit_at(text: &str, index: usize) -> Option<u16> {
    if text.is_ascii() {
        text.as_bytes().get(index).map(|byte| u16::from(*byte))
    } else {
        text.encode_utf16().nth(index)
    }
}

/// `substring` by UTF-16 indices that are known to be in range; a cut pair becomes the replacement character.
pub(crate) fn utf16_slice(text: &str, start: usize, end: usize) -> String {
    if text.is_ascii() {
        return text.get(start..end).unwrap_or_default().to_string();
    }
    let units: Vec<u16> = text
        .encode_utf16()
        .skip(start)
        .take(end.saturating_sub(start))
        .collect();
    String::from_utf16_lossy(&units)
}

/// The UTF-16 index of a byte position.
pub(crate) fn utf16_index(text: &str, byte: usize) -> usize {
    text.get(..byte).map_or(0, utf16_length)
}

impl Session<'_> {
    /// `String.valueOf`.
    pub(crate) fn text_of(&self, value: &Value) -> Result<String, Fault> {
        let mut out = String::new();
        self.write_text(value, &mut out, 0)?;
        self.charge(out.len())?;
        Ok(out)
    }

    fn write_text(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Fault> {
        self.step()?;
        if depth > MAX_VALUE_DEPTH {
            return Err(Fault::limit(format!(
                "a value is nested more than {MAX_VALUE_DEPTH} deep"
            )));
        }
        if out.len() > self.options.limits.bytes {
            return Err(self.too_large());
        }
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Byte(value) => out.push_str(&value.to_string()),
            Value::Short(value) => out.push_str(&value.to_string()),
            Value::Char(unit) => out.push_str(&char_text(*unit)),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Long(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&float_text(*value)),
            Value::Double(value) => out.push_str(&double_text(*value)),
            Value::Big(value) => out.push_str(&value.to_string()),
            Value::Str(text) => out.push_str(text),
            Value::List(list) => {
                let items = self.items(list);
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    self.write_text(item, out, depth + 1)?;
                }
                out.push(']');
            }
            Value::Map(map) => self.write_map_text(map, out, depth)?,
            Value::Array(array) => {
                out.push_str(&crate::methods::array_signature(array.element.array_of()));
                out.push_str("@1b");
            }
            Value::Entry(entry) => {
                self.write_text(&entry.key, out, depth + 1)?;
                out.push('=');
                self.write_text(&entry.value, out, depth + 1)?;
            }
            Value::Class(class) => {
                if class.is_primitive() {
                    out.push_str(class.base.name());
                } else {
                    out.push_str("class ");
                    out.push_str(&crate::methods::array_signature(*class));
                }
            }
            Value::Method(signature) => out.push_str(signature),
            Value::Date(millis) => out.push_str(&crate::dates::date_text(*millis)),
            Value::LocalDate(date) => out.push_str(&crate::dates::local_date_text(*date)),
            Value::LocalDateTime(time) => out.push_str(&crate::dates::local_date_time_text(*time)),
            Value::Instant(instant) => out.push_str(&crate::dates::instant_text(*instant)),
            Value::DayOfWeek(day) => out.push_str(crate::dates::day_name(*day)),
            Value::ChronoUnit(unit) => out.push_str(crate::dates::unit_text(*unit)),
            Value::Uuid(uuid) => out.push_str(&uuid_text(*uuid)),
            Value::Random(_) => out.push_str("java.util.Random@1b"),
            Value::DateFormat(format) => {
                out.push_str(&format!(
                    "java.text.SimpleDateFormat@{:x}",
                    crate::value::string_hash(format.pattern())
                ));
            }
            Value::Status(status) => out.push_str(status.name()),
            Value::Execution(execution) => {
                out.push_str("PIPELINE ");
                out.push_str(execution.id());
            }
            Value::Stage(execution, index) => out.push_str(&execution.stage_text(*index)),
            Value::Bean(bean) => out.push_str(&bean.text(self, depth)?),
            Value::NotEvaluable(_) => {
                out.push_str("com.netflix.spinnaker.kork.expressions.NotEvaluableExpression@1b")
            }
        }
        Ok(())
    }

    fn write_map_text(&self, map: &Map, out: &mut String, depth: usize) -> Result<(), Fault> {
        let entries = self.entries(map);
        out.push('{');
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            self.write_text(&key.value(), out, depth + 1)?;
            out.push('=');
            self.write_text(value, out, depth + 1)?;
        }
        out.push('}');
        Ok(())
    }

    pub(crate) fn nested_text(&self, value: &Value, depth: usize) -> Result<String, Fault> {
        let mut out = String::new();
        self.write_text(value, &mut out, depth + 1)?;
        Ok(out)
    }
}

/// `8-4-4-4-12`.
pub(crate) fn uuid_text(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}
