//! The cluster JSON of a deploy: what of it a launch template and a group are made of.

use std::collections::BTreeMap;

use gennaker_cloud::auto_scaling::{LifecycleHook, MixedInstances};
use gennaker_cloud::ec2::{BlockDevice, LaunchData, Placement};
use gennaker_domain::deployment::naming;
use gennaker_lambda::StageError;
use gennaker_server_groups::config::regions;
use serde_json::{Map, Value};

/// A deploy's cluster, read once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Spinnaker's name of the account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The application.
    pub application: String,
    /// The stack.
    pub stack: Option<String>,
    /// The detail.
    pub detail: Option<String>,
    /// The cluster's name.
    pub cluster: String,
    /// Image id or name, where the stage says it itself.
    pub image: Option<String>,
    /// The subnets' purpose.
    pub subnet_type: Option<String>,
    /// Subnets, where the stage names them.
    pub subnet_ids: Vec<String>,
    /// Availability zones; none is all that have a subnet.
    pub zones: Vec<String>,
    /// Ids or names of security groups.
    pub security_groups: Vec<String>,
    /// Names of target groups.
    pub target_groups: Vec<String>,
    /// Names of classic load balancers.
    pub load_balancers: Vec<String>,
    /// Processes to suspend at once.
    pub suspended_processes: Vec<String>,
    /// Out of traffic from the beginning.
    pub start_disabled: bool,
    /// Instance type.
    pub instance_type: String,
    /// Instance profile.
    pub iam_role: Option<String>,
    /// Key pair.
    pub key_pair: Option<String>,
    /// User data, base 64.
    pub user_data: Option<String>,
    /// EBS-optimised.
    pub ebs_optimized: bool,
    /// Detailed monitoring.
    pub monitoring: bool,
    /// Public address.
    pub public_address: Option<bool>,
    /// Metadata by version 2 only.
    pub require_imds_v2: bool,
    /// Spot price.
    pub spot_price: Option<String>,
    /// Block devices.
    pub block_devices: Vec<BlockDevice>,
    /// `EC2` or `ELB`.
    pub health_check_type: String,
    /// Seconds.
    pub health_check_grace_seconds: i32,
    /// Seconds.
    pub cooldown_seconds: Option<i32>,
    /// Termination policies.
    pub termination_policies: Vec<String>,
    /// Replaces Spot instances before they go.
    pub capacity_rebalance: bool,
    /// Lifecycle hooks.
    pub lifecycle_hooks: Vec<LifecycleHook>,
    /// Several instance types, and both markets.
    pub mixed_instances: Option<MixedInstances>,
    /// What else the launch template has: placement, CPU credits, enclave, licenses, kernel, IPv6, volume tags.
    pub launch: LaunchData,
    /// Metrics that the group reports each minute.
    pub enabled_metrics: Vec<String>,
    /// The scaling policies and scheduled actions of the source are copied.
    pub copy_scaling: bool,
    /// The block devices of the source are copied where the cluster names none.
    pub copy_block_devices: bool,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
}

/// Deck's default; the API's own is 0, which lets a group kill instances that boot.
const HEALTH_CHECK_GRACE_SECONDS: i32 = 600;

/// Termination policies, as AWS names them; a function's ARN is one, too.
const TERMINATION_POLICIES: [&str; 8] = [
    "AllocationStrategy",
    "ClosestToNextInstanceHour",
    "Default",
    "NewestInstance",
    "OldestInstance",
    "OldestLaunchConfiguration",
    "OldestLaunchTemplate",
    "None",
];
/// Processes that can be suspended.
const PROCESSES: [&str; 9] = [
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];
const HEALTH_CHECK_TYPES: [&str; 4] = ["EBS", "EC2", "ELB", "VPC_LATTICE"];
const TRANSITIONS: [&str; 2] = [
    "autoscaling:EC2_INSTANCE_LAUNCHING",
    "autoscaling:EC2_INSTANCE_TERMINATING",
];
const HOOK_RESULTS: [&str; 2] = ["ABANDON", "CONTINUE"];
const VOLUME_TYPES: [&str; 7] = ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"];
const ON_DEMAND_ALLOCATIONS: [&str; 2] = ["lowest-price", "prioritized"];
const SPOT_ALLOCATIONS: [&str; 5] = [
    "capacity-optimized",
    "capacity-optimized-prioritized",
    "diversified",
    "lowest-price",
    "price-capacity-optimized",
];
const TENANCIES: [&str; 3] = ["dedicated", "default", "host"];
/// The most instance types that Auto Scaling mixes.
const MOST_INSTANCE_TYPES: usize = 40;
/// The most bytes of user data, before base 64.
const MOST_USER_DATA: usize = 16 * 1_024;

