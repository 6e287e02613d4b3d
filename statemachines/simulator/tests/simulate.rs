//! What `pipeline simulate` tells: times, costs, sub-stages, and what is wrong with what it was given.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_compiler::{BuiltFunctions, Options, built::BUILT, compile};
use gennaker_simulator::simulate;
use serde_json::{Value, json};

fn run_at(pipeline: Value, outcomes: Value, at: i64) -> Value {
    // As if the rollback's function existed: its stages are in the plan then.
    let options = Options {
        built: BuiltFunctions::new(BUILT.iter().copied().chain(["rollback-cluster"])),
        ..Options::default()
    };
    let compiled = compile(&pipeline, &options).unwrap();
    simulate(
        &compiled.definition,
        &compiled.plan,
        &outcomes,
        at,
        &Value::Null,
    )
    .unwrap()
}

fn run(pipeline: Value, outcomes: Value) -> Value {
    run_at(pipeline, outcomes, 0)
}

fn stage<'a>(run: &'a Value, ref_id: &str) -> &'a Value {
    let stages = run["stages"].as_array().unwrap();
    stages
        .iter()
        .find(|stage| stage["refId"] == ref_id)
        .unwrap()
}

fn red_black(more: Value) -> Value {
    let mut cluster = json!({
        "account": "a", "application": "shop", "region": "us-east-1", "strategy": "redblack", "maxRemainingAsgs": 2,
    });
    cluster
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"stages": [
        {"refId": "1", "type": "deploy", "clusters": [cluster]},
        {"refId": "2", "type": "bake", "requisiteStageRefIds": ["1"]},
    ]})
}

#[test]
fn states_transitions_and_events_are_those_of_the_definition() {
    let run = run(
        json!({"stages": [{"refId": "1", "type": "wait", "waitTime": 30}, {"refId": "2", "type": "bake", "requisiteStageRefIds": ["1"]}]}),
        json!({"2": {"seconds": 25.5}}),
    );
    assert_eq!(run["status"], "SUCCEEDED");
    assert_eq!(run["seconds"], 55.5);
    assert_eq!(run["states"], json!(["wait-1", "bake-2"]));
    // Entered twice; the wait's time-out looks again once, the bake is asked again after 10, 20 and 30 seconds.
    assert_eq!(run["transitions"], 2 + 1 + 3);
    // The execution 2, the wait 6 + 4, the bake 5 + 3 * 3.
    assert_eq!(run["events"], 2 + 10 + 14);
    assert_eq!(
        stage(&run, "2"),
        &json!({"refId": "2", "type": "bake", "status": "SUCCEEDED", "started": 30, "ended": 55.5})
    );
}

#[test]
fn a_deploys_outcome_is_that_of_the_group_it_creates() {
    let run = run(
        red_black(json!({"delayBeforeDisableSec": 60})),
        json!({"1": {"status": "SUCCEEDED", "seconds": 90}}),
    );
    assert_eq!(run["status"], "SUCCEEDED");
    assert_eq!(
        (&stage(&run, "1")["started"], &stage(&run, "1")["ended"]),
        (&json!(0), &json!(90))
    );
    assert_eq!(stage(&run, "1<1>3")["type"], "disableCluster");
    assert_eq!(stage(&run, "1<1>3")["started"], 90);
    assert_eq!(stage(&run, "2")["ended"], 91);
}

#[test]
fn a_failed_sub_stage_ends_the_pipeline_and_later_ones_never_start() {
    let run = run(
        red_black(json!({})),
        json!({"1<1>2": {"status": "TERMINAL", "seconds": 5}}),
    );
    assert_eq!(run["status"], "TERMINAL");
    assert_eq!(run["seconds"], 6);
    assert_eq!(stage(&run, "1")["status"], "TERMINAL");
    assert_eq!(
        stage(&run, "1<1>3"),
        &json!({"refId": "1<1>3", "type": "applySourceServerGroupCapacity", "status": "NOT_STARTED"})
    );
    assert_eq!(stage(&run, "2")["status"], "NOT_STARTED");
}

