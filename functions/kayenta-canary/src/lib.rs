#![doc = include_str!("../README.md")]

pub mod decision;
pub mod record;
pub mod schedule;
pub mod scopes;
pub mod stores;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use gennaker_cloud::{CloudError, Connection};
use gennaker_domain::error_name::Poll;
use gennaker_domain::{Status, canary};
use gennaker_judge::{CanaryConfig, Judgement, MetricPair, Mode, Thresholds};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_metrics::{MAX_POINTS, Source, mix};
use serde_json::{Map, Value, json};

use crate::decision::{Decision, Verdict, decide};
use crate::record::Intervals;
use crate::schedule::{Schedule, Window};
use crate::scopes::DeployedPair;
use crate::stores::{FetchError, MetricsAccount, Stores};

/// Metrics that are asked for at the same time.
const AT_ONCE: usize = 8;
/// Time in which all metrics of an interval have to be read: what is left of the function's two minutes judges them.
const READING: Duration = Duration::from_secs(80);
/// A judgement in the stage's context beyond this many bytes is left to the report.
const MAX_RESULT: usize = 64 * 1024;

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

/// A problem of a metric, or of the account of its store, as the stage's.
fn unread(error: FetchError) -> StageError {
    match error {
        FetchError::Configuration { field, message } => StageError::invalid(field, message),
        FetchError::Cloud(error) => StageError::Cloud(error),
    }
}

/// Everything that one canary is judged by.
struct Canary<'a> {
    /// `canaryConfig` of the stage.
    stage: &'a Map<String, Value>,
    /// The canary configuration as it is stored.
    configuration: Value,
    /// The same, read.
    config: CanaryConfig,
    thresholds: Thresholds,
    account: Option<MetricsAccount>,
    deployed: Option<DeployedPair>,
}

impl<'a> Canary<'a> {
    async fn of(
        invocation: &Invocation<'_>,
        stage: &'a Map<String, Value>,
    ) -> Result<Self, StageError> {
        let thresholds = thresholds(stage)?;
        let configuration = configuration(invocation, stage).await?;
        let config = CanaryConfig::parse(&configuration).map_err(|problems| {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            StageError::invalid("canaryConfig", texts.join("; "))
        })?;
        Ok(Self {
            stage,
            config,
            thresholds,
            account: metrics_account(invocation, stage).await?,
            deployed: deployed_pair(invocation).await?,
            configuration,
        })
    }

    /// Reads the metrics of a window, a few at once.
    async fn pairs(
        &self,
        stores: &Stores,
        window: &Window,
        now: i64,
    ) -> Result<Vec<MetricPair>, StageError> {
        let metrics = self
            .configuration
            .get("metrics")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut asked = Vec::with_capacity(metrics.len());
        for metric in metrics {
            asked.push(self.pairs_of(stores, metric, window, now));
        }
        let mut pairs = Vec::new();
        let all = gathered(stream::iter(asked).buffered(AT_ONCE), &mut pairs);
        match tokio::time::timeout(READING, all).await {
            Ok(read) => read?,
            // Not a verdict: the stores are asked again at the next poll.
            Err(_) => {
                return Err(StageError::Cloud(CloudError::NoAnswer {
                    operation: "metrics:Read".to_owned(),
                    resource: format!("{} metrics", metrics.len()),
                    message: format!("they were not read within {} s", READING.as_secs()),
                }));
            }
        }
        Ok(pairs)
    }

    async fn pairs_of(
        &self,
        stores: &Stores,
        metric: &Value,
        window: &Window,
        now: i64,
    ) -> Result<Vec<MetricPair>, StageError> {
        let name = metric
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let query = metric.get("query").unwrap_or(&Value::Null);
        let templates = self.configuration.get("templates").unwrap_or(&Value::Null);
        let account = self.account.as_ref();
        let (baseline, canary) = scopes::sides(self.stage, metric, window, self.deployed.as_ref())?;
        let (baseline, canary) = tokio::join!(
            stores.series(templates, query, &baseline, account, now),
            stores.series(templates, query, &canary, account, now),
        );
        let told = |error: FetchError| unread(error.about(name));
        let (baseline, canary) = (baseline.map_err(told)?, canary.map_err(told)?);
        let mixed = mix(&baseline, &canary).map_err(|error| told(error.into()))?;
        Ok(mixed
            .into_iter()
            .map(|pair| {
                let id = std::iter::once(name.to_owned())
                    .chain(
                        pair.tags
                            .iter()
                            .map(|(tag, value)| format!("{tag}={value}")),
                    )
                    .collect::<Vec<_>>()
                    .join(",");
                MetricPair {
                    name: name.to_owned(),
                    id: Some(id),
                    tags: (!pair.tags.is_empty()).then(|| pair.tags.into_iter().collect()),
                    baseline: pair.control,
                    canary: pair.experiment,
                }
            })
            .collect())
    }

    fn judge(&self, pairs: &[MetricPair]) -> Result<Judgement, StageError> {
        gennaker_judge::judge(&self.config, pairs, self.thresholds, Mode::Default)
            .map_err(|error| StageError::invalid("canaryConfig", error.to_string()))
    }

    fn reads_datadog(&self) -> bool {
        self.account
            .as_ref()
            .is_some_and(|account| account.source == Source::Datadog)
    }

    /// Seconds between two points, where the first scope says.
    fn step_seconds(&self, window: &Window) -> Option<u32> {
        let metric = json!({});
        scopes::sides(self.stage, &metric, window, self.deployed.as_ref())
            .ok()
            .map(|(_, canary)| canary.step)
    }
}

