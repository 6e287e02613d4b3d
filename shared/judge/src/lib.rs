#![doc = include_str!("../README.md")]

mod case;
mod config;
mod error;
mod hash_order;
mod judge;
mod judgement;
mod lenient;
mod lint;
mod pairs;
mod power;
mod report;
mod score;
mod sequential;

pub mod brent;
pub mod mann_whitney;
pub mod noise;
pub mod ranks;
pub mod statistics;

pub use case::{evaluate_case, judge_values, judge_with_report, kept_report, problems_json};
pub use config::{
    Analysis, CanaryConfig, Direction, EffectMeasure, MetricConfig, NanStrategy, Thresholds,
};
pub use error::{JudgeError, Problem, Severity};
pub use judge::{CONFIDENCE, Mode, TOLERANCE, judge};
pub use judgement::{
    Classification, GroupScore, JUDGE_NAME, Judgement, MetricResult, Points, Score, Verdict, double,
};
pub use lint::{lint, lint_config};
pub use pairs::{MAX_POINTS, MAX_POINTS_IN_ALL, MetricPair, MetricPairs};
pub use power::{MetricPower, PowerPlan, power, power_values};
pub use report::{Look, Report};
pub use score::round_to_hundredths;
pub use sequential::Sequential;
