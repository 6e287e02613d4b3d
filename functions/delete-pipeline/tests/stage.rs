//! A pipeline is deleted once, and comes back when the execution ends before its stage.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_delete_pipeline::DeletePipeline;
use gennaker_domain::Status;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_testkit::saving::{encoded, pipeline};
use gennaker_testkit::{End, Saving, Strike, fault_everywhere};
use serde_json::{Value, json};

async fn world(context: Value) -> Saving {
    Saving::new(["deletePipeline", "delete-pipeline"], context, |ports| {
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
