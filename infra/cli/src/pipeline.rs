//! `gennaker pipeline`: what needs no cloud here, saving and reading what is saved in `saved`.

use std::path::Path;

use gennaker_compiler::{Compiled, Mode, Options, compile_text, picture, plan_json};
use gennaker_domain::Problem;
use serde_json::{Value, json};

use crate::account;
use crate::arguments::Pipeline;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, elapsed};
use crate::saved;

/// Runs the command.
pub(crate) async fn run(command: Pipeline, prefix: &str, output: &Output) -> Result<(), Failure> {
    match command {
        Pipeline::Compile { file, compact } => {
            let compiled = compile(&file, prefix, None, Mode::Compile)?;
            if output.json {
                let data = json!({
                    "definition": compiled.definition,
                    "planHash": compiled.plan_hash,
                    "problems": compiled.warnings,
                });
                return if compact {
                    output.compact(&data)
                } else {
                    output.data(&data)
                };
            }
            output.problems(&compiled.warnings);
            if compact {
                output.line(&compiled.definition_text)
            } else {
                output.data(&compiled.definition)
            }
        }
        Pipeline::Plan {
            file,
            application,
            world,
            accounts,
            trigger,
        } => {
            // Read, so that a file that cannot be used is refused; what is said of them comes with the proofs.
            for given in [application, world, trigger].iter().flatten() {
                input::json(given)?;
            }
            let text = input::text(&file)?;
            if let Some(accounts) = accounts {
                let pipeline = input::parse(&text, &file.display().to_string())?;
                account::check_against(&pipeline, &input::json(&accounts)?)?;
            }
            let compiled = compile_pipeline(&text, prefix, None, Mode::Compile)?;
            if output.json {
                return output.data(&plan_json(&compiled));
            }
            output.problems(&compiled.warnings);
            for line in picture(&compiled).lines() {
                output.line(line)?;
            }
            Ok(())
        }
        Pipeline::Simulate {
            file,
            outcomes,
            trigger,
            at,
            world,
        } => {
            if let Some(world) = world {
                input::json(&world)?;
            }
            let compiled = compile(&file, prefix, None, Mode::Compile)?;
            let read = |file: Option<&Path>| file.map_or(Ok(Value::Null), input::json);
            let outcomes = match read(outcomes.as_deref())? {
                Value::Null => json!({}),
                given => given,
            };
            simulate(
                &compiled,
                &outcomes,
                &read(trigger.as_deref())?,
                &at,
                output,
            )
        }
        Pipeline::Diff { old, new } => {
            let installation = if [&old, &new].iter().any(|side| saved::is_reference(side)) {
                Some(Installation::connect(prefix).await)
            } else {
                None
            };
            let old = saved::pipeline_of(&old, installation.as_ref()).await?;
            let new = saved::pipeline_of(&new, installation.as_ref()).await?;
            crate::difference::print(&old, &new, output)
        }
        Pipeline::Save { file, application } => {
            let text = input::text(&file)?;
            saved::save(
                &text,
                application,
                &Installation::connect(prefix).await,
                output,
            )
            .await
        }
        Pipeline::List { application } => {
            saved::list(&application, &Installation::connect(prefix).await, output).await
        }
        Pipeline::Show { pipeline, revision } => {
            saved::show(
                &pipeline,
                revision,
                &Installation::connect(prefix).await,
                output,
            )
            .await
        }
        Pipeline::Delete { pipeline } => {
            saved::delete(&pipeline, &Installation::connect(prefix).await, output).await
        }
    }
}

/// Compiles a file, or fails with all its problems.
fn compile(
    file: &Path,
    prefix: &str,
    application: Option<String>,
    mode: Mode,
) -> Result<Compiled, Failure> {
    compile_pipeline(&input::text(file)?, prefix, application, mode)
}

/// Compiles a pipeline, or fails with all its problems.
pub(crate) fn compile_pipeline(
    text: &str,
    prefix: &str,
    application: Option<String>,
    mode: Mode,
) -> Result<Compiled, Failure> {
    let options = Options {
        prefix: prefix.to_owned(),
        application,
        mode,
        ..Options::default()
    };
    compile_text(text, &options).map_err(|problems| Failure::Input { problems })
}

fn simulate(
    compiled: &Compiled,
    outcomes: &Value,
    trigger: &Value,
    at: &str,
    output: &Output,
) -> Result<(), Failure> {
    let at: jiff::Timestamp = at.parse().map_err(|error| {
        Failure::input(
            Problem::error(
                "invalid-time",
                "$",
                format!("`{at}` is not an RFC 3339 time: {error}"),
            )
            .with_hint("such as 2026-11-21T09:30:00Z"),
        )
    })?;
    let report = gennaker_simulator::simulate(
        &compiled.definition,
        &compiled.plan,
        outcomes,
        at.as_millisecond(),
        trigger,
    )
    .map_err(|problems| Failure::Input { problems })?;
    if output.json {
        return output.data(&report);
    }
    output.problems(&compiled.warnings);
    let text =
        |value: &Value, name: &str| value.get(name).map(crate::output::bare).unwrap_or_default();
    let seconds = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_f64)
            .map(|seconds| elapsed((seconds * 1000.0) as i64))
            .unwrap_or_default()
    };
    let mut rows = Vec::new();
    for stage in report
        .get("stages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        rows.push(vec![
            text(stage, "refId"),
            text(stage, "type"),
            text(stage, "status"),
            seconds(stage, "started"),
            seconds(stage, "ended"),
        ]);
    }
    for line in crate::output::table(&rows) {
        output.line(&line)?;
    }
    output.line(&format!(
        "{} after {}; {} transitions, {} history events",
        text(&report, "status"),
        seconds(&report, "seconds"),
        text(&report, "transitions"),
        text(&report, "events"),
    ))
}
