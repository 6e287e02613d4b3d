//! Evaluates every expression in a document and keeps account of those that fail.

use crate::class::Base;
use crate::context::Context;
use crate::evaluate::Scope;
use crate::fault::{Eval, Fault};
use crate::json::MAX_JSON_DEPTH;
use crate::outcome::{Evaluator, Failure, Level, Mode, Options, Outcome};
use crate::rewrite::rewrite;
use crate::session::Session;
use crate::template::{ParseError, Part, Template, java_trim};
use crate::value::{Key, Value};
use serde_json::{Map as Fields, Value as Json};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// Values that one call looks at to name the keys of failures; beyond it the text stands for them.
const MAX_COMPARED: u64 = 10_000_000;

/// Places that are kept of one failure.
const MAX_PLACES: usize = 1_000;

/// The key under which Orca stores its summary; it is made anew by each evaluation.
const SUMMARY: &str = "expressionEvaluationSummary";

/// Evaluates every expression in `source`: in keys and values of objects, in lists, at any depth.
///
/// What an expression gives is final: text in it that looks like an expression is not evaluated again. What cannot be
/// resolved stays verbatim and is told in [`Outcome::failures`]. The same arguments give the same outcome.
pub fn evaluate(source: &Json, context: &Context, options: &Options<'_>) -> Outcome {
    let root = match context.root() {
        Ok(root) => root.clone(),
        Err(message) => {
            return Outcome {
                value: source.clone(),
                types: BTreeMap::new(),
                failures: Vec::new(),
                throws: Some(message.to_string()),
            };
        }
    };
    let session = Session::new(context, root, options);
    let mut transform = Transform {
        session: &session,
        types: BTreeMap::new(),
        failures: BTreeMap::new(),
        failed: 0,
        compared: 0,
        parsed: RefCell::default(),
    };
    let mut value = match (options.mode, options.evaluator) {
        (Mode::EvaluateVariables, Evaluator::V4) => transform.variables(source),
        (Mode::Pipeline, Evaluator::V4) => transform.pipeline(source),
        _ => transform.walk(source, None, &mut Place::default(), 0),
    };
    if let Json::Object(fields) = &mut value {
        fields.shift_remove(SUMMARY);
    }
    Outcome {
        value,
        types: transform.types,
        failures: transform
            .failures
            .into_iter()
            .map(
                |((expression, level, message), (explanation, places))| Failure {
                    expression,
                    level,
                    message,
                    explanation,
                    places,
                },
            )
            .collect(),
        throws: None,
    }
}

impl Template {
    /// The value of this template alone: text if it is more than one expression, `None` where it stays verbatim.
    ///
    /// Nothing is rewritten: calls that need the execution name it (`#stage( #root.execution, 'Bake')`).
    pub fn evaluate(&self, context: &Context, options: &Options<'_>) -> Option<Json> {
        let root = context.root().ok()?.clone();
        let session = Session::new(context, root, options);
        match evaluate_template(&session, self).ok()?.0 {
            Resolved::Whole(value) => session
                .write_result(&value)
                .ok()
                .map(|written| written.json),
            Resolved::Text(text) => Some(Json::String(text)),
            Resolved::Verbatim => None,
        }
    }
}

/// Where the walk is: a JSON pointer for types and a JSON path for people.
#[derive(Default)]
struct Place {
    pointer: String,
}

impl Place {
    fn enter(&mut self, name: &str) -> usize {
        let length = self.pointer.len();
        self.pointer.push('/');
        if name.contains(['~', '/']) {
            self.pointer
                .push_str(&name.replace('~', "~0").replace('/', "~1"));
        } else {
            self.pointer.push_str(name);
        }
        length
    }

    fn leave(&mut self, length: usize) {
        self.pointer.truncate(length);
    }

    fn path(&self) -> String {
        let mut path = String::from("$");
        for part in self.pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
                path.push_str(&format!("[{name}]"));
            } else if name
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
                && !name.is_empty()
            {
                path.push('.');
                path.push_str(&name);
            } else {
                path.push_str(&format!("['{name}']"));
            }
        }
        path
    }
}

type Parsed = Rc<Result<Arc<Template>, ParseError>>;

struct Transform<'s, 'a> {
    session: &'s Session<'a>,
    types: BTreeMap<String, String>,
    /// By what Orca tells apart: expression, level, message. With the explanation of the first, and every place.
    failures: BTreeMap<(String, Level, String), (String, Vec<String>)>,
    /// Every failure counts here, equal ones too.
    failed: usize,
    compared: u64,
    parsed: RefCell<HashMap<String, Parsed>>,
}

