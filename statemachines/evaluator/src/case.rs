//! What is to be evaluated: pipelines, how their stages end, and what people do meanwhile.

use std::collections::BTreeMap;

use gennaker_compiler::{SubStage, SubStages};
use gennaker_domain::{Owner, Plan, Status};
use serde_json::{Map, Value};

/// Why a case cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {message}")]
pub struct CaseError {
    /// Place in the case.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

fn wrong(path: impl Into<String>, message: impl Into<String>) -> CaseError {
    CaseError {
        path: path.into(),
        message: message.into(),
    }
}

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The pipeline that is started, then those that its stages may start.
    pub pipelines: Vec<Scripted>,
    /// Virtual milliseconds of its starts.
    pub starts: Vec<i64>,
    pub trigger: Value,
    pub ops: Vec<Op>,
    /// Whether the answer lists executions.
    pub lists_executions: bool,
}

/// A pipeline with the script of its stages.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    pub id: String,
    pub application: String,
    pub pipeline: Value,
    pub stages: BTreeMap<String, Script>,
}

/// What one stage does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// How its task ends; none is a stage whose type does its own work.
    pub first: Option<Outcome>,
    /// How it ends after each restart, the last one again and again.
    pub restarts: Vec<Outcome>,
    /// It has no tasks at all.
    pub no_tasks: bool,
    /// It fails before its first task.
    pub fails_planning: bool,
    pub parts: Parts,
    /// Its sub-stages after each restart, where they differ.
    pub parts_after_restart: Vec<Parts>,
}

/// How a task ends, before any policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub status: Status,
    pub millis: i64,
}

/// Sub-stages of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub before: Vec<Part>,
    pub side_by_side: bool,
    pub after: Vec<Part>,
    pub on_failure: Vec<Part>,
}

/// One sub-stage.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub name: String,
    pub context: Map<String, Value>,
    pub outcome: Outcome,
    pub parts: Parts,
}

/// What a person does.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub at: i64,
    /// Which of the starts it is about.
    pub execution: usize,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Cancel,
    Pause,
    Resume,
    Restart(String),
    Skip(String),
}

/// A year, in seconds: as long as an execution may last.
const LONGEST_SECONDS: f64 = 31_622_400.0;
/// Sub-stages of sub-stages are read so deep.
const MAX_LEVELS: usize = 4;
/// Starts, and ops, of one case.
const MAX_EVENTS: usize = 1_000;

fn millis(value: Option<&Value>, path: &str) -> Result<i64, CaseError> {
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_f64()
            .filter(|seconds| (0.0..=LONGEST_SECONDS).contains(seconds))
            // In range: at most 3.2e10.
            .map(|seconds| (seconds * 1_000.0).round() as i64)
            .ok_or_else(|| wrong(path, "has to be a number of seconds from 0 to a year")),
    }
}

fn outcome(given: &Value, path: &str) -> Result<Outcome, CaseError> {
    let status = match given.get("status") {
        None | Some(Value::Null) => Status::Succeeded,
        Some(written) => written
            .as_str()
            .and_then(Status::parse)
            .filter(|status| status.is_complete())
            .ok_or_else(|| wrong(format!("{path}.status"), "is no end of a task"))?,
    };
    Ok(Outcome {
        status,
        millis: millis(given.get("seconds"), &format!("{path}.seconds"))?,
    })
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name)
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
}

fn parts(of: &Value, path: &str, level: usize) -> Result<Parts, CaseError> {
    if level >= MAX_LEVELS {
        return Ok(Parts::default());
    }
    let read = |name: &str| -> Result<Vec<Part>, CaseError> {
        list(of, name)
            .iter()
            .enumerate()
            .map(|(at, given)| {
                let path = format!("{path}.{name}[{at}]");
                let written = given.get("name").and_then(Value::as_str);
                Ok(Part {
                    name: written.map_or_else(|| format!("{name} {at}"), str::to_owned),
                    context: given
                        .get("context")
                        .and_then(Value::as_object)
                        .cloned()
                        .unwrap_or_default(),
                    outcome: outcome(given, &path)?,
                    parts: parts(given, &path, level + 1)?,
                })
            })
            .collect()
    };
    Ok(Parts {
        before: read("before")?,
        side_by_side: of.get("beforeParallel") == Some(&Value::Bool(true)),
        after: read("after")?,
        on_failure: read("onFailure")?,
    })
}

