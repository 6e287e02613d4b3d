//! Cases as JSON: what the command line answers line by line.

use gennaker_expressions::{Context, Mode, Options, evaluate};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::artifact::{Artifact, ExpectedArtifact, MatchError, any_matches};
use crate::constraint;
use crate::cron::{self, Cron};
use crate::event::Event;
use crate::explain::{BuildAnswers, Explanation, explain, explain_end};
use crate::matching::Settings;
use crate::resolve::{
    ResolveError, all_artifacts, bound_artifact, prior_artifacts, resolve_artifacts,
    resolve_expected,
};
use crate::signature::Sha1Policy;
use crate::template::TemplateError;
use crate::trigger::Trigger;
use crate::webhook::{self, Received};

/// Most times that one case may ask for.
const MAX_COUNT: u64 = 10_000;

/// Spinnaker's default zone.
pub const DEFAULT_ZONE: &str = "America/Los_Angeles";

fn with_id(case: &Value, mut answer: Map<String, Value>) -> Value {
    if let Some(id) = case.get("id") {
        answer.shift_insert(0, "id".to_owned(), id.clone());
    }
    Value::Object(answer)
}

fn answer(case: &Value, field: &str, value: Value) -> Value {
    let mut map = Map::new();
    map.insert(field.to_owned(), value);
    with_id(case, map)
}

/// The next `count` times after `after` that fire.
///
/// # Errors
/// The zone is unknown, or the expression is none.
pub fn cron_times(
    expression: &str,
    zone: &str,
    after: Timestamp,
    count: u64,
    year: i16,
) -> Result<Vec<jiff::Zoned>, String> {
    let cron = Cron::parse(expression, year).map_err(|error| error.to_string())?;
    let zone = TimeZone::get(zone).map_err(|error| error.to_string())?;
    let mut at = after;
    let mut found = Vec::new();
    for _ in 0..count.min(MAX_COUNT) {
        let Some(next) = cron.next(at, &zone) else {
            break;
        };
        found.push(next.to_zoned(zone.clone()));
        at = next;
    }
    Ok(found)
}

/// One line of `cron next --cases`. `year` is the current one.
#[must_use]
pub fn evaluate_cron_case(case: &Value, year: i16) -> Value {
    let text = |field: &str| case.get(field).and_then(Value::as_str);
    let Some(expression) = text("expression") else {
        return answer(case, "error", "`expression` is missing".into());
    };
    if let Some(trigger) = text("triggerId") {
        return match cron::fuzzed(trigger, expression) {
            Ok(fuzzed) => answer(case, "fuzzed", fuzzed.into()),
            Err(error) => answer(case, "error", error.to_string().into()),
        };
    }
    let Some(after) = text("after").and_then(|text| text.parse::<Timestamp>().ok()) else {
        return answer(case, "error", "`after` is no RFC 3339 time".into());
    };
    let count = case.get("count").and_then(Value::as_u64).unwrap_or(5);
    let zone = text("timeZone").unwrap_or(DEFAULT_ZONE);
    match cron_times(expression, zone, after, count, year) {
        Ok(times) => answer(
            case,
            "next",
            times
                .iter()
                .map(|time| Value::from(rfc3339(time)))
                .collect(),
        ),
        Err(error) => answer(case, "error", error.into()),
    }
}

/// RFC 3339 with the zone's offset and without its name.
#[must_use]
pub fn rfc3339(time: &jiff::Zoned) -> String {
    time.timestamp()
        .display_with_offset(time.offset())
        .to_string()
}

