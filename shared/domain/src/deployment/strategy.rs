//! Deployment strategies as data: the sub-stages of a `createServerGroup`, in order.
//!
//! The original plans them when the new group is up. A compiler has to know them before anything runs, so
//! what is known only then is left open: a sub-stage says under which [`Condition`]s it runs at all, and what of its
//! context is a [`Fill`]. [`SubStage::resolved`] closes both with the [`Facts`] of the running deployment.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::context::{self, ContextError};
use super::naming;

/// How a new server group takes over from the old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The old groups stay as they are.
    #[default]
    None,
    /// All old groups are disabled and destroyed.
    Highlander,
    /// All old groups are disabled; some are kept for the way back.
    RedBlack,
    /// Traffic moves in steps, with a pipeline that may check each.
    RollingRedBlack,
    /// Traffic moves in steps, watched by a deployment monitor.
    Monitored,
    /// A pipeline of the user's does it all.
    Custom,
    /// The old group's instances are replaced in place.
    RollingPush,
}

impl Strategy {
    /// Reads the name of a strategy, ignoring case everywhere (the original does so only when it chooses the
    /// strategy, so that `RedBlack` gets no rollback). What nobody knows is [`Strategy::None`], as ever.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "highlander" => Self::Highlander,
            "redblack" => Self::RedBlack,
            "rollingredblack" => Self::RollingRedBlack,
            "monitored" => Self::Monitored,
            "custom" => Self::Custom,
            "rollingpush" => Self::RollingPush,
            _ => Self::None,
        }
    }

    /// Whether the new group starts empty and grows in steps.
    #[must_use]
    pub const fn is_rolling(self) -> bool {
        matches!(self, Self::RollingRedBlack | Self::Monitored)
    }

    /// Whether the strategy creates no group itself.
    #[must_use]
    pub const fn replaces_basic_steps(self) -> bool {
        matches!(self, Self::Custom | Self::RollingPush)
    }
}

/// What has to be so for a sub-stage to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// There is a source server group.
    Source,
    /// The new group was created.
    Deployed,
    /// Creating the new group failed, or waiting for it did; not what came after.
    CreateFailed,
    /// The manual judgment before it was answered with "continue".
    Approved,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "there is a source server group",
            Self::Deployed => "the new server group was created",
            Self::CreateFailed => "creating the new server group failed",
            Self::Approved => "a person approves",
        })
    }
}

/// What of a sub-stage's context is known only when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fill {
    /// `interestingHealthProviderNames`, if any are determined.
    HealthProviders,
    /// `serverGroupName` is the source's.
    OnSource,
    /// `serverGroupName` is the new group's.
    OnDeployed,
    /// `action` and `source`: a share of the source's capacity, or without a source of `savedCapacity`.
    Measure,
    /// `originalServerGroup` is the source's name.
    OriginalServerGroup,
    /// `serverGroup` is the new group's name.
    RolledBack,
    /// `oldServerGroup` and `newServerGroup`.
    OldAndNew,
    /// The groups in the parameters of a validation pipeline.
    PipelineServerGroups,
    /// `parentPipelineId` and `parentStageId` in the parameters of a strategy pipeline.
    ParentExecution,
    /// `asgName`, `regions`, `source`, `deploy.server.groups` of the source, for a change in place.
    ChangeSource,
}

/// One stage that a deployment runs, before or after the group is created.
#[derive(Clone, Debug, PartialEq)]
pub struct SubStage {
    /// The stage's type.
    pub type_: String,
    /// Its name; `{source}` and `{deployed}` stand for groups whose names are known only when it runs.
    pub name: String,
    /// Its context, as far as it is known.
    pub context: Map<String, Value>,
    /// All of these have to hold, else it is skipped.
    pub only_if: Vec<Condition>,
    /// What is added to the context when it runs.
    pub fills: Vec<Fill>,
    /// Whether the deployment goes on, and succeeds, if this stage fails.
    pub continue_on_failure: bool,
}

impl SubStage {
    /// A stage that always runs, with a context that is known.
    pub(super) fn new(type_: &str, name: impl Into<String>, context: Map<String, Value>) -> Self {
        Self {
            type_: type_.to_owned(),
            name: name.into(),
            context,
            only_if: Vec::new(),
            fills: Vec::new(),
            continue_on_failure: false,
        }
    }

    fn only_if(mut self, conditions: &[Condition]) -> Self {
        self.only_if.extend(conditions);
        self
    }

    fn fill(mut self, fills: &[Fill]) -> Self {
        self.fills.extend(fills);
        self
    }

    const fn goes_on(mut self) -> Self {
        self.continue_on_failure = true;
        self
    }

    /// The stage as it runs, or the condition for which it is skipped. Resolving again changes nothing.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn resolved(&self, facts: &Facts) -> Result<Self, Condition> {
        if let Some(missing) = self
            .only_if
            .iter()
            .find(|condition| !facts.hold(**condition))
        {
            return Err(*missing);
        }
        let mut stage = self.clone();
        let source = facts
            .source
            .as_ref()
            .map_or("", |source| source.name.as_str());
        stage.name = stage
            .name
            .replace("{source}", source)
            .replace("{deployed}", facts.deployed.as_deref().unwrap_or(""));
        for fill in &self.fills {
            facts.fill(*fill, &mut stage.context);
        }
        Ok(stage)
    }
}

