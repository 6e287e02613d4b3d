//! SignalFlow and SignalFx's stream of server-sent events.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::beginning;
use super::{Credentials, Fields, Method, Request, quoted};
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

/// What a stream has said so far.
#[derive(Default)]
struct Stream {
    values: Vec<f64>,
    /// Any event at all.
    seen: bool,
    /// The job announced itself, so it announces its end too.
    begun: bool,
    ended: bool,
}

impl Stream {
    fn event(&mut self, event: &str, data: &str) -> Result<(), MetricsError> {
        self.seen = true;
        if !matches!(event, "data" | "error" | "control-message") {
            return Ok(());
        }
        let message: Value = serde_json::from_str(data).map_err(|error| {
            let shown = beginning(data);
            unexpected(format!("an event that is no JSON ({error}): `{shown}`"))
        })?;
        match event {
            "data" => self.point(&message),
            "error" => {
                let text = message.get("message").and_then(Value::as_str);
                Err(unexpected(
                    text.map_or_else(|| beginning(data), str::to_owned),
                ))
            }
            _ => self.control(&message),
        }
    }

    fn point(&mut self, message: &Value) -> Result<(), MetricsError> {
        let points = message
            .get("data")
            .and_then(Value::as_array)
            .ok_or_else(|| unexpected("a data event without `data`"))?;
        self.values.push(match points.as_slice() {
            [] => f64::NAN,
            [one] => one.get("value").and_then(Value::as_f64).unwrap_or(f64::NAN),
            _ => {
                return Err(unexpected(
                    "several values for one time; the program has to aggregate",
                ));
            }
        });
        Ok(())
    }

    fn control(&mut self, message: &Value) -> Result<(), MetricsError> {
        match message.get("event").and_then(Value::as_str) {
            Some("STREAM_START" | "JOB_START") => self.begun = true,
            Some("END_OF_CHANNEL") => self.ended = true,
            Some("CHANNEL_ABORT") => {
                let why = message.pointer("/abortInfo/sf_job_abortReason");
                let why = why.and_then(Value::as_str).unwrap_or("without a reason");
                return Err(unexpected(format!("that it aborted the job: {why}")));
            }
            _ => {}
        }
        Ok(())
    }
}

fn unexpected(what: impl Into<String>) -> MetricsError {
    MetricsError::answer(NAME, what)
}

pub(super) fn parse(body: &str, query: &Value, scope: &Scope) -> Result<Vec<Series>, MetricsError> {
    let mut stream = Stream::default();
    each_event(body, |event, data| stream.event(event, data))?;
    if !stream.seen {
        return Err(unexpected(format!("no events: `{}`", beginning(body))));
    }
    if stream.begun && !stream.ended {
        return Err(unexpected(format!(
            "a stream that broke off after {} points",
            stream.values.len()
        )));
    }
    let tags: BTreeMap<String, String> =
        query_pairs(query.get("queryPairs"))?.into_iter().collect();
    Ok(vec![Series {
        tags,
        values: stream.values,
        ..scope.nothing()
    }])
}

/// Calls `take` with each server-sent event: name and data, those without a name as `message`.
fn each_event(
    body: &str,
    mut take: impl FnMut(&str, &str) -> Result<(), MetricsError>,
) -> Result<(), MetricsError> {
    let (mut event, mut data) = ("", String::new());
    let mut any = false;
    for line in body.lines().chain(std::iter::once("")) {
        if line.is_empty() {
            if any {
                take(if event.is_empty() { "message" } else { event }, &data)?;
            }
            (event, any) = ("", false);
            data.clear();
        } else if let Some(name) = line.strip_prefix("event:") {
            event = name.trim();
        } else if let Some(text) = line.strip_prefix("data:") {
            if any {
                data.push('\n');
            }
            data.push_str(text.strip_prefix(' ').unwrap_or(text));
            any = true;
        }
    }
    Ok(())
}
