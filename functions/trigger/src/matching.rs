//! Whether a trigger matches an event, and why not: what `gennaker-triggers` decides.

use gennaker_triggers::matching::{Heard, Settings};
use gennaker_triggers::trigger::Trigger;
use serde_json::{Value, json};

use crate::event::{Event, ImagePush};

/// Answer of [`matches()`].
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Whether the pipeline starts.
    pub matched: bool,
    /// Why, or why not, for a person.
    pub reason: String,
    /// The trigger as the execution carries it; null if it does not match.
    pub resolved: Value,
}

/// Whether the trigger matches the event. A trigger that cannot be read does not match, and says why.
///
/// The resolved trigger has neither an id, so that two triggers that say the same start once, nor a secret.
#[must_use]
pub fn matches(trigger: &Value, event: &Event) -> Match {
    let trigger = match Trigger::read(trigger) {
        Ok(trigger) => trigger,
        Err(error) => {
            return Match {
                matched: false,
                reason: error.to_string(),
                resolved: Value::Null,
            };
        }
    };
    let Event::ImagePush(push) = event;
    let event = heard(push);
    let answer = Heard::new(&event).matches_trigger("", &trigger, &Settings::default());
    let mut resolved = answer.resolved;
    if let Value::Object(map) = &mut resolved {
        for field in ["id", "secret"] {
            map.shift_remove(field);
        }
    }
    Match {
        matched: answer.matched,
        reason: answer.reason,
        resolved,
    }
}

/// The push as the triggers hear it.
fn heard(push: &ImagePush) -> gennaker_triggers::event::Event {
    let registry = push.registry();
    let content = json!({
        "account": registry, "registry": registry, "repository": push.repository,
        "tag": push.tag, "digest": push.digest,
    });
    gennaker_triggers::event::Event {
        kind: "docker".to_owned(),
        source: Some("aws.ecr".to_owned()),
        content: content.as_object().cloned(),
        event_id: Some(push.event_id.clone()),
        ..gennaker_triggers::event::Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tag: &str) -> Event {
        Event::ImagePush(ImagePush {
            event_id: "e-1".to_owned(),
            at: 1,
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            repository: "shop/api".to_owned(),
            tag: tag.to_owned(),
            digest: Some("sha256:abc".to_owned()),
        })
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
