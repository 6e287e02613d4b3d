//! Every mutating stage and every strategy, run with a fault at every call: the process dies before the call takes
//! effect or after, AWS asks to slow down, an answer is lost, a description misses what was just created.
//!
//! Prints a table. By default every call that changes something in the account dies before and after, and a sample of
//! the other calls gets each fault; with `GENNAKER_CRASH_MATRIX=full` every call gets every fault.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod stages;

use std::collections::BTreeSet;

use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_domain::{Ending, Plan, Status};
use gennaker_server_groups::traffic;
use gennaker_testkit::{Behaviour, Drive, End, Fault, Faults, Moment, World};
use serde_json::{Value, json};

/// Calls after which an undo is given up.
const CALLS: usize = 500;
/// How many faults of the calls that change nothing are tried by default, for each scenario.
const SAMPLE: usize = 24;

const FAULTS: [(Moment, Fault); 6] = [
    (Moment::Before, Fault::Crash),
    (Moment::After, Fault::Crash),
    (Moment::Before, Fault::Throttle),
    (Moment::Before, Fault::NoAnswer),
    (Moment::After, Fault::NoAnswer),
    (Moment::Before, Fault::Stale),
];

struct Scenario {
    name: &'static str,
    stage_type: &'static str,
    context: Value,
    /// Fewest healthy targets at any moment.
    floor: usize,
    /// Whether a cancel takes everything back: not where server groups were destroyed.
    undoable: bool,
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

fn scenarios() -> Vec<Scenario> {
    let one = |name, stage_type, context, floor, undoable| Scenario {
        name,
        stage_type,
        context,
        floor,
        undoable,
    };
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
    ]
}

/// The old group out of traffic, the current one at 2/3/6 in it; a guard watches the cluster.
async fn begin(plan: &Plan) -> (Drive, String) {
    let faults = Faults::none();
    let world = World::new(1_800_000_000_000, Behaviour::default(), faults.clone());
    let web = world.add_target_group("web");
    world.add_image("ami-1", "shop-1");
    world.add_image("ami-2", "shop-2");
    world.add_image("ami-3", "shop-3");
    world.set_alarm("shop-5xx", 0, AlarmState::Ok);
    world.add_group(
        "shop-web-v001",
        "ami-1",
        Capacity::new(1, 2, 6).unwrap(),
        &[],
    );
    let out = traffic::Before {
        suspended_processes: Vec::new(),
        target_groups: vec![web.clone()],
    };
    for (tag, value) in out.tags() {
        world.tag("shop-web-v001", &tag, &value);
    }
    world.suspend("shop-web-v001", &traffic::SUSPENDED);
    world.set_created("shop-web-v001", 1_700_000_000_000);
    world.add_group(
        "shop-web-v002",
        "ami-2",
        Capacity::new(2, 3, 6).unwrap(),
        std::slice::from_ref(&web),
    );
    world.set_created("shop-web-v002", 1_700_000_001_000);
    world.add_scaling("shop-web-v002", &["up"]);
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
    drive
        .put(
            "MONITOR#mon",
            "META",
            &json!({"baseUrl": "https://monitor.example.com"}),
        )
        .await
        .unwrap();
    (drive, web)
}

/// What of the world counts in the end.
fn state(drive: &Drive, web: &str) -> Vec<String> {
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
                "{} {} {traffic}, {} healthy, suspended [{}]",
                group.name,
                group.capacity,
                drive.world.healthy_in(web, group),
                suspended.join(", ")
            )
        })
        .collect();
    state.push(format!(
        "{} template versions",
        drive.world.template_versions()
    ));
    state
}

fn effects(drive: &Drive) -> Vec<String> {
    drive
        .world
        .operations()
        .iter()
        .map(|done| format!("{} {:?}", done.group, done.effect))
        .collect()
}

/// Runs the plan; the end of a stage that failed, if one did.
async fn go(drive: &Drive, plan: &Plan) -> Option<String> {
    let http = stages::monitor(&drive.faults);
    let tops: Vec<String> = if plan.stages[0].function.is_none() {
        plan.children("1")
            .map(|child| child.ref_id.clone())
            .collect()
    } else {
        vec!["1".to_owned()]
    };
    for top in tops {
        let mut found = Vec::new();
        stages::order(plan, &top, &mut found);
        for stage in found {
            let Some(function) = &stage.function else {
                continue;
            };
            if stage.owner == Some(gennaker_domain::Owner::OnFailure) {
                continue;
            }
            let runtime = drive.runtime(stages::stage_of(function, &drive.world, &http));
            match drive.to_end(&runtime, &stage.ref_id).await {
                End::Done => {}
                other => return Some(format!("{}: {other:?}", stage.name)),
            }
            let record = drive.records().await.unwrap().remove(&stage.ref_id);
            if let Some(failure) = record.and_then(|record| record.failure) {
                return Some(format!("{}: {}", stage.name, failure.reason));
            }
        }
    }
    None
}

