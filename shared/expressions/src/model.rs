//! Executions, stages, triggers and artifacts as Orca's classes show them to expressions.

use crate::Evaluator;
use crate::class::Base;
use crate::fault::Eval;
use crate::session::Session;
use crate::value::{Entries, Key, Map, Status, TextKey, Value};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

/// An object with named properties: a trigger, an artifact, a build.
#[derive(Debug)]
pub(crate) struct Bean {
    pub(crate) class: Base,
    pub(crate) properties: Properties,
    /// As Orca's own JSON mapper writes it, if that differs from the properties.
    pub(crate) json: Option<Value>,
}

pub(crate) type Properties = IndexMap<Key, Value>;

impl Bean {
    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        self.properties.get(&TextKey(name)).cloned()
    }

    pub(crate) fn as_map(&self) -> Value {
        Value::linked(self.properties.clone())
    }

    /// `toString` as Lombok writes it.
    pub(crate) fn text(&self, session: &Session<'_>, depth: usize) -> Eval<String> {
        let name = self
            .class
            .name()
            .rsplit(['.', '$'])
            .next()
            .unwrap_or_default();
        let mut parts = Vec::new();
        for (key, value) in &self.properties {
            parts.push(format!(
                "{}={}",
                session.nested_text(&key.value(), depth)?,
                session.nested_text(value, depth)?
            ));
        }
        Ok(format!("{name}({})", parts.join(", ")))
    }
}

/// One stage of an execution.
#[derive(Debug)]
pub(crate) struct StageData {
    pub(crate) id: Arc<str>,
    pub(crate) ref_id: Arc<str>,
    pub(crate) name: Value,
    pub(crate) kind: Arc<str>,
    pub(crate) status: Status,
    pub(crate) context: Arc<Entries>,
    pub(crate) outputs: Map,
    requisites: Vec<Arc<str>>,
    parent_id: Option<Arc<str>>,
    properties: Properties,
    /// As Orca's JSON mapper writes it.
    json: Value,
    /// What a missing key of the context falls back to: outputs of the stage and its ancestors, nearest first.
    inherited: OnceLock<HashMap<Arc<str>, Value>>,
}

/// One execution with its stages sorted as Orca's repository reads them: by `refId` as text.
#[derive(Debug)]
pub(crate) struct Execution {
    id: Arc<str>,
    pub(crate) is_pipeline: bool,
    pub(crate) stages: Vec<Arc<StageData>>,
    pub(crate) trigger: Value,
    properties: Properties,
    /// As Orca's JSON mapper writes it, nulls included.
    json: Value,
    json_trigger: Value,
}

