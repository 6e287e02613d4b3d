//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_clone_server_group::CloneServerGroup;
use gennaker_domain::deployment::Capacity;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

async fn one_group(more: Value) -> (Drive, String) {
    let mut context = json!({
        "credentials": "prod", "region": "us-east-1", "target": "current_asg_dynamic",
        "targetCluster": "shop-web", "imageId": "ami-2",
    });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let plan = vec![drive::stage(
        "1",
        "cloneServerGroup",
        "clone-server-group",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let web = drive.world.add_target_group("web");
    drive.world.add_image("ami-1", "shop-1");
    drive.world.add_image("ami-2", "shop-2");
    drive.world.add_group(
        "shop-web-v001",
        "ami-1",
        Capacity::new(1, 2, 4).unwrap(),
        std::slice::from_ref(&web),
    );
    drive.world.add_load_balancer("classic");
    drive.world.attach_load_balancer("shop-web-v001", "classic");
    drive.world.tag("shop-web-v001", "team", "shop");
    drive.world.add_scaling("shop-web-v001", &["up", "night"]);
    drive.world.advance(60_000);
    (drive, web)
}

fn stage(drive: &Drive) -> CloneServerGroup {
    let world = Arc::new(drive.world.clone());
    CloneServerGroup::new(world.clone(), world, 2)
}

#[tokio::test]
async fn a_clone_is_the_source_with_what_the_stage_says_in_its_place() {
    let (drive, web) = one_group(json!({"tags": {"team": "shop", "clone": true}})).await;
    assert_eq!(
        drive.to_end(&drive.runtime(stage(&drive)), "1").await,
        End::Done
    );
    let group = drive.world.group("shop-web-v002").unwrap();
    assert_eq!(group.capacity, Capacity::new(1, 2, 4).unwrap());
    assert_eq!(group.target_groups, [web]);
    assert_eq!(group.load_balancers, ["classic"]);
    assert_eq!(
        (group.tags["team"].as_str(), group.tags["clone"].as_str()),
        ("shop", "true")
    );
    assert_eq!(group.tags["gennaker:previous-image"], "ami-1");
    let data = drive.world.launch_data("shop-web-v002").unwrap();
    assert_eq!(
        (data.image.as_str(), data.instance_type.as_str()),
        ("ami-2", "t3.small")
    );
    assert_eq!(drive.world.scaling("shop-web-v002"), ["night", "up"]);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(record.outputs["source"]["serverGroupName"], "shop-web-v001");
}

#[tokio::test]
async fn dies_at_every_call_and_still_makes_exactly_one_group() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = one_group(json!({})).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(drive.world.groups_made(), ["shop-web-v002"], "{strike:?}");
        assert_eq!(drive.world.template_versions(), 2, "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&web), 4, "{strike:?}");
        assert_eq!(
            drive.world.scaling("shop-web-v002"),
            ["night", "up"],
            "{strike:?}"
        );
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn undone_after_any_crash_only_the_source_is_left() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = one_group(json!({})).await;
        let runtime = drive.runtime(stage(&drive));
        drive.faults.arm(strike);
        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len();
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let names: Vec<String> = drive.world.snapshot().into_iter().map(|g| g.name).collect();
        assert_eq!(names, ["shop-web-v001"], "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&web), 2, "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn what_cannot_be_cloned_is_told_before_anything_is_made() {
    for (more, word) in [
        (
            json!({"source": {"serverGroupName": "shop-web-v009"}}),
            "shop-web-v009",
        ),
        (json!({"targetCluster": "shop-api"}), "shop-api"),
        (json!({"target": "the_best"}), "the_best"),
        (json!({"imageId": "ami-9"}), "ami-9"),
    ] {
        let (drive, _) = one_group(more).await;
        match drive.to_end(&drive.runtime(stage(&drive)), "1").await {
            End::Failed(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(drive.world.groups_made().is_empty());
    }
}
