#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::{CloudError, Connection, Functions};
use gennaker_domain::approval::{self, Approval, Choice, Question, Rules, Shown, State};
use gennaker_domain::child::Parent;
use gennaker_lambda::{Invocation, Randomness, Stage, StageError, Step, randomness};
use serde_json::{Map, Value, json};

/// How long a judgment waits if the stage says nothing: three days, as in Orca (`waitForJudgment`).
pub const DEFAULT_TIMEOUT_MILLIS: i64 = 3 * 24 * 3_600_000;

/// Times that one invocation asks again while somebody else writes.
const TRIES: usize = 5;

/// Key in the memory: the round that people were told of, and how often they were reminded.
const TOLD: &str = "told";

/// The `manualJudgment` stage.
#[derive(Clone)]
pub struct ManualJudgment {
    functions: Arc<dyn Functions>,
    randomness: Randomness,
}

impl std::fmt::Debug for ManualJudgment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ManualJudgment")
    }
}

impl ManualJudgment {
    /// On the functions of an installation.
    pub fn new(functions: Arc<dyn Functions>, randomness: Randomness) -> Self {
        Self {
            functions,
            randomness,
        }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsFunctions::new(connection)), randomness)
    }

    /// The approval as it stands for what stands before the stage now: asked if it never was, asked again if what was
    /// shown is not so any more.
    async fn asked(&self, invocation: &Invocation<'_>) -> Result<Approval, StageError> {
        let store = invocation.store();
        let shown = shown(invocation);
        let stored = store
            .approval(invocation.run, &invocation.stage.ref_id)
            .await?;
        let mut approval = match stored {
            Some(approval) => approval,
            None => {
                let question = question(invocation, shown.clone(), Vec::new())?;
                let code: String = (self.randomness)()?
                    .iter()
                    .take(16)
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                store.ask(question, &code).await?
            }
        };
        for _ in 0..TRIES {
            let closed = matches!(approval.state, State::Expired { .. });
            if closed || approval.question.shown.binding() == shown.binding() {
                return Ok(approval);
            }
            let changes = shown.changes_since(&approval.question.shown);
            let question = question(invocation, shown.clone(), changes)?;
            approval = store.ask_again(&approval, question).await?;
        }
        Err(CloudError::Conflict.into())
    }

    /// Has `notify` tell people. Telling the same twice is harmless: it remembers what it sent.
    async fn tell(
        &self,
        invocation: &Invocation<'_>,
        approval: &Approval,
        when: &str,
        reminder: i64,
    ) -> Result<(), CloudError> {
        let event = json!({
            "execution": invocation.run.execution,
            "run": invocation.run.number,
            "when": when,
            "stage": invocation.stage.ref_id,
            "approval": approval.id,
            "round": approval.round,
            "reminder": reminder,
        });
        self.functions
            .invoke_later(&function_name(invocation.prefix, "notify"), &event)
            .await
    }
}

fn shown(invocation: &Invocation<'_>) -> Shown {
    let parent = Parent {
        execution: invocation.execution,
        plan: invocation.plan,
        records: invocation.records,
        trigger: invocation.trigger,
    };
    Shown::of(
        &invocation.execution.plan_hash,
        parent,
        &invocation.stage.ref_id,
    )
}

fn question(
    invocation: &Invocation<'_>,
    shown: Shown,
    changes: Vec<String>,
) -> Result<Question, StageError> {
    let context = invocation.context;
    let text = |name: &str| match context.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let or = |text: String, otherwise: &str| {
        if text.trim().is_empty() {
            otherwise.to_owned()
        } else {
            text
        }
    };
    let rules = Rules::of(context).map_err(|error| {
        let field = format!("stages[{}].{}", invocation.stage.ref_id, error.field);
        StageError::invalid(field, error.message)
    })?;
    let requester = invocation
        .trigger
        .get("user")
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|user| !user.is_empty() && !user.trim_matches(['[', ']']).eq("anonymous"));
    Ok(Question {
        run: invocation.run.clone(),
        stage: invocation.stage.ref_id.clone(),
        name: invocation.stage.name.clone(),
        application: invocation.plan.application.clone(),
        pipeline: invocation.plan.pipeline.clone(),
        instructions: text("instructions"),
        options: approval::options(context),
        continue_text: or(text("continueButtonText"), "Continue"),
        stop_text: or(text("stopButtonText"), "Stop"),
        rules,
        requester: requester.map(str::to_owned),
        shown,
        changes,
        asked_at: invocation.now,
        expires_at: invocation.started.saturating_add(limit_millis(invocation)),
        tells_outcome: context.get("sendNotifications") == Some(&Value::Bool(true)),
        notifications: context
            .get("notifications")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    })
}

/// How long the stage may take: its own `stageTimeoutMs`, else that of what it is a sub-stage of, else three days.
fn limit_millis(invocation: &Invocation<'_>) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // Saturates; far below 2^53 in practice.
    let of = |context: &Map<String, Value>| {
        let limit = context.get("stageTimeoutMs").and_then(Value::as_f64);
        limit.map(|limit| limit as i64)
    };
    of(invocation.context)
        .or_else(|| {
            let lineage = invocation.plan.lineage(&invocation.stage.ref_id);
            lineage.into_iter().find_map(|stage| of(&stage.context))
        })
        .unwrap_or(DEFAULT_TIMEOUT_MILLIS)
}

