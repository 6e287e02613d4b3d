//! Deployments of images that are found by their tags, on the local cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_tests::observed::ended;
use gennaker_tests::{Answer, deploy, file, pipeline, system};
use serde_json::{Value, json};
use tempfile::TempPath;

/// Finds an image of the application with these tags. The tests share a cloud: no application is in another's name.
fn find(application: &str, tags: &Value) -> Value {
    json!({
        "refId": "1", "type": "findImageFromTags", "name": "Find image", "requisiteStageRefIds": [],
        "cloudProvider": "aws", "packageName": application, "tags": tags, "regions": ["us-east-1"],
    })
}

/// A world with these images, oldest first: name and the value of the tag `stack`.
fn images(all: &[(&str, &str)]) -> TempPath {
    let tagged = |(name, stack): &(&str, &str)| json!({ "name": name, "tags": { "stack": stack } });
    let mut images: Vec<Value> = all.iter().map(tagged).collect();
    images.push(json!({ "name": "*", "bootSeconds": 1 }));
    file(&json!({ "images": images }))
}

/// The name of the image of a cluster's newest server group.
fn newest_image(answer: &Answer, cluster: &str) -> String {
    let groups = answer.server_groups(cluster);
    let image = &groups.last().unwrap()["image"];
    let filters = json!({ "Filters": [{ "Name": "image-id", "Values": [image] }] });
    let answer = system()
        .cloud
        .call_in("us-east-1", "ec2", "describe_images", filters)
        .unwrap();
    answer["Images"][0]["Name"].as_str().unwrap().to_owned()
}

#[test]
fn the_newest_image_with_the_tags_is_deployed() {
    let world = images(&[
        ("tagged-1.0", "prod"),
        ("tagged-2.0", "prod"),
        ("tagged-3.0", "test"),
        ("other-4.0", "prod"),
    ]);
    let found_before = json!({ "amiName": null });
    let stages = [
        find("tagged", &json!({ "Stack": "PROD" })),
        deploy("2", &["1"], "tagged", "", &found_before),
    ];
    let answer = system().run(
        &pipeline("tagged", &stages),
        &["--world", world.to_str().unwrap()],
    );
    ended(&answer, "SUCCEEDED");
    let new = ("tagged-prod-v001", true, 2);
    assert_eq!(answer.groups("tagged-prod").last(), Some(&new));
    assert_eq!(newest_image(&answer, "tagged-prod"), "tagged-2.0");
}

#[test]
fn nothing_is_deployed_where_no_image_has_the_tag_and_the_reason_names_those_there_are() {
    let world = images(&[("lacking-1.0", "prod")]);
    // What the tag is only an execution knows: no image is made for it beforehand.
    let tags = json!({ "stack": "${execution.id}" });
    let stages = [
        find("lacking", &tags),
        deploy("2", &["1"], "lacking", "", &json!({ "amiName": null })),
    ];
    let answer = system().run(
        &pipeline("lacking", &stages),
        &["--world", world.to_str().unwrap()],
    );
    ended(&answer, "TERMINAL");
    assert_eq!(
        (answer.stage("1"), answer.stage("2")),
        ("TERMINAL".to_owned(), "NOT_STARTED".to_owned())
    );
    let reason = answer.reason();
    for word in ["lacking and tags: {stack=", "lacking-1.0", "prod"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(answer.server_groups("lacking-prod").len(), 1, "the old one");
}

#[test]
fn an_image_is_there_for_a_pipeline_that_is_tried_without_a_world() {
    let stages = [
        find("seeded", &json!({ "stack": "prod", "rank": 2 })),
        deploy("2", &["1"], "seeded", "", &json!({ "amiName": null })),
    ];
    let answer = system().run(&pipeline("seeded", &stages), &[]);
    ended(&answer, "SUCCEEDED");
    let name = newest_image(&answer, "seeded-prod");
    assert!(name.starts_with("seeded-1.0.0-"), "{name}");
}
