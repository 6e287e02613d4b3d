//! Plays Step Functions: calls a stage through the real runtime until it is done, with retries as the definition has
//! them, in the world's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Key, Store, Table, Write};
use gennaker_domain::error_name;
use gennaker_domain::rollup::Records;
use gennaker_domain::{Ending, ExecutionId, Intent, Plan, PlanStage, Run, Status};
use gennaker_lambda::{Call, Runtime, Stage, Wake};
use serde_json::{Map, Value, json};

use crate::{Behaviour, Fault, Faults, MemoryTable, Moment, World, sample};

/// When an execution of a drive of its own begins.
const NOW: i64 = 1_800_000_000_000;
/// Milliseconds that a function may take, and so a lease lasts.
const FUNCTION_MILLIS: i64 = 5_000;
/// Calls after which a stage is given up: more than two hours of ten-second polls.
const CALLS: usize = 1_000;
/// `States.ALL` has so many attempts for the whole Task.
const UNEXPECTED_ATTEMPTS: usize = 8;

/// How a stage's Task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Ok.
    Done,
    /// With an error that is not retried.
    Failed(String),
    /// Its retries ran out; the last error.
    GaveUp(String),
}

/// Nobody sleeps in a test of one stage.
struct NobodyToWake;

#[async_trait]
impl Wake for NobodyToWake {
    async fn wake(&self, _event: Value) -> Result<(), CloudError> {
        Ok(())
    }
}

/// One execution in one world.
#[derive(Debug)]
pub struct Drive {
    /// The world.
    pub world: World,
    /// The table.
    pub table: MemoryTable,
    /// Faults of both.
    pub faults: Faults,
    run: Run,
    calls: AtomicUsize,
}

/// A top-level stage of a plan.
#[must_use]
pub fn stage(ref_id: &str, stage_type: &str, function: &str, context: Value) -> PlanStage {
    PlanStage {
        ref_id: ref_id.to_owned(),
        stage_type: stage_type.to_owned(),
        name: ref_id.to_owned(),
        parent: None,
        owner: None,
        requisites: Vec::new(),
        function: Some(function.to_owned()),
        woken: false,
        joins: false,
        starts_after: Vec::new(),
        opens: Vec::new(),
        defers_failure: false,
        conditions: Vec::new(),
        fills: Vec::new(),
        context: match context {
            Value::Object(map) => map,
            _ => Map::new(),
        },
    }
}

impl Drive {
    /// An execution of these stages that runs, in a world of its own with account `prod`.
    ///
    /// # Errors
    /// None in practice: the table does not fail here.
    pub async fn new(behaviour: Behaviour, stages: Vec<PlanStage>) -> Result<Self, CloudError> {
        let plan = Plan {
            stages,
            ..sample::plan(json!([]))
        };
        let faults = Faults::none();
        let world = World::new(NOW, behaviour, faults.clone());
        let drive = Self::of_plan(world, faults, &plan).await?;
        let account = json!({ "accountId": "123456789012", "regions": ["us-east-1"] });
        drive.put("ACCOUNT#prod", "META", &account).await?;
        Ok(drive)
    }

    /// An execution of this plan that runs, in this world, whose calls count, and fail, with `faults`. There are no
    /// accounts.
    ///
    /// # Errors
    /// None in practice: the table does not fail here.
    pub async fn of_plan(world: World, faults: Faults, plan: &Plan) -> Result<Self, CloudError> {
        let table = MemoryTable::with_faults(faults.clone());
        Self::begin(world, table, faults, plan, json!({})).await
    }

    /// Another execution in the same world and on the same table, of this plan and started by this trigger, that runs.
    ///
    /// # Errors
    /// None in practice.
    pub async fn another(&self, plan: &Plan, trigger: Value) -> Result<Self, CloudError> {
        let (world, table) = (self.world.clone(), self.table.clone());
        Self::begin(world, table, self.faults.clone(), plan, trigger).await
    }

