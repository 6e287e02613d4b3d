//! Events as they arrive, read into what triggers are matched against.

use serde_json::Value;

/// An event that may start pipelines.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An image was pushed to ECR.
    ImagePush(ImagePush),
}

/// An image that was pushed to ECR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePush {
    /// Id of the event: the same for every delivery of it.
    pub event_id: String,
    /// When it happened, UTC milliseconds.
    pub at: i64,
    /// Account that owns the repository.
    pub account: String,
    /// Region of the repository.
    pub region: String,
    /// Repository, such as `shop/api`.
    pub repository: String,
    /// Tag.
    pub tag: String,
    /// Digest, `sha256:…`, if the event says it.
    pub digest: Option<String>,
}

impl ImagePush {
    /// Host of the registry, as images are named.
    #[must_use]
    pub fn registry(&self) -> String {
        let suffix = if self.region.starts_with("cn-") {
            ".cn"
        } else {
            ""
        };
        format!(
            "{}.dkr.ecr.{}.amazonaws.com{suffix}",
            self.account, self.region
        )
    }

    /// Key of the trigger index: the one lookup that the event costs.
    #[must_use]
    pub fn index_key(&self) -> String {
        format!("ecr#{}/{}/{}", self.account, self.region, self.repository)
    }
}

/// What an event is to us.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// It may start pipelines.
    Event(Event),
    /// It is genuine and starts nothing.
    Irrelevant(String),
}

/// Reads an EventBridge event.
///
/// # Errors
/// What is missing or malformed, for the person who sent it.
pub fn read(event: &Value) -> Result<Reading, String> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    match text("detail-type") {
        Some("ECR Image Action") => image_push(event),
        Some(other) => Ok(Reading::Irrelevant(format!(
            "events of type `{other}` start nothing"
        ))),
        None => Err("the event has no `detail-type`".to_owned()),
    }
}

fn image_push(event: &Value) -> Result<Reading, String> {
    let detail = event.get("detail").unwrap_or(&Value::Null);
    let inner = |name: &str| {
        detail
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let outer = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("the event has no `{name}`"))
    };
    let action = inner("action-type").unwrap_or("");
    let result = inner("result").unwrap_or("");
    if action != "PUSH" || result != "SUCCESS" {
        return Ok(Reading::Irrelevant(format!(
            "the image action is `{action}` with result `{result}`, not a successful push"
        )));
    }
    let Some(tag) = inner("image-tag") else {
        return Ok(Reading::Irrelevant("the image has no tag".to_owned()));
    };
    let repository =
        inner("repository-name").ok_or_else(|| "the event has no `repository-name`".to_owned())?;
    let time = outer("time")?;
    let at = time
        .parse::<jiff::Timestamp>()
        .map_err(|error| format!("`{time}` is no time: {error}"))?;
    Ok(Reading::Event(Event::ImagePush(ImagePush {
        event_id: outer("id")?.to_owned(),
        at: at.as_millisecond(),
        account: outer("account")?.to_owned(),
        region: outer("region")?.to_owned(),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: inner("image-digest").map(str::to_owned),
    })))
}
