//! Orca's helper functions, `#toInt(…)` to `#deployedServerGroups(…)`.

use crate::class::{Base, Class};
use crate::convert::{parse_java_float, parse_java_integer};
use crate::fault::{Eval, Fault};
use crate::model::{Execution, field, text_field};
use crate::session::Session;
use crate::url;
use crate::value::{Key, TextKey, Value, hash_order};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use indexmap::IndexMap;
use std::sync::Arc;

/// What a parameter asks for.
#[derive(Clone, Copy, PartialEq)]
enum Param {
    Text,
    Any,
    Execution,
    /// Any number of texts.
    Texts,
}

type Run = fn(&Session<'_>, &[Value]) -> Eval<Value>;

pub(crate) struct Function {
    name: &'static str,
    params: &'static [Param],
    /// As `java.lang.reflect.Method` prints it.
    signature: &'static str,
    run: Run,
}

const EXECUTION: &str = "com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution";

/// Standard Base64, padding optional when read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

macro_rules! function {
    ($name:literal, [$($param:ident)*], $signature:literal, $run:expr) => {
        Function { name: $name, params: &[$(Param::$param),*], signature: $signature, run: $run }
    };
}

static FUNCTIONS: &[Function] = &[
    function!(
        "alphanumerical",
        [Text],
        "public static java.lang.String com.netflix.spinnaker.kork.expressions.ExpressionsSupport$StringExpressionFunctionProvider.alphanumerical(java.lang.String)",
        |_, a| {
            Ok(Value::str(
                text(a, 0)?
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .collect::<String>(),
            ))
        }
    ),
    function!(
        "toInt",
        [Text],
        "public static java.lang.Integer com.netflix.spinnaker.kork.expressions.ExpressionsSupport$StringExpressionFunctionProvider.toInt(java.lang.String)",
        |_, a| {
            let text = text(a, 0)?;
            parse_java_integer(text, 10)
                .and_then(|value| i32::try_from(value).ok())
                .map(Value::Int)
                .ok_or_else(|| Fault::new(format!("For input string: \"{text}\"")))
        }
    ),
    function!(
        "toFloat",
        [Text],
        "public static java.lang.Float com.netflix.spinnaker.kork.expressions.ExpressionsSupport$StringExpressionFunctionProvider.toFloat(java.lang.String)",
        |_, a| {
            let text = text(a, 0)?;
            if text.trim().is_empty() {
                return Err(Fault::new("empty String"));
            }
            parse_java_float(text)
                .map(Value::Float)
                .ok_or_else(|| Fault::new(format!("For input string: \"{text}\"")))
        }
    ),
    function!(
        "toBoolean",
        [Text],
        "public static java.lang.Boolean com.netflix.spinnaker.kork.expressions.ExpressionsSupport$StringExpressionFunctionProvider.toBoolean(java.lang.String)",
        |_, a| {
            Ok(Value::Bool(
                a.first()
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.eq_ignore_ascii_case("true")),
            ))
        }
    ),
    function!(
        "toBase64",
        [Text],
        "public static java.lang.String com.netflix.spinnaker.kork.expressions.ExpressionsSupport$StringExpressionFunctionProvider.toBase64(java.lang.String)",
        |s, a| {
            let encoded = BASE64.encode(text(a, 0)?);
            s.charge(encoded.len())?;
            Ok(Value::str(encoded))
        }
    ),
    function!(
        "fromBase64",
        [Text],
        "public static java.lang.String com.netflix.spinnaker.kork.expressions.ExpressionsSupport$StringExpressionFunctionProvider.fromBase64(java.lang.String)",
        |s, a| {
            let text = text(a, 0)?;
            // A reference into the artifact store stands for what is stored.
            let stored = fetch_reference(s, &Value::str(text))?;
            let text = stored.as_str().unwrap_or(text);
            let bytes = BASE64
                .decode(text)
                .map_err(|error| Fault::new(format!("Illegal base64 text: {error}")))?;
            s.charge(bytes.len() * 3)?;
            Ok(Value::str(java_utf8(&bytes)))
        }
    ),
    function!(
        "toJson",
        [Any],
        "public static java.lang.String com.netflix.spinnaker.kork.expressions.ExpressionsSupport$JsonExpressionFunctionProvider.toJson(java.lang.Object)",
        |s, a| {
            match a.first().unwrap_or(&Value::Null) {
                Value::NotEvaluable(inner) => s.to_json_text(inner).map(Value::str),
                value => {
                    let json = s.to_json_text(value)?;
                    if json.contains("${") {
                        return Err(Fault::new("result for toJson cannot contain an expression")
                            .with_hint(Some(
                                "wrap the value: `#toJson(#doNotEval(…))`".to_string(),
                            )));
                    }
                    Ok(Value::str(json))
                }
            }
        }
    ),
    function!(
        "doNotEval",
        [Any],
        "public static com.netflix.spinnaker.kork.expressions.NotEvaluableExpression com.netflix.spinnaker.kork.expressions.ExpressionsSupport$FlagsExpressionFunctionProvider.doNotEval(java.lang.Object)",
        |_, a| {
            Ok(Value::NotEvaluable(Arc::new(
                a.first().cloned().unwrap_or(Value::Null),
            )))
        }
    ),
    function!(
        "readJson",
        [Text],
        "public static java.lang.Object com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.readJson(java.lang.String)",
        |s, a| read_json(s, text(a, 0)?)
    ),
    function!(
        "readYaml",
        [Text],
        "public static java.lang.Object com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.readYaml(java.lang.String)",
        |s, a| crate::yaml::read(s, text(a, 0)?)
    ),
    function!(
        "readAllYaml",
        [Text],
        "public static java.lang.Object com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.readAllYaml(java.lang.String)",
        |s, a| crate::yaml::read_all(s, text(a, 0)?)
    ),
    function!(
        "fromUrl",
        [Text],
        "public static java.lang.String com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.fromUrl(java.lang.String)",
        |s, a| fetch(s, text(a, 0)?).map(Value::str)
    ),
    function!(
        "jsonFromUrl",
        [Text],
        "public static java.lang.Object com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.jsonFromUrl(java.lang.String)",
        |s, a| read_json(s, &fetch(s, text(a, 0)?)?)
    ),
    function!(
        "yamlFromUrl",
        [Text],
        "public static java.lang.Object com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.yamlFromUrl(java.lang.String)",
        |s, a| crate::yaml::read(s, &fetch(s, text(a, 0)?)?)
    ),
    function!(
        "propertiesFromUrl",
        [Text],
        "public static java.util.Map com.netflix.spinnaker.orca.pipeline.expressions.functions.UrlExpressionFunctionProvider.propertiesFromUrl(java.lang.String)",
        |s, a| Ok(crate::properties::read(&fetch(s, text(a, 0)?)?))
    ),
    function!(
        "fetchReference",
        [Text],
        "public static java.lang.String com.netflix.spinnaker.orca.pipeline.expressions.functions.ArtifactStoreURIExpressionFunctionProvider.fetchReference(java.lang.String)",
        |s, a| fetch_reference(s, a.first().unwrap_or(&Value::Null))
    ),
    function!("stage", [Execution Text], "public static com.netflix.spinnaker.orca.api.pipeline.models.StageExecution com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.stage(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", stage),
    function!("stageByRefId", [Execution Text], "public static com.netflix.spinnaker.orca.api.pipeline.models.StageExecution com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.stageByRefId(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", stage_by_ref_id),
    function!("stageExists", [Execution Text], "public static boolean com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.stageExists(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", |_, a| {
        let name = a.get(1).and_then(Value::as_str);
        Ok(Value::Bool(name.is_some_and(|name| find_stage(execution(a), name).is_some())))
    }),
    function!(
        "currentStage",
        [Execution],
        "public static com.netflix.spinnaker.orca.api.pipeline.models.StageExecution com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.currentStage(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution)",
        current_stage
    ),
    function!(
        "currentUser",
        [],
        "public static java.lang.String com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.currentUser()",
        |s, _| {
            let user = s.context.execution().and_then(|execution| execution.user());
            Ok(user.map_or_else(|| Value::str("anonymous"), Value::Str))
        }
    ),
    function!("judgment", [Execution Text], "public static java.lang.String com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.judgment(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", judgment),
    function!("judgement", [Execution Text], "public static java.lang.String com.netflix.spinnaker.orca.pipeline.expressions.functions.StageExpressionFunctionProvider.judgement(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", judgment),
    function!("deployedServerGroups", [Execution Texts], "public static java.util.List com.netflix.spinnaker.orca.pipeline.expressions.functions.ServerGroupsExpressionFunctionProvider.deployedServerGroups(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String[])", deployed_server_groups),
    function!("manifestLabelValue", [Execution Text Text Text], "public static java.lang.String com.netflix.spinnaker.orca.pipeline.expressions.functions.ManifestLabelValueExpressionFunctionProvider.manifestLabelValue(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String,java.lang.String,java.lang.String)", manifest_label_value),
    function!("triggerResolvedArtifact", [Execution Text], "public static com.netflix.spinnaker.kork.artifacts.model.Artifact com.netflix.spinnaker.orca.pipeline.expressions.functions.ArtifactExpressionFunctionProvider.triggerResolvedArtifact(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", |_, a| trigger_artifact(a, "name")),
    function!("triggerResolvedArtifactByType", [Execution Text], "public static com.netflix.spinnaker.kork.artifacts.model.Artifact com.netflix.spinnaker.orca.pipeline.expressions.functions.ArtifactExpressionFunctionProvider.triggerResolvedArtifactByType(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", |_, a| trigger_artifact(a, "type")),
    function!(
        "resolvedArtifacts",
        [Execution],
        "public static java.util.List com.netflix.spinnaker.orca.pipeline.expressions.functions.ArtifactExpressionFunctionProvider.resolvedArtifacts(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution)",
        resolved_artifacts
    ),
    function!("pipelineId", [Execution Text], "public static java.lang.String com.netflix.spinnaker.orca.front50.pipeline.PipelineExpressionFunctionProvider.pipelineId(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", |s, a| {
        match pipeline_id(s, a)? {
            Value::Null => Err(Fault::new(format!("Pipeline with name '{}' could not be found", text(a, 1)?))),
            id => Ok(id),
        }
    }),
    function!("pipelineIdOrNull", [Execution Text], "public static java.lang.String com.netflix.spinnaker.orca.front50.pipeline.PipelineExpressionFunctionProvider.pipelineIdOrNull(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String)", pipeline_id),
    function!("pipelineIdInApplication", [Execution Text Text], "public static java.lang.String com.netflix.spinnaker.orca.front50.pipeline.PipelineExpressionFunctionProvider.pipelineIdInApplication(com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution,java.lang.String,java.lang.String)", |s, a| {
        let (name, application) = (text(a, 1)?, text(a, 2)?);
        port(s, |ports| ports.pipeline_id(application, name)).map(|id| id.map_or(Value::Null, Value::str))
    }),
    function!(
        "applicationMetadata",
        [Text],
        "public static java.util.Map com.netflix.spinnaker.orca.front50.pipeline.ApplicationMetadataExpressionFunctionProvider.applicationMetadata(java.lang.String)",
        |s, a| {
            let name = text(a, 0)?;
            port(s, |ports| ports.application(name)).map(|json| crate::json::from_serde(&json))
        }
    ),
    function!("canaryConfigNameToId", [Text Text], "public static java.lang.String com.netflix.spinnaker.orca.kayenta.pipeline.functions.KayentaConfigExpressionFunctionProvider.canaryConfigNameToId(java.lang.String,java.lang.String)", |s, a| {
        let (name, application) = (text(a, 0)?, text(a, 1)?);
        match port(s, |ports| ports.canary_config_id(application, name))? {
            Some(id) => Ok(Value::str(id)),
            None => Err(Fault::new(format!("Canary configuration `{name}` of application `{application}` not found"))),
        }
    }),
];

