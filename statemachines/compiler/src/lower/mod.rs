//! From validated stages to plan stages and the tasks that run them. One file per stage family.

mod canary;
mod deploy;
mod flow;
mod guards;
mod strategy;
mod window;

use gennaker_domain::deployment::strategy::{Condition, Fill};
use gennaker_domain::{FailurePolicy, Owner, PlanStage, Predecessor, Problem};
use serde_json::{Map, Value};

use crate::{
    catalog::{self, StageType, Waiting},
    graph::{Flow, Walk},
    options::{Mode, Options, SubStage, SubStages},
    parse::{Pipeline, Stage},
    validate::Requisites,
};

/// A stage with its sub-stages, as a family plans it, before it has a place.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub stage_type: String,
    pub name: String,
    pub context: Map<String, Value>,
    /// Function and waiting; none for a stage that only groups.
    pub task: Option<Task>,
    /// See [`PlanStage::conditions`].
    pub conditions: Vec<Condition>,
    /// See [`PlanStage::fills`].
    pub fills: Vec<Fill>,
    /// Sub-stages before the task. Each inner list runs side by side, the lists one after the other.
    pub before: Vec<Vec<Spec>>,
    /// Sub-stages after the task, one after the other.
    pub after: Vec<Spec>,
    /// Sub-stages when it failed, one after the other.
    pub on_failure: Vec<Spec>,
    /// Of a sub-stage before: its siblings that follow it, one after the other, while others run beside them.
    pub then: Vec<Spec>,
}

impl Spec {
    /// A sub-stage of a type of the catalogue.
    pub fn of(stage_type: &str, name: impl Into<String>, context: Map<String, Value>) -> Self {
        Self {
            stage_type: stage_type.to_owned(),
            name: name.into(),
            task: catalog::stage_type(stage_type).map(|known| Task::of(known, &context)),
            context,
            conditions: Vec::new(),
            fills: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            on_failure: Vec::new(),
            then: Vec::new(),
        }
    }

    /// A stage that only groups its sub-stages.
    pub fn group(stage_type: &str, name: impl Into<String>, context: Map<String, Value>) -> Self {
        Self {
            task: None,
            ..Self::of(stage_type, name, context)
        }
    }
}

impl Spec {
    /// Whether the stage may be complete while sub-stages of it are still at work: of those that run side by side one
    /// whose failure is ignored decides, and Orca goes on at once.
    fn ends_early(&self) -> bool {
        self.runs_side_by_side() && self.may_ignore_a_failure()
    }

    fn runs_side_by_side(&self) -> bool {
        self.before.iter().any(|row| row.len() > 1) || self.parts().any(Self::runs_side_by_side)
    }

    fn may_ignore_a_failure(&self) -> bool {
        let ignores = self.context.get("continuePipeline");
        !matches!(ignores, None | Some(Value::Null | Value::Bool(false)))
            || self.parts().any(Self::may_ignore_a_failure)
    }

    /// How many Tasks it becomes, with its sub-stages.
    fn tasks(&self) -> usize {
        let own = usize::from(self.task.is_some());
        self.parts()
            .fold(own, |sum, part| sum.saturating_add(part.tasks()))
    }

    /// Its direct sub-stages, and its siblings that follow it in its lane.
    fn parts(&self) -> impl Iterator<Item = &Self> {
        self.before
            .iter()
            .flatten()
            .chain(&self.after)
            .chain(&self.on_failure)
            .chain(&self.then)
    }
}

/// How a stage's own work is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Function.
    pub function: &'static str,
    /// How the Task waits.
    pub waiting: Waiting,
    /// Longest time that it works, in seconds.
    pub time_limit_seconds: u64,
    /// Usual time that it works, in seconds; none if nobody knows.
    pub usual_seconds: Option<u64>,
}

