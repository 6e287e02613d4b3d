#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::concurrency::{launch, promote};
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::step_functions::{AwsStepFunctions, MachineRun, MachineStatus, execution_arn};
use gennaker_cloud::{Functions, StepFunctions, Store};
use gennaker_domain::{Ending, Execution, ExecutionId, Run, Status};
use gennaker_lambda::{Connection, Function, FunctionError};
use serde_json::{Value, json};

/// Executions that one sweep looks at. `DescribeExecution` has a bucket of 300 and 15 a second, for everybody in the
/// account.
pub const LOOKED_AT: usize = 200;

/// How long an execution is left alone: its first call may be under way, or its machine about to stop by itself.
pub const GRACE_MILLIS: i64 = 60_000;

/// How often `finalize` is started for one run before a person has to look.
pub const FINALIZE_TRIES: u32 = 20;

/// Starts `finalize`, and whatever was lost on the way.
pub struct Sweep {
    store: Store,
    step_functions: Arc<dyn StepFunctions>,
    functions: Arc<dyn Functions>,
    prefix: String,
    finalize_machine: String,
}

/// What to do with an execution that is stored as running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// All is well, or it is too early to say.
    Leave,
    /// Its machine was never started.
    Launch,
    /// It is ending, and its machine runs on.
    Stop,
    /// Its machine has ended, or never began and never will.
    Finalize(MachineStatus),
    /// It ended, and not everybody who waits for that was told.
    FollowUp,
}

/// What an execution needs, as its record and its machine stand.
#[must_use]
pub fn care(execution: &Execution, machine: Option<&MachineRun>, now: i64) -> Care {
    let since = execution.start_time.unwrap_or(execution.build_time);
    let ending_since = execution.ending.as_ref().map(|ending| ending.at);
    let old = |since: i64| now.saturating_sub(since) >= GRACE_MILLIS;
    if execution.status.is_complete() {
        return if old(execution.end_time.unwrap_or(execution.build_time)) {
            Care::FollowUp
        } else {
            Care::Leave
        };
    }
    match (machine.map(|run| run.status), ending_since) {
        (None, None) if old(since) => Care::Launch,
        (None, Some(at)) if old(at) => Care::Finalize(MachineStatus::Aborted),
        (Some(MachineStatus::Running), Some(at)) if old(at) => Care::Stop,
        (None | Some(MachineStatus::Running), _) => Care::Leave,
        (Some(status), _) => Care::Finalize(status),
    }
}

impl Sweep {
    /// On a store, Step Functions and the functions of an installation; `finalize_machine` is the ARN of the machine that
    /// settles executions.
    pub fn new(
        store: Store,
        step_functions: Arc<dyn StepFunctions>,
        functions: Arc<dyn Functions>,
        prefix: impl Into<String>,
        finalize_machine: impl Into<String>,
    ) -> Self {
        Self {
            store,
            step_functions,
            functions,
            prefix: prefix.into(),
            finalize_machine: finalize_machine.into(),
        }
    }

