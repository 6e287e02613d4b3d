//! The port to Service Quotas. Its adapter is in `gennaker-http`: one signed request is all that is asked.

use async_trait::async_trait;

use crate::CloudError;

/// Looks at the quotas of an account in a region.
#[async_trait]
pub trait Quotas: Send + Sync {
    /// How much of EC2 the quota of this code allows; none where there is no such quota.
    /// (`servicequotas:GetServiceQuota`)
    async fn of_ec2(&self, code: &str, now: i64) -> Result<Option<u64>, CloudError>;
}

/// The calls of [`Quotas`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Quotas":
        OF_EC2 = "of_ec2" => ["servicequotas:GetServiceQuota"];
    }
}
