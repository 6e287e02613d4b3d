//! The pipelines of an artifact are saved once each, whatever dies.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_artifacts::Artifacts;
use gennaker_domain::Status;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_save_pipelines_from_artifact::SavePipelinesFromArtifact;
use gennaker_testkit::saving::{encoded, pipeline};
use gennaker_testkit::{
    End, MemoryHttp, MemoryObjects, MemorySecrets, Saving, Strike, fault_everywhere,
};
use serde_json::{Value, json};

async fn world(context: Value) -> Saving {
    Saving::new(
        ["savePipelinesFromArtifact", "save-pipelines-from-artifact"],
        context,
        |ports| {
            let home = Home::new("aws", "123456789012", "us-east-1");
            SavePipeline::new(
                ports.store,
                ports.step_functions,
                ports.scheduler,
                "gennaker",
                "role",
                home,
            )
        },
    )
    .await
    .unwrap()
}

fn stage(world: &Saving, http: &MemoryHttp) -> SavePipelinesFromArtifact {
    stage_on(world, http, &MemoryObjects::default())
}

fn stage_on(
    world: &Saving,
    http: &MemoryHttp,
    objects: &MemoryObjects,
) -> SavePipelinesFromArtifact {
    let artifacts = Artifacts::new(
        Arc::new(http.clone()),
        Arc::new(objects.clone()),
        Arc::new(MemorySecrets::new()),
    );
    SavePipelinesFromArtifact::new(world.port(), artifacts)
}

fn embedded(content: &Value) -> Value {
    json!({"pipelinesArtifact": {"type": "embedded/base64", "name": "pipelines", "reference": encoded(content)}})
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_new_ones_are_created_and_known_ones_updated_once() {
    let scenario = |strike: Option<Strike>| async move {
        let content = json!({"shop": [pipeline("Old", 5), pipeline("New", 5)]});
        let object = json!({"type": "s3/object", "reference": "s3://shop/all.json", "artifactAccount": "bucket"});
        let world = world(json!({ "pipelinesArtifact": object })).await;
        let account = json!({"type": "s3", "region": "eu-west-1"});
        let store = world.drive.store();
        store
            .save_artifact_account("bucket", &account)
            .await
            .unwrap();
        let objects = MemoryObjects::with_faults(world.drive.faults.clone());
        objects.put("shop", "all.json", content.to_string());
        let old = world
            .save(&pipeline("Old", 1), "ada")
            .await
            .unwrap()
            .unwrap();
        let first = world.arm(strike);
        let http = MemoryHttp::new();
        let end = world.to_end(stage_on(&world, &http, &objects)).await;
        assert_eq!(end, End::Done, "{strike:?}");
        let found = world.found("Old").await.unwrap().unwrap();
        assert_eq!((found.id, found.revision), (old.id, 2), "{strike:?}");
        assert_eq!(
            world.found("New").await.unwrap().unwrap().revision,
            1,
            "{strike:?}"
        );
        let config = world.config("Old").await.unwrap();
        assert_eq!(config["stages"][0]["waitTime"], 5, "{strike:?}");
        let record = world.record().await.unwrap().unwrap();
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
        world.calls_since(first)
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
    let _ = world.to_end(stage(&world, &http)).await;
    let record = world.record().await.unwrap().unwrap();
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
            artifact(json!({"type": "gcs/object", "reference": "gs://b/k"})),
            "`gcs/object` cannot be read here",
        ),
        (
            artifact(json!({"type": "embedded/base64", "reference": "%"})),
            "not base64",
        ),
        (embedded(&json!([])), "no JSON object"),
    ] {
        let world = world(context).await;
        let http = MemoryHttp::new();
        let end = world.to_end(stage(&world, &http)).await;
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
        let end = world.to_end(stage(&world, &http)).await;
        if changes {
            assert!(
                matches!(&end, End::Failed(reason) if reason.contains("changed")),
                "{end:?}"
            );
        } else {
            assert_eq!(end, End::Done);
            assert!(world.found("P6").await.unwrap().is_some());
        }
    }
}
