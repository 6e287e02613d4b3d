//! What stands for the functions: stages that end as they are told, by the rules of the stage runtime.

use std::collections::{BTreeSet, HashMap};

use gennaker_domain::{
    Execution, ExecutionId, FailurePolicy, Plan, PlanStage, StageRecord, Status,
    rollup::{self, Readiness, Records, Rollup},
};
use serde_json::Value;

use crate::{
    expression::Scope,
    outcome::{Outcome, Outcomes},
    window,
};

/// What a call of a function comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done at once.
    Done,
    /// Works until this time, UTC milliseconds.
    Until(i64),
    /// Waits for other stages.
    Held,
}

/// The stages of one execution.
pub(crate) struct Stages<'a> {
    pub plan: &'a Plan,
    pub records: Records,
    pub start: i64,
    index: HashMap<&'a str, usize>,
    execution: Execution,
    trigger: &'a Value,
    outcomes: Outcomes,
    /// Sub-stages for an older server group that is not there.
    without_source: BTreeSet<String>,
    /// Stages whose expressions failed.
    failed_expressions: Vec<String>,
}

impl<'a> Stages<'a> {
    pub fn new(
        plan: &'a Plan,
        outcomes: Outcomes,
        without_source: BTreeSet<String>,
        at: i64,
        trigger: &'a Value,
    ) -> Self {
        let execution = Execution {
            id: ExecutionId::derive(at, &["simulated"]),
            application: plan.application.clone(),
            pipeline: plan.pipeline.clone(),
            pipeline_id: plan.pipeline_id.clone(),
            revision: 1,
            plan_hash: String::new(),
            state_machine: String::new(),
            status: Status::Running,
            run: 1,
            ending: None,
            paused: false,
            pauses: Vec::new(),
            canceled: false,
            build_time: at,
            start_time: Some(at),
            end_time: None,
        };
        Self {
            plan,
            records: Records::new(),
            start: at,
            index: plan
                .stages
                .iter()
                .enumerate()
                .map(|(at, stage)| (stage.ref_id.as_str(), at))
                .collect(),
            execution,
            trigger,
            outcomes,
            without_source,
            failed_expressions: Vec::new(),
        }
    }

    pub fn run_name(&self) -> String {
        self.execution.id.run(1).to_string()
    }

