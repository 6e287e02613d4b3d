//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::{Key, Write};
use gennaker_domain::deployment::Capacity;
use gennaker_rollback_cluster::RollbackCluster;
use gennaker_rollback_server_group::Stages;
use gennaker_server_groups::{TrafficSources, traffic};
use gennaker_testkit::{Behaviour, Drive, End, Strike, World, drive, fault_everywhere};
use serde_json::{Value, json};

const OLD: &str = "shop-web-v001";
const NEW: &str = "shop-web-v002";

fn two_groups(world: &World, web: &String) {
    let sources = TrafficSources {
        target_groups: vec![web.clone()],
        ..TrafficSources::default()
    };
    world.add_disabled(OLD, "ami-1", Capacity::fixed(2), sources);
    world.set_created(OLD, world.now() - 1_000);
    world.add_group(NEW, "ami-2", Capacity::fixed(2), std::slice::from_ref(web));
}

/// Both groups in both regions, the newer ones in traffic.
async fn two_regions(more: &Value) -> Drive {
    let mut context = json!({
        "credentials": "prod", "regions": ["us-east-1", "eu-west-1"], "cluster": "shop-web", "cloudProvider": "aws",
    });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let plan = vec![drive::stage(
        "1",
        "rollbackCluster",
        "rollback-cluster",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let account = json!({ "accountId": "123456789012", "regions": ["us-east-1", "eu-west-1"] });
    let table = drive.store();
    let put = Write::put(Key::account("prod"), account.as_object().unwrap().clone());
    table.table().write(put).await.unwrap();
    let web = drive.world.add_target_group("web");
    two_groups(&drive.world, &web);
    two_groups(&drive.world.in_region("eu-west-1"), &web);
    drive.world.advance(60_000);
    drive
}

fn stage(drive: &Drive) -> RollbackCluster {
    let world = Arc::new(drive.world.clone());
    RollbackCluster::new(Stages::new(world.clone(), world.clone(), 2, 90), world)
}

fn in_traffic(drive: &Drive) -> Vec<String> {
    let mut names = Vec::new();
    for region in ["us-east-1", "eu-west-1"] {
        for group in drive.world.in_region(region).snapshot() {
            if !traffic::is_disabled(&group) {
                names.push(format!("{region} {}", group.name));
            }
        }
    }
    names
}

#[tokio::test]
async fn dies_at_every_call_and_takes_both_regions_back() {
    let wait = &json!({"waitTimeBetweenRegions": 30});
    let scenario = |strike: Option<Strike>| async move {
        let drive = two_regions(wait).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let expected = [format!("us-east-1 {OLD}"), format!("eu-west-1 {OLD}")];
        assert_eq!(in_traffic(&drive), expected, "{strike:?}");
        assert!(drive.world.fewest_healthy().unwrap() >= 4, "{strike:?}");
        let disabled: Vec<i64> = drive
            .world
            .operations()
            .iter()
            .filter(|done| done.effect == gennaker_testkit::Effect::Disabled)
            .map(|done| done.at)
            .collect();
        assert!(disabled[1] - disabled[0] >= 30_000, "{strike:?}");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 150);
}

#[tokio::test]
async fn undone_after_any_number_of_calls_every_region_serves_as_before() {
    for calls_before_the_end in [1, 2, 4, 8, 12, 16] {
        let drive = two_regions(&json!({})).await;
        let before = in_traffic(&drive);
        let runtime = drive.runtime(stage(&drive));
        let event = json!({ "run": drive.run(), "stage": "1" });
        for _ in 0..calls_before_the_end {
            let _ = drive.call(&runtime, &event).await;
            drive.world.advance(10_000);
        }
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        assert_eq!(in_traffic(&drive), before);
    }
}

#[tokio::test]
async fn goes_back_to_the_group_that_runs_the_image_of_before_not_to_the_newest() {
    let drive = two_regions(&json!({"regions": ["us-east-1"]})).await;
    let web = drive.world.group(NEW).unwrap().target_groups;
    drive
        .world
        .add_group("shop-web-v003", "ami-3", Capacity::fixed(2), &web);
    drive
        .world
        .tag("shop-web-v003", "gennaker:previous-image", "ami-1");
    drive.world.set_created("shop-web-v003", drive.world.now());
    assert_eq!(
        drive.to_end(&drive.runtime(stage(&drive)), "1").await,
        End::Done
    );
    assert_eq!(
        in_traffic(&drive),
        [
            format!("us-east-1 {OLD}"),
            format!("us-east-1 {NEW}"),
            format!("eu-west-1 {NEW}")
        ]
    );
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(record.context["imagesToRestore"][0]["image"], "ami-1");
}

#[tokio::test]
async fn nothing_to_go_back_to_is_told_and_a_cluster_that_is_not_there_is_looked_for() {
    let drive =
        two_regions(&json!({"additionalRollbackContext": {"onlyEnabledServerGroups": true}})).await;
    match drive.to_end(&drive.runtime(stage(&drive)), "1").await {
        End::Failed(reason) => assert!(reason.contains(NEW), "{reason}"),
        other => panic!("{other:?}"),
    }
    let drive = two_regions(&json!({"cluster": "shop-api"})).await;
    let began = drive.world.now();
    match drive.to_end(&drive.runtime(stage(&drive)), "1").await {
        End::Failed(reason) => assert!(reason.contains("shop-api"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(drive.world.now() - began >= 300_000);
}

#[tokio::test]
async fn the_rollback_of_a_failed_deployment_is_not_taken_back() {
    let context = json!({
        "credentials": "prod", "regions": ["us-east-1"], "cluster": "shop-web", "cloudProvider": "aws",
        "additionalRollbackContext": {"enableAndDisableOnly": true},
    });
    let deploy = drive::stage("1", "createServerGroup", "create-server-group", json!({}));
    let mut rollback = drive::stage("1>1", "rollbackCluster", "rollback-cluster", context);
    rollback.parent = Some("1".to_owned());
    rollback.owner = Some(gennaker_domain::Owner::Before);
    let drive = Drive::new(Behaviour::default(), vec![deploy, rollback])
        .await
        .unwrap();
    let web = drive.world.add_target_group("web");
    two_groups(&drive.world, &web);
    drive.world.advance(60_000);
    let runtime = drive.runtime(stage(&drive));
    assert_eq!(drive.to_end(&runtime, "1>1").await, End::Done);
    let back = [format!("us-east-1 {OLD}")];
    assert_eq!(in_traffic(&drive), back);
    assert_eq!(drive.undo(&runtime, "1>1").await.unwrap(), End::Done);
    assert_eq!(in_traffic(&drive), back);
}
