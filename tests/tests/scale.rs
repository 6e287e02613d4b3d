//! Many deployments at once in one account and region, by the real stages in the testkit's world and in virtual time:
//! how many calls a second that makes, with what a function's process has seen shared by its polls and without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods, // The test is told by its environment how much to do.
    clippy::cast_precision_loss, // Counts of calls are far below 2^53.
    missing_docs
)]

mod stages;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_domain::{Plan, error_name};
use gennaker_lambda::{Runtime, Stage};
use gennaker_server_groups::{Clouds, Guarded};
use gennaker_testkit::{Behaviour, Drive, Fault, Faults, MemoryHttp, Moment, Strike, World};
use serde_json::json;

/// How often in a row instances have to be healthy.
const HEALTHY_POLLS: i64 = 2;
/// How many seconds a disabled cluster drains.
const DRAIN_SECONDS: i64 = 90;
/// When a deployment that has not ended never will.
const TOO_LONG_MILLIS: i64 = 2 * 3_600_000;
/// When it begins.
const NOW: i64 = 1_800_000_000_000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Deployments at once, red/black and rolling red/black in turn.
    deployments: usize,
    /// All of them start within so many seconds.
    start_seconds: u64,
    /// Warm processes of each function; which one takes a call is chance.
    processes: usize,
}

impl Extent {
    fn asked(deployments: usize) -> Self {
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
}

/// A limit that AWS sets in one account and region.
struct Quota {
    /// The operations that share it: the beginning of their names.
    of: &'static str,
    /// Calls a second, for ever.
    per_second: f64,
    /// Calls at once.
    bucket: f64,
    source: &'static str,
}

const NOT_PUBLISHED: &str =
    "AWS publishes none (reference, 5.8: token bucket); EC2's of calls that only read";
const QUOTAS: [Quota; 5] = [
    Quota {
        of: "autoscaling:",
        per_second: 20.0,
        bucket: 100.0,
        source: NOT_PUBLISHED,
    },
    Quota {
        of: "elasticloadbalancing:",
        per_second: 20.0,
        bucket: 100.0,
        source: NOT_PUBLISHED,
    },
    Quota {
        of: "ec2:",
        per_second: 20.0,
        bucket: 100.0,
        source: "EC2 API throttling, calls that only read",
    },
    Quota {
        of: "cloudwatch:DescribeAlarms",
        per_second: 9.0,
        bucket: 9.0,
        source: "CloudWatch service quotas",
    },
    Quota {
        of: "states:StateTransition",
        per_second: 1_500.0,
        bucket: 5_000.0,
        source: "reference, 1.1: state transitions, big regions",
    },
];

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

/// Calls by operation and second.
#[derive(Default)]
struct Log {
    calls: BTreeMap<String, BTreeMap<i64, u64>>,
    first: i64,
    last: i64,
}

impl Log {
    fn count(&mut self, operation: &str, at: i64) {
        let seconds = self.calls.entry(operation.to_owned()).or_default();
        *seconds.entry(at / 1_000).or_default() += 1;
        self.last = self.last.max(at);
    }

    /// Calls whose operation begins so: all, a second on the average, in the busiest minute, in the busiest second.
    fn of(&self, operation: &str) -> Figures {
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
            mean: all as f64 / ((self.last - self.first).max(1) as f64 / 1_000.0),
            minute: seconds.keys().map(|s| minute(*s)).max().unwrap_or(0) as f64 / 60.0,
            peak: seconds.values().copied().max().unwrap_or(0),
        }
    }
}

struct Figures {
    all: u64,
    mean: f64,
    minute: f64,
    peak: u64,
}

/// One deployment: the Tasks of its plan, one after the other.
struct Deployment {
    drive: Drive,
    tasks: Vec<(String, String)>,
    at: usize,
}

