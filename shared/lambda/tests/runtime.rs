//! What happens around a step: against a table in memory, with a scripted stage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Store};
use gennaker_domain::{Ending, ExecutionId, Intent, Plan, PlanStage, Predecessor, Status};
use gennaker_lambda::{
    Call, Invocation, Refusal, Runtime, Stage, StageError, Step, Tell, Undo, Wake,
};
use gennaker_testkit::{Fault, Faults, MemoryTable, Moment, drive, sample};
use serde_json::{Map, Value, json};

/// Makes one thing in the world, under an intent; done when the thing is there.
#[derive(Default)]
struct MakeThing {
    things: Arc<Mutex<Vec<String>>>,
    undone: Arc<AtomicUsize>,
}

#[async_trait]
impl Stage for MakeThing {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        match invocation.context.get("answer").and_then(Value::as_str) {
            Some("wait until 50") if invocation.now < 50 => {
                return Ok(Step::waiting(invocation, "it is not 50 yet"));
            }
            Some("fail") => return Ok(Step::failed("the thing broke")),
            Some("wait") => return Ok(Step::waiting(invocation, "2 of 3 things healthy")),
            Some("panic") => panic!("a bug"),
            _ => {}
        }
        let name = format!("thing-{}", invocation.stage.ref_id);
        invocation
            .intend("make-thing", json!({ "name": name }))
            .await?;
        let there = self.things.lock().unwrap().contains(&name);
        if !there {
            self.things.lock().unwrap().push(name.clone());
        }
        invocation.done("make-thing").await?;
        Ok(Step::Succeeded {
            outputs: Map::from_iter([("thing".to_owned(), name.into())]),
            context: Map::new(),
        })
    }

    async fn undo(&self, _: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let name = intent.undo["name"].as_str().unwrap().to_owned();
        self.things.lock().unwrap().retain(|thing| *thing != name);
        self.undone.fetch_add(1, Ordering::Relaxed);
        Ok(Undo::Done {
            result: format!("{name} removed"),
        })
    }
}

#[derive(Default)]
struct Woken(Mutex<Vec<Value>>);

#[async_trait]
impl Wake for Woken {
    async fn wake(&self, event: Value) -> Result<(), CloudError> {
        self.0.lock().unwrap().push(event);
        Ok(())
    }
}

/// What was told; it fails where it is told to.
#[derive(Default)]
struct Told {
    occasions: Mutex<Vec<String>>,
    fails: AtomicBool,
}

#[async_trait]
impl Tell for Told {
    async fn tell(&self, occasion: Value) -> Result<(), CloudError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(CloudError::Conflict);
        }
        let text = |name: &str| occasion[name].as_str().unwrap().to_owned();
        let line = format!(
            "{} {} of run {}",
            text("stage"),
            text("when"),
            occasion["run"]
        );
        self.occasions.lock().unwrap().push(line);
        Ok(())
    }
}

struct World {
    told: Arc<Told>,
    runtime: Runtime<MakeThing>,
    store: Store,
    things: Arc<Mutex<Vec<String>>>,
    undone: Arc<AtomicUsize>,
    woken: Arc<Woken>,
    faults: Faults,
    id: ExecutionId,
}

fn stage(ref_id: &str, requisites: &[&str], context: Value) -> PlanStage {
    let predecessor = |r: &&str| Predecessor {
        ref_id: (*r).to_owned(),
        whole: true,
    };
    PlanStage {
        name: format!("Stage {ref_id}"),
        requisites: requisites.iter().map(|r| (*r).to_owned()).collect(),
        starts_after: requisites.iter().map(predecessor).collect(),
        ..drive::stage(ref_id, "wait", "wait", context)
    }
}

async fn world(stages: Vec<PlanStage>) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let plan = Plan {
        stages,
        ..sample::plan(json!([]))
    };
    let id = ExecutionId::derive(1, &["event"]);
    let trigger = json!({ "parameters": { "tag": "v7" } });
    sample::started_by(&store, &plan, id.clone(), &trigger, 1)
        .await
        .unwrap();
    let stage = MakeThing::default();
    let (things, undone) = (Arc::clone(&stage.things), Arc::clone(&stage.undone));
    let woken = Arc::new(Woken::default());
    let runtime = Runtime::new(
        stage,
        store.clone(),
        Arc::clone(&woken) as Arc<dyn Wake>,
        "gennaker",
    );
    let told = Arc::new(Told::default());
    let runtime = runtime.telling(Arc::clone(&told) as Arc<dyn Tell>);
    World {
        told,
        runtime,
        store,
        things,
        undone,
        woken,
        faults,
        id,
    }
}

