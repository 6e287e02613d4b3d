//! Cases of `expression evaluate --cases`: one JSON object in, one out.

use crate::json;
use crate::outcome::{Evaluator, Mode, Options};
use crate::value::{Key, TextKey, Value};
use crate::{Context, evaluate};
use indexmap::IndexMap;
use serde_json::{Map as Fields, Value as Json, json};
use std::collections::BTreeMap;

/// Answers one line of cases from its text, which keeps integers of any width exact.
pub fn evaluate_case_line(line: &str) -> String {
    match json::parse_all(line) {
        Ok(case) => answer(&case).to_string(),
        Err(fault) => json!({ "throws": format!("the line is no JSON: {fault}") }).to_string(),
    }
}

/// Answers one case: its `id`, then `result`, `types` and `failures`, or `throws`.
///
/// Integers beyond 64 bits have lost digits in a parsed document; [`evaluate_case_line`] keeps them.
pub fn evaluate_case(case: &Json) -> Json {
    answer(&json::from_serde(case))
}

fn get(case: &Value, name: &str) -> Option<Value> {
    match case {
        Value::Map(map) => map.entries.get(&TextKey(name)).cloned(),
        _ => None,
    }
}

fn text(case: &Value, name: &str) -> Option<String> {
    get(case, name).and_then(|value| value.as_str().map(str::to_string))
}

fn answer(case: &Value) -> Json {
    let mut out = Fields::new();
    if let Some(id) = get(case, "id") {
        out.insert("id".to_string(), plain(&id));
    }
    match outcome(case) {
        Ok((result, types, failures)) => {
            out.insert("result".to_string(), result);
            out.insert("types".to_string(), json!(types));
            out.insert("failures".to_string(), failures);
        }
        Err(message) => {
            out.insert("throws".to_string(), Json::String(message));
        }
    }
    Json::Object(out)
}

/// JSON of a value that came from JSON; big integers become text.
fn plain(value: &Value) -> Json {
    let mut types = BTreeMap::new();
    document(value, &mut String::new(), &mut types, 0)
}

/// A document for evaluation: integers beyond 64 bits as text, with their places.
fn document(
    value: &Value,
    pointer: &mut String,
    big: &mut BTreeMap<String, String>,
    depth: usize,
) -> Json {
    if depth > json::MAX_JSON_DEPTH {
        return Json::Null;
    }
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::Int(value) => Json::from(*value),
        Value::Long(value) => Json::from(*value),
        Value::Double(value) => Json::from(*value),
        Value::Str(text) => Json::from(&**text),
        Value::Big(value) => {
            big.insert(pointer.clone(), "java.math.BigInteger".to_string());
            Json::from(value.to_string())
        }
        Value::List(list) => {
            let mut items = Vec::with_capacity(list.items.len());
            for (index, item) in list.items.iter().enumerate() {
                let length = pointer.len();
                pointer.push_str(&format!("/{index}"));
                items.push(document(item, pointer, big, depth + 1));
                pointer.truncate(length);
            }
            Json::Array(items)
        }
        Value::Map(map) => {
            let mut fields = Fields::new();
            for (key, item) in map.entries.iter() {
                let Key::Str(key) = key else { continue };
                let length = pointer.len();
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                let json = document(item, pointer, big, depth + 1);
                pointer.truncate(length);
                fields.insert(key.to_string(), json);
            }
            Json::Object(fields)
        }
        _ => Json::Null,
    }
}

type Answer = (Json, BTreeMap<String, String>, Json);

