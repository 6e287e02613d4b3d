//! The port to EC2 Auto Scaling, and its adapter.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types as sdk;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gennaker_domain::deployment::Capacity;

use crate::error::from_sdk;
use crate::{CloudError, Connection, Lazy};

/// Names that one `DescribeAutoScalingGroups` takes: fifty, or as many as it may answer at once (`MaxRecords`), at most
/// a hundred.
pub const NAMES_PER_CALL: usize = 100;

/// An Auto Scaling group as AWS describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Name, unique in account and region.
    pub name: String,
    /// When it was created, UTC milliseconds.
    pub created_millis: i64,
    /// Bounds and desired size.
    pub capacity: Capacity,
    /// The launch template that it launches from, if it has one.
    pub launch_template: Option<TemplateVersion>,
    /// Its instances.
    pub instances: Vec<GroupInstance>,
    /// Processes that are suspended, as AWS names them.
    pub suspended_processes: Vec<String>,
    /// ARNs of the target groups that it registers its instances with.
    pub target_groups: Vec<String>,
    /// Names of its classic load balancers.
    pub load_balancers: Vec<String>,
    /// Its availability zones.
    pub zones: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Deletion has begun.
    pub deleting: bool,
}

/// A version of a launch template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateVersion {
    /// `lt-…`
    pub id: String,
    /// Version number as text; also `$Latest` and `$Default` in groups that others made.
    pub version: String,
}

/// An instance as its group sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupInstance {
    /// `i-…`
    pub id: String,
    /// `Pending`, `InService`, `Terminating`, …
    pub lifecycle_state: String,
    /// `Healthy` or `Unhealthy`.
    pub health_status: String,
    /// Availability zone.
    pub zone: String,
}

/// What a new group is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewGroup {
    /// Name.
    pub name: String,
    /// Bounds and desired size.
    pub capacity: Capacity,
    /// The launch template; always a number, never `$Latest`: it would change under the group.
    pub launch_template: TemplateVersion,
    /// Subnet ids.
    pub subnets: Vec<String>,
    /// Availability zones, where there are no subnets.
    pub zones: Vec<String>,
    /// ARNs of target groups.
    pub target_groups: Vec<String>,
    /// Names of classic load balancers.
    pub load_balancers: Vec<String>,
    /// `EC2` or `ELB`.
    pub health_check_type: String,
    /// Seconds that a new instance has before its health counts; the API's own default is 0.
    pub health_check_grace_seconds: i32,
    /// Seconds between two scaling activities.
    pub cooldown_seconds: Option<i32>,
    /// Termination policies in order.
    pub termination_policies: Vec<String>,
    /// Launches a replacement before a Spot instance goes.
    pub capacity_rebalance: bool,
    /// Lifecycle hooks.
    pub lifecycle_hooks: Vec<LifecycleHook>,
    /// Several instance types and both markets; none is what the launch template says.
    pub mixed_instances: Option<MixedInstances>,
    /// Placement group.
    pub placement_group: Option<String>,
    /// Tags, propagated to the instances.
    pub tags: BTreeMap<String, String>,
}

/// How a group mixes instance types, and on-demand with Spot instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MixedInstances {
    /// `prioritized` or `lowest-price`.
    pub on_demand_allocation: Option<String>,
    /// So many instances are on demand at least.
    pub on_demand_base: Option<i32>,
    /// Of those above the base, so many percent are on demand.
    pub on_demand_percentage: Option<i32>,
    /// `lowest-price`, `capacity-optimized`, `price-capacity-optimized`, …
    pub spot_allocation: Option<String>,
    /// Spot pools, for `lowest-price`.
    pub spot_pools: Option<i32>,
    /// Highest Spot price.
    pub spot_max_price: Option<String>,
    /// Instance types with their weights, the preferred first; none is the launch template's own.
    pub instance_types: Vec<(String, Option<String>)>,
}

/// What else a group is made of, for a copy of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupDetails {
    /// Subnet ids.
    pub subnets: Vec<String>,
    /// `EC2`, `ELB`, …
    pub health_check_type: String,
    /// Seconds.
    pub health_check_grace_seconds: i32,
    /// Seconds.
    pub cooldown_seconds: Option<i32>,
    /// Termination policies in order.
    pub termination_policies: Vec<String>,
    /// Launches a replacement before a Spot instance goes.
    pub capacity_rebalance: bool,
    /// Metrics that it reports.
    pub enabled_metrics: Vec<String>,
    /// Lifecycle hooks.
    pub lifecycle_hooks: Vec<LifecycleHook>,
    /// Several instance types, where it has them.
    pub mixed_instances: Option<MixedInstances>,
    /// Placement group.
    pub placement_group: Option<String>,
}

