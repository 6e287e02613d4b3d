#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::cluster_operation::{self, ClusterOperation};
use gennaker_domain::deployment::{Capacity, ServerGroup};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::{self, Subject};
use gennaker_server_groups::{AwsClouds, Clouds, clouds, guard, observe, sizing};
use serde_json::{Map, Value, json};

/// Spinnaker's time-out of cluster operations: 30 minutes.
const TIME_LIMIT_MINUTES: i64 = 30;

/// Resizes all server groups of a cluster but some to nothing.
pub struct ScaleDownCluster {
    clouds: Arc<dyn Clouds>,
}

impl ScaleDownCluster {
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

#[async_trait]
impl Stage for ScaleDownCluster {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let subject = Subject::of(invocation.context)?;
        let operation = ClusterOperation::from_context("scaleDownCluster", invocation.context)
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?
            .ok_or_else(|| StageError::invalid("type", "not a cluster operation"))?;
        let intents = config::own_intents(invocation).await?;
        let mut waiting = Vec::new();
        let mut scaled = Vec::new();
        for region in &subject.regions {
            let place = clouds::place(&*self.clouds, invocation, &subject.account, region).await?;
            let groups = observe::cluster_groups(&place, &subject.cluster).await?;
            let observed = observe::with_health(&place, &groups).await?;
            if observed.is_empty() {
                return Ok(Step::failed(format!(
                    "cluster `{}` not found in `{place:?}`",
                    subject.cluster
                )));
            }
            let mut names = config::chosen_before(&intents, "resize-", region);
            if names.is_empty() {
                let deployed = config::deployed(invocation, &subject.account, region);
                let selection = cluster_operation::select(operation, &observed, &deployed);
                tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, region, selection = %selection, "cluster observed");
                names = selection
                    .chosen
                    .iter()
                    .map(|group| group.name.clone())
                    .collect();
            }
            let going: Vec<&ServerGroup> = observed
                .iter()
                .filter(|group| names.contains(&group.name) && group.capacity.desired() > 0)
                .collect();
            if let Some(refused) = guard::refusal(
                invocation,
                &place,
                &subject.cluster,
                &going,
                &observed,
                operation.group_operation(),
            )
            .await?
            {
                return Ok(refused);
            }
            // In the order of the choice, not of the names.
            for group in names
                .iter()
                .filter_map(|name| groups.iter().find(|group| group.name == *name))
            {
                scaled.push(json!({ "region": region, "serverGroupName": group.name }));
                let action = sizing::resize_action(region, &group.name);
                let begun = intents.iter().find(|intent| intent.action == action);
                match begun.filter(|intent| intent.done) {
                    None => {
                        sizing::resize(invocation, &place, group, Capacity::default(), &names)
                            .await?;
                        waiting.push(format!("`{}` resized to nothing", group.name));
                    }
                    Some(_) if !group.instances.is_empty() => waiting.push(format!(
                        "{} instances of `{}` left",
                        group.instances.len(),
                        group.name
                    )),
                    // As Spinnaker, Terminate stays resumed: what is empty has nothing to terminate.
                    Some(_) => {}
                }
            }
        }
        if waiting.is_empty() {
            return Ok(Step::Succeeded {
                outputs: Map::new(),
                context: Map::from_iter([(
                    "scaledDownServerGroups".to_owned(),
                    Value::Array(scaled),
                )]),
            });
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        sizing::resize_undo(&*self.clouds, invocation, intent).await
    }
}
