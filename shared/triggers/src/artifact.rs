//! Artifacts, the artifacts a pipeline expects, and whether one is the other.

use std::sync::OnceLock;

use gennaker_expressions::Pattern;
use serde_json::{Map, Value, json};

use crate::json::{self, Unreadable};

/// Something that a pipeline ships or reads: an image, a file, a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Artifact {
    /// `docker/image`, `s3/object`, …
    pub kind: Option<String>,
    /// Whether the user made the type up.
    pub custom_kind: bool,
    /// Name, without the version.
    pub name: Option<String>,
    /// Version, tag, commit.
    pub version: Option<String>,
    /// Region, namespace.
    pub location: Option<String>,
    /// What fetches it.
    pub reference: Option<String>,
    /// Everything else.
    pub metadata: Map<String, Value>,
    /// Account that may fetch it.
    pub artifact_account: Option<String>,
    /// Where it came from.
    pub provenance: Option<String>,
    /// Id of this one.
    pub uuid: Option<String>,
}

impl Artifact {
    /// Reads Spinnaker's JSON. Unknown fields become metadata.
    ///
    /// # Errors
    /// A field has a type that cannot be read as its own.
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        let Value::Object(map) = value else {
            return Err(Unreadable::new("artifact", "has to be an object", value));
        };
        let mut artifact = Self::default();
        // In the order of the document: `metadata` replaces what unknown fields before it had put there.
        for (key, value) in map {
            match key.as_str() {
                "type" => artifact.kind = json::text(key, value)?,
                "customKind" => artifact.custom_kind = json::boolean(key, value)?,
                "name" => artifact.name = json::text(key, value)?,
                "version" => artifact.version = json::text(key, value)?,
                "location" => artifact.location = json::text(key, value)?,
                "reference" => artifact.reference = json::text(key, value)?,
                "metadata" => {
                    artifact.metadata = json::object(key, value)?.cloned().unwrap_or_default();
                }
                "artifactAccount" => artifact.artifact_account = json::text(key, value)?,
                "provenance" => artifact.provenance = json::text(key, value)?,
                "uuid" => artifact.uuid = json::text(key, value)?,
                "kind" => {}
                _ => {
                    artifact.metadata.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(artifact)
    }

    /// Spinnaker's JSON, without what is missing.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: &Option<String>| {
            if let Some(text) = value {
                map.insert(key.to_owned(), text.as_str().into());
            }
        };
        put("type", &self.kind);
        put("name", &self.name);
        put("version", &self.version);
        put("location", &self.location);
        put("reference", &self.reference);
        put("artifactAccount", &self.artifact_account);
        put("provenance", &self.provenance);
        put("uuid", &self.uuid);
        map.insert("customKind".to_owned(), self.custom_kind.into());
        map.insert(
            "metadata".to_owned(),
            json::map_without_nulls(&self.metadata).into(),
        );
        Value::Object(map)
    }

    /// Reads a list of artifacts; null is none.
    ///
    /// # Errors
    /// [`Unreadable`], of the first one that cannot be read.
    pub fn read_list(field: &str, value: &Value) -> Result<Option<Vec<Self>>, Unreadable> {
        json::list(field, value)?
            .map(|items| items.iter().map(Self::read).collect())
            .transpose()
    }
}

/// Why there is no answer to whether an artifact matches.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum MatchError {
    /// A field of the expected artifact is no regular expression.
    #[error("`{pattern}` of the expected artifact is no regular expression: {message}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong with it, or that it takes too long.
        message: String,
    },
    /// The artifact has no type to compare.
    #[error("the artifact has no type")]
    NoType,
}

/// A field that an artifact has to have, compiled when it is first asked.
#[derive(Debug, Default)]
struct Wanted(OnceLock<Result<Pattern, String>>);

impl Clone for Wanted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Wanted {
    fn matches(&self, wanted: Option<&str>, found: Option<&str>) -> Result<bool, MatchError> {
        let Some(wanted) = wanted.filter(|text| !text.is_empty()) else {
            return Ok(true);
        };
        let Some(found) = found else {
            return Ok(false);
        };
        if wanted == found {
            return Ok(true);
        }
        let broken = |message: &String| MatchError::Pattern {
            pattern: wanted.to_owned(),
            message: message.clone(),
        };
        let pattern = self.0.get_or_init(|| Pattern::new(wanted));
        let pattern = pattern.as_ref().map_err(broken)?;
        pattern.matches(found).map_err(|message| broken(&message))
    }
}

