//! What people decide is recorded once, and takes effect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::step_functions::MachineStatus;
use gennaker_cloud::store::approvals::Choice;
use gennaker_cloud::{Key, StepFunctions, Store};
use gennaker_decide::Decide;
use gennaker_domain::{Execution, StageRecord, Status};
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryStepFunctions, MemoryTable, NamedCallers, at_every_call, sample,
};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    store: Store,
    step_functions: MemoryStepFunctions,
    functions: MemoryFunctions,
    decide: Decide,
    execution: Execution,
}

async fn world() -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(faults.clone());
    let plan = sample::plan(json!([
        {"refId": "1", "type": "manualJudgment", "woken": true},
        {"refId": "2", "type": "wait", "woken": true},
    ]));
    let execution = sample::running(&store, &plan, 1).await.unwrap();
    let run = execution.id.run(1);
    step_functions
        .start(sample::MACHINE, &run.to_string(), &json!({}))
        .await
        .unwrap();
    // As `manual-judgment` asks.
    let stage = json!({
        "instructions": "Ship it?", "judgmentInputs": [{"value": "blue"}, {"value": "green"}],
    });
    let question = sample::question(&execution, "1", &stage);
    store.ask(question, &"c".repeat(32)).await.unwrap();
    let mut waiting = StageRecord::not_started("2");
    waiting.status = Status::Running;
    store.settle_stage(&execution.id, &waiting).await.unwrap();
    World {
        decide: Decide::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            Arc::new(functions.clone()),
            "g",
        )
        .with_callers(Arc::new(NamedCallers)),
        faults,
        store,
        step_functions,
        functions,
        execution,
    }
}

impl World {
    fn event(&self, more: &Value) -> Value {
        let mut event = json!({"execution": self.execution.id, "user": "ada"});
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        event
    }

    async fn ask(&self, more: Value) -> Value {
        self.decide.decide(&self.event(&more), 10).await.unwrap()
    }
}

#[tokio::test]
async fn the_first_answer_counts_and_later_ones_are_told_which_it_was() {
    let world = world().await;
    let first = world
        .ask(json!({"stage": "1", "decision": "continue", "input": "blue"}))
        .await;
    assert_eq!(first["decided"]["choice"], "continue");
    let mut second = world.event(&json!({"stage": "1", "decision": "stop"}));
    second["user"] = json!("bob");
    let answer = world.decide.decide(&second, 20).await.unwrap();
    assert_eq!(answer["already"]["by"], "ada");
    let run = world.execution.id.run(1);
    let approval = world.store.approval(&run, "1").await.unwrap().unwrap();
    assert_eq!(approval.question.instructions, "Ship it?");
    let decision = approval.decision().unwrap();
    assert_eq!(
        (decision.choice, decision.input.as_deref(), decision.at),
        (Choice::Continue, Some("blue"), 10)
    );
}

