//! `health`: one poll of a waiting task.

use serde_json::{Map, Value, json};

use super::{CaseError, context_of, refused};
use crate::deployment::ServerGroup;
use crate::deployment::context;
use crate::deployment::health::{self, HealthCheck, HealthError};

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let context = context_of(input)?;
    let group = ServerGroup::from_spinnaker(
        input
            .get("serverGroup")
            .ok_or(CaseError::Missing("serverGroup"))?,
    )?;
    let name = context::text(input, "check").unwrap_or_default();
    let mut answer = match HealthCheck::from_context(context, &group.name, &group.region) {
        Ok(check) => match polled(&name, context, &check, &group)? {
            Ok(answer) => answer,
            Err(error) => refusal(&error),
        },
        Err(error) => refusal(&error),
    };
    let providers = context::text_list(context, "interestingHealthProviderNames");
    let per_instance: Vec<[bool; 2]> = group
        .instances
        .iter()
        .map(|instance| {
            [
                health::is_up(instance, providers.as_deref()),
                health::is_down(instance, providers.as_deref()),
            ]
        })
        .collect();
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("perInstance".to_owned(), json!(per_instance));
    }
    Ok(answer)
}

fn refusal(error: &HealthError) -> Value {
    match error {
        HealthError::Percentage { key, .. } => refused(
            "NumberFormatException",
            &format!("{key} must be an integer between 0 and 100"),
        ),
        HealthError::Context(error) => refused("IllegalArgumentException", &error.to_string()),
    }
}

fn polled(
    name: &str,
    context: &Map<String, Value>,
    check: &HealthCheck,
    group: &ServerGroup,
) -> Result<Result<Value, HealthError>, CaseError> {
    let succeeded = |poll: Result<health::Health, HealthError>| {
        poll.map(|poll| json!({"hasSucceeded": poll.is_ready()}))
    };
    Ok(match name {
        "WaitForUpInstances" => up(context, check, group),
        "WaitForRequiredInstancesDown" => succeeded(health::wait_for_down(check, group)),
        "WaitForCapacityMatch" => succeeded(health::wait_for_capacity_match(check, group)),
        "WaitForAllInstancesNotUp" => succeeded(Ok(health::wait_for_none_up(check, group))),
        "WaitForDisabledServerGroup" => Ok(json!({
            "status": match health::wait_for_disabled(check, group) {
                None => "SKIPPED",
                Some(poll) if poll.is_ready() => "SUCCEEDED",
                Some(_) => "RUNNING",
            }
        })),
        other => {
            return Err(CaseError::Unknown {
                what: "check",
                value: other.to_owned(),
            });
        }
    })
}

fn up(
    context: &Map<String, Value>,
    check: &HealthCheck,
    group: &ServerGroup,
) -> Result<Value, HealthError> {
    let poll = health::wait_for_up(check, group)?;
    let counts = health::health_counts(check, group);
    let known =
        context::object(context, "capacitySnapshot").is_some_and(|snapshot| !snapshot.is_empty());
    let size = check.current_capacity(group);
    let snapshot = (!known).then(
        || json!({"minSize": size.min, "desiredCapacity": size.desired, "maxSize": size.max}),
    );
    Ok(json!({
        "hasSucceeded": poll.is_ready(),
        "targetDesiredSize": check.target_size(group)?,
        "capacitySnapshot": snapshot,
        "healthCounts": {
            "up": counts.up,
            "down": counts.down,
            "outOfService": counts.out_of_service,
            "starting": counts.starting,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "unknown": counts.unknown,
        },
    }))
}
