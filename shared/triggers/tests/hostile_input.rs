//! Whatever arrives, and whatever a pipeline says: an answer, in bounded time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::time::{Duration, Instant};

use gennaker_triggers::arrival::arrived;
use gennaker_triggers::cron::{Cron, Schedule, fuzzed};
use gennaker_triggers::event::Event;
use gennaker_triggers::explain::explain;
use gennaker_triggers::index::{Index, event_keys, trigger_key};
use gennaker_triggers::matching::{Heard, Settings};
use gennaker_triggers::pipeline::Pipeline;
use gennaker_triggers::trigger::Trigger;
use gennaker_triggers::webhook::{Received, Refused, receive};
use gennaker_triggers::{
    evaluate_artifact_case, evaluate_cron_case, evaluate_trigger_case, evaluate_webhook_case,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Far above what an answer takes on a slow, busy machine, far below what a bomb would.
const LIMIT: Duration = Duration::from_secs(20);

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(
        started.elapsed() < LIMIT,
        "{what} took {:?}",
        started.elapsed()
    );
    result
}

#[test]
fn bodies_that_are_too_large_too_deep_or_no_text_are_refused() {
    let too_large = vec![b' '; 10 * 1024 * 1024 + 1];
    assert!(matches!(
        timed("large", || receive("webhook", "x", &[], &too_large)),
        Err(Refused::TooLarge(_))
    ));
    let deep = "[".repeat(10 * 1024 * 1024);
    assert_eq!(
        timed("deep", || receive("webhook", "x", &[], deep.as_bytes())).unwrap_err(),
        Refused::TooDeep
    );
    let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
    assert_eq!(
        receive("git", "github", &[], deep.as_bytes()).unwrap_err(),
        Refused::TooDeep
    );
    for body in [
        &b"\xff\xfe{}"[..],
        b"{\"a\":\"\xc3\x28\"}",
        b"",
        b"[1]",
        b"{",
        b"\"x\"",
        b"nul",
    ] {
        let refused = receive("git", "github", &[], body).unwrap_err();
        assert_eq!(refused.status(), 400, "{body:?}");
    }
    let headers: Vec<(String, String)> = (0..1000)
        .map(|n| (format!("x-{n}"), "y".to_owned()))
        .collect();
    assert_eq!(
        receive("git", "github", &headers, b"{}").unwrap_err(),
        Refused::Headers
    );
}

#[test]
fn a_body_of_ten_megabytes_is_read_and_matched_in_time() {
    let commits: Vec<Value> = (0..60_000)
        .map(|n| json!({"added": [format!("a/rather/long/path/to/a/file/number-{n}.txt")], "modified": ["same"], "message": "x".repeat(40)}))
        .collect();
    let body = json!({"ref": "refs/heads/main", "after": "abc", "commits": commits,
        "repository": {"name": "api", "owner": {"name": "shop"}, "contents_url": "https://x/{+path}"}})
    .to_string();
    assert!(
        body.len() > 5_000_000 && body.len() < 10 * 1024 * 1024,
        "{}",
        body.len()
    );
    let Received::Event(event) =
        timed("read", || receive("git", "github", &[], body.as_bytes())).unwrap()
    else {
        panic!("an event");
    };
    let pipeline = Pipeline::read(&json!({
        "application": "shop", "name": "p", "id": "p",
        "triggers": [{"type": "git", "enabled": true, "source": "github", "project": "shop", "slug": "api"}],
    }))
    .unwrap();
    let index = Index::new(vec![pipeline]);
    assert_eq!(
        timed("match", || index.matching(&event, &Settings::default())).len(),
        1
    );
}

