//! JSON paths as Jayway's JsonPath reads them, which Spinnaker uses, within bounds of time and memory.

use serde_json::{Map, Value};

use crate::Pattern;

/// Values that one path may visit; a payload has 10 MB at most, so this is never reached by a sensible one.
const MAX_VISITS: usize = 1_000_000;

/// Longest path that is read, and deepest nesting of its filters.
const MAX_LENGTH: usize = 4_096;
const MAX_FILTER_DEPTH: usize = 20;

/// A parsed path.
#[derive(Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

/// Why a path found nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PathError(String);

#[derive(Debug, PartialEq)]
enum Step {
    Names(Vec<String>),
    Indices(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    Wildcard,
    Scan,
    Filter(Filter),
    Function(String),
}

#[derive(Debug, PartialEq)]
enum Filter {
    Or(Vec<Filter>),
    And(Vec<Filter>),
    Not(Box<Filter>),
    Exists(Operand),
    Compare(Operand, Operator, Operand),
}

#[derive(Debug, PartialEq)]
enum Operand {
    Path { root: bool, path: JsonPath },
    Literal(Value),
    Pattern(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

impl JsonPath {
    /// Parses a path. One without `$` or `@` starts at the root.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Self::read(text).map_err(PathError)
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("it has more than {MAX_LENGTH} characters"));
        }
        let trimmed = text.trim_matches(|c: char| c <= ' ');
        let rooted = if trimmed.starts_with(['$', '@']) {
            trimmed.to_owned()
        } else {
            format!("$.{trimmed}")
        };
        if rooted.ends_with('.') {
            return Err("it ends with a dot".to_owned());
        }
        let chars: Vec<char> = rooted.chars().collect();
        let mut reader = Reader {
            chars: &chars,
            at: 1,
            depth: 0,
        };
        let path = reader.steps(false)?;
        if reader.at < chars.len() {
            return Err(reader.unexpected());
        }
        Ok(path)
    }

    /// Whether the path names one value at most.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.0.iter().all(|step| match step {
            Step::Names(_) | Step::Function(_) => true,
            Step::Indices(indices) => indices.len() == 1,
            Step::Slice(..) | Step::Wildcard | Step::Scan | Step::Filter(_) => false,
        })
    }

    /// Everything that the path names in an object.
    ///
    /// # Errors
    /// If it visits more than a million values.
    pub fn find(&self, object: &Map<String, Value>) -> Result<Vec<Value>, PathError> {
        let whole = match self.0.split_first() {
            // Most paths start with a name: then the object need not be copied to have it as one value.
            Some((Step::Names(names), rest)) if names.len() == 1 && !asks_root(rest) => {
                let (mut visits, mut found) = (0, Vec::new());
                for inner in names.iter().filter_map(|name| object.get(name)) {
                    walk(rest, inner, inner, &mut visits, &mut found).map_err(PathError)?;
                }
                return Ok(found);
            }
            _ => Value::Object(object.clone()),
        };
        self.find_in(&whole)
    }

    /// Everything that the path names in any value.
    ///
    /// # Errors
    /// Those of [`JsonPath::find`].
    pub fn find_in(&self, value: &Value) -> Result<Vec<Value>, PathError> {
        let mut visits = 0;
        self.walk(value, value, &mut visits).map_err(PathError)
    }

    fn walk(&self, root: &Value, from: &Value, visits: &mut usize) -> Result<Vec<Value>, String> {
        let mut found = Vec::new();
        walk(&self.0, root, from, visits, &mut found)?;
        Ok(found)
    }
}

/// Whether a filter may look at the root again.
fn asks_root(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Filter(_)))
}

