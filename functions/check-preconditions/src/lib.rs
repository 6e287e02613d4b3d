#![doc = include_str!("../README.md")]

pub mod cluster_size;

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::rollup;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::{AwsClouds, Clouds, clouds, observe};
use serde::Deserialize;
use serde_json::{Map, Value};

use cluster_size::{ClusterSize, Found};

/// The `checkPreconditions` stage.
pub struct CheckPreconditions {
    clouds: Arc<dyn Clouds>,
}

impl CheckPreconditions {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>) -> Self {
        Self { clouds }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsClouds::new(connection)))
    }

    /// The server groups of a cluster in each region, compared with what is expected.
    async fn cluster_size(
        &self,
        invocation: &Invocation<'_>,
        context: &Map<String, Value>,
    ) -> Result<Verdict, StageError> {
        let wanted = ClusterSize::of(context)?;
        let mut found = Vec::with_capacity(wanted.regions.len());
        for region in &wanted.regions {
            let place =
                clouds::place(&*self.clouds, invocation, &wanted.credentials, region).await?;
            let groups = observe::cluster_groups(&place, &wanted.cluster).await?;
            let names = observe::without_health(&place, &groups)
                .into_iter()
                .filter(|group| group.enabled || !wanted.only_enabled)
                .map(|group| group.name)
                .collect();
            found.push(Found {
                region: region.clone(),
                names,
            });
        }
        Ok(wanted.verdict(&found))
    }
}

/// The stage's preconditions: a list, or the one that a deployment's own check is.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] for what is no precondition.
pub fn preconditions(context: &Map<String, Value>) -> Result<Vec<Precondition>, StageError> {
    let read = |value: Value| {
        serde_json::from_value(value)
            .map_err(|error| StageError::invalid("preconditions", error.to_string()))
    };
    if let Some(kind) = context.get("preconditionType").and_then(Value::as_str) {
        let mut own = match context.get("context") {
            Some(Value::Object(own)) => own.clone(),
            _ => context.clone(),
        };
        for name in ["credentials", "cloudProvider"] {
            if let (false, Some(value)) = (own.contains_key(name), context.get(name)) {
                own.insert(name.to_owned(), value.clone());
            }
        }
        return Ok(vec![Precondition {
            kind: kind.to_owned(),
            context: own,
            fail_pipeline: None,
        }]);
    }
    match context.get("preconditions") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(list) => read(list.clone()),
    }
}

/// One precondition as Spinnaker writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Precondition {
    /// `expression`, `stageStatus`, `clusterSize`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its own fields.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// Whether one that does not hold fails the stage; absent is true.
    #[serde(default)]
    pub fail_pipeline: Option<Value>,
}

/// What became of one precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not, and why.
    Fails(String),
}

