//! Out of traffic and back.

use std::collections::BTreeMap;

use gennaker_cloud::auto_scaling::Group;
use gennaker_domain::Intent;
use gennaker_domain::deployment::ServerGroup;
use gennaker_domain::deployment::disable::{PartialDisable, partial_disable};
use gennaker_domain::deployment::health::{self, HealthCheck};
use gennaker_lambda::{Invocation, StageError, Undo};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clouds::{Clouds, Place, place_of};
use crate::config::undo_text;
use crate::observe;
use crate::traffic_sources::{TrafficSources, is_source_tag};

/// The tag that says that a group is disabled; its value are the processes that were suspended before.
pub const DISABLED_TAG: &str = "gennaker:disabled";
/// How long the undo waits for a group that it enabled again to be healthy: 15 minutes. A group whose instances were
/// unhealthy before does not keep the execution from ending.
const BACK_IN_TRAFFIC_MILLIS: i64 = 15 * 60 * 1_000;

/// What is suspended while a group is out of traffic: nothing may scale or replace what waits for its end.
pub const SUSPENDED: [&str; 4] = [
    "AlarmNotification",
    "ScheduledActions",
    "AZRebalance",
    "ReplaceUnhealthy",
];

/// What is suspended while part of a group is out of traffic: an instance that waits there is not to be replaced, and
/// nothing else changes for the others.
const SUSPENDED_PARTLY: [&str; 2] = ["AZRebalance", "ReplaceUnhealthy"];

/// What Spinnaker suspends in a group that it disables.
const SPINNAKERS_MARK: [&str; 3] = ["Launch", "Terminate", "AddToLoadBalancer"];

/// What a group had before it was disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// Processes that were suspended already.
    pub suspended_processes: Vec<String>,
    /// What sent traffic to it.
    #[serde(flatten)]
    pub sources: TrafficSources,
}

impl Before {
    /// What the group has now, or, if it was disabled by us, what its tags say that it had.
    #[must_use]
    pub fn of(group: &Group) -> Self {
        let attached = TrafficSources::of(group);
        match group.tags.get(DISABLED_TAG) {
            // Half of it may be done: what the tags say and what is still attached belong together.
            Some(processes) => Self {
                suspended_processes: processes
                    .split_whitespace()
                    .filter(|process| *process != "-")
                    .map(str::to_owned)
                    .collect(),
                sources: TrafficSources::remembered(group).and(attached),
            },
            None => Self {
                suspended_processes: group.suspended_processes.clone(),
                sources: attached,
            },
        }
    }

    /// What an intent remembers, or, if it cannot be read, what the group says.
    fn known_to(intent: &Intent, group: &Group) -> Self {
        let before = intent.undo.get("before").cloned();
        before
            .and_then(|before| serde_json::from_value(before).ok())
            .unwrap_or_else(|| Self::of(group))
    }

    /// The tags that say it on the group.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        // An empty value and no value are the same to some tools: a hyphen is "none".
        let processes = if self.suspended_processes.is_empty() {
            "-".to_owned()
        } else {
            self.suspended_processes.join(" ")
        };
        let mut tags = self.sources.tags();
        tags.insert(DISABLED_TAG.to_owned(), processes);
        tags
    }
}

/// Whether the group of an intent took traffic before.
fn was_enabled(intent: &Intent) -> Option<bool> {
    intent.undo.get("wasEnabled")?.as_bool()
}

fn suspends(group: &Group, processes: &[&str]) -> bool {
    processes.iter().all(|process| {
        group
            .suspended_processes
            .iter()
            .any(|suspended| suspended == process)
    })
}

/// Whether the group is out of traffic, by us or by Spinnaker.
#[must_use]
pub fn is_disabled(group: &Group) -> bool {
    let by_us = group.tags.contains_key(DISABLED_TAG)
        && TrafficSources::of(group).is_empty()
        && suspends(group, &SUSPENDED);
    by_us || suspends(group, &SPINNAKERS_MARK)
}

