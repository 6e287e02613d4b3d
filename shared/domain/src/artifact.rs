//! Expected artifacts: what an execution's trigger brought, what the execution before had, or a default.

use serde_json::{Map, Value, json};

use crate::{Problem, pattern};

/// What a trigger carries once its artifacts are resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Everything received, and what the expected ones were bound to.
    pub artifacts: Vec<Value>,
    /// The expected artifacts, each with its `boundArtifact`.
    pub expected: Vec<Value>,
}

/// Fields that an artifact has of its own; every other one belongs to its metadata.
const OWN: [&str; 10] = [
    "type",
    "customKind",
    "name",
    "version",
    "location",
    "reference",
    "metadata",
    "artifactAccount",
    "provenance",
    "uuid",
];

/// An artifact as Spinnaker writes it back: nulls left out, `customKind` and `metadata` always there, fields that
/// artifacts do not have moved into the metadata. None if it is no object.
#[must_use]
pub fn normal(artifact: &Value) -> Option<Value> {
    let given = artifact.as_object()?;
    let mut normal = Map::new();
    let mut metadata = given
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if name == "kind" {
            // What old pipelines call a kind of their own; the original forgets it.
            continue;
        }
        if !OWN.contains(&name.as_str()) {
            metadata.insert(name.clone(), value.clone());
        } else if name != "metadata" {
            normal.insert(name.clone(), value.clone());
        }
    }
    normal.entry("customKind").or_insert(Value::Bool(false));
    normal.insert("metadata".to_owned(), Value::Object(metadata));
    Some(Value::Object(normal))
}

/// Fields that a matcher may name; one that is empty matches anything.
const MATCHED: [&str; 5] = ["type", "name", "version", "location", "reference"];

/// Whether an artifact is one that the matcher means: every field equal, or a full match of it as a pattern. Embedded
/// artifacts are the same kind whether they are kept here or in a store.
#[must_use]
pub fn matches(matcher: &Value, artifact: &Value) -> bool {
    MATCHED.iter().all(|field| {
        let wanted = matcher.get(field).and_then(Value::as_str).unwrap_or("");
        if wanted.trim().is_empty() {
            return true;
        }
        let Some(found) = artifact.get(field).and_then(Value::as_str) else {
            return false;
        };
        let same_kind = *field == "type"
            && ["embedded/base64", "remote/base64"].contains(&wanted)
            && ["embedded/base64", "remote/base64"].contains(&found);
        same_kind || wanted == found || pattern::full_match(wanted, found).unwrap_or(false)
    })
}

fn flag(expected: &Value, name: &str) -> bool {
    expected.get(name) == Some(&Value::Bool(true))
}

fn name_of(expected: &Value) -> String {
    ["displayName", "id"]
        .iter()
        .filter_map(|field| expected.get(field).and_then(Value::as_str))
        .find(|name| !name.is_empty())
        .unwrap_or("unnamed")
        .to_owned()
}

fn unmatched(expected: &Value) -> Problem {
    let name = name_of(expected);
    Problem::error(
        "unmatched-artifact",
        "$.expectedArtifacts",
        format!("no artifact matches the expected artifact `{name}`"),
    )
    .with_hint("start with `--artifact`, or give the expected artifact a default")
}

/// Binds the expected artifacts that the trigger lists (`ids`) and those with `useDefaultArtifact` or
/// `usePriorArtifact`: to the one received artifact that matches, else to the one of the execution before, else to
/// its default.
///
/// # Errors
/// `unmatched-artifact` for each that nothing matches, `ambiguous-artifact` where several do.
pub fn resolve(
    expected: &[Value],
    ids: &[&str],
    received: &[Value],
    prior: &[Value],
) -> Result<Resolved, Vec<Problem>> {
    let normals = |list: &[Value]| -> Vec<Value> { list.iter().filter_map(normal).collect() };
    let (received, prior) = (&normals(received), &normals(prior));
    let mut resolved = Resolved {
        artifacts: received.clone(),
        expected: Vec::new(),
    };
    let mut problems = Vec::new();
    for one in expected {
        let listed = one
            .get("id")
            .and_then(Value::as_str)
            .is_some_and(|id| ids.contains(&id));
        let use_prior = flag(one, "usePriorArtifact");
        let use_default = flag(one, "useDefaultArtifact");
        if !listed && !use_prior && !use_default {
            continue;
        }
        let matcher = one.get("matchArtifact").unwrap_or(&Value::Null);
        let fitting = |candidates: &[Value]| -> Vec<Value> {
            let mut fitting: Vec<Value> = Vec::new();
            for candidate in candidates {
                if matches(matcher, candidate) && !fitting.contains(candidate) {
                    fitting.push(candidate.clone());
                }
            }
            fitting
        };
        let mut found = fitting(received);
        if found.is_empty() && use_prior {
            found = fitting(prior);
        }
        if found.is_empty() && use_default {
            found.extend(one.get("defaultArtifact").and_then(normal));
        }
        match found.as_slice() {
            [] => problems.push(unmatched(one)),
            [artifact] => {
                if !resolved.artifacts.contains(artifact) {
                    resolved.artifacts.push(artifact.clone());
                }
                let mut bound: Map<String, Value> = one.as_object().cloned().unwrap_or_default();
                bound.insert("boundArtifact".to_owned(), artifact.clone());
                resolved.expected.push(Value::Object(bound));
            }
            several => problems.push(
                Problem::error(
                    "ambiguous-artifact",
                    "$.expectedArtifacts",
                    format!(
                        "{} artifacts match the expected artifact `{}`",
                        several.len(),
                        one.get("id").unwrap_or(&json!("unnamed"))
                    ),
                )
                .with_hint("match on name or version too"),
            ),
        }
    }
    if problems.is_empty() {
        Ok(resolved)
    } else {
        Err(problems)
    }
}

