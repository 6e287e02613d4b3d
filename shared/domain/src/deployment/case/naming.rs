//! `naming`: parse, build, next.

use serde_json::{Map, Value, json};

use super::CaseError;
use super::refused;
use crate::deployment::ServerGroup;
use crate::deployment::context;
use crate::deployment::naming::{self, Label, Moniker, NamingError, Part};

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    match context::text(input, "what").as_deref() {
        Some("parse") => Ok(parsed(&context::text(input, "name").unwrap_or_default())),
        Some("build") => Ok(built(input)),
        Some("next") => Ok(next(input)),
        other => Err(CaseError::Unknown {
            what: "naming case",
            value: other.unwrap_or_default().to_owned(),
        }),
    }
}

fn parsed(name: &str) -> Value {
    let names = naming::parse(name);
    let mut answer = Map::new();
    for (key, label) in [
        ("countries", Label::Countries),
        ("devPhase", Label::DevPhase),
        ("hardware", Label::Hardware),
        ("partners", Label::Partners),
        ("revision", Label::Revision),
        ("usedBy", Label::UsedBy),
        ("redBlackSwap", Label::RedBlackSwap),
        ("zone", Label::Zone),
    ] {
        answer.insert(key.to_owned(), json!(names.label(label)));
    }
    for (key, part) in [
        ("group", &names.group),
        ("cluster", &names.cluster),
        ("app", &names.app),
        ("stack", &names.stack),
        ("detail", &names.detail),
        ("push", &names.push),
    ] {
        answer.insert(key.to_owned(), json!(part));
    }
    answer.insert("sequence".to_owned(), json!(names.sequence));
    answer.insert("moniker".to_owned(), json!(Moniker::from(names)));
    Value::Object(answer)
}

fn built(input: &Map<String, Value>) -> Value {
    let part = |key| context::text(input, key);
    let (app, stack, detail) = (part("app"), part("stack"), part("detail"));
    let parts = [&app, &stack, &detail];
    let each = |check: fn(&str) -> bool| parts.map(|part| part.as_deref().map(check));
    let mut answer = Map::new();
    answer.insert("checkName".to_owned(), json!(each(naming::is_name)));
    answer.insert(
        "checkNameWithHyphen".to_owned(),
        json!(each(naming::is_name_with_hyphen)),
    );
    if let Some(detail) = &detail {
        answer.insert(
            "detailUsesReservedFormat".to_owned(),
            json!(naming::uses_reserved_format(detail)),
        );
    }
    let (stack, detail) = (stack.as_deref(), detail.as_deref());
    let missing = match &app {
        None => Some("NullPointerException: ERROR: Trying to use String with null appName"),
        Some(app) if app.is_empty() => {
            Some("IllegalArgumentException: ERROR: Illegal empty string for appName")
        }
        Some(_) => None,
    };
    if let Some(missing) = missing {
        answer.insert("error".to_owned(), json!(missing));
        answer.insert("validatedError".to_owned(), json!(missing));
        return Value::Object(answer);
    }
    let app = app.unwrap_or_default();
    let name = naming::cluster_name(&app, stack, detail).unwrap_or_default();
    let validated = naming::validate(&app, stack, detail)
        .and_then(|()| naming::validate_no_sequence(stack, detail));
    match validated {
        Ok(()) => answer.insert("validated".to_owned(), json!(name)),
        Err(NamingError::ContainsSequence { part, .. }) => answer.insert(
            "validatedError".to_owned(),
            json!(format!(
                "IllegalArgumentException: {part} cannot contain a push version"
            )),
        ),
        Err(_) => answer.insert(
            "validatedError".to_owned(),
            json!("IllegalArgumentException: (Use alphanumeric characters only)"),
        ),
    };
    answer.insert("groupName".to_owned(), json!(name));
    Value::Object(answer)
}

fn next(input: &Map<String, Value>) -> Value {
    let part = |key| context::text(input, key);
    let (app, stack, detail) = (
        part("app").unwrap_or_default(),
        part("stack"),
        part("detail"),
    );
    let (stack, detail) = (stack.as_deref(), detail.as_deref());
    let Ok(cluster) = naming::cluster_name(&app, stack, detail) else {
        return refused(
            "IllegalArgumentException",
            "ERROR: Illegal empty string for appName",
        );
    };
    let existing = taken(input, &cluster);
    let ignore_sequence = matches!(context::flag(input, "ignoreSequence"), Ok(Some(true)));
    // The number is looked for first, then the characters are checked: the order of the errors.
    let named = naming::next_sequence(&cluster, &existing)
        .and_then(|sequence| naming::validate(&app, stack, detail).map(|()| sequence));
    let mut answer = match named {
        Ok(_) if ignore_sequence => json!({"next": cluster}),
        Ok(sequence) => json!({"next": format!("{cluster}-v{sequence:03}")}),
        Err(NamingError::AllTaken { cluster }) => refused(
            "IllegalArgumentException",
            &format!("All server group names for cluster {cluster} in us-east-1 are taken."),
        ),
        Err(NamingError::InvalidPart {
            part,
            value,
            allowed,
        }) => {
            let message = match part {
                Part::Application => {
                    format!("Invalid appName {value}, may only contain {allowed} characters")
                }
                _ => format!("Invalid {part} {value}, {part} may only contain {allowed}"),
            };
            refused("IllegalArgumentException", &message)
        }
        Err(error) => refused("IllegalArgumentException", &error.to_string()),
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("cluster".to_owned(), json!(cluster));
    }
    answer
}

fn taken(input: &Map<String, Value>, cluster: &str) -> Vec<ServerGroup> {
    let group = |name: &str, created_millis| ServerGroup {
        name: name.to_owned(),
        created_millis,
        ..ServerGroup::default()
    };
    if let Some(taken) = input.get("taken").and_then(Value::as_array) {
        return taken
            .iter()
            .map(|slot| {
                group(
                    slot.get("name").and_then(Value::as_str).unwrap_or_default(),
                    slot.get("created").and_then(Value::as_i64).unwrap_or(0),
                )
            })
            .collect();
    }
    let free: Vec<i64> = input
        .get("takenAllExcept")
        .and_then(Value::as_array)
        .map(|free| free.iter().filter_map(Value::as_i64).collect())
        .unwrap_or_default();
    let newest = input.get("newestSequence").and_then(Value::as_i64);
    (0..1000_i64)
        .filter(|sequence| !free.contains(sequence))
        .map(|sequence| {
            group(
                &format!("{cluster}-v{sequence:03}"),
                i64::from(Some(sequence) == newest),
            )
        })
        .collect()
}
