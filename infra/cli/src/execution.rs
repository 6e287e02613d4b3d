//! `gennaker execution`: the same against the local cloud and AWS.

use std::sync::Arc;
use std::time::Duration;

use gennaker_domain::{Execution as Record, Problem, Status};
use serde_json::{Value, json};

use crate::arguments::Execution;
use crate::explanation::explanation;
use crate::failure::Failure;
use crate::input;
use crate::installation::{Installation, execution_id};
use crate::output::{Output, bare, elapsed, plain};
use crate::saved::{find, invoke};
use crate::surroundings::now_millis;
use crate::view::{Screen, Seen, Snapshot};

/// How often a watched execution is read: each look is two queries on the table.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// How often the elapsed times on the screen are drawn again.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) async fn run(
    command: Execution,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        // Needs no installation: see `main`.
        Execution::Evaluate { cases } => crate::evaluation::run(&cases, output).await,
        Execution::List {
            application,
            pipeline,
            status,
            limit,
        } => list(installation, output, application, pipeline, status, limit).await,
        Execution::Show { id } => show(installation, output, &id).await,
        Execution::Watch { id } => {
            let execution = installation.execution(&id).await?;
            let snapshot = watch(installation, output, execution, None).await?;
            if output.json {
                let trigger = installation.trigger(&snapshot.execution.id).await?;
                output.data(&snapshot.json(&trigger))?;
            }
            verdict(&snapshot)
        }
        Execution::Explain { id } => explain(installation, output, &id).await,
        Execution::Start {
            pipeline,
            parameters,
            artifact,
        } => {
            let artifacts = artifact.map_or(Ok(Value::Null), |file| input::json(&file))?;
            let answer = start(installation, &pipeline, &parameters, artifacts).await?;
            said(output, &answer, "executionId")
        }
        Execution::Cancel { id, reason, force } => {
            let event = json!({ "cancel": true, "reason": reason, "force": force });
            decide(installation, output, &id, event).await
        }
        Execution::Pause { id } => {
            decide(installation, output, &id, json!({ "pause": true })).await
        }
        Execution::Resume { id } => {
            decide(installation, output, &id, json!({ "resume": true })).await
        }
        Execution::Skip { id, stage } => {
            decide(
                installation,
                output,
                &id,
                json!({ "skip": true, "stage": stage }),
            )
            .await
        }
        Execution::Judge {
            id,
            stage,
            answer,
            input,
            reason,
            page,
        } => {
            if page {
                let event = json!({ "page": true, "stage": stage });
                let answer = decision(installation, &id, event).await?;
                return said(output, &answer, "url");
            }
            let answer = answer.map(|answer| answer.as_str());
            let event =
                json!({ "decision": answer, "stage": stage, "input": input, "reason": reason });
            decide(installation, output, &id, event).await
        }
        Execution::Restart { id, stage } => {
            let execution = installation.execution(&id).await?;
            let snapshot = installation.snapshot(execution, None).await?;
            if snapshot
                .plan
                .stage(&stage)
                .is_none_or(|stage| stage.parent.is_some())
            {
                return Err(unknown_stage(&snapshot, &stage));
            }
            let event = json!({
                "restart": { "execution": snapshot.execution.id, "stage": stage, "afterRun": snapshot.execution.run },
            });
            let event = installation.signed("start", event, None).await?;
            let answer = invoke(installation, "start", &event).await?;
            said(output, &answer, "run")
        }
    }
}

/// Prints an answer: all of it as JSON, or the one field that a script would want.
fn said(output: &Output, answer: &Value, field: &str) -> Result<(), Failure> {
    if output.json {
        return output.data(answer);
    }
    output.line(&answer.get(field).map(bare).unwrap_or_default())
}

/// Hands a decision to `decide` and says what became of it.
async fn decide(
    installation: &Installation,
    output: &Output,
    id: &str,
    event: Value,
) -> Result<(), Failure> {
    let answer = decision(installation, id, event).await?;
    if output.json {
        return output.data(&answer);
    }
    if let Some(missing) = answer.get("missing") {
        output.say(&format!("counted; still needed: {}", bare(missing)));
    }
    if let Some(already) = answer.get("already") {
        // A judgment's is the decision, of anything else a status.
        let already = match (already.get("by"), already.get("choice")) {
            (Some(by), Some(choice)) => format!("decided by {}: {}", bare(by), bare(choice)),
            _ => bare(already),
        };
        output.say(&format!("nothing to do: it is {} already", plain(&already)));
    }
    Ok(())
}

/// Hands a decision to `decide`.
pub(crate) async fn decision(
    installation: &Installation,
    id: &str,
    event: Value,
) -> Result<Value, Failure> {
    decision_of(installation, id, event, None).await
}

