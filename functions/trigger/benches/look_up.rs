//! What an event costs among 100,000 triggers.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use gennaker_cloud::Store;
use gennaker_testkit::{Faults, MemoryFunctions, MemoryRegistry, MemoryTable, sample};
use gennaker_trigger::Trigger;
use serde_json::{Value, json};

const TRIGGERS: [usize; 3] = [1, 1_000, 100_000];

fn push(repository: usize) -> Value {
    json!({
        "id": "e-1", "detail-type": "ECR Image Action", "source": "aws.ecr", "account": "123456789012",
        "time": "2026-11-20T12:00:00Z", "region": "us-east-1",
        "detail": { "action-type": "PUSH", "result": "SUCCESS", "repository-name": format!("shop/{repository}"),
            "image-tag": "v1", "image-digest": "sha256:1" },
    })
}

fn look_up(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for triggers in TRIGGERS {
        let faults = Faults::none();
        let table = MemoryTable::with_faults(faults.clone());
        let seeding = Store::new(Arc::new(table.without_faults()));
        runtime.block_on(async { sample::heard_by(&seeding, triggers).await.unwrap() });
        let trigger = Trigger::new(
            Store::new(Arc::new(table)),
            Arc::new(MemoryRegistry::new()),
            Arc::new(MemoryFunctions::new()),
            "g",
        );
        let event = push(triggers / 2);
        let started = runtime.block_on(async { trigger.trigger(&event).await.unwrap() });
        let reads = faults.calls().len();
        println!("{triggers} triggers: {reads} reads, {started}");
        criterion.bench_function(&format!("one event among {triggers} triggers"), |bencher| {
            bencher.iter(|| runtime.block_on(async { trigger.trigger(&event).await.unwrap() }));
        });
    }
}

criterion_group!(benches, look_up);
criterion_main!(benches);
