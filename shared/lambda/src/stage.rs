//! What a stage is: a reconciler that answers done, waiting or failed.

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_domain::error_name::Poll;
use gennaker_domain::{Intent, Status};
use serde_json::{Map, Value};

use crate::Invocation;

/// A stage: observes the world, decides with a pure function, acts once or not at all, and answers.
///
/// `step` is called until it answers something else than waiting; it must be safe to call twice, at the same time, or
/// to die between any two AWS calls. Everything that it needs to know from an earlier invocation is in the world, in
/// the intent log, or in [`Invocation::memory`].
#[async_trait]
pub trait Stage: Send + Sync {
    /// One invocation.
    ///
    /// # Errors
    /// See [`StageError`]: what is passing is tried again, what is not fails the stage.
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError>;

    /// Whether this function does the work of a stage type. A stage that it does not serve ends TERMINAL when its turn
    /// comes, whatever its policy and without having started, as one of an unknown type does in Spinnaker.
    fn serves(&self, _stage_type: &str) -> bool {
        true
    }

    /// Called instead of `step` when the stage's own time-out (`stageTimeoutMs`) has run out, before its end is written:
    /// lets go of what must not outlive it, such as a child pipeline. As safe to repeat as `step`.
    ///
    /// # Errors
    /// As for `step`.
    async fn timed_out(&self, _invocation: &Invocation<'_>) -> Result<(), StageError> {
        Ok(())
    }

    /// Whether a time-out of so many milliseconds (`stageTimeoutMs`, its own or that of the stage it belongs to) ends the
    /// stage. A stage that waits for a time of its own may say no.
    fn times_out(&self, _context: &Map<String, Value>, _limit_millis: f64) -> bool {
        true
    }

    /// Undoes one intent of this stage. Called by `finalize` until it answers [`Undo::Done`]; as safe to repeat as
    /// `step`. A stage that makes no intents keeps this one.
    ///
    /// # Errors
    /// As for `step`; an error that does not pass is told to a person and the next intent is undone.
    async fn undo(
        &self,
        _invocation: &Invocation<'_>,
        _intent: &Intent,
    ) -> Result<Undo, StageError> {
        Ok(Undo::Done {
            result: "nothing to undo".to_owned(),
        })
    }
}

#[async_trait]
impl Stage for std::sync::Arc<dyn Stage> {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        (**self).step(invocation).await
    }

    fn serves(&self, stage_type: &str) -> bool {
        (**self).serves(stage_type)
    }

    async fn timed_out(&self, invocation: &Invocation<'_>) -> Result<(), StageError> {
        (**self).timed_out(invocation).await
    }

    fn times_out(&self, context: &Map<String, Value>, limit_millis: f64) -> bool {
        (**self).times_out(context, limit_millis)
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        (**self).undo(invocation, intent).await
    }
}

/// Key in the context of a stage that had nothing to do.
pub(crate) const NOTHING_TO_DO: &str = "nothingToDo";

/// Answer of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Done. `outputs` is what dependants may read; `context` is added to the stage's own context.
    Succeeded {
        /// For dependants.
        outputs: Map<String, Value>,
        /// For whoever looks at the stage.
        context: Map<String, Value>,
    },
    /// Ended in another way: SKIPPED, CANCELED, STOPPED, FAILED_CONTINUE. Goes through the stage's failure policy as
    /// Orca's task statuses do: CANCELED is subject to it, a task that ends SKIPPED makes its stage SUCCEEDED.
    Ended {
        /// The task's status.
        status: Status,
        /// What a person reads.
        reason: String,
        /// For dependants.
        outputs: Map<String, Value>,
        /// For whoever looks at the stage.
        context: Map<String, Value>,
    },
    /// Not yet. Polled again; a stage that is woken is called again when its Task's time runs out.
    Waiting {
        /// What a person reads: `2 of 3 instances healthy`.
        reason: String,
        /// Replaces the stage's memory.
        memory: Map<String, Value>,
        /// When to look again; none is by the time waited so far.
        poll: Option<Poll>,
    },
    /// Failed: TERMINAL, subject to the stage's failure policy.
    Failed {
        /// What a person reads.
        reason: String,
        /// Operation, resource, request id and the like.
        details: Value,
    },
}

impl Step {
    /// Done, with nothing to tell.
    #[must_use]
    pub fn succeeded() -> Self {
        Self::Succeeded {
            outputs: Map::new(),
            context: Map::new(),
        }
    }

    /// Failed for this reason.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
            details: Value::Null,
        }
    }

    /// Waiting for this reason; the memory stays as it is.
    pub fn waiting(invocation: &Invocation<'_>, reason: impl Into<String>) -> Self {
        Self::Waiting {
            reason: reason.into(),
            memory: invocation.memory.clone(),
            poll: None,
        }
    }

    /// The same, with a poll of its own that does not sleep past the stage's time-out, which has `left_millis` left.
    pub(crate) fn looked_at_within(mut self, left_millis: f64) -> Self {
        if let Self::Waiting {
            poll: Some(poll), ..
        } = &mut self
        {
            *poll = poll_within(left_millis).min(*poll);
        }
        self
    }

    /// The stage had nothing to do, for this reason: it is SKIPPED, and its dependants run. (A task that only *ends*
    /// SKIPPED makes its stage SUCCEEDED.)
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Ended {
            status: Status::Skipped,
            reason: reason.into(),
            outputs: Map::new(),
            context: Map::from_iter([(NOTHING_TO_DO.to_owned(), true.into())]),
        }
    }
}

/// The largest poll that does not overshoot what is left of a time-out.
#[allow(clippy::cast_possible_truncation)] // A cast of a float saturates.
pub(crate) fn poll_within(left_millis: f64) -> Poll {
    Poll::within(left_millis as i64)
}

/// Answer of an undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Undone, or nothing was left to undo.
    Done {
        /// What a person reads.
        result: String,
    },
    /// Not yet.
    Waiting {
        /// What a person reads.
        reason: String,
    },
}

/// Why an invocation could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The stage's configuration cannot work whatever the world does.
    #[error("{message} (`{field}`)")]
    InvalidConfiguration {
        /// JSON path into the stage.
        field: String,
        /// What is wrong and what exists.
        message: String,
    },
    /// A call to AWS failed. Passing ones are tried again; the others fail the stage.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// AWS does not show yet what this execution made, so that nothing can be decided: looked at again soon.
    #[error("{reason}")]
    Unsettled {
        /// What is missing, for a person.
        reason: String,
    },
    /// The execution is ending or on another run: nothing new may begin. The runtime answers Ok.
    #[error("the execution is ending")]
    Ending,
}

impl StageError {
    /// A configuration that cannot work.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidConfiguration {
            field: field.into(),
            message: message.into(),
        }
    }
}
