//! A cluster as it is now.

use std::collections::BTreeMap;

use gennaker_cloud::CloudError;
use gennaker_cloud::auto_scaling::{Group, GroupInstance};
use gennaker_cloud::classic_load_balancing::InstanceHealth;
use gennaker_cloud::load_balancing::{TargetHealth, target_group_name};
use gennaker_domain::deployment::{HealthState, Instance, ProviderHealth, ServerGroup, naming};

use crate::{Place, TrafficSources, traffic};

/// What is said of the instances, by instance.
type States = BTreeMap<String, HealthState>;

/// What target groups and classic load balancers say.
#[derive(Default)]
struct Said {
    /// By ARN.
    target_groups: BTreeMap<String, States>,
    /// By name.
    load_balancers: BTreeMap<String, States>,
}

/// All groups of a cluster in a place that are not being deleted, in the order of their names, with the health of
/// their instances.
///
/// Every group of the region is listed and matched by name: groups that others made bear none of our tags.
///
/// # Errors
/// Those of Auto Scaling and Elastic Load Balancing.
pub async fn cluster(place: &Place, cluster: &str) -> Result<Vec<ServerGroup>, CloudError> {
    let groups = cluster_groups(place, cluster).await?;
    with_health(place, &groups).await
}

/// The Auto Scaling groups of a cluster that are not being deleted, in the order of their names.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn cluster_groups(place: &Place, cluster: &str) -> Result<Vec<Group>, CloudError> {
    let mut groups = all_cluster_groups(place, cluster).await?;
    groups.retain(|group| !group.deleting);
    Ok(groups)
}

/// The same with those that are being deleted: their names are taken until they are gone.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn all_cluster_groups(place: &Place, cluster: &str) -> Result<Vec<Group>, CloudError> {
    let known = place.sight.as_ref().and_then(|s| s.membership(cluster));
    let mut groups = match known {
        Some(names) => place.auto_scaling.groups(&names).await?,
        None => place.auto_scaling.all_groups().await?,
    };
    groups.retain(|group| naming::parse(&group.name).cluster.as_deref() == Some(cluster));
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(groups)
}

/// The cluster that a group's name belongs to.
#[must_use]
pub fn cluster_of(name: &str) -> String {
    naming::parse(name).cluster.unwrap_or_default()
}

/// One Auto Scaling group; none where it is gone or being deleted.
///
/// # Errors
/// Those of Auto Scaling.
pub async fn group(place: &Place, name: &str) -> Result<Option<Group>, CloudError> {
    let groups = place.auto_scaling.groups(&[name.to_owned()]).await?;
    Ok(groups
        .into_iter()
        .find(|group| group.name == name && !group.deleting))
}

/// One server group with the health of its instances; none where it is gone or being deleted.
///
/// # Errors
/// Those of Auto Scaling and Elastic Load Balancing.
pub async fn server_group(place: &Place, name: &str) -> Result<Option<ServerGroup>, CloudError> {
    let Some(group) = group(place, name).await? else {
        return Ok(None);
    };
    Ok(with_health(place, &[group]).await?.pop())
}

/// Adds what the target groups and classic load balancers say, each of them asked once, and none of them about a group
/// whose instances all boot or go: Auto Scaling registers an instance when it comes into service.
///
/// # Errors
/// Those of Elastic Load Balancing.
pub async fn with_health(place: &Place, groups: &[Group]) -> Result<Vec<ServerGroup>, CloudError> {
    let asked = groups
        .iter()
        .filter(|group| group.instances.iter().any(may_be_registered))
        .map(watching)
        .fold(TrafficSources::default(), TrafficSources::and);
    let mut said = Said::default();
    for arn in asked.target_groups {
        let targets = place.load_balancing.target_health(&arn).await?;
        let states = targets.iter().map(state_of_target).collect();
        said.target_groups.insert(arn, states);
    }
    for name in asked.load_balancers {
        let instances = place.classic_load_balancing.instance_health(&name).await?;
        let states = instances.iter().map(state_of_registered).collect();
        said.load_balancers.insert(name, states);
    }
    Ok(groups
        .iter()
        .map(|group| server_group_of(place, group, &said))
        .collect())
}

/// The same without asking anybody: names, ages, sizes and traffic, and no health but the groups' own.
#[must_use]
pub fn without_health(place: &Place, groups: &[Group]) -> Vec<ServerGroup> {
    groups
        .iter()
        .map(|group| server_group_of(place, group, &Said::default()))
        .collect()
}

fn is_booting(lifecycle_state: &str) -> bool {
    lifecycle_state.starts_with("Pending") || lifecycle_state.starts_with("Warmed")
}

fn is_going(lifecycle_state: &str) -> bool {
    lifecycle_state.starts_with("Terminat")
}

fn may_be_registered(instance: &GroupInstance) -> bool {
    let state = instance.lifecycle_state.as_str();
    !is_booting(state) && !is_going(state)
}

/// What may know an instance of the group: attached, or detached by us and perhaps still draining.
fn watching(group: &Group) -> TrafficSources {
    TrafficSources::of(group).and(TrafficSources::remembered(group))
}

fn server_group_of(place: &Place, group: &Group, said: &Said) -> ServerGroup {
    let watching = watching(group);
    ServerGroup {
        account: place.account.name.clone(),
        region: place.region.clone(),
        cluster: cluster_of(&group.name),
        name: group.name.clone(),
        created_millis: group.created_millis,
        enabled: !traffic::is_disabled(group),
        capacity: group.capacity,
        instances: group
            .instances
            .iter()
            // One that is on its way out is no instance of the group any more.
            .filter(|instance| !is_going(&instance.lifecycle_state))
            .map(|instance| instance_of(instance, group, &watching, said))
            .collect(),
        suspended_processes: group.suspended_processes.clone(),
        target_groups: group
            .target_groups
            .iter()
            .filter_map(|arn| target_group_name(arn))
            .map(str::to_owned)
            .collect(),
        load_balancers: group.load_balancers.clone(),
        zones: group.zones.clone(),
        tags: group.tags.clone(),
        ..ServerGroup::default()
    }
}

