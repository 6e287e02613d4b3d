//! Whether a pipeline can mean what it says: ids, requisites, types, policies. All problems are found at once.

use std::collections::{HashMap, HashSet};

use gennaker_domain::Problem;
use serde_json::Value;

use crate::{
    catalog, graph,
    options::{Mode, Options},
    parse::{Pipeline, Stage},
};

/// The requisites of each stage as indices, and an order in which they can run.
#[derive(Clone, Debug, PartialEq)]
pub struct Requisites {
    /// By stage: indices of the requisites that exist.
    pub of: Vec<Vec<usize>>,
    /// Indices, every stage after its requisites.
    pub order: Vec<usize>,
}

/// Checks a pipeline; the answer is complete only if no error was added to `problems`.
pub fn validate(
    pipeline: &Pipeline,
    options: &Options,
    problems: &mut Vec<Problem>,
) -> Option<Requisites> {
    if pipeline.stages.len() > options.limits.stages {
        problems.push(
            Problem::error(
                "too-many-stages",
                "$.stages",
                format!(
                    "the pipeline has {} stages; a definition of {} bytes holds at most {}",
                    pipeline.stages.len(),
                    options.limits.definition_bytes,
                    options.limits.stages
                ),
            )
            .with_hint("move parts of it into pipelines of their own and start them with a `pipeline` stage"),
        );
        return None;
    }
    if options.mode == Mode::Save {
        required_fields(pipeline, options, problems);
    }
    let mut suggestions: HashMap<&str, Option<&'static str>> = HashMap::new();
    for stage in &pipeline.stages {
        stage_type(stage, options, &mut suggestions, problems);
        policy_fields(stage, problems);
    }
    requisites(pipeline, problems)
}

fn required_fields(pipeline: &Pipeline, options: &Options, problems: &mut Vec<Problem>) {
    let has = |field: &str| {
        pipeline
            .fields
            .get(field)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.trim().is_empty())
    };
    if !has("name") {
        problems.push(Problem::error(
            "missing-name",
            "$.name",
            "the pipeline has no name",
        ));
    }
    if !has("application") && options.application.is_none() {
        problems.push(
            Problem::error(
                "missing-application",
                "$.application",
                "the pipeline belongs to no application",
            )
            .with_hint("set `application`, or give `--application`"),
        );
    }
}

fn stage_type<'a>(
    stage: &'a Stage,
    options: &Options,
    suggestions: &mut HashMap<&'a str, Option<&'static str>>,
    problems: &mut Vec<Problem>,
) {
    let path = format!("{}.type", stage.path);
    let written = stage.stage_type.as_str();
    if written == "deploy" {
        return;
    }
    if let Some(provider) = catalog::outside_aws(written) {
        problems.push(
            Problem::error(
                "outside-aws",
                path,
                format!("stage type `{written}` belongs to {provider}; Gennaker deploys to AWS"),
            )
            .at_stage(&stage.ref_id),
        );
        return;
    }
    if let Some(webhook) = options.preconfigured.get(written) {
        webhook.check(stage, problems);
        not_built("webhook", stage, options, problems);
        return;
    }
    let Some(known) = catalog::stage_type(written) else {
        let problem = match options.mode {
            Mode::Compile | Mode::Save => Problem::error,
            Mode::Evaluate => Problem::warning,
        };
        let message = format!("unknown stage type `{}`", shortened(written));
        let mut problem = problem("unknown-stage-type", path, message).at_stage(&stage.ref_id);
        // Comparing with every known name costs time: after some hundred different names nobody reads on.
        let suggestion = if suggestions.len() < 200 || suggestions.contains_key(written) {
            *suggestions
                .entry(written)
                .or_insert_with(|| catalog::did_you_mean(written))
        } else {
            None
        };
        if let Some(suggestion) = suggestion {
            problem = problem.with_hint(format!("did you mean `{suggestion}`?"));
        } else {
            problem = problem.with_hint(
                "a preconfigured webhook is a stage type, too: `gennaker webhook save`, or `--webhooks`",
            );
        }
        problems.push(problem);
        return;
    };
    let foreign = foreign_provider(stage, &stage.context, &stage.path, known.function, options);
    if let Some(problem) = foreign {
        problems.push(problem);
        return;
    }
    not_built(known.function, stage, options, problems);
}

