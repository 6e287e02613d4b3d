//! Slack, as a bot.

use serde_json::{Value, json};

use super::{ChannelError, Channels, cut, json_request, refused};
use crate::message::Message;

const URL: &str = "https://slack.com/api/chat.postMessage";
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
) -> Result<(), ChannelError> {
    let settings = &channels.settings;
    let token = channels
        .secret(
            settings.slack_token.as_ref(),
            "Slack token (`SlackToken`)",
            now,
        )
        .await?;
    let request = json_request(URL, &body(channel, message))
        .header("authorization", format!("Bearer {token}"));
    let answer = channels.post(request).await?;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if answer.get("ok") == Some(&Value::Bool(true)) {
        return Ok(());
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

/// Slack's three characters; everything else is text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn body(channel: &str, message: &Message) -> Value {
    // The user's own text may use Slack's markup, as in Spinnaker; what we say may not.
    let mut text: Vec<String> = message
        .reason
        .iter()
        .map(|reason| escaped(reason))
        .collect();
    text.extend(message.text.clone());
    let text = cut(&text.join("\n\n"), CHARACTERS);
    json!({
        "channel": channel,
        "text": escaped(&message.title),
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
