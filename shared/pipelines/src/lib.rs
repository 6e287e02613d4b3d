#![doc = include_str!("../README.md")]

pub mod children;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use gennaker_cloud::functions::{Answer, function_name};
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_cloud::{CloudError, Functions};
use gennaker_domain::{Intent, error_name};
use gennaker_lambda::{Invocation, StageError, Undo};
use serde_json::{Map, Value, json};

/// Most bytes of a pipeline, or of a list of them, that a stage takes.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why a stage's field is no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// The field is missing.
    #[error("{field} context must be provided")]
    Missing {
        /// The field.
        field: String,
    },
    /// A text that is not base64.
    #[error("{field} must be encoded as base64")]
    NotBase64 {
        /// The field.
        field: String,
    },
    /// Base64 of something else than JSON, or JSON of another type.
    #[error("{field} is not what was expected: {message}")]
    Other {
        /// The field.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// A value as stages carry it: base64 of its JSON, or the value itself if it is no text.
///
/// # Errors
/// [`GivenError`]; a text of more than [`MAX_BYTES`] is not read.
pub fn given(context: &Map<String, Value>, field: &str) -> Result<Value, GivenError> {
    let owned = || field.to_owned();
    let other = |message: String| GivenError::Other {
        field: owned(),
        message,
    };
    match context.get(field) {
        None | Some(Value::Null) => Err(GivenError::Missing { field: owned() }),
        Some(Value::String(text)) => {
            if text.len() > MAX_BYTES {
                return Err(other(format!("more than {MAX_BYTES} bytes")));
            }
            serde_json::from_slice(&bytes(text).ok_or(GivenError::NotBase64 { field: owned() })?)
                .map_err(|error| other(error.to_string()))
        }
        Some(value) => Ok(value.clone()),
    }
}

/// The bytes of a base64 text, of either alphabet, line breaks left out.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_whitespace().collect();
    STANDARD
        .decode(&text)
        .or_else(|_| URL_SAFE.decode(&text))
        .ok()
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done; the answer of `save-pipeline`.
    Done(Value),
    /// Refused, for this reason.
    Refused(String),
}

/// One pipeline to save.
#[derive(Clone, Debug)]
pub struct Save {
    /// Unique in the stage: names the intent.
    pub action: String,
    /// Application; none is that of the pipeline.
    pub application: Option<String>,
    /// Spinnaker's JSON.
    pub config: Map<String, Value>,
    /// Refuse if somebody saved it since it was read.
    pub stale_check: bool,
}

/// `save-pipeline`, as stages use it.
#[derive(Clone)]
pub struct Pipelines {
    functions: Arc<dyn Functions>,
}

impl std::fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipelines")
    }
}

fn text<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    map.get(name)
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// The problems of an answer as one text, with their codes.
fn refusal(value: &Value) -> Option<(Vec<String>, String)> {
    let problems = value.get("problems").and_then(Value::as_array)?;
    if problems.is_empty() {
        return None;
    }
    let field = |problem: &Value, name: &str| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let codes = problems
        .iter()
        .map(|problem| field(problem, "code"))
        .collect();
    let texts: Vec<String> = problems
        .iter()
        .filter(|problem| field(problem, "severity") != "warning")
        .map(|problem| {
            let (path, message) = (field(problem, "path"), field(problem, "message"));
            if path.is_empty() {
                message
            } else {
                format!("{message} (`{path}`)")
            }
        })
        .collect();
    Some((codes, texts.join("; ")))
}

