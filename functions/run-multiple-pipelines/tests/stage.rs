//! Levels of children, through the real `start`, `decide` and `finalize`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_decide::Decide;
use gennaker_domain::{Execution, Plan, StageRecord, Status};
use gennaker_finalize::Finalize;
use gennaker_lambda::{Function, Runtime};
use gennaker_run_multiple_pipelines::RunMultiplePipelines;
use gennaker_start::Start;
use gennaker_testkit::{
    Behaviour, Drive, End, MemoryFunctions, MemoryStepFunctions, Strike, drive, fault_everywhere,
    sample,
};
use serde_json::{Value, json};

struct World {
    drive: Drive,
    step_functions: MemoryStepFunctions,
    runtime: Runtime<RunMultiplePipelines>,
    finalize: Arc<Finalize>,
}

fn diamond() -> Value {
    json!({
        "one": {"child_pipeline": "deploy", "arguments": {"app": "one"}},
        "two": {"child_pipeline": "deploy", "arguments": {"app": "two"}},
        "three": {"child_pipeline": "deploy", "arguments": {"app": "three"}, "depends_on": ["one", "two"]},
    })
}

async fn world(bundle: Value, more: Value) -> World {
    let mut context = json!({ "yamlConfig": [{ "bundle_web": bundle }] });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let mut stage = drive::stage(
        "1",
        "runMultiplePipelines",
        "run-multiple-pipelines",
        context,
    );
    stage.woken = true;
    let drive = Drive::new(Behaviour::default(), vec![stage]).await.unwrap();
    let child = Plan {
        pipeline: "deploy".to_owned(),
        pipeline_id: "p-2".to_owned(),
        ..sample::plan(json!([{"refId": "1", "type": "wait"}]))
    };
    sample::save(&drive.store(), &child, &[]).await.unwrap();
    let store = Store::new(Arc::new(drive.table.clone()));
    let step_functions = MemoryStepFunctions::with_faults(drive.faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(drive.faults.clone());
    functions.set_now(drive.world.now());
    let (machines, shared) = (
        Arc::new(step_functions.clone()),
        Arc::new(functions.clone()),
    );
    let start = Start::new(store.clone(), machines.clone(), shared.clone(), "gennaker");
    let decide = Decide::new(store.clone(), machines.clone(), shared.clone(), "gennaker");
    let finalize = Arc::new(Finalize::new(store, machines, shared.clone(), "gennaker"));
    let served: [(&str, Arc<dyn Function>); 2] = [
        ("gennaker-start:live", Arc::new(start)),
        ("gennaker-decide:live", Arc::new(decide)),
    ];
    for (name, function) in served {
        functions.serve(name, function);
    }
    World {
        runtime: drive.runtime(RunMultiplePipelines::new(shared)),
        drive,
        step_functions,
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

    async fn children(&self) -> Vec<Execution> {
        let store = self.drive.store();
        store.executions_of_pipeline("p-2", 20).await.unwrap()
    }

    /// The child with this argument.
    async fn child(&self, app: &str) -> Execution {
        for child in self.children().await {
            let trigger = self
                .drive
                .store()
                .trigger(&child.id)
                .await
                .unwrap()
                .unwrap();
            if trigger["parameters"]["app"] == app {
                return child;
            }
        }
        panic!("no child {app}");
    }

    /// The child ends so, and its end is told.
    async fn end(&self, app: &str, status: Status) {
        let child = self.child(app).await;
        let store = self.drive.store();
        let run = child.id.run(1);
        store
            .settle(&run, status, self.drive.world.now())
            .await
            .unwrap();
        let ended = json!({ "ended": child.id });
        for _ in 0..10 {
            let told = self.finalize.turn(&ended, self.drive.world.now()).await;
            self.drive.faults.revive();
            if told.is_ok() {
                break;
            }
        }
        assert_eq!(self.step().await, End::Done);
    }
}

#[tokio::test]
async fn whatever_dies_each_child_is_started_once_and_after_those_it_depends_on() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(diamond(), json!({})).await;
        let first = world.drive.faults.arm(strike);
        assert_eq!(world.step().await, End::Done, "{strike:?}");
        assert_eq!(world.children().await.len(), 2, "{strike:?}");
        world.end("one", Status::Succeeded).await;
        assert_eq!(world.children().await.len(), 2, "{strike:?}");
        world.end("two", Status::Succeeded).await;
        assert_eq!(world.children().await.len(), 3, "{strike:?}");
        assert_eq!(world.record().await.status, Status::Running, "{strike:?}");
        world.end("three", Status::Succeeded).await;
        let record = world.record().await;
        assert_eq!(record.status, Status::Succeeded, "{strike:?}");
        let list = record.outputs["executionsList"].as_array().unwrap();
        let names: Vec<&Value> = list.iter().map(|one| &one["executionIdentifier"]).collect();
        assert_eq!(names, ["one", "two", "three"], "{strike:?}");
        assert_eq!(world.step_functions.runs().len(), 3, "{strike:?}");
        world.drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 150);
}

#[tokio::test]
async fn a_failed_level_is_the_last_unless_that_is_ignored() {
    for (ignored, children, status) in [(false, 2, Status::Terminal), (true, 3, Status::Succeeded)]
    {
        let world = world(diamond(), json!({ "ignoreUncompleted": ignored })).await;
        assert_eq!(world.step().await, End::Done);
        world.end("one", Status::Terminal).await;
        assert_eq!(
            world.record().await.status,
            Status::Running,
            "the others go on"
        );
        world.end("two", Status::Succeeded).await;
        assert_eq!(world.children().await.len(), children);
        if ignored {
            world.end("three", Status::Succeeded).await;
        }
        assert_eq!(world.record().await.status, status);
    }
}

#[tokio::test]
async fn a_canceled_child_cancels_and_one_that_cannot_start_fails() {
    let world = world(diamond(), json!({})).await;
    assert_eq!(world.step().await, End::Done);
    world.end("one", Status::Succeeded).await;
    world.end("two", Status::Canceled).await;
    assert_eq!(world.record().await.status, Status::Canceled);

    let mut unknown = diamond();
    unknown["two"]["child_pipeline"] = json!("nope");
    let world = self::world(unknown, json!({})).await;
    assert_eq!(world.step().await, End::Done);
    world.end("one", Status::Succeeded).await;
    let record = world.record().await;
    assert_eq!(record.status, Status::Terminal);
    let reason = record.failure.unwrap().reason;
    assert!(
        reason.contains("two: The referenced pipeline cannot be located (nope)"),
        "{reason}"
    );
}

#[tokio::test]
async fn nobody_outlives_a_parent_that_ends_and_a_day_is_enough() {
    let world = world(diamond(), json!({})).await;
    assert_eq!(world.step().await, End::Done);
    let undone = world.drive.undo(&world.runtime, "1").await.unwrap();
    assert_eq!(undone, End::Done);
    for child in world.children().await {
        assert_eq!(child.ending.unwrap().by, "parent pipeline");
    }
    let world = self::world(diamond(), json!({})).await;
    assert_eq!(world.step().await, End::Done);
    world.drive.world.advance(24 * 3_600_000);
    let _ = world.step().await;
    assert_eq!(world.record().await.status, Status::Terminal);
    assert!(
        world
            .children()
            .await
            .iter()
            .all(|child| child.ending.is_some())
    );
}
