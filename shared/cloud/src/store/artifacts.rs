//! Accounts of the places that artifacts are read from.
//!
//! `ARTIFACTS`, `<name>` holds the account as it was given; credentials in it are references.

use serde_json::{Value, json};

use super::{Store, from_text, object};
use crate::{CloudError, Key, Write};

const PARTITION: &str = "ARTIFACTS";

impl Store {
    /// The account of a place that artifacts are read from.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn artifact_account(&self, name: &str) -> Result<Option<Value>, CloudError> {
        match self.table().get(&Key::new(PARTITION, name)).await? {
            Some(item) => from_text(&item, "account"),
            None => Ok(None),
        }
    }

    /// Saves such an account. Saving it again replaces it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_artifact_account(
        &self,
        name: &str,
        account: &Value,
    ) -> Result<(), CloudError> {
        let item = object(json!({ "name": name, "account": account.to_string() }));
        self.table()
            .write(Write::put(Key::new(PARTITION, name), item))
            .await
    }

    /// The names of these accounts.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn artifact_accounts(&self) -> Result<Vec<String>, CloudError> {
        let items = self.table().query(PARTITION, "").await?;
        Ok(items
            .iter()
            .filter_map(|item| item.get("name").and_then(Value::as_str).map(str::to_owned))
            .collect())
    }
}
