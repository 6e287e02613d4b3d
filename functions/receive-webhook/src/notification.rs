//! Notifications of Amazon SNS over HTTPS: whether SNS itself sent them, and of which topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_http::{Http, HttpError, Limits, Request};
use jiff::Timestamp;
use serde_json::Value;
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;

/// How old a notification may be, milliseconds: SNS tries again for less than an hour.
const MOST_AGE: i64 = 3_600_000;

/// How far ahead of ours the clock of SNS may be.
const MOST_AHEAD: i64 = 300_000;

/// Certificates that are kept: SNS has one for each region, a new one each year.
const MOST_CERTIFICATES: usize = 20;

/// A certificate and a confirmation are small and near.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(8),
    connect: Duration::from_secs(3),
    response_bytes: 64 * 1024,
    redirects: 0,
};

/// What a message of SNS asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message for the topic's subscribers.
    Notification,
    /// The subscription is to be confirmed at this address, which is one of SNS.
    Confirmation(String),
    /// Nothing.
    Other,
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// It is not what SNS sends: 400.
    #[error("the message has no `{0}` that can be read")]
    Malformed(&'static str),
    /// It is of somebody else's topic: 403.
    #[error("the topic is not one of this account")]
    ForeignTopic,
    /// It was not SNS that sent it, or too long ago: 401.
    #[error("{0}")]
    Unsigned(&'static str),
    /// SNS did not give its certificate: 503.
    #[error("the certificate of SNS could not be read")]
    Unreachable(#[source] HttpError),
}

impl NotificationError {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned(_) => 401,
            Self::ForeignTopic => 403,
            Self::Unreachable(_) => 503,
        }
    }
}

/// Fields that are signed where they are there, in this order.
const SIGNED: [&str; 8] = [
    "Message",
    "MessageId",
    "Subject",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];

/// Takes messages of SNS of the topics of one account.
pub struct Topics {
    http: Arc<dyn Http>,
    /// The account that topics have to be of.
    account: String,
    certificates: Mutex<HashMap<String, Vec<u8>>>,
}

fn text<'a>(message: &'a Value, field: &'static str) -> Result<&'a str, NotificationError> {
    message
        .get(field)
        .and_then(Value::as_str)
        .ok_or(NotificationError::Malformed(field))
}

/// The host of SNS in a region, if the address is one below it.
fn host_of_sns(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let region = host.strip_prefix("sns.")?;
    let region = region
        .strip_suffix(".amazonaws.com")
        .or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (!region.is_empty() && region.chars().all(known)).then_some(host)
}

/// What SNS signs.
fn signed_text(message: &Value) -> String {
    let is_notification = message.get("Type").and_then(Value::as_str) == Some("Notification");
    let mut signed = String::new();
    for field in SIGNED {
        // Only confirmations have these; in a notification they would be somebody else's.
        if is_notification && ["SubscribeURL", "Token"].contains(&field) {
            continue;
        }
        if let Some(value) = message.get(field).and_then(Value::as_str) {
            for line in [field, value] {
                signed.push_str(line);
                signed.push('\n');
            }
        }
    }
    signed
}

impl Topics {
    /// Those of an account, with SNS asked over `http`.
    pub fn new(http: Arc<dyn Http>, account: impl Into<String>) -> Self {
        Self {
            http,
            account: account.into(),
            certificates: Mutex::default(),
        }
    }

