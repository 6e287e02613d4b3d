#![doc = include_str!("../README.md")]

pub mod query;
pub mod schedule;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::metrics::{CloudWatch, Metrics};
use gennaker_cloud::{Connection, Key};
use gennaker_domain::error_name::Poll;
use gennaker_judge::{CanaryConfig, MetricPair, Mode, Thresholds};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value, json};

use crate::query::Bindings;
use crate::schedule::{Schedule, Window};

/// The `kayentaCanary` stage.
pub struct KayentaCanary {
    metrics: Arc<dyn Metrics>,
}

impl std::fmt::Debug for KayentaCanary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KayentaCanary")
    }
}

impl KayentaCanary {
    /// On CloudWatch.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(CloudWatch::new(connection)))
    }

    /// On any source of metrics.
    #[must_use]
    pub fn new(metrics: Arc<dyn Metrics>) -> Self {
        Self { metrics }
    }
}

/// What the stage does after so many judgements.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Judges this interval now.
    Judge {
        /// Its number, from 1.
        number: u32,
    },
    /// The next interval is not over.
    Wait {
        /// Its number.
        number: u32,
        /// Milliseconds left.
        millis: i64,
    },
    /// Ends the stage.
    End(Verdict),
}

/// How a canary ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The last score reaches `pass`.
    Pass {
        /// The last score.
        score: f64,
    },
    /// A score is not above `marginal`: the canary is not watched further.
    NotAboveMarginal {
        /// The score.
        score: f64,
        /// The interval.
        number: u32,
    },
    /// The last score is above `marginal`, and below `pass`.
    BelowPass {
        /// The last score.
        score: f64,
    },
}

/// What to do next, with these scores so far.
///
/// A score *not above* `marginal` ends the canary at once, though the judge calls a score equal to it Marginal: the
/// original's rule.
#[must_use]
pub fn decide(schedule: &Schedule, thresholds: Thresholds, scores: &[f64], now: i64) -> Decision {
    if let Some((index, score)) = scores
        .iter()
        .enumerate()
        .find(|(_, score)| **score <= thresholds.marginal)
    {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        return Decision::End(Verdict::NotAboveMarginal {
            score: *score,
            number,
        });
    }
    let done = u32::try_from(scores.len()).unwrap_or(u32::MAX);
    match scores.last() {
        Some(score) if done >= schedule.intervals => Decision::End(if *score < thresholds.pass {
            Verdict::BelowPass { score: *score }
        } else {
            Verdict::Pass { score: *score }
        }),
        _ => {
            let number = done.saturating_add(1);
            let due = schedule.due(number);
            if now >= due {
                Decision::Judge { number }
            } else {
                Decision::Wait {
                    number,
                    millis: due.saturating_sub(now),
                }
            }
        }
    }
}

fn thresholds(config: &Map<String, Value>) -> Result<Thresholds, StageError> {
    let number = |name: &str, default: f64| match config
        .get("scoreThresholds")
        .and_then(|of| of.get(name))
    {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
            .ok_or_else(|| {
                StageError::invalid(
                    format!("canaryConfig.scoreThresholds.{name}"),
                    format!("`{value}` is not a number"),
                )
            }),
    };
    Ok(Thresholds {
        pass: number("pass", 75.0)?,
        marginal: number("marginal", 50.0)?,
    })
}

