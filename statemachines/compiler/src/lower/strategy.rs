//! Deployment strategies: the sub-stages before and after a server group is created, and when that failed.
//!
//! Which they are is the domain's decision ([`strategy::sub_stages`]); here they get their functions. They are planned
//! when the pipeline is compiled, before anybody knows whether there is an older server group: what is known only when
//! they run is left open as conditions and fills.

use gennaker_domain::{
    Problem,
    deployment::strategy::{self, Fill, Strategy, StrategyError, SubStage},
};
use serde_json::{Map, Value, json};

use super::{Spec, deploy::region};
use crate::{
    options::{Mode, Options},
    parse::Stage,
    validate::shortened,
};

/// Most steps of a rolling strategy: every percentage once.
const MOST_STEPS: usize = 101;

/// Adds the sub-stages of `spec`'s strategy, whose name ignores case; as in Spinnaker, an unknown one is none.
pub(super) fn plan(
    spec: &mut Spec,
    stage: &Stage,
    path: &str,
    options: &Options,
    problems: &mut Vec<Problem>,
) {
    let written = spec
        .context
        .get("strategy")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut wrong = |code: &str, message: String, hint: &str| {
        problems.push(
            Problem::error(code, format!("{path}.strategy"), message)
                .at_stage(&stage.ref_id)
                .with_hint(hint),
        );
    };
    let strategy = Strategy::from_name(written);
    if strategy == Strategy::RollingPush {
        wrong(
            "strategy-refused",
            "`rollingpush` replaces the instances of the only server group, so that nothing is left to go back to"
                .to_owned(),
            "use `redblack`, or `rollingredblack` to move traffic step by step; to replace instances where they are, a stage `instanceRefresh`, which rolls back",
        );
        return;
    }
    if written.eq_ignore_ascii_case("cfrollingredblack") {
        wrong(
            "outside-aws",
            "`cfrollingredblack` belongs to Cloud Foundry; Gennaker deploys to AWS".to_owned(),
            "use `rollingredblack`",
        );
        return;
    }
    if strategy == Strategy::None && written.contains("${") {
        wrong(
            "strategy-not-literal",
            format!(
                "the strategy is the expression `{}`: its stages have to be known before they run",
                shortened(written)
            ),
            "write the strategy's name, or a pipeline for each",
        );
        return;
    }
    let steps = ["targetPercentages", "deploySteps"]
        .into_iter()
        .filter_map(|key| Some((key, spec.context.get(key)?.as_array()?)));
    for (key, list) in steps {
        if list.len() > MOST_STEPS {
            problems.push(
                Problem::error(
                    "too-many-steps",
                    format!("{path}.{key}"),
                    format!("{} steps, more than {MOST_STEPS}", list.len()),
                )
                .at_stage(&stage.ref_id)
                .with_hint("a step is a percentage from 0 to 100"),
            );
            return;
        }
    }
    if !strategy.is_rolling() {
        spec.before
            .extend(captured(spec).map(|capture| vec![capture]));
    }
    let hidden = Hidden::of(&spec.context);
    let planned = match strategy::sub_stages(&Value::Object(hidden.context.clone())) {
        Ok(planned) => planned,
        // Nothing follows from a place that is not known yet; a stage that deploys nowhere fails when it runs.
        Err(StrategyError::NoRegion | StrategyError::NoCluster) if strategy == Strategy::None => {
            return;
        }
        // Whoever only looks at it sees the rest of the pipeline, too.
        Err(error @ (StrategyError::NoRegion | StrategyError::NoCluster))
            if options.mode != Mode::Save =>
        {
            problems.push(
                Problem::warning(
                    "bad-strategy",
                    format!("{path}.strategy"),
                    error.to_string(),
                )
                .at_stage(&stage.ref_id)
                .with_hint("without a place the strategy has no sub-stages; saving refuses it"),
            );
            return;
        }
        Err(error) => {
            wrong(
                "bad-strategy",
                error.to_string(),
                "the sub-stages of a strategy have to be known before they run",
            );
            return;
        }
    };
    for (name, value) in hidden.shown(planned.context) {
        spec.context.insert(name, value);
    }
    for name in planned.removed {
        spec.context.shift_remove(name);
    }
    let lowered = |stage: SubStage| lowered(stage, &hidden);
    let before: Vec<Spec> = planned.before.into_iter().map(lowered).collect();
    spec.before
        .extend(before.into_iter().map(|stage| vec![stage]));
    spec.after = planned.after.into_iter().map(lowered).collect();
    let on_failure: Vec<Spec> = planned.on_failure.into_iter().map(lowered).collect();
    let rolls_back = |spec: &Spec| spec.stage_type == "rollbackCluster";
    if on_failure.iter().any(rolls_back) && !options.built.contains("rollback-cluster") {
        // Not a reason to refuse: what the deploy changed is undone when the execution ends.
        problems.push(
            Problem::warning(
                "rollback-not-built",
                format!("{path}.rollback"),
                "`rollback.onFailure` has no stages in this release",
            )
            .at_stage(&stage.ref_id)
            .with_hint("a failed deploy is undone when the execution ends, whatever this says"),
        );
        return;
    }
    // Each is tried, also when one before it failed; the deploy stays failed.
    spec.on_failure = on_failure.into_iter().map(best_effort).collect();
}

