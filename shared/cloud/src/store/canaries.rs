//! Canary configurations, and the accounts of metric stores.

use gennaker_domain::ExecutionId;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Store, from_text, object, packed};
use crate::{CloudError, Item, Key, Write};

/// A canary configuration, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanarySummary {
    /// Its id, `canaryConfigId` of a stage.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was saved, UTC milliseconds.
    pub updated_at: i64,
}

/// Characters of one part of a report's data: an item holds 400 KB.
const PART: usize = 300_000;
/// Parts that are kept: 9 MB packed, some million points.
const MOST_PARTS: usize = 40;

/// A canary's report data as they are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum CanaryReport {
    /// All of them.
    Kept(Value),
    /// They were too many to keep.
    TooLarge,
    /// They are being written at this moment.
    Changing,
}

fn report_key(id: &ExecutionId, stage: &str) -> Key {
    Key::new(Key::execution_partition(id), format!("CANARY#{stage}"))
}

fn part_key(id: &ExecutionId, stage: &str, part: usize) -> Key {
    Key::new(
        Key::execution_partition(id),
        format!("CANARYDATA#{stage}#{part:02}"),
    )
}

fn config_key(id: &str) -> Key {
    Key::new(format!("CANARY#{id}"), "CONFIG")
}

fn listed_key(application: &str, id: &str) -> Key {
    Key::new(format!("APP#{application}"), format!("CANARY#{id}"))
}

fn applications_of(config: &Value) -> Vec<String> {
    let listed = config.get("applications").and_then(Value::as_array);
    let mut names: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_lowercase))
        .collect();
    names.sort();
    names.dedup();
    names
}

