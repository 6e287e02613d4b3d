//! What an answer is about: the plan, the artifacts and the canary's verdict, as they were shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::child::Parent;
use crate::rollup::Records;
use crate::{Plan, Status};

/// What was shown to people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shown {
    /// Hash of the plan.
    pub plan: String,
    /// What is released: of the stages before this one and of the trigger, by name.
    pub artifacts: Vec<ShownArtifact>,
    /// What canary analyses before this one found, by stage.
    pub canary: Vec<ShownVerdict>,
}

/// An artifact, as far as it tells what is released.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownArtifact {
    /// `docker/image`
    #[serde(rename = "type")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Version, such as a tag.
    pub version: String,
    /// Reference, with its digest where there is one.
    pub reference: String,
}

/// What one canary analysis found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownVerdict {
    /// `refId` of the stage.
    pub stage: String,
    /// Name of the stage.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// Scores, as text: `97.5, 98`.
    pub scores: String,
}

impl Shown {
    /// What stands before a stage, as the records are.
    #[must_use]
    pub fn of(plan_hash: &str, parent: Parent<'_>, ref_id: &str) -> Self {
        let text = |artifact: &Value, field: &str| {
            let value = artifact.get(field).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let bound = parent
            .trigger
            .get("resolvedExpectedArtifacts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|expected| expected.get("boundArtifact").cloned());
        let mut artifacts: Vec<ShownArtifact> = parent
            .artifacts(Some(ref_id))
            .into_iter()
            .chain(bound)
            .map(|artifact| ShownArtifact {
                kind: text(&artifact, "type"),
                name: text(&artifact, "name"),
                version: text(&artifact, "version"),
                reference: text(&artifact, "reference"),
            })
            .collect();
        artifacts.sort();
        artifacts.dedup();
        Self {
            plan: plan_hash.to_owned(),
            artifacts,
            canary: verdicts(parent.plan, parent.records, ref_id),
        }
    }

    /// SHA-256 of it, in hexadecimal: what an answer is bound to.
    #[must_use]
    pub fn binding(&self) -> String {
        // A stage's name is for people: it may still hold an expression where it is read elsewhere.
        let canary: Vec<_> = self
            .canary
            .iter()
            .map(|verdict| (&verdict.stage, verdict.status, &verdict.scores))
            .collect();
        // Structs and vectors of texts: their JSON is the same at every time.
        let json = serde_json::to_vec(&(&self.plan, &self.artifacts, canary)).unwrap_or_default();
        hex::encode(Sha256::digest(json))
    }

    /// What is different from what was shown before, a line each.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.plan != before.plan {
            changes.push("the pipeline was changed".to_owned());
        }
        for artifact in &self.artifacts {
            if !before.artifacts.contains(artifact) {
                changes.push(format!("new: {}", artifact.line()));
            }
        }
        for artifact in &before.artifacts {
            if !self.artifacts.contains(artifact) {
                changes.push(format!("gone: {}", artifact.line()));
            }
        }
        for verdict in &self.canary {
            match before.canary.iter().find(|old| old.stage == verdict.stage) {
                Some(old) if old.status == verdict.status && old.scores == verdict.scores => {}
                Some(old) => changes.push(format!("{}, before {}", verdict.line(), old.verdict())),
                None => changes.push(format!("new: {}", verdict.line())),
            }
        }
        for old in &before.canary {
            if !self.canary.iter().any(|verdict| verdict.stage == old.stage) {
                changes.push(format!("gone: {}", old.line()));
            }
        }
        changes
    }
}

impl ShownArtifact {
    /// What a person reads.
    #[must_use]
    pub fn line(&self) -> String {
        if self.reference.is_empty() {
            format!("{} {} {}", self.kind, self.name, self.version)
        } else {
            format!("{} {}", self.kind, self.reference)
        }
        .trim()
        .to_owned()
    }
}

impl ShownVerdict {
    /// What a person reads.
    #[must_use]
    pub fn line(&self) -> String {
        format!("canary `{}` {}", self.name, self.verdict())
    }

    fn verdict(&self) -> String {
        if self.scores.is_empty() {
            self.status.to_string()
        } else {
            format!("{} with {}", self.status, self.scores)
        }
    }
}

fn verdicts(plan: &Plan, records: &Records, ref_id: &str) -> Vec<ShownVerdict> {
    let scores = |outputs: &Map<String, Value>| -> String {
        let scores = outputs.get("canaryScores").and_then(Value::as_array);
        let scores: Vec<String> = scores
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        scores.join(", ")
    };
    let mut found: Vec<ShownVerdict> = plan
        .ancestors(ref_id)
        .into_iter()
        .filter(|stage| stage.stage_type == "kayentaCanary")
        .filter_map(|stage| {
            let record = records.get(&stage.ref_id)?;
            Some(ShownVerdict {
                stage: stage.ref_id.clone(),
                name: stage.name.clone(),
                status: record.status,
                scores: scores(&record.outputs),
            })
        })
        .collect();
    found.sort_by(|a, b| a.stage.cmp(&b.stage));
    found
}

