#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_artifacts::{Artifacts, ContentError};
use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{Connection, Functions};
use gennaker_domain::{Intent, Status, artifact};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo, internet};
use gennaker_pipelines::{Outcome, Pipelines, Save};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Pipelines that one call saves; the next call goes on. Machines are made one a second.
pub const TOGETHER: usize = 5;

/// Most pipelines that one artifact holds.
pub const MOST: usize = 500;

/// How often a server that gives no answer is asked.
pub const TRIES: u64 = 10;

/// The `savePipelinesFromArtifact` stage.
#[derive(Clone, Debug)]
pub struct SavePipelinesFromArtifact {
    pipelines: Pipelines,
    artifacts: Artifacts,
}

impl SavePipelinesFromArtifact {
    /// On the functions of an installation and a way to what artifacts hold.
    pub fn new(functions: Arc<dyn Functions>, artifacts: Artifacts) -> Self {
        Self {
            pipelines: Pipelines::new(functions),
            artifacts,
        }
    }

    /// On AWS, with the settings of this process: `ALLOWED_HOSTS`.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(
            Arc::new(AwsFunctions::new(connection)),
            Artifacts::connect(connection, Arc::new(internet())),
        )
    }
}

/// The artifact that the stage names: the one that its expected artifact was bound to, in an earlier stage or in what started
/// the execution, else the one in the stage itself.
#[must_use]
pub fn named(invocation: &Invocation<'_>) -> Option<Value> {
    let id = invocation
        .context
        .get("pipelinesArtifactId")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    let Some(id) = id else {
        return invocation
            .context
            .get("pipelinesArtifact")
            .and_then(artifact::normal);
    };
    let of_stages = invocation
        .plan
        .ancestors(&invocation.stage.ref_id)
        .into_iter()
        .filter_map(|stage| invocation.records.get(&stage.ref_id))
        .filter_map(|record| record.outputs.get("resolvedExpectedArtifacts"));
    of_stages
        .chain(invocation.trigger.get("resolvedExpectedArtifacts"))
        .filter_map(Value::as_array)
        .flatten()
        .find(|expected| expected.get("id").and_then(Value::as_str) == Some(id))
        .and_then(|expected| expected.get("boundArtifact"))
        .and_then(artifact::normal)
}

/// A pipeline and its application.
pub type OfApplication = (String, Map<String, Value>);

/// The pipelines of an artifact's content, `{application: [pipeline, …], …}`, each with its application.
///
/// # Errors
/// What a person reads.
pub fn pipelines(content: &[u8]) -> Result<Vec<OfApplication>, String> {
    let all: Map<String, Value> = serde_json::from_slice(content).map_err(|error| {
        format!("the artifact is no JSON object of applications and their pipelines: {error}")
    })?;
    let mut found = Vec::new();
    for (application, list) in all {
        let Value::Array(list) = list else {
            return Err(format!("`{application}` has no list of pipelines"));
        };
        for one in list {
            let Value::Object(mut config) = one else {
                return Err(format!("a pipeline of `{application}` is no object"));
            };
            config.insert("application".to_owned(), application.as_str().into());
            found.push((application.clone(), config));
        }
    }
    if found.len() > MOST {
        return Err(format!("{} pipelines: {MOST} at most", found.len()));
    }
    Ok(found)
}

/// The lists of what became of the pipelines.
const LISTS: [&str; 3] = [
    "pipelinesCreated",
    "pipelinesUpdated",
    "pipelinesFailedToSave",
];

