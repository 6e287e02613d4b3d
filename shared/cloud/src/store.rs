//! What is stored, as types: every read and write of executions, stages and intents goes through here.
//!
//! Maps that users wrote (contexts, outputs, triggers) are stored as JSON text: DynamoDB keeps no order of keys and
//! would change numbers.

use std::sync::{Arc, Mutex};

use gennaker_domain::rollup::Records;
use gennaker_domain::{
    Ending, Execution, ExecutionId, Intent, Lease, Plan, Run, StageRecord, Status,
};
use serde_json::{Map, Value, json};

use crate::{CloudError, Condition, Index, Item, Key, Table, Write};

pub mod applications;
pub mod approvals;
pub mod arrivals;
pub mod artifacts;
pub mod builds;
pub mod canaries;
pub mod children;
pub mod locks;
mod packed;
pub mod pauses;
pub mod pipelines;
pub mod registries;
pub mod slots;
pub mod subscriptions;
pub mod upkeep;
pub mod webhooks;

/// The table, as types.
#[derive(Clone)]
pub struct Store {
    table: Arc<dyn Table>,
    /// The plans read last: they never change.
    plans: Arc<Mutex<Vec<(String, Plan)>>>,
}

/// Plans that are kept: one of 1,000 stages is a megabyte.
const KEPT_PLANS: usize = 8;

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// Answer of [`Store::take_lease`].
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseAnswer {
    /// The stage is ours until the lease ends; its record as it now stands.
    Taken(Box<StageRecord>),
    /// Another invocation holds it.
    Held(Lease),
    /// The stage is complete, or the execution is ending or on another run: there is nothing to do.
    Over,
}

/// Answer of [`Store::write_intent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentAnswer {
    /// Written now.
    Written,
    /// Written by an earlier try of the same stage; whether it was marked done.
    Known {
        /// The call is known to have taken effect.
        done: bool,
    },
    /// The execution is ending or on another run: nothing new may begin.
    Ending,
}

fn text(value: &impl serde::Serialize) -> Result<Value, CloudError> {
    packed::text(value).map(Value::String)
}

fn read<T: serde::de::DeserializeOwned>(what: &str, value: Value) -> Result<T, CloudError> {
    serde_json::from_value(value).map_err(|error| CloudError::Unreadable {
        what: what.to_owned(),
        message: error.to_string(),
    })
}

fn from_text<T: serde::de::DeserializeOwned>(
    item: &Item,
    name: &str,
) -> Result<Option<T>, CloudError> {
    let Some(text) = item.get(name).and_then(Value::as_str) else {
        return Ok(None);
    };
    packed::from_text(&format!("attribute `{name}`"), text).map(Some)
}

/// What [`packed::pack`] made, of an attribute that has to be there.
fn from_packed<T: serde::de::DeserializeOwned>(
    what: &str,
    item: &Item,
    name: &str,
) -> Result<T, CloudError> {
    let packed = item.get(name).and_then(Value::as_str);
    let packed = packed.ok_or_else(|| CloudError::Unreadable {
        what: what.to_owned(),
        message: format!("no attribute `{name}`"),
    })?;
    packed::unpack(what, packed)
}

fn object(value: Value) -> Item {
    match value {
        Value::Object(map) => map,
        _ => Item::new(),
    }
}

/// Partition of the index of executions that have not ended.
pub const RUNNING: &str = "RUNNING";

impl Store {
    /// A store on a table.
    #[must_use]
    pub fn new(table: Arc<dyn Table>) -> Self {
        Self {
            table,
            plans: Arc::default(),
        }
    }

    /// The same store over another table, made of this one's. Plans that are kept are kept for both.
    #[must_use]
    pub fn over(&self, table: impl FnOnce(Arc<dyn Table>) -> Arc<dyn Table>) -> Self {
        Self {
            table: table(Arc::clone(&self.table)),
            plans: Arc::clone(&self.plans),
        }
    }

    /// The table itself, for families of items that have a module of their own.
    #[must_use]
    pub fn table(&self) -> &Arc<dyn Table> {
        &self.table
    }

    // --- plans -----------------------------------------------------------------------------------------------

