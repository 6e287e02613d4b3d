//! Whatever goes in, an answer comes out; and no stage waits for one that it does not depend on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod structure;

use gennaker_compiler::{
    Options, compile, compile_text,
    graph::{self, Flow},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Requisites of up to `most` stages, each a set of earlier ones.
fn graphs(most: usize) -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        1..most,
    )
    .prop_map(|stages| {
        stages
            .iter()
            .enumerate()
            .map(|(at, picks)| {
                let mut list: Vec<usize> = picks
                    .iter()
                    .filter(|_| at > 0)
                    .map(|pick| pick.index(at))
                    .collect();
                list.sort_unstable();
                list.dedup();
                list
            })
            .collect()
    })
}

/// Names that try to be something else: code, ARNs, control characters, long ones.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{1,4}",
        any::<String>(),
        Just("{% $states.context.Execution.Input %}".to_owned()),
        Just("%} {% 1 + 1".to_owned()),
        Just("\"; $eval(\"1\")".to_owned()),
        Just("arn:aws:lambda:us-east-1:123456789012:function:x".to_owned()),
        Just("3<1>2".to_owned()),
        Just("\u{0}\u{7f}\n\\".to_owned()),
        "[x\u{1F600}]{200,500}",
    ]
}

/// Any JSON of a small depth, with the words of a pipeline in it.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        names().prop_map(Value::from),
        Just(json!("wait")),
        Just(json!("deploy")),
        Just(json!("${x}")),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let keys = prop_oneof![
            Just("stages".to_owned()),
            Just("refId".to_owned()),
            Just("requisiteStageRefIds".to_owned()),
            Just("type".to_owned()),
            Just("clusters".to_owned()),
            Just("strategy".to_owned()),
            Just("waitTime".to_owned()),
            Just("restrictExecutionDuringTimeWindow".to_owned()),
            names(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// What each step waits for when the machine walks it: everything that has to be over before it is entered.
fn waits(flow: &Flow<usize>, before: &[usize], found: &mut Vec<Vec<usize>>) -> Vec<usize> {
    match flow {
        Flow::Step(stage) => {
            found[*stage] = before.to_vec();
            vec![*stage]
        }
        Flow::Series(parts) => {
            let mut before = before.to_vec();
            let mut all = Vec::new();
            for part in parts {
                let inside = waits(part, &before, found);
                before.extend(&inside);
                all.extend(inside);
            }
            all
        }
        Flow::Parallel(parts) => parts
            .iter()
            .flat_map(|part| waits(part, before, found))
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_waits_for_requisites_only_and_joins_what_it_cannot_nest(
        requisites in graphs(60),
        early in prop::collection::vec(prop::bool::weighted(0.2), 60),
    ) {
        let order = graph::topological_order(&requisites).unwrap();
        let walk = graph::walk(&requisites, &order, &early);
        // Direct and indirect requisites of each stage.
        let mut needs: Vec<Vec<bool>> = vec![vec![false; requisites.len()]; requisites.len()];
        for stage in &order {
            for requisite in &requisites[*stage] {
                let theirs = needs[*requisite].clone();
                needs[*stage][*requisite] = true;
                for (at, needed) in theirs.into_iter().enumerate() {
                    needs[*stage][at] |= needed;
                }
            }
        }
        let mut before = vec![Vec::new(); requisites.len()];
        let all = waits(&walk.flow, &[], &mut before);
        prop_assert_eq!(all.len(), requisites.len());
        for stage in 0..requisites.len() {
            for other in &before[stage] {
                prop_assert!(needs[stage][*other], "{} waits for {}", stage, other);
                prop_assert!(!early[*other], "{} waits for the sub-stages of {}", stage, other);
            }
            // What a stage before has joined is over, too.
            let over = |requisite: &usize| {
                before[stage].contains(requisite)
                    || before[stage].iter().any(|other| walk.joins[*other] && needs[*other][*requisite])
            };
            let waits_for_all = requisites[stage].iter().all(over);
            prop_assert!(waits_for_all || walk.joins[stage], "{} starts too early", stage);
        }
    }

    #[test]
    fn any_graph_of_any_stages_compiles_to_a_sound_definition(
        requisites in graphs(40),
        names in prop::collection::vec(names(), 40),
        policies in prop::collection::vec((any::<Option<bool>>(), any::<Option<bool>>()), 40),
    ) {
        let ids: Vec<String> = (0..requisites.len()).map(|at| format!("{}{at}", names[at])).collect();
        let stages: Vec<Value> = requisites.iter().enumerate().map(|(at, list)| {
            let (fail, go_on) = policies[at];
            json!({
                "refId": ids[at],
                "type": if at % 3 == 0 { "wait" } else { "evaluateVariables" },
                "waitTime": 5,
                "name": names[at],
                "failPipeline": fail,
                "continuePipeline": go_on,
                "requisiteStageRefIds": list.iter().map(|of| ids[*of].clone()).collect::<Vec<_>>(),
            })
        }).collect();
        let pipeline = json!({"application": "shop", "name": "any", "stages": stages});
        let compiled = compile(&pipeline, &Options::default());
        // Random names may be equal once a number is put behind them: then that is what is told.
        match compiled {
            Ok(compiled) => structure::check(&compiled),
            Err(problems) => {
                prop_assert!(problems.iter().any(|problem| problem.code == "duplicate-ref-id"), "{:?}", problems);
            }
        }
    }

    #[test]
    fn any_json_is_answered(value in anything()) {
        match compile(&value, &Options::default()) {
            Ok(compiled) => structure::check(&compiled),
            Err(problems) => prop_assert!(problems.iter().any(gennaker_domain::Problem::is_error)),
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        if let Err(problems) = compile_text(&text, &Options::default()) {
            prop_assert!(problems.iter().any(gennaker_domain::Problem::is_error));
        }
    }
}

#[test]
fn ten_megabytes_and_deep_nesting_are_refused_with_the_reason() {
    let long = format!("\"{}\"", "x".repeat(10_000_001));
    let problems = compile_text(&long, &Options::default()).unwrap_err();
    assert_eq!(problems[0].code, "too-large");
    let deep = "[".repeat(100_000);
    let problems = compile_text(&deep, &Options::default()).unwrap_err();
    assert_eq!(problems[0].code, "unreadable-json");
}

#[test]
fn ten_thousand_stages_are_refused_with_the_reason() {
    let stages: Vec<Value> = (0..10_000)
        .map(|at| json!({"refId": at, "type": "wait", "requisiteStageRefIds": []}))
        .collect();
    let problems = compile(&json!({"stages": stages}), &Options::default()).unwrap_err();
    assert_eq!(problems[0].code, "too-many-stages");
    assert!(problems[0].message.contains("10000"));
}

#[test]
fn a_thousand_stages_with_joins_fit() {
    // The same made-up graph everywhere: each stage after at most three earlier ones.
    let mut seed = 42_u64;
    let mut pick = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let stages: Vec<Value> = (0..1000_u64)
        .map(|at| {
            let count = if at == 0 { 0 } else { pick(4) };
            let requisites: Vec<u64> = (0..count).map(|_| pick(at)).collect();
            json!({"refId": at, "type": "wait", "waitTime": 10, "requisiteStageRefIds": requisites})
        })
        .collect();
    let compiled = compile(&json!({"stages": stages}), &Options::default()).unwrap();
    structure::check(&compiled);
    assert!(compiled.plan.stages.iter().any(|stage| stage.joins));
}
