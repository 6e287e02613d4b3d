//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::AutoScaling;
use gennaker_domain::deployment::Capacity;
use gennaker_enable_server_group::EnableServerGroup;
use gennaker_server_groups::traffic::{self, Before};
use gennaker_testkit::{Behaviour, Drive, End, Strike, World, drive, fault_everywhere};
use serde_json::json;

/// The classic load balancer that the group has besides its target group.
const CLASSIC: &str = "classic";

/// One group, disabled by us, with a process that a person had suspended before.
async fn disabled_by_us(world: &World, arn: &str) {
    let person = ["ReplaceUnhealthy".to_owned()];
    world
        .suspend_processes("shop-web-v001", &person)
        .await
        .unwrap();
    let before = Before::of(&world.group("shop-web-v001").unwrap());
    world
        .set_tags("shop-web-v001", &before.tags())
        .await
        .unwrap();
    let ours: Vec<String> = traffic::SUSPENDED.iter().map(|p| (*p).to_owned()).collect();
    world
        .suspend_processes("shop-web-v001", &ours)
        .await
        .unwrap();
    let arns = [arn.to_owned()];
    world
        .detach_target_groups("shop-web-v001", &arns)
        .await
        .unwrap();
    let balancers = [CLASSIC.to_owned()];
    world
        .detach_load_balancers("shop-web-v001", &balancers)
        .await
        .unwrap();
}

async fn one_group() -> (Drive, String) {
    let context =
        json!({"credentials": "prod", "region": "us-east-1", "serverGroupName": "shop-web-v001"});
    let plan = vec![drive::stage(
        "1",
        "enableServerGroup",
        "enable-server-group",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let arn = drive.world.add_target_group("web");
    drive.world.add_group(
        "shop-web-v001",
        "ami-1",
        Capacity::fixed(2),
        std::slice::from_ref(&arn),
    );
    drive.world.add_load_balancer(CLASSIC);
    drive.world.attach_load_balancer("shop-web-v001", CLASSIC);
    (drive, arn)
}

fn stage(drive: &Drive) -> EnableServerGroup {
    EnableServerGroup::new(Arc::new(drive.world.clone()))
}

#[tokio::test]
async fn dies_at_every_call_and_still_restores_exactly_what_was_there() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, arn) = one_group().await;
        disabled_by_us(&drive.world, &arn).await;
        drive.world.advance(60_000);
        for source in [&arn, CLASSIC] {
            assert_eq!(drive.world.healthy_targets(source), 0, "{source}");
        }
        let first = drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let group = drive.world.group("shop-web-v001").unwrap();
        assert_eq!(
            group.suspended_processes,
            ["ReplaceUnhealthy"],
            "{strike:?}"
        );
        assert_eq!(group.tags, Default::default(), "{strike:?}");
        for source in [&arn, CLASSIC] {
            assert_eq!(drive.world.healthy_targets(source), 2, "{strike:?}");
        }
        drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test]
async fn undone_after_any_crash_the_group_takes_no_traffic_again() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, arn) = one_group().await;
        disabled_by_us(&drive.world, &arn).await;
        drive.world.advance(60_000);
        let mut before = drive.world.group("shop-web-v001").unwrap();
        let first = drive.faults.arm(strike);
        let runtime = drive.runtime(stage(&drive));

        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len() - first;
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let mut after = drive.world.group("shop-web-v001").unwrap();
        before.suspended_processes.sort();
        after.suspended_processes.sort();
        assert_eq!(after, before, "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test]
async fn a_group_that_spinnaker_disabled_is_enabled_too() {
    let (drive, arn) = one_group().await;
    let theirs = ["Launch", "Terminate", "AddToLoadBalancer"].map(str::to_owned);
    drive
        .world
        .suspend_processes("shop-web-v001", &theirs)
        .await
        .unwrap();
    assert!(traffic::is_disabled(
        &drive.world.group("shop-web-v001").unwrap()
    ));
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    let group = drive.world.group("shop-web-v001").unwrap();
    assert!(!traffic::is_disabled(&group));
    assert!(group.suspended_processes.is_empty());
    let calls = drive.faults.calls();
    for by_hand in ["RegisterTargets", "RegisterInstancesWithLoadBalancer"] {
        let by_hand = format!("elasticloadbalancing:{by_hand}");
        assert!(calls.contains(&by_hand), "{by_hand} is not in {calls:?}");
    }
    assert_eq!(drive.world.healthy_targets(&arn), 2);
}
