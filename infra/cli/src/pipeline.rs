//! `gennaker pipeline`: what needs no cloud here, saving and reading what is saved in `saved`.

use std::collections::BTreeSet;
use std::path::Path;

use gennaker_compiler::{
    Around, Compiled, Mode, Options, PreconfiguredWebhooks, compile_text, picture, plan_json,
};
use gennaker_domain::Problem;
use gennaker_domain::deployment::world::KnownClusters;
use serde_json::{Map, Value, json};

use crate::account;
use crate::arguments::Pipeline;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::local;
use crate::output::{Output, elapsed};
use crate::saved;
use crate::webhooks;

/// When a pipeline starts that is looked at without a time.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Runs the command.
pub(crate) async fn run(command: Pipeline, prefix: &str, output: &Output) -> Result<(), Failure> {
    match command {
        Pipeline::Compile {
            file,
            compact,
            webhooks,
        } => {
            let compiled = compile(&input::text(&file)?, prefix, webhooks.as_deref())?;
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
            webhooks,
        } => {
            let text = input::text(&file)?;
            if let Some(accounts) = accounts {
                let pipeline = input::parse(&text, &file.display().to_string())?;
                account::check_against(&pipeline, &input::json(&accounts)?)?;
            }
            let compiled = compile(&text, prefix, webhooks.as_deref())?;
            let around = Around {
                application: object(application.as_deref())?,
                skipped: skipped(&compiled, world.as_deref(), trigger.as_deref())?,
            };
            if output.json {
                return output.data(&plan_json(&compiled, &around));
            }
            output.problems(&compiled.warnings);
            for line in picture(&compiled, &around).lines() {
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
            webhooks,
        } => {
            let compiled = compile(&input::text(&file)?, prefix, webhooks.as_deref())?;
            let outcomes = match optional(outcomes.as_deref())? {
                Value::Null => json!({}),
                given => given,
            };
            let trigger = optional(trigger.as_deref())?;
            let report = simulate(&compiled, &outcomes, &trigger, &at, world.as_deref())?;
            if output.json {
                return output.data(&report);
            }
            output.problems(&compiled.warnings);
            show_run(&report, output)
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

/// Compiles a pipeline to look at, or fails with all its problems.
fn compile(text: &str, prefix: &str, webhooks: Option<&Path>) -> Result<Compiled, Failure> {
    let preconfigured = match webhooks {
        Some(file) => webhooks::of_file(&input::json(file)?)?,
        None => PreconfiguredWebhooks::new(),
    };
    compile_pipeline(text, prefix, None, Mode::Compile, preconfigured)
}

/// Compiles a pipeline, or fails with all its problems.
pub(crate) fn compile_pipeline(
    text: &str,
    prefix: &str,
    application: Option<String>,
    mode: Mode,
    preconfigured: PreconfiguredWebhooks,
) -> Result<Compiled, Failure> {
    let options = Options {
        prefix: prefix.to_owned(),
        application,
        mode,
        preconfigured,
        ..Options::default()
    };
    compile_text(text, &options).map_err(|problems| Failure::Input { problems })
}

/// The JSON of a file; null without one.
fn optional(file: Option<&Path>) -> Result<Value, Failure> {
    file.map_or(Ok(Value::Null), input::json)
}

/// The JSON object of a file; empty without one.
fn object(file: Option<&Path>) -> Result<Map<String, Value>, Failure> {
    match optional(file)? {
        Value::Null => Ok(Map::new()),
        Value::Object(object) => Ok(object),
        _ => Err(Failure::input(
            Problem::error("bad-application", "$", "an application is an object")
                .with_hint("Spinnaker's JSON of it, with `trafficGuards` and `permissions`"),
        )),
    }
}

/// The clusters of a world file; without one each has an enabled server group.
fn known_clusters(world: Option<&Path>) -> Result<KnownClusters, Failure> {
    match world {
        None => Ok(KnownClusters::default()),
        // Read as the local cloud reads it, so that a file that it refuses is refused here.
        Some(file) => {
            local::world(Some(file))?;
            Ok(KnownClusters::of_world(&input::json(file)?))
        }
    }
}

/// The stages that are skipped in a world, with a trigger, if everything succeeds; none if neither is given.
fn skipped(
    compiled: &Compiled,
    world: Option<&Path>,
    trigger: Option<&Path>,
) -> Result<Option<BTreeSet<String>>, Failure> {
    if world.is_none() && trigger.is_none() {
        return Ok(None);
    }
    let report = simulate(compiled, &json!({}), &optional(trigger)?, EPOCH, world)?;
    let stages = report.get("stages").and_then(Value::as_array);
    let is_skipped = |stage: &&Value| stage.get("status") == Some(&"SKIPPED".into());
    let skipped = stages.into_iter().flatten().filter(is_skipped);
    Ok(Some(
        skipped
            .filter_map(|stage| stage.get("refId")?.as_str().map(str::to_owned))
            .collect(),
    ))
}

fn simulate(
    compiled: &Compiled,
    outcomes: &Value,
    trigger: &Value,
    at: &str,
    world: Option<&Path>,
) -> Result<Value, Failure> {
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
    gennaker_simulator::simulate_in(
        &compiled.definition,
        &compiled.plan,
        outcomes,
        at.as_millisecond(),
        trigger,
        &known_clusters(world)?,
    )
    .map_err(|problems| Failure::Input { problems })
}

/// A simulated run for people.
fn show_run(report: &Value, output: &Output) -> Result<(), Failure> {
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
        text(report, "status"),
        seconds(report, "seconds"),
        text(report, "transitions"),
        text(report, "events"),
    ))
}
