//! The port to classic load balancers, which have an API of their own, and its adapter.

use async_trait::async_trait;
use aws_sdk_elasticloadbalancing::Client;
use aws_sdk_elasticloadbalancing::types::{Instance, InstanceState, LoadBalancerDescription};

use crate::error::{from_sdk, unless_gone};
use crate::{CloudError, Connection, Lazy};

/// A classic load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Name, unique in account and region.
    pub name: String,
    /// The VPC that it is in; none in EC2-Classic, which is gone.
    pub vpc_id: Option<String>,
}

/// One instance as a classic load balancer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceHealth {
    /// Instance id.
    pub instance: String,
    /// `InService`, `OutOfService` or `Unknown`.
    pub state: String,
    /// Why, in one of the sentences that the API lists; `N/A` where there is nothing to say.
    pub description: String,
}

/// The calls about classic load balancers that stages need.
#[async_trait]
pub trait ClassicLoadBalancing: Send + Sync {
    /// All classic load balancers of the account in the region. (`elasticloadbalancing:DescribeLoadBalancers`)
    async fn load_balancers(&self) -> Result<Vec<LoadBalancer>, CloudError>;

    /// Health of every instance that is registered with a load balancer; one that is gone has none.
    /// (`elasticloadbalancing:DescribeInstanceHealth`)
    async fn instance_health(&self, name: &str) -> Result<Vec<InstanceHealth>, CloudError>;

    /// Puts instances in; again is the same. (`elasticloadbalancing:RegisterInstancesWithLoadBalancer`)
    async fn register_instances(&self, name: &str, instances: &[String]) -> Result<(), CloudError>;

    /// Takes instances out; they drain, where that is switched on, and keep running. Again is the same, and so is a load
    /// balancer that is gone. An instance that is gone may have kept the others in: look again.
    /// (`elasticloadbalancing:DeregisterInstancesFromLoadBalancer`)
    async fn deregister_instances(
        &self,
        name: &str,
        instances: &[String],
    ) -> Result<(), CloudError>;
}

/// The calls of [`ClassicLoadBalancing`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "ClassicLoadBalancing":
        LOAD_BALANCERS = "load_balancers" => ["elasticloadbalancing:DescribeLoadBalancers"];
        INSTANCE_HEALTH = "instance_health" => ["elasticloadbalancing:DescribeInstanceHealth"];
        REGISTER_INSTANCES = "register_instances" => ["elasticloadbalancing:RegisterInstancesWithLoadBalancer"];
        DEREGISTER_INSTANCES = "deregister_instances" => ["elasticloadbalancing:DeregisterInstancesFromLoadBalancer"];
    }
}

/// What AWS answers where there is nothing, or nobody, to be taken out.
const GONE: [&str; 2] = ["LoadBalancerNotFound", "InvalidInstance"];

/// Classic load balancers in one account and region.
#[derive(Clone, Debug)]
pub struct AwsClassicLoadBalancing {
    client: Lazy<Client>,
}

impl AwsClassicLoadBalancing {
    /// In the connection's account and region. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

fn load_balancer_of(balancer: &LoadBalancerDescription) -> LoadBalancer {
    LoadBalancer {
        name: balancer.load_balancer_name().unwrap_or_default().to_owned(),
        vpc_id: balancer.vpc_id().map(str::to_owned),
    }
}

fn health_of(state: &InstanceState) -> Option<InstanceHealth> {
    Some(InstanceHealth {
        instance: state.instance_id()?.to_owned(),
        state: state.state().unwrap_or_default().to_owned(),
        description: state.description().unwrap_or_default().to_owned(),
    })
}

fn named(ids: &[String]) -> Vec<Instance> {
    ids.iter()
        .map(|id| Instance::builder().instance_id(id).build())
        .collect()
}

#[async_trait]
impl ClassicLoadBalancing for AwsClassicLoadBalancing {
    async fn load_balancers(&self) -> Result<Vec<LoadBalancer>, CloudError> {
        let balancers = self
            .client
            .describe_load_balancers()
            .page_size(400)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| {
                from_sdk(
                    "elasticloadbalancing:DescribeLoadBalancers",
                    "all classic load balancers",
                    &error,
                )
            })?;
        Ok(balancers.iter().map(load_balancer_of).collect())
    }

    async fn instance_health(&self, name: &str) -> Result<Vec<InstanceHealth>, CloudError> {
        // Without a list of instances: one that is not registered (any more) would make AWS refuse the whole call.
        let answer = self
            .client
            .describe_instance_health()
            .load_balancer_name(name)
            .send()
            .await
            .map_err(|error| from_sdk("elasticloadbalancing:DescribeInstanceHealth", name, &error));
        let output = unless_gone(answer, &["LoadBalancerNotFound"])?;
        Ok(output
            .iter()
            .flat_map(|output| output.instance_states())
            .filter_map(health_of)
            .collect())
    }

    async fn register_instances(&self, name: &str, instances: &[String]) -> Result<(), CloudError> {
        if instances.is_empty() {
            return Ok(());
        }
        self.client
            .register_instances_with_load_balancer()
            .load_balancer_name(name)
            .set_instances(Some(named(instances)))
            .send()
            .await
            .map_err(|error| {
                from_sdk(
                    "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
                    name,
                    &error,
                )
            })?;
        Ok(())
    }

    async fn deregister_instances(
        &self,
        name: &str,
        instances: &[String],
    ) -> Result<(), CloudError> {
        if instances.is_empty() {
            return Ok(());
        }
        let answer = self
            .client
            .deregister_instances_from_load_balancer()
            .load_balancer_name(name)
            .set_instances(Some(named(instances)))
            .send()
            .await
            .map_err(|error| {
                from_sdk(
                    "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
                    name,
                    &error,
                )
            });
        unless_gone(answer, &GONE).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_without_an_id_says_nothing() {
        let state = InstanceState::builder().state("OutOfService");
        assert_eq!(health_of(&state.clone().build()), None);
        let description = "Instance registration is still in progress.";
        let state = state.instance_id("i-1").description(description).build();
        assert_eq!(
            health_of(&state),
            Some(InstanceHealth {
                instance: "i-1".to_owned(),
                state: "OutOfService".to_owned(),
                description: description.to_owned(),
            })
        );
    }
}
