#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::capacity::{
    CapacityError, Resize, ResizeAction, ResizeBasis, resized_capacity,
};
use gennaker_domain::deployment::{Capacity, naming};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::targets::Found;
use gennaker_server_groups::{AwsClouds, Clouds, config, observe, sizing, targets};
use serde_json::{Map, Value, json};

/// Fixes the minimum of one server group, or gives it back.
pub struct PinServerGroup {
    clouds: Arc<dyn Clouds>,
}

impl PinServerGroup {
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

fn invalid(error: &CapacityError) -> StageError {
    StageError::invalid("capacity", error.to_string())
}

/// Whether the stage gives a minimum back: a group that is gone has none.
fn unpins(context: &Map<String, Value>) -> bool {
    context.get("unpinMinimumCapacity") == Some(&Value::Bool(true))
        && context.get("pinMinimumCapacity") != Some(&Value::Bool(true))
}

/// The size to set: what an earlier try announced, or what the stage asks for now.
async fn target(
    invocation: &Invocation<'_>,
    found: &Found,
    current: Capacity,
) -> Result<Capacity, StageError> {
    if let Some(target) = found.intent.as_ref().and_then(sizing::target_of) {
        return Ok(target);
    }
    let place = &found.place;
    let context = sizing::with_original(invocation, invocation.context, &place.region).await?;
    let resize = Resize::from_context(&context).map_err(|error| invalid(&error))?;
    let cluster = naming::parse(&found.name).cluster.unwrap_or_default();
    let groups = if resize.action == ResizeAction::ScaleToCluster {
        observe::cluster_groups(place, &cluster).await?
    } else {
        Vec::new()
    };
    let capacities: Vec<Capacity> = groups.iter().map(|group| group.capacity).collect();
    let basis = ResizeBasis {
        current,
        source: sizing::source_capacity(place, &context).await?,
        cluster: &capacities,
    };
    let resized = resized_capacity(&resize, basis).map_err(|error| invalid(&error))?;
    tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, server_group = found.name, capacity = %resized, "pin");
    Ok(resized.target)
}

#[async_trait]
impl Stage for PinServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let all = match targets::find(&*self.clouds, invocation, "pin-").await {
            Err(StageError::InvalidConfiguration { field, message })
                if field == "serverGroupName" && unpins(&context) =>
            {
                return Ok(Step::skipped(format!("nothing to unpin: {message}")));
            }
            found => found?,
        };
        let mut told = Map::new();
        for found in all {
            let name = found.name.as_str();
            let Some(group) = &found.group else {
                if unpins(&context) {
                    continue;
                }
                return Ok(Step::failed(format!(
                    "server group `{name}` is gone; somebody destroyed it while it was pinned"
                )));
            };
            let before = match found.intent.as_ref().filter(|intent| intent.done) {
                // Set once: a scaling policy may have moved it since.
                Some(intent) => sizing::before_of(intent).unwrap_or(group.capacity),
                None => {
                    let target = target(invocation, &found, group.capacity).await?;
                    sizing::pin(invocation, &found.place, group, target).await?;
                    told.insert("capacity".to_owned(), json!(target));
                    group.capacity
                }
            };
            told.insert(format!("originalCapacity.{name}"), json!(before));
        }
        Ok(Step::Succeeded {
            outputs: Map::new(),
            context: told,
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        sizing::pin_undo(&*self.clouds, invocation, intent).await
    }
}