/// What became of one text.
enum Resolved {
    /// The whole text was one expression.
    Whole(Value),
    /// Text and expressions.
    Text(String),
    /// It stays as it is.
    Verbatim,
}

impl Transform<'_, '_> {
    fn walk(
        &mut self,
        json: &Json,
        enclosing: Option<&Fields<String, Json>>,
        place: &mut Place,
        depth: usize,
    ) -> Json {
        if depth > MAX_JSON_DEPTH {
            return json.clone();
        }
        match json {
            Json::String(text) if text.contains("${") && self.wanted(place) => {
                let resolved = self.resolve(text, enclosing, place);
                match resolved {
                    Resolved::Verbatim => json.clone(),
                    Resolved::Text(text) => Json::String(text),
                    Resolved::Whole(value) => match self.session.write_result(&value) {
                        Ok(written) => {
                            for (pointer, class) in written.types {
                                self.types
                                    .insert(format!("{}{pointer}", place.pointer), class);
                            }
                            written.json
                        }
                        Err(fault) => {
                            self.failure(text, &rewrite(text), None, enclosing, place, &fault);
                            json.clone()
                        }
                    },
                }
            }
            Json::Array(items) => {
                let mut walked = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let length = place.enter(&index.to_string());
                    walked.push(self.walk(item, enclosing, place, depth + 1));
                    place.leave(length);
                }
                Json::Array(walked)
            }
            Json::Object(fields) => {
                let mut walked = Fields::new();
                for (key, value) in fields {
                    let new_key = self.key(key, fields, place);
                    let length = place.enter(&new_key);
                    let new_value = self.walk(value, Some(fields), place, depth + 1);
                    place.leave(length);
                    walked.insert(new_key.into_owned(), new_value);
                }
                Json::Object(walked)
            }
            other => self.copy(other, place),
        }
    }

    /// A value without expressions: only the type of long integers is told.
    fn copy(&mut self, json: &Json, place: &mut Place) -> Json {
        match json {
            Json::Number(number) => {
                if let Some(value) = number.as_i64() {
                    if i32::try_from(value).is_err() {
                        self.types
                            .insert(place.pointer.clone(), "java.lang.Long".to_string());
                    }
                } else if let Some(value) = number.as_u64() {
                    self.types
                        .insert(place.pointer.clone(), "java.math.BigInteger".to_string());
                    return Json::String(value.to_string());
                }
                json.clone()
            }
            Json::Array(items) => {
                let mut copied = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let length = place.enter(&index.to_string());
                    copied.push(self.copy(item, place));
                    place.leave(length);
                }
                Json::Array(copied)
            }
            Json::Object(fields) => {
                let mut copied = Fields::new();
                for (key, value) in fields {
                    let length = place.enter(key);
                    copied.insert(key.clone(), self.copy(value, place));
                    place.leave(length);
                }
                Json::Object(copied)
            }
            other => other.clone(),
        }
    }

    fn key<'k>(
        &mut self,
        key: &'k str,
        enclosing: &Fields<String, Json>,
        place: &Place,
    ) -> Cow<'k, str> {
        if !key.contains("${") {
            return Cow::Borrowed(key);
        }
        // A key's place is that of its value.
        let mut of_value = Place {
            pointer: place.pointer.clone(),
        };
        of_value.enter(key);
        if !self.wanted(&of_value) {
            return Cow::Borrowed(key);
        }
        match self.resolve(key, Some(enclosing), &of_value) {
            Resolved::Verbatim => Cow::Borrowed(key),
            Resolved::Text(text) => Cow::Owned(text),
            Resolved::Whole(value) => self
                .session
                .text_of(&value)
                .map_or(Cow::Borrowed(key), Cow::Owned),
        }
    }

    fn template(&self, text: &str) -> Parsed {
        if let Some(parsed) = self.parsed.borrow().get(text) {
            return parsed.clone();
        }
        let longest = self.session.options.limits.expression;
        let parsed = Rc::new(match self.session.options.templates {
            Some(templates) => templates.parse_within(text, longest),
            None => Template::parse_within(text, longest).map(Arc::new),
        });
        self.parsed
            .borrow_mut()
            .insert(text.to_string(), parsed.clone());
        parsed
    }

    fn resolve(
        &mut self,
        source: &str,
        enclosing: Option<&Fields<String, Json>>,
        place: &Place,
    ) -> Resolved {
        let text = rewrite(source);
        let parsed = self.template(&text);
        let template = match parsed.as_ref() {
            Ok(template) => template,
            Err(error) => {
                let fault = Fault::new(error.message.clone());
                self.failure(source, &text, None, enclosing, place, &fault);
                return Resolved::Verbatim;
            }
        };
        match evaluate_template(self.session, template) {
            Ok((resolved, None)) => resolved,
            Ok((resolved, Some(missing))) => {
                self.not_found(&text, template, &missing, enclosing, place);
                resolved
            }
            Err(fault) => {
                self.failure(source, &text, Some(template), enclosing, place, &fault);
                Resolved::Verbatim
            }
        }
    }

    fn not_found(
        &mut self,
        text: &str,
        template: &Template,
        missing: &str,
        enclosing: Option<&Fields<String, Json>>,
        place: &Place,
    ) {
        self.failed += 1;
        let key = template.key();
        let found = self
            .what_is_missing(template)
            .unwrap_or_else(|| format!("`{missing}` is null"));
        let explanation = format!("{}: {found}", place.path());
        let message = format!(
            "Failed to evaluate {} : {key} not found",
            self.keys_text(text, text, enclosing)
        );
        self.keep((key, Level::Info, message), explanation, place);
    }

    fn keep(&mut self, failure: (String, Level, String), explanation: String, place: &Place) {
        let (_, places) = self
            .failures
            .entry(failure)
            .or_insert_with(|| (explanation, Vec::new()));
        if places.len() < MAX_PLACES {
            places.push(place.pointer.clone());
        }
    }

    /// Whether the text at this place is to be evaluated.
    fn wanted(&self, place: &Place) -> bool {
        let Some(only) = self.session.options.only else {
            return true;
        };
        let mut pointer = place.pointer.as_str();
        loop {
            if only.contains(pointer) {
                return true;
            }
            match pointer.rfind('/') {
                Some(at) => pointer = pointer.get(..at).unwrap_or_default(),
                None => return false,
            }
        }
    }

    fn what_is_missing(&self, template: &Template) -> Option<String> {
        template.parts().iter().find_map(|part| match part {
            Part::Expression { node, .. } => self.session.missing(node),
            Part::Text(_) => None,
        })
    }

    fn failure(
        &mut self,
        source: &str,
        text: &str,
        template: Option<&Template>,
        enclosing: Option<&Fields<String, Json>>,
        place: &Place,
        fault: &Fault,
    ) {
        self.failed += 1;
        let expression = template.map_or_else(|| escaped(source), Template::key);
        let message = format!(
            "Failed to evaluate {} {}",
            self.keys_text(source, text, enclosing),
            fault.message
        )
        .replace('$', "");
        let hint = fault
            .hint
            .as_ref()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        let explanation = format!(
            "{}: cannot evaluate `{source}`: {}{hint}",
            place.path(),
            fault.message
        );
        self.keep((expression, Level::Error, message), explanation, place);
    }

    /// The keys of the enclosing map whose nested maps hold a text; else the text itself.
    fn keys_text(
        &mut self,
        source: &str,
        text: &str,
        enclosing: Option<&Fields<String, Json>>,
    ) -> String {
        let mut keys: Vec<&str> = Vec::new();
        for (key, value) in enclosing.into_iter().flatten() {
            if self.compared > MAX_COMPARED {
                return text.to_string();
            }
            if holds(value, source, 0, &mut self.compared) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            text.to_string()
        } else {
            format!("[{}]", keys.join(", "))
        }
    }

    /// Evaluate Variables under v4: one variable after the other, each visible to those that follow.
    fn variables(&mut self, source: &Json) -> Json {
        let Json::Object(fields) = source else {
            return source.clone();
        };
        let mut result = Fields::new();
        for (name, value) in fields {
            let mut place = Place::default();
            place.enter(name);
            let value = match value {
                Json::Array(variables) if name == "variables" => {
                    let mut done = Vec::with_capacity(variables.len());
                    for (index, variable) in variables.iter().enumerate() {
                        let length = place.enter(&index.to_string());
                        done.push(self.variable(variable, &mut place));
                        place.leave(length);
                    }
                    Json::Array(done)
                }
                other => self.copy(other, &mut place),
            };
            result.insert(name.clone(), value);
        }
        Json::Object(result)
    }

    fn variable(&mut self, variable: &Json, place: &mut Place) -> Json {
        let Json::Object(fields) = variable else {
            return self.copy(variable, place);
        };
        let Some(Json::String(value)) = fields.get("value") else {
            let mut copied = self.copy(variable, place);
            if let Json::Object(fields) = &mut copied {
                fields.retain(|_, value| !value.is_null());
            }
            return copied;
        };
        // Orca evaluates a map of the value (called `var`) and what else may hold expressions.
        let mut toeval = Fields::new();
        toeval.insert("var".to_string(), Json::String(value.clone()));
        if let Some(description @ Json::String(_)) = fields.get("description") {
            toeval.insert("description".to_string(), description.clone());
        }
        let before = self.failed;
        let types_before = self.types.clone();
        let value_text = value.clone();
        let mut new_value = None;
        if value_text.contains("${") {
            let length = place.enter("value");
            match self.resolve(&value_text, Some(&toeval), place) {
                Resolved::Verbatim => {}
                Resolved::Text(text) => {
                    new_value = Some((Json::String(text.clone()), Value::str(text)))
                }
                Resolved::Whole(value) => match self.session.write_result(&value) {
                    Ok(written) => {
                        for (pointer, class) in written.types {
                            self.types
                                .insert(format!("{}{pointer}", place.pointer), class);
                        }
                        new_value = Some((written.json, value));
                    }
                    Err(fault) => self.failure(
                        &value_text,
                        &rewrite(&value_text),
                        None,
                        Some(&toeval),
                        place,
                        &fault,
                    ),
                },
            }
            place.leave(length);
        } else {
            new_value = Some((Json::String(value_text.clone()), Value::str(&value_text)));
        }
        let mut description = None;
        if let Some(Json::String(text)) = fields.get("description")
            && text.contains("${")
        {
            let length = place.enter("description");
            let json = Json::String(text.clone());
            description = Some(self.walk(&json, Some(&toeval), place, 0));
            place.leave(length);
        }
        let succeeded = self.failed == before;
        let mut result = fields.clone();
        result.retain(|_, value| !value.is_null());
        result.insert(
            "sourceValue".to_string(),
            Json::String(value_text.replace("${", "{")),
        );
        if !succeeded {
            self.types = types_before;
            return Json::Object(result);
        }
        if let Some(description) = description {
            result.insert("description".to_string(), description);
        }
        if let Some((json, value)) = new_value {
            result.insert("value".to_string(), json);
            if let (Some(Json::String(key)), Value::Map(root)) =
                (fields.get("key"), &self.session.root)
            {
                // A failure to store is one of bounds: later variables will meet it too.
                let _ = self.session.put(root, Key::from(key.as_str()), value);
            }
        }
        Json::Object(result)
    }

    /// A pipeline under v4: everything but the stages.
    fn pipeline(&mut self, source: &Json) -> Json {
        let Json::Object(fields) = source else {
            return self.walk(source, None, &mut Place::default(), 0);
        };
        let mut rest = fields.clone();
        let stages = rest.shift_remove("stages");
        let walked = self.walk(&Json::Object(rest), None, &mut Place::default(), 0);
        let Json::Object(mut walked) = walked else {
            return walked;
        };
        let mut place = Place::default();
        place.enter("stages");
        let stages = stages.map_or(Json::Null, |stages| self.copy(&stages, &mut place));
        walked.insert("stages".to_string(), stages);
        Json::Object(walked)
    }
}

