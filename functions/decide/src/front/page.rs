//! The page of an approval: a GET shows and decides nothing, a POST of its form decides.

use gennaker_cloud::{CloudError, User};
use gennaker_domain::approval::{Approval, Choice, Person, Via};
use gennaker_lambda::{FunctionError, HttpAnswer, HttpEvent};

use super::token::{self, Claims, Purpose, TokenError};
use super::{Front, same};
use crate::Decide;
use crate::judge::{Asked, Given, Verdict};

pub(super) mod html;

use html::{Form, View};

/// How long a form that was opened can be sent.
const FORM_MILLIS: i64 = 60 * 60_000;

/// Longest body of a form: a reason of 1,000 characters, each nine bytes when encoded, and room to spare.
const FORM_BYTES: usize = 64 * 1024;

const METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// Who looks at the page.
enum Viewer {
    /// Somebody with a personal link.
    Known(Person),
    /// Somebody with the link of a message.
    Unattributed,
    /// Somebody whose personal link is too old.
    Late,
}

impl Decide {
    pub(super) async fn page(
        &self,
        front: &Front,
        request: &HttpEvent,
        reference: &str,
        now: i64,
    ) -> Result<HttpAnswer, FunctionError> {
        match request.method.as_str() {
            "OPTIONS" => return Ok(html::bare(204).header("allow", METHODS)),
            "GET" | "HEAD" | "POST" => {}
            _ => return Ok(html::bare(405).header("allow", METHODS)),
        }
        let Some(approval) = self.referred(reference).await? else {
            return Ok(html::answer(404, &View::Unknown));
        };
        if request.method == "POST" {
            return self.posted(front, request, &approval, now).await;
        }
        let viewer = self.viewer(front, request, &approval, now).await?;
        let mut answer = self.shown(front, &approval, viewer, None, now).await?;
        if request.method == "HEAD" {
            answer.body.clear();
        }
        Ok(answer)
    }

    async fn viewer(
        &self,
        front: &Front,
        request: &HttpEvent,
        approval: &Approval,
        now: i64,
    ) -> Result<Viewer, CloudError> {
        let Some(token) = request.query("as") else {
            return Ok(Viewer::Unattributed);
        };
        let key = self.signing_key(front).await?;
        match token::open(&key, token, Purpose::Person, &approval.id, now) {
            Ok(claims) => Ok(match claims.person {
                Some(name) => Viewer::Known(self.named(&name).await?),
                None => Viewer::Unattributed,
            }),
            Err(TokenError::Expired) => Ok(Viewer::Late),
            Err(TokenError::Wrong) => Ok(Viewer::Unattributed),
        }
    }

    /// The person of that name with the roles of today.
    async fn named(&self, name: &str) -> Result<Person, CloudError> {
        let known = User::called(&self.store, name).await?;
        Ok(known.map_or_else(|| Person::stranger(name), |user| user.person()))
    }

    /// The page as it stands, with a form if this viewer may answer. `wrong` is what was wrong with the form before.
    async fn shown(
        &self,
        front: &Front,
        approval: &Approval,
        viewer: Viewer,
        wrong: Option<&str>,
        now: i64,
    ) -> Result<HttpAnswer, FunctionError> {
        if let Some(verdict) = self.stands(approval).await? {
            let text = verdict.text(approval);
            let title = "Already decided";
            return Ok(html::answer(
                200,
                &View::Told {
                    approval,
                    title,
                    text: &text,
                },
            ));
        }
        let rules = &approval.question.rules;
        let requester = approval.question.requester.as_deref();
        let (person, note) = match &viewer {
            Viewer::Late => (
                None,
                Some("This personal link is too old. Ask for another one.".to_owned()),
            ),
            Viewer::Unattributed if rules.link_only => (Some(Person::unattributed()), None),
            Viewer::Unattributed => (None, None),
            Viewer::Known(person) => match rules.allow(person, requester, Choice::Stop) {
                Ok(()) => (Some(person.clone()), None),
                Err(why) => (None, Some(format!("You cannot answer: {why}."))),
            },
        };
        let mut token = String::new();
        if let Some(person) = &person {
            let claims = Claims {
                purpose: Purpose::Form,
                approval: approval.id.clone(),
                round: approval.round,
                binding: approval.question.shown.binding(),
                person: person.name.clone(),
                expires: now.saturating_add(FORM_MILLIS),
            };
            token = token::seal(&self.signing_key(front).await?, &claims);
        }
        let form = person.as_ref().map(|person| Form {
            token: &token,
            person,
            word: word(approval),
            wrong,
        });
        let status = if wrong.is_some() { 422 } else { 200 };
        Ok(html::answer(
            status,
            &View::Asked {
                approval,
                form,
                note: note.as_deref(),
            },
        ))
    }

