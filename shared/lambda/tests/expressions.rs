//! What a stage's expressions see, when they are evaluated, what is kept of them, and what they ask outside.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Key, Store, Write};
use gennaker_domain::{Execution, ExecutionId, Plan, StageRecord, Status};
use gennaker_http::{AddressPolicy, HttpClient, Resolve};
use gennaker_lambda::{
    Call, Invocation, Refusal, Resolver, Runtime, Stage, StageError, Step, Wake,
};
use gennaker_testkit::http::{host_and_path, response};
use gennaker_testkit::{
    Fault, Faults, LocalServer, MemoryHttp, MemoryTable, Moment, Reply, at_every_call, sample,
};
use serde_json::{Map, Value, json};

/// Ends as its context says, with the `give` of its context as outputs.
struct Scripted;

#[async_trait]
impl Stage for Scripted {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        match invocation.context.get("answer").and_then(Value::as_str) {
            Some("wait") => return Ok(Step::waiting(invocation, "not yet")),
            Some("panic") => panic!("a bug"),
            _ => {}
        }
        let mut outputs = Map::new();
        if let Some(Value::Object(give)) = invocation.context.get("give") {
            outputs.extend(give.clone());
        }
        if let Some(text) = invocation.context.get("ask").and_then(Value::as_str) {
            let text = text.replace("$[", "${").replace(']', "}");
            let value = invocation.value(&text).await?;
            outputs.insert("asked".to_owned(), json!(value));
        }
        Ok(Step::Succeeded {
            outputs,
            context: Map::new(),
        })
    }
}

struct Nobody;

#[async_trait]
impl Wake for Nobody {
    async fn wake(&self, _: Value) -> Result<(), CloudError> {
        Ok(())
    }
}

/// `https://example.com` with these pages; `VISIT` in a body is the number of the request.
fn serve(http: &MemoryHttp, pages: &[(&str, &str)]) {
    let pages: HashMap<String, String> = pages
        .iter()
        .map(|(path, body)| ((*path).to_owned(), (*body).to_owned()))
        .collect();
    let mut visits = 0;
    http.serve("example.com", move |request| {
        visits += 1;
        let (_, path) = host_and_path(&request.url);
        match pages.get(path) {
            Some(body) => response(request, 200, body.replace("VISIT", &visits.to_string())),
            None => response(request, 404, "no such page"),
        }
    });
}

struct World {
    runtime: Runtime<Scripted>,
    http: MemoryHttp,
    faults: Faults,
    store: Store,
    execution: Execution,
}

const START: i64 = 1_000;

/// An execution of these stages under v4, or under v3 as its start leaves it.
async fn world(evaluator: &str, stages: Value) -> World {
    let faults = Faults::none();
    let store = Store::new(Arc::new(MemoryTable::with_faults(faults.clone())));
    let plan = Plan {
        spel_evaluator: evaluator.to_owned(),
        ..sample::plan(stages)
    };
    let id = ExecutionId::derive(START, &["expressions"]);
    let trigger = json!({ "type": "manual", "user": "ada",
        "parameters": { "tag": "v7", "sly": "${1 + 1}", "size": 3 } });
    let processed = Resolver::new()
        .process(&store, &plan, &id, &trigger, START)
        .await
        .unwrap();
    assert_eq!(processed.is_some(), evaluator == "v3");
    if let Some(processed) = processed {
        store.put_processed(&id, &processed).await.unwrap();
    }
    let execution = sample::started_by(&store, &plan, id, &trigger, START)
        .await
        .unwrap();
    let http = MemoryHttp::new();
    let resolver = Resolver::new().with_http(Arc::new(http.clone()));
    World {
        runtime: Runtime::new(Scripted, store.clone(), Arc::new(Nobody), "gennaker")
            .with_resolver(resolver),
        http,
        faults,
        store,
        execution,
    }
}

impl World {
    async fn call_at(&self, stage: &str, now: i64) -> Result<(), Refusal> {
        let call = Call {
            event: json!({ "run": self.execution.id.run(1), "stage": stage }),
            request_id: format!("request-{now}"),
            deadline: now + 60_000,
            now,
        };
        self.runtime.handle(&call).await
    }

