#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::auto_scaling::{Group, GroupDetails, MixedInstances};
use gennaker_cloud::ec2::{BlockDevice, LaunchData};
use gennaker_cloud::load_balancing::target_group_name;
use gennaker_cloud::{Connection, Ec2Clouds};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_create_server_group::CreateServerGroup;
use gennaker_domain::Intent;
use gennaker_domain::deployment::naming;
use gennaker_domain::deployment::source::source_server_group;
use gennaker_domain::deployment::target::{Target, target_server_group};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::regions;
use gennaker_server_groups::{AwsClouds, Clouds, Place, clouds, config, observe, traffic};
use serde_json::{Map, Value, json};

/// The action of the intent that keeps what is cloned.
const ACTION: &str = "clone-server-group";

/// Creates a server group like another one.
pub struct CloneServerGroup {
    clouds: Arc<dyn Clouds>,
    ec2: Arc<dyn Ec2Clouds>,
    create: CreateServerGroup,
}

impl CloneServerGroup {
    /// Over these clouds; instances have to be healthy `healthy_polls` times in a row.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>, ec2: Arc<dyn Ec2Clouds>, healthy_polls: i64) -> Self {
        Self {
            create: CreateServerGroup::new(Arc::clone(&clouds), Arc::clone(&ec2), healthy_polls),
            clouds,
            ec2,
        }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self {
            clouds: Arc::new(AwsClouds::new(connection)),
            ec2: Arc::new(AwsEc2Clouds::new(connection)),
            create: CreateServerGroup::connect(connection),
        }
    }
}

fn text<'a>(context: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter()
        .find_map(|key| context.get(*key)?.as_str())
        .filter(|text| !text.is_empty())
}

fn mixed(context: &mut Map<String, Value>, mixed: &MixedInstances) {
    let overrides: Vec<Value> = mixed
        .instance_types
        .iter()
        .zip(1..)
        .map(|((name, weight), priority)| {
            json!({ "instanceType": name, "weightedCapacity": weight, "priority": priority })
        })
        .collect();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            context.insert(key.to_owned(), value);
        }
    };
    set(
        "onDemandAllocationStrategy",
        json!(mixed.on_demand_allocation),
    );
    set("onDemandBaseCapacity", json!(mixed.on_demand_base));
    set(
        "onDemandPercentageAboveBaseCapacity",
        json!(mixed.on_demand_percentage),
    );
    set("spotAllocationStrategy", json!(mixed.spot_allocation));
    set("spotInstancePools", json!(mixed.spot_pools));
    set("spotPrice", json!(mixed.spot_max_price));
    if !overrides.is_empty() {
        set("launchTemplateOverridesForInstanceType", json!(overrides));
    }
}

fn block_device(device: &BlockDevice) -> Value {
    json!({
        "deviceName": device.device, "virtualName": device.virtual_name, "size": device.size_gib,
        "volumeType": device.volume_type, "deleteOnTermination": device.delete_on_termination,
        "iops": device.iops, "throughput": device.throughput, "snapshotId": device.snapshot,
        "encrypted": device.encrypted, "kmsKeyId": device.kms_key,
    })
}

