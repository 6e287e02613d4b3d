//! A parent and its child, through the real `start`, `decide` and `finalize`: one child whatever dies, no child that outlives
//! its parent, no end that is not heard.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Store;
use gennaker_decide::Decide;
use gennaker_domain::child::MONITOR_LIMIT_MILLIS;
use gennaker_domain::{Execution, ExecutionId, Plan, StageRecord, Status};
use gennaker_finalize::Finalize;
use gennaker_lambda::{Function, FunctionError, Runtime};
use gennaker_pipeline::Pipeline;
use gennaker_start::Start;
use gennaker_testkit::{
    Behaviour, Drive, End, MemoryFunctions, MemoryStepFunctions, Strike, drive, fault_everywhere,
    sample,
};
use serde_json::{Value, json};

struct World {
    drive: Arc<Drive>,
    functions: MemoryFunctions,
    step_functions: MemoryStepFunctions,
    runtime: Arc<Runtime<Pipeline>>,
    finalize: Arc<Finalize>,
}

/// The stage as its function is: what the child's end calls.
struct StageFunction {
    drive: Arc<Drive>,
    runtime: Arc<Runtime<Pipeline>>,
}

#[async_trait]
impl Function for StageFunction {
    async fn handle(&self, event: Value, _now: i64) -> Result<Value, FunctionError> {
        match self.drive.call(&self.runtime, &event).await {
            None => Ok(json!({})),
            Some((_, message)) => {
                // Lambda calls again after a minute, when the lease of what died is over.
                self.drive.world.advance(60_000);
                Err(FunctionError::Invalid(message))
            }
        }
    }
}

fn child_plan() -> Plan {
    Plan {
        application: "down".to_owned(),
        pipeline: "child".to_owned(),
        pipeline_id: "p-2".to_owned(),
        parameters: vec![
            json!({"name": "size", "default": "1"}),
            json!({"name": "color", "default": "blue"}),
        ],
        ..sample::plan(json!([{"refId": "1", "type": "wait"}, {"refId": "2", "type": "wait"}]))
    }
}