fn script(outcomes: &Value, scripts: &Value, ref_id: &str) -> Result<Script, CaseError> {
    let first = match outcomes.get(ref_id) {
        None | Some(Value::Null) => None,
        Some(given) => Some(outcome(given, &format!("$.outcomes['{ref_id}']"))?),
    };
    let path = format!("$.script['{ref_id}']");
    let Some(given) = scripts.get(ref_id) else {
        return Ok(Script {
            first,
            ..Script::default()
        });
    };
    let mut script = Script {
        first,
        no_tasks: given.get("noTasks") == Some(&Value::Bool(true)),
        fails_planning: given.get("throws").and_then(Value::as_str) == Some("planning"),
        parts: parts(given, &path, 0)?,
        ..Script::default()
    };
    for (at, again) in list(given, "restarts").iter().enumerate() {
        let path = format!("{path}.restarts[{at}]");
        script.restarts.push(outcome(again, &path)?);
        let has_parts = ["before", "after", "onFailure"]
            .iter()
            .any(|name| again.get(*name).is_some());
        script.parts_after_restart.push(if has_parts {
            parts(again, &path, 0)?
        } else {
            script.parts.clone()
        });
    }
    Ok(script)
}

fn scripted(pipeline: &Value, around: &Value, nth: usize) -> Result<Scripted, CaseError> {
    let text = |name: &str| pipeline.get(name).and_then(Value::as_str);
    let mut stages = BTreeMap::new();
    let outcomes = around.get("outcomes").unwrap_or(&Value::Null);
    let scripts = around.get("script").unwrap_or(&Value::Null);
    for (position, stage) in list(pipeline, "stages").iter().enumerate() {
        let ref_id = match stage.get("refId") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            // Without any, each stage follows the one before.
            _ => position.to_string(),
        };
        let script = script(outcomes, scripts, &ref_id)?;
        stages.insert(ref_id, script);
    }
    let mut pipeline_json = pipeline.clone();
    let id = text("id").map_or_else(|| format!("pipeline-{nth}"), str::to_owned);
    let application = text("application").unwrap_or("application").to_owned();
    let name = text("name").map_or_else(|| id.clone(), str::to_owned);
    if let Some(fields) = pipeline_json.as_object_mut() {
        for consumed in ["outcomes", "script"] {
            fields.shift_remove(consumed);
        }
        fields.insert("id".to_owned(), id.clone().into());
        fields.insert("application".to_owned(), application.clone().into());
        fields.insert("name".to_owned(), name.into());
    }
    Ok(Scripted {
        id,
        application,
        pipeline: pipeline_json,
        stages,
    })
}

