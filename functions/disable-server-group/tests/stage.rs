//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_disable_server_group::DisableServerGroup;
use gennaker_domain::deployment::Capacity;
use gennaker_server_groups::traffic;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

/// The classic load balancer that the groups have besides their target group.
const CLASSIC: &str = "classic";

/// Two groups in traffic; the stage means the older one.
async fn two_groups(more: Value) -> (Drive, String) {
    let mut context = json!({
        "credentials": "prod", "regions": ["us-east-1"], "cluster": "shop-web", "target": "ancestor_asg_dynamic",
    });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let plan = vec![drive::stage(
        "1",
        "disableServerGroup",
        "disable-server-group",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let arn = drive.world.add_target_group("web");
    drive.world.add_load_balancer(CLASSIC);
    for name in ["shop-web-v001", "shop-web-v002"] {
        drive.world.add_group(
            name,
            "ami-1",
            Capacity::fixed(2),
            std::slice::from_ref(&arn),
        );
        drive.world.attach_load_balancer(name, CLASSIC);
        drive.world.advance(60_000);
    }
    (drive, arn)
}

fn stage(drive: &Drive) -> DisableServerGroup {
    DisableServerGroup::new(Arc::new(drive.world.clone()))
}

#[tokio::test]
async fn dies_at_every_call_and_still_disables_the_older_group_alone() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, arn) = two_groups(json!({})).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let disabled: Vec<bool> = drive
            .world
            .snapshot()
            .iter()
            .map(traffic::is_disabled)
            .collect();
        assert_eq!(disabled, [true, false], "{strike:?}");
        for source in [&arn, CLASSIC] {
            assert_eq!(drive.world.healthy_targets(source), 2, "{strike:?}");
        }
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn undone_after_any_crash_the_group_is_exactly_as_it_was() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, _) = two_groups(json!({})).await;
        let before = drive.world.snapshot();
        let runtime = drive.runtime(stage(&drive));
        drive.faults.arm(strike);
        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len();
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        assert_eq!(drive.world.snapshot(), before, "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test]
async fn guards_percentages_that_are_none_and_missing_groups_are_told() {
    let guard = json!({"trafficGuards": [{"account": "prod", "location": "*", "stack": "web"}]});
    for (more, word) in [
        (json!({"desiredPercentage": 150}), "desiredPercentage"),
        (json!({"serverGroupName": "shop-web-v009"}), "shop-web-v001"),
        (json!({"target": "youngest"}), "youngest"),
    ] {
        let (drive, _) = two_groups(more).await;
        match drive.to_end(&drive.runtime(stage(&drive)), "1").await {
            End::Failed(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    let (drive, _) = two_groups(json!({})).await;
    drive.set_application(&guard).await.unwrap();
    drive.world.mark_bad("ami-1");
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done, "nothing is up, so nothing can be lost");
}

#[tokio::test]
async fn dies_at_every_call_and_half_of_the_group_is_out_of_traffic() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = two_groups(json!({"desiredPercentage": 50})).await;
        let healthy = |drive: &Drive| [&web, CLASSIC].map(|of| drive.world.healthy_targets(of));
        let [before, _] = healthy(&drive);
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(healthy(&drive), [before - 1; 2], "{strike:?}");
        let calls = drive.faults.calls().len();
        // Taken back, everything serves again.
        assert_eq!(
            drive
                .undo(&drive.runtime(stage(&drive)), "1")
                .await
                .unwrap(),
            End::Done
        );
        drive.world.advance(60_000);
        assert_eq!(healthy(&drive), [before; 2], "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 40);
}
