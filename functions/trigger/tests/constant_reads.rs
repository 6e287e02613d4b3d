//! An event costs the same reads among 100,000 triggers as among one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_testkit::{Faults, MemoryFunctions, MemoryRegistry, MemoryTable, sample};
use gennaker_trigger::Trigger;
use serde_json::json;

/// Calls to the table for one push to the repository in the middle.
async fn reads(triggers: usize) -> Vec<String> {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    sample::heard_by(&Store::new(Arc::new(table.without_faults())), triggers)
        .await
        .unwrap();
    let functions = MemoryFunctions::new();
    let trigger = Trigger::new(
        Store::new(Arc::new(table)),
        Arc::new(MemoryRegistry::new()),
        Arc::new(functions.clone()),
        "g",
    );
    let event = json!({
        "id": "e-1", "detail-type": "ECR Image Action", "source": "aws.ecr", "account": "123456789012",
        "time": "2026-11-20T12:00:00Z", "region": "us-east-1",
        "detail": { "action-type": "PUSH", "result": "SUCCESS", "repository-name": format!("shop/{}", triggers / 2),
            "image-tag": "v1", "image-digest": "sha256:1" },
    });
    trigger.trigger(&event).await.unwrap();
    assert_eq!(functions.invoked().len(), 1);
    faults.calls()
}

#[tokio::test]
async fn an_event_among_a_hundred_thousand_triggers_costs_one_query() {
    assert_eq!(reads(1).await, ["dynamodb:Query"]);
    assert_eq!(reads(100_000).await, ["dynamodb:Query"]);
}
