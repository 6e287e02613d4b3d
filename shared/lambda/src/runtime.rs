//! The stage runtime: what happens around every call of a stage.
//!
//! In order: the event is read; a stale run and an ending execution are answered with Ok; a complete stage answers from
//! its record; predecessors are looked at; a pause waits; `stageEnabled` is asked; the lease is taken; expressions
//! are resolved once; the stage is called; its answer is written, joins are woken, and the error name that Step
//! Functions understands is returned.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use gennaker_cloud::store::LeaseAnswer;
use gennaker_cloud::{CloudError, Store};
use gennaker_domain::deployment::facts;
use gennaker_domain::deployment::strategy::Condition;
use gennaker_domain::error_name::{self, Poll};
use gennaker_domain::occasion;
use gennaker_domain::policy::fails_on_expressions;
use gennaker_domain::rollup::{Readiness, Records, Rollup};
use gennaker_domain::{
    Ending, Execution, Failure, FailurePolicy, Lease, Plan, PlanStage, Run, StageRecord, Status,
};
use serde_json::{Map, Value, json};

use crate::metric;
use crate::parents;
use crate::resolve::{self, Processed, Resolver, Scope};
use crate::stage::{NOTHING_TO_DO, poll_within};
use crate::{Invocation, Stage, StageError, Step, Tell, Undo, Wake};

/// What a function answers Step Functions if not Ok.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One of [`error_name`].
    pub name: &'static str,
    /// What a person reads in the history.
    pub message: String,
}

impl Refusal {
    fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
        }
    }
}

impl From<CloudError> for Refusal {
    fn from(error: CloudError) -> Self {
        let name = if error.is_passing() {
            error_name::THROTTLED
        } else {
            error_name::UNEXPECTED
        };
        Self::new(name, error.to_string())
    }
}

/// One call, as Lambda hands it over.
#[derive(Clone, Debug)]
pub struct Call {
    /// `{run, stage}`, with `token` where the Task is woken, with `undo` in finalize.
    pub event: Value,
    /// Lambda's request id: the holder of the lease.
    pub request_id: String,
    /// When Lambda ends the invocation, UTC milliseconds.
    pub deadline: i64,
    /// Now, UTC milliseconds.
    pub now: i64,
}

/// Runs one stage's calls.
pub struct Runtime<S> {
    stage: S,
    store: Store,
    wake: Arc<dyn Wake>,
    tell: Option<Arc<dyn Tell>>,
    prefix: String,
    counts_failures: bool,
    plans: Mutex<HashMap<String, Arc<Plan>>>,
    resolver: Resolver,
}

impl<S> std::fmt::Debug for Runtime<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

/// Everything read about the execution at the start of a call.
struct Situation {
    /// The current run.
    run: Run,
    /// The run whose machine calls: an earlier one where a restart left its stage running.
    caller: Run,
    execution: Execution,
    plan: Arc<Plan>,
    records: Records,
    trigger: Value,
    processed: Option<Arc<Processed>>,
}

impl<S: Stage> Runtime<S> {
    /// A runtime around `stage`.
    pub fn new(stage: S, store: Store, wake: Arc<dyn Wake>, prefix: impl Into<String>) -> Self {
        Self {
            stage,
            store,
            wake,
            tell: None,
            prefix: prefix.into(),
            counts_failures: false,
            plans: Mutex::new(HashMap::new()),
            resolver: Resolver::new(),
        }
    }

    /// The same, counting failed stages on standard output, where CloudWatch Logs makes a metric of them.
    #[must_use]
    pub fn counting_failures(mut self) -> Self {
        self.counts_failures = true;
        self
    }

    /// The same, telling of every stage's start and end.
    #[must_use]
    pub fn telling(self, tell: Arc<dyn Tell>) -> Self {
        Self {
            tell: Some(tell),
            ..self
        }
    }

    /// The same with another resolver of expressions.
    #[must_use]
    pub fn with_resolver(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// One call. `Ok` is done (or nothing to do), a refusal carries the error name for Step Functions.
    ///
    /// # Errors
    /// `Waiting…` to be called again, `StageFailed` and `InvalidConfiguration` to fail, `Throttled` and `Unexpected`
    /// to try again.
    pub async fn handle(&self, call: &Call) -> Result<(), Refusal> {
        match AssertUnwindSafe(self.handle_inner(call))
            .catch_unwind()
            .await
        {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::new(
                error_name::UNEXPECTED,
                "the stage panicked; its record is untouched",
            )),
        }
    }

