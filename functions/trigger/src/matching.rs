//! Whether a trigger matches an event, and why not.

use gennaker_domain::pattern;
use serde_json::{Map, Value, json};

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

impl Match {
    fn no(reason: impl Into<String>) -> Self {
        Self {
            matched: false,
            reason: reason.into(),
            resolved: Value::Null,
        }
    }
}

/// Spinnaker's booleans: `true`, a number that is not 0, and the text in any case.
fn truthy(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(Value::Number(number)) => number.as_f64().is_some_and(|n| n != 0.0),
        _ => false,
    }
}

/// Whether the trigger matches the event. A trigger that cannot be read does not match, and says why.
#[must_use]
pub fn matches(trigger: &Value, event: &Event) -> Match {
    if !truthy(trigger.get("enabled")) {
        return Match::no("the trigger is not enabled");
    }
    match event {
        Event::ImagePush(push) => image_push(trigger, push),
    }
}

fn image_push(trigger: &Value, push: &ImagePush) -> Match {
    let text = |name: &str| trigger.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or("");
    if !["docker", "ecr"].contains(&kind) {
        return Match::no(format!("a trigger of type `{kind}` hears no image pushes"));
    }
    let repository = text("repository").unwrap_or("");
    if repository != push.repository {
        return Match::no(format!(
            "repository `{}` is not `{repository}`",
            push.repository
        ));
    }
    let wanted = text("tag").unwrap_or("").trim();
    if wanted.is_empty() {
        if push.tag == "latest" {
            return Match::no("no tag is given, and `latest` only matches where it is asked for");
        }
    } else {
        match pattern::full_match(wanted, &push.tag) {
            Ok(true) => {}
            Ok(false) => {
                return Match::no(format!("tag `{}` does not match `{wanted}`", push.tag));
            }
            Err(error) => return Match::no(error.to_string()),
        }
    }
    Match {
        matched: true,
        reason: if wanted.is_empty() {
            format!("tag `{}` is not `latest`", push.tag)
        } else {
            format!("tag `{}` matches `{wanted}`", push.tag)
        },
        resolved: resolved(trigger, push),
    }
}

/// The trigger as the execution carries it, without its own id: two triggers that say the same start once.
fn resolved(trigger: &Value, push: &ImagePush) -> Value {
    let mut resolved: Map<String, Value> = trigger.as_object().cloned().unwrap_or_default();
    resolved.shift_remove("id");
    resolved.retain(|_, value| !value.is_null());
    let registry = push.registry();
    let name = format!("{registry}/{}", push.repository);
    // An image is what its digest says; the tag may name another one by the time it is deployed.
    let reference = match &push.digest {
        Some(digest) => format!("{name}@{digest}"),
        None => format!("{name}:{}", push.tag),
    };
    let mut metadata = Map::new();
    metadata.insert("registry".to_owned(), registry.clone().into());
    if let Some(digest) = &push.digest {
        metadata.insert("digest".to_owned(), digest.as_str().into());
        resolved.insert("digest".to_owned(), digest.as_str().into());
    }
    let artifact = json!({
        "type": "docker/image",
        "customKind": false,
        "name": name,
        "version": push.tag,
        "reference": reference,
        "metadata": metadata,
    });
    for (field, value) in [
        ("type", Value::from("docker")),
        ("enabled", true.into()),
        ("registry", registry.into()),
        ("repository", push.repository.as_str().into()),
        ("tag", push.tag.as_str().into()),
        ("eventId", push.event_id.as_str().into()),
        ("artifacts", json!([artifact])),
    ] {
        resolved.insert(field.to_owned(), value);
    }
    for field in ["rebake", "dryRun"] {
        let flag = truthy(resolved.get(field));
        resolved.insert(field.to_owned(), flag.into());
    }
    Value::Object(resolved)
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
