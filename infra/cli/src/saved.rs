//! Pipelines that are saved: reading them from the table, changing them through `save-pipeline`.

use gennaker_cloud::Functions;
use gennaker_cloud::functions::{Answer, AwsFunctions, function_name};
use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_compiler::{Mode, PreconfiguredWebhooks, preconfigured};
use gennaker_domain::{Problem, error_name};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, elapsed, plain};
use crate::surroundings::{now_millis, user};

/// Whether the text names a saved pipeline (`APP/NAME`, `APP/NAME@N`) rather than a file.
pub(crate) fn is_reference(text: &str) -> bool {
    text != "-" && !std::path::Path::new(text).exists() && split(text).is_ok()
}

/// Application, name and perhaps revision of `APP/NAME@N`.
fn split(text: &str) -> Result<(&str, &str, Option<u64>), Failure> {
    let wrong = || {
        Failure::input(
            Problem::error(
                "invalid-reference",
                "$",
                format!("`{text}` is not APP/NAME"),
            )
            .with_hint("such as shop/release, or shop/release@3 for revision 3"),
        )
    };
    let (application, name) = text.split_once('/').ok_or_else(wrong)?;
    let (name, revision) = match name.rsplit_once('@') {
        Some((name, number)) => match number.parse() {
            Ok(number) => (name, Some(number)),
            Err(_) => return Err(wrong()),
        },
        None => (name, None),
    };
    if application.is_empty() || name.is_empty() {
        return Err(wrong());
    }
    Ok((application, name, revision))
}

/// The saved pipeline of that name.
pub(crate) async fn find(
    reference: &str,
    installation: &Installation,
) -> Result<(Pipeline, Option<u64>), Failure> {
    let (application, name, revision) = split(reference)?;
    match installation.store.find_pipeline(application, name).await? {
        Some(pipeline) => Ok((pipeline, revision)),
        None => Err(Failure::input(
            Problem::error(
                "unknown-pipeline",
                "$",
                format!("pipeline `{name}` not found in application `{application}`"),
            )
            .with_hint(format!(
                "gennaker pipeline list --application {application}"
            )),
        )),
    }
}

/// A pipeline's JSON from a file or from what is saved.
pub(crate) async fn pipeline_of(
    text: &str,
    installation: Option<&Installation>,
) -> Result<Value, Failure> {
    match installation {
        Some(installation) if is_reference(text) => {
            let (pipeline, revision) = find(text, installation).await?;
            config(&pipeline, revision, installation).await
        }
        _ => input::json(std::path::Path::new(text)),
    }
}

async fn config(
    pipeline: &Pipeline,
    revision: Option<u64>,
    installation: &Installation,
) -> Result<Value, Failure> {
    let number = revision.unwrap_or(pipeline.revision);
    let found = installation.store.revision(&pipeline.id, number).await?;
    found.map(|revision| revision.config).ok_or_else(|| {
        Failure::input(
            Problem::error(
                "unknown-revision",
                "$",
                format!("pipeline `{}` has no revision {number}", pipeline.name),
            )
            .with_hint(format!("the current one is {}", pipeline.revision)),
        )
    })
}

/// Saves a pipeline and prints what became of it.
pub(crate) async fn save(
    text: &str,
    application: Option<String>,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let pipeline = input::parse(text, "the pipeline")?;
    if crate::surroundings::is_local_cloud() {
        // Every account name is the emulated account there.
        crate::accounts::register(&crate::accounts::named(&pipeline), installation).await?;
    } else {
        crate::account::check(&pipeline, installation).await?;
    }
    let answer = save_pipeline(text, application, installation, output).await?;
    if output.json {
        return output.data(&answer);
    }
    let field = |name: &str| {
        answer
            .get(name)
            .map(crate::output::bare)
            .unwrap_or_default()
    };
    output.line(&format!(
        "{}/{} is revision {} ({})",
        plain(&field("application")),
        plain(&field("name")),
        field("revision"),
        field("id"),
    ))
}

