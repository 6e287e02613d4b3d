//! `java.lang.String` and `java.net.URLEncoder`.

use super::*;
use crate::format;
use crate::regex::Found;
use crate::template::java_trim;
use crate::text::{unit_at, utf16_index, utf16_length, utf16_slice};

fn this(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn out_of_bounds(text: &str, detail: String) -> Fault {
    Fault::new(format!(
        "String index out of range: {detail}, length {}",
        utf16_length(text)
    ))
}

fn bool_value(value: bool) -> Eval<Value> {
    Ok(Value::Bool(value))
}

fn index_value(value: Option<usize>) -> Eval<Value> {
    Ok(Value::Int(value.map_or(-1, |index| index as i32)))
}

fn text_value(session: &Session<'_>, text: String) -> Eval<Value> {
    session.charge(text.len())?;
    Ok(Value::Str(text.into()))
}

/// Java's white space (`Character.isWhitespace`).
fn is_java_white(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{1c}'..='\u{1f}')
        || (c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{85}'))
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn find_units(text: &[u16], wanted: &[u16], from: i32) -> Option<usize> {
    let from = usize::try_from(from).unwrap_or(0);
    if wanted.is_empty() {
        return Some(from.min(text.len()));
    }
    (from..text.len()).find(|at| text.get(*at..at + wanted.len()) == Some(wanted))
}

fn find_last_units(text: &[u16], wanted: &[u16], from: i32) -> Option<usize> {
    let last = usize::try_from(from)
        .ok()?
        .min(text.len().checked_sub(wanted.len())?);
    (0..=last)
        .rev()
        .find(|at| text.get(*at..at + wanted.len()) == Some(wanted))
}

fn code_point_units(code: i32) -> Vec<u16> {
    match u32::try_from(code).ok() {
        Some(unit) if unit < 0x1_0000 => vec![unit as u16],
        Some(code) => char::from_u32(code)
            .map(|c| units(&c.to_string()))
            .unwrap_or_default(),
        None => Vec::new(),
    }
}

fn substring(session: &Session<'_>, text: &str, begin: i32, end: Option<i32>) -> Eval<Value> {
    let length = utf16_length(text) as i32;
    let end = end.unwrap_or(length);
    if begin < 0 || end > length || begin > end {
        return Err(out_of_bounds(text, format!("begin {begin}, end {end}")));
    }
    text_value(session, utf16_slice(text, begin as usize, end as usize))
}

/// `replaceAll`'s replacement: `$1`, `${name}`, `\x`.
fn expand(replacement: &str, text: &str, found: &Found, out: &mut String) -> Eval<()> {
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next) => out.push(next),
                None => return Err(Fault::new("character to be escaped is missing")),
            },
            '$' => {
                let group = match chars.peek().copied() {
                    None => {
                        return Err(Fault::new(
                            "Illegal group reference: group index is missing",
                        ));
                    }
                    Some('{') => {
                        chars.next();
                        let mut name = String::new();
                        loop {
                            match chars.next() {
                                Some('}') => break,
                                Some(c) if c.is_ascii_alphanumeric() => name.push(c),
                                _ => {
                                    return Err(Fault::new(
                                        "named capturing group is missing trailing '}'",
                                    ));
                                }
                            }
                        }
                        found
                            .names
                            .iter()
                            .position(|known| known.as_deref() == Some(name.as_str()))
                            .ok_or_else(|| Fault::new(format!("No group with name {{{name}}}")))?
                    }
                    Some(digit) if digit.is_ascii_digit() => {
                        let mut number = 0usize;
                        let mut taken = false;
                        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                            let next = number * 10 + digit as usize;
                            if taken && next >= found.groups.len() {
                                break;
                            }
                            number = next;
                            taken = true;
                            chars.next();
                        }
                        if number >= found.groups.len() {
                            return Err(Fault::new(format!("No group {number}")));
                        }
                        number
                    }
                    Some(_) => return Err(Fault::new("Illegal group reference")),
                };
                if let Some((start, end)) = found.group(group) {
                    out.push_str(text.get(start..end).unwrap_or_default());
                }
            }
            c => out.push(c),
        }
    }
    Ok(())
}