/// The source server group of a running deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceGroup {
    /// Its account.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its name.
    pub name: String,
}

/// What a running deployment knows and a plan does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The source server group, if there is one.
    pub source: Option<SourceGroup>,
    /// The new group's name, once it is created.
    pub deployed: Option<String>,
    /// Whether a task of the creation failed.
    pub create_failed: bool,
    /// Whether the judgment before was answered with "continue".
    pub approved: bool,
    /// The health providers that were determined.
    pub health_providers: Option<Vec<String>>,
    /// The capacity that was asked for, before a rolling strategy set it to nothing.
    pub saved_capacity: Option<Value>,
    /// The execution.
    pub execution_id: String,
    /// The deploy stage.
    pub stage_id: String,
}

impl Facts {
    const fn hold(&self, condition: Condition) -> bool {
        match condition {
            Condition::Source => self.source.is_some(),
            Condition::Deployed => self.deployed.is_some(),
            Condition::CreateFailed => self.create_failed,
            Condition::Approved => self.approved,
        }
    }

    fn fill(&self, fill: Fill, context: &mut Map<String, Value>) {
        let mut set = |key: &str, value: Value| {
            context.insert(key.to_owned(), value);
        };
        let source_name = self.source.as_ref().map(|source| source.name.clone());
        match fill {
            Fill::HealthProviders => {
                if let Some(providers) = &self.health_providers {
                    set("interestingHealthProviderNames", json!(providers));
                }
            }
            Fill::OnSource => set("serverGroupName", json!(source_name)),
            Fill::OnDeployed => set("serverGroupName", json!(self.deployed)),
            Fill::RolledBack => set("serverGroup", json!(self.deployed)),
            Fill::OriginalServerGroup => set("originalServerGroup", json!(source_name)),
            Fill::OldAndNew => {
                set("oldServerGroup", json!(source_name));
                set("newServerGroup", json!(self.deployed));
            }
            Fill::Measure => match &self.source {
                Some(source) => {
                    set("action", json!("scale_to_server_group"));
                    set(
                        "source",
                        json!({
                            "credentials": source.account, "cloudProvider": "aws",
                            "region": source.region, "serverGroupName": source.name,
                        }),
                    );
                }
                None => {
                    set("action", json!("scale_exact"));
                    if let Some(capacity) = &self.saved_capacity {
                        set("capacity", capacity.clone());
                    }
                }
            },
            Fill::PipelineServerGroups => {
                if let Some(parameters) = context
                    .get_mut("pipelineParameters")
                    .and_then(Value::as_object_mut)
                {
                    for (key, name) in [
                        ("deployedServerGroup", &self.deployed),
                        ("sourceServerGroup", &source_name),
                    ] {
                        if let Some(group) = parameters.get_mut(key).and_then(Value::as_object_mut)
                        {
                            group.insert("serverGroupName".to_owned(), json!(name));
                        }
                    }
                }
            }
            Fill::ParentExecution => {
                if let Some(parameters) = context
                    .get_mut("pipelineParameters")
                    .and_then(Value::as_object_mut)
                {
                    // What the user configured wins.
                    for (key, id) in [
                        ("parentPipelineId", &self.execution_id),
                        ("parentStageId", &self.stage_id),
                    ] {
                        parameters.entry(key).or_insert_with(|| json!(id));
                    }
                }
            }
            Fill::ChangeSource => {
                if let Some(SourceGroup {
                    account,
                    region,
                    name,
                }) = &self.source
                {
                    let mut groups = Map::new();
                    groups.insert(region.clone(), json!([name]));
                    set("region", json!(region));
                    set("regions", json!([region]));
                    set("asgName", json!(name));
                    set("credentials", json!(account));
                    set("deploy.server.groups", Value::Object(groups));
                    set(
                        "source",
                        json!({"asgName": name, "account": account, "region": region, "useSourceCapacity": true}),
                    );
                }
            }
        }
    }
}

/// The plan of a `createServerGroup` stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubStages {
    /// The strategy.
    pub strategy: Strategy,
    /// What the strategy sets in the stage's own context.
    pub context: Map<String, Value>,
    /// What it takes out of it.
    pub removed: Vec<&'static str>,
    /// Stages before the group is created, one after the other.
    pub before: Vec<SubStage>,
    /// Stages after it is up, one after the other.
    pub after: Vec<SubStage>,
    /// Stages after a failure, one after the other; each is tried, even if one before it failed.
    pub on_failure: Vec<SubStage>,
}

/// Why a deployment cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// The context is not an object.
    #[error("the context of a deploy stage is not a JSON object")]
    NotAnObject,
    /// Two different accounts.
    #[error(
        "`account` is `{account}` and `credentials` is `{credentials}`; they are the same thing"
    )]
    TwoAccounts {
        /// One.
        account: String,
        /// The other.
        credentials: String,
    },
    /// No region.
    #[error("the deploy stage has neither `region` nor `availabilityZones`")]
    NoRegion,
    /// No cluster.
    #[error("the deploy stage has neither `moniker.cluster` nor `application`")]
    NoCluster,
    /// A step of a rolling strategy is no percentage.
    #[error("`{key}` has the step {value}, expected whole percents from 0 to 100")]
    Step {
        /// Which list.
        key: &'static str,
        /// The step.
        value: String,
    },
    /// A value has the wrong kind.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// What a deploy stage says that all strategies need.
