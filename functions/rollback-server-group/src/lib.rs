#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_apply_source_server_group_capacity::ApplySourceServerGroupCapacity;
use gennaker_capture_source_server_group_capacity::CaptureSourceServerGroupCapacity;
use gennaker_clone_server_group::CloneServerGroup;
use gennaker_cloud::auto_scaling::Group;
use gennaker_cloud::{Connection, Ec2Clouds};
use gennaker_cloud_ec2::AwsEc2Clouds;
use gennaker_disable_cluster::DisableCluster;
use gennaker_disable_server_group::DisableServerGroup;
use gennaker_domain::Intent;
use gennaker_domain::deployment::facts;
use gennaker_domain::deployment::naming;
use gennaker_domain::deployment::rollback::server_group_sub_stages;
use gennaker_domain::deployment::strategy::{self, SubStage};
use gennaker_enable_server_group::EnableServerGroup;
use gennaker_lambda::in_line::{self, InLine, Progress};
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_resize_server_group::ResizeServerGroup;
use gennaker_server_groups::config::{self, Subject};
use gennaker_server_groups::predecessor::previous_image;
use gennaker_server_groups::{AwsClouds, Clouds, Place, clouds, observe};
use serde_json::{Map, Value, json};

/// The stages of which a way back consists.
pub struct Stages {
    clouds: Arc<dyn Clouds>,
    enable: Arc<dyn Stage>,
    disable: Arc<dyn Stage>,
    resize: Arc<dyn Stage>,
    capture: Arc<dyn Stage>,
    apply: Arc<dyn Stage>,
    clone: Arc<dyn Stage>,
    disable_cluster: Arc<dyn Stage>,
}

impl Stages {
    /// Over these clouds. For a new group that runs the image of before: how often in a row its instances have to be
    /// healthy, and how many seconds a disabled cluster drains.
    #[must_use]
    pub fn new(
        clouds: Arc<dyn Clouds>,
        ec2: Arc<dyn Ec2Clouds>,
        healthy_polls: i64,
        drain_seconds: i64,
    ) -> Self {
        let of = || Arc::clone(&clouds);
        Self {
            enable: Arc::new(EnableServerGroup::new(of())),
            disable: Arc::new(DisableServerGroup::new(of())),
            resize: Arc::new(ResizeServerGroup::new(of())),
            capture: Arc::new(CaptureSourceServerGroupCapacity::new(of())),
            apply: Arc::new(ApplySourceServerGroupCapacity::new(of())),
            clone: Arc::new(CloneServerGroup::new(of(), ec2, healthy_polls)),
            disable_cluster: Arc::new(DisableCluster::new(of(), drain_seconds)),
            clouds,
        }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let clouds: Arc<dyn Clouds> = Arc::new(AwsClouds::new(connection));
        Self {
            clone: Arc::new(CloneServerGroup::connect(connection)),
            disable_cluster: Arc::new(DisableCluster::connect(connection)),
            ..Self::new(clouds, Arc::new(AwsEc2Clouds::new(connection)), 2, 90)
        }
    }

    /// The clouds.
    #[must_use]
    pub fn clouds(&self) -> &dyn Clouds {
        &*self.clouds
    }

    /// Undoes one intent of a rollback by the stage that announced it. Inside of a deployment nothing is taken back: the
    /// deployment's own intents are undone, and the group that failed must not serve in between.
    ///
    /// # Errors
    /// Those of the stage.
    pub async fn undo(
        &self,
        invocation: &Invocation<'_>,
        intent: &Intent,
    ) -> Result<Undo, StageError> {
        if facts::creating_stage(invocation.plan, &invocation.stage.ref_id).is_some() {
            return Ok(Undo::Done {
                result: "kept: the deployment that it took back is undone itself".to_owned(),
            });
        }
        in_line::undo(invocation, intent, |action| self.of_action(action)).await
    }

    fn of_type(&self, stage_type: &str) -> Option<&dyn Stage> {
        Some(match stage_type {
            "enableServerGroup" => &*self.enable,
            "disableServerGroup" => &*self.disable,
            "resizeServerGroup" => &*self.resize,
            "captureSourceServerGroupCapacity" => &*self.capture,
            "applySourceServerGroupCapacity" => &*self.apply,
            "cloneServerGroup" => &*self.clone,
            "disableCluster" => &*self.disable_cluster,
            _ => return None,
        })
    }

