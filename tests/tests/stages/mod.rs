//! The stages of server groups by the names of their functions, over the testkit's world, and plans to run them in.
#![allow(dead_code, missing_docs)] // Each test takes what it needs.

pub mod scenarios;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_domain::deployment::strategy::{self, SubStage, SubStages, disable_before_shrink};
use gennaker_domain::{Owner, Plan, PlanStage, Predecessor};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_rollback_server_group::Stages as RollbackStages;
use gennaker_server_groups::Guarded;
use gennaker_testkit::World;
use gennaker_testkit::http::{MemoryHttp, response};
use serde_json::{Map, Value, json};

/// How often in a row instances have to be healthy.
const HEALTHY_POLLS: i64 = 2;
/// How many seconds a disabled cluster drains.
const DRAIN_SECONDS: i64 = 90;

/// A pipeline that succeeds at once, and a person who says "continue".
struct SucceedsAtOnce;

#[async_trait]
impl Stage for SucceedsAtOnce {
    async fn step(&self, _: &Invocation<'_>) -> Result<Step, StageError> {
        Ok(Step::succeeded())
    }
}

/// A wait of its context's seconds.
struct Waits;

#[async_trait]
impl Stage for Waits {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let seconds = invocation
            .context
            .get("waitTime")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if invocation.waited() < seconds.saturating_mul(1_000) {
            return Ok(Step::waiting(invocation, "waits"));
        }
        Ok(Step::succeeded())
    }
}

/// The precondition of a rolling strategy: no more groups in traffic than expected.
struct ClusterSize(World);

#[async_trait]
impl Stage for ClusterSize {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let of = |key: &str| {
            invocation
                .context
                .get("context")
                .and_then(|of| of.get(key))
                .cloned()
        };
        let cluster = of("cluster")
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default();
        let most = of("expected").and_then(|most| most.as_i64()).unwrap_or(1);
        for region in of("regions")
            .and_then(|all| all.as_array().cloned())
            .unwrap_or_default()
        {
            let world = self.0.in_region(region.as_str().unwrap_or_default());
            let in_traffic = world
                .snapshot()
                .iter()
                .filter(|group| {
                    gennaker_domain::deployment::naming::parse(&group.name)
                        .cluster
                        .as_deref()
                        == Some(&cluster)
                })
                .filter(|group| !gennaker_server_groups::traffic::is_disabled(group))
                .count();
            if i64::try_from(in_traffic).unwrap() > most {
                return Ok(Step::failed(format!(
                    "{in_traffic} server groups in traffic, expected {most}"
                )));
            }
        }
        Ok(Step::succeeded())
    }
}

/// A deployment monitor that always says "continue".
pub fn monitor(world_faults: &gennaker_testkit::Faults) -> MemoryHttp {
    let http = MemoryHttp::with_faults(world_faults.clone());
    http.serve("monitor.example.com", |request| {
        response(
            request,
            200,
            json!({"nextStep": {"directive": "continue"}}).to_string(),
        )
    });
    http
}

/// Functions of server groups that change nothing and take no lock.
const UNGUARDED: [&str; 9] = [
    "check-preconditions",
    "determine-target-server-group",
    "evaluate-deployment-health",
    "manual-judgment",
    "notify-deploy-completed",
    "notify-deploy-starting",
    "pipeline",
    "wait",
    "watch-alarms",
];

/// The stage of a function, with what its `main` puts around it.
pub fn stage_of(function: &str, world: &World, http: &MemoryHttp) -> Arc<dyn Stage> {
    let stage = bare_stage_of(function, world, http);
    if UNGUARDED.contains(&function) {
        return stage;
    }
    Arc::new(Guarded::new(stage, Arc::new(world.clone())))
}

