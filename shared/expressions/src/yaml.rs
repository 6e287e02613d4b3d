//! YAML 1.1 as SnakeYAML's safe loader reads it: plain Java values, no custom types.

use crate::class::Base;
use crate::dates::lenient_millis;
use crate::fault::{Eval, Fault};
use crate::json::{MAX_DIGITS, MAX_JSON_DEPTH, number_value};
use crate::session::Session;
use crate::value::{Key, Map, Value};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Longest document read, SnakeYAML's own bound of three million characters.
const MAX_BYTES: usize = 3 << 20;

/// `#readYaml`: a single document; null if there is none.
pub(crate) fn read(session: &Session<'_>, text: &str) -> Eval<Value> {
    let documents = documents(session, text)?;
    if documents.len() > 1 {
        return Err(Fault::new(
            "expected a single document in the stream but found another document",
        ));
    }
    Ok(documents.into_iter().next().unwrap_or(Value::Null))
}

/// `#readAllYaml`: every document.
pub(crate) fn read_all(session: &Session<'_>, text: &str) -> Eval<Value> {
    documents(session, text).map(Value::list)
}

fn documents(session: &Session<'_>, text: &str) -> Eval<Vec<Value>> {
    if text.len() > MAX_BYTES {
        return Err(Fault::limit(format!(
            "YAML is longer than {MAX_BYTES} bytes"
        )));
    }
    session.charge(text.len() * 4)?;
    if let Some(bad) = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
    {
        return Err(Fault::new(format!(
            "unacceptable code point '{bad}' (0x{:X}) special characters are not allowed",
            u32::from(bad)
        )));
    }
    let normalized = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut reader = Reader {
        chars: normalized.trim_start_matches('\u{feff}').chars().collect(),
        at: 0,
        line_start: 0,
        anchors: HashMap::new(),
        allows_flush: false,
        session,
    };
    let mut found = Vec::new();
    loop {
        reader.anchors.clear();
        reader.directives()?;
        let explicit = reader.marker("---");
        if explicit {
            reader.at += 3;
        }
        reader.skip_to_content()?;
        if reader.at_end() && !explicit {
            break;
        }
        if reader.document_end() && !explicit {
            reader.skip_end_marker();
            continue;
        }
        let value = if reader.document_end() {
            Value::Null
        } else {
            reader.node(-1, false, 0)?
        };
        found.push(value);
        reader.skip_to_content()?;
        let ended = reader.marker("...");
        reader.skip_end_marker();
        if !ended && !reader.at_end() && !reader.marker("---") {
            return Err(reader.fault("expected '<document start>'"));
        }
    }
    Ok(found)
}

struct Reader<'s, 'a> {
    chars: Vec<char>,
    at: usize,
    line_start: usize,
    anchors: HashMap<String, Value>,
    /// Whether a sequence may start at its key's own column.
    allows_flush: bool,
    session: &'s Session<'a>,
}

/// A scalar before its type is known.
struct Scalar {
    text: String,
    plain: bool,
}

