//! Answers of a webhook as Spinnaker keeps them, and what each means.

use gennaker_domain::Status;
use gennaker_http::Response;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::json_path::{self, PathError};

/// Bytes of an answer that the stage's record keeps: records have 400 KB, and a stage has two answers.
const KEPT_BYTES: usize = 64 * 1024;
/// Headers that are not kept: a session's secret.
const NOT_KEPT: [&str; 3] = ["set-cookie", "set-cookie2", "authorization"];

/// Spring's name of a status code, as Spinnaker's `statusCode` has it.
#[must_use]
pub fn status_name(code: u16) -> String {
    let name = match code {
        200 => "OK",
        201 => "CREATED",
        202 => "ACCEPTED",
        203 => "NON_AUTHORITATIVE_INFORMATION",
        204 => "NO_CONTENT",
        205 => "RESET_CONTENT",
        206 => "PARTIAL_CONTENT",
        300 => "MULTIPLE_CHOICES",
        301 => "MOVED_PERMANENTLY",
        302 => "FOUND",
        303 => "SEE_OTHER",
        304 => "NOT_MODIFIED",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        400 => "BAD_REQUEST",
        401 => "UNAUTHORIZED",
        402 => "PAYMENT_REQUIRED",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        405 => "METHOD_NOT_ALLOWED",
        406 => "NOT_ACCEPTABLE",
        407 => "PROXY_AUTHENTICATION_REQUIRED",
        408 => "REQUEST_TIMEOUT",
        409 => "CONFLICT",
        410 => "GONE",
        411 => "LENGTH_REQUIRED",
        412 => "PRECONDITION_FAILED",
        413 => "PAYLOAD_TOO_LARGE",
        414 => "URI_TOO_LONG",
        415 => "UNSUPPORTED_MEDIA_TYPE",
        416 => "REQUESTED_RANGE_NOT_SATISFIABLE",
        417 => "EXPECTATION_FAILED",
        418 => "I_AM_A_TEAPOT",
        422 => "UNPROCESSABLE_ENTITY",
        423 => "LOCKED",
        424 => "FAILED_DEPENDENCY",
        425 => "TOO_EARLY",
        426 => "UPGRADE_REQUIRED",
        428 => "PRECONDITION_REQUIRED",
        429 => "TOO_MANY_REQUESTS",
        431 => "REQUEST_HEADER_FIELDS_TOO_LARGE",
        451 => "UNAVAILABLE_FOR_LEGAL_REASONS",
        500 => "INTERNAL_SERVER_ERROR",
        501 => "NOT_IMPLEMENTED",
        502 => "BAD_GATEWAY",
        503 => "SERVICE_UNAVAILABLE",
        504 => "GATEWAY_TIMEOUT",
        505 => "HTTP_VERSION_NOT_SUPPORTED",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// An answer, read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Status code.
    pub code: u16,
    /// The whole body: JSON if it is, otherwise its text.
    pub body: Value,
    /// Names as HTTP usually writes them (`Content-Type`), each with its first value.
    pub headers: Map<String, Value>,
    /// The address that answered.
    pub url: String,
}

/// `Content-Type` of `content-type`.
fn usual_name(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut characters = word.chars();
            characters.next().map_or_else(String::new, |first| {
                first.to_ascii_uppercase().to_string() + characters.as_str()
            })
        })
        .collect::<Vec<_>>()
        .join("-")
}

/// The value with every occurrence of a secret hidden: servers echo what they are sent.
fn hidden(value: &mut Value, secrets: &[String]) {
    match value {
        Value::String(text) => {
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                if text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), "***");
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hidden(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|item| hidden(item, secrets)),
        _ => {}
    }
}

