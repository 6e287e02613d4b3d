#![doc = include_str!("../README.md")]

pub mod config;
pub mod image;
mod readiness;
pub mod resolve;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::alarms::Copying;
use gennaker_cloud::auto_scaling::{Group, NewGroup, TemplateVersion};
use gennaker_cloud::ec2::{ImageRef, LaunchData};
use gennaker_cloud::{CloudError, Connection, DeploymentMonitor, Ec2Clouds, instance_profile};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_domain::Intent;
use gennaker_domain::deployment::capacity::{Capacity, PartialCapacity};
use gennaker_domain::deployment::health::{self, Health, HealthCheck};
use gennaker_domain::deployment::source::{
    SourceSettings, WithoutSource, capacity_snapshot, source_server_group, without_source,
};
use gennaker_domain::deployment::strategy::Strategy;
use gennaker_domain::deployment::{ServerGroup, naming};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::{own_intents, undo_text};
use gennaker_server_groups::destruction::{self, Progress};
use gennaker_server_groups::image_sharing::{Launchable, Wanted};
use gennaker_server_groups::{
    AwsClouds, Clouds, Place, TrafficSources, clouds, image_sharing, launch_template, observe,
    predecessor, traffic,
};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::readiness::{Deployed, Readiness as WayBack};

/// Spinnaker's time-out of the wait for healthy instances: two hours.
const TIME_LIMIT_MILLIS: i64 = 2 * 60 * 60 * 1_000;
/// How long descriptions may miss a group that was just created: a minute.
const LAG_MILLIS: i64 = 60_000;
/// How long after the end of an execution its undo does not believe that a group is not there: half a minute, less than
/// instances take to terminate.
const UNDO_LAG_MILLIS: i64 = 30_000;
/// How often in a row the instances have to be healthy: a new target group's first readings say little.
const HEALTHY_POLLS: i64 = 2;
/// The tag that says which execution made a group.
const EXECUTION_TAG: &str = "gennaker:execution";
/// The tag that says which stage made it.
const STAGE_TAG: &str = "gennaker:stage";
/// Begin of the actions of this stage's intents.
const ACTION: &str = "create-server-group";

/// Creates a server group and waits until it is healthy.
pub struct CreateServerGroup {
    clouds: Arc<dyn Clouds>,
    ec2: Arc<dyn Ec2Clouds>,
    healthy_polls: i64,
}

impl CreateServerGroup {
    /// Over these clouds; instances have to be healthy `healthy_polls` times in a row, once at least.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>, ec2: Arc<dyn Ec2Clouds>, healthy_polls: i64) -> Self {
        Self {
            clouds,
            ec2,
            healthy_polls,
        }
    }

    /// On AWS. `HEALTHY_POLLS` is how often in a row instances have to be healthy, 2 if that is not a number.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let healthy_polls = gennaker_lambda::setting("HEALTHY_POLLS")
            .and_then(|polls| polls.trim().parse().ok())
            .unwrap_or(HEALTHY_POLLS);
        Self::new(
            Arc::new(AwsClouds::new(connection)),
            Arc::new(AwsEc2Clouds::new(connection)),
            healthy_polls,
        )
    }
}

/// What was decided before the group was created: all that later invocations need to know of the time before.
#[derive(Clone, Debug, PartialEq)]
struct Birth {
    name: String,
    capacity: Capacity,
    source: Value,
    snapshot: Option<Value>,
    /// What the source launches from: the way back knows the image by it.
    previous: Option<TemplateVersion>,
}

impl Birth {
    fn undo(&self, config: &Config) -> Value {
        json!({
            "account": config.account,
            "region": config.region,
            "serverGroup": self.name,
            "capacity": self.capacity,
            "source": self.source,
            "snapshot": self.snapshot,
            "previous": self
                .previous
                .as_ref()
                .map(|template| json!({ "id": template.id, "version": template.version })),
        })
    }