/// Functions whose first parameter is the execution; `#name(` in a text gets it put in.
pub(crate) fn execution_functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS
        .iter()
        .filter(|function| function.params.first() == Some(&Param::Execution))
        .map(|function| function.name)
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

pub(crate) fn signature(name: &str) -> Option<&'static str> {
    find(name).map(|function| function.signature)
}

/// Whether so many arguments fit.
pub(crate) fn accepts(function: &Function, count: usize) -> bool {
    if function.params.last() == Some(&Param::Texts) {
        count + 1 >= function.params.len()
    } else {
        count == function.params.len()
    }
}

/// The parameters a person writes (the execution is put in).
pub(crate) fn written_params(function: &Function) -> usize {
    function
        .params
        .iter()
        .filter(|param| !matches!(param, Param::Execution | Param::Texts))
        .count()
}

pub(crate) fn call(session: &Session<'_>, function: &Function, args: Vec<Value>) -> Eval<Value> {
    if !accepts(function, args.len()) {
        return Err(Fault::new(format!(
            "EL1014E: Incorrect number of arguments for function, {} supplied but function takes {}",
            args.len(),
            function.params.len()
        )));
    }
    let mut values = Vec::with_capacity(args.len());
    let variable = function.params.last() == Some(&Param::Texts);
    let plain = if variable {
        function.params.len() - 1
    } else {
        function.params.len()
    };
    for (param, arg) in function.params.iter().take(plain).zip(&args) {
        values.push(match param {
            Param::Text => session.convert(arg, Class::of(Base::String))?,
            Param::Execution if !matches!(arg, Value::Execution(_) | Value::Null) => {
                return Err(Fault::new(format!(
                    "No converter found capable of converting from type [{}] to type [{EXECUTION}] - EL1001E: Type conversion problem",
                    arg.class()
                )));
            }
            _ => arg.clone(),
        });
    }
    if variable {
        let mut texts = Vec::new();
        match args.get(plain..).unwrap_or_default() {
            // One list (or array) stands for all.
            [Value::List(list)] => {
                for item in session.items(list).iter() {
                    texts.push(session.convert(item, Class::of(Base::String))?);
                }
            }
            [Value::Array(array)] => {
                for item in session.array_items(array).iter() {
                    texts.push(session.convert(item, Class::of(Base::String))?);
                }
            }
            rest => {
                for item in rest {
                    texts.push(session.convert(item, Class::of(Base::String))?);
                }
            }
        }
        values.push(Value::list(texts));
    }
    (function.run)(session, &values).map_err(|fault| {
        let message = format!(
            "{} - EL1023E: A problem occurred whilst attempting to invoke the function '{}': 'null'",
            fault.message, function.name
        );
        Fault { message, hint: fault.hint }
    })
}

