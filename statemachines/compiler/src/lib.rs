#![doc = include_str!("../README.md")]

pub mod built;
pub mod catalog;
pub mod check;
mod document;
pub mod emit;
pub mod expressions;
pub mod figures;
pub mod graph;
mod image_search;
pub mod lower;
pub mod names;
pub mod options;
pub mod parse;
pub mod preconfigured;
mod secrets;
pub mod show;
pub mod validate;

use emit::Density;
use gennaker_domain::{Plan, Problem, plan::SCHEMA};
use serde_json::Value;

pub use document::Document;
pub use figures::{Events, Figures, Transitions};
pub use options::{BuiltFunctions, Limits, Mode, Options, SubStage, SubStages};
pub use preconfigured::{PreconfiguredWebhook, PreconfiguredWebhooks};
pub use show::{Around, picture, plan_json};

/// A pipeline that compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// What the stage runtime reads.
    pub plan: Plan,
    /// What Step Functions runs, as a JSON value.
    pub definition: Document,
    /// The same as compact JSON: the same pipeline gives the same bytes on every machine.
    pub definition_text: String,
    /// SHA-256 of the plan, in hexadecimal.
    pub plan_hash: String,
    /// Problems that do not stop it.
    pub warnings: Vec<Problem>,
    /// What an execution costs.
    pub figures: Figures,
    /// By stage of the plan: the longest that its own task works, in seconds; none without a task.
    pub time_limits: Vec<Option<u64>>,
}

/// Compiles the text of a pipeline: JSON of at most 10 MB.
///
/// # Errors
/// All problems of the pipeline, warnings included, at least one of them an error.
pub fn compile_text(text: &str, options: &Options) -> Result<Compiled, Vec<Problem>> {
    let value = parse::read(text).map_err(|problem| vec![*problem])?;
    compile(&value, options)
}

/// Compiles a pipeline. The same input gives the same answer, every time.
///
/// # Errors
/// All problems of the pipeline, warnings included, at least one of them an error.
pub fn compile(pipeline: &Value, options: &Options) -> Result<Compiled, Vec<Problem>> {
    let mut problems = Vec::new();
    prefix(options, &mut problems);
    let Some(parsed) = parse::pipeline(pipeline, &mut problems) else {
        return Err(problems);
    };
    if parsed.stages.len() <= options.limits.stages {
        problems.extend(expressions::problems(pipeline));
    }
    let requisites = validate::validate(&parsed, options, &mut problems);
    let Some(requisites) = requisites else {
        return Err(problems);
    };
    secrets::secrets(&parsed, options.mode, &mut problems);
    let Some(planned) = lower::plan(&parsed, options, &mut problems) else {
        return Err(problems);
    };
    let walk = graph::walk(&requisites.of, &requisites.order, &planned.ends_early());
    let lowered = lower::lower(&parsed, &requisites, &walk, planned);
    check::payloads(&lowered, &mut problems);
    if problems.iter().any(Problem::is_error) {
        return Err(problems);
    }
    let mut definition = emit::definition(&lowered, &options.prefix, Density::Usual);
    if definition.text.len() > options.limits.definition_bytes {
        definition = emit::definition(&lowered, &options.prefix, Density::Dense);
    }
    let figures = figures::figures(&lowered, definition.states, definition.text.len());
    check::limits(&figures, &options.limits, &mut problems);
    if problems.iter().any(Problem::is_error) {
        return Err(problems);
    }
    let time_limits = lowered
        .tasks
        .iter()
        .map(|task| task.map(|task| task.time_limit_seconds))
        .collect();
    let plan = plan(&parsed, lowered.stages, options);
    let plan_hash = plan.hash().map_err(|error| {
        vec![Problem::error(
            "internal",
            "$",
            format!("the plan is not JSON: {error}"),
        )]
    })?;
    Ok(Compiled {
        definition: Document::new(definition.text.clone()),
        definition_text: definition.text,
        plan_hash,
        plan,
        warnings: problems,
        figures,
        time_limits,
    })
}

fn prefix(options: &Options, problems: &mut Vec<Problem>) {
    let prefix = &options.prefix;
    let fits = !prefix.is_empty() && prefix.len() <= 20;
    if !fits
        || !prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        problems.push(
            Problem::error(
                "bad-prefix",
                "$",
                "the prefix of the functions' names has to be 1 to 20 letters, digits or `-`",
            )
            .with_hint("use the prefix of the installation, such as `gennaker`"),
        );
    }
}

fn plan(
    parsed: &parse::Pipeline,
    stages: Vec<gennaker_domain::PlanStage>,
    options: &Options,
) -> Plan {
    let fields = &parsed.fields;
    let text = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_str)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let list = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    Plan {
        schema: SCHEMA,
        application: options
            .application
            .clone()
            .unwrap_or_else(|| text("application")),
        pipeline: text("name"),
        pipeline_id: text("id"),
        limit_concurrent: flag("limitConcurrent"),
        max_concurrent_executions: fields
            .get("maxConcurrentExecutions")
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0),
        keep_waiting_pipelines: flag("keepWaitingPipelines"),
        spel_evaluator: if text("spelEvaluator").eq_ignore_ascii_case("v4") {
            "v4".to_owned()
        } else {
            // Orca's default, also for a value that it does not know.
            "v3".to_owned()
        },
        parameters: list("parameterConfig"),
        expected_artifacts: list("expectedArtifacts"),
        notifications: list("notifications"),
        stages,
    }
}
