//! The recorded answers of the original judge. They live beside the project, not in it: without them these tests say so
//! and check nothing (`GENNAKER_CORPUS` names the folder, default `../shared/corpus` beside the workspace).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use gennaker_judge::mann_whitney::{self, MannWhitney, common_language_effect};
use gennaker_judge::noise::JavaRandom;
use gennaker_judge::{Mode, brent, evaluate_case, ranks, round_to_hundredths, statistics};
use serde_json::{Value, json};
use std::path::PathBuf;

fn folder() -> PathBuf {
    let corpus = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    corpus.join("canary")
}

fn text(file: &str) -> Option<String> {
    let path = folder().join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: no recorded answers at {}", path.display());
    }
    text
}

fn lines(file: &str) -> Option<Vec<Value>> {
    let text = text(file)?;
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => other.parse().unwrap(),
        },
        Value::Null => f64::NAN,
        other => other.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Relative 1e-12, and NaN equals NaN.
fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// Every recorded field is there and equal; doubles within the tolerance; lists in order.
fn same(path: &str, expected: &Value, got: &Value, differences: &mut Vec<String>) {
    let mut differ = || differences.push(format!("{path}: expected {expected}, got {got}"));
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |fields: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = fields.keys().cloned().collect();
                keys.retain(|key| key != "id" || path != "$");
                keys.sort();
                keys
            };
            if keys(a) != keys(b) {
                differ();
                return;
            }
            for (key, value) in a {
                same(&format!("{path}.{key}"), value, &b[key], differences);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                differ();
                return;
            }
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                same(&format!("{path}[{index}]"), a, b, differences);
            }
        }
        (Value::Number(_), Value::Number(_)) => {
            if !close(number(expected), number(got)) {
                differ();
            }
        }
        _ => {
            if expected != got {
                differ();
            }
        }
    }
}

fn compare(expected: &Value, got: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    if expected.get("error").is_some() || got.get("error").is_some() {
        if expected.get("error").is_some() != got.get("error").is_some() {
            differences.push(format!("expected {expected}, got {got}"));
        }
    } else {
        same("$", expected, got, &mut differences);
    }
    differences
}

