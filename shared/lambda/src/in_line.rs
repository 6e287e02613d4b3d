//! Stages that another stage runs itself, one after the other, because only it knows them: a rollback's, for example,
//! follow from the cluster as it is when the rollback begins.
//!
//! Each of them is the same [`Stage`] that its own function runs. It sees a plan and records in which it is a sub-stage
//! of the one that runs it, has intents of its own (recorded for the stage that the plan has, their action followed by
//! ` in <refId>`), and may wait. What was decided and what was completed is kept in the intent log, so that a retry
//! goes on where the last try died.

use gennaker_domain::deployment::facts;
use gennaker_domain::deployment::strategy::Facts;
use gennaker_domain::rollup::Records;
use gennaker_domain::{Intent, Owner, Plan, PlanStage, Predecessor, StageRecord, Status};
use serde_json::{Map, Value, json};

use crate::{Invocation, Stage, StageError, Step, Undo};

/// Between an action and the stage in line that announced it.
const IN: &str = " in ";
/// The action that keeps what a stage in line answered.
const COMPLETED: &str = "completed";
/// The action that keeps what was decided for a stage in line.
const DECIDED: &str = "decided";
/// The key of the memory that keeps those of the stages in line.
const MEMORY: &str = "inLine";

/// The action under which an intent of a stage in line is recorded.
pub(crate) fn action_of(ref_id: &str, action: &str) -> String {
    format!("{action}{IN}{ref_id}")
}

/// The intent as its stage announced it, if it is the stage's.
pub(crate) fn own_intent(ref_id: &str, intent: Intent) -> Option<Intent> {
    let (action, of) = intent.action.rsplit_once(IN)?;
    (of == ref_id).then(|| Intent {
        stage: of.to_owned(),
        action: action.to_owned(),
        ..intent.clone()
    })
}

/// How a stage in line stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Complete: dependants may run.
    Done,
    /// Not yet, and why.
    Waiting(String),
    /// Failed: the stage that runs it fails so.
    Failed(Step),
}

/// The stages that one stage runs in line.
pub struct InLine<'a> {
    invocation: &'a Invocation<'a>,
    plan: Plan,
    records: Records,
    memory: Map<String, Value>,
    kept: Vec<Intent>,
}

impl std::fmt::Debug for InLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InLine")
    }
}

