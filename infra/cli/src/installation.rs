//! The installation that a command talks to: on AWS, or in the local cloud, which is the same to us.

use std::sync::Arc;

use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::{Connection, Store, User};
use gennaker_domain::{Execution, ExecutionId, Plan, Problem};
use gennaker_http::caller;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::local::ACCOUNT;
use crate::surroundings::{is_local, now_millis, user};
use crate::view::Snapshot;

/// Role whose sessions the people of a local cloud are.
const PEOPLE: &str = "people";

/// An installation of Gennaker.
pub(crate) struct Installation {
    /// What is stored.
    pub store: Store,
    /// Begins the name of every function and machine.
    pub prefix: String,
    /// To build clients on.
    pub connection: Connection,
}

impl Installation {
    /// The installation of this prefix, where the SDK's own environment points.
    pub(crate) async fn connect(prefix: &str) -> Self {
        Self::on(Connection::from_env().await, prefix)
    }

    /// The installation of this prefix on a connection.
    pub(crate) fn on(connection: Connection, prefix: &str) -> Self {
        // The template names the table after the prefix.
        let table = DynamoDb::new(&connection, prefix);
        Self {
            store: Store::new(Arc::new(table)),
            prefix: prefix.to_owned(),
            connection,
        }
    }

    /// The execution of that id as a person typed it.
    pub(crate) async fn execution(&self, id: &str) -> Result<Execution, Failure> {
        let id = execution_id(id)?;
        self.store.execution(&id).await?.ok_or_else(|| {
            Failure::input(
                Problem::error(
                    "unknown-execution",
                    "$",
                    format!("execution `{id}` does not exist"),
                )
                .with_hint("gennaker execution list shows those that do"),
            )
        })
    }

    /// Everything about an execution as it stands.
    pub(crate) async fn snapshot(
        &self,
        execution: Execution,
        plan: Option<Arc<Plan>>,
    ) -> Result<Snapshot, Failure> {
        let plan =
            match plan {
                Some(plan) => plan,
                None => Arc::new(self.store.plan(&execution.plan_hash).await?.ok_or_else(
                    || {
                        Failure::environment(format!(
                            "the plan `{}` of execution `{}` is not stored any more",
                            execution.plan_hash, execution.id
                        ))
                    },
                )?),
            };
        let records = self.store.stages(&execution.id).await?;
        Ok(Snapshot {
            execution,
            plan,
            records,
        })
    }

    /// The event as whoever runs the command sends it to a function that asks who calls; in a local cloud, where everybody
    /// may be anybody, as `person`.
    pub(crate) async fn signed(
        &self,
        function: &str,
        mut event: Value,
        person: Option<&str>,
    ) -> Result<Value, Failure> {
        let connection = match self.local_person(person).await? {
            Some(session) => session,
            None => self.connection.clone(),
        };
        let audience = caller::audience(&self.prefix, function, &event);
        let proof = caller::prove(&connection, &audience, now_millis()).await?;
        if let Some(fields) = event.as_object_mut() {
            fields.insert(caller::FIELD.to_owned(), json!(proof));
        }
        Ok(event)
    }

    /// In a local cloud all have the same credentials: the person at this machine, or the one who is played, becomes a user
    /// with a session of their own, named as single sign-on names it. None on AWS, where credentials are somebody's.
    async fn local_person(&self, person: Option<&str>) -> Result<Option<Connection>, Failure> {
        if !self
            .connection
            .config()
            .endpoint_url()
            .is_some_and(is_local)
        {
            return Ok(None);
        }
        let name = session_name(person.unwrap_or(&user()));
        let mut known = User::find(&self.store, &name).await?.unwrap_or_default();
        if known.arn.is_none() {
            known.arn = Some(format!(
                "arn:aws:sts::{ACCOUNT}:assumed-role/{PEOPLE}/{name}"
            ));
            known.name.clone_from(&name);
            known
                .save(&self.store)
                .await
                .map_err(crate::user::refused)?;
        }
        let role = format!("arn:aws:iam::{ACCOUNT}:role/{PEOPLE}");
        let session = caller::session(&self.connection, &role, &name, now_millis()).await?;
        Ok(Some(session))
    }

    /// What started an execution.
    pub(crate) async fn trigger(&self, id: &ExecutionId) -> Result<Value, Failure> {
        Ok(self.store.trigger(id).await?.unwrap_or(Value::Null))
    }
}

/// A person's name as that of a session: 2 to 64 characters of those that STS takes.
fn session_name(person: &str) -> String {
    let taken = |c: char| {
        if c.is_ascii_alphanumeric() || "+=,.@_-".contains(c) {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = person.trim().chars().take(64).map(taken).collect();
    format!("{name:-<2}")
}

/// An execution id as a person typed it.
pub(crate) fn execution_id(text: &str) -> Result<ExecutionId, Failure> {
    ExecutionId::try_from(text.trim().to_uppercase()).map_err(|_| {
        let message = format!("`{text}` is not an execution id (a ULID of 26 characters)");
        Failure::input(
            Problem::error("invalid-execution-id", "$", message)
                .with_hint("gennaker execution list shows the ids"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_name_that_a_session_can_have() {
        for (person, name) in [
            ("Ada", "ada"),
            ("ada@example.com", "ada@example.com"),
            ("command line", "command-line"),
            ("é", "--"),
            ("", "--"),
        ] {
            assert_eq!(session_name(person), name);
        }
        assert_eq!(session_name(&"x".repeat(100)).len(), 64);
    }
}
