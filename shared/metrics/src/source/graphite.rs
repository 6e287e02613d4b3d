//! Graphite's render API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Gather, Gathered, json, note_time, series_are_not_too_many};
use super::{Fields, Method, Request, seconds};
use crate::{MetricsError, Scope, Series, Source};

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

/// One series as it is answered.
#[derive(Deserialize)]
struct Target {
    datapoints: Option<Gathered<Points>>,
}

#[derive(Default)]
struct Targets(Vec<Series>);

impl Gather for Targets {
    type Element = Target;
    const WHAT: &'static str = "a list of targets";

    fn add(&mut self, target: Target) -> Result<(), String> {
        let points = target.datapoints.ok_or("a target without `datapoints`")?.0;
        self.0.push(points.series());
        series_are_not_too_many(self.0.len())
    }
}

/// The points of a series; of their times the first two, which tell the step, and the last.
#[derive(Default)]
struct Points {
    first: Option<i64>,
    second: Option<i64>,
    last: i64,
    values: Vec<f64>,
}

impl Gather for Points {
    type Element = Value;
    const WHAT: &'static str = "a list of points";

    fn add(&mut self, point: Value) -> Result<(), String> {
        let Some(time) = point.get(1).and_then(Value::as_f64) else {
            return Err(format!("a point that is no [value, time]: `{point}`"));
        };
        self.last = note_time(&mut self.first, &mut self.second, time);
        let value = point.get(0).and_then(Value::as_f64);
        self.values.push(value.unwrap_or(f64::NAN));
        Ok(())
    }
}

impl Points {
    fn series(self) -> Series {
        let start = self.first.unwrap_or(0);
        Series {
            tags: BTreeMap::new(),
            start,
            end: self.last,
            step_millis: self
                .second
                .map_or(1_000, |second| second.saturating_sub(start)),
            values: self.values,
        }
    }
}

pub(super) fn parse(body: &str) -> Result<Vec<Series>, MetricsError> {
    let targets: Gathered<Targets> = json(Source::Graphite, body)?;
    Ok(targets.0.0)
}
