//! Compiled pipelines end as the original engine's did: status, status of each stage, start and end times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::{collections::BTreeMap, path::PathBuf};

use gennaker_compiler::{Options, compile};
use gennaker_simulator::simulate;
use serde_json::{Value, json};

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        },
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

/// What differs between an answer and what was recorded.
fn difference(case: &Value) -> Option<String> {
    let compiled = match compile(&case["pipeline"], &Options::default()) {
        Ok(compiled) => compiled,
        Err(problems) => return Some(format!("refused: {}", problems[0])),
    };
    let answer = simulate(
        &compiled.definition,
        &compiled.plan,
        &case["outcomes"],
        0,
        case.get("trigger").unwrap_or(&Value::Null),
    )
    .map_err(|problems| problems[0].to_string())
    .unwrap();
    let expected = &case["expected"];
    let mut found = Vec::new();
    if answer["status"] != expected["status"] {
        found.push(format!(
            "status {} not {}",
            answer["status"], expected["status"]
        ));
    }
    if answer["seconds"].as_f64() != expected["endSeconds"].as_f64() {
        found.push(format!(
            "seconds {} not {}",
            answer["seconds"], expected["endSeconds"]
        ));
    }
    for (ref_id, wanted) in expected["stages"].as_object().unwrap() {
        let stage = answer["stages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|stage| stage["refId"] == json!(ref_id))
            .unwrap();
        if stage["status"] != wanted["status"] {
            found.push(format!(
                "{ref_id}: {} not {}",
                stage["status"], wanted["status"]
            ));
        }
        for (ours, theirs) in [("started", "startSeconds"), ("ended", "endSeconds")] {
            let (ours_at, theirs_at) = (
                stage.get(ours).and_then(Value::as_f64),
                wanted.get(theirs).and_then(Value::as_f64),
            );
            if ours_at != theirs_at {
                found.push(format!("{ref_id} {ours}: {ours_at:?} not {theirs_at:?}"));
            }
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// Whether this build evaluates expressions at all.
fn evaluates() -> bool {
    let source = json!({"x": "${1 + 1}"});
    let context = gennaker_expressions::Context::from_json(&json!({}));
    let outcome = gennaker_expressions::evaluate(&source, &context, &Default::default());
    outcome.value["x"] == json!(2)
}

fn needs_expressions(case: &Value) -> bool {
    case["features"].as_array().is_some_and(|features| {
        features.iter().any(|feature| {
            matches!(
                feature.as_str(),
                Some("stageEnabled" | "statusExpression" | "failedExpression" | "oddPolicy")
            )
        })
    })
}

#[test]
fn every_recorded_case_ends_as_the_original_did() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus");
        return;
    };
    let text = std::fs::read_to_string(corpus.join("executions/orca-reference.jsonl")).unwrap();
    let evaluates = evaluates();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let with_expressions = needs_expressions(&case);
        let count = counts
            .entry(format!(
                "{} {}",
                case["kind"].as_str().unwrap(),
                if with_expressions {
                    "with expressions"
                } else {
                    "plain"
                }
            ))
            .or_default();
        count.1 += 1;
        match difference(&case) {
            None => count.0 += 1,
            Some(difference) => {
                println!("{}: {difference}", case["id"]);
                if evaluates || !with_expressions {
                    wrong.push(case["id"].to_string());
                }
            }
        }
    }
    println!("{counts:#?} (expressions evaluated: {evaluates})");
    assert!(wrong.is_empty(), "{} differ: {wrong:?}", wrong.len());
}
