//! What a canary keeps: each interval's result in its record, and the data of the last one beside it, for the report.

use gennaker_judge::{Judgement, MetricPair, Verdict, double};
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

/// What the report of a stage is made of: judging it again gives the same numbers.
#[must_use]
pub fn report_data(
    configuration: &Value,
    stage: &Map<String, Value>,
    thresholds: gennaker_judge::Thresholds,
    step_seconds: Option<u32>,
    intervals: &Intervals,
    pairs: &[MetricPair],
) -> Value {
    let pairs: Vec<Value> = pairs
        .iter()
        .map(|pair| {
            let values = |side: &[f64]| side.iter().copied().map(double).collect::<Vec<Value>>();
            json!({
                "name": pair.name,
                "id": pair.id,
                "tags": pair.tags,
                "values": { "control": values(&pair.baseline), "experiment": values(&pair.canary) },
            })
        })
        .collect();
    json!({
        "config": configuration,
        "canaryConfigId": stage.get("canaryConfigId"),
        "thresholds": { "pass": thresholds.pass, "marginal": thresholds.marginal },
        "stepSeconds": step_seconds,
        "intervals": intervals.to_json(),
        "pairs": pairs,
    })
}
