//! Metrics, as lines in CloudWatch's embedded metric format: CloudWatch makes them of the log, and nothing is called.

use serde_json::{Map, Value, json};

/// Counts one under `name` in the namespace `Gennaker`, by these dimensions. Their values come from a small set: each
/// combination is a metric that is paid for.
pub fn count(name: &str, dimensions: &[(&str, &str)], now: i64) {
    println!("{}", line(name, dimensions, 1, now));
}

fn line(name: &str, dimensions: &[(&str, &str)], value: i64, now: i64) -> Value {
    let names: Vec<&str> = dimensions.iter().map(|(name, _)| *name).collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now,
            "CloudWatchMetrics": [{
                "Namespace": "Gennaker",
                "Dimensions": [names],
                "Metrics": [{ "Name": name, "Unit": "Count" }],
            }],
        }),
    );
    for (name, value) in dimensions {
        line.insert((*name).to_owned(), (*value).into());
    }
    line.insert(name.to_owned(), value.into());
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_dimensions_and_its_value() {
        let line = line("Webhooks", &[("Type", "git"), ("Answer", "200")], 1, 7);
        let metric = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(metric["Dimensions"], json!([["Type", "Answer"]]));
        assert_eq!(metric["Metrics"][0]["Name"], "Webhooks");
        assert_eq!(
            (&line["Type"], &line["Webhooks"]),
            (&json!("git"), &json!(1))
        );
        assert_eq!(line["_aws"]["Timestamp"], 7);
    }
}
