//! Judging: each metric pair is classified, the classifications are scored.

use crate::config::{Analysis, CanaryConfig, Direction, EffectMeasure, NanStrategy, Thresholds};
use crate::error::JudgeError;
use crate::judgement::{Classification, Judgement, MetricResult};
use crate::mann_whitney::{
    Interval, MannWhitney, Resolution, Untestable, common_language_effect,
    interval as original_interval,
};
use crate::noise::JavaRandom;
use crate::pairs::MetricPair;
use crate::ranks::sorted;
use crate::score::score;
use crate::sequential::Sequential;
use crate::statistics::{Summary, mean, outlier_fences_of_sorted, ratio_of_means, summary_of};

/// Confidence level of the interval, fixed in the original.
pub const CONFIDENCE: f64 = 0.98;
/// Share of the estimated shift that the interval must clear, fixed in the original.
pub const TOLERANCE: f64 = 0.25;

/// Which judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Ours: the original's verdicts, except where the original is wrong (the README lists each case).
    #[default]
    Default,
    /// The original in everything.
    KayentaCompatible {
        /// Seed of the noise that the original adds when both sides are constant.
        seed: i64,
    },
}

/// Judges the pairs of one canary. The same arguments give the same judgement, noise included.
///
/// # Errors
/// [`JudgeError::UnknownMetric`] for a pair whose metric is not configured, and, for a configuration read by
/// [`CanaryConfig::parse_compatible`], what the original throws on.
pub fn judge(
    config: &CanaryConfig,
    pairs: &[MetricPair],
    thresholds: Thresholds,
    mode: Mode,
) -> Result<Judgement, JudgeError> {
    let mut noise = match mode {
        Mode::Default => None,
        Mode::KayentaCompatible { seed } => Some(JavaRandom::new(seed)),
    };
    // The original looks for the classifier in any case, for the metrics only when there is a pair.
    if let Some(part) = config.missing_part()
        && (part == "classifier" || !pairs.is_empty())
    {
        return Err(JudgeError::Incomplete(part));
    }
    let looks = config.sequential.filter(|_| mode == Mode::Default);
    let mut results = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let metric = config
            .metric(&pair.name)
            .ok_or_else(|| JudgeError::UnknownMetric {
                metric: pair.name.clone(),
                known: known_names(config),
            })?;
        let analysis = metric.analysis()?;
        if metric.groups.is_none() && !analysis.muted {
            return Err(JudgeError::Setting {
                metric: metric.name.clone(),
                reason: "`groups` is missing".to_owned(),
            });
        }
        results.push(judge_pair(
            pair,
            analysis,
            metric.groups.clone(),
            noise.as_mut(),
            looks,
        ));
    }
    let (group_scores, score) = score(&results, &config.group_weights, thresholds, mode);
    Ok(Judgement {
        results,
        group_scores,
        score,
    })
}

fn known_names(config: &CanaryConfig) -> String {
    let names: Vec<String> = config
        .metrics
        .iter()
        .take(10)
        .map(|metric| format!("`{}`", metric.name))
        .collect();
    if names.is_empty() {
        "no metrics".to_owned()
    } else {
        names.join(", ")
    }
}

/// A series after missing values and outliers are handled, in the order given and sorted.
struct Prepared {
    values: Vec<f64>,
    sorted: Vec<f64>,
    summary: Summary,
}

fn prepare(values: &[f64], analysis: &Analysis) -> Prepared {
    let mut values: Vec<f64> = match analysis.nan_strategy {
        NanStrategy::Remove => values.iter().copied().filter(|v| !v.is_nan()).collect(),
        NanStrategy::Replace => values
            .iter()
            .map(|&v| if v.is_nan() { 0.0 } else { v })
            .collect(),
    };
    let mut sorted = sorted(&values);
    if let Some(factor) = analysis.outlier_factor {
        let fences = outlier_fences_of_sorted(&sorted, factor, true);
        values.retain(|value| !fences.excludes(*value));
        sorted.retain(|value| !fences.excludes(*value));
    }
    let summary = summary_of(&values, &sorted);
    Prepared {
        values,
        sorted,
        summary,
    }
}

impl Prepared {
    /// The value that all points have, if they are all equal (zeros of either sign are).
    fn constant(&self) -> Option<f64> {
        let (first, last) = (self.sorted.first()?, self.sorted.last()?);
        (first == last)
            .then(|| self.values.first().copied())
            .flatten()
    }
}

/// A classification and what it rests on.
struct Finding {
    classification: Classification,
    reason: Option<String>,
    ratio: Option<f64>,
    interval: Option<Interval>,
    effect: Option<f64>,
    critical: bool,
}

