#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_evaluate_deployment_health::monitor::{self, Asked, Event, Monitors};
use gennaker_http::Http;
use gennaker_lambda::{Connection, Invocation, Stage, StageError, Step};
use serde_json::{Value, json};

/// Tells a deployment monitor that a deployment is over.
pub struct NotifyDeployCompleted {
    monitors: Monitors,
}

impl NotifyDeployCompleted {
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
impl Stage for NotifyDeployCompleted {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match monitor::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let definition = self.monitors.definition(invocation).await?;
        let failed = context.get("hasDeploymentFailed") == Some(&Value::Bool(true));
        let more = json!({
            "status": if failed { "failure" } else { "success" },
            "rollback": if failed { "automatic" } else { "not_requested" },
        });
        let asked = self
            .monitors
            .ask(invocation, &definition, Event::Completed, &more)
            .await?;
        Ok(match asked {
            Asked::Again(step) | Asked::Gave(step) => step,
            // It is over: whatever the monitor answers changes nothing.
            Asked::Answered(_) => Step::succeeded(),
        })
    }
}