/// Whether the value of an expression counts as true: the boolean, or the text in any case.
#[must_use]
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::String(text) => text.trim().eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// What the stage answers, given each precondition with its verdict.
///
/// One that does not hold fails the stage unless its own `failPipeline` is false: then it stops the branch, as the
/// child stage that Spinnaker makes of it would.
#[must_use]
pub fn decide(verdicts: &[(Precondition, Verdict)]) -> Step {
    let failed = |hard: bool| {
        let reasons: Vec<&str> = verdicts
            .iter()
            .filter(|(precondition, _)| {
                (precondition.fail_pipeline != Some(Value::Bool(false))) == hard
            })
            .filter_map(|(_, verdict)| match verdict {
                Verdict::Fails(reason) => Some(reason.as_str()),
                Verdict::Holds => None,
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    };
    if let Some(reason) = failed(true) {
        return Step::failed(format!("precondition not met: {reason}"));
    }
    if let Some(reason) = failed(false) {
        return Step::Ended {
            status: gennaker_domain::Status::Stopped,
            reason: format!("precondition not met: {reason}"),
            outputs: Map::new(),
            context: Map::new(),
        };
    }
    Step::succeeded()
}

fn text<'a>(context: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    context.get(name).and_then(Value::as_str)
}

async fn expression(
    invocation: &Invocation<'_>,
    context: &Map<String, Value>,
) -> Result<Verdict, StageError> {
    let value = match context.get("expression") {
        // Resolved with the stage, as `${…}`; what is left verbatim could not be.
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Value::Bool(true),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => {
            Value::Bool(false)
        }
        Some(Value::String(text)) if !text.contains("${") => {
            match invocation.value(&format!("${{{text}}}")).await? {
                Ok(value) => value,
                Err(reason) => {
                    return Ok(Verdict::Fails(format!(
                        "`{text}` could not be evaluated: {reason}"
                    )));
                }
            }
        }
        Some(value) => value.clone(),
        None => Value::Null,
    };
    if is_true(&value) {
        return Ok(Verdict::Holds);
    }
    let shown = context
        .get("expression")
        .map(ToString::to_string)
        .unwrap_or_default();
    Ok(Verdict::Fails(match text(context, "failureMessage") {
        Some(message) if !message.is_empty() => message.to_owned(),
        _ => format!("expression {shown} is {value}"),
    }))
}

fn stage_status(
    invocation: &Invocation<'_>,
    context: &Map<String, Value>,
) -> Result<Verdict, StageError> {
    let name = text(context, "stageName").unwrap_or_default();
    let wanted = text(context, "stageStatus").unwrap_or_default();
    let Some(stage) = invocation
        .plan
        .stages
        .iter()
        .find(|stage| stage.name == name)
    else {
        let names: Vec<&str> = invocation
            .plan
            .stages
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        return Err(StageError::invalid(
            "preconditions[].context.stageName",
            format!(
                "no stage is called `{name}`; there are {}",
                names.join(", ")
            ),
        ));
    };
    let status = rollup::stage_status(invocation.plan, invocation.records, &stage.ref_id);
    Ok(if status.as_str().eq_ignore_ascii_case(wanted) {
        Verdict::Holds
    } else {
        Verdict::Fails(format!("stage `{name}` is {status}, not {wanted}"))
    })
}

#[async_trait]
impl Stage for CheckPreconditions {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let preconditions = preconditions(invocation.context)?;
        let mut verdicts = Vec::with_capacity(preconditions.len());
        for precondition in preconditions {
            let context = &precondition.context;
            let verdict = match precondition.kind.as_str() {
                "clusterSize" => self.cluster_size(invocation, context).await?,
                "expression" => expression(invocation, context).await?,
                "stageStatus" => stage_status(invocation, context)?,
                other => {
                    return Err(StageError::invalid(
                        "preconditions[].type",
                        format!(
                            "`{other}` is not a precondition; there are clusterSize, expression, stageStatus"
                        ),
                    ));
                }
            };
            verdicts.push((precondition, verdict));
        }
        Ok(decide(&verdicts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn precondition(fail_pipeline: Value) -> Precondition {
        serde_json::from_value(json!({ "type": "expression", "failPipeline": fail_pipeline }))
            .unwrap()
    }

    #[test]
    fn one_that_does_not_hold_fails_the_stage_unless_it_says_otherwise() {
        let fails = || Verdict::Fails("too small".to_owned());
        assert_eq!(
            decide(&[(precondition(json!(null)), Verdict::Holds)]),
            Step::succeeded()
        );
        assert!(
            matches!(decide(&[(precondition(json!(null)), fails())]), Step::Failed { reason, .. }
            if reason == "precondition not met: too small")
        );
        assert!(matches!(
            decide(&[(precondition(json!(false)), fails())]),
            Step::Ended { .. }
        ));
        let mixed = [
            (precondition(json!(false)), fails()),
            (precondition(json!(true)), fails()),
        ];
        assert!(matches!(decide(&mixed), Step::Failed { .. }));
    }

    #[test]
    fn true_is_a_boolean_or_its_text() {
        for (value, expected) in [
            (json!(true), true),
            (json!("TRUE"), true),
            (json!("yes"), false),
            (json!(1), false),
            (json!(null), false),
        ] {
            assert_eq!(is_true(&value), expected, "{value}");
        }
    }
}
