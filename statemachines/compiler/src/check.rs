//! What has to hold for a finished definition: it fits. That every path ends holds by the way
//! it is written, and that every change has an undo by the catalogue.

use gennaker_domain::Problem;

use crate::{figures::Figures, lower::Lowered, options::Limits};

/// Checks that the definition fits into Step Functions.
pub fn limits(figures: &Figures, limits: &Limits, problems: &mut Vec<Problem>) {
    if figures.bytes > limits.definition_bytes {
        problems.push(
            Problem::error(
                "definition-too-large",
                "$.stages",
                format!(
                    "the definition has {} bytes, more than {}",
                    figures.bytes, limits.definition_bytes
                ),
            )
            .with_hint("move parts of it into pipelines of their own and start them with a `pipeline` stage"),
        );
    }
    let events = figures.events.max;
    let message =
        format!("an execution may need {events} history events; Step Functions ends it at 25,000");
    let hint =
        "shorten time-outs with `stageTimeoutMs`, or move stages into a pipeline of their own";
    if events > limits.events {
        problems.push(Problem::error("too-many-events", "$.stages", message).with_hint(hint));
    } else if events > limits.events_warned {
        problems.push(Problem::warning("many-events", "$.stages", message).with_hint(hint));
    }
}

/// Checks that what a state hands to its function stays far below 262,144 bytes.
pub fn payloads(lowered: &Lowered, problems: &mut Vec<Problem>) {
    // A run has 30 characters, a task token at most 2,048; a refId may be six characters of escape for one.
    const MOST: usize = 30_000;
    for stage in &lowered.stages {
        if stage.ref_id.len() > MOST {
            let mut shown = stage.ref_id.clone();
            shown.truncate(shown.char_indices().nth(40).map_or(0, |(at, _)| at));
            problems.push(
                Problem::error(
                    "payload-too-large",
                    "$.stages",
                    format!("the `refId` `{shown}…` has {} bytes", stage.ref_id.len()),
                )
                .with_hint("give the stage a short `refId`"),
            );
        }
    }
}
