//! Recorded cases: a decision's input as Spinnaker's JSON, and its answer in Spinnaker's words.
//!
//! The decisions themselves are typed and speak for themselves; this is the edge where they can be
//! compared with what the original decided.

mod cluster_operation;
mod find_image;
mod health;
mod naming;
mod resize;
mod run;
mod target;
mod traffic_guard;
mod world;

use serde_json::{Map, Value, json};

use super::context;
use super::server_group::{ServerGroup, ServerGroupError};

/// The decisions that can be asked for.
const DECISIONS: [&str; 9] = [
    "strategies",
    "cluster-operations",
    "targets",
    "traffic-guards",
    "resize",
    "rollback",
    "health",
    "naming",
    "find-image",
];

/// Answers one case, `{"id", "decision", "input"}`, with `{"id", "result"}`.
///
/// The result has the fields that the recorded answers have; a decision that refuses is a result with `error`. A case
/// that cannot be read is answered with `{"id", "error"}`. The same case has the same answer.
#[must_use]
pub fn evaluate_case(case: &Value) -> Value {
    let id = case.get("id").cloned().unwrap_or(Value::Null);
    match evaluate(case) {
        Ok(result) => json!({"id": id, "result": result}),
        Err(error) => json!({"id": id, "error": error.to_string()}),
    }
}

fn evaluate(case: &Value) -> Result<Value, CaseError> {
    let decision = case
        .get("decision")
        .and_then(Value::as_str)
        .ok_or(CaseError::Missing("decision"))?;
    let input = case
        .get("input")
        .and_then(Value::as_object)
        .ok_or(CaseError::Missing("input"))?;
    match decision {
        "cluster-operations" => cluster_operation::answer(input),
        "targets" => target::answer(input),
        "traffic-guards" => traffic_guard::answer(input),
        "resize" => resize::answer(input),
        "health" => health::answer(input),
        "naming" => naming::answer(input),
        "find-image" => find_image::answer(input),
        "strategies" | "rollback" => run::answer(input),
        other => Err(CaseError::UnknownDecision(other.to_owned())),
    }
}

/// Why a case cannot be answered.
#[derive(Debug, thiserror::Error)]
enum CaseError {
    #[error("the case has no `{0}`")]
    Missing(&'static str),
    #[error("unknown decision `{0}`, expected {list}", list = DECISIONS.join(", "))]
    UnknownDecision(String),
    #[error("unknown {what} `{value}`")]
    Unknown { what: &'static str, value: String },
    #[error("a server group cannot be read: {0}")]
    ServerGroup(#[from] ServerGroupError),
    #[error("{0}")]
    Context(#[from] super::ContextError),
}

/// A decision that refuses, in the original's words.
fn refused(class: &str, message: &str) -> Value {
    json!({"error": format!("{class}: {message}")})
}

fn server_groups(input: &Map<String, Value>) -> Result<Vec<ServerGroup>, CaseError> {
    let groups = input
        .get("serverGroups")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    Ok(groups
        .iter()
        .map(ServerGroup::from_spinnaker)
        .collect::<Result<_, _>>()?)
}

fn in_region(groups: &[ServerGroup], region: &str) -> Vec<ServerGroup> {
    groups
        .iter()
        .filter(|group| group.region == region)
        .cloned()
        .collect()
}

fn context_of(input: &Map<String, Value>) -> Result<&Map<String, Value>, CaseError> {
    context::object(input, "context").ok_or(CaseError::Missing("context"))
}

/// The place of a text in a small Java hash map, whose order shows in what was recorded.
fn hash_position(text: &str) -> u32 {
    let hash = text.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(unit.into())
    });
    (hash ^ (hash >> 16)) & 15
}

/// The regions of a stage: `regions`, else `region`.
fn regions(context: &Map<String, Value>) -> Vec<String> {
    let mut regions: Vec<String> = Vec::new();
    let listed = context::text_list(context, "regions").filter(|regions| !regions.is_empty());
    for region in listed.unwrap_or_else(|| {
        context::filled_text(context, "region")
            .into_iter()
            .collect()
    }) {
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions
}

/// The cluster of a stage: its moniker's, else its own, else that of its server group's name.
fn cluster(context: &Map<String, Value>) -> Option<String> {
    context::object(context, "moniker")
        .and_then(|moniker| context::filled_text(moniker, "cluster"))
        .or_else(|| context::filled_text(context, "cluster"))
        .or_else(|| {
            super::naming::parse(&context::filled_text(context, "serverGroupName")?).cluster
        })
}
