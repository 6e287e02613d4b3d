//! `resize`: the capacity that a resize or pin sends; the choice of the source and what is copied from it.

use serde_json::{Map, Value, json};

use super::{CaseError, cluster, context_of, in_region, refused, server_groups};
use crate::deployment::capacity::{CapacityError, Resize, ResizeBasis, resized_capacity};
use crate::deployment::context;
use crate::deployment::source::{
    SourceError, SourceSettings, WithoutSource, capacity_snapshot, restored_minimum,
    source_server_group, without_source,
};
use crate::deployment::target::{Target, target_server_group};
use crate::deployment::{Capacity, ServerGroup};

/// How often a read that fails is tried again before the stage gives up.
const ATTEMPTS: usize = 10;

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let context = context_of(input)?;
    let groups = server_groups(input)?;
    match context::text(input, "task").as_deref() {
        Some("resizeServerGroup") => resize(context, &groups),
        _ => source(input, context, &groups),
    }
}

fn resize(context: &Map<String, Value>, groups: &[ServerGroup]) -> Result<Value, CaseError> {
    let region = context::filled_text(context, "region").unwrap_or_default();
    let name = context::filled_text(context, "serverGroupName")
        .or_else(|| context::filled_text(context, "asgName"))
        .unwrap_or_default();
    let here = in_region(groups, &region);
    let capacity_of = |name: &str, region: &str| {
        groups
            .iter()
            .find(|group| group.name == name && group.region == region)
            .map(|group| group.capacity)
    };
    let named_source = context::object(context, "source").and_then(|source| {
        let source_name = context::filled_text(source, "serverGroupName")
            .or_else(|| context::filled_text(source, "asgName"))?;
        let source_region =
            context::filled_text(source, "region").unwrap_or_else(|| region.clone());
        capacity_of(&source_name, &source_region)
    });
    let cluster_name = cluster(context).unwrap_or_default();
    let of_cluster: Vec<Capacity> = here
        .iter()
        .filter(|group| group.cluster == cluster_name)
        .map(|group| group.capacity)
        .collect();
    let basis = ResizeBasis {
        current: capacity_of(&name, &region).unwrap_or_default(),
        source: named_source,
        cluster: &of_cluster,
    };
    let resized = Resize::from_context(context).and_then(|resize| resized_capacity(&resize, basis));
    Ok(match resized {
        Ok(resized) => {
            let key = format!("originalCapacity.{name}");
            let mut outputs = Map::new();
            let original = match context::object(context, &key) {
                Some(remembered) => Some(json!(remembered)),
                None => resized.original.map(|original| json!(original)),
            };
            if let Some(original) = original {
                outputs.insert(key, original);
            }
            json!({
                "status": "SUCCEEDED",
                "capacity": resized.target,
                "deploy.server.groups": {region: [name]},
                "outputs": outputs,
            })
        }
        Err(error) => refusal(&error, context),
    })
}

fn refusal(error: &CapacityError, context: &Map<String, Value>) -> Value {
    match error {
        CapacityError::NotConfigured => refused(
            "IllegalArgumentException",
            "Unable to map context to class com.netflix.spinnaker.orca.kato.pipeline.support.ResizeStrategy$Capacity",
        ),
        CapacityError::NoSource => refused(
            "IllegalStateException",
            &format!(
                "No source configuration available ({})",
                groovy_map(context)
            ),
        ),
        other => refused("IllegalArgumentException", &other.to_string()),
    }
}

/// A map as Groovy shows it in messages.
fn groovy_map(map: &Map<String, Value>) -> String {
    let entries: Vec<String> = map
        .iter()
        .map(|(key, value)| match value {
            Value::Object(map) => format!("{key}:{}", groovy_map(map)),
            Value::String(text) => format!("{key}:{text}"),
            other => format!("{key}:{other}"),
        })
        .collect();
    format!("[{}]", entries.join(", "))
}

