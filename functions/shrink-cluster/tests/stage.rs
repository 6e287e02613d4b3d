//! The stage against the world: safe to repeat, safe to die, undone as far as it can be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_domain::deployment::Capacity;
use gennaker_shrink_cluster::ShrinkCluster;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

fn config(more: Value) -> Value {
    let mut config = json!({"credentials": "prod", "region": "us-east-1", "cluster": "shop-web"});
    let fields = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(fields);
    config
}

/// Three groups in traffic, made a minute apart.
async fn three_groups(context: Value) -> (Drive, String) {
    let plan = vec![drive::stage(
        "1",
        "shrinkCluster",
        "shrink-cluster",
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

fn stage(drive: &Drive) -> ShrinkCluster {
    ShrinkCluster::new(Arc::new(drive.world.clone()))
}

fn names(drive: &Drive) -> Vec<String> {
    let groups = drive.world.snapshot();
    groups.into_iter().map(|group| group.name).collect()
}

#[tokio::test]
async fn groups_that_take_traffic_stay_unless_allowed() {
    let (drive, _) = three_groups(config(json!({"shrinkToSize": 1}))).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    assert_eq!(names(&drive).len(), 3);
}

#[tokio::test]
async fn dies_at_every_call_and_still_destroys_exactly_the_older_ones() {
    let scenario = |strike: Option<Strike>| async move {
        let context = config(json!({"shrinkToSize": 1, "allowDeleteActive": true}));
        let (drive, arn) = three_groups(context).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(names(&drive), ["shop-web-v003"], "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&arn), 2, "{strike:?}");
        assert_eq!(drive.faults.struck(), usize::from(strike.is_some()));
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn undone_before_the_instances_are_gone_the_groups_serve_again() {
    let context = config(json!({"shrinkToSize": 1, "allowDeleteActive": true}));
    let (drive, arn) = three_groups(context).await;
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    assert!(drive.call(&runtime, &event).await.is_some());
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    drive.world.advance(120_000);
    assert_eq!(names(&drive).len(), 3);
    assert_eq!(drive.world.healthy_targets(&arn), 6);
}

#[tokio::test]
async fn what_is_destroyed_is_told_by_the_undo() {
    let context = config(json!({"shrinkToSize": 2, "allowDeleteActive": true}));
    let (drive, _) = three_groups(context).await;
    let runtime = drive.runtime(stage(&drive));
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    let results: Vec<String> = drive
        .intents()
        .await
        .unwrap()
        .into_iter()
        .filter_map(|intent| intent.result)
        .collect();
    assert!(
        results
            .iter()
            .any(|result| result.contains("`shop-web-v001` was destroyed")),
        "{results:?}"
    );
}

#[tokio::test]
async fn a_traffic_guard_refuses_to_destroy_the_last_healthy_group() {
    let context = config(json!({"shrinkToSize": 0, "allowDeleteActive": true}));
    let (drive, arn) = three_groups(context).await;
    let guard = json!({"trafficGuards": [{"account": "prod", "location": "*", "stack": "web"}]});
    drive.set_application(&guard).await.unwrap();
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("traffic guards")));
    assert_eq!(drive.world.healthy_targets(&arn), 6);
}
