//! What guards a deployment: where its alarms are watched, and which fields cannot be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_compiler::{Options, compile};
use gennaker_domain::Owner;
use serde_json::{Value, json};

fn pipeline(more: Value) -> Value {
    let mut cluster = json!({
        "account": "prod", "application": "shop", "stack": "web", "region": "us-east-1",
        "capacity": {"min": 1, "desired": 1, "max": 1}, "imageId": "ami-1", "instanceType": "t3.small",
    });
    let fields = more.as_object().unwrap().clone();
    cluster.as_object_mut().unwrap().extend(fields);
    json!({"application": "shop", "name": "release", "stages": [
        {"refId": "1", "type": "deploy", "name": "Deploy", "requisiteStageRefIds": [], "clusters": [cluster]},
    ]})
}

/// The types of the sub-stages after the new group is up.
fn after(more: Value) -> Vec<String> {
    let mut guarded = json!({"alarmGuard": {"alarms": ["5xx"], "minutesAfter": 5}});
    let fields = more.as_object().unwrap().clone();
    guarded.as_object_mut().unwrap().extend(fields);
    let compiled = compile(&pipeline(guarded), &Options::default()).unwrap();
    compiled
        .plan
        .children("1<1")
        .filter(|stage| stage.owner == Some(Owner::After) && !stage.stage_type.starts_with("apply"))
        .map(|stage| stage.stage_type.clone())
        .collect()
}

#[test]
fn alarms_are_watched_while_the_old_group_could_still_take_the_traffic() {
    assert_eq!(after(json!({})), ["watchAlarms"]);
    assert_eq!(
        after(json!({"strategy": "redblack"})),
        ["disableCluster", "watchAlarms"]
    );
    assert_eq!(
        after(json!({"strategy": "redblack", "scaleDown": true, "maxRemainingAsgs": 2})),
        [
            "shrinkCluster",
            "disableCluster",
            "watchAlarms",
            "scaleDownCluster"
        ]
    );
    assert_eq!(
        after(json!({"strategy": "highlander"})),
        ["watchAlarms", "shrinkCluster"]
    );
    let rolling = after(json!({"strategy": "rollingredblack", "targetPercentages": [50]}));
    assert_eq!(rolling.last().unwrap(), "watchAlarms");
}

#[test]
fn a_guard_that_says_nothing_sensible_is_refused_and_an_expression_is_left_for_later() {
    for (field, code, path) in [
        (
            json!({"alarmGuard": {"alarms": []}}),
            "bad-alarm-guard",
            "alarmGuard.alarms",
        ),
        (
            json!({"alarmGuard": "5xx"}),
            "bad-alarm-guard",
            "alarmGuard",
        ),
        (
            json!({"clusterLock": "perhaps"}),
            "bad-cluster-lock",
            "clusterLock",
        ),
        (
            json!({"rollbackReadiness": true}),
            "bad-rollback-readiness",
            "rollbackReadiness",
        ),
    ] {
        let problems = compile(&pipeline(field), &Options::default()).unwrap_err();
        let found: Vec<(&str, &str)> = problems
            .iter()
            .map(|problem| (problem.code.as_str(), problem.path.as_str()))
            .collect();
        let path = format!("$.stages[0].clusters[0].{path}");
        assert_eq!(found, [(code, path.as_str())]);
    }
    let computed = json!({"alarmGuard": {"alarms": "${ parameters.alarms }"}});
    assert!(compile(&pipeline(computed), &Options::default()).is_ok());
}
