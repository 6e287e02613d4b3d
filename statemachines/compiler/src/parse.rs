//! From JSON to a pipeline whose stages have a `refId` each: what is written is kept, what Orca would default is filled.

use gennaker_domain::Problem;
use serde_json::{Map, Value};

/// Longest pipeline text that is read: 10 MB.
pub const MAX_BYTES: usize = 10_000_000;

/// A pipeline as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its fields but for `stages`, the unknown ones included.
    pub fields: Map<String, Value>,
    /// Its stages, in the order of the file.
    pub stages: Vec<Stage>,
    /// Whether no stage had a `refId`, so that each follows the one before.
    pub linear: bool,
}

/// A stage as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// `refId`, a number turned into text; made from the position in a linear pipeline.
    pub ref_id: String,
    /// `requisiteStageRefIds`, in order, as written.
    pub requisites: Vec<String>,
    /// `type`.
    pub stage_type: String,
    /// `name`, or the type.
    pub name: String,
    /// JSON path of the stage, such as `$.stages[2]`.
    pub path: String,
    /// Every field but `refId`, `requisiteStageRefIds`, `type` and `name`: Spinnaker's stage context.
    pub context: Map<String, Value>,
}

/// Reads a text of at most [`MAX_BYTES`] as JSON.
///
/// # Errors
/// `too-large` or `unreadable-json`; JSON nested deeper than 128 levels is unreadable.
pub fn read(text: &str) -> Result<Value, Box<Problem>> {
    if text.len() > MAX_BYTES {
        return Err(Box::new(Problem::error(
            "too-large",
            "$",
            format!(
                "the pipeline has {} bytes, more than {MAX_BYTES}",
                text.len()
            ),
        )));
    }
    // Some editors put a mark in front of what they save.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| {
        let hint = format!("look at line {}, column {}", error.line(), error.column());
        let message = format!("this is not JSON: {error}");
        Box::new(Problem::error("unreadable-json", "$", message).with_hint(hint))
    })
}

/// The pipeline in `value`; problems are added to `problems`, and what could be read is returned all the same.
pub fn pipeline(value: &Value, problems: &mut Vec<Problem>) -> Option<Pipeline> {
    let Some(object) = value.as_object() else {
        problems.push(
            Problem::error("not-a-pipeline", "$", "a pipeline is a JSON object")
                .with_hint("give one pipeline, not a list of them"),
        );
        return None;
    };
    let mut fields = object.clone();
    let stages = fields.shift_remove("stages");
    let templated = fields.get("type").and_then(Value::as_str) == Some("templatedPipeline")
        || fields.get("template").is_some_and(Value::is_object);
    let list = match stages {
        Some(Value::Array(list)) => list,
        None | Some(Value::Null) => Vec::new(),
        Some(other) => {
            problems.push(Problem::error(
                "stages-not-a-list",
                "$.stages",
                format!("`stages` is {}, not a list", kind(&other)),
            ));
            return None;
        }
    };
    if list.is_empty() {
        problems.push(if templated {
            Problem::error(
                "templated-pipeline",
                "$",
                "this pipeline is made from a template and has no stages of its own",
            )
            .with_hint("save the pipeline that the template makes (in Deck: Convert to an editable pipeline)")
        } else {
            Problem::error("no-stages", "$.stages", "the pipeline has no stages")
                .with_hint("an execution of it would end TERMINAL at once; add a stage")
        });
        return None;
    }
    let linear = !list.iter().any(has_ref_id);
    let mut stages = Vec::with_capacity(list.len());
    for (position, item) in list.into_iter().enumerate() {
        let path = format!("$.stages[{position}]");
        let Value::Object(context) = item else {
            problems.push(Problem::error(
                "stage-not-an-object",
                path,
                format!("a stage is an object, this is {}", kind(&item)),
            ));
            continue;
        };
        stages.extend(stage(context, position, linear, path, problems));
    }
    Some(Pipeline {
        fields,
        stages,
        linear,
    })
}

fn stage(
    mut context: Map<String, Value>,
    position: usize,
    linear: bool,
    path: String,
    problems: &mut Vec<Problem>,
) -> Option<Stage> {
    let written = context.shift_remove("refId");
    let requisites = context.shift_remove("requisiteStageRefIds");
    let (ref_id, requisites) = if linear {
        let before = position.checked_sub(1).map(|before| before.to_string());
        (position.to_string(), before.into_iter().collect())
    } else {
        let Some(ref_id) = written
            .as_ref()
            .and_then(id_text)
            .filter(|id| !id.is_empty())
        else {
            problems.push(
                Problem::error(
                    "missing-ref-id",
                    format!("{path}.refId"),
                    "this stage has no `refId`, others have one",
                )
                .with_hint("give every stage a `refId`, or none: then each follows the one before"),
            );
            return None;
        };
        let requisites = requisite_list(requisites, &ref_id, &path, problems);
        (ref_id, requisites)
    };
    let stage_type = match context.shift_remove("type") {
        Some(Value::String(stage_type)) if !stage_type.trim().is_empty() => stage_type,
        _ => {
            problems.push(
                Problem::error(
                    "missing-type",
                    format!("{path}.type"),
                    "this stage has no `type`",
                )
                .at_stage(&ref_id),
            );
            return None;
        }
    };
    let name = match context.shift_remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => stage_type.clone(),
    };
    Some(Stage {
        ref_id,
        requisites,
        stage_type,
        name,
        path,
        context,
    })
}

fn requisite_list(
    written: Option<Value>,
    ref_id: &str,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let list = match written {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => {
            problems.push(
                Problem::error(
                    "requisites-not-a-list",
                    format!("{path}.requisiteStageRefIds"),
                    format!("`requisiteStageRefIds` is {}, not a list", kind(&other)),
                )
                .at_stage(ref_id),
            );
            return Vec::new();
        }
    };
    let mut requisites: Vec<String> = Vec::with_capacity(list.len());
    for (position, item) in list.iter().enumerate() {
        match id_text(item) {
            Some(id) if requisites.contains(&id) => {}
            Some(id) => requisites.push(id),
            None => problems.push(
                Problem::error(
                    "requisites-not-a-list",
                    format!("{path}.requisiteStageRefIds[{position}]"),
                    format!("a requisite is a `refId`, this is {}", kind(item)),
                )
                .at_stage(ref_id),
            ),
        }
    }
    requisites
}

fn has_ref_id(stage: &Value) -> bool {
    stage
        .get("refId")
        .and_then(id_text)
        .is_some_and(|id| !id.is_empty())
}

fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
