//! The stage against the world: safe to repeat, safe to die, clean to undo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Account;
use gennaker_cloud::instance_refresh::{InstanceRefreshes, RefreshPreferences};
use gennaker_domain::deployment::Capacity;
use gennaker_instance_refresh::InstanceRefresh;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const NAME: &str = "shop-web-v001";
const PROD: &str = "200000000000";
const BAKE: &str = "300000000000";

/// A group of four in traffic, of `ami-1`; `ami-2` is there, `ami-bad` never becomes healthy.
async fn four(more: Value) -> (Drive, String) {
    let mut context = json!({"credentials": "prod", "region": "us-east-1", "serverGroupName": NAME, "minHealthyPercentage": 50});
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let plan = vec![drive::stage(
        "1",
        "instanceRefresh",
        "instance-refresh",
        context,
    )];
    let behaviour = Behaviour {
        bad_images: vec!["ami-bad".to_owned()],
        ..Behaviour::default()
    };
    let drive = Drive::new(behaviour, plan).await.unwrap();
    let web = drive.world.add_target_group("web");
    for (id, name) in [
        ("ami-1", "shop-1"),
        ("ami-2", "shop-2"),
        ("ami-bad", "shop-bad"),
    ] {
        drive.world.add_image(id, name);
    }
    let target_groups = std::slice::from_ref(&web);
    drive
        .world
        .add_group(NAME, "ami-1", Capacity::fixed(4), target_groups);
    drive.world.advance(60_000);
    (drive, web)
}

fn stage(drive: &Drive) -> InstanceRefresh {
    let world = Arc::new(drive.world.clone());
    InstanceRefresh::new(world.clone(), world)
}

/// The image that the group launches, the images that its instances run, and how many of them are healthy.
fn state(drive: &Drive, web: &str) -> (String, Vec<String>, usize) {
    drive.world.advance(60_000);
    let launches = drive.world.launch_data(NAME).unwrap().image;
    (
        launches,
        drive.world.images_of(NAME),
        drive.world.healthy_targets(web),
    )
}

fn all(image: &str) -> (String, Vec<String>, usize) {
    (image.to_owned(), vec![image.to_owned(); 4], 4)
}

/// The same in an account of its own, where nobody sees `ami-b`: that is another's.
async fn four_elsewhere() -> (Drive, String) {
    let (drive, web) = four(json!({"imageId": "ami-b"})).await;
    for (name, id) in [("prod", PROD), ("bake", BAKE)] {
        let account = Account {
            name: name.to_owned(),
            account_id: id.to_owned(),
            role: Some(format!("arn:aws:iam::{id}:role/gennaker-managed")),
            ..Account::default()
        };
        account.save(&drive.store()).await.unwrap();
    }
    drive.world.add_private_image(gennaker_cloud::ec2::Image {
        id: "ami-b".to_owned(),
        owner: BAKE.to_owned(),
        state: "available".to_owned(),
        tags: [("appversion".to_owned(), "shop-2.0".to_owned())].into(),
        ..gennaker_cloud::ec2::Image::default()
    });
    (drive, web)
}

#[tokio::test]
async fn dies_at_every_call_and_every_instance_runs_the_image() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = four(json!({"imageId": "ami-2"})).await;
        let first = drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let calls = drive.faults.calls().len() - first;
        assert_eq!(state(&drive, &web), all("ami-2"), "{strike:?}");
        assert!(drive.world.fewest_healthy().unwrap() >= 2, "{strike:?}");
        // Started once: what is there is found.
        assert_eq!(
            drive.world.refreshes(NAME).await.unwrap().len(),
            1,
            "{strike:?}"
        );
        calls
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test]
async fn undone_after_any_crash_every_instance_runs_what_it_ran() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = four(json!({"amiName": "shop-2"})).await;
        let first = drive.faults.arm(strike);
        let runtime = drive.runtime(stage(&drive));
        let event = json!({ "run": drive.run(), "stage": "1" });
        for _ in 0..100 {
            let over = drive.call(&runtime, &event).await.is_none();
            if over || drive.faults.struck() > 0 {
                break;
            }
            drive.world.advance(10_000);
        }
        let calls = drive.faults.calls().len() - first;
        assert_eq!(
            drive.undo(&runtime, "1").await.unwrap(),
            End::Done,
            "{strike:?}"
        );
        // Also after its end: then instances are replaced once more.
        assert_eq!(state(&drive, &web), all("ami-1"), "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 30);
}