fn text(args: &[Value], index: usize) -> Eval<&str> {
    match args.get(index) {
        Some(Value::Str(text)) => Ok(text),
        _ => Err(Fault::new("Cannot use a text because it is null")),
    }
}

/// Java replaces each wrong byte sequence as the Unicode standard recommends, as Rust does.
fn java_utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_json(session: &Session<'_>, text: &str) -> Eval<Value> {
    session.charge(text.len() * 2)?;
    let value = crate::json::parse(text)?;
    let wants_list = text.starts_with('[');
    match &value {
        Value::Null => Ok(value),
        Value::List(_) if wants_list => Ok(value),
        Value::Map(_) if !wants_list => Ok(value),
        other => Err(Fault::new(format!(
            "Cannot deserialize value of type `java.util.{}` from {} value",
            if wants_list {
                "ArrayList"
            } else {
                "LinkedHashMap<java.lang.Object,java.lang.Object>"
            },
            other.class()
        ))),
    }
}

fn no_port(what: &str) -> Fault {
    Fault::new(format!("{what} is not available here"))
}

fn port<T>(
    session: &Session<'_>,
    call: impl FnOnce(&dyn crate::Ports) -> Result<T, String>,
) -> Eval<T> {
    let ports = session
        .options
        .ports
        .ok_or_else(|| no_port("looking up pipelines, applications and canary configurations"))?;
    call(ports).map_err(Fault::new)
}

