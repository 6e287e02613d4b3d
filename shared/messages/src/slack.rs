//! Slack: blocks, clicks, and who signed them.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::plain::clipped;
use crate::{Announcement, Ask};

/// How far the clock of a request may be from ours: Slack's own advice.
pub const WINDOW_SECONDS: i64 = 300;

/// Limits of Block Kit.
const HEADER_CHARACTERS: usize = 150;
const SECTION_CHARACTERS: usize = 2_900;
const BUTTON_CHARACTERS: usize = 75;
const OPTIONS: usize = 100;
const FACTS: usize = 30;
const FACT_CHARACTERS: usize = 300;

/// `action_id` of the button of an answer begins so.
const ANSWER: &str = "gennaker-answer-";
const INPUT: &str = "gennaker-input";
const REASON: &str = "gennaker-reason";

/// Text in which nothing is a link, a mention or a format, as Slack wants it escaped.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "plain_text", "emoji": false, "text": clipped(text, SECTION_CHARACTERS) } })
}

/// The announcement as `chat.postMessage` and `chat.update` take it, without the channel.
#[must_use]
pub fn message(announcement: &Announcement) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "emoji": false, "text": clipped(&announcement.title, HEADER_CHARACTERS) },
    })];
    let text = announcement.text.join("\n\n");
    if !text.trim().is_empty() {
        blocks.push(section(&text));
    }
    let facts: Vec<String> = announcement
        .facts
        .iter()
        .take(FACTS)
        .map(|(name, value)| format!("{name}: {}", clipped(value, FACT_CHARACTERS)))
        .collect();
    if !facts.is_empty() {
        blocks.push(section(&facts.join("\n")));
    }
    if let Some(ask) = &announcement.ask {
        blocks.extend(questions(ask));
    }
    if let Some(link) = &announcement.link {
        blocks.push(json!({ "type": "context", "elements": [{
            "type": "mrkdwn",
            "text": format!("<{}|{}>", link.url, escaped(&link.label)),
        }] }));
    }
    // What a notification shows, and who reads aloud.
    json!({ "text": escaped(&announcement.title), "blocks": blocks, "unfurl_links": false })
}

fn questions(ask: &Ask) -> Vec<Value> {
    let plain = |text: &str| json!({ "type": "plain_text", "emoji": false, "text": clipped(text, BUTTON_CHARACTERS) });
    let mut blocks = Vec::new();
    let options: Vec<Value> = ask
        .options
        .iter()
        .filter(|option| !option.is_empty() && option.chars().count() <= BUTTON_CHARACTERS)
        .take(OPTIONS)
        .map(|option| json!({ "text": plain(option), "value": option }))
        .collect();
    if !options.is_empty() {
        blocks.push(json!({
            "type": "input", "optional": true, "block_id": INPUT, "label": plain("Input"),
            "element": { "type": "static_select", "action_id": INPUT, "options": options },
        }));
    }
    blocks.push(json!({
        "type": "input", "optional": true, "block_id": REASON, "label": plain("Reason"),
        "element": { "type": "plain_text_input", "action_id": REASON, "max_length": 1_000 },
    }));
    let buttons: Vec<Value> = ask
        .answers
        .iter()
        .map(|answer| {
            json!({
                "type": "button",
                "action_id": format!("{ANSWER}{}", answer.name),
                "text": plain(&answer.label),
                "value": ask.reference,
                "style": if answer.primary { "primary" } else { "danger" },
            })
        })
        .collect();
    blocks.push(json!({ "type": "actions", "elements": buttons }));
    blocks
}

/// Why a request is not taken for Slack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing, or holds nothing that could be right.
    #[error("the request is not signed")]
    Missing,
    /// It is older than five minutes, or from the future.
    #[error("the signature is not of this time")]
    Stale,
    /// It was made with another secret, or of another body.
    #[error("the signature is not that of this body")]
    Wrong,
}