    async fn record(&self, stage: &str) -> StageRecord {
        self.store
            .stage(&self.execution.id, stage)
            .await
            .unwrap()
            .unwrap()
    }

    /// The stage's context after a call that succeeds.
    async fn run(&self, stage: &str, now: i64) -> Map<String, Value> {
        self.call_at(stage, now).await.unwrap();
        self.record(stage).await.context
    }
}

const NOW: &str = "${new java.util.Date().getTime()}";

#[tokio::test]
async fn an_invocation_after_a_crash_sees_what_the_first_one_resolved() {
    let world = world(
        "v4",
        json!([{"refId": "1", "type": "wait", "context": {"answer": "panic", "at": NOW, "tag": "${parameters.tag}"}}]),
    )
    .await;
    assert_eq!(
        world.call_at("1", 2_000).await.unwrap_err().name,
        "Unexpected"
    );
    assert_eq!(world.record("1").await.context["at"], 2_000);
    // The dead invocation's lease has run out.
    world.call_at("1", 90_000).await.unwrap_err();
    let record = world.record("1").await;
    assert_eq!(
        (&record.context["at"], &record.context["tag"]),
        (&json!(2_000), &json!("v7"))
    );
    assert_eq!(record.attempts, 2);
}

#[tokio::test]
async fn what_an_expression_gave_is_never_evaluated_again() {
    let stages = json!([
        {"refId": "1", "type": "wait", "context": {"note": "${parameters.sly}", "list": ["${parameters.sly}", "${later}"]}},
        {"refId": "1>1", "type": "wait", "parent": "1", "owner": "STAGE_AFTER",
         "context": {"note": "${parameters.sly}", "list": ["${parameters.sly}", "${later}"]}},
    ]);
    for evaluator in ["v3", "v4"] {
        let world = world(evaluator, stages.clone()).await;
        for (at, stage) in ["1", "1>1"].into_iter().enumerate() {
            let context = world.run(stage, 2_000 + i64::try_from(at).unwrap()).await;
            assert_eq!(context["note"], "${1 + 1}", "{evaluator} {stage}");
            assert_eq!(
                context["list"],
                json!(["${1 + 1}", "${later}"]),
                "{evaluator} {stage}"
            );
        }
    }
}

#[tokio::test]
async fn a_sub_stage_sees_what_its_parent_saw_and_tries_again_what_stayed_verbatim() {
    let fields = json!({"at": NOW, "note": "${made} at ${new java.util.Date().getTime()}", "deep": {"list": [NOW, "${made}"]}});
    let mut own = fields.clone();
    own["own"] = NOW.into();
    let world = world(
        "v4",
        json!([
            {"refId": "1", "type": "wait", "context": {"give": {"made": "thing"}}},
            {"refId": "2", "type": "wait", "context": fields},
            {"refId": "2>1", "type": "wait", "parent": "2", "owner": "STAGE_AFTER", "context": own, "requisites": ["1"]},
        ]),
    )
    .await;
    let parent = world.run("2", 2_000).await;
    assert_eq!(parent["at"], 2_000);
    assert_eq!(parent["note"], "${made} at 2000");
    assert_eq!(parent["deep"], json!({"list": [2_000, "${made}"]}));
    let summary = &parent["expressionEvaluationSummary"];
    assert_eq!(
        summary["made"][0]["places"],
        json!(["/deep/list/1"]),
        "{summary}"
    );
    assert!(
        summary["made"][0]["explanation"]
            .as_str()
            .unwrap()
            .contains("$.deep.list[1]")
    );

    world.run("1", 2_500).await;
    let child = world.run("2>1", 3_000).await;
    assert_eq!(child["at"], 2_000, "resolved above: final");
    assert_eq!(child["own"], 3_000, "the sub-stage's own field");
    assert_eq!(
        child["note"], "thing at 2000",
        "the part that stayed verbatim"
    );
    assert_eq!(child["deep"], json!({"list": [2_000, "thing"]}));
    assert_eq!(child.get("expressionEvaluationSummary"), None);
}

