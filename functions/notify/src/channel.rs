//! The ways to people, and what each makes of a message.

mod email;
mod github_status;
mod google_chat;
mod microsoft_teams;
mod pager_duty;
mod slack;
mod sms;

use std::sync::Arc;
use std::time::Duration;

use gennaker_cloud::notification::Message as TopicMessage;
use gennaker_cloud::{CloudError, Notifications};
use gennaker_http::{Aws, Http, HttpError, Limits, Request, Response, SecretReference, Secrets};
use gennaker_messages::Announcement;
use serde_json::Value;

use crate::message::Message;
use crate::setting::Recipient;

/// One delivery.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(10),
    connect: Duration::from_secs(3),
    response_bytes: 1 << 20,
    redirects: 0,
};

/// What the installation says about its channels. Tokens are references to secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where people look at executions.
    pub base_url: Option<String>,
    /// The installation's bus; none puts no events.
    pub bus: Option<String>,
    /// Sender of mails, an identity that SES has verified.
    pub email_from: Option<String>,
    /// Topic that hears of every judgment that asks somebody.
    pub approval_topic: Option<String>,
    /// Where the internet reaches the installation: the page of a judgment is below it.
    pub public_url: Option<String>,
    /// Slack's methods; none is `https://slack.com/api`.
    pub slack_api: Option<String>,
    /// Reference to Slack's bot token (`chat:write`).
    pub slack_token: Option<String>,
    /// Reference to a GitHub token (`repo:status`).
    pub github_token: Option<String>,
    /// GitHub's API; none is `https://api.github.com`.
    pub github_api: Option<String>,
    /// Twilio's account SID; none sends text messages by SNS.
    pub twilio_account: Option<String>,
    /// Reference to Twilio's token.
    pub twilio_token: Option<String>,
    /// Number that Twilio sends from.
    pub twilio_from: Option<String>,
    /// ARN of an SNS topic of this account and region without its name: `arn:aws:sns:us-east-1:123456789012:`.
    pub topics: Option<String>,
}

/// A message in Slack, which can be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Id of the channel.
    pub channel: String,
    /// Its time stamp: Slack's id of a message.
    pub ts: String,
}

/// Why a message did not go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// It may go at the next try.
    #[error("{0}")]
    Passing(String),
    /// It never will.
    #[error("{0}")]
    Refused(String),
}

impl From<CloudError> for ChannelError {
    fn from(error: CloudError) -> Self {
        if error.is_passing() {
            Self::Passing(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

impl From<HttpError> for ChannelError {
    fn from(error: HttpError) -> Self {
        if error.is_passing() {
            Self::Passing(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, ChannelError> {
    Err(ChannelError::Refused(reason.into()))
}

/// What the execution says about a message's subject, for channels that need more than the message.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What started the execution.
    pub trigger: &'a Value,
}

/// All ways to people.
pub struct Channels {
    /// Topics and text messages.
    pub notifications: Arc<dyn Notifications>,
    /// SES.
    pub aws: Arc<dyn Aws>,
    /// Everything that is not AWS.
    pub http: Arc<dyn Http>,
    /// Tokens.
    pub secrets: Arc<dyn Secrets>,
    /// What the installation says about them.
    pub settings: Settings,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Channels {
    /// Delivers a message. A second delivery is a second message, but for GitHub and PagerDuty, which know it again.
    ///
    /// # Errors
    /// [`ChannelError`]; no message of it holds an address or a token.
    pub async fn send(
        &self,
        recipient: &Recipient,
        message: &Message,
        subject: Subject<'_>,
        now: i64,
    ) -> Result<Option<Posted>, ChannelError> {
        match recipient {
            Recipient::Slack(channel) => return slack::send(self, channel, message, now).await,
            Recipient::Topic(topic) => self.publish(topic, message).await,
            Recipient::Email { to, cc } => email::send(self, to, cc, message, now).await,
            Recipient::MicrosoftTeams(address) => {
                microsoft_teams::send(self, address, message, now).await
            }
            Recipient::GoogleChat(address) => google_chat::send(self, address, message, now).await,
            Recipient::Sms(number) => sms::send(self, number, message, now).await,
            Recipient::PagerDuty(key) => pager_duty::send(self, key, message, now).await,
            Recipient::GithubStatus { repository, commit } => {
                let given = (repository.as_deref(), commit.as_deref());
                github_status::send(self, given, message, subject, now).await
            }
        }?;
        Ok(None)
    }

    /// Replaces a message that was posted. A second call changes nothing.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn replace(
        &self,
        posted: &Posted,
        said: &Announcement,
        now: i64,
    ) -> Result<(), ChannelError> {
        slack::update(self, posted, said, now).await
    }

    async fn publish(&self, topic: &str, message: &Message) -> Result<(), ChannelError> {
        let arn = match &self.settings.topics {
            Some(topics) if !topic.starts_with("arn:") => format!("{topics}{topic}"),
            _ => topic.to_owned(),
        };
        let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let published = TopicMessage {
            subject: message.title.clone(),
            text: message.for_topic(),
            attributes: vec![
                attribute("when", &message.when),
                attribute("application", &message.application),
                attribute("messageId", &message.id),
            ],
        };
        Ok(self.notifications.publish(&arn, &published).await?)
    }

    /// The text behind a reference; a text that is none is refused where only references may be.
    async fn secret(
        &self,
        text: Option<&String>,
        what: &str,
        now: i64,
    ) -> Result<String, ChannelError> {
        let Some(text) = text else {
            return refused(format!("the installation has no {what}"));
        };
        match SecretReference::parse(text) {
            Ok(Some(reference)) => {
                let secret = self.secrets.secret(&reference, now).await?;
                Ok(secret.expose().trim().to_owned())
            }
            Ok(None) => refused(format!(
                "{what} is no reference to a secret (`ssm:…`, `secretsmanager:…`)"
            )),
            Err(error) => refused(format!("{what}: {error}")),
        }
    }

    /// An address that may itself be a secret: a reference is looked up, anything else is the address.
    async fn address(&self, text: &str, now: i64) -> Result<String, ChannelError> {
        match SecretReference::parse(text) {
            Ok(Some(reference)) => Ok(self
                .secrets
                .secret(&reference, now)
                .await?
                .expose()
                .trim()
                .to_owned()),
            Ok(None) => Ok(text.to_owned()),
            Err(error) => refused(error.to_string()),
        }
    }

    /// The answer to a request, if it succeeded.
    async fn post(&self, request: Request) -> Result<Response, ChannelError> {
        let response = self.http.send(&request, &LIMITS).await?;
        match response.status {
            200..=299 => Ok(response),
            408 | 425 | 429 | 500..=599 => Err(ChannelError::Passing(format!(
                "it answered {}",
                response.status
            ))),
            status => refused(format!("it answered {status}")),
        }
    }
}

fn json_request(url: impl Into<String>, body: &Value) -> Request {
    Request::new(gennaker_http::Method::Post, url)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "gennaker")
        .body(body.to_string())
}

/// At most so many characters, the last one an ellipsis if some are missing.
fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
