//! Pauses of an execution: a flag that every stage answers with `Waiting`, and when it was set and cleared.

use gennaker_domain::{Execution, ExecutionId, Pause, Status};
use serde_json::json;

use super::{Store, held, object};
use crate::{CloudError, Condition, Key, Write};

/// How often a pause meets another one's write before it gives up: each meeting is a pause or a resume of somebody else.
const TRIES: usize = 8;

impl Store {
    /// Pauses or resumes a running execution and notes who did when. False if it is not running, is ending, or is so
    /// already; a second call changes nothing.
    ///
    /// # Errors
    /// [`CloudError::Conflict`] if others pause and resume it all the time; those of the table.
    pub async fn set_paused(
        &self,
        id: &ExecutionId,
        paused: bool,
        by: &str,
        at: i64,
    ) -> Result<bool, CloudError> {
        let (from, to) = if paused {
            (Status::Running, Status::Paused)
        } else {
            (Status::Paused, Status::Running)
        };
        for _ in 0..TRIES {
            let Some(execution) = self.execution(id).await? else {
                return Ok(false);
            };
            if execution.status != from || execution.ending.is_some() {
                return Ok(false);
            }
            let pauses = if paused {
                with_pause(&execution, by, at)
            } else {
                with_resume(&execution, by, at)
            };
            let write = Write::set(
                Key::execution(id),
                object(json!({ "paused": paused, "status": to.as_str(), "pauses": pauses })),
            )
            .only_if(Condition::equals("status", from.as_str()))
            .only_if(Condition::Absent("ending".to_owned()))
            // Somebody else may have paused and resumed it since it was read.
            .only_if(as_read(&execution));
            if held(self.table().write(write).await)? {
                return Ok(true);
            }
        }
        Err(CloudError::Conflict)
    }
}

/// The pauses are those that were read.
fn as_read(execution: &Execution) -> Condition {
    if execution.pauses.is_empty() {
        Condition::Absent("pauses".to_owned())
    } else {
        Condition::equals("pauses", json!(execution.pauses))
    }
}

fn with_pause(execution: &Execution, by: &str, at: i64) -> Vec<Pause> {
    let oldest = (execution.pauses.len() + 1).saturating_sub(Pause::KEPT);
    let mut pauses: Vec<Pause> = execution.pauses.iter().skip(oldest).cloned().collect();
    pauses.push(Pause {
        paused_by: by.to_owned(),
        pause_time: at,
        resumed_by: None,
        resume_time: None,
    });
    pauses
}

fn with_resume(execution: &Execution, by: &str, at: i64) -> Vec<Pause> {
    let mut pauses = execution.pauses.clone();
    if let Some(last) = pauses.last_mut() {
        last.resumed_by = Some(by.to_owned());
        // The clocks of two functions differ by a little.
        last.resume_time = Some(at.max(last.pause_time));
    }
    pauses
}
