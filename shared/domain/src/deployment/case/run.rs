//! `strategies` and `rollback`: a stage, planned and run in a small world.
//!
//! The plans and the decisions are those of the library; what is here is the order in which a stage's before
//! stages, tasks, after stages and on-failure stages run, and a failure put in.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::world::World;
use super::{CaseError, context_of, regions, server_groups, traffic_guard};
use crate::deployment::capacity::{Resize, ResizeBasis, resized_capacity};
use crate::deployment::cluster_operation::{ClusterOperation, select};
use crate::deployment::context;
use crate::deployment::naming;
use crate::deployment::rollback::{
    self, PreviousImage, RollbackRequest, rollback_of_region, rolled_back_group,
};
use crate::deployment::source::{
    NOT_FOUND_READS, SourceSettings, capacity_snapshot, restored_minimum, source_server_group,
    without_source,
};
use crate::deployment::strategy::{
    Condition, Facts, SourceGroup, Strategy, SubStage, deploy_stages, disable_before_shrink,
    sub_stages,
};
use crate::deployment::target::{Target, target_server_group};
use crate::deployment::traffic_guard::{GuardedCluster, TrafficGuards, check};
use crate::deployment::{Capacity, ServerGroup};

/// The only deployment monitor that the recorded cases know.
const MONITOR: &str = "mon";

