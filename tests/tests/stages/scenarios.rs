//! Every stage that changes server groups, and every strategy, each in the same small world.
#![allow(dead_code, missing_docs)] // Each test takes what it needs.

use std::sync::{Arc, Mutex};

use gennaker_cloud::Account;
use gennaker_cloud::ec2::Image;
use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_domain::{Plan, PlanStage, Status};
use gennaker_server_groups::{TrafficSources, traffic};
use gennaker_testkit::{Behaviour, Drive, End, Faults, World};
use serde_json::{Value, json};

use super as stages;

/// Calls after which a stage or an undo is given up.
pub const CALLS: usize = 500;

/// A stage or a strategy, run in a world that is always the same.
pub struct Scenario {
    pub name: &'static str,
    pub stage_type: &'static str,
    pub context: Value,
    /// Fewest healthy targets at any moment.
    pub floor: usize,
    /// Whether a cancel takes everything back: not where server groups were destroyed.
    pub undoable: bool,
    /// Whether the cluster serves behind a classic load balancer, and not behind a target group.
    pub classic: bool,
}

fn cluster(strategy: &str, more: Value) -> Value {
    let mut all = json!({
        "account": "prod", "credentials": "prod", "application": "shop", "stack": "web", "region": "us-east-1",
        "cloudProvider": "aws", "instanceType": "t3.small", "imageId": "ami-2", "targetGroups": ["web"],
        "capacity": {"min": 2, "desired": 3, "max": 6}, "strategy": strategy, "maxInitialAsgs": -1,
    });
    all.as_object_mut().unwrap().extend(stages::map(more));
    all
}

fn of(group: &str, more: Value) -> Value {
    let mut all = json!({
        "credentials": "prod", "cloudProvider": "aws", "region": "us-east-1", "cluster": "shop-web", "serverGroupName": group,
    });
    all.as_object_mut().unwrap().extend(stages::map(more));
    all
}

