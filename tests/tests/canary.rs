//! Canaries on the local cloud: the metrics of real server groups are put into CloudWatch and read from it again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use gennaker_local::World;
use gennaker_tests::executions::{until_within, with};
use gennaker_tests::observed::ended;
use gennaker_tests::{Answer, System, deploy, file, pipeline, system};
use serde_json::{Value, json};

/// A minute is watched in real time, and two groups come and go.
const PATIENT: [&str; 2] = ["--time-limit", "10m"];

/// The cloud, in which instances of `late-*` are healthy and answer slowly.
fn cloud() -> &'static System {
    static WORLD: OnceLock<()> = OnceLock::new();
    let system = system();
    WORLD.get_or_init(|| {
        let world = json!({ "images": [
            { "name": "late-*", "degraded": true, "bootSeconds": 1 },
            { "name": "*", "bootSeconds": 1 },
        ] });
        let world = World::parse(&world.to_string(), "the canaries' world").unwrap();
        system.cloud.set_world(&world).unwrap();
    });
    system
}

/// Stores a configuration of one critical metric of CloudWatch under this id.
fn save_configuration(id: &str, metric: &str) {
    let config = json!({
        "id": id, "name": id, "applications": [id],
        "metrics": [{
            "name": "latency", "groups": ["requests"], "scopeName": "default",
            "query": { "type": "cloudwatch", "namespace": "Gennaker/Local", "metricName": metric,
                       "statistic": "Average", "dimensions": { "AutoScalingGroupName": "${scope}" } },
            "analysisConfigurations": { "canary": { "direction": "increase", "critical": true, "mustHaveData": true } },
        }],
        "classifier": { "groupWeights": { "requests": 100 } },
    });
    let saved = cloud().gennaker(&["canary", "save", file(&config).to_str().unwrap(), "--json"]);
    assert_eq!(saved.status, 0, "{saved:#?}");
}

fn canary(ref_id: &str, after: &[&str], id: &str, config: &Value, more: &Value) -> Value {
    let mut stage = json!({
        "refId": ref_id, "type": "kayentaCanary", "name": "Canary", "requisiteStageRefIds": after,
        "canaryConfig": { "canaryConfigId": id, "scoreThresholds": { "pass": 95, "marginal": 75 }, "scopes": [{}] },
    });
    stage["canaryConfig"] = with(stage["canaryConfig"].take(), config);
    with(stage, more)
}

/// What a canary deploys: a baseline of the image that `<application>-prod` runs, and a canary of this one.
fn deployments(application: &str, image: &str) -> Value {
    let group = |details: &str, more: &Value| {
        let mut group = deploy("", &[], application, image, more)["clusters"][0].clone();
        group["freeFormDetails"] = json!(details);
        group["strategy"] = json!("highlander");
        group["capacity"] = json!({ "min": 1, "desired": 1, "max": 1 });
        group
    };
    let mut baseline = group("baseline", &json!({}));
    baseline.as_object_mut().unwrap().remove("amiName");
    json!({ "deployments": {
        "baseline": { "application": application, "account": "prod", "cluster": format!("{application}-prod") },
        "serverGroupPairs": [{ "control": baseline, "experiment": group("canary", &json!({})) }],
        "delayBeforeCleanup": "PT0S",
    } })
}

/// Two looks of half a minute, a point every two seconds.
fn a_minute() -> Value {
    json!({ "lifetimeDuration": "PT1M", "canaryAnalysisIntervalMins": 0.5, "scopes": [{ "step": 2 }] })
}

fn served_by(answer: &Answer, cluster: &str, expected: &[(&str, bool)]) {
    let groups: Vec<_> = answer
        .groups(cluster)
        .into_iter()
        .map(|(name, enabled, _)| (name, enabled))
        .collect();
    assert_eq!(groups, expected, "{cluster}: {answer:#?}");
}

/// Neither group of a canary is left.
fn cleaned_up(answer: &Answer, application: &str) {
    for side in ["baseline", "canary"] {
        served_by(answer, &format!("{application}-prod-{side}"), &[]);
    }
}

