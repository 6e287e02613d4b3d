//! One small linked world: Auto Scaling, EC2 and Elastic Load Balancing that keep state and know of each other.

mod alarms;
mod classic;
mod images;
mod limits;
mod process;
mod refreshes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::auto_scaling::{
    AutoScaling, CopiedScaling, Group, GroupDetails, GroupInstance, NAMES_PER_CALL, NewGroup,
    TemplateVersion, WarmPool,
};
use gennaker_cloud::classic_load_balancing::LoadBalancer;
use gennaker_cloud::code_build::{Build, CodeBuild};
use gennaker_cloud::ec2::{Ec2, Ec2Clouds, Image, ImageRef, LaunchData, SecurityGroup, Subnet};
use gennaker_cloud::load_balancing::{LoadBalancing, TargetGroup, TargetHealth};
use gennaker_cloud::{Account, CloudError, InstanceProfiles, Quotas};
use gennaker_domain::Run;
use gennaker_domain::deployment::Capacity;
use gennaker_domain::deployment::alarm_guard::AlarmState;
use gennaker_domain::deployment::find_image_from_tags::pattern_matches;
use gennaker_server_groups::{Clouds, Place, TrafficSources, traffic};

use crate::Faults;

pub use limits::Limit;
pub use process::Process;

/// How the world behaves; every number is a parameter, none a constant.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Milliseconds from launch to healthy.
    pub boot_millis: i64,
    /// Milliseconds from termination to gone.
    pub terminate_millis: i64,
    /// Milliseconds that a deregistered target drains.
    pub drain_millis: i64,
    /// Milliseconds until a new group shows in descriptions.
    pub consistency_millis: i64,
    /// Milliseconds until an account sees an image that was shared with it.
    pub sharing_millis: i64,
    /// Milliseconds that a build takes.
    pub build_millis: i64,
    /// Builds fail.
    pub builds_fail: bool,
    /// Images whose instances never become healthy.
    pub bad_images: Vec<String>,
    /// How often AWS answers; the first that is about an operation counts, and what none is about is not limited.
    pub limits: Vec<Limit>,
    /// How often the SDK asks before a call counts as throttled.
    pub attempts: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            boot_millis: 20_000,
            terminate_millis: 10_000,
            drain_millis: 5_000,
            consistency_millis: 0,
            sharing_millis: 0,
            build_millis: 30_000,
            builds_fail: false,
            bad_images: Vec::new(),
            limits: Vec::new(),
            attempts: 3,
        }
    }
}

#[derive(Clone, Debug)]
struct RunningInstance {
    id: String,
    image: String,
    launched: i64,
    terminating: Option<i64>,
}

#[derive(Clone, Debug)]
struct StoredGroup {
    region: String,
    group: Group,
    details: GroupDetails,
    /// Names of scaling policies and scheduled actions.
    scaling: BTreeSet<String>,
    /// Names of the alarms that its scaling policies go by.
    alarms: BTreeSet<String>,
    warm_pool: Option<WarmPool>,
    warm_pool_gone_at: Option<i64>,
    /// What new instances are launched from while an instance refresh is at work.
    launching: Option<TemplateVersion>,
    instances: Vec<RunningInstance>,
    visible_at: i64,
}

/// What was done to a server group, as far as it changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Created with this size.
    Created(Capacity),
    /// Another size.
    Resized(Capacity),
    /// Out of traffic altogether.
    Disabled,
    /// So many more instances out of traffic, the group still in it.
    PartlyDisabled(usize),
    /// In traffic again.
    Enabled,
    /// An instance refresh of it began.
    Refreshed,
    /// Its deletion began.
    Destroyed,
}

/// An [`Effect`] with its place and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// UTC milliseconds.
    pub at: i64,
    /// Region.
    pub region: String,
    /// Server group.
    pub group: String,
    /// What was done.
    pub effect: Effect,
}

/// The region of a world unless it is told otherwise.
const REGION: &str = "us-east-1";

#[derive(Clone, Debug)]
struct Version {
    description: String,
    token: String,
    image: String,
    data: LaunchData,
    deleted: bool,
}

#[derive(Clone, Debug)]
struct StartedBuild {
    token: String,
    image_name: String,
    started: i64,
    stopped: bool,
}

#[derive(Debug, Default)]
struct State {
    now: i64,
    /// Something may have changed since the clock last moved.
    touched: bool,
    /// When something changes by itself next, as of then.
    next: Option<i64>,
    behaviour: Behaviour,
    groups: BTreeMap<String, StoredGroup>,
    templates: BTreeMap<String, Vec<Version>>,
    target_groups: Vec<TargetGroup>,
    load_balancers: Vec<LoadBalancer>,
    /// By target group or classic load balancer and instance: until when it drains.
    draining: BTreeMap<(String, String), i64>,
    images: Vec<Image>,
    /// By image id: the only region that has it; all others are in every region.
    image_regions: BTreeMap<String, String>,
    /// By image id: who else may launch it; all others every account sees.
    image_access: BTreeMap<String, images::Access>,
    /// By account id: what every call about images there is answered.
    closed_accounts: BTreeMap<String, CloudError>,
    subnets: Vec<Subnet>,
    security_groups: Vec<SecurityGroup>,
    key_pairs: Vec<String>,
    /// How many vCPUs the account may run; none is as many as it likes.
    vcpu_quota: Option<u64>,
    /// Instance profiles that are not there; all others are.
    missing_profiles: BTreeSet<String>,
    /// Instance types that the region does not offer; of all others there are enough.
    unoffered: BTreeSet<String>,
    /// By target group or classic load balancer and instance: taken out by hand.
    deregistered: BTreeSet<(String, String)>,
    bad_instances: BTreeSet<String>,
    operations: Vec<Operation>,
    instances_made: usize,
    groups_made: Vec<String>,
    healthy_history: Vec<(i64, usize)>,
    builds: Vec<StartedBuild>,
    /// By region and name: since when an alarm has a state; the newest that has come counts.
    alarms: BTreeMap<(String, String), Vec<(i64, AlarmState)>>,
    buckets: limits::Buckets,
    /// By group, oldest first.
    refreshes: BTreeMap<String, Vec<refreshes::StoredRefresh>>,
}

/// The world of one account and region; images alone have owners in several accounts. Clones are the same world.
///
/// It has its own clock, which [`World::advance`] moves; nothing happens by itself. Every call goes through
/// [`Faults`].
#[derive(Clone, Debug, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    faults: Faults,
    region: Option<String>,
    account: Option<String>,
}

