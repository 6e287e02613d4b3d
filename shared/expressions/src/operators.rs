//! Arithmetic, comparison and equality with Java's number types.

use crate::ast::Op;
use crate::class::{Base, Class};
use crate::fault::{Eval, Fault};
use crate::session::Session;
use crate::text::utf16_length;
use crate::value::{Value, java_equals};
use num_bigint::BigInt;
use std::cmp::Ordering;
use std::sync::Arc;

/// Longest text that `+` makes (EL1078E).
const MAX_CONCATENATED: usize = 100_000;
/// Longest text that `*` makes (EL1076E).
const MAX_REPEATED: i64 = 256;
/// Longest regular expression of `matches` (EL1077E).
const MAX_PATTERN: usize = 1_000;

/// Two numbers of the type that an operation happens in.
enum Pair {
    Doubles(f64, f64),
    Floats(f32, f32),
    Bigs(BigInt, BigInt),
    Longs(i64, i64),
    Ints(i32, i32),
}

fn pair(left: &Value, right: &Value) -> Option<Pair> {
    if !left.is_number() || !right.is_number() {
        return None;
    }
    Some(match (left, right) {
        (Value::Double(_), _) | (_, Value::Double(_)) => Pair::Doubles(to_f64(left), to_f64(right)),
        (Value::Float(_), _) | (_, Value::Float(_)) => Pair::Floats(to_f32(left), to_f32(right)),
        (Value::Big(_), _) | (_, Value::Big(_)) => Pair::Bigs(to_big(left), to_big(right)),
        (Value::Long(_), _) | (_, Value::Long(_)) => Pair::Longs(to_i64(left), to_i64(right)),
        _ => Pair::Ints(to_i64(left) as i32, to_i64(right) as i32),
    })
}

