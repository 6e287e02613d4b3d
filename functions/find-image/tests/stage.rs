//! The stage against the world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use gennaker_cloud::Account;
use gennaker_cloud::ec2::Image;
use gennaker_domain::deployment::Capacity;
use gennaker_find_image::FindImage;
use gennaker_testkit::{Behaviour, Drive, End, Strike, drive, fault_everywhere};
use serde_json::{Value, json};

async fn cluster(more: Value) -> Drive {
    let mut context =
        json!({"credentials": "prod", "regions": ["us-east-1"], "cluster": "shop-web"});
    let fields = more.as_object().unwrap().clone();
    context.as_object_mut().unwrap().extend(fields);
    let plan = vec![drive::stage("1", "findImage", "find-image", context)];
    let drive = Drive::new(Behaviour::default(), plan).await.unwrap();
    drive.world.add_image("ami-1", "shop-1.0");
    drive.world.add_image("ami-2", "shop-2.0");
    for (name, image) in [("shop-web-v001", "ami-1"), ("shop-web-v002", "ami-2")] {
        drive.world.add_group(name, image, Capacity::fixed(1), &[]);
        drive.world.advance(1_000);
    }
    drive
}

fn stage(drive: &Drive) -> FindImage {
    let world = Arc::new(drive.world.clone());
    FindImage::new(world.clone(), world)
}

async fn image(drive: &Drive) -> Value {
    let record = drive.records().await.unwrap().remove("1").unwrap();
    record.outputs["deploymentDetails"][0]["imageId"].clone()
}

#[tokio::test]
async fn finds_the_image_of_the_newest_or_of_the_oldest_group() {
    for (strategy, found) in [("NEWEST", "ami-2"), ("OLDEST", "ami-1")] {
        let drive = cluster(json!({"selectionStrategy": strategy})).await;
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done);
        assert_eq!(image(&drive).await, found);
    }
}

#[tokio::test]
async fn in_a_region_without_the_cluster_it_is_the_teams_image_of_that_name_and_no_strangers() {
    let more = json!({"regions": ["us-east-1", "eu-west-1"], "resolveMissingLocations": true});
    for (owner, found) in [(None, true), (Some("777777777777"), false)] {
        let drive = cluster(more.clone()).await;
        let prod = Account {
            name: "prod".to_owned(),
            account_id: "123456789012".to_owned(),
            ..Account::default()
        };
        prod.save(&drive.store()).await.unwrap();
        let image = |id: &str, owner: Option<&str>, day: u32| Image {
            id: id.to_owned(),
            name: "shop-3.0".to_owned(),
            owner: owner.unwrap_or_default().to_owned(),
            state: "available".to_owned(),
            created: format!("2026-02-{day:02}T00:00:00.000Z"),
            ..Image::default()
        };
        let world = &drive.world;
        world.register_image("us-east-1", image("ami-us", None, 1));
        world.add_group("shop-web-v003", "ami-us", Capacity::fixed(1), &[]);
        world.register_image("eu-west-1", image("ami-eu", owner, 1));
        world.register_image("eu-west-1", image("ami-bait", Some("999999999999"), 2));
        world.make_public("ami-bait");
        if owner.is_some() {
            world.make_public("ami-eu");
        }
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        if !found {
            assert!(
                matches!(&end, End::Failed(why) if why.contains("shop-3.0")),
                "{end:?}"
            );
            continue;
        }
        assert_eq!(end, End::Done);
        let record = drive.records().await.unwrap().remove("1").unwrap();
        let details = record.outputs["deploymentDetails"].as_array().unwrap();
        let ids: Vec<&Value> = details.iter().map(|detail| &detail["imageId"]).collect();
        assert_eq!(ids, ["ami-us", "ami-eu"]);
    }
}

#[tokio::test]
async fn dies_at_every_call_and_finds_the_image_all_the_same() {
    let scenario = |strike: Option<Strike>| async move {
        let drive = cluster(json!({})).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(stage(&drive)), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        assert_eq!(image(&drive).await, "ami-2");
        drive.faults.calls().len()
    };
    assert!(fault_everywhere(scenario).await > 20);
}

#[tokio::test]
async fn says_what_there_is_when_nothing_fits() {
    for (more, word) in [
        (json!({"imageNamePattern": "web-.*"}), "shop-2.0"),
        (json!({"selectionStrategy": "FAIL"}), "shop-web-v001"),
        (json!({"cluster": "shop-api"}), "`shop-api`"),
        (json!({"selectionStrategy": "BEST"}), "NEWEST"),
    ] {
        let drive = cluster(more).await;
        match drive.to_end(&drive.runtime(stage(&drive)), "1").await {
            End::Failed(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
