//! Building the functions of a workspace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use gennaker_local::{Silent, Step, functions};

/// A workspace with two functions, a library beside them, and no dependencies.
fn workspace(directory: &Path, greeting: &str) {
    let package = |folder: &str, name: &str, file: &str, text: &str| {
        let package = directory.join(folder).join(name);
        fs::create_dir_all(package.join("src")).unwrap();
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::write(package.join("src").join(file), text).unwrap();
    };
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"functions/*\", \"shared/*\"]\n";
    fs::write(directory.join("Cargo.toml"), members).unwrap();
    package(
        "functions",
        "wait",
        "main.rs",
        &format!("fn main() {{ println!(\"{greeting}\"); }}"),
    );
    package(
        "functions",
        "resize-server-group",
        "main.rs",
        "fn main() {}",
    );
    package("shared", "domain", "main.rs", "fn main() {}");
}

#[test]
fn every_package_below_functions_is_built_in_one_go() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    workspace(directory.path(), "hello");
    let steps = Mutex::new(Vec::new());
    let progress = |step: Step| steps.lock().unwrap().push(step);
    let built = functions::build(directory.path(), "dev", &progress).unwrap();
    let names: Vec<_> = built
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(names, ["resize-server-group", "wait"]);
    let output = Command::new(&built[1].binary).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
    assert!(
        steps
            .lock()
            .unwrap()
            .iter()
            .any(|step| step.detail == "wait")
    );
    // Unchanged, the same binaries come back.
    assert_eq!(
        functions::build(directory.path(), "dev", &Silent).unwrap(),
        built
    );
}

#[test]
fn a_compile_error_is_shown() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    workspace(directory.path(), "\"); let x: u8 = true; println!(\"");
    let error = functions::build(directory.path(), "dev", &Silent).unwrap_err();
    assert!(error.to_string().contains("mismatched types"), "{error}");
    assert_eq!(error.exit_status(), 1);
}
