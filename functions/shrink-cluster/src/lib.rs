#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::ServerGroup;
use gennaker_domain::deployment::cluster_operation::{self, ClusterOperation};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::{self, Subject};
use gennaker_server_groups::destruction::{self, Progress};
use gennaker_server_groups::{AwsClouds, Clouds, Place, clouds, guard, observe, traffic};
use serde_json::{Map, Value, json};

/// Spinnaker's time-out of cluster operations: 30 minutes.
const TIME_LIMIT_MINUTES: i64 = 30;

/// Destroys all server groups of a cluster but some.
pub struct ShrinkCluster {
    clouds: Arc<dyn Clouds>,
}

impl ShrinkCluster {
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
impl Stage for ShrinkCluster {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let subject = Subject::of(invocation.context)?;
        let operation = ClusterOperation::from_context("shrinkCluster", invocation.context)
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?
            .ok_or_else(|| StageError::invalid("type", "not a cluster operation"))?;
        let mut going = Vec::new();
        let mut destroyed = Vec::new();
        for region in &subject.regions {
            let place = clouds::place(&*self.clouds, invocation, &subject.account, region).await?;
            let step = self.shrink(invocation, &place, &subject, operation).await?;
            match step {
                Shrunk::Refused(step) => return Ok(step),
                Shrunk::Going { names, left } => {
                    destroyed.extend(
                        names
                            .into_iter()
                            .map(|name| json!({ "region": region, "serverGroupName": name })),
                    );
                    going.extend(left);
                }
            }
        }
        if going.is_empty() {
            return Ok(Step::Succeeded {
                outputs: Map::new(),
                context: Map::from_iter([(
                    "destroyedServerGroups".to_owned(),
                    Value::Array(destroyed),
                )]),
            });
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &going))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        if intent.action.starts_with("disable-") {
            return traffic::disable_undo(&*self.clouds, invocation, intent).await;
        }
        destruction::destroy_undo(&*self.clouds, invocation, intent).await
    }
}

/// One region's answer.
enum Shrunk {
    /// The stage ends so.
    Refused(Step),
    /// The groups that go or went, and what is left of them.
    Going {
        names: Vec<String>,
        left: Vec<String>,
    },
}

impl ShrinkCluster {
    async fn shrink(
        &self,
        invocation: &Invocation<'_>,
        place: &Place,
        subject: &Subject,
        operation: ClusterOperation,
    ) -> Result<Shrunk, StageError> {
        let groups = observe::cluster_groups(place, &subject.cluster).await?;
        let observed = observe::with_health(place, &groups).await?;
        let intents = config::own_intents(invocation).await?;
        let begun = config::chosen_before(&intents, "destroy-", &place.region);
        if observed.is_empty() && begun.is_empty() && !operation.accepts_missing_cluster() {
            return Ok(Shrunk::Refused(Step::failed(format!(
                "cluster `{}` not found in `{place:?}`",
                subject.cluster
            ))));
        }
        let deployed = config::deployed(invocation, &subject.account, &place.region);
        let selection = cluster_operation::select(operation, &observed, &deployed);
        tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, region = place.region, selection = %selection, "cluster observed");
        let chosen: Vec<&ServerGroup> = if begun.is_empty() {
            selection.chosen
        } else {
            observed
                .iter()
                .filter(|group| begun.contains(&group.name))
                .collect()
        };
        let capacity_going: Vec<&ServerGroup> = chosen
            .iter()
            .filter(|group| group.capacity.desired() > 0)
            .copied()
            .collect();
        if let Some(refused) = guard::refusal(
            invocation,
            place,
            &subject.cluster,
            &capacity_going,
            &observed,
            operation.group_operation(),
        )
        .await?
        {
            return Ok(Shrunk::Refused(refused));
        }
        let group_of = |name: &str| groups.iter().find(|group| group.name == name);
        let mut names = begun;
        if names.is_empty() {
            names = chosen.iter().map(|group| group.name.clone()).collect();
        }
        // All of them are announced before the first of them goes.
        for group in chosen.iter().filter_map(|group| group_of(&group.name)) {
            destruction::intend(invocation, place, group, &names).await?;
        }
        let mut left = Vec::new();
        for name in &names {
            // Out of traffic first: connections drain while the instances go.
            if let Some(group) = group_of(name)
                && !traffic::is_disabled(group)
            {
                traffic::disable(invocation, place, group, &names).await?;
            }
            match destruction::advance(place, name).await? {
                Progress::Going(reason) => left.push(reason),
                Progress::Gone => {
                    invocation
                        .done(&destruction::destroy_action(&place.region, name))
                        .await?;
                }
            }
        }
        Ok(Shrunk::Going { names, left })
    }
}
