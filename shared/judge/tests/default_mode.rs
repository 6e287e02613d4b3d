//! Where the default judge differs from the original, one case each, with what the original says beside it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_judge::{Mode, evaluate_case};
use serde_json::{Value, json};

const ORIGINAL: Mode = Mode::KayentaCompatible { seed: 1 };

fn case(canary: Value, pairs: &[(&[f64], &[f64])]) -> Value {
    let pairs: Vec<Value> = pairs
        .iter()
        .map(|(baseline, experiment)| {
            let points = |values: &[f64]| -> Vec<Value> {
                values.iter().map(|v| gennaker_judge::double(*v)).collect()
            };
            json!({ "name": "m", "values": { "control": points(baseline), "experiment": points(experiment) } })
        })
        .collect();
    json!({
        "config": {
            "metrics": [{ "name": "m", "groups": ["g"], "analysisConfigurations": { "canary": canary } }],
            "classifier": { "groupWeights": { "g": 100 } },
        },
        "thresholds": { "pass": 95, "marginal": 75 },
        "pairs": pairs,
    })
}

/// `verdict score classifications`, or `error`.
fn verdict(case: &Value, mode: Mode) -> String {
    let answer = evaluate_case(case, mode);
    if answer.get("error").is_some() {
        return "error".to_owned();
    }
    let words: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["classification"].as_str().unwrap())
        .collect();
    let score = &answer["score"];
    format!(
        "{} {} {}",
        score["classification"].as_str().unwrap(),
        score["score"],
        words.join(" ")
    )
}

fn differs(case: &Value, original: &str, ours: &str) {
    assert_eq!(verdict(case, ORIGINAL), original);
    assert_eq!(verdict(case, Mode::Default), ours);
}

#[test]
fn one_point_against_one_other_point_is_an_error_that_fails() {
    let case = case(json!({}), &[(&[5.0], &[7.0])]);
    differs(&case, "Pass 100.0 Error", "Fail 0.0 Error");
}

#[test]
fn an_error_counts_like_a_failed_metric_in_its_group() {
    let same: &[f64] = &[1.0, 2.0, 3.0];
    let case = case(json!({}), &[(same, same), (&[5.0], &[7.0])]);
    differs(&case, "Pass 100.0 Pass Error", "Fail 50.0 Pass Error");
}

#[test]
fn a_critical_metric_that_errors_fails_the_canary_with_the_reason() {
    let case = case(json!({ "critical": true }), &[(&[5.0], &[7.0])]);
    differs(&case, "Pass 100.0 Error", "Fail 0.0 Error");
    let answer = evaluate_case(&case, Mode::Default);
    assert_eq!(answer["results"][0]["critical"], true);
    assert_eq!(
        answer["score"]["classificationReason"],
        "Canary Failed: Metric Classification Failed: one canary point against one baseline point proves nothing"
    );
}

#[test]
fn a_constant_zero_against_another_constant_is_decided() {
    let case = case(json!({}), &[(&[0.0; 4], &[7.0])]);
    differs(&case, "Pass 100.0 Error", "Fail 0.0 High");
}

#[test]
fn constants_some_1e_5_apart_are_decided_without_noise() {
    let (baseline, canary) = ([1000.0; 30], [1000.01; 30]);
    let case = case(json!({}), &[(&baseline, &canary)]);
    let outcomes: std::collections::BTreeSet<String> = (0..200)
        .map(|seed| verdict(&case, Mode::KayentaCompatible { seed }))
        .collect();
    assert!(outcomes.len() > 1, "the original rolls dice: {outcomes:?}");
    assert_eq!(verdict(&case, Mode::Default), "Fail 0.0 High");
}

#[test]
fn magnitudes_far_apart_are_an_error_that_fails() {
    let case = case(json!({}), &[(&[1e17], &[8.0, 6.0, 7.0, 5.0])]);
    differs(&case, "Pass 100.0 Error", "Fail 0.0 Error");
}

#[test]
fn tiny_magnitudes_are_searched_relative_to_their_scale() {
    // Nanoseconds in seconds: the original stops its search 1e-4 away from where it should.
    let baseline: Vec<f64> = (0..40).map(|i| 4e-9 + f64::from(i % 7) * 1e-9).collect();
    let canary: Vec<f64> = (0..40).map(|i| 8e-9 + f64::from(i % 9) * 1e-9).collect();
    let case = case(json!({}), &[(&baseline, &canary)]);
    differs(&case, "Pass 100.0 Pass", "Fail 0.0 High");
}

#[test]
fn infinite_values_are_an_error_that_fails() {
    let case = case(json!({}), &[(&[1.0, 2.0, 3.0], &[f64::INFINITY, 2.0, 9.0])]);
    differs(&case, "Pass 100.0 Pass", "Fail 0.0 Error");
}

#[test]
fn values_whose_difference_overflows_are_an_error_that_fails() {
    let case = case(json!({}), &[(&[-1e308, -1.5e308], &[1e308, 1.5e308])]);
    assert_eq!(verdict(&case, Mode::Default), "Fail 0.0 Error");
}

#[test]
fn a_side_without_a_single_point_is_no_data_under_replace_too() {
    let canary = json!({ "nanStrategy": "replace" });
    let case = case(canary, &[(&[1.0, 2.0, 3.0], &[])]);
    differs(&case, "Pass 100.0 Pass", "Fail 0.0 Nodata");
}

