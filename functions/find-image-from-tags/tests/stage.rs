//! The stage against the world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Account;
use gennaker_cloud::ec2::{Image, MOST_IMAGES};
use gennaker_domain::PlanStage;
use gennaker_find_image_from_tags::FindImageFromTags;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";

fn image(id: &str, name: &str, day: u32, tags: &[(&str, &str)]) -> Image {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Image {
        id: id.to_owned(),
        name: name.to_owned(),
        state: "available".to_owned(),
        created: format!("2026-01-{day:02}T00:00:00.000Z"),
        tags: tags.iter().map(owned).collect(),
        ..Image::default()
    }
}

fn tagged(more: Value) -> PlanStage {
    let mut context = json!({"packageName": "shop", "tags": {"stack": "prod"}, "regions": [EAST]});
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    drive::stage("1", "findImageFromTags", "find-image-from-tags", context)
}

async fn with_account(stages: Vec<PlanStage>, accounts: &[(&str, &str)]) -> Drive {
    let drive = Drive::new(Behaviour::default(), stages).await.unwrap();
    for (name, account_id) in accounts {
        let account = Account {
            name: (*name).to_owned(),
            account_id: (*account_id).to_owned(),
            ..Account::default()
        };
        account.save(&drive.store()).await.unwrap();
    }
    drive
}

/// Two releases for production, in the east; a newer one for the tests.
async fn releases(more: Value) -> Drive {
    let drive = with_account(vec![tagged(more)], &[("prod", "123456789012")]).await;
    for (id, name, day, stack) in [
        ("ami-1", "shop-1.0", 1, "prod"),
        ("ami-2", "shop-2.0", 2, "prod"),
        ("ami-3", "shop-3.0", 3, "test"),
    ] {
        let tags = [("stack", stack), ("appversion", "shop-2.0-h7.abc/shop/7")];
        drive
            .world
            .register_image(EAST, image(id, name, day, &tags));
    }
    drive
}

fn stage(drive: &Drive) -> FindImageFromTags {
    FindImageFromTags::new(Arc::new(drive.world.clone()))
}

async fn end(drive: &Drive) -> End {
    drive.to_end(&drive.runtime(stage(drive)), "1").await
}

/// Region and id of what was found.
async fn found(drive: &Drive) -> Vec<(String, String)> {
    assert_eq!(end(drive).await, End::Done);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(
        record.outputs["deploymentDetails"],
        record.context["amiDetails"]
    );
    let text = |detail: &Value, key: &str| detail[key].as_str().unwrap().to_owned();
    record.outputs["deploymentDetails"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| (text(detail, "region"), text(detail, "imageId")))
        .collect()
}

fn one(region: &str, id: &str) -> Vec<(String, String)> {
    vec![(region.to_owned(), id.to_owned())]
}

