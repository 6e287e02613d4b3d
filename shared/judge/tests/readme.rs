//! The example of the README.
#![allow(clippy::unwrap_used)]

use gennaker_judge::{CanaryConfig, MetricPair, Mode, Thresholds, judge};
use serde_json::json;

#[test]
fn the_example_of_the_readme_says_what_it_says() {
    let config = CanaryConfig::parse(&json!({
        "metrics": [{ "name": "errors", "groups": ["requests"],
                      "analysisConfigurations": { "canary": { "direction": "increase", "critical": true } } }],
        "classifier": { "groupWeights": { "requests": 100 } },
    }))
    .unwrap();
    let pair = MetricPair {
        name: "errors".into(),
        id: None,
        tags: None,
        baseline: vec![1.0, 2.0, 1.0, 3.0, 2.0, 1.0, 2.0, 2.0],
        canary: vec![9.0, 8.0, 9.0, 7.0, 9.0, 8.0, 9.0, f64::NAN],
    };
    let thresholds = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let judgement = judge(&config, &[pair], thresholds, Mode::Default).unwrap();
    assert_eq!(
        judgement.score.reason,
        "Canary Failed: The metric errors was classified as High (Critical)"
    );
    assert_eq!(judgement.to_json()["score"]["classification"], "Fail");
}
