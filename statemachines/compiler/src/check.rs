//! What has to hold for a finished definition: it fits, and it tells no secret. That every path ends holds by the way
//! it is written, and that every change has an undo by the catalogue.

use gennaker_domain::Problem;
use serde_json::{Map, Value};

use crate::{figures::Figures, lower::Lowered, options::Limits, parse::Pipeline};

/// Checks that the definition fits into Step Functions.
pub fn limits(figures: &Figures, limits: &Limits, problems: &mut Vec<Problem>) {
    if figures.bytes > limits.definition_bytes {
        problems.push(
            Problem::error(
                "definition-too-large",
                "$.stages",
                format!(
                    "the definition has {} bytes, more than {}",
                    figures.bytes, limits.definition_bytes
                ),
            )
            .with_hint("move parts of it into pipelines of their own and start them with a `pipeline` stage"),
        );
    }
    let events = figures.events.max;
    let message =
        format!("an execution may need {events} history events; Step Functions ends it at 25,000");
    let hint =
        "shorten time-outs with `stageTimeoutMs`, or move stages into a pipeline of their own";
    if events > limits.events {
        problems.push(Problem::error("too-many-events", "$.stages", message).with_hint(hint));
    } else if events > limits.events_warned {
        problems.push(Problem::warning("many-events", "$.stages", message).with_hint(hint));
    }
}

/// Checks that what a state hands to its function stays far below 262,144 bytes.
pub fn payloads(lowered: &Lowered, problems: &mut Vec<Problem>) {
    // A run has 30 characters, a task token at most 2,048; a refId may be six characters of escape for one.
    const MOST: usize = 30_000;
    for stage in &lowered.stages {
        if stage.ref_id.len() > MOST {
            let mut shown = stage.ref_id.clone();
            shown.truncate(shown.char_indices().nth(40).map_or(0, |(at, _)| at));
            problems.push(
                Problem::error(
                    "payload-too-large",
                    "$.stages",
                    format!("the `refId` `{shown}…` has {} bytes", stage.ref_id.len()),
                )
                .with_hint("give the stage a short `refId`"),
            );
        }
    }
}

/// Words in a key whose value should not be readable in a pipeline.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "apikey",
    "api_key",
    "privatekey",
    "accesskey",
];
/// Words in the name of a header that proves who calls.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "token"];
/// Keys that only name something: a Kubernetes secret's name, a token's kind.
const HARMLESS_ENDINGS: &[&str] = &["name", "arn", "id", "type", "path", "version"];

/// Ways to refer to a secret.
const SCHEMES: [&str; 5] = [
    "ssm:",
    "secretsmanager:",
    "encrypted:",
    "encryptedFile:",
    "secret://",
];

/// Whether a header's value is known to be a secret by its name.
pub(crate) fn is_secret_header(name: &str) -> bool {
    let lower = name.to_lowercase();
    SECRET_HEADERS.iter().any(|word| lower.contains(word))
        || SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// Whether a header's value is a reference to a secret, also behind a scheme such as `Bearer`, or an expression.
pub(crate) fn is_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            refers(text)
                || text
                    .split_once(' ')
                    .is_some_and(|(_, rest)| refers(rest.trim()))
        }
        Value::Array(values) => values.iter().all(is_reference),
        _ => false,
    }
}

fn refers(text: &str) -> bool {
    text.is_empty() || text.contains("${") || SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// Warns of secrets that are written into a pipeline instead of referred to.
pub fn secrets(pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    for stage in &pipeline.stages {
        let mut found = Vec::new();
        secrets_in(&stage.context, &stage.path, 0, &mut found);
        problems.extend(found.into_iter().map(|path| {
            Problem::warning(
                "secret-in-plain-text",
                path,
                "this looks like a secret, readable by everyone who may see the pipeline",
            )
            .at_stage(&stage.ref_id)
            .with_hint("write a reference: `ssm:/path`, `secretsmanager:name`, or Spinnaker's `encrypted:…`")
        }));
    }
}

fn secrets_in(object: &Map<String, Value>, path: &str, depth: usize, found: &mut Vec<String>) {
    for (key, value) in object {
        let lower = key.to_lowercase();
        let key_path = || format!("{path}.{}", crate::validate::shortened(key));
        match value {
            Value::String(text) => {
                let named = SECRET_WORDS.iter().any(|word| lower.contains(word))
                    && !HARMLESS_ENDINGS
                        .iter()
                        .any(|ending| lower.ends_with(ending));
                if named && !refers(text) {
                    found.push(key_path());
                }
            }
            // A reader of JSON bounds the depth to 128; what lies deeper is a manifest, not a setting.
            Value::Object(inner) if depth < 4 => secrets_in(inner, &key_path(), depth + 1, found),
            _ => {}
        }
    }
}
