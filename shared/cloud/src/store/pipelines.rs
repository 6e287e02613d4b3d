//! Pipelines, their revisions, and the index that finds them by what triggers them.
//!
//! A pipeline's name is claimed by an item of its own (`APP#<app>`, `NAME#<name in lower case>`), and so is its id
//! over all applications (`PIPELINE#<id>`, `META`): both are written in the one transaction that writes a revision.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::upkeep::listed_key;
use super::{Store, from_packed, from_text, object, packed, read, text};
use crate::{CloudError, Condition, Item, Key, Write};

/// A pipeline as it now stands (`APP#<app>`, `PIPELINE#<id>`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pipeline {
    /// Application.
    pub application: String,
    /// Id, unique over all applications.
    pub id: String,
    /// Name, as written; unique in its application whatever its case.
    pub name: String,
    /// Current revision, from 1.
    pub revision: u64,
    /// Hash of the current plan.
    pub plan_hash: String,
    /// ARN of the state machine, without a version.
    pub machine: String,
    /// ARN of the version that new executions run.
    pub state_machine: String,
    /// SHA-256 of the definition that this version has.
    pub definition_hash: String,
    /// SHA-256 of the configuration, without what the server adds.
    pub config_hash: String,
    /// It cannot be started.
    #[serde(default)]
    pub disabled: bool,
    /// It was deleted; the record stays so that a new one of its name goes on counting revisions.
    #[serde(default)]
    pub deleted: bool,
    /// Keys of its entries in the trigger index: partition and sort key.
    #[serde(default)]
    pub triggers: Vec<(String, String)>,
    /// Names of the schedules of its cron triggers: all that may exist. One that is made is named here before its entry
    /// can be found, and one that goes stays here until it is gone.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// Who saved the current revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When the current revision was saved, UTC milliseconds (`lastModified`).
    pub saved_at: i64,
}

/// One saved revision (`PIPELINE#<id>`, `REV#<n>`); it never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// The pipeline as it was given.
    pub config: Value,
    /// Hash of its plan.
    pub plan_hash: String,
    /// Who saved it.
    pub author: Option<String>,
    /// When, UTC milliseconds.
    pub saved_at: i64,
    /// What changed since the revision before, for a person.
    pub summary: String,
}

/// One entry of the trigger index (`TRIGGER#<type>#<key>`, `<pipelineId>#<n>`).
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerEntry {
    /// Type and key, such as `ecr#123456789012/us-east-1/shop/api`.
    pub key: String,
    /// Application of the pipeline.
    pub application: String,
    /// Pipeline.
    pub pipeline_id: String,
    /// Place in the pipeline's `triggers`.
    pub index: usize,
    /// The trigger as written.
    pub trigger: Value,
}

impl TriggerEntry {
    /// Partition and sort key of each, in order: what [`Pipeline::triggers`] holds.
    #[must_use]
    pub fn keys_of(entries: &[Self]) -> Vec<(String, String)> {
        let mut keys: Vec<(String, String)> = entries
            .iter()
            .map(|entry| {
                let key = entry.table_key();
                (key.partition, key.sort)
            })
            .collect();
        keys.sort();
        keys
    }

    /// Its key in the table.
    #[must_use]
    pub fn table_key(&self) -> Key {
        Key::new(
            format!("TRIGGER#{}", self.key),
            format!("{}#{}", self.pipeline_id, self.index),
        )
    }
}

/// Answer of [`Store::save_pipeline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveAnswer {
    /// Saved.
    Saved,
    /// Another pipeline of the application has this name.
    NameTaken,
    /// A pipeline of another application has this id.
    IdTaken,
    /// Somebody else saved it since it was read.
    Changed,
}

/// Most entries of the trigger index that one save may add and remove: a transaction has at most 100 writes, and the
/// record, the revision, its place in the list of all pipelines and the two claims (the old name's too) need six.
pub const MAX_TRIGGER_WRITES: usize = 90;

fn name_key(application: &str, name: &str) -> Key {
    Key::new(
        format!("APP#{application}"),
        format!("NAME#{}", name.trim().to_lowercase()),
    )
}

fn claim_key(id: &str) -> Key {
    Key::new(format!("PIPELINE#{id}"), "META")
}

pub(super) fn pipeline_item(pipeline: &Pipeline) -> Result<Item, CloudError> {
    let mut item = object(read("pipeline", json!(pipeline))?);
    item.insert("triggers".to_owned(), text(&pipeline.triggers)?);
    Ok(item)
}

fn pipeline_of(item: &Item) -> Result<Pipeline, CloudError> {
    let mut item = item.clone();
    let triggers: Option<Value> = from_text(&item, "triggers")?;
    item.insert("triggers".to_owned(), triggers.unwrap_or_else(|| json!([])));
    read("pipeline", Value::Object(item))
}

