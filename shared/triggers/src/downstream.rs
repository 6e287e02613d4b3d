//! Pipelines that start when another one ends.

use serde_json::{Map, Value, json};

use crate::artifact::{Artifact, ExpectedArtifact};
use crate::json;
use crate::resolve::{ResolveError, all_artifacts, resolve_artifacts};

/// What `status` of a pipeline trigger calls the end of an execution.
#[must_use]
pub fn trigger_status(status: &str) -> &'static str {
    match status {
        "SUCCEEDED" => "successful",
        "CANCELED" => "canceled",
        "SUSPENDED" => "suspended",
        _ => "failed",
    }
}

/// Answer for one trigger.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Whether the pipeline starts.
    pub matched: bool,
    /// Why, or why not, for a person.
    pub reason: String,
    /// The trigger as the execution carries it, without the parent; null if it does not match.
    pub resolved: Value,
    /// Why it starts as failed.
    pub failed: Option<String>,
}

/// Truth as the original's language sees it: empty is false, every other text is true, `"false"` too.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Number(number)) => number.as_f64().is_some_and(|number| number != 0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

/// Why a trigger of a pipeline does not hear the end of `parent`; none if it does.
fn stands_against(pipeline: &Value, trigger: &Value, parent: &Value) -> Option<String> {
    let get = |field: &str| trigger.get(field);
    if is_true(pipeline.get("disabled")) {
        return Some("the pipeline is disabled".to_owned());
    }
    if !is_true(get("enabled")) {
        return Some("the trigger is not enabled".to_owned());
    }
    let kind = get("type").and_then(Value::as_str).unwrap_or("");
    if kind != "pipeline" {
        return Some(format!(
            "a trigger of type `{kind}` does not hear the ends of pipelines"
        ));
    }
    if parent
        .get("type")
        .is_some_and(|kind| !kind.is_null() && kind != "PIPELINE")
    {
        return Some("what ended is no pipeline".to_owned());
    }
    let wanted = get("pipeline").filter(|value| is_true(Some(value)));
    if wanted.is_none() || wanted != parent.get("pipelineConfigId") {
        return Some("another pipeline ended".to_owned());
    }
    let status = trigger_status(parent.get("status").and_then(Value::as_str).unwrap_or(""));
    let heard = match get("status") {
        // A text is searched for the word, as the original does.
        Some(Value::String(text)) => text.contains(status),
        Some(Value::Array(items)) => items.iter().any(|item| item == status),
        _ => return Some("the trigger names no `status`".to_owned()),
    };
    (!heard).then(|| format!("the trigger does not hear `{status}`"))
}

/// Whether a trigger starts its pipeline at the end of another one, and with what.
///
/// `pipeline` and `trigger` are as configured; `parent` is the execution that ended. `prior` gives the artifacts of the
/// pipeline's own latest execution.
#[must_use]
pub fn downstream(
    pipeline: &Value,
    trigger: &Value,
    parent: &Value,
    prior: &dyn Fn() -> Result<Vec<Artifact>, ResolveError>,
) -> Downstream {
    let no = |reason: String| Downstream {
        matched: false,
        reason,
        resolved: Value::Null,
        failed: None,
    };
    if let Some(reason) = stands_against(pipeline, trigger, parent) {
        return no(reason);
    }
    match bind(pipeline, trigger, parent, prior) {
        Ok((resolved, failed)) => Downstream {
            matched: true,
            reason: match &failed {
                None => "the pipeline ended as the trigger asks for".to_owned(),
                Some(error) => format!("it starts as failed: {error}"),
            },
            resolved: Value::Object(resolved),
            failed,
        },
        Err(error) => no(error.to_string()),
    }
}

fn bind(
    pipeline: &Value,
    trigger: &Value,
    parent: &Value,
    prior: &dyn Fn() -> Result<Vec<Artifact>, ResolveError>,
) -> Result<(Map<String, Value>, Option<String>), ResolveError> {
    let null = Value::Null;
    let get = |field: &str| pipeline.get(field).unwrap_or(&null);
    let received = all_artifacts(parent)?;
    let expected: Vec<ExpectedArtifact> =
        json::list("expectedArtifacts", get("expectedArtifacts"))?
            .unwrap_or_default()
            .iter()
            .map(ExpectedArtifact::read)
            .collect::<Result<_, _>>()?;
    let mut ids: Vec<Value> = json::list("triggers", get("triggers"))?
        .unwrap_or_default()
        .iter()
        .filter(|other| {
            other.get("type").is_some_and(|kind| kind == "pipeline")
                && other.get("pipeline") == parent.get("pipelineConfigId")
        })
        .filter_map(|other| other.get("expectedArtifactIds").and_then(Value::as_array))
        .flatten()
        .cloned()
        .collect();
    for wanted in &expected {
        for artifact in &received {
            if wanted.matches(artifact)? {
                ids.push(wanted.id.as_str().into());
            }
        }
    }
    let mut parameters = Map::new();
    for parameter in json::list("parameterConfig", get("parameterConfig"))?.unwrap_or_default() {
        if let Some(name) = parameter.get("name").and_then(Value::as_str) {
            let default = parameter.get("default").cloned().unwrap_or_default();
            if !default.is_null() {
                parameters.insert(name.to_owned(), default);
            }
        }
    }
    let text = |value: Option<&Value>| match value {
        Some(value) => json::java_text(value),
        None => "null".to_owned(),
    };
    let from_parent = |field: &str| parent.get("trigger").and_then(|t| t.get(field));
    let user = trigger
        .get("runAsUser")
        .filter(|user| is_true(Some(user)))
        .or_else(|| from_parent("user"))
        .filter(|user| is_true(Some(user)));
    // A restarted parent has another start, so its downstream pipelines start again; each of them only once.
    let correlation = format!(
        "{}_null_{}_{}",
        text(parent.get("id")),
        text(pipeline.get("id")),
        text(parent.get("startTime")),
    );
    let mut resolved = Map::new();
    for (field, value) in [
        ("type", json!("pipeline")),
        ("correlationId", correlation.into()),
        (
            "user",
            user.map_or_else(|| "[anonymous]".into(), |user| json::java_text(user).into()),
        ),
        ("parameters", parameters.into()),
        (
            "artifacts",
            received.iter().map(Artifact::to_json).collect(),
        ),
        ("notifications", json!([])),
        ("rebake", false.into()),
        ("dryRun", is_true(from_parent("dryRun")).into()),
        ("strategy", false.into()),
        ("expectedArtifactIds", ids.into()),
    ] {
        resolved.insert(field.to_owned(), value);
    }
    match resolve_artifacts(&mut resolved, &expected, &received, prior) {
        Ok(_) => Ok((resolved, None)),
        Err(error) => {
            resolved.insert("resolvedExpectedArtifacts".to_owned(), json!([]));
            Ok((resolved, Some(error.to_string())))
        }
    }
}