    fn of(intent: &Intent) -> Option<Self> {
        Some(Self {
            name: undo_text(intent, "serverGroup").to_owned(),
            capacity: Capacity::from_value(intent.undo.get("capacity")?).ok()?,
            source: intent.undo.get("source").cloned().unwrap_or(json!({})),
            snapshot: intent
                .undo
                .get("snapshot")
                .filter(|snapshot| !snapshot.is_null())
                .cloned(),
            previous: intent
                .undo
                .get("previous")
                .and_then(Value::as_object)
                .and_then(|template| {
                    Some(TemplateVersion {
                        id: template.get("id")?.as_str()?.to_owned(),
                        version: template.get("version")?.as_str()?.to_owned(),
                    })
                }),
        })
    }

    /// The name of the source group, if there is one.
    fn source_name(&self) -> Option<&str> {
        self.source.get("serverGroupName").and_then(Value::as_str)
    }

    /// What the sub-stages around this one may know while it works, and after it failed.
    fn memory(&self, config: &Config) -> Map<String, Value> {
        Map::from_iter([
            ("source".to_owned(), self.source.clone()),
            (
                "deploy.server.groups".to_owned(),
                json!({ config.region.as_str(): [self.name] }),
            ),
        ])
    }
}

/// Whether this stage of this execution made the group.
fn is_own(group: &Group, execution: &str, stage: &str) -> bool {
    group.tags.get(EXECUTION_TAG).map(String::as_str) == Some(execution)
        && group.tags.get(STAGE_TAG).map(String::as_str) == Some(stage)
}

/// Whether a group that the stage made in its last moments may be there and not be described yet.
fn may_lag(invocation: &Invocation<'_>, intent: &Intent) -> bool {
    let ending = invocation.execution.ending.as_ref();
    let last = ending.map_or(intent.at, |ending| ending.at.max(intent.at));
    invocation.now.saturating_sub(last) < UNDO_LAG_MILLIS
}

/// A tag's value may have letters, digits, spaces and `+ - = . _ : / @` only; `3<1` is not one.
fn stage_tag(ref_id: &str) -> String {
    ref_id
        .chars()
        .map(|c| match c {
            '<' => '-',
            '>' => '+',
            c if c.is_ascii_alphanumeric() || "+-=._:/@ ".contains(c) => c,
            _ => '_',
        })
        .collect()
}

/// What the wait for healthy instances answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Healthy, as often in a row as asked.
    Ready,
    /// Not yet; how often in a row they were healthy so far.
    Wait {
        /// What a person reads.
        reason: String,
        /// Readings.
        seen: i64,
    },
}

/// Judges one poll: healthy in the group and in every target group, `polls` times in a row.
#[must_use]
pub fn readiness(health: &Health, seen_before: i64, polls: i64) -> Readiness {
    if !health.is_ready() {
        return Readiness::Wait {
            reason: health.to_string(),
            seen: 0,
        };
    }
    let seen = seen_before.saturating_add(1);
    if seen >= polls {
        return Readiness::Ready;
    }
    Readiness::Wait {
        reason: format!("{health}, seen {seen} of {polls} times"),
        seen,
    }
}

