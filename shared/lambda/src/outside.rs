//! What expressions may ask of the world outside the execution: `#fromUrl`, `#pipelineId` and their kin.
//!
//! An evaluation is pure and does not wait. It asks; what it asks is looked up here, side by side; then it is made anew
//! with the answers, which may make it ask more. The rounds and what is asked in them are bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use gennaker_cloud::{CloudError, Key, Store};
use gennaker_expressions::{Context, Options, Outcome, Ports, evaluate};
use gennaker_http::{Http, Limits, Request};
use serde_json::Value;

/// Look-ups of one evaluation; whoever asks for more is told so.
const MAX_QUESTIONS: usize = 20;

/// Rounds of look-ups of one evaluation: an address that is made from what another one gave is the second.
const MAX_ROUNDS: usize = 3;

/// Longest wait for one round; three of them stay below a function's own minute.
const ROUND: Duration = Duration::from_secs(10);

/// One fetch.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(8),
    connect: Duration::from_secs(3),
    response_bytes: 4 << 20,
    redirects: 5,
};

/// Tries of one fetch.
const MAX_TRIES: u32 = 2;

/// Bytes of answers that one evaluation may take.
const MAX_BYTES: usize = 8 << 20;

/// What an expression asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    Fetch(String),
    PipelineId { application: String, name: String },
    Application(String),
    CanaryConfigId { application: String, name: String },
}

/// An answer, or why there is none.
type Answer = Result<Value, String>;

/// The ports of one evaluation: what is known is answered, the rest is kept to be looked up.
#[derive(Default)]
struct Asking {
    answers: HashMap<Question, Answer>,
    /// What was asked in this round. Never held over a wait; the lock is for the trait's sake.
    pending: Mutex<Vec<Question>>,
}

impl Asking {
    fn answer(&self, question: Question) -> Answer {
        if let Some(answer) = self.answers.get(&question) {
            return answer.clone();
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if !pending.contains(&question) {
            if self.answers.len() + pending.len() >= MAX_QUESTIONS {
                return Err(format!(
                    "one stage may look up {MAX_QUESTIONS} things outside its execution, this is one more"
                ));
            }
            pending.push(question);
        }
        Err("it is being looked up".to_owned())
    }

    fn take_pending(&self) -> Vec<Question> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn text(answer: Value) -> Option<String> {
    match answer {
        Value::String(text) => Some(text),
        _ => None,
    }
}

impl Ports for Asking {
    fn checks_hosts(&self) -> bool {
        // The client has the installation's policy, which may allow a host inside.
        true
    }

    fn fetch(&self, url: &str) -> Result<String, String> {
        self.answer(Question::Fetch(url.to_owned()))
            .map(|answer| text(answer).unwrap_or_default())
    }

    fn pipeline_id(&self, application: &str, name: &str) -> Result<Option<String>, String> {
        self.answer(Question::PipelineId {
            application: application.to_owned(),
            name: name.to_owned(),
        })
        .map(text)
    }

    fn application(&self, application: &str) -> Result<Value, String> {
        self.answer(Question::Application(application.to_owned()))
    }

    fn canary_config_id(&self, application: &str, name: &str) -> Result<Option<String>, String> {
        self.answer(Question::CanaryConfigId {
            application: application.to_owned(),
            name: name.to_owned(),
        })
        .map(text)
    }

    fn fetch_reference(&self, reference: &str) -> Result<String, String> {
        // Without an artifact store a reference stands for itself, as in Orca.
        Ok(reference.to_owned())
    }
}

/// The world outside an execution: this installation's table and, where a function is given it, the internet.
pub(crate) struct Outside<'a> {
    pub(crate) store: &'a Store,
    pub(crate) http: Option<&'a dyn Http>,
}

impl Outside<'_> {
    /// Evaluates `source`, looking up what its expressions ask.
    ///
    /// # Errors
    /// Those of the table that may pass: an expression that could not be evaluated for them is to be tried again.
    pub(crate) async fn evaluate(
        &self,
        source: &Value,
        context: &Context,
        options: &Options<'_>,
    ) -> Result<Outcome, CloudError> {
        let mut asking = Asking::default();
        let mut round = 0;
        // Ends: every round knows more answers, and only so many things may be asked.
        loop {
            let outcome = evaluate(
                source,
                context,
                &Options {
                    ports: Some(&asking),
                    ..*options
                },
            );
            let pending = asking.take_pending();
            if pending.is_empty() {
                return Ok(outcome);
            }
            let answers = if round < MAX_ROUNDS {
                self.look_up(&pending).await?
            } else {
                let late = format!("it needs more than {MAX_ROUNDS} look-ups one after the other");
                pending.iter().map(|_| Err(late.clone())).collect()
            };
            round += 1;
            asking.answers.extend(pending.into_iter().zip(answers));
            limit(&mut asking.answers);
        }
    }

