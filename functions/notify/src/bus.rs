//! The installation's own bus: an event for everything that happens, for whoever has a rule.
//!
//! `schema/event.json` is what an event's `detail` is. Nothing of a configuration, a parameter or an output is in it.

use gennaker_cloud::CloudError;
use gennaker_domain::{Execution, PlanStage, StageRecord, Status};
use gennaker_http::{Aws, SignedCall};
use serde_json::{Value, json};

/// `source` of every event.
pub const SOURCE: &str = "gennaker";
/// Version of the schema; a new field does not change it.
pub const VERSION: u32 = 1;
/// Longest reason in an event: EventBridge takes 256 KiB, people read less.
const REASON_CHARACTERS: usize = 2_000;

/// A stage in an event.
#[derive(Clone, Copy, Debug)]
pub struct StageFacts<'a> {
    /// In the plan.
    pub stage: &'a PlanStage,
    /// Its status; a group's is computed.
    pub status: Status,
    /// When it started and ended.
    pub times: (Option<i64>, Option<i64>),
    /// Its own record; a group has none.
    pub record: Option<&'a StageRecord>,
}

fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_CHARACTERS).collect()
}

/// `detail-type` of an occasion.
#[must_use]
pub fn detail_type(when: &str) -> &'static str {
    if when.starts_with("pipeline.") {
        "Pipeline Status Change"
    } else if when.starts_with("stage.") {
        "Stage Status Change"
    } else {
        "Manual Judgment Status Change"
    }
}

/// `detail` of an event. `id` is the same for every repetition.
#[must_use]
pub fn detail(
    execution: &Execution,
    run: u32,
    stage: Option<&StageFacts<'_>>,
    when: &str,
    id: &str,
    link: Option<String>,
) -> Value {
    let mut detail = json!({
        "version": VERSION,
        "id": id,
        "when": when,
        "application": execution.application,
        "pipeline": { "id": execution.pipeline_id, "name": execution.pipeline, "revision": execution.revision },
        "execution": {
            "id": execution.id,
            "run": execution.id.run(run).to_string(),
            "status": execution.status,
            "buildTime": execution.build_time,
            "startTime": execution.start_time,
            "endTime": execution.end_time,
            "canceled": execution.canceled,
            "reason": execution.ending.as_ref().map(|ending| shortened(&ending.reason)),
        },
        "url": link,
    });
    if let (Some(facts), Some(object)) = (stage, detail.as_object_mut()) {
        let failure = facts.record.and_then(|record| record.failure.as_ref());
        object.insert(
            "stage".to_owned(),
            json!({
                "refId": facts.stage.ref_id,
                "type": facts.stage.stage_type,
                "name": facts.stage.name,
                "parent": facts.stage.parent,
                "status": facts.status,
                "startTime": facts.times.0,
                "endTime": facts.times.1,
                "reason": failure.map(|failure| shortened(&failure.reason)),
            }),
        );
    }
    detail
}

/// Puts one event. A second one is known by its `id`. (`events:PutEvents`)
///
/// # Errors
/// Those of EventBridge; an entry that failed inside of an answer that succeeded is one, too.
pub async fn put(
    aws: &dyn Aws,
    bus: &str,
    when: &str,
    detail: &Value,
    now: i64,
) -> Result<(), CloudError> {
    let body = json!({ "Entries": [{
        "Source": SOURCE,
        "DetailType": detail_type(when),
        "Detail": detail.to_string(),
        "EventBusName": bus,
        "Time": now / 1_000,
    }] });
    let call = SignedCall::json(
        "events",
        "events:PutEvents",
        "AWSEvents.PutEvents",
        bus,
        &body,
    );
    let answer = aws.send(&call, now).await?;
    if answer
        .get("FailedEntryCount")
        .and_then(Value::as_i64)
        .unwrap_or(0)
        == 0
    {
        return Ok(());
    }
    let entry = answer.pointer("/Entries/0");
    let text = |name: &str| {
        let value = entry
            .and_then(|entry| entry.get(name))
            .and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let (code, message) = (text("ErrorCode"), text("ErrorMessage"));
    Err(if code == "InternalFailure" || code.contains("Throttl") {
        CloudError::Throttled {
            operation: call.operation.to_owned(),
            message,
        }
    } else {
        CloudError::Refused {
            operation: call.operation.to_owned(),
            resource: bus.to_owned(),
            code,
            message,
            request_id: "unknown".to_owned(),
        }
    })
}
