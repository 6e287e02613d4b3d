//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_create_server_group::CreateServerGroup;
use gennaker_domain::deployment::Capacity;
use gennaker_server_groups::{TrafficSources, traffic};
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

fn config(more: Value) -> Value {
    let mut config = json!({
        "account": "prod", "region": "us-east-1", "application": "shop", "stack": "web",
        "subnetType": "internal", "securityGroups": ["shop"], "targetGroups": ["web", "api"], "loadBalancers": ["classic"],
        "instanceType": "t3.small", "capacity": {"min": 1, "desired": 3, "max": 6}, "imageId": "ami-2",
    });
    let fields = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(fields);
    config
}

/// A cluster with v001, which serves from two instances.
async fn one_group(context: Value, behaviour: Behaviour) -> (Drive, String) {
    let plan = vec![drive::stage(
        "1",
        "createServerGroup",
        "create-server-group",
        context,
    )];
    let drive = Drive::new(behaviour, plan).await.unwrap();
    let (web, _) = (
        drive.world.add_target_group("web"),
        drive.world.add_target_group("api"),
    );
    drive.world.add_load_balancer("classic");
    drive.world.add_image("ami-2", "shop-2.0");
    drive.world.add_subnet("subnet-1", "internal");
    drive.world.add_security_group("sg-1", "shop");
    let capacity = Capacity::new(1, 2, 6).unwrap();
    drive.world.add_group(
        "shop-web-v001",
        "ami-1",
        capacity,
        std::slice::from_ref(&web),
    );
    drive.world.advance(60_000);
    (drive, web)
}

fn stage(drive: &Drive) -> CreateServerGroup {
    let world = Arc::new(drive.world.clone());
    CreateServerGroup::new(world.clone(), world, 2)
}

