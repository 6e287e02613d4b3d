//! Traffic guards: an application's word that a cluster must not lose its last healthy instances.

use serde_json::{Map, Value};

use super::context;
use super::server_group::{HealthState, ServerGroup};

/// One guard of an application. `*` matches everything; an empty or missing stack or detail matches a cluster
/// that has none; a guard without account or location matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// The account, or `*`.
    pub account: Option<String>,
    /// The region, or `*`.
    pub location: Option<String>,
    /// The stack, or `*`.
    pub stack: String,
    /// The detail, or `*`.
    pub detail: String,
}

/// The guards of an application that are enabled, and the share of a cluster that has to stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficGuards {
    guards: Vec<Guard>,
    min_ratio: f64,
}

impl TrafficGuards {
    /// Reads `trafficGuards` of an application's record. An application that is not known has no guards.
    #[must_use]
    pub fn of_application(application: &Map<String, Value>) -> Self {
        let guards = application
            .get("trafficGuards")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let guards = guards
            .iter()
            .filter_map(Value::as_object)
            // A flag that cannot be read guards: the safe side.
            .filter(|guard| !matches!(context::flag(guard, "enabled"), Ok(Some(false))))
            .map(|guard| Guard {
                account: context::text(guard, "account"),
                location: context::text(guard, "location"),
                stack: context::text(guard, "stack").unwrap_or_default(),
                detail: context::text(guard, "detail").unwrap_or_default(),
            })
            .collect();
        Self {
            guards,
            min_ratio: 0.0,
        }
    }

    /// Sets the share of the healthy instances that must be left *over*: 0 (the default, "at least one") up to,
    /// but not, 0.5. A value outside of this range counts as 0.
    #[must_use]
    pub(crate) fn with_min_ratio(mut self, ratio: f64) -> Self {
        self.min_ratio = if (0.0..0.5).contains(&ratio) {
            ratio
        } else {
            0.0
        };
        self
    }

    /// Whether a guard covers a cluster.
    #[must_use]
    pub fn cover(
        &self,
        account: &str,
        location: &str,
        stack: Option<&str>,
        detail: Option<&str>,
    ) -> bool {
        let is = |rule: &str, value: &str| rule == "*" || rule == value;
        self.guards.iter().any(|guard| {
            guard
                .account
                .as_deref()
                .is_some_and(|rule| is(rule, account))
                && guard
                    .location
                    .as_deref()
                    .is_some_and(|rule| is(rule, location))
                && is(&guard.stack, stack.unwrap_or_default())
                && is(&guard.detail, detail.unwrap_or_default())
        })
    }
}

/// The cluster that a guard is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardedCluster<'a> {
    /// The account.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// Its stack.
    pub stack: Option<&'a str>,
    /// Its detail.
    pub detail: Option<&'a str>,
}

/// Why an operation may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// No guard covers the cluster.
    NotGuarded,
    /// Nothing goes away.
    NothingGoesAway,
    /// No instance of the cluster is up, so none can be lost.
    NothingUp,
    /// Several groups of the same fixed size go away and some capacity stays.
    PinnedGroups,
    /// The instances that are terminated are not the last healthy ones of their group.
    OthersUp,
    /// Enough is left.
    EnoughLeft {
        /// Instances up afterwards.
        left: usize,
        /// Instances up now.
        of: usize,
    },
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotGuarded => f.write_str("no traffic guard covers the cluster"),
            Self::NothingGoesAway => f.write_str("no server group goes away"),
            Self::NothingUp => f.write_str("no instance of the cluster is up"),
            Self::PinnedGroups => f.write_str(
                "the server groups that go away have the same fixed size and others stay",
            ),
            Self::OthersUp => f.write_str("other instances of the server group are up"),
            Self::EnoughLeft { left, of } => write!(f, "{left} of {of} instances stay up"),
        }
    }
}

/// Why an operation is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrafficGuardError {
    /// It would leave too little.
    #[error("{0}")]
    TooFewLeft(Box<Refusal>),
    /// The group that goes away is not among those of the cluster.
    #[error("server group `{name}` not found in `{account}/{region}`, found [{}]", .found.join(", "))]
    ServerGroupNotFound {
        /// The group.
        name: String,
        /// The account.
        account: String,
        /// The region.
        region: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The guarded cluster is not there.
    #[error("cluster `{cluster}` not found in `{account}/{region}`")]
    ClusterNotFound {
        /// The cluster.
        cluster: String,
        /// The account.
        account: String,
        /// The region.
        region: String,
    },
}

