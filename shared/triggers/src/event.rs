//! Events in Echo's own form, read once for all triggers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::artifact::Artifact;
use crate::json::{self, Unreadable};

/// An event that may start pipelines.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// `details.type`: `git`, `docker`, `webhook`, …
    pub kind: String,
    /// `details.source`: `github`, the name of a webhook, …
    pub source: Option<String>,
    /// `details.attributes`.
    pub attributes: Option<BTreeMap<String, Option<String>>>,
    /// `details.requestHeaders`; the keys are compared as they are.
    pub headers: Option<BTreeMap<String, Option<Vec<Option<String>>>>>,
    /// What the event is about.
    pub content: Option<Map<String, Value>>,
    /// What was posted.
    pub payload: Option<Map<String, Value>>,
    /// The body byte for byte, for signatures.
    pub raw_content: Option<String>,
    /// Id of the event: the same for each delivery of it.
    pub event_id: Option<String>,
    /// AWS itself sent it, which signs no body: no JSON says so, only the way by which the event came.
    pub by_aws: bool,
}

impl Event {
    /// Reads Echo's JSON.
    ///
    /// # Errors
    /// A field has a type that cannot be read, or there is no `details.type`.
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        let Value::Object(map) = value else {
            return Err(Unreadable::new("event", "has to be an object", value));
        };
        let get = |field: &str| map.get(field).unwrap_or(&Value::Null);
        let details = json::object("details", get("details"))?
            .ok_or_else(|| Unreadable::new("details", "is required", get("details")))?;
        let detail = |field: &str| details.get(field).unwrap_or(&Value::Null);
        let attributes = json::object("attributes", detail("attributes"))?
            .map(|map| {
                map.iter()
                    .map(|(key, value)| Ok((key.clone(), json::text("attributes", value)?)))
                    .collect::<Result<_, Unreadable>>()
            })
            .transpose()?;
        let headers = match details.get("requestHeaders") {
            None => Some(BTreeMap::new()),
            Some(found) => json::object("requestHeaders", found)?
                .map(|map| {
                    map.iter()
                        .map(|(key, value)| {
                            Ok((key.clone(), json::texts("requestHeaders", value)?))
                        })
                        .collect::<Result<_, Unreadable>>()
                })
                .transpose()?,
        };
        Ok(Self {
            kind: json::text("type", detail("type"))?
                .ok_or_else(|| Unreadable::new("details.type", "is required", detail("type")))?,
            source: json::text("source", detail("source"))?,
            attributes,
            headers,
            content: json::object("content", get("content"))?.cloned(),
            payload: json::object("payload", get("payload"))?.cloned(),
            raw_content: json::text("rawContent", get("rawContent"))?,
            event_id: json::text("eventId", get("eventId"))?,
            by_aws: false,
        })
    }

    /// Echo's JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut details = Map::new();
        details.insert("type".to_owned(), self.kind.as_str().into());
        if let Some(source) = &self.source {
            details.insert("source".to_owned(), source.as_str().into());
        }
        let texts = |map: &BTreeMap<String, Option<String>>| -> Value {
            map.iter()
                .map(|(key, value)| (key.clone(), Value::from(value.clone())))
                .collect::<Map<_, _>>()
                .into()
        };
        if let Some(attributes) = &self.attributes {
            details.insert("attributes".to_owned(), texts(attributes));
        }
        if let Some(headers) = &self.headers {
            let headers: Map<String, Value> = headers
                .iter()
                .map(|(key, values)| {
                    let values = values
                        .as_ref()
                        .map(|values| values.iter().cloned().map(Value::from).collect::<Vec<_>>());
                    (key.clone(), Value::from(values))
                })
                .collect();
            details.insert("requestHeaders".to_owned(), headers.into());
        }
        let mut map = Map::new();
        map.insert("details".to_owned(), details.into());
        for (key, value) in [("content", &self.content), ("payload", &self.payload)] {
            if let Some(value) = value {
                map.insert(key.to_owned(), value.clone().into());
            }
        }
        for (key, value) in [
            ("rawContent", &self.raw_content),
            ("eventId", &self.event_id),
        ] {
            if let Some(value) = value {
                map.insert(key.to_owned(), value.as_str().into());
            }
        }
        Value::Object(map)
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        same_ignoring_case(&self.kind, kind)
    }

    /// The first value of a header by its exact name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers.as_ref()?.get(name)?.as_ref()?;
        values.first()?.as_deref()
    }
}

