//! Are there enough instances, and are they healthy? One poll of each waiting task.

use std::fmt;

use serde_json::{Map, Value};

use super::capacity::PartialCapacity;
use super::context::{self, ContextError};
use super::server_group::{HealthState, Instance, ProviderHealth, ServerGroup};

/// How often a desired size of 0 has to be seen before it is believed, when the deployment wanted more:
/// a group is created empty and resized at once, and reads lag behind.
const ZERO_DESIRED_READS: i64 = 12;

/// The answer of one poll, with the numbers it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// What was waited for has come.
    Ready {
        /// Instances that count.
        healthy: usize,
        /// Instances that were needed.
        needed: usize,
    },
    /// It has not come yet.
    Wait {
        /// Instances that count so far.
        healthy: usize,
        /// Instances that are needed.
        needed: usize,
        /// What is missing.
        reason: Waiting,
    },
}

impl Health {
    /// Whether what was waited for has come.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    fn judge(healthy: usize, needed: i64, reason: Waiting) -> Self {
        let wanted = usize::try_from(needed).unwrap_or(0);
        if healthy >= wanted {
            Self::Ready {
                healthy,
                needed: wanted,
            }
        } else {
            Self::Wait {
                healthy,
                needed: wanted,
                reason,
            }
        }
    }
}

/// What a deployment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Instances are not there yet.
    Launch,
    /// Instances are there and not healthy in all places that are asked.
    Healthy,
    /// Instances still take traffic.
    Down,
    /// The group is not flagged as disabled yet.
    Disabled,
    /// The number of instances is not the desired one.
    Size,
    /// A desired size of 0 was read this many times; the deployment wanted more.
    ZeroDesired(i64),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (healthy, needed, what) = match self {
            Self::Ready { healthy, needed } => {
                return write!(f, "{healthy} instances counted, {needed} needed");
            }
            Self::Wait {
                reason: Waiting::Disabled,
                ..
            } => return f.write_str("the server group still takes traffic"),
            Self::Wait {
                reason: Waiting::ZeroDesired(seen),
                ..
            } => {
                return write!(
                    f,
                    "desired size 0 seen {seen} of {ZERO_DESIRED_READS} times"
                );
            }
            Self::Wait {
                healthy,
                needed,
                reason,
            } => (
                healthy,
                needed,
                match reason {
                    Waiting::Launch => "launched",
                    Waiting::Down => "out of traffic",
                    Waiting::Size => "there",
                    _ => "healthy",
                },
            ),
        };
        write!(f, "{healthy} of {needed} instances {what}")
    }
}

/// Who is asked about an instance: `None` everybody, an empty list nobody.
pub type Providers<'a> = Option<&'a [String]>;

/// The providers to ask when the pipeline names none: the platform alone for a group that no load balancer
/// and no target group watches, because nobody else would ever say that its instances are up.
#[must_use]
pub fn default_providers(group: &ServerGroup) -> Option<Vec<String>> {
    (group.target_groups.is_empty() && group.load_balancers.is_empty())
        .then(|| vec!["Amazon".to_owned()])
}

fn asked<'a>(
    instance: &'a Instance,
    providers: Providers<'a>,
) -> impl Iterator<Item = &'a ProviderHealth> {
    instance
        .health
        .iter()
        .filter(move |health| providers.is_none_or(|names| names.contains(&health.provider)))
}

/// Whether an instance is up: some provider says `Up`, and none `Down`, `OutOfService`, `Starting` or `Draining`.
///
/// If the platform is named as provider, its view counts as "up" unless it is `Down`: it says `Unknown` of an
/// instance that runs.
#[must_use]
pub(crate) fn is_up(instance: &Instance, providers: Providers<'_>) -> bool {
    let not_up = |state| {
        matches!(
            state,
            HealthState::Down
                | HealthState::OutOfService
                | HealthState::Starting
                | HealthState::Draining
        )
    };
    let some_up = asked(instance, providers).any(|health| health.state == HealthState::Up);
    let none_down = asked(instance, providers).all(|health| !not_up(health.state));
    let platform_up = providers.is_some()
        && asked(instance, providers)
            .find(|health| health.platform)
            .is_some_and(|health| health.state != HealthState::Down);
    (some_up || platform_up) && none_down
}