/// The same as that person of a local cloud.
pub(crate) async fn decision_of(
    installation: &Installation,
    id: &str,
    mut event: Value,
    person: Option<&str>,
) -> Result<Value, Failure> {
    let id = execution_id(id)?;
    if let Some(object) = event.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        object.insert("execution".to_owned(), json!(id));
    }
    let event = installation.signed("decide", event, person).await?;
    invoke(installation, "decide", &event).await
}

/// Starts a pipeline by hand; the answer of `start`.
pub(crate) async fn start(
    installation: &Installation,
    pipeline: &str,
    parameters: &[(String, String)],
    artifacts: Value,
) -> Result<Value, Failure> {
    let (pipeline, _) = find(pipeline, installation).await?;
    let parameters: serde_json::Map<String, Value> = parameters
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    let artifacts = match artifacts {
        Value::Null => Vec::new(),
        Value::Array(list) => list,
        one => vec![one],
    };
    let event = json!({
        "application": pipeline.application,
        "pipeline": pipeline.id,
        // Two starts by hand of the same content are two executions.
        "trigger": {
            "type": "manual",
            "parameters": parameters,
            "artifacts": artifacts,
            "correlationId": format!("{}-{}", now_millis(), std::process::id()),
        },
    });
    let event = installation.signed("start", event, None).await?;
    invoke(installation, "start", &event).await
}

/// Success, or the exit status that says no.
pub(crate) fn verdict(snapshot: &Snapshot) -> Result<(), Failure> {
    let execution = &snapshot.execution;
    if execution.status == Status::Succeeded {
        return Ok(());
    }
    let reason = execution
        .ending
        .as_ref()
        .map(|ending| format!(": {}", plain(&ending.reason)))
        .unwrap_or_default();
    Err(Failure::No(format!(
        "execution {} ended {}{reason}",
        execution.id, execution.status
    )))
}

async fn list(
    installation: &Installation,
    output: &Output,
    application: Option<String>,
    pipeline: Option<String>,
    status: Option<Status>,
    limit: usize,
) -> Result<(), Failure> {
    // A filter passes over some: read further than what is shown.
    let reach = if pipeline.is_some() || status.is_some() {
        limit.saturating_mul(20).min(2_000)
    } else {
        limit
    };
    let executions = match &application {
        Some(application) => {
            installation
                .store
                .executions_of_application(application, reach)
                .await?
        }
        None => installation.store.running_executions(reach).await?,
    };
    let executions: Vec<Record> = executions
        .into_iter()
        .filter(|execution| {
            pipeline
                .as_ref()
                .is_none_or(|name| execution.pipeline.eq_ignore_ascii_case(name))
        })
        .filter(|execution| status.is_none_or(|status| execution.status == status))
        .take(limit)
        .collect();
    if output.json {
        return output.data(&executions.iter().map(brief).collect::<Vec<_>>());
    }
    if executions.is_empty() {
        output.say("no executions");
        return Ok(());
    }
    let now = now_millis();
    let rows: Vec<Vec<String>> = executions
        .iter()
        .map(|execution| {
            let began = execution.start_time.unwrap_or(execution.build_time);
            vec![
                execution.id.to_string(),
                execution.status.to_string(),
                format!(
                    "{}/{}",
                    plain(&execution.application),
                    plain(&execution.pipeline)
                ),
                elapsed(execution.end_time.unwrap_or(now) - began),
                format!("{} ago", elapsed(now - began)),
            ]
        })
        .collect();
    output.table(&rows)
}

/// An execution without its stages.
fn brief(execution: &Record) -> Value {
    json!({
        "id": execution.id,
        "application": execution.application,
        "name": execution.pipeline,
        "pipelineConfigId": execution.pipeline_id,
        "status": execution.status,
        "run": if execution.run == 0 { Value::Null } else { execution.id.run(execution.run).to_string().into() },
        "buildTime": execution.build_time,
        "startTime": execution.start_time,
        "endTime": execution.end_time,
    })
}

async fn show(installation: &Installation, output: &Output, id: &str) -> Result<(), Failure> {
    let execution = installation.execution(id).await?;
    let snapshot = installation.snapshot(execution, None).await?;
    if output.json {
        let trigger = installation.trigger(&snapshot.execution.id).await?;
        return output.data(&snapshot.json(&trigger));
    }
    for line in lines(&snapshot, output, now_millis(), usize::MAX) {
        output.line(&line)?;
    }
    Ok(())
}

