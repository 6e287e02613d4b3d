//! Java's regular expressions on a backtracking engine with a bound.

use crate::fault::{Eval, Fault};

/// Steps back that one search may take; the original allows a million reads (EL1087E there is a stack overflow here).
const MAX_BACKTRACKS: usize = 1_000_000;

/// A compiled pattern: one for searching, one for matching a whole text.
#[derive(Debug)]
pub(crate) struct JavaRegex {
    find: fancy_regex::Regex,
    whole: fancy_regex::Regex,
}

/// A match: byte ranges of the groups, the whole first.
pub(crate) struct Found {
    pub(crate) groups: Vec<Option<(usize, usize)>>,
    pub(crate) names: Vec<Option<String>>,
}

impl Found {
    pub(crate) fn start(&self) -> usize {
        self.group(0).map_or(0, |group| group.0)
    }

    pub(crate) fn end(&self) -> usize {
        self.group(0).map_or(0, |group| group.1)
    }

    pub(crate) fn group(&self, index: usize) -> Option<(usize, usize)> {
        self.groups.get(index).copied().flatten()
    }
}

impl JavaRegex {
    pub(crate) fn new(pattern: &str) -> Eval<JavaRegex> {
        let translated = translate(pattern)?;
        let build = |text: &str| {
            fancy_regex::RegexBuilder::new(text)
                .backtrack_limit(MAX_BACKTRACKS)
                .delegate_size_limit(2 << 20)
                .delegate_dfa_size_limit(2 << 20)
                .build()
                .map_err(|error| Fault::new(format!("{error} in the regular expression {pattern}")))
        };
        Ok(JavaRegex {
            find: build(&translated)?,
            whole: build(&format!("^(?:{translated})\\z"))?,
        })
    }

    /// `Matcher.matches`.
    pub(crate) fn matches(&self, text: &str) -> Eval<bool> {
        self.whole.is_match(text).map_err(costly)
    }

    /// Whether there is a match anywhere.
    pub(crate) fn finds(&self, text: &str) -> Eval<bool> {
        self.find.is_match(text).map_err(costly)
    }

    /// The next match at or after a byte position.
    pub(crate) fn find_from(&self, text: &str, from: usize) -> Eval<Option<Found>> {
        if from > text.len() {
            return Ok(None);
        }
        let captures = self.find.captures_from_pos(text, from).map_err(costly)?;
        Ok(captures.map(|captures| Found {
            groups: (0..captures.len())
                .map(|index| {
                    captures
                        .get(index)
                        .map(|group| (group.start(), group.end()))
                })
                .collect(),
            names: self
                .find
                .capture_names()
                .map(|name| name.map(str::to_string))
                .collect(),
        }))
    }
}

fn costly(error: fancy_regex::Error) -> Fault {
    Fault::limit(format!("the regular expression takes too long: {error}"))
}

const LINE_END: &str = r"(?:\r\n|[\n\r\u{85}\u{2028}\u{2029}])";

