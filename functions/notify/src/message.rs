//! Who wants to be told, and what is said: decisions, no calls.

use gennaker_cloud::notification::Message;
use gennaker_domain::Execution;
use serde_json::{Value, json};

/// Whether a notification setting wants to hear of an occasion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Publish to this topic.
    Topic(&'a str),
    /// It is about something else.
    Not,
    /// It wants to, by a means that does not exist yet.
    NotBuilt(&'a str),
}

/// Whether the setting wants to hear of `when`, such as `pipeline.failed`: exact membership, as in Spinnaker. An
/// address that is a topic's ARN is published to whatever the type says; `sns` and `email` are meant for it.
#[must_use]
pub fn wanted<'a>(setting: &'a Value, when: &str) -> Wanted<'a> {
    let text = |name: &str| setting.get(name).and_then(Value::as_str).unwrap_or("");
    let hears = match setting.get("when") {
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(when)),
        Some(Value::String(one)) => one == when,
        _ => false,
    };
    let address = text("address").trim();
    let is_topic = address.starts_with("arn:") && address.contains(":sns:");
    match (hears, is_topic) {
        (false, _) => Wanted::Not,
        (true, true) => Wanted::Topic(address),
        (true, false) => Wanted::NotBuilt(text("type")),
    }
}

fn happened(when: &str) -> &'static str {
    if when.ends_with(".starting") {
        "has started"
    } else if when.ends_with(".complete") {
        "has completed successfully"
    } else if when.ends_with(".failed") {
        "has failed"
    } else {
        "needs a decision"
    }
}

/// What is said of an execution on an occasion. `id` is the same for every repetition of the message.
#[must_use]
pub fn message(
    execution: &Execution,
    setting: &Value,
    when: &str,
    stage: Option<&str>,
    id: &str,
) -> Message {
    let subject = match stage {
        Some(stage) => format!(
            "Stage {stage} of {} for {} {}",
            execution.pipeline,
            execution.application,
            happened(when)
        ),
        None => format!(
            "Pipeline {} for {} {}",
            execution.pipeline,
            execution.application,
            happened(when)
        ),
    };
    let custom = setting
        .get("message")
        .and_then(|messages| messages.get(when))
        .and_then(|message| message.get("text"))
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let mut lines = vec![subject.clone()];
    if when.ends_with(".failed")
        && let Some(ending) = &execution.ending
    {
        lines.push(ending.reason.clone());
    }
    lines.extend(custom.map(str::to_owned));
    lines.push(
        json!({
            "execution": execution.id,
            "application": execution.application,
            "pipeline": execution.pipeline,
            "status": execution.status,
            "when": when,
        })
        .to_string(),
    );
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Message {
        subject,
        text: lines.join("\n"),
        attributes: vec![
            attribute("when", when),
            attribute("application", &execution.application),
            attribute("messageId", id),
        ],
    }
}