fn refused(operation: &str, resource: &str, code: &str, message: &str) -> CloudError {
    CloudError::Refused {
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
        request_id: "testkit".to_owned(),
    }
}

impl State {
    /// Launches and terminates until every group has what it wants, and forgets what is gone.
    fn settle(&mut self) {
        self.refresh();
        let now = self.now;
        let terminate_millis = self.behaviour.terminate_millis;
        let mut deregistered: Vec<(String, String)> = Vec::new();
        for stored in self.groups.values_mut() {
            stored.instances.retain(|instance| {
                instance
                    .terminating
                    .is_none_or(|since| now < since.saturating_add(terminate_millis))
            });
            let suspended = |process: &str| {
                stored
                    .group
                    .suspended_processes
                    .iter()
                    .any(|p| p == process)
            };
            let wanted = if stored.group.deleting {
                0
            } else {
                stored.group.capacity.desired() as usize
            };
            let mut running = stored
                .instances
                .iter()
                .filter(|instance| instance.terminating.is_none())
                .count();
            let image = stored
                .launching
                .as_ref()
                .or(stored.group.launch_template.as_ref())
                .and_then(|template| {
                    let versions = self.templates.get(&template.id)?;
                    let number: usize = template.version.parse().ok()?;
                    versions.get(number.checked_sub(1)?)
                })
                .filter(|version| !version.deleted)
                .map(|version| version.image.clone())
                .unwrap_or_default();
            while running < wanted && !suspended("Launch") {
                self.instances_made += 1;
                stored.instances.push(RunningInstance {
                    id: format!("i-{:017x}", self.instances_made),
                    image: image.clone(),
                    launched: now,
                    terminating: None,
                });
                running += 1;
            }
            let may_terminate = stored.group.deleting || !suspended("Terminate");
            for instance in stored.instances.iter_mut() {
                if running > wanted && may_terminate && instance.terminating.is_none() {
                    instance.terminating = Some(now);
                    running -= 1;
                    deregistered.extend(
                        sources_of(&stored.group)
                            .map(|source| (source.clone(), instance.id.clone())),
                    );
                }
            }
        }
        let drain_until = now.saturating_add(self.behaviour.drain_millis);
        for key in deregistered {
            self.draining.insert(key, drain_until);
        }
        self.draining.retain(|_, until| *until > now);
        for stored in self.groups.values_mut() {
            if stored.warm_pool_gone_at.is_some_and(|gone| now >= gone) {
                stored.warm_pool = None;
                stored.warm_pool_gone_at = None;
            }
        }
        self.groups
            .retain(|_, stored| !(stored.group.deleting && stored.instances.is_empty()));
    }

    /// When something changes by itself next: an instance is healthy or gone, a target or a warm pool is gone.
    fn next_happening(&self) -> Option<i64> {
        let behaviour = &self.behaviour;
        let instances = self.groups.values().flat_map(|stored| &stored.instances);
        let of_instances = instances.flat_map(|instance| {
            let booted = instance.launched.saturating_add(behaviour.boot_millis);
            let gone = instance
                .terminating
                .map(|since| since.saturating_add(behaviour.terminate_millis));
            [Some(booted), gone].into_iter().flatten()
        });
        let pools = self.groups.values().filter_map(|s| s.warm_pool_gone_at);
        of_instances
            .chain(pools)
            .chain(self.draining.values().copied())
            .filter(|at| *at > self.now)
            .min()
    }

    /// Whether a group takes traffic; none where there is none.
    fn takes_traffic(&self, key: &str) -> Option<bool> {
        let stored = self.groups.get(key)?;
        Some(!traffic::is_disabled(&stored.group))
    }

    /// How many healthy targets all target groups and classic load balancers have together.
    fn healthy_targets(&self) -> usize {
        let target_groups = self.target_groups.iter().map(|group| &group.arn);
        let load_balancers = self.load_balancers.iter().map(|balancer| &balancer.name);
        let known: BTreeSet<&String> = target_groups.chain(load_balancers).collect();
        let in_source = |stored: &StoredGroup, source: &String| {
            let out = |instance: &RunningInstance| {
                let of = (source.clone(), instance.id.clone());
                !self.deregistered.is_empty() && self.deregistered.contains(&of)
            };
            let instances = stored.instances.iter();
            instances.filter(|i| self.healthy(i) && !out(i)).count()
        };
        self.groups
            .values()
            .flat_map(|stored| sources_of(&stored.group).map(move |source| (stored, source)))
            .filter(|(_, source)| known.contains(source))
            .map(|(stored, source)| in_source(stored, source))
            .sum()
    }

    fn note(&mut self, region: &str, group: &str, effect: Effect) {
        self.operations.push(Operation {
            at: self.now,
            region: region.to_owned(),
            group: group.to_owned(),
            effect,
        });
    }

    fn healthy(&self, instance: &RunningInstance) -> bool {
        instance.terminating.is_none()
            && self.now >= instance.launched.saturating_add(self.behaviour.boot_millis)
            && !self.is_bad(instance)
    }

    fn is_bad(&self, instance: &RunningInstance) -> bool {
        self.behaviour.bad_images.contains(&instance.image)
            || self.bad_instances.contains(&instance.id)
    }

    fn described(&self, stored: &StoredGroup) -> Group {
        let mut group = stored.group.clone();
        group.instances = stored
            .instances
            .iter()
            .map(|instance| GroupInstance {
                id: instance.id.clone(),
                lifecycle_state: match instance.terminating {
                    Some(_) => "Terminating".to_owned(),
                    None if self.now
                        < instance.launched.saturating_add(self.behaviour.boot_millis) =>
                    {
                        "Pending".to_owned()
                    }
                    None => "InService".to_owned(),
                },
                health_status: "Healthy".to_owned(),
                zone: "us-east-1a".to_owned(),
            })
            .collect();
        group
    }

    /// What a target group, or a classic load balancer, says of its targets, in the words of a target group.
    fn targets(&self, source: &str) -> Vec<TargetHealth> {
        let mut targets: Vec<TargetHealth> = self
            .groups
            .values()
            .filter(|stored| sources_of(&stored.group).any(|attached| attached == source))
            .flat_map(|stored| &stored.instances)
            .filter(|instance| instance.terminating.is_none())
            .filter(|instance| {
                !self
                    .deregistered
                    .contains(&(source.to_owned(), instance.id.clone()))
            })
            .map(|instance| TargetHealth {
                target: instance.id.clone(),
                state: if self.healthy(instance) {
                    "healthy"
                } else if self.is_bad(instance) {
                    "unhealthy"
                } else {
                    "initial"
                }
                .to_owned(),
            })
            .collect();
        for (drains, instance) in self.draining.keys() {
            if drains == source && !targets.iter().any(|target| target.target == *instance) {
                targets.push(TargetHealth {
                    target: instance.clone(),
                    state: "draining".to_owned(),
                });
            }
        }
        targets
    }

