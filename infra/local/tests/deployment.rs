//! A SAM template through CloudFormation, its functions as processes, and events that reach them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gennaker_local::{Error, FunctionArtifact, LocalCloud, Options, Silent, Stack};
use serde_json::{Value, json};

/// A function that writes what it got, and the environment it got it in, to the table.
const BOOTSTRAP: &str = r#"#!/usr/bin/env python3
import json, os, time, urllib.request

api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(f"{api}/next") as invocation:
        request, event = invocation.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(invocation.read())
    print(json.dumps({"message": "noted", "request": request}), flush=True)
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    item = {"PK": {"S": request}, "body": {"S": json.dumps({"event": event, "environment": environment})}}
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.PutItem",
        "Authorization": "AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
    }
    body = json.dumps({"TableName": os.environ["TABLE"], "Item": item}).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], data=body, headers=headers)).read()
    while "STALL" in os.environ:
        time.sleep(1)
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request}/response", data=b'"done"')).read()
"#;

const TEMPLATE: &str = r#"
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Prefix: {Type: String, Default: shop}
  EventSource: {Type: String, Default: gennaker.local.ecr}
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !Sub '${Prefix}-table'
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: PK, AttributeType: S}]
      KeySchema: [{AttributeName: PK, KeyType: HASH}]
  TakeNoteFunction:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub '${Prefix}-take-note'
      Runtime: provided.al2023
      Handler: bootstrap
      CodeUri: ../target/lambda/take-note
      Timeout: 20
      AutoPublishAlias: live
      Environment: {Variables: {TABLE: !Ref Table}}
      Events:
        Push:
          Type: EventBridgeRule
          Properties:
            Pattern: {source: [aws.ecr, !Ref EventSource], detail: {repository-name: [!Ref Prefix]}}
  EndMachine:
    Type: AWS::Serverless::StateMachine
    Properties:
      Name: !Sub '${Prefix}-end'
      Role: arn:aws:iam::123456789012:role/end
      DefinitionUri: end.asl.json
      DefinitionSubstitutions: {Greeting: !Ref Prefix}
Outputs:
  TableName: {Value: !Ref Table}
  FunctionArn: {Value: !GetAtt TakeNoteFunction.Arn}
"#;

fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn cloud() -> &'static LocalCloud {
    static CLOUD: OnceLock<LocalCloud> = OnceLock::new();
    CLOUD.get_or_init(|| {
        let options = Options {
            wait_scale: 0.05,
            ..Options::new(target_dir())
        };
        LocalCloud::start(&options, &Silent).unwrap()
    })
}

/// Writes the template and the function, packages and deploys them under that prefix.
fn deploy(prefix: &str, template: &str) -> Result<Stack, Error> {
    let directory = target_dir()
        .join("tmp")
        .join(format!("deployment-{prefix}"));
    fs::create_dir_all(&directory).unwrap();
    let binary = directory.join("take-note");
    fs::write(&binary, BOOTSTRAP).unwrap();
    let definition = r#"{"StartAt": "End", "States": {"End": {"Type": "Pass", "Result": "${Greeting}", "End": true}}}"#;
    fs::write(directory.join("end.asl.json"), definition).unwrap();
    let path = directory.join("template.yaml");
    fs::write(&path, template).unwrap();
    let function = FunctionArtifact {
        name: "take-note".to_owned(),
        binary,
    };
    let artifacts: BTreeMap<String, PathBuf> = cloud().package(&[function], &directory, &Silent)?;
    let parameters = BTreeMap::from([("Prefix".to_owned(), prefix.to_owned())]);
    cloud().deploy(
        &format!("{prefix}-stack"),
        &path,
        &parameters,
        &artifacts,
        &Silent,
    )
}

