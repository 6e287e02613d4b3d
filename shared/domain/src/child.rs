//! Pipelines that pipelines start: by a `pipeline` stage, which may wait for its child, or by a trigger of type
//! `pipeline`, which hears the parent's end. Which child, with what trigger, and what its end makes of the stage that
//! waits: the rules are Orca's (`StartPipelineTask`, `DependentPipelineStarter`, `MonitorPipelineTask`).

use serde_json::{Map, Value, json};

use crate::approval::shown::propagated_user;
use crate::artifact::Unbound;
use crate::execution_json::stage_id;
use crate::rollup::{self, Records};
use crate::{Execution, ExecutionId, Plan, Run, Status, artifact};

/// How many executions may stand above an execution. Orca has no bound: a pipeline that starts itself runs for ever.
pub const MAX_DEPTH: u64 = 32;

/// Who cancels a child when its parent ends.
pub const CANCELED_BY: &str = "parent pipeline";

/// How long a stage waits for executions that it started or monitors: Orca's `MonitorPipelineTask`.
pub const MONITOR_LIMIT_MILLIS: i64 = 12 * 3_600_000;

/// Most bytes of a child's outputs that its parent takes over: a record of the table has at most 400 KB.
const MAX_OUTPUTS: usize = 150_000;

/// What a `pipeline` stage asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Application of the child; none is wherever a pipeline has this id.
    pub application: Option<String>,
    /// Id of the child's pipeline.
    pub pipeline: String,
    /// Parameters for it.
    pub parameters: Map<String, Value>,
    /// A deployment strategy of one's own, which is a pipeline too.
    pub strategy: bool,
    /// Whether the stage waits for the child's end.
    pub wait: bool,
    /// The child that is there already: its stage was begun anew because the child was.
    pub execution: Option<String>,
}

/// Whether a stage waits for its child: unless `waitForCompletion` says false, as a boolean or a text in any case.
#[must_use]
pub fn waits_for_completion(context: &Map<String, Value>) -> bool {
    match context.get("waitForCompletion") {
        Some(Value::Bool(wait)) => *wait,
        Some(Value::String(text)) => !text.eq_ignore_ascii_case("false"),
        _ => true,
    }
}

/// Groovy's truth: null, false, 0 and what is empty are false.
fn truth(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Number(number)) => number.as_f64().is_some_and(|n| n != 0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

/// Reads a `pipeline` stage's resolved context.
///
/// # Errors
/// Field and message of what cannot be used.
pub fn wanted(context: &Map<String, Value>) -> Result<Wanted, (&'static str, String)> {
    let text = |name: &str| {
        context
            .get(name)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let mut parameters = match context.get("pipelineParameters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(parameters)) => parameters.clone(),
        Some(other) => {
            return Err((
                "pipelineParameters",
                format!("`{other}` is not an object of parameters"),
            ));
        }
    };
    let strategy = truth(parameters.get("strategy"));
    let field = if strategy { "pipelineId" } else { "pipeline" };
    let Some(pipeline) = text(field) else {
        return Err((field, "the stage names no pipeline".to_owned()));
    };
    if strategy {
        deployment_details(context, &mut parameters);
    }
    Ok(Wanted {
        application: text("pipelineApplication").or_else(|| text("application")),
        pipeline,
        parameters,
        strategy,
        wait: waits_for_completion(context),
        execution: text("executionId"),
    })
}

/// What a strategy is told of the images that were found or baked before it: all of them, and that of its region.
fn deployment_details(context: &Map<String, Value>, parameters: &mut Map<String, Value>) {
    let details: Vec<Value> = context
        .get("deploymentDetails")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|found| {
            let mut own = Map::new();
            for name in ["ami", "imageName", "imageId"] {
                own.insert(
                    name.to_owned(),
                    found.get(name).cloned().unwrap_or_default(),
                );
            }
            for name in ["region", "zone"] {
                if truth(found.get(name)) {
                    own.insert(
                        name.to_owned(),
                        found.get(name).cloned().unwrap_or_default(),
                    );
                    break;
                }
            }
            Value::Object(own)
        })
        .collect();
    if details.is_empty() {
        return;
    }
    if !truth(parameters.get("amiName")) {
        let here = details.iter().find(|found| {
            ["region", "zone"]
                .iter()
                .any(|name| truth(found.get(*name)) && found.get(*name) == parameters.get(*name))
        });
        if let Some(here) = here {
            let (ami, image) = (here.get("ami"), here.get("imageId"));
            parameters.insert("amiName".to_owned(), ami.cloned().unwrap_or_default());
            parameters.insert("imageId".to_owned(), image.cloned().unwrap_or_default());
        }
    }
    parameters.insert("deploymentDetails".to_owned(), details.into());
}

/// Id of the child that one stage starts in one run: the same at every try. `name` tells the children of one stage
/// apart, and `started` is when the stage started.
#[must_use]
pub fn of_stage(run: &Run, ref_id: &str, name: &str, started: i64) -> ExecutionId {
    ExecutionId::derive(started, &["child", &run.to_string(), ref_id, name])
}

/// Id of the execution that the end of a parent's run starts by a trigger: one for each pipeline that hears it,
/// however many of its triggers do.
#[must_use]
pub fn downstream(parent: &Run, pipeline_id: &str, ended: i64) -> ExecutionId {
    ExecutionId::derive(ended, &["downstream", &parent.to_string(), pipeline_id])
}

/// What triggers of type `pipeline` call the end of an execution.
#[must_use]
fn end_name(status: Status) -> &'static str {
    match status {
        Status::Canceled => "canceled",
        Status::Suspended => "suspended",
        Status::Succeeded => "successful",
        _ => "failed",
    }
}