/// The value, if it is one of those that there are.
fn one_of(field: &str, value: String, known: &[&str]) -> Result<String, StageError> {
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(StageError::invalid(
        field,
        format!("`{value}` is not known; there are {}", known.join(", ")),
    ))
}

fn all_of(field: &str, values: Vec<String>, known: &[&str]) -> Result<Vec<String>, StageError> {
    values
        .into_iter()
        .map(|value| one_of(field, value, known))
        .collect()
}

fn optional(
    field: &str,
    value: Option<String>,
    known: &[&str],
) -> Result<Option<String>, StageError> {
    value.map(|value| one_of(field, value, known)).transpose()
}

/// A number that is no more than `most`.
fn number_to(
    context: &Map<String, Value>,
    key: &str,
    most: i32,
) -> Result<Option<i32>, StageError> {
    match number(context, key)? {
        Some(number) if number > most => Err(StageError::invalid(
            key,
            format!("`{number}` is more than {most}"),
        )),
        number => Ok(number),
    }
}

/// An instance type as EC2 names them: `t3.small`.
fn instance_type(field: &str, name: String) -> Result<String, StageError> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match name.split_once('.') {
        Some((family, size)) if part(family) && part(size) => Ok(name),
        _ => Err(StageError::invalid(
            field,
            format!("`{name}` is no instance type, such as `t3.small`"),
        )),
    }
}

fn user_data(context: &Map<String, Value>) -> Result<Option<String>, StageError> {
    let Some(text) = text(context, "base64UserData") else {
        return Ok(None);
    };
    // What it says is not told: it may be secret.
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_\r\n".contains(&byte);
    if !text.bytes().all(alphabet) {
        return Err(StageError::invalid("base64UserData", "it is not base 64"));
    }
    if text.len() / 4 * 3 > MOST_USER_DATA + 2 {
        return Err(StageError::invalid(
            "base64UserData",
            format!("it has more than {MOST_USER_DATA} bytes"),
        ));
    }
    Ok(Some(text))
}

/// The mixed instances policy, if the cluster names anything of one.
fn mixed_instances(context: &Map<String, Value>) -> Result<Option<MixedInstances>, StageError> {
    const TYPES: &str = "launchTemplateOverridesForInstanceType";
    let listed = context
        .get(TYPES)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if listed.len() > MOST_INSTANCE_TYPES {
        return Err(StageError::invalid(
            TYPES,
            format!(
                "{} instance types are more than {MOST_INSTANCE_TYPES}",
                listed.len()
            ),
        ));
    }
    let mut types = Vec::with_capacity(listed.len());
    for one in listed {
        let one = one
            .as_object()
            .ok_or_else(|| StageError::invalid(TYPES, format!("`{one}` is no object")))?;
        let name = text(one, "instanceType")
            .ok_or_else(|| StageError::invalid(TYPES, "one has no `instanceType`"))?;
        let weight = match number_to(one, "weightedCapacity", 999)? {
            Some(0) => {
                return Err(StageError::invalid(
                    TYPES,
                    format!("the weight of `{name}` is 0"),
                ));
            }
            weight => weight.map(|weight| weight.to_string()),
        };
        // Without a priority the place in the list counts, after those that have one.
        let priority = number(one, "priority")?.unwrap_or(i32::MAX);
        types.push((priority, instance_type(TYPES, name)?, weight));
    }
    types.sort_by_key(|(priority, ..)| *priority);
    let mixed = MixedInstances {
        on_demand_allocation: optional(
            "onDemandAllocationStrategy",
            text(context, "onDemandAllocationStrategy"),
            &ON_DEMAND_ALLOCATIONS,
        )?,
        on_demand_base: number(context, "onDemandBaseCapacity")?,
        on_demand_percentage: number_to(context, "onDemandPercentageAboveBaseCapacity", 100)?,
        spot_allocation: optional(
            "spotAllocationStrategy",
            text(context, "spotAllocationStrategy"),
            &SPOT_ALLOCATIONS,
        )?,
        spot_pools: number_to(context, "spotInstancePools", 20)?,
        spot_max_price: None,
        instance_types: types
            .into_iter()
            .map(|(_, name, weight)| (name, weight))
            .collect(),
    };
    if mixed == MixedInstances::default() {
        return Ok(None);
    }
    if mixed.spot_pools.is_some()
        && mixed
            .spot_allocation
            .as_deref()
            .is_some_and(|allocation| allocation != "lowest-price")
    {
        return Err(StageError::invalid(
            "spotInstancePools",
            "it goes with `spotAllocationStrategy` `lowest-price` only",
        ));
    }
    Ok(Some(MixedInstances {
        // In a policy of both markets the price is the policy's.
        spot_max_price: text(context, "spotPrice"),
        ..mixed
    }))
}

