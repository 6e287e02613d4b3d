//! What a configuration says that its author will not have meant.

use crate::config::{Analysis, CanaryConfig, EffectMeasure, MetricConfig, NanStrategy};
use crate::error::{Problem, Severity};
use crate::judgement::JUDGE_NAME;
use serde_json::Value;

/// Below this many points on each side Kayenta itself warns.
const FEW_POINTS: u64 = 50;
/// Weights are sums of decimals such as 33.33.
const WEIGHT_SLACK: f64 = 0.01 + 1e-9;

/// Reads a configuration strictly and says what is wrong or weak about it: errors are refused by
/// [`CanaryConfig::parse`] or make scores that mean nothing, warnings are judged as they stand.
///
/// `points` is how many points each side will have at the first judgement (interval over step), where that is known.
/// The same configuration gives the same problems in the same order.
pub fn lint(value: &Value, points: Option<u64>) -> Vec<Problem> {
    match CanaryConfig::parse(value) {
        Ok(config) => lint_config(&config, points),
        Err(problems) => problems,
    }
}

/// [`lint`] of a configuration that is read already.
pub fn lint_config(config: &CanaryConfig, points: Option<u64>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |severity, code, path: String, message: String, hint: &str| {
        problems.push(Problem::new(severity, code, path, message, hint));
    };
    if !config.name.bytes().all(is_name_byte) {
        say(
            Severity::Warning,
            "invalid-name",
            "$.name".to_owned(),
            format!(
                "name `{}` has other characters than letters, digits, _ and -",
                config.name
            ),
            "Kayenta refuses to store it",
        );
    }
    if let Some(judge) = config.judge.as_deref().filter(|judge| *judge != JUDGE_NAME) {
        say(
            Severity::Warning,
            "unknown-judge",
            "$.judge.name".to_owned(),
            format!("there is no judge `{judge}`"),
            "it is judged by NetflixACAJudge-v1.0",
        );
    }
    if let Some(thresholds) = config.score_thresholds
        && thresholds.marginal > thresholds.pass
    {
        say(
            Severity::Warning,
            "thresholds-reversed",
            "$.classifier.scoreThresholds".to_owned(),
            format!(
                "marginal {} is above pass {}, so nothing is ever marginal",
                thresholds.marginal, thresholds.pass
            ),
            "the thresholds of the stage are what counts; these are shown by editors",
        );
    }
    weights(config, &mut say);
    for (index, metric) in config.metrics.iter().enumerate() {
        let path = format!("$.metrics[{index}]");
        if metric.groups.as_ref().is_none_or(Vec::is_empty) {
            say(
                Severity::Warning,
                "ungrouped-metric",
                format!("{path}.groups"),
                format!(
                    "metric `{}` is in no group, so it is never scored",
                    metric.name
                ),
                "name a group",
            );
        }
        template(config, metric, &path, &mut say);
        if let Ok(analysis) = metric.analysis() {
            self::metric(
                metric,
                analysis,
                &format!("{path}.analysisConfigurations.canary"),
                &mut say,
            );
        }
    }
    let scored = |metric: &MetricConfig| metric.analysis().is_ok_and(|analysis| !analysis.muted);
    if !config.metrics.iter().any(scored) {
        say(
            Severity::Error,
            "nothing-scored",
            "$.metrics".to_owned(),
            "no metric is scored, so every canary fails with 0".to_owned(),
            "add a metric that is not muted",
        );
    }
    if let Some(points) = points.filter(|points| *points < FEW_POINTS) {
        say(
            Severity::Warning,
            "too-few-points",
            "$".to_owned(),
            format!("{points} points on each side are few to tell a shift from noise"),
            "give the first judgement at least 50 points: a longer interval or a shorter step",
        );
    }
    problems
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

type Say<'a> = dyn FnMut(Severity, &'static str, String, String, &str) + 'a;

