//! The port to Elastic Load Balancing, and its adapter.

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    TargetDescription, TargetGroup as SdkTargetGroup, TargetHealthDescription,
};

use crate::error::{from_sdk, unless_gone};
use crate::{CloudError, Connection, Lazy};

/// A target group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Name, unique in account and region.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// The VPC that its targets are in.
    pub vpc_id: Option<String>,
}

/// One target as its target group sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetHealth {
    /// Instance id.
    pub target: String,
    /// `initial`, `healthy`, `unhealthy`, `unused`, `draining` or `unavailable`.
    pub state: String,
}

/// The calls to Elastic Load Balancing that stages need.
#[async_trait]
pub trait LoadBalancing: Send + Sync {
    /// All target groups of the account in the region. (`elasticloadbalancing:DescribeTargetGroups`)
    async fn target_groups(&self) -> Result<Vec<TargetGroup>, CloudError>;

    /// Health of every target of a target group; one that is gone has none.
    /// (`elasticloadbalancing:DescribeTargetHealth`)
    async fn target_health(&self, arn: &str) -> Result<Vec<TargetHealth>, CloudError>;

    /// Puts instances in; again is the same. (`elasticloadbalancing:RegisterTargets`)
    async fn register_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError>;

    /// Takes instances out; they drain and keep running. Again is the same.
    /// (`elasticloadbalancing:DeregisterTargets`)
    async fn deregister_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError>;
}

/// The calls of [`LoadBalancing`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "LoadBalancing":
        TARGET_GROUPS = "target_groups" => ["elasticloadbalancing:DescribeTargetGroups"];
        TARGET_HEALTH = "target_health" => ["elasticloadbalancing:DescribeTargetHealth"];
        REGISTER_TARGETS = "register_targets" => ["elasticloadbalancing:RegisterTargets"];
        DEREGISTER_TARGETS = "deregister_targets" => ["elasticloadbalancing:DeregisterTargets"];
    }
}

/// Elastic Load Balancing in one account and region.
#[derive(Clone, Debug)]
pub struct AwsLoadBalancing {
    client: Lazy<Client>,
}

impl AwsLoadBalancing {
    /// In the connection's account and region. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

/// Name in the ARN of a target group: `…:targetgroup/<name>/<id>`. None for anything else.
#[must_use]
pub fn target_group_name(arn: &str) -> Option<&str> {
    arn.split_once(":targetgroup/")?
        .1
        .split('/')
        .next()
        .filter(|name| !name.is_empty())
}

fn target_group_of(group: &SdkTargetGroup) -> TargetGroup {
    TargetGroup {
        name: group.target_group_name().unwrap_or_default().to_owned(),
        arn: group.target_group_arn().unwrap_or_default().to_owned(),
        vpc_id: group.vpc_id().map(str::to_owned),
    }
}

fn health_of(description: &TargetHealthDescription) -> Option<TargetHealth> {
    Some(TargetHealth {
        target: description.target()?.id()?.to_owned(),
        state: description
            .target_health()
            .and_then(|health| health.state())
            .map_or_else(String::new, |state| state.as_str().to_owned()),
    })
}

fn targets(ids: &[String]) -> Vec<TargetDescription> {
    ids.iter()
        .map(|id| TargetDescription::builder().id(id).build())
        .collect()
}

#[async_trait]
impl LoadBalancing for AwsLoadBalancing {
    async fn target_groups(&self) -> Result<Vec<TargetGroup>, CloudError> {
        let groups = self
            .client
            .describe_target_groups()
            .page_size(400)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| {
                from_sdk(
                    "elasticloadbalancing:DescribeTargetGroups",
                    "all target groups",
                    &error,
                )
            })?;
        Ok(groups.iter().map(target_group_of).collect())
    }

    async fn target_health(&self, arn: &str) -> Result<Vec<TargetHealth>, CloudError> {
        let answer = self
            .client
            .describe_target_health()
            .target_group_arn(arn)
            .send()
            .await
            .map_err(|error| from_sdk("elasticloadbalancing:DescribeTargetHealth", arn, &error));
        let output = unless_gone(answer, &["TargetGroupNotFound"])?;
        Ok(output
            .iter()
            .flat_map(|output| output.target_health_descriptions())
            .filter_map(health_of)
            .collect())
    }

    async fn register_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        if instances.is_empty() {
            return Ok(());
        }
        self.client
            .register_targets()
            .target_group_arn(arn)
            .set_targets(Some(targets(instances)))
            .send()
            .await
            .map_err(|error| from_sdk("elasticloadbalancing:RegisterTargets", arn, &error))?;
        Ok(())
    }

    async fn deregister_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        if instances.is_empty() {
            return Ok(());
        }
        self.client
            .deregister_targets()
            .target_group_arn(arn)
            .set_targets(Some(targets(instances)))
            .send()
            .await
            .map_err(|error| from_sdk("elasticloadbalancing:DeregisterTargets", arn, &error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_groups_name_is_in_its_arn() {
        let arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/shop-web/0123456789abcdef";
        assert_eq!(target_group_name(arn), Some("shop-web"));
        assert_eq!(target_group_name("arn:aws:iam::123456789012:role/x"), None);
    }
}
