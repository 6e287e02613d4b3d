//! What AWS itself tells starts pipelines, and what the installation tells reaches whoever listens: by the rules, the bus
//! and the queues of the local cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gennaker_tests::System;
use gennaker_tests::executions::until;
use serde_json::{Value, json};

const BUCKET: &str = "gennaker-releases";

/// A system that hears of the objects of one bucket.
fn system() -> &'static System {
    static SYSTEM: OnceLock<System> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let system = System::start(&[("ObjectBuckets", BUCKET)]);
        let call = |operation: &str, parameters: Value| {
            system.cloud.call("s3", operation, parameters).unwrap();
        };
        call("create_bucket", json!({ "Bucket": BUCKET }));
        let told = json!({ "Bucket": BUCKET, "NotificationConfiguration": { "EventBridgeConfiguration": {} } });
        call("put_bucket_notification_configuration", told);
        system
    })
}

fn the_one(application: &str) -> Value {
    system().the_one(application, "release")
}

#[test]
fn a_new_object_starts_its_pipeline_once_however_often_it_is_told() {
    let objects = |detail_type: &str| {
        json!({ "type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "aws.s3",
            "attributeConstraints": { "detail-type": detail_type } })
    };
    system().save_heard("ev-object", &objects("^Object Created$"));
    system().save_heard("ev-object-other", &objects("^Object Deleted$"));
    let put = json!({ "Bucket": BUCKET, "Key": "shop/api-1.2.zip", "Body": "x" });
    system().cloud.call("s3", "put_object", put).unwrap();
    let trigger = the_one("ev-object")["trigger"].clone();
    let artifact = &trigger["artifacts"][0];
    assert_eq!(
        (&artifact["type"], &artifact["reference"]),
        (
            &json!("s3/object"),
            &json!(format!("s3://{BUCKET}/shop/api-1.2.zip"))
        )
    );
    let event = json!({ "source": "aws.s3", "detail-type": "Object Created", "detail": {
        "bucket": { "name": BUCKET }, "object": { "key": "shop/told-again.zip" } } });
    let _ = system().send(&event, 3);
    let both = until("the second object", || {
        let found = system().of_pipeline("ev-object", "release");
        (found.len() > 1).then_some(found)
    });
    assert_eq!(both.len(), 2, "{both:#?}");
    assert!(
        system()
            .of_pipeline("ev-object-other", "release")
            .is_empty()
    );
}

#[test]
fn a_push_to_codecommit_that_is_told_three_times_starts_its_pipeline_once() {
    let git = |branch: &str| {
        json!({ "type": "git", "source": "codecommit", "project": "123456789012/us-east-1",
        "slug": "ev-api", "branch": branch })
    };
    system().save_heard("ev-commit", &git("main"));
    system().save_heard("ev-commit-next", &git("next"));
    let event = json!({ "source": "aws.codecommit", "detail-type": "CodeCommit Repository State Change",
        "detail": { "event": "referenceUpdated", "repositoryName": "ev-api", "referenceType": "branch",
            "referenceName": "main", "referenceFullName": "refs/heads/main", "commitId": "0abc" } });
    let _ = system().send(&event, 3);
    let execution = the_one("ev-commit");
    assert_eq!(
        (
            &execution["trigger"]["hash"],
            &execution["trigger"]["branch"]
        ),
        (&json!("0abc"), &json!("main"))
    );
    assert!(system().of_pipeline("ev-commit-next", "release").is_empty());
}

#[test]
fn the_end_of_a_codepipeline_and_the_commit_that_it_fetched_each_start_their_pipeline_once() {
    let ended = json!({ "type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "aws.codepipeline",
        "payloadConstraints": { "pipeline": "^ev-fetch$", "state": "SUCCEEDED" } });
    system().save_heard("ev-ended", &ended);
    let git = json!({ "type": "git", "source": "github", "project": "ev-shop", "slug": "api" });
    system().save_heard("ev-fetched", &git);
    let address = "https://us-east-1.console.aws.amazon.com/codesuite/settings/connections/redirect?connectionArn=arn:aws:codeconnections:us-east-1:123456789012:connection/c-1&referenceType=COMMIT&FullRepositoryId=ev-shop/api&Commit=0abc";
    let fetched = json!({ "source": "aws.codepipeline", "detail-type": "CodePipeline Action Execution State Change",
        "detail": { "pipeline": "ev-fetch", "stage": "Source", "action": "Source", "state": "SUCCEEDED",
            "type": { "owner": "AWS", "category": "Source", "provider": "CodeStarSourceConnection", "version": "1" },
            "execution-result": { "external-execution-id": "0abc", "external-execution-url": address,
                "external-execution-summary": json!({ "ProviderType": "GitHub", "CommitMessage": "faster" }).to_string() } } });
    let _ = system().send(&fetched, 3);
    assert_eq!(the_one("ev-fetched")["trigger"]["hash"], "0abc");
    assert!(system().of_pipeline("ev-ended", "release").is_empty());
    let end = json!({ "source": "aws.codepipeline", "detail-type": "CodePipeline Pipeline Execution State Change",
        "detail": { "pipeline": "ev-fetch", "execution-id": "e-1", "state": "SUCCEEDED" } });
    let _ = system().send(&end, 3);
    assert_eq!(
        the_one("ev-ended")["trigger"]["payload"]["pipeline"],
        "ev-fetch"
    );
}

