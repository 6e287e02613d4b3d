//! Applications: owner, permissions, traffic guards, notifications.
//!
//! `APP#<app>`, `META` holds Spinnaker's JSON of the application as it was given; `APPLICATIONS`, `<app>` is there for
//! the list.

use serde_json::{Map, Value, json};

use super::{Store, from_text, object};
use crate::{CloudError, Key, Write};

const LIST: &str = "APPLICATIONS";

impl Store {
    /// An application's record, with its `name`; none if nobody saved it. Pipelines need none.
    ///
    /// # Errors
    /// Those of the table; [`CloudError::Unreadable`].
    pub async fn application(&self, name: &str) -> Result<Option<Map<String, Value>>, CloudError> {
        let Some(item) = self.table().get(&Key::application(name)).await? else {
            return Ok(None);
        };
        let mut config: Map<String, Value> = from_text(&item, "config")?.unwrap_or_default();
        config.entry("name").or_insert_with(|| name.into());
        Ok(Some(config))
    }

    /// Saves an application's record. Saving it again replaces it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_application(
        &self,
        name: &str,
        config: &Map<String, Value>,
    ) -> Result<(), CloudError> {
        let text = serde_json::to_string(config).map_err(|error| CloudError::Unreadable {
            what: format!("application `{name}`"),
            message: error.to_string(),
        })?;
        let record = object(json!({ "config": text }));
        let entry = object(json!({ "name": name }));
        self.table()
            .transact(vec![
                Write::put(Key::application(name), record),
                Write::put(Key::new(LIST, name), entry),
            ])
            .await
    }

    /// Names of the applications that were saved.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn applications(&self) -> Result<Vec<String>, CloudError> {
        let items = self.table().query(LIST, "").await?;
        let name = |item: &crate::Item| Some(item.get("name")?.as_str()?.to_owned());
        Ok(items.iter().filter_map(name).collect())
    }
}