fn fetch(session: &Session<'_>, url: &str) -> Eval<String> {
    let hosts_checked = session
        .options
        .ports
        .is_some_and(crate::Ports::checks_hosts);
    url::check(url, hosts_checked)?;
    let ports = session
        .options
        .ports
        .ok_or_else(|| no_port("fetching URLs"))?;
    let body = ports.fetch(url).map_err(Fault::new)?;
    session.charge(body.len())?;
    Ok(body)
}

fn fetch_reference(session: &Session<'_>, value: &Value) -> Eval<Value> {
    match value {
        Value::Str(text) if text.starts_with("ref://") => match session.options.ports {
            Some(ports) => ports
                .fetch_reference(text)
                .map(Value::str)
                .map_err(Fault::new),
            // Without an artifact store a reference stands for itself.
            None => Ok(value.clone()),
        },
        other => Ok(other.clone()),
    }
}

/// The map that a reference into the artifact store (`remote/map/base64`) stands for.
pub(crate) fn stored_map(session: &Session<'_>, reference: &Value) -> Option<Value> {
    let ports = session.options.ports?;
    if text_field(reference, "type").as_deref() != Some("remote/map/base64") {
        return None;
    }
    let encoded = ports
        .fetch_reference(&text_field(reference, "reference")?)
        .ok()?;
    session.charge(encoded.len()).ok()?;
    let bytes = BASE64.decode(encoded).ok()?;
    crate::json::parse(&java_utf8(&bytes)).ok()
}

