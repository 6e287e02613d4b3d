//! Clusters as they are read back from the emulated Auto Scaling, EC2 and ELB.

use std::collections::BTreeSet;

use gennaker_local::ObservedCluster;
use serde_json::{Value, json};

use crate::output::{Output, plain};

/// A cluster that a pipeline names: what it calls the account, and the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub account: String,
    pub cluster: String,
}

/// The clusters that the stages of a pipeline name literally, wherever they stand.
pub(crate) fn named(pipeline: &Value) -> BTreeSet<Named> {
    let mut found = BTreeSet::new();
    visit(pipeline, "", &mut found);
    found
}

/// `around`: the account of what the value stands in. The one `cluster` of an old deploy stage has its stage's.
fn visit(value: &Value, around: &str, found: &mut BTreeSet<Named>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| visit(one, around, found)),
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
            let account = [text("account"), text("credentials"), around]
                .into_iter()
                .find(|account| !account.is_empty())
                .unwrap_or_default();
            let name = if text("cluster").is_empty() {
                let mut name = text("application").to_owned();
                let (stack, detail) = (text("stack"), text("freeFormDetails"));
                // As Frigga joins them: an empty stack leaves its hyphen.
                if !stack.is_empty() || !detail.is_empty() {
                    name.push('-');
                    name.push_str(stack);
                }
                if !detail.is_empty() {
                    name.push('-');
                    name.push_str(detail);
                }
                name
            } else {
                text("cluster").to_owned()
            };
            if !account.is_empty() && !name.is_empty() {
                found.insert(Named {
                    account: account.to_owned(),
                    cluster: name,
                });
            }
            object.values().for_each(|one| visit(one, account, found));
        }
        _ => {}
    }
}

/// The clusters as every command prints them; the account by the name that the pipeline has for it.
pub(crate) fn clusters_json(clusters: &[ObservedCluster], named: &BTreeSet<Named>) -> Value {
    let list: Vec<Value> = clusters
        .iter()
        .map(|cluster| {
            let account = named
                .iter()
                .find(|one| one.cluster == cluster.name)
                .map_or(cluster.account.as_str(), |one| one.account.as_str());
            let groups: Vec<Value> = cluster
                .server_groups
                .iter()
                .map(|group| {
                    let (min, desired, max) = group.capacity.bounds();
                    json!({
                        "name": group.name,
                        "image": group.image,
                        "capacity": { "min": min, "desired": desired, "max": max },
                        "enabled": group.enabled,
                        "healthy": group.healthy,
                        "instances": group.instances,
                        "inTraffic": group.in_traffic,
                    })
                })
                .collect();
            json!({ "account": account, "region": cluster.region, "name": cluster.name, "serverGroups": groups })
        })
        .collect();
    Value::Array(list)
}

/// A line for each server group.
pub(crate) fn lines(clusters: &[ObservedCluster], output: &Output) -> Vec<String> {
    let mut lines = Vec::new();
    for cluster in clusters {
        lines.push(format!("  {} in {}", plain(&cluster.name), cluster.region));
        if cluster.server_groups.is_empty() {
            lines.push("    no server groups".to_owned());
        }
        for group in &cluster.server_groups {
            let (min, desired, max) = group.capacity.bounds();
            let traffic: u32 = group.in_traffic.values().sum();
            let state = if group.enabled {
                output.paint("enabled ", crate::output::GREEN)
            } else {
                output.paint("disabled", crate::output::DIM)
            };
            lines.push(format!(
                "    {}  {state}  {} of {desired} healthy ({min}-{max}), {traffic} in traffic, image {}",
                plain(&group.name),
                group.healthy,
                plain(&group.image)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_named_by_their_parts_or_by_name() {
        let pipeline = json!({"stages": [
            {"type": "deploy", "clusters": [{"account": "prod", "application": "shop", "stack": "prod", "freeFormDetails": "web"}]},
            {"type": "disableCluster", "credentials": "test", "cluster": "shop--x"},
            {"type": "deploy", "clusters": [{"account": "a", "application": "shop", "freeFormDetails": "d"}]}
        ]});
        let names: Vec<String> = named(&pipeline)
            .into_iter()
            .map(|one| format!("{} {}", one.account, one.cluster))
            .collect();
        assert_eq!(names, ["a shop--d", "prod shop-prod-web", "test shop--x"]);
    }

    #[test]
    fn the_one_cluster_of_an_old_deploy_stage_has_the_stages_account() {
        let pipeline = json!({"application": "shop", "stages": [
            {"type": "deploy", "account": "test", "cluster": {"application": "shop", "stack": "test", "freeFormDetails": "",
                "source": {"account": "other", "asgName": "shop-test-v016"}}},
        ]});
        let names: Vec<String> = named(&pipeline)
            .into_iter()
            .map(|one| format!("{} {}", one.account, one.cluster))
            .collect();
        assert_eq!(names, ["test shop-test"]);
    }
}
