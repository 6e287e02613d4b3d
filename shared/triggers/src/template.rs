//! Message formats: the part of Jinja that names the artifacts of a message, within bounds.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::artifact::Artifact;
use crate::json::{MAX_DEPTH, depth, java_text};

/// Longest template, and longest text that one may make.
const MAX_TEMPLATE: usize = 256 * 1024;
const MAX_OUTPUT: usize = 4 * 1024 * 1024;

/// Bytes of values that one rendering may copy or make.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Steps that one rendering may take.
const MAX_STEPS: usize = 100_000;

/// Deepest nesting of blocks and of expressions.
const MAX_NESTING: usize = 40;

/// Why a message names no artifacts.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum TemplateError {
    /// The message is no JSON object.
    #[error("the message is no JSON object")]
    Message,
    /// The template is wrong, at a place.
    #[error("the message format is wrong: {0}")]
    Template(String),
    /// Rendering takes too much.
    #[error("the message format makes too much of this message")]
    TooCostly,
}

/// The artifacts that a message format makes of a message. What it makes that is no list of artifacts names none.
///
/// # Errors
/// [`TemplateError`].
pub fn artifacts(template: &str, message: &str) -> Result<Vec<Artifact>, TemplateError> {
    if depth(message.as_bytes()) > MAX_DEPTH {
        return Err(TemplateError::Message);
    }
    let Ok(Value::Object(message)) = serde_json::from_str::<Value>(message) else {
        return Err(TemplateError::Message);
    };
    let text = render(template, message)?;
    if depth(text.as_bytes()) > MAX_DEPTH {
        return Ok(Vec::new());
    }
    let made = serde_json::from_str::<Value>(&text).unwrap_or_default();
    Ok(Artifact::read_list("artifacts", &made)
        .ok()
        .flatten()
        .unwrap_or_default())
}

/// Whether a message format can be read at all.
///
/// # Errors
/// [`TemplateError`]: what is wrong with it.
pub fn check(template: &str) -> Result<(), TemplateError> {
    parsed(template).map(|_| ())
}

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Expression),
    If(Vec<(Option<Expression>, Vec<Node>)>),
    For(String, Expression, Vec<Node>),
    Set(String, Expression),
}