/// `Number.doubleValue`.
pub(crate) fn to_f64(value: &Value) -> f64 {
    match value {
        Value::Byte(value) => f64::from(*value),
        Value::Short(value) => f64::from(*value),
        Value::Int(value) => f64::from(*value),
        Value::Long(value) => *value as f64,
        Value::Float(value) => f64::from(*value),
        Value::Double(value) => *value,
        Value::Big(value) => value.to_string().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// `Number.floatValue`.
pub(crate) fn to_f32(value: &Value) -> f32 {
    match value {
        Value::Long(value) => *value as f32,
        Value::Float(value) => *value,
        Value::Int(value) => *value as f32,
        Value::Big(value) => value.to_string().parse().unwrap_or(f32::NAN),
        other => to_f64(other) as f32,
    }
}

/// `Number.longValue`: reals saturate, big integers wrap.
pub(crate) fn to_i64(value: &Value) -> i64 {
    match value {
        Value::Byte(value) => i64::from(*value),
        Value::Short(value) => i64::from(*value),
        Value::Int(value) => i64::from(*value),
        Value::Long(value) => *value,
        Value::Float(value) => *value as i64,
        Value::Double(value) => *value as i64,
        Value::Big(value) => {
            let mut bytes = value.to_signed_bytes_le();
            let fill = if value.sign() == num_bigint::Sign::Minus {
                0xff
            } else {
                0
            };
            bytes.resize(bytes.len().max(8), fill);
            bytes
                .iter()
                .take(8)
                .enumerate()
                .fold(0i64, |sum, (index, byte)| {
                    sum | (i64::from(*byte) << (8 * index))
                })
        }
        _ => 0,
    }
}

/// `Number.intValue`: reals saturate at int.
pub(crate) fn to_i32(value: &Value) -> i32 {
    match value {
        Value::Float(value) => *value as i32,
        Value::Double(value) => *value as i32,
        other => to_i64(other) as i32,
    }
}

pub(crate) fn to_big(value: &Value) -> BigInt {
    match value {
        Value::Big(value) => (**value).clone(),
        other => BigInt::from(to_i64(other)),
    }
}

fn class_name(value: &Value) -> String {
    if value.is_null() {
        "null".to_string()
    } else {
        value.class().to_string()
    }
}

fn unsupported(name: &str, left: &Value, right: &Value) -> Fault {
    Fault::new(format!(
        "EL1030E: The operator '{name}' is not supported between objects of type '{}' and '{}'",
        class_name(left),
        class_name(right)
    ))
}

fn by_zero() -> Fault {
    Fault::new("/ by zero")
}

/// Largest big integer that arithmetic makes, in bits.
const MAX_BITS: u64 = 40_000;

fn big(value: BigInt) -> Eval<Value> {
    if value.bits() > MAX_BITS {
        return Err(Fault::limit(format!(
            "an integer takes more than {MAX_BITS} bits"
        )));
    }
    Ok(Value::Big(Arc::new(value)))
}

/// A binary operator on evaluated operands.
pub(crate) fn apply(
    session: &Session<'_>,
    op: Op,
    left: &Value,
    right: &Value,
    typed_left: bool,
    typed_right: bool,
) -> Eval<Value> {
    match op {
        Op::Add => add(session, left, right, typed_left, typed_right),
        Op::Sub => subtract(left, right),
        Op::Mul => multiply(left, right),
        Op::Div => match pair(left, right) {
            Some(Pair::Doubles(a, b)) => Ok(Value::Double(a / b)),
            Some(Pair::Floats(a, b)) => Ok(Value::Float(a / b)),
            Some(Pair::Bigs(a, b)) => {
                if b == BigInt::ZERO {
                    return Err(Fault::new("BigInteger divide by zero"));
                }
                big(a / b)
            }
            Some(Pair::Longs(a, b)) => {
                if b == 0 {
                    Err(by_zero())
                } else {
                    Ok(Value::Long(a.wrapping_div(b)))
                }
            }
            Some(Pair::Ints(a, b)) => {
                if b == 0 {
                    Err(by_zero())
                } else {
                    Ok(Value::Int(a.wrapping_div(b)))
                }
            }
            None => Err(unsupported("DIVIDE", left, right)),
        },
        Op::Mod => match pair(left, right) {
            Some(Pair::Doubles(a, b)) => Ok(Value::Double(a % b)),
            Some(Pair::Floats(a, b)) => Ok(Value::Float(a % b)),
            Some(Pair::Bigs(a, b)) => {
                if b == BigInt::ZERO {
                    return Err(Fault::new("BigInteger divide by zero"));
                }
                big(a % b)
            }
            Some(Pair::Longs(a, b)) => {
                if b == 0 {
                    Err(by_zero())
                } else {
                    Ok(Value::Long(a.wrapping_rem(b)))
                }
            }
            Some(Pair::Ints(a, b)) => {
                if b == 0 {
                    Err(by_zero())
                } else {
                    Ok(Value::Int(a.wrapping_rem(b)))
                }
            }
            None => Err(unsupported("MODULUS", left, right)),
        },
        Op::Power => power(left, right),
        Op::Eq => Ok(Value::Bool(equal(left, right))),
        Op::Ne => Ok(Value::Bool(!equal(left, right))),
        Op::Lt => relation(left, right, |order| order == Ordering::Less),
        Op::Le => relation(left, right, |order| order != Ordering::Greater),
        Op::Gt => relation(left, right, |order| order == Ordering::Greater),
        Op::Ge => relation(left, right, |order| order != Ordering::Less),
        Op::InstanceOf => match right {
            Value::Class(class) => Ok(Value::Bool(
                !left.is_null() && !class.is_primitive() && class.is_assignable_from(left.class()),
            )),
            _ => Err(Fault::new(
                "EL1016E: The operator 'instanceof' needs the right operand to be a class, not a value",
            )),
        },
        Op::Matches => matches(session, left, right),
        Op::Between => {
            let bounds = match right {
                Value::List(list) => session.items(list),
                _ => return Err(between_needs_two()),
            };
            match bounds.as_slice() {
                [low, high] => Ok(Value::Bool(
                    compare(left, low)? != Ordering::Less
                        && compare(left, high)? != Ordering::Greater,
                )),
                _ => Err(between_needs_two()),
            }
        }
    }
}

fn between_needs_two() -> Fault {
    Fault::new("EL1017E: The 'between' operator needs the right operand to be a two-element list")
}

fn add(
    session: &Session<'_>,
    left: &Value,
    right: &Value,
    typed_left: bool,
    typed_right: bool,
) -> Eval<Value> {
    match pair(left, right) {
        Some(Pair::Doubles(a, b)) => return Ok(Value::Double(a + b)),
        Some(Pair::Floats(a, b)) => return Ok(Value::Float(a + b)),
        Some(Pair::Bigs(a, b)) => return big(a + b),
        Some(Pair::Longs(a, b)) => return Ok(Value::Long(a.wrapping_add(b))),
        Some(Pair::Ints(a, b)) => return Ok(Value::Int(a.wrapping_add(b))),
        None => {}
    }
    let text = |value: &Value, typed: bool| -> Eval<String> {
        match value {
            Value::Null => Ok("null".to_string()),
            Value::Str(text) => Ok(text.to_string()),
            other if !typed && session.can_convert(other, Class::of(Base::String)) => {
                match session.convert(other, Class::of(Base::String))? {
                    Value::Str(text) => Ok(text.to_string()),
                    _ => Ok("null".to_string()),
                }
            }
            other => session.text_of(other),
        }
    };
    if !matches!(left, Value::Str(_)) && !matches!(right, Value::Str(_)) {
        return Err(unsupported("ADD", left, right));
    }
    let mut joined = text(left, typed_left)?;
    joined.push_str(&text(right, typed_right)?);
    if joined.len() > MAX_CONCATENATED && utf16_length(&joined) > MAX_CONCATENATED {
        return Err(Fault::new(format!(
            "EL1078E: Concatenated string is too long, exceeding the threshold of '{MAX_CONCATENATED}' characters"
        )));
    }
    session.charge(joined.len())?;
    Ok(Value::Str(joined.into()))
}

fn subtract(left: &Value, right: &Value) -> Eval<Value> {
    match pair(left, right) {
        Some(Pair::Doubles(a, b)) => Ok(Value::Double(a - b)),
        Some(Pair::Floats(a, b)) => Ok(Value::Float(a - b)),
        Some(Pair::Bigs(a, b)) => big(a - b),
        Some(Pair::Longs(a, b)) => Ok(Value::Long(a.wrapping_sub(b))),
        Some(Pair::Ints(a, b)) => Ok(Value::Int(a.wrapping_sub(b))),
        None => match (left, right) {
            (Value::Str(text), Value::Int(number)) if utf16_length(text) == 1 => {
                let unit = text.encode_utf16().next().unwrap_or(0);
                Ok(Value::str(crate::text::char_text(
                    (i32::from(unit).wrapping_sub(*number)) as u16,
                )))
            }
            _ => Err(unsupported("SUBTRACT", left, right)),
        },
    }
}

fn multiply(left: &Value, right: &Value) -> Eval<Value> {
    match pair(left, right) {
        Some(Pair::Doubles(a, b)) => Ok(Value::Double(a * b)),
        Some(Pair::Floats(a, b)) => Ok(Value::Float(a * b)),
        Some(Pair::Bigs(a, b)) => big(a * b),
        Some(Pair::Longs(a, b)) => Ok(Value::Long(a.wrapping_mul(b))),
        Some(Pair::Ints(a, b)) => Ok(Value::Int(a.wrapping_mul(b))),
        None => match (left, right) {
            (Value::Str(text), Value::Int(count)) => {
                let size = (utf16_length(text) as i64).saturating_mul(i64::from(*count));
                if size > MAX_REPEATED {
                    return Err(Fault::new(format!(
                        "EL1076E: Repeated text is too long, exceeding the threshold of '{MAX_REPEATED}' characters"
                    )));
                }
                Ok(Value::str(
                    text.repeat(
                        usize::try_from(*count)
                            .unwrap_or(0)
                            .min(if text.is_empty() { 0 } else { 256 }),
                    ),
                ))
            }
            _ => Err(unsupported("MULTIPLY", left, right)),
        },
    }
}

fn power(left: &Value, right: &Value) -> Eval<Value> {
    if !left.is_number() || !right.is_number() {
        return Err(unsupported("POWER", left, right));
    }
    if let Value::Big(base) = left {
        let exponent = to_i32(right);
        if exponent < 0 {
            return Err(Fault::new("Negative exponent"));
        }
        if base.bits().saturating_mul(exponent as u64) > MAX_BITS {
            return Err(Fault::limit(format!(
                "an integer takes more than {MAX_BITS} bits"
            )));
        }
        return big(base.pow(exponent as u32));
    }
    let result = to_f64(left).powf(to_f64(right));
    if matches!(left, Value::Double(_) | Value::Float(_))
        || matches!(right, Value::Double(_) | Value::Float(_))
    {
        return Ok(Value::Double(java_pow(to_f64(left), to_f64(right))));
    }
    if result > f64::from(i32::MAX)
        || matches!(left, Value::Long(_))
        || matches!(right, Value::Long(_))
    {
        return Ok(Value::Long(result as i64));
    }
    Ok(Value::Int(result as i32))
}

/// `Math.pow`, which differs from C's for a base of one and no exponent.
pub(crate) fn java_pow(base: f64, exponent: f64) -> f64 {
    if exponent == 0.0 {
        return 1.0;
    }
    if exponent.is_nan() || (base.abs() == 1.0 && exponent.is_infinite()) {
        return f64::NAN;
    }
    base.powf(exponent)
}

/// Unary `+`.
pub(crate) fn plus(value: Value) -> Eval<Value> {
    if value.is_number() {
        Ok(value)
    } else {
        Err(unsupported("ADD", &value, &Value::Null))
    }
}

/// Unary `-`: zero minus the number.
pub(crate) fn minus(value: Value) -> Eval<Value> {
    Ok(match &value {
        Value::Byte(number) => Value::Int(-i32::from(*number)),
        Value::Short(number) => Value::Int(-i32::from(*number)),
        Value::Int(number) => Value::Int(number.wrapping_neg()),
        Value::Long(number) => Value::Long(number.wrapping_neg()),
        Value::Float(number) => Value::Float(0.0 - number),
        Value::Double(number) => Value::Double(0.0 - number),
        Value::Big(number) => Value::Big(Arc::new(-(**number).clone())),
        _ => return Err(unsupported("SUBTRACT", &value, &Value::Null)),
    })
}

/// `++` and `--`.
pub(crate) fn step(value: &Value, increment: bool) -> Eval<Value> {
    let by = if increment { 1i8 } else { -1 };
    Ok(match value {
        Value::Byte(number) => Value::Int(i32::from(*number) + i32::from(by)),
        Value::Short(number) => Value::Int(i32::from(*number) + i32::from(by)),
        Value::Int(number) => Value::Int(number.wrapping_add(i32::from(by))),
        Value::Long(number) => Value::Long(number.wrapping_add(i64::from(by))),
        Value::Float(number) => Value::Float(number + f32::from(by)),
        Value::Double(number) => Value::Double(number + f64::from(by)),
        Value::Big(number) => return big((**number).clone() + by),
        other => {
            let code = if increment {
                "EL1066E: The expression component cannot be incremented"
            } else {
                "EL1067E: The expression component cannot be decremented"
            };
            return Err(Fault::new(format!("{code}: '{}'", class_name(other))));
        }
    })
}

/// `==`.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match pair(left, right) {
        Some(Pair::Doubles(a, b)) => return a == b,
        Some(Pair::Floats(a, b)) => return a == b,
        Some(Pair::Bigs(a, b)) => return a == b,
        Some(Pair::Longs(a, b)) => return a == b,
        Some(Pair::Ints(a, b)) => return a == b,
        None => {}
    }
    match (left, right) {
        // Orca compares a status with its name.
        (Value::Status(status), Value::Str(text)) | (Value::Str(text), Value::Status(status)) => {
            status.name() == &**text
        }
        (Value::Array(a), Value::Array(b)) => {
            a.items.len() == b.items.len()
                && a.items
                    .iter()
                    .zip(b.items.iter())
                    .all(|(x, y)| java_equals(x, y, 0))
        }
        _ => java_equals(left, right, 0),
    }
}

