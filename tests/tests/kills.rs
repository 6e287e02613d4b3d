//! Functions' processes that die at any moment: what a release leaves is what it leaves when none dies.
//!
//! Killed are functions whose Tasks are polled. Those that are woken are killed in process, by the testkit: this
//! emulator swallows the end of such a function until the Task's literal time-out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gennaker_tests::gate::{Gate, Request, Rule, Verdict};
use gennaker_tests::{System, deploy, pipeline};
use serde_json::{Value, json};

/// Which intents are killed where, and when the hunter shoots; `GENNAKER_SEED` is another one.
const SEED: u64 = 20;
/// All executions, from the first start to the last end.
const TIME_LIMIT: Duration = Duration::from_secs(180);
/// Kills at random moments: this many in all, and at most so many in one execution. A Task is tried eight times after
/// a death, and each intent of an execution costs one more.
const HUNTED: usize = 30;
const HUNTED_IN_ONE: usize = 2;
/// A process that made a request so long ago is at work.
const AT_WORK: Duration = Duration::from_millis(60);
/// Functions of polled Tasks.
const POLLED: [&str; 11] = [
    "bake",
    "create-server-group",
    "destroy-server-group",
    "determine-target-server-group",
    "disable-cluster",
    "disable-server-group",
    "enable-server-group",
    "finalize",
    "resize-server-group",
    "scale-down-cluster",
    "shrink-cluster",
];

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Where the process of an intent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// The intent is written and nothing was changed yet.
    Announced,
    /// The world was changed and the intent is not marked done.
    Changed,
}

/// Execution and sort key of an intent.
type Key = (String, String);

/// Kills once between each intent and its done mark.
struct Executioner {
    seed: u64,
    killed: Mutex<BTreeMap<Key, Moment>>,
}

impl Executioner {
    fn moment(&self, key: &str) -> Moment {
        let mut hasher = DefaultHasher::new();
        (self.seed, key).hash(&mut hasher);
        if hasher.finish().is_multiple_of(2) {
            Moment::Announced
        } else {
            Moment::Changed
        }
    }

    fn next(&self, request: &Request) -> Option<(Key, Moment)> {
        let (key, moment) = intent_of(request)?;
        let due = self.moment(&key.1) == moment && !self.killed.lock().unwrap().contains_key(&key);
        due.then_some((key, moment))
    }
}

impl Rule for Executioner {
    fn verdict(&self, request: &Request) -> Verdict {
        match self.next(request) {
            None => Verdict::Pass,
            Some((_, Moment::Announced)) => Verdict::KillAfter,
            Some((_, Moment::Changed)) => Verdict::KillBefore,
        }
    }

    fn killed(&self, request: &Request) {
        if let Some((key, moment)) = self.next(request) {
            self.killed.lock().unwrap().insert(key, moment);
        }
    }
}

/// The intent that a request writes or marks done.
fn intent_of(request: &Request) -> Option<(Key, Moment)> {
    let key_of = |item: &Value| {
        let text = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
        let (partition, sort) = (text("PK"), text("SK"));
        let execution = partition.strip_prefix("EXEC#")?.to_owned();
        sort.starts_with("INTENT#").then_some((execution, sort))
    };
    match request.operation.as_str() {
        "TransactWriteItems" => request.body["TransactItems"]
            .as_array()?
            .iter()
            .find_map(|one| key_of(&one["Put"]["Item"]))
            .map(|key| (key, Moment::Announced)),
        "UpdateItem" => {
            let names = request.body["ExpressionAttributeNames"].as_object()?;
            let marks = names.values().any(|name| name == "done");
            key_of(&request.body["Key"])
                .filter(|_| marks)
                .map(|key| (key, Moment::Changed))
        }
        _ => None,
    }
}

/// `create-server-group` of `INTENT#3<1#create-server-group shop-v001`.
fn kind(sort_key: &str) -> String {
    let action = sort_key.rsplit('#').next().unwrap();
    action.split(' ').next().unwrap().to_owned()
}

/// What is left of a server group: name, enabled, desired, healthy.
type Left = (String, bool, u64, u64);

struct Case {
    application: String,
    pipeline: Value,
    /// The only group of before takes no traffic.
    disabled_before: bool,
    left: Vec<Left>,
}