#[tokio::test]
async fn under_v3_the_start_evaluates_the_whole_pipeline_once_with_its_trigger_alone() {
    let stages = json!([
        {"refId": "1", "type": "wait", "name": "Deploy ${parameters.tag}", "context": {"give": {"made": "thing"}}},
        {"refId": "2", "type": "wait", "requisites": ["1"], "context": {
            "at": NOW, "who": "${trigger.user}", "id": "${execution.id}", "thing": "${made}",
            "mixed": "${parameters.tag}-${made}", "missing": "${parameters.sise}",
            "status": "${#stage('Deploy v7').status}",
            "stageEnabled": {"type": "expression", "expression": "${parameters.size == 3}"}}},
        {"refId": "2<1", "type": "wait", "parent": "2", "owner": "STAGE_BEFORE", "context": {"at": NOW, "thing": "${made}"}},
    ]);
    let world3 = world("v3", stages.clone()).await;
    world3.run("1", 2_000).await;
    let before = world3.run("2<1", 2_500).await;
    assert_eq!(
        (&before["at"], &before["thing"]),
        (&json!(START), &json!("thing"))
    );
    let context = world3.run("2", 3_000).await;
    assert_eq!(context["at"], START, "the time of the start");
    assert_eq!(context["who"], "ada");
    assert_eq!(context["id"], world3.execution.id.as_str());
    assert_eq!(context["thing"], "thing");
    assert_eq!(context["mixed"], "v7-thing");
    assert_eq!(context["missing"], "${parameters.sise}");
    assert_eq!(
        context["status"], "SUCCEEDED",
        "found by the name that the start gave it"
    );
    assert!(
        context["expressionEvaluationSummary"]["parameters.sise"][0]["explanation"]
            .as_str()
            .unwrap()
            .contains("`size`")
    );

    let world4 = world("v4", stages).await;
    world4.run("1", 2_000).await;
    world4.call_at("2<1", 2_500).await.unwrap();
    world4.call_at("2", 3_000).await.unwrap();
    // Under v4 nothing was evaluated at the start: the expression in an expression fails and skips the stage.
    assert_eq!(world4.record("2").await.status, Status::Skipped);
}

