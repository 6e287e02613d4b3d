//! The recorded answers of the original evaluator, as cases of `expression evaluate --cases`.

use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

/// One recorded line.
pub struct Recorded {
    /// Its fields.
    pub fields: Map<String, Value>,
    /// The line to answer.
    pub case: String,
}

impl Recorded {
    /// Whether the answer is the recorded one, or that of a later Spring or Java where one is recorded.
    pub fn accepts(&self, answer: &Value) -> bool {
        equal(&self.fields, answer)
            || ["jdk25", "spring6"].into_iter().any(|alternative| {
                let Some(Value::Object(other)) = self.fields.get(alternative) else {
                    return false;
                };
                let mut recorded = self.fields.clone();
                for name in ["result", "types", "failures"] {
                    if let Some(value) = other.get(name) {
                        recorded.insert(name.to_string(), value.clone());
                    }
                }
                equal(&recorded, answer)
            })
    }

    /// What was recorded beside what was answered, for a person.
    pub fn difference(&self, answer: &Value) -> String {
        let fields = &self.fields;
        format!(
            "{} {}\n   want {} {} {:?}\n   got  {} {} {:?}",
            fields["id"],
            fields
                .get("source")
                .or(fields.get("stageContext"))
                .unwrap_or(&Value::Null),
            fields.get("result").unwrap_or(&Value::Null),
            fields.get("types").unwrap_or(&Value::Null),
            failures(fields.get("failures")),
            answer.get("result").unwrap_or(&Value::Null),
            answer.get("types").unwrap_or(&Value::Null),
            answer
                .get("failures")
                .or(answer.get("throws"))
                .unwrap_or(&Value::Null),
        )
    }
}

/// Every recorded line, in order; none where the recordings are absent.
pub fn recorded() -> Option<Vec<Recorded>> {
    let folder = corpus()?;
    let contexts = fs::read_to_string(folder.join("orca-reference-contexts.json")).unwrap();
    let lines = fs::read_to_string(folder.join("orca-reference.jsonl")).unwrap();
    let all = lines.lines().map(|line| {
        let fields: Map<String, Value> = serde_json::from_str(line).unwrap();
        let case = with_context(line, &fields, &contexts);
        Recorded { fields, case }
    });
    Some(all.collect())
}

/// The folder of recorded answers, if this checkout has one beside it.
pub fn corpus() -> Option<PathBuf> {
    let base = std::env::var_os("GENNAKER_CORPUS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        });
    let folder = base.join("expressions");
    folder.is_dir().then_some(folder)
}

/// A recorded line as a case: contexts and executions put in as text, so that wide integers keep their digits.
fn with_context(line: &str, fields: &Map<String, Value>, contexts: &str) -> String {
    let mut parts = Vec::new();
    for name in [
        "id",
        "source",
        "context",
        "execution",
        "stageRefId",
        "stageContext",
        "mode",
        "evaluator",
        "allowUnknownKeys",
    ] {
        if fields.contains_key(name) {
            parts.push(format!("\"{name}\":{}", member(line, name)));
        }
    }
    for (reference, name) in [("contextRef", "context"), ("executionRef", "execution")] {
        if let Some(Value::String(reference)) = fields.get(reference) {
            parts.push(format!("\"{name}\":{}", member(contexts, reference)));
        }
    }
    format!("{{{}}}", parts.join(","))
}

/// The text of a top-level member.
fn member<'t>(text: &'t str, name: &str) -> &'t str {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    let mut key: Option<&str> = None;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let start = at + 1;
                at = start;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 1 && key.is_none() {
                    key = Some(&text[start..at]);
                }
            }
            b':' if depth == 1 => {
                let start = at + 1;
                let end = value_end(text, start);
                if key == Some(name) {
                    return &text[start..end];
                }
                key = None;
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    panic!("no member {name}");
}

fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (start, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

pub fn failures(value: Option<&Value>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|failure| {
            (
                failure["expression"].as_str().unwrap().to_string(),
                failure["level"].as_str().unwrap().to_string(),
            )
        })
        .collect();
    all.sort();
    all
}

fn equal(recorded: &Map<String, Value>, answer: &Value) -> bool {
    if recorded.contains_key("throws") {
        return answer.get("throws").is_some();
    }
    let empty = json!({});
    Some(&recorded["result"]) == answer.get("result")
        && recorded.get("types").unwrap_or(&empty) == answer.get("types").unwrap_or(&empty)
        && failures(recorded.get("failures")) == failures(answer.get("failures"))
}
