#![doc = include_str!("../README.md")]

pub mod account;
pub mod place;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_cloud::{CloudError, Connection, Store};
use gennaker_http::{
    AwsObjects, AwsSecrets, Http, HttpError, Limits, Objects, Request, Response, Secrets,
};
use serde_json::Value;
use url::Url;

pub use account::{AccountError, ArtifactAccount, Kind, SignIn};
pub use place::{Place, is_embedded, place};

/// Most bytes of an artifact that are read.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why the content is not known.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It never will be.
    #[error("{0}")]
    Never(String),
    /// There was no answer; the same request may get one.
    #[error("{0}")]
    NotNow(String),
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] CloudError),
}

/// Reads artifacts.
#[derive(Clone)]
pub struct Artifacts {
    http: Arc<dyn Http>,
    objects: Arc<dyn Objects>,
    secrets: Arc<dyn Secrets>,
}

impl std::fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Artifacts")
    }
}

impl Artifacts {
    /// From the internet, from S3, with secrets.
    pub fn new(http: Arc<dyn Http>, objects: Arc<dyn Objects>, secrets: Arc<dyn Secrets>) -> Self {
        Self {
            http,
            objects,
            secrets,
        }
    }

    /// On AWS; `http` is the way to the internet.
    pub fn connect(connection: &Connection, http: Arc<dyn Http>) -> Self {
        Self::new(
            http,
            Arc::new(AwsObjects::new(connection)),
            Arc::new(AwsSecrets::new(connection)),
        )
    }

    /// What an artifact holds, [`MAX_BYTES`] at most. Two calls may find two contents.
    ///
    /// # Errors
    /// [`ContentError`]; no message holds a secret.
    pub async fn content(
        &self,
        store: &Store,
        artifact: &Value,
        now: i64,
    ) -> Result<Vec<u8>, ContentError> {
        let name = artifact.get("artifactAccount").and_then(Value::as_str);
        // `embedded-artifact` is a name that every pipeline has, and no account.
        let name = name
            .map(str::trim)
            .filter(|name| !name.is_empty() && !is_embedded(artifact));
        let account = match name {
            Some(name) => account(store, name).await?,
            None => None,
        };
        match place(artifact, account.as_ref())? {
            Place::Here(bytes) => Ok(bytes),
            Place::Object(object) => self
                .objects
                .object(&object, MAX_BYTES, now)
                .await
                .map_err(unanswered),
            Place::Address { url, kind, accept } => {
                let headers = self.headers(account.as_ref(), &url, kind, now).await?;
                let mut request = Request::get(url);
                request.headers = headers;
                if let Some(accept) = accept {
                    request = request.header("accept", accept);
                }
                // A refusal may mean that the account is missing.
                let unknown = name.filter(|_| account.is_none());
                self.fetch(&request, unknown).await
            }
        }
    }

    /// The headers that sign in, if there is an account and it is for this address.
    async fn headers(
        &self,
        account: Option<&ArtifactAccount>,
        url: &Url,
        kind: Kind,
        now: i64,
    ) -> Result<Vec<(String, String)>, ContentError> {
        let Some(account) = account.filter(|account| account.sign_in != SignIn::Nobody) else {
            return Ok(Vec::new());
        };
        if account.kind != kind || !account.is_for(url) {
            return Err(ContentError::Never(format!(
                "artifact account `{}` ({}) is not for files of type {} at `{}`",
                account.name,
                account.kind.as_str(),
                kind.as_str(),
                url.host_str().unwrap_or_default(),
            )));
        }
        let header = |name: &str, value: String| vec![(name.to_owned(), value)];
        Ok(match &account.sign_in {
            SignIn::Nobody => Vec::new(),
            SignIn::Token(reference) => {
                let token = self.secrets.secret(reference, now).await;
                let token = token.map_err(unanswered)?;
                let token = token.expose().trim();
                match kind {
                    Kind::GitHub => header("authorization", format!("token {token}")),
                    Kind::GitLab => header("private-token", token.to_owned()),
                    _ => header("authorization", format!("Bearer {token}")),
                }
            }
            SignIn::Password { username, password } => {
                let password = self.secrets.secret(password, now).await;
                let password = password.map_err(unanswered)?;
                let both = format!("{username}:{}", password.expose().trim());
                header("authorization", format!("Basic {}", STANDARD.encode(both)))
            }
        })
    }

    async fn fetch(
        &self,
        request: &Request,
        unknown_account: Option<&str>,
    ) -> Result<Vec<u8>, ContentError> {
        let limits = Limits {
            response_bytes: MAX_BYTES,
            ..Limits::default()
        };
        let response = self
            .http
            .send(request, &limits)
            .await
            .map_err(|error: HttpError| {
                let message = format!("the artifact cannot be read: {error}");
                if error.is_passing() {
                    ContentError::NotNow(message)
                } else {
                    ContentError::Never(message)
                }
            })?;
        answered(response, unknown_account)
    }
}

/// The account of this name, if it is saved.
async fn account(store: &Store, name: &str) -> Result<Option<ArtifactAccount>, ContentError> {
    let Some(value) = store.artifact_account(name).await? else {
        return Ok(None);
    };
    match ArtifactAccount::parse(name, &value) {
        Ok(account) => Ok(Some(account)),
        Err(error) => {
            let message = format!("artifact account `{name}`: {error}");
            Err(ContentError::Never(message))
        }
    }
}

fn answered(response: Response, unknown_account: Option<&str>) -> Result<Vec<u8>, ContentError> {
    let message = format!("the artifact's server answers {}", response.status);
    match response.status {
        200..=299 => Ok(response.body),
        429 | 500..=599 => Err(ContentError::NotNow(message)),
        _ => Err(ContentError::Never(match unknown_account {
            Some(name) => format!(
                "{message}; it was asked without credentials, as there is no artifact account `{name}` (gennaker artifact account save)"
            ),
            None => message,
        })),
    }
}

/// An error of S3, or of a secret.
fn unanswered(error: CloudError) -> ContentError {
    let message = format!("the artifact cannot be read: {error}");
    if error.is_passing() {
        ContentError::NotNow(message)
    } else {
        ContentError::Never(message)
    }
}
