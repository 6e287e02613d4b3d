//! Spinnaker's account names, and how each is reached.

use aws_config::sts::AssumeRoleProvider;
use gennaker_domain::Run;
use serde::{Deserialize, Serialize};

use crate::{CloudError, Connection, Key, Store, listed};

/// What an account name (`account` or `credentials` in a pipeline) stands for; the record `ACCOUNT#<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Spinnaker's name.
    #[serde(default)]
    pub name: String,
    /// Twelve digits.
    #[serde(default)]
    pub account_id: String,
    /// ARN of the role that stages assume there; none is the functions' own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Regions that may be deployed to; none is all of them.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// The way into an [`Account`], with the IAM action that it needs.
pub mod calls {
    crate::iam::calls! { "Account":
        CONNECTION = "connection" => ["sts:AssumeRole"];
    }
}

impl Account {
    /// The account of that name, or none.
    ///
    /// # Errors
    /// Those of the table, and [`CloudError::Unreadable`] for a record that is none.
    pub async fn find(store: &Store, name: &str) -> Result<Option<Self>, CloudError> {
        let what = format!("account {name}");
        let account = listed::find(store, &Key::account(name), &what).await?;
        Ok(account.map(|account| Self {
            name: name.to_owned(),
            ..account
        }))
    }

    /// Writes the record and its entry in the list of accounts, over what was there. A second call changes nothing.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save(&self, store: &Store) -> Result<(), CloudError> {
        let keys = [Key::account(&self.name), Key::account_entry(&self.name)];
        let writes = listed::writes(self, &format!("account {}", self.name), keys)?;
        store.table().transact(writes.into()).await
    }

    /// All accounts that were saved, by name.
    ///
    /// # Errors
    /// Those of the table, and [`CloudError::Unreadable`] for an entry that is none.
    pub async fn all(store: &Store) -> Result<Vec<Self>, CloudError> {
        listed::all(store, Key::ACCOUNTS, "the list of accounts").await
    }

    /// Whether the account may be deployed to in that region.
    #[must_use]
    pub fn has_region(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|known| known == region)
    }

    /// A connection to the account in a region: its role assumed, with the run's name as the session's, so that
    /// CloudTrail tells which execution did what, and with a policy that allows what the function does and no more.
    /// Makes no call; the first one assumes the role. (`sts:AssumeRole`)
    pub async fn connection(&self, from: &Connection, region: &str, run: &Run) -> Connection {
        // At most 64 characters; a run has 26, a hyphen and a number.
        self.assumed(from, region, format!("gennaker-{run}")).await
    }

    /// The same for whoever only reads, for all executions: a session of the function (`gennaker-reads`), assumed once
    /// an hour and not once a call.
    pub async fn reading_connection(&self, from: &Connection, region: &str) -> Connection {
        self.assumed(from, region, "gennaker-reads".to_owned())
            .await
    }

    async fn assumed(&self, from: &Connection, region: &str, session: String) -> Connection {
        let there = from.in_region(region);
        let Some(role) = &self.role else {
            return there;
        };
        let mut provider = AssumeRoleProvider::builder(role)
            .configure(there.config())
            .session_name(session);
        if let Some(policy) = from.session_policy(&self.account_id, region) {
            provider = provider.policy(policy);
        }
        there.with_credentials(provider.build().await)
    }
}