fn revision_item(revision: &Revision) -> Result<Item, CloudError> {
    let mut item = object(json!({
        "number": revision.number,
        "config": packed::pack("pipeline", &revision.config)?,
        "planHash": revision.plan_hash,
        "savedAt": revision.saved_at,
        "summary": revision.summary,
    }));
    if let Some(author) = &revision.author {
        item.insert("author".to_owned(), author.as_str().into());
    }
    Ok(item)
}

fn revision_of(item: &Item) -> Result<Revision, CloudError> {
    let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    Ok(Revision {
        number: read("number", field("number"))?,
        config: from_packed("revision", item, "config")?,
        plan_hash: read("planHash", field("planHash"))?,
        author: read("author", field("author"))?,
        saved_at: read("savedAt", field("savedAt"))?,
        summary: read("summary", field("summary"))?,
    })
}

pub(super) fn entry_item(entry: &TriggerEntry) -> Result<Item, CloudError> {
    Ok(object(json!({
        "key": entry.key,
        "application": entry.application,
        "pipelineId": entry.pipeline_id,
        "index": entry.index,
        "trigger": text(&entry.trigger)?,
    })))
}

pub(super) fn trigger_of(item: &Item) -> Result<TriggerEntry, CloudError> {
    let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    Ok(TriggerEntry {
        key: read("key", field("key"))?,
        application: read("application", field("application"))?,
        pipeline_id: read("pipelineId", field("pipelineId"))?,
        index: read("index", field("index"))?,
        trigger: from_text(item, "trigger")?.unwrap_or(Value::Null),
    })
}

