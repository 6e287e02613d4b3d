//! What can go wrong with the local cloud, and whose fault it is.

use std::io;
use std::path::PathBuf;

use crate::python::last_lines;

/// Everything this crate refuses or fails at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `python3`, or it is too old, or it lacks the `venv` module.
    #[error(
        "cannot make a Python environment with `python3`: {reason}; install Python 3.10 or later with its venv module (Debian: `apt install python3-venv`)"
    )]
    Python {
        /// What Python or the system said.
        reason: String,
    },
    /// `pip install` of the pinned emulators failed.
    #[error("cannot install the emulators ({pins}; the first set-up needs the network): {reason}")]
    Install {
        /// What was to be installed.
        pins: String,
        /// The end of what pip said.
        reason: String,
    },
    /// A process of the cloud did not come up.
    #[error("`{name}` of the local cloud did not start: {reason}{}", log_lines(.log))]
    Start {
        /// Which process: `ministack`, `world`, `codebuild` or `supervisor`.
        name: String,
        /// Why.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// A process of the cloud ended while it was needed; the rest has been ended too.
    #[error("`{name}` of the local cloud died: {reason}{}", log_lines(.log))]
    Died {
        /// Which process.
        name: String,
        /// How it ended.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// `up` while a cloud is up.
    #[error("a local cloud is already up (process {pid}); end it with `gennaker local down`")]
    AlreadyUp {
        /// The process that owns it.
        pid: u32,
    },
    /// A world file, a template or a pipeline that cannot be used.
    #[error("{what}: {reason}")]
    Input {
        /// The file or value.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A call in the local cloud was refused.
    #[error("{operation} in the local cloud: {reason}")]
    Call {
        /// What was tried.
        operation: String,
        /// What was answered.
        reason: String,
    },
    /// `cargo build` or `cargo metadata` of the functions failed.
    #[error("cannot build the functions: {reason}")]
    Build {
        /// The end of what cargo said.
        reason: String,
    },
    /// [`crate::interrupt`] was called.
    #[error("interrupted")]
    Interrupted,
    /// The file system.
    #[error("`{path}`")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The exit status of a command that ends with this error: 2 for an input, 3 for the environment,
    /// 130 for an interruption, 1 for an answer that was no.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Input { .. } => 2,
            Self::Interrupted => 130,
            Self::Call { .. } | Self::Build { .. } => 1,
            Self::Python { .. }
            | Self::Install { .. }
            | Self::Start { .. }
            | Self::Died { .. }
            | Self::AlreadyUp { .. }
            | Self::File { .. } => 3,
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// The end of a log, set off from the message; nothing when there is none.
fn log_lines(log: &str) -> String {
    if log.trim().is_empty() {
        String::new()
    } else {
        let lines = last_lines(log, 8);
        if lines.starts_with('\n') {
            lines
        } else {
            format!("\n  | {lines}")
        }
    }
}
