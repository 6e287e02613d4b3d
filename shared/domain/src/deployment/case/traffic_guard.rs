//! `traffic-guards`: allowed, or the error.

use serde_json::{Map, Value, json};

use super::{CaseError, in_region, server_groups};
use crate::deployment::ServerGroup;
use crate::deployment::context;
use crate::deployment::naming::{self, Moniker};
use crate::deployment::traffic_guard::{
    Allowed, GuardedCluster, TrafficGuardError, TrafficGuards, check, check_instances, check_one,
};

/// The read service that has the application's record is broken.
pub(super) struct ReadFailed(u64);

/// The guards of a case's application. One that is unknown or not readable for us has none; a read service that
/// fails is an error.
pub(super) fn guards(input: &Map<String, Value>) -> Result<TrafficGuards, ReadFailed> {
    let application = context::object(input, "application");
    let status = input
        .get("httpStatusOfApplication")
        .or_else(|| application.and_then(|application| application.get("_status")))
        .and_then(Value::as_u64)
        .unwrap_or(200);
    match status {
        404 | 403 => Ok(TrafficGuards::default()),
        400.. => Err(ReadFailed(status)),
        _ => {
            let ratio = input
                .get("minCapacityRatio")
                .and_then(Value::as_f64)
                .unwrap_or(0.0);
            Ok(application
                .map(TrafficGuards::of_application)
                .unwrap_or_default()
                .with_min_ratio(ratio))
        }
    }
}

pub(super) fn refusal(error: &TrafficGuardError) -> Value {
    let message = match error {
        TrafficGuardError::TooFewLeft(refusal) => refusal.to_string(),
        TrafficGuardError::ServerGroupNotFound {
            name,
            account,
            region,
            found,
        } => format!(
            "Could not find server group '{name}' in {account}/Location{{type=REGION, value='{region}'}}, found [{}]",
            found.join(", ")
        ),
        TrafficGuardError::ClusterNotFound {
            cluster,
            account,
            region,
        } => {
            format!("Could not find cluster '{cluster}' in {account}/{region}")
        }
    };
    json!({"error": format!("TrafficGuardException: {message}")})
}

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let groups = server_groups(input)?;
    let kind = context::text(input, "kind").unwrap_or_default();
    let guards = match guards(input) {
        Ok(guards) => guards,
        Err(ReadFailed(status)) => {
            return Ok(json!({"allowed": false, "error": format!("HTTP {status}")}));
        }
    };
    let asked = Asked {
        guards,
        account: context::text(input, "account").unwrap_or_default(),
        region: context::text(input, "region").unwrap_or_default(),
        moniker: moniker(input),
        groups,
    };
    let allowed = match kind.as_str() {
        "collection" => {
            asked.collection(&context::text_list(input, "goingAway").unwrap_or_default())
        }
        "single" => {
            let going = context::text_list(input, "goingAway").unwrap_or_default();
            asked.single(going.first().map(String::as_str).unwrap_or_default())
        }
        "instances" => asked.instances(
            context::text(input, "serverGroupName"),
            &context::text_list(input, "instanceIds").unwrap_or_default(),
        ),
        _ => {
            return Err(CaseError::Unknown {
                what: "kind",
                value: kind,
            });
        }
    };
    Ok(match allowed {
        Ok(_) => json!({"allowed": true}),
        Err(error) => {
            let mut answer = refusal(&error);
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("allowed".to_owned(), json!(false));
            }
            answer
        }
    })
}

fn moniker(input: &Map<String, Value>) -> Moniker {
    let text = |key| {
        context::object(input, "moniker").and_then(|moniker| context::filled_text(moniker, key))
    };
    Moniker {
        app: text("app"),
        cluster: text("cluster"),
        stack: text("stack"),
        detail: text("detail"),
        sequence: None,
    }
}

struct Asked {
    guards: TrafficGuards,
    account: String,
    region: String,
    moniker: Moniker,
    groups: Vec<ServerGroup>,
}

impl Asked {
    fn cluster<'a>(&'a self, moniker: &'a Moniker) -> GuardedCluster<'a> {
        GuardedCluster {
            account: &self.account,
            region: &self.region,
            cluster: moniker.cluster.as_deref().unwrap_or_default(),
            stack: moniker.stack.as_deref(),
            detail: moniker.detail.as_deref(),
        }
    }

    /// The groups of a cluster in the region; the cluster has to exist in some region, if it is guarded.
    fn current(&self, moniker: &Moniker) -> Result<Vec<ServerGroup>, TrafficGuardError> {
        let GuardedCluster {
            account,
            region,
            cluster,
            stack,
            detail,
        } = self.cluster(moniker);
        let of_cluster: Vec<ServerGroup> = self
            .groups
            .iter()
            .filter(|group| group.cluster == cluster)
            .cloned()
            .collect();
        if of_cluster.is_empty() && self.guards.cover(account, region, stack, detail) {
            return Err(TrafficGuardError::ClusterNotFound {
                cluster: cluster.to_owned(),
                account: account.to_owned(),
                region: region.to_owned(),
            });
        }
        Ok(in_region(&of_cluster, region))
    }

    fn collection(&self, going_away: &[String]) -> Result<Allowed, TrafficGuardError> {
        let here = in_region(&self.groups, &self.region);
        let going: Vec<&ServerGroup> = going_away
            .iter()
            .filter_map(|name| here.iter().find(|group| group.name == *name))
            .collect();
        let moniker = going
            .first()
            .map(|first| Moniker::from(naming::parse(&first.name)))
            .unwrap_or_default();
        check(
            &self.guards,
            self.cluster(&moniker),
            &going,
            &here.iter().collect::<Vec<_>>(),
            "Running destroyServerGroup on",
        )
    }

    fn single(&self, name: &str) -> Result<Allowed, TrafficGuardError> {
        let here = self.current(&self.moniker)?;
        let here: Vec<&ServerGroup> = here.iter().collect();
        check_one(
            &self.guards,
            self.cluster(&self.moniker),
            name,
            &here,
            "Disabling",
        )
    }

    fn instances(
        &self,
        group: Option<String>,
        ids: &[String],
    ) -> Result<Allowed, TrafficGuardError> {
        let mut by_group: Vec<(String, Vec<String>)> = Vec::new();
        for id in ids {
            let owner = group.clone().or_else(|| {
                let owns = |group: &&ServerGroup| {
                    group.region == self.region
                        && group.instances.iter().any(|instance| instance.id == *id)
                };
                self.groups
                    .iter()
                    .find(owns)
                    .map(|group| group.name.clone())
            });
            // An instance that nobody knows is gone already.
            let Some(owner) = owner else { continue };
            match by_group.iter_mut().find(|(name, _)| *name == owner) {
                Some((_, ids)) => ids.push(id.clone()),
                None => by_group.push((owner, vec![id.clone()])),
            }
        }
        let mut allowed = Allowed::NothingGoesAway;
        for (name, ids) in by_group {
            let moniker = if self.moniker.app.is_some() {
                self.moniker.clone()
            } else {
                Moniker::from(naming::parse(&name))
            };
            let here = self.current(&moniker)?;
            let here: Vec<&ServerGroup> = here.iter().collect();
            allowed = check_instances(
                &self.guards,
                self.cluster(&moniker),
                &name,
                &ids,
                &here,
                "Terminating the requested instances in",
            )?;
        }
        Ok(allowed)
    }
}
