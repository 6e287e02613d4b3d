//! The port to CloudWatch's metrics.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy};
use gennaker_metrics::cloudwatch::{DataQuery, What};
use gennaker_metrics::{MAX_POINTS, MAX_SERIES, Scope, Series};

use crate::error::from_sdk;
use crate::{CloudError, Connection};

/// Seconds of one point where nobody asks for another step.
const DEFAULT_STEP: u32 = 60;

/// Reads metrics of CloudWatch.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// The series of the one query of `queries` that is returned: the others are its inputs. A value stands for each step
    /// of the scope's time, NaN where there is no data. An expression may answer several series, told apart by the tag
    /// `label`; no data at all is one series of gaps. The scope's location is the region. (`cloudwatch:GetMetricData`)
    async fn series(&self, queries: &[DataQuery], scope: &Scope)
    -> Result<Vec<Series>, CloudError>;
}

/// The calls of [`Metrics`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Metrics":
        SERIES = "series" => ["cloudwatch:GetMetricData"];
    }
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

fn data_query(query: &DataQuery, period: i32) -> MetricDataQuery {
    let made = MetricDataQuery::builder()
        .id(&query.id)
        .return_data(query.returned);
    match &query.what {
        // A Metrics Insights query needs its period here; metric math takes that of its inputs, which is the same.
        What::Expression { text } => made.expression(text).period(period).build(),
        What::Metric {
            namespace,
            metric_name,
            dimensions,
            statistic,
        } => {
            let dimensions = dimensions
                .iter()
                .map(|(name, value)| Dimension::builder().name(name).value(value).build());
            let metric = Metric::builder()
                .namespace(namespace)
                .metric_name(metric_name)
                .set_dimensions(Some(dimensions.collect()))
                .build();
            let stat = MetricStat::builder()
                .metric(metric)
                .period(period)
                .stat(statistic)
                .build();
            made.metric_stat(stat).build()
        }
    }
}

/// What an error names: the metric, or the expression.
fn subject(queries: &[DataQuery]) -> String {
    queries
        .iter()
        .find(|query| query.returned)
        .map(|query| match &query.what {
            What::Metric {
                namespace,
                metric_name,
                ..
            } => format!("{namespace}/{metric_name}"),
            What::Expression { text } => text.clone(),
        })
        .unwrap_or_default()
}

#[async_trait]
impl Metrics for CloudWatch {
    async fn series(
        &self,
        queries: &[DataQuery],
        scope: &Scope,
    ) -> Result<Vec<Series>, CloudError> {
        let client = Client::new(self.connection.in_region(&scope.location).config());
        let step = if scope.step == 0 {
            DEFAULT_STEP
        } else {
            scope.step
        };
        let period = i32::try_from(step).unwrap_or(i32::MAX);
        let mut found: BTreeMap<String, BTreeMap<i64, f64>> = BTreeMap::new();
        let mut points = 0_usize;
        let mut token = None;
        loop {
            let output = client
                .get_metric_data()
                .set_metric_data_queries(Some(
                    queries
                        .iter()
                        .map(|query| data_query(query, period))
                        .collect(),
                ))
                .start_time(DateTime::from_millis(scope.start))
                .end_time(DateTime::from_millis(scope.end))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| from_sdk("cloudwatch:GetMetricData", &subject(queries), &error))?;
            for result in output.metric_data_results() {
                // Without metric math, an emulator answers the inputs as well.
                let returned = queries
                    .iter()
                    .any(|query| query.returned && Some(query.id.as_str()) == result.id());
                if !returned {
                    continue;
                }
                let series = found
                    .entry(result.label().unwrap_or_default().to_owned())
                    .or_default();
                for (time, value) in result.timestamps().iter().zip(result.values()) {
                    series.insert(time.secs(), *value);
                    points += 1;
                }
            }
            token = output.next_token().map(str::to_owned);
            if token.is_none() || points > MAX_POINTS || found.len() > MAX_SERIES {
                break;
            }
        }
        let scope = Scope {
            step,
            ..scope.clone()
        };
        let several = found.len() > 1;
        let mut all: Vec<Series> = found
            .into_iter()
            .map(|(label, values)| Series {
                tags: several
                    .then(|| ("label".to_owned(), label))
                    .into_iter()
                    .collect(),
                values: slots(&scope, &values),
                ..scope.nothing()
            })
            .collect();
        if all.is_empty() {
            all.push(scope.nothing());
        }
        Ok(all)
    }
}

/// Values by second, put into the scope's steps; CloudWatch aligns its points down to the period.
fn slots(scope: &Scope, found: &BTreeMap<i64, f64>) -> Vec<f64> {
    let step = i64::from(scope.step.max(1));
    let first = scope.start.div_euclid(1_000).div_euclid(step) * step;
    let mut values = vec![f64::NAN; scope.points().min(MAX_POINTS)];
    for (second, value) in found {
        let slot = usize::try_from((second - first).div_euclid(step)).ok();
        if let Some(place) = slot.and_then(|slot| values.get_mut(slot)) {
            *place = *value;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_land_in_their_steps_and_missing_ones_are_gaps() {
        let scope = Scope {
            scope: "shop-v001".to_owned(),
            location: "us-east-1".to_owned(),
            start: 90_000,
            end: 330_000,
            step: 60,
            extended: BTreeMap::new(),
        };
        let found = BTreeMap::from([(60, 1.0), (180, 3.0), (6_000, 9.0), (0, 8.0)]);
        assert_eq!(
            format!("{:?}", slots(&scope, &found)),
            "[1.0, NaN, 3.0, NaN]"
        );
    }
}