/// Whether a disable has begun and not come to its end: part of the group is out of traffic.
#[must_use]
pub(crate) fn is_partly_disabled(group: &Group) -> bool {
    group.tags.contains_key(DISABLED_TAG) && !is_disabled(group)
}

/// The action of the intent to disable a group.
#[must_use]
pub fn disable_action(region: &str, name: &str) -> String {
    format!("disable-server-group {region} {name}")
}

/// Takes a group out of traffic, its intent first, with all the groups that the stage chose. A second call finishes what the first began.
///
/// # Errors
/// [`StageError::Ending`], and those of Auto Scaling.
pub async fn disable(
    invocation: &Invocation<'_>,
    place: &Place,
    group: &Group,
    chosen: &[String],
) -> Result<(), StageError> {
    let action = disable_action(&place.region, &group.name);
    let before = Before::of(group);
    let undo = json!({
        "chosen": chosen,
        "wasEnabled": !is_disabled(group),
        "before": before,
    });
    let undo = place.undo(&group.name, undo);
    invocation.intend(&action, undo).await?;
    take_out(place, group, &before).await?;
    invocation.done(&action).await?;
    Ok(())
}

/// Takes a share of a group's instances out of traffic, its intent first: `percentage` of all that it has now, those
/// that are out already included. The group stays attached to its target groups and classic load balancers and bears the
/// tags of a disabled one, so that a later disable and every enabling know what to restore.
///
/// A second call finishes what the first began: which instances are out is seen there.
///
/// # Errors
/// [`StageError::Ending`], and those of Auto Scaling and Elastic Load Balancing.
pub async fn disable_partly(
    invocation: &Invocation<'_>,
    place: &Place,
    group: &Group,
    observed: &ServerGroup,
    percentage: u32,
) -> Result<PartialDisable, StageError> {
    let action = disable_action(&place.region, &group.name);
    let before = Before::of(group);
    let undo = json!({
        "chosen": [group.name],
        "wasEnabled": !is_disabled(group),
        "percentage": percentage,
        "before": before,
    });
    let undo = place.undo(&group.name, undo);
    invocation.intend(&action, undo).await?;
    let decided = partial_disable(observed, percentage);
    if !is_disabled(group) {
        mark(place, group, &before).await?;
        suspend(place, group, &SUSPENDED_PARTLY).await?;
        if !decided.take_out.is_empty() {
            deregister(place, &TrafficSources::of(group), &decided.take_out).await?;
        }
    }
    invocation.done(&action).await?;
    Ok(decided)
}

/// Writes on the group what it had, unless it is written there already.
async fn mark(place: &Place, group: &Group, before: &Before) -> Result<(), StageError> {
    if !group.tags.contains_key(DISABLED_TAG) {
        place
            .auto_scaling
            .set_tags(&group.name, &before.tags())
            .await?;
    }
    Ok(())
}

async fn suspend(place: &Place, group: &Group, processes: &[&str]) -> Result<(), StageError> {
    let suspend: Vec<String> = processes
        .iter()
        .filter(|process| !suspends(group, &[process]))
        .map(|process| (*process).to_owned())
        .collect();
    place
        .auto_scaling
        .suspend_processes(&group.name, &suspend)
        .await?;
    Ok(())
}

/// The calls of [`disable`], without an intent.
async fn take_out(place: &Place, group: &Group, before: &Before) -> Result<(), StageError> {
    if is_disabled(group) {
        return Ok(());
    }
    mark(place, group, before).await?;
    suspend(place, group, &SUSPENDED).await?;
    detach(place, &group.name, &TrafficSources::of(group)).await
}

/// Auto Scaling registers the group's instances, present and future.
async fn attach(place: &Place, name: &str, to: &TrafficSources) -> Result<(), StageError> {
    if !to.target_groups.is_empty() {
        place
            .auto_scaling
            .attach_target_groups(name, &to.target_groups)
            .await?;
    }
    if !to.load_balancers.is_empty() {
        place
            .auto_scaling
            .attach_load_balancers(name, &to.load_balancers)
            .await?;
    }
    Ok(())
}

