#![doc = include_str!("../README.md")]

pub mod address;
pub mod notification;
pub mod senders;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_cloud::{CloudError, Functions, Store};
use gennaker_http::{AwsSecrets, Secrets};
use gennaker_lambda::http_event::MOST_BYTES;
use gennaker_lambda::{
    Connection, Function, FunctionError, HttpAnswer, HttpEvent, internet, metric, setting,
};
use gennaker_triggers::delivery::Delivery;
use gennaker_triggers::event::Event;
use gennaker_triggers::inbound::{self, events};
use gennaker_triggers::index::{event_hash, event_keys};
use gennaker_triggers::webhook::Received;
use serde_json::{Map, Value, json};

use address::{Address, SNS, address};
use notification::{Kind, NotificationError, Topics};
use senders::{Configured, Senders, Signed};

/// How long an event is known by its id, or by its body where that is signed: 30 days.
const KNOWN_MILLIS: i64 = 30 * 24 * 3_600_000;

/// How long an event without an id and without a signature is the same as one of the same body: senders try again within
/// minutes, and a person who posts the same again later means it.
const SAME_BODY_MILLIS: i64 = 300_000;

/// Bytes of a notification: a message has 256 KiB at most, which may be twice as much in JSON.
const MOST_NOTIFICATION: usize = 600 * 1024;

/// Characters of a reason that the sender is told.
const MOST_MESSAGE: usize = 300;

/// Headers by which senders give a delivery an id.
const DELIVERY_IDS: [&str; 7] = [
    "x-github-delivery",
    "x-gitea-delivery",
    "x-gogs-delivery",
    "x-gitlab-event-uuid",
    "x-request-uuid",
    "x-request-id",
    "ce-id",
];

/// Takes webhooks from the internet.
pub struct ReceiveWebhook {
    store: Store,
    functions: Arc<dyn Functions>,
    senders: Senders,
    topics: Topics,
    prefix: String,
}

impl ReceiveWebhook {
    /// On a store, the functions of an installation, and secrets by reference, those of the installation among them.
    pub fn new(
        store: Store,
        functions: Arc<dyn Functions>,
        secrets: Arc<dyn Secrets>,
        configured: Configured,
        topics: Topics,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            store,
            functions,
            senders: Senders::new(secrets, configured),
            topics,
            prefix: prefix.into(),
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let table = DynamoDb::new(connection, gennaker_lambda::table_name());
        Self::new(
            Store::new(Arc::new(table)),
            Arc::new(AwsFunctions::new(connection)),
            Arc::new(AwsSecrets::new(connection)),
            Configured {
                git: setting("GIT_SHARED_SECRET"),
                token: setting("WEBHOOK_TOKEN"),
            },
            Topics::new(
                Arc::new(internet()),
                setting("ACCOUNT_ID").unwrap_or_default(),
            ),
            gennaker_lambda::prefix(),
        )
    }

