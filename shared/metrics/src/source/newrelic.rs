//! NRQL and New Relic's Insights query API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Gather, Gathered, json};
use super::{Credentials, Fields, Method, Request, quoted, seconds, segment};
use crate::{MetricsError, Scope, Series, Source, template};

const NAME: &str = "newrelic";

pub(super) fn query_text(fields: &Fields<'_>) -> Result<String, MetricsError> {
    let scope = fields.scope;
    let (start, end) = (seconds(scope.start), seconds(scope.end));
    // New Relic takes its times inside the query.
    let mut timed = scope.clone();
    timed
        .extended
        .insert("startEpochSeconds".to_owned(), start.to_string());
    timed
        .extended
        .insert("endEpochSeconds".to_owned(), end.to_string());
    let attributes = [
        ("scope", scope.scope.clone()),
        ("location", scope.location.clone()),
        ("step", scope.step.to_string()),
    ];
    if let Some(query) = template::expanded(fields.templates, fields.query, &timed, &attributes)? {
        return Ok(query);
    }
    let select = fields.required("select")?;
    let select = if select.starts_with("SELECT") {
        select.to_owned()
    } else {
        format!("SELECT {}", select.trim())
    };
    let step = if scope.step == 0 {
        "MAX".to_owned()
    } else {
        format!("{} seconds", scope.step)
    };
    let mut conditions: Vec<String> = fields.text("q").map(str::to_owned).into_iter().collect();
    let like = |name: &str, value: &str| format!("{name} LIKE {}", quoted(value, '\''));
    conditions.extend(fields.dimensions().map(|(name, value)| like(name, value)));
    conditions.push(like(fields.scope_key()?, &scope.scope));
    if let Some(key) = fields.location_key() {
        conditions.push(like(key, &scope.location));
    }
    Ok(format!(
        "{select} TIMESERIES {step} SINCE {start} UNTIL {end} WHERE {}",
        conditions.join(" AND ")
    ))
}

pub(super) fn request(
    text: &str,
    _scope: &Scope,
    credentials: &Credentials,
) -> Result<Request, MetricsError> {
    let account = segment(credentials.required("applicationKey")?);
    Ok(Request {
        method: Method::Get,
        path: format!("/v1/accounts/{account}/query"),
        parameters: vec![("nrql", text.to_owned())],
        headers: vec![
            ("accept", "application/json".to_owned()),
            ("x-query-key", credentials.required("apiKey")?.to_owned()),
        ],
        body: None,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Option<String>,
    #[serde(rename = "timeSeries")]
    time_series: Option<Gathered<Entries>>,
    metadata: Value,
}

/// Values, and the times that tell the step: the first one, and the first other one.
#[derive(Default)]
struct Entries {
    first: Option<i64>,
    other: Option<i64>,
    any: bool,
    values: Vec<f64>,
}

impl Gather for Entries {
    type Element = Value;
    const WHAT: &'static str = "a list of entries";

    fn add(&mut self, entry: Value) -> Result<(), String> {
        let begins = entry.get("beginTimeSeconds").and_then(Value::as_i64);
        if self.any {
            self.other = self
                .other
                .or(begins.filter(|time| Some(*time) != self.first));
        } else {
            (self.any, self.first) = (true, begins);
        }
        self.values.push(value(&entry));
        Ok(())
    }
}

pub(super) fn parse(body: &str, scope: &Scope) -> Result<Vec<Series>, MetricsError> {
    let answer: Answer = json(Source::NewRelic, body)?;
    if let Some(error) = answer.error {
        return Err(MetricsError::answer(NAME, error));
    }
    let entries = answer
        .time_series
        .ok_or_else(|| MetricsError::answer(NAME, "without a list `timeSeries`"))?
        .0;
    let bound = |name: &str, default: i64| {
        let given = answer.metadata.get(name).and_then(Value::as_i64);
        given.unwrap_or(default)
    };
    let step_millis = if scope.step > 0 {
        i64::from(scope.step) * 1_000
    } else {
        entries
            .first
            .zip(entries.other)
            .map_or(0, |(first, other)| {
                other.saturating_sub(first).saturating_mul(1_000)
            })
    };
    Ok(vec![Series {
        tags: BTreeMap::new(),
        start: bound("beginTimeMillis", scope.start),
        end: bound("endTimeMillis", scope.end),
        step_millis,
        values: entries.values,
    }])
}

/// The first value of the first result: a number, or an object such as `{"percentiles":{"99":1.2}}` around one.
fn value(entry: &Value) -> f64 {
    if entry.get("inspectedCount").and_then(Value::as_i64) == Some(0) {
        return f64::NAN;
    }
    let first = |value: &Value| {
        value
            .as_object()
            .and_then(|map| map.values().next())
            .cloned()
    };
    let Some(node) = entry.pointer("/results/0").and_then(first) else {
        return f64::NAN;
    };
    node.as_f64()
        .or_else(|| first(&node).and_then(|inner| inner.as_f64()))
        .unwrap_or(f64::NAN)
}
