//! How the stages of a flow end: well, badly, and when their time is out, on the local cloud. The table in this folder's
//! README names the test of each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_testkit::{LocalServer, Reply};
use gennaker_tests::executions::{check, error, named, stage, until, wait, with};
use gennaker_tests::observed::ended;
use gennaker_tests::{Answer, pipeline, system_that_calls_here as system};
use serde_json::{Value, json};

/// A stage of this type.
fn of(ref_id: &str, kind: &str, after: &[&str], more: &Value) -> Value {
    let stage = json!({ "refId": ref_id, "type": kind, "name": format!("Stage {ref_id}"), "requisiteStageRefIds": after });
    with(stage, more)
}

/// A stage whose failure the others survive.
fn ignored(ref_id: &str, kind: &str, more: &Value) -> Value {
    let ignored = json!({ "failPipeline": false, "continuePipeline": true });
    with(of(ref_id, kind, &[], more), &ignored)
}

/// Runs the stages; the execution, whose status is this.
fn run(application: &str, stages: &[Value], status: &str) -> Value {
    let answer = system().run(&pipeline(application, stages), &[]);
    shown(&answer, status)
}

fn shown(answer: &Answer, status: &str) -> Value {
    ended(answer, status);
    system().show(answer.execution())
}

/// The stage failed for this reason.
fn failed(execution: &Value, ref_id: &str, status: &str, reason: &str) {
    let stage = stage(execution, ref_id);
    assert_eq!(stage["status"], status, "{stage:#}");
    assert!(error(stage).contains(reason), "{reason}: {stage:#}");
}

fn milliseconds(stage: &Value) -> i64 {
    stage["endTime"].as_i64().unwrap() - stage["startTime"].as_i64().unwrap()
}

fn expected(id: &str, name: &str) -> Value {
    json!({ "id": id, "matchArtifact": { "type": "embedded/base64", "name": name } })
}

