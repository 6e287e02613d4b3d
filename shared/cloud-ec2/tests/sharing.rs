//! What EC2 is sent to share an image, and what is told of a refusal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use gennaker_cloud::ec2::ImageRef;
use gennaker_cloud::{CloudError, Connection, Ec2};
use gennaker_cloud_ec2::AwsEc2;
use gennaker_testkit::{LocalServer, Reply};

const IMAGES: &str = "<imagesSet>\
    <item><imageId>ami-1</imageId><name>shop-1.0</name><imageOwnerId>300000000000</imageOwnerId><imageState>available</imageState>\
    <creationDate>2026-01-01T00:00:00.000Z</creationDate><isPublic>true</isPublic><imageOwnerAlias>amazon</imageOwnerAlias><tagSet><item><key>appversion</key><value>shop-1.0</value></item></tagSet></item>\
    <item><imageId>ami-2</imageId><name>shop-1.0-arm</name></item></imagesSet>";

fn answer(operation: &str, result: &str) -> Reply {
    let body = format!(
        r#"<{operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r-1</requestId>{result}</{operation}Response>"#
    );
    Reply::new(200, &[("content-type", "text/xml")], body)
}

fn refusal(code: &str, message: &str) -> Reply {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>r-9</RequestID></Response>"
    );
    let headers = [("content-type", "text/xml"), ("x-amzn-requestid", "r-9")];
    Reply::new(400, &headers, body)
}

async fn port(server: &LocalServer) -> AwsEc2 {
    let connection = Connection::from_env().await;
    let url = server.url("127.0.0.1", "");
    AwsEc2::new(&connection.at(&url, "us-east-1", "300000000000"))
}

/// The fields of the one request that arrived.
fn sent(server: &LocalServer) -> Vec<String> {
    let received = server.received();
    assert_eq!(received.len(), 1, "{received:?}");
    let body = String::from_utf8(received.first().unwrap().body.clone()).unwrap();
    body.split('&').map(str::to_owned).collect()
}

fn has(server: &LocalServer, fields: &[&str]) {
    let sent = sent(server);
    for field in fields {
        assert!(sent.iter().any(|one| one == field), "{field} in {sent:?}");
    }
}

#[tokio::test]
async fn own_images_are_those_of_the_account_itself_by_id_or_by_whole_name() {
    for (image, filter) in [
        (
            ImageRef::of("shop-1.0"),
            ["Filter.1.Name=name", "Filter.1.Value.1=shop-1.0"],
        ),
        (
            ImageRef::of("ami-1"),
            ["Filter.1.Name=image-id", "Filter.1.Value.1=ami-1"],
        ),
    ] {
        let server = LocalServer::start(|_| answer("DescribeImages", IMAGES)).unwrap();
        let found = port(&server).await.own_images(&image).await.unwrap();
        has(&server, &["Action=DescribeImages", "Owner.1=self"]);
        has(&server, &filter);
        let ids: Vec<&str> = found.iter().map(|image| image.id.as_str()).collect();
        assert_eq!(ids, ["ami-1"]);
        let tags: Vec<_> = found.iter().flat_map(|image| &image.tags).collect();
        assert_eq!(tags.len(), 1);
    }
}

#[tokio::test]
async fn whose_an_image_is_and_who_may_launch_it_is_read() {
    let server = LocalServer::start(|_| answer("DescribeImages", IMAGES)).unwrap();
    let found = port(&server).await.images_named("shop-1.0").await.unwrap();
    let [image] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(image.owner, "300000000000");
    assert_eq!(image.owner_alias.as_deref(), Some("amazon"));
    assert!(image.public);
    let server = LocalServer::start(|_| answer("DescribeImages", IMAGES)).unwrap();
    let found = port(&server).await.images_named("shop-1.0-arm").await;
    let found = found.unwrap();
    assert!(
        found
            .iter()
            .all(|image| !image.public && image.owner_alias.is_none())
    );
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn an_image_is_shared_with_one_account_by_a_launch_permission() {
    let done = "<return>true</return>";
    let server = LocalServer::start(move |_| answer("ModifyImageAttribute", done)).unwrap();
    let ec2 = port(&server).await;
    ec2.share_image("ami-1", "200000000000").await.unwrap();
    has(
        &server,
        &[
            "Action=ModifyImageAttribute",
            "ImageId=ami-1",
            "LaunchPermission.Add.1.UserId=200000000000",
        ],
    );
}

#[tokio::test]
async fn a_refusal_names_operation_image_and_request() {
    let why = "Snapshots encrypted with the AWS managed key cannot be shared";
    let server = LocalServer::start(move |_| refusal("InvalidParameter", why)).unwrap();
    let ec2 = port(&server).await;
    let refused = ec2.share_image("ami-1", "200000000000").await.unwrap_err();
    assert_eq!(
        refused,
        CloudError::Refused {
            operation: "ec2:ModifyImageAttribute".to_owned(),
            resource: "ami-1".to_owned(),
            code: "InvalidParameter".to_owned(),
            message: why.to_owned(),
            request_id: "r-9".to_owned(),
        }
    );
}

#[tokio::test]
async fn tags_are_set_with_values_and_taken_off_by_key() {
    let done = "<return>true</return>";
    let server = LocalServer::start(move |_| answer("CreateTags", done)).unwrap();
    let tags = BTreeMap::from([("appversion".to_owned(), "shop-1.0".to_owned())]);
    let ec2 = port(&server).await;
    ec2.tag_image("ami-1", &tags).await.unwrap();
    has(
        &server,
        &[
            "Action=CreateTags",
            "ResourceId.1=ami-1",
            "Tag.1.Key=appversion",
            "Tag.1.Value=shop-1.0",
        ],
    );
    let server = LocalServer::start(move |_| answer("DeleteTags", done)).unwrap();
    let ec2 = port(&server).await;
    ec2.untag_image("ami-1", &["stale".to_owned()])
        .await
        .unwrap();
    has(
        &server,
        &["Action=DeleteTags", "ResourceId.1=ami-1", "Tag.1.Key=stale"],
    );
    let values = sent(&server);
    assert!(!values.iter().any(|field| field.starts_with("Tag.1.Value")));
}

#[tokio::test]
async fn no_key_takes_off_nothing() {
    let server = LocalServer::start(|_| answer("DeleteTags", "")).unwrap();
    let ec2 = port(&server).await;
    ec2.untag_image("ami-1", &[]).await.unwrap();
    ec2.tag_image("ami-1", &BTreeMap::new()).await.unwrap();
    assert!(server.received().is_empty());
}