    /// Answers one request. Every request gets an answer, whatever it holds.
    pub async fn answer(&self, event: &Value, now: i64) -> HttpAnswer {
        let request = match HttpEvent::read(event, MOST_BYTES) {
            Ok(request) => request,
            Err(error) => return counted("unknown", error.answer(), &error.to_string(), now),
        };
        let Some(address) = address(&request.path) else {
            let answer = HttpAnswer::error(404, "webhooks are posted to /webhooks/{type}/{source}");
            return counted("unknown", answer, "no such address", now);
        };
        if request.method != "POST" {
            let answer = HttpAnswer::error(405, "webhooks are posted").header("allow", "POST");
            return counted(&address.kind, answer, "no post", now);
        }
        let (answer, reason) = match self.webhook(&address, request, now).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(reason = %error, "the webhook was not taken");
                let answer = HttpAnswer::error(503, "try again").header("retry-after", "10");
                (answer, "a call failed".to_owned())
            }
        };
        counted(&address.kind, answer, &reason, now)
    }

    /// The answer, and for the log why.
    async fn webhook(
        &self,
        address: &Address,
        request: HttpEvent,
        now: i64,
    ) -> Result<(HttpAnswer, String), CloudError> {
        let Address { kind, source } = address;
        if kind == SNS {
            return self.notification(source, &request, now).await;
        }
        if was_altered(&request) {
            let message = "the body is not UTF-8";
            return Ok((HttpAnswer::error(400, message), message.to_owned()));
        }
        if inbound::TYPES.contains(&kind.as_str())
            && !self.senders.knows_token(&request, now).await?
        {
            let message = "the request does not hold the token of the installation";
            return Ok((HttpAnswer::error(401, message), message.to_owned()));
        }
        let received = match events(kind, source, &request.headers, &body(kind, &request)) {
            Ok(received) => received,
            Err(refused) => {
                // The reason may quote the body: the sender reads it, the log does not.
                let message: String = refused.to_string().chars().take(MOST_MESSAGE).collect();
                let answer = HttpAnswer::error(refused.status(), &message);
                return Ok((answer, "it cannot be read".to_owned()));
            }
        };
        let events: Vec<Box<Event>> = received
            .into_iter()
            .filter_map(|one| match one {
                Received::Event(event) => Some(event),
                Received::NothingToDo(_) => None,
            })
            .collect();
        let Some(mut event) = events.first().cloned() else {
            return Ok((processed(None), "nothing to do".to_owned()));
        };
        let heard_by = self.heard_by(&events).await?;
        if heard_by.is_empty() {
            let id = event.event_id.clone();
            return Ok((processed(id), "no trigger hears it".to_owned()));
        }
        // A signature is one of the body: another id in a header does not make it another event.
        let signed_id = body_id(kind, source, &request.body);
        let signed = self
            .senders
            .signed(&request, &heard_by, &signed_id, now)
            .await?;
        let (vouchers, window) = match signed {
            Signed::Wrong(error) => {
                let answer = HttpAnswer::error(401, &error.to_string());
                return Ok((answer, error.to_string()));
            }
            Signed::By(vouchers) => {
                event.event_id = Some(signed_id.clone());
                (vouchers, KNOWN_MILLIS)
            }
            Signed::NotAsked => (Vec::new(), window(&request, &event)),
        };
        let at = self
            .store
            .first_seen(&event_hash(&event), window, now)
            .await?;
        let delivery = Delivery {
            kind: kind.clone(),
            source: source.clone(),
            body: body(kind, &request).into_owned(),
            headers: request.headers,
            event_id: (!vouchers.is_empty()).then_some(signed_id),
            at,
            vouchers,
        };
        let payload = match delivery.to_json() {
            Ok(payload) => payload,
            Err(error) => {
                return Ok((
                    HttpAnswer::error(413, &error.to_string()),
                    error.to_string(),
                ));
            }
        };
        // Lambda keeps it from here on: only now is it accepted.
        self.functions
            .invoke_later(&function_name(&self.prefix, "trigger"), &payload)
            .await?;
        Ok((processed(event.event_id), "handed on".to_owned()))
    }

    /// A message of a topic that is subscribed over HTTPS: confirmed, or handed on as Lambda would hand it to `trigger`. Its
    /// attributes are left out: SNS does not sign them.
    async fn notification(
        &self,
        topic: &str,
        request: &HttpEvent,
        now: i64,
    ) -> Result<(HttpAnswer, String), CloudError> {
        let refused = |error: &NotificationError| {
            let answer = HttpAnswer::error(error.status(), &error.to_string());
            Ok((answer, error.to_string()))
        };
        if request.body.len() > MOST_NOTIFICATION {
            let message = "the body is larger than a message of SNS";
            return Ok((HttpAnswer::error(413, message), message.to_owned()));
        }
        // The reader's own bound on nesting is 128.
        let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let kind = match self.topics.kind(&message, now).await {
            Ok(kind) => kind,
            Err(error) => return refused(&error),
        };
        let arn = message.get("TopicArn").and_then(Value::as_str);
        if arn.and_then(|arn| arn.rsplit(':').next()) != Some(topic) {
            return refused(&NotificationError::ForeignTopic);
        }
        let id = message.get("MessageId").and_then(Value::as_str);
        match kind {
            Kind::Confirmation(address) => {
                let confirmed = self.topics.confirm(&address).await;
                if !matches!(confirmed, Ok(true)) {
                    let message = "the subscription could not be confirmed";
                    return Ok((HttpAnswer::error(503, message), message.to_owned()));
                }
                Ok((processed(None), "confirmed".to_owned()))
            }
            Kind::Other => Ok((processed(None), "nothing to do".to_owned())),
            Kind::Notification => {
                let fields = [
                    "Type",
                    "MessageId",
                    "TopicArn",
                    "Subject",
                    "Message",
                    "Timestamp",
                ];
                let sns: Map<String, Value> = fields
                    .iter()
                    .filter_map(|field| Some(((*field).to_owned(), message.get(*field)?.clone())))
                    .collect();
                let event = json!({ "Records": [{ "EventSource": "aws:sns", "Sns": sns }] });
                self.functions
                    .invoke_later(&function_name(&self.prefix, "trigger"), &event)
                    .await?;
                Ok((processed(id.map(str::to_owned)), "handed on".to_owned()))
            }
        }
    }

    /// The triggers that could hear one of the events: a look-up for each key.
    async fn heard_by(&self, events: &[Box<Event>]) -> Result<Vec<TriggerEntry>, CloudError> {
        let keys: BTreeSet<String> = events.iter().flat_map(|event| event_keys(event)).collect();
        let mut heard_by = Vec::new();
        for key in keys {
            heard_by.extend(self.store.triggers(&key).await?);
        }
        Ok(heard_by)
    }
}