impl Answer {
    /// Of a response; `secrets` are hidden in it.
    #[must_use]
    pub fn of(response: &Response, secrets: &[String]) -> Self {
        let text = response.text();
        let mut body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        hidden(&mut body, secrets);
        let mut headers = Map::new();
        for (name, value) in &response.headers {
            if !NOT_KEPT.contains(&name.to_ascii_lowercase().as_str()) {
                headers
                    .entry(usual_name(name))
                    .or_insert_with(|| value.as_str().into());
            }
        }
        let mut headers = Value::Object(headers);
        hidden(&mut headers, secrets);
        Self {
            code: response.status,
            body,
            headers: match headers {
                Value::Object(headers) => headers,
                _ => Map::new(),
            },
            url: response.url.clone(),
        }
    }

    /// What the stage's context keeps of it.
    #[must_use]
    pub fn kept(&self) -> Map<String, Value> {
        let length = self.body.to_string().len();
        let body = if length > KEPT_BYTES {
            format!("… {length} bytes, which is more than a stage keeps").into()
        } else {
            self.body.clone()
        };
        Map::from_iter([
            ("statusCode".to_owned(), status_name(self.code).into()),
            ("statusCodeValue".to_owned(), self.code.into()),
            ("headers".to_owned(), Value::Object(self.headers.clone())),
            ("body".to_owned(), body),
        ])
    }

    /// As JSON, for the record of an answer.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "code": self.code, "body": self.body, "headers": self.headers, "url": self.url })
    }

    /// Of what [`Self::to_json`] wrote.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            code: u16::try_from(value.get("code")?.as_u64()?).ok()?,
            body: value.get("body")?.clone(),
            headers: value.get("headers")?.as_object()?.clone(),
            url: value.get("url")?.as_str()?.to_owned(),
        })
    }

    /// Artifacts that the body lists.
    #[must_use]
    pub fn artifacts(&self) -> Option<Vec<Value>> {
        let artifacts = self.body.get("artifacts")?.as_array()?;
        Some(
            artifacts
                .iter()
                .filter(|artifact| artifact.is_object())
                .cloned()
                .collect(),
        )
    }
}

/// What an answer's status code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went well.
    Accepted,
    /// The same request again, later.
    Again(String),
    /// The stage fails.
    Failed(String),
}

/// Whether the code is one that is tried again. `past` are the codes of the tries before.
fn is_retried(config: &Config, also: &[u16], code: u16, past: &[u16]) -> bool {
    if let Some(most) = config.most_retries.get(&code) {
        let so_far = past.iter().filter(|known| **known == code).count();
        return u64::try_from(so_far).is_ok_and(|so_far| so_far < *most);
    }
    code == 429 || (500..600).contains(&code) || also.contains(&code)
}

/// What the answer to the call means.
#[must_use]
pub fn of_call(config: &Config, code: u16, past: &[u16]) -> Verdict {
    if config.fail_fast.contains(&code) {
        Verdict::Failed(format!(
            "received a status code configured to fail fast, terminating stage: {code}"
        ))
    } else if (200..400).contains(&code) {
        Verdict::Accepted
    } else if is_retried(config, &config.call_retry, code, past) {
        Verdict::Again(format!("the webhook answered {code}; it is called again"))
    } else {
        Verdict::Failed(format!("the webhook answered {code}"))
    }
}

/// What the code of a look at the job means.
#[must_use]
pub fn of_look(config: &Config, code: u16, past: &[u16]) -> Verdict {
    if (200..400).contains(&code) {
        Verdict::Accepted
    } else if is_retried(config, &config.monitor_retry, code, past) {
        Verdict::Again(format!(
            "failed to get webhook status: it answered {code}, will retry"
        ))
    } else {
        Verdict::Failed(format!(
            "an exception occurred in webhook monitor: it answered {code}"
        ))
    }
}

/// How a job goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// RUNNING, SUCCEEDED, CANCELED or TERMINAL.
    pub status: Status,
    /// What the status was read from.
    pub resolved: Value,
    /// 0 to 100, where the status is a number.
    pub percent: Option<Value>,
    /// What a person reads meanwhile.
    pub progress: Option<String>,
    /// Why the status could not be read.
    pub error: Option<String>,
}

impl Job {
    fn unreadable(resolved: Value, error: String) -> Self {
        Self {
            status: Status::Terminal,
            resolved,
            percent: None,
            progress: None,
            error: Some(error),
        }
    }

