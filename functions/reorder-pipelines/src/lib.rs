#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{Connection, Functions};
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_pipelines::{GivenError, Outcome, Pipelines, Save, given};
use serde_json::{Map, Value};

/// Pipelines that one call saves; the next call goes on.
pub const TOGETHER: usize = 10;

/// Most pipelines that one stage puts into order.
pub const MOST: usize = 1_000;

/// The `reorderPipelines` stage.
#[derive(Clone, Debug)]
pub struct ReorderPipelines {
    pipelines: Pipelines,
}

/// What the stage asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Application.
    pub application: String,
    /// Ids and their places.
    pub places: Map<String, Value>,
}

/// Reads the stage's fields, each base64 of JSON or the value itself; an application may be plain text.
///
/// # Errors
/// What a person reads.
pub fn order(context: &Map<String, Value>) -> Result<Order, String> {
    let told = |error: GivenError| match error {
        GivenError::Missing { field } => format!("`{field}` context key must be provided"),
        other => other.to_string(),
    };
    let places = match given(context, "idsToIndices").map_err(told)? {
        Value::Object(places) => places,
        _ => return Err("`idsToIndices` is no object".to_owned()),
    };
    if places.len() > MOST {
        return Err(format!("{} pipelines: {MOST} at most", places.len()));
    }
    if let Some((id, place)) = places.iter().find(|(_, place)| place.as_i64().is_none()) {
        return Err(format!("the place of `{id}` is `{place}`, not a number"));
    }
    let application = match given(context, "application") {
        Ok(Value::String(name)) => name,
        // Plain text is no base64 of JSON.
        Ok(_) | Err(GivenError::NotBase64 { .. } | GivenError::Other { .. }) => context
            .get("application")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        Err(error) => return Err(told(error)),
    };
    Ok(Order {
        application,
        places,
    })
}

impl ReorderPipelines {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self {
            pipelines: Pipelines::new(functions),
        }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsFunctions::new(connection)))
    }
}

#[async_trait]
impl Stage for ReorderPipelines {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let order = match order(invocation.context) {
            Ok(order) => order,
            Err(reason) => return Ok(Step::failed(reason)),
        };
        let next = invocation
            .memory
            .get("next")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        let store = invocation.store();
        let mut at = next;
        for (id, place) in order.places.iter().skip(next).take(TOGETHER) {
            let found = store.find_pipeline(&order.application, id).await?;
            let Some(found) = found else {
                return Ok(Step::failed(format!(
                    "pipeline `{id}` not found in application `{}`",
                    order.application
                )));
            };
            let revision = store.revision(&found.id, found.revision).await?;
            let mut config = revision
                .and_then(|revision| revision.config.as_object().cloned())
                .unwrap_or_default();
            at += 1;
            if config.get("index") == Some(place) {
                continue;
            }
            config.insert("index".to_owned(), place.clone());
            let save = Save {
                action: format!("reorder-{at}"),
                application: Some(order.application.clone()),
                config,
                stale_check: false,
            };
            if let (Outcome::Refused(reason), _) = self.pipelines.save(invocation, &save).await? {
                return Ok(Step::failed(format!("pipeline `{}`: {reason}", found.name)));
            }
        }
        if at < order.places.len() {
            return Ok(Step::Waiting {
                reason: format!("{at} of {} pipelines have their place", order.places.len()),
                memory: Map::from_iter([("next".to_owned(), at.into())]),
                poll: None,
            });
        }
        Ok(Step::Succeeded {
            outputs: Map::new(),
            context: Map::from_iter([
                ("notification.type".to_owned(), "reorderpipelines".into()),
                ("application".to_owned(), order.application.into()),
            ]),
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.pipelines.undo(invocation, intent).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Order, String> {
        order(value.as_object().unwrap())
    }

    #[test]
    fn fields_are_base64_of_json_or_what_they_say() {
        // base64 of {"a":1} and of "shop"
        let encoded =
            read(json!({"idsToIndices": "eyJhIjoxfQ==", "application": "InNob3Ai"})).unwrap();
        let plain = read(json!({"idsToIndices": {"a": 1}, "application": "shop"})).unwrap();
        assert_eq!(encoded, plain);
        assert_eq!(plain.application, "shop");
    }

    #[test]
    fn what_is_missing_or_no_place_is_said() {
        assert_eq!(
            read(json!({"application": "shop"})).unwrap_err(),
            "`idsToIndices` context key must be provided"
        );
        assert!(read(json!({"idsToIndices": {"a": "x"}, "application": "shop"})).is_err());
        assert!(read(json!({"idsToIndices": [], "application": "shop"})).is_err());
    }
}
