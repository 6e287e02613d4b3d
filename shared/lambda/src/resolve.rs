//! Expressions of a stage: resolved once at its start, by Orca's rules.
//!
//! What resolved is kept in the stage's record and is final, even where its text looks like an expression again. What
//! stayed verbatim is told in the summary with its places; a sub-stage that has the same field tries those places
//! again. Under evaluator v3 `start` evaluates the whole pipeline once, with what started it and nothing else; what
//! that gave is as final.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gennaker_cloud::{CloudError, Store};
use gennaker_domain::execution_json::execution_json;
use gennaker_domain::rollup::Records;
use gennaker_domain::{Execution, ExecutionId, Plan, PlanStage, StageRecord};
use gennaker_expressions::{Context, Evaluator, ExecutionView, Mode, Options, Outcome, Templates};
use gennaker_http::Http;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::outside::Outside;

/// Key of a stage's context under which Orca tells which expressions failed.
pub const SUMMARY: &str = "expressionEvaluationSummary";

/// Fields that are not evaluated with the stage: `stageEnabled` is an expression of its own kind, and the manifest of a
/// `deployManifest` may say that what looks like an expression in it is none.
fn verbatim(stage: &PlanStage) -> &'static [&'static str] {
    let skips = stage.context.get("skipExpressionEvaluation") == Some(&Value::Bool(true));
    if stage.stage_type == "deployManifest" && skips {
        &["stageEnabled", "manifests", "manifest"]
    } else {
        &["stageEnabled"]
    }
}

/// Processed pipelines that a warm function keeps.
const KEPT: usize = 8;

/// A stage's configuration with its expressions resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The configuration.
    pub context: Map<String, Value>,
    /// What could not be resolved, as Orca's `expressionEvaluationSummary` with an `explanation` for a person and the
    /// `places` (JSON pointers) that stayed verbatim; none if all could.
    pub summary: Option<Value>,
    /// Whether an expression was evaluated: what came out is to be stored before anybody acts on it.
    pub evaluated: bool,
}

/// What `start` made of a pipeline's stages under evaluator v3.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Processed {
    /// By `refId`; only stages that have expressions.
    pub stages: BTreeMap<String, ProcessedStage>,
}

/// One stage of a [`Processed`] pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessedStage {
    /// Its name, if that had expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The fields that had expressions, with what resolved.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// JSON pointers into the stage's context: texts that stayed verbatim. The other ones are final.
    #[serde(default)]
    pub unresolved: BTreeSet<String>,
}

impl Processed {
    /// The plan as this execution runs it.
    fn apply(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for stage in &mut plan.stages {
            let Some(processed) = self.stages.get(&stage.ref_id) else {
                continue;
            };
            if let Some(name) = &processed.name {
                stage.name.clone_from(name);
            }
            for (key, value) in &processed.context {
                stage.context.insert(key.clone(), value.clone());
            }
        }
        plan
    }
}

/// What a stage has of the texts that are evaluated at the start: their places among these.
struct Wanted<'a> {
    stage: &'a PlanStage,
    name: Option<usize>,
    fields: Vec<(&'a String, usize)>,
}

type Known = (Arc<Plan>, Option<Arc<Processed>>);

/// Who reads values of an execution from outside of its stages: a message about it.
pub struct Reader<'a> {
    /// The store, for what expressions look up.
    pub store: &'a Store,
    /// The execution as Spinnaker's JSON.
    pub execution: &'a Value,
    /// The stage whose context is seen; none is the execution's own.
    pub stage: Option<&'a str>,
    /// The pipeline's evaluator.
    pub evaluator: Evaluator,
    /// Now, UTC milliseconds.
    pub now: i64,
    /// What random values are derived from.
    pub seed: &'a str,
}

/// What a warm function keeps for the expressions of all executions.
#[derive(Default)]
pub struct Resolver {
    templates: Templates,
    http: Option<Arc<dyn Http>>,
    processed: Mutex<HashMap<ExecutionId, Known>>,
}

