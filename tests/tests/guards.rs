//! What guards a deployment beyond its strategy, in process: the lock of its cluster, its alarms, its way back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod stages;

use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_domain::{Owner, Plan, Status};
use gennaker_server_groups::traffic;
use gennaker_testkit::{Behaviour, Drive, End, Faults, Strike, World, fault_everywhere};
use serde_json::{Value, json};

/// A deploy's cluster `shop-<stack>`.
fn cluster(stack: &str, more: Value) -> Value {
    let mut all = json!({
        "account": "prod", "credentials": "prod", "application": "shop", "stack": stack, "region": "us-east-1",
        "cloudProvider": "aws", "instanceType": "t3.small", "imageId": "ami-2", "targetGroups": ["web"],
        "capacity": {"min": 2, "desired": 3, "max": 6}, "strategy": "redblack",
    });
    all.as_object_mut().unwrap().extend(stages::map(more));
    all
}

fn plan_of(name: &str, stage_type: &str, context: Value) -> Plan {
    let mut plan = stages::compiled(stage_type, &stages::map(context), "shop").unwrap();
    plan.pipeline = name.to_owned();
    plan
}

fn deploy(name: &str, more: Value) -> Plan {
    plan_of(name, "deploy", json!({"clusters": [cluster("web", more)]}))
}

/// The group `shop-web-v001` of image `ami-1` takes traffic; an execution of this plan runs.
async fn begin(plan: &Plan) -> Drive {
    let faults = Faults::none();
    let world = World::new(1_800_000_000_000, Behaviour::default(), faults.clone());
    let web = world.add_target_group("web");
    world.add_image("ami-2", "shop-2");
    let capacity = Capacity::new(2, 3, 6).unwrap();
    for group in ["shop-web-v001", "shop-api-v001"] {
        world.add_group(group, "ami-1", capacity, std::slice::from_ref(&web));
    }
    world.advance(60_000);
    let drive = Drive::of_plan(world, faults, plan).await.unwrap();
    let account = json!({"accountId": "123456789012", "regions": ["us-east-1"]});
    drive.put("ACCOUNT#prod", "META", &account).await.unwrap();
    drive
}

/// One call of a stage: what it answers Step Functions, none for Ok.
async fn call(drive: &Drive, plan: &Plan, ref_id: &str) -> Option<(&'static str, String)> {
    let function = plan.stage(ref_id).unwrap().function.clone().unwrap();
    let http = stages::monitor(&drive.faults);
    let runtime = drive.runtime(stages::stage_of(&function, &drive.world, &http));
    let event = json!({ "run": drive.run(), "stage": ref_id });
    drive.call(&runtime, &event).await
}

async fn to_end(drive: &Drive, plan: &Plan, ref_id: &str) -> End {
    let function = plan.stage(ref_id).unwrap().function.clone().unwrap();
    let http = stages::monitor(&drive.faults);
    let runtime = drive.runtime(stages::stage_of(&function, &drive.world, &http));
    drive.to_end(&runtime, ref_id).await
}

/// The stages that work, in their order, without those for a failure.
fn working(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for top in plan.stages.iter().filter(|stage| stage.parent.is_none()) {
        stages::order(plan, &top.ref_id, &mut found);
    }
    found
        .into_iter()
        .filter(|stage| stage.function.is_some() && stage.owner != Some(Owner::OnFailure))
        .map(|stage| stage.ref_id.clone())
        .collect()
}

/// Runs the plan from its first stage on; why a stage failed, if one did.
async fn go(drive: &Drive, plan: &Plan) -> Option<String> {
    for ref_id in working(plan) {
        let end = to_end(drive, plan, &ref_id).await;
        let failure = drive.records().await.unwrap().remove(&ref_id)?.failure;
        match (end, failure) {
            (_, Some(failure)) => return Some(failure.reason),
            (End::Done, None) => {}
            (end, None) => panic!("{ref_id}: {end:?}"),
        }
    }
    None
}