fn replace_regex(
    session: &Session<'_>,
    text: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
) -> Eval<Value> {
    let regex = session.regex(pattern)?;
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = regex.find_from(text, at)? {
        session.step()?;
        let (start, end) = (found.start(), found.end());
        out.push_str(text.get(copied..start).unwrap_or_default());
        expand(replacement, text, &found, &mut out)?;
        if out.len() > session.options.limits.bytes {
            return Err(session.too_large());
        }
        copied = end;
        at = if end == start {
            next_char(text, end)
        } else {
            end
        };
        if !all || at > text.len() {
            break;
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    text_value(session, out)
}

/// The byte after the character at a byte position.
fn next_char(text: &str, at: usize) -> usize {
    at + text
        .get(at..)
        .and_then(|rest| rest.chars().next())
        .map_or(1, char::len_utf8)
}

fn split(session: &Session<'_>, text: &str, pattern: &str, limit: i32) -> Eval<Value> {
    let regex = session.regex(pattern)?;
    let mut parts: Vec<&str> = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    let mut any = false;
    while let Some(found) = regex.find_from(text, at)? {
        session.step()?;
        if limit > 0 && parts.len() as i64 >= i64::from(limit) - 1 {
            break;
        }
        let (start, end) = (found.start(), found.end());
        at = if end == start {
            next_char(text, end)
        } else {
            end
        };
        // An empty match at the very start gives no empty first part.
        if end == 0 {
            if at > text.len() {
                break;
            }
            continue;
        }
        if start == end && start >= text.len() {
            break;
        }
        any = true;
        parts.push(text.get(copied..start).unwrap_or_default());
        copied = end;
        if at > text.len() {
            break;
        }
    }
    if !any {
        return Ok(Value::array(STRING, vec![Value::str(text)]));
    }
    parts.push(text.get(copied..).unwrap_or_default());
    if limit == 0 {
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
    }
    session.charge(text.len() + parts.len() * 32)?;
    Ok(Value::array(
        STRING,
        parts.into_iter().map(Value::str).collect(),
    ))
}

fn bytes_in(text: &str, charset: &str) -> Eval<Vec<u8>> {
    let single = |top: u32| {
        text.chars()
            .map(|c| {
                if u32::from(c) <= top {
                    u32::from(c) as u8
                } else {
                    b'?'
                }
            })
            .collect()
    };
    match charset.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => Ok(text.as_bytes().to_vec()),
        "ISO-8859-1" | "ISO8859_1" | "LATIN1" | "ISO8859-1" => Ok(single(0xff)),
        "US-ASCII" | "ASCII" => Ok(single(0x7f)),
        "UTF-16" => Ok([0xfe, 0xff]
            .into_iter()
            .chain(text.encode_utf16().flat_map(u16::to_be_bytes))
            .collect()),
        "UTF-16BE" => Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        "UTF-16LE" => Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        _ => Err(Fault::new(charset.to_string())),
    }
}

fn byte_array(bytes: Vec<u8>) -> Value {
    Value::array(
        BYTE,
        bytes
            .into_iter()
            .map(|byte| Value::Byte(byte as i8))
            .collect(),
    )
}

pub(super) fn bytes_of(session: &Session<'_>, value: &Value) -> Eval<Vec<u8>> {
    match value {
        Value::Array(array) => Ok(session
            .array_items(array)
            .iter()
            .map(|item| {
                if let Value::Byte(byte) = item {
                    *byte as u8
                } else {
                    0
                }
            })
            .collect()),
        _ => Err(null_fault("a byte array")),
    }
}

fn chars_of(session: &Session<'_>, value: &Value) -> Eval<Vec<u16>> {
    match value {
        Value::Array(array) => Ok(session
            .array_items(array)
            .iter()
            .map(|item| {
                if let Value::Char(unit) = item {
                    *unit
                } else {
                    0
                }
            })
            .collect()),
        _ => Err(Fault::new(
            "Cannot read the array length because \"value\" is null",
        )),
    }
}

fn char_sequence(session: &Session<'_>, value: &Value) -> Eval<String> {
    match value {
        Value::Null => Ok("null".to_string()),
        Value::Str(text) => Ok(text.to_string()),
        other => Err(Fault::new(format!(
            "class {} cannot be cast to class java.lang.CharSequence",
            other.class()
        ))
        .with_hint(session.text_of(other).ok())),
    }
}

fn join(session: &Session<'_>, delimiter: &Value, items: &[Value]) -> Eval<Value> {
    let delimiter = match delimiter {
        Value::Str(text) => text.clone(),
        _ => return Err(null_fault("the delimiter")),
    };
    let mut out = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&delimiter);
        }
        out.push_str(&char_sequence(session, item)?);
        if out.len() > session.options.limits.bytes {
            return Err(session.too_large());
        }
    }
    text_value(session, out)
}

