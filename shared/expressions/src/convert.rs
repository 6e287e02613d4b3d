//! Spring's conversion service: what a value becomes where another class is asked for.

use crate::class::{Base, Class};
use crate::dates;
use crate::fault::{Eval, Fault};
use crate::operators::{to_f32, to_f64, to_i64};
use crate::session::Session;
use crate::template::java_trim;
use crate::text::utf16_length;
use crate::value::{List, Value};

const MAX_CONVERT_DEPTH: usize = 100;

fn no_converter(value: &Value, target: Class) -> Fault {
    let generic = if matches!(value, Value::Map(_)) {
        "<?, ?>"
    } else {
        ""
    };
    Fault::new(format!(
        "No converter found capable of converting from type [{class}{generic}] to type [{target}] - EL1001E: Type conversion problem, cannot convert from {class} to {target}",
        class = value.class()
    ))
}

fn failed(text: &str, class: &Value, target: Class) -> Fault {
    Fault::new(format!(
        "For input string: \"{text}\" - EL1001E: Type conversion problem, cannot convert from {} to {target}",
        class.class()
    ))
}

fn is_collection(class: Class) -> bool {
    class.dimensions == 0 && class.is_a(Base::Collection)
}

fn is_number_class(class: Class) -> bool {
    class.dimensions == 0
        && matches!(
            class.base,
            Base::Byte
                | Base::Short
                | Base::Integer
                | Base::Long
                | Base::Float
                | Base::Double
                | Base::BigInteger
        )
}

fn is_enum(class: Class) -> bool {
    class.dimensions == 0
        && matches!(
            class.base,
            Base::DayOfWeek | Base::ChronoUnit | Base::Status
        )
}