    async fn handle_inner(&self, call: &Call) -> Result<(), Refusal> {
        let text = |name: &str| call.event.get(name).and_then(Value::as_str);
        let (Some(run), Some(ref_id)) = (text("run"), text("stage")) else {
            return Err(Refusal::new(
                error_name::INVALID_CONFIGURATION,
                "the event has no `run` and `stage`",
            ));
        };
        let run = Run::try_from(run.to_owned())
            .map_err(|error| Refusal::new(error_name::INVALID_CONFIGURATION, error.to_string()))?;
        let Some(execution) = self.store.execution(&run.execution).await? else {
            return Err(Refusal::new(
                error_name::INVALID_CONFIGURATION,
                format!("execution `{}` not found", run.execution),
            ));
        };
        let plan = self.plan(&execution.plan_hash).await?;
        let (plan, processed) = self
            .resolver
            .plan_of(&self.store, &plan, &execution.id)
            .await?;
        let Some(stage) = plan.stage(ref_id).cloned() else {
            return Err(Refusal::new(
                error_name::INVALID_CONFIGURATION,
                format!("stage `{ref_id}` is not in the plan"),
            ));
        };
        if let Some(action) = text("undo") {
            let situation = Situation {
                records: self.store.stages(&run.execution).await?,
                trigger: Value::Null,
                caller: run.clone(),
                run,
                execution,
                plan,
                processed,
            };
            return self.undo(call, situation, &stage, action).await;
        }
        if let Some(token) = token(call).filter(|_| stage.woken) {
            self.store.put_token(&run, ref_id, token).await?;
        }
        let over = execution.ending.is_some() || execution.status.is_complete();
        // A restart of a running execution leaves what runs to the run that began it.
        let runs_on = || async {
            if run.number == 0 || run.number > execution.run {
                return Ok::<bool, CloudError>(false);
            }
            let record = self.store.stage(&run.execution, ref_id).await?;
            Ok(record
                .is_some_and(|record| record.status == Status::Running && record.run == run.number))
        };
        if over || (execution.run != run.number && !runs_on().await?) {
            // A straggler. An error could change how the execution ended; a sleeping Task is let go.
            tracing::info!(execution = %run.execution, stage = ref_id, "nothing to do: the execution is ending");
            return self.let_go(&run, &stage).await;
        }
        let records = self.store.stages(&run.execution).await?;
        let trigger = self
            .store
            .trigger(&run.execution)
            .await?
            .unwrap_or(Value::Null);
        let trigger = parents::complete(&self.store, stage.context.values(), trigger).await?;
        let situation = Situation {
            run: execution.id.run(execution.run),
            caller: run,
            execution,
            plan,
            records,
            trigger,
            processed,
        };
        self.step(call, &situation, &stage).await
    }

