#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::step_functions::{AwsStepFunctions, execution_arn};
use gennaker_cloud::{Functions, StepFunctions, Store};
use gennaker_domain::approval::Choice;
use gennaker_domain::child::CANCELED_BY;
use gennaker_domain::rollup::{Readiness, Rollup};
use gennaker_domain::{
    Ending, Execution, ExecutionId, Plan, PlanStage, Problem, Run, StageRecord, Status,
};
use gennaker_http::{Callers, StsCallers};
use gennaker_lambda::{Connection, Function, FunctionError, HttpEvent, caller};
use serde_json::{Value, json};

pub mod front;
mod judge;

pub use front::Front;
use judge::Asked;

/// Records what people decide about a running execution.
pub struct Decide {
    store: Store,
    step_functions: Arc<dyn StepFunctions>,
    functions: Arc<dyn Functions>,
    callers: Option<Arc<dyn Callers>>,
    prefix: String,
    front: Option<Front>,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request<'a> {
    Judge {
        stage: &'a str,
        asked: Asked<'a>,
    },
    Page {
        stage: &'a str,
    },
    Skip {
        stage: &'a str,
        whole: bool,
    },
    Cancel {
        reason: Option<&'a str>,
        force: bool,
    },
    Pause(bool),
}

fn request(event: &Value) -> Result<Request<'_>, FunctionError> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let set = |name: &str| event.get(name) == Some(&Value::Bool(true));
    let stage = || {
        text("stage").ok_or_else(|| FunctionError::Invalid("the event has no `stage`".to_owned()))
    };
    if let Some(decision) = text("decision") {
        let choice = Choice::parse(decision).ok_or_else(|| {
            FunctionError::Invalid(format!("`{decision}` is no decision: `continue` or `stop`"))
        })?;
        let given = |name: &str| text(name).filter(|text| !text.is_empty());
        return Ok(Request::Judge {
            stage: stage()?,
            asked: Asked {
                choice,
                input: given("input"),
                reason: given("reason"),
            },
        });
    }
    if set("page") {
        return Ok(Request::Page { stage: stage()? });
    }
    let whole = set("manualSkip");
    if set("skip") || whole {
        return Ok(Request::Skip {
            stage: stage()?,
            whole,
        });
    }
    if set("cancel") {
        return Ok(Request::Cancel {
            reason: text("reason").filter(|reason| !reason.is_empty()),
            force: set("force"),
        });
    }
    match (set("pause"), set("resume")) {
        (true, false) => Ok(Request::Pause(true)),
        (false, true) => Ok(Request::Pause(false)),
        _ => Err(FunctionError::Invalid(
            "the event asks for nothing: `decision`, `skip`, `cancel`, `pause` or `resume`"
                .to_owned(),
        )),
    }
}

/// The run that works on a stage: a restart of a running execution leaves what runs to the run before.
fn works_in(current: &Run, record: &StageRecord) -> Run {
    match record.run {
        0 => current.clone(),
        earlier => current.execution.run(earlier),
    }
}

fn refused(problem: &Problem) -> Value {
    json!({ "problems": [problem] })
}

