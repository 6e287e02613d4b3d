//! The trigger index: under which key an event finds a pipeline.

use gennaker_cloud::scheduler::Schedule;
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_domain::Problem;
use gennaker_triggers::index::trigger_key;
use gennaker_triggers::matching::BUILD_TYPES;
use gennaker_triggers::trigger::Trigger;
use serde_json::Value;

use crate::cron::{self, CronSettings, CronTrigger};

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

impl Home {
    /// In this partition, account and region.
    pub fn new(
        partition: impl Into<String>,
        account: impl Into<String>,
        region: impl Into<String>,
    ) -> Self {
        Self {
            partition: partition.into(),
            account: account.into(),
            region: region.into(),
        }
    }
}

/// What a pipeline's triggers need in order to be heard.
#[derive(Debug, Default)]
pub struct Indexed {
    /// Entries of the trigger index.
    pub entries: Vec<TriggerEntry>,
    /// Schedules of cron triggers, each with an entry of its own.
    pub schedules: Vec<Schedule>,
    /// Errors, where a trigger cannot be kept, and warnings about those that start nothing.
    pub problems: Vec<Problem>,
}

/// What the enabled triggers of a pipeline need. A pipeline that is disabled needs nothing.
#[must_use]
pub fn indexed(
    application: &str,
    pipeline_id: &str,
    config: &Value,
    home: &Home,
    settings: &CronSettings,
    now: i64,
) -> Indexed {
    let mut indexed = Indexed::default();
    let triggers = config.get("triggers").and_then(Value::as_array);
    if is_true(config.get("disabled")) {
        return indexed;
    }
    for (index, written) in triggers.into_iter().flatten().enumerate() {
        if !is_true(written.get("enabled")) {
            continue;
        }
        let entry = |key: String| TriggerEntry {
            key,
            application: application.to_owned(),
            pipeline_id: pipeline_id.to_owned(),
            index,
            trigger: written.clone(),
        };
        let trigger = match Trigger::read(written) {
            Ok(trigger) => trigger,
            Err(error) => {
                let unreadable = (
                    format!("the trigger cannot be read: {error}"),
                    "give the field the type that it has in Spinnaker".to_owned(),
                );
                indexed.problems.push(warning(index, unreadable));
                continue;
            }
        };
        if trigger.kind.as_deref() == Some("cron") {
            let cron = CronTrigger {
                pipeline_id,
                index,
                written,
                trigger: &trigger,
                time_zone: config.get("timeZone").and_then(Value::as_str),
            };
            match cron.schedule(settings, now) {
                Ok(scheduled) => {
                    indexed.problems.extend(scheduled.warning);
                    // Two triggers that say the same start once.
                    if !indexed.schedules.contains(&scheduled.schedule) {
                        let key = cron::index_key(&scheduled.schedule.name);
                        indexed.entries.push(entry(key));
                        indexed.schedules.push(scheduled.schedule);
                    }
                }
                Err(problem) => indexed.problems.push(*problem),
            }
            continue;
        }
        match key(&trigger, home) {
            Ok(key) => indexed.entries.push(entry(key)),
            Err(unheard) => indexed.problems.push(warning(index, unheard)),
        }
    }
    indexed
}

