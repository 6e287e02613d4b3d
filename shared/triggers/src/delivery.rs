//! A webhook on its way from the function that the internet calls to the one that starts pipelines.
//!
//! What arrived is handed over as it arrived, so that both read it by the same rules, but for headers that hold a secret:
//! an event may be kept where it failed. Who signed it was checked before; the vouchers say so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::webhook::MAX_BODY;

/// Bytes of a payload at most: Lambda takes 1 MB for a call that nobody waits for.
pub const MOST_BYTES: usize = 1_000_000;

/// Headers that are, or may be, a secret themselves.
const SECRET_HEADERS: [&str; 6] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-amz-security-token",
    "x-gitlab-token",
    "x-gennaker-token",
];

/// A body is packed where it would not fit otherwise.
const PACKING_LEVEL: i32 = 3;

/// A webhook that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// `git`, `webhook`, …: the first part of the path after `/webhooks`.
    pub kind: String,
    /// `github`, the name of a webhook, …: the second part.
    pub source: String,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, byte for byte.
    pub body: Vec<u8>,
    /// Id of the event where the sender's own does not do: a signature says nothing about headers.
    pub event_id: Option<String>,
    /// When this event arrived first, UTC milliseconds.
    pub at: i64,
    /// One [`voucher`] for each secret that the sender knows.
    pub vouchers: Vec<String>,
}

/// Why a delivery cannot be handed over, or is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum DeliveryError {
    /// It is too large even when it is packed: 413.
    #[error("the webhook has {0} bytes packed; at most {MOST_BYTES} can be handed on")]
    TooLarge(usize),
    /// It was not made by [`Delivery::to_json`].
    #[error("the delivery has no `{0}` that can be read")]
    Unreadable(&'static str),
}

impl Delivery {
    /// Whether an event is a delivery.
    #[must_use]
    pub fn is_delivery(event: &Value) -> bool {
        event.get("delivery").is_some()
    }

    /// The event for the next function: without secrets, and small enough.
    ///
    /// # Errors
    /// [`DeliveryError::TooLarge`].
    pub fn to_json(&self) -> Result<Value, DeliveryError> {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str()))
            .map(|(name, value)| json!([name, value]))
            .collect();
        let mut delivery = Map::from_iter([
            ("type".to_owned(), self.kind.as_str().into()),
            ("source".to_owned(), self.source.as_str().into()),
            ("headers".to_owned(), headers.into()),
            ("at".to_owned(), self.at.into()),
            ("vouchers".to_owned(), json!(self.vouchers)),
        ]);
        if let Some(id) = &self.event_id {
            delivery.insert("eventId".to_owned(), id.as_str().into());
        }
        let whole = |delivery: &Map<String, Value>| json!({ "delivery": delivery });
        if let Ok(text) = std::str::from_utf8(&self.body) {
            let mut plain = delivery.clone();
            plain.insert("body".to_owned(), text.into());
            let plain = whole(&plain);
            if plain.to_string().len() <= MOST_BYTES {
                return Ok(plain);
            }
        }
        let packed = zstd::encode_all(self.body.as_slice(), PACKING_LEVEL)
            .map_err(|_| DeliveryError::TooLarge(self.body.len()))?;
        delivery.insert("packed".to_owned(), STANDARD.encode(packed).into());
        let packed = whole(&delivery);
        let bytes = packed.to_string().len();
        if bytes > MOST_BYTES {
            return Err(DeliveryError::TooLarge(bytes));
        }
        Ok(packed)
    }

    /// Reads what [`Delivery::to_json`] made.
    ///
    /// # Errors
    /// [`DeliveryError::Unreadable`].
    pub fn from_json(event: &Value) -> Result<Self, DeliveryError> {
        let delivery = event
            .get("delivery")
            .ok_or(DeliveryError::Unreadable("delivery"))?;
        let text = |field: &'static str| {
            delivery
                .get(field)
                .and_then(Value::as_str)
                .ok_or(DeliveryError::Unreadable(field))
        };
        let list = |field: &str| {
            delivery
                .get(field)
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default()
        };
        let body = match delivery.get("packed") {
            None => text("body")?.as_bytes().to_vec(),
            Some(_) => unpacked(text("packed")?).ok_or(DeliveryError::Unreadable("packed"))?,
        };
        Ok(Self {
            kind: text("type")?.to_owned(),
            source: text("source")?.to_owned(),
            headers: list("headers")
                .iter()
                .filter_map(|pair| {
                    let name = pair.get(0)?.as_str()?;
                    Some((name.to_owned(), pair.get(1)?.as_str()?.to_owned()))
                })
                .collect(),
            body,
            event_id: text("eventId").ok().map(str::to_owned),
            at: delivery
                .get("at")
                .and_then(Value::as_i64)
                .ok_or(DeliveryError::Unreadable("at"))?,
            vouchers: list("vouchers")
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
        })
    }
}

