//! Under which conditions a compiled sub-stage of a strategy runs, and what of its context is known only then.

use gennaker_domain::PlanStage;
use gennaker_domain::deployment::strategy::{Condition, Fill};
use serde_json::Value;

/// The conditions and the fills of a stage of a plan.
#[must_use]
pub fn of(stage: &PlanStage) -> (Vec<Condition>, Vec<Fill>) {
    let mut only_if = Vec::new();
    if stage.only_if.as_deref() == Some("source-server-group") {
        only_if.push(Condition::Source);
    }
    let is = |key: &str| stage.context.get(key) == Some(&Value::Bool(true));
    let mut fills = Vec::new();
    if is("useSourceServerGroup") {
        if stage.context.get("target").is_none() {
            fills.push(Fill::OnSource);
        }
        if stage.context.contains_key("action") {
            fills.push(Fill::Measure);
        }
    }
    (only_if, fills)
}
