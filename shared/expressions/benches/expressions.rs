//! The expressions people write most, with a 100-stage execution as context.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod sample;

use criterion::{Criterion, criterion_group, criterion_main};
use gennaker_expressions::{Context, ExecutionView, Options, Template, Templates, evaluate};
use std::hint::black_box;

fn benches(criterion: &mut Criterion) {
    let execution = sample::execution();
    let context = Context::from_execution(&execution, Some("99"), None);
    let templates = Templates::new();
    let options = Options {
        templates: Some(&templates),
        ..Options::default()
    };
    for (name, text) in sample::TEXTS {
        criterion.bench_function(&format!("parse {name}"), |bencher| {
            bencher.iter(|| Template::parse(black_box(text)).unwrap());
        });
        let template = Template::parse(text).unwrap();
        criterion.bench_function(&format!("evaluate {name}"), |bencher| {
            bencher.iter(|| template.evaluate(black_box(&context), black_box(&options)));
        });
    }
    let configuration = sample::configuration();
    let bytes = configuration.to_string().len();
    criterion.bench_function(
        &format!(
            "stage of {} KB, 500 expressions, templates kept",
            bytes / 1024
        ),
        |bencher| {
            bencher.iter(|| evaluate(black_box(&configuration), &context, &options));
        },
    );
    let cold = Options::default();
    criterion.bench_function(
        &format!("stage of {} KB, 500 expressions, parsed anew", bytes / 1024),
        |bencher| {
            bencher.iter(|| evaluate(black_box(&configuration), &context, &cold));
        },
    );
    criterion.bench_function("context of 100 stages", |bencher| {
        bencher.iter(|| Context::from_execution(black_box(&execution), Some("99"), None));
    });
    let view = ExecutionView::new(&execution);
    let replaced = execution["stages"][99]["context"].clone();
    criterion.bench_function("context of a stage from a view of 100 stages", |bencher| {
        bencher.iter(|| Context::of_stage(black_box(&view), "99", Some(&replaced)));
    });
}

criterion_group!(expressions, benches);
criterion_main!(expressions);
