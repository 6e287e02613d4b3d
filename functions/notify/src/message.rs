//! What is said: decisions, no calls.

use gennaker_domain::occasion;
use gennaker_domain::{Execution, PlanStage, Status};
use gennaker_messages::Announcement;
use serde_json::{Value, json};

/// Longest text of one's own that is passed on.
const TEXT_CHARACTERS: usize = 8_000;

/// How an occasion looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something began.
    Started,
    /// It went well.
    Succeeded,
    /// It did not.
    Failed,
    /// Somebody is asked, or has answered.
    Asked,
}

impl Tone {
    /// Of an occasion.
    #[must_use]
    pub fn of(when: &str) -> Self {
        if when.ends_with(".starting") {
            Self::Started
        } else if when.ends_with(".complete") || when == "manualJudgmentContinue" {
            Self::Succeeded
        } else if when.ends_with(".failed") || when == "manualJudgmentStop" {
            Self::Failed
        } else {
            Self::Asked
        }
    }

    /// Echo's colours.
    #[must_use]
    pub fn colour(self) -> &'static str {
        match self {
            Self::Started => "#2275B8",
            Self::Succeeded => "#769D3E",
            Self::Failed => "#B82525",
            Self::Asked => "#CCCCCC",
        }
    }
}

/// What happened, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The same for every repetition.
    pub id: String,
    /// `pipeline.failed`.
    pub when: String,
    /// One line.
    pub title: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// The setting's own text.
    pub text: Option<String>,
    /// Where more is to be seen.
    pub link: Option<String>,
    /// Application.
    pub application: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the stage.
    pub stage: Option<String>,
    /// Id of the execution.
    pub execution: String,
    /// Status of the execution.
    pub status: Status,
    /// What is asked of people, for channels that can ask.
    pub ask: Option<Announcement>,
}

/// What a message is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The execution.
    pub execution: &'a Execution,
    /// The stage, if it is about one.
    pub stage: Option<&'a PlanStage>,
    /// Why the stage failed.
    pub stage_reason: Option<&'a str>,
    /// The occasion.
    pub when: &'a str,
    /// Where people look, such as `https://gennaker.example.com`; none is nowhere.
    pub base_url: Option<&'a str>,
}

fn happened(when: &str) -> &'static str {
    match when {
        "manualJudgment" => "needs a decision",
        "manualJudgmentContinue" => "was approved",
        "manualJudgmentStop" => "was rejected",
        _ => match Tone::of(when) {
            Tone::Started => "has started",
            Tone::Succeeded => "has completed successfully",
            Tone::Failed => "has failed",
            Tone::Asked => "was skipped",
        },
    }
}

/// Where an execution is shown.
#[must_use]
pub fn link(base_url: Option<&str>, execution: &Execution) -> Option<String> {
    let base = base_url?.trim_end_matches('/');
    Some(format!(
        "{base}/#/applications/{}/executions/details/{}",
        execution.application, execution.id
    ))
}

fn own_text<'a>(setting: &'a Value, name: &str) -> Option<&'a str> {
    setting
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.trim().is_empty())
}

impl Message {
    /// What a setting says of an occasion. Its `customSubject`, `customMessage` or `customBody`, and
    /// `message['<when>'].text` are the user's own; `{{executionId}}` and `{{link}}` in them are filled in.
    #[must_use]
    pub fn new(about: &About<'_>, setting: &Value, id: String) -> Self {
        let execution = about.execution;
        let link = link(about.base_url, execution);
        let title = match about.stage {
            Some(stage) => format!(
                "Stage {} of {} for {} {}",
                stage.name,
                execution.pipeline,
                execution.application,
                happened(about.when)
            ),
            None => format!(
                "Pipeline {} for {} {}",
                execution.pipeline,
                execution.application,
                happened(about.when)
            ),
        };
        let filled = |text: &str| {
            text.replace("{{executionId}}", execution.id.as_str())
                .replace("{{link}}", link.as_deref().unwrap_or_default())
                .chars()
                .take(TEXT_CHARACTERS)
                .collect::<String>()
        };
        let text = own_text(setting, "customBody")
            .or_else(|| own_text(setting, "customMessage"))
            .or_else(|| {
                let message = setting.get("message")?.get(about.when)?;
                own_text(message, "text")
            });
        let failed = Tone::of(about.when) == Tone::Failed;
        let ending = || {
            execution
                .ending
                .as_ref()
                .map(|ending| ending.reason.as_str())
        };
        let reason = match (failed, about.stage) {
            (false, _) => None,
            (true, Some(_)) => about.stage_reason,
            (true, None) => ending(),
        };
        Self {
            id,
            when: about.when.to_owned(),
            title: own_text(setting, "customSubject").map_or(title, filled),
            reason: reason
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned),
            text: text.map(filled),
            link,
            application: execution.application.clone(),
            pipeline: execution.pipeline.clone(),
            stage: about.stage.map(|stage| stage.name.clone()),
            execution: execution.id.to_string(),
            status: execution.status,
            ask: None,
        }
    }

    /// Its tone.
    #[must_use]
    pub fn tone(&self) -> Tone {
        Tone::of(&self.when)
    }

    /// Paragraphs below the title: reason, own text.
    #[must_use]
    pub fn paragraphs(&self) -> Vec<&str> {
        self.reason
            .as_deref()
            .into_iter()
            .chain(self.text.as_deref())
            .collect()
    }

    /// Everything as plain text.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut lines = vec![self.title.as_str()];
        lines.extend(self.paragraphs());
        lines.extend(self.link.as_deref());
        lines.join("\n")
    }

    /// Everything as plain text and a last line that a program reads, for topics.
    #[must_use]
    pub fn for_topic(&self) -> String {
        let line = json!({
            "execution": self.execution,
            "application": self.application,
            "pipeline": self.pipeline,
            "stage": self.stage,
            "status": self.status,
            "when": self.when,
        });
        format!("{}\n{line}", self.plain())
    }
}

/// Whether people hear of the occasion at all: nobody of a skipped stage, and of a canceled execution only what came
/// before.
#[must_use]
pub fn is_for_people(when: &str, execution: &Execution) -> bool {
    if when == occasion::STAGE_SKIPPED {
        return false;
    }
    let canceled = execution.canceled
        || execution.status == Status::Canceled
        || execution
            .ending
            .as_ref()
            .is_some_and(|ending| ending.status == Status::Canceled);
    !canceled
}
