//! A click in Slack.

use std::time::Duration;

use gennaker_domain::approval::{Choice, Via};
use gennaker_http::{Limits, Method, Request, SecretReference};
use gennaker_lambda::{FunctionError, HttpAnswer, HttpEvent};
use gennaker_messages::approval::{Standing, announcement};
use gennaker_messages::slack::{self, Action};
use serde_json::{Value, json};

use super::Front;
use crate::Decide;
use crate::judge::{Asked, Given, Verdict};

/// Slack shows an error if it has no answer after three seconds: what is left for replacing the message is a second and a
/// half at most.
const REPLACE: Limits = Limits {
    total: Duration::from_millis(1_500),
    connect: Duration::from_millis(1_000),
    response_bytes: 64 * 1024,
    redirects: 0,
};

impl Decide {
    pub(super) async fn slack_action(
        &self,
        front: &Front,
        request: &HttpEvent,
        now: i64,
    ) -> Result<HttpAnswer, FunctionError> {
        if request.method != "POST" {
            return Ok(HttpAnswer::error(405, "only POST").header("allow", "POST"));
        }
        let Some(reference) = front.slack_secret.as_deref() else {
            return Ok(HttpAnswer::error(404, "there is nothing here"));
        };
        let reference = SecretReference::parse(reference)
            .ok()
            .flatten()
            .ok_or_else(|| {
                FunctionError::Invalid(
                    "SLACK_SIGNING_SECRET is no reference to a secret".to_owned(),
                )
            })?;
        let secret = front.secrets.secret(&reference, now).await?;
        let signed = slack::verify(
            secret.expose(),
            request.header("x-slack-request-timestamp"),
            request.header("x-slack-signature"),
            &request.body,
            now,
        );
        if let Err(error) = signed {
            return Ok(HttpAnswer::error(401, &error.to_string()));
        }
        let Some(fields) = request.form() else {
            return Ok(HttpAnswer::error(400, "the body is not text"));
        };
        let payload = fields
            .iter()
            .find(|(name, _)| name == "payload")
            // Deeper than 128 levels is no JSON for this parser.
            .and_then(|(_, value)| serde_json::from_str::<Value>(value).ok());
        let Some(payload) = payload else {
            return Ok(HttpAnswer::error(400, "there is no `payload` of JSON"));
        };
        let taken = HttpAnswer::new(200, "text/plain; charset=utf-8", "");
        match Action::read(&payload) {
            Some(action) => self.clicked(front, &action, now).await.map(|()| taken),
            // Something else happened in the message: Slack only wants to hear that it was heard.
            None => Ok(taken),
        }
    }

    async fn clicked(&self, front: &Front, action: &Action, now: i64) -> Result<(), FunctionError> {
        let tell = |text: &str| json!({ "response_type": "ephemeral", "replace_original": false, "text": slack::escaped(text) });
        let (reference, round) = action
            .reference
            .rsplit_once('/')
            .unwrap_or((action.reference.as_str(), ""));
        let approval = self.referred(reference).await?;
        let (Some(approval), Some(choice), Ok(round)) =
            (approval, Choice::parse(&action.answer), round.parse())
        else {
            let text = "Already decided: nobody asks this any more.";
            return respond(front, action, &tell(text)).await;
        };
        let person = self.slack_person(&action.user).await?;
        let given = Given {
            asked: Asked {
                choice,
                input: action.input.as_deref(),
                reason: action.reason.as_deref(),
            },
            person: &person,
            via: Via::Slack,
            round: Some(round),
            at: now,
        };
        let verdict = self.judge(&approval, &given).await?;
        let standing = match &verdict {
            Verdict::NotAllowed(_) | Verdict::UnknownInput(_) => {
                // The message is for others: it stays.
                return respond(front, action, &tell(&verdict.text(&approval))).await;
            }
            Verdict::Superseded | Verdict::Changed(_) => Standing::Superseded,
            Verdict::Over => Standing::Over,
            Verdict::Decided(_)
            | Verdict::Already(_)
            | Verdict::Counted { .. }
            | Verdict::Expired => Standing::AsStored,
        };
        let stored = self.store.approval_by_id(&approval.id).await?;
        let stored = stored.unwrap_or(approval);
        let url = front
            .public_url
            .as_ref()
            .map(|url| format!("{url}/approvals/{}", stored.reference()));
        let mut said = announcement(&stored, standing, url.as_deref());
        if !matches!(verdict, Verdict::Decided(_)) {
            said.text.push(verdict.text(&stored));
        }
        let mut message = slack::message(&said);
        if let Some(object) = message.as_object_mut() {
            object.insert("replace_original".to_owned(), Value::Bool(true));
        }
        respond(front, action, &message).await
    }
}

/// Replaces the message, or says something to the person alone. It is told elsewhere too: a failure is only logged.
async fn respond(front: &Front, action: &Action, message: &Value) -> Result<(), FunctionError> {
    let Some(url) = &action.response_url else {
        return Ok(());
    };
    let request = Request::new(Method::Post, url)
        .header("content-type", "application/json; charset=utf-8")
        .body(message.to_string());
    match front.http.send(&request, &REPLACE).await {
        Ok(answer) if answer.is_success() => {}
        Ok(answer) => tracing::warn!(status = answer.status, "Slack did not replace the message"),
        Err(error) => tracing::warn!(reason = %error, "Slack did not replace the message"),
    }
    Ok(())
}
