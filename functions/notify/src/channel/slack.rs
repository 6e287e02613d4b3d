//! Slack, as a bot.

use serde_json::{Value, json};

use gennaker_messages::{Announcement, slack};

use super::{ChannelError, Channels, Posted, cut, json_request, refused};
use crate::message::Message;

const API: &str = "https://slack.com/api";
/// Slack's own limit of an attachment's text is 40,000 characters in all.
const CHARACTERS: usize = 8_000;

/// Errors of Slack's Web API that are over some time later.
const PASSING: [&str; 6] = [
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
];

pub(super) async fn send(
    channels: &Channels,
    channel: &str,
    message: &Message,
    now: i64,
) -> Result<Option<Posted>, ChannelError> {
    let body = match &message.ask {
        Some(said) => with(slack::message(said), &[("channel", channel)]),
        None => body(channel, message),
    };
    let answer = call(channels, "chat.postMessage", &body, now).await?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(text("channel")
        .zip(text("ts"))
        .map(|(channel, ts)| Posted { channel, ts }))
}

/// Replaces a message that was posted.
pub(super) async fn update(
    channels: &Channels,
    posted: &Posted,
    said: &Announcement,
    now: i64,
) -> Result<(), ChannelError> {
    let at = [
        ("channel", posted.channel.as_str()),
        ("ts", posted.ts.as_str()),
    ];
    let body = with(slack::message(said), &at);
    call(channels, "chat.update", &body, now).await.map(drop)
}

fn with(mut body: Value, fields: &[(&str, &str)]) -> Value {
    if let Some(object) = body.as_object_mut() {
        for (name, value) in fields {
            object.insert((*name).to_owned(), Value::from(*value));
        }
    }
    body
}

/// Calls a method of Slack's; its answer, if it says that all is well.
async fn call(
    channels: &Channels,
    method: &str,
    body: &Value,
    now: i64,
) -> Result<Value, ChannelError> {
    let settings = &channels.settings;
    let token = channels
        .secret(
            settings.slack_token.as_ref(),
            "Slack token (`SlackToken`)",
            now,
        )
        .await?;
    let api = settings.slack_api.as_deref().unwrap_or(API);
    let url = format!("{}/{method}", api.trim_end_matches('/'));
    let request = json_request(url, body).header("authorization", format!("Bearer {token}"));
    let answer = channels.post(request).await?;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if answer.get("ok") == Some(&Value::Bool(true)) {
        return Ok(answer);
    }
    let error = answer
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("no JSON");
    if PASSING.contains(&error) {
        return Err(ChannelError::Passing(format!("Slack answered `{error}`")));
    }
    refused(format!("Slack answered `{error}`"))
}

fn body(channel: &str, message: &Message) -> Value {
    // The user's own text may use Slack's markup, as in Spinnaker; what we say may not.
    let mut text: Vec<String> = message
        .reason
        .iter()
        .map(|reason| slack::escaped(reason))
        .collect();
    text.extend(message.text.clone());
    let text = cut(&text.join("\n\n"), CHARACTERS);
    json!({
        "channel": channel,
        "text": slack::escaped(&message.title),
        "attachments": [{
            "color": message.tone().colour(),
            "fallback": message.title,
            "title": message.link.as_ref().map(|_| format!("{} / {}", message.application, message.pipeline)),
            "title_link": message.link,
            "text": text,
            "mrkdwn_in": ["text"],
            "footer": format!("Gennaker · {}", message.execution),
        }],
    })
}