fn placement(context: &Map<String, Value>) -> Result<Option<Placement>, StageError> {
    let Some(given) = context.get("placement").and_then(Value::as_object) else {
        return Ok(None);
    };
    let placement = Placement {
        affinity: optional(
            "placement.affinity",
            text(given, "affinity"),
            &["default", "host"],
        )?,
        zone: text(given, "availabilityZone"),
        group: text(given, "groupName"),
        host: text(given, "hostId"),
        tenancy: optional("placement.tenancy", text(given, "tenancy"), &TENANCIES)?,
        host_resource_group: text(given, "hostResourceGroupArn"),
        partition: number(given, "partitionNumber")?,
    };
    Ok((placement != Placement::default()).then_some(placement))
}

/// What of a launch template has no field of its own in [`Config`].
fn launch(context: &Map<String, Value>) -> Result<LaunchData, StageError> {
    Ok(LaunchData {
        volume_tags: tags_of(context, "blockDeviceTags"),
        kernel: text(context, "kernelId"),
        ramdisk: text(context, "ramdiskId"),
        ipv6_address: flag(context, "associateIPv6Address")?.unwrap_or(false),
        unlimited_cpu_credits: flag(context, "unlimitedCpuCredits")?,
        enclave: flag(context, "enableEnclave")?.unwrap_or(false),
        licenses: context
            .get("licenseSpecifications")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|license| {
                license
                    .as_object()
                    .and_then(|license| text(license, "arn"))
                    .ok_or_else(|| StageError::invalid("licenseSpecifications", "one has no `arn`"))
            })
            .collect::<Result<_, _>>()?,
        placement: placement(context)?,
        ..LaunchData::default()
    })
}

fn text(context: &Map<String, Value>, key: &str) -> Option<String> {
    match context.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

fn texts(context: &Map<String, Value>, key: &str) -> Vec<String> {
    match context.get(key) {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect(),
        Some(Value::String(text)) if !text.trim().is_empty() => text
            .split(',')
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect(),
        _ => Vec::new(),
    }
}

/// The names of a list and those of its companion that Deck keeps for computed ones.
fn with_computed(context: &Map<String, Value>, key: &str, computed: &str) -> Vec<String> {
    let mut names = texts(context, key);
    for name in texts(context, computed) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn flag(context: &Map<String, Value>, key: &str) -> Result<Option<bool>, StageError> {
    match context.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(other) => Err(StageError::invalid(
            key,
            format!("`{other}` is neither true nor false"),
        )),
    }
}

fn number(context: &Map<String, Value>, key: &str) -> Result<Option<i32>, StageError> {
    let wrong = |value: &Value| {
        StageError::invalid(key, format!("`{value}` is not a whole number from 0 on"))
    };
    match context.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(value) => {
            let number = match value {
                Value::Number(number) => number.as_i64(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            number
                .and_then(|number| i32::try_from(number).ok())
                .filter(|number| *number >= 0)
                .map(Some)
                .ok_or_else(|| wrong(value))
        }
    }
}

fn block_devices(context: &Map<String, Value>) -> Result<Vec<BlockDevice>, StageError> {
    let Some(list) = context.get("blockDevices").and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    list.iter()
        .filter_map(Value::as_object)
        .map(|device| {
            Ok(BlockDevice {
                device: text(device, "deviceName").ok_or_else(|| {
                    StageError::invalid("blockDevices", "a block device has no `deviceName`")
                })?,
                virtual_name: text(device, "virtualName"),
                size_gib: number(device, "size")?,
                volume_type: optional(
                    "blockDevices[].volumeType",
                    text(device, "volumeType"),
                    &VOLUME_TYPES,
                )?,
                delete_on_termination: flag(device, "deleteOnTermination")?,
                iops: number(device, "iops")?,
                throughput: number(device, "throughput")?,
                snapshot: text(device, "snapshotId"),
                encrypted: flag(device, "encrypted")?,
                kms_key: text(device, "kmsKeyId"),
            })
        })
        .collect()
}

fn lifecycle_hooks(context: &Map<String, Value>) -> Result<Vec<LifecycleHook>, StageError> {
    let Some(list) = context.get("lifecycleHooks").and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    list.iter()
        .filter_map(Value::as_object)
        .enumerate()
        .map(|(position, hook)| {
            Ok(LifecycleHook {
                name: text(hook, "name").unwrap_or_else(|| format!("hook-{position}")),
                transition: text(hook, "lifecycleTransition")
                    .ok_or_else(|| {
                        StageError::invalid(
                            "lifecycleHooks",
                            "a lifecycle hook has no `lifecycleTransition`",
                        )
                    })
                    .and_then(|transition| {
                        one_of(
                            "lifecycleHooks[].lifecycleTransition",
                            transition,
                            &TRANSITIONS,
                        )
                    })?,
                role_arn: text(hook, "roleARN"),
                notification_target_arn: text(hook, "notificationTargetARN"),
                notification_metadata: text(hook, "notificationMetadata"),
                // 48 hours at most.
                heartbeat_seconds: number_to(hook, "heartbeatTimeout", 172_800)?,
                default_result: optional(
                    "lifecycleHooks[].defaultResult",
                    text(hook, "defaultResult"),
                    &HOOK_RESULTS,
                )?,
            })
        })
        .collect()
}

/// Tags as people write them: an object of texts, numbers and flags.
fn tags_of(context: &Map<String, Value>, key: &str) -> BTreeMap<String, String> {
    let Some(tags) = context.get(key).and_then(Value::as_object) else {
        return BTreeMap::new();
    };
    tags.iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.clone(), text.clone())),
            Value::Number(_) | Value::Bool(_) => Some((key.clone(), value.to_string())),
            _ => None,
        })
        .collect()
}