/// A server that answers every request so.
fn server(answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> LocalServer {
    LocalServer::start(move |request| {
        let (status, body) = answer(&request.path);
        Reply::new(status, &[], body.to_string())
    })
    .unwrap()
}

/// A pipeline of one short wait.
fn small(application: &str, name: &str) -> Value {
    named(
        application,
        name,
        &format!("{application}-{name}"),
        &[wait("1", &[], 1)],
        &json!({}),
    )
}

/// The names of an application's pipelines with their places.
fn saved(application: &str) -> Vec<(String, Value)> {
    let listed = system().gennaker(&["pipeline", "list", "--application", application, "--json"]);
    let name = |pipeline: &Value| pipeline["name"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = listed
        .summary()
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect();
    names.sort();
    let place = |name: &String| {
        let reference = format!("{application}/{name}");
        system()
            .gennaker(&["pipeline", "show", &reference, "--json"])
            .summary()["index"]
            .clone()
    };
    names
        .iter()
        .map(|name| (name.clone(), place(name)))
        .collect()
}

#[test]
fn stages_of_one_call_succeed_and_no_time_out_counts_the_time_before_their_window() {
    let brief = json!({ "stageTimeoutMs": 1 });
    let held = json!({ "stageTimeoutMs": 1, "failOnFailedExpressions": true, "variables": [{ "key": "tag", "value": "v${1 + 6}" }],
        "restrictExecutionDuringTimeWindow": true, "restrictedExecutionWindow": {
            "whitelist": [{ "startHour": 0, "startMin": 0, "endHour": 23, "endMin": 59 }],
            "jitter": { "enabled": true, "minDelay": 2, "maxDelay": 2, "skipManual": false } } });
    let stages = [
        of("1", "evaluateVariables", &[], &held),
        with(
            of("2", "evaluateArtifacts", &["1"], &brief),
            &json!({ "expectedArtifacts": [expected("values", "values.*")],
            "artifactContents": [{ "name": "values.yml", "contents": "tag: ${tag}" }, { "name": "other.yml", "contents": "x" }] }),
        ),
        with(
            of("3", "bindProducedArtifacts", &["2"], &brief),
            &json!({ "expectedArtifacts": [expected("bound", "values.yml")] }),
        ),
        with(
            of("4", "findArtifactFromExecution", &["3"], &brief),
            &json!({ "pipeline": "${execution.pipelineConfigId}",
            "executionOptions": { "running": true }, "expectedArtifacts": [expected("found", "values.yml")] }),
        ),
        with(
            of("5", "checkPreconditions", &["4"], &brief),
            &json!({ "preconditions": [
            { "type": "expression", "context": { "expression": "#fromBase64(#stage('Stage 3').outputs.artifacts[0].reference) == 'tag: v7'" } },
            { "type": "stageStatus", "context": { "stageName": "Stage 4", "stageStatus": "SUCCEEDED" } },
            { "type": "clusterSize", "context": { "cluster": "onecall-none", "credentials": "prod", "regions": ["us-east-1"], "expected": 0 } },
        ] }),
        ),
    ];
    let execution = run("onecall", &stages, "SUCCEEDED");
    let stages = execution["stages"].as_array().unwrap();
    let window = stages
        .iter()
        .find(|stage| stage["type"] == "restrictExecutionDuringTimeWindow");
    let window = window.unwrap();
    assert_eq!(window["status"], "SUCCEEDED");
    assert!(milliseconds(window) >= 2_000, "{window:#}");
    for (ref_id, id) in [("3", "bound"), ("4", "found")] {
        let resolved = &stage(&execution, ref_id)["outputs"]["resolvedExpectedArtifacts"];
        assert_eq!(
            (&resolved[0]["id"], &resolved[0]["boundArtifact"]["name"]),
            (&json!(id), &json!("values.yml"))
        );
    }
}

#[test]
fn what_cannot_be_computed_fails_its_stage_with_the_reason() {
    let nothing = json!({ "expectedArtifacts": [expected("missing", "missing")], "artifactContents": [{ "name": "a", "contents": "b" }] });
    let holds_not = |kind: &str, context: Value| json!({ "preconditions": [{ "type": kind, "context": context }] });
    let never = json!({ "waitTime": 0, "restrictExecutionDuringTimeWindow": true, "restrictedExecutionWindow": { "days": [9] } });
    let stages = [
        ignored("1", "evaluateArtifacts", &nothing),
        ignored("2", "bindProducedArtifacts", &nothing),
        ignored(
            "3",
            "findArtifactFromExecution",
            &with(nothing.clone(), &json!({ "pipeline": "cannot-none" })),
        ),
        ignored(
            "4",
            "checkPreconditions",
            &holds_not(
                "expression",
                json!({ "expression": "1 > 2", "failureMessage": "one is not more" }),
            ),
        ),
        ignored(
            "5",
            "checkPreconditions",
            &holds_not(
                "stageStatus",
                json!({ "stageName": "Stage 1", "stageStatus": "SKIPPED" }),
            ),
        ),
        ignored(
            "6",
            "checkPreconditions",
            &holds_not(
                "clusterSize",
                json!({ "cluster": "cannot-none", "credentials": "prod", "regions": ["us-east-1"] }),
            ),
        ),
        ignored("7", "wait", &json!({ "waitTime": "${'a while'}" })),
        ignored("8", "waitUntil", &json!({ "epochMillis": "${'then'}" })),
        ignored("9", "wait", &never),
        // The others' failures are told, and the execution goes on.
        of(
            "10",
            "wait",
            &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
            &json!({ "waitTime": 0 }),
        ),
    ];
    let execution = run("cannot", &stages, "SUCCEEDED");
    assert_eq!(stage(&execution, "10")["status"], "SUCCEEDED");
    for (ref_id, reason) in [
        ("1", "missing"),
        ("2", "missing"),
        ("3", "`cannot-none` has no execution that counts"),
        ("4", "one is not more"),
        ("5", "Stage 1"),
        ("6", "expected == 1 server groups of `cannot-none`"),
        ("7", "is not a number of seconds"),
        ("8", "is not a time in milliseconds"),
    ] {
        failed(&execution, ref_id, "FAILED_CONTINUE", reason);
    }
    assert_eq!(stage(&execution, "9")["status"], "FAILED_CONTINUE");
    assert!(error(stage(&execution, "9<1")).contains("never opens"));
    // Variables that cannot be evaluated end the execution, whatever the policy says, as in Spinnaker.
    let variables = json!({ "failOnFailedExpressions": true, "variables": [{ "key": "x", "value": "${#stage('None')}" }] });
    let stages = [
        of("1", "evaluateVariables", &[], &variables),
        wait("2", &["1"], 0),
    ];
    let execution = run("cannot-variables", &stages, "TERMINAL");
    failed(&execution, "1", "TERMINAL", "None");
    assert_eq!(stage(&execution, "2")["status"], "NOT_STARTED");
}

#[test]
fn waits_end_when_their_time_is_out() {
    let soon = "${new java.util.Date().getTime() + 50000}";
    let stages = [
        ignored(
            "1",
            "wait",
            &json!({ "waitTime": 3_600, "stageTimeoutMs": 2_000 }),
        ),
        ignored(
            "2",
            "wait",
            &json!({ "waitTime": "${50}", "stageTimeoutMs": 2_000 }),
        ),
        ignored(
            "3",
            "waitUntil",
            &json!({ "epochMillis": soon, "stageTimeoutMs": 2_000 }),
        ),
        // Its own end comes first.
        ignored(
            "4",
            "wait",
            &json!({ "waitTime": 2, "stageTimeoutMs": 2_100 }),
        ),
    ];
    let execution = run("timeout-waits", &stages, "SUCCEEDED");
    for ref_id in ["1", "2", "3"] {
        failed(
            &execution,
            ref_id,
            "FAILED_CONTINUE",
            "longer than its time-out of 2000 ms",
        );
        let took = milliseconds(stage(&execution, ref_id));
        assert!((1_500..20_000).contains(&took), "{ref_id}: {took} ms");
    }
    assert_eq!(stage(&execution, "4")["status"], "SUCCEEDED");
    let stages = [
        of(
            "1",
            "wait",
            &[],
            &json!({ "waitTime": 3_600, "stageTimeoutMs": 1_000 }),
        ),
        wait("2", &["1"], 0),
    ];
    let execution = run("timeout-halts", &stages, "TERMINAL");
    assert_eq!(stage(&execution, "2")["status"], "NOT_STARTED");
    // Nobody answers.
    let asks = of(
        "1",
        "manualJudgment",
        &[],
        &json!({ "instructions": "Well?", "stageTimeoutMs": 1_000 }),
    );
    system().save(&named(
        "timeout-asks",
        "asks",
        "timeout-asks",
        &[asks],
        &json!({}),
    ));
    let execution = system().ended(&system().start_execution("timeout-asks/asks", &[]));
    assert_eq!(execution["status"], "TERMINAL");
    failed(&execution, "1", "TERMINAL", "nobody decided within");
}

#[test]
fn a_person_skips_the_rest_of_waits() {
    let stages = [
        wait("1", &[], 3_600),
        of("2", "wait", &[], &json!({ "waitTime": "${3000 + 50}" })),
        of(
            "3",
            "waitUntil",
            &[],
            &json!({ "epochMillis": "${new java.util.Date().getTime() + 50000}" }),
        ),
        of(
            "4",
            "wait",
            &[],
            &json!({ "waitTime": 0, "restrictExecutionDuringTimeWindow": true, "restrictedExecutionWindow": {
            "jitter": { "enabled": true, "minDelay": 50, "maxDelay": 50, "skipManual": false } } }),
        ),
    ];
    system().save(&named("skips", "waits", "skips-waits", &stages, &json!({})));
    let id = system().start_execution("skips/waits", &[]);
    for ref_id in ["1", "2", "3", "4<1"] {
        until("the stage to run", || {
            let execution = system().show(&id);
            (stage(&execution, ref_id)["status"] == "RUNNING").then_some(())
        });
        let answer = system().gennaker(&["execution", "skip", &id, "--stage", ref_id]);
        assert_eq!(answer.status, 0, "{answer:#?}");
    }
    let execution = system().ended(&id);
    assert_eq!(execution["status"], "SUCCEEDED");
    for ref_id in ["1", "2", "3", "4<1"] {
        let skipped = stage(&execution, ref_id);
        assert_eq!(skipped["context"]["skipRemainingWait"], true, "{skipped:#}");
        assert!(milliseconds(skipped) < 45_000, "{skipped:#}");
    }
}

#[test]
fn the_bad_end_of_another_execution_is_a_bad_end_for_who_waits_for_it() {
    system().save(&named(
        "bad",
        "fails",
        "bad-fails",
        &[check("1", "${ false }")],
        &json!({}),
    ));
    system().save(&named(
        "bad",
        "slow",
        "bad-slow",
        &[wait("1", &[], 600)],
        &json!({}),
    ));
    let bad = system().start_execution("bad/fails", &[]);
    assert_eq!(system().ended(&bad)["status"], "TERMINAL");
    let slow = system().start_execution("bad/slow", &[]);
    let bundle = json!({
        "first": { "child_pipeline": "fails", "arguments": {} },
        "second": { "child_pipeline": "slow", "arguments": {}, "depends_on": ["first"] },
    });
    let stages = [
        ignored(
            "1",
            "monitorPipeline",
            &json!({ "executionIds": [bad], "monitorBehavior": "WaitForAllToComplete" }),
        ),
        // Does not wait for the slow one.
        ignored(
            "2",
            "monitorPipeline",
            &json!({ "executionIds": [bad, slow], "monitorBehavior": "FailFast" }),
        ),
        ignored(
            "3",
            "runMultiplePipelines",
            &json!({ "yamlConfig": [{ "bundle_web": bundle }] }),
        ),
        ignored(
            "4",
            "pipeline",
            &json!({ "application": "bad", "pipeline": "bad-fails" }),
        ),
    ];
    let execution = run("bad", &stages, "SUCCEEDED");
    for ref_id in ["1", "2", "3", "4"] {
        let failed = stage(&execution, ref_id);
        assert_eq!(failed["status"], "FAILED_CONTINUE", "{failed:#}");
    }
    let statuses = &stage(&execution, "1")["outputs"]["executionStatuses"];
    assert_eq!(
        statuses[bad.as_str()]["status"],
        "TERMINAL",
        "{execution:#}"
    );
    assert_eq!(
        system().of_pipeline("bad", "slow").len(),
        1,
        "the second level did not start"
    );
    let depends = of(
        "1",
        "dependsOnExecution",
        &[],
        &json!({ "executionId": bad }),
    );
    let execution = run("bad-depends", &[depends], "CANCELED");
    assert_eq!(
        stage(&execution, "1")["context"]["reason"],
        "Depended-on execution completed with status TERMINAL"
    );
}

#[test]
fn who_waits_for_another_execution_stops_when_its_time_is_out() {
    system().save(&named(
        "late",
        "slow",
        "late-slow",
        &[wait("1", &[], 600)],
        &json!({}),
    ));
    let slow = system().start_execution("late/slow", &[]);
    let bundle = json!({ "one": { "child_pipeline": "slow", "arguments": { "n": "1" } } });
    let stages = [
        ignored(
            "1",
            "monitorPipeline",
            &json!({ "executionIds": [slow], "stageTimeoutMs": 2_000 }),
        ),
        ignored(
            "2",
            "dependsOnExecution",
            &json!({ "executionId": slow, "stageTimeoutMs": 2_000 }),
        ),
        of(
            "3",
            "runMultiplePipelines",
            &["1", "2"],
            &json!({ "yamlConfig": [{ "bundle_web": bundle }], "stageTimeoutMs": 4_000 }),
        ),
        wait("4", &["3"], 0),
    ];
    let execution = run("late", &stages, "TERMINAL");
    for (ref_id, status) in [
        ("1", "FAILED_CONTINUE"),
        ("2", "FAILED_CONTINUE"),
        ("3", "TERMINAL"),
    ] {
        failed(&execution, ref_id, status, "longer than its time-out");
    }
    assert_eq!(stage(&execution, "4")["status"], "NOT_STARTED");
    // Whom the stage started ends with it, whom it only watched runs on.
    assert_eq!(system().show(&slow)["status"], "RUNNING");
    let started = system().of_pipeline("late", "slow");
    let child = started
        .iter()
        .find(|execution| execution["id"] != slow.as_str())
        .unwrap();
    let child = system().ended(child["id"].as_str().unwrap());
    assert_eq!(
        (&child["status"], &child["canceledBy"]),
        (&json!("CANCELED"), &json!("parent pipeline"))
    );
}

#[test]
fn pipelines_are_saved_put_in_order_changed_and_deleted_by_a_pipeline() {
    let all: Vec<Value> = (0..12)
        .map(|n| small("desk", &format!("p{n:02}")))
        .collect();
    let places = |offset: i64| -> Value {
        (0..12)
            .map(|n| (format!("desk-p{n:02}"), json!(n + offset)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let changed = with(small("desk", "p00"), &json!({ "description": "changed" }));
    let stages = [
        of(
            "1",
            "savePipeline",
            &[],
            &json!({ "isBulkSavingPipelines": true, "pipelines": all }),
        ),
        of(
            "2",
            "reorderPipelines",
            &["1"],
            &json!({ "application": "desk", "idsToIndices": places(100) }),
        ),
        of(
            "3",
            "updatePipeline",
            &["2"],
            &json!({ "stageTimeoutMs": 1, "pipeline": with(changed, &json!({ "index": 100 })) }),
        ),
        of(
            "4",
            "deletePipeline",
            &["3"],
            &json!({ "stageTimeoutMs": 1, "pipeline": { "application": "desk", "id": "desk-p11" } }),
        ),
    ];
    let execution = run("desk-well", &stages, "SUCCEEDED");
    assert_eq!(
        stage(&execution, "1")["context"]["bulksave"]["successful_pipelines_count"],
        12
    );
    let expected: Vec<(String, Value)> = (0..11)
        .map(|n| (format!("p{n:02}"), json!(n + 100)))
        .collect();
    assert_eq!(saved("desk"), expected);
    let first = system().gennaker(&["pipeline", "show", "desk/p00", "--json"]);
    assert_eq!(first.summary()["description"], "changed");
    // A stage whose time runs out between two calls leaves everything as it was.
    let mut places = places(0);
    places.as_object_mut().unwrap().remove("desk-p11");
    let brief = json!({ "stageTimeoutMs": 1 });
    let late = [
        of(
            "1",
            "reorderPipelines",
            &[],
            &with(
                json!({ "application": "desk", "idsToIndices": places }),
                &brief,
            ),
        ),
        of(
            "1",
            "savePipeline",
            &[],
            &with(
                json!({ "isBulkSavingPipelines": true, "pipelines": all }),
                &brief,
            ),
        ),
    ];
    for (n, stage) in late.into_iter().enumerate() {
        let execution = run(
            &format!("desk-late{n}"),
            &[stage, wait("2", &["1"], 0)],
            "TERMINAL",
        );
        failed(
            &execution,
            "1",
            "TERMINAL",
            "longer than its time-out of 1 ms",
        );
        assert_eq!(saved("desk"), expected);
    }
}

#[test]
fn what_cannot_be_saved_ordered_or_deleted_fails_its_stage() {
    let mut wrong = small("undesk", "wrong");
    wrong["stages"][0]["type"] = json!("wiat");
    let stages = [
        ignored("1", "savePipeline", &json!({ "pipeline": "{no base64}" })),
        ignored("2", "updatePipeline", &json!({ "pipeline": wrong })),
        ignored(
            "3",
            "deletePipeline",
            &json!({ "pipeline": small("undesk", "nobody") }),
        ),
        ignored(
            "4",
            "reorderPipelines",
            &json!({ "application": "undesk", "idsToIndices": { "undesk-nobody": 1 } }),
        ),
        ignored(
            "5",
            "savePipelinesFromArtifact",
            &json!({ "pipelinesArtifactId": "nothing" }),
        ),
        ignored(
            "6",
            "savePipelinesFromArtifact",
            &json!({ "pipelinesArtifact": { "type": "embedded/base64", "reference": "W10=" } }),
        ),
    ];
    let execution = run("undesk-well", &stages, "SUCCEEDED");
    for (ref_id, reason) in [
        ("1", "pipeline must be encoded as base64"),
        ("2", "wiat"),
        ("3", "`undesk-nobody` not found"),
        ("4", "`undesk-nobody` not found"),
        ("5", "No artifact could be bound to 'nothing'"),
        ("6", "no JSON object"),
    ] {
        failed(&execution, ref_id, "FAILED_CONTINUE", reason);
    }
    assert_eq!(saved("undesk"), []);
}

#[test]
fn the_pipelines_of_an_artifact_are_saved_unless_its_server_has_no_answer_in_time() {
    let content = json!({ "shelf": [small("shelf", "a"), small("shelf", "b")] });
    let server = server(move |path| match path {
        "/pipelines.json" => (200, content.clone()),
        _ => (503, json!({})),
    });
    let file =
        |path: &str| json!({ "type": "http/file", "reference": server.url("127.0.0.1", path) });
    let stages = [of(
        "1",
        "savePipelinesFromArtifact",
        &[],
        &json!({ "pipelinesArtifact": file("/pipelines.json") }),
    )];
    let execution = run("shelf-well", &stages, "SUCCEEDED");
    let created = &stage(&execution, "1")["context"]["pipelinesCreated"];
    assert_eq!(created.as_array().unwrap().len(), 2, "{created}");
    let names: Vec<String> = saved("shelf").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b"]);
    let late = json!({ "pipelinesArtifact": file("/later.json"), "stageTimeoutMs": 1_500 });
    let stages = [of("1", "savePipelinesFromArtifact", &[], &late)];
    let execution = run("shelf-late", &stages, "TERMINAL");
    failed(
        &execution,
        "1",
        "TERMINAL",
        "longer than its time-out of 1500 ms",
    );
    assert!(
        error(stage(&execution, "1")).contains("503"),
        "what it waited for is told"
    );
}

#[test]
fn the_pipelines_of_an_object_in_s3_are_saved() {
    let put = |key: &str, body: &Value| {
        let call =
            json!({ "Bucket": "gennaker-artifacts-shop", "Key": key, "Body": body.to_string() });
        system().cloud.call("s3", "put_object", call).unwrap();
    };
    let bucket = json!({ "Bucket": "gennaker-artifacts-shop" });
    system().cloud.call("s3", "create_bucket", bucket).unwrap();
    put(
        "d/all +1.json",
        &json!({ "bucket": [small("bucket", "a")] }),
    );
    let object = |key: &str| json!({ "pipelinesArtifact": { "type": "s3/object", "reference": format!("s3://gennaker-artifacts-shop/{key}") } });
    let stages = [
        of(
            "1",
            "savePipelinesFromArtifact",
            &[],
            &object("d/all +1.json"),
        ),
        with(
            ignored("2", "savePipelinesFromArtifact", &object("none")),
            &json!({ "requisiteStageRefIds": ["1"] }),
        ),
    ];
    let execution = run("bucket-well", &stages, "SUCCEEDED");
    failed(&execution, "2", "FAILED_CONTINUE", "NoSuchKey");
    let names: Vec<String> = saved("bucket").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a"]);
}
