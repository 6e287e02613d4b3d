//! What a canary stage says of the server groups that it deploys, and what became of them.

use serde_json::Value;

use crate::rollup::Records;
use crate::{Plan, PlanStage};

/// Type of the sub-stage that deploys baseline and canary.
pub const DEPLOY: &str = "deployCanaryServerGroups";
/// Type of the sub-stage that takes them away.
pub const CLEAN_UP: &str = "cleanupCanaryClusters";
/// Name of the deploy of the baseline groups.
pub const DEPLOY_BASELINE: &str = "Deploy control server groups";
/// Name of the deploy of the canary groups.
pub const DEPLOY_CANARY: &str = "Deploy experiment server groups";

/// A server group that a canary stage deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployedGroup {
    /// Its account's name.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its name.
    pub name: String,
}

/// The baseline and canary groups that the stage `ref_id` deployed, pair by pair in the order it names them; a pair of
/// which one side is not there is left out. None for a stage that deploys nothing.
#[must_use]
pub fn deployed(
    plan: &Plan,
    records: &Records,
    ref_id: &str,
) -> Option<Vec<(DeployedGroup, DeployedGroup)>> {
    let deploys = plan
        .children(ref_id)
        .find(|stage| stage.stage_type == DEPLOY)?;
    let groups = |name: &str| -> Vec<Option<DeployedGroup>> {
        plan.children(&deploys.ref_id)
            .filter(|stage| stage.name == name)
            .flat_map(|stage| plan.children(&stage.ref_id))
            .map(|created| group(created, records))
            .collect()
    };
    let pairs = groups(DEPLOY_BASELINE)
        .into_iter()
        .zip(groups(DEPLOY_CANARY));
    Some(
        pairs
            .filter_map(|(baseline, canary)| baseline.zip(canary))
            .collect(),
    )
}

/// The first group that a stage created.
fn group(created: &PlanStage, records: &Records) -> Option<DeployedGroup> {
    let record = records.get(&created.ref_id)?;
    let said = |key: &str| record.outputs.get(key).or_else(|| record.context.get(key));
    let (region, names) = said("deploy.server.groups")?.as_object()?.iter().next()?;
    let account = ["deploy.account.name", "account", "credentials"]
        .iter()
        .find_map(|key| said(key)?.as_str());
    Some(DeployedGroup {
        account: account.unwrap_or_default().to_owned(),
        region: region.clone(),
        name: names.as_array()?.first()?.as_str()?.to_owned(),
    })
}

/// Seconds of `delayBeforeCleanup`: an ISO-8601 duration, or a number of seconds; absent is none. None if it is neither,
/// or negative.
#[must_use]
pub fn delay_seconds(written: Option<&Value>) -> Option<u32> {
    let seconds = match written {
        None | Some(Value::Null) => 0.0,
        Some(Value::Number(number)) => number.as_f64()?,
        #[allow(clippy::cast_precision_loss)] // Milliseconds of a delay are far below 2^53.
        Some(Value::String(text)) => match crate::duration::millis(text) {
            Some(millis) => millis as f64 / 1_000.0,
            None => text.trim().parse().ok()?,
        },
        Some(_) => return None,
    };
    // The longest that a Task waits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In range.
    (0.0..=99_999_999.0)
        .contains(&seconds)
        .then(|| seconds.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_delay_is_a_duration_or_a_number_of_seconds() {
        for (written, expected) in [
            (json!(null), Some(0)),
            (json!("PT1H"), Some(3_600)),
            (json!("P1D"), Some(86_400)),
            (json!(90), Some(90)),
            (json!(0.5), Some(1)),
            (json!("90"), Some(90)),
            (json!("-PT1S"), None),
            (json!("${parameters.delay}"), None),
            (json!("NaN"), None),
            (json!([]), None),
        ] {
            assert_eq!(delay_seconds(Some(&written)), expected, "{written}");
        }
        assert_eq!(delay_seconds(None), Some(0));
    }
}
