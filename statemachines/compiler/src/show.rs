//! A compiled pipeline for programs and for people.

use gennaker_domain::deployment::strategy::Condition;
use gennaker_domain::{Owner, PlanStage, Problem};
use serde_json::{Value, json};

use crate::{
    Compiled,
    catalog::{self, Undo},
};

/// What `pipeline plan --json` prints.
#[must_use]
pub fn plan_json(compiled: &Compiled) -> Value {
    let stages: Vec<Value> = compiled
        .plan
        .stages
        .iter()
        .map(|stage| {
            json!({
                "refId": stage.ref_id,
                "type": stage.stage_type,
                "name": stage.name,
                "parent": stage.parent,
                "function": stage.function,
            })
        })
        .collect();
    let figures = compiled.figures;
    json!({
        "stages": stages,
        "states": figures.states,
        "transitions": figures.transitions,
        "events": figures.events,
        "bytes": figures.bytes,
        "problems": compiled.warnings,
    })
}

/// The picture of the graph that `pipeline plan` prints: each stage with its sub-stages, what it starts after, what
/// waits for a person, how long it may take.
#[must_use]
pub fn picture(compiled: &Compiled) -> String {
    let plan = &compiled.plan;
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
        lines.push(line(
            stage,
            depth,
            compiled.time_limits.get(at).copied().flatten(),
        ));
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

fn line(stage: &PlanStage, depth: usize, time_limit_seconds: Option<u64>) -> String {
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
