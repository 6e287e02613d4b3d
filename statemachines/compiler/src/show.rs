//! A compiled pipeline for programs and for people.

use std::collections::BTreeSet;

use gennaker_domain::deployment::{
    naming, strategy::Condition, traffic_guard::TrafficGuards, world,
};
use gennaker_domain::{Owner, Plan, PlanStage, Problem};
use serde_json::{Map, Value, json};

use crate::{
    Compiled,
    catalog::{self, Undo},
};

/// What is known of the place that a pipeline will run in: the application's JSON, and the stages that are skipped in
/// the world it is looked at with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// The application in Spinnaker's JSON; empty if it is not known.
    pub application: Map<String, Value>,
    /// `refId`s of the stages that are skipped if everything succeeds; none if nobody looked.
    pub skipped: Option<BTreeSet<String>>,
}

/// Functions that take instances out of traffic, which a traffic guard may refuse.
const TAKES_TRAFFIC: [&str; 8] = [
    "destroy-server-group",
    "disable-cluster",
    "disable-server-group",
    "resize-server-group",
    "rollback-cluster",
    "rollback-server-group",
    "scale-down-cluster",
    "shrink-cluster",
];

impl Around {
    /// The stages whose work a traffic guard of the application may refuse.
    fn guarded(&self, plan: &Plan) -> BTreeSet<String> {
        let guards = TrafficGuards::of_application(&self.application);
        let is_guarded = |stage: &&PlanStage| {
            let takes = stage.function.as_deref();
            takes.is_some_and(|function| TAKES_TRAFFIC.contains(&function))
                && world::place(plan, stage).is_some_and(|place| {
                    let names = naming::parse(&place.cluster);
                    guards.cover(
                        &place.account,
                        &place.region,
                        names.stack.as_deref(),
                        names.detail.as_deref(),
                    )
                })
        };
        let guarded = plan.stages.iter().filter(is_guarded);
        guarded.map(|stage| stage.ref_id.clone()).collect()
    }

    /// Roles by what they may do, as people read it.
    fn permissions(&self) -> Option<String> {
        let permissions = self.application.get("permissions")?.as_object()?;
        let told = permissions.iter().filter_map(|(may, roles)| {
            let roles: Vec<&str> = roles.as_array()?.iter().filter_map(Value::as_str).collect();
            Some(format!("{may}: {}", roles.join(", ")))
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// What `pipeline plan --json` prints.
#[must_use]
pub fn plan_json(compiled: &Compiled, around: &Around) -> Value {
    let guarded = around.guarded(&compiled.plan);
    let stages: Vec<Value> = compiled
        .plan
        .stages
        .iter()
        .map(|stage| {
            let mut entry = json!({
                "refId": stage.ref_id,
                "type": stage.stage_type,
                "name": stage.name,
                "parent": stage.parent,
                "function": stage.function,
            });
            if let Some(fields) = entry.as_object_mut() {
                if guarded.contains(&stage.ref_id) {
                    fields.insert("trafficGuard".to_owned(), true.into());
                }
                if let Some(skipped) = &around.skipped {
                    let skipped = skipped.contains(&stage.ref_id);
                    fields.insert("skipped".to_owned(), skipped.into());
                }
            }
            entry
        })
        .collect();
    let figures = compiled.figures;
    let mut plan = json!({
        "stages": stages,
        "states": figures.states,
        "transitions": figures.transitions,
        "events": figures.events,
        "bytes": figures.bytes,
        "problems": compiled.warnings,
    });
    if let (Some(fields), Some(permissions)) =
        (plan.as_object_mut(), around.application.get("permissions"))
    {
        fields.insert("permissions".to_owned(), permissions.clone());
    }
    plan
}

/// The picture of the graph that `pipeline plan` prints: each stage with its sub-stages, what it starts after, what
/// waits for a person, how long it may take.
#[must_use]
pub fn picture(compiled: &Compiled, around: &Around) -> String {
    let plan = &compiled.plan;
    let guarded = around.guarded(plan);
    let mut lines = vec![format!(
        "{} / {}: {} stages, {} states",
        printable(&plan.application),
        printable(&plan.pipeline),
        plan.stages
            .iter()
            .filter(|stage| stage.parent.is_none())
            .count(),
        compiled.figures.states
    )];
    for (at, stage) in plan.stages.iter().enumerate() {
        let depth = plan.lineage(&stage.ref_id).len().saturating_sub(1);
        let mut notes = Vec::new();
        let skipped = around.skipped.as_ref();
        if skipped.is_some_and(|skipped| skipped.contains(&stage.ref_id)) {
            notes.push("skipped here".to_owned());
        }
        if guarded.contains(&stage.ref_id) {
            notes.push("under a traffic guard".to_owned());
        }
        let time_limit = compiled.time_limits.get(at).copied().flatten();
        lines.push(line(stage, depth, time_limit, notes));
    }
    if let Some(permissions) = around.permissions() {
        lines.push(format!("permissions: {}", printable(&permissions)));
    }
    let figures = compiled.figures;
    lines.push(format!(
        "transitions {} to {}, {} as a rule; {} history events at most; {} bytes",
        figures.transitions.min,
        figures.transitions.max,
        figures.transitions.expected,
        figures.events.max,
        figures.bytes
    ));
    lines.extend(compiled.warnings.iter().map(Problem::to_string));
    lines.push(String::new());
    lines.join("\n")
}

fn line(
    stage: &PlanStage,
    depth: usize,
    time_limit_seconds: Option<u64>,
    around: Vec<String>,
) -> String {
    let bullet = match stage.owner {
        None => "●",
        Some(Owner::Before) => "├╴before",
        Some(Owner::After) => "├╴after",
        Some(Owner::OnFailure) => "├╴if it fails",
    };
    let mut text = format!(
        "{}{bullet} {} {} ({})",
        "  ".repeat(depth),
        printable(&stage.ref_id),
        printable(&stage.name),
        printable(&stage.stage_type)
    );
    let mut notes = Vec::new();
    if stage.parent.is_none() && !stage.requisites.is_empty() {
        let all: Vec<String> = stage.requisites.iter().map(|of| printable(of)).collect();
        notes.push(format!("after {}", all.join(", ")));
    }
    if stage.joins {
        notes.push("joins".to_owned());
    }
    if stage.stage_type == "manualJudgment" {
        notes.push("waits for a person".to_owned());
    }
    let undo = catalog::stage_type(&stage.stage_type).map(|known| known.undo);
    if undo == Some(Undo::Told) && stage.function.is_some() {
        notes.push("cannot be taken back".to_owned());
    }
    if stage.conditions.contains(&Condition::Source) {
        notes.push("only with an older server group".to_owned());
    }
    if let Some(seconds) = time_limit_seconds.filter(|seconds| *seconds > 0) {
        notes.push(format!("at most {}", duration(seconds)));
    }
    match gennaker_domain::FailurePolicy::of(&stage.context)
        .outcome(gennaker_domain::Status::Terminal)
    {
        gennaker_domain::Status::FailedContinue => notes.push("a failure is ignored".to_owned()),
        gennaker_domain::Status::Stopped => notes.push("a failure ends this branch".to_owned()),
        _ => {}
    }
    notes.extend(around);
    if !notes.is_empty() {
        text.push_str(" · ");
        text.push_str(&notes.join(", "));
    }
    text
}

/// Text of a person on a terminal: no control characters, 60 characters at most.
fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(60)
        .collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds.div_ceil(60)),
        7200..=172_799 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} d", seconds.div_ceil(86_400)),
    }
}
