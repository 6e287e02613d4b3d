//! `gennaker local event`: events as they would arrive, through what takes them in the local cloud.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_domain::Problem;
use gennaker_triggers::arrival::delivered;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::input;
use crate::local::{ACCOUNT, Ground, REGION, found, none_is_up};
use crate::output::Output;

/// An event as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// An event of EventBridge.
    Bridge(Value),
    /// A request to the public API.
    Webhook(Value),
    /// A message of a queue or a topic.
    Message(Value),
}

fn wrong(code: &str, path: &str, message: String) -> Failure {
    Failure::input(Problem::error(code, path, message).with_hint(
        "give an EventBridge event, or {\"kind\":\"webhook|sqs|sns\",\"path\",\"headers\",\"body\"}",
    ))
}

impl Event {
    /// Reads an event: bare, or as it would arrive.
    pub(crate) fn read(value: &Value) -> Result<Self, Failure> {
        let body = || {
            value.get("body").ok_or_else(|| {
                wrong(
                    "invalid-event",
                    "$.body",
                    "the event has no `body`".to_owned(),
                )
            })
        };
        match value.get("kind").and_then(Value::as_str) {
            None => bridged(value.clone()),
            Some("eventbridge") => bridged(match body()? {
                Value::String(body) => input::parse(body, "body")?,
                body => body.clone(),
            }),
            Some("webhook") if value.get("path").is_none_or(|path| !path.is_string()) => {
                Err(wrong(
                    "invalid-event",
                    "$.path",
                    "the webhook has no `path`, such as /webhooks/git/github".to_owned(),
                ))
            }
            Some("webhook") => Ok(Self::Webhook(value.clone())),
            Some("sqs" | "sns") => body().map(|_| Self::Message(value.clone())),
            Some(other) => Err(wrong(
                "unknown-event-kind",
                "$.kind",
                format!("`{other}` is no kind of event"),
            )),
        }
    }

    /// The detail of an EventBridge event.
    pub(crate) fn detail(&self) -> Option<&Value> {
        match self {
            Self::Bridge(event) => event.get("detail"),
            Self::Webhook(_) | Self::Message(_) => None,
        }
    }
}

fn bridged(event: Value) -> Result<Event, Failure> {
    for field in ["source", "detail-type", "detail"] {
        if event.get(field).is_none() {
            return Err(wrong(
                "invalid-event",
                &format!("$.{field}"),
                format!("the event has no `{field}`"),
            ));
        }
    }
    Ok(Event::Bridge(event))
}

/// Runs the command.
pub(crate) async fn run(file: &Path, times: u32, output: &Output) -> Result<(), Failure> {
    let event = Event::read(&input::json(file)?)?;
    let ground = found().await?.ok_or_else(none_is_up)?;
    for sent in send(&ground, &event, times).await? {
        if output.json {
            output.compact(&sent)?;
        } else {
            output.say(&format!("sent {sent}"));
        }
    }
    Ok(())
}

/// Sends an event, the very same one so often. What was answered, one value for each time.
pub(crate) async fn send(
    ground: &Ground,
    event: &Event,
    times: u32,
) -> Result<Vec<Value>, Failure> {
    let again = times > 1;
    let event = match event {
        Event::Bridge(event) => Event::Bridge(with_identity(event, again)),
        other => other.clone(),
    };
    let delivery = match &event {
        Event::Message(message) => delivery(message, again)?,
        _ => None,
    };
    let mut sent = Vec::new();
    for _ in 0..times {
        sent.push(match &event {
            Event::Bridge(event) => {
                let event = event.clone();
                let sent = ground
                    .with(move |cloud| cloud.put_event(&event, "default"))
                    .await?;
                json!(sent)
            }
            Event::Webhook(request) => post(ground, request).await?,
            Event::Message(message) => match &delivery {
                Some(delivery) => deliver(ground, delivery).await?,
                None => publish(ground, message).await?,
            },
        });
    }
    Ok(sent)
}

/// The event with a time and an id of its own, where EventBridge would give each one another, or would refuse its source.
fn with_identity(event: &Value, again: bool) -> Value {
    let mut event = event.clone();
    let source = event.get("source").and_then(Value::as_str).unwrap_or("");
    if !again && (!source.starts_with("aws.") || source == "aws.ecr") {
        return event;
    }
    let time = now_text();
    if let Some(object) = event.as_object_mut() {
        object.entry("time").or_insert_with(|| time.into());
    }
    let id = identity(&event);
    if let Some(object) = event.as_object_mut() {
        object.entry("id").or_insert_with(|| id.into());
    }
    event
}

fn now_text() -> String {
    jiff::Timestamp::from_millisecond(crate::surroundings::now_millis())
        .map(|time| time.to_string())
        .unwrap_or_default()
}

/// An id that the same content always has.
fn identity(content: &Value) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Posts to the public API.
async fn post(ground: &Ground, request: &Value) -> Result<Value, Failure> {
    let address = ground
        .cloud
        .state()
        .more
        .get("publicAddress")
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::environment("the local cloud has no public address".to_owned()))?;
    let text = |field: &str| request.get(field).and_then(Value::as_str).unwrap_or("");
    let url = format!("{address}/{}", text("path").trim_start_matches('/'));
    let body = if request.get("isBase64Encoded") == Some(&Value::Bool(true)) {
        STANDARD
            .decode(text("body"))
            .map_err(|error| wrong("invalid-event", "$.body", error.to_string()))?
    } else {
        match request.get("body") {
            Some(Value::String(body)) => body.clone().into_bytes(),
            Some(body) => body.to_string().into_bytes(),
            None => Vec::new(),
        }
    };
    let method = match text("method") {
        "" => "POST",
        method => method,
    }
    .to_owned();
    let mut headers: Vec<(String, String)> = request
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    let answer = ground
        .with(move |cloud| {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            cloud.request(&method, &url, &headers, &body)
        })
        .await?;
    let answered = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
    Ok(json!({ "status": answer.status, "answer": answered }))
}

