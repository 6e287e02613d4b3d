//! Tasks of parallel branches have tokens of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use gennaker_local::{LocalCloud, Options, Silent};
use serde_json::json;

const BRANCHES: usize = 8;

#[test]
fn each_branch_of_a_parallel_state_sends_its_own_token_when_it_is_called_again() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let cloud = LocalCloud::start(&Options::new(target), &Silent).unwrap();
    let queue = cloud
        .call("sqs", "create_queue", json!({ "QueueName": "tokens" }))
        .unwrap()["QueueUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let branch = json!({
        "StartAt": "Ask",
        "States": { "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "Arguments": { "QueueUrl": queue, "MessageBody": "{% $states.context.Task.Token %}" },
            "TimeoutSeconds": 1,
            "Retry": [{ "ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 9, "BackoffRate": 1 }],
            "End": true,
        } },
    });
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "All",
        "States": { "All": { "Type": "Parallel", "Branches": vec![branch; BRANCHES], "End": true } },
    });
    let machine = cloud
        .call(
            "stepfunctions",
            "create_state_machine",
            json!({ "name": "tokens", "definition": definition.to_string(), "roleArn": "arn:aws:iam::123456789012:role/tokens" }),
        )
        .unwrap()["stateMachineArn"]
        .clone();
    cloud
        .call(
            "stepfunctions",
            "start_execution",
            json!({ "stateMachineArn": machine }),
        )
        .unwrap();

    let deadline = Instant::now() + Duration::from_secs(40);
    let mut calls = BTreeMap::<String, usize>::new();
    while calls.values().sum::<usize>() < 2 * BRANCHES {
        assert!(Instant::now() < deadline, "{calls:?}");
        let received = cloud
            .call(
                "sqs",
                "receive_message",
                json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 }),
            )
            .unwrap();
        for message in received["Messages"].as_array().into_iter().flatten() {
            let token = message["Body"].as_str().unwrap().to_owned();
            *calls.entry(token).or_default() += 1;
        }
    }
    // AWS makes a token for each call, the emulator for each Task. A quick branch may be one call ahead.
    assert!(
        calls.len() >= BRANCHES && calls.values().all(|times| *times <= 3),
        "{calls:#?}"
    );
    cloud.stop().unwrap();
}
