//! Every trigger of every pipeline against one event.

use std::collections::HashSet;

use gennaker_expressions::{Context, Mode, Options, evaluate};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::artifact::Artifact;
use crate::downstream::{Downstream, downstream};
use crate::event::Event;
use crate::json;
use crate::manual;
use crate::matching::{BUILD_TYPES, Heard, Match, Settings};
use crate::pipeline::Pipeline;
use crate::resolve::prior_artifacts;

/// What an event does.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// One row for each trigger, and one without `trigger` for a pipeline that is started by hand.
    pub matches: Vec<Value>,
    /// What starts, in order: the pipeline's place, the trigger's place (none: by hand).
    pub starts: Vec<Vec<usize>>,
}

/// Our own id of a trigger: that of what it says, so that the same trigger keeps it and its place does not count.
fn trigger_id(identity: &str) -> String {
    let hash = Sha256::digest(identity.as_bytes());
    let hex = hex::encode(hash.get(..16).unwrap_or_default());
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

/// Answers for all triggers of pipelines in Spinnaker's JSON. A pipeline that the original cannot read has rows that
/// say so.
#[must_use]
pub fn explain(event: &Event, pipelines: &[Value], settings: &Settings) -> Explanation {
    let heard = Heard::new(event);
    let mut explanation = Explanation::default();
    // Build triggers start by type, all others in the order of the pipelines.
    let mut starts: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut seen = HashSet::new();
    for (at, value) in pipelines.iter().enumerate() {
        let pipeline = match Pipeline::read(value) {
            Ok(pipeline) => pipeline,
            Err(error) => {
                explanation
                    .matches
                    .extend(unreadable(at, value, &error.to_string()));
                continue;
            }
        };
        for (n, trigger) in pipeline.triggers.iter().enumerate() {
            let answer = heard.matches(&pipeline, trigger, settings);
            let identity = trigger.identity();
            if answer.matched {
                let artifacts: Vec<Value> =
                    answer.artifacts.iter().map(Artifact::to_json).collect();
                let said = canonical(&json!([value, identity, answer.resolved, artifacts]));
                if seen.insert(said) {
                    let order = BUILD_TYPES
                        .iter()
                        .position(|kind| trigger.kind.as_deref() == Some(kind))
                        .unwrap_or(0);
                    starts.push((order, vec![at, n]));
                }
            }
            explanation
                .matches
                .push(row(at, n, value, &pipeline, &identity, answer));
        }
        if let Some(start) = manual::start(event, &pipeline, settings.build_service) {
            let mut row = manual::row(&start);
            put(
                &mut row,
                "application",
                pipeline.application.as_str().into(),
            );
            put(&mut row, "pipeline", pipeline.name.as_str().into());
            put(&mut row, "pipelineIndex", at.into());
            put(&mut row, "matched", start.error.is_none().into());
            put(
                &mut row,
                "reason",
                start
                    .error
                    .clone()
                    .unwrap_or_else(|| "a person starts it".to_owned())
                    .into(),
            );
            let given = start.resolved.get("parameters").and_then(Value::as_object);
            put(
                &mut row,
                "parameters",
                manual::parameters(&pipeline, given).into(),
            );
            put(
                &mut row,
                "artifacts",
                start.artifacts.iter().map(Artifact::to_json).collect(),
            );
            explanation.matches.push(row);
            // One that fails starts too, as failed, so that somebody sees it.
            starts.push((0, vec![at]));
        }
    }
    starts.sort_by_key(|(order, _)| *order);
    explanation.starts = starts.into_iter().map(|(_, start)| start).collect();
    explanation
}

/// The text of a value whatever the order of its keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let parts: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{key:?}:{}", canonical(value)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", parts.join(","))
        }
        scalar => scalar.to_string(),
    }
}

fn put(row: &mut Value, field: &str, value: Value) {
    if let Value::Object(map) = row {
        map.insert(field.to_owned(), value);
    }
}

fn unreadable(at: usize, pipeline: &Value, error: &str) -> Vec<Value> {
    let count = pipeline
        .get("triggers")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    (0..count)
        .map(|n| {
            json!({
                "application": pipeline.get("application"),
                "pipeline": pipeline.get("name"),
                "pipelineIndex": at,
                "trigger": n,
                "matched": false,
                "reason": format!("the pipeline cannot be read: {error}"),
                "resolved": null,
                "parameters": {},
                "artifacts": [],
            })
        })
        .collect()
}

