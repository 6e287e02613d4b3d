//! Secrets by reference.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_cloud::{CloudError, Connection};
use serde_json::{Value, json};

use crate::aws::is_region;
use crate::signed_call::{Aws, SignedCall, SignedCalls};

/// Longest name of a parameter or a secret, an ARN included: the services' own maximum is 2,048.
const NAME_CHARACTERS: usize = 2_048;
/// Spinnaker's notation of a secret of Secrets Manager.
const ENCRYPTED: &str = "encrypted:secrets-manager";

/// A secret's text. It shows itself to nobody who does not ask for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretReference {
    /// A parameter of Systems Manager.
    Parameter {
        /// Name or ARN.
        name: String,
    },
    /// A secret of Secrets Manager.
    Secret {
        /// Region; none is the function's own.
        region: Option<String>,
        /// Name or ARN.
        name: String,
        /// Field of a secret that is a JSON object.
        key: Option<String>,
    },
}

/// A text that begins as a reference and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret reference cannot be read: {reason}")]
pub struct ReferenceError {
    /// What is wrong; never the text itself, which may be a secret that somebody put there.
    pub reason: String,
}

fn unreadable<T>(reason: &str) -> Result<T, ReferenceError> {
    Err(ReferenceError {
        reason: reason.to_owned(),
    })
}

impl SecretReference {
    /// The reference that the whole text is; none if it does not begin as one.
    ///
    /// # Errors
    /// [`ReferenceError`] if it begins as one and is none.
    pub fn parse(text: &str) -> Result<Option<Self>, ReferenceError> {
        let text = text.trim();
        let reference = if let Some(name) = text.strip_prefix("ssm:") {
            Self::Parameter {
                name: name.to_owned(),
            }
        } else if let Some(rest) = text.strip_prefix("secretsmanager:") {
            let (name, key) = name_and_key(rest);
            let key = key.map(str::to_owned);
            let name = name.to_owned();
            let region = None;
            Self::Secret { region, name, key }
        } else if let Some(rest) = text.strip_prefix(ENCRYPTED) {
            spinnakers(rest)?
        } else if text.starts_with("encrypted:") {
            return unreadable("only `encrypted:secrets-manager` is supported");
        } else {
            return Ok(None);
        };
        let (Self::Parameter { name } | Self::Secret { name, .. }) = &reference;
        let known = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-:!".contains(c);
        if name.is_empty() || name.len() > NAME_CHARACTERS || !name.chars().all(known) {
            return unreadable("the name is none");
        }
        Ok(Some(reference))
    }
}

/// `NAME:KEY`, where the name may be an ARN: seven parts of its own.
fn name_and_key(text: &str) -> (&str, Option<&str>) {
    let colons = if text.starts_with("arn:") { 6 } else { 0 };
    match text.match_indices(':').nth(colons) {
        Some((at, _)) => {
            let (name, key) = text.split_at(at);
            (
                name,
                Some(key.trim_start_matches(':')).filter(|key| !key.is_empty()),
            )
        }
        None => (text, None),
    }
}

/// `!r:REGION!s:NAME!k:KEY`, in any order.
fn spinnakers(text: &str) -> Result<SecretReference, ReferenceError> {
    let (mut region, mut name, mut key) = (None, None, None);
    for part in text.split('!').filter(|part| !part.is_empty()) {
        match part.split_once(':') {
            Some(("r", value)) => region = Some(value.to_owned()),
            Some(("s", value)) => name = Some(value.to_owned()),
            Some(("k", value)) => key = Some(value.to_owned()),
            _ => return unreadable("its parts are `r:`, `s:` and `k:`"),
        }
    }
    let Some(region) = region.filter(|region| is_region(region)) else {
        return unreadable("`!r:` names no region");
    };
    let Some(name) = name else {
        return unreadable("`!s:` names no secret");
    };
    Ok(SecretReference::Secret {
        region: Some(region),
        name,
        key,
    })
}

/// Resolves references.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The secret as it is now. (`ssm:GetParameter`, `secretsmanager:GetSecretValue`)
    ///
    /// # Errors
    /// Those of the services; [`CloudError::Unreadable`] if the secret has no such key.
    async fn secret(&self, reference: &SecretReference, now: i64) -> Result<Secret, CloudError>;
}

/// The calls of [`Secrets`], with the IAM actions that they need.
pub mod calls {
    gennaker_cloud::calls! { "Secrets":
        SECRET = "secret" => ["ssm:GetParameter", "secretsmanager:GetSecretValue"];
    }
}

/// Secrets on AWS.
#[derive(Debug)]
pub struct AwsSecrets {
    calls: SignedCalls,
}

impl AwsSecrets {
    /// With the connection's credentials, region and endpoint.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            calls: SignedCalls::new(connection),
        }
    }
}

