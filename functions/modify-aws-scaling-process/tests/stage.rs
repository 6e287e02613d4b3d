//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_domain::deployment::Capacity;
use gennaker_modify_aws_scaling_process::ModifyAwsScalingProcess;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::json;

const NAME: &str = "shop-web-v001";

/// A group with `ScheduledActions` suspended.
async fn one_group(action: &str) -> Drive {
    let context = json!({
        "credentials": "prod", "regions": ["us-east-1"], "cluster": "shop-web", "target": "current_asg_dynamic",
        "action": action, "processes": ["AlarmNotification", "ScheduledActions"],
    });
    let plan = vec![drive::stage(
        "1",
        "modifyAwsScalingProcess",
        "modify-aws-scaling-process",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    drive
        .world
        .add_group(NAME, "ami-1", Capacity::fixed(2), &[]);
    drive.world.suspend(NAME, &["ScheduledActions"]);
    drive
}

fn suspended(drive: &Drive) -> Vec<String> {
    let mut suspended = drive.world.group(NAME).unwrap().suspended_processes;
    suspended.sort();
    suspended
}

#[tokio::test]
async fn dies_at_every_call_and_has_done_it_once() {
    for (action, after) in [
        ("suspend", vec!["AlarmNotification", "ScheduledActions"]),
        ("resume", vec![]),
    ] {
        let after = &after;
        let scenario = |strike: Option<Strike>| async move {
            let drive = one_group(action).await;
            drive.faults.arm(strike);
            let stage = ModifyAwsScalingProcess::new(Arc::new(drive.world.clone()));
            assert_eq!(
                drive.to_end(&drive.runtime(stage), "1").await,
                End::Done,
                "{strike:?}"
            );
            assert_eq!(suspended(&drive), *after, "{strike:?}");
            drive.faults.calls().len()
        };
        assert!(fault_everywhere(scenario).await > 20);
    }
}

#[tokio::test]
async fn undone_after_any_crash_only_what_it_changed_is_changed_back() {
    for action in ["suspend", "resume"] {
        let scenario = |strike: Option<Strike>| async move {
            let drive = one_group(action).await;
            let stage = ModifyAwsScalingProcess::new(Arc::new(drive.world.clone()));
            let runtime = drive.runtime(stage);
            drive.faults.arm(strike);
            let event = json!({ "run": drive.run(), "stage": "1" });
            let _ = drive.call(&runtime, &event).await;
            let calls = drive.faults.calls().len();
            assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
            assert_eq!(suspended(&drive), ["ScheduledActions"], "{strike:?}");
            calls
        };
        assert!(fault_everywhere(scenario).await > 20);
    }
}
