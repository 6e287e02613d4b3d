//! Every recorded deployment and rollback of the original engine, run by the real stages in the testkit's world: the
//! same operations on the same groups with the same capacities, in the same order within a region, and the same state
//! afterwards. What differs on purpose is listed with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod stages;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gennaker_cloud::{Key, Table as _, Write};
use gennaker_domain::deployment::Capacity;
use gennaker_domain::{Intent, Owner, Status};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::{TrafficSources, predecessor, traffic};
use gennaker_testkit::{Behaviour, Drive, Effect, End, Faults, World};
use serde_json::{Map, Value, json};

/// A task of the original that fails at its nth run, as the stage that has it.
struct FailsAt {
    inner: Arc<dyn Stage>,
    /// Runs that are left, and whether it fails before it does anything.
    left: Arc<Mutex<u64>>,
    before: bool,
}

fn fails() -> Step {
    Step::failed("it was made to fail")
}

#[async_trait]
impl Stage for FailsAt {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let turn = || {
            let mut left = self.left.lock().unwrap();
            *left = left.saturating_sub(1);
            *left == 0
        };
        if self.before && *self.left.lock().unwrap() > 0 && turn() {
            return Ok(fails());
        }
        let answer = self.inner.step(invocation).await?;
        let counts = matches!(answer, Step::Succeeded { .. }) && !self.before;
        if counts && *self.left.lock().unwrap() > 0 && turn() {
            return Ok(fails());
        }
        Ok(answer)
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.inner.undo(invocation, intent).await
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn regions_of(case: &Value) -> Vec<String> {
    let mut regions = vec!["us-east-1".to_owned()];
    for group in case["input"]["serverGroups"].as_array().unwrap() {
        let region = text(group, "region").to_owned();
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    for region in ["eu-west-1", "us-west-2", "ap-south-1"] {
        if case.to_string().contains(region) && !regions.iter().any(|known| known == region) {
            regions.push(region.to_owned());
        }
    }
    regions
}

/// The world as the case begins, and the target group of all.
fn world_of(case: &Value, faults: &Faults) -> (World, String) {
    let world = World::new(1_800_000_000_000, Behaviour::default(), faults.clone());
    let web = world.add_target_group("web");
    for (id, name) in [
        ("ami-new", "img-new"),
        ("ami-1", "name-ami-1"),
        ("ami-x", "img-x"),
    ] {
        world.add_image(id, name);
    }
    for group in case["input"]["serverGroups"].as_array().unwrap() {
        let here = world.in_region(text(group, "region"));
        let name = text(group, "name");
        let image = text(&group["image"], "imageId");
        world.add_image(image, text(&group["image"], "name"));
        let capacity = Capacity::from_value(&group["capacity"]).unwrap();
        let disabled = group["disabled"] == true;
        if disabled {
            let sources = TrafficSources {
                target_groups: vec![web.clone()],
                ..TrafficSources::default()
            };
            here.add_disabled(name, image, capacity, sources);
        } else {
            here.add_group(name, image, capacity, std::slice::from_ref(&web));
        }
        here.set_created(name, group["createdTime"].as_i64().unwrap());
        let ids: Vec<String> = here
            .group(name)
            .unwrap()
            .instances
            .iter()
            .map(|i| i.id.clone())
            .collect();
        let states: Vec<&str> = group["instances"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| text(i, "healthState"))
            .collect();
        let bad: Vec<String> = ids
            .iter()
            .zip(&states)
            .filter(|(_, state)| !matches!(**state, "Up" | "OutOfService"))
            .map(|(id, _)| id.clone())
            .collect();
        here.mark_bad_instances(&bad);
        if !disabled {
            let out: Vec<String> = ids
                .iter()
                .zip(&states)
                .filter(|(_, state)| **state == "OutOfService")
                .map(|(id, _)| id.clone())
                .collect();
            if !out.is_empty() {
                here.tag(name, traffic::DISABLED_TAG, "-");
                here.take_out(&web, &out);
            }
        }
        let sets = case["input"]["entityTags"][name].as_array();
        let metadata = sets
            .into_iter()
            .flatten()
            .flat_map(|set| set["tags"].as_array().cloned().unwrap_or_default());
        for tag in metadata.filter(|tag| tag["name"] == "spinnaker:metadata") {
            let previous = &tag["value"]["previousServerGroup"];
            if previous["imageName"].is_string() {
                here.tag(name, predecessor::IMAGE_TAG, text(previous, "imageId"));
                here.tag(
                    name,
                    predecessor::IMAGE_NAME_TAG,
                    text(previous, "imageName"),
                );
                world.add_image(
                    &text(previous, "imageId").to_lowercase(),
                    text(previous, "imageName"),
                );
            }
        }
    }
    (world, web)
}

/// The cluster JSON with what AWS needs and the original's stand-in did not.
fn completed(context: &mut Value) {
    match context {
        Value::Object(map) => {
            if map.contains_key("capacity")
                && (map.contains_key("strategy") || map.contains_key("application"))
            {
                map.entry("instanceType").or_insert(json!("t3.small"));
                map.entry("targetGroups").or_insert(json!(["web"]));
                if let Some(monitor) = map
                    .get_mut("deploymentMonitor")
                    .and_then(Value::as_object_mut)
                {
                    monitor.entry("parameters").or_insert(json!({}));
                }
            }
            for value in map.values_mut() {
                completed(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(completed),
        _ => {}
    }
}

/// What was done, by region: `Created 0/0/0 app-v001`.
type Done = BTreeMap<String, Vec<String>>;

fn size(capacity: Capacity) -> String {
    format!(
        "{}/{}/{}",
        capacity.min(),
        capacity.desired(),
        capacity.max()
    )
}

/// What our stages did, a destruction with what belongs to it as one.
fn ours(world: &World) -> Done {
    let all = world.operations();
    let mut done = Done::new();
    for (at, one) in all.iter().enumerate() {
        let same = |other: &&gennaker_testkit::Operation| {
            other.region == one.region && other.group == one.group
        };
        let before = all[..at].iter().rev().find(same).map(|other| &other.effect);
        let emptied = before == Some(&Effect::Resized(Capacity::default()));
        let next = all[at + 1..].iter().find(same).map(|other| &other.effect);
        let said = match &one.effect {
            Effect::Created(capacity) => format!("create {} {}", one.group, size(*capacity)),
            // A group is emptied, then deleted: with others at the same time, in the order in which it begins.
            Effect::Resized(capacity)
                if *capacity == Capacity::default() && next == Some(&Effect::Destroyed) =>
            {
                format!("destroy {}", one.group)
            }
            Effect::Destroyed if emptied => continue,
            Effect::Resized(capacity) => format!("resize {} {}", one.group, size(*capacity)),
            Effect::Disabled => format!("disable {}", one.group),
            Effect::PartlyDisabled(count) => format!("disable {count} of {}", one.group),
            Effect::Enabled => format!("enable {}", one.group),
            Effect::Refreshed => format!("refresh {}", one.group),
            Effect::Destroyed => format!("destroy {}", one.group),
        };
        done.entry(one.region.clone()).or_default().push(said);
    }
    done
}

/// What the original's operations changed, replayed; those that change nothing are left out.
fn theirs(case: &Value) -> Done {
    struct Group {
        capacity: Capacity,
        enabled: bool,
        out: usize,
    }
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for group in case["input"]["serverGroups"].as_array().unwrap() {
        let key = (
            text(group, "region").to_owned(),
            text(group, "name").to_owned(),
        );
        let out = group["instances"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|i| i["healthState"] == "OutOfService")
            .count();
        let capacity = Capacity::from_value(&group["capacity"]).unwrap();
        groups.insert(
            key,
            Group {
                capacity,
                enabled: group["disabled"] != true,
                out,
            },
        );
    }
    let mut done = Done::new();
    for operation in case["expected"]["operations"].as_array().unwrap() {
        let (region, name) = (
            text(operation, "region").to_owned(),
            text(operation, "serverGroupName").to_owned(),
        );
        let key = (region.clone(), name.clone());
        let said = match text(operation, "op") {
            "createServerGroup" => {
                let capacity = Capacity::from_value(&operation["capacity"]).unwrap();
                groups.insert(
                    key,
                    Group {
                        capacity,
                        enabled: true,
                        out: 0,
                    },
                );
                Some(format!("create {name} {}", size(capacity)))
            }
            "destroyServerGroup" => groups.remove(&key).map(|_| format!("destroy {name}")),
            "resizeServerGroup" => groups.get_mut(&key).and_then(|group| {
                let asked = &operation["capacity"];
                let of = |part: &str, now: u32| {
                    asked[part]
                        .as_u64()
                        .map_or(now, |n| u32::try_from(n).unwrap())
                };
                let now = group.capacity;
                let wanted = Capacity::new(
                    of("min", now.min()),
                    of("desired", now.desired()),
                    of("max", now.max()),
                )
                .unwrap();
                let changes = wanted != now;
                group.capacity = wanted;
                changes.then(|| format!("resize {name} {}", size(wanted)))
            }),
            "disableServerGroup" => groups.get_mut(&key).and_then(|group| {
                let percentage = operation["desiredPercentage"].as_u64().unwrap_or(100);
                if percentage >= 100 {
                    let changes = group.enabled;
                    group.enabled = false;
                    return changes.then(|| format!("disable {name}"));
                }
                let size = u64::from(group.capacity.desired());
                let needed = usize::try_from((size * percentage).div_ceil(100)).unwrap();
                let more = needed.saturating_sub(group.out);
                group.out = group.out.max(needed);
                (group.enabled && more > 0).then(|| format!("disable {more} of {name}"))
            }),
            "enableServerGroup" => groups.get_mut(&key).and_then(|group| {
                let changes = !group.enabled || group.out > 0;
                (group.enabled, group.out) = (true, 0);
                changes.then(|| format!("enable {name}"))
            }),
            _ => None,
        };
        if let Some(said) = said {
            done.entry(region).or_default().push(said);
        }
    }
    done
}

/// Groups whose instances as recorded are none that Auto Scaling would leave alone: more or fewer than desired, or up in
/// a group that is disabled. How many are up in the end says nothing then.
fn odd(case: &Value) -> Vec<String> {
    case["input"]["serverGroups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|group| {
            let instances = group["instances"].as_array().unwrap();
            let states: Vec<&str> = instances
                .iter()
                .map(|instance| text(instance, "healthState"))
                .collect();
            let up = states.contains(&"Up");
            let other = states
                .iter()
                .any(|state| !matches!(*state, "Up" | "OutOfService"));
            instances.len() as u64 != group["capacity"]["desired"].as_u64().unwrap()
                || (group["disabled"] == true && up)
                || (group["disabled"] != true && other)
        })
        .map(|group| format!("{} {} ", text(group, "region"), text(group, "name")))
        .collect()
}

fn without_odd(after: &[String], odd: &[String]) -> Vec<String> {
    after
        .iter()
        .map(
            |line| match odd.iter().any(|odd| line.starts_with(odd.as_str())) {
                true => line.split(' ').take(4).collect::<Vec<_>>().join(" "),
                false => line.clone(),
            },
        )
        .collect()
}

fn after(world: &World, web: &str, regions: &[String]) -> Vec<String> {
    let mut after = Vec::new();
    for region in regions {
        for group in world
            .in_region(region)
            .snapshot()
            .into_iter()
            .filter(|group| !group.deleting)
        {
            let state = if traffic::is_disabled(&group) {
                "disabled"
            } else {
                "enabled"
            };
            let up = world.healthy_in(web, &group);
            after.push(format!(
                "{region} {} {state} {} {up} up",
                group.name,
                size(group.capacity)
            ));
        }
    }
    after.sort();
    after
}

fn expected_after(case: &Value) -> Vec<String> {
    let mut after: Vec<String> = case["expected"]["serverGroupsAfter"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            let of = |at: usize| {
                group[at]
                    .as_str()
                    .map_or_else(|| group[at].to_string(), str::to_owned)
            };
            format!(
                "{} {} {} {}/{}/{} {} up",
                of(0),
                of(1),
                of(2),
                of(3),
                of(4),
                of(5),
                of(6)
            )
        })
        .collect();
    after.sort();
    after
}

/// How a run ended, and the failure of a stage if one failed.
struct Run {
    done: Done,
    after: Vec<String>,
    failures: Vec<String>,
}

async fn run(case: &Value) -> Run {
    let input = &case["input"];
    let stage_type = text(input, "stageType");
    let mut context = input["context"].clone();
    completed(&mut context);
    let faults = Faults::none();
    let (world, web) = world_of(case, &faults);
    let regions = regions_of(case);
    let mut failures = Vec::new();
    let left = Arc::new(Mutex::new(input["failAt"]["nth"].as_u64().unwrap_or(1)));
    let context = stages::map(context);
    match planned(stage_type, &context) {
        Err(error) => failures.push(error),
        Ok(plan) => {
            // Regions are independent of each other: one failing does not stop the others, as recorded.
            let tops: Vec<String> = if stage_type == "deploy" {
                plan.children("1")
                    .map(|child| child.ref_id.clone())
                    .collect()
            } else {
                vec!["1".to_owned()]
            };
            for top in tops {
                let drive = Drive::of_plan(world.clone(), faults.clone(), &plan)
                    .await
                    .unwrap();
                let account = json!({"accountId": "123456789012", "name": "test", "regions": []});
                drive.put("ACCOUNT#test", "META", &account).await.unwrap();
                drive
                    .put(
                        "MONITOR#mon",
                        "META",
                        &json!({"baseUrl": "https://monitor.example.com"}),
                    )
                    .await
                    .unwrap();
                if input["application"].is_object() {
                    let config = json!({"config": input["application"].to_string()});
                    drive.put("APP#app", "META", &config).await.unwrap();
                }
                failures.extend(run_top(&drive, &plan, &top, input, &left).await);
            }
        }
    }
    world.advance(60_000);
    Run {
        done: ours(&world),
        after: after(&world, &web, &regions),
        failures,
    }
}

/// The compiled plan; a sub-stage of a rollback is not one that a pipeline starts with, and is planned by itself.
fn planned(
    stage_type: &str,
    context: &Map<String, Value>,
) -> Result<gennaker_domain::Plan, String> {
    if stage_type.starts_with("rollback") {
        return stages::plan_of(stage_type, context, "app");
    }
    #[allow(clippy::disallowed_methods)] // Which plans are tried is said by the environment.
    let by_hand = std::env::var("GENNAKER_PLANS").is_ok_and(|asked| asked == "by-hand");
    if by_hand {
        return stages::plan_of(stage_type, context, "app");
    }
    stages::compiled(stage_type, context, "app")
}

async fn run_top(
    drive: &Drive,
    plan: &gennaker_domain::Plan,
    top: &str,
    input: &Value,
    left: &Arc<Mutex<u64>>,
) -> Vec<String> {
    let http = stages::monitor(&drive.faults);
    let mut failures = Vec::new();
    let mut found = Vec::new();
    stages::order(plan, top, &mut found);
    let fail_at = &input["failAt"];
    for stage in found {
        let Some(function) = &stage.function else {
            continue;
        };
        if (stage.owner == Some(Owner::OnFailure)) == failures.is_empty() {
            continue;
        }
        let mut inner = stages::stage_of(function, &drive.world, &http);
        if fail_at["type"] == stage.stage_type.as_str() {
            let before = fail_at["task"] == "createServerGroup";
            inner = Arc::new(FailsAt {
                inner,
                left: Arc::clone(left),
                before,
            });
        }
        let end = drive.to_end(&drive.runtime(inner), &stage.ref_id).await;
        if let End::GaveUp(reason) = end {
            failures.push(format!(
                "{} ({}) never ends: {reason}",
                stage.name, stage.ref_id
            ));
            return failures;
        }
        let record = drive.records().await.unwrap().remove(&stage.ref_id);
        if let Some(record) = record.filter(|record| record.status == Status::Terminal) {
            let reason = record
                .failure
                .map(|failure| failure.reason)
                .unwrap_or_default();
            failures.push(format!("{} ({}): {reason}", stage.name, stage.ref_id));
            // The on-failure stages run in line, whatever the machine would do afterwards.
            let key = Key::execution(&drive.run().execution);
            let clear = Write::set(key, Map::new()).removing("ending");
            drive.table.without_faults().write(clear).await.unwrap();
        }
    }
    failures
}

/// Why a case may differ; `None` where it has to be the same.
type Better = fn(&Value, &Run, &Done) -> Option<&'static str>;

/// The same without minima.
fn without_minima(said: &[String]) -> Vec<String> {
    said.iter()
        .map(|line| {
            line.split(' ')
                .map(
                    |word| match word.split('/').collect::<Vec<_>>().as_slice() {
                        [_, desired, max] => format!("*/{desired}/{max}"),
                        _ => word.to_owned(),
                    },
                )
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

async fn compare(file: &str, better: Better) {
    let Some(corpus) = gennaker_tests::corpus() else {
        println!("skipped: no corpus");
        return;
    };
    let text_of = fs::read_to_string(corpus.join("deployment").join(file)).unwrap();
    let (mut same, mut otherwise, mut wrong) =
        (0, BTreeMap::<&str, Vec<String>>::new(), Vec::new());
    for line in text_of.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = text(&case, "id").to_owned();
        let run = run(&case).await;
        let odd = odd(&case);
        let (theirs, expected) = (theirs(&case), without_odd(&expected_after(&case), &odd));
        let run = Run {
            after: without_odd(&run.after, &odd),
            ..run
        };
        if run.done == theirs && run.after == expected {
            same += 1;
        } else if let Some(reason) = better(&case, &run, &theirs) {
            otherwise.entry(reason).or_default().push(id);
        } else {
            wrong.push(format!(
                "{id} {}\n  theirs {theirs:?}\n  ours   {:?}\n  theirs after {expected:?}\n  ours after   {:?}\n  failures {:?} (theirs {})",
                case["input"]["context"].to_string().chars().take(700).collect::<String>(),
                run.done, run.after, run.failures, case["expected"]["status"],
            ));
        }
    }
    println!("{file}: {same} the same");
    for (reason, ids) in &otherwise {
        println!("  {} otherwise: {reason}: {}", ids.len(), ids.join(" "));
    }
    assert!(
        wrong.is_empty(),
        "{file}: {} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(same > 0, "{file}: no case compared");
}

#[tokio::test]
async fn rollbacks_do_what_the_original_did() {
    compare("rollback-reference.jsonl", better).await;
}

#[tokio::test]
async fn deployments_do_what_the_original_did() {
    compare("strategies-reference.jsonl", better).await;
}

/// Groups that are flagged as disabled and have instances that are up.
fn disabled_and_up(case: &Value) -> Vec<String> {
    case["input"]["serverGroups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|group| group["disabled"] == true)
        .filter(|group| {
            group["instances"]
                .as_array()
                .unwrap()
                .iter()
                .any(|instance| instance["healthState"] == "Up")
        })
        .map(|group| text(group, "name").to_owned())
        .collect()
}

/// A bug of the original in a stage of this type.
fn null_pointer(case: &Value) -> bool {
    let stages = case["expected"]["stages"].as_array().unwrap();
    stages.iter().any(|stage| {
        stage["type"] == "rollbackCluster"
            && text(stage, "error").starts_with("NullPointerException")
    })
}

fn better(case: &Value, run: &Run, theirs: &Done) -> Option<&'static str> {
    let failed = |word: &str| run.failures.iter().any(|failure| failure.contains(word));
    if failed("healthy") && failed("2 hours") {
        return Some(
            "waits for instances that never become healthy, and fails; the original's run did not wait",
        );
    }
    if null_pointer(case) {
        return Some(
            "goes back to the group that the execution recorded, without its metadata tag",
        );
    }
    let context = &case["input"]["context"];
    let cluster = [&context["clusters"][0], &context["cluster"], context]
        .into_iter()
        .find(|one| one.is_object())
        .unwrap();
    let strategy = text(cluster, "strategy");
    if strategy != strategy.to_lowercase() && cluster["rollback"]["onFailure"] == true {
        return Some("the case of a strategy's name is ignored for its rollback too");
    }
    let skipped = |stage: &Value| !stage["failureStagesSkipped"].is_null();
    if case["expected"]["stages"]
        .as_array()
        .unwrap()
        .iter()
        .any(skipped)
    {
        return Some("each on-failure stage is tried");
    }
    let flat = |done: &Done| -> Vec<String> {
        done.iter()
            .flat_map(|(region, said)| said.iter().map(move |said| format!("{region} {said}")))
            .collect()
    };
    let (ours, theirs) = (flat(&run.done), flat(theirs));
    let expected = without_odd(&expected_after(case), &odd(case));
    let inactive = |said: &String| {
        disabled_and_up(case)
            .iter()
            .any(|group| said.contains(group.as_str()))
    };
    if ours
        .iter()
        .filter(|said| !theirs.contains(said))
        .all(inactive)
        && ours.iter().any(inactive)
    {
        return Some(
            "a disabled group has no instance in traffic here: it is attached to no target group",
        );
    }
    // Only minima differ: of what is done, but for the unpinning that the original leaves out.
    let unpins: Vec<String> = without_minima(&ours);
    let mut left = unpins.clone();
    for said in without_minima(&theirs) {
        if let Some(at) = left.iter().position(|one| *one == said) {
            left.remove(at);
        }
    }
    let only_resizes = left.iter().all(|said| said.contains("resize"));
    if matches!(strategy, "rollingredblack" | "monitored")
        && only_resizes
        && without_minima(&run.after) == without_minima(&expected)
    {
        return Some("the minimum that was pinned is restored");
    }
    None
}
