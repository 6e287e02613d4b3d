//! `gennaker trigger`, `webhook` and `cron`.

use std::path::{Path, PathBuf};

use gennaker_domain::Problem;
use gennaker_http::SecretReference;
use gennaker_triggers::arrival::arrived;
use gennaker_triggers::explain::{explain, without_secrets};
use gennaker_triggers::matching::Settings;
use gennaker_triggers::signature::Sha1Policy;
use gennaker_triggers::webhook::Received;
use gennaker_triggers::{
    cron_times, evaluate_cron_case, evaluate_trigger_case, evaluate_webhook_case, rfc3339,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{Cron, Trigger};
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::Output;
use crate::redrive;
use crate::surroundings::now_millis;

/// The current year, from which Quartz looks a hundred years ahead.
fn year(now: Option<Timestamp>) -> i16 {
    now.or_else(|| Timestamp::from_millisecond(now_millis()).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .year()
}

fn wrong(code: &str, message: impl Into<String>, hint: &str) -> Failure {
    Failure::input(Problem::error(code, "$", message).with_hint(hint))
}

fn time(text: &str) -> Result<Timestamp, Failure> {
    text.parse().map_err(|error| {
        wrong(
            "invalid-time",
            format!("`{text}` is no time: {error}"),
            "give RFC 3339, such as 2026-01-31T09:00:00Z",
        )
    })
}

/// `gennaker cron`.
pub(crate) fn cron(command: Cron, output: &Output) -> Result<(), Failure> {
    let Cron::Next {
        expression,
        time_zone,
        after,
        count,
        cases,
    } = command;
    if let Some(cases) = cases {
        let year = year(None);
        return input::json_lines(&cases, |case| {
            output.compact(&evaluate_cron_case(&case, year))
        });
    }
    let expression = expression.unwrap_or_default();
    let after = match after {
        Some(after) => time(&after)?,
        None => Timestamp::from_millisecond(now_millis()).unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let found =
        cron_times(&expression, &time_zone, after, count, year(None)).map_err(|error| {
            wrong(
                "invalid-cron-expression",
                error,
                "Quartz: seconds minutes hours day-of-month month day-of-week [year], one of the two days `?`",
            )
        })?;
    let times: Vec<String> = found.iter().map(rfc3339).collect();
    if output.json {
        return output.data(&json!(times));
    }
    for time in &times {
        output.line(time)?;
    }
    if u64::try_from(times.len()).unwrap_or(u64::MAX) < count {
        output.say("it never fires after that");
    }
    Ok(())
}

/// `gennaker webhook evaluate`.
pub(crate) fn webhook(cases: &Path, output: &Output) -> Result<(), Failure> {
    let folder = cases.parent().map(Path::to_owned).unwrap_or_default();
    input::json_lines(cases, |case| {
        // Payload files lie beside the cases.
        let payload = |name: &str| input::text(&folder.join(Path::new(name).file_name()?)).ok();
        output.compact(&evaluate_webhook_case(&case, &payload))
    })
}

/// `gennaker trigger`.
pub(crate) async fn run(command: Trigger, prefix: &str, output: &Output) -> Result<(), Failure> {
    let (pipelines, event, secrets, now, cases) = match command {
        Trigger::Explain {
            pipelines,
            event,
            secrets,
            now,
            cases,
        } => (pipelines, event, secrets, now, cases),
        Trigger::Redrive { id, list } => {
            let installation = Installation::connect(prefix).await;
            return redrive::run(id.as_deref(), list, &installation, output).await;
        }
    };
    if let Some(cases) = cases {
        return input::json_lines(&cases, |case| output.compact(&evaluate_trigger_case(&case)));
    }
    if let Some(now) = now {
        // Matching knows no clock; the flag is checked so that a script learns of a typing error.
        time(&now)?;
    }
    let mut pipelines = read_pipelines(&pipelines.unwrap_or_default())?;
    let event = input::json(&event.unwrap_or_default())?;
    let secrets = secrets.map(|file| input::json(&file)).transpose()?;
    put_secrets(&mut pipelines, secrets.as_ref(), output);
    let shared = secrets
        .as_ref()
        .and_then(|secrets| secrets.get("gitSharedSecret"))
        .and_then(Value::as_str);
    let settings = Settings {
        git_shared_secret: shared,
        sha1: Sha1Policy::WhereTriggerSaysSo,
        ..Settings::default()
    };
    let received = arrived(&event).map_err(|refused| {
        wrong(
            "invalid-event",
            refused.to_string(),
            "give an event as it would arrive: see `gennaker local event --help`",
        )
    })?;
    let mut rows = Vec::new();
    for one in received {
        match one {
            Received::NothingToDo(reason) => output.say(&format!("nothing to do: {reason}")),
            Received::Event(event) => rows.extend(explain(&event, &pipelines, &settings).matches),
        }
    }
    without_secrets(&mut rows);
    if output.json {
        return output.data(&Value::Array(rows));
    }
    for row in &rows {
        let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
        let trigger = row
            .get("trigger")
            .map_or_else(|| "by hand".to_owned(), |n| format!("trigger {n}"));
        let answer = if row.get("matched") == Some(&Value::Bool(true)) {
            "starts"
        } else {
            "stays"
        };
        output.line(&format!(
            "{answer}  {}/{}  {trigger}: {}",
            text("application"),
            text("pipeline"),
            text("reason")
        ))?;
    }
    Ok(())
}

/// Puts the secrets of the file in place of the references to them: nothing is read from where they are kept.
fn put_secrets(pipelines: &mut [Value], secrets: Option<&Value>, output: &Output) {
    let triggers = pipelines
        .iter_mut()
        .filter_map(|pipeline| pipeline.get_mut("triggers")?.as_array_mut())
        .flatten();
    for secret in triggers.filter_map(|trigger| trigger.get_mut("secret")) {
        let Some(reference) = secret.as_str() else {
            continue;
        };
        if !matches!(SecretReference::parse(reference), Ok(Some(_))) {
            continue;
        }
        match secrets.and_then(|secrets| secrets.get(reference)) {
            Some(known) => *secret = known.clone(),
            None => output.say(&format!(
                "no webhook's signature fits the secret `{reference}`: give it with --secrets, as {{\"{reference}\": \"…\"}}"
            )),
        }
    }
}

/// The pipelines of a file (one, or a list) or of every JSON file of a folder, by name.
fn read_pipelines(path: &Path) -> Result<Vec<Value>, Failure> {
    let mut files: Vec<PathBuf> = vec![path.to_owned()];
    if path.is_dir() {
        let unreadable = |error: std::io::Error| {
            wrong(
                "unreadable-file",
                error.to_string(),
                "give a folder of pipelines",
            )
        };
        files = std::fs::read_dir(path)
            .map_err(unreadable)?
            .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
        files.sort();
    }
    let mut pipelines = Vec::new();
    for file in files {
        match input::json(&file)? {
            Value::Array(list) => pipelines.extend(list),
            one => pipelines.push(one),
        }
    }
    Ok(pipelines)
}