/// Takes the metrics' pairs as they come, up to as many points as the function's memory has room to judge.
async fn gathered(
    mut read: impl Stream<Item = Result<Vec<MetricPair>, StageError>> + Unpin,
    pairs: &mut Vec<MetricPair>,
) -> Result<(), StageError> {
    let mut points = 0_usize;
    while let Some(found) = read.try_next().await? {
        for pair in &found {
            points = points.saturating_add(pair.baseline.len() + pair.canary.len());
            if points > MAX_POINTS {
                return Err(StageError::invalid(
                    format!("metrics[{}]", pair.name),
                    format!(
                        "the metrics have more than {MAX_POINTS} points up to this one; take a longer step or a shorter time"
                    ),
                ));
            }
        }
        pairs.extend(found);
    }
    Ok(())
}

/// The pair of groups that this stage deployed; none where it deploys nothing.
async fn deployed_pair(invocation: &Invocation<'_>) -> Result<Option<DeployedPair>, StageError> {
    let pairs = canary::deployed(
        invocation.plan,
        invocation.records,
        &invocation.stage.ref_id,
    );
    let Some(pairs) = pairs else {
        return Ok(None);
    };
    let first = pairs.into_iter().next().ok_or_else(|| {
        StageError::invalid(
            "deployments.serverGroupPairs",
            "no pair of baseline and canary was deployed",
        )
    })?;
    Ok(Some(DeployedPair::new(invocation.store(), first).await?))
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
            error => unread(error),
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
        let Some(stage) = invocation
            .context
            .get("canaryConfig")
            .and_then(Value::as_object)
        else {
            return Err(StageError::invalid("canaryConfig", "is missing"));
        };
        let schedule = Schedule::of(stage, invocation.started)?;
        let canary = Canary::of(invocation, stage).await?;
        let mut intervals = Intervals::of(invocation.memory);
        match decide(
            &schedule,
            canary.thresholds,
            &intervals.scores(),
            invocation.now,
        ) {
            Decision::Judge { number } => {
                let window = schedule.window(number);
                let pairs = canary.pairs(&self.stores, &window, invocation.now).await?;
                let judgement = canary.judge(&pairs)?;
                intervals.push(number, &window, &judgement);
                let data = record::report_data(
                    &canary.configuration,
                    stage,
                    canary.thresholds,
                    canary.step_seconds(&window),
                    &intervals,
                    &pairs,
                );
                invocation
                    .store()
                    .save_canary_report(&invocation.run.execution, &invocation.stage.ref_id, &data)
                    .await?;
                let next = decide(
                    &schedule,
                    canary.thresholds,
                    &intervals.scores(),
                    invocation.now,
                );
                Ok(match next {
                    Decision::End(verdict) => {
                        end(&verdict, &intervals, Some(&judgement), &canary, invocation)
                    }
                    // One interval a call: each is in the record before the next is judged.
                    Decision::Judge { .. } => {
                        waiting(&schedule, &intervals, number + 1, 0, invocation)
                    }
                    Decision::Wait { number, millis } => {
                        waiting(&schedule, &intervals, number, millis, invocation)
                    }
                })
            }
            Decision::Wait { number, millis } => {
                Ok(waiting(&schedule, &intervals, number, millis, invocation))
            }
            Decision::End(verdict) => Ok(end(&verdict, &intervals, None, &canary, invocation)),
        }
    }
}

fn waiting(
    schedule: &Schedule,
    intervals: &Intervals,
    number: u32,
    millis: i64,
    invocation: &Invocation<'_>,
) -> Step {
    let mut memory = invocation.memory.clone();
    memory.insert(record::INTERVALS.to_owned(), intervals.to_json());
    let last = intervals
        .scores()
        .last()
        .map(|score| format!("; last score {score}"))
        .unwrap_or_default();
    Step::Waiting {
        reason: format!(
            "interval {number} of {} ends in {} s{last}",
            schedule.intervals,
            (millis + 999) / 1_000
        ),
        memory,
        poll: Some(Poll::within(millis)),
    }
}

fn end(
    verdict: &Verdict,
    intervals: &Intervals,
    judgement: Option<&Judgement>,
    canary: &Canary<'_>,
    invocation: &Invocation<'_>,
) -> Step {
    let scores = intervals.scores();
    let message = verdict.message();
    let mut context = Map::from_iter([
        ("canaryScores".to_owned(), json!(scores)),
        ("canaryScore".to_owned(), json!(scores.last())),
        ("canaryScoreMessage".to_owned(), json!(message)),
        (record::INTERVALS.to_owned(), intervals.to_json()),
        ("lastUpdated".to_owned(), json!(invocation.now)),
    ]);
    if let Some(judgement) = judgement {
        let warnings = record::warnings(judgement, canary.reads_datadog());
        context.insert("warnings".to_owned(), json!(warnings));
        let result = judgement.to_json();
        if result.to_string().len() <= MAX_RESULT {
            context.insert("judgeResult".to_owned(), result);
        }
    }
    let mut outputs = Map::from_iter([("canaryScores".to_owned(), json!(scores))]);
    if let Some(pair) = &canary.deployed {
        outputs.insert("deployedServerGroups".to_owned(), json!([pair.to_json()]));
    }
    match verdict {
        Verdict::Pass { .. } => Step::Succeeded { outputs, context },
        Verdict::NotAboveMarginal { .. } | Verdict::BelowPass { .. } => {
            let reason = match intervals.last_reason() {
                "" => message,
                why => format!("{message} {why}"),
            };
            Step::Ended {
                status: Status::Terminal,
                reason,
                outputs,
                context,
            }
        }
    }
}
