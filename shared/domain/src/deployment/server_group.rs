//! Server groups, their instances and clusters, as an observation of the cloud saw them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::capacity::{Capacity, CapacityError};
use super::context;

/// The health of an instance, or of one of the things that judge it.
///
/// The names are Spinnaker's; `Succeeded` and `Failed` are for instances that run to an end.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum HealthState {
    /// Takes traffic, or would.
    Up,
    /// Is not healthy.
    Down,
    /// Boots, or waits for its first health check.
    Starting,
    /// Is healthy but taken out of traffic.
    OutOfService,
    /// Still answers what it began, takes nothing new.
    Draining,
    /// Nobody said. For the platform this is the state of an instance that runs.
    #[default]
    Unknown,
    /// Ran to its end, well.
    Succeeded,
    /// Ran to its end, badly.
    Failed,
}

impl HealthState {
    /// Reads Spinnaker's name of a state; a name nobody knows is [`HealthState::Unknown`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "Up" => Self::Up,
            "Down" => Self::Down,
            "Starting" => Self::Starting,
            "OutOfService" => Self::OutOfService,
            "Draining" => Self::Draining,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// What one health provider says of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderHealth {
    /// Spinnaker's name of the provider: `Amazon` (the group and EC2), `TargetGroup`, `LoadBalancer`.
    #[serde(rename = "type")]
    pub provider: String,
    /// What it says.
    pub state: HealthState,
    /// Whether this is the platform's own view. Its `Unknown` means "runs": the platform knows
    /// nothing of the application inside.
    #[serde(default)]
    pub platform: bool,
    /// The target group or load balancer that says it, where the observation knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl ProviderHealth {
    /// The platform's view: `Unknown` for an instance that runs, `Down` for one that does not.
    #[must_use]
    pub fn platform(state: HealthState) -> Self {
        Self {
            provider: "Amazon".to_owned(),
            state,
            platform: true,
            source: None,
        }
    }

    /// The view of one target group.
    #[must_use]
    pub fn target_group(name: &str, state: HealthState) -> Self {
        Self {
            provider: "TargetGroup".to_owned(),
            state,
            platform: false,
            source: Some(name.to_owned()),
        }
    }

    /// The view of one classic load balancer.
    #[must_use]
    pub fn load_balancer(name: &str, state: HealthState) -> Self {
        Self {
            provider: "LoadBalancer".to_owned(),
            ..Self::target_group(name, state)
        }
    }
}

/// One instance of a server group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// The instance id, `i-…`.
    pub id: String,
    /// All providers taken together; traffic guards count instances that are `Up` here.
    pub health_state: HealthState,
    /// What each provider says; deployments wait for these.
    pub health: Vec<ProviderHealth>,
    /// The availability zone.
    pub zone: String,
    /// When it was launched, UTC milliseconds.
    pub launch_millis: i64,
}

/// One version of an application in one region: an Auto Scaling group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerGroup {
    /// Spinnaker's name of the account.
    pub account: String,
    /// The AWS region.
    pub region: String,
    /// The name, `shop-prod-web-v012`.
    pub name: String,
    /// The name of its cluster, `shop-prod-web`.
    pub cluster: String,
    /// When it was created, UTC milliseconds; decides which group is the newest.
    pub created_millis: i64,
    /// Whether it takes traffic.
    pub enabled: bool,
    /// Its bounds and its desired size.
    pub capacity: Capacity,
    /// The image id its instances are launched from.
    pub image: Option<String>,
    /// The name of that image.
    pub image_name: Option<String>,
    /// What the image says about the build that made it.
    pub build_info: Map<String, Value>,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Scaling processes that are suspended.
    pub suspended_processes: Vec<String>,
    /// Names of its target groups.
    pub target_groups: Vec<String>,
    /// Names of its classic load balancers.
    pub load_balancers: Vec<String>,
    /// Its availability zones.
    pub zones: Vec<String>,
    /// Its tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// Whether its instances are bought on the spot market.
    pub spot: bool,
}