fn pipeline_id(session: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let name = text(args, 1)?;
    let application = match execution(args).and_then(|execution| execution.property("application"))
    {
        Some(Value::Str(application)) => application,
        _ => "".into(),
    };
    port(session, |ports| ports.pipeline_id(&application, name))
        .map(|id| id.map_or(Value::Null, Value::str))
}

fn execution(args: &[Value]) -> Option<&Arc<Execution>> {
    match args.first() {
        Some(Value::Execution(execution)) => Some(execution),
        _ => None,
    }
}

fn some_execution(args: &[Value]) -> Eval<&Arc<Execution>> {
    execution(args).ok_or_else(|| Fault::new("there is no execution here"))
}

fn find_stage(execution: Option<&Arc<Execution>>, name: &str) -> Option<usize> {
    execution?
        .stages
        .iter()
        .position(|stage| stage.name.as_str() == Some(name) || *stage.id == *name)
}

fn stage(_: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let name = args.get(1).and_then(Value::as_str).unwrap_or("null");
    let execution = some_execution(args)?;
    find_stage(Some(execution), name)
        .map(|index| Value::Stage(execution.clone(), index))
        .ok_or_else(|| {
            let near = crate::near::suggest(
                name,
                execution
                    .stages
                    .iter()
                    .filter_map(|stage| stage.name.as_str()),
            );
            Fault::new(format!(
                "Unable to locate [{name}] using #stage({name}) in execution {}",
                execution.id()
            ))
            .with_hint(near.map(|near| format!("there is a stage `{near}`")))
        })
}

fn stage_by_ref_id(_: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let execution = some_execution(args)?;
    let Some(ref_id) = args.get(1).and_then(Value::as_str) else {
        return Err(Fault::new(format!(
            "Stage refId must not be null in #stageByRefId in execution {}",
            execution.id()
        )));
    };
    execution
        .stage_index(ref_id)
        .map(|index| Value::Stage(execution.clone(), index))
        .ok_or_else(|| {
            Fault::new(format!(
                "Unable to locate [{ref_id}] using #stageByRefId({ref_id}) in execution {}",
                execution.id()
            ))
        })
}