/// Instances that were started before they are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarmPool {
    /// `Stopped`, `Running` or `Hibernated`.
    pub state: Option<String>,
    /// Fewest instances in the pool.
    pub min_size: Option<i32>,
    /// Most instances in pool and group together; none is the group's maximum.
    pub max_prepared: Option<i32>,
    /// Instances go back into the pool when the group shrinks.
    pub reuse_on_scale_in: Option<bool>,
    /// Its deletion has begun.
    pub deleting: bool,
}

/// A lifecycle hook of a new group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleHook {
    /// Name.
    pub name: String,
    /// `autoscaling:EC2_INSTANCE_LAUNCHING` or `…_TERMINATING`.
    pub transition: String,
    /// Role that may notify.
    pub role_arn: Option<String>,
    /// Topic or queue that is notified.
    pub notification_target_arn: Option<String>,
    /// Text that is sent along.
    pub notification_metadata: Option<String>,
    /// Seconds until the default result.
    pub heartbeat_seconds: Option<i32>,
    /// `CONTINUE` or `ABANDON`.
    pub default_result: Option<String>,
}

/// The calls to Auto Scaling that stages need. Everything that changes a group names it.
#[async_trait]
pub trait AutoScaling: Send + Sync {
    /// All groups of the account in the region, 100 a call. (`autoscaling:DescribeAutoScalingGroups`)
    async fn all_groups(&self) -> Result<Vec<Group>, CloudError>;

    /// The groups of these names; one that is not there is left out. (`autoscaling:DescribeAutoScalingGroups`)
    async fn groups(&self, names: &[String]) -> Result<Vec<Group>, CloudError>;

    /// Creates a group. A name that is taken is refused with `AlreadyExists`; look first, an emulator may replace it.
    /// (`autoscaling:CreateAutoScalingGroup`; its tags are `autoscaling:CreateOrUpdateTags`, and Auto Scaling checks that
    /// whoever names a launch template could launch from it: `ec2:RunInstances`, `iam:PassRole` of its instance role)
    async fn create_group(&self, group: &NewGroup) -> Result<(), CloudError>;

    /// Sets bounds and desired size; again is the same. (`autoscaling:UpdateAutoScalingGroup`)
    async fn set_capacity(&self, name: &str, capacity: Capacity) -> Result<(), CloudError>;

    /// Suspends these processes; none is no call, because to AWS an empty list means all of them.
    /// (`autoscaling:SuspendProcesses`)
    async fn suspend_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError>;

    /// Resumes these processes; none is no call. (`autoscaling:ResumeProcesses`)
    async fn resume_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError>;

    /// Registers the group's instances, present and future, with the target groups. Takes effect later.
    /// (`autoscaling:AttachLoadBalancerTargetGroups`)
    async fn attach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError>;

    /// Deregisters the group's instances; they drain and keep running. Takes effect later.
    /// (`autoscaling:DetachLoadBalancerTargetGroups`)
    async fn detach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError>;

    /// The same for classic load balancers, by name. Takes effect later. (`autoscaling:AttachLoadBalancers`)
    async fn attach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError>;

    /// The same for classic load balancers, by name. Takes effect later. (`autoscaling:DetachLoadBalancers`)
    async fn detach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError>;

    /// Sets tags of the group, not of its instances. (`autoscaling:CreateOrUpdateTags`)
    async fn set_tags(&self, name: &str, tags: &BTreeMap<String, String>)
    -> Result<(), CloudError>;

    /// Removes tags. (`autoscaling:DeleteTags`)
    async fn remove_tags(&self, name: &str, keys: &[String]) -> Result<(), CloudError>;

    /// Deletes a group; what instances it has left are terminated. (`autoscaling:DeleteAutoScalingGroup`)
    async fn delete_group(&self, name: &str) -> Result<(), CloudError>;

    /// Why the newest launches failed, newest first; empty if they did not.
    /// (`autoscaling:DescribeScalingActivities`)
    async fn failed_activities(&self, name: &str) -> Result<Vec<String>, CloudError>;

    /// Sets the minimum alone; the desired size and the maximum stay as they are, whoever moves them meanwhile.
    /// (`autoscaling:UpdateAutoScalingGroup`)
    async fn set_minimum(&self, name: &str, minimum: u32) -> Result<(), CloudError>;