#[test]
fn the_stages_for_a_failure_run_in_line_and_the_failure_is_raised_after_them() {
    let pipeline = red_black(json!({"rollback": {"onFailure": true}}));
    let failed = run(
        pipeline.clone(),
        json!({"1": {"status": "TERMINAL", "seconds": 5}, "1<1>4": {"seconds": 40}}),
    );
    assert_eq!(failed["status"], "TERMINAL");
    assert_eq!(stage(&failed, "1<1>1")["status"], "NOT_STARTED");
    assert_eq!(
        stage(&failed, "1<1>4"),
        &json!({"refId": "1<1>4", "type": "rollbackCluster", "status": "SUCCEEDED", "started": 5, "ended": 45})
    );
    assert_eq!(failed["seconds"], 45);
    assert_eq!(stage(&failed, "2")["status"], "NOT_STARTED");
    let well = run(pipeline, Value::Null);
    assert_eq!(well["status"], "SUCCEEDED");
    assert_eq!(stage(&well, "1<1>4")["status"], "NOT_STARTED");
}

#[test]
fn a_cancelled_create_ends_the_execution_without_the_stages_for_a_failure() {
    let mut pipeline = red_black(json!({"rollback": {"onFailure": true}}));
    let other = json!({"refId": "3", "type": "bake"});
    pipeline["stages"].as_array_mut().unwrap().push(other);
    let run = run(
        pipeline,
        json!({"1": {"status": "CANCELED", "seconds": 5}, "3": {"seconds": 100}}),
    );
    assert_eq!(
        (&run["status"], &run["seconds"]),
        (&json!("CANCELED"), &json!(5))
    );
    assert_eq!(stage(&run, "1<1>4")["status"], "NOT_STARTED");
    assert_eq!(stage(&run, "3")["status"], "CANCELED");
}

#[test]
fn a_stage_that_takes_longer_than_its_time_out_fails_then() {
    let pipeline = |more: Value| {
        let mut stage = json!({"refId": "1", "type": "bake", "stageTimeoutMs": 60_000});
        stage
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"stages": [stage]})
    };
    let outcomes = json!({"1": {"seconds": 61}});
    let failed = run(pipeline(json!({})), outcomes.clone());
    assert_eq!(
        (&failed["status"], &failed["seconds"]),
        (&json!("TERMINAL"), &json!(60))
    );
    let well = run(pipeline(json!({"markSuccessfulOnTimeout": true})), outcomes);
    assert_eq!(
        (&well["status"], &well["seconds"]),
        (&json!("SUCCEEDED"), &json!(60))
    );
}

#[test]
fn a_deploy_decides_once_whether_it_is_enabled() {
    let pipeline = |expression: &str| {
        let mut pipeline = red_black(json!({}));
        pipeline["stages"][0]["stageEnabled"] =
            json!({"type": "expression", "expression": expression});
        pipeline
    };
    let skipped = run(pipeline("false"), Value::Null);
    assert_eq!(skipped["status"], "SUCCEEDED");
    assert_eq!(
        (&skipped["seconds"], &stage(&skipped, "1")["status"]),
        (&json!(1), &json!("SKIPPED"))
    );
    assert_eq!(stage(&skipped, "2")["status"], "SUCCEEDED");
    // True until the group has created its server group.
    let run = run(
        pipeline("#stageByRefId('1')['status'].toString() == 'NOT_STARTED'"),
        Value::Null,
    );
    assert_eq!(stage(&run, "1<1>2")["status"], "SUCCEEDED");
    assert_eq!(stage(&run, "1")["status"], "SUCCEEDED");
}

