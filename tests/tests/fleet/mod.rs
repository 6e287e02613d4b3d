//! Many deployments at once, by the real stages in the testkit's world and in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_domain::{Plan, error_name};
use gennaker_lambda::{Runtime, Stage};
use gennaker_server_groups::{Clouds, Guarded};
use gennaker_testkit::{Behaviour, Drive, Faults, Limit, MemoryHttp, World};
use serde_json::json;

use crate::stages;

/// How often in a row instances have to be healthy.
const HEALTHY_POLLS: i64 = 2;
/// How many seconds a disabled cluster drains.
const DRAIN_SECONDS: i64 = 90;
/// When a deployment that has not ended never will.
const TOO_LONG_MILLIS: i64 = 4 * 3_600_000;
/// When it begins.
const NOW: i64 = 1_800_000_000_000;
/// Auto Scaling groups that an account has in a region, unless AWS grants more; a deployment has two of them.
const GROUPS_PER_REGION: usize = 500;
const REGIONS: [&str; 4] = ["us-east-1", "us-west-2", "eu-west-1", "ap-southeast-2"];

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Deployments at once, red/black and rolling red/black in turn.
    pub deployments: usize,
    /// All of them start within so many seconds.
    pub start_seconds: u64,
    /// Warm processes of each function; which one takes a call is chance.
    pub processes: usize,
}

impl Extent {
    /// So many deployments, unless the environment asks for others.
    pub fn asked(deployments: usize) -> Self {
        let number = |name: &str, default: usize| {
            let said = std::env::var(name).ok();
            said.map_or(default, |said| said.parse().expect(name))
        };
        Self {
            deployments: number("GENNAKER_DEPLOYMENTS", deployments),
            start_seconds: number("GENNAKER_START_SECONDS", 60) as u64,
            processes: number("GENNAKER_PROCESSES", 4),
        }
    }

    /// The regions that it takes, and what is simulated in each. Regions share nothing: neither AWS's limits, nor what
    /// a process has seen.
    fn regions(self) -> Vec<(&'static str, Self)> {
        let regions = (2 * self.deployments).div_ceil(GROUPS_PER_REGION);
        assert!(
            regions <= REGIONS.len(),
            "more than {} regions",
            REGIONS.len()
        );
        let part = |at: usize| Self {
            deployments: self.deployments * (at + 1) / regions - self.deployments * at / regions,
            ..self
        };
        let regions = REGIONS.iter().take(regions).enumerate();
        regions.map(|(at, region)| (*region, part(at))).collect()
    }
}

/// How it is simulated.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Whether processes keep what they have seen.
    pub shared: bool,
    /// How often AWS answers.
    pub limits: Vec<Limit>,
}

/// Numbers that look like chance and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

/// What was done in a region.
#[derive(Debug, Default)]
pub struct Log {
    /// Calls that AWS answered, by operation and second since the beginning.
    calls: BTreeMap<String, BTreeMap<i64, u64>>,
    /// Attempts that it did not answer.
    pub throttled: BTreeMap<String, u64>,
    /// How long each deployment took, milliseconds.
    pub took: Vec<i64>,
    /// When the last one ended, milliseconds since the beginning.
    pub over: i64,
}

impl Log {
    fn count(&mut self, operation: &str, at: i64) {
        let seconds = self.calls.entry(operation.to_owned()).or_default();
        *seconds.entry((at - NOW) / 1_000).or_default() += 1;
    }

    pub fn operations(&self) -> impl Iterator<Item = &String> {
        self.calls.keys()
    }

