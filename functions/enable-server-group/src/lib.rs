#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::health::{self, HealthCheck};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::{AwsClouds, Clouds, config, observe, targets, traffic};

/// Spinnaker's time-out of the wait for instances in traffic: two hours.
const TIME_LIMIT_MINUTES: i64 = 2 * 60;

/// Puts one server group into traffic.
pub struct EnableServerGroup {
    clouds: Arc<dyn Clouds>,
}

impl EnableServerGroup {
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
impl Stage for EnableServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let mut waiting = Vec::new();
        for found in targets::find(&*self.clouds, invocation, "enable-").await? {
            let (place, name) = (&found.place, found.name.as_str());
            let Some(group) = &found.group else {
                return Ok(Step::failed(format!(
                    "server group `{name}` is gone; somebody destroyed it while it was enabled"
                )));
            };
            if found.intent.as_ref().is_none_or(|intent| !intent.done) {
                traffic::enable(invocation, place, group).await?;
                waiting.push(format!("`{name}` put into traffic"));
                continue;
            }
            let mut check = HealthCheck::from_context(invocation.context, name, &place.region)
                .map_err(|error| StageError::invalid("", error.to_string()))?;
            // Of the whole group; a share of it is `targetHealthyDeployPercentage`.
            check.desired_percentage = None;
            for observed in observe::with_health(place, std::slice::from_ref(group)).await? {
                if check.providers.is_none() {
                    check.providers = health::default_providers(&observed);
                }
                let health = health::wait_for_up(&check, &observed).map_err(|error| {
                    StageError::invalid("targetHealthyDeployPercentage", error.to_string())
                })?;
                if !health.is_ready() {
                    waiting.push(format!("{health} in `{name}`"));
                }
            }
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        traffic::enable_undo(&*self.clouds, invocation, intent).await
    }
}