#[tokio::test]
async fn dies_at_every_call_of_the_undo_and_the_instances_are_those_of_before() {
    for polls in [3, 40] {
        let scenario = |strike: Option<Strike>| async move {
            let (drive, web) = four(json!({"imageId": "ami-2", "autoRollback": false})).await;
            let runtime = drive.runtime(stage(&drive));
            let event = json!({ "run": drive.run(), "stage": "1" });
            for _ in 0..polls {
                // Not the last look: the stage is still at work, its refresh perhaps over.
                if drive
                    .world
                    .refreshes(NAME)
                    .await
                    .unwrap()
                    .iter()
                    .any(|one| !one.is_active())
                {
                    break;
                }
                drive.call(&runtime, &event).await;
                drive.world.advance(10_000);
            }
            let first = drive.faults.arm(strike);
            assert_eq!(
                drive.undo(&runtime, "1").await.unwrap(),
                End::Done,
                "{strike:?}"
            );
            let calls = drive.faults.calls().len() - first;
            assert_eq!(state(&drive, &web), all("ami-1"), "{strike:?}");
            calls
        };
        assert!(fault_everywhere(scenario).await > 10);
    }
}

#[tokio::test]
async fn a_bad_image_fails_the_stage_and_the_refresh_rolls_itself_back() {
    let (drive, web) = four(json!({"imageId": "ami-bad"})).await;
    let runtime = drive.runtime(stage(&drive));
    let End::Failed(reason) = drive.to_end(&runtime, "1").await else {
        panic!("a bad image is taken");
    };
    assert!(reason.contains("rolled itself back"), "{reason}");
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert_eq!(state(&drive, &web), all("ami-1"));
}

#[tokio::test]
async fn without_an_image_every_instance_is_replaced_by_one_of_its_kind() {
    let (drive, web) = four(json!({})).await;
    let ids = |drive: &Drive| -> Vec<String> {
        let group = drive.world.group(NAME).unwrap();
        group.instances.into_iter().map(|one| one.id).collect()
    };
    let before = ids(&drive);
    let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
    assert_eq!(end, End::Done);
    assert_eq!(state(&drive, &web), all("ami-1"));
    assert!(ids(&drive).iter().all(|id| !before.contains(id)));
}

#[tokio::test]
async fn somebody_elses_refresh_is_waited_for() {
    let (drive, web) = four(json!({"imageId": "ami-2"})).await;
    let preferences = RefreshPreferences::default();
    drive
        .world
        .start_refresh(NAME, None, &preferences)
        .await
        .unwrap();
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let (_, reason) = drive.call(&runtime, &event).await.unwrap();
    assert!(reason.contains("somebody else began"), "{reason}");
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(state(&drive, &web), all("ami-2"));
}

#[tokio::test]
async fn dies_at_every_call_and_the_image_of_another_account_is_shared_and_runs() {
    let scenario = |strike: Option<Strike>| async move {
        let (drive, web) = four_elsewhere().await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let calls = drive.faults.calls().len();
        assert_eq!(state(&drive, &web), all("ami-b"), "{strike:?}");
        let shared = format!("ami-b with {PROD} [appversion=shop-2.0]");
        assert_eq!(drive.world.shares(), [shared], "{strike:?}");
        calls
    };
    assert!(fault_everywhere(scenario).await > 60);
}

#[tokio::test]
async fn canceled_the_instances_are_those_of_before_and_the_image_stays_shared() {
    let (drive, web) = four_elsewhere().await;
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    for _ in 0..4 {
        drive.call(&runtime, &event).await;
        drive.world.advance(10_000);
    }
    assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
    assert_eq!(state(&drive, &web), all("ami-1"));
    assert_eq!(drive.world.shares().len(), 1);
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_made() {
    for (wrong, said) in [
        (
            json!({"imageId": "ami-none"}),
            "image `ami-none` not found in prod/us-east-1 (`imageId`)",
        ),
        (
            json!({"amiName": "none"}),
            "image `none` not found in prod/us-east-1 (`amiName`)",
        ),
        (json!({"minHealthyPercentage": 200}), "minHealthyPercentage"),
        (json!({"serverGroupName": "shop-web-v009"}), "shop-web-v009"),
    ] {
        let (drive, web) = four(wrong).await;
        let versions = drive.world.template_versions();
        let End::Failed(reason) = drive.to_end(&drive.runtime(stage(&drive)), "1").await else {
            panic!("{said} is taken");
        };
        assert!(reason.contains(said), "{reason}");
        assert_eq!(drive.world.template_versions(), versions);
        assert_eq!(state(&drive, &web), all("ami-1"));
    }
}
