//! Every pipeline gets its place once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use base64::Engine;
use gennaker_cloud::Store;
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_domain::{StageRecord, Status};
use gennaker_reorder_pipelines::ReorderPipelines;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_testkit::{
    Behaviour, Drive, End, MemoryFunctions, MemoryScheduler, MemoryStepFunctions, Strike, drive,
    fault_everywhere,
};
use serde_json::{Value, json};

struct World {
    drive: Drive,
    functions: MemoryFunctions,
    step_functions: MemoryStepFunctions,
}

fn home() -> Home {
    Home {
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
    }
}

fn pipeline(name: &str, seconds: u32) -> Value {
    json!({"application": "shop", "name": name,
        "stages": [{"refId": "1", "type": "wait", "name": "Wait", "waitTime": seconds, "requisiteStageRefIds": []}]})
}

async fn world(context: Value) -> World {
    let stage = drive::stage("1", "reorderPipelines", "reorder-pipelines", context);
    let drive = Drive::new(Behaviour::default(), vec![stage]).await.unwrap();
    let functions = MemoryFunctions::with_faults(drive.faults.clone());
    let step_functions = MemoryStepFunctions::with_faults(drive.faults.clone());
    functions.set_now(drive.world.now());
    let store = Store::new(Arc::new(drive.table.clone()));
    let save = SavePipeline::new(
        store,
        Arc::new(step_functions.clone()),
        Arc::new(MemoryScheduler::new()),
        "gennaker",
        "role",
        home(),
    );
    functions.serve("gennaker-save-pipeline:live", Arc::new(save));
    World {
        drive,
        functions,
        step_functions,
    }
}

impl World {
    fn arm(&self, strike: Option<Strike>) -> usize {
        let first = self.drive.faults.calls().len();
        if let Some((call, moment, fault)) = strike {
            self.drive.faults.plan(first + call, moment, fault);
        }
        first
    }

    /// Saves as a person does, before anything fails.
    async fn save(&self, pipeline: &Value, author: &str) -> Pipeline {
        let store = self.drive.store();
        let save = SavePipeline::new(
            store.clone(),
            Arc::new(self.step_functions.clone()),
            Arc::new(MemoryScheduler::new()),
            "gennaker",
            "role",
            home(),
        );
        let event = json!({"application": "shop", "pipeline": pipeline, "author": author});
        let answer = save.save(&event, self.drive.world.now()).await.unwrap();
        assert_eq!(answer.get("problems"), None, "{answer}");
        let id = answer["id"].as_str().unwrap();
        store.pipeline("shop", id).await.unwrap().unwrap()
    }

    async fn found(&self, name: &str) -> Option<Pipeline> {
        self.drive
            .store()
            .find_pipeline("shop", name)
            .await
            .unwrap()
    }

    async fn config(&self, name: &str) -> Value {
        let found = self.found(name).await.unwrap();
        let store = self.drive.store();
        let revision = store.revision(&found.id, found.revision).await;
        revision.unwrap().unwrap().config
    }

    async fn record(&self) -> StageRecord {
        self.drive.records().await.unwrap().remove("1").unwrap()
    }
}

fn encoded(value: &Value) -> String {
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}

fn stage(world: &World) -> ReorderPipelines {
    ReorderPipelines::new(Arc::new(world.functions.clone()))
}

fn named(name: &str, index: i64) -> Value {
    let mut config = pipeline(name, 1);
    config["id"] = json!(format!("id-{name}"));
    config["index"] = json!(index);
    config
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_every_pipeline_has_its_place_and_no_machine_is_made_anew() {
    let scenario = |strike: Option<Strike>| async move {
        let places = json!({"id-a": 1, "id-b": 0, "id-c": 2});
        let context = json!({"idsToIndices": encoded(&places), "application": encoded(&json!("shop")),
            "isStrategy": encoded(&json!(false))});
        let world = world(context).await;
        for (name, index) in [("a", 0), ("b", 1), ("c", 2)] {
            world.save(&named(name, index), "ada").await;
        }
        let first = world.arm(strike);
        let end = world
            .drive
            .to_end(&world.drive.runtime(stage(&world)), "1")
            .await;
        assert_eq!(end, End::Done, "{strike:?}");
        for (name, index, revision) in [("a", 1, 2), ("b", 0, 2), ("c", 2, 1)] {
            assert_eq!(world.config(name).await["index"], index, "{strike:?}");
            assert_eq!(
                world.found(name).await.unwrap().revision,
                revision,
                "{strike:?}"
            );
        }
        let machines = world.step_functions.machines();
        assert!(machines.values().all(|machine| machine.versions.len() == 1));
        assert_eq!(
            world.record().await.context["notification.type"],
            "reorderpipelines"
        );
        world.drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_ends_first_takes_the_places_back() {
    let context = json!({"idsToIndices": {"id-a": 7}, "application": "shop"});
    let world = world(context).await;
    world.save(&named("a", 3), "ada").await;
    let runtime = world.drive.runtime(stage(&world));
    assert_eq!(world.drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(world.config("a").await["index"], 7);
    assert_eq!(world.drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert_eq!(world.config("a").await["index"], 3);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_not_there_fails_the_stage() {
    let world = world(json!({"idsToIndices": {"id-x": 0}, "application": "shop"})).await;
    let end = world
        .drive
        .to_end(&world.drive.runtime(stage(&world)), "1")
        .await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("`id-x` not found")));
    assert_eq!(world.record().await.status, Status::Terminal);
}