    /// What else a group is made of; none where it is not there.
    /// (`autoscaling:DescribeAutoScalingGroups`, `autoscaling:DescribeLifecycleHooks`)
    async fn details(&self, name: &str) -> Result<Option<GroupDetails>, CloudError>;

    /// Gives a group the scaling policies and the scheduled actions of another, each under its own name; again is the
    /// same. Alarms are CloudWatch's: see [`crate::Alarms::copy`]. (`autoscaling:DescribePolicies`,
    /// `autoscaling:PutScalingPolicy`, `autoscaling:DescribeScheduledActions`,
    /// `autoscaling:BatchPutScheduledUpdateGroupAction`)
    async fn copy_scaling(&self, from: &str, to: &str) -> Result<CopiedScaling, CloudError>;

    /// The alarms that a group's step and simple scaling policies go by; those of target tracking are Auto Scaling's
    /// own. (`autoscaling:DescribePolicies`)
    async fn policy_alarms(&self, name: &str) -> Result<Vec<String>, CloudError>;

    /// Reports these metrics of a group each minute; none is no call. (`autoscaling:EnableMetricsCollection`)
    async fn enable_metrics(&self, name: &str, metrics: &[String]) -> Result<(), CloudError>;

    /// The warm pool of a group, if it has one. (`autoscaling:DescribeWarmPool`)
    async fn warm_pool(&self, name: &str) -> Result<Option<WarmPool>, CloudError>;

    /// Makes or changes the warm pool; what is none stays as it is. (`autoscaling:PutWarmPool`)
    async fn put_warm_pool(&self, name: &str, pool: &WarmPool) -> Result<(), CloudError>;

    /// Deletes the warm pool with its instances; it takes a while. (`autoscaling:DeleteWarmPool`)
    async fn delete_warm_pool(&self, name: &str) -> Result<(), CloudError>;
}

/// The calls of [`AutoScaling`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "AutoScaling":
        ALL_GROUPS = "all_groups" => ["autoscaling:DescribeAutoScalingGroups"];
        GROUPS = "groups" => ["autoscaling:DescribeAutoScalingGroups"];
        CREATE_GROUP = "create_group" => ["autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags", "ec2:RunInstances", "iam:PassRole"];
        SET_CAPACITY = "set_capacity" => ["autoscaling:UpdateAutoScalingGroup"];
        SUSPEND_PROCESSES = "suspend_processes" => ["autoscaling:SuspendProcesses"];
        RESUME_PROCESSES = "resume_processes" => ["autoscaling:ResumeProcesses"];
        ATTACH_TARGET_GROUPS = "attach_target_groups" => ["autoscaling:AttachLoadBalancerTargetGroups"];
        DETACH_TARGET_GROUPS = "detach_target_groups" => ["autoscaling:DetachLoadBalancerTargetGroups"];
        ATTACH_LOAD_BALANCERS = "attach_load_balancers" => ["autoscaling:AttachLoadBalancers"];
        DETACH_LOAD_BALANCERS = "detach_load_balancers" => ["autoscaling:DetachLoadBalancers"];
        SET_TAGS = "set_tags" => ["autoscaling:CreateOrUpdateTags"];
        REMOVE_TAGS = "remove_tags" => ["autoscaling:DeleteTags"];
        DELETE_GROUP = "delete_group" => ["autoscaling:DeleteAutoScalingGroup"];
        FAILED_ACTIVITIES = "failed_activities" => ["autoscaling:DescribeScalingActivities"];
        SET_MINIMUM = "set_minimum" => ["autoscaling:UpdateAutoScalingGroup"];
        DETAILS = "details" => ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeLifecycleHooks"];
        COPY_SCALING = "copy_scaling" => ["autoscaling:DescribePolicies", "autoscaling:PutScalingPolicy", "autoscaling:DescribeScheduledActions", "autoscaling:BatchPutScheduledUpdateGroupAction"];
        POLICY_ALARMS = "policy_alarms" => ["autoscaling:DescribePolicies"];
        ENABLE_METRICS = "enable_metrics" => ["autoscaling:EnableMetricsCollection"];
        WARM_POOL = "warm_pool" => ["autoscaling:DescribeWarmPool"];
        PUT_WARM_POOL = "put_warm_pool" => ["autoscaling:PutWarmPool"];
        DELETE_WARM_POOL = "delete_warm_pool" => ["autoscaling:DeleteWarmPool"];
    }
}

