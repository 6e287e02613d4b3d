//! Which clusters there are before a pipeline runs, as far as somebody tells, and which cluster a planned stage works on.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::naming;
use super::strategy::Condition;
use crate::{Plan, PlanStage};

/// A cluster in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The name of the cluster.
    pub cluster: String,
}

/// The clusters that there are.
///
/// The default is that every cluster has an enabled server group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownClusters(Option<HashMap<Place, usize>>);

/// Stages that make a server group, and whose sub-stages work on its cluster.
const CREATORS: [&str; 3] = ["createServerGroup", "cloneServerGroup", "copyLastAsg"];

fn text<'a>(of: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    let found = |name: &&str| of.get(*name).and_then(Value::as_str);
    names.iter().find_map(found).filter(|text| !text.is_empty())
}

fn region(context: &Map<String, Value>) -> Option<&str> {
    let zones = context.get("availabilityZones").and_then(Value::as_object);
    let regions = context.get("regions").and_then(Value::as_array);
    text(context, &["region"])
        .or_else(|| zones.and_then(|zones| zones.keys().next().map(String::as_str)))
        .or_else(|| regions.and_then(|regions| regions.first()?.as_str()))
}

/// The cluster that a stage's context names, or the one that it would make a server group in.
fn named(context: &Map<String, Value>, application: &str) -> Option<Place> {
    let cluster = match text(context, &["cluster"]) {
        Some(cluster) => cluster.to_owned(),
        None => naming::cluster_name(
            text(context, &["application"]).unwrap_or(application),
            text(context, &["stack"]),
            text(context, &["freeFormDetails", "details", "detail"]),
        )
        .ok()?,
    };
    let place = Place {
        account: text(context, &["account", "credentials"])?.to_owned(),
        region: region(context)?.to_owned(),
        cluster,
    };
    let open = [&place.account, &place.region, &place.cluster]
        .into_iter()
        .any(|part| part.contains("${"));
    (!open).then_some(place)
}

/// The cluster that a planned stage works on; none if it works on none, or an expression says which.
#[must_use]
pub fn place(plan: &Plan, stage: &PlanStage) -> Option<Place> {
    let lineage = plan.lineage(&stage.ref_id);
    let creator = lineage
        .iter()
        .find(|above| CREATORS.contains(&above.stage_type.as_str()));
    match creator {
        Some(creator) => named(&creator.context, &plan.application),
        None if stage.context.contains_key("cluster") => named(&stage.context, &plan.application),
        None => None,
    }
}

impl KnownClusters {
    /// Those of a world file: `{"clusters":[{"account","region","name","serverGroups":[…]}]}`. A cluster that is not in
    /// it has no server group; what cannot be read as a cluster is passed over.
    #[must_use]
    pub fn of_world(world: &Value) -> Self {
        let listed = world.get("clusters").and_then(Value::as_array);
        let clusters = listed.into_iter().flatten().filter_map(|cluster| {
            let field = |name: &str| cluster.get(name)?.as_str().map(str::to_owned);
            let groups = cluster.get("serverGroups").and_then(Value::as_array);
            let place = Place {
                account: field("account")?,
                region: field("region")?,
                cluster: field("name")?,
            };
            Some((place, groups.map_or(0, Vec::len)))
        });
        Self(Some(clusters.collect()))
    }

    /// Whether a cluster has a server group.
    #[must_use]
    fn has_server_group(&self, place: &Place) -> bool {
        self.0
            .as_ref()
            .is_none_or(|clusters| clusters.get(place).is_some_and(|groups| *groups > 0))
    }

    /// The sub-stages of a plan that are skipped because their cluster has no older server group.
    #[must_use]
    pub fn skipped(&self, plan: &Plan) -> BTreeSet<String> {
        plan.stages
            .iter()
            .filter(|stage| stage.conditions.contains(&Condition::Source))
            .filter(|stage| place(plan, stage).is_some_and(|place| !self.has_server_group(&place)))
            .map(|stage| stage.ref_id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_that_a_world_does_not_list_has_no_server_group_and_without_a_world_all_have() {
        let place = |cluster: &str| Place {
            account: "prod".to_owned(),
            region: "eu-west-1".to_owned(),
            cluster: cluster.to_owned(),
        };
        let world = json!({"clusters": [
            {"account": "prod", "region": "eu-west-1", "name": "shop-web", "serverGroups": [{"name": "shop-web-v001"}]},
            {"account": "prod", "region": "eu-west-1", "name": "shop-api", "serverGroups": []},
            "nonsense",
        ]});
        let known = KnownClusters::of_world(&world);
        assert!(known.has_server_group(&place("shop-web")));
        assert!(!known.has_server_group(&place("shop-api")));
        assert!(!known.has_server_group(&place("shop-new")));
        assert!(KnownClusters::default().has_server_group(&place("shop-new")));
    }

    #[test]
    fn the_cluster_of_a_server_group_to_be_is_named_by_its_parts_and_left_open_by_an_expression() {
        let context = |value: Value| value.as_object().cloned().unwrap();
        let of = json!({"account": "prod", "application": "shop", "stack": "eu", "freeFormDetails": "web",
            "availabilityZones": {"eu-west-1": []}});
        let place = named(&context(of), "other").unwrap();
        assert_eq!(
            (place.cluster.as_str(), place.region.as_str()),
            ("shop-eu-web", "eu-west-1")
        );
        let open = json!({"account": "prod", "application": "shop", "stack": "${parameters.stack}", "region": "eu-west-1"});
        assert_eq!(named(&context(open), "shop"), None);
    }
}
