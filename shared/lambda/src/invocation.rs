//! What a stage is given: its configuration, the execution around it, the intent log.

use gennaker_cloud::store::IntentAnswer;
use gennaker_cloud::store::children::Watcher;
use gennaker_cloud::{CloudError, Key, Look, Store};
use gennaker_domain::child::{self, Watched};
use gennaker_domain::rollup::Records;
use gennaker_domain::{Execution, ExecutionId, Intent, Plan, PlanStage, Run};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::resolve::Scope;
use crate::{StageError, in_line};

/// One call of a stage.
pub struct Invocation<'a> {
    /// The run that this call belongs to.
    pub run: &'a Run,
    /// The execution's record as read at the start of the call.
    pub execution: &'a Execution,
    /// The compiled plan.
    pub plan: &'a Plan,
    /// The stage in the plan.
    pub stage: &'a PlanStage,
    /// The stage's configuration with every expression that could be resolved resolved. A sub-stage has its parents'
    /// fields too, as in Spinnaker.
    pub context: &'a Map<String, Value>,
    /// What the stage remembered at its last `Waiting`.
    pub memory: &'a Map<String, Value>,
    /// Records of all stages.
    pub records: &'a Records,
    /// What started the execution.
    pub trigger: &'a Value,
    /// Now, UTC milliseconds.
    pub now: i64,
    /// When the stage started.
    pub started: i64,
    /// Prefix of this installation's functions and machines.
    pub prefix: &'a str,
    pub(crate) store: &'a Store,
    pub(crate) look: Option<&'a Look>,
    pub(crate) scope: &'a Scope<'a>,
    /// The stage of the plan that runs this one in line; see [`crate::in_line`].
    pub(crate) within: Option<&'a PlanStage>,
}

/// Why a configuration cannot be read.
pub type InvocationError = serde_json::Error;