pub(super) fn answer(input: &Map<String, Value>) -> Result<Value, CaseError> {
    let stage_type = context::text(input, "stageType").ok_or(CaseError::Missing("stageType"))?;
    let name = if stage_type.starts_with("rollback") {
        "Rollback"
    } else {
        "Deploy"
    };
    let mut run = Run {
        world: World::new(server_groups(input)?),
        guards: traffic_guard::guards(input).unwrap_or_default(),
        fail_at: FailAt::from_input(input),
        tags: context::object(input, "entityTags").cloned(),
        stages: Vec::new(),
    };
    let stage = SubStage::new(&stage_type, name, context_of(input)?.clone());
    let status = run.stage(&stage, "1".to_owned(), &mut Scope::default());
    Ok(json!({
        "operations": run.world.operations,
        "serverGroupsAfter": run.world.shown(),
        "stages": run.stages,
        "status": status.name(),
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Succeeded,
    FailedContinue,
    Terminal,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::FailedContinue => "FAILED_CONTINUE",
            Self::Terminal => "TERMINAL",
        }
    }
}

/// A task that could not do its work.
struct Failed;

type Done = Result<(), Failed>;

/// The run of a task that fails.
struct FailAt {
    stage_type: String,
    task: String,
    runs_left: u64,
}

impl FailAt {
    fn from_input(input: &Map<String, Value>) -> Option<Self> {
        let fail_at = context::object(input, "failAt")?;
        Some(Self {
            stage_type: context::text(fail_at, "type")?,
            task: context::text(fail_at, "task")?,
            runs_left: fail_at.get("nth").and_then(Value::as_u64).unwrap_or(1),
        })
    }
}

/// What the stages of one deployment or rollback share.
#[derive(Clone, Default)]
struct Scope {
    facts: Facts,
    /// The context of the deploy stage.
    deploy: Map<String, Value>,
    /// What the deploy stage created.
    deployed: Option<(String, String)>,
    /// The capacity of the source before anything was pinned.
    snapshot: Option<Capacity>,
    /// The capacities that resizes found, the first of each group.
    original: BTreeMap<String, Capacity>,
    /// How many stages enclose this one.
    depth: usize,
}

struct Run {
    world: World,
    guards: TrafficGuards,
    fail_at: Option<FailAt>,
    tags: Option<Map<String, Value>>,
    stages: Vec<Value>,
}

impl Run {
    /// Runs a stage with all its sub-stages.
    fn stage(&mut self, stage: &SubStage, ref_id: String, scope: &mut Scope) -> Status {
        let record = self.stages.len();
        self.stages
            .push(json!({"ref": ref_id, "type": stage.type_, "name": stage.name}));
        scope.depth += 1;
        let done = match stage.type_.as_str() {
            "deploy" => self.deploy(stage, &ref_id, scope),
            "createServerGroup" | "cloneServerGroup" => self.create(stage, &ref_id, scope),
            "shrinkCluster" | "disableCluster" | "scaleDownCluster" => {
                self.cluster_operation(stage, &ref_id, scope)
            }
            "resizeServerGroup" => self.resize_stage(stage, &ref_id, scope),
            "destroyServerGroup" => self.destroy_stage(stage, &ref_id, scope),
            "rollbackCluster" => self.rollback_cluster(stage, &ref_id, scope),
            "rollbackServerGroup" => self.rollback_server_group(stage, &ref_id, scope),
            "applySourceServerGroupCapacity" => self.restore_minimum(stage, &ref_id, scope),
            _ => self.tasks(stage, scope),
        };
        scope.depth -= 1;
        let status = match done {
            Ok(()) => Status::Succeeded,
            Err(Failed) if stage.continue_on_failure => Status::FailedContinue,
            Err(Failed) => Status::Terminal,
        };
        if let Some(record) = self.stages.get_mut(record).and_then(Value::as_object_mut) {
            record.insert("status".to_owned(), json!(status.name()));
        }
        status
    }

    /// Runs stages one after the other until one fails.
    fn in_line(
        &mut self,
        stages: &[SubStage],
        ref_id: &str,
        mark: char,
        scope: &mut Scope,
    ) -> Done {
        for (n, stage) in stages.iter().enumerate() {
            if self.stage(stage, format!("{ref_id}{mark}{}", n + 1), scope) == Status::Terminal {
                return Err(Failed);
            }
        }
        Ok(())
    }

    /// A task runs; the one to fail fails.
    fn task(&mut self, stage_type: &str, task: &str) -> Done {
        let Some(fail_at) = &mut self.fail_at else {
            return Ok(());
        };
        if fail_at.stage_type == stage_type && fail_at.task == task && fail_at.runs_left > 0 {
            fail_at.runs_left -= 1;
            if fail_at.runs_left == 0 {
                return Err(Failed);
            }
        }
        Ok(())
    }

    fn deploy(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        let children = deploy_stages(&Value::Object(stage.context.clone())).map_err(|_| Failed)?;
        let mut done = Ok(());
        for (n, child) in children.iter().enumerate() {
            // The regions are independent of each other.
            let mut own = Scope {
                depth: scope.depth,
                ..Scope::default()
            };
            if self.stage(child, format!("{ref_id}<{}", n + 1), &mut own) == Status::Terminal {
                done = Err(Failed);
            }
        }
        done?;
        self.task("deploy", "completeParallelDeploy")
    }

    fn create(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        let plan = sub_stages(&Value::Object(stage.context.clone())).map_err(|_| Failed)?;
        let mut own = stage.context.clone();
        if let Some(Value::Object(cluster)) = own.remove("cluster") {
            own.extend(cluster);
        }
        own.extend(plan.context.clone());
        own.retain(|key, _| !plan.removed.contains(&key.as_str()));
        let monitor = context::object(&own, "deploymentMonitor")
            .and_then(|monitor| context::filled_text(monitor, "id"));
        if plan.strategy == Strategy::Monitored && monitor.is_some_and(|id| id != MONITOR) {
            return Err(Failed);
        }
        let mut inner = Scope {
            depth: scope.depth,
            deploy: own,
            ..Scope::default()
        };
        inner.facts.saved_capacity = inner.deploy.get("savedCapacity").cloned();
        inner.facts.source = named_source(&inner.deploy);

        let mut planned = 0;
        let mut done = self.in_line(&plan.before, ref_id, '<', &mut inner);
        if done.is_ok() {
            done = self.create_tasks(
                &stage.type_,
                plan.strategy.is_rolling(),
                plan.strategy.replaces_basic_steps(),
                &mut inner,
            );
            inner.facts.create_failed = done.is_err();
            if done.is_ok() {
                let after: Vec<SubStage> = plan
                    .after
                    .iter()
                    .filter_map(|stage| stage.resolved(&inner.facts).ok())
                    .collect();
                planned = after.len();
                done = self.in_line(&after, ref_id, '>', &mut inner);
            }
        }
        if done.is_err() {
            self.on_failure(&plan.on_failure, ref_id, planned, &mut inner);
        }
        done
    }

    /// Each on-failure stage is tried, whatever became of the one before. Nobody is there to approve.
    fn on_failure(&mut self, stages: &[SubStage], ref_id: &str, planned: usize, scope: &mut Scope) {
        let mut n = planned;
        for stage in stages {
            let mut facts = scope.facts.clone();
            // The recorded runs go on without asking; so that the rest can be compared, the answer is "continue".
            facts.approved = stage.only_if.contains(&Condition::Approved);
            if let Ok(stage) = stage.resolved(&facts) {
                n += 1;
                self.stage(&stage, format!("{ref_id}>{n}"), scope);
            }
        }
    }

    fn create_tasks(
        &mut self,
        stage_type: &str,
        rolling: bool,
        replaces: bool,
        scope: &mut Scope,
    ) -> Done {
        let account = account(&scope.deploy);
        let region = region(&scope.deploy);
        let cluster = cluster(&scope.deploy);
        self.task(stage_type, "determineSourceServerGroup")?;
        let settings = SourceSettings::from_context(&scope.deploy).map_err(|_| Failed)?;
        scope.facts.source =
            self.determine_source(&settings, scope, &account, &region, &cluster)?;
        let mut source = shown_source(&settings, scope);
        self.task(stage_type, "determineHealthProviders")?;
        if !rolling {
            self.task(stage_type, "snapshotSourceServerGroup")?;
            self.snapshot(settings.use_source_capacity == Some(true), scope);
            if let Some(source) = source.as_object_mut().filter(|_| scope.snapshot.is_some()) {
                source.insert("useSourceCapacity".to_owned(), json!(false));
            }
        }
        if replaces {
            return Ok(());
        }
        let task = if stage_type == "cloneServerGroup" {
            "cloneServerGroup"
        } else {
            "createServerGroup"
        };
        self.task(stage_type, task)?;
        let capacity = scope
            .deploy
            .get("capacity")
            .map(Capacity::from_value)
            .transpose()
            .map_err(|_| Failed)?
            .unwrap_or_default();
        let name = self
            .world
            .create(&account, &cluster, &region, capacity)
            .map_err(|_| Failed)?;
        let image = scope
            .deploy
            .get("imageId")
            .or_else(|| scope.deploy.get("amiName"))
            .cloned();
        self.world.note(
            "createServerGroup",
            &name,
            &region,
            json!({
                "account": account, "capacity": capacity, "imageId": image, "source": source,
                "useSourceCapacity": settings.use_source_capacity == Some(true)
                    && scope.facts.source.is_some() && scope.snapshot.is_none(),
            }),
        );
        scope.facts.deployed = Some(name.clone());
        scope.deployed = Some((region, name));
        self.task(stage_type, "monitorDeploy")?;
        self.task(stage_type, "waitForUpInstances")
    }

    fn determine_source(
        &self,
        settings: &SourceSettings,
        scope: &Scope,
        account: &str,
        region: &str,
        cluster: &str,
    ) -> Result<Option<SourceGroup>, Failed> {
        if let Some(named) = named_source(&scope.deploy) {
            return Ok(Some(named));
        }
        let groups = self.world.of_cluster(cluster, region);
        let found = match &settings.target {
            Some(target) => {
                let target = Target::from_name(target).map_err(|_| Failed)?;
                Some(target_server_group(target, &groups).map_err(|_| Failed)?)
            }
            None => source_server_group(&groups, settings.use_source_capacity == Some(true))
                .map(|(group, _)| group),
        };
        if found.is_none() {
            // Nothing changes between the reads: what is decided at the last one counts.
            without_source(settings, NOT_FOUND_READS).map_err(|_| Failed)?;
        }
        Ok(found.map(|group| SourceGroup {
            account: account.to_owned(),
            region: group.region.clone(),
            name: group.name.clone(),
        }))
    }

    /// Copies the source's capacity into the deploy stage, if it is to be copied.
    fn snapshot(&self, copies: bool, scope: &mut Scope) {
        let source = scope.facts.source.as_ref().filter(|_| copies);
        if let Some(group) = source.and_then(|source| self.world.find(&source.name, &source.region))
        {
            let copied = capacity_snapshot(group.capacity);
            scope.snapshot = Some(copied.source);
            scope
                .deploy
                .insert("capacity".to_owned(), json!(copied.new_group));
            scope.deploy.insert(
                "sourceServerGroupCapacitySnapshot".to_owned(),
                json!(copied.source),
            );
        }
    }

    fn cluster_operation(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        if stage.type_ == "shrinkCluster"
            && let Some(before) = disable_before_shrink(&stage.context).map_err(|_| Failed)?
        {
            self.in_line(&[before], ref_id, '<', scope)?;
        }
        let operation = ClusterOperation::from_context(&stage.type_, &stage.context)
            .ok()
            .flatten()
            .ok_or(Failed)?;
        self.task(&stage.type_, "determineHealthProviders")?;
        self.task(&stage.type_, &stage.type_)?;
        let name = context::filled_text(&stage.context, "cluster")
            .unwrap_or_else(|| cluster(&stage.context));
        if !self.world.groups.iter().any(|group| group.cluster == name) {
            let goes_on = context::flag(&stage.context, "continueIfClusterNotFound")
                .ok()
                .flatten()
                .unwrap_or(false);
            if !goes_on && !operation.accepts_missing_cluster() {
                return Err(Failed);
            }
        }
        let mut chosen = Vec::new();
        for region in regions(&stage.context) {
            let here = self.world.of_cluster(&name, &region);
            let deployed: Vec<String> = scope
                .deployed
                .iter()
                .filter(|(place, _)| *place == region)
                .map(|(_, name)| name.clone())
                .collect();
            let selected: Vec<ServerGroup> = select(operation, &here, &deployed)
                .chosen
                .into_iter()
                .cloned()
                .collect();
            if operation.asks_traffic_guards() {
                self.ask_guards(&selected, &here, &region)?;
            }
            chosen.extend(selected);
        }
        for group in chosen {
            let (name, region) = (group.name.as_str(), group.region.as_str());
            let sent = |more: Value| {
                let account = account(&stage.context);
                let base = json!({"accountName": account, "asgName": name, "cloudProvider": "aws", "credentials": account});
                together(base, more)
            };
            match operation {
                ClusterOperation::Disable {
                    desired_percentage, ..
                } => {
                    self.world.note(
                        "disableServerGroup",
                        name,
                        region,
                        sent(json!({"desiredPercentage": desired_percentage})),
                    );
                    self.world
                        .disable(name, region, desired_percentage.unwrap_or(100));
                }
                ClusterOperation::Shrink { .. } => {
                    self.world
                        .note("destroyServerGroup", name, region, sent(json!({})));
                    self.world.destroy(name, region);
                }
                ClusterOperation::ScaleDown { .. } => {
                    let processes = sent(json!({"processes": ["Terminate"]}));
                    self.world
                        .note("resumeAsgProcessesDescription", name, region, processes);
                    self.world.note(
                        "resizeServerGroup",
                        name,
                        region,
                        sent(json!({"capacity": Capacity::default()})),
                    );
                    self.world.resize(name, region, Capacity::default());
                }
            }
        }
        let (monitor, wait) = match operation {
            ClusterOperation::Disable { .. } => ("monitorDisableCluster", "waitForClusterDisable"),
            ClusterOperation::Shrink { .. } => ("monitorShrinkCluster", "waitForClusterShrink"),
            ClusterOperation::ScaleDown { .. } => {
                ("monitorScaleDownCluster", "waitForScaleDownCluster")
            }
        };
        self.task(&stage.type_, monitor)?;
        self.task(&stage.type_, wait)
    }

    fn ask_guards(&self, going: &[ServerGroup], here: &[ServerGroup], region: &str) -> Done {
        let Some(first) = going.first() else {
            return Ok(());
        };
        let parts = naming::parse(&first.name);
        let cluster = GuardedCluster {
            account: &first.account,
            region,
            cluster: &first.cluster,
            stack: parts.stack.as_deref(),
            detail: parts.detail.as_deref(),
        };
        let (going, here): (Vec<&ServerGroup>, Vec<&ServerGroup>) =
            (going.iter().collect(), here.iter().collect());
        check(&self.guards, cluster, &going, &here, "")
            .map(|_| ())
            .map_err(|_| Failed)
    }

    fn ask_guards_of(&self, name: &str, region: &str) -> Done {
        let Some(group) = self.world.find(name, region) else {
            return Ok(());
        };
        let here = self.world.of_cluster(&group.cluster, region);
        self.ask_guards(std::slice::from_ref(group), &here, region)
    }

    /// Below a top-level stage, suspended processes are resumed around a resize.
    fn wrapped(&mut self, ref_id: &str, mark: char, action: &str, scope: &mut Scope) -> Done {
        if scope.depth != 2 {
            return Ok(());
        }
        let stage = SubStage::new(
            "modifyAwsScalingProcess",
            format!("{action}ScalingProcesses"),
            Map::new(),
        );
        self.in_line(&[stage], ref_id, mark, scope)
    }

    fn resize_stage(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        self.wrapped(ref_id, '<', "resume", scope)?;
        self.tasks(stage, scope)?;
        self.wrapped(ref_id, '>', "suspend", scope)
    }

    fn destroy_stage(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        let (name, region) = self.target_of(stage, scope);
        let takes_traffic = self
            .world
            .find(&name, &region)
            .is_some_and(ServerGroup::is_active);
        if takes_traffic || scope.depth == 2 {
            let disable = SubStage::new(
                "disableServerGroup",
                "disableServerGroup".to_owned(),
                stage.context.clone(),
            );
            self.in_line(&[disable], ref_id, '<', scope)?;
        }
        self.tasks(stage, scope)
    }

    fn target_of(&self, stage: &SubStage, scope: &Scope) -> (String, String) {
        let region = region(&stage.context);
        let name = context::filled_text(&stage.context, "serverGroupName")
            .or_else(|| scope.facts.deployed.clone())
            .unwrap_or_default();
        (name, region)
    }

    /// The stages that consist of tasks alone.
    fn tasks(&mut self, stage: &SubStage, scope: &mut Scope) -> Done {
        let (name, region) = self.target_of(stage, scope);
        let tasks: &[&str] = match stage.type_.as_str() {
            "resizeServerGroup" => &[
                "checkIfApplicationExists",
                "determineHealthProviders",
                "resizeServerGroup",
                "monitorServerGroup",
                "waitForCapacityMatch",
            ],
            "pinServerGroup" => &["resizeServerGroup", "monitorServerGroup"],
            "disableServerGroup" => &[
                "determineHealthProviders",
                "disableServerGroup",
                "monitorServerGroup",
                "waitForDownInstances",
                "waitForServerGroupDisabled",
            ],
            "enableServerGroup" => &[
                "determineHealthProviders",
                "enableServerGroup",
                "monitorServerGroup",
                "waitForUpInstances",
            ],
            "destroyServerGroup" => &[
                "destroyServerGroup",
                "monitorServerGroup",
                "waitForDestroyedServerGroup",
            ],
            "captureSourceServerGroupCapacity" => &["snapshotSourceServerGroup"],
            "checkPreconditions" => &["checkPrecondition"],
            "pipeline" => &["startPipeline", "monitorPipeline"],
            other => &[other],
        };
        let sent = |more: Value| {
            together(
                json!({"cloudProvider": "aws", "credentials": account(&stage.context)}),
                more,
            )
        };
        for task in tasks {
            self.task(&stage.type_, task)?;
            match *task {
                "resizeServerGroup" => self.resize(stage, scope, &name, &region)?,
                "disableServerGroup" => {
                    let percentage = context::integer(&stage.context, "desiredPercentage")
                        .map_err(|_| Failed)?;
                    if percentage.is_none_or(|percentage| percentage == 0 || percentage >= 100) {
                        self.ask_guards_of(&name, &region)?;
                    }
                    let more = percentage.map_or_else(
                        || json!({}),
                        |percentage| json!({"desiredPercentage": percentage}),
                    );
                    self.world
                        .note("disableServerGroup", &name, &region, sent(more));
                    self.world
                        .disable(&name, &region, percentage.unwrap_or(100));
                }
                "enableServerGroup" => {
                    self.world
                        .note("enableServerGroup", &name, &region, sent(json!({})));
                    self.world.enable(&name, &region);
                }
                "destroyServerGroup" => {
                    self.ask_guards_of(&name, &region)?;
                    self.world
                        .note("destroyServerGroup", &name, &region, sent(json!({})));
                    self.world.destroy(&name, &region);
                }
                "snapshotSourceServerGroup" => {
                    let source = context::object(&stage.context, "source").ok_or(Failed)?;
                    let name = context::filled_text(source, "serverGroupName").unwrap_or_default();
                    let region = context::filled_text(source, "region").unwrap_or_default();
                    scope.snapshot = self.world.find(&name, &region).map(|group| group.capacity);
                }
                "checkPrecondition" => self.check_cluster_size(stage)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_cluster_size(&self, stage: &SubStage) -> Done {
        let check = context::object(&stage.context, "context").ok_or(Failed)?;
        let most = context::integer(check, "expected")
            .ok()
            .flatten()
            .unwrap_or(1);
        let name = context::filled_text(check, "cluster").unwrap_or_default();
        let too_many = regions(check).into_iter().any(|region| {
            let enabled = self
                .world
                .of_cluster(&name, &region)
                .iter()
                .filter(|group| group.enabled)
                .count();
            i64::try_from(enabled).unwrap_or(i64::MAX) > most
        });
        if too_many { Err(Failed) } else { Ok(()) }
    }

    fn resize(&mut self, stage: &SubStage, scope: &mut Scope, name: &str, region: &str) -> Done {
        let current = self
            .world
            .find(name, region)
            .map(|group| group.capacity)
            .ok_or(Failed)?;
        let mut own = stage.context.clone();
        let mut source = None;
        if let Some(group) = context::object(&stage.context, "source") {
            let source_name = context::filled_text(group, "serverGroupName").unwrap_or_default();
            let source_region = context::filled_text(group, "region").unwrap_or_default();
            source = self
                .world
                .find(&source_name, &source_region)
                .map(|group| group.capacity);
            if let Some(original) = scope.original.get(&source_name) {
                own.insert(format!("originalCapacity.{source_name}"), json!(original));
            }
        }
        let resize = Resize::from_context(&own).map_err(|_| Failed)?;
        let resized = resized_capacity(
            &resize,
            ResizeBasis {
                current,
                source,
                cluster: &[],
            },
        )
        .map_err(|_| Failed)?;
        if resized.target.desired() == 0 {
            self.ask_guards_of(name, region)?;
        }
        if let Some(original) = resized.original {
            scope.original.entry(name.to_owned()).or_insert(original);
        }
        let mut operation = Map::new();
        operation.insert("cloudProvider".to_owned(), json!("aws"));
        operation.insert("credentials".to_owned(), json!(account(&stage.context)));
        operation.insert("capacity".to_owned(), json!(resized.target));
        operation.extend(
            resized
                .original
                .map(|original| ("originalCapacity".to_owned(), json!(original))),
        );
        if let Some(location) = stage.context.get("targetLocation") {
            operation.insert("targetLocation".to_owned(), location.clone());
            operation.insert("asgName".to_owned(), json!(name));
        }
        self.world
            .note("resizeServerGroup", name, region, Value::Object(operation));
        self.world.resize(name, region, resized.target);
        Ok(())
    }

    fn restore_minimum(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        self.task(&stage.type_, "restoreMinCapacity")?;
        let (name, region) = match context::object(&stage.context, "target") {
            Some(target) => (
                context::filled_text(target, "serverGroupName").unwrap_or_default(),
                context::filled_text(target, "region").unwrap_or_default(),
            ),
            None => scope
                .deployed
                .clone()
                .map(|(region, name)| (name, region))
                .unwrap_or_default(),
        };
        let current = self.world.find(&name, &region).map(|group| group.capacity);
        let mut restored = false;
        if let (Some(snapshot), Some(current)) = (scope.snapshot, current) {
            let min = restored_minimum(snapshot, current);
            let capacity =
                Capacity::new(min, current.desired(), current.max()).map_err(|_| Failed)?;
            self.world.note(
                "resizeServerGroup",
                &name,
                &region,
                json!({
                    "capacity": {"min": min}, "asgName": name, "cloudProvider": "aws",
                    "credentials": account(&stage.context),
                }),
            );
            self.world.resize(&name, &region, capacity);
            restored = true;
        }
        self.task(&stage.type_, "waitForCapacityMatch")?;
        let tagged = |tags: &Map<String, Value>| {
            tags.get(&name)
                .and_then(Value::as_array)
                .is_some_and(|tags| !tags.is_empty())
        };
        if restored && self.tags.as_ref().is_some_and(tagged) {
            let cleanup = SubStage::new(
                "deleteEntityTags",
                "Cleanup Server Group Tags".to_owned(),
                Map::new(),
            );
            self.in_line(&[cleanup], ref_id, '>', scope)?;
        }
        Ok(())
    }

    /// The image before a group's, as its entity tags have it.
    fn previous_image(&self, name: &str) -> Result<Option<PreviousImage>, Failed> {
        let Some(sets) = self
            .tags
            .as_ref()
            .and_then(|tags| tags.get(name))
            .and_then(Value::as_array)
        else {
            return Ok(None);
        };
        if sets.len() > 1 {
            return Err(Failed);
        }
        let tags = sets
            .first()
            .and_then(|set| set.get("tags"))
            .and_then(Value::as_array)
            .map(Vec::as_slice);
        let previous = tags.unwrap_or_default().iter().find_map(|tag| {
            let is_metadata = tag.get("name").and_then(Value::as_str) == Some("spinnaker:metadata");
            tag.get("value")
                .filter(|_| is_metadata)?
                .get("previousServerGroup")?
                .as_object()
        });
        Ok(previous.and_then(|previous| {
            Some(PreviousImage {
                image_id: context::text(previous, "imageId").unwrap_or_default(),
                image_name: context::text(previous, "imageName")?,
                build_number: None,
            })
        }))
    }

    fn rollback_cluster(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        self.task(&stage.type_, "determineRollbackCandidates")?;
        let places = regions(&stage.context);
        let cluster = match context::object(&stage.context, "moniker") {
            Some(_) => cluster(&stage.context),
            None => {
                let name = context::filled_text(&stage.context, "serverGroup").ok_or(Failed)?;
                let first = places.first().ok_or(Failed)?;
                self.world.find(&name, first).ok_or(Failed)?.cluster.clone()
            }
        };
        if !self
            .world
            .groups
            .iter()
            .any(|group| group.cluster == cluster)
        {
            return Err(Failed);
        }
        let request = RollbackRequest::from_context(&stage.context).map_err(|_| Failed)?;
        let mut ways = Vec::new();
        for region in places {
            let groups = self.world.of_cluster(&cluster, &region);
            let image = match rolled_back_group(&groups) {
                Ok(group) => self.previous_image(&group.name)?,
                Err(_) => None,
            };
            if let Ok(way) =
                rollback_of_region(&request, &groups, image.as_ref()).map_err(|_| Failed)?
            {
                ways.push((region, way));
            }
        }
        let stages = rollback::cluster_sub_stages(&stage.context, &ways, &scope.deploy)
            .map_err(|_| Failed)?;
        self.in_line(&stages, ref_id, '>', scope)
    }

    fn rollback_server_group(&mut self, stage: &SubStage, ref_id: &str, scope: &mut Scope) -> Done {
        let region = region(&stage.context);
        let inner = context::object(&stage.context, "rollbackContext")
            .cloned()
            .unwrap_or_default();
        let name = context::filled_text(&inner, "rollbackServerGroupName").unwrap_or_default();
        // The record is read only where the image is not named.
        let asks_record = context::text(&stage.context, "rollbackType").as_deref()
            == Some("PREVIOUS_IMAGE")
            && context::filled_text(&inner, "imageName").is_none();
        let image = if asks_record {
            self.previous_image(&name)?
        } else {
            None
        };
        let groups: Vec<ServerGroup> = self
            .world
            .groups
            .iter()
            .filter(|group| group.region == region)
            .cloned()
            .collect();
        let stages = rollback::server_group_sub_stages(&stage.context, &groups, image.as_ref())
            .map_err(|_| Failed)?;
        let mut own = Scope {
            depth: scope.depth,
            deploy: scope.deploy.clone(),
            ..Scope::default()
        };
        own.snapshot = stage
            .context
            .get("sourceServerGroupCapacitySnapshot")
            .and_then(|snapshot| Capacity::from_value(snapshot).ok());
        self.in_line(&stages, ref_id, '>', &mut own)
    }
}

/// The source as the operation that creates the group has it.
fn shown_source(settings: &SourceSettings, scope: &Scope) -> Value {
    let Some(source) = &scope.facts.source else {
        // One that was looked for in vain is not even empty.
        return if settings.use_source_capacity == Some(true) {
            Value::Null
        } else {
            json!({})
        };
    };
    let mut shown = Map::new();
    shown.insert("account".to_owned(), json!(source.account));
    shown.insert("region".to_owned(), json!(source.region));
    shown.insert("asgName".to_owned(), json!(source.name));
    let named = context::object(&scope.deploy, "source").filter(|source| !source.is_empty());
    if named.is_none_or(|named| named.contains_key("serverGroupName")) {
        shown.insert("serverGroupName".to_owned(), json!(source.name));
    }
    shown.extend(
        settings
            .use_source_capacity
            .map(|copies| ("useSourceCapacity".to_owned(), json!(copies))),
    );
    Value::Object(shown)
}

/// Two JSON objects in one; the second wins.
fn together(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}

/// The source that a deploy stage names.
fn named_source(deploy: &Map<String, Value>) -> Option<SourceGroup> {
    let named = SourceSettings::from_context(deploy).ok()?.named?;
    Some(SourceGroup {
        account: account(deploy),
        region: named.region.unwrap_or_else(|| region(deploy)),
        name: named.name?,
    })
}

fn account(context: &Map<String, Value>) -> String {
    context::filled_text(context, "account")
        .or_else(|| context::filled_text(context, "credentials"))
        .unwrap_or_default()
}

fn region(context: &Map<String, Value>) -> String {
    context::filled_text(context, "region")
        .or_else(|| {
            context::object(context, "availabilityZones")
                .and_then(|zones| zones.keys().next().cloned())
        })
        .unwrap_or_default()
}

fn cluster(context: &Map<String, Value>) -> String {
    super::cluster(context).unwrap_or_else(|| {
        let part = |key| context::filled_text(context, key);
        naming::cluster_name(
            &part("application").unwrap_or_default(),
            part("stack").as_deref(),
            part("freeFormDetails").as_deref(),
        )
        .unwrap_or_default()
    })
}