#[test]
fn missing_points_under_replace_are_zeros_in_both_modes() {
    let canary = json!({ "nanStrategy": "replace" });
    let case = case(canary, &[(&[1.0, 2.0, 3.0, 2.0], &[f64::NAN; 4])]);
    differs(&case, "Fail 0.0 Low", "Fail 0.0 Low");
}

#[test]
fn a_null_point_is_missing_not_zero() {
    let mut case = case(json!({}), &[(&[1.0], &[1.0])]);
    case["pairs"][0]["values"] =
        json!({ "control": [null, null], "experiment": [null, null, null] });
    differs(&case, "Pass 100.0 Pass", "Fail 0.0 Nodata");
}

#[test]
fn unknown_names_and_null_settings_are_errors() {
    let same: &[f64] = &[1.0, 2.0, 3.0];
    for setting in [
        json!({ "direction": "Increase" }),
        json!({ "nanStrategy": "zero" }),
        json!({ "outliers": { "strategy": "drop" } }),
        json!({ "effectSize": { "measure": "CLES" } }),
        json!({ "effectSize": { "allowedIncrease": null } }),
        json!({ "critical": null }),
        json!({ "crticial": true }),
    ] {
        differs(&case(setting, &[(same, same)]), "Pass 100.0 Pass", "error");
    }
}

#[test]
fn missing_thresholds_are_an_error_not_zero() {
    let mut case = case(
        json!({}),
        &[(
            &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
            &[50.0, 60.0, 50.0, 60.0, 50.0, 60.0],
        )],
    );
    case["thresholds"] = json!({});
    differs(&case, "Pass 0.0 High", "error");
}

#[test]
fn ordinary_data_are_judged_alike_to_the_bit() {
    let baseline: Vec<f64> = (0..90).map(|i| 100.0 + f64::from(i * 37 % 41)).collect();
    let canary: Vec<f64> = (0..90).map(|i| 104.5 + f64::from(i * 29 % 43)).collect();
    for settings in [
        json!({}),
        json!({ "direction": "increase", "critical": true }),
        json!({ "effectSize": { "measure": "cles", "allowedIncrease": 0.55 } }),
        json!({ "outliers": { "strategy": "remove", "outlierFactor": 1.5 } }),
    ] {
        let case = case(settings, &[(&baseline, &canary)]);
        assert_eq!(
            evaluate_case(&case, Mode::Default),
            evaluate_case(&case, ORIGINAL)
        );
    }
}

#[test]
fn the_seed_of_a_line_seeds_its_noise() {
    let mut case = case(json!({}), &[(&[1000.0; 30], &[1000.01; 30])]);
    let first = evaluate_case(&case, ORIGINAL);
    assert_eq!(evaluate_case(&case, ORIGINAL), first);
    case["seed"] = json!(2);
    assert_ne!(evaluate_case(&case, ORIGINAL), first);
}

#[test]
fn infinite_values_are_an_error_even_where_both_sides_have_them() {
    let infinite = f64::INFINITY;
    for pair in [
        (
            &[infinite, infinite][..],
            &[infinite, infinite, infinite][..],
        ),
        (&[1.0, infinite], &[1.0, infinite]),
        (&[-infinite], &[-infinite]),
    ] {
        differs(
            &case(json!({}), &[pair]),
            "Pass 100.0 Pass",
            "Fail 0.0 Error",
        );
    }
}

#[test]
fn above_a_negative_baseline_the_mean_ratio_is_the_originals_and_cles_sees_the_rise() {
    let case = |measure: &str| {
        let config = json!({ "effectSize": { "measure": measure, "allowedIncrease": 0.9 } });
        let baseline = [-10.0, -11.0, -9.0, -10.5, -9.5, -10.2, -9.8, -10.1];
        case(config, &[(&baseline, &baseline.map(|value| value * 0.5))])
    };
    differs(&case("meanRatio"), "Pass 100.0 Pass", "Pass 100.0 Pass");
    differs(&case("cles"), "Fail 0.0 High", "Fail 0.0 High");
}

#[test]
fn a_canary_of_which_no_metric_passes_never_passes() {
    let metric = |name: &str, group: &str| json!({ "name": name, "groups": [group] });
    let pair = |name: &str, canary: Value| json!({ "name": name, "values": { "control": [1, 2, 3, 1, 2, 3, 1, 2], "experiment": canary } });
    let worse = json!([9, 8, 9, 8, 9, 8, 9, 8]);
    let case = json!({
        "config": {
            "metrics": [metric("a", "unweighted"), metric("b", "unweighted"), metric("c", "weighted")],
            "classifier": { "groupWeights": { "weighted": 100 } },
        },
        "thresholds": { "pass": 95, "marginal": 75 },
        "pairs": [pair("a", worse.clone()), pair("b", worse), pair("c", json!([]))],
    });
    differs(
        &case,
        "Pass 100.0 High High Nodata",
        "Fail 0.0 High High Nodata",
    );
    assert_eq!(
        evaluate_case(&case, Mode::Default)["score"]["classificationReason"],
        "Canary Failed: no metric passed"
    );
}
