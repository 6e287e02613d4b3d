//! Datadog's time series query (`/api/v1/query`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Gather, Gathered, json, series_are_not_too_many};
use super::{Credentials, Fields, Method, Request, seconds};
use crate::{MAX_POINTS_OF_A_SIDE, MetricsError, Scope, Series, Source, template};

const NAME: &str = "datadog";

pub(super) fn query_text(fields: &Fields<'_>) -> Result<String, MetricsError> {
    let scope = fields.scope;
    let attributes = [
        ("scope", scope.scope.clone()),
        ("location", scope.location.clone()),
    ];
    let template = template::expanded(fields.templates, fields.query, scope, &attributes)?;
    if let Some(query) = template.filter(|query| !query.is_empty()) {
        return Ok(query);
    }
    // Datadog's scopes have no quotes: what ends one cannot be a part of it.
    if scope.scope.contains(['{', '}']) {
        return Err(MetricsError::query(
            "scope",
            "has a brace, which Datadog's scopes cannot have",
        ));
    }
    Ok(format!(
        "{}{{{}}}",
        fields.required("metricName")?,
        scope.scope
    ))
}

pub(super) fn request(
    text: &str,
    scope: &Scope,
    credentials: &Credentials,
) -> Result<Request, MetricsError> {
    Ok(Request {
        method: Method::Get,
        path: "/api/v1/query".to_owned(),
        parameters: vec![
            ("from", seconds(scope.start).to_string()),
            ("to", seconds(scope.end).to_string()),
            ("query", text.to_owned()),
        ],
        headers: vec![
            ("accept", "application/json".to_owned()),
            ("dd-api-key", credentials.required("apiKey")?.to_owned()),
            (
                "dd-application-key",
                credentials.required("applicationKey")?.to_owned(),
            ),
        ],
        body: None,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Option<String>,
    series: Option<Gathered<AllSeries>>,
}

/// One series as it is answered.
#[derive(Deserialize)]
struct Entry {
    start: Option<i64>,
    end: Option<i64>,
    interval: Option<i64>,
    pointlist: Option<Gathered<Points>>,
}

#[derive(Default)]
struct AllSeries {
    series: Vec<Series>,
    /// Points of all of them, missing ones counted.
    points: usize,
}

impl Gather for AllSeries {
    type Element = Entry;
    const WHAT: &'static str = "a list of series";

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let series = one(entry, MAX_POINTS_OF_A_SIDE.saturating_sub(self.points))?;
        self.points = self.points.saturating_add(series.values.len());
        self.series.push(series);
        series_are_not_too_many(self.series.len())
    }
}

#[derive(Default)]
struct Points(Vec<(i64, f64)>);

impl Gather for Points {
    type Element = Value;
    const WHAT: &'static str = "a list of points";

    fn add(&mut self, point: Value) -> Result<(), String> {
        let Some(time) = point.get(0).and_then(Value::as_f64) else {
            return Err(format!("a point without its time: `{point}`"));
        };
        let value = point.get(1).and_then(Value::as_f64).unwrap_or(f64::NAN);
        #[allow(clippy::cast_possible_truncation)] // A time of this era, in milliseconds.
        self.0.push((time as i64, value));
        Ok(())
    }
}

pub(super) fn parse(body: &str) -> Result<Vec<Series>, MetricsError> {
    let answer: Answer = json(Source::Datadog, body)?;
    // Empty where there is none.
    if let Some(error) = answer.error.filter(|error| !error.is_empty()) {
        return Err(MetricsError::answer(NAME, error));
    }
    let list = answer.series.map(|all| all.0.series);
    list.ok_or_else(|| MetricsError::answer(NAME, "without a list `series`"))
}

/// Points are sparse: each is put where its time says, the others are missing. There is room for so many.
fn one(entry: Entry, room: usize) -> Result<Series, String> {
    let number = |name: &str, given: Option<i64>| {
        given.ok_or_else(|| format!("a series without a number `{name}`"))
    };
    let (start, end) = (number("start", entry.start)?, number("end", entry.end)?);
    let step_millis = number("interval", entry.interval)?.saturating_mul(1_000);
    if step_millis <= 0 {
        return Err("a series with an interval of 0".to_owned());
    }
    let count =
        usize::try_from(end.saturating_sub(start).max(-step_millis) / step_millis + 1).unwrap_or(0);
    if count > room {
        return Err(format!(
            "more than {MAX_POINTS_OF_A_SIDE} points; take a longer step"
        ));
    }
    let mut values = vec![f64::NAN; count];
    let points = entry.pointlist.ok_or("a series without `pointlist`")?;
    for (time, value) in points.0.0 {
        let offset = time.saturating_sub(start);
        let slot = usize::try_from(offset / step_millis).ok();
        if offset % step_millis == 0
            && let Some(place) = slot.and_then(|slot| values.get_mut(slot))
        {
            *place = value;
        }
    }
    Ok(Series {
        tags: BTreeMap::new(),
        start,
        end,
        step_millis,
        values,
    })
}