#[test]
fn every_recorded_judgement_is_reproduced() {
    let Some(cases) = lines("judge-reference.jsonl") else {
        return;
    };
    let mut failures = Vec::new();
    let mut check = |id: &Value, expected: &Value, got: &Value| {
        let differences = compare(expected, got);
        if !differences.is_empty() {
            failures.push(format!("{id}: {}", differences.join("; ")));
        }
    };
    let mut compared = 0;
    for case in &cases {
        let seeds: Vec<(i64, &Value)> = match case.get("seeded") {
            Some(seeded) => seeded
                .as_array()
                .unwrap()
                .iter()
                .map(|run| (run["seed"].as_i64().unwrap(), &run["expected"]))
                .collect(),
            None => vec![(0, &case["expected"])],
        };
        for (seed, expected) in seeds {
            let got = evaluate_case(case, Mode::KayentaCompatible { seed });
            check(&case["id"], expected, &got);
            compared += 1;
        }
    }
    assert!(compared >= cases.len());
    assert!(
        failures.is_empty(),
        "{} of {compared} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_recorded_function_value_is_reproduced() {
    let Some(cases) = lines("judge-math-reference.jsonl") else {
        return;
    };
    let mut failures = Vec::new();
    for case in &cases {
        let got = evaluate_function(case);
        let differences = compare(&case["expected"], &got);
        if !differences.is_empty() {
            failures.push(format!(
                "{} {}: {}",
                case["id"],
                case["fn"],
                differences.join("; ")
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

fn value(value: f64) -> Value {
    json!({ "value": gennaker_judge::double(value) })
}

fn values(values: &[f64]) -> Value {
    let values: Vec<Value> = values.iter().map(|v| gennaker_judge::double(*v)).collect();
    json!({ "values": values })
}

fn interval(result: Result<mann_whitney::Interval, mann_whitney::Untestable>) -> Value {
    match result {
        Ok(interval) => json!({
            "lower": gennaker_judge::double(interval.lower),
            "upper": gennaker_judge::double(interval.upper),
            "estimate": gennaker_judge::double(interval.estimate),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn evaluate_function(case: &Value) -> Value {
    let series = |key: &str| numbers(&case[key]);
    match case["fn"].as_str().unwrap() {
        "mannWhitney" => interval(mann_whitney::interval(
            &series("experiment"),
            &series("control"),
            number(&case["confLevel"]),
        )),
        "wilcoxonDiff" => {
            let canary = ranks::sorted(&series("experiment"));
            let baseline = ranks::sorted(&series("control"));
            let standardised = MannWhitney::new(&canary, &baseline)
                .and_then(|mut test| test.standardised(number(&case["mu"])));
            match standardised {
                Ok(standardised) => value(standardised - number(&case["quantile"])),
                Err(error) => json!({ "error": error.to_string() }),
            }
        }
        "brent" => {
            let c = number(&case["c"]);
            let function = case["function"].as_str().unwrap().to_owned();
            let f = |x: f64| match function.as_str() {
                "line" => x - c,
                "square" => x * x - c,
                "cubic" => x * x * x - c,
                "step" => {
                    if x < c {
                        1.5
                    } else {
                        -0.5
                    }
                }
                "stairs" => c - x.floor(),
                "flat" => {
                    if x.abs() < c {
                        0.0
                    } else {
                        -x
                    }
                }
                other => panic!("no function {other}"),
            };
            let (a, b) = (number(&case["a"]), number(&case["b"]));
            let mut calls = 0;
            let root = brent::root(a, b, f(a), f(b), brent::TOLERANCE, |x| {
                calls += 1;
                f(x)
            });
            json!({ "value": gennaker_judge::double(root), "calls": calls })
        }
        "ranks" => values(&ranks::average_ranks(&series("values"))),
        "percentile" => value(statistics::percentile(
            &series("values"),
            number(&case["p"]),
        )),
        "iqr" => {
            let series = series("values");
            let fences = statistics::outlier_fences(
                &series,
                number(&case["factor"]),
                case["reduceSensitivity"].as_bool().unwrap(),
            );
            let (out, kept): (Vec<_>, Vec<_>) = series
                .iter()
                .enumerate()
                .partition(|(_, value)| fences.excludes(**value));
            let out: Vec<usize> = out.into_iter().map(|(index, _)| index).collect();
            let kept: Vec<Value> = kept
                .into_iter()
                .map(|(_, value)| gennaker_judge::double(*value))
                .collect();
            json!({ "outliers": out, "kept": kept })
        }
        "summary" => {
            let summary = statistics::summary(&series("values"));
            json!({
                "min": gennaker_judge::double(summary.min),
                "max": gennaker_judge::double(summary.max),
                "mean": gennaker_judge::double(summary.mean),
                "std": gennaker_judge::double(summary.std),
                "count": summary.count,
            })
        }
        "meanRatio" => value(statistics::mean_ratio(
            &series("control"),
            &series("experiment"),
        )),
        "cohenD" => value(statistics::cohen_d(
            &series("control"),
            &series("experiment"),
        )),
        "cles" => value(common_language_effect(
            &ranks::sorted(&series("experiment")),
            &ranks::sorted(&series("control")),
            true,
        )),
        "removeNaNs" => {
            let mut kept = series("values");
            kept.retain(|value| !value.is_nan());
            values(&kept)
        }
        "replaceNaNs" => {
            let replaced: Vec<f64> = series("values")
                .into_iter()
                .map(|value| if value.is_nan() { 0.0 } else { value })
                .collect();
            values(&replaced)
        }
        "normalQuantile" => value(statistics::normal_quantile(number(&case["p"]))),
        "round2" => value(round_to_hundredths(number(&case["x"]))),
        "gaussian" => {
            let mut noise = JavaRandom::new(case["seed"].as_i64().unwrap());
            let count = case["count"].as_u64().unwrap();
            let drawn: Vec<f64> = (0..count).map(|_| noise.next_gaussian()).collect();
            values(&drawn)
        }
        // Judged as a whole: the noise is an inner part of the judge. The deviation and interval are compared below.
        "mannWhitneyNoise" => noisy(case),
        other => panic!("no function {other}"),
    }
}

fn noisy(case: &Value) -> Value {
    let config = json!({
        "metrics": [{ "name": "m", "groups": ["g"], "analysisConfigurations": { "canary": {
            "effectSize": { "measure": case["measure"] },
        } } }],
        "classifier": { "groupWeights": {} },
    });
    let config = gennaker_judge::CanaryConfig::parse_compatible(&config).unwrap();
    let pair = gennaker_judge::MetricPair {
        name: "m".to_owned(),
        id: None,
        tags: None,
        baseline: numbers(&case["control"]),
        canary: numbers(&case["experiment"]),
    };
    let thresholds = gennaker_judge::Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let mode = Mode::KayentaCompatible {
        seed: case["seed"].as_i64().unwrap(),
    };
    let judgement = gennaker_judge::judge(&config, &[pair], thresholds, mode).unwrap();
    let result = &judgement.results[0];
    let Some(found) = result.interval else {
        return json!({ "error": result.reason });
    };
    json!({
        "lower": gennaker_judge::double(found.lower),
        "upper": gennaker_judge::double(found.upper),
        "estimate": gennaker_judge::double(found.estimate),
        "deviation": gennaker_judge::double(result.ratio.unwrap()),
        "effectSize": gennaker_judge::double(result.effect.unwrap()),
    })
}

/// One metric's settings as the original's own test suite passes them to its classifier.
fn suite_settings(params: &Value) -> Value {
    let mut canary = json!({
        "direction": params["direction"],
        "critical": params["isCriticalMetric"] == json!(true),
        "mustHaveData": params["isDataRequired"] == json!(true),
        "effectSize": {},
    });
    let mut limits = |field: &str, prefix: &str| {
        if let Some(limits) = params.get(field) {
            for (key, name) in [("increase", "Increase"), ("decrease", "Decrease")] {
                canary["effectSize"][format!("{prefix}{name}")] = limits[key].clone();
            }
        }
    };
    limits("effectSizeThresholds", "allowed");
    limits("criticalThresholds", "critical");
    if let Some(measure) = params.get("effectSizeMeasure") {
        canary["effectSize"]["measure"] = measure.clone();
    }
    if let Some(strategy) = params.get("nanStrategy") {
        canary["nanStrategy"] = strategy.clone();
    }
    canary
}

/// The parts of the original's own test suites that this judge is made of; its other classifiers and detectors are not.
#[test]
fn the_originals_own_test_suites_pass() {
    let Some(text) = text("judge-cases.json") else {
        return;
    };
    let cases: Value = serde_json::from_str(&text).unwrap();
    let mut failures = Vec::new();
    let mut checked = 0;
    for case in cases["cases"].as_array().unwrap() {
        let outcome = match case["kind"].as_str().unwrap() {
            "classify" if case["classifier"] == "MannWhitneyClassifier" => suite_classify(case),
            "score" => suite_score(case),
            "mann-whitney" => suite_interval(case),
            "percentile" => suite_number(
                statistics::percentile(
                    &numbers(&case["input"]),
                    number(&case["params"]["percentile"]),
                ),
                &case["expected"],
            ),
            "effect-size" => {
                let (baseline, canary) = (numbers(&case["control"]), numbers(&case["experiment"]));
                let effect = if case["measure"] == "cles" {
                    common_language_effect(&ranks::sorted(&canary), &ranks::sorted(&baseline), true)
                } else if case["measure"] == "meanRatio" {
                    statistics::mean_ratio(&baseline, &canary)
                } else {
                    statistics::cohen_d(&baseline, &canary)
                };
                suite_number(effect, &case["expected"])
            }
            "normal-inverse-cdf" => suite_number(
                statistics::normal_quantile(number(&case["params"]["p"])),
                &case["expected"],
            ),
            _ => continue,
        };
        checked += 1;
        if let Err(difference) = outcome {
            failures.push(format!("{}: {difference}", case["name"]));
        }
    }
    assert!(checked >= 45, "only {checked} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn suite_number(got: f64, expected: &Value) -> Result<(), String> {
    let (value, tolerance) = match expected {
        Value::Object(fields) => (
            number(&fields["value"]),
            fields.get("tolerance").map_or(0.0, number),
        ),
        bare => (number(bare), 0.0),
    };
    let fine = (value.is_nan() && got.is_nan()) || (got - value).abs() <= tolerance;
    fine.then_some(())
        .ok_or(format!("expected {value}, got {got}"))
}

fn suite_interval(case: &Value) -> Result<(), String> {
    let level = number(&case["params"]["confidenceLevel"]);
    let canary = numbers(&case["distribution1"]);
    let found = mann_whitney::interval(&canary, &numbers(&case["distribution2"]), level).unwrap();
    suite_number(found.lower, &case["expected"]["ciLow"])?;
    suite_number(found.upper, &case["expected"]["ciHigh"])?;
    suite_number(found.estimate, &case["expected"]["estimate"])
}

fn suite_classify(case: &Value) -> Result<(), String> {
    let line = json!({
        "config": {
            "metrics": [{ "name": "m", "groups": ["g"],
                          "analysisConfigurations": { "canary": suite_settings(&case["params"]) } }],
            "classifier": { "groupWeights": {} },
        },
        "thresholds": { "pass": 95, "marginal": 75 },
        "pairs": [{ "name": "m", "values": { "control": case["control"], "experiment": case["experiment"] } }],
    });
    let answer = evaluate_case(&line, Mode::KayentaCompatible { seed: 1 });
    let (result, expected) = (&answer["results"][0], &case["expected"]);
    if result["classification"] != expected["classification"] {
        return Err(format!("expected {expected}, got {result}"));
    }
    match expected.get("critical") {
        Some(critical) if *critical != result["critical"] => Err(format!("got {result}")),
        _ => Ok(()),
    }
}

/// Data that are classified as asked.
fn data_for(classification: &str) -> (Vec<f64>, Vec<f64>) {
    let low: Vec<f64> = (0..20).map(f64::from).collect();
    let high: Vec<f64> = low.iter().map(|value| value + 100.0).collect();
    match classification {
        "Pass" => (low.clone(), low),
        "High" => (low, high),
        "Low" => (high, low),
        "Nodata" => (low, Vec::new()),
        other => panic!("no data for {other}"),
    }
}

fn suite_score(case: &Value) -> Result<(), String> {
    let metrics = case["metrics"].as_array().unwrap();
    let (mut configured, mut pairs) = (Vec::new(), Vec::new());
    for (index, metric) in metrics.iter().enumerate() {
        let name = format!("m{index}");
        configured.push(json!({ "name": name, "groups": metric["groups"], "analysisConfigurations": { "canary": {
            "critical": metric["critical"], "muted": metric["muted"] } } }));
        let (baseline, canary) = data_for(metric["classification"].as_str().unwrap());
        pairs
            .push(json!({ "name": name, "values": { "control": baseline, "experiment": canary } }));
    }
    let line = json!({
        "config": { "metrics": configured, "classifier": { "groupWeights": case["groupWeights"] } },
        "thresholds": { "pass": 95, "marginal": 75 },
        "pairs": pairs,
    });
    let answer = evaluate_case(&line, Mode::KayentaCompatible { seed: 1 });
    let expected = &case["expected"];
    if number(&answer["score"]["score"]) != number(&expected["summaryScore"]) {
        // The suite scores a list whose half has no data without the rule that then fails the canary.
        let no_data = answer["score"]["classificationReason"]
            == "Canary Failed: 50% or more metrics returned NODATA";
        if !no_data {
            return Err(format!("expected {expected}, got {answer}"));
        }
    }
    if let Some(scores) = expected.get("groupScoresSorted") {
        let mut got: Vec<f64> = answer["groupScores"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| number(&group["score"]))
            .collect();
        got.sort_by(f64::total_cmp);
        if got != numbers(scores) {
            return Err(format!("expected {expected}, got {got:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_collected_configuration_is_read_and_only_weak() {
    let Ok(entries) = std::fs::read_dir(folder().join("configs")) else {
        eprintln!("skipped: no configurations at {}", folder().display());
        return;
    };
    let mut read = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let config = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let refused: Vec<_> = gennaker_judge::lint(&config, None)
            .into_iter()
            .filter(|problem| problem.severity == gennaker_judge::Severity::Error)
            .collect();
        assert_eq!(refused, [], "{}", path.display());
        read += 1;
    }
    assert!(read > 0);
}

#[test]
fn the_default_mode_says_the_same_about_ordinary_data() {
    let Some(cases) = lines("judge-reference.jsonl") else {
        return;
    };
    // Kinds of cases without what the default mode judges differently.
    let ordinary = [
        "direction",
        "shapes",
        "effect-ratio",
        "effect-cles",
        "boundary-effect",
        "boundary-interval",
        "constant-one",
        "constant-both",
        "identical",
        "thresholds",
        "long",
    ];
    let said = |answer: &Value| {
        let results: Vec<Value> = answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| {
                json!([
                    result["classification"],
                    result["classificationReason"],
                    result["critical"]
                ])
            })
            .collect();
        json!([answer["score"], answer["groupScores"], results])
    };
    let mut compared = 0;
    for case in &cases {
        if ordinary.contains(&case["category"].as_str().unwrap()) {
            let got = evaluate_case(case, Mode::Default);
            assert_eq!(said(&got), said(&case["expected"]), "{}", case["id"]);
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
}
