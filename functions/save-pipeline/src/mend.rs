//! What exists is compared with what should exist, and mended: the trigger index and the schedules of cron triggers.
//!
//! One call looks at one page; the next call goes on where it ended. Saving writes both in an order that a crash leaves
//! harmless, so what is found here was lost or made by somebody else, or indexed by the rules of an earlier release.

use gennaker_cloud::CloudError;
use gennaker_cloud::store::pipelines::{Pipeline, TriggerEntry};
use gennaker_cloud::store::upkeep::Round;
use gennaker_lambda::{FunctionError, metric};
use serde_json::{Value, json};

use crate::index::{self, Indexed};
use crate::{SavePipeline, cron, names_of};

/// Pipelines that one call looks at: each costs a few reads, and one for each of its triggers.
pub const PAGE: usize = 100;

/// How long a complete round rests, from its beginning: with ten thousand pipelines an hour's round is a cent or two.
pub const ROUND_MILLIS: i64 = 3_600_000;

/// How old a schedule has to be before it counts as nobody's: its pipeline may just be being saved.
pub const GRACE_MILLIS: i64 = 900_000;

/// What was mended in one call.
#[derive(Debug, Default)]
struct Mended {
    entries: usize,
    schedules: usize,
    removed: usize,
}

impl SavePipeline {
    /// One page of the present round; nothing while the last round is younger than [`ROUND_MILLIS`].
    ///
    /// # Errors
    /// Those of the table and of Scheduler: the next call begins at the same page.
    pub async fn mend(&self, now: i64) -> Result<Value, FunctionError> {
        let mut round = self.store.round().await?;
        if round.done || round.began_at == 0 {
            if round.done && now.saturating_sub(round.began_at) < ROUND_MILLIS {
                return Ok(json!({ "resting": true }));
            }
            round = Round {
                began_at: now,
                ..Round::default()
            };
        }
        let mut mended = Mended::default();
        if round.pipelines_done {
            self.mend_schedules(&mut round, &mut mended, now).await?;
        } else {
            self.mend_pipelines(&mut round, &mut mended, now).await?;
        }
        self.store.put_round(&round).await?;
        Ok(json!({
            "entries": mended.entries, "schedules": mended.schedules, "removed": mended.removed,
            "done": round.done,
        }))
    }

    async fn mend_pipelines(
        &self,
        round: &mut Round,
        mended: &mut Mended,
        now: i64,
    ) -> Result<(), FunctionError> {
        let page = self.store.listed_pipelines(&round.after, PAGE).await?;
        round.pipelines_done = page.len() < PAGE;
        for (id, application) in page {
            let found = self.store.pipeline(&application, &id).await?;
            // One that cannot be read must not keep the others from their turn.
            if let Some(pipeline) = found.filter(|pipeline| !pipeline.deleted)
                && let Err(error) = self.mend_pipeline(&pipeline, mended, now).await
            {
                if error.is_passing() {
                    return Err(error.into());
                }
                tracing::error!(application, pipeline = id, reason = %error, "could not be compared with what should exist");
            }
            round.after = id;
        }
        Ok(())
    }

    async fn mend_pipeline(
        &self,
        pipeline: &Pipeline,
        mended: &mut Mended,
        now: i64,
    ) -> Result<(), CloudError> {
        let Some(revision) = self.store.revision(&pipeline.id, pipeline.revision).await? else {
            return Ok(());
        };
        let wanted = index::indexed(
            &pipeline.application,
            &pipeline.id,
            &revision.config,
            &self.home,
            &self.cron,
            now,
        );
        let mut pipeline = pipeline.clone();
        for schedule in &wanted.schedules {
            if !self.scheduler.stands(schedule, now).await? {
                self.scheduler.put(schedule, now).await?;
                mended.schedules += 1;
                tell(&pipeline.id, "schedule", &schedule.name, now);
            }
        }
        if self.differs(&pipeline, &wanted).await? {
            pipeline.schedules.extend(names_of(&wanted.schedules));
            pipeline.schedules.sort();
            pipeline.schedules.dedup();
            let schedules = pipeline.schedules.clone();
            if !self
                .store
                .mend_entries(&pipeline, &wanted.entries, schedules)
                .await?
            {
                // Somebody saved it since it was read, and with it the index.
                return Ok(());
            }
            mended.entries += 1;
            tell(&pipeline.id, "trigger index", &pipeline.name, now);
        }
        let names = names_of(&wanted.schedules);
        if pipeline.schedules != names {
            mended.removed += 1;
            self.drop_schedules(&pipeline, &names, now).await?;
            tell(&pipeline.id, "leftover schedules", &pipeline.name, now);
        }
        Ok(())
    }

    /// Whether the index has anything else than what the pipeline wants of it.
    async fn differs(&self, pipeline: &Pipeline, wanted: &Indexed) -> Result<bool, CloudError> {
        if pipeline.triggers != TriggerEntry::keys_of(&wanted.entries) {
            return Ok(true);
        }
        for entry in &wanted.entries {
            if self.store.stored_entry(entry).await?.as_ref() != Some(entry) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Schedules that no entry of the index speaks of are nobody's.
    async fn mend_schedules(
        &self,
        round: &mut Round,
        mended: &mut Mended,
        now: i64,
    ) -> Result<(), FunctionError> {
        let page = self
            .scheduler
            .list(round.schedules_from.as_deref(), now)
            .await?;
        for listed in page.schedules {
            if now.saturating_sub(listed.made_at) < GRACE_MILLIS {
                continue;
            }
            let entries = self.store.triggers(&cron::index_key(&listed.name)).await?;
            if entries.is_empty() {
                self.scheduler.delete(&listed.name, now).await?;
                mended.removed += 1;
                tell("", "schedule of no pipeline", &listed.name, now);
            }
        }
        round.schedules_from = page.next;
        round.done = round.schedules_from.is_none();
        Ok(())
    }
}

/// A line and a metric for each thing that was mended: there should be none.
fn tell(pipeline: &str, what: &str, name: &str, now: i64) {
    tracing::warn!(pipeline, what, name, "mended");
    metric::count("Mended", &[("What", what)], now);
}