#[async_trait]
impl Stage for CreateServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let config = Config::of(invocation.context, &invocation.execution.application)?;
        let place =
            clouds::place(&*self.clouds, invocation, &config.account, &config.region).await?;
        let intents = own_intents(invocation).await?;
        let births = intents
            .iter()
            .filter(|intent| intent.action.starts_with(ACTION));
        let names: Vec<String> = births
            .clone()
            .map(|intent| undo_text(intent, "serverGroup").to_owned())
            .collect();
        let existing = place.auto_scaling.groups(&names).await?;
        let execution = invocation.run.execution.as_str();
        let stage = stage_tag(&invocation.stage.ref_id);
        // Newest first: a name that somebody else took meanwhile has a successor.
        for intent in births.rev() {
            let Some(birth) = Birth::of(intent) else {
                continue;
            };
            match existing.iter().find(|group| group.name == birth.name) {
                Some(group) if is_own(group, execution, &stage) => {
                    return self
                        .raise(invocation, &config, &place, intent, &birth, group)
                        .await;
                }
                Some(_) => {}
                // A description may lag behind for a while, also after it showed the group once.
                None if was_seen(invocation, &birth.name)
                    && invocation.now.saturating_sub(intent.at) < LAG_MILLIS =>
                {
                    return Ok(Step::waiting(
                        invocation,
                        format!("server group `{}` does not show yet", birth.name),
                    ));
                }
                None if was_seen(invocation, &birth.name) => {
                    return Ok(Step::failed(format!(
                        "server group `{}` is gone; somebody destroyed it while it started",
                        birth.name
                    )));
                }
                None => {
                    return self
                        .create(invocation, &config, &place, birth, &intents)
                        .await;
                }
            }
        }
        if replaces_basic_steps(invocation.context) {
            return self.find_source(invocation, &config, &place).await;
        }
        monitor_is_known(invocation).await?;
        match self.conceive(invocation, &config, &place).await? {
            Conceived::Birth(birth) => {
                let way_back = self.way_back(invocation, &config, &place, &birth);
                if let WayBack::Refused(why) = way_back.await? {
                    return Ok(Step::failed(why));
                }
                self.create(invocation, &config, &place, birth, &intents)
                    .await
            }
            Conceived::Not(step) => Ok(step),
        }
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        if let Some(undone) = image_sharing::undo(intent) {
            return Ok(undone);
        }
        let name = undo_text(intent, "serverGroup");
        let done = |result: String| Ok(Undo::Done { result });
        let place = clouds::place_of(&*self.clouds, invocation, intent).await?;
        let groups = place.auto_scaling.groups(&[name.to_owned()]).await?;
        let execution = invocation.run.execution.as_str();
        let stage = stage_tag(&invocation.stage.ref_id);
        let undone = if groups.iter().any(|group| !is_own(group, execution, &stage)) {
            format!("server group `{name}` was made by somebody else and stays")
        } else {
            match destruction::advance(&place, name).await? {
                Progress::Going(reason) => return Ok(Undo::Waiting { reason }),
                Progress::Gone if may_lag(invocation, intent) => {
                    return Ok(Undo::Waiting {
                        reason: format!("server group `{name}` does not show; it may be too new"),
                    });
                }
                Progress::Gone => format!("server group `{name}` is gone"),
            }
        };
        let ec2 = self
            .ec2
            .ec2(&place.account, &place.region, invocation.run)
            .await;
        let made_by = invocation.run.execution.run(intent.run);
        let description = launch_template::description(&made_by, &stage, name);
        let cluster = observe::cluster_of(name);
        launch_template::remove_version(&place, &*ec2, &cluster, &description).await?;
        done(undone)
    }
}

/// The source's capacity as a stage before this one captured it for this one: another deployment's is none of it.
fn captured<'a>(invocation: &'a Invocation<'_>) -> Option<&'a Value> {
    const KEY: &str = "sourceServerGroupCapacitySnapshot";
    invocation.context.get(KEY).or_else(|| {
        invocation
            .plan
            .children(&invocation.stage.ref_id)
            .filter_map(|child| invocation.records.get(&child.ref_id))
            .find_map(|record| record.outputs.get(KEY))
    })
}

/// The first answer: what to create, or an answer of the stage without anything to create.
enum Conceived {
    Birth(Birth),
    Not(Step),
}

fn was_seen(invocation: &Invocation<'_>, name: &str) -> bool {
    invocation.memory.get("seen").and_then(Value::as_str) == Some(name)
}

/// The deployment monitor of a `monitored` deployment has a record: seen before anything is made, not when it is asked.
async fn monitor_is_known(invocation: &Invocation<'_>) -> Result<(), StageError> {
    let context = invocation.context;
    let strategy = context.get("strategy").and_then(Value::as_str);
    if Strategy::from_name(strategy.unwrap_or_default()) != Strategy::Monitored {
        return Ok(());
    }
    let id = context
        .get("deploymentMonitor")
        .and_then(|monitor| monitor.get("id"))
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    let Some(id) = id else {
        return Ok(());
    };
    let known = DeploymentMonitor::find(invocation.store(), id).await?;
    known.map(|_| ()).ok_or_else(|| {
        StageError::invalid(
            "deploymentMonitor.id",
            format!(
                "deployment monitor `{id}` is not known here; `gennaker monitor save` adds one"
            ),
        )
    })
}

