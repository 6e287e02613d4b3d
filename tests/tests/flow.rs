//! Stages that call, compute and wait, on the local cloud, against a server on this machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gennaker_testkit::{LocalServer, Received, Reply};
use gennaker_tests::executions::{until, with};
use gennaker_tests::observed::ended;
use gennaker_tests::{pipeline, system_that_calls_here as system};
use serde_json::{Value, json};

/// A server of jobs: a POST begins one, a GET looks at it, a DELETE calls it off. A job's name says how it ends.
struct Jobs {
    server: LocalServer,
}

impl Jobs {
    fn start() -> Self {
        type State = BTreeMap<usize, (String, usize)>;
        let state: Arc<Mutex<State>> = Arc::default();
        let server = LocalServer::start(move |request| {
            let mut jobs = state.lock().unwrap();
            let id = request.path.rsplit('/').next().and_then(|id| id.parse::<usize>().ok());
            match (request.method.as_str(), id) {
                ("POST", None) => {
                    let payload: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                    let id = jobs.len() + 1;
                    let name = payload["job"].as_str().unwrap_or_default().to_owned();
                    jobs.insert(id, (name, 0));
                    let location = format!("/jobs/{id}");
                    let body = json!({ "id": id, "artifacts": [{ "type": "docker/image", "name": "shop", "version": "v7" }] });
                    Reply::new(201, &[("Location", location.as_str()), ("Content-Type", "application/json")], body.to_string())
                }
                ("GET", Some(id)) if jobs.contains_key(&id) => {
                    let job = jobs.get_mut(&id).unwrap();
                    job.1 += 1;
                    let state = match (job.0.as_str(), job.1) {
                        ("endless", _) | (_, 1) => "running",
                        ("broken", _) => "failed",
                        _ => "done",
                    };
                    Reply::new(200, &[], json!({ "state": state, "log": format!("look {}", job.1) }).to_string())
                }
                ("DELETE", Some(_)) => Reply::new(200, &[], "{}"),
                _ => Reply::new(404, &[], "{}"),
            }
        })
        .unwrap();
        Self { server }
    }

    /// A webhook stage that begins a job and waits for its end.
    fn stage(&self, job: &str, more: &Value) -> Value {
        let stage = json!({
            "refId": "1", "type": "webhook", "name": "Job", "requisiteStageRefIds": [], "method": "POST",
            "url": self.server.url("127.0.0.1", "/jobs"), "payload": { "job": job, "by": "${execution.application}" },
            "waitForCompletion": true, "statusUrlResolution": "locationHeader", "statusJsonPath": "$.state",
            "progressJsonPath": "$.log", "successStatuses": "done", "terminalStatuses": "failed",
            "cancelEndpoint": format!("{}/${{webhook.body.id}}", self.server.url("127.0.0.1", "/jobs")), "cancelMethod": "DELETE",
        });
        with(stage, more)
    }

    fn count(&self, method: &str) -> usize {
        self.server
            .received()
            .iter()
            .filter(|request| request.method == method)
            .count()
    }

    fn first(&self) -> Received {
        self.server.received().first().cloned().unwrap()
    }
}

#[test]
fn a_job_is_begun_and_what_it_answered_is_used_by_later_stages() {
    let jobs = Jobs::start();
    let expected = json!({ "expectedArtifacts": [{ "id": "image", "matchArtifact": { "type": "docker/image", "name": "shop" } }] });
    let stages = [
        jobs.stage("good", &expected),
        json!({ "refId": "2", "type": "evaluateVariables", "name": "Names", "requisiteStageRefIds": ["1"], "failOnFailedExpressions": true, "variables": [
            { "key": "job", "value": "${#stage('Job').context.webhook.body.id}" },
            { "key": "twice", "value": "${job * 2}" },
            { "key": "image", "value": "${#stage('Job').outputs.artifacts[0].version}" },
        ] }),
        json!({ "refId": "3", "type": "evaluateArtifacts", "name": "Values", "requisiteStageRefIds": ["2"], "artifactContents": [
            { "name": "values.yml", "contents": "tag: ${image}" },
        ] }),
        json!({ "refId": "4", "type": "checkPreconditions", "name": "Check", "requisiteStageRefIds": ["3"], "preconditions": [
            { "type": "expression", "failPipeline": true, "context": { "expression": "job == 1 && twice == 2 && image == 'v7'" } },
            { "type": "stageStatus", "failPipeline": true, "context": { "stageName": "Job", "stageStatus": "SUCCEEDED" } },
            { "type": "clusterSize", "failPipeline": true, "context": { "cluster": "flowjob-none", "credentials": "prod", "regions": ["us-east-1"], "expected": 0 } },
        ] }),
        json!({ "refId": "5", "type": "findArtifactFromExecution", "name": "Find", "requisiteStageRefIds": ["4"],
            "pipeline": "${execution.pipelineConfigId}", "executionOptions": { "running": true },
            "expectedArtifacts": [{ "id": "values", "matchArtifact": { "type": "embedded/base64", "name": "values.*" } }] }),
        json!({ "refId": "6", "type": "checkPreconditions", "name": "Check again", "requisiteStageRefIds": ["5"], "preconditions": [
            { "type": "expression", "failPipeline": true, "context": { "expression": "#fromBase64(#stage('Find').outputs.artifacts[0].reference) == 'tag: v7'" } },
        ] }),
    ];
    let mut pipeline = pipeline("flowjob", &stages);
    pipeline["spelEvaluator"] = json!("v4");
    let answer = system().run(&pipeline, &[]);
    ended(&answer, "SUCCEEDED");
    assert_eq!(
        (jobs.count("POST"), jobs.count("GET"), jobs.count("DELETE")),
        (1, 2, 0)
    );
    let body: Value = serde_json::from_slice(&jobs.first().body).unwrap();
    assert_eq!(body, json!({ "job": "good", "by": "flowjob" }));
}

