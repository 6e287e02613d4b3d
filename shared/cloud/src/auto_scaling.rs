//! The port to EC2 Auto Scaling, and its adapter.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types as sdk;
use gennaker_domain::deployment::Capacity;

use crate::error::from_sdk;
use crate::{CloudError, Connection, Lazy};

/// Names that one `DescribeAutoScalingGroups` takes.
const NAMES_PER_CALL: usize = 50;

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
    /// Tags, propagated to the instances.
    pub tags: BTreeMap<String, String>,
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
    /// (`autoscaling:CreateAutoScalingGroup`)
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
        let mut groups = Vec::new();
        let mut token = None;
        loop {
            let output = self
                .client
                .describe_auto_scaling_groups()
                .set_auto_scaling_group_names(names.clone())
                .set_next_token(token)
                .max_records(100)
                .send()
                .await
                .map_err(|error| from_sdk(OPERATION, &resource, &error))?;
            groups.extend(output.auto_scaling_groups().iter().map(group_of));
            token = output.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(groups);
            }
        }
    }
}

/// A size as AWS tells it; a negative or absent one is 0.
fn size(size: Option<i32>) -> u32 {
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0)
}

fn template_of(specification: &sdk::LaunchTemplateSpecification) -> TemplateVersion {
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
            .launch_template(
                sdk::LaunchTemplateSpecification::builder()
                    .launch_template_id(&group.launch_template.id)
                    .version(&group.launch_template.version)
                    .build(),
            )
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
        // 10 a call.
        for arns in arns.chunks(10) {
            self.client
                .attach_load_balancer_target_groups()
                .auto_scaling_group_name(name)
                .set_target_group_arns(Some(arns.to_vec()))
                .send()
                .await
                .map_err(|error| {
                    from_sdk("autoscaling:AttachLoadBalancerTargetGroups", name, &error)
                })?;
        }
        Ok(())
    }

    async fn detach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        for arns in arns.chunks(10) {
            self.client
                .detach_load_balancer_target_groups()
                .auto_scaling_group_name(name)
                .set_target_group_arns(Some(arns.to_vec()))
                .send()
                .await
                .map_err(|error| {
                    from_sdk("autoscaling:DetachLoadBalancerTargetGroups", name, &error)
                })?;
        }
        Ok(())
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
}
