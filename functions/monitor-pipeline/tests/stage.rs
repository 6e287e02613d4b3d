//! The stage against executions that end: woken by their end, safe to die at every call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_domain::{Execution, ExecutionId, StageRecord, Status};
use gennaker_monitor_pipeline::MonitorPipeline;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

async fn world(context: Value) -> Drive {
    let mut stage = drive::stage("1", "monitorPipeline", "monitor-pipeline", context);
    stage.woken = true;
    Drive::new(Behaviour::default(), vec![stage]).await.unwrap()
}

/// Another execution of the same pipeline, running.
async fn other(drive: &Drive, n: i64) -> Execution {
    let store = drive.store();
    let own = store
        .execution(&drive.run().execution)
        .await
        .unwrap()
        .unwrap();
    let other = Execution { id: id(n), ..own };
    store.create_execution(&other, &json!({})).await.unwrap();
    other
}

fn id(n: i64) -> ExecutionId {
    ExecutionId::derive(n, &["other"])
}

async fn end(drive: &Drive, other: &Execution, status: Status, outputs: Value) {
    let store = drive.store();
    let mut record = StageRecord::not_started("1");
    record.status = status;
    record.outputs = outputs.as_object().unwrap().clone();
    store.settle_stage(&other.id, &record).await.unwrap();
    store.settle(&other.id.run(1), status, 5).await.unwrap();
}

async fn record(drive: &Drive) -> StageRecord {
    drive.records().await.unwrap().remove("1").unwrap()
}

#[tokio::test]
async fn whatever_dies_it_sleeps_until_all_have_ended_and_is_known_to_those_who_end() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = world(json!({"executionIds": [id(1), id(2)]})).await;
        let (one, two) = (other(&drive, 1).await, other(&drive, 2).await);
        let runtime = drive.runtime(MonitorPipeline);
        let first = drive.faults.arm(strike);
        assert_eq!(drive.to_end(&runtime, "1").await, End::Done, "{strike:?}");
        for other in [&one, &two] {
            let watchers = drive.store().watchers(&other.id).await.unwrap();
            assert_eq!(watchers.len(), 1, "{strike:?}");
            assert_eq!(watchers[0].function, "monitor-pipeline");
            assert_eq!(
                (&watchers[0].run, watchers[0].stage.as_str()),
                (drive.run(), "1")
            );
        }
        end(&drive, &one, Status::Succeeded, json!({"x": 1})).await;
        assert_eq!(drive.to_end(&runtime, "1").await, End::Done, "{strike:?}");
        assert_eq!(record(&drive).await.status, Status::Running, "{strike:?}");
        end(&drive, &two, Status::Succeeded, json!({"x": 2})).await;
        assert_eq!(drive.to_end(&runtime, "1").await, End::Done, "{strike:?}");
        let record = record(&drive).await;
        assert_eq!(record.status, Status::Succeeded, "{strike:?}");
        let statuses = &record.outputs["executionStatuses"];
        assert_eq!(statuses[one.id.as_str()]["status"], "SUCCEEDED");
        assert_eq!(statuses[two.id.as_str()]["application"], "shop");
        assert_eq!(
            record.outputs.get("x"),
            None,
            "two executions' outputs are not mixed"
        );
        drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn the_first_failure_is_enough_where_it_is_asked_for() {
    for (behavior, expected) in [
        ("FailFast", Status::Terminal),
        ("WaitForAllToComplete", Status::Running),
    ] {
        let drive =
            world(json!({"executionIds": [id(1), id(2)], "monitorBehavior": behavior})).await;
        let one = other(&drive, 1).await;
        other(&drive, 2).await;
        end(&drive, &one, Status::Terminal, json!({})).await;
        let _ = drive.to_end(&drive.runtime(MonitorPipeline), "1").await;
        assert_eq!(record(&drive).await.status, expected, "{behavior}");
    }
}

#[tokio::test]
async fn a_canceled_execution_cancels_and_one_alone_hands_its_outputs_on() {
    let drive = world(json!({"executionIds": [id(1)]})).await;
    let one = other(&drive, 1).await;
    end(&drive, &one, Status::Canceled, json!({"x": 1})).await;
    let _ = drive.to_end(&drive.runtime(MonitorPipeline), "1").await;
    let record = record(&drive).await;
    assert_eq!(record.status, Status::Canceled);
    assert_eq!(record.outputs["x"], 1);
}

#[tokio::test]
async fn what_the_stage_expects_is_bound_to_what_the_execution_made() {
    let expected =
        json!([{"id": "e", "matchArtifact": {"type": "docker/image", "name": "shop/web"}}]);
    for (name, status) in [
        ("shop/web", Status::Succeeded),
        ("shop/api", Status::Terminal),
    ] {
        let context = json!({"executionIds": [id(1)], "expectedArtifacts": expected});
        let drive = world(context).await;
        let one = other(&drive, 1).await;
        let made = json!({"artifacts": [{"type": "docker/image", "name": name, "version": "7"}]});
        end(&drive, &one, Status::Succeeded, made).await;
        let _ = drive.to_end(&drive.runtime(MonitorPipeline), "1").await;
        assert_eq!(record(&drive).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn nothing_to_monitor_and_nobody_there_fail_and_so_do_twelve_hours() {
    for (context, reason) in [
        (json!({}), "no pipeline execution ids to monitor".to_owned()),
        (
            json!({"executionIds": [id(7)]}),
            format!("execution `{}` not found", id(7)),
        ),
    ] {
        let drive = world(context).await;
        let _ = drive.to_end(&drive.runtime(MonitorPipeline), "1").await;
        assert_eq!(record(&drive).await.failure.unwrap().reason, reason);
    }
    let drive = world(json!({"executionIds": [id(1)]})).await;
    other(&drive, 1).await;
    let runtime = drive.runtime(MonitorPipeline);
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    drive.world.advance(12 * 3_600_000);
    let _ = drive.to_end(&runtime, "1").await;
    let failure = record(&drive).await.failure.unwrap().reason;
    assert!(failure.starts_with("12 hours have passed"), "{failure}");
}
