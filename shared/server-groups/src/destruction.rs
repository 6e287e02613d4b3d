//! A group is emptied, then deleted.

use gennaker_cloud::alarms::is_of;
use gennaker_cloud::auto_scaling::Group;
use gennaker_domain::Intent;
use gennaker_domain::deployment::Capacity;
use gennaker_lambda::{Invocation, StageError, Undo};
use serde_json::{Value, json};

use crate::clouds::{Clouds, Place, place_of};
use crate::config::undo_text;
use crate::observe;

/// How far a group's end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is no such group.
    Gone,
    /// What is left, as a person reads it.
    Going(String),
}

/// The action of the intent to destroy a group.
#[must_use]
pub fn destroy_action(region: &str, name: &str) -> String {
    format!("destroy-server-group {region} {name}")
}

/// Announces that a group will be destroyed, with all that the stage chose. What is destroyed cannot be brought back;
/// until it is deleted its size can.
///
/// # Errors
/// [`StageError::Ending`] and those of the table.
pub async fn intend(
    invocation: &Invocation<'_>,
    place: &Place,
    group: &Group,
    chosen: &[String],
) -> Result<(), StageError> {
    let undo = json!({
        "chosen": chosen,
        "capacity": group.capacity,
        "suspendedProcesses": group.suspended_processes,
    });
    let undo = place.undo(&group.name, undo);
    invocation
        .intend(&destroy_action(&place.region, &group.name), undo)
        .await?;
    Ok(())
}

/// One step towards a group's end: first it is resized to nothing, then, when its instances are gone, deleted.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn advance(place: &Place, name: &str) -> Result<Progress, StageError> {
    let groups = place.auto_scaling.groups(&[name.to_owned()]).await?;
    let Some(group) = groups.into_iter().find(|group| group.name == name) else {
        return Ok(Progress::Gone);
    };
    let left = group.instances.len();
    let going = |what: String| Ok(Progress::Going(what));
    if group.deleting {
        return going(format!("server group `{name}` is being deleted"));
    }
    if group.capacity != Capacity::default() {
        // Suspended by Spinnaker's disable, or by a person: nothing would ever be terminated.
        let stuck: Vec<String> = group
            .suspended_processes
            .iter()
            .filter(|process| *process == "Terminate")
            .cloned()
            .collect();
        place.auto_scaling.resume_processes(name, &stuck).await?;
        place
            .auto_scaling
            .set_capacity(name, Capacity::default())
            .await?;
        if left > 0 {
            return going(format!("{left} instances of `{name}` left"));
        }
    }
    if left > 0 {
        return going(format!("{left} instances of `{name}` left"));
    }
    delete_alarms(place, name).await?;
    place.auto_scaling.delete_group(name).await?;
    going(format!("server group `{name}` is being deleted"))
}

/// The alarms of the group's scaling policies that are the group's alone: the policies go with the group, and nothing
/// would ever be called by them again.
async fn delete_alarms(place: &Place, name: &str) -> Result<(), StageError> {
    let mut alarms = place.auto_scaling.policy_alarms(name).await?;
    alarms.retain(|alarm| is_of(alarm, name));
    if !alarms.is_empty() {
        place.alarms.delete(&alarms).await?;
    }
    Ok(())
}

/// Undoes an intent to destroy as far as it can be undone: a group that is still there gets its size back.
///
/// # Errors
/// Those of the table and of Auto Scaling.
pub async fn destroy_undo(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<Undo, StageError> {
    let name = undo_text(intent, "serverGroup");
    let done = |result: String| Ok(Undo::Done { result });
    let place = place_of(clouds, invocation, intent).await?;
    let Some(group) = observe::group(&place, name).await? else {
        return done(format!(
            "server group `{name}` was destroyed and cannot be brought back"
        ));
    };
    let before = intent
        .undo
        .get("capacity")
        .and_then(|capacity| Capacity::from_value(capacity).ok());
    match before {
        Some(before) if before != group.capacity => {
            place.auto_scaling.set_capacity(name, before).await?;
            let suspended: Vec<String> = intent
                .undo
                .get("suspendedProcesses")
                .and_then(Value::as_array)
                .is_some_and(|processes| processes.iter().any(|process| process == "Terminate"))
                .then(|| "Terminate".to_owned())
                .into_iter()
                .collect();
            place
                .auto_scaling
                .suspend_processes(name, &suspended)
                .await?;
            done(format!("server group `{name}` has its size {before} again"))
        }
        _ => done(format!("server group `{name}` is as it was")),
    }
}
