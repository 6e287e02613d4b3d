//! A pipeline is saved whole or not at all.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::scheduler::Schedule;
use gennaker_cloud::{Scheduler, Store, Table, Write};
use gennaker_save_pipeline::SavePipeline;
use gennaker_save_pipeline::index::Home;
use gennaker_testkit::{Faults, MemoryScheduler, MemoryStepFunctions, MemoryTable, at_every_call};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    table: MemoryTable,
    store: Store,
    step_functions: MemoryStepFunctions,
    scheduler: MemoryScheduler,
    save: SavePipeline,
}

fn world() -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.clone()));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    let scheduler = MemoryScheduler::with_faults(faults.clone());
    World {
        save: SavePipeline::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            Arc::new(scheduler.clone()),
            "g",
            "role",
            Home::new("aws", "123456789012", "us-east-1"),
        ),
        faults,
        table,
        store,
        step_functions,
        scheduler,
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
    let mut stolen = nightly("0 0 3 * * ?");
    stolen["id"] = one["id"].clone();
    let event = json!({"application": "other", "pipeline": stolen});
    let refused = world.save.save(&event, 3).await.unwrap();
    assert_eq!(refused["problems"][0]["code"], "duplicate-id");
    assert!(world.scheduler.schedules().is_empty());
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
async fn a_preconfigured_webhook_is_a_stage_type_with_what_the_installation_says() {
    let world = world();
    let mut smoke = pipeline(5);
    smoke["stages"][0]["type"] = json!("Smoke test");
    smoke["stages"][0]["url"] = json!("https://elsewhere.example.com");
    let refused = world.save(smoke.clone(), 1).await;
    assert_eq!(refused["problems"][0]["code"], "unknown-stage-type");
    let webhook = json!({"type": "Smoke test", "label": "Smoke", "url": "https://ci.example.com/${parameterValues['suite']}",
        "parameters": [{"name": "suite", "defaultValue": "fast"}]});
    world
        .store
        .save_webhook("Smoke test", &webhook)
        .await
        .unwrap();
    assert_eq!(world.save(smoke, 2).await["revision"], 1);
    let saved = world
        .store
        .find_pipeline("shop", "Release")
        .await
        .unwrap()
        .unwrap();
    let plan = world.store.plan(&saved.plan_hash).await.unwrap().unwrap();
    let stage = plan.stage("1").unwrap();
    assert_eq!(stage.stage_type, "Smoke test");
    assert_eq!(stage.function.as_deref(), Some("webhook"));
    assert_eq!(stage.context["url"], webhook["url"]);
    assert_eq!(stage.context["parameterValues"], json!({"suite": "fast"}));
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

fn nightly(expression: &str) -> Value {
    let mut nightly = pipeline(5);
    nightly["triggers"] =
        json!([{"type": "cron", "enabled": true, "id": "t-1", "cronExpression": expression}]);
    nightly
}

impl World {
    fn expressions(&self) -> Vec<String> {
        self.scheduler
            .schedules()
            .into_iter()
            .map(|one| one.expression)
            .collect()
    }

    /// The schedules, each found by its entry in the index.
    async fn heard(&self) -> Vec<String> {
        for schedule in self.scheduler.schedules() {
            let key = format!("cron#{}", schedule.name);
            assert_eq!(self.store.triggers(&key).await.unwrap().len(), 1, "{key}");
        }
        self.expressions()
    }

    /// Whole rounds of mending, each page of them.
    async fn round(&self, now: i64) -> Vec<Value> {
        let mut answers = Vec::new();
        for _ in 0..50 {
            let answer = self.save.save(&json!({"mend": {}}), now).await.unwrap();
            let done = answer["done"] == true || answer["resting"] == true;
            answers.push(answer);
            if done {
                return answers;
            }
        }
        panic!("the round has no end");
    }
}

#[tokio::test(start_paused = true)]
async fn schedules_come_change_and_go_with_their_triggers_whatever_call_fails() {
    let mut disabled = nightly("0 0 4 * * ?");
    disabled["disabled"] = json!(true);
    let cases = [
        (nightly("0 0 3 * * ?"), vec!["cron(0 3 * * ? *)"]),
        (nightly("0 0 4 * * ?"), vec!["cron(0 4 * * ? *)"]),
        (disabled, vec![]),
        (pipeline(6), vec![]),
    ];
    for (after, expected) in cases {
        at_every_call(async |strike| {
            let world = world();
            world.save(nightly("0 0 3 * * ?"), 1).await;
            let event = json!({"application": "shop", "pipeline": after});
            let armed = strike.arm(&world.faults);
            armed
                .until_answered(async || world.save.save(&event, 5_000).await)
                .await;
            let calls = armed.finish();
            assert_eq!(world.heard().await, expected);
            calls
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_of_a_delete_leaves_no_schedule() {
    at_every_call(async |strike| {
        let world = world();
        world.save(nightly("0 0 3 * * ?"), 1).await;
        assert_eq!(world.expressions().len(), 1);
        let event = json!({"delete": {"application": "shop", "pipeline": "release"}});
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.save.save(&event, 2).await)
            .await;
        let calls = armed.finish();
        assert!(world.scheduler.schedules().is_empty());
        let index = world.table.items();
        assert!(
            !index
                .iter()
                .any(|item| item["PK"].as_str().unwrap().starts_with("TRIGGER#"))
        );
        calls
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cron_trigger_saved_twice_makes_no_call_to_scheduler() {
    let world = world();
    let first = world.save(nightly("0 0 3 * * ?"), 1).await;
    let calls = world.faults.calls().len();
    assert_eq!(world.save(nightly("0 0 3 * * ?"), 99).await, first);
    let made = world.faults.calls();
    assert!(
        made[calls..]
            .iter()
            .all(|call| call.starts_with("dynamodb:Get"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_no_schedule_can_keep_is_refused_with_the_nearest() {
    let world = world();
    let refused = world.save(nightly("*/10 * * * * ?"), 1).await;
    assert_eq!(refused["problems"][0]["code"], "cron-not-kept");
    assert_eq!(
        refused["problems"][0]["path"],
        "$.triggers[0].cronExpression"
    );
    assert!(world.scheduler.schedules().is_empty());
}

/// Long after everything was saved, so that nothing is too young to be mended.
const LATER: i64 = 10_000_000;

#[tokio::test(start_paused = true)]
async fn a_round_mends_what_was_lost_and_removes_what_is_nobodys_whatever_call_fails() {
    at_every_call(async |strike| {
        let world = world();
        let saved = world.save(nightly("0 0 3 * * ?"), 1).await;
        let mut other = pipeline(5);
        other["name"] = json!("Other");
        world.save(other, 2_000).await;
        let lost = world.scheduler.schedules().remove(0);
        let calm = world.scheduler.without_faults();
        calm.delete(&lost.name, 3).await.unwrap();
        let nobodys = Schedule {
            name: "nobodys".to_owned(),
            ..lost.clone()
        };
        calm.put(&nobodys, 3).await.unwrap();
        let table = world.table.without_faults();
        let entry = world.store.triggers(KEY).await.unwrap().remove(0);
        table.write(Write::delete(entry.table_key())).await.unwrap();
        let armed = strike.arm(&world.faults);
        for _ in 0..4 {
            armed
                .until_answered(async || world.save.save(&json!({"mend": {}}), LATER).await)
                .await;
        }
        let calls = armed.finish();
        assert_eq!(world.scheduler.schedules(), [lost]);
        assert_eq!(world.store.triggers(KEY).await.unwrap(), [entry]);
        let id = saved["id"].as_str().unwrap();
        let kept = world.store.pipeline("shop", id).await.unwrap().unwrap();
        assert_eq!((kept.revision, kept.schedules.len()), (1, 1));
        calls
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_round_finds_nothing_to_mend_after_saves_and_rests() {
    let world = world();
    for n in 0..250_i64 {
        let mut one = nightly("0 0 3 * * ?");
        one["name"] = json!(format!("Nightly {n}"));
        world.save(one, n * 1_000).await;
    }
    let answers = world.round(LATER).await;
    assert!(answers.len() > 3, "more than a page: {answers:?}");
    for answer in &answers {
        let found = [&answer["entries"], &answer["schedules"], &answer["removed"]];
        assert_eq!(found, [&json!(0); 3]);
    }
    assert_eq!(world.round(LATER + 1).await, [json!({"resting": true})]);
    assert!(
        world
            .round(LATER + gennaker_save_pipeline::mend::ROUND_MILLIS)
            .await
            .len()
            > 3
    );
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_was_just_made_is_left_alone() {
    let world = world();
    let young = Schedule {
        name: "young".to_owned(),
        expression: "cron(0 3 * * ? *)".to_owned(),
        time_zone: "UTC".to_owned(),
        input: json!({}),
    };
    world.scheduler.put(&young, LATER).await.unwrap();
    world.round(LATER + 1).await;
    assert_eq!(world.scheduler.schedules().len(), 1);
    world.round(2 * LATER).await;
    assert!(world.scheduler.schedules().is_empty());
}
