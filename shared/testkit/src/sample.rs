//! Plans, pipelines and executions to begin a test with.

use gennaker_cloud::store::pipelines::{Pipeline, Revision, TriggerEntry};
use gennaker_cloud::{CloudError, Store};
use gennaker_domain::approval::{self, Question, Rules, Shown};
use gennaker_domain::{Execution, ExecutionId, Plan, Status, plan::SCHEMA};
use gennaker_triggers::index::trigger_key;
use gennaker_triggers::trigger::Trigger;
use serde_json::{Value, json};

/// Version of the state machine that the sample pipeline runs on; make it with
/// `MemoryStepFunctions::add_machine("sample")` and its first version.
pub const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:sample";

/// A plan of these stages. Each is `{"refId","type",…}`; what else a stage of a plan has is filled in: a function
/// called after the type, and a start after its requisites.
///
/// # Panics
/// If the stages are not what a plan has.
#[allow(clippy::expect_used)] // For tests alone.
#[must_use]
pub fn plan(stages: Value) -> Plan {
    let stages: Vec<Value> = stages
        .as_array()
        .cloned()
        .unwrap_or_default()
        .into_iter()
        .map(|given| {
            let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or("");
            let function: String = text("type")
                .chars()
                .flat_map(|c| {
                    let dash = c.is_ascii_uppercase().then_some('-');
                    dash.into_iter().chain(c.to_lowercase())
                })
                .collect();
            let after: Vec<Value> = given
                .get("requisites")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|id| json!({ "refId": id, "whole": true }))
                .collect();
            let mut stage = json!({
                "name": text("type"), "function": function, "startsAfter": after, "context": {},
            });
            if let (Some(stage), Some(given)) = (stage.as_object_mut(), given.as_object()) {
                stage.extend(given.clone());
            }
            stage
        })
        .collect();
    serde_json::from_value(json!({
        "schema": SCHEMA,
        "application": "shop",
        "pipeline": "release",
        "pipelineId": "p-1",
        "spelEvaluator": "v4",
        "stages": stages,
    }))
    .expect("the stages are those of a plan")
}

/// The entries of the trigger index for triggers of the sample pipeline, in their order; those that no event finds have
/// none.
#[must_use]
pub fn entries(triggers: &[Value]) -> Vec<TriggerEntry> {
    triggers
        .iter()
        .enumerate()
        .filter_map(|(index, trigger)| {
            let read = Trigger::read(trigger).ok()?;
            Some(TriggerEntry {
                key: trigger_key(&read)?,
                application: "shop".to_owned(),
                pipeline_id: "p-1".to_owned(),
                index,
                trigger: trigger.clone(),
            })
        })
        .collect()
}

/// Saves the plan as the pipeline `release` of the application `shop`, heard by these triggers.
///
/// # Errors
/// Those of the table.
pub async fn save(
    store: &Store,
    plan: &Plan,
    triggers: &[TriggerEntry],
) -> Result<Pipeline, CloudError> {
    let before = store.pipeline(&plan.application, &plan.pipeline_id).await?;
    let pipeline = Pipeline {
        application: plan.application.clone(),
        id: plan.pipeline_id.clone(),
        name: plan.pipeline.clone(),
        revision: before.as_ref().map_or(1, |before| before.revision + 1),
        plan_hash: store.put_plan(plan).await?,
        machine: MACHINE.to_owned(),
        state_machine: MACHINE.to_owned(),
        definition_hash: String::new(),
        config_hash: String::new(),
        disabled: false,
        deleted: false,
        triggers: Vec::new(),
        schedules: Vec::new(),
        author: None,
        saved_at: 1,
    };
    let revision = Revision {
        number: pipeline.revision,
        config: json!({}),
        plan_hash: pipeline.plan_hash.clone(),
        author: None,
        saved_at: 1,
        summary: "sample".to_owned(),
    };
    store
        .save_pipeline(before.as_ref(), &pipeline, &revision, triggers)
        .await?;
    Ok(pipeline)
}

/// A question of this stage in the execution's current run, as `manual-judgment` asks it where nothing stands before it:
/// with the fields of `stage` that say who may answer.
#[allow(clippy::expect_used)] // For tests alone.
#[must_use]
pub fn question(execution: &Execution, ref_id: &str, stage: &Value) -> Question {
    let context = stage.as_object().cloned().unwrap_or_default();
    let text = |name: &str| stage.get(name).and_then(Value::as_str);
    Question {
        run: execution.id.run(execution.run),
        stage: ref_id.to_owned(),
        name: "Ship it?".to_owned(),
        application: execution.application.clone(),
        pipeline: execution.pipeline.clone(),
        instructions: text("instructions").unwrap_or_default().to_owned(),
        options: approval::options(&context),
        continue_text: "Continue".to_owned(),
        stop_text: "Stop".to_owned(),
        rules: Rules::of(&context).expect("the rules can be read"),
        requester: text("requester").map(str::to_owned),
        shown: Shown {
            plan: execution.plan_hash.clone(),
            ..Shown::default()
        },
        changes: Vec::new(),
        asked_at: 2,
        expires_at: 1_000_000_000_000_000,
        tells_outcome: stage.get("sendNotifications") == Some(&Value::Bool(true)),
        notifications: stage
            .get("notifications")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    }
}

/// Saves pipelines with so many triggers in all, ninety each; each hears image pushes to a repository of its own,
/// `shop/<n>` of account 123456789012 in us-east-1.
///
/// # Errors
/// Those of the table.
pub async fn heard_by(store: &Store, triggers: usize) -> Result<(), CloudError> {
    const EACH: usize = 90;
    let mut plan = plan(json!([{"refId": "1", "type": "wait"}]));
    for first in (0..triggers).step_by(EACH) {
        plan.pipeline_id = format!("p-{first}");
        plan.pipeline = format!("release {first}");
        let entries: Vec<TriggerEntry> = (first..triggers.min(first + EACH))
            .map(|n| TriggerEntry {
                key: format!("ecr#123456789012/us-east-1/shop/{n}"),
                application: plan.application.clone(),
                pipeline_id: plan.pipeline_id.clone(),
                index: n - first,
                trigger: json!({"type": "ecr", "enabled": true, "repository": format!("shop/{n}")}),
            })
            .collect();
        save(store, &plan, &entries).await?;
    }
    Ok(())
}

/// Stores an execution of the plan that runs, in its first run.
///
/// # Errors
/// Those of the table.
pub async fn running(store: &Store, plan: &Plan, now: i64) -> Result<Execution, CloudError> {
    let id = ExecutionId::derive(now, &["sample"]);
    let trigger = json!({ "type": "manual", "parameters": {} });
    started_by(store, plan, id, &trigger, now).await
}

/// As [`running`], with this id and started by this trigger.
///
/// # Errors
/// Those of the table.
pub async fn started_by(
    store: &Store,
    plan: &Plan,
    id: ExecutionId,
    trigger: &Value,
    now: i64,
) -> Result<Execution, CloudError> {
    let execution = Execution {
        id,
        application: plan.application.clone(),
        pipeline: plan.pipeline.clone(),
        pipeline_id: plan.pipeline_id.clone(),
        revision: 1,
        plan_hash: store.put_plan(plan).await?,
        state_machine: MACHINE.to_owned(),
        status: Status::Running,
        run: 1,
        ending: None,
        paused: false,
        pauses: Vec::new(),
        canceled: false,
        build_time: now,
        start_time: Some(now),
        end_time: None,
    };
    store.create_execution(&execution, trigger).await?;
    Ok(execution)
}
