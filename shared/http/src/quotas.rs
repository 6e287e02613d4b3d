//! Service Quotas by signed calls.

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection, Quotas};
use serde_json::{Value, json};

use crate::signed_call::{Aws, SignedCall, SignedCalls};

/// Service Quotas on AWS.
#[derive(Debug)]
pub struct AwsQuotas {
    calls: SignedCalls,
}

impl AwsQuotas {
    /// With the connection's credentials, region and endpoint. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            calls: SignedCalls::new(connection),
        }
    }
}

/// The quota in an answer: a number that may be written as a fraction.
fn value_in(answer: &Value) -> Option<u64> {
    let value = answer.pointer("/Quota/Value")?.as_f64()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // Saturates, and is not negative.
    (value >= 0.0).then_some(value as u64)
}

#[async_trait]
impl Quotas for AwsQuotas {
    async fn of_ec2(&self, code: &str, now: i64) -> Result<Option<u64>, CloudError> {
        let call = SignedCall::json(
            "servicequotas",
            "servicequotas:GetServiceQuota",
            "ServiceQuotasV20190624.GetServiceQuota",
            code,
            &json!({ "ServiceCode": "ec2", "QuotaCode": code }),
        );
        match self.calls.send(&call, now).await {
            Ok(answer) => Ok(value_in(&answer)),
            Err(error) if error.is_code("NoSuchResourceException") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_or_nobody_knows() {
        assert_eq!(
            value_in(&json!({ "Quota": { "Value": 1152.0 } })),
            Some(1_152)
        );
        for other in [
            json!({}),
            json!({ "Quota": {} }),
            json!({ "Quota": { "Value": -1.0 } }),
        ] {
            assert_eq!(value_in(&other), None);
        }
    }
}