    /// Keeps a plan under its hash; a second call changes nothing.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn put_plan(&self, plan: &Plan) -> Result<String, CloudError> {
        let hash = plan.hash().map_err(|error| CloudError::Unreadable {
            what: "plan".to_owned(),
            message: error.to_string(),
        })?;
        let item = object(json!({ "plan": packed::pack("plan", plan)? }));
        match self
            .table
            .write(Write::put(Key::plan(&hash), item).only_if(Condition::no_item()))
            .await
        {
            Ok(()) | Err(CloudError::ConditionFailed { .. }) => Ok(hash),
            Err(error) => Err(error),
        }
    }

    /// The plan of that hash.
    ///
    /// # Errors
    /// [`CloudError::Unreadable`] if it is of a newer schema.
    pub async fn plan(&self, hash: &str) -> Result<Option<Plan>, CloudError> {
        let kept = self.plans.lock().ok().and_then(|plans| {
            let kept = plans.iter().find(|(of, _)| of == hash);
            kept.map(|(_, plan)| plan.clone())
        });
        if kept.is_some() {
            return Ok(kept);
        }
        let Some(item) = self.table.get(&Key::plan(hash)).await? else {
            return Ok(None);
        };
        let what = format!("plan {hash}");
        let plan: Plan = from_packed(&what, &item, "plan")?;
        if plan.schema > gennaker_domain::plan::SCHEMA {
            let message = format!("schema {} is newer than this release", plan.schema);
            return Err(CloudError::Unreadable { what, message });
        }
        if let Ok(mut plans) = self.plans.lock() {
            if plans.len() >= KEPT_PLANS {
                plans.remove(0);
            }
            plans.push((hash.to_owned(), plan.clone()));
        }
        Ok(Some(plan))
    }

    // --- executions ------------------------------------------------------------------------------------------

    /// The execution's own record.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn execution(&self, id: &ExecutionId) -> Result<Option<Execution>, CloudError> {
        self.table
            .get(&Key::execution(id))
            .await?
            .map(|item| execution_of(&item))
            .transpose()
    }

    /// Creates the execution and what started it, in one transaction. False if it is there already: a duplicate.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn create_execution(
        &self,
        execution: &Execution,
        trigger: &Value,
    ) -> Result<bool, CloudError> {
        let writes = vec![
            Write::put(Key::execution(&execution.id), execution_item(execution)?)
                .only_if(Condition::no_item()),
            Write::put(
                Key::trigger(&execution.id),
                object(json!({ "trigger": text(trigger)? })),
            ),
        ];
        match self.table.transact(writes).await {
            Ok(()) => Ok(true),
            Err(CloudError::ConditionFailed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces the execution's record if its stored status and run are the expected ones. False if they are not.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn replace_execution(
        &self,
        execution: &Execution,
        expected: Status,
        expected_run: u32,
    ) -> Result<bool, CloudError> {
        let write = Write::put(Key::execution(&execution.id), execution_item(execution)?)
            .only_if(Condition::equals("status", expected.as_str()))
            .only_if(Condition::equals("run", expected_run));
        held(self.table.write(write).await)
    }

    /// What started the execution, as JSON.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn trigger(&self, id: &ExecutionId) -> Result<Option<Value>, CloudError> {
        match self.table.get(&Key::trigger(id)).await? {
            Some(item) => from_text(&item, "trigger"),
            None => Ok(None),
        }
    }

    /// Keeps what the execution's start made of its pipeline; what is there already stays.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn put_processed(
        &self,
        id: &ExecutionId,
        processed: &impl serde::Serialize,
    ) -> Result<(), CloudError> {
        let processed = packed::pack("processed pipeline", processed)?;
        let item = object(json!({ "processed": processed }));
        let write = Write::put(Key::processed(id), item).only_if(Condition::no_item());
        held(self.table.write(write).await).map(drop)
    }

    /// What the execution's start made of its pipeline, if it made something.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn processed(&self, id: &ExecutionId) -> Result<Option<Value>, CloudError> {
        let Some(item) = self.table.get(&Key::processed(id)).await? else {
            return Ok(None);
        };
        let what = format!("processed pipeline of execution `{id}`");
        from_packed(&what, &item, "processed").map(Some)
    }

    /// Sets `ending` if nobody has, and the run is the current one. True if this call set it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn set_ending(&self, run: &Run, ending: &Ending) -> Result<bool, CloudError> {
        let write = Write::set(
            Key::execution(&run.execution),
            object(json!({ "ending": ending })),
        )
        .only_if(Condition::equals("run", run.number))
        .only_if(Condition::Absent("ending".to_owned()))
        .only_if(Condition::In(
            "status".to_owned(),
            [Status::Running, Status::Paused]
                .iter()
                .map(|status| Value::from(status.as_str()))
                .collect(),
        ));
        held(self.table.write(write).await)
    }

    /// Notes that somebody asked to cancel the execution, whatever became of it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn note_cancel(&self, id: &ExecutionId) -> Result<(), CloudError> {
        let write = Write::set(Key::execution(id), object(json!({ "canceled": true })))
            .only_if(Condition::item());
        held(self.table.write(write).await).map(|_| ())
    }

    /// Gives the execution its final status. False if it was settled before or is on another run. It stays in the index
    /// of running ones, for the sweep, until [`Store::followed_up`] says that nobody waits for its end any more.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn settle(&self, run: &Run, status: Status, at: i64) -> Result<bool, CloudError> {
        let write = Write::set(
            Key::execution(&run.execution),
            object(json!({ "status": status.as_str(), "endTime": at, "paused": false })),
        )
        .only_if(Condition::equals("run", run.number))
        .only_if(Condition::In(
            "status".to_owned(),
            [Status::Running, Status::Paused]
                .iter()
                .map(|status| Value::from(status.as_str()))
                .collect(),
        ));
        held(self.table.write(write).await)
    }

    /// Executions of an application, newest first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn executions_of_application(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<Execution>, CloudError> {
        let items = self
            .table
            .query_index(Index::ApplicationTime, &format!("APP#{name}"), limit)
            .await?;
        items.iter().map(execution_of).collect()
    }

    /// Executions of a pipeline, newest first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn executions_of_pipeline(
        &self,
        id: &str,
        limit: usize,
    ) -> Result<Vec<Execution>, CloudError> {
        let items = self
            .table
            .query_index(Index::PipelineTime, &format!("PIPELINE#{id}"), limit)
            .await?;
        items.iter().map(execution_of).collect()
    }

    /// Executions that have not ended, newest first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn running_executions(&self, limit: usize) -> Result<Vec<Execution>, CloudError> {
        let mut open = self.open_executions(limit).await?;
        open.retain(|execution| !execution.status.is_complete());
        Ok(open)
    }

    /// Executions that have not ended, and those whose end is not followed up, newest first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn open_executions(&self, limit: usize) -> Result<Vec<Execution>, CloudError> {
        let items = self
            .table
            .query_index(Index::Running, RUNNING, limit)
            .await?;
        items.iter().map(execution_of).collect()
    }

    // --- stages ----------------------------------------------------------------------------------------------

    /// The records of all stages that have one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn stages(&self, id: &ExecutionId) -> Result<Records, CloudError> {
        // One query for `STAGE#…` and the few `SKIP#…` beside them.
        let items = self.table.query(&Key::execution_partition(id), "S").await?;
        let of = |item: &Item, kind: &str| {
            let key = item.get("SK").and_then(Value::as_str)?;
            key.strip_prefix(kind).map(str::to_owned)
        };
        let mut records = Records::new();
        for item in items.iter().filter(|item| of(item, "STAGE#").is_some()) {
            let record = stage_of(item)?;
            records.insert(record.ref_id.clone(), record);
        }
        for item in items
            .iter()
            .filter(|item| item.get("manual") == Some(&Value::Bool(true)))
        {
            let skipped = of(item, "SKIP#").and_then(|ref_id| records.get_mut(&ref_id));
            if let Some(record) = skipped {
                record.skipped_by = item.get("by").and_then(Value::as_str).map(str::to_owned);
            }
        }
        Ok(records)
    }

    /// One stage's record.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn stage(
        &self,
        id: &ExecutionId,
        ref_id: &str,
    ) -> Result<Option<StageRecord>, CloudError> {
        self.table
            .get(&Key::stage(id, ref_id))
            .await?
            .map(|item| stage_of(&item))
            .transpose()
    }

    /// Takes the stage for one invocation: nobody else may act on it until the lease ends or is given back.
    ///
    /// `known` is the record as just read, or none. The first lease makes the record and starts the stage at `now`.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn take_lease(
        &self,
        run: &Run,
        ref_id: &str,
        lease: &Lease,
        now: i64,
    ) -> Result<LeaseAnswer, CloudError> {
        let key = Key::stage(&run.execution, ref_id);
        let known = self.stage(&run.execution, ref_id).await?;
        if let Some(record) = &known {
            if record.status.is_complete() {
                return Ok(LeaseAnswer::Over);
            }
            if let Some(held) = record
                .lease
                .as_ref()
                .filter(|held| held.until > now && held.holder != lease.holder)
            {
                return Ok(LeaseAnswer::Held(held.clone()));
            }
        }
        let mut record = known
            .clone()
            .unwrap_or_else(|| StageRecord::not_started(ref_id));
        let previous = record.lease.take();
        record.lease = Some(lease.clone());
        record.status = Status::Running;
        record.run = run.number;
        record.start_time.get_or_insert(now);
        record.attempts = record.attempts.saturating_add(1);
        let mut write = Write::put(key, stage_item(&record)?);
        write = match (&known, &previous) {
            (None, _) => write.only_if(Condition::no_item()),
            // Nobody else may have taken it since we read it, whether the old lease ran out or was given back.
            (Some(_), Some(old)) => {
                write.only_if(Condition::equals("leaseHolder", old.holder.as_str()))
            }
            (Some(known), None) => write
                .only_if(Condition::Absent("leaseHolder".to_owned()))
                .only_if(Condition::equals("attempts", known.attempts)),
        };
        match self.table.write(write).await {
            Ok(()) => Ok(LeaseAnswer::Taken(Box::new(record))),
            Err(CloudError::ConditionFailed { .. }) => {
                match self.stage(&run.execution, ref_id).await? {
                    Some(record) if record.status.is_complete() => Ok(LeaseAnswer::Over),
                    // A write whose answer was lost is ours all the same.
                    Some(record) if record.lease.as_ref() == Some(lease) => {
                        Ok(LeaseAnswer::Taken(Box::new(record)))
                    }
                    Some(StageRecord {
                        lease: Some(held), ..
                    }) => Ok(LeaseAnswer::Held(held)),
                    _ => Ok(LeaseAnswer::Held(Lease {
                        holder: "another invocation".to_owned(),
                        until: now,
                    })),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a stage's record, if the invocation still holds it. False if it does not: what it found is stale.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_stage(
        &self,
        id: &ExecutionId,
        record: &StageRecord,
        holder: &str,
    ) -> Result<bool, CloudError> {
        let write = Write::put(Key::stage(id, &record.ref_id), stage_item(record)?)
            .only_if(Condition::equals("leaseHolder", holder))
            .only_if(Condition::equals("status", Status::Running.as_str()));
        match self.table.write(write).await {
            Ok(()) => Ok(true),
            Err(CloudError::ConditionFailed { .. }) => {
                // The first try may have taken effect with its answer lost.
                Ok(self.stage(id, &record.ref_id).await?.as_ref() == Some(record))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a record that never ran: skipped, or settled by `finalize`. Only if it is not complete.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn settle_stage(
        &self,
        id: &ExecutionId,
        record: &StageRecord,
    ) -> Result<bool, CloudError> {
        let complete = [
            Status::Canceled,
            Status::Succeeded,
            Status::Stopped,
            Status::Skipped,
            Status::Terminal,
            Status::FailedContinue,
        ];
        let conditions: Vec<Condition> = complete
            .iter()
            .map(|status| Condition::Differs("status".to_owned(), status.as_str().into()))
            .collect();
        let mut write = Write::put(Key::stage(id, &record.ref_id), stage_item(record)?);
        write.conditions = conditions;
        held(self.table.write(write).await)
    }

    /// Gives a running stage, as it was read, to another run. False if anything changed since.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn hand_over_stage(
        &self,
        id: &ExecutionId,
        record: &StageRecord,
        run: u32,
    ) -> Result<bool, CloudError> {
        let write = Write::set(
            Key::stage(id, &record.ref_id),
            object(json!({ "run": run })),
        )
        .only_if(Condition::equals("status", Status::Running.as_str()))
        .only_if(Condition::equals("attempts", record.attempts));
        held(self.table.write(write).await)
    }

    /// Removes a stage's record: a restart begins it anew.
    ///
    /// # Errors
    /// Those of the table.
    pub(crate) async fn reset_stage(
        &self,
        id: &ExecutionId,
        ref_id: &str,
    ) -> Result<(), CloudError> {
        self.table
            .write(Write::delete(Key::stage(id, ref_id)))
            .await
    }

    // --- intents ---------------------------------------------------------------------------------------------

    /// Appends an intent, in one transaction with the fence: this run is the current one and nobody has set
    /// `ending`. An intent of the same stage and action is found, not written again.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn write_intent(
        &self,
        run: &Run,
        intent: &Intent,
    ) -> Result<IntentAnswer, CloudError> {
        let key = Key::intent(&run.execution, &intent.stage, &intent.action);
        let fence = Write::check(Key::execution(&run.execution))
            .only_if(Condition::equals("run", run.number))
            .only_if(Condition::Absent("ending".to_owned()));
        let put = Write::put(key.clone(), intent_item(intent)?).only_if(Condition::Any(vec![
            Condition::no_item(),
            Condition::equals("closed", true),
        ]));
        match self.table.transact(vec![fence, put]).await {
            Ok(()) => Ok(IntentAnswer::Written),
            Err(CloudError::ConditionFailed { .. }) => {
                let Some(execution) = self.execution(&run.execution).await? else {
                    return Ok(IntentAnswer::Ending);
                };
                if execution.run != run.number || execution.ending.is_some() {
                    return Ok(IntentAnswer::Ending);
                }
                let known = self
                    .table
                    .get(&key)
                    .await?
                    .map(|item| intent_of(&item))
                    .transpose()?;
                Ok(
                    known.map_or(IntentAnswer::Ending, |known| IntentAnswer::Known {
                        done: known.done,
                    }),
                )
            }
            Err(error) => Err(error),
        }
    }

    /// Marks that the intent's call took effect.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn intent_done(
        &self,
        id: &ExecutionId,
        stage: &str,
        action: &str,
    ) -> Result<(), CloudError> {
        let write = Write::set(
            Key::intent(id, stage, action),
            object(json!({ "done": true })),
        )
        .only_if(Condition::item());
        held(self.table.write(write).await).map(|_| ())
    }

    /// Closes an intent: nothing is left to undo. `result` says what the undo did.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn close_intent(
        &self,
        id: &ExecutionId,
        stage: &str,
        action: &str,
        result: Option<&str>,
    ) -> Result<(), CloudError> {
        let mut set = object(json!({ "closed": true }));
        if let Some(result) = result {
            set.insert("result".to_owned(), result.into());
        }
        let write = Write::set(Key::intent(id, stage, action), set).only_if(Condition::item());
        held(self.table.write(write).await).map(|_| ())
    }

    /// All intents of an execution, oldest first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn intents(&self, id: &ExecutionId) -> Result<Vec<Intent>, CloudError> {
        let items = self
            .table
            .query(&Key::execution_partition(id), "INTENT#")
            .await?;
        let mut intents: Vec<Intent> = items.iter().map(intent_of).collect::<Result<_, _>>()?;
        intents.sort_by(|a, b| (a.at, &a.stage, &a.action).cmp(&(b.at, &b.stage, &b.action)));
        Ok(intents)
    }

    // --- task tokens -----------------------------------------------------------------------------------------

    /// Keeps the task token of a stage's current Task. Stages write it; only `wake` may read it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn put_token(&self, run: &Run, ref_id: &str, token: &str) -> Result<(), CloudError> {
        self.table
            .write(Write::put(
                Key::token(run, ref_id),
                object(json!({ "token": token })),
            ))
            .await
    }

    /// The task token of a stage's current Task. Only `wake` may call this (`dynamodb:LeadingKeys`).
    ///
    /// # Errors
    /// Those of the table.
    pub async fn token(&self, run: &Run, ref_id: &str) -> Result<Option<String>, CloudError> {
        let item = self.table.get(&Key::token(run, ref_id)).await?;
        Ok(item.and_then(|item| item.get("token").and_then(Value::as_str).map(str::to_owned)))
    }
}