/// determineSourceServerGroup until it is over, then the snapshot, then the restored minimum.
fn source(
    input: &Map<String, Value>,
    context: &Map<String, Value>,
    groups: &[ServerGroup],
) -> Result<Value, CaseError> {
    let settings = SourceSettings::from_context(context)?;
    let mut polls = Vec::new();
    let (found, fails) = match resolve(context, &settings, groups) {
        Resolved::Found(source) => {
            polls.push(json!({"source": source.to_json(settings.use_source_capacity), "status": "SUCCEEDED"}));
            (Some(source), false)
        }
        Resolved::Failed(message) => {
            polls.extend((1..ATTEMPTS).map(|_| json!({"source": null, "status": "RUNNING"})));
            polls.push(refused("IllegalStateException", &message));
            (None, true)
        }
        Resolved::Nothing => (None, poll_without_source(&settings, context, &mut polls)),
    };
    if fails {
        return Ok(json!({"determineSource": polls}));
    }
    let copied = found
        .as_ref()
        .filter(|_| settings.use_source_capacity == Some(true))
        .and_then(|source| {
            groups.iter().find(|group| {
                Some(&group.name) == source.name.as_ref()
                    && Some(&group.region) == source.region.as_ref()
            })
        })
        .map(|group| capacity_snapshot(group.capacity));
    let snapshot = match (&copied, &found) {
        (Some(copied), Some(source)) => {
            let mut shown = source.to_json(Some(false));
            if let Some(shown) = shown.as_object_mut() {
                shown.retain(|_, value| !value.is_null());
            }
            json!({
                "source": shown,
                "useSourceCapacity": false,
                "sourceServerGroupCapacitySnapshot": copied.source,
                "capacity": copied.new_group,
            })
        }
        // Nothing to copy, and the stage may go on: the configured capacity it is.
        _ if found.is_none() && settings.use_source_capacity == Some(true) => {
            json!({"useSourceCapacity": false})
        }
        _ => json!({}),
    };
    let operations = match (copied, input.get("newGroupMin").and_then(Value::as_u64)) {
        (Some(copied), Some(min)) => {
            let min = u32::try_from(min).unwrap_or(u32::MAX);
            let min = restored_minimum(copied.source, Capacity::fixed(min));
            let region = context::filled_text(context, "region")
                .or_else(|| first_zone_region(context))
                .unwrap_or_default();
            // The recorded new group.
            let name = format!("{}-v500", cluster_of(context));
            json!([{"op": "resizeServerGroup", "region": region, "serverGroupName": name, "capacity": {"min": min}}])
        }
        _ => json!([]),
    };
    Ok(json!({
        "determineSource": polls,
        "snapshot": snapshot,
        "apply": {"operations": operations, "status": "SUCCEEDED"},
    }))
}

/// Polls until it is decided that there is no source; says whether the stage fails.
fn poll_without_source(
    settings: &SourceSettings,
    context: &Map<String, Value>,
    polls: &mut Vec<Value>,
) -> bool {
    if settings.use_source_capacity != Some(true) {
        polls.push(json!({"source": {}, "status": "SUCCEEDED"}));
        return false;
    }
    let mut seen = 0;
    loop {
        let answer = without_source(settings, seen);
        seen += 1;
        match answer {
            Ok(WithoutSource::LookAgain { seen }) => {
                polls.push(
                    json!({"consecutiveNotFound": seen, "source": null, "status": "RUNNING"}),
                );
            }
            Ok(WithoutSource::GoOn) => {
                polls.push(
                    json!({"consecutiveNotFound": seen, "source": null, "status": "SUCCEEDED"}),
                );
                return false;
            }
            Err(error) => {
                let message = match error {
                    SourceError::NoCapacity => {
                        "Could not find source server group to copy capacity from, and no capacity specified.".to_owned()
                    }
                    SourceError::NoServerGroup => format!(
                        "Cluster is configured to copy capacity from the current server group, but no server group was found for the cluster '{}' in {}/{}. If this is a new cluster, you must explicitly specify the capacity in your cluster configuration for the first deployment.",
                        cluster_of(context),
                        account_of(context),
                        first_zone_region(context).unwrap_or_else(|| "null".to_owned()),
                    ),
                };
                polls.push(refused("IllegalStateException", &message));
                return true;
            }
        }
    }
}

