//! The stage in an execution.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use gennaker_wait_until::WaitUntil;
use serde_json::{Value, json};

const START: i64 = 1_800_000_000_000;

async fn driven(until: Value) -> Drive {
    let plan = vec![drive::stage(
        "1",
        "waitUntil",
        "wait-until",
        json!({ "epochMillis": until }),
    )];
    Drive::new(Behaviour::default(), plan).await.unwrap()
}

#[tokio::test]
async fn waits_until_the_time_and_not_much_longer() {
    for (seconds, at_most) in [(-5, 0), (0, 0), (25, 30), (700, 710), (100_000, 100_010)] {
        let drive = driven(json!(START + seconds * 1_000)).await;
        let end = drive.to_end(&drive.runtime(WaitUntil), "1").await;
        assert_eq!(end, End::Done);
        let waited = (drive.world.now() - START) / 1_000;
        assert!(
            (seconds..=at_most).contains(&waited) || waited == 0 && seconds <= 0,
            "{seconds}: {waited}"
        );
    }
}

#[tokio::test]
async fn a_skip_ends_it_at_the_next_poll() {
    let drive = driven(json!(START + 3_600_000)).await;
    let runtime = drive.runtime(WaitUntil);
    let event = json!({ "run": drive.run(), "stage": "1" });
    assert!(drive.call(&runtime, &event).await.is_some());
    drive
        .store()
        .skip_stage(drive.run(), "1", "ann", START)
        .await
        .unwrap();
    assert!(drive.call(&runtime, &event).await.is_none());
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(record.status, gennaker_domain::Status::Succeeded);
}

#[tokio::test]
async fn its_time_out_ends_it_without_oversleeping() {
    let context = json!({ "epochMillis": START + 86_400_000, "stageTimeoutMs": 90_000 });
    let plan = vec![drive::stage("1", "waitUntil", "wait-until", context)];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let end = drive.to_end(&drive.runtime(WaitUntil), "1").await;
    assert!(
        matches!(&end, End::Failed(reason) if reason.contains("time-out of 90000 ms")),
        "{end:?}"
    );
    let waited = (drive.world.now() - START) / 1_000;
    assert!((90..=100).contains(&waited), "{waited}");
}

#[tokio::test]
async fn whatever_fails_it_ends_after_its_time() {
    fault_everywhere(async |strike| {
        let drive = driven(json!(START + 20_000)).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(WaitUntil), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert!(drive.world.now() >= START + 20_000);
        drive.faults.calls().len()
    })
    .await;
}
