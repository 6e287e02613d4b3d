//! Mail by Amazon SES.

use gennaker_http::{Method, SignedCall};
use serde_json::{Value, json};

use super::{ChannelError, Channels, cut, refused};
use crate::message::Message;

/// Recipients of one mail, by SES's quota.
const RECIPIENTS: usize = 50;

pub(super) async fn send(
    channels: &Channels,
    to: &[String],
    cc: &[String],
    message: &Message,
    now: i64,
) -> Result<(), ChannelError> {
    let Some(from) = &channels.settings.email_from else {
        return refused("the installation has no sender of mails (`EmailFrom`)");
    };
    if to.len() + cc.len() > RECIPIENTS {
        return refused(format!("a mail has at most {RECIPIENTS} recipients"));
    }
    let call = SignedCall {
        host: Some("email"),
        ..SignedCall::rest(
            "ses",
            "ses:SendEmail",
            Method::Post,
            "v2/email/outbound-emails".to_owned(),
            from,
            body(from, to, cc, message),
        )
    };
    channels.aws.send(&call, now).await?;
    Ok(())
}

fn body(from: &str, to: &[String], cc: &[String], message: &Message) -> Value {
    let part = |data: String| json!({ "Data": data, "Charset": "UTF-8" });
    // A line break in a subject would begin another header.
    let subject = message.title.replace(['\r', '\n'], " ");
    json!({
        "FromEmailAddress": from,
        "Destination": { "ToAddresses": to, "CcAddresses": cc },
        "Content": { "Simple": {
            "Subject": part(cut(&subject, 200)),
            "Body": { "Text": part(message.plain()), "Html": part(html(message)) },
        } },
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn html(message: &Message) -> String {
    let mut html = format!(
        "<p style=\"border-left:4px solid {};padding-left:8px\"><strong>{}</strong></p>",
        message.tone().colour(),
        escaped(&message.title)
    );
    for paragraph in message.paragraphs() {
        html.push_str(&format!(
            "<p style=\"white-space:pre-wrap\">{}</p>",
            escaped(paragraph)
        ));
    }
    if let Some(link) = &message.link {
        let link = escaped(link);
        html.push_str(&format!("<p><a href=\"{link}\">{link}</a></p>"));
    }
    html
}
