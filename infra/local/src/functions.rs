//! Building the functions: one `cargo build` for all binaries below `functions/`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::children::Program;
use crate::python::last_lines;
use crate::{Error, Progress, Step, surroundings};

/// A function's name and its binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionArtifact {
    /// The folder below `functions/`, which is the function's name: `resize-server-group`.
    pub name: String,
    /// The binary for this machine.
    pub binary: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    executable: Option<PathBuf>,
}

/// A Cargo that builds the same whoever starts it. `cargo gennaker` and `cargo test` tell their program which package it
/// is, and build scripts (ring's) that look at the same variables would run anew, and everything above them be compiled
/// anew, at each change between the two.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for name in surroundings::of_outer_cargo() {
        cargo.env_remove(name);
    }
    cargo
}

/// Builds every function of the workspace for this machine with the given profile (`dev`); in order of their names.
///
/// A second call without a change takes a second. Cargo's own lock makes concurrent calls wait for each other.
///
/// # Errors
/// [`Error::Build`] with the end of what Cargo said, [`Error::Interrupted`].
pub fn build(
    workspace: &Path,
    profile: &str,
    progress: &dyn Progress,
) -> Result<Vec<FunctionArtifact>, Error> {
    let mut cargo = cargo();
    cargo.args(["build", "--profile", profile]);
    build_with(cargo, workspace, &[], progress)
}

/// The functions of the workspace, in order of their names.
///
/// # Errors
/// [`Error::Build`] when Cargo cannot read the workspace.
pub fn names(workspace: &Path) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = functions_of(workspace)?.iter().map(folder).collect();
    names.sort();
    Ok(names)
}

/// Builds functions (`only` these; all of them if it is empty) by a Cargo command that the caller has begun, such as
/// `cargo build --release` or one that builds for another machine; in order of their names.
///
/// # Errors
/// [`Error::Build`] with the end of what Cargo said.
pub fn build_with(
    mut cargo: Command,
    workspace: &Path,
    only: &[String],
    progress: &dyn Progress,
) -> Result<Vec<FunctionArtifact>, Error> {
    let mut functions = functions_of(workspace)?;
    functions.retain(|package| only.is_empty() || only.contains(&folder(package)));
    let total = packages_in_lock_file(workspace);
    cargo
        .args(["--bins", "--message-format=json-render-diagnostics"])
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for package in &functions {
        cargo.args(["--package", &package.name]);
    }
    let failed = |reason: String| Error::Build { reason };
    // Before anything is compiled: another Cargo may hold the target directory for a while.
    progress.report(Step {
        title: "building the functions".to_owned(),
        detail: String::new(),
        done: None,
    });
    let mut program =
        Program::start(&mut cargo).map_err(|why| why.or(|error| failed(error.to_string())))?;
    // Both pipes are read at once: a full one would stop Cargo.
    let errors = program.child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is not shown; Cargo's exit status decides.
            let _ = pipe.read_to_string(&mut text);
            text
        })
    });
    let mut built = Vec::new();
    let mut count = 0;
    if let Some(pipe) = program.child.stdout.take() {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str::<Message>(&line) else {
                continue;
            };
            if message.reason != "compiler-artifact" {
                continue;
            }
            count += 1;
            let function = functions
                .iter()
                .find(|package| package.id == message.package_id);
            if let (Some(package), Some(binary)) = (function, message.executable) {
                built.push(FunctionArtifact {
                    name: folder(package),
                    binary,
                });
            }
            progress.report(Step {
                title: "building the functions".to_owned(),
                detail: crate_of(&message.package_id),
                done: Some((count.min(total), total)),
            });
        }
    }
    let succeeded = program.wait(failed)?;
    let errors = errors
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    if !succeeded {
        return Err(failed(last_lines(&errors, 12)));
    }
    built.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(built)
}

/// The packages below `functions/` that have a binary.
fn functions_of(workspace: &Path) -> Result<Vec<Package>, Error> {
    let failed = |reason: String| Error::Build { reason };
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(last_lines(
            &String::from_utf8_lossy(&output.stderr),
            4,
        )));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    let functions: Vec<Package> = metadata
        .packages
        .into_iter()
        .filter(|package| metadata.workspace_members.contains(&package.id))
        .filter(|package| {
            let parent = package.manifest_path.parent().and_then(Path::parent);
            parent
                .and_then(Path::file_name)
                .is_some_and(|name| name == "functions")
        })
        .filter(|package| {
            package
                .targets
                .iter()
                .any(|target| target.kind.iter().any(|kind| kind == "bin"))
        })
        .collect();
    if functions.is_empty() {
        return Err(failed(format!(
            "`{}` has no functions",
            workspace.display()
        )));
    }
    Ok(functions)
}

fn folder(package: &Package) -> String {
    let parent = package.manifest_path.parent().and_then(Path::file_name);
    parent.map_or_else(
        || package.name.clone(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// About how many crates are compiled: a build uses most of the lock file.
fn packages_in_lock_file(workspace: &Path) -> u64 {
    let text = std::fs::read_to_string(workspace.join("Cargo.lock")).unwrap_or_default();
    text.lines()
        .map(|line| u64::from(line == "[[package]]"))
        .sum()
}

/// `serde` from `registry+…#serde@1.0.229` or `path+file:///…/serde#1.0.229`.
fn crate_of(package_id: &str) -> String {
    let Some((source, fragment)) = package_id.rsplit_once('#') else {
        return package_id.to_owned();
    };
    let name = match fragment.split_once('@') {
        Some((name, _version)) => name,
        None => source.rsplit('/').next().unwrap_or(source),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_crate_that_was_built() {
        assert_eq!(
            crate_of("registry+https://example.invalid/index#serde@1.0.229"),
            "serde"
        );
        assert_eq!(crate_of("path+file:///home/x/functions/wait#0.1.0"), "wait");
        assert_eq!(crate_of("odd"), "odd");
    }
}