    /// Attached to a group, these get all its instances.
    fn all_registered(&mut self, sources: &[String], key: &str) {
        let instances = self.instance_ids(key);
        self.deregistered
            .retain(|(of, instance)| !(sources.contains(of) && instances.contains(instance)));
        self.draining
            .retain(|(of, instance), _| !(sources.contains(of) && instances.contains(instance)));
    }

    /// Detached from a group, these let all its instances drain.
    fn all_drain(&mut self, sources: &[String], key: &str) {
        let until = self.now.saturating_add(self.behaviour.drain_millis);
        let instances = self.instance_ids(key);
        for source in sources {
            for instance in &instances {
                self.draining
                    .insert((source.clone(), instance.clone()), until);
            }
        }
    }

    /// Instances are registered by hand.
    fn register(&mut self, region: &str, source: &str, instances: &[String]) {
        self.draining
            .retain(|(drains, instance), _| drains != source || !instances.contains(instance));
        let back: Vec<String> = instances
            .iter()
            .filter(|id| {
                self.deregistered
                    .remove(&(source.to_owned(), (*id).clone()))
            })
            .cloned()
            .collect();
        let group = self
            .groups
            .values()
            .find(|stored| stored.instances.iter().any(|i| back.contains(&i.id)))
            .map(|stored| stored.group.name.clone());
        if let Some(group) = group {
            self.note(region, &group, Effect::Enabled);
        }
    }

    /// Instances are deregistered by hand.
    fn deregister(&mut self, region: &str, source: &str, instances: &[String]) {
        let until = self.now.saturating_add(self.behaviour.drain_millis);
        let mut by_group: BTreeMap<String, usize> = BTreeMap::new();
        for instance in instances {
            let of = (source.to_owned(), instance.clone());
            if !self.deregistered.insert(of.clone()) {
                continue;
            }
            self.draining.insert(of, until);
            let group = self
                .groups
                .values()
                .find(|stored| stored.instances.iter().any(|i| i.id == *instance))
                .map(|stored| stored.group.name.clone());
            *by_group.entry(group.unwrap_or_default()).or_default() += 1;
        }
        for (group, count) in by_group {
            self.note(region, &group, Effect::PartlyDisabled(count));
        }
    }

    /// A version of a launch template that was not deleted.
    fn version(&self, template: &TemplateVersion) -> Option<&Version> {
        let number: usize = template.version.parse().ok()?;
        let versions = self.templates.get(&template.id)?;
        let version = versions.get(number.checked_sub(1)?)?;
        (!version.deleted).then_some(version)
    }

    /// Whether the group was created through the port less than half a minute ago.
    fn is_new(&self, stored: &StoredGroup) -> bool {
        self.groups_made.contains(&stored.group.name)
            && self.now < stored.group.created_millis.saturating_add(30_000)
    }

    fn instance_ids(&self, key: &str) -> Vec<String> {
        self.groups
            .get(key)
            .map(|stored| stored.instances.iter().map(|i| i.id.clone()).collect())
            .unwrap_or_default()
    }

    fn group_mut(&mut self, operation: &str, name: &str) -> Result<&mut Group, CloudError> {
        self.groups
            .get_mut(name)
            .map(|stored| &mut stored.group)
            .ok_or_else(|| {
                refused(
                    operation,
                    name,
                    "ValidationError",
                    "AutoScalingGroup name not found - null",
                )
            })
    }
}

/// What a group is attached to: ARNs of target groups, and names of classic load balancers.
fn sources_of(group: &Group) -> impl Iterator<Item = &String> {
    group.target_groups.iter().chain(&group.load_balancers)
}

impl World {
    /// An empty world at this time, whose calls count, and fail, with `faults`.
    #[must_use]
    pub fn new(now: i64, behaviour: Behaviour, faults: Faults) -> Self {
        let world = Self {
            state: Arc::default(),
            faults,
            region: None,
            account: None,
        };
        {
            let mut state = world.lock();
            state.now = now;
            state.behaviour = behaviour;
        }
        world
    }