fn items_of(session: &Session<'_>, value: &Value) -> Eval<Vec<Value>> {
    match value {
        Value::List(list) => Ok(session.items(list).0.clone()),
        Value::Array(array) => Ok(session.array_items(array).0.clone()),
        _ => Err(null_fault("a collection")),
    }
}

fn repeat(session: &Session<'_>, text: &str, count: i32) -> Eval<Value> {
    let Ok(times) = usize::try_from(count) else {
        return Err(Fault::new(format!("count is negative: {count}")));
    };
    let size = text.len().saturating_mul(times);
    session.charge(size)?;
    Ok(Value::Str(text.repeat(times).into()))
}

/// Java folds case character by character here.
fn fold(text: &str) -> String {
    text.chars()
        .flat_map(|c| c.to_uppercase().collect::<Vec<_>>())
        .flat_map(char::to_lowercase)
        .collect()
}

fn compare_units(left: &str, right: &str) -> i32 {
    let mut a = left.encode_utf16();
    let mut b = right.encode_utf16();
    loop {
        match (a.next(), b.next()) {
            (Some(x), Some(y)) if x == y => {}
            (Some(x), Some(y)) => return i32::from(x) - i32::from(y),
            _ => return utf16_length(left) as i32 - utf16_length(right) as i32,
        }
    }
}

fn indent(text: &str, count: i32) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for line in lines(text) {
        if count > 0 {
            out.push_str(&" ".repeat(count as usize));
            out.push_str(line);
        } else {
            let mut rest = line;
            for _ in 0..count.unsigned_abs() {
                match rest.chars().next().filter(|c| is_java_white(*c)) {
                    Some(c) => rest = rest.get(c.len_utf8()..).unwrap_or_default(),
                    None => break,
                }
            }
            out.push_str(rest);
        }
        out.push('\n');
    }
    out
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes.get(at).copied().unwrap_or(0);
        if byte == b'\n' || byte == b'\r' {
            lines.push(text.get(start..at).unwrap_or_default());
            if byte == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
                at += 1;
            }
            start = at + 1;
        }
        at += 1;
    }
    if start < bytes.len() {
        lines.push(text.get(start..).unwrap_or_default());
    }
    lines
}

fn strip_indent(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let all: Vec<&str> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    let last = all.len() - 1;
    let margin = all
        .iter()
        .enumerate()
        .filter(|(index, line)| *index == last || !line.chars().all(is_java_white))
        .map(|(_, line)| line.chars().take_while(|c| is_java_white(*c)).count())
        .min()
        .unwrap_or(0);
    let stripped: Vec<String> = all
        .iter()
        .map(|line| {
            if line.chars().all(is_java_white) {
                String::new()
            } else {
                line.chars()
                    .skip(margin)
                    .collect::<String>()
                    .trim_end_matches(is_java_white)
                    .to_string()
            }
        })
        .collect();
    stripped.join("\n")
}

fn translate_escapes(text: &str) -> Eval<String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('s') => out.push(' '),
            Some('t') => out.push('\t'),
            Some(c @ ('\'' | '"' | '\\')) => out.push(c),
            Some(digit @ '0'..='7') => {
                let mut code = digit.to_digit(8).unwrap_or(0);
                let limit = if digit <= '3' { 2 } else { 1 };
                for _ in 0..limit {
                    match chars.peek().and_then(|c| c.to_digit(8)) {
                        Some(next) => {
                            code = code * 8 + next;
                            chars.next();
                        }
                        None => break,
                    }
                }
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            Some('\n') => {}
            Some(other) => return Err(Fault::new(format!("Invalid escape sequence: \\{other}"))),
            None => return Err(Fault::new("Invalid escape sequence")),
        }
    }
    Ok(out)
}

