//! Which account, regions, cluster and server group a stage names.

use gennaker_domain::deployment::{cluster_operation, facts, naming};
use gennaker_domain::{Intent, PlanStage, StageRecord};
use gennaker_lambda::{Invocation, StageError, Step};
use serde_json::{Map, Value};

/// After so long, a group that Auto Scaling does not list is gone: its descriptions are eventually consistent, by
/// seconds as a rule.
const LISTED_WITHIN_MILLIS: i64 = 30_000;

/// What a stage about server groups is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Spinnaker's name of the account.
    pub account: String,
    /// Regions, each once, in the order written.
    pub regions: Vec<String>,
    /// The cluster.
    pub cluster: String,
    /// The server group, where one is named.
    pub server_group: Option<String>,
}

fn filled<'a>(context: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    context
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Regions as stages write them: `regions`, `region`, `namespaces`, `location`, or the keys of `availabilityZones`.
#[must_use]
pub fn regions(context: &Map<String, Value>) -> Vec<String> {
    let list = |key: &str| -> Vec<String> {
        match context.get(key) {
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(Value::as_str)
                .filter(|region| !region.is_empty())
                .map(str::to_owned)
                .collect(),
            Some(Value::String(region)) if !region.is_empty() => vec![region.clone()],
            Some(Value::Object(zones)) => zones.keys().cloned().collect(),
            _ => Vec::new(),
        }
    };
    let mut found = ["regions", "region", "namespaces", "location"]
        .iter()
        .map(|key| list(key))
        .find(|regions| !regions.is_empty())
        .unwrap_or_else(|| list("availabilityZones"));
    let mut seen: Vec<String> = Vec::new();
    found.retain(|region| {
        let new = !seen.contains(region);
        seen.push(region.clone());
        new
    });
    found
}

impl Subject {
    /// The account and the regions of a stage's context.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] without an account.
    pub fn place_of(context: &Map<String, Value>) -> Result<(String, Vec<String>), StageError> {
        let account = filled(context, "credentials")
            .or_else(|| filled(context, "account"))
            .ok_or_else(|| StageError::invalid("credentials", "the stage names no account"))?
            .to_owned();
        Ok((account, regions(context)))
    }

    /// Reads a stage's context.
    ///
    /// The cluster is `cluster`, the moniker's, or what the name of the server group says.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] without account, region or cluster.
    pub fn of(context: &Map<String, Value>) -> Result<Self, StageError> {
        let (account, regions) = Self::place_of(context)?;
        if regions.is_empty() {
            return Err(StageError::invalid("regions", "the stage names no region"));
        }
        let server_group = filled(context, "serverGroupName")
            .or_else(|| filled(context, "asgName"))
            .map(str::to_owned);
        let moniker = context.get("moniker").and_then(Value::as_object);
        let cluster = filled(context, "cluster")
            .map(str::to_owned)
            .or_else(|| moniker.and_then(|moniker| filled(moniker, "cluster").map(str::to_owned)))
            .or_else(|| {
                server_group
                    .as_deref()
                    .and_then(|name| naming::parse(name).cluster)
            })
            .ok_or_else(|| StageError::invalid("cluster", "the stage names no cluster"))?;
        Ok(Self {
            account,
            regions,
            cluster,
            server_group,
        })
    }
}

/// The cluster in which a stage creates a server group: what it names, or the cluster of the group that it clones.
#[must_use]
pub(crate) fn created_cluster(context: &Map<String, Value>, application: &str) -> Option<String> {
    let says = |key: &str| filled(context, key);
    if ["application", "stack", "freeFormDetails"]
        .iter()
        .any(|key| says(key).is_some())
    {
        let application = says("application").unwrap_or(application);
        return naming::cluster_name(application, says("stack"), says("freeFormDetails")).ok();
    }
    let source = context.get("source").and_then(Value::as_object);
    let cloned = source
        .and_then(|source| filled(source, "serverGroupName").or_else(|| filled(source, "asgName")));
    says("targetCluster").map(str::to_owned).or_else(|| {
        let cloned = cloned
            .or_else(|| says("serverGroupName"))
            .or_else(|| says("asgName"))?;
        naming::parse(cloned).cluster
    })
}

/// The deploys after this stage: what it finds is for them.
fn later_deploys<'a>(invocation: &'a Invocation<'_>) -> impl Iterator<Item = &'a PlanStage> {
    let is_later = |stage: &&PlanStage| {
        let ancestors = invocation.plan.ancestors(&stage.ref_id);
        ancestors
            .iter()
            .any(|ancestor| ancestor.ref_id == invocation.stage.ref_id)
    };
    let deploys = |stage: &&PlanStage| {
        matches!(
            stage.stage_type.as_str(),
            "createServerGroup" | "cloneServerGroup"
        )
    };
    invocation
        .plan
        .stages
        .iter()
        .filter(deploys)
        .filter(is_later)
}

/// The regions that deploys after this stage deploy to: an image is needed there too. Those that an expression names
/// are known only when the deploy starts, and are left out.
#[must_use]
pub fn later_regions(invocation: &Invocation<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for region in later_deploys(invocation).flat_map(|stage| regions(&stage.context)) {
        if !found.contains(&region) && !region.contains("${") {
            found.push(region);
        }
    }
    found
}

