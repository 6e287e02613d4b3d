//! The functions' processes, for tests that end them at the worst moment.

use std::fs;
use std::process::Command;

use crate::{Error, LocalCloud};

/// A running process of a function. Lambda's word for it is an execution environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionProcess {
    /// Its process id.
    pub pid: u32,
    /// The function's name, `gennaker-resize-server-group`.
    pub function: String,
}

impl LocalCloud {
    /// The functions' processes that live now, busy or warm. Linux only: elsewhere the list is empty.
    #[must_use]
    pub fn function_processes(&self) -> Vec<FunctionProcess> {
        let home = format!("HOME={}", self.run_directory().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A process may end between two reads; it is not running then.
            let Ok(environment) = fs::read(entry.path().join("environ")) else {
                continue;
            };
            let environment = String::from_utf8_lossy(&environment);
            let mut variables = environment.split('\0');
            if !variables.clone().any(|variable| variable == home) {
                continue;
            }
            if let Some(function) =
                variables.find_map(|variable| variable.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="))
            {
                found.push(FunctionProcess {
                    pid,
                    function: function.to_owned(),
                });
            }
        }
        found.sort_by_key(|process| process.pid);
        found
    }

    /// Ends a function's process with SIGKILL, as when Lambda's host fails; the caller of the function sees
    /// `Runtime.ExitError`. A process that is gone already is not an error, and only a process of this cloud's
    /// functions is ended.
    ///
    /// # Errors
    /// [`Error::Call`] when `kill` cannot be run.
    pub fn kill_function_process(&self, process: &FunctionProcess) -> Result<(), Error> {
        if !self.function_processes().contains(process) {
            return Ok(());
        }
        Command::new("kill")
            .args(["-KILL", &process.pid.to_string()])
            .output()
            .map(|_| ())
            .map_err(|error| Error::Call {
                operation: "kill".to_owned(),
                reason: error.to_string(),
            })
    }
}