/// The notes in the table, once there are as many as expected.
fn notes(table: &str, expected: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = cloud()
            .call(
                "dynamodb",
                "scan",
                json!({"TableName": table, "ConsistentRead": true}),
            )
            .unwrap();
        let items = answer["Items"].as_array().unwrap().clone();
        if items.len() >= expected {
            let body =
                |item: &Value| serde_json::from_str(item["body"]["S"].as_str().unwrap()).unwrap();
            return items.iter().map(body).collect();
        }
        assert!(Instant::now() < deadline, "{items:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_function_of_a_deployed_template_gets_an_image_push_and_the_cloud_s_endpoints() {
    let stack = deploy("push", TEMPLATE).unwrap();
    assert_eq!(stack.status, "CREATE_COMPLETE");
    assert_eq!(stack.outputs["TableName"], "push-table");
    assert_eq!(
        stack.resources["TakeNoteFunction"].kind,
        "AWS::Lambda::Function"
    );
    let event = cloud().push_image("push", "1.2.3", "one").unwrap();
    assert!(
        event["detail"]["image-digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    // Its time is not compared: the second may have turned.
    assert_eq!(
        cloud().push_image("push", "1.2.3", "one").unwrap()["detail"],
        event["detail"],
        "the same push is the same image"
    );
    let sent = cloud().put_event(&event, "default").unwrap();
    assert_eq!(sent.source, "gennaker.local.ecr");
    let note = notes("push-table", 1).remove(0);
    assert_eq!(note["event"]["detail"], event["detail"]);
    assert_eq!(note["event"]["id"], sent.id.as_str());
    let endpoints = cloud().endpoints();
    let environment = &note["environment"];
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoints.aws.as_str()),
        ("AWS_ENDPOINT_URL_EC2", &endpoints.ec2),
        ("AWS_ENDPOINT_URL_AUTO_SCALING", &endpoints.autoscaling),
        (
            "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2",
            &endpoints.elasticloadbalancing,
        ),
        ("AWS_ENDPOINT_URL_STS", &endpoints.sts),
        ("AWS_ENDPOINT_URL_CODEBUILD", &endpoints.codebuild),
        ("AWS_REGION", "us-east-1"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    let empty: Vec<_> = environment
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| *value == "")
        .collect();
    assert!(
        empty.is_empty(),
        "an empty endpoint ends the SDK: {empty:?}"
    );
}

#[test]
fn what_a_function_prints_is_in_its_log_group() {
    deploy("log", TEMPLATE).unwrap();
    cloud()
        .call(
            "lambda",
            "invoke",
            json!({"FunctionName": "log-take-note:live", "Payload": "{}"}),
        )
        .unwrap();
    let parameters = json!({"logGroupName": "/aws/lambda/log-take-note"});
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let events = cloud()
            .call("logs", "filter_log_events", parameters.clone())
            .unwrap_or_default();
        if events.to_string().contains("noted") {
            return;
        }
        assert!(Instant::now() < deadline, "{events}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_function_process_is_an_error_of_the_call_and_a_new_one_is_started() {
    let template = TEMPLATE.replace("TABLE: !Ref Table", "TABLE: !Ref Table, STALL: '1'");
    deploy("kill", &template).unwrap();
    let processes = || -> Vec<_> {
        let all = cloud().function_processes();
        all.into_iter()
            .filter(|process| process.function == "kill-take-note")
            .collect()
    };
    let invoke = || {
        let parameters = json!({"FunctionName": "kill-take-note", "Payload": "{}"});
        cloud().call("lambda", "invoke", parameters).unwrap()
    };
    std::thread::scope(|scope| {
        let call = scope.spawn(invoke);
        // Its note is written: it is in the middle of the call.
        notes("kill-table", 1);
        // One of them has the call; the emulator starts another one for the published version.
        let before = processes();
        assert!(!before.is_empty());
        for process in &before {
            cloud().kill_function_process(process).unwrap();
        }
        let answer = call.join().unwrap();
        assert!(answer.to_string().contains("Runtime.ExitError"), "{answer}");
        assert!(processes().iter().all(|process| !before.contains(process)));
    });
}

#[test]
fn an_event_with_an_id_keeps_it_however_often_it_is_delivered() {
    deploy("again", TEMPLATE).unwrap();
    let mut event = cloud().push_image("again", "1", "one").unwrap();
    event["id"] = "7bf73129-1428-4cd3-a780-95db273d1602".into();
    event["time"] = "2026-01-02T03:04:05Z".into();
    for _ in 0..3 {
        let sent = cloud().put_event(&event, "default").unwrap();
        assert!(
            sent.invoked
                .iter()
                .any(|arn| arn.contains("again-take-note")),
            "{sent:?}"
        );
    }
    let notes = notes("again-table", 3);
    let same = |note: &&Value| {
        note["event"]["id"] == event["id"] && note["event"]["time"] == event["time"]
    };
    assert_eq!(notes.iter().filter(same).count(), 3);
    assert!(
        notes
            .iter()
            .all(|note| note["event"]["source"] == "aws.ecr")
    );
}

#[test]
fn a_second_deployment_updates_the_stack_and_an_unchanged_one_changes_nothing() {
    deploy("update", TEMPLATE).unwrap();
    let same = deploy("update", TEMPLATE).unwrap();
    assert_eq!(same.outputs.len(), 2);
    let more = format!("{TEMPLATE}  Greeting: {{Value: hello}}\n");
    let stack = deploy("update", &more).unwrap();
    assert_eq!(stack.outputs["Greeting"], "hello");
}

#[test]
fn what_is_wrong_with_a_template_is_said() {
    let error = deploy(
        "missing",
        &TEMPLATE
            .replace("TakeNote", "Other")
            .replace("take-note\n", "other\n"),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("no binary for OtherFunction"),
        "{error}"
    );
    assert_eq!(error.exit_status(), 2);
    let error = deploy(
        "parameter",
        &TEMPLATE
            .replace("Prefix:", "Name:")
            .replace("${Prefix}", "x"),
    )
    .unwrap_err();
    assert!(error.to_string().contains("no parameter Prefix"), "{error}");
    let error = deploy(
        "failed",
        &TEMPLATE.replace("!Ref Table}}", "!GetAtt Table.Nothing}}"),
    )
    .unwrap_err();
    assert!(error.to_string().contains("failed-stack"), "{error}");
    assert_eq!(error.exit_status(), 1);
}