    /// As an answer of the status's address tells it.
    #[must_use]
    pub fn of(config: &Config, body: &Value) -> Self {
        let path = &config.status_json_path;
        if path.is_empty() {
            return Self {
                status: Status::Succeeded,
                resolved: Value::Null,
                percent: None,
                progress: None,
                error: None,
            };
        }
        let resolved = match json_path::read(body, path) {
            Ok(resolved) => resolved,
            Err(error) => {
                return Self::unreadable(Value::Null, format!("Unable to parse status: {error}"));
            }
        };
        if !matches!(
            resolved,
            Value::String(_) | Value::Number(_) | Value::Bool(_)
        ) {
            let error = format!("The json path '{path}' did not resolve to a single value");
            return Self::unreadable(resolved, error);
        }
        let progress = match progress(config, body) {
            Ok(progress) => progress,
            Err(error) => return Self::unreadable(resolved, error),
        };
        let (status, percent) = match &resolved {
            Value::Number(number) if number.as_f64() == Some(100.0) => {
                (Status::Succeeded, Some(resolved.clone()))
            }
            Value::Number(_) => (Status::Running, Some(resolved.clone())),
            other => {
                let word = other
                    .as_str()
                    .map_or_else(|| other.to_string(), str::to_owned)
                    .trim()
                    .to_uppercase();
                let status = config.statuses.get(&word).copied();
                (status.unwrap_or(Status::Running), None)
            }
        };
        Self {
            status,
            resolved,
            percent,
            progress,
            error: None,
        }
    }

    /// What a person reads while it runs.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut text = match &self.percent {
            Some(percent) => format!("the job is at {percent} %"),
            None => format!("the job's status is {}", self.resolved),
        };
        if let Some(progress) = &self.progress {
            text.push_str(": ");
            text.push_str(progress);
        }
        text
    }
}

