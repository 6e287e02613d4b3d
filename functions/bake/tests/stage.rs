//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_bake::Bake;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

async fn bake(more: Value, behaviour: Behaviour) -> Drive {
    let mut context =
        json!({"regions": ["us-east-1", "eu-west-1"], "package": "shop", "baseOs": "bionic"});
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let again = context.clone();
    let plan = vec![
        drive::stage("1", "bake", "bake", context),
        drive::stage("2", "bake", "bake", again),
    ];
    Drive::new(behaviour, plan).await.unwrap()
}

fn stage(drive: &Drive) -> Bake {
    Bake::new(Arc::new(drive.world.clone()), "gennaker-bake")
}

#[tokio::test]
async fn dies_at_every_call_and_bakes_one_image_for_each_region() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = bake(json!({}), Behaviour::default()).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(
            drive.world.builds_started_and_stopped(),
            (2, 0),
            "{strike:?}"
        );
        let record = drive.records().await.unwrap().remove("1").unwrap();
        let details = record.outputs["deploymentDetails"].as_array().unwrap();
        let regions: Vec<&str> = details
            .iter()
            .map(|d| d["region"].as_str().unwrap())
            .collect();
        assert_eq!(regions, ["us-east-1", "eu-west-1"], "{strike:?}");
        assert!(
            details
                .iter()
                .all(|d| d["imageId"].as_str().unwrap().starts_with("ami-b"))
        );
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn undone_after_any_crash_no_build_goes_on() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = bake(json!({}), Behaviour::default()).await;
        let runtime = drive.runtime(stage(&drive));
        drive.faults.arm(strike);
        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len();
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let (started, stopped) = drive.world.builds_started_and_stopped();
        assert_eq!(started, stopped, "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test]
async fn the_same_bake_is_reused_unless_it_asks_for_a_new_one() {
    for (more, started) in [(json!({}), 2), (json!({"rebake": true}), 4)] {
        let drive = bake(more, Behaviour::default()).await;
        assert_eq!(
            drive.to_end(&drive.runtime(stage(&drive)), "1").await,
            End::Done
        );
        assert_eq!(
            drive.to_end(&drive.runtime(stage(&drive)), "2").await,
            End::Done
        );
        assert_eq!(drive.world.builds_started_and_stopped().0, started);
        let record = drive.records().await.unwrap().remove("2").unwrap();
        assert_eq!(record.context["previouslyBaked"], started == 2);
    }
}

#[tokio::test]
async fn a_build_that_fails_fails_the_stage_with_its_name() {
    let behaviour = Behaviour {
        builds_fail: true,
        ..Behaviour::default()
    };
    let drive = bake(json!({}), behaviour).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("gennaker-bake:0")));
}