pub fn scenarios() -> Vec<Scenario> {
    let one = |name, stage_type, context, floor, undoable| Scenario {
        name,
        stage_type,
        context,
        floor,
        undoable,
        classic: false,
    };
    let classic = |scenario| Scenario {
        classic: true,
        ..scenario
    };
    let behind_classic =
        json!({"targetGroups": [], "loadBalancers": ["classic"], "targetPercentages": [50]});
    let explicit = json!({
        "rollbackType": "EXPLICIT",
        "rollbackContext": {"rollbackServerGroupName": "shop-web-v002", "restoreServerGroupName": "shop-web-v001"},
    });
    let image = json!({
        "rollbackType": "PREVIOUS_IMAGE", "rollbackContext": {"rollbackServerGroupName": "shop-web-v002", "imageName": "shop-1", "imageId": "ami-1"},
    });
    vec![
        one(
            "createServerGroup",
            "createServerGroup",
            cluster("", json!({})),
            3,
            true,
        ),
        one(
            "createServerGroup, another account's image",
            "createServerGroup",
            cluster(
                "",
                json!({"account": "dev", "credentials": "dev", "imageId": null, "amiName": "shop-4"}),
            ),
            3,
            true,
        ),
        one(
            "cloneServerGroup",
            "cloneServerGroup",
            json!({"credentials": "prod", "region": "us-east-1", "targetCluster": "shop-web", "target": "current_asg_dynamic", "application": "shop", "stack": "web", "imageId": "ami-2"}),
            3,
            true,
        ),
        one(
            "resizeServerGroup",
            "resizeServerGroup",
            of(
                "shop-web-v002",
                json!({"action": "scale_up", "scaleNum": 2}),
            ),
            3,
            true,
        ),
        one(
            "pinServerGroup",
            "pinServerGroup",
            of(
                "shop-web-v002",
                json!({"action": "scale_to_server_group", "source": {"serverGroupName": "shop-web-v002"}, "pinMinimumCapacity": true}),
            ),
            3,
            true,
        ),
        one(
            "enableServerGroup",
            "enableServerGroup",
            of("shop-web-v001", json!({})),
            3,
            true,
        ),
        one(
            "disableServerGroup",
            "disableServerGroup",
            of("shop-web-v002", json!({})),
            0,
            true,
        ),
        one(
            "disableServerGroup, a third",
            "disableServerGroup",
            of("shop-web-v002", json!({"desiredPercentage": 33})),
            2,
            true,
        ),
        one(
            "destroyServerGroup",
            "destroyServerGroup",
            of("shop-web-v001", json!({})),
            3,
            false,
        ),
        one(
            "disableCluster",
            "disableCluster",
            of("", json!({"remainingEnabledServerGroups": 1})),
            3,
            true,
        ),
        one(
            "shrinkCluster",
            "shrinkCluster",
            of("", json!({"shrinkToSize": 1})),
            3,
            false,
        ),
        one(
            "scaleDownCluster",
            "scaleDownCluster",
            of("", json!({"remainingFullSizeServerGroups": 1})),
            3,
            true,
        ),
        one(
            "destroyServerGroup, in traffic",
            "destroyServerGroup",
            of("shop-web-v002", json!({})),
            0,
            false,
        ),
        one(
            "disableCluster, all",
            "disableCluster",
            of("", json!({"remainingEnabledServerGroups": 0})),
            0,
            true,
        ),
        one(
            "shrinkCluster, all",
            "shrinkCluster",
            of(
                "",
                json!({"shrinkToSize": 0, "allowDeleteActive": true, "runDisableClusterStep": false}),
            ),
            0,
            false,
        ),
        one(
            "rollbackCluster, to a named group",
            "rollbackCluster",
            of(
                "",
                json!({"regions": ["us-east-1"], "originalServerGroup": "shop-web-v001"}),
            ),
            3,
            true,
        ),
        one(
            "deploy, redblack, as its source",
            "deploy",
            json!({"clusters": [cluster("redblack", json!({"useSourceCapacity": true}))]}),
            3,
            true,
        ),
        one(
            "modifyAwsScalingProcess",
            "modifyAwsScalingProcess",
            of(
                "shop-web-v002",
                json!({"action": "suspend", "processes": ["AlarmNotification"]}),
            ),
            3,
            true,
        ),
        one(
            "modifyWarmPool",
            "modifyWarmPool",
            of("shop-web-v002", json!({"action": "upsert", "minSize": 1})),
            3,
            true,
        ),
        one(
            "instanceRefresh",
            "instanceRefresh",
            of("shop-web-v002", json!({})),
            2,
            true,
        ),
        one(
            "instanceRefresh, another image",
            "instanceRefresh",
            of(
                "shop-web-v002",
                json!({"imageId": "ami-1", "minHealthyPercentage": 50}),
            ),
            2,
            true,
        ),
        one(
            "rollbackServerGroup, EXPLICIT",
            "rollbackServerGroup",
            of("", explicit),
            3,
            true,
        ),
        one(
            "rollbackServerGroup, PREVIOUS_IMAGE",
            "rollbackServerGroup",
            of("", image),
            3,
            true,
        ),
        one(
            "rollbackCluster",
            "rollbackCluster",
            of("", json!({"regions": ["us-east-1"]})),
            3,
            true,
        ),
        one(
            "deploy, redblack",
            "deploy",
            json!({"clusters": [cluster("redblack", json!({"maxRemainingAsgs": 2, "scaleDown": true}))]}),
            3,
            false,
        ),
        one(
            "deploy, redblack, watched by an alarm",
            "deploy",
            json!({"clusters": [cluster("redblack", json!({"alarmGuard": {"alarms": ["shop-5xx"]}}))]}),
            3,
            true,
        ),
        one(
            "deploy, highlander",
            "deploy",
            json!({"clusters": [cluster("highlander", json!({}))]}),
            3,
            false,
        ),
        one(
            "deploy, rollingredblack",
            "deploy",
            json!({"clusters": [cluster("rollingredblack", json!({"targetPercentages": [50]}))]}),
            3,
            true,
        ),
        one(
            "deploy, monitored",
            "deploy",
            json!({"clusters": [cluster("monitored", json!({"deploySteps": [50], "deploymentMonitor": {"id": "mon"}}))]}),
            3,
            true,
        ),
        classic(one(
            "enableServerGroup, classic",
            "enableServerGroup",
            of("shop-web-v001", json!({})),
            3,
            true,
        )),
        classic(one(
            "deploy, redblack, classic",
            "deploy",
            json!({"clusters": [cluster("redblack", behind_classic.clone())]}),
            3,
            true,
        )),
        classic(one(
            "deploy, rollingredblack, classic",
            "deploy",
            json!({"clusters": [cluster("rollingredblack", behind_classic)]}),
            3,
            true,
        )),
    ]
}

