//! People and systems are told once, whatever crashes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_domain::{Ending, Execution, Failure, Owner, Plan, PlanStage, StageRecord, Status};
use gennaker_notify::Notify;
use gennaker_notify::channel::{Channels, Settings};
use gennaker_testkit::http::response;
use gennaker_testkit::{
    Faults, MemoryAws, MemoryHttp, MemoryNotifications, MemorySecrets, MemoryTable, at_every_call,
    sample,
};
use serde_json::{Value, json};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:releases";

struct World {
    faults: Faults,
    store: Store,
    notifications: MemoryNotifications,
    aws: MemoryAws,
    http: MemoryHttp,
    notify: Notify,
    execution: Execution,
}

fn sns(when: &str) -> Value {
    json!({"type": "sns", "address": TOPIC, "when": [when],
        "message": {"pipeline.failed": {"text": "call the owner of ${execution.application}"}}})
}

fn settings() -> Settings {
    let some = |text: &str| Some(text.to_owned());
    Settings {
        base_url: some("https://gennaker.example.com/"),
        bus: some("g"),
        email_from: some("releases@example.com"),
        approval_topic: None,
        public_url: None,
        slack_api: None,
        slack_token: some("ssm:/g/slack"),
        github_token: some("ssm:/g/github"),
        github_api: None,
        twilio_account: None,
        twilio_token: None,
        twilio_from: None,
        topics: some("arn:aws:sns:us-east-1:123456789012:"),
    }
}

async fn world_of(plan: Plan, settings: Settings) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let notifications = MemoryNotifications::with_faults(faults.clone());
    let aws = MemoryAws::with_faults(faults.clone());
    aws.serve("events:PutEvents", |_| {
        Ok(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}))
    });
    aws.serve("ses:SendEmail", |_| Ok(json!({"MessageId": "1"})));
    let http = MemoryHttp::with_faults(faults.clone());
    let secrets = MemorySecrets::with_faults(faults.clone());
    assert!(secrets.put("ssm:/g/slack", "xoxb-1"));
    assert!(secrets.put("ssm:/g/github", "ghp-1"));
    assert!(secrets.put("ssm:/g/pager", "key-1"));
    assert!(secrets.put(
        "ssm:/g/teams",
        "https://prod.logic.example.com/workflows/1?sig=s"
    ));
    let execution = sample::running(&store, &plan, 1).await.unwrap();
    let channels = Channels {
        notifications: Arc::new(notifications.clone()),
        aws: Arc::new(aws.clone()),
        http: Arc::new(http.clone()),
        secrets: Arc::new(secrets),
        settings,
    };
    World {
        notify: Notify::new(store.clone(), channels),
        faults,
        store,
        notifications,
        aws,
        http,
        execution,
    }
}

async fn world(notifications: &[Value]) -> World {
    let plan = Plan {
        notifications: notifications.to_vec(),
        ..sample::plan(json!([{"refId": "1", "type": "wait"}]))
    };
    world_of(plan, settings()).await
}

/// A deployment with two sub-stages that tells of its own end, and a wait before it.
fn deployment() -> Plan {
    let context = json!({"sendNotifications": true, "notifications": [sns("stage.failed"), sns("stage.starting")]});
    let mut plan = sample::plan(json!([
        {"refId": "1", "type": "wait"},
        {"refId": "2", "type": "deploy", "function": null, "context": context},
    ]));
    let sub = |ref_id: &str, kind: &str| -> PlanStage {
        let mut stage = sample::plan(json!([{"refId": ref_id, "type": kind, "context": context}]))
            .stages
            .remove(0);
        stage.parent = Some("2".to_owned());
        stage.owner = Some(Owner::Before);
        stage
    };
    plan.stages.push(sub("2<1", "createServerGroup"));
    plan
}

impl World {
    fn event(&self, when: &str) -> Value {
        json!({"execution": self.execution.id, "run": 1, "when": when})
    }

