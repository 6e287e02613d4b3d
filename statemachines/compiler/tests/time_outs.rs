//! When a Task that sleeps looks again, and what it may answer then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_compiler::{Options, compile};
use serde_json::{Value, json};

/// The only state of a pipeline of one stage.
fn state(mut stage: Value) -> Value {
    stage["refId"] = json!("1");
    let compiled = compile(&json!({ "stages": [stage] }), &Options::default()).unwrap();
    let states = compiled.definition["States"].as_object().unwrap();
    states.values().next().unwrap().clone()
}

#[test]
fn a_sleeping_stage_is_looked_at_when_its_time_out_is_over() {
    let minutes = |limit: Value| {
        let judgment = state(json!({ "type": "manualJudgment", "stageTimeoutMs": limit }));
        judgment["TimeoutSeconds"].as_f64().unwrap() / 60.0
    };
    assert_eq!(minutes(Value::Null), 60.0, "it has three days");
    assert_eq!(minutes(json!(30 * 60_000)), 30.0);
    assert_eq!(minutes(json!(60 * 60_000)), 60.0);
    assert_eq!(minutes(json!(90 * 60_000)), 45.0, "twice");
    assert_eq!(minutes(json!(150 * 60_000)), 50.0, "three times");
}

#[test]
fn a_wait_sleeps_for_its_own_time_or_until_its_time_out() {
    let seconds = |limit: i64| {
        let wait = json!({ "type": "wait", "waitTime": 5_000, "stageTimeoutMs": limit * 1_000 });
        state(wait)["TimeoutSeconds"].clone()
    };
    assert_eq!(seconds(7_200), 5_000);
    assert_eq!(seconds(60), 60);
}

#[test]
fn also_in_the_largest_pipelines_a_sleeping_stage_with_a_time_out_may_poll() {
    let stages: Vec<Value> = (0..1_000)
        .map(|at| json!({ "refId": at, "type": "manualJudgment", "stageTimeoutMs": 60_000 }))
        .map(|mut stage| {
            let at = stage["refId"].as_u64().unwrap();
            stage["requisiteStageRefIds"] = if at == 0 { json!([]) } else { json!([at - 1]) };
            stage
        })
        .collect();
    let compiled = compile(&json!({ "stages": stages }), &Options::default()).unwrap();
    let states = compiled.definition["States"].as_object().unwrap();
    assert_eq!(states.len(), 1_000);
    let first = states.values().next().unwrap();
    assert!(
        !first.to_string().contains("BackoffRate\":2"),
        "the retriers are the short ones: {first}"
    );
    for state in states.values() {
        let retriers = state["Retry"].as_array().unwrap();
        for (name, interval) in [("Waiting10s", 10), ("Waiting1m", 60), ("Waiting10m", 600)] {
            let waits = retriers.iter().find(|retrier| {
                let names = retrier["ErrorEquals"].as_array().unwrap();
                names.iter().any(|one| one == name)
            });
            assert_eq!(waits.unwrap()["IntervalSeconds"], interval);
        }
    }
}
