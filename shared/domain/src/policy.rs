//! What a failed stage does to its pipeline.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Status;

/// The three fields of a stage that say what its failure does, as the pipeline has them.
///
/// | `failPipeline` | `continuePipeline` | `completeOtherBranchesThenFail` | a failed stage becomes |
/// |---|---|---|---|
/// | true or absent | not true | | TERMINAL: the pipeline halts |
/// | false | not true | not true | STOPPED: this branch halts |
/// | false | not true | true | STOPPED: the others finish, then the pipeline fails |
/// | | true | | FAILED_CONTINUE: ignored |
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailurePolicy {
    /// `failPipeline`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_pipeline: Option<Value>,
    /// `continuePipeline`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_pipeline: Option<Value>,
    /// `completeOtherBranchesThenFail`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_other_branches_then_fail: Option<Value>,
}

impl FailurePolicy {
    /// Reads the three fields from a stage's configuration or resolved context.
    #[must_use]
    pub fn of(context: &serde_json::Map<String, Value>) -> Self {
        let field = |name: &str| context.get(name).filter(|value| !value.is_null()).cloned();
        Self {
            fail_pipeline: field("failPipeline"),
            continue_pipeline: field("continuePipeline"),
            complete_other_branches_then_fail: field("completeOtherBranchesThenFail"),
        }
    }

    /// What a task that ended as `task` makes of its stage.
    ///
    /// TERMINAL and CANCELED go through the policy; STOPPED and everything successful do not. Any `failPipeline`
    /// that is neither absent nor the boolean `true` (the string `"true"` and 0 included) stops the branch, as the
    /// original engine was observed to do.
    #[must_use]
    pub fn outcome(&self, task: Status) -> Status {
        if !matches!(task, Status::Terminal | Status::Canceled) {
            return task;
        }
        if self.continue_pipeline == Some(Value::Bool(true)) {
            Status::FailedContinue
        } else if matches!(self.fail_pipeline, None | Some(Value::Bool(true))) {
            task
        } else {
            Status::Stopped
        }
    }

    /// Whether a stopped branch fails the pipeline once the others are complete.
    #[must_use]
    pub(crate) fn fails_pipeline_at_the_end(&self) -> bool {
        self.complete_other_branches_then_fail == Some(Value::Bool(true))
    }

    /// Whether a failure of the stage lets the pipeline go on in some way.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.outcome(Status::Terminal) != Status::Terminal
    }
}

/// Whether a failed expression of a stage with this context ends it TERMINAL, whatever its policy says and whatever
/// else ends it.
#[must_use]
pub fn fails_on_expressions(context: &serde_json::Map<String, Value>) -> bool {
    context.get("failOnFailedExpressions") == Some(&Value::Bool(true))
        && context
            .get("expressionEvaluationSummary")
            .and_then(Value::as_object)
            .is_some_and(|summary| !summary.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_policy_table_is_spinnakers() {
        let cases = [
            (json!({}), Status::Terminal),
            (json!({"failPipeline": true}), Status::Terminal),
            (json!({"failPipeline": null}), Status::Terminal),
            (json!({"failPipeline": false}), Status::Stopped),
            (json!({"failPipeline": "true"}), Status::Stopped),
            (json!({"failPipeline": 0}), Status::Stopped),
            (
                json!({"failPipeline": true, "continuePipeline": true}),
                Status::FailedContinue,
            ),
            (
                json!({"failPipeline": false, "continuePipeline": false}),
                Status::Stopped,
            ),
        ];
        for (context, expected) in cases {
            let policy = FailurePolicy::of(context.as_object().unwrap());
            assert_eq!(policy.outcome(Status::Terminal), expected, "{context}");
            assert_eq!(policy.outcome(Status::Stopped), Status::Stopped);
            assert_eq!(policy.outcome(Status::Succeeded), Status::Succeeded);
        }
    }
}
