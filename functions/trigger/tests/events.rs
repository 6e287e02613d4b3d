//! Events of every kind become executions, once, whatever is delivered twice and wherever a function dies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gennaker_cloud::Store;
use gennaker_receive_webhook::ReceiveWebhook;
use gennaker_receive_webhook::notification::Topics;
use gennaker_receive_webhook::senders::Configured;
use gennaker_start::Start;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryHttp, MemoryRegistry, MemorySecrets, MemoryStepFunctions,
    MemoryTable, at_every_call, sample,
};
use gennaker_trigger::Trigger;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// An installation from its public front to its state machines. Every call of every function counts and may fail.
struct World {
    faults: Faults,
    table: MemoryTable,
    store: Store,
    step_functions: MemoryStepFunctions,
    functions: MemoryFunctions,
    secrets: MemorySecrets,
    receive: ReceiveWebhook,
    trigger: Arc<Trigger>,
}

async fn world(triggers: &[Value], expected_artifacts: Value) -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.clone()));
    let step_functions = MemoryStepFunctions::with_faults(faults.clone());
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(faults.clone());
    let secrets = MemorySecrets::with_faults(faults.clone());
    let trigger = Arc::new(Trigger::new(
        store.clone(),
        Arc::new(MemoryRegistry::with_faults(faults.clone())),
        Arc::new(functions.clone()),
        "g",
    ));
    let start = Start::new(
        store.clone(),
        Arc::new(step_functions.clone()),
        Arc::new(functions.clone()),
        "g",
    );
    functions.serve("g-trigger:live", trigger.clone());
    functions.serve("g-start:live", Arc::new(start));
    let mut plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
    plan.expected_artifacts = expected_artifacts.as_array().cloned().unwrap_or_default();
    sample::save(&store, &plan, &sample::entries(triggers))
        .await
        .unwrap();
    World {
        receive: ReceiveWebhook::new(
            store.clone(),
            Arc::new(functions.clone()),
            Arc::new(secrets.clone()),
            Configured::default(),
            Topics::new(Arc::new(MemoryHttp::new()), "123456789012"),
            "g",
        ),
        faults,
        table,
        store,
        step_functions,
        functions,
        secrets,
        trigger,
    }
}

impl World {
    /// Delivers all that functions handed on, until nothing is left. Lambda delivers at least once: here twice.
    async fn settle(&self) {
        let mut delivered = 0;
        loop {
            let before = delivered;
            self.functions.deliver(before).await;
            delivered = self.functions.deliver(before).await;
            if delivered == before {
                return;
            }
        }
    }

    /// The triggers of all executions.
    async fn started(&self) -> Vec<Value> {
        let store = Store::new(Arc::new(self.table.without_faults()));
        let mut found = Vec::new();
        for execution in store.running_executions(100).await.unwrap() {
            found.push(store.trigger(&execution.id).await.unwrap().unwrap());
        }
        assert_eq!(found.len(), self.step_functions.runs().len());
        found
    }

    async fn one(&self, event: &Value) -> Value {
        for _ in 0..2 {
            self.trigger.trigger(event).await.unwrap();
        }
        self.settle().await;
        let mut started = self.started().await;
        assert_eq!(started.len(), 1, "{event}");
        started.remove(0)
    }
}

fn pubsub(subscription: &str, more: &Value) -> Value {
    let mut trigger = json!({"type": "pubsub", "enabled": true, "pubsubSystem": "amazon", "subscriptionName": subscription});
    let more = more.as_object().unwrap().clone();
    trigger.as_object_mut().unwrap().extend(more);
    trigger
}

fn push() -> Value {
    let body = json!({"repository": {"name": "api", "owner": {"name": "shop"}}, "ref": "refs/heads/main", "after": "abc"})
        .to_string();
    let mac = Hmac::<Sha256>::new_from_slice(b"hunter2").unwrap();
    let signature = hex::encode(mac.chain_update(&body).finalize().into_bytes());
    json!({
        "rawPath": "/webhooks/git/github", "body": body,
        "headers": {"x-hub-signature-256": format!("sha256={signature}"), "x-github-delivery": "d-1"},
        "requestContext": {"http": {"method": "POST"}},
    })
}

