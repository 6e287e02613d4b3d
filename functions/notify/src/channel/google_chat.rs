//! Google Chat: a text to a space's webhook.

use serde_json::json;

use super::{ChannelError, Channels, cut, json_request, refused};
use crate::message::Message;

/// Google's own limit of a message is 32,000 bytes.
const CHARACTERS: usize = 4_000;
const ADDRESSES: &str = "https://chat.googleapis.com/v1/spaces/";

pub(super) async fn send(
    channels: &Channels,
    address: &str,
    message: &Message,
    now: i64,
) -> Result<(), ChannelError> {
    let address = channels.address(address, now).await?;
    // Echo cuts off this beginning, and people write it with and without.
    let url = if address.starts_with(ADDRESSES) {
        address
    } else if address.contains("://") {
        return refused(format!(
            "the address of a Google Chat webhook begins with {ADDRESSES}"
        ));
    } else {
        format!("{ADDRESSES}{}", address.trim_start_matches('/'))
    };
    let mut text = format!("*{}*", message.title);
    for paragraph in message.paragraphs() {
        text.push('\n');
        text.push_str(paragraph);
    }
    let mut text = cut(&text, CHARACTERS);
    if let Some(link) = &message.link {
        text.push_str(&format!("\n<{link}|{}>", message.execution));
    }
    channels
        .post(json_request(url, &json!({ "text": text })))
        .await?;
    Ok(())
}
