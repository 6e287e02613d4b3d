//! PromQL and the range query of Prometheus' HTTP API, which Amazon Managed Prometheus and others speak too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Credentials, Fields, Method, Request, quoted};
use crate::{MetricsError, Scope, Series, template};

const NAME: &str = "prometheus";
/// Longer queries go into a body: servers and proxies refuse addresses of 8 KiB.
const LONG_QUERY: usize = 2_000;

pub(super) fn query_text(fields: &Fields<'_>) -> Result<String, MetricsError> {
    let scope = fields.scope;
    let extended = |name: &str| scope.extended.get(name).cloned().unwrap_or_default();
    let resource_type = fields
        .text("resourceType")
        .map_or_else(|| extended("resourceType"), str::to_owned);
    let filter = template::expanded(
        fields.templates,
        fields.query,
        scope,
        &[
            ("project", extended("project")),
            ("resourceType", extended("resourceType")),
            ("scope", scope.scope.clone()),
            ("location", scope.location.clone()),
        ],
    )?
    .filter(|filter| !filter.is_empty());
    if let Some(query) = filter
        .as_deref()
        .and_then(|filter| filter.strip_prefix("PromQL:"))
    {
        return Ok(query.to_owned());
    }
    let metric = fields.required("metricName")?;
    let mut filters: Vec<String> = fields
        .texts("labelBindings")?
        .into_iter()
        .map(str::to_owned)
        .collect();
    match (filter, resource_type.as_str()) {
        (Some(filter), _) => {
            let mut all: Vec<String> = filter.split(',').map(str::to_owned).collect();
            all.append(&mut filters);
            filters = all;
        }
        (None, "aws_ec2_instance") => {
            location(fields, "aws_ec2_instance")?;
            if !scope.scope.is_empty() {
                filters.push(format!("asg_groupName={}", quoted(&scope.scope, '"')));
            }
            filters.push(format!(
                "zone=~{}",
                quoted(&format!("{}.{{1}}", scope.location), '"')
            ));
        }
        (None, "gce_instance") => {
            location(fields, "gce_instance")?;
            if !scope.scope.is_empty() {
                let label = fields.account.scope_label.as_deref().unwrap_or("instance");
                filters.push(format!(
                    "{label}=~{}",
                    quoted(&format!("{}-.{{4}}", scope.scope), '"')
                ));
            }
            let project = extended("project");
            let project = if project.is_empty() {
                String::new()
            } else {
                format!("projects/{project}/")
            };
            let zone = format!(".+/{project}zones/{}-.{{1}}", scope.location);
            filters.push(format!("zone=~{}", quoted(&zone, '"')));
        }
        (None, "") => {
            return Err(MetricsError::query(
                "resourceType",
                "a resource type or a template is needed, to know whose metrics to take",
            ));
        }
        (None, other) => {
            return Err(MetricsError::query(
                "resourceType",
                format!(
                    "`{other}` is not known (there is aws_ec2_instance); use label bindings and a template"
                ),
            ));
        }
    }
    let mut query = format!("avg({metric}{{{}}})", filters.join(","));
    let groups = fields.texts("groupByFields")?;
    if !groups.is_empty() {
        query.push_str(&format!(" by ({})", groups.join(",")));
    }
    Ok(query)
}

fn location(fields: &Fields<'_>, resource_type: &str) -> Result<(), MetricsError> {
    if fields.scope.location.is_empty() {
        return Err(MetricsError::query(
            "location",
            format!("is needed for resource type {resource_type}"),
        ));
    }
    Ok(())
}

/// A time as the API takes it: seconds since the epoch, with milliseconds.
fn time(millis: i64) -> String {
    format!(
        "{}.{:03}",
        millis.div_euclid(1_000),
        millis.rem_euclid(1_000)
    )
}

pub(super) fn request(text: &str, scope: &Scope, credentials: &Credentials) -> Request {
    let parameters = vec![
        ("query", text.to_owned()),
        ("start", time(scope.start)),
        ("end", time(scope.end)),
        ("step", scope.step.max(1).to_string()),
    ];
    let mut headers = vec![("accept", "application/json".to_owned())];
    if let Some(token) = credentials.get("token") {
        headers.push(("authorization", format!("Bearer {token}")));
    } else if let (Some(name), Some(password)) =
        (credentials.get("username"), credentials.get("password"))
    {
        let pair = STANDARD.encode(format!("{name}:{password}"));
        headers.push(("authorization", format!("Basic {pair}")));
    }
    let path = "/api/v1/query_range".to_owned();
    if text.len() <= LONG_QUERY {
        return Request {
            method: Method::Get,
            path,
            parameters,
            headers,
            body: None,
        };
    }
    headers.push((
        "content-type",
        "application/x-www-form-urlencoded".to_owned(),
    ));
    let form: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", super::segment(value)))
        .collect();
    Request {
        method: Method::Post,
        path,
        parameters: Vec::new(),
        headers,
        body: Some(form.join("&")),
    }
}

fn unexpected(what: &str) -> MetricsError {
    MetricsError::answer(NAME, what.to_owned())
}

pub(super) fn parse(answer: &Value) -> Result<Vec<Series>, MetricsError> {
    if answer.get("status").and_then(Value::as_str) == Some("error") {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("");
        return Err(unexpected(&format!(
            "{}: {}",
            text("errorType"),
            text("error")
        )));
    }
    let kind = answer.pointer("/data/resultType").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "matrix") {
        return Err(unexpected(&format!(
            "a {}; a range query answers a matrix",
            kind.unwrap_or_default()
        )));
    }
    let results = answer
        .pointer("/data/result")
        .and_then(Value::as_array)
        .ok_or_else(|| unexpected("without data.result"))?;
    results.iter().map(one).collect()
}

fn one(result: &Value) -> Result<Series, MetricsError> {
    let tags: BTreeMap<String, String> = result
        .get("metric")
        .and_then(Value::as_object)
        .map(|labels| {
            labels
                .iter()
                .filter(|(name, _)| *name != "__name__")
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect()
        })
        .unwrap_or_default();
    let points = result
        .get("values")
        .and_then(Value::as_array)
        .ok_or_else(|| unexpected("a series without values"))?;
    let mut times = Vec::with_capacity(points.len());
    let mut values = Vec::with_capacity(points.len());
    for point in points {
        let (Some(time), Some(value)) = (
            point.get(0).and_then(Value::as_f64),
            point.get(1).and_then(Value::as_str),
        ) else {
            return Err(unexpected(&format!(
                "a point that is no [time, \"value\"]: `{point}`"
            )));
        };
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number
                .parse()
                .map_err(|_| unexpected(&format!("a value that is no number: `{number}`")))?,
        };
        #[allow(clippy::cast_possible_truncation)] // A time of this era, in milliseconds.
        times.push((time * 1_000.0) as i64);
        values.push(value);
    }
    let start = times.first().copied().unwrap_or(0);
    // With one point nobody knows the step: it counts as unknown.
    let step_millis = times
        .get(1)
        .map_or(0, |second| second.saturating_sub(start) / 1_000 * 1_000);
    let span = i64::try_from(values.len())
        .unwrap_or(i64::MAX)
        .saturating_mul(step_millis);
    Ok(Series {
        tags,
        start,
        end: start.saturating_add(span),
        step_millis,
        values,
    })
}