/// A sub-stage with its function.
fn lowered(stage: SubStage, hidden: &Hidden) -> Spec {
    let mut name = stage.name;
    for (open, known) in [
        ("{source}", "the source server group"),
        ("{deployed}", "the new server group"),
    ] {
        name = name.replace(open, known);
    }
    let disables_first = (stage.type_ == "shrinkCluster")
        .then(|| {
            strategy::disable_before_shrink(&stage.context)
                .ok()
                .flatten()
        })
        .flatten();
    let mut spec = Spec::of(&stage.type_, name, hidden.shown(stage.context));
    spec.conditions.clone_from(&stage.only_if);
    spec.fills.clone_from(&stage.fills);
    if let Some(mut disable) = disables_first {
        disable.fills.retain(|fill| *fill != Fill::HealthProviders);
        disable.fills.extend(stage.fills);
        disable.only_if = stage.only_if;
        spec.before.push(vec![lowered(disable, hidden)]);
    }
    if stage.continue_on_failure {
        best_effort(spec)
    } else {
        spec
    }
}

/// A stage whose failure the deploy does not mind.
fn best_effort(mut spec: Spec) -> Spec {
    spec.context
        .insert("continuePipeline".to_owned(), json!(true));
    spec.context.insert(
        "allowSiblingStagesToContinueOnFailure".to_owned(),
        json!(true),
    );
    spec
}

/// With `useSourceCapacity` the new group starts with the minimum pinned to what the old one runs, so that it cannot
/// shrink while traffic moves; the last sub-stage gives it the old minimum back. In the original a task does this.
fn captured(spec: &Spec) -> Option<Spec> {
    let own = &spec.context;
    let wanted = match own.get("useSourceCapacity") {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text.contains("${"),
        _ => false,
    };
    if !wanted {
        return None;
    }
    let field = |name: &str| own.get(name).filter(|value| !value.is_null()).cloned();
    let mut context = Map::new();
    let cloud_provider = field("cloudProvider").or_else(|| field("provider"));
    context.insert(
        "cloudProvider".to_owned(),
        cloud_provider.unwrap_or_else(|| json!("aws")),
    );
    if let Some(credentials) = field("account").or_else(|| field("credentials")) {
        context.insert("credentials".to_owned(), credentials);
    }
    if let Some(region) = region(own) {
        context.insert("region".to_owned(), json!(region));
    }
    for copied in [
        "application",
        "stack",
        "freeFormDetails",
        "moniker",
        "interestingHealthProviderNames",
        "source",
        "preferSourceCapacity",
        "capacity",
    ] {
        if let Some(value) = field(copied) {
            context.insert(copied.to_owned(), value);
        }
    }
    let moniker = context
        .get("moniker")
        .and_then(|moniker| moniker.get("cluster"));
    if let Some(cluster) = moniker.cloned().or_else(|| cluster(own)) {
        context.insert("cluster".to_owned(), cluster);
    }
    context.insert("useSourceCapacity".to_owned(), json!(true));
    Some(Spec::of(
        "captureSourceServerGroupCapacity",
        "snapshotSourceServerGroup",
        context,
    ))
}

