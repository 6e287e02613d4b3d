//! Recorded answers of Echo and Orca.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::path::PathBuf;

use gennaker_triggers::{evaluate_artifact_case, evaluate_trigger_case, evaluate_webhook_case};
use serde_json::{Value, json};

fn file(name: &str) -> Option<String> {
    let base = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        },
        PathBuf::from,
    );
    std::fs::read_to_string(base.join("triggers").join(name)).ok()
}

fn corpus(name: &str) -> Option<Vec<Value>> {
    let text = file(name)?;
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// The trigger without its id, which is our own.
fn without_id(value: &Value) -> Value {
    let mut value = value.clone();
    if let Value::Object(map) = &mut value {
        map.shift_remove("id");
    }
    value
}

/// Equal, numbers by their value and objects whatever the order of their keys.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

fn differences(case: &Value) -> Vec<String> {
    let found = evaluate_trigger_case(case);
    let mut wrong = Vec::new();
    let row_of = |expected: &Value| {
        found["matches"].as_array().unwrap().iter().find(|row| {
            row["pipelineIndex"] == expected["pipeline"]
                && row.get("trigger") == expected.get("trigger")
        })
    };
    for expected in case["expected"].as_array().unwrap() {
        let row = row_of(expected).cloned().unwrap_or_default();
        if expected["verdict"] == "manualError" {
            if row["error"].is_null() {
                wrong.push(format!("no error: {row} for {expected}"));
            }
            continue;
        }
        if row["matched"] != expected["matched"] {
            wrong.push(format!("matched: {row} for {expected}"));
            continue;
        }
        if expected["matched"] != true {
            continue;
        }
        if !same(
            &without_id(&row["resolved"]),
            &without_id(&expected["resolved"]),
        ) {
            wrong.push(format!("resolved: {row} for {expected}"));
        }
        let received = expected
            .get("receivedArtifacts")
            .cloned()
            .unwrap_or(json!([]));
        if !same(&row["artifacts"], &received) {
            wrong.push(format!("artifacts: {row} for {expected}"));
        }
        if let Some(changed) = expected.get("expectedArtifactsAfterExpressions")
            && !same(&row["expectedArtifacts"], changed)
        {
            wrong.push(format!("expected artifacts: {row} for {expected}"));
        }
        if let Some(notifications) = expected.get("notifications")
            && !same(&row["notifications"], notifications)
        {
            wrong.push(format!("notifications: {row} for {expected}"));
        }
    }
    // Where a handler of the original broke, all its pipelines stayed silent; ours start.
    if case.get("throws").is_none() && found["starts"] != case["starts"] {
        wrong.push(format!(
            "starts: {} for {}",
            found["starts"], case["starts"]
        ));
    }
    wrong
}

/// What starts at the end of a pipeline: the rows that matched, in order.
fn end_differences(case: &Value) -> Vec<String> {
    let found = evaluate_trigger_case(case);
    let rows: Vec<Value> = found["matches"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["matched"] == true)
        .cloned()
        .collect();
    let expected = case["expected"].as_array().unwrap();
    if rows.len() != expected.len() {
        return vec![format!("{} start for {expected:?}", rows.len())];
    }
    rows.iter()
        .zip(expected)
        .filter(|(row, expected)| {
            row["pipelineIndex"] != expected["pipeline"]
                || !same(&row["resolved"], &expected["resolved"])
                || row.get("failed").is_some() != expected.get("failed").is_some()
        })
        .map(|(row, expected)| format!("{row} for {expected}"))
        .collect()
}

#[test]
fn events_start_what_they_started_in_the_original() {
    let Some(cases) = corpus("trigger-reference.jsonl") else {
        eprintln!("skipped: no corpus");
        return;
    };
    let (mut equal, mut all) = (0, 0);
    let mut report = Vec::new();
    for case in &cases {
        let wrong = match case["category"].as_str().unwrap() {
            // The text that Echo makes ids of: ours are our own.
            "triggerId" => continue,
            "pipeline" => end_differences(case),
            _ => differences(case),
        };
        all += 1;
        if wrong.is_empty() {
            equal += 1;
        } else {
            report.push(format!(
                "{} {}\n  {}",
                case["id"],
                case["category"],
                wrong.join("\n  ")
            ));
        }
    }
    eprintln!("triggers: {equal} of {all} recorded answers");
    assert!(all > 1500, "{all}");
    assert!(report.is_empty(), "{equal} of {all}\n{}", report.join("\n"));
}

#[test]
fn artifacts_are_what_they_were_in_the_original() {
    let Some(cases) = corpus("artifact-reference.jsonl") else {
        eprintln!("skipped: no corpus");
        return;
    };
    let mut report = Vec::new();
    let mut all = 0;
    for case in &cases {
        all += 1;
        let found = evaluate_artifact_case(case);
        let right = match case.get("error") {
            Some(error) => found["error"] == *error,
            None => same(&found["result"], &case["expected"]),
        };
        if !right {
            report.push(format!("{found}\n  for {case}"));
        }
    }
    eprintln!(
        "artifacts: {} of {all} recorded answers",
        all - report.len()
    );
    assert!(all > 1000, "{all}");
    assert!(
        report.is_empty(),
        "{} of {all}\n{}",
        report.len(),
        report.join("\n")
    );
}

/// The artifacts of a push come in the order of a hash set: sorted, they can be compared.
fn sorted_artifacts(content: &Value) -> Value {
    let mut content = content.clone();
    if let Some(Value::Array(items)) = content.get_mut("artifacts") {
        items.sort_by_key(|item| item["name"].to_string());
    }
    content
}

#[test]
fn webhooks_become_the_events_that_they_became_in_the_original() {
    let Some(cases) = corpus("webhook-reference.jsonl") else {
        eprintln!("skipped: no corpus");
        return;
    };
    let mut report = Vec::new();
    let mut all = 0;
    for case in &cases {
        all += 1;
        let found = evaluate_webhook_case(case, &file);
        let (found, expected) = (&found["result"], &case["expected"]);
        let right = if expected["sent"] != true {
            // Where the original answers with an error, so do we, or there is nothing to do.
            found["sent"] == false
        } else {
            same(
                &sorted_artifacts(&found["content"]),
                &sorted_artifacts(&expected["content"]),
            ) && ["sent", "details", "payloadIsPosted", "headerKeys"]
                .iter()
                .all(|field| same(&found[*field], &expected[*field]))
                && found.get("removed") == expected.get("removed")
        };
        if !right {
            report.push(format!("{found}\n  for {case}"));
        }
    }
    eprintln!("webhooks: {} of {all} recorded answers", all - report.len());
    assert!(all > 400, "{all}");
    assert!(
        report.is_empty(),
        "{} of {all}\n{}",
        report.len(),
        report.join("\n")
    );
}

/// A fact of Echo's tests as a case.
fn fact(fact: &Value) -> Value {
    let event = &fact["event"];
    let kind = match fact["kind"].as_str().unwrap() {
        "docker-match" => "docker",
        "webhook-match" => "webhook",
        _ => "git",
    };
    let event = match kind {
        "webhook" => json!({
            "details": {"type": "webhook", "source": event["source"]},
            "content": event["payload"], "payload": event["payload"],
        }),
        _ => json!({"details": {"type": kind, "source": event["source"]}, "content": event}),
    };
    json!({"event": event, "pipelines": [{
        "application": "a", "name": "n", "triggers": [fact["trigger"]],
        "expectedArtifacts": fact.get("expectedArtifacts").cloned().unwrap_or(json!([])),
    }]})
}

#[test]
fn the_facts_of_echos_own_tests_hold() {
    let Some(text) = file("trigger-cases.json") else {
        eprintln!("skipped: no corpus");
        return;
    };
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut report = Vec::new();
    let mut all = 0;
    for case in document["cases"].as_array().unwrap() {
        all += 1;
        let found = match case["kind"].as_str().unwrap() {
            "payload-constraint" => evaluate_artifact_case(case)["result"] == true,
            "github-signature" => {
                let headers: serde_json::Map<String, Value> = case["headers"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(name, value)| {
                        let values = if value.is_array() {
                            value.clone()
                        } else {
                            json!([value])
                        };
                        (name.to_lowercase(), values)
                    })
                    .collect();
                let case = json!({
                    "event": {"details": {"type": "git", "source": "github", "requestHeaders": headers},
                        "content": {"repoProject": "o", "slug": "r"}, "rawContent": case["rawContent"]},
                    "pipelines": [{"application": "a", "name": "n", "triggers": [{
                        "type": "git", "enabled": true, "source": "github", "project": "o", "slug": "r",
                        "secret": case["secret"]}]}],
                });
                evaluate_trigger_case(&case)["matches"][0]["matched"] == true
            }
            _ => {
                let row = evaluate_trigger_case(&fact(case))["matches"][0].clone();
                if let Some(artifact) = case.get("artifact") {
                    for (field, value) in artifact.as_object().unwrap() {
                        assert_eq!(row["artifacts"][0][field], *value, "{row}");
                    }
                }
                if let Some(digest) = case.get("triggerDigest") {
                    assert_eq!(row["resolved"]["digest"], *digest, "{row}");
                }
                row["matched"] == true
            }
        };
        if found != (case["expected"] == true) {
            report.push(case.to_string());
        }
    }
    eprintln!("facts of Echo's tests: {} of {all}", all - report.len());
    assert!(report.is_empty(), "{}", report.join("\n"));
}
