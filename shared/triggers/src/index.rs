//! The trigger index: an event costs a look-up or two, however many pipelines there are.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::event::Event;
use crate::matching::{BUILD_TYPES, Heard, Match, Settings};
use crate::pipeline::Pipeline;
use crate::trigger::Trigger;

/// Longest key that is kept as text; a partition key has 2,048 bytes at most.
const MAX_KEY: usize = 1_000;

/// Letters that the original takes for the same become the same.
fn folded(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let mut upper = c.to_uppercase();
            let one = match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            };
            let mut lower = one.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(lower), None) => Some(lower),
                _ => Some(one),
            }
        })
        .collect()
}

fn key(kind: &str, parts: &[&str]) -> String {
    let key = format!("{kind}#{}", parts.join("/"));
    if key.len() <= MAX_KEY {
        return key;
    }
    format!(
        "{kind}#sha256:{}",
        hex::encode(Sha256::digest(key.as_bytes()))
    )
}

/// The key under which a trigger is found: what follows `TRIGGER#` in its partition key. None for a trigger that no
/// event can find: one that lacks a field, a cron trigger (which has a schedule), a type that is unknown.
///
/// Two different triggers may share a key; whether one matches is decided by the trigger itself.
#[must_use]
pub fn trigger_key(trigger: &Trigger) -> Option<String> {
    let text = |field: &str| trigger.text(field);
    let kind = trigger.kind.as_deref()?;
    Some(match kind {
        "git" => key(
            kind,
            &[
                &folded(text("source")?),
                &folded(text("project")?),
                &folded(text("slug")?),
            ],
        ),
        "docker" | "helm/oci" => key(kind, &[text("account")?, text("repository")?]),
        "helm" => key(kind, &[text("account")?]),
        "webhook" | "cdevents" => key(kind, &[text("source")?]),
        "pubsub" => key(
            kind,
            &[
                &folded(text("pubsubSystem")?),
                &folded(text("subscriptionName")?),
            ],
        ),
        "artifactory" => key(kind, &[text("artifactorySearchName")?]),
        "nexus" => key(kind, &[text("nexusSearchName")?]),
        "plugin" => key(
            kind,
            &[&folded(text("pluginEventType").unwrap_or("PUBLISHED"))],
        ),
        "pipeline" => key(kind, &[text("pipeline")?]),
        kind if BUILD_TYPES.contains(&kind) => key("build", &[text("master")?, text("job")?]),
        _ => return None,
    })
}

/// The keys under which the triggers of an event are found: one, or none where no trigger can match.
#[must_use]
pub fn event_keys(event: &Event) -> Vec<String> {
    let content = event.content.as_ref();
    let text = |field: &str| -> Option<String> {
        let value = content?.get(field)?;
        crate::json::text(field, value).ok().flatten()
    };
    let source = event.source.as_deref();
    let found = || -> Option<String> {
        Some(if event.is("git") {
            key(
                "git",
                &[
                    &folded(source?),
                    &folded(&text("repoProject")?),
                    &folded(&text("slug")?),
                ],
            )
        } else if event.is("docker") {
            key("docker", &[&text("account")?, &text("repository")?])
        } else if event.is("helm/oci") {
            key("helm/oci", &[&text("account")?, &text("repository")?])
        } else if event.is("helm") {
            key("helm", &[&text("account")?])
        } else if event.is("webhook") {
            key("webhook", &[source?])
        } else if event.is("cdevents") {
            key("cdevents", &[source?])
        } else if event.is("pubsub") {
            let message = content?.get("messageDescription")?;
            let part = |field: &str| message.get(field).and_then(Value::as_str).map(folded);
            key(
                "pubsub",
                &[&part("pubsubSystem")?, &part("subscriptionName")?],
            )
        } else if event.is("artifactory") {
            key("artifactory", &[&text("name")?])
        } else if event.is("nexus") {
            key("nexus", &[&text("name")?])
        } else if event.is("plugin") {
            let kind = event
                .attributes
                .as_ref()
                .and_then(|attributes| attributes.get("pluginEventType").cloned().flatten());
            key("plugin", &[&folded(kind.as_deref().unwrap_or("PUBLISHED"))])
        } else if event.is("build") {
            let project = content?.get("project")?;
            let job = crate::json::text("name", project.get("name")?).ok()??;
            key("build", &[&text("master")?, &job])
        } else {
            return None;
        })
    };
    found().into_iter().collect()
}

/// The key under which the triggers of an image push to ECR are found, where EventBridge told of it: account, region and
/// repository, whatever names accounts have. None for every other event.
#[must_use]
pub fn ecr_key(event: &Event) -> Option<String> {
    if event.source.as_deref() != Some("aws.ecr") || !event.is("docker") {
        return None;
    }
    let content = event.content.as_ref()?;
    let text = |field: &str| content.get(field).and_then(Value::as_str);
    let (account, rest) = text("registry")?.split_once(".dkr.ecr.")?;
    let region = rest.split('.').next()?;
    Some(format!("ecr#{account}/{region}/{}", text("repository")?))
}

/// What tells an event from all others: its type, its source and its id, as a hash.
#[must_use]
pub fn event_hash(event: &Event) -> String {
    let mut hash = Sha256::new();
    let parts = [
        Some(event.kind.as_str()),
        event.source.as_deref(),
        event.event_id.as_deref(),
    ];
    for part in parts {
        let part = part.unwrap_or_default();
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// The index in memory.
#[derive(Debug, Default)]
pub struct Index {
    pipelines: Vec<Pipeline>,
    entries: HashMap<String, Vec<(usize, usize)>>,
}

impl Index {
    /// Indexes pipelines.
    #[must_use]
    pub fn new(pipelines: Vec<Pipeline>) -> Self {
        let mut entries: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (at, pipeline) in pipelines.iter().enumerate() {
            for (n, trigger) in pipeline.triggers.iter().enumerate() {
                if let Some(key) = trigger_key(trigger) {
                    entries.entry(key).or_default().push((at, n));
                }
            }
        }
        Self { pipelines, entries }
    }

    /// The triggers that match an event: place of the pipeline, place of the trigger in it, answer.
    #[must_use]
    pub fn matching(&self, event: &Event, settings: &Settings) -> Vec<(usize, usize, Match)> {
        let heard = Heard::new(event);
        let mut found = Vec::new();
        for key in event_keys(event) {
            for (at, n) in self.entries.get(&key).into_iter().flatten() {
                let Some(pipeline) = self.pipelines.get(*at) else {
                    continue;
                };
                let Some(trigger) = pipeline.triggers.get(*n) else {
                    continue;
                };
                let answer = heard.matches(pipeline, trigger, settings);
                if answer.matched {
                    found.push((*at, *n, answer));
                }
            }
        }
        found
    }
}