/// Saves a pipeline; the answer of `save-pipeline`.
pub(crate) async fn save_pipeline(
    text: &str,
    application: Option<String>,
    installation: &Installation,
    output: &Output,
) -> Result<Value, Failure> {
    // Everything that can be said without the cloud is said at once, with the places in the file as it was given.
    let preconfigured = match serde_json::from_str(text) {
        Ok(pipeline) if preconfigured::may_use(&pipeline) => {
            crate::webhooks::of_installation(installation).await?
        }
        _ => PreconfiguredWebhooks::new(),
    };
    let compiled = crate::pipeline::compile_pipeline(
        text,
        &installation.prefix,
        application.clone(),
        Mode::Save,
        preconfigured,
    )?;
    output.problems(&compiled.warnings);
    let pipeline = input::parse(text, "the pipeline")?;
    let mut event = json!({ "pipeline": pipeline, "author": user() });
    if let (Some(application), Some(object)) = (application, event.as_object_mut()) {
        object.insert("application".to_owned(), application.into());
    }
    invoke(installation, "save-pipeline", &event).await
}

/// Lists the pipelines of an application.
pub(crate) async fn list(
    application: &str,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let pipelines = installation.store.pipelines(application).await?;
    if output.json {
        let list: Vec<Value> = pipelines
            .iter()
            .map(|pipeline| {
                json!({
                    "application": pipeline.application,
                    "name": pipeline.name,
                    "id": pipeline.id,
                    "revision": pipeline.revision,
                    "disabled": pipeline.disabled,
                    "lastModified": pipeline.saved_at,
                    "lastModifiedBy": pipeline.author,
                })
            })
            .collect();
        return output.data(&list);
    }
    if pipelines.is_empty() {
        output.say(&format!("no pipelines in application {application}"));
    }
    let now = now_millis();
    let rows: Vec<Vec<String>> = pipelines
        .iter()
        .map(|pipeline| {
            vec![
                format!("{}/{}", plain(&pipeline.application), plain(&pipeline.name)),
                format!("revision {}", pipeline.revision),
                format!("saved {} ago", elapsed(now - pipeline.saved_at)),
                pipeline.author.as_deref().map(plain).unwrap_or_default(),
                if pipeline.disabled { "disabled" } else { "" }.to_owned(),
            ]
        })
        .collect();
    output.table(&rows)
}

/// Prints a saved pipeline.
pub(crate) async fn show(
    reference: &str,
    revision: Option<u64>,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let (pipeline, named) = find(reference, installation).await?;
    output.data(&config(&pipeline, revision.or(named), installation).await?)
}

/// Deletes a pipeline.
pub(crate) async fn delete(
    reference: &str,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let (pipeline, _) = find(reference, installation).await?;
    let event = json!({
        "delete": { "application": pipeline.application, "pipeline": pipeline.id },
        "user": user(),
    });
    let answer = invoke(installation, "save-pipeline", &event).await?;
    if output.json {
        return output.data(&answer);
    }
    output.say(&format!(
        "{}/{} is deleted",
        plain(&pipeline.application),
        plain(&pipeline.name)
    ));
    Ok(())
}

/// Milliseconds between the calls of a function that asks to be called again.
const PAUSES: [u64; 6] = [200, 500, 1_000, 2_000, 4_000, 8_000];

/// Calls a function of the installation; the problems that it answers are the caller's.
pub(crate) async fn invoke(
    installation: &Installation,
    function: &str,
    event: &Value,
) -> Result<Value, Failure> {
    let functions = AwsFunctions::new(&installation.connection);
    let name = function_name(&installation.prefix, function);
    let mut answer = functions.invoke(&name, event).await?;
    // Others write what it writes (a save at the same time, say): it took nothing and asks to be called again.
    for pause in PAUSES {
        if !matches!(&answer, Answer::Error { name, .. } if name == error_name::THROTTLED) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        answer = functions.invoke(&name, event).await?;
    }
    match answer {
        Answer::Value(value) => {
            let problems: Vec<Problem> = value
                .get("problems")
                .and_then(|problems| serde_json::from_value(problems.clone()).ok())
                .unwrap_or_default();
            if problems.iter().any(Problem::is_error) {
                Err(Failure::Input { problems })
            } else {
                Ok(value)
            }
        }
        Answer::Error {
            name: error,
            message,
        } => Err(Failure::environment_with_hint(
            format!("`{name}` failed with {error}: {message}"),
            format!(
                "its log group is /aws/lambda/{}-{function}",
                installation.prefix
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_an_application_a_name_and_perhaps_a_revision() {
        assert_eq!(split("shop/release").unwrap(), ("shop", "release", None));
        assert_eq!(split("shop/a b/c@12").unwrap(), ("shop", "a b/c", Some(12)));
        for wrong in ["shop", "/x", "shop/", "shop/x@y"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
