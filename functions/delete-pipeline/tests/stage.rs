//! A pipeline is deleted once, and comes back when the execution ends before its stage.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use base64::Engine;
use gennaker_delete_pipeline::DeletePipeline;
use gennaker_domain::Status;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_testkit::{
    End, MemoryScheduler, Saving, Strike, drive, fault_everywhere, saving::pipeline,
};
use serde_json::{Value, json};

async fn world(context: Value) -> Saving {
    let stage = drive::stage("1", "deletePipeline", "delete-pipeline", context);
    Saving::new(stage, |store, machines| {
        let home = Home {
            partition: "aws".to_owned(),
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
        };
        SavePipeline::new(
            store,
            machines,
            Arc::new(MemoryScheduler::new()),
            "gennaker",
            "role",
            home,
        )
    })
    .await
    .unwrap()
}

fn encoded(value: &Value) -> String {
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}

fn stage(world: &Saving) -> DeletePipeline {
    DeletePipeline::new(world.port())
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_the_pipeline_is_gone() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(json!({"pipeline": encoded(&pipeline("Nightly", 1))})).await;
        let before = world
            .save(&pipeline("Nightly", 1), "ada")
            .await
            .unwrap()
            .unwrap();
        let first = world.arm(strike);
        let end = world.to_end(stage(&world)).await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert!(
            world.found("Nightly").await.unwrap().is_none(),
            "{strike:?}"
        );
        assert!(
            world.found(&before.id).await.unwrap().is_none(),
            "{strike:?}"
        );
        assert!(world.step_functions.machines().is_empty(), "{strike:?}");
        assert_eq!(
            world.record().await.unwrap().unwrap().status,
            Status::Succeeded,
            "{strike:?}"
        );
        world.calls_since(first)
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_an_execution_that_ends_first_brings_it_back() {
    let scenario = |strike: Option<Strike>| async move {
        let world = world(json!({"pipeline": pipeline("Nightly", 1)})).await;
        let before = world
            .save(&pipeline("Nightly", 1), "ada")
            .await
            .unwrap()
            .unwrap();
        world.arm(strike);
        let (calls, undone) = world.cut_short(stage(&world)).await.unwrap();
        assert_eq!(undone, End::Done, "{strike:?}");
        let back = world
            .found("Nightly")
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{strike:?}"));
        assert_eq!(back.id, before.id);
        assert_eq!(
            world.config("Nightly").await.unwrap()["stages"][0]["waitTime"],
            1
        );
        calls
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_there_fails_the_stage() {
    let world = world(json!({"pipeline": pipeline("Nightly", 1)})).await;
    let end = world.to_end(stage(&world)).await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("`Nightly` not found")));
}