impl<'a> InLine<'a> {
    /// What earlier tries of the stage left.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn open(invocation: &'a Invocation<'a>) -> Result<Self, StageError> {
        let kept = invocation.intents().await?;
        let memory = invocation
            .memory
            .get(MEMORY)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        Ok(Self {
            invocation,
            plan: invocation.plan.clone(),
            records: invocation.records.clone(),
            memory,
            kept,
        })
    }

    /// What an earlier try decided for the stage in line `ref_id`, if one did.
    #[must_use]
    pub fn decided(&self, ref_id: &str) -> Option<&Value> {
        let action = action_of(ref_id, DECIDED);
        self.kept
            .iter()
            .find(|intent| intent.action == action)
            .and_then(|intent| intent.undo.get("decided"))
    }

    /// Keeps what was decided for the stage in line `ref_id`; what an earlier try decided stays.
    ///
    /// # Errors
    /// [`StageError::Ending`] and those of the table.
    pub async fn decide(&mut self, ref_id: &str, decided: &Value) -> Result<Value, StageError> {
        if let Some(known) = self.decided(ref_id) {
            return Ok(known.clone());
        }
        let action = action_of(ref_id, DECIDED);
        if self
            .invocation
            .intend(&action, json!({ "decided": decided }))
            .await?
        {
            return Ok(decided.clone());
        }
        // Another try was faster.
        self.kept = self.invocation.intents().await?;
        Ok(self.decided(ref_id).unwrap_or(decided).clone())
    }

    /// A sub-stage of the stage `parent`, in line; `number` counts the sub-stages of that parent from 1.
    #[must_use]
    pub fn sub_stage(
        &self,
        parent: &str,
        number: usize,
        stage_type: &str,
        name: &str,
        context: &Map<String, Value>,
    ) -> PlanStage {
        let owner = self.plan.stage(parent);
        let before = (number > 1).then(|| format!("{parent}>{}", number - 1));
        PlanStage {
            ref_id: format!("{parent}>{number}"),
            stage_type: stage_type.to_owned(),
            name: name.to_owned(),
            parent: owner.map(|owner| owner.ref_id.clone()),
            owner: Some(Owner::After),
            requisites: before.iter().cloned().collect(),
            woken: false,
            joins: false,
            starts_after: before
                .into_iter()
                .map(|ref_id| Predecessor {
                    ref_id,
                    whole: true,
                })
                .collect(),
            opens: Vec::new(),
            defers_failure: false,
            conditions: Vec::new(),
            fills: Vec::new(),
            context: context.clone(),
            ..self.invocation.stage.clone()
        }
    }

    /// Makes a stage known without running anything, one that only groups those below it, and what they may read of
    /// it.
    pub fn group(&mut self, stage: PlanStage, outputs: Map<String, Value>) {
        let mut record = StageRecord::not_started(&stage.ref_id);
        record.status = Status::Running;
        record.context = stage.context.clone();
        record.outputs = outputs;
        self.records.insert(stage.ref_id.clone(), record);
        if self.plan.stage(&stage.ref_id).is_none() {
            self.plan.stages.push(stage);
        }
    }

    /// What a stage in line may know of the stage around it that creates a server group.
    #[must_use]
    pub fn facts(&self, sub_stage: &PlanStage, execution: &str) -> Facts {
        let mut plan = self.plan.clone();
        if plan.stage(&sub_stage.ref_id).is_none() {
            plan.stages.push(sub_stage.clone());
        }
        facts::facts(&plan, &self.records, &sub_stage.ref_id, execution).unwrap_or_default()
    }

    /// One call of a stage in line, or none if an earlier one completed it.
    ///
    /// # Errors
    /// Those of the stage.
    pub async fn run(
        &mut self,
        sub_stage: PlanStage,
        stage: &dyn Stage,
    ) -> Result<Progress, StageError> {
        let ref_id = sub_stage.ref_id.clone();
        if self.plan.stage(&ref_id).is_none() {
            self.plan.stages.push(sub_stage.clone());
        }
        let completed = action_of(&ref_id, COMPLETED);
        let known = self
            .kept
            .iter()
            .find(|intent| intent.action == completed)
            .map(|intent| intent.undo.clone());
        let answer = match known {
            Some(answer) => answer,
            None => match self.call(&sub_stage, stage).await? {
                Ok(answer) => {
                    self.invocation.intend(&completed, answer.clone()).await?;
                    self.memory.shift_remove(&ref_id);
                    answer
                }
                Err(progress) => return Ok(progress),
            },
        };
        let object = |key: &str| {
            let object = answer.get(key).and_then(Value::as_object);
            object.cloned().unwrap_or_default()
        };
        let mut record = StageRecord::not_started(&ref_id);
        record.status = Status::Succeeded;
        record.task_status = Some(Status::Succeeded);
        record.run = self.invocation.run.number;
        record.outputs = object("outputs");
        record.context = sub_stage.context;
        record.context.extend(object("context"));
        self.records.insert(ref_id, record);
        Ok(Progress::Done)
    }

    async fn call(
        &mut self,
        sub_stage: &PlanStage,
        stage: &dyn Stage,
    ) -> Result<Result<Value, Progress>, StageError> {
        let before = self.memory.get(&sub_stage.ref_id);
        let started = before
            .and_then(|kept| kept.get("started"))
            .and_then(Value::as_i64)
            .unwrap_or(self.invocation.now);
        let memory = before
            .and_then(|kept| kept.get("memory"))
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let recorded = self.invocation.within.unwrap_or(self.invocation.stage);
        let invocation = Invocation {
            run: self.invocation.run,
            execution: self.invocation.execution,
            plan: &self.plan,
            stage: sub_stage,
            context: &sub_stage.context,
            memory: &memory,
            records: &self.records,
            trigger: self.invocation.trigger,
            now: self.invocation.now,
            started,
            prefix: self.invocation.prefix,
            store: self.invocation.store,
            look: self.invocation.look,
            scope: self.invocation.scope,
            within: Some(recorded),
        };
        let answer = |outputs: Map<String, Value>, context: Map<String, Value>| {
            Ok(Ok(json!({ "outputs": outputs, "context": context })))
        };
        match stage.step(&invocation).await? {
            Step::Succeeded { outputs, context } => answer(outputs, context),
            Step::Ended {
                status,
                outputs,
                context,
                ..
            } if status.lets_dependants_start() => answer(outputs, context),
            Step::Ended { status, reason, .. } => Ok(Err(Progress::Failed(Step::Failed {
                reason: format!("{}: {status}: {reason}", sub_stage.name),
                details: Value::Null,
            }))),
            Step::Failed { reason, details } => Ok(Err(Progress::Failed(Step::Failed {
                reason: format!("{}: {reason}", sub_stage.name),
                details,
            }))),
            Step::Waiting { reason, memory, .. } => {
                self.memory.insert(
                    sub_stage.ref_id.clone(),
                    json!({ "started": started, "memory": memory }),
                );
                Ok(Err(Progress::Waiting(format!(
                    "{}: {reason}",
                    sub_stage.name
                ))))
            }
        }
    }

    /// Waits in line until `seconds` are over. What comes after it has it among its ancestors.
    #[must_use]
    pub fn wait(&mut self, stage: PlanStage, seconds: i64) -> Progress {
        let ref_id = stage.ref_id.clone();
        let ref_id = ref_id.as_str();
        if self.plan.stage(ref_id).is_none() {
            self.plan.stages.push(stage);
        }
        let now = self.invocation.now;
        let began = self
            .memory
            .get(ref_id)
            .and_then(|kept| kept.get("started"))
            .and_then(Value::as_i64);
        let until = began
            .unwrap_or(now)
            .saturating_add(seconds.saturating_mul(1_000));
        if now >= until {
            return Progress::Done;
        }
        self.memory.insert(
            ref_id.to_owned(),
            json!({ "started": began.unwrap_or(now) }),
        );
        Progress::Waiting(format!(
            "waits for {} s more",
            until.saturating_sub(now) / 1_000
        ))
    }

    /// The outputs of a stage in line that is complete, or of any other stage.
    #[must_use]
    pub fn record(&self, ref_id: &str) -> Option<&StageRecord> {
        self.records.get(ref_id)
    }

    /// The answer "not yet" of the stage that runs these.
    #[must_use]
    pub fn waiting(self, reason: impl Into<String>) -> Step {
        let mut memory = self.invocation.memory.clone();
        memory.insert(MEMORY.to_owned(), Value::Object(self.memory));
        Step::Waiting {
            reason: reason.into(),
            memory,
            poll: None,
        }
    }
}

