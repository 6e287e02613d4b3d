//! A canary that deploys its own groups, in process: whatever dies, and whenever it is cancelled, only the group that
//! served before is left, and a canary that was taken out of traffic never comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod stages;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_cloud::metrics::Metrics;
use gennaker_domain::deployment::Capacity;
use gennaker_domain::error_name::STAGE_FAILED;
use gennaker_domain::{Plan, Status};
use gennaker_find_image::FindImage;
use gennaker_kayenta_canary::KayentaCanary;
use gennaker_kayenta_canary::stores::Stores;
use gennaker_lambda::Stage;
use gennaker_metrics::cloudwatch::{DataQuery, What};
use gennaker_metrics::{Scope, Series};
use gennaker_server_groups::traffic;
use gennaker_testkit::{Behaviour, Drive, Fault, Faults, MemorySecrets, Moment, World};
use serde_json::{Value, json};

/// Calls after which a stage or an undo is given up.
const CALLS: usize = 600;

/// Errors a minute of the groups there are: an instance of `ami-bad` answers with many.
struct Errors {
    world: World,
    faults: Faults,
}

fn is_bad(world: &World, group: &str) -> bool {
    world
        .launch_data(group)
        .is_some_and(|launched| launched.image == "ami-bad")
}

#[async_trait]
impl Metrics for Errors {
    async fn series(
        &self,
        queries: &[DataQuery],
        scope: &Scope,
    ) -> Result<Vec<Series>, CloudError> {
        let call = self
            .faults
            .before("cloudwatch:GetMetricData", "shop/Errors")?;
        let What::Metric { dimensions, .. } = &queries[0].what else {
            panic!("only metrics are asked for here");
        };
        let group = &dimensions[0].1;
        let mean = self
            .world
            .snapshot()
            .iter()
            .find(|there| &there.name == group)
            .map(|there| {
                if is_bad(&self.world, &there.name) {
                    9.0
                } else {
                    1.0
                }
            });
        self.faults
            .after(call, "cloudwatch:GetMetricData", "shop/Errors")?;
        #[allow(clippy::cast_precision_loss)] // A few dozen points.
        let values =
            (0..scope.points()).filter_map(|at| mean.map(|mean| mean + (at % 5) as f64 / 10.0));
        Ok(vec![Series {
            values: values.collect(),
            ..scope.nothing()
        }])
    }
}

fn group(details: &str, more: Value) -> Value {
    let mut group = json!({
        "account": "prod", "application": "shop", "stack": "web", "freeFormDetails": details, "region": "us-east-1",
        "cloudProvider": "aws", "instanceType": "t3.small", "targetGroups": ["web"], "strategy": "highlander",
        "capacity": { "min": 1, "desired": 1, "max": 1 },
    });
    group.as_object_mut().unwrap().extend(stages::map(more));
    group
}

fn plan(image: &str) -> Plan {
    let config = json!({
        "configuration": {
            "name": "errors", "applications": ["shop"],
            "metrics": [{ "name": "errors", "groups": ["g"],
                "query": { "type": "cloudwatch", "namespace": "shop", "metricName": "Errors", "dimensions": { "Group": "$\\{scope}" } },
                "analysisConfigurations": { "canary": { "direction": "increase", "critical": true, "mustHaveData": true } } }],
            "classifier": { "groupWeights": { "g": 100 } },
        },
        "scopes": [{ "step": 60 }], "scoreThresholds": { "pass": 95, "marginal": 75 },
        "lifetimeDuration": "PT20M", "canaryAnalysisIntervalMins": 10,
    });
    let stage = json!({
        "canaryConfig": config,
        "deployments": {
            "baseline": { "application": "shop", "account": "prod", "cluster": "shop-web" },
            "serverGroupPairs": [{ "control": group("baseline", json!({})),
                                   "experiment": group("canary", json!({ "imageId": image })) }],
            "delayBeforeCleanup": "PT1M",
        },
    });
    stages::compiled("kayentaCanary", &stages::map(stage), "shop").unwrap()
}

/// One group in traffic; nothing of a canary.
async fn begin(plan: &Plan) -> Drive {
    let faults = Faults::none();
    let world = World::new(1_800_000_000_000, Behaviour::default(), faults.clone());
    let web = world.add_target_group("web");
    for image in ["ami-1", "ami-2", "ami-bad"] {
        world.add_image(image, image);
    }
    world.add_group(
        "shop-web-v001",
        "ami-1",
        Capacity::fixed(2),
        std::slice::from_ref(&web),
    );
    world.advance(60_000);
    let drive = Drive::of_plan(world, faults, plan).await.unwrap();
    let account = json!({ "accountId": "123456789012", "regions": ["us-east-1"] });
    drive.put("ACCOUNT#prod", "META", &account).await.unwrap();
    drive
}

fn stage_of(drive: &Drive, function: &str) -> Arc<dyn Stage> {
    let world = || Arc::new(drive.world.clone());
    let http = stages::monitor(&drive.faults);
    match function {
        "find-image" => Arc::new(FindImage::new(world(), world())),
        "kayenta-canary" => Arc::new(KayentaCanary::new(Stores::new(
            Arc::new(Errors {
                world: drive.world.clone(),
                faults: drive.faults.clone(),
            }),
            Arc::new(http),
            Arc::new(MemorySecrets::with_faults(drive.faults.clone())),
        ))),
        other => stages::stage_of(other, &drive.world, &http),
    }
}

/// Groups and whether they take traffic.
fn groups(drive: &Drive) -> Vec<(String, bool)> {
    let all = drive.world.snapshot();
    all.iter()
        .map(|group| (group.name.clone(), !traffic::is_disabled(group)))
        .collect()
}

