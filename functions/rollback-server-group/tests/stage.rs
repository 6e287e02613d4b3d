//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_domain::deployment::Capacity;
use gennaker_rollback_server_group::{RollbackServerGroup, Stages};
use gennaker_server_groups::{TrafficSources, traffic};
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const OLD: &str = "shop-web-v001";
const NEW: &str = "shop-web-v002";

/// The old group at 1/1/2 out of traffic, the new one at 2/3/6 in it.
async fn two_groups(kind: &str, more: &Value) -> (Drive, String) {
    let mut inner = json!({"rollbackServerGroupName": NEW, "targetHealthyRollbackPercentage": 100});
    let fields = more.as_object().unwrap().clone();
    inner.as_object_mut().unwrap().extend(fields);
    let context = json!({
        "credentials": "prod", "region": "us-east-1", "cloudProvider": "aws", "rollbackType": kind, "rollbackContext": inner,
    });
    let plan = vec![drive::stage(
        "1",
        "rollbackServerGroup",
        "rollback-server-group",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let web = drive.world.add_target_group("web");
    drive.world.add_image("ami-1", "shop-1");
    drive.world.add_image("ami-2", "shop-2");
    let sources = TrafficSources {
        target_groups: vec![web.clone()],
        ..TrafficSources::default()
    };
    let small = Capacity::new(1, 1, 2).unwrap();
    drive.world.add_disabled(OLD, "ami-1", small, sources);
    drive.world.set_created(OLD, drive.world.now() - 1_000);
    drive.world.add_group(
        NEW,
        "ami-2",
        Capacity::new(2, 3, 6).unwrap(),
        std::slice::from_ref(&web),
    );
    drive.world.advance(60_000);
    (drive, web)
}

fn stage(drive: &Drive) -> RollbackServerGroup {
    let world = Arc::new(drive.world.clone());
    RollbackServerGroup::new(Stages::new(world.clone(), world, 2, 90))
}

fn is_disabled(drive: &Drive, name: &str) -> bool {
    traffic::is_disabled(&drive.world.group(name).unwrap())
}

#[tokio::test]
async fn dies_at_every_call_and_goes_back_to_the_old_group_at_the_size_of_the_new_one() {
    let restore = &json!({"restoreServerGroupName": OLD});
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = two_groups("EXPLICIT", restore).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert!(
            is_disabled(&drive, NEW) && !is_disabled(&drive, OLD),
            "{strike:?}"
        );
        let old = drive.world.group(OLD).unwrap();
        // The minimum of the new group, restored when the old one had its size.
        assert_eq!(old.capacity, Capacity::new(2, 3, 6).unwrap(), "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&web), 3, "{strike:?}");
        // Never fewer than before the rollback.
        assert!(drive.world.fewest_healthy().unwrap() >= 3, "{strike:?}");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 150);
}

#[tokio::test]
async fn undone_after_any_number_of_calls_the_new_group_serves_as_before() {
    for calls_before_the_end in [1, 2, 3, 5, 8, 13] {
        let restore = &json!({"restoreServerGroupName": OLD});
        let (drive, web) = two_groups("EXPLICIT", restore).await;
        let runtime = drive.runtime(stage(&drive));
        let event = json!({ "run": drive.run(), "stage": "1" });
        for _ in 0..calls_before_the_end {
            let _ = drive.call(&runtime, &event).await;
            drive.world.advance(10_000);
        }
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        drive.world.advance(120_000);
        assert!(is_disabled(&drive, OLD) && !is_disabled(&drive, NEW));
        assert_eq!(
            drive.world.group(OLD).unwrap().capacity,
            Capacity::new(1, 1, 2).unwrap()
        );
        assert_eq!(
            drive.world.group(NEW).unwrap().capacity,
            Capacity::new(2, 3, 6).unwrap()
        );
        assert_eq!(drive.world.healthy_targets(&web), 3);
    }
}

#[tokio::test]
async fn only_enable_and_disable_changes_no_size() {
    for (flag, old_serves) in [("enableAndDisableOnly", true), ("disableOnly", false)] {
        let more = json!({"restoreServerGroupName": OLD, flag: true});
        let (drive, web) = two_groups("EXPLICIT", &more).await;
        assert_eq!(
            drive.to_end(&drive.runtime(stage(&drive)), "1").await,
            End::Done
        );
        assert!(is_disabled(&drive, NEW));
        assert_eq!(is_disabled(&drive, OLD), !old_serves);
        assert_eq!(
            drive.world.group(OLD).unwrap().capacity,
            Capacity::new(1, 1, 2).unwrap()
        );
        assert_eq!(drive.world.healthy_targets(&web), usize::from(old_serves));
    }
}

#[tokio::test]
async fn dies_at_every_call_and_goes_forward_with_the_image_of_before() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = two_groups("PREVIOUS_IMAGE", &json!({})).await;
        drive.world.tag(NEW, "gennaker:previous-image", "ami-1");
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(drive.world.groups_made(), ["shop-web-v003"], "{strike:?}");
        assert_eq!(
            drive.world.launch_data("shop-web-v003").unwrap().image,
            "ami-1"
        );
        assert!(is_disabled(&drive, NEW) && !is_disabled(&drive, "shop-web-v003"));
        assert_eq!(drive.world.healthy_targets(&web), 3, "{strike:?}");
        assert!(drive.world.fewest_healthy().unwrap() >= 3, "{strike:?}");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 150);
}

#[tokio::test]
async fn what_is_not_there_is_told_before_anything_changes() {
    for (kind, more, word) in [
        (
            "EXPLICIT",
            json!({"restoreServerGroupName": "shop-web-v000"}),
            "shop-web-v000",
        ),
        ("PREVIOUS_IMAGE", json!({}), "not known"),
        ("BACKWARDS", json!({}), "BACKWARDS"),
    ] {
        let (drive, _) = two_groups(kind, &more).await;
        match drive.to_end(&drive.runtime(stage(&drive)), "1").await {
            End::Failed(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(drive.intents().await.unwrap(), []);
    }
}
