//! `deploy`, `createServerGroup` and `cloneServerGroup`: the sub-stages of a deployment strategy.
//!
//! A `deploy` groups one `createServerGroup` per cluster, side by side. Each is followed by what its strategy does to
//! the older server groups, one sub-stage after the other.

use gennaker_domain::Problem;
use gennaker_domain::deployment::naming;
use serde_json::{Map, Value};

use super::{Room, Spec, guards, strategy};
use crate::{
    options::Options,
    parse::Stage,
    validate::{foreign_provider, not_built, shortened},
};

/// A `deploy` stage with its clusters.
pub(super) fn group(stage: &Stage, options: &Options, problems: &mut Vec<Problem>) -> Spec {
    let clusters = clusters(stage, problems);
    group_of(stage, clusters, options, problems)
}

/// A `deploy` stage of these clusters, each with its JSON path.
pub(super) fn group_of(
    stage: &Stage,
    clusters: Vec<(String, &Map<String, Value>)>,
    options: &Options,
    problems: &mut Vec<Problem>,
) -> Spec {
    let mut group = Spec::group(&stage.stage_type, &stage.name, stage.context.clone());
    let mut regions = Vec::new();
    let mut room = Room::new(options);
    for (path, cluster) in clusters {
        if let Some(problem) =
            foreign_provider(stage, cluster, &path, "create-server-group", options)
        {
            let refused = problem.code == "outside-aws";
            problems.push(problem);
            if refused {
                continue;
            }
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
        let spec = with_strategy(
            "createServerGroup",
            name,
            context,
            stage,
            &path,
            options,
            problems,
        );
        let fits = room.takes(&spec);
        regions.push(spec);
        if !fits {
            // Whoever plans the pipeline says so.
            break;
        }
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
pub(super) fn region(context: &Map<String, Value>) -> Option<String> {
    let named = context.get("region").and_then(Value::as_str);
    let zones = context.get("availabilityZones").and_then(Value::as_object);
    named
        .map(str::to_owned)
        .or_else(|| zones.and_then(|zones| zones.keys().next().cloned()))
}

/// The cluster of a server group: `moniker.cluster`, or `app-stack-detail` by the rules of names.
pub(super) fn cluster_name(group: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| group.get(name).and_then(Value::as_str);
    let moniker = group
        .get("moniker")
        .and_then(|moniker| moniker.get("cluster"))
        .and_then(Value::as_str)
        .filter(|cluster| !cluster.is_empty());
    if let Some(cluster) = moniker {
        return Some(cluster.to_owned());
    }
    let application = text("application")?;
    naming::cluster_name(application, text("stack"), text("freeFormDetails")).ok()
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
    let mut spec = Spec::of(stage_type, name, context);
    strategy::plan(&mut spec, stage, path, options, problems);
    guards::plan(&mut spec, stage, path, problems);
    let mut functions: Vec<&str> = Vec::new();
    collect_functions(&spec, &mut functions);
    for function in functions {
        // A stage's own function is told with the stage itself.
        if stage.stage_type == "deploy" || spec.task.is_none_or(|task| task.function != function) {
            not_built(function, stage, options, problems);
        }
    }
    spec
}

/// The functions of a stage and its sub-stages, each once.
pub(super) fn collect_functions(spec: &Spec, functions: &mut Vec<&'static str>) {
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
        .chain(&spec.then)
        .for_each(|child| collect_functions(child, functions));
}