/// `app-stack-detail`, by the rules of server group names.
fn cluster(context: &Map<String, Value>) -> Option<Value> {
    let text = |name: &str| context.get(name).and_then(Value::as_str);
    let name = gennaker_domain::deployment::naming::cluster_name(
        text("application").unwrap_or_default(),
        text("stack"),
        text("freeFormDetails"),
    );
    name.ok().map(|name| json!(name))
}

/// Fields that say how many stages there are, and how long they wait: numbers when the pipeline is compiled.
const NUMBERS: [&str; 6] = [
    "maxRemainingAsgs",
    "maxInitialAsgs",
    "delayBeforeCleanup",
    "delayBeforeDisableSec",
    "delayBeforeScaleDownSec",
    "targetSize",
];
/// Flags that say which stages there are, or what they may do.
const FLAGS: [&str; 4] = [
    "scaleDown",
    "allowDeleteActive",
    "allowScaleDownActive",
    "useSourceCapacity",
];
/// The first of the numbers that stand for expressions: no capacity and no delay is as large.
const HIDDEN: i64 = 1_987_654_000;

/// A deploy's context in which expressions stand as numbers and flags, so that its stages can be planned: an expression
/// counts as set. In the stages it stands as it was written.
struct Hidden {
    context: Map<String, Value>,
    numbers: Vec<Value>,
    flags: Map<String, Value>,
}

impl Hidden {
    fn of(context: &Map<String, Value>) -> Self {
        let mut hidden = Self {
            context: context.clone(),
            numbers: Vec::new(),
            flags: Map::new(),
        };
        let is_expression = |value: &Value| value.as_str().is_some_and(|text| text.contains("${"));
        for name in NUMBERS {
            if let Some(value) = hidden.context.get_mut(name).filter(|v| is_expression(v)) {
                let number = HIDDEN + i64::try_from(hidden.numbers.len()).unwrap_or(0);
                hidden.numbers.push(std::mem::replace(value, json!(number)));
            }
        }
        for name in FLAGS {
            if let Some(value) = hidden.context.get_mut(name).filter(|v| is_expression(v)) {
                let written = std::mem::replace(value, json!(true));
                hidden.flags.insert(name.to_owned(), written);
            }
        }
        for of in ["rollback", "failureActions"] {
            let fields = hidden.context.get_mut(of).and_then(Value::as_object_mut);
            for (_, value) in fields.into_iter().flatten() {
                if is_expression(value) {
                    *value = json!(true);
                }
            }
        }
        hidden
    }

    /// A planned context with the expressions as they were written.
    fn shown(&self, mut context: Map<String, Value>) -> Map<String, Value> {
        for (name, value) in &mut context {
            if let Some(written) = self.flags.get(name).filter(|_| value.is_boolean()) {
                *value = written.clone();
                continue;
            }
            let at = value.as_i64().and_then(|number| number.checked_sub(HIDDEN));
            let written = at
                .and_then(|at| usize::try_from(at).ok())
                .and_then(|at| self.numbers.get(at));
            if let Some(written) = written {
                *value = written.clone();
            } else if let Value::Object(inner) = value {
                *value = Value::Object(self.shown(std::mem::take(inner)));
            }
        }
        context
    }
}
