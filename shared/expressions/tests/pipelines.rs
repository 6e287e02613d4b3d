//! Every expression in a real pipeline parses, or what is wrong is told so that its author understands it.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_expressions::{Severity, check};
use serde_json::Value;
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
    let (mut pipelines, mut problems) = (0, Vec::new());
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
            for problem in check(&pipeline) {
                assert!(
                    problem.path.starts_with('$') && !problem.message.is_empty(),
                    "{problem:?}"
                );
                problems.push(problem);
            }
        }
    }
    let errors: Vec<_> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .collect();
    for problem in &errors {
        println!(
            "{} {} {} {:?}",
            problem.code, problem.path, problem.message, problem.hint
        );
    }
    println!(
        "{pipelines} pipelines, {} problems, {} errors",
        problems.len(),
        errors.len()
    );
    for problem in problems
        .iter()
        .filter(|problem| problem.severity == Severity::Warning)
        .take(40)
    {
        println!(
            "  {} {} {} {:?}",
            problem.code, problem.path, problem.message, problem.hint
        );
    }
    assert!(pipelines > 0);
}
