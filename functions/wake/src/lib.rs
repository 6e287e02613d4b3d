#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::step_functions::AwsStepFunctions;
use gennaker_cloud::{CloudError, StepFunctions, Store};
use gennaker_domain::rollup::{self, Readiness, Records};
use gennaker_domain::{Execution, Plan, Run, error_name};
use gennaker_lambda::{Connection, Function, FunctionError};
use serde_json::{Value, json};

/// Key of a join's token: its stage's own Task has another one.
#[must_use]
pub fn join_token(ref_id: &str) -> String {
    format!("join:{ref_id}")
}

/// What a sleeping Task is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Go on.
    Success,
    /// The stage halted the pipeline.
    Failure {
        /// What a person reads.
        reason: String,
    },
    /// Sleep on.
    Nothing,
}

/// What the Task of a woken stage is told, as the records stand.
///
/// Only the stage whose end ended the execution fails its Task: the failure of every other one is in its record, and an
/// error from it could change how the execution ended.
#[must_use]
pub fn delivery_to_stage(
    execution: &Execution,
    plan: &Plan,
    records: &Records,
    run: &Run,
    ref_id: &str,
) -> Delivery {
    if execution.run != run.number {
        return Delivery::Success;
    }
    let record = records.get(ref_id);
    let complete = record.is_some_and(|record| record.status.is_complete());
    if let Some(ending) = &execution.ending {
        return if ending.by == ref_id {
            Delivery::Failure {
                reason: ending.reason.clone(),
            }
        } else {
            Delivery::Success
        };
    }
    let never = matches!(
        rollup::readiness(plan, records, ref_id),
        Readiness::Never { .. }
    );
    if complete || never || execution.status.is_complete() {
        Delivery::Success
    } else {
        Delivery::Nothing
    }
}

/// What the join before a stage is told, as the records stand.
#[must_use]
pub fn delivery_to_join(
    execution: &Execution,
    plan: &Plan,
    records: &Records,
    run: &Run,
    ref_id: &str,
) -> Delivery {
    let over = execution.run != run.number
        || execution.ending.is_some()
        || execution.status.is_complete()
        || records
            .get(ref_id)
            .is_some_and(|record| record.status.is_complete());
    if over {
        return Delivery::Success;
    }
    match rollup::may_begin(plan, records, ref_id) {
        Readiness::Ready | Readiness::Never { .. } => Delivery::Success,
        Readiness::NotYet { .. } => Delivery::Nothing,
    }
}

/// Wakes sleeping Tasks.
pub struct Wake {
    store: Store,
    step_functions: Arc<dyn StepFunctions>,
}

impl Wake {
    /// On a store and Step Functions.
    pub fn new(store: Store, step_functions: Arc<dyn StepFunctions>) -> Self {
        Self {
            store,
            step_functions,
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsStepFunctions::new(connection)),
        )
    }

    /// Tells the Task whose token is kept under `name`. A Task that waits no more is fine.
    async fn deliver(&self, run: &Run, name: &str, delivery: Delivery) -> Result<bool, CloudError> {
        if delivery == Delivery::Nothing {
            return Ok(false);
        }
        let Some(token) = self.store.token(run, name).await? else {
            return Ok(false);
        };
        let sent = match &delivery {
            Delivery::Failure { reason } => {
                self.step_functions
                    .fail_task(&token, error_name::STAGE_FAILED, reason)
                    .await
            }
            _ => self.step_functions.succeed_task(&token).await,
        };
        match sent {
            Err(error)
                if ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"]
                    .iter()
                    .any(|code| error.is_code(code)) =>
            {
                tracing::info!(execution = %run.execution, task = name, "the task waits no more");
                Ok(false)
            }
            Err(error) => Err(error),
            Ok(()) => {
                tracing::info!(execution = %run.execution, task = name, "woken");
                Ok(true)
            }
        }
    }

    /// One event: `{"run","stage"}` or `{"run","joins":[…]}`.
    ///
    /// # Errors
    /// Those of the table and of Step Functions; Lambda calls again.
    pub async fn wake(&self, event: &Value) -> Result<Value, FunctionError> {
        let run = event
            .get("run")
            .and_then(Value::as_str)
            .ok_or_else(|| FunctionError::Invalid("the event has no `run`".to_owned()))?;
        let run = Run::try_from(run.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        let Some(execution) = self.store.execution(&run.execution).await? else {
            return Err(FunctionError::Invalid(format!(
                "execution `{}` not found",
                run.execution
            )));
        };
        let Some(plan) = self.store.plan(&execution.plan_hash).await? else {
            return Err(FunctionError::Invalid(format!(
                "plan {} not found",
                execution.plan_hash
            )));
        };
        let records = self.store.stages(&run.execution).await?;
        let mut woken = Vec::new();
        if let Some(stage) = event.get("stage").and_then(Value::as_str) {
            let delivery = delivery_to_stage(&execution, &plan, &records, &run, stage);
            if self.deliver(&run, stage, delivery).await? {
                woken.push(stage.to_owned());
            }
        }
        let joins = event.get("joins").and_then(Value::as_array);
        for stage in joins.into_iter().flatten().filter_map(Value::as_str) {
            let delivery = delivery_to_join(&execution, &plan, &records, &run, stage);
            let name = join_token(stage);
            if self.deliver(&run, &name, delivery).await? {
                woken.push(name);
            }
        }
        Ok(json!({ "woken": woken }))
    }
}

#[async_trait]
impl Function for Wake {
    async fn handle(&self, event: Value, _now: i64) -> Result<Value, FunctionError> {
        self.wake(&event).await
    }
}
