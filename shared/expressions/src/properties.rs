//! Java's `.properties` files.

use crate::value::{Key, Value};
use indexmap::IndexMap;

/// Reads `key=value`, `key:value` and `key value` lines with Java's escapes and continued lines.
pub(crate) fn read(text: &str) -> Value {
    let mut entries = IndexMap::new();
    let normalized = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = normalized.split('\n');
    while let Some(line) = lines.next() {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_string();
        while logical.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            logical.pop();
            match lines.next() {
                Some(next) => logical.push_str(next.trim_start_matches([' ', '\t', '\u{c}'])),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        entries.insert(
            Key::from(unescape(key).as_str()),
            Value::str(unescape(value)),
        );
    }
    Value::linked(entries)
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (index, c) in line.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            '\\' => escaped = true,
            '=' | ':' => {
                return (
                    line.get(..index).unwrap_or_default(),
                    white(line.get(index + 1..).unwrap_or_default()),
                );
            }
            ' ' | '\t' | '\u{c}' => {
                let rest = white(line.get(index..).unwrap_or_default());
                let rest = rest.strip_prefix(['=', ':']).map_or(rest, white);
                return (line.get(..index).unwrap_or_default(), rest);
            }
            _ => {}
        }
    }
    (line, "")
}

fn white(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\u{c}'])
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                out.push(
                    u32::from_str_radix(&digits, 16)
                        .ok()
                        .and_then(char::from_u32)
                        .unwrap_or('\u{fffd}'),
                );
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
