//! Classic load balancers: the targets of the world in the words of their own API.

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_cloud::classic_load_balancing::{ClassicLoadBalancing, InstanceHealth, LoadBalancer};
use gennaker_cloud::load_balancing::TargetHealth;

use super::World;

impl World {
    /// Adds a classic load balancer in VPC `vpc-1`.
    pub fn add_load_balancer(&self, name: &str) {
        self.lock().load_balancers.push(LoadBalancer {
            name: name.to_owned(),
            vpc_id: Some("vpc-1".to_owned()),
        });
    }

    /// Attaches a classic load balancer to a group, its instances registered, without a call.
    pub fn attach_load_balancer(&self, group: &str, name: &str) {
        let key = self.key(group);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored.group.load_balancers.push(name.to_owned());
        }
    }
}

/// The state of a classic load balancer, and its sentence.
fn described(target: TargetHealth) -> InstanceHealth {
    let (state, description) = match target.state.as_str() {
        "healthy" => ("InService", "N/A"),
        "draining" => (
            "InService",
            "Instance deregistration currently in progress.",
        ),
        "initial" => (
            "OutOfService",
            "Instance registration is still in progress.",
        ),
        _ => (
            "OutOfService",
            "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
        ),
    };
    InstanceHealth {
        instance: target.target,
        state: state.to_owned(),
        description: description.to_owned(),
    }
}

#[async_trait]
impl ClassicLoadBalancing for World {
    async fn load_balancers(&self) -> Result<Vec<LoadBalancer>, CloudError> {
        self.call(
            "elasticloadbalancing:DescribeLoadBalancers",
            "all classic load balancers",
            |state| Ok(state.load_balancers.clone()),
        )
    }

    async fn instance_health(&self, name: &str) -> Result<Vec<InstanceHealth>, CloudError> {
        self.look(
            "elasticloadbalancing:DescribeInstanceHealth",
            name,
            |state| state.targets(name).into_iter().map(described).collect(),
        )
    }

    async fn register_instances(&self, name: &str, instances: &[String]) -> Result<(), CloudError> {
        self.call(
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
            name,
            |state| {
                state.register(self.region(), name, instances);
                Ok(())
            },
        )
    }

    async fn deregister_instances(
        &self,
        name: &str,
        instances: &[String],
    ) -> Result<(), CloudError> {
        self.call(
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            name,
            |state| {
                state.deregister(self.region(), name, instances);
                Ok(())
            },
        )
    }
}