#[tokio::test]
async fn a_crash_at_any_call_records_the_answer_and_calls_the_stage() {
    at_every_call(async |strike| {
        let world = world().await;
        let event = world.event(&json!({"stage": "1", "decision": "stop"}));
        let armed = strike.arm(&world.faults);
        // The clock goes on between one try and the next.
        let tries = std::cell::Cell::new(10);
        armed
            .until_answered(async || {
                tries.set(tries.get() + 1);
                world.decide.decide(&event, tries.get()).await
            })
            .await;
        let calls = armed.finish();
        let run = world.execution.id.run(1);
        let approval = world.store.approval(&run, "1").await.unwrap().unwrap();
        assert_eq!(approval.decision().unwrap().choice, Choice::Stop);
        assert_eq!(
            world.functions.distinct(),
            [(
                "g-manual-judgment:live".to_owned(),
                json!({"run": run, "stage": "1"})
            )]
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn what_nobody_asked_or_nobody_offered_is_refused() {
    let world = world().await;
    let cases = [
        (
            json!({"stage": "1", "decision": "continue", "input": "red"}),
            "unknown-input",
        ),
        (json!({"stage": "2", "decision": "continue"}), "not-waiting"),
        (
            json!({"stage": "9", "decision": "continue"}),
            "unknown-stage",
        ),
        (json!({"stage": "1", "skip": true}), "not-waiting"),
    ];
    for (request, code) in cases {
        assert_eq!(world.ask(request).await["problems"][0]["code"], code);
    }
    assert_eq!(world.functions.invoked(), []);
    for invalid in [
        json!({}),
        json!({"stage": "1", "decision": "maybe"}),
        json!({"decision": "stop"}),
        json!({"pause": true, "resume": true}),
    ] {
        assert!(
            world
                .decide
                .decide(&world.event(&invalid), 1)
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_crash_at_any_call_skips_the_wait() {
    at_every_call(async |strike| {
        let world = world().await;
        let event = world.event(&json!({"stage": "2", "skip": true}));
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.decide.decide(&event, 10).await)
            .await;
        let calls = armed.finish();
        let key = Key::new(format!("EXEC#{}", world.execution.id), "SKIP#2");
        assert!(world.store.table().get(&key).await.unwrap().is_some());
        let run = world.execution.id.run(1);
        assert_eq!(
            world.functions.distinct(),
            [("g-wait:live".to_owned(), json!({"run": run, "stage": "2"}))]
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn a_crash_at_any_call_cancels_and_nothing_begins_before_the_stop() {
    at_every_call(async |strike| {
        let world = world().await;
        let event = world.event(&json!({"cancel": true, "reason": "wrong image"}));
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.decide.decide(&event, 10).await)
            .await;
        let calls = armed.finish();
        let execution = world
            .store
            .execution(&world.execution.id)
            .await
            .unwrap()
            .unwrap();
        let ending = execution.ending.unwrap();
        assert_eq!(
            (ending.status, ending.reason.as_str(), ending.by.as_str()),
            (Status::Canceled, "wrong image", "ada")
        );
        // Not settled: that is finalize's.
        assert_eq!(execution.status, Status::Running);
        let runs = world.step_functions.runs();
        assert!(
            runs.values()
                .all(|run| run.run.status == MachineStatus::Aborted)
        );
        let made = world.faults.calls();
        let set = made.iter().position(|call| call == "dynamodb:UpdateItem");
        let stop = made.iter().position(|call| call == "states:StopExecution");
        assert!(set.unwrap() < stop.unwrap());
        calls
    })
    .await;
}

#[tokio::test]
async fn a_pause_and_a_resume_take_effect_once() {
    let world = world().await;
    assert_eq!(world.ask(json!({"pause": true})).await["changed"], true);
    assert_eq!(world.ask(json!({"pause": true})).await["changed"], false);
    assert_eq!(world.ask(json!({"resume": true})).await["changed"], true);
    assert_eq!(world.ask(json!({"resume": true})).await["changed"], false);
}

#[tokio::test]
async fn a_crash_at_any_call_notes_each_pause_once() {
    at_every_call(async |strike| {
        let world = world().await;
        let armed = strike.arm(&world.faults);
        let clock = std::cell::Cell::new(10);
        for (asked, user) in [("pause", "ada"), ("resume", "bob"), ("pause", "cyd")] {
            let mut event = world.event(&json!({asked: true}));
            event["user"] = json!(user);
            armed
                .until_answered(async || {
                    clock.set(clock.get() + 10);
                    world.decide.decide(&event, clock.get()).await
                })
                .await;
        }
        let calls = armed.finish();
        let seen = world
            .store
            .execution(&world.execution.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((seen.status, seen.paused), (Status::Paused, true));
        let who: Vec<_> = seen
            .pauses
            .iter()
            .map(|pause| (pause.paused_by.as_str(), pause.resumed_by.as_deref()))
            .collect();
        assert_eq!(who, [("ada", Some("bob")), ("cyd", None)]);
        let mut times = seen
            .pauses
            .iter()
            .flat_map(|pause| [Some(pause.pause_time), pause.resume_time])
            .flatten();
        assert!(times.clone().is_sorted() && times.all(|at| at <= clock.get()));
        calls
    })
    .await;
}

#[tokio::test]
async fn a_resume_calls_the_stages_whose_tasks_sleep() {
    let world = world().await;
    assert!(
        world
            .store
            .set_paused(&world.execution.id, true, "ada", 5)
            .await
            .unwrap()
    );
    world.ask(json!({"resume": true})).await;
    let run = world.execution.id.run(1);
    assert_eq!(
        world.functions.invoked(),
        [
            (
                "g-manual-judgment:live".to_owned(),
                json!({"run": run, "stage": "1"})
            ),
            ("g-wait:live".to_owned(), json!({"run": run, "stage": "2"})),
        ]
    );
}

#[tokio::test]
async fn a_cancel_after_the_end_is_noted_and_changes_nothing_else() {
    let world = world().await;
    let run = world.execution.id.run(1);
    world
        .store
        .settle(&run, Status::Succeeded, 5)
        .await
        .unwrap();
    let answer = world.ask(json!({"cancel": true})).await;
    assert_eq!(answer["already"], "SUCCEEDED");
    let seen = world
        .store
        .execution(&world.execution.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((seen.status, seen.canceled), (Status::Succeeded, true));
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_forced_cancel_ends_the_execution_at_once() {
    at_every_call(async |strike| {
        let world = world().await;
        let event = world.event(&json!({"cancel": true, "force": true, "reason": "stuck"}));
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.decide.decide(&event, 10).await)
            .await;
        let calls = armed.finish();
        let id = &world.execution.id;
        let seen = world.store.execution(id).await.unwrap().unwrap();
        assert_eq!(seen.status, Status::Canceled);
        assert_eq!(seen.ending.unwrap().reason, "stuck");
        let waiting = world.store.stage(id, "2").await.unwrap().unwrap();
        assert_eq!(waiting.status, Status::Canceled);
        let machines = world.step_functions.runs();
        assert!(
            machines
                .values()
                .all(|run| run.run.status == MachineStatus::Aborted)
        );
        calls
    })
    .await;
}

#[tokio::test]
async fn only_a_pipeline_stage_that_says_so_is_skipped_as_a_whole() {
    let world = world().await;
    let answer = world.ask(json!({"stage": "2", "manualSkip": true})).await;
    assert_eq!(answer["problems"][0]["code"], "not-skippable");
    assert!(world.functions.invoked().is_empty());
}
