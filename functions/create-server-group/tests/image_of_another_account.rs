//! An image that another account owns: shared with the account that is deployed to, tags and all, before anything is made.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::ec2::Image;
use gennaker_cloud::{Account, CloudError};
use gennaker_create_server_group::CreateServerGroup;
use gennaker_domain::deployment::Capacity;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const PROD: &str = "200000000000";
const BAKE: &str = "300000000000";
const CI: &str = "400000000000";
/// The account that the functions run in, which has no record.
const OWN: &str = "123456789012";

fn image(owner: &str, id: &str, day: u32) -> Image {
    Image {
        id: id.to_owned(),
        name: "shop-2.0".to_owned(),
        owner: owner.to_owned(),
        state: "available".to_owned(),
        created: format!("2026-02-{day:02}T00:00:00.000Z"),
        tags: [
            ("appversion", "shop-2.0-h7.abc/shop/7"),
            ("aws:backup", "x"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ..Image::default()
    }
}

/// That `prod` may launch an image and has its tags.
fn shared(id: &str) -> String {
    format!("{id} with {PROD} [appversion=shop-2.0-h7.abc/shop/7]")
}

/// A deploy to `prod`; there are `bake` and `ci`, too.
async fn deploy(more: Value, behaviour: Behaviour) -> Drive {
    let mut context = json!({
        "account": "prod", "region": "us-east-1", "application": "shop", "stack": "web",
        "availabilityZones": {"us-east-1": ["us-east-1a"]}, "instanceType": "t3.small",
        "capacity": {"min": 1, "desired": 1, "max": 1}, "imageId": "ami-2",
    });
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let stage = drive::stage("1", "createServerGroup", "create-server-group", context);
    let drive = Drive::new(behaviour, vec![stage]).await.unwrap();
    for (name, id) in [("prod", PROD), ("bake", BAKE), ("ci", CI)] {
        let account = Account {
            name: name.to_owned(),
            account_id: id.to_owned(),
            role: Some(format!("arn:aws:iam::{id}:role/gennaker-managed")),
            regions: vec!["us-east-1".to_owned()],
        };
        account.save(&drive.store()).await.unwrap();
    }
    drive
        .world
        .add_group("shop-web-v001", "ami-1", Capacity::fixed(1), &[]);
    drive.world.advance(60_000);
    drive
}

fn stage(drive: &Drive) -> CreateServerGroup {
    let world = Arc::new(drive.world.clone());
    CreateServerGroup::new(world.clone(), world, 2)
}

async fn to_end(drive: &Drive) -> End {
    drive.to_end(&drive.runtime(stage(drive)), "1").await
}

async fn refusal(drive: &Drive) -> String {
    match to_end(drive).await {
        End::Failed(reason) => reason,
        other => panic!("{other:?} is not a failure"),
    }
}

/// The image that the new group launches.
fn launched(drive: &Drive) -> Option<String> {
    let data = drive.world.launch_data("shop-web-v002")?;
    Some(data.image)
}

fn count(drive: &Drive, call: &str) -> usize {
    let calls = drive.faults.calls();
    calls.iter().filter(|made| *made == call).count()
}

fn denied() -> CloudError {
    CloudError::Refused {
        operation: "ec2:DescribeImages".to_owned(),
        resource: "ami-2".to_owned(),
        code: "UnauthorizedOperation".to_owned(),
        message: "You are not authorized".to_owned(),
        request_id: "r-1".to_owned(),
    }
}

fn not_assumed() -> CloudError {
    CloudError::NoAnswer {
        operation: "ec2:DescribeImages".to_owned(),
        resource: "ami-2".to_owned(),
        message: "no credentials: AccessDenied: sts:AssumeRole".to_owned(),
    }
}

#[tokio::test]
async fn is_shared_with_its_tags_before_the_group_is_created() {
    for asked in [
        json!({}),
        json!({"imageId": "AMI-2"}),
        json!({"imageId": null, "amiName": "shop-2.0"}),
    ] {
        let drive = deploy(asked.clone(), Behaviour::default()).await;
        drive.world.add_private_image(image(BAKE, "ami-2", 1));
        assert_eq!(to_end(&drive).await, End::Done, "{asked}");
        assert_eq!(launched(&drive).as_deref(), Some("ami-2"), "{asked}");
        assert_eq!(drive.world.shares(), [shared("ami-2")], "{asked}");
        assert_eq!(count(&drive, "ec2:ModifyImageAttribute"), 1, "{asked}");
    }
}

#[tokio::test]
async fn is_found_where_the_functions_run_also_without_a_record() {
    let drive = deploy(json!({}), Behaviour::default()).await;
    drive.world.add_private_image(image(OWN, "ami-2", 1));
    assert_eq!(to_end(&drive).await, End::Done);
    assert_eq!(drive.world.shares(), [shared("ami-2")]);
}

#[tokio::test]
async fn what_is_visible_already_costs_no_call_more_than_ever() {
    let seen = |how: fn(&Drive)| async move {
        let drive = deploy(json!({}), Behaviour::default()).await;
        how(&drive);
        assert_eq!(to_end(&drive).await, End::Done);
        assert_eq!(count(&drive, "ec2:ModifyImageAttribute"), 0);
        assert_eq!(count(&drive, "ec2:CreateTags"), 0);
        drive.faults.calls()
    };
    let own = seen(|drive| drive.world.add_private_image(image(PROD, "ami-2", 1))).await;
    let public = seen(|drive| {
        drive.world.add_private_image(image(BAKE, "ami-2", 1));
        drive.world.make_public("ami-2");
    });
    let third_partys = seen(|drive| {
        drive
            .world
            .add_private_image(image("999999999999", "ami-2", 1));
        drive.world.permit("ami-2", PROD);
    });
    assert_eq!(own, public.await);
    assert_eq!(own, third_partys.await);
}

#[tokio::test]
async fn a_strangers_public_image_is_never_launched_by_its_name() {
    const STRANGER: &str = "999999999999";
    let named = || {
        deploy(
            json!({"imageId": null, "amiName": "shop-2.0"}),
            Behaviour::default(),
        )
    };
    let with_bait = |drive: &Drive| {
        drive
            .world
            .add_private_image(image(STRANGER, "ami-bait", 28));
        drive.world.make_public("ami-bait");
    };
    // Older ones: the account's own, another account's that it sees, one that is shared first, a vendor's.
    for (owner, permitted) in [
        (PROD, false),
        (BAKE, true),
        (BAKE, false),
        ("888888888888", true),
    ] {
        let drive = named().await;
        with_bait(&drive);
        drive.world.add_private_image(image(owner, "ami-2", 1));
        if permitted {
            drive.world.permit("ami-2", PROD);
        }
        assert_eq!(to_end(&drive).await, End::Done, "{owner}");
        assert_eq!(launched(&drive).as_deref(), Some("ami-2"), "{owner}");
    }
    let drive = named().await;
    with_bait(&drive);
    let reason = refusal(&drive).await;
    let expected = format!(
        "; ami-bait of that name is public and of account {STRANGER}, which is not known here: who wants it names it by its id (`imageId`)"
    );
    assert!(reason.ends_with(&expected), "{reason}");
    assert!(drive.world.groups_made().is_empty());
    // By its id it is meant.
    let drive = deploy(json!({"imageId": "ami-bait"}), Behaviour::default()).await;
    with_bait(&drive);
    assert_eq!(to_end(&drive).await, End::Done);
    assert_eq!(launched(&drive).as_deref(), Some("ami-bait"));
}

#[tokio::test]
async fn stale_tags_go_and_those_of_aws_are_let_be() {
    let drive = deploy(json!({}), Behaviour::default()).await;
    drive.world.add_private_image(image(BAKE, "ami-2", 1));
    for (key, value) in [("appversion", "old"), ("stale", "1"), ("aws:theirs", "x")] {
        drive.world.tag_shared_image("ami-2", PROD, key, value);
    }
    assert_eq!(to_end(&drive).await, End::Done);
    let expected = format!("ami-2 with {PROD} [appversion=shop-2.0-h7.abc/shop/7, aws:theirs=x]");
    assert_eq!(drive.world.shares(), [expected]);
}

#[tokio::test]
async fn of_several_images_of_a_name_the_order_of_accounts_and_then_of_time_decides() {
    let named = json!({"imageId": null, "amiName": "shop-2.0"});
    let from_bake = json!({"imageId": null, "amiDetails": [{"region": "us-east-1", "imageName": "shop-2.0", "account": "bake"}]});
    for (context, images, expected) in [
        (&named, vec![(BAKE, "ami-b", 1), (CI, "ami-c", 2)], "ami-c"),
        (&named, vec![(BAKE, "ami-b", 2), (CI, "ami-c", 1)], "ami-b"),
        (&named, vec![(BAKE, "ami-b", 2), (CI, "ami-c", 2)], "ami-b"),
        (
            &named,
            vec![(BAKE, "ami-b", 2), (OWN, "ami-o", 1), (CI, "ami-c", 3)],
            "ami-o",
        ),
        (
            &from_bake,
            vec![(BAKE, "ami-b", 1), (OWN, "ami-o", 2), (CI, "ami-c", 3)],
            "ami-b",
        ),
        (&from_bake, vec![(OWN, "ami-o", 2)], "ami-o"),
    ] {
        let drive = deploy(context.clone(), Behaviour::default()).await;
        for (owner, id, day) in &images {
            drive.world.add_private_image(image(owner, id, *day));
        }
        assert_eq!(to_end(&drive).await, End::Done, "{images:?}");
        assert_eq!(launched(&drive).as_deref(), Some(expected), "{images:?}");
        assert_eq!(drive.world.shares(), [shared(expected)], "{images:?}");
    }
}

#[tokio::test]
async fn an_account_that_cannot_be_asked_hides_no_image_of_another() {
    for closed in [denied(), not_assumed()] {
        for asked in [json!({}), json!({"imageId": null, "amiName": "shop-2.0"})] {
            let drive = deploy(asked.clone(), Behaviour::default()).await;
            drive.world.close_account(CI, closed.clone());
            drive.world.close_account(OWN, closed.clone());
            drive.world.add_private_image(image(BAKE, "ami-2", 1));
            assert_eq!(to_end(&drive).await, End::Done, "{asked} {closed}");
            assert_eq!(drive.world.shares(), [shared("ami-2")]);
        }
    }
}

#[tokio::test]
async fn that_nobody_has_it_is_told_with_all_who_were_asked_and_who_could_not_be() {
    for closed in [denied(), not_assumed()] {
        let drive = deploy(json!({}), Behaviour::default()).await;
        drive.world.close_account(CI, closed.clone());
        assert_eq!(
            refusal(&drive).await,
            format!(
                "stage `1` (1): image `ami-2` not found in prod/us-east-1, nor among the images of the functions' own \
                 account, bake; ci could not be asked: {closed} (`imageId`)"
            )
        );
        assert!(drive.world.groups_made().is_empty());
        assert_eq!(drive.intents().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_refusal_to_share_is_told_with_operation_image_and_request() {
    let drive = deploy(json!({}), Behaviour::default()).await;
    drive.world.add_private_image(image(BAKE, "ami-2", 1));
    let why = "Snapshots encrypted with the AWS managed key cannot be shared";
    drive.world.refuse_to_share("ami-2", why);
    let reason = refusal(&drive).await;
    for word in [
        "`ec2:ModifyImageAttribute` on `ami-2`",
        why,
        "(request testkit)",
    ] {
        assert!(reason.contains(word), "{reason}");
    }
    assert!(drive.world.groups_made().is_empty());
}

#[tokio::test]
async fn is_waited_for_until_it_shows_and_not_for_ever() {
    let slow = |sharing_millis| Behaviour {
        sharing_millis,
        ..Behaviour::default()
    };
    let drive = deploy(json!({}), slow(45_000)).await;
    drive.world.add_private_image(image(BAKE, "ami-2", 1));
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let (name, reason) = drive.call(&runtime, &event).await.unwrap();
    assert_eq!(name, "Waiting10s");
    assert!(
        reason.contains("image `ami-2` was shared with account `prod` and does not show there yet"),
        "{reason}"
    );
    assert!(drive.world.groups_made().is_empty());
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(drive.world.shares(), [shared("ami-2")]);

    let drive = deploy(json!({}), slow(i64::MAX)).await;
    drive.world.add_private_image(image(BAKE, "ami-2", 1));
    let reason = refusal(&drive).await;
    assert!(
        reason.contains("does not show in prod/us-east-1 10 minutes after it was shared"),
        "{reason}"
    );
    assert!(drive.world.groups_made().is_empty());
}

#[tokio::test]
async fn stays_the_image_that_was_decided_whatever_gets_its_name_meanwhile() {
    let named = json!({"imageId": null, "amiName": "shop-2.0"});
    let slow = Behaviour {
        sharing_millis: 45_000,
        ..Behaviour::default()
    };
    let drive = deploy(named, slow).await;
    drive.world.add_private_image(image(BAKE, "ami-2", 1));
    let runtime = drive.runtime(stage(&drive));
    let event = json!({ "run": drive.run(), "stage": "1" });
    drive.call(&runtime, &event).await;
    drive.world.add_private_image(image(BAKE, "ami-3", 2));
    drive.world.permit("ami-3", PROD);
    assert_eq!(drive.to_end(&runtime, "1").await, End::Done);
    assert_eq!(launched(&drive).as_deref(), Some("ami-2"));
}

#[tokio::test]
async fn dies_at_every_call_and_the_image_is_shared_and_tagged_and_one_group_launches_it() {
    for sharing_millis in [0, 15_000] {
        let scenario = |strike: Option<Strike>| async move {
            let named = json!({"imageId": null, "amiName": "shop-2.0"});
            let behaviour = Behaviour {
                sharing_millis,
                ..Behaviour::default()
            };
            let drive = deploy(named, behaviour).await;
            drive.world.add_private_image(image(BAKE, "ami-2", 1));
            drive.world.tag_shared_image("ami-2", PROD, "stale", "1");
            drive.faults.arm(strike);
            assert_eq!(to_end(&drive).await, End::Done, "{strike:?}");
            assert_eq!(drive.world.shares(), [shared("ami-2")], "{strike:?}");
            assert_eq!(drive.world.groups_made(), ["shop-web-v002"], "{strike:?}");
            assert_eq!(launched(&drive).as_deref(), Some("ami-2"), "{strike:?}");
            assert_eq!(drive.faults.struck(), usize::from(strike.is_some()));
            drive.faults.calls().len()
        };
        assert!(fault_everywhere(scenario).await > 60);
    }
}

#[tokio::test]
async fn every_call_made_twice_shares_it_and_makes_one_group() {
    let drive = deploy(json!({}), Behaviour::default()).await;
    drive.world.add_private_image(image(BAKE, "ami-2", 1));
    let runtime = drive.runtime(stage(&drive));
    let end = drive.to_end_repeating(&runtime, "1", 2).await;
    assert_eq!(end, End::Done);
    assert_eq!(drive.world.shares(), [shared("ami-2")]);
    assert_eq!(drive.world.groups_made(), ["shop-web-v002"]);
}

#[tokio::test]
async fn canceled_the_group_goes_and_the_permission_stays() {
    for sharing_millis in [0, 600_000] {
        let behaviour = Behaviour {
            sharing_millis,
            ..Behaviour::default()
        };
        let drive = deploy(json!({}), behaviour).await;
        drive.world.add_private_image(image(BAKE, "ami-2", 1));
        let runtime = drive.runtime(stage(&drive));
        let event = json!({ "run": drive.run(), "stage": "1" });
        drive.call(&runtime, &event).await;
        assert_eq!(drive.undo(&runtime, "1").await.unwrap(), End::Done);
        let groups = drive.world.snapshot();
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["shop-web-v001"]);
        assert_eq!(drive.world.shares().len(), 1);
        let intents = drive.intents().await.unwrap();
        let shares = intents
            .iter()
            .filter(|intent| intent.action.starts_with("share-image"));
        let said: Vec<_> = shares.map(|intent| intent.result.as_deref()).collect();
        let stays = "image `ami-2` stays shared with account `prod`";
        assert_eq!(said, [Some(stays)]);
    }
}
