//! Pipelines that start, watch, hear and store pipelines, on the local cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_tests::executions::{check, child, named, stage, until, wait};
use gennaker_tests::observed::ended;
use gennaker_tests::{pipeline, system};
use serde_json::json;

#[test]
fn a_child_runs_with_its_parameters_and_what_it_did_is_known_to_its_parent() {
    let stages = [
        check(
            "1",
            "${ parameters.size == '3' && trigger.parentExecution.name == 'parent of one' }",
        ),
        wait("2", &["1"], 1),
    ];
    let parameters = json!({ "parameterConfig": [{ "name": "size", "required": true }, { "name": "color", "default": "blue" }] });
    system().save(&named(
        "one-down",
        "child",
        "one-child",
        &stages,
        &parameters,
    ));
    let stage_ = child(
        "1",
        "one-down",
        "one-child",
        &json!({ "pipelineParameters": { "size": "3" } }),
    );
    let mut after = check(
        "2",
        "${ #stage('Run one-child')['context']['status'].toString() == 'SUCCEEDED' }",
    );
    after["requisiteStageRefIds"] = json!(["1"]);
    let parent = named(
        "one-up",
        "parent of one",
        "one-parent",
        &[stage_, after],
        &json!({}),
    );
    let answer = system().run(&parent, &[]);
    ended(&answer, "SUCCEEDED");
    let children = system().of_pipeline("one-down", "child");
    assert_eq!(children.len(), 1, "one child");
    let child = system().show(children[0]["id"].as_str().unwrap());
    assert_eq!(child["status"], "SUCCEEDED");
    assert_eq!(
        child["trigger"]["parameters"],
        json!({ "size": "3", "color": "blue" })
    );
    let parent = answer.summary()["execution"].clone();
    assert_eq!(
        child["trigger"]["parentExecution"]["id"], parent,
        "{answer:#?}"
    );
    let parent = system().show(parent.as_str().unwrap());
    assert_eq!(stage(&parent, "1")["context"]["executionId"], child["id"]);
    assert_eq!(stage(&parent, "1")["context"]["executionName"], "child");
}

#[test]
fn a_failed_child_fails_its_parent_and_says_where() {
    system().save(&named(
        "two-down",
        "child",
        "two-child",
        &[check("1", "${ false }")],
        &json!({}),
    ));
    let stages = [
        child("1", "two-down", "two-child", &json!({})),
        wait("2", &["1"], 1),
    ];
    let answer = system().run(&pipeline("two-up", &stages), &[]);
    ended(&answer, "TERMINAL");
    assert_eq!(answer.stage("2"), "NOT_STARTED");
    let parent = system().show(answer.execution());
    let exception = &stage(&parent, "1")["context"]["exception"];
    let errors = exception["details"]["errors"].to_string();
    assert!(errors.contains("the child says no"), "{exception}");
    assert_eq!(exception["source"]["stageName"], "Check");
}

#[test]
fn a_stage_whose_time_runs_out_cancels_its_child() {
    system().save(&named(
        "three-down",
        "child",
        "three-child",
        &[wait("1", &[], 600)],
        &json!({}),
    ));
    let stages = [child(
        "1",
        "three-down",
        "three-child",
        &json!({ "stageTimeoutMs": 4_000 }),
    )];
    let answer = system().run(&pipeline("three-up", &stages), &[]);
    ended(&answer, "TERMINAL");
    let children = system().of_pipeline("three-down", "child");
    let child = system().ended(children[0]["id"].as_str().unwrap());
    assert_eq!(child["status"], "CANCELED");
    assert_eq!(child["canceledBy"], "parent pipeline");
}

#[test]
fn a_parent_that_is_canceled_cancels_its_child_and_whom_that_started() {
    system().save(&named(
        "four",
        "grandchild",
        "four-grandchild",
        &[wait("1", &[], 600)],
        &json!({}),
    ));
    let stages = [child("1", "four", "four-grandchild", &json!({}))];
    system().save(&named("four", "child", "four-child", &stages, &json!({})));
    let stages = [child("1", "four", "four-child", &json!({}))];
    system().save(&named("four", "parent", "four-parent", &stages, &json!({})));
    let id = system().start_execution("four/parent", &[]);
    until("the grandchild", || {
        system().of_pipeline("four", "grandchild").pop()
    });
    system().act(&["cancel", &id, "--reason", "not today"]);
    assert_eq!(system().ended(&id)["status"], "CANCELED");
    for name in ["child", "grandchild"] {
        let found = system().of_pipeline("four", name);
        assert_eq!(found.len(), 1);
        let ended = system().ended(found[0]["id"].as_str().unwrap());
        assert_eq!(ended["status"], "CANCELED", "{name}");
        assert_eq!(ended["canceledBy"], "parent pipeline", "{name}");
    }
}

