//! `deploy`, `createServerGroup` and `cloneServerGroup`: the sub-stages of a deployment strategy.
//!
//! A `deploy` groups one `createServerGroup` per cluster, side by side. Each is followed by what its strategy does to
//! the older server groups, one sub-stage after the other.

use gennaker_domain::Problem;
use serde_json::{Map, Value, json};

use super::{Spec, Task};
use crate::{
    catalog,
    options::Options,
    parse::Stage,
    validate::{foreign_provider, not_built, shortened},
};

/// Sub-stages that only make sense if there is an older server group to take over from.
const SOURCE: &str = "source-server-group";

/// A `deploy` stage with its clusters.
pub(super) fn group(stage: &Stage, options: &Options, problems: &mut Vec<Problem>) -> Spec {
    let mut group = Spec {
        stage_type: stage.stage_type.clone(),
        name: stage.name.clone(),
        context: stage.context.clone(),
        task: None,
        only_if: None,
        before: Vec::new(),
        after: Vec::new(),
        on_failure: Vec::new(),
    };
    let mut regions = Vec::new();
    for (path, cluster) in clusters(stage, problems) {
        if let Some(problem) = foreign_provider(stage, cluster, &path, "create-server-group") {
            problems.push(problem);
            continue;
        }
        // The cluster's fields win over the stage's.
        let mut context = stage.context.clone();
        for consumed in [
            "clusters",
            "cluster",
            "restrictExecutionDuringTimeWindow",
            "restrictedExecutionWindow",
        ] {
            context.shift_remove(consumed);
        }
        for (key, value) in cluster {
            context.insert(key.clone(), value.clone());
        }
        let region = region(&context);
        let name = match &region {
            Some(region) => format!("Deploy in {region}"),
            None => "Deploy".to_owned(),
        };
        regions.push(with_strategy(
            "createServerGroup",
            name,
            context,
            stage,
            &path,
            options,
            problems,
        ));
    }
    if !regions.is_empty() {
        group.before.push(regions);
    }
    group
}

/// A `createServerGroup` or `cloneServerGroup` that stands in the pipeline by itself.
pub(super) fn server_group(stage: &Stage, options: &Options, problems: &mut Vec<Problem>) -> Spec {
    with_strategy(
        &stage.stage_type,
        stage.name.clone(),
        stage.context.clone(),
        stage,
        &stage.path,
        options,
        problems,
    )
}

/// The clusters of a `deploy` with their JSON paths.
fn clusters<'a>(
    stage: &'a Stage,
    problems: &mut Vec<Problem>,
) -> Vec<(String, &'a Map<String, Value>)> {
    let mut found = Vec::new();
    let mut wrong = |path: String, message: String| {
        problems.push(
            Problem::error("deploy-without-clusters", path, message)
                .at_stage(&stage.ref_id)
                .with_hint("list the clusters to deploy in `clusters`, each an object"),
        );
    };
    match (stage.context.get("clusters"), stage.context.get("cluster")) {
        (Some(Value::Array(list)), _) if !list.is_empty() => {
            for (position, item) in list.iter().enumerate() {
                let path = format!("{}.clusters[{position}]", stage.path);
                match item {
                    Value::Object(cluster) => found.push((path, cluster)),
                    _ => wrong(path, "a cluster is an object".to_owned()),
                }
            }
        }
        (_, Some(Value::Object(cluster))) => {
            found.push((format!("{}.cluster", stage.path), cluster));
        }
        (Some(Value::String(text)), _) => wrong(
            format!("{}.clusters", stage.path),
            format!(
                "`clusters` is the text `{}`: what is deployed has to be known before it runs",
                shortened(text)
            ),
        ),
        _ => wrong(
            format!("{}.clusters", stage.path),
            "this deploy has no clusters".to_owned(),
        ),
    }
    found
}

