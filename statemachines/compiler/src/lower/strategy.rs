//! Deployment strategies: the sub-stages before and after a server group is created, and when that failed.
//!
//! What the strategy does to the older server groups is planned when the pipeline is compiled, before anybody knows
//! whether there are any: those sub-stages carry `only_if`.

use gennaker_domain::Problem;
use serde_json::{Map, Value, json};

use super::{Spec, deploy::region};
use crate::{options::Options, parse::Stage, validate::shortened};

/// Sub-stages that only make sense if there is an older server group to take over from.
const SOURCE: &str = "source-server-group";

/// Adds the sub-stages of `spec`'s strategy, whose name ignores case; as in Spinnaker, an unknown one is none.
pub(super) fn plan(
    spec: &mut Spec,
    stage: &Stage,
    path: &str,
    options: &Options,
    problems: &mut Vec<Problem>,
) {
    let written = spec
        .context
        .get("strategy")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let strategy = written.to_lowercase();
    let common = Common::of(&spec.context);
    let mut wrong = |code: &str, message: String, hint: &str| {
        problems.push(
            Problem::error(code, format!("{path}.strategy"), message)
                .at_stage(&stage.ref_id)
                .with_hint(hint),
        );
    };
    match strategy.as_str() {
        "redblack" => red_black(spec, &common),
        "highlander" => highlander(spec, &common),
        "rollingredblack" => rolling_red_black(spec, &common),
        "monitored" => monitored(spec, &common),
        "custom" => custom(spec, &common),
        "rollingpush" => wrong(
            "strategy-refused",
            "`rollingpush` replaces the instances of the only server group, so that nothing is left to go back to"
                .to_owned(),
            "use `redblack`, or `rollingredblack` to move traffic step by step",
        ),
        "cfrollingredblack" => wrong(
            "outside-aws",
            "`cfrollingredblack` belongs to Cloud Foundry; Gennaker deploys to AWS".to_owned(),
            "use `rollingredblack`",
        ),
        _ if written.contains("${") => wrong(
            "strategy-not-literal",
            format!(
                "the strategy is the expression `{}`: its stages have to be known before they run",
                shortened(written)
            ),
            "write the strategy's name, or a pipeline for each",
        ),
        _ => {}
    }
    if !matches!(strategy.as_str(), "rollingredblack" | "monitored") {
        capacity_of_the_source(spec, &common);
    }
    rollback(spec, &strategy, &common, options, stage, path, problems);
    // Each is tried, also when one before it failed; the deploy stays failed.
    spec.on_failure = std::mem::take(&mut spec.on_failure)
        .into_iter()
        .map(best_effort)
        .collect();
}

/// What every sub-stage of a strategy carries.
struct Common {
    fields: Map<String, Value>,
    credentials: Value,
    cloud_provider: Value,
}

impl Common {
    fn of(context: &Map<String, Value>) -> Self {
        let field = |name: &str| context.get(name).filter(|value| !value.is_null()).cloned();
        let credentials = field("account").or_else(|| field("credentials"));
        let cloud_provider = field("cloudProvider")
            .or_else(|| field("provider"))
            .unwrap_or_else(|| json!("aws"));
        let mut fields = Map::new();
        fields.insert("cloudProvider".to_owned(), cloud_provider.clone());
        if let Some(cluster) = cluster_name(context) {
            fields.insert("cluster".to_owned(), json!(cluster));
        }
        let credentials = credentials.unwrap_or(Value::Null);
        fields.insert("credentials".to_owned(), credentials.clone());
        for copied in ["moniker", "interestingHealthProviderNames"] {
            if let Some(value) = field(copied) {
                fields.insert(copied.to_owned(), value);
            }
        }
        if let Some(region) = region(context) {
            fields.insert("region".to_owned(), json!(region));
        }
        Self {
            fields,
            credentials,
            cloud_provider,
        }
    }

    fn with(&self, more: Value) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        fields
    }
}

