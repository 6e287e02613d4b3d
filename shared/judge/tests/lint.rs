//! The lint on small configurations, one problem each.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_judge::{CanaryConfig, Severity, lint};
use serde_json::{Value, json};

fn sound() -> Value {
    json!({
        "name": "checkout",
        "judge": { "name": "NetflixACAJudge-v1.0", "judgeConfigurations": {} },
        "metrics": [{
            "name": "errors",
            "query": { "type": "prometheus", "customFilterTemplate": "by-version" },
            "groups": ["requests"],
            "analysisConfigurations": { "canary": {
                "direction": "increase", "critical": true, "mustHaveData": true,
                "effectSize": { "allowedIncrease": 1.1, "criticalIncrease": 1.5 },
            } },
        }],
        "templates": { "by-version": "version=\"${scope}\"" },
        "classifier": { "groupWeights": { "requests": 100 } },
    })
}

/// The codes that a change of the sound configuration brings.
fn codes(pointer: &str, value: Value) -> Vec<&'static str> {
    let mut config = sound();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    lint(&config, Some(60))
        .into_iter()
        .map(|problem| problem.code)
        .collect()
}

const CANARY: &str = "/metrics/0/analysisConfigurations/canary";

#[test]
fn a_sound_configuration_has_no_problems() {
    assert_eq!(lint(&sound(), Some(60)), []);
}

#[test]
fn every_weakness_has_its_code() {
    let weak = [
        ("/name", json!("check out"), "invalid-name"),
        ("/judge/name", json!("dredd-v1.0"), "unknown-judge"),
        (
            "/classifier/scoreThresholds",
            json!({ "pass": 50, "marginal": 75 }),
            "thresholds-reversed",
        ),
        (
            "/classifier/groupWeights",
            json!({ "requests": 90 }),
            "weights-not-100",
        ),
        (
            "/classifier/groupWeights",
            json!({ "requests": 60, "gone": 40 }),
            "unused-weight",
        ),
        ("/metrics/0/groups", json!([]), "ungrouped-metric"),
        (
            "/metrics/0/groups",
            json!(["requests", "other"]),
            "weightless-group",
        ),
        ("/templates", json!({}), "unknown-template"),
        ("/metrics", json!([]), "nothing-scored"),
        (
            "/metrics/0/analysisConfigurations",
            json!({}),
            "no-direction",
        ),
    ];
    for (pointer, value, code) in weak {
        let found = codes(pointer, value);
        assert!(found.contains(&code), "{pointer}: {found:?}");
    }
    let weak = [
        (
            "mustHaveData",
            json!(false),
            "critical-without-data-requirement",
        ),
        ("muted", json!(true), "critical-but-muted"),
        (
            "effectSize",
            json!({ "allowedIncrease": 0.9 }),
            "effect-limit-without-effect",
        ),
        (
            "effectSize",
            json!({ "measure": "cles", "allowedIncrease": 1.2 }),
            "effect-limit-out-of-range",
        ),
    ];
    for (key, value, code) in weak {
        let found = codes(&format!("{CANARY}/{key}"), value);
        assert!(found.contains(&code), "{key}: {found:?}");
    }
    let few: Vec<_> = lint(&sound(), Some(49)).iter().map(|p| p.code).collect();
    assert_eq!(few, ["too-few-points"]);
}

#[test]
fn what_the_original_replaces_by_a_default_is_an_error_with_a_hint() {
    let refused = [
        (
            "direction",
            json!("Increase"),
            "unknown-value",
            "did you mean `increase`?",
        ),
        (
            "direction",
            json!("up"),
            "unknown-value",
            "one of `either`, `increase`, `decrease`",
        ),
        (
            "nanStrategy",
            json!("REPLACE"),
            "unknown-value",
            "did you mean `replace`?",
        ),
        (
            "critical",
            json!(null),
            "null-setting",
            "leave it out to get the default",
        ),
        (
            "Direction",
            json!("decrease"),
            "unknown-setting",
            "did you mean `direction`?",
        ),
        ("muted", json!("true"), "wrong-type", ""),
    ];
    for (key, value, code, hint) in refused {
        let mut config = sound();
        config.pointer_mut(CANARY).unwrap()[key] = value;
        let problems = lint(&config, None);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, code);
        assert_eq!(problems[0].hint, hint);
        assert_eq!(problems[0].severity, Severity::Error);
        assert_eq!(
            problems[0].path,
            format!("$.metrics[0].analysisConfigurations.canary.{key}")
        );
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let config = json!({
        "metrics": [
            { "groups": ["g"] },
            { "name": "a", "groups": "g" },
            { "name": "b", "groups": ["g"], "analysisConfigurations": { "canary": {
                "outliers": { "strategy": "remove", "outlierFactor": 0 } } } },
            { "name": "b", "groups": ["g"] },
            7,
        ],
    });
    let problems = CanaryConfig::parse(&config).unwrap_err();
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(
        codes,
        [
            "missing-field",
            "wrong-type",
            "out-of-range",
            "duplicate-metric",
            "wrong-type",
            "missing-field"
        ]
    );
    assert_eq!(
        problems[0].to_json(),
        json!({ "code": "missing-field", "severity": "error", "stage": null,
                "path": "$.metrics[0].name", "message": "`name` is missing", "hint": "" })
    );
}

#[test]
fn a_data_requirement_that_zeros_meet_and_a_wrapped_configuration_are_told() {
    let analysis =
        json!({ "direction": "increase", "mustHaveData": true, "nanStrategy": "replace" });
    let config = json!({
        "metrics": [{ "name": "m", "groups": ["g"], "analysisConfigurations": { "canary": analysis } }],
        "classifier": { "groupWeights": { "g": 100 } },
    });
    let codes = |config: &Value| -> Vec<&'static str> {
        lint(config, None)
            .iter()
            .map(|problem| problem.code)
            .collect()
    };
    assert_eq!(codes(&config), ["data-requirement-without-effect"]);
    let wrapped = json!({ "canaryConfig": config, "executionRequest": {} });
    assert_eq!(codes(&wrapped), ["wrapped-configuration"]);
}
