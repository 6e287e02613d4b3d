//! The state machine of a pipeline: its name, its present definition, its versions.

use std::time::Duration;

use gennaker_cloud::store::pipelines::Pipeline;
use gennaker_cloud::{CloudError, StepFunctions, Store};
use sha2::{Digest, Sha256};

use crate::index::Home;

/// Names of state machines have at most 80 characters.
const MAX_NAME: usize = 80;

/// Versions that are always kept, the newest ones: an execution that is just being started is not seen yet.
const KEPT_VERSIONS: usize = 10;

/// Executions of the pipeline, the newest ones, whose versions are kept: they run, or may be restarted.
const KEPT_EXECUTIONS: usize = 100;

/// Step Functions takes one call a second to create or update a machine, in an account.
const INTERVAL_MILLIS: i64 = 1_000;

/// The longest that a save waits for its turn.
const PATIENCE_MILLIS: i64 = 20_000;

/// Name of the pipeline's machine: `<prefix>-pipeline-<id>`. An id that does not fit is shortened, and told from others
/// by its hash.
#[must_use]
pub fn name(prefix: &str, pipeline_id: &str) -> String {
    let front = format!("{prefix}-pipeline-");
    let room = MAX_NAME.saturating_sub(front.len());
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if pipeline_id.len() <= room && !pipeline_id.is_empty() && pipeline_id.chars().all(allowed) {
        return format!("{front}{pipeline_id}");
    }
    let digest = hex::encode(Sha256::digest(pipeline_id));
    let hash: String = digest.chars().take(16).collect();
    let clean: String = pipeline_id
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(room.saturating_sub(17))
        .collect();
    format!("{front}{clean}-{hash}")
}

/// ARN of a machine of this installation.
#[must_use]
pub fn arn(home: &Home, name: &str) -> String {
    format!(
        "arn:{}:states:{}:{}:stateMachine:{name}",
        home.partition, home.region, home.account
    )
}

/// Waits for this save's turn to create or update a machine.
///
/// # Errors
/// Those of the table; [`CloudError::Throttled`] if the turn is too far away.
async fn wait_for_turn(store: &Store, now: i64) -> Result<(), CloudError> {
    let moment = store
        .next_moment("create-state-machine", INTERVAL_MILLIS, now)
        .await?;
    let wait = moment.saturating_sub(now);
    if wait > PATIENCE_MILLIS {
        return Err(CloudError::Throttled {
            operation: "states:CreateStateMachine".to_owned(),
            message: format!(
                "{} saves are waiting before this one",
                wait / INTERVAL_MILLIS
            ),
        });
    }
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
    Ok(())
}

/// Creates the machine or gives it this definition, and publishes it: the version's ARN. Again with the same
/// definition answers the same version.
///
/// # Errors
/// Those of the table and of Step Functions.
pub async fn publish(
    store: &Store,
    step_functions: &dyn StepFunctions,
    arn: &str,
    definition: &str,
    role: &str,
    now: i64,
) -> Result<String, CloudError> {
    let present = step_functions.machine(arn).await?;
    if present.is_none_or(|machine| machine.definition != definition) {
        wait_for_turn(store, now).await?;
        let name = arn.rsplit(':').next().unwrap_or(arn);
        match step_functions.create_machine(name, definition, role).await {
            Ok(_) => {}
            Err(error) if error.is_code("StateMachineAlreadyExists") => {
                step_functions.update_machine(arn, definition, role).await?;
            }
            Err(error) => return Err(error),
        }
    }
    step_functions.publish_version(arn).await
}

/// Deletes versions that no execution uses: not the pipeline's own, none of the newest ten, none that a running or
/// a recent execution has.
///
/// # Errors
/// Those of the table and of Step Functions: what is left is deleted by the next save.
pub async fn delete_unused_versions(
    store: &Store,
    step_functions: &dyn StepFunctions,
    pipeline: &Pipeline,
) -> Result<usize, CloudError> {
    let versions = step_functions.versions(&pipeline.machine).await?;
    let candidates: Vec<String> = versions
        .into_iter()
        .skip(KEPT_VERSIONS)
        .filter(|version| *version != pipeline.state_machine)
        .collect();
    if candidates.is_empty() {
        return Ok(0);
    }
    let recent = store
        .executions_of_pipeline(&pipeline.id, KEPT_EXECUTIONS)
        .await?;
    let mut deleted = 0;
    for version in candidates {
        if recent
            .iter()
            .any(|execution| execution.state_machine == version)
        {
            continue;
        }
        step_functions.delete_version(&version).await?;
        deleted += 1;
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_after_its_pipeline() {
        assert_eq!(name("g", "0b1c-2"), "g-pipeline-0b1c-2");
        let odd = name("gennaker", "deploy prod/eu ☃");
        assert!(odd.starts_with("gennaker-pipeline-deploy-prod-eu--"));
        assert_ne!(odd, name("gennaker", "deploy prod/eu ☂"));
        assert!(name("gennaker", &"x".repeat(300)).len() <= 80);
    }
}
