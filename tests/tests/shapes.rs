//! Pipelines of every shape, on the local cloud and in the simulator: the same stages end the same way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use gennaker_tests::executions::{wait, with};
use gennaker_tests::{file, pipeline, system};
use serde_json::{Value, json};

/// A pipeline, and how its checks end.
struct Shape {
    name: &'static str,
    stages: Vec<Value>,
    outcomes: Value,
}

/// A stage that fails at once.
fn fails(ref_id: &str, after: &[&str]) -> Value {
    json!({ "refId": ref_id, "type": "checkPreconditions", "name": format!("Check {ref_id}"), "requisiteStageRefIds": after,
        "preconditions": [{ "type": "expression", "failPipeline": true,
            "context": { "expression": "${false}", "failureMessage": "no" } }] })
}

fn enabled(stage: Value, expression: &str) -> Value {
    with(
        stage,
        &json!({ "stageEnabled": { "type": "expression", "expression": expression } }),
    )
}

fn shape(name: &'static str, stages: Vec<Value>) -> Shape {
    let failing = stages
        .iter()
        .filter(|stage| stage["type"] == "checkPreconditions")
        .filter_map(|stage| stage["refId"].as_str())
        .map(|ref_id| {
            let end = json!({ "status": "TERMINAL", "seconds": 0 });
            (ref_id.to_owned(), end)
        })
        .collect::<serde_json::Map<_, _>>();
    Shape {
        name,
        stages,
        outcomes: Value::Object(failing),
    }
}

fn shapes() -> Vec<Shape> {
    let ignore = json!({ "failPipeline": false, "continuePipeline": true });
    let branch = json!({ "failPipeline": false, "continuePipeline": false });
    let later = json!({ "failPipeline": false, "continuePipeline": false, "completeOtherBranchesThenFail": true });
    let wide: Vec<String> = (1..=6).map(|n| n.to_string()).collect();
    let wide_refs: Vec<&str> = wide.iter().map(String::as_str).collect();
    let bare = |seconds: u32| json!({ "type": "wait", "name": "Wait", "waitTime": seconds });
    vec![
        shape("one stage", vec![wait("1", &[], 5)]),
        shape(
            "one after the other",
            vec![
                wait("1", &[], 5),
                wait("2", &["1"], 5),
                wait("3", &["2"], 5),
            ],
        ),
        shape("without refIds", vec![bare(5), bare(5)]),
        shape(
            "a fan",
            vec![
                wait("1", &[], 5),
                wait("2", &["1"], 5),
                wait("3", &["1"], 5),
                wait("4", &["1"], 5),
            ],
        ),
        shape(
            "a diamond",
            vec![
                wait("1", &[], 5),
                wait("2", &["1"], 5),
                wait("3", &["1"], 10),
                wait("4", &["2", "3"], 5),
            ],
        ),
        shape(
            "two diamonds in each other",
            vec![
                wait("1", &[], 5),
                wait("2", &["1"], 5),
                wait("3", &["1"], 5),
                wait("4", &["2"], 5),
                wait("5", &["2"], 5),
                wait("6", &["4", "5"], 5),
                wait("7", &["6", "3"], 5),
            ],
        ),
        shape(
            "edges that do not nest",
            vec![
                wait("1", &[], 5),
                wait("2", &[], 10),
                wait("3", &["1"], 5),
                wait("4", &["1", "2"], 5),
                wait("5", &["2"], 5),
            ],
        ),
        shape(
            "a ladder of joins",
            vec![
                wait("1", &[], 5),
                wait("2", &[], 5),
                wait("3", &["1"], 5),
                wait("4", &["1", "2"], 5),
                wait("5", &["3", "4"], 5),
                wait("6", &["4"], 5),
                wait("7", &["5", "2"], 5),
            ],
        ),
        shape(
            "two pipelines in one",
            vec![wait("1", &[], 5), wait("2", &["1"], 5), wait("3", &[], 5)],
        ),
        shape(
            "a requisite that is not there",
            vec![wait("1", &[], 5), wait("2", &["1", "9"], 5)],
        ),
        shape(
            "six side by side and a join",
            wide.iter()
                .map(|n| wait(n, &[], 5))
                .chain([wait("7", &wide_refs, 5)])
                .collect(),
        ),
        shape(
            "a failure that halts what runs beside it",
            vec![
                wait("1", &[], 5),
                fails("2", &["1"]),
                wait("3", &[], 2000),
                wait("4", &["2", "3"], 5),
            ],
        ),
        shape(
            "a failure that halts its branch",
            vec![
                with(fails("1", &[]), &branch),
                wait("2", &["1"], 5),
                wait("3", &[], 10),
                wait("4", &["3"], 5),
            ],
        ),
        shape(
            "a failure that halts its branch and fails the pipeline at the end",
            vec![
                with(fails("1", &[]), &later),
                wait("2", &["1"], 5),
                wait("3", &[], 10),
                wait("4", &["3"], 5),
            ],
        ),
        shape(
            "a failure that is ignored",
            vec![with(fails("1", &[]), &ignore), wait("2", &["1"], 5)],
        ),
        shape(
            "an ignored failure before a join",
            vec![
                with(fails("1", &[]), &ignore),
                wait("2", &[], 5),
                wait("3", &["1", "2"], 5),
            ],
        ),
        shape(
            "a halted branch before a join",
            vec![
                with(fails("1", &[]), &branch),
                wait("2", &[], 5),
                wait("3", &["1", "2"], 5),
                wait("4", &["2"], 5),
                wait("5", &["3", "4"], 5),
            ],
        ),
        shape(
            "two branches that halt",
            vec![
                with(fails("1", &[]), &branch),
                with(fails("2", &[]), &later),
                wait("3", &["1"], 5),
                wait("4", &["2"], 5),
                wait("5", &[], 10),
            ],
        ),
        shape(
            "a stage that is not enabled",
            vec![enabled(wait("1", &[], 5), "false"), wait("2", &["1"], 5)],
        ),
        shape(
            "a stage that is enabled by the end of another",
            vec![
                with(fails("1", &[]), &ignore),
                enabled(
                    wait("2", &["1"], 5),
                    "#stageByRefId('1')['status'].toString() == 'FAILED_CONTINUE'",
                ),
                enabled(
                    wait("3", &["1"], 5),
                    "#stageByRefId('1')['status'].toString() == 'SUCCEEDED'",
                ),
                wait("4", &["2", "3"], 5),
            ],
        ),
        shape(
            "a condition that cannot be evaluated",
            vec![
                enabled(wait("1", &[], 5), "nosuchthing"),
                wait("2", &["1"], 5),
            ],
        ),
        shape(
            "a wait that is computed",
            vec![
                with(wait("1", &[], 0), &json!({ "waitTime": "${1 + 1}" })),
                wait("2", &["1"], 5),
            ],
        ),
        shape(
            "a failed expression that fails its stage",
            vec![
                with(
                    wait("1", &[], 5),
                    &json!({ "note": "${nosuchthing.here}", "failOnFailedExpressions": true, "continuePipeline": true }),
                ),
                wait("2", &["1"], 5),
            ],
        ),
        shape(
            "a failure far inside",
            vec![
                wait("1", &[], 5),
                wait("2", &["1"], 5),
                with(fails("3", &["2"]), &branch),
                wait("4", &["2"], 5),
                wait("5", &["3", "4"], 5),
                wait("6", &["4"], 5),
                wait("7", &["1"], 10),
            ],
        ),
    ]
}