impl Resolver {
    /// One that looks up pipelines and applications, and fetches no URLs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a way out for `#fromUrl` and its kin.
    #[must_use]
    pub fn with_http(self, http: Arc<dyn Http>) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }

    fn outside<'a>(&'a self, store: &'a Store) -> Outside<'a> {
        Outside {
            store,
            http: self.http.as_deref(),
        }
    }

    fn options<'a>(
        &'a self,
        evaluator: Evaluator,
        mode: Mode,
        now: i64,
        seed: &str,
    ) -> Options<'a> {
        Options {
            evaluator,
            allow_unknown_keys: true,
            now_millis: now,
            // Derived from the execution: the same stage sees the same random values at every try.
            seed: seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            }),
            mode,
            templates: Some(&self.templates),
            ..Options::default()
        }
    }

    /// A value with the expressions in it evaluated as a reader of the execution sees them now, with the context of the
    /// whole execution or of one of its stages; what cannot be evaluated stays as it is.
    ///
    /// # Errors
    /// Those of the table that may pass, where an expression asks something of it.
    pub async fn read(&self, view: &Reader<'_>, source: &Value) -> Result<Value, CloudError> {
        if !has_expression(source) {
            return Ok(source.clone());
        }
        let root = match view.stage {
            Some(ref_id) => Context::of_stage(&ExecutionView::new(view.execution), ref_id, None),
            None => Context::from_execution(view.execution, None, None),
        };
        let options = self.options(view.evaluator, Mode::Map, view.now, view.seed);
        let outcome = self
            .outside(view.store)
            .evaluate(source, &root, &options)
            .await?;
        Ok(outcome.value)
    }

    /// Evaluates a pipeline at its start as evaluator v3 does: every field of every stage, with `trigger` as all that
    /// is known, and a name that is not known is left for later. None where there is nothing to evaluate: under v4,
    /// or without expressions.
    ///
    /// # Errors
    /// Those of the table that may pass, where an expression asks something of it.
    pub async fn process(
        &self,
        store: &Store,
        plan: &Plan,
        execution: &ExecutionId,
        trigger: &Value,
        now: i64,
    ) -> Result<Option<Processed>, CloudError> {
        if evaluator(plan) == Evaluator::V4 || !plan.stages.iter().any(stage_has_expression) {
            return Ok(None);
        }
        // A sub-stage's fields are copies of its stage's: what is written once is evaluated once.
        let mut texts: Vec<Value> = Vec::new();
        let mut known: HashMap<(String, String), usize> = HashMap::new();
        let mut index_of = |family: &str, value: &Value| {
            *known
                .entry((family.to_owned(), value.to_string()))
                .or_insert_with(|| {
                    texts.push(value.clone());
                    texts.len() - 1
                })
        };
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for stage in &plan.stages {
            if !stage_has_expression(stage) {
                continue;
            }
            let lineage = plan.lineage(&stage.ref_id);
            let family = lineage.last().map_or("", |top| top.ref_id.as_str());
            let name = stage
                .name
                .contains("${")
                .then(|| index_of(family, &stage.name.clone().into()));
            let fields = stage
                .context
                .iter()
                .filter(|(_, value)| has_expression(value))
                .map(|(key, value)| (key, index_of(family, value)))
                .collect();
            wanted.push(Wanted {
                stage,
                name,
                fields,
            });
        }
        let root = Context::from_json(&json!({ "trigger": trigger, "templateVariables": {} }));
        let options = Options {
            allow_unknown_keys: false,
            ..self.options(Evaluator::V3, Mode::Map, now, execution.as_str())
        };
        let outcome = self
            .outside(store)
            .evaluate(&Value::Array(texts), &root, &options)
            .await?;
        let unresolved: BTreeSet<&String> = outcome
            .failures
            .iter()
            .flat_map(|failure| &failure.places)
            .collect();
        let value_of = |index: usize| outcome.value.get(index).cloned().unwrap_or(Value::Null);
        let stages = wanted.into_iter().map(|wanted| {
            let mut processed = ProcessedStage {
                name: wanted.name.map(&value_of).and_then(|name| match name {
                    Value::String(name) => Some(name),
                    _ => None,
                }),
                ..ProcessedStage::default()
            };
            for (key, index) in wanted.fields {
                let prefix = format!("/{index}");
                for place in &unresolved {
                    let rest = place
                        .strip_prefix(&prefix)
                        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
                    if let Some(rest) = rest {
                        processed
                            .unresolved
                            .insert(format!("{}{rest}", pointer(key)));
                    }
                }
                processed.context.insert(key.clone(), value_of(index));
            }
            (wanted.stage.ref_id.clone(), processed)
        });
        Ok(Some(Processed {
            stages: stages.collect(),
        }))
    }

    /// The plan as the execution runs it: under v3 with what its start resolved.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn plan_of(
        &self,
        store: &Store,
        plan: &Arc<Plan>,
        execution: &ExecutionId,
    ) -> Result<Known, CloudError> {
        if evaluator(plan) == Evaluator::V4 || !plan.stages.iter().any(stage_has_expression) {
            return Ok((Arc::clone(plan), None));
        }
        let kept = self
            .processed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(execution)
            .cloned();
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let known = match store.processed(execution).await? {
            Some(value) => {
                let processed =
                    Processed::deserialize(value).map_err(|error| CloudError::Unreadable {
                        what: format!("processed pipeline of execution `{execution}`"),
                        message: error.to_string(),
                    })?;
                (Arc::new(processed.apply(plan)), Some(Arc::new(processed)))
            }
            // Started by a release that did not process it: every stage resolves its own.
            None => (Arc::clone(plan), None),
        };
        let mut processed = self
            .processed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if processed.len() >= KEPT {
            processed.clear();
        }
        processed.insert(execution.clone(), known.clone());
        Ok(known)
    }
}

