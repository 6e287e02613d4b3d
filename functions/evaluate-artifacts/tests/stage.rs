//! The stage in an execution.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_evaluate_artifacts::EvaluateArtifacts;
use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use serde_json::{Value, json};

async fn driven(name: &str) -> Drive {
    let context = json!({
        "artifactContents": [{ "name": "values.yml", "contents": "size: ${1 + 1}" }],
        "expectedArtifacts": [{ "id": "values", "matchArtifact": { "type": "embedded/base64", "name": name } }],
    });
    let plan = vec![drive::stage(
        "1",
        "evaluateArtifacts",
        "evaluate-artifacts",
        context,
    )];
    Drive::new(Behaviour::default(), plan).await.unwrap()
}

#[tokio::test]
async fn an_evaluated_text_is_bound_to_what_expects_it() {
    let tried = fault_everywhere(async |strike| {
        let drive = driven("values.*").await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(EvaluateArtifacts), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let outputs = drive.records().await.unwrap().remove("1").unwrap().outputs;
        // `size: 2`
        let bound = &outputs["resolvedExpectedArtifacts"][0]["boundArtifact"]["reference"];
        assert_eq!(
            (bound, outputs["artifacts"].as_array().map(Vec::len)),
            (&Value::from("c2l6ZTogMg=="), Some(1))
        );
        drive.faults.calls().len()
    })
    .await;
    assert!(tried > 0);
}

#[tokio::test]
async fn an_artifact_that_was_expected_and_is_not_there_fails_the_stage() {
    let drive = driven("other").await;
    let end = drive.to_end(&drive.runtime(EvaluateArtifacts), "1").await;
    assert!(
        matches!(&end, End::Failed(reason) if reason.contains("Unmatched expected artifact `values`")),
        "{end:?}"
    );
}
