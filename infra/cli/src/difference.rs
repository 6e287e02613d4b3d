//! What differs between two pipelines, stage by stage.

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::{Output, plain};

/// What the server writes: no difference that an author made.
const SERVERS: [&str; 7] = [
    "id",
    "updateTs",
    "createTs",
    "lastModified",
    "lastModifiedBy",
    "index",
    "stageCounter",
];

/// One difference.
#[derive(Clone, Debug, PartialEq)]
struct Difference {
    path: String,
    old: Option<Value>,
    new: Option<Value>,
}

/// Prints the differences; exit status 1 if there is one.
pub(crate) fn print(old: &Value, new: &Value, output: &Output) -> Result<(), Failure> {
    let differences = differences(old, new);
    if output.json {
        let list: Vec<Value> = differences
            .iter()
            .map(|one| json!({ "path": one.path, "old": one.old, "new": one.new }))
            .collect();
        output.data(&json!({ "differences": list }))?;
    } else {
        for one in &differences {
            let show = |value: &Value| {
                let text = plain(&value.to_string());
                if text.chars().count() > 100 {
                    format!("{}…", text.chars().take(99).collect::<String>())
                } else {
                    text
                }
            };
            match (&one.old, &one.new) {
                (Some(old), Some(new)) => {
                    output.line(&format!("~ {}: {} -> {}", one.path, show(old), show(new)))?;
                }
                (Some(old), None) => output.line(&format!("- {}: {}", one.path, show(old)))?,
                (None, Some(new)) => output.line(&format!("+ {}: {}", one.path, show(new)))?,
                (None, None) => {}
            }
        }
    }
    match differences.len() {
        0 => {
            output.say("no difference");
            Ok(())
        }
        1 => Err(Failure::No("1 difference".to_owned())),
        many => Err(Failure::No(format!("{many} differences"))),
    }
}

fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let without = |value: &Value| -> Map<String, Value> {
        let mut object = value.as_object().cloned().unwrap_or_default();
        for name in SERVERS {
            object.remove(name);
        }
        object
    };
    let mut found = Vec::new();
    objects("$", &without(old), &without(new), &mut found);
    found
}

fn objects(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    for (name, value) in old {
        compare(&member(path, name), Some(value), new.get(name), found);
    }
    for (name, value) in new {
        if !old.contains_key(name) {
            compare(&member(path, name), None, Some(value), found);
        }
    }
}

fn member(path: &str, name: &str) -> String {
    let simple = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if simple {
        format!("{path}.{name}")
    } else {
        format!("{path}[{}]", Value::from(name))
    }
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => objects(path, old, new, found),
        (Some(Value::Array(old)), Some(Value::Array(new))) => lists(path, old, new, found),
        _ if old == new => {}
        _ => found.push(Difference {
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

/// Elements of a list are the same one if they have the same `refId`, else if they have the same place.
fn lists(path: &str, old: &[Value], new: &[Value], found: &mut Vec<Difference>) {
    let key = |value: &Value| match value.get("refId") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let keyed = |list: &[Value]| !list.is_empty() && list.iter().all(|value| key(value).is_some());
    if (keyed(old) || old.is_empty())
        && (keyed(new) || new.is_empty())
        && !(old.is_empty() && new.is_empty())
    {
        let place = |id: &str| format!("{path}[refId={id}]");
        for value in old {
            let Some(id) = key(value) else { continue };
            let other = new.iter().find(|one| key(one).as_deref() == Some(&id));
            compare(&place(&id), Some(value), other, found);
        }
        for value in new {
            let Some(id) = key(value) else { continue };
            if !old.iter().any(|one| key(one).as_deref() == Some(&id)) {
                compare(&place(&id), None, Some(value), found);
            }
        }
        return;
    }
    for at in 0..old.len().max(new.len()) {
        compare(&format!("{path}[{at}]"), old.get(at), new.get(at), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_compared_by_ref_id_whatever_their_order() {
        let old = json!({"id": "a", "stages": [{"refId": "1", "type": "wait", "waitTime": 5}, {"refId": "2", "type": "x"}]});
        let new = json!({"id": "b", "stages": [{"refId": 2, "type": "x"}, {"refId": "1", "type": "wait", "waitTime": 6}, {"refId": "3"}]});
        let paths: Vec<String> = differences(&old, &new)
            .into_iter()
            .map(|one| one.path)
            .collect();
        assert_eq!(
            paths,
            [
                "$.stages[refId=1].waitTime",
                "$.stages[refId=2].refId",
                "$.stages[refId=3]"
            ]
        );
    }

    #[test]
    fn a_pipeline_does_not_differ_from_itself_as_the_server_stored_it() {
        let old = json!({"name": "a", "triggers": [{"type": "cron"}], "stages": []});
        let mut new = old.clone();
        new["updateTs"] = json!("1");
        new["id"] = json!("x");
        assert_eq!(differences(&old, &new), []);
    }

    #[test]
    fn lists_without_ref_ids_are_compared_by_place() {
        let found = differences(&json!({"a b": [1, 2]}), &json!({"a b": [1, 3, 4]}));
        let paths: Vec<String> = found.into_iter().map(|one| one.path).collect();
        assert_eq!(paths, ["$[\"a b\"][1]", "$[\"a b\"][2]"]);
    }
}