impl Reader<'_, '_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn at_end(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn column(&self) -> i64 {
        self.at.saturating_sub(self.line_start) as i64
    }

    fn fault(&self, message: &str) -> Fault {
        let line = self
            .chars
            .iter()
            .take(self.at)
            .filter(|c| **c == '\n')
            .count()
            + 1;
        Fault::new(format!(
            "{message} in 'string', line {line}, column {}",
            self.column() + 1
        ))
    }

    fn blank(c: char) -> bool {
        matches!(c, ' ' | '\t' | '\n' | '\0')
    }

    fn marker(&self, marker: &str) -> bool {
        self.column() == 0
            && marker
                .chars()
                .enumerate()
                .all(|(index, c)| self.peek(index) == c)
            && Self::blank(self.peek(3))
    }

    fn document_end(&self) -> bool {
        self.at_end() || self.marker("---") || self.marker("...")
    }

    fn skip_end_marker(&mut self) {
        while self.marker("...") {
            self.at += 3;
            if self.skip_to_content().is_err() {
                return;
            }
        }
    }

    fn directives(&mut self) -> Eval<()> {
        self.skip_to_content()?;
        while self.column() == 0 && self.peek(0) == '%' {
            self.skip_line();
            self.skip_to_content()?;
        }
        Ok(())
    }

    fn skip_line(&mut self) {
        while !self.at_end() && self.peek(0) != '\n' {
            self.at += 1;
        }
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line_start = self.at;
    }

    /// Skips white space, comments and line ends. Answers whether a line ended.
    fn skip_to_content(&mut self) -> Eval<bool> {
        let mut ended = false;
        loop {
            self.session.step()?;
            match self.peek(0) {
                '\n' => {
                    self.newline();
                    ended = true;
                }
                '\0' if self.at_end() => return Ok(ended),
                ' ' => self.at += 1,
                '\t' => {
                    // A tab may stand between tokens, not before the first of a line that has one.
                    let indent = self
                        .chars
                        .get(self.line_start..self.at)
                        .unwrap_or_default()
                        .iter()
                        .all(|c| *c == ' ' || *c == '\t');
                    let start = self.at;
                    while matches!(self.peek(0), ' ' | '\t') {
                        self.at += 1;
                    }
                    if indent && !matches!(self.peek(0), '\n' | '\0' | '#') {
                        self.at = start;
                        return Err(self.fault("found character '\\t(TAB)' that cannot start any token. (Do not use \\t(TAB) for indentation)"));
                    }
                }
                '#' if self.at == 0
                    || Self::blank(self.chars.get(self.at - 1).copied().unwrap_or(' ')) =>
                {
                    self.skip_line()
                }
                _ => return Ok(ended),
            }
        }
    }

    /// A node whose parent stands at column `indent`; `inline` after `key:` on the same line.
    fn node(&mut self, indent: i64, inline: bool, depth: usize) -> Eval<Value> {
        if depth > MAX_JSON_DEPTH {
            return Err(Fault::limit(format!(
                "YAML is nested more than {MAX_JSON_DEPTH} deep"
            )));
        }
        let ended = self.skip_to_content()?;
        let mut inline = inline && !ended;
        // A sequence may stand under its key without indentation.
        let sequence_here = self.peek(0) == '-' && Self::blank(self.peek(1));
        let floor = if sequence_here && indent >= 0 && !inline && self.allows_flush {
            indent - 1
        } else {
            indent
        };
        if self.document_end() || (!inline && self.column() <= floor) {
            return Ok(Value::Null);
        }
        let start = self.column();
        let mut anchor = None;
        let mut tag = None;
        while matches!(self.peek(0), '&' | '!') {
            let kind = self.peek(0);
            self.at += 1;
            let mut name = String::new();
            while !Self::blank(self.peek(0)) && !matches!(self.peek(0), ',' | ']' | '}') {
                name.push(self.peek(0));
                self.at += 1;
            }
            if kind == '&' {
                anchor = Some(name);
            } else {
                tag = Some(name);
            }
            if self.skip_to_content()? {
                inline = false;
                let flush =
                    self.peek(0) == '-' && Self::blank(self.peek(1)) && self.column() == indent;
                if self.document_end() || (self.column() <= indent && !flush) {
                    return self.named(
                        anchor,
                        tagged(
                            tag.as_deref(),
                            Scalar {
                                text: String::new(),
                                plain: true,
                            },
                        )?,
                    );
                }
            }
        }
        let value = self.untagged(indent, inline, start, tag.as_deref(), depth)?;
        self.named(anchor, value)
    }

    fn named(&mut self, anchor: Option<String>, value: Value) -> Eval<Value> {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn untagged(
        &mut self,
        indent: i64,
        inline: bool,
        start: i64,
        tag: Option<&str>,
        depth: usize,
    ) -> Eval<Value> {
        let column = self.column();
        match self.peek(0) {
            '-' if Self::blank(self.peek(1)) => {
                if inline {
                    return Err(self.fault("block sequence entries are not allowed here"));
                }
                self.sequence(column, depth)
            }
            '?' if Self::blank(self.peek(1)) && !inline => self
                .mapping(column, None, depth)
                .and_then(|map| collection(tag, map)),
            '[' | '{' => {
                let value = self.flow(depth)?;
                if !inline && self.colon_follows() {
                    return self.mapping(start.min(column), Some(value), depth);
                }
                collection(tag, value)
            }
            '|' | '>' => {
                let text = self.block_scalar(indent)?;
                tagged(tag, Scalar { text, plain: false })
            }
            '*' => {
                let value = self.alias()?;
                if self.colon_follows() && !inline {
                    return self.mapping(column, Some(value), depth);
                }
                Ok(value)
            }
            '"' | '\'' => {
                let text = self.quoted()?;
                if self.colon_follows() {
                    if inline {
                        return Err(self.fault("mapping values are not allowed here"));
                    }
                    return self.mapping(start.min(column), Some(Value::str(text)), depth);
                }
                tagged(tag, Scalar { text, plain: false })
            }
            c if starts_plain(c, self.peek(1), false) => {
                let from = self.at;
                let text = self.plain_line(false);
                if self.colon_follows() {
                    if inline {
                        return Err(self.fault("mapping values are not allowed here"));
                    }
                    self.at = from;
                    let map = self.mapping(column, None, depth)?;
                    return collection(tag, map);
                }
                let text = self.plain_rest(text, indent, false)?;
                tagged(tag, Scalar { text, plain: true })
            }
            ':' if Self::blank(self.peek(1)) && !inline => self.mapping(column, None, depth),
            other => Err(self.fault(&format!(
                "found character '{other}' that cannot start any token"
            ))),
        }
    }

    fn colon_follows(&mut self) -> bool {
        let from = self.at;
        while matches!(self.peek(0), ' ' | '\t') {
            self.at += 1;
        }
        let found = self.peek(0) == ':' && Self::blank(self.peek(1));
        if !found {
            self.at = from;
        }
        found
    }

    fn alias(&mut self) -> Eval<Value> {
        self.at += 1;
        let mut name = String::new();
        while !Self::blank(self.peek(0)) && !matches!(self.peek(0), ',' | ']' | '}' | ':') {
            name.push(self.peek(0));
            self.at += 1;
        }
        self.anchors
            .get(&name)
            .cloned()
            .ok_or_else(|| self.fault(&format!("found undefined alias {name}")))
    }

    fn sequence(&mut self, column: i64, depth: usize) -> Eval<Value> {
        let mut items = Vec::new();
        loop {
            self.session.charge(24)?;
            self.at += 1;
            self.allows_flush = false;
            items.push(self.node(column, false, depth + 1)?);
            self.skip_to_content()?;
            let more = !self.document_end()
                && self.column() == column
                && self.peek(0) == '-'
                && Self::blank(self.peek(1));
            if more {
                continue;
            }
            if !self.document_end() && self.column() > column {
                return Err(self.fault("expected <block end>, but found something else"));
            }
            return Ok(Value::list(items));
        }
    }

    /// A block mapping at `column`, the first key maybe read (then the reader stands at its colon).
    fn mapping(&mut self, column: i64, first: Option<Value>, depth: usize) -> Eval<Value> {
        let mut entries: IndexMap<Key, Value> = IndexMap::new();
        let mut merges: Vec<Value> = Vec::new();
        let mut key_read = first;
        loop {
            self.session.charge(48)?;
            let mut plain_merge = false;
            let explicit = key_read.is_none() && self.peek(0) == '?' && Self::blank(self.peek(1));
            let key = if let Some(key) = key_read.take() {
                key
            } else if explicit {
                self.at += 1;
                self.allows_flush = false;
                let key = self.node(column, false, depth + 1)?;
                self.skip_to_content()?;
                key
            } else {
                let (key, merge) = self.key(depth)?;
                plain_merge = merge;
                key
            };
            let has_value = self.peek(0) == ':'
                && Self::blank(self.peek(1))
                && (!explicit || self.column() == column);
            let value = if has_value {
                self.at += 1;
                self.allows_flush = true;
                self.node(column, !explicit, depth + 1)?
            } else if explicit {
                Value::Null
            } else {
                return Err(self.fault("could not find expected ':'"));
            };
            if plain_merge {
                merges.push(value);
            } else {
                insert(&mut entries, key, value);
            }
            self.skip_to_content()?;
            if self.document_end() || self.column() < column {
                break;
            }
            if self.column() > column {
                return Err(self.fault("expected <block end>, but found something else"));
            }
            if self.peek(0) == '-' && Self::blank(self.peek(1)) {
                break;
            }
        }
        merge(&mut entries, merges, |message| self.fault(message))?;
        Ok(Value::linked(entries))
    }

    fn key(&mut self, depth: usize) -> Eval<(Value, bool)> {
        let mut tag = None;
        let mut anchor = None;
        while matches!(self.peek(0), '&' | '!') {
            let kind = self.peek(0);
            self.at += 1;
            let mut name = String::new();
            while !Self::blank(self.peek(0)) {
                name.push(self.peek(0));
                self.at += 1;
            }
            if kind == '&' {
                anchor = Some(name)
            } else {
                tag = Some(name)
            }
            while self.peek(0) == ' ' {
                self.at += 1;
            }
        }
        let mut is_merge = false;
        let value = match self.peek(0) {
            '"' | '\'' => {
                let text = self.quoted()?;
                tagged(tag.as_deref(), Scalar { text, plain: false })?
            }
            '*' => self.alias()?,
            '[' | '{' => self.flow(depth)?,
            ':' => Value::Null,
            c if starts_plain(c, self.peek(1), false) => {
                let text = self.plain_line(false);
                is_merge = text == "<<" && tag.is_none();
                tagged(tag.as_deref(), Scalar { text, plain: true })?
            }
            _ => return Err(self.fault("expected <block end>, but found something else")),
        };
        let value = self.named(anchor, value)?;
        if !self.colon_follows() {
            return Err(self.fault("while scanning a simple key could not find expected ':'"));
        }
        Ok((value, is_merge))
    }

    /// A plain scalar up to the end of its line, trimmed.
    fn plain_line(&mut self, in_flow: bool) -> String {
        let start = self.at;
        let mut end = self.at;
        while !self.at_end() {
            let c = self.peek(0);
            if c == '\n'
                || (c == '#'
                    && self.at > start
                    && Self::blank(self.chars.get(self.at - 1).copied().unwrap_or('x')))
            {
                break;
            }
            if c == ':'
                && (Self::blank(self.peek(1))
                    || (in_flow && matches!(self.peek(1), ',' | '[' | ']' | '{' | '}')))
            {
                break;
            }
            if in_flow && matches!(c, ',' | '[' | ']' | '{' | '}') {
                break;
            }
            self.at += 1;
            if !Self::blank(c) {
                end = self.at;
            }
        }
        self.at = end;
        self.chars
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .collect()
    }

    /// The lines that continue a plain scalar.
    fn plain_rest(&mut self, mut text: String, indent: i64, in_flow: bool) -> Eval<String> {
        loop {
            self.session.step()?;
            let (from, from_line) = (self.at, self.line_start);
            while matches!(self.peek(0), ' ' | '\t') {
                self.at += 1;
            }
            let mut breaks = 0;
            while self.peek(0) == '\n' {
                breaks += 1;
                self.newline();
                while matches!(self.peek(0), ' ' | '\t') {
                    self.at += 1;
                }
            }
            let stops = breaks == 0
                || self.at_end()
                || (!in_flow && self.column() <= indent)
                || self.document_end()
                || self.peek(0) == '#'
                || (in_flow && matches!(self.peek(0), ',' | '[' | ']' | '{' | '}' | ':'));
            if stops {
                self.at = from;
                self.line_start = from_line;
                return Ok(text);
            }
            let line = self.plain_line(in_flow);
            if !in_flow && self.colon_follows() {
                return Err(self.fault("mapping values are not allowed here"));
            }
            if breaks == 1 {
                text.push(' ');
            } else {
                text.push_str(&"\n".repeat(breaks - 1));
            }
            text.push_str(&line);
        }
    }

    fn quoted(&mut self) -> Eval<String> {
        let quote = self.peek(0);
        self.at += 1;
        let mut text = String::new();
        loop {
            if self.at_end() {
                return Err(
                    self.fault("while scanning a quoted scalar found unexpected end of stream")
                );
            }
            let c = self.peek(0);
            match c {
                '\'' if quote == '\'' => {
                    if self.peek(1) == '\'' {
                        text.push('\'');
                        self.at += 2;
                        continue;
                    }
                    self.at += 1;
                    return Ok(text);
                }
                '"' if quote == '"' => {
                    self.at += 1;
                    return Ok(text);
                }
                '\\' if quote == '"' => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                '\n' => {
                    while text.ends_with([' ', '\t']) {
                        text.pop();
                    }
                    let mut breaks = 0;
                    while self.peek(0) == '\n' {
                        breaks += 1;
                        self.newline();
                        while matches!(self.peek(0), ' ' | '\t') {
                            self.at += 1;
                        }
                    }
                    if breaks == 1 {
                        text.push(' ');
                    } else {
                        text.push_str(&"\n".repeat(breaks - 1));
                    }
                }
                c => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Eval<()> {
        let c = self.peek(0);
        self.at += 1;
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = self
                .chars
                .get(self.at..self.at + digits)
                .unwrap_or_default()
                .iter()
                .collect();
            let code = u32::from_str_radix(&hex, 16)
                .ok()
                .filter(|_| hex.len() == digits);
            let Some(code) = code else {
                return Err(self.fault("expected escape sequence of hexadecimal numbers"));
            };
            self.at += digits;
            text.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            return Ok(());
        }
        match c {
            '0' => text.push('\0'),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            't' | '\t' => text.push('\t'),
            'n' => text.push('\n'),
            'v' => text.push('\u{b}'),
            'f' => text.push('\u{c}'),
            'r' => text.push('\r'),
            'e' => text.push('\u{1b}'),
            ' ' => text.push(' '),
            '"' => text.push('"'),
            '\\' => text.push('\\'),
            '/' => text.push('/'),
            'N' => text.push('\u{85}'),
            '_' => text.push('\u{a0}'),
            'L' => text.push('\u{2028}'),
            'P' => text.push('\u{2029}'),
            '\n' => {
                self.line_start = self.at;
                while matches!(self.peek(0), ' ' | '\t') {
                    self.at += 1;
                }
            }
            other => return Err(self.fault(&format!("found unknown escape character {other}"))),
        }
        Ok(())
    }

    fn block_scalar(&mut self, indent: i64) -> Eval<String> {
        let folded = self.peek(0) == '>';
        self.at += 1;
        let mut chomp = ' ';
        let mut explicit = None;
        for _ in 0..2 {
            match self.peek(0) {
                c @ ('+' | '-') => {
                    chomp = c;
                    self.at += 1;
                }
                c @ '1'..='9' => {
                    explicit = c.to_digit(10).map(i64::from);
                    self.at += 1;
                }
                _ => {}
            }
        }
        while matches!(self.peek(0), ' ' | '\t') {
            self.at += 1;
        }
        if self.peek(0) == '#' {
            self.skip_line();
        }
        if !matches!(self.peek(0), '\n' | '\0') {
            return Err(self.fault("expected chomping or indentation indicators, or a comment"));
        }
        let parent = indent.max(0);
        let mut block_indent = explicit.map(|by| if indent < 0 { by } else { parent + by });
        let mut lines: Vec<String> = Vec::new();
        while self.peek(0) == '\n' && !self.at_end() {
            self.session.step()?;
            let (mark, mark_line) = (self.at, self.line_start);
            self.newline();
            if self.at_end() {
                break;
            }
            let mut spaces = 0;
            while self.peek(0) == ' ' && block_indent.is_none_or(|indent| spaces < indent) {
                spaces += 1;
                self.at += 1;
            }
            if matches!(self.peek(0), '\n') {
                lines.push(String::new());
                continue;
            }
            let wanted = block_indent.unwrap_or(spaces);
            let enough = if block_indent.is_none() {
                spaces > indent && (indent >= 0 || spaces >= 0)
            } else {
                spaces >= wanted
            };
            if !enough || (self.column() == 0 && self.document_end()) {
                self.at = mark;
                self.line_start = mark_line;
                break;
            }
            block_indent = Some(wanted);
            let start = self.at;
            self.skip_line();
            lines.push(
                self.chars
                    .get(start..self.at)
                    .unwrap_or_default()
                    .iter()
                    .collect(),
            );
        }
        // Without a line end after the last line there is none to keep.
        let ended = trailing_line_end(&self.chars, self.at);
        let mut trailing = 0;
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
            trailing += 1;
        }
        let mut text = String::new();
        for (index, line) in lines.iter().enumerate() {
            text.push_str(line);
            let Some(next) = lines.get(index + 1) else {
                break;
            };
            if !folded {
                text.push('\n');
                continue;
            }
            // Lines fold into one unless one of them is empty or starts with white space.
            let keeps = |line: &str| line.starts_with([' ', '\t']);
            if line.is_empty() || keeps(line) || keeps(next) {
                text.push('\n');
            } else if next.is_empty() {
                let following = lines.iter().skip(index + 1).find(|line| !line.is_empty());
                if following.is_some_and(|line| keeps(line)) {
                    text.push('\n');
                }
            } else {
                text.push(' ');
            }
        }
        match chomp {
            '-' => {}
            '+' => text.push_str(&"\n".repeat(trailing + usize::from(!lines.is_empty() && ended))),
            _ if lines.is_empty() || !ended => {}
            _ => text.push('\n'),
        }
        Ok(text)
    }

    fn flow(&mut self, depth: usize) -> Eval<Value> {
        if depth > MAX_JSON_DEPTH {
            return Err(Fault::limit(format!(
                "YAML is nested more than {MAX_JSON_DEPTH} deep"
            )));
        }
        let open = self.peek(0);
        let close = if open == '[' { ']' } else { '}' };
        self.at += 1;
        let mut items = Vec::new();
        let mut entries = IndexMap::new();
        let mut merges = Vec::new();
        loop {
            self.session.charge(24)?;
            self.skip_to_content()?;
            if self.peek(0) == close {
                self.at += 1;
                break;
            }
            if self.at_end() || self.document_end() {
                return Err(self.fault(&format!("expected ',' or '{close}', but got <stream end>")));
            }
            let explicit = self.peek(0) == '?' && Self::blank(self.peek(1));
            if explicit {
                self.at += 1;
                self.skip_to_content()?;
            }
            let quoted = matches!(self.peek(0), '"' | '\'');
            let is_merge = self.peek(0) == '<' && self.peek(1) == '<';
            let key = if self.peek(0) == ':' && !explicit {
                Value::Null
            } else {
                self.flow_node(depth)?
            };
            self.skip_to_content()?;
            let colon = self.peek(0) == ':'
                && (quoted
                    || Self::blank(self.peek(1))
                    || matches!(self.peek(1), ',' | '[' | ']' | '{' | '}'));
            let value = if colon {
                self.at += 1;
                self.skip_to_content()?;
                Some(if matches!(self.peek(0), ',' | ']' | '}') {
                    Value::Null
                } else {
                    self.flow_node(depth)?
                })
            } else {
                None
            };
            match (open, value) {
                ('[', None) if !explicit => items.push(key),
                ('[', value) => {
                    let mut pair = IndexMap::new();
                    insert(&mut pair, key, value.unwrap_or(Value::Null));
                    items.push(Value::linked(pair));
                }
                (_, Some(value)) if is_merge => merges.push(value),
                (_, value) => insert(&mut entries, key, value.unwrap_or(Value::Null)),
            }
            self.skip_to_content()?;
            match self.peek(0) {
                ',' => self.at += 1,
                c if c == close => {}
                _ => return Err(self.fault(&format!("expected ',' or '{close}'"))),
            }
        }
        if open == '[' {
            return Ok(Value::list(items));
        }
        merge(&mut entries, merges, |message| self.fault(message))?;
        Ok(Value::linked(entries))
    }

    fn flow_node(&mut self, depth: usize) -> Eval<Value> {
        let mut tag = None;
        let mut anchor = None;
        while matches!(self.peek(0), '&' | '!') {
            let kind = self.peek(0);
            self.at += 1;
            let mut name = String::new();
            while !Self::blank(self.peek(0)) && !matches!(self.peek(0), ',' | ']' | '}' | '[' | '{')
            {
                name.push(self.peek(0));
                self.at += 1;
            }
            if kind == '&' {
                anchor = Some(name)
            } else {
                tag = Some(name)
            }
            self.skip_to_content()?;
        }
        let value = match self.peek(0) {
            '[' | '{' => self.flow(depth + 1)?,
            '*' => self.alias()?,
            '"' | '\'' => {
                let text = self.quoted()?;
                tagged(tag.as_deref(), Scalar { text, plain: false })?
            }
            c if starts_plain(c, self.peek(1), true) => {
                let text = self.plain_line(true);
                let text = self.plain_rest(text, -1, true)?;
                tagged(tag.as_deref(), Scalar { text, plain: true })?
            }
            other => return Err(self.fault(&format!("the node content was not found ('{other}')"))),
        };
        self.named(anchor, value)
    }
}

/// Whether the text up to a position ends with a line end, or goes on with one.
fn trailing_line_end(chars: &[char], at: usize) -> bool {
    chars.get(at) == Some(&'\n')
        || at.checked_sub(1).and_then(|last| chars.get(last)) == Some(&'\n')
}

fn starts_plain(c: char, next: char, in_flow: bool) -> bool {
    match c {
        '\0' | '\n' | ' ' | '\t' => false,
        '-' | '?' | ':' => {
            let indicator = in_flow && matches!(next, ',' | '[' | ']' | '{' | '}');
            !(Reader::blank(next) || indicator)
        }
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
        | '@' | '`' => false,
        _ => true,
    }
}

fn insert(entries: &mut IndexMap<Key, Value>, key: Value, value: Value) {
    // The later of two equal keys wins and stands last.
    entries.insert(Key::of(&key), value);
}

/// `<<: *base`: what is merged stands first and yields to what is written.
fn merge(
    entries: &mut IndexMap<Key, Value>,
    merges: Vec<Value>,
    fault: impl Fn(&str) -> Fault,
) -> Eval<()> {
    if merges.is_empty() {
        return Ok(());
    }
    let mut merged: IndexMap<Key, Value> = IndexMap::new();
    let take = |merged: &mut IndexMap<Key, Value>, map: &Map| {
        for (key, value) in map.entries.iter() {
            merged.entry(key.clone()).or_insert_with(|| value.clone());
        }
    };
    for value in &merges {
        match value {
            Value::Map(map) => take(&mut merged, map),
            Value::List(list) => {
                for item in list.items.iter() {
                    match item {
                        Value::Map(map) => take(&mut merged, map),
                        _ => return Err(fault("expected a mapping for merging")),
                    }
                }
            }
            _ => return Err(fault("expected a mapping or list of mappings for merging")),
        }
    }
    for (key, value) in entries.drain(..) {
        merged.insert(key, value);
    }
    *entries = merged;
    Ok(())
}

fn collection(tag: Option<&str>, value: Value) -> Eval<Value> {
    match (tag, &value) {
        (None | Some("!map" | "!seq" | "" | "!omap" | "!pairs"), _) => Ok(value),
        (Some("!set"), Value::Map(map)) => Ok(Value::list_of(
            Base::LinkedHashSet,
            map.entries.keys().map(Key::value).collect(),
        )),
        (Some(tag), _) => Err(Fault::new(format!(
            "could not determine a constructor for the tag !{tag}"
        ))),
    }
}

fn tagged(tag: Option<&str>, scalar: Scalar) -> Eval<Value> {
    let Some(tag) = tag else {
        return if scalar.plain {
            resolve(&scalar.text)
        } else {
            Ok(Value::str(scalar.text))
        };
    };
    match tag {
        "!str" | "" => Ok(Value::str(scalar.text)),
        "!int" | "!float" | "!bool" | "!timestamp" => {
            let value = resolve(&scalar.text)?;
            match (tag, &value) {
                ("!float", number) if number.is_number() => {
                    Ok(Value::Double(crate::operators::to_f64(number)))
                }
                ("!int", Value::Int(_) | Value::Long(_) | Value::Big(_))
                | ("!bool", Value::Bool(_))
                | ("!timestamp", Value::Date(_)) => Ok(value),
                _ => Err(Fault::new(format!("For input string: \"{}\"", scalar.text))),
            }
        }
        "!null" => Ok(Value::Null),
        "!binary" => {
            use base64::Engine;
            let clean: String = scalar.text.chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(clean)
                .map_err(|error| Fault::new(format!("illegal base64: {error}")))?;
            let items = bytes
                .into_iter()
                .map(|byte| Value::Byte(byte as i8))
                .collect();
            Ok(Value::array(crate::methods::BYTE, items))
        }
        other => Err(Fault::new(format!(
            "could not determine a constructor for the tag !{other}"
        ))),
    }
}

/// The type of a plain scalar in YAML 1.1.
fn resolve(text: &str) -> Eval<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        "=" => {
            return Err(Fault::new(
                "could not determine a constructor for the tag tag:yaml.org,2002:value",
            ));
        }
        ".nan" | ".NaN" | ".NAN" => return Ok(Value::Double(f64::NAN)),
        _ => {}
    }
    if let Some(value) = integer(text) {
        return value;
    }
    if let Some(value) = float(text) {
        return Ok(Value::Double(value));
    }
    if let Some(millis) = timestamp(text) {
        return Ok(Value::Date(millis));
    }
    Ok(Value::str(text))
}

