//! Until when this installation may have made server groups in the clusters of a stage.

use gennaker_domain::{PlanStage, StageRecord};
use gennaker_lambda::Invocation;

/// Functions that make no server group, sorted. Of any other one it is not known: it may start an execution that does.
const MAKES_NONE: [&str; 18] = [
    "apply-source-server-group-capacity",
    "capture-source-server-group-capacity",
    "check-preconditions",
    "destroy-server-group",
    "determine-target-server-group",
    "disable-cluster",
    "disable-server-group",
    "enable-server-group",
    "evaluate-deployment-health",
    "manual-judgment",
    "notify-deploy-completed",
    "notify-deploy-starting",
    "pin-server-group",
    "resize-server-group",
    "scale-down-cluster",
    "shrink-cluster",
    "wait",
    "watch-alarms",
];

/// Until when this installation may have made a server group in the clusters of a stage that has had their lock since
/// `locked`: whoever had it before made none later, and of its own execution only the stages that make any count. A list
/// that is as old may lack one.
pub(crate) fn until(invocation: &Invocation<'_>, locked: Option<i64>) -> i64 {
    let restarted = invocation.run.number > 1;
    let Some(locked) = locked.filter(|_| !restarted) else {
        // What the stages of the run before have made, no record says any more.
        return invocation.started.max(locked.unwrap_or(0));
    };
    let makers = invocation.plan.stages.iter().filter(|stage| makes(stage));
    let of_stages = makers.filter_map(|stage| {
        if stage.ref_id == invocation.stage.ref_id {
            // It names what it makes by what there is. What it has made, its intents say.
            return Some(invocation.started);
        }
        let record = invocation.records.get(&stage.ref_id)?;
        Some(ended(record).unwrap_or(invocation.now))
    });
    // It may work under the lock of the execution that started it.
    let began = invocation.execution.start_time.unwrap_or(invocation.now);
    of_stages.chain([locked, began]).max().unwrap_or(began)
}

fn makes(stage: &PlanStage) -> bool {
    let function = stage.function.as_deref();
    function.is_some_and(|function| MAKES_NONE.binary_search(&function).is_err())
}

/// When a stage ended; none for one that may still be at work.
fn ended(record: &StageRecord) -> Option<i64> {
    record.end_time.filter(|_| record.status.is_complete())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_looked_up_in_a_sorted_list() {
        assert!(MAKES_NONE.is_sorted());
    }
}