/// The value of a template and the first expression in it that gave null.
fn evaluate_template(
    session: &Session<'_>,
    template: &Template,
) -> Eval<(Resolved, Option<String>)> {
    if let [Part::Expression { text, node }] = template.parts() {
        let value = session.eval(node, &mut Scope::new())?;
        return Ok(match value {
            Value::Null => (Resolved::Verbatim, Some(text.clone())),
            Value::Status(status) => (Resolved::Whole(Value::str(status.name())), None),
            value => (Resolved::Whole(value), None),
        });
    }
    let mut out = String::new();
    let mut missing = None;
    for part in template.parts() {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Expression { text, node } => {
                let value = session.eval(node, &mut Scope::new())?;
                match session.convert(&value, crate::class::Class::of(Base::String))? {
                    Value::Str(text) => out.push_str(&text),
                    _ => {
                        out.push_str("${");
                        out.push_str(text);
                        out.push('}');
                        missing.get_or_insert_with(|| text.clone());
                    }
                }
            }
        }
        session.charge(out.len())?;
    }
    Ok((Resolved::Text(out), missing))
}

/// Orca's key of an expression that does not parse.
fn escaped(source: &str) -> String {
    let inner = source
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some(inner) if !inner.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) => {
            java_trim(inner).to_string()
        }
        _ => source.replace('$', ""),
    }
}

fn holds(value: &Json, text: &str, depth: usize, compared: &mut u64) -> bool {
    *compared += 1;
    match value {
        Json::String(found) => found == text,
        Json::Object(fields) if depth < MAX_JSON_DEPTH && *compared <= MAX_COMPARED => fields
            .values()
            .any(|value| holds(value, text, depth + 1, compared)),
        _ => false,
    }
}
