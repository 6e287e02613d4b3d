//! Webhooks that an installation configures once, each a stage type of its own: Spinnaker's `webhook.preconfigured`.
//!
//! A stage of such a type is a `webhook` stage: what the installation configures wins over what the stage says, as in
//! Spinnaker, and `${parameterValues['name']}` in it are the stage's own values or their defaults.

use std::collections::BTreeMap;

use gennaker_domain::Problem;
use serde_json::{Map, Value};

use crate::{
    catalog,
    parse::Stage,
    secrets::{is_reference, is_secret_header},
    validate::shortened,
};

/// What a preconfigured webhook may set in its stages.
const FIELDS: [&str; 28] = [
    "account",
    "cancelEndpoint",
    "cancelMethod",
    "cancelPayload",
    "canceledStatuses",
    "customHeaders",
    "expectedArtifacts",
    "failFastStatusCodes",
    "method",
    "monitorOnly",
    "parameterData",
    "parameterValues",
    "payload",
    "progressJsonPath",
    "retries",
    "retryStatusCodes",
    "safeToRetry",
    "sensitiveHeaders",
    "signalCancellation",
    "stageTimeoutMs",
    "statusJsonPath",
    "statusUrlJsonPath",
    "statusUrlResolution",
    "successStatuses",
    "terminalStatuses",
    "url",
    "waitBeforeMonitor",
    "waitForCompletion",
];
/// What it says of itself.
const OWN_FIELDS: [&str; 8] = [
    "description",
    "enabled",
    "label",
    "noUserConfigurableFields",
    "parameters",
    "permissions",
    "preconfiguredProperties",
    "type",
];
/// Where a stage's context has the roles of which whoever started the execution needs one.
pub const ROLES: &str = "allowedRoles";
/// Longest name of an account.
const MAX_ACCOUNT: usize = 200;
/// Longest stage type: it becomes a part of a state's name.
const MAX_TYPE: usize = 60;

/// A parameter of a preconfigured webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key in `parameterValues`.
    pub name: String,
    /// What it is where the stage does not say; none is a value that the stage has to give.
    pub default: Option<Value>,
}

/// A webhook that the installation configures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreconfiguredWebhook {
    /// The stage type.
    pub stage_type: String,
    /// What a person reads where the stage has no name.
    pub label: String,
    /// Whether pipelines may use it.
    pub enabled: bool,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Roles of which whoever started the execution needs one; empty is everybody.
    pub roles: Vec<String>,
    /// What it sets in its stages.
    pub fields: Map<String, Value>,
}

/// Preconfigured webhooks by stage type.
pub type PreconfiguredWebhooks = BTreeMap<String, PreconfiguredWebhook>;

/// Whether a pipeline has a stage type of no other kind, so that the installation's webhooks have to be read.
#[must_use]
pub fn may_use(pipeline: &Value) -> bool {
    list(pipeline.get("stages"))
        .iter()
        .filter_map(|stage| stage.get("type").and_then(Value::as_str))
        .any(|stage_type| !catalog::is_known(stage_type))
}

/// Reads webhooks in Spinnaker's JSON: one, a list of them, or what is under `webhook.preconfigured`.
///
/// # Errors
/// All problems at once, each with its JSON path.
pub fn read(file: &Value) -> Result<PreconfiguredWebhooks, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = PreconfiguredWebhooks::new();
    for (path, given) in entries(file) {
        let Some(webhook) = webhook(&path, given, &mut problems) else {
            continue;
        };
        let stage_type = webhook.stage_type.clone();
        if found.insert(stage_type.clone(), webhook).is_some() {
            problems.push(Problem::error(
                "duplicate-webhook",
                format!("{path}.type"),
                format!("the stage type `{stage_type}` is there twice"),
            ));
        }
    }
    if problems.iter().any(Problem::is_error) {
        Err(problems)
    } else {
        Ok(found)
    }
}

/// Each webhook of a file with its JSON path.
#[must_use]
pub fn entries(file: &Value) -> Vec<(String, &Value)> {
    let numbered = |path: &str, list: &'_ [Value]| -> Vec<String> {
        (0..list.len()).map(|at| format!("{path}[{at}]")).collect()
    };
    let (path, list) = match file
        .pointer("/webhook/preconfigured")
        .and_then(Value::as_array)
    {
        Some(list) => ("$.webhook.preconfigured", list),
        None => match file {
            Value::Array(list) => ("$", list),
            // Accounts alone.
            Value::Object(object) if object.contains_key("webhook") => return Vec::new(),
            one => return vec![("$".to_owned(), one)],
        },
    };
    numbered(path, list).into_iter().zip(list).collect()
}

/// An account of webhooks: headers that stages which name it send, and the hosts that they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAccount {
    /// What a stage has under `account`.
    pub name: String,
    /// `{"name","hosts","headers"}`.
    pub json: Value,
}

