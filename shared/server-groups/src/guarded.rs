//! What stands around every stage that changes server groups.

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};

use crate::cluster_lock::{self, Held};
use crate::{AwsClouds, Clouds, alarms};

/// A stage that changes server groups, under the lock of its cluster and the alarms of its deployment: it is called while
/// the cluster is its execution's, and as long as no alarm stops it. An undo asks neither: what ends holds its lock until
/// it is settled.
pub struct Guarded<S> {
    stage: S,
    clouds: Arc<dyn Clouds>,
}

impl<S> Guarded<S> {
    /// A stage, with the clouds in which its alarms are.
    pub fn new(stage: S, clouds: Arc<dyn Clouds>) -> Self {
        Self { stage, clouds }
    }

    /// On AWS.
    pub fn connect(connection: &Connection, connect: impl FnOnce(&Connection) -> S) -> Self {
        Self::new(connect(connection), Arc::new(AwsClouds::new(connection)))
    }
}

#[async_trait]
impl<S: Stage> Stage for Guarded<S> {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let settings = cluster_lock::settings(invocation)?;
        let since = match cluster_lock::take(invocation).await? {
            Held::Since(since) => since,
            Held::By(reason) if !settings.waits => return Ok(Step::failed(reason)),
            Held::By(reason) => {
                let minutes = settings.minutes;
                if invocation.waited() >= minutes.saturating_mul(60_000) {
                    return Ok(Step::failed(format!("waited {minutes} minutes: {reason}")));
                }
                return Ok(Step::waiting(invocation, reason));
            }
        };
        if let Some(watch) = alarms::over(invocation)?
            && let Some(failed) = alarms::failure(&*self.clouds, invocation, &watch).await?
        {
            return Ok(failed);
        }
        let began = since.unwrap_or(invocation.started);
        self.stage.step(&invocation.begun_at(began)).await
    }

    async fn timed_out(&self, invocation: &Invocation<'_>) -> Result<(), StageError> {
        self.stage.timed_out(invocation).await
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.stage.undo(invocation, intent).await
    }
}