/// From Java's dialect to the engine's.
fn translate(pattern: &str) -> Eval<String> {
    let chars: Vec<char> = pattern.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut index = 0;
    let mut class_depth = 0usize;
    // Flags that change how `.`, `^` and `$` are written; groups restore them.
    let mut flags = Flags::default();
    let mut stack: Vec<Flags> = Vec::new();
    while index < chars.len() {
        let c = at(index);
        match c {
            '\\' => {
                index += 1;
                if index >= chars.len() {
                    return Err(Fault::new(format!(
                        "Unexpected internal error near index {index} {pattern}"
                    )));
                }
                let escaped = at(index);
                index += 1;
                let in_class = class_depth > 0;
                match escaped {
                    'Q' => {
                        let rest: String = chars.get(index..).unwrap_or_default().iter().collect();
                        let quoted = rest.split("\\E").next().unwrap_or_default();
                        for c in quoted.chars() {
                            flags.push_literal(c, in_class, &mut out);
                        }
                        index += quoted.chars().count() + 2;
                    }
                    'd' => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                    'D' => out.push_str("[^0-9]"),
                    'w' => out.push_str(if in_class {
                        "a-zA-Z0-9_"
                    } else {
                        "[a-zA-Z0-9_]"
                    }),
                    'W' => out.push_str("[^a-zA-Z0-9_]"),
                    's' => out.push_str(if in_class {
                        r" \t\n\x0B\f\r"
                    } else {
                        r"[ \t\n\x0B\f\r]"
                    }),
                    'S' => out.push_str(r"[^ \t\n\x0B\f\r]"),
                    'h' => out.push_str(if in_class {
                        r" \t\u{A0}\u{1680}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}"
                    } else {
                        r"[ \t\u{A0}\u{1680}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}]"
                    }),
                    'R' => out.push_str(LINE_END),
                    'Z' => out.push_str(&format!(r"(?={LINE_END}?\z)")),
                    'z' => out.push_str(r"\z"),
                    'A' => out.push_str(r"\A"),
                    'e' => out.push_str(r"\x1B"),
                    'a' => out.push_str(r"\x07"),
                    't' | 'n' | 'r' | 'f' | 'b' | 'B' | 'G' => {
                        out.push('\\');
                        out.push(escaped);
                    }
                    'u' => {
                        let digits: String = chars
                            .get(index..index + 4)
                            .unwrap_or_default()
                            .iter()
                            .collect();
                        let code = u32::from_str_radix(&digits, 16)
                            .ok()
                            .filter(|_| digits.len() == 4);
                        let Some(code) = code else {
                            return Err(Fault::new(format!(
                                "Illegal Unicode escape sequence near index {index} {pattern}"
                            )));
                        };
                        index += 4;
                        out.push_str(&format!("\\x{{{code:X}}}"));
                    }
                    'x' => {
                        if at(index) == '{' {
                            out.push_str("\\x");
                        } else {
                            let digits: String = chars
                                .get(index..index + 2)
                                .unwrap_or_default()
                                .iter()
                                .collect();
                            if digits.len() != 2 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                                return Err(Fault::new(format!(
                                    "Illegal hexadecimal escape sequence near index {index} {pattern}"
                                )));
                            }
                            index += 2;
                            out.push_str(&format!("\\x{{{digits}}}"));
                        }
                    }
                    '0' => {
                        let mut digits = String::new();
                        while digits.len() < 3 && ('0'..='7').contains(&at(index)) {
                            digits.push(at(index));
                            index += 1;
                        }
                        let code = u32::from_str_radix(&digits, 8).map_err(|_| {
                            Fault::new(format!(
                                "Illegal octal escape sequence near index {index} {pattern}"
                            ))
                        })?;
                        out.push_str(&format!("\\x{{{code:X}}}"));
                    }
                    'p' | 'P' => {
                        let (name, next) = property_name(&chars, index).ok_or_else(|| {
                            Fault::new(format!(
                                "Unclosed character family near index {index} {pattern}"
                            ))
                        })?;
                        index = next;
                        out.push_str(&property(&name, escaped == 'P'));
                    }
                    'k' => out.push_str("\\k"),
                    '1'..='9' => {
                        out.push('\\');
                        out.push(escaped);
                    }
                    c if c.is_ascii_alphabetic() => {
                        return Err(Fault::new(format!(
                            "Illegal/unsupported escape sequence near index {} {pattern}",
                            index.saturating_sub(1)
                        )));
                    }
                    c => flags.push_literal(c, in_class, &mut out),
                }
                continue;
            }
            '[' => {
                class_depth += 1;
                out.push('[');
                index += 1;
                if at(index) == '^' {
                    out.push('^');
                    index += 1;
                }
                continue;
            }
            ']' if class_depth > 0 => {
                class_depth -= 1;
                out.push(']');
            }
            _ if class_depth > 0 => match c {
                '&' if at(index + 1) == '&' => {
                    out.push_str("&&");
                    index += 1;
                }
                '~' | '#' | '&' | ' ' => push_literal(c, &mut out),
                '-' if at(index + 1) == '-' => out.push_str("\\-"),
                c => out.push(c),
            },
            '.' => out.push_str(if flags.dot_all {
                "(?s:.)"
            } else {
                r"[^\n\r\u{85}\u{2028}\u{2029}]"
            }),
            '$' => {
                if flags.multi_line {
                    out.push_str(&format!(r"(?={LINE_END}|\z)"));
                } else {
                    out.push_str(&format!(r"(?={LINE_END}?\z)"));
                }
            }
            '(' => {
                stack.push(flags);
                if at(index + 1) == '?'
                    && !matches!(at(index + 2), ':' | '=' | '!' | '<' | '>' | 'P')
                {
                    let mut end = index + 2;
                    while matches!(at(end), 'a'..='z' | 'A'..='Z' | '-') {
                        end += 1;
                    }
                    let letters: String = chars
                        .get(index + 2..end)
                        .unwrap_or_default()
                        .iter()
                        .collect();
                    let inline = at(end) == ')';
                    if inline || at(end) == ':' {
                        let next = flags.with(&letters);
                        let kept: String = letters
                            .chars()
                            .filter(|c| matches!(c, 'i' | 'm' | 's' | 'x' | '-'))
                            .collect();
                        let kept = if kept.ends_with('-') {
                            kept.trim_end_matches('-').to_string()
                        } else {
                            kept
                        };
                        if inline {
                            stack.pop();
                            flags = next;
                            if !kept.is_empty() {
                                out.push_str(&format!("(?{kept})"));
                            }
                        } else {
                            flags = next;
                            out.push_str(&format!("(?{kept}:"));
                        }
                        index = end + 1;
                        continue;
                    }
                }
                // The name of a group starts with a letter in Java.
                if at(index + 1) == '?'
                    && at(index + 2) == '<'
                    && !matches!(at(index + 3), '=' | '!')
                    && !at(index + 3).is_ascii_alphabetic()
                {
                    return Err(Fault::new(format!(
                        "capturing group name does not start with a Latin letter near index {} {pattern}",
                        index + 3
                    )));
                }
                out.push('(');
            }
            ')' => {
                if let Some(previous) = stack.pop() {
                    flags = previous;
                }
                out.push(')');
            }
            '{' => {
                // A brace that counts nothing is an error in Java, text in the engine.
                if !at(index + 1).is_ascii_digit() {
                    return Err(Fault::new(format!("Illegal repetition {pattern}")));
                }
                if !counts(&chars, index) {
                    return Err(Fault::new(format!(
                        "Unclosed counted closure or illegal repetition range near index {index} {pattern}"
                    )));
                }
                out.push('{');
            }
            c if c.is_ascii() => out.push(c),
            c => flags.push_literal(c, false, &mut out),
        }
        index += 1;
    }
    if class_depth > 0 {
        return Err(Fault::new(format!(
            "Unclosed character class near index {} {pattern}",
            chars.len().saturating_sub(1)
        )));
    }
    Ok(out)
}

