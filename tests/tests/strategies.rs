//! Every strategy on the local cloud, to its end and stopped in the middle: what is in the account afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_testkit::{LocalServer, Reply};
use gennaker_tests::executions::{stage, until, with};
use gennaker_tests::observed::{ended, idle, serving, stage_named};
use gennaker_tests::{deploy, pipeline, system_that_calls_here as system};
use serde_json::{Value, json};

/// What `deploy` asks for.
const SIZE: (u32, u32, u32) = (2, 2, 4);

/// A release of one deploy stage.
fn release(application: &str, image: &str, cluster: &Value, more: &Value) -> Value {
    let stage = deploy("1", &[], application, image, cluster);
    pipeline(application, &[with(stage, more)])
}

fn group(application: &str, version: &str) -> String {
    format!("{application}-prod-{version}")
}

/// The deploy's sub-stage that creates the group.
const CREATES: &str = "1<1";

/// Waits until a sub-stage of that type runs; the stage's id.
fn at_work(id: &str, stage_type: &str, name: &str) -> String {
    until(&format!("{stage_type} runs"), || {
        let execution = system().show(id);
        let stages = execution["stages"].as_array().unwrap();
        let running = stages.iter().find(|stage| {
            stage["type"] == stage_type
                && stage["name"].as_str().unwrap().starts_with(name)
                && stage["status"] == "RUNNING"
        });
        running.map(|stage| stage["refId"].as_str().unwrap().to_owned())
    })
}

#[test]
fn highlander_leaves_one_server_group() {
    let cluster = json!({ "strategy": "highlander" });
    let release = release("highlander", "web-v2", &cluster, &json!({}));
    ended(&system().run(&release, &[]), "SUCCEEDED");
    system().is_left(
        "highlander-prod",
        &[serving(&group("highlander", "v001"), SIZE)],
        1,
    );
}

#[test]
fn a_red_black_release_that_scales_down_keeps_the_old_group_without_instances() {
    let cluster = json!({ "scaleDown": true });
    let release = release("blackened", "web-v2", &cluster, &json!({}));
    ended(&system().run(&release, &[]), "SUCCEEDED");
    system().is_left(
        "blackened-prod",
        &[
            idle(&group("blackened", "v000"), (0, 0, 0)),
            serving(&group("blackened", "v001"), SIZE),
        ],
        1,
    );
}

/// A pipeline that checks each step of a rolling release: it fails from this percentage on.
fn validation(application: &str, fails_from: u32) -> Value {
    let check = json!({ "refId": "1", "type": "checkPreconditions", "name": "Check", "requisiteStageRefIds": [],
        "preconditions": [{ "type": "expression", "failPipeline": true,
            "context": { "expression": format!("parameters['percentageComplete'] < {fails_from}") } }] });
    let mut validation = pipeline(application, &[check]);
    validation["name"] = json!("validate");
    validation["id"] = json!(format!("{application}-validate"));
    validation
}

fn rolling(application: &str, rollback: bool) -> Value {
    let validate = format!("{application}-validate");
    let cluster = json!({
        "strategy": "rollingredblack", "targetPercentages": [50], "rollback": { "onFailure": rollback },
        "pipelineBeforeCleanup": { "application": application, "pipelineId": validate },
    });
    release(application, "web-v2", &cluster, &json!({}))
}

#[test]
fn a_rolling_release_asks_its_validation_pipeline_at_each_step() {
    let system = system();
    system.prepare(&validation("rolling", 101));
    ended(&system.run(&rolling("rolling", false), &[]), "SUCCEEDED");
    system.is_left(
        "rolling-prod",
        &[
            idle(&group("rolling", "v000"), SIZE),
            serving(&group("rolling", "v001"), SIZE),
        ],
        1,
    );
    let mut asked: Vec<(i64, String)> = system
        .of_pipeline("rolling", "validate")
        .iter()
        .map(|execution| {
            let execution = system.show(execution["id"].as_str().unwrap());
            let parameters = &execution["trigger"]["parameters"];
            let deployed = parameters["deployedServerGroup"]["serverGroupName"].as_str();
            (
                parameters["percentageComplete"].as_i64().unwrap(),
                deployed.unwrap_or_default().to_owned(),
            )
        })
        .collect();
    asked.sort();
    let new = group("rolling", "v001");
    assert_eq!(asked, [(50, new.clone()), (100, new)]);
}

