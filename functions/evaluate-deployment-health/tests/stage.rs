//! The stage and a monitor: safe to repeat, safe to die, bounded.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gennaker_evaluate_deployment_health::EvaluateDeploymentHealth;
use gennaker_testkit::http::{MemoryHttp, response};
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

async fn asked(record: Value) -> Drive {
    let context = json!({
        "account": "prod", "region": "us-east-1", "currentProgress": 50, "newServerGroup": "shop-web-v002",
        "deploymentMonitor": {"id": "errors", "parameters": {"metric": "5xx"}},
    });
    let plan = vec![drive::stage(
        "1",
        "evaluateDeploymentHealth",
        "evaluate-deployment-health",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    drive.put("MONITOR#errors", "META", &record).await.unwrap();
    drive
}

fn record() -> Value {
    json!({"name": "errors", "baseUrl": "https://monitor.example.com/"})
}

/// Answers `wait` so often, then this directive.
fn monitor(drive: &Drive, waits: usize, directive: &'static str) -> MemoryHttp {
    let http = MemoryHttp::with_faults(drive.faults.clone());
    let asked = AtomicUsize::new(0);
    http.serve("monitor.example.com", move |request| {
        let says = if asked.fetch_add(1, Ordering::Relaxed) < waits {
            "wait"
        } else {
            directive
        };
        let body =
            json!({"nextStep": {"directive": says}, "statusReason": {"message": "5xx at 9 %"}});
        response(request, 200, body.to_string())
    });
    http
}

async fn run(drive: &Drive, http: &MemoryHttp) -> End {
    let stage = EvaluateDeploymentHealth::new(Arc::new(http.clone()));
    drive.to_end(&drive.runtime(stage), "1").await
}

#[tokio::test]
async fn dies_at_every_call_and_goes_on_when_the_monitor_says_so() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = asked(record()).await;
        let http = monitor(&drive, 2, "continue");
        drive.faults.arm(strike);
        assert_eq!(run(&drive, &http).await, End::Done, "{strike:?}");
        let last = http.received().pop().unwrap();
        assert_eq!(
            last.url,
            "https://monitor.example.com/deployment/evaluateHealth"
        );
        let body: Value = serde_json::from_slice(&last.body).unwrap();
        assert_eq!(body["currentProgress"], 50);
        assert_eq!(body["parameters"]["metric"], "5xx");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test]
async fn an_abort_fails_with_the_monitors_reason() {
    let drive = asked(record()).await;
    let http = monitor(&drive, 0, "abort");
    assert!(
        matches!(run(&drive, &http).await, End::Failed(reason) if reason.contains("5xx at 9 %"))
    );
}

#[tokio::test]
async fn a_monitor_that_never_decides_or_never_answers_fails_only_if_it_is_to() {
    for (fail_on_error, waits) in [(true, 1_000), (false, 1_000), (true, 0), (false, 0)] {
        let mut record = record();
        record["failOnError"] = json!(fail_on_error);
        record["maxAnalysisMinutes"] = json!(5);
        let drive = asked(record).await;
        // Without a wait nobody is there at all.
        let http = if waits == 0 {
            MemoryHttp::new()
        } else {
            monitor(&drive, waits, "continue")
        };
        let began = drive.world.now();
        let end = run(&drive, &http).await;
        assert_eq!(matches!(end, End::Failed(_)), fail_on_error, "{end:?}");
        assert_eq!(end == End::Done, !fail_on_error, "{end:?}");
        assert!(drive.world.now() - began <= 7 * 60_000);
    }
}

#[tokio::test]
async fn a_monitor_without_a_record_is_told() {
    let context = json!({"account": "prod", "deploymentMonitor": {"id": "nobody"}});
    let plan = vec![drive::stage(
        "1",
        "evaluateDeploymentHealth",
        "evaluate-deployment-health",
        context,
    )];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    let end = run(&drive, &MemoryHttp::new()).await;
    assert!(matches!(end, End::Failed(reason) if reason.contains("gennaker monitor save")));
}
