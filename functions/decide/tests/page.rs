//! The page: a GET shows and decides nothing, a form decides, a program that follows everything does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod front;

use front::{encoded, request, token, world};
use gennaker_cloud::User;
use gennaker_domain::approval::Choice;
use serde_json::{Value, json};

fn body(answer: &Value) -> &str {
    answer["body"].as_str().unwrap()
}

#[tokio::test]
async fn looking_decides_nothing_whatever_the_method() {
    let world =
        world(json!({"linkOnly": true, "instructions": "<b>Ship</b> <script>alert(1)</script>?"}))
            .await;
    let path = world.path().await;
    let before = world.approval().await;
    let shown = world.get(&path).await;
    assert_eq!(shown["statusCode"], 200);
    let html = body(&shown);
    assert!(html.contains("Ship alert(1)?"));
    assert!(!html.contains("<script") && !html.contains("http-equiv") && !html.contains(" on"));
    let policy = shown["headers"]["content-security-policy"]
        .as_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe")
    );
    assert_eq!(shown["headers"]["cache-control"], "no-store");
    assert_eq!(shown["headers"]["referrer-policy"], "no-referrer");
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND"] {
        let answer = world
            .send(&request(method, &path, &[], b"choice=continue"), 10)
            .await;
        assert_eq!(body(&answer), "", "{method}");
    }
    // Links that would answer if a link could.
    for query in ["?choice=continue&word=shop", "?decision=continue&as=x"] {
        assert_eq!(
            world.get(&format!("{path}{query}")).await["statusCode"],
            200
        );
    }
    assert_eq!(world.approval().await, before);
    assert!(world.functions.invoked().is_empty());
}

#[tokio::test]
async fn a_program_that_sends_every_form_as_it_stands_decides_nothing() {
    let world = world(json!({"linkOnly": true})).await;
    let path = world.path().await;
    let form = encoded(&token(&world.get(&path).await));
    for fields in [
        format!("token={form}&reason=&word=&choice=continue"),
        format!("token={form}&reason=test&word=test&choice=continue"),
        format!("token={form}&choice=continue"),
        format!("token={form}&word={path}&choice=continue"),
    ] {
        let answer = world.post(&path, &fields).await;
        assert_eq!(answer["statusCode"], 422);
        assert!(body(&answer).contains("Nothing was recorded"));
    }
    assert!(world.approval().await.is_pending());
}

#[tokio::test]
async fn a_person_answers_by_the_link_alone_where_the_stage_says_so_and_is_recorded_without_a_name()
{
    let world = world(json!({"linkOnly": true, "judgmentInputs": [{"value": "a&b"}]})).await;
    let path = world.path().await;
    let page = world.get(&path).await;
    let fields = format!(
        "token={}&input=a%26b&reason=looks+right&word=+SHOP+&choice=continue",
        encoded(&token(&page))
    );
    let answer = world.post(&path, &fields).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let decision = world.approval().await.decision().cloned().unwrap();
    assert_eq!(
        (decision.choice, decision.by.as_str()),
        (Choice::Continue, "unattributed")
    );
    assert_eq!(decision.input.as_deref(), Some("a&b"));
    assert_eq!(decision.reason.as_deref(), Some("looks right"));
    assert_eq!(world.functions.invoked().len(), 1);
    // Again, as a stop: it is decided.
    let late = world
        .post(&path, &fields.replace("choice=continue", "choice=stop"))
        .await;
    assert_eq!(late["statusCode"], 409);
    assert!(body(&late).contains("Already decided: unattributed continued."));
    assert!(!body(&world.get(&path).await).contains("<form"));
}

#[tokio::test]
async fn without_a_name_there_is_no_form_and_none_can_be_made_up() {
    let world = world(json!({})).await;
    let path = world.path().await;
    let page = world.get(&path).await;
    assert!(!body(&page).contains("<form") && body(&page).contains("gennaker execution judge"));
    for fields in [
        "word=shop&choice=continue",
        "token=&word=shop&choice=continue",
        "token=a.b&word=shop&choice=continue",
    ] {
        assert_eq!(world.post(&path, fields).await["statusCode"], 403);
    }
    assert!(world.approval().await.is_pending());
}

