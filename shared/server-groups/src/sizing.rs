//! A group's size is set, and given back by the undo.

use gennaker_cloud::auto_scaling::Group;
use gennaker_domain::Intent;
use gennaker_domain::deployment::{Capacity, facts};
use gennaker_lambda::{Invocation, StageError, Undo};
use serde_json::{Map, Value, json};

use crate::clouds::{Clouds, Place, place_of};
use crate::config::undo_text;
use crate::observe;

/// Without these a group does not change its size: resumed while it does, as they were afterwards.
const NEEDED: [&str; 2] = ["Launch", "Terminate"];

/// The action of the intent to resize a group.
#[must_use]
pub fn resize_action(region: &str, name: &str) -> String {
    format!("resize-server-group {region} {name}")
}

/// Sets a group's size, its intent first: it remembers the size before, the new one, the processes that are resumed,
/// and all the groups that the stage chose. A second call finishes what the first began and never sets the size a second
/// time: a scaling policy may have moved it since.
///
/// # Errors
/// [`StageError::Ending`], and those of Auto Scaling.
pub async fn resize(
    invocation: &Invocation<'_>,
    place: &Place,
    group: &Group,
    target: Capacity,
    chosen: &[String],
) -> Result<(), StageError> {
    let action = resize_action(&place.region, &group.name);
    let resumed: Vec<&String> = group
        .suspended_processes
        .iter()
        .filter(|process| NEEDED.contains(&process.as_str()))
        .collect();
    let undo = json!({
        "before": group.capacity,
        "target": target,
        "resumed": resumed,
        "chosen": chosen,
    });
    let undo = place.undo(&group.name, undo);
    invocation.intend(&action, undo).await?;
    let resume: Vec<String> = resumed.into_iter().cloned().collect();
    place
        .auto_scaling
        .resume_processes(&group.name, &resume)
        .await?;
    if group.capacity != target {
        place.auto_scaling.set_capacity(&group.name, target).await?;
    }
    invocation.done(&action).await?;
    Ok(())
}

/// The action of the intent to pin a group, or to unpin it.
#[must_use]
fn pin_action(region: &str, name: &str) -> String {
    format!("pin-server-group {region} {name}")
}

/// Sets a group's size as a pin or an unpin asks, its intent first. Where only the minimum changes, only the minimum is
/// set: a scaling policy may move the desired size meanwhile. A second call finishes what the first began.
///
/// # Errors
/// [`StageError::Ending`], and those of Auto Scaling.
pub async fn pin(
    invocation: &Invocation<'_>,
    place: &Place,
    group: &Group,
    target: Capacity,
) -> Result<(), StageError> {
    let action = pin_action(&place.region, &group.name);
    let undo = json!({
        "before": group.capacity,
        "target": target,
    });
    let undo = place.undo(&group.name, undo);
    invocation.intend(&action, undo).await?;
    let now = group.capacity;
    if (now.desired(), now.max()) != (target.desired(), target.max()) {
        place.auto_scaling.set_capacity(&group.name, target).await?;
    } else if now.min() != target.min() {
        place
            .auto_scaling
            .set_minimum(&group.name, target.min())
            .await?;
    }
    invocation.done(&action).await?;
    Ok(())
}

