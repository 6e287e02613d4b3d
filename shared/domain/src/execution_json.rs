//! An execution as Spinnaker's JSON has it, with `run` added: what the API answers and what expressions see.

use serde_json::{Map, Value, json};

use crate::rollup::{Records, Rollup};
use crate::{Execution, Owner, Plan, PlanStage, Status};

/// The execution with its stages.
///
/// Stage ids are `<execution id>-<refId>`: derived, so every reader sees the same. A top-level stage's status is
/// computed from its sub-stages.
#[must_use]
pub fn execution_json(
    plan: &Plan,
    execution: &Execution,
    records: &Records,
    trigger: &Value,
) -> Value {
    let rollup = Rollup::new(plan, records);
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .map(|stage| stage_json(execution, records, &rollup, stage))
        .collect();
    let mut json = json!({
        "id": execution.id,
        "type": "PIPELINE",
        "application": execution.application,
        "name": execution.pipeline,
        "pipelineConfigId": execution.pipeline_id,
        "run": if execution.run == 0 { Value::Null } else { execution.id.run(execution.run).to_string().into() },
        "status": execution.status,
        "buildTime": execution.build_time,
        "startTime": execution.start_time,
        "endTime": execution.end_time,
        "canceled": execution.was_canceled(plan),
        "paused": paused_json(execution),
        "limitConcurrent": plan.limit_concurrent,
        "keepWaitingPipelines": plan.keep_waiting_pipelines,
        "maxConcurrentExecutions": plan.max_concurrent_executions,
        "spelEvaluator": plan.spel_evaluator,
        "origin": trigger.get("origin").cloned().unwrap_or_else(|| "api".into()),
        "authentication": { "user": trigger.get("user").cloned().unwrap_or_else(|| "anonymous".into()), "allowedAccounts": [] },
        "notifications": plan.notifications,
        "trigger": trigger,
        "stages": stages,
    });
    if let (Some(ending), Some(object)) = (&execution.ending, json.as_object_mut()) {
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

/// The last pause, as Orca shows it; null if there was none.
fn paused_json(execution: &Execution) -> Value {
    let Some(last) = execution.pauses.last() else {
        return Value::Null;
    };
    // Zero while it goes on, as in Orca.
    let paused_millis = last
        .resume_time
        .map_or(0, |end| end.saturating_sub(last.pause_time));
    json!({
        "pausedBy": last.paused_by,
        "pauseTime": last.pause_time,
        "resumedBy": last.resumed_by,
        "resumeTime": last.resume_time,
        "pausedMs": paused_millis,
    })
}

/// Id of a stage in Spinnaker's JSON.
#[must_use]
pub(crate) fn stage_id(execution: &Execution, ref_id: &str) -> String {
    format!("{}-{ref_id}", execution.id)
}

fn stage_json(
    execution: &Execution,
    records: &Records,
    rollup: &Rollup<'_>,
    stage: &PlanStage,
) -> Value {
    let record = records.get(&stage.ref_id);
    let shown = |status: Status| {
        if status == Status::Running && execution.status == Status::Paused {
            Status::Paused
        } else {
            status
        }
    };
    let mut context = record
        .filter(|record| !record.context.is_empty())
        .map_or(&stage.context, |record| &record.context)
        .clone();
    if let Some(failure) = record.and_then(|record| record.failure.as_ref()) {
        // A stage that failed by itself has one; one that was given up has not.
        context.entry("exception").or_insert_with(|| {
            json!({
                "exceptionType": "StageFailed",
                "operation": stage.function.as_deref().unwrap_or(&stage.stage_type),
                "details": { "error": failure.reason, "errors": [failure.reason] },
                "shouldRetry": false,
                "timestamp": record.and_then(|record| record.end_time),
            })
        });
    }
    let (start, end) = rollup.times(&stage.ref_id);
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("id", stage_id(execution, &stage.ref_id).into());
    put("refId", stage.ref_id.clone().into());
    put("type", stage.stage_type.clone().into());
    put("name", stage.name.clone().into());
    put("status", json!(shown(rollup.status(&stage.ref_id))));
    put("startTime", json!(start));
    put("endTime", json!(end));
    put("context", Value::Object(context));
    put(
        "outputs",
        Value::Object(
            record
                .map(|record| record.outputs.clone())
                .unwrap_or_default(),
        ),
    );
    put("requisiteStageRefIds", json!(stage.requisites));
    put(
        "tasks",
        tasks(
            stage,
            record.map(|record| {
                let status = record.task_status.unwrap_or(record.status);
                (shown(status), record.start_time, record.end_time)
            }),
        ),
    );
    if let Some(parent) = &stage.parent {
        put("parentStageId", stage_id(execution, parent).into());
    }
    match stage.owner {
        Some(Owner::Before) => put("syntheticStageOwner", "STAGE_BEFORE".into()),
        Some(Owner::After | Owner::OnFailure) => put("syntheticStageOwner", "STAGE_AFTER".into()),
        None => {}
    }
    if let Some(waiting) = record.and_then(|record| record.waiting.clone()) {
        put("waiting", waiting.into());
    }
    Value::Object(object)
}

fn tasks(stage: &PlanStage, record: Option<(Status, Option<i64>, Option<i64>)>) -> Value {
    let Some(function) = &stage.function else {
        return json!([]);
    };
    let (status, start, end) = record.unwrap_or((Status::NotStarted, None, None));
    json!([{
        "id": "1",
        "name": stage.stage_type,
        "implementingClass": function,
        "status": status,
        "startTime": start,
        "endTime": end,
        "stageStart": true,
        "stageEnd": true,
        "loopStart": false,
        "loopEnd": false,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExecutionId;

    #[test]
    fn the_last_pause_is_shown_as_orca_shows_it() {
        let plan: Plan = serde_json::from_value(json!({
            "schema": 1, "application": "shop", "pipeline": "p", "pipelineId": "p", "spelEvaluator": "v4", "stages": [],
        }))
        .unwrap();
        let shown = |pauses: Value| {
            let execution: Execution = serde_json::from_value(json!({
                "id": ExecutionId::derive(1, &["pauses"]), "application": "shop", "pipeline": "p", "pipelineId": "p",
                "revision": 1, "planHash": "", "stateMachine": "", "status": "RUNNING", "run": 1, "buildTime": 1,
                "pauses": pauses,
            }))
            .unwrap();
            execution_json(&plan, &execution, &Records::new(), &Value::Null)["paused"].clone()
        };
        assert_eq!(shown(json!([])), Value::Null);
        assert_eq!(
            shown(json!([
                {"pausedBy": "ada", "pauseTime": 10, "resumedBy": "bob", "resumeTime": 30},
                {"pausedBy": "cyd", "pauseTime": 40, "resumedBy": "dan", "resumeTime": 45},
            ])),
            json!({"pausedBy": "cyd", "pauseTime": 40, "resumedBy": "dan", "resumeTime": 45, "pausedMs": 5})
        );
        assert_eq!(
            shown(json!([{"pausedBy": "ada", "pauseTime": 10}])),
            json!({"pausedBy": "ada", "pauseTime": 10, "resumedBy": null, "resumeTime": null, "pausedMs": 0})
        );
    }
}
