//! How many server groups a cluster has, and how many it should have.

use gennaker_lambda::StageError;
use gennaker_server_groups::config::regions;
use serde_json::{Map, Value};

use crate::Verdict;

/// A comparison of the number that is with the number that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.trim() {
            "" | "==" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }

    fn holds(self, actual: i64, expected: i64) -> bool {
        match self {
            Self::Equal => actual == expected,
            Self::Less => actual < expected,
            Self::AtMost => actual <= expected,
            Self::More => actual > expected,
            Self::AtLeast => actual >= expected,
        }
    }
}

/// A precondition of type `clusterSize`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSize {
    /// Name of the cluster.
    pub cluster: String,
    /// Account.
    pub credentials: String,
    /// Regions, each of which has to fit.
    pub regions: Vec<String>,
    /// How the number is compared; absent is `==`.
    pub comparison: Comparison,
    /// The number; absent is 1.
    pub expected: i64,
    /// Whether disabled server groups do not count.
    pub only_enabled: bool,
}

/// The server groups that count in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Region.
    pub region: String,
    /// Names.
    pub names: Vec<String>,
}

impl ClusterSize {
    /// Reads the precondition's own fields.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] with the field that is missing or wrong.
    pub fn of(context: &Map<String, Value>) -> Result<Self, StageError> {
        let field = |name: &str| format!("preconditions[].context.{name}");
        let text = |name: &str| {
            context
                .get(name)
                .and_then(Value::as_str)
                .map(str::trim)
                .unwrap_or_default()
                .to_owned()
        };
        for (name, missing) in [
            ("cluster", "Missing cluster"),
            ("credentials", "Missing credentials"),
        ] {
            if text(name).is_empty() {
                return Err(StageError::invalid(field(name), missing));
            }
        }
        let regions = regions(context);
        if regions.is_empty() {
            return Err(StageError::invalid(field("regions"), "Missing regions"));
        }
        let comparison = text("comparison");
        let comparison = Comparison::parse(&comparison).ok_or_else(|| {
            StageError::invalid(
                field("comparison"),
                format!("`{comparison}` is no comparison; there are ==, <, <=, >, >="),
            )
        })?;
        let expected = match context.get("expected") {
            None | Some(Value::Null) => Some(1),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        let only_enabled = match context.get("onlyEnabledServerGroups") {
            Some(Value::Bool(only)) => *only,
            Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
            _ => false,
        };
        Ok(Self {
            cluster: text("cluster"),
            credentials: text("credentials"),
            regions,
            comparison,
            expected: expected.ok_or_else(|| {
                StageError::invalid(field("expected"), "the expected size is not a whole number")
            })?,
            only_enabled,
        })
    }

    /// Whether every region fits, and if not, which has what.
    #[must_use]
    pub fn verdict(&self, found: &[Found]) -> Verdict {
        let failures: Vec<String> = found
            .iter()
            .filter(|found| {
                let actual = i64::try_from(found.names.len()).unwrap_or(i64::MAX);
                !self.comparison.holds(actual, self.expected)
            })
            .map(|found| {
                format!(
                    "{} - expected {} {} server groups of `{}` but found {}: [{}]",
                    found.region,
                    self.comparison.sign(),
                    self.expected,
                    self.cluster,
                    found.names.len(),
                    found.names.join(", ")
                )
            })
            .collect();
        if failures.is_empty() {
            Verdict::Holds
        } else {
            Verdict::Fails(failures.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(more: Value) -> Result<ClusterSize, StageError> {
        let mut context =
            json!({ "cluster": "shop-web", "credentials": "prod", "regions": ["us-east-1"] });
        let fields = more.as_object().unwrap().clone();
        context.as_object_mut().unwrap().extend(fields);
        ClusterSize::of(context.as_object().unwrap())
    }

    #[test]
    fn the_comparison_is_of_the_number_that_is_with_the_number_that_is_expected() {
        for (comparison, holds) in [
            ("==", [false, true, false]),
            ("<", [true, false, false]),
            ("<=", [true, true, false]),
            (">", [false, false, true]),
            (">=", [false, true, true]),
        ] {
            let wanted = of(json!({ "comparison": comparison, "expected": "2" })).unwrap();
            for (size, holds) in (1..=3).zip(holds) {
                let names = (0..size).map(|n| format!("shop-web-v{n:03}")).collect();
                let found = [Found {
                    region: "us-east-1".to_owned(),
                    names,
                }];
                let verdict = wanted.verdict(&found);
                assert_eq!(verdict == Verdict::Holds, holds, "{size} {comparison} 2");
            }
        }
    }

    #[test]
    fn absent_is_one_and_every_region_has_to_fit() {
        let wanted = of(json!({ "regions": ["a", "b"] })).unwrap();
        assert_eq!((wanted.comparison, wanted.expected), (Comparison::Equal, 1));
        let found = |region: &str, names: &[&str]| Found {
            region: region.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(
            wanted.verdict(&[found("a", &["x"]), found("b", &["x", "y"])]),
            Verdict::Fails(
                "b - expected == 1 server groups of `shop-web` but found 2: [x, y]".to_owned()
            )
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        for more in [
            json!({ "cluster": "" }),
            json!({ "credentials": null }),
            json!({ "regions": [] }),
            json!({ "comparison": "~" }),
            json!({ "expected": "many" }),
        ] {
            assert!(of(more.clone()).is_err(), "{more}");
        }
    }
}
