//! `kayentaCanary`: the sub-stages that deploy a baseline and a canary group, and that take both away on every end.

use gennaker_domain::{Problem, canary, duration};
use serde_json::{Map, Value, json};

use super::{Spec, deploy};
use crate::{
    options::Options,
    parse::Stage,
    validate::{not_built, shortened},
};

/// Beyond its lifetime, a canary may wait for a metric store that does not answer: one hour.
const SLACK_SECONDS: u64 = 3_600;

/// A `kayentaCanary` with what it deploys, if it deploys.
pub(super) fn stage(stage: &Stage, options: &Options, problems: &mut Vec<Problem>) -> Spec {
    let mut spec = Spec::of(&stage.stage_type, &stage.name, stage.context.clone());
    if let (Some(task), Some(seconds)) = (&mut spec.task, lifetime_seconds(stage)) {
        task.usual_seconds = Some(seconds);
        if !stage.context.contains_key("stageTimeoutMs") {
            task.time_limit_seconds = seconds.saturating_add(SLACK_SECONDS);
        }
    }
    let Some(deployments) = Deployments::read(stage, problems) else {
        return spec;
    };
    spec.before
        .push(vec![deployments.deploy(stage, options, problems)]);
    let clean_up = deployments.clean_up();
    let mut functions = Vec::new();
    deploy::collect_functions(&clean_up, &mut functions);
    for function in functions {
        not_built(function, stage, options, problems);
    }
    spec.after = vec![clean_up.clone()];
    spec.on_failure = vec![clean_up];
    spec
}

/// Warm-up and lifetime of a real-time canary, where both are literal.
fn lifetime_seconds(stage: &Stage) -> Option<u64> {
    let config = stage.context.get("canaryConfig")?;
    let number = |name: &str| match config.get(name) {
        None | Some(Value::Null) => Some(0.0),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(value) => value.as_f64(),
    };
    let ends = config.pointer("/scopes/0/endTimeIso");
    if ends.is_some_and(|ends| !ends.is_null()) {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // Milliseconds of a canary are far below 2^53.
    let lifetime = match config.get("lifetimeDuration").and_then(Value::as_str) {
        Some(text) => duration::millis(text)? as f64 / 1_000.0,
        None => number("lifetimeHours")? * 3_600.0,
    };
    let seconds = lifetime + number("beginCanaryAnalysisAfterMins")? * 60.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In range: a year at most.
    (lifetime > 0.0 && seconds <= 31_536_000.0).then(|| seconds.ceil() as u64)
}

/// `deployments` of a canary stage.
struct Deployments<'a> {
    baseline: &'a Map<String, Value>,
    pairs: Vec<(Side<'a>, Side<'a>)>,
    delay_seconds: u32,
}

/// One of the two groups of a pair.
struct Side<'a> {
    path: String,
    group: &'a Map<String, Value>,
    cluster: String,
    regions: Vec<String>,
}

/// Tells what is wrong with `deployments`, and where.
struct Wrong<'a, 'b> {
    stage: &'a Stage,
    problems: &'b mut Vec<Problem>,
}

impl Wrong<'_, '_> {
    fn tell<T>(&mut self, path: &str, message: impl Into<String>, hint: &str) -> Option<T> {
        self.problems.push(
            Problem::error("bad-canary-deployments", path, message)
                .at_stage(&self.stage.ref_id)
                .with_hint(hint),
        );
        None
    }
}

const HINT: &str = "deployments is {baseline: {application, account, cluster}, serverGroupPairs: [{control: {…}, experiment: {…}}], delayBeforeCleanup: \"PT1H\"}";

impl<'a> Deployments<'a> {
    /// None where a stage deploys nothing, and where what it says cannot be planned.
    fn read(stage: &'a Stage, problems: &mut Vec<Problem>) -> Option<Self> {
        let written = stage.context.get("deployments")?;
        if written.is_null() {
            return None;
        }
        let path = format!("{}.deployments", stage.path);
        let mut wrong = Wrong { stage, problems };
        let Some(deployments) = written.as_object() else {
            let text = shortened(written.as_str().unwrap_or("not an object"));
            let message = format!(
                "`deployments` is `{text}`: what a canary deploys has to be known before it runs"
            );
            return wrong.tell(&path, message, HINT);
        };
        let Some(baseline) = deployments.get("baseline").and_then(Value::as_object) else {
            return wrong.tell(
                &format!("{path}.baseline"),
                "the canary does not say whose image its baseline runs",
                HINT,
            );
        };
        for field in ["application", "account", "cluster"] {
            if baseline.get(field).and_then(Value::as_str).is_none() {
                let path = format!("{path}.baseline.{field}");
                return wrong.tell(&path, "is missing", HINT);
            }
        }
        let path_of_pairs = format!("{path}.serverGroupPairs");
        let listed = deployments
            .get("serverGroupPairs")
            .and_then(Value::as_array)
            .filter(|listed| !listed.is_empty());
        let Some(listed) = listed else {
            let message = "the canary deploys no pair of server groups";
            return wrong.tell(&path_of_pairs, message, HINT);
        };
        let mut pairs = Vec::with_capacity(listed.len());
        for (position, pair) in listed.iter().enumerate() {
            let mut side = |name: &str| {
                let path = format!("{path_of_pairs}[{position}].{name}");
                Side::read(pair.get(name), path, &mut wrong)
            };
            let (control, experiment) = (side("control"), side("experiment"));
            pairs.push((control?, experiment?));
        }
        let Some(delay_seconds) = canary::delay_seconds(deployments.get("delayBeforeCleanup"))
        else {
            return wrong.tell(
                &format!("{path}.delayBeforeCleanup"),
                "is not a duration that is known before the pipeline runs",
                "write it as an ISO-8601 duration, such as \"PT1H\"",
            );
        };
        Some(Self {
            baseline,
            pairs,
            delay_seconds,
        })
    }

