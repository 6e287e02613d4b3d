//! Message formats of subscriptions (`SUBSCRIPTION#`, `<name>`): how the messages of a queue, a topic or a source of events
//! name their artifacts.

use serde_json::{Value, json};

use super::{Store, object};
use crate::{CloudError, Key, Write};

/// Partition of all of them: few, each read by its name.
const PARTITION: &str = "SUBSCRIPTION#";

/// A subscription with a message format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name, in lower case: triggers name it in any case.
    pub name: String,
    /// The template that makes artifacts of a message.
    pub template: String,
}

fn key(name: &str) -> Key {
    Key::new(PARTITION, name.trim().to_lowercase())
}

impl Store {
    /// The message format of a subscription, if it has one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn message_format(&self, subscription: &str) -> Result<Option<String>, CloudError> {
        let item = self.table().get(&key(subscription)).await?;
        Ok(item.and_then(|item| Some(item.get("template")?.as_str()?.to_owned())))
    }

    /// Saves the message format of a subscription, in place of the one that it had.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_message_format(
        &self,
        subscription: &str,
        template: &str,
    ) -> Result<(), CloudError> {
        let item = object(json!({ "template": template }));
        self.table()
            .write(Write::put(key(subscription), item))
            .await
    }

    /// Removes the message format of a subscription; false if it had none.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn delete_message_format(&self, subscription: &str) -> Result<bool, CloudError> {
        let known = self.message_format(subscription).await?.is_some();
        self.table().write(Write::delete(key(subscription))).await?;
        Ok(known)
    }

    /// All subscriptions with a message format, by name.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn message_formats(&self) -> Result<Vec<Subscription>, CloudError> {
        let items = self.table().query(PARTITION, "").await?;
        Ok(items
            .iter()
            .filter_map(|item| {
                let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
                Some(Subscription {
                    name: text("SK")?,
                    template: text("template")?,
                })
            })
            .collect())
    }
}
