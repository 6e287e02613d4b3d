//! A cloud small enough to run a recorded deployment in: what an operation does is done at once.

use serde_json::{Map, Value, json};

use crate::deployment::naming::{self, NamingError};
use crate::deployment::server_group::MAX_INSTANCES;
use crate::deployment::{Capacity, HealthState, Instance, ServerGroup};

/// The server groups of all regions, and what was done to them.
pub(super) struct World {
    pub(super) groups: Vec<ServerGroup>,
    pub(super) operations: Vec<Value>,
}

impl World {
    pub(super) fn new(groups: Vec<ServerGroup>) -> Self {
        Self {
            groups,
            operations: Vec::new(),
        }
    }

    pub(super) fn of_cluster(&self, cluster: &str, region: &str) -> Vec<ServerGroup> {
        self.groups
            .iter()
            .filter(|group| group.cluster == cluster && group.region == region)
            .cloned()
            .collect()
    }

    pub(super) fn find(&self, name: &str, region: &str) -> Option<&ServerGroup> {
        self.groups
            .iter()
            .find(|group| group.name == name && group.region == region)
    }

    fn find_mut(&mut self, name: &str, region: &str) -> Option<&mut ServerGroup> {
        self.groups
            .iter_mut()
            .find(|group| group.name == name && group.region == region)
    }

    /// Notes an operation; what it does is the caller's to say.
    pub(super) fn note(&mut self, op: &str, name: &str, region: &str, more: Value) {
        let mut operation = Map::new();
        operation.insert("op".to_owned(), json!(op));
        operation.insert("region".to_owned(), json!(region));
        operation.insert("serverGroupName".to_owned(), json!(name));
        if let Value::Object(more) = more {
            operation.extend(more);
        }
        self.operations.push(Value::Object(operation));
    }

    /// Creates the next group of a cluster; its instances are up at once.
    pub(super) fn create(
        &mut self,
        account: &str,
        cluster: &str,
        region: &str,
        capacity: Capacity,
    ) -> Result<String, NamingError> {
        let name = naming::next_server_group_name(cluster, &self.of_cluster(cluster, region))?;
        let newest = self
            .groups
            .iter()
            .map(|group| group.created_millis)
            .max()
            .unwrap_or(0);
        let mut group = ServerGroup {
            account: account.to_owned(),
            region: region.to_owned(),
            name: name.clone(),
            cluster: cluster.to_owned(),
            created_millis: newest.saturating_add(1),
            enabled: true,
            ..ServerGroup::default()
        };
        set_size(&mut group, capacity);
        self.groups.push(group);
        Ok(name)
    }

    /// Takes `ceil(instances * percentage / 100)` instances out of traffic; all of them flag the group.
    pub(super) fn disable(&mut self, name: &str, region: &str, percentage: i64) {
        if let Some(group) = self.find_mut(name, region) {
            let percentage = usize::try_from(percentage.clamp(0, 100)).unwrap_or(100);
            let out = (group.instances.len() * percentage).div_ceil(100);
            for instance in group.instances.iter_mut().take(out) {
                instance.health_state = HealthState::OutOfService;
            }
            if percentage == 100 {
                group.enabled = false;
            }
        }
    }

    pub(super) fn enable(&mut self, name: &str, region: &str) {
        if let Some(group) = self.find_mut(name, region) {
            group.enabled = true;
            for instance in &mut group.instances {
                instance.health_state = HealthState::Up;
            }
        }
    }

    pub(super) fn resize(&mut self, name: &str, region: &str, capacity: Capacity) {
        if let Some(group) = self.find_mut(name, region) {
            set_size(group, capacity);
        }
    }

    pub(super) fn destroy(&mut self, name: &str, region: &str) {
        self.groups
            .retain(|group| group.name != name || group.region != region);
    }

    /// `[region, name, enabled|disabled, min, desired, max, instances up]` of every group; a cluster's groups
    /// of a region stand together, by name, in the recorded order of clusters.
    pub(super) fn shown(&self) -> Vec<Value> {
        let mut groups: Vec<&ServerGroup> = self.groups.iter().collect();
        groups.sort_by_key(|group| {
            let place = super::hash_position(&format!("{}, {}", group.region, group.cluster));
            (place, &group.region, &group.name)
        });
        groups
            .into_iter()
            .map(|group| {
                json!([
                    group.region,
                    group.name,
                    if group.enabled { "enabled" } else { "disabled" },
                    group.capacity.min(),
                    group.capacity.desired(),
                    group.capacity.max(),
                    group.instances_up(),
                ])
            })
            .collect()
    }
}

fn set_size(group: &mut ServerGroup, capacity: Capacity) {
    group.capacity = capacity;
    let size = usize::try_from(capacity.desired())
        .unwrap_or(usize::MAX)
        .min(MAX_INSTANCES);
    let health_state = if group.enabled {
        HealthState::Up
    } else {
        HealthState::OutOfService
    };
    let name = group.name.clone();
    let present = group.instances.len();
    if present > size {
        // Those that are out of traffic go first.
        group
            .instances
            .sort_by_key(|instance| instance.health_state != HealthState::Up);
        group.instances.truncate(size);
    }
    for n in present..size {
        group.instances.push(Instance {
            id: format!("{name}-new-{n}"),
            health_state,
            ..Instance::default()
        });
    }
}
