//! The lock of a cluster, taken.
//!
//! One write takes it, and nothing has to give it back: whoever finds it held looks at what its holder has stored.
//! `finalize` removes the locks of an execution at its end.

use gennaker_cloud::CloudError;
use gennaker_cloud::store::locks::LockAnswer;
use gennaker_domain::deployment::cluster_lock::{
    ClusterLock, LockSettings, LockedCluster, at_work, held_by,
};
use gennaker_domain::{ExecutionId, child};
use gennaker_lambda::{Invocation, StageError};
use serde_json::{Map, Value};

use crate::config::{Subject, created_cluster};

/// Whether the clusters of a stage are its execution's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// They are, the last one since then, UTC milliseconds; none for a stage that names no cluster.
    Since(Option<i64>),
    /// Somebody else has one, as a person reads it.
    By(String),
}

/// The clusters that a stage is about, in an order in which everybody takes them: two stages that need the same two
/// clusters cannot wait for each other. Empty for a stage that names none: what it lacks it says itself.
fn clusters(invocation: &Invocation<'_>) -> Vec<LockedCluster> {
    let lineage = invocation.plan.lineage(&invocation.stage.ref_id);
    let above = lineage.iter().skip(1).map(|stage| {
        let record = invocation.records.get(&stage.ref_id);
        let resolved = record.map(|record| &record.context);
        let context = resolved.filter(|context| !context.is_empty());
        (stage.stage_type.as_str(), context.unwrap_or(&stage.context))
    });
    std::iter::once((invocation.stage.stage_type.as_str(), invocation.context))
        .chain(above)
        .find_map(|(stage_type, context)| named(stage_type, context, invocation))
        .unwrap_or_default()
}

fn named(
    stage_type: &str,
    context: &Map<String, Value>,
    invocation: &Invocation<'_>,
) -> Option<Vec<LockedCluster>> {
    let (account, regions) = Subject::place_of(context).ok()?;
    let creates = matches!(
        stage_type,
        "createServerGroup" | "cloneServerGroup" | "copyLastAsg"
    );
    let cluster = if creates {
        created_cluster(context, &invocation.execution.application)?
    } else {
        Subject::of(context).ok()?.cluster
    };
    let mut clusters: Vec<LockedCluster> = regions
        .into_iter()
        .map(|region| LockedCluster {
            account: account.clone(),
            region,
            cluster: cluster.clone(),
        })
        .collect();
    clusters.sort();
    Some(clusters)
}

/// The stage for which a lock is taken: the outermost one that does something itself. A deploy only groups its clusters.
fn holder<'a>(invocation: &'a Invocation<'_>) -> &'a str {
    invocation
        .plan
        .lineage(&invocation.stage.ref_id)
        .into_iter()
        .rfind(|stage| stage.function.is_some())
        .map_or(invocation.stage.ref_id.as_str(), |stage| &stage.ref_id)
}

/// Takes the locks of a stage's clusters for its execution; those that it has are looked at and no more.
///
/// # Errors
/// [`StageError::Ending`], and those of the table.
pub async fn take(invocation: &Invocation<'_>) -> Result<Held, StageError> {
    let mut since = None;
    for cluster in clusters(invocation) {
        match take_one(invocation, &cluster).await? {
            Held::Since(taken) => since = since.max(taken),
            held => return Ok(held),
        }
    }
    Ok(Held::Since(since))
}

async fn take_one(
    invocation: &Invocation<'_>,
    cluster: &LockedCluster,
) -> Result<Held, StageError> {
    let (store, run, execution) = (invocation.store(), invocation.run, invocation.execution);
    let stage = holder(invocation);
    let known = store.lock(cluster).await?;
    let mut lock = ClusterLock {
        execution: run.execution.clone(),
        run: run.number,
        application: execution.application.clone(),
        pipeline: execution.pipeline.clone(),
        stages: vec![stage.to_owned()],
        since: invocation.now,
        version: known
            .as_ref()
            .map_or(1, |known| known.version.saturating_add(1)),
    };
    match &known {
        None => {}
        Some(known) if known.execution == run.execution => {
            if known.run == run.number && known.stages.iter().any(|of| of == stage) {
                return Ok(Held::Since(Some(known.since)));
            }
            // Two stages of one execution are in the order that its author gave them.
            let others = known.stages.iter().filter(|of| *of != stage);
            lock.stages.extend(others.cloned());
            lock.since = known.since;
        }
        Some(known) => {
            if let Some(by) = still_held(invocation, cluster, known).await? {
                return Ok(by);
            }
        }
    }
    match store.take_lock(run, cluster, known.as_ref(), &lock).await? {
        LockAnswer::Taken => {
            tracing::info!(execution = %run.execution, stage, %cluster, "cluster locked");
            Ok(Held::Since(Some(lock.since)))
        }
        LockAnswer::Changed => Ok(Held::By(format!(
            "cluster `{cluster}` was locked by another execution just now"
        ))),
        LockAnswer::Ending => Err(StageError::Ending),
    }
}

/// Whether another execution's lock holds: an execution that has ended, or is past its stages, has none, and the child of
/// an execution works under its parent's.
async fn still_held(
    invocation: &Invocation<'_>,
    cluster: &LockedCluster,
    lock: &ClusterLock,
) -> Result<Option<Held>, StageError> {
    let store = invocation.store();
    let Some(holder) = store.execution(&lock.execution).await? else {
        return Ok(None);
    };
    let Some(plan) = store.plan(&holder.plan_hash).await? else {
        return Ok(None);
    };
    let records = store.stages(&lock.execution).await?;
    let Some(stage) = at_work(lock, &holder, &plan, &records) else {
        return Ok(None);
    };
    if is_above(invocation, &lock.execution).await? {
        return Ok(Some(Held::Since(None)));
    }
    Ok(Some(Held::By(held_by(cluster, lock, stage))))
}

/// Whether an execution started this one, or what started it: a strategy that is a pipeline of its own changes the
/// cluster of the deploy that waits for it.
async fn is_above(
    invocation: &Invocation<'_>,
    execution: &ExecutionId,
) -> Result<bool, CloudError> {
    let parent_of = |trigger: &Value| {
        let id = trigger.get("parentExecution")?.get("id")?.as_str()?;
        ExecutionId::try_from(id.to_owned()).ok()
    };
    let mut parent = parent_of(invocation.trigger);
    for _ in 0..child::MAX_DEPTH {
        match parent {
            None => return Ok(false),
            Some(id) if id == *execution => return Ok(true),
            Some(id) => {
                let trigger = invocation.store().trigger(&id).await?;
                parent = trigger.as_ref().and_then(parent_of);
            }
        }
    }
    Ok(false)
}

/// What a stage does about a held lock: its own setting, or that of the nearest stage around it.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for a setting that cannot be read.
pub fn settings(invocation: &Invocation<'_>) -> Result<LockSettings, StageError> {
    use gennaker_domain::deployment::cluster_lock::FIELD;
    let lineage = invocation.plan.lineage(&invocation.stage.ref_id);
    let said = std::iter::once(invocation.context)
        .chain(lineage.iter().skip(1).map(|stage| {
            let record = invocation.records.get(&stage.ref_id);
            let resolved = record.map(|record| &record.context);
            let resolved = resolved.filter(|context| !context.is_empty());
            resolved.unwrap_or(&stage.context)
        }))
        .find(|context| context.get(FIELD).is_some_and(|value| !value.is_null()));
    said.map_or_else(
        || Ok(LockSettings::default()),
        |context| {
            LockSettings::from_context(context)
                .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))
        },
    )
}
