//! A cluster as it is now.

use std::collections::BTreeMap;

use gennaker_cloud::CloudError;
use gennaker_cloud::auto_scaling::{Group, GroupInstance};
use gennaker_cloud::load_balancing::{TargetHealth, target_group_name};
use gennaker_domain::deployment::{HealthState, Instance, ProviderHealth, ServerGroup, naming};

use crate::{Place, traffic};

/// What every target group says of every target, by ARN.
type Targets = BTreeMap<String, Vec<TargetHealth>>;

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
    groups.retain(|group| is_of_cluster(&group.name, cluster));
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(groups)
}

/// Whether a group of this name belongs to the cluster.
pub(crate) fn is_of_cluster(name: &str, cluster: &str) -> bool {
    // Of the hundreds of groups of a region few come this far.
    name.starts_with(cluster) && naming::parse(name).cluster.as_deref() == Some(cluster)
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

/// Adds what the target groups say, each of them asked once, and none of them about a group whose instances all boot or
/// go: Auto Scaling registers an instance when it comes into service.
///
/// # Errors
/// Those of Elastic Load Balancing.
pub async fn with_health(place: &Place, groups: &[Group]) -> Result<Vec<ServerGroup>, CloudError> {
    let mut targets = Targets::new();
    for arn in groups
        .iter()
        .filter(|group| group.instances.iter().any(may_be_registered))
        .flat_map(watching)
    {
        if let std::collections::btree_map::Entry::Vacant(entry) = targets.entry(arn) {
            let health = place.load_balancing.target_health(entry.key()).await?;
            entry.insert(health);
        }
    }
    Ok(groups
        .iter()
        .map(|group| server_group_of(place, group, &targets))
        .collect())
}

/// The same without asking the target groups: names, ages, sizes and traffic, and no health but the groups' own.
#[must_use]
pub fn without_health(place: &Place, groups: &[Group]) -> Vec<ServerGroup> {
    groups
        .iter()
        .map(|group| server_group_of(place, group, &Targets::new()))
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

/// The target groups that may know an instance of the group: attached, or detached by us and perhaps still draining.
fn watching(group: &Group) -> Vec<String> {
    let mut arns = group.target_groups.clone();
    for arn in traffic::remembered_target_groups(group) {
        if !arns.contains(&arn) {
            arns.push(arn);
        }
    }
    arns
}

fn server_group_of(place: &Place, group: &Group, targets: &Targets) -> ServerGroup {
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
            .map(|instance| instance_of(instance, group, &watching, targets))
            .collect(),
        suspended_processes: group.suspended_processes.clone(),
        target_groups: group
            .target_groups
            .iter()
            .filter_map(|arn| target_group_name(arn))
            .map(str::to_owned)
            .collect(),
        // Nobody asks classic load balancers here (they have an API of their own): what they would say must not be
        // waited for. With the health check type `ELB` the group's own health has it.
        load_balancers: Vec::new(),
        zones: group.zones.clone(),
        tags: group.tags.clone(),
        ..ServerGroup::default()
    }
}

fn instance_of(
    instance: &GroupInstance,
    group: &Group,
    watching: &[String],
    targets: &Targets,
) -> Instance {
    let mut health = vec![ProviderHealth::platform(platform_state(instance))];
    for arn in watching {
        let Some(name) = target_group_name(arn) else {
            continue;
        };
        let said = targets
            .get(arn)
            .and_then(|targets| targets.iter().find(|target| target.target == instance.id));
        match said {
            Some(target) => {
                health.push(ProviderHealth::target_group(
                    name,
                    target_state(&target.state),
                ));
            }
            // Taken out by a disable of part of the group.
            None if group.target_groups.contains(arn)
                && traffic::is_partly_disabled(group)
                && instance.lifecycle_state == "InService" =>
            {
                health.push(ProviderHealth::target_group(
                    name,
                    HealthState::OutOfService,
                ));
            }
            // Attached and not registered yet: it takes no traffic there.
            None if group.target_groups.contains(arn) => {
                health.push(ProviderHealth::target_group(name, HealthState::Starting));
            }
            None => {}
        }
    }
    Instance {
        id: instance.id.clone(),
        health_state: together(&health),
        health,
        zone: instance.zone.clone(),
        launch_millis: 0,
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

fn target_state(state: &str) -> HealthState {
    match state {
        "healthy" => HealthState::Up,
        "initial" => HealthState::Starting,
        "draining" => HealthState::Draining,
        "unused" => HealthState::OutOfService,
        "unhealthy" | "unhealthy.draining" => HealthState::Down,
        _ => HealthState::Unknown,
    }
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