#[tokio::test]
async fn a_personal_link_answers_as_that_person_with_the_roles_of_that_moment() {
    let world = world(json!({"selectedStageRoles": ["sre"]})).await;
    let mut ada = User {
        name: "Ada".to_owned(),
        roles: vec!["sre".to_owned()],
        ..User::default()
    };
    ada.save(&world.store).await.unwrap();
    let event = json!({"execution": world.execution.id, "stage": "1", "page": true, "user": "ada"});
    let link = world.decide.decide(&event, 10).await.unwrap();
    let url = link["url"].as_str().unwrap();
    let path = url.strip_prefix("https://gennaker.example").unwrap();
    let page = world.get(path).await;
    assert!(body(&page).contains("You answer as <strong>ada</strong>"));
    // The form's own address proves nothing about the person.
    assert!(!body(&page).contains("as="));
    let plain = world.path().await;
    let fields = format!("token={}&word=shop&choice=stop", encoded(&token(&page)));
    ada.roles.clear();
    ada.save(&world.store).await.unwrap();
    assert_eq!(world.post(&plain, &fields).await["statusCode"], 403);
    ada.roles.push("sre".to_owned());
    ada.save(&world.store).await.unwrap();
    assert_eq!(world.post(&plain, &fields).await["statusCode"], 200);
    assert_eq!(world.approval().await.decision().unwrap().by, "ada");
}

#[tokio::test]
async fn a_form_or_a_personal_link_that_is_too_old_answers_nothing() {
    let world = world(json!({"linkOnly": true})).await;
    let path = world.path().await;
    let fields = format!(
        "token={}&word=shop&choice=continue",
        encoded(&token(&world.get(&path).await))
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let post = request("POST", &path, &headers, fields.as_bytes());
    assert_eq!(world.send(&post, 3_600_000 + 11).await["statusCode"], 403);
    let event = json!({"execution": world.execution.id, "stage": "1", "page": true, "user": "ada"});
    let link = world.decide.decide(&event, 10).await.unwrap();
    let personal = link["url"]
        .as_str()
        .unwrap()
        .strip_prefix("https://gennaker.example")
        .unwrap();
    let late = world
        .send(&request("GET", personal, &[], b""), 15 * 60_000 + 11)
        .await;
    assert!(body(&late).contains("too old") && !body(&late).contains("<form"));
    assert!(world.approval().await.is_pending());
}

#[tokio::test]
async fn a_form_from_another_site_or_about_another_round_is_refused() {
    let world = world(json!({"linkOnly": true})).await;
    let path = world.path().await;
    let fields = format!(
        "token={}&word=shop&choice=continue",
        encoded(&token(&world.get(&path).await))
    );
    let form = ("content-type", "application/x-www-form-urlencoded");
    for more in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
    ] {
        let post = request(
            "POST",
            &path,
            &[form, ("host", "gennaker.example"), more],
            fields.as_bytes(),
        );
        assert_eq!(world.send(&post, 10).await["statusCode"], 403, "{more:?}");
    }
    let json = request(
        "POST",
        &path,
        &[("content-type", "application/json")],
        b"{}",
    );
    assert_eq!(world.send(&json, 10).await["statusCode"], 415);
    let asked = world.approval().await;
    let mut question = asked.question.clone();
    question.changes = vec!["new: web@sha256:b".to_owned()];
    world.store.ask_again(&asked, question).await.unwrap();
    let answer = world.post(&path, &fields).await;
    assert_eq!(answer["statusCode"], 409);
    assert!(body(&answer).contains("web@sha256:b"));
    assert!(world.approval().await.is_pending());
}

#[tokio::test]
async fn an_address_that_somebody_guessed_is_unknown() {
    let world = world(json!({"linkOnly": true})).await;
    let id = world.approval().await.id;
    let wrong = "f".repeat(32);
    for path in [
        format!("/approvals/{id}"),
        format!("/approvals/{id}-"),
        format!("/approvals/{id}-{wrong}"),
        format!("/approvals/{wrong}-{}", front::CODE),
        "/approvals/".to_owned(),
        "/approvals/../x-y".to_owned(),
        format!("/approvals/{}", "a".repeat(100_000)),
        "/".to_owned(),
        "/other".to_owned(),
    ] {
        assert_eq!(world.get(&path).await["statusCode"], 404);
        assert_eq!(
            world.post(&path, "word=shop&choice=continue").await["statusCode"],
            404
        );
    }
}

#[tokio::test]
async fn what_a_pipeline_says_is_never_markup() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt;";
    let stage = json!({"linkOnly": true, "instructions": hostile, "requester": hostile, "judgmentInputs": [{"value": hostile}]});
    let world = world(stage).await;
    let page = world.get(&world.path().await).await;
    let html = body(&page);
    assert!(
        !html.contains("<script") && !html.contains("<img") && !html.contains("<b>"),
        "{html}"
    );
}
