//! The stage against the world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_capture_source_server_group_capacity::CaptureSourceServerGroupCapacity;
use gennaker_domain::deployment::Capacity;
use gennaker_testkit::{Behaviour, Drive, End, drive};
use serde_json::{Value, json};

async fn capture(groups: &[(&str, u32)], more: Value) -> (Drive, End) {
    let mut context = json!({
        "credentials": "prod", "region": "us-east-1", "cluster": "shop-web", "useSourceCapacity": true,
    });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let (stage, function) = (
        "captureSourceServerGroupCapacity",
        "capture-source-server-group-capacity",
    );
    let plan = vec![drive::stage("1", stage, function, context)];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    for (name, size) in groups {
        let capacity = Capacity::new(1, *size, 9).unwrap();
        drive.world.add_group(name, "ami-1", capacity, &[]);
        drive.world.advance(1_000);
    }
    let stage = CaptureSourceServerGroupCapacity::new(Arc::new(drive.world.clone()));
    let end = drive.to_end(&drive.runtime(stage), "1").await;
    (drive, end)
}

#[tokio::test]
async fn captures_the_largest_group_or_the_named_one() {
    let groups = [("shop-web-v001", 4), ("shop-web-v002", 2)];
    for (more, size) in [
        (json!({}), 4),
        (json!({"source": {"serverGroupName": "shop-web-v002"}}), 2),
    ] {
        let (drive, end) = capture(&groups, more).await;
        assert_eq!(end, End::Done);
        let record = drive.records().await.unwrap().remove("1").unwrap();
        let snapshot = json!({"min": 1, "desired": size, "max": 9});
        assert_eq!(
            record.outputs["sourceServerGroupCapacitySnapshot"],
            snapshot
        );
    }
}

#[tokio::test]
async fn without_a_source_it_fails_unless_the_configured_capacity_will_do() {
    let (drive, end) = capture(&[], json!({})).await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("capacity")));
    // Believed at the third look only.
    let looks = drive
        .faults
        .calls()
        .iter()
        .filter(|call| *call == "autoscaling:DescribeAutoScalingGroups")
        .count();
    assert_eq!(looks, 3);
    let prefer =
        json!({"preferSourceCapacity": true, "capacity": {"min": 1, "desired": 1, "max": 1}});
    let (drive, end) = capture(&[], prefer).await;
    assert_eq!(end, End::Done);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert!(record.outputs.is_empty());
}