/// Whether the strategy's own stages create the group: this one only says what they take over from.
fn replaces_basic_steps(context: &Map<String, Value>) -> bool {
    let name = context.get("strategy").and_then(Value::as_str);
    Strategy::from_name(name.unwrap_or_default()).replaces_basic_steps()
}

impl CreateServerGroup {
    /// The answer for a strategy that creates no group here: the source, if there is one.
    async fn find_source(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        place: &Place,
    ) -> Result<Step, StageError> {
        let groups = observe::cluster_groups(place, &config.cluster).await?;
        let observed = observe::without_health(place, &groups);
        let settings = SourceSettings::from_context(invocation.context)
            .map_err(|error| StageError::invalid("source", error.to_string()))?;
        let copies = settings.use_source_capacity == Some(true);
        let named = settings
            .named
            .as_ref()
            .and_then(|named| named.name.as_deref())
            .and_then(|name| observed.iter().find(|group| group.name == name));
        let source = named
            .or_else(|| source_server_group(&observed, copies).map(|(group, _)| group))
            .map_or(json!({}), |group| source_json(config, &group.name, copies));
        let outputs = Map::from_iter([("source".to_owned(), source)]);
        Ok(Step::Succeeded {
            context: outputs.clone(),
            outputs,
        })
    }

    /// Decides name, capacity and source, from the cluster as it is before anything is created.
    async fn conceive(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        place: &Place,
    ) -> Result<Conceived, StageError> {
        let invalid = |field: &str, message: String| StageError::invalid(field, message);
        let all = observe::all_cluster_groups(place, &config.cluster).await?;
        // The name of a group that is being deleted is taken until it is gone.
        let (deleting, there): (Vec<Group>, Vec<Group>) =
            all.into_iter().partition(|group| group.deleting);
        let groups = observe::without_health(place, &there);
        let settings = SourceSettings::from_context(invocation.context)
            .map_err(|error| invalid("source", error.to_string()))?;
        let copies = settings.use_source_capacity == Some(true);
        let named = settings
            .named
            .as_ref()
            .and_then(|named| named.name.as_deref())
            .and_then(|name| groups.iter().find(|group| group.name == name));
        let source = named.or_else(|| source_server_group(&groups, copies).map(|(group, _)| group));
        let captured =
            captured(invocation).and_then(|snapshot| Capacity::from_value(snapshot).ok());
        let mut snapshot = None;
        let capacity = match (copies, captured.or(source.map(|group| group.capacity))) {
            (true, Some(of_source)) => {
                let copied = capacity_snapshot(of_source);
                snapshot = Some(json!(copied.source));
                copied.new_group
            }
            (true, None) => {
                let seen = invocation
                    .memory
                    .get("sourceMissing")
                    .and_then(Value::as_u64)
                    .and_then(|seen| u32::try_from(seen).ok())
                    .unwrap_or(0);
                match without_source(&settings, seen)
                    .map_err(|error| invalid("useSourceCapacity", error.to_string()))?
                {
                    WithoutSource::GoOn => configured_capacity(invocation.context)?,
                    look_again @ WithoutSource::LookAgain { seen } => {
                        return Ok(Conceived::Not(Step::Waiting {
                            reason: look_again.to_string(),
                            memory: Map::from_iter([("sourceMissing".to_owned(), seen.into())]),
                            poll: None,
                        }));
                    }
                }
            }
            (false, _) => configured_capacity(invocation.context)?,
        };
        let previous = source
            .and_then(|source| there.iter().find(|group| group.name == source.name))
            .and_then(|group| group.launch_template.clone());
        let mut taken = groups.clone();
        taken.extend(deleting.into_iter().map(|group| ServerGroup {
            name: group.name,
            ..ServerGroup::default()
        }));
        let name = naming::next_server_group_name(&config.cluster, &taken)
            .map_err(|error| invalid("application", error.to_string()))?;
        Ok(Conceived::Birth(Birth {
            name,
            capacity,
            source: source.map_or(json!({}), |group| source_json(config, &group.name, copies)),
            snapshot,
            previous,
        }))
    }

