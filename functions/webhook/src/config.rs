//! A webhook stage's configuration, as pipelines have it: expressions leave texts where numbers were meant.

use std::collections::BTreeMap;

use gennaker_domain::Status;
use gennaker_http::Method;
use gennaker_lambda::StageError;
use serde_json::{Map, Value};

/// Where the address comes from that tells how the job goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusUrl {
    /// The webhook's own address, asked by GET.
    GetMethod,
    /// The answer's `Location`.
    LocationHeader,
    /// A JSON path into the answer.
    WebhookResponse,
}

/// How a job is called off.
#[derive(Clone, Debug, PartialEq)]
pub struct Cancel {
    /// Address; it may have expressions that the answer resolves.
    pub endpoint: String,
    /// Method.
    pub method: Method,
    /// Body.
    pub payload: Value,
}

/// What a webhook stage says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address.
    pub url: String,
    /// Method.
    pub method: Method,
    /// Body.
    pub payload: Value,
    /// Names and values; a value may be a secret's reference.
    pub headers: Vec<(String, String)>,
    /// Status codes that fail the stage at once.
    pub fail_fast: Vec<u16>,
    /// Status codes of the call that are tried again, besides 429 and 5xx.
    pub call_retry: Vec<u16>,
    /// Status codes of the monitor that are tried again, besides 429 and 5xx.
    pub monitor_retry: Vec<u16>,
    /// How often a status code is tried again.
    pub most_retries: BTreeMap<u16, u64>,
    /// Whether the job's end is waited for.
    pub wait_for_completion: bool,
    /// Nothing is called, an address is watched.
    pub monitor_only: bool,
    /// Seconds before the first look.
    pub wait_before_monitor_seconds: i64,
    /// Where the status is.
    pub status_url: StatusUrl,
    /// JSON path to the status's address.
    pub status_url_json_path: String,
    /// JSON path to the status.
    pub status_json_path: String,
    /// JSON path to what a person reads meanwhile.
    pub progress_json_path: String,
    /// Statuses in capitals, and what each means.
    pub statuses: BTreeMap<String, Status>,
    /// How the job is called off.
    pub cancel: Option<Cancel>,
    /// Artifacts that the answer has to hold.
    pub expected_artifacts: Vec<Value>,
    /// The author says that two calls do what one does.
    pub safe_to_retry: bool,
    /// Account whose headers are sent.
    pub account: Option<String>,
    /// Hosts that those headers are for; none without an account.
    pub hosts: Option<Vec<String>>,
}

