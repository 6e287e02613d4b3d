//! An execution whose judgment asks, and the internet in front of it.
#![allow(dead_code)] // Each test binary uses what it needs.

use std::sync::Arc;

use gennaker_cloud::{StepFunctions, Store};
use gennaker_decide::{Decide, Front};
use gennaker_domain::Execution;
use gennaker_domain::approval::Approval;
use gennaker_lambda::Function;
use gennaker_messages::slack;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryHttp, MemorySecrets, MemoryStepFunctions, MemoryTable,
    NamedCallers, sample,
};
use serde_json::{Value, json};

pub const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub const CODE: &str = "0123456789abcdef0123456789abcdef";

pub struct World {
    pub faults: Faults,
    pub table: MemoryTable,
    pub store: Store,
    /// The same table, never failing.
    pub quiet: Store,
    pub functions: MemoryFunctions,
    pub http: MemoryHttp,
    pub decide: Decide,
    pub execution: Execution,
}

/// An image that was baked, and a judgment of this stage that asks.
pub async fn world(stage: Value) -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.clone()));
    let quiet = Store::new(Arc::new(table.without_faults()));
    let step_functions = MemoryStepFunctions::new();
    step_functions.add_machine("sample");
    let functions = MemoryFunctions::with_faults(faults.clone());
    let plan = sample::plan(json!([
        {"refId": "0", "type": "bake"},
        {"refId": "1", "type": "manualJudgment", "requisites": ["0"], "woken": true},
        {"refId": "2", "type": "manualJudgment", "woken": true},
    ]));
    let execution = sample::running(&quiet, &plan, 1).await.unwrap();
    let run = execution.id.run(1);
    step_functions
        .start(sample::MACHINE, &run.to_string(), &json!({}))
        .await
        .unwrap();
    let question = sample::question(&execution, "1", &stage);
    quiet.ask(question, CODE).await.unwrap();
    let secrets = MemorySecrets::new();
    assert!(secrets.put("ssm:/g/slack-signing-secret", SLACK_SECRET));
    let http = MemoryHttp::new();
    http.serve("hooks.slack.com", |request| {
        gennaker_testkit::http::response(request, 200, "ok")
    });
    let front = Front::new(Arc::new(secrets), Arc::new(http.clone()), || Ok([9; 32]))
        .with_slack(Some("ssm:/g/slack-signing-secret".to_owned()))
        .at(Some("https://gennaker.example/".to_owned()));
    World {
        decide: Decide::new(
            store.clone(),
            Arc::new(step_functions),
            Arc::new(functions.clone()),
            "g",
        )
        .with_callers(Arc::new(NamedCallers))
        .with_front(front),
        faults,
        table,
        store,
        quiet,
        functions,
        http,
        execution,
    }
}

/// A request as a function URL hands it over.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    use base64::Engine;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect();
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {"http": {"method": method, "sourceIp": "192.0.2.1"}},
        "body": base64::engine::general_purpose::STANDARD.encode(body), "isBase64Encoded": true,
    })
}

impl World {
    pub async fn send(&self, event: &Value, now: i64) -> Value {
        self.decide.handle(event.clone(), now).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.send(&request("GET", path, &[], b""), 10).await
    }

    pub async fn post(&self, path: &str, form: &str) -> Value {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "h"),
        ];
        self.send(&request("POST", path, &headers, form.as_bytes()), 10)
            .await
    }

    /// A click, signed as Slack does.
    pub async fn click(&self, payload: &Value, now: i64) -> Value {
        let body = format!("payload={}", encoded(&payload.to_string()));
        let timestamp = (now / 1_000).to_string();
        let signature = slack::sign(SLACK_SECRET, &timestamp, body.as_bytes()).unwrap();
        let headers = [
            ("x-slack-request-timestamp", timestamp.as_str()),
            ("x-slack-signature", signature.as_str()),
        ];
        let event = request("POST", "/slack/actions", &headers, body.as_bytes());
        self.send(&event, now).await
    }

    pub async fn approval(&self) -> Approval {
        let run = self.execution.id.run(1);
        self.quiet.approval(&run, "1").await.unwrap().unwrap()
    }

    /// Where the page is.
    pub async fn path(&self) -> String {
        format!("/approvals/{}", self.approval().await.reference())
    }
}

/// Text as a form carries it.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                (byte as char).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The hidden field of a form.
pub fn token(page: &Value) -> String {
    let body = page["body"].as_str().unwrap();
    let rest = body.split("name=\"token\" value=\"").nth(1).unwrap();
    rest.split('"').next().unwrap().to_owned()
}