fn walk(
    steps: &[Step],
    root: &Value,
    value: &Value,
    visits: &mut usize,
    found: &mut Vec<Value>,
) -> Result<(), String> {
    *visits += 1;
    if *visits > MAX_VISITS {
        return Err("the path visits too many values".to_owned());
    }
    let Some((step, rest)) = steps.split_first() else {
        found.push(value.clone());
        return Ok(());
    };
    match step {
        Step::Names(names) => {
            let Value::Object(map) = value else {
                return Ok(());
            };
            if let [name] = names.as_slice() {
                return match map.get(name) {
                    Some(inner) => walk(rest, root, inner, visits, found),
                    None => Ok(()),
                };
            }
            if rest.is_empty() {
                let merged: Map<String, Value> = names
                    .iter()
                    .filter_map(|name| map.get(name).map(|inner| (name.clone(), inner.clone())))
                    .collect();
                found.push(Value::Object(merged));
                return Ok(());
            }
            for inner in names.iter().filter_map(|name| map.get(name)) {
                walk(rest, root, inner, visits, found)?;
            }
            Ok(())
        }
        Step::Indices(indices) => {
            let Value::Array(items) = value else {
                return Ok(());
            };
            for index in indices {
                if let Some(inner) = position(*index, items.len()).and_then(|at| items.get(at)) {
                    walk(rest, root, inner, visits, found)?;
                }
            }
            Ok(())
        }
        Step::Slice(from, to) => {
            let Value::Array(items) = value else {
                return Ok(());
            };
            let bound = |index: i64| {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if index < 0 { length + index } else { index };
                usize::try_from(at.clamp(0, length)).unwrap_or(0)
            };
            let from = from.map_or(0, bound);
            let to = to.map_or(items.len(), bound);
            for inner in items.get(from..to).unwrap_or_default() {
                walk(rest, root, inner, visits, found)?;
            }
            Ok(())
        }
        Step::Wildcard => {
            match value {
                Value::Object(map) => {
                    for inner in map.values() {
                        walk(rest, root, inner, visits, found)?;
                    }
                }
                Value::Array(items) => {
                    for inner in items {
                        walk(rest, root, inner, visits, found)?;
                    }
                }
                _ => {}
            }
            Ok(())
        }
        Step::Scan => scan(rest, root, value, visits, found),
        Step::Filter(filter) => {
            let mut test = |inner: &Value| -> Result<(), String> {
                if filter.accepts(root, inner, visits)? {
                    walk(rest, root, inner, visits, found)?;
                }
                Ok(())
            };
            match value {
                Value::Array(items) => items.iter().try_for_each(test),
                Value::Object(_) => test(value),
                _ => Ok(()),
            }
        }
        Step::Function(name) => {
            if let Some(result) = call(name, value) {
                walk(rest, root, &result, visits, found)?;
            }
            Ok(())
        }
    }
}

/// Applies the rest of the path to a value and to everything below it.
fn scan(
    rest: &[Step],
    root: &Value,
    value: &Value,
    visits: &mut usize,
    found: &mut Vec<Value>,
) -> Result<(), String> {
    // The payload is no deeper than what was read, which is bounded.
    walk(rest, root, value, visits, found)?;
    match value {
        Value::Object(map) => map
            .values()
            .try_for_each(|inner| scan(rest, root, inner, visits, found)),
        Value::Array(items) => items
            .iter()
            .try_for_each(|inner| scan(rest, root, inner, visits, found)),
        _ => Ok(()),
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { length + index } else { index }).ok()
}

/// The functions that make sense on one value.
fn call(name: &str, value: &Value) -> Option<Value> {
    let numbers = || -> Option<Vec<f64>> {
        let found: Vec<f64> = value.as_array()?.iter().filter_map(Value::as_f64).collect();
        (!found.is_empty()).then_some(found)
    };
    match name {
        "length" | "size" => match value {
            Value::Array(items) => Some(items.len().into()),
            Value::Object(map) => Some(map.len().into()),
            _ => None,
        },
        "keys" => {
            let keys = value.as_object()?.keys();
            Some(keys.map(|key| Value::from(key.as_str())).collect())
        }
        "first" => value.as_array()?.first().cloned(),
        "last" => value.as_array()?.last().cloned(),
        "min" => Some(numbers()?.into_iter().fold(f64::INFINITY, f64::min).into()),
        "max" => Some(
            numbers()?
                .into_iter()
                .fold(f64::NEG_INFINITY, f64::max)
                .into(),
        ),
        "sum" => Some(numbers()?.into_iter().sum::<f64>().into()),
        "avg" => {
            let found = numbers()?;
            let count = u32::try_from(found.len()).ok()?;
            Some((found.into_iter().sum::<f64>() / f64::from(count)).into())
        }
        _ => None,
    }
}

