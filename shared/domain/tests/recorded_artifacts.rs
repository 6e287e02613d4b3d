//! What the original engine binds expected artifacts to, and which artifacts an execution has.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)] // Tests are told where the corpus is by the environment.

use std::path::PathBuf;

use gennaker_domain::artifact::{Unbound, bind, of_execution};
use serde_json::{Value, json};

fn cases(function: &str) -> Option<Vec<Value>> {
    let corpus = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let text =
        std::fs::read_to_string(corpus.join("triggers").join("artifact-reference.jsonl")).ok()?;
    let cases: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|case| case["function"] == function)
        .collect();
    assert!(!cases.is_empty(), "no case of {function}");
    Some(cases)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[test]
fn expected_artifacts_are_bound_as_the_original_binds_them() {
    let Some(cases) = cases("resolveExpectedArtifacts") else {
        println!("skipped: no corpus");
        return;
    };
    let mut differences = Vec::new();
    for case in &cases {
        let got = match bind(
            &list(&case["expectedArtifacts"]),
            &list(&case["current"]),
            &list(&case["prior"]),
            case["requireUniqueMatches"] == true,
        ) {
            Ok(bound) => json!({
                "resolvedArtifacts": bound.artifacts, "resolvedExpectedArtifacts": bound.expected,
            }),
            Err(Unbound::Unmatched { .. }) => json!("unmatched"),
            Err(Unbound::Ambiguous { .. }) => json!("multiple"),
        };
        let wanted = case.get("expected").unwrap_or(&case["error"]);
        if *wanted == "PatternSyntaxException" && got == "unmatched" {
            // Ours says which artifact is unmatched where the original throws at a pattern that is none.
            continue;
        }
        if got != *wanted {
            differences.push(format!("{}\n  wanted {wanted}\n  got    {got}", case["id"]));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}

#[test]
fn an_executions_artifacts_are_those_the_original_finds() {
    let Some(cases) = cases("getAllArtifacts") else {
        println!("skipped: no corpus");
        return;
    };
    for case in &cases {
        let mut execution = case["execution"].clone();
        execution["trigger"] = json!({ "artifacts": execution["triggerArtifacts"] });
        assert_eq!(
            json!(of_execution(&execution, None)),
            case["expected"],
            "{}",
            case["id"]
        );
    }
}
