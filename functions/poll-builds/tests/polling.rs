//! A build that ended is handed over once, whatever fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};

use gennaker_cloud::Store;
use gennaker_cloud::store::builds::{BuildMaster, BuildService};
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_poll_builds::PollBuilds;
use gennaker_testkit::http::response;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryHttp, MemoryRegistry, MemorySecrets, MemoryTable, at_every_call,
    sample,
};
use gennaker_trigger::Trigger;
use serde_json::{Value, json};

const NOW: i64 = 1_795_143_600_000;

struct World {
    faults: Faults,
    functions: MemoryFunctions,
    http: MemoryHttp,
    store: Store,
    poll: PollBuilds,
    /// What the Jenkins has built.
    builds: Arc<Mutex<Vec<Value>>>,
}

fn entry(job: &str, index: usize) -> TriggerEntry {
    TriggerEntry {
        key: format!("build#ci/{job}"),
        application: "shop".to_owned(),
        pipeline_id: "p-1".to_owned(),
        index,
        trigger: json!({"type": "jenkins", "enabled": true, "master": "ci", "job": job}),
    }
}

fn master(name: &str, service: BuildService, address: &str) -> BuildMaster {
    BuildMaster {
        name: name.to_owned(),
        service,
        address: address.to_owned(),
        user: Some("spin".to_owned()),
        token: Some("ssm:/g/ci".to_owned()),
        repositories: Vec::new(),
    }
}

async fn world() -> World {
    let faults = Faults::none();
    let table = MemoryTable::with_faults(faults.clone());
    let store = Store::new(Arc::new(table.without_faults()));
    let plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
    sample::save(&store, &plan, &[entry("api", 0)])
        .await
        .unwrap();
    store
        .save_build_master(&master(
            "ci",
            BuildService::Jenkins,
            "https://ci.example.com/",
        ))
        .await
        .unwrap();
    let secrets = MemorySecrets::with_faults(faults.clone());
    assert!(secrets.put("ssm:/g/ci", "hunter2"));
    let http = MemoryHttp::with_faults(faults.clone());
    let builds: Arc<Mutex<Vec<Value>>> = Arc::default();
    let told = Arc::clone(&builds);
    http.serve("ci.example.com", move |request| {
        let builds = told.lock().unwrap().clone();
        let answer = json!({"jobs": [{"name": "api", "builds": builds}, {"name": "deaf", "builds": builds}]});
        response(request, 200, answer.to_string())
    });
    let functions = MemoryFunctions::with_faults(faults.clone());
    World {
        poll: PollBuilds::new(
            Store::new(Arc::new(table)),
            Arc::new(http.clone()),
            Arc::new(secrets),
            Arc::new(functions.clone()),
            "g",
        ),
        faults,
        functions,
        http,
        store,
        builds,
    }
}

fn build(number: i64, building: bool) -> Value {
    let result = if building {
        Value::Null
    } else {
        json!("SUCCESS")
    };
    json!({"number": number, "building": building, "result": result, "timestamp": NOW - 60_000, "duration": 30_000})
}

impl World {
    /// Numbers of the builds that `trigger` was given, each once.
    fn handed(&self) -> Vec<i64> {
        let distinct = self.functions.distinct();
        let number = |payload: &Value| {
            payload
                .pointer("/event/content/project/lastBuild/number")
                .unwrap()
                .as_i64()
                .unwrap()
        };
        distinct
            .iter()
            .map(|(_, payload)| number(payload))
            .collect()
    }
}

#[tokio::test]
async fn a_crash_at_any_call_hands_every_build_over_and_marks_it() {
    at_every_call(async |strike| {
        let world = world().await;
        let armed = strike.arm(&world.faults);
        for builds in [
            vec![build(1, false)],
            vec![build(1, false), build(2, true), build(3, false)],
            vec![build(1, false), build(2, false), build(3, false)],
        ] {
            *world.builds.lock().unwrap() = builds;
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
        assert_eq!(world.handed(), [1, 3, 2], "{strike:?}");
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
    let world = world().await;
    *world.builds.lock().unwrap() = vec![build(7, false)];
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
    let world = world().await;
    *world.builds.lock().unwrap() = vec![build(7, false)];
    world.poll.poll(NOW).await.unwrap();
    let registry = Arc::new(MemoryRegistry::new());
    let functions = Arc::new(world.functions.clone());
    let trigger = Trigger::new(world.store.clone(), registry, functions, "g");
    world.functions.serve("g-trigger:live", Arc::new(trigger));
    for _ in 0..2 {
        world.functions.deliver(0).await;
    }
    let started = world.functions.distinct();
    let started: Vec<&Value> = started
        .iter()
        .filter(|(function, _)| function == "g-start:live")
        .map(|(_, payload)| payload)
        .collect();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["pipeline"], "p-1");
    assert_eq!(started[0]["trigger"]["buildNumber"], 7);
}

#[tokio::test]
async fn a_master_that_fails_keeps_no_other_from_its_turn() {
    let world = world().await;
    *world.builds.lock().unwrap() = vec![build(1, false)];
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
