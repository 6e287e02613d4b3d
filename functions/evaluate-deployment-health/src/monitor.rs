//! A deployment monitor: who it is, what it is told, what it answers.

use std::sync::Arc;
use std::time::Duration;

use gennaker_cloud::DeploymentMonitor;
use gennaker_domain::deployment::facts;
use gennaker_domain::error_name::Poll;
use gennaker_http::{Http, Limits, Method, Request};
use gennaker_lambda::{Invocation, StageError, Step};
use gennaker_server_groups::config;
use serde_json::{Map, Value, json};

/// How often a monitor that does not answer is asked again.
const RETRIES: i64 = 3;
/// What an answer may have, in bytes.
const MOST_BYTES: usize = 256 * 1_024;
/// How long an answer may take.
const SECONDS: u64 = 20;

/// What the monitor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A deployment begins.
    Starting,
    /// A step is done: how are the new instances?
    EvaluateHealth,
    /// A deployment is over.
    Completed,
}

impl Event {
    const fn path(self) -> &'static str {
        match self {
            Self::Starting => "/deployment/starting",
            Self::EvaluateHealth => "/deployment/evaluateHealth",
            Self::Completed => "/deployment/completed",
        }
    }
}

/// What the monitor says is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// The deployment fails.
    Abort,
    /// The next step.
    Continue,
    /// Ask again.
    Wait,
    /// All that is left at once.
    Complete,
    /// It did not say.
    Unspecified,
}

/// The answer of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What is to be done.
    pub directive: Directive,
    /// Why.
    pub message: String,
}

