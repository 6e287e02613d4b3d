//! How long simulated executions take: `cargo bench -p gennaker-simulator`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gennaker_compiler::{Options, compile};
use gennaker_simulator::simulate;
use serde_json::{Value, json};

fn executions(criterion: &mut Criterion) {
    let stages: Vec<Value> = (0..20_u64)
        .map(|at| {
            // Two branches that meet now and then, and edges that do not nest.
            let requisites: Vec<u64> = [2, 3, 5]
                .into_iter()
                .filter_map(|back| at.checked_sub(back))
                .take(if at % 3 == 0 { 2 } else { 1 })
                .collect();
            json!({"refId": at, "type": "wait", "waitTime": 10 + at, "requisiteStageRefIds": requisites})
        })
        .collect();
    let compiled = compile(&json!({"stages": stages}), &Options::default()).unwrap();
    assert!(compiled.plan.stages.iter().any(|stage| stage.joins));
    // Read once: it is the machine that is measured.
    let definition: Value = (*compiled.definition).clone();
    criterion.bench_function("1000 executions of 20 stages", |bencher| {
        bencher.iter(|| {
            for _ in 0..1000 {
                black_box(
                    simulate(&definition, &compiled.plan, &Value::Null, 0, &Value::Null).unwrap(),
                );
            }
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = executions
}
criterion_main!(benches);
