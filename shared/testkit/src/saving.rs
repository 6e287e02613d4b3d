//! A stage that saves pipelines, with the function that it calls.

use std::sync::Arc;

use base64::Engine;
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_cloud::{CloudError, Scheduler, StepFunctions, Store};
use gennaker_domain::StageRecord;
use gennaker_lambda::{Function, Stage};
use serde_json::{Value, json};

use crate::drive::stage;
use crate::{Behaviour, Drive, End, MemoryFunctions, MemoryScheduler, MemoryStepFunctions, Strike};

/// The stage's `refId`.
const STAGE: &str = "1";
/// The application of its pipelines.
const APPLICATION: &str = "shop";

/// An execution of one stage whose function calls `save-pipeline`; all of it fails together.
pub struct Saving {
    /// The execution.
    pub drive: Drive,
    /// The installation's functions.
    pub functions: MemoryFunctions,
    /// The machines.
    pub step_functions: MemoryStepFunctions,
    save_pipeline: Arc<dyn Function>,
}

impl std::fmt::Debug for Saving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saving")
            .field("drive", &self.drive)
            .finish_non_exhaustive()
    }
}

/// A pipeline of one wait.
#[must_use]
pub fn pipeline(name: &str, seconds: u32) -> Value {
    json!({ "application": APPLICATION, "name": name, "stages": [
        { "refId": "1", "type": "wait", "name": "Wait", "waitTime": seconds, "requisiteStageRefIds": [] },
    ] })
}

/// JSON in Base64, as a stage takes what it saves.
#[must_use]
pub fn encoded(value: &Value) -> String {
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}

/// What `save-pipeline` is made of.
pub struct Ports {
    /// The table.
    pub store: Store,
    /// The machines.
    pub step_functions: Arc<dyn StepFunctions>,
    /// The schedules.
    pub scheduler: Arc<dyn Scheduler>,
}

impl Saving {
    /// With a stage of this type, function and context, and the `save-pipeline` that is made of the ports.
    ///
    /// # Errors
    /// None in practice: the table does not fail here.
    pub async fn new<F: Function + 'static>(
        [stage_type, function]: [&str; 2],
        context: Value,
        save_pipeline: fn(Ports) -> F,
    ) -> Result<Self, CloudError> {
        let stage = stage(STAGE, stage_type, function, context);
        let drive = Drive::new(Behaviour::default(), vec![stage]).await?;
        let functions = MemoryFunctions::with_faults(drive.faults.clone());
        functions.set_now(drive.world.now());
        let step_functions = MemoryStepFunctions::with_faults(drive.faults.clone());
        let of = |store| {
            Arc::new(save_pipeline(Ports {
                store,
                step_functions: Arc::new(step_functions.clone()),
                scheduler: Arc::new(MemoryScheduler::new()),
            }))
        };
        functions.serve(
            "gennaker-save-pipeline:live",
            of(Store::new(Arc::new(drive.table.clone()))),
        );
        Ok(Self {
            save_pipeline: of(drive.store()),
            drive,
            functions,
            step_functions,
        })
    }

    /// The functions as a stage takes them.
    #[must_use]
    pub fn port(&self) -> Arc<MemoryFunctions> {
        Arc::new(self.functions.clone())
    }

    /// Strikes from now on; [`Self::calls_since`] counts from what this answers.
    pub fn arm(&self, strike: Option<Strike>) -> usize {
        self.drive.faults.arm(strike)
    }

    /// Calls since the scenario was armed.
    #[must_use]
    pub fn calls_since(&self, first: usize) -> usize {
        self.drive.faults.calls().len().saturating_sub(first)
    }

    /// Calls the stage until its Task ends.
    pub async fn to_end<S: Stage>(&self, stage: S) -> End {
        self.drive.to_end(&self.drive.runtime(stage), STAGE).await
    }

    /// Calls the stage once and ends the execution: how many calls the stage made, and how its undo ended.
    ///
    /// # Errors
    /// None in practice.
    pub async fn cut_short<S: Stage>(&self, stage: S) -> Result<(usize, End), CloudError> {
        let runtime = self.drive.runtime(stage);
        let first = self.drive.faults.calls().len();
        let event = json!({ "run": self.drive.run(), "stage": STAGE });
        let _ = self.drive.call(&runtime, &event).await;
        let calls = self.calls_since(first);
        Ok((calls, self.drive.undo(&runtime, STAGE).await?))
    }

    /// Saves as a person does. None if it is refused.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save(
        &self,
        pipeline: &Value,
        author: &str,
    ) -> Result<Option<Pipeline>, CloudError> {
        let event = json!({ "application": APPLICATION, "pipeline": pipeline, "author": author });
        let now = self.drive.world.now();
        let answer = self.save_pipeline.handle(event, now).await;
        let answer = answer.unwrap_or_default();
        match answer.get("id").and_then(Value::as_str) {
            Some(id) => self.drive.store().pipeline(APPLICATION, id).await,
            None => Ok(None),
        }
    }

    /// The pipeline of this name or id.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn found(&self, name: &str) -> Result<Option<Pipeline>, CloudError> {
        self.drive.store().find_pipeline(APPLICATION, name).await
    }

    /// What is saved under this name now; null if nothing is.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn config(&self, name: &str) -> Result<Value, CloudError> {
        let Some(found) = self.found(name).await? else {
            return Ok(Value::Null);
        };
        let store = self.drive.store();
        let revision = store.revision(&found.id, found.revision).await?;
        Ok(revision.map_or(Value::Null, |revision| revision.config))
    }

    /// The stage's record, once it has one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn record(&self) -> Result<Option<StageRecord>, CloudError> {
        Ok(self.drive.records().await?.remove(STAGE))
    }
}
