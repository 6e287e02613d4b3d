//! Which children run, and in what order.

use serde_json::{Map, Value};

/// Most children of one stage.
pub const MOST: usize = 100;

/// One child of `bundle_web`.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its key.
    pub name: String,
    /// Name of its pipeline (`child_pipeline`).
    pub pipeline: String,
    /// Parameters (`arguments`).
    pub arguments: Map<String, Value>,
    /// Keys of those that must have succeeded before (`depends_on`).
    depends_on: Vec<String>,
}

/// Not an app: whether what was deployed is rolled back when a later one fails.
const ROLLBACK: &str = "rollback_onfailure";

/// Reads `yamlConfig`: the first document's `bundle_web`.
///
/// # Errors
/// What a person reads.
pub fn apps(context: &Map<String, Value>) -> Result<Vec<App>, String> {
    let config = context.get("yamlConfig");
    let first = match config {
        Some(Value::Array(list)) => list.first(),
        other => other,
    };
    let Some(bundle) = first
        .and_then(|first| first.get("bundle_web"))
        .and_then(Value::as_object)
    else {
        return Err("`yamlConfig` has no `bundle_web` with pipelines to run".to_owned());
    };
    let mut apps = Vec::new();
    for (name, value) in bundle.iter().filter(|(name, _)| *name != ROLLBACK) {
        let Some(pipeline) = value
            .get("child_pipeline")
            .and_then(Value::as_str)
            .filter(|pipeline| !pipeline.trim().is_empty())
        else {
            return Err(format!("`{name}` names no `child_pipeline`"));
        };
        let arguments = match value.get("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments.clone(),
            Some(_) => return Err(format!("the `arguments` of `{name}` are no object")),
        };
        let depends_on = match value.get("depends_on") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list.iter().map(plain).collect(),
            Some(one) => vec![plain(one)],
        };
        apps.push(App {
            name: name.clone(),
            pipeline: pipeline.to_owned(),
            arguments,
            depends_on,
        });
    }
    if apps.is_empty() {
        return Err("`bundle_web` has no pipelines to run".to_owned());
    }
    if apps.len() > MOST {
        return Err(format!("{} pipelines: {MOST} at most", apps.len()));
    }
    let unique = !matches!(context.get("checkDuplicated"), Some(Value::Bool(false)));
    for (index, app) in apps.iter().enumerate() {
        let twin = apps
            .iter()
            .take(index)
            .any(|other| other.pipeline == app.pipeline && other.arguments == app.arguments);
        if unique && twin {
            return Err(
                "Detected two or more duplicated arguments and calling the same child_pipeline. \
                 You would have the same execution"
                    .to_owned(),
            );
        }
    }
    Ok(apps)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The apps in levels: each level runs side by side once the one before has ended.
///
/// # Errors
/// An app that depends on one that is not there, or on itself by a detour.
pub fn levels(apps: Vec<App>) -> Result<Vec<Vec<App>>, String> {
    for app in &apps {
        if let Some(missing) = app
            .depends_on
            .iter()
            .find(|name| !apps.iter().any(|other| other.name == **name))
        {
            return Err(format!(
                "`{}` depends on `{missing}`, which is not there",
                app.name
            ));
        }
    }
    let mut left = apps;
    let mut placed: Vec<String> = Vec::new();
    let mut levels = Vec::new();
    while !left.is_empty() {
        let (level, rest): (Vec<App>, Vec<App>) = left
            .into_iter()
            .partition(|app| app.depends_on.iter().all(|name| placed.contains(name)));
        if level.is_empty() {
            let names: Vec<String> = rest.into_iter().map(|app| app.name).collect();
            return Err(format!("these depend on each other: {}", names.join(", ")));
        }
        placed.extend(level.iter().map(|app| app.name.clone()));
        levels.push(level);
        left = rest;
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(bundle: Value, more: Value) -> Result<Vec<Vec<String>>, String> {
        let mut context = more.as_object().cloned().unwrap();
        context.insert("yamlConfig".to_owned(), json!([{ "bundle_web": bundle }]));
        let levels = levels(apps(&context)?)?;
        Ok(levels
            .into_iter()
            .map(|level| level.into_iter().map(|app| app.name).collect())
            .collect())
    }

    fn app(pipeline: &str, arguments: Value, after: Value) -> Value {
        json!({"child_pipeline": pipeline, "arguments": arguments, "depends_on": after})
    }

    #[test]
    fn apps_run_when_all_that_they_depend_on_have_run() {
        let bundle = json!({
            "d": app("p", json!({"n": 4}), json!(["b", "c"])),
            "a": app("p", json!({"n": 1}), json!(null)),
            "b": app("p", json!({"n": 2}), json!(["a"])),
            "c": app("p", json!({"n": 3}), json!([])),
            "rollback_onfailure": true,
        });
        assert_eq!(
            read(bundle, json!({})).unwrap(),
            [vec!["a", "c"], vec!["b"], vec!["d"]]
        );
    }

    #[test]
    fn the_same_pipeline_with_the_same_arguments_is_refused_unless_it_is_meant() {
        let bundle =
            json!({"a": app("p", json!({}), json!(null)), "b": app("p", json!({}), json!(["a"]))});
        assert!(
            read(bundle.clone(), json!({}))
                .unwrap_err()
                .starts_with("Detected two")
        );
        assert!(read(bundle, json!({"checkDuplicated": false})).is_ok());
    }

    #[test]
    fn what_can_never_run_is_said() {
        let unknown = json!({"a": app("p", json!({}), json!(["x"]))});
        assert!(
            read(unknown, json!({}))
                .unwrap_err()
                .contains("`x`, which is not there")
        );
        let circle = json!({"a": app("p", json!({"n": 1}), json!(["b"])), "b": app("p", json!({}), json!(["a"]))});
        assert!(
            read(circle, json!({}))
                .unwrap_err()
                .contains("each other: a, b")
        );
        assert!(read(json!({}), json!({})).is_err());
        assert!(read(json!({"a": {"arguments": {}}}), json!({})).is_err());
        assert!(apps(&Map::new()).is_err());
    }
}
