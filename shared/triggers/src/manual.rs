//! Pipelines that a person starts.

use serde_json::{Map, Value, json};

use crate::artifact::Artifact;
use crate::event::{BuildContent, Event};
use crate::json;
use crate::matching::{BuildService, build_artifacts, build_info, build_properties};
use crate::pipeline::Pipeline;
use crate::trigger::Trigger;

/// Answer for one pipeline.
#[derive(Clone, Debug)]
pub struct Start {
    /// The trigger as the execution carries it.
    pub resolved: Value,
    /// What the execution notifies.
    pub notifications: Vec<Value>,
    /// What came with it.
    pub artifacts: Vec<Artifact>,
    /// Why it starts as failed.
    pub error: Option<String>,
}

/// The start that a `manual` event asks of a pipeline; none if it is about another one.
#[must_use]
pub fn start(event: &Event, pipeline: &Pipeline, service: Option<&BuildService>) -> Option<Start> {
    if !event.is("manual") || pipeline.disabled {
        return None;
    }
    let content = event.content.as_ref()?;
    let text = |field: &str| content.get(field).and_then(Value::as_str);
    let wanted = text("pipelineNameOrId")?;
    if text("application")? != pipeline.application
        || (wanted != pipeline.name && Some(wanted) != pipeline.id.as_deref())
    {
        return None;
    }
    let given = content.get("trigger").unwrap_or(&Value::Null);
    let mut trigger = match Trigger::read(given) {
        Ok(trigger) => trigger,
        Err(error) => {
            return Some(Start {
                resolved: Value::Null,
                notifications: Vec::new(),
                artifacts: Vec::new(),
                error: Some(error.to_string()),
            });
        }
    };
    let added = trigger
        .fields
        .get("notifications")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let notifications = pipeline
        .notifications
        .clone()
        .unwrap_or_default()
        .into_iter()
        .chain(added)
        .collect();
    let mut artifacts = Vec::new();
    let mut errors = Vec::new();
    let build = build_of(&trigger);
    if let (Some(service), Some((content, number))) = (service, build) {
        bind_build(
            service,
            content,
            number,
            &mut trigger,
            &mut artifacts,
            &mut errors,
        );
    }
    Some(Start {
        resolved: trigger.to_json(),
        notifications,
        artifacts,
        error: (!errors.is_empty()).then(|| errors.join("\n")),
    })
}

/// The build that the trigger names completely.
fn build_of(trigger: &Trigger) -> Option<(BuildContent, i64)> {
    let named = |field: &str| {
        trigger
            .text(field)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let number = trigger.fields.get("buildNumber").and_then(Value::as_i64)?;
    Some((
        BuildContent {
            master: Some(named("master")?),
            job: Some(named("job")?),
            ..BuildContent::default()
        },
        number,
    ))
}

fn bind_build(
    service: &BuildService,
    mut content: BuildContent,
    number: i64,
    trigger: &mut Trigger,
    artifacts: &mut Vec<Artifact>,
    errors: &mut Vec<String>,
) {
    let given = trigger.clone();
    let build = build_info(service, &content);
    content.number = number;
    match build {
        Some(build) => {
            if let Some(found) = build.as_object() {
                content.artifacts = read_artifacts(found);
            }
            trigger.put("buildInfo", build);
        }
        None => errors.push("the build cannot be had from the build service".to_owned()),
    }
    match build_properties(service, &content, trigger) {
        Some(properties) => trigger.put("properties", properties),
        None => errors.push("the property file cannot be had from the build service".to_owned()),
    }
    match build_artifacts(service, &content, &given) {
        Some(found) => artifacts.extend(found),
        None => errors.push("the artifacts cannot be had from the build service".to_owned()),
    }
}

fn read_artifacts(build: &Map<String, Value>) -> Vec<Artifact> {
    build
        .get("artifacts")
        .and_then(|found| Artifact::read_list("artifacts", found).ok().flatten())
        .unwrap_or_default()
}

/// The parameters of an execution: what was given, and the default of each that was not.
///
/// A parameter that was given as null or as an empty text keeps that.
#[must_use]
pub fn parameters(pipeline: &Pipeline, given: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut all = given.cloned().unwrap_or_default();
    for parameter in &pipeline.parameter_config {
        let Ok(Some(name)) = json::text("name", parameter.get("name").unwrap_or(&Value::Null))
        else {
            continue;
        };
        let default = parameter.get("default").cloned().unwrap_or_default();
        all.entry(name).or_insert(default);
    }
    all
}

/// Why a person cannot have meant this value of a parameter: it is not among the options, or no date. None for an empty
/// one.
#[must_use]
pub fn value_problem(parameter: &Map<String, Value>, value: &Value) -> Option<String> {
    let get = |field: &str| parameter.get(field).unwrap_or(&Value::Null);
    let text = json::java_text(value);
    if value.is_null() || text.is_empty() {
        return None;
    }
    let has_options = json::boolean("hasOptions", get("hasOptions")).unwrap_or(false);
    let options = get("options").as_array().filter(|_| has_options);
    let is_option = |option: &Value| {
        let value = option.get("value");
        value.is_some_and(|one| json::java_text(one) == text)
    };
    if options.is_some_and(|options| !options.iter().any(is_option)) {
        return Some(format!("`{text}` is not among the options"));
    }
    let is_date = || text.parse::<jiff::civil::Date>().is_ok();
    (get("constraint") == "date" && !is_date())
        .then(|| format!("`{text}` is no date such as 2026-01-31"))
}

/// Whether the condition of a parameter, if it has one, holds: otherwise nobody is asked for it.
#[must_use]
pub fn is_asked(parameter: &Map<String, Value>, all: &Map<String, Value>) -> bool {
    let conditional = parameter.get("conditional").unwrap_or(&Value::Null);
    let Some(condition) = parameter
        .get("condition")
        .filter(|_| json::boolean("conditional", conditional).unwrap_or(false))
    else {
        return true;
    };
    let text = |field: &str| {
        condition
            .get(field)
            .map(json::java_text)
            .unwrap_or_default()
    };
    let found = all
        .get(&text("parameter"))
        .map(json::java_text)
        .unwrap_or_default();
    let wanted = text("comparatorValue");
    let order = match (found.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(found), Ok(wanted)) => found.partial_cmp(&wanted),
        _ => Some(found.cmp(&wanted)),
    };
    let Some(order) = order else { return true };
    match text("comparator").as_str() {
        ">" => order.is_gt(),
        "<" => order.is_lt(),
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        "!=" => order.is_ne(),
        _ => order.is_eq(),
    }
}

/// The JSON of a start by hand, as `trigger explain` prints it.
pub(crate) fn row(start: &Start) -> Value {
    json!({
        "notifications": start.notifications,
        "resolved": start.resolved,
        "error": start.error,
    })
}
