//! Canary configurations, and the accounts of metric stores.

use serde_json::{Value, json};

use super::{Store, from_text, object};
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