/// Checks Slack's signature `v0` over the raw body. `now` is UTC milliseconds. The comparison takes the same time
/// wherever they differ.
///
/// # Errors
/// [`SignatureError`]; the request is then not looked at.
pub fn verify(
    secret: &str,
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: i64,
) -> Result<(), SignatureError> {
    let (Some(timestamp), Some(signature)) = (timestamp, signature) else {
        return Err(SignatureError::Missing);
    };
    let at: i64 = timestamp.parse().map_err(|_| SignatureError::Missing)?;
    let given = signature
        .strip_prefix("v0=")
        .and_then(|hex| hex::decode(hex).ok())
        .ok_or(SignatureError::Missing)?;
    if (now / 1_000).abs_diff(at) > WINDOW_SECONDS.unsigned_abs() {
        return Err(SignatureError::Stale);
    }
    let mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| SignatureError::Wrong)?;
    mac.chain_update(format!("v0:{timestamp}:"))
        .chain_update(body)
        .verify_slice(&given)
        .map_err(|_| SignatureError::Wrong)
}

/// The signature that Slack would send, for tests of what receives it.
///
/// # Errors
/// [`SignatureError::Wrong`] for a secret that cannot be one.
pub fn sign(secret: &str, timestamp: &str, body: &[u8]) -> Result<String, SignatureError> {
    let mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| SignatureError::Wrong)?;
    let mac = mac
        .chain_update(format!("v0:{timestamp}:"))
        .chain_update(body);
    Ok(format!("v0={}", hex::encode(mac.finalize().into_bytes())))
}

/// A click on one of our buttons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The answer's name: `continue`.
    pub answer: String,
    /// Which question it is to.
    pub reference: String,
    /// Slack's id of the person.
    pub user: String,
    /// What the person chose.
    pub input: Option<String>,
    /// What the person wrote.
    pub reason: Option<String>,
    /// Where the message can be replaced, for half an hour.
    pub response_url: Option<String>,
}

