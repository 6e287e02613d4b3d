//! Triggers as pipelines configure them.

use std::sync::OnceLock;

use gennaker_expressions::Pattern;
use serde_json::{Map, Value};

use crate::constraint::Patterns;
use crate::json::{self, Unreadable};

/// How a field of a trigger is read.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Flag,
    Integer,
    Texts,
    Object,
    Objects,
    TextMaps,
}

/// Every field that a trigger may have. What is not listed is dropped, as Echo does.
fn shape(field: &str) -> Option<Shape> {
    Some(match field {
        "id" | "type" | "parentPipelineId" | "parentPipelineApplication" | "application"
        | "pipeline" | "correlationId" | "executionId" | "project" | "slug" | "source"
        | "branch" | "master" | "job" | "propertyFile" | "cronExpression"
        | "subscriptionName" | "pubsubSystem" | "account" | "organization" | "registry"
        | "repository" | "tag" | "user" | "artifactorySearchName" | "nexusSearchName"
        | "pluginEventType" | "pluginId" | "description" | "provider" | "version"
        | "releaseDate" | "requires" | "binaryUrl" | "sha512sum" | "artifactName" | "hash"
        | "runAsUser" | "secret" | "digest" | "action" | "eventId" | "link" | "linkText"
        // Ours: which signature a git trigger takes; where an `ecr` trigger's repository is.
        | "signatureAlgorithm" | "registryId" | "region" => Shape::Text,
        "enabled" | "preferred" | "rebake" | "dryRun" => Shape::Flag,
        "buildNumber" => Shape::Integer,
        "events" | "status" | "expectedArtifactIds" => Shape::Texts,
        "payloadConstraints" | "attributeConstraints" | "buildInfo" | "properties"
        | "parameters" | "payload" | "lastSuccessfulExecution" => Shape::Object,
        "notifications" | "artifacts" => Shape::Objects,
        "parsedRequires" => Shape::TextMaps,
        _ => return None,
    })
}

/// Fields of the text that Echo makes a trigger's id of: two triggers that differ in one of them are two triggers.
const IDENTITY: [&str; 29] = [
    "id",
    "type",
    "master",
    "job",
    "cronExpression",
    "source",
    "project",
    "slug",
    "account",
    "repository",
    "tag",
    "digest",
    "parameters",
    "payloadConstraints",
    "attributeConstraints",
    "branch",
    "runAsUser",
    "subscriptionName",
    "pubsubSystem",
    "expectedArtifactIds",
    "payload",
    "status",
    "artifactName",
    "link",
    "linkText",
    "application",
    "pipeline",
    "correlationId",
    "executionId",
];

/// A pattern that is compiled when it is first asked.
#[derive(Debug, Default)]
pub(crate) struct Compiled(OnceLock<Result<Pattern, String>>);

impl Clone for Compiled {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Compiled {
    /// Whether the whole text matches.
    pub(crate) fn matches(&self, pattern: &str, text: &str) -> Result<bool, String> {
        match self.0.get_or_init(|| Pattern::new(pattern)) {
            Ok(compiled) => compiled.matches(text),
            Err(error) => Err(error.clone()),
        }
    }
}

/// A trigger of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Trigger {
    /// What kind of event it hears: `git`, `docker`, …
    pub kind: Option<String>,
    /// Whether it hears anything.
    pub enabled: bool,
    /// The known fields, each of its own JSON type; missing ones are absent.
    pub(crate) fields: Map<String, Value>,
    /// The branch or tag pattern.
    pub(crate) pattern: Compiled,
    /// The patterns of the constraints.
    pub(crate) patterns: Patterns,
}

impl Trigger {
    /// Reads Spinnaker's JSON.
    ///
    /// # Errors
    /// A field has a type that cannot be read as its own.
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        let Value::Object(map) = value else {
            return Err(Unreadable::new("triggers", "has to hold objects", value));
        };
        let mut fields = Map::new();
        for (field, value) in map {
            let Some(shape) = shape(field) else { continue };
            let read = match shape {
                Shape::Text => json::text(field, value)?.map(Value::from),
                Shape::Flag => Some(json::boolean(field, value)?.into()),
                Shape::Integer => json::integer(field, value)?.map(Value::from),
                Shape::Texts => json::texts(field, value)?
                    .map(|texts| texts.into_iter().map(Value::from).collect()),
                Shape::Object => json::object(field, value)?.map(|map| map.clone().into()),
                Shape::Objects => {
                    for item in json::list(field, value)?.unwrap_or_default() {
                        json::object(field, item)?;
                    }
                    Some(value.clone())
                }
                Shape::TextMaps => json::list(field, value)?
                    .map(|items| {
                        items
                            .iter()
                            .map(|item| text_map(field, item))
                            .collect::<Result<Value, _>>()
                    })
                    .transpose()?,
            };
            if let Some(read) = read.filter(|read| !read.is_null()) {
                fields.insert(field.clone(), read);
            }
        }
        let kind = fields
            .get("type")
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(Self {
            kind,
            enabled: fields.get("enabled") == Some(&Value::Bool(true)),
            fields,
            pattern: Compiled::default(),
            patterns: Patterns::default(),
        })
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// A field that is an object.
    #[must_use]
    pub fn object(&self, field: &str) -> Option<&Map<String, Value>> {
        self.fields.get(field).and_then(Value::as_object)
    }

    /// A field that is a list of texts, some of which may be null.
    #[must_use]
    pub fn texts(&self, field: &str) -> Option<Vec<Option<String>>> {
        self.fields
            .get(field)
            .and_then(Value::as_array)
            .map(|list| {
                list.iter()
                    .map(|item| item.as_str().map(str::to_owned))
                    .collect()
            })
    }

    /// Whether a part of the text matches a pattern of this trigger's constraints.
    pub(crate) fn finds(&self, pattern: &str, text: &str) -> bool {
        let constraints: Vec<&Map<String, Value>> = ["payloadConstraints", "attributeConstraints"]
            .into_iter()
            .filter_map(|field| self.object(field))
            .collect();
        self.patterns.finds(&constraints, pattern, text)
    }

    /// Puts a field, or takes it away.
    pub(crate) fn put(&mut self, field: &str, value: impl Into<Value>) {
        match value.into() {
            Value::Null => {
                self.fields.shift_remove(field);
            }
            value => {
                self.fields.insert(field.to_owned(), value);
            }
        }
    }

    /// The trigger as the execution carries it: null entries dropped, the flags always there.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = json::map_without_nulls(&self.fields);
        // Ours, and nobody's business later.
        for field in ["signatureAlgorithm", "registryId", "region"] {
            map.shift_remove(field);
        }
        for flag in ["enabled", "preferred", "rebake", "dryRun"] {
            map.entry(flag).or_insert(Value::Bool(false));
        }
        Value::Object(map)
    }

    /// What makes this trigger another one than its neighbours, as configured.
    pub(crate) fn identity(&self) -> String {
        let fields: Vec<&Value> = IDENTITY
            .iter()
            .map(|field| self.fields.get(*field).unwrap_or(&Value::Null))
            .collect();
        serde_json::to_string(&fields).unwrap_or_default()
    }
}

fn text_map(field: &str, value: &Value) -> Result<Value, Unreadable> {
    let Some(map) = json::object(field, value)? else {
        return Ok(Value::Null);
    };
    map.iter()
        .map(|(key, value)| Ok((key.clone(), json::text(field, value)?.into())))
        .collect::<Result<Map<String, Value>, _>>()
        .map(Value::Object)
}
