//! Canary configurations that are stored.

use gennaker_domain::Problem;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::installation::Installation;
use crate::output::{Output, elapsed, plain};
use crate::surroundings::now_millis;

fn unknown(id: &str) -> Failure {
    Failure::input(
        Problem::error(
            "unknown-canary-configuration",
            "$",
            format!("canary configuration `{id}` not found"),
        )
        .with_hint("gennaker canary list --application APP shows those there are"),
    )
}

/// Stores a configuration that the lint let pass.
pub(crate) async fn save(
    config: &Value,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let id = ["id", "name"]
        .iter()
        .find_map(|field| config.get(*field).and_then(Value::as_str))
        .filter(|id| !id.is_empty())
        .ok_or_else(|| {
            Failure::input(Problem::error(
                "missing-name",
                "$.name",
                "a canary configuration needs a name to be stored under",
            ))
        })?;
    installation
        .store
        .save_canary(id, config, now_millis())
        .await?;
    if output.json {
        return output.data(&json!({ "id": id }));
    }
    output.say(&format!("canary configuration `{}` is stored", plain(id)));
    Ok(())
}

/// Prints the configurations of an application.
pub(crate) async fn list(
    application: &str,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let found = installation.store.canaries(application).await?;
    if output.json {
        let list: Vec<Value> = found
            .iter()
            .map(
                |one| json!({ "id": one.id, "name": one.name, "updatedTimestamp": one.updated_at }),
            )
            .collect();
        return output.data(&list);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|one| {
            let age = elapsed(now_millis().saturating_sub(one.updated_at));
            vec![plain(&one.id), plain(&one.name), format!("{age} ago")]
        })
        .collect();
    output.table(&rows)
}

/// Prints one configuration as it was given.
pub(crate) async fn show(
    id: &str,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let config = installation.store.canary(id).await?;
    output.data(&config.ok_or_else(|| unknown(id))?)
}

/// Deletes one configuration.
pub(crate) async fn delete(
    id: &str,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    if !installation.store.delete_canary(id).await? {
        return Err(unknown(id));
    }
    output.say(&format!("canary configuration `{}` is deleted", plain(id)));
    Ok(())
}
