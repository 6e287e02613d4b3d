//! Problems of an input, and the reasons there is no judgement.

use serde_json::{Value, json};
use std::fmt;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is judged, but is likely not to say what its author means.
    Warning,
}

/// One problem of a canary configuration, in the form every command prints problems in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, kebab-case.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// JSON path into the configuration, such as `$.metrics[0].groups`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Problem {
    pub(crate) fn new(
        severity: Severity,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            path: path.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The JSON form: `code`, `severity`, `stage` (null: a configuration has none), `path`, `message`, `hint`.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "severity": match self.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "stage": null,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Why an input cannot be judged at all. A metric that cannot be compared is not one of these: it gets a classification.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JudgeError {
    /// The configuration was refused.
    #[error("invalid canary configuration: {}", list(.0))]
    Configuration(Vec<Problem>),
    /// The configuration lacks a part without which nothing can be scored, found only when judging.
    #[error("the canary configuration has no `{0}`")]
    Incomplete(&'static str),
    /// A pair names a metric that the configuration does not have.
    #[error("no metric `{metric}` in the canary configuration, which has {known}")]
    UnknownMetric {
        /// The pair's name.
        metric: String,
        /// The names there are, for the message.
        known: String,
    },
    /// A setting of a metric cannot be used, found when the metric was judged.
    #[error("metric `{metric}`: {reason}")]
    Setting {
        /// The metric.
        metric: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pair is not a metric set pair.
    #[error("`{path}`: {reason}")]
    Pairs {
        /// JSON path into the metrics.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// The thresholds are missing or not numbers.
    #[error("thresholds: {0}")]
    Thresholds(String),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