/// What [`AutoScaling::copy_scaling`] copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedScaling {
    /// How many policies and scheduled actions.
    pub count: usize,
    /// ARNs of the policies that go by alarms, and of their copies.
    pub policies: BTreeMap<String, String>,
    /// The alarms that these policies go by.
    pub alarms: Vec<String>,
}

/// Whether a policy goes by alarms that somebody made for it: Auto Scaling makes those of the other kinds itself.
fn goes_by_alarms(policy: &sdk::ScalingPolicy) -> bool {
    matches!(policy.policy_type(), Some("StepScaling" | "SimpleScaling"))
}

fn alarms_of(policy: &sdk::ScalingPolicy) -> Vec<String> {
    let names = policy
        .alarms()
        .iter()
        .filter_map(|alarm| alarm.alarm_name());
    names.map(str::to_owned).collect()
}

/// Auto Scaling in one account and region.
#[derive(Clone, Debug)]
pub struct AwsAutoScaling {
    client: Lazy<Client>,
}

impl AwsAutoScaling {
    /// In the connection's account and region. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }

    async fn describe(&self, names: Option<Vec<String>>) -> Result<Vec<Group>, CloudError> {
        const OPERATION: &str = "autoscaling:DescribeAutoScalingGroups";
        let resource = names
            .as_ref()
            .map_or_else(|| "all groups".to_owned(), |names| names.join(", "));
        let groups = self
            .client
            .describe_auto_scaling_groups()
            .set_auto_scaling_group_names(names)
            .max_records(100)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| from_sdk(OPERATION, &resource, &error))?;
        Ok(groups.iter().map(group_of).collect())
    }
}

/// A size as AWS tells it; a negative or absent one is 0.
fn size(size: Option<i32>) -> u32 {
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0)
}

pub(crate) fn template_of(specification: &sdk::LaunchTemplateSpecification) -> TemplateVersion {
    TemplateVersion {
        id: specification
            .launch_template_id()
            .unwrap_or_default()
            .to_owned(),
        version: specification.version().unwrap_or("$Default").to_owned(),
    }
}

fn group_of(group: &sdk::AutoScalingGroup) -> Group {
    let (min, desired, max) = (
        size(group.min_size()),
        size(group.desired_capacity()),
        size(group.max_size()),
    );
    let mixed = group
        .mixed_instances_policy()
        .and_then(sdk::MixedInstancesPolicy::launch_template)
        .and_then(sdk::LaunchTemplate::launch_template_specification);
    Group {
        name: group
            .auto_scaling_group_name()
            .unwrap_or_default()
            .to_owned(),
        created_millis: group
            .created_time()
            .and_then(|time| time.to_millis().ok())
            .unwrap_or(0),
        // A group whose desired size is out of its bounds is on its way back into them.
        capacity: Capacity::new(min, desired, max)
            .or_else(|_| Capacity::new(min.min(desired), desired, max.max(desired)))
            .unwrap_or_default(),
        launch_template: group.launch_template().or(mixed).map(template_of),
        instances: group
            .instances()
            .iter()
            .map(|instance| GroupInstance {
                id: instance.instance_id().unwrap_or_default().to_owned(),
                lifecycle_state: instance
                    .lifecycle_state()
                    .map_or_else(String::new, |state| state.as_str().to_owned()),
                health_status: instance.health_status().unwrap_or_default().to_owned(),
                zone: instance.availability_zone().unwrap_or_default().to_owned(),
            })
            .collect(),
        suspended_processes: group
            .suspended_processes()
            .iter()
            .filter_map(|process| process.process_name())
            .map(str::to_owned)
            .collect(),
        target_groups: group.target_group_arns().to_vec(),
        load_balancers: group.load_balancer_names().to_vec(),
        zones: group.availability_zones().to_vec(),
        tags: group
            .tags()
            .iter()
            .filter_map(|tag| {
                Some((
                    tag.key()?.to_owned(),
                    tag.value().unwrap_or_default().to_owned(),
                ))
            })
            .collect(),
        deleting: group.status().is_some_and(|status| !status.is_empty()),
    }
}

/// A count as the API takes it.
fn count(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

fn list(names: &[String]) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.to_vec())
}

fn tag(name: &str, key: &str, value: Option<&str>, propagate: bool) -> sdk::Tag {
    sdk::Tag::builder()
        .resource_id(name)
        .resource_type("auto-scaling-group")
        .key(key)
        .set_value(value.map(str::to_owned))
        .propagate_at_launch(propagate)
        .build()
}

