//! Operations on a whole cluster: which of its server groups are disabled, destroyed or scaled to nothing.
//!
//! None of them touches what an enclosing deploy has just created, or anything newer.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use super::context::{self, ContextError};
use super::server_group::ServerGroup;

/// Stage types whose server groups the cluster operations below them leave alone.
const DEPLOY_STAGES: [&str; 3] = ["copyLastAsg", "cloneServerGroup", "createServerGroup"];

/// What a `disableCluster`, `shrinkCluster` or `scaleDownCluster` stage asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterOperation {
    /// Takes traffic from all active groups but some.
    Disable {
        /// How many stay enabled, those that are not touched included. Default 1.
        remaining_enabled: i64,
        /// Whether the larger stays instead of the newer.
        prefer_larger: bool,
        /// The share of each group's instances that is disabled; `None` is all of them.
        desired_percentage: Option<i64>,
    },
    /// Destroys all groups but some.
    Shrink {
        /// How many are left, those that are not touched included. Default 1.
        to_size: i64,
        /// Whether groups that take traffic may be destroyed. Default false.
        allow_delete_active: bool,
        /// Whether the larger is left instead of the newer.
        retain_larger: bool,
    },
    /// Resizes all groups but some to nothing.
    ScaleDown {
        /// How many keep their size, those that are not touched included. Default 1.
        remaining_full_size: i64,
        /// Whether groups that take traffic may be scaled down. Default false.
        allow_scale_down_active: bool,
        /// Whether the larger keeps its size instead of the newer.
        prefer_larger: bool,
    },
}

impl ClusterOperation {
    /// Reads the context of a stage; `None` for any other stage type.
    ///
    /// # Errors
    /// Fails for values of the wrong kind; flags and numbers may be texts.
    pub fn from_context(
        stage_type: &str,
        context: &Map<String, Value>,
    ) -> Result<Option<Self>, ContextError> {
        let flag = |key| context::flag(context, key).map(|flag| flag.unwrap_or(false));
        let size = |key| context::integer(context, key).map(|size| size.unwrap_or(1));
        Ok(Some(match stage_type {
            "disableCluster" => Self::Disable {
                remaining_enabled: size("remainingEnabledServerGroups")?,
                prefer_larger: flag("preferLargerOverNewer")?,
                desired_percentage: context::integer(context, "desiredPercentage")?,
            },
            "shrinkCluster" => Self::Shrink {
                to_size: size("shrinkToSize")?,
                allow_delete_active: flag("allowDeleteActive")?,
                retain_larger: flag("retainLargerOverNewer")?,
            },
            "scaleDownCluster" => Self::ScaleDown {
                remaining_full_size: size("remainingFullSizeServerGroups")?,
                allow_scale_down_active: flag("allowScaleDownActive")?,
                prefer_larger: flag("preferLargerOverNewer")?,
            },
            _ => return Ok(None),
        }))
    }

    /// The operation on one server group, by the name traffic guards and logs use.
    #[must_use]
    pub const fn group_operation(&self) -> &'static str {
        match self {
            Self::Disable { .. } => "disableServerGroup",
            Self::Shrink { .. } => "destroyServerGroup",
            Self::ScaleDown { .. } => "resizeServerGroup",
        }
    }

    /// Whether traffic guards are asked: not for a partial disable, which leaves part of every group.
    #[must_use]
    pub(crate) fn asks_traffic_guards(&self) -> bool {
        !matches!(self, Self::Disable { desired_percentage: Some(percentage), .. } if *percentage != 0 && *percentage < 100)
    }

    /// Whether the stage succeeds where there is no cluster: nothing is left to be removed.
    #[must_use]
    pub const fn accepts_missing_cluster(&self) -> bool {
        matches!(self, Self::Shrink { to_size: 0, .. })
    }
}