/// The problem of a function that this release does not have.
pub fn not_built(function: &str, stage: &Stage, options: &Options, problems: &mut Vec<Problem>) {
    if options.built.contains(function) {
        return;
    }
    let path = format!("{}.type", stage.path);
    let message = format!(
        "stage type `{}` needs the function `{function}`, which this release does not have",
        stage.stage_type
    );
    let problem = match options.mode {
        Mode::Compile | Mode::Evaluate => Problem::warning("stage-not-built", path, message),
        Mode::Save => Problem::error("stage-not-built", path, message),
    };
    problems.push(
        problem
            .at_stage(&stage.ref_id)
            .with_hint("it can be planned and simulated; saving refuses it"),
    );
}

/// Functions whose stages work on server groups or images of a cloud provider.
const PROVIDER_FUNCTIONS: &[&str] = &[
    "apply-source-server-group-capacity",
    "bake",
    "clone-server-group",
    "create-server-group",
    "destroy-server-group",
    "determine-target-server-group",
    "disable-cluster",
    "disable-server-group",
    "enable-server-group",
    "find-image",
    "find-image-from-tags",
    "resize-server-group",
    "rollback-cluster",
    "run-job",
    "scale-down-cluster",
    "shrink-cluster",
    "upsert-image-tags",
    "upsert-load-balancer",
    "upsert-load-balancers",
];

/// The problem of a stage, or of a cluster in it, that is not of AWS.
pub fn foreign_provider(
    stage: &Stage,
    context: &serde_json::Map<String, Value>,
    path: &str,
    function: &str,
    options: &Options,
) -> Option<Problem> {
    if !PROVIDER_FUNCTIONS.contains(&function) {
        return None;
    }
    let (field, provider) = [
        "cloudProvider",
        "cloudProviderType",
        "provider",
        "providerType",
    ]
    .into_iter()
    .find_map(|field| {
        context
            .get(field)
            .and_then(Value::as_str)
            .filter(|provider| !provider.is_empty())
            .map(|provider| (field, provider))
    })?;
    let place = format!("{path}.{field}");
    match provider.to_lowercase().as_str() {
        "aws" => None,
        "kubernetes" if function == "run-job" => None,
        _ if provider.contains("${") => None,
        // The same stage types, other functions: server groups there are services.
        "ecs" => {
            let message = format!(
                "`{}` for Amazon ECS has no function in this release",
                stage.stage_type
            );
            let problem = match options.mode {
                Mode::Compile | Mode::Evaluate => {
                    Problem::warning("stage-not-built", place, message)
                }
                Mode::Save => Problem::error("stage-not-built", place, message),
            };
            let hint = "server groups of EC2 (`aws`) are there";
            Some(problem.at_stage(&stage.ref_id).with_hint(hint))
        }
        _ => Some(
            Problem::error(
                "outside-aws",
                place,
                format!(
                    "`{}` here is for the provider `{}`; Gennaker deploys to AWS",
                    stage.stage_type,
                    shortened(provider)
                ),
            )
            .at_stage(&stage.ref_id),
        ),
    }
}

fn policy_fields(stage: &Stage, problems: &mut Vec<Problem>) {
    if let Some(Value::String(text)) = stage.context.get("continuePipeline")
        && !text.contains("${")
    {
        problems.push(
            Problem::error(
                "continue-pipeline-is-text",
                format!("{}.continuePipeline", stage.path),
                format!(
                    "`continuePipeline` is the text `{}`; it has to be true or false",
                    shortened(text)
                ),
            )
            .at_stage(&stage.ref_id)
            .with_hint("Spinnaker evaluates such a stage over and over; write true or false without quotes"),
        );
    }
    if let Some(written @ Value::String(text)) = stage.context.get("failPipeline")
        && !text.contains("${")
    {
        problems.push(
            Problem::warning(
                "fail-pipeline-is-text",
                format!("{}.failPipeline", stage.path),
                format!("`failPipeline` is {written}: a failure stops this branch only"),
            )
            .at_stage(&stage.ref_id)
            .with_hint("write true or false without quotes"),
        );
    }
}