    async fn step(
        &self,
        call: &Call,
        situation: &Situation,
        stage: &PlanStage,
    ) -> Result<(), Refusal> {
        let Situation {
            run, plan, records, ..
        } = situation;
        let scope = self.scope(call, situation);
        if let Some(record) = records
            .get(&stage.ref_id)
            .filter(|record| record.status.is_complete())
        {
            return self.answer_from_record(situation, stage, record).await;
        }
        if let Some(before) = records
            .get(&stage.ref_id)
            .filter(|record| record.status == Status::Running)
            .filter(|record| record.run != situation.caller.number)
        {
            // Its own run carries it to its end, and wakes this one then.
            return self.wait(
                stage,
                Poll::TenSeconds,
                format!("runs on in run {}", before.run),
            );
        }
        // What has started runs on, whatever became of its requisites meanwhile.
        let readiness = if records.contains_key(&stage.ref_id) {
            Readiness::Ready
        } else {
            Rollup::new(plan, records).readiness(&stage.ref_id)
        };
        match readiness {
            Readiness::Ready => {}
            Readiness::Never { because_of } => {
                tracing::info!(execution = %run.execution, stage = stage.ref_id, because_of, "never starts: a requisite halted");
                return self.never_starts(call, situation, stage, &because_of).await;
            }
            Readiness::NotYet { missing } => {
                return self.wait(
                    stage,
                    Poll::TenSeconds,
                    format!("waits for {}", missing.join(", ")),
                );
            }
        }
        if situation.execution.paused {
            return self.paused(call, situation, stage);
        }
        if !records.contains_key(&stage.ref_id) && !self.enabled(situation, &scope, stage).await? {
            let record = StageRecord {
                status: Status::Skipped,
                waiting: Some("stageEnabled is not true".to_owned()),
                ..ended_unstarted(stage, run, call.now)
            };
            self.store.settle_stage(&run.execution, &record).await?;
            return self.after_completion(call, situation, stage, &record).await;
        }
        if !self.stage.serves(&stage.stage_type) {
            let reason = format!("there is no stage type `{}`", stage.stage_type);
            let record = StageRecord {
                status: Status::Terminal,
                failure: Some(Failure {
                    reason,
                    details: Value::Null,
                }),
                ..ended_unstarted(stage, run, call.now)
            };
            self.store.settle_stage(&run.execution, &record).await?;
            return self.after_completion(call, situation, stage, &record).await;
        }
        if !records.contains_key(&stage.ref_id) {
            // Before the lease: a try that dies in between is made again, and tells again.
            self.tell(stage, occasion::STAGE_STARTING, &situation.caller)
                .await;
        }
        let Some(mut record) = self.lease(call, situation, stage).await? else {
            return Ok(());
        };
        if let Some(skipped) = records
            .get(&stage.ref_id)
            .and_then(|r| r.skipped_by.clone())
        {
            return self.skipped(call, situation, stage, record, &skipped).await;
        }
        if record.context.is_empty() {
            let resolved = scope.resolve(stage).await?;
            record.context = resolved.context;
            if let Some(summary) = resolved.summary {
                record.context.insert(resolve::SUMMARY.to_owned(), summary);
            }
            // Before anybody acts on it: an invocation after a crash has to see the same values.
            let stored = !resolved.evaluated
                || self
                    .store
                    .save_stage(&run.execution, &record, &call.request_id)
                    .await?;
            if !stored {
                return self.wait(stage, Poll::TenSeconds, "the lease was lost".to_owned());
            }
        }
        if let Some(missing) = complete(plan, records, run, stage, &mut record) {
            let skipped = Step::skipped(format!("not so: {missing}"));
            return self
                .write_answer(call, situation, stage, record, Ok(skipped))
                .await;
        }
        let started = record.start_time.unwrap_or(call.now);
        tracing::info!(execution = %run.execution, run = run.number, stage = stage.ref_id, r#type = stage.stage_type, attempt = record.attempts, "stage called");
        let invocation = Invocation {
            run,
            execution: &situation.execution,
            plan,
            stage,
            context: &record.context,
            memory: &record.memory,
            records,
            trigger: &situation.trigger,
            now: call.now,
            started,
            prefix: &self.prefix,
            store: &self.store,
            look: None,
            scope: &scope,
            within: None,
        };
        let allowed = time_limit(plan, &record, stage)
            .filter(|limit| self.stage.times_out(&record.context, *limit))
            .map(|limit| Allowed::new(limit, &invocation));
        let answer = match allowed.and_then(|allowed| timed_out(&record, stage, allowed)) {
            Some(timed_out) => self.stage.timed_out(&invocation).await.map(|()| timed_out),
            None => self.stage.step(&invocation).await,
        };
        let answer = match allowed {
            Some(allowed) => answer.map(|step| step.looked_at_within(allowed.left)),
            None => answer,
        };
        let oversleeps = token(call).is_some() && allowed.is_some_and(Allowed::oversleeps);
        if oversleeps && let Ok(Step::Waiting { memory, reason, .. }) = answer {
            let poll = allowed.map_or(Poll::TenSeconds, |allowed| poll_within(allowed.left));
            return self
                .write_waiting(call, situation, record, reason.clone(), memory)
                .await
                .and(Err(Refusal::new(poll.error_name(), reason)));
        }
        self.write_answer(call, situation, stage, record, answer)
            .await
    }

    /// Nothing begins and nothing goes on. A long pause is looked at seldom: a day of it is 300 looks.
    fn paused(&self, call: &Call, situation: &Situation, stage: &PlanStage) -> Result<(), Refusal> {
        let since = situation
            .execution
            .open_pause()
            .map(|pause| pause.pause_time);
        let poll = Poll::after(call.now.saturating_sub(since.unwrap_or(call.now)));
        let reason = "the execution is paused".to_owned();
        let limited = situation
            .records
            .get(&stage.ref_id)
            .is_some_and(|record| time_limit(&situation.plan, record, stage).is_some());
        if limited && token(call).is_some() {
            // If it slept on, it would sleep past its time-out once it is resumed.
            return Err(Refusal::new(poll.error_name(), reason));
        }
        self.wait(stage, poll, reason)
    }

    /// The stage never starts. Where a stage of this run made it look, one that failed or was cancelled in an earlier
    /// run ends the execution now.
    async fn never_starts(
        &self,
        call: &Call,
        situation: &Situation,
        stage: &PlanStage,
        because_of: &str,
    ) -> Result<(), Refusal> {
        let rollup = Rollup::new(&situation.plan, &situation.records);
        if let Some(status) = rollup.halt_at(&stage.ref_id, situation.run.number) {
            let reason = format!(
                "stage `{}` ({}) never starts: `{because_of}` failed or was cancelled in an earlier run",
                stage.name, stage.ref_id
            );
            return self.end(situation, stage, status, reason, call.now).await;
        }
        self.open_joins(situation, stage).await?;
        self.let_go_all(situation, stage).await
    }

    /// A person skipped the stage while it ran: it ends SKIPPED, and its dependants run.
    async fn skipped(
        &self,
        call: &Call,
        situation: &Situation,
        stage: &PlanStage,
        mut record: StageRecord,
        by: &str,
    ) -> Result<(), Refusal> {
        record.status = Status::Skipped;
        record.task_status = Some(Status::Skipped);
        record.waiting = Some(format!("skipped by {by}"));
        record
            .context
            .insert("manualSkip".to_owned(), Value::Bool(true));
        record.end_time = Some(call.now);
        record.lease = None;
        let execution = &situation.run.execution;
        if !self
            .store
            .save_stage(execution, &record, &call.request_id)
            .await?
        {
            return self.wait(stage, Poll::TenSeconds, "the lease was lost".to_owned());
        }
        self.after_completion(call, situation, stage, &record).await
    }

    /// The stage's lease and record, or none where another invocation does the work of a woken stage.
    async fn lease(
        &self,
        call: &Call,
        situation: &Situation,
        stage: &PlanStage,
    ) -> Result<Option<StageRecord>, Refusal> {
        let lease = Lease {
            holder: call.request_id.clone(),
            until: call.deadline,
        };
        // Nobody polls a woken stage: a decision that meets a lease waits for it here, two seconds at most.
        let tries = if stage.woken { 8 } else { 1 };
        for attempt in 0..tries {
            match self
                .store
                .take_lease(&situation.caller, &stage.ref_id, &lease, call.now)
                .await?
            {
                LeaseAnswer::Taken(record) => return Ok(Some(*record)),
                LeaseAnswer::Over => return Ok(None),
                LeaseAnswer::Held(_) if attempt + 1 < tries => {
                    tokio::time::sleep(Duration::from_millis(250)).await
                }
                LeaseAnswer::Held(held) => {
                    let name = if stage.woken {
                        error_name::UNEXPECTED
                    } else {
                        error_name::WAITING_10S
                    };
                    return Err(Refusal::new(
                        name,
                        format!("another invocation ({}) is at work", held.holder),
                    ));
                }
            }
        }
        Ok(None)
    }

    async fn write_answer(
        &self,
        call: &Call,
        situation: &Situation,
        stage: &PlanStage,
        mut record: StageRecord,
        answer: Result<Step, StageError>,
    ) -> Result<(), Refusal> {
        let run = &situation.run;
        let policy = FailurePolicy::of(&record.context);
        record.waiting = None;
        let step = match answer {
            Ok(step) => step,
            Err(StageError::Ending) => {
                record.lease = None;
                self.store
                    .save_stage(&run.execution, &record, &call.request_id)
                    .await?;
                return self.let_go_all(situation, stage).await;
            }
            Err(StageError::InvalidConfiguration { field, message }) => Step::Failed {
                reason: format!("{message} (`{field}`)"),
                details: json!({ "field": field }),
            },
            Err(StageError::Cloud(error)) if error.is_passing() => {
                record.waiting = Some(error.to_string());
                record.lease = None;
                self.store
                    .save_stage(&run.execution, &record, &call.request_id)
                    .await?;
                tracing::warn!(execution = %run.execution, stage = stage.ref_id, reason = %error, "AWS did not answer; tried again");
                return Err(Refusal::from(error));
            }
            Err(StageError::Cloud(error)) => failed_call(&error),
            Err(StageError::Unsettled { reason }) => Step::Waiting {
                reason,
                memory: record.memory.clone(),
                poll: Some(Poll::TenSeconds),
            },
        };
        match step {
            Step::Waiting {
                reason,
                memory,
                poll,
            } => {
                let started = record.start_time.unwrap_or(call.now);
                let poll = poll.unwrap_or_else(|| Poll::after(call.now.saturating_sub(started)));
                self.write_waiting(call, situation, record, reason.clone(), memory)
                    .await?;
                return self.wait(stage, poll, reason);
            }
            Step::Succeeded { outputs, context } => {
                record.task_status = Some(Status::Succeeded);
                record.status = Status::Succeeded;
                record.outputs = outputs;
                record.context.extend(context);
            }
            Step::Ended {
                status,
                reason,
                outputs,
                context,
            } => {
                record.task_status = Some(status);
                // A task that ends SKIPPED was called all the same: its stage is SUCCEEDED, as in Orca. A stage that
                // had nothing to do is SKIPPED there too.
                let nothing_to_do = context.contains_key(NOTHING_TO_DO);
                record.status = match policy.outcome(status) {
                    Status::Skipped if !nothing_to_do => Status::Succeeded,
                    status => status,
                };
                record.outputs = outputs;
                record.context.extend(context);
                if matches!(status, Status::Terminal | Status::Canceled) {
                    record
                        .context
                        .entry("exception")
                        .or_insert_with(|| exception(&reason, &Value::Null, call.now));
                    record.failure = Some(Failure {
                        reason,
                        details: Value::Null,
                    });
                } else {
                    record.waiting = Some(reason);
                }
            }
            Step::Failed { reason, details } => {
                record.task_status = Some(Status::Terminal);
                record.status = policy.outcome(Status::Terminal);
                record.context.insert(
                    "exception".to_owned(),
                    exception(&reason, &details, call.now),
                );
                record.failure = Some(Failure { reason, details });
            }
        }
        if fails_on_expressions(&record.context) {
            // Whatever the policy says, as the original was observed to do.
            record.status = Status::Terminal;
            record.failure.get_or_insert_with(|| Failure {
                reason: format!(
                    "expressions of the stage failed and `failOnFailedExpressions` is set: {}",
                    resolve::explanations(&record.context)
                ),
                details: record
                    .context
                    .get(resolve::SUMMARY)
                    .cloned()
                    .unwrap_or(Value::Null),
            });
        }
        record.end_time = Some(call.now);
        record.lease = None;
        if !self
            .store
            .save_stage(&run.execution, &record, &call.request_id)
            .await?
        {
            // The lease ran out under us: whoever has it now looks at the world again.
            return self.wait(stage, Poll::TenSeconds, "the lease was lost".to_owned());
        }
        self.after_completion(call, situation, stage, &record).await
    }

    async fn write_waiting(
        &self,
        call: &Call,
        situation: &Situation,
        mut record: StageRecord,
        reason: String,
        memory: Map<String, Value>,
    ) -> Result<(), Refusal> {
        record.memory = memory;
        record.waiting = Some(reason);
        record.lease = None;
        self.store
            .save_stage(&situation.run.execution, &record, &call.request_id)
            .await?;
        Ok(())
    }

    /// What a complete stage sets in motion, and what its Task answers.
    async fn after_completion(
        &self,
        call: &Call,
        situation: &Situation,
        stage: &PlanStage,
        record: &StageRecord,
    ) -> Result<(), Refusal> {
        let run = &situation.run;
        let reason = record
            .failure
            .as_ref()
            .map_or("", |failure| failure.reason.as_str());
        tracing::info!(execution = %run.execution, run = run.number, stage = stage.ref_id, status = %record.status, reason, "stage complete");
        // As they are after this one was written: of two stages that end at once, the one that was written last sees both.
        let situation = Situation {
            records: self.store.stages(&run.execution).await?,
            ..situation.clone_refs()
        };
        if record.status.is_halt() && self.counts_failures {
            metric::count(
                "StageFailures",
                &[("StageType", &stage.stage_type)],
                call.now,
            );
        }
        self.tell_end(&situation, stage, record).await;
        let halt = Rollup::new(&situation.plan, &situation.records).halt(&stage.ref_id);
        if let Some(halt) = halt {
            return self.halt(&situation, stage, record, halt, call.now).await;
        }
        self.open_joins(&situation, stage).await?;
        self.let_go_all(&situation, stage).await
    }

    /// The stage's end ends the execution: says so first, so that nothing new begins while the machine stops.
    async fn halt(
        &self,
        situation: &Situation,
        stage: &PlanStage,
        record: &StageRecord,
        status: Status,
        at: i64,
    ) -> Result<(), Refusal> {
        // The last sub-stage of a group ends the execution for what went wrong before it.
        let (failed, why) = match &record.failure {
            Some(failure) => (stage, failure.reason.clone()),
            None => match cause(situation, stage) {
                Some((failed, reason)) => (failed, reason.to_owned()),
                None if record.status.is_halt() => (stage, record.status.to_string()),
                None => (
                    stage,
                    format!("a stage that is {status} ends the execution"),
                ),
            },
        };
        let reason = format!("stage `{}` ({}): {why}", failed.name, failed.ref_id);
        self.end(situation, stage, status, reason, at).await
    }

    async fn end(
        &self,
        situation: &Situation,
        stage: &PlanStage,
        status: Status,
        reason: String,
        at: i64,
    ) -> Result<(), Refusal> {
        let ending = Ending {
            status,
            reason: reason.clone(),
            by: stage.ref_id.clone(),
            at,
        };
        self.store.set_ending(&situation.run, &ending).await?;
        if stage.woken {
            return self.let_go_all(situation, stage).await;
        }
        Err(Refusal::new(error_name::STAGE_FAILED, reason))
    }

    /// A stage that is complete already answers as it did then. What ended in an earlier run counts only when this
    /// run's stages end.
    async fn answer_from_record(
        &self,
        situation: &Situation,
        stage: &PlanStage,
        record: &StageRecord,
    ) -> Result<(), Refusal> {
        // The try that wrote the record may have died before it told.
        self.tell_end(situation, stage, record).await;
        if record.run == situation.run.number {
            let halt = Rollup::new(&situation.plan, &situation.records).halt(&stage.ref_id);
            if let Some(halt) = halt {
                let at = record.end_time.unwrap_or(0);
                return self.halt(situation, stage, record, halt, at).await;
            }
        }
        self.open_joins(situation, stage).await?;
        self.let_go_all(situation, stage).await
    }

    /// Tells that the stage has ended.
    async fn tell_end(&self, situation: &Situation, stage: &PlanStage, record: &StageRecord) {
        if let Some(when) = occasion::stage_end(record.status) {
            let run = situation.run.execution.run(record.run);
            self.tell(stage, when, &run).await;
        }
    }

    /// Telling never stops a release: what could not be handed over is told at the execution's end.
    async fn tell(&self, stage: &PlanStage, when: &str, run: &Run) {
        let Some(tell) = &self.tell else { return };
        let occasion = json!({
            "execution": run.execution,
            "run": run.number,
            "stage": stage.ref_id,
            "when": when,
        });
        if let Err(error) = tell.tell(occasion).await {
            tracing::warn!(execution = %run.execution, stage = stage.ref_id, when, reason = %error, "left to the execution's end to tell");
        }
    }

    /// Wakes the joins that this stage opened, one event for all.
    async fn open_joins(&self, situation: &Situation, stage: &PlanStage) -> Result<(), Refusal> {
        let opens: Vec<&str> = situation
            .plan
            .lineage(&stage.ref_id)
            .iter()
            .flat_map(|stage| stage.opens.iter())
            .map(String::as_str)
            .collect();
        if opens.is_empty() {
            return Ok(());
        }
        let rollup = Rollup::new(&situation.plan, &situation.records);
        let ready: Vec<&str> = opens
            .into_iter()
            .filter(|join| !matches!(rollup.may_begin(join), Readiness::NotYet { .. }))
            .collect();
        if !ready.is_empty() {
            self.wake
                .wake(json!({ "run": situation.run, "joins": ready }))
                .await?;
        }
        Ok(())
    }

    /// Lets a stage's Task go on: at once where it polls, by `wake` where it sleeps.
    async fn let_go(&self, run: &Run, stage: &PlanStage) -> Result<(), Refusal> {
        if stage.woken {
            self.wake
                .wake(json!({ "run": run, "stage": stage.ref_id }))
                .await?;
        }
        Ok(())
    }

    /// The same for every run that waits for the stage.
    async fn let_go_all(&self, situation: &Situation, stage: &PlanStage) -> Result<(), Refusal> {
        self.let_go(&situation.caller, stage).await?;
        if situation.caller != situation.run {
            self.let_go(&situation.run, stage).await?;
        }
        Ok(())
    }

    /// Answers "not yet": an error where Step Functions polls, Ok where the Task sleeps.
    #[allow(clippy::unused_self)] // Reads better beside the others.
    fn wait(&self, stage: &PlanStage, poll: Poll, reason: String) -> Result<(), Refusal> {
        tracing::info!(stage = stage.ref_id, reason, "waiting");
        if stage.woken {
            Ok(())
        } else {
            Err(Refusal::new(poll.error_name(), reason))
        }
    }

    async fn enabled(
        &self,
        situation: &Situation,
        scope: &Scope<'_>,
        stage: &PlanStage,
    ) -> Result<bool, Refusal> {
        for of in situation.plan.lineage(&stage.ref_id) {
            // A group decides once: when one of its stages has run, it is enabled.
            let decided = of.ref_id != stage.ref_id
                && situation.records.values().any(|record| {
                    record.start_time.is_some()
                        && situation
                            .plan
                            .lineage(&record.ref_id)
                            .iter()
                            .any(|above| above.ref_id == of.ref_id)
                });
            if !decided && !scope.enabled(of).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scope<'a>(&'a self, call: &Call, situation: &'a Situation) -> Scope<'a> {
        Scope {
            resolver: &self.resolver,
            store: &self.store,
            plan: &situation.plan,
            processed: situation.processed.as_deref(),
            execution: &situation.execution,
            records: &situation.records,
            trigger: &situation.trigger,
            now: call.now,
            view: OnceLock::new(),
        }
    }

    async fn undo(
        &self,
        call: &Call,
        mut situation: Situation,
        stage: &PlanStage,
        action: &str,
    ) -> Result<(), Refusal> {
        let run = situation.run.clone();
        let intents = self.store.intents(&run.execution).await?;
        let Some(intent) = intents
            .into_iter()
            .find(|intent| intent.stage == stage.ref_id && intent.action == action)
        else {
            return Ok(());
        };
        if intent.closed {
            return Ok(());
        }
        situation.trigger = self
            .store
            .trigger(&run.execution)
            .await?
            .unwrap_or(Value::Null);
        let record = situation
            .records
            .get(&stage.ref_id)
            .cloned()
            .unwrap_or_else(|| StageRecord::not_started(&stage.ref_id));
        let scope = self.scope(call, &situation);
        let context = if record.context.is_empty() {
            &stage.context
        } else {
            &record.context
        };
        let invocation = Invocation {
            run: &run,
            execution: &situation.execution,
            plan: &situation.plan,
            stage,
            context,
            memory: &record.memory,
            records: &situation.records,
            trigger: &situation.trigger,
            now: call.now,
            started: record.start_time.unwrap_or(call.now),
            prefix: &self.prefix,
            store: &self.store,
            look: None,
            scope: &scope,
            within: None,
        };
        match self.stage.undo(&invocation, &intent).await {
            Ok(Undo::Done { result }) => {
                tracing::info!(execution = %run.execution, stage = stage.ref_id, action, result, "undone");
                self.store
                    .close_intent(&run.execution, &stage.ref_id, action, Some(&result))
                    .await?;
                Ok(())
            }
            Ok(Undo::Waiting { reason }) => {
                let waited = call.now.saturating_sub(intent.at);
                Err(Refusal::new(Poll::after(waited).error_name(), reason))
            }
            Err(StageError::Cloud(error)) if error.is_passing() => Err(Refusal::from(error)),
            Err(StageError::Unsettled { reason }) => {
                Err(Refusal::new(Poll::TenSeconds.error_name(), reason))
            }
            Err(error) => Err(Refusal::new(error_name::STAGE_FAILED, error.to_string())),
        }
    }

    async fn plan(&self, hash: &str) -> Result<Arc<Plan>, Refusal> {
        let cached = self
            .plans
            .lock()
            .ok()
            .and_then(|plans| plans.get(hash).cloned());
        if let Some(plan) = cached {
            return Ok(plan);
        }
        let Some(plan) = self.store.plan(hash).await? else {
            return Err(Refusal::new(
                error_name::INVALID_CONFIGURATION,
                format!("plan {hash} not found"),
            ));
        };
        let plan = Arc::new(plan);
        if let Ok(mut plans) = self.plans.lock() {
            plans.insert(hash.to_owned(), Arc::clone(&plan));
        }
        Ok(plan)
    }
}

impl Situation {
    fn clone_refs(&self) -> Self {
        Self {
            run: self.run.clone(),
            caller: self.caller.clone(),
            execution: self.execution.clone(),
            plan: Arc::clone(&self.plan),
            records: Records::new(),
            trigger: Value::Null,
            processed: self.processed.clone(),
        }
    }
}

/// The record of a stage that ends in this run without having started; how is the caller's to say.
fn ended_unstarted(stage: &PlanStage, run: &Run, now: i64) -> StageRecord {
    StageRecord {
        run: run.number,
        end_time: Some(now),
        ..StageRecord::not_started(&stage.ref_id)
    }
}

/// The first failure among the stages of the same top-level stage, and its reason.
fn cause<'a>(situation: &'a Situation, stage: &PlanStage) -> Option<(&'a PlanStage, &'a str)> {
    let plan = &situation.plan;
    let top = plan.top_level(&stage.ref_id)?;
    let failed = plan.stages.iter().filter_map(|other| {
        let record = situation.records.get(&other.ref_id)?;
        let failure = record.failure.as_ref()?;
        let same = plan.top_level(&other.ref_id)?.ref_id == top.ref_id;
        same.then_some((record.end_time, other, failure.reason.as_str()))
    });
    let first = failed.min_by_key(|(end, _, _)| end.unwrap_or(i64::MAX));
    first.map(|(_, other, reason)| (other, reason))
}

/// Adds to the context of a deployment's sub-stage what is known only now; the condition for which it is skipped, if
/// one does not hold. Completing again changes nothing.
fn complete(
    plan: &Plan,
    records: &Records,
    run: &Run,
    stage: &PlanStage,
    record: &mut StageRecord,
) -> Option<Condition> {
    if stage.conditions.is_empty() && stage.fills.is_empty() {
        return None;
    }
    let facts = facts::facts(plan, records, &stage.ref_id, run.execution.as_str())?;
    match facts::completed(&record.context, &stage.conditions, &stage.fills, &facts) {
        Ok(context) => {
            record.context = context;
            None
        }
        Err(missing) => Some(missing),
    }
}

/// The token of a Task that sleeps until it is woken; none where somebody else than Step Functions calls.
fn token(call: &Call) -> Option<&str> {
    call.event.get("token").and_then(Value::as_str)
}

/// The time that a stage has, milliseconds.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    /// In all.
    limit: f64,
    /// What is left of it.
    left: f64,
    /// The execution was paused meanwhile: what is left is more than Step Functions counts.
    paused: bool,
}

impl Allowed {
    /// Longest time that a Task with a token sleeps before it looks again.
    const SLEEPS_MILLIS: f64 = 3_600_000.0;