/// `app-stack-detail`, by the rules of server group names; the moniker's own cluster wins.
fn cluster_name(context: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| {
        context
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let moniker = context
        .get("moniker")
        .and_then(|moniker| moniker.get("cluster"))
        .and_then(Value::as_str);
    if let Some(cluster) = moniker.filter(|cluster| !cluster.is_empty()) {
        return Some(cluster.to_owned());
    }
    let application = text("application");
    if application.is_empty() {
        return None;
    }
    let (stack, detail) = (text("stack"), text("freeFormDetails"));
    Some(match (stack.is_empty(), detail.is_empty()) {
        (true, true) => application.to_owned(),
        (false, true) => format!("{application}-{stack}"),
        // The empty stack keeps its dash, or the detail would be read as a stack.
        _ => format!("{application}-{stack}-{detail}"),
    })
}

/// The first of these numbers that is set and not zero: a literal one, or an expression that may be.
fn delay(context: &Map<String, Value>, names: &[&str]) -> Option<Value> {
    names.iter().find_map(|name| {
        let value = context.get(*name)?;
        let positive = match value {
            Value::Number(number) => number.as_f64()? > 0.0,
            Value::String(text) if text.contains("${") => true,
            Value::String(text) => text.trim().parse::<f64>().ok()? > 0.0,
            _ => false,
        };
        positive.then(|| value.clone())
    })
}

fn is_true(context: &Map<String, Value>, name: &str) -> bool {
    match context.get(name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text.contains("${"),
        _ => false,
    }
}

fn flag_or_false(context: &Map<String, Value>, name: &str) -> Value {
    context
        .get(name)
        .filter(|value| !value.is_null())
        .cloned()
        .unwrap_or(Value::Bool(false))
}

fn wait(name: &str, seconds: Value) -> Spec {
    let mut context = Map::new();
    context.insert("waitTime".to_owned(), seconds);
    Spec::of("wait", name, context)
}

/// Red/black: shrink the *disabled* groups first, then disable the older one, then perhaps scale it down.
fn red_black(spec: &mut Spec, common: &Common) {
    let context = &spec.context;
    let mut after = Vec::new();
    if let Some(remaining) = delay(context, &["maxRemainingAsgs"]) {
        after.push(shrink(context, common, remaining));
    }
    if let Some(seconds) = delay(context, &["delayBeforeCleanup", "delayBeforeDisableSec"]) {
        after.push(wait("Wait Before Disable", seconds));
    }
    let how = json!({"remainingEnabledServerGroups": 1, "preferLargerOverNewer": false});
    after.push(Spec::of(
        "disableCluster",
        "disableCluster",
        common.with(how),
    ));
    if is_true(context, "scaleDown") {
        let allow_active = flag_or_false(context, "allowScaleDownActive");
        after.extend(scale_down(spec, common, allow_active));
    }
    spec.after = after
        .into_iter()
        .map(|stage| stage.only_if(SOURCE))
        .collect();
}

/// Highlander: when the new group is up, all others go, disabled before they are destroyed.
fn highlander(spec: &mut Spec, common: &Common) {
    let shrink = json!({
        "shrinkToSize": 1,
        "allowDeleteActive": true,
        "retainLargerOverNewer": false,
    });
    let mut shrink_stage = Spec::of(
        "shrinkCluster",
        "shrinkCluster",
        common.with(shrink.clone()),
    );
    let mut disable = common.with(shrink);
    disable.insert("remainingEnabledServerGroups".to_owned(), json!(1));
    disable.insert("preferLargerOverNewer".to_owned(), json!(false));
    disable.insert("continueIfClusterNotFound".to_owned(), json!(false));
    shrink_stage
        .before
        .push(vec![Spec::of("disableCluster", "disableCluster", disable)]);
    spec.after.push(shrink_stage);
}

/// With `useSourceCapacity` the new group starts with the minimum pinned to what the old one runs, so that it cannot
/// shrink while traffic moves; the last sub-stage gives it the old minimum back.
fn capacity_of_the_source(spec: &mut Spec, common: &Common) {
    let fields = json!({"cloudProvider": common.cloud_provider, "credentials": common.credentials});
    let fields = |more: Value| {
        let mut all = fields.as_object().cloned().unwrap_or_default();
        all.extend(more.as_object().cloned().unwrap_or_default());
        all
    };
    if is_true(&spec.context, "useSourceCapacity") {
        let own = &spec.context;
        let mut context = common.with(json!({"useSourceCapacity": true}));
        for copied in ["source", "preferSourceCapacity", "capacity"] {
            if let Some(value) = own.get(copied) {
                context.insert(copied.to_owned(), value.clone());
            }
        }
        spec.before.push(vec![Spec::of(
            "captureSourceServerGroupCapacity",
            "snapshotSourceServerGroup",
            context,
        )]);
    }
    spec.after.push(Spec::of(
        "applySourceServerGroupCapacity",
        "restoreMinCapacityFromSnapshot",
        fields(json!({})),
    ));
}

/// A sub-stage that works on the group that the deploy found to take over from.
fn on_the_source(stage_type: &str, name: impl Into<String>, common: &Common, more: Value) -> Spec {
    let mut context = common.with(json!({"useSourceServerGroup": true, "useNameAsLabel": true}));
    if let Value::Object(more) = more {
        context.extend(more);
    }
    Spec::of(stage_type, name, context).only_if(SOURCE)
}

/// Pins the minimum of the older group to what it runs now, so that it cannot shrink while traffic moves.
fn pin(common: &Common) -> Spec {
    let how = json!({"action": "scale_to_server_group", "pinMinimumCapacity": true});
    on_the_source("pinServerGroup", "Pin the source server group", common, how)
}

fn unpin(common: &Common) -> Spec {
    let how = json!({"action": "scale_to_server_group", "unpinMinimumCapacity": true});
    on_the_source(
        "pinServerGroup",
        "Unpin the source server group",
        common,
        how,
    )
}

/// Not more groups with traffic than expected before the new one comes: one, unless `maxInitialAsgs` says otherwise;
/// -1 is any number.
fn check_first(spec: &mut Spec, common: &Common) {
    let expected = spec
        .context
        .get("maxInitialAsgs")
        .filter(|value| !value.is_null())
        .cloned()
        .unwrap_or_else(|| json!(1));
    if expected.as_f64() == Some(-1.0) {
        return;
    }
    let mut of = common.fields.clone();
    let region = of.shift_remove("region");
    of.shift_remove("cloudProvider");
    of.shift_remove("interestingHealthProviderNames");
    if let Some(application) = spec.context.get("application") {
        of.insert("application".to_owned(), application.clone());
    }
    of.insert(
        "regions".to_owned(),
        json!(region.into_iter().collect::<Vec<_>>()),
    );
    of.insert("onlyEnabledServerGroups".to_owned(), json!(true));
    of.insert("comparison".to_owned(), json!("<="));
    of.insert("expected".to_owned(), expected);
    let context = json!({
        "preconditionType": "clusterSize",
        "cloudProvider": common.cloud_provider,
        "credentials": common.credentials,
        "context": of,
    });
    let context = context.as_object().cloned().unwrap_or_default();
    let check = Spec::of("checkPreconditions", "Check Deploy Preconditions", context);
    spec.before.push(vec![check]);
}

/// Creates the new group empty: it grows by the steps that follow, to the capacity that is kept as `savedCapacity`.
fn start_empty(spec: &mut Spec) -> Value {
    let context = &mut spec.context;
    let saved = context.get("capacity").cloned().unwrap_or(Value::Null);
    context.insert("savedCapacity".to_owned(), saved.clone());
    context.insert(
        "capacity".to_owned(),
        json!({"min": 0, "max": 0, "desired": 0}),
    );
    context.insert("useSourceCapacity".to_owned(), json!(false));
    if context
        .get("targetSize")
        .is_some_and(|size| !size.is_null())
    {
        context.insert("targetSize".to_owned(), json!(0));
    }
    saved
}

/// The percentages of a field, up to 100, which is always the last.
fn percentages(context: &Map<String, Value>, field: &str) -> Vec<i64> {
    let mut list: Vec<i64> = context
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|value| match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        })
        .filter(|percentage| (0..=100).contains(percentage))
        // Each step is three stages or more; nobody means a hundred and one of them.
        .take(101)
        .collect();
    if list.last() != Some(&100) {
        list.push(100);
    }
    list
}