fn integer(text: &str) -> Option<Eval<Value>> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let clean: String = digits.chars().filter(|c| *c != '_').collect();
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.len() > MAX_DIGITS {
        return Some(Err(Fault::limit(format!(
            "a number has more than {MAX_DIGITS} digits"
        ))));
    }
    let in_radix = |digits: &str, radix: u32| -> Option<Eval<Value>> {
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        let value = num_bigint::BigInt::parse_bytes(format!("{sign}{digits}").as_bytes(), radix)?;
        Some(number_value(&value.to_string(), false))
    };
    if let Some(rest) = clean.strip_prefix("0b") {
        return in_radix(rest, 2);
    }
    if let Some(rest) = clean.strip_prefix("0x") {
        return in_radix(rest, 16);
    }
    if clean.contains(':') {
        // Base 60: 12:30:45.
        let parts: Vec<&str> = clean.split(':').collect();
        let valid = clean
            .chars()
            .next()
            .is_some_and(|c| ('1'..='9').contains(&c))
            && parts
                .iter()
                .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
            && parts
                .iter()
                .skip(1)
                .all(|part| part.len() <= 2 && part.parse::<u32>().is_ok_and(|value| value < 60));
        if !valid {
            return None;
        }
        let total = parts.iter().try_fold(0i64, |sum, part| {
            sum.checked_mul(60)?.checked_add(part.parse::<i64>().ok()?)
        })?;
        let signed = if sign == "-" { -total } else { total };
        return Some(number_value(&signed.to_string(), false));
    }
    if clean.len() > 1 && clean.starts_with('0') {
        return in_radix(clean.get(1..).unwrap_or_default(), 8);
    }
    in_radix(&clean, 10)
}