async fn failure(drive: &Drive) -> String {
    match end(drive).await {
        End::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn finds_the_newest_image_with_the_tags() {
    let drive = releases(json!({})).await;
    assert_eq!(found(&drive).await, one(EAST, "ami-2"));
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(
        record.outputs["deploymentDetails"][0]["jenkins"]["number"],
        "7"
    );
    assert_eq!(record.outputs["artifacts"][0]["reference"], "ami-2");
    let test = releases(json!({"tags": {"STACK": "Test"}})).await;
    assert_eq!(found(&test).await, one(EAST, "ami-3"));
}

#[tokio::test]
async fn finds_one_in_each_region_that_has_one() {
    let drive = releases(json!({"regions": [WEST, "eu-west-1", EAST]})).await;
    let prod = [("stack", "prod")];
    drive
        .world
        .register_image(WEST, image("ami-4", "shop-2.0", 4, &prod));
    let both = [one(WEST, "ami-4"), one(EAST, "ami-2")].concat();
    assert_eq!(found(&drive).await, both);
}

#[tokio::test]
async fn looks_where_later_deploys_deploy_to_if_no_region_is_named() {
    let mut deploy = drive::stage(
        "2",
        "createServerGroup",
        "create-server-group",
        json!({"account": "prod", "availabilityZones": {WEST: []}}),
    );
    deploy.requisites = vec!["1".to_owned()];
    let stages = vec![tagged(json!({"regions": []})), deploy];
    let drive = with_account(stages, &[("prod", "123456789012")]).await;
    let prod = [("stack", "prod")];
    drive
        .world
        .register_image(EAST, image("ami-1", "shop-1.0", 2, &prod));
    drive
        .world
        .register_image(WEST, image("ami-2", "shop-1.0", 1, &prod));
    assert_eq!(found(&drive).await, one(WEST, "ami-2"));
}

#[tokio::test]
async fn an_image_of_a_stranger_is_found_by_its_id_or_by_its_owner_and_never_by_its_name() {
    let id = "ami-0123456789abcdef0";
    let stranger = Image {
        owner: "999999999999".to_owned(),
        ..image(id, "shop-9.0", 9, &[])
    };
    for (more, expected) in [
        (json!({"tags": {}}), "ami-3"),
        (json!({"tags": {}, "packageName": id}), id),
        (json!({"tags": {}, "imageOwnerAccount": "999999999999"}), id),
        (json!({"tags": {}, "imageOwnerAccount": "prod"}), "ami-3"),
    ] {
        let drive = releases(more.clone()).await;
        drive.world.register_image(EAST, stranger.clone());
        assert_eq!(found(&drive).await, one(EAST, expected), "{more}");
    }
}

#[tokio::test]
async fn an_image_that_another_known_account_owns_counts() {
    let accounts = [("prod", "123456789012"), ("bake", "999999999999")];
    let drive = with_account(vec![tagged(json!({}))], &accounts).await;
    let baked = Image {
        owner: "999999999999".to_owned(),
        ..image("ami-9", "shop-9.0", 9, &[("stack", "prod")])
    };
    drive.world.register_image(EAST, baked);
    assert_eq!(found(&drive).await, one(EAST, "ami-9"));
}

#[tokio::test]
async fn dies_at_every_call_and_finds_the_same_image() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = releases(json!({})).await;
        drive.faults.arm(strike);
        assert_eq!(found(&drive).await, one(EAST, "ami-2"), "{strike:?}");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 10);
}

#[tokio::test]
async fn says_what_there_is_when_nothing_fits() {
    for (more, words) in [
        (
            json!({"tags": {"stack": "stage"}}),
            vec![
                "Could not find tagged image for package: shop and tags: {stack=stage}",
                "ami-3 (shop-3.0) in us-east-1, tags {appversion=",
                "accounts prod",
            ],
        ),
        (
            json!({"packageName": "cart"}),
            vec!["no image has this name"],
        ),
        (json!({"packageName": ""}), vec!["`packageName`"]),
        (json!({"regions": []}), vec!["names no region", "`regions`"]),
        (
            json!({"tags": ["stack"]}),
            vec!["`tags`", "an object of texts"],
        ),
        (
            json!({"imageOwnerAccount": "prd"}),
            vec!["[prod]", "`prd`", "`imageOwnerAccount`"],
        ),
    ] {
        let reason = failure(&releases(more).await).await;
        for word in words {
            assert!(reason.contains(word), "{word}: {reason}");
        }
    }
}

#[tokio::test]
async fn where_no_account_is_known_it_looks_in_its_own() {
    let drive = with_account(vec![tagged(json!({}))], &[]).await;
    let prod = [("stack", "prod")];
    drive
        .world
        .register_image(EAST, image("ami-1", "shop-1.0", 1, &prod));
    assert_eq!(found(&drive).await, one(EAST, "ami-1"));
}

#[tokio::test]
async fn a_region_that_no_account_has_is_no_region_to_look_in() {
    let drive = Drive::new(
        Behaviour::default(),
        vec![tagged(json!({"regions": [WEST]}))],
    )
    .await
    .unwrap();
    let account = Account {
        name: "prod".to_owned(),
        account_id: "123456789012".to_owned(),
        regions: vec![EAST.to_owned()],
        ..Account::default()
    };
    account.save(&drive.store()).await.unwrap();
    let reason = failure(&drive).await;
    assert!(reason.contains(WEST) && reason.contains("prod"), "{reason}");
}

#[tokio::test]
async fn a_name_that_too_many_images_have_is_refused_with_the_place() {
    let drive = releases(json!({})).await;
    for n in 0..=MOST_IMAGES {
        drive.world.add_image(&format!("ami-many-{n}"), "shop");
    }
    let reason = failure(&drive).await;
    assert!(reason.contains("*shop* in prod/us-east-1"), "{reason}");
}