    fn of_stage(&self, stage: &str, when: &str) -> Value {
        json!({"execution": self.execution.id, "run": 1, "stage": stage, "when": when})
    }

    async fn ends(&self, ref_id: &str, status: Status, reason: &str) {
        let mut record = StageRecord::not_started(ref_id);
        record.status = status;
        record.run = 1;
        record.start_time = Some(5);
        record.end_time = Some(9);
        record.failure = (!reason.is_empty()).then(|| Failure {
            reason: reason.to_owned(),
            details: Value::Null,
        });
        self.store
            .settle_stage(&self.execution.id, &record)
            .await
            .unwrap();
    }

    /// `detail` of every event on the bus, by its id.
    fn events(&self) -> BTreeMap<String, Value> {
        let received = self.aws.received();
        received
            .iter()
            .filter(|(operation, _)| operation == "events:PutEvents")
            .map(|(_, body)| {
                let entry = &body["Entries"][0];
                assert_eq!(entry["EventBusName"], "g");
                assert_eq!(entry["Source"], "gennaker");
                let detail: Value =
                    serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
                (detail["id"].as_str().unwrap().to_owned(), detail)
            })
            .collect()
    }

    fn whens(&self) -> Vec<String> {
        let events = self.events();
        let mut whens: Vec<String> = events
            .values()
            .map(|event| {
                format!(
                    "{} {}",
                    event["stage"]["refId"].as_str().unwrap_or("-"),
                    event["when"].as_str().unwrap()
                )
            })
            .collect();
        whens.sort();
        whens
    }
}

#[tokio::test]
async fn only_who_asked_for_the_occasion_is_told_and_only_once() {
    let world = world(&[sns("pipeline.failed"), sns("pipeline.complete")]).await;
    for now in [10, 20, 1_000_000] {
        world
            .notify
            .notify(&world.event("pipeline.failed"), now)
            .await
            .unwrap();
    }
    let published = world.notifications.published();
    assert_eq!(published.len(), 1);
    let (topic, message) = &published[0];
    assert_eq!(topic, TOPIC);
    assert_eq!(message.subject, "Pipeline release for shop has failed");
    assert!(
        message.text.contains("call the owner of shop"),
        "{}",
        message.text
    );
    let link = format!(
        "https://gennaker.example.com/#/applications/shop/executions/details/{}",
        world.execution.id
    );
    assert!(message.text.contains(&link), "{}", message.text);
    assert_eq!(world.events().len(), 1);
}

