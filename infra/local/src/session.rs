//! Calls in the cloud by `cloud.py`: one process, made at the first call, one JSON line for each call.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Progress, Python, Step, surroundings};

/// The process, and both of its pipes.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// One line of its output.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Progress {
        progress: String,
        done: Option<(u64, u64)>,
    },
    Error {
        error: String,
        input: bool,
    },
    Result {
        result: Value,
    },
}

impl Session {
    /// Starts the process. It ends when this value is dropped, or this process ends.
    pub(crate) fn start(
        python: &Python,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::Call {
            operation: "a call".to_owned(),
            reason,
        };
        let mut child = python
            .script("cloud.py")
            .env_clear()
            .env("PATH", surroundings::path())
            .env("LANG", "C.UTF-8")
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self {
                child,
                input,
                output: BufReader::new(output),
            }),
            _ => Err(failed("the process has no pipes".to_owned())),
        }
    }

    /// True once the process has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// One call. `title` names it for a person.
    pub(crate) fn call(
        &mut self,
        operation: &str,
        arguments: &Value,
        title: &str,
        progress: &dyn Progress,
    ) -> Result<Value, Error> {
        let failed = |reason: String| Error::Call {
            operation: operation.to_owned(),
            reason,
        };
        let request = serde_json::json!({"operation": operation, "arguments": arguments});
        writeln!(self.input, "{request}").map_err(|error| failed(error.to_string()))?;
        loop {
            let mut line = String::new();
            let length = self
                .output
                .read_line(&mut line)
                .map_err(|error| failed(error.to_string()))?;
            if length == 0 {
                return Err(failed("the process that makes the calls ended".to_owned()));
            }
            match serde_json::from_str::<Line>(&line) {
                Ok(Line::Progress {
                    progress: detail,
                    done,
                }) => progress.report(Step {
                    title: title.to_owned(),
                    detail,
                    done,
                }),
                Ok(Line::Error { error, input: true }) => {
                    return Err(Error::Input {
                        what: operation.replace('_', " "),
                        reason: error,
                    });
                }
                Ok(Line::Error {
                    error,
                    input: false,
                }) => return Err(failed(error)),
                Ok(Line::Result { result }) => return Ok(result),
                Err(error) => return Err(failed(format!("not understood: {error}"))),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing is lost: every call has been answered.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
