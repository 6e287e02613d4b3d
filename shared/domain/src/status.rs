//! Statuses of executions and stages: Orca's, with Orca's meanings.

use serde::{Deserialize, Serialize};

/// Status of an execution or of a stage (`ExecutionStatus` in Orca).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Not started; also a queued execution.
    NotStarted,
    /// In progress.
    Running,
    /// Paused by a person.
    Paused,
    /// Waits for an external trigger (legacy).
    Suspended,
    /// Done, well.
    Succeeded,
    /// Failed, and the pipeline goes on.
    FailedContinue,
    /// Failed, and the pipeline halts.
    Terminal,
    /// Canceled.
    Canceled,
    /// A task loop jumps back.
    Redirect,
    /// The branch is stopped; other branches go on.
    Stopped,
    /// Skipped; dependants run.
    Skipped,
    /// Held back by quality of service.
    Buffered,
}

impl Status {
    /// Whether nothing will happen any more.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(
            self,
            Self::Canceled
                | Self::Succeeded
                | Self::Stopped
                | Self::Skipped
                | Self::Terminal
                | Self::FailedContinue
        )
    }

    /// Whether dependants never start.
    #[must_use]
    pub fn is_halt(self) -> bool {
        matches!(self, Self::Terminal | Self::Canceled | Self::Stopped)
    }

    /// Whether dependants may start: `SUCCEEDED`, `FAILED_CONTINUE` or `SKIPPED`.
    #[must_use]
    pub fn lets_dependants_start(self) -> bool {
        matches!(self, Self::Succeeded | Self::FailedContinue | Self::Skipped)
    }

    /// The name as JSON has it, such as `FAILED_CONTINUE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Suspended => "SUSPENDED",
            Self::Succeeded => "SUCCEEDED",
            Self::FailedContinue => "FAILED_CONTINUE",
            Self::Terminal => "TERMINAL",
            Self::Canceled => "CANCELED",
            Self::Redirect => "REDIRECT",
            Self::Stopped => "STOPPED",
            Self::Skipped => "SKIPPED",
            Self::Buffered => "BUFFERED",
        }
    }

    /// The status of that name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::NotStarted,
            Self::Running,
            Self::Paused,
            Self::Suspended,
            Self::Succeeded,
            Self::FailedContinue,
            Self::Terminal,
            Self::Canceled,
            Self::Redirect,
            Self::Stopped,
            Self::Skipped,
            Self::Buffered,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
