//! A group's size is set, and given back by the undo.

use gennaker_cloud::auto_scaling::Group;
use gennaker_domain::Intent;
use gennaker_domain::deployment::Capacity;
use gennaker_lambda::{Invocation, StageError, Undo};
use serde_json::{Value, json};

use crate::clouds::{Clouds, Place, place};
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
        "account": place.account.name,
        "region": place.region,
        "serverGroup": group.name,
        "before": group.capacity,
        "target": target,
        "resumed": resumed,
        "chosen": chosen,
    });
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
    let place = place(
        clouds,
        invocation,
        undo_text(intent, "account"),
        undo_text(intent, "region"),
    )
    .await?;
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
