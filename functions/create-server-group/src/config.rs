//! The cluster JSON of a deploy: what of it a launch template and a group are made of.

use std::collections::BTreeMap;

use gennaker_cloud::auto_scaling::LifecycleHook;
use gennaker_cloud::ec2::BlockDevice;
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
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
}

/// Deck's default; the API's own is 0, which lets a group kill instances that boot.
const HEALTH_CHECK_GRACE_SECONDS: i32 = 600;

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
                volume_type: text(device, "volumeType"),
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
                transition: text(hook, "lifecycleTransition").ok_or_else(|| {
                    StageError::invalid(
                        "lifecycleHooks",
                        "a lifecycle hook has no `lifecycleTransition`",
                    )
                })?,
                role_arn: text(hook, "roleARN"),
                notification_target_arn: text(hook, "notificationTargetARN"),
                notification_metadata: text(hook, "notificationMetadata"),
                heartbeat_seconds: number(hook, "heartbeatTimeout")?,
                default_result: text(hook, "defaultResult"),
            })
        })
        .collect()
}

/// Tags as people write them: an object of texts, numbers and flags.
fn tags(context: &Map<String, Value>) -> BTreeMap<String, String> {
    let Some(tags) = context.get("tags").and_then(Value::as_object) else {
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
            target_groups: texts(context, "targetGroups"),
            load_balancers: texts(context, "loadBalancers"),
            suspended_processes: texts(context, "suspendedProcesses"),
            start_disabled: flag(context, "startDisabled")?.unwrap_or(false),
            instance_type: text(context, "instanceType").ok_or_else(|| {
                StageError::invalid("instanceType", "the cluster has no `instanceType`")
            })?,
            iam_role: text(context, "iamRole"),
            key_pair: text(context, "keyPair"),
            user_data: text(context, "base64UserData"),
            ebs_optimized: flag(context, "ebsOptimized")?.unwrap_or(false),
            monitoring: flag(context, "instanceMonitoring")?.unwrap_or(false),
            public_address: flag(context, "associatePublicIpAddress")?,
            require_imds_v2: flag(context, "requireIMDSv2")?.unwrap_or(false),
            spot_price: text(context, "spotPrice"),
            block_devices: block_devices(context)?,
            health_check_type: text(context, "healthCheckType").unwrap_or_else(|| "EC2".to_owned()),
            health_check_grace_seconds: number(context, "healthCheckGracePeriod")?
                .unwrap_or(HEALTH_CHECK_GRACE_SECONDS),
            cooldown_seconds: number(context, "cooldown")?,
            termination_policies: texts(context, "terminationPolicies"),
            capacity_rebalance: flag(context, "capacityRebalance")?.unwrap_or(false),
            lifecycle_hooks: lifecycle_hooks(context)?,
            tags: tags(context),
        })
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
        let wrong =
            json!({"account": "prod", "region": "us-east-1", "instanceType": "t", "cooldown": -1});
        assert!(read(wrong).unwrap_err().to_string().contains("cooldown"));
        let stack = json!({"account": "p", "region": "r", "instanceType": "t", "stack": "a/b"});
        assert!(read(stack).unwrap_err().to_string().contains("a/b"));
    }
}