fn region_matches(
    this: &str,
    ignore_case: bool,
    from: i32,
    other: &str,
    other_from: i32,
    length: i32,
) -> bool {
    let (a, b) = (units(this), units(other));
    if from < 0 || other_from < 0 {
        return false;
    }
    if length <= 0 {
        return i64::from(from) <= a.len() as i64 - i64::from(length)
            && i64::from(other_from) <= b.len() as i64 - i64::from(length);
    }
    let (from, other_from, length) = (from as usize, other_from as usize, length as usize);
    match (
        a.get(from..from.saturating_add(length)),
        b.get(other_from..other_from.saturating_add(length)),
    ) {
        (Some(x), Some(y)) if ignore_case => {
            fold(&String::from_utf16_lossy(x)) == fold(&String::from_utf16_lossy(y))
        }
        (Some(x), Some(y)) => x == y,
        _ => false,
    }
}

pub(super) static METHODS: &[Method] = &[
    method("length", &[], |_, t, _| {
        Ok(Value::Int(utf16_length(this(t)) as i32))
    }),
    method("isEmpty", &[], |_, t, _| bool_value(this(t).is_empty())),
    method("isBlank", &[], |_, t, _| {
        bool_value(this(t).chars().all(is_java_white))
    }),
    method("charAt", &[INT], |_, t, a| {
        let index = int_arg(a, 0);
        match usize::try_from(index)
            .ok()
            .and_then(|index| unit_at(this(t), index))
        {
            Some(unit) => Ok(Value::Char(unit)),
            None => Err(out_of_bounds(this(t), index.to_string())),
        }
    }),
    method("codePointAt", &[INT], |_, t, a| {
        let all = units(this(t));
        let index = usize::try_from(int_arg(a, 0))
            .ok()
            .filter(|index| *index < all.len());
        let Some(index) = index else {
            return Err(out_of_bounds(this(t), int_arg(a, 0).to_string()));
        };
        let first = char::decode_utf16(all.get(index..).unwrap_or_default().iter().copied()).next();
        Ok(Value::Int(match first {
            Some(Ok(c)) => u32::from(c) as i32,
            Some(Err(error)) => i32::from(error.unpaired_surrogate()),
            None => 0,
        }))
    }),
    method("codePointBefore", &[INT], |_, t, a| {
        let index = int_arg(a, 0);
        let head: String = match usize::try_from(i64::from(index) - 1) {
            Ok(last) if last < utf16_length(this(t)) => utf16_slice(this(t), 0, last + 1),
            _ => return Err(out_of_bounds(this(t), index.to_string())),
        };
        Ok(Value::Int(
            head.chars().next_back().map_or(0, |c| u32::from(c) as i32),
        ))
    }),
    method("codePointCount", &[INT, INT], |_, t, a| {
        let length = utf16_length(this(t)) as i32;
        let (begin, end) = (int_arg(a, 0), int_arg(a, 1));
        if begin < 0 || begin > end || end > length {
            return Err(out_of_bounds(this(t), format!("begin {begin}, end {end}")));
        }
        let part: Vec<u16> = units(this(t))
            .into_iter()
            .skip(begin as usize)
            .take((end - begin) as usize)
            .collect();
        Ok(Value::Int(char::decode_utf16(part).count() as i32))
    }),
    method("compareTo", &[STRING], |_, t, a| {
        Ok(Value::Int(compare_units(this(t), text_arg(a, 0)?)))
    }),
    method("compareToIgnoreCase", &[STRING], |_, t, a| {
        Ok(Value::Int(compare_units(
            &fold(this(t)),
            &fold(text_arg(a, 0)?),
        )))
    }),
    method("concat", &[STRING], |s, t, a| {
        text_value(s, format!("{}{}", this(t), text_arg(a, 0)?))
    }),
    method("contains", &[CHARS], |_, t, a| {
        bool_value(this(t).contains(text_arg(a, 0)?))
    }),
    method("contentEquals", &[CHARS], |_, t, a| {
        bool_value(this(t) == text_arg(a, 0)?)
    }),
    fixed("copyValueOf", &[CHAR_ARRAY], |s, _, a| {
        text_value(s, String::from_utf16_lossy(&chars_of(s, arg(a, 0))?))
    }),
    method("endsWith", &[STRING], |_, t, a| {
        bool_value(this(t).ends_with(text_arg(a, 0)?))
    }),
    method("equalsIgnoreCase", &[STRING], |_, t, a| {
        bool_value(match arg(a, 0) {
            Value::Str(other) => fold(this(t)) == fold(other),
            _ => false,
        })
    }),
    varargs("format", &[STRING, OBJECTS], true, |s, _, a| {
        text_value(s, format::format(s, text_arg(a, 0)?, arg(a, 1))?)
    }),
    varargs("formatted", &[OBJECTS], false, |s, t, a| {
        text_value(s, format::format(s, this(t), arg(a, 0))?)
    }),
    method("getBytes", &[], |_, t, _| {
        Ok(byte_array(this(t).as_bytes().to_vec()))
    }),
    method("getBytes", &[STRING], |_, t, a| {
        bytes_in(this(t), text_arg(a, 0)?).map(byte_array)
    }),
    method("indent", &[INT], |s, t, a| {
        let added = usize::try_from(int_arg(a, 0)).unwrap_or(0);
        s.charge(lines(this(t)).len().saturating_mul(added))?;
        text_value(s, indent(this(t), int_arg(a, 0)))
    }),
    method("indexOf", &[STRING], |_, t, a| {
        index_value(
            this(t)
                .find(text_arg(a, 0)?)
                .map(|byte| utf16_index(this(t), byte)),
        )
    }),
    method("indexOf", &[INT], |_, t, a| {
        index_value(find_units(
            &units(this(t)),
            &code_point_units(int_arg(a, 0)),
            0,
        ))
    }),
    method("indexOf", &[STRING, INT], |_, t, a| {
        index_value(find_units(
            &units(this(t)),
            &units(text_arg(a, 0)?),
            int_arg(a, 1),
        ))
    }),
    method("indexOf", &[INT, INT], |_, t, a| {
        let all = units(this(t));
        if int_arg(a, 1) >= all.len() as i32 {
            return index_value(None);
        }
        index_value(find_units(
            &all,
            &code_point_units(int_arg(a, 0)),
            int_arg(a, 1),
        ))
    }),
    method("intern", &[], |_, t, _| Ok(t.clone())),
    varargs("join", &[CHARS, CHARS_ARRAY], true, |s, _, a| {
        join(s, arg(a, 0), &items_of(s, arg(a, 1))?)
    }),
    fixed("join", &[CHARS, ITERABLE], |s, _, a| {
        join(s, arg(a, 0), &items_of(s, arg(a, 1))?)
    }),
    method("lastIndexOf", &[STRING], |_, t, a| {
        index_value(find_last_units(
            &units(this(t)),
            &units(text_arg(a, 0)?),
            i32::MAX,
        ))
    }),
    method("lastIndexOf", &[INT], |_, t, a| {
        index_value(find_last_units(
            &units(this(t)),
            &code_point_units(int_arg(a, 0)),
            i32::MAX,
        ))
    }),
    method("lastIndexOf", &[STRING, INT], |_, t, a| {
        index_value(find_last_units(
            &units(this(t)),
            &units(text_arg(a, 0)?),
            int_arg(a, 1),
        ))
    }),
    method("lastIndexOf", &[INT, INT], |_, t, a| {
        index_value(find_last_units(
            &units(this(t)),
            &code_point_units(int_arg(a, 0)),
            int_arg(a, 1),
        ))
    }),
    method("matches", &[STRING], |s, t, a| {
        bool_value(s.regex(text_arg(a, 0)?)?.matches(this(t))?)
    }),
    method("offsetByCodePoints", &[INT, INT], |_, t, a| {
        let (index, offset) = (int_arg(a, 0), int_arg(a, 1));
        let length = utf16_length(this(t)) as i32;
        if index < 0 || index > length {
            return Err(out_of_bounds(this(t), index.to_string()));
        }
        let head =
            utf16_slice(this(t), 0, index as usize).chars().count() as i64 + i64::from(offset);
        let count = this(t).chars().count() as i64;
        if head < 0 || head > count {
            return Err(Fault::new("null"));
        }
        Ok(Value::Int(
            this(t)
                .chars()
                .take(head as usize)
                .map(char::len_utf16)
                .sum::<usize>() as i32,
        ))
    }),
    method("regionMatches", &[INT, STRING, INT, INT], |_, t, a| {
        bool_value(region_matches(
            this(t),
            false,
            int_arg(a, 0),
            text_arg(a, 1)?,
            int_arg(a, 2),
            int_arg(a, 3),
        ))
    }),
    method(
        "regionMatches",
        &[BOOLEAN, INT, STRING, INT, INT],
        |_, t, a| {
            let ignore = matches!(arg(a, 0), Value::Bool(true));
            bool_value(region_matches(
                this(t),
                ignore,
                int_arg(a, 1),
                text_arg(a, 2)?,
                int_arg(a, 3),
                int_arg(a, 4),
            ))
        },
    ),
    method("repeat", &[INT], |s, t, a| {
        repeat(s, this(t), int_arg(a, 0))
    }),
    method("replace", &[CHAR, CHAR], |s, t, a| {
        match (arg(a, 0), arg(a, 1)) {
            (Value::Char(old), Value::Char(new)) => {
                let replaced: Vec<u16> = this(t)
                    .encode_utf16()
                    .map(|unit| if unit == *old { *new } else { unit })
                    .collect();
                text_value(s, String::from_utf16_lossy(&replaced))
            }
            _ => Err(null_fault("a character")),
        }
    }),
    method("replace", &[CHARS, CHARS], |s, t, a| {
        let (old, new) = (text_arg(a, 0)?, text_arg(a, 1)?);
        let count = if old.is_empty() {
            this(t).chars().count() + 1
        } else {
            this(t).matches(old).count()
        };
        s.charge(
            this(t)
                .len()
                .saturating_add(count.saturating_mul(new.len())),
        )?;
        Ok(Value::str(this(t).replace(old, new)))
    }),
    method("replaceAll", &[STRING, STRING], |s, t, a| {
        replace_regex(s, this(t), text_arg(a, 0)?, text_arg(a, 1)?, true)
    }),
    method("replaceFirst", &[STRING, STRING], |s, t, a| {
        replace_regex(s, this(t), text_arg(a, 0)?, text_arg(a, 1)?, false)
    }),
    method("split", &[STRING], |s, t, a| {
        split(s, this(t), text_arg(a, 0)?, 0)
    }),
    method("split", &[STRING, INT], |s, t, a| {
        split(s, this(t), text_arg(a, 0)?, int_arg(a, 1))
    }),
    method("startsWith", &[STRING], |_, t, a| {
        bool_value(this(t).starts_with(text_arg(a, 0)?))
    }),
    method("startsWith", &[STRING, INT], |_, t, a| {
        let (all, wanted, from) = (units(this(t)), units(text_arg(a, 0)?), int_arg(a, 1));
        let from = usize::try_from(from).ok();
        bool_value(from.is_some_and(|from| {
            all.get(from..from.saturating_add(wanted.len())) == Some(wanted.as_slice())
        }))
    }),
    method("strip", &[], |s, t, _| {
        text_value(s, this(t).trim_matches(is_java_white).to_string())
    }),
    method("stripIndent", &[], |s, t, _| {
        text_value(s, strip_indent(this(t)))
    }),
    method("stripLeading", &[], |s, t, _| {
        text_value(s, this(t).trim_start_matches(is_java_white).to_string())
    }),
    method("stripTrailing", &[], |s, t, _| {
        text_value(s, this(t).trim_end_matches(is_java_white).to_string())
    }),
    method("substring", &[INT], |s, t, a| {
        substring(s, this(t), int_arg(a, 0), None)
    }),
    method("substring", &[INT, INT], |s, t, a| {
        substring(s, this(t), int_arg(a, 0), Some(int_arg(a, 1)))
    }),
    method("toCharArray", &[], |_, t, _| {
        Ok(Value::array(
            CHAR,
            this(t).encode_utf16().map(Value::Char).collect(),
        ))
    }),
    method("toLowerCase", &[], |s, t, _| {
        text_value(s, this(t).to_lowercase())
    }),
    method("toUpperCase", &[], |s, t, _| {
        text_value(s, this(t).to_uppercase())
    }),
    method("toString", &[], |_, t, _| Ok(t.clone())),
    method("translateEscapes", &[], |s, t, _| {
        text_value(s, translate_escapes(this(t))?)
    }),
    method("trim", &[], |s, t, _| {
        text_value(s, java_trim(this(t)).to_string())
    }),
    // The original's own order; it matters where null fits two of them.
    fixed("valueOf", &[CHAR_ARRAY], |s, _, a| {
        text_value(s, String::from_utf16_lossy(&chars_of(s, arg(a, 0))?))
    }),
    fixed("valueOf", &[OBJECT], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
    fixed("valueOf", &[BOOLEAN], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
    fixed("valueOf", &[CHAR], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
    fixed("valueOf", &[INT], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
    fixed("valueOf", &[LONG], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
    fixed("valueOf", &[FLOAT], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
    fixed("valueOf", &[DOUBLE], |s, _, a| {
        s.text_of(arg(a, 0)).map(Value::str)
    }),
];

pub(super) static CONSTRUCTORS: &[Method] = &[
    fixed("", &[], |_, _, _| Ok(Value::str(""))),
    fixed("", &[CHAR_ARRAY], |s, _, a| {
        text_value(s, String::from_utf16_lossy(&chars_of(s, arg(a, 0))?))
    }),
    fixed("", &[BYTE_ARRAY], |s, _, a| {
        text_value(
            s,
            String::from_utf8_lossy(&bytes_of(s, arg(a, 0))?).into_owned(),
        )
    }),
    // The last one that arguments convert to is taken: a list becomes text.
    // The last one that arguments convert to is taken: a list becomes text.
    fixed("", &[STRING], |_, _, a| text_arg(a, 0).map(Value::str)),
    fixed("", &[BYTE_ARRAY, STRING], |s, _, a| {
        let bytes = bytes_of(s, arg(a, 0))?;
        match text_arg(a, 1)?.to_ascii_uppercase().as_str() {
            "UTF-8" | "UTF8" => text_value(s, String::from_utf8_lossy(&bytes).into_owned()),
            "ISO-8859-1" | "LATIN1" => {
                text_value(s, bytes.iter().map(|byte| char::from(*byte)).collect())
            }
            "US-ASCII" | "ASCII" => text_value(
                s,
                bytes
                    .iter()
                    .map(|byte| {
                        if byte.is_ascii() {
                            char::from(*byte)
                        } else {
                            '\u{fffd}'
                        }
                    })
                    .collect(),
            ),
            other => Err(Fault::new(other.to_string())),
        }
    }),
    fixed("", &[CHAR_ARRAY, INT, INT], |s, _, a| {
        let all = chars_of(s, arg(a, 0))?;
        let (offset, count) = (int_arg(a, 1), int_arg(a, 2));
        let part = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(count).ok())
            .and_then(|(offset, count)| all.get(offset..offset.saturating_add(count)));
        match part {
            Some(part) => text_value(s, String::from_utf16_lossy(part)),
            None => Err(Fault::new(format!(
                "offset {offset}, count {count}, length {}",
                all.len()
            ))),
        }
    }),
];

fn url_encode(session: &Session<'_>, text: &str, charset: &str) -> Eval<Value> {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '*' => out.push(c),
            ' ' => out.push('+'),
            c => {
                for byte in bytes_in(&c.to_string(), charset)? {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    text_value(session, out)
}

pub(super) static URL_ENCODER: &[Method] = &[
    fixed("encode", &[STRING], |s, _, a| {
        url_encode(s, text_arg(a, 0)?, "UTF-8")
    }),
    fixed("encode", &[STRING, STRING], |s, _, a| {
        let charset = text_arg(a, 1)?;
        bytes_in("", charset)?;
        url_encode(s, text_arg(a, 0)?, charset)
    }),
];
