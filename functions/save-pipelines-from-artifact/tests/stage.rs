//! The pipelines of an artifact are saved once each, whatever dies.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use base64::Engine;
use gennaker_cloud::Store;
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_domain::{StageRecord, Status};
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_save_pipelines_from_artifact::SavePipelinesFromArtifact;
use gennaker_testkit::{
    Behaviour, Drive, End, MemoryFunctions, MemoryHttp, MemoryScheduler, MemoryStepFunctions,
    Strike, drive, fault_everywhere,
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
    let stage = drive::stage(
        "1",
        "savePipelinesFromArtifact",
        "save-pipelines-from-artifact",
        context,
    );
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

fn stage(world: &World, http: &MemoryHttp) -> SavePipelinesFromArtifact {
    SavePipelinesFromArtifact::new(Arc::new(world.functions.clone()), Arc::new(http.clone()))
}

fn embedded(content: &Value) -> Value {
    json!({"pipelinesArtifact": {"type": "embedded/base64", "name": "pipelines", "reference": encoded(content)}})
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_new_ones_are_created_and_known_ones_updated_once() {
    let scenario = |strike: Option<Strike>| async move {
        let content = json!({"shop": [pipeline("Old", 5), pipeline("New", 5)]});
        let world = world(embedded(&content)).await;
        let old = world.save(&pipeline("Old", 1), "ada").await;
        let first = world.arm(strike);
        let http = MemoryHttp::new();
        let end = world
            .drive
            .to_end(&world.drive.runtime(stage(&world, &http)), "1")
            .await;
        assert_eq!(end, End::Done, "{strike:?}");
        let found = world.found("Old").await.unwrap();
        assert_eq!((found.id, found.revision), (old.id, 2), "{strike:?}");
        assert_eq!(world.found("New").await.unwrap().revision, 1, "{strike:?}");
        let config = world.config("Old").await;
        assert_eq!(config["stages"][0]["waitTime"], 5, "{strike:?}");
        let record = world.record().await;
        let entry = |name: &str| json!([{"application": "shop", "name": name}]);
        assert_eq!(
            record.context["pipelinesCreated"],
            entry("New"),
            "{strike:?}"
        );
        assert_eq!(
            record.context["pipelinesUpdated"],
            entry("Old"),
            "{strike:?}"
        );
        assert_eq!(
            record.context["pipelinesFailedToSave"],
            json!([]),
            "{strike:?}"
        );
        world.drive.faults.calls().len() - first
    };
    assert!(fault_everywhere(scenario).await > 90);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_fails_the_stage_after_the_others_are_saved() {
    let mut wrong = pipeline("Wrong", 1);
    wrong["stages"][0]["type"] = json!("wiat");
    let mut all: Vec<Value> = vec![wrong];
    all.extend((0..7).map(|n| pipeline(&format!("P{n}"), 1)));
    let world = world(embedded(&json!({ "shop": all }))).await;
    let http = MemoryHttp::new();
    let _ = world
        .drive
        .to_end(&world.drive.runtime(stage(&world, &http)), "1")
        .await;
    let record = world.record().await;
    assert_eq!(record.status, Status::Terminal);
    assert_eq!(
        record.context["pipelinesCreated"].as_array().unwrap().len(),
        7
    );
    assert_eq!(record.context["pipelinesFailedToSave"][0]["name"], "Wrong");
    assert!(record.failure.unwrap().reason.contains("shop:Wrong"));
}

#[tokio::test(start_paused = true)]
async fn an_artifact_that_cannot_be_read_fails_with_the_reason() {
    let artifact = |fields: Value| json!({ "pipelinesArtifact": fields });
    for (context, expected) in [
        (
            json!({"pipelinesArtifactId": "nope"}),
            "No artifact could be bound to 'nope'",
        ),
        (
            artifact(json!({"type": "s3/object", "reference": "s3://b/k"})),
            "`s3/object` cannot be read here",
        ),
        (
            artifact(json!({"type": "embedded/base64", "reference": "%"})),
            "not base64",
        ),
        (embedded(&json!([])), "no JSON object"),
    ] {
        let world = world(context).await;
        let http = MemoryHttp::new();
        let end = world
            .drive
            .to_end(&world.drive.runtime(stage(&world, &http)), "1")
            .await;
        assert!(
            matches!(&end, End::Failed(reason) if reason.contains(expected)),
            "{end:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_asked_for_again_and_must_stay_what_it_is() {
    for changes in [false, true] {
        let context = json!({"pipelinesArtifact": {"type": "http/file", "reference": "https://files.example.com/p.json"}});
        let world = world(context).await;
        let http = MemoryHttp::new();
        let mut asked = 0;
        http.serve("files.example.com", move |request| {
            asked += 1;
            let seconds = if changes { asked } else { 1 };
            let all: Vec<Value> = (0..7)
                .map(|n| pipeline(&format!("P{n}"), seconds))
                .collect();
            let status = if asked == 1 { 503 } else { 200 };
            gennaker_testkit::http::response(request, status, json!({ "shop": all }).to_string())
        });
        let end = world
            .drive
            .to_end(&world.drive.runtime(stage(&world, &http)), "1")
            .await;
        if changes {
            assert!(
                matches!(&end, End::Failed(reason) if reason.contains("changed")),
                "{end:?}"
            );
        } else {
            assert_eq!(end, End::Done);
            assert!(world.found("P6").await.is_some());
        }
    }
}
