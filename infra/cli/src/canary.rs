//! `gennaker canary`: judging and checking without a cloud.

use std::path::Path;

use gennaker_domain::{Problem, Severity};
use gennaker_judge::{
    JudgeError, Judgement, MetricPairs, Mode, Verdict, evaluate_case, judge_values,
    judge_with_report, power_values,
};
use gennaker_metrics::MetricsError;
use gennaker_metrics::source::check;
use serde_json::{Value, json};

use crate::arguments::Canary;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};
use crate::{canary_metrics, canary_report, canary_saved};

/// Seed of the noise that the original adds; a verdict never depends on the clock.
const COMPATIBLE: Mode = Mode::KayentaCompatible { seed: 0 };
/// Bytes of a file of metrics: 20 million points, the most that are read, of 20 digits and a comma each.
const MAX_METRICS: u64 = 20_000_000 * 21;

/// Runs the command.
pub(crate) async fn run(command: Canary, prefix: &str, output: &Output) -> Result<(), Failure> {
    match command {
        Canary::Judge {
            config,
            metrics,
            pass,
            marginal,
            kayenta_compatible,
            cases,
            report,
        } => {
            let mode = if kayenta_compatible {
                COMPATIBLE
            } else {
                Mode::Default
            };
            if let Some(cases) = cases {
                return input::json_lines(&cases, |case| {
                    output.compact(&evaluate_case(&case, mode))
                });
            }
            let (Some(config), Some(metrics)) = (config, metrics) else {
                return Err(Failure::input(Problem::error(
                    "missing-argument",
                    "$",
                    "--config and --metrics are needed, or --cases",
                )));
            };
            judge(
                &config,
                &metrics,
                &json!({ "pass": pass, "marginal": marginal }),
                mode,
                report.as_deref(),
                output,
            )
        }
        Canary::Power { config, history } => power(&config, &history, output),
        Canary::Lint { file, points } => lint(&input::json(&file)?, points, output),
        Canary::Fetch(wanted) => canary_metrics::fetch(&wanted, prefix, output).await,
        Canary::Report {
            execution,
            stage,
            out,
        } => {
            let installation = Installation::connect(prefix).await;
            let stage = stage.as_deref();
            canary_report::show(&execution, stage, out.as_deref(), &installation, output).await
        }
        Canary::Save { file } => {
            let config = input::json(&file)?;
            let found = problems_of(&config, None);
            if found.iter().any(Problem::is_error) {
                return Err(Failure::Input { problems: found });
            }
            output.problems(&found);
            canary_saved::save(&config, &Installation::connect(prefix).await, output).await
        }
        Canary::List { application } => {
            canary_saved::list(&application, &Installation::connect(prefix).await, output).await
        }
        Canary::Show { id } => {
            canary_saved::show(&id, &Installation::connect(prefix).await, output).await
        }
        Canary::Delete { id } => {
            canary_saved::delete(&id, &Installation::connect(prefix).await, output).await
        }
        Canary::Account(command) => {
            canary_metrics::account(command, &Installation::connect(prefix).await, output).await
        }
    }
}

fn judge(
    config: &Path,
    metrics: &Path,
    thresholds: &Value,
    mode: Mode,
    report: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let config = input::json(config)?;
    let metrics = input::streamed(metrics, MAX_METRICS, MetricPairs::read)?;
    let judgement = match report {
        None => judge_values(&config, metrics, thresholds, mode).map_err(refused)?,
        Some(path) => {
            let title = config
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or("Canary");
            let (judgement, page) =
                judge_with_report(&config, metrics, thresholds, mode, title).map_err(refused)?;
            std::fs::write(path, page).map_err(|error| {
                Failure::environment(format!("`{}` cannot be written: {error}", path.display()))
            })?;
            output.say(&format!("report: {}", path.display()));
            judgement
        }
    };
    output.problems(&unjudged(&config, &judgement));
    if output.json {
        return output.data(&judgement.to_json());
    }
    let mut rows = vec![vec![
        "metric".to_owned(),
        "classification".to_owned(),
        "reason".to_owned(),
    ]];
    for result in &judgement.results {
        rows.push(vec![
            plain(&result.name),
            result.classification.as_str().to_owned(),
            result.reason.as_deref().map(plain).unwrap_or_default(),
        ]);
    }
    output.table(&rows)?;
    let score = &judgement.score;
    output.line(&format!(
        "{} with a score of {}",
        score.verdict.as_str(),
        score.score
    ))?;
    if score.verdict != Verdict::Pass && !score.reason.is_empty() {
        output.line(&plain(&score.reason))?;
    }
    Ok(())
}

/// Metrics of the configuration that nobody gave points for: as the original, the judge looks at the pairs alone.
fn unjudged(config: &Value, judgement: &Judgement) -> Vec<Problem> {
    let metrics = config.get("metrics").and_then(Value::as_array);
    let names = metrics
        .into_iter()
        .flatten()
        .map(|metric| metric.get("name").and_then(Value::as_str));
    names
        .enumerate()
        .filter_map(|(index, name)| Some((index, name?)))
        .filter(|(_, name)| judgement.results.iter().all(|result| result.name != *name))
        .map(|(index, name)| Problem {
            severity: Severity::Warning,
            ..Problem::error(
                "unjudged-metric",
                format!("$.metrics[{index}]"),
                format!("metric `{}` has no pair, so it is not judged", plain(name)),
            )
            .with_hint("give it a pair, with empty series if it has no data")
        })
        .collect()
}

