//! The port to CloudWatch's metrics.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};

use crate::error::from_sdk;
use crate::{CloudError, Connection};

/// One series that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricQuery {
    /// Region.
    pub region: String,
    /// Such as `AWS/ApplicationELB`.
    pub namespace: String,
    /// Such as `TargetResponseTime`.
    pub metric_name: String,
    /// Names and values, all of which a metric has.
    pub dimensions: Vec<(String, String)>,
    /// `Average`, `Sum`, `p99`, …
    pub statistic: String,
    /// Seconds of one point: a multiple of 60, or 1, 5, 10, 30.
    pub step_seconds: u32,
    /// Start, inclusive, UTC milliseconds.
    pub start: i64,
    /// End, exclusive, UTC milliseconds.
    pub end: i64,
}

impl MetricQuery {
    /// Points that the query's time holds.
    #[must_use]
    pub fn points(&self) -> usize {
        let step = i64::from(self.step_seconds.max(1)) * 1_000;
        usize::try_from(self.end.saturating_sub(self.start).max(0) / step).unwrap_or(0)
    }
}

/// Reads metrics.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// One value for each step of the query's time, none where there is no data. (`cloudwatch:GetMetricData`)
    async fn series(&self, query: &MetricQuery) -> Result<Vec<Option<f64>>, CloudError>;
}

/// Metrics of CloudWatch.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    connection: Connection,
}

impl CloudWatch {
    /// With a client per region, built when it is asked.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
        }
    }
}

#[async_trait]
impl Metrics for CloudWatch {
    async fn series(&self, query: &MetricQuery) -> Result<Vec<Option<f64>>, CloudError> {
        let client = Client::new(self.connection.in_region(&query.region).config());
        let dimensions = query
            .dimensions
            .iter()
            .map(|(name, value)| Dimension::builder().name(name).value(value).build());
        let metric = Metric::builder()
            .namespace(&query.namespace)
            .metric_name(&query.metric_name)
            .set_dimensions(Some(dimensions.collect()))
            .build();
        let stat = MetricStat::builder()
            .metric(metric)
            .period(i32::try_from(query.step_seconds).unwrap_or(i32::MAX))
            .stat(&query.statistic)
            .build();
        let data = MetricDataQuery::builder().id("m").metric_stat(stat).build();
        let mut found: HashMap<i64, f64> = HashMap::new();
        let mut token = None;
        loop {
            let output = client
                .get_metric_data()
                .metric_data_queries(data.clone())
                .start_time(DateTime::from_millis(query.start))
                .end_time(DateTime::from_millis(query.end))
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| {
                    from_sdk(
                        "cloudwatch:GetMetricData",
                        &format!("{}/{}", query.namespace, query.metric_name),
                        &error,
                    )
                })?;
            for result in output.metric_data_results() {
                for (time, value) in result.timestamps().iter().zip(result.values()) {
                    found.insert(time.secs(), *value);
                }
            }
            token = output.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(slots(query, &found))
    }
}

/// Values by second, put into the query's steps; CloudWatch aligns its points down to the period.
fn slots(query: &MetricQuery, found: &HashMap<i64, f64>) -> Vec<Option<f64>> {
    let step = i64::from(query.step_seconds.max(1));
    let first = query.start.div_euclid(1_000).div_euclid(step) * step;
    let mut values = vec![None; query.points()];
    for (second, value) in found {
        let slot = usize::try_from((second - first).div_euclid(step)).ok();
        if let Some(place) = slot.and_then(|slot| values.get_mut(slot)) {
            *place = Some(*value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_land_in_their_steps_and_missing_ones_are_none() {
        let query = MetricQuery {
            region: "us-east-1".to_owned(),
            namespace: "n".to_owned(),
            metric_name: "m".to_owned(),
            dimensions: Vec::new(),
            statistic: "Average".to_owned(),
            step_seconds: 60,
            start: 90_000,
            end: 330_000,
        };
        let found = HashMap::from([(60, 1.0), (180, 3.0), (6_000, 9.0), (0, 8.0)]);
        assert_eq!(slots(&query, &found), [Some(1.0), None, Some(3.0), None]);
    }
}