fn determine_target(common: &Common) -> Spec {
    let mut context = common.with(json!({"target": "current_asg_dynamic"}));
    if let Some(region) = context.get("region").cloned() {
        let location = json!({"type": "REGION", "value": region});
        context.insert("targetLocation".to_owned(), location);
    }
    Spec::of(
        "determineTargetServerGroup",
        "Determine Deployed Server Group",
        context,
    )
}

/// Grows the new group to a percentage of the older one, or of its own capacity if there is no older one.
fn grow(
    name: String,
    percentage: i64,
    pinned: bool,
    common: &Common,
    of: &Value,
    spec: &Spec,
) -> Spec {
    let mut context = common.with(json!({
        "action": "scale_to_server_group",
        "capacity": of,
        "useSourceServerGroup": true,
        "useNameAsLabel": true,
        "target": "current_asg_dynamic",
        "scalePct": percentage,
        "pinCapacity": pinned,
        "pinMinimumCapacity": pinned,
        "unpinMinimumCapacity": !pinned,
    }));
    for copied in ["targetHealthyDeployPercentage", "savedCapacity"] {
        if let Some(value) = spec.context.get(copied) {
            context.insert(copied.to_owned(), value.clone());
        }
    }
    Spec::of("resizeServerGroup", name, context)
}

