//! Before a canary: what it will be able to see, and how long it has to run to see more.

use crate::config::{Analysis, CanaryConfig, Direction, coerced_double};
use crate::error::JudgeError;
use crate::judge::judge_pair;
use crate::judgement::Classification;
use crate::noise::JavaRandom;
use crate::pairs::MetricPair;
use serde_json::{Value, json};

/// Less history than this says nothing about how a metric varies.
const LEAST_HISTORY: usize = 10;
/// Effects are searched from a thousandth to tenfold, to this relative precision.
const EFFECTS: (f64, f64) = (0.001, 10.0);
const PRECISION: f64 = 1.02;

/// What is planned and asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerPlan {
    /// Points each side will have, at least 2.
    pub points: usize,
    /// Seconds between two points, above 0.
    pub step_seconds: f64,
    /// Share of canaries with the regression that have to be caught, in (0, 1).
    pub power: f64,
    /// The regression to be caught, relative to the baseline: 0.1 is 10 %. Above 0.
    pub effect: f64,
    /// Simulated canaries for each estimate, at least 1; 200 give the power to about 3 per cent.
    pub repetitions: u32,
    /// No more points than this are considered.
    pub most_points: usize,
    /// Seed of the simulation: the same seed gives the same answer.
    pub seed: i64,
}

impl Default for PowerPlan {
    /// An hour of minutes, 10 % to be caught in 80 of 100 cases, at most two days of minutes.
    fn default() -> Self {
        Self {
            points: 60,
            step_seconds: 60.0,
            power: 0.8,
            effect: 0.1,
            repetitions: 200,
            most_points: 2_880,
            seed: 0,
        }
    }
}

/// What a canary can see of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPower {
    /// The metric.
    pub name: String,
    /// Whether a decrease is simulated; an increase otherwise, also for direction `either`.
    pub decrease: bool,
    /// Points of history that were not missing.
    pub history: usize,
    /// Share of simulated canaries without any regression that fail, None with too little history.
    pub false_alarms: Option<f64>,
    /// The least regression caught with the planned points; None if not even a tenfold increase or a fall to zero is.
    pub detectable: Option<f64>,
    /// The points needed for the asked regression; None if more than the most that are considered.
    pub needed_points: Option<usize>,
}

/// Estimates what the judge will see, by judging simulated canaries: both sides are drawn from the metric's own history
/// in blocks of consecutive points (so that neighbouring points stay alike), and the canary is multiplied by
/// 1 + effect (1 − effect for direction `decrease`).
///
/// Metrics come in the configuration's order; those without history have none in the answer. Each estimate judges
/// `repetitions` pairs, some 25 estimates a metric.
///
/// # Errors
/// [`JudgeError::UnknownMetric`] for history of a metric that is not configured, and what
/// [`MetricConfig::analysis`](crate::MetricConfig::analysis) refuses.
pub fn power(
    config: &CanaryConfig,
    histories: &[(String, Vec<f64>)],
    plan: &PowerPlan,
) -> Result<Vec<MetricPower>, JudgeError> {
    if let Some((unknown, _)) = histories
        .iter()
        .find(|(name, _)| config.metric(name).is_none())
    {
        let names: Vec<String> = config
            .metrics
            .iter()
            .map(|metric| format!("`{}`", metric.name))
            .collect();
        return Err(JudgeError::UnknownMetric {
            metric: unknown.clone(),
            known: names.join(", "),
        });
    }
    config
        .metrics
        .iter()
        .map(|metric| {
            let history = histories
                .iter()
                .find(|(name, _)| *name == metric.name)
                .map_or(&[][..], |(_, values)| values);
            let simulation = Simulation {
                config,
                name: &metric.name,
                analysis: metric.analysis()?,
                history,
                plan,
            };
            Ok(simulation.estimate())
        })
        .collect()
}

struct Simulation<'a> {
    config: &'a CanaryConfig,
    name: &'a str,
    analysis: &'a Analysis,
    history: &'a [f64],
    plan: &'a PowerPlan,
}

