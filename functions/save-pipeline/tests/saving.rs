//! A pipeline is saved whole or not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_testkit::{Faults, MemoryStepFunctions, MemoryTable, at_every_call};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    table: MemoryTable,
    store: Store,
    step_functions: MemoryStepFunctions,
    save: SavePipeline,
}

fn world() -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.clone()));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    let home = Home {
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
    };
    World {
        save: SavePipeline::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            "g",
            "role",
            home,
        ),
        faults,
        table,
        store,
        step_functions,
    }
}

fn pipeline(seconds: u32) -> Value {
    json!({
        "name": "Release",
        "stages": [{"refId": "1", "type": "wait", "name": "Wait", "waitTime": seconds, "requisiteStageRefIds": []}],
        "triggers": [{"type": "ecr", "enabled": true, "repository": "shop/api"}],
    })
}

const KEY: &str = "ecr#123456789012/us-east-1/shop/api";

impl World {
    async fn save(&self, pipeline: Value, now: i64) -> Value {
        let event = json!({"application": "shop", "pipeline": pipeline, "author": "ada"});
        self.save.save(&event, now).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_is_healed_by_saving_again() {
    at_every_call(async |strike| {
        let world = world();
        let event = json!({"application": "shop", "pipeline": pipeline(5), "author": "ada"});
        let armed = strike.arm(&world.faults);
        let answer = armed
            .until_answered(async || world.save.save(&event, 10_000).await)
            .await;
        let calls = armed.finish();
        assert_eq!(answer["revision"], 1, "{answer}");
        let machines = world.step_functions.machines();
        assert_eq!(machines.len(), 1);
        assert_eq!(machines.values().next().unwrap().versions.len(), 1);
        let found = world.store.find_pipeline("shop", "release").await.unwrap();
        let found = found.unwrap();
        assert_eq!(found.state_machine, answer["stateMachine"]);
        assert!(world.store.plan(&found.plan_hash).await.unwrap().is_some());
        let triggers = world.store.triggers(KEY).await.unwrap();
        assert_eq!(triggers.len(), 1);
        assert_eq!(triggers[0].pipeline_id, found.id);
        calls
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_same_pipeline_saved_twice_changes_nothing() {
    let world = world();
    let first = world.save(pipeline(5), 1).await;
    let items = world.table.items();
    let calls = world.faults.calls().len();
    assert_eq!(world.save(pipeline(5), 99).await, first);
    assert_eq!(world.table.items(), items);
    let made = world.faults.calls();
    assert!(
        made[calls..]
            .iter()
            .all(|call| call.starts_with("dynamodb:Get"))
    );
}

#[tokio::test(start_paused = true)]
async fn another_definition_is_another_version_and_the_triggers_follow() {
    let world = world();
    world.save(pipeline(5), 1).await;
    let mut changed = pipeline(6);
    changed["triggers"] = json!([]);
    let answer = world.save(changed, 2).await;
    assert_eq!(answer["revision"], 2);
    assert!(world.store.triggers(KEY).await.unwrap().is_empty());
    let id = answer["id"].as_str().unwrap();
    let revision = world.store.revision(id, 2).await.unwrap().unwrap();
    assert_eq!(revision.summary, "changed: stages, triggers");
    assert_eq!(revision.author.as_deref(), Some("ada"));
    assert!(world.store.revision(id, 1).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn names_are_unique_in_an_application_and_ids_everywhere() {
    let world = world();
    let mut one = pipeline(5);
    one["id"] = json!("p-1");
    world.save(one.clone(), 1).await;
    let mut two = pipeline(5);
    two["id"] = json!("p-2");
    two["name"] = json!("RELEASE");
    assert_eq!(
        world.save(two, 2).await["problems"][0]["code"],
        "duplicate-name"
    );
    let event = json!({"application": "other", "pipeline": one});
    let refused = world.save.save(&event, 3).await.unwrap();
    assert_eq!(refused["problems"][0]["code"], "duplicate-id");
    // A new name for the same id frees the old one.
    let mut renamed = pipeline(5);
    renamed["id"] = json!("p-1");
    renamed["name"] = json!("Ship");
    assert_eq!(world.save(renamed, 4).await["revision"], 2);
    assert!(
        world
            .store
            .find_pipeline("shop", "release")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_not_built_and_a_stale_pipeline_are_refused() {
    let world = world();
    let mut unbuilt = pipeline(5);
    unbuilt["stages"][0]["type"] = json!("runJobManifest");
    let refused = world.save(unbuilt, 1).await;
    assert!(refused["problems"].is_array(), "{refused}");
    assert!(world.step_functions.machines().is_empty());
    world.save(pipeline(5), 7).await;
    let mut event = json!({"application": "shop", "pipeline": pipeline(6), "staleCheck": true});
    event["pipeline"]["lastModified"] = json!(6);
    let refused = world.save.save(&event, 8).await.unwrap();
    assert_eq!(refused["problems"][0]["code"], "stale-pipeline");
    event["pipeline"]["lastModified"] = json!(7);
    assert_eq!(world.save.save(&event, 8).await.unwrap()["revision"], 2);
}

#[tokio::test(start_paused = true)]
async fn versions_that_no_execution_uses_are_deleted_but_for_the_newest() {
    let world = world();
    for seconds in 1..=15 {
        world
            .save(pipeline(seconds), i64::from(seconds) * 1_000)
            .await;
    }
    let machines = world.step_functions.machines();
    let versions: Vec<u32> = machines
        .values()
        .flat_map(|machine| machine.versions.iter().map(|(number, _)| *number))
        .collect();
    assert_eq!(versions, (6..=15).collect::<Vec<u32>>());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pipeline_hears_nothing_and_a_new_one_of_its_name_goes_on_counting() {
    at_every_call(async |strike| {
        let world = world();
        world.save(pipeline(5), 1).await;
        let event = json!({"delete": {"application": "shop", "pipeline": "release"}});
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.save.save(&event, 2).await)
            .await;
        let calls = armed.finish();
        assert!(world.step_functions.machines().is_empty());
        assert!(world.store.triggers(KEY).await.unwrap().is_empty());
        assert!(world.store.pipelines("shop").await.unwrap().is_empty());
        let again = world.save(pipeline(5), 5_000).await;
        assert_eq!(again["revision"], 2);
        calls
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_trigger_hears_while_it_and_its_pipeline_are_enabled() {
    let hook = "webhook#release";
    let git = "git#github/shop/api";
    let with = |hook_enabled: bool, disabled: bool| {
        let mut pipeline = pipeline(5);
        pipeline["disabled"] = json!(disabled);
        pipeline["triggers"] = json!([
            {"type": "webhook", "enabled": hook_enabled, "source": "release"},
            {"type": "git", "enabled": true, "source": "github", "project": "shop", "slug": "api"},
        ]);
        pipeline
    };
    for (hook_enabled, disabled, heard) in [
        (true, false, [1, 1]),
        (false, false, [0, 1]),
        (true, true, [0, 0]),
    ] {
        at_every_call(async |strike| {
            let world = world();
            world.save(with(true, false), 1).await;
            let event = json!({"application": "shop", "pipeline": with(hook_enabled, disabled)});
            let armed = strike.arm(&world.faults);
            armed
                .until_answered(async || world.save.save(&event, 2).await)
                .await;
            let calls = armed.finish();
            let mut found = Vec::new();
            for key in [hook, git] {
                found.push(world.store.triggers(key).await.unwrap().len());
            }
            assert_eq!(found, heard);
            calls
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_with_many_triggers_is_saved_again_and_one_with_too_many_is_refused() {
    let with = |count: usize| {
        let mut pipeline = pipeline(5);
        let hooks = (0..count)
            .map(|n| json!({"type": "webhook", "enabled": true, "source": format!("release-{n}")}));
        pipeline["triggers"] = hooks.collect();
        pipeline
    };
    let world = world();
    assert_eq!(world.save(with(80), 1).await["revision"], 1);
    let mut changed = with(80);
    changed["description"] = json!("the same triggers");
    assert_eq!(world.save(changed, 2).await["revision"], 2);
    let refused = world.save(with(91), 3).await;
    assert_eq!(refused["problems"][0]["code"], "too-many-triggers");
}
