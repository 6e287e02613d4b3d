#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::disable::partial_disable;
use gennaker_domain::deployment::health::{self, HealthCheck};
use gennaker_domain::deployment::naming;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::{
    AwsClouds, Clouds, TrafficSources, config, guard, observe, targets, traffic,
};

/// Spinnaker's time-out of the wait for instances out of traffic: two hours.
const TIME_LIMIT_MINUTES: i64 = 2 * 60;

/// Takes one server group out of traffic.
pub struct DisableServerGroup {
    clouds: Arc<dyn Clouds>,
}

impl DisableServerGroup {
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

/// The share of the group that is to be out of traffic, where it is not all of it.
fn part(check: &HealthCheck) -> Result<Option<u32>, StageError> {
    match check.desired_percentage {
        None | Some(100) => Ok(None),
        Some(percentage) => u32::try_from(percentage)
            .ok()
            .filter(|percentage| *percentage < 100)
            .map(Some)
            .ok_or_else(|| {
                StageError::invalid(
                    "desiredPercentage",
                    format!("`{percentage}` is no percentage from 0 to 100"),
                )
            }),
    }
}

#[async_trait]
impl Stage for DisableServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let mut waiting = Vec::new();
        for found in targets::find(&*self.clouds, invocation, "disable-").await? {
            let (place, name) = (&found.place, found.name.as_str());
            let check = HealthCheck::from_context(invocation.context, name, &place.region)
                .map_err(|error| StageError::invalid("", error.to_string()))?;
            let part = part(&check)?;
            let Some(group) = &found.group else {
                return Ok(Step::failed(format!(
                    "server group `{name}` is gone; somebody destroyed it while it was disabled"
                )));
            };
            if let Some(percentage) = part {
                let observed = observe::with_health(place, std::slice::from_ref(group)).await?;
                let Some(observed) = observed.first() else {
                    continue;
                };
                let begun = found.intent.as_ref().is_some_and(|intent| intent.done);
                // Instances that were launched since count too; where nothing sends traffic nothing can be taken out.
                let missing = !traffic::is_disabled(group)
                    && !TrafficSources::of(group).is_empty()
                    && !partial_disable(observed, percentage).take_out.is_empty();
                if !begun || missing {
                    let decided =
                        traffic::disable_partly(invocation, place, group, observed, percentage)
                            .await?;
                    tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, server_group = name, decided = %decided, "part disabled");
                    if missing {
                        waiting.push(format!("{decided} in `{name}`"));
                        continue;
                    }
                }
                let health = health::wait_for_down(&check, observed)
                    .map_err(|error| StageError::invalid("desiredPercentage", error.to_string()))?;
                if !health.is_ready() {
                    waiting.push(format!("{health} in `{name}`"));
                }
                continue;
            }
            if !traffic::is_disabled(group) || found.intent.is_none() {
                let cluster = naming::parse(name).cluster.unwrap_or_default();
                let current = observe::cluster(place, &cluster).await?;
                let going: Vec<_> = current
                    .iter()
                    .filter(|group| group.name == name && group.enabled)
                    .collect();
                if let Some(refused) = guard::refusal(
                    invocation,
                    place,
                    &cluster,
                    &going,
                    &current,
                    "disableServerGroup",
                )
                .await?
                {
                    return Ok(refused);
                }
                traffic::disable(invocation, place, group, &[name.to_owned()]).await?;
                waiting.push(format!("`{name}` taken out of traffic"));
                continue;
            }
            let observed = observe::with_health(place, std::slice::from_ref(group)).await?;
            for group in &observed {
                let health = health::wait_for_none_up(&check, group);
                if !health.is_ready() {
                    waiting.push(format!("{health} in `{name}`"));
                }
            }
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        traffic::disable_undo(&*self.clouds, invocation, intent).await
    }
}