/// Why a group of the cluster is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The enclosing deploy created it.
    Deployed,
    /// It is newer than what the enclosing deploy created.
    NewerThanDeployed,
    /// It takes traffic and the stage does not allow to touch such groups.
    Active,
    /// It takes no traffic already.
    Inactive,
    /// It is one of those that stay.
    Retained,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployed => "deployed by this stage",
            Self::NewerThanDeployed => "newer than what this stage deployed",
            Self::Active => "takes traffic",
            Self::Inactive => "takes no traffic",
            Self::Retained => "is one of those that stay",
        })
    }
}

/// Which groups of a cluster an operation is for, in the order in which it is sent, and why the others stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<'a> {
    /// The groups to operate on.
    pub chosen: Vec<&'a ServerGroup>,
    /// The groups that are left alone.
    pub kept: Vec<(&'a ServerGroup, Kept)>,
}

impl fmt::Display for Selection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .chosen
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        write!(f, "[{}]", names.join(", "))?;
        for (group, kept) in &self.kept {
            write!(f, "; {} stays: {kept}", group.name)?;
        }
        Ok(())
    }
}

/// Chooses the groups of one region for an operation.
///
/// `groups` are all groups of the cluster in the region, in the observed order, which decides ties; `deployed` are
/// the names of those that the enclosing deploy created there, see [`deployed_server_groups`]. What is newer
/// (strictly, by creation time) than the oldest of these is left alone too. "Larger" counts all instances, healthy or not.
///
/// Example: `shrinkToSize` 2 after a deploy created v003 keeps v003 and the newest other inactive group.
#[must_use]
pub fn select<'a>(
    operation: ClusterOperation,
    groups: &'a [ServerGroup],
    deployed: &[String],
) -> Selection<'a> {
    let mut kept = Vec::new();
    let mut candidates = Vec::new();
    let is_deployed = |group: &&ServerGroup| deployed.contains(&group.name);
    let deployed_since = groups
        .iter()
        .filter(is_deployed)
        .map(|group| group.created_millis)
        .min();
    for group in groups {
        match deployed_since {
            Some(_) if is_deployed(&group) => kept.push((group, Kept::Deployed)),
            Some(since) if group.created_millis > since => {
                kept.push((group, Kept::NewerThanDeployed))
            }
            _ => candidates.push(group),
        }
    }

    let excluded = kept.len();
    let (remaining, mut order): (i64, Vec<Order>) = match operation {
        ClusterOperation::Disable {
            remaining_enabled,
            prefer_larger,
            ..
        } => {
            retain(
                &mut candidates,
                &mut kept,
                Kept::Inactive,
                ServerGroup::is_active,
            );
            let order = if prefer_larger {
                Order::Larger
            } else {
                Order::Newer
            };
            (
                remaining_enabled.saturating_sub(whole(excluded)),
                vec![order],
            )
        }
        // For these two, groups that are left alone because they are active count among those that stay.
        ClusterOperation::Shrink {
            to_size,
            allow_delete_active: allowed,
            retain_larger: larger,
        }
        | ClusterOperation::ScaleDown {
            remaining_full_size: to_size,
            allow_scale_down_active: allowed,
            prefer_larger: larger,
        } => {
            if !allowed {
                retain(&mut candidates, &mut kept, Kept::Active, |group| {
                    !group.is_active()
                });
            }
            let mut order = Vec::new();
            order.extend(allowed.then_some(Order::Active));
            order.extend(larger.then_some(Order::Larger));
            (to_size.saturating_sub(whole(kept.len())), order)
        }
    };
    if !matches!(operation, ClusterOperation::Disable { .. }) {
        order.push(Order::Newer);
    }
    candidates.sort_by(|a, b| {
        order
            .iter()
            .map(|order| order.compare(a, b))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    let retained = usize::try_from(remaining)
        .unwrap_or(0)
        .min(candidates.len());
    let chosen = candidates.split_off(retained);
    kept.extend(candidates.into_iter().map(|group| (group, Kept::Retained)));
    Selection { chosen, kept }
}

/// Which groups come first, and so stay.
#[derive(Clone, Copy)]
enum Order {
    Active,
    Larger,
    Newer,
}

impl Order {
    fn compare(self, a: &ServerGroup, b: &ServerGroup) -> Ordering {
        match self {
            Self::Active => b.is_active().cmp(&a.is_active()),
            Self::Larger => b.instances.len().cmp(&a.instances.len()),
            Self::Newer => b.created_millis.cmp(&a.created_millis),
        }
    }
}

fn retain<'a>(
    candidates: &mut Vec<&'a ServerGroup>,
    kept: &mut Vec<(&'a ServerGroup, Kept)>,
    reason: Kept,
    stays_candidate: impl Fn(&ServerGroup) -> bool,
) {
    let (stay, go): (Vec<_>, Vec<_>) = candidates
        .drain(..)
        .partition(|group| stays_candidate(group));
    *candidates = stay;
    kept.extend(go.into_iter().map(|group| (group, reason)));
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The names of the server groups that enclosing deploy stages created in an account and region.
///
/// `ancestors` are the enclosing stages' types and contexts.
pub fn deployed_server_groups<'a>(
    ancestors: impl IntoIterator<Item = (&'a str, &'a Map<String, Value>)>,
    account: &str,
    region: &str,
) -> Vec<String> {
    let deploys =
        |stage_type: Option<&str>| stage_type.is_some_and(|name| DEPLOY_STAGES.contains(&name));
    ancestors
        .into_iter()
        .filter(|(stage_type, context)| {
            (deploys(Some(stage_type)) || deploys(context.get("type").and_then(Value::as_str)))
                && context.get("deploy.account.name").and_then(Value::as_str) == Some(account)
        })
        .filter_map(|(_, context)| context.get("deploy.server.groups")?.get(region)?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, created_millis: i64, enabled: bool) -> ServerGroup {
        ServerGroup {
            name: name.to_owned(),
            created_millis,
            enabled,
            ..ServerGroup::default()
        }
    }

    fn chosen(
        operation: ClusterOperation,
        groups: &[ServerGroup],
        deployed: &[&str],
    ) -> Vec<String> {
        let deployed: Vec<String> = deployed.iter().map(|name| (*name).to_owned()).collect();
        select(operation, groups, &deployed)
            .chosen
            .iter()
            .map(|group| group.name.clone())
            .collect()
    }

    const SHRINK_TO_TWO: ClusterOperation = ClusterOperation::Shrink {
        to_size: 2,
        allow_delete_active: false,
        retain_larger: false,
    };

    #[test]
    fn shrinking_destroys_the_oldest_that_take_no_traffic() {
        let groups = [
            group("v001", 1, false),
            group("v002", 2, false),
            group("v003", 3, true),
            group("v004", 4, true),
        ];
        assert_eq!(chosen(SHRINK_TO_TWO, &groups, &["v004"]), ["v002", "v001"]);
    }

    #[test]
    fn leaves_what_is_newer_than_the_deployed_group_alone_but_not_what_is_as_old() {
        let disable = ClusterOperation::Disable {
            remaining_enabled: 1,
            prefer_larger: false,
            desired_percentage: None,
        };
        let groups = [
            group("v001", 1, true),
            group("v002", 2, true),
            group("v003", 2, true),
            group("v004", 3, true),
        ];
        let selection = select(disable, &groups, &["v002".to_owned()]);
        assert_eq!(
            selection.to_string(),
            "[v003, v001]; v002 stays: deployed by this stage; v004 stays: newer than what this stage deployed"
        );
    }

    #[test]
    fn reads_flags_that_are_texts() {
        let context = serde_json::json!({"remainingEnabledServerGroups": "2", "preferLargerOverNewer": "true"});
        assert_eq!(
            ClusterOperation::from_context("disableCluster", context.as_object().unwrap()),
            Ok(Some(ClusterOperation::Disable {
                remaining_enabled: 2,
                prefer_larger: true,
                desired_percentage: None
            }))
        );
    }
}
