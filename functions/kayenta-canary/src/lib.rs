#![doc = include_str!("../README.md")]

pub mod schedule;
pub mod stores;

use std::collections::BTreeMap;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::error_name::Poll;
use gennaker_judge::{CanaryConfig, MetricPair, Mode, Thresholds};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use serde_json::{Map, Value, json};

use gennaker_metrics::{Scope, mix};

use crate::schedule::{Schedule, Window};
use crate::stores::{FetchError, MetricsAccount, Stores};

/// The `kayentaCanary` stage.
#[derive(Debug)]
pub struct KayentaCanary {
    stores: Stores,
}

impl KayentaCanary {
    /// On CloudWatch and, through the installation's way out, every other store.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Stores::connect(connection, gennaker_lambda::internet()))
    }

    /// On these stores.
    #[must_use]
    pub fn new(stores: Stores) -> Self {
        Self { stores }
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

/// The two sides of a metric's scope over a window, baseline first.
fn sides(
    config: &Map<String, Value>,
    metric: &Value,
    window: &Window,
) -> Result<(Scope, Scope), StageError> {
    let wanted = metric
        .get("scopeName")
        .and_then(Value::as_str)
        .unwrap_or("default");
    let scopes = config
        .get("scopes")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let name_of = |scope: &Value| {
        let name = scope.get("scopeName").and_then(Value::as_str);
        name.unwrap_or("default").to_owned()
    };
    let scope = scopes
        .iter()
        .find(|scope| name_of(scope) == wanted)
        .ok_or_else(|| {
            let names: Vec<String> = scopes.iter().map(name_of).collect();
            let there = match names.as_slice() {
                [] => "there is none".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            StageError::invalid(
                "canaryConfig.scopes",
                format!("there is no scope `{wanted}`; {there}"),
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
                    "is missing",
                )
            })
    };
    let extended: BTreeMap<String, String> = scope
        .get("extendedScopeParams")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect();
    let step = scope
        .get("step")
        .and_then(|step| step.as_u64().or_else(|| step.as_str()?.trim().parse().ok()))
        .and_then(|step| u32::try_from(step).ok())
        .unwrap_or(60)
        .max(1);
    let side = |name: &str, location: &str, shift: i64| {
        Ok::<_, StageError>(Scope {
            scope: text(name)?,
            location: text(location)?,
            start: window.start.saturating_sub(shift),
            end: window.end.saturating_sub(shift),
            step,
            extended: extended.clone(),
        })
    };
    Ok((
        side("controlScope", "controlLocation", window.baseline_shift)?,
        side("experimentScope", "experimentLocation", 0)?,
    ))
}

/// A metric's problem as the stage's, with the metric's name.
fn unread(metric: &str, error: FetchError) -> StageError {
    match error {
        FetchError::Configuration { field, message } => {
            StageError::invalid(format!("metrics[{metric}].query.{field}"), message)
        }
        FetchError::Cloud(error) => StageError::Cloud(error),
    }
}

impl KayentaCanary {
    async fn pairs(
        &self,
        stage: &Map<String, Value>,
        configuration: &Value,
        account: Option<&MetricsAccount>,
        window: &Window,
        now: i64,
    ) -> Result<Vec<MetricPair>, StageError> {
        let metrics = configuration
            .get("metrics")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let templates = configuration.get("templates").unwrap_or(&Value::Null);
        let mut pairs = Vec::with_capacity(metrics.len());
        for metric in metrics {
            let name = metric
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let query = metric.get("query").unwrap_or(&Value::Null);
            let (baseline, canary) = sides(stage, metric, window)?;
            let baseline = self
                .stores
                .series(templates, query, &baseline, account, now);
            let canary = self.stores.series(templates, query, &canary, account, now);
            let (baseline, canary) = (
                baseline.await.map_err(|error| unread(name, error))?,
                canary.await.map_err(|error| unread(name, error))?,
            );
            let mixed = mix(&baseline, &canary).map_err(|error| unread(name, error.into()))?;
            for pair in mixed {
                let id = std::iter::once(name.to_owned())
                    .chain(
                        pair.tags
                            .iter()
                            .map(|(tag, value)| format!("{tag}={value}")),
                    )
                    .collect::<Vec<_>>()
                    .join(",");
                pairs.push(MetricPair {
                    name: name.to_owned(),
                    id: Some(id),
                    tags: (!pair.tags.is_empty()).then(|| pair.tags.clone().into_iter().collect()),
                    baseline: pair.control,
                    canary: pair.experiment,
                });
            }
        }
        Ok(pairs)
    }
}

/// The metrics account that the stage names; CloudWatch needs none.
async fn metrics_account(
    invocation: &Invocation<'_>,
    config: &Map<String, Value>,
) -> Result<Option<MetricsAccount>, StageError> {
    let Some(name) = config
        .get("metricsAccountName")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    let Some(account) = invocation.store().metrics_account(name).await? else {
        // Spinnaker's account of the metrics: CloudWatch is read in the account of the installation.
        return Ok(None);
    };
    MetricsAccount::parse(name, &account)
        .map(Some)
        .map_err(|error| match error {
            FetchError::Configuration { field, message } => {
                StageError::invalid(format!("metricsAccount[{name}].{field}"), message)
            }
            FetchError::Cloud(error) => StageError::Cloud(error),
        })
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
    // Kayenta takes a name as well; here a configuration's name is its id unless it has one.
    let Some(id) = ["canaryConfigId", "canaryConfigName"]
        .iter()
        .find_map(|field| config.get(*field).and_then(Value::as_str))
        .filter(|id| !id.is_empty())
    else {
        return Err(StageError::invalid(
            "canaryConfig.canaryConfigId",
            "is missing",
        ));
    };
    invocation.store().canary(id).await?.ok_or_else(|| {
        StageError::invalid(
            "canaryConfig.canaryConfigId",
            format!(
                "canary configuration `{id}` not found; gennaker canary list shows those there are"
            ),
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
                    let account = metrics_account(invocation, config).await?;
                    let pairs = self
                        .pairs(
                            config,
                            &configuration,
                            account.as_ref(),
                            &window,
                            invocation.now,
                        )
                        .await?;
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
