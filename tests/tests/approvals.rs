//! People are asked and answer, on the local cloud: by a click in Slack, by the page behind a message, by nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use gennaker_local::PublicAnswer;
use gennaker_messages::slack;
use gennaker_testkit::{LocalServer, Received, Reply};
use gennaker_tests::System;
use gennaker_tests::executions::until;
use serde_json::{Value, json};

const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const SLACK_TOKEN: &str = "xoxb-local";

/// A Slack: messages by time stamp, as they are now, and what only one person was told.
#[derive(Clone, Default)]
struct Slack {
    messages: Arc<Mutex<BTreeMap<String, Value>>>,
    whispers: Arc<Mutex<Vec<Value>>>,
}

impl Slack {
    fn answer(&self, request: &Received) -> Reply {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let mut messages = self.messages.lock().unwrap();
        let said = |value: Value| {
            Reply::new(
                200,
                &[("content-type", "application/json")],
                value.to_string(),
            )
        };
        if let Some(ts) = request.path.strip_prefix("/respond/") {
            if body["replace_original"] == true {
                messages.insert(ts.to_owned(), body);
            } else {
                self.whispers.lock().unwrap().push(body);
            }
            return Reply::new(200, &[], "ok");
        }
        if request.header("authorization") != Some(&format!("Bearer {SLACK_TOKEN}")) {
            return said(json!({"ok": false, "error": "invalid_auth"}));
        }
        match request.path.as_str() {
            "/api/chat.postMessage" => {
                let ts = format!("{:06}.000100", messages.len() + 1);
                messages.insert(ts.clone(), body);
                said(json!({"ok": true, "channel": "C1", "ts": ts}))
            }
            "/api/chat.update" => {
                let ts = body["ts"].as_str().unwrap_or_default().to_owned();
                if !messages.contains_key(&ts) {
                    return said(json!({"ok": false, "error": "message_not_found"}));
                }
                messages.insert(ts.clone(), body);
                said(json!({"ok": true, "channel": "C1", "ts": ts}))
            }
            _ => Reply::new(404, &[], ""),
        }
    }

    /// The messages that hold this text, oldest first.
    fn messages(&self, text: &str) -> Vec<(String, String)> {
        let messages = self.messages.lock().unwrap();
        messages
            .iter()
            .map(|(ts, message)| (ts.clone(), message.to_string()))
            .filter(|(_, message)| message.contains(text))
            .collect()
    }
}

/// An installation with a Slack, and a queue behind the topic that asks.
struct Installation {
    system: System,
    slack: Slack,
    server: LocalServer,
    public: String,
    queue: String,
}

fn installation() -> &'static Installation {
    static INSTALLATION: OnceLock<Installation> = OnceLock::new();
    INSTALLATION.get_or_init(|| {
        let slack = Slack::default();
        let answering = slack.clone();
        let server = LocalServer::start(move |request| answering.answer(request)).unwrap();
        let api = server.url("127.0.0.1", "/api");
        let system = System::start(&[
            ("AllowedHosts", "127.0.0.0/8"),
            ("SlackApi", &api),
            ("SlackToken", "ssm:/gennaker/slack-token"),
            ("SlackSigningSecret", "ssm:/gennaker/slack-signing-secret"),
        ]);
        for (name, value) in [("slack-token", SLACK_TOKEN), ("slack-signing-secret", SLACK_SECRET)] {
            let parameter = json!({"Name": format!("/gennaker/{name}"), "Value": value, "Type": "SecureString"});
            system.cloud.call("ssm", "put_parameter", parameter).unwrap();
        }
        let stacks = system.cloud.call("cloudformation", "describe_stacks", json!({"StackName": "gennaker"})).unwrap();
        let output = |name: &str| {
            let outputs = stacks["Stacks"][0]["Outputs"].as_array().unwrap();
            let found = outputs.iter().find(|output| output["OutputKey"] == name).unwrap();
            found["OutputValue"].as_str().unwrap().to_owned()
        };
        let queue = system.cloud.call("sqs", "create_queue", json!({"QueueName": "mailbox"})).unwrap();
        let queue = queue["QueueUrl"].as_str().unwrap().to_owned();
        let attributes = json!({"QueueUrl": queue, "AttributeNames": ["QueueArn"]});
        let attributes = system.cloud.call("sqs", "get_queue_attributes", attributes).unwrap();
        let subscription = json!({
            "TopicArn": output("ApprovalTopicArn"), "Protocol": "sqs", "Endpoint": attributes["Attributes"]["QueueArn"],
        });
        system.cloud.call("sns", "subscribe", subscription).unwrap();
        for (name, role, id) in [("ada", "sre", "U1"), ("bob", "sre", "U2"), ("eve", "sales", "U3")] {
            let saved = system.gennaker(&["user", "save", "--name", name, "--role", role, "--slack", id]);
            assert_eq!(saved.status, 0, "{saved:?}");
        }
        Installation {
            public: output("PublicAddress"),
            system,
            slack,
            server,
            queue,
        }
    })
}

