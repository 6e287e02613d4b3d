//! Accounts of the places that artifacts are read from.

use gennaker_http::SecretReference;
use serde_json::Value;
use url::Url;

/// What kind of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GitHub, or GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Bitbucket.
    Bitbucket,
    /// Any web server.
    Http,
    /// S3.
    S3,
}

impl Kind {
    /// The kind of an account's `type`, or of an artifact's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split('/').next()? {
            "github" => Some(Self::GitHub),
            "gitlab" => Some(Self::GitLab),
            "bitbucket" => Some(Self::Bitbucket),
            "http" => Some(Self::Http),
            "s3" => Some(Self::S3),
            _ => None,
        }
    }

    /// As an account's `type` is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::Http => "http",
            Self::S3 => "s3",
        }
    }

    /// Where the content API of the public service is.
    #[must_use]
    pub fn public_address(self) -> Option<&'static str> {
        match self {
            Self::GitHub => Some("https://api.github.com"),
            Self::GitLab => Some("https://gitlab.com"),
            Self::Bitbucket => Some("https://api.bitbucket.org"),
            Self::Http | Self::S3 => None,
        }
    }
}

/// How to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Not at all.
    Nobody,
    /// With a token.
    Token(SecretReference),
    /// With a name and a password.
    Password {
        /// Name.
        username: String,
        /// Where the password is.
        password: SecretReference,
    },
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactAccount {
    /// Its name, an artifact's `artifactAccount`.
    pub name: String,
    /// Kind of place.
    pub kind: Kind,
    /// How to sign in.
    pub sign_in: SignIn,
    /// Where the credentials may go, and the content API is.
    pub address: Option<Url>,
    /// Region of an S3 account's buckets.
    pub region: Option<String>,
}

/// A field of an account that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (`{field}`)")]
pub struct AccountError {
    /// The field.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

fn wrong<T>(field: &'static str, message: impl Into<String>) -> Result<T, AccountError> {
    Err(AccountError {
        field,
        message: message.into(),
    })
}

fn reference(value: &Value, field: &'static str) -> Result<Option<SecretReference>, AccountError> {
    let Some(text) = text(value, field) else {
        return Ok(None);
    };
    match SecretReference::parse(text) {
        Ok(Some(reference)) => Ok(Some(reference)),
        // The text itself may be the secret: it is not told.
        Ok(None) => wrong(
            field,
            "a secret is a reference: ssm:NAME or secretsmanager:NAME[:KEY]",
        ),
        Err(error) => wrong(field, error.to_string()),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    let text = value.get(field).and_then(Value::as_str)?.trim();
    (!text.is_empty()).then_some(text)
}

impl ArtifactAccount {
    /// Reads an account as it was given.
    ///
    /// # Errors
    /// [`AccountError`]; it never holds a field's text where a secret may be.
    pub fn parse(name: &str, value: &Value) -> Result<Self, AccountError> {
        let kind = text(value, "type").unwrap_or_default();
        let Some(kind) = Kind::parse(kind) else {
            return wrong(
                "type",
                "the account's type is github, gitlab, bitbucket, http or s3",
            );
        };
        let sign_in = match (
            reference(value, "token")?,
            text(value, "username"),
            reference(value, "password")?,
        ) {
            (None, None, None) => SignIn::Nobody,
            (Some(token), None, None) => SignIn::Token(token),
            (None, Some(username), Some(password)) => SignIn::Password {
                username: username.to_owned(),
                password,
            },
            _ => {
                return wrong(
                    "token",
                    "an account signs in with a `token`, or with `username` and `password`",
                );
            }
        };
        if kind == Kind::S3 && sign_in != SignIn::Nobody {
            return wrong(
                "token",
                "objects in S3 are read with the function's role: an s3 account has no credentials",
            );
        }
        let address = match text(value, "address").or(kind.public_address()) {
            None => None,
            Some(address) => match Url::parse(address) {
                Ok(url) if url.has_host() && matches!(url.scheme(), "https" | "http") => Some(url),
                _ => return wrong("address", "an address is like https://api.github.com"),
            },
        };
        if address.is_none() && sign_in != SignIn::Nobody {
            return wrong("address", "credentials need the address that they are for");
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            sign_in,
            address,
            region: text(value, "region").map(str::to_owned),
        })
    }

    /// Whether the account's credentials may go to this address.
    #[must_use]
    pub fn is_for(&self, url: &Url) -> bool {
        let Some(own) = &self.address else {
            return false;
        };
        // GitHub serves the same files, for the same token, under a second name.
        let raw = own.host_str() == Some("api.github.com")
            && url.scheme() == "https"
            && url.port().is_none()
            && url.host_str() == Some("raw.githubusercontent.com");
        raw || own.origin() == url.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: Value) -> Result<ArtifactAccount, AccountError> {
        ArtifactAccount::parse("mine", &value)
    }

    #[test]
    fn credentials_are_references_and_for_one_address() {
        let account = parsed(json!({ "type": "github/file", "token": "ssm:/g/token" })).unwrap();
        assert_eq!(account.kind, Kind::GitHub);
        for (address, may) in [
            ("https://api.github.com/repos/o/r/contents/p", true),
            ("https://raw.githubusercontent.com/o/r/main/p", true),
            ("http://api.github.com/repos", false),
            ("http://raw.githubusercontent.com/o", false),
            ("https://raw.githubusercontent.com:444/o", false),
            ("https://api.github.com.evil.example/", false),
            ("https://api.github.com:8443/", false),
            ("https://api.github.com@evil.example/", false),
        ] {
            assert_eq!(
                account.is_for(&Url::parse(address).unwrap()),
                may,
                "{address}"
            );
        }
    }

    #[test]
    fn what_cannot_work_is_told_and_no_secret_with_it() {
        for (account, field) in [
            (json!({}), "type"),
            (json!({ "type": "gcs" }), "type"),
            (json!({ "type": "github", "token": "hunter2" }), "token"),
            (
                json!({ "type": "github", "token": "ssm:hunter2 x" }),
                "token",
            ),
            (json!({ "type": "gitlab", "username": "ann" }), "token"),
            (
                json!({ "type": "http", "username": "ann", "password": "hunter2" }),
                "password",
            ),
            (
                json!({ "type": "http", "token": "ssm:/g/token" }),
                "address",
            ),
            (json!({ "type": "http", "address": "ftp://x" }), "address"),
            (json!({ "type": "s3", "token": "ssm:/g/token" }), "token"),
        ] {
            let error = parsed(account.clone()).unwrap_err();
            assert_eq!(error.field, field, "{account}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
