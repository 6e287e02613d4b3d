//! The compiled plan: what the stage runtime knows about the graph. The compiler writes it, DynamoDB keeps it under
//! its hash, and it never changes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::deployment::strategy::{Condition, Fill};

/// Version of the plan's shape that this release writes and reads.
pub const SCHEMA: u32 = 1;

/// A compiled pipeline, without its definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of this shape; see [`SCHEMA`].
    pub schema: u32,
    /// Application.
    pub application: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Id of the pipeline (`pipelineConfigId` of its executions).
    pub pipeline_id: String,
    /// One execution at a time.
    #[serde(default)]
    pub limit_concurrent: bool,
    /// So many executions at a time; 0 is no limit. Counts only without `limit_concurrent`.
    #[serde(default)]
    pub max_concurrent_executions: u32,
    /// A freed slot goes to the oldest in the queue (true), or to the newest, and the others are cancelled.
    #[serde(default)]
    pub keep_waiting_pipelines: bool,
    /// `v3` or `v4`: which rules expressions follow.
    pub spel_evaluator: String,
    /// `parameterConfig`, as written.
    #[serde(default)]
    pub parameters: Vec<Value>,
    /// `expectedArtifacts`, as written.
    #[serde(default)]
    pub expected_artifacts: Vec<Value>,
    /// `notifications`, as written.
    #[serde(default)]
    pub notifications: Vec<Value>,
    /// Every stage: top-level ones in the pipeline's order, each followed by its sub-stages.
    pub stages: Vec<PlanStage>,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStage {
    /// `3`, or `3<1` (first stage before), `3>2` (second stage after), as Orca numbers synthetic stages.
    pub ref_id: String,
    /// Spinnaker's stage type, such as `resizeServerGroup`.
    #[serde(rename = "type")]
    pub stage_type: String,
    /// What a person reads.
    pub name: String,
    /// `refId` of the stage that this one is a sub-stage of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Where it stands in its parent; none for a top-level stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// `requisiteStageRefIds`: of the same level, as Spinnaker shows them.
    #[serde(default)]
    pub requisites: Vec<String>,
    /// Function that does its work, such as `resize-server-group`; none for a stage that only groups sub-stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Whether its Task carries a task token and is woken (`waitForTaskToken`).
    #[serde(default)]
    pub woken: bool,
    /// Whether its Task may only start after `starts_after` is complete because the machine itself does not say so
    /// (a join): the runtime waits for the records.
    #[serde(default)]
    pub joins: bool,
    /// What must be complete before it starts, and must not halt.
    #[serde(default)]
    pub starts_after: Vec<Predecessor>,
    /// Stages whose join this stage may open when it completes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opens: Vec<String>,
    /// Whether the failure of this stage is only recorded: the last Task of its group raises it.
    #[serde(default)]
    pub defers_failure: bool,
    /// What has to be so for a sub-stage of a deployment to run; it is skipped otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What of the context of a sub-stage of a deployment is known only when it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fills: Vec<Fill>,
    /// Configuration, unresolved, as the pipeline has it (a sub-stage: as the strategy planned it).
    pub context: Map<String, Value>,
}

/// A stage that must be complete before another starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predecessor {
    /// Its `refId`.
    pub ref_id: String,
    /// The stage with all its sub-stages (true), or its own task alone: an after stage starts when the task of its
    /// parent is complete, while the parent is not.
    pub whole: bool,
}

/// Where a sub-stage stands in its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// Before the parent's task.
    #[serde(rename = "STAGE_BEFORE")]
    Before,
    /// After the parent's task.
    #[serde(rename = "STAGE_AFTER")]
    After,
    /// Only when the parent failed. Spinnaker shows it as an after stage.
    #[serde(rename = "ON_FAILURE")]
    OnFailure,
}

/// How a stage was found among the ancestors of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// It is the other.
    First,
    /// The other starts after it.
    Before,
    /// The other is a sub-stage of it.
    Around,
}

impl Plan {
    /// The stage with this `refId`.
    #[must_use]
    pub fn stage(&self, ref_id: &str) -> Option<&PlanStage> {
        self.stages.iter().find(|stage| stage.ref_id == ref_id)
    }

    /// The direct sub-stages of a stage, in order.
    pub fn children<'a>(&'a self, ref_id: &'a str) -> impl Iterator<Item = &'a PlanStage> + 'a {
        self.stages
            .iter()
            .filter(move |stage| stage.parent.as_deref() == Some(ref_id))
    }

    /// The stage itself and what it is a sub-stage of, nearest first.
    #[must_use]
    pub fn lineage(&self, ref_id: &str) -> Vec<&PlanStage> {
        let mut lineage = Vec::new();
        let mut next = self.stage(ref_id);
        while let Some(stage) = next {
            if lineage.len() > self.stages.len() {
                break;
            }
            lineage.push(stage);
            next = stage
                .parent
                .as_deref()
                .and_then(|parent| self.stage(parent));
        }
        lineage
    }

    /// The top-level stage that this stage is, or belongs to.
    #[must_use]
    pub fn top_level(&self, ref_id: &str) -> Option<&PlanStage> {
        self.lineage(ref_id).last().copied()
    }

    /// Ancestors as Orca counts them, nearest first: what the stage starts after, with the sub-stages of each, and the
    /// stages that it is a sub-stage of, over and over; without the stage itself.
    ///
    /// The other sub-stages of an enclosing stage are none, unless the stage starts after them.
    #[must_use]
    pub fn ancestors(&self, ref_id: &str) -> Vec<&PlanStage> {
        let mut seen = vec![(ref_id, Reached::First)];
        let mut found = Vec::new();
        let mut at = 0;
        while let Some((current, reached)) = seen.get(at).copied() {
            at += 1;
            let Some(stage) = self.stage(current) else {
                continue;
            };
            let is_own = |other: &str| {
                let parent = self.stage(other).and_then(|other| other.parent.as_deref());
                parent == Some(current)
            };
            let before = stage
                .starts_after
                .iter()
                .map(|before| (before.ref_id.as_str(), before.whole))
                // What an enclosing stage's own work starts after is another sub-stage of it.
                .filter(|(before, _)| reached != Reached::Around || !is_own(before))
                // Only what the stage is a sub-stage of has started before without being complete.
                .map(|(before, whole)| {
                    (
                        before,
                        if whole {
                            Reached::Before
                        } else {
                            Reached::Around
                        },
                    )
                });
            let requisites = stage
                .requisites
                .iter()
                .map(|r| (r.as_str(), Reached::Before));
            // A stage's sub-stages made its outputs too.
            let children = if reached == Reached::Before {
                self.children(current)
                    .map(|child| (child.ref_id.as_str(), Reached::Before))
                    .collect()
            } else {
                Vec::new()
            };
            // As in Orca: what is around a stage comes after everything that came before it inside.
            let parent = stage
                .parent
                .as_deref()
                .filter(|_| stage.requisites.is_empty())
                .map(|parent| (parent, Reached::Around));
            for next in before.chain(requisites).chain(parent).chain(children) {
                if !seen.iter().any(|(before, _)| *before == next.0) {
                    seen.push(next);
                    found.extend(self.stage(next.0));
                }
            }
        }
        found
    }

    /// SHA-256 of the plan's JSON, in hexadecimal: its key in the table.
    ///
    /// # Errors
    /// Serialisation of a plan cannot fail in practice; the error is passed on all the same.
    pub fn hash(&self) -> Result<String, serde_json::Error> {
        Ok(hex::encode(Sha256::digest(serde_json::to_vec(self)?)))
    }
}
