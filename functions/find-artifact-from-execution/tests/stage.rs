//! The stage beside other executions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_domain::{Execution, ExecutionId, StageRecord, Status};
use gennaker_find_artifact_from_execution::FindArtifactFromExecution;
use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use serde_json::{Value, json};

const START: i64 = 1_800_000_000_000;

fn image(version: &str) -> Value {
    json!({ "type": "docker/image", "name": "shop", "version": version, "reference": format!("shop:{version}") })
}

async fn driven(more: Value) -> Drive {
    let mut context = json!({
        "pipeline": "p-1", "executionOptions": { "succeeded": true },
        "expectedArtifacts": [{ "id": "image", "matchArtifact": { "type": "docker/image", "name": "shop" } }],
    });
    context
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let finds = drive::stage(
        "1",
        "findArtifactFromExecution",
        "find-artifact-from-execution",
        context,
    );
    let makes = drive::stage("2", "bake", "bake", json!({}));
    Drive::new(Behaviour::default(), vec![finds, makes])
        .await
        .unwrap()
}

/// An earlier execution of the same pipeline, whose stages 1 and 2 made images.
async fn earlier(drive: &Drive, minutes: i64, status: Status, version: &str) {
    let store = drive.store();
    let this = store
        .execution(&drive.run().execution)
        .await
        .unwrap()
        .unwrap();
    let at = START - minutes * 60_000;
    let id = ExecutionId::derive(at, &["earlier"]);
    let execution = Execution {
        id: id.clone(),
        status,
        build_time: at,
        start_time: Some(at),
        ..this
    };
    store
        .create_execution(&execution, &json!({ "artifacts": [image("trigger")] }))
        .await
        .unwrap();
    for (ref_id, version) in [("1", "own"), ("2", version)] {
        let mut record = StageRecord::not_started(ref_id);
        record.status = Status::Succeeded;
        if !version.is_empty() {
            record
                .outputs
                .insert("artifacts".to_owned(), json!([image(version)]));
        }
        store.settle_stage(&id, &record).await.unwrap();
    }
}

async fn run(drive: &Drive) -> Result<String, String> {
    match drive
        .to_end(&drive.runtime(FindArtifactFromExecution), "1")
        .await
    {
        End::Done => {
            let outputs = drive.records().await.unwrap().remove("1").unwrap().outputs;
            assert_eq!(
                outputs["resolvedExpectedArtifacts"][0]["boundArtifact"],
                outputs["artifacts"][0]
            );
            Ok(outputs["artifacts"][0]["version"]
                .as_str()
                .unwrap()
                .to_owned())
        }
        End::Failed(reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_newest_execution_that_counts_gives_its_artifact() {
    for (options, expected) in [
        (json!({ "succeeded": true }), "good"),
        (json!({ "terminal": true }), "bad"),
        (json!({ "succeeded": true, "terminal": true }), "bad"),
    ] {
        let drive = driven(json!({ "executionOptions": options })).await;
        earlier(&drive, 30, Status::Succeeded, "old").await;
        earlier(&drive, 20, Status::Succeeded, "good").await;
        earlier(&drive, 10, Status::Terminal, "bad").await;
        assert_eq!(run(&drive).await.as_deref(), Ok(expected), "{options}");
    }
}

#[tokio::test]
async fn what_the_same_stage_found_before_does_not_count_and_the_trigger_comes_last() {
    let drive = driven(json!({})).await;
    earlier(&drive, 10, Status::Succeeded, "").await;
    assert_eq!(run(&drive).await.as_deref(), Ok("trigger"));
}

#[tokio::test]
async fn nothing_found_fails_unless_there_is_a_default() {
    let none = driven(json!({})).await;
    assert!(
        run(&none)
            .await
            .unwrap_err()
            .contains("no execution that counts")
    );
    let other = driven(
        json!({ "expectedArtifacts": [{ "id": "image", "matchArtifact": { "name": "other" } }] }),
    )
    .await;
    earlier(&other, 10, Status::Succeeded, "good").await;
    let reason = run(&other).await.unwrap_err();
    assert!(
        reason.contains("Unmatched") && reason.contains("Looked at execution"),
        "{reason}"
    );
    let default = driven(json!({ "expectedArtifacts": [{
        "id": "image", "matchArtifact": { "name": "shop" }, "useDefaultArtifact": true, "defaultArtifact": image("default"),
    }] }))
    .await;
    assert_eq!(run(&default).await.as_deref(), Ok("default"));
}

#[tokio::test]
async fn whatever_fails_the_same_artifact_is_found() {
    let tried = fault_everywhere(async |strike| {
        let drive = driven(json!({})).await;
        earlier(&drive, 10, Status::Succeeded, "good").await;
        drive.faults.arm(strike);
        assert_eq!(run(&drive).await.as_deref(), Ok("good"), "{strike:?}");
        drive.faults.calls().len()
    })
    .await;
    assert!(tried > 0);
}
