//! The server group that a new one takes after: whose capacity it copies, and to which a rollback returns.

use std::fmt;

use serde_json::{Map, Value};

use super::capacity::Capacity;
use super::context::{self, ContextError};
use super::server_group::ServerGroup;

/// How often in a row no source has to be found before that is believed.
pub const NOT_FOUND_READS: u32 = 3;

/// What a deploy stage says of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceSettings {
    /// The source that the stage names.
    pub named: Option<NamedSource>,
    /// `target`: the source is a group of the cluster by its place in the order of creation.
    pub target: Option<String>,
    /// Whether the new group copies the source's capacity; `None` if the stage does not say.
    pub use_source_capacity: Option<bool>,
    /// Whether the configured capacity will do where there is no source.
    pub prefer_source_capacity: bool,
    /// Whether a capacity is configured.
    pub has_capacity: bool,
}

/// A source server group as a stage names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedSource {
    /// The account.
    pub account: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The group's name.
    pub name: Option<String>,
    /// Another cluster, in which the stage's `target` is looked for.
    pub cluster: Option<String>,
}

impl SourceSettings {
    /// Reads the context of a deploy stage.
    ///
    /// # Errors
    /// Fails for flags that are none.
    pub fn from_context(context: &Map<String, Value>) -> Result<Self, ContextError> {
        let source = context::object(context, "source").filter(|source| !source.is_empty());
        let own = |key| source.map_or(Ok(None), |source| context::flag(source, key));
        Ok(Self {
            named: source.map(|source| NamedSource {
                account: context::filled_text(source, "account"),
                region: context::filled_text(source, "region"),
                name: context::filled_text(source, "serverGroupName")
                    .or_else(|| context::filled_text(source, "asgName")),
                cluster: context::filled_text(source, "clusterName"),
            }),
            target: context::filled_text(context, "target"),
            use_source_capacity: match own("useSourceCapacity")? {
                Some(flag) => Some(flag),
                None => context::flag(context, "useSourceCapacity")?,
            },
            prefer_source_capacity: context::flag(context, "preferSourceCapacity")?
                .unwrap_or(false),
            has_capacity: context::object(context, "capacity")
                .is_some_and(|capacity| !capacity.is_empty()),
        })
    }
}

/// Why a group is the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceReason {
    /// The newest that takes traffic.
    NewestEnabled,
    /// None takes traffic; the newest of all.
    NewestOfAll,
    /// The one with the most instances among those that take traffic.
    LargestEnabled,
    /// None takes traffic; the one with the most instances.
    LargestOfAll,
}

impl fmt::Display for SourceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewestEnabled => "newest that takes traffic",
            Self::NewestOfAll => "newest; none takes traffic",
            Self::LargestEnabled => "largest that takes traffic",
            Self::LargestOfAll => "largest; none takes traffic",
        })
    }
}

/// Chooses the source among the groups of a cluster in one region, where the stage names none.
///
/// Groups that take traffic come first. With `use_source_capacity` the largest is chosen, and of those with as many
/// instances the *oldest*; else the newest.
#[must_use]
pub fn source_server_group(
    groups: &[ServerGroup],
    use_source_capacity: bool,
) -> Option<(&ServerGroup, SourceReason)> {
    let enabled: Vec<&ServerGroup> = groups.iter().filter(|group| group.enabled).collect();
    let some_enabled = !enabled.is_empty();
    let mut candidates = if some_enabled {
        enabled
    } else {
        groups.iter().collect()
    };
    candidates.sort_by_key(|group| group.created_millis);
    if use_source_capacity {
        candidates.sort_by_key(|group| {
            (
                group.instances.len(),
                std::cmp::Reverse(group.created_millis),
            )
        });
    }
    let reason = match (use_source_capacity, some_enabled) {
        (false, true) => SourceReason::NewestEnabled,
        (false, false) => SourceReason::NewestOfAll,
        (true, true) => SourceReason::LargestEnabled,
        (true, false) => SourceReason::LargestOfAll,
    };
    candidates.last().map(|source| (*source, reason))
}

/// What to do where no source was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutSource {
    /// Go on: the stage does not need one, or prefers the configured capacity to failing.
    GoOn,
    /// Look again; the cloud's answer may lag behind.
    LookAgain {
        /// How often in a row none was found, this time included.
        seen: u32,
    },
}

impl fmt::Display for WithoutSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoOn => f.write_str("no source server group; the configured capacity is used"),
            Self::LookAgain { seen } => write!(
                f,
                "no source server group found, {seen} of {NOT_FOUND_READS} times"
            ),
        }
    }
}