impl Action {
    /// The click in the `payload` of a request. None if it is something else that Slack tells, such as that a link was
    /// opened or an input chosen: nothing is to be done then.
    #[must_use]
    pub fn read(payload: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            payload
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        if payload.get("type").and_then(Value::as_str) != Some("block_actions") {
            return None;
        }
        let clicked = payload
            .get("actions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find_map(|action| {
                let id = action.get("action_id").and_then(Value::as_str)?;
                let answer = id.strip_prefix(ANSWER)?;
                let reference = action.get("value").and_then(Value::as_str)?;
                Some((answer.to_owned(), reference.to_owned()))
            });
        let (answer, reference) = clicked?;
        Some(Self {
            answer,
            reference,
            user: text("/user/id")?,
            input: text(&format!(
                "/state/values/{INPUT}/{INPUT}/selected_option/value"
            )),
            reason: text(&format!("/state/values/{REASON}/{REASON}/value")),
            response_url: text("/response_url"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    /// The example of Slack's documentation on verifying requests.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const AT: i64 = 1_531_420_618;

    #[test]
    fn the_example_of_slacks_documentation_is_taken_and_nothing_near_it() {
        let at = AT.to_string();
        let check = |secret: &str, timestamp: &str, signature: &str, body: &str, now: i64| {
            verify(
                secret,
                Some(timestamp),
                Some(signature),
                body.as_bytes(),
                now * 1_000,
            )
        };
        assert_eq!(check(SECRET, &at, SIGNATURE, BODY, AT), Ok(()));
        assert_eq!(check(SECRET, &at, SIGNATURE, BODY, AT + 300), Ok(()));
        for late in [AT + 301, AT - 301, i64::MAX / 2_000] {
            assert_eq!(
                check(SECRET, &at, SIGNATURE, BODY, late),
                Err(SignatureError::Stale)
            );
        }
        assert_eq!(
            check("other", &at, SIGNATURE, BODY, AT),
            Err(SignatureError::Wrong)
        );
        assert_eq!(
            check(SECRET, &at, SIGNATURE, "token=x", AT),
            Err(SignatureError::Wrong)
        );
        let next = (AT + 1).to_string();
        assert_eq!(
            check(SECRET, &next, SIGNATURE, BODY, AT),
            Err(SignatureError::Wrong)
        );
        for (timestamp, signature) in [
            ("", SIGNATURE),
            ("soon", SIGNATURE),
            (at.as_str(), ""),
            (at.as_str(), "v0=zz"),
            (at.as_str(), "v1=00"),
        ] {
            assert_eq!(
                check(SECRET, timestamp, signature, BODY, AT),
                Err(SignatureError::Missing)
            );
        }
        assert_eq!(
            verify(SECRET, None, Some(SIGNATURE), b"", 0),
            Err(SignatureError::Missing)
        );
        assert_eq!(sign(SECRET, &at, BODY.as_bytes()).unwrap(), SIGNATURE);
    }

    fn announcement() -> Announcement {
        Announcement {
            title: "Ship <!channel>?".to_owned(),
            text: vec!["<!here> look & decide".to_owned()],
            facts: vec![("Artifact".to_owned(), "web".to_owned())],
            link: None,
            ask: Some(Ask {
                answers: vec![
                    Answer {
                        name: "continue".to_owned(),
                        label: "Ship".to_owned(),
                        primary: true,
                    },
                    Answer {
                        name: "stop".to_owned(),
                        label: "Stop".to_owned(),
                        primary: false,
                    },
                ],
                options: vec!["blue".to_owned(), "green".to_owned()],
                reference: "abc-def/1".to_owned(),
            }),
        }
    }

    #[test]
    fn what_a_pipeline_says_mentions_nobody_and_formats_nothing() {
        let message = message(&announcement());
        assert_eq!(message["text"], "Ship &lt;!channel&gt;?");
        let types: Vec<&Value> = message["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| &block["type"])
            .collect();
        assert_eq!(
            types,
            ["header", "section", "section", "input", "input", "actions"]
        );
        // Plain text is shown as it is.
        assert_eq!(message["blocks"][1]["text"]["type"], "plain_text");
    }

    #[test]
    fn a_click_on_a_button_that_was_sent_is_read_back() {
        let message = message(&announcement());
        let button = &message["blocks"][5]["elements"][1];
        let payload = json!({
            "type": "block_actions", "user": {"id": "U1"}, "response_url": "https://hooks.slack.com/actions/x",
            "actions": [{"action_id": button["action_id"], "value": button["value"], "type": "button"}],
            "state": {"values": {
                "gennaker-input": {"gennaker-input": {"selected_option": {"value": "green"}}},
                "gennaker-reason": {"gennaker-reason": {"value": "too many errors"}},
            }},
        });
        let action = Action::read(&payload).unwrap();
        assert_eq!(
            (
                action.answer.as_str(),
                action.reference.as_str(),
                action.user.as_str()
            ),
            ("stop", "abc-def/1", "U1")
        );
        assert_eq!(
            (action.input.as_deref(), action.reason.as_deref()),
            (Some("green"), Some("too many errors"))
        );
        for other in [
            json!({"type": "view_submission"}),
            json!({"type": "block_actions", "user": {"id": "U1"}, "actions": [{"action_id": "gennaker-input", "value": "x"}]}),
            json!({"type": "block_actions", "actions": [{"action_id": "gennaker-answer-stop", "value": "x"}]}),
            json!([]),
        ] {
            assert_eq!(Action::read(&other), None);
        }
    }

    #[test]
    fn blocks_keep_within_slacks_limits() {
        let large = Announcement {
            title: "t".repeat(1_000),
            text: vec!["x".repeat(100_000)],
            facts: vec![("n".to_owned(), "v".repeat(10_000)); 100],
            ask: Some(Ask {
                options: vec!["o".repeat(70); 500],
                ..announcement().ask.unwrap()
            }),
            ..announcement()
        };
        let message = message(&large);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks[0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
        assert!(blocks[1]["text"]["text"].as_str().unwrap().chars().count() <= 3_000);
        assert!(blocks[2]["text"]["text"].as_str().unwrap().chars().count() <= 3_000);
        assert!(blocks[3]["element"]["options"].as_array().unwrap().len() <= 100);
    }
}
