#![doc = include_str!("../README.md")]

pub mod arrivals;
pub mod hearing;
mod scheduled;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::registry::{AwsRegistry, Repository};
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_cloud::{CloudError, Functions, Registry, Store};
use gennaker_domain::ExecutionId;
use gennaker_lambda::{Connection, Function, FunctionError, metric, setting};
use gennaker_triggers::artifact::{Artifact, ExpectedArtifact, any_matches};
use gennaker_triggers::event::Event;
use gennaker_triggers::index::{ecr_key, event_keys};
use gennaker_triggers::template;
use serde_json::{Value, json};

use arrivals::{Arrival, Part, Reading};
use hearing::{Answer, answers};

/// Bytes of a trigger that an execution can carry: an item of DynamoDB has 400 KB at most, and what the artifacts are bound
/// to comes on top.
const MOST_TRIGGER_BYTES: usize = 300_000;

/// Turns events into executions.
pub struct Trigger {
    store: Store,
    registry: Arc<dyn Registry>,
    functions: Arc<dyn Functions>,
    prefix: String,
    shared_secret: Option<String>,
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
            shared_secret: None,
        }
    }

    /// With the secret (or the reference to it) of git triggers that have none of their own. It is compared with what
    /// `receive-webhook` vouches for, and never read.
    #[must_use]
    pub fn with_shared_secret(mut self, configured: Option<String>) -> Self {
        self.shared_secret = configured;
        self
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
        .with_shared_secret(setting("GIT_SHARED_SECRET"))
    }

    /// One call: starts every pipeline with a trigger that matches, once for each event. Messages of SQS that failed are
    /// named in `batchItemFailures`; the others of their batch are done.
    ///
    /// # Errors
    /// `InvalidConfiguration` for an event that cannot be read; those of the table, of ECR and of Lambda, after which
    /// the same event again starts what was not started and nothing twice.
    pub async fn trigger(&self, event: &Value) -> Result<Value, FunctionError> {
        let parts = arrivals::read(event);
        let is_queue = parts.iter().any(|part| part.message.is_some());
        let mut started = Vec::new();
        let mut reasons = Vec::new();
        let mut failures = Vec::new();
        for Part { message, reading } in parts {
            let answer = match reading {
                Ok(Reading::NothingToDo(reason)) => Ok(Err(reason)),
                Ok(Reading::Arrival(arrival)) => self.hear(*arrival).await,
                Err(error) => Err(FunctionError::Invalid(error)),
            };
            match (answer, message) {
                (Ok(Ok(found)), _) => started.extend(found),
                (Ok(Err(reason)), _) => reasons.push(reason),
                (Err(error), Some(message)) => {
                    // Again until the queue's `maxReceiveCount`, then among its dead letters.
                    tracing::warn!(message, reason = %error, "a message failed");
                    failures.push(json!({ "itemIdentifier": message }));
                }
                (Err(error), None) => return Err(error),
            }
        }
        if is_queue {
            return Ok(json!({ "batchItemFailures": failures }));
        }
        let mut answer = json!({ "started": started });
        if let (Some(reason), Some(answer)) = (reasons.pop(), answer.as_object_mut()) {
            tracing::info!(reason, "nothing to do");
            answer.insert("reason".to_owned(), reason.into());
        }
        Ok(answer)
    }

    /// Starts what an event matches: ids of executions, or why there are none.
    async fn hear(&self, arrival: Arrival) -> Result<Result<Vec<String>, String>, FunctionError> {
        let Arrival {
            mut event,
            at,
            id: event_id,
            vouchers,
        } = arrival;
        let entries = self.entries(&event).await?;
        if entries.is_empty() {
            return Ok(Err("no trigger hears it".to_owned()));
        }
        if let Some(digest) = self.digest_that_is_missing(&event).await?
            && let Some(content) = &mut event.content
        {
            content.insert("digest".to_owned(), digest.into());
        }
        self.name_artifacts(&mut event).await?;
        let mut started: Vec<String> = Vec::new();
        let shared = self.shared_secret.as_deref();
        for (entry, answer) in answers(&event, &event_id, &vouchers, shared, entries) {
            let answer = self.expects(&entry, answer).await?;
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
            if content.len() > MOST_TRIGGER_BYTES {
                metric::count("TriggersTooLarge", &[], at);
                tracing::error!(
                    application = entry.application,
                    pipeline = entry.pipeline_id,
                    bytes = content.len(),
                    "not started: an execution carries at most {MOST_TRIGGER_BYTES} bytes of its trigger"
                );
                continue;
            }
            let id =
                ExecutionId::derive(at, &[&event_id, &entry.pipeline_id, &content]).to_string();
            if started.contains(&id) {
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
            started.push(id);
        }
        Ok(Ok(started))
    }

    /// The triggers that could hear an event: one look-up, however many pipelines there are.
    async fn entries(&self, event: &Event) -> Result<Vec<TriggerEntry>, CloudError> {
        let keys = ecr_key(event).map_or_else(|| event_keys(event), |key| vec![key]);
        let mut entries = Vec::new();
        for key in keys {
            entries.extend(self.store.triggers(&key).await?);
        }
        Ok(entries)
    }

    /// The answer with regard to the artifacts that the trigger waits for: the pipeline says what they are. It is read
    /// only for a trigger that matches otherwise.
    async fn expects(&self, entry: &TriggerEntry, answer: Answer) -> Result<Answer, CloudError> {
        let ids = answer.expected_artifact_ids.as_deref();
        if !answer.matched || ids.is_none_or(<[_]>::is_empty) {
            return Ok(answer);
        }
        let expected = match self.expected_artifacts(entry).await? {
            Ok(expected) => expected,
            Err(reason) => return Ok(answer.refused(reason)),
        };
        Ok(match any_matches(&answer.artifacts, ids, &expected) {
            Ok(true) => answer,
            Ok(false) => {
                answer.refused("none of the event's artifacts is one that the trigger expects")
            }
            Err(error) => answer.refused(error.to_string()),
        })
    }

    async fn expected_artifacts(
        &self,
        entry: &TriggerEntry,
    ) -> Result<Result<Vec<ExpectedArtifact>, String>, CloudError> {
        let pipeline = self
            .store
            .pipeline(&entry.application, &entry.pipeline_id)
            .await?;
        let Some(pipeline) = pipeline.filter(|pipeline| !pipeline.deleted) else {
            return Ok(Err("the pipeline is gone".to_owned()));
        };
        let Some(plan) = self.store.plan(&pipeline.plan_hash).await? else {
            return Ok(Err("the plan of the pipeline is gone".to_owned()));
        };
        Ok(plan
            .expected_artifacts
            .iter()
            .map(ExpectedArtifact::read)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the pipeline's expected artifacts cannot be read: {error}")))
    }

    /// Adds the artifacts that the message format of a message's subscription makes of it. One that makes nothing of it
    /// says so in the log: the message is what it is.
    async fn name_artifacts(&self, event: &mut Event) -> Result<(), CloudError> {
        let message = event
            .content
            .as_mut()
            .and_then(|content| content.get_mut("messageDescription"));
        let (Some(message), Some(payload)) = (message, &event.payload) else {
            return Ok(());
        };
        let Some(subscription) = message.get("subscriptionName").and_then(Value::as_str) else {
            return Ok(());
        };
        let Some(template) = self.store.message_format(subscription).await? else {
            return Ok(());
        };
        match template::artifacts(&template, &Value::Object(payload.clone()).to_string()) {
            Ok(made) => {
                if let Some(Value::Array(named)) = message.get_mut("artifacts") {
                    named.extend(made.iter().map(Artifact::to_json));
                }
            }
            Err(error) => {
                tracing::warn!(subscription, reason = %error, "its message format makes no artifacts");
            }
        }
        Ok(())
    }

    /// The digest of an image that was pushed to ECR, where the event does not say it. None where ECR knows none (the
    /// image is gone, or the repository belongs to an account that shows us nothing): the tag has to do.
    async fn digest_that_is_missing(&self, event: &Event) -> Result<Option<String>, CloudError> {
        let content = event.content.as_ref();
        let text = |field: &str| content?.get(field)?.as_str().map(str::to_owned);
        let (Some(key), None, Some(tag)) = (ecr_key(event), text("digest"), text("tag")) else {
            return Ok(None);
        };
        let mut parts = key
            .trim_start_matches("ecr#")
            .splitn(3, '/')
            .map(str::to_owned);
        let (Some(account), Some(region), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        let repository = Repository {
            account,
            region,
            name,
        };
        match self.registry.digest(&repository, &tag).await {
            Err(error) if !error.is_passing() => {
                tracing::warn!(repository = repository.name, reason = %error, "the image is not pinned");
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