/// True if the write was made, false if its condition did not hold.
fn held(answer: Result<(), CloudError>) -> Result<bool, CloudError> {
    match answer {
        Ok(()) => Ok(true),
        Err(CloudError::ConditionFailed { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn execution_item(execution: &Execution) -> Result<Item, CloudError> {
    let mut item = object(read("execution", json!(execution))?);
    item.insert("timeKey".to_owned(), execution.build_time.into());
    item.insert(
        "applicationKey".to_owned(),
        format!("APP#{}", execution.application).into(),
    );
    item.insert(
        "pipelineKey".to_owned(),
        format!("PIPELINE#{}", execution.pipeline_id).into(),
    );
    if !execution.status.is_complete() {
        item.insert(Index::Running.attribute().to_owned(), RUNNING.into());
    }
    Ok(item)
}

fn execution_of(item: &Item) -> Result<Execution, CloudError> {
    read("execution", Value::Object(item.clone()))
}

fn stage_item(record: &StageRecord) -> Result<Item, CloudError> {
    let mut item = object(json!({
        "refId": record.ref_id,
        "status": record.status.as_str(),
        "run": record.run,
        "attempts": record.attempts,
        "context": text(&record.context)?,
        "outputs": text(&record.outputs)?,
        "memory": text(&record.memory)?,
    }));
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    put(
        "taskStatus",
        record.task_status.map(|status| status.as_str().into()),
    );
    put("startTime", record.start_time.map(Value::from));
    put("endTime", record.end_time.map(Value::from));
    put("waiting", record.waiting.clone().map(Value::from));
    put(
        "leaseHolder",
        record
            .lease
            .as_ref()
            .map(|lease| lease.holder.clone().into()),
    );
    put(
        "leaseUntil",
        record.lease.as_ref().map(|lease| lease.until.into()),
    );
    put("failure", record.failure.as_ref().map(text).transpose()?);
    Ok(item)
}

fn stage_of(item: &Item) -> Result<StageRecord, CloudError> {
    let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    let map = |name: &str| -> Result<Map<String, Value>, CloudError> {
        Ok(from_text(item, name)?.unwrap_or_default())
    };
    let lease = match (
        item.get("leaseHolder").and_then(Value::as_str),
        item.get("leaseUntil").and_then(Value::as_i64),
    ) {
        (Some(holder), Some(until)) => Some(Lease {
            holder: holder.to_owned(),
            until,
        }),
        _ => None,
    };
    Ok(StageRecord {
        ref_id: read("refId", field("refId"))?,
        status: read("status", field("status"))?,
        task_status: read("taskStatus", field("taskStatus"))?,
        run: read("run", field("run"))?,
        start_time: read("startTime", field("startTime"))?,
        end_time: read("endTime", field("endTime"))?,
        context: map("context")?,
        outputs: map("outputs")?,
        memory: map("memory")?,
        waiting: read("waiting", field("waiting"))?,
        attempts: read("attempts", field("attempts"))?,
        lease,
        skipped_by: None,
        failure: from_text(item, "failure")?,
    })
}

fn intent_item(intent: &Intent) -> Result<Item, CloudError> {
    let mut item = object(read("intent", json!(intent))?);
    item.insert("undo".to_owned(), text(&intent.undo)?);
    Ok(item)
}

fn intent_of(item: &Item) -> Result<Intent, CloudError> {
    let mut item = item.clone();
    let undo: Option<Value> = from_text(&item, "undo")?;
    item.insert("undo".to_owned(), undo.unwrap_or(Value::Null));
    read("intent", Value::Object(item))
}
