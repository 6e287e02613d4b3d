//! People, as an installation knows them: their roles, and the names that they have elsewhere.

use gennaker_domain::approval::Person;
use gennaker_domain::approval::rules::without_session;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CloudError, Condition, Item, Key, Store, Write, listed};

/// A person (`USER#<name>`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// Name, in lower case: what is recorded of a decision.
    pub name: String,
    /// Roles, as pipelines name them.
    pub roles: Vec<String>,
    /// User id in Slack, such as `U012AB3CD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// ARN in AWS: of a user, of an assumed role (whoever has the role), or of one session of it (`…/ROLE/ada@example.com`,
    /// where single sign-on names the sessions).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
}

/// Why a person cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The table failed.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// Somebody else has that name elsewhere.
    #[error("`{identity}` is another user's")]
    Taken {
        /// The name elsewhere.
        identity: String,
    },
}

impl User {
    /// The user of that name.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn find(store: &Store, name: &str) -> Result<Option<Self>, CloudError> {
        let name = normal(name);
        if name.is_empty() {
            return Ok(None);
        }
        let user = listed::find(store, &Key::user(&name), &format!("user {name}")).await?;
        Ok(user.map(|user| Self { name, ..user }))
    }

    /// The user who has that name in Slack, by e-mail or in AWS.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn of_identity(
        store: &Store,
        kind: Identity,
        value: &str,
    ) -> Result<Option<Self>, CloudError> {
        let Some(item) = store.table().get(&kind.key(value)).await? else {
            return Ok(None);
        };
        match item.get("user").and_then(Value::as_str) {
            // A user who was saved without it since has it no more.
            Some(name) => Ok(Self::find(store, name).await?.filter(|user| {
                let own = user.identities();
                own.iter().any(|(k, v)| kind.key(value) == k.key(v))
            })),
            None => Ok(None),
        }
    }

    /// Whoever calls themselves so: by name, else by e-mail address, else by ARN.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn called(store: &Store, name: &str) -> Result<Option<Self>, CloudError> {
        if name.starts_with("arn:") {
            let session = Self::of_identity(store, Identity::Arn, name).await?;
            let role = without_session(name);
            return match session {
                None if role != name => Self::of_identity(store, Identity::Arn, role).await,
                found => Ok(found),
            };
        }
        if let Some(user) = Self::find(store, name).await? {
            return Ok(Some(user));
        }
        if name.contains('@') {
            return Self::of_identity(store, Identity::Email, name).await;
        }
        Ok(None)
    }

    /// Writes the record, its entry in the list and its names elsewhere, over what was there. A second call changes
    /// nothing.
    ///
    /// # Errors
    /// Those of the table; [`UserError::Taken`] if somebody else has one of the names.
    pub async fn save(&self, store: &Store) -> Result<(), UserError> {
        let user = Self {
            name: normal(&self.name),
            ..self.clone()
        };
        let keys = [Key::user(&user.name), Key::user_entry(&user.name)];
        let written = listed::writes(&user, &format!("user {}", user.name), keys)?;
        let mut writes = Vec::from(written);
        let identities = user.identities();
        for (kind, value) in &identities {
            let owned = Item::from_iter([("user".to_owned(), Value::from(user.name.as_str()))]);
            let mut free = vec![
                Condition::no_item(),
                Condition::equals("user", user.name.as_str()),
            ];
            if let Some(former) = Self::former_owner(store, *kind, value).await? {
                free.push(Condition::equals("user", former));
            }
            writes.push(Write::put(kind.key(value), owned).only_if(Condition::Any(free)));
        }
        match store.table().transact(writes).await {
            Ok(()) => Ok(()),
            Err(CloudError::ConditionFailed { position }) => {
                let taken = identities.get(position.saturating_sub(2));
                let identity = taken.map(|(_, value)| value.clone()).unwrap_or_default();
                Err(UserError::Taken { identity })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Who had that name elsewhere until they were saved without it.
    async fn former_owner(
        store: &Store,
        kind: Identity,
        value: &str,
    ) -> Result<Option<String>, CloudError> {
        let entry = store.table().get(&kind.key(value)).await?;
        let owner = entry
            .as_ref()
            .and_then(|item| item.get("user"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(match Self::of_identity(store, kind, value).await? {
            Some(_) => None,
            None => owner,
        })
    }

    /// All users that were saved, by name.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn all(store: &Store) -> Result<Vec<Self>, CloudError> {
        listed::all(store, Key::USERS, "the list of users").await
    }

    /// The person, as rules know one.
    #[must_use]
    pub fn person(&self) -> Person {
        Person {
            name: Some(self.name.clone()),
            roles: self.roles.clone(),
            aliases: self.identities().into_iter().map(|(_, v)| v).collect(),
            known: true,
        }
    }

    fn identities(&self) -> Vec<(Identity, String)> {
        [
            (Identity::Slack, &self.slack),
            (Identity::Email, &self.email),
            (Identity::Arn, &self.arn),
        ]
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value.clone()?)))
        .filter(|(_, value)| !value.trim().is_empty())
        .collect()
    }
}

/// Where a person has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user id in Slack.
    Slack,
    /// An e-mail address.
    Email,
    /// A role or a user in AWS.
    Arn,
}

impl Identity {
    fn key(self, value: &str) -> Key {
        let value = value.trim();
        match self {
            Self::Slack => Key::identity("slack", value),
            Self::Email => Key::identity("email", &value.to_lowercase()),
            Self::Arn => Key::identity("arn", value),
        }
    }
}

fn normal(name: &str) -> String {
    name.trim().to_lowercase()
}
