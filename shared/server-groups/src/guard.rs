//! Traffic guards, as the application's record says.

use gennaker_domain::deployment::traffic_guard::{self, GuardedCluster, TrafficGuards};
use gennaker_domain::deployment::{ServerGroup, naming};
use gennaker_lambda::{Invocation, StageError, Step};
use serde_json::json;

use crate::Place;

/// The guards of the application that a cluster belongs to; an application without a record has none.
///
/// # Errors
/// Those of the table.
pub async fn guards(
    invocation: &Invocation<'_>,
    cluster: &str,
) -> Result<TrafficGuards, StageError> {
    let application = naming::parse(cluster)
        .app
        .unwrap_or_else(|| invocation.execution.application.clone());
    let application = invocation.store().application(&application).await?;
    let config = application.unwrap_or_default();
    Ok(TrafficGuards::of_application(&config))
}

/// Asks the guards before groups go away; `operation` as Spinnaker names it, `disableServerGroup`. An answer is a
/// refusal.
///
/// # Errors
/// Those of the table.
pub async fn refusal(
    invocation: &Invocation<'_>,
    place: &Place,
    cluster: &str,
    going_away: &[&ServerGroup],
    current: &[ServerGroup],
    operation: &str,
) -> Result<Option<Step>, StageError> {
    if going_away.is_empty() {
        return Ok(None);
    }
    let guards = guards(invocation, cluster).await?;
    let names = naming::parse(cluster);
    let guarded = GuardedCluster {
        account: &place.account.name,
        region: &place.region,
        cluster,
        stack: names.stack.as_deref(),
        detail: names.detail.as_deref(),
    };
    let current: Vec<&ServerGroup> = current.iter().collect();
    let answer = traffic_guard::check(
        &guards,
        guarded,
        going_away,
        &current,
        &format!("Running {operation} on"),
    );
    Ok(match answer {
        Ok(allowed) => {
            tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, cluster, reason = %allowed, "traffic guards allow it");
            None
        }
        Err(error) => Some(Step::Failed {
            reason: error.to_string(),
            details: json!({ "operation": operation, "cluster": cluster, "region": place.region }),
        }),
    })
}
