//! Webhooks that an installation configures as stage types of their own, in pipelines that run on the local cloud: how
//! they end well, badly, and when their time is out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_testkit::{LocalServer, Reply};
use gennaker_tests::executions::{error, stage, with};
use gennaker_tests::observed::ended;
use gennaker_tests::{file, pipeline, system_that_calls_here as system};
use serde_json::{Value, json};

/// A server that runs smoke tests: the suite `good` passes, `bad` fails, any other one never ends.
fn smoke_tests() -> LocalServer {
    LocalServer::start(|request| {
        let suite = request.path.rsplit('/').next().unwrap_or_default();
        let state = match suite {
            "good" => "passed",
            "bad" => "broken",
            _ => "at work",
        };
        Reply::new(
            200,
            &[],
            json!({ "state": state, "suite": suite }).to_string(),
        )
    })
    .unwrap()
}

/// The file of an operator: one webhook, whose suite the stage may choose.
fn configured(server: &LocalServer, stage_type: &str) -> Value {
    json!({ "webhook": { "preconfigured": [{
        "type": stage_type, "label": "Smoke test", "method": "POST",
        "url": server.url("127.0.0.1", "/suites/${parameterValues['suite']}"),
        "payload": { "by": "${execution.application}" },
        "waitForCompletion": true, "statusUrlResolution": "getMethod",
        "statusJsonPath": "$.state", "successStatuses": "passed", "terminalStatuses": "broken",
        "parameters": [{ "name": "suite", "label": "Suite", "defaultValue": "good" }],
    }] } })
}

#[test]
fn a_preconfigured_webhook_ends_well_badly_and_when_its_time_is_out() {
    let server = smoke_tests();
    let webhooks = file(&configured(&server, "smokeTest"));
    let smoke = |ref_id: &str, more: Value| {
        let stage = json!({
            "refId": ref_id, "type": "smokeTest", "name": format!("Stage {ref_id}"), "requisiteStageRefIds": [],
            "failPipeline": false, "continuePipeline": true,
        });
        with(stage, &more)
    };
    let stages = [
        smoke("1", json!({})),
        smoke("2", json!({ "parameterValues": { "suite": "bad" } })),
        smoke(
            "3",
            json!({ "parameterValues": { "suite": "endless" }, "stageTimeoutMs": 3_000 }),
        ),
        // What the installation says wins.
        smoke(
            "4",
            json!({ "url": "http://127.0.0.1:9/elsewhere", "method": "GET" }),
        ),
    ];
    let configured = ["--webhooks", webhooks.to_str().unwrap()];
    let answer = system().run(&pipeline("smoketest", &stages), &configured);
    ended(&answer, "SUCCEEDED");
    let execution = system().show(answer.execution());
    let status = |ref_id| stage(&execution, ref_id)["status"].as_str().unwrap();
    assert_eq!(
        [status("1"), status("2"), status("3"), status("4")],
        [
            "SUCCEEDED",
            "FAILED_CONTINUE",
            "FAILED_CONTINUE",
            "SUCCEEDED"
        ],
        "{execution:#}"
    );
    let third = stage(&execution, "3");
    assert!(error(third).contains("time-out of 3000 ms"), "{third:#}");
    let second = stage(&execution, "2");
    assert!(!error(second).contains("time-out"), "{second:#}");
    let begun: Vec<(String, Value)> = server
        .received()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| {
            let body = serde_json::from_slice(&request.body).unwrap();
            (request.path.clone(), body)
        })
        .collect();
    let mut suites: Vec<&str> = begun.iter().map(|(path, _)| path.as_str()).collect();
    suites.sort_unstable();
    assert_eq!(
        suites,
        [
            "/suites/bad",
            "/suites/endless",
            "/suites/good",
            "/suites/good"
        ]
    );
    let by = json!({ "by": "smoketest" });
    assert!(begun.iter().all(|(_, body)| *body == by), "{begun:?}");
}

#[test]
fn a_webhook_that_nobody_configured_is_refused_before_anything_runs() {
    let stage = json!({ "refId": "1", "type": "unheardOfTest", "requisiteStageRefIds": [] });
    let pipeline = pipeline("unheardof", &[stage]);
    let answer = system().run(&pipeline, &[]);
    assert_eq!(answer.status, 2, "{answer:#?}");
    let told = format!("{answer:?}");
    assert!(
        told.contains("unknown-stage-type") && told.contains("--webhooks"),
        "{answer:#?}"
    );
}