#[test]
fn a_rolling_release_whose_validation_fails_gives_the_traffic_back() {
    let system = system();
    system.prepare(&validation("rolledback", 100));
    let answer = system.run(&rolling("rolledback", true), &[]);
    ended(&answer, "TERMINAL");
    system.is_left(
        "rolledback-prod",
        // What was rolled back stays to be looked at.
        &[
            serving(&group("rolledback", "v000"), SIZE),
            idle(&group("rolledback", "v001"), SIZE),
        ],
        1,
    );
    let id = answer.execution();
    let made = &system.explained(id)["serverGroups"][0]["serverGroup"];
    assert_eq!(made, &json!(group("rolledback", "v001")));
}

#[test]
fn a_custom_strategy_is_the_users_pipeline() {
    let system = system();
    let new = deploy(
        "1",
        &[],
        "custom",
        "web-v2",
        &json!({ "strategy": "", "capacity": { "min": 1, "desired": 1, "max": 1 } }),
    );
    let disable = json!({
        "refId": "2", "type": "disableCluster", "name": "Disable the old", "requisiteStageRefIds": ["1"], "cloudProvider": "aws",
        "cluster": "${parameters.cluster}", "credentials": "${parameters.credentials}", "regions": ["${parameters.region}"],
        "remainingEnabledServerGroups": 1, "preferLargerOverNewer": false,
    });
    let mut strategy = pipeline("custom", &[new, disable]);
    strategy["name"] = json!("one by one");
    strategy["id"] = json!("custom-strategy");
    strategy["strategy"] = json!(true);
    system.prepare(&strategy);
    let cluster = json!({ "strategy": "custom", "strategyApplication": "custom", "strategyPipeline": "custom-strategy" });
    let release = release("custom", "web-v2", &cluster, &json!({}));
    ended(&system.run(&release, &[]), "SUCCEEDED");
    system.is_left(
        "custom-prod",
        &[
            idle(&group("custom", "v000"), (1, 1, 1)),
            serving(&group("custom", "v001"), (1, 1, 1)),
        ],
        1,
    );
}

#[test]
fn two_regions_are_released_at_once() {
    let mut stage = deploy("1", &[], "worldwide", "web-v2", &json!({}));
    let mut west = stage["clusters"][0].clone();
    west["availabilityZones"] = json!({ "us-west-2": ["us-west-2a"] });
    stage["clusters"].as_array_mut().unwrap().push(west);
    let answer = system().run(&pipeline("worldwide", &[stage]), &[]);
    ended(&answer, "SUCCEEDED");
    for region in ["us-east-1", "us-west-2"] {
        system().is_left_in(
            region,
            "worldwide-prod",
            &[
                idle(&group("worldwide", "v000"), SIZE),
                serving(&group("worldwide", "v001"), SIZE),
            ],
            1,
        );
    }
    let stages = answer.summary()["stages"].as_array().unwrap().clone();
    let time = |ref_id: &str, which: &str| {
        let stage = stages.iter().find(|stage| stage["refId"] == ref_id);
        stage.unwrap()[which].as_i64().unwrap()
    };
    assert!(
        time("1<2", "startTime") < time("1<1", "endTime")
            && time("1<1", "startTime") < time("1<2", "endTime"),
        "one after the other: {stages:#?}"
    );
}

#[test]
fn a_release_that_never_becomes_healthy_is_rolled_back_in_line() {
    let cluster = json!({ "rollback": { "onFailure": true, "destroyLatest": true } });
    let soon = json!({ "stageTimeoutMs": 6_000 });
    let answer = system().run(&release("inline", "bad-web-v2", &cluster, &soon), &[]);
    ended(&answer, "TERMINAL");
    system().is_left("inline-prod", &[serving(&group("inline", "v000"), SIZE)], 1);
    let id = answer.execution().to_owned();
    let execution = system().show(&id);
    // The stages of the deploy did it, not the end of the execution.
    let destroyed = stage_named(&execution, "destroyServerGroup", "Destroy");
    assert_eq!(destroyed["status"], "SUCCEEDED", "{execution:#}");
    assert_eq!(stage(&execution, "1")["status"], "TERMINAL");
}