fn git() -> Value {
    json!({"type": "git", "enabled": true, "source": "github", "project": "shop", "slug": "api", "branch": "main|next",
        "secret": "ssm:g/git"})
}

/// INVARIANT of the front: whatever call of whichever function is cut off, the sender's and Lambda's repetitions end in
/// exactly one execution.
#[tokio::test]
async fn a_push_that_meets_a_crash_at_any_call_of_any_function_starts_one_execution() {
    at_every_call(async |strike| {
        let world = world(&[git()], json!([])).await;
        assert!(world.secrets.put("ssm:g/git", "hunter2"));
        let armed = strike.arm(&world.faults);
        let now = AtomicI64::new(1_000);
        armed
            .until_answered(async || {
                let now = now.fetch_add(60_000, Ordering::Relaxed);
                match world.receive.answer(&push(), now).await.status {
                    200 => Ok(()),
                    status => Err(status),
                }
            })
            .await;
        world.settle().await;
        let calls = armed.finish();
        let started = world.started().await;
        assert_eq!(started.len(), 1);
        assert_eq!(started[0]["hash"], "abc");
        assert!(!started[0].to_string().contains("ssm:g/git"));
        calls
    })
    .await;
}

#[tokio::test]
async fn a_push_that_is_posted_again_days_later_under_another_id_starts_nothing_more() {
    let world = world(&[git()], json!([])).await;
    world.secrets.put("ssm:g/git", "hunter2");
    let mut replay = push();
    replay["headers"]["x-github-delivery"] = "d-2".into();
    for (event, now) in [(push(), 1_000), (push(), 2_000), (replay, 400_000_000)] {
        assert_eq!(world.receive.answer(&event, now).await.status, 200);
        world.settle().await;
    }
    assert_eq!(world.started().await.len(), 1);
}

#[tokio::test]
async fn a_delivery_without_a_voucher_starts_no_trigger_with_a_secret() {
    let world = world(&[git()], json!([])).await;
    world.secrets.put("ssm:g/git", "hunter2");
    world.receive.answer(&push(), 1_000).await;
    let (_, mut delivery) = world.functions.invoked().remove(0);
    delivery["delivery"]["vouchers"] = json!(["00"]);
    let answer = world.trigger.trigger(&delivery).await.unwrap();
    assert_eq!(answer["started"], json!([]));
}

