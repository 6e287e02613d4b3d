//! `gennaker decision`.

use gennaker_domain::deployment;

use crate::arguments::Decision;
use crate::failure::Failure;
use crate::input;
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(command: Decision, output: &Output) -> Result<(), Failure> {
    match command {
        Decision::Evaluate { cases } => input::json_lines(&cases, |case| {
            output.compact(&deployment::evaluate_case(&case))
        }),
    }
}
