//! What a judge says, and its JSON: Kayenta's own `judgeResult`.

use crate::mann_whitney::Interval;
use crate::statistics::Summary;
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value, json};

/// The judge this is.
pub const JUDGE_NAME: &str = "NetflixACAJudge-v1.0";

/// What became of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classification {
    /// No relevant difference.
    Pass,
    /// The canary is above its baseline.
    High,
    /// The canary is below its baseline.
    Low,
    /// A side has no data.
    Nodata,
    /// A side has no data and the metric must have some.
    NodataFailMetric,
    /// The two sides could not be compared.
    Error,
}

impl Classification {
    /// The word in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::High => "High",
            Self::Low => "Low",
            Self::Nodata => "Nodata",
            Self::NodataFailMetric => "NodataFailMetric",
            Self::Error => "Error",
        }
    }
}

/// What became of the whole canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The score reaches the pass threshold.
    Pass,
    /// The score reaches the marginal threshold only.
    Marginal,
    /// The score reaches neither.
    Fail,
}

impl Verdict {
    /// The word in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Marginal => "Marginal",
            Self::Fail => "Fail",
        }
    }
}

/// The result of one metric pair.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricResult {
    /// The metric's name.
    pub name: String,
    /// The pair's id, if it has one.
    pub id: Option<String>,
    /// The pair's tags as given, if it has any.
    pub tags: Option<Value>,
    /// What became of it.
    pub classification: Classification,
    /// Why; a plain Pass has no reason.
    pub reason: Option<String>,
    /// The groups it is scored in.
    pub groups: Option<Vec<String>>,
    /// The canary's statistics after missing values and outliers were handled.
    pub canary: Summary,
    /// The baseline's.
    pub baseline: Summary,
    /// Canary mean over baseline mean; 1.0 when they were not compared, none on an error.
    pub ratio: Option<f64>,
    /// The interval of the shift canary − baseline, when they were compared.
    pub interval: Option<Interval>,
    /// The effect in the configured measure, when they were compared.
    pub effect: Option<f64>,
    /// Whether this result fails the whole canary. Not the configuration's flag: a critical metric that passes is not.
    pub critical: bool,
    /// Whether it is left out of the score.
    pub muted: bool,
}

/// The score of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupScore {
    /// The group.
    pub name: String,
    /// 0 to 100; 0 when nothing could be scored.
    pub score: f64,
    /// Nothing could be scored: it counts as 100.
    pub no_data: bool,
}

/// The score of the canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Two decimals. Usually 0 to 100, beyond when the weights do not total 100.
    pub score: f64,
    /// The verdict by the thresholds.
    pub verdict: Verdict,
    /// Why the score is 0 whatever the groups say; empty otherwise.
    pub reason: String,
}

/// A judgement of all pairs of a canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// One result a pair, in order.
    pub results: Vec<MetricResult>,
    /// One score a group.
    pub group_scores: Vec<GroupScore>,
    /// The score of the whole.
    pub score: Score,
}

/// Points as Kayenta writes them: a missing one is `"NaN"`.
#[derive(Debug, Clone, Copy)]
pub struct Points<'a>(pub &'a [f64]);

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().copied().map(double))
    }
}

/// A double as Kayenta writes it: NaN and the infinities are strings.
pub fn double(value: f64) -> Value {
    Number::from_f64(value).map_or_else(
        || {
            Value::from(if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        },
        Value::Number,
    )
}

fn stats(summary: &Summary) -> Value {
    json!({
        "stats": {
            "count": summary.count,
            "mean": double(summary.mean),
            "min": double(summary.min),
            "std": double(summary.std),
            "max": double(summary.max),
        }
    })
}

impl MetricResult {
    /// Kayenta's form: absent fields are left out.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        put("name", Value::from(self.name.as_str()));
        if let Some(tags) = &self.tags {
            put("tags", tags.clone());
        }
        if let Some(id) = &self.id {
            put("id", Value::from(id.as_str()));
        }
        put("classification", Value::from(self.classification.as_str()));
        if let Some(reason) = &self.reason {
            put("classificationReason", Value::from(reason.as_str()));
        }
        if let Some(groups) = &self.groups {
            put("groups", Value::from(groups.clone()));
        }
        put("experimentMetadata", stats(&self.canary));
        put("controlMetadata", stats(&self.baseline));
        if let Some(ratio) = self.ratio {
            put("resultMetadata", json!({ "ratio": double(ratio) }));
        }
        put("critical", Value::from(self.critical));
        put("muted", Value::from(self.muted));
        Value::Object(fields)
    }
}

impl Judgement {
    /// Kayenta's `judgeResult`.
    pub fn to_json(&self) -> Value {
        let results: Vec<Value> = self.results.iter().map(MetricResult::to_json).collect();
        let groups: Vec<Value> = self
            .group_scores
            .iter()
            .map(|group| {
                json!({
                    "name": group.name,
                    "score": double(group.score),
                    "classification": "",
                    "classificationReason": "",
                })
            })
            .collect();
        json!({
            "judgeName": JUDGE_NAME,
            "results": results,
            "groupScores": groups,
            "score": {
                "score": double(self.score.score),
                "classification": self.score.verdict.as_str(),
                "classificationReason": self.score.reason,
            },
        })
    }
}