#[test]
fn a_job_that_fails_fails_the_pipeline_and_is_not_called_off() {
    let jobs = Jobs::start();
    let answer = system().run(
        &pipeline("flowfail", &[jobs.stage("broken", &json!({}))]),
        &[],
    );
    ended(&answer, "TERMINAL");
    assert!(
        answer
            .reason()
            .contains("the job ended with the status \"failed\""),
        "{answer:#?}"
    );
    assert_eq!((jobs.count("POST"), jobs.count("DELETE")), (1, 0));
}

#[test]
fn a_job_that_takes_too_long_fails_the_pipeline_and_is_called_off() {
    let jobs = Jobs::start();
    let stage = jobs.stage("endless", &json!({ "stageTimeoutMs": 4_000 }));
    let answer = system().run(&pipeline("flowtime", &[stage]), &[]);
    ended(&answer, "TERMINAL");
    assert!(answer.reason().contains("time-out"), "{answer:#?}");
    assert_eq!((jobs.count("POST"), jobs.count("DELETE")), (1, 1));
    assert!(
        jobs.server
            .received()
            .iter()
            .any(|request| request.path == "/jobs/1" && request.method == "DELETE")
    );
}

#[test]
fn a_cancel_calls_the_job_off() {
    let jobs = Jobs::start();
    let running = system().start_run(
        &pipeline("flowcancel", &[jobs.stage("endless", &json!({}))]),
        &[],
    );
    until("a look at the job", || {
        (jobs.count("GET") > 0).then_some(())
    });
    let execution = system().running("flowcancel");
    let id = execution["id"].as_str().unwrap();
    system().act(&["cancel", id, "--reason", "enough"]);
    ended(&running.finish(), "CANCELED");
    assert_eq!((jobs.count("POST"), jobs.count("DELETE")), (1, 1));
}

#[test]
fn an_address_inside_is_not_called() {
    let url = "http://169.254.169.254/latest/meta-data/";
    let stage = json!({ "refId": "1", "type": "webhook", "name": "Inside", "requisiteStageRefIds": [], "method": "GET", "url": url });
    let answer = system().run(&pipeline("flowinside", &[stage]), &[]);
    ended(&answer, "TERMINAL");
    let reason = answer.reason();
    assert!(
        reason.contains("`169.254.169.254` is not an address that this installation calls"),
        "{answer:#?}"
    );
}

#[test]
fn waits_and_windows_let_a_stage_go_when_their_time_has_come() {
    let stages = [
        json!({ "refId": "1", "type": "waitUntil", "name": "Soon", "requisiteStageRefIds": [], "epochMillis": "${new java.util.Date().getTime() + 2000}" }),
        // Every minute of every day.
        json!({ "refId": "2", "type": "wait", "name": "In the window", "requisiteStageRefIds": ["1"], "waitTime": 1,
            "restrictExecutionDuringTimeWindow": true, "restrictedExecutionWindow": {
                "whitelist": [{ "startHour": 0, "startMin": 0, "endHour": 23, "endMin": 59 }], "days": [1, 2, 3, 4, 5, 6, 7],
                "jitter": { "enabled": true, "minDelay": 1, "maxDelay": 1, "skipManual": false },
            } }),
    ];
    let answer = system().run(&pipeline("flowwait", &stages), &[]);
    ended(&answer, "SUCCEEDED");
    let stages = answer.summary()["stages"].as_array().unwrap().clone();
    let first = stages.iter().find(|stage| stage["refId"] == "1").unwrap();
    let took = first["endTime"].as_i64().unwrap() - first["startTime"].as_i64().unwrap();
    assert!(took >= 1_500, "{first:#}");
    let window = stages
        .iter()
        .find(|stage| stage["type"] == "restrictExecutionDuringTimeWindow")
        .unwrap();
    assert_eq!(window["status"], "SUCCEEDED", "{window:#}");
}

#[test]
fn a_precondition_that_does_not_hold_stops_what_comes_after() {
    let check = |hard: bool| {
        json!({ "refId": "1", "type": "checkPreconditions", "name": "Check", "requisiteStageRefIds": [], "preconditions": [
        { "type": "clusterSize", "failPipeline": hard, "context": { "cluster": "shared-prod", "credentials": "prod", "regions": ["us-east-1"], "comparison": ">", "expected": 50 } },
    ] })
    };
    let after =
        json!({ "refId": "2", "type": "wait", "waitTime": 0, "requisiteStageRefIds": ["1"] });
    let hard = system().run(&pipeline("flowhard", &[check(true), after.clone()]), &[]);
    ended(&hard, "TERMINAL");
    assert!(
        hard.reason()
            .contains("expected > 50 server groups of `shared-prod`"),
        "{hard:#?}"
    );
    let soft = system().run(&pipeline("flowsoft", &[check(false), after]), &[]);
    ended(&soft, "SUCCEEDED");
    assert_eq!(
        (soft.stage("1"), soft.stage("2")),
        ("STOPPED".to_owned(), "NOT_STARTED".to_owned())
    );
}
