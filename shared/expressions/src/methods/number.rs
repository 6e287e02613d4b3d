//! Number classes, `Boolean`, `Character` and `Math`.

use super::*;
use crate::convert::{parse_java_double, parse_java_float, parse_java_integer};
use crate::operators::{java_compare, java_pow, to_f32, to_f64, to_i32, to_i64};
use crate::text::{double_text, float_text};
use num_bigint::BigInt;

fn ordering(order: std::cmp::Ordering) -> Value {
    Value::Int(order as i32)
}

fn not_a_number(text: &str) -> Fault {
    Fault::new(format!("For input string: \"{text}\""))
}

fn nullable_text(args: &[Value]) -> Eval<&str> {
    match arg(args, 0) {
        Value::Str(text) => Ok(text),
        _ => Err(Fault::new("Cannot parse null string")),
    }
}

fn radix(value: i32) -> Eval<u32> {
    u32::try_from(value)
        .ok()
        .filter(|radix| (2..=36).contains(radix))
        .ok_or_else(|| Fault::new(format!("radix {value} out of range")))
}

fn parse_int(text: &str, base: i32) -> Eval<i32> {
    parse_java_integer(text, radix(base)?)
        .and_then(|value| i32::try_from(value).ok())
        .ok_or_else(|| not_a_number(text))
}

fn parse_long(text: &str, base: i32) -> Eval<i64> {
    parse_java_integer(text, radix(base)?).ok_or_else(|| not_a_number(text))
}

fn parse_double(text: &str) -> Eval<f64> {
    if text.trim().is_empty() {
        return Err(Fault::new("empty String"));
    }
    parse_java_double(text).ok_or_else(|| not_a_number(text))
}

/// `Integer.decode` and `Long.decode`.
fn decode(text: &str) -> Eval<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, base) = if let Some(hex) = rest
        .strip_prefix("0x")
        .or_else(|| rest.strip_prefix("0X"))
        .or_else(|| rest.strip_prefix('#'))
    {
        (hex, 16)
    } else if rest.len() > 1 && rest.starts_with('0') {
        (rest.get(1..).unwrap_or_default(), 8)
    } else {
        (rest, 10)
    };
    if digits.starts_with(['-', '+']) {
        return Err(Fault::new("Sign character in wrong position"));
    }
    parse_java_integer(&format!("{sign}{digits}"), base).ok_or_else(|| not_a_number(text))
}

fn in_radix(value: i64, base: i32) -> String {
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base))
        .unwrap_or(10);
    BigInt::from(value).to_str_radix(base)
}

fn int(value: &Value) -> i32 {
    to_i32(value)
}

fn long(value: &Value) -> i64 {
    to_i64(value)
}

const BYTE_VALUE: Method = method("byteValue", &[], |_, t, _| Ok(Value::Byte(to_i32(t) as i8)));
const SHORT_VALUE: Method = method("shortValue", &[], |_, t, _| {
    Ok(Value::Short(to_i32(t) as i16))
});
const INT_VALUE: Method = method("intValue", &[], |_, t, _| Ok(Value::Int(to_i32(t))));
const LONG_VALUE: Method = method("longValue", &[], |_, t, _| Ok(Value::Long(to_i64(t))));
const FLOAT_VALUE: Method = method("floatValue", &[], |_, t, _| Ok(Value::Float(to_f32(t))));
const DOUBLE_VALUE: Method = method("doubleValue", &[], |_, t, _| Ok(Value::Double(to_f64(t))));

