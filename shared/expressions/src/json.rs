//! JSON in and out of Java values: integers as wide as they are written, results with the types JSON does not tell.

use crate::class::{Base, Class};
use crate::fault::{Eval, Fault};
use crate::session::Session;
use crate::text::{char_text, double_text, float_text, uuid_text};
use crate::value::{Key, Value};
use indexmap::IndexMap;
use num_bigint::BigInt;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deepest JSON that is read or written.
pub(crate) const MAX_JSON_DEPTH: usize = 120;

/// From an already parsed document. Integers beyond 64 bits have lost digits there; [`parse`] keeps them.
pub(crate) fn from_serde(json: &Json) -> Value {
    from_serde_at(json, 0)
}

fn from_serde_at(json: &Json, depth: usize) -> Value {
    if depth > 2 * MAX_JSON_DEPTH {
        return Value::Null;
    }
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => {
            if let Some(value) = number.as_i64() {
                integer(value)
            } else if let Some(value) = number.as_u64() {
                Value::Big(Arc::new(BigInt::from(value)))
            } else {
                Value::Double(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        Json::String(text) => Value::str(text),
        Json::Array(items) => Value::list(
            items
                .iter()
                .map(|item| from_serde_at(item, depth + 1))
                .collect(),
        ),
        Json::Object(fields) => Value::linked(
            fields
                .iter()
                .map(|(key, value)| (Key::from(key.as_str()), from_serde_at(value, depth + 1)))
                .collect(),
        ),
    }
}

fn integer(value: i64) -> Value {
    i32::try_from(value).map_or(Value::Long(value), Value::Int)
}

/// Reads the first value of a text as Jackson does; what follows it is not looked at.
pub(crate) fn parse(text: &str) -> Eval<Value> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        text,
        at: 0,
    };
    reader.skip_white();
    if reader.at >= reader.bytes.len() {
        return Err(Fault::new("No content to map due to end-of-input"));
    }
    reader.value(0)
}

/// Reads a whole text; anything but white space after the value is an error.
pub(crate) fn parse_all(text: &str) -> Eval<Value> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        text,
        at: 0,
    };
    reader.skip_white();
    let value = reader.value(0)?;
    reader.skip_white();
    if reader.at < reader.bytes.len() {
        return Err(reader.unexpected("the end"));
    }
    Ok(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            None => Fault::new("Unexpected end-of-input"),
            Some(c) => Fault::new(format!(
                "Unexpected character ('{c}' (code {})): was expecting {wanted} at character {}",
                u32::from(c),
                self.at
            )),
        }
    }

    fn value(&mut self, depth: usize) -> Eval<Value> {
        if depth > MAX_JSON_DEPTH {
            return Err(Fault::limit(format!(
                "JSON is nested more than {MAX_JSON_DEPTH} deep"
            )));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::Str(self.string()?.into())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Eval<Value> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let follows = rest.strip_prefix(word).map(|rest| rest.chars().next());
        match follows {
            Some(next) if !next.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') => {
                self.at += word.len();
                Ok(value)
            }
            _ => Err(Fault::new(format!(
                "Unrecognized token at character {}: was expecting a JSON value",
                self.at
            ))),
        }
    }

    fn object(&mut self, depth: usize) -> Eval<Value> {
        self.at += 1;
        let mut fields = IndexMap::new();
        self.skip_white();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::linked(fields));
        }
        loop {
            self.skip_white();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("double-quote to start field name"));
            }
            let key: Arc<str> = self.string()?.into();
            self.skip_white();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("a colon to separate field name and value"));
            }
            self.at += 1;
            self.skip_white();
            let value = self.value(depth + 1)?;
            fields.insert(Key::Str(key), value);
            self.skip_white();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::linked(fields));
                }
                _ => return Err(self.unexpected("comma to separate Object entries")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Eval<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_white();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::list(items));
        }
        loop {
            self.skip_white();
            items.push(self.value(depth + 1)?);
            self.skip_white();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::list(items));
                }
                _ => return Err(self.unexpected("comma to separate Array entries")),
            }
        }
    }

    fn number(&mut self) -> Eval<Value> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let digits_from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        let digits = self.at - digits_from;
        if digits == 0 {
            return Err(self.unexpected("a digit"));
        }
        if digits > 1 && self.bytes.get(digits_from) == Some(&b'0') {
            return Err(Fault::new(
                "Invalid numeric value: Leading zeroes not allowed",
            ));
        }
        let mut real = false;
        if self.peek() == Some(b'.') {
            real = true;
            self.at += 1;
            let from = self.at;
            while matches!(self.peek(), Some(b'0'..=b'9')) {
                self.at += 1;
            }
            if self.at == from {
                return Err(Fault::new("Decimal point not followed by a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            real = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let from = self.at;
            while matches!(self.peek(), Some(b'0'..=b'9')) {
                self.at += 1;
            }
            if self.at == from {
                return Err(Fault::new("Exponent indicator not followed by a digit"));
            }
        }
        if self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'"')
        {
            return Err(self.unexpected("white space after a number"));
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        number_value(text, real)
    }

    fn string(&mut self) -> Eval<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(c) = rest.chars().next() else {
                return Err(Fault::new(
                    "Unexpected end-of-input: was expecting closing quote for a string value",
                ));
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => {
                    let escape = self.peek();
                    self.at += 1;
                    match escape {
                        Some(b'"') => out.push('"'),
                        Some(b'\\') => out.push('\\'),
                        Some(b'/') => out.push('/'),
                        Some(b'b') => out.push('\u{8}'),
                        Some(b'f') => out.push('\u{c}'),
                        Some(b'n') => out.push('\n'),
                        Some(b'r') => out.push('\r'),
                        Some(b't') => out.push('\t'),
                        Some(b'u') => {
                            let unit = self.unit()?;
                            let mut units = vec![unit];
                            if (0xd800..0xdc00).contains(&unit)
                                && self
                                    .text
                                    .get(self.at..)
                                    .is_some_and(|rest| rest.starts_with("\\u"))
                            {
                                self.at += 2;
                                units.push(self.unit()?);
                            }
                            out.push_str(&String::from_utf16_lossy(&units));
                        }
                        _ => {
                            self.at = self.at.saturating_sub(1);
                            return Err(Fault::new("Unrecognized character escape"));
                        }
                    }
                }
                c if c < ' ' => {
                    return Err(Fault::new(format!(
                        "Illegal unquoted character (code {}): has to be escaped using backslash to be included in string value",
                        u32::from(c)
                    )));
                }
                c => out.push(c),
            }
        }
    }

    fn unit(&mut self) -> Eval<u16> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| {
            Fault::new(
                "Unexpected character: was expecting a hex-digit for character escape sequence",
            )
        })
    }
}