#[async_trait]
impl Stage for SavePipelinesFromArtifact {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let Some(artifact) = named(invocation) else {
            let id = invocation.context.get("pipelinesArtifactId");
            let id = id.and_then(Value::as_str).unwrap_or_default();
            return Ok(Step::failed(format!(
                "No artifact could be bound to '{id}'"
            )));
        };
        let mut memory = invocation.memory.clone();
        let number = |memory: &Map<String, Value>, name: &str| {
            memory.get(name).and_then(Value::as_u64).unwrap_or(0)
        };
        let content = self
            .artifacts
            .content(invocation.store(), &artifact, invocation.now)
            .await;
        let content = match content {
            Ok(content) => content,
            Err(ContentError::Table(error)) => return Err(error.into()),
            Err(ContentError::NotNow(reason)) if number(&memory, "tries") < TRIES => {
                let tries = number(&memory, "tries").saturating_add(1);
                memory.insert("tries".to_owned(), tries.into());
                return Ok(Step::Waiting {
                    reason,
                    memory,
                    poll: None,
                });
            }
            Err(error) => return Ok(Step::failed(error.to_string())),
        };
        // A file behind an address may be another one at the next call.
        let digest = hex::encode(Sha256::digest(&content));
        match memory.get("digest").and_then(Value::as_str) {
            Some(known) if known != digest => {
                return Ok(Step::failed(
                    "the artifact changed while its pipelines were saved",
                ));
            }
            Some(_) => {}
            None => {
                memory.insert("digest".to_owned(), digest.into());
            }
        }
        let all = match pipelines(&content) {
            Ok(all) => all,
            Err(reason) => return Ok(Step::failed(reason)),
        };
        let mut at = usize::try_from(number(&memory, "next")).unwrap_or(usize::MAX);
        for (application, config) in all.iter().skip(at).take(TOGETHER) {
            let mut config = config.clone();
            let name = config
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            // One of that name is the one that is meant, whatever id the artifact gives it.
            let known = invocation
                .store()
                .find_pipeline(application, &name)
                .await?
                .filter(|known| known.name.eq_ignore_ascii_case(name.trim()));
            if let Some(known) = &known {
                config.insert("id".to_owned(), known.id.as_str().into());
            }
            let save = Save {
                action: format!("save-{at}"),
                application: Some(application.clone()),
                config,
                stale_check: false,
            };
            let (outcome, existed) = self.pipelines.save(invocation, &save).await?;
            let mut entry = json!({ "application": application, "name": name });
            let list = match outcome {
                Outcome::Done(_) if existed => "pipelinesUpdated",
                Outcome::Done(_) => "pipelinesCreated",
                Outcome::Refused(reason) => {
                    if let Some(entry) = entry.as_object_mut() {
                        entry.insert("reason".to_owned(), reason.into());
                    }
                    "pipelinesFailedToSave"
                }
            };
            if let Some(list) = memory
                .entry(list)
                .or_insert_with(|| json!([]))
                .as_array_mut()
            {
                list.push(entry);
            }
            at += 1;
        }
        if at < all.len() {
            memory.insert("next".to_owned(), at.into());
            return Ok(Step::Waiting {
                reason: format!("{at} of {} pipelines saved", all.len()),
                memory,
                poll: None,
            });
        }
        let mut context = Map::new();
        for list in LISTS {
            let value = memory.get(list).cloned().unwrap_or_else(|| json!([]));
            context.insert(list.to_owned(), value);
        }
        let failed: Vec<String> = context
            .get("pipelinesFailedToSave")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|failed| {
                let field = |name: &str| failed.get(name).and_then(Value::as_str).unwrap_or("");
                format!(
                    "{}:{}: {}",
                    field("application"),
                    field("name"),
                    field("reason")
                )
            })
            .collect();
        Ok(if failed.is_empty() {
            Step::Succeeded {
                outputs: Map::new(),
                context,
            }
        } else {
            Step::Ended {
                status: Status::Terminal,
                reason: format!("Failed to save pipelines: {}", failed.join("; ")),
                outputs: Map::new(),
                context,
            }
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.pipelines.undo(invocation, intent).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pipeline_gets_its_application() {
        let content = br#"{"app1": [{"name": "a"}], "app2": [{"name": "b", "application": "x"}, {"name": "c"}]}"#;
        let found: Vec<(String, Value)> = pipelines(content)
            .unwrap()
            .into_iter()
            .map(|(application, config)| (application, config["application"].clone()))
            .collect();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|(application, own)| own == application));
    }

    #[test]
    fn what_is_no_map_of_lists_is_said() {
        for content in ["[]", "{\"a\": 1}", "{\"a\": [1]}", "{", ""] {
            assert!(pipelines(content.as_bytes()).is_err(), "{content}");
        }
    }
}