fn disable_percentage(percentage: i64, common: &Common) -> Spec {
    let name = format!("Disable {percentage}% of Traffic on the source server group");
    let how = json!({"desiredPercentage": percentage});
    on_the_source("disableServerGroup", name, common, how)
}

fn scale_down(spec: &Spec, common: &Common, allow_active: Value) -> Vec<Spec> {
    let mut stages = Vec::new();
    if let Some(seconds) = delay(&spec.context, &["delayBeforeScaleDownSec"]) {
        stages.push(wait("Wait Before Scale Down", seconds).only_if(SOURCE));
    }
    let how = common.with(json!({
        "allowScaleDownActive": allow_active,
        "remainingFullSizeServerGroups": 1,
        "preferLargerOverNewer": false,
    }));
    stages.push(Spec::of("scaleDownCluster", "scaleDown", how).only_if(SOURCE));
    stages
}

/// Rolling red/black: step by step the new group grows and the older one loses traffic.
fn rolling_red_black(spec: &mut Spec, common: &Common) {
    check_first(spec, common);
    let saved = start_empty(spec);
    let mut after = vec![determine_target(common), pin(common)];
    for percentage in percentages(&spec.context, "targetPercentages") {
        let name = format!("Grow to {percentage}% of Desired Size");
        after.push(grow(
            name,
            percentage,
            percentage < 100,
            common,
            &saved,
            spec,
        ));
        if let Some(seconds) = delay(
            &spec.context,
            &["delayBeforeCleanup", "delayBeforeDisableSec"],
        ) {
            after.push(wait("wait", seconds));
        }
        after.extend(validation(spec, percentage));
        after.push(disable_percentage(percentage, common));
    }
    if is_true(&spec.context, "scaleDown") {
        after.extend(scale_down(spec, common, json!(false)));
    } else {
        after.push(unpin(common));
    }
    spec.after = after;
    spec.on_failure.push(in_time(unpin(common), 20));
}

/// The pipeline that says after each step whether to go on.
fn validation(spec: &Spec, percentage: i64) -> Option<Spec> {
    let before = spec.context.get("pipelineBeforeCleanup")?;
    let application = before.get("application").filter(|value| !value.is_null())?;
    let pipeline = before.get("pipelineId").filter(|value| !value.is_null())?;
    let mut parameters = before
        .get("pipelineParameters")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    parameters.insert("percentageComplete".to_owned(), json!(percentage));
    let context = json!({
        "application": application,
        "pipelineApplication": application,
        "pipeline": pipeline,
        "pipelineParameters": parameters,
        // The runtime adds `deployedServerGroup` and `sourceServerGroup`, which have no name yet.
        "passServerGroups": true,
    });
    let context = context.as_object().cloned().unwrap_or_default();
    Some(Spec::of("pipeline", "Run Validation Pipeline", context))
}

