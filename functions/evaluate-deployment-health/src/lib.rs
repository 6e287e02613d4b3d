#![doc = include_str!("../README.md")]

pub mod monitor;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_domain::error_name::Poll;
use gennaker_http::Http;
use gennaker_lambda::{Connection, Invocation, Stage, StageError, Step};
use serde_json::{Map, json};

use crate::monitor::{Asked, Directive, Event, Monitors};

/// Asks a deployment monitor how the new instances are.
pub struct EvaluateDeploymentHealth {
    monitors: Monitors,
}

impl EvaluateDeploymentHealth {
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
impl Stage for EvaluateDeploymentHealth {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match monitor::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let definition = self.monitors.definition(invocation).await?;
        let limit = definition.max_analysis_minutes.saturating_mul(60_000);
        if invocation.spent() > limit {
            let reason = format!(
                "deployment monitor `{}` has not decided after {} minutes",
                definition.name, definition.max_analysis_minutes
            );
            return Ok(if definition.fail_on_error {
                Step::failed(reason)
            } else {
                monitor::went_on(&reason)
            });
        }
        let progress = context.get("currentProgress").cloned();
        let more = json!({ "currentProgress": progress });
        let asked = self
            .monitors
            .ask(invocation, &definition, Event::EvaluateHealth, &more)
            .await?;
        let answer = match asked {
            Asked::Answered(answer) => answer,
            Asked::Again(step) | Asked::Gave(step) => return Ok(step),
        };
        Ok(match answer.directive {
            Directive::Continue => Step::succeeded(),
            Directive::Complete => Step::Succeeded {
                outputs: Map::from_iter([("skipToPercentage".to_owned(), 100.into())]),
                context: Map::new(),
            },
            Directive::Abort => Step::failed(format!(
                "deployment monitor `{}` says abort: {}",
                definition.name, answer.message
            )),
            Directive::Wait | Directive::Unspecified => Step::Waiting {
                reason: format!(
                    "deployment monitor `{}`: {}",
                    definition.name, answer.message
                ),
                memory: Map::new(),
                poll: Some(Poll::OneMinute),
            },
        })
    }
}