/// Java's `equalsIgnoreCase`: letter by letter, so `ß` is not `SS`.
pub(crate) fn same_ignoring_case(left: &str, right: &str) -> bool {
    let upper = |c: char| {
        let mut mapped = c.to_uppercase();
        match (mapped.next(), mapped.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    let lower = |c: char| {
        let mut mapped = c.to_lowercase();
        match (mapped.next(), mapped.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    let (mut left, mut right) = (left.chars(), right.chars());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => {
                let (a, b) = (upper(a), upper(b));
                if a != b && lower(a) != lower(b) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// The content of a git event.
#[derive(Debug, Default)]
pub(crate) struct GitContent {
    pub project: Option<String>,
    pub slug: Option<String>,
    pub hash: Option<String>,
    pub branch: Option<String>,
    pub action: Option<String>,
    /// Number, draft, state and title of a pull request, those that there are.
    pub properties: Map<String, Value>,
    pub artifacts: Vec<Artifact>,
}

/// The content of an event about an image or a chart in an OCI registry.
#[derive(Debug, Default)]
pub(crate) struct RegistryContent {
    pub account: Option<String>,
    pub registry: Option<String>,
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

/// The content of an event about a chart in a Helm repository.
#[derive(Debug, Default)]
pub(crate) struct HelmContent {
    pub account: Option<String>,
    pub chart: Option<String>,
    pub version: Option<String>,
    pub digest: Option<String>,
}

/// The content of a webhook.
#[derive(Debug, Default)]
pub(crate) struct WebhookContent {
    pub artifacts: Vec<Artifact>,
    pub parameters: Option<Map<String, Value>>,
}

/// The message of a pub/sub event.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub subscription: Option<String>,
    pub system: Option<&'static str>,
    pub attributes: Option<Map<String, Value>>,
    pub artifacts: Vec<Artifact>,
}

/// The build of a build event.
#[derive(Debug, Default)]
pub(crate) struct BuildContent {
    pub master: Option<String>,
    pub job: Option<String>,
    /// Whether it is over and succeeded.
    pub succeeded: bool,
    pub number: i64,
    pub url: Option<String>,
    pub artifacts: Vec<Artifact>,
}

/// An artifact that was found by a search.
#[derive(Debug, Default)]
pub(crate) struct FoundContent {
    pub name: Option<String>,
    pub artifact: Option<Artifact>,
}

type Content = Map<String, Value>;

fn get<'a>(content: &'a Content, field: &str) -> &'a Value {
    content.get(field).unwrap_or(&Value::Null)
}

fn text(content: &Content, field: &str) -> Result<Option<String>, Unreadable> {
    json::text(field, get(content, field))
}

impl GitContent {
    pub(crate) fn read(content: &Content) -> Result<Self, Unreadable> {
        let mut properties = Map::new();
        if let Some(number) = json::integer("number", get(content, "number"))? {
            properties.insert("number".to_owned(), number.into());
        }
        if let Some(draft) = json::nullable_boolean("draft", get(content, "draft"))? {
            properties.insert("draft".to_owned(), draft.into());
        }
        for field in ["state", "title"] {
            if let Some(found) = text(content, field)? {
                properties.insert(field.to_owned(), found.into());
            }
        }
        Ok(Self {
            project: text(content, "repoProject")?,
            slug: text(content, "slug")?,
            hash: text(content, "hash")?,
            branch: text(content, "branch")?,
            action: text(content, "action")?,
            properties,
            artifacts: Artifact::read_list("artifacts", get(content, "artifacts"))?
                .unwrap_or_default(),
        })
    }
}

impl RegistryContent {
    pub(crate) fn read(content: &Content) -> Result<Self, Unreadable> {
        Ok(Self {
            account: text(content, "account")?,
            registry: text(content, "registry")?,
            repository: text(content, "repository")?,
            tag: text(content, "tag")?,
            digest: text(content, "digest")?,
        })
    }
}

impl HelmContent {
    pub(crate) fn read(content: &Content) -> Result<Self, Unreadable> {
        Ok(Self {
            account: text(content, "account")?,
            chart: text(content, "chart")?,
            version: text(content, "version")?,
            digest: text(content, "digest")?,
        })
    }
}

impl WebhookContent {
    pub(crate) fn read(content: &Content) -> Result<Self, Unreadable> {
        Ok(Self {
            artifacts: Artifact::read_list("artifacts", get(content, "artifacts"))?
                .unwrap_or_default(),
            parameters: json::object("parameters", get(content, "parameters"))?.cloned(),
        })
    }
}

impl Message {
    /// The message, if the event has one.
    pub(crate) fn read(content: &Content) -> Result<Option<Self>, Unreadable> {
        let found = json::object("messageDescription", get(content, "messageDescription"))?;
        let Some(message) = found else {
            return Ok(None);
        };
        let system = match text(message, "pubsubSystem")?.as_deref() {
            None => None,
            Some("AMAZON") => Some("amazon"),
            Some("GOOGLE") => Some("google"),
            Some("KAFKA") => Some("kafka"),
            Some(_) => {
                return Err(Unreadable::new(
                    "pubsubSystem",
                    "has to be AMAZON, GOOGLE or KAFKA",
                    get(message, "pubsubSystem"),
                ));
            }
        };
        text(message, "messagePayload")?;
        for field in ["ackDeadlineSeconds", "retentionDeadlineSeconds"] {
            json::integer(field, get(message, field))?;
        }
        let attributes = json::object("messageAttributes", get(message, "messageAttributes"))?
            .map(|map| {
                map.iter()
                    .map(|(key, value)| {
                        Ok((key.clone(), json::text("messageAttributes", value)?.into()))
                    })
                    .collect::<Result<_, Unreadable>>()
            })
            .transpose()?;
        Ok(Some(Self {
            subscription: text(message, "subscriptionName")?,
            system,
            attributes,
            artifacts: Artifact::read_list("artifacts", get(message, "artifacts"))?
                .unwrap_or_default(),
        }))
    }
}

impl BuildContent {
    /// The build, if the event names a project.
    pub(crate) fn read(content: &Content) -> Result<Option<Self>, Unreadable> {
        let master = text(content, "master")?;
        let Some(project) = json::object("project", get(content, "project"))? else {
            return Ok(None);
        };
        let job = text(project, "name")?;
        let Some(build) = json::object("lastBuild", get(project, "lastBuild"))? else {
            return Ok(Some(Self {
                master,
                job,
                ..Self::default()
            }));
        };
        let result = text(build, "result")?;
        if let Some(result) = &result
            && ![
                "SUCCESS",
                "UNSTABLE",
                "BUILDING",
                "ABORTED",
                "FAILURE",
                "NOT_BUILT",
            ]
            .contains(&result.as_str())
        {
            return Err(Unreadable::new(
                "result",
                "has to be a result of a build",
                get(build, "result"),
            ));
        }
        let building = json::boolean("building", get(build, "building"))?;
        Ok(Some(Self {
            master,
            job,
            succeeded: !building && result.as_deref() == Some("SUCCESS"),
            number: json::integer("number", get(build, "number"))?.unwrap_or(0),
            url: text(build, "url")?,
            artifacts: Artifact::read_list("artifacts", get(build, "artifacts"))?
                .unwrap_or_default(),
        }))
    }
}

impl FoundContent {
    pub(crate) fn read(content: &Content) -> Result<Self, Unreadable> {
        Ok(Self {
            name: text(content, "name")?,
            artifact: match get(content, "artifact") {
                Value::Null => None,
                found => Some(Artifact::read(found)?),
            },
        })
    }
}