/// The region of a cluster: `region`, or the first of `availabilityZones`.
fn region(context: &Map<String, Value>) -> Option<String> {
    let named = context.get("region").and_then(Value::as_str);
    let zones = context.get("availabilityZones").and_then(Value::as_object);
    named
        .map(str::to_owned)
        .or_else(|| zones.and_then(|zones| zones.keys().next().cloned()))
}

fn with_strategy(
    stage_type: &str,
    name: String,
    context: Map<String, Value>,
    stage: &Stage,
    path: &str,
    options: &Options,
    problems: &mut Vec<Problem>,
) -> Spec {
    let mut spec = Spec {
        stage_type: stage_type.to_owned(),
        name,
        task: catalog::stage_type(stage_type).map(|known| Task::of(known, &context)),
        only_if: None,
        before: Vec::new(),
        after: Vec::new(),
        on_failure: Vec::new(),
        context,
    };
    let strategy = spec
        .context
        .get("strategy")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_lowercase();
    let common = Common::of(&spec.context);
    match strategy.as_str() {
        "redblack" => red_black(&mut spec, &common),
        "highlander" => highlander(&mut spec, &common),
        "rollingredblack" | "monitored" | "custom" | "rollingpush" => problems.push(
            Problem::error(
                "strategy-not-built",
                format!("{path}.strategy"),
                format!("the strategy `{strategy}` is not in this release"),
            )
            .at_stage(&stage.ref_id)
            .with_hint("`redblack`, `highlander` and `none` are"),
        ),
        // As in Spinnaker, an unknown strategy is none.
        _ => {}
    }
    capacity_of_the_source(&mut spec, &common);
    let mut functions: Vec<&str> = Vec::new();
    collect_functions(&spec, &mut functions);
    for function in functions {
        if stage.stage_type == "deploy" || function != spec.task.map_or("", |task| task.function) {
            not_built(function, stage, options, problems);
        }
    }
    spec
}

fn collect_functions(spec: &Spec, functions: &mut Vec<&'static str>) {
    if let Some(task) = spec.task
        && !functions.contains(&task.function)
    {
        functions.push(task.function);
    }
    spec.before
        .iter()
        .flatten()
        .chain(&spec.after)
        .chain(&spec.on_failure)
        .for_each(|child| collect_functions(child, functions));
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

/// A number of seconds that is set and not zero: a literal one, or an expression that may be.
fn delay(context: &Map<String, Value>, names: &[&str]) -> Option<Value> {
    let value = names
        .iter()
        .find_map(|name| context.get(*name).filter(|value| !value.is_null()))?;
    match value {
        Value::Number(number) => (number.as_f64()? > 0.0).then(|| value.clone()),
        Value::String(text) if text.contains("${") => Some(value.clone()),
        Value::String(text) => text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|seconds| *seconds > 0.0)
            .map(|_| value.clone()),
        _ => None,
    }
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
        let fields = common.with(json!({
            "shrinkToSize": remaining,
            "allowDeleteActive": flag_or_false(context, "allowDeleteActive"),
            "retainLargerOverNewer": false,
        }));
        after.push(Spec::of("shrinkCluster", "shrinkCluster", fields));
    }
    if let Some(seconds) = delay(context, &["delayBeforeCleanup", "delayBeforeDisableSec"]) {
        after.push(wait("Wait Before Disable", seconds));
    }
    after.push(Spec::of(
        "disableCluster",
        "disableCluster",
        common.with(json!({
            "remainingEnabledServerGroups": 1,
            "preferLargerOverNewer": false,
        })),
    ));
    if is_true(context, "scaleDown") {
        if let Some(seconds) = delay(context, &["delayBeforeScaleDownSec"]) {
            after.push(wait("Wait Before Scale Down", seconds));
        }
        after.push(Spec::of(
            "scaleDownCluster",
            "scaleDown",
            common.with(json!({
                "allowScaleDownActive": flag_or_false(context, "allowScaleDownActive"),
                "remainingFullSizeServerGroups": 1,
                "preferLargerOverNewer": false,
            })),
        ));
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
