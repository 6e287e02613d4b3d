//! A deploy to an account that does not own the image, on the emulator: two accounts, each with tags of its own, and the
//! role of one that is assumed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;

use gennaker_cloud::auto_scaling::AwsAutoScaling;
use gennaker_cloud::{Account, AutoScaling, Connection};
use gennaker_create_server_group::CreateServerGroup;
use gennaker_local::{LocalCloud, Options, Silent};
use gennaker_testkit::{Behaviour, Drive, drive};
use serde_json::{Value, json};

const REGION: &str = "us-east-1";
/// The account that the functions run in, and bake in.
const OWN: &str = "123456789012";
const DEV: &str = "200000000000";
const GROUP: &str = "shop-dev-v000";

fn cloud() -> LocalCloud {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    LocalCloud::start(&Options::new(target), &Silent).unwrap()
}

/// An image of the functions' own account.
fn baked(cloud: &LocalCloud) -> String {
    let call =
        |operation: &str, parameters: Value| cloud.call("ec2", operation, parameters).unwrap();
    let made = call("register_image", json!({"Name": "shop-1.0"}));
    let id = made["ImageId"].as_str().unwrap().to_owned();
    let tag = json!({"Key": "appversion", "Value": "shop-1.0-h1.abc"});
    call("create_tags", json!({"Resources": [id], "Tags": [tag]}));
    id
}

/// A deploy of the image to `dev`.
async fn deploy(image: &str, dev: &Account) -> Drive {
    let context = json!({
        "account": "dev", "region": REGION, "application": "shop", "stack": "dev", "imageId": image,
        "availabilityZones": {REGION: ["us-east-1a"]}, "instanceType": "t3.small",
        "capacity": {"min": 0, "desired": 1, "max": 1},
    });
    let stage = drive::stage("1", "createServerGroup", "create-server-group", context);
    let drive = Drive::new(Behaviour::default(), vec![stage]).await.unwrap();
    dev.save(&drive.store()).await.unwrap();
    drive
}

#[tokio::test]
async fn a_deploy_to_another_account_shares_the_image_and_its_tags_and_launches_it_there() {
    let cloud = cloud();
    let image = baked(&cloud);
    // EC2, Auto Scaling, load balancing and STS answer at one address.
    let endpoint = cloud.endpoints().ec2.clone();
    let connection = Connection::from_env().await.at(&endpoint, REGION, OWN);
    let connection = connection.for_function("create-server-group");
    let dev = Account {
        name: "dev".to_owned(),
        account_id: DEV.to_owned(),
        role: Some(format!("arn:aws:iam::{DEV}:role/gennaker-managed")),
        regions: vec![REGION.to_owned()],
    };
    let drive = deploy(&image, &dev).await;
    let runtime = drive.runtime(CreateServerGroup::connect(&connection));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let (name, reason) = drive.call(&runtime, &event).await.unwrap();
    assert_eq!(name, "Waiting10s", "{reason}");
    assert!(reason.contains(&format!("`{GROUP}` created")), "{reason}");

    let asked = json!({"ImageId": image, "Attribute": "launchPermission"});
    let answer = cloud.call("ec2", "describe_image_attribute", asked);
    let permitted = answer.unwrap()["LaunchPermissions"].clone();
    assert_eq!(permitted, json!([{"UserId": DEV}]));
    let there = dev.connection(&connection, REGION, drive.run()).await;
    let seen = gennaker_cloud_ec2::AwsEc2::new(&there);
    let seen = gennaker_cloud::Ec2::images(&seen, &[image]).await.unwrap();
    assert_eq!(seen.len(), 1);
    let (owner, tags) = (&seen[0].owner, &seen[0].tags);
    assert_eq!(owner, OWN);
    assert_eq!(tags["appversion"], "shop-1.0-h1.abc");
    let groups = async |connection: &Connection| {
        let scaling = AwsAutoScaling::new(connection);
        scaling.groups(&[GROUP.to_owned()]).await.unwrap().len()
    };
    assert_eq!(groups(&there).await, 1);
    assert_eq!(groups(&connection).await, 0);
}

#[tokio::test]
async fn an_image_that_nobody_has_is_told_with_the_accounts_that_were_asked() {
    let cloud = cloud();
    let endpoint = cloud.endpoints().ec2.clone();
    let connection = Connection::from_env().await.at(&endpoint, REGION, OWN);
    let dev = Account {
        name: "dev".to_owned(),
        account_id: DEV.to_owned(),
        role: Some(format!("arn:aws:iam::{DEV}:role/gennaker-managed")),
        regions: Vec::new(),
    };
    let drive = deploy("shop-9.9", &dev).await;
    let runtime = drive.runtime(CreateServerGroup::connect(&connection));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let (_, reason) = drive.call(&runtime, &event).await.unwrap();
    let said = "image `shop-9.9` not found in dev/us-east-1, nor among the images of the functions' own account";
    assert!(reason.contains(said), "{reason}");
}