/// Reads an answer.
#[must_use]
pub fn answer_of(body: &Value) -> Answer {
    let directive = body
        .get("nextStep")
        .and_then(|step| step.get("directive"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let message = body
        .get("statusReason")
        .and_then(|reason| reason.get("message"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    Answer {
        directive: match directive.to_ascii_lowercase().as_str() {
            "abort" => Directive::Abort,
            "continue" => Directive::Continue,
            "wait" => Directive::Wait,
            "complete" => Directive::Complete,
            _ => Directive::Unspecified,
        },
        message: message.chars().take(1_000).collect(),
    }
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The monitor answered.
    Answered(Answer),
    /// It did not, and the stage is not over for that.
    Again(Step),
    /// It never did: the stage ends so.
    Gave(Step),
}

/// Talks to the deployment monitors of an installation.
pub struct Monitors {
    http: Arc<dyn Http>,
}

fn text<'a>(context: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    context
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

impl Monitors {
    /// Over this way out.
    #[must_use]
    pub fn new(http: Arc<dyn Http>) -> Self {
        Self { http }
    }

    /// The monitor that the stage names; what the stage overrides wins.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] for one that has no record, and those of the table.
    pub async fn definition(
        &self,
        invocation: &Invocation<'_>,
    ) -> Result<DeploymentMonitor, StageError> {
        let empty = Map::new();
        let named = invocation
            .context
            .get("deploymentMonitor")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let id = text(named, "id").ok_or_else(|| {
            StageError::invalid(
                "deploymentMonitor.id",
                "the stage names no deployment monitor",
            )
        })?;
        let mut monitor = DeploymentMonitor::find(invocation.store(), id)
            .await?
            .ok_or_else(|| {
                StageError::invalid(
                    "deploymentMonitor.id",
                    format!(
                        "deployment monitor `{id}` is not known here; `gennaker monitor save` adds one"
                    ),
                )
            })?;
        let minutes = named
            .get("maxAnalysisMinutesOverride")
            .and_then(Value::as_i64)
            .filter(|minutes| *minutes > 0);
        if let Some(minutes) = minutes {
            monitor.max_analysis_minutes = minutes;
        }
        if let Some(fails) = named.get("failOnErrorOverride").and_then(Value::as_bool) {
            monitor.fail_on_error = fails;
        }
        Ok(monitor)
    }

    /// What the monitor is told about the deployment around this stage.
    #[must_use]
    pub fn payload(invocation: &Invocation<'_>, more: &Value) -> Value {
        let context = invocation.context;
        let get = |key: &str| context.get(key).cloned().unwrap_or(Value::Null);
        let deployment = facts::creating_stage(invocation.plan, &invocation.stage.ref_id)
            .map_or(invocation.stage.ref_id.as_str(), |stage| {
                stage.ref_id.as_str()
            });
        let execution = invocation.run.execution.as_str();
        let mut body = json!({
            "application": invocation.execution.application,
            "executionId": execution,
            "stageId": format!("{execution}/{}", invocation.stage.ref_id),
            "deploymentId": format!("{execution}/{deployment}"),
            "oldServerGroup": get("oldServerGroup"),
            "newServerGroup": get("newServerGroup"),
            "account": get("account"),
            "region": get("region"),
            "cloudProvider": get("cloudProvider"),
            "parameters": context
                .get("deploymentMonitor")
                .and_then(|monitor| monitor.get("parameters"))
                .cloned()
                .unwrap_or_else(|| json!({})),
        });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        body
    }

    /// Tells the monitor and reads its answer. A monitor that does not answer is asked three times more, a minute
    /// apart; then the stage fails if the monitor's record says so, and else goes on as if it had said "continue".
    ///
    /// # Errors
    /// None of its own: what goes wrong on the way is a [`Step`].
    pub async fn ask(
        &self,
        invocation: &Invocation<'_>,
        definition: &DeploymentMonitor,
        event: Event,
        more: &Value,
    ) -> Result<Asked, StageError> {
        let url = format!("{}{}", definition.base_url, event.path());
        let body = Self::payload(invocation, more).to_string();
        let request = Request::new(Method::Post, url)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body);
        let limits = Limits {
            total: Duration::from_secs(SECONDS),
            response_bytes: MOST_BYTES,
            ..Limits::default()
        };
        let trouble = match self.http.send(&request, &limits).await {
            Ok(response) if response.is_success() => {
                match serde_json::from_slice::<Value>(&response.body) {
                    Ok(body) => return Ok(Asked::Answered(answer_of(&body))),
                    // Told, and nothing to say.
                    Err(_) if response.body.is_empty() => {
                        return Ok(Asked::Answered(answer_of(&Value::Null)));
                    }
                    Err(error) => format!("its answer is not JSON: {error}"),
                }
            }
            Ok(response) => format!("it answered HTTP {}", response.status),
            Err(error) => error.to_string(),
        };
        let reason = format!("deployment monitor `{}`: {trouble}", definition.name);
        let tried = invocation
            .memory
            .get("deployMonitorHttpRetryCount")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        tracing::warn!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, reason, tried, "deployment monitor");
        if tried < RETRIES {
            return Ok(Asked::Again(Step::Waiting {
                reason,
                memory: Map::from_iter([(
                    "deployMonitorHttpRetryCount".to_owned(),
                    (tried + 1).into(),
                )]),
                poll: Some(Poll::OneMinute),
            }));
        }
        Ok(Asked::Gave(if definition.fail_on_error {
            Step::failed(reason)
        } else {
            went_on(&reason)
        }))
    }
}

/// The stage goes on without the monitor.
#[must_use]
pub fn went_on(reason: &str) -> Step {
    Step::Succeeded {
        outputs: Map::new(),
        context: Map::from_iter([("monitorFailed".to_owned(), reason.into())]),
    }
}

/// The context of a stage that talks to a monitor, completed by its deployment.
///
/// # Errors
/// The answer of a stage that is not to run.
#[allow(clippy::result_large_err)] // Once a call, and the answer is the call's own.
pub fn completed(invocation: &Invocation<'_>) -> Result<Map<String, Value>, Step> {
    config::completed(invocation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_read_in_any_case_and_anything_else_is_unspecified() {
        let directive = |name: &str| answer_of(&json!({"nextStep": {"directive": name}})).directive;
        assert_eq!(directive("CONTINUE"), Directive::Continue);
        assert_eq!(directive("abort"), Directive::Abort);
        assert_eq!(directive("explode"), Directive::Unspecified);
        assert_eq!(answer_of(&json!("text")).directive, Directive::Unspecified);
    }
}
