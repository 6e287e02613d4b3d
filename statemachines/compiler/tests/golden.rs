//! Pipelines and what they compile to, side by side under `statemachines/golden`, to be reviewed as pairs.
//!
//! With `UPDATE_GOLDEN=1` the test writes what the compiler makes now; without, it compares.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod structure;

use std::path::Path;

use gennaker_compiler::{Options, compile_text};
use serde_json::Value;

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn every_golden_pipeline_compiles_to_its_definition_and_plan() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden"));
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut pairs = 0;
    let mut folders: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    for pair in folders {
        let text = std::fs::read_to_string(pair.join("pipeline.json")).unwrap();
        let compiled = compile_text(&text, &Options::default()).unwrap();
        structure::check(&compiled);
        let plan = serde_json::to_value(&compiled.plan).unwrap();
        for (file, made) in [
            ("definition.json", pretty(&compiled.definition)),
            ("plan.json", pretty(&plan)),
        ] {
            let path = pair.join(file);
            if update {
                std::fs::write(&path, &made).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                golden == made,
                "{} differs from what is compiled; look at it with UPDATE_GOLDEN=1 and git diff",
                path.display()
            );
        }
        pairs += 1;
    }
    assert!(pairs >= 5);
}