/// Reads what is under `webhook.accounts`: a list.
///
/// # Errors
/// All problems at once, each with its JSON path.
pub fn accounts(file: &Value) -> Result<Vec<WebhookAccount>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for (at, given) in list(file.pointer("/webhook/accounts")).iter().enumerate() {
        let path = format!("$.webhook.accounts[{at}]");
        let mut wrong = |field: &str, message: &str, hint: &str| {
            let problem = Problem::error("bad-webhook-account", format!("{path}.{field}"), message);
            problems.push(problem.with_hint(hint));
        };
        let name = given
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if name.is_empty() || name.len() > MAX_ACCOUNT {
            wrong(
                "name",
                "the account has no name, or a very long one",
                "a stage names it under `account`",
            );
        }
        let hosts = list(given.get("hosts"));
        if hosts.is_empty() || !hosts.iter().all(Value::is_string) {
            wrong(
                "hosts",
                "an account has the hosts that its headers are for",
                "such as [\"ci.example.com\"]",
            );
        }
        let headers = given.get("headers").and_then(Value::as_object);
        for (name, value) in headers.into_iter().flatten() {
            if is_secret_header(name) && !is_reference(value) {
                wrong(
                    &format!("headers.{}", shortened(name)),
                    "the header is a secret in plain text",
                    "write a reference: `ssm:/path`, `Bearer ssm:/path`, `secretsmanager:name`",
                );
            }
        }
        found.push(WebhookAccount {
            name: name.to_owned(),
            json: serde_json::json!({ "name": name, "hosts": hosts, "headers": headers }),
        });
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

fn webhook(path: &str, given: &Value, problems: &mut Vec<Problem>) -> Option<PreconfiguredWebhook> {
    let before = problems.len();
    let mut wrong = |field: &str, message: String, hint: &str| {
        let place = if field.is_empty() {
            path.to_owned()
        } else {
            format!("{path}.{field}")
        };
        problems.push(Problem::error("bad-webhook", place, message).with_hint(hint));
    };
    let Some(fields) = given.as_object() else {
        wrong(
            "",
            "a preconfigured webhook is an object".to_owned(),
            "give `type`, `label` and `url`",
        );
        return None;
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim);
    let stage_type = text("type").unwrap_or_default();
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
    if stage_type.is_empty() || stage_type.len() > MAX_TYPE || !stage_type.chars().all(is_word) {
        wrong(
            "type",
            format!("`{}` cannot be a stage type", shortened(stage_type)),
            "letters, digits, spaces, `.`, `_` and `-`, at most 60 of them",
        );
    } else if catalog::is_known(stage_type) || catalog::outside_aws(stage_type).is_some() {
        wrong(
            "type",
            format!("there is a stage type `{stage_type}` already"),
            "give it a name of its own",
        );
    }
    for name in fields.keys() {
        if !FIELDS.contains(&name.as_str()) && !OWN_FIELDS.contains(&name.as_str()) {
            wrong(
                &shortened(name),
                format!("a webhook has no `{}`", shortened(name)),
                "remove it, or look for a slip of the pen",
            );
        }
    }
    let sensitive: Vec<&str> = list(fields.get("sensitiveHeaders"))
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (name, value) in fields
        .get("customHeaders")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let is_secret = is_secret_header(name)
            || sensitive
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name));
        if is_secret && !is_reference(value) {
            wrong(
                &format!("customHeaders.{}", shortened(name)),
                format!("the header `{}` is a secret in plain text", shortened(name)),
                "write a reference: `ssm:/path`, `Bearer ssm:/path`, `secretsmanager:name`",
            );
        }
    }
    let mut parameters = Vec::new();
    for (at, parameter) in list(fields.get("parameters")).iter().enumerate() {
        match parameter.get("name").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => parameters.push(Parameter {
                name: name.to_owned(),
                default: parameter
                    .get("defaultValue")
                    .filter(|value| !value.is_null())
                    .cloned(),
            }),
            _ => wrong(
                &format!("parameters[{at}].name"),
                "the parameter has no name".to_owned(),
                "the name is its key in `parameterValues`",
            ),
        }
    }
    if problems.len() > before {
        return None;
    }
    let label = text("label").filter(|label| !label.is_empty());
    let roles = fields.get("permissions").and_then(Value::as_object);
    Some(PreconfiguredWebhook {
        stage_type: stage_type.to_owned(),
        label: label.unwrap_or(stage_type).to_owned(),
        enabled: fields.get("enabled") != Some(&Value::Bool(false)),
        parameters,
        roles: roles
            .into_iter()
            .flat_map(|permissions| permissions.values())
            .flat_map(|roles| list(Some(roles)))
            .filter_map(|role| role.as_str().map(|role| role.trim().to_lowercase()))
            .collect(),
        fields: fields
            .iter()
            .filter(|(name, value)| FIELDS.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    })
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl PreconfiguredWebhook {
    /// The context of a stage of this type: what is configured here wins, and every parameter has a value.
    #[must_use]
    pub fn context(&self, stage: &Map<String, Value>) -> Map<String, Value> {
        let mut context = stage.clone();
        context.extend(self.fields.clone());
        // What a stage says of it itself does not count.
        context.shift_remove(ROLES);
        if !self.roles.is_empty() {
            context.insert(ROLES.to_owned(), self.roles.clone().into());
        }
        let mut values = Map::new();
        for parameter in &self.parameters {
            if let Some(default) = &parameter.default {
                values.insert(parameter.name.clone(), default.clone());
            }
        }
        for given in [
            self.fields.get("parameterValues"),
            stage.get("parameterValues"),
        ] {
            let given = given
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            values.extend(given.into_iter().filter(|(_, value)| !value.is_null()));
        }
        if !values.is_empty() {
            context.insert("parameterValues".to_owned(), Value::Object(values));
        }
        context
    }

    /// What is wrong with a stage of this type, or worth knowing.
    pub(crate) fn check(&self, stage: &Stage, problems: &mut Vec<Problem>) {
        let path = format!("{}.type", stage.path);
        let mut tell = |problem: Problem| problems.push(problem.at_stage(&stage.ref_id));
        if !self.enabled {
            tell(
                Problem::error(
                    "webhook-disabled",
                    path.clone(),
                    format!(
                        "the preconfigured webhook `{}` is disabled",
                        self.stage_type
                    ),
                )
                .with_hint("enable it with `gennaker webhook save`, or take the stage out"),
            );
        }
        let context = self.context(&stage.context);
        let values = context.get("parameterValues").and_then(Value::as_object);
        let values_path = format!("{}.parameterValues", stage.path);
        for parameter in &self.parameters {
            if !values.is_some_and(|values| values.contains_key(&parameter.name)) {
                tell(
                    Problem::warning(
                        "missing-parameter-value",
                        values_path.clone(),
                        format!(
                            "the parameter `{}` has no value and no default",
                            shortened(&parameter.name)
                        ),
                    )
                    .with_hint("expressions that read it will find nothing"),
                );
            }
        }
        for name in values.into_iter().flat_map(Map::keys) {
            if !self.parameters.iter().any(|known| known.name == *name) {
                tell(Problem::warning(
                    "unknown-webhook-parameter",
                    format!("{values_path}.{}", shortened(name)),
                    format!(
                        "`{}` has no parameter `{}`",
                        self.stage_type,
                        shortened(name)
                    ),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_installation_configures_wins_and_parameters_have_their_defaults() {
        let file = json!({"webhook": {"preconfigured": [{
            "type": "smokeTest", "label": "Smoke test", "url": "https://ci.example.com/${parameterValues['suite']}",
            "method": "POST", "customHeaders": {"Authorization": "Bearer ssm:/ci"}, "payload": null,
            "parameters": [{"name": "suite", "defaultValue": "fast"}, {"name": "tries", "defaultValue": 2}],
        }]}});
        let all = read(&file).unwrap();
        let stage = json!({"url": "https://other.example.com", "payload": {"a": 1}, "parameterValues": {"tries": 5}});
        let context = all["smokeTest"].context(stage.as_object().unwrap());
        assert_eq!(
            context["url"],
            "https://ci.example.com/${parameterValues['suite']}"
        );
        assert_eq!(context["payload"], json!({"a": 1}));
        assert_eq!(
            context["parameterValues"],
            json!({"suite": "fast", "tries": 5})
        );
    }

    #[test]
    fn every_problem_of_a_file_has_its_place() {
        let file = json!([
            {"type": "wait", "url": "u"},
            {"type": "a/b"},
            {"type": "a", "urI": "u", "customHeaders": {"Authorization": "Basic eA==", "X-Team": "shop"}},
            {"type": "b", "sensitiveHeaders": ["x-team"], "customHeaders": {"X-Team": "shop"}},
            {"type": "c", "parameters": [{}]},
            "webhook",
        ]);
        let paths: Vec<String> = read(&file)
            .unwrap_err()
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            [
                "$[0].type",
                "$[1].type",
                "$[2].urI",
                "$[2].customHeaders.Authorization",
                "$[3].customHeaders.X-Team",
                "$[4].parameters[0].name",
                "$[5]",
            ]
        );
        let accounts_file = json!({"webhook": {"accounts": [
            {"name": "ci", "hosts": ["ci.example.com"], "headers": {"Authorization": "Bearer ssm:/ci"}},
            {"name": "", "hosts": [], "headers": {"X-Token": "abc"}},
        ]}});
        let places: Vec<String> = accounts(&accounts_file)
            .unwrap_err()
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        let place = |field| format!("$.webhook.accounts[1].{field}");
        assert_eq!(
            places,
            [place("name"), place("hosts"), place("headers.X-Token")]
        );
        let twice = json!([{"type": "a"}, {"type": "a"}]);
        assert_eq!(read(&twice).unwrap_err()[0].code, "duplicate-webhook");
    }
}
