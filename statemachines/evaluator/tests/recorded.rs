//! Every recorded case of the original engine, by the functions' own code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;

use gennaker_evaluator::evaluate_case;
use serde_json::Value;

fn corpus(file: &str) -> Option<Vec<Value>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus");
    let folder = std::env::var_os("GENNAKER_CORPUS").unwrap_or_else(|| default.into());
    let folder = std::path::PathBuf::from(folder);
    if !folder.is_dir() {
        return None;
    }
    let text = std::fs::read_to_string(folder.join("executions").join(file)).unwrap();
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// What differs, as text: every field of `expected` has to be there with its value.
fn differences(path: &str, expected: &Value, answer: &Value, found: &mut Vec<String>) {
    match (expected, answer) {
        (Value::Object(expected), Value::Object(answer)) => {
            for (name, value) in expected {
                let path = format!("{path}.{name}");
                match answer.get(name) {
                    Some(answer) => differences(&path, value, answer, found),
                    None => found.push(format!("{path}: nothing, not {value}")),
                }
            }
            // What the original did not say.
            for name in answer.keys().filter(|name| !expected.contains_key(*name)) {
                if name != "endSeconds" || path != "$" {
                    found.push(format!("{path}.{name}: {}, not nothing", answer[name]));
                }
            }
        }
        (Value::Array(expected), Value::Array(answer)) if expected.len() == answer.len() => {
            for (at, (expected, answer)) in expected.iter().zip(answer).enumerate() {
                differences(&format!("{path}[{at}]"), expected, answer, found);
            }
        }
        (Value::Number(expected), Value::Number(answer))
            if expected.as_f64() == answer.as_f64() => {}
        _ if expected == answer => {}
        _ => found.push(format!("{path}: {answer}, not {expected}")),
    }
}

async fn compare(file: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let cases = corpus(file)?;
    let mut wrong = BTreeMap::new();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in &cases {
        let answer = evaluate_case(case).await;
        let mut found = Vec::new();
        match answer.get("result") {
            Some(result) => differences("$", &case["expected"], result, &mut found),
            None => found.push(answer.to_string()),
        }
        let count = counts
            .entry(case["kind"].as_str().unwrap().to_owned())
            .or_default();
        count.1 += 1;
        if found.is_empty() {
            count.0 += 1;
        } else {
            wrong.insert(case["id"].as_str().unwrap().to_owned(), found);
        }
    }
    println!("{file}: {counts:?}");
    for (id, found) in &wrong {
        println!("{id}: {}", found.join("; "));
    }
    Some(wrong)
}

/// Where ours is otherwise on purpose; the description of the crate has the reasons.
const BETTER: [&str; 3] = [
    // A halt from another branch reaches running sub-stages at once, not at their next poll.
    "orca-synthetic-halted-during-after",
    "orca-synthetic-halted-from-outside",
    "orca-synthetic-parallel-before",
];

#[tokio::test]
async fn every_recorded_behaviour_is_the_originals_or_better() {
    let Some(wrong) = compare("orca-reference-behaviours.jsonl").await else {
        println!("skipped: no corpus");
        return;
    };
    let found: Vec<&str> = wrong.keys().map(String::as_str).collect();
    let mut better = BETTER.to_vec();
    better.sort_unstable();
    assert_eq!(found, better);
}

#[tokio::test]
async fn every_recorded_execution_ends_as_the_original_did() {
    let Some(wrong) = compare("orca-reference.jsonl").await else {
        println!("skipped: no corpus");
        return;
    };
    assert!(
        wrong.is_empty(),
        "{} differ: {:?}",
        wrong.len(),
        wrong.keys()
    );
}
