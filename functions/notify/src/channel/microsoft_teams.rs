//! Microsoft Teams: an adaptive card to a workflow's webhook.

use serde_json::{Value, json};

use super::{ChannelError, Channels, json_request, refused};
use crate::message::{Message, Tone};

pub(super) async fn send(
    channels: &Channels,
    address: &str,
    message: &Message,
    now: i64,
) -> Result<(), ChannelError> {
    let url = channels.address(address, now).await?;
    if !url.starts_with("https://") {
        return refused("the address of a Teams workflow begins with https://");
    }
    channels.post(json_request(url, &card(message))).await?;
    Ok(())
}

fn card(message: &Message) -> Value {
    let colour = match message.tone() {
        Tone::Succeeded => "Good",
        Tone::Failed => "Attention",
        Tone::Started => "Accent",
        Tone::Asked => "Default",
    };
    let mut body = vec![
        json!({ "type": "TextBlock", "text": message.title, "wrap": true, "weight": "Bolder", "size": "Medium", "color": colour }),
    ];
    body.extend(
        message
            .paragraphs()
            .into_iter()
            .map(|paragraph| json!({ "type": "TextBlock", "text": paragraph, "wrap": true })),
    );
    let facts = [
        ("Application", Some(&message.application)),
        ("Pipeline", Some(&message.pipeline)),
        ("Stage", message.stage.as_ref()),
        ("Execution", Some(&message.execution)),
    ];
    let facts: Vec<Value> = facts
        .into_iter()
        .filter_map(|(title, value)| Some(json!({ "title": title, "value": value? })))
        .collect();
    body.push(json!({ "type": "FactSet", "facts": facts }));
    let actions: Vec<Value> = message
        .link
        .iter()
        .map(|link| {
            // A workflow's webhook gives nothing back: a button that answers would reach nobody.
            let title = match &message.ask {
                Some(_) => "See what is asked, and answer",
                None => "Open the execution",
            };
            json!({ "type": "Action.OpenUrl", "title": title, "url": link })
        })
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
                "actions": actions,
            },
        }],
    })
}