struct Deploy {
    own: Map<String, Value>,
    base: Map<String, Value>,
    region: String,
    account: Option<String>,
    cluster: String,
    provider: String,
}

impl Deploy {
    fn from_context(context: &Value) -> Result<Self, StrategyError> {
        let own = flattened(context.as_object().ok_or(StrategyError::NotAnObject)?);
        let account = match (
            context::filled_text(&own, "account"),
            context::filled_text(&own, "credentials"),
        ) {
            (Some(account), Some(credentials)) if account != credentials => {
                return Err(StrategyError::TwoAccounts {
                    account,
                    credentials,
                });
            }
            (account, credentials) => account.or(credentials),
        };
        let region = context::filled_text(&own, "region")
            .or_else(|| {
                context::object(&own, "availabilityZones")
                    .and_then(|zones| zones.keys().next().cloned())
            })
            .ok_or(StrategyError::NoRegion)?;
        let moniker = context::object(&own, "moniker");
        let cluster = match moniker.and_then(|moniker| context::filled_text(moniker, "cluster")) {
            Some(cluster) => cluster,
            None => naming::cluster_name(
                &context::text(&own, "application").unwrap_or_default(),
                context::text(&own, "stack").as_deref(),
                context::text(&own, "freeFormDetails").as_deref(),
            )
            .map_err(|_| StrategyError::NoCluster)?,
        };
        let provider =
            context::filled_text(&own, "cloudProvider").unwrap_or_else(|| "aws".to_owned());
        let mut base = Map::new();
        base.insert("region".to_owned(), json!(region));
        base.insert("cluster".to_owned(), json!(cluster));
        base.insert("credentials".to_owned(), json!(account));
        base.insert("cloudProvider".to_owned(), json!(provider));
        if let Some(moniker) = moniker {
            base.insert("moniker".to_owned(), json!(moniker));
        }
        Ok(Self {
            own,
            base,
            region,
            account,
            cluster,
            provider,
        })
    }

    /// The base context and more.
    fn with(&self, more: Value) -> Map<String, Value> {
        merged(self.base.clone(), more)
    }

    fn seconds(&self, keys: &[&str]) -> Result<i64, ContextError> {
        for key in keys {
            match context::integer(&self.own, key)? {
                Some(seconds) if seconds != 0 => return Ok(seconds),
                _ => {}
            }
        }
        Ok(0)
    }

    fn flag(&self, key: &str) -> Result<bool, ContextError> {
        Ok(context::flag(&self.own, key)?.unwrap_or(false))
    }

    fn wait(&self, name: &str, keys: &[&str]) -> Result<Option<SubStage>, ContextError> {
        let seconds = self.seconds(keys)?;
        Ok((seconds > 0).then(|| {
            SubStage::new(
                "wait",
                name,
                merged(Map::new(), json!({"waitTime": seconds})),
            )
        }))
    }

    fn wait_before_cleanup(&self, name: &str) -> Result<Option<SubStage>, ContextError> {
        self.wait(name, &["delayBeforeCleanup", "delayBeforeDisableSec"])
    }

    fn target_location(&self) -> Value {
        json!({"type": "REGION", "value": self.region})
    }
}

/// The context of a stage whose cluster is nested in it, with the cluster's keys at the top.
fn flattened(context: &Map<String, Value>) -> Map<String, Value> {
    let mut own = context.clone();
    if let Some(Value::Object(cluster)) = own.remove("cluster") {
        own.extend(cluster);
    }
    own
}

fn merged(mut context: Map<String, Value>, more: Value) -> Map<String, Value> {
    if let Value::Object(more) = more {
        context.extend(more);
    }
    context
}

/// The stages that a `deploy` stage consists of: one for each of its clusters, all at once, and one if it names a
/// single `cluster` or is one itself.
///
/// # Errors
/// Fails for a context that is no object, and for a cluster without region.
pub fn deploy_stages(context: &Value) -> Result<Vec<SubStage>, StrategyError> {
    let mut rest = context
        .as_object()
        .ok_or(StrategyError::NotAnObject)?
        .clone();
    let mut clusters: Vec<Value> = Vec::new();
    clusters.extend(rest.remove("cluster").filter(Value::is_object));
    if let Some(Value::Array(more)) = rest.remove("clusters") {
        clusters.extend(more);
    }
    if clusters.is_empty() && !rest.is_empty() {
        clusters.push(Value::Object(std::mem::take(&mut rest)));
    }
    clusters
        .into_iter()
        .map(|cluster| {
            let object = cluster.as_object().ok_or(StrategyError::NotAnObject)?;
            let region = context::filled_text(object, "region")
                .or_else(|| context::object(object, "availabilityZones").and_then(|zones| zones.keys().next().cloned()))
                .ok_or(StrategyError::NoRegion)?;
            let whole = context.as_object().ok_or(StrategyError::NotAnObject)?;
            let account = [object, whole]
                .into_iter()
                .find_map(|from| context::filled_text(from, "account").or_else(|| context::filled_text(from, "credentials")));
            let name = format!("Deploy in {region}");
            let more = json!({"account": account, "type": "createServerGroup", "name": name, "cluster": cluster});
            Ok(SubStage::new("createServerGroup", name, merged(rest.clone(), more)))
        })
        .collect()
}