    /// To change something.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.peek();
        state.touched = true;
        state
    }

    /// To read alone.
    fn peek(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same world, seen from another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self {
            region: Some(region.to_owned()),
            ..self.clone()
        }
    }

    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(REGION)
    }

    /// Groups of two regions may have the same name.
    fn key(&self, name: &str) -> String {
        match self.region() {
            REGION => name.to_owned(),
            region => format!("{region}/{name}"),
        }
    }

    /// What was done so far, in order; what changed nothing is not among it.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    /// Sets when a group was created.
    pub fn set_created(&self, name: &str, millis: i64) {
        let key = self.key(name);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored.group.created_millis = millis;
        }
    }

    /// Gives a group this tag, without a call.
    pub fn tag(&self, name: &str, tag: &str, value: &str) {
        let key = self.key(name);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored.group.tags.insert(tag.to_owned(), value.to_owned());
        }
    }

    /// Suspends processes of a group, without a call.
    pub fn suspend(&self, name: &str, processes: &[&str]) {
        let key = self.key(name);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            for process in processes {
                stored.group.suspended_processes.push((*process).to_owned());
            }
        }
    }

    /// The instances of these ids never become healthy, from now on.
    pub fn mark_bad_instances(&self, ids: &[String]) {
        self.lock().bad_instances.extend(ids.iter().cloned());
    }

    /// Detaches a target group from a group, without a call and without draining.
    pub fn detach(&self, name: &str, arn: &str) {
        let key = self.key(name);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored
                .group
                .target_groups
                .retain(|attached| attached != arn);
        }
    }

    /// A group was disabled earlier: it bears the tags that say what it was attached to, without a call.
    pub fn add_disabled(
        &self,
        name: &str,
        image: &str,
        capacity: Capacity,
        sources: TrafficSources,
    ) {
        self.add_group(name, image, capacity, &[]);
        let out = traffic::Before {
            suspended_processes: Vec::new(),
            sources,
        };
        for (tag, value) in out.tags() {
            self.tag(name, &tag, &value);
        }
        self.suspend(name, &traffic::SUSPENDED);
    }

    /// How many instances of a group are healthy in a target group or classic load balancer; no call, never a fault.
    #[must_use]
    pub fn healthy_in(&self, arn: &str, group: &Group) -> usize {
        self.lock()
            .targets(arn)
            .iter()
            .filter(|target| target.state == "healthy")
            .filter(|target| group.instances.iter().any(|i| i.id == target.target))
            .count()
    }

    /// Takes instances out of a target group, without a call.
    pub fn take_out(&self, arn: &str, ids: &[String]) {
        let mut state = self.lock();
        for id in ids {
            state.deregistered.insert((arn.to_owned(), id.clone()));
        }
    }

    /// Gives a group scaling policies or scheduled actions of these names.
    pub fn add_scaling(&self, name: &str, scaling: &[&str]) {
        let key = self.key(name);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored
                .scaling
                .extend(scaling.iter().map(|name| (*name).to_owned()));
        }
    }

    /// The names of a group's scaling policies and scheduled actions; no call, never a fault.
    #[must_use]
    pub fn scaling(&self, name: &str) -> Vec<String> {
        let key = self.key(name);
        let state = self.lock();
        let stored = state.groups.get(&key);
        stored
            .map(|stored| stored.scaling.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// What a group's instances are launched from; no call, never a fault.
    #[must_use]
    pub fn launch_data(&self, name: &str) -> Option<LaunchData> {
        let template = self.group(name)?.launch_template?;
        let state = self.lock();
        state.version(&template).map(|version| version.data.clone())
    }

    /// The images that a group's living instances run, sorted; no call, never a fault.
    #[must_use]
    pub fn images_of(&self, name: &str) -> Vec<String> {
        let key = self.key(name);
        let state = self.lock();
        let instances = state.groups.get(&key).map(|stored| &stored.instances);
        let living = instances.into_iter().flatten();
        let mut images: Vec<String> = living
            .filter(|instance| instance.terminating.is_none())
            .map(|instance| instance.image.clone())
            .collect();
        images.sort();
        images
    }

    /// What else a group is made of; no call, never a fault.
    #[must_use]
    pub fn group_details(&self, name: &str) -> Option<GroupDetails> {
        let key = self.key(name);
        let state = self.lock();
        state.groups.get(&key).map(|stored| stored.details.clone())
    }

    /// Now, in the world, UTC milliseconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.peek().now
    }

    /// Moves the clock, from one happening to the next.
    pub fn advance(&self, millis: i64) {
        let mut state = self.peek();
        let end = state.now.saturating_add(millis);
        while state.now < end {
            if state.touched {
                state.next = state.next_happening();
            }
            let next = state.next.unwrap_or(i64::MAX);
            state.now = end.min(next);
            // An instance refresh goes by a time of its own.
            if !state.touched && state.now < next && state.refreshes.is_empty() {
                continue;
            }
            state.settle();
            let healthy = state.healthy_targets();
            let now = state.now;
            state.healthy_history.push((now, healthy));
            state.next = state.next_happening();
            state.touched = false;
        }
    }

    /// Marks the instances of an image bad from now on.
    pub fn mark_bad(&self, image: &str) {
        self.lock().behaviour.bad_images.push(image.to_owned());
    }

    /// Adds a key pair.
    pub fn add_key_pair(&self, name: &str) {
        self.lock().key_pairs.push(name.to_owned());
    }

    /// The account may run so many vCPUs of each kind.
    pub fn set_vcpu_quota(&self, vcpus: u64) {
        self.lock().vcpu_quota = Some(vcpus);
    }

    /// The account has no instance profile of this name.
    pub fn remove_instance_profile(&self, name: &str) {
        self.lock().missing_profiles.insert(name.to_owned());
    }

    /// The region offers an instance type no more.
    pub fn withdraw_instance_type(&self, name: &str) {
        self.lock().unoffered.insert(name.to_owned());
    }

    /// A group launches what another one launches, from now on.
    pub fn share_template(&self, of: &str, with: &str) {
        let template = self.group(of).and_then(|group| group.launch_template);
        let key = self.key(with);
        if let Some(stored) = self.lock().groups.get_mut(&key) {
            stored.group.launch_template = template;
        }
    }

    /// All versions of a group's launch template are deleted.
    pub fn delete_template_of(&self, group: &str) {
        let mut state = self.lock();
        let template = state
            .groups
            .get(&self.key(group))
            .and_then(|stored| stored.group.launch_template.clone());
        if let Some(template) = template {
            state.templates.remove(&template.id);
        }
    }

    /// Adds a target group in VPC `vpc-1` and answers its ARN.
    pub fn add_target_group(&self, name: &str) -> String {
        let arn = format!(
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/0123456789abcdef"
        );
        self.lock().target_groups.push(TargetGroup {
            name: name.to_owned(),
            arn: arn.clone(),
            vpc_id: Some("vpc-1".to_owned()),
        });
        arn
    }

    /// Adds a subnet of `vpc-1` with a purpose.
    pub fn add_subnet(&self, id: &str, purpose: &str) {
        let purpose = format!("{{\"purpose\":\"{purpose}\"}}");
        self.lock().subnets.push(Subnet {
            id: id.to_owned(),
            vpc_id: "vpc-1".to_owned(),
            zone: "us-east-1a".to_owned(),
            tags: BTreeMap::from([("immutable_metadata".to_owned(), purpose)]),
        });
    }

    /// Adds a security group of `vpc-1`.
    pub fn add_security_group(&self, id: &str, name: &str) {
        self.lock().security_groups.push(SecurityGroup {
            id: id.to_owned(),
            name: name.to_owned(),
            vpc_id: Some("vpc-1".to_owned()),
        });
    }

    /// Adds a group as if it had been created now, its instances launched from `image` and already booted.
    pub fn add_group(&self, name: &str, image: &str, capacity: Capacity, target_groups: &[String]) {
        let key = self.key(name);
        let mut state = self.lock();
        let template = format!("lt-{key}");
        state.templates.insert(
            template.clone(),
            vec![Version {
                description: String::new(),
                token: key.clone(),
                image: image.to_owned(),
                data: LaunchData {
                    image: image.to_owned(),
                    instance_type: "t3.small".to_owned(),
                    ..LaunchData::default()
                },
                deleted: false,
            }],
        );
        // What runs was registered when it was launched.
        if !state.images.iter().any(|known| known.id == image) {
            state.add_image(image, image);
        }
        let now = state.now;
        state.groups.insert(
            key.clone(),
            StoredGroup {
                region: self.region().to_owned(),
                details: GroupDetails {
                    health_check_type: "EC2".to_owned(),
                    ..GroupDetails::default()
                },
                scaling: BTreeSet::new(),
                alarms: BTreeSet::new(),
                warm_pool: None,
                warm_pool_gone_at: None,
                launching: None,
                group: Group {
                    name: name.to_owned(),
                    created_millis: now,
                    capacity,
                    launch_template: Some(TemplateVersion {
                        id: template,
                        version: "1".to_owned(),
                    }),
                    target_groups: target_groups.to_vec(),
                    zones: vec!["us-east-1a".to_owned()],
                    ..Group::default()
                },
                instances: Vec::new(),
                visible_at: now,
            },
        );
        state.settle();
        let booted = now.saturating_sub(state.behaviour.boot_millis);
        if let Some(stored) = state.groups.get_mut(&key) {
            for instance in &mut stored.instances {
                instance.launched = booted;
            }
        }
    }

    /// How many builds were started, and how many of them stopped; no call, never a fault.
    #[must_use]
    pub fn builds_started_and_stopped(&self) -> (usize, usize) {
        let state = self.lock();
        let stopped = state.builds.iter().filter(|build| build.stopped).count();
        (state.builds.len(), stopped)
    }

    /// Every group as it is, sorted by name; no call, never a fault.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Group> {
        let state = self.peek();
        state
            .groups
            .values()
            .filter(|stored| stored.region == self.region())
            .map(|stored| state.described(stored))
            .collect()
    }

    /// One group as it is; no call, never a fault.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Group> {
        self.snapshot().into_iter().find(|group| group.name == name)
    }

    /// How many targets of a target group or classic load balancer are healthy; no call, never a fault.
    #[must_use]
    pub fn healthy_targets(&self, arn: &str) -> usize {
        self.lock()
            .targets(arn)
            .iter()
            .filter(|target| target.state == "healthy")
            .count()
    }

    /// The fewest healthy targets over all target groups that the clock ever saw.
    #[must_use]
    pub fn fewest_healthy(&self) -> Option<usize> {
        self.lock()
            .healthy_history
            .iter()
            .map(|(_, healthy)| *healthy)
            .min()
    }

    /// Names of the groups that were ever created through the port, one for each creation.
    #[must_use]
    pub fn groups_made(&self) -> Vec<String> {
        self.lock().groups_made.clone()
    }

    /// How many versions the launch templates have, over all.
    #[must_use]
    pub fn template_versions(&self) -> usize {
        let state = self.lock();
        let versions = state.templates.values().flatten();
        versions.filter(|version| !version.deleted).count()
    }

    /// One call: the fault before, the effect, the fault after. `resource` is the group, where one is changed.
    fn call<T>(
        &self,
        operation: &str,
        resource: &str,
        effect: impl FnOnce(&mut State) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        self.admit(operation)?;
        let call = self.faults.before(operation, resource)?;
        let key = self.key(resource);
        let answer = {
            let mut state = self.lock();
            let before = state.takes_traffic(&key);
            let answer = effect(&mut state);
            match (before, state.takes_traffic(&key)) {
                (Some(true), Some(false)) => state.note(self.region(), resource, Effect::Disabled),
                (Some(false), Some(true)) => state.note(self.region(), resource, Effect::Enabled),
                _ => {}
            }
            state.settle();
            answer
        };
        self.faults.after(call, operation, resource)?;
        answer
    }

    /// One call that changes nothing.
    fn look<T>(
        &self,
        operation: &str,
        resource: &str,
        answer: impl FnOnce(&State) -> T,
    ) -> Result<T, CloudError> {
        self.admit(operation)?;
        let call = self.faults.before(operation, resource)?;
        let answer = answer(&self.peek());
        self.faults.after(call, operation, resource)?;
        Ok(answer)
    }
}

