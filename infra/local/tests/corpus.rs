//! Pipelines as real people wrote them: whatever they name can be created.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::{Path, PathBuf};

use gennaker_local::{LocalCloud, Options, Silent};
use serde_json::Value;

#[test]
fn every_pipeline_of_the_corpus_can_be_seeded() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("GENNAKER_CORPUS").map_or(default, PathBuf::from);
    let Ok(files) = fs::read_dir(corpus.join("pipelines")) else {
        println!("skipped: no corpus at {}", corpus.display());
        return;
    };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let cloud = LocalCloud::start(&Options::new(target), &Silent).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let mut groups = 0;
    for path in paths {
        let Ok(pipeline) = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()) else {
            continue;
        };
        let created = cloud.seed_for_pipeline(&pipeline, true);
        let created = created.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        groups += created
            .iter()
            .filter(|one| one.kind == "server group")
            .count();
    }
    assert!(groups > 10, "only {groups} server groups were named");
    for group in cloud
        .clusters()
        .unwrap()
        .iter()
        .flat_map(|cluster| &cluster.server_groups)
    {
        assert_eq!(group.healthy, group.capacity.bounds().1, "{}", group.name);
    }
}
