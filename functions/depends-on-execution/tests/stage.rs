//! The stage against executions that end: woken by their end, safe to die at every call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_depends_on_execution::DependsOnExecution;
use gennaker_domain::{Execution, ExecutionId, StageRecord, Status};
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

async fn world(context: Value) -> Drive {
    let mut stage = drive::stage("1", "dependsOnExecution", "depends-on-execution", context);
    stage.woken = true;
    Drive::new(Behaviour::default(), vec![stage]).await.unwrap()
}

fn id() -> ExecutionId {
    ExecutionId::derive(1, &["other"])
}

async fn other(drive: &Drive) -> Execution {
    let store = drive.store();
    let own = store
        .execution(&drive.run().execution)
        .await
        .unwrap()
        .unwrap();
    let other = Execution { id: id(), ..own };
    store.create_execution(&other, &json!({})).await.unwrap();
    other
}

async fn record(drive: &Drive) -> StageRecord {
    drive.records().await.unwrap().remove("1").unwrap()
}

#[tokio::test]
async fn whatever_dies_it_sleeps_until_the_other_execution_has_ended() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = world(json!({"executionType": "PIPELINE", "executionId": id()})).await;
        let other = other(&drive).await;
        let runtime = drive.runtime(DependsOnExecution);
        let first = drive.faults.arm(strike);
        assert_eq!(drive.to_end(&runtime, "1").await, End::Done, "{strike:?}");
        assert_eq!(record(&drive).await.status, Status::Running, "{strike:?}");
        let watchers = drive.store().watchers(&other.id).await.unwrap();
        assert_eq!(watchers.len(), 1, "{strike:?}");
        let run = other.id.run(1);
        drive
            .store()
            .settle(&run, Status::Succeeded, 5)
            .await
            .unwrap();
        assert_eq!(drive.to_end(&runtime, "1").await, End::Done, "{strike:?}");
        assert_eq!(record(&drive).await.status, Status::Succeeded, "{strike:?}");
        drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn a_bad_end_cancels_with_its_status() {
    let drive = world(json!({"executionType": "pipeline", "executionId": id()})).await;
    let other = other(&drive).await;
    let run = other.id.run(1);
    drive
        .store()
        .settle(&run, Status::Terminal, 5)
        .await
        .unwrap();
    let end = drive.to_end(&drive.runtime(DependsOnExecution), "1").await;
    assert_eq!(end, End::Done, "a woken Task is told by `wake`");
    let record = record(&drive).await;
    assert_eq!(record.status, Status::Canceled);
    assert_eq!(
        record.context["reason"],
        "Depended-on execution completed with status TERMINAL"
    );
}

#[tokio::test]
async fn one_that_is_not_there_fails_and_so_do_two_hours_and_itself() {
    let drive = world(json!({"executionType": "pipeline", "executionId": id()})).await;
    let _ = drive.to_end(&drive.runtime(DependsOnExecution), "1").await;
    let missing = record(&drive).await;
    assert_eq!(missing.status, Status::Terminal);
    assert_eq!(
        missing.context["error"],
        format!("Execution (pipeline) {} not found.", id())
    );

    let drive = world(json!({"executionId": id()})).await;
    other(&drive).await;
    let runtime = drive.runtime(DependsOnExecution);
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    drive.world.advance(2 * 3_600_000);
    let _ = drive.to_end(&runtime, "1").await;
    let failure = record(&drive).await.failure.unwrap().reason;
    assert!(failure.starts_with("two hours have passed"), "{failure}");
}
