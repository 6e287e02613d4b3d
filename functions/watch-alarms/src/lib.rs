#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::error_name::Poll;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::alarms::{self, Watch};
use gennaker_server_groups::{AwsClouds, Clouds};

/// The `watchAlarms` stage.
pub struct WatchAlarms {
    clouds: Arc<dyn Clouds>,
}

impl WatchAlarms {
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
impl Stage for WatchAlarms {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let watch = Watch::of(invocation.context)?.ok_or_else(|| {
            StageError::invalid("alarmGuard", "the stage names no alarms to watch")
        })?;
        if let Some(failed) = alarms::failure(&*self.clouds, invocation, &watch).await? {
            return Ok(failed);
        }
        let waited = invocation.waited();
        let left = watch
            .guard
            .minutes_after
            .saturating_mul(60_000)
            .saturating_sub(waited);
        if left <= 0 {
            return Ok(Step::succeeded());
        }
        Ok(Step::Waiting {
            reason: format!(
                "no alarm of {} is on; {} s left",
                watch.guard.alarms.len(),
                (left + 999) / 1_000
            ),
            memory: invocation.memory.clone(),
            poll: Some(Poll::after(waited).min(Poll::within(left))),
        })
    }
}