/// The two sides of a scope, baseline first.
fn sides(
    config: &Map<String, Value>,
    metric: &Value,
) -> Result<(Bindings, Bindings, u32), StageError> {
    let wanted = metric
        .get("scopeName")
        .and_then(Value::as_str)
        .unwrap_or("default");
    let scopes = config
        .get("scopes")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let scope = scopes
        .iter()
        .find(|scope| {
            scope
                .get("scopeName")
                .and_then(Value::as_str)
                .unwrap_or("default")
                == wanted
        })
        .ok_or_else(|| {
            StageError::invalid(
                "canaryConfig.scopes",
                format!("there is no scope `{wanted}`"),
            )
        })?;
    let text = |name: &str| {
        scope
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| {
                StageError::invalid(
                    format!("canaryConfig.scopes[{wanted}].{name}"),
                    "is missing".to_owned(),
                )
            })
    };
    let extended: Vec<(String, String)> = scope
        .get("extendedScopeParams")
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned),
                    )
                })
                .collect()
        })
        .unwrap_or_default();
    let step = scope
        .get("step")
        .and_then(Value::as_u64)
        .and_then(|step| u32::try_from(step).ok())
        .unwrap_or(60)
        .max(1);
    let side = |scope: &str, location: &str| {
        Ok::<_, StageError>(Bindings {
            scope: text(scope)?,
            location: text(location)?,
            extended: extended.clone(),
        })
    };
    Ok((
        side("controlScope", "controlLocation")?,
        side("experimentScope", "experimentLocation")?,
        step,
    ))
}

impl KayentaCanary {
    async fn pairs(
        &self,
        stage: &Map<String, Value>,
        configuration: &Value,
        window: &Window,
    ) -> Result<Vec<MetricPair>, StageError> {
        let metrics = configuration
            .get("metrics")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut pairs = Vec::with_capacity(metrics.len());
        for metric in metrics {
            let name = metric
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let query = metric.get("query").unwrap_or(&Value::Null);
            let (baseline, canary, step) = sides(stage, metric)?;
            let shifted = Window {
                start: window.start.saturating_sub(window.baseline_shift),
                end: window.end.saturating_sub(window.baseline_shift),
                ..*window
            };
            let baseline = query::cloudwatch(name, query, &baseline, &shifted, step)?;
            let canary = query::cloudwatch(name, query, &canary, window, step)?;
            let values = |series: Vec<Option<f64>>| {
                series
                    .into_iter()
                    .map(|value| value.unwrap_or(f64::NAN))
                    .collect()
            };
            pairs.push(MetricPair {
                name: name.to_owned(),
                id: Some(name.to_owned()),
                tags: None,
                baseline: values(self.metrics.series(&baseline).await?),
                canary: values(self.metrics.series(&canary).await?),
            });
        }
        Ok(pairs)
    }
}

async fn configuration(
    invocation: &Invocation<'_>,
    config: &Map<String, Value>,
) -> Result<Value, StageError> {
    if let Some(inline) = config
        .get("configuration")
        .filter(|value| value.is_object())
    {
        return Ok(inline.clone());
    }
    let Some(id) = config.get("canaryConfigId").and_then(Value::as_str) else {
        return Err(StageError::invalid(
            "canaryConfig.canaryConfigId",
            "is missing",
        ));
    };
    let item = invocation
        .store()
        .table()
        .get(&Key::new(format!("CANARY#{id}"), "CONFIG"))
        .await?;
    item.as_ref()
        .and_then(|item| item.get("config"))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| {
            StageError::invalid(
                "canaryConfig.canaryConfigId",
                format!("canary configuration `{id}` not found"),
            )
        })
}