/// Monitored: as rolling red/black, and after each step a deployment monitor says whether to go on.
fn monitored(spec: &mut Spec, common: &Common) {
    check_first(spec, common);
    let saved = start_empty(spec);
    let field = |name: &str| spec.context.get(name).cloned().unwrap_or(Value::Null);
    let monitor = field("deploymentMonitor");
    let asked = monitor
        .get("id")
        .and_then(Value::as_str)
        .is_some_and(|id| !id.is_empty());
    let tell = |stage_type: &str, name: &str, progress: i64, failed: bool| {
        let context = json!({
            "account": common.credentials,
            "cloudProvider": common.cloud_provider,
            "region": common.fields.get("region"),
            "deploymentMonitor": monitor,
            "currentProgress": progress,
            "hasDeploymentFailed": failed,
            "deployMonitorHttpRetryCount": 0,
            "allowSiblingStagesToContinueOnFailure": true,
        });
        Spec::of(
            stage_type,
            name,
            context.as_object().cloned().unwrap_or_default(),
        )
    };
    let mut after = vec![determine_target(common), pin(common)];
    if asked {
        after.push(tell(
            "notifyDeployStarting",
            "Notify monitored deploy starting",
            0,
            false,
        ));
    }
    for percentage in percentages(&spec.context, "deploySteps") {
        let name = format!("Grow the new server group to {percentage}% of Desired Size");
        after.push(grow(name, percentage, true, common, &saved, spec));
        after.push(disable_percentage(percentage, common));
        if asked {
            let name = "Evaluate health of deployed instances";
            after.push(tell("evaluateDeploymentHealth", name, percentage, false));
        }
    }
    let mut unpin_new = grow(
        "Unpin the new server group".to_owned(),
        100,
        false,
        common,
        &saved,
        spec,
    );
    unpin_new.stage_type = "pinServerGroup".to_owned();
    let pin_context = unpin_new.context.clone();
    after.push(Spec::of("pinServerGroup", unpin_new.name, pin_context));
    if is_true(&spec.context, "scaleDown") {
        after.extend(
            scale_down(spec, common, json!(false))
                .into_iter()
                .map(best_effort),
        );
    } else {
        after.push(unpin(common));
    }
    if let Some(remaining) = delay(&spec.context, &["maxRemainingAsgs"]) {
        after.push(best_effort(shrink(&spec.context, common, remaining)));
    }
    if asked {
        let done = tell(
            "notifyDeployCompleted",
            "Notify monitored deploy complete",
            100,
            false,
        );
        after.push(best_effort(done));
    }
    let actions = field("failureActions");
    let mut on_failure = Vec::new();
    let rollback = actions
        .get("rollback")
        .and_then(Value::as_str)
        .unwrap_or("None");
    if !rollback.eq_ignore_ascii_case("none") {
        let how = json!({"enableAndDisableOnly": true, "onlyEnabledServerGroups": true});
        let mut back = rollback_cluster(spec, common, how).only_if(SOURCE);
        if rollback.eq_ignore_ascii_case("manual") {
            back.context.insert("askFirst".to_owned(), json!(true));
        }
        on_failure.push(back);
    }
    if is_true_in(&actions, "destroyInstances") {
        on_failure.push(destroy_new(common).only_if(SOURCE));
    }
    on_failure.push(in_time(unpin(common), 20));
    if asked {
        on_failure.push(tell(
            "notifyDeployCompleted",
            "Notify monitored deploy complete",
            0,
            true,
        ));
    }
    spec.after = after;
    spec.on_failure = on_failure;
}

/// A stage whose failure the deploy does not mind.
fn best_effort(mut spec: Spec) -> Spec {
    spec.context
        .insert("continuePipeline".to_owned(), json!(true));
    spec.context.insert(
        "allowSiblingStagesToContinueOnFailure".to_owned(),
        json!(true),
    );
    spec
}

fn in_time(spec: Spec, minutes: u64) -> Spec {
    let mut context = spec.context;
    context.insert("stageTimeoutMs".to_owned(), json!(minutes * 60_000));
    Spec {
        only_if: spec.only_if,
        ..Spec::of(&spec.stage_type, spec.name, context)
    }
}