/// Plans a `createServerGroup` stage.
///
/// | strategy | after the new group is up |
/// |---|---|
/// | none | |
/// | highlander | shrink to 1, active groups too |
/// | redblack | shrink to `maxRemainingAsgs` (only what is disabled already: before the disable), wait, disable, then wait and scale down if asked |
/// | rollingredblack | find the new group, pin the source, for each step grow, wait, validate, disable that share; then scale down or unpin |
/// | monitored | as rolling, watched by the monitor; then unpin, shrink, tell the monitor |
/// | custom | the user's pipeline |
/// | rollingpush | change the source's launch template, replace instances |
///
/// All but the rolling ones end with the source's minimum restored.
///
/// # Errors
/// Fails for a context that cannot be read, see [`StrategyError`].
pub fn sub_stages(create_server_group_context: &Value) -> Result<SubStages, StrategyError> {
    let deploy = Deploy::from_context(create_server_group_context)?;
    let strategy = Strategy::from_name(&context::text(&deploy.own, "strategy").unwrap_or_default());
    let mut plan = SubStages {
        strategy,
        ..SubStages::default()
    };
    if strategy.is_rolling() {
        plan.context = emptied(&deploy)?;
    }
    match strategy {
        Strategy::None => {}
        Strategy::Highlander => plan.after.push(highlander(&deploy)),
        Strategy::RedBlack => plan.after = red_black(&deploy)?,
        Strategy::RollingRedBlack => {
            plan.after = rolling_red_black(&deploy)?;
        }
        Strategy::Monitored => {
            // Its own failure actions say what is rolled back.
            plan.removed.push("rollback");
            plan.after = monitored(&deploy)?;
        }
        Strategy::Custom => plan.after.push(custom(&deploy)),
        Strategy::RollingPush => plan.after = rolling_push(&deploy)?,
    }
    if deploy.provider == "aws" {
        if strategy.is_rolling() {
            plan.before.extend(check_deploy_preconditions(&deploy)?);
        } else {
            let context = json!({"credentials": deploy.account, "cloudProvider": deploy.provider});
            let context = merged(Map::new(), context);
            plan.after.push(SubStage::new(
                "applySourceServerGroupCapacity",
                "restoreMinCapacityFromSnapshot",
                context,
            ));
        }
    }
    plan.on_failure = on_failure(&deploy, strategy)?;
    Ok(plan)
}

/// A rolling strategy creates the group empty and remembers the capacity it was asked for.
fn emptied(deploy: &Deploy) -> Result<Map<String, Value>, ContextError> {
    let mut changes = Map::new();
    if deploy.flag("useSourceCapacity")? {
        changes.insert("useSourceCapacity".to_owned(), json!(false));
    }
    if deploy.seconds(&["targetSize"])? != 0 {
        changes.insert("targetSize".to_owned(), json!(0));
    }
    let saved = ["savedCapacity", "capacity"]
        .iter()
        .find_map(|key| deploy.own.get(*key).filter(|value| !value.is_null()));
    if let Some(saved) = saved {
        changes.insert("savedCapacity".to_owned(), saved.clone());
    }
    changes.insert(
        "capacity".to_owned(),
        json!({"min": 0, "desired": 0, "max": 0}),
    );
    Ok(changes)
}

fn check_deploy_preconditions(deploy: &Deploy) -> Result<Option<SubStage>, ContextError> {
    let most = context::integer(&deploy.own, "maxInitialAsgs")?.unwrap_or(1);
    if most == -1 {
        return Ok(None);
    }
    let mut check = merged(
        Map::new(),
        json!({
            "onlyEnabledServerGroups": true, "comparison": "<=", "expected": most,
            "regions": [deploy.region], "cluster": deploy.cluster, "credentials": deploy.account,
        }),
    );
    for key in ["application", "moniker"] {
        if let Some(value) = deploy.own.get(key) {
            check.insert(key.to_owned(), value.clone());
        }
    }
    let context = json!({
        "credentials": deploy.account, "cloudProvider": deploy.provider,
        "preconditionType": "clusterSize", "context": check,
    });
    Ok(Some(SubStage::new(
        "checkPreconditions",
        "Check Deploy Preconditions",
        merged(Map::new(), context),
    )))
}

fn highlander(deploy: &Deploy) -> SubStage {
    let context =
        json!({"shrinkToSize": 1, "allowDeleteActive": true, "retainLargerOverNewer": false});
    SubStage::new("shrinkCluster", "shrinkCluster", deploy.with(context))
        .fill(&[Fill::HealthProviders])
}