fn hook_of(hook: &LifecycleHook) -> sdk::LifecycleHookSpecification {
    sdk::LifecycleHookSpecification::builder()
        .lifecycle_hook_name(&hook.name)
        .lifecycle_transition(&hook.transition)
        .set_role_arn(hook.role_arn.clone())
        .set_notification_target_arn(hook.notification_target_arn.clone())
        .set_notification_metadata(hook.notification_metadata.clone())
        .set_heartbeat_timeout(hook.heartbeat_seconds)
        .set_default_result(hook.default_result.clone())
        .build()
}

pub(crate) fn template(version: &TemplateVersion) -> sdk::LaunchTemplateSpecification {
    sdk::LaunchTemplateSpecification::builder()
        .launch_template_id(&version.id)
        .version(&version.version)
        .build()
}

pub(crate) fn mixed_policy(
    mixed: &MixedInstances,
    version: &TemplateVersion,
) -> sdk::MixedInstancesPolicy {
    let overrides: Vec<_> = mixed
        .instance_types
        .iter()
        .map(|(instance_type, weight)| {
            sdk::LaunchTemplateOverrides::builder()
                .instance_type(instance_type)
                .set_weighted_capacity(weight.clone())
                .build()
        })
        .collect();
    sdk::MixedInstancesPolicy::builder()
        .launch_template(
            sdk::LaunchTemplate::builder()
                .launch_template_specification(template(version))
                .set_overrides((!overrides.is_empty()).then_some(overrides))
                .build(),
        )
        .instances_distribution(
            sdk::InstancesDistribution::builder()
                .set_on_demand_allocation_strategy(mixed.on_demand_allocation.clone())
                .set_on_demand_base_capacity(mixed.on_demand_base)
                .set_on_demand_percentage_above_base_capacity(mixed.on_demand_percentage)
                .set_spot_allocation_strategy(mixed.spot_allocation.clone())
                .set_spot_instance_pools(mixed.spot_pools)
                .set_spot_max_price(mixed.spot_max_price.clone())
                .build(),
        )
        .build()
}

fn mixed_of(policy: &sdk::MixedInstancesPolicy) -> MixedInstances {
    let distribution = policy.instances_distribution();
    let text = |value: Option<&str>| value.map(str::to_owned);
    MixedInstances {
        on_demand_allocation: distribution.and_then(|d| text(d.on_demand_allocation_strategy())),
        on_demand_base: distribution.and_then(|d| d.on_demand_base_capacity()),
        on_demand_percentage: distribution
            .and_then(|d| d.on_demand_percentage_above_base_capacity()),
        spot_allocation: distribution.and_then(|d| text(d.spot_allocation_strategy())),
        spot_pools: distribution.and_then(|d| d.spot_instance_pools()),
        spot_max_price: distribution.and_then(|d| text(d.spot_max_price())),
        instance_types: policy
            .launch_template()
            .map(|template| template.overrides())
            .unwrap_or_default()
            .iter()
            .filter_map(|one| {
                Some((
                    one.instance_type()?.to_owned(),
                    text(one.weighted_capacity()),
                ))
            })
            .collect(),
    }
}

fn details_of(group: &sdk::AutoScalingGroup, hooks: &[sdk::LifecycleHook]) -> GroupDetails {
    let text = |value: Option<&str>| value.map(str::to_owned);
    GroupDetails {
        subnets: group
            .vpc_zone_identifier()
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|subnet| !subnet.is_empty())
            .map(str::to_owned)
            .collect(),
        health_check_type: group.health_check_type().unwrap_or("EC2").to_owned(),
        health_check_grace_seconds: group.health_check_grace_period().unwrap_or(0),
        cooldown_seconds: group.default_cooldown(),
        termination_policies: group.termination_policies().to_vec(),
        capacity_rebalance: group.capacity_rebalance().unwrap_or(false),
        enabled_metrics: group
            .enabled_metrics()
            .iter()
            .filter_map(|metric| text(metric.metric()))
            .collect(),
        lifecycle_hooks: hooks
            .iter()
            .map(|hook| LifecycleHook {
                name: hook.lifecycle_hook_name().unwrap_or_default().to_owned(),
                transition: hook.lifecycle_transition().unwrap_or_default().to_owned(),
                role_arn: text(hook.role_arn()),
                notification_target_arn: text(hook.notification_target_arn()),
                notification_metadata: text(hook.notification_metadata()),
                heartbeat_seconds: hook.heartbeat_timeout(),
                default_result: text(hook.default_result()),
            })
            .collect(),
        mixed_instances: group.mixed_instances_policy().map(mixed_of),
        placement_group: text(group.placement_group()),
    }
}