/// Ends the execution and undoes what it began, the newest stage first, as finalize does.
async fn undo(drive: &Drive, plan: &Plan) {
    let http = stages::monitor(&drive.faults);
    for ref_id in working(plan).iter().rev() {
        let function = plan.stage(ref_id).unwrap().function.clone().unwrap();
        let runtime = drive.runtime(stages::stage_of(&function, &drive.world, &http));
        assert_eq!(
            drive.undo(&runtime, ref_id).await.unwrap(),
            End::Done,
            "{ref_id}"
        );
    }
    drive.world.advance(60_000);
}

/// Name, and whether it takes traffic.
fn groups(drive: &Drive, cluster: &str) -> Vec<(String, bool)> {
    let of_cluster = |name: &str| name.starts_with(cluster);
    drive
        .world
        .snapshot()
        .iter()
        .filter(|group| of_cluster(&group.name))
        .map(|group| (group.name.clone(), !traffic::is_disabled(group)))
        .collect()
}

fn group(name: &str, in_traffic: bool) -> (String, bool) {
    (name.to_owned(), in_traffic)
}

const CREATE: &str = "1<1";

#[tokio::test]
async fn a_second_pipeline_waits_for_the_cluster_and_goes_on_when_the_first_is_done_with_it() {
    let (first, second) = (deploy("first", json!({})), deploy("second", json!({})));
    let a = begin(&first).await;
    let b = a.another(&second, json!({})).await.unwrap();
    assert!(call(&a, &first, CREATE).await.is_some());
    let (name, reason) = call(&b, &second, CREATE).await.unwrap();
    assert_eq!(name, "Waiting10s");
    let who = format!(
        "is being changed by execution {} of `first` in `shop`",
        a.run().execution
    );
    assert!(reason.contains(&who), "{reason}");
    assert!(
        reason.contains("(stage `1<1`) since 2027-01-15T08:01:00Z"),
        "{reason}"
    );
    // Created, and still to disable the old group: the cluster is the first one's.
    assert_eq!(to_end(&a, &first, CREATE).await, End::Done);
    assert!(
        call(&b, &second, CREATE)
            .await
            .unwrap()
            .1
            .contains("is being changed")
    );
    assert_eq!(go(&a, &first).await, None);
    // The first execution runs on, in other stages; the cluster is free.
    assert_eq!(go(&b, &second).await, None);
    assert_eq!(
        groups(&a, "shop-web"),
        [
            group("shop-web-v001", false),
            group("shop-web-v002", false),
            group("shop-web-v003", true)
        ]
    );
}

#[tokio::test]
async fn a_second_pipeline_is_refused_where_its_cluster_says_so_and_after_its_minutes() {
    let first = deploy("first", json!({}));
    for (setting, minutes, said) in [
        (
            json!("refuse"),
            0,
            "cluster `shop-web` of prod/us-east-1 is being changed",
        ),
        (
            json!({"minutes": 5}),
            5,
            "waited 5 minutes: cluster `shop-web`",
        ),
    ] {
        let second = deploy("second", json!({ "clusterLock": setting }));
        let a = begin(&first).await;
        let b = a.another(&second, json!({})).await.unwrap();
        assert!(call(&a, &first, CREATE).await.is_some());
        let began = b.world.now();
        let reason = go(&b, &second).await.unwrap();
        assert!(reason.contains(said), "{reason}");
        let waited = (b.world.now() - began) / 60_000;
        assert!(
            (minutes..=minutes + 1).contains(&waited),
            "{waited} minutes"
        );
        assert_eq!(go(&a, &first).await, None);
        assert_eq!(a.world.groups_made(), ["shop-web-v002"]);
    }
}

#[tokio::test]
async fn a_lock_outlives_a_failure_until_it_is_undone_and_no_end_is_too_sudden_to_free_it() {
    let (first, second) = (deploy("first", json!({})), deploy("second", json!({})));
    let a = begin(&first).await;
    let b = a.another(&second, json!({})).await.unwrap();
    assert!(call(&a, &first, CREATE).await.is_some());
    a.end(Status::Canceled).await.unwrap();
    let waits = call(&b, &second, CREATE).await.unwrap();
    assert!(
        waits.1.contains("is being changed"),
        "what it began is undone first: {waits:?}"
    );
    undo(&a, &first).await;
    // As if finalize had died before it gave the lock back.
    a.store()
        .settle(a.run(), Status::Canceled, a.world.now())
        .await
        .unwrap();
    assert_eq!(go(&b, &second).await, None);
    assert_eq!(
        groups(&a, "shop-web"),
        [group("shop-web-v001", false), group("shop-web-v002", true)]
    );
}