fn bare_stage_of(function: &str, world: &World, http: &MemoryHttp) -> Arc<dyn Stage> {
    let w = || Arc::new(world.clone());
    let rollback = || RollbackStages::new(w(), w(), HEALTHY_POLLS, DRAIN_SECONDS);
    let http = || Arc::new(http.clone());
    match function {
        "apply-source-server-group-capacity" => Arc::new(
            gennaker_apply_source_server_group_capacity::ApplySourceServerGroupCapacity::new(w()),
        ),
        "capture-source-server-group-capacity" => Arc::new(
            gennaker_capture_source_server_group_capacity::CaptureSourceServerGroupCapacity::new(
                w(),
            ),
        ),
        "check-preconditions" => Arc::new(ClusterSize(world.clone())),
        "clone-server-group" => Arc::new(gennaker_clone_server_group::CloneServerGroup::new(
            w(),
            w(),
            HEALTHY_POLLS,
        )),
        "create-server-group" => Arc::new(gennaker_create_server_group::CreateServerGroup::new(
            w(),
            w(),
            HEALTHY_POLLS,
        )),
        "destroy-server-group" => {
            Arc::new(gennaker_destroy_server_group::DestroyServerGroup::new(w()))
        }
        "determine-target-server-group" => {
            Arc::new(gennaker_determine_target_server_group::DetermineTargetServerGroup::new(w()))
        }
        "disable-cluster" => Arc::new(gennaker_disable_cluster::DisableCluster::new(
            w(),
            DRAIN_SECONDS,
        )),
        "disable-server-group" => {
            Arc::new(gennaker_disable_server_group::DisableServerGroup::new(w()))
        }
        "enable-server-group" => {
            Arc::new(gennaker_enable_server_group::EnableServerGroup::new(w()))
        }
        "evaluate-deployment-health" => {
            Arc::new(gennaker_evaluate_deployment_health::EvaluateDeploymentHealth::new(http()))
        }
        "instance-refresh" => Arc::new(gennaker_instance_refresh::InstanceRefresh::new(w(), w())),
        "modify-aws-scaling-process" => {
            Arc::new(gennaker_modify_aws_scaling_process::ModifyAwsScalingProcess::new(w()))
        }
        "modify-warm-pool" => Arc::new(gennaker_modify_warm_pool::ModifyWarmPool::new(w())),
        "notify-deploy-completed" => {
            Arc::new(gennaker_notify_deploy_completed::NotifyDeployCompleted::new(http()))
        }
        "notify-deploy-starting" => Arc::new(
            gennaker_notify_deploy_starting::NotifyDeployStarting::new(http()),
        ),
        "pin-server-group" => Arc::new(gennaker_pin_server_group::PinServerGroup::new(w())),
        "resize-server-group" => {
            Arc::new(gennaker_resize_server_group::ResizeServerGroup::new(w()))
        }
        "rollback-cluster" => Arc::new(gennaker_rollback_cluster::RollbackCluster::new(
            rollback(),
            w(),
        )),
        "rollback-server-group" => Arc::new(
            gennaker_rollback_server_group::RollbackServerGroup::new(rollback()),
        ),
        "scale-down-cluster" => Arc::new(gennaker_scale_down_cluster::ScaleDownCluster::new(w())),
        "shrink-cluster" => Arc::new(gennaker_shrink_cluster::ShrinkCluster::new(w())),
        "watch-alarms" => Arc::new(gennaker_watch_alarms::WatchAlarms::new(w())),
        "manual-judgment" | "pipeline" => Arc::new(SucceedsAtOnce),
        "wait" => Arc::new(Waits),
        other => panic!("no stage for the function `{other}`"),
    }
}

