//! Whatever was lost is started by the sweep.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::step_functions::MachineStatus;
use gennaker_cloud::{StepFunctions, Store};
use gennaker_domain::{Ending, Execution, Status};
use gennaker_sweep::{GRACE_MILLIS, Sweep};
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryStepFunctions, MemoryTable, at_every_call, sample,
};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    store: Store,
    step_functions: MemoryStepFunctions,
    functions: MemoryFunctions,
    sweep: Sweep,
    execution: Execution,
}

const LATER: i64 = 1 + GRACE_MILLIS;

async fn world(launched: bool) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let finalize = step_functions.add_machine("finalize");
    let plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
    let execution = sample::running(&store, &plan, 1).await.unwrap();
    if launched {
        step_functions
            .start(
                sample::MACHINE,
                &execution.id.run(1).to_string(),
                &json!({}),
            )
            .await
            .unwrap();
    }
    let functions = MemoryFunctions::with_faults(faults.clone());
    World {
        sweep: Sweep::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            Arc::new(functions.clone()),
            "g",
            finalize,
        ),
        functions,
        faults,
        store,
        step_functions,
        execution,
    }
}

impl World {
    fn run(&self) -> String {
        self.execution.id.run(1).to_string()
    }

    fn has(&self, name: &str) -> bool {
        self.step_functions.run_names().iter().any(|n| n == name)
    }

    async fn scheduled(&self, now: i64) {
        self.sweep.sweep(&json!({}), now).await.unwrap();
    }

    /// What `finalize` was told.
    fn told(&self) -> Vec<Value> {
        let invoked = self.functions.invoked().into_iter();
        invoked
            .filter(|(function, _)| function == "g-finalize:live")
            .map(|(_, payload)| payload)
            .collect()
    }

    fn change(&self, status: &str) -> Value {
        json!({"detail-type": "Step Functions Execution Status Change", "source": "aws.states",
            "detail": {"name": self.run(), "status": status, "cause": "boom"}})
    }
}

#[tokio::test]
async fn the_end_of_a_machine_starts_finalize_once() {
    at_every_call(async |strike| {
        let world = world(true).await;
        world
            .step_functions
            .end(&world.run(), MachineStatus::Failed, None);
        let armed = strike.arm(&world.faults);
        for _ in 0..2 {
            armed
                .until_answered(async || world.sweep.sweep(&world.change("FAILED"), 2).await)
                .await;
        }
        let calls = armed.finish();
        let runs = world.step_functions.runs();
        let ends: Vec<_> = runs
            .iter()
            .filter(|(arn, _)| arn.contains("-end"))
            .collect();
        assert_eq!(ends.len(), 1);
        assert_eq!(
            ends[0].1.input,
            json!({"run": world.run(), "status": "FAILED", "cause": "boom"})
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn what_still_runs_and_what_is_not_ours_starts_nothing() {
    let world = world(true).await;
    world
        .sweep
        .sweep(&world.change("RUNNING"), 2)
        .await
        .unwrap();
    let mut foreign = world.change("FAILED");
    foreign["detail"]["name"] = json!("by-hand");
    world.sweep.sweep(&foreign, 2).await.unwrap();
    world.scheduled(LATER).await;
    assert_eq!(world.step_functions.run_names(), [world.run()]);
}

#[tokio::test]
async fn a_lost_status_event_is_made_good_by_the_schedule() {
    let world = world(true).await;
    world
        .step_functions
        .end(&world.run(), MachineStatus::Aborted, Some("by hand"));
    world.scheduled(2).await;
    assert!(world.has(&format!("{}-end", world.run())));
}

#[tokio::test]
async fn a_failed_finalize_is_started_again_and_a_running_one_is_left() {
    let world = world(true).await;
    world
        .step_functions
        .end(&world.run(), MachineStatus::Succeeded, None);
    world.scheduled(2).await;
    world.scheduled(3).await;
    assert!(!world.has(&format!("{}-end-2", world.run())));
    world
        .step_functions
        .end(&format!("{}-end", world.run()), MachineStatus::Failed, None);
    world.scheduled(4).await;
    assert!(world.has(&format!("{}-end-2", world.run())));
}

#[tokio::test]
async fn a_lost_start_is_made_good_after_a_minute() {
    let world = world(false).await;
    world.scheduled(2).await;
    assert!(!world.has(&world.run()));
    world.scheduled(LATER).await;
    world.scheduled(LATER).await;
    assert_eq!(world.step_functions.run_names(), [world.run()]);
}

#[tokio::test]
async fn a_lost_stop_is_made_good_after_a_minute() {
    let world = world(true).await;
    let ending = Ending {
        status: Status::Canceled,
        reason: "wrong image".to_owned(),
        by: "ada".to_owned(),
        at: 5,
    };
    let run = world.execution.id.run(1);
    world.store.set_ending(&run, &ending).await.unwrap();
    world.scheduled(6).await;
    world.scheduled(5 + GRACE_MILLIS).await;
    let runs = world.step_functions.runs();
    assert!(
        runs.values()
            .all(|run| run.run.status == MachineStatus::Aborted)
    );
    world.scheduled(6 + GRACE_MILLIS).await;
    assert!(world.has(&format!("{}-end", world.run())));
}

#[tokio::test]
async fn an_execution_whose_machine_is_gone_ends_with_that_reason() {
    let world = world(false).await;
    world
        .step_functions
        .delete_machine(sample::MACHINE)
        .await
        .unwrap();
    world.scheduled(LATER).await;
    let execution = world
        .store
        .execution(&world.execution.id)
        .await
        .unwrap()
        .unwrap();
    assert!(execution.ending.unwrap().reason.contains("does not exist"));
    world.scheduled(LATER + GRACE_MILLIS).await;
    assert!(world.has(&format!("{}-end", world.run())));
}

#[tokio::test]
async fn an_end_that_was_told_to_nobody_is_told_by_the_schedule() {
    let world = world(true).await;
    world
        .step_functions
        .end(&world.run(), MachineStatus::Succeeded, None);
    let run = world.execution.id.run(1);
    world
        .store
        .settle(&run, Status::Succeeded, 2)
        .await
        .unwrap();
    world.scheduled(2).await;
    assert!(world.told().is_empty(), "it may be under way");
    world.scheduled(2 + GRACE_MILLIS).await;
    assert_eq!(world.told(), [json!({"ended": world.execution.id})]);
    let ended = world
        .store
        .execution(&run.execution)
        .await
        .unwrap()
        .unwrap();
    world.store.followed_up(&ended).await.unwrap();
    world.scheduled(2 + 2 * GRACE_MILLIS).await;
    assert_eq!(world.told().len(), 1);
}

#[tokio::test]
async fn the_schedule_has_the_trigger_index_compared_with_what_should_exist() {
    let world = world(true).await;
    world.scheduled(2).await;
    let mend = ("g-save-pipeline:live".to_owned(), json!({"mend": {}}));
    assert_eq!(world.functions.invoked(), [mend]);
    // An event about one execution is no sweep.
    world
        .sweep
        .sweep(&world.change("RUNNING"), 3)
        .await
        .unwrap();
    assert_eq!(world.functions.invoked().len(), 1);
}