fn float(text: &str) -> Option<f64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    if matches!(rest, ".inf" | ".Inf" | ".INF") {
        return Some(sign * f64::INFINITY);
    }
    let clean: String = rest.chars().filter(|c| *c != '_').collect();
    if rest.starts_with('_') || !clean.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if clean.contains(':') {
        let (head, fraction) = clean.split_once('.')?;
        let mut total = 0.0;
        for part in head.split(':') {
            total = total * 60.0 + part.parse::<u32>().ok()? as f64;
        }
        let fraction: f64 = format!("0.{fraction}").parse().ok()?;
        return Some(sign * (total + fraction));
    }
    let (mantissa, exponent) = match clean.find(['e', 'E']) {
        Some(at) => (clean.get(..at)?, clean.get(at + 1..)?),
        None => (clean.as_str(), ""),
    };
    let has_exponent = clean.len() > mantissa.len();
    let digits_only = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if has_exponent && !digits_only(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
        return None;
    }
    let valid = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            (digits_only(whole) && fraction.chars().all(|c| c.is_ascii_digit()))
                || (whole.is_empty() && digits_only(fraction))
        }
        None => has_exponent && digits_only(mantissa),
    };
    if !valid {
        return None;
    }
    clean.parse::<f64>().ok().map(|value| sign * value)
}