    /// Everything that one round asked, side by side.
    async fn look_up(&self, questions: &[Question]) -> Result<Vec<Answer>, CloudError> {
        let all = join_all(questions.iter().map(|question| async move {
            match tokio::time::timeout(ROUND, self.ask(question)).await {
                Ok(answer) => answer,
                Err(_) => Ok(Err(format!("no answer within {} seconds", ROUND.as_secs()))),
            }
        }))
        .await;
        all.into_iter()
            .map(|answer| match answer {
                Err(error) if error.is_passing() => Err(error),
                Err(error) => Ok(Err(error.to_string())),
                Ok(answer) => Ok(answer),
            })
            .collect()
    }

    async fn ask(&self, question: &Question) -> Result<Answer, CloudError> {
        Ok(match question {
            Question::Fetch(url) => match self.http {
                Some(http) => get(http, url).await.map(Value::String),
                None => Err("this function does not fetch URLs".to_owned()),
            },
            Question::PipelineId { application, name } => {
                let found = self.store.find_pipeline(application, name).await?;
                // Orca compares names: an id that happens to be given, or another case, finds nothing.
                Ok(found
                    .filter(|pipeline| pipeline.name == *name)
                    .map_or(Value::Null, |pipeline| pipeline.id.into()))
            }
            Question::Application(name) => {
                let application = self.store.application(name).await?;
                application
                    .map(Value::Object)
                    .ok_or_else(|| format!("application `{name}` not found"))
            }
            Question::CanaryConfigId { application, name } => {
                let partition = Key::application(application).partition;
                let items = self.store.table().query(&partition, "CANARY#").await?;
                let found = items
                    .iter()
                    .find(|item| item.get("name").and_then(Value::as_str) == Some(name.as_str()));
                Ok(found
                    .and_then(|item| item.get("id"))
                    .cloned()
                    .unwrap_or(Value::Null))
            }
        })
    }
}

/// The body that `url` answers to a GET request. A server that is busy is asked once more, as Orca does.
async fn get(http: &dyn Http, url: &str) -> Result<String, String> {
    let request = Request::get(url);
    let mut tries = 0;
    loop {
        tries += 1;
        match http.send(&request, &LIMITS).await {
            Ok(response) if response.is_success() => return Ok(response.text()),
            Ok(response) if tries < MAX_TRIES && matches!(response.status, 502 | 503) => {}
            // An error page is nobody's version number: the expression stays as it is.
            Ok(response) => return Err(format!("the server answered {}", response.status)),
            Err(error) if tries < MAX_TRIES && error.is_passing() => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Keeps the answers of one evaluation within bounds: the largest ones become errors.
fn limit(answers: &mut HashMap<Question, Answer>) {
    let size = |answer: &Answer| match answer {
        Ok(Value::String(text)) => text.len(),
        _ => 0,
    };
    while answers.values().map(size).sum::<usize>() > MAX_BYTES {
        let largest = answers.values_mut().max_by_key(|answer| size(answer));
        if let Some(largest) = largest {
            *largest = Err(format!(
                "the answers that one stage asks for have more than {MAX_BYTES} bytes"
            ));
        }
    }
}