/// The stage that a `shrinkCluster` runs first: groups that may be destroyed while they take traffic are disabled.
///
/// # Errors
/// Fails for a flag that is none.
pub fn disable_before_shrink(
    shrink: &Map<String, Value>,
) -> Result<Option<SubStage>, ContextError> {
    let wanted = context::flag(shrink, "allowDeleteActive")?.unwrap_or(false)
        && context::flag(shrink, "runDisableClusterStep")?.unwrap_or(true);
    if !wanted {
        return Ok(None);
    }
    let mut context = shrink.clone();
    for (key, from) in [
        ("remainingEnabledServerGroups", "shrinkToSize"),
        ("preferLargerOverNewer", "retainLargerOverNewer"),
    ] {
        if let Some(value) = shrink.get(from).filter(|value| !value.is_null()) {
            context.insert(key.to_owned(), value.clone());
        }
    }
    let nothing_left = context::integer(shrink, "shrinkToSize")? == Some(0);
    context.insert("continueIfClusterNotFound".to_owned(), json!(nothing_left));
    Ok(Some(SubStage::new(
        "disableCluster",
        "disableCluster",
        context,
    )))
}

fn scale_down(deploy: &Deploy, allow_active: bool) -> SubStage {
    let context = json!({
        "allowScaleDownActive": allow_active, "remainingFullSizeServerGroups": 1, "preferLargerOverNewer": false,
    });
    SubStage::new("scaleDownCluster", "scaleDown", deploy.with(context))
}

fn red_black(deploy: &Deploy) -> Result<Vec<SubStage>, ContextError> {
    let mut stages = Vec::new();
    let remaining = deploy.seconds(&["maxRemainingAsgs"])?;
    if remaining > 0 {
        let context = json!({
            "shrinkToSize": remaining, "allowDeleteActive": deploy.flag("allowDeleteActive")?, "retainLargerOverNewer": false,
        });
        stages.push(
            SubStage::new("shrinkCluster", "shrinkCluster", deploy.with(context))
                .fill(&[Fill::HealthProviders]),
        );
    }
    stages.extend(deploy.wait_before_cleanup("Wait Before Disable")?);
    let context = json!({"remainingEnabledServerGroups": 1, "preferLargerOverNewer": false});
    stages.push(
        SubStage::new("disableCluster", "disableCluster", deploy.with(context))
            .fill(&[Fill::HealthProviders]),
    );
    if deploy.flag("scaleDown")? {
        stages.extend(deploy.wait("Wait Before Scale Down", &["delayBeforeScaleDownSec"])?);
        stages.push(
            scale_down(deploy, deploy.flag("allowScaleDownActive")?).fill(&[Fill::HealthProviders]),
        );
    }
    Ok(stages
        .into_iter()
        .map(|stage| stage.only_if(&[Condition::Source]))
        .collect())
}

/// The steps of a rolling strategy, ending with 100.
fn steps(deploy: &Deploy, key: &'static str) -> Result<Vec<i64>, StrategyError> {
    let listed = deploy
        .own
        .get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut steps = Vec::new();
    for step in listed {
        match context::whole_number(key, step)? {
            Some(percent) if (0..=100).contains(&percent) => steps.push(percent),
            _ => {
                return Err(StrategyError::Step {
                    key,
                    value: step.to_string(),
                });
            }
        }
    }
    if steps.last() != Some(&100) {
        steps.push(100);
    }
    Ok(steps)
}

fn pin_source(deploy: &Deploy, name: &str, what: &str) -> SubStage {
    let mut context = deploy.with(json!({"useNameAsLabel": true}));
    context.insert(what.to_owned(), json!(true));
    SubStage::new("pinServerGroup", name, context)
        .only_if(&[Condition::Source])
        .fill(&[Fill::OnSource, Fill::Measure])
}

fn disable_source(deploy: &Deploy, percent: i64) -> SubStage {
    SubStage::new(
        "disableServerGroup",
        format!("Disable {percent}% of Traffic on {{source}}"),
        deploy.with(json!({"desiredPercentage": percent})),
    )
    .only_if(&[Condition::Source])
    .fill(&[Fill::OnSource])
}

fn find_deployed(deploy: &Deploy) -> SubStage {
    let context =
        json!({"target": "current_asg_dynamic", "targetLocation": deploy.target_location()});
    SubStage::new(
        "determineTargetServerGroup",
        "Determine Deployed Server Group",
        deploy.with(context),
    )
}

/// What a resize step has in its context; the share is pinned until the last step restores the minimum.
fn grow(deploy: &Deploy, name: String, percent: i64, pinned: bool) -> SubStage {
    let mut context = deploy.with(json!({
        "target": "current_asg_dynamic", "targetLocation": deploy.target_location(), "scalePct": percent,
        "pinCapacity": pinned, "pinMinimumCapacity": pinned, "unpinMinimumCapacity": !pinned, "useNameAsLabel": true,
    }));
    if let Some(percentage) = deploy
        .own
        .get("targetHealthyDeployPercentage")
        .filter(|value| !value.is_null())
    {
        context.insert(
            "targetHealthyDeployPercentage".to_owned(),
            percentage.clone(),
        );
    }
    SubStage::new("resizeServerGroup", name, context).fill(&[Fill::Measure])
}

