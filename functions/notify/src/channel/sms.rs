//! Text messages: by SNS, or by Twilio where the installation has an account.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_http::{Method, Request};

use super::{ChannelError, Channels, cut, refused};
use crate::message::Message;

/// Ten parts; SNS takes 1,600 bytes.
const CHARACTERS: usize = 700;

pub(super) async fn send(
    channels: &Channels,
    number: &str,
    message: &Message,
    now: i64,
) -> Result<(), ChannelError> {
    let number: String = number.chars().filter(|c| !" -()".contains(*c)).collect();
    let is_e164 = number.len() <= 16
        && number
            .strip_prefix('+')
            .is_some_and(|digits| digits.len() >= 7 && digits.bytes().all(|b| b.is_ascii_digit()));
    if !is_e164 {
        return refused("a telephone number begins with + and the country's code");
    }
    let text = cut(&message.plain(), CHARACTERS);
    let settings = &channels.settings;
    let Some(account) = &settings.twilio_account else {
        return Ok(channels.notifications.send_text(&number, &text).await?);
    };
    let Some(from) = &settings.twilio_from else {
        return refused("the installation has no number that Twilio sends from (`TwilioFrom`)");
    };
    let token = channels
        .secret(
            settings.twilio_token.as_ref(),
            "Twilio token (`TwilioToken`)",
            now,
        )
        .await?;
    if !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return refused("the account of Twilio (`TwilioAccount`) is no SID");
    }
    let form: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("To", number.as_str()), ("From", from), ("Body", &text)])
        .finish();
    let basic = STANDARD.encode(format!("{account}:{token}"));
    let url = format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Messages.json");
    let request = Request::new(Method::Post, url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Basic {basic}"))
        .body(form);
    channels.post(request).await?;
    Ok(())
}
