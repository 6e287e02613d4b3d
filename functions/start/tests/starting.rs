//! Executions start once, wait their turn, and begin anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::concurrency::{SUPERSEDED, promote};
use gennaker_cloud::{Store, User};
use gennaker_domain::{Ending, Execution, ExecutionId, Plan, StageRecord, Status};
use gennaker_start::Start;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryHttp, MemoryStepFunctions, MemorySts, MemoryTable, NamedCallers,
    at_every_call, sample,
};
use serde_json::{Value, json};

/// 2027-01-15T08:00:00Z
const NOW: i64 = 1_800_000_000_000;

struct World {
    faults: Faults,
    store: Store,
    step_functions: MemoryStepFunctions,
    start: Start,
}

async fn world(plan: &Plan) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(faults.clone());
    sample::save(&store, plan, &[]).await.unwrap();
    World {
        start: Start::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            Arc::new(functions),
            "g",
        )
        .with_callers(Arc::new(NamedCallers)),
        faults,
        store,
        step_functions,
    }
}

fn plan() -> Plan {
    sample::plan(json!([
        {"refId": "1", "type": "wait"},
        {"refId": "2", "type": "wait", "requisites": ["1"]},
        {"refId": "2<1", "type": "wait", "parent": "2", "owner": "STAGE_BEFORE"},
        {"refId": "3", "type": "wait"},
    ]))
}

fn one_at_a_time(keep_waiting: bool) -> Plan {
    Plan {
        limit_concurrent: true,
        keep_waiting_pipelines: keep_waiting,
        ..plan()
    }
}

fn id(n: i64) -> ExecutionId {
    ExecutionId::derive(n, &["test"])
}

fn request(n: i64) -> Value {
    json!({"executionId": id(n), "application": "shop", "pipeline": "RELEASE", "user": "ada"})
}

impl World {
    async fn execution(&self, n: i64) -> Execution {
        self.store.execution(&id(n)).await.unwrap().unwrap()
    }

