//! Reading the metrics of a canary configuration, and the accounts of metric stores.

use std::collections::BTreeMap;

use gennaker_domain::Problem;
use gennaker_http::{AddressPolicy, HttpClient};
use gennaker_judge::Points;
use gennaker_kayenta_canary::stores::{FetchError, MetricsAccount, Stores};
use gennaker_metrics::{Scope, mix};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::arguments::{Fetch, MetricsAccount as Command};
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};
use crate::surroundings::{now_millis, variable};

/// Milliseconds.
const HOUR: i64 = 3_600_000;

fn refused(path: String, error: FetchError) -> Failure {
    match error {
        FetchError::Configuration { field, message } => Failure::input(Problem::error(
            "unusable-metric",
            format!("{path}.{field}"),
            message,
        )),
        FetchError::Cloud(error) => error.into(),
    }
}

fn time(text: &str) -> Result<i64, Failure> {
    text.parse::<jiff::Timestamp>()
        .map(|time| time.as_millisecond())
        .map_err(|error| {
            Failure::input(
                Problem::error(
                    "invalid-time",
                    "$",
                    format!("`{text}` is not an RFC 3339 time: {error}"),
                )
                .with_hint("such as 2026-11-21T09:30:00Z"),
            )
        })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fetched {
    pairs: Vec<FetchedPair>,
    step_seconds: u32,
}

#[derive(Serialize)]
struct FetchedPair {
    name: Value,
    tags: BTreeMap<String, String>,
    #[serde(serialize_with = "sides")]
    values: (Vec<f64>, Vec<f64>),
}

fn sides<S: Serializer>(
    (control, experiment): &(Vec<f64>, Vec<f64>),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map([
        ("control", Points(control)),
        ("experiment", Points(experiment)),
    ])
}

/// Prints `{"pairs":[…],"stepSeconds"}`; without a baseline both sides are the scope's.
pub(crate) async fn fetch(wanted: &Fetch, prefix: &str, output: &Output) -> Result<(), Failure> {
    let config = input::json(&wanted.config)?;
    let end = wanted
        .end
        .as_deref()
        .map_or_else(|| Ok(now_millis()), time)?;
    let start = match &wanted.start {
        Some(text) => time(text)?,
        None => end.saturating_sub(HOUR),
    };
    if end <= start {
        return Err(Failure::input(Problem::error(
            "invalid-time",
            "$",
            "--end is not after --start",
        )));
    }
    let installation = Installation::connect(prefix).await;
    let region = installation.connection.config().region();
    let location = wanted
        .location
        .clone()
        .or_else(|| region.map(ToString::to_string))
        .ok_or_else(|| {
            Failure::environment_with_hint("no region is set", "give --location, or set AWS_REGION")
        })?;
    let account = match &wanted.account {
        None => None,
        Some(name) => {
            let found = installation.store.metrics_account(name).await?;
            let value = found.ok_or_else(|| {
                Failure::input(
                    Problem::error(
                        "unknown-metrics-account",
                        "$",
                        format!("metrics account `{name}` not found"),
                    )
                    .with_hint("gennaker canary account list shows those there are"),
                )
            })?;
            let parsed = MetricsAccount::parse(name, &value)
                .map_err(|error| refused("$".to_owned(), error))?;
            Some(parsed)
        }
    };
    let policy = AddressPolicy::of_setting(variable("ALLOWED_HOSTS").as_deref());
    let stores = Stores::connect(&installation.connection, HttpClient::new(policy));
    let canary = Scope {
        scope: wanted.scope.clone(),
        location,
        start,
        end,
        step: wanted.step,
        extended: wanted.parameters.iter().cloned().collect(),
    };
    let templates = config.get("templates").unwrap_or(&Value::Null);
    let metrics = config.get("metrics").and_then(Value::as_array);
    let mut pairs = Vec::new();
    for (index, metric) in metrics.into_iter().flatten().enumerate() {
        let path = format!("$.metrics[{index}].query");
        let query = metric.get("query").unwrap_or(&Value::Null);
        let name = metric.get("name").unwrap_or(&Value::Null);
        let told = |error: FetchError| match error {
            FetchError::Configuration { .. } => refused(path.clone(), error),
            error => refused(path.clone(), error.about(name.as_str().unwrap_or_default())),
        };
        let read = async |scope: &Scope| {
            stores
                .series(templates, query, scope, account.as_ref(), now_millis())
                .await
                .map_err(&told)
        };
        let experiment = read(&canary).await?;
        let control = match &wanted.baseline {
            None => experiment.clone(),
            Some(baseline) => {
                read(&Scope {
                    scope: baseline.clone(),
                    ..canary.clone()
                })
                .await?
            }
        };
        let mixed = mix(&control, &experiment).map_err(|error| told(error.into()))?;
        for pair in mixed {
            pairs.push(FetchedPair {
                name: name.clone(),
                tags: pair.tags,
                values: (pair.control, pair.experiment),
            });
        }
    }
    output.data(&Fetched {
        pairs,
        step_seconds: wanted.step,
    })
}

/// Stores and lists accounts.
pub(crate) async fn account(
    command: Command,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        Command::Save { name, file } => {
            let account = input::json(&file)?;
            MetricsAccount::parse(&name, &account)
                .map_err(|error| refused("$".to_owned(), error))?;
            installation
                .store
                .save_metrics_account(&name, &account)
                .await?;
            output.say(&format!("metrics account `{}` is stored", plain(&name)));
            Ok(())
        }
        Command::List => output.names(&installation.store.metrics_accounts().await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_and_infinite_points_are_texts_that_the_judge_reads() {
        let fetched = Fetched {
            pairs: vec![FetchedPair {
                name: json!("errors"),
                tags: BTreeMap::new(),
                values: (vec![1.5, f64::NAN], vec![f64::INFINITY, f64::NEG_INFINITY]),
            }],
            step_seconds: 60,
        };
        assert_eq!(
            serde_json::to_value(&fetched).unwrap(),
            json!({ "pairs": [{ "name": "errors", "tags": {}, "values": {
                "control": [1.5, "NaN"], "experiment": ["Infinity", "-Infinity"] } }], "stepSeconds": 60 })
        );
    }
}
