//! `gennaker local run`: a pipeline of one's own in a local cloud.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use gennaker_cloud::User;
use gennaker_compiler::{Mode, PreconfiguredWebhooks};
use gennaker_domain::approval::Rules;
use gennaker_domain::{Execution, ExecutionId, PlanStage, Status};
use gennaker_expressions::{Context, Options, evaluate};
use gennaker_local::{Created, ObservedCluster};
use serde_json::{Map, Value, json};

use crate::accounts;
use crate::arguments::{Answer, Judgment, Run};
use crate::cluster::{Named, clusters_json, lines, named};
use crate::event::{self, Event};
use crate::execution::{Attendant, attend, decision, decision_of, start, verdict};
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::local::{self, Ground, Setting, StaysUp};
use crate::output::{Output, bare, plain};
use crate::saved::save_pipeline;
use crate::surroundings::now_millis;
use crate::view::{Seen, Snapshot};
use crate::webhooks;

/// What AWS charges for a state transition of a standard machine, in us-east-1.
pub(crate) const USD_PER_TRANSITION: f64 = 0.000_025;
/// How often the local cloud is looked at: nothing is paid for there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an event may take to become an execution: the function behind it may have to start first.
const EVENT_PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command.
pub(crate) async fn run(arguments: Run, prefix: &str, output: &Output) -> Result<(), Failure> {
    let text = input::text(&arguments.pipeline)?;
    let pipeline = runnable(&text, &arguments)?;
    let event = arguments.event.as_deref().map(input::json).transpose()?;
    let event = event.as_ref().map(Event::read).transpose()?;
    let mut names = match &arguments.accounts {
        Some(file) => accounts::of_file(&input::json(file)?),
        None => BTreeSet::new(),
    };
    let world = local::world(arguments.world.as_deref())?;
    names.extend(accounts::of_world(&world));
    let text = pipeline.to_string();
    let webhooks = arguments.webhooks.as_deref().map(input::json).transpose()?;
    let found = local::found().await?;
    // Refused before anything is started.
    let mut known = match &found {
        Some(ground) => webhooks::of_installation(&ground.installation(prefix).await).await?,
        None => PreconfiguredWebhooks::new(),
    };
    if let Some(file) = &webhooks {
        known.extend(webhooks::of_file(file)?);
    }
    crate::pipeline::compile_pipeline(&text, prefix, None, Mode::Save, known)?;
    let (ground, wait_scale) = match found {
        Some(ground) => {
            // The world that is there stays what it is, unless another one is given.
            if arguments.world.is_some() {
                let created = ground.with(move |cloud| cloud.seed(&world)).await?;
                tell(&created, output);
            }
            (ground, 1.0)
        }
        None => {
            let setting = Setting {
                prefix: prefix.to_owned(),
                world,
                port: None,
                wait_scale: arguments.wait_scale,
                detached: arguments.keep,
            };
            (local::start(setting, output).await?, arguments.wait_scale)
        }
    };
    let _stays = (ground.own && arguments.keep).then(|| StaysUp(*output));
    let wait_scale = wait_scale.min(arguments.wait_scale);
    let trial = Trial {
        text,
        pipeline,
        event,
        names,
        webhooks,
        wait_scale,
    };
    let outcome = try_out(&ground, trial, arguments, prefix, output).await;
    ground.explain(outcome).await
}

/// What is run.
struct Trial {
    text: String,
    pipeline: Value,
    event: Option<Event>,
    names: BTreeSet<String>,
    /// Webhooks that are stage types of their own, as the file has them.
    webhooks: Option<Value>,
    wait_scale: f64,
}

