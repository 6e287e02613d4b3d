//! The stage and a monitor: safe to repeat, safe to die.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_notify_deploy_starting::NotifyDeployStarting;
use gennaker_testkit::http::{MemoryHttp, response};
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

#[tokio::test]
async fn dies_at_every_call_and_the_monitor_is_told() {
    let scenario = |strike: Option<Strike>| async move {
        let context = json!({
            "account": "prod", "region": "us-east-1", "hasDeploymentFailed": true, "deploymentMonitor": {"id": "errors"},
        });
        let plan = vec![drive::stage(
            "1",
            "notifyDeployStarting",
            "notify-deploy-starting",
            context,
        )];
        let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
        let record = json!({"baseUrl": "https://monitor.example.com"});
        drive.put("MONITOR#errors", "META", &record).await.unwrap();
        let http = MemoryHttp::with_faults(drive.faults.clone());
        http.serve("monitor.example.com", |request| {
            response(request, 200, "{}")
        });
        drive.faults.arm(strike);
        let stage = NotifyDeployStarting::new(Arc::new(http.clone()));
        assert_eq!(
            drive.to_end(&drive.runtime(stage), "1").await,
            End::Done,
            "{strike:?}"
        );
        let told = http.received();
        assert!(!told.is_empty() && told.len() <= 3, "{strike:?}");
        assert!(told[0].url.ends_with("/deployment/starting"));
        let body: Value = serde_json::from_slice(&told[0].body).unwrap();
        assert_eq!(body["application"], "shop");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 10);
}