impl Store {
    /// The canary configuration of this id, as Kayenta writes it.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn canary(&self, id: &str) -> Result<Option<Value>, CloudError> {
        let Some(item) = self.table().get(&config_key(id)).await? else {
            return Ok(None);
        };
        from_text(&item, "config")
    }

    /// Saves a canary configuration under its id and lists it with its applications. Saving it again replaces it.
    ///
    /// # Errors
    /// Those of the table; a configuration of more than 49 applications is refused by DynamoDB's limit of a transaction.
    pub async fn save_canary(&self, id: &str, config: &Value, at: i64) -> Result<(), CloudError> {
        let before = self.canary(id).await?.unwrap_or(Value::Null);
        let name = config.get("name").and_then(Value::as_str).unwrap_or(id);
        let item = |fields: Value| -> Item {
            let mut item = object(fields);
            item.insert("id".to_owned(), json!(id));
            item.insert("name".to_owned(), json!(name));
            item.insert("updatedAt".to_owned(), json!(at));
            item
        };
        let applications = applications_of(config);
        let mut writes = vec![Write::put(
            config_key(id),
            item(json!({ "config": config.to_string() })),
        )];
        for gone in applications_of(&before) {
            if !applications.contains(&gone) {
                writes.push(Write::delete(listed_key(&gone, id)));
            }
        }
        for application in &applications {
            writes.push(Write::put(listed_key(application, id), item(json!({}))));
        }
        self.table().transact(writes).await
    }

    /// The canary configurations of an application, by id.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn canaries(&self, application: &str) -> Result<Vec<CanarySummary>, CloudError> {
        let partition = format!("APP#{}", application.to_lowercase());
        let items = self.table().query(&partition, "CANARY#").await?;
        let text = |item: &Item, name: &str| {
            item.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Ok(items
            .iter()
            .map(|item| CanarySummary {
                id: text(item, "id"),
                name: text(item, "name"),
                updated_at: item.get("updatedAt").and_then(Value::as_i64).unwrap_or(0),
            })
            .collect())
    }

    /// Deletes a canary configuration; false if there was none.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn delete_canary(&self, id: &str) -> Result<bool, CloudError> {
        let Some(config) = self.canary(id).await? else {
            return Ok(false);
        };
        let mut writes = vec![Write::delete(config_key(id))];
        writes.extend(
            applications_of(&config)
                .iter()
                .map(|application| Write::delete(listed_key(application, id))),
        );
        self.table().transact(writes).await?;
        Ok(true)
    }

    /// Keeps what the report of a canary stage is made of, in place of what was kept before. A second call changes
    /// nothing.
    ///
    /// In parts of the table, compressed: an ordinary canary is a few kilobytes, and there is no bucket to look after.
    /// The last write names the parts' digest, so that a reader never takes a half of one and a half of another.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_canary_report(
        &self,
        id: &ExecutionId,
        stage: &str,
        data: &(impl Serialize + Sync),
    ) -> Result<(), CloudError> {
        // Base64 writes four characters for three bytes. Of what is too large nothing is kept, but that it is.
        let room = MOST_PARTS * PART / 4 * 3;
        let text = packed::pack_within(&report_of(stage), data, room)?.unwrap_or_default();
        let parts: Vec<&str> = text
            .as_bytes()
            .chunks(PART)
            .filter_map(|part| std::str::from_utf8(part).ok())
            .collect();
        for (number, part) in parts.iter().enumerate() {
            let item = object(json!({ "data": part }));
            self.table()
                .write(Write::put(part_key(id, stage, number), item))
                .await?;
        }
        let head = json!({ "stage": stage, "parts": parts.len(), "digest": digest(&text) });
        self.table()
            .write(Write::put(report_key(id, stage), object(head)))
            .await
    }

    /// What [`Store::save_canary_report`] kept; none if the stage has judged nothing.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn canary_report(
        &self,
        id: &ExecutionId,
        stage: &str,
    ) -> Result<Option<CanaryReport>, CloudError> {
        let Some(head) = self.table().get(&report_key(id, stage)).await? else {
            return Ok(None);
        };
        let parts = head.get("parts").and_then(Value::as_u64).unwrap_or(0);
        if parts == 0 {
            return Ok(Some(CanaryReport::TooLarge));
        }
        let mut text = String::new();
        for number in 0..usize::try_from(parts).unwrap_or(MOST_PARTS).min(MOST_PARTS) {
            let part = self.table().get(&part_key(id, stage, number)).await?;
            let part = part.as_ref().and_then(|part| part.get("data")?.as_str());
            text.push_str(part.unwrap_or_default());
        }
        if head.get("digest").and_then(Value::as_str) != Some(digest(&text).as_str()) {
            return Ok(Some(CanaryReport::Changing));
        }
        packed::unpack(&report_of(stage), &text).map(|data| Some(CanaryReport::Kept(data)))
    }

    /// The canary stages of an execution that have judged something, by `refId`.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn judged_canaries(&self, id: &ExecutionId) -> Result<Vec<String>, CloudError> {
        let items = self
            .table()
            .query(&Key::execution_partition(id), "CANARY#")
            .await?;
        Ok(items
            .iter()
            .filter_map(|item| item.get("stage").and_then(Value::as_str).map(str::to_owned))
            .collect())
    }

    /// The account of a metric store, as it was given; credentials in it are references.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn metrics_account(&self, name: &str) -> Result<Option<Value>, CloudError> {
        let Some(item) = self.table().get(&Key::new("METRICS", name)).await? else {
            return Ok(None);
        };
        from_text(&item, "account")
    }

    /// Saves the account of a metric store. Saving it again replaces it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_metrics_account(
        &self,
        name: &str,
        account: &Value,
    ) -> Result<(), CloudError> {
        let item = object(json!({ "name": name, "account": account.to_string() }));
        self.table()
            .write(Write::put(Key::new("METRICS", name), item))
            .await
    }

    /// The names of the metric stores' accounts.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn metrics_accounts(&self) -> Result<Vec<String>, CloudError> {
        let items = self.table().query("METRICS", "").await?;
        Ok(items
            .iter()
            .filter_map(|item| item.get("name").and_then(Value::as_str).map(str::to_owned))
            .collect())
    }
}

fn digest(text: &str) -> String {
    aws_smithy_types::base64::encode(Sha256::digest(text.as_bytes()))
}

fn report_of(stage: &str) -> String {
    format!("report of canary stage `{stage}`")
}
