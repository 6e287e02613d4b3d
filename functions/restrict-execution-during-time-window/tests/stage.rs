//! The stage in an execution.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_restrict_execution_during_time_window::RestrictExecutionDuringTimeWindow;
use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use serde_json::{Value, json};

/// Friday, 15 January 2027, 08:00 UTC: midnight in Los Angeles, nine in Berlin.
const START: i64 = 1_800_000_000_000;
const TYPE: &str = "restrictExecutionDuringTimeWindow";

async fn driven(window: Value) -> Drive {
    // The time in front of a window counts against no time-out: this one never ends it.
    let context = json!({ "restrictedExecutionWindow": window, "stageTimeoutMs": 1_000 });
    let plan = vec![drive::stage(
        "1",
        TYPE,
        "restrict-execution-during-time-window",
        context,
    )];
    Drive::new(Behaviour::default(), plan).await.unwrap()
}

fn hours(from: u32, to: u32) -> Value {
    json!([{ "startHour": from, "startMin": 0, "endHour": to, "endMin": 0 }])
}

async fn waited_minutes(window: Value, zone: &str) -> i64 {
    let drive = driven(window).await;
    let stage = RestrictExecutionDuringTimeWindow::new(zone);
    assert_eq!(drive.to_end(&drive.runtime(stage), "1").await, End::Done);
    (drive.world.now() - START) / 60_000
}

#[tokio::test]
async fn a_stage_starts_when_its_window_opens() {
    let (angeles, berlin) = ("America/Los_Angeles", "Europe/Berlin");
    assert_eq!(
        waited_minutes(json!({ "whitelist": hours(0, 1) }), angeles).await,
        0
    );
    assert_eq!(
        waited_minutes(json!({ "whitelist": hours(2, 3) }), angeles).await,
        120
    );
    assert_eq!(
        waited_minutes(json!({ "whitelist": hours(9, 17) }), berlin).await,
        0
    );
    assert_eq!(
        waited_minutes(json!({ "whitelist": hours(10, 17) }), berlin).await,
        60
    );
    // Saturday is 7.
    assert_eq!(
        waited_minutes(json!({ "whitelist": [], "days": [7] }), angeles).await,
        24 * 60
    );
    assert_eq!(waited_minutes(json!({}), angeles).await, 0);
}

#[tokio::test]
async fn a_jitter_passes_once_the_window_is_open_and_a_manual_start_may_skip_it() {
    let jitter = json!({ "enabled": true, "minDelay": 120, "maxDelay": 180 });
    let waited = waited_minutes(
        json!({ "whitelist": hours(1, 2), "jitter": jitter }),
        "America/Los_Angeles",
    )
    .await;
    assert!((62..=63).contains(&waited), "{waited}");
    let off = json!({ "enabled": false, "minDelay": 120, "maxDelay": 180 });
    assert_eq!(
        waited_minutes(json!({ "jitter": off }), "America/Los_Angeles").await,
        0
    );
}

#[tokio::test]
async fn a_window_that_never_opens_and_a_zone_that_is_none_fail_the_stage() {
    for (window, zone) in [
        (json!({ "days": [9] }), "America/Los_Angeles"),
        (json!({ "whitelist": hours(1, 2) }), "Mars/Olympus"),
    ] {
        let drive = driven(window).await;
        let stage = RestrictExecutionDuringTimeWindow::new(zone);
        let end = drive.to_end(&drive.runtime(stage), "1").await;
        assert!(matches!(end, End::Failed(_)), "{end:?}");
    }
}

#[tokio::test]
async fn a_skip_lets_the_stage_go() {
    let drive = driven(json!({ "days": [7] })).await;
    let runtime = drive.runtime(RestrictExecutionDuringTimeWindow::new(
        "America/Los_Angeles",
    ));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let (name, reason) = drive.call(&runtime, &event).await.unwrap();
    assert_eq!(
        (name, reason.as_str()),
        ("Waiting10m", "the window opens in 1440 min")
    );
    drive
        .store()
        .skip_stage(drive.run(), "1", "ann", START)
        .await
        .unwrap();
    assert!(drive.call(&runtime, &event).await.is_none());
}

#[tokio::test]
async fn whatever_fails_it_waits_for_the_same_time() {
    fault_everywhere(async |strike| {
        let jitter = json!({ "enabled": true, "minDelay": 20, "maxDelay": 90 });
        let drive = driven(json!({ "jitter": jitter })).await;
        drive.faults.arm(strike);
        let stage = RestrictExecutionDuringTimeWindow::new("UTC");
        assert_eq!(
            drive.to_end(&drive.runtime(stage), "1").await,
            End::Done,
            "{strike:?}"
        );
        assert!((20..=110).contains(&((drive.world.now() - START) / 1_000)));
        drive.faults.calls().len()
    })
    .await;
}