/// Why expected artifacts were not bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbound {
    /// Nothing matches.
    #[error("Unmatched expected artifact `{name}` could not be resolved.")]
    Unmatched {
        /// The expected artifact's display name, or its id.
        name: String,
    },
    /// Several match, and one was wanted.
    #[error("Expected artifact `{name}` matches multiple artifacts ({count})")]
    Ambiguous {
        /// The expected artifact's display name, or its id.
        name: String,
        /// How many.
        count: usize,
    },
}

/// Expected artifacts with what each was bound to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound {
    /// What they were bound to, each once.
    pub artifacts: Vec<Value>,
    /// The expected artifacts, each with its `boundArtifact`.
    pub expected: Vec<Value>,
}

impl Bound {
    /// As a stage's outputs: `artifacts` and `resolvedExpectedArtifacts`.
    #[must_use]
    pub fn outputs(&self) -> Map<String, Value> {
        Map::from_iter([
            ("artifacts".to_owned(), json!(self.artifacts)),
            ("resolvedExpectedArtifacts".to_owned(), json!(self.expected)),
        ])
    }
}

/// Binds every one of the expected artifacts, as Orca's `ArtifactResolver` does: to a current artifact that matches, else
/// (`usePriorArtifact`) to a prior one, else (`useDefaultArtifact`) to its default. Without `unique` the first match counts.
///
/// # Errors
/// [`Unbound`] for the first that cannot be bound.
pub fn bind(
    expected: &[Value],
    current: &[Value],
    prior: &[Value],
    unique: bool,
) -> Result<Bound, Unbound> {
    let mut bound = Bound::default();
    for one in expected {
        let matcher = one.get("matchArtifact").unwrap_or(&Value::Null);
        let fitting = |candidates: &[Value]| -> Result<Option<Value>, Unbound> {
            let fitting: Vec<Value> = candidates
                .iter()
                .filter(|candidate| matches(matcher, candidate))
                .filter_map(normal)
                .collect();
            if unique && fitting.len() > 1 {
                return Err(Unbound::Ambiguous {
                    name: name_of(one),
                    count: fitting.len(),
                });
            }
            Ok(fitting.into_iter().next())
        };
        let mut found = fitting(current)?;
        if found.is_none() && flag(one, "usePriorArtifact") {
            found = fitting(prior)?;
        }
        if found.is_none() && flag(one, "useDefaultArtifact") {
            found = one.get("defaultArtifact").and_then(normal);
        }
        let Some(found) = found else {
            return Err(Unbound::Unmatched { name: name_of(one) });
        };
        bound.expected.push(with_bound(one, &found));
        if !bound.artifacts.contains(&found) {
            bound.artifacts.push(found);
        }
    }
    Ok(bound)
}

/// An expected artifact as Spinnaker writes it back, bound.
fn with_bound(expected: &Value, bound: &Value) -> Value {
    let mut written: Map<String, Value> = expected
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for name in ["matchArtifact", "defaultArtifact"] {
        if let Some(artifact) = written.get(name).and_then(normal) {
            written.insert(name.to_owned(), artifact);
        }
    }
    for name in ["usePriorArtifact", "useDefaultArtifact"] {
        written.entry(name).or_insert(Value::Bool(false));
    }
    written
        .entry("id")
        .or_insert_with(|| Value::String(String::new()));
    written.insert("boundArtifact".to_owned(), bound.clone());
    Value::Object(written)
}

