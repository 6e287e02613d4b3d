//! Occasions on which people and systems are told something, named as Echo names them.

use crate::Status;

/// A pipeline's machine was started.
pub const PIPELINE_STARTING: &str = "pipeline.starting";
/// An execution ended `SUCCEEDED`.
const PIPELINE_COMPLETE: &str = "pipeline.complete";
/// An execution ended otherwise.
const PIPELINE_FAILED: &str = "pipeline.failed";
/// A stage is about to be called for the first time in its run.
pub const STAGE_STARTING: &str = "stage.starting";
/// A stage ended `SUCCEEDED`.
const STAGE_COMPLETE: &str = "stage.complete";
/// A stage ended otherwise; one that halts its branch only is a failure here, too.
pub const STAGE_FAILED: &str = "stage.failed";
/// A stage ended `SKIPPED`: no person is told.
pub const STAGE_SKIPPED: &str = "stage.skipped";

/// The occasion that a stage's end with this status is, as Orca's `EchoNotifyingStageListener` has it; none if it has
/// not ended.
#[must_use]
pub fn stage_end(status: Status) -> Option<&'static str> {
    match status {
        Status::Succeeded => Some(STAGE_COMPLETE),
        Status::Skipped => Some(STAGE_SKIPPED),
        status if status.is_complete() => Some(STAGE_FAILED),
        _ => None,
    }
}

/// The occasion that an execution's end with this status is; none if it has not ended.
#[must_use]
pub fn pipeline_end(status: Status) -> Option<&'static str> {
    match status {
        Status::Succeeded => Some(PIPELINE_COMPLETE),
        status if status.is_complete() => Some(PIPELINE_FAILED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_that_stopped_is_a_failure_for_people_and_nothing_is_told_before_the_end() {
        assert_eq!(stage_end(Status::Stopped), Some(STAGE_FAILED));
        assert_eq!(stage_end(Status::FailedContinue), Some(STAGE_FAILED));
        assert_eq!(stage_end(Status::Skipped), Some(STAGE_SKIPPED));
        assert_eq!(stage_end(Status::Succeeded), Some(STAGE_COMPLETE));
        assert_eq!(stage_end(Status::Running), None);
        assert_eq!(pipeline_end(Status::Canceled), Some(PIPELINE_FAILED));
        assert_eq!(pipeline_end(Status::Succeeded), Some(PIPELINE_COMPLETE));
        assert_eq!(pipeline_end(Status::Paused), None);
    }
}
