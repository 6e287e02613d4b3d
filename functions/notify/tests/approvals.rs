//! People hear of an approval once, and what asked them is replaced by what became of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gennaker_cloud::Store;
use gennaker_domain::approval::{Approval, Choice, Via, Vote};
use gennaker_domain::{Ending, Execution, StageRecord, Status};
use gennaker_notify::Notify;
use gennaker_notify::channel::{Channels, Settings};
use gennaker_testkit::http::response;
use gennaker_testkit::{
    Faults, MemoryAws, MemoryHttp, MemoryNotifications, MemorySecrets, MemoryTable, at_every_call,
    sample,
};
use serde_json::{Value, json};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:g-approvals";
const CODE: &str = "0123456789abcdef0123456789abcdef";

/// Slack's channels: message by channel and time stamp.
type Messages = Arc<Mutex<BTreeMap<String, Value>>>;

/// A Slack that keeps what is posted and replaces what is updated.
fn slack(http: &MemoryHttp) -> Messages {
    let messages: Messages = Arc::default();
    let kept = Arc::clone(&messages);
    http.serve("slack.com", move |request| {
        let authorized = request
            .headers
            .iter()
            .any(|(name, value)| name == "authorization" && value == "Bearer xoxb-1");
        assert!(authorized, "the bot token is missing");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let mut messages = kept.lock().unwrap();
        let channel = body["channel"].as_str().unwrap().to_owned();
        if channel == "#closed" {
            return response(request, 200, r#"{"ok":false,"error":"channel_not_found"}"#);
        }
        let ts = match body["ts"].as_str() {
            Some(ts) => ts.to_owned(),
            None => format!("{}.0001", messages.len() + 1),
        };
        let id = format!("C1/{ts}");
        if request.url.ends_with("/chat.update") && !messages.contains_key(&id) {
            return response(request, 200, r#"{"ok":false,"error":"message_not_found"}"#);
        }
        messages.insert(id, body);
        let answer = json!({"ok": true, "channel": "C1", "ts": ts});
        response(request, 200, answer.to_string())
    });
    messages
}

struct World {
    faults: Faults,
    quiet: Store,
    notifications: MemoryNotifications,
    http: MemoryHttp,
    messages: Messages,
    notify: Notify,
    execution: Execution,
}

async fn world(stage: Value) -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let quiet = Store::new(Arc::new(table.without_faults()));
    let notifications = MemoryNotifications::with_faults(faults.clone());
    let http = MemoryHttp::with_faults(faults.clone());
    let messages = slack(&http);
    let secrets = MemorySecrets::new();
    assert!(secrets.put("ssm:/g/slack-token", "xoxb-1"));
    assert!(secrets.put("ssm:/g/teams", "https://teams.example/hook?sig=secret"));
    http.serve("teams.example", |request| response(request, 202, ""));
    let plan = sample::plan(json!([{"refId": "1", "type": "manualJudgment"}]));
    let execution = sample::running(&quiet, &plan, 1).await.unwrap();
    let question = sample::question(&execution, "1", &stage);
    quiet.ask(question, CODE).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let channels = Channels {
        notifications: Arc::new(notifications.clone()),
        aws: Arc::new(MemoryAws::default()),
        http: Arc::new(http.clone()),
        secrets: Arc::new(secrets),
        settings: Settings {
            approval_topic: some(TOPIC),
            public_url: some("https://gennaker.example/"),
            slack_token: some("ssm:/g/slack-token"),
            ..Settings::default()
        },
    };
    World {
        notify: Notify::new(Store::new(Arc::new(table)), channels),
        faults,
        quiet,
        notifications,
        http,
        messages,
        execution,
    }
}

impl World {
    async fn approval(&self) -> Approval {
        let run = self.execution.id.run(1);
        self.quiet.approval(&run, "1").await.unwrap().unwrap()
    }

    async fn event(&self, when: &str) -> Value {
        let approval = self.approval().await;
        json!({"execution": self.execution.id, "run": 1, "when": when, "stage": "1",
            "approval": approval.id, "round": approval.round, "reminder": 0})
    }

    async fn tell(&self, when: &str) -> Value {
        self.notify
            .notify(&self.event(when).await, 10)
            .await
            .unwrap()
    }

    async fn decide(&self) {
        let vote = Vote {
            choice: Choice::Stop,
            input: None,
            reason: Some("too many errors".to_owned()),
            by: "ada".to_owned(),
            roles: Vec::new(),
            via: Via::Slack,
            at: 5,
        };
        let id = self.approval().await.id;
        self.quiet.vote(&id, None, &vote).await.unwrap();
    }

    fn slack(&self) -> Vec<Value> {
        self.messages.lock().unwrap().values().cloned().collect()
    }
}

fn notifications() -> Value {
    json!({"sendNotifications": true, "instructions": "Ship <b>it</b>?", "notifications": [
        {"type": "slack", "address": "#releases", "when": ["manualJudgment"],
            "message": {"manualJudgment": {"text": "Look at the dashboard first"}}},
        {"type": "microsoftteams", "address": "ssm:/g/teams"},
        {"type": "pagerDuty", "address": "x"},
    ]})
}

#[tokio::test]
async fn everybody_hears_once_with_a_link_and_no_token() {
    let world = world(notifications()).await;
    assert_eq!(world.tell("manualJudgment").await["sent"], 3);
    assert_eq!(world.tell("manualJudgment").await["sent"], 0);
    let link = format!(
        "https://gennaker.example/approvals/{}",
        world.approval().await.reference()
    );
    let (topic, mail) = world.notifications.published().pop().unwrap();
    assert_eq!(topic, TOPIC);
    assert!(mail.text.contains("Ship it?") && mail.text.contains(&link));
    let posted = &world.slack()[0];
    assert_eq!(posted["channel"], "#releases");
    let text = posted.to_string();
    assert!(
        text.contains("Look at the dashboard first") && text.contains("gennaker-answer-continue")
    );
    let received = world.http.received();
    let teams = received
        .iter()
        .find(|request| request.url.contains("teams"))
        .unwrap();
    assert_eq!(teams.url, "https://teams.example/hook?sig=secret");
    let card = String::from_utf8(teams.body.clone()).unwrap();
    assert!(card.contains("Action.OpenUrl") && card.contains(&link));
}

#[tokio::test]
async fn the_decision_replaces_the_message_that_asked() {
    let world = world(notifications()).await;
    world.tell("manualJudgment").await;
    world.decide().await;
    // Late, and about what is not so any more.
    assert_eq!(world.tell("manualJudgment").await["sent"], 0);
    world.tell("manualJudgmentStop").await;
    let messages = world.slack();
    assert_eq!(
        messages.len(),
        1,
        "nobody asked to hear of the end by a message of its own"
    );
    let text = messages[0].to_string();
    assert!(text.contains("ada stopped") && text.contains("too many errors"));
    assert!(!text.contains("gennaker-answer"));
}

#[tokio::test]
async fn the_messages_of_an_earlier_round_and_of_an_earlier_run_ask_no_more() {
    let world = world(notifications()).await;
    world.tell("manualJudgment").await;
    let asked = world.approval().await;
    let mut question = asked.question.clone();
    question.changes = vec!["new: web@sha256:b".to_owned()];
    world.quiet.ask_again(&asked, question).await.unwrap();
    world.tell("manualJudgment").await;
    let messages = world.slack();
    assert_eq!(messages.len(), 2);
    assert!(messages[0].to_string().contains("superseded"));
    assert!(messages[1].to_string().contains("web@sha256:b"));

    let mut again = world.execution.clone();
    again.run = 2;
    let question = sample::question(&again, "1", &notifications());
    let second = world.quiet.ask(question, CODE).await.unwrap();
    let event = json!({"execution": again.id, "run": 2, "when": "manualJudgment", "stage": "1",
        "approval": second.id, "round": 1, "reminder": 0});
    world.notify.notify(&event, 10).await.unwrap();
    let messages = world.slack();
    assert_eq!(messages.len(), 3);
    assert!(messages[1].to_string().contains("superseded"));
    assert!(messages[2].to_string().contains("gennaker-answer-continue"));
}

#[tokio::test]
async fn a_channel_that_refuses_does_not_keep_the_others_from_hearing() {
    let stage = json!({"notifications": [
        {"type": "slack", "address": "#closed"},
        {"type": "slack", "address": "#releases"},
    ]});
    let world = world(stage).await;
    assert_eq!(world.tell("manualJudgment").await["sent"], 2);
    assert_eq!(world.slack().len(), 1);
}

#[tokio::test]
async fn a_crash_at_any_call_tells_everybody_and_leaves_no_question_open() {
    at_every_call(async |strike| {
        let world = world(notifications()).await;
        let armed = strike.arm(&world.faults);
        let clock = std::cell::Cell::new(10);
        for when in ["manualJudgment", "manualJudgmentStop"] {
            let event = world.event(when).await;
            armed
                .until_answered(async || {
                    // A claim that died with its holder ends after two minutes.
                    clock.set(clock.get() + 121_000);
                    world.notify.notify(&event, clock.get()).await
                })
                .await;
            if when == "manualJudgment" {
                world.decide().await;
            }
        }
        assert!(!world.notifications.published().is_empty());
        let messages = world.slack();
        assert!(!messages.is_empty());
        let last = messages.last().unwrap().to_string();
        assert!(last.contains("ada stopped"), "{last}");
        armed.finish()
    })
    .await;
}

impl World {
    /// The judgment runs, and the execution ends under it.
    async fn cancel(&self) {
        let mut record = StageRecord::not_started("1");
        record.status = Status::Running;
        self.quiet
            .settle_stage(&self.execution.id, &record)
            .await
            .unwrap();
        let ending = Ending {
            status: Status::Canceled,
            reason: "a mistake".to_owned(),
            by: "ada".to_owned(),
            at: 5,
        };
        let run = self.execution.id.run(1);
        assert!(self.quiet.set_ending(&run, &ending).await.unwrap());
        record.status = Status::Canceled;
        self.quiet
            .settle_stage(&self.execution.id, &record)
            .await
            .unwrap();
        self.quiet.settle(&run, Status::Canceled, 6).await.unwrap();
    }

    fn end(&self) -> Value {
        json!({"execution": self.execution.id, "run": 1, "when": "pipeline.failed"})
    }

    /// Requests to replace a message so far.
    fn replaced(&self) -> usize {
        let received = self.http.received();
        let updates = received.iter().filter(|r| r.url.ends_with("/chat.update"));
        updates.count()
    }
}

#[tokio::test]
async fn a_question_that_a_cancel_left_open_is_replaced_once() {
    let world = world(notifications()).await;
    world.tell("manualJudgment").await;
    assert!(world.slack()[0].to_string().contains("gennaker-answer"));
    world.cancel().await;
    for _ in 0..3 {
        world.notify.notify(&world.end(), 20).await.unwrap();
    }
    let message = world.slack()[0].to_string();
    assert!(
        message.contains("canceled, nobody has to answer"),
        "{message}"
    );
    assert!(!message.contains("gennaker-answer"));
    assert_eq!((world.slack().len(), world.replaced()), (1, 1));
}

#[tokio::test]
async fn a_question_whose_call_comes_after_the_end_is_not_asked() {
    let world = world(notifications()).await;
    world.cancel().await;
    world.notify.notify(&world.end(), 20).await.unwrap();
    assert_eq!(world.tell("manualJudgment").await["sent"], 0);
    assert!(world.slack().is_empty() && world.notifications.published().is_empty());
}

#[tokio::test]
async fn a_decision_stands_however_the_execution_ends() {
    let world = world(notifications()).await;
    world.tell("manualJudgment").await;
    world.decide().await;
    world.tell("manualJudgmentStop").await;
    let replaced = world.replaced();
    world.cancel().await;
    world.notify.notify(&world.end(), 20).await.unwrap();
    assert!(world.slack()[0].to_string().contains("ada stopped"));
    assert_eq!(world.replaced(), replaced);
}

#[tokio::test]
async fn a_crash_at_any_call_around_a_cancel_leaves_no_button_that_is_noted() {
    at_every_call(async |strike| {
        let world = world(notifications()).await;
        let question = world.event("manualJudgment").await;
        let armed = strike.arm(&world.faults);
        let clock = std::cell::Cell::new(10);
        let tell = async |event: &Value| {
            armed
                .until_answered(async || {
                    clock.set(clock.get() + 121_000);
                    world.notify.notify(event, clock.get()).await
                })
                .await
        };
        tell(&question).await;
        world.cancel().await;
        tell(&world.end()).await;
        // Lambda calls again, and the question's call comes once more, too.
        tell(&question).await;
        tell(&world.end()).await;
        let asking: Vec<Value> = world
            .slack()
            .into_iter()
            .filter(|message| message.to_string().contains("gennaker-answer"))
            .collect();
        // A crash between the post and its note, and that alone, loses a message: it was posted again.
        let posted = world.slack().len();
        assert!(asking.len() <= posted.saturating_sub(1), "{asking:?}");
        assert!(posted <= 2);
        armed.finish()
    })
    .await;
}

#[tokio::test]
async fn a_question_that_is_posted_while_the_execution_ends_asks_no_more() {
    let calls = {
        let world = world(notifications()).await;
        world.tell("manualJudgment").await;
        world.faults.calls().len()
    };
    let before = world(notifications()).await.faults.calls().len();
    for call in before..calls {
        let world = Arc::new(world(notifications()).await);
        let question = world.event("manualJudgment").await;
        let other = Arc::clone(&world);
        world.faults.meanwhile(call, move || {
            let end = async {
                other.cancel().await;
                other.notify.notify(&other.end(), 20).await.unwrap();
            };
            let run = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.unwrap().block_on(end);
            };
            std::thread::scope(|scope| scope.spawn(run).join().unwrap());
        });
        world.notify.notify(&question, 10).await.unwrap();
        for message in world.slack() {
            let message = message.to_string();
            assert!(!message.contains("gennaker-answer"), "{call}: {message}");
        }
    }
}
