//! The port to CloudWatch's alarms.

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, StateValue};
use gennaker_domain::deployment::alarm_guard::{Alarm, AlarmState};

use crate::connection::Lazy;
use crate::error::from_sdk;
use crate::{CloudError, Connection};

/// Names that one `DescribeAlarms` takes.
pub const NAMES_PER_CALL: usize = 100;

/// Looks at alarms of CloudWatch.
#[async_trait]
pub trait Alarms: Send + Sync {
    /// The alarms of these names that exist, a hundred names at most. (`cloudwatch:DescribeAlarms`)
    async fn alarms(&self, names: &[String]) -> Result<Vec<Alarm>, CloudError>;
}

/// The calls of [`Alarms`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Alarms":
        ALARMS = "alarms" => ["cloudwatch:DescribeAlarms"];
    }
}

/// Alarms of CloudWatch, in one account and region.
#[derive(Clone, Debug)]
pub struct AwsAlarms {
    client: Lazy<Client>,
}

impl AwsAlarms {
    /// Over this connection.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

fn alarm(name: Option<&str>, state: Option<&StateValue>, reason: Option<&str>) -> Option<Alarm> {
    Some(Alarm {
        name: name?.to_owned(),
        state: match state {
            Some(StateValue::Ok) => AlarmState::Ok,
            Some(StateValue::Alarm) => AlarmState::Alarm,
            _ => AlarmState::InsufficientData,
        },
        reason: reason.unwrap_or_default().to_owned(),
    })
}

#[async_trait]
impl Alarms for AwsAlarms {
    async fn alarms(&self, names: &[String]) -> Result<Vec<Alarm>, CloudError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let output = self
            .client
            .describe_alarms()
            .set_alarm_names(Some(names.to_vec()))
            // Without types only metric alarms are answered.
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .max_records(100)
            .send()
            .await
            .map_err(|error| from_sdk("cloudwatch:DescribeAlarms", &names.join(", "), &error))?;
        let metric = output.metric_alarms().iter().filter_map(|found| {
            alarm(
                found.alarm_name(),
                found.state_value(),
                found.state_reason(),
            )
        });
        let composite = output.composite_alarms().iter().filter_map(|found| {
            alarm(
                found.alarm_name(),
                found.state_value(),
                found.state_reason(),
            )
        });
        Ok(metric.chain(composite).collect())
    }
}