#[tokio::test]
async fn evaluate_variables_is_sequential_under_v4() {
    let stages = json!([{"refId": "1", "type": "evaluateVariables", "context": {"variables": [
        {"key": "a", "value": "${parameters.size + 1}"},
        {"key": "b", "value": "${a * 2}"},
        {"key": "c", "value": "${nope}"},
        {"key": "d", "value": "${c ?: 'none'}"},
    ]}}]);
    let variables = |context: Map<String, Value>| -> Vec<Value> {
        context["variables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| variable["value"].clone())
            .collect()
    };
    let world4 = world("v4", stages.clone()).await;
    let context = world4.run("1", 2_000).await;
    assert_eq!(context["variables"][1]["sourceValue"], "{a * 2}");
    assert_eq!(
        variables(context),
        [json!(4), json!(8), json!("${nope}"), json!("none")]
    );
    let world3 = world("v3", stages).await;
    assert_eq!(
        variables(world3.run("1", 2_000).await),
        [json!(4), json!("${a * 2}"), json!("${nope}"), json!("none")]
    );
}

#[tokio::test]
async fn a_url_is_fetched_once_for_a_stage_and_what_it_gave_is_kept() {
    let world = world(
        "v4",
        json!([{"refId": "1", "type": "wait", "context": {
            "answer": "wait",
            "version": "${#fromUrl('https://example.com/version')}",
            "again": "is ${#fromUrl('https://example.com/version')}",
            "json": "${#jsonFromUrl('https://example.com/data.json').next}",
            "chained": "${#fromUrl(#jsonFromUrl('https://example.com/data.json').next)}",
            "yaml": "${#yamlFromUrl('https://example.com/data.yaml')['a'][1]}",
            "properties": "${#propertiesFromUrl('https://example.com/app.properties')['a.b']}",
            "gone": "${#fromUrl('https://example.com/gone')}",
            "nobody": "${#fromUrl('https://nobody.example.org/')}",
        }}]),
    )
    .await;
    serve(
        &world.http,
        &[
            ("/version", "v7 VISIT"),
            ("/data.json", r#"{"next": "https://example.com/next"}"#),
            ("/next", "the end"),
            ("/data.yaml", "a: [1, two]"),
            (
                "/app.properties",
                "a.b = c
",
            ),
        ],
    );
    for now in [2_000, 12_000] {
        world.call_at("1", now).await.unwrap_err();
        let context = world.record("1").await.context;
        assert_eq!(context["version"], "v7 1");
        assert_eq!(context["again"], "is v7 1");
        assert_eq!(context["json"], "https://example.com/next");
        assert_eq!(context["chained"], "the end");
        assert_eq!(context["yaml"], "two");
        assert_eq!(context["properties"], "c");
        assert_eq!(context["gone"], "${#fromUrl('https://example.com/gone')}");
        let summary = &context["expressionEvaluationSummary"];
        let told = |key: &str| summary[key][0]["explanation"].as_str().unwrap().to_owned();
        assert!(told("#fromUrl('https://example.com/gone')").contains("answered 404"));
        assert!(told("#fromUrl('https://nobody.example.org/')").contains("cannot be resolved"));
        assert_eq!(summary.as_object().unwrap().len(), 2, "{summary}");
    }
    assert_eq!(world.http.received().len(), 6, "each once");
}

#[tokio::test]
async fn look_ups_are_bounded_in_number_depth_and_size() {
    let many: Vec<String> = (0..30)
        .map(|n| format!("${{#fromUrl('https://example.com/{n}')}}"))
        .collect();
    let mut deep = "'https://example.com/0'".to_owned();
    for _ in 0..6 {
        deep = format!("#fromUrl({deep})");
    }
    let large =
        ["x", "y", "z"].map(|n| format!("${{#fromUrl('https://example.com/{n}').length()}}"));
    let world = world(
        "v4",
        json!([
            {"refId": "1", "type": "wait", "context": {"many": many}},
            {"refId": "2", "type": "wait", "context": {"deep": format!("${{{deep}}}")}},
            {"refId": "3", "type": "wait", "context": {"large": large}},
        ]),
    )
    .await;
    let pages: Vec<(String, String)> = (0..30)
        .map(|n| (format!("/{n}"), format!("https://example.com/{}", n + 1)))
        .chain(["x", "y", "z"].map(|n| (format!("/{n}"), n.repeat(4 << 20))))
        .collect();
    let pages: Vec<(&str, &str)> = pages
        .iter()
        .map(|(path, body)| (path.as_str(), body.as_str()))
        .collect();
    serve(&world.http, &pages);
    let context = world.run("1", 2_000).await;
    let resolved = context["many"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|text| text.as_str().unwrap().starts_with("https"))
        .count();
    assert_eq!(resolved, 20);
    assert_eq!(world.http.received().len(), 20);

    let context = world.run("2", 3_000).await;
    let summary = context["expressionEvaluationSummary"].to_string();
    assert!(summary.contains("one after the other"), "{summary}");
    assert_eq!(world.http.received().len(), 23);

    let context = world.run("3", 4_000).await;
    let resolved = context["large"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|value| value.is_number())
        .count();
    assert_eq!(resolved, 2, "8 MiB of 12");
}

#[tokio::test]
async fn pipelines_applications_and_canary_configurations_are_found_in_the_table() {
    let world = world(
        "v4",
        json!([{"refId": "1", "type": "wait", "context": {
            "id": "${#pipelineId('release')}",
            "elsewhere": "${#pipelineIdInApplication('release', 'shop')}",
            "none": "${#pipelineIdOrNull('nope') ?: 'none'}",
            "error": "${#pipelineId('nope')}",
            "owner": "${#applicationMetadata('shop').email}",
            "canary": "${#canaryConfigNameToId('latency', 'shop')}",
            "ask": "$[#pipelineId('release')]",
        }}]),
    )
    .await;
    sample::save(&world.store, &sample::plan(json!([])), &[])
        .await
        .unwrap();
    let item = |value: Value| value.as_object().cloned().unwrap();
    let application = item(json!({"email": "ada@example.com"}));
    let saved = world.store.save_application("shop", &application).await;
    saved.unwrap();
    let canary = item(json!({"id": "c-1", "name": "latency"}));
    let write = Write::put(Key::new("APP#shop", "CANARY#c-1"), canary);
    world.store.table().write(write).await.unwrap();
    let context = world.run("1", 2_000).await;
    assert_eq!(context["id"], "p-1");
    assert_eq!(context["elsewhere"], "p-1");
    assert_eq!(context["none"], "none");
    assert_eq!(context["error"], "${#pipelineId('nope')}");
    assert_eq!(context["owner"], "ada@example.com");
    assert_eq!(context["canary"], "c-1");
    assert_eq!(
        world.record("1").await.outputs["asked"],
        json!({"Ok": "p-1"})
    );
}

#[tokio::test]
async fn a_table_that_does_not_answer_leaves_no_expression_unresolved() {
    at_every_call(async |strike| {
        let world = world(
            "v4",
            json!([{"refId": "1", "type": "wait", "context": {"id": "${#pipelineId('release')}", "at": NOW}}]),
        )
        .await;
        sample::save(&world.store, &sample::plan(json!([])), &[])
            .await
            .unwrap();
        let armed = strike.arm(&world.faults);
        let now = std::cell::Cell::new(0);
        armed
            .until_answered(async || {
                // A lease that a dead invocation left runs out.
                now.set(now.get() + 100_000);
                world.call_at("1", now.get()).await
            })
            .await;
        let calls = armed.finish();
        let record = world.record("1").await;
        assert_eq!(record.status, Status::Succeeded);
        assert_eq!(record.context["id"], "p-1");
        calls
    })
    .await;
}

#[tokio::test]
async fn a_throttled_look_up_is_tried_again_and_is_no_failed_expression() {
    let context = json!({"id": "${#pipelineId('release')}", "failOnFailedExpressions": true});
    let world = world(
        "v4",
        json!([{"refId": "1", "type": "wait", "context": context}]),
    )
    .await;
    sample::save(&world.store, &sample::plan(json!([])), &[])
        .await
        .unwrap();
    // Reads of the execution, the plan, the records and the trigger, the lease, then the look-up.
    let base = world.faults.calls().len();
    world.faults.plan(base + 5, Moment::Before, Fault::Throttle);
    assert_eq!(
        world.call_at("1", 2_000).await.unwrap_err().name,
        "Throttled"
    );
    assert_eq!(world.faults.struck(), 1);
    world.call_at("1", 90_000).await.unwrap();
    assert_eq!(world.record("1").await.context["id"], "p-1");
}

#[tokio::test]
async fn a_failed_expression_that_fails_its_stage_is_explained_in_the_reason() {
    let world = world(
        "v4",
        json!([{"refId": "1", "type": "wait", "context": {"failOnFailedExpressions": true, "note": "${parameters.sise}"}}]),
    )
    .await;
    let refusal = world.call_at("1", 2_000).await.unwrap_err();
    assert_eq!(refusal.name, "StageFailed");
    assert!(
        refusal.message.contains("$.note") && refusal.message.contains("`size`"),
        "{}",
        refusal.message
    );
}

/// Every name is this machine.
struct Here;

#[async_trait]
impl Resolve for Here {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![[127, 0, 0, 1].into()])
    }
}

