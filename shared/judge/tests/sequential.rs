//! The promise about repeated looks, by simulation; `examples/false_alarms.rs` runs more of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{CanaryConfig, Classification, MetricPair, Mode, Thresholds, judge};
use serde_json::{Value, json};

const THRESHOLDS: Thresholds = Thresholds {
    pass: 95.0,
    marginal: 75.0,
};

fn config(configurations: Value) -> Value {
    json!({
        "judge": { "name": "NetflixACAJudge-v1.0", "judgeConfigurations": configurations },
        "metrics": [{ "name": "m", "groups": ["g"] }],
        "classifier": { "groupWeights": { "g": 100 } },
    })
}

fn passes(config: &CanaryConfig, baseline: &[f64], canary: &[f64]) -> bool {
    let pair = MetricPair {
        name: "m".to_owned(),
        id: None,
        tags: None,
        baseline: baseline.to_vec(),
        canary: canary.to_vec(),
    };
    let judgement = judge(config, &[pair], THRESHOLDS, Mode::Default).unwrap();
    judgement.results[0].classification == Classification::Pass
}

#[test]
fn repeated_looks_keep_the_promised_false_alarm_rate() {
    const RUNS: i64 = 300;
    let fixed = CanaryConfig::parse(&config(json!({}))).unwrap();
    let promise = json!({ "sequential": { "falseAlarmRate": 0.02, "plannedPoints": 60 } });
    let promised = CanaryConfig::parse(&config(promise)).unwrap();
    let (mut fixed_alarms, mut promised_alarms, mut missed) = (0, 0, 0);
    for seed in 0..RUNS {
        let mut random = JavaRandom::new(seed);
        let mut draw = || -> Vec<f64> {
            (0..120)
                .map(|_| 50.0 + 10.0 * random.next_gaussian())
                .collect()
        };
        let (baseline, canary) = (draw(), draw());
        let shifted: Vec<f64> = canary.iter().map(|value| value + 10.0).collect();
        let alarm = |config: &CanaryConfig, canary: &[f64]| {
            (5..=120)
                .step_by(5)
                .any(|points| !passes(config, &baseline[..points], &canary[..points]))
        };
        fixed_alarms += i32::from(alarm(&fixed, &canary));
        promised_alarms += i32::from(alarm(&promised, &canary));
        missed += i32::from(!alarm(&promised, &shifted));
    }
    // A single look of the fixed interval alarms in 0.2 % of runs, 0.6 of 300: repeated, several times as often.
    assert!(fixed_alarms >= 4, "{fixed_alarms} of {RUNS}");
    // The promised 2 % are 6 of 300, and three standard errors above that are 13.
    assert!(promised_alarms <= 13, "{promised_alarms} of {RUNS}");
    assert!(
        promised_alarms <= fixed_alarms,
        "{promised_alarms} > {fixed_alarms}"
    );
    assert_eq!(missed, 0, "a shift of one standard deviation is seen");
}

#[test]
fn a_look_with_too_few_points_for_any_claim_makes_none() {
    let promise = json!({ "sequential": {} });
    let promised = CanaryConfig::parse(&config(promise)).unwrap();
    let (baseline, canary) = ([1.0, 2.0, 3.0], [11.0, 12.0, 13.0]);
    assert!(passes(&promised, &baseline, &canary));
    let fixed = CanaryConfig::parse(&config(json!({}))).unwrap();
    assert!(!passes(&fixed, &baseline, &canary));
}

#[test]
fn two_constants_are_told_apart_only_with_enough_points() {
    let promised = CanaryConfig::parse(&config(json!({ "sequential": {} }))).unwrap();
    assert!(passes(&promised, &[4.0, 4.0], &[5.0, 5.0]));
    assert!(!passes(&promised, &[4.0; 30], &[5.0; 30]));
}

#[test]
fn an_impossible_promise_is_refused_and_compatible_mode_ignores_any() {
    let impossible = config(json!({ "sequential": { "falseAlarmRate": 2 } }));
    let problems = CanaryConfig::parse(&impossible).unwrap_err();
    assert_eq!(problems[0].code, "out-of-range");
    let config = CanaryConfig::parse_compatible(&impossible).unwrap();
    assert!(config.sequential.is_none());
}
