#![doc = include_str!("../README.md")]

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Condition, Connection, Key, Write};
use gennaker_domain::Run;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// How long a judgment waits if the stage says nothing: three days, as in Orca (`waitForJudgment`).
pub const DEFAULT_TIMEOUT_MILLIS: i64 = 3 * 24 * 3_600_000;

/// The `manualJudgment` stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManualJudgment;

impl ManualJudgment {
    /// Needs no client of its own.
    #[must_use]
    pub fn connect(_connection: &Connection) -> Self {
        Self
    }
}

/// Id of the approval that a stage asks for in one run: opaque, and the same at every try.
#[must_use]
pub fn approval_id(run: &Run, ref_id: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{run}/{ref_id}")));
    digest.chars().take(32).collect()
}

/// A person's answer, as `decide` stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgment {
    /// `continue` or `stop`.
    pub status: String,
    /// One of `judgmentInputs`.
    pub input: Option<String>,
    /// Who.
    pub by: String,
}

/// What the stage answers.
///
/// `continue` succeeds, `stop` fails the stage (its policy decides what that does to the pipeline), no answer within
/// the time-out fails it too.
#[must_use]
pub fn decide(judgment: Option<&Judgment>, waited_millis: i64, timeout_millis: i64) -> Step {
    match judgment {
        Some(judgment) => {
            let mut context = Map::new();
            context.insert("judgmentStatus".to_owned(), judgment.status.clone().into());
            context.insert("lastModifiedBy".to_owned(), judgment.by.clone().into());
            let mut outputs = Map::new();
            if let Some(input) = &judgment.input {
                context.insert("judgmentInput".to_owned(), input.clone().into());
                outputs.insert("judgmentInput".to_owned(), input.clone().into());
            }
            if judgment.status.eq_ignore_ascii_case("continue") {
                Step::Succeeded { outputs, context }
            } else {
                let input = judgment
                    .input
                    .as_ref()
                    .map(|input| format!(" (`{input}`)"))
                    .unwrap_or_default();
                Step::Failed {
                    reason: format!("{} answered stop{input}", judgment.by),
                    details: Value::Object(context),
                }
            }
        }
        None if waited_millis >= timeout_millis => Step::failed(format!(
            "nobody answered within {} s",
            timeout_millis / 1_000
        )),
        None => Step::Waiting {
            reason: "waits for a person to decide".to_owned(),
            memory: Map::new(),
            poll: None,
        },
    }
}

#[async_trait]
impl Stage for ManualJudgment {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let id = approval_id(invocation.run, &invocation.stage.ref_id);
        let key = Key::approval(&id);
        let table = invocation.store().table();
        let item = match table.get(&key).await? {
            Some(item) => item,
            None => {
                let field =
                    |name: &str| invocation.context.get(name).cloned().unwrap_or(Value::Null);
                let asked = json!({
                    "status": "PENDING",
                    "run": invocation.run,
                    "stage": invocation.stage.ref_id,
                    "application": invocation.plan.application,
                    "pipeline": invocation.plan.pipeline,
                    "planHash": invocation.execution.plan_hash,
                    "instructions": field("instructions").to_string(),
                    "inputs": field("judgmentInputs").to_string(),
                    "askedAt": invocation.now,
                });
                let item = asked.as_object().cloned().unwrap_or_default();
                // Written before any message goes out, and once: a later try finds it.
                match table
                    .write(Write::put(key, item.clone()).only_if(Condition::no_item()))
                    .await
                {
                    Ok(()) | Err(CloudError::ConditionFailed { .. }) => item,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let judgment = text("judgmentStatus").map(|status| Judgment {
            status,
            input: text("judgmentInput"),
            by: text("decidedBy").unwrap_or_else(|| "unattributed".to_owned()),
        });
        // The runtime looks at `stageTimeoutMs` itself; this is the default.
        Ok(decide(
            judgment.as_ref(),
            invocation.waited(),
            DEFAULT_TIMEOUT_MILLIS,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgment(status: &str) -> Judgment {
        Judgment {
            status: status.to_owned(),
            input: Some("blue".to_owned()),
            by: "ada".to_owned(),
        }
    }

    #[test]
    fn continue_succeeds_stop_fails_and_silence_waits_until_the_timeout() {
        assert!(
            matches!(decide(Some(&judgment("continue")), 0, 10), Step::Succeeded { outputs, .. }
            if outputs.get("judgmentInput") == Some(&"blue".into()))
        );
        assert!(
            matches!(decide(Some(&judgment("stop")), 0, 10), Step::Failed { reason, .. }
            if reason == "ada answered stop (`blue`)")
        );
        assert!(matches!(decide(None, 9, 10), Step::Waiting { .. }));
        assert!(matches!(decide(None, 10, 10), Step::Failed { .. }));
        assert!(
            matches!(
                decide(Some(&judgment("continue")), 99, 10),
                Step::Succeeded { .. }
            ),
            "an answer in time counts when seen late"
        );
    }

    #[test]
    fn the_approval_of_a_run_has_one_id_and_another_run_another() {
        let id = gennaker_domain::ExecutionId::derive(1, &["x"]);
        assert_eq!(approval_id(&id.run(1), "2"), approval_id(&id.run(1), "2"));
        assert_ne!(approval_id(&id.run(1), "2"), approval_id(&id.run(2), "2"));
        assert_eq!(approval_id(&id.run(1), "2").len(), 32);
    }
}