/// What a guard refuses, with the numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The cluster.
    pub cluster: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// What was about to happen, "Running destroyServerGroup on".
    pub operation: String,
    /// The groups that were to go away.
    pub going_away: Vec<String>,
    /// Instances up afterwards.
    pub left: usize,
    /// Instances up now.
    pub of: usize,
    /// The share that has to be left over.
    pub min_ratio: f64,
}

impl std::fmt::Display for Refusal {
    /// The sentence Spinnaker's users know.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cluster,
            account,
            region,
            operation,
            left,
            of,
            ..
        } = self;
        write!(
            f,
            "This cluster ('{cluster}' in {account}/{region}) has traffic guards enabled. {operation} [{}] would leave the cluster ",
            self.going_away.join(",")
        )?;
        match left {
            0 => return f.write_str("with no instances up."),
            1 => f.write_str("with 1 instance up ")?,
            _ => write!(f, "with {left} instances up ")?,
        }
        // Tenths of a percent, rounded half up.
        let tenths = (left * 2000 / (*of).max(1)).div_ceil(2);
        let min_percent = (self.min_ratio * 1000.0).round() / 10.0;
        write!(
            f,
            "({}.{}% of {of} instances currently up). The configured minimum is {min_percent:.1}%.",
            tenths / 10,
            tenths % 10
        )
    }
}

/// Asks whether server groups of a cluster may go away.
///
/// `current` are all groups of the cluster in the region, `going_away` the names of those that go; `operation`
/// begins the sentence of a refusal ("Running destroyServerGroup on"). The answer counts instances that are up:
/// those left, as a share of those there, have to be more than the guards' ratio.
///
/// # Errors
/// [`TrafficGuardError::TooFewLeft`] refuses.
pub fn check(
    guards: &TrafficGuards,
    cluster: GuardedCluster<'_>,
    going_away: &[&ServerGroup],
    current: &[&ServerGroup],
    operation: &str,
) -> Result<Allowed, TrafficGuardError> {
    let Some(first) = going_away.first() else {
        return Ok(Allowed::NothingGoesAway);
    };
    if !guards.cover(
        cluster.account,
        cluster.region,
        cluster.stack,
        cluster.detail,
    ) {
        return Ok(Allowed::NotGuarded);
    }
    let up = |groups: &[&ServerGroup]| {
        groups
            .iter()
            .map(|group| group.instances_up())
            .sum::<usize>()
    };
    let of = up(current);
    if of == 0 {
        return Ok(Allowed::NothingUp);
    }
    let goes = |group: &&&ServerGroup| going_away.iter().any(|going| going.name == group.name);
    let staying: Vec<&ServerGroup> = current
        .iter()
        .filter(|group| !goes(group))
        .copied()
        .collect();
    let left = up(&staying);
    if left > 0
        && going_away.len() > 1
        && going_away.iter().all(|group| {
            group.capacity.is_pinned() && group.capacity.desired() == first.capacity.desired()
        })
    {
        return Ok(Allowed::PinnedGroups);
    }
    #[allow(clippy::cast_precision_loss)]
    let ratio = left as f64 / of as f64;
    if ratio > guards.min_ratio {
        return Ok(Allowed::EnoughLeft { left, of });
    }
    Err(TrafficGuardError::TooFewLeft(Box::new(Refusal {
        cluster: cluster.cluster.to_owned(),
        account: cluster.account.to_owned(),
        region: cluster.region.to_owned(),
        operation: operation.to_owned(),
        going_away: going_away.iter().map(|group| group.name.clone()).collect(),
        left,
        of,
        min_ratio: guards.min_ratio,
    })))
}

/// Asks whether one server group, by its name, may go away.
///
/// # Errors
/// Refuses as [`check`] does, and, only where a guard covers the cluster, when the cluster or the group is not there.
pub(crate) fn check_one(
    guards: &TrafficGuards,
    cluster: GuardedCluster<'_>,
    name: &str,
    current: &[&ServerGroup],
    operation: &str,
) -> Result<Allowed, TrafficGuardError> {
    if !guards.cover(
        cluster.account,
        cluster.region,
        cluster.stack,
        cluster.detail,
    ) {
        return Ok(Allowed::NotGuarded);
    }
    let Some(group) = current.iter().find(|group| group.name == name) else {
        return Err(TrafficGuardError::ServerGroupNotFound {
            name: name.to_owned(),
            account: cluster.account.to_owned(),
            region: cluster.region.to_owned(),
            found: current.iter().map(|group| group.name.clone()).collect(),
        });
    };
    check(guards, cluster, &[group], current, operation)
}