    /// The execution ends, and whoever waits is looked at, as `finalize` does.
    async fn end(&self, n: i64, plan: &Plan) {
        let execution = self.execution(n).await;
        let run = execution.id.run(execution.run);
        assert!(
            self.store
                .settle(&run, Status::Succeeded, 50)
                .await
                .unwrap()
        );
        promote(&self.store, &self.step_functions, "p-1", plan, 60)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_crash_at_any_call_starts_the_execution_once() {
    for plan in [plan(), one_at_a_time(true)] {
        at_every_call(async |strike| {
            let world = world(&plan).await;
            let armed = strike.arm(&world.faults);
            armed
                .until_answered(async || world.start.start(&request(1), 10).await)
                .await;
            let calls = armed.finish();
            let execution = world.execution(1).await;
            assert_eq!(execution.status, Status::Running);
            assert_eq!(execution.run, 1);
            assert_eq!(
                world.step_functions.run_names(),
                [format!("{}-1", execution.id)]
            );
            assert!(world.store.queue("p-1").await.unwrap().is_empty());
            calls
        })
        .await;
    }
}

#[tokio::test]
async fn the_oldest_that_waits_runs_next() {
    let plan = one_at_a_time(true);
    let world = world(&plan).await;
    for n in 1..=3 {
        let answer = world.start.start(&request(n), n).await.unwrap();
        let expected = if n == 1 { "RUNNING" } else { "NOT_STARTED" };
        assert_eq!(answer["status"], expected);
    }
    assert_eq!(world.step_functions.runs().len(), 1);
    world.end(1, &plan).await;
    assert_eq!(world.execution(2).await.status, Status::Running);
    assert_eq!(world.execution(3).await.status, Status::NotStarted);
    world.end(2, &plan).await;
    assert_eq!(world.execution(3).await.status, Status::Running);
    assert_eq!(world.step_functions.runs().len(), 3);
}

#[tokio::test]
async fn the_newest_that_waits_runs_next_and_cancels_the_others_with_the_reason() {
    let plan = one_at_a_time(false);
    let world = world(&plan).await;
    for n in 1..=4 {
        world.start.start(&request(n), n).await.unwrap();
    }
    world.end(1, &plan).await;
    assert_eq!(world.execution(4).await.status, Status::Running);
    for n in [2, 3] {
        let superseded = world.execution(n).await;
        assert_eq!(superseded.status, Status::Canceled);
        assert_eq!(superseded.ending.unwrap().reason, SUPERSEDED);
    }
    assert_eq!(world.step_functions.runs().len(), 2);
    let running = world.store.running_executions(10).await.unwrap();
    assert_eq!(running.len(), 1);
}

#[tokio::test]
async fn one_that_a_person_canceled_while_it_waited_is_superseded_all_the_same() {
    let plan = one_at_a_time(false);
    let world = world(&plan).await;
    for n in 1..=3 {
        world.start.start(&request(n), n).await.unwrap();
    }
    let waiting = world.execution(2).await;
    let queue = world.store.queue("p-1").await.unwrap();
    let queued = queue.iter().find(|of| of.execution == waiting.id).unwrap();
    let ending = Ending {
        status: Status::Canceled,
        reason: "wrong image".to_owned(),
        by: "ann".to_owned(),
        at: 5,
    };
    let store = &world.store;
    assert!(
        store
            .cancel_queued(&waiting, queued, &ending, true)
            .await
            .unwrap()
    );
    world.end(1, &plan).await;
    assert_eq!(world.execution(3).await.status, Status::Running);
    let superseded = world.execution(2).await;
    assert_eq!(superseded.status, Status::Canceled);
    let ending = superseded.ending.unwrap();
    assert_eq!(
        (ending.reason.as_str(), ending.by.as_str()),
        (SUPERSEDED, "ann")
    );
    assert!(world.store.queue("p-1").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_promotion_leaves_exactly_one_running() {
    for keep_waiting in [true, false] {
        let plan = one_at_a_time(keep_waiting);
        at_every_call(async |strike| {
            let world = world(&plan).await;
            for n in 1..=3 {
                world.start.start(&request(n), n).await.unwrap();
            }
            let first = world.execution(1).await;
            let run = first.id.run(1);
            world
                .store
                .settle(&run, Status::Succeeded, 50)
                .await
                .unwrap();
            let armed = strike.arm(&world.faults);
            armed
                .until_answered(async || {
                    promote(&world.store, &world.step_functions, "p-1", &plan, 60).await
                })
                .await;
            let calls = armed.finish();
            let expected = if keep_waiting { 2 } else { 3 };
            let next = world.execution(expected).await;
            assert_eq!(next.status, Status::Running);
            // A launch that was lost is the sweep's: the run is stored, and its name starts it once.
            let _ = gennaker_cloud::concurrency::launch(&world.step_functions, &next)
                .await
                .unwrap();
            assert_eq!(world.step_functions.runs().len(), 2);
            let other = world.execution(5 - expected).await;
            let waits_or_canceled = if keep_waiting {
                Status::NotStarted
            } else {
                Status::Canceled
            };
            assert_eq!(other.status, waits_or_canceled);
            calls
        })
        .await;
    }
}

#[tokio::test]
async fn so_many_run_at_a_time_as_the_pipeline_says() {
    let plan = Plan {
        max_concurrent_executions: 2,
        keep_waiting_pipelines: true,
        ..plan()
    };
    let world = world(&plan).await;
    for n in 1..=4 {
        world.start.start(&request(n), n).await.unwrap();
    }
    assert_eq!(world.step_functions.runs().len(), 2);
    world.end(2, &plan).await;
    assert_eq!(world.step_functions.runs().len(), 3);
    assert_eq!(world.execution(4).await.status, Status::NotStarted);
}

#[tokio::test]
async fn a_manual_start_without_a_required_parameter_is_refused_and_an_event_is_not() {
    let plan = Plan {
        parameters: vec![
            json!({"name": "version", "required": true}),
            json!({"name": "region", "default": "eu"}),
        ],
        ..plan()
    };
    let world = world(&plan).await;
    let refused = world.start.start(&request(1), 1).await.unwrap();
    assert_eq!(refused["problems"][0]["code"], "missing-parameter");
    assert!(world.store.execution(&id(1)).await.unwrap().is_none());
    let mut given = request(2);
    given["trigger"] = json!({"parameters": {"version": "7"}});
    world.start.start(&given, 2).await.unwrap();
    let trigger = world.store.trigger(&id(2)).await.unwrap().unwrap();
    assert_eq!(
        trigger["parameters"],
        json!({"version": "7", "region": "eu"})
    );
    assert_eq!(trigger["type"], "manual");
    assert_eq!(trigger["user"], "ada");
    let mut event = request(3);
    event["trigger"] = json!({"type": "docker"});
    assert_eq!(
        world.start.start(&event, 3).await.unwrap()["status"],
        "RUNNING"
    );
}

#[tokio::test]
async fn an_unknown_pipeline_is_refused() {
    let world = world(&plan()).await;
    let mut unknown = request(1);
    unknown["pipeline"] = json!("nothing");
    assert_eq!(
        world.start.start(&unknown, 1).await.unwrap()["problems"][0]["code"],
        "unknown-pipeline"
    );
}

async fn ended(world: &World) {
    world.start.start(&request(1), 1).await.unwrap();
    for ref_id in ["1", "2", "2<1", "3"] {
        let mut record = StageRecord::not_started(ref_id);
        record.status = Status::Succeeded;
        world.store.settle_stage(&id(1), &record).await.unwrap();
    }
    let run = id(1).run(1);
    world.store.settle(&run, Status::Terminal, 9).await.unwrap();
}

#[tokio::test]
async fn a_crash_at_any_call_restarts_the_stage_and_what_follows_it_once() {
    for plan in [plan(), one_at_a_time(true)] {
        at_every_call(async |strike| {
            let world = world(&plan).await;
            ended(&world).await;
            let restart = json!({"restart": {"execution": id(1), "stage": "2", "afterRun": 1}});
            let armed = strike.arm(&world.faults);
            armed
                .until_answered(async || world.start.start(&restart, 20).await)
                .await;
            let calls = armed.finish();
            let execution = world.execution(1).await;
            assert_eq!(execution.status, Status::Running);
            assert_eq!(execution.run, 2);
            let records = world.store.stages(&id(1)).await.unwrap();
            let mut kept: Vec<&String> = records.keys().collect();
            kept.sort();
            assert_eq!(kept, ["1", "3"]);
            assert_eq!(world.step_functions.runs().len(), 2);
            calls
        })
        .await;
    }
}

#[tokio::test]
async fn a_stage_that_runs_cannot_be_restarted_and_one_beside_it_begins_a_new_run() {
    let world = world(&plan()).await;
    world.start.start(&request(1), 1).await.unwrap();
    let record = |ref_id: &str, status: Status| StageRecord {
        status,
        run: 1,
        start_time: Some(2),
        ..StageRecord::not_started(ref_id)
    };
    for (ref_id, status) in [("1", Status::FailedContinue), ("2", Status::Running)] {
        let record = record(ref_id, status);
        world.store.settle_stage(&id(1), &record).await.unwrap();
    }
    let restart = |stage: &str| json!({"restart": {"execution": id(1), "stage": stage}});
    let answer = world.start.start(&restart("2"), 3).await.unwrap();
    assert_eq!(answer["problems"][0]["code"], "stage-running");
    let answer = world.start.start(&restart("1"), 3).await.unwrap();
    assert_eq!(answer["run"], json!(id(1).run(2)), "{answer}");
    assert_eq!(world.store.stage(&id(1), "1").await.unwrap(), None);
    // What runs keeps its record, and its run.
    let runs_on = world.store.stage(&id(1), "2").await.unwrap().unwrap();
    assert_eq!((runs_on.status, runs_on.run), (Status::Running, 1));
}

#[tokio::test]
async fn under_evaluator_v3_the_pipeline_is_evaluated_once_before_the_execution_is_there() {
    let plan = Plan {
        spel_evaluator: "v3".to_owned(),
        ..sample::plan(json!([{"refId": "1", "type": "wait", "context": {
            "at": "${new java.util.Date().getTime()}", "who": "${trigger.user}", "later": "${execution.id}"}}]))
    };
    at_every_call(async |strike| {
        let world = world(&plan).await;
        let armed = strike.arm(&world.faults);
        let now = std::cell::Cell::new(0);
        armed
            .until_answered(async || {
                now.set(now.get() + 10);
                world.start.start(&request(1), now.get()).await
            })
            .await;
        let calls = armed.finish();
        world.start.start(&request(1), 1_000).await.unwrap();
        let processed = world.store.processed(&id(1)).await.unwrap().unwrap();
        let stage = &processed["stages"]["1"];
        assert_eq!(stage["context"]["who"], "ada");
        assert_eq!(stage["context"]["later"], "${execution.id}");
        assert_eq!(stage["unresolved"], json!(["/later"]));
        let at = stage["context"]["at"].as_i64().unwrap();
        assert!(at == 10 || at == 20, "the first one that was kept: {at}");
        calls
    })
    .await;
}

#[tokio::test]
async fn who_starts_by_hand_is_who_signed_and_a_push_says_itself_who_pushed() {
    let mut world = world(&plan()).await;
    let http = MemoryHttp::with_faults(world.faults.clone());
    let sts = MemorySts::serve(&http);
    world.start = world
        .start
        .with_callers(Arc::new(MemorySts::callers(&http, "g").await));
    let ada = User {
        name: "ada".to_owned(),
        arn: Some(MemorySts::arn("ada")),
        ..User::default()
    };
    ada.save(&world.store).await.unwrap();
    let user = async |n: i64| {
        let trigger = world.store.trigger(&id(n)).await.unwrap().unwrap();
        trigger["user"].as_str().unwrap().to_owned()
    };
    let start = ("g", "start");
    let signed = sts.signed("ada", start, &request(1), NOW).await;
    world.start.start(&signed, NOW).await.unwrap();
    assert_eq!(user(1).await, "ada");
    // A claim is nobody's name, wherever it is made.
    let mut claimed = request(2);
    claimed["trigger"] = json!({"type": "manual", "user": "ada"});
    world.start.start(&claimed, NOW).await.unwrap();
    assert_eq!(user(2).await, "unattributed");
    let mut push = request(3);
    push["trigger"] = json!({"type": "git", "user": "bob"});
    world.start.start(&push, NOW).await.unwrap();
    assert_eq!(user(3).await, "bob");
    // What was signed for one start starts no other.
    let mut other = signed.clone();
    other["executionId"] = json!(id(4));
    let refused = world.start.start(&other, NOW).await.unwrap();
    assert_eq!(refused["problems"][0]["code"], "caller-not-proven");
    let mut restart = json!({"restart": {"execution": id(1), "stage": "1"}});
    restart["caller"] = signed["caller"].clone();
    let refused = world.start.start(&restart, NOW).await.unwrap();
    assert_eq!(refused["problems"][0]["code"], "caller-not-proven");
    assert!(world.store.execution(&id(4)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_signed_start_starts_one_execution() {
    at_every_call(async |strike| {
        let mut world = world(&plan()).await;
        let http = MemoryHttp::with_faults(world.faults.clone());
        let sts = MemorySts::serve(&http);
        world.start = world
            .start
            .with_callers(Arc::new(MemorySts::callers(&http, "g").await));
        let event = sts.signed("ada", ("g", "start"), &request(1), NOW).await;
        let armed = strike.arm(&world.faults);
        for _ in 0..2 {
            let answer = armed
                .until_answered(async || world.start.start(&event, NOW).await)
                .await;
            assert_eq!(answer["status"], "RUNNING");
        }
        let calls = armed.finish();
        let trigger = world.store.trigger(&id(1)).await.unwrap().unwrap();
        assert_eq!(trigger["user"], MemorySts::arn("ada"));
        calls
    })
    .await;
}