impl Task {
    fn of(known: &'static StageType, context: &Map<String, Value>) -> Self {
        let task = Self {
            function: known.function,
            waiting: known.waiting,
            time_limit_seconds: known.time_limit_seconds,
            usual_seconds: None,
        };
        let mut task = flow::literal_waits(known, context, task);
        // A number only: Orca ignores text here.
        if let Some(millis) = context.get("stageTimeoutMs").and_then(Value::as_f64)
            && millis > 0.0
            && task.time_limit_seconds > 0
        {
            let seconds = (millis / 1000.0).ceil().min(31_536_000.0) as u64;
            task.time_limit_seconds = match known.time_limit_seconds {
                // It ends by itself: its time-out can only end it sooner.
                0 => task.time_limit_seconds.min(seconds),
                _ => seconds,
            };
            if let Waiting::Woken { look_again_seconds } = &mut task.waiting {
                let every = u64::from(*look_again_seconds).max(1);
                let parts = match known.time_limit_seconds {
                    0 => 1,
                    // Equal ones, the last of which ends with the time-out: an hour and a half is looked at after its
                    // half and at its end, not after one hour and after two.
                    _ => seconds.div_ceil(every).max(1),
                };
                let every = every.min(seconds.div_ceil(parts));
                *look_again_seconds = u32::try_from(every).unwrap_or(u32::MAX);
            }
        }
        task
    }
}

/// What stands for a stage whose type does not exist, where such a stage is to fail at its turn ([`Mode::Evaluate`]).
const NO_SUCH_TYPE: Task = Task {
    function: "no-such-stage",
    waiting: Waiting::Polled,
    time_limit_seconds: 0,
    usual_seconds: None,
};

/// One state to emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The Task of a stage, by its index in the plan.
    Work(usize),
    /// The join in front of a stage, by its index in the plan.
    Join(usize),
}

/// What lowering makes.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Every stage, each top-level one followed by its sub-stages.
    pub stages: Vec<PlanStage>,
    /// By stage: how its own work is run.
    pub tasks: Vec<Option<Task>>,
    /// The states, nested.
    pub flow: Flow<Step>,
}

/// Every stage of a pipeline with its sub-stages, in the pipeline's order, before they have a place.
#[derive(Clone, Debug)]
pub struct Planned(Vec<Spec>);

impl Planned {
    /// By stage: whether it may be complete while sub-stages of it are still at work.
    #[must_use]
    pub fn ends_early(&self) -> Vec<bool> {
        self.0.iter().map(Spec::ends_early).collect()
    }
}

/// Plans every stage by the rules of its family. None if they become too many with their sub-stages: a few megabytes of
/// clusters would become gigabytes of stages.
pub fn plan(
    pipeline: &Pipeline,
    options: &Options,
    problems: &mut Vec<Problem>,
) -> Option<Planned> {
    let mut room = Room::new(options);
    let mut planned = Vec::with_capacity(pipeline.stages.len());
    for stage in &pipeline.stages {
        let spec = spec(stage, options, problems);
        if !room.takes(&spec) {
            problems.push(room.problem(stage));
            return None;
        }
        planned.push(spec);
    }
    Some(Planned(planned))
}

/// How many Tasks a definition has room for.
pub(crate) struct Room {
    most: usize,
    taken: usize,
}

impl Room {
    pub fn new(options: &Options) -> Self {
        Self {
            most: options.limits.stages,
            taken: 0,
        }
    }

    /// Takes room for a stage and its sub-stages; false if there is not enough.
    pub fn takes(&mut self, spec: &Spec) -> bool {
        self.taken = self.taken.saturating_add(spec.tasks());
        self.taken <= self.most
    }

    fn problem(&self, stage: &Stage) -> Problem {
        Problem::error(
            "too-many-stages",
            stage.path.clone(),
            format!(
                "with its sub-stages the pipeline has more than {} stages; no definition holds more",
                self.most
            ),
        )
        .at_stage(&stage.ref_id)
        .with_hint("deploy fewer clusters, or in fewer steps, in one pipeline")
    }
}

