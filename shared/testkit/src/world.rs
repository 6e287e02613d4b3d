//! One small linked world: Auto Scaling, EC2 and Elastic Load Balancing that keep state and know of each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::auto_scaling::{AutoScaling, Group, GroupInstance, NewGroup, TemplateVersion};
use gennaker_cloud::code_build::{Build, CodeBuild};
use gennaker_cloud::ec2::{Ec2, Ec2Clouds, Image, LaunchData, SecurityGroup, Subnet};
use gennaker_cloud::load_balancing::{LoadBalancing, TargetGroup, TargetHealth};
use gennaker_cloud::{Account, CloudError};
use gennaker_domain::Run;
use gennaker_domain::deployment::Capacity;
use gennaker_server_groups::{Clouds, Place};

use crate::Faults;

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
    /// Milliseconds that a build takes.
    pub build_millis: i64,
    /// Builds fail.
    pub builds_fail: bool,
    /// Images whose instances never become healthy.
    pub bad_images: Vec<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            boot_millis: 20_000,
            terminate_millis: 10_000,
            drain_millis: 5_000,
            consistency_millis: 0,
            build_millis: 30_000,
            builds_fail: false,
            bad_images: Vec::new(),
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
    group: Group,
    instances: Vec<RunningInstance>,
    visible_at: i64,
}

#[derive(Clone, Debug)]
struct Version {
    description: String,
    token: String,
    image: String,
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
    behaviour: Behaviour,
    groups: BTreeMap<String, StoredGroup>,
    templates: BTreeMap<String, Vec<Version>>,
    target_groups: Vec<TargetGroup>,
    /// By target group and instance: until when it drains.
    draining: BTreeMap<(String, String), i64>,
    images: Vec<Image>,
    subnets: Vec<Subnet>,
    security_groups: Vec<SecurityGroup>,
    instances_made: usize,
    groups_made: Vec<String>,
    healthy_history: Vec<(i64, usize)>,
    builds: Vec<StartedBuild>,
}

