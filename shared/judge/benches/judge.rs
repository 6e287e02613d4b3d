//! The time of one judgement: metric pairs as a day of minutes, an hour of minutes, and a thousand pairs of a day.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{CanaryConfig, MetricPair, Mode, Thresholds, judge};
use serde_json::json;
use std::hint::black_box;
use std::time::Duration;

/// Latencies of about 100 ms, the canary 2 % slower; `step` rounds them (many ties) or not (0).
fn pair(points: usize, seed: i64, step: f64) -> MetricPair {
    let mut random = JavaRandom::new(seed);
    let mut series = |mean: f64| {
        (0..points)
            .map(|_| {
                let value = mean + 10.0 * random.next_gaussian();
                if step > 0.0 {
                    (value / step).round() * step
                } else {
                    value
                }
            })
            .collect()
    };
    MetricPair {
        name: "latency".to_owned(),
        id: None,
        tags: None,
        baseline: series(100.0),
        canary: series(102.0),
    }
}

fn benchmarks(criterion: &mut Criterion) {
    let config = CanaryConfig::parse(&json!({
        "metrics": [{ "name": "latency", "groups": ["g"] }],
        "classifier": { "groupWeights": { "g": 100 } },
    }))
    .unwrap();
    let thresholds = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let compatible = Mode::KayentaCompatible { seed: 1 };
    let mut one = |name: &str, points: usize, step: f64| {
        let pairs = [pair(points, 7, step)];
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| judge(&config, black_box(&pairs), thresholds, compatible).unwrap());
        });
    };
    one("pair of 60 + 60", 60, 0.0);
    one("pair of 1440 + 1440", 1440, 0.0);
    one("pair of 1440 + 1440, rounded to 1", 1440, 1.0);
    one("pair of 1440 + 1440, rounded to 10", 1440, 10.0);

    let mut group = criterion.benchmark_group("many");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(6));
    let pairs: Vec<MetricPair> = (0..1000).map(|seed| pair(1440, seed, 0.0)).collect();
    group.bench_function("1000 pairs of 1440 + 1440", |bencher| {
        bencher.iter_batched(
            || (),
            |()| judge(&config, black_box(&pairs), thresholds, compatible).unwrap(),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