/// The message as Lambda hands it over, where it has to keep its id: it says one itself, or it is to come again. None where
/// a queue or a topic of the cloud can take it.
fn delivery(message: &Value, again: bool) -> Result<Option<Value>, Failure> {
    let unreadable = |refused: gennaker_triggers::webhook::Refused| {
        wrong("invalid-event", "$.body", refused.to_string())
    };
    let id = identity(message);
    let now = crate::surroundings::now_millis();
    let delivery = delivered(message, Some((&id, now))).map_err(unreadable)?;
    let other = delivered(message, None).map_err(unreadable)?;
    // What is the same whatever id it is given has one of its own.
    let has_own_id = delivery == other;
    Ok((again || has_own_id).then_some(delivery))
}

/// Calls `trigger` as Lambda does for a queue or a topic.
async fn deliver(ground: &Ground, delivery: &Value) -> Result<Value, Failure> {
    let prefix = prefix(ground);
    let parameters = json!({
        "FunctionName": format!("{prefix}-trigger:live"),
        "Payload": delivery.to_string(),
    });
    let answer = ground
        .with(move |cloud| cloud.call("lambda", "invoke", parameters))
        .await?;
    let payload = answer.get("Payload").and_then(Value::as_str).unwrap_or("");
    Ok(json!({
        "delivered": format!("{prefix}-trigger"),
        "answer": serde_json::from_str::<Value>(payload).unwrap_or_default(),
    }))
}

fn prefix(ground: &Ground) -> String {
    let prefix = ground.cloud.state().more.get("prefix");
    prefix
        .and_then(Value::as_str)
        .unwrap_or("gennaker")
        .to_owned()
}

/// Sends a message to its queue or topic: `path`, or that of the installation.
async fn publish(ground: &Ground, message: &Value) -> Result<Value, Failure> {
    let text = |field: &str| message.get(field).and_then(Value::as_str);
    let own = format!("{}-messages", prefix(ground));
    let path = text("path").map(|path| path.trim_matches('/'));
    let name = path
        .and_then(|path| path.rsplit(':').next())
        .filter(|name| !name.is_empty())
        .map_or(own, str::to_owned);
    let body = match message.get("body") {
        Some(Value::String(body)) => body.clone(),
        body => body.cloned().unwrap_or_default().to_string(),
    };
    let attributes: Map<String, Value> = message
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            (
                name.clone(),
                json!({ "DataType": "String", "StringValue": value }),
            )
        })
        .collect();
    let is_topic = text("kind") == Some("sns");
    let sent_to = name.clone();
    let answer = ground
        .with(move |cloud| {
            if is_topic {
                let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
                let parameters = json!({ "TopicArn": topic, "Message": body, "MessageAttributes": attributes });
                return cloud.call("sns", "publish", parameters);
            }
            let queue = cloud.call("sqs", "get_queue_url", json!({ "QueueName": name }))?;
            let parameters = json!({
                "QueueUrl": queue.get("QueueUrl"), "MessageBody": body, "MessageAttributes": attributes,
            });
            cloud.call("sqs", "send_message", parameters)
        })
        .await?;
    Ok(json!({ "id": answer.get("MessageId"), "to": sent_to }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_taken_bare_or_as_it_would_arrive() {
        let bare = json!({"source": "aws.ecr", "detail-type": "ECR Image Action", "detail": {}});
        assert_eq!(Event::read(&bare).unwrap(), Event::Bridge(bare.clone()));
        let wrapped = json!({"kind": "eventbridge", "body": bare.to_string()});
        assert_eq!(Event::read(&wrapped).unwrap(), Event::Bridge(bare));
        let webhook = json!({"kind": "webhook", "path": "/webhooks/git/github", "body": "{}"});
        assert!(matches!(Event::read(&webhook), Ok(Event::Webhook(_))));
        for kind in ["sqs", "sns"] {
            let message = json!({"kind": kind, "body": "{}"});
            assert!(matches!(Event::read(&message), Ok(Event::Message(_))));
        }
        for wrong in [
            json!({}),
            json!({"kind": "webhook", "body": "{}"}),
            json!({"kind": "sqs"}),
            json!({"kind": "x"}),
            json!([]),
        ] {
            assert!(Event::read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_is_delivered_with_an_id_where_it_has_to_keep_one() {
        let raw = json!({"kind": "sqs", "path": "orders", "body": "{\"a\":1}"});
        assert_eq!(delivery(&raw, false).unwrap(), None);
        let again = delivery(&raw, true).unwrap().unwrap();
        assert_eq!(
            again["Records"][0]["eventSourceARN"],
            "arn:aws:sqs:::orders"
        );
        let given =
            json!({"Records": [{"eventSource": "aws:sqs", "messageId": "m-1", "body": "{}"}]});
        let wrapped = json!({"kind": "sqs", "body": given.to_string()});
        assert_eq!(delivery(&wrapped, false).unwrap(), Some(given));
    }

    #[test]
    fn events_of_aws_and_those_that_come_again_have_an_id_of_their_own() {
        let event = |source: &str| json!({"source": source, "detail-type": "t", "detail": {}});
        assert!(with_identity(&event("aws.ecr"), false).get("id").is_none());
        assert!(with_identity(&event("shop"), false).get("id").is_none());
        assert!(
            with_identity(&event("aws.codebuild"), false)
                .get("id")
                .is_some()
        );
        assert!(with_identity(&event("shop"), true).get("time").is_some());
    }
}