fn rolling_red_black(deploy: &Deploy) -> Result<Vec<SubStage>, StrategyError> {
    let mut stages = vec![
        find_deployed(deploy),
        pin_source(deploy, "Pin {source}", "pinMinimumCapacity"),
    ];
    for percent in steps(deploy, "targetPercentages")? {
        stages.push(grow(
            deploy,
            format!("Grow to {percent}% of Desired Size"),
            percent,
            percent < 100,
        ));
        stages.extend(deploy.wait_before_cleanup("wait")?);
        stages.extend(validation_pipeline(deploy, percent));
        stages.push(disable_source(deploy, percent));
    }
    let needs_source = &[Condition::Source];
    if deploy.flag("scaleDown")? {
        stages.extend(
            deploy
                .wait("Wait Before Scale Down", &["delayBeforeScaleDownSec"])?
                .map(|stage| stage.only_if(needs_source)),
        );
        stages.push(scale_down(deploy, false).only_if(needs_source));
    } else {
        stages.push(pin_source(deploy, "Unpin {source}", "unpinMinimumCapacity"));
    }
    Ok(stages)
}

fn validation_pipeline(deploy: &Deploy, percent: i64) -> Option<SubStage> {
    let before = context::object(&deploy.own, "pipelineBeforeCleanup")?;
    let application = context::filled_text(before, "application")?;
    let pipeline = context::filled_text(before, "pipelineId")?;
    let group = json!({"region": deploy.region, "account": deploy.account, "cloudProvider": deploy.provider});
    let parameters = merged(
        context::object(before, "pipelineParameters")
            .cloned()
            .unwrap_or_default(),
        json!({"deployedServerGroup": group, "sourceServerGroup": group, "percentageComplete": percent}),
    );
    let context = json!({
        "application": application, "pipelineApplication": application,
        "pipeline": pipeline, "pipelineParameters": parameters,
    });
    let stage = SubStage::new(
        "pipeline",
        "Run Validation Pipeline",
        merged(Map::new(), context),
    );
    Some(stage.fill(&[Fill::PipelineServerGroups]))
}

fn monitored(deploy: &Deploy) -> Result<Vec<SubStage>, StrategyError> {
    let mut find = find_deployed(deploy).fill(&[Fill::OnDeployed]);
    find.context.remove("target");
    let mut stages = vec![
        find,
        pin_source(deploy, "Pin {source}", "pinMinimumCapacity"),
    ];
    stages.extend(monitor_stage(
        deploy,
        "notifyDeployStarting",
        "Notify monitored deploy starting",
        json!({}),
    ));
    for percent in steps(deploy, "deploySteps")? {
        let name = format!("Grow {{deployed}} to {percent}% of Desired Size");
        let mut step = grow(deploy, name, percent, true);
        step.context
            .insert("unpinMinimumCapacity".to_owned(), json!(false));
        stages.push(step);
        let mut disable = disable_source(deploy, percent);
        disable
            .context
            .insert("useNameAsLabel".to_owned(), json!(true));
        stages.push(disable);
        stages.extend(monitor_stage(
            deploy,
            "evaluateDeploymentHealth",
            "Evaluate health of deployed instances",
            json!({"currentProgress": percent}),
        ));
    }
    let mut unpin =
        grow(deploy, "Unpin {deployed}".to_owned(), 100, false).fill(&[Fill::OnDeployed]);
    unpin.type_ = "pinServerGroup".to_owned();
    stages.push(unpin);
    let needs_source = &[Condition::Source];
    if deploy.flag("scaleDown")? {
        stages.extend(
            deploy
                .wait("Wait Before Scale Down", &["delayBeforeScaleDownSec"])?
                .map(|stage| stage.only_if(needs_source)),
        );
        stages.push(scale_down(deploy, false).only_if(needs_source).goes_on());
    } else {
        stages.push(pin_source(deploy, "Unpin {source}", "unpinMinimumCapacity"));
    }
    let remaining = deploy.seconds(&["maxRemainingAsgs"])?;
    if remaining > 0 {
        let context = json!({"shrinkToSize": remaining, "allowDeleteActive": false, "retainLargerOverNewer": false});
        stages
            .push(SubStage::new("shrinkCluster", "shrinkCluster", deploy.with(context)).goes_on());
    }
    let completed = monitor_stage(
        deploy,
        "notifyDeployCompleted",
        "Notify monitored deploy complete",
        json!({"hasDeploymentFailed": false}),
    );
    stages.extend(completed.map(SubStage::goes_on));
    Ok(stages)
}

/// A stage that talks to the deployment monitor; none without a monitor.
fn monitor_stage(deploy: &Deploy, type_: &str, name: &str, more: Value) -> Option<SubStage> {
    let monitor = context::object(&deploy.own, "deploymentMonitor")?;
    context::filled_text(monitor, "id")?;
    let context = json!({
        "account": deploy.account, "cloudProvider": deploy.provider, "region": deploy.region, "deploymentMonitor": monitor,
    });
    let context = merged(merged(Map::new(), context), more);
    Some(SubStage::new(type_, name, context).fill(&[Fill::OldAndNew]))
}