#[test]
fn a_release_that_failed_is_taken_back_explained_and_succeeds_when_restarted() {
    let system = system();
    let release = release(
        "mended",
        "mend-web-v2",
        &json!({}),
        &json!({ "stageTimeoutMs": 6_000 }),
    );
    let images = |healthy: bool| {
        let world = json!({ "images": [
            { "name": "mend-*", "healthy": healthy, "bootSeconds": 1 },
            { "name": "bad-*", "healthy": false, "bootSeconds": 1 },
            { "name": "*", "bootSeconds": 1 },
        ] });
        let world = gennaker_local::World::parse(&world.to_string(), "images that mend").unwrap();
        system.cloud.set_world(&world).unwrap();
    };
    images(false);
    let id = system.start_saved(&release);
    system.settles(&id, 1, "TERMINAL");
    system.is_left("mended-prod", &[serving(&group("mended", "v000"), SIZE)], 0);

    let explained = system.explained(&id);
    assert_eq!(explained["failed"][0]["stage"], CREATES, "{explained:#}");
    let reason = explained["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("healthy"), "{reason}");
    assert_eq!(explained["left"], json!([]), "{explained:#}");
    assert_eq!(explained["serverGroups"], json!([]), "{explained:#}");
    assert_eq!(explained["pinned"], json!([]), "{explained:#}");
    let undone = explained["undone"].as_array().unwrap();
    assert!(
        undone
            .iter()
            .any(|change| change["undo"]["serverGroup"] == group("mended", "v001")),
        "{explained:#}"
    );
    let restart = format!("gennaker execution restart {id} --stage 1");
    let todo = explained["todo"].as_array().unwrap();
    assert!(
        todo.iter()
            .any(|todo| todo.as_str().unwrap().contains(&restart)),
        "{explained:#}"
    );

    images(true);
    system.act(&["restart", &id, "--stage", "1"]);
    system.settles(&id, 2, "SUCCEEDED");
    system.is_left(
        "mended-prod",
        &[
            idle(&group("mended", "v000"), SIZE),
            serving(&group("mended", "v001"), SIZE),
        ],
        // The first try's went with its group.
        1,
    );
}

#[test]
fn a_cancel_gives_the_traffic_back_and_a_restart_takes_it_again() {
    let system = system();
    let cluster = json!({ "scaleDown": true, "delayBeforeScaleDownSec": 3600 });
    let id = system.start_saved(&release("canceled", "web-v2", &cluster, &json!({})));
    // The old group is out of traffic by then.
    let wait = at_work(&id, "wait", "Wait Before Scale Down");
    let old_and_new = [
        idle(&group("canceled", "v000"), SIZE),
        serving(&group("canceled", "v001"), SIZE),
    ];
    system.is_left("canceled-prod", &old_and_new, 1);

    let explained = system.explained(&id);
    let waiting = &explained["waiting"][0];
    assert_eq!(waiting["stage"], wait, "{explained:#}");
    let commands = json!([
        format!("gennaker execution skip {id} --stage {wait}"),
        format!("gennaker execution cancel {id}")
    ]);
    assert_eq!(waiting["commands"], commands, "{explained:#}");
    let left: Vec<&str> = explained["left"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|change| change["action"].as_str())
        .map(|action| action.split(' ').next().unwrap())
        .collect();
    assert!(
        left.contains(&"create-server-group") && left.contains(&"disable-server-group"),
        "{explained:#}"
    );
    let made = &explained["serverGroups"][0]["serverGroup"];
    assert_eq!(made, &json!(group("canceled", "v001")), "{explained:#}");

    system.act(&["cancel", &id, "--reason", "the wrong image"]);
    system.settles(&id, 1, "CANCELED");
    system.is_left(
        "canceled-prod",
        &[serving(&group("canceled", "v000"), SIZE)],
        0,
    );
    let explained = system.explained(&id);
    assert_eq!(explained["left"], json!([]), "{explained:#}");
    assert_eq!(explained["waiting"], json!([]), "{explained:#}");
    assert_eq!(explained["ending"]["reason"], "the wrong image");

    system.act(&["restart", &id, "--stage", "1"]);
    let wait = at_work(&id, "wait", "Wait Before Scale Down");
    system.act(&["skip", &id, "--stage", &wait]);
    system.settles(&id, 2, "SUCCEEDED");
    system.is_left(
        "canceled-prod",
        &[
            idle(&group("canceled", "v000"), (0, 0, 0)),
            serving(&group("canceled", "v001"), SIZE),
        ],
        1,
    );
}

#[test]
fn a_stop_behind_our_back_in_the_middle_of_a_rolling_release_leaves_what_was_before() {
    let system = system();
    // The old group's minimum is raised to its size while traffic moves.
    let size = (1, 2, 4);
    let cluster = json!({ "strategy": "rollingredblack", "targetPercentages": [50], "delayBeforeDisableSec": 3600,
        "capacity": { "min": size.0, "desired": size.1, "max": size.2 } });
    let id = system.start_saved(&release("behind", "web-v2", &cluster, &json!({})));
    // Half of the new group runs, and the old one is pinned.
    at_work(&id, "wait", "wait");
    let explained = system.explained(&id);
    let pinned = &explained["pinned"][0];
    assert_eq!(
        (
            &pinned["serverGroup"],
            &pinned["before"],
            &pinned["minimum"]
        ),
        (&json!(group("behind", "v000")), &json!(1), &json!(2)),
        "{explained:#}"
    );
    let arn = system.machine_run(system.running("behind")["run"].as_str().unwrap());
    let stop = json!({ "executionArn": arn, "cause": "behind our back" });
    system
        .cloud
        .call("stepfunctions", "stop_execution", stop)
        .unwrap();
    let ended = system.settles(&id, 1, "CANCELED");
    let reason = ended["ending"]["reason"].as_str().unwrap();
    assert!(reason.contains("stopped in Step Functions"), "{reason}");
    system.is_left("behind-prod", &[serving(&group("behind", "v000"), size)], 0);
    assert_eq!(system.explained(&id)["left"], json!([]));
}

/// A deployment monitor that says this when it is asked for the health of a step.
fn monitor(id: &str, directive: &'static str) -> LocalServer {
    let server = LocalServer::start(move |request| {
        let says = if request.path.ends_with("/evaluateHealth") {
            directive
        } else {
            "continue"
        };
        let body =
            json!({ "nextStep": { "directive": says }, "statusReason": { "message": "errors at 9 %" } });
        Reply::new(
            200,
            &[("Content-Type", "application/json")],
            body.to_string(),
        )
    })
    .unwrap();
    let url = server.url("127.0.0.1", "/monitor");
    let answer = system().gennaker(&[
        "monitor",
        "save",
        "--id",
        id,
        "--base-url",
        &url,
        "--max-analysis-minutes",
        "1",
        "--json",
    ]);
    assert_eq!(answer.status, 0, "{answer:#?}");
    server
}

fn monitored(application: &str, monitor: &str) -> Value {
    let cluster = json!({
        "strategy": "monitored", "deploySteps": [50], "deploymentMonitor": { "id": monitor, "parameters": { "metric": "5xx" } },
        "failureActions": { "rollback": "Automatic", "destroyInstances": true },
    });
    release(application, "web-v2", &cluster, &json!({}))
}

/// What the monitor heard: the last word of each path.
fn heard(server: &LocalServer) -> Vec<String> {
    let word = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    server
        .received()
        .iter()
        .map(|request| word(&request.path))
        .collect()
}

#[test]
fn a_monitored_release_goes_on_as_long_as_its_monitor_says_so() {
    let server = monitor("content", "continue");
    ended(
        &system().run(&monitored("monitored", "content"), &[]),
        "SUCCEEDED",
    );
    system().is_left(
        "monitored-prod",
        &[
            idle(&group("monitored", "v000"), SIZE),
            serving(&group("monitored", "v001"), SIZE),
        ],
        1,
    );
    assert_eq!(
        heard(&server),
        ["starting", "evaluateHealth", "evaluateHealth", "completed"]
    );
    let first: Value = serde_json::from_slice(&server.received()[1].body).unwrap();
    assert_eq!(
        (&first["oldServerGroup"], &first["newServerGroup"]),
        (
            &json!(group("monitored", "v000")),
            &json!(group("monitored", "v001"))
        )
    );
    let listed = system().gennaker(&["monitor", "list", "--json"]);
    let monitors = listed.summary().as_array().unwrap();
    assert!(
        monitors.iter().any(|monitor| monitor["id"] == "content"),
        "{listed:#?}"
    );
}

#[test]
fn a_monitored_release_is_rolled_back_when_its_monitor_says_abort() {
    let server = monitor("angry", "abort");
    let answer = system().run(&monitored("aborted", "angry"), &[]);
    ended(&answer, "TERMINAL");
    system().is_left(
        "aborted-prod",
        &[serving(&group("aborted", "v000"), SIZE)],
        1,
    );
    assert_eq!(heard(&server), ["starting", "evaluateHealth", "completed"]);
    let id = answer.execution();
    let failed = system().explained(id);
    assert!(
        failed["failed"].to_string().contains("errors at 9 %"),
        "{failed:#}"
    );
}

#[test]
fn an_alarm_in_the_middle_takes_the_release_back() {
    let system = system();
    let alarm = |state: &str| {
        let parameters = json!({ "AlarmName": "alarmed-5xx", "StateValue": state, "StateReason": "a test says so" });
        system
            .cloud
            .call("cloudwatch", "set_alarm_state", parameters)
            .unwrap();
    };
    let metric = json!({
        "AlarmName": "alarmed-5xx", "Namespace": "Shop", "MetricName": "5xx", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
    });
    system
        .cloud
        .call("cloudwatch", "put_metric_alarm", metric)
        .unwrap();
    alarm("OK");
    let cluster = json!({ "alarmGuard": { "alarms": ["alarmed-5xx"], "minutesAfter": 60 } });
    let id = system.start_saved(&release("alarmed", "web-v2", &cluster, &json!({})));
    // The traffic is on the new group by then.
    at_work(&id, "watchAlarms", "");
    alarm("ALARM");
    system.settles(&id, 1, "TERMINAL");
    let explained = system.explained(&id);
    assert!(
        explained["failed"].to_string().contains("alarmed-5xx"),
        "{explained:#}"
    );
    system.is_left(
        "alarmed-prod",
        &[serving(&group("alarmed", "v000"), SIZE)],
        0,
    );
}

#[test]
fn a_second_pipeline_waits_until_the_first_is_done_with_the_cluster() {
    let system = system();
    let cluster = json!({ "scaleDown": true, "delayBeforeScaleDownSec": 3600 });
    let first = system.start_saved(&release("sharedout", "web-v2", &cluster, &json!({})));
    let wait = at_work(&first, "wait", "Wait Before Scale Down");
    let locks = json!(["prod/us-east-1/sharedout-prod"]);
    assert_eq!(system.explained(&first)["locks"], locks);
    let mut second = release("sharedout", "web-v3", &json!({}), &json!({}));
    second["name"] = json!("another release");
    let second = system.start_saved(&second);
    until("the second waits for the first", || {
        let explained = system.explained(&second);
        let waits = explained["waiting"][0]["waitingFor"].as_str();
        waits?.contains(&first).then_some(())
    });
    system.act(&["skip", &first, "--stage", &wait]);
    system.settles(&first, 1, "SUCCEEDED");
    system.settles(&second, 1, "SUCCEEDED");
    system.is_left(
        "sharedout-prod",
        // The oldest of three is destroyed: two may remain.
        &[
            idle(&group("sharedout", "v001"), SIZE),
            serving(&group("sharedout", "v002"), SIZE),
        ],
        2,
    );
    assert_eq!(system.explained(&second)["locks"], json!([]));
}