/// One execution, in a cloud that is up.
async fn try_out(
    ground: &Ground,
    trial: Trial,
    arguments: Run,
    prefix: &str,
    output: &Output,
) -> Result<(), Failure> {
    let Trial {
        text,
        pipeline,
        event,
        mut names,
        webhooks,
        wait_scale,
    } = trial;
    let resolved = resolved(&pipeline, &arguments.parameters, event.as_ref());
    let seeding = resolved.clone();
    tell(
        &ground
            .with(move |cloud| cloud.seed_for_pipeline(&seeding, true))
            .await?,
        output,
    );
    let installation = ground.installation(prefix).await;
    names.extend(accounts::named(&resolved));
    accounts::register(&names, &installation).await?;
    if let Some(file) = &webhooks {
        webhooks::save(file, &installation).await?;
    }
    let saved = match save_pipeline(&text, None, &installation, output).await {
        // Files that were copied from each other have the same id: a run needs none of its own.
        Err(Failure::Input { problems })
            if problems
                .iter()
                .any(|problem| problem.code == "duplicate-id") =>
        {
            output.say("a pipeline of another application has its `id`: run without it");
            let mut without = pipeline.clone();
            if let Some(object) = without.as_object_mut() {
                object.remove("id");
            }
            save_pipeline(&without.to_string(), None, &installation, output).await?
        }
        other => other?,
    };
    let reference = format!(
        "{}/{}",
        saved.get("application").map(bare).unwrap_or_default(),
        saved.get("name").map(bare).unwrap_or_default()
    );
    let id = match &event {
        None => {
            let answer = start(
                &installation,
                &reference,
                &arguments.parameters,
                Value::Null,
            )
            .await?;
            let id = answer
                .get("executionId")
                .and_then(Value::as_str)
                .unwrap_or_default();
            crate::installation::execution_id(id)?
        }
        Some(event) => {
            let pipeline_id = saved.get("id").map(bare).unwrap_or_default();
            event::send(ground, event, 1).await?;
            started_by_event(&installation, &pipeline_id).await?
        }
    };
    let execution = installation.execution(id.as_str()).await?;
    let mut hand = Hand {
        installation: &installation,
        output,
        answers: if arguments.approve {
            Answers::Approve
        } else {
            Answers::Given(arguments.judgments)
        },
        wait_scale,
        until: now_millis()
            .saturating_add(i64::try_from(arguments.time_limit.as_millis()).unwrap_or(i64::MAX)),
        over_time: false,
        answered: HashSet::new(),
        seen: Seen::default(),
    };
    let snapshot = attend(&installation, output, execution, LOOK_EVERY, &mut hand).await?;
    let over_time = hand.over_time;
    let observed = ground.with(gennaker_local::LocalCloud::clusters).await?;
    let transitions = transitions(ground, &installation, &snapshot).await?;
    let named = named(&resolved);
    let observed = if ground.own {
        observed
    } else {
        of_pipeline(observed, &named)
    };
    if output.json {
        output.compact(&summary_json(&snapshot, &observed, &named, transitions))?;
    } else {
        for line in lines(&observed, output) {
            output.line(&line)?;
        }
        output.line(&price_line(transitions))?;
    }
    if over_time {
        return Err(Failure::No(
            "the time limit ran out: the execution was canceled".to_owned(),
        ));
    }
    verdict(&snapshot)
}

/// Names what was created in the emulated cloud.
fn tell(created: &[Created], output: &Output) {
    for one in created {
        output.say(&format!(
            "created {} {} in {}",
            one.kind,
            plain(&one.name),
            one.region
        ));
    }
}

/// The pipeline with what a run needs and a file may lack: a name, an application, and that it may start.
fn runnable(text: &str, arguments: &Run) -> Result<Value, Failure> {
    let mut pipeline = input::parse(text, &arguments.pipeline.display().to_string())?;
    if let Some(object) = pipeline.as_object_mut() {
        let missing = |object: &Map<String, Value>, name: &str| {
            object
                .get(name)
                .and_then(Value::as_str)
                .is_none_or(|text| text.trim().is_empty())
        };
        if missing(object, "application") {
            object.insert("application".to_owned(), "local".into());
        }
        if missing(object, "name") {
            let stem = arguments
                .pipeline
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            object.insert(
                "name".to_owned(),
                stem.filter(|stem| stem != "-")
                    .unwrap_or_else(|| "pipeline".to_owned())
                    .into(),
            );
        }
        object.remove("disabled");
    }
    Ok(pipeline)
}

