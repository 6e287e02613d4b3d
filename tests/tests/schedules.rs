//! Schedules, queues and dead letters, on the local cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::time::Duration;

use gennaker_tests::executions::{until, until_within, wait, with};
use gennaker_tests::{pipeline, system};
use serde_json::{Value, json};

/// Saves `APP/release APP` with one stage.
fn save(application: &str, stage: Value, more: &Value) {
    system().save(&with(pipeline(application, &[stage]), more));
}

/// Its executions, newest first.
fn executions(application: &str) -> Vec<Value> {
    system().of_pipeline(application, &format!("release {application}"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn is_over(execution: &Value) -> bool {
    !["NOT_STARTED", "RUNNING", "PAUSED"].contains(&text(execution, "status"))
}

fn schedules() -> Vec<Value> {
    let group = json!({ "GroupName": "gennaker-cron" });
    let listed = system().cloud.call("scheduler", "list_schedules", group);
    listed.unwrap()["Schedules"].as_array().unwrap().clone()
}

/// Entries of the trigger index under this key.
fn entries(key: &str) -> Vec<Value> {
    let query = json!({
        "TableName": "gennaker", "ConsistentRead": true, "KeyConditionExpression": "PK = :p",
        "ExpressionAttributeValues": { ":p": { "S": format!("TRIGGER#{key}") } },
    });
    let answer = system().cloud.call("dynamodb", "query", query).unwrap();
    answer["Items"].as_array().unwrap().clone()
}

#[test]
fn a_schedule_fires_its_pipeline_once_a_time_and_goes_with_it() {
    let cron = json!({ "triggers": [
        { "type": "cron", "enabled": true, "id": "t-1", "cronExpression": "0 * * * * ?", "timeZone": "Europe/Berlin" },
        { "type": "webhook", "enabled": true, "source": "nightly-now" },
    ]});
    save("cron", wait("1", &[], 1), &cron);
    let found = schedules();
    assert_eq!(found.len(), 1, "{found:?}");
    let name = text(&found[0], "Name").to_owned();
    let key = format!("cron#{name}");
    assert_eq!(entries(&key).len(), 1);
    assert_eq!(entries("webhook#nightly-now").len(), 1);
    until_within("an execution by schedule", 100, || executions("cron").pop());
    // Scheduler delivers at least once: the same call again, twice, for each time that was due.
    let fired: Vec<Value> = executions("cron")
        .iter()
        .map(|one| system().show(text(one, "id")))
        .collect();
    for execution in &fired {
        let due = &execution["trigger"]["eventId"];
        let again = json!({ "schedule": name, "cronExpression": "0 * * * * ?", "timeZone": "Europe/Berlin", "scheduledTime": due });
        for _ in 0..2 {
            let call = json!({ "FunctionName": "gennaker-trigger:live", "InvocationType": "Event", "Payload": again.to_string() });
            system().cloud.call("lambda", "invoke", call).unwrap();
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    let due: Vec<String> = executions("cron")
        .iter()
        .map(|one| {
            system().show(text(one, "id"))["trigger"]["eventId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let distinct: BTreeSet<&String> = due.iter().collect();
    assert_eq!(distinct.len(), due.len(), "{due:?}");
    assert!(due.iter().all(|time| time.ends_with(":00Z")), "{due:?}");
    let deleted = system().gennaker(&["pipeline", "delete", "cron/release cron"]);
    assert_eq!(deleted.status, 0, "{deleted:#?}");
    assert!(schedules().is_empty());
    assert!(entries(&key).is_empty() && entries("webhook#nightly-now").is_empty());
}

/// Starts ten executions, nine of them at once, behind one that runs; their ids, the first one first.
fn start_ten(application: &str) -> Vec<String> {
    let reference = format!("{application}/release {application}");
    let arguments = ["execution", "start", reference.as_str(), "--json"];
    let mut ids = vec![text(system().gennaker(&arguments).summary(), "executionId").to_owned()];
    let others: Vec<_> = (0..9).map(|_| system().spawn(&arguments)).collect();
    for other in others {
        let answer = other.finish();
        assert_eq!(answer.status, 0, "{answer:#?}");
        ids.push(text(answer.summary(), "executionId").to_owned());
    }
    ids
}

fn over(application: &str) -> Vec<Value> {
    let mut all = until_within("the end of ten executions", 240, || {
        let all = executions(application);
        (all.len() == 10 && all.iter().all(is_over)).then_some(all)
    });
    all.sort_by_key(|one| one["buildTime"].as_i64());
    all
}

#[test]
fn ten_executions_wait_for_each_other_in_their_order() {
    save(
        "fifo",
        wait("1", &[], 1),
        &json!({ "limitConcurrent": true, "keepWaitingPipelines": true }),
    );
    let started: BTreeSet<String> = start_ten("fifo").into_iter().collect();
    assert_eq!(started.len(), 10);
    let all = over("fifo");
    let time = |one: &Value, field: &str| one[field].as_i64().unwrap();
    assert!(
        all.iter().all(|one| one["status"] == "SUCCEEDED"),
        "{all:#?}"
    );
    for pair in all.windows(2) {
        if time(&pair[0], "buildTime") < time(&pair[1], "buildTime") {
            assert!(
                time(&pair[0], "startTime") < time(&pair[1], "startTime"),
                "{all:#?}"
            );
        }
    }
    let mut by_start = all.clone();
    by_start.sort_by_key(|one| time(one, "startTime"));
    for pair in by_start.windows(2) {
        assert!(
            time(&pair[0], "endTime") <= time(&pair[1], "startTime"),
            "{by_start:#?}"
        );
    }
}

#[test]
fn of_ten_executions_the_newest_that_waits_runs_and_the_others_are_canceled_with_the_reason() {
    save(
        "newest",
        json!({ "refId": "1", "type": "manualJudgment", "name": "Go?", "requisiteStageRefIds": [] }),
        &json!({ "limitConcurrent": true, "keepWaitingPipelines": false }),
    );
    let first = start_ten("newest").remove(0);
    let judge = |id: &str| {
        until(&format!("a judgment of {id}"), || {
            let answer = system().gennaker(&["execution", "judge", id, "--stage", "1", "continue"]);
            (answer.status == 0).then_some(())
        });
    };
    judge(&first);
    let next = until_within("the newest runs", 120, || {
        let mut running = executions("newest");
        running.retain(|one| text(one, "status") == "RUNNING" && text(one, "id") != first);
        running.pop()
    });
    judge(text(&next, "id"));
    let all = over("newest");
    for (n, execution) in all.iter().enumerate() {
        let ran = n == 0 || text(execution, "id") == text(&next, "id");
        let expected = if ran { "SUCCEEDED" } else { "CANCELED" };
        assert_eq!(execution["status"], expected, "{all:#?}");
        if !ran {
            let whole = system().show(text(execution, "id")).to_string();
            assert!(
                whole.contains("a newer queued execution superceded it"),
                "{whole}"
            );
        }
    }
    let newest = all.last().unwrap()["buildTime"].as_i64();
    assert_eq!(next["buildTime"].as_i64(), newest);
}

#[test]
fn dead_letters_are_listed_and_sent_again_once() {
    save("lost", wait("1", &[], 1), &json!({}));
    let queue = json!({ "QueueName": "gennaker-failed-invocations" });
    let url = system().cloud.call("sqs", "get_queue_url", queue).unwrap()["QueueUrl"].clone();
    let request = json!({ "application": "lost", "pipeline": "release lost", "executionId": "01KAG0000000000000000000ZZ" });
    let letter = json!({
        "version": "1.0",
        "requestContext": { "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:gennaker-start:live", "condition": "RetriesExhausted" },
        "requestPayload": request,
        "responsePayload": { "errorMessage": "the table was away", "errorType": "Throttled" },
    });
    // A queue delivers at least once, and so does Lambda.
    for _ in 0..2 {
        let message = json!({ "QueueUrl": url, "MessageBody": letter.to_string() });
        system().cloud.call("sqs", "send_message", message).unwrap();
    }
    let listed = system().gennaker(&["trigger", "redrive", "--list", "--json"]);
    assert_eq!(listed.status, 0, "{listed:#?}");
    let rows = listed.summary().as_array().unwrap().clone();
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert_eq!(
        (text(&rows[0], "to"), text(&rows[0], "error")),
        ("gennaker-start:live", "the table was away")
    );
    assert!(executions("lost").is_empty());
    let one = system().gennaker(&["trigger", "redrive", "--id", text(&rows[0], "id"), "--json"]);
    assert_eq!(
        (one.status, &one.summary()[0]["sent"]),
        (0, &json!(true)),
        "{one:#?}"
    );
    let all = system().gennaker(&["trigger", "redrive", "--json"]);
    assert_eq!(all.summary().as_array().unwrap().len(), 1, "{all:#?}");
    let gone = system().gennaker(&["trigger", "redrive", "--id", text(&rows[0], "id")]);
    assert_eq!(gone.status, 2, "{gone:#?}");
    until("the execution", || {
        executions("lost").into_iter().find(is_over)
    });
    assert_eq!(executions("lost").len(), 1);
}