pub(super) static INTEGER: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
    method(
        "compareTo",
        &[Class::of(Base::Integer)],
        |_, t, a| match arg(a, 0) {
            Value::Int(other) => Ok(ordering(int(t).cmp(other))),
            _ => Err(null_fault("an Integer")),
        },
    ),
    fixed("bitCount", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).count_ones() as i32))
    }),
    fixed("compare", &[INT, INT], |_, _, a| {
        Ok(ordering(int_arg(a, 0).cmp(&int_arg(a, 1))))
    }),
    fixed("compareUnsigned", &[INT, INT], |_, _, a| {
        Ok(ordering(
            (int_arg(a, 0) as u32).cmp(&(int_arg(a, 1) as u32)),
        ))
    }),
    fixed("decode", &[STRING], |_, _, a| {
        let text = text_arg(a, 0)?;
        i32::try_from(decode(text)?)
            .map(Value::Int)
            .map_err(|_| not_a_number(text))
    }),
    fixed("divideUnsigned", &[INT, INT], |_, _, a| {
        (int_arg(a, 0) as u32)
            .checked_div(int_arg(a, 1) as u32)
            .map(|v| Value::Int(v as i32))
            .ok_or_else(|| Fault::new("/ by zero"))
    }),
    fixed("remainderUnsigned", &[INT, INT], |_, _, a| {
        (int_arg(a, 0) as u32)
            .checked_rem(int_arg(a, 1) as u32)
            .map(|v| Value::Int(v as i32))
            .ok_or_else(|| Fault::new("/ by zero"))
    }),
    fixed("hashCode", &[INT], |_, _, a| Ok(Value::Int(int_arg(a, 0)))),
    fixed("highestOneBit", &[INT], |_, _, a| {
        let value = int_arg(a, 0) as u32;
        Ok(Value::Int(
            value.checked_ilog2().map_or(0, |bit| (1u32 << bit) as i32),
        ))
    }),
    fixed("lowestOneBit", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0) & int_arg(a, 0).wrapping_neg()))
    }),
    fixed("max", &[INT, INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).max(int_arg(a, 1))))
    }),
    fixed("min", &[INT, INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).min(int_arg(a, 1))))
    }),
    fixed("numberOfLeadingZeros", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).leading_zeros() as i32))
    }),
    fixed("numberOfTrailingZeros", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).trailing_zeros() as i32))
    }),
    fixed("parseInt", &[STRING], |_, _, a| {
        parse_int(nullable_text(a)?, 10).map(Value::Int)
    }),
    fixed("parseInt", &[STRING, INT], |_, _, a| {
        parse_int(nullable_text(a)?, int_arg(a, 1)).map(Value::Int)
    }),
    fixed("parseUnsignedInt", &[STRING], |_, _, a| {
        let text = nullable_text(a)?;
        u32::try_from(parse_long(text, 10)?)
            .map(|value| Value::Int(value as i32))
            .map_err(|_| not_a_number(text))
    }),
    fixed("reverse", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).reverse_bits()))
    }),
    fixed("reverseBytes", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).swap_bytes()))
    }),
    fixed("rotateLeft", &[INT, INT], |_, _, a| {
        Ok(Value::Int(
            int_arg(a, 0).rotate_left((int_arg(a, 1) & 31) as u32),
        ))
    }),
    fixed("rotateRight", &[INT, INT], |_, _, a| {
        Ok(Value::Int(
            int_arg(a, 0).rotate_right((int_arg(a, 1) & 31) as u32),
        ))
    }),
    fixed("signum", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).signum()))
    }),
    fixed("sum", &[INT, INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).wrapping_add(int_arg(a, 1))))
    }),
    fixed("toBinaryString", &[INT], |_, _, a| {
        Ok(Value::str(format!("{:b}", int_arg(a, 0))))
    }),
    fixed("toHexString", &[INT], |_, _, a| {
        Ok(Value::str(format!("{:x}", int_arg(a, 0))))
    }),
    fixed("toOctalString", &[INT], |_, _, a| {
        Ok(Value::str(format!("{:o}", int_arg(a, 0))))
    }),
    fixed("toUnsignedLong", &[INT], |_, _, a| {
        Ok(Value::Long(i64::from(int_arg(a, 0) as u32)))
    }),
    fixed("toUnsignedString", &[INT], |_, _, a| {
        Ok(Value::str((int_arg(a, 0) as u32).to_string()))
    }),
    fixed("toString", &[INT], |_, _, a| {
        Ok(Value::str(int_arg(a, 0).to_string()))
    }),
    fixed("toString", &[INT, INT], |_, _, a| {
        Ok(Value::str(in_radix(
            i64::from(int_arg(a, 0)),
            int_arg(a, 1),
        )))
    }),
    fixed("valueOf", &[STRING, INT], |_, _, a| {
        parse_int(nullable_text(a)?, int_arg(a, 1)).map(Value::Int)
    }),
    fixed("valueOf", &[STRING], |_, _, a| {
        parse_int(nullable_text(a)?, 10).map(Value::Int)
    }),
    fixed("valueOf", &[INT], |_, _, a| Ok(Value::Int(int_arg(a, 0)))),
];