pub(crate) fn text_field(source: &Value, name: &str) -> Option<Arc<str>> {
    match field(source, name) {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

pub(crate) fn field(source: &Value, name: &str) -> Value {
    match source {
        Value::Map(map) => map
            .entries
            .get(&TextKey(name))
            .cloned()
            .unwrap_or(Value::Null),
        _ => Value::Null,
    }
}

fn long_field(source: &Value, name: &str) -> Value {
    match field(source, name) {
        Value::Int(value) => Value::Long(i64::from(value)),
        Value::Long(value) => Value::Long(value),
        _ => Value::Null,
    }
}

fn or(value: Value, default: Value) -> Value {
    if value.is_null() { default } else { value }
}

fn list_field(source: &Value, name: &str) -> Vec<Value> {
    match field(source, name) {
        Value::List(list) => list.items.0.clone(),
        _ => Vec::new(),
    }
}

fn properties(pairs: Vec<(&str, Value)>) -> Properties {
    pairs
        .into_iter()
        .map(|(name, value)| (Key::from(name), value))
        .collect()
}

fn empty_map() -> Value {
    Value::linked(IndexMap::new())
}

fn map_or_empty(value: Value) -> Value {
    if matches!(value, Value::Map(_)) {
        value
    } else {
        empty_map()
    }
}

/// An execution that was read once, to build the contexts of its stages from.
#[derive(Debug, Clone)]
pub struct ExecutionView {
    pub(crate) model: Arc<Execution>,
    pub(crate) evaluator: Evaluator,
}

impl ExecutionView {
    /// Reads Spinnaker's execution JSON.
    pub fn new(execution: &serde_json::Value) -> ExecutionView {
        ExecutionView {
            model: self::execution(&crate::json::from_serde(execution), None, 0),
            evaluator: execution
                .get("spelEvaluator")
                .and_then(serde_json::Value::as_str)
                .map(Evaluator::of)
                .unwrap_or_default(),
        }
    }
}

/// The execution as Orca reads it; `replaced` is a stage's `refId` and the context that it gets first.
pub(crate) fn execution(
    source: &Value,
    replaced: Option<(&str, &Value)>,
    depth: usize,
) -> Arc<Execution> {
    let mut raw_stages = list_field(source, "stages");
    raw_stages.sort_by_key(|stage| {
        text_field(stage, "refId")
            .unwrap_or_else(|| "".into())
            .to_string()
    });
    let stages: Vec<Arc<StageData>> = raw_stages
        .iter()
        .map(|raw| {
            let context = match replaced {
                Some((ref_id, context)) if text_field(raw, "refId").as_deref() == Some(ref_id) => {
                    Some(context.clone())
                }
                _ => None,
            };
            Arc::new(stage(raw, context))
        })
        .collect();
    let trigger_source = field(source, "trigger");
    let trigger = trigger(&trigger_source, depth);
    let json_trigger = trigger_json(&trigger_source, &trigger);
    let authentication = match field(source, "authentication") {
        map @ Value::Map(_) => Value::Bean(Arc::new(Bean {
            class: Base::Authentication,
            properties: properties(vec![
                ("user", field(&map, "user")),
                (
                    "allowedAccounts",
                    or(field(&map, "allowedAccounts"), Value::list(Vec::new())),
                ),
            ]),
            json: Some(map),
        })),
        _ => Value::Null,
    };
    let status = text_field(source, "status")
        .and_then(|name| Status::parse(&name))
        .unwrap_or(Status(0));
    let kind = text_field(source, "type").unwrap_or_else(|| "PIPELINE".into());
    let id = text_field(source, "id").unwrap_or_else(|| "".into());
    let json_stages = json_stages(&stages);
    let simple: Vec<(&str, Value)> = vec![
        ("id", Value::Str(id.clone())),
        ("application", field(source, "application")),
        ("name", field(source, "name")),
        ("buildTime", long_field(source, "buildTime")),
        (
            "canceled",
            Value::Bool(matches!(field(source, "canceled"), Value::Bool(true))),
        ),
        ("canceledBy", field(source, "canceledBy")),
        ("cancellationReason", field(source, "cancellationReason")),
        (
            "limitConcurrent",
            Value::Bool(matches!(
                field(source, "limitConcurrent"),
                Value::Bool(true)
            )),
        ),
        (
            "maxConcurrentExecutions",
            or(field(source, "maxConcurrentExecutions"), Value::Int(0)),
        ),
        (
            "keepWaitingPipelines",
            Value::Bool(matches!(
                field(source, "keepWaitingPipelines"),
                Value::Bool(true)
            )),
        ),
        ("stages", json_stages),
        ("startTime", long_field(source, "startTime")),
        ("endTime", long_field(source, "endTime")),
        ("startTimeExpiry", long_field(source, "startTimeExpiry")),
        ("status", Value::Status(status)),
        ("authentication", authentication),
        ("paused", field(source, "paused")),
        ("origin", or(field(source, "origin"), Value::str("unknown"))),
        ("trigger", trigger.clone()),
        ("description", field(source, "description")),
        ("pipelineConfigId", field(source, "pipelineConfigId")),
        ("source", field(source, "source")),
        (
            "notifications",
            or(field(source, "notifications"), Value::list(Vec::new())),
        ),
        (
            "initialConfig",
            map_or_empty(field(source, "initialConfig")),
        ),
        (
            "systemNotifications",
            or(
                field(source, "systemNotifications"),
                Value::list(Vec::new()),
            ),
        ),
        ("spelEvaluator", field(source, "spelEvaluator")),
        ("templateVariables", field(source, "templateVariables")),
        ("partition", field(source, "partition")),
    ];
    let mut json = IndexMap::new();
    json.insert(Key::from("type"), Value::Str(kind.clone()));
    for (name, value) in &simple {
        json.insert(Key::from(*name), value.clone());
    }
    let mut readable = properties(simple);
    // Read through the stages themselves, or refused for its type.
    readable.shift_remove(&TextKey("stages"));
    readable.shift_remove(&TextKey("source"));
    Arc::new(Execution {
        id,
        is_pipeline: &*kind != "ORCHESTRATION",
        stages,
        trigger,
        properties: readable,
        json: Value::linked(json),
        json_trigger,
    })
}

fn json_stages(stages: &[Arc<StageData>]) -> Value {
    Value::list(stages.iter().map(|stage| stage.json()).collect())
}

fn stage(raw: &Value, context: Option<Value>) -> StageData {
    let context = map_or_empty(context.unwrap_or_else(|| field(raw, "context")));
    let outputs = map_or_empty(field(raw, "outputs"));
    let entries = |value: &Value| match value {
        Value::Map(map) => map.entries.clone(),
        _ => Arc::new(Entries::default()),
    };
    let requisites: Vec<Arc<str>> = list_field(raw, "requisiteStageRefIds")
        .into_iter()
        .filter_map(|id| match id {
            Value::Str(id) => Some(id),
            _ => None,
        })
        .collect();
    let requisite_class = if requisites.len() == 1 {
        Base::SingletonImmutableSet
    } else {
        Base::RegularImmutableSet
    };
    let requisite_values = Value::list_of(
        requisite_class,
        requisites.iter().cloned().map(Value::Str).collect(),
    );
    let status = text_field(raw, "status")
        .and_then(|name| Status::parse(&name))
        .unwrap_or(Status(0));
    let id = text_field(raw, "id").unwrap_or_else(|| "".into());
    let ref_id = text_field(raw, "refId").unwrap_or_else(|| "".into());
    let kind = text_field(raw, "type").unwrap_or_else(|| "".into());
    let all = properties(vec![
        ("id", Value::Str(id.clone())),
        ("refId", Value::Str(ref_id.clone())),
        ("type", Value::Str(kind.clone())),
        ("name", field(raw, "name")),
        ("startTime", long_field(raw, "startTime")),
        ("endTime", long_field(raw, "endTime")),
        ("startTimeExpiry", long_field(raw, "startTimeExpiry")),
        ("status", Value::Status(status)),
        ("context", context.clone()),
        ("outputs", outputs.clone()),
        ("tasks", Value::list(list_field(raw, "tasks"))),
        ("syntheticStageOwner", field(raw, "syntheticStageOwner")),
        ("parentStageId", field(raw, "parentStageId")),
        ("requisiteStageRefIds", requisite_values),
        ("scheduledTime", long_field(raw, "scheduledTime")),
        ("lastModified", last_modified(&field(raw, "lastModified"))),
        ("additionalMetricTags", field(raw, "additionalMetricTags")),
    ]);
    StageData {
        json: Value::linked(all.clone()),
        properties: all,
        id,
        ref_id,
        name: field(raw, "name"),
        kind,
        status,
        context: entries(&context),
        outputs: Map {
            entries: entries(&outputs),
            class: Base::LinkedHashMap,
            stage: None,
        },
        requisites,
        parent_id: text_field(raw, "parentStageId"),
        inherited: OnceLock::new(),
    }
}

fn last_modified(raw: &Value) -> Value {
    if !matches!(raw, Value::Map(_)) {
        return Value::Null;
    }
    Value::linked(properties(vec![
        ("user", field(raw, "user")),
        (
            "allowedAccounts",
            or(field(raw, "allowedAccounts"), Value::list(Vec::new())),
        ),
        ("lastModifiedTime", field(raw, "lastModifiedTime")),
    ]))
}

impl StageData {
    fn json(&self) -> Value {
        self.json.clone()
    }

    /// The same stage with another context.
    fn with_context(&self, context: Value) -> StageData {
        let context = map_or_empty(context);
        let mut properties = self.properties.clone();
        properties.insert(Key::from("context"), context.clone());
        StageData {
            id: self.id.clone(),
            ref_id: self.ref_id.clone(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            status: self.status,
            context: match &context {
                Value::Map(map) => map.entries.clone(),
                _ => Arc::new(Entries::default()),
            },
            outputs: self.outputs.clone(),
            requisites: self.requisites.clone(),
            parent_id: self.parent_id.clone(),
            json: Value::linked(properties.clone()),
            properties,
            inherited: OnceLock::new(),
        }
    }
}

impl Execution {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// As Orca's JSON mapper writes it, nulls included.
    pub(crate) fn json(&self) -> Value {
        self.json.clone()
    }

    /// The same execution in which a stage has another context; the other stages are shared.
    pub(crate) fn with_stage_context(&self, ref_id: &str, context: Value) -> Arc<Execution> {
        let mut stages = self.stages.clone();
        if let Some(stage) = self
            .stage_index(ref_id)
            .and_then(|index| stages.get_mut(index))
        {
            *stage = Arc::new(stage.with_context(context));
        }
        let mut json = match &self.json {
            Value::Map(map) => map.entries.0.clone(),
            _ => IndexMap::new(),
        };
        json.insert(Key::from("stages"), json_stages(&stages));
        Arc::new(Execution {
            id: self.id.clone(),
            is_pipeline: self.is_pipeline,
            stages,
            trigger: self.trigger.clone(),
            properties: self.properties.clone(),
            json: Value::linked(json),
            json_trigger: self.json_trigger.clone(),
        })
    }

    pub(crate) fn stage_json(&self, index: usize) -> Value {
        self.stages
            .get(index)
            .map_or(Value::Null, |stage| stage.json())
    }

    /// The trigger as the map that `trigger` is at the root.
    pub(crate) fn trigger_map(&self) -> Value {
        self.json_trigger.clone()
    }

    pub(crate) fn stage_text(&self, index: usize) -> String {
        let id = self.stages.get(index).map_or("", |stage| &stage.id);
        format!("Stage {{id='{id}', executionId='{}'}}", self.id)
    }

    pub(crate) fn user(&self) -> Option<Arc<str>> {
        match self.properties.get(&TextKey("authentication")) {
            Some(Value::Bean(bean)) => match bean.get("user") {
                Some(Value::Str(user)) => Some(user),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn template_variables(&self) -> Value {
        self.properties
            .get(&TextKey("templateVariables"))
            .cloned()
            .unwrap_or(Value::Null)
    }

    pub(crate) fn stage_index(&self, ref_id: &str) -> Option<usize> {
        self.stages
            .iter()
            .position(|stage| *stage.ref_id == *ref_id)
    }

    fn index_by_id(&self, id: &str) -> Option<usize> {
        self.stages.iter().position(|stage| *stage.id == *id)
    }

    /// The stage itself, then what came before it, nearest first.
    pub(crate) fn ancestors(&self, index: usize) -> Vec<usize> {
        let mut found = vec![index];
        let mut visited: HashSet<Arc<str>> = HashSet::new();
        self.ancestors_only(index, &mut visited, &mut found, 0);
        found
    }

    fn ancestors_only(
        &self,
        index: usize,
        visited: &mut HashSet<Arc<str>>,
        found: &mut Vec<usize>,
        depth: usize,
    ) {
        /// Longest chain of stages that is followed; pipelines have hundreds at most.
        const MAX_CHAIN: usize = 2_000;
        let Some(stage) = self.stages.get(index) else {
            return;
        };
        if depth > MAX_CHAIN {
            return;
        }
        visited.insert(stage.ref_id.clone());
        if !stage.requisites.is_empty() {
            let previous: Vec<usize> = (0..self.stages.len())
                .filter(|other| {
                    self.stages.get(*other).is_some_and(|other| {
                        stage.requisites.contains(&other.ref_id) && !visited.contains(&other.ref_id)
                    })
                })
                .collect();
            let synthetic: Vec<usize> = (0..self.stages.len())
                .filter(|other| {
                    let parent = self
                        .stages
                        .get(*other)
                        .and_then(|other| other.parent_id.as_ref());
                    previous
                        .iter()
                        .filter_map(|index| self.stages.get(*index))
                        .any(|stage| Some(&stage.id) == parent)
                })
                .collect();
            found.extend(previous.iter().copied());
            found.extend(synthetic);
            for index in previous {
                let seen = self
                    .stages
                    .get(index)
                    .is_some_and(|stage| visited.contains(&stage.ref_id));
                if !seen {
                    self.ancestors_only(index, visited, found, depth + 1);
                }
            }
        } else if let Some(parent) = stage.parent_id.as_ref().and_then(|id| self.index_by_id(id))
            && self
                .stages
                .get(parent)
                .is_some_and(|parent| !visited.contains(&parent.ref_id))
        {
            found.push(parent);
            self.ancestors_only(parent, visited, found, depth + 1);
        }
    }

    /// What a key that a stage's context lacks is in the outputs of its ancestors.
    pub(crate) fn inherited(&self, index: usize, key: &str) -> Option<Value> {
        let stage = self.stages.get(index)?;
        stage
            .inherited
            .get_or_init(|| {
                let mut all: HashMap<Arc<str>, Value> = HashMap::new();
                for ancestor in self.ancestors(index) {
                    let Some(ancestor) = self.stages.get(ancestor) else {
                        continue;
                    };
                    for (key, value) in ancestor.outputs.entries.iter() {
                        if let Key::Str(key) = key {
                            all.entry(key.clone()).or_insert_with(|| value.clone());
                        }
                    }
                }
                all
            })
            .get(key)
            .cloned()
    }

    /// Names that a stage's context falls back to.
    pub(crate) fn inherited_names(&self, index: usize) -> Vec<Arc<str>> {
        self.inherited(index, "");
        self.stages
            .get(index)
            .and_then(|stage| stage.inherited.get())
            .map_or_else(Vec::new, |all| all.keys().cloned().collect())
    }

    pub(crate) fn property(self: &Arc<Self>, name: &str) -> Option<Value> {
        match name {
            "stages" => Some(Value::list(
                (0..self.stages.len())
                    .map(|index| Value::Stage(self.clone(), index))
                    .collect(),
            )),
            "context" => Some(self.merged_outputs()),
            _ => self.properties.get(&TextKey(name)).cloned(),
        }
    }

    /// `execution.context`: the outputs of all stages, later ones over earlier ones, lists joined.
    fn merged_outputs(&self) -> Value {
        let mut merged: IndexMap<Key, Value> = IndexMap::new();
        for stage in &self.stages {
            for (key, value) in stage.outputs.entries.iter() {
                let joined = match (merged.get(key), value) {
                    (Some(Value::List(old)), Value::List(new)) => {
                        Value::list(old.items.iter().chain(new.items.iter()).cloned().collect())
                    }
                    _ => value.clone(),
                };
                merged.insert(key.clone(), joined);
            }
        }
        Value::map_of(Base::HashMap, crate::value::hash_order(merged))
    }

    /// The context of a stage, with its fall-back.
    pub(crate) fn stage_context(self: &Arc<Self>, index: usize) -> Value {
        let entries = self
            .stages
            .get(index)
            .map(|stage| stage.context.clone())
            .unwrap_or_default();
        Value::Map(Map {
            entries,
            class: Base::StageContext,
            stage: Some((self.clone(), index as u32)),
        })
    }

    pub(crate) fn stage_property(self: &Arc<Self>, index: usize, name: &str) -> Option<Value> {
        let stage = self.stages.get(index)?;
        let refer = |index: Option<usize>| {
            index.map_or(Value::Null, |index| Value::Stage(self.clone(), index))
        };
        Some(match name {
            "context" => self.stage_context(index),
            "execution" => Value::Execution(self.clone()),
            "hasSucceeded" => Value::Bool(stage.status.name() == "SUCCEEDED"),
            "hasFailed" => Value::Bool(stage.status.name() == "TERMINAL"),
            "join" => Value::Bool(stage.requisites.len() > 1),
            "parent" => refer(stage.parent_id.as_ref().and_then(|id| self.index_by_id(id))),
            "topLevelStage" => {
                let mut top = index;
                for _ in 0..self.stages.len() {
                    match self
                        .stages
                        .get(top)
                        .and_then(|stage| stage.parent_id.as_ref())
                        .and_then(|id| self.index_by_id(id))
                    {
                        Some(parent) => top = parent,
                        None => break,
                    }
                }
                refer(Some(top))
            }
            "ancestors" => {
                let found: Vec<Value> = self
                    .ancestors(index)
                    .into_iter()
                    .map(|at| Value::Stage(self.clone(), at))
                    .collect();
                immutable_list(found)
            }
            "directAncestors" => immutable_list(self.direct_ancestors(index)),
            "allDownstreamStages" => Value::list(self.downstream(index)),
            // Their types are not for expressions.
            "lastModified" | "syntheticStageOwner" => return None,
            _ => return stage.properties.get(&TextKey(name)).cloned(),
        })
    }

    /// The stage itself and the stages that hold it, innermost first.
    fn direct_ancestors(self: &Arc<Self>, index: usize) -> Vec<Value> {
        let mut found = vec![index];
        while let Some(parent) = found
            .last()
            .and_then(|last| self.stages.get(*last))
            .and_then(|stage| stage.parent_id.as_ref())
            .and_then(|id| self.index_by_id(id))
            .filter(|parent| !found.contains(parent))
        {
            found.push(parent);
        }
        found
            .into_iter()
            .map(|at| Value::Stage(self.clone(), at))
            .collect()
    }

    fn downstream(self: &Arc<Self>, index: usize) -> Vec<Value> {
        let mut found: Vec<usize> = Vec::new();
        let mut pending = vec![index];
        while let Some(at) = pending.pop() {
            let Some(ref_id) = self.stages.get(at).map(|stage| stage.ref_id.clone()) else {
                continue;
            };
            for (other, stage) in self.stages.iter().enumerate() {
                if stage.requisites.contains(&ref_id) && !found.contains(&other) {
                    found.push(other);
                    pending.insert(0, other);
                }
            }
        }
        found
            .into_iter()
            .map(|at| Value::Stage(self.clone(), at))
            .collect()
    }
}

fn immutable_list(items: Vec<Value>) -> Value {
    let class = if items.len() == 1 {
        Base::SingletonImmutableList
    } else {
        Base::RegularImmutableList
    };
    Value::list_of(class, items)
}

/// An artifact of a trigger.
pub(crate) fn artifact(raw: &Value) -> Value {
    if !matches!(raw, Value::Map(_)) {
        return Value::Null;
    }
    Value::Bean(Arc::new(Bean {
        class: Base::Artifact,
        properties: properties(vec![
            ("type", field(raw, "type")),
            (
                "customKind",
                Value::Bool(matches!(field(raw, "customKind"), Value::Bool(true))),
            ),
            ("name", field(raw, "name")),
            ("version", field(raw, "version")),
            ("location", field(raw, "location")),
            ("reference", field(raw, "reference")),
            ("metadata", map_or_empty(field(raw, "metadata"))),
            ("artifactAccount", field(raw, "artifactAccount")),
            ("provenance", field(raw, "provenance")),
            ("uuid", field(raw, "uuid")),
        ]),
        json: Some(artifact_json(raw)),
    }))
}

/// An artifact as Orca's JSON mapper writes it: what is set, metadata only if there is some.
fn artifact_json(raw: &Value) -> Value {
    let names = [
        "type",
        "customKind",
        "name",
        "version",
        "location",
        "reference",
        "artifactAccount",
        "provenance",
        "uuid",
        "metadata",
    ];
    let mut json = IndexMap::new();
    for name in names {
        let value = field(raw, name);
        let unset = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::Map(map) => map.entries.is_empty(),
            _ => false,
        };
        if !unset {
            json.insert(Key::from(name), value);
        }
    }
    Value::linked(json)
}

fn expected_artifact(raw: &Value) -> Value {
    Value::Bean(Arc::new(Bean {
        class: Base::ExpectedArtifact,
        properties: properties(vec![
            ("matchArtifact", artifact(&field(raw, "matchArtifact"))),
            (
                "usePriorArtifact",
                Value::Bool(matches!(field(raw, "usePriorArtifact"), Value::Bool(true))),
            ),
            (
                "useDefaultArtifact",
                Value::Bool(matches!(
                    field(raw, "useDefaultArtifact"),
                    Value::Bool(true)
                )),
            ),
            ("defaultArtifact", artifact(&field(raw, "defaultArtifact"))),
            ("id", field(raw, "id")),
            ("boundArtifact", artifact(&field(raw, "boundArtifact"))),
        ]),
        json: Some(expected_artifact_json(raw)),
    }))
}

fn expected_artifact_json(raw: &Value) -> Value {
    let mut json = IndexMap::new();
    for name in [
        "id",
        "matchArtifact",
        "usePriorArtifact",
        "useDefaultArtifact",
        "defaultArtifact",
        "boundArtifact",
    ] {
        let value = field(raw, name);
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Map(_) => {
                json.insert(Key::from(name), artifact_json(&value));
            }
            other => {
                json.insert(Key::from(name), other);
            }
        }
    }
    Value::linked(json)
}

fn source_control(raw: &Value) -> Value {
    Value::Bean(Arc::new(Bean {
        class: Base::SourceControl,
        properties: properties(vec![
            ("name", field(raw, "name")),
            ("branch", field(raw, "branch")),
            ("sha1", field(raw, "sha1")),
        ]),
        json: None,
    }))
}

/// A CI build as a trigger carries it.
pub(crate) fn build_info(raw: &Value, class: Base) -> Value {
    if !matches!(raw, Value::Map(_)) {
        return Value::Null;
    }
    let artifacts = list_field(raw, "artifacts")
        .iter()
        .map(|artifact| {
            Value::Bean(Arc::new(Bean {
                class: Base::JenkinsArtifact,
                properties: properties(vec![
                    ("fileName", field(artifact, "fileName")),
                    ("relativePath", field(artifact, "relativePath")),
                ]),
                json: None,
            }))
        })
        .collect();
    let scm = list_field(raw, "scm").iter().map(source_control).collect();
    let mut all = vec![
        ("name", field(raw, "name")),
        ("number", field(raw, "number")),
        ("url", field(raw, "url")),
        ("result", field(raw, "result")),
        ("artifacts", Value::list(artifacts)),
        ("scm", Value::list(scm)),
        (
            "building",
            Value::Bool(matches!(field(raw, "building"), Value::Bool(true))),
        ),
    ];
    if class == Base::JenkinsBuildInfo {
        all.push((
            "fullDisplayName",
            or(field(raw, "fullDisplayName"), Value::Null),
        ));
    }
    Value::Bean(Arc::new(Bean {
        class,
        properties: properties(all),
        json: None,
    }))
}

fn has(source: &Value, names: &[&str]) -> bool {
    names.iter().all(|name| !field(source, name).is_null())
}

fn trigger_class(raw: &Value) -> Base {
    if has(raw, &["account", "repository"])
        && matches!(raw, Value::Map(map) if map.entries.contains_key(&TextKey("tag")))
    {
        Base::DockerTrigger
    } else if has(raw, &["team", "jobName"])
        || (text_field(raw, "type").as_deref() == Some("concourse"))
    {
        Base::ConcourseTrigger
    } else if has(raw, &["master", "job", "buildNumber"]) {
        Base::JenkinsTrigger
    } else if has(raw, &["parentExecution"]) {
        Base::PipelineTrigger
    } else if has(raw, &["source", "project", "branch", "slug"]) {
        Base::GitTrigger
    } else {
        Base::DefaultTrigger
    }
}

/// Executions inside triggers inside executions that are followed.
const MAX_PARENTS: usize = 16;

/// A trigger as Orca's classes hold it; null if there is none.
pub(crate) fn trigger(raw: &Value, depth: usize) -> Value {
    if !matches!(raw, Value::Map(_)) {
        return Value::Null;
    }
    let class = trigger_class(raw);
    let artifacts = list_field(raw, "artifacts").iter().map(artifact).collect();
    let mut all = vec![
        ("type", or(field(raw, "type"), Value::str("none"))),
        ("correlationId", field(raw, "correlationId")),
        ("user", or(field(raw, "user"), Value::str("[anonymous]"))),
        ("parameters", map_or_empty(field(raw, "parameters"))),
        ("artifacts", Value::list(artifacts)),
        (
            "notifications",
            or(field(raw, "notifications"), Value::list(Vec::new())),
        ),
    ];
    let copied: &[&'static str] = match class {
        Base::DockerTrigger => &["account", "repository", "tag"],
        Base::GitTrigger => &["hash", "source", "project", "branch", "slug", "action"],
        Base::JenkinsTrigger => &["master", "job", "buildNumber", "propertyFile"],
        Base::ConcourseTrigger => &[],
        Base::PipelineTrigger => &["parentPipelineStageId"],
        _ => &[],
    };
    all.extend(copied.iter().map(|name| (*name, field(raw, name))));
    match class {
        Base::JenkinsTrigger => {
            all.push((
                "buildInfo",
                build_info(&field(raw, "buildInfo"), Base::JenkinsBuildInfo),
            ));
            all.push(("properties", map_or_empty(field(raw, "properties"))));
        }
        Base::ConcourseTrigger => {
            all.push((
                "buildInfo",
                build_info(&field(raw, "buildInfo"), Base::ConcourseBuildInfo),
            ));
            all.push(("properties", map_or_empty(field(raw, "properties"))));
        }
        Base::PipelineTrigger if depth < MAX_PARENTS => {
            let parent = execution(&field(raw, "parentExecution"), None, depth + 1);
            let stage =
                text_field(raw, "parentPipelineStageId").and_then(|id| parent.index_by_id(&id));
            all.push((
                "parentStage",
                stage.map_or(Value::Null, |index| Value::Stage(parent.clone(), index)),
            ));
            all.push(("parentExecution", Value::Execution(parent)));
        }
        _ => {}
    }
    all.push(("other", raw.clone()));
    let expected = list_field(raw, "resolvedExpectedArtifacts")
        .iter()
        .map(expected_artifact)
        .collect();
    all.push(("resolvedExpectedArtifacts", Value::list(expected)));
    for name in ["rebake", "dryRun", "strategy"] {
        all.push((
            name,
            Value::Bool(matches!(field(raw, name), Value::Bool(true))),
        ));
    }
    let mut bean = Bean {
        class,
        properties: properties(all),
        json: None,
    };
    bean.json = Some(written_trigger(raw, &bean));
    Value::Bean(Arc::new(bean))
}

/// A trigger as Orca's JSON mapper writes it: the fields every trigger has, those of its kind, then the rest.
fn written_trigger(raw: &Value, bean: &Bean) -> Value {
    let mut json = IndexMap::new();
    let put = |json: &mut IndexMap<Key, Value>, name: &str, value: Value| {
        if !value.is_null() {
            json.insert(Key::from(name), value);
        }
    };
    for name in ["type", "correlationId", "user", "parameters"] {
        put(&mut json, name, bean.get(name).unwrap_or(Value::Null));
    }
    put(
        &mut json,
        "artifacts",
        Value::list(
            list_field(raw, "artifacts")
                .iter()
                .map(artifact_json)
                .collect(),
        ),
    );
    for name in ["notifications", "rebake", "dryRun", "strategy"] {
        put(&mut json, name, bean.get(name).unwrap_or(Value::Null));
    }
    for (name, value) in &bean.properties {
        let Key::Str(name) = name else { continue };
        if !json.contains_key(&TextKey(name))
            && !matches!(
                &**name,
                "other" | "resolvedExpectedArtifacts" | "parentStage"
            )
        {
            let value = match value {
                Value::Bean(_) | Value::Execution(_) => field(raw, name),
                other => other.clone(),
            };
            put(&mut json, name, value);
        }
    }
    let expected = list_field(raw, "resolvedExpectedArtifacts")
        .iter()
        .map(expected_artifact_json)
        .collect();
    put(
        &mut json,
        "resolvedExpectedArtifacts",
        Value::list(expected),
    );
    if let Value::Map(map) = raw {
        for (key, value) in map.entries.iter() {
            if !json.contains_key(key) {
                json.insert(key.clone(), value.clone());
            }
        }
    }
    Value::linked(json)
}

fn trigger_json(raw: &Value, bean: &Value) -> Value {
    match bean {
        Value::Bean(bean) => bean.json.clone().unwrap_or_else(|| raw.clone()),
        _ => Value::Null,
    }
}