#[test]
fn patterns_and_paths_that_explode_end() {
    let payload =
        json!({"a": "a".repeat(5_000), "list": vec![vec![vec![vec![1; 20]; 20]; 20]; 20]});
    let event = Event::read(&json!({
        "details": {"type": "webhook", "source": "x"}, "content": {}, "payload": payload,
    }))
    .unwrap();
    let heard = Heard::new(&event);
    for constraints in [
        json!({"a": "(a+)+\\1$b"}),
        json!({"a": "(?=(a+)+b)(a*)*c"}),
        json!({"$..*..*..*..*": "x"}),
        json!({"$.list[*][*][*][*]": "x"}),
        json!({"a": "(".repeat(9_000)}),
        json!({"a": "x{1000}{1000}{1000}"}),
    ] {
        let pipeline = Pipeline::read(&json!({
            "application": "shop", "name": "p",
            "triggers": [{"type": "webhook", "enabled": true, "source": "x", "payloadConstraints": constraints}],
        }))
        .unwrap();
        let answer = timed("match", || {
            heard.matches(&pipeline, &pipeline.triggers[0], &Settings::default())
        });
        assert!(!answer.matched, "{constraints}");
        assert!(!answer.reason.is_empty());
    }
}

#[test]
fn one_broken_trigger_silences_no_other() {
    let event = Event::read(&json!({
        "details": {"type": "git", "source": "github"}, "eventId": "e",
        "content": {"repoProject": "o", "slug": "r", "branch": "main"},
    }))
    .unwrap();
    let git = |branch: &str| json!({"type": "git", "enabled": true, "source": "github", "project": "o", "slug": "r", "branch": branch});
    let pipelines = [
        json!({"application": "a", "name": "p0", "triggers": [git("["), git("main")]}),
        json!({"application": "a", "name": "p1", "triggers": "x"}),
        json!({"application": "a", "name": "p2", "triggers": [git("ma.n")]}),
    ];
    let explanation = explain(&event, &pipelines, &Settings::default());
    assert_eq!(explanation.starts, [vec![0, 1], vec![2, 0]]);
    assert!(
        explanation.matches[0]["reason"]
            .as_str()
            .unwrap()
            .contains('[')
    );
}

#[test]
fn a_secret_is_in_no_row_that_is_printed() {
    let event = Event::read(&json!({
        "details": {"type": "git", "source": "github", "requestHeaders": {"x-hub-signature": ["sha1=7c951fc5b569c70c64326100f4ca1ffd7072b853"]}},
        "content": {"repoProject": "o", "slug": "r", "branch": "main"}, "rawContent": "{}",
    }))
    .unwrap();
    let pipeline = json!({"application": "a", "name": "p", "triggers": [
        {"type": "git", "enabled": true, "source": "github", "project": "o", "slug": "r", "secret": "hush-hush",
         "signatureAlgorithm": "sha1"},
        {"type": "git", "enabled": true, "source": "github", "project": "o", "slug": "r", "secret": "hush-hush"},
    ]});
    let mut explanation = explain(&event, &[pipeline], &Settings::default());
    assert_eq!(explanation.matches[0]["matched"], true);
    assert_eq!(explanation.matches[0]["resolved"]["secret"], "hush-hush");
    assert!(
        explanation.matches[1]["reason"]
            .as_str()
            .unwrap()
            .contains("SHA-1")
    );
    gennaker_triggers::explain::without_secrets(&mut explanation.matches);
    assert!(
        !Value::from(explanation.matches)
            .to_string()
            .contains("hush-hush")
    );
}

