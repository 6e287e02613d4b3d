#![doc = include_str!("../README.md")]

pub mod account;
pub mod answer;
pub mod config;
pub mod json_path;
mod permissions;
pub mod request;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection, Key, Write};
use gennaker_domain::error_name::Poll;
use gennaker_domain::{Intent, Status, artifact};
use gennaker_http::{AwsSecrets, Http, HttpError, Limits, Method, Request, Secrets};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo, internet};
use serde_json::{Map, Value, json};
use url::Url;

use answer::{Answer, Job, Verdict};
use config::{Config, StatusUrl};

/// Spinnaker's time-out of the call with all its retries: five minutes.
const CALL_LIMIT_MILLIS: i64 = 5 * 60 * 1_000;
/// Spinnaker's time-out of the monitor: one hour.
const MONITOR_LIMIT_MILLIS: i64 = 60 * 60 * 1_000;
/// How long a server that nobody listens on is called: a restart takes less, a wrong port is told soon.
const CONNECT_LIMIT_MILLIS: i64 = 60 * 1_000;
/// How long the cancel endpoint is called before it is left for a person.
const CANCEL_LIMIT_MILLIS: i64 = 5 * 60 * 1_000;
/// Tries of one write whose answer is lost: one that is given up leaves the call's fate unknown.
const WRITE_TRIES: usize = 3;

/// The `webhook` stage.
pub struct Webhook {
    http: Arc<dyn Http>,
    secrets: Arc<dyn Secrets>,
}

impl Webhook {
    /// Over this way out and these secrets.
    #[must_use]
    pub fn new(http: Arc<dyn Http>, secrets: Arc<dyn Secrets>) -> Self {
        Self { http, secrets }
    }

    /// On AWS, with what the installation allows.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(internet()), Arc::new(AwsSecrets::new(connection)))
    }
}

/// 20 s, Spinnaker's time-out of one request; the function has ten more.
fn limits() -> Limits {
    Limits {
        total: Duration::from_secs(20),
        ..Limits::default()
    }
}

/// An address as a message shows it: without its query, which may hold a secret.
fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// What the stage remembers between its invocations.
#[derive(Clone, Debug, Default, PartialEq)]
struct Progress {
    /// Calls so far, all of them known to be over.
    attempts: u64,
    /// Their status codes.
    past_calls: Vec<u16>,
    /// Status codes of the looks that are tried again.
    past_looks: Vec<u16>,
    /// When the call was accepted, UTC milliseconds.
    called_at: Option<i64>,
    /// Address of the status.
    status_endpoint: Option<String>,
    /// Spinnaker's `webhook`.
    webhook: Map<String, Value>,
    /// What the call's answer listed.
    artifacts: Option<Vec<Value>>,
}

fn codes(memory: &Map<String, Value>, name: &str) -> Vec<u16> {
    memory
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|code| u16::try_from(code.as_u64()?).ok())
        .collect()
}

impl Progress {
    fn of(memory: &Map<String, Value>) -> Self {
        Self {
            attempts: memory.get("attempts").and_then(Value::as_u64).unwrap_or(0),
            past_calls: codes(memory, "pastCalls"),
            past_looks: codes(memory, "pastLooks"),
            called_at: memory.get("calledAt").and_then(Value::as_i64),
            status_endpoint: memory
                .get("statusEndpoint")
                .and_then(Value::as_str)
                .map(str::to_owned),
            webhook: memory
                .get("webhook")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            artifacts: memory.get("artifacts").and_then(Value::as_array).cloned(),
        }
    }

    fn waiting(self, reason: impl Into<String>, poll: Option<Poll>) -> Step {
        let mut memory = Map::from_iter([
            ("attempts".to_owned(), self.attempts.into()),
            ("pastCalls".to_owned(), json!(self.past_calls)),
            ("pastLooks".to_owned(), json!(self.past_looks)),
            ("webhook".to_owned(), Value::Object(self.webhook)),
        ]);
        let optional = [
            ("calledAt", self.called_at.map(Value::from)),
            ("statusEndpoint", self.status_endpoint.map(Value::from)),
            ("artifacts", self.artifacts.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                memory.insert(name.to_owned(), value);
            }
        }
        Step::Waiting {
            reason: reason.into(),
            memory,
            poll,
        }
    }

