#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::naming;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::destruction::{self, Progress};
use gennaker_server_groups::{AwsClouds, Clouds, config, guard, observe, targets, traffic};

/// Spinnaker's time-out of the wait until the group is gone: 30 minutes.
const TIME_LIMIT_MINUTES: i64 = 30;

/// Destroys one server group.
pub struct DestroyServerGroup {
    clouds: Arc<dyn Clouds>,
}

impl DestroyServerGroup {
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
impl Stage for DestroyServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let mut waiting = Vec::new();
        for found in targets::find(&*self.clouds, invocation, "destroy-").await? {
            let (place, name) = (&found.place, found.name.as_str());
            if let Some(group) = &found.group {
                let chosen = [name.to_owned()];
                if found.intent.is_none() {
                    let cluster = naming::parse(name).cluster.unwrap_or_default();
                    let current = observe::cluster(place, &cluster).await?;
                    let going: Vec<_> = current.iter().filter(|group| group.name == name).collect();
                    if let Some(refused) = guard::refusal(
                        invocation,
                        place,
                        &cluster,
                        &going,
                        &current,
                        "destroyServerGroup",
                    )
                    .await?
                    {
                        return Ok(refused);
                    }
                    destruction::intend(invocation, place, group, &chosen).await?;
                }
                // Out of traffic first: connections drain while the instances go.
                if !traffic::is_disabled(group) {
                    traffic::disable(invocation, place, group, &chosen).await?;
                }
            }
            match destruction::advance(place, name).await? {
                Progress::Going(reason) => waiting.push(reason),
                Progress::Gone => {
                    invocation
                        .done(&destruction::destroy_action(&place.region, name))
                        .await?;
                }
            }
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        if intent.action.starts_with("disable-") {
            return traffic::disable_undo(&*self.clouds, invocation, intent).await;
        }
        destruction::destroy_undo(&*self.clouds, invocation, intent).await
    }
}
