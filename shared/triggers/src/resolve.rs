//! Which artifacts an execution ships: what arrived, what the execution before had, what is the default.

use serde_json::{Map, Value};

use crate::artifact::{Artifact, ExpectedArtifact, MatchError};
use crate::json::{self, Unreadable};

/// Why artifacts were not resolved; the execution starts as failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum ResolveError {
    /// Nothing matches an expected artifact.
    #[error(
        "nothing matches the expected artifact `{0}`, and there is neither a prior nor a default one"
    )]
    Unmatched(String),
    /// Several artifacts match one expected artifact.
    #[error("{count} artifacts match the expected artifact `{id}`, which has to be one")]
    Multiple {
        /// Id of the expected artifact.
        id: String,
        /// How many match.
        count: usize,
    },
    /// They cannot be compared.
    #[error(transparent)]
    Match(#[from] MatchError),
    /// They cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The stages of a prior execution wait for each other.
    #[error("the stages of the execution have no order")]
    Order,
}

/// What the expected artifacts are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Each artifact once, in the order of the expected ones.
    pub artifacts: Vec<Artifact>,
    /// The expected artifacts with what they are bound to.
    pub expected: Vec<ExpectedArtifact>,
}

/// Adds what is not there yet.
fn add(artifacts: &mut Vec<Artifact>, more: impl IntoIterator<Item = Artifact>) {
    for artifact in more {
        if !artifacts.contains(&artifact) {
            artifacts.push(artifact);
        }
    }
}

/// Resolves every expected artifact: among the current ones, else (if it says so) among the prior ones, else (if it
/// says so) its default. `prior` is only asked if it is needed.
///
/// # Errors
/// [`ResolveError`].
pub fn resolve_expected(
    expected: &[ExpectedArtifact],
    current: &[Artifact],
    prior: &dyn Fn() -> Result<Vec<Artifact>, ResolveError>,
    unique: bool,
) -> Result<Resolved, ResolveError> {
    let single = |wanted: &ExpectedArtifact, among: &[Artifact]| {
        let mut found = None;
        let mut count = 0;
        for artifact in among {
            if wanted.matches(artifact)? {
                count += 1;
                found.get_or_insert_with(|| artifact.clone());
            }
        }
        if count > 1 && unique {
            return Err(ResolveError::Multiple {
                id: wanted.id.clone(),
                count,
            });
        }
        Ok(found)
    };
    let mut resolved = Resolved::default();
    for wanted in expected {
        let mut found = single(wanted, current)?;
        if found.is_none() && wanted.use_prior_artifact {
            found = single(wanted, &prior()?)?;
        }
        if found.is_none() && wanted.use_default_artifact {
            found.clone_from(&wanted.default_artifact);
        }
        let Some(found) = found else {
            return Err(ResolveError::Unmatched(wanted.id.clone()));
        };
        let mut bound = wanted.clone();
        bound.bound_artifact = Some(found.clone());
        add(&mut resolved.artifacts, [found]);
        resolved.expected.push(bound);
    }
    Ok(resolved)
}

/// Resolves the artifacts of an execution that starts, and writes them into its trigger: `artifacts`,
/// `expectedArtifacts` and `resolvedExpectedArtifacts`.
///
/// Looked at are the expected artifacts that the trigger lists and those with a prior or a default one.
///
/// # Errors
/// [`ResolveError`].
pub fn resolve_artifacts(
    trigger: &mut Map<String, Value>,
    expected: &[ExpectedArtifact],
    received: &[Artifact],
    prior: &dyn Fn() -> Result<Vec<Artifact>, ResolveError>,
) -> Result<Resolved, ResolveError> {
    let null = Value::Null;
    let ids = json::list(
        "expectedArtifactIds",
        trigger.get("expectedArtifactIds").unwrap_or(&null),
    )?
    .unwrap_or_default();
    let wanted: Vec<ExpectedArtifact> = expected
        .iter()
        .filter(|artifact| {
            artifact.use_default_artifact
                || artifact.use_prior_artifact
                || ids.iter().any(|id| id.as_str() == Some(&artifact.id))
        })
        .cloned()
        .collect();
    let mut all = Vec::new();
    add(&mut all, received.iter().cloned());
    add(
        &mut all,
        Artifact::read_list("artifacts", trigger.get("artifacts").unwrap_or(&null))?
            .unwrap_or_default(),
    );
    let resolved = resolve_expected(&wanted, &all, prior, true)?;
    add(&mut all, resolved.artifacts.iter().cloned());
    let expected: Value = resolved
        .expected
        .iter()
        .map(ExpectedArtifact::to_json)
        .collect();
    trigger.insert(
        "artifacts".to_owned(),
        all.iter().map(Artifact::to_json).collect(),
    );
    trigger.insert("expectedArtifacts".to_owned(), expected.clone());
    trigger.insert("resolvedExpectedArtifacts".to_owned(), expected);
    Ok(resolved)
}

