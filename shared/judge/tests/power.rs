//! Power estimates against what is known of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{CanaryConfig, PowerPlan, power, power_values};
use serde_json::{Value, json};

fn config(direction: &str) -> Value {
    json!({
        "metrics": [
            { "name": "latency", "groups": ["g"],
              "analysisConfigurations": { "canary": { "direction": direction } } },
            { "name": "other", "groups": ["g"] },
        ],
        "classifier": { "groupWeights": { "g": 100 } },
    })
}

/// Mean 100, standard deviation 10.
fn history() -> Vec<f64> {
    let mut random = JavaRandom::new(3);
    (0..500)
        .map(|_| 100.0 + 10.0 * random.next_gaussian())
        .collect()
}

fn plan(points: usize) -> PowerPlan {
    PowerPlan {
        points,
        repetitions: 60,
        most_points: 400,
        ..PowerPlan::default()
    }
}

#[test]
fn the_detectable_effect_is_what_the_normal_approximation_says() {
    let config = CanaryConfig::parse(&config("increase")).unwrap();
    let plan = PowerPlan {
        repetitions: 200,
        ..plan(30)
    };
    let estimates = power(&config, &[("latency".to_owned(), history())], &plan).unwrap();
    // The judge needs (q/0.75 + Φ⁻¹(0.8))·σ·√(2/n)·√(π/3) with q = 2.326: (3.10 + 0.84)·10·0.258·1.023 = 10.4 of 100.
    let detectable = estimates[0].detectable.unwrap();
    assert!((0.085..0.125).contains(&detectable), "{detectable}");
    assert!(estimates[0].false_alarms.unwrap() <= 0.05);
    // For 10 % the same formula gives n = 36, the canary's deviation being 11.
    let needed = estimates[0].needed_points.unwrap();
    assert!((25..=42).contains(&needed), "{needed}");
    assert_eq!(estimates[1].history, 0);
    assert_eq!(estimates[1].detectable, None);
}

#[test]
fn more_points_detect_less() {
    let config = CanaryConfig::parse(&config("decrease")).unwrap();
    let histories = [("latency".to_owned(), history())];
    let least = |points| {
        power(&config, &histories, &plan(points)).unwrap()[0]
            .detectable
            .unwrap()
    };
    assert!(least(20) > 1.5 * least(80));
}

#[test]
fn a_metric_that_never_varies_from_zero_detects_nothing() {
    let config = CanaryConfig::parse(&config("increase")).unwrap();
    let histories = [("latency".to_owned(), vec![0.0; 50])];
    let estimates = power(&config, &histories, &plan(20)).unwrap();
    assert_eq!(estimates[0].detectable, None);
    assert_eq!(estimates[0].needed_points, None);
}

#[test]
fn the_command_answers_in_sentences_and_again_the_same() {
    let history = json!({
        "stepSeconds": 60, "minutes": 10, "effect": 0.08, "mostMinutes": 200,
        "metrics": [{ "name": "latency", "values": history() }, { "name": "other", "values": [1, null, "NaN"] }],
    });
    let answer = power_values(&config("increase"), &history).unwrap();
    assert_eq!(answer["points"], 10);
    let message = answer["metrics"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "with 10 points on each side (10 minutes) this canary cannot detect an increase of `latency` below "
        ) && message.contains(" %; for 8.0 % it has to run "),
        "{message}"
    );
    assert_eq!(
        answer["metrics"][1]["message"],
        "`other` has 1 of the 10 points of history that it takes to tell how it varies"
    );
    assert_eq!(power_values(&config("increase"), &history).unwrap(), answer);
}

#[test]
fn a_history_of_another_form_is_refused_with_its_path() {
    let refused = [
        (json!({}), "`$`: needs `metrics` with their values"),
        (
            json!({ "metrics": [{ "values": [] }] }),
            "`$.metrics[0].name`: must be a string",
        ),
        (
            json!({ "metrics": [{ "name": "latency", "values": ["x"] }] }),
            "`$.metrics[0].values`: must be a number, is \"x\"",
        ),
        (
            json!({ "metrics": [], "stepSeconds": 0 }),
            "`$.stepSeconds`: must be above 0 and at most 86400, is `0`",
        ),
        (
            json!({ "metrics": [{ "name": "gone", "values": [] }] }),
            "no metric `gone` in the canary configuration, which has `latency`, `other`",
        ),
    ];
    for (history, message) in refused {
        let error = power_values(&config("increase"), &history).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}