#[async_trait]
impl Secrets for AwsSecrets {
    async fn secret(&self, reference: &SecretReference, now: i64) -> Result<Secret, CloudError> {
        let missing = |what: &str| CloudError::Unreadable {
            what: what.to_owned(),
            message: "the answer holds no text".to_owned(),
        };
        match reference {
            SecretReference::Parameter { name } => {
                let call = SignedCall {
                    region: arn_region(name),
                    ..SignedCall::json(
                        "ssm",
                        "ssm:GetParameter",
                        "AmazonSSM.GetParameter",
                        name,
                        &json!({ "Name": name, "WithDecryption": true }),
                    )
                };
                let answer = self.calls.send(&call, now).await?;
                let value = answer.pointer("/Parameter/Value").and_then(Value::as_str);
                value.map(Secret::new).ok_or_else(|| missing(name))
            }
            SecretReference::Secret { region, name, key } => {
                let call = SignedCall {
                    region: region.as_deref().or_else(|| arn_region(name)),
                    ..SignedCall::json(
                        "secretsmanager",
                        "secretsmanager:GetSecretValue",
                        "secretsmanager.GetSecretValue",
                        name,
                        &json!({ "SecretId": name }),
                    )
                };
                let answer = self.calls.send(&call, now).await?;
                let text = answer.get("SecretString").and_then(Value::as_str);
                let binary = || {
                    let encoded = answer.get("SecretBinary").and_then(Value::as_str)?;
                    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
                };
                let whole = text
                    .map(str::to_owned)
                    .or_else(binary)
                    .ok_or_else(|| missing(name))?;
                match key {
                    None => Ok(Secret::new(whole)),
                    Some(key) => field(&whole, key).ok_or_else(|| CloudError::Unreadable {
                        what: name.clone(),
                        message: format!("the secret has no field `{key}`"),
                    }),
                }
            }
        }
    }
}

/// The region that an ARN names.
fn arn_region(name: &str) -> Option<&str> {
    name.strip_prefix("arn:")?
        .split(':')
        .nth(2)
        .filter(|region| !region.is_empty())
}

/// A field of a secret that is a JSON object. A number or a boolean is its text.
#[must_use]
pub fn field(secret: &str, key: &str) -> Option<Secret> {
    match serde_json::from_str::<Value>(secret).ok()?.get(key)? {
        Value::String(text) => Some(Secret::new(text.as_str())),
        Value::Null => None,
        other => Some(Secret::new(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<SecretReference>, ReferenceError> {
        SecretReference::parse(text)
    }

    fn secret(region: Option<&str>, name: &str, key: Option<&str>) -> SecretReference {
        SecretReference::Secret {
            region: region.map(str::to_owned),
            name: name.to_owned(),
            key: key.map(str::to_owned),
        }
    }

    #[test]
    fn references_are_read_in_all_three_notations() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hooks-AbCdEf";
        for (text, expected) in [
            (
                "ssm:/gennaker/hook-token".to_owned(),
                SecretReference::Parameter {
                    name: "/gennaker/hook-token".to_owned(),
                },
            ),
            (
                "secretsmanager:hooks".to_owned(),
                secret(None, "hooks", None),
            ),
            (
                "secretsmanager:gennaker/hooks:token".to_owned(),
                secret(None, "gennaker/hooks", Some("token")),
            ),
            (format!("secretsmanager:{arn}"), secret(None, arn, None)),
            (
                format!("secretsmanager:{arn}:token"),
                secret(None, arn, Some("token")),
            ),
            (
                "encrypted:secrets-manager!r:us-west-2!s:spinnaker/hooks!k:token".to_owned(),
                secret(Some("us-west-2"), "spinnaker/hooks", Some("token")),
            ),
            (
                "encrypted:secrets-manager!s:hooks!r:us-west-2".to_owned(),
                secret(Some("us-west-2"), "hooks", None),
            ),
        ] {
            assert_eq!(parsed(&text).unwrap(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_references_and_broken_ones_are_told_without_their_text() {
        for text in ["", "Bearer abc", "https://ssm:x", "SSM:name"] {
            assert_eq!(parsed(text).unwrap(), None, "{text}");
        }
        for text in [
            "ssm:",
            "ssm:hunter2 hunter2",
            "secretsmanager::hunter2",
            "encrypted:s3!hunter2",
            "encrypted:secrets-manager!s:hunter2",
            "encrypted:secrets-manager!r:x.evil.com/!s:hunter2",
            "encrypted:secrets-manager!r:us-east-1",
            "encrypted:secrets-manager!z:hunter2",
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_field_of_a_secret_is_its_text() {
        let whole = r#"{"token":"abc","port":8080,"none":null}"#;
        assert_eq!(field(whole, "token").unwrap().expose(), "abc");
        assert_eq!(field(whole, "port").unwrap().expose(), "8080");
        assert!(field(whole, "none").is_none() && field(whole, "other").is_none());
        assert!(field("abc", "token").is_none());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("abc")), "Secret(…)");
    }
}