fn report(answer: &Answer) -> Value {
    let page = tempfile::NamedTempFile::new().unwrap();
    let path = page.path().to_string_lossy().into_owned();
    let shown = cloud().gennaker(&[
        "canary",
        "report",
        answer.execution(),
        "--out",
        &path,
        "--json",
    ]);
    assert_eq!(shown.status, 0, "{shown:#?}");
    let html = std::fs::read_to_string(page.path()).unwrap();
    assert!(html.contains("<svg") && !html.contains("<script"), "{html}");
    shown.lines[0].clone()
}

#[test]
fn a_canary_that_passes_lets_the_release_go_on_and_leaves_nothing_behind() {
    save_configuration("good", "Latency");
    let stages = [
        canary(
            "1",
            &[],
            "good",
            &a_minute(),
            &deployments("good", "web-v2"),
        ),
        deploy("2", &["1"], "good", "web-v2", &json!({})),
    ];
    let answer = cloud().run(&pipeline("good", &stages), &PATIENT);
    ended(&answer, "SUCCEEDED");
    for stage in ["1", "1<1<1", "1<1<2<1", "1<1<3<1", "1>1<1", "1>1<5", "2"] {
        assert_eq!(answer.stage(stage), "SUCCEEDED", "{stage}: {answer:#?}");
    }
    assert_eq!(
        answer.stage("1>2<1"),
        "NOT_STARTED",
        "cleaned up once: {answer:#?}"
    );
    cleaned_up(&answer, "good");
    served_by(
        &answer,
        "good-prod",
        &[("good-prod-v000", false), ("good-prod-v001", true)],
    );
    let report = report(&answer);
    assert_eq!(report["classification"], "Pass", "{report:#}");
    let intervals = report["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), 2, "{report:#}");
    // Both sides were read, half a minute and a whole one.
    let points = |side: &str| {
        report["judgeResult"]["results"][0][side]["stats"]["count"]
            .as_u64()
            .unwrap()
    };
    assert!(
        points("controlMetadata") >= 20 && points("experimentMetadata") >= 20,
        "{report:#}"
    );
}

#[test]
fn a_canary_that_answers_slowly_stops_the_release_and_is_taken_away() {
    save_configuration("slow", "Latency");
    let stages = [
        canary(
            "1",
            &[],
            "slow",
            &a_minute(),
            &deployments("slow", "late-web-v2"),
        ),
        deploy("2", &["1"], "slow", "late-web-v2", &json!({})),
    ];
    let answer = cloud().run(&pipeline("slow", &stages), &PATIENT);
    ended(&answer, "TERMINAL");
    assert_eq!(answer.stage("1"), "TERMINAL", "{answer:#?}");
    assert_eq!(answer.stage("2"), "NOT_STARTED");
    assert_eq!(answer.stage("1>2<5"), "SUCCEEDED", "{answer:#?}");
    let reason = answer.reason();
    assert!(
        reason.contains("latency was classified as High"),
        "{reason}"
    );
    cleaned_up(&answer, "slow");
    served_by(&answer, "slow-prod", &[("slow-prod-v000", true)]);
    let report = report(&answer);
    assert_eq!(
        report["intervals"].as_array().unwrap().len(),
        1,
        "not watched any longer: {report:#}"
    );
}

#[test]
fn a_release_whose_canary_fails_afterwards_is_rolled_back() {
    save_configuration("back", "Latency");
    let minute = |minutes: u64| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let at = i64::try_from(now / 60 * 60 - 60 * minutes).unwrap();
        jiff::Timestamp::from_second(at).unwrap().to_string()
    };
    let past = json!({ "scopes": [{
        "controlScope": "back-prod-v000", "controlLocation": "us-east-1",
        "experimentScope": "back-prod-v001", "experimentLocation": "us-east-1",
        "startTimeIso": minute(45), "endTimeIso": minute(5), "step": 60,
    }], "canaryAnalysisIntervalMins": 20 });
    let failed = |ref_id: &str, after: &str, more: Value| {
        with(
            json!({ "refId": ref_id, "requisiteStageRefIds": [after] }),
            &more,
        )
    };
    let stages = [
        deploy("1", &[], "back", "late-web-v2", &json!({})),
        canary(
            "2",
            &["1"],
            "back",
            &past,
            &json!({ "continuePipeline": true, "failPipeline": false }),
        ),
        failed(
            "3",
            "2",
            json!({
                "type": "rollbackCluster", "name": "Roll back", "cluster": "back-prod", "credentials": "prod", "cloudProvider": "aws",
                "regions": ["us-east-1"], "targetHealthyRollbackPercentage": 100, "moniker": { "app": "back", "cluster": "back-prod", "stack": "prod" },
                "stageEnabled": { "type": "expression", "expression": "#stage('Canary')['status'].toString() != 'SUCCEEDED'" },
            }),
        ),
        failed(
            "4",
            "3",
            json!({
                "type": "checkPreconditions", "name": "Released", "preconditions": [{ "type": "expression", "failPipeline": true,
                    "context": { "expression": "${#stage('Canary')['status'].toString() == 'SUCCEEDED'}", "failureMessage": "rolled back" } }],
            }),
        ),
    ];
    let answer = cloud().run(&pipeline("back", &stages), &PATIENT);
    ended(&answer, "TERMINAL");
    let statuses = ["1", "2", "3", "4"].map(|stage| answer.stage(stage));
    assert_eq!(
        statuses,
        ["SUCCEEDED", "FAILED_CONTINUE", "SUCCEEDED", "TERMINAL"],
        "{answer:#?}"
    );
    served_by(
        &answer,
        "back-prod",
        &[("back-prod-v000", true), ("back-prod-v001", false)],
    );
}

#[test]
fn a_canary_without_data_fails_and_the_release_does_not_go_on() {
    save_configuration("nothing", "NobodyWritesThis");
    let stages = [
        canary(
            "1",
            &[],
            "nothing",
            &a_minute(),
            &deployments("nothing", "web-v2"),
        ),
        deploy("2", &["1"], "nothing", "web-v2", &json!({})),
    ];
    let answer = cloud().run(&pipeline("nothing", &stages), &PATIENT);
    ended(&answer, "TERMINAL");
    let reason = answer.reason();
    assert!(reason.contains("Missing data for latency"), "{reason}");
    cleaned_up(&answer, "nothing");
    served_by(&answer, "nothing-prod", &[("nothing-prod-v000", true)]);
}

#[test]
fn a_canary_that_is_cancelled_in_the_middle_leaves_nothing_behind() {
    let system = cloud();
    save_configuration("cancelled", "Latency");
    let hour = json!({ "lifetimeDuration": "PT1H", "canaryAnalysisIntervalMins": 0.25, "scopes": [{ "step": 1 }] });
    let stages = [
        canary(
            "1",
            &[],
            "cancelled",
            &hour,
            &deployments("cancelled", "web-v2"),
        ),
        deploy("2", &["1"], "cancelled", "web-v2", &json!({})),
    ];
    let running = system.start_run(&pipeline("cancelled", &stages), &PATIENT);
    let judged = || {
        let listed = system.of_application("cancelled");
        let execution = listed.first()?["id"].as_str()?.to_owned();
        let shown = system.gennaker(&["canary", "report", &execution, "--stage", "1", "--json"]);
        (shown.status == 0).then_some(execution)
    };
    let execution = until_within("an interval is judged", 300, judged);
    system.act(&["cancel", &execution, "--reason", "enough"]);
    let answer = running.finish();
    ended(&answer, "CANCELED");
    assert_eq!(answer.stage("2"), "NOT_STARTED");
    cleaned_up(&answer, "cancelled");
    served_by(&answer, "cancelled-prod", &[("cancelled-prod-v000", true)]);
}