/// What the expressions of one call see. The view of the execution is built on first use and shared by everything that
/// the call evaluates.
pub(crate) struct Scope<'a> {
    pub(crate) resolver: &'a Resolver,
    pub(crate) store: &'a Store,
    pub(crate) plan: &'a Plan,
    pub(crate) processed: Option<&'a Processed>,
    pub(crate) execution: &'a Execution,
    pub(crate) records: &'a Records,
    pub(crate) trigger: &'a Value,
    pub(crate) now: i64,
    pub(crate) view: OnceLock<ExecutionView>,
}

impl Scope<'_> {
    fn view(&self) -> &ExecutionView {
        self.view.get_or_init(|| {
            ExecutionView::new(&execution_json(
                self.plan,
                self.execution,
                self.records,
                self.trigger,
            ))
        })
    }

    fn options(&self, mode: Mode, seed: &str) -> Options<'_> {
        let seed = format!("{}/{seed}", self.execution.id);
        self.resolver
            .options(evaluator(self.plan), mode, self.now, &seed)
    }

    /// Resolves the expressions of a stage's configuration. What cannot be resolved stays as it is and is told in the
    /// summary. Of an `evaluateVariables` stage under v4 its `variables` one after the other, each seen by the next.
    ///
    /// # Errors
    /// Those of the table that may pass, where an expression asks something of it.
    pub(crate) async fn resolve(&self, stage: &PlanStage) -> Result<Resolved, CloudError> {
        let (mut source, only) = self.source(stage);
        let verbatim: Vec<(String, Value)> = verbatim(stage)
            .iter()
            .filter_map(|name| {
                source
                    .shift_remove(*name)
                    .map(|value| ((*name).to_owned(), value))
            })
            .collect();
        let source = Value::Object(source);
        let (value, failures) = if has_expression(&source) {
            let root = Context::of_stage(self.view(), &stage.ref_id, Some(&source));
            let mode = if stage.stage_type == "evaluateVariables" {
                Mode::EvaluateVariables
            } else {
                Mode::Stage
            };
            let options = Options {
                only: only.as_ref(),
                ..self.options(mode, &stage.ref_id)
            };
            let outcome = self.evaluate(&source, &root, &options).await?;
            (outcome.value, Some(outcome.failures))
        } else {
            (source, None)
        };
        let mut context = match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        context.extend(verbatim);
        // A stage without configuration still has a context: an empty one would be resolved again.
        context
            .entry("type")
            .or_insert_with(|| stage.stage_type.clone().into());
        let evaluated = failures.is_some();
        let mut summary = Map::new();
        for failure in failures.into_iter().flatten() {
            let entry = json!({
                "level": failure.level.as_str(),
                "description": failure.message,
                "explanation": failure.explanation,
                "places": failure.places,
                "timestamp": self.now,
            });
            if let Some(entries) = summary
                .entry(failure.expression)
                .or_insert_with(|| json!([]))
                .as_array_mut()
            {
                entries.push(entry);
            }
        }
        Ok(Resolved {
            context,
            summary: (!summary.is_empty()).then_some(Value::Object(summary)),
            evaluated,
        })
    }

    /// The stage's configuration as its evaluation finds it, and the places that are not final; none if nothing is
    /// final yet.
    ///
    /// A field that a stage above has too, written the same, is what it became there: a sub-stage sees what its
    /// parent saw.
    fn source(&self, stage: &PlanStage) -> (Map<String, Value>, Option<BTreeSet<String>>) {
        let mut source = stage.context.clone();
        let lineage = self.plan.lineage(&stage.ref_id);
        let above: Vec<(&PlanStage, &StageRecord)> = lineage
            .iter()
            .skip(1)
            .filter_map(|above| Some((*above, self.records.get(&above.ref_id)?)))
            .filter(|(_, record)| !record.context.is_empty())
            .collect();
        if above.is_empty() && self.processed.is_none() {
            return (source, None);
        }
        let processed = self
            .processed
            .and_then(|processed| processed.stages.get(&stage.ref_id));
        let mut only = BTreeSet::new();
        for (key, value) in &mut source {
            if !has_expression(value) && !key.contains("${") {
                continue;
            }
            let at = pointer(key);
            let inherited = above.iter().find_map(|(above, record)| {
                let same = above.context.get(key) == Some(&*value);
                let resolved = record.context.get(key).filter(|_| same)?;
                Some((resolved.clone(), unresolved(&record.context)))
            });
            match (inherited, processed) {
                (Some((resolved, places)), _) => {
                    *value = resolved;
                    only.extend(places.into_iter().filter(|place| is_below(place, &at)));
                }
                (None, Some(processed)) => only.extend(
                    processed
                        .unresolved
                        .iter()
                        .filter(|place| is_below(place, &at))
                        .cloned(),
                ),
                (None, None) => {
                    only.insert(at);
                }
            }
        }
        (source, Some(only))
    }

    /// Whether the stage's `stageEnabled` lets it run: absent, blank, or an expression that gives `true`. One that
    /// cannot be evaluated skips the stage, as in Orca.
    ///
    /// # Errors
    /// Those of the table that may pass, where the expression asks something of it.
    pub(crate) async fn enabled(&self, stage: &PlanStage) -> Result<bool, CloudError> {
        let expression = stage
            .context
            .get("stageEnabled")
            .filter(|enabled| enabled.get("type").and_then(Value::as_str) == Some("expression"))
            .and_then(|enabled| enabled.get("expression"));
        let text = match expression {
            None | Some(Value::Null) => return Ok(true),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(true),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let root = Context::of_stage(self.view(), &stage.ref_id, None);
        let options = self.options(Mode::Map, &format!("{}/stageEnabled", stage.ref_id));
        let source = json!({ "expression": format!("${{{text}}}") });
        let outcome = self.evaluate(&source, &root, &options).await?;
        Ok(match outcome.value.get("expression") {
            Some(Value::Bool(enabled)) => *enabled,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        })
    }

    async fn evaluate(
        &self,
        source: &Value,
        root: &Context,
        options: &Options<'_>,
    ) -> Result<Outcome, CloudError> {
        self.resolver
            .outside(self.store)
            .evaluate(source, root, options)
            .await
    }

    /// The value of a text in a stage whose context this is, as the stage sees it now; nothing outside the execution
    /// is asked.
    pub(crate) fn value_now(
        &self,
        stage: &PlanStage,
        context: &Map<String, Value>,
        text: &str,
    ) -> Result<Value, String> {
        let (source, root) = self.text(stage, context, text);
        let seed = format!("{}/{text}", stage.ref_id);
        let options = self.options(Mode::Map, &seed);
        value_or_explanation(gennaker_expressions::evaluate(&source, &root, &options))
    }

    /// The same with what `#fromUrl`, `#pipelineId` and their kin look up.
    pub(crate) async fn value(
        &self,
        stage: &PlanStage,
        context: &Map<String, Value>,
        text: &str,
    ) -> Result<Result<Value, String>, CloudError> {
        let (source, root) = self.text(stage, context, text);
        let seed = format!("{}/{text}", stage.ref_id);
        let options = self.options(Mode::Map, &seed);
        let outcome = self.evaluate(&source, &root, &options).await?;
        Ok(value_or_explanation(outcome))
    }

    fn text(
        &self,
        stage: &PlanStage,
        context: &Map<String, Value>,
        text: &str,
    ) -> (Value, Context) {
        let context = Value::Object(context.clone());
        let root = Context::of_stage(self.view(), &stage.ref_id, Some(&context));
        (json!({ "text": text }), root)
    }
}

