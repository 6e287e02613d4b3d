//! What a canary keeps: each interval's result in its record, and the data of the last one beside it, for the report.

use gennaker_judge::{Judgement, MetricPair, Points, Verdict, double};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::schedule::Window;

/// Key of the stage's memory, and of its context at the end.
pub const INTERVALS: &str = "canaryIntervals";
/// Names of metrics in one interval's result: the report has them all.
const MOST_NAMED: usize = 5;
/// Points a side below which the original warns.
const FEW_POINTS: usize = 50;

/// The results of the intervals so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intervals(Vec<Value>);

impl Intervals {
    /// As an earlier call left them.
    #[must_use]
    pub fn of(memory: &Map<String, Value>) -> Self {
        let kept = memory.get(INTERVALS).and_then(Value::as_array);
        Self(kept.cloned().unwrap_or_default())
    }

    /// Their scores, in order.
    #[must_use]
    pub fn scores(&self) -> Vec<f64> {
        self.0
            .iter()
            .filter_map(|result| result.get("score").and_then(Value::as_f64))
            .collect()
    }

    /// Adds the result of interval `number`: some hundred bytes, so that a record holds thousands.
    pub fn push(&mut self, number: u32, window: &Window, judgement: &Judgement) {
        let mut result = Map::from_iter([
            ("interval".to_owned(), json!(number)),
            ("start".to_owned(), json!(window.start)),
            ("end".to_owned(), json!(window.end)),
            ("score".to_owned(), double(judgement.score.score)),
            (
                "classification".to_owned(),
                json!(judgement.score.verdict.as_str()),
            ),
        ]);
        if judgement.score.verdict != Verdict::Pass {
            let bad = judgement
                .results
                .iter()
                .filter(|result| !result.muted && result.classification.as_str() != "Pass")
                .filter_map(|result| {
                    let reason = result.reason.as_deref()?;
                    let named = reason.contains(&result.name);
                    Some(if named {
                        reason.to_owned()
                    } else {
                        format!("{}: {reason}", result.name)
                    })
                })
                .take(MOST_NAMED);
            let reasons: Vec<String> = std::iter::once(judgement.score.reason.clone())
                .filter(|reason| !reason.is_empty())
                .chain(bad)
                .collect();
            result.insert("reason".to_owned(), json!(reasons.join("; ")));
        }
        self.0.push(Value::Object(result));
    }

    /// Why the last interval's score is what it is; empty if it is a pass.
    #[must_use]
    pub fn last_reason(&self) -> &str {
        let last = self.0.last().and_then(|last| last.get("reason"));
        last.and_then(Value::as_str).unwrap_or_default()
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Array(self.0.clone())
    }
}

/// The original's warnings about a judgement; it has none about Datadog, whose points are counted otherwise.
#[must_use]
pub fn warnings(judgement: &Judgement, from_datadog: bool) -> Vec<&'static str> {
    let few = judgement
        .results
        .iter()
        .any(|result| result.baseline.count < FEW_POINTS);
    if few && !from_datadog {
        vec![
            "One of the metrics returned fewer than 50 data points, which can reduce confidence in the final canary score.",
        ]
    } else {
        Vec::new()
    }
}

/// What the report of a stage is made of: judging it again gives the same numbers. It is written as it stands, point by
/// point.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportData<'a> {
    config: &'a Value,
    canary_config_id: Option<&'a Value>,
    thresholds: Value,
    step_seconds: Option<u32>,
    intervals: &'a [Value],
    pairs: Vec<PairData<'a>>,
}

#[derive(Serialize)]
struct PairData<'a> {
    name: &'a str,
    id: Option<&'a str>,
    tags: Option<&'a Value>,
    values: Sides<'a>,
}

#[derive(Serialize)]
struct Sides<'a> {
    control: Points<'a>,
    experiment: Points<'a>,
}

/// See [`gennaker_judge::kept_report`], which reads it.
#[must_use]
pub fn report_data<'a>(
    configuration: &'a Value,
    stage: &'a Map<String, Value>,
    thresholds: gennaker_judge::Thresholds,
    step_seconds: Option<u32>,
    intervals: &'a Intervals,
    pairs: &'a [MetricPair],
) -> impl Serialize + 'a {
    ReportData {
        config: configuration,
        canary_config_id: stage.get("canaryConfigId"),
        thresholds: json!({ "pass": thresholds.pass, "marginal": thresholds.marginal }),
        step_seconds,
        intervals: &intervals.0,
        pairs: pairs
            .iter()
            .map(|pair| PairData {
                name: &pair.name,
                id: pair.id.as_deref(),
                tags: pair.tags.as_ref(),
                values: Sides {
                    control: Points(&pair.baseline),
                    experiment: Points(&pair.canary),
                },
            })
            .collect(),
    }
}