/// A server group as the cluster JSON of a deploy would describe it.
#[must_use]
pub fn cluster_json(
    place: (&str, &str),
    group: &Group,
    details: &GroupDetails,
    data: &LaunchData,
) -> Map<String, Value> {
    let (account, region) = place;
    let names = naming::parse(&group.name);
    // Out of traffic, what it had before counts: the clone is to take traffic.
    let before = traffic::Before::of(group);
    let target_groups: Vec<&str> = before
        .sources
        .target_groups
        .iter()
        .filter_map(|arn| target_group_name(arn))
        .collect();
    // Spinnaker leaves out what it suspends itself while a group is out of traffic.
    let suspended: Vec<&String> = before
        .suspended_processes
        .iter()
        .filter(|process| !["Launch", "Terminate", "AddToLoadBalancer"].contains(&process.as_str()))
        .collect();
    let tags: Map<String, Value> = group
        .tags
        .iter()
        .filter(|(key, _)| {
            !["gennaker:", "spinnaker:", "aws:"]
                .iter()
                .any(|own| key.starts_with(own))
        })
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let hooks: Vec<Value> = details
        .lifecycle_hooks
        .iter()
        .map(|hook| {
            json!({
                "name": hook.name, "lifecycleTransition": hook.transition, "roleARN": hook.role_arn,
                "notificationTargetARN": hook.notification_target_arn,
                "notificationMetadata": hook.notification_metadata,
                "heartbeatTimeout": hook.heartbeat_seconds, "defaultResult": hook.default_result,
            })
        })
        .collect();
    let licenses: Vec<Value> = data
        .licenses
        .iter()
        .map(|arn| json!({ "arn": arn }))
        .collect();
    let placement = data.placement.as_ref().map(|placement| {
        json!({
            "affinity": placement.affinity, "availabilityZone": placement.zone, "groupName": placement.group,
            "hostId": placement.host, "tenancy": placement.tenancy,
            "hostResourceGroupArn": placement.host_resource_group, "partitionNumber": placement.partition,
        })
    });
    let mut context = json!({
        "account": account,
        "region": region,
        "application": names.app,
        "stack": names.stack,
        "freeFormDetails": names.detail,
        "capacity": group.capacity,
        "availabilityZones": { region: if details.subnets.is_empty() { group.zones.clone() } else { Vec::new() } },
        "subnetIds": details.subnets,
        "targetGroups": target_groups,
        "loadBalancers": before.sources.load_balancers,
        "suspendedProcesses": suspended,
        "healthCheckType": details.health_check_type,
        "healthCheckGracePeriod": details.health_check_grace_seconds,
        "cooldown": details.cooldown_seconds,
        "terminationPolicies": details.termination_policies,
        "capacityRebalance": details.capacity_rebalance,
        "enabledMetrics": details.enabled_metrics,
        "lifecycleHooks": hooks,
        "tags": tags,
        "imageId": data.image,
        "instanceType": data.instance_type,
        "iamRole": data.instance_profile,
        "keyPair": data.key_pair,
        "securityGroups": data.security_groups,
        "base64UserData": data.user_data,
        "ebsOptimized": data.ebs_optimized,
        "instanceMonitoring": data.monitoring,
        "associatePublicIpAddress": data.public_address,
        "requireIMDSv2": data.require_imds_v2,
        "spotPrice": data.spot_price,
        "blockDevices": data.block_devices.iter().map(block_device).collect::<Vec<_>>(),
        "blockDeviceTags": data.volume_tags,
        "kernelId": data.kernel,
        "ramdiskId": data.ramdisk,
        "associateIPv6Address": data.ipv6_address,
        "unlimitedCpuCredits": data.unlimited_cpu_credits,
        "enableEnclave": data.enclave,
        "licenseSpecifications": licenses,
        "placement": placement,
    })
    .as_object()
    .cloned()
    .unwrap_or_default();
    if let Some(policy) = &details.mixed_instances {
        mixed(&mut context, policy);
    }
    context.retain(|_, value| !value.is_null());
    context
}

/// What the clone is made of: the source, with what the stage says itself in its place.
#[must_use]
pub fn merged(mut source: Map<String, Value>, own: &Map<String, Value>) -> Map<String, Value> {
    let says = |key: &str| own.get(key).is_some_and(|value| !value.is_null());
    if says("amiName") && !says("imageId") {
        source.shift_remove("imageId");
    }
    if says("subnetType") || says("subnetIds") {
        source.shift_remove("subnetIds");
    }
    if says("region") || says("availabilityZones") {
        source.shift_remove("availabilityZones");
    }
    // Named by the stage, the cluster is the stage's: its stack and detail are not mixed with the source's.
    if says("stack") || says("freeFormDetails") || says("application") {
        source.shift_remove("stack");
        source.shift_remove("freeFormDetails");
    }
    for (key, value) in own {
        let empty_image = matches!(key.as_str(), "imageId" | "amiName") && value == "";
        if !value.is_null() && !empty_image {
            source.insert(key.clone(), value.clone());
        }
    }
    source
}

