//! Answers the script that compares the statistics with SciPy: JSON lines on standard input, JSON lines out.
#![allow(clippy::unwrap_used, missing_docs)]

use gennaker_judge::mann_whitney::{MannWhitney, Resolution, common_language_effect};
use gennaker_judge::{ranks, statistics};
use serde_json::{Value, json};
use std::io::BufRead;

fn main() {
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let series = |key: &str| -> Vec<f64> {
            let values = case.get(key).and_then(Value::as_array).unwrap();
            values.iter().map(|value| value.as_f64().unwrap()).collect()
        };
        let level = case.get("level").and_then(Value::as_f64).unwrap();
        let baseline = series("baseline");
        let canary = ranks::sorted(&series("canary"));
        let sorted = ranks::sorted(&baseline);
        let mut test = MannWhitney::new(&canary, &sorted).unwrap();
        let interval = test.interval(level, Resolution::Absolute).unwrap();
        let summary = statistics::summary(&baseline);
        let fences = statistics::outlier_fences(&baseline, 3.0, true);
        let percentiles: Vec<f64> = [1.0, 25.0, 50.0, 75.0, 99.0]
            .iter()
            .map(|p| statistics::percentile(&baseline, *p))
            .collect();
        println!(
            "{}",
            json!({
                "lower": interval.lower,
                "upper": interval.upper,
                "estimate": interval.estimate,
                "standardised": test.standardised(0.0).unwrap(),
                "commonLanguageEffect": common_language_effect(&canary, &sorted, false),
                "mean": summary.mean,
                "std": summary.std,
                "percentiles": percentiles,
                "fences": [fences.lower, fences.upper],
                "quantile": statistics::normal_quantile((1.0 - level) / 2.0),
            })
        );
    }
}
