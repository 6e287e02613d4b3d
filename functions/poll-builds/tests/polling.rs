//! A build that ended is handed over once, whatever fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod world;

use std::sync::{Arc, Mutex};

use gennaker_cloud::store::builds::BuildService;
use gennaker_testkit::at_every_call;
use gennaker_testkit::http::response;
use serde_json::{Value, json};
use world::{NOW, World, master};

/// What the Jenkins `ci` has built.
type Builds = Arc<Mutex<Vec<Value>>>;

async fn world() -> (World, Builds) {
    let jenkins = master("ci", BuildService::Jenkins, "https://ci.example.com/");
    let api = json!({"type": "jenkins", "enabled": true, "master": "ci", "job": "api"});
    let world = World::new(&jenkins, api).await;
    let builds = Builds::default();
    let told = Arc::clone(&builds);
    world.http.serve("ci.example.com", move |request| {
        let builds = told.lock().unwrap().clone();
        let answer = json!({"jobs": [{"name": "api", "builds": builds}, {"name": "deaf", "builds": builds}]});
        response(request, 200, answer.to_string())
    });
    (world, builds)
}

fn build(number: i64, building: bool) -> Value {
    let result = if building {
        Value::Null
    } else {
        json!("SUCCESS")
    };
    json!({"number": number, "building": building, "result": result, "timestamp": NOW - 60_000, "duration": 30_000})
}

#[tokio::test]
async fn a_crash_at_any_call_hands_every_build_over_and_marks_it() {
    at_every_call(async |strike| {
        let (world, built) = world().await;
        let armed = strike.arm(&world.faults);
        for builds in [
            vec![build(1, false)],
            vec![build(1, false), build(2, true), build(3, false)],
            vec![build(1, false), build(2, false), build(3, false)],
        ] {
            *built.lock().unwrap() = builds;
            // A master that fails is asked again by the next call.
            for _ in 0..2 {
                armed
                    .until_answered(async || world.poll.poll(NOW).await)
                    .await;
                if world.faults.is_dead() {
                    world.faults.revive();
                }
            }
        }
        let calls = armed.finish();
        let numbers = world.handed("/event/content/project/lastBuild/number");
        assert_eq!(numbers, [1, 3, 2], "{strike:?}");
        let marks = world.store.build_marks("ci").await.unwrap();
        assert_eq!(marks["api"].up_to, 3);
        // Nobody hears it: it is marked and not handed over.
        assert_eq!(marks["deaf"].up_to, 3);
        calls
    })
    .await;
}

#[tokio::test]
async fn what_trigger_is_given_is_the_event_with_its_own_id_and_time() {
    let (world, built) = world().await;
    *built.lock().unwrap() = vec![build(7, false)];
    let answer = world.poll.poll(NOW).await.unwrap();
    assert_eq!(answer, json!({"polled": {"ci": 1}, "failed": {}}));
    let (function, payload) = world.functions.invoked().remove(0);
    assert_eq!(function, "g-trigger:live");
    assert_eq!(payload["at"], json!(NOW - 30_000));
    assert_eq!(payload["event"]["eventId"], "ci/api#7");
    let request = world.http.received().remove(0);
    let authorization = request
        .headers
        .iter()
        .find(|(name, _)| name == "authorization");
    assert_eq!(authorization.unwrap().1, "Basic c3BpbjpodW50ZXIy");
    // The same again is nothing new.
    world.poll.poll(NOW + 1).await.unwrap();
    assert_eq!(world.functions.invoked().len(), 1);
}

#[tokio::test]
async fn trigger_takes_it_and_starts_the_pipeline_that_hears_the_job() {
    let (world, built) = world().await;
    *built.lock().unwrap() = vec![build(7, false)];
    world.poll.poll(NOW).await.unwrap();
    let started = world.started().await;
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["pipeline"], "p-1");
    assert_eq!(started[0]["trigger"]["buildNumber"], 7);
}

#[tokio::test]
async fn a_master_that_fails_keeps_no_other_from_its_turn() {
    let (world, built) = world().await;
    *built.lock().unwrap() = vec![build(1, false)];
    for (name, status, body) in [("away", 503, "{}"), ("odd", 200, "<html>")] {
        let host = format!("{name}.example.com");
        let answer = body.to_owned();
        world.http.serve(&host, move |request| {
            response(request, status, answer.clone())
        });
        let travis = master(name, BuildService::Travis, &format!("https://{host}"));
        world.store.save_build_master(&travis).await.unwrap();
    }
    let mut open = master("open", BuildService::Jenkins, "https://ci.example.com");
    open.token = Some("hunter2".to_owned());
    world.store.save_build_master(&open).await.unwrap();
    let answer = world.poll.poll(NOW).await.unwrap();
    assert_eq!(answer["polled"], json!({"ci": 1}));
    let failed = answer["failed"].as_object().unwrap();
    assert_eq!(failed["away"], "it answered 503");
    assert_eq!(failed["odd"], "its answer is no JSON");
    assert!(!failed["open"].as_str().unwrap().contains("hunter2"));
}