impl Case {
    pub fn read(case: &Value) -> Result<Self, CaseError> {
        let pipeline = case
            .get("pipeline")
            .filter(|pipeline| pipeline.is_object())
            .ok_or_else(|| wrong("$.pipeline", "is missing"))?;
        let mut pipelines = vec![scripted(pipeline, case, 0)?];
        for (at, stored) in list(case, "stored").iter().enumerate() {
            pipelines.push(scripted(stored, stored, at + 1)?);
        }
        let starts = match list(case, "starts") {
            [] => vec![0],
            times => times
                .iter()
                .take(MAX_EVENTS)
                .map(|time| millis(Some(time), "$.starts"))
                .collect::<Result<_, _>>()?,
        };
        let mut ops = Vec::new();
        for (at, op) in list(case, "ops").iter().take(MAX_EVENTS).enumerate() {
            let path = format!("$.ops[{at}]");
            let ref_id = || {
                op.get("refId")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .ok_or_else(|| wrong(format!("{path}.refId"), "is missing"))
            };
            let act = match op.get("op").and_then(Value::as_str) {
                Some("cancel") => Act::Cancel,
                Some("pause") => Act::Pause,
                Some("resume") => Act::Resume,
                Some("restart") => Act::Restart(ref_id()?),
                Some("skip") => Act::Skip(ref_id()?),
                _ => {
                    return Err(wrong(
                        format!("{path}.op"),
                        "is one of cancel, pause, resume, restart and skip",
                    ));
                }
            };
            let execution = op.get("execution").and_then(Value::as_u64).unwrap_or(0);
            ops.push(Op {
                at: millis(op.get("at"), &format!("{path}.at"))?,
                execution: usize::try_from(execution).unwrap_or(usize::MAX),
                act,
            });
        }
        Ok(Self {
            pipelines,
            starts,
            trigger: case.get("trigger").cloned().unwrap_or(Value::Null),
            ops,
            lists_executions: case.get("starts").is_some() || case.get("stored").is_some(),
        })
    }
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty() && self.on_failure.is_empty()
    }

    /// These, and those of other runs that have another name.
    fn with(&self, others: &[Self]) -> Self {
        let mut all = self.clone();
        for other in others {
            for (list, more) in [
                (&mut all.before, &other.before),
                (&mut all.after, &other.after),
                (&mut all.on_failure, &other.on_failure),
            ] {
                for part in more {
                    if !list.iter().any(|known| known.name == part.name) {
                        list.push(part.clone());
                    }
                }
            }
        }
        all
    }

    fn compiled(&self) -> SubStages {
        let each = |list: &[Part]| list.iter().map(Part::compiled).collect::<Vec<_>>();
        SubStages {
            before: if self.side_by_side {
                vec![each(&self.before)]
            } else {
                self.before
                    .iter()
                    .map(|part| vec![part.compiled()])
                    .collect()
            },
            after: each(&self.after),
            on_failure: each(&self.on_failure),
        }
    }

    fn list(&self, owner: Owner) -> &[Part] {
        match owner {
            Owner::Before => &self.before,
            Owner::After => &self.after,
            Owner::OnFailure => &self.on_failure,
        }
    }

    /// The sub-stage at the end of a way of owners and names.
    fn find(&self, way: &[(Owner, String)]) -> Option<&Part> {
        let ((owner, name), rest) = way.split_first()?;
        let part = self.list(*owner).iter().find(|part| part.name == *name)?;
        if rest.is_empty() {
            Some(part)
        } else {
            part.parts.find(rest)
        }
    }
}

impl Part {
    fn compiled(&self) -> SubStage {
        SubStage {
            stage_type: "wait".to_owned(),
            name: self.name.clone(),
            context: self.context.clone(),
            sub_stages: self.parts.compiled(),
        }
    }
}

impl Scripted {
    /// The sub-stages that the compiler plans.
    pub fn sub_stages(&self) -> BTreeMap<String, SubStages> {
        self.stages
            .iter()
            .map(|(ref_id, script)| {
                let all = script.parts.with(&script.parts_after_restart);
                (ref_id.clone(), all)
            })
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(ref_id, parts)| (ref_id, parts.compiled()))
            .collect()
    }

    /// How the task of a stage ends that is run for the `nth` time, from 0; none if the script has no such stage then.
    pub fn outcome(&self, plan: &Plan, ref_id: &str, nth: usize) -> Option<Outcome> {
        let mut way: Vec<(Owner, String)> = Vec::new();
        let mut top = None;
        for stage in plan.lineage(ref_id) {
            match stage.owner {
                Some(owner) => way.insert(0, (owner, stage.name.clone())),
                None => top = Some(stage),
            }
        }
        let script = self.stages.get(&top?.ref_id)?;
        let restart = nth.checked_sub(1);
        let last = script.restarts.len().checked_sub(1);
        let nth = restart.and_then(|restart| last.map(|last| restart.min(last)));
        if way.is_empty() {
            return match nth.and_then(|nth| script.restarts.get(nth)) {
                Some(again) => Some(*again),
                None if script.fails_planning => Some(Outcome {
                    status: Status::Terminal,
                    millis: 0,
                }),
                None => Some(script.first.unwrap_or(Outcome {
                    status: Status::Succeeded,
                    millis: 0,
                })),
            };
        }
        nth.and_then(|nth| script.parts_after_restart.get(nth))
            .unwrap_or(&script.parts)
            .find(&way)
            .map(|part| part.outcome)
    }
}