impl Filter {
    fn accepts(&self, root: &Value, value: &Value, visits: &mut usize) -> Result<bool, String> {
        match self {
            Self::Or(parts) => {
                for part in parts {
                    if part.accepts(root, value, visits)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::And(parts) => {
                for part in parts {
                    if !part.accepts(root, value, visits)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(inner) => Ok(!inner.accepts(root, value, visits)?),
            Self::Exists(operand) => Ok(operand.value(root, value, visits)?.is_some()),
            Self::Compare(left, operator, right) => {
                let left = left.value(root, value, visits)?;
                if let (Operator::Matches, Operand::Pattern(pattern)) = (operator, right) {
                    let Some(Value::String(text)) = left else {
                        return Ok(false);
                    };
                    return Pattern::new(pattern)?.matches(&text);
                }
                let right = right.value(root, value, visits)?;
                Ok(compare(left.as_ref(), *operator, right.as_ref()))
            }
        }
    }
}

fn compare(left: Option<&Value>, operator: Operator, right: Option<&Value>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return operator == Operator::Unequal;
    };
    let equal = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    };
    let order = match (left, right) {
        (Value::Number(a), Value::Number(b)) => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| a.partial_cmp(&b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let within = || {
        right
            .as_array()
            .is_some_and(|items| items.iter().any(|item| equal(left, item)))
    };
    match operator {
        Operator::Equal => equal(left, right),
        Operator::Unequal => !equal(left, right),
        Operator::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Operator::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Operator::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Operator::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        Operator::In => within(),
        Operator::NotIn => !within(),
        Operator::Matches => false,
    }
}

impl Operand {
    fn value(
        &self,
        root: &Value,
        value: &Value,
        visits: &mut usize,
    ) -> Result<Option<Value>, String> {
        match self {
            Self::Literal(literal) => Ok(Some(literal.clone())),
            Self::Pattern(_) => Ok(None),
            Self::Path {
                root: from_root,
                path,
            } => {
                let from = if *from_root { root } else { value };
                let found = path.walk(root, from, visits)?;
                if path.is_definite() {
                    return Ok(found.into_iter().next());
                }
                Ok((!found.is_empty()).then(|| Value::Array(found)))
            }
        }
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += 1;
        c
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: &str) -> bool {
        let end = self.at + wanted.chars().count();
        let found = self
            .chars
            .get(self.at..end)
            .is_some_and(|part| part.iter().copied().eq(wanted.chars()));
        if found {
            self.at = end;
        }
        found
    }

    fn unexpected(&self) -> String {
        match self.peek() {
            Some(c) => format!("`{c}` at position {} is not expected", self.at),
            None => "it ends too early".to_owned(),
        }
    }

    /// Steps up to the end; in a filter, up to what cannot be a part of a path.
    fn steps(&mut self, in_filter: bool) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        loop {
            match self.peek() {
                None => break,
                Some('.') => {
                    self.at += 1;
                    if self.peek() == Some('.') {
                        self.at += 1;
                        steps.push(Step::Scan);
                    }
                    match self.peek() {
                        Some('[') => steps.push(self.bracket()?),
                        Some('*') => {
                            self.at += 1;
                            steps.push(Step::Wildcard);
                        }
                        Some(c) if c != '.' && !c.is_whitespace() => {
                            steps.push(self.name(in_filter)?);
                        }
                        _ => return Err(self.unexpected()),
                    }
                }
                Some('[') => steps.push(self.bracket()?),
                Some(_) if in_filter => break,
                Some(_) => return Err(self.unexpected()),
            }
        }
        Ok(JsonPath(steps))
    }

    fn name(&mut self, in_filter: bool) -> Result<Step, String> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '.' | '[' => break,
                '(' => {
                    self.at += 1;
                    if self.next() != Some(')') {
                        return Err(format!("the function `{name}` takes no arguments here"));
                    }
                    return Ok(Step::Function(name));
                }
                ' ' | ')' | '=' | '<' | '>' | '!' | '&' | '|' | ',' if in_filter => break,
                ' ' => return Err("a name with blanks has to stand in ['…']".to_owned()),
                c => name.push(c),
            }
            self.at += 1;
        }
        Ok(Step::Names(vec![name]))
    }