    /// What a message asks for, if SNS sent it within the last hour for a topic of the account.
    ///
    /// # Errors
    /// [`NotificationError`].
    pub async fn kind(&self, message: &Value, now: i64) -> Result<Kind, NotificationError> {
        let mut arn = text(message, "TopicArn")?.split(':').skip(3);
        let (region, account) = (arn.next().unwrap_or(""), arn.next().unwrap_or(""));
        if account.is_empty() || account != self.account {
            return Err(NotificationError::ForeignTopic);
        }
        let sent: Timestamp = text(message, "Timestamp")?
            .parse()
            .map_err(|_| NotificationError::Malformed("Timestamp"))?;
        let age = now.saturating_sub(sent.as_millisecond());
        if !(-MOST_AHEAD..=MOST_AGE).contains(&age) {
            return Err(NotificationError::Unsigned("the message is too old"));
        }
        if text(message, "SignatureVersion")? != "2" {
            return Err(NotificationError::Unsigned(
                "the message is signed with SHA-1: set the topic's attribute `SignatureVersion` to 2",
            ));
        }
        let address = text(message, "SigningCertURL")?;
        let host = host_of_sns(address).filter(|host| host.starts_with(&format!("sns.{region}.")));
        let (Some(host), true) = (host, address.ends_with(".pem")) else {
            return Err(NotificationError::Unsigned(
                "`SigningCertURL` is not one of SNS in the topic's region",
            ));
        };
        let signature = STANDARD
            .decode(text(message, "Signature")?)
            .map_err(|_| NotificationError::Malformed("Signature"))?;
        let certificate = self.certificate(address).await?;
        if !is_signed(&certificate, signed_text(message).as_bytes(), &signature) {
            return Err(NotificationError::Unsigned(
                "the signature is not that of SNS",
            ));
        }
        Ok(match text(message, "Type")? {
            "Notification" => Kind::Notification,
            "SubscriptionConfirmation" => {
                let confirm = text(message, "SubscribeURL")?;
                if host_of_sns(confirm) != Some(host) {
                    return Err(NotificationError::Malformed("SubscribeURL"));
                }
                Kind::Confirmation(confirm.to_owned())
            }
            _ => Kind::Other,
        })
    }

    /// Confirms a subscription. A second call changes nothing.
    ///
    /// # Errors
    /// SNS did not answer.
    pub async fn confirm(&self, address: &str) -> Result<bool, HttpError> {
        let answer = self.http.send(&Request::get(address), &LIMITS).await?;
        Ok(answer.is_success())
    }

    /// A certificate in DER, as it was read before or as SNS gives it.
    async fn certificate(&self, address: &str) -> Result<Vec<u8>, NotificationError> {
        if let Some(known) = self.known().get(address) {
            return Ok(known.clone());
        }
        let answer = self
            .http
            .send(&Request::get(address), &LIMITS)
            .await
            .map_err(NotificationError::Unreachable)?;
        let certificate = answer
            .is_success()
            .then(|| first_certificate(&answer.text()))
            .flatten()
            .ok_or(NotificationError::Unsigned(
                "`SigningCertURL` holds no certificate",
            ))?;
        let mut known = self.known();
        if known.len() >= MOST_CERTIFICATES {
            known.clear();
        }
        known.insert(address.to_owned(), certificate.clone());
        Ok(certificate)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first certificate of a PEM file, in DER.
fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let compact: String = body.split_whitespace().collect();
    STANDARD.decode(compact).ok()
}

/// Whether the certificate's key signed the message. Who owns the certificate is known: it came from SNS' own host.
fn is_signed(certificate: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let certificate = certificate.into();
    EndEntityCert::try_from(&certificate).is_ok_and(|certificate| {
        certificate
            .verify_signature(RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_of_sns_is_one() {
        assert_eq!(
            host_of_sns("https://sns.eu-west-1.amazonaws.com/x.pem"),
            Some("sns.eu-west-1.amazonaws.com")
        );
        assert!(host_of_sns("https://sns.cn-north-1.amazonaws.com.cn/x.pem").is_some());
        for address in [
            "http://sns.eu-west-1.amazonaws.com/x.pem",
            "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
            "https://evil.example/sns.eu-west-1.amazonaws.com/x.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
            "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
            "https://sns.a.b.amazonaws.com/x.pem",
            "https://sns..amazonaws.com/x.pem",
            "https://sns.amazonaws.com/x.pem",
            "https://bucket.s3.amazonaws.com/x.pem",
            "",
        ] {
            assert_eq!(host_of_sns(address), None, "{address}");
        }
    }
}
