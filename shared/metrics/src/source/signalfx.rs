//! SignalFlow and SignalFx's stream of server-sent events.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Credentials, Fields, Method, Request, beginning, quoted};
use crate::{MetricsError, Scope, Series, template};

const NAME: &str = "signalfx";

pub(super) fn query_text(fields: &Fields<'_>) -> Result<String, MetricsError> {
    let scope = fields.scope;
    let attributes = [
        ("scope", scope.scope.clone()),
        ("location", scope.location.clone()),
    ];
    if let Some(program) = template::expanded(fields.templates, fields.query, scope, &attributes)? {
        return Ok(program);
    }
    let scope_key = fields.scope_key()?;
    let mut filters = Vec::new();
    for (key, value) in query_pairs(fields.query.get("queryPairs"))? {
        let (negated, key) = match key.strip_prefix('!') {
            Some(key) => (true, key),
            None => (false, key.as_str()),
        };
        let values: Vec<String> = if value.contains(',') {
            value
                .split(',')
                .map(|value| quoted(value.trim(), '\''))
                .collect()
        } else {
            vec![quoted(&value, '\'')]
        };
        let separator = if value.contains(',') { "," } else { "" };
        let filter = format!("filter({}, {})", quoted(key, '\''), values.join(separator));
        filters.push(if negated {
            format!("(not {filter})")
        } else {
            filter
        });
    }
    let filter =
        |key: &str, value: &str| format!("filter({}, {})", quoted(key, '\''), quoted(value, '\''));
    filters.push(filter(scope_key, &scope.scope));
    if let Some(key) = fields.location_key() {
        filters.push(filter(key, &scope.location));
    }
    filters.extend(fields.dimensions().map(|(key, value)| filter(key, value)));
    let mut keys: Vec<&str> = fields.dimensions().map(|(key, _)| key).collect();
    keys.extend(fields.location_key());
    keys.push(scope_key);
    let keys: Vec<String> = keys.iter().map(|key| quoted(key, '\'')).collect();
    let method = fields.text("aggregationMethod").unwrap_or("mean");
    if !method
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(MetricsError::query(
            "aggregationMethod",
            format!("`{method}` is not the name of a method such as mean"),
        ));
    }
    Ok(format!(
        "data({}, filter={}).{method}(by=[{}]).publish()",
        quoted(fields.required("metricName")?, '\''),
        filters.join(" and "),
        keys.join(", ")
    ))
}

fn query_pairs(pairs: Option<&Value>) -> Result<Vec<(String, String)>, MetricsError> {
    let list = match pairs {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(MetricsError::query(
                "queryPairs",
                format!("`{other}` is not a list"),
            ));
        }
    };
    list.iter()
        .map(|pair| {
            let text = |name: &str| pair.get(name).and_then(Value::as_str).map(str::to_owned);
            text("key")
                .filter(|key| !key.is_empty())
                .zip(text("value"))
                .ok_or_else(|| {
                    MetricsError::query(
                        "queryPairs",
                        format!("`{pair}` is not {{\"key\", \"value\"}}"),
                    )
                })
        })
        .collect()
}

pub(super) fn request(
    text: &str,
    scope: &Scope,
    credentials: &Credentials,
) -> Result<Request, MetricsError> {
    Ok(Request {
        method: Method::Post,
        path: "/v2/signalflow/execute".to_owned(),
        parameters: vec![
            ("start", scope.start.to_string()),
            ("stop", scope.end.to_string()),
            ("resolution", (i64::from(scope.step) * 1_000).to_string()),
            ("maxDelay", "0".to_owned()),
            ("immediate", "true".to_owned()),
        ],
        headers: vec![
            ("content-type", "text/plain".to_owned()),
            (
                "x-sf-token",
                credentials.required("accessToken")?.to_owned(),
            ),
        ],
        body: Some(text.to_owned()),
    })
}

pub(super) fn parse(body: &str, query: &Value, scope: &Scope) -> Result<Vec<Series>, MetricsError> {
    let mut values = Vec::new();
    let mut seen = false;
    for (event, data) in events(body) {
        seen = true;
        if !matches!(event.as_str(), "data" | "error") {
            continue;
        }
        let message: Value = serde_json::from_str(&data).map_err(|error| {
            MetricsError::answer(
                NAME,
                format!("an event that is no JSON ({error}): `{}`", beginning(&data)),
            )
        })?;
        if event == "error" {
            let text = message
                .get("message")
                .and_then(Value::as_str)
                .map_or_else(|| beginning(&data), str::to_owned);
            return Err(MetricsError::answer(NAME, text));
        }
        let points = message
            .get("data")
            .and_then(Value::as_array)
            .ok_or_else(|| MetricsError::answer(NAME, "a data event without `data`"))?;
        match points.as_slice() {
            [] => values.push(f64::NAN),
            [one] => values.push(one.get("value").and_then(Value::as_f64).unwrap_or(f64::NAN)),
            _ => {
                return Err(MetricsError::answer(
                    NAME,
                    "several values for one time; the program has to aggregate",
                ));
            }
        }
    }
    if !seen {
        return Err(MetricsError::answer(
            NAME,
            format!("no events: `{}`", beginning(body)),
        ));
    }
    let tags: BTreeMap<String, String> =
        query_pairs(query.get("queryPairs"))?.into_iter().collect();
    Ok(vec![Series {
        tags,
        values,
        ..scope.nothing()
    }])
}

/// Server-sent events: name and data, those without a name as `message`.
fn events(body: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut event, mut data) = (String::new(), Vec::new());
    for line in body.lines().chain(std::iter::once("")) {
        if line.is_empty() {
            if !data.is_empty() {
                let name = if event.is_empty() {
                    "message".to_owned()
                } else {
                    event.clone()
                };
                found.push((name, data.join("\n")));
            }
            event.clear();
            data.clear();
        } else if let Some(name) = line.strip_prefix("event:") {
            event = name.trim().to_owned();
        } else if let Some(text) = line.strip_prefix("data:") {
            data.push(text.strip_prefix(' ').unwrap_or(text));
        }
    }
    found
}
