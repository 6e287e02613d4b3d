//! Approvals: what people are asked, who may answer, and what their answers come to. Decisions, no calls.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Run;

pub mod rules;
pub mod shown;

pub use rules::{NotAllowed, Person, Rules, RulesError, Tally};
pub use shown::Shown;

/// Who answered where nobody can tell.
pub const UNATTRIBUTED: &str = "unattributed";

/// Answer to a manual judgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The pipeline goes on.
    Continue,
    /// The stage fails.
    Stop,
}

impl Choice {
    /// Spinnaker's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }

    /// The choice of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Continue, Self::Stop]
            .into_iter()
            .find(|choice| choice.as_str() == name)
    }
}

/// By which way an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// A call of `decide` by somebody whom IAM lets: the command line.
    Call,
    /// A button in Slack, whose request Slack signed.
    Slack,
    /// The page, by a personal link.
    Page,
    /// The page, by the link alone.
    Link,
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// Continue or stop.
    pub choice: Choice,
    /// One of the inputs to choose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who.
    pub by: String,
    /// The roles of that person then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// How it came.
    pub via: Via,
    /// When, UTC milliseconds.
    pub at: i64,
}

impl Vote {
    /// Whether it says what the other one says: a repeated call, whenever it came.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        self.choice == other.choice
            && self.input == other.input
            && self.by.eq_ignore_ascii_case(&other.by)
    }
}

/// What the answers came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Continue or stop.
    pub choice: Choice,
    /// One of the inputs to choose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Why, in the words of the person whose answer decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The person whose answer decided; [`UNATTRIBUTED`] if nobody can tell.
    pub by: String,
    /// Everybody whose answer counts towards it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// When, UTC milliseconds.
    pub at: i64,
}

/// How a question stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum State {
    /// It waits for answers.
    Pending,
    /// It is decided.
    Decided(Decision),
    /// Its time ran out.
    Expired {
        /// When, UTC milliseconds.
        at: i64,
    },
}

/// What people are asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Run that asks.
    pub run: Run,
    /// `refId` of the manual judgment.
    pub stage: String,
    /// Name of the manual judgment.
    pub name: String,
    /// Application.
    pub application: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// What people read, as written: text, Markdown or HTML.
    pub instructions: String,
    /// Inputs to choose from; empty if any or none will do.
    pub options: Vec<String>,
    /// Text of the button that continues.
    pub continue_text: String,
    /// Text of the button that stops.
    pub stop_text: String,
    /// Who may answer, and how many must.
    pub rules: Rules,
    /// Who asked for the execution, if a person did.
    pub requester: Option<String>,
    /// What the answer is about.
    pub shown: Shown,
    /// What is different from what was asked before; empty the first time.
    #[serde(default)]
    pub changes: Vec<String>,
    /// When it was asked, UTC milliseconds.
    pub asked_at: i64,
    /// When its time runs out.
    pub expires_at: i64,
    /// Whether people are told what became of it too (`sendNotifications`), and not only asked.
    #[serde(default)]
    pub tells_outcome: bool,
    /// The stage's `notifications`, as resolved.
    #[serde(default)]
    pub notifications: Vec<Value>,
}

/// A question with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// Its id: opaque, the same at every try.
    pub id: String,
    /// What a link to it ends with, which nobody can guess.
    pub code: String,
    /// 1 for the first time, one more each time that it is asked again because something changed.
    pub round: u32,
    /// Counts the writes.
    pub version: i64,
    /// What is asked.
    pub question: Question,
    /// The answers of this round so far.
    pub votes: Vec<Vote>,
    /// How it stands.
    pub state: State,
}

impl Approval {
    /// The decision, if there is one.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match &self.state {
            State::Decided(decision) => Some(decision),
            State::Pending | State::Expired { .. } => None,
        }
    }

    /// Whether answers are taken.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.state == State::Pending
    }

    /// What a link to it ends with: id and code.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}-{}", self.id, self.code)
    }
}

/// `judgmentInputs`: objects with a `value`; plain texts are taken too.
#[must_use]
pub fn options(context: &Map<String, Value>) -> Vec<String> {
    context
        .get("judgmentInputs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|input| input.get("value").unwrap_or(input).as_str())
        .map(str::to_owned)
        .collect()
}
