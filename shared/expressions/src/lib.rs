#![doc = include_str!("../README.md")]

mod check;
mod context;
mod outcome;
mod ports;
mod template;

pub use check::{Problem, Severity, check};
pub use context::Context;
pub use outcome::{Evaluator, Failure, Level, Limits, Mode, Options, Outcome, evaluate};
pub use ports::Ports;
pub use template::{ParseError, Template};

/// Answers one line of `expression evaluate --cases`: the fields of the case in, `result`, `types` and `failures` out.
pub fn evaluate_case(case: &serde_json::Value) -> serde_json::Value {
    outcome::evaluate_case(case)
}
