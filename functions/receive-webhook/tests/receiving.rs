//! Webhooks are answered, checked and handed on, once whatever fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_receive_webhook::ReceiveWebhook;
use gennaker_receive_webhook::notification::Topics;
use gennaker_receive_webhook::senders::Configured;
use gennaker_testkit::http::response;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryHttp, MemorySecrets, MemoryTable, at_every_call, sample,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

struct World {
    faults: Faults,
    functions: MemoryFunctions,
    http: MemoryHttp,
    secrets: MemorySecrets,
    receive: ReceiveWebhook,
}

async fn world(triggers: &[Value]) -> World {
    world_with(triggers, Configured::default()).await
}

async fn world_with(triggers: &[Value], configured: Configured) -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let functions = MemoryFunctions::with_faults(faults.clone());
    let secrets = MemorySecrets::with_faults(faults.clone());
    let http = MemoryHttp::with_faults(faults.clone());
    let store = Store::new(Arc::new(table));
    let plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
    sample::save(&store, &plan, &sample::entries(triggers))
        .await
        .unwrap();
    World {
        receive: ReceiveWebhook::new(
            store,
            Arc::new(functions.clone()),
            Arc::new(secrets.clone()),
            configured,
            Topics::new(Arc::new(http.clone()), "123456789012"),
            "g",
        ),
        faults,
        functions,
        http,
        secrets,
    }
}

fn git(secret: Option<&str>) -> Value {
    json!({"type": "git", "enabled": true, "source": "github", "project": "shop", "slug": "api", "secret": secret})
}

fn push() -> String {
    json!({"repository": {"name": "api", "owner": {"name": "shop"}}, "ref": "refs/heads/main", "after": "abc"})
        .to_string()
}

fn signature(secret: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let bytes = mac.chain_update(body).finalize().into_bytes();
    format!("sha256={}", hex::encode(bytes))
}

fn post(path: &str, headers: Value, body: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": headers, "body": body,
        "isBase64Encoded": false, "requestContext": {"http": {"method": "POST", "sourceIp": "192.0.2.1"}},
    })
}

fn signed_push(secret: &str) -> Value {
    let body = push();
    let headers =
        json!({"x-hub-signature-256": signature(secret, &body), "x-github-delivery": "d-1"});
    post("/webhooks/git/github", headers, &body)
}

impl World {
    async fn status(&self, event: &Value, now: i64) -> u16 {
        self.receive.answer(event, now).await.status
    }

    fn handed_on(&self) -> Vec<Value> {
        let invoked = self.functions.invoked();
        assert!(invoked.iter().all(|(name, _)| name == "g-trigger:live"));
        invoked.into_iter().map(|(_, payload)| payload).collect()
    }
}

