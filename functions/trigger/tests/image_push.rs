//! An image push becomes an execution, once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_lambda::FunctionError;
use gennaker_start::Start;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryRegistry, MemoryStepFunctions, MemoryTable, at_every_call,
    sample,
};
use gennaker_trigger::Trigger;
use serde_json::{Value, json};

struct World {
    faults: Faults,
    store: Store,
    step_functions: MemoryStepFunctions,
    functions: MemoryFunctions,
    registry: MemoryRegistry,
    trigger: Trigger,
    start: Start,
}

async fn world(triggers: &[Value]) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(faults.clone());
    let registry = MemoryRegistry::with_faults(faults.clone());
    registry.push("shop/api", "v1", "sha256:from-ecr");
    let entries: Vec<TriggerEntry> = triggers
        .iter()
        .enumerate()
        .map(|(index, trigger)| TriggerEntry {
            key: "ecr#123456789012/us-east-1/shop/api".to_owned(),
            application: "shop".to_owned(),
            pipeline_id: "p-1".to_owned(),
            index,
            trigger: trigger.clone(),
        })
        .collect();
    let plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
    sample::save(&store, &plan, &entries).await.unwrap();
    World {
        trigger: Trigger::new(
            store.clone(),
            Arc::new(registry.clone()),
            Arc::new(functions.clone()),
            "g",
        ),
        start: Start::new(
            store.clone(),
            Arc::new(step_functions.clone()),
            Arc::new(functions.clone()),
            "g",
        ),
        faults,
        store,
        step_functions,
        functions,
        registry,
    }
}

fn docker(tag: &str) -> Value {
    json!({"type": "docker", "enabled": true, "repository": "shop/api", "tag": tag,
        "registry": "123456789012.dkr.ecr.us-east-1.amazonaws.com"})
}

fn push() -> Value {
    json!({
        "id": "e-1", "time": "2026-11-21T14:00:00Z", "source": "aws.ecr",
        "detail-type": "ECR Image Action", "account": "123456789012", "region": "us-east-1",
        "detail": {"action-type": "PUSH", "result": "SUCCESS", "repository-name": "shop/api",
            "image-tag": "v1"},
    })
}

impl World {
    /// Delivers what was handed to `start`, every time that it was handed over.
    async fn deliver(&self, from: usize) -> Result<usize, FunctionError> {
        let invoked = self.functions.invoked();
        for (name, payload) in invoked.iter().skip(from) {
            if name == "g-start:live" {
                self.start.start(payload, 1_000).await?;
            }
        }
        Ok(invoked.len())
    }
}

#[tokio::test]
async fn the_same_event_delivered_three_times_starts_one_execution() {
    let world = world(&[docker(r"v\d+"), docker(r"v\d+")]).await;
    for _ in 0..3 {
        world.trigger.trigger(&push()).await.unwrap();
    }
    world.deliver(0).await.unwrap();
    assert_eq!(world.step_functions.runs().len(), 1);
    let executions = world.store.running_executions(10).await.unwrap();
    assert_eq!(executions.len(), 1);
    let trigger = world
        .store
        .trigger(&executions[0].id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(trigger["tag"], "v1");
    assert_eq!(trigger["digest"], "sha256:from-ecr");
    assert_eq!(
        trigger["artifacts"][0]["reference"],
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/api@sha256:from-ecr"
    );
}

#[tokio::test]
async fn a_crash_at_any_call_loses_no_execution_and_doubles_none() {
    at_every_call(async |strike| {
        let world = world(&[docker("")]).await;
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.trigger.trigger(&push()).await)
            .await;
        armed.until_answered(async || world.deliver(0).await).await;
        let calls = armed.finish();
        assert_eq!(world.step_functions.runs().len(), 1);
        assert_eq!(world.store.running_executions(10).await.unwrap().len(), 1);
        calls
    })
    .await;
}

#[tokio::test]
async fn two_triggers_that_differ_start_two_executions() {
    let mut other = docker("");
    other["parameters"] = json!({"region": "eu-west-1"});
    let world = world(&[docker(""), other]).await;
    let answer = world.trigger.trigger(&push()).await.unwrap();
    assert_eq!(answer["started"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_push_or_matches_nothing_starts_nothing() {
    let world = world(&[docker("release-.*")]).await;
    assert_eq!(
        world.trigger.trigger(&push()).await.unwrap()["started"],
        json!([])
    );
    let mut delete = push();
    delete["detail"]["action-type"] = json!("DELETE");
    let mut untagged = push();
    untagged["detail"]["image-tag"] = json!("");
    let mut scan = push();
    scan["detail-type"] = json!("ECR Image Scan");
    for event in [delete, untagged, scan] {
        assert_eq!(
            world.trigger.trigger(&event).await.unwrap()["started"],
            json!([])
        );
    }
    assert_eq!(world.functions.invoked(), Vec::new());
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_refused_with_the_reason() {
    let world = world(&[docker("")]).await;
    for field in ["id", "time", "account", "region", "detail-type"] {
        let mut event = push();
        event.as_object_mut().unwrap().shift_remove(field);
        let refused = world.trigger.trigger(&event).await.unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
    }
    let mut event = push();
    event["time"] = json!("yesterday");
    assert!(world.trigger.trigger(&event).await.is_err());
}

#[tokio::test]
async fn the_digest_that_the_event_says_is_believed() {
    let world = world(&[docker("")]).await;
    world.registry.push("shop/api", "v1", "sha256:newer");
    let mut event = push();
    event["detail"]["image-digest"] = json!("sha256:pushed");
    world.trigger.trigger(&event).await.unwrap();
    let (_, payload) = &world.functions.invoked()[0];
    assert_eq!(payload["trigger"]["digest"], "sha256:pushed");
}
