//! The stage in an execution.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use gennaker_wait::Wait;
use serde_json::{Value, json};

async fn driven(context: Value) -> Drive {
    let plan = vec![drive::stage("1", "wait", "wait", context)];
    Drive::new(Behaviour::default(), plan).await.unwrap()
}

#[tokio::test]
async fn a_wait_ends_by_itself_or_by_its_time_out_whichever_comes_first() {
    for (wait, limit, times_out, at_most) in [
        (25, 86_400_000, false, 30),
        (25, 25_000, false, 30),
        (600, 25_000, true, 30),
        (3_600, 90_000, true, 100),
    ] {
        let drive = driven(json!({ "waitTime": wait, "stageTimeoutMs": limit })).await;
        let begun = drive.world.now();
        let end = drive.to_end(&drive.runtime(Wait), "1").await;
        assert_eq!(matches!(end, End::Failed(_)), times_out, "{wait}: {end:?}");
        let waited = (drive.world.now() - begun) / 1_000;
        assert!(waited >= 25 && waited <= at_most, "{wait}: {waited}");
    }
}

#[tokio::test]
async fn whatever_fails_it_ends_after_its_time() {
    let tried = fault_everywhere(async |strike| {
        let drive = driven(json!({ "waitTime": 20 })).await;
        let begun = drive.world.now();
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(Wait), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert!(drive.world.now() >= begun + 20_000);
        drive.faults.calls().len()
    })
    .await;
    assert!(tried > 10);
}
