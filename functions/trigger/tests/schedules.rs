//! A schedule starts its pipeline once for each time that is due.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_lambda::Function;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryRegistry, MemoryTable, at_every_call, sample,
};
use gennaker_trigger::Trigger;
use serde_json::{Value, json};

struct World {
    faults: Faults,
    functions: MemoryFunctions,
    trigger: Trigger,
}

async fn world() -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.clone()));
    let functions = MemoryFunctions::with_faults(faults.clone());
    let plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
    let entry = TriggerEntry {
        key: "cron#nightly".to_owned(),
        application: "shop".to_owned(),
        pipeline_id: "p-1".to_owned(),
        index: 0,
        trigger: json!({"type": "cron", "enabled": true, "id": "t-1", "cronExpression": "0 0 3 * * ?",
            "parameters": {"depth": "full"}}),
    };
    sample::save(&store, &plan, &[entry]).await.unwrap();
    World {
        trigger: Trigger::new(
            store,
            Arc::new(MemoryRegistry::new()),
            Arc::new(functions.clone()),
            "g",
        ),
        faults,
        functions,
    }
}

/// 2026-11-20T03:00:00Z.
const DUE: i64 = 1_795_143_600_000;

fn fired(schedule: &str, expression: &str, scheduled: &str) -> Value {
    json!({"schedule": schedule, "cronExpression": expression, "timeZone": "UTC", "scheduledTime": scheduled})
}

#[tokio::test]
async fn a_schedule_starts_its_pipeline_once_however_often_and_late_it_calls() {
    at_every_call(async |strike| {
        let world = world().await;
        let armed = strike.arm(&world.faults);
        // Scheduler's own time decides, then the clock where Scheduler says none.
        for (scheduled, now) in [
            ("2026-11-20T03:00:00Z", DUE + 900_000),
            ("2026-11-20T03:00:00Z", DUE + 5_000),
            ("<aws.scheduler.scheduled-time>", DUE + 45_000),
        ] {
            let event = fired("nightly", "0 0 3 * * ?", scheduled);
            armed
                .until_answered(async || world.trigger.handle(event.clone(), now).await)
                .await;
        }
        let calls = armed.finish();
        let started = world.functions.distinct();
        assert_eq!(started.len(), 1, "{started:?}");
        let (function, payload) = &started[0];
        assert_eq!(function, "g-start:live");
        assert_eq!(payload["pipeline"], "p-1");
        let trigger = &payload["trigger"];
        assert_eq!(trigger["eventId"], "2026-11-20T03:00:00Z");
        assert_eq!(trigger["type"], "cron");
        assert_eq!(trigger["parameters"], json!({"depth": "full"}));
        calls
    })
    .await;
}

#[tokio::test]
async fn each_day_is_another_execution() {
    let world = world().await;
    for day in [20, 21] {
        let event = fired(
            "nightly",
            "0 0 3 * * ?",
            &format!("2026-11-{day}T03:00:00Z"),
        );
        world.trigger.handle(event, DUE).await.unwrap();
    }
    assert_eq!(world.functions.distinct().len(), 2);
}

#[tokio::test]
async fn what_is_not_due_and_a_schedule_of_nobody_start_nothing() {
    let world = world().await;
    for (schedule, expression, scheduled) in [
        ("gone", "0 0 3 * * ?", "2026-11-20T03:00:00Z"),
        ("nightly", "0 0 3 LW * ?", "2026-11-20T03:00:00Z"),
        ("nightly", "whenever", "2026-11-20T03:00:00Z"),
        ("nightly", "0 0 3 * * ?", "2026-11-20T04:00:00Z"),
    ] {
        let event = fired(schedule, expression, scheduled);
        let answer = world.trigger.handle(event, DUE).await.unwrap();
        assert_eq!(answer["started"], json!([]), "{answer}");
    }
    assert!(world.functions.invoked().is_empty());
}
