//! People are told once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_domain::{Execution, Plan};
use gennaker_notify::Notify;
use gennaker_testkit::{Faults, MemoryNotifications, MemoryTable, at_every_call, sample};
use serde_json::{Value, json};

struct World {
    faults: Faults,
    notifications: MemoryNotifications,
    notify: Notify,
    execution: Execution,
}

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:releases";

async fn world(settings: &[Value]) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let notifications = MemoryNotifications::with_faults(faults.clone());
    let plan = Plan {
        notifications: settings.to_vec(),
        ..sample::plan(json!([{"refId": "1", "type": "wait"}]))
    };
    let execution = sample::running(&store, &plan, 1).await.unwrap();
    World {
        notify: Notify::new(store, Arc::new(notifications.clone())),
        faults,
        notifications,
        execution,
    }
}

fn sns(when: &str) -> Value {
    json!({"type": "sns", "address": TOPIC, "when": [when],
        "message": {"pipeline.failed": {"text": "call the owner"}}})
}

impl World {
    fn event(&self, when: &str) -> Value {
        json!({"execution": self.execution.id, "run": 1, "when": when})
    }
}

#[tokio::test]
async fn only_who_asked_for_the_occasion_is_told_and_only_once() {
    let world = world(&[sns("pipeline.failed"), sns("pipeline.complete")]).await;
    for now in [10, 20, 100_000] {
        world
            .notify
            .notify(&world.event("pipeline.failed"), now)
            .await
            .unwrap();
    }
    let published = world.notifications.published();
    assert_eq!(published.len(), 1);
    let (topic, message) = &published[0];
    assert_eq!(topic, TOPIC);
    assert_eq!(message.subject, "Pipeline release for shop has failed");
    assert!(message.text.contains("call the owner"));
}

#[tokio::test]
async fn a_crash_at_any_call_loses_no_message_and_a_repeated_one_is_known_by_its_id() {
    at_every_call(async |strike| {
        let world = world(&[sns("pipeline.failed")]).await;
        let event = world.event("pipeline.failed");
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.notify.notify(&event, 10).await)
            .await;
        // Lambda's next try, or the sweep's next finalize, comes after a claim that died.
        armed
            .until_answered(async || world.notify.notify(&event, 100_000).await)
            .await;
        let calls = armed.finish();
        let mut ids: Vec<_> = world
            .notifications
            .published()
            .into_iter()
            .map(|(_, message)| message.attributes)
            .collect();
        assert!(!ids.is_empty());
        ids.dedup();
        assert_eq!(ids.len(), 1);
        calls
    })
    .await;
}

#[tokio::test]
async fn a_type_that_is_not_built_stops_nobody() {
    let slack = json!({"type": "slack", "address": "#releases", "when": ["pipeline.failed"]});
    let world = world(&[slack, sns("pipeline.failed")]).await;
    let answer = world
        .notify
        .notify(&world.event("pipeline.failed"), 10)
        .await
        .unwrap();
    assert_eq!(answer["sent"], 1);
    assert_eq!(world.notifications.published().len(), 1);
}
