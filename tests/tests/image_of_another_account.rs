//! A deploy to an account that does not own the image, on the local cloud: two accounts, each with tags of its own, and
//! the role of one that is assumed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_cloud::auto_scaling::AwsAutoScaling;
use gennaker_cloud::ec2::Image;
use gennaker_cloud::{Account, AutoScaling, Connection, Ec2};
use gennaker_cloud_ec2::AwsEc2;
use gennaker_create_server_group::CreateServerGroup;
use gennaker_domain::ExecutionId;
use gennaker_testkit::{Behaviour, Drive, drive};
use gennaker_tests::executions::{error, named, stage};
use gennaker_tests::{deploy, system};
use serde_json::{Value, json};

const REGION: &str = "us-east-1";
/// The account that the functions run in, and bake in.
const OWN: &str = "123456789012";
const DEV: &str = "200000000000";

fn dev() -> Account {
    Account {
        name: "dev".to_owned(),
        account_id: DEV.to_owned(),
        role: Some(format!("arn:aws:iam::{DEV}:role/gennaker-managed")),
        regions: vec![REGION.to_owned()],
    }
}

/// The functions' own account, as `create-server-group` reaches it: EC2, Auto Scaling and STS answer at one address.
async fn own() -> Connection {
    let endpoint = &system().cloud.endpoints().ec2;
    let connection = Connection::from_env().await.at(endpoint, REGION, OWN);
    connection.for_function("create-server-group")
}

/// The account that is deployed to.
async fn there() -> Connection {
    let run = ExecutionId::derive(1, &["there"]).run(1);
    dev().connection(&own().await, REGION, &run).await
}

fn ec2(operation: &str, parameters: Value) -> Value {
    system().cloud.call("ec2", operation, parameters).unwrap()
}

/// An image of the functions' own account.
fn baked(name: &str) -> String {
    let made = ec2("register_image", json!({"Name": name}));
    let id = made["ImageId"].as_str().unwrap().to_owned();
    let tag = json!({"Key": "appversion", "Value": name});
    ec2("create_tags", json!({"Resources": [id], "Tags": [tag]}));
    id
}

/// The image as the account sees it that is deployed to.
async fn seen_there(image: &str) -> Vec<Image> {
    let there = AwsEc2::new(&there().await);
    there.images(&[image.to_owned()]).await.unwrap()
}

async fn has_group(connection: &Connection, name: &str) -> bool {
    let scaling = AwsAutoScaling::new(connection);
    let groups = scaling.groups(&[name.to_owned()]).await.unwrap();
    !groups.is_empty()
}

/// The image is the own account's, permitted to the other one and to nobody else, with its tags; the group is the other's.
async fn is_shared_and_launched(image: &str, name: &str, group: &str) {
    let asked = json!({"ImageId": image, "Attribute": "launchPermission"});
    let permitted = ec2("describe_image_attribute", asked)["LaunchPermissions"].clone();
    assert_eq!(permitted, json!([{"UserId": DEV}]));
    let seen = seen_there(image).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0].owner, &seen[0].tags["appversion"]),
        (&OWN.to_owned(), &name.to_owned())
    );
    assert!(has_group(&there().await, group).await);
    assert!(!has_group(&own().await, group).await);
}

/// The stage in this process, over the emulator, called once: what it waits for.
async fn called_once(stack: &str, image: &str) -> String {
    let context = json!({
        "account": "dev", "region": REGION, "application": "across", "stack": stack, "imageId": image,
        "availabilityZones": {REGION: ["us-east-1a"]}, "instanceType": "t3.small",
        "capacity": {"min": 0, "desired": 1, "max": 1},
    });
    let stage = drive::stage("1", "createServerGroup", "create-server-group", context);
    let drive = Drive::new(Behaviour::default(), vec![stage]).await.unwrap();
    dev().save(&drive.store()).await.unwrap();
    let runtime = drive.runtime(CreateServerGroup::connect(&own().await));
    let event = json!({ "run": drive.run(), "stage": "1" });
    let (_, reason) = drive.call(&runtime, &event).await.unwrap();
    reason
}

#[tokio::test]
async fn the_adapters_share_an_image_and_its_tags_and_launch_it_there() {
    let image = baked("across-1.0");
    assert!(seen_there(&image).await.is_empty());
    let reason = called_once("stage", &image).await;
    assert!(reason.contains("`across-stage-v000` created"), "{reason}");
    is_shared_and_launched(&image, "across-1.0", "across-stage-v000").await;
}

#[tokio::test]
async fn an_image_that_nobody_has_is_told_with_the_accounts_that_were_asked() {
    let reason = called_once("none", "across-9.9").await;
    let said = "image `across-9.9` not found in dev/us-east-1, nor among the images of the functions' own account";
    assert!(reason.contains(said), "{reason}");
}

#[tokio::test]
async fn a_pipeline_deploys_to_another_account_what_the_functions_account_baked() {
    let role = format!("arn:aws:iam::{DEV}:role/gennaker-managed");
    let saved = system().gennaker(&[
        "account",
        "save",
        "--name",
        "dev",
        "--account-id",
        DEV,
        "--role",
        &role,
    ]);
    assert_eq!(saved.status, 0, "{saved:#?}");
    let image = baked("across-2.0");
    let to_dev = |image: &str| {
        let cluster = json!({
            "account": "dev", "stack": "dev", "strategy": "", "subnetType": null, "targetGroups": [],
            "capacity": { "min": 1, "desired": 1, "max": 1 },
        });
        deploy("1", &[], "across", image, &cluster)
    };
    system().save(&named(
        "across",
        "ship",
        "across-ship",
        &[to_dev("across-2.0")],
        &json!({}),
    ));
    let ended = system().ended(&system().start_execution("across/ship", &[]));
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    is_shared_and_launched(&image, "across-2.0", "across-dev-v000").await;

    system().save(&named(
        "across",
        "lost",
        "across-lost",
        &[to_dev("across-9.9")],
        &json!({}),
    ));
    let ended = system().ended(&system().start_execution("across/lost", &[]));
    assert_eq!(ended["status"], "TERMINAL", "{ended:#}");
    let reason = error(stage(&ended, "1<1"));
    assert!(
        reason.contains("`across-9.9` not found in dev/us-east-1"),
        "{reason}"
    );
}
