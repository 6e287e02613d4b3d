//! PromQL and the range query of Prometheus' HTTP API, which Amazon Managed Prometheus and others speak too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Gather, Gathered, json, note_time, series_are_not_too_many};
use super::{Credentials, Fields, Method, Request, quoted};
use crate::{MetricsError, Scope, Series, Source, template};

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

/// What a range query answers; a field that is none of these is passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    status: Option<String>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: Option<String>,
    result: Option<Gathered<Matrix>>,
}

/// One series as it is answered.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    metric: BTreeMap<String, Value>,
    values: Option<Gathered<Points>>,
}

#[derive(Default)]
struct Matrix(Vec<Series>);

impl Gather for Matrix {
    type Element = Entry;
    const WHAT: &'static str = "a list of series";

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let points = entry.values.ok_or("a series without values")?.0;
        self.0.push(points.series(entry.metric));
        series_are_not_too_many(self.0.len())
    }
}

/// The points of a series, without their times but the first two, which tell the step.
#[derive(Default)]
struct Points {
    first: Option<i64>,
    second: Option<i64>,
    values: Vec<f64>,
}

impl Gather for Points {
    type Element = Value;
    const WHAT: &'static str = "a list of points";

    fn add(&mut self, point: Value) -> Result<(), String> {
        let (Some(time), Some(value)) = (
            point.get(0).and_then(Value::as_f64),
            point.get(1).and_then(Value::as_str),
        ) else {
            return Err(format!("a point that is no [time, \"value\"]: `{point}`"));
        };
        self.values.push(match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number
                .parse()
                .map_err(|_| format!("a value that is no number: `{number}`"))?,
        });
        note_time(&mut self.first, &mut self.second, time);
        Ok(())
    }
}

impl Points {
    fn series(self, labels: BTreeMap<String, Value>) -> Series {
        let start = self.first.unwrap_or(0);
        // With one point nobody knows the step: it counts as unknown.
        let step_millis = self
            .second
            .map_or(0, |second| second.saturating_sub(start) / 1_000 * 1_000);
        let span = i64::try_from(self.values.len())
            .unwrap_or(i64::MAX)
            .saturating_mul(step_millis);
        Series {
            tags: labels
                .into_iter()
                .filter(|(name, _)| name != "__name__")
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                .collect(),
            start,
            end: start.saturating_add(span),
            step_millis,
            values: self.values,
        }
    }
}

pub(super) fn parse(body: &str) -> Result<Vec<Series>, MetricsError> {
    let unexpected = |what: String| MetricsError::answer(NAME, what);
    let answer: Answer = json(Source::Prometheus, body)?;
    if answer.status.as_deref() == Some("error") {
        return Err(unexpected(format!(
            "{}: {}",
            answer.error_type.unwrap_or_default(),
            answer.error.unwrap_or_default()
        )));
    }
    let data = answer.data.unwrap_or_default();
    if let Some(kind) = data.result_type.filter(|kind| kind != "matrix") {
        return Err(unexpected(format!(
            "a {kind}; a range query answers a matrix"
        )));
    }
    let result = data.result.map(|result| result.0.0);
    result.ok_or_else(|| unexpected("without data.result".to_owned()))
}