    async fn posted(
        &self,
        front: &Front,
        request: &HttpEvent,
        approval: &Approval,
        now: i64,
    ) -> Result<HttpAnswer, FunctionError> {
        let told = |status: u16, title: &str, text: &str| {
            html::answer(
                status,
                &View::Told {
                    approval,
                    title,
                    text,
                },
            )
        };
        if request.body.len() > FORM_BYTES {
            return Ok(html::answer(413, &View::TooLarge));
        }
        let media_type = request.header("content-type").unwrap_or_default();
        if !media_type
            .to_ascii_lowercase()
            .starts_with("application/x-www-form-urlencoded")
        {
            return Ok(told(415, "Not recorded", "This is no form of this page."));
        }
        if !from_this_page(request) {
            return Ok(told(
                403,
                "Not recorded",
                "The form was sent from another site.",
            ));
        }
        let Some(fields) = request.form() else {
            return Ok(told(400, "Not recorded", "The form is not text."));
        };
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found
                .map(|(_, value)| value.trim())
                .filter(|value| !value.is_empty())
        };
        let key = self.signing_key(front).await?;
        let token = field("token").unwrap_or_default();
        let claims = match token::open(&key, token, Purpose::Form, &approval.id, now) {
            Ok(claims) => claims,
            Err(TokenError::Expired) => {
                let text = "The form was open for too long. Open the link again.";
                return Ok(told(403, "Not recorded", text));
            }
            Err(TokenError::Wrong) => {
                let text = "This is no form of this page. Open the link again.";
                return Ok(told(403, "Not recorded", text));
            }
        };
        let (person, via) = match &claims.person {
            Some(name) => (self.named(name).await?, Via::Page),
            None => (Person::unattributed(), Via::Link),
        };
        let Some(choice) = field("choice").and_then(Choice::parse) else {
            return Ok(told(400, "Not recorded", "Choose one of the buttons."));
        };
        // What a program that sends every form does not do.
        let typed = field("word").unwrap_or_default().to_lowercase();
        if !same(&typed, &word(approval).to_lowercase()) {
            let viewer = match claims.person {
                Some(_) => Viewer::Known(person),
                None => Viewer::Unattributed,
            };
            let wrong = Some("Nothing was recorded: the word is another one.");
            return self.shown(front, approval, viewer, wrong, now).await;
        }
        let given = Given {
            asked: Asked {
                choice,
                input: field("input"),
                reason: field("reason"),
            },
            person: &person,
            via,
            round: Some(claims.round),
            at: now,
        };
        let verdict = self.judge(approval, &given).await?;
        let (status, title) = match &verdict {
            Verdict::Decided(_) => (200, "Decided"),
            Verdict::Counted { .. } => (200, "Recorded"),
            Verdict::Already(_) | Verdict::Expired | Verdict::Superseded | Verdict::Over => {
                (409, "Already decided")
            }
            Verdict::Changed(_) => (409, "Asked again"),
            Verdict::NotAllowed(_) => (403, "Not recorded"),
            Verdict::UnknownInput(_) => (422, "Not recorded"),
        };
        Ok(told(status, title, &verdict.text(approval)))
    }
}

/// What has to be typed: the name of the application, which the page shows and the address does not hold.
fn word(approval: &Approval) -> &str {
    &approval.question.application
}

/// Whether a browser sent the form from this page, as far as it tells. The signed token is what a request without a
/// browser has to have; a page without a referrer sends `Origin: null`.
fn from_this_page(request: &HttpEvent) -> bool {
    if request
        .header("sec-fetch-site")
        .is_some_and(|site| site != "same-origin")
    {
        return false;
    }
    match (request.header("origin"), request.header("host")) {
        (None | Some("null"), _) => true,
        (Some(origin), Some(host)) => {
            let of = origin.split_once("://").map_or(origin, |(_, host)| host);
            of.eq_ignore_ascii_case(host)
        }
        (Some(_), None) => false,
    }
}
