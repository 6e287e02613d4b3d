#![doc = include_str!("../README.md")]

pub mod child;
pub mod parameters;
pub mod restart;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::concurrency::{self, launch, slot_count};
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::step_functions::AwsStepFunctions;
use gennaker_cloud::store::children::ChildAnswer;
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_cloud::{Functions, StepFunctions, Store};
use gennaker_domain::approval::Person;
use gennaker_domain::rollup::Rollup;
use gennaker_domain::{Execution, ExecutionId, Plan, Problem, Status, artifact};
use gennaker_http::{Callers, StsCallers};
use gennaker_lambda::{Connection, Function, FunctionError, Resolver, caller, parents};
use serde_json::{Map, Value, json};

use parameters::Required;

/// The type of a trigger that is a person, and of one that does not say.
const MANUAL: &str = "manual";

/// Starts executions.
pub struct Start {
    store: Store,
    step_functions: Arc<dyn StepFunctions>,
    functions: Arc<dyn Functions>,
    callers: Option<Arc<dyn Callers>>,
    prefix: String,
    resolver: Resolver,
}

/// Problems of a request, as JSON.
fn refused(problems: &[Problem]) -> Value {
    json!({ "problems": problems })
}

/// The trigger's type.
fn kind(trigger: &Map<String, Value>) -> &str {
    trigger
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or(MANUAL)
}

fn answer(execution: &Execution) -> Value {
    json!({
        "executionId": execution.id,
        "status": execution.status,
        "run": (execution.run > 0).then(|| execution.id.run(execution.run)),
        "revision": execution.revision,
    })
}