/// The execution and its stages, a line each.
fn lines(snapshot: &Snapshot, output: &Output, now: i64, width: usize) -> Vec<String> {
    let execution = &snapshot.execution;
    let began = execution.start_time.unwrap_or(execution.build_time);
    let paused = if execution.paused { " (paused)" } else { "" };
    let mut lines = vec![format!(
        "{} {}/{} {}{paused}, {}",
        execution.id,
        plain(&execution.application),
        plain(&execution.pipeline),
        output.status(execution.status),
        elapsed(execution.end_time.unwrap_or(now) - began),
    )];
    lines.extend(
        snapshot
            .stages()
            .iter()
            .map(|stage| stage.line(now, output, width)),
    );
    if let Some(ending) = execution
        .ending
        .as_ref()
        .filter(|_| !execution.status.is_complete())
    {
        let text: String = format!(
            "ending {} by {}: {}",
            ending.status,
            plain(&ending.by),
            plain(&ending.reason)
        )
        .chars()
        .take(width)
        .collect();
        lines.push(text);
    }
    lines
}

/// Somebody who acts when a stage asks for it, and hears what changes.
pub(crate) trait Attendant {
    /// Called with every new look at the execution. True if it talked to the person, so that what was drawn is gone.
    fn look(&mut self, snapshot: &Snapshot) -> impl Future<Output = Result<bool, Failure>>;
}

/// Only watches.
pub(crate) struct Nobody;

impl Attendant for Nobody {
    async fn look(&mut self, _: &Snapshot) -> Result<bool, Failure> {
        Ok(false)
    }
}

async fn watch(
    installation: &Installation,
    output: &Output,
    execution: Record,
    every: Option<Duration>,
) -> Result<Snapshot, Failure> {
    attend(
        installation,
        output,
        execution,
        every.unwrap_or(LOOK_EVERY),
        &mut Nobody,
    )
    .await
}

/// Shows the execution until it is settled: lines that change on a terminal, a line a change elsewhere.
pub(crate) async fn attend(
    installation: &Installation,
    output: &Output,
    execution: Record,
    every: Duration,
    attendant: &mut impl Attendant,
) -> Result<Snapshot, Failure> {
    let mut snapshot = installation.snapshot(execution, None).await?;
    let mut screen = Screen::default();
    let mut seen = Seen::default();
    loop {
        if !output.terminal && !output.json {
            for stage in seen.changes(&snapshot.stages()) {
                output.say(&stage.line(now_millis(), output, usize::MAX));
            }
        }
        if output.terminal {
            screen.draw(
                &lines(
                    &snapshot,
                    output,
                    now_millis(),
                    crate::surroundings::columns(),
                ),
                output,
            );
        }
        if attendant.look(&snapshot).await? {
            screen.keep();
        }
        if snapshot.is_over() {
            return Ok(snapshot);
        }
        if output.terminal {
            let mut waited = Duration::ZERO;
            while waited < every {
                tokio::time::sleep(DRAW_EVERY).await;
                waited += DRAW_EVERY;
                screen.draw(
                    &lines(
                        &snapshot,
                        output,
                        now_millis(),
                        crate::surroundings::columns(),
                    ),
                    output,
                );
            }
        } else {
            tokio::time::sleep(every).await;
        }
        let plan = Arc::clone(&snapshot.plan);
        let execution = installation
            .execution(snapshot.execution.id.as_str())
            .await?;
        // A restart with another revision has another plan.
        let known = (execution.plan_hash == snapshot.execution.plan_hash).then_some(plan);
        snapshot = installation.snapshot(execution, known).await?;
    }
}

async fn explain(installation: &Installation, output: &Output, id: &str) -> Result<(), Failure> {
    let execution = installation.execution(id).await?;
    let snapshot = installation.snapshot(execution, None).await?;
    let intents = installation.store.intents(&snapshot.execution.id).await?;
    let locks = installation.store.locks_of(&snapshot.execution.id).await?;
    let now = now_millis();
    let explained = explanation(&snapshot, &intents, locks, now);
    if output.json {
        return output.data(&explained);
    }
    for line in explained.lines(now) {
        output.line(&line)?;
    }
    Ok(())
}

/// A problem with a stage that a person named.
pub(crate) fn unknown_stage(snapshot: &Snapshot, ref_id: &str) -> Failure {
    let known: Vec<&str> = snapshot
        .plan
        .stages
        .iter()
        .filter(|stage| stage.parent.is_none())
        .map(|stage| stage.ref_id.as_str())
        .collect();
    Failure::input(
        Problem::error(
            "unknown-stage",
            "$",
            format!("the execution has no stage `{ref_id}`"),
        )
        .with_hint(format!("its stages are {}", known.join(", "))),
    )
}
