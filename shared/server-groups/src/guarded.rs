//! What stands around every stage that changes server groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection, Look};
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use serde_json::{Map, Value};

use crate::cluster_lock::{self, Held};
use crate::{AwsClouds, Clouds, alarms, made};

/// A stage that changes server groups, under the lock of its cluster and the alarms of its deployment: it is called while
/// the cluster is its execution's, and as long as no alarm stops it. An undo asks neither: what ends holds its lock until
/// it is settled.
///
/// Where the clouds keep what was seen, a stage that has waited only glances at first: if it still waits by what this
/// process saw in the last seconds, that is the answer. Any other answer, and the first attempt to change something, and
/// the call is made again by what it reads itself.
pub struct Guarded<S> {
    stage: S,
    clouds: Arc<dyn Clouds>,
    calls: AtomicU64,
}

/// The key of a stage's memory that keeps when it looked last and waited.
const LOOKED: &str = "lookedAt";

impl<S> Guarded<S> {
    /// A stage, with the clouds in which its alarms are.
    pub fn new(stage: S, clouds: Arc<dyn Clouds>) -> Self {
        Self {
            stage,
            clouds,
            calls: AtomicU64::new(0),
        }
    }

    /// On AWS.
    pub fn connect(connection: &Connection, connect: impl FnOnce(&Connection) -> S) -> Self {
        Self::new(connect(connection), Arc::new(AwsClouds::new(connection)))
    }
}

impl<S: Stage> Guarded<S> {
    /// One call, as long as no alarm stops it.
    async fn unless_alarmed(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        if let Some(watch) = alarms::over(invocation)?
            && let Some(failed) = alarms::failure(&*self.clouds, invocation, &watch).await?
        {
            return Ok(failed);
        }
        self.stage.step(invocation).await
    }

    /// One call of a stage whose clouds keep what was seen.
    async fn looking_first(
        &self,
        invocation: &Invocation<'_>,
        made: i64,
    ) -> Result<Step, StageError> {
        let looked = invocation.memory.get(LOOKED).and_then(Value::as_i64);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let look = Look::acting(call, looked.unwrap_or(invocation.now), made);
        let waits = match looked {
            None => None,
            Some(_) => self.glance(invocation, &look).await?,
        };
        let mut step = match waits {
            Some(waits) => waits,
            None => {
                let invocation = invocation.seeing(&look, invocation.store());
                self.unless_alarmed(&invocation).await?
            }
        };
        if let Step::Waiting { memory, .. } = &mut step {
            memory.insert(LOOKED.to_owned(), invocation.now.into());
        }
        Ok(step)
    }

    /// That the stage still waits, if it does by what this process has seen.
    async fn glance(
        &self,
        invocation: &Invocation<'_>,
        look: &Look,
    ) -> Result<Option<Step>, StageError> {
        let glance = look.glance();
        let store = glance.store(invocation.store());
        let answer = self
            .unless_alarmed(&invocation.seeing(&glance, &store))
            .await;
        match answer {
            _ if glance.has_refused() => Ok(None),
            Ok(step @ Step::Waiting { .. }) => Ok(Some(step)),
            // Sooner than every stage that waits it must not ask again, and the longer it has waited the later.
            Err(StageError::Cloud(CloudError::Throttled { operation, .. })) => {
                let reason = format!("AWS throttles {operation} in this account and region");
                Ok(Some(Step::waiting(invocation, reason)))
            }
            // To ask again at once is what AWS just asked us not to do.
            Err(StageError::Cloud(error)) if error.is_passing() => Err(error.into()),
            _ => Ok(None),
        }
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
        let made = made::until(invocation, since);
        let invocation = invocation.begun_at(since.unwrap_or(invocation.started));
        if self.clouds.observations().is_none() {
            return self.unless_alarmed(&invocation).await;
        }
        self.looking_first(&invocation, made).await
    }

    fn serves(&self, stage_type: &str) -> bool {
        self.stage.serves(stage_type)
    }

    fn times_out(&self, context: &Map<String, Value>, limit_millis: f64) -> bool {
        self.stage.times_out(context, limit_millis)
    }

    async fn timed_out(&self, invocation: &Invocation<'_>) -> Result<(), StageError> {
        self.stage.timed_out(invocation).await
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.stage.undo(invocation, intent).await
    }
}
