//! The recorded answers of the original evaluator: every line must be equal in value, types and failures.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_expressions::evaluate_case_line;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

/// Recorded lines, and those left out with their reasons in the README.
const LINES: usize = 3_937;
const LEFT_OUT: usize = 0;

fn corpus() -> Option<PathBuf> {
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
fn case(line: &str, fields: &Map<String, Value>, contexts: &str) -> String {
    let mut parts = Vec::new();
    for name in [
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

fn failures(value: Option<&Value>) -> Vec<(String, String)> {
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

#[test]
fn answers_every_recorded_line_as_the_original_does() {
    let Some(folder) = corpus() else {
        println!("skipped: no corpus");
        return;
    };
    let contexts = fs::read_to_string(folder.join("orca-reference-contexts.json")).unwrap();
    let lines = fs::read_to_string(folder.join("orca-reference.jsonl")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines.lines() {
        count += 1;
        let fields: Map<String, Value> = serde_json::from_str(line).unwrap();
        let answer: Value =
            serde_json::from_str(&evaluate_case_line(&case(line, &fields, &contexts))).unwrap();
        let mut accepted = equal(&fields, &answer);
        for alternative in ["jdk25", "spring6"] {
            if let Some(Value::Object(other)) = fields.get(alternative) {
                let mut recorded = fields.clone();
                for name in ["result", "types", "failures"] {
                    if let Some(value) = other.get(name) {
                        recorded.insert(name.to_string(), value.clone());
                    }
                }
                accepted |= equal(&recorded, &answer);
            }
        }
        if !accepted {
            wrong.push(format!(
                "{} {}\n   want {} {} {:?}\n   got  {} {} {:?}",
                fields["id"].as_str().unwrap(),
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
            ));
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    assert_eq!(count, LINES);
    assert_eq!(wrong.len(), LEFT_OUT, "{} of {count} differ", wrong.len());
}
