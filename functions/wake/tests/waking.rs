//! Sleeping Tasks are told what the records say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_domain::{Ending, Execution, StageRecord, Status};
use gennaker_testkit::platform::Sent;
use gennaker_testkit::{Faults, MemoryStepFunctions, MemoryTable, at_every_call, sample};
use gennaker_wake::Wake;
use serde_json::{Value, json};

struct World {
    faults: Faults,
    store: Store,
    step_functions: MemoryStepFunctions,
    wake: Wake,
    execution: Execution,
}

async fn world() -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    let plan = sample::plan(json!([
        {"refId": "1", "type": "manualJudgment", "woken": true},
        {"refId": "2", "type": "wait"},
        {"refId": "3", "type": "wait", "requisites": ["1", "2"], "joins": true},
    ]));
    let execution = sample::running(&store, &plan, 1).await.unwrap();
    let run = execution.id.run(1);
    store.put_token(&run, "1", "token-1").await.unwrap();
    store.put_token(&run, "join:3", "token-3").await.unwrap();
    World {
        wake: Wake::new(store.clone(), Arc::new(step_functions.clone())),
        faults,
        store,
        step_functions,
        execution,
    }
}

impl World {
    async fn complete(&self, ref_id: &str, status: Status) {
        let mut record = StageRecord::not_started(ref_id);
        record.status = status;
        self.store
            .settle_stage(&self.execution.id, &record)
            .await
            .unwrap();
    }

    fn event(&self, more: &Value) -> Value {
        let mut event = json!({"run": self.execution.id.run(1)});
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        event
    }
}

fn success(token: &str) -> Sent {
    Sent::Success {
        token: token.to_owned(),
    }
}

#[tokio::test]
async fn a_stage_is_woken_once_its_record_is_complete_and_not_before() {
    let world = world().await;
    let event = world.event(&json!({"stage": "1"}));
    world.wake.wake(&event).await.unwrap();
    assert_eq!(world.step_functions.sent(), []);
    world.complete("1", Status::Succeeded).await;
    world.wake.wake(&event).await.unwrap();
    assert_eq!(world.step_functions.sent(), [success("token-1")]);
    // The Task waits no more: that is fine.
    assert_eq!(world.wake.wake(&event).await.unwrap()["woken"], json!([]));
}

#[tokio::test]
async fn the_stage_that_ended_the_execution_fails_its_task_and_every_other_goes_on() {
    let world = world().await;
    world.complete("1", Status::Terminal).await;
    let run = world.execution.id.run(1);
    let ending = Ending {
        status: Status::Terminal,
        reason: "ada answered stop".to_owned(),
        by: "1".to_owned(),
        at: 5,
    };
    world.store.set_ending(&run, &ending).await.unwrap();
    world
        .wake
        .wake(&world.event(&json!({"stage": "1", "joins": ["3"]})))
        .await
        .unwrap();
    assert_eq!(
        world.step_functions.sent(),
        [
            Sent::Failure {
                token: "token-1".to_owned(),
                error: "StageFailed".to_owned()
            },
            success("token-3")
        ]
    );
}

#[tokio::test]
async fn a_join_opens_with_the_last_record_or_when_its_stage_never_starts() {
    for (last, opens) in [
        (Status::Succeeded, true),
        (Status::FailedContinue, true),
        (Status::Stopped, true),
        (Status::Running, false),
    ] {
        let world = world().await;
        let event = world.event(&json!({"joins": ["3"]}));
        world.complete("1", Status::Succeeded).await;
        world.wake.wake(&event).await.unwrap();
        assert_eq!(world.step_functions.sent(), []);
        world.complete("2", last).await;
        world.wake.wake(&event).await.unwrap();
        assert_eq!(
            world.step_functions.sent() == [success("token-3")],
            opens,
            "{last}"
        );
    }
}

#[tokio::test]
async fn a_crash_at_any_call_wakes_everybody_once() {
    at_every_call(async |strike| {
        let world = world().await;
        world.complete("1", Status::Succeeded).await;
        world.complete("2", Status::Succeeded).await;
        let event = world.event(&json!({"stage": "1", "joins": ["3"]}));
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.wake.wake(&event).await)
            .await;
        let calls = armed.finish();
        assert_eq!(
            world.step_functions.sent(),
            [success("token-1"), success("token-3")]
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn an_event_without_a_run_is_refused() {
    let world = world().await;
    for event in [json!({}), json!({"run": "x"}), json!({"run": 1}), json!([])] {
        assert!(world.wake.wake(&event).await.is_err());
    }
}