fn failure(end: End) -> String {
    match end {
        End::Failed(reason) => reason,
        other => panic!("{other:?} is not a failure"),
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_field_place_and_what_exists_before_anything_is_made() {
    for (field, said) in [
        (
            json!({"keyPair": "op"}),
            "key pair `op` not found; there are ops, in prod/us-east-1 (`keyPair`)",
        ),
        (
            json!({"instanceType": "t3.none"}),
            "instance type `t3.none` is not offered; of `t3` there are t3.large, in prod/us-east-1 (`instanceType`)",
        ),
        (
            json!({"iamRole": "web"}),
            "instance profile `web` not found; there are BaseIAMRole, in prod/us-east-1 (`iamRole`)",
        ),
        (
            json!({"iamRole": "arn:aws:iam::123456789012:instance-profile/teams/web"}),
            "instance profile `web` not found; there are BaseIAMRole, in prod/us-east-1 (`iamRole`)",
        ),
        (
            json!({"targetGroups": ["weg"]}),
            "target group `weg` not found; there are api, web, in prod/us-east-1 (`targetGroups`)",
        ),
        (
            json!({"loadBalancers": ["clasic"]}),
            "classic load balancer `clasic` not found; there are classic, in prod/us-east-1 (`loadBalancers`)",
        ),
    ] {
        let (drive, _) = one_group(config(field), Behaviour::default()).await;
        drive.world.add_key_pair("ops");
        drive.world.withdraw_instance_type("t3.none");
        drive.world.remove_instance_profile("web");
        let before = drive.world.template_versions();
        let end = failure(drive.to_end(&drive.runtime(stage(&drive)), "1").await);
        assert_eq!(end, format!("stage `1` (1): {said}"));
        assert_eq!(drive.world.template_versions(), before);
        assert!(drive.world.groups_made().is_empty());
    }
    let (drive, _) = one_group(config(json!({"keyPair": "ops"})), Behaviour::default()).await;
    drive.world.add_key_pair("ops");
    assert_eq!(
        drive.to_end(&drive.runtime(stage(&drive)), "1").await,
        End::Done
    );
}

#[tokio::test]
async fn creates_the_next_group_and_waits_until_it_is_healthy_wherever_it_is_attached() {
    let (drive, web) = one_group(config(json!({})), Behaviour::default()).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    let group = drive.world.group("shop-web-v002").unwrap();
    assert_eq!(group.capacity, Capacity::new(1, 3, 6).unwrap());
    assert_eq!(group.target_groups.len(), 2);
    assert_eq!(drive.world.healthy_targets(&web), 5);
    assert_eq!(drive.world.healthy_targets("classic"), 3);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(
        record.outputs["deploy.server.groups"],
        json!({"us-east-1": ["shop-web-v002"]})
    );
    assert_eq!(record.outputs["source"]["serverGroupName"], "shop-web-v001");
    assert_eq!(record.outputs["targetDesiredSize"], 3);
}

#[tokio::test]
async fn waits_for_a_classic_load_balancer_as_for_a_target_group() {
    let bad = Behaviour {
        bad_images: vec!["ami-2".to_owned()],
        ..Behaviour::default()
    };
    let context = config(json!({"targetGroups": [], "stageTimeoutMs": 600_000}));
    let (drive, _) = one_group(context, bad).await;
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let _ = drive.call(&runtime, &event).await;
    drive.world.advance(300_000);
    // Auto Scaling is content with the instances: the load balancer alone is not.
    let (name, reason) = drive.call(&runtime, &event).await.unwrap();
    assert!(name.starts_with("Waiting"), "{name}: {reason}");
    assert!(reason.contains("0 of 3 instances healthy"), "{reason}");
}

#[tokio::test]
async fn dies_at_every_call_and_still_creates_exactly_one_group() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = one_group(config(json!({})), Behaviour::default()).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(drive.world.groups_made(), ["shop-web-v002"], "{strike:?}");
        assert_eq!(drive.world.snapshot().len(), 2, "{strike:?}");
        // v001's own, and one for the new group.
        assert_eq!(drive.world.template_versions(), 2, "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&web), 5, "{strike:?}");
        let record = drive.records().await.unwrap().remove("1").unwrap();
        assert_eq!(record.outputs["source"]["serverGroupName"], "shop-web-v001");
        assert_eq!(drive.faults.struck(), usize::from(strike.is_some()));
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn undone_after_any_crash_nothing_is_left_and_the_old_group_serves() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = one_group(config(json!({})), Behaviour::default()).await;
        drive.world.add_scaling_alarm("shop-web-v001", "busy");
        let runtime = drive.runtime(stage(&drive));
        drive.faults.arm(strike);
        let event = json!({ "run": drive.run(), "stage": "1" });
        let _ = drive.call(&runtime, &event).await;
        let calls = drive.faults.calls().len();
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let names: Vec<String> = drive.world.snapshot().into_iter().map(|g| g.name).collect();
        assert_eq!(names, ["shop-web-v001"], "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&web), 2, "{strike:?}");
        assert_eq!(drive.world.template_versions(), 1, "{strike:?}");
        assert_eq!(drive.world.alarm_names(), ["busy"], "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 40);
}

#[tokio::test]
async fn dies_at_every_call_of_the_undo_and_nothing_is_left() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = one_group(config(json!({})), Behaviour::default()).await;
        drive.world.add_scaling_alarm("shop-web-v001", "busy");
        let runtime = drive.runtime(stage(&drive));
        let event = json!({ "run": drive.run(), "stage": "1" });
        drive.call(&runtime, &event).await;
        let first = drive.faults.calls().len();
        drive.faults.arm(strike);
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let calls = drive.faults.calls().len() - first;
        assert_eq!(drive.world.snapshot().len(), 1, "{strike:?}");
        assert_eq!(drive.world.healthy_targets(&web), 2, "{strike:?}");
        assert_eq!(drive.world.template_versions(), 1, "{strike:?}");
        assert_eq!(drive.world.alarm_names(), ["busy"], "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 10);
}

#[tokio::test]
async fn an_undo_whose_descriptions_miss_the_new_group_leaves_nothing_either() {
    let calls = {
        let (clean, _) = one_group(config(json!({})), Behaviour::default()).await;
        let runtime = clean.runtime(stage(&clean));
        let event = json!({ "run": clean.run(), "stage": "1" });
        clean.call(&runtime, &event).await;
        let first = clean.faults.calls().len();
        assert_eq!(clean.undo(&runtime, "1").await.unwrap(), End::Done);
        clean.faults.calls().split_off(first)
    };
    let looks = calls.iter().enumerate();
    let looks = looks.filter(|(_, call)| call.ends_with("DescribeAutoScalingGroups"));
    for (at, _) in looks {
        let (drive, _) = one_group(config(json!({})), Behaviour::default()).await;
        let runtime = drive.runtime(stage(&drive));
        let event = json!({ "run": drive.run(), "stage": "1" });
        drive.call(&runtime, &event).await;
        let first = drive.faults.calls().len();
        let stale = gennaker_testkit::Fault::Stale;
        drive
            .faults
            .plan(first + at, gennaker_testkit::Moment::Before, stale);
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        assert_eq!(drive.faults.struck(), 1, "call {at}");
        assert_eq!(drive.world.snapshot().len(), 1, "call {at}");
        assert_eq!(drive.world.template_versions(), 1, "call {at}");
    }
}

#[tokio::test]
async fn a_launch_template_version_that_another_group_launches_stays_when_the_group_goes() {
    let (drive, _) = one_group(config(json!({})), Behaviour::default()).await;
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    drive.call(&runtime, &event).await;
    drive.world.share_template("shop-web-v002", "shop-web-v001");
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert!(drive.world.group("shop-web-v002").is_none());
    assert_eq!(
        drive.world.launch_data("shop-web-v001").unwrap().image,
        "ami-2"
    );
}

#[tokio::test]
async fn scaling_policies_are_copied_with_the_alarms_that_they_go_by() {
    let (drive, _) = one_group(config(json!({})), Behaviour::default()).await;
    drive.world.add_scaling("shop-web-v001", &["up"]);
    for alarm in ["busy", "shop-web-v001-idle"] {
        drive.world.add_scaling_alarm("shop-web-v001", alarm);
    }
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    assert_eq!(drive.world.scaling("shop-web-v002"), ["up"]);
    let alarms = drive.world.alarm_names();
    assert_eq!(
        alarms,
        [
            "busy",
            "busy-shop-web-v002",
            "shop-web-v001-idle",
            "shop-web-v002-idle"
        ]
    );
}

#[tokio::test]
async fn descriptions_that_lag_behind_make_no_second_group() {
    let behaviour = Behaviour {
        consistency_millis: 25_000,
        ..Behaviour::default()
    };
    let (drive, _) = one_group(config(json!({})), behaviour).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    assert_eq!(drive.world.groups_made(), ["shop-web-v002"]);
    assert_eq!(drive.world.template_versions(), 2);
}

#[tokio::test]
async fn an_image_that_never_becomes_healthy_fails_the_stage_and_leaves_the_old_group_alone() {
    let (drive, web) = one_group(config(json!({})), Behaviour::default()).await;
    drive.world.mark_bad("ami-2");
    let reason = failure(drive.to_end(&drive.runtime(stage(&drive)), "1").await);
    assert!(reason.contains("0 of 3 instances healthy"), "{reason}");
    assert_eq!(drive.world.healthy_targets(&web), 2);
    assert!(!traffic::is_disabled(
        &drive.world.group("shop-web-v001").unwrap()
    ));
}

#[tokio::test]
async fn a_name_that_somebody_else_takes_meanwhile_is_left_to_them() {
    let (drive, _) = one_group(config(json!({})), Behaviour::default()).await;
    let runtime = drive.runtime(stage(&drive));
    // Dies just before the group is created; then another deployment takes v002.
    let create = {
        let (clean, _) = one_group(config(json!({})), Behaviour::default()).await;
        let end = clean.to_end(&clean.runtime(stage(&clean)), "1").await;
        assert_eq!(end, End::Done);
        let calls = clean.faults.calls();
        calls
            .iter()
            .position(|call| call == "autoscaling:CreateAutoScalingGroup")
            .unwrap()
    };
    drive.faults.plan(
        create,
        gennaker_testkit::Moment::Before,
        gennaker_testkit::Fault::Crash,
    );
    let event = json!({ "run": drive.run(), "stage": "1" });
    let _ = drive.call(&runtime, &event).await;
    drive
        .world
        .add_group("shop-web-v002", "ami-1", Capacity::fixed(1), &[]);
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(drive.world.groups_made(), ["shop-web-v003"]);
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    let names: Vec<String> = drive.world.snapshot().into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["shop-web-v001", "shop-web-v002"]);
}

#[tokio::test]
async fn the_capacity_of_the_source_is_copied_with_its_minimum_raised() {
    let context = config(json!({"useSourceCapacity": true}));
    let (drive, _) = one_group(context, Behaviour::default()).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    let group = drive.world.group("shop-web-v002").unwrap();
    assert_eq!(group.capacity, Capacity::new(2, 2, 6).unwrap());
}

#[tokio::test]
async fn a_group_that_starts_disabled_takes_no_traffic_and_remembers_what_it_is_to_be_attached_to()
{
    let context = config(json!({"suspendedProcesses": ["AddToLoadBalancer"]}));
    let (drive, web) = one_group(context, Behaviour::default()).await;
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    let group = drive.world.group("shop-web-v002").unwrap();
    assert!(traffic::is_disabled(&group));
    let later = TrafficSources::remembered(&group);
    assert_eq!(later.target_groups.len(), 2);
    assert_eq!(later.load_balancers, ["classic"]);
    assert_eq!(drive.world.healthy_targets(&web), 2);
    assert_eq!(drive.world.healthy_targets("classic"), 0);
}

#[tokio::test]
async fn what_does_not_exist_is_told_before_anything_is_made() {
    for (more, word) in [
        (json!({"subnetType": "nowhere"}), "internal"),
        (json!({"securityGroups": ["db"]}), "there are shop"),
        (json!({"targetGroups": ["db"]}), "there are api, web"),
        (json!({"imageId": "ami-9"}), "`ami-9` not found"),
        (json!({"imageId": null}), "no image"),
        (json!({"account": "pord"}), "`pord`"),
        (json!({"region": "eu-west-1"}), "us-east-1"),
        (
            json!({"capacity": {"min": 3, "desired": 1, "max": 6}}),
            "capacity",
        ),
    ] {
        let (drive, _) = one_group(config(more), Behaviour::default()).await;
        let reason = failure(drive.to_end(&drive.runtime(stage(&drive)), "1").await);
        assert!(reason.contains(word), "{reason}");
        assert!(drive.world.groups_made().is_empty());
        assert_eq!(drive.intents().await.unwrap(), []);
    }
}