    /// The stage that announced an intent, by its action.
    #[must_use]
    pub fn of_action(&self, action: &str) -> Option<Arc<dyn Stage>> {
        [
            ("enable-", &self.enable),
            ("disable-", &self.disable),
            ("resize-", &self.resize),
            ("create-server-group", &self.clone),
        ]
        .into_iter()
        .find(|(begin, _)| action.starts_with(begin))
        .map(|(_, stage)| Arc::clone(stage))
    }
}

fn to_json(stages: &[SubStage]) -> Value {
    stages
        .iter()
        .map(|stage| json!({ "type": stage.type_, "name": stage.name, "context": stage.context }))
        .collect()
}

/// Stages as [`to_json`] keeps them.
fn from_json(kept: &Value) -> Vec<(String, String, Map<String, Value>)> {
    let list = kept.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|stage| {
            Some((
                stage.get("type")?.as_str()?.to_owned(),
                stage.get("name")?.as_str()?.to_owned(),
                stage.get("context")?.as_object()?.clone(),
            ))
        })
        .collect()
}

/// What the stages of a rollback need and their plan may leave out: where, and which cluster.
fn completed(
    mut own: Map<String, Value>,
    of: &Map<String, Value>,
    cluster: &str,
) -> Map<String, Value> {
    for key in ["credentials", "region", "cloudProvider"] {
        if own.get(key).is_none_or(Value::is_null)
            && let Some(value) = of.get(key)
        {
            own.insert(key.to_owned(), value.clone());
        }
    }
    own.shift_remove("regions");
    own.entry("cluster").or_insert_with(|| json!(cluster));
    own
}

impl Stages {
    /// The stages of a way back, decided from the groups as they are now.
    async fn plan(
        &self,
        invocation: &Invocation<'_>,
        context: &Map<String, Value>,
    ) -> Result<Value, StageError> {
        let empty = Map::new();
        let inner = context
            .get("rollbackContext")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let named = |key: &str| {
            inner
                .get(key)
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
        };
        let names: Vec<String> = ["rollbackServerGroupName", "restoreServerGroupName"]
            .into_iter()
            .filter_map(named)
            .collect();
        let mut groups = Vec::new();
        let mut previous = None;
        if !names.is_empty() {
            let place = place_of(&*self.clouds, invocation, context).await?;
            let found = place.auto_scaling.groups(&names).await?;
            let found: Vec<Group> = found.into_iter().filter(|group| !group.deleting).collect();
            previous = found
                .iter()
                .find(|group| Some(&group.name) == names.first())
                .and_then(previous_image);
            groups = observe::without_health(&place, &found);
        }
        let stages = server_group_sub_stages(context, &groups, previous.as_ref())
            .map_err(|error| StageError::invalid("rollbackContext", error.to_string()))?;
        Ok(to_json(&stages))
    }

    /// Runs a `rollbackServerGroup` in line: `group` is that stage, whose own sub-stages follow from its context.
    ///
    /// # Errors
    /// Those of its stages, and [`StageError::InvalidConfiguration`] where a group or an image is not known.
    pub async fn roll_back(
        &self,
        invocation: &Invocation<'_>,
        in_line: &mut InLine<'_>,
        ref_id: &str,
        context: &Map<String, Value>,
    ) -> Result<Progress, StageError> {
        let kept = match in_line.decided(ref_id) {
            Some(kept) => kept.clone(),
            None => {
                let planned = self.plan(invocation, context).await?;
                in_line.decide(ref_id, &planned).await?
            }
        };
        let cluster = context
            .get("rollbackContext")
            .and_then(|inner| inner.get("rollbackServerGroupName"))
            .and_then(Value::as_str)
            .and_then(|name| naming::parse(name).cluster)
            .unwrap_or_default();
        for (at, (stage_type, name, own)) in from_json(&kept).into_iter().enumerate() {
            let own = completed(own, context, &cluster);
            let sub_stage = in_line.sub_stage(ref_id, at + 1, &stage_type, &name, &own);
            let own_ref = sub_stage.ref_id.clone();
            if stage_type == "wait" {
                let seconds = own.get("waitTime").and_then(Value::as_i64).unwrap_or(0);
                match in_line.wait(sub_stage, seconds) {
                    Progress::Done => continue,
                    progress => return Ok(progress),
                }
            }
            let Some(stage) = self.of_type(&stage_type) else {
                return Ok(Progress::Failed(Step::failed(format!(
                    "`{stage_type}` is no stage of a rollback"
                ))));
            };
            match in_line.run(sub_stage, stage).await? {
                Progress::Done => {}
                progress => return Ok(progress),
            }
            if stage_type == "cloneServerGroup" {
                match self
                    .after_clone(invocation, in_line, &own_ref, &own)
                    .await?
                {
                    Progress::Done => {}
                    progress => return Ok(progress),
                }
            }
        }
        Ok(Progress::Done)
    }

