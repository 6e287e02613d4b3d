//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_apply_source_server_group_capacity::ApplySourceServerGroupCapacity;
use gennaker_domain::deployment::Capacity;
use gennaker_domain::{Owner, StageRecord, Status};
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

/// A deploy that created v002 with the minimum of what v001 ran, and its last sub-stage.
async fn after_a_deploy(outputs: Value) -> Drive {
    let parent = drive::stage("1", "createServerGroup", "create-server-group", json!({}));
    let (stage, function) = (
        "applySourceServerGroupCapacity",
        "apply-source-server-group-capacity",
    );
    let mut child = drive::stage("1>1", stage, function, json!({"credentials": "prod"}));
    child.parent = Some("1".to_owned());
    child.owner = Some(Owner::After);
    let drive = Drive::new(Behaviour::default(), vec![parent, child])
        .await
        .unwrap();
    let capacity = Capacity::new(4, 4, 9).unwrap();
    drive
        .world
        .add_group("shop-web-v002", "ami-1", capacity, &[]);
    let mut record = StageRecord::not_started("1");
    record.status = Status::Succeeded;
    record.outputs = outputs.as_object().unwrap().clone();
    let store = drive.store();
    store
        .settle_stage(&drive.run().execution, &record)
        .await
        .unwrap();
    drive
}

fn deployed(snapshot: Value) -> Value {
    json!({
        "deploy.server.groups": {"us-east-1": ["shop-web-v002"]},
        "deploy.account.name": "prod",
        "sourceServerGroupCapacitySnapshot": snapshot,
    })
}

fn stage(drive: &Drive) -> ApplySourceServerGroupCapacity {
    ApplySourceServerGroupCapacity::new(Arc::new(drive.world.clone()))
}

fn minimum(drive: &Drive) -> u32 {
    drive.world.group("shop-web-v002").unwrap().capacity.min()
}

#[tokio::test]
async fn dies_at_every_call_and_still_gives_the_minimum_back() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = after_a_deploy(deployed(json!({"min": 1, "desired": 4, "max": 9}))).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1>1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(minimum(&drive), 1, "{strike:?}");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test]
async fn the_minimum_is_never_raised_and_the_undo_restores_it() {
    let drive = after_a_deploy(deployed(json!({"min": 6, "desired": 6, "max": 9}))).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1>1").await;
    assert_eq!((end, minimum(&drive)), (End::Done, 4));
    let drive = after_a_deploy(deployed(json!({"min": 1, "desired": 4, "max": 9}))).await;
    let runtime = drive.runtime(stage(&drive));
    assert_eq!(drive.to_end(&runtime, "1>1").await, End::Done);
    assert_eq!(drive.undo(&runtime, "1>1").await.unwrap(), End::Done);
    assert_eq!(minimum(&drive), 4);
}

#[tokio::test]
async fn without_a_captured_capacity_there_is_nothing_to_do() {
    let outputs = json!({"deploy.server.groups": {"us-east-1": ["shop-web-v002"]}, "deploy.account.name": "prod"});
    let drive = after_a_deploy(outputs).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1>1").await;
    assert_eq!((end, minimum(&drive)), (End::Done, 4));
    assert_eq!(
        drive.records().await.unwrap()["1>1"].status,
        Status::Skipped
    );
}