fn row(
    at: usize,
    n: usize,
    value: &Value,
    pipeline: &Pipeline,
    identity: &str,
    answer: Match,
) -> Value {
    let mut resolved = answer.resolved;
    let mut parameters = Map::new();
    let mut changed = None;
    if answer.matched {
        let given = resolved.get("parameters").and_then(Value::as_object);
        parameters = manual::parameters(pipeline, given);
        put(&mut resolved, "id", trigger_id(identity).into());
        changed = evaluated(value, pipeline, &resolved, &answer.artifacts);
    }
    let mut row = json!({
        "application": pipeline.application,
        "pipeline": pipeline.name,
        "pipelineIndex": at,
        "trigger": n,
        "matched": answer.matched,
        "reason": answer.reason,
        "resolved": resolved,
        "parameters": parameters,
        "artifacts": answer.artifacts.iter().map(Artifact::to_json).collect::<Vec<_>>(),
    });
    if let Some(changed) = changed {
        put(&mut row, "expectedArtifacts", changed);
    }
    row
}

/// The expected artifacts with their expressions evaluated, if there are any.
fn evaluated(
    value: &Value,
    pipeline: &Pipeline,
    resolved: &Value,
    artifacts: &[Artifact],
) -> Option<Value> {
    let configured: Vec<Value> = pipeline
        .expected_artifacts
        .iter()
        .map(crate::artifact::ExpectedArtifact::to_json)
        .collect();
    let source = Value::Array(configured);
    if !source.to_string().contains("${") {
        return None;
    }
    let mut root = value.clone();
    put(&mut root, "trigger", resolved.clone());
    put(
        &mut root,
        "receivedArtifacts",
        artifacts.iter().map(Artifact::to_json).collect(),
    );
    let options = Options {
        mode: Mode::Map,
        ..Options::default()
    };
    let outcome = evaluate(&source, &Context::from_json(&root), &options);
    // Read again: what an expression gave is a text where a text belongs.
    let read: Option<Vec<Value>> = outcome
        .value
        .as_array()?
        .iter()
        .map(|one| {
            crate::artifact::ExpectedArtifact::read(one)
                .ok()
                .map(|read| read.to_json())
        })
        .collect();
    let evaluated = Value::Array(read?);
    (evaluated != source).then_some(evaluated)
}

/// Answers for all pipeline triggers at the end of an execution. `latest` gives the executions of a pipeline, of which
/// the latest counts.
#[must_use]
pub fn explain_end(
    parent: &Value,
    pipelines: &[Value],
    latest: &dyn Fn(&Value) -> Vec<Value>,
) -> Explanation {
    let mut explanation = Explanation::default();
    for (at, pipeline) in pipelines.iter().enumerate() {
        let triggers = pipeline.get("triggers").and_then(Value::as_array);
        for (n, trigger) in triggers.into_iter().flatten().enumerate() {
            let prior = || prior_artifacts(&latest(pipeline));
            let answer: Downstream = downstream(pipeline, trigger, parent, &prior);
            let mut row = json!({
                "application": pipeline.get("application"),
                "pipeline": pipeline.get("name"),
                "pipelineIndex": at,
                "trigger": n,
                "matched": answer.matched,
                "reason": answer.reason,
                "parameters": answer.resolved.get("parameters").cloned().unwrap_or_else(|| json!({})),
                "artifacts": answer.resolved.get("artifacts").cloned().unwrap_or_else(|| json!([])),
                "resolved": answer.resolved,
            });
            if let Some(failed) = answer.failed {
                put(&mut row, "failed", failed.into());
            }
            if answer.matched {
                explanation.starts.push(vec![at, n]);
            }
            explanation.matches.push(row);
        }
    }
    explanation
}

/// Takes the secret out of the rows, for whoever prints them.
pub fn without_secrets(rows: &mut [Value]) {
    for row in rows {
        if let Some(Value::Object(resolved)) = row.get_mut("resolved") {
            resolved.shift_remove("secret");
        }
    }
}

/// The event and the settings of one case, in Echo's own form.
#[derive(Debug)]
pub(crate) struct BuildAnswers(pub(crate) Option<crate::matching::BuildService>);

impl BuildAnswers {
    pub(crate) fn read(value: Option<&Value>) -> Self {
        let Some(Value::Object(map)) = value else {
            return Self(None);
        };
        Self(Some(crate::matching::BuildService {
            build: map.get("build").cloned(),
            properties: map.get("properties").cloned(),
            artifacts: map.get("artifacts").cloned(),
            failing: json::texts("fail", map.get("fail").unwrap_or(&Value::Null))
                .ok()
                .flatten()
                .unwrap_or_default()
                .into_iter()
                .flatten()
                .collect(),
        }))
    }
}