/// Whether an instance is up in every target group and every classic load balancer of its server group, of those whose
/// provider is asked; an instance that is not registered yet in one of them is not.
///
/// As far as its health says which one speaks: what Clouddriver answers sums up all load balancers in one statement.
#[must_use]
fn is_up_wherever_attached(
    instance: &Instance,
    group: &ServerGroup,
    providers: Providers<'_>,
) -> bool {
    let in_all = |provider: &str, attached: &[String]| {
        let said: Vec<&ProviderHealth> = asked(instance, providers)
            .filter(|health| health.provider == provider)
            .collect();
        let is_asked = providers.is_none_or(|names| names.iter().any(|name| name == provider));
        let is_sum = !said.is_empty() && said.iter().all(|health| health.source.is_none());
        !is_asked
            || is_sum
            || attached.iter().all(|name| {
                said.iter().any(|health| {
                    health.source.as_ref() == Some(name) && health.state == HealthState::Up
                })
            })
    };
    in_all("TargetGroup", &group.target_groups) && in_all("LoadBalancer", &group.load_balancers)
}

/// Whether an instance is down: nobody says anything of it, or the platform alone does and says `Unknown`, or
/// some provider says `Down`, `OutOfService` or `Starting` and none `Up` or `Draining`.
#[must_use]
pub(crate) fn is_down(instance: &Instance, providers: Providers<'_>) -> bool {
    let states: Vec<&ProviderHealth> = asked(instance, providers).collect();
    if let [health] = states.as_slice()
        && health.platform
        && health.state == HealthState::Unknown
    {
        return true;
    }
    let some_down = states.is_empty()
        || states.iter().any(|health| {
            matches!(
                health.state,
                HealthState::Down | HealthState::OutOfService | HealthState::Starting
            )
        });
    some_down
        && !states
            .iter()
            .any(|health| matches!(health.state, HealthState::Up | HealthState::Draining))
}

/// A size of a group that another step told, not checked: `{min, desired, max}` as the operation that created
/// the group reported it.
pub type ReportedCapacity = PartialCapacity;

/// What a waiting stage is configured with, and what its earlier polls left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthCheck {
    /// `interestingHealthProviderNames`.
    pub providers: Option<Vec<String>>,
    /// `targetHealthyDeployPercentage`, 0 to 100.
    pub target_healthy_percentage: Option<i64>,
    /// `desiredPercentage`, 0 to 100: the share of a group that is enabled or disabled.
    pub desired_percentage: Option<i64>,
    /// The configured capacity.
    pub capacity: Option<PartialCapacity>,
    /// What the operation that created the group reported as its capacity.
    pub initial_capacity: Option<ReportedCapacity>,
    /// The desired size that the first poll saw.
    pub snapshot_desired: Option<i64>,
    /// How often a desired size of 0 was read in a row.
    pub zero_desired_reads: Option<i64>,
    /// `targetDesiredSize`, which an earlier poll computed.
    pub target_desired_size: Option<i64>,
    /// Whether the stage's strategy is the empty text: a spot group is not waited for then.
    pub strategy_is_empty: bool,
    /// The instances that the disable operation took out of traffic, as it reported.
    pub disabled_instances: Vec<String>,
}

impl HealthCheck {
    /// Reads the context of a waiting stage for one server group.
    ///
    /// # Errors
    /// Fails for values of the wrong kind.
    pub fn from_context(
        context: &Map<String, Value>,
        name: &str,
        region: &str,
    ) -> Result<Self, HealthError> {
        Ok(Self {
            providers: context::text_list(context, "interestingHealthProviderNames"),
            target_healthy_percentage: context::integer(context, "targetHealthyDeployPercentage")?,
            desired_percentage: context::integer(context, "desiredPercentage")?,
            capacity: match context
                .get("capacity")
                .filter(|capacity| capacity.is_object())
            {
                Some(capacity) => PartialCapacity::from_value(capacity).ok(),
                None => None,
            },
            initial_capacity: initial_capacity(context, name, region),
            snapshot_desired: match context::object(context, "capacitySnapshot") {
                Some(snapshot) => context::integer(snapshot, "desiredCapacity")?,
                None => None,
            },
            zero_desired_reads: context::integer(context, "zeroDesiredCapacityCount")?,
            target_desired_size: context::integer(context, "targetDesiredSize")?,
            strategy_is_empty: context::text(context, "strategy").as_deref() == Some(""),
            disabled_instances: disabled_instances(context),
        })
    }