#[test]
fn a_pipeline_trigger_hears_the_end_that_it_names_and_no_other() {
    let hears = |status: &str| json!({ "triggers": [{ "type": "pipeline", "enabled": true, "application": "five", "pipeline": "five-up", "status": [status] }] });
    let one = [wait("1", &[], 1)];
    system().save(&named(
        "five",
        "after success",
        "five-success",
        &one,
        &hears("successful"),
    ));
    system().save(&named(
        "five",
        "after failure",
        "five-failure",
        &one,
        &hears("failed"),
    ));
    let answer = system().run(&named("five", "up", "five-up", &one, &json!({})), &[]);
    ended(&answer, "SUCCEEDED");
    let heard = until("the execution that the end starts", || {
        system().of_pipeline("five", "after success").pop()
    });
    let heard = system().ended(heard["id"].as_str().unwrap());
    assert_eq!(heard["status"], "SUCCEEDED");
    assert_eq!(heard["trigger"]["type"], "pipeline");
    assert_eq!(
        heard["trigger"]["parentExecution"]["id"],
        answer.summary()["execution"]
    );
    assert!(system().of_pipeline("five", "after failure").is_empty());
}

#[test]
fn executions_that_run_already_are_waited_for() {
    let id_of_other = json!({ "parameterConfig": [{ "name": "other", "required": true }] });
    system().save(&named(
        "six",
        "slow",
        "six-slow",
        &[wait("1", &[], 6)],
        &json!({}),
    ));
    let monitor = json!({ "refId": "1", "type": "monitorPipeline", "name": "Monitor", "requisiteStageRefIds": [],
        "executionIds": ["${ parameters.other }"], "monitorBehavior": "WaitForAllToComplete" });
    let depends = json!({ "refId": "2", "type": "dependsOnExecution", "name": "Depend", "requisiteStageRefIds": [],
        "executionType": "pipeline", "executionId": "${ parameters.other }" });
    system().save(&named(
        "six",
        "waits",
        "six-waits",
        &[monitor, depends],
        &id_of_other,
    ));
    let other = system().start_execution("six/slow", &[]);
    let parameter = format!("other={other}");
    let id = system().start_execution("six/waits", &["--parameter", &parameter]);
    let waits = system().ended(&id);
    assert_eq!(waits["status"], "SUCCEEDED", "{waits:#}");
    let other_ended = system().show(&other)["endTime"].as_i64().unwrap();
    for ref_id in ["1", "2"] {
        assert!(stage(&waits, ref_id)["endTime"].as_i64().unwrap() >= other_ended);
    }
    let statuses = &stage(&waits, "1")["outputs"]["executionStatuses"];
    assert_eq!(statuses[other.as_str()]["status"], "SUCCEEDED");
    // One that is not there.
    let nobody = system().start_execution(
        "six/waits",
        &["--parameter", "other=01J0000000000000000000000A"],
    );
    assert_eq!(system().ended(&nobody)["status"], "TERMINAL");
}

#[test]
fn a_pipeline_saves_another_runs_it_and_deletes_it() {
    let other = named(
        "seven",
        "made",
        "seven-made",
        &[wait("1", &[], 1)],
        &json!({}),
    );
    let mut run = child("2", "seven", "seven-made", &json!({}));
    run["requisiteStageRefIds"] = json!(["1"]);
    let stages = [
        json!({ "refId": "1", "type": "savePipeline", "name": "Save", "requisiteStageRefIds": [], "pipeline": other }),
        run,
        json!({ "refId": "3", "type": "deletePipeline", "name": "Delete", "requisiteStageRefIds": ["2"],
            "pipeline": { "application": "seven", "name": "made" } }),
    ];
    let answer = system().run(&pipeline("seven-up", &stages), &[]);
    ended(&answer, "SUCCEEDED");
    assert_eq!(system().of_pipeline("seven", "made").len(), 1);
    let listed = system().gennaker(&["pipeline", "list", "--application", "seven", "--json"]);
    assert_eq!(listed.summary(), &json!([]), "{listed:#?}");
    // What cannot be saved fails the stage, with its place.
    let mut wrong = other;
    wrong["stages"][0]["type"] = json!("wiat");
    let stages = [
        json!({ "refId": "1", "type": "savePipeline", "name": "Save", "requisiteStageRefIds": [], "pipeline": wrong }),
    ];
    let answer = system().run(&pipeline("seven-wrong", &stages), &[]);
    ended(&answer, "TERMINAL");
    let failed = system().show(answer.execution());
    let error = stage(&failed, "1")["context"]["exception"]["details"]["error"].to_string();
    assert!(error.contains("wiat"), "{error}");
}

#[test]
fn many_pipelines_run_in_the_order_of_what_depends_on_what() {
    let one = [wait("1", &[], 1)];
    let parameters = json!({ "parameterConfig": [{ "name": "app" }] });
    system().save(&named("eight", "deploy", "eight-deploy", &one, &parameters));
    let bundle = json!({
        "web": { "child_pipeline": "deploy", "arguments": { "app": "web" }, "depends_on": ["database"] },
        "database": { "child_pipeline": "deploy", "arguments": { "app": "database" } },
    });
    let many = json!({ "refId": "1", "type": "runMultiplePipelines", "name": "All", "requisiteStageRefIds": [],
        "yamlConfig": [{ "bundle_web": bundle }] });
    let answer = system().run(&pipeline("eight", &[many]), &[]);
    ended(&answer, "SUCCEEDED");
    let parent = system().show(answer.execution());
    let list = stage(&parent, "1")["outputs"]["executionsList"].clone();
    assert_eq!(list[0]["executionIdentifier"], "database");
    assert_eq!(list[1]["executionIdentifier"], "web");
    assert!(list[1]["startTime"].as_i64().unwrap() >= list[0]["endTime"].as_i64().unwrap());
    assert_eq!(system().of_pipeline("eight", "deploy").len(), 2);
}