pub(super) static LONG_METHODS: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
    method("compareTo", &[Class::of(Base::Long)], |_, t, a| {
        match arg(a, 0) {
            Value::Long(other) => Ok(ordering(long(t).cmp(other))),
            _ => Err(null_fault("a Long")),
        }
    }),
    fixed("bitCount", &[LONG], |_, _, a| {
        Ok(Value::Int(long_arg(a, 0).count_ones() as i32))
    }),
    fixed("compare", &[LONG, LONG], |_, _, a| {
        Ok(ordering(long_arg(a, 0).cmp(&long_arg(a, 1))))
    }),
    fixed("compareUnsigned", &[LONG, LONG], |_, _, a| {
        Ok(ordering(
            (long_arg(a, 0) as u64).cmp(&(long_arg(a, 1) as u64)),
        ))
    }),
    fixed("decode", &[STRING], |_, _, a| {
        decode(text_arg(a, 0)?).map(Value::Long)
    }),
    fixed("divideUnsigned", &[LONG, LONG], |_, _, a| {
        (long_arg(a, 0) as u64)
            .checked_div(long_arg(a, 1) as u64)
            .map(|v| Value::Long(v as i64))
            .ok_or_else(|| Fault::new("/ by zero"))
    }),
    fixed("remainderUnsigned", &[LONG, LONG], |_, _, a| {
        (long_arg(a, 0) as u64)
            .checked_rem(long_arg(a, 1) as u64)
            .map(|v| Value::Long(v as i64))
            .ok_or_else(|| Fault::new("/ by zero"))
    }),
    fixed("hashCode", &[LONG], |_, _, a| {
        Ok(Value::Int(crate::value::java_hash(
            &Value::Long(long_arg(a, 0)),
            0,
        )))
    }),
    fixed("highestOneBit", &[LONG], |_, _, a| {
        let value = long_arg(a, 0) as u64;
        Ok(Value::Long(
            value.checked_ilog2().map_or(0, |bit| (1u64 << bit) as i64),
        ))
    }),
    fixed("lowestOneBit", &[LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0) & long_arg(a, 0).wrapping_neg()))
    }),
    fixed("max", &[LONG, LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).max(long_arg(a, 1))))
    }),
    fixed("min", &[LONG, LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).min(long_arg(a, 1))))
    }),
    fixed("numberOfLeadingZeros", &[LONG], |_, _, a| {
        Ok(Value::Int(long_arg(a, 0).leading_zeros() as i32))
    }),
    fixed("numberOfTrailingZeros", &[LONG], |_, _, a| {
        Ok(Value::Int(long_arg(a, 0).trailing_zeros() as i32))
    }),
    fixed("parseLong", &[STRING], |_, _, a| {
        parse_long(nullable_text(a)?, 10).map(Value::Long)
    }),
    fixed("parseLong", &[STRING, INT], |_, _, a| {
        parse_long(nullable_text(a)?, int_arg(a, 1)).map(Value::Long)
    }),
    fixed("reverse", &[LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).reverse_bits()))
    }),
    fixed("reverseBytes", &[LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).swap_bytes()))
    }),
    fixed("rotateLeft", &[LONG, INT], |_, _, a| {
        Ok(Value::Long(
            long_arg(a, 0).rotate_left((int_arg(a, 1) & 63) as u32),
        ))
    }),
    fixed("rotateRight", &[LONG, INT], |_, _, a| {
        Ok(Value::Long(
            long_arg(a, 0).rotate_right((int_arg(a, 1) & 63) as u32),
        ))
    }),
    fixed("signum", &[LONG], |_, _, a| {
        Ok(Value::Int(long_arg(a, 0).signum() as i32))
    }),
    fixed("sum", &[LONG, LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).wrapping_add(long_arg(a, 1))))
    }),
    fixed("toBinaryString", &[LONG], |_, _, a| {
        Ok(Value::str(format!("{:b}", long_arg(a, 0))))
    }),
    fixed("toHexString", &[LONG], |_, _, a| {
        Ok(Value::str(format!("{:x}", long_arg(a, 0))))
    }),
    fixed("toOctalString", &[LONG], |_, _, a| {
        Ok(Value::str(format!("{:o}", long_arg(a, 0))))
    }),
    fixed("toUnsignedString", &[LONG], |_, _, a| {
        Ok(Value::str((long_arg(a, 0) as u64).to_string()))
    }),
    fixed("toString", &[LONG], |_, _, a| {
        Ok(Value::str(long_arg(a, 0).to_string()))
    }),
    fixed("toString", &[LONG, INT], |_, _, a| {
        Ok(Value::str(in_radix(long_arg(a, 0), int_arg(a, 1))))
    }),
    fixed("valueOf", &[STRING, INT], |_, _, a| {
        parse_long(nullable_text(a)?, int_arg(a, 1)).map(Value::Long)
    }),
    fixed("valueOf", &[STRING], |_, _, a| {
        parse_long(nullable_text(a)?, 10).map(Value::Long)
    }),
    fixed("valueOf", &[LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0)))
    }),
];