impl Store {
    /// The pipeline of this id, deleted ones too.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn pipeline(
        &self,
        application: &str,
        id: &str,
    ) -> Result<Option<Pipeline>, CloudError> {
        self.table
            .get(&Key::pipeline(application, id))
            .await?
            .map(|item| pipeline_of(&item))
            .transpose()
    }

    /// The pipeline of this id or, if there is none, of this name (in any case); no deleted one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn find_pipeline(
        &self,
        application: &str,
        id_or_name: &str,
    ) -> Result<Option<Pipeline>, CloudError> {
        if let Some(found) = self.pipeline(application, id_or_name).await?
            && !found.deleted
        {
            return Ok(Some(found));
        }
        let claim = self.table.get(&name_key(application, id_or_name)).await?;
        let Some(id) = claim
            .as_ref()
            .and_then(|item| item.get("pipelineId"))
            .and_then(Value::as_str)
        else {
            return Ok(None);
        };
        let found = self.pipeline(application, id).await?;
        Ok(found.filter(|pipeline| !pipeline.deleted))
    }

    /// The pipeline of this id in whatever application; no deleted one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn pipeline_anywhere(&self, id: &str) -> Result<Option<Pipeline>, CloudError> {
        let claim = self.table.get(&claim_key(id)).await?;
        let Some(application) = claim
            .as_ref()
            .and_then(|item| item.get("application"))
            .and_then(Value::as_str)
        else {
            return Ok(None);
        };
        let found = self.pipeline(application, id).await?;
        Ok(found.filter(|pipeline| !pipeline.deleted))
    }

    /// All pipelines of an application, by id; no deleted ones.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn pipelines(&self, application: &str) -> Result<Vec<Pipeline>, CloudError> {
        let items = self
            .table
            .query(&format!("APP#{application}"), "PIPELINE#")
            .await?;
        let mut pipelines = Vec::new();
        for item in &items {
            let pipeline = pipeline_of(item)?;
            if !pipeline.deleted {
                pipelines.push(pipeline);
            }
        }
        Ok(pipelines)
    }

    /// One revision of a pipeline.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn revision(
        &self,
        pipeline_id: &str,
        number: u64,
    ) -> Result<Option<Revision>, CloudError> {
        self.table
            .get(&Key::revision(pipeline_id, number))
            .await?
            .map(|item| revision_of(&item))
            .transpose()
    }

    /// Writes a pipeline, its new revision, the claims of its name and id, and its entries in the trigger index: all
    /// or nothing. `before` is the record as it was read, none for a new pipeline. A second call with the same
    /// arguments answers [`SaveAnswer::Saved`] again.
    ///
    /// # Errors
    /// Those of the table; more than [`MAX_TRIGGER_WRITES`] entries to add and remove make the transaction too large.
    pub async fn save_pipeline(
        &self,
        before: Option<&Pipeline>,
        pipeline: &Pipeline,
        revision: &Revision,
        entries: &[TriggerEntry],
    ) -> Result<SaveAnswer, CloudError> {
        let id = pipeline.id.as_str();
        let unchanged = before.map_or_else(Condition::no_item, |before| {
            Condition::equals("revision", before.revision)
        });
        let own = |attribute: &str, value: &str| {
            Condition::Any(vec![
                Condition::no_item(),
                Condition::equals(attribute, value),
            ])
        };
        let mut writes = vec![
            Write::put(
                Key::pipeline(&pipeline.application, id),
                pipeline_item(pipeline)?,
            )
            .only_if(unchanged),
            Write::put(
                name_key(&pipeline.application, &pipeline.name),
                object(json!({ "pipelineId": id })),
            )
            .only_if(own("pipelineId", id)),
            Write::put(
                claim_key(id),
                object(json!({ "application": pipeline.application })),
            )
            .only_if(own("application", &pipeline.application)),
            Write::put(Key::revision(id, revision.number), revision_item(revision)?)
                .only_if(Condition::no_item()),
            Write::put(
                listed_key(id),
                object(json!({ "application": pipeline.application })),
            ),
        ];
        if let Some(before) = before {
            let old = name_key(&before.application, &before.name);
            if !before.deleted && old != name_key(&pipeline.application, &pipeline.name) {
                writes.push(Write::delete(old));
            }
        }
        let kept: Vec<Key> = entries.iter().map(TriggerEntry::table_key).collect();
        for (partition, sort) in before.iter().flat_map(|before| &before.triggers) {
            let key = Key::new(partition, sort);
            if !kept.contains(&key) {
                writes.push(Write::delete(key));
            }
        }
        for entry in entries {
            writes.push(Write::put(entry.table_key(), entry_item(entry)?));
        }
        match self.table.transact(writes).await {
            Ok(()) => Ok(SaveAnswer::Saved),
            Err(CloudError::ConditionFailed { position }) => {
                // The first try may have taken effect with its answer lost.
                if self.pipeline(&pipeline.application, id).await?.as_ref() == Some(pipeline) {
                    return Ok(SaveAnswer::Saved);
                }
                Ok(match position {
                    1 => SaveAnswer::NameTaken,
                    2 => SaveAnswer::IdTaken,
                    _ => SaveAnswer::Changed,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Marks a pipeline as deleted and removes its name's claim and its entries in the trigger index. Revisions, plans
    /// and executions stay. False if somebody saved it since it was read.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn delete_pipeline(&self, pipeline: &Pipeline) -> Result<bool, CloudError> {
        let gone = Pipeline {
            deleted: true,
            triggers: Vec::new(),
            schedules: Vec::new(),
            ..pipeline.clone()
        };
        let mut writes = vec![
            Write::put(
                Key::pipeline(&pipeline.application, &pipeline.id),
                pipeline_item(&gone)?,
            )
            .only_if(Condition::equals("revision", pipeline.revision)),
            Write::delete(name_key(&pipeline.application, &pipeline.name)),
            Write::delete(listed_key(&pipeline.id)),
        ];
        for (partition, sort) in &pipeline.triggers {
            writes.push(Write::delete(Key::new(partition, sort)));
        }
        super::held(self.table.transact(writes).await)
    }

    /// The triggers under one key of the index, such as `ecr#123456789012/us-east-1/shop/api`.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn triggers(&self, key: &str) -> Result<Vec<TriggerEntry>, CloudError> {
        let items = self.table.query(&format!("TRIGGER#{key}"), "").await?;
        items.iter().map(trigger_of).collect()
    }

    /// Takes the next moment at which a call that AWS allows once per `interval_millis` may be made: `now` or later,
    /// UTC milliseconds. Two callers never get the same moment.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Conflict`] if many callers were faster many times.
    pub async fn next_moment(
        &self,
        what: &str,
        interval_millis: i64,
        now: i64,
    ) -> Result<i64, CloudError> {
        // Each lost race means that somebody else got a moment.
        const TRIES: usize = 20;
        let key = Key::new(format!("THROTTLE#{what}"), "META");
        for _ in 0..TRIES {
            let known = self
                .table
                .get(&key)
                .await?
                .and_then(|item| item.get("next").and_then(Value::as_i64));
            let moment = known.map_or(now, |next| next.max(now));
            let condition =
                known.map_or_else(Condition::no_item, |next| Condition::equals("next", next));
            let write = Write::set(
                key.clone(),
                object(json!({ "next": moment.saturating_add(interval_millis) })),
            )
            .only_if(condition);
            if super::held(self.table.write(write).await)? {
                return Ok(moment);
            }
        }
        Err(CloudError::Conflict)
    }
}