/// Gives every stage its place.
#[must_use]
pub fn lower(
    pipeline: &Pipeline,
    requisites: &Requisites,
    walk: &Walk,
    planned: Planned,
) -> Lowered {
    let mut lowering = Lowering {
        stages: Vec::new(),
        tasks: Vec::new(),
    };
    let mut flows = Vec::with_capacity(pipeline.stages.len());
    for (at, (stage, spec)) in pipeline.stages.iter().zip(planned.0).enumerate() {
        let of: Vec<String> = requisites
            .of
            .get(at)
            .into_iter()
            .flatten()
            .filter_map(|requisite| pipeline.stages.get(*requisite))
            .map(|requisite| requisite.ref_id.clone())
            .collect();
        let joins = walk.joins.get(at).copied().unwrap_or(false);
        let index = lowering.stages.len();
        let place = Place {
            ref_id: stage.ref_id.clone(),
            parent: None,
            owner: None,
            starts_after: of.iter().map(|ref_id| whole(ref_id)).collect(),
            requisites: of,
            defers_failure: false,
        };
        let mut flow = lowering.place(spec, place);
        if joins {
            if let Some(stage) = lowering.stages.get_mut(index) {
                stage.joins = true;
            }
            flow = series(vec![Flow::Step(Step::Join(index)), flow]);
        }
        flows.push(flow);
    }
    let Lowering { mut stages, tasks } = lowering;
    opens(&mut stages);
    Lowered {
        flow: compose(&walk.flow, &flows),
        stages,
        tasks,
    }
}

fn spec(stage: &Stage, options: &Options, problems: &mut Vec<Problem>) -> Spec {
    let mut spec = match stage.stage_type.as_str() {
        "deploy" => deploy::group(stage, options, problems),
        "createServerGroup" | "cloneServerGroup" | "copyLastAsg" => {
            deploy::server_group(stage, options, problems)
        }
        "kayentaCanary" => canary::stage(stage, options, problems),
        _ => plain(stage, options),
    };
    if let Some(given) = options.sub_stages.get(&stage.ref_id) {
        add(&mut spec, given, 0);
    }
    if let Some(window) = window::before(stage, options, problems) {
        spec.before.insert(0, vec![window]);
    }
    spec
}

/// A stage that is one Task, or none if its type does not exist.
fn plain(stage: &Stage, options: &Options) -> Spec {
    let written = stage.stage_type.as_str();
    if let Some(webhook) = options.preconfigured.get(written) {
        let name = if stage.name == written {
            &webhook.label
        } else {
            &stage.name
        };
        return Spec {
            stage_type: written.to_owned(),
            ..Spec::of("webhook", name, webhook.context(&stage.context))
        };
    }
    let mut spec = Spec::of(written, &stage.name, stage.context.clone());
    if options.mode == Mode::Evaluate && !catalog::is_known(written) {
        spec.task = Some(NO_SUCH_TYPE);
    }
    spec
}

/// Adds sub-stages that the caller gives a stage.
fn add(spec: &mut Spec, given: &SubStages, level: usize) {
    /// Deeper ones are left out: recursion is bounded.
    const MAX_LEVELS: usize = 8;
    if level >= MAX_LEVELS {
        return;
    }
    let of = |given: &SubStage| {
        let mut spec = Spec::of(&given.stage_type, &given.name, given.context.clone());
        add(&mut spec, &given.sub_stages, level + 1);
        spec
    };
    for row in &given.before {
        spec.before.push(row.iter().map(of).collect());
    }
    spec.after.extend(given.after.iter().map(of));
    spec.on_failure.extend(given.on_failure.iter().map(of));
}

fn whole(ref_id: &str) -> Predecessor {
    Predecessor {
        ref_id: ref_id.to_owned(),
        whole: true,
    }
}

fn own_task(ref_id: &str) -> Predecessor {
    Predecessor {
        ref_id: ref_id.to_owned(),
        whole: false,
    }
}

