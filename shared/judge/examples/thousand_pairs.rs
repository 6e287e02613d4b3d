//! Judges 1,000 pairs a number of times, to be run under `/usr/bin/time -v` for processor time and memory:
//! `thousand_pairs POINTS ROUNDS`. With 0 rounds it only makes the pairs.
#![allow(clippy::unwrap_used, missing_docs)]

use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{CanaryConfig, MetricPair, Mode, Thresholds, judge};
use serde_json::json;
use std::hint::black_box;

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().unwrap())
        .collect();
    let [points, rounds] = numbers.try_into().unwrap();
    let config = CanaryConfig::parse(&json!({
        "metrics": [{ "name": "m", "groups": ["g"] }],
        "classifier": { "groupWeights": { "g": 100 } },
    }))
    .unwrap();
    let mut random = JavaRandom::new(7);
    let mut series = |mean: f64| -> Vec<f64> {
        (0..points)
            .map(|_| mean + 10.0 * random.next_gaussian())
            .collect()
    };
    let pairs: Vec<MetricPair> = (0..1000)
        .map(|_| MetricPair {
            name: "m".to_owned(),
            id: None,
            tags: None,
            baseline: series(100.0),
            canary: series(102.0),
        })
        .collect();
    let thresholds = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    for _ in 0..rounds {
        black_box(judge(&config, &pairs, thresholds, Mode::Default).unwrap());
    }
}