    fn providers(&self) -> Providers<'_> {
        self.providers.as_deref()
    }

    fn asks_nobody(&self) -> bool {
        self.providers.as_ref().is_some_and(Vec::is_empty)
    }

    /// How many instances of a group have to be healthy: the desired size, or the share of it that
    /// `targetHealthyDeployPercentage` asks for (rounded half up, at least 1 unless 0 is asked).
    ///
    /// The desired size is the configured one if the configured or the current size is fixed, else the current
    /// one. With `desiredPercentage` it is `ceil((percentage / 100 - 1) * max + min)`, which may be negative.
    ///
    /// # Errors
    /// Fails for a percentage outside of 0 to 100.
    pub(crate) fn target_size(&self, group: &ServerGroup) -> Result<i64, HealthError> {
        if group.spot && self.strategy_is_empty {
            return Ok(0);
        }
        let current = self.current_size(group);
        let desired = self.configured_desired(current).unwrap_or(current.desired);
        if let Some(percentage) = self.target_healthy_percentage {
            let percentage = percent("targetHealthyDeployPercentage", percentage)?;
            let target = desired
                .saturating_mul(percentage)
                .saturating_add(50)
                .div_euclid(100);
            return Ok(if target == 0 && percentage != 0 && desired > 0 {
                1
            } else {
                target
            });
        }
        match self.desired_percentage {
            Some(percentage) => Ok(partial_size(
                percent("desiredPercentage", percentage)?,
                current,
            )),
            None => Ok(desired),
        }
    }

    /// The group's size, or the one it was created with while it still reads as empty.
    #[must_use]
    pub(crate) fn current_capacity(&self, group: &ServerGroup) -> ReportedCapacity {
        let Size { min, desired, max } = self.current_size(group);
        PartialCapacity {
            min: Some(min),
            desired: Some(desired),
            max: Some(max),
        }
    }

    fn current_size(&self, group: &ServerGroup) -> Size {
        let current = Size {
            min: group.capacity.min().into(),
            desired: group.capacity.desired().into(),
            max: group.capacity.max().into(),
        };
        match self.initial_capacity {
            Some(PartialCapacity { min, desired, max })
                if (current.max == 0 && max.unwrap_or(0) != 0)
                    || (current.desired == 0 && desired.unwrap_or(0) > 0) =>
            {
                Size {
                    min: min.unwrap_or(0),
                    desired: desired.unwrap_or(0),
                    max: max.unwrap_or(0),
                }
            }
            _ => current,
        }
    }

    /// The configured desired size, where it counts: the configured or the current size is fixed.
    fn configured_desired(&self, current: Size) -> Option<i64> {
        let configured = self.capacity?;
        let desired = configured.desired?;
        let fixed = configured.min == configured.max && configured.min == Some(desired);
        (fixed || current.is_pinned()).then_some(desired)
    }
}

#[derive(Clone, Copy)]
struct Size {
    min: i64,
    desired: i64,
    max: i64,
}

impl Size {
    const fn is_pinned(self) -> bool {
        self.min == self.max && self.min == self.desired
    }
}

fn percent(key: &'static str, value: i64) -> Result<i64, HealthError> {
    if (0..=100).contains(&value) {
        Ok(value)
    } else {
        Err(HealthError::Percentage { key, value })
    }
}

/// In floating point, as the original: the rounding shows.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn partial_size(percentage: i64, size: Size) -> i64 {
    ((percentage as f64 / 100.0 - 1.0) * size.max as f64 + size.min as f64).ceil() as i64
}

/// Waits until enough instances are there and healthy: in the group, and in every target group.
///
/// # Errors
/// Fails for a percentage outside of 0 to 100.
pub fn wait_for_up(check: &HealthCheck, group: &ServerGroup) -> Result<Health, HealthError> {
    let needed = check.target_size(group)?;
    let present = group.instances.len();
    if needed == 0
        && let Some(wanted) = check.snapshot_desired
        && wanted != 0
    {
        let seen = check.zero_desired_reads.unwrap_or(0);
        return Ok(if seen >= ZERO_DESIRED_READS {
            Health::Ready {
                healthy: present,
                needed: 0,
            }
        } else {
            Health::Wait {
                healthy: 0,
                needed: usize::try_from(wanted).unwrap_or(0),
                reason: Waiting::ZeroDesired(seen),
            }
        });
    }
    if usize::try_from(needed).is_ok_and(|needed| needed > present) {
        return Ok(Health::judge(present, needed, Waiting::Launch));
    }
    if check.asks_nobody() {
        return Ok(Health::judge(present, needed, Waiting::Launch));
    }
    let healthy = group
        .instances
        .iter()
        .filter(|instance| {
            is_up(instance, check.providers())
                && is_up_wherever_attached(instance, group, check.providers())
        })
        .count();
    Ok(Health::judge(healthy, needed, Waiting::Healthy))
}