    /// What stands in brackets.
    fn bracket(&mut self) -> Result<Step, String> {
        self.at += 1;
        self.skip_blanks();
        let step = match self.peek() {
            Some('*') => {
                self.at += 1;
                Step::Wildcard
            }
            Some('\'' | '"') => {
                let mut names = vec![self.quoted()?];
                self.skip_blanks();
                while self.take(",") {
                    self.skip_blanks();
                    names.push(self.quoted()?);
                    self.skip_blanks();
                }
                Step::Names(names)
            }
            Some('?') => {
                self.at += 1;
                self.skip_blanks();
                if !self.take("(") {
                    return Err(self.unexpected());
                }
                let filter = self.any()?;
                self.skip_blanks();
                if !self.take(")") {
                    return Err(self.unexpected());
                }
                Step::Filter(filter)
            }
            Some(c) if c == '-' || c == ':' || c.is_ascii_digit() => self.indices()?,
            _ => return Err(self.unexpected()),
        };
        self.skip_blanks();
        if !self.take("]") {
            return Err(self.unexpected());
        }
        Ok(step)
    }

    fn indices(&mut self) -> Result<Step, String> {
        let first = self.number()?;
        self.skip_blanks();
        if self.take(":") {
            self.skip_blanks();
            return Ok(Step::Slice(first, self.number()?));
        }
        let mut indices = vec![first.ok_or_else(|| self.unexpected())?];
        while self.take(",") {
            self.skip_blanks();
            indices.push(self.number()?.ok_or_else(|| self.unexpected())?);
            self.skip_blanks();
        }
        Ok(Step::Indices(indices))
    }

    fn number(&mut self) -> Result<Option<i64>, String> {
        let mut text = String::new();
        while let Some(c) = self.peek()
            && (c.is_ascii_digit() || (c == '-' && text.is_empty()))
        {
            text.push(c);
            self.at += 1;
        }
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<i32>() {
            Ok(number) => Ok(Some(number.into())),
            Err(_) => Err(format!("`{text}` is no index")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let Some(quote @ ('\'' | '"')) = self.next() else {
            self.at -= 1;
            return Err(self.unexpected());
        };
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                '\\' => text.push(self.next().unwrap_or('\\')),
                c if c == quote => return Ok(text),
                c => text.push(c),
            }
        }
        Err("a quotation does not end".to_owned())
    }

