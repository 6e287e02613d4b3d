//! A canary that deploys its own groups: which stages there are, what each sees, and that every end cleans up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use gennaker_compiler::{Compiled, Options, compile};
use serde_json::{Value, json};

fn group(details: &str) -> Value {
    json!({
        "account": "prod", "application": "shop", "stack": "prod", "freeFormDetails": details, "cloudProvider": "aws",
        "availabilityZones": { "us-east-1": ["us-east-1a"] }, "capacity": { "min": 1, "desired": 1, "max": 1 },
        "strategy": "highlander",
    })
}

fn pipeline(deployments: &Value) -> Value {
    json!({ "application": "shop", "name": "canary", "stages": [
        { "refId": "1", "type": "bake", "name": "Bake", "package": "shop", "regions": ["us-east-1"] },
        { "refId": "2", "type": "kayentaCanary", "name": "Canary", "requisiteStageRefIds": ["1"],
          "canaryConfig": { "canaryConfigId": "c", "lifetimeDuration": "PT1H", "scopes": [{}] },
          "deployments": deployments },
    ]})
}

fn deployments() -> Value {
    json!({
        "baseline": { "application": "shop", "account": "prod", "cluster": "shop-prod" },
        "serverGroupPairs": [{ "control": group("baseline"), "experiment": group("canary") }],
        "delayBeforeCleanup": "PT30M",
    })
}

fn compiled(deployments: &Value) -> Compiled {
    compile(&pipeline(deployments), &Options::default()).unwrap()
}

#[test]
fn deploys_judges_and_cleans_up_whatever_the_verdict() {
    let plan = compiled(&deployments()).plan;
    let stages: Vec<(&str, &str, &str)> = plan
        .stages
        .iter()
        .map(|stage| {
            (
                stage.ref_id.as_str(),
                stage.stage_type.as_str(),
                stage.name.as_str(),
            )
        })
        .filter(|(ref_id, ..)| ref_id.matches(['<', '>']).count() <= 2)
        .collect();
    let clean_up = |number: usize| {
        let disable = |at: usize, side: &str, cluster: &str| {
            (
                format!("2>{number}<{at}"),
                "disableCluster",
                format!("Disable {side} cluster {cluster}"),
            )
        };
        let destroy = |at: usize, side: &str, cluster: &str| {
            (
                format!("2>{number}<{at}"),
                "shrinkCluster",
                format!("Cleanup {side} cluster {cluster}"),
            )
        };
        vec![
            (
                format!("2>{number}"),
                "cleanupCanaryClusters",
                "Cleanup Canary Clusters".to_owned(),
            ),
            disable(1, "control", "shop-prod-baseline"),
            disable(2, "experiment", "shop-prod-canary"),
            (
                format!("2>{number}<3"),
                "wait",
                "Wait before cleanup".to_owned(),
            ),
            destroy(4, "control", "shop-prod-baseline"),
            destroy(5, "experiment", "shop-prod-canary"),
        ]
    };
    let owned = |list: &[(&str, &'static str, &str)]| -> Vec<(String, &'static str, String)> {
        list.iter()
            .map(|(r, t, n)| ((*r).to_owned(), *t, (*n).to_owned()))
            .collect()
    };
    let mut expected = owned(&[
        ("1", "bake", "Bake"),
        ("2", "kayentaCanary", "Canary"),
        (
            "2<1",
            "deployCanaryServerGroups",
            "Deploy Canary Server Groups",
        ),
        ("2<1<1", "findImage", "Find baseline image"),
        ("2<1<2", "deploy", "Deploy control server groups"),
        ("2<1<3", "deploy", "Deploy experiment server groups"),
    ]);
    expected.extend(clean_up(1));
    expected.extend(clean_up(2));
    let expected: Vec<(&str, &str, &str)> = expected
        .iter()
        .map(|(r, t, n)| (r.as_str(), *t, n.as_str()))
        .collect();
    assert_eq!(stages, expected);
    // The verdict is recorded, so that the clean-up runs; the clean-up's last Task raises it.
    assert!(plan.stage("2").unwrap().defers_failure);
    assert!(!plan.stage("2>2<5").unwrap().defers_failure);
    let wait = &plan.stage("2>1<3").unwrap().context;
    assert_eq!(wait["waitTime"], 1_800);
}

#[test]
fn the_baseline_runs_the_image_of_its_cluster_and_the_canary_that_of_an_earlier_stage() {
    let plan = compiled(&deployments()).plan;
    let ancestors = |ref_id: &str| -> Vec<&str> {
        plan.ancestors(ref_id)
            .iter()
            .map(|stage| stage.stage_type.as_str())
            .collect()
    };
    let (baseline, canary) = (ancestors("2<1<2<1"), ancestors("2<1<3<1"));
    assert_eq!(baseline.first(), Some(&"findImage"));
    assert!(
        !canary.contains(&"findImage") && canary.contains(&"bake"),
        "{canary:?}"
    );
    // Cluster operations leave alone what the deploys before them made: those of the clean-up are to find it.
    for ref_id in ["2>1<1", "2>1<5", "2>2<2", "2>2<4"] {
        assert!(
            !ancestors(ref_id).contains(&"createServerGroup"),
            "{ref_id}"
        );
    }
    // What comes after the canary may look at what it deployed.
    let find = &plan.stage("2<1<1").unwrap().context;
    assert_eq!(find["cluster"], "shop-prod");
    assert_eq!(find["regions"], json!(["us-east-1"]));
}

#[test]
fn a_canary_of_groups_that_run_already_is_one_state() {
    for nothing in [Value::Null, json!(null)] {
        let compiled = compiled(&nothing);
        assert_eq!(compiled.plan.stages.len(), 2);
    }
}

#[test]
fn deployments_that_cannot_be_planned_are_refused_with_their_place() {
    let cases: [(&str, Value); 8] = [
        ("", json!("${parameters.deployments}")),
        (".baseline", json!(null)),
        (".baseline.cluster", json!(null)),
        (".serverGroupPairs", json!([])),
        (".serverGroupPairs[0].control", json!(null)),
        (".serverGroupPairs[0].experiment.application", json!(null)),
        (
            ".serverGroupPairs[0].experiment.availabilityZones",
            json!(null),
        ),
        (".delayBeforeCleanup", json!("an hour")),
    ];
    for (path, value) in cases {
        let mut written = deployments();
        let pointer = path.replace(['.', '['], "/").replace(']', "");
        *written.pointer_mut(&pointer).unwrap() = value;
        let problems = compile(&pipeline(&written), &Options::default()).unwrap_err();
        let place = format!("$.stages[1].deployments{path}");
        let found = problems.iter().find(|p| p.code == "bad-canary-deployments");
        let found = found.unwrap_or_else(|| panic!("{path}: {problems:?}"));
        assert!(place.starts_with(&found.path), "{place}: {found:?}");
        assert!(found.hint.is_some());
    }
}