/// Slack signs with the time of day.
fn now_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                (byte as char).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

impl Installation {
    /// Saves a pipeline of one judgment and starts it; the execution's id.
    fn start(&self, application: &str, judgment: Value) -> String {
        let mut stage = json!({
            "refId": "1", "type": "manualJudgment", "name": "Release", "requisiteStageRefIds": [],
            "instructions": format!("Ship {application}?"), "sendNotifications": true,
            "notifications": [{"type": "slack", "address": "#releases", "when": ["manualJudgment"]}],
        });
        for (name, value) in judgment.as_object().unwrap() {
            stage[name.as_str()] = value.clone();
        }
        let pipeline = json!({"application": application, "name": "release", "stages": [stage]});
        self.system.save(&pipeline);
        self.system
            .start_execution(&format!("{application}/release"), &[])
    }

    fn asks(&self, id: &str) {
        until("somebody is asked", || {
            let waiting = self.system.show(id)["stages"][0]["waiting"]
                .as_str()
                .map(str::to_owned);
            waiting.filter(|waiting| waiting.starts_with("waits for"))
        });
    }

    /// The newest message about this application that has buttons: its time stamp and what a button carries.
    fn question(&self, application: &str) -> (String, String) {
        until("a message in Slack", || {
            let messages = self.slack.messages(&format!("of {application}:"));
            let (ts, message) = messages
                .into_iter()
                .rev()
                .find(|(_, text)| text.contains("gennaker-answer"))?;
            let message: Value = serde_json::from_str(&message).unwrap();
            let blocks = message["blocks"].as_array().unwrap();
            let actions = blocks
                .iter()
                .find(|block| block["type"] == "actions")
                .unwrap();
            Some((
                ts,
                actions["elements"][0]["value"].as_str().unwrap().to_owned(),
            ))
        })
    }

    /// A click, signed as Slack does.
    fn click(&self, user: &str, answer: &str, (ts, value): &(String, String)) -> PublicAnswer {
        let payload = json!({
            "type": "block_actions", "user": {"id": user},
            "response_url": self.server.url("127.0.0.1", &format!("/respond/{ts}")),
            "actions": [{"type": "button", "action_id": format!("gennaker-answer-{answer}"), "value": value}],
            "state": {"values": {"gennaker-reason": {"gennaker-reason": {"value": "because"}}}},
        });
        let body = format!("payload={}", encoded(&payload.to_string()));
        self.post_signed(body.as_bytes(), &now_seconds().to_string(), SLACK_SECRET)
    }

    fn post_signed(&self, body: &[u8], timestamp: &str, secret: &str) -> PublicAnswer {
        let signature = slack::sign(secret, timestamp, body).unwrap();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-slack-request-timestamp", timestamp),
            ("x-slack-signature", signature.as_str()),
        ];
        let url = format!("{}/slack/actions", self.public);
        self.system
            .cloud
            .request("POST", &url, &headers, body)
            .unwrap()
    }

    /// The link in the message about this execution that came through the topic.
    fn link(&self, id: &str) -> String {
        until("a message from the topic", || {
            let asked =
                json!({"QueueUrl": self.queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 1});
            let received = self
                .system
                .cloud
                .call("sqs", "receive_message", asked)
                .unwrap();
            let messages = received["Messages"].as_array().cloned().unwrap_or_default();
            messages.iter().find_map(|message| {
                let envelope: Value = serde_json::from_str(message["Body"].as_str()?).ok()?;
                let text = envelope["Message"].as_str()?;
                let link = text.lines().find(|line| line.contains("/approvals/"))?;
                text.contains(id).then(|| link.trim().to_owned())
            })
        })
    }

    fn get(&self, url: &str) -> PublicAnswer {
        self.system.cloud.request("GET", url, &[], b"").unwrap()
    }

    fn send_form(&self, url: &str, page: &PublicAnswer, fields: &str) -> PublicAnswer {
        let token = page.body.split("name=\"token\" value=\"").nth(1).unwrap();
        let token = encoded(token.split('"').next().unwrap());
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        let body = format!("token={token}&{fields}");
        self.system
            .cloud
            .request("POST", url, &headers, body.as_bytes())
            .unwrap()
    }
}