impl World {
    async fn call_at(&self, stage: &str, now: i64) -> Result<(), Refusal> {
        self.event_at(json!({ "run": self.id.run(1), "stage": stage }), now)
            .await
    }

    async fn event_at(&self, event: Value, now: i64) -> Result<(), Refusal> {
        let call = Call {
            event,
            request_id: format!("request-{now}"),
            deadline: now + 60_000,
            now,
        };
        self.runtime.handle(&call).await
    }

    async fn pause(&self, at: i64) {
        let set = self.store.set_paused(&self.id, true, "ada", at).await;
        assert!(set.unwrap());
    }

    async fn resume(&self, at: i64) {
        let set = self.store.set_paused(&self.id, false, "bob", at).await;
        assert!(set.unwrap());
    }

    async fn record(&self, stage: &str) -> gennaker_domain::StageRecord {
        self.store.stage(&self.id, stage).await.unwrap().unwrap()
    }

    async fn status(&self, stage: &str) -> Status {
        self.store
            .stage(&self.id, stage)
            .await
            .unwrap()
            .map_or(Status::NotStarted, |record| record.status)
    }
}

#[tokio::test]
async fn a_stage_that_succeeds_stores_its_outputs_and_answers_ok_ever_after() {
    let world = world(vec![stage("1", &[], json!({}))]).await;
    world.call_at("1", 10).await.unwrap();
    world.call_at("1", 20).await.unwrap();
    let record = world.store.stage(&world.id, "1").await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.start_time, record.end_time),
        (Status::Succeeded, Some(10), Some(10))
    );
    assert_eq!(record.outputs["thing"], "thing-1");
    assert_eq!(*world.things.lock().unwrap(), ["thing-1"]);
}

#[tokio::test]
async fn waiting_is_an_error_whose_name_slows_down_with_the_wait() {
    let world = world(vec![stage("1", &[], json!({ "answer": "wait" }))]).await;
    for (now, name) in [
        (0, "Waiting10s"),
        (599_999, "Waiting10s"),
        (600_000, "Waiting1m"),
        (7_200_000, "Waiting10m"),
    ] {
        let refusal = world.call_at("1", now).await.unwrap_err();
        assert_eq!(
            (refusal.name, refusal.message.as_str()),
            (name, "2 of 3 things healthy")
        );
    }
    assert_eq!(
        world
            .store
            .stage(&world.id, "1")
            .await
            .unwrap()
            .unwrap()
            .attempts,
        4
    );
}

