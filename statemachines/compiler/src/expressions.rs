//! What can be said about a pipeline's expressions before it runs.

use gennaker_domain::{Problem, Severity};
use gennaker_expressions::check;
use serde_json::Value;

/// Every expression of the pipeline that cannot work, or may not; `gennaker expression check` says the same.
#[must_use]
pub fn problems(pipeline: &Value) -> Vec<Problem> {
    check(pipeline)
        .into_iter()
        .map(|found| Problem {
            code: found.code.to_owned(),
            severity: match found.severity {
                gennaker_expressions::Severity::Error => Severity::Error,
                gennaker_expressions::Severity::Warning => Severity::Warning,
            },
            stage: found.ref_id,
            path: found.path,
            message: found.message,
            hint: found.hint,
        })
        .collect()
}
