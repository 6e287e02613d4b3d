//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_disable_cluster::DisableCluster;
use gennaker_domain::deployment::Capacity;
use gennaker_server_groups::traffic;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const MINIMUM_SECONDS: i64 = 90;

fn config(more: Value) -> Value {
    let mut config = json!({"credentials": "prod", "region": "us-east-1", "cluster": "shop-web"});
    let fields = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(fields);
    config
}

/// Three groups in traffic, made a minute apart, the oldest with a process that a person suspended.
async fn three_groups(context: Value) -> (Drive, String) {
    let plan = vec![drive::stage(
        "1",
        "disableCluster",
        "disable-cluster",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let arn = drive.world.add_target_group("web");
    for name in ["shop-web-v001", "shop-web-v002", "shop-web-v003"] {
        drive.world.add_group(
            name,
            "ami-1",
            Capacity::fixed(2),
            std::slice::from_ref(&arn),
        );
        drive.world.advance(60_000);
    }
    (drive, arn)
}

fn stage(drive: &Drive) -> DisableCluster {
    DisableCluster::new(Arc::new(drive.world.clone()), MINIMUM_SECONDS)
}

fn enabled(drive: &Drive) -> Vec<String> {
    drive
        .world
        .snapshot()
        .iter()
        .filter(|group| !traffic::is_disabled(group))
        .map(|group| group.name.clone())
        .collect()
}

#[tokio::test]
async fn keeps_the_newest_and_waits_for_connections_to_drain() {
    let (drive, arn) = three_groups(config(json!({}))).await;
    let before = drive.world.now();
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    assert_eq!(enabled(&drive), ["shop-web-v003"]);
    assert_eq!(drive.world.healthy_targets(&arn), 2);
    assert!(drive.world.now() - before >= MINIMUM_SECONDS * 1_000);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(
        record.context["disabledServerGroups"][0]["serverGroupName"],
        "shop-web-v001"
    );
}

#[tokio::test]
async fn dies_at_every_call_and_still_disables_exactly_the_older_ones() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, arn) = three_groups(config(json!({}))).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(enabled(&drive), ["shop-web-v003"], "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&arn), 2, "{strike:?}");
        // The same faults count, and every one that was planned struck.
        assert_eq!(drive.faults.struck(), usize::from(strike.is_some()));
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn undone_after_any_crash_every_group_is_exactly_as_it_was() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, _) = three_groups(config(json!({}))).await;
        {
            use gennaker_cloud::AutoScaling;
            let person = ["AZRebalance".to_owned()];
            drive
                .world
                .suspend_processes("shop-web-v001", &person)
                .await
                .unwrap();
        }
        let before = drive.world.snapshot();
        let first = drive.faults.arm(strike);
        let runtime = drive.runtime(stage(&drive));

        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len() - first;
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        assert_eq!(drive.world.snapshot(), before, "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test]
async fn a_traffic_guard_refuses_to_disable_the_last_healthy_group() {
    let (drive, arn) = three_groups(config(json!({"remainingEnabledServerGroups": 0}))).await;
    let guard =
        json!({"trafficGuards": [{"account": "*", "location": "*", "stack": "*", "detail": "*"}]});
    drive.set_application(&guard).await.unwrap();
    let End::Failed(reason) = drive.to_end(&drive.runtime(stage(&drive)), "1").await else {
        panic!("a guard refuses");
    };
    assert!(reason.contains("traffic guards enabled"), "{reason}");
    assert_eq!(drive.world.healthy_targets(&arn), 6);
}

#[tokio::test]
async fn an_unknown_account_and_a_missing_cluster_are_told() {
    let (drive, _) = three_groups(config(json!({"credentials": "pord"}))).await;
    let End::Failed(reason) = drive.to_end(&drive.runtime(stage(&drive)), "1").await else {
        panic!("no such account");
    };
    assert!(reason.contains("`pord`"), "{reason}");
    let (drive, _) = three_groups(config(json!({"cluster": "shop-api"}))).await;
    let End::Failed(reason) = drive.to_end(&drive.runtime(stage(&drive)), "1").await else {
        panic!("no such cluster");
    };
    assert!(reason.contains("`shop-api`"), "{reason}");
}
