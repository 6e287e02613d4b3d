//! The report of a canary that an execution ran.

use std::path::Path;

use gennaker_cloud::store::canaries::CanaryReport;
use gennaker_domain::Problem;
use gennaker_judge::kept_report;
use serde_json::{Value, json};

use crate::canary::refused;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::output::{Output, plain, table};

/// Prints the report, or writes its page.
pub(crate) async fn show(
    execution: &str,
    stage: Option<&str>,
    out: Option<&Path>,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let execution = installation.execution(execution).await?;
    let judged = installation.store.judged_canaries(&execution.id).await?;
    let stage = match (stage, judged.as_slice()) {
        (Some(stage), _) => stage.to_owned(),
        (None, [only]) => only.clone(),
        (None, [] | [_, ..]) => return Err(which(&judged)),
    };
    let kept = installation
        .store
        .canary_report(&execution.id, &stage)
        .await?;
    let data = match kept {
        Some(CanaryReport::Kept(data)) => data,
        None => return Err(which(&judged)),
        Some(CanaryReport::TooLarge) => {
            return Err(Failure::environment_with_hint(
                format!(
                    "the data of stage `{}` were too many to keep",
                    plain(&stage)
                ),
                "gennaker execution show has the scores of its intervals",
            ));
        }
        Some(CanaryReport::Changing) => {
            return Err(Failure::environment_with_hint(
                "the report is being written at this moment",
                "try again",
            ));
        }
    };
    let title = format!(
        "{} {}: canary {stage}",
        execution.application, execution.pipeline
    );
    let (mut report, page) = kept_report(&data, &title).map_err(refused)?;
    for (name, value) in [
        ("execution", json!(execution.id)),
        ("stage", json!(stage)),
        (
            "intervals",
            data.get("intervals").cloned().unwrap_or_default(),
        ),
    ] {
        if let Some(report) = report.as_object_mut() {
            report.insert(name.to_owned(), value);
        }
    }
    if let Some(path) = out {
        std::fs::write(path, page).map_err(|error| {
            Failure::environment(format!("`{}` cannot be written: {error}", path.display()))
        })?;
        output.say(&format!("report: {}", path.display()));
    }
    if output.json {
        return output.data(&report);
    }
    if out.is_none() {
        for line in lines(&report) {
            output.line(&line)?;
        }
    }
    Ok(())
}

/// No such canary, or more than one.
fn which(judged: &[String]) -> Failure {
    let hint = match judged {
        [] => "no canary of this execution has judged an interval".to_owned(),
        some => format!("--stage is one of {}", some.join(", ")),
    };
    Failure::input(
        Problem::error("unknown-canary-stage", "$", "which canary stage?").with_hint(hint),
    )
}

/// For a person: the intervals, then the metrics of the last.
fn lines(report: &Value) -> Vec<String> {
    let text = |value: Option<&Value>| match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => plain(text),
        Some(other) => other.to_string(),
    };
    let rows = |list: &str, head: [&str; 4], fields: [&str; 4]| {
        let listed = report.get(list).and_then(Value::as_array);
        let rows = listed.into_iter().flatten();
        let mut all = vec![head.map(str::to_owned).to_vec()];
        all.extend(rows.map(|row| fields.map(|field| text(row.get(field))).to_vec()));
        table(&all)
    };
    let mut lines = rows(
        "intervals",
        ["interval", "score", "verdict", "why"],
        ["interval", "score", "classification", "reason"],
    );
    lines.push(String::new());
    lines.extend(rows(
        "metrics",
        ["metric", "classification", "mean ratio", "why"],
        [
            "name",
            "classification",
            "meanRatio",
            "classificationReason",
        ],
    ));
    lines.push(format!(
        "{} with a score of {}",
        text(report.get("classification")),
        text(report.get("score"))
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_every_interval_and_every_metric() {
        let values = |value: f64| vec![value, value + 1.0, value + 0.5, value + 2.0, value + 1.5];
        let data = json!({
            "config": { "name": "errors", "metrics": [{ "name": "errors", "groups": ["g"],
                "analysisConfigurations": { "canary": { "direction": "increase" } } }],
                "classifier": { "groupWeights": { "g": 100 } } },
            "thresholds": { "pass": 95.0, "marginal": 75.0 },
            "stepSeconds": 60,
            "intervals": [{ "interval": 1, "score": 100.0, "classification": "Pass" },
                          { "interval": 2, "score": 0.0, "classification": "Fail", "reason": "errors was classified as High" }],
            "pairs": [{ "name": "errors", "values": { "control": values(1.0), "experiment": values(9.0) } }],
        });
        let (mut report, page) = kept_report(&data, "shop").unwrap();
        report["intervals"] = data["intervals"].clone();
        let text = lines(&report).join("\n");
        assert!(text.contains("errors was classified as High"), "{text}");
        assert!(text.ends_with("Fail with a score of 0.0"), "{text}");
        assert!(page.contains("Score over time"), "both intervals are drawn");
    }
}
