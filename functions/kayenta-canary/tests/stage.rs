//! The stage against stores that hold points.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_cloud::metrics::Metrics;
use gennaker_cloud::store::canaries::CanaryReport;
use gennaker_http::{AddressPolicy, Http, HttpClient, HttpError, Limits, Request, Response};
use gennaker_kayenta_canary::KayentaCanary;
use gennaker_kayenta_canary::stores::{MAX_ANSWER, Stores};
use gennaker_metrics::cloudwatch::{DataQuery, What};
use gennaker_metrics::{Scope, Series};
use gennaker_testkit::http::{MemoryHttp, MemorySecrets, response};
use gennaker_testkit::{Behaviour, Drive, End, Faults, Strike, drive, fault_everywhere};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Points of groups, by the time they have.
#[derive(Clone, Default)]
struct Points(Arc<Mutex<BTreeMap<String, BTreeMap<i64, f64>>>>);

impl Points {
    /// A value a minute, `values` over and over, for two hours.
    fn put(&self, group: &str, from: i64, values: &[f64]) {
        let from = from.div_euclid(60_000) * 60_000;
        let series = (0..120).map(|minute: i64| {
            let value = values[usize::try_from(minute).unwrap() % values.len()];
            (from + minute * 60_000, value)
        });
        self.0
            .lock()
            .unwrap()
            .entry(group.to_owned())
            .or_default()
            .extend(series);
    }

    fn between(&self, group: &str, start: i64, end: i64) -> Vec<(i64, f64)> {
        let all = self.0.lock().unwrap();
        let range = all.get(group).map(|series| series.range(start..end));
        range
            .into_iter()
            .flatten()
            .map(|(time, value)| (*time, *value))
            .collect()
    }
}

/// CloudWatch with those points under `shop/Errors`.
struct MemoryCloudWatch {
    points: Points,
    faults: Faults,
}

#[async_trait]
impl Metrics for MemoryCloudWatch {
    async fn series(
        &self,
        queries: &[DataQuery],
        scope: &Scope,
    ) -> Result<Vec<Series>, CloudError> {
        let call = self
            .faults
            .before("cloudwatch:GetMetricData", "shop/Errors")?;
        let What::Metric {
            metric_name,
            dimensions,
            ..
        } = &queries[0].what
        else {
            panic!("only metrics are put here");
        };
        let found = match metric_name.as_str() {
            "Errors" => self
                .points
                .between(&dimensions[0].1, scope.start, scope.end),
            _ => Vec::new(),
        };
        self.faults
            .after(call, "cloudwatch:GetMetricData", "shop/Errors")?;
        Ok(vec![Series {
            values: found.into_iter().map(|(_, value)| value).collect(),
            ..scope.nothing()
        }])
    }
}

fn configuration(query: &Value) -> Value {
    json!({
        "name": "errors", "applications": ["shop"],
        "metrics": [{ "name": "errors", "query": query, "groups": ["g"],
                      "analysisConfigurations": { "canary": { "direction": "increase", "critical": true, "mustHaveData": true } } }],
        "classifier": { "groupWeights": { "g": 100 } },
    })
}

fn cloudwatch(metric: &str) -> Value {
    json!({ "type": "cloudwatch", "namespace": "shop", "metricName": metric })
}