    /// Calls whose operation begins so: all, a second on the average, in the busiest minute, in the busiest second.
    pub fn of(&self, operation: &str) -> Figures {
        let mut seconds: BTreeMap<i64, u64> = BTreeMap::new();
        for (name, calls) in &self.calls {
            for (second, count) in calls.iter().filter(|_| name.starts_with(operation)) {
                *seconds.entry(*second).or_default() += count;
            }
        }
        let all: u64 = seconds.values().sum();
        let minute = |from: i64| seconds.range(from..from + 60).map(|(_, n)| n).sum::<u64>();
        Figures {
            all,
            mean: all as f64 / (self.over.max(1) as f64 / 1_000.0),
            minute: seconds.keys().map(|s| minute(*s)).max().unwrap_or(0) as f64 / 60.0,
            peak: seconds.values().copied().max().unwrap_or(0),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub all: u64,
    pub mean: f64,
    pub minute: f64,
    pub peak: u64,
}

/// One deployment: the Tasks of its plan, one after the other.
struct Deployment {
    drive: Drive,
    tasks: Vec<(String, String)>,
    at: usize,
    began: i64,
}

/// The deployments of one region.
pub struct Fleet {
    pub world: World,
    pub faults: Faults,
    deployments: Vec<Deployment>,
    /// The processes of each function.
    functions: BTreeMap<String, Vec<Runtime<Arc<dyn Stage>>>>,
    chance: Chance,
    log: Log,
}

/// The stage of a function with what its `main` puts around it.
fn stage_of(function: &str, clouds: &Arc<dyn Clouds>, world: &World) -> Arc<dyn Stage> {
    let (c, w) = (|| Arc::clone(clouds), || Arc::new(world.clone()));
    let stage: Arc<dyn Stage> = match function {
        "create-server-group" => Arc::new(gennaker_create_server_group::CreateServerGroup::new(
            c(),
            w(),
            HEALTHY_POLLS,
        )),
        "disable-cluster" => Arc::new(gennaker_disable_cluster::DisableCluster::new(
            c(),
            DRAIN_SECONDS,
        )),
        "disable-server-group" => {
            Arc::new(gennaker_disable_server_group::DisableServerGroup::new(c()))
        }
        "pin-server-group" => Arc::new(gennaker_pin_server_group::PinServerGroup::new(c())),
        "resize-server-group" => {
            Arc::new(gennaker_resize_server_group::ResizeServerGroup::new(c()))
        }
        "scale-down-cluster" => Arc::new(gennaker_scale_down_cluster::ScaleDownCluster::new(c())),
        "shrink-cluster" => Arc::new(gennaker_shrink_cluster::ShrinkCluster::new(c())),
        "determine-target-server-group" => {
            return Arc::new(
                gennaker_determine_target_server_group::DetermineTargetServerGroup::new(c()),
            );
        }
        "watch-alarms" => return Arc::new(gennaker_watch_alarms::WatchAlarms::new(c())),
        other => return stages::stage_of(other, world, &MemoryHttp::with_faults(Faults::none())),
    };
    Arc::new(Guarded::new(stage, c()))
}

/// The plan of a deployment to a cluster of its own.
fn plan(number: usize, region: &str) -> Plan {
    let strategy = if number.is_multiple_of(2) {
        json!({"strategy": "redblack", "maxRemainingAsgs": 2, "scaleDown": true})
    } else {
        json!({"strategy": "rollingredblack", "targetPercentages": [50], "maxInitialAsgs": -1})
    };
    let mut cluster = json!({
        "account": "prod", "credentials": "prod", "application": format!("app{number}"), "stack": "web",
        "region": region, "cloudProvider": "aws", "instanceType": "t3.small", "imageId": "ami-2",
        "targetGroups": [format!("app{number}")], "capacity": {"min": 3, "desired": 3, "max": 6},
        "alarmGuard": {"alarms": [format!("app{number}-5xx")]},
    });
    cluster
        .as_object_mut()
        .unwrap()
        .extend(stages::map(strategy));
    let context = stages::map(json!({ "clusters": [cluster] }));
    let mut plan = stages::compiled("deploy", &context, &format!("app{number}")).unwrap();
    plan.pipeline = format!("release-{number}");
    plan
}

impl Fleet {
    pub async fn new(region: &str, extent: Extent, conditions: &Conditions) -> Self {
        let faults = Faults::none();
        let behaviour = Behaviour {
            boot_millis: 120_000,
            terminate_millis: 60_000,
            drain_millis: 30_000,
            limits: conditions.limits.clone(),
            ..Behaviour::default()
        };
        let world = World::new(NOW - 3_600_000, behaviour, faults.clone()).in_region(region);
        world.add_image("ami-2", "shop-2");
        let size = Capacity::new(3, 3, 6).unwrap();
        for number in 0..extent.deployments {
            let target_group = world.add_target_group(&format!("app{number}"));
            let name = format!("app{number}-web-v001");
            world.add_group(&name, "ami-1", size, &[target_group]);
            world.set_alarm(&format!("app{number}-5xx"), 0, AlarmState::Ok);
        }
        world.advance(3_600_000);
        let first = Drive::of_plan(world.clone(), faults.clone(), &plan(0, region))
            .await
            .unwrap();
        let account = json!({"accountId": "123456789012", "regions": [region]});
        first.put("ACCOUNT#prod", "META", &account).await.unwrap();
        let mut deployments = Vec::new();
        let mut names = BTreeSet::new();
        for number in 0..extent.deployments {
            let plan = plan(number, region);
            let drive = first.another(&plan, json!({})).await.unwrap();
            let tasks: Vec<(String, String)> = stages::scenarios::tasks(&plan)
                .into_iter()
                .map(|stage| (stage.ref_id.clone(), stage.function.clone().unwrap()))
                .collect();
            names.extend(tasks.iter().map(|(_, function)| function.clone()));
            deployments.push(Deployment {
                drive,
                tasks,
                at: 0,
                began: NOW,
            });
        }
        let process = |function: &str| {
            let clouds: Arc<dyn Clouds> = match conditions.shared {
                true => world.process(),
                false => Arc::new(world.clone()),
            };
            first.runtime(stage_of(function, &clouds, &world))
        };
        let functions = names
            .into_iter()
            .map(|name| {
                let processes = (0..extent.processes).map(|_| process(&name)).collect();
                (name, processes)
            })
            .collect();
        Self {
            world,
            faults,
            deployments,
            functions,
            chance: Chance(region.bytes().map(u64::from).sum()),
            log: Log::default(),
        }
    }

    /// One call of the Task at which a deployment is; when the next one is due, if there is one.
    async fn call(&mut self, number: usize) -> Option<i64> {
        let now = self.world.now();
        let deployment = &mut self.deployments[number];
        let Some((ref_id, function)) = deployment.tasks.get(deployment.at) else {
            self.log.took.push(now - deployment.began);
            self.log.over = now - NOW;
            return None;
        };
        let processes = &self.functions[function];
        let process = &processes[self.chance.below(processes.len() as u64) as usize];
        let event = json!({ "run": deployment.drive.run(), "stage": ref_id });
        let before = self.faults.made();
        let answer = deployment.drive.call(process, &event).await;
        for operation in self.faults.calls_from(before) {
            self.log.count(&operation, now);
        }
        self.log.count("states:StateTransition", now);
        // What a call takes; only what comes next is later for it.
        let took = 50 + self.chance.below(250) as i64 + self.world.take_waited();
        let pause = match answer {
            None => {
                deployment.at += 1;
                0
            }
            Some((_, message)) if now > NOW + TOO_LONG_MILLIS => {
                panic!("deployment {number} still waits at {ref_id}: {message}")
            }
            Some((error_name::WAITING_10S, _)) => 10_000,
            Some((error_name::WAITING_1M, _)) => 60_000,
            Some((error_name::THROTTLED, _)) => 5_000,
            // Something died in it, see the test of faults.
            Some((error_name::UNEXPECTED, _)) if self.faults.struck() > 0 => 2_000,
            Some((name, message)) => panic!("{name} at {ref_id} of {number}: {message}"),
        };
        Some(now + took + pause)
    }

    /// Starts all deployments and waits until the last one has ended.
    pub async fn run(&mut self, extent: Extent) {
        let mut due = BinaryHeap::new();
        for (number, deployment) in self.deployments.iter_mut().enumerate() {
            deployment.began = NOW + self.chance.below(extent.start_seconds * 1_000) as i64;
            due.push(Reverse((deployment.began, number)));
        }
        while let Some(Reverse((at, number))) = due.pop() {
            self.world.advance(at - self.world.now());
            if let Some(next) = self.call(number).await {
                due.push(Reverse((next, number)));
            }
        }
        self.log.throttled = self.world.throttled();
    }

    /// What is not as a deployment leaves it.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, deployment) in self.deployments.iter().enumerate() {
            if deployment.at < deployment.tasks.len() {
                wrong.push(format!("deployment {number} did not end"));
            }
            let new = self.world.group(&format!("app{number}-web-v002"));
            let old = self.world.group(&format!("app{number}-web-v001"));
            let serves = new.is_some_and(|group| {
                let arn = group.target_groups.first().cloned().unwrap_or_default();
                self.world.healthy_in(&arn, &group) == 3
            });
            let old_is_out =
                old.is_none_or(|old| gennaker_server_groups::traffic::is_disabled(&old));
            if !serves || !old_is_out {
                wrong.push(format!(
                    "cluster app{number}-web is not as its strategy leaves it"
                ));
            }
        }
        wrong
    }
}

/// The deployments of each region, all of them ended well.
pub async fn simulated(extent: Extent, conditions: Conditions) -> Vec<Log> {
    let mut logs = Vec::new();
    let regions = extent.regions().into_iter().map(|(region, part)| {
        let conditions = conditions.clone();
        tokio::spawn(async move {
            let mut fleet = Fleet::new(region, part, &conditions).await;
            fleet.run(part).await;
            assert_eq!(fleet.wrong(), Vec::<String>::new(), "{region}");
            fleet.log
        })
    });
    for log in regions.collect::<Vec<_>>() {
        logs.push(log.await.unwrap());
    }
    logs
}