fn outcome(case: &Value) -> Result<Answer, String> {
    let execution = get(case, "execution");
    let mode = match text(case, "mode").as_deref() {
        Some("map") => Mode::Map,
        Some("stage") => Mode::Stage,
        Some("evaluateVariables") => Mode::EvaluateVariables,
        Some("pipeline") => Mode::Pipeline,
        Some(other) => return Err(format!("unknown mode `{other}`")),
        None if execution.is_some() => Mode::Stage,
        None => Mode::Map,
    };
    let named = text(case, "evaluator");
    let stage_context = get(case, "stageContext");
    let stage_ref_id = text(case, "stageRefId");
    let (context, evaluator) = match &execution {
        Some(execution) => {
            let execution = with_evaluator(execution, named.as_deref());
            let sequential = (mode == Mode::EvaluateVariables).then_some(Evaluator::V4);
            let evaluator = text(&execution, "spelEvaluator")
                .map(|text| Evaluator::of(&text))
                .or(sequential);
            let context = Context::staged(
                &execution,
                stage_ref_id.as_deref(),
                stage_context.as_ref(),
                evaluator,
            );
            (context, evaluator.unwrap_or_default())
        }
        None => {
            let root = get(case, "context").unwrap_or_else(|| Value::linked(IndexMap::new()));
            let evaluator = match (&named, mode) {
                (Some(name), _) => Evaluator::of(name),
                // Without a version a pipeline is v3, as everywhere.
                (None, Mode::Pipeline) => Evaluator::V3,
                (None, _) => Evaluator::V4,
            };
            (Context::plain(root), evaluator)
        }
    };
    let source = source(
        case,
        mode,
        execution.as_ref(),
        stage_ref_id.as_deref(),
        stage_context,
        named.as_deref(),
    )?;
    let mut big = BTreeMap::new();
    let source = document(&source, &mut String::new(), &mut big, 0);
    let options = Options {
        evaluator,
        allow_unknown_keys: !matches!(get(case, "allowUnknownKeys"), Some(Value::Bool(false))),
        now_millis: now(case)?,
        seed: match get(case, "seed") {
            Some(Value::Int(seed)) => seed as u64,
            Some(Value::Long(seed)) => seed as u64,
            _ => 0,
        },
        mode,
        ..Options::default()
    };
    let outcome = evaluate(&source, &context, &options);
    if let Some(message) = outcome.throws {
        return Err(message);
    }
    let mut types = outcome.types;
    types.extend(big);
    let failures = outcome
        .failures
        .iter()
        .map(|failure| {
            json!({
                "expression": failure.expression,
                "level": failure.level.as_str(),
                "message": failure.message,
                "explanation": failure.explanation,
            })
        })
        .collect();
    Ok((outcome.value, types, Json::Array(failures)))
}

fn now(case: &Value) -> Result<i64, String> {
    match text(case, "now") {
        None => Ok(0),
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|time| time.as_millisecond())
            .map_err(|error| format!("`now` is no RFC 3339 time: {error}")),
    }
}

fn with_evaluator(execution: &Value, evaluator: Option<&str>) -> Value {
    match (execution, evaluator) {
        (Value::Map(map), Some(evaluator)) => {
            let mut entries = map.entries.0.clone();
            entries.insert(Key::from("spelEvaluator"), Value::str(evaluator));
            Value::linked(entries)
        }
        _ => execution.clone(),
    }
}

fn source(
    case: &Value,
    mode: Mode,
    execution: Option<&Value>,
    stage_ref_id: Option<&str>,
    stage_context: Option<Value>,
    evaluator: Option<&str>,
) -> Result<Value, String> {
    if let Some(source) = get(case, "source") {
        return Ok(match (mode, evaluator, &source) {
            (Mode::Pipeline, Some(evaluator), Value::Map(map)) => {
                let mut entries = map.entries.0.clone();
                entries.insert(Key::from("spelEvaluator"), Value::str(evaluator));
                Value::linked(entries)
            }
            _ => source,
        });
    }
    if let Some(expression) = get(case, "expression") {
        return Ok(expression);
    }
    if let Some(stage_context) = stage_context {
        return Ok(stage_context);
    }
    let stages = execution.and_then(|execution| get(execution, "stages"));
    if let Some(Value::List(stages)) = stages {
        let stage = stages
            .items
            .iter()
            .find(|stage| text(stage, "refId").as_deref() == stage_ref_id);
        if let Some(context) = stage.and_then(|stage| get(stage, "context")) {
            return Ok(context);
        }
    }
    Err("the case has neither `source` nor `expression` nor a stage with a context".to_string())
}
