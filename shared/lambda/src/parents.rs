//! What a child sees of the executions that started it: stored by reference, read whole only where a stage asks.

use gennaker_cloud::{CloudError, Store};
use gennaker_domain::ExecutionId;
use gennaker_domain::execution_json::execution_json;
use serde_json::Value;

/// How many parents above each other are read. Orca copies them all into every child, which is what made its
/// executions large.
const LEVELS: usize = 3;

/// Puts the parents' whole executions into `trigger.parentExecution`, if one of these values speaks of them: those of a
/// stage's configuration.
///
/// # Errors
/// Those of the table.
pub async fn complete(
    store: &Store,
    mut values: impl Iterator<Item = &Value>,
    mut trigger: Value,
) -> Result<Value, CloudError> {
    if trigger.get("parentExecution").is_none() || !values.any(mentions) {
        return Ok(trigger);
    }
    let mut at = &mut trigger;
    for _ in 0..LEVELS {
        let Some(parent) = at.get_mut("parentExecution") else {
            break;
        };
        let id = parent.get("id").and_then(Value::as_str);
        let Some(id) = id.and_then(|id| ExecutionId::try_from(id.to_owned()).ok()) else {
            break;
        };
        let Some(execution) = store.execution(&id).await? else {
            break;
        };
        let Some(plan) = store.plan(&execution.plan_hash).await? else {
            break;
        };
        let records = store.stages(&id).await?;
        let own = store.trigger(&id).await?.unwrap_or(Value::Null);
        *parent = execution_json(&plan, &execution, &records, &own);
        let Some(next) = parent.get_mut("trigger") else {
            break;
        };
        at = next;
    }
    Ok(trigger)
}

fn mentions(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("parentExecution"),
        Value::Array(list) => list.iter().any(mentions),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains("parentExecution") || mentions(value)),
        _ => false,
    }
}