/// A queue, its address and ARN.
fn queue(name: &str) -> (String, String) {
    let call = |operation: &str, parameters: Value| {
        system().cloud.call("sqs", operation, parameters).unwrap()
    };
    let made = call("create_queue", json!({ "QueueName": name }));
    let url = made["QueueUrl"].as_str().unwrap().to_owned();
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
    let arn = call("get_queue_attributes", asked)["Attributes"]["QueueArn"].clone();
    (url, arn.as_str().unwrap().to_owned())
}

/// Bodies of the messages that lie in a queue, taken out of it.
fn taken(url: &str) -> Vec<Value> {
    let call = |operation: &str, parameters: Value| {
        system().cloud.call("sqs", operation, parameters).unwrap()
    };
    let received = call(
        "receive_message",
        json!({ "QueueUrl": url, "MaxNumberOfMessages": 10 }),
    );
    let messages = received["Messages"].as_array().cloned().unwrap_or_default();
    messages
        .iter()
        .map(|message| {
            let gone = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
            call("delete_message", gone);
            serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()
        })
        .collect()
}

#[test]
fn whoever_listens_to_the_bus_and_to_a_topic_hears_what_a_pipeline_does() {
    let (bus_url, bus_queue) = queue("ev-bus");
    let pattern =
        json!({ "source": ["gennaker"], "detail": { "application": ["ev-told"] } }).to_string();
    let events = |operation: &str, parameters: Value| {
        system()
            .cloud
            .call("events", operation, parameters)
            .unwrap()
    };
    events(
        "put_rule",
        json!({ "Name": "ev-told", "EventBusName": "gennaker", "EventPattern": pattern }),
    );
    events(
        "put_targets",
        json!({ "Rule": "ev-told", "EventBusName": "gennaker",
        "Targets": [{ "Id": "queue", "Arn": bus_queue }] }),
    );
    let (topic_url, topic_queue) = queue("ev-topic");
    let topic = system()
        .cloud
        .call(
            "sns",
            "create_topic",
            json!({ "Name": "gennaker-ev-topic" }),
        )
        .unwrap();
    let topic = topic["TopicArn"].as_str().unwrap().to_owned();
    let subscription = json!({ "TopicArn": topic, "Protocol": "sqs", "Endpoint": topic_queue });
    system()
        .cloud
        .call("sns", "subscribe", subscription)
        .unwrap();
    let told = json!({ "notifications": [{ "type": "sns", "address": topic, "when": ["pipeline.complete"] }] });
    let stages = [gennaker_tests::executions::wait("1", &[], 1)];
    system().save(&gennaker_tests::executions::named(
        "ev-told",
        "release",
        "ev-told-release",
        &stages,
        &told,
    ));
    let id = system().start_execution("ev-told/release", &[]);
    assert_eq!(system().ended(&id)["status"], "SUCCEEDED");
    // Delivery is at least once, in no certain order: by what happened, what was told of it.
    let wanted = [
        "pipeline.starting",
        "stage.starting",
        "stage.complete",
        "pipeline.complete",
    ];
    let mut heard: BTreeMap<String, Value> = BTreeMap::new();
    until("all that happened, on the bus", || {
        for event in taken(&bus_url) {
            let when = event["detail"]["when"].as_str().unwrap().to_owned();
            heard.insert(when, event);
        }
        wanted
            .iter()
            .all(|when| heard.contains_key(*when))
            .then_some(())
    });
    assert_eq!(heard.len(), wanted.len(), "{:?}", heard.keys());
    let end = &heard["pipeline.complete"];
    assert_eq!(end["detail-type"], "Pipeline Status Change");
    assert_eq!(
        (
            &end["detail"]["execution"]["id"],
            &end["detail"]["execution"]["status"]
        ),
        (&json!(id), &json!("SUCCEEDED"))
    );
    assert_eq!(heard["stage.complete"]["detail"]["stage"]["refId"], "1");
    let notification = until("the topic's message", || taken(&topic_url).pop());
    assert!(
        notification["Message"].as_str().unwrap().contains(&id),
        "{notification}"
    );
}