pub(super) static DOUBLE_METHODS: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
    method("isNaN", &[], |_, t, _| Ok(Value::Bool(to_f64(t).is_nan()))),
    method("isInfinite", &[], |_, t, _| {
        Ok(Value::Bool(to_f64(t).is_infinite()))
    }),
    method(
        "compareTo",
        &[Class::of(Base::Double)],
        |_, t, a| match arg(a, 0) {
            Value::Double(other) => Ok(ordering(java_compare(to_f64(t), *other))),
            _ => Err(null_fault("a Double")),
        },
    ),
    fixed("compare", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(ordering(java_compare(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("doubleToLongBits", &[DOUBLE], |_, _, a| {
        Ok(Value::Long(double_arg(a, 0).to_bits() as i64))
    }),
    fixed("doubleToRawLongBits", &[DOUBLE], |_, _, a| {
        Ok(Value::Long(double_arg(a, 0).to_bits() as i64))
    }),
    fixed("longBitsToDouble", &[LONG], |_, _, a| {
        Ok(Value::Double(f64::from_bits(long_arg(a, 0) as u64)))
    }),
    fixed("toHexString", &[DOUBLE], |_, _, a| {
        let value = double_arg(a, 0);
        if !value.is_finite() {
            return Ok(Value::str(double_text(value)));
        }
        let sign = if value.is_sign_negative() { "-" } else { "" };
        Ok(Value::str(format!(
            "{sign}{}",
            crate::format::hexadecimal(value.abs())
        )))
    }),
    fixed("hashCode", &[DOUBLE], |_, _, a| {
        Ok(Value::Int(crate::value::java_hash(
            &Value::Double(double_arg(a, 0)),
            0,
        )))
    }),
    fixed("isFinite", &[DOUBLE], |_, _, a| {
        Ok(Value::Bool(double_arg(a, 0).is_finite()))
    }),
    fixed("isInfinite", &[DOUBLE], |_, _, a| {
        Ok(Value::Bool(double_arg(a, 0).is_infinite()))
    }),
    fixed("isNaN", &[DOUBLE], |_, _, a| {
        Ok(Value::Bool(double_arg(a, 0).is_nan()))
    }),
    fixed("max", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(java_max(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("min", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(java_min(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("sum", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(double_arg(a, 0) + double_arg(a, 1)))
    }),
    fixed("parseDouble", &[STRING], |_, _, a| {
        parse_double(text_arg(a, 0)?).map(Value::Double)
    }),
    fixed("toString", &[DOUBLE], |_, _, a| {
        Ok(Value::str(double_text(double_arg(a, 0))))
    }),
    fixed("valueOf", &[STRING], |_, _, a| {
        parse_double(text_arg(a, 0)?).map(Value::Double)
    }),
    fixed("valueOf", &[DOUBLE], |_, _, a| {
        Ok(Value::Double(double_arg(a, 0)))
    }),
];

pub(super) static FLOAT_METHODS: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    // `Float` itself is no type that a method may answer; the primitive is.
    FLOAT_VALUE,
    DOUBLE_VALUE,
    method("isNaN", &[], |_, t, _| Ok(Value::Bool(to_f64(t).is_nan()))),
    method("isInfinite", &[], |_, t, _| {
        Ok(Value::Bool(to_f64(t).is_infinite()))
    }),
    method(
        "compareTo",
        &[Class::of(Base::Float)],
        |_, t, a| match arg(a, 0) {
            Value::Float(other) => Ok(ordering(java_compare(to_f64(t), f64::from(*other)))),
            _ => Err(null_fault("a Float")),
        },
    ),
    fixed("compare", &[FLOAT, FLOAT], |_, _, a| {
        Ok(ordering(java_compare(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("max", &[FLOAT, FLOAT], |_, _, a| {
        Ok(Value::Float(float_arg(a, 0).max(float_arg(a, 1))))
    }),
    fixed("min", &[FLOAT, FLOAT], |_, _, a| {
        Ok(Value::Float(float_arg(a, 0).min(float_arg(a, 1))))
    }),
    fixed("sum", &[FLOAT, FLOAT], |_, _, a| {
        Ok(Value::Float(float_arg(a, 0) + float_arg(a, 1)))
    }),
    fixed("parseFloat", &[STRING], |_, _, a| {
        let text = text_arg(a, 0)?;
        parse_java_float(text)
            .map(Value::Float)
            .ok_or_else(|| not_a_number(text))
    }),
    fixed("toString", &[FLOAT], |_, _, a| {
        Ok(Value::str(float_text(float_arg(a, 0))))
    }),
];

pub(super) static BYTE_METHODS: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
    method("compareTo", &[Class::of(Base::Byte)], |_, t, a| {
        Ok(Value::Int(to_i32(t) - to_i32(arg(a, 0))))
    }),
    fixed("compare", &[BYTE, BYTE], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0) - int_arg(a, 1)))
    }),
    fixed("parseByte", &[STRING], |_, _, a| byte(nullable_text(a)?)),
    fixed("valueOf", &[STRING], |_, _, a| byte(nullable_text(a)?)),
    fixed("valueOf", &[BYTE], |_, _, a| {
        Ok(Value::Byte(int_arg(a, 0) as i8))
    }),
    fixed("toString", &[BYTE], |_, _, a| {
        Ok(Value::str(int_arg(a, 0).to_string()))
    }),
    fixed("toUnsignedInt", &[BYTE], |_, _, a| {
        Ok(Value::Int(i32::from(int_arg(a, 0) as u8)))
    }),
    fixed("toUnsignedLong", &[BYTE], |_, _, a| {
        Ok(Value::Long(i64::from(int_arg(a, 0) as u8)))
    }),
    fixed("hashCode", &[BYTE], |_, _, a| Ok(Value::Int(int_arg(a, 0)))),
];

fn byte(text: &str) -> Eval<Value> {
    let value = parse_int(text, 10)?;
    i8::try_from(value)
        .map(Value::Byte)
        .map_err(|_| Fault::new(format!("Value out of range. Value:\"{text}\" Radix:10")))
}

pub(super) static SHORT_METHODS: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
];

fn big(value: &Value) -> BigInt {
    crate::operators::to_big(value)
}

pub(super) static BIG_METHODS: &[Method] = &[
    BYTE_VALUE,
    SHORT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
    method("bitLength", &[], |_, t, _| {
        // Two's complement without sign: one less for negative powers of two.
        let value = big(t);
        let bits = if value.sign() == num_bigint::Sign::Minus {
            (-value - 1u8).bits()
        } else {
            value.bits()
        };
        Ok(Value::Int(bits as i32))
    }),
    method("signum", &[], |_, t, _| {
        Ok(Value::Int(match big(t).sign() {
            num_bigint::Sign::Minus => -1,
            num_bigint::Sign::NoSign => 0,
            num_bigint::Sign::Plus => 1,
        }))
    }),
    method("compareTo", &[Class::of(Base::BigInteger)], |_, t, a| {
        Ok(ordering(big(t).cmp(&big(arg(a, 0)))))
    }),
    method("intValueExact", &[], |_, t, _| {
        i32::try_from(big(t))
            .map(Value::Int)
            .map_err(|_| Fault::new("BigInteger out of int range"))
    }),
    method("longValueExact", &[], |_, t, _| {
        i64::try_from(big(t))
            .map(Value::Long)
            .map_err(|_| Fault::new("BigInteger out of long range"))
    }),
    method("toString", &[INT], |_, t, a| {
        let base = u32::try_from(int_arg(a, 0))
            .ok()
            .filter(|base| (2..=36).contains(base))
            .unwrap_or(10);
        Ok(Value::str(big(t).to_str_radix(base)))
    }),
];

fn truth(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

fn parse_boolean(value: &Value) -> Value {
    Value::Bool(matches!(value, Value::Str(text) if text.eq_ignore_ascii_case("true")))
}

pub(super) static BOOLEAN_METHODS: &[Method] = &[
    method("booleanValue", &[], |_, t, _| Ok(t.clone())),
    method("compareTo", &[Class::of(Base::Boolean)], |_, t, a| {
        Ok(ordering(truth(t).cmp(&truth(arg(a, 0)))))
    }),
    fixed("compare", &[BOOLEAN, BOOLEAN], |_, _, a| {
        Ok(ordering(truth(arg(a, 0)).cmp(&truth(arg(a, 1)))))
    }),
    fixed("hashCode", &[BOOLEAN], |_, _, a| {
        Ok(Value::Int(if truth(arg(a, 0)) { 1231 } else { 1237 }))
    }),
    fixed("logicalAnd", &[BOOLEAN, BOOLEAN], |_, _, a| {
        Ok(Value::Bool(truth(arg(a, 0)) && truth(arg(a, 1))))
    }),
    fixed("logicalOr", &[BOOLEAN, BOOLEAN], |_, _, a| {
        Ok(Value::Bool(truth(arg(a, 0)) || truth(arg(a, 1))))
    }),
    fixed("logicalXor", &[BOOLEAN, BOOLEAN], |_, _, a| {
        Ok(Value::Bool(truth(arg(a, 0)) ^ truth(arg(a, 1))))
    }),
    fixed("parseBoolean", &[STRING], |_, _, a| {
        Ok(parse_boolean(arg(a, 0)))
    }),
    fixed("toString", &[BOOLEAN], |_, _, a| {
        Ok(Value::str(if truth(arg(a, 0)) { "true" } else { "false" }))
    }),
    fixed("valueOf", &[STRING], |_, _, a| Ok(parse_boolean(arg(a, 0)))),
    fixed("valueOf", &[BOOLEAN], |_, _, a| {
        Ok(Value::Bool(truth(arg(a, 0))))
    }),
];

pub(super) static CHARACTER_METHODS: &[Method] = &[
    method("charValue", &[], |_, t, _| Ok(t.clone())),
    method(
        "compareTo",
        &[Class::of(Base::Character)],
        |_, t, a| match (t, arg(a, 0)) {
            (Value::Char(x), Value::Char(y)) => Ok(Value::Int(i32::from(*x) - i32::from(*y))),
            _ => Err(null_fault("a character")),
        },
    ),
];

fn java_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if java_compare(a, b) == std::cmp::Ordering::Less {
        b
    } else {
        a
    }
}

fn java_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if java_compare(a, b) == std::cmp::Ordering::Greater {
        b
    } else {
        a
    }
}

fn exact_int(value: Option<i32>) -> Eval<Value> {
    value
        .map(Value::Int)
        .ok_or_else(|| Fault::new("integer overflow"))
}

fn exact_long(value: Option<i64>) -> Eval<Value> {
    value
        .map(Value::Long)
        .ok_or_else(|| Fault::new("long overflow"))
}

/// Rounds half up, as `Math.round`.
fn round(value: f64) -> f64 {
    let floor = value.floor();
    if value - floor >= 0.5 {
        floor + 1.0
    } else {
        floor
    }
}

macro_rules! of_double {
    ($name:literal, $body:expr) => {
        fixed($name, &[DOUBLE], |_, _, a| {
            let body: fn(f64) -> f64 = $body;
            Ok(Value::Double(body(double_arg(a, 0))))
        })
    };
}

pub(super) static MATH: &[Method] = &[
    fixed("abs", &[INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).wrapping_abs()))
    }),
    fixed("abs", &[LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).wrapping_abs()))
    }),
    fixed("abs", &[FLOAT], |_, _, a| {
        Ok(Value::Float(float_arg(a, 0).abs()))
    }),
    fixed("abs", &[DOUBLE], |_, _, a| {
        Ok(Value::Double(double_arg(a, 0).abs()))
    }),
    of_double!("acos", f64::acos),
    of_double!("asin", f64::asin),
    of_double!("atan", f64::atan),
    of_double!("cbrt", f64::cbrt),
    of_double!("ceil", f64::ceil),
    of_double!("cos", f64::cos),
    of_double!("cosh", f64::cosh),
    of_double!("exp", f64::exp),
    of_double!("expm1", f64::exp_m1),
    of_double!("floor", f64::floor),
    of_double!("log", f64::ln),
    of_double!("log10", f64::log10),
    of_double!("log1p", f64::ln_1p),
    of_double!("rint", f64::round_ties_even),
    of_double!("signum", |x| if x == 0.0 || x.is_nan() {
        x
    } else {
        x.signum()
    }),
    of_double!("sin", f64::sin),
    of_double!("sinh", f64::sinh),
    of_double!("sqrt", f64::sqrt),
    of_double!("tan", f64::tan),
    of_double!("tanh", f64::tanh),
    of_double!("toDegrees", |x| x * (180.0 / std::f64::consts::PI)),
    of_double!("toRadians", |x| x * (std::f64::consts::PI / 180.0)),
    of_double!("ulp", |x| {
        if x.is_nan() || x.is_infinite() {
            return x.abs();
        }
        let x = x.abs();
        if x == f64::MAX {
            x - f64::from_bits(x.to_bits() - 1)
        } else {
            f64::from_bits(x.to_bits() + 1) - x
        }
    }),
    of_double!("nextUp", f64::next_up),
    of_double!("nextDown", f64::next_down),
    fixed("signum", &[FLOAT], |_, _, a| {
        let x = float_arg(a, 0);
        Ok(Value::Float(if x == 0.0 || x.is_nan() {
            x
        } else {
            x.signum()
        }))
    }),
    fixed("atan2", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(double_arg(a, 0).atan2(double_arg(a, 1))))
    }),
    fixed("copySign", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(double_arg(a, 0).copysign(double_arg(a, 1))))
    }),
    fixed("hypot", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(double_arg(a, 0).hypot(double_arg(a, 1))))
    }),
    fixed("pow", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(java_pow(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("fma", &[DOUBLE, DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(
            double_arg(a, 0).mul_add(double_arg(a, 1), double_arg(a, 2)),
        ))
    }),
    fixed("IEEEremainder", &[DOUBLE, DOUBLE], |_, _, a| {
        let (x, y) = (double_arg(a, 0), double_arg(a, 1));
        Ok(Value::Double(x - y * (x / y).round_ties_even()))
    }),
    fixed("getExponent", &[DOUBLE], |_, _, a| {
        Ok(Value::Int(
            (((double_arg(a, 0).to_bits() >> 52) & 0x7ff) as i32) - 1023,
        ))
    }),
    fixed("round", &[FLOAT], |_, _, a| {
        Ok(Value::Int(round(double_arg(a, 0)) as i32))
    }),
    fixed("round", &[DOUBLE], |_, _, a| {
        Ok(Value::Long(round(double_arg(a, 0)) as i64))
    }),
    fixed("max", &[INT, INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).max(int_arg(a, 1))))
    }),
    fixed("max", &[LONG, LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).max(long_arg(a, 1))))
    }),
    fixed("max", &[FLOAT, FLOAT], |_, _, a| {
        Ok(Value::Float(
            java_max(double_arg(a, 0), double_arg(a, 1)) as f32
        ))
    }),
    fixed("max", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(java_max(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("min", &[INT, INT], |_, _, a| {
        Ok(Value::Int(int_arg(a, 0).min(int_arg(a, 1))))
    }),
    fixed("min", &[LONG, LONG], |_, _, a| {
        Ok(Value::Long(long_arg(a, 0).min(long_arg(a, 1))))
    }),
    fixed("min", &[FLOAT, FLOAT], |_, _, a| {
        Ok(Value::Float(
            java_min(double_arg(a, 0), double_arg(a, 1)) as f32
        ))
    }),
    fixed("min", &[DOUBLE, DOUBLE], |_, _, a| {
        Ok(Value::Double(java_min(double_arg(a, 0), double_arg(a, 1))))
    }),
    fixed("random", &[], |s, _, _| {
        Ok(Value::Double(
            (s.random_bits() >> 11) as f64 / (1u64 << 53) as f64,
        ))
    }),
    fixed("addExact", &[INT, INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_add(int_arg(a, 1)))
    }),
    fixed("addExact", &[LONG, LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_add(long_arg(a, 1)))
    }),
    fixed("subtractExact", &[INT, INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_sub(int_arg(a, 1)))
    }),
    fixed("subtractExact", &[LONG, LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_sub(long_arg(a, 1)))
    }),
    fixed("multiplyExact", &[INT, INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_mul(int_arg(a, 1)))
    }),
    fixed("multiplyExact", &[LONG, INT], |_, _, a| {
        exact_long(long_arg(a, 0).checked_mul(long_arg(a, 1)))
    }),
    fixed("multiplyExact", &[LONG, LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_mul(long_arg(a, 1)))
    }),
    fixed("incrementExact", &[INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_add(1))
    }),
    fixed("incrementExact", &[LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_add(1))
    }),
    fixed("decrementExact", &[INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_sub(1))
    }),
    fixed("decrementExact", &[LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_sub(1))
    }),
    fixed("negateExact", &[INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_neg())
    }),
    fixed("negateExact", &[LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_neg())
    }),
    fixed("absExact", &[INT], |_, _, a| {
        exact_int(int_arg(a, 0).checked_abs())
    }),
    fixed("absExact", &[LONG], |_, _, a| {
        exact_long(long_arg(a, 0).checked_abs())
    }),
    fixed("toIntExact", &[LONG], |_, _, a| {
        exact_int(i32::try_from(long_arg(a, 0)).ok())
    }),
    fixed("multiplyFull", &[INT, INT], |_, _, a| {
        Ok(Value::Long(
            i64::from(int_arg(a, 0)) * i64::from(int_arg(a, 1)),
        ))
    }),
    fixed("floorDiv", &[INT, INT], |_, _, a| {
        floor_div(i64::from(int_arg(a, 0)), i64::from(int_arg(a, 1)))
            .map(|value| Value::Int(value as i32))
    }),
    fixed("floorDiv", &[LONG, INT], |_, _, a| {
        floor_div(long_arg(a, 0), long_arg(a, 1)).map(Value::Long)
    }),
    fixed("floorDiv", &[LONG, LONG], |_, _, a| {
        floor_div(long_arg(a, 0), long_arg(a, 1)).map(Value::Long)
    }),
    fixed("floorMod", &[INT, INT], |_, _, a| {
        floor_mod(i64::from(int_arg(a, 0)), i64::from(int_arg(a, 1)))
            .map(|value| Value::Int(value as i32))
    }),
    fixed("floorMod", &[LONG, INT], |_, _, a| {
        floor_mod(long_arg(a, 0), long_arg(a, 1)).map(|value| Value::Int(value as i32))
    }),
    fixed("floorMod", &[LONG, LONG], |_, _, a| {
        floor_mod(long_arg(a, 0), long_arg(a, 1)).map(Value::Long)
    }),
];