/// The pipeline with every expression that what is known beforehand resolves: what it names can be created then.
fn resolved(pipeline: &Value, parameters: &[(String, String)], event: Option<&Event>) -> Value {
    let mut values: Map<String, Value> = pipeline
        .get("parameterConfig")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|parameter| {
            let name = parameter.get("name")?.as_str()?;
            Some((name.to_owned(), parameter.get("default").cloned()?))
        })
        .collect();
    for (name, value) in parameters {
        values.insert(name.clone(), value.as_str().into());
    }
    let detail = event.and_then(Event::detail);
    let context = json!({
        "parameters": values,
        "trigger": {
            "type": if event.is_some() { "docker" } else { "manual" },
            "parameters": values,
            "tag": detail.and_then(|detail| detail.get("image-tag")),
            "repository": detail.and_then(|detail| detail.get("repository-name")),
        },
    });
    evaluate(
        pipeline,
        &Context::from_json(&context),
        &Options {
            now_millis: now_millis(),
            ..Options::default()
        },
    )
    .value
}

/// The execution that an event started.
pub(crate) async fn started_by_event(
    installation: &Installation,
    pipeline_id: &str,
) -> Result<ExecutionId, Failure> {
    let tick = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    while waited < EVENT_PATIENCE {
        let newest = installation
            .store
            .executions_of_pipeline(pipeline_id, 1)
            .await?;
        if let Some(execution) = newest.into_iter().next() {
            return Ok(execution.id);
        }
        tokio::time::sleep(tick).await;
        waited += tick;
    }
    Err(Failure::No(
        "the event started nothing: no enabled trigger of the pipeline matches it".to_owned(),
    ))
}

/// How judgments are answered.
pub(crate) enum Answers {
    /// With continue.
    Approve,
    /// As given; another one is asked in the terminal, if there is one.
    Given(Vec<Judgment>),
}

/// Acts for the person who watches a local execution: answers judgments, ends scaled waits, keeps the time limit.
pub(crate) struct Hand<'a> {
    pub installation: &'a Installation,
    pub output: &'a Output,
    pub answers: Answers,
    pub wait_scale: f64,
    /// When it is canceled, UTC milliseconds.
    pub until: i64,
    pub over_time: bool,
    pub answered: HashSet<String>,
    pub seen: Seen,
}

impl Attendant for Hand<'_> {
    async fn look(&mut self, snapshot: &Snapshot) -> Result<bool, Failure> {
        if self.output.json {
            for stage in self.seen.changes(&snapshot.stages()) {
                self.output.compact(&json!({
                    "time": jiff::Timestamp::from_millisecond(now_millis()).map(|time| time.to_string()).unwrap_or_default(),
                    "stage": stage.ref_id,
                    "type": stage.kind,
                    "status": stage.status,
                    "reason": stage.reason,
                }))?;
            }
        }
        if snapshot.is_over() {
            return Ok(false);
        }
        let id = snapshot.execution.id.as_str();
        if !self.over_time && now_millis() >= self.until {
            self.over_time = true;
            let event = json!({ "cancel": true, "reason": "the time limit ran out" });
            decision(self.installation, id, event).await?;
            return Ok(false);
        }
        if snapshot.execution.ending.is_some() || snapshot.execution.run == 0 {
            return Ok(false);
        }
        let mut talked = false;
        for stage in &snapshot.plan.stages {
            match stage.function.as_deref() {
                Some("manual-judgment") => talked |= self.judge(snapshot, stage).await?,
                Some("wait") if self.wait_scale < 1.0 => self.shorten(snapshot, stage).await?,
                _ => {}
            }
        }
        Ok(talked)
    }
}