/// `create-server-group` of `createServerGroup`.
pub fn function_of(stage_type: &str) -> String {
    stage_type
        .chars()
        .flat_map(|c| {
            c.is_ascii_uppercase()
                .then_some('-')
                .into_iter()
                .chain(c.to_lowercase())
        })
        .collect()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Builds plans as the compiler does.
#[derive(Default)]
struct Planner {
    stages: Vec<PlanStage>,
}

impl Planner {
    fn add(
        &mut self,
        ref_id: String,
        stage: &SubStage,
        parent: Option<&str>,
        owner: Option<Owner>,
        after: Vec<Predecessor>,
        defers: bool,
    ) {
        let mut context = stage.context.clone();
        if stage.continue_on_failure {
            context.insert("continuePipeline".to_owned(), json!(true));
            context.insert("failPipeline".to_owned(), json!(false));
            context.insert(
                "allowSiblingStagesToContinueOnFailure".to_owned(),
                json!(true),
            );
        }
        let of_parent = |one: &&Predecessor| {
            let rest = parent.and_then(|parent| one.ref_id.strip_prefix(parent));
            rest.is_some_and(|rest| rest.starts_with(['<', '>']))
        };
        let siblings: Vec<&str> = after
            .iter()
            .filter(of_parent)
            .map(|one| one.ref_id.as_str())
            .collect();
        let function = (stage.type_ != "deploy").then(|| function_of(&stage.type_));
        let planned = json!({
            "refId": ref_id, "type": stage.type_, "name": stage.name, "parent": parent, "owner": owner,
            "requisites": siblings, "function": function, "startsAfter": after,
            "defersFailure": defers, "conditions": stage.only_if, "fills": stage.fills, "context": context,
        });
        self.stages.push(serde_json::from_value(planned).unwrap());
        if stage.type_ == "shrinkCluster"
            && let Ok(Some(before)) = disable_before_shrink(&stage.context)
        {
            let at = self.stages.len() - 1;
            let own = self.stages[at].clone();
            let child = format!("{ref_id}<1");
            self.stages[at].starts_after.push(whole(&child));
            self.add(
                child,
                &before,
                Some(&ref_id),
                Some(Owner::Before),
                own.starts_after,
                defers,
            );
        }
    }

    /// A stage that creates a server group, with its strategy.
    fn creates(
        &mut self,
        ref_id: &str,
        stage_type: &str,
        name: &str,
        context: &Map<String, Value>,
        parent: Option<&str>,
    ) -> Result<(), String> {
        let SubStages {
            context: changes,
            removed,
            before,
            after,
            on_failure,
            ..
        } = strategy::sub_stages(&Value::Object(context.clone()))
            .map_err(|error| error.to_string())?;
        let mut own = context.clone();
        own.extend(changes);
        own.retain(|key, _| !removed.contains(&key.as_str()));
        let defers = !on_failure.is_empty();
        let of = |type_: &str, name: &str, context: Map<String, Value>| SubStage {
            type_: type_.to_owned(),
            name: name.to_owned(),
            context,
            only_if: Vec::new(),
            fills: Vec::new(),
            continue_on_failure: false,
        };
        let mut previous: Vec<Predecessor> = Vec::new();
        let mut first = Vec::new();
        for (at, stage) in before.iter().enumerate() {
            let child = format!("{ref_id}<{}", at + 1);
            first.push((child.clone(), stage.clone(), previous));
            previous = vec![whole(&child)];
        }
        let owner = parent.map(|_| Owner::Before);
        self.add(
            ref_id.to_owned(),
            &of(stage_type, name, own),
            parent,
            owner,
            previous,
            defers,
        );
        for (child, stage, previous) in first {
            self.add(
                child,
                &stage,
                Some(ref_id),
                Some(Owner::Before),
                previous,
                defers,
            );
        }
        let own_task = Predecessor {
            ref_id: ref_id.to_owned(),
            whole: false,
        };
        let mut previous = vec![own_task.clone()];
        let count = after.len();
        for (at, stage) in after.iter().enumerate() {
            let child = format!("{ref_id}>{}", at + 1);
            self.add(
                child.clone(),
                stage,
                Some(ref_id),
                Some(Owner::After),
                previous,
                defers,
            );
            previous = vec![whole(&child)];
        }
        let mut previous = vec![own_task];
        for (at, stage) in on_failure.iter().enumerate() {
            let child = format!("{ref_id}>{}", count + at + 1);
            let last = at + 1 == on_failure.len();
            self.add(
                child.clone(),
                stage,
                Some(ref_id),
                Some(Owner::OnFailure),
                previous,
                !last,
            );
            previous = vec![whole(&child)];
        }
        Ok(())
    }
}

fn whole(ref_id: &str) -> Predecessor {
    Predecessor {
        ref_id: ref_id.to_owned(),
        whole: true,
    }
}

/// The plan of one stage, with its sub-stages.
pub fn plan_of(
    stage_type: &str,
    context: &Map<String, Value>,
    application: &str,
) -> Result<Plan, String> {
    let mut planner = Planner::default();
    match stage_type {
        "deploy" => {
            let whole_context = Value::Object(context.clone());
            let children =
                strategy::deploy_stages(&whole_context).map_err(|error| error.to_string())?;
            let group = SubStage {
                type_: "deploy".to_owned(),
                name: "Deploy".to_owned(),
                context: context.clone(),
                only_if: Vec::new(),
                fills: Vec::new(),
                continue_on_failure: false,
            };
            planner.add("1".to_owned(), &group, None, None, Vec::new(), false);
            for (at, child) in children.iter().enumerate() {
                let mut own = child.context.clone();
                if let Some(Value::Object(cluster)) = own.remove("cluster") {
                    own.extend(cluster);
                }
                own.remove("type");
                let ref_id = format!("1<{}", at + 1);
                planner.creates(&ref_id, "createServerGroup", &child.name, &own, Some("1"))?;
            }
        }
        "createServerGroup" | "cloneServerGroup" => {
            let mut own = context.clone();
            if let Some(Value::Object(cluster)) = own.remove("cluster") {
                own.extend(cluster);
            }
            planner.creates("1", stage_type, "Deploy", &own, None)?;
        }
        other => {
            let stage = SubStage {
                type_: other.to_owned(),
                name: other.to_owned(),
                context: context.clone(),
                only_if: Vec::new(),
                fills: Vec::new(),
                continue_on_failure: false,
            };
            planner.add("1".to_owned(), &stage, None, None, Vec::new(), false);
        }
    }
    let plan = json!({
        "schema": gennaker_domain::plan::SCHEMA, "application": application, "pipeline": "release",
        "pipelineId": "p-1", "spelEvaluator": "v4", "stages": planner.stages,
    });
    serde_json::from_value(plan).map_err(|error| error.to_string())
}

/// The plan of one stage as the compiler makes it.
pub fn compiled(
    stage_type: &str,
    context: &Map<String, Value>,
    application: &str,
) -> Result<Plan, String> {
    let mut stage = context.clone();
    for (key, value) in [("refId", "1"), ("type", stage_type), ("name", stage_type)] {
        stage.insert(key.to_owned(), json!(value));
    }
    stage.insert("requisiteStageRefIds".to_owned(), json!([]));
    let pipeline = json!({ "application": application, "name": "release", "stages": [stage] });
    gennaker_compiler::compile(&pipeline, &gennaker_compiler::Options::default())
        .map(|compiled| {
            let mut plan = compiled.plan;
            // Nobody sleeps on a token here: what is woken is polled.
            plan.stages.iter_mut().for_each(|stage| stage.woken = false);
            plan
        })
        .map_err(|problems| format!("{problems:?}"))
}

/// The order in which a plan's stages run, one after the other: what is before a stage, the stage, what is after it.
pub fn order<'a>(plan: &'a Plan, ref_id: &str, found: &mut Vec<&'a PlanStage>) {
    let children: Vec<&PlanStage> = plan
        .stages
        .iter()
        .filter(|stage| stage.parent.as_deref() == Some(ref_id))
        .collect();
    for child in children
        .iter()
        .filter(|child| child.owner == Some(Owner::Before))
    {
        order(plan, &child.ref_id, found);
    }
    found.extend(plan.stage(ref_id));
    for child in children
        .iter()
        .filter(|child| child.owner != Some(Owner::Before))
    {
        order(plan, &child.ref_id, found);
    }
}

pub fn map(value: Value) -> Map<String, Value> {
    object(value)
}
