//! The ports of a place as one call of a stage may see it: reads are shared with other calls where they may be, and
//! nothing is changed by a call that only looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::alarms::Copying;
use gennaker_cloud::auto_scaling::{CopiedScaling, Group, GroupDetails, NewGroup, WarmPool};
use gennaker_cloud::classic_load_balancing::{InstanceHealth, LoadBalancer};
use gennaker_cloud::instance_refresh::{DesiredConfiguration, InstanceRefresh, RefreshPreferences};
use gennaker_cloud::load_balancing::{TargetGroup, TargetHealth};
use gennaker_cloud::{
    Alarms, AutoScaling, ClassicLoadBalancing, CloudError, InstanceRefreshes, LoadBalancing,
};
use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::Alarm;

use crate::Place;
use crate::observations::{Changed, Sight};

/// The place with its ports behind a sight. What changes goes through `acting`, whose session bears the run's name; what
/// reads goes through `reading`, whose session all executions share.
pub(crate) fn place(acting: Place, reading: Option<Place>, sight: &Sight) -> Place {
    let reading = reading.unwrap_or_else(|| acting.clone());
    let whole = acting.clone();
    let port = Port {
        reads: reading,
        changes: acting,
        sight: sight.clone(),
    };
    let port = Arc::new(port);
    Place {
        auto_scaling: port.clone(),
        load_balancing: port.clone(),
        classic_load_balancing: port.clone(),
        instance_refreshes: port.clone(),
        alarms: port,
        sight: Some(sight.clone()),
        // Quotas and instance profiles are asked for once, before anything is changed.
        ..whole
    }
}

struct Port {
    reads: Place,
    changes: Place,
    sight: Sight,
}

impl Port {
    /// One change. Whatever it answers, it may have taken effect: what it touches is forgotten.
    async fn change<T>(
        &self,
        changed: Changed<'_>,
        call: impl Future<Output = Result<T, CloudError>> + Send,
    ) -> Result<T, CloudError> {
        self.sight.may_change()?;
        let answer = call.await;
        self.sight.forget(&changed);
        answer
    }
}

fn of_group(name: &str) -> Changed<'_> {
    Changed {
        group: Some(name),
        ..Changed::default()
    }
}

fn of_members(name: &str) -> Changed<'_> {
    Changed {
        members: true,
        ..of_group(name)
    }
}

fn with_targets<'a>(name: &'a str, targets: &'a [String]) -> Changed<'a> {
    Changed {
        targets,
        ..of_group(name)
    }
}

fn with_balancers<'a>(name: &'a str, balancers: &'a [String]) -> Changed<'a> {
    Changed {
        balancers,
        ..of_group(name)
    }
}

fn named(groups: Vec<Group>) -> Vec<(String, Group)> {
    let named = groups.into_iter().map(|group| (group.name.clone(), group));
    named.collect()
}

#[async_trait]
impl AutoScaling for Port {
    async fn all_groups(&self) -> Result<Vec<Group>, CloudError> {
        let groups = self.reads.auto_scaling.all_groups().await?;
        self.sight.note_all(&groups);
        Ok(groups)
    }

    async fn groups(&self, names: &[String]) -> Result<Vec<Group>, CloudError> {
        let known = self.sight.groups(names);
        let mut answered = Vec::new();
        if !known.ask.is_empty() {
            answered = named(self.reads.auto_scaling.groups(&known.ask).await?);
            self.sight.note_groups(&known.ask, &answered);
        }
        Ok(known.with(names, answered))
    }

    async fn create_group(&self, group: &NewGroup) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.create_group(group);
        self.change(of_members(&group.name), call).await
    }

    async fn set_capacity(&self, name: &str, capacity: Capacity) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.set_capacity(name, capacity);
        self.change(of_group(name), call).await
    }

    async fn suspend_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.suspend_processes(name, processes);
        self.change(of_group(name), call).await
    }

    async fn resume_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.resume_processes(name, processes);
        self.change(of_group(name), call).await
    }

    async fn attach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.attach_target_groups(name, arns);
        self.change(with_targets(name, arns), call).await
    }

    async fn detach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.detach_target_groups(name, arns);
        self.change(with_targets(name, arns), call).await
    }

    async fn attach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError> {
        let port = &self.changes.auto_scaling;
        let call = port.attach_load_balancers(name, balancers);
        self.change(with_balancers(name, balancers), call).await
    }

    async fn detach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError> {
        let port = &self.changes.auto_scaling;
        let call = port.detach_load_balancers(name, balancers);
        self.change(with_balancers(name, balancers), call).await
    }

    async fn set_tags(
        &self,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.set_tags(name, tags);
        self.change(of_group(name), call).await
    }

    async fn remove_tags(&self, name: &str, keys: &[String]) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.remove_tags(name, keys);
        self.change(of_group(name), call).await
    }

    async fn delete_group(&self, name: &str) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.delete_group(name);
        self.change(of_members(name), call).await
    }

    async fn failed_activities(&self, name: &str) -> Result<Vec<String>, CloudError> {
        self.reads.auto_scaling.failed_activities(name).await
    }

    async fn set_minimum(&self, name: &str, minimum: u32) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.set_minimum(name, minimum);
        self.change(of_group(name), call).await
    }

    async fn details(&self, name: &str) -> Result<Option<GroupDetails>, CloudError> {
        self.reads.auto_scaling.details(name).await
    }

    async fn copy_scaling(&self, from: &str, to: &str) -> Result<CopiedScaling, CloudError> {
        let call = self.changes.auto_scaling.copy_scaling(from, to);
        self.change(of_group(to), call).await
    }

    async fn policy_alarms(&self, name: &str) -> Result<Vec<String>, CloudError> {
        self.reads.auto_scaling.policy_alarms(name).await
    }

    async fn enable_metrics(&self, name: &str, metrics: &[String]) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.enable_metrics(name, metrics);
        self.change(of_group(name), call).await
    }

    async fn warm_pool(&self, name: &str) -> Result<Option<WarmPool>, CloudError> {
        self.reads.auto_scaling.warm_pool(name).await
    }

    async fn put_warm_pool(&self, name: &str, pool: &WarmPool) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.put_warm_pool(name, pool);
        self.change(of_group(name), call).await
    }

    async fn delete_warm_pool(&self, name: &str) -> Result<(), CloudError> {
        let call = self.changes.auto_scaling.delete_warm_pool(name);
        self.change(of_group(name), call).await
    }
}