/// The body, if it is one of at most [`MAX_BODY`] bytes.
fn unpacked(text: &str) -> Option<Vec<u8>> {
    use std::io::Read;
    let packed = STANDARD.decode(text).ok()?;
    let reader = zstd::Decoder::new(packed.as_slice()).ok()?;
    let mut body = Vec::new();
    let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let read = reader.take(most + 1).read_to_end(&mut body).ok()?;
    (read <= MAX_BODY).then_some(body)
}

/// Says that the sender of an event knows a secret, to whom knows what the trigger says of it (`secret`: the secret itself,
/// or a reference to it).
#[must_use]
pub fn voucher(configured: &str, event_id: &str) -> String {
    Hmac::<Sha256>::new_from_slice(configured.as_bytes())
        .map(|mac| {
            let mac = mac.chain_update(b"gennaker ").chain_update(event_id);
            hex::encode(mac.finalize().into_bytes())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(body: Vec<u8>) -> Delivery {
        Delivery {
            kind: "git".to_owned(),
            source: "github".to_owned(),
            headers: vec![
                ("x-github-event".to_owned(), "push".to_owned()),
                ("x-gitlab-token".to_owned(), "hunter2".to_owned()),
            ],
            body,
            event_id: Some("e".to_owned()),
            at: 7,
            vouchers: vec![voucher("s", "e")],
        }
    }

    #[test]
    fn a_delivery_arrives_as_it_was_sent_but_for_its_secrets() {
        for body in [
            br#"{"a":"\u00e9"}"#.to_vec(),
            Vec::new(),
            b"{\"a\":\"xxxxxxxxxxxx\"}".repeat(100_000),
        ] {
            let sent = delivery(body);
            let event = sent.to_json().unwrap();
            assert!(!event.to_string().contains("hunter2"));
            assert!(event.to_string().len() <= MOST_BYTES);
            let mut expected = sent.clone();
            expected.headers.truncate(1);
            assert_eq!(Delivery::from_json(&event).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_packed_small_enough_is_told() {
        let mut state = 1_u64;
        let noise = (0..2_000_000).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        });
        assert!(matches!(
            delivery(noise.collect()).to_json(),
            Err(DeliveryError::TooLarge(bytes)) if bytes > MOST_BYTES
        ));
    }

    #[test]
    fn a_body_that_unpacks_to_more_than_is_read_is_refused() {
        let bomb = zstd::encode_all(vec![b' '; MAX_BODY + 1].as_slice(), 3).unwrap();
        let mut event = delivery(Vec::new()).to_json().unwrap();
        event["delivery"]["packed"] = STANDARD.encode(bomb).into();
        assert_eq!(
            Delivery::from_json(&event),
            Err(DeliveryError::Unreadable("packed"))
        );
    }

    #[test]
    fn a_voucher_is_of_one_secret_and_one_event() {
        assert_eq!(voucher("s", "e"), voucher("s", "e"));
        assert_ne!(voucher("s", "e"), voucher("t", "e"));
        assert_ne!(voucher("s", "e"), voucher("s", "f"));
    }
}