impl Session<'_> {
    /// Whether a conversion exists between the classes; it may still fail on the value.
    pub(crate) fn can_convert(&self, value: &Value, target: Class) -> bool {
        if value.is_null() {
            return !target.is_primitive();
        }
        let source = value.class();
        if target.is_assignable_from(source) {
            return true;
        }
        let target = target.boxed();
        let is_text = source == Class::of(Base::String);
        // Elements of collections and arrays are only known when they are converted.
        if is_collection(source) {
            return true;
        }
        if let Some(component) = source.component() {
            if target == Class::of(Base::String) || is_collection(target) || target.dimensions > 0 {
                return true;
            }
            return component_can_convert(component, target);
        }
        if target.dimensions > 0 {
            return match target.component() {
                Some(component) if is_text => {
                    class_can_convert(source, component.boxed()) || component.is_primitive()
                }
                Some(component) => class_can_convert(source, component.boxed()),
                None => false,
            };
        }
        if matches!(
            target.base,
            Base::Collection | Base::List | Base::Set | Base::ArrayList | Base::Iterable
        ) && target.dimensions == 0
        {
            return true;
        }
        class_can_convert(source, target)
    }

    /// The value as an instance of `target`; null stays null.
    pub(crate) fn convert(&self, value: &Value, target: Class) -> Eval<Value> {
        self.convert_at(value, target, 0)
    }

    fn convert_at(&self, value: &Value, target: Class, depth: usize) -> Eval<Value> {
        self.step()?;
        if depth > MAX_CONVERT_DEPTH {
            return Err(Fault::limit(format!(
                "a value is nested more than {MAX_CONVERT_DEPTH} deep"
            )));
        }
        if value.is_null() {
            if target.is_primitive() {
                return Err(Fault::new(format!(
                    "EL1001E: Type conversion problem, cannot convert from null to {target}"
                )));
            }
            return Ok(Value::Null);
        }
        let source = value.class();
        if target.is_assignable_from(source) {
            return Ok(value.clone());
        }
        let wanted = target;
        let target = target.boxed();
        if let Some(component) = target.component() {
            return self.to_array(value, component, depth);
        }
        if target == Class::of(Base::String) {
            return self.to_text(value, depth);
        }
        let items = match value {
            Value::List(list) => Some(self.items(list)),
            Value::Array(array) => Some(self.array_items(array)),
            _ => None,
        };
        if is_collection(target) || target == Class::of(Base::Iterable) {
            let items = match (items, value) {
                (Some(items), _) => items.0.clone(),
                (None, Value::Str(text)) => split_list(text).into_iter().map(Value::str).collect(),
                (None, other) => vec![other.clone()],
            };
            let class = match target.base {
                Base::Set | Base::LinkedHashSet | Base::HashSet => Base::LinkedHashSet,
                _ => Base::ArrayList,
            };
            return Ok(Value::list_of(class, items));
        }
        if let Some(items) = items {
            return match items.first() {
                None => self.convert_at(&Value::Null, wanted, depth + 1),
                Some(first) => self.convert_at(first, wanted, depth + 1),
            };
        }
        if is_number_class(target) {
            return to_number(value, target);
        }
        match (value, target.base) {
            (Value::Str(text), Base::Boolean) => to_boolean(text, value),
            (Value::Str(text), Base::Character) => match utf16_length(text) {
                0 => Ok(Value::Null),
                1 => Ok(Value::Char(text.encode_utf16().next().unwrap_or(0))),
                _ => Err(Fault::new(format!(
                    "Can only convert a [String] with length of 1 to a [Character]; string value '{text}'  has length of {}",
                    utf16_length(text)
                ))),
            },
            (number, Base::Character) if number.is_number() => {
                Ok(Value::Char(to_i64(number) as u16))
            }
            (Value::Str(text), Base::Uuid) => match text.trim() {
                "" => Ok(Value::Null),
                text => dates::parse_uuid(text).map(Value::Uuid),
            },
            (Value::Str(text), Base::Date) => dates::parse_legacy_date(text).map(Value::Date),
            (Value::Str(text), Base::DayOfWeek) => match text.trim() {
                "" => Ok(Value::Null),
                name => dates::day_of_week(name).map(Value::DayOfWeek),
            },
            (Value::Str(text), Base::ChronoUnit) => match text.trim() {
                "" => Ok(Value::Null),
                name => dates::chrono_unit(name).map(Value::ChronoUnit),
            },
            (Value::Int(index), Base::DayOfWeek) if (0..7).contains(index) => {
                Ok(Value::DayOfWeek(*index as u8 + 1))
            }
            (Value::Int(index), Base::ChronoUnit) if (0..16).contains(index) => {
                Ok(Value::ChronoUnit(*index as u8))
            }
            (Value::Str(text), Base::SimpleDateFormat | Base::DateFormat) => {
                crate::dateformat::DateFormat::new(text)
                    .map(|format| Value::DateFormat(format.into()))
            }
            (Value::Date(millis), Base::Instant) => {
                Ok(Value::Instant(dates::instant_of_millis(*millis)))
            }
            (Value::Instant(instant), Base::Date) => {
                dates::millis_of_instant(*instant).map(Value::Date)
            }
            (Value::LocalDateTime(time), Base::LocalDate | Base::ChronoLocalDate)
                if target.base == Base::LocalDate =>
            {
                Ok(Value::LocalDate(time.date()))
            }
            _ => Err(no_converter(value, wanted)),
        }
    }

    fn to_array(&self, value: &Value, component: Class, depth: usize) -> Eval<Value> {
        let items = match value {
            Value::List(list) => self.items(list).0.clone(),
            Value::Array(array) => self.array_items(array).0.clone(),
            Value::Str(text) => split_list(text).into_iter().map(Value::str).collect(),
            other => vec![other.clone()],
        };
        self.charge(items.len() * 24)?;
        let mut values = Vec::with_capacity(items.len());
        for item in &items {
            values.push(self.convert_at(item, component, depth + 1)?);
        }
        Ok(Value::array(component, values))
    }

    fn to_text(&self, value: &Value, depth: usize) -> Eval<Value> {
        match value {
            Value::List(List { items, .. }) => {
                let items = self.storage(items);
                self.join(&items, depth).map(Value::str)
            }
            Value::Array(array) => {
                let items = self.array_items(array);
                self.join(&items, depth).map(Value::str)
            }
            Value::ChronoUnit(unit) => Ok(Value::str(dates::unit_name(*unit))),
            other if class_can_convert(other.class(), Class::of(Base::String)) => {
                self.text_of(other).map(Value::str)
            }
            other => Err(no_converter(other, Class::of(Base::String))),
        }
    }

    fn join(&self, items: &[Value], depth: usize) -> Eval<String> {
        let mut out = String::new();
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            match self.convert_at(item, Class::of(Base::String), depth + 1)? {
                Value::Str(text) => out.push_str(&text),
                _ => out.push_str("null"),
            }
        }
        self.charge(out.len())?;
        Ok(out)
    }
}

/// Whether instances of one scalar class become the other.
fn class_can_convert(source: Class, target: Class) -> bool {
    if target.is_assignable_from(source) {
        return true;
    }
    if source.dimensions > 0 || target.dimensions > 0 {
        return source.dimensions > 0 && target.dimensions > 0;
    }
    let number = is_number_class(source);
    match target.base {
        Base::String => {
            number
                || is_enum(source)
                || matches!(
                    source.base,
                    Base::Boolean
                        | Base::Character
                        | Base::Uuid
                        | Base::Date
                        | Base::SimpleDateFormat
                        | Base::CharSequence
                )
        }
        Base::Boolean => source.base == Base::String,
        Base::Character => number || source.base == Base::String,
        Base::Uuid | Base::SimpleDateFormat | Base::DateFormat => source.base == Base::String,
        Base::Date => matches!(source.base, Base::String | Base::Instant),
        Base::Instant => source.base == Base::Date,
        Base::LocalDate => source.base == Base::LocalDateTime,
        Base::DayOfWeek | Base::ChronoUnit => matches!(source.base, Base::String | Base::Integer),
        _ if is_number_class(target) => {
            number || matches!(source.base, Base::String | Base::Character)
        }
        _ => false,
    }
}