enum Resolved {
    Found(Source),
    Nothing,
    Failed(String),
}

struct Source {
    account: Option<String>,
    region: Option<String>,
    name: Option<String>,
    /// What the stage calls `serverGroupName`; a source named by `asgName` has none.
    server_group_name: Option<String>,
}

impl Source {
    fn of(group: &ServerGroup) -> Self {
        Self {
            account: Some(group.account.clone()),
            region: Some(group.region.clone()),
            name: Some(group.name.clone()),
            server_group_name: Some(group.name.clone()),
        }
    }

    fn to_json(&self, use_source_capacity: Option<bool>) -> Value {
        json!({
            "account": self.account,
            "region": self.region,
            "asgName": self.name,
            "serverGroupName": self.server_group_name,
            "useSourceCapacity": use_source_capacity,
        })
    }
}

fn account_of(context: &Map<String, Value>) -> String {
    context::filled_text(context, "account")
        .or_else(|| context::filled_text(context, "credentials"))
        .unwrap_or_default()
}

fn first_zone_region(context: &Map<String, Value>) -> Option<String> {
    context::object(context, "availabilityZones").and_then(|zones| zones.keys().next().cloned())
}

/// A deploy stage's cluster: its moniker's, else built from application, stack and details.
fn cluster_of(context: &Map<String, Value>) -> String {
    context::object(context, "moniker")
        .and_then(|moniker| context::filled_text(moniker, "cluster"))
        .unwrap_or_else(|| {
            let part = |key| context::filled_text(context, key);
            let (stack, detail) = (part("stack"), part("freeFormDetails"));
            crate::deployment::naming::cluster_name(
                &part("application").unwrap_or_default(),
                stack.as_deref(),
                detail.as_deref(),
            )
            .unwrap_or_default()
        })
}

fn resolve(
    context: &Map<String, Value>,
    settings: &SourceSettings,
    groups: &[ServerGroup],
) -> Resolved {
    let account = account_of(context);
    let by_target = |name: &str, cluster: &str, region: &str| {
        let here: Vec<ServerGroup> = groups
            .iter()
            .filter(|group| group.cluster == cluster && group.region == region)
            .cloned()
            .collect();
        match Target::from_name(name).and_then(|target| target_server_group(target, &here)) {
            Ok(group) => Resolved::Found(Source::of(group)),
            Err(_) => Resolved::Failed(format!(
                "Unable to locate {name} in {account}/{region}/{cluster}"
            )),
        }
    };
    match (&settings.named, &settings.target) {
        (Some(named), Some(target)) if named.cluster.is_some() => by_target(
            target,
            named.cluster.as_deref().unwrap_or_default(),
            named.region.as_deref().unwrap_or_default(),
        ),
        (Some(named), _) => Resolved::Found(Source {
            account: named.account.clone(),
            region: named.region.clone(),
            name: named.name.clone(),
            server_group_name: context::object(context, "source")
                .and_then(|source| context::filled_text(source, "serverGroupName")),
        }),
        (None, Some(target)) => {
            let region = context::filled_text(context, "region").unwrap_or_default();
            by_target(
                target,
                &cluster(context).unwrap_or_else(|| cluster_of(context)),
                &region,
            )
        }
        (None, None) => {
            let region = context::filled_text(context, "region")
                .or_else(|| first_zone_region(context))
                .unwrap_or_default();
            let name = cluster_of(context);
            let here: Vec<ServerGroup> = in_region(groups, &region)
                .into_iter()
                .filter(|group| group.cluster == name)
                .collect();
            match source_server_group(&here, settings.use_source_capacity.unwrap_or(false)) {
                Some((group, _)) => Resolved::Found(Source::of(group)),
                None => Resolved::Nothing,
            }
        }
    }
}