/// Auto Scaling deregisters the group's instances; they drain and keep running.
async fn detach(place: &Place, name: &str, from: &TrafficSources) -> Result<(), StageError> {
    if !from.target_groups.is_empty() {
        place
            .auto_scaling
            .detach_target_groups(name, &from.target_groups)
            .await?;
    }
    if !from.load_balancers.is_empty() {
        place
            .auto_scaling
            .detach_load_balancers(name, &from.load_balancers)
            .await?;
    }
    Ok(())
}

/// Instances are registered by hand.
async fn register(
    place: &Place,
    with: &TrafficSources,
    instances: &[String],
) -> Result<(), StageError> {
    for arn in &with.target_groups {
        place
            .load_balancing
            .register_targets(arn, instances)
            .await?;
    }
    for name in &with.load_balancers {
        place
            .classic_load_balancing
            .register_instances(name, instances)
            .await?;
    }
    Ok(())
}

/// Instances are deregistered by hand; they drain and keep running.
async fn deregister(
    place: &Place,
    from: &TrafficSources,
    instances: &[String],
) -> Result<(), StageError> {
    for arn in &from.target_groups {
        place
            .load_balancing
            .deregister_targets(arn, instances)
            .await?;
    }
    for name in &from.load_balancers {
        place
            .classic_load_balancing
            .deregister_instances(name, instances)
            .await?;
    }
    Ok(())
}

/// The action of the intent to enable a group.
#[must_use]
fn enable_action(region: &str, name: &str) -> String {
    format!("enable-server-group {region} {name}")
}

/// Puts a group into traffic, its intent first. A second call finishes what the first began.
///
/// # Errors
/// [`StageError::Ending`], and those of Auto Scaling and Elastic Load Balancing.
pub async fn enable(
    invocation: &Invocation<'_>,
    place: &Place,
    group: &Group,
) -> Result<(), StageError> {
    let action = enable_action(&place.region, &group.name);
    let undo = json!({
        "wasEnabled": !is_disabled(group),
        "before": Before::of(group),
    });
    let undo = place.undo(&group.name, undo);
    invocation.intend(&action, undo).await?;
    put_in(place, group).await?;
    invocation.done(&action).await?;
    Ok(())
}

/// Undoes an intent of [`enable`]: a group that was disabled before takes no traffic again.
///
/// # Errors
/// Those of the table and of Auto Scaling.
pub async fn enable_undo(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<Undo, StageError> {
    let name = undo_text(intent, "serverGroup");
    let done = |result: String| Ok(Undo::Done { result });
    let place = place_of(clouds, invocation, intent).await?;
    if was_enabled(intent) == Some(true) {
        return done(format!("server group `{name}` took traffic before"));
    }
    let Some(group) = observe::group(&place, name).await? else {
        return done(format!("server group `{name}` is gone"));
    };
    let before = Before::known_to(intent, &group);
    take_out(&place, &group, &before).await?;
    done(format!("server group `{name}` takes no traffic again"))
}

/// Gives a group back what it had before it was disabled: its target groups, its classic load balancers and its
/// processes, nothing else. A second call finishes what the first began.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn restore(place: &Place, group: &Group, before: &Before) -> Result<(), StageError> {
    let resume: Vec<String> = group
        .suspended_processes
        .iter()
        .filter(|process| {
            SUSPENDED.contains(&process.as_str()) && !before.suspended_processes.contains(process)
        })
        .cloned()
        .collect();
    let attached = TrafficSources::of(group);
    attach(place, &group.name, &before.sources.without(&attached)).await?;
    if group.tags.contains_key(DISABLED_TAG) {
        // Part of it may have been taken out by hand where it is still attached.
        let still = before.sources.within(&attached);
        register(place, &still, &in_service(group)).await?;
    }
    place
        .auto_scaling
        .resume_processes(&group.name, &resume)
        .await?;
    let marks: Vec<String> = group
        .tags
        .keys()
        .filter(|key| *key == DISABLED_TAG || is_source_tag(key))
        .cloned()
        .collect();
    // Last: until all is restored they say what is missing.
    place.auto_scaling.remove_tags(&group.name, &marks).await?;
    Ok(())
}