#[test]
fn a_signed_click_in_slack_releases_once_and_the_message_tells_who_did() {
    let here = installation();
    let id = here.start("appclick", json!({"selectedStageRoles": ["sre"]}));
    let question = here.question("appclick");
    // A member of the channel who is no approver.
    assert_eq!(here.click("U3", "continue", &question).status, 200);
    assert_eq!(here.system.show(&id)["status"], "RUNNING");
    assert!(
        here.slack
            .whispers
            .lock()
            .unwrap()
            .iter()
            .any(|said| said.to_string().contains("sre"))
    );
    // Twice, and then the other button.
    for answer in ["continue", "continue", "stop"] {
        assert_eq!(here.click("U1", answer, &question).status, 200);
    }
    let execution = here.system.ended(&id);
    assert_eq!(execution["status"], "SUCCEEDED");
    let context = &execution["stages"][0]["context"];
    assert_eq!(
        (&context["lastModifiedBy"], &context["judgmentReason"]),
        (&json!("ada"), &json!("because"))
    );
    until("the message is replaced", || {
        let messages = here.slack.messages("of appclick:");
        (messages.len() == 1
            && messages[0].1.contains("ada continued")
            && !messages[0].1.contains("gennaker-answer"))
        .then_some(())
    });
}

#[test]
fn the_page_behind_a_message_decides_by_its_form_alone() {
    let here = installation();
    let id = here.start("apppage", json!({"linkOnly": true, "notifications": []}));
    let link = here.link(&id);
    let page = here.get(&link);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Ship apppage?") && page.body.contains("<form"));
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE"] {
        // The API may answer some of them itself; none of them decides, as is seen below.
        let sent = here.system.cloud.request(method, &link, &[], b"");
        assert!(sent.unwrap().status < 500, "{method}");
    }
    assert_eq!(
        here.send_form(&link, &page, "choice=continue&word=").status,
        422
    );
    assert_eq!(here.system.show(&id)["status"], "RUNNING");
    assert_eq!(
        here.send_form(&link, &page, "choice=continue&word=apppage")
            .status,
        200
    );
    assert_eq!(
        here.send_form(&link, &page, "choice=stop&word=apppage")
            .status,
        409
    );
    let execution = here.system.ended(&id);
    assert_eq!(execution["status"], "SUCCEEDED");
    assert_eq!(
        execution["stages"][0]["context"]["lastModifiedBy"],
        "unattributed"
    );
    assert!(here.get(&link).body.contains("Already decided"));
}

