//! Under which conditions a compiled sub-stage of a strategy runs, and what of its context is known only then.

use gennaker_domain::PlanStage;
use gennaker_domain::deployment::strategy::{Condition, Fill};
use serde_json::Value;

/// The conditions and the fills of a stage of a plan: `onlyIf` is a list of conditions, the context's `fills` one of
/// fills.
#[must_use]
pub fn of(stage: &PlanStage) -> (Vec<Condition>, Vec<Fill>) {
    if !stage.conditions.is_empty() || !stage.fills.is_empty() {
        return (stage.conditions.clone(), stage.fills.clone());
    }
    let written = stage.only_if.as_deref().unwrap_or_default();
    let only_if = written
        .split(',')
        .filter_map(|name| match name.trim() {
            "source-server-group" => Some(Condition::Source),
            name => serde_json::from_value(Value::from(name)).ok(),
        })
        .collect();
    let listed = stage.context.get("fills").and_then(Value::as_array);
    let mut fills: Vec<Fill> = listed
        .into_iter()
        .flatten()
        .filter_map(|name| serde_json::from_value(name.clone()).ok())
        .collect();
    if stage.context.get("useSourceServerGroup") == Some(&Value::Bool(true)) {
        if stage.context.get("target").is_none() {
            fills.push(Fill::OnSource);
        }
        if stage.context.contains_key("action") {
            fills.push(Fill::Measure);
        }
    }
    (only_if, fills)
}
