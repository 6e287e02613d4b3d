//! A tag that is new in a registry is handed over once, whatever fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod world;

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_cloud::store::builds::{BuildMaster, BuildService};
use gennaker_http::{Method, Request, Response};
use gennaker_testkit::at_every_call;
use gennaker_testkit::http::{MemoryHttp, host_and_path, response};
use serde_json::json;
use world::{NOW, World, master};

/// A registry of one repository whose tags come in pages of two, for those who got a token of its realm.
#[derive(Clone, Default)]
struct Hub {
    tags: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn push(&self, tag: &str) {
        self.tags.lock().unwrap().push(tag.to_owned());
    }

    fn serve(&self, http: &MemoryHttp) {
        let hub = self.clone();
        http.serve("hub.example:5000", move |request| hub.answer(request));
        http.serve("auth.example", |request| {
            let password = format!("Basic {}", STANDARD.encode("spin:hunter2"));
            let (_, path) = host_and_path(&request.url);
            if header(request, "authorization") != Some(&password)
                || path != "/token?service=hub&scope=repository%3Ashop%2Fapi%3Apull"
            {
                return response(request, 401, "{}");
            }
            response(request, 200, r#"{"token":"t-1"}"#)
        });
    }

    fn answer(&self, request: &Request) -> Response {
        if header(request, "authorization") != Some("Bearer t-1") {
            let challenge = r#"Bearer realm="https://auth.example/token",service="hub",scope="repository:shop/api:pull""#;
            return with(response(request, 401, "{}"), "www-authenticate", challenge);
        }
        let tags = self.tags.lock().unwrap();
        let (_, path) = host_and_path(&request.url);
        if let Some(tag) = path.strip_prefix("/v2/shop/api/manifests/") {
            assert_eq!(request.method, Method::Head);
            let digest = format!("sha256:{tag}");
            return with(response(request, 200, ""), "docker-content-digest", &digest);
        }
        let Some(query) = path.strip_prefix("/v2/shop/api/tags/list?") else {
            return response(request, 404, "{}");
        };
        let from: usize = query
            .strip_prefix("from=")
            .map_or(0, |from| from.parse().unwrap());
        let page: Vec<&String> = tags.iter().skip(from).take(2).collect();
        let answer = response(
            request,
            200,
            json!({"name": "shop/api", "tags": page}).to_string(),
        );
        if from + 2 >= tags.len() {
            return answer;
        }
        let next = format!("</v2/shop/api/tags/list?from={}>; rel=\"next\"", from + 2);
        with(answer, "link", &next)
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let found = request.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

fn with(mut answer: Response, name: &str, value: &str) -> Response {
    answer.headers.push((name.to_owned(), value.to_owned()));
    answer
}

fn registry(name: &str, address: &str, repositories: &[&str]) -> BuildMaster {
    BuildMaster {
        repositories: repositories.iter().map(|&one| one.to_owned()).collect(),
        ..master(name, BuildService::Docker, address)
    }
}

async fn world() -> (World, Hub) {
    let saved = registry("hub", "https://hub.example:5000/", &["shop/api"]);
    let trigger = json!({"type": "docker", "enabled": true, "account": "hub", "repository": "shop/api", "tag": "v.*"});
    let world = World::new(&saved, trigger).await;
    let hub = Hub::default();
    hub.serve(&world.http);
    (world, hub)
}

/// The place of a tag in what `trigger` is given.
const TAG: &str = "/event/content/tag";

#[tokio::test]
async fn old_tags_start_nothing_and_a_new_one_is_handed_over_with_its_digest() {
    let (world, hub) = world().await;
    for tag in ["v1", "v2", "latest"] {
        hub.push(tag);
    }
    let answer = world.poll.poll(NOW).await.unwrap();
    assert_eq!(answer, json!({"polled": {"hub": 0}, "failed": {}}));
    hub.push("v3");
    for later in 1..3 {
        world.poll.poll(NOW + later).await.unwrap();
    }
    let (function, payload) = world.functions.invoked().remove(0);
    assert_eq!(function, "g-trigger:live");
    assert_eq!(payload["at"], json!(NOW + 1));
    assert_eq!(payload["event"]["eventId"], "hub/shop/api:v3@sha256:v3");
    assert_eq!(payload["event"]["content"]["registry"], "hub.example:5000");
    assert_eq!(world.handed(TAG), ["v3"]);
    // Nothing but the realm was given the password.
    for request in world.http.received() {
        let (host, _) = host_and_path(&request.url);
        let basic = header(&request, "authorization").is_some_and(|a| a.starts_with("Basic"));
        assert_eq!(basic, host == "auth.example");
    }
}

#[tokio::test]
async fn trigger_takes_it_and_starts_the_pipeline_that_hears_the_tag() {
    let (world, hub) = world().await;
    world.poll.poll(NOW).await.unwrap();
    for tag in ["v1", "next"] {
        hub.push(tag);
    }
    world.poll.poll(NOW + 1).await.unwrap();
    let started = world.started().await;
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["trigger"]["tag"], "v1");
    assert_eq!(started[0]["trigger"]["digest"], "sha256:v1");
}

#[tokio::test]
async fn a_crash_at_any_call_hands_every_tag_over_as_one_event() {
    at_every_call(async |strike| {
        let (world, hub) = world().await;
        let armed = strike.arm(&world.faults);
        let clock = std::cell::Cell::new(NOW);
        for tag in ["v1", "v2", "v3"] {
            // A registry that fails is asked again by the next call, which comes later.
            for _ in 0..2 {
                clock.set(clock.get() + 1);
                armed
                    .until_answered(async || world.poll.poll(clock.get()).await)
                    .await;
                if world.faults.is_dead() {
                    world.faults.revive();
                }
            }
            hub.push(tag);
        }
        let calls = armed.finish();
        for _ in 0..2 {
            world.poll.poll(clock.get() + 1).await.unwrap();
        }
        assert_eq!(world.handed(TAG), ["v1", "v2", "v3"], "{strike:?}");
        calls
    })
    .await;
}

#[tokio::test]
async fn what_is_no_registry_or_wants_the_password_elsewhere_is_refused_and_keeps_no_other_from_its_turn()
 {
    let (world, hub) = world().await;
    world.poll.poll(NOW).await.unwrap();
    hub.push("v1");
    let lists = |link: &'static str| {
        move |request: &Request| with(response(request, 200, r#"{"tags":["a"]}"#), "link", link)
    };
    world.http.serve(
        "loop.example",
        lists("</v2/a/tags/list?n=1000>; rel=\"next\""),
    );
    world.http.serve(
        "away.example",
        lists("<https://other.example/>; rel=\"next\""),
    );
    world.http.serve("clear.example", |request| {
        let challenge = r#"Bearer realm="http://auth.example/token""#;
        with(response(request, 401, ""), "www-authenticate", challenge)
    });
    world
        .http
        .serve("page.example", |request| response(request, 200, "<html>"));
    world.http.serve("many.example", |request| {
        let tags: Vec<String> = (0..10_001).map(|n| format!("t{n}")).collect();
        response(request, 200, json!({"tags": tags}).to_string())
    });
    for name in ["loop", "away", "clear", "page", "many"] {
        let other = registry(name, &format!("https://{name}.example"), &["a", "../b"]);
        world.store.save_build_master(&other).await.unwrap();
    }
    let answer = world.poll.poll(NOW + 1).await.unwrap();
    assert_eq!(answer["polled"], json!({"hub": 1}));
    let failed = answer["failed"].as_object().unwrap();
    assert_eq!(failed.len(), 5, "{failed:?}");
    for request in world.http.received() {
        assert!(!request.url.starts_with("http://auth.example"));
        assert!(!request.url.contains("other.example") && !request.url.contains(".."));
    }
}