fn requisites(pipeline: &Pipeline, problems: &mut Vec<Problem>) -> Option<Requisites> {
    let mut index: HashMap<&str, usize> = HashMap::with_capacity(pipeline.stages.len());
    let mut acyclic = true;
    for (at, stage) in pipeline.stages.iter().enumerate() {
        if let Some(first) = index.insert(&stage.ref_id, at) {
            let other = pipeline.stages.get(first).map_or("", |first| &first.path);
            problems.push(
                Problem::error(
                    "duplicate-ref-id",
                    format!("{}.refId", stage.path),
                    format!(
                        "`refId` `{}` is also that of {other}",
                        shortened(&stage.ref_id)
                    ),
                )
                .at_stage(&stage.ref_id)
                .with_hint("give each stage a `refId` of its own"),
            );
            index.insert(&stage.ref_id, first);
            acyclic = false;
        }
    }
    let mut of = vec![Vec::new(); pipeline.stages.len()];
    for (stage, list) in pipeline.stages.iter().zip(&mut of) {
        *list = stage
            .requisites
            .iter()
            .filter_map(|requisite| index.get(requisite.as_str()).copied())
            .collect();
        dangling(pipeline, stage, &index, list.is_empty(), problems);
    }
    match graph::topological_order(&of) {
        Ok(order) => acyclic.then_some(Requisites { of, order }),
        Err(left) => {
            cycles(pipeline, &of, &left, problems);
            None
        }
    }
}

fn dangling(
    pipeline: &Pipeline,
    stage: &Stage,
    index: &HashMap<&str, usize>,
    none_exists: bool,
    problems: &mut Vec<Problem>,
) {
    for (position, requisite) in stage.requisites.iter().enumerate() {
        if index.contains_key(requisite.as_str()) {
            continue;
        }
        let path = format!("{}.requisiteStageRefIds[{position}]", stage.path);
        let what = format!("no stage has the `refId` `{}`", shortened(requisite));
        // Another requisite exists: Orca ignores the missing one. None exists: it never starts the stage.
        let problem = if none_exists {
            Problem::error(
                "dangling-requisite",
                path,
                format!("{what}, so this stage would never start"),
            )
        } else {
            Problem::warning("dangling-requisite", path, format!("{what}; it is ignored"))
        };
        let mut known: Vec<String> = pipeline
            .stages
            .iter()
            .take(12)
            .map(|stage| format!("`{}`", shortened(&stage.ref_id)))
            .collect();
        if pipeline.stages.len() > known.len() {
            known.push("…".to_owned());
        }
        problems.push(
            problem
                .at_stage(&stage.ref_id)
                .with_hint(format!("there are {}", known.join(", "))),
        );
    }
}

/// One problem for each cycle; `left` are the stages on a cycle or behind one.
fn cycles(pipeline: &Pipeline, of: &[Vec<usize>], left: &[usize], problems: &mut Vec<Problem>) {
    let mut open: HashSet<usize> = left.iter().copied().collect();
    for start in left {
        // Walking back along requisites from a stage that waits for ever ends on a cycle, or on one already told.
        let mut walked: Vec<usize> = Vec::new();
        let mut at: HashMap<usize, usize> = HashMap::new();
        let mut current = *start;
        while open.contains(&current) && !at.contains_key(&current) {
            at.insert(current, walked.len());
            walked.push(current);
            let Some(next) = of
                .get(current)
                .and_then(|list| list.iter().copied().find(|next| open.contains(next)))
            else {
                break;
            };
            current = next;
        }
        let cycle = at
            .get(&current)
            .filter(|_| {
                of.get(*walked.last().unwrap_or(&current))
                    .is_some_and(|list| list.contains(&current))
            })
            .and_then(|from| walked.get(*from..))
            .unwrap_or_default()
            .to_vec();
        for stage in &walked {
            open.remove(stage);
        }
        let Some((first, stage)) = cycle
            .iter()
            .min()
            .and_then(|first| pipeline.stages.get(*first).map(|stage| (*first, stage)))
        else {
            continue;
        };
        let from = cycle.iter().position(|stage| *stage == first).unwrap_or(0);
        let names: Vec<String> = cycle
            .iter()
            .cycle()
            .skip(from)
            .take(cycle.len() + 1)
            .take(21)
            .filter_map(|stage| pipeline.stages.get(*stage))
            .map(|stage| format!("`{}`", shortened(&stage.ref_id)))
            .collect();
        problems.push(
            Problem::error(
                "cyclic-requisites",
                format!("{}.requisiteStageRefIds", stage.path),
                format!("stages wait for each other: {}", names.join(" after ")),
            )
            .at_stage(&stage.ref_id)
            .with_hint("remove one of these requisites"),
        );
    }
}

/// User text in a message: 80 characters of it, without control characters.
pub fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(80)
        .collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}
