//! A pipeline is deleted once, and comes back when the execution ends before its stage.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use base64::Engine;
use gennaker_cloud::Store;
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_delete_pipeline::DeletePipeline;
use gennaker_domain::{StageRecord, Status};
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
    let stage = drive::stage("1", "deletePipeline", "delete-pipeline", context);
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

fn stage(world: &World) -> DeletePipeline {
    DeletePipeline::new(Arc::new(world.functions.clone()))
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_the_pipeline_is_gone() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(json!({"pipeline": encoded(&pipeline("Nightly", 1))})).await;
        let before = world.save(&pipeline("Nightly", 1), "ada").await;
        let first = world.arm(strike);
        let end = world
            .drive
            .to_end(&world.drive.runtime(stage(&world)), "1")
            .await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert!(world.found("Nightly").await.is_none(), "{strike:?}");
        assert!(world.found(&before.id).await.is_none(), "{strike:?}");
        assert!(world.step_functions.machines().is_empty(), "{strike:?}");
        assert_eq!(world.record().await.status, Status::Succeeded, "{strike:?}");
        world.drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_an_execution_that_ends_first_brings_it_back() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(json!({"pipeline": pipeline("Nightly", 1)})).await;
        let before = world.save(&pipeline("Nightly", 1), "ada").await;
        let first = world.arm(strike);
        let runtime = world.drive.runtime(stage(&world));
        let event = json!({ "run": world.drive.run(), "stage": "1" });
        let _ = world.drive.call(&runtime, &event).await;
        let calls = world.drive.faults.calls().len() - first;
        assert_eq!(world.drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let back = world
            .found("Nightly")
            .await
            .unwrap_or_else(|| panic!("{strike:?}"));
        assert_eq!(back.id, before.id);
        assert_eq!(world.config("Nightly").await["stages"][0]["waitTime"], 1);
        calls
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_there_fails_the_stage() {
    let world = world(json!({"pipeline": pipeline("Nightly", 1)})).await;
    let end = world
        .drive
        .to_end(&world.drive.runtime(stage(&world)), "1")
        .await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("`Nightly` not found")));
}
