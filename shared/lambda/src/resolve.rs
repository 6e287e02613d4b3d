//! Expressions of a stage, resolved once at its start.

use gennaker_domain::execution_json::execution_json;
use gennaker_domain::rollup::Records;
use gennaker_domain::{Execution, Plan, PlanStage};
use gennaker_expressions::{Context, Evaluator, Mode, Options, evaluate};
use serde_json::{Map, Value, json};

/// A stage's configuration with its expressions resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The configuration.
    pub context: Map<String, Value>,
    /// What could not be resolved, as Orca's `expressionEvaluationSummary`; none if all could.
    pub summary: Option<Value>,
}

/// Fields that are not evaluated with the stage: `stageEnabled` is an expression of its own kind.
const VERBATIM: [&str; 1] = ["stageEnabled"];

fn options(plan: &Plan, mode: Mode, now: i64, seed: &str) -> Options<'static> {
    Options {
        evaluator: if plan.spel_evaluator.eq_ignore_ascii_case("v4") {
            Evaluator::V4
        } else {
            Evaluator::V3
        },
        allow_unknown_keys: true,
        now_millis: now,
        // Derived from the execution: the same stage sees the same random values at every try.
        seed: seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }),
        mode,
        ports: None,
        ..Options::default()
    }
}

/// Resolves the expressions of a stage's configuration. What cannot be resolved stays as it is and is told in the
/// summary.
#[must_use]
pub fn resolve(
    plan: &Plan,
    execution: &Execution,
    records: &Records,
    trigger: &Value,
    stage: &PlanStage,
    now: i64,
) -> Resolved {
    let mut source = stage.context.clone();
    let verbatim: Vec<(String, Value)> = VERBATIM
        .iter()
        .filter_map(|name| {
            source
                .shift_remove(*name)
                .map(|value| ((*name).to_owned(), value))
        })
        .collect();
    let source = Value::Object(source);
    if !has_expression(&source) {
        let mut context = stage.context.clone();
        // A stage without configuration still has a context: an empty one would be resolved again.
        context
            .entry("type")
            .or_insert_with(|| stage.stage_type.clone().into());
        return Resolved {
            context,
            summary: None,
        };
    }
    let json = execution_json(plan, execution, records, trigger);
    let root = Context::from_execution(&json, Some(&stage.ref_id), Some(&source));
    let seed = format!("{}/{}", execution.id, stage.ref_id);
    let outcome = evaluate(&source, &root, &options(plan, Mode::Stage, now, &seed));
    let mut context = match outcome.value {
        Value::Object(map) => map,
        _ => stage.context.clone(),
    };
    context.extend(verbatim);
    context
        .entry("type")
        .or_insert_with(|| stage.stage_type.clone().into());
    let mut summary = Map::new();
    for failure in &outcome.failures {
        let entry = json!([{
            "level": failure.level.as_str(),
            "description": failure.message,
            "explanation": failure.explanation,
            "timestamp": now,
        }]);
        summary.insert(failure.expression.clone(), entry);
    }
    Resolved {
        context,
        summary: (!summary.is_empty()).then_some(Value::Object(summary)),
    }
}

/// Whether the stage's `stageEnabled` lets it run: absent, blank, or an expression that gives `true`. One that cannot
/// be evaluated skips the stage, as in Orca.
#[must_use]
pub fn stage_enabled(
    plan: &Plan,
    execution: &Execution,
    records: &Records,
    trigger: &Value,
    stage: &PlanStage,
    now: i64,
) -> bool {
    let expression = stage
        .context
        .get("stageEnabled")
        .filter(|enabled| enabled.get("type").and_then(Value::as_str) == Some("expression"))
        .and_then(|enabled| enabled.get("expression"));
    let text = match expression {
        None | Some(Value::Null) => return true,
        Some(Value::String(text)) if text.trim().is_empty() => return true,
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let json = execution_json(plan, execution, records, trigger);
    let root = Context::from_execution(&json, Some(&stage.ref_id), None);
    let seed = format!("{}/{}/stageEnabled", execution.id, stage.ref_id);
    let source = json!({ "expression": format!("${{{text}}}") });
    let outcome = evaluate(&source, &root, &options(plan, Mode::Map, now, &seed));
    match outcome.value.get("expression") {
        Some(Value::Bool(enabled)) => *enabled,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// The value of one text, with the stage's resolved context as the nearest names.
pub(crate) fn evaluate_text(
    invocation: &crate::Invocation<'_>,
    text: &str,
) -> Result<Value, String> {
    let json = execution_json(
        invocation.plan,
        invocation.execution,
        invocation.records,
        invocation.trigger,
    );
    let context = Value::Object(invocation.context.clone());
    let root = Context::from_execution(&json, Some(&invocation.stage.ref_id), Some(&context));
    let seed = format!(
        "{}/{}/{text}",
        invocation.execution.id, invocation.stage.ref_id
    );
    let source = json!({ "text": text });
    let mut outcome = evaluate(
        &source,
        &root,
        &options(invocation.plan, Mode::Map, invocation.now, &seed),
    );
    match outcome.failures.pop() {
        Some(failure) => Err(if failure.explanation.is_empty() {
            failure.message
        } else {
            failure.explanation
        }),
        None => Ok(outcome.value.get("text").cloned().unwrap_or(Value::Null)),
    }
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(list) => list.iter().any(has_expression),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains("${") || has_expression(value)),
        _ => false,
    }
}
