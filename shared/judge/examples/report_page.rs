//! Writes the report of an invented canary to standard output, to be looked at in a browser.
//! Run: `cargo run -p gennaker-judge --example report_page > report.html`.
#![allow(clippy::unwrap_used, missing_docs)]

use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{CanaryConfig, Look, MetricPair, Mode, Report, Thresholds, Verdict, judge};
use serde_json::json;

fn main() {
    let metric = |name: &str, group: &str, canary| json!({ "name": name, "groups": [group], "analysisConfigurations": { "canary": canary } });
    let config = CanaryConfig::parse(&json!({
        "name": "checkout",
        "metrics": [
            metric("latency p99 (ms)", "latency", json!({ "direction": "increase" })),
            metric("errors per minute", "errors", json!({ "direction": "increase", "critical": true, "mustHaveData": true })),
            metric("cpu <percent>", "system", json!({ "direction": "either" })),
            metric("queue depth", "system", json!({ "direction": "increase" })),
        ],
        "classifier": { "groupWeights": { "latency": 50, "errors": 30, "system": 20 } },
    }))
    .unwrap();
    let mut random = JavaRandom::new(1);
    let mut draw = |points: usize, mean: f64, deviation: f64| -> Vec<f64> {
        (0..points)
            .map(|_| (mean + deviation * random.next_gaussian()).max(0.0))
            .collect()
    };
    let pair = |name: &str, baseline: Vec<f64>, canary: Vec<f64>| MetricPair {
        name: name.to_owned(),
        id: None,
        tags: Some(json!({ "region": "eu-west-1" })),
        baseline,
        canary,
    };
    let mut holes = draw(180, 120.0, 15.0);
    for value in holes.iter_mut().skip(60).take(12) {
        *value = f64::NAN;
    }
    let pairs = [
        pair("latency p99 (ms)", draw(180, 120.0, 15.0), holes),
        pair(
            "errors per minute",
            draw(180, 3.0, 1.5),
            draw(180, 4.6, 1.9),
        ),
        pair("cpu <percent>", draw(180, 55.0, 6.0), draw(180, 53.0, 6.0)),
        pair("queue depth", draw(180, 8.0, 3.0), Vec::new()),
    ];
    let thresholds = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let judgement = judge(&config, &pairs, thresholds, Mode::Default).unwrap();
    let looks: Vec<Look> = [100.0, 90.0, 80.0]
        .into_iter()
        .map(|score| {
            (
                score,
                if score >= 95.0 {
                    Verdict::Pass
                } else {
                    Verdict::Marginal
                },
            )
        })
        .chain([(judgement.score.score, judgement.score.verdict)])
        .enumerate()
        .map(|(index, (score, verdict))| Look {
            label: format!("#{}", index + 1),
            score,
            verdict,
        })
        .collect();
    let report = Report {
        title: "shop, execution 01J8 <1>",
        config: &config,
        pairs: &pairs,
        judgement: &judgement,
        thresholds,
        looks: &looks,
        step_seconds: Some(60.0),
    };
    print!("{}", report.to_html());
}