    fn ended(mut self, status: Status, reason: impl Into<String>) -> Step {
        let reason = reason.into();
        if status == Status::Terminal {
            self.webhook
                .insert("error".to_owned(), reason.as_str().into());
        }
        Step::Ended {
            status,
            reason,
            outputs: Map::new(),
            context: Map::from_iter([("webhook".to_owned(), Value::Object(self.webhook))]),
        }
    }

    fn failed(self, reason: impl Into<String>) -> Step {
        self.ended(Status::Terminal, reason)
    }

    fn look_at(&mut self, name: &str, value: Value) {
        if let Some(Value::Object(monitor)) = self.webhook.get_mut("monitor") {
            monitor.insert(name.to_owned(), value);
        }
    }
}

/// Whether the stage has a time-out of its own, which replaces Spinnaker's of its tasks.
fn has_own_timeout(invocation: &Invocation<'_>) -> bool {
    invocation
        .context
        .get("stageTimeoutMs")
        .is_some_and(Value::is_number)
}

/// Name of the intent of one call.
fn action(run: u32, attempt: u64) -> String {
    format!("call-{run}-{attempt}")
}

/// Where the answer to one call is kept: a stage that dies after it finds it there.
fn answer_key(invocation: &Invocation<'_>, run: u32, attempt: u64) -> Key {
    Key::new(
        Key::execution_partition(&invocation.run.execution),
        format!("WEBHOOK#{}#{run}#{attempt}", invocation.stage.ref_id),
    )
}

async fn stored_answer(
    invocation: &Invocation<'_>,
    run: u32,
    attempt: u64,
) -> Result<Option<Answer>, CloudError> {
    let item = invocation
        .store()
        .table()
        .get(&answer_key(invocation, run, attempt))
        .await?;
    Ok(item
        .as_ref()
        .and_then(|item| item.get("answer")?.as_str())
        .and_then(|text| serde_json::from_str(text).ok())
        .and_then(|value| Answer::from_json(&value)))
}

