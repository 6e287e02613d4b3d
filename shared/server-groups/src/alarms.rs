//! Alarms that stop a deployment, looked at.

use gennaker_domain::Owner;
use gennaker_domain::deployment::alarm_guard::{AlarmGuard, alarmed};
use gennaker_lambda::{Invocation, StageError, Step};
use serde_json::{Map, Value, json};

use crate::config::Subject;
use crate::{Clouds, clouds};

/// A guard with the account and region where its alarms are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What is watched.
    pub guard: AlarmGuard,
    /// Spinnaker's name of the account.
    pub account: String,
    /// The region.
    pub region: String,
}

impl Watch {
    /// The watch that a context asks for, if it asks for one: its alarms are where it deploys, unless they say otherwise.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] for a guard that cannot be read, or that is nowhere.
    pub fn of(context: &Map<String, Value>) -> Result<Option<Self>, StageError> {
        let guard = AlarmGuard::from_context(context)
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?;
        let Some(guard) = guard else {
            return Ok(None);
        };
        let (account, regions) = Subject::place_of(context)?;
        let region = guard.region.clone().or_else(|| regions.into_iter().next());
        let region = region.ok_or_else(|| {
            StageError::invalid(
                "alarmGuard.region",
                "neither the guard nor the stage names a region",
            )
        })?;
        Ok(Some(Self {
            account: guard.account.clone().unwrap_or(account),
            region,
            guard,
        }))
    }
}

/// The watch over a stage: its own or that of the deployment around it, once that has begun. What goes back after a
/// failure is watched by nobody.
///
/// # Errors
/// As for [`Watch::of`].
pub fn over(invocation: &Invocation<'_>) -> Result<Option<Watch>, StageError> {
    if let Some(watch) = Watch::of(invocation.context)? {
        return Ok(Some(watch));
    }
    for stage in invocation.plan.lineage(&invocation.stage.ref_id) {
        if stage.owner == Some(Owner::OnFailure) {
            return Ok(None);
        }
        // Not as it was planned: there its names may be expressions.
        let parent = stage.parent.as_deref();
        let record = parent.and_then(|parent| invocation.records.get(parent));
        if let Some(record) = record
            && let Some(watch) = Watch::of(&record.context)?
        {
            return Ok(Some(watch));
        }
    }
    Ok(None)
}

/// Looks at the alarms of a watch; an answer is the stage's failure.
///
/// # Errors
/// Those of CloudWatch, and an account that is not known.
pub async fn failure(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    watch: &Watch,
) -> Result<Option<Step>, StageError> {
    let place = clouds::place(clouds, invocation, &watch.account, &watch.region).await?;
    let alarms = place.alarms.alarms(&watch.guard.alarms).await?;
    let found: Vec<String> = alarmed(&watch.guard, &alarms)
        .iter()
        .map(ToString::to_string)
        .collect();
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(Step::Failed {
        reason: format!("{} in {place:?}", found.join("; ")),
        details: json!({ "alarms": found, "account": watch.account, "region": watch.region }),
    }))
}