/// Undoes an intent of a stage in line by that stage, which `of` finds by the action. Those that only keep what was
/// decided have nothing to undo.
///
/// # Errors
/// Those of the stage.
pub async fn undo(
    invocation: &Invocation<'_>,
    intent: &Intent,
    of: impl FnOnce(&str) -> Option<std::sync::Arc<dyn Stage>>,
) -> Result<Undo, StageError> {
    let nothing = || Undo::Done {
        result: "nothing to undo".to_owned(),
    };
    let Some((action, ref_id)) = intent.action.rsplit_once(IN) else {
        return Ok(nothing());
    };
    if matches!(action, COMPLETED | DECIDED) {
        return Ok(nothing());
    }
    let Some(stage) = of(action) else {
        return Ok(nothing());
    };
    let sub_stage = PlanStage {
        ref_id: ref_id.to_owned(),
        ..invocation.stage.clone()
    };
    let own = Intent {
        stage: ref_id.to_owned(),
        action: action.to_owned(),
        ..intent.clone()
    };
    let invocation = Invocation {
        stage: &sub_stage,
        within: Some(invocation.stage),
        ..*invocation
    };
    stage.undo(&invocation, &own).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_of_a_stage_in_line_is_read_back_as_it_was_announced() {
        let intent = |action: &str| Intent {
            stage: "3".to_owned(),
            action: action.to_owned(),
            function: "rollback-cluster".to_owned(),
            undo: Value::Null,
            at: 0,
            run: 1,
            done: false,
            closed: false,
            result: None,
        };
        let recorded = action_of("3>1>2", "enable-server-group us-east-1 shop-v001");
        assert_eq!(
            own_intent("3>1>2", intent(&recorded)).map(|intent| intent.action),
            Some("enable-server-group us-east-1 shop-v001".to_owned())
        );
        assert_eq!(own_intent("3>1>1", intent(&recorded)), None);
        assert_eq!(own_intent("3>1>1", intent("enable-server-group")), None);
    }
}