/// Whether a trigger hears that an execution of `pipeline_id` ended so; if not, why not. The application that it
/// names does not matter, a `status` that is a text is searched for the name.
///
/// # Errors
/// The reason, for a person.
pub fn hears(trigger: &Value, pipeline_id: &str, status: Status) -> Result<(), String> {
    let text = |name: &str| trigger.get(name).and_then(Value::as_str);
    if text("type") != Some("pipeline") {
        return Err("the trigger is of another type".to_owned());
    }
    if !truth(trigger.get("enabled")) {
        return Err("the trigger is not enabled".to_owned());
    }
    if text("pipeline").filter(|id| !id.is_empty()) != Some(pipeline_id) {
        return Err(format!(
            "the trigger hears pipeline `{}`, not `{pipeline_id}`",
            text("pipeline").unwrap_or_default()
        ));
    }
    let end = end_name(status);
    let heard = match trigger.get("status") {
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(end)),
        Some(Value::String(text)) => text.contains(end),
        _ => false,
    };
    if heard {
        Ok(())
    } else {
        Err(format!("the trigger does not hear the end `{end}`"))
    }
}

/// An execution that starts another one.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// The execution.
    pub execution: &'a Execution,
    /// Its plan.
    pub plan: &'a Plan,
    /// Records of its stages.
    pub records: &'a Records,
    /// What started it.
    pub trigger: &'a Value,
}

/// The pipeline that is started.
#[derive(Clone, Copy, Debug)]
pub struct ChildPipeline<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its `triggers`, as written.
    pub triggers: &'a [Value],
    /// Its `expectedArtifacts`, as written.
    pub expected_artifacts: &'a [Value],
}