async fn world(context: Value, child: &Plan) -> World {
    let mut all =
        json!({"application": "down", "pipeline": "p-2", "pipelineParameters": {"size": 3}});
    all.as_object_mut()
        .unwrap()
        .extend(context.as_object().unwrap().clone());
    let mut stage = drive::stage("1", "pipeline", "pipeline", all);
    stage.woken = true;
    let drive = Drive::new(Behaviour::default(), vec![stage]).await.unwrap();
    let drive = Arc::new(drive);
    sample::save(&drive.store(), child, &[]).await.unwrap();
    let store = Store::new(Arc::new(drive.table.clone()));
    let step_functions = MemoryStepFunctions::with_faults(drive.faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(drive.faults.clone());
    let shared: Arc<MemoryFunctions> = Arc::new(functions.clone());
    let machines = Arc::new(step_functions.clone());
    let runtime = Arc::new(drive.runtime(Pipeline::new(shared.clone())));
    let finalize = Arc::new(Finalize::new(
        store.clone(),
        machines.clone(),
        shared.clone(),
        "gennaker",
    ));
    functions.serve(
        "gennaker-start:live",
        Arc::new(Start::new(
            store.clone(),
            machines.clone(),
            shared.clone(),
            "gennaker",
        )),
    );
    functions.serve(
        "gennaker-decide:live",
        Arc::new(Decide::new(store, machines, shared, "gennaker")),
    );
    functions.serve("gennaker-finalize:live", finalize.clone());
    functions.serve(
        "gennaker-pipeline:live",
        Arc::new(StageFunction {
            drive: drive.clone(),
            runtime: runtime.clone(),
        }),
    );
    functions.set_now(drive.world.now());
    World {
        drive,
        functions,
        step_functions,
        runtime,
        finalize,
    }
}

impl World {
    async fn step(&self) -> End {
        self.drive.to_end(&self.runtime, "1").await
    }

    async fn record(&self) -> StageRecord {
        self.drive.records().await.unwrap().remove("1").unwrap()
    }

    /// Children in the order of their ids.
    async fn children(&self) -> Vec<Execution> {
        let store = self.drive.store();
        store.executions_of_pipeline("p-2", 10).await.unwrap()
    }

    async fn child(&self) -> Execution {
        let mut children = self.children().await;
        assert_eq!(children.len(), 1, "one child");
        children.remove(0)
    }

    async fn finish_stage(&self, id: &ExecutionId, ref_id: &str, status: Status, outputs: Value) {
        let mut record = StageRecord::not_started(ref_id);
        record.status = status;
        record.run = 1;
        record.outputs = outputs.as_object().unwrap().clone();
        if status == Status::Terminal {
            let exception = json!({"details": {"errors": ["no capacity"]}});
            record.context.insert("exception".to_owned(), exception);
        }
        self.drive.store().settle_stage(id, &record).await.unwrap();
    }

    /// The child's machine has ended: `finalize` settles it, and what it invokes is called, until nobody invokes anything.
    async fn end_child(&self, machine: &str) {
        let child = self.child().await;
        let event =
            json!({"run": child.id.run(child.run), "status": machine, "cause": "", "failed": {}});
        self.until_done(&event).await;
        self.deliver().await;
    }

    async fn until_done(&self, event: &Value) {
        for _ in 0..20 {
            let answer = self.finalize.turn(event, self.drive.world.now()).await;
            self.drive.faults.revive();
            if answer.is_ok_and(|answer| answer["done"] == true) {
                return;
            }
        }
        panic!("finalize never ends");
    }

    async fn deliver(&self) {
        self.functions.set_now(self.drive.world.now());
        let mut delivered = 0;
        loop {
            let all = self.functions.deliver(delivered).await;
            if all == delivered {
                return;
            }
            delivered = all;
        }
    }

    /// The parent ends, as somebody cancels it.
    async fn end_parent(&self) -> End {
        self.drive.undo(&self.runtime, "1").await.unwrap()
    }
}

#[tokio::test]
async fn whatever_dies_one_child_is_started_and_its_end_is_heard() {
    let scenario = |fault: Option<Strike>| async move {
        let world = world(json!({}), &child_plan()).await;
        let first = world.drive.faults.arm(fault);
        assert_eq!(world.step().await, End::Done, "{fault:?}");
        let child = world.child().await;
        assert_eq!(child.status, Status::Running, "{fault:?}");
        assert_eq!(
            world.step_functions.run_names(),
            [child.id.run(1).to_string()],
            "{fault:?}"
        );
        assert_eq!(world.record().await.status, Status::Running, "{fault:?}");
        world
            .finish_stage(&child.id, "1", Status::Succeeded, json!({"x": 1}))
            .await;
        world
            .finish_stage(&child.id, "2", Status::Succeeded, json!({"x": 2, "y": [1]}))
            .await;
        world.end_child("SUCCEEDED").await;
        let record = world.record().await;
        assert_eq!(record.status, Status::Succeeded, "{fault:?}");
        assert_eq!(record.outputs["x"], 2);
        assert_eq!(record.context["executionId"], child.id.to_string());
        assert_eq!(record.context["executionName"], "child");
        assert_eq!(record.context["status"], "SUCCEEDED");
        let open = world.drive.store().open_executions(10).await.unwrap();
        assert!(open.iter().all(|one| one.id != child.id), "followed up");
        world.drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 90);
}

#[tokio::test]
async fn whatever_dies_no_child_outlives_its_parent() {
    let scenario = |fault: Option<Strike>| async move {
        let world = world(json!({}), &child_plan()).await;
        let first = world.drive.faults.arm(fault);
        let event = json!({ "run": world.drive.run(), "stage": "1" });
        // One call, which may die anywhere; then the parent is canceled.
        let _ = world.drive.call(&world.runtime, &event).await;
        let calls = world.drive.faults.calls().len() - first;
        assert_eq!(world.end_parent().await, End::Done, "{fault:?}");
        for child in world.children().await {
            let ending = child
                .ending
                .unwrap_or_else(|| panic!("{fault:?}: the child runs on"));
            assert_eq!(ending.status, Status::Canceled);
            assert_eq!(ending.by, "parent pipeline");
        }
        // A straggler of the same run starts nothing either.
        let before = world.children().await.len();
        let request = json!({"executionId": ExecutionId::derive(9, &["late"]), "pipeline": "p-2",
            "parent": {"execution": world.drive.run().execution, "run": 1, "stage": "1"}});
        let store = Store::new(Arc::new(world.drive.table.without_faults()));
        let machines = Arc::new(MemoryStepFunctions::new());
        let late = Start::new(
            store,
            machines,
            Arc::new(MemoryFunctions::new()),
            "gennaker",
        );
        let answer = late.start(&request, 9).await.unwrap();
        assert_eq!(answer["problems"][0]["code"], "parent-ending", "{answer}");
        assert_eq!(world.children().await.len(), before);
        calls
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn a_failed_child_fails_the_stage_with_its_errors_and_where_they_come_from() {
    let world = world(json!({}), &child_plan()).await;
    assert_eq!(world.step().await, End::Done);
    let child = world.child().await;
    world
        .finish_stage(&child.id, "1", Status::Terminal, json!({}))
        .await;
    world.end_child("FAILED").await;
    let record = world.record().await;
    assert_eq!(record.status, Status::Terminal);
    let failure = record.failure.unwrap().reason;
    assert!(
        failure.ends_with("Exception in child pipeline stage (child: wait): no capacity"),
        "{failure}"
    );
    let source = &record.context["exception"]["source"];
    assert_eq!(source["executionId"], child.id.to_string());
    assert_eq!(source["stageIndex"], 0);
    let parent = &world.drive.run().execution;
    let parent = world
        .drive
        .store()
        .execution(parent)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(parent.ending.unwrap().status, Status::Terminal);
}

#[tokio::test]
async fn a_child_that_is_canceled_in_its_queue_cancels_the_stage() {
    let limited = Plan {
        limit_concurrent: true,
        keep_waiting_pipelines: true,
        ..child_plan()
    };
    let world = world(json!({}), &limited).await;
    // Somebody else has the slot.
    let store = world.drive.store();
    let start = Start::new(
        store.clone(),
        Arc::new(world.step_functions.clone()),
        Arc::new(MemoryFunctions::new()),
        "gennaker",
    );
    let other = json!({"application": "down", "pipeline": "p-2", "user": "ada"});
    start.start(&other, 5).await.unwrap();
    assert_eq!(world.step().await, End::Done);
    let children = world.children().await;
    let child = children.iter().find(|one| one.build_time != 5).unwrap();
    assert_eq!(child.status, Status::NotStarted);
    assert!(
        world
            .record()
            .await
            .waiting
            .unwrap()
            .contains("NOT_STARTED")
    );
    let decide = Decide::new(
        store,
        Arc::new(world.step_functions.clone()),
        Arc::new(world.functions.clone()),
        "gennaker",
    );
    let cancel = json!({"execution": child.id, "cancel": true, "user": "ada"});
    decide.decide(&cancel, 6).await.unwrap();
    world.deliver().await;
    let record = world.record().await;
    assert_eq!(record.status, Status::Canceled);
    assert_eq!(
        record.failure.unwrap().reason,
        "At least one monitored pipeline was cancelled"
    );
}

#[tokio::test]
async fn a_stage_that_does_not_wait_is_done_at_once_and_its_child_runs_on() {
    let world = world(json!({"waitForCompletion": "False"}), &child_plan()).await;
    assert_eq!(world.step().await, End::Done);
    let record = world.record().await;
    assert_eq!(record.status, Status::Succeeded);
    let child = world.child().await;
    assert_eq!(record.context["executionId"], child.id.to_string());
    assert_eq!(world.end_parent().await, End::Done);
    assert_eq!(world.child().await.ending, None);
}

#[tokio::test]
async fn the_child_gets_parameters_its_parent_and_its_place() {
    let world = world(json!({"waitForCompletion": false}), &child_plan()).await;
    world.step().await;
    let child = world.child().await;
    let parent = world.drive.run().execution.to_string();
    let trigger = world
        .drive
        .store()
        .trigger(&child.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(trigger["type"], "pipeline");
    assert_eq!(trigger["parameters"], json!({"size": 3, "color": "blue"}));
    assert_eq!(trigger["parentExecution"]["id"], parent);
    assert_eq!(trigger["parentExecution"]["name"], "release");
    assert_eq!(trigger["parentPipelineStageId"], format!("{parent}-1"));
    assert_eq!(trigger["user"], "[anonymous]");
}

#[tokio::test]
async fn a_pipeline_that_is_not_there_or_disabled_fails_the_stage_in_orcas_words() {
    for (context, expected) in [
        (
            json!({"pipeline": "nope"}),
            "The referenced pipeline cannot be located (nope)",
        ),
        (
            json!({"pipeline": ""}),
            "the stage names no pipeline (`pipeline`)",
        ),
    ] {
        let world = world(context, &child_plan()).await;
        let _ = world.step().await;
        let record = world.record().await;
        assert_eq!(record.status, Status::Terminal);
        assert_eq!(record.failure.unwrap().reason, expected);
    }
}

#[tokio::test]
async fn a_pipeline_is_found_by_its_id_in_whatever_application_it_is() {
    let world = world(json!({"application": "elsewhere"}), &child_plan()).await;
    assert_eq!(world.step().await, End::Done);
    assert_eq!(world.child().await.application, "down");
}

#[tokio::test]
async fn pipelines_that_start_each_other_without_end_are_stopped() {
    let world = world(json!({}), &child_plan()).await;
    let deep = json!({"type": "pipeline", "parentExecution": {"id": "x", "depth": 32}});
    let store = world.drive.store();
    let id = &world.drive.run().execution;
    let item = json!({ "trigger": deep.to_string() });
    let write = gennaker_cloud::Write::put(
        gennaker_cloud::Key::trigger(id),
        item.as_object().unwrap().clone(),
    );
    store.table().write(write).await.unwrap();
    let _ = world.step().await;
    let failure = world.record().await.failure.unwrap().reason;
    assert!(failure.contains("without end"), "{failure}");
    assert!(world.children().await.is_empty());
}

#[tokio::test]
async fn a_time_out_cancels_the_child_unless_the_failure_is_ignored() {
    for (more, canceled, status) in [
        (
            json!({"stageTimeoutMs": 60_000, "failPipeline": false}),
            true,
            Status::Stopped,
        ),
        (
            json!({"stageTimeoutMs": 60_000, "continuePipeline": true}),
            false,
            Status::FailedContinue,
        ),
    ] {
        let world = world(more, &child_plan()).await;
        assert_eq!(world.step().await, End::Done);
        world.drive.world.advance(60_001);
        world.functions.set_now(world.drive.world.now());
        let _ = world.step().await;
        assert_eq!(world.record().await.status, status);
        assert_eq!(world.child().await.ending.is_some(), canceled);
    }
}

#[tokio::test]
async fn a_child_that_runs_for_twelve_hours_fails_the_stage_and_is_canceled() {
    let world = world(json!({}), &child_plan()).await;
    assert_eq!(world.step().await, End::Done);
    world.drive.world.advance(MONITOR_LIMIT_MILLIS - 1_000);
    assert_eq!(world.step().await, End::Done);
    assert_eq!(world.record().await.status, Status::Running);
    world.drive.world.advance(1_000);
    let _ = world.step().await;
    assert_eq!(world.record().await.status, Status::Terminal);
    assert!(world.child().await.ending.is_some());
}

#[tokio::test]
async fn a_person_may_skip_a_stage_that_allows_it() {
    let world = world(json!({"skippable": true}), &child_plan()).await;
    assert_eq!(world.step().await, End::Done);
    let store = world.drive.store();
    store
        .skip_whole_stage(world.drive.run(), "1", "ada", 5)
        .await
        .unwrap();
    assert_eq!(world.step().await, End::Done);
    assert_eq!(world.record().await.status, Status::Skipped);
    assert_eq!(world.child().await.ending, None, "it runs on");
}

#[tokio::test]
async fn outputs_are_left_to_the_child_where_the_stage_says_so() {
    let world = world(json!({"skipDownstreamOutput": "true"}), &child_plan()).await;
    assert_eq!(world.step().await, End::Done);
    let child = world.child().await;
    for ref_id in ["1", "2"] {
        world
            .finish_stage(&child.id, ref_id, Status::Succeeded, json!({"x": 1}))
            .await;
    }
    world.end_child("SUCCEEDED").await;
    let record = world.record().await;
    assert_eq!(record.status, Status::Succeeded);
    assert!(record.outputs.is_empty());
}

#[tokio::test]
async fn what_the_stage_expects_is_bound_to_what_the_child_made() {
    let expected =
        json!([{"id": "e", "matchArtifact": {"type": "docker/image", "name": "shop/web"}}]);
    for (name, status) in [
        ("shop/web", Status::Succeeded),
        ("shop/api", Status::Terminal),
    ] {
        let world = world(json!({"expectedArtifacts": expected}), &child_plan()).await;
        assert_eq!(world.step().await, End::Done);
        let child = world.child().await;
        let made = json!({"artifacts": [{"type": "docker/image", "name": name, "version": "7"}]});
        world
            .finish_stage(&child.id, "1", Status::Succeeded, made)
            .await;
        world
            .finish_stage(&child.id, "2", Status::Succeeded, json!({}))
            .await;
        world.end_child("SUCCEEDED").await;
        let record = world.record().await;
        assert_eq!(record.status, status, "{name}");
        if status == Status::Succeeded {
            let bound = &record.outputs["resolvedExpectedArtifacts"][0]["boundArtifact"];
            assert_eq!(bound["version"], "7");
        }
    }
}

#[tokio::test]
async fn an_ending_execution_starts_no_child() {
    let world = world(json!({}), &child_plan()).await;
    world.drive.end(Status::Canceled).await.unwrap();
    assert_eq!(world.step().await, End::Done);
    assert!(world.children().await.is_empty());
}

#[tokio::test]
async fn a_child_that_begins_anew_begins_its_ended_parent_anew_which_waits_for_it() {
    let scenario = |fault: Option<Strike>| async move {
        let world = world(json!({}), &child_plan()).await;
        assert_eq!(world.step().await, End::Done);
        let child = world.child().await;
        world
            .finish_stage(&child.id, "1", Status::Terminal, json!({}))
            .await;
        world.end_child("FAILED").await;
        let store = world.drive.store();
        let first_run = world.drive.run();
        store.settle(first_run, Status::Terminal, 9).await.unwrap();
        let ended = store
            .execution(&first_run.execution)
            .await
            .unwrap()
            .unwrap();
        let ended = Execution {
            state_machine: sample::MACHINE.to_owned(),
            ..ended
        };
        assert!(
            store
                .replace_execution(&ended, Status::Terminal, 1)
                .await
                .unwrap()
        );
        let first = world.drive.faults.arm(fault);
        let restart =
            json!({"restart": {"execution": child.id, "stage": "1", "afterRun": 1}, "user": "ada"});
        let start = Start::new(
            Store::new(Arc::new(world.drive.table.clone())),
            Arc::new(world.step_functions.clone()),
            Arc::new(world.functions.clone()),
            "gennaker",
        );
        for _ in 0..5 {
            let answer = start.start(&restart, world.drive.world.now()).await;
            world.drive.faults.revive();
            if answer.is_ok() {
                break;
            }
        }
        let parent = &first_run.execution;
        let again = store.execution(parent).await.unwrap().unwrap();
        assert_eq!((again.status, again.run), (Status::Running, 2), "{fault:?}");
        let calls = world.drive.faults.calls().len() - first;
        let event = json!({ "run": parent.run(2), "stage": "1" });
        assert_eq!(
            world.drive.call(&world.runtime, &event).await,
            None,
            "{fault:?}"
        );
        assert_eq!(world.children().await.len(), 1, "{fault:?}");
        let record = world.record().await;
        assert_eq!(record.status, Status::Running, "{fault:?}");
        assert_eq!(record.memory["executionId"], child.id.to_string());
        calls
    };
    assert!(fault_everywhere(scenario).await > 30);
}