#[async_trait]
impl Stage for KayentaCanary {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let Some(config) = invocation
            .context
            .get("canaryConfig")
            .and_then(Value::as_object)
        else {
            return Err(StageError::invalid("canaryConfig", "is missing"));
        };
        if invocation
            .context
            .get("deployments")
            .is_some_and(|deployments| !deployments.is_null())
        {
            return Err(StageError::invalid(
                "deployments",
                "deploying baseline and canary is not built yet; name the scopes of groups that run",
            ));
        }
        let schedule = Schedule::of(config, invocation.started)?;
        let thresholds = thresholds(config)?;
        let configuration = configuration(invocation, config).await?;
        let canary_config = CanaryConfig::parse(&configuration).map_err(|problems| {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            StageError::invalid("canaryConfig", texts.join("; "))
        })?;
        let mut memory = invocation.memory.clone();
        let mut results = memory
            .get("results")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        loop {
            let scores: Vec<f64> = results
                .iter()
                .filter_map(|result| result.pointer("/score/score").and_then(Value::as_f64))
                .collect();
            match decide(&schedule, thresholds, &scores, invocation.now) {
                Decision::Judge { number } => {
                    let window = schedule.window(number);
                    let pairs = self.pairs(config, &configuration, &window).await?;
                    let judgement =
                        gennaker_judge::judge(&canary_config, &pairs, thresholds, Mode::Default)
                            .map_err(|error| {
                                StageError::invalid("canaryConfig", error.to_string())
                            })?;
                    results.push(judgement.to_json());
                    memory.insert("results".to_owned(), Value::Array(results.clone()));
                }
                Decision::Wait { number, millis } => {
                    let last = scores
                        .last()
                        .map(|score| format!("; last score {score}"))
                        .unwrap_or_default();
                    return Ok(Step::Waiting {
                        reason: format!(
                            "interval {number} of {} ends in {} s{last}",
                            schedule.intervals,
                            (millis + 999) / 1_000
                        ),
                        memory,
                        poll: Some(Poll::within(millis).min(Poll::OneMinute)),
                    });
                }
                Decision::End(verdict) => return Ok(end(verdict, &scores, &results)),
            }
        }
    }
}

fn end(verdict: Verdict, scores: &[f64], results: &[Value]) -> Step {
    let context =
        json!({ "canaryScores": scores, "canaryScore": scores.last(), "canaryResults": results });
    let context = context.as_object().cloned().unwrap_or_default();
    let outputs = Map::from_iter([("canaryScores".to_owned(), json!(scores))]);
    let failed = |message: &str| {
        let last = results.last();
        let why = last
            .and_then(|result| result.pointer("/score/classificationReason"))
            .and_then(Value::as_str)
            .unwrap_or("");
        let bad: Vec<&str> = last
            .and_then(|result| result.get("results"))
            .and_then(Value::as_array)
            .map(|metrics| {
                metrics
                    .iter()
                    .filter_map(|metric| metric.get("classificationReason").and_then(Value::as_str))
                    .filter(|reason| !reason.is_empty())
                    .collect()
            })
            .unwrap_or_default();
        let parts: Vec<&str> = std::iter::once(message)
            .chain(std::iter::once(why))
            .chain(bad)
            .filter(|part| !part.is_empty())
            .collect();
        Step::Failed {
            reason: parts.join(" "),
            details: Value::Object(context.clone()),
        }
    };
    match verdict {
        Verdict::Pass { .. } => Step::Succeeded { outputs, context },
        Verdict::NotAboveMarginal { score, number } => failed(&format!(
            "Canary score {score} of interval {number} is not above the marginal score threshold."
        )),
        Verdict::BelowPass { score } => failed(&format!(
            "Final canary score {score} is below the pass score threshold."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_score_decides_and_one_that_is_not_above_marginal_ends_it() {
        let config = json!({ "lifetimeDuration": "PT1H", "canaryAnalysisIntervalMins": 30 });
        let schedule = Schedule::of(config.as_object().unwrap(), 0).unwrap();
        let thresholds = Thresholds {
            pass: 75.0,
            marginal: 50.0,
        };
        let decide =
            |scores: &[f64], minutes: i64| decide(&schedule, thresholds, scores, minutes * 60_000);
        assert_eq!(
            decide(&[], 29),
            Decision::Wait {
                number: 1,
                millis: 60_000
            }
        );
        assert_eq!(decide(&[], 30), Decision::Judge { number: 1 });
        assert_eq!(decide(&[60.0], 60), Decision::Judge { number: 2 });
        assert_eq!(
            decide(&[60.0, 75.0], 60),
            Decision::End(Verdict::Pass { score: 75.0 })
        );
        assert_eq!(
            decide(&[100.0, 74.9], 60),
            Decision::End(Verdict::BelowPass { score: 74.9 })
        );
        assert_eq!(
            decide(&[50.0], 31),
            Decision::End(Verdict::NotAboveMarginal {
                score: 50.0,
                number: 1
            })
        );
    }
}
