//! What the internet may call: `POST /slack/actions` and `/approvals/<reference>`.

use std::sync::{Arc, Mutex, PoisonError};

use gennaker_cloud::{CloudError, Condition, Connection, Key, Write};
use gennaker_domain::approval::Approval;
use gennaker_http::{AwsSecrets, Http, Secrets};
use gennaker_lambda::{
    FunctionError, HttpAnswer, HttpEvent, Randomness, internet, metric, randomness, setting,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Decide;
use token::{Claims, Purpose};

mod page;
mod slack;
mod token;

/// Longest body that is read: a click of Slack carries its whole message, 50 blocks of 3,000 characters at most.
const BODY_BYTES: usize = 256 * 1024;

/// How long a personal link opens the page as that person.
const PERSONAL_MILLIS: i64 = 15 * 60_000;

/// What the internet may call needs these.
#[derive(Clone)]
pub struct Front {
    secrets: Arc<dyn Secrets>,
    http: Arc<dyn Http>,
    randomness: Randomness,
    /// Reference to Slack's signing secret.
    slack_secret: Option<String>,
    /// Where this front is, without a slash at the end.
    public_url: Option<String>,
    /// Signs forms and personal links; read once.
    key: Arc<Mutex<Option<Vec<u8>>>>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front")
    }
}

impl Front {
    /// On secrets, the internet and a source of random numbers.
    pub fn new(secrets: Arc<dyn Secrets>, http: Arc<dyn Http>, randomness: Randomness) -> Self {
        Self {
            secrets,
            http,
            randomness,
            slack_secret: None,
            public_url: None,
            key: Arc::default(),
        }
    }

    /// With Slack: the reference to the signing secret of the app.
    #[must_use]
    pub fn with_slack(self, secret: Option<String>) -> Self {
        Self {
            slack_secret: secret,
            ..self
        }
    }

    /// At this address.
    #[must_use]
    pub fn at(self, url: Option<String>) -> Self {
        Self {
            public_url: url.map(|url| url.trim_end_matches('/').to_owned()),
            ..self
        }
    }

    /// On AWS, with the settings of this process.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(
            Arc::new(AwsSecrets::new(connection)),
            Arc::new(internet()),
            randomness,
        )
        .with_slack(setting("SLACK_SIGNING_SECRET"))
        .at(setting("PUBLIC_URL"))
    }
}

/// Whether two texts are the same, in a time that tells nothing of where they differ.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

impl Decide {
    /// Answers a request of the internet. Nothing that it holds is logged.
    pub(crate) async fn answer(&self, event: &Value, now: i64) -> HttpAnswer {
        let (endpoint, answer) = match HttpEvent::read(event, BODY_BYTES) {
            Err(error) => ("unread", Ok(error.answer())),
            Ok(request) => self.route(&request, now).await,
        };
        let answer = answer.unwrap_or_else(|error| {
            tracing::error!(endpoint, reason = %error, "a request could not be answered");
            HttpAnswer::error(503, "try again in a moment").header("retry-after", "1")
        });
        let status = answer.status.to_string();
        metric::count(
            "PublicRequests",
            &[("Endpoint", endpoint), ("Status", &status)],
            now,
        );
        if answer.status >= 400 {
            tracing::warn!(endpoint, status = answer.status, "a request was refused");
        }
        answer
    }

    async fn route(
        &self,
        request: &HttpEvent,
        now: i64,
    ) -> (&'static str, Result<HttpAnswer, FunctionError>) {
        let Some(front) = &self.front else {
            return ("none", Ok(HttpAnswer::error(404, "there is nothing here")));
        };
        let path = request.path.trim_end_matches('/');
        if path == "/slack/actions" {
            return ("slack", self.slack_action(front, request, now).await);
        }
        if let Some(reference) = path.strip_prefix("/approvals/") {
            return ("page", self.page(front, request, reference, now).await);
        }
        ("none", Ok(HttpAnswer::error(404, "there is nothing here")))
    }

    /// The approval that a reference (id and code) leads to. An id with another code is as unknown as no id.
    async fn referred(&self, reference: &str) -> Result<Option<Approval>, CloudError> {
        let Some((id, code)) = reference.split_once('-') else {
            return Ok(None);
        };
        let readable = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !readable(id) || !readable(code) {
            return Ok(None);
        }
        let found = self.store.approval_by_id(id).await?;
        Ok(found.filter(|approval| same(&approval.code, code)))
    }

    /// The key that signs forms and personal links, made by whoever needs it first (`SIGNING#decide`).
    async fn signing_key(&self, front: &Front) -> Result<Vec<u8>, CloudError> {
        let held = || front.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = held().clone() {
            return Ok(key);
        }
        let at = Key::new("SIGNING#decide", "KEY");
        let table = self.store.table();
        let mut item = table.get(&at).await?;
        if item.is_none() {
            let fresh = hex::encode((front.randomness)()?);
            let fields = [("key".to_owned(), Value::from(fresh))]
                .into_iter()
                .collect();
            let write = Write::put(at.clone(), fields).only_if(Condition::no_item());
            match table.write(write).await {
                Ok(()) | Err(CloudError::ConditionFailed { .. }) => {}
                Err(error) => return Err(error),
            }
            item = table.get(&at).await?;
        }
        let key = item
            .as_ref()
            .and_then(|item| item.get("key"))
            .and_then(Value::as_str)
            .and_then(|key| hex::decode(key).ok())
            .filter(|key| key.len() == 32)
            .ok_or_else(|| CloudError::Unreadable {
                what: "the key of the page".to_owned(),
                message: "it is no 32 bytes".to_owned(),
            })?;
        *held() = Some(key.clone());
        Ok(key)
    }

    /// A link that opens the page as this person, for a quarter of an hour.
    pub(crate) async fn personal_link(
        &self,
        approval: &Approval,
        name: &str,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let front = self.front.as_ref();
        let Some((front, url)) = front.and_then(|front| Some((front, front.public_url.as_ref()?)))
        else {
            return Err(FunctionError::Invalid(
                "this installation has no page: it does not know its own address (PUBLIC_URL)"
                    .to_owned(),
            ));
        };
        let expires = now.saturating_add(PERSONAL_MILLIS);
        let claims = Claims {
            purpose: Purpose::Person,
            approval: approval.id.clone(),
            round: approval.round,
            binding: String::new(),
            person: Some(name.to_owned()),
            expires,
        };
        let token = token::seal(&self.signing_key(front).await?, &claims);
        let reference = approval.reference();
        Ok(json!({ "url": format!("{url}/approvals/{reference}?as={token}"), "expires": expires }))
    }
}