struct Place {
    ref_id: String,
    parent: Option<String>,
    owner: Option<Owner>,
    requisites: Vec<String>,
    starts_after: Vec<Predecessor>,
    defers_failure: bool,
}

struct Lowering {
    stages: Vec<PlanStage>,
    tasks: Vec<Option<Task>>,
}

impl Lowering {
    /// Gives a stage and its sub-stages their places; the answer is what runs them.
    ///
    /// The depth of recursion is that of the sub-stages, five at most: a canary's deploys have a strategy.
    fn place(&mut self, spec: Spec, place: Place) -> Flow<Step> {
        let index = self.stages.len();
        let Place {
            ref_id,
            parent,
            owner,
            requisites,
            starts_after,
            defers_failure,
        } = place;
        self.stages.push(PlanStage {
            ref_id: ref_id.clone(),
            stage_type: spec.stage_type,
            name: spec.name,
            parent,
            owner,
            requisites,
            function: spec.task.map(|task| task.function.to_owned()),
            woken: spec
                .task
                .is_some_and(|task| matches!(task.waiting, Waiting::Woken { .. })),
            joins: false,
            starts_after: starts_after.clone(),
            opens: Vec::new(),
            // With sub-stages for its failure, the last of them raises it: until then it is only recorded.
            defers_failure: defers_failure || !spec.on_failure.is_empty(),
            conditions: spec.conditions,
            fills: spec.fills,
            context: spec.context,
        });
        self.tasks.push(spec.task);
        let has_task = spec.task.is_some();
        let defers = defers_failure || !spec.on_failure.is_empty();
        let mut parts = Vec::new();

        let mut number = 0;
        let mut previous: Vec<String> = Vec::new();
        for row in spec.before {
            let mut side_by_side = Vec::with_capacity(row.len());
            let mut names = Vec::with_capacity(row.len());
            for mut first in row {
                let then = std::mem::take(&mut first.then);
                let mut lane = Vec::with_capacity(then.len() + 1);
                let mut ahead = previous.clone();
                for child in std::iter::once(first).chain(then) {
                    number += 1;
                    let child_ref = format!("{ref_id}<{number}");
                    lane.push(self.place(
                        child,
                        Place {
                            ref_id: child_ref.clone(),
                            parent: Some(ref_id.clone()),
                            owner: Some(Owner::Before),
                            requisites: ahead.clone(),
                            starts_after: if ahead.is_empty() {
                                starts_after.clone()
                            } else {
                                ahead.iter().map(|before| whole(before)).collect()
                            },
                            defers_failure: defers,
                        },
                    ));
                    ahead = vec![child_ref];
                }
                names.extend(ahead);
                side_by_side.push(series(lane));
            }
            parts.push(parallel(side_by_side));
            previous = names;
        }
        if has_task {
            if let Some(stage) = self.stages.get_mut(index) {
                stage
                    .starts_after
                    .extend(previous.iter().map(|before| whole(before)));
            }
            parts.push(Flow::Step(Step::Work(index)));
        }

        let first_after: Vec<Predecessor> = if has_task {
            vec![own_task(&ref_id)]
        } else if previous.is_empty() {
            starts_after
        } else {
            previous.iter().map(|before| whole(before)).collect()
        };
        let mut number = 0;
        let mut previous: Option<String> = None;
        for child in spec.after {
            number += 1;
            let child_ref = format!("{ref_id}>{number}");
            parts.push(self.place(
                child,
                Place {
                    ref_id: child_ref.clone(),
                    parent: Some(ref_id.clone()),
                    owner: Some(Owner::After),
                    requisites: previous.iter().cloned().collect(),
                    starts_after: match &previous {
                        Some(before) => vec![whole(before)],
                        None => first_after.clone(),
                    },
                    defers_failure: defers,
                },
            ));
            previous = Some(child_ref);
        }

        let last = spec.on_failure.len();
        let mut previous: Option<String> = None;
        for (at, child) in spec.on_failure.into_iter().enumerate() {
            number += 1;
            let child_ref = format!("{ref_id}>{number}");
            parts.push(self.place(
                child,
                Place {
                    ref_id: child_ref.clone(),
                    parent: Some(ref_id.clone()),
                    owner: Some(Owner::OnFailure),
                    requisites: previous.iter().cloned().collect(),
                    starts_after: match &previous {
                        Some(before) => vec![whole(before)],
                        None => first_after.clone(),
                    },
                    defers_failure: defers_failure || at + 1 < last,
                },
            ));
            previous = Some(child_ref);
        }
        series(parts)
    }
}

