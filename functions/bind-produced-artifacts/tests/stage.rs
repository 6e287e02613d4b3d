//! The stage in an execution.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_bind_produced_artifacts::BindProducedArtifacts;
use gennaker_evaluate_artifacts::EvaluateArtifacts;
use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use serde_json::{Value, json};

fn expecting(name: &str) -> Value {
    json!([{ "id": "values", "matchArtifact": { "type": "embedded/base64", "name": name } }])
}

/// A stage that makes an artifact, and one after it that expects it.
async fn driven(expected: Value) -> Drive {
    let contents = json!({ "artifactContents": [{ "name": "values.yml", "contents": "x" }] });
    let first = drive::stage("1", "evaluateArtifacts", "evaluate-artifacts", contents);
    let context = json!({ "expectedArtifacts": expected });
    let mut second = drive::stage(
        "2",
        "bindProducedArtifacts",
        "bind-produced-artifacts",
        context,
    );
    second.requisites = vec!["1".to_owned()];
    let drive = Drive::new(Behaviour::default(), vec![first, second])
        .await
        .unwrap();
    let end = drive.to_end(&drive.runtime(EvaluateArtifacts), "1").await;
    assert_eq!(end, End::Done);
    drive
}

#[tokio::test]
async fn what_the_stage_before_made_is_bound() {
    let tried = fault_everywhere(async |strike| {
        let drive = driven(expecting("values.*")).await;
        let before = drive.faults.arm(strike);
        let end = drive
            .to_end(&drive.runtime(BindProducedArtifacts), "2")
            .await;
        assert_eq!(end, End::Done, "{strike:?}");
        let outputs = drive.records().await.unwrap().remove("2").unwrap().outputs;
        assert_eq!(
            outputs["resolvedExpectedArtifacts"][0]["boundArtifact"],
            outputs["artifacts"][0]
        );
        assert_eq!(outputs["artifacts"][0]["name"], "values.yml");
        drive.faults.calls().len() - before
    })
    .await;
    assert!(tried > 0);
}

#[tokio::test]
async fn what_is_not_there_fails_the_stage_and_nothing_expected_is_nothing_to_do() {
    let missing = driven(expecting("other")).await;
    let end = missing
        .to_end(&missing.runtime(BindProducedArtifacts), "2")
        .await;
    assert!(
        matches!(&end, End::Failed(reason) if reason.contains("`values`")),
        "{end:?}"
    );
    let nothing = driven(json!(null)).await;
    assert_eq!(
        nothing
            .to_end(&nothing.runtime(BindProducedArtifacts), "2")
            .await,
        End::Done
    );
}
