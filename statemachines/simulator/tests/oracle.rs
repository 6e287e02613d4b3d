//! Random graphs with random policies and ends, against a second, naive statement of the rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod naive;

use std::collections::BTreeMap;

use gennaker_compiler::{Options, compile};
use gennaker_simulator::simulate;
use naive::{Naive, naive, pipeline, stages};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The compiled pipeline in the simulator ends as the naive engine says.
fn compare(stages: &[Naive]) -> Result<(), TestCaseError> {
    let (pipeline, outcomes) = pipeline(stages);
    let compiled = compile(&pipeline, &Options::default()).unwrap();
    let run = simulate(
        &compiled.definition,
        &compiled.plan,
        &outcomes,
        0,
        &Value::Null,
    )
    .unwrap();
    let (status, seconds, states) = naive(stages);
    prop_assert_eq!(&run["status"], status);
    prop_assert_eq!(&run["seconds"], seconds);
    for (at, state) in states.iter().enumerate() {
        let mut expected = BTreeMap::new();
        expected.insert("refId", json!(at.to_string()));
        expected.insert(
            "type",
            json!(if at % 2 == 0 {
                "wait"
            } else {
                "evaluateVariables"
            }),
        );
        expected.insert("status", json!(state.status.unwrap_or("NOT_STARTED")));
        if let Some(started) = state.started {
            expected.insert("started", json!(started));
        }
        if let Some(ended) = state.ended {
            expected.insert("ended", json!(ended));
        }
        prop_assert_eq!(&run["stages"][at], &json!(expected));
    }
    Ok(())
}

#[test]
fn a_stage_whose_end_only_makes_another_halt_count_still_lets_its_dependants_go() {
    let stage = |requisites: &[usize], end, seconds, enabled| Naive {
        requisites: requisites.to_vec(),
        policy: "halt",
        end,
        seconds,
        enabled,
    };
    // 3 and 6 end in the same instant; 5 can never start, so the end of 3 looks at the execution.
    let stages = [
        stage(&[], "SUCCEEDED", 0, false),
        stage(&[], "SUCCEEDED", 0, true),
        stage(&[], "SUCCEEDED", 5, true),
        stage(&[1], "SUCCEEDED", 2, true),
        stage(&[3], "SUCCEEDED", 0, false),
        stage(&[2, 3, 7], "SUCCEEDED", 0, false),
        stage(&[], "TERMINAL", 2, true),
        stage(&[], "STOPPED", 0, true),
    ];
    compare(&stages).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_compiled_graph_ends_as_the_naive_engine_says(stages in stages()) {
        compare(&stages)?;
    }
}