/// Ends the execution and undoes every open intent, newest first, as finalize does. `called` is told each function that
/// was called, and the number of calls before it.
async fn undo(drive: &Drive, mut called: impl FnMut(&str, usize)) -> Option<String> {
    let http = stages::monitor(&drive.faults);
    let ending = Ending {
        status: Status::Canceled,
        reason: "canceled".to_owned(),
        by: "a test".to_owned(),
        at: drive.world.now(),
    };
    drive
        .store()
        .set_ending(drive.run(), &ending)
        .await
        .unwrap();
    drive.world.advance(10_000);
    for _ in 0..CALLS {
        let open = drive
            .intents()
            .await
            .unwrap()
            .into_iter()
            .rfind(|intent| !intent.closed);
        let intent = open?;
        let runtime = drive.runtime(stages::stage_of(&intent.function, &drive.world, &http));
        let event = json!({ "run": drive.run(), "stage": intent.stage, "undo": intent.action });
        let from = drive.faults.calls().len();
        let answer = drive.call(&runtime, &event).await;
        called(&intent.function, from);
        match answer {
            Some((gennaker_domain::error_name::STAGE_FAILED, message)) => return Some(message),
            Some(_) => drive.world.advance(10_000),
            None => {}
        }
    }
    Some("the undo does not end".to_owned())
}

/// A call that changes something in the account.
fn mutates(call: &str) -> bool {
    let name = call.split_once(':').map_or(call, |(_, name)| name);
    !call.starts_with("dynamodb")
        && !["Describe", "Get", "Query", "List", "Put item"]
            .iter()
            .any(|read| name.starts_with(read))
        && (call.starts_with("autoscaling:")
            || call.starts_with("ec2:")
            || call.starts_with("elasticloadbalancing:"))
}

/// What an interrupted run got wrong, compared with the clean one.
fn wrong(
    scenario: &Scenario,
    drive: &Drive,
    web: &str,
    failed: Option<String>,
    clean: &Clean,
) -> Vec<String> {
    let mut wrong: Vec<String> = failed.into_iter().collect();
    drive.world.advance(60_000);
    if state(drive, web) != clean.state {
        wrong.push(format!(
            "ends as {:?}, not as {:?}",
            state(drive, web),
            clean.state
        ));
    }
    if drive.world.groups_made() != clean.made {
        wrong.push(format!("made {:?}", drive.world.groups_made()));
    }
    let done = effects(drive);
    if done != clean.effects {
        wrong.push(format!("did {done:?}, not {:?}", clean.effects));
    }
    let fewest = drive.world.fewest_healthy().unwrap_or(0);
    if fewest < scenario.floor {
        wrong.push(format!("{fewest} healthy, never under {}", scenario.floor));
    }
    wrong
}

struct Clean {
    calls: Vec<String>,
    state: Vec<String>,
    made: Vec<String>,
    effects: Vec<String>,
}

