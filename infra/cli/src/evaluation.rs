//! `gennaker execution evaluate`.

use std::path::Path;

use gennaker_evaluator::evaluate_case;

use crate::failure::Failure;
use crate::input;
use crate::output::Output;

/// Evaluates every case of a file and prints one line each, in order.
pub(crate) async fn run(cases: &Path, output: &Output) -> Result<(), Failure> {
    let mut read = Vec::new();
    input::json_lines(cases, |case| {
        read.push(case);
        Ok(())
    })?;
    for case in read {
        output.compact(&evaluate_case(&case).await)?;
    }
    Ok(())
}
