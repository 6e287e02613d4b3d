//! Which server group a stage means: `current_asg_dynamic` and its kin, or a name.

use std::fmt;

use super::server_group::ServerGroup;

/// A group of a cluster by its place in the order of creation. Disabled groups count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The newest: `current_asg_dynamic`, and the older `current_asg`.
    Current,
    /// The newest but one: `ancestor_asg_dynamic`, and the older `ancestor_asg`.
    Ancestor,
    /// The oldest: `oldest_asg_dynamic`.
    Oldest,
}

impl Target {
    /// Reads Spinnaker's name of a target.
    ///
    /// # Errors
    /// Names what it is not.
    pub fn from_name(name: &str) -> Result<Self, TargetError> {
        match name {
            "current_asg_dynamic" | "current_asg" => Ok(Self::Current),
            "ancestor_asg_dynamic" | "ancestor_asg" => Ok(Self::Ancestor),
            "oldest_asg_dynamic" => Ok(Self::Oldest),
            _ => Err(TargetError::Unknown(name.to_owned())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "newest",
            Self::Ancestor => "newest but one",
            Self::Oldest => "oldest",
        })
    }
}

/// Whether a target is looked up when the stage runs, and not when it is planned.
#[must_use]
pub(crate) fn is_dynamic(name: &str) -> bool {
    name.ends_with("dynamic")
}

/// Finds the group that a target means among the groups of a cluster in one region. Among groups of the same
/// age the first observed is the newer, and for [`Target::Oldest`] the older one.
///
/// # Errors
/// [`TargetError::NoServerGroup`] without any group. With exactly one, the ancestor and the oldest are
/// [`TargetError::OnlyOne`]: a stage that removes "the oldest" must never find the only one.
pub fn target_server_group(
    target: Target,
    groups: &[ServerGroup],
) -> Result<&ServerGroup, TargetError> {
    let mut sorted: Vec<&ServerGroup> = groups.iter().collect();
    match target {
        Target::Oldest => sorted.sort_by_key(|group| group.created_millis),
        Target::Current | Target::Ancestor => {
            sorted.sort_by_key(|group| std::cmp::Reverse(group.created_millis))
        }
    }
    match (target, sorted.as_slice()) {
        (_, []) => Err(TargetError::NoServerGroup(target)),
        (Target::Ancestor | Target::Oldest, [only]) => Err(TargetError::OnlyOne {
            target,
            only: only.name.clone(),
        }),
        (Target::Ancestor, [_, second, ..]) => Ok(second),
        (_, [first, ..]) => Ok(first),
    }
}

/// Finds a group by its name among the groups of a cluster in one region.
///
/// # Errors
/// [`TargetError::NotFound`] with what there is.
pub fn named_server_group<'a>(
    name: &str,
    groups: &'a [ServerGroup],
) -> Result<&'a ServerGroup, TargetError> {
    groups
        .iter()
        .find(|group| group.name == name)
        .ok_or_else(|| TargetError::NotFound {
            name: name.to_owned(),
            found: groups.iter().map(|group| group.name.clone()).collect(),
        })
}

/// Why no group was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The target has an unknown name.
    #[error(
        "unknown target `{0}`, expected current_asg_dynamic, ancestor_asg_dynamic or oldest_asg_dynamic"
    )]
    Unknown(String),
    /// There is no group at all.
    #[error("no server group, so none is the {0}")]
    NoServerGroup(Target),
    /// There is one group only.
    #[error("`{only}` is the only server group, so there is no {target} beside it")]
    OnlyOne {
        /// What was looked for.
        target: Target,
        /// What is there.
        only: String,
    },
    /// No group has the name.
    #[error("server group `{name}` not found, found [{}]", .found.join(", "))]
    NotFound {
        /// The name.
        name: String,
        /// What is there.
        found: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(ages: &[i64]) -> Vec<ServerGroup> {
        ages.iter()
            .map(|age| ServerGroup {
                name: format!("v{age:03}"),
                created_millis: *age,
                ..ServerGroup::default()
            })
            .collect()
    }

    #[test]
    fn finds_the_newest_its_ancestor_and_the_oldest() {
        let groups = groups(&[2, 3, 1]);
        assert_eq!(
            target_server_group(Target::Current, &groups).unwrap().name,
            "v003"
        );
        assert_eq!(
            target_server_group(Target::Ancestor, &groups).unwrap().name,
            "v002"
        );
        assert_eq!(
            target_server_group(Target::Oldest, &groups).unwrap().name,
            "v001"
        );
    }

    #[test]
    fn the_only_group_is_neither_the_ancestor_nor_the_oldest() {
        let groups = groups(&[1]);
        assert_eq!(
            target_server_group(Target::Oldest, &groups)
                .unwrap_err()
                .to_string(),
            "`v001` is the only server group, so there is no oldest beside it"
        );
        assert!(target_server_group(Target::Ancestor, &groups).is_err());
        assert!(target_server_group(Target::Current, &groups).is_ok());
    }
}