#[tokio::test]
async fn a_real_server_is_asked_where_the_installation_allows_it_and_no_address_inside() {
    let server = LocalServer::start(|request| match request.path.as_str() {
        "/version" => Reply::new(200, &[], "v7"),
        "/moved" => Reply::new(302, &[("location", "/version")], ""),
        "/inside" => Reply::new(
            302,
            &[("location", "http://169.254.169.254/latest/meta-data")],
            "",
        ),
        _ => Reply::new(500, &[], "broken"),
    })
    .unwrap();
    let expression =
        |host: &str, path: &str| format!("${{#fromUrl('{}')}}", server.url(host, path));
    let context = json!({
        "version": expression("deploy.corp.internal", "/version"),
        "moved": expression("deploy.corp.internal", "/moved"),
        "inside": expression("deploy.corp.internal", "/inside"),
        "broken": expression("deploy.corp.internal", "/broken"),
        "other": expression("example.com", "/version"),
        "metadata": "${#fromUrl('http://169.254.169.254/latest/meta-data')}",
        "file": "${#fromUrl('file:///etc/passwd')}",
    });
    let stages = json!([{"refId": "1", "type": "wait", "context": context}]);
    let mut world = world("v4", stages).await;
    let (policy, unreadable) = AddressPolicy::parse("deploy.corp.internal");
    assert!(unreadable.is_empty());
    let client = HttpClient::with_resolver(policy, Arc::new(Here));
    world.runtime = world
        .runtime
        .with_resolver(Resolver::new().with_http(Arc::new(client)));
    let resolved = world.run("1", 2_000).await;
    assert_eq!(
        (&resolved["version"], &resolved["moved"]),
        (&json!("v7"), &json!("v7"))
    );
    for key in ["inside", "broken", "other", "metadata", "file"] {
        assert_eq!(resolved[key], context[key], "{key}");
    }
    let summary = resolved["expressionEvaluationSummary"].to_string();
    for told in [
        "answered 500",
        "not an address that this installation calls",
        "unsupported URI scheme",
    ] {
        assert!(summary.contains(told), "{told}: {summary}");
    }
    let asked: Vec<String> = server
        .received()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(
        asked.iter().filter(|path| *path == "/version").count(),
        2,
        "{asked:?}"
    );
}

