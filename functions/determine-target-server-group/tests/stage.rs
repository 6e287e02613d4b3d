//! The stage against the world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_determine_target_server_group::DetermineTargetServerGroup;
use gennaker_domain::deployment::Capacity;
use gennaker_testkit::{Behaviour, Drive, End, drive};
use serde_json::json;

async fn groups(names: &[&str], target: &str) -> (Drive, End) {
    let context = json!({"credentials": "prod", "regions": ["us-east-1"], "cluster": "shop-web", "target": target});
    let stage = "determineTargetServerGroup";
    let plan = vec![drive::stage(
        "1",
        stage,
        "determine-target-server-group",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    for name in names {
        drive
            .world
            .add_group(name, "ami-1", Capacity::fixed(1), &[]);
        drive.world.advance(1_000);
    }
    let stage = DetermineTargetServerGroup::new(Arc::new(drive.world.clone()));
    let end = drive.to_end(&drive.runtime(stage), "1").await;
    (drive, end)
}

#[tokio::test]
async fn finds_newest_newest_but_one_and_oldest_by_age_and_not_by_number() {
    for (target, found) in [
        ("current_asg_dynamic", "shop-web-v000"),
        ("ancestor_asg_dynamic", "shop-web-v999"),
        ("oldest_asg_dynamic", "shop-web-v998"),
    ] {
        let names = ["shop-web-v998", "shop-web-v999", "shop-web-v000"];
        let (drive, end) = groups(&names, target).await;
        assert_eq!(end, End::Done);
        let record = drive.records().await.unwrap().remove("1").unwrap();
        assert_eq!(record.outputs["serverGroupName"], found);
        assert_eq!(
            record.outputs["targetReferences"][0]["asg"]["autoScalingGroupName"],
            found
        );
    }
}

#[tokio::test]
async fn the_only_group_is_not_its_own_ancestor() {
    let (_, end) = groups(&["shop-web-v001"], "ancestor_asg_dynamic").await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("only server group")));
    let (_, end) = groups(&[], "current_asg_dynamic").await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("no server group")));
}
