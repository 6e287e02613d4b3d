//! No input panics, and none passes by accident.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_judge::{
    CanaryConfig, Classification, MetricPair, Mode, Thresholds, Verdict, evaluate_case, judge,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn point() -> impl Strategy<Value = f64> {
    prop_oneof![
        10 => -10.0..10.0f64,
        5 => (-3i32..3).prop_map(f64::from),
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)],
    ]
}

fn series() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        3 => prop::collection::vec(point(), 0..40),
        1 => (point(), 0usize..20).prop_map(|(value, count)| vec![value; count]),
    ]
}

fn settings() -> impl Strategy<Value = Value> {
    (
        prop::sample::select(vec!["either", "increase", "decrease"]),
        prop::sample::select(vec!["remove", "replace"]),
        prop::sample::select(vec!["keep", "remove"]),
        prop::sample::select(vec!["meanRatio", "cles"]),
        any::<[bool; 3]>(),
    )
        .prop_map(|(direction, nan, outliers, measure, [critical, must, muted])| {
            json!({
                "direction": direction, "nanStrategy": nan, "outliers": { "strategy": outliers },
                "effectSize": { "measure": measure }, "critical": critical, "mustHaveData": must,
                "muted": muted,
            })
        })
}

fn config(settings: &Value) -> CanaryConfig {
    CanaryConfig::parse(&json!({
        "metrics": [{ "name": "m", "groups": ["g"], "analysisConfigurations": { "canary": settings } }],
        "classifier": { "groupWeights": { "g": 100 } },
    }))
    .unwrap()
}

fn pair(baseline: Vec<f64>, canary: Vec<f64>) -> MetricPair {
    MetricPair {
        name: "m".to_owned(),
        id: None,
        tags: None,
        baseline,
        canary,
    }
}

const THRESHOLDS: Thresholds = Thresholds {
    pass: 95.0,
    marginal: 75.0,
};

/// A metric's two series, its settings, and the groups it is in.
fn metric() -> impl Strategy<Value = (Vec<f64>, Vec<f64>, Value, Vec<&'static str>)> {
    let groups = prop::sample::subsequence(vec!["a", "b", "c"], 1..=2);
    (series(), series(), settings(), groups)
}