#[async_trait]
impl LoadBalancing for Port {
    async fn target_groups(&self) -> Result<Vec<TargetGroup>, CloudError> {
        self.reads.load_balancing.target_groups().await
    }

    async fn target_health(&self, arn: &str) -> Result<Vec<TargetHealth>, CloudError> {
        if let Some(known) = self.sight.targets(arn) {
            return Ok(known);
        }
        let targets = self.reads.load_balancing.target_health(arn).await?;
        self.sight.note_targets(arn, &targets);
        Ok(targets)
    }

    async fn register_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        let call = self.changes.load_balancing.register_targets(arn, instances);
        self.change(of_target_group(&[arn.to_owned()]), call).await
    }

    async fn deregister_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        let call = self
            .changes
            .load_balancing
            .deregister_targets(arn, instances);
        self.change(of_target_group(&[arn.to_owned()]), call).await
    }
}

fn of_target_group(arn: &[String]) -> Changed<'_> {
    Changed {
        targets: arn,
        ..Changed::default()
    }
}

#[async_trait]
impl ClassicLoadBalancing for Port {
    async fn load_balancers(&self) -> Result<Vec<LoadBalancer>, CloudError> {
        self.reads.classic_load_balancing.load_balancers().await
    }

    async fn instance_health(&self, name: &str) -> Result<Vec<InstanceHealth>, CloudError> {
        if let Some(known) = self.sight.registered(name) {
            return Ok(known);
        }
        let port = &self.reads.classic_load_balancing;
        let instances = port.instance_health(name).await?;
        self.sight.note_registered(name, &instances);
        Ok(instances)
    }

    async fn register_instances(&self, name: &str, instances: &[String]) -> Result<(), CloudError> {
        let port = &self.changes.classic_load_balancing;
        let call = port.register_instances(name, instances);
        self.change(of_balancer(&[name.to_owned()]), call).await
    }

    async fn deregister_instances(
        &self,
        name: &str,
        instances: &[String],
    ) -> Result<(), CloudError> {
        let port = &self.changes.classic_load_balancing;
        let call = port.deregister_instances(name, instances);
        self.change(of_balancer(&[name.to_owned()]), call).await
    }
}

fn of_balancer(balancers: &[String]) -> Changed<'_> {
    Changed {
        balancers,
        ..Changed::default()
    }
}

#[async_trait]
impl Alarms for Port {
    async fn alarms(&self, names: &[String]) -> Result<Vec<Alarm>, CloudError> {
        let known = self.sight.alarms(names);
        let mut answered = Vec::new();
        if !known.ask.is_empty() {
            let alarms = self.reads.alarms.alarms(&known.ask).await?;
            answered = alarms.into_iter().map(|a| (a.name.clone(), a)).collect();
            self.sight.note_alarms(&known.ask, &answered);
        }
        Ok(known.with(names, answered))
    }

    async fn copy(&self, names: &[String], copying: &Copying) -> Result<(), CloudError> {
        let call = self.changes.alarms.copy(names, copying);
        self.change(of_group(&copying.to), call).await
    }

    async fn delete(&self, names: &[String]) -> Result<(), CloudError> {
        let call = self.changes.alarms.delete(names);
        self.change(Changed::default(), call).await
    }
}

#[async_trait]
impl InstanceRefreshes for Port {
    async fn refreshes(&self, name: &str) -> Result<Vec<InstanceRefresh>, CloudError> {
        self.reads.instance_refreshes.refreshes(name).await
    }

    async fn start_refresh(
        &self,
        name: &str,
        desired: Option<&DesiredConfiguration>,
        preferences: &RefreshPreferences,
    ) -> Result<String, CloudError> {
        let port = &self.changes.instance_refreshes;
        let call = port.start_refresh(name, desired, preferences);
        self.change(of_group(name), call).await
    }

    async fn cancel_refresh(&self, name: &str) -> Result<(), CloudError> {
        let call = self.changes.instance_refreshes.cancel_refresh(name);
        self.change(of_group(name), call).await
    }

    async fn roll_back_refresh(&self, name: &str) -> Result<(), CloudError> {
        let call = self.changes.instance_refreshes.roll_back_refresh(name);
        self.change(of_group(name), call).await
    }
}