#[derive(Debug)]
enum Expression {
    Literal(Value),
    List(Vec<Expression>),
    Name(String),
    Attribute(Box<Expression>, String),
    Index(Box<Expression>, Box<Expression>),
    Call(Box<Expression>, String, Vec<Expression>),
    Filter(
        Box<Expression>,
        String,
        Vec<Expression>,
        Vec<(String, Expression)>,
    ),
    Defined(Box<Expression>),
    Not(Box<Expression>),
    Binary(&'static str, Box<Expression>, Box<Expression>),
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Print(&'a str),
    Statement(&'a str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.match_indices('{').map(|(at, _)| at).find(|at| {
        rest.get(at + 1..)
            .is_some_and(|after| after.starts_with(['{', '%', '#']))
    }) {
        let (before, after) = rest.split_at(open);
        if !before.is_empty() {
            found.push(Piece::Text(before));
        }
        let kind = after.get(1..2).unwrap_or_default();
        let close = match kind {
            "{" => "}}",
            "%" => "%}",
            _ => "#}",
        };
        let inner = after.get(2..).unwrap_or_default();
        let Some((inner, next)) = inner.split_once(close) else {
            return Err(TemplateError::Template(format!("`{close}` is missing")));
        };
        let inner = inner.trim_matches('-').trim();
        match kind {
            "{" => found.push(Piece::Print(inner)),
            "%" => found.push(Piece::Statement(inner)),
            _ => {}
        }
        rest = next;
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Ok(found)
}

/// Reads nodes up to one of the statements that end them; gives that statement.
fn nodes<'a>(
    pieces: &mut std::vec::IntoIter<Piece<'a>>,
    ends: &[&str],
    nesting: usize,
) -> Result<(Vec<Node>, &'a str), TemplateError> {
    if nesting > MAX_NESTING {
        return Err(TemplateError::TooCostly);
    }
    let wrong = |text: &str| TemplateError::Template(format!("`{text}` is not expected"));
    let mut found = Vec::new();
    while let Some(piece) = pieces.next() {
        let statement = match piece {
            Piece::Text(text) => {
                found.push(Node::Text(text.to_owned()));
                continue;
            }
            Piece::Print(text) => {
                found.push(Node::Print(Parser::parse(text)?));
                continue;
            }
            Piece::Statement(statement) => statement,
        };
        let (word, rest) = statement
            .split_once(char::is_whitespace)
            .unwrap_or((statement, ""));
        if ends.contains(&word) {
            return Ok((found, statement));
        }
        match word {
            "if" => {
                let mut branches = Vec::new();
                let mut condition = Some(Parser::parse(rest)?);
                loop {
                    let (body, end) = nodes(pieces, &["elif", "else", "endif"], nesting + 1)?;
                    branches.push((condition.take(), body));
                    match end.split_once(char::is_whitespace) {
                        Some(("elif", rest)) => condition = Some(Parser::parse(rest)?),
                        _ if end == "else" => {}
                        _ => break,
                    }
                }
                found.push(Node::If(branches));
            }
            "for" => {
                let (name, list) = rest.split_once(" in ").ok_or_else(|| wrong(statement))?;
                let list = Parser::parse(list)?;
                let (body, _) = nodes(pieces, &["endfor"], nesting + 1)?;
                found.push(Node::For(name.trim().to_owned(), list, body));
            }
            "set" => {
                let (name, value) = rest.split_once('=').ok_or_else(|| wrong(statement))?;
                found.push(Node::Set(name.trim().to_owned(), Parser::parse(value)?));
            }
            _ => return Err(wrong(statement)),
        }
    }
    if ends.is_empty() {
        return Ok((found, ""));
    }
    Err(TemplateError::Template(format!(
        "`{}` is missing",
        ends.join("` or `")
    )))
}

fn parsed(template: &str) -> Result<Vec<Node>, TemplateError> {
    if template.len() > MAX_TEMPLATE {
        return Err(TemplateError::TooCostly);
    }
    let mut pieces = pieces(template)?.into_iter();
    nodes(&mut pieces, &[], 0).map(|(nodes, _)| nodes)
}

fn render(template: &str, message: Map<String, Value>) -> Result<String, TemplateError> {
    let nodes = parsed(template)?;
    let mut renderer = Renderer {
        names: message.into_iter().collect(),
        out: String::new(),
        steps: 0,
        bytes: 0,
    };
    renderer.render(&nodes)?;
    Ok(renderer.out)
}

struct Renderer {
    names: HashMap<String, Value>,
    out: String,
    steps: usize,
    bytes: usize,
}

/// About how much memory a value takes.
fn size(value: &Value) -> usize {
    16 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

impl Renderer {
    fn step(&mut self) -> Result<(), TemplateError> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.out.len() > MAX_OUTPUT {
            return Err(TemplateError::TooCostly);
        }
        Ok(())
    }

    fn render(&mut self, nodes: &[Node]) -> Result<(), TemplateError> {
        for node in nodes {
            self.step()?;
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(expression) => {
                    let value = self.value(expression)?;
                    self.out.push_str(&printed(&value));
                }
                Node::Set(name, expression) => {
                    let value = self.value(expression)?;
                    self.names.insert(name.clone(), value);
                }
                Node::If(branches) => {
                    for (condition, body) in branches {
                        let holds = match condition {
                            Some(condition) => is_true(&self.value(condition)?),
                            None => true,
                        };
                        if holds {
                            self.render(body)?;
                            break;
                        }
                    }
                }
                Node::For(name, list, body) => {
                    let items = match self.value(list)? {
                        Value::Array(items) => items,
                        Value::Object(map) => map.into_iter().map(|(key, _)| key.into()).collect(),
                        _ => Vec::new(),
                    };
                    let before = [name.as_str(), "loop"].map(|name| self.names.get(name).cloned());
                    let length = items.len();
                    for (at, item) in items.into_iter().enumerate() {
                        self.step()?;
                        self.names.insert(name.clone(), item);
                        let state = serde_json::json!({
                            "index": at + 1, "index0": at, "first": at == 0,
                            "last": at + 1 == length, "length": length,
                        });
                        self.names.insert("loop".to_owned(), state);
                        self.render(body)?;
                    }
                    for (name, value) in [name.as_str(), "loop"].into_iter().zip(before) {
                        match value {
                            Some(value) => self.names.insert(name.to_owned(), value),
                            None => self.names.remove(name),
                        };
                    }
                }
            }
        }
        Ok(())
    }

    /// What a plain path names, without copying what it leads through.
    fn named(&self, expression: &Expression) -> Option<&Value> {
        match expression {
            Expression::Name(name) => self.names.get(name),
            Expression::Attribute(of, name) => self.named(of)?.get(name),
            Expression::Index(of, index) => match index.as_ref() {
                Expression::Literal(Value::String(key)) => self.named(of)?.get(key),
                Expression::Literal(Value::Number(at)) => {
                    self.named(of)?.get(usize::try_from(at.as_u64()?).ok()?)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The value of an expression; what does not exist is null.
    fn value(&mut self, expression: &Expression) -> Result<Value, TemplateError> {
        self.step()?;
        let value = match self.named(expression) {
            Some(found) => {
                let bytes = size(found);
                if self.bytes + bytes > MAX_BYTES {
                    return Err(TemplateError::TooCostly);
                }
                found.clone()
            }
            None => self.made(expression)?,
        };
        self.bytes += size(&value);
        if self.bytes > MAX_BYTES {
            return Err(TemplateError::TooCostly);
        }
        Ok(value)
    }

    /// The value of an expression that is no plain path to something.
    fn made(&mut self, expression: &Expression) -> Result<Value, TemplateError> {
        Ok(match expression {
            Expression::Literal(value) => value.clone(),
            Expression::List(items) => items
                .iter()
                .map(|item| self.value(item))
                .collect::<Result<_, _>>()?,
            Expression::Name(name) => self.names.get(name).cloned().unwrap_or_default(),
            Expression::Attribute(of, name) => {
                self.value(of)?.get(name).cloned().unwrap_or_default()
            }
            Expression::Index(of, index) => {
                let of = self.value(of)?;
                match self.value(index)? {
                    Value::String(key) => of.get(&key).cloned().unwrap_or_default(),
                    Value::Number(number) => {
                        let items = of.as_array().map(Vec::as_slice).unwrap_or_default();
                        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                        let at = number
                            .as_i64()
                            .map(|at| if at < 0 { at + length } else { at });
                        at.and_then(|at| items.get(usize::try_from(at).ok()?))
                            .cloned()
                            .unwrap_or_default()
                    }
                    _ => Value::Null,
                }
            }
            Expression::Call(of, name, arguments) => {
                let of = self.value(of)?;
                let arguments = self.values(arguments)?;
                call(&of, name, &arguments)
            }
            Expression::Filter(of, name, arguments, named) => {
                let of = self.value(of)?;
                let arguments = self.values(arguments)?;
                let mut by_name = Map::new();
                for (key, value) in named {
                    by_name.insert(key.clone(), self.value(value)?);
                }
                filter(of, name, &arguments, &by_name)
            }
            Expression::Defined(inner) => (!self.value(inner)?.is_null()).into(),
            Expression::Not(inner) => (!is_true(&self.value(inner)?)).into(),
            Expression::Binary("and", left, right) => {
                let left = self.value(left)?;
                if is_true(&left) {
                    self.value(right)?
                } else {
                    left
                }
            }
            Expression::Binary("or", left, right) => {
                let left = self.value(left)?;
                if is_true(&left) {
                    left
                } else {
                    self.value(right)?
                }
            }
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                binary(operator, &left, &right)
            }
        })
    }

    fn values(&mut self, expressions: &[Expression]) -> Result<Vec<Value>, TemplateError> {
        expressions.iter().map(|one| self.value(one)).collect()
    }
}

fn printed(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => java_text(value),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn binary(operator: &str, left: &Value, right: &Value) -> Value {
    let numbers = left.as_f64().zip(right.as_f64());
    let order = || match numbers {
        Some((left, right)) => left.partial_cmp(&right),
        None => Some(printed(left).cmp(&printed(right))),
    };
    match operator {
        "+" => match (left.as_i64().zip(right.as_i64()), numbers) {
            (Some((left, right)), _) => left.saturating_add(right).into(),
            (None, Some((left, right))) => (left + right).into(),
            _ => format!("{}{}", printed(left), printed(right)).into(),
        },
        "~" => format!("{}{}", printed(left), printed(right)).into(),
        "-" => match (left.as_i64().zip(right.as_i64()), numbers) {
            (Some((left, right)), _) => left.saturating_sub(right).into(),
            (None, Some((left, right))) => (left - right).into(),
            _ => Value::Null,
        },
        "==" | "!=" => {
            let equal = match numbers {
                Some((left, right)) => left == right,
                None => left == right,
            };
            (equal == (operator == "==")).into()
        }
        "<" => order().is_some_and(std::cmp::Ordering::is_lt).into(),
        "<=" => order().is_some_and(std::cmp::Ordering::is_le).into(),
        ">" => order().is_some_and(std::cmp::Ordering::is_gt).into(),
        ">=" => order().is_some_and(std::cmp::Ordering::is_ge).into(),
        "in" => match right {
            Value::Array(items) => items.contains(left),
            Value::String(text) => text.contains(&printed(left)),
            Value::Object(map) => map.contains_key(&printed(left)),
            _ => false,
        }
        .into(),
        _ => Value::Null,
    }
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return text.split_whitespace().map(Value::from).collect();
    }
    text.split(separator).map(Value::from).collect()
}

/// The text with replacements; nothing if that would be far longer than any message.
fn replaced(text: &str, from: &str, to: &str) -> Value {
    let places = text.matches(from).count();
    if places.saturating_mul(to.len()) > MAX_OUTPUT {
        return Value::Null;
    }
    text.replace(from, to).into()
}

/// A method of a text.
fn call(of: &Value, name: &str, arguments: &[Value]) -> Value {
    let Value::String(text) = of else {
        return Value::Null;
    };
    let argument = |at: usize| arguments.get(at).map(printed).unwrap_or_default();
    match name {
        "split" => split(text, &argument(0)),
        "replace" => replaced(text, &argument(0), &argument(1)),
        "startsWith" | "startswith" => text.starts_with(&argument(0)).into(),
        "endsWith" | "endswith" => text.ends_with(&argument(0)).into(),
        "contains" => text.contains(&argument(0)).into(),
        "toLowerCase" | "lower" => text.to_lowercase().into(),
        "toUpperCase" | "upper" => text.to_uppercase().into(),
        "trim" | "strip" => text.trim().into(),
        _ => Value::Null,
    }
}

/// A filter. One that is unknown makes nothing of everything, as in the original.
fn filter(of: Value, name: &str, arguments: &[Value], named: &Map<String, Value>) -> Value {
    let argument = |at: usize| arguments.get(at).map(printed).unwrap_or_default();
    match name {
        "upper" => printed(&of).to_uppercase().into(),
        "lower" => printed(&of).to_lowercase().into(),
        "trim" => printed(&of).trim().into(),
        "capitalize" => {
            let text = printed(&of).to_lowercase();
            let mut chars = text.chars();
            match chars.next() {
                Some(first) => format!("{}{}", first.to_uppercase(), chars.as_str()).into(),
                None => text.into(),
            }
        }
        "string" => printed(&of).into(),
        "int" => printed(&of).trim().parse::<i64>().unwrap_or(0).into(),
        "replace" => replaced(&printed(&of), &argument(0), &argument(1)),
        "split" => split(&printed(&of), &argument(0)),
        "default" | "d" => {
            let replaced = of.is_null() || (arguments.get(1).is_some_and(is_true) && !is_true(&of));
            if replaced {
                arguments.first().cloned().unwrap_or_default()
            } else {
                of
            }
        }
        "length" | "count" => match &of {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            Value::String(text) => text.chars().count(),
            _ => 0,
        }
        .into(),
        "first" => of.get(0).cloned().unwrap_or_default(),
        "last" => of
            .as_array()
            .and_then(|items| items.last())
            .cloned()
            .unwrap_or_default(),
        "join" => {
            let items = of.as_array().map(Vec::as_slice).unwrap_or_default();
            let separator = argument(0);
            if separator.len().saturating_mul(items.len()) > MAX_OUTPUT {
                return Value::Null;
            }
            let parts: Vec<String> = items.iter().map(printed).collect();
            parts.join(&separator).into()
        }
        "map" => {
            let items = of.as_array().map(Vec::as_slice).unwrap_or_default();
            match named.get("attribute").map(printed) {
                Some(attribute) => items
                    .iter()
                    .map(|item| item.get(&attribute).cloned().unwrap_or_default())
                    .collect(),
                None => items
                    .iter()
                    .map(|item| filter(item.clone(), &argument(0), &[], &Map::new()))
                    .collect(),
            }
        }
        "tojson" => of.to_string().into(),
        "fromjson" => {
            let text = printed(&of);
            if depth(text.as_bytes()) > MAX_DEPTH {
                return Value::Null;
            }
            serde_json::from_str(&text).unwrap_or_default()
        }
        _ => Value::Null,
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn parse(text: &str) -> Result<Expression, TemplateError> {
        let mut parser = Parser {
            rest: text,
            depth: 0,
        };
        let expression = parser.or()?;
        parser.skip();
        if parser.rest.is_empty() {
            Ok(expression)
        } else {
            Err(parser.wrong())
        }
    }

    fn wrong(&self) -> TemplateError {
        let near: String = self.rest.chars().take(20).collect();
        TemplateError::Template(format!("near `{near}`"))
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(word) {
            Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn word(&mut self) -> Option<String> {
        self.skip();
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        Some(word.to_owned())
    }

    fn or(&mut self) -> Result<Expression, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(TemplateError::TooCostly);
        }
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Expression::Binary("or", Box::new(left), Box::new(self.and()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, TemplateError> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Expression::Binary("and", Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, TemplateError> {
        let mut turned = false;
        while self.take_word("not") {
            turned = !turned;
        }
        let inner = self.comparison()?;
        Ok(if turned {
            Expression::Not(Box::new(inner))
        } else {
            inner
        })
    }

    fn comparison(&mut self) -> Result<Expression, TemplateError> {
        let left = self.sum()?;
        if self.take_word("is") {
            let turned = self.take_word("not");
            if !self.take_word("defined") {
                return Err(self.wrong());
            }
            let defined = Expression::Defined(Box::new(left));
            return Ok(if turned {
                Expression::Not(Box::new(defined))
            } else {
                defined
            });
        }
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.take(operator) {
                return Ok(Expression::Binary(
                    operator,
                    Box::new(left),
                    Box::new(self.sum()?),
                ));
            }
        }
        if self.take_word("in") {
            return Ok(Expression::Binary(
                "in",
                Box::new(left),
                Box::new(self.sum()?),
            ));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expression, TemplateError> {
        let mut left = self.postfix()?;
        loop {
            let operator = ["+", "-", "~"].into_iter().find(|one| self.take(one));
            let Some(operator) = operator else {
                return Ok(left);
            };
            left = Expression::Binary(operator, Box::new(left), Box::new(self.postfix()?));
        }
    }

    fn postfix(&mut self) -> Result<Expression, TemplateError> {
        let mut value = self.primary()?;
        for _ in 0..MAX_NESTING {
            if self.take(".") {
                let name = self.word().ok_or_else(|| self.wrong())?;
                value = if self.take("(") {
                    let (arguments, _) = self.arguments()?;
                    Expression::Call(Box::new(value), name, arguments)
                } else {
                    Expression::Attribute(Box::new(value), name)
                };
            } else if self.take("[") {
                let index = self.or()?;
                if !self.take("]") {
                    return Err(self.wrong());
                }
                value = Expression::Index(Box::new(value), Box::new(index));
            } else if self.take("|") {
                let name = self.word().ok_or_else(|| self.wrong())?;
                let (arguments, named) = if self.take("(") {
                    self.arguments()?
                } else {
                    (Vec::new(), Vec::new())
                };
                value = Expression::Filter(Box::new(value), name, arguments, named);
            } else {
                return Ok(value);
            }
        }
        Err(TemplateError::TooCostly)
    }

    #[allow(
        clippy::type_complexity,
        reason = "arguments by place and by name, read together and taken apart at once"
    )]
    fn arguments(&mut self) -> Result<(Vec<Expression>, Vec<(String, Expression)>), TemplateError> {
        let (mut placed, mut named) = (Vec::new(), Vec::new());
        while !self.take(")") {
            let before = self.rest;
            match self.word() {
                Some(name) if self.take("=") && !self.rest.starts_with('=') => {
                    named.push((name, self.or()?));
                }
                _ => {
                    self.rest = before;
                    placed.push(self.or()?);
                }
            }
            self.skip();
            if !self.take(",") && !self.rest.starts_with(')') {
                return Err(self.wrong());
            }
        }
        Ok((placed, named))
    }

    fn primary(&mut self) -> Result<Expression, TemplateError> {
        self.skip();
        if self.take("(") {
            let inner = self.or()?;
            return if self.take(")") {
                Ok(inner)
            } else {
                Err(self.wrong())
            };
        }
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                items.push(self.or()?);
                self.skip();
                if !self.take(",") && !self.rest.starts_with(']') {
                    return Err(self.wrong());
                }
            }
            return Ok(Expression::List(items));
        }
        for quote in ['"', '\''] {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                let (text, rest) = rest.split_once(quote).ok_or_else(|| self.wrong())?;
                self.rest = rest;
                return Ok(Expression::Literal(text.into()));
            }
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
            let number = serde_json::from_str(digits).map_err(|_| self.wrong())?;
            self.rest = rest;
            return Ok(Expression::Literal(number));
        }
        let name = self.word().ok_or_else(|| self.wrong())?;
        Ok(match name.as_str() {
            "true" | "True" => Expression::Literal(true.into()),
            "false" | "False" => Expression::Literal(false.into()),
            "none" | "None" | "null" => Expression::Literal(Value::Null),
            _ => Expression::Name(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_format_names_the_artifacts_of_a_message() {
        let template = r#"[{# each #}{% for i in items %}{"type": "docker/image", "name": "{{ i.name | lower }}",
            "version": "{{ i.tag | default("latest") }}"}{% if not loop.last %},{% endif %}{% endfor %}]"#;
        let message = r#"{"items": [{"name": "Shop/API", "tag": "v1"}, {"name": "b"}]}"#;
        let found = artifacts(template, message).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|one| (one.name.clone().unwrap(), one.version.clone().unwrap()))
            .collect();
        let wanted = [("shop/api", "v1"), ("b", "latest")];
        assert!(
            names
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .eq(wanted)
        );
        assert_eq!(artifacts("no list", "{}"), Ok(Vec::new()));
        assert_eq!(artifacts("[]", "[]"), Err(TemplateError::Message));
    }

    #[test]
    fn hostile_formats_end() {
        let loops = format!(
            "{}x{}",
            "{% for i in l %}".repeat(12),
            "{% endfor %}".repeat(12)
        );
        let message = format!("{{\"l\": {:?}}}", vec![1; 50]);
        assert_eq!(artifacts(&loops, &message), Err(TemplateError::TooCostly));
        for broken in [
            "{{ a",
            "{% if %}",
            "{% if a %}",
            "{% endif %}",
            "{% for x %}{% endfor %}",
            "{{ a.b( }}",
            "{{ | }}",
            "{{ 'a }}",
            "{{ 1.2.3 }}",
            "{% include 'x' %}",
        ] {
            assert!(artifacts(broken, "{}").is_err(), "{broken}");
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
        assert!(artifacts(&deep, "{}").is_err());
        let blocks = "{% if a %}".repeat(5000);
        assert!(artifacts(&blocks, "{}").is_err());
        let doubling = format!(
            "{{% set a = 'xxxxxxxx' %}}{}{{{{ a }}}}",
            "{% set a = a ~ a %}".repeat(60)
        );
        assert!(artifacts(&doubling, "{}").is_err());
    }
}
