//! What CloudWatch is asked: one `MetricDataQuery` for each metric, or an expression over several.

use serde_json::{Map, Value};

use crate::source::MISSING;
use crate::{MetricsError, Scope, template};

/// One line of a `GetMetricData` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataQuery {
    /// Begins with a small letter, as CloudWatch wants it; unique in the request.
    pub id: String,
    /// What it stands for.
    pub what: What,
    /// Only one query of a request is answered: the others are its inputs.
    pub returned: bool,
}

/// A metric, or an expression over the other queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A metric's statistic.
    Metric {
        /// Such as `AWS/ApplicationELB`.
        namespace: String,
        /// Such as `TargetResponseTime`.
        metric_name: String,
        /// All dimensions that the metric has.
        dimensions: Vec<(String, String)>,
        /// `Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount`, `p99`, `tm90`, …
        statistic: String,
    },
    /// Metric math, or a Metrics Insights query.
    Expression {
        /// Evaluated by CloudWatch.
        text: String,
    },
}

/// The queries of one metric for one side of a canary.
///
/// Fields: `namespace`, `metricName`, `dimensions` (by default `{"AutoScalingGroupName": "${scope}"}`), `statistic`
/// (`Average`); or `expression`, over `metrics`: `[{"id", "namespace", "metricName", "dimensions", "statistic"}]`.
/// Templates (`customInlineTemplate`, `customFilterTemplate`) stand for the expression. Every text is expanded.
///
/// # Errors
/// [`MetricsError::Query`] with the field that is missing, unknown or unbound.
pub fn queries(
    templates: &Value,
    query: &Value,
    scope: &Scope,
) -> Result<Vec<DataQuery>, MetricsError> {
    let empty = Map::new();
    let query = query.as_object().unwrap_or(&empty);
    let attributes = [
        ("scope", scope.scope.clone()),
        ("location", scope.location.clone()),
        ("region", scope.location.clone()),
    ];
    let template = template::expanded(templates, query, scope, &attributes)?;
    let expand = |field: &str, text: &str| {
        let mut bindings: std::collections::BTreeMap<&str, &str> = attributes
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        bindings.extend(
            scope
                .extended
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        template::expand(text, &bindings).map_err(|reason| MetricsError::query(field, reason))
    };
    let expression = match template {
        Some(expression) => Some(expression),
        None => query
            .get("expression")
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
            .map(|text| expand("expression", text))
            .transpose()?,
    };
    let Some(expression) = expression else {
        return Ok(vec![DataQuery {
            id: "m".to_owned(),
            what: metric(query, "", scope, &expand)?,
            returned: true,
        }]);
    };
    let mut found = Vec::new();
    let inputs = match query.get("metrics") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return Err(MetricsError::query("metrics", "is not a list")),
    };
    for (index, input) in inputs.iter().enumerate() {
        let path = format!("metrics[{index}].");
        let input = input
            .as_object()
            .ok_or_else(|| MetricsError::query(path.trim_end_matches('.'), "is not an object"))?;
        let id = input.get("id").and_then(Value::as_str).unwrap_or_default();
        let valid = id.starts_with(|first: char| first.is_ascii_lowercase())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !valid || id == RESULT || found.iter().any(|other: &DataQuery| other.id == id) {
            return Err(MetricsError::query(
                &format!("{path}id"),
                format!("`{id}` is not a name of its own that begins with a small letter"),
            ));
        }
        found.push(DataQuery {
            id: id.to_owned(),
            what: metric(input, &path, scope, &expand)?,
            returned: false,
        });
    }
    found.push(DataQuery {
        id: RESULT.to_owned(),
        what: What::Expression { text: expression },
        returned: true,
    });
    Ok(found)
}

/// Id of an expression's result.
const RESULT: &str = "result";

fn metric(
    query: &Map<String, Value>,
    path: &str,
    scope: &Scope,
    expand: &dyn Fn(&str, &str) -> Result<String, MetricsError>,
) -> Result<What, MetricsError> {
    let required = |name: &str| {
        let field = format!("{path}{name}");
        query
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| MetricsError::query(&field, MISSING))
            .and_then(|text| expand(&field, text))
    };
    let dimensions = match query.get("dimensions") {
        None | Some(Value::Null) => vec![("AutoScalingGroupName".to_owned(), scope.scope.clone())],
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| {
                let field = format!("{path}dimensions.{name}");
                let value = value
                    .as_str()
                    .ok_or_else(|| MetricsError::query(&field, "is not a text"))?;
                Ok((name.clone(), expand(&field, value)?))
            })
            .collect::<Result<Vec<_>, MetricsError>>()?,
        Some(_) => {
            return Err(MetricsError::query(
                &format!("{path}dimensions"),
                "is not an object",
            ));
        }
    };
    let statistic = match query.get("statistic") {
        None | Some(Value::Null) => "Average".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => {
            return Err(MetricsError::query(
                &format!("{path}statistic"),
                format!("`{other}` is not a text such as Average or p99"),
            ));
        }
    };
    Ok(What::Metric {
        namespace: required("namespace")?,
        metric_name: required("metricName")?,
        dimensions,
        statistic,
    })
}
