//! The sub-stages of every strategy are those that the original engine planned.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::{collections::BTreeMap, path::PathBuf};

use gennaker_compiler::{BuiltFunctions, Compiled, Options, built::BUILT, compile};
use gennaker_domain::Owner;
use gennaker_domain::deployment::strategy::Condition;
use serde_json::{Value, json};

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("GENNAKER_CORPUS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/corpus"
            ))
        },
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

/// Sub-stages that the plan has where the original has a task, or wrapping that only it needs.
const OURS_OR_THEIRS: [&str; 2] = [
    "captureSourceServerGroupCapacity",
    "modifyAwsScalingProcess",
];

fn ours(compiled: &Compiled, parent: &str, owner: Owner, with_source: bool) -> Vec<String> {
    compiled
        .plan
        .children(parent)
        .filter(|stage| {
            stage.owner == Some(owner)
                && (with_source || !stage.conditions.contains(&Condition::Source))
        })
        .map(|stage| stage.stage_type.clone())
        .filter(|stage_type| !OURS_OR_THEIRS.contains(&stage_type.as_str()))
        .collect()
}

#[test]
fn sub_stages_are_those_that_the_original_planned() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus");
        return;
    };
    let text =
        std::fs::read_to_string(corpus.join("deployment/strategies-reference.jsonl")).unwrap();
    // As if the rollback's function existed: its stages are in the plan then.
    let options = Options {
        built: BuiltFunctions::new(BUILT.iter().copied().chain(["rollback-cluster"])),
        ..Options::default()
    };
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let stages = case["expected"]["stages"].as_array().unwrap();
        let mut stage = case["input"]["context"].clone();
        stage["refId"] = json!("1");
        stage["type"] = stages[0]["type"].clone();
        let compiled = match compile(&json!({"stages": [stage]}), &options) {
            Ok(compiled) => compiled,
            Err(problems) => {
                *counts
                    .entry(format!("refused: {}", problems[0].code))
                    .or_default() = (0, 0);
                assert_eq!(problems[0].code, "strategy-refused", "{}", problems[0]);
                continue;
            }
        };
        for created in stages
            .iter()
            .filter(|stage| stage["type"] == "createServerGroup")
        {
            let ref_id = created["ref"].as_str().unwrap();
            let strategy = compiled.plan.stage(ref_id).unwrap().context["strategy"]
                .as_str()
                .unwrap_or("")
                .to_lowercase();
            let failed: Vec<&str> = created["failureStages"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let children = |owner: &str| -> Vec<String> {
                stages
                    .iter()
                    .filter(|stage| stage["parent"] == created["ref"] && stage["owner"] == owner)
                    .filter(|stage| !failed.contains(&stage["ref"].as_str().unwrap()))
                    .map(|stage| stage["type"].as_str().unwrap().to_owned())
                    .filter(|stage_type| !OURS_OR_THEIRS.contains(&stage_type.as_str()))
                    .collect()
            };
            let complete = created["status"] == "SUCCEEDED";
            let same = [true, false].into_iter().any(|with_source| {
                let planned = ours(&compiled, ref_id, Owner::After, with_source);
                let recorded = children("STAGE_AFTER");
                let after = if complete {
                    planned == recorded
                } else {
                    // A failure cuts the list short.
                    planned.starts_with(&recorded)
                };
                let on_failure: Vec<String> = failed
                    .iter()
                    .filter_map(|failed| stages.iter().find(|stage| stage["ref"] == *failed))
                    .map(|stage| stage["type"].as_str().unwrap().to_owned())
                    .collect();
                let planned = ours(&compiled, ref_id, Owner::OnFailure, with_source);
                let mut rest = planned.iter();
                // In this order; some only run if there is something to do.
                let failure = on_failure
                    .iter()
                    .all(|stage| rest.any(|planned| planned == stage));
                after && failure
            });
            let before = !complete
                || children("STAGE_BEFORE") == ours(&compiled, ref_id, Owner::Before, true);
            let count = counts.entry(strategy).or_default();
            count.1 += 1;
            if same && before {
                count.0 += 1;
            } else {
                wrong.push(format!("{} {ref_id}", case["id"]));
                println!(
                    "{} {ref_id} {}: {:?} + {failed:?}, not {:?} / {:?}",
                    case["id"],
                    created["status"],
                    children("STAGE_AFTER"),
                    ours(&compiled, ref_id, Owner::After, true),
                    ours(&compiled, ref_id, Owner::OnFailure, true),
                );
            }
        }
    }
    println!("{counts:#?}");
    assert!(wrong.is_empty(), "{} differ: {wrong:?}", wrong.len());
}
