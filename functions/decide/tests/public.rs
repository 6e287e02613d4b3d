//! What anybody may send to the public front: clicks of Slack, and everything that pretends to be one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod front;

use std::time::{Duration, Instant};

use front::{SLACK_SECRET, World, encoded, request, world};
use gennaker_cloud::User;
use gennaker_domain::approval::{Choice, Via};
use gennaker_messages::slack;
use gennaker_testkit::at_every_call;
use serde_json::{Value, json};

const NOW: i64 = 1_531_420_618_000;

async fn click(world: &World, user: &str, answer: &str) -> Value {
    let approval = world.approval().await;
    json!({
        "type": "block_actions", "user": {"id": user}, "response_url": "https://hooks.slack.com/actions/x",
        "actions": [{"type": "button", "action_id": format!("gennaker-answer-{answer}"),
            "value": format!("{}/{}", approval.reference(), approval.round)}],
        "state": {"values": {"gennaker-reason": {"gennaker-reason": {"value": "too many errors"}}}},
    })
}

async fn with_ada(stage: Value) -> World {
    let world = world(stage).await;
    let ada = User {
        name: "ada".to_owned(),
        roles: vec!["sre".to_owned()],
        slack: Some("U1".to_owned()),
        ..User::default()
    };
    ada.save(&world.quiet).await.unwrap();
    world
}

/// What was sent to Slack's `response_url`.
fn responses(world: &World) -> Vec<Value> {
    let received = world.http.received();
    received
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect()
}

#[tokio::test]
async fn a_signed_click_decides_as_the_person_behind_it_and_replaces_the_message() {
    let world = with_ada(json!({"selectedStageRoles": ["sre"]})).await;
    let payload = click(&world, "U1", "stop").await;
    let answer = world.click(&payload, NOW).await;
    assert_eq!(
        (answer["statusCode"].as_u64(), answer["body"].as_str()),
        (Some(200), Some(""))
    );
    let approval = world.approval().await;
    let decision = approval.decision().unwrap();
    assert_eq!(
        (decision.choice, decision.by.as_str()),
        (Choice::Stop, "ada")
    );
    assert_eq!(decision.reason.as_deref(), Some("too many errors"));
    assert_eq!(approval.votes[0].via, Via::Slack);
    let said = responses(&world);
    assert_eq!(said[0]["replace_original"], true);
    assert!(said[0]["text"].as_str().unwrap().contains("ada stopped"));
    assert!(
        !said[0].to_string().contains("gennaker-answer"),
        "no buttons are left"
    );
    // The second click, and the same request again.
    let payload = click(&world, "U1", "continue").await;
    assert_eq!(world.click(&payload, NOW).await["statusCode"], 200);
    assert_eq!(
        world.approval().await.decision().unwrap().choice,
        Choice::Stop
    );
    assert!(
        responses(&world)[1]
            .to_string()
            .contains("Already decided: ada stopped")
    );
}