impl Config {
    /// The instance types that the group may launch, each once.
    #[must_use]
    pub fn instance_types(&self) -> Vec<String> {
        let mixed = self
            .mixed_instances
            .iter()
            .flat_map(|mixed| &mixed.instance_types);
        let mut types: Vec<String> = mixed.map(|(name, _)| name.clone()).collect();
        types.push(self.instance_type.clone());
        types.retain(|name| !name.is_empty());
        types.sort();
        types.dedup();
        types
    }

    /// Reads the stage's context; `application` is the execution's, for a stage that names none.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] naming the field.
    pub fn of(context: &Map<String, Value>, application: &str) -> Result<Self, StageError> {
        let account = text(context, "account")
            .or_else(|| text(context, "credentials"))
            .ok_or_else(|| StageError::invalid("account", "the stage names no account"))?;
        let regions = regions(context);
        let [region] = regions.as_slice() else {
            return Err(StageError::invalid(
                "availabilityZones",
                format!(
                    "a cluster is deployed to one region, not to {}: [{}]",
                    regions.len(),
                    regions.join(", ")
                ),
            ));
        };
        let application = text(context, "application").unwrap_or_else(|| application.to_owned());
        let (stack, detail) = (text(context, "stack"), text(context, "freeFormDetails"));
        let unnamed =
            |error: naming::NamingError| StageError::invalid("application", error.to_string());
        naming::validate(&application, stack.as_deref(), detail.as_deref()).map_err(unnamed)?;
        let cluster = naming::cluster_name(&application, stack.as_deref(), detail.as_deref())
            .map_err(unnamed)?;
        let mixed_instances = mixed_instances(context)?;
        let mixes = mixed_instances.is_some();
        let mut security_groups = texts(context, "securityGroups");
        for name in texts(context, "securityGroupNames") {
            if !security_groups.contains(&name) {
                security_groups.push(name);
            }
        }
        Ok(Self {
            zones: context
                .get("availabilityZones")
                .and_then(|zones| zones.get(region))
                .and_then(Value::as_array)
                .map(|zones| {
                    zones
                        .iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default(),
            region: region.clone(),
            account,
            application,
            stack,
            detail,
            cluster,
            image: text(context, "imageId").or_else(|| text(context, "amiName")),
            subnet_type: text(context, "subnetType"),
            subnet_ids: texts(context, "subnetIds"),
            security_groups,
            target_groups: with_computed(context, "targetGroups", "spelTargetGroups"),
            load_balancers: with_computed(context, "loadBalancers", "spelLoadBalancers"),
            suspended_processes: all_of(
                "suspendedProcesses",
                texts(context, "suspendedProcesses"),
                &PROCESSES,
            )?,
            start_disabled: flag(context, "startDisabled")?.unwrap_or(false),
            instance_type: instance_type(
                "instanceType",
                text(context, "instanceType").ok_or_else(|| {
                    StageError::invalid("instanceType", "the cluster has no `instanceType`")
                })?,
            )?,
            iam_role: text(context, "iamRole"),
            key_pair: text(context, "keyPair"),
            user_data: user_data(context)?,
            ebs_optimized: flag(context, "ebsOptimized")?.unwrap_or(false),
            monitoring: flag(context, "instanceMonitoring")?.unwrap_or(false),
            public_address: flag(context, "associatePublicIpAddress")?,
            require_imds_v2: flag(context, "requireIMDSv2")?.unwrap_or(false),
            spot_price: text(context, "spotPrice").filter(|_| !mixes),
            block_devices: block_devices(context)?,
            health_check_type: match text(context, "healthCheckType") {
                // A list, as AWS takes it.
                Some(kinds) => kinds
                    .split(',')
                    .map(|kind| {
                        one_of(
                            "healthCheckType",
                            kind.trim().to_owned(),
                            &HEALTH_CHECK_TYPES,
                        )
                    })
                    .collect::<Result<Vec<_>, _>>()?
                    .join(","),
                None => "EC2".to_owned(),
            },
            health_check_grace_seconds: number(context, "healthCheckGracePeriod")?
                .unwrap_or(HEALTH_CHECK_GRACE_SECONDS),
            cooldown_seconds: number(context, "cooldown")?,
            termination_policies: texts(context, "terminationPolicies")
                .into_iter()
                .map(|policy| match policy.starts_with("arn:") {
                    true => Ok(policy),
                    false => one_of("terminationPolicies", policy, &TERMINATION_POLICIES),
                })
                .collect::<Result<_, _>>()?,
            capacity_rebalance: flag(context, "capacityRebalance")?.unwrap_or(false),
            lifecycle_hooks: lifecycle_hooks(context)?,
            mixed_instances,
            launch: launch(context)?,
            enabled_metrics: texts(context, "enabledMetrics"),
            copy_scaling: flag(context, "copySourceScalingPoliciesAndActions")?.unwrap_or(true),
            copy_block_devices: flag(context, "copySourceCustomBlockDeviceMappings")?
                .unwrap_or(false),
            tags: tags_of(context, "tags"),
        })
    }

    /// Whether the block devices of the source are copied.
    #[must_use]
    pub fn copies_block_devices(&self) -> bool {
        self.copy_block_devices && self.block_devices.is_empty()
    }

    /// Whether the group takes no traffic until somebody enables it.
    #[must_use]
    pub fn is_out_of_traffic(&self) -> bool {
        self.start_disabled
            || self
                .suspended_processes
                .iter()
                .any(|process| process == "AddToLoadBalancer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Config, StageError> {
        Config::of(value.as_object().unwrap(), "shop")
    }

    #[test]
    fn a_cluster_is_read_as_people_write_it() {
        let config = read(json!({
            "account": "prod", "stack": "prod", "freeFormDetails": "web", "instanceType": "t3.small",
            "availabilityZones": {"us-east-1": ["us-east-1a"]}, "cooldown": "10", "ebsOptimized": "true",
            "targetGroups": ["web"], "suspendedProcesses": ["AddToLoadBalancer"], "tags": {"team": "shop", "n": 1},
        }))
        .unwrap();
        assert_eq!(config.cluster, "shop-prod-web");
        assert_eq!(config.region, "us-east-1");
        assert_eq!(config.zones, ["us-east-1a"]);
        assert_eq!(config.cooldown_seconds, Some(10));
        assert!(config.ebs_optimized && config.is_out_of_traffic());
        assert_eq!(config.tags["n"], "1");
        assert_eq!(config.health_check_grace_seconds, 600);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let without = |field: &str| {
            let mut all =
                json!({"account": "prod", "region": "us-east-1", "instanceType": "t3.small"});
            all.as_object_mut().unwrap().shift_remove(field);
            read(all).unwrap_err().to_string()
        };
        assert!(without("account").contains("account"));
        assert!(without("instanceType").contains("instanceType"));
        assert!(without("region").contains("availabilityZones"));
        let wrong = json!({"account": "prod", "region": "us-east-1", "instanceType": "t3.small", "cooldown": -1});
        assert!(read(wrong).unwrap_err().to_string().contains("cooldown"));
        let stack =
            json!({"account": "p", "region": "r", "instanceType": "t3.small", "stack": "a/b"});
        assert!(read(stack).unwrap_err().to_string().contains("a/b"));
    }

    fn of(more: Value) -> Result<Config, StageError> {
        let mut all = json!({"account": "prod", "region": "us-east-1", "instanceType": "t3.small"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        read(all)
    }

    #[test]
    fn several_instance_types_are_mixed_by_priority() {
        let config = of(json!({
            "onDemandBaseCapacity": 1, "onDemandPercentageAboveBaseCapacity": "50",
            "spotAllocationStrategy": "capacity-optimized", "spotPrice": "0.10",
            "launchTemplateOverridesForInstanceType": [
                {"instanceType": "m5.large", "priority": 2, "weightedCapacity": "2"},
                {"instanceType": "m6i.large", "priority": 1},
            ],
        }))
        .unwrap();
        let mixed = config.mixed_instances.unwrap();
        assert_eq!(
            mixed.instance_types,
            [
                ("m6i.large".to_owned(), None),
                ("m5.large".to_owned(), Some("2".to_owned()))
            ]
        );
        assert_eq!(mixed.on_demand_percentage, Some(50));
        // The price is the policy's, not the template's.
        assert_eq!(
            (mixed.spot_max_price.as_deref(), config.spot_price),
            (Some("0.10"), None)
        );
        assert_eq!(of(json!({})).unwrap().mixed_instances, None);
    }

    #[test]
    fn a_value_that_aws_would_refuse_is_told_with_its_field_and_what_there_is() {
        for (more, field, there) in [
            (json!({"instanceType": "huge"}), "instanceType", "t3.small"),
            (json!({"healthCheckType": "ELBB"}), "healthCheckType", "ELB"),
            (
                json!({"terminationPolicies": ["Oldest"]}),
                "terminationPolicies",
                "OldestInstance",
            ),
            (
                json!({"suspendedProcesses": ["Lunch"]}),
                "suspendedProcesses",
                "Launch",
            ),
            (
                json!({"blockDevices": [{"deviceName": "/dev/sdb", "volumeType": "ssd"}]}),
                "volumeType",
                "gp3",
            ),
            (
                json!({"lifecycleHooks": [{"lifecycleTransition": "LAUNCHING"}]}),
                "lifecycleTransition",
                "EC2_INSTANCE_LAUNCHING",
            ),
            (
                json!({"placement": {"tenancy": "own"}}),
                "placement.tenancy",
                "dedicated",
            ),
            (
                json!({"onDemandPercentageAboveBaseCapacity": 101}),
                "onDemandPercentageAboveBaseCapacity",
                "100",
            ),
            (
                json!({"spotAllocationStrategy": "cheap"}),
                "spotAllocationStrategy",
                "lowest-price",
            ),
            (
                json!({"base64UserData": "not base 64!"}),
                "base64UserData",
                "base 64",
            ),
        ] {
            let said = of(more).unwrap_err().to_string();
            assert!(said.contains(field) && said.contains(there), "{said}");
        }
    }

    #[test]
    fn what_a_launch_template_has_is_read() {
        let config = of(json!({
            "unlimitedCpuCredits": true, "enableEnclave": "true", "associateIPv6Address": true,
            "licenseSpecifications": [{"arn": "arn:aws:license:1"}], "kernelId": "aki-1",
            "placement": {"groupName": "near", "tenancy": "dedicated"}, "blockDeviceTags": {"team": "shop"},
            "spelTargetGroups": ["web", "api"], "targetGroups": ["web"], "enabledMetrics": ["GroupTotalInstances"],
        }))
        .unwrap();
        assert_eq!(config.launch.unlimited_cpu_credits, Some(true));
        assert!(config.launch.enclave && config.launch.ipv6_address);
        assert_eq!(config.launch.licenses, ["arn:aws:license:1"]);
        assert_eq!(
            config.launch.placement.unwrap().group.as_deref(),
            Some("near")
        );
        assert_eq!(config.launch.volume_tags["team"], "shop");
        assert_eq!(config.target_groups, ["web", "api"]);
        assert!(config.copy_scaling && !config.copy_block_devices);
    }
}
