//! What became of the executions, in the fields of the recorded answers.

use gennaker_domain::rollup::{Records, Rollup};
use gennaker_domain::{Execution, ExecutionId, Owner, Plan, PlanStage, Status};
use serde_json::{Map, Value, json};

use crate::EvaluateError;
use crate::scripted::NOT_PLANNED;
use crate::world::World;

/// One execution as it is stored.
struct Seen<'a> {
    execution: Execution,
    plan: &'a Plan,
    records: Records,
}

pub(crate) async fn report(world: &World) -> Result<Value, EvaluateError> {
    let ids = world.executions().await?;
    let Some(first) = ids.first() else {
        return Ok(json!({ "status": Status::NotStarted, "stages": {}, "startOrder": [] }));
    };
    let first = seen(world, first).await?;
    let mut answer = execution(&first, true);
    let rollup = Rollup::new(first.plan, &first.records);
    let mut synthetic = Vec::new();
    let mut started: Vec<(i64, &str)> = Vec::new();
    for stage in first.plan.stages.iter().filter(|s| s.parent.is_none()) {
        sub_stages(&first, &rollup, stage, &mut synthetic, 0);
        if let (Some(time), _) = rollup.times(&stage.ref_id) {
            started.push((time, &stage.ref_id));
        }
    }
    // Stable: equal times stay in the pipeline's order.
    started.sort_by_key(|(time, _)| *time);
    let order: Vec<&str> = started.into_iter().map(|(_, ref_id)| ref_id).collect();
    answer.insert("startOrder".to_owned(), json!(order));
    if !synthetic.is_empty() {
        answer.insert("synthetic".to_owned(), synthetic.into());
    }
    if world.lists_executions() {
        let mut executions = Vec::new();
        for id in &ids {
            let seen = seen(world, id).await?;
            executions.push(Value::Object(execution(&seen, false)));
        }
        answer.insert("executions".to_owned(), executions.into());
    }
    Ok(Value::Object(answer))
}

async fn seen<'a>(world: &'a World, id: &ExecutionId) -> Result<Seen<'a>, EvaluateError> {
    let missing = || EvaluateError::Machine(format!("execution {id} is gone"));
    let execution = world.store.execution(id).await?.ok_or_else(missing)?;
    let plan = world
        .compiled
        .get(&execution.pipeline_id)
        .map(|compiled| &compiled.plan)
        .ok_or_else(missing)?;
    Ok(Seen {
        records: world.store.stages(id).await?,
        execution,
        plan,
    })
}

fn seconds(millis: i64) -> Value {
    // Below 2^53: an execution lasts a year at most.
    json!(millis as f64 / 1_000.0)
}

fn execution(seen: &Seen<'_>, is_first: bool) -> Map<String, Value> {
    let rollup = Rollup::new(seen.plan, &seen.records);
    let execution = &seen.execution;
    let mut answer = Map::new();
    answer.insert("status".to_owned(), json!(execution.status));
    if is_first {
        if let Some(end) = execution.end_time {
            answer.insert("endSeconds".to_owned(), seconds(end));
        }
    } else if let Some(start) = execution.start_time {
        answer.insert("startSeconds".to_owned(), seconds(start));
    }
    if execution.was_canceled(seen.plan) {
        answer.insert("canceled".to_owned(), true.into());
        let reason = execution
            .ending
            .as_ref()
            .filter(|ending| ending.status == Status::Canceled)
            // Without a reason of his own, the person is the reason.
            .filter(|ending| ending.reason != format!("canceled by {}", ending.by));
        if let Some(ending) = reason.filter(|_| !is_first) {
            answer.insert("reason".to_owned(), ending.reason.clone().into());
        }
    }
    let stages: Map<String, Value> = seen
        .plan
        .stages
        .iter()
        .filter(|stage| stage.parent.is_none())
        .map(|of| (of.ref_id.clone(), Value::Object(stage(seen, &rollup, of))))
        .collect();
    answer.insert("stages".to_owned(), Value::Object(stages));
    answer
}

fn stage(seen: &Seen<'_>, rollup: &Rollup<'_>, stage: &PlanStage) -> Map<String, Value> {
    let mut status = rollup.status(&stage.ref_id);
    if status == Status::Running && seen.execution.status == Status::Paused {
        status = Status::Paused;
    }
    let (started, ended) = rollup.times(&stage.ref_id);
    let mut answer = Map::new();
    answer.insert("status".to_owned(), json!(status));
    answer.insert("started".to_owned(), started.is_some().into());
    if let Some(started) = started {
        answer.insert("startSeconds".to_owned(), seconds(started));
    }
    if let Some(ended) = ended {
        answer.insert("endSeconds".to_owned(), seconds(ended));
    }
    answer
}

/// The sub-stages that the original would have planned, in its order: those before in front of their parent, the
/// others behind it, the last one first.
fn sub_stages(
    seen: &Seen<'_>,
    rollup: &Rollup<'_>,
    parent: &PlanStage,
    answer: &mut Vec<Value>,
    level: usize,
) {
    const MAX_LEVELS: usize = 8;
    let status = rollup.status(&parent.ref_id);
    if level >= MAX_LEVELS || matches!(status, Status::NotStarted | Status::Skipped) {
        return;
    }
    let failed = rollup.failed(&parent.ref_id)
        && seen
            .plan
            .children(&parent.ref_id)
            .any(|child| child.owner == Some(Owner::OnFailure));
    let planned = |child: &&PlanStage| {
        let began = rollup.status(&child.ref_id) != Status::NotStarted;
        match child.owner {
            // With stages for the failure, those that have not started are taken away.
            Some(Owner::Before) | None => began || !failed,
            Some(Owner::After) => began || (rollup.goes_on_after_task(&parent.ref_id) && !failed),
            Some(Owner::OnFailure) => began || failed,
        }
    };
    let shown = |child: &&PlanStage| {
        // The script of this run has no such stage.
        let unplanned = seen
            .records
            .get(&child.ref_id)
            .is_some_and(|record| record.waiting.as_deref() == Some(NOT_PLANNED));
        !unplanned
    };
    let entry = |child: &PlanStage| {
        let mut entry = Map::new();
        let of = if level == 0 {
            &parent.ref_id
        } else {
            &parent.name
        };
        let owner = if child.owner == Some(Owner::Before) {
            "STAGE_BEFORE"
        } else {
            "STAGE_AFTER"
        };
        entry.insert("parent".to_owned(), of.clone().into());
        entry.insert("owner".to_owned(), owner.into());
        entry.insert("name".to_owned(), child.name.clone().into());
        entry.extend(stage(seen, rollup, child));
        Value::Object(entry)
    };
    let children: Vec<&PlanStage> = seen
        .plan
        .children(&parent.ref_id)
        .filter(planned)
        .filter(shown)
        .collect();
    let is_before = |child: &&PlanStage| child.owner == Some(Owner::Before);
    for child in children.iter().copied().filter(is_before) {
        sub_stages(seen, rollup, child, answer, level + 1);
        answer.push(entry(child));
    }
    for child in children
        .iter()
        .rev()
        .copied()
        .filter(|child| !is_before(child))
    {
        sub_stages(seen, rollup, child, answer, level + 1);
        answer.push(entry(child));
    }
}