/// The world of one account and region. Clones are the same world.
///
/// It has its own clock, which [`World::advance`] moves; nothing happens by itself. Every call goes through
/// [`Faults`].
#[derive(Clone, Debug, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    faults: Faults,
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
                .group
                .launch_template
                .as_ref()
                .and_then(|template| {
                    let versions = self.templates.get(&template.id)?;
                    let number: usize = template.version.parse().ok()?;
                    versions.get(number.checked_sub(1)?)
                })
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
                        stored
                            .group
                            .target_groups
                            .iter()
                            .map(|arn| (arn.clone(), instance.id.clone())),
                    );
                }
            }
        }
        let drain_until = now.saturating_add(self.behaviour.drain_millis);
        for key in deregistered {
            self.draining.insert(key, drain_until);
        }
        self.draining.retain(|_, until| *until > now);
        self.groups
            .retain(|_, stored| !(stored.group.deleting && stored.instances.is_empty()));
    }

    fn healthy(&self, instance: &RunningInstance) -> bool {
        instance.terminating.is_none()
            && self.now >= instance.launched.saturating_add(self.behaviour.boot_millis)
            && !self.behaviour.bad_images.contains(&instance.image)
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

    fn targets(&self, arn: &str) -> Vec<TargetHealth> {
        let mut targets: Vec<TargetHealth> = self
            .groups
            .values()
            .filter(|stored| {
                stored
                    .group
                    .target_groups
                    .iter()
                    .any(|attached| attached == arn)
            })
            .flat_map(|stored| &stored.instances)
            .filter(|instance| instance.terminating.is_none())
            .map(|instance| TargetHealth {
                target: instance.id.clone(),
                state: if self.healthy(instance) {
                    "healthy"
                } else if self.behaviour.bad_images.contains(&instance.image) {
                    "unhealthy"
                } else {
                    "initial"
                }
                .to_owned(),
            })
            .collect();
        for (target_group, instance) in self.draining.keys() {
            if target_group == arn && !targets.iter().any(|target| target.target == *instance) {
                targets.push(TargetHealth {
                    target: instance.clone(),
                    state: "draining".to_owned(),
                });
            }
        }
        targets
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

impl World {
    /// An empty world at this time, whose calls count, and fail, with `faults`.
    #[must_use]
    pub fn new(now: i64, behaviour: Behaviour, faults: Faults) -> Self {
        let world = Self {
            state: Arc::default(),
            faults,
        };
        {
            let mut state = world.lock();
            state.now = now;
            state.behaviour = behaviour;
        }
        world
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, in the world, UTC milliseconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.lock().now
    }

    /// Moves the clock, in steps of a second, and lets happen what happens meanwhile.
    pub fn advance(&self, millis: i64) {
        let mut state = self.lock();
        let end = state.now.saturating_add(millis);
        while state.now < end {
            state.now = end.min(state.now.saturating_add(1_000));
            state.settle();
            let arns: Vec<String> = state.target_groups.iter().map(|g| g.arn.clone()).collect();
            let healthy = arns
                .iter()
                .flat_map(|arn| state.targets(arn))
                .filter(|target| target.state == "healthy")
                .count();
            let now = state.now;
            state.healthy_history.push((now, healthy));
        }
    }

    /// Marks the instances of an image bad from now on.
    pub fn mark_bad(&self, image: &str) {
        self.lock().behaviour.bad_images.push(image.to_owned());
    }

    /// Adds an image.
    pub fn add_image(&self, id: &str, name: &str) {
        self.lock().images.push(Image {
            id: id.to_owned(),
            name: name.to_owned(),
            state: "available".to_owned(),
            created: "2026-01-01T00:00:00.000Z".to_owned(),
            tags: BTreeMap::new(),
        });
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
        let mut state = self.lock();
        let template = format!("lt-{name}");
        state.templates.insert(
            template.clone(),
            vec![Version {
                description: String::new(),
                token: name.to_owned(),
                image: image.to_owned(),
            }],
        );
        let now = state.now;
        state.groups.insert(
            name.to_owned(),
            StoredGroup {
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
        if let Some(stored) = state.groups.get_mut(name) {
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
        let state = self.lock();
        state
            .groups
            .values()
            .map(|stored| state.described(stored))
            .collect()
    }

    /// One group as it is; no call, never a fault.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Group> {
        self.snapshot().into_iter().find(|group| group.name == name)
    }

    /// How many targets of a target group are healthy; no call, never a fault.
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
        self.lock().templates.values().map(Vec::len).sum()
    }

    /// One call: the fault before, the effect, the fault after.
    fn call<T>(
        &self,
        operation: &str,
        resource: &str,
        effect: impl FnOnce(&mut State) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        let call = self.faults.before(operation, resource)?;
        let answer = {
            let mut state = self.lock();
            let answer = effect(&mut state);
            state.settle();
            answer
        };
        self.faults.after(call, operation, resource)?;
        answer
    }
}

#[async_trait]
impl AutoScaling for World {
    async fn all_groups(&self) -> Result<Vec<Group>, CloudError> {
        self.call(
            "autoscaling:DescribeAutoScalingGroups",
            "all groups",
            |state| {
                Ok(state
                    .groups
                    .values()
                    .filter(|stored| stored.visible_at <= state.now)
                    .map(|stored| state.described(stored))
                    .collect())
            },
        )
    }

    async fn groups(&self, names: &[String]) -> Result<Vec<Group>, CloudError> {
        self.call(
            "autoscaling:DescribeAutoScalingGroups",
            &names.join(", "),
            |state| {
                Ok(names
                    .iter()
                    .filter_map(|name| state.groups.get(name))
                    .filter(|stored| stored.visible_at <= state.now)
                    .map(|stored| state.described(stored))
                    .collect())
            },
        )
    }

    async fn create_group(&self, new: &NewGroup) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:CreateAutoScalingGroup";
        self.call(OPERATION, &new.name, |state| {
            if state.groups.contains_key(&new.name) {
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
            let now = state.now;
            state.groups_made.push(new.name.clone());
            state.groups.insert(
                new.name.clone(),
                StoredGroup {
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
            state.group_mut(OPERATION, name)?.capacity = capacity;
            Ok(())
        })
    }

    async fn suspend_processes(&self, name: &str, processes: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:SuspendProcesses";
        if processes.is_empty() {
            return Ok(());
        }
        self.call(OPERATION, name, |state| {
            let suspended = &mut state.group_mut(OPERATION, name)?.suspended_processes;
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
                .group_mut(OPERATION, name)?
                .suspended_processes
                .retain(|process| !processes.contains(process));
            Ok(())
        })
    }

    async fn attach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:AttachLoadBalancerTargetGroups";
        self.call(OPERATION, name, |state| {
            let attached = &mut state.group_mut(OPERATION, name)?.target_groups;
            for arn in arns {
                if !attached.contains(arn) {
                    attached.push(arn.clone());
                }
            }
            Ok(())
        })
    }

    async fn detach_target_groups(&self, name: &str, arns: &[String]) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DetachLoadBalancerTargetGroups";
        self.call(OPERATION, name, |state| {
            state
                .group_mut(OPERATION, name)?
                .target_groups
                .retain(|arn| !arns.contains(arn));
            let until = state.now.saturating_add(state.behaviour.drain_millis);
            let instances: Vec<String> = state
                .groups
                .get(name)
                .map(|stored| stored.instances.iter().map(|i| i.id.clone()).collect())
                .unwrap_or_default();
            for arn in arns {
                for instance in &instances {
                    state
                        .draining
                        .insert((arn.clone(), instance.clone()), until);
                }
            }
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
            state.group_mut(OPERATION, name)?.tags.extend(tags.clone());
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
                .group_mut(OPERATION, name)?
                .tags
                .retain(|key, _| !keys.contains(key));
            Ok(())
        })
    }

    async fn delete_group(&self, name: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "autoscaling:DeleteAutoScalingGroup";
        self.call(OPERATION, name, |state| {
            state.group_mut(OPERATION, name)?.deleting = true;
            Ok(())
        })
    }

    async fn failed_activities(&self, name: &str) -> Result<Vec<String>, CloudError> {
        self.call("autoscaling:DescribeScalingActivities", name, |_| {
            Ok(Vec::new())
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
        self.call("elasticloadbalancing:DescribeTargetHealth", arn, |state| {
            Ok(state.targets(arn))
        })
    }

    async fn register_targets(&self, arn: &str, instances: &[String]) -> Result<(), CloudError> {
        self.call("elasticloadbalancing:RegisterTargets", arn, |state| {
            state
                .draining
                .retain(|(drains, instance), _| drains != arn || !instances.contains(instance));
            Ok(())
        })
    }
}

#[async_trait]
impl Ec2 for World {
    async fn images(&self, ids: &[String]) -> Result<Vec<Image>, CloudError> {
        self.call("ec2:DescribeImages", &ids.join(", "), |state| {
            Ok(state
                .images
                .iter()
                .filter(|image| ids.contains(&image.id))
                .cloned()
                .collect())
        })
    }

    async fn images_named(&self, name: &str) -> Result<Vec<Image>, CloudError> {
        self.call("ec2:DescribeImages", name, |state| {
            Ok(state
                .images
                .iter()
                .filter(|image| image.name == name)
                .cloned()
                .collect())
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

    async fn template_version(
        &self,
        name: &str,
        description: &str,
    ) -> Result<Option<TemplateVersion>, CloudError> {
        let id = format!("lt-{name}");
        self.call("ec2:DescribeLaunchTemplateVersions", name, |state| {
            let position = state
                .templates
                .get(&id)
                .and_then(|versions| versions.iter().position(|v| v.description == description));
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

    async fn template_image(
        &self,
        template: &TemplateVersion,
    ) -> Result<Option<String>, CloudError> {
        self.call(
            "ec2:DescribeLaunchTemplateVersions",
            &template.id,
            |state| {
                let number: usize = template.version.parse().unwrap_or(0);
                Ok(number
                    .checked_sub(1)
                    .and_then(|at| state.templates.get(&template.id)?.get(at))
                    .map(|version| version.image.clone()))
            },
        )
    }
}

/// The world is the same in every account and region.
#[async_trait]
impl Ec2Clouds for World {
    async fn ec2(&self, _account: &Account, _region: &str, _run: &Run) -> Arc<dyn Ec2> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Clouds for World {
    async fn at(&self, account: &Account, region: &str, _run: &Run) -> Place {
        Place {
            account: account.clone(),
            region: region.to_owned(),
            auto_scaling: Arc::new(self.clone()),
            load_balancing: Arc::new(self.clone()),
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