async fn canary(query: &Value, more: Value) -> Drive {
    let mut config = json!({
        "configuration": configuration(query),
        "scopes": [{ "controlScope": "shop-v001", "controlLocation": "us-east-1",
                     "experimentScope": "shop-v002", "experimentLocation": "us-east-1", "step": 60 }],
        "scoreThresholds": { "pass": 95, "marginal": 75 },
        "lifetimeDuration": "PT1H", "canaryAnalysisIntervalMins": 20,
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut context = json!({ "analysisType": "realTime" });
    context["canaryConfig"] = config;
    // The configuration is given in line, as the stage takes it when nothing is stored.
    let plan = vec![drive::stage(
        "1",
        "kayentaCanary",
        "kayenta-canary",
        context,
    )];
    Drive::new(Behaviour::default(), plan).await.unwrap()
}

struct Outside {
    points: Points,
    http: MemoryHttp,
    secrets: MemorySecrets,
}

impl Outside {
    fn new(drive: &Drive) -> Self {
        Self {
            points: Points::default(),
            http: MemoryHttp::with_faults(drive.faults.clone()),
            secrets: MemorySecrets::with_faults(drive.faults.clone()),
        }
    }

    fn stage(&self, drive: &Drive) -> KayentaCanary {
        KayentaCanary::new(Stores::new(
            Arc::new(MemoryCloudWatch {
                points: self.points.clone(),
                faults: drive.faults.clone(),
            }),
            Arc::new(self.http.clone()),
            Arc::new(self.secrets.clone()),
        ))
    }
}

const STEADY: [f64; 5] = [1.0, 2.0, 1.5, 1.2, 1.8];
const WORSE: [f64; 5] = [9.0, 8.0, 9.5, 8.2, 9.8];

#[tokio::test]
async fn passes_after_its_last_interval_and_keeps_every_score() {
    let drive = canary(&cloudwatch("Errors"), json!({})).await;
    let outside = Outside::new(&drive);
    let begun = drive.world.now();
    outside.points.put("shop-v001", begun, &STEADY);
    outside.points.put("shop-v002", begun, &STEADY);
    let end = drive
        .to_end(&drive.runtime(outside.stage(&drive)), "1")
        .await;
    assert_eq!(end, End::Done);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(record.outputs["canaryScores"], json!([100.0, 100.0, 100.0]));
    assert!(
        drive.world.now() - begun >= 3_600_000,
        "not before its lifetime"
    );
}

#[tokio::test]
async fn takes_the_stored_configuration_by_its_id_and_says_when_there_is_none() {
    let drive = canary(
        &Value::Null,
        json!({ "configuration": null, "canaryConfigId": "errors" }),
    )
    .await;
    let outside = Outside::new(&drive);
    let begun = drive.world.now();
    outside.points.put("shop-v001", begun, &STEADY);
    outside.points.put("shop-v002", begun, &STEADY);
    let unknown = canary(
        &Value::Null,
        json!({ "configuration": null, "canaryConfigId": "none" }),
    )
    .await;
    match unknown
        .to_end(&unknown.runtime(outside.stage(&unknown)), "1")
        .await
    {
        End::Failed(reason) => assert!(reason.contains("`none` not found"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let stored = configuration(&cloudwatch("Errors"));
    drive
        .store()
        .save_canary("errors", &stored, 1)
        .await
        .unwrap();
    let end = drive
        .to_end(&drive.runtime(outside.stage(&drive)), "1")
        .await;
    assert_eq!(end, End::Done);
    let listed = drive.store().canaries("Shop").await.unwrap();
    assert_eq!(listed.len(), 1);
    let mut moved = stored.clone();
    moved["applications"] = json!(["web"]);
    drive
        .store()
        .save_canary("errors", &moved, 2)
        .await
        .unwrap();
    assert!(drive.store().canaries("shop").await.unwrap().is_empty());
    assert!(drive.store().delete_canary("errors").await.unwrap());
    assert!(!drive.store().delete_canary("errors").await.unwrap());
    assert!(drive.store().canaries("web").await.unwrap().is_empty());
}

#[tokio::test]
async fn ends_at_the_first_interval_that_is_bad_and_says_which_metric() {
    let drive = canary(&cloudwatch("Errors"), json!({})).await;
    let outside = Outside::new(&drive);
    let begun = drive.world.now();
    outside.points.put("shop-v001", begun, &STEADY);
    outside.points.put("shop-v002", begun, &WORSE);
    match drive
        .to_end(&drive.runtime(outside.stage(&drive)), "1")
        .await
    {
        End::Failed(reason) => assert!(
            reason.contains("errors") && reason.contains("interval 1"),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
    assert!(
        drive.world.now() - begun < 1_500_000,
        "not after the first interval"
    );
}

#[tokio::test]
async fn no_data_is_never_a_pass() {
    let drive = canary(&cloudwatch("Nothing"), json!({})).await;
    let outside = Outside::new(&drive);
    match drive
        .to_end(&drive.runtime(outside.stage(&drive)), "1")
        .await
    {
        End::Failed(reason) => assert!(reason.contains("errors"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// A Prometheus that answers range queries about those points.
fn serve_prometheus(outside: &Outside) {
    let points = outside.points.clone();
    outside.http.serve("prometheus.example.com", move |request| {
        let url = url::Url::parse(&request.url).unwrap();
        let parameter = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let signed_in = request
            .headers
            .iter()
            .any(|(name, value)| name == "authorization" && value == "Bearer very secret");
        if !signed_in {
            return response(request, 401, "sign in");
        }
        let query = parameter("query");
        let group = query.split('"').nth(1).unwrap_or_default().to_owned();
        let millis = |name: &str| (parameter(name).parse::<f64>().unwrap() * 1_000.0) as i64;
        let values: Vec<Value> = points
            .between(&group, millis("start"), millis("end"))
            .into_iter()
            .map(|(time, value)| json!([time / 1_000, value.to_string()]))
            .collect();
        let result = if values.is_empty() {
            json!([])
        } else {
            json!([{ "metric": { "__name__": "errors", "zone": "a" }, "values": values }])
        };
        let body = json!({ "status": "success", "data": { "resultType": "matrix", "result": result } });
        response(request, 200, body.to_string())
    });
}

async fn with_prometheus(more: Value) -> (Drive, Outside) {
    with_prometheus_for(more, json!({})).await
}

async fn with_prometheus_for(more: Value, time: Value) -> (Drive, Outside) {
    let query = json!({ "type": "prometheus", "metricName": "errors", "customInlineTemplate": "PromQL:rate(errors{asg=\"$\\{scope}\"}[1m])" });
    let mut account = json!({ "type": "prometheus", "endpoint": "https://prometheus.example.com/", "credentials": { "token": "ssm:/gennaker/prometheus" } });
    account
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut config = json!({ "metricsAccountName": "prom" });
    config
        .as_object_mut()
        .unwrap()
        .extend(time.as_object().unwrap().clone());
    let drive = canary(&query, config).await;
    drive
        .store()
        .save_metrics_account("prom", &account)
        .await
        .unwrap();
    let outside = Outside::new(&drive);
    assert!(
        outside
            .secrets
            .put("ssm:/gennaker/prometheus", "very secret")
    );
    serve_prometheus(&outside);
    (drive, outside)
}

#[tokio::test]
async fn a_store_over_http_is_asked_with_its_credentials_and_judged_the_same() {
    for (values, passes) in [(STEADY, true), (WORSE, false)] {
        let (drive, outside) = with_prometheus(json!({})).await;
        let begun = drive.world.now();
        outside.points.put("shop-v001", begun, &STEADY);
        outside.points.put("shop-v002", begun, &values);
        let end = drive
            .to_end(&drive.runtime(outside.stage(&drive)), "1")
            .await;
        assert_eq!(matches!(end, End::Done), passes, "{end:?}");
        assert!(!format!("{end:?}").contains("very secret"));
        let record = drive.records().await.unwrap().remove("1").unwrap();
        assert!(!format!("{record:?}").contains("very secret"));
    }
}

#[tokio::test]
async fn a_store_that_is_slow_down_or_strange_never_makes_a_canary_pass() {
    for (status, body, word) in [
        (200, "<html>Sign in</html>", "prometheus"),
        (
            200,
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            "parse error",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__na"#,
            "prometheus",
        ),
        (200, "", "prometheus"),
        (403, "no", "403"),
        (429, "", ""),
        (503, "", ""),
    ] {
        let (drive, outside) = with_prometheus(json!({})).await;
        outside
            .http
            .serve("prometheus.example.com", move |request| {
                response(request, status, body)
            });
        let end = drive
            .to_end(&drive.runtime(outside.stage(&drive)), "1")
            .await;
        match end {
            End::Failed(reason) => assert!(reason.contains(word), "{reason}"),
            // What may pass is waited for, until the stage's own time is over.
            End::GaveUp(_) => assert!(status == 429 || status == 503, "{status}"),
            End::Done => panic!("{status} {body}"),
        }
    }
}

#[tokio::test]
async fn an_account_that_cannot_work_is_refused_before_the_store_is_asked() {
    for (more, word) in [
        (json!({ "type": "datadog" }), "credentials.apiKey"),
        (json!({ "endpoint": "" }), "endpoint"),
        (json!({ "credentials": { "token": "plain" } }), "reference"),
        (json!({ "type": "graphite" }), "graphite"),
    ] {
        let (drive, outside) = with_prometheus(more).await;
        match drive
            .to_end(&drive.runtime(outside.stage(&drive)), "1")
            .await
        {
            End::Failed(reason) => {
                assert!(reason.contains(word), "{reason}");
                assert!(!reason.contains("plain"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(outside.http.received().is_empty());
    }
}

#[tokio::test]
async fn dies_at_every_call_and_judges_every_interval_once() {
    // Few polls: every call of the run is struck three times.
    let short = json!({ "lifetimeDuration": "PT2M", "canaryAnalysisIntervalMins": 1 });
    let scenario = async |strike: Option<Strike>| {
        let (drive, outside) = with_prometheus_for(json!({}), short.clone()).await;
        let begun = drive.world.now();
        outside.points.put("shop-v001", begun, &STEADY);
        outside.points.put("shop-v002", begun, &STEADY);
        let before = drive.faults.arm(strike);
        let end = drive
            .to_end(&drive.runtime(outside.stage(&drive)), "1")
            .await;
        assert_eq!(end, End::Done, "{strike:?}");
        let record = drive.records().await.unwrap().remove("1").unwrap();
        assert_eq!(record.outputs["canaryScores"], json!([100.0, 100.0]));
        drive.faults.calls().len() - before
    };
    assert!(fault_everywhere(scenario).await > 20);
}

/// A canary whose store answers these points for the canary, as JSON, and steady ones for the baseline.
async fn against_points(canary: &str) -> (End, Value) {
    let (drive, outside) = with_prometheus(json!({})).await;
    let points = canary.to_owned();
    outside
        .http
        .serve("prometheus.example.com", move |request| {
            let steady = (0..20)
                .map(|minute| json!([1_800_000_000 + minute * 60, STEADY[minute % 5].to_string()]));
            let values = if request.url.contains("shop-v001") {
                Value::from_iter(steady).to_string()
            } else {
                points.clone()
            };
            let result = format!(r#"[{{"metric":{{}},"values":{values}}}]"#);
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#
            );
            response(request, 200, body)
        });
    let runtime = drive.runtime(outside.stage(&drive));
    let end = drive.to_end(&runtime, "1").await;
    let record = drive.records().await.unwrap().remove("1").unwrap();
    (end, json!(record.context))
}

#[tokio::test]
async fn points_that_prove_nothing_never_make_a_canary_pass() {
    let point = |value: &str| format!(r#"[[1800000000,"{value}"]]"#);
    let many = |value: &str, count: u64| {
        let all: Vec<String> = (0..count)
            .map(|minute| format!(r#"[{},"{value}"]"#, 1_800_000_000 + minute * 60))
            .collect();
        format!("[{}]", all.join(","))
    };
    for (what, points, classification) in [
        ("no point", "[]".to_owned(), "Nodata"),
        ("all NaN", many("NaN", 20), "Nodata"),
        ("an infinity", many("+Inf", 20), "Error"),
        (
            "infinities of both signs",
            r#"[[1800000000,"-Inf"],[1800000060,"+Inf"]]"#.to_owned(),
            "Error",
        ),
        ("a constant that is worse", many("9", 20), "High"),
        ("fewer points, all worse", many("9", 7), "High"),
        ("a number that is none", point("nine"), "prometheus"),
        (
            "a point without a value",
            "[[1800000000]]".to_owned(),
            "prometheus",
        ),
    ] {
        let (end, context) = against_points(&points).await;
        let End::Failed(reason) = end else {
            panic!("{what}: {end:?}");
        };
        let found = context["judgeResult"]["results"][0]["classification"].as_str();
        assert!(
            found == Some(classification) || reason.contains(classification),
            "{what}: {found:?} {reason}"
        );
        assert!(
            reason.contains("errors"),
            "{what} names its metric: {reason}"
        );
    }
    // As many points as a day has, or fewer than the baseline has: judged as they are.
    for points in [many("1.5", 1_440), many("1.5", 3)] {
        let (end, context) = against_points(&points).await;
        assert_eq!(end, End::Done, "{context:#}");
    }
}

#[tokio::test]
async fn the_reports_data_are_kept_with_the_scores_of_every_interval() {
    let drive = canary(&cloudwatch("Errors"), json!({})).await;
    let outside = Outside::new(&drive);
    let begun = drive.world.now();
    outside.points.put("shop-v001", begun, &STEADY);
    outside.points.put("shop-v002", begun, &WORSE);
    let execution = &drive.run().execution;
    assert_eq!(
        drive.store().canary_report(execution, "1").await.unwrap(),
        None
    );
    drive
        .to_end(&drive.runtime(outside.stage(&drive)), "1")
        .await;
    let store = drive.store();
    assert_eq!(store.judged_canaries(execution).await.unwrap(), ["1"]);
    let Some(CanaryReport::Kept(data)) = store.canary_report(execution, "1").await.unwrap() else {
        panic!("not kept");
    };
    let (report, page) = gennaker_judge::kept_report(&data, "shop release").unwrap();
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(
        report["judgeResult"], record.context["judgeResult"],
        "the same data give the same judgement"
    );
    assert!(page.contains("shop release") && page.contains("<svg"));
    assert_eq!(data["intervals"], record.context["canaryIntervals"]);
    assert_eq!(
        data["intervals"][0]["reason"],
        "Canary Failed: The metric errors was classified as High (Critical); The metric errors was classified as High (Critical)"
    );
}

/// A store that takes the question and never answers.
struct Silent;

#[async_trait]
impl Http for Silent {
    async fn send(&self, _: &Request, _: &Limits) -> Result<Response, HttpError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_given_up_and_no_pass() {
    let (drive, outside) = with_prometheus(json!({})).await;
    let stores = Stores::new(
        Arc::new(MemoryCloudWatch {
            points: outside.points.clone(),
            faults: drive.faults.clone(),
        }),
        Arc::new(Silent),
        Arc::new(outside.secrets.clone()),
    );
    let runtime = drive.runtime(KayentaCanary::new(stores));
    match drive.to_end(&runtime, "1").await {
        End::GaveUp(reason) => {
            assert!(reason.contains("1 metrics") && reason.contains("not read within"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_told_with_metric_query_and_source() {
    let (drive, outside) = with_prometheus(json!({})).await;
    outside
        .http
        .serve("prometheus.example.com", move |request| {
            response(request, 200, vec![b' '; MAX_ANSWER + 1])
        });
    match drive
        .to_end(&drive.runtime(outside.stage(&drive)), "1")
        .await
    {
        End::Failed(reason) => {
            for part in [
                "metric `errors`",
                "rate(errors{asg=",
                "prometheus.example.com",
                "longer than 33554432 bytes",
            ] {
                assert!(reason.contains(part), "{part}: {reason}");
            }
        }
        other => panic!("{other:?}"),
    }
}

/// CloudWatch with so many points a side, those of the canary a little greater.
struct Many(usize);

#[async_trait]
impl Metrics for Many {
    async fn series(
        &self,
        queries: &[DataQuery],
        scope: &Scope,
    ) -> Result<Vec<Series>, CloudError> {
        let What::Metric { dimensions, .. } = &queries[0].what else {
            panic!("only metrics are asked for here");
        };
        let shift = if dimensions[0].1 == "shop-v002" {
            60.0
        } else {
            0.0
        };
        let wave = (0..self.0).map(|point| ((point * 37) % 101) as f64 + shift);
        Ok(vec![Series {
            values: wave.collect(),
            ..scope.nothing()
        }])
    }
}

async fn judged_of_many(points: usize, metrics: usize) -> (End, Value) {
    let mut config = configuration(&cloudwatch("Errors"));
    let metric = config["metrics"][0].clone();
    for number in 1..metrics {
        let mut another = metric.clone();
        another["name"] = json!(format!("errors {number}"));
        config["metrics"].as_array_mut().unwrap().push(another);
    }
    let drive = canary(&Value::Null, json!({ "configuration": config })).await;
    let stores = Stores::new(
        Arc::new(Many(points)),
        Arc::new(MemoryHttp::new()),
        Arc::new(MemorySecrets::with_faults(drive.faults.clone())),
    );
    let end = drive
        .to_end(&drive.runtime(KayentaCanary::new(stores)), "1")
        .await;
    let record = drive.records().await.unwrap().remove("1").unwrap();
    (end, json!(record.context))
}

#[tokio::test]
async fn a_million_points_are_judged_and_what_is_beyond_all_bounds_is_refused_with_the_metric() {
    let (end, context) = judged_of_many(500_000, 1).await;
    assert!(matches!(end, End::Failed(_)), "{end:?}");
    assert_eq!(
        context["judgeResult"]["results"][0]["classification"],
        "High"
    );
    let (end, _) = judged_of_many(1_700_000, 3).await;
    let End::Failed(reason) = end else {
        panic!("{end:?}");
    };
    assert!(
        reason.contains("metrics[errors 2]") && reason.contains("more than 10000000 points"),
        "{reason}"
    );
}

/// Answers of a server that stumbles, as they stand on the wire, and then the truth.
fn stumbling(truth: &str) -> Vec<String> {
    let page = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n\r\n{body}")
    };
    let length = format!("content-length: {}", truth.len());
    let half = &truth[..truth.len() / 2];
    vec![
        page("429 Too Many Requests", "content-length: 0", ""),
        page("503 Service Unavailable", "content-length: 4", "busy"),
        // Less than was promised, in both of the ways to promise it.
        page("200 OK", &length, half),
        page(
            "200 OK",
            "transfer-encoding: chunked",
            &format!("{:x}\r\n{half}\r\n", half.len()),
        ),
        // Not even a status.
        String::new(),
        page("200 OK", &length, truth),
    ]
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again_and_judged_by_what_it_says_in_the_end() {
    let series = |values: &[f64; 5]| {
        let points: Vec<Value> = (0..40)
            .map(|minute| json!([1_800_000_000 + minute * 60, values[minute % 5].to_string()]))
            .collect();
        json!({ "status": "success", "data": { "resultType": "matrix", "result": [{ "metric": {}, "values": points }] } })
            .to_string()
    };
    let (steady, worse) = (series(&STEADY), series(&WORSE));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        // Each side meets every stumble.
        let mut answers = BTreeMap::from([
            ("shop-v001", stumbling(&steady)),
            ("shop-v002", stumbling(&worse)),
        ]);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8_lossy(&head);
            let (_, left) = answers
                .iter_mut()
                .find(|(group, _)| head.contains(**group))
                .unwrap();
            let answer = if left.len() > 1 {
                left.remove(0)
            } else {
                left[0].clone()
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let (drive, outside) =
        with_prometheus(json!({ "endpoint": format!("http://{address}") })).await;
    let stores = Stores::new(
        Arc::new(Many(0)),
        Arc::new(HttpClient::new(AddressPolicy::of_setting(Some(
            "127.0.0.1",
        )))),
        Arc::new(outside.secrets.clone()),
    );
    let end = drive
        .to_end(&drive.runtime(KayentaCanary::new(stores)), "1")
        .await;
    server.abort();
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert!(matches!(end, End::Failed(_)), "{end:?}");
    assert_eq!(
        json!(record.context)["judgeResult"]["results"][0]["classification"],
        "High"
    );
}