#[tokio::test]
async fn whoever_is_canceled_while_it_waits_takes_nothing() {
    let (first, second) = (deploy("first", json!({})), deploy("second", json!({})));
    let a = begin(&first).await;
    let b = a.another(&second, json!({})).await.unwrap();
    assert!(call(&a, &first, CREATE).await.is_some());
    assert!(call(&b, &second, CREATE).await.is_some());
    b.end(Status::Canceled).await.unwrap();
    assert_eq!(go(&a, &first).await, None);
    assert_eq!(call(&b, &second, CREATE).await, None);
    assert!(
        b.store()
            .locked_by(&b.run().execution)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(a.world.groups_made(), ["shop-web-v002"]);
}

#[tokio::test]
async fn a_pipeline_that_a_deployment_waits_for_works_under_its_lock_and_so_do_its_own_children() {
    let (first, second) = (deploy("first", json!({})), deploy("second", json!({})));
    let a = begin(&first).await;
    assert!(call(&a, &first, CREATE).await.is_some());
    let by = |drive: &Drive| json!({"parentExecution": {"id": drive.run().execution}});
    let child = a
        .another(&plan_of("child", "wait", json!({"waitTime": 1})), by(&a))
        .await
        .unwrap();
    let grandchild = a.another(&second, by(&child)).await.unwrap();
    let answer = call(&grandchild, &second, CREATE).await.unwrap();
    assert!(answer.1.contains("created"), "{answer:?}");
}

#[tokio::test]
async fn dies_at_every_call_and_takes_over_a_lock_whose_holder_has_ended() {
    let resize = |name: &str| {
        let context = json!({
            "credentials": "prod", "region": "us-east-1", "cluster": "shop-web",
            "serverGroupName": "shop-web-v001", "action": "scale_up", "scaleNum": 1,
        });
        plan_of(name, "resizeServerGroup", context)
    };
    fault_everywhere(|strike: Option<Strike>| async move {
        let (first, second) = (resize("first"), resize("second"));
        let a = begin(&first).await;
        assert!(call(&a, &first, "1").await.is_some());
        let b = a.another(&second, json!({})).await.unwrap();
        let now = a.world.now();
        a.store()
            .settle(a.run(), Status::Terminal, now)
            .await
            .unwrap();
        let before = b.faults.calls().len();
        if let Some((at, moment, fault)) = strike {
            b.faults.plan(before + at, moment, fault);
        }
        assert_eq!(to_end(&b, &second, "1").await, End::Done, "{strike:?}");
        let group = b.world.group("shop-web-v001").unwrap();
        assert_eq!(
            group.capacity,
            Capacity::new(4, 5, 8).unwrap(),
            "{strike:?}"
        );
        let locked = b.store().locked_by(&b.run().execution).await.unwrap();
        assert_eq!(locked, ["prod/us-east-1/shop-web"], "{strike:?}");
        b.faults.calls().len() - before
    })
    .await;
}

#[tokio::test]
async fn two_pipelines_that_need_two_clusters_in_turn_both_come_to_their_end() {
    let resize = |ref_id: &str, stack: &str| {
        json!({
            "refId": ref_id, "type": "resizeServerGroup", "name": "resize", "requisiteStageRefIds": [],
            "credentials": "prod", "region": "us-east-1", "cluster": format!("shop-{stack}"),
            "serverGroupName": format!("shop-{stack}-v001"), "action": "scale_up", "scaleNum": 1,
        })
    };
    let plan = |name: &str, one: &str, two: &str| {
        let pipeline = json!({"application": "shop", "name": name, "stages": [resize("1", one), resize("2", two)]});
        gennaker_compiler::compile(&pipeline, &gennaker_compiler::Options::default())
            .unwrap()
            .plan
    };
    let (first, second) = (plan("first", "web", "api"), plan("second", "api", "web"));
    let a = begin(&first).await;
    let b = a.another(&second, json!({})).await.unwrap();
    for (drive, plan) in [(&a, &first), (&b, &second)] {
        assert!(call(drive, plan, "1").await.unwrap().1.contains("size of"));
    }
    for (drive, plan) in [(&a, &first), (&b, &second)] {
        assert!(
            call(drive, plan, "2")
                .await
                .unwrap()
                .1
                .contains("is being changed")
        );
    }
    for (drive, plan, ref_id) in [
        (&a, &first, "1"),
        (&b, &second, "2"),
        (&b, &second, "1"),
        (&a, &first, "2"),
    ] {
        assert_eq!(to_end(drive, plan, ref_id).await, End::Done);
    }
    for name in ["shop-web-v001", "shop-api-v001"] {
        assert_eq!(
            a.world.group(name).unwrap().capacity,
            Capacity::new(4, 5, 8).unwrap(),
            "{name}"
        );
    }
}

/// A deployment whose alarm goes off so many seconds after its begin: the reason of its failure, what it made of the
/// cluster, and the cluster when all was undone.
async fn alarmed(strategy: Value, seconds: i64) -> (Drive, Plan, String) {
    let mut more = json!({"alarmGuard": {"alarms": ["shop-5xx"], "minutesAfter": 10}});
    more.as_object_mut().unwrap().extend(stages::map(strategy));
    let plan = deploy("first", more);
    let drive = begin(&plan).await;
    let now = drive.world.now();
    drive.world.set_alarm("shop-5xx", 0, AlarmState::Ok);
    drive
        .world
        .set_alarm("shop-5xx", now + seconds * 1_000, AlarmState::Alarm);
    let reason = go(&drive, &plan).await.expect("the alarm stops it");
    assert!(
        reason.contains("alarm `shop-5xx` is in ALARM: threshold crossed in prod/us-east-1"),
        "{reason}"
    );
    (drive, plan, reason)
}

#[tokio::test]
async fn an_alarm_at_any_time_of_a_deployment_takes_everything_back() {
    let strategies = [
        json!({"strategy": ""}),
        json!({"strategy": "redblack", "scaleDown": true}),
        json!({"strategy": "highlander"}),
        json!({"strategy": "rollingredblack", "targetPercentages": [50]}),
    ];
    for strategy in strategies {
        for seconds in [0, 25, 60, 200, 600] {
            let (drive, plan, _) = alarmed(strategy.clone(), seconds).await;
            let took = (drive.world.now() - 1_800_000_060_000) / 1_000;
            assert!(
                took <= seconds + 60,
                "{strategy}: {took} s, the alarm at {seconds}"
            );
            undo(&drive, &plan).await;
            assert_eq!(
                groups(&drive, "shop-web"),
                [group("shop-web-v001", true)],
                "{strategy} after {seconds} s"
            );
            let old = drive.world.group("shop-web-v001").unwrap();
            assert_eq!(old.capacity, Capacity::new(2, 3, 6).unwrap(), "{strategy}");
            assert!(
                drive.world.fewest_healthy().unwrap() >= 3,
                "{strategy} after {seconds} s"
            );
        }
    }
}

#[tokio::test]
async fn a_quiet_alarm_lets_a_deployment_end_after_its_minutes() {
    let plan = deploy(
        "first",
        json!({"alarmGuard": {"alarms": ["shop-5xx"], "minutesAfter": 10}}),
    );
    let drive = begin(&plan).await;
    drive.world.set_alarm("shop-5xx", 0, AlarmState::Ok);
    let began = drive.world.now();
    assert_eq!(go(&drive, &plan).await, None);
    assert!(drive.world.now() - began >= 600_000);
    assert_eq!(
        groups(&drive, "shop-web"),
        [group("shop-web-v001", false), group("shop-web-v002", true)]
    );
}

#[tokio::test]
async fn an_alarm_does_not_keep_a_deployment_from_rolling_itself_back() {
    let strategy = json!({"strategy": "redblack", "rollback": {"onFailure": true}});
    let (drive, plan, _) = alarmed(strategy, 15).await;
    let rollback = plan
        .stages
        .iter()
        .find(|stage| stage.stage_type == "rollbackCluster")
        .unwrap();
    let _ = to_end(&drive, &plan, &rollback.ref_id).await;
    let record = drive
        .records()
        .await
        .unwrap()
        .remove(&rollback.ref_id)
        .unwrap();
    assert_eq!(record.status, Status::Succeeded, "{:?}", record.failure);
    assert_eq!(
        groups(&drive, "shop-web"),
        [group("shop-web-v001", true), group("shop-web-v002", false)]
    );
}

#[tokio::test]
async fn a_misspelt_alarm_stops_a_deployment_before_anything_is_made() {
    let plan = deploy("first", json!({"alarmGuard": {"alarms": ["shop-5xy"]}}));
    let drive = begin(&plan).await;
    let reason = go(&drive, &plan).await.unwrap();
    assert!(
        reason.contains("alarm `shop-5xy` not found in prod/us-east-1"),
        "{reason}"
    );
    assert!(drive.world.groups_made().is_empty());
}

#[tokio::test]
async fn a_deployment_that_could_not_go_back_stops_before_it_makes_anything() {
    for strategy in ["redblack", "highlander", "rollingredblack"] {
        let plan = deploy("first", json!({ "strategy": strategy }));
        let drive = begin(&plan).await;
        drive.world.deregister_image("ami-1");
        let reason = go(&drive, &plan).await.unwrap();
        assert!(
            reason.contains(
                "could not go back to server group `shop-web-v001` in prod/us-east-1: its image `ami-1` is not registered"
            ),
            "{strategy}: {reason}"
        );
        assert!(drive.world.groups_made().is_empty());

        let drive = begin(&plan).await;
        drive.world.delete_template_of("shop-web-v001");
        let reason = go(&drive, &plan).await.unwrap();
        assert!(
            reason.contains("of its launch template `lt-shop-web-v001` is gone"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_deployment_that_can_go_back_no_more_stops_before_it_touches_the_old_group() {
    let plan = deploy("first", json!({}));
    let drive = begin(&plan).await;
    assert!(call(&drive, &plan, CREATE).await.is_some());
    drive.world.deregister_image("ami-1");
    let reason = go(&drive, &plan).await.unwrap();
    assert!(reason.contains("`ami-1` is not registered"), "{reason}");
    assert_eq!(
        groups(&drive, "shop-web"),
        [group("shop-web-v001", true), group("shop-web-v002", true)]
    );
}

#[tokio::test]
async fn a_deployment_whose_groups_cannot_run_at_once_stops_before_it_makes_anything() {
    // v001 and what is to follow it have three instances each, of two vCPUs.
    for (quota, refused) in [(11, true), (12, false)] {
        let plan = deploy("first", json!({}));
        let drive = begin(&plan).await;
        drive.world.set_vcpu_quota(quota);
        let failed = go(&drive, &plan).await;
        assert_eq!(failed.is_some(), refused, "{quota}: {failed:?}");
        if let Some(reason) = failed {
            assert!(
                reason.contains("both server groups need 12 vCPUs, the account's quota is 11"),
                "{reason}"
            );
            assert!(drive.world.groups_made().is_empty());
        }
    }
}

#[tokio::test]
async fn a_deployment_goes_on_where_it_is_told_to_or_nothing_is_taken_away() {
    for (more, warned) in [
        (json!({"rollbackReadiness": "warn"}), true),
        (json!({"rollbackReadiness": "ignore"}), false),
        (json!({"strategy": ""}), false),
    ] {
        let plan = deploy("first", more.clone());
        let drive = begin(&plan).await;
        drive.world.deregister_image("ami-1");
        assert_eq!(go(&drive, &plan).await, None, "{more}");
        let record = drive.records().await.unwrap().remove(CREATE).unwrap();
        let warning = record
            .context
            .get("rollbackWarning")
            .and_then(Value::as_str);
        assert_eq!(
            warning.is_some_and(|text| text.contains("`ami-1`")),
            warned,
            "{more}"
        );
    }
    let plan = plan_of(
        "first",
        "deploy",
        json!({"clusters": [cluster("new", json!({}))]}),
    );
    let drive = begin(&plan).await;
    assert_eq!(
        go(&drive, &plan).await,
        None,
        "the first group of a cluster"
    );
}