/// Cases of Orca's own tests that concern the stage runtime.
fn orca_cases() -> Option<Vec<Value>> {
    let folder = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || {
            std::path::PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        },
        std::path::PathBuf::from,
    );
    let text = std::fs::read_to_string(folder.join("expressions/spel-cases.json")).ok()?;
    let document: Value = serde_json::from_str(&text).unwrap();
    Some(document["cases"].as_array().unwrap().clone())
}

#[tokio::test]
async fn a_sub_stage_is_skipped_where_its_stage_is() {
    let Some(cases) = orca_cases() else {
        println!("skipped: no corpus");
        return;
    };
    let mut seen = 0;
    for case in cases
        .iter()
        .filter(|case| case["kind"] == "stageEnabled-parent")
    {
        seen += 1;
        let expression = case["expression"].as_str().unwrap();
        // The world's parameters are its own.
        let expression = expression
            .replace("parameters.p1 == 'v", "parameters.tag == 'v")
            .replace("'v1'", "'v7'");
        let stages = json!([
            {"refId": "1", "type": "wait", "context": {"stageEnabled": {"type": "expression", "expression": expression}}},
            {"refId": "1>1", "type": "wait", "parent": "1", "owner": "STAGE_AFTER", "startsAfter": [{"refId": "1", "whole": false}]},
        ]);
        let world = world("v4", stages).await;
        world.call_at("1", 2_000).await.unwrap();
        world.call_at("1>1", 3_000).await.unwrap();
        for stage in ["1", "1>1"] {
            let skipped = world.record(stage).await.status == Status::Skipped;
            assert_eq!(json!(skipped), case["expected"], "{stage} {expression}");
        }
    }
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn a_manifest_that_skips_evaluation_stays_as_it_is() {
    let Some(cases) = orca_cases() else {
        println!("skipped: no corpus");
        return;
    };
    let mut seen = 0;
    for case in cases
        .iter()
        .filter(|case| case["kind"] == "deployManifest-skipExpressionEvaluation")
    {
        seen += 1;
        let place = case["where"].as_str().unwrap();
        let mut context =
            json!({"skipExpressionEvaluation": case["skipExpressionEvaluation"], "answer": "wait"});
        if place == "manifest" {
            context["manifests"] = json!([{ "field": case["expression"] }]);
        } else {
            context[place] = case["expression"].clone();
        }
        let world = world(
            case["spelEvaluator"].as_str().unwrap(),
            json!([{"refId": "1", "type": "deployManifest", "function": "deploy-manifest", "context": context}]),
        )
        .await;
        world.call_at("1", 2_000).await.unwrap_err();
        let context = world.record("1").await.context;
        let got = if place == "manifest" {
            &context["manifests"][0]["field"]
        } else {
            &context[place]
        };
        assert_eq!(got, &case["expected"], "{case}");
    }
    assert_eq!(seen, 5);
}
