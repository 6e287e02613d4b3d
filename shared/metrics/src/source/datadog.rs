//! Datadog's time series query (`/api/v1/query`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Credentials, Fields, Method, Request, seconds};
use crate::{MAX_POINTS, MetricsError, Scope, Series, template};

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

pub(super) fn parse(answer: &Value) -> Result<Vec<Series>, MetricsError> {
    // Empty where there is none.
    let error = answer.get("error").and_then(Value::as_str);
    if let Some(error) = error.filter(|error| !error.is_empty()) {
        return Err(MetricsError::answer(NAME, error));
    }
    let list = answer
        .get("series")
        .and_then(Value::as_array)
        .ok_or_else(|| MetricsError::answer(NAME, "without a list `series`"))?;
    list.iter().map(one).collect()
}

/// Points are sparse: each is put where its time says, the others are missing.
fn one(entry: &Value) -> Result<Series, MetricsError> {
    let number = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_i64)
            .ok_or_else(|| MetricsError::answer(NAME, format!("a series without `{name}`")))
    };
    let (start, end) = (number("start")?, number("end")?);
    let step_millis = number("interval")?.saturating_mul(1_000);
    if step_millis <= 0 {
        return Err(MetricsError::answer(NAME, "a series with an interval of 0"));
    }
    let count =
        usize::try_from(end.saturating_sub(start).max(-step_millis) / step_millis + 1).unwrap_or(0);
    if count > MAX_POINTS {
        return Err(MetricsError::answer(
            NAME,
            format!("more than {MAX_POINTS} points"),
        ));
    }
    let mut values = vec![f64::NAN; count];
    let points = entry
        .get("pointlist")
        .and_then(Value::as_array)
        .ok_or_else(|| MetricsError::answer(NAME, "a series without `pointlist`"))?;
    for point in points {
        let Some(time) = point.get(0).and_then(Value::as_f64) else {
            return Err(MetricsError::answer(
                NAME,
                format!("a point without its time: `{point}`"),
            ));
        };
        #[allow(clippy::cast_possible_truncation)] // A time of this era, in milliseconds.
        let offset = (time as i64).saturating_sub(start);
        let slot = usize::try_from(offset / step_millis).ok();
        if offset % step_millis == 0
            && let Some(place) = slot.and_then(|slot| values.get_mut(slot))
        {
            *place = point.get(1).and_then(Value::as_f64).unwrap_or(f64::NAN);
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