/// Tells the requisites of every joining stage that their end may open its join.
fn opens(stages: &mut [PlanStage]) {
    let joins: Vec<(String, Vec<String>)> = stages
        .iter()
        .filter(|stage| stage.joins)
        .map(|stage| (stage.ref_id.clone(), stage.requisites.clone()))
        .collect();
    let index: std::collections::HashMap<String, usize> = stages
        .iter()
        .enumerate()
        .map(|(at, stage)| (stage.ref_id.clone(), at))
        .collect();
    for (joining, requisites) in joins {
        for requisite in requisites {
            if let Some(stage) = index.get(&requisite).and_then(|at| stages.get_mut(*at)) {
                stage.opens.push(joining.clone());
            }
        }
    }
}

/// Puts the flow of each stage into the walk's nesting, whose depth is bounded by `graph::MAX_DEPTH`.
fn compose(walk: &Flow<usize>, flows: &[Flow<Step>]) -> Flow<Step> {
    match walk {
        Flow::Step(stage) => flows
            .get(*stage)
            .cloned()
            .unwrap_or(Flow::Series(Vec::new())),
        Flow::Series(parts) => series(parts.iter().map(|part| compose(part, flows)).collect()),
        Flow::Parallel(parts) => parallel(parts.iter().map(|part| compose(part, flows)).collect()),
    }
}

fn series(parts: Vec<Flow<Step>>) -> Flow<Step> {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Flow::Series(more) => flat.extend(more),
            other => flat.push(other),
        }
    }
    if flat.len() == 1 {
        flat.pop().unwrap_or(Flow::Series(Vec::new()))
    } else {
        Flow::Series(flat)
    }
}

fn parallel(parts: Vec<Flow<Step>>) -> Flow<Step> {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Flow::Parallel(more) => flat.extend(more),
            Flow::Series(none) if none.is_empty() => {}
            other => flat.push(other),
        }
    }
    match flat.len() {
        0 => Flow::Series(Vec::new()),
        1 => flat.pop().unwrap_or(Flow::Series(Vec::new())),
        _ => Flow::Parallel(flat),
    }
}

/// Whether the failure of a stage is known to let the machine go on, so that its Task may catch everything.
///
/// Not for a policy that is an expression, and not where a failed expression ends the pipeline whatever the policy.
pub fn goes_on(stages: &[PlanStage], index: usize) -> bool {
    let mut current = stages.get(index);
    if current.is_some_and(|stage| stage.defers_failure) {
        return true;
    }
    let mut goes_on = false;
    while let Some(stage) = current {
        let is_false = |field: &str| {
            matches!(
                stage.context.get(field),
                None | Some(Value::Null | Value::Bool(false))
            )
        };
        let computed = ["failPipeline", "continuePipeline"].iter().any(|field| {
            stage
                .context
                .get(*field)
                .and_then(Value::as_str)
                .is_some_and(|text| text.contains("${"))
        });
        if !is_false("failOnFailedExpressions") || computed {
            return false;
        }
        goes_on = goes_on || FailurePolicy::of(&stage.context).goes_on();
        current = stage
            .parent
            .as_deref()
            .and_then(|parent| stages.iter().find(|stage| stage.ref_id == parent));
    }
    goes_on
}