/// Undoes an intent of [`pin`]: the group has the minimum of before, and no smaller maximum than before.
///
/// # Errors
/// Those of the table and of Auto Scaling.
pub async fn pin_undo(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<Undo, StageError> {
    let name = undo_text(intent, "serverGroup");
    let done = |result: String| Ok(Undo::Done { result });
    let place = place_of(clouds, invocation, intent).await?;
    let Some(group) = observe::group(&place, name).await? else {
        return done(format!("server group `{name}` is gone"));
    };
    let Some(before) = before_of(intent) else {
        return done(format!("the minimum of `{name}` before is not known"));
    };
    let now = group.capacity;
    let minimum = before.min().min(now.desired());
    if now.max() < before.max() {
        let restored = Capacity::new(minimum, now.desired(), before.max())
            .map_err(|error| StageError::invalid("capacity", error.to_string()))?;
        place.auto_scaling.set_capacity(name, restored).await?;
    } else if now.min() != minimum {
        place.auto_scaling.set_minimum(name, minimum).await?;
    }
    done(format!(
        "server group `{name}` has its minimum {minimum} again"
    ))
}

/// The size that a group had before the deployment around this stage changed it first; none if it did not. The intents
/// say so, also of stages that failed or died.
///
/// # Errors
/// Those of the table.
pub async fn original(
    invocation: &Invocation<'_>,
    region: &str,
    name: &str,
) -> Result<Option<Capacity>, StageError> {
    let around = facts::creating_stage(invocation.plan, &invocation.stage.ref_id);
    let belongs = |stage: &str| {
        around.is_none_or(|around| {
            invocation
                .plan
                .lineage(stage)
                .iter()
                .any(|above| above.ref_id == around.ref_id)
        })
    };
    let intents = invocation
        .store()
        .intents(&invocation.run.execution)
        .await?;
    Ok(intents
        .iter()
        .filter(|intent| !intent.closed && intent.stage != invocation.stage.ref_id)
        .filter(|intent| {
            intent.action == pin_action(region, name)
                || intent.action == resize_action(region, name)
        })
        .find(|intent| belongs(&intent.stage))
        .and_then(before_of))
}

/// The context of a stage that measures by a source group, with the size that the source had before it was pinned:
/// `originalCapacity.<source>`.
///
/// # Errors
/// Those of the table.
pub async fn with_original(
    invocation: &Invocation<'_>,
    context: &Map<String, Value>,
    region: &str,
) -> Result<Map<String, Value>, StageError> {
    let mut context = context.clone();
    if let Some(name) = source_name(&context) {
        let key = format!("originalCapacity.{name}");
        if !context.contains_key(&key)
            && let Some(before) = original(invocation, region, &name).await?
        {
            context.insert(key, json!(before));
        }
    }
    Ok(context)
}

fn source_name(context: &Map<String, Value>) -> Option<String> {
    let source = context.get("source").and_then(Value::as_object)?;
    ["serverGroupName", "asgName"]
        .iter()
        .find_map(|key| source.get(*key)?.as_str())
        .map(str::to_owned)
}

/// The size of the source that a stage measures by, for `scale_to_server_group`.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn source_capacity(
    place: &Place,
    context: &Map<String, Value>,
) -> Result<Option<Capacity>, StageError> {
    let Some(name) = source_name(context) else {
        return Ok(None);
    };
    Ok(observe::group(place, &name)
        .await?
        .map(|group| group.capacity))
}

/// The size that an intent of [`resize`] sets.
#[must_use]
pub fn target_of(intent: &Intent) -> Option<Capacity> {
    Capacity::from_value(intent.undo.get("target")?).ok()
}

/// The size before, as an intent of [`resize`] remembers it.
#[must_use]
pub fn before_of(intent: &Intent) -> Option<Capacity> {
    Capacity::from_value(intent.undo.get("before")?).ok()
}

/// Suspends again what [`resize`] resumed, when the size is reached.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn suspend_again(place: &Place, intent: &Intent) -> Result<(), StageError> {
    let processes: Vec<String> = intent
        .undo
        .get("resumed")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    place
        .auto_scaling
        .suspend_processes(undo_text(intent, "serverGroup"), &processes)
        .await?;
    Ok(())
}

/// Undoes an intent of [`resize`]: the group has its size of before.
///
/// # Errors
/// Those of the table and of Auto Scaling.
pub async fn resize_undo(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<Undo, StageError> {
    let name = undo_text(intent, "serverGroup");
    let done = |result: String| Ok(Undo::Done { result });
    let place = place_of(clouds, invocation, intent).await?;
    let Some(group) = observe::group(&place, name).await? else {
        return done(format!("server group `{name}` is gone"));
    };
    let Some(before) = before_of(intent) else {
        return done(format!("the size of `{name}` before is not known"));
    };
    if group.capacity != before {
        place.auto_scaling.set_capacity(name, before).await?;
    }
    // Instances come back or go first; with nothing suspended there is nothing to wait for.
    let resumed = intent
        .undo
        .get("resumed")
        .and_then(Value::as_array)
        .is_some_and(|resumed| !resumed.is_empty());
    let there = group
        .instances
        .iter()
        .filter(|instance| !instance.lifecycle_state.starts_with("Terminat"))
        .count();
    if resumed && there != before.desired() as usize {
        return Ok(Undo::Waiting {
            reason: format!("{there} of {} instances of `{name}`", before.desired()),
        });
    }
    suspend_again(&place, intent).await?;
    done(format!("server group `{name}` has its size {before} again"))
}