/// The old group out of traffic, the current one at 2/3/6 in it; a guard watches the cluster. With the ARN of the target
/// group in which it serves, or the name of the classic load balancer.
pub async fn begin(plan: &Plan, classic: bool) -> (Drive, String) {
    let faults = Faults::none();
    let world = World::new(1_800_000_000_000, Behaviour::default(), faults.clone());
    let web = world.add_target_group("web");
    world.add_load_balancer("classic");
    let (serving, sources) = if classic {
        let load_balancers = vec!["classic".to_owned()];
        let sources = TrafficSources {
            load_balancers,
            ..TrafficSources::default()
        };
        ("classic".to_owned(), sources)
    } else {
        let sources = TrafficSources {
            target_groups: vec![web.clone()],
            ..TrafficSources::default()
        };
        (web, sources)
    };
    world.add_image("ami-1", "shop-1");
    world.add_image("ami-2", "shop-2");
    world.add_image("ami-3", "shop-3");
    world.set_alarm("shop-5xx", 0, AlarmState::Ok);
    let old = Capacity::new(1, 2, 6).unwrap();
    world.add_disabled("shop-web-v001", "ami-1", old, sources.clone());
    world.set_created("shop-web-v001", 1_700_000_000_000);
    let current = Capacity::new(2, 3, 6).unwrap();
    world.add_group("shop-web-v002", "ami-2", current, &sources.target_groups);
    for balancer in &sources.load_balancers {
        world.attach_load_balancer("shop-web-v002", balancer);
    }
    world.set_created("shop-web-v002", 1_700_000_001_000);
    world.add_scaling("shop-web-v002", &["up"]);
    world.add_scaling_alarm("shop-web-v002", "shop-web-v002-busy");
    // No group runs it any more: a rollback goes forward.
    world.tag(
        "shop-web-v002",
        gennaker_server_groups::predecessor::IMAGE_TAG,
        "ami-3",
    );
    world.advance(60_000);
    let drive = Drive::of_plan(world, faults, plan).await.unwrap();
    let account = json!({"accountId": "123456789012", "regions": ["us-east-1"]});
    drive.put("ACCOUNT#prod", "META", &account).await.unwrap();
    bakes_elsewhere(&drive).await;
    drive
        .put(
            "MONITOR#mon",
            "META",
            &json!({"baseUrl": "https://monitor.example.com"}),
        )
        .await
        .unwrap();
    (drive, serving)
}

/// `dev`, which does not see the image that `bake` owns.
async fn bakes_elsewhere(drive: &Drive) {
    for (name, id) in [("dev", "200000000000"), ("bake", "300000000000")] {
        let account = Account {
            name: name.to_owned(),
            account_id: id.to_owned(),
            role: Some(format!("arn:aws:iam::{id}:role/gennaker-managed")),
            regions: vec!["us-east-1".to_owned()],
        };
        account.save(&drive.store()).await.unwrap();
    }
    drive.world.add_private_image(Image {
        id: "ami-4".to_owned(),
        name: "shop-4".to_owned(),
        owner: "300000000000".to_owned(),
        state: "available".to_owned(),
        tags: [("appversion".to_owned(), "shop-4".to_owned())].into(),
        ..Image::default()
    });
    let dev = "200000000000";
    drive.world.tag_shared_image("ami-4", dev, "stale", "1");
}

/// What of the world counts in the end.
pub fn state(drive: &Drive, web: &str) -> Vec<String> {
    let mut state: Vec<String> = drive
        .world
        .snapshot()
        .iter()
        .map(|group| {
            let traffic = if traffic::is_disabled(group) {
                "out of traffic"
            } else {
                "in traffic"
            };
            let mut suspended = group.suspended_processes.clone();
            suspended.sort();
            format!(
                "{} {} {traffic}, {} healthy, running [{}], suspended [{}]",
                group.name,
                group.capacity,
                drive.world.healthy_in(web, group),
                drive.world.images_of(&group.name).join(", "),
                suspended.join(", ")
            )
        })
        .collect();
    state.push(format!(
        "{} template versions, alarms [{}]",
        drive.world.template_versions(),
        drive.world.alarm_names().join(", ")
    ));
    state
}

pub fn effects(drive: &Drive) -> Vec<String> {
    drive
        .world
        .operations()
        .iter()
        .map(|done| format!("{} {:?}", done.group, done.effect))
        .collect()
}

/// The stages of a plan that have a function, in the order in which they run when nothing fails.
pub fn tasks(plan: &Plan) -> Vec<&PlanStage> {
    let tops: Vec<String> = if plan.stages[0].function.is_none() {
        plan.children("1")
            .map(|child| child.ref_id.clone())
            .collect()
    } else {
        vec!["1".to_owned()]
    };
    let mut found = Vec::new();
    for top in tops {
        stages::order(plan, &top, &mut found);
    }
    found.retain(|stage| {
        stage.function.is_some() && stage.owner != Some(gennaker_domain::Owner::OnFailure)
    });
    found
}

/// One execution of a scenario.
pub struct Ground {
    pub drive: Arc<Drive>,
    pub plan: Plan,
    /// ARN of the target group in which the cluster serves, or name of the classic load balancer.
    pub web: String,
    /// The Task that runs.
    current: Arc<Mutex<Value>>,
}

fn function(stage: &PlanStage) -> &str {
    stage.function.as_deref().unwrap_or_default()
}