fn floor_div(a: i64, b: i64) -> Eval<i64> {
    if b == 0 {
        return Err(Fault::new("/ by zero"));
    }
    let quotient = a.wrapping_div(b);
    Ok(if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) {
        quotient - 1
    } else {
        quotient
    })
}

fn floor_mod(a: i64, b: i64) -> Eval<i64> {
    if b == 0 {
        return Err(Fault::new("/ by zero"));
    }
    let rest = a.wrapping_rem(b);
    Ok(if rest != 0 && (rest < 0) != (b < 0) {
        rest + b
    } else {
        rest
    })
}

pub(super) static NEW_INTEGER: &[Method] = &[
    fixed("", &[INT], |_, _, a| Ok(Value::Int(int_arg(a, 0)))),
    fixed("", &[STRING], |_, _, a| {
        parse_int(nullable_text(a)?, 10).map(Value::Int)
    }),
];
pub(super) static NEW_LONG: &[Method] = &[
    fixed("", &[LONG], |_, _, a| Ok(Value::Long(long_arg(a, 0)))),
    fixed("", &[STRING], |_, _, a| {
        parse_long(nullable_text(a)?, 10).map(Value::Long)
    }),
];
pub(super) static NEW_DOUBLE: &[Method] = &[
    fixed("", &[DOUBLE], |_, _, a| Ok(Value::Double(double_arg(a, 0)))),
    fixed("", &[STRING], |_, _, a| {
        parse_double(text_arg(a, 0)?).map(Value::Double)
    }),
];
pub(super) static NEW_BYTE: &[Method] = &[
    fixed("", &[BYTE], |_, _, a| Ok(Value::Byte(int_arg(a, 0) as i8))),
    fixed("", &[STRING], |_, _, a| byte(nullable_text(a)?)),
];
pub(super) static NEW_BOOLEAN: &[Method] = &[
    fixed("", &[BOOLEAN], |_, _, a| Ok(Value::Bool(truth(arg(a, 0))))),
    fixed("", &[STRING], |_, _, a| Ok(parse_boolean(arg(a, 0)))),
];