    /// Finds the baseline's image and deploys with it; the canary, whose image an earlier stage found or baked, beside.
    fn deploy(&self, stage: &Stage, options: &Options, problems: &mut Vec<Problem>) -> Spec {
        let mut regions: Vec<&str> = Vec::new();
        for region in self
            .pairs
            .iter()
            .flat_map(|(control, experiment)| control.regions.iter().chain(&experiment.regions))
        {
            if !regions.contains(&region.as_str()) {
                regions.push(region);
            }
        }
        let provider = self.baseline.get("cloudProvider");
        let mut find = Map::from_iter([
            (
                "cloudProvider".to_owned(),
                provider
                    .filter(|p| !p.is_null())
                    .cloned()
                    .unwrap_or_else(|| json!("aws")),
            ),
            ("regions".to_owned(), json!(regions)),
        ]);
        for field in ["application", "account", "cluster"] {
            if let Some(value) = self.baseline.get(field) {
                find.insert(field.to_owned(), value.clone());
            }
        }
        not_built("find-image", stage, options, problems);
        let mut baseline = Spec::of("findImage", "Find baseline image", find);
        let mut deploy = |name: &str, sides: Vec<&Side<'a>>| {
            let groups: Vec<&Map<String, Value>> = sides.iter().map(|side| side.group).collect();
            let context = Map::from_iter([
                ("clusters".to_owned(), json!(groups)),
                ("strategy".to_owned(), json!("highlander")),
            ]);
            let deploy = Stage {
                name: name.to_owned(),
                stage_type: "deploy".to_owned(),
                context,
                ..stage.clone()
            };
            let paths = sides.iter().map(|side| (side.path.clone(), side.group));
            deploy::group_of(&deploy, paths.collect(), options, problems)
        };
        let of_baseline = self.pairs.iter().map(|(control, _)| control).collect();
        let of_canary = self
            .pairs
            .iter()
            .map(|(_, experiment)| experiment)
            .collect();
        baseline.then = vec![deploy(canary::DEPLOY_BASELINE, of_baseline)];
        let canary = deploy(canary::DEPLOY_CANARY, of_canary);
        let mut group = Spec::group(canary::DEPLOY, "Deploy Canary Server Groups", Map::new());
        group.before = vec![vec![baseline, canary]];
        group
    }

    /// Takes both groups out of traffic, waits, destroys both; whatever fails, the rest is tried.
    fn clean_up(&self) -> Spec {
        let sides = || {
            self.pairs.iter().flat_map(|(control, experiment)| {
                [("control", control), ("experiment", experiment)]
            })
        };
        let disable = sides()
            .map(|(word, side)| {
                let name = format!("Disable {word} cluster {}", side.cluster);
                let mut context = side.cluster_context();
                context.insert("remainingEnabledServerGroups".to_owned(), json!(0));
                Spec::of("disableCluster", name, context)
            })
            .collect();
        let wait = Map::from_iter([("waitTime".to_owned(), json!(self.delay_seconds))]);
        let destroy = sides()
            .map(|(word, side)| {
                let name = format!("Cleanup {word} cluster {}", side.cluster);
                let mut context = side.cluster_context();
                context.insert("allowDeleteActive".to_owned(), json!(true));
                context.insert("shrinkToSize".to_owned(), json!(0));
                Spec::of("shrinkCluster", name, context)
            })
            .collect();
        let mut group = Spec::group(canary::CLEAN_UP, "Cleanup Canary Clusters", Map::new());
        group.before = vec![
            disable,
            vec![Spec::of("wait", "Wait before cleanup", wait)],
            destroy,
        ];
        group
    }
}

impl<'a> Side<'a> {
    fn read(written: Option<&'a Value>, path: String, wrong: &mut Wrong<'_, '_>) -> Option<Self> {
        let Some(group) = written.and_then(Value::as_object) else {
            return wrong.tell(&path, "is not a server group", HINT);
        };
        let Some(cluster) = deploy::cluster_name(group) else {
            let hint = "name `application`, `stack` and `freeFormDetails`, or `moniker.cluster`";
            return wrong.tell(&path, "the cluster of this group is not known", hint);
        };
        let zones = group.get("availabilityZones").and_then(Value::as_object);
        let regions: Vec<String> = match zones.filter(|zones| !zones.is_empty()) {
            Some(zones) => zones.keys().cloned().collect(),
            None => deploy::region(group).into_iter().collect(),
        };
        if regions.is_empty() {
            let hint = "name `availabilityZones` or `region`";
            return wrong.tell(&path, "the region of this group is not known", hint);
        }
        Some(Self {
            path,
            group,
            cluster,
            regions,
        })
    }

    /// What a stage says that works on the group's whole cluster, and does not mind if there is none.
    fn cluster_context(&self) -> Map<String, Value> {
        let mut context = Map::from_iter([
            ("cluster".to_owned(), json!(self.cluster)),
            ("regions".to_owned(), json!(self.regions)),
            ("continueIfClusterNotFound".to_owned(), json!(true)),
            ("continuePipeline".to_owned(), json!(true)),
            (
                "allowSiblingStagesToContinueOnFailure".to_owned(),
                json!(true),
            ),
        ]);
        let fields = [
            ("cloudProvider", "cloudProvider"),
            ("account", "credentials"),
            ("moniker", "moniker"),
        ];
        for (field, called) in fields {
            if let Some(value) = self.group.get(field).filter(|value| !value.is_null()) {
                context.insert(called.to_owned(), value.clone());
            }
        }
        context
    }
}