/// Calls a function once with an event.
async fn call(drive: &Drive, function: &str, event: &Value) -> Option<(&'static str, String)> {
    let http = stages::monitor(&drive.faults);
    let runtime = drive.runtime(stages::stage_of(function, &drive.world, &http));
    drive.call(&runtime, event).await
}

impl Ground {
    /// The scenario's world, before anything ran.
    pub async fn of(scenario: &Scenario) -> Self {
        let context = stages::map(scenario.context.clone());
        let plan = stages::plan_of(scenario.stage_type, &context, "shop").unwrap();
        let (drive, web) = begin(&plan, scenario.classic).await;
        Self {
            drive: Arc::new(drive),
            plan,
            web,
            current: Arc::default(),
        }
    }

    pub fn calls(&self) -> Vec<String> {
        self.drive.faults.calls()
    }

    pub fn state(&self) -> Vec<String> {
        state(&self.drive, &self.web)
    }

    pub fn effects(&self) -> Vec<String> {
        effects(&self.drive)
    }

    fn event(&self, stage: &PlanStage) -> Value {
        json!({ "run": self.drive.run(), "stage": stage.ref_id })
    }

    /// Runs the plan, each invocation this many times in a row; the end of a stage that failed, if one did.
    pub async fn run(&self, times: usize) -> Option<String> {
        let http = stages::monitor(&self.drive.faults);
        for stage in tasks(&self.plan) {
            *self.current.lock().unwrap() =
                json!({ "function": function(stage), "event": self.event(stage) });
            let stage_of = stages::stage_of(function(stage), &self.drive.world, &http);
            let runtime = self.drive.runtime(stage_of);
            let end = self
                .drive
                .to_end_repeating(&runtime, &stage.ref_id, times)
                .await;
            if end != End::Done {
                return Some(format!("{}: {end:?}", stage.name));
            }
            let record = self.drive.records().await.unwrap().remove(&stage.ref_id);
            if let Some(failure) = record.and_then(|record| record.failure) {
                return Some(format!("{}: {}", stage.name, failure.reason));
            }
        }
        None
    }

    /// In the middle of this call, the function of the Task that makes it is invoked once more, with the same event.
    pub fn overlap(&self, at: usize) {
        let (drive, current) = (Arc::clone(&self.drive), Arc::clone(&self.current));
        self.drive.faults.meanwhile(at, move || {
            let task = current.lock().unwrap().clone();
            // The call that waits for this holds the thread's runtime.
            let other = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                let function = task["function"].as_str().unwrap();
                runtime.block_on(call(&drive, function, &task["event"]));
            });
            other.join().unwrap();
        });
    }

    /// Runs the plan until a planned fault struck.
    pub async fn run_until_struck(&self) {
        for stage in tasks(&self.plan) {
            for _ in 0..CALLS {
                let answer = call(&self.drive, function(stage), &self.event(stage)).await;
                if self.drive.faults.struck() > 0 {
                    return;
                }
                match answer {
                    None => break,
                    Some(_) => self.drive.world.advance(10_000),
                }
            }
        }
    }

    /// Runs the plan, each stage at most so many times; ends with the first that is not done by then. `called` is told
    /// each function, and the number of calls before it.
    pub async fn run_at_most(&self, most: usize, mut called: impl FnMut(&str, usize)) {
        for stage in tasks(&self.plan) {
            let from = self.drive.faults.calls().len();
            let mut over = false;
            for _ in 0..most {
                over = call(&self.drive, function(stage), &self.event(stage))
                    .await
                    .is_none();
                if over {
                    break;
                }
                self.drive.world.advance(10_000);
            }
            called(function(stage), from);
            if !over {
                return;
            }
        }
    }

    /// Ends the execution: nothing new begins, and leases run out.
    pub async fn end(&self) {
        self.drive.end(Status::Canceled).await.unwrap();
        self.drive.world.advance(10_000);
    }

    /// Undoes every open intent, newest first, as finalize does; what a stage could not undo. `called` is told each
    /// function, and the number of calls before it.
    pub async fn undo(&self, mut called: impl FnMut(&str, usize)) -> Option<String> {
        for _ in 0..CALLS {
            let intents = self.drive.intents().await.unwrap();
            let intent = intents.into_iter().rfind(|intent| !intent.closed)?;
            let event =
                json!({ "run": self.drive.run(), "stage": intent.stage, "undo": intent.action });
            let from = self.drive.faults.calls().len();
            let answer = call(&self.drive, &intent.function, &event).await;
            called(&intent.function, from);
            match answer {
                Some((gennaker_domain::error_name::STAGE_FAILED, message)) => return Some(message),
                Some(_) => self.drive.world.advance(10_000),
                None => {}
            }
        }
        Some("the undo does not end".to_owned())
    }
}