#[async_trait]
impl AutoScaling for World {
    async fn all_groups(&self) -> Result<Vec<Group>, CloudError> {
        const OPERATION: &str = "autoscaling:DescribeAutoScalingGroups";
        let groups = self.look(OPERATION, "all groups", |state| {
            let stale = self.faults.take_stale();
            state
                .groups
                .values()
                .filter(|stored| stored.region == self.region())
                .filter(|stored| !(stale && state.is_new(stored)))
                .filter(|stored| stored.visible_at <= state.now)
                .map(|stored| state.described(stored))
                .collect::<Vec<Group>>()
        })?;
        // A call for each page.
        for _ in groups.chunks(NAMES_PER_CALL).skip(1) {
            self.look(OPERATION, "all groups", |_| ())?;
        }
        Ok(groups)
    }

    async fn groups(&self, names: &[String]) -> Result<Vec<Group>, CloudError> {
        const OPERATION: &str = "autoscaling:DescribeAutoScalingGroups";
        self.look(OPERATION, &names.join(", "), |state| {
            let stale = self.faults.take_stale();
            names
                .iter()
                .filter_map(|name| state.groups.get(&self.key(name)))
                .filter(|stored| !(stale && state.is_new(stored)))
                .filter(|stored| stored.visible_at <= state.now)
                .map(|stored| state.described(stored))
                .collect()
        })
    }