#[test]
fn what_a_schedule_cannot_say_is_checked_or_refused_with_the_nearest() {
    let schedule = |expression: &str| Cron::parse(expression, 2026).unwrap().schedule();
    let exact = |expression: &str| Schedule::Exact {
        expression: expression.to_owned(),
    };
    assert_eq!(
        schedule("0 0/15 9-17 ? * MON-FRI"),
        exact("cron(0,15,30,45 9-17 ? * 2-6 *)")
    );
    assert_eq!(
        schedule("0 30 8 1 * ? 2027-2030"),
        exact("cron(30 8 1 * ? 2027-2030)")
    );
    assert_eq!(schedule("0 0 0 L * ?"), exact("cron(0 0 L * ? *)"));
    assert_eq!(schedule("0 0 0 ? * 6#3"), exact("cron(0 0 ? * 6#3 *)"));
    assert_eq!(schedule("0 0 0 ? * FRIL"), exact("cron(0 0 ? * 6L *)"));
    for expression in [
        "0 0 0 LW * ?",
        "0 0 0 L-3 * ?",
        "0 0 0 1,L * ?",
        "0 0 0 15W * ?",
    ] {
        let Schedule::CalendarCheck { expression, reason } = schedule(expression) else {
            panic!("{expression} can be said");
        };
        assert_eq!(expression, "cron(0 0 * * ? *)");
        assert!(!reason.is_empty());
    }
    let Schedule::Refused { nearest, .. } = schedule("*/10 * * ? * MON") else {
        panic!("a schedule has no seconds");
    };
    assert_eq!(nearest, "0 * * ? * 2");
    assert!(matches!(schedule(&nearest), Schedule::Exact { .. }));
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e20f64..1e20).prop_map(Value::from),
        "[ -~\\n\u{e9}]{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("git"),
            Just("docker"),
            Just("webhook"),
            Just("pubsub"),
            Just("main"),
            Just(".*"),
            Just("${1+1}")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A field that something reads, or any.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "type",
            "source",
            "details",
            "content",
            "payload",
            "triggers",
            "enabled",
            "branch",
            "project",
            "slug",
            "repoProject",
            "application",
            "name",
            "expectedArtifacts",
            "matchArtifact",
            "expectedArtifactIds",
            "payloadConstraints",
            "artifacts",
            "ref",
            "after",
            "repository",
            "owner",
            "commits",
            "event_type",
            "push",
            "changes",
            "pull_request",
            "messageDescription",
            "body",
            "kind",
            "Records",
            "detail",
            "detail-type",
        ])
        .prop_map(str::to_owned),
        "[a-z$.\\[\\]@*]{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_any_json(event in any_json(), pipelines in prop::collection::vec(any_json(), 0..3)) {
        let _ = arrived(&event);
        if let Ok(event) = Event::read(&event) {
            let _ = explain(&event, &pipelines, &Settings::default());
        }
        let wrapped: Vec<Value> = pipelines
            .iter()
            .map(|value| json!({"application": "a", "name": "n", "triggers": [value]}))
            .collect();
        for kind in ["git", "docker", "webhook", "pubsub", "build", "helm", "nexus", "plugin", "cdevents", "manual"] {
            let made = json!({"details": {"type": kind, "source": "x"}, "content": event, "payload": event});
            if let Ok(event) = Event::read(&made) {
                let _ = explain(&event, &wrapped, &Settings::default());
            }
        }
        for case in std::iter::once(&event).chain(&pipelines) {
            let _ = evaluate_trigger_case(case);
            let _ = evaluate_artifact_case(case);
            let _ = evaluate_cron_case(case, 2026);
            let _ = evaluate_webhook_case(case, &|_| None);
        }
    }

    #[test]
    fn nothing_panics_on_any_body(source in "github|gitlab|stash|bitbucket|gitea|gogs|azure|x", kind in "git|webhook|docker|cdevents", body in any_json(), key in "repo:push|pr:merged|pr:opened|repo:refs_changed|pullrequest:fulfilled|x") {
        let headers = [("X-Event-Key".to_owned(), key), ("Ce-Data".to_owned(), body.to_string())];
        let _ = receive(&kind, &source, &headers, body.to_string().as_bytes());
        let _ = receive(&kind, "dockerhub", &headers, body.to_string().as_bytes());
        let _ = receive(&kind, "quay", &[], body.to_string().as_bytes());
    }

    #[test]
    fn an_event_finds_exactly_the_triggers_that_match_it_in_the_index(
        projects in prop::collection::vec("[aAbB\u{df}\u{130}i]{1,2}", 1..6),
        slug in "[xX/]{1,2}",
        found in "[aAbB\u{df}\u{130}i]{1,2}",
    ) {
        let triggers: Vec<Value> = projects
            .iter()
            .map(|project| json!({"type": "git", "enabled": true, "source": "GitHub", "project": project, "slug": slug}))
            .collect();
        let pipeline = Pipeline::read(&json!({"application": "a", "name": "n", "triggers": triggers})).unwrap();
        let event = Event::read(&json!({
            "details": {"type": "GIT", "source": "github"},
            "content": {"repoProject": found, "slug": slug.to_lowercase()},
        })).unwrap();
        let heard = Heard::new(&event);
        let all: Vec<usize> = (0..triggers.len())
            .filter(|n| heard.matches(&pipeline, &pipeline.triggers[*n], &Settings::default()).matched)
            .collect();
        let indexed: Vec<usize> = Index::new(vec![pipeline])
            .matching(&event, &Settings::default())
            .iter()
            .map(|(_, n, _)| *n)
            .collect();
        prop_assert_eq!(indexed, all);
    }

    #[test]
    fn keys_are_short_enough_for_a_partition_key(text in "\\PC{0,3000}") {
        for kind in ["git", "docker", "webhook", "pubsub", "pipeline", "helm", "jenkins"] {
            let trigger = Trigger::read(&json!({
                "type": kind, "source": text, "project": text, "slug": text, "account": text, "repository": text,
                "pubsubSystem": "amazon", "subscriptionName": text, "pipeline": text, "master": text, "job": text,
            })).unwrap();
            prop_assert!(trigger_key(&trigger).unwrap().len() <= 1_000);
        }
        let event = Event::read(&json!({"details": {"type": "webhook", "source": text}})).unwrap();
        prop_assert!(event_keys(&event)[0].len() <= 1_000);
    }

    #[test]
    fn cron_times_ascend_fire_and_end(
        expression in "(0|\\*|\\*/7|5-50/9|H) (0|\\*|0/15|59-3) (\\*|2|1-3|23|0/5) (\\?|\\*|L|LW|15W|31W|1,L|31|L-3) (\\*|2|1/3|NOV-FEB) (\\?|\\*|MON|6L|2#5|FRI-MON)( 2024-2030| \\*/3)?",
        zone in prop::sample::select(vec!["America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "UTC", "Africa/Casablanca"]),
        after in 0i64..4_000_000_000,
        id in "[a-z0-9]{0,12}",
    ) {
        let fuzzed = fuzzed(&id, &expression).unwrap();
        let Ok(cron) = Cron::parse(&fuzzed, 2026) else { return Ok(()) };
        let zone = TimeZone::get(zone).unwrap();
        let mut at = Timestamp::from_second(after).unwrap();
        for _ in 0..4 {
            let Some(next) = cron.next(at, &zone) else { break };
            prop_assert!(next > at);
            prop_assert!(cron.fires_at(next, &zone), "{} at {}", fuzzed, next);
            at = next;
        }
        // Whatever a schedule says exactly is itself an expression that fires at the same times.
        if let Schedule::Exact { expression } = cron.schedule() {
            let inner = expression.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let again = Cron::parse(&format!("0 {inner}"), 2026).unwrap();
            let from = Timestamp::from_second(after).unwrap();
            prop_assert_eq!(again.next(from, &zone), cron.next(from, &zone));
        }
    }

    #[test]
    fn any_text_is_a_cron_expression_or_an_error(text in "[-0-9A-Z*/?,#LW \\t]{0,40}") {
        if let Ok(cron) = Cron::parse(&text, 2026) {
            let _ = cron.next(Timestamp::from_second(1_800_000_000).unwrap(), &TimeZone::UTC);
            let _ = cron.schedule();
        }
        let _ = fuzzed("x", &text);
    }
}