pub(crate) fn refused(error: JudgeError) -> Failure {
    match error {
        JudgeError::Configuration(problems) => Failure::Input {
            problems: problems.iter().map(problem).collect(),
        },
        other => Failure::input(Problem::error(
            "unusable-canary-input",
            "$",
            other.to_string(),
        )),
    }
}

fn problem(found: &gennaker_judge::Problem) -> Problem {
    Problem {
        code: found.code.to_owned(),
        severity: match found.severity {
            gennaker_judge::Severity::Error => Severity::Error,
            gennaker_judge::Severity::Warning => Severity::Warning,
        },
        stage: None,
        path: found.path.clone(),
        message: found.message.clone(),
        hint: (!found.hint.is_empty()).then(|| found.hint.clone()),
    }
}

fn power(config: &Path, history: &Path, output: &Output) -> Result<(), Failure> {
    let answer = power_values(&input::json(config)?, &input::json(history)?).map_err(refused)?;
    if output.json {
        return output.data(&answer);
    }
    for metric in answer
        .get("metrics")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(message) = metric.get("message").and_then(Value::as_str) {
            output.line(&plain(message))?;
        }
    }
    Ok(())
}

fn problems_of(config: &Value, points: Option<u64>) -> Vec<Problem> {
    let found = gennaker_judge::lint(config, points);
    found
        .iter()
        .map(problem)
        .chain(of_queries(config))
        .collect()
}

/// What a stage would say when it reads the metrics. A configuration that is judged from files needs no queries.
fn of_queries(config: &Value) -> Vec<Problem> {
    let templates = config.get("templates").unwrap_or(&Value::Null);
    let metrics = config.get("metrics").and_then(Value::as_array);
    let queries = metrics
        .into_iter()
        .flatten()
        .map(|metric| metric.get("query").filter(|query| query.is_object()));
    queries
        .enumerate()
        .filter_map(|(index, query)| Some((index, check(templates, query?).err()?)))
        .map(|(index, error)| {
            let path = match &error {
                MetricsError::Query { field, .. } => format!("$.metrics[{index}].query.{field}"),
                _ => format!("$.metrics[{index}].query"),
            };
            Problem {
                severity: Severity::Warning,
                ..Problem::error("unusable-metric", path, error.to_string())
                    .with_hint("a stage that reads this metric fails")
            }
        })
        .collect()
}

fn lint(config: &Value, points: Option<u64>, output: &Output) -> Result<(), Failure> {
    let found = problems_of(config, points);
    if found.iter().any(Problem::is_error) {
        return Err(Failure::Input { problems: found });
    }
    if output.json {
        return output.data(&json!({ "problems": found }));
    }
    output.problems(&found);
    if found.is_empty() {
        output.say("no problem");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Color;

    fn configuration(direction: &str) -> Value {
        json!({
            "metrics": [{ "name": "errors", "groups": ["requests"],
                          "analysisConfigurations": { "canary": { "direction": direction } } }],
            "classifier": { "groupWeights": { "requests": 100 } },
        })
    }

    #[test]
    fn the_lint_says_which_query_no_stage_could_ask() {
        let mut config = configuration("increase");
        assert_eq!(problems_of(&config, None), []);
        config["metrics"][0]["query"] = json!({ "type": "stackdriver", "metricType": "x" });
        let found = problems_of(&config, None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "$.metrics[0].query.type");
        assert!(!found[0].is_error() && found[0].message.contains("stackdriver"));
    }

    #[tokio::test]
    async fn a_report_is_written_with_the_verdict_and_a_refused_configuration_writes_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &Value| {
            let path = folder.path().join(name);
            std::fs::write(&path, value.to_string()).unwrap();
            path
        };
        let metrics = write(
            "metrics.json",
            &json!({ "pairs": [{ "name": "errors", "values": {
                "control": [1, 2, 1, 3, 2, 1, 2, 2], "experiment": [9, 8, 9, 7, 9, 8, 9, 8] } }] }),
        );
        let command = async |config: &Value, report: &str| {
            let report = folder.path().join(report);
            let command = Canary::Judge {
                config: Some(write("config.json", config)),
                metrics: Some(metrics.clone()),
                pass: 95.0,
                marginal: 75.0,
                kayenta_compatible: false,
                cases: None,
                report: Some(report.clone()),
            };
            let output = Output::new(true, Color::Never, true);
            (run(command, "gennaker", &output).await, report)
        };
        let (answer, report) = command(&configuration("increase"), "fail.html").await;
        answer.unwrap();
        assert!(std::fs::read_to_string(report).unwrap().contains("Fail"));
        let mut two = configuration("increase");
        two["metrics"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "latency", "groups": ["requests"] }));
        let judged = std::fs::read_to_string(&metrics).unwrap();
        let pairs = MetricPairs::read(&mut judged.as_bytes()).unwrap();
        let thresholds = json!({ "pass": 95, "marginal": 75 });
        let judgement = judge_values(&two, pairs, &thresholds, Mode::Default).unwrap();
        let told = unjudged(&two, &judgement);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].path, "$.metrics[1]");
        let (answer, report) = command(&configuration("sideways"), "refused.html").await;
        assert!(matches!(answer, Err(Failure::Input { .. })));
        assert!(!report.exists());
    }
}
