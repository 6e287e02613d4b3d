//! What an event and a fire time cost.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gennaker_triggers::cron::Cron;
use gennaker_triggers::event::Event;
use gennaker_triggers::index::Index;
use gennaker_triggers::matching::Settings;
use gennaker_triggers::pipeline::Pipeline;
use gennaker_triggers::webhook::receive;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

/// 10,000 pipelines with two triggers each: a branch of one of 5,000 repositories, and a webhook with constraints.
fn pipelines() -> Vec<Pipeline> {
    (0..10_000)
        .map(|n| {
            let value = json!({
                "application": format!("app-{}", n % 100), "name": format!("p-{n}"), "id": format!("id-{n}"),
                "triggers": [
                    {"type": "git", "enabled": true, "source": "github", "project": "shop",
                     "slug": format!("repository-{}", n % 5_000), "branch": "release/.*|main"},
                    {"type": "webhook", "enabled": true, "source": format!("hook-{}", n % 5_000),
                     "payloadConstraints": {"env": "^prod$", "$.image.tag": "v\\d+"}},
                ],
            });
            Pipeline::read(&value).expect("a pipeline")
        })
        .collect()
}

fn triggers(criterion: &mut Criterion) {
    let index = Index::new(pipelines());
    let git = Event::read(&json!({
        "details": {"type": "git", "source": "github"}, "eventId": "e-1",
        "content": {"repoProject": "shop", "slug": "repository-42", "branch": "main", "hash": "abc", "action": "push:push"},
    }))
    .expect("an event");
    let webhook = Event::read(&json!({
        "details": {"type": "webhook", "source": "hook-42"}, "eventId": "e-2", "content": {},
        "payload": {"env": "prod", "image": {"tag": "v12"}},
    }))
    .expect("an event");
    for (name, event) in [("git", &git), ("webhook", &webhook)] {
        assert_eq!(index.matching(event, &Settings::default()).len(), 2);
        criterion.bench_function(
            &format!("one {name} event against 10,000 pipelines"),
            |bench| {
                bench.iter(|| index.matching(black_box(event), &Settings::default()));
            },
        );
    }
}

fn cron(criterion: &mut Criterion) {
    let zone = TimeZone::get("America/Los_Angeles").expect("a zone");
    let after: Timestamp = "2026-11-21T15:04:05Z".parse().expect("a time");
    for (name, expression) in [
        ("every five minutes", "0 0/5 * * * ?"),
        ("working days", "0 30 9 ? * MON-FRI"),
        ("last weekday of the quarter", "0 0 18 LW 3/3 ?"),
        ("29 February", "0 0 0 29 2 ?"),
    ] {
        let parsed = Cron::parse(expression, 2026).expect("an expression");
        criterion.bench_function(&format!("next fire time, {name}"), |bench| {
            bench.iter(|| parsed.next(black_box(after), &zone));
        });
    }
    criterion.bench_function("parse an expression", |bench| {
        bench.iter(|| Cron::parse(black_box("0 0/5 9-17 ? * MON-FRI"), 2026));
    });
}

fn webhook(criterion: &mut Criterion) {
    let body = json!({
        "ref": "refs/heads/main", "after": "abc",
        "repository": {"name": "api", "full_name": "shop/api", "owner": {"name": "shop"}, "contents_url": "https://x/{+path}"},
        "commits": (0..20).map(|n| json!({"added": [], "modified": [format!("src/{n}.rs")]})).collect::<Vec<_>>(),
    })
    .to_string();
    criterion.bench_function("a push of GitHub read", |bench| {
        bench.iter(|| receive("git", "github", &[], black_box(body.as_bytes())));
    });
}

criterion_group!(benches, triggers, cron, webhook);
criterion_main!(benches);
