//! The installation that a command talks to: on AWS, or in the local cloud, which is the same to us.

use std::sync::Arc;

use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::{Connection, Store};
use gennaker_domain::{Execution, ExecutionId, Plan, Problem};
use gennaker_http::{AddressPolicy, HttpClient, caller};
use serde_json::Value;

use crate::failure::Failure;
use crate::surroundings::{now_millis, user};
use crate::view::Snapshot;

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

    /// Who runs the command: ARN of the credentials, as AWS says; in a local cloud, where everybody has the same ones, the
    /// person at this machine.
    pub(crate) async fn user(&self) -> Result<String, Failure> {
        // Whoever sets an endpoint talks to an emulator.
        if self.connection.config().endpoint_url().is_some() {
            return Ok(user());
        }
        let http = HttpClient::new(AddressPolicy::public());
        Ok(caller(&http, &self.connection, now_millis()).await?)
    }

    /// What started an execution.
    pub(crate) async fn trigger(&self, id: &ExecutionId) -> Result<Value, Failure> {
        Ok(self.store.trigger(id).await?.unwrap_or(Value::Null))
    }
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