impl Finding {
    /// Two sides that cannot be compared, and why if that is told.
    fn uncompared(reason: String, critical: bool) -> Self {
        let failed = "Metric Classification Failed".to_owned();
        let reason = if reason.is_empty() {
            failed
        } else {
            format!("{failed}: {reason}")
        };
        Self {
            classification: Classification::Error,
            reason: Some(reason),
            ratio: None,
            interval: None,
            effect: None,
            critical,
        }
    }

    /// A finding without a comparison: the ratio is 1.0.
    fn early(classification: Classification, reason: Option<String>, critical: bool) -> Self {
        Self {
            classification,
            reason,
            ratio: Some(1.0),
            interval: None,
            effect: None,
            critical,
        }
    }
}

pub(crate) fn judge_pair(
    pair: &MetricPair,
    analysis: &Analysis,
    groups: Option<Vec<String>>,
    noise: Option<&mut JavaRandom>,
    looks: Option<Sequential>,
) -> MetricResult {
    let canary = prepare(&pair.canary, analysis);
    let baseline = prepare(&pair.baseline, analysis);
    let finding = classify(&pair.name, &canary, &baseline, analysis, noise, looks);
    MetricResult {
        name: pair.name.clone(),
        id: pair.id.clone(),
        tags: pair.tags.clone(),
        classification: finding.classification,
        reason: finding.reason,
        groups,
        canary: canary.summary,
        baseline: baseline.summary,
        ratio: finding.ratio,
        interval: finding.interval,
        effect: finding.effect,
        critical: finding.critical,
        muted: analysis.muted,
    }
}

fn classify(
    name: &str,
    canary: &Prepared,
    baseline: &Prepared,
    analysis: &Analysis,
    noise: Option<&mut JavaRandom>,
    looks: Option<Sequential>,
) -> Finding {
    let compatible = noise.is_some();
    if canary.values.is_empty() || baseline.values.is_empty() {
        // The original passes an empty series under `replace`. Zeros stand in for missing points of a series that is
        // there; a series without a single point is no data under any strategy.
        if compatible && analysis.nan_strategy == NanStrategy::Replace {
            return Finding::early(Classification::Pass, None, false);
        }
        let reason = Some(format!("Missing data for {name}"));
        return if analysis.must_have_data && !analysis.critical {
            Finding::early(Classification::NodataFailMetric, reason, false)
        } else {
            Finding::early(Classification::Nodata, reason, analysis.critical)
        };
    }
    if !compatible && let Err(reason) = finite(canary, baseline) {
        return Finding::uncompared(reason, analysis.critical);
    }
    if canary.sorted == baseline.sorted {
        let reason = "The Canary and Baseline data are identical".to_owned();
        return Finding::early(Classification::Pass, Some(reason), false);
    }
    let constants = canary.constant().zip(baseline.constant());
    if constants.is_some_and(|(canary, baseline)| canary == baseline) {
        return Finding::early(Classification::Pass, None, false);
    }
    let compared = match noise {
        Some(noise) => compare_as_original(canary, baseline, constants, analysis, noise)
            .map_err(|_| String::new()),
        None => compare(canary, baseline, constants, analysis, looks),
    };
    match compared {
        Ok(comparison) => decide(name, comparison, analysis),
        // The original never fails a critical metric that it could not compare.
        Err(reason) => Finding::uncompared(reason, analysis.critical && !compatible),
    }
}

/// An infinite value is like no other one, not even another infinite one: nothing can be said of such a series.
fn finite(canary: &Prepared, baseline: &Prepared) -> Result<(), String> {
    for (side, prepared) in [("canary", canary), ("baseline", baseline)] {
        let infinite = prepared.values.iter().filter(|v| v.is_infinite()).count();
        if infinite > 0 {
            return Err(format!("{infinite} infinite values in the {side}"));
        }
    }
    Ok(())
}

struct Comparison {
    interval: Interval,
    ratio: f64,
    effect: f64,
}

fn compare_as_original(
    canary: &Prepared,
    baseline: &Prepared,
    constants: Option<(f64, f64)>,
    analysis: &Analysis,
    noise: &mut JavaRandom,
) -> Result<Comparison, Untestable> {
    if constants.is_some() {
        // Each side holds one value and they differ: the original blurs both, the canary first.
        let canary = blurred(&canary.values, noise);
        let baseline = blurred(&baseline.values, noise);
        let interval = original_interval(&canary, &baseline, CONFIDENCE)?;
        let ratio = ratio_of_means(mean(&baseline), mean(&canary));
        let (canary, baseline) = (sorted(&canary), sorted(&baseline));
        return Ok(Comparison {
            interval,
            ratio,
            effect: effect(analysis.measure, ratio, &canary, &baseline, true),
        });
    }
    let interval = MannWhitney::new(&canary.sorted, &baseline.sorted)?
        .interval(CONFIDENCE, Resolution::Absolute)?;
    let ratio = ratio_of_means(baseline.summary.mean, canary.summary.mean);
    Ok(Comparison {
        interval,
        ratio,
        effect: effect(
            analysis.measure,
            ratio,
            &canary.sorted,
            &baseline.sorted,
            true,
        ),
    })
}