impl Simulation<'_> {
    fn estimate(&self) -> MetricPower {
        let decrease = self.analysis.direction == Direction::Decrease;
        let history = self.history.iter().filter(|value| !value.is_nan()).count();
        let mut estimate = MetricPower {
            name: self.name.to_owned(),
            decrease,
            history,
            false_alarms: None,
            detectable: None,
            needed_points: None,
        };
        if history >= LEAST_HISTORY {
            estimate.false_alarms = Some(self.caught(0.0, self.plan.points));
            estimate.detectable = self.least_effect(decrease);
            estimate.needed_points = self.least_points();
        }
        estimate
    }

    fn enough(&self, effect: f64, points: usize) -> bool {
        self.caught(effect, points) >= self.plan.power
    }

    /// The least effect that is caught with the planned points, by bisection of its logarithm.
    fn least_effect(&self, decrease: bool) -> Option<f64> {
        let (mut low, greatest) = EFFECTS;
        let mut high = if decrease { 1.0 } else { greatest };
        if !self.enough(high, self.plan.points) {
            return None;
        }
        while high / low > PRECISION {
            let middle = (low * high).sqrt();
            if self.enough(middle, self.plan.points) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// The least number of points with which the asked effect is caught: doubled until it is, then bisected.
    fn least_points(&self) -> Option<usize> {
        let most = self.plan.most_points;
        let (mut low, mut high) = (1, 2.min(most));
        while !self.enough(self.plan.effect, high) {
            if high >= most {
                return None;
            }
            low = high;
            high = (high * 2).min(most);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.enough(self.plan.effect, middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// The share of simulated canaries with this effect that are classified as worse.
    fn caught(&self, effect: f64, points: usize) -> f64 {
        let (factor, worse) = match self.analysis.direction {
            Direction::Decrease => ((1.0 - effect).max(0.0), Classification::Low),
            Direction::Increase | Direction::Either => (1.0 + effect, Classification::High),
        };
        let repetitions = self.plan.repetitions.max(1);
        let caught = (0..repetitions)
            .filter(|repetition| {
                // The same draws at every effect: a greater effect is then never caught less often by luck.
                let seed = self.plan.seed.wrapping_add(i64::from(*repetition));
                let mut random = JavaRandom::new(seed.wrapping_mul(0x9E37_79B9));
                let baseline = self.drawn(points, &mut random);
                let mut canary = self.drawn(points, &mut random);
                canary.iter_mut().for_each(|value| *value *= factor);
                let pair = MetricPair {
                    name: self.name.to_owned(),
                    id: None,
                    tags: None,
                    baseline,
                    canary,
                };
                let result = judge_pair(&pair, self.analysis, None, None, self.config.sequential);
                result.classification == worse
            })
            .count();
        caught as f64 / f64::from(repetitions)
    }

    /// Points in blocks of about the cube root of the history's length, from anywhere in it, wrapping at its end.
    fn drawn(&self, points: usize, random: &mut JavaRandom) -> Vec<f64> {
        let length = self.history.len();
        let block = ((length as f64).cbrt().ceil() as usize).max(1);
        let mut drawn = Vec::with_capacity(points + block);
        while drawn.len() < points {
            let start = (random.next_double() * length as f64) as usize;
            drawn.extend(self.history.iter().cycle().skip(start).take(block));
        }
        drawn.truncate(points);
        drawn
    }
}

impl MetricPower {
    /// One or two sentences for a person.
    pub fn message(&self, plan: &PowerPlan) -> String {
        let name = &self.name;
        let (n, change) = if self.decrease {
            ("", "decrease")
        } else {
            ("n", "increase")
        };
        if self.false_alarms.is_none() {
            return format!(
                "`{name}` has {} of the {LEAST_HISTORY} points of history that it takes to tell how it varies",
                self.history
            );
        }
        let planned = format!(
            "{} points on each side ({})",
            plan.points,
            duration(plan.points, plan)
        );
        let asked = percent(plan.effect);
        let sees = match self.detectable {
            Some(effect) => format!(
                "with {planned} this canary cannot detect a{n} {change} of `{name}` below {}",
                percent(effect),
            ),
            None => format!("with {planned} this canary cannot detect any {change} of `{name}`"),
        };
        match self.needed_points {
            Some(points) if points <= plan.points => {
                format!("{sees}; {asked} would take {}", duration(points, plan))
            }
            Some(points) => format!(
                "{sees}; for {asked} it has to run {} ({points} points)",
                duration(points, plan)
            ),
            None => format!(
                "{sees}; {asked} would take more than {}",
                duration(plan.most_points, plan)
            ),
        }
    }
}

fn percent(effect: f64) -> String {
    let percent = effect * 100.0;
    if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn duration(points: usize, plan: &PowerPlan) -> String {
    let minutes = points as f64 * plan.step_seconds / 60.0;
    if minutes >= 180.0 {
        format!("{:.1} hours", minutes / 60.0)
    } else if minutes >= 1.0 {
        let minutes = minutes.ceil();
        format!("{minutes} minute{}", if minutes == 1.0 { "" } else { "s" })
    } else {
        format!("{} seconds", (minutes * 60.0).ceil())
    }
}

/// What `canary power` does: a configuration and a history in, JSON out.
///
/// The history is `{"metrics":[{"name","values":[…]}], "stepSeconds":60, "minutes":60, "effect":0.1, "power":0.8,
/// "seed":0, "mostMinutes":2880}`, all but `metrics` optional; a file of `pairs`, as `canary judge` reads it, serves
/// too: its `control` series are the history. A null or `"NaN"` value is a missing point.
///
/// # Errors
/// [`JudgeError`] for a refused configuration, a history that is not of this form, and as [`power`].
pub fn power_values(config: &Value, history: &Value) -> Result<Value, JudgeError> {
    let config = CanaryConfig::parse(config).map_err(JudgeError::Configuration)?;
    let plan = plan_of(history)?;
    let histories = histories_of(history)?;
    let metrics: Vec<Value> = power(&config, &histories, &plan)?
        .iter()
        .map(|metric| {
            json!({
                "name": metric.name,
                "change": if metric.decrease { "decrease" } else { "increase" },
                "historyPoints": metric.history,
                "falseAlarmRate": metric.false_alarms,
                "detectableEffect": metric.detectable,
                "neededPoints": metric.needed_points,
                "neededMinutes": metric.needed_points.map(|points| points as f64 * plan.step_seconds / 60.0),
                "message": metric.message(&plan),
            })
        })
        .collect();
    Ok(json!({
        "points": plan.points,
        "stepSeconds": plan.step_seconds,
        "effect": plan.effect,
        "power": plan.power,
        "metrics": metrics,
    }))
}

fn refuse(path: &str, reason: impl Into<String>) -> JudgeError {
    JudgeError::Pairs {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

fn plan_of(history: &Value) -> Result<PowerPlan, JudgeError> {
    let number = |key: &str, default: f64, greatest: f64| match history.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|number| *number > 0.0 && *number <= greatest)
            .ok_or_else(|| {
                let reason = format!("must be above 0 and at most {greatest}, is `{value}`");
                refuse(&format!("$.{key}"), reason)
            }),
    };
    let default = PowerPlan::default();
    let step_seconds = number("stepSeconds", default.step_seconds, 86_400.0)?;
    // A hundred thousand points are 69 days of minutes; more would take hours to simulate.
    let points = |minutes: f64| ((minutes * 60.0 / step_seconds) as usize).clamp(2, 100_000);
    let power = number("power", default.power, 1.0)?;
    Ok(PowerPlan {
        points: points(number("minutes", 60.0, 1e6)?),
        step_seconds,
        power,
        effect: number("effect", default.effect, 1e3)?,
        most_points: points(number("mostMinutes", 2_880.0, 1e6)?),
        seed: history.get("seed").and_then(Value::as_i64).unwrap_or(0),
        ..default
    })
}

fn histories_of(history: &Value) -> Result<Vec<(String, Vec<f64>)>, JudgeError> {
    let (key, list) = match (history.get("metrics"), history.get("pairs")) {
        (Some(metrics), _) => ("metrics", metrics),
        (None, Some(pairs)) => ("pairs", pairs),
        (None, None) => return Err(refuse("$", "needs `metrics` with their values")),
    };
    let list = list
        .as_array()
        .ok_or_else(|| refuse(&format!("$.{key}"), "must be a list"))?;
    list.iter()
        .enumerate()
        .map(|(index, entry)| {
            let path = format!("$.{key}[{index}]");
            let name = entry
                .get("name")
                .and_then(Value::as_str)
                .ok_or_else(|| refuse(&format!("{path}.name"), "must be a string"))?;
            let values = entry.get("values");
            let values = values
                .and_then(|values| values.get("control"))
                .or(values)
                .and_then(Value::as_array)
                .ok_or_else(|| refuse(&format!("{path}.values"), "must be a list of numbers"))?;
            let values = values
                .iter()
                .map(|value| match coerced_double(value) {
                    Ok(number) => Ok(number.unwrap_or(f64::NAN)),
                    Err(reason) => Err(refuse(&format!("{path}.values"), reason)),
                })
                .collect::<Result<Vec<f64>, _>>()?;
            Ok((name.to_owned(), values))
        })
        .collect()
}
