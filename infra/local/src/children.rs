//! Programs that this crate starts and waits for, each in a process group of its own, so that one signal ends a program
//! with everything it started: Cargo and its compilers, pip and what it runs.
//!
//! An interruption concerns the whole process, as the signal behind it does; so it is kept for the whole process.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// Process groups that end with an interruption, and whether it came.
struct Groups {
    interrupted: bool,
    leaders: BTreeSet<u32>,
}

static GROUPS: Mutex<Groups> = Mutex::new(Groups {
    interrupted: false,
    leaders: BTreeSet::new(),
});

/// For the handler of Ctrl-C: ends what this crate is waiting for, a build with its compilers, an installation, a cloud
/// that starts, a call. Whoever waits gets [`Error::Interrupted`], and so does everything that is begun later in this
/// process. Clouds that are up end as always: by [`crate::LocalCloud::stop`], or when they are dropped.
pub fn interrupt() {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.interrupted = true;
    for leader in &groups.leaders {
        terminate(*leader);
    }
}

/// Fails once [`interrupt`] was called.
pub(crate) fn go_on() -> Result<(), Error> {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    if groups.interrupted {
        Err(Error::Interrupted)
    } else {
        Ok(())
    }
}

/// SIGTERM to a process group. The shell's own `kill`: small systems have no other.
fn terminate(leader: u32) {
    let _ = Command::new("sh")
        .args(["-c", &format!("kill -TERM -{leader}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A program that is waited for. Dropped before its end, it is ended with its group.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) child: Child,
    // An interruption still has to find it.
    listed: bool,
}

impl Program {
    /// Starts it in a group of its own: Ctrl-C in the terminal reaches the command line only, which then ends all.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Started> {
        // Held until it is listed: an interruption comes before, and it is not started, or finds it.
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.interrupted {
            return Err(Started::Interrupted);
        }
        let child = command.process_group(0).spawn().map_err(Started::Failed)?;
        groups.leaders.insert(child.id());
        Ok(Self {
            child,
            listed: true,
        })
    }

    /// From here on an interruption leaves it alone, and so does its drop: its owner ends it.
    pub(crate) fn release(&mut self) {
        if self.listed {
            let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
            groups.leaders.remove(&self.child.id());
            self.listed = false;
        }
    }

    /// Ends it at once, without its group.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.release();
    }

    /// Waits for its end: whether it succeeded, or [`Error::Interrupted`] if it may have ended for that.
    pub(crate) fn wait(&mut self, failed: impl Fn(String) -> Error) -> Result<bool, Error> {
        let status = self.child.wait().map_err(|error| failed(error.to_string()));
        // A process id that was collected may be anybody's.
        self.release();
        go_on()?;
        Ok(status?.success())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.listed {
            return;
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            terminate(self.child.id());
            let _ = self.child.wait();
        }
        self.release();
    }
}

/// Why a program was not started.
#[derive(Debug)]
pub(crate) enum Started {
    Interrupted,
    Failed(io::Error),
}

impl Started {
    /// As an error of this crate.
    pub(crate) fn or(self, failed: impl FnOnce(io::Error) -> Error) -> Error {
        match self {
            Self::Interrupted => Error::Interrupted,
            Self::Failed(error) => failed(error),
        }
    }
}