/// The names of the server groups that enclosing and earlier deploys of this execution created in an account and
/// region: no operation on the cluster touches them.
#[must_use]
pub fn deployed(invocation: &Invocation<'_>, account: &str, region: &str) -> Vec<String> {
    deployed_by(invocation, account, region, |_| true)
}

/// As [`deployed`], and created so short a time ago that Auto Scaling may not list them yet.
#[must_use]
pub(crate) fn just_deployed(
    invocation: &Invocation<'_>,
    account: &str,
    region: &str,
) -> Vec<String> {
    let since = invocation.now.saturating_sub(LISTED_WITHIN_MILLIS);
    deployed_by(invocation, account, region, |record| {
        record.end_time.or(record.start_time) > Some(since)
    })
}

/// What deploys around and before this stage created, of those whose records are asked for.
fn deployed_by(
    invocation: &Invocation<'_>,
    account: &str,
    region: &str,
    counts: impl Fn(&StageRecord) -> bool,
) -> Vec<String> {
    let contexts: Vec<(String, Map<String, Value>)> = invocation
        .plan
        .ancestors(&invocation.stage.ref_id)
        .into_iter()
        .map(|stage| {
            let mut context = stage.context.clone();
            let record = invocation.records.get(&stage.ref_id);
            if let Some(record) = record.filter(|record| counts(record)) {
                context.extend(record.context.clone());
                context.extend(record.outputs.clone());
            }
            (stage.stage_type.clone(), context)
        })
        .collect();
    cluster_operation::deployed_server_groups(
        contexts
            .iter()
            .map(|(stage_type, context)| (stage_type.as_str(), context)),
        account,
        region,
    )
}

/// The context of a stage with what the deployment around it knows by now: the names of its source and of its new
/// group, and what to measure by. A stage outside of any deployment has its own.
///
/// # Errors
/// The answer of a sub-stage that is not to run: there was no server group before this deploy, or none was created.
#[allow(clippy::result_large_err)] // Once a call, and the answer is the call's own.
pub fn completed(invocation: &Invocation<'_>) -> Result<Map<String, Value>, Step> {
    let stage = invocation.stage;
    let execution = invocation.run.execution.as_str();
    let Some(facts) = facts::facts(
        invocation.plan,
        invocation.records,
        &stage.ref_id,
        execution,
    ) else {
        return Ok(invocation.context.clone());
    };
    facts::completed(invocation.context, &stage.conditions, &stage.fills, &facts)
        .map_err(|missing| Step::skipped(format!("not so: {missing}")))
}

/// The intents of this stage that are open, oldest first.
///
/// # Errors
/// Those of the table.
pub async fn own_intents(invocation: &Invocation<'_>) -> Result<Vec<Intent>, StageError> {
    Ok(invocation.intents().await?)
}

/// The groups of a region that an earlier try of this stage chose, as its intents of this kind say: chosen once, so
/// that groups which appear meanwhile push nothing else out. Empty if no try came so far.
#[must_use]
pub fn chosen_before(intents: &[Intent], kind: &str, region: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for intent in intents
        .iter()
        .filter(|intent| intent.action.starts_with(kind) && undo_text(intent, "region") == region)
    {
        let chosen = intent.undo.get("chosen").and_then(Value::as_array);
        for name in chosen.into_iter().flatten().filter_map(Value::as_str) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// The stage waits for these; it is done where there are none, and fails after so many minutes if it sets no time-out of
/// its own.
#[must_use]
pub fn wait_for(invocation: &Invocation<'_>, minutes: i64, waiting: &[String]) -> Step {
    if waiting.is_empty() {
        return Step::succeeded();
    }
    let reason = waiting.join("; ");
    let limit = minutes.saturating_mul(60_000);
    if invocation.spent() <= limit || invocation.context.contains_key("stageTimeoutMs") {
        return Step::waiting(invocation, reason);
    }
    let (number, unit) = match (minutes / 60, minutes % 60) {
        (hours, 0) => (hours, "hours"),
        _ => (minutes, "minutes"),
    };
    Step::failed(format!("not done after {number} {unit}: {reason}"))
}

/// A text of an intent's undo.
#[must_use]
pub fn undo_text<'a>(intent: &'a Intent, key: &str) -> &'a str {
    intent
        .undo
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn regions_are_read_wherever_stages_write_them() {
        for written in [
            json!({"regions": ["us-east-1", "us-east-1"]}),
            json!({"region": "us-east-1"}),
            json!({"location": "us-east-1"}),
            json!({"availabilityZones": {"us-east-1": ["us-east-1a"]}}),
        ] {
            assert_eq!(regions(&map(written)), ["us-east-1"]);
        }
    }

    #[test]
    fn the_cluster_is_read_from_the_server_groups_name_if_need_be() {
        let context = json!({"credentials": "prod", "region": "us-east-1", "serverGroupName": "shop-web-v012"});
        let subject = Subject::of(&map(context)).unwrap();
        assert_eq!(subject.cluster, "shop-web");
        assert!(Subject::of(&map(json!({"credentials": "prod", "region": "x"}))).is_err());
        assert!(Subject::of(&map(json!({"credentials": "prod", "cluster": "x"}))).is_err());
    }
}