/// Every artifact of an execution: those of its stages, later stages first, then those it started with.
///
/// # Errors
/// [`ResolveError`].
pub fn all_artifacts(execution: &Value) -> Result<Vec<Artifact>, ResolveError> {
    let stages = execution
        .get("stages")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut found = Vec::new();
    for stage in ordered(stages)? {
        let outputs = stage.get("outputs").and_then(|o| o.get("artifacts"));
        if let Some(outputs) = outputs {
            found.extend(Artifact::read_list("artifacts", outputs)?.unwrap_or_default());
        }
    }
    found.reverse();
    let started_with = execution
        .get("triggerArtifacts")
        .or_else(|| execution.get("trigger").and_then(|t| t.get("artifacts")))
        .unwrap_or(&Value::Null);
    found.extend(Artifact::read_list("artifacts", started_with)?.unwrap_or_default());
    Ok(found)
}

/// The stages of a graph, each after those it waits for; synthetic stages are left out.
fn ordered(stages: &[Value]) -> Result<Vec<&Value>, ResolveError> {
    let mut waiting: Vec<&Value> = stages
        .iter()
        .filter(|stage| stage.get("parentStageId").is_none_or(Value::is_null))
        .collect();
    let mut done: Vec<&str> = Vec::new();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let (ready, rest): (Vec<&Value>, Vec<&Value>) = waiting.iter().partition(|stage| {
            stage
                .get("requisiteStageRefIds")
                .and_then(Value::as_array)
                .is_none_or(|ids| {
                    ids.iter()
                        .all(|id| id.as_str().is_some_and(|id| done.contains(&id)))
                })
        });
        if ready.is_empty() {
            return Err(ResolveError::Order);
        }
        done.extend(
            ready
                .iter()
                .filter_map(|stage| stage.get("refId").and_then(Value::as_str)),
        );
        order.extend(ready);
        waiting = rest;
    }
    Ok(order)
}

/// The artifacts of the execution before: the latest one by its start; one that never started comes last.
///
/// # Errors
/// [`ResolveError`].
pub fn prior_artifacts(executions: &[Value]) -> Result<Vec<Artifact>, ResolveError> {
    let latest = executions.iter().min_by(|a, b| {
        let start = |value: &Value| value.get("startTime").and_then(Value::as_i64);
        let id = |value: &Value| {
            value
                .get("id")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match (start(a), start(b)) {
            (Some(a), Some(b)) => b.cmp(&a),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => std::cmp::Ordering::Equal,
        }
        .then_with(|| id(b).cmp(&id(a)))
    });
    latest.map_or(Ok(Vec::new()), all_artifacts)
}

/// The artifact that a stage names by the id of an expected one, with the account it is fetched with.
///
/// # Errors
/// An expected artifact before it cannot be read.
pub fn bound_artifact(resolved: &Value, id: &str) -> Result<Option<Artifact>, Unreadable> {
    if id.is_empty() {
        return Ok(None);
    }
    for value in json::list("resolvedExpectedArtifacts", resolved)?.unwrap_or_default() {
        let expected = ExpectedArtifact::read(value)?;
        if expected.id != id {
            continue;
        }
        let Some(mut bound) = expected.bound_artifact else {
            return Ok(None);
        };
        if bound.artifact_account.as_deref().unwrap_or("").is_empty() {
            bound.artifact_account = expected.match_artifact.artifact_account;
        }
        return Ok(Some(bound));
    }
    Ok(None)
}