fn custom(deploy: &Deploy) -> SubStage {
    let own = |key: &str| deploy.own.get(key).cloned().unwrap_or(Value::Null);
    let mut parameters =
        deploy.with(json!({"strategy": true, "clone": false, "application": own("application")}));
    if let Some(more) = context::object(&deploy.own, "pipelineParameters") {
        parameters.extend(more.clone());
    }
    let context = json!({
        "application": own("application"), "pipelineApplication": own("strategyApplication"),
        "pipelineId": own("strategyPipeline"), "pipelineParameters": parameters,
    });
    SubStage::new("pipeline", "pipeline", merged(Map::new(), context))
        .fill(&[Fill::ParentExecution])
}

fn rolling_push(deploy: &Deploy) -> Result<Vec<SubStage>, ContextError> {
    let mut context = deploy.own.clone();
    context.insert("useSourceCapacity".to_owned(), json!(true));
    let (type_, name) = if deploy.flag("setLaunchTemplate")? {
        ("updateLaunchTemplate", "updateLaunchTemplate")
    } else {
        ("modifyAsgLaunchConfiguration", "modifyLaunchConfiguration")
    };
    let in_place = |type_, name| {
        SubStage::new(type_, name, context.clone())
            .only_if(&[Condition::Source])
            .fill(&[Fill::ChangeSource])
    };
    let mut stages = vec![in_place(type_, name)];
    if let Some(termination) = context::object(&deploy.own, "termination")
        && (context::flag(termination, "relaunchAllInstances")?.unwrap_or(false)
            || context::integer(termination, "totalRelaunches")?.unwrap_or(0) > 0)
    {
        stages.push(in_place("rollingPush", "rollingPush"));
    }
    Ok(stages)
}

const MINUTE_MILLIS: i64 = 60_000;

/// What undoes a failed deployment, in line.
fn on_failure(deploy: &Deploy, strategy: Strategy) -> Result<Vec<SubStage>, ContextError> {
    let mut stages = Vec::new();
    let empty = Map::new();
    let rollback = context::object(&deploy.own, "rollback").unwrap_or(&empty);
    if strategy != Strategy::Monitored && context::flag(rollback, "onFailure")?.unwrap_or(false) {
        match strategy {
            Strategy::RollingRedBlack => {
                stages.push(
                    roll_back(deploy, "enableAndDisableOnly").only_if(&[Condition::Deployed]),
                );
            }
            // Once the new group is up, what failed is the tear-down of the old ones: they are not brought back.
            Strategy::RedBlack => stages.push(
                roll_back(deploy, "disableOnly")
                    .only_if(&[Condition::Deployed, Condition::CreateFailed]),
            ),
            _ => {}
        }
        if context::flag(rollback, "destroyLatest")?.unwrap_or(false) {
            stages.push(destroy(deploy, "Destroy {deployed}"));
        }
    }
    match strategy {
        Strategy::RollingRedBlack => stages.push(unpin_after_failure(deploy)),
        Strategy::Monitored => {
            stages.extend(monitored_failure_actions(deploy)?);
            stages.push(unpin_after_failure(deploy));
            let failed = json!({"hasDeploymentFailed": true});
            let told = monitor_stage(
                deploy,
                "notifyDeployCompleted",
                "Notify monitored deploy complete",
                failed,
            );
            stages.extend(told.map(|stage| stage.only_if(&[Condition::Source])));
        }
        _ => {}
    }
    Ok(stages)
}

fn unpin_after_failure(deploy: &Deploy) -> SubStage {
    let mut unpin = pin_source(deploy, "Unpin {source}", "unpinMinimumCapacity");
    unpin
        .context
        .insert("stageTimeoutMs".to_owned(), json!(20 * MINUTE_MILLIS));
    unpin
}

fn roll_back(deploy: &Deploy, how: &str) -> SubStage {
    let mut additional = Map::new();
    additional.insert(how.to_owned(), json!(true));
    additional.insert("onlyEnabledServerGroups".to_owned(), json!(true));
    let context = json!({
        "credentials": deploy.account, "cloudProvider": deploy.provider, "regions": [deploy.region],
        "stageTimeoutMs": 30 * MINUTE_MILLIS, "additionalRollbackContext": additional,
    });
    SubStage::new(
        "rollbackCluster",
        format!("Rollback {}", deploy.cluster),
        merged(Map::new(), context),
    )
    .fill(&[Fill::RolledBack])
}

fn destroy(deploy: &Deploy, name: &str) -> SubStage {
    let context = json!({
        "credentials": deploy.account, "cloudProvider": deploy.provider, "cloudProviderType": deploy.provider,
        "cluster": deploy.cluster, "region": deploy.region, "stageTimeoutMs": 5 * MINUTE_MILLIS,
    });
    SubStage::new("destroyServerGroup", name, merged(Map::new(), context))
        .only_if(&[Condition::Deployed])
        .fill(&[Fill::OnDeployed])
}

