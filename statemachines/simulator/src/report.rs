//! What a run came to, as `pipeline simulate --json` prints it.

use gennaker_domain::{Plan, Status, rollup::Rollup};
use serde_json::{Map, Value, json};

use crate::machine::Run;

pub(crate) fn report(plan: &Plan, run: &Run<'_>) -> Value {
    let seconds = |millis: i64| seconds(millis.saturating_sub(run.stages.start));
    let rollup = Rollup::new(plan, &run.stages.records);
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .map(|stage| {
            let status = rollup.status(&stage.ref_id);
            let mut entry = Map::new();
            entry.insert("refId".to_owned(), json!(stage.ref_id));
            entry.insert("type".to_owned(), json!(stage.stage_type));
            entry.insert("status".to_owned(), json!(status));
            let (started, ended) = rollup.times(&stage.ref_id);
            if let Some(started) = started {
                entry.insert("started".to_owned(), seconds(started));
            }
            if let Some(ended) = ended.filter(|_| status.is_complete()) {
                entry.insert("ended".to_owned(), seconds(ended));
            }
            Value::Object(entry)
        })
        .collect();
    let status = match run.status {
        // Nothing is left that could go on.
        Status::Running | Status::NotStarted => Status::Terminal,
        decided => decided,
    };
    json!({
        "status": status,
        "seconds": seconds(run.ended),
        "transitions": run.transitions,
        "events": run.events,
        "stages": stages,
        "states": run.visited,
    })
}

/// Milliseconds as seconds, whole ones without a fraction.
fn seconds(millis: i64) -> Value {
    if millis % 1000 == 0 {
        json!(millis / 1000)
    } else {
        // Below 2^53: an execution lasts a year at most.
        json!(millis as f64 / 1000.0)
    }
}