/// A stage that acts on one server group of the application's cluster.
fn on_group(ref_id: &str, after: &str, kind: &str, application: &str, target: &str) -> Value {
    json!({
        "refId": ref_id, "type": kind, "name": format!("{kind} {ref_id}"), "requisiteStageRefIds": [after],
        "credentials": "prod", "cloudProvider": "aws", "regions": ["us-east-1"], "cluster": format!("{application}-prod"),
        "target": target, "interestingHealthProviderNames": ["Amazon"],
    })
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |family: &str,
                   count: usize,
                   disabled_before: bool,
                   stages: &dyn Fn(&str, usize) -> Vec<Value>,
                   left: &[(&str, bool, u64, u64)]| {
        for number in 1..=count {
            let application = format!("{family}{number}");
            cases.push(Case {
                pipeline: pipeline(&application, &stages(&application, number)),
                disabled_before,
                left: left
                    .iter()
                    .map(|(version, enabled, desired, healthy)| {
                        let name = format!("{application}-prod-{version}");
                        (name, *enabled, *desired, *healthy)
                    })
                    .collect(),
                application,
            });
        }
    };
    let old_and_new = [("v000", false, 2, 2), ("v001", true, 2, 2)];
    add(
        "redblack",
        5,
        false,
        &|application, _| vec![deploy("1", &[], application, "web-v2", &json!({}))],
        &old_and_new,
    );
    let highlander = json!({ "strategy": "highlander" });
    add(
        "highlander",
        4,
        false,
        &|application, _| vec![deploy("1", &[], application, "web-v2", &highlander)],
        &[("v001", true, 2, 2)],
    );
    let scale_down = json!({ "scaleDown": true });
    add(
        "scaledown",
        3,
        false,
        &|application, _| vec![deploy("1", &[], application, "web-v2", &scale_down)],
        &[("v000", false, 0, 0), ("v001", true, 2, 2)],
    );
    let plain = json!({ "strategy": "" });
    add(
        "grown",
        3,
        false,
        &|application, _| {
            let mut resize = on_group(
                "2",
                "1",
                "resizeServerGroup",
                application,
                "current_asg_dynamic",
            );
            resize["action"] = json!("scale_exact");
            resize["capacity"] = json!({ "min": 3, "desired": 3, "max": 4 });
            vec![
                deploy("1", &[], application, "web-v2", &plain),
                resize,
                on_group(
                    "3",
                    "2",
                    "disableServerGroup",
                    application,
                    "ancestor_asg_dynamic",
                ),
            ]
        },
        &[("v000", false, 2, 2), ("v001", true, 3, 3)],
    );
    add(
        "replaced",
        3,
        true,
        &|application, _| {
            let ancestor = "ancestor_asg_dynamic";
            vec![
                deploy("1", &[], application, "web-v2", &plain),
                on_group("2", "1", "enableServerGroup", application, ancestor),
                on_group("3", "2", "destroyServerGroup", application, ancestor),
            ]
        },
        &[("v001", true, 2, 2)],
    );
    add(
        "baked",
        2,
        false,
        &|application, number| {
            // An intent's moment depends on its stage.
            let bake = format!("bake{number}");
            vec![
                json!({
                    "refId": bake, "requisiteStageRefIds": [], "type": "bake", "name": "Bake", "cloudProviderType": "aws",
                    "regions": ["us-east-1"], "baseOs": "al2023", "vmType": "hvm", "storeType": "ebs",
                    "package": application, "amiName": format!("{application}-image"), "user": "release@example.com",
                }),
                deploy(
                    "2",
                    &[bake.as_str()],
                    application,
                    "web-v2",
                    &json!({ "amiName": "" }),
                ),
            ]
        },
        &old_and_new,
    );
    cases
}

/// Makes the old server groups and everything that the pipelines name, and saves these.
fn prepare(system: &System, cases: &[Case]) {
    let clusters: Vec<Value> = cases
        .iter()
        .map(|case| {
            let cluster = format!("{}-prod", case.application);
            json!({ "account": "prod", "region": "us-east-1", "name": cluster, "serverGroups": [{
                "name": format!("{cluster}-v000"), "image": "web-v1", "capacity": { "min": 2, "desired": 2, "max": 4 },
                "enabled": !case.disabled_before, "targetGroups": [cluster],
            }] })
        })
        .collect();
    let world = json!({ "clusters": clusters, "images": [{ "name": "web-v1" }, { "name": "*", "bootSeconds": 1 }] });
    let world = gennaker_local::World::parse(&world.to_string(), "the kills' world").unwrap();
    system.cloud.seed(&world).unwrap();
    let account = json!({ "PK": { "S": "ACCOUNT#prod" }, "SK": { "S": "META" }, "name": { "S": "prod" },
        "accountId": { "S": "123456789012" }, "regions": { "L": [] } });
    let put = json!({ "TableName": "gennaker", "Item": account });
    system.cloud.call("dynamodb", "put_item", put).unwrap();
    for case in cases {
        system
            .cloud
            .seed_for_pipeline(&case.pipeline, false)
            .unwrap();
        system.save(&case.pipeline);
    }
}