impl AwsAutoScaling {
    async fn policies(&self, name: &str) -> Result<Vec<sdk::ScalingPolicy>, CloudError> {
        self.client
            .describe_policies()
            .auto_scaling_group_name(name)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribePolicies", name, &error))
    }

    async fn scheduled(
        &self,
        name: &str,
    ) -> Result<Vec<sdk::ScheduledUpdateGroupActionRequest>, CloudError> {
        let actions = self
            .client
            .describe_scheduled_actions()
            .auto_scaling_group_name(name)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribeScheduledActions", name, &error))?;
        Ok(actions.into_iter().map(again).collect())
    }
}

/// Load balancers and target groups that one call attaches or detaches.
const AT_ONCE: usize = 10;

/// Makes a call about many things, a few at a time.
async fn a_few_at_a_time<O, E, R, F>(
    operation: &str,
    group: &str,
    all: &[String],
    call: impl Fn(Vec<String>) -> F,
) -> Result<(), CloudError>
where
    F: Future<Output = Result<O, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    for some in all.chunks(AT_ONCE) {
        call(some.to_vec())
            .await
            .map_err(|error| from_sdk(operation, group, &error))?;
    }
    Ok(())
}

/// What sets the same scheduled action for another group.
fn again(action: sdk::ScheduledUpdateGroupAction) -> sdk::ScheduledUpdateGroupActionRequest {
    // A start that is over is refused; what recurs goes on without it.
    let start = action.start_time.filter(|_| action.recurrence.is_none());
    sdk::ScheduledUpdateGroupActionRequest::builder()
        .set_scheduled_action_name(action.scheduled_action_name)
        .set_start_time(start)
        .set_end_time(action.end_time)
        .set_recurrence(action.recurrence)
        .set_min_size(action.min_size)
        .set_max_size(action.max_size)
        .set_desired_capacity(action.desired_capacity)
        .set_time_zone(action.time_zone)
        .build()
}

#[async_trait]
impl AutoScaling for AwsAutoScaling {
    async fn all_groups(&self) -> Result<Vec<Group>, CloudError> {
        self.describe(None).await
    }

    async fn groups(&self, names: &[String]) -> Result<Vec<Group>, CloudError> {
        let mut groups = Vec::new();
        // No name at all would mean all groups.
        for names in names.chunks(NAMES_PER_CALL) {
            groups.extend(self.describe(Some(names.to_vec())).await?);
        }
        Ok(groups)
    }

    async fn create_group(&self, group: &NewGroup) -> Result<(), CloudError> {
        let subnets = (!group.subnets.is_empty()).then(|| group.subnets.join(","));
        let tags = group
            .tags
            .iter()
            .map(|(key, value)| tag(&group.name, key, Some(value), true))
            .collect();
        let hooks: Vec<_> = group.lifecycle_hooks.iter().map(hook_of).collect();
        self.client
            .create_auto_scaling_group()
            .auto_scaling_group_name(&group.name)
            .min_size(count(group.capacity.min()))
            .desired_capacity(count(group.capacity.desired()))
            .max_size(count(group.capacity.max()))
            .set_launch_template(
                group
                    .mixed_instances
                    .is_none()
                    .then(|| template(&group.launch_template)),
            )
            .set_mixed_instances_policy(
                group
                    .mixed_instances
                    .as_ref()
                    .map(|mixed| mixed_policy(mixed, &group.launch_template)),
            )
            .set_placement_group(group.placement_group.clone())
            .set_vpc_zone_identifier(subnets)
            .set_availability_zones(list(&group.zones))
            .set_target_group_arns(list(&group.target_groups))
            .set_load_balancer_names(list(&group.load_balancers))
            .health_check_type(&group.health_check_type)
            .health_check_grace_period(group.health_check_grace_seconds)
            .set_default_cooldown(group.cooldown_seconds)
            .set_termination_policies(list(&group.termination_policies))
            .set_capacity_rebalance(group.capacity_rebalance.then_some(true))
            .set_lifecycle_hook_specification_list((!hooks.is_empty()).then_some(hooks))
            .set_tags(Some(tags))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:CreateAutoScalingGroup", &group.name, &error))?;
        Ok(())
    }

    async fn set_capacity(&self, name: &str, capacity: Capacity) -> Result<(), CloudError> {
        self.client
            .update_auto_scaling_group()
            .auto_scaling_group_name(name)
            .min_size(count(capacity.min()))
            .desired_capacity(count(capacity.desired()))
            .max_size(count(capacity.max()))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:UpdateAutoScalingGroup", name, &error))?;
        Ok(())
    }