/// Longest run of digits that becomes a number of its own width; the square of it bounds the work of its text.
pub(crate) const MAX_DIGITS: usize = 10_000;

/// A number as Jackson types it: int, long, big integer, double.
pub(crate) fn number_value(text: &str, real: bool) -> Eval<Value> {
    if real {
        return Ok(Value::Double(text.parse().unwrap_or(f64::NAN)));
    }
    if let Ok(value) = text.parse::<i64>() {
        return Ok(integer(value));
    }
    if text.len() > MAX_DIGITS {
        return Err(Fault::limit(format!(
            "a number has more than {MAX_DIGITS} digits"
        )));
    }
    text.parse::<BigInt>()
        .map(|value| Value::Big(Arc::new(value)))
        .map_err(|_| Fault::new(format!("For input string: \"{text}\"")))
}

/// A result as JSON, with the Java classes that JSON does not tell.
pub(crate) struct Written {
    pub(crate) json: Json,
    pub(crate) types: BTreeMap<String, String>,
}

impl Session<'_> {
    /// A result as Orca stores it.
    pub(crate) fn write_result(&self, value: &Value) -> Eval<Written> {
        let mut types = BTreeMap::new();
        let mut path = String::new();
        let json = self.result(value, &mut path, &mut Some(&mut types), 0)?;
        Ok(Written { json, types })
    }

    fn result(
        &self,
        value: &Value,
        path: &mut String,
        types: &mut Option<&mut BTreeMap<String, String>>,
        depth: usize,
    ) -> Eval<Json> {
        self.step()?;
        if depth > MAX_JSON_DEPTH {
            return Err(Fault::limit(format!(
                "a value is nested more than {MAX_JSON_DEPTH} deep"
            )));
        }
        let mut note = |path: &str, class: String| {
            if let Some(types) = types {
                types.insert(path.to_string(), class);
            }
        };
        Ok(match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Byte(value) => {
                note(path, "java.lang.Byte".into());
                Json::from(*value)
            }
            Value::Short(value) => {
                note(path, "java.lang.Short".into());
                Json::from(*value)
            }
            Value::Long(value) => {
                note(path, "java.lang.Long".into());
                Json::from(*value)
            }
            Value::Char(unit) => {
                note(path, "java.lang.Character".into());
                Json::from(char_text(*unit))
            }
            Value::Float(value) => {
                note(path, "java.lang.Float".into());
                let text = float_text(*value);
                text.parse::<f64>()
                    .ok()
                    .and_then(serde_json::Number::from_f64)
                    .map_or(Json::from(text), Json::Number)
            }
            Value::Double(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None => {
                    note(path, "java.lang.Double".into());
                    Json::from(double_text(*value))
                }
            },
            Value::Big(value) => {
                note(path, "java.math.BigInteger".into());
                Json::from(value.to_string())
            }
            Value::Str(text) => {
                self.charge(text.len())?;
                Json::from(&**text)
            }
            Value::List(list) => {
                if list.class != Base::ArrayList {
                    note(path, list.class.name().to_string());
                }
                self.elements(&self.items(list), path, types, depth)?
            }
            Value::Array(array) => {
                note(path, value.class().to_string());
                self.elements(&self.array_items(array), path, types, depth)?
            }
            Value::Map(map) => {
                if !matches!(map.class, Base::HashMap | Base::LinkedHashMap) {
                    note(path, map.class.name().to_string());
                }
                let mut object = serde_json::Map::new();
                for (key, value) in self.entries(map).iter() {
                    let (text, class) = match key {
                        Key::Str(text) => (text.to_string(), None),
                        Key::Other(Value::Null) => ("null".to_string(), Some("null".to_string())),
                        Key::Other(key) => (self.text_of(key)?, Some(key.class().to_string())),
                    };
                    let length = path.len();
                    path.push('/');
                    path.push_str(&text.replace('~', "~0").replace('/', "~1"));
                    if let (Some(class), Some(types)) = (class, types.as_deref_mut()) {
                        types.insert(format!("{path}#key"), class);
                    }
                    let json = self.result(value, path, types, depth + 1)?;
                    path.truncate(length);
                    object.insert(text, json);
                }
                Json::Object(object)
            }
            Value::Date(millis) => {
                note(path, "java.util.Date".into());
                Json::from(*millis)
            }
            Value::Status(status) => {
                note(path, value.class().to_string());
                Json::from(status.name())
            }
            Value::Execution(_) | Value::Stage(..) | Value::Bean(_) | Value::NotEvaluable(_) => {
                note(path, value.class().to_string());
                self.model_json(value, depth)?
            }
            Value::Class(_)
            | Value::Method(_)
            | Value::Entry(_)
            | Value::LocalDate(_)
            | Value::LocalDateTime(_)
            | Value::Instant(_)
            | Value::DayOfWeek(_)
            | Value::Uuid(_)
            | Value::Random(_)
            | Value::DateFormat(_) => {
                note(path, value.class().to_string());
                Json::from(self.text_of(value)?)
            }
            Value::ChronoUnit(unit) => {
                note(path, value.class().to_string());
                Json::from(crate::dates::unit_name(*unit))
            }
        })
    }

    fn elements(
        &self,
        items: &[Value],
        path: &mut String,
        types: &mut Option<&mut BTreeMap<String, String>>,
        depth: usize,
    ) -> Eval<Json> {
        let mut array = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let length = path.len();
            path.push('/');
            path.push_str(&index.to_string());
            array.push(self.result(item, path, types, depth + 1)?);
            path.truncate(length);
        }
        Ok(Json::Array(array))
    }

    /// Model objects as Orca's mapper writes them: without nulls.
    fn model_json(&self, value: &Value, depth: usize) -> Eval<Json> {
        let mut path = String::new();
        let mut json = match value {
            Value::Execution(execution) => {
                self.result(&execution.json(), &mut path, &mut None, depth + 1)?
            }
            Value::Stage(execution, index) => self.result(
                &execution.stage_json(*index),
                &mut path,
                &mut None,
                depth + 1,
            )?,
            Value::Bean(bean) => {
                let written = bean.json.clone().unwrap_or_else(|| bean.as_map());
                self.result(&written, &mut path, &mut None, depth + 1)?
            }
            Value::NotEvaluable(inner) => {
                let mut object = serde_json::Map::new();
                let json = match &**inner {
                    // A big integer is a number here: nothing says otherwise.
                    Value::Big(value) => serde_json::from_str(&value.to_string())
                        .unwrap_or_else(|_| Json::from(value.to_string())),
                    inner => self.result(inner, &mut path, &mut None, depth + 1)?,
                };
                object.insert("expression".to_string(), json);
                Json::Object(object)
            }
            _ => Json::Null,
        };
        strip_nulls(&mut json);
        Ok(json)
    }

    /// `#toJson`: a plain Jackson mapper.
    pub(crate) fn to_json_text(&self, value: &Value) -> Eval<String> {
        let mut out = String::new();
        self.jackson(value, &mut out, 0)?;
        self.charge(out.len())?;
        Ok(out)
    }

    fn jackson(&self, value: &Value, out: &mut String, depth: usize) -> Eval<()> {
        self.step()?;
        if depth > MAX_JSON_DEPTH {
            return Err(Fault::limit(format!(
                "a value is nested more than {MAX_JSON_DEPTH} deep"
            )));
        }
        if out.len() > self.options.limits.bytes {
            return Err(self.too_large());
        }
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(_)
            | Value::Byte(_)
            | Value::Short(_)
            | Value::Int(_)
            | Value::Long(_)
            | Value::Big(_) => {
                out.push_str(&self.text_of(value)?);
            }
            Value::Double(number) if !number.is_finite() => quote(&double_text(*number), out),
            Value::Float(number) if !number.is_finite() => quote(&float_text(*number), out),
            Value::Float(number) => out.push_str(&float_text(*number)),
            Value::Double(number) => out.push_str(&double_text(*number)),
            Value::Str(text) => quote(text, out),
            Value::Char(unit) => quote(&char_text(*unit), out),
            Value::List(list) => self.jackson_items(&self.items(list), out, depth)?,
            Value::Array(array) => {
                let items = self.array_items(array);
                if array.element == Class::of(Base::CharP) {
                    let text: Vec<u16> = items
                        .iter()
                        .map(|c| if let Value::Char(c) = c { *c } else { 0 })
                        .collect();
                    quote(&String::from_utf16_lossy(&text), out);
                } else if array.element == Class::of(Base::ByteP) {
                    let bytes: Vec<u8> = items
                        .iter()
                        .map(|b| if let Value::Byte(b) = b { *b as u8 } else { 0 })
                        .collect();
                    use base64::Engine;
                    quote(
                        &base64::engine::general_purpose::STANDARD.encode(bytes),
                        out,
                    );
                } else {
                    self.jackson_items(&items, out, depth)?;
                }
            }
            Value::Map(map) => {
                out.push('{');
                for (index, (key, value)) in self.entries(map).iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    if matches!(key, Key::Other(Value::Null)) {
                        return Err(Fault::new(
                            "Null key for a Map not allowed in JSON (use a converting NullKeySerializer?)",
                        ));
                    }
                    quote(&self.text_of(&key.value())?, out);
                    out.push(':');
                    self.jackson(value, out, depth + 1)?;
                }
                out.push('}');
            }
            Value::Entry(entry) => {
                out.push('{');
                quote(&self.text_of(&entry.key)?, out);
                out.push(':');
                self.jackson(&entry.value, out, depth + 1)?;
                out.push('}');
            }
            Value::Date(millis) => out.push_str(&millis.to_string()),
            Value::Uuid(uuid) => quote(&uuid_text(*uuid), out),
            Value::DayOfWeek(day) => quote(crate::dates::day_name(*day), out),
            Value::ChronoUnit(unit) => quote(crate::dates::unit_name(*unit), out),
            Value::Status(status) => quote(status.name(), out),
            Value::Class(class) => quote(&crate::methods::array_signature(*class), out),
            Value::Execution(execution) => self.jackson(&execution.json(), out, depth + 1)?,
            Value::Stage(execution, index) => {
                self.jackson(&execution.stage_json(*index), out, depth + 1)?
            }
            Value::Bean(bean) => self.jackson(&bean.as_map(), out, depth + 1)?,
            Value::NotEvaluable(inner) => {
                out.push_str("{\"expression\":");
                self.jackson(inner, out, depth + 1)?;
                out.push('}');
            }
            Value::LocalDate(_) | Value::LocalDateTime(_) | Value::Instant(_) => {
                return Err(Fault::new(format!(
                    "Java 8 date/time type `{}` not supported by default",
                    value.class()
                )));
            }
            Value::Method(_) | Value::Random(_) | Value::DateFormat(_) => {
                return Err(Fault::new(format!(
                    "No serializer found for class {}",
                    value.class()
                )));
            }
        }
        Ok(())
    }

    fn jackson_items(&self, items: &[Value], out: &mut String, depth: usize) -> Eval<()> {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            self.jackson(item, out, depth + 1)?;
        }
        out.push(']');
        Ok(())
    }
}

fn strip_nulls(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// A JSON string as Jackson escapes it.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
