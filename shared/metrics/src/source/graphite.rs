//! Graphite's render API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Fields, Method, Request, seconds};
use crate::{MetricsError, Scope, Series};

const NAME: &str = "graphite";

pub(super) fn query_text(fields: &Fields<'_>) -> Result<String, MetricsError> {
    let mut target = fields.required("metricName")?.to_owned();
    for (variable, value) in [
        ("$scope", &fields.scope.scope),
        ("$location", &fields.scope.location),
    ] {
        if !value.is_empty() {
            target = target.replace(variable, value);
        }
    }
    Ok(target)
}

pub(super) fn request(text: &str, scope: &Scope) -> Request {
    Request {
        method: Method::Get,
        path: "/render".to_owned(),
        parameters: vec![
            ("target", text.to_owned()),
            ("from", seconds(scope.start).to_string()),
            ("until", seconds(scope.end).to_string()),
            ("format", "json".to_owned()),
        ],
        headers: vec![("accept", "application/json".to_owned())],
        body: None,
    }
}

pub(super) fn parse(answer: &Value) -> Result<Vec<Series>, MetricsError> {
    answer
        .as_array()
        .ok_or_else(|| MetricsError::answer(NAME, "no list of targets"))?
        .iter()
        .map(one)
        .collect()
}

fn one(target: &Value) -> Result<Series, MetricsError> {
    let points = target
        .get("datapoints")
        .and_then(Value::as_array)
        .ok_or_else(|| MetricsError::answer(NAME, "a target without `datapoints`"))?;
    let mut times = Vec::with_capacity(points.len());
    let mut values = Vec::with_capacity(points.len());
    for point in points {
        let Some(time) = point.get(1).and_then(Value::as_f64) else {
            return Err(MetricsError::answer(
                NAME,
                format!("a point that is no [value, time]: `{point}`"),
            ));
        };
        #[allow(clippy::cast_possible_truncation)] // A time of this era, in milliseconds.
        times.push((time * 1_000.0) as i64);
        values.push(point.get(0).and_then(Value::as_f64).unwrap_or(f64::NAN));
    }
    let start = times.first().copied().unwrap_or(0);
    Ok(Series {
        tags: BTreeMap::new(),
        start,
        end: times.last().copied().unwrap_or(0),
        step_millis: times
            .get(1)
            .map_or(1_000, |second| second.saturating_sub(start)),
        values,
    })
}
