#![doc = include_str!("../README.md")]

pub mod event;
pub mod matching;
mod scheduled;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::registry::{AwsRegistry, Repository};
use gennaker_cloud::{CloudError, Functions, Registry, Store};
use gennaker_domain::ExecutionId;
use gennaker_lambda::{Connection, Function, FunctionError};
use serde_json::{Value, json};

use event::{Event, ImagePush, Reading};
use matching::matches;

/// Turns events into executions.
pub struct Trigger {
    store: Store,
    registry: Arc<dyn Registry>,
    functions: Arc<dyn Functions>,
    prefix: String,
}

impl Trigger {
    /// On a store, a registry and the functions of an installation.
    pub fn new(
        store: Store,
        registry: Arc<dyn Registry>,
        functions: Arc<dyn Functions>,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            store,
            registry,
            functions,
            prefix: prefix.into(),
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsRegistry::new(connection)),
            Arc::new(AwsFunctions::new(connection)),
            gennaker_lambda::prefix(),
        )
    }

    /// One event: starts every pipeline with a trigger that matches, once.
    ///
    /// # Errors
    /// `InvalidConfiguration` for an event that cannot be read; those of the table, of ECR and of Lambda, after which
    /// the same event again starts what was not started and nothing twice.
    pub async fn trigger(&self, event: &Value) -> Result<Value, FunctionError> {
        match event::read(event).map_err(FunctionError::Invalid)? {
            Reading::Irrelevant(reason) => {
                tracing::info!(reason, "nothing to do");
                Ok(json!({ "started": [], "reason": reason }))
            }
            Reading::Event(Event::ImagePush(push)) => self.image_push(push).await,
        }
    }

    async fn image_push(&self, mut push: ImagePush) -> Result<Value, FunctionError> {
        let entries = self.store.triggers(&push.index_key()).await?;
        if entries.is_empty() {
            return Ok(json!({ "started": [], "reason": "no trigger hears this repository" }));
        }
        if push.digest.is_none() {
            push.digest = self.digest(&push).await?;
        }
        let at = push.at;
        let event_id = push.event_id.clone();
        let event = Event::ImagePush(push);
        let mut started: Vec<String> = Vec::new();
        for entry in entries {
            let answer = matches(&entry.trigger, &event);
            tracing::info!(
                application = entry.application,
                pipeline = entry.pipeline_id,
                trigger = entry.index,
                matched = answer.matched,
                reason = answer.reason,
                "trigger"
            );
            if !answer.matched {
                continue;
            }
            let content = answer.resolved.to_string();
            let id = ExecutionId::derive(at, &[&event_id, &entry.pipeline_id, &content]);
            if started.contains(&id.to_string()) {
                continue;
            }
            let payload = json!({
                "executionId": id,
                "application": entry.application,
                "pipeline": entry.pipeline_id,
                "trigger": answer.resolved,
            });
            self.functions
                .invoke_later(&function_name(&self.prefix, "start"), &payload)
                .await?;
            started.push(id.to_string());
        }
        Ok(json!({ "started": started }))
    }

    /// The digest of the pushed image. None where ECR knows none (the image is gone, or the repository belongs to an
    /// account that shows us nothing): the tag has to do.
    async fn digest(&self, push: &ImagePush) -> Result<Option<String>, CloudError> {
        let repository = Repository {
            account: push.account.clone(),
            region: push.region.clone(),
            name: push.repository.clone(),
        };
        match self.registry.digest(&repository, &push.tag).await {
            Err(error) if !error.is_passing() => {
                tracing::warn!(repository = push.repository, reason = %error, "the image is not pinned");
                Ok(None)
            }
            other => other,
        }
    }
}

#[async_trait]
impl Function for Trigger {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        match scheduled::Fired::read(&event) {
            Some(fired) => self.scheduled(fired, now).await,
            None => self.trigger(&event).await,
        }
    }
}