/// The instances that serve, or will.
fn in_service(group: &Group) -> Vec<String> {
    group
        .instances
        .iter()
        .filter(|instance| {
            instance.lifecycle_state == "InService"
                || instance.lifecycle_state.starts_with("Pending")
        })
        .map(|instance| instance.id.clone())
        .collect()
}

/// The calls of [`enable`], whoever disabled the group.
async fn put_in(place: &Place, group: &Group) -> Result<(), StageError> {
    let by_spinnaker: Vec<String> = group
        .suspended_processes
        .iter()
        .filter(|process| SPINNAKERS_MARK.contains(&process.as_str()))
        .cloned()
        .collect();
    let adds_nothing = by_spinnaker
        .iter()
        .any(|process| process == "AddToLoadBalancer");
    if suspends(group, &SPINNAKERS_MARK) || adds_nothing {
        // Resumed, AddToLoadBalancer does not register what was launched meanwhile. Registered first: the mark
        // stays until nothing is left to do.
        register(place, &TrafficSources::of(group), &in_service(group)).await?;
        place
            .auto_scaling
            .resume_processes(&group.name, &by_spinnaker)
            .await?;
    }
    if group.tags.contains_key(DISABLED_TAG) {
        restore(place, group, &Before::of(group)).await?;
    }
    Ok(())
}

/// Whether the group that an intent disabled was made by this execution, and its making is undone as well: a canary
/// that failed, say, while its clean-up waits.
async fn creation_is_undone(
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<bool, StageError> {
    const CREATES: [&str; 2] = ["create-server-group", "clone-server-group"];
    let of = |intent: &Intent| {
        ["account", "region", "serverGroup"].map(|field| undo_text(intent, field).to_owned())
    };
    let intents = invocation
        .store()
        .intents(&invocation.run.execution)
        .await?;
    Ok(intents.iter().any(|other| {
        !other.closed && CREATES.contains(&other.function.as_str()) && of(other) == of(intent)
    }))
}

/// Undoes an intent of [`disable`]: the group is as it was before.
///
/// # Errors
/// Those of the table and of Auto Scaling.
pub async fn disable_undo(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    intent: &Intent,
) -> Result<Undo, StageError> {
    let name = undo_text(intent, "serverGroup");
    let done = |result: String| Ok(Undo::Done { result });
    let place = place_of(clouds, invocation, intent).await?;
    let Some(group) = observe::group(&place, name).await? else {
        return done(format!(
            "server group `{name}` is gone; it cannot be enabled again"
        ));
    };
    if was_enabled(intent) == Some(false) {
        return done(format!("server group `{name}` was disabled before"));
    }
    if creation_is_undone(invocation, intent).await? {
        return done(format!(
            "server group `{name}` was made by this execution and goes; it takes no traffic before"
        ));
    }
    let before = Before::known_to(intent, &group);
    restore(&place, &group, &before).await?;
    // What is undone next may be the group that serves now: not before this one does.
    let ending = invocation.execution.ending.as_ref().map(|ending| ending.at);
    let waited = invocation
        .now
        .saturating_sub(ending.unwrap_or(invocation.now));
    if waited < BACK_IN_TRAFFIC_MILLIS
        && let Some(observed) = observe::server_group(&place, name).await?
    {
        let check = HealthCheck {
            providers: health::default_providers(&observed),
            ..HealthCheck::default()
        };
        let health = health::wait_for_up(&check, &observed)
            .map_err(|error| StageError::invalid("", error.to_string()))?;
        if !health.is_ready() {
            return Ok(Undo::Waiting {
                reason: format!("{health} in `{name}`, which is enabled again"),
            });
        }
    }
    done(format!("server group `{name}` takes traffic again"))
}