impl CloneServerGroup {
    /// The group that is cloned: the one that the stage names, what its target means, or the newest that takes
    /// traffic.
    async fn source(
        &self,
        invocation: &Invocation<'_>,
        context: &Map<String, Value>,
    ) -> Result<(Place, Group), StageError> {
        let empty = Map::new();
        let named = context
            .get("source")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let account = text(named, &["account", "credentials"])
            .or_else(|| text(context, &["account", "credentials"]))
            .ok_or_else(|| StageError::invalid("source.account", "the stage names no account"))?;
        let region = match text(named, &["region"]) {
            Some(region) => region.to_owned(),
            None => regions(context)
                .into_iter()
                .next()
                .ok_or_else(|| StageError::invalid("source.region", "the stage names no region"))?,
        };
        let place = clouds::place(&*self.clouds, invocation, account, &region).await?;
        let wanted = text(named, &["serverGroupName", "asgName"])
            .or_else(|| text(context, &["serverGroupName", "asgName"]));
        if let Some(name) = wanted {
            let found = observe::group(&place, name).await?;
            return found.map(|group| (place.clone(), group)).ok_or_else(|| {
                StageError::invalid(
                    "source.serverGroupName",
                    format!("server group `{name}` not found in {place:?}"),
                )
            });
        }
        let application = text(context, &["application"])
            .unwrap_or(invocation.execution.application.as_str())
            .to_owned();
        let cluster = match text(named, &["clusterName"])
            .or_else(|| text(context, &["targetCluster", "cluster"]))
        {
            Some(cluster) => cluster.to_owned(),
            None => naming::cluster_name(
                &application,
                text(context, &["stack"]),
                text(context, &["freeFormDetails"]),
            )
            .map_err(|error| StageError::invalid("application", error.to_string()))?,
        };
        let groups = observe::cluster_groups(&place, &cluster).await?;
        let observed = observe::without_health(&place, &groups);
        let found = match text(context, &["target"]) {
            Some(target) => {
                let wrong = |error: gennaker_domain::deployment::target::TargetError| {
                    StageError::invalid(
                        "target",
                        format!("{error}, in cluster `{cluster}` of {place:?}"),
                    )
                };
                let target = Target::from_name(target).map_err(wrong)?;
                Some(target_server_group(target, &observed).map_err(wrong)?)
            }
            None => source_server_group(&observed, false).map(|(group, _)| group),
        };
        let name = found.map(|group| group.name.clone()).ok_or_else(|| {
            StageError::invalid(
                "source",
                format!("cluster `{cluster}` has no server group in {place:?} to clone"),
            )
        })?;
        groups
            .into_iter()
            .find(|group| group.name == name)
            .map(|group| (place.clone(), group))
            .ok_or_else(|| StageError::invalid("source", format!("server group `{name}` is gone")))
    }

    /// The whole cluster JSON, decided once.
    async fn whole(&self, invocation: &Invocation<'_>) -> Result<Map<String, Value>, StageError> {
        let intents = invocation.intents().await?;
        let kept = intents
            .iter()
            .find(|intent| intent.action == ACTION)
            .and_then(|intent| intent.undo.get("context"))
            .and_then(Value::as_object);
        if let Some(kept) = kept {
            return Ok(kept.clone());
        }
        let own = invocation.context;
        let (place, group) = self.source(invocation, own).await?;
        let name = group.name.clone();
        let gone = || {
            StageError::invalid(
                "source.serverGroupName",
                format!("server group `{name}` is gone"),
            )
        };
        let details = place.auto_scaling.details(&name).await?.ok_or_else(gone)?;
        let ec2 = self
            .ec2
            .ec2(&place.account, &place.region, invocation.run)
            .await;
        let template = group.launch_template.as_ref().ok_or_else(|| {
            StageError::invalid(
                "source.serverGroupName",
                format!("server group `{name}` has no launch template to clone, only a launch configuration"),
            )
        })?;
        let data = ec2.template_data(template).await?.ok_or_else(|| {
            StageError::invalid(
                "source.serverGroupName",
                format!("the launch template of `{name}` is gone"),
            )
        })?;
        let source = cluster_json(
            (&place.account.name, &place.region),
            &group,
            &details,
            &data,
        );
        let mut whole = merged(source, own);
        if !own.contains_key("account")
            && let Some(credentials) = own.get("credentials")
        {
            whole.insert("account".to_owned(), credentials.clone());
        }
        let mut named = own
            .get("source")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        for (key, value) in [
            ("account", &place.account.name),
            ("region", &place.region),
            ("asgName", &name),
            ("serverGroupName", &name),
        ] {
            named
                .entry(key)
                .or_insert_with(|| Value::String(value.clone()));
        }
        whole.insert("source".to_owned(), Value::Object(named));
        // Before anything is made: a retry clones what this try saw, whatever becomes of the source.
        if !invocation
            .intend(ACTION, json!({ "context": whole }))
            .await?
        {
            return Err(StageError::Cloud(gennaker_cloud::CloudError::Throttled {
                operation: ACTION.to_owned(),
                message: "another invocation has decided".to_owned(),
            }));
        }
        Ok(whole)
    }
}

#[async_trait]
impl Stage for CloneServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let whole = self.whole(invocation).await?;
        self.create.step(&invocation.with_context(&whole)).await
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        if intent.action == ACTION {
            return Ok(Undo::Done {
                result: "nothing to undo".to_owned(),
            });
        }
        self.create.undo(invocation, intent).await
    }
}
