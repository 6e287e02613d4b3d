//! How often repeated looks at two equal sides raise a false alarm, with and without the promise, and how soon a real
//! shift is seen. Run: `cargo run --release -p gennaker-judge --example false_alarms`.
#![allow(clippy::unwrap_used, missing_docs)]

use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{CanaryConfig, Classification, MetricPair, Mode, Thresholds, judge};
use serde_json::json;

const RUNS: i64 = 1_000;
const LOOKS: usize = 120;
const POINTS_PER_LOOK: usize = 2;

type Draw = fn(&mut JavaRandom) -> f64;

fn config(sequential: bool) -> CanaryConfig {
    let judge = if sequential {
        json!({ "sequential": { "falseAlarmRate": 0.02, "plannedPoints": 120 } })
    } else {
        json!({})
    };
    CanaryConfig::parse(&json!({
        "judge": { "name": "NetflixACAJudge-v1.0", "judgeConfigurations": judge },
        "metrics": [{ "name": "m", "groups": ["g"] }],
        "classifier": { "groupWeights": { "g": 100 } },
    }))
    .unwrap()
}

/// The first look, counted from 1, that does not pass.
fn first_alarm(config: &CanaryConfig, baseline: &[f64], canary: &[f64]) -> Option<usize> {
    (1..=LOOKS).find(|look| {
        let points = look * POINTS_PER_LOOK;
        let pair = MetricPair {
            name: "m".to_owned(),
            id: None,
            tags: None,
            baseline: baseline.iter().copied().take(points).collect(),
            canary: canary.iter().copied().take(points).collect(),
        };
        let thresholds = Thresholds {
            pass: 95.0,
            marginal: 75.0,
        };
        let judgement = judge(config, &[pair], thresholds, Mode::Default).unwrap();
        judgement
            .results
            .first()
            .is_some_and(|result| result.classification != Classification::Pass)
    })
}

fn main() {
    println!("{RUNS} runs of {LOOKS} looks, {POINTS_PER_LOOK} more points a side each");
    println!("{:38}  fixed 98 %  promised 2 %  median points", "");
    let kinds: [(&str, Draw); 3] = [
        ("normal", |random| 100.0 + 10.0 * random.next_gaussian()),
        ("exponential", |random| {
            -100.0 * (1.0 - random.next_double()).ln()
        }),
        ("counts about 4", |random| {
            (4.0 + 2.0 * random.next_gaussian()).round().max(0.0)
        }),
    ];
    for (name, draw) in kinds {
        for factor in [1.0, 1.05, 1.3] {
            let configs = [config(false), config(true)];
            let mut alarms = [0, 0];
            let mut looks = Vec::new();
            for seed in 0..RUNS {
                let mut random = JavaRandom::new(seed);
                let total = LOOKS * POINTS_PER_LOOK;
                let baseline: Vec<f64> = (0..total).map(|_| draw(&mut random)).collect();
                let canary: Vec<f64> = (0..total).map(|_| factor * draw(&mut random)).collect();
                for (config, alarms) in configs.iter().zip(&mut alarms) {
                    if let Some(look) = first_alarm(config, &baseline, &canary) {
                        *alarms += 1;
                        if config.sequential.is_some() {
                            looks.push(look * POINTS_PER_LOOK);
                        }
                    }
                }
            }
            looks.sort_unstable();
            let median = looks
                .get(looks.len() / 2)
                .map_or_else(|| "-".to_owned(), ToString::to_string);
            let [fixed, promised] = alarms.map(|count| f64::from(count) * 100.0 / RUNS as f64);
            let what = match factor {
                1.0 => format!("{name}, no shift (false alarms)"),
                _ => format!("{name}, x {factor} (detected)"),
            };
            println!("{what:<38}{fixed:>10.1} %{promised:>12.1} %{median:>15}");
        }
    }
}