/// Announces a call. The write is made again where its answer is lost: one that is given up leaves the call's fate
/// unknown.
async fn announce(
    invocation: &Invocation<'_>,
    action: &str,
    undo: &Value,
) -> Result<(), StageError> {
    let mut tries = 1;
    loop {
        match invocation.intend(action, undo.clone()).await {
            Ok(_) => return Ok(()),
            Err(StageError::Cloud(error)) if error.is_passing() && tries < WRITE_TRIES => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Keeps the answer to a call, as [`announce`] writes.
async fn keep(invocation: &Invocation<'_>, key: &Key, answer: &Answer) -> Result<(), CloudError> {
    let item = Map::from_iter([("answer".to_owned(), answer.to_json().to_string().into())]);
    let mut tries = 1;
    loop {
        let write = Write::put(key.clone(), item.clone());
        match invocation.store().table().write(write).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_passing() && tries < WRITE_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

impl Webhook {
    /// The call itself, then the first look if nothing is to be waited for.
    async fn call(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        mut progress: Progress,
    ) -> Result<Step, StageError> {
        if invocation.spent() > CALL_LIMIT_MILLIS && !has_own_timeout(invocation) {
            return Ok(progress.failed("the webhook was not accepted within 5 minutes"));
        }
        let attempt = progress.attempts + 1;
        let answer = match self.answer(invocation, config, attempt).await? {
            Called::Answer(answer) => answer,
            Called::Again(reason) => {
                progress.attempts = attempt;
                return Ok(progress.waiting(reason, Some(Poll::TenSeconds)));
            }
            Called::Failed(reason) => return Ok(progress.failed(reason)),
        };
        progress.attempts = attempt;
        progress.webhook = answer.kept();
        match answer::of_call(config, answer.code, &progress.past_calls) {
            Verdict::Accepted => {}
            Verdict::Again(reason) => {
                progress.past_calls.push(answer.code);
                return Ok(progress.waiting(reason, Some(Poll::TenSeconds)));
            }
            Verdict::Failed(reason) => {
                return Ok(progress.failed(format!("{reason} ({})", shown(&config.url))));
            }
        }
        progress.artifacts = answer.artifacts();
        if !config.wait_for_completion {
            return Ok(finish(config, progress, None));
        }
        let Some(endpoint) = status_endpoint(config, &answer) else {
            return Ok(progress.failed(
                "The status URL couldn't be resolved, but 'Wait for completion' was checked",
            ));
        };
        progress
            .webhook
            .insert("statusEndpoint".to_owned(), endpoint.as_str().into());
        progress.status_endpoint = Some(endpoint);
        progress.called_at = Some(invocation.now);
        self.look(invocation, config, progress).await
    }

    /// The answer to one call: the one that is kept, or a new one.
    async fn answer(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        attempt: u64,
    ) -> Result<Called, StageError> {
        let run = invocation.run.number;
        // What may be repeated and cannot be called off leaves nothing to remember.
        let tracked = !config.may_repeat() || config.cancel.is_some();
        if tracked {
            if let Some(answer) = stored_answer(invocation, run, attempt).await? {
                return Ok(Called::Answer(answer));
            }
            let action = action(run, attempt);
            let begun = invocation
                .intents()
                .await?
                .iter()
                .any(|intent| intent.action == action);
            if begun && !config.may_repeat() {
                return Ok(Called::Failed(format!(
                    "an earlier try of this stage died while it called {}: whether the {} arrived is not known; restart the stage to send it again, or set `safeToRetry` if that is harmless",
                    shown(&config.url),
                    config.method.as_str()
                )));
            }
        }
        let (headers, hidden) =
            request::headers(&*self.secrets, &config.headers, invocation.now).await?;
        let mut request = request::request(config.method, &config.url, headers, &config.payload);
        let has_key = request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
        if !config.method.is_idempotent() && !has_key {
            // The same for every try: a server that knows the header does once what is asked twice.
            let key = format!("{}-{}", invocation.run, invocation.stage.ref_id);
            request = request.header("Idempotency-Key", key);
        }
        if tracked {
            announce(
                invocation,
                &action(run, attempt),
                &json!({ "attempt": attempt }),
            )
            .await?;
        }
        let response = match self.http.send(&request, &limits()).await {
            Ok(response) => response,
            Err(error) => return Ok(unanswered(invocation, config, &error)),
        };
        let answer = Answer::of(&response, &hidden);
        if tracked {
            let key = answer_key(invocation, run, attempt);
            let kept = keep(invocation, &key, &answer).await;
            if let Err(error) = kept {
                // The answer is here all the same; only a death before the record is written would miss it.
                tracing::warn!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, reason = %error, "the answer was not kept");
            }
            invocation
                .done(&action(run, attempt))
                .await
                .or_else(|error| {
                    if error.is_passing() {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
        }
        Ok(Called::Answer(answer))
    }

    /// One look at the job.
    async fn look(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        mut progress: Progress,
    ) -> Result<Step, StageError> {
        let since = progress.called_at.unwrap_or(invocation.started);
        let waited = invocation.now.saturating_sub(since);
        let pause = if config.monitor_only {
            0
        } else {
            config.wait_before_monitor_seconds.saturating_mul(1_000)
        };
        if waited < pause {
            let left = pause.saturating_sub(waited);
            let reason = format!("{} s until the job is looked at", (left + 999) / 1_000);
            return Ok(progress.waiting(reason, Some(Poll::within(left).min(Poll::OneMinute))));
        }
        let watched = waited.saturating_sub(pause).saturating_sub(
            invocation
                .execution
                .paused_millis(since.saturating_add(pause), invocation.now),
        );
        if watched > MONITOR_LIMIT_MILLIS && !has_own_timeout(invocation) {
            return Ok(progress.failed("the job did not end within an hour"));
        }
        let (headers, hidden) =
            request::headers(&*self.secrets, &config.headers, invocation.now).await?;
        let request = if config.monitor_only {
            request::request(config.method, &config.url, headers, &config.payload)
        } else {
            let endpoint = progress.status_endpoint.as_deref().unwrap_or(&config.url);
            account::check(config, endpoint)?;
            request::request(Method::Get, endpoint, headers, &Value::Null)
        };
        let url = shown(&request.url).to_owned();
        progress.webhook.insert("monitor".to_owned(), json!({}));
        let response = match self.http.send(&request, &limits()).await {
            Ok(response) => response,
            Err(error) if error.is_passing() => {
                let reason = format!("failed to get webhook status, will retry: {error}");
                progress.look_at("error", reason.as_str().into());
                return Ok(progress.waiting(reason, None));
            }
            Err(error) => {
                let reason = format!("an exception occurred in webhook monitor: {error}");
                progress.look_at("error", reason.as_str().into());
                return Ok(progress.failed(reason));
            }
        };
        let answer = Answer::of(&response, &hidden);
        progress
            .webhook
            .insert("monitor".to_owned(), Value::Object(answer.kept()));
        match answer::of_look(config, answer.code, &progress.past_looks) {
            Verdict::Accepted => {}
            Verdict::Again(reason) => {
                progress.past_looks.push(answer.code);
                let past = json!(progress.past_looks);
                progress.look_at("pastStatusCodes", past);
                return Ok(progress.waiting(reason, None));
            }
            Verdict::Failed(reason) => {
                progress.look_at("error", reason.as_str().into());
                return Ok(progress.failed(format!("{reason} ({url})")));
            }
        }
        let job = Job::of(config, &answer.body);
        progress.look_at("resolvedValue", job.resolved.clone());
        if let Some(percent) = &job.percent {
            progress.look_at("percentComplete", percent.clone());
        }
        if let Some(message) = &job.progress {
            progress.look_at("progressMessage", message.as_str().into());
        }
        if let Some(error) = &job.error {
            progress.look_at("error", error.as_str().into());
            return Ok(progress.failed(error.as_str()));
        }
        match job.status {
            Status::Running => Ok(progress.waiting(job.reason(), None)),
            Status::Succeeded => Ok(finish(config, progress, answer.artifacts())),
            status => Ok(progress.ended(
                status,
                format!("the job ended with the status {}", job.resolved),
            )),
        }
    }

    /// Calls the job off.
    async fn call_off(&self, invocation: &Invocation<'_>, request: &Request) -> Undo {
        let done = |result: String| Undo::Done { result };
        let began = invocation
            .execution
            .ending
            .as_ref()
            .map_or(invocation.now, |ending| ending.at);
        let in_time = invocation.now.saturating_sub(began) <= CANCEL_LIMIT_MILLIS;
        match self.http.send(request, &limits()).await {
            Ok(response) if (response.status == 429 || response.status >= 500) && in_time => {
                Undo::Waiting {
                    reason: format!("the cancel endpoint answered {}", response.status),
                }
            }
            Ok(response) if response.status < 400 => done(format!(
                "called off: the cancel endpoint answered {}",
                response.status
            )),
            Ok(response) => done(format!(
                "not called off: the cancel endpoint answered {}",
                response.status
            )),
            Err(error) if error.is_passing() && in_time => Undo::Waiting {
                reason: error.to_string(),
            },
            Err(error) => done(format!("not called off: {error}")),
        }
    }
}

/// What became of one call.
enum Called {
    Answer(Answer),
    Again(String),
    Failed(String),
}

/// What a call without an answer means.
fn unanswered(invocation: &Invocation<'_>, config: &Config, error: &HttpError) -> Called {
    let patient = match error {
        HttpError::NoConnection { .. } => invocation.spent() < CONNECT_LIMIT_MILLIS,
        error => error.is_passing(),
    };
    if !patient {
        return Called::Failed(error.to_string());
    }
    if error.may_have_arrived() && !config.may_repeat() {
        return Called::Failed(format!(
            "{error}; whether the {} arrived is not known, so it is not sent again (`safeToRetry` allows it)",
            config.method.as_str()
        ));
    }
    Called::Again(format!("{error}; it is called again"))
}

/// Where the job's status is asked.
fn status_endpoint(config: &Config, answer: &Answer) -> Option<String> {
    let found = match config.status_url {
        StatusUrl::GetMethod => config.url.clone(),
        StatusUrl::LocationHeader => answer.headers.get("Location")?.as_str()?.to_owned(),
        StatusUrl::WebhookResponse => {
            match json_path::read(&answer.body, &config.status_url_json_path).ok()? {
                Value::String(url) => url,
                Value::Array(urls) => urls.first()?.as_str()?.to_owned(),
                _ => return None,
            }
        }
    };
    let found = found.trim();
    if found.is_empty() {
        return None;
    }
    // A server may answer with a path of its own.
    match Url::parse(found) {
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            Some(Url::parse(&answer.url).ok()?.join(found).ok()?.to_string())
        }
        _ => Some(found.to_owned()),
    }
}

/// The end of a webhook that went well: its artifacts are bound.
fn finish(config: &Config, progress: Progress, at_the_end: Option<Vec<Value>>) -> Step {
    let mut context = Map::new();
    if !config.expected_artifacts.is_empty() {
        let found = at_the_end
            .or_else(|| progress.artifacts.clone())
            .unwrap_or_default();
        match artifact::bind(&config.expected_artifacts, &found, &[], false) {
            Ok(bound) => context = bound.outputs(),
            Err(error) => return progress.failed(error.to_string()),
        }
    }
    let outputs = context.clone();
    context.insert("webhook".to_owned(), Value::Object(progress.webhook));
    Step::Succeeded { outputs, context }
}

/// Every text with expressions in a value, as the stage sees them now.
fn evaluated(invocation: &Invocation<'_>, value: &Value) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) if text.contains("${") => invocation.evaluate(text)?,
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| evaluated(invocation, item))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, item)| Ok((name.clone(), evaluated(invocation, item)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}

#[async_trait]
impl Stage for Webhook {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let mut config = Config::of(invocation.context)?;
        account::apply(invocation, &mut config).await?;
        let progress = Progress::of(invocation.memory);
        let begins = invocation.memory.is_empty();
        if begins && let Some(reason) = permissions::refusal(invocation).await? {
            return Ok(Step::failed(reason));
        }
        if config.monitor_only || progress.called_at.is_some() {
            self.look(invocation, &config, progress).await
        } else {
            self.call(invocation, &config, progress).await
        }
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let done = |result: &str| {
            Ok(Undo::Done {
                result: result.to_owned(),
            })
        };
        let Ok(mut config) = Config::of(invocation.context) else {
            return done("the stage's configuration cannot be read; nothing was called");
        };
        match account::apply(invocation, &mut config).await {
            Ok(()) => {}
            Err(StageError::Cloud(error)) => return Err(StageError::Cloud(error)),
            Err(error) => return done(&format!("not called off: {error}")),
        }
        let Some(cancel) = &config.cancel else {
            return done("the webhook was called and has no cancel endpoint");
        };
        let attempt = intent
            .undo
            .get("attempt")
            .and_then(Value::as_u64)
            .unwrap_or(1);
        let progress = Progress::of(invocation.memory);
        let mut webhook = progress.webhook.clone();
        if let Some(answer) = stored_answer(invocation, intent.run, attempt).await? {
            if answer::of_call(&config, answer.code, &[]) != Verdict::Accepted {
                return done("the call was not accepted: there is nothing to call off");
            }
            if webhook.is_empty() {
                webhook = answer.kept();
            }
        } else if progress.attempts >= attempt {
            return done("the call had no answer and was made again");
        }
        let record = invocation.records.get(&invocation.stage.ref_id);
        if let Some(last) = record.and_then(|record| record.context.get("webhook")?.as_object()) {
            webhook = last.clone();
        }
        let status = webhook
            .get("monitor")
            .and_then(|monitor| monitor.get("resolvedValue"))
            .and_then(Value::as_str)
            .and_then(|status| config.statuses.get(&status.trim().to_uppercase()));
        if status.is_some() {
            return done("the job had ended: there is nothing to call off");
        }
        // The endpoint may name what the webhook answered: `${webhook.body.id}`.
        let mut context = invocation.context.clone();
        context.insert("webhook".to_owned(), Value::Object(webhook));
        let now = invocation.with_context(&context);
        let endpoint = evaluated(&now, &Value::String(cancel.endpoint.clone()));
        let payload = evaluated(&now, &cancel.payload);
        let (endpoint, payload) = match (endpoint, payload) {
            (Ok(Value::String(endpoint)), Ok(payload)) => (endpoint, payload),
            (Ok(_), Ok(_)) => return done("not called off: the cancel endpoint is no text"),
            (Err(reason), _) | (_, Err(reason)) => {
                return done(&format!("not called off: {reason}"));
            }
        };
        let (headers, _) =
            request::headers(&*self.secrets, &config.headers, invocation.now).await?;
        if let Err(error) = account::check(&config, &endpoint) {
            return done(&format!("not called off: {error}"));
        }
        let request = request::request(cancel.method, &endpoint, headers, &payload);
        Ok(self.call_off(invocation, &request).await)
    }
}