/// Asks whether instances of a server group may be terminated.
///
/// Only if they are the last healthy ones of their group; then the whole group counts as going away.
///
/// # Errors
/// Refuses as [`check_one`] does.
pub(crate) fn check_instances(
    guards: &TrafficGuards,
    cluster: GuardedCluster<'_>,
    name: &str,
    instances: &[String],
    current: &[&ServerGroup],
    operation: &str,
) -> Result<Allowed, TrafficGuardError> {
    if !guards.cover(
        cluster.account,
        cluster.region,
        cluster.stack,
        cluster.detail,
    ) {
        return Ok(Allowed::NotGuarded);
    }
    if let Some(group) = current.iter().find(|group| group.name == name) {
        if group.instances_up() == 0 {
            return Ok(Allowed::NothingUp);
        }
        let is_up_and_stays = |instance: &&super::Instance| {
            instance.health_state == HealthState::Up && !instances.contains(&instance.id)
        };
        if group
            .instances
            .iter()
            .any(|instance| is_up_and_stays(&instance))
        {
            return Ok(Allowed::OthersUp);
        }
    }
    check_one(guards, cluster, name, current, operation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{Capacity, Instance};
    use serde_json::json;

    fn group(name: &str, up: usize) -> ServerGroup {
        let up_instance = |n| Instance {
            id: format!("{name}-{n}"),
            health_state: HealthState::Up,
            ..Instance::default()
        };
        ServerGroup {
            name: name.to_owned(),
            capacity: Capacity::new(0, 2, 9).unwrap(),
            instances: (0..up).map(up_instance).collect(),
            ..ServerGroup::default()
        }
    }

    fn guards(json: Value) -> TrafficGuards {
        TrafficGuards::of_application(json!({"trafficGuards": [json]}).as_object().unwrap())
    }

    const CLUSTER: GuardedCluster<'static> = GuardedCluster {
        account: "prod",
        region: "us-east-1",
        cluster: "shop-web",
        stack: Some("web"),
        detail: None,
    };

    #[test]
    fn refuses_to_remove_the_last_healthy_instances() {
        let everything =
            guards(json!({"account": "*", "location": "*", "stack": "*", "detail": "*"}));
        let (old, new) = (group("shop-web-v001", 2), group("shop-web-v002", 0));
        let error = check(
            &everything,
            CLUSTER,
            &[&old],
            &[&old, &new],
            "Running disableServerGroup on",
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "This cluster ('shop-web' in prod/us-east-1) has traffic guards enabled. Running disableServerGroup on \
             [shop-web-v001] would leave the cluster with no instances up."
        );
        assert_eq!(
            check(&everything, CLUSTER, &[&new], &[&old, &new], "").unwrap(),
            Allowed::EnoughLeft { left: 2, of: 2 }
        );
    }

    #[test]
    fn rounds_the_share_that_is_left_half_up() {
        let everything =
            guards(json!({"account": "*", "location": "*", "stack": "*", "detail": "*"}))
                .with_min_ratio(0.1);
        let (old, new) = (group("shop-web-v001", 15), group("shop-web-v002", 1));
        let error = check(&everything, CLUSTER, &[&old], &[&old, &new], "").unwrap_err();
        assert!(error.to_string().ends_with(
            "1 instance up (6.3% of 16 instances currently up). The configured minimum is 10.0%."
        ));
    }

    #[test]
    fn a_guard_without_account_covers_nothing_and_one_without_stack_only_clusters_without_one() {
        assert!(
            !guards(json!({"location": "*", "stack": "*", "detail": "*"})).cover(
                "prod",
                "us-east-1",
                None,
                None
            )
        );
        let no_stack = guards(json!({"account": "prod", "location": "*"}));
        assert!(no_stack.cover("prod", "us-east-1", None, None));
        assert!(!no_stack.cover("prod", "us-east-1", Some("web"), None));
    }
}