/// Waits until the instances of a group that is disabled take no traffic any more.
///
/// For a partial disable (`desired_percentage`) the instances that the operation named have to be down, or, if it
/// named none, `ceil(instances * percentage / 100)` of those that are there. (The original counts on the bounds
/// of the group, where the number can be negative and passes at once.)
///
/// # Errors
/// Fails for a percentage outside of 0 to 100.
pub fn wait_for_down(check: &HealthCheck, group: &ServerGroup) -> Result<Health, HealthError> {
    let present = group.instances.len();
    if check.asks_nobody() {
        return Ok(Health::Ready {
            healthy: present,
            needed: 0,
        });
    }
    let down = |instance: &&Instance| is_down(instance, check.providers());
    let Some(percentage) = check.desired_percentage else {
        let healthy = group.instances.iter().filter(down).count();
        return Ok(Health::judge(healthy, whole(present), Waiting::Down));
    };
    let named: Vec<&Instance> = group
        .instances
        .iter()
        .filter(|instance| check.disabled_instances.contains(&instance.id))
        .collect();
    if !named.is_empty() {
        let healthy = named.iter().copied().filter(down).count();
        return Ok(Health::judge(healthy, whole(named.len()), Waiting::Down));
    }
    let percentage = percent("desiredPercentage", percentage)?;
    let needed = whole(present)
        .saturating_mul(percentage)
        .saturating_add(99)
        .div_euclid(100);
    Ok(Health::judge(
        group.instances.iter().filter(down).count(),
        needed,
        Waiting::Down,
    ))
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Waits until no instance is up any more in the eyes of the providers that are asked.
#[must_use]
pub fn wait_for_none_up(check: &HealthCheck, group: &ServerGroup) -> Health {
    let present = group.instances.len();
    if check.asks_nobody() {
        return Health::Ready {
            healthy: present,
            needed: 0,
        };
    }
    let not_up = group
        .instances
        .iter()
        .filter(|instance| {
            asked(instance, check.providers()).all(|health| health.state != HealthState::Up)
        })
        .count();
    Health::judge(not_up, whole(present), Waiting::Down)
}

/// Waits after a resize until the number of instances is the desired one, and, if the group takes traffic, until
/// they are healthy.
///
/// # Errors
/// Fails for a percentage outside of 0 to 100.
pub fn wait_for_capacity_match(
    check: &HealthCheck,
    group: &ServerGroup,
) -> Result<Health, HealthError> {
    let current = Size {
        min: group.capacity.min().into(),
        desired: group.capacity.desired().into(),
        max: group.capacity.max().into(),
    };
    let desired = check.configured_desired(current).unwrap_or(current.desired);
    let present = whole(group.instances.len());
    let (matches, needed) = match check.target_desired_size {
        Some(target) if target != 0 => (present >= target, target),
        _ => (present == desired, desired),
    };
    if !matches {
        return Ok(Health::Wait {
            healthy: group.instances.len(),
            needed: usize::try_from(needed).unwrap_or(0),
            reason: Waiting::Size,
        });
    }
    if group.enabled {
        wait_for_up(check, group)
    } else {
        Ok(Health::Ready {
            healthy: group.instances.len(),
            needed: usize::try_from(needed).unwrap_or(0),
        })
    }
}

/// Waits until a group is flagged as disabled. A partial disable never flags it, so `None`: there is nothing to
/// wait for.
#[must_use]
pub(crate) fn wait_for_disabled(check: &HealthCheck, group: &ServerGroup) -> Option<Health> {
    // An impossible percentage is not waited for either: the operation itself has refused it.
    if check
        .desired_percentage
        .is_some_and(|percentage| percentage != 100)
    {
        return None;
    }
    let instances = group.instances.len();
    Some(if group.enabled {
        Health::Wait {
            healthy: 0,
            needed: instances,
            reason: Waiting::Disabled,
        }
    } else {
        Health::Ready {
            healthy: instances,
            needed: instances,
        }
    })
}

/// The instances of a group by what the asked providers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Up.
    pub up: usize,
    /// Some provider says `Down` or `OutOfService`, or none of those that are asked says anything.
    pub down: usize,
    /// Out of service; a provider that says so is counted as down before.
    pub out_of_service: usize,
    /// Starting.
    pub starting: usize,
    /// Ran to the end, well.
    pub succeeded: usize,
    /// Ran to the end, badly.
    pub failed: usize,
    /// None of these.
    pub unknown: usize,
}