fn progress(config: &Config, body: &Value) -> Result<Option<String>, String> {
    let path = &config.progress_json_path;
    if path.is_empty() {
        return Ok(None);
    }
    match json_path::read(body, path) {
        Ok(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Ok(other) => Err(format!(
            "Progress json path '{path}' did not resolve to a String: {other}"
        )),
        Err(error @ PathError::NotFound { .. }) => {
            Err(format!("Unable to parse progress: {error}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: Value) -> Config {
        let mut context = json!({ "url": "https://h.example.com", "waitForCompletion": true });
        context
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Config::of(context.as_object().unwrap()).unwrap()
    }

    #[test]
    fn status_codes_mean_what_the_stage_says() {
        let plain = config(json!({}));
        for (code, accepted, again) in [
            (200, true, false),
            (204, true, false),
            (302, true, false),
            (400, false, false),
            (404, false, false),
            (429, false, true),
            (500, false, true),
            (503, false, true),
            (504, false, false),
        ] {
            let verdict = of_call(&plain, code, &[]);
            assert_eq!(
                (
                    verdict == Verdict::Accepted,
                    matches!(verdict, Verdict::Again(_))
                ),
                (accepted, again),
                "{code}"
            );
        }
        let own = config(json!({
            "failFastStatusCodes": [404, 201], "webhookRetryStatusCodes": [404, 418], "retryStatusCodes": [404],
            "retries": { "503": { "maxAttempts": 2 } },
        }));
        assert!(
            matches!(of_call(&own, 201, &[]), Verdict::Failed(_)),
            "also of a success"
        );
        assert!(
            matches!(of_call(&own, 404, &[]), Verdict::Failed(_)),
            "fail fast wins"
        );
        assert!(matches!(of_call(&own, 418, &[]), Verdict::Again(_)));
        assert!(
            matches!(of_call(&own, 504, &[]), Verdict::Again(_)),
            "the list replaces the default"
        );
        assert!(matches!(of_call(&own, 503, &[503, 500]), Verdict::Again(_)));
        assert!(matches!(
            of_call(&own, 503, &[503, 503]),
            Verdict::Failed(_)
        ));
        assert!(matches!(of_look(&own, 404, &[]), Verdict::Again(_)));
        assert!(matches!(of_look(&plain, 404, &[]), Verdict::Failed(_)));
        assert!(matches!(of_look(&plain, 504, &[]), Verdict::Again(_)));
    }

    #[test]
    fn a_job_is_read_from_its_status() {
        let named = config(json!({
            "statusJsonPath": "$.job.state", "progressJsonPath": "job.log",
            "successStatuses": "Done, approved", "canceledStatuses": "stopped", "terminalStatuses": "failed",
        }));
        for (state, status) in [
            (json!("DONE"), Status::Succeeded),
            (json!("Approved"), Status::Succeeded),
            (json!("stopped"), Status::Canceled),
            (json!("failed"), Status::Terminal),
            (json!("queued"), Status::Running),
            (json!(""), Status::Running),
            (json!(true), Status::Running),
            (json!(99), Status::Running),
            (json!(100), Status::Succeeded),
            (json!(100.0), Status::Succeeded),
        ] {
            let job = Job::of(
                &named,
                &json!({ "job": { "state": state, "log": "building" } }),
            );
            assert_eq!((job.status, job.error.clone()), (status, None), "{state}");
            assert_eq!(job.progress.as_deref(), Some("building"));
        }
        let percent = Job::of(&named, &json!({ "job": { "state": 40, "log": "" } }));
        assert_eq!(percent.reason(), "the job is at 40 %");
    }

    #[test]
    fn a_status_that_cannot_be_read_fails_the_stage() {
        let named = config(json!({ "statusJsonPath": "$.state", "progressJsonPath": "$.log" }));
        for (body, expected) in [
            (
                json!({}),
                "Unable to parse status: JSON property '$.state' not found",
            ),
            (json!("text"), "Unable to parse status"),
            (json!({ "state": {} }), "did not resolve to a single value"),
            (
                json!({ "state": null }),
                "did not resolve to a single value",
            ),
            (json!({ "state": "x" }), "Unable to parse progress"),
            (
                json!({ "state": "x", "log": 7 }),
                "did not resolve to a String",
            ),
        ] {
            let job = Job::of(&named, &body);
            assert_eq!(job.status, Status::Terminal, "{body}");
            assert!(
                job.error.as_deref().unwrap().contains(expected),
                "{body}: {job:?}"
            );
        }
        let blank = Job::of(&config(json!({})), &json!({}));
        assert_eq!(
            blank.status,
            Status::Succeeded,
            "without a path any answer is the end"
        );
    }

    #[test]
    fn secrets_and_cookies_are_not_kept() {
        let response = Response {
            status: 201,
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("set-cookie".to_owned(), "session".to_owned()),
                ("x-echo".to_owned(), "Bearer hunter2".to_owned()),
            ],
            body: br#"{"headers":{"Authorization":"Bearer hunter2"},"n":1}"#.to_vec(),
            url: "https://h.example.com/".to_owned(),
        };
        let kept = Answer::of(&response, &["hunter2".to_owned()]).kept();
        assert_eq!(
            Value::Object(kept),
            json!({
                "statusCode": "CREATED", "statusCodeValue": 201,
                "headers": { "Content-Type": "application/json", "X-Echo": "Bearer ***" },
                "body": { "headers": { "Authorization": "Bearer ***" }, "n": 1 },
            })
        );
    }

    #[test]
    fn a_long_answer_is_read_and_not_kept() {
        let response = Response {
            status: 200,
            headers: Vec::new(),
            body: json!({ "state": "done", "log": "x".repeat(KEPT_BYTES) })
                .to_string()
                .into_bytes(),
            url: String::new(),
        };
        let answer = Answer::of(&response, &[]);
        assert_eq!(answer.body["state"], "done");
        assert!(answer.kept()["body"].as_str().unwrap().len() < 100);
        assert_eq!(Answer::from_json(&answer.to_json()), Some(answer));
    }
}
