//! PagerDuty's Events API v2.

use serde_json::{Value, json};

use super::{ChannelError, Channels, cut, json_request};
use crate::message::{Message, Tone};

const URL: &str = "https://events.pagerduty.com/v2/enqueue";

pub(super) async fn send(
    channels: &Channels,
    key: &str,
    message: &Message,
    now: i64,
) -> Result<(), ChannelError> {
    let key = channels
        .secret(Some(&key.to_owned()), "integration key of PagerDuty", now)
        .await?;
    channels
        .post(json_request(URL, &event(&key, message)))
        .await?;
    Ok(())
}

fn event(key: &str, message: &Message) -> Value {
    let severity = match message.tone() {
        Tone::Failed => "error",
        _ => "info",
    };
    let links: Vec<Value> = message
        .link
        .iter()
        .map(|link| json!({ "href": link, "text": "Execution" }))
        .collect();
    json!({
        "routing_key": key,
        "event_action": "trigger",
        // A repetition is the same alert.
        "dedup_key": cut(&message.id, 255),
        "client": "Gennaker",
        "client_url": message.link,
        "links": links,
        "payload": {
            "summary": cut(&message.title, 1_024),
            "source": message.application,
            "severity": severity,
            "group": message.pipeline,
            "class": message.when,
            "custom_details": { "reason": message.reason, "text": message.text, "execution": message.execution },
        },
    })
}