    /// On AWS, with the settings of this process: `FINALIZE_MACHINE` is the machine's ARN.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsStepFunctions::new(connection)),
            Arc::new(AwsFunctions::new(connection)),
            gennaker_lambda::prefix(),
            gennaker_lambda::setting("FINALIZE_MACHINE").unwrap_or_default(),
        )
    }

    /// One event: a status change of a pipeline's machine, or the schedule.
    ///
    /// # Errors
    /// Those of the table and of Step Functions. On the schedule an execution's error is logged and the next one is
    /// looked at.
    pub async fn sweep(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        match event.get("detail").filter(|_| is_status_change(event)) {
            Some(detail) => self.status_changed(detail).await,
            None => self.all(now).await,
        }
    }

    async fn status_changed(&self, detail: &Value) -> Result<Value, FunctionError> {
        let text = |name: &str| detail.get(name).and_then(Value::as_str);
        let status = text("status").and_then(MachineStatus::parse);
        let (Some(name), Some(status)) = (text("name"), status) else {
            return Err(FunctionError::Invalid(
                "the status change has no `name` and `status`".to_owned(),
            ));
        };
        // Not ours: somebody started our machine by hand.
        let Ok(run) = Run::try_from(name.to_owned()) else {
            return Ok(json!({ "ignored": name }));
        };
        if status == MachineStatus::Running {
            return Ok(json!({ "ignored": name }));
        }
        let ended = MachineRun {
            status,
            cause: text("cause").or_else(|| text("error")).map(str::to_owned),
        };
        self.finalize(&run, &ended, 1).await?;
        self.stop_others(&run).await?;
        Ok(json!({ "finalizing": run }))
    }

    /// A restart of a running execution has two machines at work: when the execution ends with one, the other stops.
    async fn stop_others(&self, ended: &Run) -> Result<(), FunctionError> {
        /// Runs that are looked at: earlier ones have ended long ago.
        const RUNS: u32 = 10;
        let Some(execution) = self.store.execution(&ended.execution).await? else {
            return Ok(());
        };
        let over = execution.ending.is_some() || ended.number == execution.run;
        if execution.run < 2 || !over {
            return Ok(());
        }
        for number in execution.run.saturating_sub(RUNS)..=execution.run {
            let run = execution.id.run(number);
            if number == 0 || number == ended.number {
                continue;
            }
            let Some(arn) = execution_arn(&execution.state_machine, &run.to_string()) else {
                continue;
            };
            let running = self.step_functions.describe(&arn).await?;
            if running.is_some_and(|machine| machine.status == MachineStatus::Running) {
                let reason = format!("the execution ended with run {}", ended.number);
                self.step_functions.stop(&arn, "Ending", &reason).await?;
            }
        }
        Ok(())
    }

    /// Starts the machine that settles a run; the first try is `<run>-end`, the second `<run>-end-2`.
    async fn finalize(&self, run: &Run, ended: &MachineRun, n: u32) -> Result<(), FunctionError> {
        let input = json!({ "run": run, "status": ended.status.as_str(), "cause": ended.cause.as_deref().unwrap_or("") });
        self.step_functions
            .start(&self.finalize_machine, &finalize_name(run, n), &input)
            .await?;
        tracing::info!(execution = %run.execution, run = run.number, status = ended.status.as_str(), "finalizing");
        Ok(())
    }

    async fn all(&self, now: i64) -> Result<Value, FunctionError> {
        let mut cared: BTreeMap<String, String> = BTreeMap::new();
        let mut queues: BTreeMap<String, Execution> = BTreeMap::new();
        for execution in self.store.open_executions(LOOKED_AT).await? {
            if execution.status == Status::NotStarted {
                queues.insert(execution.pipeline_id.clone(), execution);
                continue;
            }
            match self.one(&execution, now).await {
                Ok(Care::Leave) => {}
                Ok(care) => {
                    cared.insert(execution.id.to_string(), format!("{care:?}"));
                }
                Err(error) => {
                    tracing::error!(execution = %execution.id, reason = %error, "could not look after it");
                }
            }
        }
        for (pipeline_id, execution) in queues {
            match self.queue(&pipeline_id, &execution, now).await {
                Ok(started) => cared.extend(started.into_iter().map(|id| (id, "Start".to_owned()))),
                Err(error) => {
                    tracing::error!(pipeline = pipeline_id, reason = %error, "could not look after the queue");
                }
            }
        }
        // The index and the schedules are compared by the one function that may write them, a page at a time.
        let save = function_name(&self.prefix, "save-pipeline");
        if let Err(error) = self
            .functions
            .invoke_later(&save, &json!({ "mend": {} }))
            .await
        {
            tracing::error!(reason = %error, "the trigger index is left to the next sweep");
        }
        Ok(json!({ "cared": cared }))
    }

    /// Has `finalize` tell an end to whoever waits for it.
    async fn follow_up(&self, id: &ExecutionId) -> Result<(), FunctionError> {
        let finalize = function_name(&self.prefix, "finalize");
        Ok(self
            .functions
            .invoke_later(&finalize, &json!({ "ended": id }))
            .await?)
    }

    async fn queue(
        &self,
        pipeline_id: &str,
        execution: &Execution,
        now: i64,
    ) -> Result<Vec<String>, FunctionError> {
        let current = self
            .store
            .pipeline(&execution.application, pipeline_id)
            .await?;
        let hash = current.map_or_else(|| execution.plan_hash.clone(), |p| p.plan_hash);
        let Some(plan) = self.store.plan(&hash).await? else {
            return Err(FunctionError::Invalid(format!("plan {hash} not found")));
        };
        let promoted = promote(
            &self.store,
            self.step_functions.as_ref(),
            pipeline_id,
            &plan,
            now,
        )
        .await?;
        for id in &promoted.canceled {
            self.follow_up(id).await?;
        }
        Ok(promoted.started.iter().map(ToString::to_string).collect())
    }

    async fn one(&self, execution: &Execution, now: i64) -> Result<Care, FunctionError> {
        if execution.status.is_complete() {
            let care = care(execution, None, now);
            if care == Care::FollowUp {
                self.follow_up(&execution.id).await?;
            }
            return Ok(care);
        }
        let run = execution.id.run(execution.run);
        let Some(arn) = execution_arn(&execution.state_machine, &run.to_string()) else {
            return Err(FunctionError::Invalid(format!(
                "`{}` is no state machine",
                execution.state_machine
            )));
        };
        let machine = self.step_functions.describe(&arn).await?;
        let mut care = care(execution, machine.as_ref(), now);
        match care {
            Care::Leave | Care::FollowUp => {}
            Care::Stop => {
                let reason = execution.ending.as_ref().map_or("", |e| e.reason.as_str());
                self.step_functions.stop(&arn, "Ending", reason).await?;
            }
            Care::Launch => match launch(self.step_functions.as_ref(), execution).await {
                Ok(_) => {}
                Err(error) if error.is_code("StateMachineDoesNotExist") => {
                    let ending = Ending {
                        status: Status::Terminal,
                        reason: format!(
                            "the state machine version `{}` does not exist",
                            execution.state_machine
                        ),
                        by: "sweep".to_owned(),
                        at: now,
                    };
                    self.store.set_ending(&run, &ending).await?;
                }
                Err(error) => return Err(error.into()),
            },
            Care::Finalize(status) => {
                let ended = MachineRun {
                    status,
                    cause: machine.and_then(|machine| machine.cause),
                };
                if !self.finalize_again(&run, &ended).await? {
                    care = Care::Leave;
                }
            }
        }
        Ok(care)
    }

    /// Starts finalize's machine under the first name that is free, unless it is at work. False if it is.
    async fn finalize_again(&self, run: &Run, ended: &MachineRun) -> Result<bool, FunctionError> {
        for n in 1..=FINALIZE_TRIES {
            let Some(arn) = execution_arn(&self.finalize_machine, &finalize_name(run, n)) else {
                return Err(FunctionError::Invalid(format!(
                    "`{}` is no state machine (`FINALIZE_MACHINE`)",
                    self.finalize_machine
                )));
            };
            match self.step_functions.describe(&arn).await? {
                Some(known) if known.status == MachineStatus::Running => return Ok(false),
                Some(_) => {}
                None => {
                    self.finalize(run, ended, n).await?;
                    return Ok(true);
                }
            }
        }
        Err(FunctionError::Invalid(format!(
            "finalizing `{run}` failed {FINALIZE_TRIES} times"
        )))
    }
}

fn is_status_change(event: &Value) -> bool {
    event.get("detail-type").and_then(Value::as_str)
        == Some("Step Functions Execution Status Change")
}

/// Name of the n-th execution that settles a run.
#[must_use]
pub fn finalize_name(run: &Run, n: u32) -> String {
    if n == 1 {
        format!("{run}-end")
    } else {
        format!("{run}-end-{n}")
    }
}

#[async_trait]
impl Function for Sweep {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        self.sweep(&event, now).await
    }
}