fn relation(left: &Value, right: &Value, accept: impl Fn(Ordering) -> bool) -> Eval<Value> {
    match pair(left, right) {
        // Not a number is neither less nor more.
        Some(Pair::Doubles(a, b)) => return Ok(Value::Bool(a.partial_cmp(&b).is_some_and(accept))),
        Some(Pair::Floats(a, b)) => return Ok(Value::Bool(a.partial_cmp(&b).is_some_and(accept))),
        _ => {}
    }
    Ok(Value::Bool(accept(compare(left, right)?)))
}

/// The order of two values; null comes first.
pub(crate) fn compare(left: &Value, right: &Value) -> Eval<Ordering> {
    match pair(left, right) {
        Some(Pair::Doubles(a, b)) => return Ok(java_compare(a, b)),
        Some(Pair::Floats(a, b)) => return Ok(java_compare(f64::from(a), f64::from(b))),
        Some(Pair::Bigs(a, b)) => return Ok(a.cmp(&b)),
        Some(Pair::Longs(a, b)) => return Ok(a.cmp(&b)),
        Some(Pair::Ints(a, b)) => return Ok(a.cmp(&b)),
        None => {}
    }
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Str(a), Value::Str(b)) => a.encode_utf16().cmp(b.encode_utf16()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Char(a), Value::Char(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::LocalDate(a), Value::LocalDate(b)) => a.cmp(b),
        (Value::LocalDateTime(a), Value::LocalDateTime(b)) => a.cmp(b),
        (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
        (Value::DayOfWeek(a), Value::DayOfWeek(b)) => a.cmp(b),
        (Value::ChronoUnit(a), Value::ChronoUnit(b)) => a.cmp(b),
        (Value::Status(a), Value::Status(b)) => a.0.cmp(&b.0),
        (Value::Uuid(a), Value::Uuid(b)) => {
            let parts = |uuid: u128| ((uuid >> 64) as i64, uuid as i64);
            parts(*a).cmp(&parts(*b))
        }
        _ => {
            return Err(Fault::new(format!(
                "EL1013E: Cannot compare instances of class {} and class {}",
                left.class(),
                right.class()
            )));
        }
    })
}

/// `Double.compare`.
pub(crate) fn java_compare(a: f64, b: f64) -> Ordering {
    match a.partial_cmp(&b) {
        Some(Ordering::Equal) if a == 0.0 => b.is_sign_negative().cmp(&a.is_sign_negative()),
        Some(order) => order,
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

fn matches(session: &Session<'_>, left: &Value, right: &Value) -> Eval<Value> {
    let text = match session.convert(left, Class::of(Base::String))? {
        Value::Str(text) => text,
        _ => {
            return Err(Fault::new(
                "EL1008E: Invalid first operand for matches operator 'null'",
            ));
        }
    };
    let Value::Str(pattern) = right else {
        return Err(Fault::new(format!(
            "EL1009E: Invalid second operand for matches operator '{}'",
            class_name(right)
        )));
    };
    if pattern.len() > MAX_PATTERN && utf16_length(pattern) > MAX_PATTERN {
        return Err(Fault::new(format!(
            "EL1077E: Regular expression contains too many characters, exceeding the threshold of '{MAX_PATTERN}'"
        )));
    }
    Ok(Value::Bool(session.regex(pattern)?.matches(&text)?))
}