impl Hand<'_> {
    /// Answers a judgment that is being asked. True if the person at the terminal was talked to.
    async fn judge(&mut self, snapshot: &Snapshot, stage: &PlanStage) -> Result<bool, Failure> {
        let execution: &Execution = &snapshot.execution;
        let running = snapshot
            .records
            .get(&stage.ref_id)
            .is_some_and(|record| record.status == Status::Running);
        let key = format!("{}/{}", execution.run, stage.ref_id);
        if !running || self.answered.contains(&key) {
            return Ok(false);
        }
        let run = execution.id.run(execution.run);
        let Some(approval) = self
            .installation
            .store
            .approval(&run, &stage.ref_id)
            .await?
        else {
            return Ok(false);
        };
        self.answered.insert(key);
        if !approval.is_pending() {
            return Ok(false);
        }
        let given = match &self.answers {
            Answers::Approve => Some((Answer::Continue, None)),
            Answers::Given(list) => list
                .iter()
                .find(|judgment| judgment.ref_id == stage.ref_id)
                .map(|judgment| (judgment.answer, judgment.input.clone())),
        };
        let answer = match given.clone() {
            Some(answer) => answer,
            None if self.output.interactive => {
                ask(&approval.question.instructions, &stage.name, self.output).await?
            }
            None => {
                self.output.say(&format!(
                    "stage {} waits for a judgment: gennaker execution judge {} --stage {} continue|stop",
                    stage.ref_id, execution.id, stage.ref_id
                ));
                return Ok(true);
            }
        };
        for approver in self.approvers(&approval.question.rules).await? {
            let event = json!({
                "decision": answer.0.as_str(), "stage": stage.ref_id, "input": answer.1,
            });
            let id = execution.id.as_str();
            decision_of(self.installation, id, event, Some(&approver)).await?;
        }
        Ok(given.is_none())
    }

    /// People of this local cloud who may answer, enough of them: whoever runs a pipeline here plays all of them.
    async fn approvers(&self, rules: &Rules) -> Result<Vec<String>, Failure> {
        let by_role = rules.required_by_role.values().max().copied();
        let count = rules.required.max(by_role.unwrap_or(1)).max(1);
        let mut names = Vec::new();
        for number in 1..=count {
            let user = User {
                name: format!("approver-{number}"),
                roles: rules.deciding_roles(),
                ..User::default()
            };
            user.save(&self.installation.store)
                .await
                .map_err(crate::user::refused)?;
            names.push(user.name);
        }
        Ok(names)
    }

    /// Ends a literal wait at its scaled time, as the emulator scales only polls and retries.
    async fn shorten(&mut self, snapshot: &Snapshot, stage: &PlanStage) -> Result<(), Failure> {
        let Some(record) = snapshot.records.get(&stage.ref_id) else {
            return Ok(());
        };
        let key = format!("{}/{}", snapshot.execution.run, stage.ref_id);
        if record.status != Status::Running || self.answered.contains(&key) {
            return Ok(());
        }
        let seconds = match record.context.get("waitTime") {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let (Some(seconds), Some(started)) = (seconds, record.start_time) else {
            return Ok(());
        };
        if ((now_millis() - started) as f64) < seconds * 1_000.0 * self.wait_scale {
            return Ok(());
        }
        self.answered.insert(key);
        let event = json!({ "skip": true, "stage": stage.ref_id });
        match decision(self.installation, snapshot.execution.id.as_str(), event).await {
            // It ended by itself in between.
            Ok(_) | Err(Failure::Input { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// Asks in the terminal.
async fn ask(
    instructions: &str,
    name: &str,
    output: &Output,
) -> Result<(Answer, Option<String>), Failure> {
    let question = if instructions.trim().is_empty() {
        name
    } else {
        instructions
    };
    loop {
        output.say(&format!(
            "{} [y/n] ",
            output.paint(&plain(question), crate::output::BOLD)
        ));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A thread of its own, not the runtime's: Ctrl-C does not wait for an answer.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin()
                .read_line(&mut line)
                .map(|length| (length, line));
            // Nobody listens any more after Ctrl-C.
            let _ = sender.send(read);
        });
        let (length, line) = receiver
            .await
            .map_err(|error| Failure::environment(error.to_string()))?
            .map_err(|error| Failure::environment(format!("standard input: {error}")))?;
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" | "continue" => return Ok((Answer::Continue, None)),
            "n" | "no" | "stop" => return Ok((Answer::Stop, None)),
            _ if length == 0 => return Ok((Answer::Stop, None)),
            _ => {}
        }
    }
}

fn of_pipeline(observed: Vec<ObservedCluster>, named: &BTreeSet<Named>) -> Vec<ObservedCluster> {
    observed
        .into_iter()
        .filter(|cluster| named.iter().any(|one| one.cluster == cluster.name))
        .collect()
}

/// Transitions of all runs of an execution and of what finalized them, from Step Functions' own history.
///
/// Charged is each state that is entered and each retry: for a Task that is each time it is scheduled, for another
/// state each time it is entered.
pub(crate) async fn transitions(
    ground: &Ground,
    installation: &Installation,
    snapshot: &Snapshot,
) -> Result<u64, Failure> {
    use gennaker_cloud::step_functions::execution_arn;
    let execution = &snapshot.execution;
    let finalize = match execution.state_machine.rsplit_once(":stateMachine:") {
        Some((front, _)) => format!("{front}:stateMachine:{}-finalize", installation.prefix),
        None => return Ok(0),
    };
    let mut arns = Vec::new();
    for number in 1..=execution.run {
        let run = execution.id.run(number).to_string();
        arns.extend(execution_arn(&execution.state_machine, &run));
        arns.extend(execution_arn(&finalize, &format!("{run}-end")));
    }
    ground
        .with(move |cloud| {
            let mut count = 0;
            for arn in arns {
                let mut token = Value::Null;
                loop {
                    let mut parameters = json!({ "executionArn": arn, "maxResults": 1000, "includeExecutionData": false });
                    if let (Some(object), false) = (parameters.as_object_mut(), token.is_null()) {
                        object.insert("nextToken".to_owned(), token.clone());
                    }
                    // An execution that nothing finalized has no second machine.
                    let Ok(page) = cloud.call("stepfunctions", "get_execution_history", parameters) else {
                        break;
                    };
                    let events = page.get("events").and_then(Value::as_array);
                    count += events.map_or(0, |events| charged(events));
                    token = page.get("nextToken").cloned().unwrap_or(Value::Null);
                    if token.is_null() {
                        break;
                    }
                }
            }
            Ok(count)
        })
        .await
}

fn charged(events: &[Value]) -> u64 {
    events
        .iter()
        .filter_map(|event| event.get("type").and_then(Value::as_str))
        .map(|kind| {
            let other_state = kind.ends_with("StateEntered") && kind != "TaskStateEntered";
            u64::from(other_state || kind == "TaskScheduled" || kind == "LambdaFunctionScheduled")
        })
        .sum()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "an execution has at most 25,000 events"
)]
pub(crate) fn price(transitions: u64) -> f64 {
    let price = transitions as f64 * USD_PER_TRANSITION;
    // Micro-dollars: what floating point adds is no price.
    (price * 1e6).round() / 1e6
}

pub(crate) fn price_line(transitions: u64) -> String {
    format!(
        "{transitions} state transitions, ${} on AWS (${USD_PER_TRANSITION:.6} each)",
        price(transitions)
    )
}

/// The last line of `--json`.
pub(crate) fn summary_json(
    snapshot: &Snapshot,
    observed: &[ObservedCluster],
    named: &BTreeSet<Named>,
    transitions: u64,
) -> Value {
    let stages: Vec<Value> = snapshot
        .stages()
        .iter()
        .map(|stage| {
            json!({
                "refId": stage.ref_id,
                "type": stage.kind,
                "name": stage.name,
                "status": stage.status,
                "startTime": stage.started,
                "endTime": stage.ended,
                "reason": stage.reason,
            })
        })
        .collect();
    let execution = &snapshot.execution;
    json!({
        "execution": execution.id,
        "run": execution.id.run(execution.run),
        "status": execution.status,
        "reason": execution.ending.as_ref().map(|ending| ending.reason.as_str()),
        "stateMachine": execution.state_machine,
        "stages": stages,
        "clusters": clusters_json(observed, named),
        "transitions": transitions,
        "priceUsd": price(transitions),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_charged_each_time_it_is_scheduled_and_another_state_when_it_is_entered() {
        let events: Vec<Value> = [
            "ExecutionStarted",
            "ParallelStateEntered",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskFailed",
            "TaskScheduled",
            "TaskSucceeded",
            "TaskStateExited",
            "SucceedStateEntered",
        ]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
        assert_eq!(charged(&events), 4);
        assert!((price(4) - 0.0001).abs() < 1e-12);
    }
}