/// Decides what to do when no source was found this time, after `seen_before` times in a row.
///
/// # Errors
/// After [`NOT_FOUND_READS`] times a stage that copies the source's capacity fails: without a source and, with
/// `preferSourceCapacity`, without a configured capacity.
pub fn without_source(
    settings: &SourceSettings,
    seen_before: u32,
) -> Result<WithoutSource, SourceError> {
    if settings.use_source_capacity != Some(true) {
        return Ok(WithoutSource::GoOn);
    }
    let seen = seen_before.saturating_add(1);
    match (
        seen >= NOT_FOUND_READS,
        settings.prefer_source_capacity,
        settings.has_capacity,
    ) {
        (false, _, _) => Ok(WithoutSource::LookAgain { seen }),
        (true, true, true) => Ok(WithoutSource::GoOn),
        (true, true, false) => Err(SourceError::NoCapacity),
        (true, false, _) => Err(SourceError::NoServerGroup),
    }
}

/// What is remembered of a source's capacity, and what the new group gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacitySnapshot {
    /// The source's capacity, whose minimum the new group gets in the end.
    pub source: Capacity,
    /// The new group's: the minimum is the desired size until traffic has moved, so that no scaling policy
    /// shrinks it while it takes none.
    pub new_group: Capacity,
}

/// Copies a source's capacity for a new group.
#[must_use]
pub const fn capacity_snapshot(source: Capacity) -> CapacitySnapshot {
    CapacitySnapshot {
        source,
        new_group: source.pin_minimum(),
    }
}

/// The minimum that a group gets back when traffic has moved: the snapshot's, but it is never raised.
#[must_use]
pub fn restored_minimum(snapshot: Capacity, current: Capacity) -> u32 {
    snapshot.min().min(current.min())
}

/// Why a deployment cannot go on without a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is none to copy the capacity from.
    #[error(
        "the capacity is to be copied from the cluster's server group, but there is none; set `capacity` for the first deployment"
    )]
    NoServerGroup,
    /// There is none, and no capacity is configured either.
    #[error("there is no server group to copy the capacity from, and no `capacity` is configured")]
    NoCapacity,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Instance;

    fn group(name: &str, created_millis: i64, enabled: bool, instances: usize) -> ServerGroup {
        ServerGroup {
            name: name.to_owned(),
            created_millis,
            enabled,
            instances: vec![Instance::default(); instances],
            ..ServerGroup::default()
        }
    }

    #[test]
    fn the_oldest_of_the_largest_is_the_source_of_capacity() {
        let groups = [
            group("v001", 1, true, 3),
            group("v002", 2, true, 3),
            group("v003", 3, true, 1),
            group("v004", 4, false, 9),
        ];
        let chosen = |use_source_capacity| {
            source_server_group(&groups, use_source_capacity)
                .map(|(group, reason)| (group.name.as_str(), reason))
        };
        assert_eq!(chosen(true), Some(("v001", SourceReason::LargestEnabled)));
        assert_eq!(chosen(false), Some(("v003", SourceReason::NewestEnabled)));
    }

    #[test]
    fn a_missing_source_is_believed_at_the_third_time() {
        let settings = SourceSettings {
            use_source_capacity: Some(true),
            ..SourceSettings::default()
        };
        assert_eq!(
            without_source(&settings, 0),
            Ok(WithoutSource::LookAgain { seen: 1 })
        );
        assert_eq!(
            without_source(&settings, 2),
            Err(SourceError::NoServerGroup)
        );
        let settings = SourceSettings {
            prefer_source_capacity: true,
            has_capacity: true,
            ..settings
        };
        assert_eq!(without_source(&settings, 2), Ok(WithoutSource::GoOn));
        assert_eq!(
            without_source(&SourceSettings::default(), 0),
            Ok(WithoutSource::GoOn)
        );
    }

    #[test]
    fn the_new_group_is_pinned_and_gets_the_smaller_minimum_back() {
        let source = Capacity::new(2, 5, 9).unwrap();
        let snapshot = capacity_snapshot(source);
        assert_eq!(snapshot.new_group, Capacity::new(5, 5, 9).unwrap());
        assert_eq!(restored_minimum(snapshot.source, snapshot.new_group), 2);
        assert_eq!(
            restored_minimum(snapshot.source, Capacity::new(1, 5, 9).unwrap()),
            1
        );
    }
}
