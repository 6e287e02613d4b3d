//! Every pipeline that people wrote compiles, or is refused with exact problems.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod structure;

use std::{collections::BTreeMap, path::PathBuf};

use gennaker_compiler::{Options, compile_text};

/// The folder of recorded facts, if this checkout has one beside it.
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

/// Refusals of what is outside AWS or Spinnaker: stage types of other providers and of plugins.
const NOT_OURS: [&str; 2] = ["outside-aws", "unknown-stage-type"];
/// Refusals of what could not run anywhere.
const BROKEN: [&str; 3] = [
    "dangling-requisite",
    "deploy-without-clusters",
    "missing-ref-id",
];

#[test]
fn every_pipeline_of_the_corpus_compiles_or_is_refused_with_exact_problems() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(corpus.join("pipelines"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut errors: BTreeMap<String, usize> = BTreeMap::new();
    let mut warnings: BTreeMap<String, usize> = BTreeMap::new();
    let (mut compiled, mut refused) = (0, 0);
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let problems = match compile_text(&text, &Options::default()) {
            Ok(answer) => {
                compiled += 1;
                structure::check(&answer);
                let again = compile_text(&text, &Options::default()).unwrap();
                assert_eq!(answer, again, "{name}");
                answer.warnings
            }
            Err(problems) => {
                refused += 1;
                assert!(
                    problems.iter().any(gennaker_domain::Problem::is_error),
                    "{name}"
                );
                for problem in problems.iter().filter(|problem| problem.is_error()) {
                    println!(
                        "{name}: {} {} {}",
                        problem.code, problem.path, problem.message
                    );
                }
                let has = |codes: &[&str]| {
                    let mut errors = problems.iter().filter(|problem| problem.is_error());
                    errors.any(|problem| codes.contains(&problem.code.as_str()))
                };
                // Whatever is of AWS, or of no provider, and consists of Spinnaker's own stage types compiles, unless
                // Spinnaker could not run it either.
                assert!(has(&NOT_OURS) || has(&BROKEN), "{name}: {problems:?}");
                problems
            }
        };
        let mut codes: Vec<(bool, String)> = problems
            .into_iter()
            .map(|problem| {
                assert!(problem.path.starts_with('$'), "{name}: {problem}");
                (problem.is_error(), problem.code)
            })
            .collect();
        codes.sort();
        codes.dedup();
        for (is_error, code) in codes {
            let table = if is_error { &mut errors } else { &mut warnings };
            *table.entry(code).or_default() += 1;
        }
    }
    println!(
        "{} pipelines: {compiled} compile, {refused} are refused",
        files.len()
    );
    println!("refused because of: {errors:#?}");
    println!("warned of: {warnings:#?}");
    assert!(compiled > 0 && compiled + refused == files.len());
}
