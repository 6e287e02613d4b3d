//! `gennaker application`: owner, permissions, traffic guards and notifications of applications.

use gennaker_domain::Problem;
use serde_json::{Map, Value};

use crate::arguments::Application;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};

/// Runs the command.
pub(crate) async fn run(
    command: Application,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let store = &installation.store;
    match command {
        Application::Save { file } => {
            let (name, config) = of_file(&input::json(&file)?)?;
            store.save_application(&name, &config).await?;
            if output.json {
                return output.data(&config);
            }
            output.say(&format!("application `{}` is saved", plain(&name)));
            Ok(())
        }
        Application::Show { name } => match store.application(&name).await? {
            Some(config) => output.data(&config),
            None => Err(Failure::input(
                Problem::error(
                    "unknown-application",
                    "$",
                    format!("application `{}` was not saved", plain(&name)),
                )
                .with_hint("gennaker application list shows those that were"),
            )),
        },
        Application::List => output.names(&store.applications().await?),
    }
}

/// An application's name and record. Front50 has the fields beside the name, Gate and `spin application get` below
/// `attributes`. All problems at once.
fn of_file(file: &Value) -> Result<(String, Map<String, Value>), Failure> {
    let mut config = match file.get("attributes").unwrap_or(file) {
        Value::Object(config) => config.clone(),
        _ => Map::new(),
    };
    let mut problems = Vec::new();
    let invalid =
        |path: &str, message: String| Problem::error("invalid-application", path, message);
    let name = file.get("name").or_else(|| config.get("name"));
    let name = name
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
        .to_owned();
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        problems.push(
            invalid("$.name", "the application has no `name`".to_owned())
                .with_hint(r#"such as {"name": "shop", "email": "shop@example.com"}"#),
        );
    } else if name.len() > 250 || !name.chars().all(known) {
        problems.push(invalid(
            "$.name",
            "a name is letters, digits, hyphens, dots and underscores".to_owned(),
        ));
    }
    for (field, is, what) in [
        (
            "trafficGuards",
            Value::is_array as fn(&Value) -> bool,
            "a list",
        ),
        ("permissions", Value::is_object, "an object"),
    ] {
        let given = config.get(field).filter(|value| !value.is_null());
        if given.is_some_and(|value| !is(value)) {
            problems.push(invalid(
                &format!("$.{field}"),
                format!("`{field}` is not {what}"),
            ));
        }
    }
    let notifications = config.get("notifications").filter(|value| !value.is_null());
    if notifications.is_some_and(|value| !value.is_array() && !value.is_object()) {
        problems.push(
            invalid(
                "$.notifications",
                "`notifications` is neither a list nor lists by type".to_owned(),
            )
            .with_hint(
                r##"such as {"slack": [{"address": "#releases", "when": ["pipeline.failed"]}]}"##,
            ),
        );
    }
    if !problems.is_empty() {
        return Err(Failure::Input { problems });
    }
    config.insert("name".to_owned(), name.clone().into());
    Ok((name, config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_application_is_read_as_front50_and_as_gate_have_it() {
        let front50 = json!({"name": "shop", "email": "a@example.com"});
        let gate =
            json!({"name": "shop", "attributes": {"email": "a@example.com"}, "clusters": {}});
        for file in [front50.clone(), gate] {
            let (name, config) = of_file(&file).unwrap();
            assert_eq!(name, "shop");
            assert_eq!(config["email"], front50["email"]);
            assert_eq!(config["name"], "shop");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let file =
            json!({"name": "a b", "trafficGuards": {}, "permissions": [], "notifications": 1});
        let Err(Failure::Input { problems }) = of_file(&file) else {
            panic!("it is refused");
        };
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(of_file(&json!([])).is_err());
    }
}
