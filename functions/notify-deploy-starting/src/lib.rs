#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_evaluate_deployment_health::monitor::{self, Asked, Directive, Event, Monitors};
use gennaker_http::Http;
use gennaker_lambda::{Connection, Invocation, Stage, StageError, Step};
use serde_json::json;

/// Tells a deployment monitor that a deployment begins.
pub struct NotifyDeployStarting {
    monitors: Monitors,
}

impl NotifyDeployStarting {
    /// Over this way out.
    #[must_use]
    pub fn new(http: Arc<dyn Http>) -> Self {
        Self {
            monitors: Monitors::new(http),
        }
    }

    /// To addresses that this installation allows.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self::new(Arc::new(gennaker_lambda::internet()))
    }
}

#[async_trait]
impl Stage for NotifyDeployStarting {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match monitor::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let definition = self.monitors.definition(invocation).await?;
        let more = json!({ "currentProgress": 0 });
        let asked = self
            .monitors
            .ask(invocation, &definition, Event::Starting, &more)
            .await?;
        Ok(match asked {
            Asked::Again(step) | Asked::Gave(step) => step,
            Asked::Answered(answer) if answer.directive == Directive::Abort => {
                Step::failed(format!(
                    "deployment monitor `{}` says abort: {}",
                    definition.name, answer.message
                ))
            }
            Asked::Answered(_) => Step::succeeded(),
        })
    }
}
