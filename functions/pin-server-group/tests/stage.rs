//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::AutoScaling;
use gennaker_domain::deployment::Capacity;
use gennaker_pin_server_group::PinServerGroup;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const NAME: &str = "shop-web-v001";

fn context(more: Value) -> Value {
    let mut context = json!({
        "credentials": "prod", "region": "us-east-1", "serverGroupName": NAME,
        "action": "scale_to_server_group", "source": {"serverGroupName": NAME},
    });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    context
}

/// A pin, then an unpin, of one group at 1/3/8.
async fn pin_and_unpin() -> Drive {
    let stage =
        |ref_id: &str, context| drive::stage(ref_id, "pinServerGroup", "pin-server-group", context);
    let plan = vec![
        stage("1", context(json!({"pinMinimumCapacity": true}))),
        stage("2", context(json!({"unpinMinimumCapacity": true}))),
    ];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    drive
        .world
        .add_group(NAME, "ami-1", Capacity::new(1, 3, 8).unwrap(), &[]);
    drive
}

fn stage(drive: &Drive) -> PinServerGroup {
    PinServerGroup::new(Arc::new(drive.world.clone()))
}

fn capacity(drive: &Drive) -> Capacity {
    drive.world.group(NAME).unwrap().capacity
}

#[tokio::test]
async fn dies_at_every_call_and_gives_back_the_minimum_of_before_the_pin() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = pin_and_unpin().await;
        let runtime = drive.runtime(stage(&drive));
        drive.faults.arm(strike);
        assert_eq!(drive.to_end(&runtime, "1").await, End::Done, "{strike:?}");
        assert_eq!(
            capacity(&drive),
            Capacity::new(3, 3, 8).unwrap(),
            "{strike:?}"
        );
        assert_eq!(drive.to_end(&runtime, "2").await, End::Done, "{strike:?}");
        assert_eq!(
            capacity(&drive),
            Capacity::new(1, 3, 8).unwrap(),
            "{strike:?}"
        );
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn undone_after_any_crash_the_minimum_is_that_of_before_and_a_grown_group_keeps_its_size() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = pin_and_unpin().await;
        let runtime = drive.runtime(stage(&drive));
        drive.faults.arm(strike);
        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len();
        // A scaling policy has been at work.
        let minimum = capacity(&drive).min();
        drive
            .world
            .set_capacity(NAME, Capacity::new(minimum, 5, 8).unwrap())
            .await
            .unwrap();
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        assert_eq!(
            capacity(&drive),
            Capacity::new(1, 5, 8).unwrap(),
            "{strike:?}"
        );
        calls
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test]
async fn a_pin_that_failed_half_way_is_unpinned_too() {
    let drive = pin_and_unpin().await;
    let runtime = drive.runtime(stage(&drive));
    let minimum = {
        let clean = pin_and_unpin().await;
        assert_eq!(
            clean.to_end(&clean.runtime(stage(&clean)), "1").await,
            End::Done
        );
        let calls = clean.faults.calls();
        calls
            .iter()
            .position(|call| call == "autoscaling:UpdateAutoScalingGroup")
            .unwrap()
    };
    drive.faults.plan(
        minimum,
        gennaker_testkit::Moment::After,
        gennaker_testkit::Fault::Crash,
    );
    let event = json!({ "run": drive.run(), "stage": "1" });
    let _ = drive.call(&runtime, &event).await;
    assert_eq!(capacity(&drive).min(), 3);
    assert_eq!(drive.to_end(&runtime, "2").await, End::Done);
    assert_eq!(capacity(&drive), Capacity::new(1, 3, 8).unwrap());
}

#[tokio::test]
async fn an_unpin_of_a_group_that_is_gone_has_nothing_to_do_and_a_pin_fails() {
    let gone = |more: Value| {
        let mut context = context(more);
        context["serverGroupName"] = json!("shop-web-v009");
        vec![drive::stage(
            "1",
            "pinServerGroup",
            "pin-server-group",
            context,
        )]
    };
    for (more, done) in [
        (json!({"unpinMinimumCapacity": true}), true),
        (json!({"pinMinimumCapacity": true}), false),
    ] {
        let drive = Drive::new(Behaviour::default(), gone(more)).await.unwrap();
        drive
            .world
            .add_group(NAME, "ami-1", Capacity::fixed(1), &[]);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end == End::Done, done, "{end:?}");
        assert_eq!(drive.intents().await.unwrap(), []);
    }
}
