//! The port to CloudWatch's metrics.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, MessageData, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy,
    StatusCode,
};
use gennaker_metrics::cloudwatch::{DataQuery, What};
use gennaker_metrics::{MAX_POINTS_OF_A_SIDE, MAX_SERIES, Scope, Series};

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

/// Pages of one answer: CloudWatch puts 100,800 points into each, so that [`MAX_POINTS_OF_A_SIDE`] are fifty of them.
const MAX_PAGES: usize = 200;

#[async_trait]
impl Metrics for CloudWatch {
    async fn series(
        &self,
        queries: &[DataQuery],
        scope: &Scope,
    ) -> Result<Vec<Series>, CloudError> {
        let client = Client::new(self.connection.in_region(&scope.location).config());
        let subject = subject(queries);
        let step = if scope.step == 0 {
            DEFAULT_STEP
        } else {
            scope.step
        };
        let period = i32::try_from(step).unwrap_or(i32::MAX);
        let mut found = Found::new(
            &subject,
            Scope {
                step,
                ..scope.clone()
            },
        );
        let mut token = None;
        for _ in 0..MAX_PAGES {
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
                .map_err(|error| from_sdk(OPERATION, &subject, &error))?;
            for result in output.metric_data_results() {
                // Without metric math, an emulator answers the inputs as well.
                let returned = queries
                    .iter()
                    .any(|query| query.returned && Some(query.id.as_str()) == result.id());
                if returned {
                    found.add(result)?;
                }
            }
            token = output.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(found.series());
            }
        }
        Err(found.unreadable(format!("has more than {MAX_PAGES} pages")))
    }
}

const OPERATION: &str = "cloudwatch:GetMetricData";

/// Series by label, with a place for each step of the time that was asked for.
struct Found<'a> {
    subject: &'a str,
    scope: Scope,
    series: BTreeMap<String, Vec<f64>>,
}

impl<'a> Found<'a> {
    fn new(subject: &'a str, scope: Scope) -> Self {
        Self {
            subject,
            scope,
            series: BTreeMap::new(),
        }
    }

    fn unreadable(&self, message: String) -> CloudError {
        CloudError::Unreadable {
            what: format!("the answer of cloudwatch to `{}`", self.subject),
            message,
        }
    }

    /// A page's part of one series. What CloudWatch could not find out is no gap: it is an error.
    fn add(&mut self, result: &MetricDataResult) -> Result<(), CloudError> {
        let said = || {
            let texts = result.messages().iter().filter_map(MessageData::value);
            texts.collect::<Vec<_>>().join("; ")
        };
        match result.status_code() {
            Some(StatusCode::InternalError) => {
                return Err(CloudError::NoAnswer {
                    operation: OPERATION.to_owned(),
                    resource: self.subject.to_owned(),
                    message: format!("InternalError {}", said()),
                });
            }
            Some(StatusCode::Forbidden) => {
                return Err(CloudError::Refused {
                    operation: OPERATION.to_owned(),
                    resource: self.subject.to_owned(),
                    code: "Forbidden".to_owned(),
                    message: said(),
                    request_id: "unknown".to_owned(),
                });
            }
            // Of partial data the next pages have the rest.
            _ => {}
        }
        let places = self.scope.points();
        let label = result.label().unwrap_or_default();
        if !self.series.contains_key(label) {
            let count = self.series.len() + 1;
            if count > MAX_SERIES || count.saturating_mul(places) > MAX_POINTS_OF_A_SIDE {
                return Err(self.unreadable(format!(
                    "has more than {MAX_SERIES} series or {MAX_POINTS_OF_A_SIDE} points; take a longer step"
                )));
            }
        }
        let step = i64::from(self.scope.step.max(1));
        // CloudWatch aligns its points down to the period.
        let first = self.scope.start.div_euclid(1_000).div_euclid(step) * step;
        let values = self
            .series
            .entry(label.to_owned())
            .or_insert_with(|| vec![f64::NAN; places]);
        for (time, value) in result.timestamps().iter().zip(result.values()) {
            let slot = usize::try_from(time.secs().saturating_sub(first).div_euclid(step)).ok();
            if let Some(place) = slot.and_then(|slot| values.get_mut(slot)) {
                *place = *value;
            }
        }
        Ok(())
    }

    fn series(self) -> Vec<Series> {
        let Self { scope, series, .. } = self;
        let several = series.len() > 1;
        let mut all: Vec<Series> = series
            .into_iter()
            .map(|(label, values)| Series {
                tags: several
                    .then(|| ("label".to_owned(), label))
                    .into_iter()
                    .collect(),
                values,
                ..scope.nothing()
            })
            .collect();
        if all.is_empty() {
            all.push(scope.nothing());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(end: i64) -> Scope {
        Scope {
            scope: "shop-v001".to_owned(),
            location: "us-east-1".to_owned(),
            start: 90_000,
            end,
            step: 60,
            extended: BTreeMap::new(),
        }
    }

    fn result(label: &str, points: &[(i64, f64)]) -> MetricDataResult {
        let times = points
            .iter()
            .map(|(second, _)| DateTime::from_secs(*second));
        MetricDataResult::builder()
            .label(label)
            .set_timestamps(Some(times.collect()))
            .set_values(Some(points.iter().map(|(_, value)| *value).collect()))
            .build()
    }

    #[test]
    fn points_land_in_their_steps_and_missing_ones_are_gaps() {
        let mut found = Found::new("shop/Errors", scope(330_000));
        let first = result("a", &[(60, 1.0), (6_000, 9.0), (0, 8.0)]);
        found.add(&first).unwrap();
        found.add(&result("a", &[(180, 3.0)])).unwrap();
        let series = found.series();
        assert_eq!(
            format!("{:?} {:?}", series[0].values, series[0].tags),
            "[1.0, NaN, 3.0, NaN] {}"
        );
    }

    #[test]
    fn what_cloudwatch_could_not_find_out_is_an_error_and_no_gap() {
        for (status, passing) in [
            (StatusCode::InternalError, true),
            (StatusCode::Forbidden, false),
        ] {
            let mut found = Found::new("shop/Errors", scope(330_000));
            let failed = MetricDataResult::builder().status_code(status).build();
            let error = found.add(&failed).unwrap_err();
            assert_eq!(error.is_passing(), passing, "{error}");
            assert!(error.to_string().contains("shop/Errors"), "{error}");
        }
        let mut found = Found::new("shop/Errors", scope(330_000));
        let partial = MetricDataResult::builder().status_code(StatusCode::PartialData);
        found.add(&partial.build()).unwrap();
    }

    #[test]
    fn more_points_than_anybody_judges_are_refused_before_there_is_room_for_them() {
        // Forty days of minutes in each of a thousand series.
        let mut found = Found::new("SELECT …", scope(40 * 86_400_000));
        let all = (0..1_000).try_for_each(|n| found.add(&result(&n.to_string(), &[(60, 1.0)])));
        let told = all.unwrap_err().to_string();
        assert!(
            told.contains("SELECT …") && told.contains("longer step"),
            "{told}"
        );
    }
}
