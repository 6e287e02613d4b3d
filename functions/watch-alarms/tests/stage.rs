//! The stage against the world's alarms.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use gennaker_watch_alarms::WatchAlarms;
use serde_json::{Value, json};

async fn watched(guard: Value) -> Drive {
    let context = json!({"credentials": "prod", "region": "us-east-1", "alarmGuard": guard});
    let plan = vec![drive::stage("1", "watchAlarms", "watch-alarms", context)];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    drive.world.set_alarm("5xx", 0, AlarmState::Ok);
    drive
}

async fn to_end(drive: &Drive) -> End {
    let stage = WatchAlarms::new(Arc::new(drive.world.clone()));
    drive.to_end(&drive.runtime(stage), "1").await
}

fn reason(end: End) -> String {
    match end {
        End::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn dies_at_every_call_and_watches_its_minutes_to_the_end() {
    fault_everywhere(|strike: Option<Strike>| async move {
        let drive = watched(json!({"alarms": ["5xx"], "minutesAfter": 3})).await;
        let (first, began) = (drive.faults.arm(strike), drive.world.now());
        assert_eq!(to_end(&drive).await, End::Done, "{strike:?}");
        let took = drive.world.now() - began;
        assert!((180_000..260_000).contains(&took), "{took} ms, {strike:?}");
        drive.faults.calls().len() - first
    })
    .await;
}

#[tokio::test]
async fn an_alarm_that_goes_off_in_its_minutes_fails_it_and_one_after_does_not() {
    let drive = watched(json!({"alarms": ["5xx"], "minutesAfter": 15})).await;
    let off = drive.world.now() + 12 * 60_000;
    drive.world.set_alarm("5xx", off, AlarmState::Alarm);
    let said = reason(to_end(&drive).await);
    assert!(
        said.contains("alarm `5xx` is in ALARM: threshold crossed in prod/us-east-1"),
        "{said}"
    );
    assert!(drive.world.now() - off <= 60_000, "a minute at most");

    let drive = watched(json!({"alarms": ["5xx"], "minutesAfter": 5})).await;
    let off = drive.world.now() + 6 * 60_000;
    drive.world.set_alarm("5xx", off, AlarmState::Alarm);
    assert_eq!(to_end(&drive).await, End::Done);
}

#[tokio::test]
async fn a_missing_alarm_and_too_little_data_are_what_the_guard_says_they_are() {
    let drive = watched(json!({"alarms": ["5xx", "4xx"]})).await;
    assert!(reason(to_end(&drive).await).contains("alarm `4xx` not found"));
    let drive = watched(json!({"alarms": ["5xx", "4xx"], "missing": "ignore"})).await;
    assert_eq!(to_end(&drive).await, End::Done);
    let drive = watched(json!({"alarms": ["5xx"], "insufficientData": "stop"})).await;
    drive
        .world
        .set_alarm("5xx", 1, AlarmState::InsufficientData);
    assert!(reason(to_end(&drive).await).contains("too little data"));
    let drive = watched(json!({"alarms": ["5xx"], "region": "eu-west-1"})).await;
    assert!(reason(to_end(&drive).await).contains("no region `eu-west-1`"));
    let drive = watched(json!({"alarms": []})).await;
    assert!(reason(to_end(&drive).await).contains("1 to 100 names"));
}
