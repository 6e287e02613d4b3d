#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::capacity::{
    Capacity, CapacityError, Resize, ResizeAction, ResizeBasis, resized_capacity,
};
use gennaker_domain::deployment::health::{self, HealthCheck};
use gennaker_domain::deployment::naming;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::targets::Found;
use gennaker_server_groups::{AwsClouds, Clouds, config, guard, observe, sizing, targets};
use serde_json::{Map, json};

/// Spinnaker's time-out of the wait for the new size: two hours.
const TIME_LIMIT_MINUTES: i64 = 2 * 60;

/// Sets the size of one server group.
pub struct ResizeServerGroup {
    clouds: Arc<dyn Clouds>,
}

impl ResizeServerGroup {
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

impl ResizeServerGroup {
    /// Decides the new size, asks the guards if nothing is left, and sets it.
    async fn begin(
        &self,
        invocation: &Invocation<'_>,
        found: &Found,
    ) -> Result<Option<Step>, StageError> {
        let Some(group) = &found.group else {
            return Ok(Some(Step::failed(format!(
                "server group `{}` not found",
                found.name
            ))));
        };
        let (place, name) = (&found.place, found.name.as_str());
        let target = match found.intent.as_ref().and_then(sizing::target_of) {
            // Announced by an earlier try: decided already.
            Some(target) => target,
            None => {
                let context =
                    sizing::with_original(invocation, invocation.context, &place.region).await?;
                let resize = Resize::from_context(&context).map_err(|error| invalid(&error))?;
                let cluster = naming::parse(name).cluster.unwrap_or_default();
                let current = if resize.action == ResizeAction::ScaleToCluster {
                    observe::cluster_groups(place, &cluster).await?
                } else {
                    Vec::new()
                };
                let capacities: Vec<Capacity> =
                    current.iter().map(|group| group.capacity).collect();
                let basis = ResizeBasis {
                    current: group.capacity,
                    source: sizing::source_capacity(place, invocation.context).await?,
                    cluster: &capacities,
                };
                let resized = resized_capacity(&resize, basis).map_err(|error| invalid(&error))?;
                tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, server_group = name, capacity = %resized, "resize");
                if resized.target.desired() == 0 && group.capacity.desired() > 0 {
                    let current = observe::cluster(place, &cluster).await?;
                    let going: Vec<_> = current.iter().filter(|group| group.name == name).collect();
                    if let Some(refused) = guard::refusal(
                        invocation,
                        place,
                        &cluster,
                        &going,
                        &current,
                        "resizeServerGroup",
                    )
                    .await?
                    {
                        return Ok(Some(refused));
                    }
                }
                resized.target
            }
        };
        sizing::resize(invocation, place, group, target, &[name.to_owned()]).await?;
        Ok(None)
    }
}

#[async_trait]
impl Stage for ResizeServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let mut waiting = Vec::new();
        let mut context = Map::new();
        for found in targets::find(&*self.clouds, invocation, "resize-").await? {
            let (place, name) = (&found.place, found.name.as_str());
            let Some(intent) = found.intent.as_ref().filter(|intent| intent.done) else {
                if let Some(step) = self.begin(invocation, &found).await? {
                    return Ok(step);
                }
                waiting.push(format!("size of `{name}` set"));
                continue;
            };
            let Some(group) = &found.group else {
                return Ok(Step::failed(format!(
                    "server group `{name}` is gone; somebody destroyed it while it was resized"
                )));
            };
            let mut check = HealthCheck::from_context(invocation.context, name, &place.region)
                .map_err(|error| StageError::invalid("", error.to_string()))?;
            // What was set counts, not what was asked for before the arithmetic.
            check.capacity = None;
            for observed in observe::with_health(place, std::slice::from_ref(group)).await? {
                if check.providers.is_none() {
                    check.providers = health::default_providers(&observed);
                }
                let health =
                    health::wait_for_capacity_match(&check, &observed).map_err(|error| {
                        StageError::invalid("targetHealthyDeployPercentage", error.to_string())
                    })?;
                if !health.is_ready() {
                    waiting.push(format!("{health} in `{name}`"));
                }
            }
            if waiting.is_empty() {
                sizing::suspend_again(place, intent).await?;
            }
            if let (Some(before), Some(target)) =
                (sizing::before_of(intent), sizing::target_of(intent))
            {
                context.insert(format!("originalCapacity.{name}"), json!(before));
                context.insert("capacity".to_owned(), json!(target));
            }
        }
        if waiting.is_empty() {
            return Ok(Step::Succeeded {
                outputs: Map::new(),
                context,
            });
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        sizing::resize_undo(&*self.clouds, invocation, intent).await
    }
}
