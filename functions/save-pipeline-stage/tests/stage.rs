//! A pipeline that a pipeline saves is saved once, and taken back by an execution that ends before its stage.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_domain::Status;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_save_pipeline_stage::SavePipelineStage;
use gennaker_testkit::saving::{encoded, pipeline};
use gennaker_testkit::{End, Saving, Strike, fault_everywhere};
use serde_json::{Value, json};

async fn world(context: Value) -> Saving {
    Saving::new(["savePipeline", "save-pipeline-stage"], context, |ports| {
        let home = Home::new("aws", "123456789012", "us-east-1");
        SavePipeline::new(
            ports.store,
            ports.step_functions,
            ports.scheduler,
            "gennaker",
            "role",
            home,
        )
    })
    .await
    .unwrap()
}

fn stage(world: &Saving) -> SavePipelineStage {
    SavePipelineStage::new(world.port())
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_the_pipeline_is_saved_once() {
    let scenario = |strike: Option<Strike>| async move {
        let context = json!({"pipeline": encoded(&pipeline("Nightly", 5)), "staleCheck": false});
        let world = world(context).await;
        let first = world.arm(strike);
        let end = world.to_end(stage(&world)).await;
        assert_eq!(end, End::Done, "{strike:?}");
        let found = world.found("nightly").await.unwrap().unwrap();
        assert_eq!(found.revision, 1, "{strike:?}");
        assert_eq!(world.step_functions.machines().len(), 1, "{strike:?}");
        let record = world.record().await.unwrap().unwrap();
        assert_eq!(record.status, Status::Succeeded, "{strike:?}");
        assert_eq!(record.context["pipeline.id"], found.id);
        assert_eq!(record.context["pipeline.name"], "Nightly");
        assert_eq!(record.context["notification.type"], "savepipeline");
        world.calls_since(first)
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_an_execution_that_ends_first_leaves_the_pipeline_as_it_was() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(json!({"pipeline": encoded(&pipeline("Nightly", 5))})).await;
        world
            .save(&pipeline("Nightly", 1), "ada")
            .await
            .unwrap()
            .unwrap();
        world.arm(strike);
        let (calls, undone) = world.cut_short(stage(&world)).await.unwrap();
        assert_eq!(undone, End::Done, "{strike:?}");
        let config = world.config("Nightly").await.unwrap();
        assert_eq!(config["stages"][0]["waitTime"], 1, "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test(start_paused = true)]
async fn a_new_pipeline_is_deleted_by_the_undo_and_one_that_somebody_saved_since_stays() {
    for somebody in [false, true] {
        let world = world(json!({"pipeline": pipeline("Nightly", 5)})).await;
        let runtime = world.drive.runtime(stage(&world));
        assert_eq!(world.drive.to_end(&runtime, "1").await, End::Done);
        if somebody {
            world
                .save(&pipeline("Nightly", 9), "ada")
                .await
                .unwrap()
                .unwrap();
        }
        assert_eq!(world.drive.undo(&runtime, "1").await.unwrap(), End::Done);
        assert_eq!(world.found("Nightly").await.unwrap().is_some(), somebody);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_fails_the_stage_with_its_place() {
    let mut wrong = pipeline("Nightly", 5);
    wrong["stages"][0]["type"] = json!("wiat");
    for (context, expected) in [
        (json!({"pipeline": encoded(&wrong)}), "$.stages[0]"),
        (json!({}), "pipeline context must be provided"),
        (
            json!({"pipeline": "%"}),
            "pipeline must be encoded as base64",
        ),
        (
            json!({"pipeline": encoded(&json!([1]))}),
            "pipeline is no object",
        ),
    ] {
        let world = world(context).await;
        let _ = world.to_end(stage(&world)).await;
        let reason = world
            .record()
            .await
            .unwrap()
            .unwrap()
            .failure
            .unwrap()
            .reason;
        assert!(reason.contains(expected), "{reason}");
        assert!(world.found("Nightly").await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_pipeline_is_refused_but_not_because_of_the_first_try() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(json!({})).await;
        let before = world
            .save(&pipeline("Nightly", 1), "ada")
            .await
            .unwrap()
            .unwrap();
        let mut next = pipeline("Nightly", 5);
        next["lastModified"] = json!(before.saved_at);
        next["id"] = json!(before.id);
        // The same world, with a stage that knows when the pipeline was read.
        let context = json!({"pipeline": encoded(&next), "staleCheck": true});
        world.drive.world.advance(1_000);
        world.functions.set_now(world.drive.world.now());
        let other = self::world(context).await;
        let before = other
            .save(&pipeline("Nightly", 1), "ada")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(before.saved_at, next["lastModified"]);
        other.functions.set_now(other.drive.world.now() + 1_000);
        let first = other.arm(strike);
        let end = other.to_end(stage(&other)).await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(
            other.config("Nightly").await.unwrap()["stages"][0]["waitTime"],
            5,
            "{strike:?}"
        );
        other.calls_since(first)
    };
    assert!(fault_everywhere(scenario).await > 60);
    let mut stale = pipeline("Nightly", 5);
    stale["lastModified"] = json!(1);
    let world = world(json!({"pipeline": encoded(&stale), "staleCheck": true})).await;
    world
        .save(&pipeline("Nightly", 1), "ada")
        .await
        .unwrap()
        .unwrap();
    let _ = world.to_end(stage(&world)).await;
    let reason = world
        .record()
        .await
        .unwrap()
        .unwrap()
        .failure
        .unwrap()
        .reason;
    assert!(reason.contains("stale"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn many_are_saved_a_few_at_a_time_and_those_that_are_refused_are_told() {
    let mut all: Vec<Value> = (0..7).map(|n| pipeline(&format!("P{n}"), 1)).collect();
    all[3]["stages"][0]["type"] = json!("wiat");
    let world =
        world(json!({"isBulkSavingPipelines": true, "pipelines": encoded(&json!(all))})).await;
    let end = world.to_end(stage(&world)).await;
    assert_eq!(end, End::Done);
    let bulk = &world.record().await.unwrap().unwrap().context["bulksave"];
    assert_eq!(bulk["successful_pipelines_count"], 6);
    assert_eq!(bulk["failed_pipelines"][0]["name"], "P3");
    assert!(world.found("P6").await.unwrap().is_some());
}