    async fn begin(
        world: World,
        table: MemoryTable,
        faults: Faults,
        plan: &Plan,
        trigger: Value,
    ) -> Result<Self, CloudError> {
        let now = world.now();
        let store = Store::new(Arc::new(table.without_faults()));
        // One execution starts at a time, in the world's time.
        let id = ExecutionId::derive(now, &["drive", &plan.pipeline]);
        let execution = sample::started_by(&store, plan, id, &trigger, now).await?;
        Ok(Self {
            world,
            table,
            faults,
            run: execution.id.run(1),
            calls: AtomicUsize::new(0),
        })
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The store, never failing.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.table.without_faults()))
    }

    /// Puts an item into the table, whatever was there.
    ///
    /// # Errors
    /// None in practice.
    pub async fn put(&self, partition: &str, sort: &str, item: &Value) -> Result<(), CloudError> {
        let item = item.as_object().cloned().unwrap_or_default();
        self.table
            .without_faults()
            .write(Write::put(Key::new(partition, sort), item))
            .await
    }

    /// Sets the application's record: Spinnaker's JSON of it.
    ///
    /// # Errors
    /// None in practice.
    pub async fn set_application(&self, config: &Value) -> Result<(), CloudError> {
        let item = Map::from_iter([("config".to_owned(), Value::from(config.to_string()))]);
        self.table
            .without_faults()
            .write(Write::put(Key::application("shop"), item))
            .await
    }

    /// The records of all stages.
    ///
    /// # Errors
    /// None in practice.
    pub async fn records(&self) -> Result<Records, CloudError> {
        self.store().stages(&self.run.execution).await
    }

    /// All intents, oldest first.
    ///
    /// # Errors
    /// None in practice.
    pub async fn intents(&self) -> Result<Vec<Intent>, CloudError> {
        self.store().intents(&self.run.execution).await
    }

    /// The runtime around a stage, as its function has it.
    pub fn runtime<S: Stage>(&self, stage: S) -> Runtime<S> {
        let store = Store::new(Arc::new(self.table.clone()));
        Runtime::new(stage, store, Arc::new(NobodyToWake), "gennaker")
    }

    /// One call of a stage: none for Ok, or error name and message.
    pub async fn call<S: Stage>(
        &self,
        runtime: &Runtime<S>,
        event: &Value,
    ) -> Option<(&'static str, String)> {
        let now = self.world.now();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let call = Call {
            event: event.clone(),
            request_id: format!("request-{number}"),
            deadline: now.saturating_add(FUNCTION_MILLIS),
            now,
        };
        let answer = runtime.handle(&call).await;
        // Whatever died, the next call is a new process.
        self.faults.revive();
        answer.err().map(|refusal| (refusal.name, refusal.message))
    }

    /// Calls a stage until its Task ends.
    pub async fn to_end<S: Stage>(&self, runtime: &Runtime<S>, ref_id: &str) -> End {
        self.to_end_repeating(runtime, ref_id, 1).await
    }

    /// As [`Self::to_end`], each invocation this many times in a row: whoever invokes may not have heard the answer.
    pub async fn to_end_repeating<S: Stage>(
        &self,
        runtime: &Runtime<S>,
        ref_id: &str,
        times: usize,
    ) -> End {
        let event = json!({ "run": self.run, "stage": ref_id });
        self.until_over(runtime, &event, times).await
    }

    async fn until_over<S: Stage>(&self, runtime: &Runtime<S>, event: &Value, times: usize) -> End {
        let mut unexpected = 0;
        let mut last = String::new();
        for _ in 0..CALLS {
            for _ in 1..times {
                self.call(runtime, event).await;
            }
            let Some((name, message)) = self.call(runtime, event).await else {
                return End::Done;
            };
            let pause = match name {
                error_name::WAITING_10S => 10,
                error_name::WAITING_1M => 60,
                error_name::WAITING_10M => 600,
                error_name::THROTTLED => 5,
                error_name::STAGE_FAILED | error_name::INVALID_CONFIGURATION => {
                    return End::Failed(message);
                }
                _ => {
                    unexpected += 1;
                    if unexpected > UNEXPECTED_ATTEMPTS {
                        return End::GaveUp(message);
                    }
                    2
                }
            };
            last = message;
            self.world.advance(pause * 1_000);
        }
        End::GaveUp(last)
    }

    /// Says that the execution ends so: nothing new may begin.
    ///
    /// # Errors
    /// None in practice.
    pub async fn end(&self, status: Status) -> Result<(), CloudError> {
        let ending = Ending {
            status,
            reason: "said so".to_owned(),
            by: "a test".to_owned(),
            at: self.world.now(),
        };
        self.store().set_ending(&self.run, &ending).await?;
        Ok(())
    }

    /// Ends the execution and undoes every open intent of a stage, newest first, as finalize does.
    ///
    /// # Errors
    /// None in practice.
    pub async fn undo<S: Stage>(
        &self,
        runtime: &Runtime<S>,
        ref_id: &str,
    ) -> Result<End, CloudError> {
        self.end(Status::Canceled).await?;
        // The leases of open intents run out first.
        self.world.advance(FUNCTION_MILLIS);
        loop {
            let open = self
                .intents()
                .await?
                .into_iter()
                .rfind(|intent| intent.stage == ref_id && !intent.closed);
            let Some(intent) = open else {
                return Ok(End::Done);
            };
            let event = json!({ "run": self.run, "stage": ref_id, "undo": intent.action });
            match self.until_over(runtime, &event, 1).await {
                End::Done => {}
                other => return Ok(other),
            }
        }
    }
}

/// A fault to strike at one call of a scenario.
pub type Strike = (usize, Moment, Fault);

/// Runs a scenario once without a fault, then again with a crash at each of its calls, before the call takes effect
/// and after, and with a throttle. The scenario plans the fault it is given, makes its assertions, and answers the
/// number of calls it made. Answers how many faults were tried.
pub async fn fault_everywhere<F, Fut>(scenario: F) -> usize
where
    F: Fn(Option<Strike>) -> Fut,
    Fut: Future<Output = usize>,
{
    let calls = scenario(None).await;
    let mut tried = 0;
    for call in 0..calls {
        for (moment, fault) in [
            (Moment::Before, Fault::Crash),
            (Moment::After, Fault::Crash),
            (Moment::Before, Fault::Throttle),
        ] {
            scenario(Some((call, moment, fault))).await;
            tried += 1;
        }
    }
    tried
}