/// An artifact that a pipeline expects, and what to do without it.
#[derive(Clone, Debug, Default)]
pub struct ExpectedArtifact {
    /// Id by which triggers and stages name it.
    pub id: String,
    /// What it looks like; empty fields match everything.
    pub match_artifact: Artifact,
    /// Take the one of the execution before.
    pub use_prior_artifact: bool,
    /// Take the default one.
    pub use_default_artifact: bool,
    /// The default one.
    pub default_artifact: Option<Artifact>,
    /// What it was resolved to.
    pub bound_artifact: Option<Artifact>,
    patterns: [Wanted; 5],
}

impl PartialEq for ExpectedArtifact {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

/// Types whose artifacts hold their own content, here or in a store.
const BASE64: [&str; 2] = ["embedded/base64", "remote/base64"];

impl ExpectedArtifact {
    /// Reads Spinnaker's JSON; unknown fields are dropped.
    ///
    /// # Errors
    /// A field has a type that cannot be read as its own.
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        let Value::Object(map) = value else {
            return Err(Unreadable::new(
                "expectedArtifact",
                "has to be an object",
                value,
            ));
        };
        let artifact = |value: &Value| match value {
            Value::Null => Ok(None),
            value => Artifact::read(value).map(Some),
        };
        let mut expected = Self::default();
        for (key, value) in map {
            match key.as_str() {
                "id" => expected.id = json::text(key, value)?.unwrap_or_default(),
                "matchArtifact" => {
                    expected.match_artifact = artifact(value)?.unwrap_or_default();
                }
                "usePriorArtifact" => expected.use_prior_artifact = json::boolean(key, value)?,
                "useDefaultArtifact" => {
                    expected.use_default_artifact = json::boolean(key, value)?;
                }
                "defaultArtifact" => expected.default_artifact = artifact(value)?,
                "boundArtifact" => expected.bound_artifact = artifact(value)?,
                _ => {}
            }
        }
        Ok(expected)
    }

    /// Spinnaker's JSON, without what is missing.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "id": self.id,
            "matchArtifact": self.match_artifact.to_json(),
            "usePriorArtifact": self.use_prior_artifact,
            "useDefaultArtifact": self.use_default_artifact,
        });
        if let Value::Object(map) = &mut value {
            for (key, artifact) in [
                ("defaultArtifact", &self.default_artifact),
                ("boundArtifact", &self.bound_artifact),
            ] {
                if let Some(artifact) = artifact {
                    map.insert(key.to_owned(), artifact.to_json());
                }
            }
        }
        value
    }

    /// Whether an artifact is this one: each field is empty, equal, or a regular expression for the whole of it.
    /// Content that is embedded and content in a store are the same type.
    ///
    /// # Errors
    /// [`MatchError`].
    pub fn matches(&self, artifact: &Artifact) -> Result<bool, MatchError> {
        let wanted = &self.match_artifact;
        let [kind, name, version, location, reference] = &self.patterns;
        if !kind.matches(wanted.kind.as_deref(), artifact.kind.as_deref())? {
            // A type was asked for and is not that; without a type there is nothing left to compare.
            let asked = wanted.kind.as_deref().unwrap_or_default();
            let embedded = BASE64.first().copied().unwrap_or_default();
            let found = match artifact.kind.as_deref() {
                Some(found) => found,
                None => return Err(MatchError::NoType),
            };
            let same = BASE64.contains(&asked)
                && BASE64.contains(&found)
                && (asked == embedded || found == embedded);
            if !same {
                return Ok(false);
            }
        }
        Ok(
            name.matches(wanted.name.as_deref(), artifact.name.as_deref())?
                && version.matches(wanted.version.as_deref(), artifact.version.as_deref())?
                && location.matches(wanted.location.as_deref(), artifact.location.as_deref())?
                && reference.matches(wanted.reference.as_deref(), artifact.reference.as_deref())?,
        )
    }
}

/// Whether one of the artifacts is one that the trigger asks for; a trigger that asks for none takes all.
///
/// # Errors
/// [`MatchError`] of a comparison that was reached before one matched.
pub fn any_matches(
    artifacts: &[Artifact],
    ids: Option<&[Option<String>]>,
    expected: &[ExpectedArtifact],
) -> Result<bool, MatchError> {
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
        return Ok(true);
    };
    for artifact in artifacts {
        for candidate in expected {
            let asked = ids.iter().flatten().any(|id| *id == candidate.id);
            if asked && candidate.matches(artifact)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
