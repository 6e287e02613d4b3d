//! Every expression in a real pipeline parses, or what is wrong is told so that its author understands it.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_expressions::{Severity, Template, check};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn json_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            json_files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
}

#[test]
fn checks_every_pipeline_of_the_corpus() {
    let base = std::env::var_os("GENNAKER_CORPUS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        });
    let mut files = Vec::new();
    json_files(&base.join("pipelines"), &mut files);
    if files.is_empty() {
        println!("skipped: no corpus");
        return;
    }
    let (mut pipelines, mut texts, mut parsed) = (0, 0, 0);
    let mut counts: BTreeMap<(&str, &str), (usize, BTreeSet<usize>)> = BTreeMap::new();
    for file in &files {
        let Ok(document) = serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()) else {
            continue;
        };
        let all: Vec<Value> = match document {
            Value::Array(all) => all,
            one => vec![one],
        };
        for pipeline in all {
            pipelines += 1;
            let problems = check(&pipeline);
            let mut found = Vec::new();
            with_expressions(&pipeline, &mut found);
            let unparsed = found
                .iter()
                .filter(|text| Template::parse(text).is_err())
                .count();
            texts += found.len();
            parsed += found.len() - unparsed;
            let told = problems
                .iter()
                .filter(|problem| problem.code == "expression-syntax")
                .count();
            assert!(
                told >= unparsed,
                "{}: {unparsed} unparsed, {told} told",
                file.display()
            );
            for problem in problems {
                assert!(
                    problem.path.starts_with('$') && !problem.message.is_empty(),
                    "{problem:?}"
                );
                let severity = match problem.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                };
                let count = counts.entry((problem.code, severity)).or_default();
                count.0 += 1;
                count.1.insert(pipelines);
            }
        }
    }
    println!("{pipelines} pipelines, {texts} texts with expressions, {parsed} parse");
    for ((code, severity), (count, of)) in &counts {
        println!("{code} ({severity}): {count} in {} pipelines", of.len());
    }
    assert!(pipelines > 0 && parsed > 0);
}

/// The texts of a document that hold expressions, keys included.
fn with_expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("${") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| with_expressions(item, found)),
        Value::Object(fields) => {
            for (key, item) in fields {
                if key.contains("${") {
                    found.push(key.clone());
                }
                with_expressions(item, found);
            }
        }
        _ => {}
    }
}
