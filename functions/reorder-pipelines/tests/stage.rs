//! Every pipeline gets its place once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_domain::Status;
use gennaker_reorder_pipelines::ReorderPipelines;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_testkit::saving::{encoded, pipeline};
use gennaker_testkit::{End, Saving, Strike, fault_everywhere};
use serde_json::{Value, json};

async fn world(context: Value) -> Saving {
    Saving::new(
        ["reorderPipelines", "reorder-pipelines"],
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

fn stage(world: &Saving) -> ReorderPipelines {
    ReorderPipelines::new(world.port())
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
            world
                .save(&named(name, index), "ada")
                .await
                .unwrap()
                .unwrap();
        }
        let first = world.arm(strike);
        let end = world.to_end(stage(&world)).await;
        assert_eq!(end, End::Done, "{strike:?}");
        for (name, index, revision) in [("a", 1, 2), ("b", 0, 2), ("c", 2, 1)] {
            assert_eq!(
                world.config(name).await.unwrap()["index"],
                index,
                "{strike:?}"
            );
            assert_eq!(
                world.found(name).await.unwrap().unwrap().revision,
                revision,
                "{strike:?}"
            );
        }
        let machines = world.step_functions.machines();
        assert!(machines.values().all(|machine| machine.versions.len() == 1));
        assert_eq!(
            world.record().await.unwrap().unwrap().context["notification.type"],
            "reorderpipelines"
        );
        world.calls_since(first)
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_ends_first_takes_the_places_back() {
    let context = json!({"idsToIndices": {"id-a": 7}, "application": "shop"});
    let world = world(context).await;
    world.save(&named("a", 3), "ada").await.unwrap().unwrap();
    let runtime = world.drive.runtime(stage(&world));
    assert_eq!(world.drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(world.config("a").await.unwrap()["index"], 7);
    assert_eq!(world.drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert_eq!(world.config("a").await.unwrap()["index"], 3);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_not_there_fails_the_stage() {
    let world = world(json!({"idsToIndices": {"id-x": 0}, "application": "shop"})).await;
    let end = world.to_end(stage(&world)).await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("`id-x` not found")));
    assert_eq!(
        world.record().await.unwrap().unwrap().status,
        Status::Terminal
    );
}