/// One line of `trigger explain --cases`.
#[must_use]
pub fn evaluate_trigger_case(case: &Value) -> Value {
    let empty = Vec::new();
    let pipelines = case
        .get("pipelines")
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    let explanation = if let Some(parent) = case.get("parent") {
        let parent = with_stage(parent);
        let mut explanation = explain_end(&parent, pipelines, &|_| Vec::new());
        for row in &mut explanation.matches {
            if let Some(Value::Object(resolved)) = row.get_mut("resolved")
                && resolved.get("resolvedExpectedArtifacts") == resolved.get("expectedArtifacts")
            {
                // As the recorded answers leave out what is said twice.
                resolved.shift_remove("resolvedExpectedArtifacts");
            }
        }
        explanation
    } else {
        match Event::read(case.get("event").unwrap_or(&Value::Null)) {
            Err(error) => {
                let mut map = Map::new();
                map.insert("matches".to_owned(), json!([]));
                map.insert("starts".to_owned(), json!([]));
                map.insert("error".to_owned(), error.to_string().into());
                return with_id(case, map);
            }
            Ok(event) => explain_case(case, &event, pipelines),
        }
    };
    let mut map = Map::new();
    map.insert("matches".to_owned(), explanation.matches.into());
    map.insert("starts".to_owned(), json!(explanation.starts));
    with_id(case, map)
}