/// Counts the instances of a group by health.
#[must_use]
pub fn health_counts(check: &HealthCheck, group: &ServerGroup) -> HealthCounts {
    let mut counts = HealthCounts::default();
    if check.asks_nobody() {
        counts.up = group.instances.len();
        return counts;
    }
    for instance in &group.instances {
        let states: Vec<HealthState> = asked(instance, check.providers())
            .map(|health| health.state)
            .collect();
        let any = |wanted: HealthState| states.contains(&wanted);
        let silent = states.is_empty();
        let down = if silent {
            check.providers.is_some()
        } else {
            any(HealthState::Down) || any(HealthState::OutOfService)
        };
        let count = if is_up(instance, check.providers()) {
            &mut counts.up
        } else if down {
            &mut counts.down
        } else if any(HealthState::Starting) {
            &mut counts.starting
        } else if states.iter().all(|state| *state == HealthState::Succeeded) {
            &mut counts.succeeded
        } else if any(HealthState::Failed) {
            &mut counts.failed
        } else {
            &mut counts.unknown
        };
        *count += 1;
    }
    counts
}

/// The capacity that the operation which created the group reported: of the last task that reported deployments.
fn initial_capacity(
    context: &Map<String, Value>,
    name: &str,
    region: &str,
) -> Option<ReportedCapacity> {
    let tasks = context.get("kato.tasks").and_then(Value::as_array)?;
    let deployments = tasks.iter().rev().find_map(|task| {
        task.get("resultObjects")?
            .as_array()?
            .iter()
            .find_map(|result| result.get("deployments")?.as_array())
    })?;
    let capacity = deployments
        .iter()
        .filter(|deployment| {
            deployment.get("serverGroupName").and_then(Value::as_str) == Some(name)
                && deployment.get("location").and_then(Value::as_str) == Some(region)
        })
        .find_map(|deployment| {
            deployment
                .get("capacity")
                .filter(|capacity| capacity.is_object())
        })?;
    PartialCapacity::from_value(capacity).ok()
}