    // Milliseconds of a stage are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    fn new(limit: f64, invocation: &Invocation<'_>) -> Self {
        let spent = invocation.spent();
        Self {
            limit,
            left: limit - spent as f64,
            paused: spent < invocation.waited(),
        }
    }

    /// Whether a Task that began to sleep now would sleep past the stage's time-out, because a pause moved it: the Task's own
    /// time is a literal. It polls for the rest.
    fn oversleeps(self) -> bool {
        self.paused && self.left < self.limit.min(Self::SLEEPS_MILLIS)
    }
}

/// The milliseconds that a stage has: its own `stageTimeoutMs`, else that of the nearest stage that it belongs to.
fn time_limit(plan: &Plan, record: &StageRecord, stage: &PlanStage) -> Option<f64> {
    let of = |context: &Map<String, Value>| context.get("stageTimeoutMs").and_then(Value::as_f64);
    let inherited = || {
        let lineage = plan.lineage(&stage.ref_id);
        lineage.into_iter().find_map(|stage| of(&stage.context))
    };
    of(&record.context).or_else(inherited)
}

/// The end of a stage whose time-out has passed.
fn timed_out(record: &StageRecord, stage: &PlanStage, allowed: Allowed) -> Option<Step> {
    let Allowed { limit, left, .. } = allowed;
    // A sleeping Task is called again when its own time-out has passed. Step Functions counts that from when it calls the
    // function, the stage from when the function runs: without this the stage would sleep for its whole time again.
    let early = if stage.woken && record.attempts > 1 {
        (limit / 10.0).min(2_000.0)
    } else {
        0.0
    };
    if left >= early {
        return None;
    }
    // What it waited for is what a person has to look at.
    let waiting = record.waiting.as_ref();
    let waiting = waiting.map_or_else(String::new, |waiting| format!(": {waiting}"));
    let reason = format!("the stage took longer than its time-out of {limit} ms{waiting}");
    Some(
        if record.context.get("markSuccessfulOnTimeout") == Some(&Value::Bool(true)) {
            Step::Succeeded {
                outputs: Map::new(),
                context: Map::from_iter([("timedOut".to_owned(), Value::Bool(true))]),
            }
        } else {
            Step::Failed {
                reason,
                details: json!({ "stageTimeoutMs": limit }),
            }
        },
    )
}

fn failed_call(error: &CloudError) -> Step {
    let details = match error {
        CloudError::Refused {
            operation,
            resource,
            code,
            request_id,
            ..
        } => {
            json!({ "operation": operation, "resource": resource, "code": code, "requestId": request_id })
        }
        _ => Value::Null,
    };
    Step::Failed {
        reason: error.to_string(),
        details,
    }
}

/// The exception as Spinnaker's executions carry it.
fn exception(reason: &str, details: &Value, now: i64) -> Value {
    json!({
        "exceptionType": "StageFailed",
        "operation": details.get("operation").cloned().unwrap_or(Value::Null),
        "details": { "error": reason, "errors": [reason] },
        "shouldRetry": false,
        "timestamp": now,
    })
}
