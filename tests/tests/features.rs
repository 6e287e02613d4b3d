//! The demo, the functions and the tests select different packages; Cargo unifies features over what is selected. Where
//! the features of a third-party crate differ, everything above it, the SDK first, is built once more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use gennaker_tests::workspace;

/// Features by third-party crate, as Cargo resolves them for a selection.
fn features(selection: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "--format", "{p}|{f}", "--prefix", "none",
        ])
        .args(selection)
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line = line.replace(" (*)", "").replace(" (proc-macro)", "");
        let Some((package, features)) = line.split_once('|') else {
            continue;
        };
        // The path in brackets is that of a crate of ours.
        if !package.contains('(') {
            let features = features
                .split(',')
                .filter(|feature| !feature.is_empty())
                .map(str::to_owned);
            found
                .entry(package.to_owned())
                .or_default()
                .extend(features);
        }
    }
    found
}

#[test]
fn every_selection_of_packages_builds_third_party_crates_with_the_same_features() {
    let whole = features(&["--workspace", "--edges", "all"]);
    let mut functions: Vec<String> = std::fs::read_dir(workspace().join("functions"))
        .unwrap()
        .map(|entry| format!("gennaker-{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    functions.sort();
    let all: Vec<&str> = functions
        .iter()
        .flat_map(|name| ["--package", name.as_str()])
        .collect();
    for mut selection in [
        vec!["--package", "gennaker"],
        vec!["--package", "gennaker-wait"],
        all,
    ] {
        selection.extend(["--edges", "normal,build"]);
        for (package, found) in features(&selection) {
            let missing: Vec<_> = whole
                .get(&package)
                .into_iter()
                .flatten()
                .filter(|f| !found.contains(*f))
                .collect();
            assert!(
                missing.is_empty(),
                "{package} lacks {missing:?} with {selection:?}: add them in the root, and the crate to shared/cloud"
            );
        }
    }
}
