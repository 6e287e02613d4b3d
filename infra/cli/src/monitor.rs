//! `gennaker monitor`: the deployment monitors that `monitored` deployments ask.

use gennaker_cloud::DeploymentMonitor;
use gennaker_domain::Problem;
use serde_json::{Value, json};

use crate::arguments;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};
use crate::records::{self, Kind, numbered};

/// Runs the command.
pub(crate) async fn run(
    command: arguments::Monitor,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        arguments::Monitor::Save(given) => {
            let monitors = match &given.file {
                Some(file) => of_file(&input::json(file)?)?,
                None => of_file(&json!({
                    "id": given.id,
                    "name": given.name,
                    "baseUrl": given.base_url,
                    "maxAnalysisMinutes": given.max_analysis_minutes,
                    "failOnError": !given.goes_on_without,
                }))?,
            };
            for monitor in &monitors {
                monitor.save(&installation.store).await?;
            }
            print(&monitors, output)
        }
        arguments::Monitor::List => {
            let monitors = DeploymentMonitor::all(&installation.store).await?;
            if monitors.is_empty() && !output.json {
                output.say("no deployment monitors: gennaker monitor save adds one");
            }
            print(&monitors, output)
        }
    }
}

fn print(monitors: &[DeploymentMonitor], output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.data(&monitors);
    }
    let rows: Vec<Vec<String>> = monitors
        .iter()
        .map(|monitor| {
            let without = if monitor.fail_on_error {
                "fails a deployment that it does not answer"
            } else {
                "a deployment goes on without its answer"
            };
            vec![
                plain(&monitor.id),
                plain(&monitor.base_url),
                format!("{} min", monitor.max_analysis_minutes),
                without.to_owned(),
            ]
        })
        .collect();
    output.table(&rows)
}

const MONITOR: Kind = Kind {
    code: "monitor",
    name: "deployment monitor",
    key: "id",
    example: r#"{"id": "errors", "baseUrl": "https://monitor.example.com"}"#,
};

/// The monitors in a file: one, a list of them, or what Spinnaker has under `monitored-deploy.deploymentMonitors`. All
/// problems at once.
fn of_file(file: &Value) -> Result<Vec<DeploymentMonitor>, Failure> {
    const SPINNAKERS: &str = "/monitored-deploy/deploymentMonitors";
    let entries: Vec<(String, &Value)> = match (file.pointer(SPINNAKERS), file) {
        (Some(Value::Array(list)), _) => numbered("$['monitored-deploy'].deploymentMonitors", list),
        (_, Value::Array(list)) => numbered("$", list),
        (_, one) => vec![("$".to_owned(), one)],
    };
    let read = entries.into_iter().map(|(path, value)| {
        let monitor = of_entry(&path, value);
        (path, monitor)
    });
    records::all(&MONITOR, read, |monitor| &monitor.id)
}

fn of_entry(path: &str, value: &Value) -> Result<DeploymentMonitor, Vec<Problem>> {
    let invalid = |field: &str, message: String, hint: &str| {
        Problem::error("invalid-monitor", format!("{path}.{field}"), message).with_hint(hint)
    };
    let mut given = value.clone();
    // What is not given has its default.
    if let Some(object) = given.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    let mut monitor: DeploymentMonitor = serde_json::from_value(given).map_err(|error| {
        vec![Problem::error(
            "invalid-monitor",
            path,
            format!("not a deployment monitor: {error}"),
        )]
    })?;
    let mut problems = Vec::new();
    if monitor.id.trim().is_empty() {
        problems.push(invalid(
            "id",
            "the monitor has no `id`".to_owned(),
            "the id is what pipelines have in `deploymentMonitor.id`",
        ));
    }
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| monitor.base_url.strip_prefix(scheme))
        .unwrap_or_default();
    if host.is_empty() || host.starts_with('/') {
        problems.push(invalid(
            "baseUrl",
            format!("`{}` is not a URL", monitor.base_url),
            "such as https://monitor.example.com; /deployment/evaluateHealth is called below it",
        ));
    }
    if monitor.max_analysis_minutes <= 0 {
        problems.push(invalid(
            "maxAnalysisMinutes",
            format!("{} minutes are no time", monitor.max_analysis_minutes),
            "whole minutes, one at least",
        ));
    }
    if monitor.name.is_empty() {
        monitor.name.clone_from(&monitor.id);
    }
    if problems.is_empty() {
        Ok(monitor)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(file: &Value) -> Vec<String> {
        match of_file(file) {
            Err(Failure::Input { problems }) => {
                problems.into_iter().map(|problem| problem.path).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_monitor_is_taken_as_spinnaker_has_it() {
        let one = json!({ "id": "errors", "baseUrl": "https://monitor.example.com", "stable": true, "name": null });
        let expected = DeploymentMonitor {
            id: "errors".to_owned(),
            name: "errors".to_owned(),
            base_url: "https://monitor.example.com".to_owned(),
            max_analysis_minutes: 30,
            fail_on_error: true,
        };
        for file in [
            one.clone(),
            json!([one]),
            json!({ "monitored-deploy": { "deploymentMonitors": [one] } }),
        ] {
            assert_eq!(
                of_file(&file).unwrap(),
                std::slice::from_ref(&expected),
                "{file}"
            );
        }
    }

    #[test]
    fn every_problem_of_a_monitors_file_has_its_place() {
        let good = json!({ "id": "a", "baseUrl": "http://a" });
        let file = json!([
            { "baseUrl": "ftp://x", "maxAnalysisMinutes": 0 },
            good,
            good,
            { "id": "b", "baseUrl": "https:///path" },
        ]);
        assert_eq!(
            paths(&file),
            [
                "$[0].id",
                "$[0].baseUrl",
                "$[0].maxAnalysisMinutes",
                "$[2].id",
                "$[3].baseUrl"
            ]
        );
        assert_eq!(paths(&json!([])), ["$"]);
        assert_eq!(paths(&json!("errors")), ["$"]);
    }
}
