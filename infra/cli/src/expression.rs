//! `gennaker expression`.

use std::path::Path;

use gennaker_compiler::expressions;
use gennaker_domain::Problem;
use gennaker_expressions::{Context, Mode, Options, evaluate, evaluate_case_line};
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
        } => input::lines(&cases, |_, line| match line {
            // The text itself, not parsed JSON: integers of any width keep their digits.
            Ok(line) => output.line(&evaluate_case_line(line)),
            Err(reason) => output.compact(&json!({ "throws": reason })),
        }),
        Expression::Evaluate { text, context, .. } => {
            let context = match context {
                Some(file) => read_context(&file)?,
                None => Context::from_json(&json!({})),
            };
            one(&text.unwrap_or_default(), &context, output)
        }
        Expression::Check { pipeline } => check_pipeline(&pipeline, output),
    }
}

fn read_context(file: &Path) -> Result<Context, Failure> {
    let text = input::text(file)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Context::from_json_text(text).map_err(|reason| {
        Failure::input(
            Problem::error(
                "invalid-context",
                "$",
                format!("`{}` cannot be a context: {reason}", file.display()),
            )
            .with_hint("what expressions see is a JSON object, such as {\"parameters\": {\"tag\": \"v1\"}}"),
        )
    })
}

/// Prints the value, or the explanation and exit status 1.
fn one(text: &str, context: &Context, output: &Output) -> Result<(), Failure> {
    // The clock and chance are inputs of the evaluation: here they are those of this moment.
    let now = now_millis();
    let options = Options {
        now_millis: now,
        seed: now.unsigned_abs(),
        mode: Mode::Map,
        ..Options::default()
    };
    let source = Value::from(text);
    let outcome = evaluate(&source, context, &options);
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
    let problems = expressions::problems(&input::json(file)?);
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