/// Any JSON, with the fields of a case likely at every level.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["NaN", "remove", "m", "", "1e999", "-Infinity"])
            .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "config",
        "metrics",
        "name",
        "groups",
        "analysisConfigurations",
        "canary",
        "direction",
        "effectSize",
        "outliers",
        "classifier",
        "groupWeights",
        "thresholds",
        "pass",
        "marginal",
        "pairs",
        "values",
        "control",
        "experiment",
        "id",
        "tags",
        "m",
    ]);
    leaf.prop_recursive(7, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_series_panics_and_an_error_never_passes(
        baseline in series(), canary in series(), settings in settings(), seed in any::<i64>(),
    ) {
        let config = config(&settings);
        let pairs = [pair(baseline, canary)];
        judge(&config, &pairs, THRESHOLDS, Mode::KayentaCompatible { seed }).unwrap();
        let judgement = judge(&config, &pairs, THRESHOLDS, Mode::Default).unwrap();
        let result = &judgement.results[0];
        if result.classification != Classification::Pass {
            prop_assert_ne!(judgement.score.verdict, Verdict::Pass);
        }
        prop_assert_eq!(
            judge(&config, &pairs, THRESHOLDS, Mode::Default).unwrap().to_json(),
            judgement.to_json()
        );
    }

    #[test]
    fn no_mix_of_odd_metrics_passes_by_accident(
        metrics in prop::collection::vec(metric(), 1..5),
        weights in prop::sample::select(vec![
            json!({}), json!({ "a": 100 }), json!({ "a": 50, "b": 50 }), json!({ "a": 30, "unknown": 30 }),
            json!({ "a": 80, "b": 80 }), json!({ "unknown": 0, "c": 100 }),
        ]),
    ) {
        let configured: Vec<Value> = metrics
            .iter()
            .enumerate()
            .map(|(number, (_, _, settings, groups))| json!({
                "name": number.to_string(), "groups": groups, "analysisConfigurations": { "canary": settings },
            }))
            .collect();
        let config = json!({ "metrics": configured, "classifier": { "groupWeights": weights } });
        let config = CanaryConfig::parse(&config).unwrap();
        let pairs: Vec<MetricPair> = metrics
            .iter()
            .enumerate()
            .map(|(number, (baseline, canary, ..))| MetricPair {
                name: number.to_string(),
                ..pair(baseline.clone(), canary.clone())
            })
            .collect();
        let judgement = judge(&config, &pairs, THRESHOLDS, Mode::Default).unwrap();
        let verdict = judgement.score.verdict;
        let mut passed = 0;
        for (result, (baseline, canary, settings, _)) in judgement.results.iter().zip(&metrics) {
            let classification = result.classification;
            let infinite = baseline.iter().chain(canary).any(|value| value.is_infinite());
            if infinite && settings["outliers"]["strategy"] == "keep" {
                prop_assert_ne!(classification, Classification::Pass);
            }
            match settings["direction"].as_str() {
                Some("increase") => prop_assert_ne!(classification, Classification::Low),
                Some("decrease") => prop_assert_ne!(classification, Classification::High),
                _ => {}
            }
            if settings["muted"] == true {
                continue;
            }
            passed += u32::from(classification == Classification::Pass);
            if settings["critical"] == true
                && matches!(classification, Classification::Error | Classification::Nodata)
            {
                prop_assert_eq!(verdict, Verdict::Fail);
            }
        }
        if passed == 0 {
            prop_assert_eq!(verdict, Verdict::Fail);
        }
    }

    #[test]
    fn swapping_baseline_and_canary_turns_high_into_low(
        baseline in prop::collection::vec(1.0..50.0f64, 3..60),
        canary in prop::collection::vec(1.0..50.0f64, 3..60),
    ) {
        let config = config(&json!({}));
        let classify = |baseline: &[f64], canary: &[f64]| {
            let pairs = [pair(baseline.to_vec(), canary.to_vec())];
            let judgement = judge(&config, &pairs, THRESHOLDS, Mode::Default).unwrap();
            judgement.results[0].classification
        };
        let there = classify(&baseline, &canary);
        let back = classify(&canary, &baseline);
        let mirrored = match there {
            Classification::High => Classification::Low,
            Classification::Low => Classification::High,
            other => other,
        };
        // Intervals are found to 1e-4, so a pair at the very edge may fall to either side.
        let at_edge = {
            let found = gennaker_judge::mann_whitney::interval(&canary, &baseline, 0.98).unwrap();
            let bound = 0.25 * found.estimate.abs();
            (found.lower - bound).abs() < 1e-3 || (found.upper + bound).abs() < 1e-3
        };
        prop_assert!(back == mirrored || at_edge, "{:?} {:?}", there, back);
    }

    #[test]
    fn any_json_is_answered(case in any_json(), seed in any::<i64>()) {
        for mode in [Mode::Default, Mode::KayentaCompatible { seed }] {
            let answer = evaluate_case(&case, mode);
            prop_assert!(answer.get("error").is_some() || answer.get("score").is_some());
        }
    }
}

#[test]
fn huge_series_are_judged() {
    let baseline: Vec<f64> = (0..300_000).map(|i| f64::from(i % 1009)).collect();
    let canary: Vec<f64> = (0..250_000).map(|i| f64::from(i % 1013) + 3.0).collect();
    let pairs = [pair(baseline, canary)];
    let judgement = judge(&config(&json!({})), &pairs, THRESHOLDS, Mode::Default).unwrap();
    assert_eq!(judgement.results[0].classification, Classification::High);
}