    /// The image to launch; one of another account is shared with this one first.
    async fn image(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        place: &Place,
        intents: &[Intent],
    ) -> Result<Launchable, StageError> {
        let asked = image::asked(invocation, config)?;
        let wanted = Wanted {
            place,
            image: &ImageRef::of(&asked.image),
            field: "imageId",
            upstream: asked.account.as_deref(),
            intents,
        };
        image_sharing::launchable(invocation, &*self.ec2, &wanted).await
    }

    /// Resolves all names, announces the group, makes its launch template version and the group.
    async fn create(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        place: &Place,
        birth: Birth,
        intents: &[Intent],
    ) -> Result<Step, StageError> {
        let ec2 = self
            .ec2
            .ec2(&place.account, &config.region, invocation.run)
            .await;
        let image = match self.image(invocation, config, place, intents).await? {
            Launchable::Now(image) => image,
            Launchable::Waiting(reason) => return Ok(Step::waiting(invocation, reason)),
        };
        let subnets = if config.subnet_ids.is_empty() && config.subnet_type.is_none() {
            Vec::new()
        } else {
            ec2.subnets().await?
        };
        let placed = |error: StageError| resolve::placed(config, error);
        let subnets = resolve::subnets(config, &subnets)?;
        let vpc = subnets.first().map(|subnet| subnet.vpc_id.as_str());
        let security_groups = if config.security_groups.is_empty() {
            Vec::new()
        } else {
            resolve::security_groups(&config.security_groups, &ec2.security_groups().await?, vpc)
                .map_err(placed)?
        };
        let target_groups = if config.target_groups.is_empty() {
            Vec::new()
        } else {
            let existing = place.load_balancing.target_groups().await?;
            resolve::target_groups(&config.target_groups, &existing, vpc).map_err(placed)?
        };
        if !config.load_balancers.is_empty() {
            let existing = place.classic_load_balancing.load_balancers().await?;
            resolve::load_balancers(&config.load_balancers, &existing, vpc).map_err(placed)?;
        }
        let sources = TrafficSources {
            target_groups,
            load_balancers: config.load_balancers.clone(),
        };
        resolve::instance_types(
            &config.instance_types(),
            &ec2.instance_types(&config.instance_types()).await?,
        )
        .map_err(placed)?;
        if let Some(profile) = &config.iam_role {
            profile_is_there(place, profile, invocation.now)
                .await?
                .map_err(placed)?;
        }
        if config.key_pair.is_some() {
            resolve::key_pair(config.key_pair.as_deref(), &ec2.key_pairs().await?)
                .map_err(placed)?;
        }
        let copied = match &birth.previous {
            Some(template) if config.copies_block_devices() => ec2
                .template_data(template)
                .await?
                .map(|data| data.block_devices)
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let previous_image = match &birth.previous {
            Some(template) => ec2.template_image(template).await?,
            None => None,
        };

        let action = action(&birth.name);
        invocation.intend(&action, birth.undo(config)).await?;

        let execution = invocation.run.execution.as_str();
        let stage = stage_tag(&invocation.stage.ref_id);
        let template = launch_template::name(&config.cluster);
        // The run too: a restart may have found another image.
        let run = invocation.run.to_string();
        let description = launch_template::description(invocation.run, &stage, &birth.name);
        let version = match ec2.template_version(&template, &description).await? {
            Some(known) => known,
            None => {
                let data = LaunchData {
                    image: image.id.clone(),
                    instance_type: config.instance_type.clone(),
                    instance_profile: config.iam_role.clone(),
                    key_pair: config.key_pair.clone(),
                    security_groups,
                    user_data: config.user_data.clone(),
                    ebs_optimized: config.ebs_optimized,
                    monitoring: config.monitoring,
                    public_address: config.public_address,
                    require_imds_v2: config.require_imds_v2,
                    spot_price: config.spot_price.clone(),
                    block_devices: if config.block_devices.is_empty() {
                        copied
                    } else {
                        config.block_devices.clone()
                    },
                    ..config.launch.clone()
                };
                let tags = BTreeMap::from([
                    (
                        "spinnaker:application".to_owned(),
                        config.application.clone(),
                    ),
                    ("spinnaker:cluster".to_owned(), config.cluster.clone()),
                ]);
                let token = launch_template::token(&[&run, &invocation.stage.ref_id, &birth.name]);
                ec2.create_template_version(&template, &description, &token, &data, &tags)
                    .await?
            }
        };
        let mut tags = config.tags.clone();
        tags.insert(
            "spinnaker:application".to_owned(),
            config.application.clone(),
        );
        tags.insert("spinnaker:cluster".to_owned(), config.cluster.clone());
        for (key, value) in [
            ("spinnaker:stack", &config.stack),
            ("spinnaker:details", &config.detail),
        ] {
            if let Some(value) = value {
                tags.insert(key.to_owned(), value.clone());
            }
        }
        tags.insert(EXECUTION_TAG.to_owned(), execution.to_owned());
        tags.insert(STAGE_TAG.to_owned(), stage);
        if let Some(source) = birth.source_name() {
            tags.insert(predecessor::GROUP_TAG.to_owned(), source.to_owned());
        }
        if let Some(image) = previous_image {
            tags.insert(predecessor::IMAGE_TAG.to_owned(), image);
        }
        let attached = if config.is_out_of_traffic() {
            // What enabling it will attach.
            let later = traffic::Before {
                suspended_processes: Vec::new(),
                sources,
            };
            tags.extend(later.tags());
            TrafficSources::default()
        } else {
            sources
        };
        let group = NewGroup {
            name: birth.name.clone(),
            capacity: birth.capacity,
            launch_template: version,
            subnets: subnets.iter().map(|subnet| subnet.id.clone()).collect(),
            zones: if subnets.is_empty() {
                config.zones.clone()
            } else {
                Vec::new()
            },
            target_groups: attached.target_groups,
            load_balancers: attached.load_balancers,
            health_check_type: config.health_check_type.clone(),
            health_check_grace_seconds: config.health_check_grace_seconds,
            cooldown_seconds: config.cooldown_seconds,
            termination_policies: config.termination_policies.clone(),
            capacity_rebalance: config.capacity_rebalance,
            lifecycle_hooks: config.lifecycle_hooks.clone(),
            mixed_instances: config.mixed_instances.clone(),
            placement_group: None,
            tags,
        };
        match place.auto_scaling.create_group(&group).await {
            Ok(()) => {}
            // By us, and the description lags behind; or by somebody else, which the next look tells.
            Err(error) if error.is_code("AlreadyExists") => {}
            Err(error) => return Err(error.into()),
        }
        equip(invocation, config, place, &birth, &[]).await?;
        Ok(Step::Waiting {
            reason: format!(
                "server group `{}` created, 0 of {} instances healthy",
                birth.name,
                birth.capacity.desired()
            ),
            memory: birth.memory(config),
            poll: None,
        })
    }

    /// Whether the deployment could go back to its source.
    async fn way_back(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        place: &Place,
        birth: &Birth,
    ) -> Result<WayBack, StageError> {
        let ec2 = self
            .ec2
            .ec2(&place.account, &place.region, invocation.run)
            .await;
        let is_mixed = config.mixed_instances.is_some() || config.spot_price.is_some();
        let deployed = Deployed {
            source: birth.source_name(),
            instance_type: (!is_mixed).then_some(config.instance_type.as_str()),
            size: birth.capacity.desired(),
        };
        readiness::of(invocation, place, &*ec2, &deployed).await
    }

    /// Waits until the group is healthy.
    async fn raise(
        &self,
        invocation: &Invocation<'_>,
        config: &Config,
        place: &Place,
        intent: &Intent,
        birth: &Birth,
        group: &Group,
    ) -> Result<Step, StageError> {
        let name = birth.name.as_str();
        if group.deleting {
            return Ok(Step::failed(format!(
                "server group `{name}` is being deleted; somebody destroyed it while it started"
            )));
        }
        if !intent.done {
            equip(invocation, config, place, birth, &group.suspended_processes).await?;
        }
        let observed = observe::with_health(place, std::slice::from_ref(group)).await?;
        let Some(observed) = observed.first() else {
            return Ok(Step::waiting(
                invocation,
                "the server group is not there yet",
            ));
        };
        let mut check = HealthCheck::from_context(invocation.context, name, &config.region)
            .map_err(|error| StageError::invalid("", error.to_string()))?;
        if check.providers.is_none() {
            check.providers = health::default_providers(observed);
        }
        check.capacity = Some(PartialCapacity {
            min: Some(birth.capacity.min().into()),
            desired: Some(birth.capacity.desired().into()),
            max: Some(birth.capacity.max().into()),
        });
        let health = health::wait_for_up(&check, observed).map_err(|error| {
            StageError::invalid("targetHealthyDeployPercentage", error.to_string())
        })?;
        let seen = invocation
            .memory
            .get("healthyPolls")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let (reason, seen) = match readiness(&health, seen, self.healthy_polls) {
            Readiness::Ready => {
                // Not by a glance: its answer would not count, and the way back be asked about twice.
                invocation.may_change()?;
                // Again: what comes next takes traffic from the old group.
                let way_back = self.way_back(invocation, config, place, birth);
                return Ok(match way_back.await? {
                    WayBack::Ready => succeeded(config, birth, observed, None),
                    WayBack::Warned(why) => succeeded(config, birth, observed, Some(why)),
                    WayBack::Refused(why) => Step::failed(why),
                });
            }
            Readiness::Wait { reason, seen } => (reason, seen),
        };
        if invocation.spent() > TIME_LIMIT_MILLIS
            && !invocation.context.contains_key("stageTimeoutMs")
        {
            return Ok(Step::Failed {
                reason: format!("server group `{name}` is not healthy after 2 hours: {reason}"),
                details: json!({ "serverGroup": name, "region": config.region }),
            });
        }
        let mut reason = reason;
        if observed.instances.len() < usize::try_from(birth.capacity.desired()).unwrap_or(0)
            && let Some(why) = place.auto_scaling.failed_activities(name).await?.first()
        {
            reason = format!("{reason}; the newest launch failed: {why}");
        }
        let mut memory = birth.memory(config);
        memory.insert("seen".to_owned(), name.into());
        memory.insert("healthyPolls".to_owned(), seen.into());
        Ok(Step::Waiting {
            reason,
            memory,
            poll: None,
        })
    }
}

/// Whether the instance profile is there; the error says what is. Where an account's role may not ask IAM, nobody knows, and
/// Auto Scaling will tell.
async fn profile_is_there(
    place: &Place,
    profile: &str,
    now: i64,
) -> Result<Result<(), StageError>, CloudError> {
    let profiles = &place.instance_profiles;
    let name = instance_profile::name_in(profile);
    match profiles.exists(name, now).await {
        Ok(true) => Ok(Ok(())),
        Ok(false) => Ok(resolve::instance_profile(name, &profiles.names(now).await?)),
        Err(error) if is_denied(&error) => {
            tracing::warn!(place = ?place, instance_profile = name, reason = %error, "not looked for");
            Ok(Ok(()))
        }
        Err(error) => Err(error),
    }
}

fn is_denied(error: &CloudError) -> bool {
    error.is_code("AccessDenied") || error.is_code("AccessDeniedException")
}

/// The source as the stages after this one read it.
fn source_json(config: &Config, name: &str, copies: bool) -> Value {
    json!({
        "asgName": name,
        "serverGroupName": name,
        "account": config.account,
        "region": config.region,
        "useSourceCapacity": copies,
    })
}

fn action(name: &str) -> String {
    format!("{ACTION} {name}")
}

/// What a group gets right after it was created: the scaling of its source, its metrics, and the processes suspended
/// that the cluster asks for and that a group out of traffic has suspended. Then the intent is done. Again is the same.
async fn equip(
    invocation: &Invocation<'_>,
    config: &Config,
    place: &Place,
    birth: &Birth,
    suspended: &[String],
) -> Result<(), StageError> {
    let name = birth.name.as_str();
    let mut wanted: Vec<String> = config
        .suspended_processes
        .iter()
        // Out of traffic is said by tags and by what is not attached; see `gennaker-server-groups`.
        .filter(|process| *process != "AddToLoadBalancer")
        .cloned()
        .collect();
    if config.is_out_of_traffic() {
        wanted.extend(
            traffic::SUSPENDED
                .iter()
                .map(|process| (*process).to_owned()),
        );
    }
    wanted.retain(|process| !suspended.contains(process));
    wanted.sort();
    wanted.dedup();
    place.auto_scaling.suspend_processes(name, &wanted).await?;
    place
        .auto_scaling
        .enable_metrics(name, &config.enabled_metrics)
        .await?;
    if let Some(source) = birth.source_name()
        && config.copy_scaling
    {
        match copy_scaling(place, source, name).await {
            Ok(0) => {}
            Ok(copied) => {
                tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, server_group = name, source, copied, "scaling policies and scheduled actions copied");
            }
            // The source was destroyed meanwhile: there is nothing left to copy.
            Err(error) if error.is_code("ValidationError") => {
                tracing::warn!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, server_group = name, source, reason = %error, "scaling not copied");
            }
            Err(error) => return Err(error.into()),
        }
    }
    invocation.done(&action(name)).await?;
    Ok(())
}