impl Pipelines {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self { functions }
    }

    async fn invoke(
        &self,
        invocation: &Invocation<'_>,
        event: &Value,
    ) -> Result<Result<Value, (Vec<String>, String)>, StageError> {
        let function = function_name(invocation.prefix, "save-pipeline");
        match self.functions.invoke(&function, event).await? {
            Answer::Value(value) => Ok(match refusal(&value) {
                Some(refusal) => Err(refusal),
                None => Ok(value),
            }),
            Answer::Error { name, message } if name == error_name::INVALID_CONFIGURATION => {
                Ok(Err((Vec::new(), message)))
            }
            Answer::Error { name, message } => {
                let message = format!("save-pipeline answered {name}: {message}");
                // Every try is three events of the machine's history; finalize bounds its own.
                let ending = invocation.execution.ending.is_some();
                if !ending && invocation.spent() >= children::PATIENCE_MILLIS {
                    return Ok(Err((Vec::new(), message)));
                }
                Err(StageError::Cloud(CloudError::Throttled {
                    operation: "lambda:InvokeFunction".to_owned(),
                    message,
                }))
            }
        }
    }

    /// The pipeline that is meant: by its id, else by its name.
    async fn stored(
        &self,
        invocation: &Invocation<'_>,
        application: &str,
        config: &Map<String, Value>,
    ) -> Result<Option<Pipeline>, StageError> {
        let store = invocation.store();
        if let Some(id) = text(config, "id") {
            let found = store.pipeline(application, id).await?;
            return Ok(found.filter(|pipeline| !pipeline.deleted));
        }
        match text(config, "name") {
            Some(name) => Ok(store.find_pipeline(application, name).await?),
            None => Ok(None),
        }
    }

    /// Who the revisions of this execution are by: what started it, and the execution.
    fn author(invocation: &Invocation<'_>) -> String {
        let user = invocation.trigger.get("user").and_then(Value::as_str);
        format!("{} ({})", user.unwrap_or("anonymous"), invocation.run)
    }

    /// Saves a pipeline, once however often it is called. The answer also tells whether it was there before.
    ///
    /// # Errors
    /// Those of the table and of Lambda; [`StageError::Ending`].
    pub async fn save(
        &self,
        invocation: &Invocation<'_>,
        save: &Save,
    ) -> Result<(Outcome, bool), StageError> {
        let application = save
            .application
            .as_deref()
            .or_else(|| text(&save.config, "application"));
        let Some(application) = application else {
            let reason = "the pipeline belongs to no application".to_owned();
            return Ok((Outcome::Refused(reason), false));
        };
        let before = self.stored(invocation, application, &save.config).await?;
        let undo = json!({
            "application": application,
            "name": save.config.get("name"),
            "id": before.as_ref().map(|before| before.id.as_str()),
            "revision": before.as_ref().map(|before| before.revision),
        });
        let mut existed = before.is_some();
        let mut stale_check = save.stale_check;
        if !invocation.intend(&save.action, undo).await? {
            // An earlier try may have saved it: what was there before is what that one found.
            let intents = invocation
                .store()
                .intents(&invocation.run.execution)
                .await?;
            let own = intents.iter().find(|intent| {
                intent.stage == invocation.stage.ref_id && intent.action == save.action
            });
            let revision = own.and_then(|intent| intent.undo.get("revision")?.as_u64());
            existed = revision.is_some();
            let author = Self::author(invocation);
            let saved = before.as_ref().is_some_and(|now| {
                now.author.as_ref() == Some(&author)
                    && revision.is_none_or(|revision| now.revision == revision.saturating_add(1))
            });
            stale_check &= !saved;
        }
        let event = json!({
            "application": application,
            "pipeline": save.config,
            "author": Self::author(invocation),
            "staleCheck": stale_check,
        });
        match self.invoke(invocation, &event).await? {
            Ok(answer) => {
                invocation.done(&save.action).await?;
                Ok((Outcome::Done(answer), existed))
            }
            Err((_, reason)) => Ok((Outcome::Refused(reason), existed)),
        }
    }

    /// Deletes a pipeline, once however often it is called.
    ///
    /// # Errors
    /// Those of the table and of Lambda; [`StageError::Ending`].
    pub async fn delete(
        &self,
        invocation: &Invocation<'_>,
        action: &str,
        config: &Map<String, Value>,
    ) -> Result<Outcome, StageError> {
        let Some(application) = text(config, "application") else {
            let reason = "the pipeline belongs to no application".to_owned();
            return Ok(Outcome::Refused(reason));
        };
        let Some(named) = text(config, "id").or_else(|| text(config, "name")) else {
            return Ok(Outcome::Refused("the pipeline has no name".to_owned()));
        };
        let before = self.stored(invocation, application, config).await?;
        let undo = json!({
            "application": application,
            "id": before.as_ref().map(|before| before.id.as_str()),
            "revision": before.as_ref().map(|before| before.revision),
            "deleted": true,
        });
        let first = invocation.intend(action, undo).await?;
        let id = before.as_ref().map_or(named, |before| before.id.as_str());
        let event = json!({ "delete": { "application": application, "pipeline": id } });
        match self.invoke(invocation, &event).await? {
            Ok(answer) => {
                invocation.done(action).await?;
                Ok(Outcome::Done(answer))
            }
            // An earlier try deleted it.
            Err((codes, _)) if !first && codes.iter().any(|code| code == "unknown-pipeline") => {
                invocation.done(action).await?;
                Ok(Outcome::Done(json!({})))
            }
            Err((_, reason)) => Ok(Outcome::Refused(reason)),
        }
    }

    /// Takes back what one intent of these stages changed.
    ///
    /// # Errors
    /// Those of the table and of Lambda.
    pub async fn undo(
        &self,
        invocation: &Invocation<'_>,
        intent: &Intent,
    ) -> Result<Undo, StageError> {
        let done = |result: String| Ok(Undo::Done { result });
        let field = |name: &str| {
            intent
                .undo
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let Some(application) = field("application") else {
            return done("the intent names no pipeline".to_owned());
        };
        let deleted = intent.undo.get("deleted") == Some(&Value::Bool(true));
        let store = invocation.store();
        let (Some(id), Some(revision)) = (
            field("id"),
            intent.undo.get("revision").and_then(Value::as_u64),
        ) else {
            // It was not there before.
            let Some(name) = field("name").filter(|_| !deleted) else {
                return done("nothing had been there".to_owned());
            };
            let Some(now) = store.find_pipeline(&application, &name).await? else {
                return done("nothing was saved".to_owned());
            };
            if now.author != Some(Self::author(invocation)) {
                return done(format!(
                    "`{name}` was saved by somebody else since: it stays"
                ));
            }
            let event = json!({ "delete": { "application": application, "pipeline": now.id } });
            return match self.invoke(invocation, &event).await? {
                Ok(_) => done(format!("`{name}` is deleted")),
                Err((_, reason)) => done(format!("`{name}` stays: {reason}")),
            };
        };
        let Some(now) = store.pipeline(&application, &id).await? else {
            return done("the pipeline is gone".to_owned());
        };
        if now.deleted != deleted || (!deleted && now.revision == revision) {
            return done("nothing was changed".to_owned());
        }
        if !deleted
            && (now.revision != revision.saturating_add(1)
                || now.author != Some(Self::author(invocation)))
        {
            return done(format!(
                "`{}` was saved by somebody else since: it stays",
                now.name
            ));
        }
        let Some(old) = store.revision(&id, revision).await? else {
            return done(format!("revision {revision} of `{}` is gone", now.name));
        };
        let event = json!({
            "application": application,
            "pipeline": old.config,
            "author": format!("undo of {}", invocation.run),
        });
        match self.invoke(invocation, &event).await? {
            Ok(_) => done(format!("`{}` is as in revision {revision}", now.name)),
            Err((_, reason)) => done(format!("`{}` stays as it is: {reason}", now.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Value, GivenError> {
        given(
            json!({ "pipeline": value }).as_object().unwrap(),
            "pipeline",
        )
    }

    #[test]
    fn a_pipeline_is_base64_of_its_json_or_an_object() {
        let encoded = STANDARD.encode(r#"{"name":"x"}"#);
        assert_eq!(read(json!(encoded)).unwrap(), json!({"name": "x"}));
        let broken = format!("{}\n{}", &encoded[..4], &encoded[4..]);
        assert_eq!(read(json!(broken)).unwrap(), json!({"name": "x"}));
        assert_eq!(read(json!({"name": "y"})).unwrap(), json!({"name": "y"}));
    }

    #[test]
    fn what_is_no_pipeline_is_refused_in_orcas_words_and_nothing_panics() {
        let said = |value: Value| read(value).unwrap_err().to_string();
        assert_eq!(said(json!(null)), "pipeline context must be provided");
        assert_eq!(
            said(json!("{not base64}")),
            "pipeline must be encoded as base64"
        );
        assert!(
            said(json!(STANDARD.encode("[1"))).starts_with("pipeline is not what was expected")
        );
        assert!(said(json!("A".repeat(MAX_BYTES + 4))).contains("more than"));
    }

    #[test]
    fn the_problems_of_a_refusal_are_one_text_without_the_warnings() {
        let answer = json!({"problems": [
            {"code": "a", "severity": "error", "path": "$.stages[0]", "message": "unknown stage type `x`"},
            {"code": "b", "severity": "warning", "path": "$", "message": "told"},
        ]});
        let (codes, text) = refusal(&answer).unwrap();
        assert_eq!(codes, ["a", "b"]);
        assert_eq!(text, "unknown stage type `x` (`$.stages[0]`)");
        assert_eq!(refusal(&json!({"id": "p"})), None);
    }
}