/// Statuses by `refId`.
fn statuses(stages: &Value) -> BTreeMap<String, String> {
    stages
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stage| {
            let text = |name: &str| stage[name].as_str().map(str::to_owned);
            Some((text("refId")?, text("status")?))
        })
        .collect()
}

#[test]
fn every_shape_ends_on_the_local_cloud_as_it_does_in_the_simulator() {
    let shapes = shapes();
    assert!(shapes.len() >= 20);
    let system = system();
    let mut wrong = Vec::new();
    // As many at a time as a small machine bears.
    for some in shapes.chunks(6) {
        let running: Vec<_> = some
            .iter()
            .map(|shape| {
                // Of one name each: a run starts what was saved last under its name.
                let mut pipeline = pipeline("shapes", &shape.stages);
                pipeline["name"] = json!(shape.name);
                (shape, system.start_run(&pipeline, &[]), file(&pipeline))
            })
            .collect();
        for (shape, run, pipeline) in running {
            let outcomes = file(&shape.outcomes);
            let simulated = system.gennaker(&[
                "pipeline",
                "simulate",
                pipeline.to_str().unwrap(),
                "--outcomes",
                outcomes.to_str().unwrap(),
                "--json",
            ]);
            let expected = simulated.summary().clone();
            let answer = run.finish();
            let seen = answer.summary();
            let both = [seen, &expected].map(|of| (of["status"].clone(), statuses(&of["stages"])));
            if both[0] != both[1] || both[1].1.is_empty() {
                wrong.push(format!(
                    "{}: {:?}, simulated {:?}",
                    shape.name, both[0], both[1]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
