//! A join never misses the last record.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_domain::{Execution, StageRecord, Status};
use gennaker_join::Join;
use gennaker_testkit::{Faults, MemoryFunctions, MemoryTable, at_every_call, sample};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    store: Store,
    functions: MemoryFunctions,
    join: Join,
    execution: Execution,
}

async fn world() -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let functions = MemoryFunctions::with_faults(faults.clone());
    let plan = sample::plan(json!([
        {"refId": "1", "type": "wait"},
        {"refId": "2", "type": "wait", "requisites": ["1"], "joins": true},
    ]));
    let execution = sample::running(&store, &plan, 1).await.unwrap();
    World {
        join: Join::new(store.clone(), Arc::new(functions.clone()), "g"),
        faults,
        store,
        functions,
        execution,
    }
}

impl World {
    async fn complete(&self, status: Status) {
        let mut record = StageRecord::not_started("1");
        record.status = status;
        self.store
            .settle_stage(&self.execution.id, &record)
            .await
            .unwrap();
    }

    fn event(&self) -> Value {
        json!({"run": self.execution.id.run(1), "stage": "2", "token": "secret"})
    }
}

#[tokio::test]
async fn a_join_sleeps_until_the_records_it_waits_for_are_complete() {
    let world = world().await;
    assert_eq!(
        world.join.join(&world.event()).await.unwrap()["open"],
        false
    );
    assert_eq!(world.functions.invoked(), []);
    let run = world.execution.id.run(1);
    assert_eq!(
        world.store.token(&run, "join:2").await.unwrap().as_deref(),
        Some("secret")
    );
}

#[tokio::test]
async fn a_crash_at_any_call_still_opens_a_join_whose_records_are_complete() {
    for status in [Status::Succeeded, Status::Terminal] {
        at_every_call(async |strike| {
            let world = world().await;
            world.complete(status).await;
            let armed = strike.arm(&world.faults);
            armed
                .until_answered(async || world.join.join(&world.event()).await)
                .await;
            let calls = armed.finish();
            assert_eq!(
                world.functions.distinct(),
                [(
                    "g-wake:live".to_owned(),
                    json!({"run": world.execution.id.run(1), "joins": ["2"]})
                )]
            );
            calls
        })
        .await;
    }
}

#[tokio::test]
async fn the_token_is_handed_to_nobody() {
    let world = world().await;
    world.complete(Status::Succeeded).await;
    let answer = world.join.join(&world.event()).await.unwrap();
    assert!(!answer.to_string().contains("secret"));
    assert!(!format!("{:?}", world.functions.invoked()).contains("secret"));
}