impl ServerGroup {
    /// Whether it takes traffic, or has an instance that is up: a disabled group whose instances are still
    /// draining counts as active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.enabled || self.instances_up() > 0
    }

    /// Counts the instances that are up.
    #[must_use]
    pub fn instances_up(&self) -> usize {
        self.instances
            .iter()
            .filter(|instance| instance.health_state == HealthState::Up)
            .count()
    }

    /// Reads a server group as Clouddriver answers it.
    ///
    /// # Errors
    /// Fails when a name is missing or the capacity is impossible.
    pub(crate) fn from_spinnaker(value: &Value) -> Result<Self, ServerGroupError> {
        let empty = Map::new();
        let object = value.as_object().ok_or(ServerGroupError::NotAnObject)?;
        let name = context::text(object, "name").ok_or(ServerGroupError::Missing("name"))?;
        let capacity = match object.get("capacity") {
            Some(capacity) => {
                Capacity::from_value(capacity).map_err(|source| ServerGroupError::Capacity {
                    name: name.clone(),
                    source,
                })?
            }
            None => Capacity::default(),
        };
        let moniker = object
            .get("moniker")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let image = object
            .get("image")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let instances = match object.get("instances").and_then(Value::as_array) {
            Some(instances) if instances.len() > MAX_INSTANCES => {
                return Err(ServerGroupError::TooManyInstances { name });
            }
            Some(instances) => instances.iter().map(instance_from_spinnaker).collect(),
            // Summaries carry the count alone.
            None => {
                let count = object
                    .get("instanceCount")
                    .and_then(Value::as_u64)
                    .unwrap_or(0);
                if usize::try_from(count).is_ok_and(|count| count > MAX_INSTANCES) {
                    return Err(ServerGroupError::TooManyInstances { name });
                }
                (0..count)
                    .map(|n| Instance {
                        id: format!("{name}-{n}"),
                        ..Instance::default()
                    })
                    .collect()
            }
        };
        Ok(Self {
            account: context::text(object, "account").unwrap_or_default(),
            region: context::text(object, "region").ok_or(ServerGroupError::Missing("region"))?,
            cluster: context::text(moniker, "cluster")
                .or_else(|| super::naming::parse(&name).cluster)
                .unwrap_or_default(),
            created_millis: object
                .get("createdTime")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            enabled: object.get("disabled").and_then(Value::as_bool) != Some(true),
            capacity,
            image: context::text(image, "imageId"),
            image_name: context::text(image, "name"),
            build_info: object
                .get("buildInfo")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            instances,
            suspended_processes: object
                .get("asg")
                .and_then(|asg| asg.get("suspendedProcesses"))
                .and_then(Value::as_array)
                .map(|processes| {
                    processes
                        .iter()
                        .filter_map(|process| process.get("processName").and_then(Value::as_str))
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default(),
            target_groups: context::text_list(object, "targetGroups").unwrap_or_default(),
            load_balancers: context::text_list(object, "loadBalancers").unwrap_or_default(),
            zones: context::text_list(object, "zones").unwrap_or_default(),
            tags: std::collections::BTreeMap::new(),
            spot: object
                .get("launchConfig")
                .and_then(|config| config.get("spotPrice"))
                .is_some_and(|p| !p.is_null()),
            name,
        })
    }
}

fn instance_from_spinnaker(value: &Value) -> Instance {
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Instance {
        id: text("name"),
        health_state: HealthState::from_name(&text("healthState")),
        health: value
            .get("health")
            .and_then(Value::as_array)
            .map(|health| {
                health
                    .iter()
                    .map(|one| ProviderHealth {
                        provider: one
                            .get("type")
                            .and_then(Value::as_str)
                            .unwrap_or_default()
                            .to_owned(),
                        state: HealthState::from_name(
                            one.get("state").and_then(Value::as_str).unwrap_or_default(),
                        ),
                        platform: one.get("healthClass").and_then(Value::as_str)
                            == Some("platform"),
                        source: None,
                    })
                    .collect()
            })
            .unwrap_or_default(),
        zone: text("zone"),
        launch_millis: value.get("launchTime").and_then(Value::as_i64).unwrap_or(0),
    }
}

/// The versions of one part of an application: all server groups that share a cluster name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Spinnaker's name of the account.
    pub account: String,
    /// The AWS region.
    pub region: String,
    /// The name of the cluster.
    pub name: String,
    /// Its server groups, in the order in which they were observed; ties keep this order.
    pub server_groups: Vec<ServerGroup>,
}

impl Cluster {
    /// The newest server group by creation time; among equals the first observed.
    #[must_use]
    pub fn newest(&self) -> Option<&ServerGroup> {
        newest(&self.server_groups)
    }
}

/// The newest server group by creation time; among equals the first.
#[must_use]
pub fn newest(server_groups: &[ServerGroup]) -> Option<&ServerGroup> {
    server_groups
        .iter()
        .rev()
        .max_by_key(|group| group.created_millis)
}

/// More instances than any group has; what claims more is not read instance by instance. AWS allows a group some
/// thousands.
pub(super) const MAX_INSTANCES: usize = 100_000;

/// Why an observed server group cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ServerGroupError {
    /// It is not a JSON object.
    #[error("a server group is not a JSON object")]
    NotAnObject,
    /// A key is missing.
    #[error("a server group has no `{0}`")]
    Missing(&'static str),
    /// It claims more than 100,000 instances.
    #[error("server group `{name}` has more than {MAX_INSTANCES} instances")]
    TooManyInstances {
        /// The group.
        name: String,
    },
    /// Its capacity is impossible.
    #[error("the capacity of server group `{name}` cannot be read")]
    Capacity {
        /// The group.
        name: String,
        /// What is wrong.
        #[source]
        source: CapacityError,
    },
}