    fn any(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > MAX_FILTER_DEPTH {
            return Err("its filters are nested too deeply".to_owned());
        }
        let mut parts = vec![self.all()?];
        self.skip_blanks();
        while self.take("||") {
            parts.push(self.all()?);
            self.skip_blanks();
        }
        self.depth -= 1;
        Ok(Filter::Or(parts))
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.one()?];
        self.skip_blanks();
        while self.take("&&") {
            parts.push(self.one()?);
            self.skip_blanks();
        }
        Ok(Filter::And(parts))
    }

    fn one(&mut self) -> Result<Filter, String> {
        self.skip_blanks();
        if self.take("!") {
            self.depth += 1;
            if self.depth > MAX_FILTER_DEPTH {
                return Err("its filters are nested too deeply".to_owned());
            }
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Filter::Not(Box::new(inner)));
        }
        if self.take("(") {
            let inner = self.any()?;
            self.skip_blanks();
            if !self.take(")") {
                return Err(self.unexpected());
            }
            return Ok(inner);
        }
        let left = self.operand()?;
        self.skip_blanks();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=~", Operator::Matches),
            ("<", Operator::Less),
            (">", Operator::Greater),
            ("in ", Operator::In),
            ("nin ", Operator::NotIn),
        ];
        for (text, operator) in operators {
            if self.take(text) {
                self.skip_blanks();
                return Ok(Filter::Compare(left, operator, self.operand()?));
            }
        }
        Ok(Filter::Exists(left))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.skip_blanks();
        match self.peek() {
            Some(c @ ('@' | '$')) => {
                self.at += 1;
                Ok(Operand::Path {
                    root: c == '$',
                    path: self.steps(true)?,
                })
            }
            Some('\'' | '"') => Ok(Operand::Literal(self.quoted()?.into())),
            Some('/') => {
                self.at += 1;
                let mut pattern = String::new();
                loop {
                    match self.next() {
                        Some('/') => break,
                        Some('\\') if self.peek() == Some('/') => {
                            self.at += 1;
                            pattern.push('/');
                        }
                        Some(c) => pattern.push(c),
                        None => return Err("a pattern does not end".to_owned()),
                    }
                }
                if self.take("i") {
                    pattern.insert_str(0, "(?i)");
                }
                Ok(Operand::Pattern(pattern))
            }
            Some('[') => {
                self.at += 1;
                let mut items = Vec::new();
                self.skip_blanks();
                while !self.take("]") {
                    match self.operand()? {
                        Operand::Literal(literal) => items.push(literal),
                        _ => return Err("a list may hold values only".to_owned()),
                    }
                    self.skip_blanks();
                    if !self.take(",") && self.peek() != Some(']') {
                        return Err(self.unexpected());
                    }
                    self.skip_blanks();
                }
                Ok(Operand::Literal(items.into()))
            }
            _ => {
                let mut word = String::new();
                while let Some(c) = self.peek()
                    && (c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))
                {
                    word.push(c);
                    self.at += 1;
                }
                serde_json::from_str(&word)
                    .map(Operand::Literal)
                    .map_err(|_| self.unexpected())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn find(path: &str, value: &Value) -> Result<Vec<Value>, PathError> {
        JsonPath::parse(path)?.find_in(value)
    }

    #[test]
    fn paths_find_what_they_name() {
        let value = json!({
            "a": {"b": 2.0, "c": {"d": "x"}}, "x y": "z", "tags": ["red", "blue"],
            "items": [{"name": "x", "n": 1}, {"name": "y", "n": 3}]
        });
        for (path, wanted) in [
            ("$.a.b", json!([2.0])),
            ("a.c.d", json!(["x"])),
            ("@['x y']", json!(["z"])),
            ("['a'].c['d']", json!(["x"])),
            ("$.nothing", json!([])),
            ("$.tags", json!([["red", "blue"]])),
            ("$.tags[-1]", json!(["blue"])),
            ("$.tags[0,1]", json!(["red", "blue"])),
            ("$.items[0:1].name", json!(["x"])),
            ("$.items[*].name", json!(["x", "y"])),
            ("$.items[?(@.n > 1)].name", json!(["y"])),
            ("$.items[?(@.name == 'x' && !(@.n >= 2))].n", json!([1])),
            ("$.items[?(@.name =~ /Y/i || @.missing)].n", json!([3])),
            ("$.items[?(@.n in [3, 4])].n", json!([3])),
            ("$..name", json!(["x", "y"])),
            ("$.items.length()", json!([2])),
        ] {
            let found = find(path, &value).unwrap();
            assert_eq!(Value::Array(found.clone()), wanted, "{path}");
            let in_object = JsonPath::parse(path)
                .unwrap()
                .find(value.as_object().unwrap());
            assert_eq!(in_object, Ok(found), "{path}");
        }
        for broken in [
            "$[", "$.a..", "x y", "$.", "$a", "$['a", "$[?(", "$.f(1)", " ",
        ] {
            assert!(find(broken, &value).is_err(), "{broken}");
        }
    }

    #[test]
    fn hostile_paths_end() {
        let deep = format!("$[?({}@.a{})]", "(".repeat(1000), ")".repeat(1000));
        assert!(JsonPath::parse(&deep).is_err());
        assert!(JsonPath::parse(&format!("$[?({}@.a)]", "!".repeat(2000))).is_err());
        assert!(JsonPath::parse(&"$..*".repeat(3000)).is_err());
        let wide = json!({"a": vec![vec![vec![vec![vec![0; 10]; 10]; 10]; 10]; 10]});
        assert!(find("$..*..*..*..*", &wide).is_err());
    }
}
