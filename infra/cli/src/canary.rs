//! `gennaker canary`: judging and checking without a cloud.

use std::path::Path;

use gennaker_domain::{Problem, Severity};
use gennaker_judge::{CanaryConfig, JudgeError, Mode, Verdict, evaluate_case, judge_values};
use serde_json::{Value, json};

use crate::arguments::Canary;
use crate::failure::Failure;
use crate::input;
use crate::output::{Output, plain, table};

/// Seed of the noise that the original adds; a verdict never depends on the clock.
const COMPATIBLE: Mode = Mode::KayentaCompatible { seed: 0 };

/// Runs the command.
pub(crate) fn run(command: Canary, output: &Output) -> Result<(), Failure> {
    match command {
        Canary::Judge {
            config,
            metrics,
            pass,
            marginal,
            kayenta_compatible,
            cases,
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
                output,
            )
        }
        Canary::Lint { file } => lint(&input::json(&file)?, output),
    }
}

fn judge(
    config: &Path,
    metrics: &Path,
    thresholds: &Value,
    mode: Mode,
    output: &Output,
) -> Result<(), Failure> {
    let judgement = judge_values(
        &input::json(config)?,
        &input::json(metrics)?,
        thresholds,
        mode,
    )
    .map_err(refused)?;
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
    for line in table(&rows) {
        output.line(&line)?;
    }
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

fn refused(error: JudgeError) -> Failure {
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

fn lint(config: &Value, output: &Output) -> Result<(), Failure> {
    let config = CanaryConfig::parse(config).map_err(|found| Failure::Input {
        problems: found.iter().map(problem).collect(),
    })?;
    if output.json {
        return output.data(&json!({ "problems": [] }));
    }
    output.say(&format!("{} metrics, no problem", config.metrics.len()));
    Ok(())
}