    async fn suspend_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        let Some(processes) = list(processes) else {
            return Ok(());
        };
        self.client
            .suspend_processes()
            .auto_scaling_group_name(name)
            .set_scaling_processes(Some(processes))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:SuspendProcesses", name, &error))?;
        Ok(())
    }

    async fn resume_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        let Some(processes) = list(processes) else {
            return Ok(());
        };
        self.client
            .resume_processes()
            .auto_scaling_group_name(name)
            .set_scaling_processes(Some(processes))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:ResumeProcesses", name, &error))?;
        Ok(())
    }

    async fn attach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        let call = |some| {
            let call = self
                .client
                .attach_load_balancer_target_groups()
                .auto_scaling_group_name(name);
            call.set_target_group_arns(Some(some)).send()
        };
        a_few_at_a_time(
            "autoscaling:AttachLoadBalancerTargetGroups",
            name,
            arns,
            call,
        )
        .await
    }

    async fn detach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        let call = |some| {
            let call = self
                .client
                .detach_load_balancer_target_groups()
                .auto_scaling_group_name(name);
            call.set_target_group_arns(Some(some)).send()
        };
        a_few_at_a_time(
            "autoscaling:DetachLoadBalancerTargetGroups",
            name,
            arns,
            call,
        )
        .await
    }

    async fn attach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError> {
        let call = |some| {
            let call = self
                .client
                .attach_load_balancers()
                .auto_scaling_group_name(name);
            call.set_load_balancer_names(Some(some)).send()
        };
        a_few_at_a_time("autoscaling:AttachLoadBalancers", name, balancers, call).await
    }

    async fn detach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError> {
        let call = |some| {
            let call = self
                .client
                .detach_load_balancers()
                .auto_scaling_group_name(name);
            call.set_load_balancer_names(Some(some)).send()
        };
        a_few_at_a_time("autoscaling:DetachLoadBalancers", name, balancers, call).await
    }

    async fn set_tags(
        &self,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        let tags = tags
            .iter()
            .map(|(key, value)| tag(name, key, Some(value), false))
            .collect();
        self.client
            .create_or_update_tags()
            .set_tags(Some(tags))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:CreateOrUpdateTags", name, &error))?;
        Ok(())
    }

    async fn remove_tags(&self, name: &str, keys: &[String]) -> Result<(), CloudError> {
        if keys.is_empty() {
            return Ok(());
        }
        let tags = keys.iter().map(|key| tag(name, key, None, false)).collect();
        self.client
            .delete_tags()
            .set_tags(Some(tags))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DeleteTags", name, &error))?;
        Ok(())
    }

    async fn delete_group(&self, name: &str) -> Result<(), CloudError> {
        self.client
            .delete_auto_scaling_group()
            .auto_scaling_group_name(name)
            .force_delete(true)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DeleteAutoScalingGroup", name, &error))?;
        Ok(())
    }

    async fn failed_activities(&self, name: &str) -> Result<Vec<String>, CloudError> {
        let output = self
            .client
            .describe_scaling_activities()
            .auto_scaling_group_name(name)
            .max_records(10)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribeScalingActivities", name, &error))?;
        Ok(output
            .activities()
            .iter()
            .filter(|activity| {
                activity
                    .status_code()
                    .is_some_and(|code| *code == sdk::ScalingActivityStatusCode::Failed)
            })
            .filter_map(|activity| activity.status_message())
            .map(str::to_owned)
            .collect())
    }

    async fn set_minimum(&self, name: &str, minimum: u32) -> Result<(), CloudError> {
        self.client
            .update_auto_scaling_group()
            .auto_scaling_group_name(name)
            .min_size(count(minimum))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:UpdateAutoScalingGroup", name, &error))?;
        Ok(())
    }

    async fn details(&self, name: &str) -> Result<Option<GroupDetails>, CloudError> {
        let output = self
            .client
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(name)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribeAutoScalingGroups", name, &error))?;
        let Some(group) = output.auto_scaling_groups().first() else {
            return Ok(None);
        };
        let hooks = self
            .client
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(name)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribeLifecycleHooks", name, &error))?;
        Ok(Some(details_of(group, hooks.lifecycle_hooks())))
    }

    async fn copy_scaling(&self, from: &str, to: &str) -> Result<CopiedScaling, CloudError> {
        let mut copied = CopiedScaling::default();
        for policy in self.policies(from).await? {
            let (alarmed, alarms) = (goes_by_alarms(&policy), alarms_of(&policy));
            let arn = policy.policy_arn.clone();
            let output = self
                .client
                .put_scaling_policy()
                .auto_scaling_group_name(to)
                .set_policy_name(policy.policy_name)
                .set_policy_type(policy.policy_type)
                .set_adjustment_type(policy.adjustment_type)
                .set_min_adjustment_magnitude(policy.min_adjustment_magnitude)
                .set_scaling_adjustment(policy.scaling_adjustment)
                .set_cooldown(policy.cooldown)
                .set_metric_aggregation_type(policy.metric_aggregation_type)
                .set_step_adjustments(policy.step_adjustments.filter(|steps| !steps.is_empty()))
                .set_estimated_instance_warmup(policy.estimated_instance_warmup)
                .set_target_tracking_configuration(policy.target_tracking_configuration)
                .set_predictive_scaling_configuration(policy.predictive_scaling_configuration)
                .set_enabled(policy.enabled)
                .send()
                .await
                .map_err(|error| from_sdk("autoscaling:PutScalingPolicy", to, &error))?;
            copied.count += 1;
            if let (true, Some(from), Some(to)) = (alarmed, arn, output.policy_arn) {
                copied.policies.insert(from, to);
                copied.alarms.extend(alarms);
            }
        }
        let actions = self.scheduled(from).await?;
        // 50 a call.
        for actions in actions.chunks(50) {
            self.client
                .batch_put_scheduled_update_group_action()
                .auto_scaling_group_name(to)
                .set_scheduled_update_group_actions(Some(actions.to_vec()))
                .send()
                .await
                .map_err(|error| {
                    from_sdk("autoscaling:BatchPutScheduledUpdateGroupAction", to, &error)
                })?;
        }
        copied.count += actions.len();
        copied.alarms.sort();
        copied.alarms.dedup();
        Ok(copied)
    }

    async fn policy_alarms(&self, name: &str) -> Result<Vec<String>, CloudError> {
        let policies = self.policies(name).await?;
        let mut alarms: Vec<String> = policies
            .iter()
            .filter(|policy| goes_by_alarms(policy))
            .flat_map(alarms_of)
            .collect();
        alarms.sort();
        alarms.dedup();
        Ok(alarms)
    }

    async fn enable_metrics(&self, name: &str, metrics: &[String]) -> Result<(), CloudError> {
        let Some(metrics) = list(metrics) else {
            return Ok(());
        };
        self.client
            .enable_metrics_collection()
            .auto_scaling_group_name(name)
            .granularity("1Minute")
            .set_metrics(Some(metrics))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:EnableMetricsCollection", name, &error))?;
        Ok(())
    }

    async fn warm_pool(&self, name: &str) -> Result<Option<WarmPool>, CloudError> {
        let output = self
            .client
            .describe_warm_pool()
            .auto_scaling_group_name(name)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DescribeWarmPool", name, &error))?;
        Ok(output.warm_pool_configuration().map(|pool| WarmPool {
            state: pool.pool_state().map(|state| state.as_str().to_owned()),
            min_size: pool.min_size(),
            max_prepared: pool.max_group_prepared_capacity(),
            reuse_on_scale_in: pool
                .instance_reuse_policy()
                .and_then(|policy| policy.reuse_on_scale_in()),
            deleting: pool.status() == Some(&sdk::WarmPoolStatus::PendingDelete),
        }))
    }

    async fn put_warm_pool(&self, name: &str, pool: &WarmPool) -> Result<(), CloudError> {
        self.client
            .put_warm_pool()
            .auto_scaling_group_name(name)
            .set_pool_state(pool.state.as_deref().map(sdk::WarmPoolState::from))
            .set_min_size(pool.min_size)
            // -1 is the group's maximum again.
            .set_max_group_prepared_capacity(pool.max_prepared)
            .set_instance_reuse_policy(pool.reuse_on_scale_in.map(|reuse| {
                sdk::InstanceReusePolicy::builder()
                    .reuse_on_scale_in(reuse)
                    .build()
            }))
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:PutWarmPool", name, &error))?;
        Ok(())
    }

    async fn delete_warm_pool(&self, name: &str) -> Result<(), CloudError> {
        self.client
            .delete_warm_pool()
            .auto_scaling_group_name(name)
            .force_delete(true)
            .send()
            .await
            .map_err(|error| from_sdk("autoscaling:DeleteWarmPool", name, &error))?;
        Ok(())
    }
}
