//! Every recorded decision of the original, answered by ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the corpus is found through the environment"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use gennaker_domain::deployment::evaluate_case;
use serde_json::{Value, json};

/// The recorded answers; they are not part of this repository.
fn corpus() -> Option<PathBuf> {
    let corpus = std::env::var_os("GENNAKER_CORPUS")
        .map_or_else(
            || {
                PathBuf::from(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../../../shared/corpus"
                ))
            },
            PathBuf::from,
        )
        .join("deployment");
    corpus.is_dir().then_some(corpus)
}

/// Why a case is answered otherwise on purpose; `None` where it has to be the same.
type Better = fn(case: &Value, expected: &Value, ours: &Value) -> Option<&'static str>;

/// Compares our answers with the recorded ones of a decision.
fn compare(decision: &str, better: Better) {
    compare_with(decision, normalized, better);
}

/// Compares the parts of our answers that count.
fn compare_with(decision: &str, parts: fn(&Value) -> Value, better: Better) {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus");
        return;
    };
    let text = fs::read_to_string(corpus.join(format!("{decision}-reference.jsonl"))).unwrap();
    let (mut same, mut otherwise, mut wrong) = (0, Vec::new(), Vec::new());
    for line in text.lines() {
        let mut case: Value = serde_json::from_str(line).unwrap();
        let expected = case["expected"].take();
        case["decision"] = json!(decision);
        let answer = evaluate_case(&case);
        let ours = answer.get("result").unwrap_or(&answer).clone();
        if parts(&ours) == parts(&expected) {
            same += 1;
        } else if let Some(reason) = better(&case, &expected, &ours) {
            otherwise.push(format!("{}: {reason}", case["id"].as_str().unwrap()));
        } else {
            let id = case["id"].as_str().unwrap();
            wrong.push(format!(
                "{id}\n  expected {}\n  ours     {}",
                parts(&expected),
                parts(&ours)
            ));
        }
    }
    println!(
        "{decision}: {same} the same, {} better on purpose",
        otherwise.len()
    );
    for one in &otherwise {
        println!("  {one}");
    }
    assert!(
        wrong.is_empty(),
        "{decision}: {} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(same > 0, "{decision}: no case compared");
}

/// Lists of group names inside of messages are sets, and which bug of the original threw is no part of the answer.
fn normalized(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(error) = answer.get_mut("error") {
        let text = error.as_str().unwrap_or_default().to_owned();
        *error = match (text.find('['), text.rfind(']')) {
            (Some(open), Some(close)) if open < close => {
                let names: BTreeSet<&str> =
                    text[open + 1..close].split(',').map(str::trim).collect();
                json!([&text[..open], names, &text[close..]])
            }
            _ => json!(text),
        };
    }
    answer
}

const fn never(_: &Value, _: &Value, _: &Value) -> Option<&'static str> {
    None
}

#[test]
fn names_are_those_of_the_original() {
    compare("naming", never);
}

#[test]
fn cluster_operations_are_those_of_the_original() {
    compare("cluster-operations", never);
}

#[test]
fn targets_are_those_of_the_original() {
    compare("targets", never);
}

#[test]
fn traffic_guards_answer_as_the_originals() {
    compare("traffic-guards", never);
}

#[test]
fn resizes_are_those_of_the_original_but_impossible_ones_are_refused() {
    compare("resize", |_, expected, ours| {
        let size = |key: &str| expected["capacity"][key].as_i64();
        let impossible = match (size("min"), size("desired"), size("max")) {
            (Some(min), Some(desired), Some(max)) => min < 0 || min > desired || desired > max,
            _ => false,
        };
        (impossible
            && ours["error"]
                .as_str()
                .is_some_and(|error| error.contains("impossible capacity")))
        .then_some("an impossible capacity is refused before the first call")
    });
}

#[test]
fn health_is_that_of_the_original_but_partial_disables_count_instances() {
    compare("health", |case, expected, ours| {
        let partial_disable = case["input"]["check"] == "WaitForRequiredInstancesDown"
            && !case["input"]["context"]["desiredPercentage"].is_null();
        (partial_disable
            && expected["perInstance"] == ours["perInstance"]
            && ours["hasSucceeded"].is_boolean())
        .then_some("a partial disable is counted on the instances that are there")
    });
}

#[test]
fn found_images_are_those_of_the_original_but_failures_say_why() {
    compare("find-image", |_, expected, ours| {
        let error = ours["error"].as_str().unwrap_or_default();
        if expected["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("MissingPropertyException"))
        {
            return Some("the real reason instead of a missing property");
        }
        (expected["context"]["amiDetails"] == json!([]) && error.contains("no image name matches"))
            .then_some("fails with what there was instead of going on without an image")
    });
}

/// The parts of a run that have to be the same: what was done to which group, the state afterwards, and the stages.
fn run_parts(answer: &Value) -> Value {
    let keys = |value: &Value, keys: &[&str]| -> Value {
        let kept = keys
            .iter()
            .map(|key| ((*key).to_owned(), value[*key].clone()));
        Value::Object(kept.filter(|(_, value)| !value.is_null()).collect())
    };
    let list = |value: &Value, of: &[&str]| -> Value {
        value
            .as_array()
            .map(|list| list.iter().map(|one| keys(one, of)).collect())
            .unwrap_or_default()
    };
    json!({
        "operations": answer["operations"],
        "serverGroupsAfter": answer["serverGroupsAfter"],
        "status": answer["status"],
        "stages": list(&answer["stages"], &["ref", "type", "name", "status"]),
    })
}

/// The parts of a run without the minima.
fn without_minima(answer: &Value) -> Value {
    let mut parts = run_parts(answer);
    for operation in parts["operations"].as_array_mut().into_iter().flatten() {
        if let Some(capacity) = operation["capacity"].as_object_mut() {
            capacity.remove("min");
        }
    }
    for group in parts["serverGroupsAfter"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        group[3] = Value::Null;
    }
    parts
}

fn better_rollback(_: &Value, expected: &Value, _: &Value) -> Option<&'static str> {
    let null_pointer = |stage: &Value| {
        stage["type"] == "rollbackCluster"
            && stage["error"]
                .as_str()
                .is_some_and(|error| error.starts_with("NullPointerException"))
    };
    expected["stages"]
        .as_array()
        .unwrap()
        .iter()
        .any(null_pointer)
        .then_some("goes back to the group that the execution recorded, without its metadata tag")
}

fn better_deployment(case: &Value, expected: &Value, ours: &Value) -> Option<&'static str> {
    let context = &case["input"]["context"];
    let cluster = [&context["clusters"][0], &context["cluster"], context]
        .into_iter()
        .find(|one| one.is_object())
        .unwrap();
    let strategy = cluster["strategy"].as_str().unwrap_or_default();
    if strategy == "rollingredblack" && without_minima(expected) == without_minima(ours) {
        return Some("the minimum that was pinned is restored");
    }
    if strategy != strategy.to_lowercase() && cluster["rollback"]["onFailure"] == true {
        return Some("the case of a strategy's name is ignored for its rollback too");
    }
    if expected["stages"]
        .as_array()
        .unwrap()
        .iter()
        .any(|stage| !stage["failureStagesSkipped"].is_null())
    {
        return Some("each on-failure stage is tried");
    }
    better_rollback(case, expected, ours)
}

#[test]
fn deployments_run_as_those_of_the_original() {
    compare_with("strategies", run_parts, better_deployment);
}

#[test]
fn rollbacks_run_as_those_of_the_original() {
    compare_with("rollback", run_parts, better_rollback);
}
