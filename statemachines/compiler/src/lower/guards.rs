//! What guards a deployment beyond its strategy: alarms that are watched, whether it could go back, the lock of its
//! cluster. All are fields of the cluster that Spinnaker does not have.

use gennaker_domain::Problem;
use gennaker_domain::deployment::ContextError;
use gennaker_domain::deployment::alarm_guard::{self, AlarmGuard};
use gennaker_domain::deployment::cluster_lock::{self, LockSettings};
use gennaker_domain::deployment::rollback_readiness::{self, WhenNotReady};
use serde_json::{Map, Value};

use super::Spec;
use crate::parse::Stage;

/// Checks the guards' fields, and adds the watch over the alarms to the sub-stages after the deployment's own.
pub(super) fn plan(spec: &mut Spec, stage: &Stage, path: &str, problems: &mut Vec<Problem>) {
    let context = &spec.context;
    let read: [(&str, &str, Option<ContextError>); 3] = [
        (
            alarm_guard::FIELD,
            "bad-alarm-guard",
            AlarmGuard::from_context(context).err(),
        ),
        (
            cluster_lock::FIELD,
            "bad-cluster-lock",
            LockSettings::from_context(context).err(),
        ),
        (
            rollback_readiness::FIELD,
            "bad-rollback-readiness",
            WhenNotReady::from_context(context).err(),
        ),
    ];
    for (field, code, error) in read {
        let computed = context.get(field).is_some_and(has_expression);
        if let Some(error) = error.filter(|_| !computed) {
            problems.push(
                Problem::error(code, format!("{path}.{}", error.key), error.to_string())
                    .at_stage(&stage.ref_id)
                    .with_hint("see the fields in functions/create-server-group/README.md"),
            );
        }
    }
    if context
        .get(alarm_guard::FIELD)
        .is_some_and(Value::is_object)
    {
        let watch = watch(context);
        let at = before_the_old_group_goes(&spec.after);
        spec.after.insert(at, watch);
    }
}

fn has_expression(value: &Value) -> bool {
    value.to_string().contains("${")
}

fn watch(context: &Map<String, Value>) -> Spec {
    let kept = [
        alarm_guard::FIELD,
        "account",
        "credentials",
        "region",
        "availabilityZones",
        "cloudProvider",
    ];
    let own = kept
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), context.get(*key)?.clone())))
        .collect();
    Spec::of("watchAlarms", "Watch alarms", own)
}

/// Where the traffic is on the new group and the way back is still short: before the old group is scaled down, or, where
/// the strategy keeps no old group, before it is destroyed. Elsewhere the end.
fn before_the_old_group_goes(after: &[Spec]) -> usize {
    let keeps_none = |spec: &Spec| {
        spec.stage_type == "shrinkCluster"
            && spec.context.get("shrinkToSize").and_then(Value::as_i64) == Some(1)
            && spec.context.get("allowDeleteActive") == Some(&Value::Bool(true))
    };
    after
        .iter()
        .position(|spec| spec.stage_type == "scaleDownCluster" || keeps_none(spec))
        .unwrap_or(after.len())
}