/// Whether the time is over. A sleeping Task is called again when its own time-out has passed, which Step Functions counts
/// from a moment earlier than the stage does: without the allowance it would sleep for its whole time again.
fn is_late(invocation: &Invocation<'_>) -> bool {
    let limit = limit_millis(invocation);
    let called_before = invocation
        .records
        .get(&invocation.stage.ref_id)
        .is_some_and(|record| record.attempts > 0);
    let early = if called_before {
        (limit / 10).min(2_000)
    } else {
        0
    };
    invocation.spent() > limit.saturating_sub(early)
}

/// What a time-out means: Spinnaker's `markSuccessfulOnTimeout`.
fn outcome_of_silence(context: &Map<String, Value>) -> Choice {
    if context.get("markSuccessfulOnTimeout") == Some(&Value::Bool(true)) {
        Choice::Continue
    } else {
        Choice::Stop
    }
}

/// How often people are to have been reminded by now: `notifyEveryMs` of a notification, looked at whenever the stage is
/// called.
#[must_use]
pub fn reminders(notifications: &[Value], asked_at: i64, now: i64) -> i64 {
    let every = notifications
        .iter()
        .filter_map(|setting| setting.get("notifyEveryMs").and_then(Value::as_i64))
        .filter(|every| *every > 0)
        .min();
    match every {
        Some(every) => now.saturating_sub(asked_at).max(0) / every,
        None => 0,
    }
}

/// The occasion of the approval's end, as notifications name it; none while it waits.
#[must_use]
pub fn occasion(state: &State, silence: Choice) -> Option<&'static str> {
    let choice = match state {
        State::Pending => return None,
        State::Decided(decision) => decision.choice,
        State::Expired { .. } => silence,
    };
    Some(match choice {
        Choice::Continue => "manualJudgmentContinue",
        Choice::Stop => "manualJudgmentStop",
    })
}

/// What the stage answers.
///
/// `continue` succeeds, `stop` fails the stage (its policy decides what that does to the pipeline), and so does silence
/// unless the stage says otherwise.
#[must_use]
pub fn answer(approval: &Approval, silence: Choice, memory: Map<String, Value>) -> Step {
    let decision = match &approval.state {
        State::Pending => {
            return Step::Waiting {
                reason: waits_for(approval),
                memory,
                poll: None,
            };
        }
        State::Expired { .. } => {
            let seconds = (approval.question.expires_at - approval.question.asked_at) / 1_000;
            let reason = format!("nobody decided within {seconds} s");
            let context = Map::from_iter([("timedOut".to_owned(), Value::Bool(true))]);
            return match silence {
                Choice::Continue => Step::Succeeded {
                    outputs: Map::new(),
                    context,
                },
                Choice::Stop => Step::Failed {
                    reason,
                    details: Value::Object(context),
                },
            };
        }
        State::Decided(decision) => decision,
    };
    let mut context = Map::from_iter([
        (
            "judgmentStatus".to_owned(),
            Value::from(decision.choice.as_str()),
        ),
        ("lastModifiedBy".to_owned(), decision.by.clone().into()),
        ("approvers".to_owned(), json!(decision.approvers)),
    ]);
    let mut outputs = Map::new();
    if let Some(input) = &decision.input {
        context.insert("judgmentInput".to_owned(), input.clone().into());
        outputs.insert("judgmentInput".to_owned(), input.clone().into());
    }
    if let Some(reason) = &decision.reason {
        context.insert("judgmentReason".to_owned(), reason.clone().into());
    }
    match decision.choice {
        Choice::Continue => Step::Succeeded { outputs, context },
        Choice::Stop => {
            let quoted = |text: &Option<String>, front: &str, back: &str| {
                let text = text.as_ref();
                text.map(|text| format!("{front}{text}{back}"))
                    .unwrap_or_default()
            };
            let input = quoted(&decision.input, " (`", "`)");
            let why = quoted(&decision.reason, ": ", "");
            Step::Failed {
                reason: format!("{} answered stop{input}{why}", decision.by),
                details: Value::Object(context),
            }
        }
    }
}

fn waits_for(approval: &Approval) -> String {
    let missing = match approval.question.rules.tally(&approval.votes) {
        approval::Tally::Missing { what } if !approval.votes.is_empty() => format!(": {what}"),
        _ => String::new(),
    };
    let again = match approval.question.changes.first() {
        Some(change) => format!(", again because something changed ({change})"),
        None => String::new(),
    };
    let roles = approval.question.rules.deciding_roles();
    let who = if roles.is_empty() {
        "a person".to_owned()
    } else {
        format!("a person with the role {}", roles.join(" or "))
    };
    format!("waits for {who} to decide{missing}{again}")
}

#[async_trait]
impl Stage for ManualJudgment {
    /// It looks at its time itself: an answer that came in time counts even if it is seen late.
    fn times_out(&self, _context: &Map<String, Value>, _limit_millis: f64) -> bool {
        false
    }

    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let mut approval = self.asked(invocation).await?;
        if approval.is_pending() && is_late(invocation) {
            // An answer that came first stands.
            approval = invocation.store().expire(&approval, invocation.now).await?;
        }
        let silence = outcome_of_silence(invocation.context);
        let mut memory = invocation.memory.clone();
        match occasion(&approval.state, silence) {
            Some(when) => self.tell(invocation, &approval, when, 0).await?,
            None => {
                let question = &approval.question;
                let count = reminders(&question.notifications, question.asked_at, invocation.now);
                let told = json!([approval.round, count]);
                if memory.get(TOLD) != Some(&told) {
                    self.tell(invocation, &approval, "manualJudgment", count)
                        .await?;
                    memory.insert(TOLD.to_owned(), told);
                }
            }
        }
        Ok(answer(&approval, silence, memory))
    }
}