    pub fn stage(&self, ref_id: &str) -> Option<&'a PlanStage> {
        self.index
            .get(ref_id)
            .and_then(|at| self.plan.stages.get(*at))
    }

    /// A join's function: done as soon as the stage may start, or never will.
    pub fn join(&self, ref_id: &str) -> Answer {
        match rollup::may_begin(self.plan, &self.records, ref_id) {
            Readiness::Ready | Readiness::Never { .. } => Answer::Done,
            Readiness::NotYet { .. } => Answer::Held,
        }
    }

    /// The function of a stage, called at `now`.
    pub fn call(&mut self, stage: &'a PlanStage, now: i64) -> Answer {
        if self
            .records
            .get(&stage.ref_id)
            .is_some_and(|record| record.status.is_complete())
        {
            return Answer::Done;
        }
        match rollup::readiness(self.plan, &self.records, &stage.ref_id) {
            Readiness::Ready => {}
            Readiness::Never { .. } => return Answer::Done,
            Readiness::NotYet { .. } => return Answer::Held,
        }
        let scope = Scope {
            plan: self.plan,
            execution: &self.execution,
            trigger: self.trigger,
            now,
        };
        let mut record = StageRecord::not_started(&stage.ref_id);
        record.run = 1;
        let enabled = self.plan.lineage(&stage.ref_id).into_iter().all(|of| {
            let decided = of.ref_id != stage.ref_id && self.has_run(&of.ref_id);
            decided || scope.enabled(&self.records, of)
        });
        if !enabled {
            record.status = Status::Skipped;
            record.end_time = Some(now);
            self.records.insert(stage.ref_id.clone(), record);
            return Answer::Done;
        }
        if self.without_source.contains(&stage.ref_id) {
            record.status = Status::Skipped;
            record.start_time = Some(now);
            record.end_time = Some(now);
            self.records.insert(stage.ref_id.clone(), record);
            return Answer::Done;
        }
        let resolved = scope.resolve(&self.records, stage);
        if resolved.failed {
            self.failed_expressions.push(stage.ref_id.clone());
        }
        record.status = Status::Running;
        record.start_time = Some(now);
        record.context = resolved.context;
        let millis = self.millis(stage, &record);
        self.records.insert(stage.ref_id.clone(), record);
        Answer::Until(now.saturating_add(millis.works))
    }

    /// Ends a stage's task at `now`.
    pub fn end(&mut self, stage: &PlanStage, now: i64) {
        let Some(mut record) = self.records.remove(&stage.ref_id) else {
            return;
        };
        let millis = self.millis(stage, &record);
        let given = self.outcome(stage);
        let mut task = given
            .and_then(|outcome| outcome.status)
            .unwrap_or(Status::Succeeded);
        if let Some(outcome) = given {
            record.outputs.clone_from(&outcome.outputs);
        }
        if millis.timed_out {
            let well = record.context.get("markSuccessfulOnTimeout") == Some(&Value::Bool(true));
            task = if well {
                Status::Succeeded
            } else {
                Status::Terminal
            };
        }
        record.task_status = Some(task);
        self.settle(record, task, now);
    }

    /// Ends a running stage because the execution ends at `now`.
    pub fn cancel(&mut self, ref_id: &str, now: i64) {
        if let Some(record) = self.records.remove(ref_id) {
            // A user's policy has no say here, unlike about a task that ends CANCELED by itself.
            let status = if self.fails_on_expressions(&record) {
                Status::Terminal
            } else {
                Status::Canceled
            };
            let record = StageRecord {
                status,
                end_time: Some(now),
                ..record
            };
            self.records.insert(ref_id.to_owned(), record);
        }
    }

    fn settle(&mut self, mut record: StageRecord, task: Status, now: i64) {
        record.status = if self.fails_on_expressions(&record) {
            // Whatever the policy says.
            Status::Terminal
        } else if task == Status::Skipped {
            // Only a stage is skipped: one whose task says so has run.
            Status::Succeeded
        } else {
            FailurePolicy::of(&record.context).outcome(task)
        };
        record.end_time = Some(now);
        self.records.insert(record.ref_id.clone(), record);
    }

    fn fails_on_expressions(&self, record: &StageRecord) -> bool {
        record.context.get("failOnFailedExpressions") == Some(&Value::Bool(true))
            && self.failed_expressions.contains(&record.ref_id)
    }

    /// Whether the end of this stage's task ends the execution: its top-level stage failed, and no sub-stage has a turn
    /// any more.
    pub fn halts(&self, stage: &PlanStage) -> bool {
        Rollup::new(self.plan, &self.records)
            .halt(&stage.ref_id)
            .is_some()
    }

    /// Whether the top-level stage that this one is, or belongs to, has halted itself: nothing follows it.
    pub fn has_halted(&self, stage: &PlanStage) -> bool {
        let top = self.plan.top_level(&stage.ref_id).unwrap_or(stage);
        rollup::stage_status(self.plan, &self.records, &top.ref_id).is_halt()
    }

    /// Whether a stage that belongs to this one has started: a group decides once whether it is enabled.
    fn has_run(&self, ref_id: &str) -> bool {
        self.records.values().any(|record| {
            let lineage = self.plan.lineage(&record.ref_id);
            record.start_time.is_some() && lineage.iter().any(|above| above.ref_id == ref_id)
        })
    }

    /// The outcome given for a stage; a `deploy`'s own is that of each server group that it creates.
    fn outcome(&self, stage: &PlanStage) -> Option<&Outcome> {
        self.outcomes.get(&stage.ref_id).or_else(|| {
            stage
                .parent
                .as_deref()
                .and_then(|parent| self.stage(parent))
                .filter(|parent| parent.function.is_none() && creates(stage))
                .and_then(|parent| self.outcomes.get(&parent.ref_id))
        })
    }

    fn millis(&self, stage: &PlanStage, record: &StageRecord) -> Works {
        let wanted = self
            .outcome(stage)
            .and_then(|outcome| outcome.millis)
            .unwrap_or_else(|| self.usual_millis(stage, record));
        let limit = record
            .context
            .get("stageTimeoutMs")
            .and_then(Value::as_f64)
            .or_else(|| {
                self.plan
                    .lineage(&stage.ref_id)
                    .into_iter()
                    .find_map(|of| of.context.get("stageTimeoutMs").and_then(Value::as_f64))
            })
            .filter(|limit| *limit > 0.0)
            // A float to integer conversion saturates.
            .map(|limit| limit.ceil() as i64);
        match limit {
            Some(limit) if wanted > limit => Works {
                works: limit,
                timed_out: true,
            },
            _ => Works {
                works: wanted,
                timed_out: false,
            },
        }
    }

    /// How long a stage works if nobody says: a `wait` its own time, an execution window until it opens, a stage one
    /// second, a sub-stage of a strategy none.
    fn usual_millis(&self, stage: &PlanStage, record: &StageRecord) -> i64 {
        if stage.stage_type == "restrictExecutionDuringTimeWindow" {
            let manual = self.trigger.get("type").and_then(Value::as_str) == Some("manual");
            let started = record.start_time.unwrap_or(self.start);
            return window::waits_millis(&record.context, started, manual);
        }
        if stage.parent.is_some() && !creates(stage) {
            return 0;
        }
        if stage.stage_type != "wait" {
            return 1000;
        }
        let seconds = match record.context.get("waitTime") {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
            _ => None,
        };
        // A float to integer conversion saturates, and NaN is 0.
        ((seconds.unwrap_or(0.0) * 1000.0).round() as i64).clamp(0, 31_622_400_000)
    }
}

struct Works {
    works: i64,
    timed_out: bool,
}

fn creates(stage: &PlanStage) -> bool {
    matches!(
        stage.stage_type.as_str(),
        "createServerGroup" | "cloneServerGroup"
    )
}
