//! The stage against the world: safe to repeat, safe to die, undone as far as it can be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::AutoScaling;
use gennaker_destroy_server_group::DestroyServerGroup;
use gennaker_domain::deployment::Capacity;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::json;

async fn two_groups() -> (Drive, String) {
    let context = json!({
        "credentials": "prod", "region": "us-east-1", "cluster": "shop-web", "target": "oldest_asg_dynamic",
    });
    let plan = vec![drive::stage(
        "1",
        "destroyServerGroup",
        "destroy-server-group",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let arn = drive.world.add_target_group("web");
    for name in ["shop-web-v001", "shop-web-v002"] {
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

fn stage(drive: &Drive) -> DestroyServerGroup {
    DestroyServerGroup::new(Arc::new(drive.world.clone()))
}

#[tokio::test]
async fn dies_at_every_call_and_destroys_the_oldest_group_alone() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, arn) = two_groups().await;
        // Spinnaker's disable suspends Terminate: nothing would ever go.
        let stuck = ["Terminate".to_owned()];
        drive
            .world
            .suspend_processes("shop-web-v001", &stuck)
            .await
            .unwrap();
        let first = drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let names: Vec<String> = drive.world.snapshot().into_iter().map(|g| g.name).collect();
        assert_eq!(names, ["shop-web-v002"], "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&arn), 2, "{strike:?}");
        drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn undone_before_it_is_gone_the_group_serves_again() {
    let (drive, arn) = two_groups().await;
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    assert!(drive.call(&runtime, &event).await.is_some());
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    drive.world.advance(120_000);
    assert_eq!(drive.world.healthy_targets(&arn), 4);
}

#[tokio::test]
async fn a_traffic_guard_refuses_to_destroy_the_last_healthy_group() {
    let (drive, arn) = two_groups().await;
    drive
        .world
        .set_capacity("shop-web-v002", Capacity::default())
        .await
        .unwrap();
    drive.world.advance(60_000);
    let guard = json!({"trafficGuards": [{"account": "prod", "location": "*", "stack": "web"}]});
    drive.set_application(&guard).await.unwrap();
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("traffic guards")));
    assert_eq!(drive.world.healthy_targets(&arn), 2);
}
