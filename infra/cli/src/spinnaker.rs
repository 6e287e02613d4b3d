//! An execution in Spinnaker's JSON, with `run` added.

use gennaker_domain::{ExecutionId, Owner, PlanStage, Status};
use serde_json::{Map, Value, json};

use crate::view::{Snapshot, StageView};

/// The execution as Orca would show it.
pub(crate) fn execution_json(snapshot: &Snapshot, trigger: &Value) -> Value {
    let execution = &snapshot.execution;
    let plan = &snapshot.plan;
    let views = snapshot.stages();
    let stages: Vec<Value> = views
        .iter()
        .filter_map(|view| Some(stage_json(snapshot, plan.stage(&view.ref_id)?, view)))
        .collect();
    let mut json = json!({
        "id": execution.id,
        "type": "PIPELINE",
        "application": execution.application,
        "name": execution.pipeline,
        "pipelineConfigId": execution.pipeline_id,
        "status": execution.status,
        "run": if execution.run == 0 { Value::Null } else { execution.id.run(execution.run).to_string().into() },
        "buildTime": execution.build_time,
        "startTime": execution.start_time,
        "endTime": execution.end_time,
        "canceled": execution.ending.as_ref().is_some_and(|ending| ending.status == Status::Canceled),
        "limitConcurrent": plan.limit_concurrent,
        "maxConcurrentExecutions": plan.max_concurrent_executions,
        "keepWaitingPipelines": plan.keep_waiting_pipelines,
        "spelEvaluator": plan.spel_evaluator,
        "origin": trigger.get("origin").cloned().unwrap_or_else(|| "unknown".into()),
        "authentication": {
            "user": trigger.get("user").cloned().unwrap_or_else(|| "anonymous".into()),
            "allowedAccounts": [],
        },
        "notifications": plan.notifications,
        "trigger": trigger,
        "stages": stages,
    });
    if let (Some(object), Some(ending)) = (json.as_object_mut(), &execution.ending) {
        if ending.status == Status::Canceled {
            object.insert("canceledBy".to_owned(), ending.by.clone().into());
            object.insert(
                "cancellationReason".to_owned(),
                ending.reason.clone().into(),
            );
        }
        object.insert("ending".to_owned(), json!(ending));
    }
    json
}

/// A stage's id: a ULID that is the same every time it is asked for.
fn stage_id(snapshot: &Snapshot, ref_id: &str) -> String {
    let execution = &snapshot.execution;
    ExecutionId::derive(execution.build_time, &[execution.id.as_str(), ref_id]).to_string()
}

fn stage_json(snapshot: &Snapshot, stage: &PlanStage, view: &StageView) -> Value {
    let record = snapshot.records.get(&stage.ref_id);
    let mut context: Map<String, Value> = record
        .map(|record| record.context.clone())
        .filter(|context| !context.is_empty())
        .unwrap_or_else(|| stage.context.clone());
    if let Some(waiting) = view.reason.as_ref().filter(|_| !view.status.is_complete()) {
        context.insert("waitingFor".to_owned(), waiting.clone().into());
    }
    if let Some(failure) = record.and_then(|record| record.failure.as_ref()) {
        context.entry("exception").or_insert_with(|| {
            json!({
                "exceptionType": "StageFailed",
                "operation": stage.function.as_deref().unwrap_or(&stage.stage_type),
                "details": {
                    "error": failure.reason,
                    "errors": [failure.reason],
                    "details": failure.details,
                },
                "shouldRetry": false,
                "timestamp": view.ended,
            })
        });
    }
    let tasks: Vec<Value> = stage
        .function
        .iter()
        .map(|function| {
            json!({
                "id": "1",
                "name": function,
                "implementingClass": function,
                "startTime": record.and_then(|record| record.start_time),
                "endTime": record.and_then(|record| record.end_time),
                "status": record.map_or(Status::NotStarted, |record| record.task_status.unwrap_or(record.status)),
                "stageStart": true,
                "stageEnd": true,
                "loopStart": false,
                "loopEnd": false,
            })
        })
        .collect();
    let mut json = json!({
        "id": stage_id(snapshot, &stage.ref_id),
        "refId": stage.ref_id,
        "type": stage.stage_type,
        "name": stage.name,
        "startTime": view.started,
        "endTime": view.ended,
        "status": view.status,
        "context": context,
        "outputs": record.map(|record| record.outputs.clone()).unwrap_or_default(),
        "tasks": tasks,
        "requisiteStageRefIds": stage.requisites,
    });
    if let (Some(object), Some(parent)) = (json.as_object_mut(), &stage.parent) {
        object.insert(
            "parentStageId".to_owned(),
            stage_id(snapshot, parent).into(),
        );
        let owner = match stage.owner {
            Some(Owner::Before) => "STAGE_BEFORE",
            _ => "STAGE_AFTER",
        };
        object.insert("syntheticStageOwner".to_owned(), owner.into());
    }
    json
}
