//! What sends traffic to a server group: target groups and classic load balancers.

use std::collections::BTreeMap;

use gennaker_cloud::auto_scaling::Group;
use gennaker_cloud::load_balancing::target_group_name;
use serde::{Deserialize, Serialize};

/// Begin of the tags that say which target groups a disabled group had; the value is the ARN.
const TARGET_GROUP_TAG: &str = "gennaker:target-group:";
/// Begin of the tags that say which classic load balancers a disabled group had; the value is the name.
const LOAD_BALANCER_TAG: &str = "gennaker:load-balancer:";

/// What sends, or sent, traffic to a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSources {
    /// ARNs of target groups.
    pub target_groups: Vec<String>,
    /// Names of classic load balancers.
    #[serde(default)]
    pub load_balancers: Vec<String>,
}

impl TrafficSources {
    /// What the group is attached to.
    #[must_use]
    pub fn of(group: &Group) -> Self {
        Self {
            target_groups: group.target_groups.clone(),
            load_balancers: group.load_balancers.clone(),
        }
    }

    /// What a disabled group was attached to, as its tags say.
    #[must_use]
    pub fn remembered(group: &Group) -> Self {
        let of_tags = |begin: &str| {
            let tags = group.tags.iter().filter(|(key, _)| key.starts_with(begin));
            tags.map(|(_, value)| value.clone()).collect()
        };
        Self {
            target_groups: of_tags(TARGET_GROUP_TAG),
            load_balancers: of_tags(LOAD_BALANCER_TAG),
        }
    }

    /// Whether nothing sends traffic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.target_groups.is_empty() && self.load_balancers.is_empty()
    }

    /// These, and what is not among them of others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        let more = others.without(&self);
        self.target_groups.extend(more.target_groups);
        self.load_balancers.extend(more.load_balancers);
        self
    }

    /// These, less the others.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        self.filtered(|among, one| !among(others).contains(one))
    }

    /// Those of these that are among the others too.
    #[must_use]
    pub fn within(&self, others: &Self) -> Self {
        self.filtered(|among, one| among(others).contains(one))
    }

    fn filtered(&self, keep: impl Fn(fn(&Self) -> &Vec<String>, &String) -> bool) -> Self {
        let of = |kind: fn(&Self) -> &Vec<String>| {
            let all = kind(self).iter();
            all.filter(|one| keep(kind, one)).cloned().collect()
        };
        Self {
            target_groups: of(|sources| &sources.target_groups),
            load_balancers: of(|sources| &sources.load_balancers),
        }
    }

    /// The tags that say it on a group.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        let target_groups = self.target_groups.iter().filter_map(|arn| {
            let name = target_group_name(arn)?;
            Some((format!("{TARGET_GROUP_TAG}{name}"), arn.clone()))
        });
        let load_balancers = self
            .load_balancers
            .iter()
            .map(|name| (format!("{LOAD_BALANCER_TAG}{name}"), name.clone()));
        target_groups.chain(load_balancers).collect()
    }
}

/// Whether a tag is one of [`TrafficSources::tags`].
#[must_use]
pub(crate) fn is_source_tag(key: &str) -> bool {
    key.starts_with(TARGET_GROUP_TAG) || key.starts_with(LOAD_BALANCER_TAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str =
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef";

    fn sources(target_groups: &[&str], load_balancers: &[&str]) -> TrafficSources {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        TrafficSources {
            target_groups: owned(target_groups),
            load_balancers: owned(load_balancers),
        }
    }

    #[test]
    fn what_the_tags_say_is_what_was_attached() {
        // Names are unique among their own kind only.
        let attached = sources(&[WEB], &["web", "admin"]);
        let group = Group {
            tags: attached.tags(),
            ..Group::default()
        };
        assert!(group.tags.keys().all(|key| is_source_tag(key)));
        assert_eq!(
            TrafficSources::remembered(&group),
            sources(&[WEB], &["admin", "web"])
        );
        assert!(TrafficSources::of(&group).is_empty());
    }

    #[test]
    fn one_kind_says_nothing_about_the_other() {
        let both = sources(&["a", "b"], &["a"]);
        assert_eq!(both.without(&sources(&["a"], &[])), sources(&["b"], &["a"]));
        assert_eq!(
            both.within(&sources(&[], &["a", "b"])),
            sources(&[], &["a"])
        );
        assert_eq!(
            sources(&["a"], &[]).and(both.clone()),
            sources(&["a", "b"], &["a"])
        );
        assert!(both.without(&both).is_empty());
    }

    #[test]
    fn an_intent_from_before_there_were_classic_load_balancers_reads() {
        let read: TrafficSources = serde_json::from_str(r#"{"targetGroups": ["a"]}"#).unwrap();
        assert_eq!(read, sources(&["a"], &[]));
    }
}
