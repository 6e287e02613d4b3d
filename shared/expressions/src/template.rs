//! Text with `${…}` in it.

use crate::ast::Node;
use crate::parser;

/// Longest text of a template in bytes: a 200 KB stage is one document, not one string; 1 MiB bounds the scan.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// A string with expressions, parsed once and evaluated any number of times.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    /// Characters of its longest expression, or its bytes where these are few enough.
    longest: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    Expression { text: String, node: Node },
}

/// Why a template does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, in the words of the original.
    pub message: String,
    /// Where in the expression (or, for brackets and quotes that do not close, in the template), in characters from 0.
    pub position: usize,
}

impl Template {
    /// Parses `text` as it stands; a text without `${` is a template without expressions.
    ///
    /// # Errors
    /// Brackets or quotes that do not close, an empty `${}`, and whatever is wrong inside an expression.
    pub fn parse(text: &str) -> Result<Template, ParseError> {
        Template::parse_within(text, parser::MAX_EXPRESSION_LENGTH)
    }

    /// The same where an expression may have so many characters.
    pub(crate) fn parse_within(text: &str, longest: usize) -> Result<Template, ParseError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(ParseError {
                message: format!(
                    "a text with expressions is longer than {MAX_TEMPLATE_BYTES} bytes"
                ),
                position: 0,
            });
        }
        let mut parts = Vec::with_capacity(1);
        let mut start = 0;
        let mut found = 0;
        while start < text.len() {
            let rest = text.get(start..).unwrap_or_default();
            let Some(offset) = rest.find("${") else {
                parts.push(Part::Text(rest.to_string()));
                break;
            };
            if offset > 0 {
                parts.push(Part::Text(
                    rest.get(..offset).unwrap_or_default().to_string(),
                ));
            }
            let prefix = start + offset;
            let after = prefix + 2;
            let end = end_of_expression(text, after)?.ok_or_else(|| {
                failure(
                    text,
                    prefix,
                    &format!(
                        "No ending suffix '}}' for expression starting at character {}: {}",
                        position(text, prefix),
                        text.get(prefix..).unwrap_or_default()
                    ),
                )
            })?;
            let inner = java_trim(text.get(after..end).unwrap_or_default());
            if inner.is_empty() {
                return Err(failure(
                    text,
                    prefix,
                    &format!(
                        "No expression defined within delimiter '${{}}' at character {}",
                        position(text, prefix)
                    ),
                ));
            }
            // It has no more characters than bytes: only a long one has to be counted.
            let characters = match inner.len() {
                bytes if bytes <= longest => bytes,
                _ => inner.encode_utf16().count(),
            };
            if characters > longest {
                return Err(parser::too_long(longest));
            }
            found = found.max(characters);
            parts.push(Part::Expression {
                text: inner.to_string(),
                node: parser::parse(inner)?,
            });
            start = end + 1;
        }
        Ok(Template {
            text: text.to_string(),
            parts,
            longest: found,
        })
    }

    /// Whether no expression in it has more characters.
    pub(crate) fn fits(&self, longest: usize) -> bool {
        self.longest <= longest
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expressions in it, without delimiters, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Expression { text, .. } => Some(text.as_str()),
            Part::Text(_) => None,
        })
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Orca's key of the evaluation summary: all parts joined without delimiters.
    pub(crate) fn key(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) | Part::Expression { text, .. } => text.as_str(),
            })
            .collect()
    }
}

/// Java's `String.trim`: everything up to the blank is white.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

fn position(text: &str, byte: usize) -> usize {
    text.get(..byte)
        .map_or(0, |head| head.encode_utf16().count())
}

fn failure(text: &str, byte: usize, message: &str) -> ParseError {
    let position = position(text, byte);
    ParseError {
        message: format!("Expression [{text}] @{position}: {message}"),
        position,
    }
}

/// The byte of the `}` that ends the expression which starts at `after`; brackets pair up, quotes may hold anything.
fn end_of_expression(text: &str, after: usize) -> Result<Option<usize>, ParseError> {
    let bytes = text.as_bytes();
    if !text.get(after..).unwrap_or_default().contains('}') {
        return Ok(None);
    }
    let mut open: Vec<(u8, usize)> = Vec::with_capacity(8);
    let mut at = after;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'}' && open.is_empty() {
            return Ok(Some(at));
        }
        match byte {
            b'{' | b'[' | b'(' => open.push((byte, at)),
            b')' | b']' | b'}' => {
                let wanted = match byte {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                let here = || position(text, at);
                match open.pop() {
                    None => {
                        return Err(failure(
                            text,
                            at,
                            &format!(
                                "Found closing '{}' at position {} without an opening '{}'",
                                byte as char,
                                here(),
                                wanted as char
                            ),
                        ));
                    }
                    Some((found, where_found)) if found != wanted => {
                        return Err(failure(
                            text,
                            at,
                            &format!(
                                "Found closing '{}' at position {} but most recent opening is '{}' at position {}",
                                byte as char,
                                here(),
                                found as char,
                                position(text, where_found)
                            ),
                        ));
                    }
                    Some(_) => {}
                }
            }
            b'\'' | b'"' => {
                let rest = bytes.get(at + 1..).unwrap_or_default();
                match rest.iter().position(|&other| other == byte) {
                    Some(offset) => at += 1 + offset,
                    None => {
                        let message = format!(
                            "Found non terminating string literal starting at position {}",
                            position(text, at)
                        );
                        return Err(failure(text, at, &message));
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    match open.pop() {
        Some((found, where_found)) => {
            let close = match found {
                b'(' => ')',
                b'[' => ']',
                _ => '}',
            };
            let message = format!(
                "Missing closing '{close}' for '{}' at position {}",
                found as char,
                position(text, where_found)
            );
            Err(failure(text, where_found, &message))
        }
        None => Ok(None),
    }
}