/// Custom: a stored pipeline does the work; the stage itself finds the group to take over from.
fn custom(spec: &mut Spec, common: &Common) {
    let field = |name: &str| spec.context.get(name).cloned().unwrap_or(Value::Null);
    let mut parameters = json!({
        "application": field("application"),
        "credentials": common.credentials,
        "cluster": common.fields.get("cluster"),
        "moniker": common.fields.get("moniker"),
        "region": common.fields.get("region"),
        "cloudProvider": common.cloud_provider,
        "strategy": true,
        "clone": spec.stage_type == "cloneServerGroup",
    });
    if let (Some(all), Some(own)) = (
        parameters.as_object_mut(),
        field("pipelineParameters").as_object(),
    ) {
        all.retain(|_, value| !value.is_null());
        all.extend(own.clone());
    }
    let context = json!({
        "application": field("application"),
        "pipelineApplication": field("strategyApplication"),
        "pipelineId": field("strategyPipeline"),
        "pipelineParameters": parameters,
    });
    let context = context.as_object().cloned().unwrap_or_default();
    spec.after.push(Spec::of("pipeline", "pipeline", context));
}

fn rollback_cluster(spec: &Spec, common: &Common, how: Value) -> Spec {
    let cluster = common
        .fields
        .get("cluster")
        .and_then(Value::as_str)
        .unwrap_or("the cluster");
    let context = json!({
        "cloudProvider": common.cloud_provider,
        "credentials": common.credentials,
        "cluster": common.fields.get("cluster"),
        "moniker": spec.context.get("moniker"),
        "regions": common.fields.get("region").into_iter().collect::<Vec<_>>(),
        "additionalRollbackContext": how,
    });
    let context = context.as_object().cloned().unwrap_or_default();
    in_time(
        Spec::of("rollbackCluster", format!("Rollback {cluster}"), context),
        30,
    )
}

fn destroy_new(common: &Common) -> Spec {
    let context = common.with(json!({"target": "current_asg_dynamic"}));
    in_time(
        Spec::of(
            "destroyServerGroup",
            "Destroy the new server group",
            context,
        ),
        5,
    )
}

/// The sub-stages of `rollback` for a failed deploy: rollback, destroy, then the strategy's own.
fn rollback(
    spec: &mut Spec,
    strategy: &str,
    common: &Common,
    options: &Options,
    stage: &Stage,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let wanted = spec.context.get("rollback").cloned().unwrap_or(Value::Null);
    if !is_true_in(&wanted, "onFailure") {
        return;
    }
    let how = match strategy {
        "rollingredblack" => json!({"enableAndDisableOnly": true, "onlyEnabledServerGroups": true}),
        "redblack" => json!({"disableOnly": true, "onlyEnabledServerGroups": true}),
        _ => return,
    };
    if !options.built.contains("rollback-cluster") {
        // Not a reason to refuse: what the deploy changed is undone when the execution ends.
        problems.push(
            Problem::warning(
                "rollback-not-built",
                format!("{path}.rollback"),
                "`rollback.onFailure` has no stages in this release",
            )
            .at_stage(&stage.ref_id)
            .with_hint("a failed deploy is undone when the execution ends, whatever this says"),
        );
        return;
    }
    let mut stages = vec![rollback_cluster(spec, common, how)];
    if is_true_in(&wanted, "destroyLatest") {
        stages.push(destroy_new(common));
    }
    stages.append(&mut spec.on_failure);
    spec.on_failure = stages;
}

fn is_true_in(value: &Value, name: &str) -> bool {
    value
        .as_object()
        .is_some_and(|object| is_true(object, name))
}

fn shrink(context: &Map<String, Value>, common: &Common, remaining: Value) -> Spec {
    let fields = common.with(json!({
        "shrinkToSize": remaining,
        "allowDeleteActive": flag_or_false(context, "allowDeleteActive"),
        "retainLargerOverNewer": false,
    }));
    Spec::of("shrinkCluster", "shrinkCluster", fields)
}
