//! How stages end, as the caller says.

use std::collections::HashMap;

use gennaker_domain::{Problem, Status};
use serde_json::{Map, Value};

/// The given outcomes by `refId`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcomes(HashMap<String, Outcome>);

/// How one stage's task ends; what is not given is the stage's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub status: Option<Status>,
    pub millis: Option<i64>,
    pub outputs: Map<String, Value>,
}

/// Ends that a task can have.
const ENDS: [Status; 6] = [
    Status::Succeeded,
    Status::Terminal,
    Status::FailedContinue,
    Status::Stopped,
    Status::Skipped,
    Status::Canceled,
];

/// Longest time that a stage may be given: a year, as an execution may last.
const LONGEST_SECONDS: f64 = 31_622_400.0;

impl Outcomes {
    /// Reads the outcomes; null is none.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let object = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(object) => object,
            _ => {
                return Err(vec![Problem::error(
                    "bad-outcomes",
                    "$",
                    "outcomes are an object with one entry for each stage",
                )]);
            }
        };
        let mut problems = Vec::new();
        let mut outcomes = HashMap::with_capacity(object.len());
        for (ref_id, given) in object {
            outcomes.insert(ref_id.clone(), Outcome::read(ref_id, given, &mut problems));
        }
        if problems.is_empty() {
            Ok(Self(outcomes))
        } else {
            Err(problems)
        }
    }

    pub fn get(&self, ref_id: &str) -> Option<&Outcome> {
        self.0.get(ref_id)
    }
}

impl Outcome {
    fn read(ref_id: &str, given: &Value, problems: &mut Vec<Problem>) -> Self {
        let path = format!("$['{ref_id}']");
        let mut wrong = |path: String, message: &str, hint: &str| {
            problems.push(
                Problem::error("bad-outcomes", path, message)
                    .at_stage(ref_id)
                    .with_hint(hint),
            );
        };
        let Value::Object(given) = given else {
            wrong(
                path,
                "an outcome is an object",
                r#"write {"status": "TERMINAL", "seconds": 30}"#,
            );
            return Self::default();
        };
        let status = match given.get("status") {
            None | Some(Value::Null) => None,
            Some(written) => {
                let status = written
                    .as_str()
                    .and_then(Status::parse)
                    .filter(|status| ENDS.contains(status));
                if status.is_none() {
                    wrong(
                        format!("{path}.status"),
                        "a task cannot end like this",
                        "one of SUCCEEDED, TERMINAL, FAILED_CONTINUE, STOPPED, SKIPPED, CANCELED",
                    );
                }
                status
            }
        };
        let millis = match given.get("seconds") {
            None | Some(Value::Null) => None,
            Some(written) => {
                let seconds = written
                    .as_f64()
                    .filter(|seconds| (0.0..=LONGEST_SECONDS).contains(seconds));
                if seconds.is_none() {
                    wrong(
                        format!("{path}.seconds"),
                        "`seconds` has to be a number from 0 to a year",
                        "write the virtual seconds that the task works",
                    );
                }
                // In range: at most 3.2e10.
                seconds.map(|seconds| (seconds * 1000.0).round() as i64)
            }
        };
        let outputs = given
            .get("outputs")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        Self {
            status,
            millis,
            outputs,
        }
    }
}