fn value_or_explanation(mut outcome: Outcome) -> Result<Value, String> {
    if let Some(thrown) = outcome.throws {
        return Err(thrown);
    }
    match outcome.failures.pop() {
        Some(failure) => Err(if failure.explanation.is_empty() {
            failure.message
        } else {
            failure.explanation
        }),
        None => Ok(outcome.value.get("text").cloned().unwrap_or(Value::Null)),
    }
}

/// The evaluator of a plan.
#[must_use]
pub fn evaluator(plan: &Plan) -> Evaluator {
    Evaluator::of(&plan.spel_evaluator)
}

/// Entries of the summary in a resolved context.
fn summary_entries(context: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    context
        .get(SUMMARY)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::values)
        .filter_map(Value::as_array)
        .flatten()
}

/// What a person reads about the first expressions that failed.
pub(crate) fn explanations(context: &Map<String, Value>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<&str> = summary_entries(context)
        .filter_map(|entry| entry.get("explanation").and_then(Value::as_str))
        .collect();
    let mut text = all
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join("; ");
    if all.len() > SHOWN {
        text.push_str(&format!("; and {} more", all.len() - SHOWN));
    }
    text
}

/// Places of a resolved context that stayed verbatim, as its summary tells them.
fn unresolved(context: &Map<String, Value>) -> Vec<String> {
    summary_entries(context)
        .filter_map(|entry| entry.get("places").and_then(Value::as_array))
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// JSON pointer of a key of the context.
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn is_below(place: &str, prefix: &str) -> bool {
    place
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn stage_has_expression(stage: &PlanStage) -> bool {
    stage.name.contains("${")
        || stage
            .context
            .iter()
            .any(|(key, value)| key.contains("${") || has_expression(value))
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(list) => list.iter().any(has_expression),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains("${") || has_expression(value)),
        _ => false,
    }
}