#[tokio::test]
async fn a_crash_at_any_call_loses_nobody_and_a_repeated_message_is_known_by_its_id() {
    at_every_call(async |strike| {
        let slack = json!({"type": "slack", "address": "#ops", "when": ["pipeline.failed"]});
        let world = world(&[sns("pipeline.failed"), slack]).await;
        world.http.serve("slack.com", |request| {
            response(request, 200, r#"{"ok":true}"#)
        });
        let event = world.event("pipeline.failed");
        let armed = strike.arm(&world.faults);
        armed
            .until_answered(async || world.notify.notify(&event, 10).await)
            .await;
        // Lambda's next try comes after a claim that died.
        armed
            .until_answered(async || world.notify.notify(&event, 1_000_000).await)
            .await;
        let calls = armed.finish();
        let mut ids: Vec<_> = world
            .notifications
            .published()
            .into_iter()
            .map(|(_, message)| message.attributes)
            .collect();
        assert!(!ids.is_empty());
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert!(!world.http.received().is_empty());
        assert_eq!(world.events().len(), 1);
        calls
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_refuses_stops_nobody_and_is_not_asked_again() {
    let slack = json!({"type": "slack", "address": "#gone", "when": ["pipeline.failed"]});
    let jira = json!({"type": "jira", "address": "OPS", "when": ["pipeline.failed"]});
    let world = world(&[slack, jira, sns("pipeline.failed")]).await;
    world.http.serve("slack.com", |request| {
        response(request, 200, r#"{"ok":false,"error":"channel_not_found"}"#)
    });
    for now in [10, 1_000_000] {
        world
            .notify
            .notify(&world.event("pipeline.failed"), now)
            .await
            .unwrap();
    }
    assert_eq!(world.http.received().len(), 1);
    assert_eq!(world.notifications.published().len(), 1);
}

#[tokio::test]
async fn a_channel_that_is_down_is_asked_again_and_the_others_are_not() {
    let slack = json!({"type": "slack", "address": "#ops", "when": ["pipeline.failed"]});
    let world = world(&[slack, sns("pipeline.failed")]).await;
    let mut answers = vec![response_of(200, r#"{"ok":true}"#), response_of(429, "")];
    world.http.serve("slack.com", move |request| {
        let (status, body) = answers.pop().unwrap();
        response(request, status, body)
    });
    let event = world.event("pipeline.failed");
    let error = world.notify.notify(&event, 10).await.unwrap_err();
    assert_eq!(error.name(), "Throttled");
    world.notify.notify(&event, 20).await.unwrap();
    assert_eq!(world.http.received().len(), 2);
    assert_eq!(world.notifications.published().len(), 1);
    assert_eq!(world.events().len(), 1);
}

fn response_of(status: u16, body: &'static str) -> (u16, &'static str) {
    (status, body)
}

#[tokio::test]
async fn a_deployment_tells_as_one_stage_and_the_bus_hears_of_each_sub_stage() {
    let world = world_of(deployment(), settings()).await;
    world
        .notify
        .notify(&world.of_stage("2<1", "stage.starting"), 10)
        .await
        .unwrap();
    assert_eq!(world.whens(), ["2 stage.starting", "2<1 stage.starting"]);
    assert_eq!(
        world.notifications.published().len(),
        1,
        "the group tells, its sub-stage does not"
    );

    world
        .ends("2<1", Status::Terminal, "no capacity in us-east-1a")
        .await;
    world
        .notify
        .notify(&world.of_stage("2<1", "stage.failed"), 20)
        .await
        .unwrap();
    let published = world.notifications.published();
    assert_eq!(published.len(), 2);
    assert_eq!(
        published[1].1.subject,
        "Stage deploy of release for shop has failed"
    );
    assert!(published[1].1.text.contains("no capacity in us-east-1a"));
    let events = world.events();
    let group = &events[&format!("{}-1/2/stage.failed", world.execution.id)];
    assert_eq!(group["stage"]["status"], "TERMINAL");
    assert_eq!(
        events[&format!("{}-1/2<1/stage.failed", world.execution.id)]["stage"]["parent"],
        "2"
    );
}

#[tokio::test]
async fn the_end_of_an_execution_tells_what_was_lost_of_its_stages_first() {
    let world = world_of(deployment(), settings()).await;
    world.ends("1", Status::Succeeded, "").await;
    world
        .notify
        .notify(&world.of_stage("1", "stage.complete"), 10)
        .await
        .unwrap();
    world.ends("2<1", Status::Terminal, "it broke").await;
    // Nobody told of `2<1`.
    world
        .notify
        .notify(&world.event("pipeline.failed"), 20)
        .await
        .unwrap();
    assert_eq!(
        world.whens(),
        [
            "- pipeline.failed",
            "1 stage.complete",
            "2 stage.failed",
            "2<1 stage.failed"
        ]
    );
    assert_eq!(world.notifications.published().len(), 1);
    assert_eq!(world.aws.received().len(), 4, "nothing twice");
}

#[tokio::test]
async fn a_canceled_execution_tells_no_person_but_the_bus() {
    let world = world(&[sns("pipeline.failed")]).await;
    let ending = Ending {
        status: Status::Canceled,
        reason: "superseded".to_owned(),
        by: "anna".to_owned(),
        at: 7,
    };
    let run = world.execution.id.run(1);
    world.store.set_ending(&run, &ending).await.unwrap();
    world
        .notify
        .notify(&world.event("pipeline.failed"), 10)
        .await
        .unwrap();
    assert!(world.notifications.published().is_empty());
    let events = world.events();
    assert_eq!(
        events.values().next().unwrap()["execution"]["reason"],
        "superseded"
    );
}

#[tokio::test]
async fn an_applications_notifications_are_added_and_ad_hoc_ones_too() {
    let world = world(&[]).await;
    let item = json!({"name": "shop", "notifications": {"email": [
        {"address": "owner@example.com", "cc": "all@example.com", "when": ["pipeline.complete"]}
    ]}});
    let config = item.as_object().unwrap();
    world.store.save_application("shop", config).await.unwrap();
    world
        .notify
        .notify(&world.event("pipeline.complete"), 10)
        .await
        .unwrap();
    let received = world.aws.received();
    let (_, mail) = received
        .iter()
        .find(|(operation, _)| operation == "ses:SendEmail")
        .unwrap();
    assert_eq!(mail["FromEmailAddress"], "releases@example.com");
    assert_eq!(
        mail["Destination"]["ToAddresses"],
        json!(["owner@example.com"])
    );
    assert_eq!(
        mail["Content"]["Simple"]["Subject"]["Data"],
        "Pipeline release for shop has completed successfully"
    );
}

#[tokio::test]
async fn every_channel_gets_what_it_understands_and_tokens_only_where_they_belong() {
    let on = |kind: &str, address: &str| json!({"type": kind, "address": address, "when": ["pipeline.failed"]});
    let world = world(&[
        on("slack", "#ops"),
        on("microsoftteams", "ssm:/g/teams"),
        on("googlechat", "AAA/messages?key=k"),
        on("sms", "+1 202-555-0100"),
        on("pagerDuty", "ssm:/g/pager"),
        json!({"type": "githubStatus", "repo": "acme/shop", "commit": "0123456789abcdef", "when": ["pipeline.failed"]}),
        json!({"type": "pubsub", "publisherName": "releases", "when": ["pipeline.failed"]}),
    ])
    .await;
    for host in [
        "slack.com",
        "prod.logic.example.com",
        "chat.googleapis.com",
        "events.pagerduty.com",
        "api.github.com",
    ] {
        world.http.serve(host, |request| {
            let status = if request.url.contains("pagerduty") {
                202
            } else {
                200
            };
            response(request, status, r#"{"ok":true}"#)
        });
    }
    let answer = world
        .notify
        .notify(&world.event("pipeline.failed"), 10)
        .await
        .unwrap();
    assert_eq!(answer["sent"], 7);
    let received = world.http.received();
    let to = |host: &str| {
        let request = received
            .iter()
            .rfind(|request| request.url.contains(host))
            .unwrap();
        let header = |name: &str| {
            let value = request.headers.iter().find(|(known, _)| known == name);
            value.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        (header("authorization"), body, request.url.clone())
    };
    let (authorization, body, _) = to("slack.com");
    assert_eq!(authorization, "Bearer xoxb-1");
    assert_eq!(body["channel"], "#ops");
    assert_eq!(body["attachments"][0]["color"], "#B82525");
    let (authorization, body, _) = to("logic.example.com");
    assert_eq!(authorization, "");
    assert_eq!(body["attachments"][0]["content"]["type"], "AdaptiveCard");
    assert_eq!(
        to("chat.googleapis.com").2,
        "https://chat.googleapis.com/v1/spaces/AAA/messages?key=k"
    );
    let (_, body, _) = to("pagerduty");
    assert_eq!(body["routing_key"], "key-1");
    assert_eq!(body["payload"]["severity"], "error");
    assert_eq!(
        body["dedup_key"],
        format!("{}-1/pipeline.failed", world.execution.id)
    );
    let (authorization, body, url) = to("api.github.com");
    assert_eq!(authorization, "token ghp-1");
    assert!(
        url.ends_with("/repos/acme/shop/statuses/0123456789abcdef"),
        "{url}"
    );
    assert_eq!(body["state"], "failure");
    assert_eq!(body["context"], "pipeline/release");
    assert_eq!(world.notifications.texts()[0].0, "+12025550100");
    assert_eq!(world.notifications.published()[0].0, TOPIC);
    for request in &received {
        assert!(!request.url.contains("xoxb") && !request.url.contains("ghp-1"));
    }
}

#[tokio::test]
async fn a_text_message_goes_by_twilio_where_there_is_an_account() {
    let settings = Settings {
        twilio_account: Some("AC1".to_owned()),
        twilio_token: Some("ssm:/g/pager".to_owned()),
        twilio_from: Some("+12025550111".to_owned()),
        ..settings()
    };
    let plan = Plan {
        notifications: vec![
            json!({"type": "sms", "address": "+12025550100", "when": ["pipeline.failed"]}),
        ],
        ..sample::plan(json!([{"refId": "1", "type": "wait"}]))
    };
    let world = world_of(plan, settings).await;
    world
        .http
        .serve("api.twilio.com", |request| response(request, 201, "{}"));
    world
        .notify
        .notify(&world.event("pipeline.failed"), 10)
        .await
        .unwrap();
    let received = world.http.received();
    assert_eq!(
        received[0].url,
        "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"
    );
    let body = String::from_utf8(received[0].body.clone()).unwrap();
    assert!(
        body.starts_with("To=%2B12025550100&From=%2B12025550111&Body=Pipeline+release"),
        "{body}"
    );
    assert!(world.notifications.texts().is_empty());
}

/// Whether a value is what the part of JSON Schema that `schema/event.json` uses says; the first place that is not.
fn violation(schema: &Value, root: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let definition = root.pointer(name.trim_start_matches('#')).unwrap();
        return violation(definition, root, value, at);
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => unreachable!("{other}"),
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let wrong = (!types.is_empty() && !types.into_iter().any(is))
        || schema
            .get("const")
            .is_some_and(|constant| constant != value)
        || schema["enum"]
            .as_array()
            .is_some_and(|list| !list.contains(value));
    if wrong {
        return Some(format!("{at}: {value}"));
    }
    let required = schema["required"].as_array().into_iter().flatten();
    if let Some(missing) = required
        .filter_map(Value::as_str)
        .find(|name| value.get(name).is_none())
    {
        return Some(format!("{at}: no {missing}"));
    }
    let properties = schema["properties"].as_object()?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let Some(property) = properties.get(name) else {
            return Some(format!("{at}/{name} is not in the schema"));
        };
        if let Some(found) = violation(property, root, value, &format!("{at}/{name}")) {
            return Some(found);
        }
    }
    None
}

#[tokio::test]
async fn every_event_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(include_str!("../schema/event.json")).unwrap();
    let world = world_of(deployment(), settings()).await;
    world
        .notify
        .notify(&world.event("pipeline.starting"), 1)
        .await
        .unwrap();
    world
        .notify
        .notify(&world.of_stage("2<1", "stage.starting"), 2)
        .await
        .unwrap();
    world.ends("1", Status::Skipped, "").await;
    world.ends("2<1", Status::Terminal, "it broke").await;
    world
        .notify
        .notify(&world.event("pipeline.failed"), 3)
        .await
        .unwrap();
    let events = world.events();
    assert_eq!(events.len(), 7);
    for event in events.values() {
        assert_eq!(violation(&schema, &schema, event, ""), None);
    }
    let mut broken = events.into_values().next().unwrap();
    broken["version"] = json!(2);
    assert_eq!(
        violation(&schema, &schema, &broken, ""),
        Some("/version: 2".to_owned())
    );
}
