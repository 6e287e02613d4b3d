//! Answers the cases of `scripts/compare_with_original.sh` in compatible mode: lines in, lines out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use gennaker_judge::{CanaryConfig, MetricPair, Mode, Thresholds, judge};
use serde_json::json;
use std::io::BufRead;

fn series(text: &str) -> Vec<f64> {
    let values = text.split(',').filter(|value| !value.is_empty());
    values.map(|value| value.parse().unwrap()).collect()
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let parts: Vec<&str> = line.split('|').collect();
        let settings: Vec<&str> = parts[0].split(';').collect();
        let number = |index: usize| settings[index].parse::<f64>().unwrap();
        let config = json!({
            "metrics": [{ "name": "m", "groups": ["g"], "analysisConfigurations": { "canary": {
                "direction": settings[0],
                "nanStrategy": settings[1],
                "outliers": { "strategy": settings[2], "outlierFactor": number(3) },
                "critical": settings[4] == "true",
                "mustHaveData": settings[5] == "true",
                "effectSize": {
                    "measure": settings[6],
                    "allowedIncrease": number(7),
                    "allowedDecrease": number(8),
                    "criticalIncrease": number(9),
                    "criticalDecrease": number(10),
                },
            } } }],
            "classifier": { "groupWeights": {} },
        });
        let config = CanaryConfig::parse_compatible(&config).unwrap();
        let pair = MetricPair {
            name: "m".to_owned(),
            id: None,
            tags: None,
            baseline: series(parts[1]),
            canary: series(parts[2]),
        };
        let thresholds = Thresholds {
            pass: 95.0,
            marginal: 75.0,
        };
        let mode = Mode::KayentaCompatible { seed: 7 };
        let judgement = judge(&config, &[pair], thresholds, mode).unwrap();
        let result = &judgement.results[0];
        let statistics: Vec<String> = [&result.canary, &result.baseline]
            .iter()
            .flat_map(|summary| [summary.min, summary.max, summary.mean, summary.std])
            .map(|value| value.to_string())
            .collect();
        println!(
            "{}|{}|{}|{}|{}",
            result.classification.as_str(),
            result.reason.as_deref().unwrap_or(""),
            result.critical,
            result
                .ratio
                .map(|ratio| ratio.to_string())
                .unwrap_or_default(),
            statistics.join(","),
        );
    }
}