    /// What the red/black strategy of a clone does when the new group is up.
    async fn after_clone(
        &self,
        invocation: &Invocation<'_>,
        in_line: &mut InLine<'_>,
        ref_id: &str,
        context: &Map<String, Value>,
    ) -> Result<Progress, StageError> {
        let plan = strategy::sub_stages(&Value::Object(context.clone()))
            .map_err(|error| StageError::invalid("strategy", error.to_string()))?;
        let execution = invocation.run.execution.as_str();
        // Of any stage below the clone.
        let below = in_line.sub_stage(ref_id, 1, "", "", &Map::new());
        let known = in_line.facts(&below, execution);
        for (at, sub_stage) in plan
            .after
            .iter()
            .filter_map(|stage| stage.resolved(&known).ok())
            .enumerate()
        {
            let own = completed(sub_stage.context, context, "");
            let stage = in_line.sub_stage(ref_id, at + 1, &sub_stage.type_, &sub_stage.name, &own);
            let progress = match self.of_type(&sub_stage.type_) {
                Some(run) => in_line.run(stage, run).await?,
                None => {
                    let seconds = own.get("waitTime").and_then(Value::as_i64).unwrap_or(0);
                    in_line.wait(stage, seconds)
                }
            };
            if progress != Progress::Done {
                return Ok(progress);
            }
        }
        Ok(Progress::Done)
    }
}

/// The account and region of a stage of one region.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] where it names none.
pub async fn place_of(
    clouds: &dyn Clouds,
    invocation: &Invocation<'_>,
    context: &Map<String, Value>,
) -> Result<Place, StageError> {
    let account = ["credentials", "account"]
        .iter()
        .find_map(|key| context.get(*key)?.as_str())
        .ok_or_else(|| StageError::invalid("credentials", "the stage names no account"))?;
    let regions = config::regions(context);
    let region = regions
        .first()
        .ok_or_else(|| StageError::invalid("region", "the stage names no region"))?;
    clouds::place(clouds, invocation, account, region).await
}

/// Takes a cluster of one region back: to a server group, or forward with the image of before.
pub struct RollbackServerGroup {
    stages: Stages,
}

impl RollbackServerGroup {
    /// Over these stages.
    #[must_use]
    pub fn new(stages: Stages) -> Self {
        Self { stages }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Stages::connect(connection))
    }
}

#[async_trait]
impl Stage for RollbackServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let mut in_line = InLine::open(invocation).await?;
        let ref_id = invocation.stage.ref_id.clone();
        let progress = self
            .stages
            .roll_back(invocation, &mut in_line, &ref_id, &context)
            .await?;
        Ok(match progress {
            Progress::Done => Step::succeeded(),
            Progress::Waiting(reason) => in_line.waiting(reason),
            Progress::Failed(step) => step,
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        self.stages.undo(invocation, intent).await
    }
}

/// The cluster that a stage about a whole cluster means: as [`Subject`] reads it, or of its `serverGroup`.
#[must_use]
pub fn cluster_of(context: &Map<String, Value>) -> Option<String> {
    let named = Subject::of(context).ok().map(|subject| subject.cluster);
    named.or_else(|| {
        let name = context.get("serverGroup").and_then(Value::as_str)?;
        naming::parse(name).cluster
    })
}