/// A canary's group is in traffic, was taken out, and is in again.
#[derive(Default)]
struct Watch {
    taken_out: Vec<String>,
    came_back: Vec<String>,
}

impl Watch {
    fn look(&mut self, drive: &Drive) {
        for (name, enabled) in groups(drive) {
            match (enabled, self.taken_out.contains(&name)) {
                (false, false) => self.taken_out.push(name),
                (true, true) => self.came_back.push(name),
                _ => {}
            }
        }
    }
}

/// Calls the plan's stages one after the other, the on-failure ones too, until the end, a stage that ends the
/// execution, or, if `dies`, until the planned fault struck.
async fn go(drive: &Drive, plan: &Plan, watch: &mut Watch, dies: bool) {
    let mut found = Vec::new();
    stages::order(plan, "1", &mut found);
    for stage in found {
        let Some(function) = &stage.function else {
            continue;
        };
        let runtime = drive.runtime(stage_of(drive, function));
        let event = json!({ "run": drive.run(), "stage": stage.ref_id });
        for _ in 0..CALLS {
            let answer = drive.call(&runtime, &event).await;
            watch.look(drive);
            if dies && drive.faults.struck() > 0 {
                return;
            }
            match answer {
                None => break,
                Some((STAGE_FAILED, _)) => return,
                Some(_) => drive.world.advance(10_000),
            }
        }
    }
}

/// As finalize does: every open intent, newest first.
async fn undo(drive: &Drive, watch: &mut Watch) {
    drive.end(Status::Canceled).await.unwrap();
    drive.world.advance(10_000);
    for _ in 0..CALLS {
        let open = drive
            .intents()
            .await
            .unwrap()
            .into_iter()
            .rfind(|intent| !intent.closed);
        let Some(intent) = open else {
            return;
        };
        let runtime = drive.runtime(stage_of(drive, &intent.function));
        let event = json!({ "run": drive.run(), "stage": intent.stage, "undo": intent.action });
        match drive.call(&runtime, &event).await {
            Some((STAGE_FAILED, message)) => panic!("{intent:?}: {message}"),
            Some(_) => drive.world.advance(10_000),
            None => {}
        }
        watch.look(drive);
    }
    panic!("the undo does not end");
}

fn only_what_served_before(drive: &Drive, watch: &Watch, when: &str) {
    drive.world.advance(120_000);
    assert_eq!(
        groups(drive),
        [("shop-web-v001".to_owned(), true)],
        "{when}"
    );
    assert!(
        watch.came_back.is_empty(),
        "{when}: {:?} took traffic again",
        watch.came_back
    );
}

/// Which calls of a clean run change something in the account.
async fn mutating_calls(plan: &Plan) -> (usize, Vec<(usize, String)>) {
    let drive = begin(plan).await;
    let first = drive.faults.calls().len();
    go(&drive, plan, &mut Watch::default(), false).await;
    let calls = drive.faults.calls()[first..].to_vec();
    let changes = calls.into_iter().enumerate().filter(|(_, call)| {
        let name = call.split_once(':').map_or("", |(_, name)| name);
        !call.starts_with("dynamodb")
            && !["Describe", "Get", "Query", "List"]
                .iter()
                .any(|read| name.starts_with(read))
    });
    (first, changes.collect())
}

#[tokio::test]
async fn both_groups_are_taken_away_whatever_the_verdict() {
    for (image, verdict) in [("ami-2", Status::Succeeded), ("ami-bad", Status::Terminal)] {
        let plan = plan(image);
        let drive = begin(&plan).await;
        let mut watch = Watch::default();
        go(&drive, &plan, &mut watch, false).await;
        let records = drive.records().await.unwrap();
        assert_eq!(records["1"].status, verdict, "{:#?}", records["1"]);
        let deployed = &records["1"].outputs["deployedServerGroups"][0];
        assert_eq!(
            (
                &deployed["controlScope"],
                &deployed["experimentScope"],
                &deployed["controlAccountId"]
            ),
            (
                &json!("shop-web-baseline-v000"),
                &json!("shop-web-canary-v000"),
                &json!("123456789012")
            )
        );
        only_what_served_before(&drive, &watch, image);
        let clean_up = if verdict == Status::Succeeded {
            "1>1<5"
        } else {
            "1>2<5"
        };
        assert_eq!(records[clean_up].status, Status::Succeeded);
    }
}

#[tokio::test]
async fn whatever_dies_the_next_try_finishes_it() {
    let plan = plan("ami-bad");
    let (first, calls) = mutating_calls(&plan).await;
    assert!(calls.len() >= 8, "{calls:?}");
    for (at, call) in calls {
        for moment in [Moment::Before, Moment::After] {
            let drive = begin(&plan).await;
            drive.faults.plan(first + at, moment, Fault::Crash);
            let mut watch = Watch::default();
            go(&drive, &plan, &mut watch, false).await;
            assert!(drive.faults.struck() > 0, "{call} at {at} was not reached");
            only_what_served_before(&drive, &watch, &format!("{call} at {at} {moment:?}"));
        }
    }
}

#[tokio::test]
async fn a_cancel_at_any_change_leaves_nothing_behind_and_puts_no_canary_back() {
    let plan = plan("ami-bad");
    let (first, calls) = mutating_calls(&plan).await;
    for (at, call) in calls {
        for moment in [Moment::Before, Moment::After] {
            let drive = begin(&plan).await;
            drive.faults.plan(first + at, moment, Fault::Crash);
            let mut watch = Watch::default();
            go(&drive, &plan, &mut watch, true).await;
            undo(&drive, &mut watch).await;
            only_what_served_before(&drive, &watch, &format!("{call} at {at} {moment:?}"));
        }
    }
}
