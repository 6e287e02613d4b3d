//! What a restart begins anew.

use gennaker_domain::Plan;

/// `refId`s of the stages whose records a restart at `ref_id` removes: the stage, everything downstream, and their
/// sub-stages, in the plan's order. None if it is no top-level stage of the plan.
#[must_use]
pub fn reset(plan: &Plan, ref_id: &str) -> Option<Vec<String>> {
    plan.stage(ref_id).filter(|stage| stage.parent.is_none())?;
    let mut top = vec![ref_id];
    let mut at = 0;
    while let Some(current) = top.get(at).copied() {
        at += 1;
        for stage in plan.stages.iter().filter(|stage| stage.parent.is_none()) {
            if stage.requisites.iter().any(|id| id == current)
                && !top.contains(&stage.ref_id.as_str())
            {
                top.push(&stage.ref_id);
            }
        }
    }
    Some(
        plan.stages
            .iter()
            .filter(|stage| {
                plan.top_level(&stage.ref_id)
                    .is_some_and(|above| top.contains(&above.ref_id.as_str()))
            })
            .map(|stage| stage.ref_id.clone())
            .collect(),
    )
}
