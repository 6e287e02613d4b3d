//! Who wants to hear of what: decisions, no calls.

use serde_json::{Map, Value};

/// Whom a notification goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// An SNS topic: its ARN, or its name in this account and region.
    Topic(String),
    /// Mail addresses.
    Email {
        /// To whom.
        to: Vec<String>,
        /// Copies.
        cc: Vec<String>,
    },
    /// A Slack channel, by name or id.
    Slack(String),
    /// A Microsoft Teams workflow's address, or a reference to the secret that is one.
    MicrosoftTeams(String),
    /// A Google Chat webhook's address, or a reference to the secret that is one.
    GoogleChat(String),
    /// A telephone number in E.164.
    Sms(String),
    /// A reference to the secret that is a PagerDuty integration key.
    PagerDuty(String),
    /// A commit on GitHub; what is not said is the trigger's.
    GithubStatus {
        /// `owner/name`.
        repository: Option<String>,
        /// Hash.
        commit: Option<String>,
    },
}

/// Why a setting reaches nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Nothing here delivers this type.
    #[error("notifications of type `{0}` are not delivered")]
    UnknownType(String),
    /// It does not say whom.
    #[error("a notification of type `{kind}` has no `{field}`")]
    Missing {
        /// Its type.
        kind: String,
        /// What is missing.
        field: &'static str,
    },
}

fn text<'a>(setting: &'a Value, name: &str) -> Option<&'a str> {
    let text = setting.get(name).and_then(Value::as_str)?.trim();
    (!text.is_empty()).then_some(text)
}

/// Whether the setting wants to hear of `when`, such as `pipeline.failed`. A list has it as a member, a text contains it, as
/// in Echo.
#[must_use]
pub fn hears(setting: &Value, when: &str) -> bool {
    match setting.get("when") {
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(when)),
        Some(Value::String(text)) => text.contains(when),
        _ => false,
    }
}

/// Whom the setting names. An address that is a topic's ARN is published to whatever the type says.
///
/// # Errors
/// [`SettingError`].
pub fn recipient(setting: &Value) -> Result<Recipient, SettingError> {
    let kind = text(setting, "type").unwrap_or("sns");
    let address = text(setting, "address");
    if let Some(topic) =
        address.filter(|address| address.starts_with("arn:") && address.contains(":sns:"))
    {
        return Ok(Recipient::Topic(topic.to_owned()));
    }
    let missing = |field| SettingError::Missing {
        kind: kind.to_owned(),
        field,
    };
    let addressed = || address.map(str::to_owned).ok_or_else(|| missing("address"));
    // Deck writes these names in lower case, Echo's own API in upper case.
    Ok(match kind.to_ascii_lowercase().replace('_', "").as_str() {
        "email" => {
            let to = addresses(address.unwrap_or_default());
            if to.is_empty() {
                return Err(missing("address"));
            }
            Recipient::Email {
                to,
                cc: addresses(text(setting, "cc").unwrap_or_default()),
            }
        }
        "slack" => Recipient::Slack(addressed()?),
        "microsoftteams" => Recipient::MicrosoftTeams(addressed()?),
        "googlechat" => Recipient::GoogleChat(addressed()?),
        "sms" => Recipient::Sms(addressed()?),
        "pagerduty" => Recipient::PagerDuty(addressed()?),
        "githubstatus" => Recipient::GithubStatus {
            repository: text(setting, "repo").map(str::to_owned),
            commit: text(setting, "commit").map(str::to_owned),
        },
        "sns" => Recipient::Topic(addressed()?),
        "pubsub" => {
            let name = text(setting, "publisherName").or(address);
            Recipient::Topic(name.ok_or_else(|| missing("publisherName"))?.to_owned())
        }
        _ => return Err(SettingError::UnknownType(kind.to_owned())),
    })
}