/// Starts all pipelines; the executions' ids in the order of the cases.
fn start(system: &System, cases: &[Case]) -> Vec<String> {
    let mut ids = Vec::new();
    for some in cases.chunks(5) {
        let running: Vec<_> = some
            .iter()
            .map(|case| {
                let reference = format!("{0}/release {0}", case.application);
                system.spawn(&["execution", "start", &reference, "--json"])
            })
            .collect();
        for one in running {
            let answer = one.finish();
            assert_eq!(answer.status, 0, "{answer:#?}");
            let id = answer.lines[0]["executionId"].as_str();
            ids.push(id.unwrap().to_owned());
        }
    }
    ids
}

/// An execution's items whose sort key begins so.
fn items(system: &System, execution: &str, begins_with: &str) -> Vec<Value> {
    let query = json!({
        "TableName": "gennaker", "ConsistentRead": true,
        "KeyConditionExpression": "PK = :p AND begins_with(SK, :s)",
        "ExpressionAttributeValues": { ":p": { "S": format!("EXEC#{execution}") }, ":s": { "S": begins_with } },
    });
    let answer = system.cloud.call("dynamodb", "query", query).unwrap();
    answer["Items"].as_array().unwrap().clone()
}

fn status(system: &System, execution: &str) -> String {
    let meta = items(system, execution, "META");
    meta[0]["status"]["S"].as_str().unwrap().to_owned()
}

/// Kills processes at work at random moments, until it is told to stop. How often, by function.
fn hunt(gate: &Gate, seed: u64, over: &AtomicBool) -> BTreeMap<String, usize> {
    let mut random = Random(seed);
    let mut in_one: BTreeMap<String, usize> = BTreeMap::new();
    let mut kills: BTreeMap<String, usize> = BTreeMap::new();
    while !over.load(Ordering::Relaxed) && kills.values().sum::<usize>() < HUNTED {
        std::thread::sleep(Duration::from_millis(100 + random.next() % 1_800));
        let shot = gate.kill_one(AT_WORK, |visitors| {
            let game: Vec<_> = visitors
                .iter()
                .filter(|visitor| {
                    let name = visitor.process.function.strip_prefix("gennaker-");
                    let tried = |id: &String| in_one.get(id).is_none_or(|n| *n < HUNTED_IN_ONE);
                    // Between an intent and its mark is the executioner's ground: there each dies once.
                    let elsewhere = intent_of(&visitor.request).is_none();
                    name.is_some_and(|name| POLLED.contains(&name))
                        && visitor.request.execution().is_some_and(|id| tried(&id))
                        && elsewhere
                })
                .collect();
            (!game.is_empty()).then(|| game[random.below(game.len())].clone())
        });
        if let Some(shot) = shot {
            *in_one.entry(shot.request.execution().unwrap()).or_default() += 1;
            *kills.entry(shot.process.function).or_default() += 1;
        }
    }
    kills
}

