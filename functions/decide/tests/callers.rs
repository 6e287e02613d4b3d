//! Who calls is who signed, and what an event says of its sender is nobody's name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod front;

use std::sync::Arc;

use front::{World, world};
use gennaker_cloud::User;
use gennaker_testkit::{MemoryHttp, MemorySts, at_every_call};
use serde_json::{Value, json};

/// 2027-01-15T08:00:00Z
const NOW: i64 = 1_800_000_000_000;
const DECIDE: (&str, &str) = ("g", "decide");

struct Guarded {
    world: World,
    http: MemoryHttp,
    sts: MemorySts,
}

/// A judgment of this stage whose answers need a signature. Ada is known, and Eve is not.
async fn guarded(stage: Value) -> Guarded {
    let mut world = world(stage).await;
    let ada = User {
        name: "ada".to_owned(),
        roles: vec!["sre".to_owned()],
        arn: Some(MemorySts::arn("ada")),
        ..User::default()
    };
    ada.save(&world.quiet).await.unwrap();
    let http = MemoryHttp::with_faults(world.faults.clone());
    let sts = MemorySts::serve(&http);
    let callers = MemorySts::callers(&http, "g").await;
    world.decide = world.decide.with_callers(Arc::new(callers));
    Guarded { world, http, sts }
}

impl Guarded {
    fn event(&self, more: &Value) -> Value {
        let mut event = json!({"execution": self.world.execution.id});
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        event
    }

    fn judgment(&self) -> Value {
        self.event(&json!({"stage": "1", "decision": "continue"}))
    }

    async fn send(&self, event: &Value, now: i64) -> Value {
        self.world.decide.decide(event, now).await.unwrap()
    }

    fn code(answer: &Value) -> &str {
        answer["problems"][0]["code"].as_str().unwrap_or("taken")
    }
}

#[tokio::test]
async fn who_signed_decides_whatever_the_event_says() {
    let here = guarded(json!({"selectedStageRoles": ["sre"]})).await;
    let mut claimed = here.judgment();
    claimed["user"] = json!("ada");
    assert_eq!(
        Guarded::code(&here.send(&claimed, NOW).await),
        "not-allowed"
    );
    let eve = here.sts.signed("eve", DECIDE, &claimed, NOW).await;
    assert_eq!(Guarded::code(&here.send(&eve, NOW).await), "not-allowed");
    assert!(here.world.approval().await.votes.is_empty());
    let ada = here.sts.signed("ada", DECIDE, &here.judgment(), NOW).await;
    assert_eq!(here.send(&ada, NOW).await["decided"]["by"], "ada");
}

#[tokio::test]
async fn a_proof_serves_one_event_of_one_function_of_one_installation_for_five_minutes() {
    let here = guarded(json!({})).await;
    let judgment = here.judgment();
    let good = here.sts.signed("ada", DECIDE, &judgment, NOW).await;
    let mut turned = good.clone();
    turned["decision"] = json!("stop");
    let mut elsewhere = good.clone();
    elsewhere["stage"] = json!("2");
    let other_function = here.sts.signed("ada", ("g", "start"), &judgment, NOW).await;
    let other_installation = here
        .sts
        .signed("ada", ("h", "decide"), &judgment, NOW)
        .await;
    let mut forged = good.clone();
    let authorization = good["caller"]["authorization"].as_str().unwrap();
    let (front, _) = authorization.split_once("Signature=").unwrap();
    forged["caller"]["authorization"] = json!(format!("{front}Signature={}", "0".repeat(64)));
    let mut stolen_token = good.clone();
    stolen_token["caller"]["token"] = json!("token-of-eve");
    let mut pathed = good.clone();
    pathed["caller"]["url"] = json!("https://attacker.example/");
    for (what, event, at) in [
        ("another answer", &turned, NOW),
        ("another stage", &elsewhere, NOW),
        ("another function", &other_function, NOW),
        ("another installation", &other_installation, NOW),
        ("a forged signature", &forged, NOW),
        ("another's token", &stolen_token, NOW),
        ("an address of its own", &pathed, NOW),
        ("too late", &good, NOW + 5 * 60_000 + 1_000),
        ("too early", &good, NOW - 5 * 60_000 - 1_000),
    ] {
        assert_eq!(
            Guarded::code(&here.send(event, at).await),
            "caller-not-proven",
            "{what}"
        );
    }
    for proof in [
        json!(true),
        json!({}),
        json!([]),
        json!({"authorization": 1, "date": "x"}),
        json!({"authorization": "x".repeat(1 << 20), "date": "é"}),
    ] {
        let mut event = here.judgment();
        event["caller"] = proof;
        assert_eq!(
            Guarded::code(&here.send(&event, NOW).await),
            "caller-not-proven"
        );
    }
    assert!(here.world.approval().await.votes.is_empty());
    // Nothing but STS was ever called.
    for request in here.http.received() {
        assert_eq!(request.url, "https://sts.us-east-1.amazonaws.com/");
        assert_eq!(request.body, b"Action=GetCallerIdentity&Version=2011-06-15");
    }
    assert_eq!(
        here.send(&good, NOW + 4 * 60_000).await["decided"]["by"],
        "ada"
    );
}

#[tokio::test]
async fn whoever_is_not_known_is_recorded_by_the_arn_and_nobody_as_unattributed() {
    let here = guarded(json!({})).await;
    let eve = here.sts.signed("eve", DECIDE, &here.judgment(), NOW).await;
    assert_eq!(
        here.send(&eve, NOW).await["decided"]["by"],
        MemorySts::arn("eve")
    );

    let here = guarded(json!({})).await;
    assert_eq!(
        Guarded::code(&here.send(&here.judgment(), NOW).await),
        "not-allowed"
    );
    let page = here.event(&json!({"stage": "1", "page": true, "user": "ada"}));
    assert_eq!(Guarded::code(&here.send(&page, NOW).await), "not-allowed");
    let cancel = here.event(&json!({"cancel": true, "user": "ada"}));
    here.send(&cancel, NOW).await;
    let id = &here.world.execution.id;
    let ending = here
        .world
        .quiet
        .execution(id)
        .await
        .unwrap()
        .unwrap()
        .ending;
    assert_eq!(ending.unwrap().by, "unattributed");
}

#[tokio::test]
async fn a_crash_at_any_call_counts_who_signed_once() {
    at_every_call(async |strike| {
        let here = guarded(json!({"requiredApprovals": 2})).await;
        let event = here.sts.signed("ada", DECIDE, &here.judgment(), NOW).await;
        let armed = strike.arm(&here.world.faults);
        for _ in 0..2 {
            let answer = armed
                .until_answered(async || here.world.decide.decide(&event, NOW).await)
                .await;
            assert_eq!(answer["missing"], "1 more person", "{answer}");
        }
        let votes = here.world.approval().await.votes;
        assert_eq!(votes.len(), 1);
        assert_eq!(votes[0].by, "ada");
        armed.finish()
    })
    .await;
}

#[tokio::test]
async fn sts_that_does_not_answer_is_asked_again_and_proves_nobody() {
    let here = guarded(json!({})).await;
    let event = here.sts.signed("ada", DECIDE, &here.judgment(), NOW).await;
    here.http.serve("sts.us-east-1.amazonaws.com", |request| {
        gennaker_testkit::http::response(request, 503, "")
    });
    let failed = here.world.decide.decide(&event, NOW).await.unwrap_err();
    assert_eq!(failed.name(), "Throttled");
    assert!(here.world.approval().await.votes.is_empty());
}