#[tokio::test]
async fn a_member_of_the_channel_is_no_approver() {
    let world = with_ada(json!({"selectedStageRoles": ["sre"]})).await;
    let payload = click(&world, "U2", "continue").await;
    assert_eq!(world.click(&payload, NOW).await["statusCode"], 200);
    assert!(world.approval().await.is_pending());
    let said = responses(&world);
    assert_eq!(
        (&said[0]["response_type"], &said[0]["replace_original"]),
        (&json!("ephemeral"), &json!(false))
    );
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_click_is_answered_and_clicking_again_decides_once() {
    at_every_call(async |strike| {
        let world = with_ada(json!({})).await;
        let payload = click(&world, "U1", "continue").await;
        let armed = strike.arm(&world.faults);
        let clock = std::cell::Cell::new(NOW);
        armed
            .until_answered(async || {
                clock.set(clock.get() + 1_000);
                let answer = world.click(&payload, clock.get()).await;
                match answer["statusCode"].as_u64() {
                    Some(200) => Ok(()),
                    Some(503) => Err("try again".to_owned()),
                    other => panic!("{other:?}"),
                }
            })
            .await;
        assert_eq!(world.approval().await.decision().unwrap().by, "ada");
        assert_eq!(world.functions.distinct().len(), 1);
        armed.finish()
    })
    .await;
}

/// Everything that is not from Slack, or not a click: body, time stamp and signature made with which secret, and what it
/// is answered.
#[tokio::test]
async fn bad_input_is_refused_with_the_right_status_in_bounded_time() {
    let world = with_ada(json!({})).await;
    let payload = click(&world, "U1", "continue").await;
    let good = format!("payload={}", encoded(&payload.to_string())).into_bytes();
    let deep = format!("payload={}{}", "[".repeat(50_000), "]".repeat(50_000)).into_bytes();
    let huge = vec![b'a'; 10 * 1024 * 1024];
    let binary = vec![0xFF; 1_000];
    let seconds = NOW / 1_000;
    let cases: Vec<(&str, &[u8], i64, &str, u64)> = vec![
        ("forged", &good, seconds, "another secret", 401),
        (
            "replayed after six minutes",
            &good,
            seconds - 360,
            SLACK_SECRET,
            401,
        ),
        ("from the future", &good, seconds + 360, SLACK_SECRET, 401),
        ("ten megabytes", &huge, seconds, SLACK_SECRET, 413),
        ("deeply nested", &deep, seconds, SLACK_SECRET, 400),
        ("not text", &binary, seconds, SLACK_SECRET, 400),
        ("no payload", b"x=y", seconds, SLACK_SECRET, 400),
        ("nothing", b"", seconds, SLACK_SECRET, 400),
        ("no JSON", b"payload=%7B", seconds, SLACK_SECRET, 400),
    ];
    for (name, body, at, secret, status) in cases {
        let began = Instant::now();
        let timestamp = at.to_string();
        let signature = slack::sign(secret, &timestamp, body).unwrap();
        let headers = [
            ("x-slack-request-timestamp", timestamp.as_str()),
            ("x-slack-signature", signature.as_str()),
        ];
        let event = request("POST", "/slack/actions", &headers, body);
        assert_eq!(
            world.send(&event, NOW).await["statusCode"],
            status,
            "{name}"
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{name}");
    }
    for event in [
        request("POST", "/slack/actions", &[], &good),
        request(
            "POST",
            "/slack/actions",
            &[
                ("x-slack-signature", "v0=00"),
                ("x-slack-request-timestamp", "1"),
            ],
            &good,
        ),
    ] {
        assert_eq!(world.send(&event, NOW).await["statusCode"], 401);
    }
    assert_eq!(
        world
            .send(&request("GET", "/slack/actions", &[], b""), NOW)
            .await["statusCode"],
        405
    );
    // The page takes the same.
    let path = world.path().await;
    for (body, status) in [
        (huge, 413),
        (vec![b'a'; 100_000], 413),
        (binary, 400),
        (deep, 413),
    ] {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let event = request("POST", &path, &headers, &body);
        assert_eq!(world.send(&event, NOW).await["statusCode"], status);
    }
    assert!(world.approval().await.is_pending());
    assert!(world.functions.invoked().is_empty());
}

#[tokio::test]
async fn a_request_of_the_internet_is_never_a_call_of_an_operator() {
    let world = world(json!({})).await;
    let mut event = request("GET", "/nothing", &[], b"");
    for (name, value) in [
        ("execution", json!(world.execution.id)),
        ("cancel", json!(true)),
        ("stage", json!("1")),
        ("decision", json!("continue")),
    ] {
        event[name] = value;
    }
    assert_eq!(world.send(&event, NOW).await["statusCode"], 404);
    assert!(world.approval().await.is_pending());
}

#[tokio::test]
async fn what_is_sent_back_holds_no_secret() {
    let world = with_ada(json!({})).await;
    let payload = click(&world, "U1", "continue").await;
    let answers = [
        world.click(&payload, NOW).await,
        world.get(&world.path().await).await,
    ];
    let said = format!("{answers:?}{:?}", responses(&world));
    assert!(!said.contains(SLACK_SECRET) && !said.contains("token-"));
}