impl Invocation<'_> {
    /// The stage's configuration as a type.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] with what serde found.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, StageError> {
        T::deserialize(Value::Object(self.context.clone())).map_err(|error: InvocationError| {
            StageError::invalid(format!("stages[{}]", self.stage.ref_id), error.to_string())
        })
    }

    /// A key of the context as Orca's `StageContext` looks it up: the stage's own context, then the outputs of its
    /// ancestors, nearest first, then the trigger.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<&Value> {
        self.context
            .get(key)
            .or_else(|| {
                self.plan
                    .ancestors(&self.stage.ref_id)
                    .into_iter()
                    .filter_map(|ancestor| self.records.get(&ancestor.ref_id))
                    .find_map(|record| record.outputs.get(key))
            })
            .or_else(|| self.trigger.get(key))
    }

    /// The value of a text with expressions, as the stage sees them now. Nothing outside the execution is asked: for
    /// `#fromUrl`, `#pipelineId` and their kin there is [`Invocation::value`].
    ///
    /// # Errors
    /// What a pipeline's author reads about the first expression that could not be evaluated.
    pub fn evaluate(&self, text: &str) -> Result<Value, String> {
        self.scope.value_now(self.stage, self.context, text)
    }

    /// The value of a text with expressions, as the stage sees them now, looked up outside the execution where they
    /// ask for it.
    ///
    /// # Errors
    /// Those of the table that may pass; inside, what a pipeline's author reads about the first expression that could
    /// not be evaluated.
    pub async fn value(&self, text: &str) -> Result<Result<Value, String>, CloudError> {
        self.scope.value(self.stage, self.context, text).await
    }

    /// The same call with another context: what the stage has learned since its configuration was resolved.
    #[must_use]
    pub fn with_context<'b>(&'b self, context: &'b Map<String, Value>) -> Invocation<'b> {
        Invocation { context, ..*self }
    }

    /// The same call of a stage whose own work began at `began`, not when the stage was first called: what it waited for
    /// before does not count against its time limits.
    #[must_use]
    pub fn begun_at(&self, began: i64) -> Invocation<'_> {
        Invocation {
            started: self.started.max(began),
            ..*self
        }
    }

    /// The same call, seeing the world like that. `store` is the look's own ([`Look::store`]): what only looks writes
    /// nothing.
    #[must_use]
    pub fn seeing<'b>(&'b self, look: &'b Look, store: &'b Store) -> Invocation<'b> {
        Invocation {
            look: Some(look),
            store,
            ..*self
        }
    }

    /// How this call sees the world; none is as one that acts, which shares nothing with other calls.
    #[must_use]
    pub fn look(&self) -> Option<&Look> {
        self.look
    }

    /// Asked before a change that neither the intent log nor a [`Look`]'s own ports and store stand in front of.
    ///
    /// # Errors
    /// [`CloudError::OnlyLooking`].
    pub fn may_change(&self) -> Result<(), CloudError> {
        self.look.map_or(Ok(()), Look::may_change)
    }

    /// Whether a person asked this stage to wait no more. That is no skip of the stage: it ends as if its time had come.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn wait_is_skipped(&self) -> Result<bool, CloudError> {
        let key = Key::new(
            Key::execution_partition(&self.run.execution),
            format!("SKIP#{}", self.stage.ref_id),
        );
        Ok(self.store.table().get(&key).await?.is_some())
    }

    /// Milliseconds since the stage started: what a wait of so long counts.
    #[must_use]
    pub fn waited(&self) -> i64 {
        self.now.saturating_sub(self.started)
    }

    /// Milliseconds since the stage started, less those during which the execution was paused: what a time limit counts.
    #[must_use]
    pub fn spent(&self) -> i64 {
        self.waited()
            .saturating_sub(self.execution.paused_millis(self.started, self.now))
    }

    /// Announces a change before its first mutating call, with what its undo needs to know. True if this try wrote
    /// it, false if an earlier try of the same stage did: what it made may be there already.
    ///
    /// `action` is unique in the stage: add the server group's name where there are several.
    ///
    /// # Errors
    /// [`StageError::Ending`] if nothing new may begin.
    pub async fn intend(&self, action: &str, undo: Value) -> Result<bool, StageError> {
        let intent = Intent {
            stage: self.recorded().ref_id.clone(),
            action: self.recorded_action(action),
            function: self.recorded().function.clone().unwrap_or_default(),
            undo,
            at: self.now,
            run: self.run.number,
            done: false,
            closed: false,
            result: None,
        };
        match self.store.write_intent(self.run, &intent).await? {
            IntentAnswer::Written => Ok(true),
            IntentAnswer::Known { .. } => Ok(false),
            IntentAnswer::Ending => Err(StageError::Ending),
        }
    }

    /// Marks that an announced change took effect. Its undo stays due until the stage's top-level stage completes.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn done(&self, action: &str) -> Result<(), CloudError> {
        let action = self.recorded_action(action);
        self.store
            .intent_done(&self.run.execution, &self.recorded().ref_id, &action)
            .await
    }

    /// An execution as it stands, for a stage that waits for its end: this stage's function is called when it ends. None
    /// if there is no such execution.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn watch(&self, id: &ExecutionId) -> Result<Option<Watched>, CloudError> {
        let watcher = Watcher {
            run: self.run.clone(),
            stage: self.stage.ref_id.clone(),
            function: self.stage.function.clone().unwrap_or_default(),
        };
        // First, so that an end between the two is told.
        self.store.watch(id, &watcher).await?;
        let Some(execution) = self.store.execution(id).await? else {
            return Ok(None);
        };
        if !execution.status.is_complete() {
            return Ok(Some(child::open(&execution)));
        }
        let Some(plan) = self.store.plan(&execution.plan_hash).await? else {
            return Ok(Some(child::open(&execution)));
        };
        let records = self.store.stages(id).await?;
        Ok(Some(child::watched(&plan, &execution, &records)))
    }

    /// The stage that the intents are recorded for: the one that the plan has.
    fn recorded(&self) -> &PlanStage {
        self.within.unwrap_or(self.stage)
    }

    fn recorded_action(&self, action: &str) -> String {
        match self.within {
            Some(_) => in_line::action_of(&self.stage.ref_id, action),
            None => action.to_owned(),
        }
    }

    /// The open intents of this stage, oldest first. Of a stage that runs in line only its own, under the actions that
    /// it announced.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn intents(&self) -> Result<Vec<Intent>, CloudError> {
        let recorded = self.recorded();
        let all = self.store.intents(&self.run.execution).await?;
        let own = all
            .into_iter()
            .filter(|intent| !intent.closed && intent.stage == recorded.ref_id);
        Ok(match self.within {
            None => own.collect(),
            Some(_) => own
                .filter_map(|intent| in_line::own_intent(&self.stage.ref_id, intent))
                .collect(),
        })
    }

    /// The store, for stages that keep records of their own (approvals, bakes).
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
    }
}