fn addresses(text: &str) -> Vec<String> {
    text.split([',', ';', ' ', '\n'])
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The settings of an application as Front50 has them: a list, or lists by type beside other fields.
#[must_use]
pub fn of_application(notifications: &Value) -> Vec<Value> {
    match notifications {
        Value::Array(list) => list.clone(),
        Value::Object(by_type) => by_type
            .iter()
            .filter_map(|(kind, list)| Some((kind, list.as_array()?)))
            .flat_map(|(kind, list)| {
                list.iter().map(move |setting| {
                    let mut setting = setting.clone();
                    if let Some(object) = setting.as_object_mut() {
                        object.entry("type").or_insert_with(|| kind.clone().into());
                    }
                    setting
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A pipeline's settings and its application's. One of the application that a pipeline's setting names too (its type, and
/// its address or publisher) keeps only the occasions that the pipeline's does not have, as in Orca.
#[must_use]
pub fn merged(pipeline: &[Value], application: Vec<Value>) -> Vec<Value> {
    let mut all = pipeline.to_vec();
    for mut setting in application {
        let same = |other: &&Value| {
            let both =
                |name| text(other, name).is_some() && text(other, name) == text(&setting, name);
            both("type") && (both("address") || both("publisherName"))
        };
        if let Some(own) = pipeline.iter().find(same) {
            let left: Vec<Value> = occasions(&setting)
                .into_iter()
                .filter(|when| !hears(own, when))
                .map(Value::from)
                .collect();
            if left.is_empty() {
                continue;
            }
            if let Some(object) = setting.as_object_mut() {
                object.insert("when".to_owned(), left.into());
            }
        }
        all.push(setting);
    }
    all
}

fn occasions(setting: &Value) -> Vec<String> {
    match setting.get("when") {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// A stage's settings: none unless it says `sendNotifications`.
#[must_use]
pub fn of_stage(context: &Map<String, Value>) -> Vec<Value> {
    let sends = match context.get("sendNotifications") {
        Some(Value::Bool(sends)) => *sends,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    let settings = context.get("notifications").filter(|_| sends);
    settings
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_type_of_the_original_names_somebody() {
        let of = |setting: Value| recipient(&setting);
        let topic = "arn:aws:sns:us-east-1:123456789012:releases";
        assert_eq!(
            of(json!({"type": "email", "address": topic})),
            Ok(Recipient::Topic(topic.to_owned()))
        );
        assert_eq!(
            of(json!({"type": "email", "address": "a@x.org, b@x.org", "cc": "c@x.org"})),
            Ok(Recipient::Email {
                to: vec!["a@x.org".to_owned(), "b@x.org".to_owned()],
                cc: vec!["c@x.org".to_owned()]
            })
        );
        assert_eq!(
            of(json!({"type": "slack", "address": "#ops"})),
            Ok(Recipient::Slack("#ops".to_owned()))
        );
        assert_eq!(
            of(json!({"type": "PAGER_DUTY", "address": "ssm:/x"})),
            Ok(Recipient::PagerDuty("ssm:/x".to_owned()))
        );
        assert_eq!(
            of(json!({"type": "pubsub", "publisherName": "releases"})),
            Ok(Recipient::Topic("releases".to_owned()))
        );
        assert_eq!(
            of(json!({"type": "githubStatus"})),
            Ok(Recipient::GithubStatus {
                repository: None,
                commit: None
            })
        );
        assert_eq!(
            of(json!({"type": "jira"})),
            Err(SettingError::UnknownType("jira".to_owned()))
        );
        assert_eq!(
            of(json!({"type": "slack"})).map_err(|error| error.to_string()),
            Err("a notification of type `slack` has no `address`".to_owned())
        );
    }

    #[test]
    fn a_pipelines_setting_overrides_its_applications() {
        let own = json!({"type": "slack", "address": "#ops", "when": ["pipeline.failed"]});
        let application = json!({
            "application": "shop",
            "slack": [
                {"type": "slack", "address": "#ops", "when": ["pipeline.failed", "pipeline.complete"]},
                {"address": "#all", "when": ["pipeline.failed"]},
            ],
        });
        let all = merged(std::slice::from_ref(&own), of_application(&application));
        assert_eq!(
            all,
            [
                own.clone(),
                json!({"type": "slack", "address": "#ops", "when": ["pipeline.complete"]}),
                json!({"type": "slack", "address": "#all", "when": ["pipeline.failed"]}),
            ]
        );
        let nothing_left =
            json!([{"type": "slack", "address": "#ops", "when": ["pipeline.failed"]}]);
        assert_eq!(
            merged(std::slice::from_ref(&own), of_application(&nothing_left)),
            [own]
        );
    }

    #[test]
    fn a_stage_tells_only_if_it_says_so() {
        let settings = json!([{"type": "slack", "address": "#ops", "when": "stage.failed"}]);
        for (sends, count) in [
            (json!(true), 1),
            (json!("true"), 1),
            (json!(false), 0),
            (Value::Null, 0),
        ] {
            let context = json!({"sendNotifications": sends, "notifications": settings});
            assert_eq!(of_stage(context.as_object().unwrap()).len(), count);
        }
        assert!(hears(&settings[0], "stage.failed"));
        assert!(!hears(&settings[0], "stage.complete"));
    }
}
