#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::{Functions, Store};
use gennaker_domain::Run;
use gennaker_domain::rollup::{self, Readiness};
use gennaker_lambda::{Connection, Function, FunctionError};
use serde_json::{Value, json};

/// The Task in front of a stage that waits for records.
pub struct Join {
    store: Store,
    functions: Arc<dyn Functions>,
    prefix: String,
}

impl Join {
    /// On a store and the functions of an installation.
    pub fn new(store: Store, functions: Arc<dyn Functions>, prefix: impl Into<String>) -> Self {
        Self {
            store,
            functions,
            prefix: prefix.into(),
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsFunctions::new(connection)),
            gennaker_lambda::prefix(),
        )
    }

    /// One event: `{"run","stage","token"}`. Keeps the token, then looks at the records: whoever completes the last
    /// one sees the token, or this call sees the record.
    ///
    /// # Errors
    /// Those of the table and of Lambda; the Task is called again.
    pub async fn join(&self, event: &Value) -> Result<Value, FunctionError> {
        let text = |name: &str| {
            event
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| FunctionError::Invalid(format!("the event has no `{name}`")))
        };
        let stage = text("stage")?;
        let run = Run::try_from(text("run")?.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        self.store
            .put_token(&run, &format!("join:{stage}"), text("token")?)
            .await?;
        let Some(execution) = self.store.execution(&run.execution).await? else {
            return Err(FunctionError::Invalid(format!(
                "execution `{}` not found",
                run.execution
            )));
        };
        let over = execution.run != run.number
            || execution.ending.is_some()
            || execution.status.is_complete();
        let open = over
            || {
                let Some(plan) = self.store.plan(&execution.plan_hash).await? else {
                    return Err(FunctionError::Invalid(format!(
                        "plan {} not found",
                        execution.plan_hash
                    )));
                };
                let records = self.store.stages(&run.execution).await?;
                match rollup::may_begin(&plan, &records, stage) {
                    Readiness::NotYet { missing } => {
                        tracing::info!(execution = %run.execution, stage, missing = ?missing, "the join waits");
                        false
                    }
                    Readiness::Ready | Readiness::Never { .. } => true,
                }
            };
        if open {
            self.functions
                .invoke_later(
                    &function_name(&self.prefix, "wake"),
                    &json!({ "run": run, "joins": [stage] }),
                )
                .await?;
        }
        Ok(json!({ "open": open }))
    }
}

#[async_trait]
impl Function for Join {
    async fn handle(&self, event: Value, _now: i64) -> Result<Value, FunctionError> {
        self.join(&event).await
    }
}