#[test]
fn a_window_holds_its_stage_back() {
    let pipeline = json!({"stages": [{
        "refId": "1", "type": "bake", "restrictExecutionDuringTimeWindow": true,
        "restrictedExecutionWindow": {"whitelist": [{"startHour": 17, "startMin": 0, "endHour": 18, "endMin": 0}]},
    }]});
    // 1970-01-01T00:00Z is 16:00 the day before in Los Angeles.
    let run = run_at(pipeline, Value::Null, 0);
    assert_eq!(stage(&run, "1<1")["ended"], 3600);
    assert_eq!(run["seconds"], 3601);
}

#[test]
fn wrong_outcomes_are_told_with_their_place() {
    let compiled = compile(
        &json!({"stages": [{"refId": "1", "type": "wait"}]}),
        &Options::default(),
    )
    .unwrap();
    let outcomes = json!({"1": {"status": "RUNNING", "seconds": -1}, "2": 3});
    let problems = simulate(
        &compiled.definition,
        &compiled.plan,
        &outcomes,
        0,
        &Value::Null,
    )
    .unwrap_err();
    let places: Vec<&str> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(places, ["$['1'].status", "$['1'].seconds", "$['2']"]);
    assert!(
        problems
            .iter()
            .all(|problem| problem.code == "bad-outcomes")
    );
}

#[test]
fn a_definition_of_another_plan_is_refused() {
    let make = |kind: &str| {
        compile(
            &json!({"stages": [{"refId": kind, "type": kind}]}),
            &Options::default(),
        )
        .unwrap()
    };
    let (one, other) = (make("wait"), make("bake"));
    let problems =
        simulate(&one.definition, &other.plan, &Value::Null, 0, &Value::Null).unwrap_err();
    assert_eq!(problems[0].code, "bad-definition");
    let problems = simulate(
        &json!({"StartAt": "x"}),
        &one.plan,
        &Value::Null,
        0,
        &Value::Null,
    )
    .unwrap_err();
    assert_eq!(problems[0].code, "bad-definition");
}

#[test]
fn hostile_ref_ids_arrive_as_they_are() {
    let run = run(
        json!({"stages": [{"refId": "{% $states.input %}", "type": "bake"}, {"refId": "\"\\\u{0}'", "type": "bake"}]}),
        Value::Null,
    );
    assert_eq!(run["status"], "SUCCEEDED");
    assert_eq!(stage(&run, "{% $states.input %}")["status"], "SUCCEEDED");
    assert_eq!(stage(&run, "\"\\\u{0}'")["status"], "SUCCEEDED");
}

#[test]
fn three_hundred_stages_that_all_end_in_one_instant_are_no_burden() {
    let mut seed = 42_u64;
    let mut pick = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut outcomes = serde_json::Map::new();
    let stages: Vec<Value> = (0..300_u64)
        .map(|at| {
            outcomes.insert(at.to_string(), json!({"seconds": 0}));
            let mut requisites = vec![at.saturating_sub(1)];
            requisites.extend((0..2).map(|_| pick(at.max(1))));
            // Every other edge of the chain is missing, so that much has to join.
            requisites.retain(|of| *of != at && (at % 2 == 0 || *of + 1 != at));
            json!({"refId": at, "type": "wait", "waitTime": 10, "failPipeline": false, "requisiteStageRefIds": requisites})
        })
        .collect();
    let pipeline = json!({"stages": stages});
    let well = run(pipeline.clone(), Value::Object(outcomes.clone()));
    assert_eq!(
        (&well["status"], &well["seconds"]),
        (&json!("SUCCEEDED"), &json!(0))
    );
    outcomes.insert("0".to_owned(), json!({"status": "TERMINAL", "seconds": 3}));
    let stopped = run(pipeline, Value::Object(outcomes));
    assert_eq!(stopped["status"], "SUCCEEDED");
    assert_eq!(stage(&stopped, "0")["status"], "STOPPED");
    assert_eq!(stage(&stopped, "299")["status"], "NOT_STARTED");
}