/// The user as whom later stages act: the one whose answer decided the nearest manual judgment above that says so
/// (`propagateAuthenticationContext`).
#[must_use]
pub(crate) fn propagated_user<'a>(
    plan: &Plan,
    records: &'a Records,
    ref_id: &str,
) -> Option<&'a str> {
    plan.ancestors(ref_id)
        .into_iter()
        .filter(|stage| stage.stage_type == "manualJudgment")
        .filter_map(|stage| records.get(&stage.ref_id))
        .filter(|record| record.status == Status::Succeeded)
        .filter(|record| {
            ["propagateAuthenticationContext", "propagateAuthentication"]
                .iter()
                .any(|field| record.context.get(*field) == Some(&Value::Bool(true)))
        })
        .find_map(|record| record.context.get("lastModifiedBy").and_then(Value::as_str))
        .filter(|user| *user != super::UNATTRIBUTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StageRecord;
    use serde_json::json;

    fn plan() -> Plan {
        serde_json::from_value(json!({
            "schema": 1, "application": "shop", "pipeline": "release", "pipelineId": "p-1", "spelEvaluator": "v4",
            "stages": [
                {"refId": "1", "type": "bake", "name": "Bake", "context": {}},
                {"refId": "2", "type": "kayentaCanary", "name": "Canary", "requisites": ["1"], "context": {}},
                {"refId": "3", "type": "manualJudgment", "name": "Ship", "requisites": ["2"], "context": {}},
                {"refId": "4", "type": "bake", "name": "Beside", "context": {}},
            ],
        }))
        .unwrap()
    }

    fn record(ref_id: &str, outputs: Value) -> StageRecord {
        StageRecord {
            status: Status::Succeeded,
            outputs: outputs.as_object().cloned().unwrap(),
            ..StageRecord::not_started(ref_id)
        }
    }

    fn shown(digest: &str, score: u32, beside: &str) -> Shown {
        let plan = plan();
        let id = crate::ExecutionId::derive(1, &["x"]);
        let execution: crate::Execution = serde_json::from_value(json!({
            "id": id, "application": "shop", "pipeline": "release", "pipelineId": "p-1", "revision": 1, "planHash": "h",
            "stateMachine": "m", "status": "RUNNING", "run": 1, "buildTime": 1,
        }))
        .unwrap();
        let artifact = |digest: &str| json!([{"type": "docker/image", "name": "web", "reference": format!("web@{digest}")}]);
        let records = Records::from([
            (
                "1".to_owned(),
                record("1", json!({"artifacts": artifact(digest)})),
            ),
            (
                "2".to_owned(),
                record("2", json!({"canaryScores": [score]})),
            ),
            (
                "4".to_owned(),
                record("4", json!({"artifacts": artifact(beside)})),
            ),
        ]);
        let trigger = json!({"artifacts": [{"type": "git/repo", "name": "r", "version": "v1"}]});
        let parent = Parent {
            execution: &execution,
            plan: &plan,
            records: &records,
            trigger: &trigger,
        };
        Shown::of("h", parent, "3")
    }

    #[test]
    fn what_stands_before_the_stage_is_bound_and_what_runs_beside_it_is_not() {
        let first = shown("sha256:a", 97, "sha256:x");
        assert_eq!(first.artifacts.len(), 2);
        assert_eq!(first.binding(), shown("sha256:a", 97, "sha256:y").binding());
        assert_ne!(first.binding(), shown("sha256:b", 97, "sha256:x").binding());
        assert_ne!(first.binding(), shown("sha256:a", 60, "sha256:x").binding());
    }

    #[test]
    fn what_changed_is_told() {
        let (before, after) = (shown("sha256:a", 97, ""), shown("sha256:b", 60, ""));
        assert_eq!(
            after.changes_since(&before),
            [
                "new: docker/image web@sha256:b",
                "gone: docker/image web@sha256:a",
                "canary `Canary` SUCCEEDED with 60, before SUCCEEDED with 97",
            ]
        );
        assert_eq!(before.changes_since(&before), [""; 0]);
        let other = Shown {
            plan: "other".to_owned(),
            ..before.clone()
        };
        assert_eq!(other.changes_since(&before), ["the pipeline was changed"]);
    }

    #[test]
    fn later_stages_act_as_the_approver_where_the_judgment_says_so() {
        let plan = plan();
        let judged = |propagate: bool, by: &str| {
            let mut record = record("3", json!({}));
            record.context =
                json!({"propagateAuthenticationContext": propagate, "lastModifiedBy": by})
                    .as_object()
                    .cloned()
                    .unwrap();
            Records::from([("3".to_owned(), record)])
        };
        let mut after = plan.clone();
        after.stages[3].requisites = vec!["3".to_owned()];
        assert_eq!(
            propagated_user(&after, &judged(true, "ada"), "4"),
            Some("ada")
        );
        assert_eq!(propagated_user(&after, &judged(false, "ada"), "4"), None);
        assert_eq!(
            propagated_user(&after, &judged(true, "unattributed"), "4"),
            None
        );
        assert_eq!(
            propagated_user(&plan, &judged(true, "ada"), "4"),
            None,
            "it does not stand above"
        );
    }
}
