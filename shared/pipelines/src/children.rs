//! Children: executions that a stage starts, and cancels when it ends without them.

use std::sync::Arc;

use gennaker_cloud::functions::{Answer, function_name};
use gennaker_cloud::{CloudError, Functions};
use gennaker_domain::child::CANCELED_BY;
use gennaker_domain::{ExecutionId, error_name};
use gennaker_lambda::{Invocation, StageError};
use serde_json::{Map, Value, json};

/// How long a function that answers with errors is asked again before its stage fails.
pub const PATIENCE_MILLIS: i64 = 600_000;

/// A child that a stage wants.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its id, derived: asking again means the same one.
    pub id: &'a ExecutionId,
    /// Application of its pipeline; none is wherever a pipeline has this id.
    pub application: Option<&'a str>,
    /// Id, or name in its application.
    pub pipeline: &'a str,
    /// Parameters.
    pub parameters: &'a Map<String, Value>,
    /// A deployment strategy of one's own: words of refusals.
    pub strategy: bool,
}

/// `start` and `decide`, as stages use them for their children.
#[derive(Clone)]
pub struct Children {
    functions: Arc<dyn Functions>,
}

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Children")
    }
}

/// What `start` made of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The child is there.
    Child,
    /// There will be none, for this reason.
    Refused(String),
    /// The parent is ending.
    Ending,
}

/// Reads the answer of `start`.
///
/// # Errors
/// What is worth another try.
pub fn started(answer: Answer, child: Child<'_>) -> Result<Started, CloudError> {
    match answer {
        Answer::Value(value) => {
            let problems = value.get("problems").and_then(Value::as_array);
            let Some(problems) = problems.filter(|problems| !problems.is_empty()) else {
                return Ok(Started::Child);
            };
            let code = |problem: &Value| {
                problem
                    .get("code")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let codes: Vec<String> = problems.iter().map(code).collect();
            let what = if child.strategy {
                "custom strategy"
            } else {
                "pipeline"
            };
            if codes.iter().any(|code| code == "parent-ending") {
                return Ok(Started::Ending);
            }
            // Orca's words, where it has some.
            if codes.iter().any(|code| code == "unknown-pipeline") {
                return Ok(Started::Refused(format!(
                    "The referenced {what} cannot be located ({})",
                    child.pipeline
                )));
            }
            if codes.iter().any(|code| code == "pipeline-disabled") {
                return Ok(Started::Refused(format!(
                    "The referenced {what} is disabled"
                )));
            }
            let texts: Vec<&str> = problems
                .iter()
                .filter_map(|problem| problem.get("message").and_then(Value::as_str))
                .collect();
            Ok(Started::Refused(texts.join("; ")))
        }
        Answer::Error { name, message } if name == error_name::INVALID_CONFIGURATION => {
            Ok(Started::Refused(message))
        }
        Answer::Error { name, message } => Err(CloudError::Throttled {
            operation: "lambda:InvokeFunction".to_owned(),
            message: format!("start answered {name}: {message}"),
        }),
    }
}

impl Children {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self { functions }
    }

    /// Has `start` create and begin the child; asking again finds it.
    ///
    /// # Errors
    /// Those of Lambda, and what `start` could not do now.
    pub async fn start(
        &self,
        invocation: &Invocation<'_>,
        child: Child<'_>,
    ) -> Result<Started, StageError> {
        let payload = json!({
            "executionId": child.id,
            "application": child.application,
            "pipeline": child.pipeline,
            "parameters": child.parameters,
            "user": invocation.context.get("user"),
            "parent": {
                "execution": invocation.run.execution,
                "run": invocation.run.number,
                "stage": invocation.stage.ref_id,
            },
        });
        let start = function_name(invocation.prefix, "start");
        let answer = self.functions.invoke(&start, &payload).await?;
        match started(answer, child) {
            // Every try is three events of the machine's history.
            Err(error) if invocation.spent() >= PATIENCE_MILLIS => {
                Ok(Started::Refused(error.to_string()))
            }
            other => Ok(other?),
        }
    }

    /// Asks `decide` to cancel the child, if there is one that runs. What a person reads.
    ///
    /// # Errors
    /// Those of the table and of Lambda.
    pub async fn cancel(
        &self,
        invocation: &Invocation<'_>,
        id: &ExecutionId,
    ) -> Result<String, StageError> {
        // `start` creates no child once its parent is ending: one that is not there never will be.
        let Some(child) = invocation.store().execution(id).await? else {
            return Ok("no child was started".to_owned());
        };
        if child.status.is_complete() {
            return Ok(format!("child {id} has ended: {}", child.status));
        }
        let payload = json!({ "execution": id, "cancel": true, "user": CANCELED_BY });
        let decide = function_name(invocation.prefix, "decide");
        match self.functions.invoke(&decide, &payload).await? {
            Answer::Value(_) => Ok(format!("child {id} is canceled")),
            Answer::Error { name, message } => Err(StageError::Cloud(CloudError::Throttled {
                operation: "lambda:InvokeFunction".to_owned(),
                message: format!("decide answered {name}: {message}"),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(answer: Answer, strategy: bool) -> Result<Started, CloudError> {
        let (id, none) = (ExecutionId::derive(1, &["child"]), Map::new());
        let child = Child {
            id: &id,
            application: None,
            pipeline: "p-2",
            parameters: &none,
            strategy,
        };
        started(answer, child)
    }

    #[test]
    fn the_refusals_of_start_read_like_orcas() {
        let refusal = |code: &str| {
            let answer = json!({"problems": [{"code": code, "message": "as it says"}]});
            made(Answer::Value(answer), false).unwrap()
        };
        let refused = |text: &str| Started::Refused(text.to_owned());
        assert_eq!(
            refusal("unknown-pipeline"),
            refused("The referenced pipeline cannot be located (p-2)")
        );
        assert_eq!(
            refusal("pipeline-disabled"),
            refused("The referenced pipeline is disabled")
        );
        assert_eq!(refusal("too-deep"), refused("as it says"));
        assert_eq!(refusal("parent-ending"), Started::Ending);
        let answer = json!({"problems": [{"code": "pipeline-disabled", "message": ""}]});
        assert_eq!(
            made(Answer::Value(answer), true).unwrap(),
            refused("The referenced custom strategy is disabled")
        );
    }

    #[test]
    fn an_error_of_start_is_tried_again_unless_the_request_is_wrong() {
        let error = |name: &str| Answer::Error {
            name: name.to_owned(),
            message: "no".to_owned(),
        };
        assert!(made(error("Throttled"), false).unwrap_err().is_passing());
        assert!(
            made(error("Runtime.ExitError"), false)
                .unwrap_err()
                .is_passing()
        );
        assert_eq!(
            made(error("InvalidConfiguration"), false).unwrap(),
            Started::Refused("no".to_owned())
        );
    }
}
