//! Preconfigured webhooks, each a stage type of its own, and the accounts whose headers a webhook sends.
//!
//! `WEBHOOKS`, `TYPE#<stage type>` is a webhook in Spinnaker's JSON; `WEBHOOKS`, `ACCOUNT#<name>` an account with its
//! headers, secrets by reference.

use serde_json::{Value, json};

use super::{Store, from_text, object};
use crate::{CloudError, Key, Write};

/// The partition of webhooks and their accounts.
const WEBHOOKS: &str = "WEBHOOKS";

fn webhook_key(stage_type: &str) -> Key {
    Key::new(WEBHOOKS, format!("TYPE#{stage_type}"))
}

fn account_key(name: &str) -> Key {
    Key::new(WEBHOOKS, format!("ACCOUNT#{name}"))
}

impl Store {
    /// Saves a preconfigured webhook, over what was there. A second call changes nothing.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_webhook(&self, stage_type: &str, webhook: &Value) -> Result<(), CloudError> {
        self.put(webhook_key(stage_type), webhook).await
    }

    /// Every preconfigured webhook, by stage type.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn webhooks(&self) -> Result<Vec<Value>, CloudError> {
        self.listed("TYPE#").await
    }

    /// Takes a preconfigured webhook away; pipelines that were saved with it keep what it was. An absent one is fine.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn delete_webhook(&self, stage_type: &str) -> Result<(), CloudError> {
        self.table()
            .write(Write::delete(webhook_key(stage_type)))
            .await
    }

    /// Saves an account of webhooks, over what was there.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_webhook_account(
        &self,
        name: &str,
        account: &Value,
    ) -> Result<(), CloudError> {
        self.put(account_key(name), account).await
    }

    /// The account of this name.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn webhook_account(&self, name: &str) -> Result<Option<Value>, CloudError> {
        match self.table().get(&account_key(name)).await? {
            Some(item) => from_text(&item, "webhook"),
            None => Ok(None),
        }
    }

    /// Every account of webhooks, by name.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn webhook_accounts(&self) -> Result<Vec<Value>, CloudError> {
        self.listed("ACCOUNT#").await
    }

    async fn put(&self, key: Key, webhook: &Value) -> Result<(), CloudError> {
        let item = object(json!({ "webhook": webhook.to_string() }));
        self.table().write(Write::put(key, item)).await
    }

    async fn listed(&self, prefix: &str) -> Result<Vec<Value>, CloudError> {
        let items = self.table().query(WEBHOOKS, prefix).await?;
        let read = items.iter().map(|item| from_text(item, "webhook"));
        Ok(read
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }
}
