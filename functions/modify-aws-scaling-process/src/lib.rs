#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::undo_text;
use gennaker_server_groups::{AwsClouds, Clouds, clouds, config, observe, targets};
use serde_json::{Map, Value, json};

/// Spinnaker's time-out of the wait: 20 minutes.
const TIME_LIMIT_MINUTES: i64 = 20;

/// The processes that can be suspended, as AWS names them.
pub const PROCESSES: [&str; 9] = [
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// Suspends or resumes scaling processes of a server group.
pub struct ModifyAwsScalingProcess {
    clouds: Arc<dyn Clouds>,
}

impl ModifyAwsScalingProcess {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>) -> Self {
        Self { clouds }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsClouds::new(connection)))
    }
}

/// What to do with processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They stop.
    Suspend,
    /// They go on.
    Resume,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }
}

/// Reads `action` and `processes`.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] with what there is.
pub fn asked(context: &Map<String, Value>) -> Result<(Action, Vec<String>), StageError> {
    let action = match context.get("action").and_then(Value::as_str) {
        Some("suspend") => Action::Suspend,
        Some("resume") => Action::Resume,
        other => {
            return Err(StageError::invalid(
                "action",
                format!(
                    "`{}` is no action; there are suspend, resume",
                    other.unwrap_or_default()
                ),
            ));
        }
    };
    let listed = context.get("processes").and_then(Value::as_array);
    let mut processes: Vec<String> = Vec::new();
    for process in listed.into_iter().flatten() {
        let known = process
            .as_str()
            .filter(|process| PROCESSES.contains(process));
        let Some(known) = known else {
            return Err(StageError::invalid(
                "processes",
                format!(
                    "{process} is no scaling process; there are {}",
                    PROCESSES.join(", ")
                ),
            ));
        };
        if !processes.iter().any(|process| process == known) {
            processes.push(known.to_owned());
        }
    }
    // To AWS an empty list means all of them.
    if processes.is_empty() {
        return Err(StageError::invalid(
            "processes",
            format!(
                "the stage names no process; there are {}",
                PROCESSES.join(", ")
            ),
        ));
    }
    Ok((action, processes))
}

/// Those of the processes that the action still has to change.
fn missing(action: Action, processes: &[String], suspended: &[String]) -> Vec<String> {
    processes
        .iter()
        .filter(|process| suspended.contains(process) != (action == Action::Suspend))
        .cloned()
        .collect()
}

fn intent_action(region: &str, name: &str) -> String {
    format!("modify-scaling-process {region} {name}")
}

#[async_trait]
impl Stage for ModifyAwsScalingProcess {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let (action, processes) = asked(&context)?;
        let mut waiting = Vec::new();
        for found in targets::find(&*self.clouds, invocation, "modify-").await? {
            let (place, name) = (&found.place, found.name.as_str());
            let Some(group) = &found.group else {
                return Ok(Step::failed(format!("server group `{name}` is gone")));
            };
            let left = missing(action, &processes, &group.suspended_processes);
            if found.intent.as_ref().is_none_or(|intent| !intent.done) {
                let own = intent_action(&place.region, name);
                let undo = json!({
                    "action": action.name(),
                    "changed": left,
                });
                let undo = place.undo(name, undo);
                invocation.intend(&own, undo).await?;
                match action {
                    Action::Suspend => place.auto_scaling.suspend_processes(name, &left).await?,
                    Action::Resume => place.auto_scaling.resume_processes(name, &left).await?,
                }
                invocation.done(&own).await?;
            }
            if !left.is_empty() {
                waiting.push(format!(
                    "{} of `{name}` to {}",
                    left.join(", "),
                    action.name()
                ));
            }
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let name = undo_text(intent, "serverGroup");
        let place = clouds::place_of(&*self.clouds, invocation, intent).await?;
        let Some(group) = observe::group(&place, name).await? else {
            return Ok(Undo::Done {
                result: format!("server group `{name}` is gone"),
            });
        };
        let changed: Vec<String> = intent
            .undo
            .get("changed")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let suspended = &group.suspended_processes;
        if undo_text(intent, "action") == Action::Suspend.name() {
            let resume = missing(Action::Resume, &changed, suspended);
            place.auto_scaling.resume_processes(name, &resume).await?;
        } else {
            let suspend = missing(Action::Suspend, &changed, suspended);
            place.auto_scaling.suspend_processes(name, &suspend).await?;
        }
        Ok(Undo::Done {
            result: format!("the processes of `{name}` are as they were"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_checked_before_anything_is_called() {
        let read = |value: Value| asked(value.as_object().unwrap());
        let good = json!({"action": "suspend", "processes": ["Launch", "Launch", "Terminate"]});
        assert_eq!(
            read(good).unwrap(),
            (
                Action::Suspend,
                vec!["Launch".to_owned(), "Terminate".to_owned()]
            )
        );
        for (wrong, word) in [
            (json!({"action": "stop", "processes": ["Launch"]}), "resume"),
            (
                json!({"action": "suspend", "processes": []}),
                "AlarmNotification",
            ),
            (
                json!({"action": "resume", "processes": ["Lunch"]}),
                "Launch",
            ),
        ] {
            let said = read(wrong).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
