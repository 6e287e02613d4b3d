//! The trigger index: under which key an event finds a pipeline.

use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_domain::Problem;
use serde_json::Value;

/// Where this installation lives: what a trigger means that names neither account nor region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// Account id.
    pub account: String,
    /// Region.
    pub region: String,
}

/// The entries of a pipeline's enabled triggers, and warnings about those that start nothing in this release.
///
/// A pipeline that is disabled has none.
#[must_use]
pub fn entries(
    application: &str,
    pipeline_id: &str,
    config: &Value,
    home: &Home,
) -> (Vec<TriggerEntry>, Vec<Problem>) {
    let mut entries = Vec::new();
    let mut warnings = Vec::new();
    let disabled = is_true(config.get("disabled"));
    let triggers = config.get("triggers").and_then(Value::as_array);
    for (index, trigger) in triggers.into_iter().flatten().enumerate() {
        if disabled || !is_true(trigger.get("enabled")) {
            continue;
        }
        match key(trigger, home) {
            Ok(key) => entries.push(TriggerEntry {
                key,
                application: application.to_owned(),
                pipeline_id: pipeline_id.to_owned(),
                index,
                trigger: trigger.clone(),
            }),
            Err((message, hint)) => warnings.push(
                Problem::warning("trigger-not-built", format!("$.triggers[{index}]"), message)
                    .with_hint(hint),
            ),
        }
    }
    (entries, warnings)
}

/// Spinnaker's booleans: `true`, a number that is not 0, and the text in any case.
pub(crate) fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(Value::Number(number)) => number.as_f64().is_some_and(|n| n != 0.0),
        _ => false,
    }
}

/// Account and region of an ECR registry's host: `123456789012.dkr.ecr.us-east-1.amazonaws.com`.
fn ecr_host(registry: &str) -> Option<(&str, &str)> {
    let host = registry
        .trim()
        .trim_start_matches("https://")
        .trim_end_matches('/');
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    let region = rest
        .strip_suffix(".amazonaws.com")
        .or_else(|| rest.strip_suffix(".amazonaws.com.cn"))?;
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (is_account && !region.is_empty()).then_some((account, region))
}

/// Key of the trigger in the index, or why it has none and what to do about it.
fn key(trigger: &Value, home: &Home) -> Result<String, (String, String)> {
    let text = |name: &str| {
        trigger
            .get(name)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let kind = text("type").unwrap_or("");
    if kind == "pipeline" {
        // The application that the trigger names does not matter: ids are unique.
        return text("pipeline")
            .map(|id| format!("pipeline#{id}"))
            .ok_or_else(|| {
                (
                    "the trigger names no `pipeline`".to_owned(),
                    "give the id of the pipeline whose end starts this one".to_owned(),
                )
            });
    }
    let (account, region) = match kind {
        "docker" => {
            let registry = text("registry").or_else(|| text("account")).unwrap_or("");
            ecr_host(registry).ok_or_else(|| {
                (
                    format!("the registry `{registry}` is not an ECR registry: pushes to it start nothing yet"),
                    "give `registry` as `<account>.dkr.ecr.<region>.amazonaws.com`".to_owned(),
                )
            })?
        }
        "ecr" => {
            let is_id = |text: &&str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
            let account = text("registryId").or_else(|| text("account")).filter(is_id);
            (
                account.unwrap_or(&home.account),
                text("region").unwrap_or(&home.region),
            )
        }
        other => {
            return Err((
                format!("triggers of type `{other}` start nothing yet"),
                "start the pipeline with `gennaker execution start`".to_owned(),
            ));
        }
    };
    let repository = text("repository").ok_or_else(|| {
        (
            "the trigger names no `repository`".to_owned(),
            "give the repository's name, such as `shop/api`".to_owned(),
        )
    })?;
    Ok(format!("ecr#{account}/{region}/{repository}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn home() -> Home {
        Home {
            partition: "aws".to_owned(),
            account: "111111111111".to_owned(),
            region: "eu-west-1".to_owned(),
        }
    }

    fn keys(triggers: Value) -> (Vec<String>, usize) {
        let config = json!({ "triggers": triggers });
        let (entries, warnings) = entries("shop", "p", &config, &home());
        let keys = entries.into_iter().map(|entry| entry.key).collect();
        (keys, warnings.len())
    }

    #[test]
    fn a_docker_trigger_on_ecr_is_found_by_account_region_and_repository() {
        let trigger = json!({"type": "docker", "enabled": true, "account": "my-ecr",
            "registry": "123456789012.dkr.ecr.us-east-1.amazonaws.com", "repository": "shop/api"});
        assert_eq!(
            keys(json!([trigger])),
            (vec!["ecr#123456789012/us-east-1/shop/api".to_owned()], 0)
        );
    }

    #[test]
    fn an_ecr_trigger_means_this_account_and_region_unless_it_says_otherwise() {
        assert_eq!(
            keys(json!([
                {"type": "ecr", "enabled": "true", "repository": "api"},
                {"type": "ecr", "enabled": true, "repository": "api", "account": "222222222222", "region": "us-west-2"},
            ])),
            (
                vec![
                    "ecr#111111111111/eu-west-1/api".to_owned(),
                    "ecr#222222222222/us-west-2/api".to_owned()
                ],
                0
            )
        );
    }

    #[test]
    fn a_pipeline_trigger_is_found_by_the_pipeline_that_it_hears() {
        let trigger = json!({"type": "pipeline", "enabled": true, "application": "other", "pipeline": "p-1", "status": ["successful"]});
        let nameless = json!({"type": "pipeline", "enabled": true});
        assert_eq!(
            keys(json!([trigger, nameless])),
            (vec!["pipeline#p-1".to_owned()], 1)
        );
    }

    #[test]
    fn what_starts_nothing_is_said_unless_it_is_disabled() {
        let git = json!({"type": "git", "enabled": true});
        let hub = json!({"type": "docker", "enabled": true, "registry": "index.docker.io", "repository": "x"});
        let off = json!({"type": "git", "enabled": false});
        assert_eq!(keys(json!([git, hub, off])), (Vec::new(), 2));
    }
}
