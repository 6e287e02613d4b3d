//! What the process finds around it: clock, environment, directories. Read here and nowhere else.

#![allow(
    clippy::disallowed_methods,
    reason = "the command line is the edge where clock and environment are read"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Now, UTC milliseconds.
pub(crate) fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Who asks: `USER`. Records that have to be true are made by credentials, not by this.
pub(crate) fn user() -> String {
    variable("USER")
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| "command line".to_owned())
}

/// An environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the SDK's own settings lead to this machine: `eval "$(gennaker local env)"`.
pub(crate) fn is_local_cloud() -> bool {
    variable("AWS_ENDPOINT_URL").is_some_and(|endpoint| is_local(&endpoint))
}

/// Whether an endpoint is on this machine.
pub(crate) fn is_local(endpoint: &str) -> bool {
    ["http://127.0.0.1:", "http://localhost:"]
        .iter()
        .any(|local| endpoint.starts_with(local))
}

/// Cargo's target directory: where the local cloud, builds and packages live.
///
/// The one that this binary was built into; `CARGO_TARGET_DIR` wins.
pub(crate) fn target_directory() -> PathBuf {
    if let Some(directory) = variable("CARGO_TARGET_DIR") {
        return PathBuf::from(directory);
    }
    // target/<profile>/gennaker
    std::env::current_exe()
        .ok()
        .and_then(|binary| {
            let target = binary.parent()?.parent()?;
            (target.file_name()? == "target").then(|| target.to_owned())
        })
        .unwrap_or_else(|| PathBuf::from("target"))
}

/// Columns of the terminal on standard error; 110 where there is none.
pub(crate) fn columns() -> usize {
    let (_, columns) = console::Term::stderr().size_checked().unwrap_or((0, 110));
    usize::from(columns)
}

/// The checkout that holds the template: the working directory or one above it, else where this binary was built.
pub(crate) fn workspace_directory() -> Result<PathBuf, Failure> {
    let is_workspace = |directory: &Path| directory.join("infra").join("template.yaml").is_file();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("..");
    let current = std::env::current_dir().unwrap_or_default();
    current
        .ancestors()
        .map(Path::to_owned)
        .chain(std::iter::once(built_in))
        .find(|directory| is_workspace(directory))
        .and_then(|directory| directory.canonicalize().ok())
        .ok_or_else(|| {
            Failure::environment_with_hint(
                "the functions and infra/template.yaml are not here",
                "run this in a checkout of Gennaker: the local cloud runs what it builds from there",
            )
        })
}

/// Where programs are searched, with another directory first.
pub(crate) fn path_with(directory: &Path) -> OsString {
    let known = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&known));
    std::env::join_paths(all).unwrap_or(known)
}