fn warning(index: usize, (message, hint): Unheard) -> Problem {
    Problem::warning("trigger-not-built", format!("$.triggers[{index}]"), message).with_hint(hint)
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

/// What a trigger has to name to be found, and what for.
const REQUIRED: [(&str, &[&str]); 12] = [
    ("git", &["source", "project", "slug"]),
    ("docker", &["account", "repository"]),
    ("helm/oci", &["account", "repository"]),
    ("helm", &["account"]),
    ("webhook", &["source"]),
    ("cdevents", &["source"]),
    ("pubsub", &["pubsubSystem", "subscriptionName"]),
    ("artifactory", &["artifactorySearchName"]),
    ("nexus", &["nexusSearchName"]),
    ("pipeline", &["pipeline"]),
    ("ecr", &["repository"]),
    ("build", &["master", "job"]),
];

/// Why a trigger starts nothing, and what to do about it.
type Unheard = (String, String);

/// Key of the trigger in the index, or why it has none and what to do about it.
fn key(trigger: &Trigger, home: &Home) -> Result<String, Unheard> {
    ecr_repository(trigger, home)
        .or_else(|| trigger_key(trigger))
        .ok_or_else(|| unheard(trigger))
}

/// Key of a trigger that hears image pushes to ECR: `ecr`, or `docker` on an ECR registry.
fn ecr_repository(trigger: &Trigger, home: &Home) -> Option<String> {
    let text = |field: &str| {
        trigger
            .text(field)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let (account, region) = match trigger.kind.as_deref()? {
        "docker" => ecr_host(text("registry").or_else(|| text("account"))?)?,
        "ecr" => {
            let is_id = |text: &&str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
            let account = text("registryId").or_else(|| text("account")).filter(is_id);
            (
                account.unwrap_or(&home.account),
                text("region").unwrap_or(&home.region),
            )
        }
        _ => return None,
    };
    Some(format!("ecr#{account}/{region}/{}", text("repository")?))
}

/// What a trigger without a key lacks.
fn unheard(trigger: &Trigger) -> Unheard {
    let kind = trigger.kind.as_deref().unwrap_or("");
    let group = if BUILD_TYPES.contains(&kind) {
        "build"
    } else {
        kind
    };
    let required = REQUIRED.iter().find(|(known, _)| *known == group);
    match required {
        Some((_, fields)) => {
            let missing: Vec<String> = fields
                .iter()
                .filter(|field| trigger.text(field).is_none())
                .map(|field| format!("`{field}`"))
                .collect();
            (
                format!("the trigger names no {}", missing.join(" and no ")),
                "an event finds the trigger by it: nothing starts without".to_owned(),
            )
        }
        None => (
            format!("triggers of type `{kind}` start nothing"),
            "start the pipeline with `gennaker execution start`".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gennaker_domain::Severity;
    use serde_json::json;

    /// 2026-11-20.
    const NOW: i64 = 1_795_132_800_000;

    fn home() -> Home {
        Home::new("aws", "111111111111", "eu-west-1")
    }

    fn found(triggers: Value) -> Indexed {
        let config = json!({ "triggers": triggers });
        indexed("shop", "p", &config, &home(), &CronSettings::default(), NOW)
    }

    fn keys(triggers: Value) -> (Vec<String>, usize) {
        let found = found(triggers);
        let keys = found.entries.into_iter().map(|entry| entry.key).collect();
        (keys, found.problems.len())
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
    fn every_other_trigger_is_found_by_the_key_of_its_events() {
        let cases = [
            (
                json!({"type": "git", "source": "GitHub", "project": "Shop", "slug": "api", "secret": "x"}),
                "git#github/shop/api",
            ),
            (
                json!({"type": "docker", "account": "hub", "registry": "index.docker.io", "repository": "shop/api"}),
                "docker#hub/shop/api",
            ),
            (
                json!({"type": "webhook", "source": "release"}),
                "webhook#release",
            ),
            (
                json!({"type": "pubsub", "pubsubSystem": "amazon", "subscriptionName": "aws.s3"}),
                "pubsub#amazon/aws.s3",
            ),
            (
                json!({"type": "jenkins", "master": "ci", "job": "api/main"}),
                "build#ci/api/main",
            ),
            (
                json!({"type": "travis", "master": "t", "job": "shop/api"}),
                "build#t/shop/api",
            ),
            (
                json!({"type": "artifactory", "artifactorySearchName": "libs"}),
                "artifactory#libs",
            ),
            (
                json!({"type": "nexus", "nexusSearchName": "libs"}),
                "nexus#libs",
            ),
            (json!({"type": "helm", "account": "charts"}), "helm#charts"),
            (json!({"type": "cdevents", "source": "cd"}), "cdevents#cd"),
        ];
        for (mut trigger, key) in cases {
            trigger["enabled"] = json!(true);
            assert_eq!(keys(json!([trigger])), (vec![key.to_owned()], 0));
        }
    }

    #[test]
    fn what_starts_nothing_is_said_unless_it_is_disabled() {
        let git = json!({"type": "git", "enabled": true, "source": "github"});
        let unknown = json!({"type": "carrier-pigeon", "enabled": true});
        let unreadable = json!({"type": "webhook", "enabled": true, "source": {}});
        let off = json!({"type": "git", "enabled": false});
        let found = found(json!([git, unknown, unreadable, off]));
        assert!(found.entries.is_empty());
        let said: Vec<&str> = found
            .problems
            .iter()
            .map(|one| one.message.as_str())
            .collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(said[0], "the trigger names no `project` and no `slug`");
        assert_eq!(said[1], "triggers of type `carrier-pigeon` start nothing");
        assert!(said[2].starts_with("the trigger cannot be read"));
    }

    fn cron(expression: &str) -> Value {
        json!({"type": "cron", "enabled": true, "id": "t-1", "cronExpression": expression})
    }

    #[test]
    fn a_cron_trigger_has_a_schedule_in_its_time_zone_and_an_entry_that_the_schedule_finds() {
        let mut berlin = cron("0 30 3 ? * MON-FRI");
        berlin["timeZone"] = json!("Europe/Berlin");
        let found = found(json!([cron("0 0 10 ? * MON"), berlin]));
        let said: Vec<(&str, &str)> = found
            .schedules
            .iter()
            .map(|one| (one.expression.as_str(), one.time_zone.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("cron(0 10 ? * 2 *)", "America/Los_Angeles"),
                ("cron(30 3 ? * 2-6 *)", "Europe/Berlin")
            ]
        );
        for (schedule, entry) in found.schedules.iter().zip(&found.entries) {
            assert_eq!(entry.key, format!("cron#{}", schedule.name));
            assert_eq!(schedule.input["schedule"], json!(schedule.name));
            assert!(schedule.name.len() <= 64);
        }
        assert_ne!(found.schedules[0].name, found.schedules[1].name);
        assert!(found.problems.is_empty());
    }

    #[test]
    fn what_a_schedule_cannot_say_is_refused_with_the_nearest_or_asked_of_the_calendar() {
        let kept = |expression: &str| found(json!([cron(expression)]));
        let seconds = kept("15 0 3 * * ?");
        assert!(seconds.schedules.is_empty());
        assert_eq!(seconds.problems[0].code, "cron-not-kept");
        assert_eq!(
            seconds.problems[0].hint.as_deref(),
            Some("the nearest that can be kept is `0 0 3 * * ?`")
        );
        assert_eq!(
            kept("0 0 3 LW * ?").schedules[0].expression,
            "cron(0 3 * * ? *)"
        );
        assert_eq!(kept("soon").problems[0].code, "invalid-cron");
        let over = &kept("0 0 0 1 1 ? 2020").problems[0];
        assert_eq!(
            (over.code.as_str(), over.severity),
            ("cron-over", Severity::Warning)
        );
        let mut lost = cron("0 0 3 * * ?");
        lost["timeZone"] = json!("Mars/Olympus");
        assert_eq!(found(json!([lost])).problems[0].code, "unknown-time-zone");
    }

    #[test]
    fn a_fuzzy_trigger_fires_at_a_time_of_its_own_at_the_full_minute() {
        let fuzzy = found(json!([cron("H H 3 * * ?")]));
        assert_eq!(fuzzy.problems[0].code, "cron-full-minute");
        let expression = fuzzy.schedules[0].input["cronExpression"].as_str().unwrap();
        let minute: u32 = expression.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(minute < 60 && expression.starts_with("0 "), "{expression}");
    }

    #[test]
    fn two_cron_triggers_that_say_the_same_are_one_schedule() {
        let mut other = cron("0 0 3 * * ?");
        other["id"] = json!("t-2");
        let found = found(json!([cron("0 0 3 * * ?"), other]));
        assert_eq!((found.schedules.len(), found.entries.len()), (1, 1));
    }
}