/// The instances that the last disable operation took out of traffic, without those it skipped.
fn disabled_instances(context: &Map<String, Value>) -> Vec<String> {
    let results = || -> Option<&Vec<Value>> {
        let last = context.get("kato.last.task.id")?;
        let id = last.get("id").unwrap_or(last);
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let tasks = context.get("kato.tasks")?.as_array()?;
        let task = tasks
            .iter()
            .find(|task| task.get("id").map(text) == Some(text(id)))?;
        task.get("resultObjects")?.as_array()
    };
    let listed = |key: &str| -> Vec<String> {
        results()
            .and_then(|results| {
                results
                    .iter()
                    .find_map(|result| result.get(key)?.as_array())
            })
            .map(|ids| {
                ids.iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default()
    };
    let skipped = listed("discoverySkippedInstanceIds");
    listed("instanceIdsToDisable")
        .into_iter()
        .filter(|id| !skipped.contains(id))
        .collect()
}

/// Why a poll cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HealthError {
    /// A percentage outside of its range.
    #[error("`{key}` is {value}, expected 0 to 100")]
    Percentage {
        /// Which one.
        key: &'static str,
        /// Its value.
        value: i64,
    },
    /// A value has the wrong kind.
    #[error(transparent)]
    Context(#[from] ContextError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::capacity::Capacity;

    fn instance(id: &str, health: Vec<ProviderHealth>) -> Instance {
        Instance {
            id: id.to_owned(),
            health,
            ..Instance::default()
        }
    }

    fn in_service(id: &str, target_groups: &[&str]) -> Instance {
        let mut health = vec![ProviderHealth::platform(HealthState::Unknown)];
        health.extend(
            target_groups
                .iter()
                .map(|name| ProviderHealth::target_group(name, HealthState::Up)),
        );
        instance(id, health)
    }

    fn group(instances: Vec<Instance>, desired: u32) -> ServerGroup {
        ServerGroup {
            enabled: true,
            capacity: Capacity::fixed(desired),
            instances,
            target_groups: vec!["web".to_owned(), "admin".to_owned()],
            ..ServerGroup::default()
        }
    }

    #[test]
    fn says_how_many_of_how_many_instances_are_healthy() {
        let both = ["web", "admin"];
        let group = group(
            vec![
                in_service("i-1", &both),
                in_service("i-2", &both),
                instance("i-3", vec![]),
            ],
            3,
        );
        let health = wait_for_up(&HealthCheck::default(), &group).unwrap();
        assert_eq!(
            health,
            Health::Wait {
                healthy: 2,
                needed: 3,
                reason: Waiting::Healthy
            }
        );
        assert_eq!(health.to_string(), "2 of 3 instances healthy");
    }

    #[test]
    fn an_instance_has_to_be_up_in_every_target_group() {
        let group = group(vec![in_service("i-1", &["web"])], 1);
        assert!(
            !wait_for_up(&HealthCheck::default(), &group)
                .unwrap()
                .is_ready()
        );
        let group = ServerGroup {
            instances: vec![in_service("i-1", &["admin", "web"])],
            ..group
        };
        assert!(
            wait_for_up(&HealthCheck::default(), &group)
                .unwrap()
                .is_ready()
        );
    }

    #[test]
    fn a_classic_load_balancer_counts_as_a_target_group_does() {
        let with = |load_balancer: &[ProviderHealth]| {
            let mut one = in_service("i-1", &["web", "admin"]);
            one.health.extend_from_slice(load_balancer);
            ServerGroup {
                load_balancers: vec!["web".to_owned()],
                ..group(vec![one], 1)
            }
        };
        let ready = |group: &ServerGroup, providers: Option<&str>| {
            let check = HealthCheck {
                providers: providers.map(|name| vec![name.to_owned()]),
                ..HealthCheck::default()
            };
            wait_for_up(&check, group).unwrap().is_ready()
        };
        let says = |state| [ProviderHealth::load_balancer("web", state)];
        assert!(ready(&with(&says(HealthState::Up)), None));
        // A target group of the same name says nothing for the load balancer.
        assert!(!ready(&with(&[]), None));
        assert!(!ready(&with(&says(HealthState::Starting)), None));
        assert!(!ready(&with(&says(HealthState::Unknown)), None));
        assert!(ready(&with(&says(HealthState::Down)), Some("TargetGroup")));
        assert!(!ready(
            &with(&says(HealthState::Down)),
            Some("LoadBalancer")
        ));
        let sum = ProviderHealth {
            source: None,
            ..ProviderHealth::load_balancer("", HealthState::Up)
        };
        assert!(ready(&with(&[sum]), None));
    }

    #[test]
    fn a_partial_disable_counts_the_instances_that_are_there() {
        let draining = |id: &str| {
            instance(
                id,
                vec![ProviderHealth::target_group("web", HealthState::Up)],
            )
        };
        let mut group = group(
            vec![
                draining("i-1"),
                draining("i-2"),
                draining("i-3"),
                draining("i-4"),
            ],
            4,
        );
        group.capacity = Capacity::new(1, 4, 7).unwrap();
        let check = HealthCheck {
            desired_percentage: Some(50),
            ..HealthCheck::default()
        };
        assert_eq!(
            wait_for_down(&check, &group).unwrap(),
            Health::Wait {
                healthy: 0,
                needed: 2,
                reason: Waiting::Down
            }
        );
    }

    #[test]
    fn a_desired_size_of_zero_is_not_believed_at_once() {
        let empty = ServerGroup {
            capacity: Capacity::default(),
            ..ServerGroup::default()
        };
        let check = HealthCheck {
            snapshot_desired: Some(3),
            zero_desired_reads: Some(11),
            ..HealthCheck::default()
        };
        assert_eq!(
            wait_for_up(&check, &empty).unwrap().to_string(),
            "desired size 0 seen 11 of 12 times"
        );
        let check = HealthCheck {
            zero_desired_reads: Some(12),
            ..check
        };
        assert!(wait_for_up(&check, &empty).unwrap().is_ready());
    }
}