#[tokio::test]
async fn no_fault_at_any_call_breaks_a_stage_or_a_strategy() {
    #[allow(clippy::disallowed_methods)] // How much is tried is said by the environment.
    let full = std::env::var("GENNAKER_CRASH_MATRIX").is_ok_and(|asked| asked == "full");
    let mut violations = Vec::new();
    println!(
        "{:<38} {:>6} {:>9} {:>7} {:>7} {:>10}",
        "stage or strategy", "calls", "mutating", "faults", "undone", "violations"
    );
    for scenario in scenarios() {
        let context = stages::map(scenario.context.clone());
        let plan = stages::plan_of(scenario.stage_type, &context, "shop").unwrap();
        let (drive, web) = begin(&plan).await;
        let (before, first) = (state(&drive, &web), drive.faults.calls().len());
        let failed = go(&drive, &plan).await;
        assert_eq!(failed, None, "{}: the clean run fails", scenario.name);
        let calls = drive.faults.calls()[first..].to_vec();
        drive.world.advance(60_000);
        let clean = Clean {
            calls: calls.clone(),
            state: state(&drive, &web),
            made: drive.world.groups_made(),
            effects: effects(&drive),
        };
        let own = wrong(&scenario, &drive, &web, None, &clean);
        assert!(own.is_empty(), "{}: {own:?}", scenario.name);
        let mutating: Vec<usize> = (0..calls.len())
            .filter(|at| mutates(&clean.calls[*at]))
            .collect();
        let step = if full {
            1
        } else {
            (calls.len() * FAULTS.len() / SAMPLE).max(1)
        };
        let mut struck = BTreeSet::new();
        let (mut tried, mut undone, mut bad) = (0, 0, 0);
        let mut number = 0;
        for (at, name) in calls.iter().enumerate() {
            for (moment, fault) in FAULTS {
                number += 1;
                let stale = fault == Fault::Stale;
                if stale && !name.ends_with("DescribeAutoScalingGroups") {
                    continue;
                }
                let dies = fault == Fault::Crash && mutating.contains(&at);
                if !dies && number % step != 0 {
                    continue;
                }
                let (drive, web) = begin(&plan).await;
                drive.faults.plan(first + at, moment, fault);
                let failed = go(&drive, &plan).await;
                tried += 1;
                if drive.faults.struck() > 0 {
                    struck.insert(at);
                }
                let wrong = wrong(&scenario, &drive, &web, failed, &clean);
                if !wrong.is_empty() {
                    bad += 1;
                    violations.push(format!(
                        "{}: {} {moment:?} {fault:?} at call {at}: {}",
                        scenario.name,
                        calls[at],
                        wrong.join("; ")
                    ));
                }
                // Canceled where it died: everything is as before, whatever had begun.
                if fault != Fault::Crash || !scenario.undoable {
                    continue;
                }
                let (drive, web) = begin(&plan).await;
                drive.faults.plan(first + at, moment, fault);
                die(&drive, &plan).await;
                undone += 1;
                let failed = undo(&drive, |_, _| {}).await;
                drive.world.advance(120_000);
                let now = state(&drive, &web);
                let templates = |state: &[String]| state[..state.len() - 1].to_vec();
                if failed.is_some() || templates(&now) != templates(&before) {
                    bad += 1;
                    violations.push(format!(
                        "{}: undone after {} {moment:?} at call {at}: {failed:?}, {now:?}",
                        scenario.name, calls[at]
                    ));
                }
            }
        }
        for at in mutating.iter().filter(|at| !struck.contains(at)) {
            violations.push(format!(
                "{}: {} at call {at} got no fault",
                scenario.name, calls[*at]
            ));
        }
        println!(
            "{:<38} {:>6} {:>9} {tried:>7} {undone:>7} {bad:>10}",
            scenario.name,
            calls.len(),
            mutating.len()
        );
    }
    assert!(
        violations.is_empty(),
        "{} violations\n{}",
        violations.len(),
        violations
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

/// Runs the plan until the planned crash struck.
async fn die(drive: &Drive, plan: &Plan) {
    let http = stages::monitor(&drive.faults);
    let mut found = Vec::new();
    let top = if plan.stages[0].function.is_none() {
        "1<1"
    } else {
        "1"
    };
    stages::order(plan, top, &mut found);
    for stage in found {
        let Some(function) = &stage.function else {
            continue;
        };
        if stage.owner == Some(gennaker_domain::Owner::OnFailure) {
            continue;
        }
        let runtime = drive.runtime(stages::stage_of(function, &drive.world, &http));
        let event = json!({ "run": drive.run(), "stage": stage.ref_id });
        for _ in 0..CALLS {
            let answer = drive.call(&runtime, &event).await;
            if drive.faults.struck() > 0 {
                return;
            }
            match answer {
                None => break,
                Some(_) => drive.world.advance(10_000),
            }
        }
    }
}

/// Actions that one call of a port stands for besides its own name.
fn implied(call: &str) -> &'static [&'static str] {
    match call {
        "autoscaling:PutScalingPolicy" => &[
            "autoscaling:DescribePolicies",
            "autoscaling:DescribeScheduledActions",
            "autoscaling:BatchPutScheduledUpdateGroupAction",
        ],
        "ec2:CreateLaunchTemplateVersion" => &["ec2:CreateLaunchTemplate", "ec2:CreateTags"],
        // Auto Scaling checks that whoever names a launch template could launch from it.
        "autoscaling:CreateAutoScalingGroup" => &[
            "autoscaling:CreateOrUpdateTags",
            "ec2:RunInstances",
            "iam:PassRole",
        ],
        _ => &[],
    }
}

/// Actions that a function's own policies in the template name, of these services.
fn granted(function: &str) -> BTreeSet<String> {
    let template =
        std::fs::read_to_string(gennaker_tests::workspace().join("infra/template.yaml")).unwrap();
    let logical: String = function
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    let from = template
        .find(&format!("\n  {logical}Function:\n"))
        .unwrap_or_else(|| panic!("{function} is not in the template"));
    let body = &template[from..from
        + template[from..]
            .find(&format!("\n  {logical}LogGroup:\n"))
            .unwrap()];
    body.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
        .filter(|word| {
            ["autoscaling:", "ec2:", "elasticloadbalancing:", "iam:"]
                .iter()
                .any(|service| word.starts_with(service))
        })
        .map(|word| word.trim_end_matches(':').to_owned())
        // A condition's key and a service principal are no actions.
        .filter(|word| {
            word.split_once(':').is_some_and(|(_, name)| {
                name.starts_with(|c: char| c.is_ascii_uppercase()) && name != "PassedToService"
            })
        })
        .collect()
}

/// What functions call in the clean runs of all scenarios, in those that end early and in their undos.
async fn called() -> std::collections::BTreeMap<String, BTreeSet<String>> {
    let mut called = std::collections::BTreeMap::<String, BTreeSet<String>>::new();
    for scenario in scenarios() {
        let context = stages::map(scenario.context.clone());
        let plan = stages::plan_of(scenario.stage_type, &context, "shop").unwrap();
        let http = stages::monitor(&Faults::none());
        // Interrupted after so many calls of each stage: the undo meets every state in between.
        for most in [1, 2, 3, 5, CALLS] {
            let (drive, _) = begin(&plan).await;
            let mut found = Vec::new();
            stages::order(
                &plan,
                if plan.stages[0].function.is_none() {
                    "1<1"
                } else {
                    "1"
                },
                &mut found,
            );
            let mut note = |function: &str, from: usize| {
                let calls = drive.faults.calls();
                let of = called.entry(function.to_owned()).or_default();
                for call in calls[from..]
                    .iter()
                    .filter(|call| !call.starts_with("dynamodb"))
                {
                    of.insert(call.clone());
                    of.extend(implied(call).iter().map(|action| (*action).to_owned()));
                }
            };
            for stage in found {
                let Some(function) = &stage.function else {
                    continue;
                };
                if stage.owner == Some(gennaker_domain::Owner::OnFailure) {
                    continue;
                }
                let from = drive.faults.calls().len();
                let runtime = drive.runtime(stages::stage_of(function, &drive.world, &http));
                let event = json!({ "run": drive.run(), "stage": stage.ref_id });
                let mut over = false;
                for _ in 0..most {
                    if drive.call(&runtime, &event).await.is_none() {
                        over = true;
                        break;
                    }
                    drive.world.advance(10_000);
                }
                note(function, from);
                if !over {
                    break;
                }
            }
            undo(&drive, note).await;
        }
    }
    called
}

/// What a policy grants for situations that the scenarios do not make.
const UNSEEN: [(&str, &str); 8] = [
    // Only where a cluster names a key pair.
    ("", "ec2:DescribeKeyPairs"),
    // Only for a group that is partly out of traffic.
    ("", "elasticloadbalancing:RegisterTargets"),
    // Asked only while instances are missing for long.
    ("", "autoscaling:DescribeScalingActivities"),
    // Read only where a cluster names subnets or security groups.
    ("", "ec2:DescribeSubnets"),
    ("", "ec2:DescribeSecurityGroups"),
    // Only where a cluster names metrics.
    ("", "autoscaling:EnableMetricsCollection"),
    // Suspended processes of a cluster, or those of a group that a person suspended.
    ("", "autoscaling:SuspendProcesses"),
    ("", "autoscaling:ResumeProcesses"),
];

#[tokio::test]
async fn what_a_function_calls_is_what_its_policy_in_the_template_grants() {
    let mut problems = Vec::new();
    for (function, called) in called().await {
        let granted = granted(&function);
        for action in called.difference(&granted) {
            problems.push(format!(
                "{function} calls {action}, the template does not grant it"
            ));
        }
        let unseen = |action: &&String| {
            UNSEEN
                .iter()
                .any(|(of, known)| (of.is_empty() || *of == function) && known == *action)
        };
        for action in granted.difference(&called).filter(|action| !unseen(action)) {
            problems.push(format!(
                "{function} is granted {action}, and never calls it"
            ));
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems\n{}",
        problems.len(),
        problems.join("\n")
    );
}