/// `failureActions` of a monitored deployment. `Manual` asks first (the original rolls back as with `Automatic`).
fn monitored_failure_actions(deploy: &Deploy) -> Result<Vec<SubStage>, ContextError> {
    let empty = Map::new();
    let actions = context::object(&deploy.own, "failureActions").unwrap_or(&empty);
    let asks = match context::text(actions, "rollback").as_deref() {
        Some("Automatic") => false,
        Some("Manual") => true,
        _ => return Ok(Vec::new()),
    };
    let conditions = [Condition::Source, Condition::Deployed];
    let mut stages = Vec::new();
    if asks {
        let context = json!({"instructions": format!("The deployment to {} failed. Roll back?", deploy.cluster)});
        stages.push(
            SubStage::new("manualJudgment", "Roll back?", merged(Map::new(), context))
                .only_if(&conditions),
        );
    }
    stages.push(
        roll_back(deploy, "enableAndDisableOnly")
            .fill(&[Fill::OriginalServerGroup])
            .only_if(&conditions),
    );
    if context::flag(actions, "destroyInstances")?.unwrap_or(false) {
        stages.push(
            destroy(deploy, "Destroy {deployed} due to rollback").only_if(&[Condition::Source]),
        );
    }
    if asks {
        for stage in stages.iter_mut().skip(1) {
            stage.only_if.push(Condition::Approved);
        }
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(more: Value) -> SubStages {
        let context = json!({
            "account": "prod", "application": "shop", "stack": "web", "region": "us-east-1",
            "capacity": {"min": 1, "desired": 3, "max": 6},
        });
        let context = merged(context.as_object().unwrap().clone(), more);
        sub_stages(&Value::Object(context)).unwrap()
    }

    fn names(stages: &[SubStage]) -> Vec<&str> {
        stages.iter().map(|stage| stage.name.as_str()).collect()
    }

    #[test]
    fn red_black_shrinks_before_it_disables() {
        let plan = plan(
            json!({"strategy": "redblack", "maxRemainingAsgs": 2, "scaleDown": true, "delayBeforeDisableSec": 60}),
        );
        assert_eq!(
            names(&plan.after),
            [
                "shrinkCluster",
                "Wait Before Disable",
                "disableCluster",
                "scaleDown",
                "restoreMinCapacityFromSnapshot"
            ]
        );
        let needs_source = |stage: usize| plan.after[stage].only_if.contains(&Condition::Source);
        assert!(needs_source(0) && !needs_source(4));
    }

    #[test]
    fn the_case_of_a_strategys_name_changes_nothing() {
        let rollback = json!({"onFailure": true});
        let (one, other) = (
            plan(json!({"strategy": "RedBlack", "rollback": rollback})),
            plan(json!({"strategy": "redblack", "rollback": rollback})),
        );
        assert_eq!(one, other);
        assert_eq!(names(&one.on_failure), ["Rollback shop-web"]);
    }

    #[test]
    fn rolling_red_black_starts_empty_and_ends_with_the_source_unpinned() {
        let plan = plan(json!({"strategy": "rollingredblack", "targetPercentages": [50]}));
        assert_eq!(
            plan.context["capacity"],
            json!({"min": 0, "desired": 0, "max": 0})
        );
        assert_eq!(
            plan.context["savedCapacity"],
            json!({"min": 1, "desired": 3, "max": 6})
        );
        let facts = Facts {
            source: Some(SourceGroup {
                name: "shop-web-v001".to_owned(),
                ..SourceGroup::default()
            }),
            ..Facts::default()
        };
        let run: Vec<SubStage> = plan
            .after
            .iter()
            .filter_map(|stage| stage.resolved(&facts).ok())
            .collect();
        assert_eq!(
            names(&run),
            [
                "Determine Deployed Server Group",
                "Pin shop-web-v001",
                "Grow to 50% of Desired Size",
                "Disable 50% of Traffic on shop-web-v001",
                "Grow to 100% of Desired Size",
                "Disable 100% of Traffic on shop-web-v001",
                "Unpin shop-web-v001",
            ]
        );
        assert!(!run[6].context.contains_key("pinMinimumCapacity"));
        let without: Vec<SubStage> = plan
            .after
            .iter()
            .filter_map(|stage| stage.resolved(&Facts::default()).ok())
            .collect();
        assert_eq!(without[1].context["action"], "scale_exact");
    }

    #[test]
    fn a_manual_rollback_asks() {
        let plan = plan(
            json!({"strategy": "monitored", "failureActions": {"rollback": "Manual", "destroyInstances": true}}),
        );
        assert_eq!(
            names(&plan.on_failure),
            [
                "Roll back?",
                "Rollback shop-web",
                "Destroy {deployed} due to rollback",
                "Unpin {source}"
            ]
        );
        assert!(plan.on_failure[1].only_if.contains(&Condition::Approved));
    }

    #[test]
    fn a_deploy_stage_is_one_stage_for_each_cluster() {
        let stages = deploy_stages(
            &json!({"clusters": [{"region": "a", "account": "prod"}, {"availabilityZones": {"b": []}}]}),
        );
        assert_eq!(names(&stages.unwrap()), ["Deploy in a", "Deploy in b"]);
        assert_eq!(
            deploy_stages(&json!({"clusters": [{}]})),
            Err(StrategyError::NoRegion)
        );
    }
}