#[derive(Clone, Copy, Default)]
struct Flags {
    dot_all: bool,
    multi_line: bool,
    ignore_case: bool,
    unicode_case: bool,
}

impl Flags {
    fn with(self, letters: &str) -> Flags {
        let mut flags = self;
        let mut on = true;
        for letter in letters.chars() {
            match letter {
                '-' => on = false,
                's' => flags.dot_all = on,
                'm' => flags.multi_line = on,
                'i' => flags.ignore_case = on,
                'u' => flags.unicode_case = on,
                _ => {}
            }
        }
        flags
    }

    /// Without `u`, Java's `i` ignores the case of ASCII letters only.
    fn push_literal(self, c: char, in_class: bool, out: &mut String) {
        if !c.is_ascii() && self.ignore_case && !self.unicode_case && !in_class {
            out.push_str("(?-i:");
            out.push(c);
            out.push(')');
        } else {
            push_literal(c, out);
        }
    }
}

/// Whether the repetition that starts here is `{n}`, `{n,}` or `{n,m}` with a maximum that is not below its minimum.
fn counts(chars: &[char], open: usize) -> bool {
    let rest = chars.get(open + 1..).unwrap_or_default();
    let Some(close) = rest.iter().position(|c| *c == '}') else {
        return false;
    };
    let text: String = rest.get(..close).unwrap_or_default().iter().collect();
    let number = |text: &str| text.parse::<u32>().ok();
    match text.split_once(',') {
        None => number(&text).is_some(),
        Some((from, "")) => number(from).is_some(),
        Some((from, to)) => number(from)
            .zip(number(to))
            .is_some_and(|(from, to)| from <= to),
    }
}

fn push_literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() || c == ' ' {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    } else {
        out.push(c);
    }
}

fn property_name(chars: &[char], index: usize) -> Option<(String, usize)> {
    if chars.get(index) == Some(&'{') {
        let length = chars.get(index..)?.iter().position(|c| *c == '}')?;
        Some((
            chars.get(index + 1..index + length)?.iter().collect(),
            index + length + 1,
        ))
    } else {
        Some((chars.get(index)?.to_string(), index + 1))
    }
}

fn property(name: &str, negated: bool) -> String {
    let posix = match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`{-~",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => r" \t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => r" \t\n\x0B\f\r",
        _ => "",
    };
    let not = if negated { "^" } else { "" };
    if !posix.is_empty() {
        return format!("[{not}{posix}]");
    }
    let name = match name {
        "javaLowerCase" | "IsLowercase" => "Lowercase",
        "javaUpperCase" | "IsUppercase" => "Uppercase",
        "javaWhitespace" | "IsWhite_Space" => "White_Space",
        "IsAlphabetic" | "javaLetter" => "Alphabetic",
        "IsDigit" => "Nd",
        "IsPunctuation" => "P",
        other => other.strip_prefix("Is").unwrap_or(other),
    };
    format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' })
}