/// `yyyy-mm-dd`, or with a time and a zone.
fn timestamp(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |part: &str| -> Option<i64> {
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let year = number(text.get(..4)?)?;
    if bytes.get(4) != Some(&b'-') {
        return None;
    }
    let rest = text.get(5..)?;
    let (month, rest) = rest.split_once('-')?;
    if month.is_empty() || month.len() > 2 {
        return None;
    }
    let month_number = number(month)?;
    let day_length = rest.bytes().take_while(u8::is_ascii_digit).count();
    if day_length == 0 || day_length > 2 {
        return None;
    }
    let day = number(rest.get(..day_length)?)?;
    let rest = rest.get(day_length..)?;
    if rest.is_empty() {
        if month.len() != 2 || day_length != 2 {
            return None;
        }
        return Some(lenient_millis(year, month_number, day, 0, 0, 0, 0));
    }
    let rest = rest
        .strip_prefix(['T', 't'])
        .or_else(|| rest.strip_prefix([' ', '\t']).map(|rest| rest.trim_start()))?;
    let mut parts = rest.splitn(3, ':');
    let hour = number(parts.next()?)?;
    let minute = number(parts.next()?)?;
    let tail = parts.next()?;
    let second = number(tail.get(..2)?)?;
    let mut tail = tail.get(2..)?;
    let mut milli = 0;
    if let Some(fraction) = tail.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        milli = number(format!("{:0<3}", fraction.get(..length)?).get(..3)?)?;
        tail = fraction.get(length..)?;
    }
    let zone = tail.trim_start_matches([' ', '\t']);
    let offset = match zone {
        "" | "Z" => 0,
        zone => {
            let sign = match zone.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = zone
                .get(1..)?
                .split_once(':')
                .unwrap_or((zone.get(1..)?, "0"));
            if hours.is_empty() || hours.len() > 2 {
                return None;
            }
            sign * (number(hours)? * 60 + number(minutes)?)
        }
    };
    Some(lenient_millis(
        year,
        month_number,
        day,
        hour,
        minute.saturating_sub(offset),
        second,
        milli,
    ))
}
