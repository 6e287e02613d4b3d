//! The stage in an execution.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_evaluate_variables::EvaluateVariables;
use gennaker_testkit::{Behaviour, Drive, End, drive, fault_everywhere};
use serde_json::{Value, json};

async fn driven(context: Value) -> Drive {
    let plan = vec![drive::stage(
        "1",
        "evaluateVariables",
        "evaluate-variables",
        context,
    )];
    Drive::new(Behaviour::default(), plan).await.unwrap()
}

#[tokio::test]
async fn later_variables_see_earlier_ones() {
    let variables = json!([
        { "key": "a", "value": "${1 + 1}" },
        { "key": "b", "value": "${a * 2}" },
        { "key": "text", "value": "b is ${b}" },
    ]);
    let drive = driven(json!({ "variables": variables })).await;
    let end = drive.to_end(&drive.runtime(EvaluateVariables), "1").await;
    assert_eq!(end, End::Done);
    let record = drive.records().await.unwrap().remove("1").unwrap();
    assert_eq!(
        Value::Object(record.outputs),
        json!({ "a": 2, "b": 4, "text": "b is 4" })
    );
}

#[tokio::test]
async fn what_cannot_be_evaluated_stays_or_fails_the_stage() {
    for (fails, end) in [(false, true), (true, false)] {
        let context = json!({ "variables": [{ "key": "a", "value": "${nothing.there}" }], "failOnFailedExpressions": fails });
        let drive = driven(context).await;
        let ended = drive.to_end(&drive.runtime(EvaluateVariables), "1").await;
        assert_eq!(ended == End::Done, end, "{ended:?}");
        let record = drive.records().await.unwrap().remove("1").unwrap();
        assert_eq!(record.outputs["a"], "${nothing.there}");
    }
}

#[tokio::test]
async fn whatever_fails_the_values_are_evaluated_once() {
    let tried = fault_everywhere(async |strike| {
        let variables = json!([{ "key": "id", "value": "${T(java.util.UUID).randomUUID().toString()}" }, { "key": "same", "value": "${id}" }]);
        let drive = driven(json!({ "variables": variables })).await;
        drive.faults.arm(strike);
        let end = drive.to_end(&drive.runtime(EvaluateVariables), "1").await;
        assert_eq!(end, End::Done, "{strike:?}");
        let outputs = drive.records().await.unwrap().remove("1").unwrap().outputs;
        assert_eq!(outputs["id"], outputs["same"]);
        drive.faults.calls().len()
    })
    .await;
    assert!(tried > 0);
}
