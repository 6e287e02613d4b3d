//! The report page and its JSON.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use gennaker_judge::{
    CanaryConfig, Judgement, Look, MetricPair, MetricPairs, Mode, Report, Thresholds, Verdict,
    judge, judge_with_report,
};
use proptest::prelude::*;
use serde_json::json;

const THRESHOLDS: Thresholds = Thresholds {
    pass: 95.0,
    marginal: 75.0,
};

fn config(name: &str) -> CanaryConfig {
    CanaryConfig::parse(&json!({
        "name": "checkout",
        "metrics": [{ "name": name, "groups": ["g<1>"] }],
        "classifier": { "groupWeights": { "g<1>": 100 } },
    }))
    .unwrap()
}

fn pair(name: &str, baseline: &[f64], canary: &[f64]) -> MetricPair {
    MetricPair {
        name: name.to_owned(),
        id: Some("p".to_owned()),
        tags: Some(json!({ "host": "a&b" })),
        baseline: baseline.to_vec(),
        canary: canary.to_vec(),
    }
}

fn page(config: &CanaryConfig, pairs: &[MetricPair], looks: &[Look]) -> (String, Judgement) {
    let judgement = judge(config, pairs, THRESHOLDS, Mode::Default).unwrap();
    let report = Report {
        title: "shop <script>alert(1)</script>",
        config,
        pairs,
        judgement: &judgement,
        thresholds: THRESHOLDS,
        looks,
        step_seconds: Some(60.0),
    };
    (report.to_html(), judgement)
}

#[test]
fn the_page_is_complete_in_itself_and_escapes_all_text() {
    let name = "latency \"p99\" <ms>";
    let config = config(name);
    let baseline: Vec<f64> = (0..30).map(f64::from).collect();
    let canary: Vec<f64> = (0..30).map(|i| f64::from(i) + 40.0).collect();
    let looks = [(100.0, Verdict::Pass), (0.0, Verdict::Fail)].map(|(score, verdict)| Look {
        label: "<look>".to_owned(),
        score,
        verdict,
    });
    let (page, _) = page(&config, &[pair(name, &baseline, &canary)], &looks);
    for needed in [
        "<!doctype html>",
        "name=\"viewport\"",
        "prefers-color-scheme: dark",
        "shop &lt;script&gt;alert(1)&lt;/script&gt;",
        "latency &quot;p99&quot; &lt;ms&gt; was classified as High",
        "host=a&amp;b",
        "Fail with 0",
        "Score over time",
        "&lt;look&gt;",
        "g&lt;1&gt;",
        "aria-label=\"Shift 40",
        "29 min",
    ] {
        assert!(page.contains(needed), "no {needed}");
    }
    for foreign in [
        "<script", "http:", "https:", "src=", "@import", "url(", "NaN", "<look>",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn long_series_make_a_short_page() {
    let config = config("m");
    let values: Vec<f64> = (0..100_000).map(|i| f64::from(i % 997)).collect();
    let (page, _) = page(&config, &[pair("m", &values, &values)], &[]);
    assert!(page.len() < 40_000, "{} bytes", page.len());
    assert!(!page.contains("Score over time"));
}

#[test]
fn the_json_carries_what_the_judge_result_leaves_out() {
    let config = config("m");
    let pairs = [pair(
        "m",
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        &[11.0, 12.0, 13.0, 14.0, 15.0, 17.0],
    )];
    let judgement = judge(&config, &pairs, THRESHOLDS, Mode::Default).unwrap();
    let looks = [Look {
        label: "#1".to_owned(),
        score: 0.0,
        verdict: Verdict::Fail,
    }];
    let report = Report {
        title: "shop",
        config: &config,
        pairs: &pairs,
        judgement: &judgement,
        thresholds: THRESHOLDS,
        looks: &looks,
        step_seconds: None,
    };
    let json = report.to_json();
    assert_eq!(json["classification"], "Fail");
    assert_eq!(
        json["looks"],
        json!([{ "label": "#1", "score": 0.0, "classification": "Fail" }])
    );
    assert_eq!(
        json["metrics"][0]["classificationReason"],
        "m was classified as High"
    );
    assert!(json["metrics"][0]["shift"]["lower"].as_f64().unwrap() > 0.0);
    assert_eq!(json["judgeResult"], judgement.to_json());
}

#[test]
fn a_page_is_made_from_the_files_of_the_command() {
    let config = json!({
        "metrics": [{ "name": "m", "groups": ["g"] }],
        "classifier": { "groupWeights": { "g": 100 } },
    });
    let metrics = json!({ "pairs": [{ "name": "m", "values": { "control": [1, 2, null], "experiment": [2, 1] } }] });
    let thresholds = json!({ "pass": 95, "marginal": 75 });
    let (judgement, page) = judge_with_report(
        &config,
        MetricPairs::of(&metrics),
        &thresholds,
        Mode::Default,
        "shop",
    )
    .unwrap();
    assert_eq!(judgement.score.verdict, Verdict::Pass);
    assert!(page.contains("<h1>shop</h1>") && page.contains("Pass with 100"));
}

proptest! {
    #[test]
    fn any_series_makes_a_page_without_undefined_coordinates(
        baseline in prop::collection::vec(prop_oneof![any::<f64>(), -5.0..5.0f64], 0..30),
        canary in prop::collection::vec(prop_oneof![any::<f64>(), -5.0..5.0f64], 0..30),
        scores in prop::collection::vec(any::<f64>(), 0..4),
    ) {
        let config = config("m");
        let looks: Vec<Look> = scores
            .into_iter()
            .map(|score| Look { label: "l".to_owned(), score, verdict: Verdict::Fail })
            .collect();
        let (page, _) = page(&config, &[pair("m", &baseline, &canary)], &looks);
        prop_assert!(page.ends_with("</html>\n"));
        for undefined in ["NaN", "\"inf", " inf", "-inf", "Minf", "Linf"] {
            prop_assert!(!page.contains(undefined), "{} in {}", undefined, page);
        }
    }
}
