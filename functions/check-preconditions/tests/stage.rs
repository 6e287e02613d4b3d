//! The stage against the world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_check_preconditions::CheckPreconditions;
use gennaker_domain::Status;
use gennaker_domain::deployment::Capacity;
use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use serde_json::{Value, json};

async fn driven(context: Value, groups: usize) -> Drive {
    let first = drive::stage("1", "wait", "wait", json!({}));
    let mut check = drive::stage("2", "checkPreconditions", "check-preconditions", context);
    check.requisites = vec!["1".to_owned()];
    let drive = Drive::new(Behaviour::default(), vec![first, check])
        .await
        .unwrap();
    for number in 0..groups {
        let capacity = Capacity::new(1, 1, 1).unwrap();
        drive
            .world
            .add_group(&format!("shop-web-v{number:03}"), "ami-1", capacity, &[]);
    }
    drive
}

fn stage(drive: &Drive) -> CheckPreconditions {
    CheckPreconditions::new(Arc::new(drive.world.clone()))
}

async fn run(drive: &Drive) -> End {
    drive.to_end(&drive.runtime(stage(drive)), "2").await
}

fn cluster_size(more: Value) -> Value {
    let mut context = json!({ "cluster": "shop-web", "credentials": "prod", "regions": ["us-east-1"], "expected": 2 });
    context
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "type": "clusterSize", "failPipeline": true, "context": context })
}

#[tokio::test]
async fn a_cluster_has_as_many_server_groups_as_expected_or_the_stage_fails() {
    for (more, groups, holds) in [
        (json!({}), 2, true),
        (json!({}), 3, false),
        (json!({ "comparison": ">=" }), 3, true),
        (json!({ "comparison": "<" }), 0, true),
        (json!({ "cluster": "shop-other", "expected": 0 }), 3, true),
    ] {
        let drive = driven(
            json!({ "preconditions": [cluster_size(more.clone())] }),
            groups,
        )
        .await;
        let end = run(&drive).await;
        assert_eq!(end == End::Done, holds, "{more} {groups}: {end:?}");
        if let End::Failed(reason) = end {
            assert!(
                reason.contains("us-east-1 - expected == 2 server groups"),
                "{reason}"
            );
        }
    }
}

#[tokio::test]
async fn a_deployments_own_check_has_its_precondition_in_the_stage() {
    let own = json!({
        "preconditionType": "clusterSize", "credentials": "prod", "cloudProvider": "aws",
        "context": { "cluster": "shop-web", "regions": ["us-east-1"], "onlyEnabledServerGroups": true, "comparison": "<=", "expected": 1 },
    });
    assert_eq!(run(&driven(own.clone(), 1).await).await, End::Done);
    assert!(matches!(run(&driven(own, 2).await).await, End::Failed(_)));
}

#[tokio::test]
async fn all_kinds_are_looked_at_together_and_a_soft_one_stops_the_branch() {
    let expression = |text: &str, hard: bool| json!({ "type": "expression", "failPipeline": hard, "context": { "expression": text, "failureMessage": "not today" } });
    let status = |wanted: &str| json!({ "type": "stageStatus", "context": { "stageName": "1", "stageStatus": wanted } });
    let good = json!({ "preconditions": [cluster_size(json!({})), expression("1 < 2", true), status("NOT_STARTED")] });
    assert_eq!(run(&driven(good, 2).await).await, End::Done);
    let hard = json!({ "preconditions": [expression("1 > 2", true), status("SUCCEEDED")] });
    let end = run(&driven(hard, 2).await).await;
    assert!(
        matches!(&end, End::Failed(reason) if reason.contains("not today") && reason.contains("stage `1` is NOT_STARTED")),
        "{end:?}"
    );
    let soft = driven(json!({ "preconditions": [expression("1 > 2", false)] }), 2).await;
    assert_eq!(run(&soft).await, End::Done);
    assert_eq!(soft.records().await.unwrap()["2"].status, Status::Stopped);
}

#[tokio::test]
async fn a_precondition_that_is_none_is_told() {
    for precondition in [
        json!({ "type": "weather" }),
        cluster_size(json!({ "credentials": "unknown" })),
        cluster_size(json!({ "regions": ["mars-north-1"] })),
        json!({ "type": "stageStatus", "context": { "stageName": "none", "stageStatus": "RUNNING" } }),
    ] {
        let end = run(&driven(json!({ "preconditions": [precondition] }), 0).await).await;
        assert!(
            matches!(&end, End::Failed(reason) if !reason.contains("not met")),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn whatever_fails_the_verdict_is_the_same() {
    let tried = fault_everywhere(async |strike| {
        let drive = driven(json!({ "preconditions": [cluster_size(json!({}))] }), 2).await;
        let before = drive.faults.arm(strike);
        assert_eq!(run(&drive).await, End::Done, "{strike:?}");
        drive.faults.calls().len() - before
    })
    .await;
    assert!(tried > 0);
}