fn text(context: &Map<String, Value>, name: &str) -> String {
    match context.get(name) {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// The boolean, or its text in any case; none if absent or something else.
fn flag(context: &Map<String, Value>, name: &str) -> Option<bool> {
    match context.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn method(context: &Map<String, Value>, name: &str) -> Result<Method, StageError> {
    let written = text(context, name);
    if written.is_empty() {
        return Ok(Method::Post);
    }
    Method::parse(&written).ok_or_else(|| {
        StageError::invalid(
            name,
            format!("`{written}` is not a method; there are GET, HEAD, POST, PUT, PATCH, DELETE"),
        )
    })
}

fn code(value: &Value) -> Option<u16> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|code| u16::try_from(code).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Status codes: a list of numbers or texts, or a text with commas. None if absent.
fn codes(context: &Map<String, Value>, name: &str) -> Result<Option<Vec<u16>>, StageError> {
    let invalid = |found: &Value| {
        StageError::invalid(name, format!("`{found}` is not a list of status codes"))
    };
    let list = match context.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list.clone(),
        Some(Value::String(text)) => text
            .split(',')
            .map(str::trim)
            .filter(|code| !code.is_empty())
            .map(Value::from)
            .collect(),
        Some(number @ Value::Number(_)) => vec![number.clone()],
        Some(other) => return Err(invalid(other)),
    };
    let codes: Option<Vec<u16>> = list.iter().map(code).collect();
    codes.map(Some).ok_or_else(|| invalid(&Value::Array(list)))
}

/// One text of a value that is a scalar.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

pub(crate) fn headers(
    given: Option<&Value>,
    field: &str,
) -> Result<Vec<(String, String)>, StageError> {
    let invalid = |name: &str| {
        StageError::invalid(
            format!("{field}.{name}"),
            "a header is a text, or a list of texts",
        )
    };
    let mut found = Vec::new();
    match given {
        None | Some(Value::Null) => {}
        Some(Value::Object(headers)) => {
            for (name, value) in headers {
                match value {
                    Value::Array(values) => {
                        for value in values {
                            let value = scalar(value).ok_or_else(|| invalid(name))?;
                            found.push((name.clone(), value));
                        }
                    }
                    Value::Null => {}
                    value => {
                        found.push((name.clone(), scalar(value).ok_or_else(|| invalid(name))?))
                    }
                }
            }
        }
        Some(_) => return Err(invalid("")),
    }
    Ok(found)
}

/// Statuses of a list with commas, in capitals.
fn statuses(context: &Map<String, Value>) -> BTreeMap<String, Status> {
    let mut all = BTreeMap::new();
    for (name, status) in [
        ("successStatuses", Status::Succeeded),
        ("canceledStatuses", Status::Canceled),
        ("terminalStatuses", Status::Terminal),
    ] {
        for word in text(context, name).split(',') {
            let word = word.trim().to_uppercase();
            if !word.is_empty() {
                all.insert(word, status);
            }
        }
    }
    all
}

fn most_retries(context: &Map<String, Value>) -> BTreeMap<u16, u64> {
    let Some(Value::Object(retries)) = context.get("retries") else {
        return BTreeMap::new();
    };
    retries
        .iter()
        .filter_map(|(code, data)| {
            let most = match data.get("maxAttempts")? {
                Value::String(text) => text.trim().parse().ok()?,
                number => number.as_u64()?,
            };
            Some((code.trim().parse().ok()?, most))
        })
        .collect()
}

impl Config {
    /// Reads a stage's resolved context.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] with field and value.
    pub fn of(context: &Map<String, Value>) -> Result<Self, StageError> {
        let url = text(context, "url");
        if url.is_empty() {
            return Err(StageError::invalid("url", "the stage names no address"));
        }
        let resolution = text(context, "statusUrlResolution");
        let status_url = match resolution.as_str() {
            "" | "getMethod" => StatusUrl::GetMethod,
            "locationHeader" => StatusUrl::LocationHeader,
            "webhookResponse" => StatusUrl::WebhookResponse,
            other => {
                return Err(StageError::invalid(
                    "statusUrlResolution",
                    format!(
                        "`{other}` is unknown; there are getMethod, locationHeader, webhookResponse"
                    ),
                ));
            }
        };
        let wait_for_completion = flag(context, "waitForCompletion").unwrap_or(false);
        let monitor_only = flag(context, "monitorOnly").unwrap_or(false);
        if monitor_only && !wait_for_completion {
            return Err(StageError::invalid(
                "monitorOnly",
                "Can't specify monitorOnly = true without waitForCompletion = true",
            ));
        }
        let endpoint = text(context, "cancelEndpoint");
        let signals = flag(context, "signalCancellation").unwrap_or(true);
        let cancel = if endpoint.is_empty() || !signals {
            None
        } else {
            Some(Cancel {
                endpoint,
                method: method(context, "cancelMethod")?,
                payload: context.get("cancelPayload").cloned().unwrap_or_default(),
            })
        };
        let wait = text(context, "waitBeforeMonitor");
        let wait_before_monitor_seconds = match wait.as_str() {
            "" => 0,
            seconds => seconds
                .parse::<f64>()
                .ok()
                .filter(|s| s.is_finite())
                .map_or_else(
                    || {
                        Err(StageError::invalid(
                            "waitBeforeMonitor",
                            format!("`{seconds}` is not a number of seconds"),
                        ))
                    },
                    // A year is for ever; the clamp keeps the cast in range.
                    |seconds| Ok(seconds.ceil().clamp(0.0, 31_536_000.0) as i64),
                )?,
        };
        Ok(Self {
            url,
            method: method(context, "method")?,
            payload: context.get("payload").cloned().unwrap_or_default(),
            headers: headers(context.get("customHeaders"), "customHeaders")?,
            // Spinnaker's default.
            fail_fast: codes(context, "failFastStatusCodes")?.unwrap_or_else(|| vec![504]),
            call_retry: codes(context, "webhookRetryStatusCodes")?.unwrap_or_default(),
            monitor_retry: codes(context, "retryStatusCodes")?.unwrap_or_default(),
            most_retries: most_retries(context),
            wait_for_completion,
            monitor_only,
            wait_before_monitor_seconds,
            status_url,
            status_url_json_path: text(context, "statusUrlJsonPath"),
            status_json_path: text(context, "statusJsonPath"),
            progress_json_path: text(context, "progressJsonPath"),
            statuses: statuses(context),
            cancel,
            expected_artifacts: context
                .get("expectedArtifacts")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            safe_to_retry: flag(context, "safeToRetry").unwrap_or(false),
            account: Some(text(context, "account")).filter(|name| !name.is_empty()),
            hosts: None,
        })
    }

    /// Whether a second call of the webhook does what one does.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        self.method.is_idempotent() || self.safe_to_retry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(context: Value) -> Result<Config, StageError> {
        Config::of(context.as_object().unwrap())
    }

    #[test]
    fn what_pipelines_write_is_read() {
        let config = of(json!({
            "url": " https://h.example.com/jobs ", "method": "put", "waitForCompletion": "true",
            "customHeaders": {"Authorization": "ssm:token", "X-Many": ["a", 2], "X-None": null},
            "failFastStatusCodes": ["404", 409], "retryStatusCodes": "503, 418", "retries": {"503": {"maxAttempts": "2"}},
            "successStatuses": "done, Approved,", "terminalStatuses": "failed", "canceledStatuses": null,
            "waitBeforeMonitor": "2.5", "cancelEndpoint": "https://h.example.com/cancel", "cancelMethod": "DELETE",
        }))
        .unwrap();
        assert_eq!(config.url, "https://h.example.com/jobs");
        assert_eq!(
            (config.method, config.wait_for_completion),
            (Method::Put, true)
        );
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            config.headers,
            [
                header("Authorization", "ssm:token"),
                header("X-Many", "a"),
                header("X-Many", "2")
            ]
        );
        assert_eq!(
            (config.fail_fast, config.monitor_retry),
            (vec![404, 409], vec![503, 418])
        );
        assert_eq!(config.most_retries[&503], 2);
        assert_eq!(config.statuses["DONE"], Status::Succeeded);
        assert_eq!(config.statuses["FAILED"], Status::Terminal);
        assert_eq!(config.statuses.len(), 3);
        assert_eq!(config.wait_before_monitor_seconds, 3);
        assert_eq!(config.cancel.unwrap().method, Method::Delete);
    }

    #[test]
    fn defaults_are_spinnakers() {
        let config = of(json!({"url": "https://h.example.com"})).unwrap();
        assert_eq!((config.method, config.fail_fast), (Method::Post, vec![504]));
        assert_eq!(config.status_url, StatusUrl::GetMethod);
        assert!(!config.wait_for_completion && config.cancel.is_none());
        let silent = json!({"url": "u", "cancelEndpoint": "c", "signalCancellation": false});
        assert!(of(silent).unwrap().cancel.is_none());
    }

    #[test]
    fn what_cannot_work_is_told_with_its_field() {
        for (context, field) in [
            (json!({}), "url"),
            (json!({"url": "u", "method": "BREW"}), "method"),
            (
                json!({"url": "u", "statusUrlResolution": "magic"}),
                "statusUrlResolution",
            ),
            (json!({"url": "u", "monitorOnly": true}), "monitorOnly"),
            (
                json!({"url": "u", "failFastStatusCodes": ["many"]}),
                "failFastStatusCodes",
            ),
            (
                json!({"url": "u", "customHeaders": {"x": {}}}),
                "customHeaders.x",
            ),
            (
                json!({"url": "u", "waitBeforeMonitor": "soon"}),
                "waitBeforeMonitor",
            ),
        ] {
            let error = of(context).unwrap_err();
            assert!(
                matches!(&error, StageError::InvalidConfiguration { field: found, .. } if found == field),
                "{error}"
            );
        }
    }
}
