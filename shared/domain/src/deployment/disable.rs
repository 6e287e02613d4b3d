//! Which instances of a server group a partial disable takes out of traffic.

use std::fmt;

use super::server_group::{HealthState, Instance, ServerGroup};

/// The instances to take out of traffic, and the numbers behind the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialDisable {
    /// The ids of the instances to take out now.
    pub take_out: Vec<String>,
    /// How many are out of traffic already.
    pub already_out: usize,
    /// How many have to be out in the end.
    pub needed: usize,
    /// Whether the whole group is disabled, and has to be flagged so.
    pub whole_group: bool,
}

impl fmt::Display for PartialDisable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} instances have to be out of traffic, {} are, {} follow",
            self.needed,
            self.already_out,
            self.take_out.len()
        )
    }
}

/// Chooses the instances that a disable takes out of traffic: `ceil(instances * percentage / 100)` of them in the end.
///
/// Those that are out already count, so a second call with the same percentage takes none, and growing percentages
/// take the difference. Of the others go first those that are out of one target group or load balancer and still up in
/// another, where an earlier call died in between, then the oldest; among those launched together the order is by id, so that
/// two calls that overlap choose the same. 40 % of 4 instances are `ceil(1.6) = 2`; of 0 instances, 0.
///
/// `percentage` is 0 to 100, more counts as 100.
#[must_use]
pub fn partial_disable(group: &ServerGroup, percentage: u32) -> PartialDisable {
    let percentage = usize::try_from(percentage.min(100)).unwrap_or(100);
    let needed = (group.instances.len() * percentage).div_ceil(100);
    let is_taken_out = |instance: &Instance| {
        matches!(
            instance.health_state,
            HealthState::OutOfService | HealthState::Draining
        )
    };
    let is_up_elsewhere = |instance: &Instance| {
        let mut health = instance.health.iter();
        health.any(|health| health.source.is_some() && health.state == HealthState::Up)
    };
    let is_out = |instance: &Instance| is_taken_out(instance) && !is_up_elsewhere(instance);
    let already_out = group
        .instances
        .iter()
        .filter(|instance| is_out(instance))
        .count();
    let mut others: Vec<&Instance> = group
        .instances
        .iter()
        .filter(|instance| !is_out(instance))
        .collect();
    others.sort_by_key(|instance| {
        let begun = is_taken_out(instance);
        (!begun, instance.launch_millis, &instance.id)
    });
    let take_out = others
        .into_iter()
        .take(needed.saturating_sub(already_out))
        .map(|instance| instance.id.clone())
        .collect();
    PartialDisable {
        take_out,
        already_out,
        needed,
        whole_group: percentage == 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::server_group::ProviderHealth;

    fn group(states: &[HealthState]) -> ServerGroup {
        let instance = |(n, health_state): (usize, &HealthState)| Instance {
            id: format!("i-{n}"),
            health_state: *health_state,
            launch_millis: -i64::try_from(n).unwrap(),
            ..Instance::default()
        };
        ServerGroup {
            instances: states.iter().enumerate().map(instance).collect(),
            ..ServerGroup::default()
        }
    }

    #[test]
    fn takes_the_oldest_and_counts_those_that_are_out() {
        use HealthState::{OutOfService, Up};
        let disable = partial_disable(&group(&[Up, Up, Up, OutOfService, Up]), 50);
        assert_eq!(
            disable.to_string(),
            "3 instances have to be out of traffic, 1 are, 2 follow"
        );
        assert_eq!(disable.take_out, ["i-4", "i-2"]);
        assert!(!disable.whole_group);
    }

    #[test]
    fn finishes_what_died_between_two_places() {
        let mut begun = group(&[HealthState::Up, HealthState::Draining, HealthState::Up]);
        begun.instances[1].health = vec![
            ProviderHealth::target_group("web", HealthState::Draining),
            ProviderHealth::load_balancer("web", HealthState::Up),
        ];
        let disable = partial_disable(&begun, 33);
        assert_eq!((disable.already_out, disable.needed), (0, 1));
        assert_eq!(
            disable.take_out,
            ["i-1"],
            "and no other, though it is not the oldest"
        );
        begun.instances[1].health[1].state = HealthState::Draining;
        assert!(partial_disable(&begun, 33).take_out.is_empty());
    }

    #[test]
    fn a_second_call_takes_none() {
        let out = group(&[
            HealthState::OutOfService,
            HealthState::Draining,
            HealthState::Up,
        ]);
        assert!(partial_disable(&out, 50).take_out.is_empty());
        assert_eq!(partial_disable(&out, 100).take_out, ["i-2"]);
        assert_eq!(partial_disable(&ServerGroup::default(), 100).needed, 0);
    }
}