#[tokio::test]
async fn a_halt_sets_ending_before_the_error_and_nothing_new_begins() {
    let world = world(vec![
        stage("1", &[], json!({ "answer": "fail" })),
        stage("2", &[], json!({})),
    ])
    .await;
    assert_eq!(
        world.call_at("1", 10).await.unwrap_err().name,
        "StageFailed"
    );
    let ending = world
        .store
        .execution(&world.id)
        .await
        .unwrap()
        .unwrap()
        .ending
        .unwrap();
    assert_eq!((ending.status, ending.by.as_str()), (Status::Terminal, "1"));
    assert!(
        ending.reason.contains("the thing broke"),
        "{}",
        ending.reason
    );
    // A straggler of another branch answers Ok, never an error.
    world.call_at("2", 20).await.unwrap();
    assert!(world.things.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stopped_branch_stops_its_dependants_and_nothing_else() {
    let world = world(vec![
        stage("1", &[], json!({ "answer": "fail", "failPipeline": false })),
        stage("2", &["1"], json!({})),
        stage("3", &["2"], json!({})),
        stage("4", &[], json!({})),
    ])
    .await;
    for stage in ["1", "2", "3", "4"] {
        world.call_at(stage, 10).await.unwrap();
    }
    assert_eq!(world.status("1").await, Status::Stopped);
    assert_eq!(world.status("2").await, Status::NotStarted);
    assert_eq!(world.status("3").await, Status::NotStarted);
    assert_eq!(world.status("4").await, Status::Succeeded);
    assert!(
        world
            .store
            .execution(&world.id)
            .await
            .unwrap()
            .unwrap()
            .ending
            .is_none()
    );
}

#[tokio::test]
async fn an_ignored_failure_lets_dependants_run() {
    let world = world(vec![
        stage(
            "1",
            &[],
            json!({ "answer": "fail", "continuePipeline": true }),
        ),
        stage("2", &["1"], json!({})),
    ])
    .await;
    world.call_at("1", 10).await.unwrap();
    world.call_at("2", 20).await.unwrap();
    assert_eq!(
        (world.status("1").await, world.status("2").await),
        (Status::FailedContinue, Status::Succeeded)
    );
}

#[tokio::test]
async fn an_overlapping_invocation_waits_and_a_dead_one_is_taken_over() {
    let world = world(vec![stage("1", &[], json!({}))]).await;
    let lease = gennaker_domain::Lease {
        holder: "somebody".to_owned(),
        until: 1_000,
    };
    world
        .store
        .take_lease(&world.id.run(1), "1", &lease, 0)
        .await
        .unwrap();
    let refusal = world.call_at("1", 999).await.unwrap_err();
    assert_eq!(refusal.name, "Waiting10s");
    assert!(refusal.message.contains("somebody"));
    world.call_at("1", 1_000).await.unwrap();
    assert_eq!(world.status("1").await, Status::Succeeded);
}

#[tokio::test]
async fn another_run_and_a_paused_execution_do_nothing() {
    let world = world(vec![stage("1", &[], json!({}))]).await;
    world
        .event_at(json!({ "run": world.id.run(2), "stage": "1" }), 5)
        .await
        .unwrap();
    world.pause(5).await;
    assert_eq!(
        world.call_at("1", 10).await.unwrap_err().message,
        "the execution is paused"
    );
    world.resume(15).await;
    assert!(world.things.lock().unwrap().is_empty());
    world.call_at("1", 20).await.unwrap();
}

#[tokio::test]
async fn a_stage_that_takes_too_long_fails_or_succeeds_as_it_says() {
    let world = world(vec![
        stage(
            "1",
            &[],
            json!({ "answer": "wait", "stageTimeoutMs": 1_000, "continuePipeline": true }),
        ),
        stage(
            "2",
            &[],
            json!({ "answer": "wait", "stageTimeoutMs": 1_000, "markSuccessfulOnTimeout": true }),
        ),
    ])
    .await;
    for (now, waits) in [(0, true), (1_000, true), (1_001, false)] {
        for stage in ["1", "2"] {
            assert_eq!(
                world.call_at(stage, now).await.is_err(),
                waits,
                "{stage} at {now}"
            );
        }
    }
    assert_eq!(
        (world.status("1").await, world.status("2").await),
        (Status::FailedContinue, Status::Succeeded)
    );
}

#[tokio::test]
async fn a_pause_is_looked_at_the_more_seldom_the_longer_it_lasts() {
    const MINUTE: i64 = 60_000;
    let world = world(vec![stage("1", &[], json!({}))]).await;
    world.pause(0).await;
    for (at, name) in [
        (1_000, "Waiting10s"),
        (11 * MINUTE, "Waiting1m"),
        (121 * MINUTE, "Waiting10m"),
    ] {
        assert_eq!(world.call_at("1", at).await.unwrap_err().name, name);
    }
}

#[tokio::test]
async fn pauses_do_not_count_towards_a_time_out() {
    let limited = json!({ "answer": "wait", "stageTimeoutMs": 60_000 });
    let world = world(vec![stage("1", &[], limited)]).await;
    let waits = async |now| world.call_at("1", now).await.unwrap_err().name != "StageFailed";
    assert!(waits(0).await);
    world.pause(10_000).await;
    assert!(
        waits(500_000).await,
        "long past its time-out, which does not run"
    );
    world.resume(510_000).await;
    assert!(waits(520_000).await);
    world.pause(520_000).await;
    world.resume(530_000).await;
    assert!(waits(570_000).await, "60 s less two pauses have passed");
    assert!(!waits(570_001).await);
    assert!(
        world
            .record("1")
            .await
            .failure
            .unwrap()
            .reason
            .contains("time-out of 60000 ms"),
        "and then it is over"
    );
}

#[tokio::test]
async fn a_pause_before_a_stage_began_does_not_give_it_more_time() {
    let limited = json!({ "answer": "wait", "stageTimeoutMs": 60_000 });
    let world = world(vec![stage("1", &[], limited)]).await;
    world.pause(1_000).await;
    world.resume(100_000).await;
    let refusal = world.call_at("1", 100_000).await.unwrap_err();
    assert_eq!(refusal.name, "Waiting10s");
    let refusal = world.call_at("1", 160_001).await.unwrap_err();
    assert_eq!(refusal.name, "StageFailed");
}

#[tokio::test]
async fn a_task_that_would_sleep_past_a_time_out_that_a_pause_moved_polls() {
    let mut sleeper = stage(
        "1",
        &[],
        json!({ "answer": "wait", "stageTimeoutMs": 60_000 }),
    );
    sleeper.woken = true;
    let world = world(vec![sleeper]).await;
    let by_step_functions = async |now| {
        let event = json!({ "run": world.id.run(1), "stage": "1", "token": format!("t-{now}") });
        world.event_at(event, now).await
    };
    assert_eq!(by_step_functions(0).await, Ok(()), "sleeps");
    world.pause(20_000).await;
    let looks = by_step_functions(60_000).await.unwrap_err();
    assert_eq!(looks.name, "Waiting10s", "its Task's own time is over");
    world.resume(65_000).await;
    assert_eq!(
        world.call_at("1", 65_000).await,
        Ok(()),
        "who resumes it is told nothing else"
    );
    let looks = by_step_functions(70_000).await.unwrap_err();
    assert_eq!(
        (looks.name, looks.message.as_str()),
        ("Waiting10s", "2 of 3 things healthy")
    );
    assert_eq!(world.record("1").await.lease, None);
    assert_eq!(
        by_step_functions(106_000).await,
        Ok(()),
        "45 s did not count"
    );
    assert_eq!(world.status("1").await, Status::Terminal);
}

#[tokio::test]
async fn a_sleeping_task_is_woken_by_its_record_and_joins_by_the_last_requisite() {
    let mut sleeper = stage("1", &[], json!({}));
    sleeper.woken = true;
    sleeper.opens = vec!["3".to_owned()];
    let mut other = stage("2", &[], json!({}));
    other.opens = vec!["3".to_owned()];
    let world = world(vec![sleeper, other, stage("3", &["1", "2"], json!({}))]).await;
    let run = world.id.run(1);
    world
        .event_at(json!({ "run": run, "stage": "1", "token": "secret" }), 10)
        .await
        .unwrap();
    assert_eq!(
        *world.woken.0.lock().unwrap(),
        [json!({ "run": run, "stage": "1" })]
    );
    assert_eq!(
        world.store.token(&run, "1").await.unwrap().as_deref(),
        Some("secret")
    );
    world.call_at("2", 20).await.unwrap();
    assert_eq!(
        world.woken.0.lock().unwrap().last().unwrap(),
        &json!({ "run": run, "joins": ["3"] })
    );
}

#[tokio::test]
async fn nothing_is_announced_once_the_execution_is_ending() {
    let world = world(vec![stage("1", &[], json!({}))]).await;
    let ending = Ending {
        status: Status::Canceled,
        reason: "no".to_owned(),
        by: "ada".to_owned(),
        at: 5,
    };
    assert!(
        world
            .store
            .set_ending(&world.id.run(1), &ending)
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .set_ending(&world.id.run(1), &ending)
            .await
            .unwrap(),
        "only the first counts"
    );
    world.call_at("1", 10).await.unwrap();
    assert!(world.things.lock().unwrap().is_empty());
    assert!(world.store.intents(&world.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_undo_takes_the_intent_back_once() {
    let world = world(vec![stage("1", &[], json!({}))]).await;
    world.call_at("1", 10).await.unwrap();
    let event = json!({ "run": world.id.run(1), "stage": "1", "undo": "make-thing" });
    world.event_at(event.clone(), 20).await.unwrap();
    world.event_at(event, 30).await.unwrap();
    assert!(world.things.lock().unwrap().is_empty());
    assert_eq!(world.undone.load(Ordering::Relaxed), 1);
    assert_eq!(
        world.store.intents(&world.id).await.unwrap()[0]
            .result
            .as_deref(),
        Some("thing-1 removed")
    );
}

#[tokio::test]
async fn a_panic_has_a_stable_name_and_is_tried_again() {
    let world = world(vec![stage("1", &[], json!({ "answer": "panic" }))]).await;
    assert_eq!(world.call_at("1", 10).await.unwrap_err().name, "Unexpected");
}

#[tokio::test]
async fn a_crash_at_any_call_loses_nothing_and_makes_nothing_twice() {
    let calls = {
        let world = world(vec![stage("1", &[], json!({}))]).await;
        let before = world.faults.calls().len();
        world.call_at("1", 10).await.unwrap();
        before..world.faults.calls().len()
    };
    assert!(
        calls.len() >= 7,
        "the recorded run has its reads, lease, intent and record: {calls:?}"
    );
    let mut struck = 0;
    for call in calls {
        for moment in [Moment::Before, Moment::After] {
            for fault in [Fault::Crash, Fault::NoAnswer] {
                let world = world(vec![stage("1", &[], json!({}))]).await;
                world.faults.plan(call, moment, fault);
                // Step Functions calls again until it hears Ok; a lease that a dead invocation left runs out.
                let mut now = 10;
                while world.call_at("1", now).await.is_err() {
                    world.faults.revive();
                    now += 10_000;
                    assert!(
                        now < 300_000,
                        "never ends after {fault:?} {moment:?} call {call}"
                    );
                }
                struck += world.faults.struck();
                assert_eq!(
                    *world.things.lock().unwrap(),
                    ["thing-1"],
                    "{fault:?} {moment:?} call {call}"
                );
                assert_eq!(world.status("1").await, Status::Succeeded);
                let intents = world.store.intents(&world.id).await.unwrap();
                assert!(
                    intents.len() == 1 && intents[0].done,
                    "{fault:?} {moment:?} call {call}"
                );
            }
        }
    }
    assert!(struck > 20, "the faults struck: {struck}");
}

#[tokio::test]
async fn expressions_see_the_trigger_and_what_ancestors_made() {
    let world = world(vec![
        stage("1", &[], json!({})),
        stage(
            "2",
            &["1"],
            json!({ "stageEnabled": { "type": "expression", "expression": "false" } }),
        ),
        stage("3", &["2"], json!({ "note": "${parameters.tag} ${thing}" })),
    ])
    .await;
    for stage in ["1", "2", "3"] {
        world.call_at(stage, 10).await.unwrap();
    }
    assert_eq!(world.status("2").await, Status::Skipped);
    let record = world.store.stage(&world.id, "3").await.unwrap().unwrap();
    assert_eq!(record.context["note"], "v7 thing-1");
}

#[tokio::test]
async fn a_failed_expression_fails_the_stage_whatever_its_policy_if_it_says_so() {
    let world = world(vec![stage(
        "1",
        &[],
        json!({ "failOnFailedExpressions": true, "continuePipeline": true, "note": "${nosuchthing.here}" }),
    )])
    .await;
    assert_eq!(
        world.call_at("1", 10).await.unwrap_err().name,
        "StageFailed"
    );
    assert_eq!(world.status("1").await, Status::Terminal);
}

#[tokio::test]
async fn a_stages_start_and_end_are_told_in_their_run_and_again_by_a_retry() {
    let world = world(vec![stage("1", &[], json!({}))]).await;
    world.call_at("1", 10).await.unwrap();
    world.call_at("1", 20).await.unwrap();
    let told = world.told.occasions.lock().unwrap().clone();
    let end = "1 stage.complete of run 1";
    assert_eq!(told, ["1 stage.starting of run 1", end, end]);
}

#[tokio::test]
async fn polls_tell_nothing_and_nobody_to_tell_stops_nothing() {
    let world = world(vec![stage("1", &[], json!({"answer": "wait until 50"}))]).await;
    world.told.fails.store(true, Ordering::Relaxed);
    assert!(world.call_at("1", 10).await.is_err());
    world.told.fails.store(false, Ordering::Relaxed);
    assert!(world.call_at("1", 20).await.is_err());
    assert!(world.told.occasions.lock().unwrap().is_empty());
    world.call_at("1", 60).await.unwrap();
    let told = world.told.occasions.lock().unwrap().clone();
    assert_eq!(told, ["1 stage.complete of run 1"]);
}