fn current_stage(session: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let execution = some_execution(args)?;
    match (session.context.stage(), session.context.execution()) {
        (Some(index), Some(own)) if own.id() == execution.id() => {
            Ok(Value::Stage(execution.clone(), index))
        }
        _ => Err(Fault::new("No current stage in this context")),
    }
}

fn judgment(_: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let execution = some_execution(args)?;
    let name = args.get(1).and_then(Value::as_str);
    let input = execution
        .stages
        .iter()
        .find(|stage| {
            &*stage.kind == "manualJudgment"
                && stage.name.as_str() == name
                && stage.context.contains_key(&TextKey("judgmentInput"))
        })
        .and_then(|stage| stage.context.get(&TextKey("judgmentInput")).cloned());
    input.ok_or_else(|| {
        let name = name.unwrap_or("null");
        Fault::new(format!(
            "Unable to locate manual Judgment stage [{name}] using #judgment({name}) in execution {}. Stage doesn't exist or doesn't contain judgmentInput in its context ",
            execution.id()
        ))
    })
}

fn deployed_server_groups(session: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let execution = some_execution(args)?;
    let wanted: Vec<Value> = match args.get(1) {
        Some(Value::List(list)) => session.items(list).0.clone(),
        _ => Vec::new(),
    };
    let mut groups = Vec::new();
    for (index, stage) in execution.stages.iter().enumerate() {
        let kind = matches!(
            &*stage.kind,
            "createServerGroup" | "deploy" | "cloneServerGroup" | "rollingPush"
        );
        let named = wanted.is_empty()
            || wanted.iter().any(|name| {
                name.as_str()
                    .is_some_and(|name| stage.name.as_str() == Some(name) || *stage.id == *name)
            });
        if !kind || stage.status.name() != "SUCCEEDED" || !named {
            continue;
        }
        let context = Value::linked(stage.context.0.clone());
        let Value::Map(deployed) = field(&context, "deploy.server.groups") else {
            continue;
        };
        let read = |name: &str| {
            stage
                .context
                .get(&TextKey(name))
                .cloned()
                .or_else(|| execution.inherited(index, name))
                .unwrap_or(Value::Null)
        };
        let details = match read("deploymentDetails") {
            Value::List(list) => session.items(&list).0.clone(),
            _ => Vec::new(),
        };
        let region = match field(&context, "region") {
            Value::Str(region) => Some(region),
            _ => match field(&context, "availabilityZones") {
                Value::Map(zones) => match zones.entries.keys().next() {
                    Some(Key::Str(region)) => Some(region.clone()),
                    _ => None,
                },
                _ => None,
            },
        };
        let region = region.or_else(|| match deployed.entries.keys().next() {
            Some(Key::Str(region)) => Some(region.clone()),
            _ => None,
        });
        let mut group: IndexMap<Key, Value> = IndexMap::new();
        group.insert(Key::from("account"), field(&context, "account"));
        group.insert(Key::from("capacity"), field(&context, "capacity"));
        group.insert(Key::from("parentStage"), field(&context, "parentStage"));
        group.insert(
            Key::from("region"),
            region.clone().map_or(Value::Null, Value::Str),
        );
        for detail in &details {
            if text_field(detail, "region") == region
                && let Value::Map(detail) = detail
            {
                for (key, value) in detail.entries.iter() {
                    group.insert(key.clone(), value.clone());
                }
            }
        }
        let names = region
            .as_ref()
            .and_then(|region| deployed.entries.get(&TextKey(region)));
        if let Some(Value::List(names)) = names
            && let Some(first) = session.items(names).first()
        {
            group.insert(Key::from("serverGroup"), first.clone());
        }
        group.insert(
            Key::from("deployments"),
            Value::list(deployments(session, &context)),
        );
        session.charge(group.len() * 48)?;
        groups.push(Value::map_of(Base::HashMap, hash_order(group)));
    }
    Ok(Value::list(groups))
}

