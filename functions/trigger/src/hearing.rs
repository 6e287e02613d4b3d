//! Which triggers match an event, why the others do not, and what an execution then carries: what `gennaker-triggers`
//! decides.

use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_triggers::artifact::Artifact;
use gennaker_triggers::delivery::voucher;
use gennaker_triggers::event::Event;
use gennaker_triggers::matching::{Heard, Settings};
use gennaker_triggers::trigger::Trigger;
use serde_json::{Value, json};

/// Fields of a trigger that an execution does not carry: its id, so that two triggers that say the same start once, and
/// its secret.
const LEFT_OUT: [&str; 2] = ["id", "secret"];

/// Answer for one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whether the pipeline starts.
    pub matched: bool,
    /// Why, or why not, for a person.
    pub reason: String,
    /// The trigger as the execution carries it; null if it does not match.
    pub resolved: Value,
    /// What arrived with the event.
    pub artifacts: Vec<Artifact>,
    /// The artifacts of which one has to have arrived; none or an empty list: the event is enough.
    pub expected_artifact_ids: Option<Vec<Option<String>>>,
}

impl Answer {
    /// The trigger does not match after all.
    #[must_use]
    pub fn refused(self, reason: impl Into<String>) -> Self {
        Self {
            matched: false,
            reason: reason.into(),
            resolved: Value::Null,
            ..self
        }
    }
}

/// Answers for all triggers that an event was looked up for. One that cannot be read does not match, and says why.
///
/// A trigger with a secret matches if there is a voucher for what it (or `shared_secret`) says of the secret.
#[must_use]
pub fn answers(
    event: &Event,
    event_id: &str,
    vouchers: &[String],
    shared_secret: Option<&str>,
    entries: Vec<TriggerEntry>,
) -> Vec<(TriggerEntry, Answer)> {
    let vouched = |configured: &str| vouchers.contains(&voucher(configured, event_id));
    let settings = Settings {
        git_shared_secret: shared_secret,
        vouched: Some(&vouched),
        ..Settings::default()
    };
    let heard = Heard::new(event);
    entries
        .into_iter()
        .map(|entry| {
            let answer = answer(&heard, &entry, &settings);
            (entry, answer)
        })
        .collect()
}

fn answer(heard: &Heard, entry: &TriggerEntry, settings: &Settings) -> Answer {
    let trigger = match Trigger::read(&entry.trigger) {
        Ok(trigger) => trigger,
        Err(error) => {
            return Answer {
                matched: false,
                reason: error.to_string(),
                resolved: Value::Null,
                artifacts: Vec::new(),
                expected_artifact_ids: None,
            };
        }
    };
    let found = heard.matches_trigger(&entry.application, &trigger, settings);
    Answer {
        resolved: carried(found.resolved, &found.artifacts),
        matched: found.matched,
        reason: found.reason,
        artifacts: found.artifacts,
        expected_artifact_ids: trigger.texts("expectedArtifactIds"),
    }
}

/// The trigger as the execution carries it, with all artifacts that arrived, each once.
fn carried(mut resolved: Value, artifacts: &[Artifact]) -> Value {
    let Some(map) = resolved.as_object_mut() else {
        return resolved;
    };
    for field in LEFT_OUT {
        map.shift_remove(field);
    }
    if !artifacts.is_empty() {
        let list = map.entry("artifacts").or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            for artifact in artifacts.iter().map(Artifact::to_json) {
                if !list.contains(&artifact) {
                    list.push(artifact);
                }
            }
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tag: &str) -> Event {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let content = json!({"account": host, "registry": host, "repository": "shop/api", "tag": tag,
            "digest": "sha256:abc"});
        Event {
            kind: "docker".to_owned(),
            source: Some("aws.ecr".to_owned()),
            content: content.as_object().cloned(),
            event_id: Some("e-1".to_owned()),
            ..Event::default()
        }
    }

    fn matches(trigger: &Value, event: &Event) -> Answer {
        let entry = TriggerEntry {
            key: String::new(),
            application: "shop".to_owned(),
            pipeline_id: "p-1".to_owned(),
            index: 0,
            trigger: trigger.clone(),
        };
        answers(event, "e-1", &[], None, vec![entry]).remove(0).1
    }

    fn docker(tag: Value) -> Value {
        json!({"type": "docker", "enabled": true, "repository": "shop/api", "tag": tag})
    }

    #[test]
    fn a_blank_tag_is_any_but_latest_and_a_pattern_is_a_full_match() {
        let cases = [
            (json!(null), "v1", true),
            (json!("  "), "v1", true),
            (json!(""), "latest", false),
            (json!("latest"), "latest", true),
            (json!(r" v\d+ "), "v12", true),
            (json!(r"v\d+"), "v12-rc1", false),
            (json!("("), "v1", false),
            (json!(r"(?!.*-rc)v.*"), "v1-rc1", false),
        ];
        for (pattern, tag, expected) in cases {
            let answer = matches(&docker(pattern.clone()), &push(tag));
            assert_eq!(
                answer.matched, expected,
                "{pattern} {tag}: {}",
                answer.reason
            );
            assert_eq!(answer.resolved.is_null(), !expected);
        }
        assert_eq!(
            matches(&docker(json!(r"^v\d+\.\d+$")), &push("v1.2-rc1")).reason,
            r"tag `v1.2-rc1` does not match `^v\d+\.\d+$`"
        );
    }

    #[test]
    fn what_matches_is_pinned_to_its_digest() {
        let resolved = matches(&docker(json!("v.*")), &push("v1")).resolved;
        assert_eq!(resolved["tag"], "v1");
        assert_eq!(resolved["digest"], "sha256:abc");
        assert_eq!(
            resolved["artifacts"][0]["reference"],
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api@sha256:abc"
        );
        assert_eq!(resolved["artifacts"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_disabled_trigger_another_repository_and_another_type_do_not_match() {
        let mut trigger = docker(json!(""));
        trigger["enabled"] = json!("false");
        assert!(!matches(&trigger, &push("v1")).matched);
        trigger["enabled"] = json!("True");
        assert!(matches(&trigger, &push("v1")).matched);
        trigger["repository"] = json!("shop/web");
        assert!(!matches(&trigger, &push("v1")).matched);
        trigger["repository"] = json!("shop/api");
        trigger["type"] = json!("git");
        assert!(!matches(&trigger, &push("v1")).matched);
    }

    #[test]
    fn triggers_that_differ_in_their_id_alone_resolve_to_the_same() {
        let mut one = docker(json!(""));
        one["id"] = json!("1");
        let mut two = docker(json!(""));
        two["id"] = json!("2");
        assert_eq!(
            matches(&one, &push("v1")).resolved,
            matches(&two, &push("v1")).resolved
        );
    }
}