fn weights(config: &CanaryConfig, say: &mut Say<'_>) {
    if config.group_weights.is_empty() {
        return;
    }
    let path = "$.classifier.groupWeights";
    let total: f64 = config.group_weights.iter().map(|(_, weight)| weight).sum();
    let is_used = |group: &str| {
        config
            .metrics
            .iter()
            .flat_map(|metric| metric.groups.iter().flatten())
            .any(|used| used == group)
    };
    if (total - 100.0).abs() > WEIGHT_SLACK {
        say(
            Severity::Error,
            "weights-not-100",
            path.to_owned(),
            format!("the weights total {total}, not 100"),
            "weights are never normalised: the best score is their total, and thresholds assume 100",
        );
    }
    for (group, weight) in &config.group_weights {
        let path = format!("{path}[\"{group}\"]");
        if *weight < 0.0 {
            say(
                Severity::Error,
                "negative-weight",
                path.clone(),
                format!("group `{group}` weighs {weight}: passing lowers the score"),
                "weights are 0 to 100",
            );
        }
        if *weight != 0.0 && !is_used(group) {
            say(
                Severity::Warning,
                "unused-weight",
                path,
                format!("no metric is in group `{group}`, so its weight of {weight} is lost"),
                "the best score is 100 less the weights of groups without metrics",
            );
        }
    }
    let mut told: Vec<&str> = Vec::new();
    for (index, metric) in config.metrics.iter().enumerate() {
        for group in metric.groups.iter().flatten() {
            let weighted = config.group_weights.iter().any(|(name, _)| name == group);
            if !weighted && total >= 100.0 - WEIGHT_SLACK && !told.contains(&group.as_str()) {
                told.push(group);
                say(
                    Severity::Warning,
                    "weightless-group",
                    format!("$.metrics[{index}].groups"),
                    format!("group `{group}` has no weight and nothing is left of 100 for it"),
                    "groups without a weight share what the weights leave",
                );
            }
        }
    }
}

fn template(config: &CanaryConfig, metric: &MetricConfig, path: &str, say: &mut Say<'_>) {
    let inline = metric
        .query
        .get("customInlineTemplate")
        .and_then(Value::as_str);
    let named = metric
        .query
        .get("customFilterTemplate")
        .and_then(Value::as_str);
    let (None | Some(""), Some(name)) = (inline, named.filter(|name| !name.is_empty())) else {
        return;
    };
    if !config.templates.iter().any(|(known, _)| known == name) {
        say(
            Severity::Error,
            "unknown-template",
            format!("{path}.query.customFilterTemplate"),
            format!(
                "metric `{}` uses template `{name}`, which is not defined",
                metric.name
            ),
            "define it under `templates`",
        );
    }
}

fn metric(metric: &MetricConfig, analysis: &Analysis, path: &str, say: &mut Say<'_>) {
    let name = &metric.name;
    if !analysis.direction_given {
        say(
            Severity::Warning,
            "no-direction",
            format!("{path}.direction"),
            format!("metric `{name}` has no direction: a canary that is better fails as well"),
            "set `increase` or `decrease`, or `either` if both are bad",
        );
    }
    if analysis.critical && !analysis.must_have_data {
        say(
            Severity::Warning,
            "critical-without-data-requirement",
            format!("{path}.mustHaveData"),
            format!("critical metric `{name}` does not say that it must have data"),
            "set `mustHaveData`: true",
        );
    }
    if analysis.must_have_data && analysis.nan_strategy == NanStrategy::Replace {
        say(
            Severity::Warning,
            "data-requirement-without-effect",
            format!("{path}.nanStrategy"),
            format!(
                "metric `{name}` must have data, but missing points count as zeros: a canary that sends nothing has data"
            ),
            "set `nanStrategy`: remove",
        );
    }
    if analysis.critical && analysis.muted {
        say(
            Severity::Warning,
            "critical-but-muted",
            format!("{path}.muted"),
            format!("metric `{name}` is critical and muted: muted metrics never fail a canary"),
            "drop one of the two",
        );
    }
    let no_effect = analysis.measure.no_effect();
    let (least, greatest) = match analysis.measure {
        EffectMeasure::MeanRatio => (0.0, f64::INFINITY),
        EffectMeasure::CommonLanguage => (0.0, 1.0),
    };
    let limits = [
        ("allowedIncrease", analysis.allowed_increase, true),
        ("criticalIncrease", analysis.critical_increase, true),
        ("allowedDecrease", analysis.allowed_decrease, false),
        ("criticalDecrease", analysis.critical_decrease, false),
    ];
    for (key, limit, increase) in limits {
        if limit < least || limit > greatest {
            say(
                Severity::Warning,
                "effect-limit-out-of-range",
                format!("{path}.effectSize.{key}"),
                format!(
                    "metric `{name}`: an effect is between {least} and {greatest}, the limit is {limit}"
                ),
                "",
            );
        } else if (increase && limit < no_effect) || (!increase && limit > no_effect) {
            say(
                Severity::Warning,
                "effect-limit-without-effect",
                format!("{path}.effectSize.{key}"),
                format!("metric `{name}`: a limit of {limit} lets every effect through"),
                "increases are above and decreases below 1.0 (mean ratio) or 0.5 (cles)",
            );
        }
    }
}