fn explain_case(case: &Value, event: &Event, pipelines: &[Value]) -> Explanation {
    let denied: Vec<&str> = case
        .get("denied")
        .and_then(Value::as_array)
        .map(|users| users.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let is_denied = |user: &str, _: &str| denied.contains(&user);
    let answers = BuildAnswers::read(case.get("igor"));
    let settings = Settings {
        git_shared_secret: case.get("gitSharedSecret").and_then(Value::as_str),
        build_service: answers.0.as_ref(),
        denied: Some(&is_denied),
        sha1: Sha1Policy::Always,
        vouched: None,
    };
    explain(event, pipelines, &settings)
}

/// A parent whose artifacts are listed beside its stages gets them as the outputs of one.
fn with_stage(parent: &Value) -> Value {
    let mut parent = parent.clone();
    if let Value::Object(map) = &mut parent {
        if let Some(artifacts) = map.shift_remove("artifacts") {
            let stage = json!({
                "refId": "1", "requisiteStageRefIds": [], "outputs": { "artifacts": artifacts },
            });
            map.insert("stages".to_owned(), json!([stage]));
        }
        map.entry("id").or_insert_with(|| "parent-1".into());
        map.entry("startTime").or_insert_with(|| 1000.into());
    }
    parent
}

/// One line of `artifact evaluate --cases`.
#[must_use]
pub fn evaluate_artifact_case(case: &Value) -> Value {
    match artifact_result(case) {
        Ok(result) => answer(case, "result", result),
        Err(error) => {
            let mut map = Map::new();
            map.insert("error".to_owned(), error.0.into());
            map.insert("message".to_owned(), error.1.into());
            with_id(case, map)
        }
    }
}

/// What kind of failure, as the original names it, and what it says.
struct Failed(&'static str, String);

impl From<crate::Unreadable> for Failed {
    fn from(error: crate::Unreadable) -> Self {
        Self("IllegalArgumentException", error.to_string())
    }
}

impl From<MatchError> for Failed {
    fn from(error: MatchError) -> Self {
        Self(match_failure(&error), error.to_string())
    }
}

impl From<ResolveError> for Failed {
    fn from(error: ResolveError) -> Self {
        let kind = match &error {
            ResolveError::Unmatched(_) => "unmatched",
            ResolveError::Multiple { .. } => "multiple",
            ResolveError::Match(inner) => match_failure(inner),
            ResolveError::Unreadable(_) => "IllegalArgumentException",
            ResolveError::Order => "IllegalStateException",
        };
        Self(kind, error.to_string())
    }
}

fn match_failure(error: &MatchError) -> &'static str {
    match error {
        MatchError::Pattern { .. } => "PatternSyntaxException",
        MatchError::NoType => "NullPointerException",
    }
}

fn artifact_result(case: &Value) -> Result<Value, Failed> {
    let null = Value::Null;
    let get = |field: &str| case.get(field).unwrap_or(&null);
    let artifacts = |field: &str| -> Result<Vec<Artifact>, Failed> {
        Ok(Artifact::read_list(field, get(field))?.unwrap_or_default())
    };
    let expected = |value: &Value| -> Result<Vec<ExpectedArtifact>, Failed> {
        Ok(crate::json::list("expectedArtifacts", value)?
            .unwrap_or_default()
            .iter()
            .map(ExpectedArtifact::read)
            .collect::<Result<_, _>>()?)
    };
    let list = |found: &[Artifact]| -> Value { found.iter().map(Artifact::to_json).collect() };
    Ok(match get("function").as_str().unwrap_or("") {
        "matches" => {
            let wanted = ExpectedArtifact::read(get("expectedArtifact"))?;
            artifacts("artifacts")?
                .iter()
                .map(|artifact| match wanted.matches(artifact) {
                    Ok(matched) => Value::from(matched),
                    Err(error) => Value::from(match_failure(&error)),
                })
                .collect()
        }
        "anyArtifactsMatchExpected" => {
            let trigger = Trigger::read(get("trigger"))?;
            let ids = trigger.texts("expectedArtifactIds");
            let wanted = expected(get("expectedArtifacts"))?;
            any_matches(&artifacts("artifacts")?, ids.as_deref(), &wanted)?.into()
        }
        function @ ("isConstraintInPayload" | "isJsonPathConstraintInPayload") => {
            let empty = Map::new();
            let constraints = crate::json::object("constraints", get("constraints"))?;
            let constraints = constraints.unwrap_or(&empty);
            let payload = crate::json::object("payload", get("payload"))?;
            let verdict = if function == "isConstraintInPayload" {
                constraint::literal(constraints, payload)
            } else {
                constraint::json_path(constraints, payload)
            };
            match verdict {
                Ok(unmet) => unmet.is_none().into(),
                Err(error) => return Err(Failed(error.original(), error.to_string())),
            }
        }
        "readArtifact" => Artifact::read(get("artifact"))?.to_json(),
        "readExpectedArtifact" => {
            let mut value = ExpectedArtifact::read(get("expectedArtifact"))?.to_json();
            if let Value::Object(map) = &mut value {
                for field in ["defaultArtifact", "boundArtifact"] {
                    map.entry(field).or_insert(Value::Null);
                }
            }
            value
        }
        "jinja" => {
            let text = |field: &str| get(field).as_str().unwrap_or_default();
            match crate::template::artifacts(text("template"), text("message")) {
                Ok(found) => list(&found),
                // A format that is wrong names nothing, as in the original; a message that is no object is an error.
                Err(error @ TemplateError::Message) => {
                    return Err(Failed("RuntimeException", error.to_string()));
                }
                Err(_) => json!([]),
            }
        }
        "resolveArtifacts" => {
            let pipeline = get("pipeline");
            let inner = |field: &str| pipeline.get(field).unwrap_or(&null);
            let mut trigger = crate::json::object("trigger", inner("trigger"))?
                .cloned()
                .unwrap_or_default();
            let wanted = expected(inner("expectedArtifacts"))?;
            let received = Artifact::read_list("receivedArtifacts", inner("receivedArtifacts"))?
                .unwrap_or_default();
            let executions = get("priorExecutions")
                .as_array()
                .cloned()
                .unwrap_or_default();
            resolve_artifacts(&mut trigger, &wanted, &received, &|| {
                prior_artifacts(&executions)
            })?;
            trigger.shift_remove("resolvedExpectedArtifacts");
            Value::Object(trigger)
        }
        "resolveExpectedArtifacts" => {
            let wanted = expected(get("expectedArtifacts"))?;
            let prior = artifacts("prior")?;
            let resolved = resolve_expected(
                &wanted,
                &artifacts("current")?,
                &|| Ok(prior.clone()),
                get("requireUniqueMatches") == true,
            )?;
            json!({
                "resolvedArtifacts": list(&resolved.artifacts),
                "resolvedExpectedArtifacts": resolved
                    .expected
                    .iter()
                    .map(ExpectedArtifact::to_json)
                    .collect::<Vec<_>>(),
            })
        }
        "getBoundArtifactForStage" => {
            let id = get("artifactId").as_str().unwrap_or_default();
            let found = match get("artifact") {
                Value::Null => bound_artifact(get("resolvedExpectedArtifacts"), id)?,
                given if get("artifactId").is_null() => Some(Artifact::read(given)?),
                _ => bound_artifact(get("resolvedExpectedArtifacts"), id)?,
            };
            let Some(found) = found else {
                return Ok(Value::Null);
            };
            let root = json!({ "trigger": get("trigger") });
            let options = Options {
                mode: Mode::Map,
                ..Options::default()
            };
            let outcome = evaluate(&found.to_json(), &Context::from_json(&root), &options);
            Artifact::read(&outcome.value)?.to_json()
        }
        "getAllArtifacts" => list(&all_artifacts(get("execution"))?),
        other => return Err(Failed("input", format!("there is no function `{other}`"))),
    })
}

/// One line of `webhook evaluate --cases`. `payload` gives the text of a `payloadFile`.
#[must_use]
pub fn evaluate_webhook_case(case: &Value, payload: &dyn Fn(&str) -> Option<String>) -> Value {
    let text = |field: &str| case.get(field).and_then(Value::as_str);
    let headers: Vec<(String, String)> = case
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), crate::json::java_text(value)))
        .collect();
    let body = match (text("raw"), text("payloadFile")) {
        (Some(raw), _) => raw.to_owned(),
        (None, Some(file)) => match payload(file).map(|text| patched(&text, case.get("patch"))) {
            Some(Ok(body)) => body,
            Some(Err(error)) => return answer(case, "error", error.into()),
            None => {
                return answer(case, "error", format!("`{file}` cannot be read").into());
            }
        },
        (None, None) => return answer(case, "error", "`raw` or `payloadFile` is missing".into()),
    };
    let received = webhook::receive(
        text("type").unwrap_or_default(),
        text("source").unwrap_or_default(),
        &headers,
        body.as_bytes(),
    );
    let result = match received {
        Err(refused) => json!({
            "sent": false, "status": refused.status(), "error": refused.to_string(),
        }),
        Ok(Received::NothingToDo(reason)) => {
            json!({ "sent": false, "status": 200, "reason": reason })
        }
        Ok(Received::Event(event)) => sent(&event, &body),
    };
    answer(case, "result", result)
}

