//! A metric's query in a canary configuration, made into what CloudWatch is asked.

use gennaker_cloud::metrics::MetricQuery;
use gennaker_lambda::StageError;
use serde_json::Value;

use crate::schedule::Window;

/// What `${…}` in a query stands for: one side of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings {
    /// `${scope}`: a server group's name, as a rule.
    pub scope: String,
    /// `${location}`: the region.
    pub location: String,
    /// `extendedScopeParams`.
    pub extended: Vec<(String, String)>,
}

impl Bindings {
    /// Expands `${name}` (and `$\{name}`, as Kayenta stores it so that Orca leaves it alone).
    ///
    /// # Errors
    /// The name that nothing is bound to.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let text = text.replace("$\\{", "${");
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                return Err(format!("`${{{after}` has no end"));
            };
            let value = match name {
                "scope" => Some(self.scope.as_str()),
                "location" | "region" => Some(self.location.as_str()),
                _ => self
                    .extended
                    .iter()
                    .find(|(bound, _)| bound == name)
                    .map(|(_, value)| value.as_str()),
            };
            expanded.push_str(value.ok_or_else(|| format!("nothing is bound to `${{{name}}}`"))?);
            rest = tail;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// The query of one metric for one side of a canary.
///
/// Fields: `type: cloudwatch`, `namespace`, `metricName`, `statistic` (Average), `dimensions` (an object; by default
/// `{"AutoScalingGroupName": "${scope}"}`).
///
/// # Errors
/// [`StageError::InvalidConfiguration`] with the metric's name for another source, a missing field or an unbound name.
pub fn cloudwatch(
    name: &str,
    query: &Value,
    bindings: &Bindings,
    window: &Window,
    step: u32,
) -> Result<MetricQuery, StageError> {
    let invalid = |message: String| StageError::invalid(format!("metrics[{name}].query"), message);
    let source = query
        .get("type")
        .or_else(|| query.get("serviceType"))
        .and_then(Value::as_str)
        .unwrap_or("cloudwatch");
    if source != "cloudwatch" {
        return Err(invalid(format!(
            "metric source `{source}` is not built yet; there is cloudwatch"
        )));
    }
    let text = |field: &str| query.get(field).and_then(Value::as_str);
    let required =
        |field: &str| text(field).ok_or_else(|| invalid(format!("`{field}` is missing")));
    let dimensions = match query.get("dimensions") {
        None | Some(Value::Null) => {
            vec![("AutoScalingGroupName".to_owned(), bindings.scope.clone())]
        }
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| {
                let value = value
                    .as_str()
                    .ok_or_else(|| invalid(format!("dimension `{name}` is not a text")))?;
                Ok((name.clone(), bindings.expand(value).map_err(invalid)?))
            })
            .collect::<Result<Vec<_>, StageError>>()?,
        Some(_) => return Err(invalid("`dimensions` is not an object".to_owned())),
    };
    Ok(MetricQuery {
        region: bindings.location.clone(),
        namespace: bindings.expand(required("namespace")?).map_err(invalid)?,
        metric_name: bindings.expand(required("metricName")?).map_err(invalid)?,
        dimensions,
        statistic: text("statistic").unwrap_or("Average").to_owned(),
        step_seconds: step,
        start: window.start,
        end: window.end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bindings() -> Bindings {
        Bindings {
            scope: "shop-v002".to_owned(),
            location: "us-east-1".to_owned(),
            extended: vec![("tier".to_owned(), "web".to_owned())],
        }
    }

    #[test]
    fn names_are_expanded_and_an_unbound_one_is_an_error() {
        assert_eq!(
            bindings().expand("${scope}-$\\{tier}!").unwrap(),
            "shop-v002-web!"
        );
        assert_eq!(
            bindings().expand("${nothing}").unwrap_err(),
            "nothing is bound to `${nothing}`"
        );
        assert!(bindings().expand("${scope").is_err());
    }

    #[test]
    fn a_query_asks_for_the_group_unless_it_names_dimensions() {
        let window = Window {
            start: 0,
            end: 60_000,
            baseline_shift: 0,
        };
        let query =
            json!({ "type": "cloudwatch", "namespace": "AWS/EC2", "metricName": "CPUUtilization" });
        let made = cloudwatch("cpu", &query, &bindings(), &window, 60).unwrap();
        assert_eq!(
            made.dimensions,
            [("AutoScalingGroupName".to_owned(), "shop-v002".to_owned())]
        );
        assert_eq!(made.statistic, "Average");
        let error = cloudwatch(
            "cpu",
            &json!({ "type": "atlas", "q": "x" }),
            &bindings(),
            &window,
            60,
        )
        .unwrap_err();
        assert!(error.to_string().contains("`atlas`"), "{error}");
    }
}
