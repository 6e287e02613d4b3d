//! The expressions people write most, with a 100-stage execution as context.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use criterion::{Criterion, criterion_group, criterion_main};
use gennaker_expressions::{Context, Options, Template, Templates, evaluate};
use serde_json::{Value, json};
use std::hint::black_box;

/// A chain of 100 stages: a bake first, the current stage last.
fn execution() -> Value {
    let mut stages = vec![json!({
        "id": "s0", "refId": "0", "type": "bake", "name": "Bake", "status": "SUCCEEDED", "requisiteStageRefIds": [],
        "context": {"amiDetails": [{"imageId": "ami-0aaa", "region": "us-east-1"}]}, "outputs": {"ami": "ami-0aaa"}
    })];
    for index in 1..100 {
        stages.push(json!({
            "id": format!("s{index}"), "refId": index.to_string(), "type": "wait", "name": format!("Stage {index}"),
            "status": "SUCCEEDED", "requisiteStageRefIds": [(index - 1).to_string()],
            "context": {"waitTime": 30, "note": "x"}, "outputs": {format!("out{index}"): index}
        }));
    }
    json!({
        "type": "PIPELINE", "id": "01EXEC", "application": "demo", "name": "Deploy", "status": "RUNNING",
        "trigger": {"type": "docker", "account": "reg", "repository": "team/app", "tag": "v1.2.3-0a1b2c3", "parameters": {"env": "prod"}},
        "stages": stages
    })
}

/// A stage configuration of about 200 KB with 500 expressions.
fn configuration() -> Value {
    let filler = "x".repeat(360);
    let containers: Vec<Value> = (0..500)
        .map(|index| {
            let expression = match index % 5 {
                0 => "${trigger['tag'].toString().substring(0,7)}".to_string(),
                1 => "${parameters.env}".to_string(),
                2 => format!("app-${{parameters.env}}-{index}"),
                3 => "${#stage('Bake').context.amiDetails[0].imageId}".to_string(),
                _ => "${out50 + 1}".to_string(),
            };
            json!({"name": format!("c{index}"), "value": expression, "note": filler})
        })
        .collect();
    json!({ "manifest": { "kind": "Deployment", "containers": containers } })
}

fn benches(criterion: &mut Criterion) {
    let execution = execution();
    let context = Context::from_execution(&execution, Some("99"), None);
    let templates = Templates::new();
    let options = Options {
        templates: Some(&templates),
        ..Options::default()
    };
    for (name, text) in [
        ("trigger tag", "${trigger['tag'].toString().substring(0,7)}"),
        (
            "stage context",
            "${#stage( #root.execution, 'Bake').context.amiDetails[0].imageId}",
        ),
        ("missing key", "${nope}"),
    ] {
        criterion.bench_function(&format!("parse {name}"), |bencher| {
            bencher.iter(|| Template::parse(black_box(text)).unwrap());
        });
        let template = Template::parse(text).unwrap();
        criterion.bench_function(&format!("evaluate {name}"), |bencher| {
            bencher.iter(|| template.evaluate(black_box(&context), black_box(&options)));
        });
    }
    let configuration = configuration();
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
}

criterion_group!(expressions, benches);
criterion_main!(expressions);