    async fn create_group(&self, new: &NewGroup) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:CreateAutoScalingGroup";
        let key = self.key(&new.name);
        self.call(OPERATION, &new.name, |state| {
            if state.groups.contains_key(&key) {
                return Err(refused(
                    OPERATION,
                    &new.name,
                    "AlreadyExists",
                    "AutoScalingGroup by this name already exists",
                ));
            }
            if !state.templates.contains_key(&new.launch_template.id) {
                return Err(refused(
                    OPERATION,
                    &new.name,
                    "ValidationError",
                    "the launch template does not exist",
                ));
            }
            let image = state.version(&new.launch_template).map(|v| v.image.clone());
            if let Some(image) = image.filter(|image| !state.may_launch(image, self.account())) {
                let message = format!(
                    "You must use a valid fully-formed launch template. The image id '[{image}]' does not exist"
                );
                return Err(refused(OPERATION, &new.name, "ValidationError", &message));
            }
            let now = state.now;
            state.groups_made.push(new.name.clone());
            state.note(self.region(), &new.name, Effect::Created(new.capacity));
            state.groups.insert(
                key,
                StoredGroup {
                    region: self.region().to_owned(),
                    details: GroupDetails {
                        subnets: new.subnets.clone(),
                        health_check_type: new.health_check_type.clone(),
                        health_check_grace_seconds: new.health_check_grace_seconds,
                        cooldown_seconds: new.cooldown_seconds,
                        termination_policies: new.termination_policies.clone(),
                        capacity_rebalance: new.capacity_rebalance,
                        enabled_metrics: Vec::new(),
                        lifecycle_hooks: new.lifecycle_hooks.clone(),
                        mixed_instances: new.mixed_instances.clone(),
                        placement_group: new.placement_group.clone(),
                    },
                    scaling: BTreeSet::new(),
                    alarms: BTreeSet::new(),
                    warm_pool: None,
                    warm_pool_gone_at: None,
                    launching: None,
                    group: Group {
                        name: new.name.clone(),
                        created_millis: now,
                        capacity: new.capacity,
                        launch_template: Some(new.launch_template.clone()),
                        target_groups: new.target_groups.clone(),
                        load_balancers: new.load_balancers.clone(),
                        zones: new.zones.clone(),
                        tags: new.tags.clone(),
                        ..Group::default()
                    },
                    instances: Vec::new(),
                    visible_at: now.saturating_add(state.behaviour.consistency_millis),
                },
            );
            Ok(())
        })
    }

    async fn set_capacity(&self, name: &str, capacity: Capacity) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:UpdateAutoScalingGroup";
        self.call(OPERATION, name, |state| {
            let group = state.group_mut(OPERATION, &self.key(name))?;
            if group.capacity != capacity {
                group.capacity = capacity;
                state.note(self.region(), name, Effect::Resized(capacity));
            }
            Ok(())
        })
    }

    async fn suspend_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:SuspendProcesses";
        if processes.is_empty() {
            return Ok(());
        }
        self.call(OPERATION, name, |state| {
            let suspended = &mut state
                .group_mut(OPERATION, &self.key(name))?
                .suspended_processes;
            for process in processes {
                if !suspended.contains(process) {
                    suspended.push(process.clone());
                }
            }
            Ok(())
        })
    }

    async fn resume_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:ResumeProcesses";
        if processes.is_empty() {
            return Ok(());
        }
        self.call(OPERATION, name, |state| {
            state
                .group_mut(OPERATION, &self.key(name))?
                .suspended_processes
                .retain(|process| !processes.contains(process));
            Ok(())
        })
    }

    async fn attach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:AttachLoadBalancerTargetGroups";
        self.call(OPERATION, name, |state| {
            let attached = &mut state.group_mut(OPERATION, &self.key(name))?.target_groups;
            for arn in arns {
                if !attached.contains(arn) {
                    attached.push(arn.clone());
                }
            }
            state.all_registered(arns, &self.key(name));
            Ok(())
        })
    }

    async fn detach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DetachLoadBalancerTargetGroups";
        self.call(OPERATION, name, |state| {
            state
                .group_mut(OPERATION, &self.key(name))?
                .target_groups
                .retain(|arn| !arns.contains(arn));
            state.all_drain(arns, &self.key(name));
            Ok(())
        })
    }

    async fn attach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:AttachLoadBalancers";
        self.call(OPERATION, name, |state| {
            let attached = &mut state.group_mut(OPERATION, &self.key(name))?.load_balancers;
            for balancer in balancers {
                if !attached.contains(balancer) {
                    attached.push(balancer.clone());
                }
            }
            state.all_registered(balancers, &self.key(name));
            Ok(())
        })
    }

    async fn detach_load_balancers(
        &self,
        name: &str,
        balancers: &[String],
    ) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DetachLoadBalancers";
        self.call(OPERATION, name, |state| {
            state
                .group_mut(OPERATION, &self.key(name))?
                .load_balancers
                .retain(|balancer| !balancers.contains(balancer));
            state.all_drain(balancers, &self.key(name));
            Ok(())
        })
    }

    async fn set_tags(
        &self,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:CreateOrUpdateTags";
        self.call(OPERATION, name, |state| {
            state
                .group_mut(OPERATION, &self.key(name))?
                .tags
                .extend(tags.clone());
            Ok(())
        })
    }

    async fn remove_tags(&self, name: &str, keys: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DeleteTags";
        if keys.is_empty() {
            return Ok(());
        }
        self.call(OPERATION, name, |state| {
            state
                .group_mut(OPERATION, &self.key(name))?
                .tags
                .retain(|key, _| !keys.contains(key));
            Ok(())
        })
    }

    async fn delete_group(&self, name: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DeleteAutoScalingGroup";
        self.call(OPERATION, name, |state| {
            let group = state.group_mut(OPERATION, &self.key(name))?;
            if !group.deleting {
                group.deleting = true;
                state.note(self.region(), name, Effect::Destroyed);
            }
            Ok(())
        })
    }

    async fn failed_activities(&self, name: &str) -> Result<Vec<String>, CloudError> {
        self.call("autoscaling:DescribeScalingActivities", name, |_| {
            Ok(Vec::new())
        })
    }

    async fn set_minimum(&self, name: &str, minimum: u32) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:UpdateAutoScalingGroup";
        self.call(OPERATION, name, |state| {
            let group = state.group_mut(OPERATION, &self.key(name))?;
            let capacity = Capacity::new(
                minimum,
                group.capacity.desired().max(minimum),
                group.capacity.max(),
            )
            .map_err(|error| refused(OPERATION, name, "ValidationError", &error.to_string()))?;
            if group.capacity != capacity {
                group.capacity = capacity;
                state.note(self.region(), name, Effect::Resized(capacity));
            }
            Ok(())
        })
    }

    async fn details(&self, name: &str) -> Result<Option<GroupDetails>, CloudError> {
        self.call("autoscaling:DescribeLifecycleHooks", name, |state| {
            let stored = state.groups.get(&self.key(name));
            Ok(stored.map(|stored| stored.details.clone()))
        })
    }

    async fn copy_scaling(&self, from: &str, to: &str) -> Result<CopiedScaling, CloudError> {
        const OPERATION: &str = "autoscaling:PutScalingPolicy";
        self.call(OPERATION, to, |state| {
            let (scaling, alarms) = state
                .groups
                .get(&self.key(from))
                .map(|stored| (stored.scaling.clone(), stored.alarms.clone()))
                .unwrap_or_default();
            state.group_mut(OPERATION, &self.key(to))?;
            if let Some(stored) = state.groups.get_mut(&self.key(to)) {
                stored.scaling.extend(scaling.iter().cloned());
            }
            let policy = |group: &str| format!("policy of {group}");
            Ok(CopiedScaling {
                count: scaling.len(),
                policies: alarms
                    .first()
                    .map(|_| (policy(from), policy(to)))
                    .into_iter()
                    .collect(),
                alarms: alarms.into_iter().collect(),
            })
        })
    }

    async fn policy_alarms(&self, name: &str) -> Result<Vec<String>, CloudError> {
        self.call("autoscaling:DescribePolicies", name, |state| {
            let stored = state.groups.get(&self.key(name));
            let alarms = stored.map(|stored| stored.alarms.iter().cloned().collect());
            Ok(alarms.unwrap_or_default())
        })
    }

    async fn enable_metrics(&self, name: &str, metrics: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:EnableMetricsCollection";
        if metrics.is_empty() {
            return Ok(());
        }
        self.call(OPERATION, name, |state| {
            state.group_mut(OPERATION, &self.key(name))?;
            if let Some(stored) = state.groups.get_mut(&self.key(name)) {
                stored.details.enabled_metrics = metrics.to_vec();
            }
            Ok(())
        })
    }

    async fn warm_pool(&self, name: &str) -> Result<Option<WarmPool>, CloudError> {
        const OPERATION: &str = "autoscaling:DescribeWarmPool";
        self.call(OPERATION, name, |state| {
            state.group_mut(OPERATION, &self.key(name))?;
            let stored = state.groups.get(&self.key(name));
            Ok(stored.and_then(|stored| stored.warm_pool.clone()))
        })
    }

    async fn put_warm_pool(&self, name: &str, pool: &WarmPool) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:PutWarmPool";
        self.call(OPERATION, name, |state| {
            state.group_mut(OPERATION, &self.key(name))?;
            if let Some(stored) = state.groups.get_mut(&self.key(name)) {
                let before = stored.warm_pool.clone().unwrap_or_default();
                if before.deleting {
                    return Err(refused(
                        OPERATION,
                        name,
                        "ScalingActivityInProgress",
                        "the warm pool is being deleted",
                    ));
                }
                stored.warm_pool = Some(WarmPool {
                    state: pool.state.clone().or(before.state),
                    min_size: pool.min_size.or(before.min_size),
                    max_prepared: pool.max_prepared.or(before.max_prepared),
                    reuse_on_scale_in: pool.reuse_on_scale_in.or(before.reuse_on_scale_in),
                    deleting: false,
                });
            }
            Ok(())
        })
    }

    async fn delete_warm_pool(&self, name: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DeleteWarmPool";
        self.call(OPERATION, name, |state| {
            state.group_mut(OPERATION, &self.key(name))?;
            let gone = state.now.saturating_add(state.behaviour.terminate_millis);
            if let Some(stored) = state.groups.get_mut(&self.key(name))
                && let Some(pool) = &mut stored.warm_pool
            {
                pool.deleting = true;
                stored.warm_pool_gone_at = Some(gone);
            }
            Ok(())
        })
    }
}