/// The body that is read: Gate takes webhooks without one, but for those of git.
fn body<'a>(kind: &str, request: &'a HttpEvent) -> std::borrow::Cow<'a, [u8]> {
    if request.body.is_empty() && kind != "git" {
        return b"{}".as_slice().into();
    }
    request.body.as_slice().into()
}

/// Whether the API put other characters in place of bytes that are no UTF-8: what it takes for text it hands on as text.
fn was_altered(request: &HttpEvent) -> bool {
    const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
    let sent = request
        .header("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    sent.is_some_and(|sent| sent != request.body.len())
        && request
            .body
            .windows(REPLACEMENT.len())
            .any(|part| part == REPLACEMENT)
}

/// How long an event is known that nobody signed. A build has a number of its own.
fn window(request: &HttpEvent, event: &Event) -> i64 {
    let has_id = DELIVERY_IDS
        .iter()
        .any(|name| request.header(name).is_some_and(|id| !id.is_empty()));
    if has_id || event.kind == "build" {
        KNOWN_MILLIS
    } else {
        SAME_BODY_MILLIS
    }
}

/// Id of what was signed.
fn body_id(kind: &str, source: &str, body: &[u8]) -> String {
    event_hash(&Event {
        kind: kind.to_owned(),
        source: Some(source.to_owned()),
        event_id: Some(String::from_utf8_lossy(body).into_owned()),
        ..Event::default()
    })
}

/// Gate's answer.
fn processed(event_id: Option<String>) -> HttpAnswer {
    HttpAnswer::json(200, &json!({ "eventProcessed": true, "eventId": event_id }))
}

/// Counts an answer, and logs it without the body.
fn counted(kind: &str, answer: HttpAnswer, reason: &str, now: i64) -> HttpAnswer {
    let status = answer.status.to_string();
    metric::count("Webhooks", &[("Type", kind), ("Status", &status)], now);
    tracing::info!(kind, status = answer.status, reason, "webhook");
    answer
}

#[async_trait]
impl Function for ReceiveWebhook {
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError> {
        Ok(self.answer(&event, now).await.to_json())
    }
}
