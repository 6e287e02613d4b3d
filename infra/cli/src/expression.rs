//! `gennaker expression`.

use std::path::Path;

use gennaker_domain::{Problem, Severity};
use gennaker_expressions::{Context, Mode, Options, check, evaluate, evaluate_case};
use serde_json::{Value, json};

use crate::arguments::Expression;
use crate::failure::Failure;
use crate::input;
use crate::output::Output;
use crate::surroundings::now_millis;

/// Runs the command.
pub(crate) fn run(command: Expression, output: &Output) -> Result<(), Failure> {
    match command {
        Expression::Evaluate {
            cases: Some(cases), ..
        } => input::json_lines(&cases, |case| output.compact(&evaluate_case(&case))),
        Expression::Evaluate { text, context, .. } => {
            let context = context.map_or_else(|| Ok(json!({})), |file| input::json(&file))?;
            one(&text.unwrap_or_default(), &context, output)
        }
        Expression::Check { pipeline } => check_pipeline(&pipeline, output),
    }
}

/// Prints the value, or the explanation and exit status 1.
fn one(text: &str, context: &Value, output: &Output) -> Result<(), Failure> {
    // The clock and chance are inputs of the evaluation: here they are those of this moment.
    let now = now_millis();
    let options = Options {
        now_millis: now,
        seed: now.unsigned_abs(),
        mode: Mode::Map,
        ..Options::default()
    };
    let source = Value::from(text);
    let outcome = evaluate(&source, &Context::from_json(context), &options);
    if let Some(thrown) = outcome.throws {
        return Err(Failure::No(thrown));
    }
    if outcome.failures.is_empty() {
        return output.data(&outcome.value);
    }
    let explanations: Vec<String> = outcome
        .failures
        .iter()
        .map(|failure| {
            if failure.explanation.is_empty() {
                failure.message.clone()
            } else {
                failure.explanation.clone()
            }
        })
        .collect();
    Err(Failure::No(explanations.join("\n")))
}

fn check_pipeline(file: &Path, output: &Output) -> Result<(), Failure> {
    let problems: Vec<Problem> = check(&input::json(file)?)
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
        .collect();
    if problems.iter().any(Problem::is_error) {
        return Err(Failure::Input { problems });
    }
    if output.json {
        return output.data(&json!({ "problems": problems }));
    }
    output.problems(&problems);
    output.say("no error");
    Ok(())
}