#[tokio::test]
async fn a_signed_push_is_handed_on_with_a_voucher_and_without_its_secret() {
    let world = world(&[git(Some("ssm:g/git")), git(Some("other"))]).await;
    world.secrets.put("ssm:g/git", "hunter2");
    let answer = world.receive.answer(&signed_push("hunter2"), 7).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let delivery = world.handed_on().remove(0)["delivery"].take();
    assert_eq!(delivery["vouchers"].as_array().unwrap().len(), 1);
    assert_eq!(delivery["at"], 7);
    assert!(!delivery.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_forged_signature_a_missing_one_and_one_of_another_body_are_refused() {
    let world = world(&[git(Some("hunter2"))]).await;
    let mut missing = signed_push("hunter2");
    missing["headers"] = json!({});
    let mut other = signed_push("hunter2");
    other["body"] = push().replace("main", "next").into();
    for event in [signed_push("guess"), missing, other] {
        assert_eq!(world.status(&event, 7).await, 401);
    }
    assert!(world.handed_on().is_empty());
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_read_anew_but_not_for_every_forgery() {
    let world = world(&[git(Some("ssm:g/git"))]).await;
    world.secrets.put("ssm:g/git", "old");
    assert_eq!(world.status(&signed_push("old"), 0).await, 200);
    world.secrets.put("ssm:g/git", "new");
    assert_eq!(world.status(&signed_push("new"), 1_000).await, 401);
    assert_eq!(world.status(&signed_push("new"), 40_000).await, 200);
    let read = |world: &World| {
        let calls = world.faults.calls();
        calls.iter().filter(|call| call.starts_with("ssm:")).count()
    };
    let before = read(&world);
    for now in 40_000..40_020 {
        assert_eq!(world.status(&signed_push("guess"), now).await, 401);
    }
    assert_eq!(read(&world), before);
}

#[tokio::test]
async fn a_replay_has_the_time_and_the_id_of_the_first_whatever_its_delivery_id() {
    let world = world(&[git(Some("hunter2"))]).await;
    let mut replay = signed_push("hunter2");
    replay["headers"]["x-github-delivery"] = "another".into();
    world.status(&signed_push("hunter2"), 1_000).await;
    world.status(&replay, 86_400_000).await;
    let deliveries = world.handed_on();
    assert_eq!(deliveries.len(), 2);
    for field in ["at", "eventId", "vouchers"] {
        assert_eq!(
            deliveries[0]["delivery"][field],
            deliveries[1]["delivery"][field]
        );
    }
}

#[tokio::test]
async fn the_same_body_without_an_id_is_the_same_event_for_five_minutes() {
    let hook = json!({"type": "webhook", "enabled": true, "source": "release"});
    let world = world(&[hook]).await;
    let event = post("/webhooks/webhook/release", json!({}), "");
    for now in [0, 299_999, 300_000] {
        assert_eq!(world.status(&event, now).await, 200);
    }
    let times: Vec<i64> = world
        .handed_on()
        .iter()
        .map(|one| one["delivery"]["at"].as_i64().unwrap())
        .collect();
    assert_eq!(times, [0, 0, 300_000]);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_status_and_goes_nowhere() {
    let world = world(&[
        git(None),
        json!({"type": "webhook", "enabled": true, "source": "x"}),
    ])
    .await;
    let hook = "/webhooks/webhook/x";
    let large = "x".repeat(6 * 1024 * 1024 + 1);
    let deep = format!(
        "{}{}",
        "{\"a\":".repeat(5_000),
        "1".to_owned() + &"}".repeat(5_000)
    );
    let mut encoded = post(hook, json!({}), "//4=");
    encoded["isBase64Encoded"] = true.into();
    let altered = post(hook, json!({"content-length": "8"}), "{\"a\":\"\u{FFFD}\"}");
    let mut get = post(hook, json!({}), "");
    get["requestContext"]["http"]["method"] = "GET".into();
    let cases = [
        (post(hook, json!({}), &large), 413),
        (post(hook, json!({}), &deep), 400),
        (post(hook, json!({}), "[1]"), 400),
        (encoded, 400),
        (altered, 400),
        (post("/webhooks/git/sourceforge", json!({}), &push()), 400),
        (post("/webhooks/manual/x", json!({}), "{}"), 404),
        (post("/", json!({}), "{}"), 404),
        (get, 405),
        (json!({}), 400),
        (json!(null), 400),
    ];
    for (event, status) in cases {
        let answer = world.receive.answer(&event, 7).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.len() < 1_000);
    }
    assert!(world.handed_on().is_empty());
}

#[tokio::test]
async fn what_nobody_hears_is_answered_and_costs_one_look_up() {
    let world = world(&[git(None)]).await;
    let before = world.faults.calls().len();
    let answer = world
        .status(&post("/webhooks/webhook/none", json!({}), "{}"), 7)
        .await;
    assert_eq!(answer, 200);
    assert_eq!(world.faults.calls().len() - before, 1);
    assert!(world.handed_on().is_empty());
}

#[tokio::test]
async fn a_crash_at_any_call_is_answered_with_try_again_and_loses_nothing() {
    at_every_call(async |strike| {
        let world = world(&[git(Some("ssm:g/git"))]).await;
        world.secrets.put("ssm:g/git", "hunter2");
        let armed = strike.arm(&world.faults);
        let now = std::sync::atomic::AtomicI64::new(1_000);
        armed
            .until_answered(async || {
                // The sender tries again later.
                let now = now.fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
                match world.status(&signed_push("hunter2"), now).await {
                    200 => Ok(()),
                    status => Err(status),
                }
            })
            .await;
        let calls = armed.finish();
        let first = world.handed_on().remove(0);
        assert!(world.handed_on().iter().all(|one| *one == first));
        calls
    })
    .await;
}

#[tokio::test]
async fn a_registry_has_to_know_the_token_where_there_is_one() {
    let docker =
        json!({"type": "docker", "enabled": true, "account": "hub", "repository": "shop/api"});
    let configured = Configured {
        token: Some("ssm:/g/token".to_owned()),
        ..Configured::default()
    };
    let world = world_with(&[docker], configured).await;
    world.secrets.put("ssm:/g/token", "hunter2");
    let body =
        json!({"push_data": {"tag": "v1"}, "repository": {"repo_name": "shop/api"}}).to_string();
    let with = |headers: Value, query: &str| {
        let mut event = post("/webhooks/docker/hub", headers, &body);
        event["rawQueryString"] = query.into();
        event
    };
    for (event, status) in [
        (with(json!({}), ""), 401),
        (with(json!({"x-gennaker-token": "guess"}), ""), 401),
        (with(json!({"x-gennaker-token": "hunter2"}), ""), 200),
        (with(json!({"authorization": "Bearer hunter2"}), ""), 200),
        (with(json!({}), "token=hunter2"), 200),
    ] {
        assert_eq!(world.status(&event, 7).await, status);
    }
    assert_eq!(world.handed_on().len(), 3);
    assert!(!format!("{:?}", world.handed_on()).contains("hunter2"));
}

/// 2026-11-21T14:00:00Z, when the messages below were signed.
const SIGNED_AT: i64 = 1_795_269_600_000;

const NOTIFICATION: &str = include_str!("sns/notification.json");
const CONFIRMATION: &str = include_str!("sns/confirmation.json");
const CERTIFICATE: &str = include_str!("sns/certificate.pem");

/// SNS in its region: gives its certificate and counts confirmations.
fn serve_sns(world: &World) {
    world.http.serve("sns.us-east-1.amazonaws.com", |request| {
        let is_certificate = request.url.ends_with(".pem");
        response(request, 200, if is_certificate { CERTIFICATE } else { "" })
    });
}

#[tokio::test]
async fn a_topic_of_this_account_is_confirmed_and_its_messages_are_handed_on() {
    at_every_call(async |strike| {
        let world = world(&[]).await;
        serve_sns(&world);
        let armed = strike.arm(&world.faults);
        for message in [CONFIRMATION, NOTIFICATION] {
            let event = post("/webhooks/sns/orders", json!({}), message);
            armed
                .until_answered(async || match world.status(&event, SIGNED_AT).await {
                    200 => Ok(()),
                    status => Err(status),
                })
                .await;
        }
        let calls = armed.finish();
        let confirmed = world.http.received();
        assert!(
            confirmed
                .iter()
                .any(|one| one.url.contains("Action=ConfirmSubscription"))
        );
        let record = world.handed_on().remove(0)["Records"][0].take();
        assert_eq!(record["Sns"]["MessageId"], "m-1");
        calls
    })
    .await;
}

#[tokio::test]
async fn a_message_that_sns_did_not_sign_or_of_another_account_is_refused() {
    let world = world(&[]).await;
    serve_sns(&world);
    let changed = |field: &str, value: &str| {
        let mut message: Value = serde_json::from_str(NOTIFICATION).unwrap();
        message[field] = value.into();
        message.to_string()
    };
    let pem = "https://sns.us-east-1.amazonaws.com.evil.example/x.pem";
    let cases = [
        (changed("Message", "{}"), 0, 401),
        (changed("Signature", "AAAA"), 0, 401),
        (changed("Signature", "!"), 0, 400),
        (changed("SigningCertURL", pem), 0, 401),
        (
            changed(
                "SigningCertURL",
                "https://sns.eu-west-1.amazonaws.com/x.pem",
            ),
            0,
            401,
        ),
        (changed("SignatureVersion", "1"), 0, 401),
        (
            changed("TopicArn", "arn:aws:sns:us-east-1:999999999999:orders"),
            0,
            403,
        ),
        (changed("TopicArn", "orders"), 0, 403),
        (NOTIFICATION.to_owned(), 3_700_000, 401),
        (NOTIFICATION.to_owned(), -400_000, 401),
        ("{".to_owned(), 0, 400),
        ("[".repeat(10_000), 0, 400),
    ];
    for (message, later, status) in cases {
        let event = post("/webhooks/sns/orders", json!({}), &message);
        assert_eq!(
            world.status(&event, SIGNED_AT + later).await,
            status,
            "{message}"
        );
    }
    let elsewhere = post("/webhooks/sns/other", json!({}), NOTIFICATION);
    assert_eq!(world.status(&elsewhere, SIGNED_AT).await, 403);
    assert!(world.handed_on().is_empty());
    assert!(
        world
            .http
            .received()
            .iter()
            .all(|one| one.url.ends_with("-1.pem"))
    );
}
