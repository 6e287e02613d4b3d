//! The accounts of a local cloud: every name that a pipeline has for one is the emulated account.

use std::collections::BTreeSet;

use gennaker_cloud::Account;
use gennaker_local::World;
use serde_json::Value;

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
            for name in ["account", "credentials", "accountName", "imageOwnerAccount"] {
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

/// The literal account names that a pipeline's server-group stages deploy to, each once, with JSON path and stage.
pub(crate) fn of_stages(pipeline: &Value) -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    let stages = pipeline.get("stages").and_then(Value::as_array);
    for (index, stage) in stages.into_iter().flatten().enumerate() {
        let ref_id = stage
            .get("refId")
            .map_or_else(|| (index + 1).to_string(), crate::output::bare);
        let mut see = |path: String, holder: &Value, field: &str| {
            if let Some(name) = holder.get(field).and_then(Value::as_str)
                && !name.trim().is_empty()
                && !name.contains("${")
                && !found.iter().any(|(_, _, known)| known == name)
            {
                found.push((format!("{path}.{field}"), ref_id.clone(), name.to_owned()));
            }
        };
        let path = format!("$.stages[{index}]");
        see(path.clone(), stage, "credentials");
        let clusters = stage.get("clusters").and_then(Value::as_array);
        for (number, cluster) in clusters.into_iter().flatten().enumerate() {
            see(format!("{path}.clusters[{number}]"), cluster, "account");
        }
        if let Some(deployments) = stage.get("deployments").filter(|value| value.is_object()) {
            let path = format!("{path}.deployments");
            if let Some(baseline) = deployments.get("baseline") {
                see(format!("{path}.baseline"), baseline, "account");
            }
            let pairs = deployments
                .get("serverGroupPairs")
                .and_then(Value::as_array);
            for (number, pair) in pairs.into_iter().flatten().enumerate() {
                for side in ["control", "experiment"] {
                    if let Some(group) = pair.get(side) {
                        see(
                            format!("{path}.serverGroupPairs[{number}].{side}"),
                            group,
                            "account",
                        );
                    }
                }
            }
        }
        // As old deploy stages have it.
        if let Some(cluster) = stage.get("cluster").filter(|cluster| cluster.is_object()) {
            see(format!("{path}.cluster"), cluster, "account");
            see(path.clone(), stage, "account");
        }
    }
    found
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
        if Account::find(&installation.store, name).await?.is_none() {
            let account = Account {
                name: name.clone(),
                account_id: ACCOUNT.to_owned(),
                ..Account::default()
            };
            account.save(&installation.store).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_literal_account_of_a_pipeline_is_found() {
        let pipeline = json!({"stages": [
            {"clusters": [{"account": "prod"}]}, {"credentials": "test"}, {"account": "${trigger.account}"}, {"account": ""},
            {"imageOwnerAccount": "bakery"}
        ]});
        assert_eq!(
            named(&pipeline).into_iter().collect::<Vec<_>>(),
            ["bakery", "prod", "test"]
        );
    }

    #[test]
    fn the_accounts_that_stages_deploy_to_have_their_place() {
        let pipeline = json!({ "triggers": [{ "account": "ecr" }], "stages": [
            { "refId": "a", "clusters": [{ "account": "prod" }, { "account": "test" }] },
            { "credentials": "prod" },
            { "refId": "c", "account": "old", "cluster": {} },
            { "refId": "d", "credentials": "${trigger.account}", "cluster": "shop-prod" },
        ] });
        let found = of_stages(&pipeline);
        let found: Vec<_> = found
            .iter()
            .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("$.stages[0].clusters[0].account", "a", "prod"),
                ("$.stages[0].clusters[1].account", "a", "test"),
                ("$.stages[2].account", "c", "old"),
            ]
        );
    }

    #[test]
    fn an_accounts_file_is_a_map_or_a_list() {
        let names = |file: Value| of_file(&file).into_iter().collect::<Vec<_>>();
        assert_eq!(names(json!({"prod": {}})), ["prod"]);
        assert_eq!(names(json!([{"name": "prod"}, "test"])), ["prod", "test"]);
    }
}
