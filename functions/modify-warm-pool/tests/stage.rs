//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::AutoScaling;
use gennaker_cloud::auto_scaling::WarmPool;
use gennaker_domain::deployment::Capacity;
use gennaker_modify_warm_pool::ModifyWarmPool;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const NAME: &str = "shop-web-v001";

fn before() -> WarmPool {
    WarmPool {
        state: Some("Running".to_owned()),
        min_size: Some(1),
        max_prepared: Some(5),
        ..WarmPool::default()
    }
}

async fn one_group(more: &Value, pool: bool) -> Drive {
    let mut context =
        json!({"credentials": "prod", "region": "us-east-1", "serverGroupName": NAME});
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let plan = vec![drive::stage(
        "1",
        "modifyWarmPool",
        "modify-warm-pool",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    drive
        .world
        .add_group(NAME, "ami-1", Capacity::fixed(2), &[]);
    if pool {
        drive.world.put_warm_pool(NAME, &before()).await.unwrap();
    }
    drive
}

async fn pool(drive: &Drive) -> Option<WarmPool> {
    drive.world.warm_pool(NAME).await.unwrap()
}

#[tokio::test]
async fn dies_at_every_call_and_the_pool_is_as_asked() {
    let upsert = json!({"action": "upsert", "poolState": "Stopped", "minSize": 2});
    let delete = json!({"action": "delete"});
    for (asked, there, after) in [
        (&upsert, true, Some(("Stopped", 2, Some(5)))),
        (&upsert, false, Some(("Stopped", 2, None))),
        (&delete, true, None),
        (&delete, false, None),
    ] {
        let scenario = |strike: Option<Strike>| async move {
            let drive = one_group(asked, there).await;
            let first = drive.faults.arm(strike);
            let stage = ModifyWarmPool::new(Arc::new(drive.world.clone()));
            assert_eq!(
                drive.to_end(&drive.runtime(stage), "1").await,
                End::Done,
                "{strike:?}"
            );
            let calls = drive.faults.calls().len() - first;
            let found = pool(&drive).await;
            let found = found.as_ref().map(|pool| {
                (
                    pool.state.as_deref().unwrap(),
                    pool.min_size.unwrap(),
                    pool.max_prepared,
                )
            });
            assert_eq!(found, after, "{asked} {strike:?}");
            calls
        };
        assert!(fault_everywhere(scenario).await > 10);
    }
}

#[tokio::test]
async fn undone_after_any_crash_the_pool_is_that_of_before() {
    let upsert = json!({"action": "upsert", "poolState": "Stopped", "minSize": 2});
    let delete = json!({"action": "delete"});
    for (asked, there) in [(&upsert, true), (&upsert, false), (&delete, true)] {
        let scenario = |strike: Option<Strike>| async move {
            let drive = one_group(asked, there).await;
            let first = drive.faults.arm(strike);
            let runtime = drive.runtime(ModifyWarmPool::new(Arc::new(drive.world.clone())));

            let event = json!({ "run": drive.run(), "stage": "1" });
            let _ = drive.call(&runtime, &event).await;
            let calls = drive.faults.calls().len() - first;
            assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
            drive.world.advance(60_000);
            assert_eq!(pool(&drive).await, there.then(before), "{asked} {strike:?}");
            calls
        };
        assert!(fault_everywhere(scenario).await > 20);
    }
}
