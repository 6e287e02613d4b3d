//! The accounts of a local cloud: every name that a pipeline has for one is the emulated account.

use std::collections::BTreeSet;

use gennaker_cloud::{Item, Key, Write};
use gennaker_local::World;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::installation::Installation;
use crate::local::ACCOUNT;

/// The names of accounts in a pipeline, wherever they stand.
pub(crate) fn named(pipeline: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    visit(pipeline, &mut found);
    found
}

fn visit(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| visit(one, found)),
        Value::Object(object) => {
            for name in ["account", "credentials", "accountName"] {
                if let Some(Value::String(text)) = object.get(name)
                    && !text.trim().is_empty()
                    && !text.contains("${")
                {
                    found.insert(text.clone());
                }
            }
            object.values().for_each(|one| visit(one, found));
        }
        _ => {}
    }
}

/// The names in a world.
pub(crate) fn of_world(world: &World) -> BTreeSet<String> {
    world
        .clusters
        .iter()
        .map(|cluster| cluster.account.clone())
        .collect()
}

/// The names in an accounts file: `{"<name>": {…}}`, or `[{"name", …}]`.
pub(crate) fn of_file(file: &Value) -> BTreeSet<String> {
    match file {
        Value::Object(object) => object.keys().cloned().collect(),
        Value::Array(list) => list
            .iter()
            .filter_map(|one| one.get("name").unwrap_or(one).as_str().map(str::to_owned))
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// Makes the names known to the stages. A name that is known already is left as it is.
pub(crate) async fn register(
    names: &BTreeSet<String>,
    installation: &Installation,
) -> Result<(), Failure> {
    for name in names {
        let item: Item = [
            ("name".to_owned(), json!(name)),
            ("accountId".to_owned(), json!(ACCOUNT)),
            ("regions".to_owned(), json!([])),
        ]
        .into_iter()
        .collect();
        let write =
            Write::put(Key::account(name), item).only_if(gennaker_cloud::Condition::no_item());
        match installation.store.table().write(write).await {
            Ok(()) => {}
            Err(error) if error.is_condition() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_literal_account_of_a_pipeline_is_found() {
        let pipeline = json!({"stages": [
            {"clusters": [{"account": "prod"}]}, {"credentials": "test"}, {"account": "${trigger.account}"}, {"account": ""}
        ]});
        assert_eq!(
            named(&pipeline).into_iter().collect::<Vec<_>>(),
            ["prod", "test"]
        );
    }

    #[test]
    fn an_accounts_file_is_a_map_or_a_list() {
        let names = |file: Value| of_file(&file).into_iter().collect::<Vec<_>>();
        assert_eq!(names(json!({"prod": {}})), ["prod"]);
        assert_eq!(names(json!([{"name": "prod"}, "test"])), ["prod", "test"]);
    }
}