struct Simulation {
    world: World,
    faults: Faults,
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
fn plan(number: usize) -> Plan {
    let strategy = if number.is_multiple_of(2) {
        json!({"strategy": "redblack", "maxRemainingAsgs": 2, "scaleDown": true})
    } else {
        json!({"strategy": "rollingredblack", "targetPercentages": [50], "maxInitialAsgs": -1})
    };
    let mut cluster = json!({
        "account": "prod", "credentials": "prod", "application": format!("app{number}"), "stack": "web",
        "region": "us-east-1", "cloudProvider": "aws", "instanceType": "t3.small", "imageId": "ami-2",
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

impl Simulation {
    async fn new(extent: Extent, keeps: bool) -> Self {
        let faults = Faults::none();
        let behaviour = Behaviour {
            boot_millis: 120_000,
            terminate_millis: 60_000,
            drain_millis: 30_000,
            ..Behaviour::default()
        };
        let world = World::new(NOW - 3_600_000, behaviour, faults.clone());
        world.add_image("ami-2", "shop-2");
        let size = Capacity::new(3, 3, 6).unwrap();
        for number in 0..extent.deployments {
            let target_group = world.add_target_group(&format!("app{number}"));
            let name = format!("app{number}-web-v001");
            world.add_group(&name, "ami-1", size, &[target_group]);
            world.set_alarm(&format!("app{number}-5xx"), 0, AlarmState::Ok);
        }
        world.advance(3_600_000);
        let first = Drive::of_plan(world.clone(), faults.clone(), &plan(0))
            .await
            .unwrap();
        let account = json!({"accountId": "123456789012", "regions": ["us-east-1"]});
        first.put("ACCOUNT#prod", "META", &account).await.unwrap();
        let mut deployments = Vec::new();
        let mut names = BTreeSet::new();
        for number in 0..extent.deployments {
            let plan = plan(number);
            let drive = first.another(&plan, json!({})).await.unwrap();
            let tasks = stages::scenarios::tasks(&plan);
            let tasks: Vec<(String, String)> = tasks
                .into_iter()
                .map(|stage| (stage.ref_id.clone(), stage.function.clone().unwrap()))
                .collect();
            names.extend(tasks.iter().map(|(_, function)| function.clone()));
            deployments.push(Deployment {
                drive,
                tasks,
                at: 0,
            });
        }
        let process = |function: &str| {
            let clouds: Arc<dyn Clouds> = match keeps {
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
            chance: Chance(7),
            log: Log {
                first: NOW,
                ..Log::default()
            },
        }
    }

    /// One call of the Task at which a deployment is; when the next one is due, if there is one.
    async fn call(&mut self, number: usize) -> Option<i64> {
        let now = self.world.now();
        let deployment = &mut self.deployments[number];
        let (ref_id, function) = deployment.tasks.get(deployment.at)?;
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
        let took = 50 + self.chance.below(250) as i64;
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

    async fn run(&mut self, extent: Extent) {
        let mut due = BinaryHeap::new();
        for number in 0..self.deployments.len() {
            let after = self.chance.below(extent.start_seconds * 1_000) as i64;
            due.push(Reverse((NOW + after, number)));
        }
        while let Some(Reverse((at, number))) = due.pop() {
            self.world.advance(at - self.world.now());
            if let Some(next) = self.call(number).await {
                due.push(Reverse((next, number)));
            }
        }
    }

    /// What is not as a deployment leaves it.
    fn wrong(&self) -> Vec<String> {
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

async fn simulated(extent: Extent, keeps: bool) -> Log {
    let mut simulation = Simulation::new(extent, keeps).await;
    simulation.run(extent).await;
    assert_eq!(simulation.wrong(), Vec::<String>::new());
    simulation.log
}

fn row(name: &str, before: &Log, after: &Log, quota: Option<&Quota>) {
    let (was, is) = (before.of(name), after.of(name));
    let share = quota.map_or_else(String::new, |quota| {
        format!(
            "{:>5} {:>4.0} % {:>4.0} %",
            quota.per_second,
            100.0 * is.minute / quota.per_second,
            100.0 * is.peak as f64 / quota.bucket
        )
    });
    println!(
        "{name:<46} {:>7} {:>6.1} {:>6.1} {:>5}   {:>7} {:>6.1} {:>6.1} {:>5}   {share}",
        was.all, was.mean, was.minute, was.peak, is.all, is.mean, is.minute, is.peak
    );
}

fn print(extent: Extent, before: &Log, after: &Log) {
    let minutes = (after.last - after.first) / 60_000;
    println!("{extent:?}, over after {minutes} minutes");
    println!(
        "{:<46} {:>27}   {:>27}   {:>5} {:>6} {:>6}",
        "calls", "without", "shared", "quota", "minute", "peak"
    );
    println!(
        "{:<46} {:>7} {:>6} {:>6} {:>5}   {:>7} {:>6} {:>6} {:>5}",
        "", "all", "/s", "minute", "peak", "all", "/s", "minute", "peak"
    );
    for quota in &QUOTAS {
        let of_quota: BTreeSet<&String> = before
            .calls
            .keys()
            .chain(after.calls.keys())
            .filter(|name| name.starts_with(quota.of))
            .collect();
        row(quota.of, before, after, Some(quota));
        if of_quota.len() > 1 {
            for name in of_quota {
                row(name, before, after, None);
            }
        }
    }
    for quota in &QUOTAS {
        println!(
            "{}: {}/s, {} at once: {}",
            quota.of, quota.per_second, quota.bucket, quota.source
        );
    }
}

/// 100 deployments; all 1,000 with `GENNAKER_DEPLOYMENTS=1000`.
#[tokio::test]
async fn polls_of_many_deployments_share_what_their_process_has_seen() {
    let extent = Extent::asked(100);
    let before = simulated(extent, false).await;
    let after = simulated(extent, true).await;
    print(extent, &before, &after);
    let times_as_many = |operation: &str, of: f64| {
        let (was, is) = (before.of(operation).all, after.of(operation).all);
        assert!(
            is as f64 <= was as f64 * of,
            "{operation}: {was} calls, {is} with sharing"
        );
    };
    // More deployments share more; even so few save this much.
    times_as_many("autoscaling:Describe", 0.65);
    times_as_many("cloudwatch:DescribeAlarms", 0.65);
    // No call answers for two target groups, and what acts looks itself.
    times_as_many("elasticloadbalancing:", 1.1);
}

/// Two deployments, with a fault at a call; answers the calls that were made.
async fn deployed(strike: Option<Strike>) -> Vec<String> {
    let extent = Extent {
        deployments: 2,
        start_seconds: 1,
        processes: 2,
    };
    // The processes go on after a fault: what they have seen before it has to be as good as ever.
    let mut simulation = Simulation::new(extent, true).await;
    let first = simulation.faults.made();
    if let Some((call, moment, fault)) = strike {
        simulation.faults.plan(first + call, moment, fault);
    }
    simulation.run(extent).await;
    assert_eq!(simulation.wrong(), Vec::<String>::new(), "{strike:?}");
    let expected = usize::from(strike.is_some());
    assert_eq!(simulation.faults.struck(), expected, "{strike:?}");
    let made = simulation.world.groups_made();
    assert_eq!(made.len(), 2, "{strike:?}: {made:?}");
    simulation.faults.calls_from(first)
}

/// Every change, and of what is read every seventh call.
#[tokio::test]
async fn no_fault_breaks_deployments_whose_polls_share() {
    let calls = deployed(None).await;
    let mut tried = 0;
    for (at, call) in calls.iter().enumerate() {
        let (service, operation) = call.split_once(':').unwrap();
        let reads = operation.starts_with("Describe");
        if service == "dynamodb" || (reads && at % 7 != 0) {
            continue;
        }
        deployed(Some((at, Moment::Before, Fault::Throttle))).await;
        deployed(Some((at, Moment::After, Fault::Crash))).await;
        tried += 2;
    }
    println!("{tried} faults");
}
