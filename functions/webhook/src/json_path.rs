//! JSON paths as Jayway's JsonPath reads them, which Spinnaker uses: `$.job.status`, `job.status`, `$['a b'][0]`,
//! `$..id`, `items[?(@.name == 'web')].status`, slices and wildcards.

use serde_json::Value;

/// Values that one path may visit: an answer of a megabyte has fewer.
const MOST_VISITED: usize = 500_000;
/// Longest path.
const MOST_CHARACTERS: usize = 2_000;

/// Why a path gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is no path.
    #[error("`{path}` is no JSON path: {reason}")]
    Invalid {
        /// As written.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing there.
    #[error("JSON property '{path}' not found in response body")]
    NotFound {
        /// As written.
        path: String,
    },
    /// It visits too much.
    #[error("`{path}` takes too long on this answer")]
    TooSlow {
        /// As written.
        path: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Names(Vec<String>),
    Indices(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    Wildcard,
    /// What follows is looked for at every depth.
    Descendants,
    Filter(Filter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq)]
enum Filter {
    Exists(Vec<Token>),
    Compare(Vec<Token>, Operator, Value),
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

/// What the path finds: the value where it is definite, the list of all values where it is not.
///
/// # Errors
/// [`PathError`].
pub fn read(value: &Value, path: &str) -> Result<Value, PathError> {
    let invalid = |reason: &str| PathError::Invalid {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if path.len() > MOST_CHARACTERS {
        return Err(invalid("it is too long"));
    }
    let tokens = Parser::new(path.trim()).path().map_err(invalid)?;
    let definite = tokens.iter().all(|token| match token {
        Token::Names(names) => names.len() == 1,
        Token::Indices(indices) => indices.len() == 1,
        _ => false,
    });
    let mut visited = 0;
    let found = select(value, &tokens, &mut visited).ok_or_else(|| PathError::TooSlow {
        path: path.to_owned(),
    })?;
    if !definite {
        return Ok(Value::Array(found.into_iter().cloned().collect()));
    }
    found
        .first()
        .map(|value| (*value).clone())
        .ok_or_else(|| PathError::NotFound {
            path: path.to_owned(),
        })
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// None if it visits too much.
fn select<'v>(value: &'v Value, tokens: &[Token], visited: &mut usize) -> Option<Vec<&'v Value>> {
    let mut current = vec![value];
    for token in tokens {
        let mut next = Vec::new();
        for value in current {
            *visited += 1;
            match token {
                Token::Names(names) => {
                    next.extend(names.iter().filter_map(|name| value.get(name.as_str())));
                }
                Token::Indices(indices) => {
                    if let Value::Array(items) = value {
                        next.extend(
                            indices
                                .iter()
                                .filter_map(|index| items.get(position(*index, items.len())?)),
                        );
                    }
                }
                Token::Slice(from, to) => {
                    if let Value::Array(items) = value {
                        let edge = |at: Option<i64>, otherwise: usize| {
                            at.map_or(otherwise, |at| clamped(at, items.len()))
                        };
                        let (from, to) = (edge(*from, 0), edge(*to, items.len()));
                        next.extend(items.get(from..to.max(from)).unwrap_or_default());
                    }
                }
                Token::Wildcard => next.extend(children(value)),
                Token::Descendants => {
                    let mut pending = vec![value];
                    while let Some(value) = pending.pop() {
                        *visited += 1;
                        if *visited > MOST_VISITED {
                            return None;
                        }
                        next.push(value);
                        pending.extend(children(value).into_iter().rev());
                    }
                }
                Token::Filter(filter) => {
                    for child in children(value) {
                        if holds(child, filter, visited)? {
                            next.push(child);
                        }
                    }
                }
            }
            *visited += next.len();
            if *visited > MOST_VISITED {
                return None;
            }
        }
        current = next;
    }
    Some(current)
}

/// Where an index points to, counted from the end if it is negative.
fn position(index: i64, length: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

fn clamped(index: i64, length: usize) -> usize {
    if index >= 0 {
        usize::try_from(index).unwrap_or(usize::MAX).min(length)
    } else {
        position(index, length).unwrap_or(0)
    }
}

fn holds(value: &Value, filter: &Filter, visited: &mut usize) -> Option<bool> {
    Some(match filter {
        Filter::Exists(path) => !select(value, path, visited)?.is_empty(),
        Filter::Compare(path, operator, wanted) => {
            let found = select(value, path, visited)?;
            found
                .first()
                .is_some_and(|found| compare(found, *operator, wanted))
        }
        Filter::All(filters) => {
            for filter in filters {
                if !holds(value, filter, visited)? {
                    return Some(false);
                }
            }
            true
        }
        Filter::Any(filters) => {
            for filter in filters {
                if holds(value, filter, visited)? {
                    return Some(true);
                }
            }
            false
        }
    })
}

fn compare(found: &Value, operator: Operator, wanted: &Value) -> bool {
    use std::cmp::Ordering;
    let order = match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| a.partial_cmp(&b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) if a == b => Some(Ordering::Equal),
        _ => None,
    };
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::More => order == Some(Ordering::Greater),
        Operator::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

type Parsed<T> = Result<T, &'static str>;

struct Parser<'p> {
    rest: &'p str,
}

impl<'p> Parser<'p> {
    fn new(text: &'p str) -> Self {
        Self { rest: text }
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Everything as long as the condition holds.
    fn run(&mut self, holds: impl Fn(char) -> bool) -> &'p str {
        let end = self.rest.find(|c| !holds(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn path(&mut self) -> Parsed<Vec<Token>> {
        let mut tokens = Vec::new();
        if !self.take("$") && !self.rest.starts_with('[') && !self.rest.is_empty() {
            // Jayway puts `$.` before a path without it.
            self.step_name(&mut tokens)?;
        }
        while !self.rest.is_empty() {
            self.step(&mut tokens)?;
        }
        Ok(tokens)
    }

    /// The path of a filter: as far as it goes.
    fn relative(&mut self) -> Parsed<Vec<Token>> {
        let mut tokens = Vec::new();
        while self.rest.starts_with('.') || self.rest.starts_with('[') {
            self.step(&mut tokens)?;
        }
        Ok(tokens)
    }

    fn step(&mut self, tokens: &mut Vec<Token>) -> Parsed<()> {
        if self.take("..") {
            tokens.push(Token::Descendants);
            if self.rest.starts_with('[') {
                return Ok(());
            }
            return self.step_name(tokens);
        }
        if self.take(".") {
            return self.step_name(tokens);
        }
        if self.take("[") {
            tokens.push(self.brackets()?);
            return Ok(());
        }
        Err("a part begins with a dot or a bracket")
    }

    fn step_name(&mut self, tokens: &mut Vec<Token>) -> Parsed<()> {
        if self.take("*") {
            tokens.push(Token::Wildcard);
            return Ok(());
        }
        let name = self.run(|c| !".[]()'\"=<>!&|".contains(c) && !c.is_whitespace());
        if name.is_empty() {
            return Err("a name is empty");
        }
        if self.rest.starts_with('(') {
            return Err("functions are not supported");
        }
        tokens.push(Token::Names(vec![name.to_owned()]));
        Ok(())
    }

    fn brackets(&mut self) -> Parsed<Token> {
        self.space();
        let token = if self.take("*") {
            Token::Wildcard
        } else if self.take("?") {
            self.space();
            if !self.take("(") {
                return Err("a filter is `[?(…)]`");
            }
            let filter = self.any()?;
            self.space();
            if !self.take(")") {
                return Err("a filter does not end");
            }
            Token::Filter(filter)
        } else if self.rest.starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?];
            self.space();
            while self.take(",") {
                self.space();
                names.push(self.quoted()?);
                self.space();
            }
            Token::Names(names)
        } else {
            self.numbers()?
        };
        self.space();
        if self.take("]") {
            Ok(token)
        } else {
            Err("a bracket does not end")
        }
    }

    fn numbers(&mut self) -> Parsed<Token> {
        let first = self.integer()?;
        self.space();
        if self.take(":") {
            self.space();
            let to = self.integer()?;
            return Ok(Token::Slice(first, to));
        }
        let mut indices = vec![first.ok_or("a bracket holds a name, a number or a filter")?];
        while self.take(",") {
            self.space();
            indices.push(self.integer()?.ok_or("an index is missing")?);
            self.space();
        }
        Ok(Token::Indices(indices))
    }

    fn integer(&mut self) -> Parsed<Option<i64>> {
        let digits = self.run(|c| c.is_ascii_digit() || c == '-');
        if digits.is_empty() {
            return Ok(None);
        }
        digits
            .parse()
            .map(Some)
            .map_err(|_| "an index is no number")
    }

    fn quoted(&mut self) -> Parsed<String> {
        let mut characters = self.rest.char_indices();
        let quote = match characters.next() {
            Some((_, quote @ ('\'' | '"'))) => quote,
            _ => return Err("a name in brackets has quotes"),
        };
        let mut text = String::new();
        while let Some((at, c)) = characters.next() {
            if c == '\\' {
                text.extend(characters.next().map(|(_, c)| c));
            } else if c == quote {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(text);
            } else {
                text.push(c);
            }
        }
        Err("a quotation does not end")
    }

    fn any(&mut self) -> Parsed<Filter> {
        let mut filters = vec![self.all()?];
        loop {
            self.space();
            if !self.take("||") {
                break;
            }
            filters.push(self.all()?);
        }
        Ok(match filters.len() {
            1 => filters.remove(0),
            _ => Filter::Any(filters),
        })
    }

    fn all(&mut self) -> Parsed<Filter> {
        let mut filters = vec![self.comparison()?];
        loop {
            self.space();
            if !self.take("&&") {
                break;
            }
            filters.push(self.comparison()?);
        }
        Ok(match filters.len() {
            1 => filters.remove(0),
            _ => Filter::All(filters),
        })
    }

    fn comparison(&mut self) -> Parsed<Filter> {
        self.space();
        if !self.take("@") {
            return Err("a comparison begins with `@`");
        }
        let path = self.relative()?;
        self.space();
        let operator = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::More),
        ]
        .into_iter()
        .find(|(sign, _)| self.take(sign))
        .map(|(_, operator)| operator);
        let Some(operator) = operator else {
            return Ok(Filter::Exists(path));
        };
        self.space();
        let wanted = if self.rest.starts_with(['\'', '"']) {
            Value::String(self.quoted()?)
        } else {
            let word = self.run(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            serde_json::from_str(word).map_err(|_| "a comparison's right side is a literal")?
        };
        Ok(Filter::Compare(path, operator, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "fields": { "status": { "name": "Done" }, "a b": 1, "none": null },
            "items": [
                { "name": "web", "size": 3, "up": true },
                { "name": "api", "size": 5 },
                { "name": "job", "size": 7, "up": false },
            ],
        })
    }

    #[test]
    fn a_definite_path_is_its_value() {
        for (path, expected) in [
            ("$.fields.status.name", json!("Done")),
            ("fields.status.name", json!("Done")),
            ("$['fields']['a b']", json!(1)),
            ("$.fields[\"a b\"]", json!(1)),
            ("['fields'].status['name']", json!("Done")),
            ("$.items[0].name", json!("web")),
            ("items[-1].name", json!("job")),
            ("$.fields.none", json!(null)),
            ("$", body()),
        ] {
            assert_eq!(read(&body(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_is_not_definite_is_a_list() {
        for (path, expected) in [
            ("$..name", json!(["Done", "web", "api", "job"])),
            ("$.items[*].size", json!([3, 5, 7])),
            ("$.items.*.size", json!([3, 5, 7])),
            ("$.items[0,2].size", json!([3, 7])),
            ("$.items[1:].size", json!([5, 7])),
            ("$.items[:-1].size", json!([3, 5])),
            ("$.items[?(@.name == 'api')].size", json!([5])),
            (
                "$.items[?(@.size >= 5 && @.name != \"job\")].name",
                json!(["api"]),
            ),
            (
                "$.items[?(@.size < 4 || @.size > 6)].name",
                json!(["web", "job"]),
            ),
            ("$.items[?(@.up)].name", json!(["web", "job"])),
            ("$.items[?(@.up == true)].name", json!(["web"])),
            ("$.items[5:9]", json!([])),
            ("$..[0].name", json!(["web"])),
        ] {
            assert_eq!(read(&body(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_no_path_are_told_apart() {
        for path in [
            "$.nothing",
            "items[9]",
            "fields.status.name.more",
            "items.name",
        ] {
            assert!(
                matches!(read(&body(), path), Err(PathError::NotFound { .. })),
                "{path}"
            );
        }
        for path in [
            "$.",
            "$.a[",
            "$[a]",
            "$.a[?(@.b == )]",
            "$['a",
            "$.a b",
            "$.items.length()",
            "$..",
            "$[1:2:3]",
            "$.a[?(1 == 1)]",
            "[",
        ] {
            assert!(
                matches!(read(&body(), path), Err(PathError::Invalid { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn a_path_that_multiplies_what_it_visits_ends() {
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        let path = format!("${}", "..*".repeat(20));
        assert!(matches!(read(&deep, &path), Err(PathError::TooSlow { .. })));
        assert!(read(&deep, &"$.a".repeat(5_000)).is_err());
    }
}
