//! The root that expressions see.

use crate::Evaluator;
use crate::class::Base;
use crate::json;
use crate::model::{self, Bean, Execution, ExecutionView, field};
use crate::value::{Key, Map, TextKey, Value, hash_copy_order};
use indexmap::IndexMap;
use std::sync::Arc;

/// The root object of an evaluation, indexed once: build it once for a stage and evaluate any number of texts with it.
///
/// Nothing that an expression does changes it; it may be shared between threads.
#[derive(Debug, Clone)]
pub struct Context {
    root: Result<Value, String>,
    execution: Option<Arc<Execution>>,
    stage: Option<usize>,
    evaluator: Option<Evaluator>,
}

impl Context {
    /// A context of a plain JSON object; `parameters` and `scmInfo` are derived from its `trigger` as Orca does.
    pub fn from_json(root: &serde_json::Value) -> Context {
        Context::plain(json::from_serde(root))
    }

    /// The same from the text of a JSON object, which keeps integers of any width exact.
    ///
    /// # Errors
    /// Why the text is no JSON object.
    pub fn from_json_text(text: &str) -> Result<Context, String> {
        match json::parse_all(text) {
            Ok(root @ Value::Map(_)) => Ok(Context::plain(root)),
            Ok(other) => Err(format!("{} is no JSON object", other.class())),
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// The context of a stage of `execution` (Spinnaker's execution JSON): the stage's own context, then its ancestors'
    /// outputs, `execution`, `trigger`, `parameters`, `scmInfo`. `stage_context` replaces the stage's context first.
    /// Without a stage, the context of the execution itself.
    pub fn from_execution(
        execution: &serde_json::Value,
        stage_ref_id: Option<&str>,
        stage_context: Option<&serde_json::Value>,
    ) -> Context {
        let evaluator = execution
            .get("spelEvaluator")
            .and_then(serde_json::Value::as_str)
            .map(Evaluator::of);
        let stage_context = stage_context.map(json::from_serde);
        Context::staged(
            &json::from_serde(execution),
            stage_ref_id,
            stage_context.as_ref(),
            evaluator,
        )
    }

    /// The same from an execution that was read before: what its stages share is built once.
    pub fn of_stage(
        execution: &ExecutionView,
        stage_ref_id: &str,
        stage_context: Option<&serde_json::Value>,
    ) -> Context {
        let model = match stage_context {
            Some(context) => execution
                .model
                .with_stage_context(stage_ref_id, json::from_serde(context)),
            None => execution.model.clone(),
        };
        Context::of_model(model, Some(stage_ref_id), execution.evaluator)
    }

    pub(crate) fn plain(root: Value) -> Context {
        let entries = match &root {
            Value::Map(map) => map.entries.0.clone(),
            _ => IndexMap::new(),
        };
        let trigger = entries
            .get(&TextKey("trigger"))
            .cloned()
            .unwrap_or(Value::Null);
        let bean = model::trigger(&trigger, 0);
        let root = precompute(entries, &bean, |_| None).map(|(entries, added)| {
            let ordered = hash_copy_order(entries, added);
            Value::map_of(Base::HashMap, ordered)
        });
        Context {
            root,
            execution: None,
            stage: None,
            evaluator: None,
        }
    }

    pub(crate) fn staged(
        source: &Value,
        stage_ref_id: Option<&str>,
        stage_context: Option<&Value>,
        evaluator: Option<Evaluator>,
    ) -> Context {
        let replaced = stage_ref_id.zip(stage_context);
        let execution = model::execution(source, replaced, 0);
        Context::of_model(execution, stage_ref_id, evaluator.unwrap_or_default())
    }

    fn of_model(
        execution: Arc<Execution>,
        stage_ref_id: Option<&str>,
        evaluator: Evaluator,
    ) -> Context {
        let stage = stage_ref_id.and_then(|ref_id| execution.stage_index(ref_id));
        let mut entries: IndexMap<Key, Value> = IndexMap::new();
        let own = stage
            .and_then(|index| execution.stages.get(index))
            .map(|stage| stage.context.clone());
        if let Some(own) = &own {
            entries.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        // What Orca adds wins over keys of the same name in the stage.
        let trigger = if execution.is_pipeline {
            entries.insert(Key::from("execution"), Value::Execution(execution.clone()));
            entries.insert(Key::from("trigger"), execution.trigger_map());
            if evaluator == Evaluator::V4 {
                entries.insert(
                    Key::from("templateVariables"),
                    or_empty(execution.template_variables()),
                );
            }
            execution.trigger.clone()
        } else {
            model::trigger(
                &entries
                    .get(&TextKey("trigger"))
                    .cloned()
                    .unwrap_or(Value::Null),
                0,
            )
        };
        let inherited = |key: &str| stage.and_then(|index| execution.inherited(index, key));
        let root = precompute(entries, &trigger, inherited).map(|(entries, added)| {
            let entries = Arc::new(crate::value::Entries(hash_copy_order(entries, added)));
            match stage {
                Some(index) => Value::Map(Map {
                    entries,
                    class: Base::StageRoot,
                    stage: Some((execution.clone(), index as u32)),
                }),
                None => Value::Map(Map {
                    entries,
                    class: Base::HashMap,
                    stage: None,
                }),
            }
        });
        Context {
            root,
            execution: Some(execution),
            stage,
            evaluator: Some(evaluator),
        }
    }

    pub(crate) fn root(&self) -> Result<&Value, &str> {
        self.root.as_ref().map_err(String::as_str)
    }

    pub(crate) fn execution(&self) -> Option<&Arc<Execution>> {
        self.execution.as_ref()
    }

    pub(crate) fn stage(&self) -> Option<usize> {
        self.stage
    }

    /// The evaluator that the execution names, `None` for a plain context.
    pub fn evaluator(&self) -> Option<Evaluator> {
        self.evaluator
    }
}

fn or_empty(value: Value) -> Value {
    if value.is_null() {
        Value::map_of(Base::EmptyMap, IndexMap::new())
    } else {
        value
    }
}

/// What Orca adds to every context: `parameters` and `scmInfo`. Answers how many keys are new.
fn precompute(
    mut entries: IndexMap<Key, Value>,
    trigger: &Value,
    inherited: impl Fn(&str) -> Option<Value>,
) -> Result<(IndexMap<Key, Value>, usize), String> {
    let before = entries.len();
    let parameters = match trigger {
        Value::Bean(bean) => bean.get("parameters").unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let has_parameters = matches!(&parameters, Value::Map(map) if !map.entries.is_empty());
    if has_parameters {
        entries.insert(Key::from("parameters"), parameters);
    } else if !entries.contains_key(&TextKey("parameters")) {
        entries.insert(
            Key::from("parameters"),
            Value::map_of(Base::EmptyMap, IndexMap::new()),
        );
    }
    let get = |name: &str| {
        entries
            .get(&TextKey(name))
            .cloned()
            .or_else(|| inherited(name))
            .unwrap_or(Value::Null)
    };
    let mut scm = get("scmInfo");
    if scm.is_null() {
        let build = match (get("buildInfo"), trigger) {
            (Value::Bean(build), _) => build.get("scm").unwrap_or(Value::Null),
            (build @ Value::Map(_), _) if !field(&build, "scm").is_null() => {
                // Orca reads it as a build only where a trigger carries it.
                match trigger_scm(trigger) {
                    Value::Null => Value::Null,
                    scm => scm,
                }
            }
            _ => trigger_scm(trigger),
        };
        scm = build;
    }
    let chosen = match &scm {
        Value::List(list) if list.items.len() >= 2 => {
            if list
                .items
                .iter()
                .any(|item| !matches!(item, Value::Bean(_)))
            {
                return Err("class java.util.LinkedHashMap cannot be cast to class \
                     com.netflix.spinnaker.orca.pipeline.model.SourceControl"
                    .to_string());
            }
            let is_side_branch = |item: &&Value| match item {
                Value::Bean(bean) => !is_main(bean),
                _ => false,
            };
            list.items
                .iter()
                .find(is_side_branch)
                .or_else(|| list.items.first())
                .cloned()
                .unwrap_or(Value::Null)
        }
        Value::List(list) => list.items.first().cloned().unwrap_or(Value::Null),
        _ => Value::Null,
    };
    entries.insert(Key::from("scmInfo"), chosen);
    let added = entries.len() - before;
    Ok((entries, added))
}

fn is_main(scm: &Bean) -> bool {
    matches!(scm.get("branch"), Some(Value::Str(branch)) if matches!(&*branch, "master" | "develop"))
}

fn trigger_scm(trigger: &Value) -> Value {
    match trigger {
        Value::Bean(bean) => match bean.get("buildInfo") {
            Some(Value::Bean(build)) => build.get("scm").unwrap_or(Value::Null),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}
