//! Executions that other executions start: by a stage, or by a trigger that heard their end.

use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_domain::child::{ChildPipeline, MAX_DEPTH, Parent};
use gennaker_domain::{Ending, ExecutionId, Plan, Problem, Run, Status};
use gennaker_lambda::FunctionError;
use serde_json::{Map, Value};

use crate::Start;

/// Who starts a child: `{"execution","stage"?,"run"?}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begetter {
    execution: ExecutionId,
    /// `refId` of the stage; none for a trigger.
    stage: Option<String>,
    run: Option<u32>,
}

impl Begetter {
    /// The event's `parent`.
    ///
    /// # Errors
    /// `InvalidConfiguration` if it has none of the form.
    pub(crate) fn of(event: &Value) -> Result<Option<Self>, FunctionError> {
        let Some(parent) = event.get("parent") else {
            return Ok(None);
        };
        let text = |name: &str| parent.get(name).and_then(Value::as_str);
        let id = text("execution")
            .ok_or_else(|| FunctionError::Invalid("`parent` has no `execution`".to_owned()))?;
        let run = parent
            .get("run")
            .and_then(Value::as_u64)
            .and_then(|run| u32::try_from(run).ok());
        let stage = text("stage").map(str::to_owned);
        if stage.is_some() && run.is_none() {
            return Err(FunctionError::Invalid(
                "`parent` has a `stage` and no `run`".to_owned(),
            ));
        }
        Ok(Some(Self {
            execution: ExecutionId::try_from(id.to_owned())
                .map_err(|error| FunctionError::Invalid(error.to_string()))?,
            stage,
            run,
        }))
    }

    /// The run that must not be ending: a stage's child begins only while its parent goes on.
    pub(crate) fn fence(&self) -> Option<Run> {
        let number = self.run.filter(|_| self.stage.is_some())?;
        Some(self.execution.run(number))
    }
}

/// The parent is ending: nothing new may begin.
pub(crate) fn parent_ending() -> Problem {
    Problem::error(
        "parent-ending",
        "$.parent",
        "the parent execution is ending or on another run",
    )
}

/// How an execution ends whose artifacts could not be bound.
pub(crate) fn failed_on_startup(problems: &[Problem], now: i64) -> Ending {
    let texts: Vec<&str> = problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    Ending {
        status: Status::Terminal,
        reason: format!("Failed on startup: {}", texts.join("; ")),
        by: "system".to_owned(),
        at: now,
    }
}

impl Start {
    /// The pipeline that a request means; a parent may name one of another application by its id.
    pub(crate) async fn find(
        &self,
        application: &str,
        pipeline: &str,
        anywhere: bool,
    ) -> Result<Option<Pipeline>, FunctionError> {
        let found = self.store.find_pipeline(application, pipeline).await?;
        if found.is_some() || !anywhere {
            return Ok(found);
        }
        Ok(self.store.pipeline_anywhere(pipeline).await?)
    }

    /// The trigger of a child, from its parent as stored.
    pub(crate) async fn trigger_of_child(
        &self,
        parent: &Begetter,
        plan: &Plan,
        pipeline: &Pipeline,
        event: &Value,
    ) -> Result<Result<Map<String, Value>, Problem>, FunctionError> {
        let id = &parent.execution;
        let unknown = || {
            Problem::error(
                "unknown-execution",
                "$.parent.execution",
                format!("execution `{id}` not found"),
            )
        };
        let Some(execution) = self.store.execution(id).await? else {
            return Ok(Err(unknown()));
        };
        let own = self.plan(&execution.plan_hash).await?;
        let records = self.store.stages(id).await?;
        let started_by = self.store.trigger(id).await?.unwrap_or(Value::Null);
        let begetter = Parent {
            execution: &execution,
            plan: &own,
            records: &records,
            trigger: &started_by,
        };
        if begetter.depth() > MAX_DEPTH {
            return Ok(Err(Problem::error(
                "too-deep",
                "$.parent",
                format!("{MAX_DEPTH} executions stand above it already: pipelines that start each other without end"),
            )
            .with_hint("have one of them start nothing")));
        }
        let revision = self.store.revision(&pipeline.id, pipeline.revision).await?;
        let triggers: Vec<Value> = revision
            .as_ref()
            .and_then(|revision| revision.config.get("triggers"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let child = ChildPipeline {
            id: &pipeline.id,
            triggers: &triggers,
            expected_artifacts: &plan.expected_artifacts,
        };
        let none = Map::new();
        let parameters = event
            .get("parameters")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let user = event.get("user").and_then(Value::as_str);
        Ok(Ok(begetter.trigger_of_child(
            parent.stage.as_deref(),
            child,
            parameters,
            user,
        )))
    }

    /// Begins the parent of a child anew that began anew, at the stage that started it, if it has ended: as in Orca, the
    /// stage does not start another child but waits for this one.
    pub(crate) async fn restart_parent(
        &self,
        child: &ExecutionId,
        user: &str,
        now: i64,
    ) -> Result<(), FunctionError> {
        let trigger = self.store.trigger(child).await?.unwrap_or(Value::Null);
        let parent = trigger
            .get("parentExecution")
            .and_then(|parent| parent.get("id"))
            .and_then(Value::as_str)
            .and_then(|id| ExecutionId::try_from(id.to_owned()).ok());
        let stage = trigger.get("parentPipelineStageId").and_then(Value::as_str);
        let (Some(parent), Some(stage)) = (parent, stage) else {
            return Ok(());
        };
        let Some(ref_id) = stage.strip_prefix(&format!("{parent}-")) else {
            return Ok(());
        };
        let Some(execution) = self.store.execution(&parent).await? else {
            return Ok(());
        };
        if !execution.status.is_complete() {
            return Ok(());
        }
        let plan = self.plan(&execution.plan_hash).await?;
        let Some(top) = plan.top_level(ref_id) else {
            return Ok(());
        };
        // A parent that did not wait has nothing to wait for now.
        let waited = plan
            .stage(ref_id)
            .is_some_and(|stage| gennaker_domain::child::waits_for_completion(&stage.context));
        if !waited {
            return Ok(());
        }
        let next = parent.run(execution.run.saturating_add(1));
        self.store.adopt(&next, ref_id, child).await?;
        let request = serde_json::json!({
            "execution": parent, "stage": top.ref_id, "afterRun": execution.run,
        });
        // The parent may be a child too; no more than `MAX_DEPTH` stand above each other.
        let answer = Box::pin(self.restart(&request, user, now)).await?;
        tracing::info!(execution = %parent, child = %child, answer = %answer, "the parent begins anew");
        Ok(())
    }
}
