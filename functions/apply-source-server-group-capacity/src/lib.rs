#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::source::restored_minimum;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::{AwsClouds, Clouds, clouds, config, observe, sizing};
use serde_json::{Map, Value, json};

/// Gives the new server group the minimum of the one it took over from.
pub struct ApplySourceServerGroupCapacity {
    clouds: Arc<dyn Clouds>,
}

impl ApplySourceServerGroupCapacity {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>) -> Self {
        Self { clouds }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsClouds::new(connection)))
    }
}

/// The account and the groups by region of the enclosing deploy.
fn deployed(invocation: &Invocation<'_>) -> Option<(String, Vec<(String, String)>)> {
    let record = invocation
        .plan
        .lineage(&invocation.stage.ref_id)
        .into_iter()
        .skip(1)
        .filter_map(|stage| invocation.records.get(&stage.ref_id))
        .find(|record| record.outputs.contains_key("deploy.server.groups"))?;
    let account = record.outputs.get("deploy.account.name")?.as_str()?;
    let regions = record.outputs.get("deploy.server.groups")?.as_object()?;
    let mut groups = Vec::new();
    for (region, names) in regions {
        let names = names.as_array().map(Vec::as_slice).unwrap_or_default();
        groups.extend(
            names
                .iter()
                .filter_map(Value::as_str)
                .map(|name| (region.clone(), name.to_owned())),
        );
    }
    Some((account.to_owned(), groups))
}

/// The account and the group by region that the stage names itself in `target`, as one of a rollback does.
fn named(context: &Map<String, Value>) -> Option<(String, Vec<(String, String)>)> {
    let target = context.get("target").and_then(Value::as_object)?;
    let text = |of: &Map<String, Value>, keys: &[&str]| {
        keys.iter()
            .find_map(|key| of.get(*key)?.as_str())
            .map(str::to_owned)
    };
    let account = text(target, &["account", "credentials"])
        .or_else(|| text(context, &["account", "credentials"]))?;
    let region = text(target, &["region"]).or_else(|| text(context, &["region"]))?;
    let name = text(target, &["serverGroupName", "asgName"])?;
    Some((account, vec![(region, name)]))
}

#[async_trait]
impl Stage for ApplySourceServerGroupCapacity {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let snapshot = invocation
            .lookup("sourceServerGroupCapacitySnapshot")
            .and_then(|snapshot| Capacity::from_value(snapshot).ok());
        let Some(snapshot) = snapshot else {
            return Ok(Step::skipped("no capacity was captured"));
        };
        let Some((account, groups)) = named(invocation.context).or_else(|| deployed(invocation))
        else {
            return Ok(Step::skipped(
                "the enclosing deploy created no server group",
            ));
        };
        let intents = config::own_intents(invocation).await?;
        let mut context = Map::new();
        for (region, name) in groups {
            let place = clouds::place(&*self.clouds, invocation, &account, &region).await?;
            let Some(group) = observe::group(&place, &name).await? else {
                return Ok(Step::failed(format!("server group `{name}` is gone")));
            };
            let action = sizing::resize_action(&region, &name);
            let begun = intents.iter().find(|intent| intent.action == action);
            if begun.is_some_and(|intent| intent.done) {
                continue;
            }
            let now = group.capacity;
            let minimum = restored_minimum(snapshot, now);
            let target = Capacity::new(minimum, now.desired(), now.max())
                .map_err(|error| StageError::invalid("capacity", error.to_string()))?;
            // The same minimum is no change, and needs no undo.
            if target != now || begun.is_some() {
                sizing::resize(
                    invocation,
                    &place,
                    &group,
                    target,
                    std::slice::from_ref(&name),
                )
                .await?;
            }
            context.insert(format!("capacity.{name}"), json!(target));
        }
        Ok(Step::Succeeded {
            outputs: Map::new(),
            context,
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        sizing::resize_undo(&*self.clouds, invocation, intent).await
    }
}
