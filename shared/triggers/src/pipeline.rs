//! What triggers need to know of a pipeline.

use serde_json::{Map, Value};

use crate::artifact::{Artifact, ExpectedArtifact};
use crate::json::{self, Unreadable};
use crate::trigger::Trigger;

/// A pipeline, as far as triggers are concerned.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// Application.
    pub application: String,
    /// Name.
    pub name: String,
    /// Id; pipelines in files may have none.
    pub id: Option<String>,
    /// Whether none of its triggers counts.
    pub disabled: bool,
    /// Triggers in their order.
    pub triggers: Vec<Trigger>,
    /// The artifacts that it expects.
    pub expected_artifacts: Vec<ExpectedArtifact>,
    /// Its parameters, as configured.
    pub parameter_config: Vec<Map<String, Value>>,
    /// Its notifications; none where there is no list.
    pub notifications: Option<Vec<Value>>,
    /// A message that keeps it from starting.
    pub error_message: Option<String>,
}

impl Pipeline {
    /// Reads Spinnaker's JSON.
    ///
    /// # Errors
    /// A field that the original reads has a type that it cannot read, or there is no application or name: the
    /// original then ignores the whole pipeline without a word.
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        let Value::Object(map) = value else {
            return Err(Unreadable::new("pipeline", "has to be an object", value));
        };
        let get = |field: &str| map.get(field).unwrap_or(&Value::Null);
        let required = |field: &str| {
            json::text(field, get(field))?
                .ok_or_else(|| Unreadable::new(field, "is required", get(field)))
        };
        for field in [
            "parallel",
            "limitConcurrent",
            "keepWaitingPipelines",
            "plan",
            "respectQuietPeriod",
        ] {
            json::boolean(field, get(field))?;
        }
        for field in [
            "executionId",
            "executionEngine",
            "spelEvaluator",
            "type",
            "schema",
        ] {
            json::text(field, get(field))?;
        }
        json::integer("maxConcurrentExecutions", get("maxConcurrentExecutions"))?;
        for field in ["config", "templateVariables"] {
            json::object(field, get(field))?;
        }
        if let Some(source) = json::object("source", get("source"))? {
            for value in source.values() {
                json::text("source", value)?;
            }
        }
        let objects = |field: &str| -> Result<Option<Vec<Value>>, Unreadable> {
            let Some(items) = json::list(field, get(field))? else {
                return Ok(None);
            };
            for item in items {
                json::object(field, item)?;
            }
            Ok(Some(items.to_vec()))
        };
        objects("stages")?;
        Artifact::read_list("receivedArtifacts", get("receivedArtifacts"))?;
        Ok(Self {
            application: required("application")?,
            name: required("name")?,
            id: json::text("id", get("id"))?,
            disabled: json::boolean("disabled", get("disabled"))?,
            triggers: json::list("triggers", get("triggers"))?
                .unwrap_or_default()
                .iter()
                .map(Trigger::read)
                .collect::<Result<_, _>>()?,
            expected_artifacts: json::list("expectedArtifacts", get("expectedArtifacts"))?
                .unwrap_or_default()
                .iter()
                .map(ExpectedArtifact::read)
                .collect::<Result<_, _>>()?,
            parameter_config: objects("parameterConfig")?
                .unwrap_or_default()
                .into_iter()
                .filter_map(|item| match item {
                    Value::Object(map) => Some(map),
                    _ => None,
                })
                .collect(),
            notifications: objects("notifications")?,
            error_message: json::text("errorMessage", get("errorMessage"))?
                .filter(|text| !text.is_empty()),
        })
    }
}