impl Start {
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
            resolver: Resolver::new(),
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
    }

    /// One request to start or restart; see the README for the events and answers.
    ///
    /// # Errors
    /// Those of the table and of Step Functions: the same event again finishes what was begun.
    pub async fn start(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        if let Some(request) = event.get("restart") {
            return match self.caller(event, now).await? {
                Ok(person) => self.restart(request, person.shown(), now).await,
                Err(problem) => Ok(refused(&[problem])),
            };
        }
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let need = |name: &str| {
            text(name).ok_or_else(|| FunctionError::Invalid(format!("the event has no `{name}`")))
        };
        let parent = child::Begetter::of(event)?;
        let pipeline = need("pipeline")?;
        // A parent may name a pipeline by its id alone.
        let application = match &parent {
            Some(_) => text("application").unwrap_or_default(),
            None => need("application")?,
        };
        let mut trigger: Map<String, Value> = event
            .get("trigger")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let id = match text("executionId") {
            Some(id) => ExecutionId::try_from(id.to_owned())
                .map_err(|error| FunctionError::Invalid(error.to_string()))?,
            None => {
                let content = Value::Object(trigger.clone()).to_string();
                ExecutionId::derive(now, &[application, pipeline, &content])
            }
        };
        if let Some(known) = self.store.execution(&id).await? {
            return self.go_on(known, now).await;
        }
        // Of a push, a schedule or a parent `trigger` and the parent say who it was; of a start by hand only a signature.
        if parent.is_none() && kind(&trigger) == MANUAL {
            let user = match self.caller(event, now).await? {
                Ok(person) => person.shown().to_owned(),
                Err(problem) => return Ok(refused(&[problem])),
            };
            trigger.insert("user".to_owned(), user.into());
        }
        let found = self.find(application, pipeline, parent.is_some()).await?;
        let Some(pipeline) = found else {
            return Ok(refused(&[Problem::error(
                "unknown-pipeline",
                "$.pipeline",
                format!("pipeline `{pipeline}` not found in application `{application}`"),
            )
            .with_hint("`gennaker pipeline list` shows what is saved")]));
        };
        if pipeline.disabled {
            return Ok(refused(&[Problem::error(
                "pipeline-disabled",
                "$.pipeline",
                "Pipeline is disabled and cannot be started.",
            )]));
        }
        let plan = self.plan(&pipeline.plan_hash).await?;
        if let Some(parent) = &parent {
            match self
                .trigger_of_child(parent, &plan, &pipeline, event)
                .await?
            {
                Ok(own) => trigger = own,
                Err(problem) => {
                    tracing::warn!(application, pipeline = pipeline.name, problem = ?problem, "not started");
                    return Ok(refused(&[problem]));
                }
            }
        }
        let mut failed = None;
        if let Err(problems) = self.complete(&plan, &pipeline, &mut trigger).await? {
            tracing::warn!(application, pipeline = pipeline.name, problems = ?problems, "not started");
            if parent.is_none() {
                return Ok(refused(&problems));
            }
            // As in Orca: whoever waits for it, and its history, see an execution that failed.
            failed = Some(child::failed_on_startup(&problems, now));
        }
        let trigger = Value::Object(trigger);
        if failed.is_none() {
            self.process(&plan, &id, &trigger, now).await?;
        }
        let limited = slot_count(&plan).is_some() && failed.is_none();
        let mut execution = Execution {
            id,
            application: pipeline.application.clone(),
            pipeline: pipeline.name.clone(),
            pipeline_id: pipeline.id.clone(),
            revision: pipeline.revision,
            plan_hash: pipeline.plan_hash.clone(),
            state_machine: pipeline.state_machine.clone(),
            status: if limited {
                Status::NotStarted
            } else {
                Status::Running
            },
            run: u32::from(!limited),
            ending: None,
            paused: false,
            pauses: Vec::new(),
            canceled: false,
            build_time: now,
            start_time: (!limited).then_some(now),
            end_time: None,
        };
        if let Some(ending) = failed {
            execution.status = ending.status;
            execution.run = 0;
            execution.start_time = None;
            execution.end_time = Some(now);
            execution.ending = Some(ending);
        }
        // Where executions are limited, each one queues first: one path for those that wait and those that do not.
        let created = if let Some(parent) = &parent {
            let fence = parent.fence();
            let answer = self
                .store
                .create_child(&execution, &trigger, fence.as_ref())
                .await?;
            if answer == ChildAnswer::ParentEnding {
                return Ok(refused(&[child::parent_ending()]));
            }
            answer == ChildAnswer::Created
        } else if limited {
            self.store.create_queued(&execution, &trigger).await?
        } else {
            self.store.create_execution(&execution, &trigger).await?
        };
        tracing::info!(execution = %execution.id, application, pipeline = pipeline.name, revision = execution.revision, created, "execution created");
        let known = self.store.execution(&execution.id).await?;
        self.go_on(known.unwrap_or(execution), now).await
    }

    /// What the start makes of the pipeline's expressions, kept before the execution is there: whoever runs one of its
    /// stages finds it.
    async fn process(
        &self,
        plan: &Plan,
        id: &ExecutionId,
        trigger: &Value,
        now: i64,
    ) -> Result<(), FunctionError> {
        let values = plan.stages.iter().flat_map(|stage| stage.context.values());
        let whole = parents::complete(&self.store, values, trigger.clone()).await?;
        let processed = self
            .resolver
            .process(&self.store, plan, id, &whole, now)
            .await?;
        if let Some(processed) = processed {
            self.store.put_processed(id, &processed).await?;
        }
        Ok(())
    }

    /// Takes an execution that is stored as far as it can go: to a slot, and to Step Functions.
    async fn go_on(&self, execution: Execution, now: i64) -> Result<Value, FunctionError> {
        if execution.status == Status::NotStarted {
            let current = self
                .store
                .pipeline(&execution.application, &execution.pipeline_id)
                .await?;
            let hash = current.map_or_else(|| execution.plan_hash.clone(), |p| p.plan_hash);
            let limits = self.plan(&hash).await?;
            let promoted = concurrency::promote(
                &self.store,
                self.step_functions.as_ref(),
                &execution.pipeline_id,
                &limits,
                now,
            )
            .await?;
            for id in &promoted.started {
                if let Some(started) = self.store.execution(id).await? {
                    self.tell(&started).await;
                }
            }
            for id in &promoted.canceled {
                self.follow_up(id).await;
            }
            let now_is = self.store.execution(&execution.id).await?;
            return Ok(answer(now_is.as_ref().unwrap_or(&execution)));
        }
        if execution.status == Status::Terminal && execution.run == 0 {
            // It failed before it began.
            self.follow_up(&execution.id).await;
        }
        let begun = matches!(execution.status, Status::Running | Status::Paused);
        if begun && execution.ending.is_none() {
            let started = launch(self.step_functions.as_ref(), &execution).await?;
            if started == gennaker_cloud::step_functions::Started::New {
                self.tell(&execution).await;
            }
        }
        Ok(answer(&execution))
    }

    /// Hands `pipeline.starting` to `notify`. Telling people never stops a release.
    async fn tell(&self, execution: &Execution) {
        let payload = json!({ "execution": execution.id, "when": "pipeline.starting" });
        let told = self
            .functions
            .invoke_later(&function_name(&self.prefix, "notify"), &payload)
            .await;
        if let Err(error) = told {
            tracing::warn!(execution = %execution.id, reason = %error, "nobody was told that it starts");
        }
    }

    /// Has `finalize` tell the end of an execution that never ran to whoever waits for it. The sweep does it if this fails.
    async fn follow_up(&self, id: &ExecutionId) {
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
    }

    async fn plan(&self, hash: &str) -> Result<Plan, FunctionError> {
        self.store
            .plan(hash)
            .await?
            .ok_or_else(|| FunctionError::Invalid(format!("plan {hash} not found")))
    }

    /// Completes the trigger as the execution carries it: parameters and artifacts. The parameters are there even where
    /// artifacts cannot be bound.
    async fn complete(
        &self,
        plan: &Plan,
        pipeline: &Pipeline,
        trigger: &mut Map<String, Value>,
    ) -> Result<Result<(), Vec<Problem>>, FunctionError> {
        let kind = kind(trigger).to_owned();
        let list = |name: &str| -> Vec<Value> {
            trigger
                .get(name)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let given = trigger
            .get("parameters")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let required = if kind == MANUAL {
            Required::Enforced
        } else {
            Required::Tolerated
        };
        let parameters = parameters::parameters(&plan.parameters, &given, required);
        let received = list("artifacts");
        let ids = list("expectedArtifactIds");
        let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
        let wants_prior = plan
            .expected_artifacts
            .iter()
            .any(|one| one.get("usePriorArtifact") == Some(&Value::Bool(true)));
        let prior = if wants_prior {
            self.prior_artifacts(&pipeline.id).await?
        } else {
            Vec::new()
        };
        let artifacts = artifact::resolve(&plan.expected_artifacts, &ids, &received, &prior);
        trigger.insert("type".to_owned(), kind.into());
        // Orca's trigger always has these.
        for (name, value) in [
            ("user", Value::from("anonymous")),
            ("rebake", false.into()),
            ("dryRun", false.into()),
            ("strategy", false.into()),
            ("notifications", json!([])),
        ] {
            trigger.entry(name).or_insert(value);
        }
        let mut problems = Vec::new();
        match parameters {
            Ok(parameters) => {
                trigger.insert("parameters".to_owned(), Value::Object(parameters));
            }
            Err(missing) => problems.extend(missing),
        }
        match artifacts {
            Ok(artifacts) => {
                trigger.insert("artifacts".to_owned(), artifacts.artifacts.into());
                trigger.insert(
                    "resolvedExpectedArtifacts".to_owned(),
                    artifacts.expected.clone().into(),
                );
                trigger.insert("expectedArtifacts".to_owned(), artifacts.expected.into());
            }
            Err(unbound) => problems.extend(unbound),
        }
        Ok(if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        })
    }

    /// Artifacts of the pipeline's latest execution.
    async fn prior_artifacts(&self, pipeline_id: &str) -> Result<Vec<Value>, FunctionError> {
        let latest = self.store.executions_of_pipeline(pipeline_id, 1).await?;
        let Some(latest) = latest.first() else {
            return Ok(Vec::new());
        };
        let trigger = self.store.trigger(&latest.id).await?;
        Ok(trigger
            .as_ref()
            .and_then(|trigger| trigger.get("artifacts"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    async fn caller(
        &self,
        event: &Value,
        now: i64,
    ) -> Result<Result<Person, Problem>, FunctionError> {
        caller(self.callers.as_deref(), &self.store, ("start", event), now).await
    }

    /// Begins an execution anew at one of its stages that does not run: a new run.
    async fn restart(&self, request: &Value, user: &str, now: i64) -> Result<Value, FunctionError> {
        let need = |name: &str| {
            request
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| FunctionError::Invalid(format!("`restart` has no `{name}`")))
        };
        let id = ExecutionId::try_from(need("execution")?.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        let ref_id = need("stage")?;
        let Some(execution) = self.store.execution(&id).await? else {
            return Ok(refused(&[Problem::error(
                "unknown-execution",
                "$.restart.execution",
                format!("execution `{id}` not found"),
            )]));
        };
        // A call that is repeated after its answer was lost says which run it meant to follow.
        let after_run = request.get("afterRun").and_then(Value::as_u64);
        let began_anew = after_run.is_some_and(|run| run < u64::from(execution.run));
        let waits_anew = execution.status == Status::NotStarted && execution.run > 0;
        if began_anew || waits_anew {
            if !execution.status.is_complete() {
                // The call that began it may have died before it came to its parent.
                self.restart_parent(&id, user, now).await?;
            }
            return self.go_on(execution, now).await;
        }
        let running = execution.status == Status::Running && execution.ending.is_none();
        if !execution.status.is_complete() && !running {
            return Ok(refused(&[Problem::error(
                "execution-running",
                "$.restart.execution",
                format!("execution `{id}` is {} and has not ended", execution.status),
            )
            .with_hint("wait for its end, or resume it first if it is paused")]));
        }
        let plan = self.plan(&execution.plan_hash).await?;
        let Some(stages) = restart::reset(&plan, ref_id) else {
            return Ok(refused(&[Problem::error(
                "unknown-stage",
                "$.restart.stage",
                format!("execution `{id}` has no top-level stage `{ref_id}`"),
            )]));
        };
        let records = self.store.stages(&id).await?;
        let rollup = Rollup::new(&plan, &records);
        if !matches!(rollup.status(ref_id), Status::NotStarted)
            && !rollup.status(ref_id).is_complete()
        {
            return Ok(refused(&[Problem::error(
                "stage-running",
                "$.restart.stage",
                format!("stage `{ref_id}` of execution `{id}` runs"),
            )
            .with_hint("wait for its end, or cancel the execution first")]));
        }
        // What runs runs on: a running dependant keeps its record, and its own run carries it to its end.
        let stages: Vec<String> = stages
            .into_iter()
            .filter(|stage| {
                plan.top_level(stage)
                    .is_none_or(|top| rollup.status(&top.ref_id).is_complete())
            })
            .collect();
        // A running execution has its slot.
        let limited = slot_count(&plan).is_some() && !running;
        let begun = self
            .store
            .restart_execution(&execution, &stages, limited, now)
            .await?;
        tracing::info!(execution = %id, stage = ref_id, user, begun, "restart");
        if begun {
            self.restart_parent(&id, user, now).await?;
        }
        let known = self.store.execution(&id).await?;
        self.go_on(known.unwrap_or(execution), now).await
    }
}

#[async_trait]
impl Function for Start {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        self.start(&event, now).await
    }
}
