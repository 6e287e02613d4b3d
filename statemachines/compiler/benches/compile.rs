//! How long pipelines take to compile: `cargo bench -p gennaker-compiler`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::{hint::black_box, path::PathBuf};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gennaker_compiler::{Options, compile, compile_text};
use serde_json::{Value, json};

/// A graph whose stages wait for at most three earlier ones each; the same one everywhere.
fn random_graph(stages: u64) -> Value {
    let mut seed = 42_u64;
    let mut pick = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let stages: Vec<Value> = (0..stages)
        .map(|at| {
            let count = if at == 0 { 0 } else { pick(4) };
            let requisites: Vec<u64> = (0..count).map(|_| pick(at)).collect();
            json!({"refId": at, "type": "wait", "waitTime": 10, "requisiteStageRefIds": requisites})
        })
        .collect();
    json!({"application": "shop", "name": "random", "stages": stages})
}

fn graphs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("random graph");
    for stages in [10, 100, 300, 1000] {
        let pipeline = random_graph(stages);
        compile(&pipeline, &Options::default()).unwrap();
        group.bench_with_input(
            BenchmarkId::from_parameter(stages),
            &pipeline,
            |bencher, pipeline| {
                bencher.iter(|| black_box(compile(pipeline, &Options::default())));
            },
        );
    }
    let pipeline = random_graph(10_000);
    group.bench_function("10000, refused", |bencher| {
        bencher.iter(|| black_box(compile(&pipeline, &Options::default()).unwrap_err()));
    });
    group.finish();
}

fn corpus(criterion: &mut Criterion) {
    let folder = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        },
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(folder.join("pipelines")) else {
        return;
    };
    let texts: Vec<String> = entries
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    criterion.bench_function("all pipelines of the corpus", |bencher| {
        bencher.iter(|| {
            for text in &texts {
                let _ = black_box(compile_text(text, &Options::default()));
            }
        });
    });
}

criterion_group!(benches, graphs, corpus);
criterion_main!(benches);