/// What of an event differs from the body that it was made of.
fn sent(event: &Event, body: &str) -> Value {
    // As it was read: what follows the document is ignored.
    let mut reader = serde_json::Deserializer::from_str(body);
    let posted = match Value::deserialize(&mut reader) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let empty = Map::new();
    let content = event.content.as_ref().unwrap_or(&empty);
    let changed: Map<String, Value> = content
        .iter()
        .filter(|(key, value)| posted.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let removed: Vec<&String> = posted
        .keys()
        .filter(|key| !content.contains_key(*key))
        .collect();
    let keys: Vec<&String> = event.headers.iter().flatten().map(|(key, _)| key).collect();
    let mut result = json!({
        "sent": true,
        "status": 200,
        "details": { "type": event.kind, "source": event.source },
        "content": changed,
        "payloadIsPosted": event.payload.as_ref() == Some(&posted),
        "headerKeys": keys,
    });
    if let (Value::Object(map), false) = (&mut result, removed.is_empty()) {
        map.insert("removed".to_owned(), json!(removed));
    }
    result
}

/// A document with changes made to it, one after the other.
fn patched(text: &str, patch: Option<&Value>) -> Result<String, String> {
    let Some(patch) = patch.and_then(Value::as_array) else {
        return Ok(text.to_owned());
    };
    let mut document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    for change in patch {
        let path = change.get("path").and_then(Value::as_array);
        let Some((last, parents)) = path.and_then(|path| path.split_last()) else {
            return Err("a patch has no `path`".to_owned());
        };
        let mut at = Some(&mut document);
        for part in parents {
            at = at.and_then(|value| match part {
                Value::String(key) => value.get_mut(key.as_str()),
                part => value.get_mut(usize::try_from(part.as_u64()?).ok()?),
            });
        }
        let Some(parent) = at else { continue };
        let new = change.get("set").cloned();
        match (parent, last) {
            (Value::Object(map), Value::String(key)) => match new {
                Some(value) => {
                    map.insert(key.clone(), value);
                }
                None => {
                    map.shift_remove(key);
                }
            },
            (Value::Array(items), Value::Number(index)) => {
                let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
                let Some(index) = index.filter(|index| *index < items.len()) else {
                    continue;
                };
                match new {
                    Some(value) => {
                        if let Some(item) = items.get_mut(index) {
                            *item = value;
                        }
                    }
                    None => {
                        items.remove(index);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(document.to_string())
}
