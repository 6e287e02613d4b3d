//! Expressions of a stage, resolved when it starts, by the rules that the stage runtime follows.

use gennaker_domain::{
    Execution, Plan, PlanStage, execution_json::execution_json, rollup::Records,
};
use gennaker_expressions::{Context, Evaluator, Mode, Options, evaluate};
use serde_json::{Map, Value, json};

/// A stage's configuration with its expressions resolved, and whether one of them failed.
pub(crate) struct Resolved {
    pub context: Map<String, Value>,
    pub failed: bool,
}

/// Where expressions are evaluated.
pub(crate) struct Scope<'a> {
    pub plan: &'a Plan,
    pub execution: &'a Execution,
    pub trigger: &'a Value,
    pub now: i64,
}

impl Scope<'_> {
    fn options(&self, mode: Mode) -> Options<'static> {
        Options {
            evaluator: if self.plan.spel_evaluator.eq_ignore_ascii_case("v4") {
                Evaluator::V4
            } else {
                Evaluator::V3
            },
            now_millis: self.now,
            mode,
            ..Options::default()
        }
    }

    /// Resolves the configuration of `stage`.
    pub fn resolve(&self, records: &Records, stage: &PlanStage) -> Resolved {
        let mut source = stage.context.clone();
        // An expression of its own kind, asked before the stage starts.
        let enabled = source.shift_remove("stageEnabled");
        let source = Value::Object(source);
        if !has_expression(&source) {
            return Resolved {
                context: stage.context.clone(),
                failed: false,
            };
        }
        let json = execution_json(self.plan, self.execution, records, self.trigger);
        let root = Context::from_execution(&json, Some(&stage.ref_id), Some(&source));
        let outcome = evaluate(&source, &root, &self.options(Mode::Stage));
        let mut context = match outcome.value {
            Value::Object(map) => map,
            _ => stage.context.clone(),
        };
        if let Some(enabled) = enabled {
            context.insert("stageEnabled".to_owned(), enabled);
        }
        Resolved {
            context,
            failed: !outcome.failures.is_empty(),
        }
    }

    /// Whether `stageEnabled` lets the stage run: absent, blank, or an expression that gives `true`.
    pub fn enabled(&self, records: &Records, stage: &PlanStage) -> bool {
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
        // What needs no evaluation.
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => return true,
            "false" => return false,
            _ => {}
        }
        let json = execution_json(self.plan, self.execution, records, self.trigger);
        let root = Context::from_execution(&json, Some(&stage.ref_id), None);
        let source = json!({ "expression": format!("${{{text}}}") });
        let outcome = evaluate(&source, &root, &self.options(Mode::Map));
        match outcome.value.get("expression") {
            Some(Value::Bool(enabled)) => *enabled,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
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
