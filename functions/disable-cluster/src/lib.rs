#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::Intent;
use gennaker_domain::deployment::ServerGroup;
use gennaker_domain::deployment::cluster_operation::{self, ClusterOperation};
use gennaker_domain::deployment::health::{self, Health, HealthCheck};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::{self, Subject};
use gennaker_server_groups::{AwsClouds, Clouds, clouds, guard, observe, traffic};
use serde_json::{Value, json};

/// What Spinnaker waits at least, for connections to drain: 90 s.
const MINIMUM_SECONDS: i64 = 90;

/// Takes all server groups of a cluster but some out of traffic.
pub struct DisableCluster {
    clouds: Arc<dyn Clouds>,
    minimum_seconds: i64,
}

impl DisableCluster {
    /// Over these clouds, waiting at least so long after the last group was disabled.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>, minimum_seconds: i64) -> Self {
        Self {
            clouds,
            minimum_seconds,
        }
    }

    /// On AWS. The minimum is `DISABLE_CLUSTER_MIN_SECONDS`, 90 if that is not a number.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let minimum_seconds = gennaker_lambda::setting("DISABLE_CLUSTER_MIN_SECONDS")
            .and_then(|seconds| seconds.trim().parse().ok())
            .unwrap_or(MINIMUM_SECONDS);
        Self::new(Arc::new(AwsClouds::new(connection)), minimum_seconds)
    }
}

/// What comes next for the groups of one region that are disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of them takes traffic.
    OutOfTraffic,
    /// What is still missing.
    Draining(String),
}

/// Whether the groups, disabled at `disabled_at`, are out of traffic: the minimum is over and no instance is up.
#[must_use]
pub fn progress(
    groups: &[&ServerGroup],
    check: &HealthCheck,
    disabled_at: i64,
    now: i64,
    minimum_seconds: i64,
) -> Progress {
    for group in groups {
        let health = health::wait_for_none_up(check, group);
        if let Health::Wait {
            healthy, needed, ..
        } = health
        {
            return Progress::Draining(format!(
                "{healthy} of {needed} instances of `{}` out of traffic",
                group.name
            ));
        }
    }
    let left = disabled_at
        .saturating_add(minimum_seconds.saturating_mul(1_000))
        .saturating_sub(now);
    if left > 0 {
        return Progress::Draining(format!(
            "connections drain for {} s more",
            (left + 999) / 1_000
        ));
    }
    Progress::OutOfTraffic
}

#[async_trait]
impl Stage for DisableCluster {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let subject = Subject::of(invocation.context)?;
        let operation = ClusterOperation::from_context("disableCluster", invocation.context)
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?
            .ok_or_else(|| StageError::invalid("type", "not a cluster operation"))?;
        if let ClusterOperation::Disable {
            desired_percentage: Some(percentage),
            ..
        } = operation
            && percentage != 0
            && percentage != 100
        {
            return Err(StageError::invalid(
                "desiredPercentage",
                format!(
                    "`{percentage}`: part of a group cannot be disabled in this release, only all of it"
                ),
            ));
        }
        let mut draining = Vec::new();
        let mut disabled = Vec::new();
        for region in &subject.regions {
            let place = clouds::place(&*self.clouds, invocation, &subject.account, region).await?;
            let groups = observe::cluster_groups(&place, &subject.cluster).await?;
            let observed = observe::with_health(&place, &groups).await?;
            if observed.is_empty() && !continues_without_cluster(invocation.context) {
                return Ok(Step::failed(format!(
                    "cluster `{}` not found in `{}/{region}`",
                    subject.cluster, subject.account
                )));
            }
            let deployed = config::deployed(invocation, &subject.account, region);
            let selection = cluster_operation::select(operation, &observed, &deployed);
            let intents = config::own_intents(invocation).await?;
            let intent_of = |name: &str| {
                intents
                    .iter()
                    .find(|intent| intent.action == traffic::disable_action(region, name))
            };
            let mut names = config::chosen_before(&intents, "disable-", region);
            if names.is_empty() {
                names = selection
                    .chosen
                    .iter()
                    .map(|group| group.name.clone())
                    .collect();
            }
            // Those that an earlier try disabled are waited for too, though they take no traffic any more.
            let chosen: Vec<&ServerGroup> = observed
                .iter()
                .filter(|group| names.contains(&group.name))
                .collect();
            tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, region, selection = %selection, "cluster observed");
            let enabled: Vec<&ServerGroup> = chosen
                .iter()
                .filter(|group| group.enabled)
                .copied()
                .collect();
            if let Some(refused) = guard::refusal(
                invocation,
                &place,
                &subject.cluster,
                &enabled,
                &observed,
                operation.group_operation(),
            )
            .await?
            {
                return Ok(refused);
            }
            // In the order of the choice, not of the names.
            let going = names
                .iter()
                .filter(|name| enabled.iter().any(|enabled| enabled.name == **name))
                .filter_map(|name| groups.iter().find(|group| group.name == *name));
            for group in going {
                traffic::disable(invocation, &place, group, &names).await?;
            }
            disabled.extend(
                chosen
                    .iter()
                    .map(|group| json!({ "region": region, "serverGroupName": group.name })),
            );
            if !enabled.is_empty() {
                let names: Vec<&str> = enabled.iter().map(|group| group.name.as_str()).collect();
                draining.push(format!("{} taken out of traffic", names.join(", ")));
                continue;
            }
            let check = HealthCheck::from_context(invocation.context, "", region)
                .map_err(|error| StageError::invalid("", error.to_string()))?;
            let since = chosen
                .iter()
                .filter_map(|group| intent_of(&group.name))
                .map(|intent| intent.at)
                .max();
            let Some(since) = since else {
                continue;
            };
            if let Progress::Draining(reason) =
                progress(&chosen, &check, since, invocation.now, self.minimum_seconds)
            {
                draining.push(reason);
            }
        }
        if !draining.is_empty() {
            return Ok(Step::waiting(invocation, draining.join("; ")));
        }
        Ok(Step::Succeeded {
            outputs: serde_json::Map::new(),
            context: serde_json::Map::from_iter([(
                "disabledServerGroups".to_owned(),
                Value::Array(disabled),
            )]),
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        traffic::disable_undo(&*self.clouds, invocation, intent).await
    }
}

fn continues_without_cluster(context: &serde_json::Map<String, Value>) -> bool {
    match context.get("continueIfClusterNotFound") {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}
