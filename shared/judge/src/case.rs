//! The bodies of the `canary` commands: JSON in, JSON out.

use crate::config::{CanaryConfig, Thresholds};
use crate::error::{JudgeError, Problem};
use crate::judge::{Mode, judge};
use crate::judgement::{Judgement, Verdict};
use crate::pairs::{MetricPair, MetricPairs};
use crate::report::{Look, Report};
use serde_json::{Map, Value, json};

/// Judges what `canary judge` is given: a configuration, the pairs and the thresholds.
///
/// # Errors
/// Everything that makes the input unusable, see [`JudgeError`].
pub fn judge_values(
    config: &Value,
    metrics: MetricPairs,
    thresholds: &Value,
    mode: Mode,
) -> Result<Judgement, JudgeError> {
    let input = Input::read(config, metrics, thresholds, mode)?;
    judge(&input.config, &input.pairs, input.thresholds, mode)
}

/// As [`judge_values`], with the page that `canary judge --report` writes: see [`Report`].
///
/// # Errors
/// As [`judge_values`].
pub fn judge_with_report(
    config: &Value,
    metrics: MetricPairs,
    thresholds: &Value,
    mode: Mode,
    title: &str,
) -> Result<(Judgement, String), JudgeError> {
    let input = Input::read(config, metrics, thresholds, mode)?;
    let judgement = judge(&input.config, &input.pairs, input.thresholds, mode)?;
    let page = Report {
        title,
        config: &input.config,
        pairs: &input.pairs,
        judgement: &judgement,
        thresholds: input.thresholds,
        looks: &[],
        step_seconds: None,
    }
    .to_html();
    Ok((judgement, page))
}

/// The report of a stage's canary, as JSON and as a page, from what the stage kept:
/// `{"config","thresholds","pairs","stepSeconds","intervals":[{"interval","score","classification"}]}`.
///
/// The pairs are judged again; the same data give the same numbers.
///
/// # Errors
/// As [`judge_values`].
pub fn kept_report(data: &Value, title: &str) -> Result<(Value, String), JudgeError> {
    let part = |key: &str| data.get(key).unwrap_or(&Value::Null);
    let input = Input::read(
        part("config"),
        MetricPairs::of(part("pairs")),
        part("thresholds"),
        Mode::Default,
    )?;
    let judgement = judge(&input.config, &input.pairs, input.thresholds, Mode::Default)?;
    let looks: Vec<Look> = part("intervals")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(look)
        .collect();
    let report = Report {
        title,
        config: &input.config,
        pairs: &input.pairs,
        judgement: &judgement,
        thresholds: input.thresholds,
        looks: &looks,
        step_seconds: part("stepSeconds").as_f64(),
    };
    Ok((report.to_json(), report.to_html()))
}

fn look(interval: &Value) -> Option<Look> {
    let number = interval.get("interval")?.as_u64()?;
    let verdict = match interval.get("classification")?.as_str()? {
        "Pass" => Verdict::Pass,
        "Marginal" => Verdict::Marginal,
        _ => Verdict::Fail,
    };
    Some(Look {
        label: format!("#{number}"),
        score: interval.get("score")?.as_f64()?,
        verdict,
    })
}

struct Input {
    config: CanaryConfig,
    pairs: Vec<MetricPair>,
    thresholds: Thresholds,
}

impl Input {
    fn read(
        config: &Value,
        metrics: MetricPairs,
        thresholds: &Value,
        mode: Mode,
    ) -> Result<Self, JudgeError> {
        let (config, thresholds) = match mode {
            Mode::Default => (CanaryConfig::parse(config), Thresholds::parse(thresholds)?),
            Mode::KayentaCompatible { .. } => (
                CanaryConfig::parse_compatible(config),
                Thresholds::parse_compatible(thresholds)?,
            ),
        };
        Ok(Self {
            config: config.map_err(JudgeError::Configuration)?,
            pairs: metrics.checked(mode)?,
            thresholds,
        })
    }
}

/// Answers one line of `canary judge --cases`: `{"id","config","thresholds","pairs"}`.
///
/// The answer is Kayenta's `judgeResult` with the line's `id` in front, or `{"id","error"}`; a refused configuration
/// adds its `problems`. A field `seed` seeds the noise of this line in compatible mode.
pub fn evaluate_case(case: &Value, mode: Mode) -> Value {
    let mode = match (mode, case.get("seed").and_then(Value::as_i64)) {
        (Mode::KayentaCompatible { .. }, Some(seed)) => Mode::KayentaCompatible { seed },
        (mode, _) => mode,
    };
    let mut answer = Map::new();
    if let Some(id) = case.get("id") {
        answer.insert("id".to_owned(), id.clone());
    }
    let part = |key: &str| case.get(key).unwrap_or(&Value::Null);
    let pairs = MetricPairs::of(part("pairs"));
    match judge_values(part("config"), pairs, part("thresholds"), mode) {
        Ok(judgement) => {
            if let Value::Object(fields) = judgement.to_json() {
                answer.extend(fields);
            }
        }
        Err(error) => {
            answer.insert("error".to_owned(), Value::from(error.to_string()));
            if let JudgeError::Configuration(problems) = error {
                answer.insert("problems".to_owned(), problems_json(&problems));
            }
        }
    }
    Value::Object(answer)
}

/// A list of problems as every command prints them.
pub fn problems_json(problems: &[Problem]) -> Value {
    let problems: Vec<Value> = problems.iter().map(Problem::to_json).collect();
    json!(problems)
}
