//! What the upkeep of the trigger index and the schedules reads and writes: the list of all pipelines, how far a round
//! has come, and repairs.
//!
//! `PIPELINE#`, `<id>` lists a pipeline that is not deleted: no pipeline has the empty id, so its partition is the list.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pipelines::{Pipeline, TriggerEntry, entry_item, pipeline_item};
use super::{Store, held, object, read};
use crate::{CloudError, Condition, Key, Write};

/// Partition of the list of all pipelines.
const PIPELINES: &str = "PIPELINE#";

/// The pipeline's place in the list of all pipelines.
pub(super) fn listed_key(id: &str) -> Key {
    Key::new(PIPELINES, id)
}

fn round_key() -> Key {
    Key::new("THROTTLE#upkeep", "META")
}

/// How far a round over all pipelines and schedules has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// When it began, UTC milliseconds.
    pub began_at: i64,
    /// The last pipeline that was looked at.
    pub after: String,
    /// All pipelines were looked at.
    pub pipelines_done: bool,
    /// Where the next page of schedules begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules_from: Option<String>,
    /// All schedules were looked at, too.
    pub done: bool,
}

impl Store {
    /// Id and application of pipelines that are not deleted, by id, after this one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn listed_pipelines(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, CloudError> {
        let items = self.table.query_after(PIPELINES, after, limit).await?;
        items
            .iter()
            .map(|item| {
                let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
                Ok((
                    read("SK", field("SK"))?,
                    read("application", field("application"))?,
                ))
            })
            .collect()
    }

    /// How far the present round has come.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn round(&self) -> Result<Round, CloudError> {
        match self.table.get(&round_key()).await? {
            Some(item) => read("round", item.get("round").cloned().unwrap_or(Value::Null)),
            None => Ok(Round::default()),
        }
    }

    /// Keeps how far the round has come. Two at work at once look at some pipelines twice, which is harmless.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn put_round(&self, round: &Round) -> Result<(), CloudError> {
        let item = object(json!({ "round": round }));
        self.table.write(Write::put(round_key(), item)).await
    }

    /// Keeps which schedules of the pipeline may exist. False if somebody saved it since it was read.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn settle_schedules(
        &self,
        pipeline: &Pipeline,
        schedules: &[String],
    ) -> Result<bool, CloudError> {
        let write = Write::set(
            Key::pipeline(&pipeline.application, &pipeline.id),
            object(json!({ "schedules": schedules })),
        )
        .only_if(Condition::equals("revision", pipeline.revision))
        .only_if(Condition::equals("deleted", false));
        held(self.table.write(write).await)
    }

    /// The stored entry under the key of this one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn stored_entry(
        &self,
        entry: &TriggerEntry,
    ) -> Result<Option<TriggerEntry>, CloudError> {
        let item = self.table.get(&entry.table_key()).await?;
        item.as_ref().map(super::pipelines::trigger_of).transpose()
    }

    /// Makes the pipeline's entries in the trigger index be these, and its record say so. False if somebody saved it
    /// since it was read.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn mend_entries(
        &self,
        pipeline: &Pipeline,
        entries: &[TriggerEntry],
        schedules: Vec<String>,
    ) -> Result<bool, CloudError> {
        let mut mended = pipeline.clone();
        mended.triggers = TriggerEntry::keys_of(entries);
        mended.schedules = schedules;
        let mut writes = vec![
            Write::put(
                Key::pipeline(&pipeline.application, &pipeline.id),
                pipeline_item(&mended)?,
            )
            .only_if(Condition::equals("revision", pipeline.revision))
            .only_if(Condition::equals("deleted", false)),
        ];
        for known in &pipeline.triggers {
            if !mended.triggers.contains(known) {
                writes.push(Write::delete(Key::new(&known.0, &known.1)));
            }
        }
        for entry in entries {
            writes.push(Write::put(entry.table_key(), entry_item(entry)?));
        }
        held(self.table.transact(writes).await)
    }
}