#[test]
fn a_rejection_by_a_personal_link_stops_the_release_with_its_reason() {
    let here = installation();
    let id = here.start("appreject", json!({"notifications": []}));
    here.asks(&id);
    assert!(
        !here.get(&here.link(&id)).body.contains("<form"),
        "the message's link has no name"
    );
    let personal = here.system.gennaker(&[
        "execution",
        "judge",
        &id,
        "--stage",
        "1",
        "--page",
        "--json",
    ]);
    let link = personal.lines[0]["url"].as_str().unwrap().to_owned();
    let page = here.get(&link);
    let answer = here.send_form(
        &link,
        &page,
        "choice=stop&word=appreject&reason=too+many+errors",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let execution = here.system.ended(&id);
    assert_eq!(execution["status"], "TERMINAL");
    assert!(
        execution["ending"]["reason"]
            .as_str()
            .unwrap()
            .contains("answered stop: too many errors")
    );
}

#[test]
fn the_command_line_answers_as_who_signs_and_what_an_event_says_of_its_sender_is_nobodys_name() {
    let here = installation();
    let id = here.start(
        "appsigned",
        json!({"selectedStageRoles": ["sre"], "notifications": []}),
    );
    here.asks(&id);
    let user = here.system.show(&id)["authentication"]["user"].clone();
    let user = user.as_str().unwrap().to_owned();
    let saved = |role: &str| {
        let saved = here
            .system
            .gennaker(&["user", "save", "--name", &user, "--role", role]);
        assert_eq!(saved.status, 0, "{saved:?}");
    };
    let judge = || {
        here.system.gennaker(&[
            "execution",
            "judge",
            &id,
            "--stage",
            "1",
            "continue",
            "--json",
        ])
    };
    saved("sales");
    assert_eq!(judge().status, 2);
    let claim = json!({"execution": id, "stage": "1", "decision": "continue", "user": "ada"});
    let call = json!({"FunctionName": "gennaker-decide:live", "Payload": claim.to_string()});
    here.system.cloud.call("lambda", "invoke", call).unwrap();
    assert_eq!(here.system.show(&id)["status"], "RUNNING");
    saved("sre");
    let decided = judge();
    assert_eq!(decided.status, 0, "{decided:?}");
    assert_eq!(decided.lines[0]["decided"]["by"], user);
    assert_eq!(here.system.ended(&id)["status"], "SUCCEEDED");
}

#[test]
fn silence_ends_a_judgment_as_it_says_and_a_late_click_decides_nothing() {
    let here = installation();
    let id = here.start("appsilent", json!({"stageTimeoutMs": 4_000}));
    let question = here.question("appsilent");
    let execution = here.system.ended(&id);
    assert_eq!(execution["status"], "TERMINAL");
    assert!(
        execution["ending"]["reason"]
            .as_str()
            .unwrap()
            .contains("nobody decided within 4 s")
    );
    assert_eq!(here.click("U1", "continue", &question).status, 200);
    assert!(
        here.slack.messages("of appsilent:")[0]
            .1
            .contains("nobody decided in time")
    );
    let succeeds =
        json!({"stageTimeoutMs": 4_000, "markSuccessfulOnTimeout": true, "notifications": []});
    assert_eq!(
        here.system.ended(&here.start("appassent", succeeds))["status"],
        "SUCCEEDED"
    );
}

#[test]
fn two_people_must_agree_and_neither_is_who_asked_for_it() {
    let here = installation();
    let rules =
        json!({"requiredApprovals": 2, "preventSelfApproval": true, "selectedStageRoles": ["sre"]});
    let id = here.start("appquorum", rules);
    let requester = here.system.show(&id)["authentication"]["user"]
        .as_str()
        .unwrap()
        .to_owned();
    let saved = here.system.gennaker(&[
        "user", "save", "--name", &requester, "--role", "sre", "--slack", "U9",
    ]);
    assert_eq!(saved.status, 0, "{saved:?}");
    let question = here.question("appquorum");
    for user in ["U9", "U1", "U1"] {
        assert_eq!(here.click(user, "continue", &question).status, 200);
    }
    assert_eq!(here.system.show(&id)["status"], "RUNNING");
    let now = here.slack.messages("of appquorum:");
    assert!(
        now[0].1.contains("1 more person") && now[0].1.contains("gennaker-answer"),
        "{}",
        now[0].1
    );
    assert_eq!(here.click("U2", "continue", &question).status, 200);
    let execution = here.system.ended(&id);
    assert_eq!(execution["status"], "SUCCEEDED");
    assert_eq!(
        execution["stages"][0]["context"]["approvers"],
        json!(["ada", "bob"])
    );
}

#[test]
fn a_restart_asks_anew_and_the_message_before_decides_nothing() {
    let here = installation();
    let id = here.start("apprestart", json!({}));
    let first = here.question("apprestart");
    let canceled = here.system.gennaker(&["execution", "cancel", &id]);
    assert_eq!(canceled.status, 0, "{canceled:?}");
    assert_eq!(here.system.ended(&id)["status"], "CANCELED");
    let restarted = here
        .system
        .gennaker(&["execution", "restart", &id, "--stage", "1"]);
    assert_eq!(restarted.status, 0, "{restarted:?}");
    let second = until("another message", || {
        let found = here.question("apprestart");
        (found.0 != first.0).then_some(found)
    });
    assert_eq!(here.click("U1", "stop", &first).status, 200);
    assert_eq!(here.system.show(&id)["status"], "RUNNING");
    until("the message before asks no more", || {
        let messages = here.slack.messages("of apprestart:");
        (!messages[0].1.contains("gennaker-answer")).then_some(())
    });
    assert_eq!(here.click("U1", "continue", &second).status, 200);
    assert_eq!(here.system.ended(&id)["status"], "SUCCEEDED");
}

#[test]
fn what_is_forged_stale_or_too_much_is_refused_at_the_real_address() {
    let here = installation();
    let now = now_seconds();
    let deep = format!("payload={}", "[".repeat(50_000)).into_bytes();
    let huge = vec![b'a'; 10 * 1024 * 1024];
    // What, body, time of the signature, secret, status.
    type Case<'a> = (&'a str, &'a [u8], u64, &'a str, &'a [u16]);
    let cases: [Case<'_>; 5] = [
        ("forged", b"payload=%7B%7D", now, "another", &[401]),
        ("stale", b"payload=%7B%7D", now - 400, SLACK_SECRET, &[401]),
        ("deeply nested", &deep, now, SLACK_SECRET, &[400]),
        ("no UTF-8", &[0xFF; 100], now, SLACK_SECRET, &[400]),
        ("ten megabytes", &huge, now, SLACK_SECRET, &[413]),
    ];
    for (name, body, at, secret, statuses) in cases {
        let began = Instant::now();
        let answer = here.post_signed(body, &at.to_string(), secret);
        assert!(statuses.contains(&answer.status), "{name}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{name}");
    }
    let unknown = format!(
        "{}/approvals/{}-{}",
        here.public,
        "a".repeat(32),
        "b".repeat(32)
    );
    assert_eq!(here.get(&unknown).status, 404);
}
