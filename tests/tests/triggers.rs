//! Events of every kind, through what takes them in the local cloud: the public API, the queue, the topic, the rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use gennaker_tests::system;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "hunter2";

fn save(application: &str, trigger: &Value) {
    system().save_heard(application, trigger);
}

fn send(event: &Value, times: u32) -> Vec<Value> {
    system().send(event, times)
}

fn the_one(application: &str) -> Value {
    system().the_one(application, "release")
}

fn started_nothing(application: &str) {
    let found = system().of_pipeline(application, "release");
    assert!(found.is_empty(), "{found:#?}");
}

fn push_of(project: &str) -> String {
    json!({ "repository": { "name": "api", "owner": { "name": project } }, "ref": "refs/heads/main", "after": "0abc" })
        .to_string()
}

fn signature(body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let bytes = mac.chain_update(body).finalize().into_bytes();
    format!("sha256={}", hex::encode(bytes))
}

fn git(project: &str) -> Value {
    json!({ "type": "git", "source": "github", "project": project, "slug": "api", "branch": "main", "secret": "ssm:/gennaker/git" })
}

fn keep_secret() {
    let parameters = json!({ "Name": "/gennaker/git", "Value": SECRET, "Type": "SecureString", "Overwrite": true });
    system()
        .cloud
        .call("ssm", "put_parameter", parameters)
        .unwrap();
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn a_signed_push_that_is_delivered_three_times_starts_its_pipeline_once() {
    keep_secret();
    save("tr-git", &git("tr-git"));
    let body = push_of("tr-git");
    let event = json!({ "kind": "webhook", "path": "/webhooks/git/github", "body": body, "headers": {
        "x-github-event": "push", "x-github-delivery": "d-1", "x-hub-signature-256": signature(&body) } });
    for sent in send(&event, 3) {
        assert_eq!(
            (&sent["status"], &sent["answer"]["eventProcessed"]),
            (&json!(200), &json!(true))
        );
    }
    let execution = the_one("tr-git");
    assert_eq!(execution["trigger"]["hash"], "0abc");
    assert!(!execution.to_string().contains(SECRET));
}

#[test]
fn an_image_push_that_is_delivered_three_times_starts_its_pipeline_once() {
    let registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let trigger = json!({ "type": "docker", "account": "ecr", "registry": registry, "repository": "tr/ecr", "tag": r"v\d+" });
    save("tr-ecr", &trigger);
    send(&system().cloud.push_image("tr/ecr", "v1", "").unwrap(), 3);
    assert_eq!(the_one("tr-ecr")["trigger"]["tag"], "v1");
}

#[test]
fn a_message_of_the_queue_starts_its_pipeline_once() {
    let trigger = json!({ "type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "gennaker-messages",
        "payloadConstraints": { "for": "^tr-sqs$" } });
    save("tr-sqs", &trigger);
    send(
        &json!({ "kind": "sqs", "body": json!({ "for": "tr-sqs" }).to_string() }),
        1,
    );
    assert_eq!(the_one("tr-sqs")["trigger"]["payload"]["for"], "tr-sqs");
}

#[test]
fn a_message_that_lambda_delivers_three_times_starts_its_pipeline_once() {
    let trigger =
        json!({ "type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "orders" });
    save("tr-again", &trigger);
    let sent = send(&json!({ "kind": "sqs", "path": "orders", "body": "{}" }), 3);
    assert!(
        sent.iter()
            .all(|one| one["answer"]["batchItemFailures"] == json!([])),
        "{sent:?}"
    );
    the_one("tr-again");
}

#[test]
fn a_notification_of_the_topic_starts_its_pipeline_once() {
    let trigger = json!({ "type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "gennaker-messages",
        "attributeConstraints": { "kind": "release" }, "payloadConstraints": { "for": "tr-sns" } });
    save("tr-sns", &trigger);
    let event = |kind: &str| json!({ "kind": "sns", "headers": { "kind": kind }, "body": json!({ "for": "tr-sns" }).to_string() });
    send(&event("test"), 1);
    send(&event("release"), 1);
    the_one("tr-sns");
}

#[test]
fn a_webhook_starts_the_pipeline_whose_constraints_it_meets_once() {
    for (application, wanted) in [("tr-hook", "^prod$"), ("tr-hook-other", "^test$")] {
        let trigger = json!({ "type": "webhook", "source": "tr-hook", "payloadConstraints": { "env": wanted } });
        save(application, &trigger);
    }
    let body = json!({ "env": "prod", "parameters": { "version": "1.2" } }).to_string();
    send(
        &json!({ "kind": "webhook", "path": "/webhooks/webhook/tr-hook", "body": body }),
        3,
    );
    assert_eq!(
        the_one("tr-hook")["trigger"]["parameters"]["version"],
        "1.2"
    );
    started_nothing("tr-hook-other");
}

#[test]
fn the_end_of_a_build_starts_its_pipeline_and_the_end_of_that_one_the_next_once() {
    let trigger = json!({ "type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "aws.codebuild",
        "payloadConstraints": { "project-name": "tr-build", "build-status": "SUCCEEDED" } });
    save("tr-build", &trigger);
    let next = json!({ "type": "pipeline", "application": "tr-build", "pipeline": "tr-build-release", "status": ["successful"] });
    save("tr-next", &next);
    let event = json!({ "source": "aws.codebuild", "detail-type": "CodeBuild Build State Change",
        "detail": { "project-name": "tr-build", "build-status": "SUCCEEDED" } });
    send(&event, 3);
    the_one("tr-build");
    the_one("tr-next");
}

/// Path, headers and body of a request, and the status that it is refused with.
type Refused<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [u8], u16);

/// What the public API must refuse, each with its status and within bounded time.
#[test]
fn forged_large_deep_and_unreadable_webhooks_are_refused() {
    keep_secret();
    save("tr-bad", &git("tr-bad"));
    save(
        "tr-bad-hook",
        &json!({ "type": "webhook", "source": "tr-bad" }),
    );
    let body = push_of("tr-bad");
    let right = signature(&body);
    let github = "/webhooks/git/github";
    let hook = "/webhooks/webhook/tr-bad";
    let forged = right.replace(|c: char| c.is_ascii_digit(), "0");
    let of_another = push_of("tr-bad").replace("main", "next");
    let large = vec![b' '; 10 * 1024 * 1024];
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let cases: [Refused; 10] = [
        (
            github,
            vec![JSON, ("x-hub-signature-256", &forged)],
            body.as_bytes(),
            401,
        ),
        (
            github,
            vec![JSON, ("x-hub-signature-256", &right)],
            of_another.as_bytes(),
            401,
        ),
        (github, vec![JSON], body.as_bytes(), 401),
        (
            "/webhooks/git/sourceforge",
            vec![JSON],
            body.as_bytes(),
            400,
        ),
        ("/webhooks/manual/tr-bad", vec![JSON], b"{}", 404),
        (hook, vec![JSON], &large, 413),
        (hook, vec![JSON], deep.as_bytes(), 400),
        (hook, vec![JSON], b"{\"a\":\"\xFF\xFE\"}", 400),
        (hook, vec![], b"{\"a\":\"\xFF\xFE\"}", 400),
        (hook, vec![JSON], b"[1]", 400),
    ];
    for (path, headers, body, status) in cases {
        let answer = system().post(path, &headers, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.len() < 1_000);
    }
    std::thread::sleep(Duration::from_secs(2));
    started_nothing("tr-bad");
    started_nothing("tr-bad-hook");
}

#[test]
fn a_pattern_that_takes_for_ever_keeps_nobody_waiting() {
    let constraint = json!({ "a": "^(a+)+(b+)+$" });
    let bomb = json!({ "type": "webhook", "source": "tr-bomb", "payloadConstraints": constraint });
    save("tr-bomb", &bomb);
    save(
        "tr-beside",
        &json!({ "type": "webhook", "source": "tr-bomb" }),
    );
    let body = json!({ "a": format!("{}!", "a".repeat(5_000)) }).to_string();
    assert_eq!(
        system()
            .post("/webhooks/webhook/tr-bomb", &[JSON], body.as_bytes())
            .status,
        200
    );
    the_one("tr-beside");
    started_nothing("tr-bomb");
}
