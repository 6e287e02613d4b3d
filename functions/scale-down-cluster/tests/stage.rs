//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_domain::deployment::Capacity;
use gennaker_scale_down_cluster::ScaleDownCluster;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::json;

/// Three groups of which only the newest takes traffic.
async fn three_groups() -> (Drive, String) {
    let context = json!({"credentials": "prod", "region": "us-east-1", "cluster": "shop-web"});
    let plan = vec![drive::stage(
        "1",
        "scaleDownCluster",
        "scale-down-cluster",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let arn = drive.world.add_target_group("web");
    for name in ["shop-web-v001", "shop-web-v002", "shop-web-v003"] {
        let attached: &[String] = if name.ends_with('3') {
            std::slice::from_ref(&arn)
        } else {
            &[]
        };
        drive
            .world
            .add_group(name, "ami-1", Capacity::fixed(2), attached);
        if !name.ends_with('3') {
            use gennaker_cloud::AutoScaling;
            let theirs = ["Launch", "Terminate", "AddToLoadBalancer"].map(str::to_owned);
            drive.world.suspend_processes(name, &theirs).await.unwrap();
        }
        drive.world.advance(60_000);
    }
    (drive, arn)
}

fn stage(drive: &Drive) -> ScaleDownCluster {
    ScaleDownCluster::new(Arc::new(drive.world.clone()))
}

fn sizes(drive: &Drive) -> Vec<usize> {
    drive
        .world
        .snapshot()
        .iter()
        .map(|group| group.instances.len())
        .collect()
}

#[tokio::test]
async fn dies_at_every_call_and_empties_exactly_the_groups_without_traffic() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, arn) = three_groups().await;
        let first = drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(sizes(&drive), [0, 0, 2], "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&arn), 2, "{strike:?}");
        drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn undone_every_group_has_its_size_and_its_suspended_processes_again() {
    let (drive, _) = three_groups().await;
    let runtime = drive.runtime(stage(&drive));
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    drive.world.advance(120_000);
    assert_eq!(sizes(&drive), [2, 2, 2]);
    let mut suspended = drive
        .world
        .group("shop-web-v001")
        .unwrap()
        .suspended_processes;
    suspended.sort();
    assert_eq!(suspended, ["AddToLoadBalancer", "Launch", "Terminate"]);
}
