//! Whose metrics are compared, of which time: the stage's scopes, or the groups that it deployed.

use std::collections::BTreeMap;

use gennaker_cloud::{Account, CloudError, Store};
use gennaker_domain::canary::DeployedGroup;
use gennaker_lambda::StageError;
use gennaker_metrics::Scope;
use serde_json::{Map, Value, json};

use crate::schedule::Window;

/// Seconds between points where no scope says.
const STEP: u32 = 60;

/// A pair that the stage deployed; the first pair stands for all, as in the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployedPair {
    baseline: DeployedGroup,
    canary: DeployedGroup,
    baseline_account: Option<String>,
    canary_account: Option<String>,
}

impl DeployedPair {
    /// With the ids of both accounts, where they are known.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn new(
        store: &Store,
        (baseline, canary): (DeployedGroup, DeployedGroup),
    ) -> Result<Self, CloudError> {
        let id = async |name: &str| {
            let account = Account::find(store, name).await?;
            Ok::<_, CloudError>(account.map(|account| account.account_id))
        };
        Ok(Self {
            baseline_account: id(&baseline.account).await?,
            canary_account: id(&canary.account).await?,
            baseline,
            canary,
        })
    }

    /// An entry of `deployedServerGroups`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "controlLocation": self.baseline.region,
            "controlScope": self.baseline.name,
            "controlAccountId": self.baseline_account,
            "experimentLocation": self.canary.region,
            "experimentScope": self.canary.name,
            "experimentAccountId": self.canary_account,
        })
    }
}

/// The two sides of a metric's scope over a window, baseline first.
///
/// # Errors
/// There is no such scope, or it does not say whose metrics are meant and nothing was deployed.
pub fn sides(
    config: &Map<String, Value>,
    metric: &Value,
    window: &Window,
    deployed: Option<&DeployedPair>,
) -> Result<(Scope, Scope), StageError> {
    let scopes = config
        .get("scopes")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let scope = scope_of(metric, scopes)?;
    let step = step_of(scope)
        .or_else(|| step_of(scopes.first()?))
        .unwrap_or(STEP)
        .max(1);
    let given = extended(scope);
    let side = |prefix: &str, group: Option<(&DeployedGroup, &Option<String>)>, shift: i64| {
        let mut extended = given.clone();
        let (scope, location) = match group {
            Some((group, account)) => {
                extended
                    .entry("dataset".to_owned())
                    .or_insert_with(|| "regional".to_owned());
                extended.insert("type".to_owned(), "asg".to_owned());
                if let Some(id) = account {
                    extended.insert("accountId".to_owned(), id.clone());
                }
                (group.name.clone(), group.region.clone())
            }
            None => (
                text(scope, &format!("{prefix}Scope"))?,
                text(scope, &format!("{prefix}Location"))?,
            ),
        };
        Ok::<_, StageError>(Scope {
            scope,
            location,
            start: window.start.saturating_sub(shift),
            end: window.end.saturating_sub(shift),
            step,
            extended,
        })
    };
    let baseline = deployed.map(|pair| (&pair.baseline, &pair.baseline_account));
    let canary = deployed.map(|pair| (&pair.canary, &pair.canary_account));
    Ok((
        side("control", baseline, window.baseline_shift)?,
        side("experiment", canary, 0)?,
    ))
}

fn name_of(scope: &Value) -> &str {
    let name = scope.get("scopeName").and_then(Value::as_str);
    name.unwrap_or("default")
}

fn scope_of<'a>(metric: &Value, scopes: &'a [Value]) -> Result<&'a Value, StageError> {
    let wanted = name_of(metric);
    scopes
        .iter()
        .find(|scope| name_of(scope) == wanted)
        .ok_or_else(|| {
            let names: Vec<&str> = scopes.iter().map(name_of).collect();
            let there = match names.as_slice() {
                [] => "there is none".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            StageError::invalid(
                "canaryConfig.scopes",
                format!("there is no scope `{wanted}`; {there}"),
            )
        })
}

fn step_of(scope: &Value) -> Option<u32> {
    let step = scope.get("step")?;
    let step = step
        .as_u64()
        .or_else(|| step.as_str()?.trim().parse().ok())?;
    u32::try_from(step).ok()
}

fn extended(scope: &Value) -> BTreeMap<String, String> {
    scope
        .get("extendedScopeParams")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

fn text(scope: &Value, name: &str) -> Result<String, StageError> {
    scope
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| {
            let path = format!("canaryConfig.scopes[{}].{name}", name_of(scope));
            StageError::invalid(path, "is missing")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        start: 10_000,
        end: 20_000,
        baseline_shift: 5_000,
    };

    fn config(scopes: Value) -> Map<String, Value> {
        Map::from_iter([("scopes".to_owned(), scopes)])
    }

    #[test]
    fn a_metric_is_read_in_the_scope_that_it_names() {
        let scopes = config(json!([
            { "controlScope": "a", "controlLocation": "eu-west-1", "experimentScope": "b", "experimentLocation": "us-east-1",
              "step": "10", "extendedScopeParams": { "zone": "x", "number": 3 } },
            { "scopeName": "edge", "controlScope": "c", "controlLocation": "r", "experimentScope": "d", "experimentLocation": "r" },
        ]));
        let (baseline, canary) = sides(&scopes, &json!({}), &WINDOW, None).unwrap();
        assert_eq!(
            (
                baseline.scope.as_str(),
                baseline.location.as_str(),
                baseline.start,
                baseline.end
            ),
            ("a", "eu-west-1", 5_000, 15_000)
        );
        assert_eq!(
            (canary.scope.as_str(), canary.start, canary.end),
            ("b", 10_000, 20_000)
        );
        assert_eq!(canary.extended["number"], "3");
        // The first scope's step holds for those without one.
        let (edge, _) = sides(&scopes, &json!({ "scopeName": "edge" }), &WINDOW, None).unwrap();
        assert_eq!((edge.scope.as_str(), edge.step), ("c", 10));
        let error = sides(&scopes, &json!({ "scopeName": "none" }), &WINDOW, None).unwrap_err();
        assert!(
            error.to_string().contains("there are default, edge"),
            "{error}"
        );
    }

    #[test]
    fn deployed_groups_stand_in_every_scope() {
        let group = |name: &str| DeployedGroup {
            account: "prod".to_owned(),
            region: "eu-west-1".to_owned(),
            name: name.to_owned(),
        };
        let pair = DeployedPair {
            baseline: group("shop-baseline-v003"),
            canary: group("shop-canary-v007"),
            baseline_account: Some("123456789012".to_owned()),
            canary_account: None,
        };
        let scopes = config(
            json!([{ "controlScope": "ignored", "extendedScopeParams": { "dataset": "global" } }]),
        );
        let (baseline, canary) = sides(&scopes, &json!({}), &WINDOW, Some(&pair)).unwrap();
        assert_eq!(baseline.scope, "shop-baseline-v003");
        assert_eq!(canary.scope, "shop-canary-v007");
        assert_eq!(canary.location, "eu-west-1");
        assert_eq!(baseline.extended["accountId"], "123456789012");
        assert_eq!(canary.extended.get("accountId"), None);
        assert_eq!(canary.extended["type"], "asg");
        assert_eq!(canary.extended["dataset"], "global");
        assert_eq!(pair.to_json()["experimentScope"], "shop-canary-v007");
    }
}