impl Parent<'_> {
    /// How many executions stand above a child of this one: 1 if nobody stands above it.
    #[must_use]
    pub fn depth(&self) -> u64 {
        let above = self
            .trigger
            .get("parentExecution")
            .and_then(|parent| parent.get("depth"))
            .and_then(Value::as_u64)
            .unwrap_or(0);
        above.saturating_add(1)
    }

    /// `trigger.parentExecution` of a child, by reference: without stages, its own parent by reference too.
    #[must_use]
    pub fn reference(&self) -> Value {
        let execution = self.execution;
        let user = self
            .trigger
            .get("user")
            .cloned()
            .unwrap_or_else(|| "anonymous".into());
        json!({
            "type": "PIPELINE",
            "id": execution.id,
            "application": execution.application,
            "name": execution.pipeline,
            "pipelineConfigId": execution.pipeline_id,
            "run": execution.id.run(execution.run.max(1)),
            "status": execution.status,
            "buildTime": execution.build_time,
            "startTime": execution.start_time,
            "endTime": execution.end_time,
            "authentication": { "user": user, "allowedAccounts": [] },
            "depth": self.depth(),
        })
    }

    /// The artifacts that a child receives: those of the stages before `stage` (of all stages if there is none),
    /// later ones first, then those of what started the parent.
    #[must_use]
    pub fn artifacts(&self, stage: Option<&str>) -> Vec<Value> {
        let artifacts = |value: Option<&Value>| -> Vec<Value> {
            value
                .and_then(|holder| holder.get("artifacts"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(artifact::normal)
                .collect()
        };
        let of = |ref_id: &str| -> Vec<Value> {
            self.records
                .get(ref_id)
                .and_then(|record| record.outputs.get("artifacts"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(artifact::normal)
                .collect()
        };
        let mut found: Vec<Value> = Vec::new();
        let mut add = |more: Vec<Value>| {
            for one in more {
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        };
        match stage {
            Some(ref_id) => {
                add(of(ref_id));
                for above in self.plan.ancestors(ref_id) {
                    add(of(&above.ref_id));
                }
            }
            None => {
                let mut emitted: Vec<Value> =
                    in_order(self.plan).into_iter().flat_map(&of).collect();
                emitted.reverse();
                add(emitted);
            }
        }
        add(artifacts(Some(self.trigger)));
        found
    }

    /// The trigger of a child, without what `start` fills in (defaults of parameters, bound artifacts). `stage` is
    /// the `refId` of the stage that starts it, none for a trigger that heard the end; `user` is that of the stage.
    #[must_use]
    pub fn trigger_of_child(
        &self,
        stage: Option<&str>,
        child: ChildPipeline<'_>,
        parameters: &Map<String, Value>,
        user: Option<&str>,
    ) -> Map<String, Value> {
        let execution = self.execution;
        let stage_id = stage.map(|ref_id| stage_id(execution, ref_id));
        let artifacts = self.artifacts(stage);
        // An approver whose answer says so is who acts from then on.
        let approver = stage.and_then(|ref_id| propagated_user(self.plan, self.records, ref_id));
        let own = self
            .trigger
            .get("user")
            .and_then(Value::as_str)
            .filter(|user| !user.is_empty());
        let mut expected: Vec<Value> = child
            .triggers
            .iter()
            .filter(|trigger| {
                trigger.get("type").and_then(Value::as_str) == Some("pipeline")
                    && trigger.get("pipeline").and_then(Value::as_str)
                        == Some(execution.pipeline_id.as_str())
            })
            .filter_map(|trigger| trigger.get("expectedArtifactIds").and_then(Value::as_array))
            .flatten()
            .cloned()
            .collect();
        for one in child.expected_artifacts {
            let matcher = one.get("matchArtifact").unwrap_or(&Value::Null);
            for _ in artifacts
                .iter()
                .filter(|artifact| artifact::matches(matcher, artifact))
            {
                expected.extend(one.get("id").cloned());
            }
        }
        let correlation = format!(
            "{}_{}_{}_{}",
            execution.id,
            stage_id.as_deref().unwrap_or("null"),
            child.id,
            execution
                .start_time
                .map_or_else(|| "null".to_owned(), |at| at.to_string()),
        );
        let trigger = json!({
            "type": "pipeline",
            "user": approver.or(own).or(user).unwrap_or("[anonymous]"),
            "parentExecution": self.reference(),
            "parentPipelineStageId": stage_id,
            "parameters": parameters,
            "strategy": parameters.get("strategy") == Some(&Value::Bool(true)),
            "correlationId": correlation,
            "expectedArtifactIds": expected,
            "artifacts": artifacts,
            "dryRun": self.trigger.get("dryRun") == Some(&Value::Bool(true)),
        });
        let mut trigger = match trigger {
            Value::Object(trigger) => trigger,
            _ => Map::new(),
        };
        trigger.retain(|_, value| !value.is_null());
        trigger
    }
}

/// `refId`s of all stages so that each comes after what it starts after.
fn in_order(plan: &Plan) -> Vec<&str> {
    let mut placed: Vec<&str> = Vec::with_capacity(plan.stages.len());
    let known: std::collections::HashSet<&str> = plan
        .stages
        .iter()
        .map(|stage| stage.ref_id.as_str())
        .collect();
    let mut done: std::collections::HashSet<&str> = std::collections::HashSet::new();
    loop {
        let before = placed.len();
        for stage in &plan.stages {
            let ready = stage
                .starts_after
                .iter()
                .map(|before| before.ref_id.as_str())
                .chain(stage.requisites.iter().map(String::as_str))
                .all(|before| !known.contains(before) || done.contains(before));
            if ready && done.insert(stage.ref_id.as_str()) {
                placed.push(&stage.ref_id);
            }
        }
        if placed.len() == before {
            // A cycle cannot be compiled; what is left keeps the plan's order.
            let left = plan.stages.iter().map(|stage| stage.ref_id.as_str());
            placed.extend(left.filter(|ref_id| !done.contains(ref_id)));
            return placed;
        }
    }
}

/// A child, or any execution that a stage waits for, as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Its id.
    pub id: String,
    /// Its application.
    pub application: String,
    /// Name of its pipeline.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// Why it halted: `{source, details: {errors}}`; none if it did not.
    pub exception: Option<Value>,
    /// The outputs of its stages: of two values of one name the later stage's, two lists are one.
    pub outputs: Map<String, Value>,
}

/// An execution that has not ended, or whose stages nobody can read.
#[must_use]
pub fn open(execution: &Execution) -> Watched {
    let halted = execution.status.is_halt();
    Watched {
        id: execution.id.to_string(),
        application: execution.application.clone(),
        name: execution.pipeline.clone(),
        status: execution.status,
        exception: halted.then(|| json!({ "source": no_stage(), "details": { "errors": [] } })),
        outputs: Map::new(),
    }
}

fn no_stage() -> Value {
    json!({ "executionId": null, "stageId": null, "stageName": null, "stageIndex": 0 })
}

/// What a stage that waits needs to know of an execution.
#[must_use]
pub fn watched(plan: &Plan, execution: &Execution, records: &Records) -> Watched {
    let mut outputs: Map<String, Value> = Map::new();
    if execution.status.is_complete() {
        for ref_id in in_order(plan) {
            let own = records.get(ref_id).map(|record| &record.outputs);
            for (name, value) in own.into_iter().flatten() {
                merge(&mut outputs, name, value);
            }
        }
    }
    Watched {
        id: execution.id.to_string(),
        application: execution.application.clone(),
        name: execution.pipeline.clone(),
        status: execution.status,
        exception: execution
            .status
            .is_halt()
            .then(|| exception(plan, execution, records)),
        outputs,
    }
}

fn merge(outputs: &mut Map<String, Value>, name: &str, value: &Value) {
    match (outputs.get_mut(name), value) {
        (Some(Value::Array(list)), Value::Array(more)) => {
            for one in more {
                if !list.contains(one) {
                    list.push(one.clone());
                }
            }
        }
        _ => {
            outputs.insert(name.to_owned(), value.clone());
        }
    }
}

/// The failed stages' errors, and the first of those stages.
fn exception(plan: &Plan, execution: &Execution, records: &Records) -> Value {
    let failed: Vec<(usize, &crate::PlanStage)> = plan
        .stages
        .iter()
        .enumerate()
        .filter(|(_, stage)| rollup::stage_status(plan, records, &stage.ref_id) == Status::Terminal)
        .collect();
    let mut errors: Vec<String> = Vec::new();
    for (_, stage) in &failed {
        let details = records
            .get(&stage.ref_id)
            .and_then(|record| record.context.get("exception"))
            .and_then(|exception| exception.get("details"));
        let own = details.and_then(|details| {
            details
                .get("errors")
                .filter(|errors| truth(Some(errors)))
                .or_else(|| details.get("error"))
        });
        let texts: Vec<String> = match own {
            Some(Value::Array(list)) => list.iter().map(plain).collect(),
            Some(Value::Null) | None => Vec::new(),
            Some(one) => vec![plain(one)],
        };
        let name = if stage.name.is_empty() {
            &stage.stage_type
        } else {
            &stage.name
        };
        errors.extend(texts.into_iter().map(|text| {
            format!(
                "Exception in child pipeline stage ({}: {name}): {text}",
                execution.pipeline
            )
        }));
    }
    if errors.is_empty()
        && execution.status == Status::Terminal
        && let Some(ending) = &execution.ending
    {
        // It failed outside its stages: Orca is silent here.
        errors.push(format!(
            "Exception in child pipeline ({}): {}",
            execution.pipeline, ending.reason
        ));
    }
    let source = failed.first().map_or_else(no_stage, |(index, stage)| {
        json!({
            "executionId": execution.id,
            "stageId": stage_id(execution, &stage.ref_id),
            "stageName": stage.name,
            "stageIndex": index,
        })
    });
    json!({ "source": source, "details": { "errors": errors } })
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Who waits for executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// A `pipeline` stage, for its one child.
    Child,
    /// A `monitorPipeline` stage, for all of its executions (`WaitForAllToComplete`).
    All,
    /// A `monitorPipeline` stage, until one fails (`FailFast`).
    FirstFailure,
}

/// What the executions' states make of the stage that waits for them.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Not yet.
    Running {
        /// What a person reads.
        reason: String,
    },
    /// Over: SUCCEEDED, TERMINAL or CANCELED, before the stage's own failure policy.
    Over {
        /// The task's status.
        status: Status,
        /// What a person reads; empty for a success.
        reason: String,
        /// For the stage's own context.
        context: Map<String, Value>,
        /// For dependants.
        outputs: Map<String, Value>,
    },
}

/// What became of the executions that a stage waits for.
///
/// All SUCCEEDED is SUCCEEDED; a TERMINAL or STOPPED one is TERMINAL, once all are complete or at once with
/// [`Monitor::FirstFailure`]; all complete and one of them CANCELED is CANCELED. Outputs are passed on if it is one.
#[must_use]
pub fn outcome(monitor: Monitor, watched: &[Watched]) -> Outcome {
    let mut context = Map::new();
    let mut outputs = Map::new();
    let failed = |one: &Watched| one.status.is_halt() && one.status != Status::Canceled;
    let complete = watched.iter().all(|one| one.status.is_complete());
    let any_failed = watched.iter().any(failed);
    if monitor == Monitor::Child {
        if let Some(child) = watched.first() {
            context.insert("status".to_owned(), json!(child.status));
            if failed(child) {
                context.insert("exception".to_owned(), json!(child.exception));
            }
        }
    } else {
        let statuses: Map<String, Value> = watched
            .iter()
            .map(|one| {
                let mut details = Map::new();
                details.insert("status".to_owned(), json!(one.status));
                details.insert("application".to_owned(), one.application.as_str().into());
                if let Some(exception) = &one.exception {
                    details.insert("exception".to_owned(), exception.clone());
                }
                (one.id.clone(), Value::Object(details))
            })
            .collect();
        outputs.insert("executionStatuses".to_owned(), Value::Object(statuses));
    }
    if let [one] = watched
        && complete
    {
        let size = json!(one.outputs).to_string().len();
        if size <= MAX_OUTPUTS {
            outputs.extend(one.outputs.clone());
        } else {
            context.insert(
                "outputsLeftOut".to_owned(),
                format!("{size} bytes: more than the {MAX_OUTPUTS} that a stage keeps").into(),
            );
        }
    }
    let over = |status, reason: String| Outcome::Over {
        status,
        reason,
        context: context.clone(),
        outputs: outputs.clone(),
    };
    let errors = || {
        let texts: Vec<&str> = watched
            .iter()
            .filter_map(|one| one.exception.as_ref())
            .filter_map(|exception| exception.get("details")?.get("errors")?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if texts.is_empty() {
            String::new()
        } else {
            format!(": {}", texts.join("; "))
        }
    };
    if watched.iter().all(|one| one.status == Status::Succeeded) {
        return over(Status::Succeeded, String::new());
    }
    if any_failed && (complete || monitor == Monitor::FirstFailure) {
        let reason = "At least one monitored pipeline failed, look for errors in failed pipelines";
        return over(Status::Terminal, format!("{reason}{}", errors()));
    }
    if complete {
        return over(
            Status::Canceled,
            "At least one monitored pipeline was cancelled".to_owned(),
        );
    }
    let open: Vec<String> = watched
        .iter()
        .filter(|one| !one.status.is_complete())
        .map(|one| format!("`{}` ({}, {})", one.name, one.id, one.status))
        .collect();
    Outcome::Running {
        reason: format!("waits for the end of {}", open.join(", ")),
    }
}

/// The outputs of a stage that waited, with its `expectedArtifacts` bound to what the executions made: the `artifacts`
/// of these outputs, else `inherited`, those of the nearest stage before it. Unchanged if it expects none.
///
/// # Errors
/// [`Unbound`] for the first that nothing matches; the stage then fails.
pub fn bind_artifacts(
    context: &Map<String, Value>,
    inherited: Option<&Value>,
    mut outputs: Map<String, Value>,
) -> Result<Map<String, Value>, Unbound> {
    let expected = context.get("expectedArtifacts").and_then(Value::as_array);
    let Some(expected) = expected.filter(|expected| !expected.is_empty()) else {
        return Ok(outputs);
    };
    let made = outputs.get("artifacts").or(inherited);
    let made = made
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let bound = artifact::bind(expected, made, &[], false)?;
    outputs.extend(bound.outputs());
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, StageRecord};

    #[test]
    fn expected_artifacts_are_bound_to_what_the_child_made_else_to_what_came_before_it() {
        let expecting = json!({"expectedArtifacts": [{"id": "e", "displayName": "image",
            "matchArtifact": {"type": "docker/image", "name": "shop/web"}}]});
        let image = |version: &str| json!([{"type": "docker/image", "name": "shop/web", "version": version}]);
        let made = context(json!({"artifacts": image("2"), "other": 1}));
        let before = image("1");
        let bound = |outputs: Map<String, Value>| {
            bind_artifacts(&context(expecting.clone()), Some(&before), outputs).unwrap()
        };
        let outputs = bound(made.clone());
        assert_eq!(outputs["artifacts"][0]["version"], "2");
        assert_eq!(
            outputs["resolvedExpectedArtifacts"][0]["boundArtifact"]["version"],
            "2"
        );
        assert_eq!(outputs["other"], 1);
        assert_eq!(bound(Map::new())["artifacts"][0]["version"], "1");
        assert!(bind_artifacts(&context(expecting.clone()), None, Map::new()).is_err());
        assert_eq!(
            bind_artifacts(&Map::new(), None, made.clone()).unwrap(),
            made
        );
    }

    fn context(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn plan() -> Plan {
        serde_json::from_value(json!({
            "schema": 1, "application": "shop", "pipeline": "release", "pipelineId": "p-1", "spelEvaluator": "v4",
            "stages": [
                {"refId": "1", "type": "bake", "name": "Bake", "context": {}},
                {"refId": "2", "type": "deploy", "name": "", "requisites": ["1"], "context": {},
                    "startsAfter": [{"refId": "1", "whole": true}]},
            ],
        }))
        .unwrap()
    }

    fn execution(status: Status) -> Execution {
        serde_json::from_value(json!({
            "id": ExecutionId::derive(1, &["parent"]), "application": "shop", "pipeline": "release",
            "pipelineId": "p-1", "revision": 1, "planHash": "h", "stateMachine": "m", "status": status, "run": 1,
            "buildTime": 900, "startTime": 1000,
        }))
        .unwrap()
    }

    fn records(outputs: &[(&str, Status, Value)]) -> Records {
        outputs
            .iter()
            .map(|(ref_id, status, outputs)| {
                let mut record = StageRecord::not_started(ref_id);
                record.status = *status;
                record.outputs = context(outputs.clone());
                ((*ref_id).to_owned(), record)
            })
            .collect()
    }

    #[test]
    fn a_stage_waits_unless_it_says_false() {
        for (value, waits) in [
            (json!({}), true),
            (json!({"waitForCompletion": null}), true),
            (json!({"waitForCompletion": "FALSE"}), false),
            (json!({"waitForCompletion": false}), false),
            (json!({"waitForCompletion": "no"}), true),
        ] {
            assert_eq!(
                waits_for_completion(&context(value.clone())),
                waits,
                "{value}"
            );
        }
    }

    #[test]
    fn a_strategy_is_told_the_image_of_its_region() {
        let wanted = wanted(&context(json!({
            "pipelineApplication": "strategies", "application": "shop", "pipelineId": "s-1", "pipeline": "p-9",
            "pipelineParameters": {"strategy": true, "region": "eu-west-1"},
            "deploymentDetails": [
                {"ami": "ami-1", "imageId": "ami-1", "imageName": "a", "region": "us-east-1"},
                {"ami": "ami-2", "imageId": "ami-2", "imageName": "b", "region": "eu-west-1", "zone": "z"},
            ],
        })))
        .unwrap();
        assert_eq!(wanted.pipeline, "s-1");
        assert_eq!(wanted.application.as_deref(), Some("strategies"));
        assert_eq!(wanted.parameters["amiName"], "ami-2");
        assert_eq!(
            wanted.parameters["deploymentDetails"][1],
            json!({"ami": "ami-2", "imageName": "b", "imageId": "ami-2", "region": "eu-west-1"})
        );
    }

    #[test]
    fn a_stage_that_names_no_pipeline_cannot_be_read() {
        let error = |value: Value| wanted(&context(value)).unwrap_err().0;
        assert_eq!(error(json!({"application": "shop"})), "pipeline");
        assert_eq!(
            error(json!({"pipeline": "p", "pipelineParameters": [1]})),
            "pipelineParameters"
        );
    }

    #[test]
    fn every_try_of_a_stage_means_the_same_child_and_every_run_another() {
        let id = ExecutionId::derive(1, &["x"]);
        let child = of_stage(&id.run(1), "3", "p-2", 50);
        assert_eq!(child, of_stage(&id.run(1), "3", "p-2", 50));
        assert_ne!(child, of_stage(&id.run(2), "3", "p-2", 50));
        assert_ne!(child, of_stage(&id.run(1), "4", "p-2", 50));
        assert_ne!(
            downstream(&id.run(1), "p-2", 50),
            downstream(&id.run(1), "p-3", 50)
        );
    }

    #[test]
    fn a_status_that_is_a_text_is_searched_and_one_that_is_missing_hears_nothing() {
        let hears = |more: Value, status| {
            let mut trigger =
                context(json!({"type": "pipeline", "enabled": true, "pipeline": "p-1"}));
            trigger.extend(context(more));
            hears(&Value::Object(trigger), "p-1", status).is_ok()
        };
        assert!(hears(json!({"status": ["successful"]}), Status::Succeeded));
        assert!(!hears(json!({"status": ["successful"]}), Status::Terminal));
        assert!(hears(json!({"status": "unsuccessful"}), Status::Succeeded));
        assert!(!hears(json!({"status": null}), Status::Succeeded));
        assert!(!hears(json!({}), Status::Succeeded));
        assert!(hears(
            json!({"status": ["failed"], "enabled": "false"}),
            Status::FailedContinue
        ));
        assert!(!hears(
            json!({"status": ["failed"], "enabled": 0}),
            Status::Terminal
        ));
        assert!(!hears(
            json!({"status": ["canceled"], "pipeline": "P-1"}),
            Status::Canceled
        ));
        assert!(!hears(
            json!({"status": ["canceled"], "type": "PIPELINE"}),
            Status::Canceled
        ));
    }

    #[test]
    fn the_childs_trigger_names_its_parent_and_brings_later_artifacts_first() {
        let plan = plan();
        let execution = execution(Status::Running);
        let records = records(&[
            (
                "1",
                Status::Succeeded,
                json!({"artifacts": [{"type": "s3/object", "name": "a"}]}),
            ),
            (
                "2",
                Status::Running,
                json!({"artifacts": [{"type": "s3/object", "name": "b", "size": 1}]}),
            ),
        ]);
        let started_by = json!({"user": "ada", "artifacts": [{"type": "docker/image", "name": "web"}], "dryRun": true,
            "parentExecution": {"id": "x", "depth": 3}});
        let parent = Parent {
            execution: &execution,
            plan: &plan,
            records: &records,
            trigger: &started_by,
        };
        let child = ChildPipeline {
            id: "p-2",
            triggers: &[
                json!({"type": "pipeline", "pipeline": "p-1", "expectedArtifactIds": ["x"]}),
                json!({"type": "pipeline", "pipeline": "p-9", "expectedArtifactIds": ["y"]}),
            ],
            expected_artifacts: &[json!({"id": "web", "matchArtifact": {"type": "docker/image"}})],
        };
        let trigger =
            parent.trigger_of_child(Some("2"), child, &context(json!({"size": 2})), Some("bob"));
        assert_eq!(trigger["user"], "ada");
        assert_eq!(trigger["expectedArtifactIds"], json!(["x", "web"]));
        let names: Vec<&Value> = trigger["artifacts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|artifact| &artifact["name"])
            .collect();
        assert_eq!(names, ["b", "a", "web"]);
        assert_eq!(trigger["artifacts"][0]["metadata"], json!({"size": 1}));
        assert_eq!(trigger["dryRun"], true);
        assert_eq!(trigger["parentExecution"]["depth"], 4);
        assert_eq!(
            trigger["correlationId"],
            format!("{0}_{0}-2_p-2_1000", execution.id)
        );
        let heard = parent.trigger_of_child(None, child, &Map::new(), None);
        assert!(!heard.contains_key("parentPipelineStageId"));
        assert_eq!(
            heard["correlationId"],
            format!("{}_null_p-2_1000", execution.id)
        );
    }

    fn child(status: Status) -> Watched {
        let plan = plan();
        let mut execution = execution(status);
        execution.ending = Some(Ending {
            status,
            reason: "said so".to_owned(),
            by: "2".to_owned(),
            at: 2,
        });
        let mut records = records(&[
            ("1", Status::Succeeded, json!({"x": 1, "list": [1, 2]})),
            ("2", status, json!({"x": 2, "list": [2, 3]})),
        ]);
        if status == Status::Terminal {
            records.get_mut("2").unwrap().context =
                context(json!({"exception": {"details": {"errors": ["no capacity"]}}}));
        }
        watched(&plan, &execution, &records)
    }

    #[test]
    fn a_childs_outputs_are_those_of_its_stages_merged() {
        let Outcome::Over {
            status,
            outputs,
            context,
            ..
        } = outcome(Monitor::Child, &[child(Status::Succeeded)])
        else {
            unreachable!()
        };
        assert_eq!(status, Status::Succeeded);
        assert_eq!(outputs["x"], 2);
        assert_eq!(outputs["list"], json!([1, 2, 3]));
        assert_eq!(context["status"], "SUCCEEDED");
    }

    #[test]
    fn a_failed_child_fails_its_stage_and_says_which_of_its_stages_failed() {
        let Outcome::Over {
            status,
            reason,
            context,
            ..
        } = outcome(Monitor::Child, &[child(Status::Terminal)])
        else {
            unreachable!()
        };
        assert_eq!(status, Status::Terminal);
        assert!(
            reason.ends_with(": Exception in child pipeline stage (release: deploy): no capacity")
        );
        assert_eq!(context["exception"]["source"]["stageIndex"], 1);
        assert_eq!(
            context["exception"]["details"]["errors"],
            json!(["Exception in child pipeline stage (release: deploy): no capacity"])
        );
    }

    #[test]
    fn executions_that_are_monitored_end_together_or_with_the_first_failure() {
        let status = |monitor, statuses: &[Status]| {
            let all: Vec<Watched> = statuses.iter().map(|status| child(*status)).collect();
            match outcome(monitor, &all) {
                Outcome::Running { .. } => Status::Running,
                Outcome::Over { status, .. } => status,
            }
        };
        use Monitor::{All, FirstFailure};
        use Status::{Canceled, Running, Stopped, Succeeded, Terminal};
        assert_eq!(status(All, &[Succeeded, Succeeded]), Succeeded);
        assert_eq!(status(All, &[Terminal, Running]), Running);
        assert_eq!(status(FirstFailure, &[Terminal, Running]), Terminal);
        assert_eq!(status(FirstFailure, &[Canceled, Running]), Running);
        assert_eq!(status(All, &[Canceled, Succeeded]), Canceled);
        assert_eq!(status(All, &[Canceled, Stopped]), Terminal);
    }

    #[test]
    fn outputs_that_no_record_can_hold_are_left_out_and_it_is_said() {
        let mut large = child(Status::Succeeded);
        large
            .outputs
            .insert("blob".to_owned(), "x".repeat(MAX_OUTPUTS).into());
        let Outcome::Over {
            outputs, context, ..
        } = outcome(Monitor::Child, &[large])
        else {
            unreachable!()
        };
        assert!(outputs.is_empty());
        assert!(context.contains_key("outputsLeftOut"));
    }
}
