#![doc = include_str!("../README.md")]

pub mod settle;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::concurrency::promote;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::step_functions::{AwsStepFunctions, MachineStatus};
use gennaker_cloud::{Functions, Key, StepFunctions, Store, Write};
use gennaker_domain::error_name::Poll;
use gennaker_domain::rollup::Records;
use gennaker_domain::{Ending, Execution, ExecutionId, Intent, Plan, Run, Status, child, occasion};
use gennaker_lambda::{Connection, Function, FunctionError};
use serde_json::{Value, json};

use settle::Duty;

/// How often one intent is handed to its stage before it is left for a person. A stage that answers that it cannot
/// is not asked again; this bounds what dies on the way.
pub const UNDO_TRIES: i64 = 10;

/// Settles executions.
pub struct Finalize {
    store: Store,
    step_functions: Arc<dyn StepFunctions>,
    functions: Arc<dyn Functions>,
    prefix: String,
}

impl Finalize {
    /// On a store, Step Functions and the functions of an installation.
    pub fn new(
        store: Store,
        step_functions: Arc<dyn StepFunctions>,
        functions: Arc<dyn Functions>,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            store,
            step_functions,
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
            Arc::new(AwsStepFunctions::new(connection)),
            Arc::new(AwsFunctions::new(connection)),
            gennaker_lambda::prefix(),
        )
    }

    /// One turn of the loop in `statemachines/finalize.asl.json`: `{"undo":{…}}` or `{"done":true}`.
    ///
    /// # Errors
    /// `Waiting` while an invocation that may still change something holds its lease; those of the table, of Lambda
    /// and of Step Functions. Every call may be repeated.
    pub async fn turn(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        if let Some(id) = text("ended") {
            return self.ended(id, now).await;
        }
        let run = text("run")
            .ok_or_else(|| FunctionError::Invalid("the event has no `run`".to_owned()))?;
        let run = Run::try_from(run.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        let machine = text("status")
            .and_then(MachineStatus::parse)
            .ok_or_else(|| FunctionError::Invalid("the event has no `status`".to_owned()))?;
        let done = json!({ "done": true });
        let Some(execution) = self.store.execution(&run.execution).await? else {
            return Ok(done);
        };
        if execution.run != run.number {
            self.hand_over(&execution, &run, now).await?;
            return Ok(done);
        }
        let plan = self.plan(&execution.plan_hash).await?;
        if execution.status.is_complete() {
            self.follow_up(&execution, now).await?;
            return Ok(done);
        }
        if let Some(failed) = event.get("failed").filter(|failed| failed.is_object()) {
            self.give_up(&run, failed).await?;
        }
        let ending = match &execution.ending {
            Some(ending) => ending.clone(),
            None => {
                self.set_ending(&run, &plan, machine, text("cause"), now)
                    .await?
            }
        };
        // Read after `ending` was set: from then on no intent is written.
        let records = self.store.stages(&run.execution).await?;
        let intents = self.store.intents(&run.execution).await?;
        wait_for_leases(settle::lease_until(&records, Some(&intents), now), now)?;
        if let Some(undo) = self
            .next_undo(&run, &plan, &records, &ending, &intents)
            .await?
        {
            return Ok(undo);
        }
        for record in settle::final_records(&plan, &records, &ending, now) {
            self.store.settle_stage(&run.execution, &record).await?;
        }
        // Nothing of it changes a cluster any more.
        self.store.release_locks(&run.execution).await?;
        let settled = self.store.settle(&run, ending.status, now).await?;
        tracing::info!(execution = %run.execution, run = run.number, status = %ending.status, reason = ending.reason, settled, "execution settled");
        // As stored: what the end starts is named after its time.
        let known = self.store.execution(&run.execution).await?;
        let ended = known.filter(|known| known.run == run.number && known.status.is_complete());
        if let Some(ended) = ended {
            self.follow_up(&ended, now).await?;
        }
        Ok(done)
    }

    /// The machine of an earlier run has ended: what still runs in it goes to the current run, which looks again.
    async fn hand_over(
        &self,
        execution: &Execution,
        ended: &Run,
        now: i64,
    ) -> Result<(), FunctionError> {
        if execution.status.is_complete() || execution.ending.is_some() {
            return Ok(());
        }
        let records = self.store.stages(&ended.execution).await?;
        let left = records
            .values()
            .filter(|record| record.status == Status::Running && record.run == ended.number);
        for record in left {
            let held = record.lease.as_ref().filter(|lease| lease.until > now);
            wait_for_leases(held.map(|lease| lease.until), now)?;
            self.store
                .hand_over_stage(&ended.execution, record, execution.run)
                .await?;
        }
        Ok(())
    }

    /// The end of an execution that never ran: canceled in the queue, or failed before it began.
    async fn ended(&self, id: &str, now: i64) -> Result<Value, FunctionError> {
        let id = ExecutionId::try_from(id.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        if let Some(execution) = self.store.execution(&id).await?
            && execution.status.is_complete()
        {
            self.follow_up(&execution, now).await?;
        }
        Ok(json!({ "done": true }))
    }

    /// Sets `ending` from the machine's own end; whoever was faster wins.
    async fn set_ending(
        &self,
        run: &Run,
        plan: &Plan,
        machine: MachineStatus,
        cause: Option<&str>,
        now: i64,
    ) -> Result<Ending, FunctionError> {
        let records = self.store.stages(&run.execution).await?;
        if machine == MachineStatus::Succeeded {
            // The records decide: whoever may still write one goes first.
            wait_for_leases(settle::lease_until(&records, None, now), now)?;
        }
        let ending = settle::ending(plan, &records, machine, cause, now);
        if self.store.set_ending(run, &ending).await? {
            return Ok(ending);
        }
        let known = self.store.execution(&run.execution).await?;
        Ok(known
            .and_then(|execution| execution.ending)
            .unwrap_or(ending))
    }

    /// Closes what need not be undone, and answers the newest intent that has to be.
    async fn next_undo(
        &self,
        run: &Run,
        plan: &Plan,
        records: &Records,
        ending: &Ending,
        intents: &[Intent],
    ) -> Result<Option<Value>, FunctionError> {
        let id = &run.execution;
        for intent in intents.iter().rev().filter(|intent| !intent.closed) {
            let close = |result: String| async move {
                self.store
                    .close_intent(id, &intent.stage, &intent.action, Some(&result))
                    .await
            };
            if let Duty::Keep(why) = settle::duty(plan, records, ending, &intent.stage) {
                close(format!("kept: {why}")).await?;
                continue;
            }
            if intent.function.is_empty() {
                close("not undone: no function is known for it".to_owned()).await?;
                continue;
            }
            let key = Key::intent(id, &intent.stage, &intent.action);
            let tried = self
                .store
                .table()
                .get(&key)
                .await?
                .and_then(|item| item.get("undoTries").and_then(Value::as_i64))
                .unwrap_or(0);
            if tried >= UNDO_TRIES {
                close(format!("not undone: tried {UNDO_TRIES} times")).await?;
                continue;
            }
            self.store
                .table()
                .write(Write::set(key, serde_json::Map::new()).adding("undoTries", 1))
                .await?;
            tracing::info!(execution = %id, stage = intent.stage, action = intent.action, "undoing");
            return Ok(Some(json!({
                "undo": {
                    "function": function_name(&self.prefix, &intent.function),
                    "payload": { "run": run, "stage": intent.stage, "undo": intent.action },
                }
            })));
        }
        Ok(None)
    }

    /// Notes that a stage could not undo an intent, so that the next one gets its turn.
    async fn give_up(&self, run: &Run, failed: &Value) -> Result<(), FunctionError> {
        let text = |name: &str| failed.get(name).and_then(Value::as_str).unwrap_or("");
        let (stage, action) = (text("stage"), text("action"));
        let known = self.store.intents(&run.execution).await?;
        let open = known
            .iter()
            .any(|intent| intent.stage == stage && intent.action == action && !intent.closed);
        if open {
            let result = format!(
                "not undone: {}: {}",
                text("error"),
                settle::message(text("cause"))
            );
            tracing::error!(execution = %run.execution, stage, action, reason = result, "an intent is left for a person");
            self.store
                .close_intent(&run.execution, stage, action, Some(&result))
                .await?;
        }
        Ok(())
    }

    /// What comes after the end: the queue of the pipeline, people, the stages that wait for it, and the pipelines that
    /// hear it. Each is safe to repeat; only when all is done does the execution leave the sweep's sight.
    async fn follow_up(&self, execution: &Execution, now: i64) -> Result<(), FunctionError> {
        self.queue(execution, now).await?;
        // An execution that never ran tells nobody that it failed: it told nobody that it starts.
        if execution.run > 0
            && let Some(when) = occasion::pipeline_end(execution.status)
        {
            self.tell(&json!({ "execution": execution.id, "run": execution.run, "when": when }))
                .await?;
        }
        for watcher in self.store.watchers(&execution.id).await? {
            let payload = json!({ "run": watcher.run, "stage": watcher.stage });
            self.call(&watcher.function, &payload).await?;
        }
        self.downstream(execution).await?;
        Ok(self.store.followed_up(execution).await?)
    }

    /// Starts whoever waits for a slot.
    async fn queue(&self, execution: &Execution, now: i64) -> Result<(), FunctionError> {
        let current = self
            .store
            .pipeline(&execution.application, &execution.pipeline_id)
            .await?;
        let hash = current.map_or_else(|| execution.plan_hash.clone(), |p| p.plan_hash);
        let limits = self.plan(&hash).await?;
        let promoted = promote(
            &self.store,
            self.step_functions.as_ref(),
            &execution.pipeline_id,
            &limits,
            now,
        )
        .await;
        let promoted = match promoted {
            Ok(promoted) => promoted,
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => {
                // The sweep looks after the one that could not be started.
                tracing::error!(pipeline = execution.pipeline_id, reason = %error, "the queue is stuck");
                return Ok(());
            }
        };
        for id in promoted.started {
            self.tell(&json!({ "execution": id, "when": "pipeline.starting" }))
                .await?;
        }
        for id in promoted.canceled {
            self.call("finalize", &json!({ "ended": id })).await?;
        }
        Ok(())
    }

    /// Starts the pipelines with a trigger that hears this end, one execution each.
    async fn downstream(&self, execution: &Execution) -> Result<(), FunctionError> {
        let run = execution.id.run(execution.run.max(1));
        let ended = execution.end_time.unwrap_or(execution.build_time);
        let mut started: Vec<String> = Vec::new();
        let key = format!("pipeline#{}", execution.pipeline_id);
        for entry in self.store.triggers(&key).await? {
            let heard = child::hears(&entry.trigger, &execution.pipeline_id, execution.status);
            tracing::info!(execution = %execution.id, application = entry.application, pipeline = entry.pipeline_id, trigger = entry.index, heard = heard.is_ok(), reason = heard.as_ref().err().map_or("", String::as_str), "trigger");
            if heard.is_err() || started.contains(&entry.pipeline_id) {
                continue;
            }
            let payload = json!({
                "executionId": child::downstream(&run, &entry.pipeline_id, ended),
                "application": entry.application,
                "pipeline": entry.pipeline_id,
                "parent": { "execution": execution.id },
            });
            self.call("start", &payload).await?;
            started.push(entry.pipeline_id);
        }
        Ok(())
    }

    /// Hands a payload to a function of this installation.
    async fn call(&self, function: &str, payload: &Value) -> Result<(), FunctionError> {
        let name = function_name(&self.prefix, function);
        match self.functions.invoke_later(&name, payload).await {
            Err(error) if error.is_passing() => Err(error.into()),
            Err(error) => {
                tracing::error!(function, reason = %error, "could not be called");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn tell(&self, payload: &Value) -> Result<(), FunctionError> {
        self.call("notify", payload).await
    }

    async fn plan(&self, hash: &str) -> Result<Plan, FunctionError> {
        self.store
            .plan(hash)
            .await?
            .ok_or_else(|| FunctionError::Invalid(format!("plan {hash} not found")))
    }
}

/// `Waiting` until a lease runs out, if there is one to wait for.
fn wait_for_leases(until: Option<i64>, now: i64) -> Result<(), FunctionError> {
    match until {
        None => Ok(()),
        Some(until) => Err(FunctionError::Waiting {
            poll: Poll::TenSeconds,
            reason: format!(
                "an invocation may still be at work for {} s",
                until.saturating_sub(now) / 1_000 + 1
            ),
        }),
    }
}

#[async_trait]
impl Function for Finalize {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        self.turn(&event, now).await
    }
}
