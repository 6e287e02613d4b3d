//! Random graphs with random policies and ends: the functions' own code against the compiled definition in the
//! simulator, and both against a naive statement of the rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "../../simulator/tests/naive/mod.rs"]
mod naive;

use gennaker_compiler::{Options, compile};
use gennaker_evaluator::evaluate_case;
use gennaker_simulator::simulate;
use naive::{Naive, naive, pipeline, stages};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Status, start and end of every stage, in the pipeline's order, and those of the execution.
type Told = (String, f64, Vec<(String, Option<f64>, Option<f64>)>);

fn by_the_functions(pipeline: &Value, outcomes: &Value) -> Told {
    let case = json!({"pipeline": pipeline, "outcomes": outcomes});
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(evaluate_case(&case));
    let result = &answer["result"];
    assert!(result.is_object(), "{answer}");
    let stages = result["stages"].as_object().unwrap();
    (
        result["status"].as_str().unwrap().to_owned(),
        result["endSeconds"].as_f64().unwrap(),
        stages
            .values()
            .map(|stage| {
                (
                    stage["status"].as_str().unwrap().to_owned(),
                    stage["startSeconds"].as_f64(),
                    stage["endSeconds"].as_f64(),
                )
            })
            .collect(),
    )
}

fn by_the_definition(pipeline: &Value, outcomes: &Value) -> Told {
    let compiled = compile(pipeline, &Options::default()).unwrap();
    let run = simulate(
        &compiled.definition,
        &compiled.plan,
        outcomes,
        0,
        &Value::Null,
    )
    .unwrap();
    let stages = run["stages"].as_array().unwrap();
    (
        run["status"].as_str().unwrap().to_owned(),
        run["seconds"].as_f64().unwrap(),
        stages
            .iter()
            .map(|stage| {
                (
                    stage["status"].as_str().unwrap().to_owned(),
                    stage["started"].as_f64(),
                    stage["ended"].as_f64(),
                )
            })
            .collect(),
    )
}

fn by_the_rules(stages: &[Naive]) -> Told {
    let (status, seconds, states) = naive(stages);
    (
        status.to_owned(),
        f64::from(seconds),
        states
            .iter()
            .map(|state| {
                (
                    state.status.unwrap_or("NOT_STARTED").to_owned(),
                    state.started.map(f64::from),
                    state.ended.map(f64::from),
                )
            })
            .collect(),
    )
}

/// Functions, definition and rules say the same.
fn compare(stages: &[Naive]) -> Result<(), TestCaseError> {
    let (pipeline, outcomes) = pipeline(stages);
    let rules = by_the_rules(stages);
    prop_assert_eq!(&by_the_functions(&pipeline, &outcomes), &rules);
    prop_assert_eq!(&by_the_definition(&pipeline, &outcomes), &rules);
    Ok(())
}

#[test]
fn a_join_does_not_pass_a_stage_that_never_starts_before_that_one_had_its_turn() {
    let stage = |requisites: &[usize], policy, end, seconds| Naive {
        requisites: requisites.to_vec(),
        policy,
        end,
        seconds,
        enabled: true,
    };
    // Stage 3 never starts because of stage 2, but has its turn only when stage 1 has ended. Stage 4 joins it, and what is
    // behind stage 4 relies on stage 1.
    compare(&[
        stage(&[], "halt", "SUCCEEDED", 1),
        stage(&[], "halt", "SUCCEEDED", 2),
        stage(&[], "branch", "TERMINAL", 0),
        stage(&[1, 2], "halt", "SUCCEEDED", 0),
        stage(&[0, 3], "halt", "SUCCEEDED", 0),
        stage(&[3], "halt", "SUCCEEDED", 0),
        stage(&[1, 4], "halt", "SUCCEEDED", 0),
    ])
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn functions_definition_and_rules_agree_on_any_graph(stages in stages()) {
        compare(&stages)?;
    }
}
