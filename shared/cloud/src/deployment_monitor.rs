//! Deployment monitors: what a `monitored` deployment asks, by id.

use serde::{Deserialize, Serialize};

use crate::{CloudError, Key, Store, listed};

/// Minutes that one analysis may take unless the monitor's record says otherwise.
const MAX_ANALYSIS_MINUTES: i64 = 30;

/// Who a deployment monitor is, the record `MONITOR#<id>`: an entry of Spinnaker's
/// `monitored-deploy.deploymentMonitors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentMonitor {
    /// What a pipeline has in `deploymentMonitor.id`.
    #[serde(default)]
    pub id: String,
    /// What people call it; empty is the id.
    #[serde(default)]
    pub name: String,
    /// Where its API begins: an `http` or `https` URL.
    #[serde(default)]
    pub base_url: String,
    /// Minutes that one analysis may take.
    #[serde(default = "max_analysis_minutes")]
    pub max_analysis_minutes: i64,
    /// Whether a monitor that does not answer fails the deployment.
    #[serde(default = "fails")]
    pub fail_on_error: bool,
}

const fn max_analysis_minutes() -> i64 {
    MAX_ANALYSIS_MINUTES
}

const fn fails() -> bool {
    true
}

impl DeploymentMonitor {
    /// The monitor of that id, or none. No trailing slash in its URL, never an empty name or a time below a minute.
    ///
    /// # Errors
    /// Those of the table, and [`CloudError::Unreadable`] for a record that is none.
    pub async fn find(store: &Store, id: &str) -> Result<Option<Self>, CloudError> {
        let what = format!("deployment monitor {id}");
        let found: Option<Self> = listed::find(store, &Key::monitor(id), &what).await?;
        let Some(mut monitor) = found else {
            return Ok(None);
        };
        id.clone_into(&mut monitor.id);
        if monitor.name.is_empty() {
            id.clone_into(&mut monitor.name);
        }
        monitor.base_url = monitor.base_url.trim_end_matches('/').to_owned();
        if monitor.base_url.is_empty() {
            return Err(CloudError::Unreadable {
                what,
                message: "it has no `baseUrl`".to_owned(),
            });
        }
        if monitor.max_analysis_minutes <= 0 {
            monitor.max_analysis_minutes = MAX_ANALYSIS_MINUTES;
        }
        Ok(Some(monitor))
    }

    /// Writes the record and its entry in the list of monitors, over what was there. A second call changes nothing.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save(&self, store: &Store) -> Result<(), CloudError> {
        let keys = [Key::monitor(&self.id), Key::monitor_entry(&self.id)];
        let writes = listed::writes(self, &format!("deployment monitor {}", self.id), keys)?;
        store.table().transact(writes.into()).await
    }

    /// All monitors that were saved, by id.
    ///
    /// # Errors
    /// Those of the table, and [`CloudError::Unreadable`] for an entry that is none.
    pub async fn all(store: &Store) -> Result<Vec<Self>, CloudError> {
        listed::all(store, Key::MONITORS, "the list of deployment monitors").await
    }
}