#[test]
fn twenty_executions_end_right_though_their_functions_are_killed() {
    if !cfg!(target_os = "linux") {
        println!("skipped: which process made a call is known on Linux only");
        return;
    }
    let seed = std::env::var("GENNAKER_SEED").map_or(SEED, |text| text.parse().unwrap());
    let executioner = Arc::new(Executioner {
        seed,
        killed: Mutex::default(),
    });
    let gate = Gate::open(Arc::clone(&executioner) as Arc<dyn Rule>);
    let system = System::start_behind(&gate, &[]);
    let cases = cases();
    assert_eq!(cases.len(), 20);
    prepare(system, &cases);

    let over = Arc::new(AtomicBool::new(false));
    let hunter = std::thread::spawn({
        let (gate, over) = (gate.clone(), Arc::clone(&over));
        move || hunt(&gate, seed, &over)
    });
    let began = Instant::now();
    let ids = start(system, &cases);
    let mut left: BTreeSet<usize> = (0..ids.len()).collect();
    while !left.is_empty() && began.elapsed() < TIME_LIMIT {
        std::thread::sleep(Duration::from_millis(500));
        left.retain(|one| {
            matches!(
                status(system, &ids[*one]).as_str(),
                "RUNNING" | "NOT_STARTED"
            )
        });
    }
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let hunted = hunter.join().unwrap();

    for (case, id) in cases.iter().zip(&ids) {
        let status = status(system, id);
        if status != "SUCCEEDED" {
            let explained = system.gennaker(&["execution", "show", id, "--json"]);
            panic!(
                "seed {seed}: {} is {status} after {took:?}:\n{:#?}",
                case.application, explained
            );
        }
    }

    // One kill between each intent and its done mark, and no intent is open in the end.
    let killed = executioner.killed.lock().unwrap().clone();
    let mut announced = BTreeSet::new();
    let mut kinds: BTreeMap<(String, Moment), usize> = BTreeMap::new();
    for id in &ids {
        for item in items(system, id, "INTENT#") {
            let key = (id.clone(), item["SK"]["S"].as_str().unwrap().to_owned());
            assert_eq!(item["closed"]["BOOL"], true, "seed {seed}: {key:?}");
            announced.insert(key);
        }
    }
    for (key, moment) in &killed {
        *kinds.entry((kind(&key.1), *moment)).or_default() += 1;
    }
    println!(
        "seed {seed}: {took:?}; {} kills between intent and mark: {kinds:?}; at random moments: {hunted:?}",
        killed.len()
    );
    assert_eq!(
        killed.keys().cloned().collect::<BTreeSet<_>>(),
        announced,
        "seed {seed}"
    );
    let hit: BTreeSet<&str> = kinds.keys().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        hit.into_iter().collect::<Vec<_>>(),
        [
            "bake",
            "create-server-group",
            "destroy-server-group",
            "disable-server-group",
            "enable-server-group",
            "resize-server-group"
        ]
    );
    let both = kinds
        .keys()
        .map(|(_, moment)| *moment)
        .collect::<BTreeSet<_>>();
    assert_eq!(both.len(), 2, "seed {seed}: {kinds:?}");
    assert!(hunted.values().sum::<usize>() >= HUNTED / 2, "{hunted:?}");

    // The world is what it is when no process dies: no group too many, none twice, traffic where it belongs.
    let observed: BTreeMap<String, _> = system
        .cloud
        .clusters()
        .unwrap()
        .into_iter()
        .map(|cluster| (cluster.name.clone(), cluster.server_groups))
        .collect();
    for case in &cases {
        let cluster = format!("{}-prod", case.application);
        let groups = &observed[&cluster];
        let found: Vec<Left> = groups
            .iter()
            .map(|group| {
                let (_, desired, _) = group.capacity.bounds();
                (
                    group.name.clone(),
                    group.enabled,
                    desired.into(),
                    group.healthy.into(),
                )
            })
            .collect();
        assert_eq!(found, case.left, "seed {seed}");
        for group in groups {
            let (_, desired, _) = group.capacity.bounds();
            assert_eq!(group.instances, desired, "seed {seed}: {group:?}");
            let serving = group.in_traffic.get(&cluster).copied().unwrap_or_default();
            assert_eq!(
                serving,
                if group.enabled { desired } else { 0 },
                "seed {seed}: {group:?}"
            );
        }
        let versions = system
            .cloud
            .call(
                "ec2",
                "describe_launch_template_versions",
                json!({ "LaunchTemplateName": template(&cluster) }),
            )
            .unwrap();
        assert_eq!(
            versions["LaunchTemplateVersions"].as_array().unwrap().len(),
            1,
            "seed {seed}: {versions:#}"
        );
    }
    let named: BTreeSet<String> = cases
        .iter()
        .map(|case| format!("{}-prod", case.application))
        .collect();
    let known: BTreeSet<String> = observed.into_keys().collect();
    assert_eq!(known, named, "seed {seed}: no other group");
    assert!(took < TIME_LIMIT, "seed {seed}: {took:?}");
}

fn template(cluster: &str) -> String {
    format!("gennaker-{cluster}")
}
