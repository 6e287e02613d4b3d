//! What calls the function, read into events with an id and a time that every delivery of the same event has.

use gennaker_triggers::arrival::{event_bridge, queue};
use gennaker_triggers::delivery::Delivery;
use gennaker_triggers::event::Event;
use gennaker_triggers::inbound::events;
use gennaker_triggers::index::event_hash;
use gennaker_triggers::webhook::Received;
use serde_json::{Value, json};

/// An event that may start pipelines.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The event.
    pub event: Event,
    /// When it happened, UTC milliseconds: the same for every delivery.
    pub at: i64,
    /// Its id: the same for every delivery.
    pub id: String,
    /// Which secrets its sender knows: see `gennaker_triggers::delivery::voucher`.
    pub vouchers: Vec<String>,
}

/// What one part of a call is.
#[derive(Clone, Debug)]
pub enum Reading {
    /// An event.
    Arrival(Box<Arrival>),
    /// It is genuine and starts nothing.
    NothingToDo(String),
}

/// One part of a call.
#[derive(Clone, Debug)]
pub struct Part {
    /// Id of the SQS message that it is, to which it goes back if it fails.
    pub message: Option<String>,
    /// What it is, or why it cannot be read.
    pub reading: Result<Reading, String>,
}

impl Part {
    fn of(reading: Result<Reading, String>) -> Self {
        Self {
            message: None,
            reading,
        }
    }
}

/// Reads a call: a webhook that `receive-webhook` took, records of SNS, SQS or S3, an event of one of our own functions,
/// an event of EventBridge.
#[must_use]
pub fn read(event: &Value) -> Vec<Part> {
    if Delivery::is_delivery(event) {
        return match webhook(event) {
            Ok(readings) => readings.into_iter().map(|one| Part::of(Ok(one))).collect(),
            Err(error) => vec![Part::of(Err(error))],
        };
    }
    if let Some(Value::Array(records)) = event.get("Records") {
        return records.iter().map(record).collect();
    }
    if let Some(own) = event.get("event") {
        return vec![Part::of(own_event(own, event.get("at")))];
    }
    vec![Part::of(bridged(event))]
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn millis(time: &str) -> Result<i64, String> {
    time.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|error| format!("`{time}` is no time: {error}"))
}

fn reading(received: Received, at: i64, id: Option<String>, vouchers: Vec<String>) -> Reading {
    match received {
        Received::NothingToDo(reason) => Reading::NothingToDo(reason),
        Received::Event(mut event) => {
            event.event_id = id.or(event.event_id);
            let id = event.event_id.clone().unwrap_or_else(|| event_hash(&event));
            Reading::Arrival(Box::new(Arrival {
                event: *event,
                at,
                id,
                vouchers,
            }))
        }
    }
}

fn webhook(event: &Value) -> Result<Vec<Reading>, String> {
    let delivery = Delivery::from_json(event).map_err(|error| error.to_string())?;
    let received = events(
        &delivery.kind,
        &delivery.source,
        &delivery.headers,
        &delivery.body,
    )
    .map_err(|refused| refused.to_string())?;
    let Delivery {
        at,
        event_id,
        vouchers,
        ..
    } = delivery;
    Ok(received
        .into_iter()
        .map(|one| reading(one, at, event_id.clone(), vouchers.clone()))
        .collect())
}

/// An event in Echo's own form, of a function of this installation: the end of a build that was polled.
fn own_event(own: &Value, at: Option<&Value>) -> Result<Reading, String> {
    let event = Event::read(own).map_err(|error| error.to_string())?;
    let at = at
        .and_then(Value::as_i64)
        .ok_or("the event has no time `at`")?;
    if event.event_id.is_none() {
        return Err("the event has no `eventId`".to_owned());
    }
    Ok(reading(
        Received::Event(Box::new(event)),
        at,
        None,
        Vec::new(),
    ))
}

fn bridged(event: &Value) -> Result<Reading, String> {
    let received = event_bridge(event).map_err(|refused| refused.to_string())?;
    if matches!(received, Received::NothingToDo(_)) {
        return Ok(reading(received, 0, None, Vec::new()));
    }
    let need = |field: &str| {
        text(event, &format!("/{field}")).ok_or_else(|| format!("the event has no `{field}`"))
    };
    let id = need("id")?.to_owned();
    let at = millis(need("time")?)?;
    Ok(reading(received, at, Some(id), Vec::new()))
}

/// One record of SNS, SQS or S3.
fn record(record: &Value) -> Part {
    let is_message = text(record, "/eventSource") == Some("aws:sqs");
    let message = text(record, "/messageId")
        .filter(|_| is_message)
        .map(str::to_owned);
    Part {
        message,
        reading: recorded(record),
    }
}

fn recorded(record: &Value) -> Result<Reading, String> {
    let (at, id) = moment(record)?;
    let mut received =
        queue(&json!({ "Records": [record] })).map_err(|refused| refused.to_string())?;
    let received = received.pop().ok_or("the record holds nothing")?;
    Ok(reading(received, at, Some(id), Vec::new()))
}

/// When a message was sent and what its id is. A notification keeps its own, in whichever queue it lies.
fn moment(record: &Value) -> Result<(i64, String), String> {
    let notified = |notification: &Value| -> Option<Result<(i64, String), String>> {
        let id = text(notification, "/MessageId")?;
        text(notification, "/TopicArn")?;
        let at = millis(text(notification, "/Timestamp")?);
        Some(at.map(|at| (at, id.to_owned())))
    };
    if let Some(found) = record.get("Sns").and_then(notified) {
        return found;
    }
    let inside = text(record, "/body")
        .filter(|body| body.contains("\"TopicArn\""))
        .and_then(|body| serde_json::from_str(body).ok());
    if let Some(found) = inside.as_ref().and_then(notified) {
        return found;
    }
    if let Some(sent) = text(record, "/attributes/SentTimestamp") {
        let at = sent.parse().map_err(|_| format!("`{sent}` is no time"))?;
        let id = text(record, "/messageId").ok_or("the message has no `messageId`")?;
        return Ok((at, id.to_owned()));
    }
    let time = text(record, "/eventTime").ok_or("the record says no time")?;
    let whole = Event {
        kind: "record".to_owned(),
        event_id: Some(record.to_string()),
        ..Event::default()
    };
    Ok((millis(time)?, event_hash(&whole)))
}