#[tokio::test]
async fn a_webhook_starts_what_its_constraints_let_through() {
    let hook = |constraint: &str| {
        json!({"type": "webhook", "enabled": true, "source": "release",
            "payloadConstraints": {"env": constraint}})
    };
    let world = world(&[hook("^prod$"), hook("^test$")], json!([])).await;
    let post = json!({"rawPath": "/webhooks/webhook/release", "headers": {},
        "requestContext": {"http": {"method": "POST"}}, "body": r#"{"env":"prod","parameters":{"v":"1"}}"#});
    for now in [0, 10_000] {
        world.receive.answer(&post, now).await;
        world.settle().await;
    }
    let started = world.started().await;
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["payloadConstraints"]["env"], "^prod$");
    assert_eq!(started[0]["parameters"]["v"], "1");
    world.receive.answer(&post, 400_000).await;
    world.settle().await;
    assert_eq!(world.started().await.len(), 2);
}

#[tokio::test]
async fn a_notification_of_a_topic_starts_by_its_payload_and_attributes() {
    let constraints =
        json!({"payloadConstraints": {"env": "prod"}, "attributeConstraints": {"kind": "release"}});
    let world = world(&[pubsub("orders", &constraints)], json!([])).await;
    let notification = |kind: &str| {
        json!({"Records": [{"EventSource": "aws:sns", "Sns": {
            "Type": "Notification", "MessageId": "m-1", "TopicArn": "arn:aws:sns:us-east-1:123456789012:orders",
            "Timestamp": "2026-11-21T14:00:00.000Z", "Message": r#"{"env":"prod"}"#,
            "MessageAttributes": {"kind": {"Type": "String", "Value": kind}}}}]})
    };
    let other = world.trigger.trigger(&notification("test")).await.unwrap();
    assert_eq!(other["started"], json!([]));
    assert_eq!(
        world.one(&notification("release")).await["payload"]["env"],
        "prod"
    );
}

fn message(id: &str, body: &str) -> Value {
    json!({"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:g-messages", "messageId": id,
        "attributes": {"SentTimestamp": "1700000000000"}, "body": body, "messageAttributes": {}})
}

#[tokio::test]
async fn a_message_that_cannot_be_read_goes_back_alone() {
    let world = world(&[pubsub("g-messages", &json!({}))], json!([])).await;
    let deep = "[".repeat(200) + &"]".repeat(200);
    let mut timeless = message("m-3", "{}");
    timeless["attributes"] = json!({});
    let batch = json!({"Records": [message("m-1", "{}"), message("m-2", &deep), timeless, message("m-4", "no JSON")]});
    let answer = world.trigger.trigger(&batch).await.unwrap();
    assert_eq!(
        answer,
        json!({"batchItemFailures": [{"itemIdentifier": "m-2"}, {"itemIdentifier": "m-3"}]})
    );
    world.settle().await;
    assert_eq!(world.started().await.len(), 2);
}

#[tokio::test]
async fn a_batch_that_meets_a_crash_at_any_call_starts_each_message_once() {
    at_every_call(async |strike| {
        let world = world(&[pubsub("g-messages", &json!({}))], json!([])).await;
        let armed = strike.arm(&world.faults);
        let failed =
            std::sync::Mutex::new(vec![message("m-1", "{}"), message("m-2", r#"{"a":1}"#)]);
        armed
            .until_answered(async || {
                // SQS delivers again what failed, and nothing else.
                let records = failed.lock().unwrap().clone();
                let answer = world
                    .trigger
                    .trigger(&json!({ "Records": records }))
                    .await
                    .unwrap();
                let again: Vec<Value> = answer["batchItemFailures"].as_array().unwrap().clone();
                let mut failed = failed.lock().unwrap();
                failed.retain(|one| {
                    again
                        .iter()
                        .any(|item| item["itemIdentifier"] == one["messageId"])
                });
                if failed.is_empty() {
                    Ok(())
                } else {
                    Err(answer)
                }
            })
            .await;
        world.settle().await;
        let calls = armed.finish();
        assert_eq!(world.started().await.len(), 2);
        calls
    })
    .await;
}

#[tokio::test]
async fn a_notification_in_two_messages_of_a_queue_is_one_event() {
    let world = world(&[pubsub("g-messages", &json!({}))], json!([])).await;
    let notification = json!({"Type": "Notification", "MessageId": "n-1", "TopicArn": "arn:aws:sns:us-east-1:1:t",
        "Timestamp": "2026-11-21T14:00:00.000Z", "Message": r#"{"env":"prod"}"#});
    let twice = [
        message("m-1", &notification.to_string()),
        message("m-2", &notification.to_string()),
    ];
    assert_eq!(
        world.one(&json!({ "Records": twice })).await["payload"]["env"],
        "prod"
    );
}

fn bridged(source: &str, kind: &str, detail: &Value) -> Value {
    json!({"id": "e-1", "time": "2026-11-21T14:00:00Z", "source": source, "detail-type": kind,
        "account": "123456789012", "region": "us-east-1", "detail": detail})
}

#[tokio::test]
async fn the_end_of_a_codebuild_build_starts_by_project_and_status() {
    let constraints =
        json!({"payloadConstraints": {"project-name": "^api$", "build-status": "SUCCEEDED"}});
    let world = world(&[pubsub("aws.codebuild", &constraints)], json!([])).await;
    let event = |status: &str| {
        let detail = json!({"project-name": "api", "build-status": status});
        bridged("aws.codebuild", "CodeBuild Build State Change", &detail)
    };
    let failed = world.trigger.trigger(&event("FAILED")).await.unwrap();
    assert_eq!(failed["started"], json!([]));
    world.one(&event("SUCCEEDED")).await;
}

#[tokio::test]
async fn a_new_object_starts_the_pipeline_that_expects_it_and_is_its_artifact() {
    let expected = json!([{"id": "x-1", "matchArtifact": {"type": "s3/object", "name": "s3://releases/.*\\.zip"},
        "defaultArtifact": {}, "useDefaultArtifact": false, "usePriorArtifact": false}]);
    let world = world(
        &[pubsub("aws.s3", &json!({"expectedArtifactIds": ["x-1"]}))],
        expected,
    )
    .await;
    let event = |key: &str| {
        let detail =
            json!({"bucket": {"name": "releases"}, "object": {"key": key, "version-id": "7"}});
        bridged("aws.s3", "Object Created", &detail)
    };
    let answer = world.trigger.trigger(&event("notes.txt")).await.unwrap();
    assert_eq!(answer["started"], json!([]));
    let started = world.one(&event("api-1.2.zip")).await;
    assert_eq!(
        started["artifacts"][0]["reference"],
        "s3://releases/api-1.2.zip"
    );
    assert_eq!(
        started["resolvedExpectedArtifacts"][0]["boundArtifact"]["version"],
        "7"
    );
}

#[tokio::test]
async fn the_message_format_of_a_subscription_names_the_artifacts_of_its_messages() {
    let world = world(&[pubsub("g-messages", &json!({}))], json!([])).await;
    let format = r#"[{"type": "custom/object", "name": "{{ app }}", "reference": "{{ app }}-{{ version }}"}]"#;
    world
        .store
        .save_message_format("G-Messages", format)
        .await
        .unwrap();
    let batch = json!({"Records": [message("m-1", r#"{"app":"api","version":"1.2"}"#)]});
    assert_eq!(
        world.one(&batch).await["artifacts"][0]["reference"],
        "api-1.2"
    );
    // A format that makes nothing of a message keeps no message from starting.
    world
        .store
        .save_message_format("g-messages", "{{")
        .await
        .unwrap();
    let other = json!({"Records": [message("m-2", "{}")]});
    world.trigger.trigger(&other).await.unwrap();
    world.settle().await;
    assert_eq!(world.started().await.len(), 2);
}

#[tokio::test]
async fn a_push_to_codecommit_starts_by_its_branch() {
    let trigger = json!({"type": "git", "enabled": true, "source": "codecommit", "project": "123456789012/us-east-1",
        "slug": "api", "branch": "main"});
    let world = world(&[trigger], json!([])).await;
    let detail = json!({"event": "referenceUpdated", "repositoryName": "api", "referenceType": "branch",
        "referenceName": "main", "commitId": "abc"});
    let started = world
        .one(&bridged(
            "aws.codecommit",
            "CodeCommit Repository State Change",
            &detail,
        ))
        .await;
    assert_eq!(
        (&started["hash"], &started["branch"]),
        (&json!("abc"), &json!("main"))
    );
}

/// A commit as CodePipeline tells that it fetched it by a connection.
fn fetched(provider: &str, repository: &str) -> Value {
    let address = format!(
        "https://us-east-1.console.aws.amazon.com/codesuite/settings/connections/redirect?connectionArn=arn:aws:codestar-connections:us-east-1:123456789012:connection/c-1&referenceType=COMMIT&FullRepositoryId={repository}&Commit=abc"
    );
    let summary =
        json!({"ProviderType": provider, "CommitMessage": "faster\n\nby far"}).to_string();
    json!({
        "pipeline": "fetch", "execution-id": "e-1", "stage": "Source", "action": "Source", "state": "SUCCEEDED",
        "type": {"owner": "AWS", "provider": "CodeStarSourceConnection", "category": "Source", "version": "1"},
        "execution-result": {"external-execution-url": address, "external-execution-summary": summary,
            "external-execution-id": "abc"},
    })
}

#[tokio::test]
async fn a_commit_that_codepipeline_fetched_by_a_connection_starts_the_triggers_of_its_repository()
{
    const KIND: &str = "CodePipeline Action Execution State Change";
    for (provider, source, repository, project) in [
        ("GitHub", "github", "shop/api", "shop"),
        ("GitHubEnterpriseServer", "github", "shop/api", "shop"),
        ("Bitbucket", "bitbucket", "shop/api", "shop"),
        ("GitLab", "gitlab", "shop%2Fteam/api", "shop/team"),
    ] {
        let trigger = json!({"type": "git", "enabled": true, "source": source, "project": project, "slug": "api",
            "secret": "ssm:g/git"});
        let world = world(&[trigger], json!([])).await;
        let event = bridged("aws.codepipeline", KIND, &fetched(provider, repository));
        let started = world.one(&event).await;
        assert_eq!(started["hash"], "abc", "{provider}");
        assert_eq!(started["branch"], Value::Null);
        assert_eq!(started["properties"]["title"], "faster");
    }
    // Somebody else's word is not that of AWS.
    let git = json!({"type": "git", "enabled": true, "source": "github", "project": "shop", "slug": "api",
        "secret": "ssm:g/git"});
    let world = world(&[git], json!([])).await;
    for (source, detail) in [
        ("attacker", fetched("GitHub", "shop/api")),
        ("aws.codepipeline", fetched("Subversion", "shop/api")),
        ("aws.codepipeline", fetched("GitHub", "api")),
        (
            "aws.codepipeline",
            json!({"type": {"category": "Source", "provider": "CodeStarSourceConnection"}}),
        ),
        (
            "aws.codepipeline",
            json!({"type": {"category": "Source", "provider": "CodeStarSourceConnection"}, "state": "SUCCEEDED"}),
        ),
    ] {
        world
            .trigger
            .trigger(&bridged(source, KIND, &detail))
            .await
            .unwrap();
    }
    world.settle().await;
    assert!(world.started().await.is_empty());
}

#[tokio::test]
async fn the_end_of_a_build_that_was_polled_starts_its_pipeline() {
    let trigger = json!({"type": "jenkins", "enabled": true, "master": "ci", "job": "api"});
    let world = world(&[trigger], json!([])).await;
    let event = json!({"at": 1_700_000_000_000_i64, "event": {"details": {"type": "build", "source": "igor"},
        "eventId": "ci/api/7", "content": {"master": "ci",
            "project": {"name": "api", "lastBuild": {"building": false, "number": 7, "result": "SUCCESS"}}}}});
    assert_eq!(world.one(&event).await["buildNumber"], 7);
    let mut nameless = event;
    nameless["event"]["eventId"] = Value::Null;
    assert!(world.trigger.trigger(&nameless).await.is_err());
}

#[tokio::test]
async fn what_an_execution_cannot_carry_starts_nothing_and_goes_round_no_more() {
    let hook = json!({"type": "webhook", "enabled": true, "source": "release"});
    let world = world(&[hook], json!([])).await;
    let large = json!({"a": "x".repeat(400_000)}).to_string();
    let post = json!({"rawPath": "/webhooks/webhook/release", "headers": {},
        "requestContext": {"http": {"method": "POST"}}, "body": large});
    assert_eq!(world.receive.answer(&post, 0).await.status, 200);
    world.settle().await;
    assert!(world.started().await.is_empty());
}

#[tokio::test]
async fn an_event_costs_the_same_calls_however_many_pipelines_there_are() {
    let mut triggers: Vec<Value> = (0..60)
        .map(|n| json!({"type": "webhook", "enabled": true, "source": format!("other-{n}")}))
        .collect();
    triggers.push(pubsub("orders", &json!({})));
    let world = world(&triggers, json!([])).await;
    let before = world.faults.calls().len();
    let detail = json!({});
    world
        .trigger
        .trigger(&bridged("orders", "anything", &detail))
        .await
        .unwrap();
    let calls = world.faults.calls();
    // The index, the subscription's message format, and the start.
    assert_eq!(calls[before..].len(), 3, "{:?}", &calls[before..]);
    assert!(world.store.running_executions(10).await.unwrap().is_empty());
}