fn instance_of(
    instance: &GroupInstance,
    group: &Group,
    watching: &TrafficSources,
    said: &Said,
) -> Instance {
    let state = |of: &BTreeMap<String, States>, source: &String, attached: &[String]| {
        let known = of.get(source).and_then(|states| states.get(&instance.id));
        let unregistered = || unregistered(instance, group);
        known
            .copied()
            .or_else(|| attached.contains(source).then(unregistered))
    };
    let target_groups = watching.target_groups.iter().filter_map(|arn| {
        let state = state(&said.target_groups, arn, &group.target_groups)?;
        Some(ProviderHealth::target_group(target_group_name(arn)?, state))
    });
    let load_balancers = watching.load_balancers.iter().filter_map(|name| {
        let state = state(&said.load_balancers, name, &group.load_balancers)?;
        Some(ProviderHealth::load_balancer(name, state))
    });
    let health: Vec<ProviderHealth> =
        std::iter::once(ProviderHealth::platform(platform_state(instance)))
            .chain(target_groups)
            .chain(load_balancers)
            .collect();
    Instance {
        id: instance.id.clone(),
        health_state: together(&health),
        health,
        zone: instance.zone.clone(),
        launch_millis: 0,
    }
}

/// An instance that is not registered where its group is attached.
fn unregistered(instance: &GroupInstance, group: &Group) -> HealthState {
    if traffic::is_partly_disabled(group) && instance.lifecycle_state == "InService" {
        // Taken out by a disable of part of the group.
        HealthState::OutOfService
    } else {
        // Not registered yet: it takes no traffic there.
        HealthState::Starting
    }
}

/// The platform says `Unknown` of an instance that runs: it knows nothing of the application inside.
fn platform_state(instance: &GroupInstance) -> HealthState {
    if instance.health_status.eq_ignore_ascii_case("unhealthy") {
        return HealthState::Down;
    }
    match instance.lifecycle_state.as_str() {
        "InService" => HealthState::Unknown,
        state if is_booting(state) => HealthState::Starting,
        _ => HealthState::Down,
    }
}

fn state_of_target(target: &TargetHealth) -> (String, HealthState) {
    let state = match target.state.as_str() {
        "healthy" => HealthState::Up,
        "initial" => HealthState::Starting,
        "draining" => HealthState::Draining,
        "unused" => HealthState::OutOfService,
        "unhealthy" | "unhealthy.draining" => HealthState::Down,
        _ => HealthState::Unknown,
    };
    (target.target.clone(), state)
}

/// As Clouddriver reads a classic load balancer, whose states are too few: what it has instead of `initial`, `draining`
/// and `unused` stands in the description. To Clouddriver an instance that drains is up as long as it does.
fn state_of_registered(registered: &InstanceHealth) -> (String, HealthState) {
    let says = |sentence: &str| registered.description.starts_with(sentence);
    let state = if says("Instance deregistration currently in progress") {
        HealthState::Draining
    } else if registered.state == "InService" {
        HealthState::Up
    } else if says("Instance registration is still in progress") {
        HealthState::Starting
    } else if says("Instance is not currently registered with the LoadBalancer") {
        HealthState::OutOfService
    } else if registered.state == "OutOfService" {
        HealthState::Down
    } else {
        HealthState::Unknown
    };
    (registered.instance.clone(), state)
}

/// All that is said of an instance taken together, the worst first.
fn together(health: &[ProviderHealth]) -> HealthState {
    [
        HealthState::Starting,
        HealthState::Down,
        HealthState::OutOfService,
        HealthState::Draining,
        HealthState::Up,
    ]
    .into_iter()
    .find(|state| health.iter().any(|health| health.state == *state))
    .unwrap_or(HealthState::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classic_load_balancers_sentences_are_states() {
        for (state, description, expected) in [
            ("InService", "N/A", HealthState::Up),
            (
                "InService",
                "Instance deregistration currently in progress.",
                HealthState::Draining,
            ),
            (
                "OutOfService",
                "Instance registration is still in progress.",
                HealthState::Starting,
            ),
            (
                "OutOfService",
                "Instance is not currently registered with the LoadBalancer.",
                HealthState::OutOfService,
            ),
            (
                "OutOfService",
                "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
                HealthState::Down,
            ),
            (
                "Unknown",
                "A transient error occurred. Please try again later.",
                HealthState::Unknown,
            ),
        ] {
            let registered = InstanceHealth {
                instance: "i-1".to_owned(),
                state: state.to_owned(),
                description: description.to_owned(),
            };
            let (_, found) = state_of_registered(&registered);
            assert_eq!(found, expected, "{state}: {description}");
        }
    }

    fn up(state: HealthState) -> ProviderHealth {
        ProviderHealth::target_group("web", state)
    }

    #[test]
    fn an_instance_is_up_only_if_nobody_says_otherwise() {
        let platform = ProviderHealth::platform(HealthState::Unknown);
        assert_eq!(
            together(&[platform.clone(), up(HealthState::Up)]),
            HealthState::Up
        );
        assert_eq!(
            together(&[
                platform.clone(),
                up(HealthState::Up),
                up(HealthState::Starting)
            ]),
            HealthState::Starting
        );
        assert_eq!(
            together(&[
                ProviderHealth::platform(HealthState::Down),
                up(HealthState::Up)
            ]),
            HealthState::Down
        );
        assert_eq!(together(&[platform]), HealthState::Unknown);
    }
}