/// The deployments that Clouddriver's answers list.
fn deployments(session: &Session<'_>, context: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    let Value::List(tasks) = field(context, "kato.tasks") else {
        return found;
    };
    for task in session.items(&tasks).iter() {
        let Value::List(results) = field(task, "resultObjects") else {
            continue;
        };
        for result in session.items(&results).iter() {
            if let Value::List(deployments) = field(result, "deployments") {
                found.extend(session.items(&deployments).iter().cloned());
            }
        }
    }
    found
}

fn manifest_label_value(session: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let execution = some_execution(args)?;
    let name = args.get(1).and_then(Value::as_str);
    let stage = execution.stages.iter().find(|stage| {
        &*stage.kind == "deployManifest"
            && stage.name.as_str() == name
            && stage.status.name() == "SUCCEEDED"
    });
    let Some(stage) = stage else {
        return Err(Fault::new(
            "A valid Deploy Manifest stage name is required for this function",
        ));
    };
    let kind = args.get(2).and_then(Value::as_str);
    if !matches!(kind, Some("Deployment" | "ReplicaSet")) {
        return Err(Fault::new(
            "Only Deployments and ReplicaSets are valid kinds for this function",
        ));
    }
    let Some(label) = args.get(3).and_then(Value::as_str) else {
        return Err(Fault::new("A labelKey is required for this function"));
    };
    let manifests = match stage.context.get(&TextKey("outputs.manifests")) {
        Some(Value::List(list)) => session.items(list).0.clone(),
        _ => Vec::new(),
    };
    let manifest = manifests
        .iter()
        .find(|manifest| text_field(manifest, "kind").as_deref() == kind);
    let Some(manifest) = manifest else {
        return Err(Fault::new(format!(
            "No manifest of kind {} found on stage {}",
            kind.unwrap_or("null"),
            name.unwrap_or("null")
        )));
    };
    // The original puts the label into a path, which a quote breaks.
    if label.contains('\'') {
        return Err(Fault::new(
            "Property must be separated by comma or Property must be terminated close square bracket",
        ));
    }
    let labels = ["spec", "template", "metadata", "labels"]
        .iter()
        .fold(manifest.clone(), |value, name| field(&value, name));
    match field(&labels, label) {
        Value::Null => Err(Fault::new(
            "No label of specified key found on matching manifest spec.template.metadata.labels",
        )),
        value => Ok(value),
    }
}

fn trigger_artifact(args: &[Value], by: &str) -> Eval<Value> {
    let execution = some_execution(args)?;
    let wanted = args.get(1).and_then(Value::as_str);
    let expected = match &execution.trigger {
        Value::Bean(trigger) => trigger.get("resolvedExpectedArtifacts"),
        _ => None,
    };
    if let Some(Value::List(list)) = expected {
        for item in list.items.iter() {
            let Value::Bean(item) = item else { continue };
            if let Some(Value::Bean(bound)) = item.get("boundArtifact")
                && bound.get(by).as_ref().and_then(Value::as_str) == wanted
            {
                return Ok(Value::Bean(bound));
            }
        }
    }
    Err(Fault::new(format!(
        "Unable to locate resolved artifact {} in trigger execution {}.",
        wanted.unwrap_or("null"),
        execution.id()
    )))
}

fn resolved_artifacts(session: &Session<'_>, args: &[Value]) -> Eval<Value> {
    let execution = some_execution(args)?;
    let mut found = Vec::new();
    for stage in &execution.stages {
        if let Some(Value::List(artifacts)) = stage.outputs.entries.get(&TextKey("artifacts")) {
            found.extend(session.items(artifacts).iter().cloned());
        }
    }
    Ok(Value::list(found))
}
