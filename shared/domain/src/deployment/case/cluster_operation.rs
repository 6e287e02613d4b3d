//! `cluster-operations`: what disableCluster, shrinkCluster and scaleDownCluster send.

use serde_json::{Map, Value, json};

use super::{
    CaseError, cluster, context_of, in_region, refused, regions, server_groups, traffic_guard,
};
use crate::deployment::ServerGroup;
use crate::deployment::cluster_operation::{self, ClusterOperation};
use crate::deployment::context;
use crate::deployment::naming;
use crate::deployment::traffic_guard::{GuardedCluster, check};

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let context = context_of(input)?;
    let stage_type = context::text(input, "stageType").ok_or(CaseError::Missing("stageType"))?;
    let Some(operation) = ClusterOperation::from_context(&stage_type, context)? else {
        return Err(CaseError::Unknown {
            what: "stage type",
            value: stage_type,
        });
    };
    let account = context::filled_text(context, "credentials").unwrap_or_default();
    let name = context::filled_text(context, "cluster")
        .or_else(|| cluster(context))
        .unwrap_or_default();
    let groups: Vec<ServerGroup> = server_groups(input)?
        .into_iter()
        .filter(|group| group.account == account && group.cluster == name)
        .collect();
    let nothing = json!({"operations": [], "status": "SUCCEEDED", "deploy.server.groups": null});
    if groups.is_empty() {
        let goes_on = context::flag(context, "continueIfClusterNotFound")?.unwrap_or(false);
        if goes_on || operation.accepts_missing_cluster() {
            return Ok(nothing);
        }
        return Ok(refused(
            "IllegalStateException",
            &missing_cluster(context, &account, &name),
        ));
    }

    let parent = context::object(input, "parentStage");
    let mut chosen: Vec<(String, Vec<ServerGroup>, Vec<ServerGroup>)> = Vec::new();
    for region in regions(context) {
        let here = in_region(&groups, &region);
        let ancestors = parent.and_then(|parent| {
            Some((
                parent
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
                context::object(parent, "context")?,
            ))
        });
        let deployed = cluster_operation::deployed_server_groups(ancestors, &account, &region);
        let selected: Vec<ServerGroup> = cluster_operation::select(operation, &here, &deployed)
            .chosen
            .into_iter()
            .cloned()
            .collect();
        chosen.push((region, selected, here));
    }
    if chosen.iter().all(|(_, selected, _)| selected.is_empty()) {
        return Ok(nothing);
    }
    if operation.asks_traffic_guards() {
        let Ok(guards) = traffic_guard::guards(input) else {
            return Ok(json!({"error": "HTTP 500"}));
        };
        for (region, selected, here) in &chosen {
            let Some(first) = selected.first() else {
                continue;
            };
            let parts = naming::parse(&first.name);
            let guarded = GuardedCluster {
                account: &account,
                region,
                cluster: &name,
                stack: parts.stack.as_deref(),
                detail: parts.detail.as_deref(),
            };
            let (selected, here): (Vec<&ServerGroup>, Vec<&ServerGroup>) =
                (selected.iter().collect(), here.iter().collect());
            let sentence = format!("Running {} on", operation.group_operation());
            if let Err(error) = check(&guards, guarded, &selected, &here, &sentence) {
                return Ok(traffic_guard::refusal(&error));
            }
        }
    }
    let mut by_region = Map::new();
    let mut operations = Vec::new();
    for (region, selected, _) in chosen
        .iter()
        .filter(|(_, selected, _)| !selected.is_empty())
    {
        let names: Vec<&str> = selected.iter().map(|group| group.name.as_str()).collect();
        by_region.insert(region.clone(), json!(names));
        for group in selected {
            operations.extend(sent(operation, group));
        }
    }
    Ok(json!({"operations": operations, "status": "SUCCEEDED", "deploy.server.groups": by_region}))
}

/// What is sent for one group.
fn sent(operation: ClusterOperation, group: &ServerGroup) -> Vec<Value> {
    let one = |op: &str| json!({"op": op, "region": group.region, "serverGroupName": group.name});
    let with = |op: &str, key: &str, value: Value| {
        let mut operation = one(op);
        if let Some(operation) = operation.as_object_mut() {
            operation.insert(key.to_owned(), value);
        }
        operation
    };
    match operation {
        ClusterOperation::Disable {
            desired_percentage: Some(percentage),
            ..
        } => {
            vec![with(
                "disableServerGroup",
                "desiredPercentage",
                json!(percentage),
            )]
        }
        ClusterOperation::Disable {
            desired_percentage: None,
            ..
        } => vec![one("disableServerGroup")],
        ClusterOperation::Shrink { .. } => vec![one("destroyServerGroup")],
        // A suspended Terminate would keep the instances for ever.
        ClusterOperation::ScaleDown { .. } => vec![
            with(
                "resumeAsgProcessesDescription",
                "processes",
                json!(["Terminate"]),
            ),
            with(
                "resizeServerGroup",
                "capacity",
                json!({"min": 0, "desired": 0, "max": 0}),
            ),
        ],
    }
}

fn missing_cluster(context: &Map<String, Value>, account: &str, name: &str) -> String {
    let moniker = context::object(context, "moniker")
        .filter(|moniker| context::text(moniker, "cluster").is_some());
    let parts = naming::parse(name);
    let part = |key: &str, parsed: Option<String>| {
        match moniker {
            Some(moniker) => context::text(moniker, key),
            None => parsed,
        }
        .unwrap_or_else(|| "null".to_owned())
    };
    let sequence = match moniker {
        Some(moniker) => moniker
            .get("sequence")
            .filter(|sequence| !sequence.is_null())
            .map(ToString::to_string),
        None => parts.sequence.map(|sequence| sequence.to_string()),
    };
    format!(
        "No Cluster details found for Cluster aws/{account}/{name}/Moniker(app={}, cluster={}, detail={}, stack={}, sequence={})",
        part("app", parts.app),
        part("cluster", parts.cluster),
        part("detail", parts.detail),
        part("stack", parts.stack),
        sequence.unwrap_or_else(|| "null".to_owned()),
    )
}