#[async_trait]
impl LoadBalancing for World {
    async fn target_groups(&self) -> Result<Vec<TargetGroup>, CloudError> {
        self.call(
            "elasticloadbalancing:DescribeTargetGroups",
            "all target groups",
            |state| Ok(state.target_groups.clone()),
        )
    }

    async fn target_health(&self, arn: &str) -> Result<Vec<TargetHealth>, CloudError> {
        self.look("elasticloadbalancing:DescribeTargetHealth", arn, |state| {
            state.targets(arn)
        })
    }

    async fn register_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        self.call("elasticloadbalancing:RegisterTargets", arn, |state| {
            state.register(self.region(), arn, instances);
            Ok(())
        })
    }

    async fn deregister_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        self.call("elasticloadbalancing:DeregisterTargets", arn, |state| {
            state.deregister(self.region(), arn, instances);
            Ok(())
        })
    }
}

#[async_trait]
impl Ec2 for World {
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>, CloudError> {
        self.images_where(&ids.join(", "), |image| ids.contains(&image.id))
    }

    async fn images_named(&self, name: &str) -> Result<Vec<Image>, CloudError> {
        self.images_where(name, |image| image.name == name)
    }

    async fn images_matching(
        &self,
        pattern: &str,
        owners: &[String],
    ) -> Result<Vec<Image>, CloudError> {
        self.images_where(pattern, |image| {
            images::is_owned(image, owners, self.account()) && pattern_matches(pattern, &image.name)
        })
    }

    async fn own_images(&self, wanted: &ImageRef) -> Result<Vec<Image>, CloudError> {
        self.images_where(wanted.as_str(), |image| {
            image.owner == self.account() && wanted.is(image)
        })
    }

    async fn share_image(&self, image: &str, account_id: &str) -> Result<(), CloudError> {
        self.permit_launch(image, account_id)
    }

    async fn tag_image(
        &self,
        image: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        self.change_tags("ec2:CreateTags", image, |own| {
            own.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
        })
    }

    async fn untag_image(&self, image: &str, keys: &[String]) -> Result<(), CloudError> {
        self.change_tags("ec2:DeleteTags", image, |own| {
            own.retain(|key, _| !keys.contains(key));
        })
    }

    async fn subnets(&self) -> Result<Vec<Subnet>, CloudError> {
        self.call("ec2:DescribeSubnets", "all subnets", |state| {
            Ok(state.subnets.clone())
        })
    }

    async fn security_groups(&self) -> Result<Vec<SecurityGroup>, CloudError> {
        self.call(
            "ec2:DescribeSecurityGroups",
            "all security groups",
            |state| Ok(state.security_groups.clone()),
        )
    }

    async fn key_pairs(&self) -> Result<Vec<String>, CloudError> {
        self.call("ec2:DescribeKeyPairs", "all key pairs", |state| {
            Ok(state.key_pairs.clone())
        })
    }

    async fn instance_types(&self, names: &[String]) -> Result<Vec<String>, CloudError> {
        self.call(
            "ec2:DescribeInstanceTypeOfferings",
            &names.join(", "),
            |state| {
                let family = |name: &String| name.split('.').next().map(|f| format!("{f}.large"));
                let mut all: Vec<String> = names.iter().filter_map(family).collect();
                all.extend(names.iter().cloned());
                all.retain(|name| !state.unoffered.contains(name));
                Ok(all)
            },
        )
    }

    async fn vcpus(&self, types: &[String]) -> Result<BTreeMap<String, u32>, CloudError> {
        self.call("ec2:DescribeInstanceTypes", &types.join(", "), |_| {
            // As many as `t3.small` has.
            Ok(types.iter().map(|name| (name.clone(), 2)).collect())
        })
    }