/// x + g·(v·1e-5) with v the series' value and g a standard Gaussian; zero gets no noise, but its draws are made.
fn blurred(values: &[f64], noise: &mut JavaRandom) -> Vec<f64> {
    let scale = values.first().copied().unwrap_or(0.0) * 1e-5;
    let draws: Vec<f64> = values
        .iter()
        .map(|_| noise.next_gaussian() * scale + 0.0)
        .collect();
    values.iter().zip(draws).map(|(x, draw)| x + draw).collect()
}

fn compare(
    canary: &Prepared,
    baseline: &Prepared,
    constants: Option<(f64, f64)>,
    analysis: &Analysis,
    looks: Option<Sequential>,
) -> Result<Comparison, String> {
    let (m, n) = (canary.values.len(), baseline.values.len());
    if m + n == 2 {
        return Err("one canary point against one baseline point proves nothing".to_owned());
    }
    let interval = match constants {
        // Every pair of points differs by the same amount, so that is the shift: no noise is needed to see it.
        Some((of_canary, of_baseline)) => {
            let shift = of_canary - of_baseline;
            let mut interval = Interval {
                lower: shift,
                upper: shift,
                estimate: shift,
            };
            let separation = MannWhitney::new(&canary.sorted, &baseline.sorted)
                .and_then(|mut test| test.standardised(0.0))
                .map_err(|error| error.to_string())?;
            if looks.is_some_and(|promise| separation.abs() <= promise.boundary(m, n)) {
                interval = interval.with_zero();
            }
            interval
        }
        None => {
            let level = looks.map_or(CONFIDENCE, |promise| promise.level(m, n));
            let mut test = MannWhitney::new(&canary.sorted, &baseline.sorted)
                .map_err(|error| error.to_string())?;
            let mut interval = test
                .interval(level, Resolution::Relative)
                .map_err(|error| error.to_string())?;
            if looks.is_some_and(|promise| !test.can_exceed(promise.boundary(m, n))) {
                // Too early for any claim: no shift is excluded, zero least of all.
                interval = interval.with_zero();
            }
            interval
        }
    };
    if ![interval.lower, interval.upper, interval.estimate]
        .iter()
        .all(|value| value.is_finite())
    {
        return Err("the values are too far apart to subtract".to_owned());
    }
    let ratio = ratio_of_means(baseline.summary.mean, canary.summary.mean);
    Ok(Comparison {
        interval,
        ratio,
        effect: effect(
            analysis.measure,
            ratio,
            &canary.sorted,
            &baseline.sorted,
            false,
        ),
    })
}

fn effect(
    measure: EffectMeasure,
    ratio: f64,
    canary: &[f64],
    baseline: &[f64],
    overflowing: bool,
) -> f64 {
    match measure {
        EffectMeasure::MeanRatio => ratio,
        EffectMeasure::CommonLanguage => common_language_effect(canary, baseline, overflowing),
    }
}

/// High when the interval lies above a quarter of the estimated shift and the effect is large enough, Low symmetrically.
/// An effect that cannot be measured (NaN) does not count as small.
fn decide(name: &str, comparison: Comparison, analysis: &Analysis) -> Finding {
    let Comparison {
        interval,
        ratio,
        effect,
    } = comparison;
    let bound = TOLERANCE * interval.estimate.abs();
    let high = analysis.direction != Direction::Decrease
        && interval.lower > bound
        && (effect.is_nan() || effect >= analysis.allowed_increase);
    let low = analysis.direction != Direction::Increase
        && interval.upper < -bound
        && (effect.is_nan() || effect <= analysis.allowed_decrease);
    let (classification, severe) = if high {
        let severe = effect.is_nan() || effect >= analysis.critical_increase;
        (Classification::High, severe)
    } else if low {
        let severe = effect.is_nan() || effect <= analysis.critical_decrease;
        (Classification::Low, severe)
    } else {
        (Classification::Pass, false)
    };
    let critical = analysis.critical && severe;
    let word = classification.as_str();
    let reason = match classification {
        Classification::Pass => None,
        _ if critical => Some(format!(
            "The metric {name} was classified as {word} (Critical)"
        )),
        _ => Some(format!("{name} was classified as {word}")),
    };
    Finding {
        classification,
        reason,
        ratio: Some(ratio),
        interval: Some(interval),
        effect: Some(effect),
        critical,
    }
}
