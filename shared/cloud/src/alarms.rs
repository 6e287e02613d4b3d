//! The port to CloudWatch's alarms.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, Dimension, MetricAlarm, MetricDataQuery, StateValue};
use gennaker_domain::deployment::alarm_guard::{Alarm, AlarmState};

use crate::connection::Lazy;
use crate::error::{from_sdk, unless_gone};
use crate::{CloudError, Connection};

/// Names that one `DescribeAlarms` takes.
pub const NAMES_PER_CALL: usize = 100;

/// Alarms of CloudWatch.
#[async_trait]
pub trait Alarms: Send + Sync {
    /// The alarms of these names that exist, a hundred names at most. (`cloudwatch:DescribeAlarms`)
    async fn alarms(&self, names: &[String]) -> Result<Vec<Alarm>, CloudError>;

    /// Copies the metric alarms of a server group's scaling policies for another one's; again is the same.
    /// (`cloudwatch:DescribeAlarms`, `cloudwatch:PutMetricAlarm`)
    async fn copy(&self, names: &[String], copying: &Copying) -> Result<(), CloudError>;

    /// Deletes alarms; one that is not there is fine, none is no call. (`cloudwatch:DeleteAlarms`)
    async fn delete(&self, names: &[String]) -> Result<(), CloudError>;
}

/// How alarms are copied from one server group to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copying {
    /// The server group that has the alarms.
    pub from: String,
    /// The server group that gets the copies.
    pub to: String,
    /// ARNs of the scaling policies that the alarms call, and of those that the copies call. Whatever else an alarm
    /// calls, its copy calls too.
    pub policies: BTreeMap<String, String>,
}

impl Copying {
    /// The name of an alarm's copy: with the new group in the old one's place, at the end where the old one is not named.
    /// It names the group, so that [`is_of`] knows it again.
    #[must_use]
    pub fn name(&self, alarm: &str) -> String {
        if alarm.contains(&self.from) {
            return alarm.replace(&self.from, &self.to);
        }
        let room = MOST_CHARACTERS.saturating_sub(self.to.chars().count() + 1);
        let kept: String = alarm.chars().take(room).collect();
        format!("{kept}-{}", self.to)
    }

    fn dimensions(&self, dimensions: &[Dimension]) -> Vec<Dimension> {
        let changed = |dimension: &Dimension| {
            let mut dimension = dimension.clone();
            if dimension.name() == Some(GROUP) && dimension.value() == Some(self.from.as_str()) {
                dimension.value = Some(self.to.clone());
            }
            dimension
        };
        dimensions.iter().map(changed).collect()
    }

    fn actions(&self, arns: &[String]) -> Vec<String> {
        let called = |arn: &String| self.policies.get(arn).unwrap_or(arn).clone();
        arns.iter().map(called).collect()
    }

    /// Metric math: each metric in it that is the old group's is the new one's.
    fn queries(&self, queries: &[MetricDataQuery]) -> Vec<MetricDataQuery> {
        let mut queries = queries.to_vec();
        let metrics = queries
            .iter_mut()
            .filter_map(|query| query.metric_stat.as_mut()?.metric.as_mut());
        for metric in metrics {
            metric.dimensions = Some(self.dimensions(metric.dimensions()));
        }
        queries
    }
}

/// Whether an alarm of a group's scaling policies is that group's alone: it is named after it.
#[must_use]
pub fn is_of(alarm: &str, group: &str) -> bool {
    alarm.contains(group)
}

/// As long as an alarm's name may be.
const MOST_CHARACTERS: usize = 255;
/// The dimension whose value is a server group's name.
const GROUP: &str = "AutoScalingGroupName";
/// So many alarms are described, or deleted, at once.
const AT_ONCE: usize = 100;

fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// The calls of [`Alarms`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Alarms":
        ALARMS = "alarms" => ["cloudwatch:DescribeAlarms"];
        COPY = "copy" => ["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"];
        DELETE = "delete" => ["cloudwatch:DeleteAlarms"];
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

    async fn copy(&self, names: &[String], copying: &Copying) -> Result<(), CloudError> {
        for names in names.chunks(AT_ONCE) {
            let output = self
                .client
                .describe_alarms()
                .set_alarm_names(Some(names.to_vec()))
                .alarm_types(AlarmType::MetricAlarm)
                .send()
                .await
                .map_err(|error| {
                    from_sdk("cloudwatch:DescribeAlarms", &names.join(", "), &error)
                })?;
            for alarm in output.metric_alarms() {
                self.put_copy(alarm, copying).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, names: &[String]) -> Result<(), CloudError> {
        for names in names.chunks(AT_ONCE) {
            let deleted = self
                .client
                .delete_alarms()
                .set_alarm_names(Some(names.to_vec()))
                .send()
                .await
                .map_err(|error| from_sdk("cloudwatch:DeleteAlarms", &names.join(", "), &error));
            unless_gone(deleted, &["ResourceNotFound"])?;
        }
        Ok(())
    }
}

impl AwsAlarms {
    async fn put_copy(&self, alarm: &MetricAlarm, copying: &Copying) -> Result<(), CloudError> {
        let name = copying.name(alarm.alarm_name().unwrap_or_default());
        let alarm = alarm.clone();
        let metrics = filled(copying.queries(alarm.metrics()));
        self.client
            .put_metric_alarm()
            .alarm_name(&name)
            .set_ok_actions(filled(copying.actions(alarm.ok_actions())))
            .set_alarm_actions(filled(copying.actions(alarm.alarm_actions())))
            .set_insufficient_data_actions(filled(
                copying.actions(alarm.insufficient_data_actions()),
            ))
            .set_dimensions(filled(copying.dimensions(alarm.dimensions())))
            .set_metrics(metrics)
            .set_alarm_description(alarm.alarm_description)
            .set_actions_enabled(alarm.actions_enabled)
            .set_metric_name(alarm.metric_name)
            .set_namespace(alarm.namespace)
            .set_statistic(alarm.statistic)
            .set_extended_statistic(alarm.extended_statistic)
            .set_period(alarm.period)
            .set_unit(alarm.unit)
            .set_evaluation_periods(alarm.evaluation_periods)
            .set_datapoints_to_alarm(alarm.datapoints_to_alarm)
            .set_threshold(alarm.threshold)
            .set_threshold_metric_id(alarm.threshold_metric_id)
            .set_comparison_operator(alarm.comparison_operator)
            .set_treat_missing_data(alarm.treat_missing_data)
            .set_evaluate_low_sample_count_percentile(alarm.evaluate_low_sample_count_percentile)
            .send()
            .await
            .map_err(|error| from_sdk("cloudwatch:PutMetricAlarm", &name, &error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copying() -> Copying {
        Copying {
            from: "shop-web-v001".to_owned(),
            to: "shop-web-v002".to_owned(),
            policies: BTreeMap::from([("arn:up-1".to_owned(), "arn:up-2".to_owned())]),
        }
    }

    #[test]
    fn a_copy_is_named_after_its_group_and_an_alarm_of_any_length_has_one() {
        let copying = copying();
        assert_eq!(copying.name("shop-web-v001-busy"), "shop-web-v002-busy");
        assert_eq!(copying.name("busy"), "busy-shop-web-v002");
        let long = copying.name(&"ä".repeat(255));
        assert_eq!(long.chars().count(), 255);
        assert!(is_of(&long, "shop-web-v002"));
    }

    #[test]
    fn a_copy_watches_its_group_and_calls_its_policies_and_whoever_else_was_called() {
        let copying = copying();
        let dimension =
            |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let of_group = dimension(GROUP, "shop-web-v001");
        let other = dimension("LoadBalancer", "shop-web-v001");
        assert_eq!(
            copying.dimensions(&[of_group, other.clone()]),
            [dimension(GROUP, "shop-web-v002"), other]
        );
        let called = ["arn:up-1".to_owned(), "arn:topic".to_owned()];
        assert_eq!(copying.actions(&called), ["arn:up-2", "arn:topic"]);
    }
}