    async fn template_version(
        &self,
        name: &str,
        description: &str,
    ) -> Result<Option<TemplateVersion>, CloudError> {
        let id = format!("lt-{name}");
        self.call("ec2:DescribeLaunchTemplateVersions", name, |state| {
            let position = state.templates.get(&id).and_then(|versions| {
                versions
                    .iter()
                    .position(|v| !v.deleted && v.description == description)
            });
            Ok(position.map(|position| TemplateVersion {
                id: id.clone(),
                version: (position + 1).to_string(),
            }))
        })
    }

    async fn create_template_version(
        &self,
        name: &str,
        description: &str,
        token: &str,
        data: &LaunchData,
        _tags: &BTreeMap<String, String>,
    ) -> Result<TemplateVersion, CloudError> {
        let id = format!("lt-{name}");
        self.call("ec2:CreateLaunchTemplateVersion", name, |state| {
            let versions = state.templates.entry(id.clone()).or_default();
            let position = match versions.iter().position(|version| version.token == token) {
                Some(known) => known,
                None => {
                    versions.push(Version {
                        description: description.to_owned(),
                        token: token.to_owned(),
                        image: data.image.clone(),
                        data: data.clone(),
                        deleted: false,
                    });
                    versions.len() - 1
                }
            };
            Ok(TemplateVersion {
                id: id.clone(),
                version: (position + 1).to_string(),
            })
        })
    }

    async fn template_data(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<LaunchData>, CloudError> {
        self.call(
            "ec2:DescribeLaunchTemplateVersions",
            &template.id,
            |state| Ok(state.version(template).map(|version| version.data.clone())),
        )
    }

    async fn template_image(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<String>, CloudError> {
        self.call(
            "ec2:DescribeLaunchTemplateVersions",
            &template.id,
            |state| Ok(state.version(template).map(|version| version.image.clone())),
        )
    }

    async fn delete_template_version(
        &self,
        template: &TemplateVersion,
    ) -> Result<bool, CloudError> {
        self.call("ec2:DeleteLaunchTemplateVersions", &template.id, |state| {
            let Some(versions) = state.templates.get_mut(&template.id) else {
                return Ok(true);
            };
            let left = versions.iter().filter(|version| !version.deleted).count();
            match template.version.as_str() {
                // The first is the default one.
                "1" if left > 1 => return Ok(false),
                "1" => drop(state.templates.remove(&template.id)),
                number => {
                    let at = number
                        .parse()
                        .ok()
                        .and_then(|number: usize| number.checked_sub(1));
                    if let Some(version) = at.and_then(|at| versions.get_mut(at)) {
                        version.deleted = true;
                    }
                }
            }
            Ok(true)
        })
    }
}

#[async_trait]
impl Quotas for World {
    async fn of_ec2(&self, code: &str, _now: i64) -> Result<Option<u64>, CloudError> {
        self.call("servicequotas:GetServiceQuota", code, |state| {
            Ok(state.vcpu_quota)
        })
    }
}

#[async_trait]
impl InstanceProfiles for World {
    async fn exists(&self, name: &str, _now: i64) -> Result<bool, CloudError> {
        self.call("iam:GetInstanceProfile", name, |state| {
            Ok(!state.missing_profiles.contains(name))
        })
    }

    async fn names(&self, _now: i64) -> Result<Vec<String>, CloudError> {
        self.call("iam:ListInstanceProfiles", "all instance profiles", |_| {
            Ok(vec!["BaseIAMRole".to_owned()])
        })
    }
}

/// Subnets, security groups and target groups are the same in every account and region; groups have a region, images an
/// owner.
#[async_trait]
impl Ec2Clouds for World {
    async fn ec2(&self, account: &Account, region: &str, _run: &Run) -> Arc<dyn Ec2> {
        Arc::new(self.in_region(region).in_account(account))
    }
}

#[async_trait]
impl Clouds for World {
    async fn at(&self, account: &Account, region: &str, _run: &Run) -> Place {
        Place {
            account: account.clone(),
            region: region.to_owned(),
            auto_scaling: Arc::new(self.in_region(region).in_account(account)),
            load_balancing: Arc::new(self.in_region(region)),
            classic_load_balancing: Arc::new(self.in_region(region)),
            instance_refreshes: Arc::new(self.in_region(region)),
            alarms: Arc::new(self.in_region(region)),
            instance_profiles: Arc::new(self.in_region(region)),
            quotas: Arc::new(self.in_region(region)),
            sight: None,
        }
    }
}

#[async_trait]
impl CodeBuild for World {
    async fn start_build(
        &self,
        project: &str,
        token: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<String, CloudError> {
        self.call("codebuild:StartBuild", project, |state| {
            let known = state.builds.iter().position(|build| build.token == token);
            let number = known.unwrap_or_else(|| {
                let image_name = variables.get("BAKE_IMAGE_NAME").cloned();
                state.builds.push(StartedBuild {
                    token: token.to_owned(),
                    image_name: image_name.unwrap_or_default(),
                    started: state.now,
                    stopped: false,
                });
                state.builds.len() - 1
            });
            Ok(format!("{project}:{number}"))
        })
    }

    async fn builds(&self, ids: &[String]) -> Result<Vec<Build>, CloudError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.call("codebuild:BatchGetBuilds", &ids.join(", "), |state| {
            let described = |id: &String| {
                let number: usize = id.rsplit(':').next()?.parse().ok()?;
                let build = state.builds.get(number)?;
                let over = state.now >= build.started.saturating_add(state.behaviour.build_millis);
                let status = match (build.stopped, over, state.behaviour.builds_fail) {
                    (true, ..) => "STOPPED",
                    (_, false, _) => "IN_PROGRESS",
                    (_, _, true) => "FAILED",
                    _ => "SUCCEEDED",
                };
                let mut exported = BTreeMap::new();
                if status == "SUCCEEDED" {
                    exported.insert("IMAGE_ID".to_owned(), format!("ami-b{number}"));
                    exported.insert("IMAGE_NAME".to_owned(), build.image_name.clone());
                }
                Some(Build {
                    id: id.clone(),
                    status: status.to_owned(),
                    phase: "BUILD".to_owned(),
                    exported,
                    log: None,
                })
            };
            Ok(ids.iter().filter_map(described).collect())
        })
    }

    async fn stop_build(&self, id: &str) -> Result<(), CloudError> {
        self.call("codebuild:StopBuild", id, |state| {
            let number = id.rsplit(':').next().and_then(|number| number.parse().ok());
            if let Some(build) = number.and_then(|number: usize| state.builds.get_mut(number)) {
                build.stopped = true;
            }
            Ok(())
        })
    }
}
