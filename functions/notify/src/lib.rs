#![doc = include_str!("../README.md")]

pub mod message;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::notification::AwsNotifications;
use gennaker_cloud::{CloudError, Condition, Key, Notifications, Store, Write};
use gennaker_domain::ExecutionId;
use gennaker_lambda::{Connection, Function, FunctionError};
use serde_json::{Value, json};

use message::{Wanted, message, wanted};

/// How long one invocation has a message for itself: longer than a call to SNS takes.
const CLAIM_MILLIS: i64 = 60_000;

/// Tells people.
pub struct Notify {
    store: Store,
    notifications: Arc<dyn Notifications>,
}

impl Notify {
    /// On a store and topics.
    pub fn new(store: Store, notifications: Arc<dyn Notifications>) -> Self {
        Self {
            store,
            notifications,
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsNotifications::new(connection)),
        )
    }

    /// One occasion: `{"execution","when","run"?,"stage"?}`.
    ///
    /// # Errors
    /// What may pass: Lambda calls again, and what was sent is not sent again. A topic that refuses is logged.
    pub async fn notify(&self, event: &Value, now: i64) -> Result<Value, FunctionError> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let (Some(id), Some(when)) = (text("execution"), text("when")) else {
            return Err(FunctionError::Invalid(
                "the event has no `execution` and `when`".to_owned(),
            ));
        };
        let id = ExecutionId::try_from(id.to_owned())
            .map_err(|error| FunctionError::Invalid(error.to_string()))?;
        let Some(execution) = self.store.execution(&id).await? else {
            return Ok(json!({ "sent": 0 }));
        };
        let Some(plan) = self.store.plan(&execution.plan_hash).await? else {
            return Ok(json!({ "sent": 0 }));
        };
        let run = event
            .get("run")
            .and_then(Value::as_u64)
            .unwrap_or_else(|| u64::from(execution.run));
        let mut sent = 0;
        for (index, setting) in plan.notifications.iter().enumerate() {
            let topic = match wanted(setting, when) {
                Wanted::Topic(topic) => topic,
                Wanted::Not => continue,
                Wanted::NotBuilt(kind) => {
                    tracing::warn!(execution = %id, kind, "notifications of this type are not built yet");
                    continue;
                }
            };
            let name = format!(
                "NOTIFIED#{run}#{when}#{}#{index}",
                text("stage").unwrap_or("")
            );
            let key = Key::new(Key::execution_partition(&id), name.clone());
            if !self.claim(&key, now).await? {
                continue;
            }
            let message = message(
                &execution,
                setting,
                when,
                text("stage"),
                &format!("{id}/{name}"),
            );
            match self.notifications.publish(topic, &message).await {
                Ok(()) => {
                    sent += 1;
                    self.mark(&key, "sent").await?;
                }
                Err(error) if error.is_passing() => {
                    self.release(&key).await?;
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::error!(execution = %id, topic, reason = %error, "the topic refused the message");
                    self.mark(&key, "refused").await?;
                }
            }
        }
        Ok(json!({ "sent": sent }))
    }

    /// Takes a message for this invocation. False if it was sent, or another invocation sends it now.
    async fn claim(&self, key: &Key, now: i64) -> Result<bool, CloudError> {
        let mut set = serde_json::Map::new();
        set.insert(
            "claimedUntil".to_owned(),
            now.saturating_add(CLAIM_MILLIS).into(),
        );
        let write = Write::set(key.clone(), set)
            .only_if(Condition::Absent("outcome".to_owned()))
            .only_if(Condition::Any(vec![
                Condition::Absent("claimedUntil".to_owned()),
                Condition::LessThan("claimedUntil".to_owned(), now),
            ]));
        match self.store.table().write(write).await {
            Ok(()) => Ok(true),
            Err(CloudError::ConditionFailed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self, key: &Key) -> Result<(), CloudError> {
        let write = Write::set(key.clone(), serde_json::Map::new()).removing("claimedUntil");
        self.store.table().write(write).await
    }

    async fn mark(&self, key: &Key, outcome: &str) -> Result<(), CloudError> {
        let mut set = serde_json::Map::new();
        set.insert("outcome".to_owned(), outcome.into());
        self.store.table().write(Write::set(key.clone(), set)).await
    }
}

#[async_trait]
impl Function for Notify {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        self.notify(&event, now).await
    }
}