impl Decide {
    /// On a store, Step Functions and the functions of an installation. It knows nobody who calls.
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
            callers: None,
            prefix: prefix.into(),
            front: None,
        }
    }

    /// With what the internet may call: Slack's clicks and the page.
    #[must_use]
    pub fn with_front(self, front: Front) -> Self {
        Self {
            front: Some(front),
            ..self
        }
    }

    /// With what tells who calls.
    #[must_use]
    pub fn with_callers(self, callers: Arc<dyn Callers>) -> Self {
        Self {
            callers: Some(callers),
            ..self
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
        .with_callers(Arc::new(StsCallers::connect(
            connection,
            gennaker_lambda::prefix(),
        )))
        .with_front(Front::connect(connection))
    }

    /// One decision; see the README for the events and answers.
    ///
    /// # Errors
    /// Those of the table, of Lambda and of Step Functions: the same event again finishes what was begun.
    pub async fn decide(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        let request = request(event)?;
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let id = text("execution")
            .ok_or_else(|| FunctionError::Invalid("the event has no `execution`".to_owned()))?;
        let id = ExecutionId::try_from(id.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        let Some(execution) = self.store.execution(&id).await? else {
            return Ok(refused(&Problem::error(
                "unknown-execution",
                "$.execution",
                format!("execution `{id}` not found"),
            )));
        };
        let person =
            match caller(self.callers.as_deref(), &self.store, ("decide", event), now).await? {
                Ok(person) => person,
                Err(problem) => return Ok(refused(&problem)),
            };
        let user = match text("user") {
            // A function of ours, and nobody's name.
            Some(CANCELED_BY) if person.name.is_none() => CANCELED_BY,
            _ => person.shown(),
        };
        let run = id.run(execution.run);
        match request {
            Request::Judge { stage, asked } => {
                self.judge_stage(&execution, &run, stage, asked, &person, now)
                    .await
            }
            Request::Page { stage } => {
                self.personal_page(&execution, &run, stage, &person, now)
                    .await
            }
            Request::Skip { stage, whole } => {
                self.skip(&execution, &run, stage, whole, user, now).await
            }
            Request::Cancel { reason, force } => {
                let ending = Ending {
                    status: Status::Canceled,
                    reason: reason.map_or_else(|| format!("canceled by {user}"), str::to_owned),
                    by: user.to_owned(),
                    at: now,
                };
                if force {
                    self.force(&execution, &run, &ending).await
                } else {
                    self.cancel(&execution, &run, &ending).await
                }
            }
            Request::Pause(paused) => {
                let changed = self.store.set_paused(&id, paused, user, now).await?;
                if !paused {
                    // Those that sleep would look again only when their time runs out. Also when nothing changed: the
                    // call that changed it may have died here.
                    self.call_sleepers(&execution, &run).await?;
                }
                Ok(json!({ "executionId": id, "paused": paused, "changed": changed }))
            }
        }
    }

    async fn skip(
        &self,
        execution: &Execution,
        run: &Run,
        ref_id: &str,
        whole: bool,
        user: &str,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let plan = self.plan(execution).await?;
        let stage = match self.open_stage(execution, &plan, ref_id) {
            Ok(stage) => stage,
            Err(problem) => return Ok(refused(&problem)),
        };
        let record = self.store.stage(&run.execution, ref_id).await?;
        let skippable = || {
            let context = record.as_ref().map(|record| &record.context);
            context.and_then(|context| context.get("skippable")) == Some(&Value::Bool(true))
        };
        let running = record
            .as_ref()
            .is_some_and(|record| !record.status.is_complete());
        if running && (whole || stage.stage_type == "pipeline") {
            let problem = if stage.stage_type != "pipeline" {
                Some("only a `pipeline` stage may be skipped as a whole")
            } else if skippable() {
                None
            } else {
                Some("this stage may not be skipped")
            };
            if let Some(message) = problem {
                return Ok(refused(
                    &Problem::error("not-skippable", "$.stage", message)
                        .at_stage(ref_id)
                        .with_hint("`\"skippable\": true` in the stage allows it"),
                ));
            }
        }
        let Some(record) = record.filter(|record| !record.status.is_complete()) else {
            return Ok(refused(
                &Problem::error("not-waiting", "$.stage", "this stage does not wait now")
                    .at_stage(ref_id),
            ));
        };
        let works = works_in(run, &record);
        if whole || stage.stage_type == "pipeline" {
            self.store.skip_whole_stage(run, ref_id, user, now).await?;
        } else {
            self.store.skip_stage(run, ref_id, user, now).await?;
        }
        self.call_stage(&works, stage).await?;
        Ok(json!({ "skipped": ref_id }))
    }

    /// Calls the stages whose Tasks sleep: they look at everything again.
    async fn call_sleepers(&self, execution: &Execution, run: &Run) -> Result<(), FunctionError> {
        if execution.status.is_complete() || execution.ending.is_some() {
            return Ok(());
        }
        let plan = self.plan(execution).await?;
        let records = self.store.stages(&run.execution).await?;
        let rollup = Rollup::new(&plan, &records);
        for stage in plan.stages.iter().filter(|stage| stage.woken) {
            let works = match records.get(&stage.ref_id) {
                Some(record) if record.status.is_complete() => continue,
                Some(record) => works_in(run, record),
                None if rollup.readiness(&stage.ref_id) == Readiness::Ready => run.clone(),
                None => continue,
            };
            match self.call_stage(&works, stage).await {
                Err(FunctionError::Cloud(error)) if !error.is_passing() => {
                    // It looks again when its time runs out.
                    tracing::warn!(execution = %run.execution, stage = stage.ref_id, reason = %error, "not called");
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Ends the execution at once, without waiting for anybody and without undoing anything: for one that nothing
    /// else ends. Whatever still works on it finds that it is over; open intents stay in the log for a person.
    async fn force(
        &self,
        execution: &Execution,
        run: &Run,
        ending: &Ending,
    ) -> Result<Value, FunctionError> {
        let id = &execution.id;
        if execution.status == Status::NotStarted || execution.status.is_complete() {
            return self.cancel(execution, run, ending).await;
        }
        let set = self.store.set_ending(run, ending).await?;
        self.stop(execution, run, ending).await?;
        for record in self.store.stages(id).await?.into_values() {
            if record.status == Status::Running {
                let record = StageRecord {
                    status: Status::Canceled,
                    task_status: Some(Status::Canceled),
                    end_time: Some(ending.at),
                    waiting: None,
                    lease: None,
                    ..record
                };
                self.store.settle_stage(id, &record).await?;
            }
        }
        self.store.settle(run, Status::Canceled, ending.at).await?;
        self.store.note_cancel(id).await?;
        Ok(json!({ "executionId": id, "status": Status::Canceled, "ending": set, "forced": true }))
    }

    /// Sets `ending` first, so that nothing new begins, and stops the machine after.
    async fn cancel(
        &self,
        execution: &Execution,
        run: &Run,
        ending: &Ending,
    ) -> Result<Value, FunctionError> {
        let id = &execution.id;
        if execution.status.is_complete() {
            // The status stays; that somebody asked is shown beside it.
            self.store.note_cancel(id).await?;
            return Ok(json!({ "executionId": id, "already": execution.status }));
        }
        if execution.status == Status::NotStarted {
            let queue = self.store.queue(&execution.pipeline_id).await?;
            let queued = queue.into_iter().find(|queued| queued.execution == *id);
            // Where the newest supersedes the others, also a cancelled one is superseded, and supersedes, as in Orca.
            let keeps_place = !self.plan(execution).await?.keep_waiting_pipelines;
            if let Some(queued) = queued
                && self
                    .store
                    .cancel_queued(execution, &queued, ending, keeps_place)
                    .await?
            {
                // It never ran, so no machine's end says so. The sweep does it if this fails.
                let told = self
                    .functions
                    .invoke_later(
                        &function_name(&self.prefix, "finalize"),
                        &json!({ "ended": id }),
                    )
                    .await;
                if let Err(error) = told {
                    tracing::warn!(execution = %id, reason = %error, "its end is left to the sweep");
                }
                return Ok(json!({ "executionId": id, "status": Status::Canceled }));
            }
            // It left the queue while we looked: it runs, or it ended.
            let now_is = self.store.execution(id).await?;
            return match now_is {
                Some(now_is) if now_is.status != Status::NotStarted => {
                    Box::pin(self.cancel(&now_is, &id.run(now_is.run), ending)).await
                }
                _ => Err(FunctionError::Cloud(gennaker_cloud::CloudError::Conflict)),
            };
        }
        let set = self.store.set_ending(run, ending).await?;
        self.stop(execution, run, ending).await?;
        Ok(json!({ "executionId": id, "status": execution.status, "ending": set }))
    }

    async fn stop(
        &self,
        execution: &Execution,
        run: &Run,
        ending: &Ending,
    ) -> Result<(), FunctionError> {
        if let Some(arn) = execution_arn(&execution.state_machine, &run.to_string()) {
            self.step_functions
                .stop(&arn, "Canceled", &ending.reason)
                .await?;
        }
        Ok(())
    }

    async fn plan(&self, execution: &Execution) -> Result<Plan, FunctionError> {
        self.store.plan(&execution.plan_hash).await?.ok_or_else(|| {
            FunctionError::Invalid(format!("plan {} not found", execution.plan_hash))
        })
    }

    /// The stage, if the execution still runs and the stage has a function to call.
    fn open_stage<'a>(
        &self,
        execution: &Execution,
        plan: &'a Plan,
        ref_id: &str,
    ) -> Result<&'a PlanStage, Box<Problem>> {
        let Some(stage) = plan.stage(ref_id).filter(|stage| stage.function.is_some()) else {
            let known: Vec<&str> = plan
                .stages
                .iter()
                .filter(|stage| stage.function.is_some())
                .map(|stage| stage.ref_id.as_str())
                .collect();
            return Err(Problem::error(
                "unknown-stage",
                "$.stage",
                format!("the execution has no stage `{ref_id}` of its own"),
            )
            .with_hint(format!("one of: {}", known.join(", ")))
            .into());
        };
        if execution.status.is_complete() || execution.ending.is_some() {
            return Err(Problem::error(
                "execution-ended",
                "$.execution",
                format!("execution `{}` is over or ending", execution.id),
            )
            .into());
        }
        Ok(stage)
    }

    /// Calls the stage's function without a token: it reads what was decided and completes its record.
    async fn call_stage(&self, run: &Run, stage: &PlanStage) -> Result<(), FunctionError> {
        let Some(function) = &stage.function else {
            return Ok(());
        };
        self.functions
            .invoke_later(
                &function_name(&self.prefix, function),
                &json!({ "run": run, "stage": stage.ref_id }),
            )
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Function for Decide {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        // What came from the internet is never taken for a call of somebody whom IAM lets.
        if HttpEvent::is_request(&event) {
            return Ok(self.answer(&event, now).await.to_json());
        }
        self.decide(&event, now).await
    }
}