/// Everything that an execution made and was started with: artifacts of its stages' outputs, of later stages first,
/// then those of its trigger. `stages` are in the order in which they ran; `without` names a stage that does not count.
#[must_use]
pub fn of_execution(execution: &Value, without: Option<&str>) -> Vec<Value> {
    let list = |value: Option<&Value>| -> Vec<Value> {
        value
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(normal)
            .collect()
    };
    let mut all: Vec<Value> = execution
        .get("stages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|stage| {
            without
                .is_none_or(|without| stage.get("refId").and_then(Value::as_str) != Some(without))
        })
        .flat_map(|stage| list(stage.pointer("/outputs/artifacts")))
        .collect();
    all.reverse();
    all.extend(list(execution.pointer("/trigger/artifacts")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: &str) -> Value {
        json!({"type": "docker/image", "name": "r/shop", "version": version})
    }

    fn expected(matcher: Value) -> Value {
        json!({"id": "image", "matchArtifact": matcher})
    }

    #[test]
    fn an_empty_field_matches_anything_and_a_pattern_the_whole_text() {
        assert!(matches(&json!({"type": "", "name": "r/.*"}), &image("1")));
        assert!(!matches(&json!({"version": "1"}), &image("12")));
        assert!(!matches(&json!({"name": "("}), &image("1")));
        assert!(matches(
            &json!({"type": "embedded/base64"}),
            &json!({"type": "remote/base64"})
        ));
    }

    #[test]
    fn what_was_received_wins_over_what_was_before_and_over_the_default() {
        let mut one = expected(json!({"type": "docker/image"}));
        one["usePriorArtifact"] = true.into();
        one["useDefaultArtifact"] = true.into();
        one["defaultArtifact"] = image("default");
        let expected = [one];
        let bound = |received: &[Value], prior: &[Value]| {
            resolve(&expected, &[], received, prior).unwrap().expected[0]["boundArtifact"].clone()
        };
        let normal = |version: &str| normal(&image(version)).unwrap();
        assert_eq!(bound(&[image("2")], &[image("1")]), normal("2"));
        assert_eq!(bound(&[], &[image("1")]), normal("1"));
        assert_eq!(bound(&[], &[]), normal("default"));
    }

    #[test]
    fn an_artifact_is_written_back_with_its_unknown_fields_as_metadata() {
        let given =
            json!({"type": "docker/image", "version": null, "digest": 1, "metadata": {"k": "v"}});
        assert_eq!(
            normal(&given).unwrap(),
            json!({"type": "docker/image", "customKind": false, "metadata": {"k": "v", "digest": 1}})
        );
        assert_eq!(normal(&json!("text")), None);
    }

    #[test]
    fn an_expected_artifact_that_nobody_asks_for_is_left_alone() {
        let expected = [expected(json!({"type": "s3/object"}))];
        assert_eq!(
            resolve(&expected, &[], &[image("1")], &[])
                .unwrap()
                .expected,
            Vec::<Value>::new()
        );
        let problems = resolve(&expected, &["image"], &[image("1")], &[]).unwrap_err();
        assert_eq!(problems[0].code, "unmatched-artifact");
    }

    #[test]
    fn produced_artifacts_are_all_bound_and_each_is_listed_once() {
        let one = expected(json!({"type": "docker/image"}));
        let found = [image("1"), image("2")];
        let bound = bind(&[one.clone(), one.clone()], &found, &[], false).unwrap();
        assert_eq!(bound.artifacts, [normal(&image("1")).unwrap()]);
        assert_eq!(bound.expected.len(), 2);
        let ambiguous = bind(std::slice::from_ref(&one), &found, &[], true).unwrap_err();
        assert!(matches!(ambiguous, Unbound::Ambiguous { count: 2, .. }));
        let unmatched = bind(&[one], &[], &found, false).unwrap_err();
        assert!(unmatched.to_string().contains("`image`"), "{unmatched}");
    }

    #[test]
    fn an_executions_artifacts_are_those_of_its_later_stages_first() {
        let stage = |id: &str, version: &str| json!({"refId": id, "outputs": {"artifacts": [image(version)]}});
        let execution = json!({"stages": [stage("1", "1"), stage("2", "2")], "trigger": {"artifacts": [image("0")]}});
        let versions = |without: Option<&str>| -> Vec<String> {
            of_execution(&execution, without)
                .iter()
                .map(|artifact| artifact["version"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(versions(None), ["2", "1", "0"]);
        assert_eq!(versions(Some("2")), ["1", "0"]);
    }

    #[test]
    fn two_different_matches_are_an_error_and_the_same_twice_is_not() {
        let expected = [expected(json!({"type": "docker/image"}))];
        assert!(resolve(&expected, &["image"], &[image("1"), image("1")], &[]).is_ok());
        assert_eq!(
            resolve(&expected, &["image"], &[image("1"), image("2")], &[]).unwrap_err()[0].code,
            "ambiguous-artifact"
        );
    }
}