fn component_can_convert(component: Class, target: Class) -> bool {
    class_can_convert(component.boxed(), target)
}

/// A text as Spring reads a list from it: by commas, trimmed.
fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',')
        .map(|part| part.trim().to_string())
        .collect()
}

fn to_boolean(text: &str, value: &Value) -> Eval<Value> {
    let word = java_trim(text).to_lowercase();
    match word.as_str() {
        "" => Ok(Value::Null),
        "true" | "on" | "yes" | "1" => Ok(Value::Bool(true)),
        "false" | "off" | "no" | "0" => Ok(Value::Bool(false)),
        _ => Err(Fault::new(format!(
            "Invalid boolean value '{text}' - EL1001E: Type conversion problem, cannot convert from {} to java.lang.Boolean",
            value.class()
        ))),
    }
}

fn to_number(value: &Value, target: Class) -> Eval<Value> {
    match value {
        Value::Str(text) => {
            let trimmed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            if text.is_empty() {
                return Ok(Value::Null);
            }
            parse_number(&trimmed, target).ok_or_else(|| failed(&trimmed, value, target))
        }
        Value::Char(unit) => narrow(&Value::Int(i32::from(*unit)), target),
        number if number.is_number() => narrow(number, target),
        other => Err(no_converter(other, target)),
    }
}

fn parse_number(text: &str, target: Class) -> Option<Value> {
    let negative = text.starts_with('-');
    let digits = text.strip_prefix('-').unwrap_or(text);
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .or_else(|| digits.strip_prefix('#'));
    let integer = |min: i64, max: i64| -> Option<i64> {
        let value = match hex {
            Some(hex) => {
                i64::from_str_radix(&format!("{}{hex}", if negative { "-" } else { "" }), 16)
                    .ok()?
            }
            None => parse_java_integer(text, 10)?,
        };
        (min..=max).contains(&value).then_some(value)
    };
    Some(match target.base {
        Base::Byte => Value::Byte(integer(-128, 127)? as i8),
        Base::Short => Value::Short(integer(-32_768, 32_767)? as i16),
        Base::Integer => Value::Int(integer(i64::from(i32::MIN), i64::from(i32::MAX))? as i32),
        Base::Long => Value::Long(integer(i64::MIN, i64::MAX)?),
        Base::BigInteger if text.len() <= crate::json::MAX_DIGITS => {
            Value::Big(std::sync::Arc::new(text.parse().ok()?))
        }
        Base::Float => Value::Float(parse_java_float(text)?),
        Base::Double => Value::Double(parse_java_double(text)?),
        _ => return None,
    })
}

/// `Long.parseLong`: an optional sign and digits, nothing else.
pub(crate) fn parse_java_integer(text: &str, radix: u32) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(text, radix).ok()
}

fn real_text(text: &str) -> Option<String> {
    let trimmed = java_trim(text);
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if matches!(unsigned, "NaN" | "Infinity") {
        return Some(trimmed.replace("Infinity", "inf"));
    }
    if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        return None;
    }
    let plain = trimmed
        .strip_suffix(['f', 'F', 'd', 'D'])
        .unwrap_or(trimmed);
    let valid = plain
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    (valid && plain.chars().any(|c| c.is_ascii_digit())).then(|| plain.to_string())
}

/// `Double.parseDouble`.
pub(crate) fn parse_java_double(text: &str) -> Option<f64> {
    real_text(text)?.parse().ok()
}

/// `Float.parseFloat`.
pub(crate) fn parse_java_float(text: &str) -> Option<f32> {
    real_text(text)?.parse().ok()
}

/// Spring's number to number: integers must fit, reals are cut.
fn narrow(value: &Value, target: Class) -> Eval<Value> {
    let checked = |min: i64, max: i64| -> Eval<i64> {
        let number = match value {
            Value::Big(big) => {
                i64::try_from((**big).clone()).map_err(|_| overflow(value, target))?
            }
            other => to_i64(other),
        };
        if (min..=max).contains(&number) {
            Ok(number)
        } else {
            Err(overflow(value, target))
        }
    };
    Ok(match target.base {
        Base::Byte => Value::Byte(checked(-128, 127)? as i8),
        Base::Short => Value::Short(checked(-32_768, 32_767)? as i16),
        Base::Integer => Value::Int(checked(i64::from(i32::MIN), i64::from(i32::MAX))? as i32),
        Base::Long => Value::Long(checked(i64::MIN, i64::MAX)?),
        Base::Float => Value::Float(to_f32(value)),
        Base::Double => Value::Double(to_f64(value)),
        Base::BigInteger => Value::Big(std::sync::Arc::new(crate::operators::to_big(value))),
        _ => return Err(no_converter(value, target)),
    })
}

fn overflow(value: &Value, target: Class) -> Fault {
    let text = match value {
        Value::Big(big) => big.to_string(),
        other => to_i64(other).to_string(),
    };
    Fault::new(format!(
        "Could not convert number [{text}] of type [{}] to target class [{target}]: overflow",
        value.class()
    ))
}