/// Gives a group the scaling of another, with copies of the alarms that its policies go by; how many policies and actions
/// there are.
async fn copy_scaling(place: &Place, from: &str, to: &str) -> Result<usize, CloudError> {
    let copied = place.auto_scaling.copy_scaling(from, to).await?;
    if !copied.alarms.is_empty() {
        let copying = Copying {
            from: from.to_owned(),
            to: to.to_owned(),
            policies: copied.policies,
        };
        place.alarms.copy(&copied.alarms, &copying).await?;
    }
    Ok(copied.count)
}

fn configured_capacity(context: &Map<String, Value>) -> Result<Capacity, StageError> {
    let Some(capacity) = context.get("capacity") else {
        return Err(StageError::invalid(
            "capacity",
            "the cluster has no `capacity`",
        ));
    };
    Capacity::from_value(capacity)
        .map_err(|error| StageError::invalid("capacity", error.to_string()))
}

fn succeeded(config: &Config, birth: &Birth, group: &ServerGroup, warning: Option<String>) -> Step {
    let region = &config.region;
    let mut outputs = Map::new();
    outputs.insert(
        "deploy.server.groups".to_owned(),
        json!({ region: [birth.name] }),
    );
    outputs.insert("deploy.account.name".to_owned(), json!(config.account));
    outputs.insert("serverGroupName".to_owned(), json!(birth.name));
    outputs.insert("source".to_owned(), birth.source.clone());
    outputs.insert(
        "targetDesiredSize".to_owned(),
        json!(birth.capacity.desired()),
    );
    if let Some(snapshot) = &birth.snapshot {
        outputs.insert(
            "sourceServerGroupCapacitySnapshot".to_owned(),
            snapshot.clone(),
        );
    }
    let ancestor = birth.source.get("serverGroupName").cloned();
    let mut deployed = json!({
        "serverGroupNames": [format!("{region}:{}", birth.name)],
        "serverGroupNameByRegion": { region: birth.name },
    });
    if let (Some(ancestor), Some(deployed)) = (ancestor, deployed.as_object_mut()) {
        deployed.insert(
            "ancestorServerGroupNameByRegion".to_owned(),
            json!({ region: ancestor }),
        );
    }
    let mut context = outputs.clone();
    if let Some(warning) = warning {
        context.insert("rollbackWarning".to_owned(), warning.into());
    }
    context.insert(
        "kato.tasks".to_owned(),
        json!([{ "resultObjects": [deployed] }]),
    );
    let counts = health::health_counts(&HealthCheck::default(), group);
    context.insert(
        "lastCapacityCheck".to_owned(),
        json!({
            "up": counts.up, "down": counts.down, "outOfService": counts.out_of_service,
            "starting": counts.starting, "succeeded": counts.succeeded, "failed": counts.failed,
            "unknown": counts.unknown,
        }),
    );
    Step::Succeeded { outputs, context }
}
