//! Calls in the cloud by `cloud.py`: one process, made at the first call, one JSON line for each call.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::children::{Program, go_on};
use crate::{Error, Progress, Python, Step, surroundings};

/// The process, and both of its pipes.
#[derive(Debug)]
pub(crate) struct Session {
    program: Program,
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
        let mut command = python.script("cloud.py");
        command
            .env_clear()
            .env("PATH", surroundings::path())
            .env("LANG", "C.UTF-8")
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut program = Program::start(&mut command)
            .map_err(|why| why.or(|error| failed(error.to_string())))?;
        match (program.child.stdin.take(), program.child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self {
                program,
                input,
                output: BufReader::new(output),
            }),
            _ => Err(failed("the process has no pipes".to_owned())),
        }
    }

    /// True once the process has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        !matches!(self.program.child.try_wait(), Ok(None))
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
        if let Err(error) = writeln!(self.input, "{request}") {
            go_on()?;
            return Err(failed(error.to_string()));
        }
        loop {
            let mut line = String::new();
            let length = self
                .output
                .read_line(&mut line)
                .map_err(|error| failed(error.to_string()))?;
            if length == 0 {
                go_on()?;
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
        self.program.kill();
    }
}
