//! One answer to a manual judgment, whichever way it came.

use gennaker_cloud::store::approvals::VoteAnswer;
use gennaker_cloud::{CloudError, Identity, User};
use gennaker_domain::approval::{
    Approval, Choice, Decision, NotAllowed, Person, Shown, State, Via, Vote,
};
use gennaker_domain::child::Parent;
use gennaker_domain::{Execution, Plan, Problem, Run};
use gennaker_lambda::FunctionError;
use serde_json::{Value, json};

use crate::{Decide, refused, works_in};

/// Longest reason that is kept.
const REASON_CHARACTERS: usize = 1_000;

/// What somebody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// Continue or stop.
    pub choice: Choice,
    /// One of the inputs to choose from.
    pub input: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
}

/// An answer with who gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// What.
    pub asked: Asked<'a>,
    /// Who.
    pub person: &'a Person,
    /// How.
    pub via: Via,
    /// The round that the person saw; none is the present one.
    pub round: Option<u32>,
    /// When.
    pub at: i64,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It decided.
    Decided(Decision),
    /// It counts; more are needed.
    Counted {
        /// What a person reads.
        missing: String,
    },
    /// Another decision was first.
    Already(Decision),
    /// The time ran out first.
    Expired,
    /// What was shown is not so any more, and it is asked again.
    Changed(Vec<String>),
    /// The execution began anew, or the stage waits no more.
    Superseded,
    /// The execution is over.
    Over,
    /// This person may not.
    NotAllowed(NotAllowed),
    /// There is no such input to choose.
    UnknownInput(String),
}

impl Verdict {
    /// What a person reads.
    pub(crate) fn text(&self, approval: &Approval) -> String {
        let decided = |decision: &Decision| match decision.choice {
            Choice::Continue => format!("{} continued", decision.by),
            Choice::Stop => format!("{} stopped", decision.by),
        };
        match self {
            Self::Decided(decision) => format!("Decided: {}.", decided(decision)),
            Self::Counted { missing } => format!("Your answer counts. Still needed: {missing}."),
            Self::Already(decision) => format!("Already decided: {}.", decided(decision)),
            Self::Expired => "Already decided: nobody answered in time.".to_owned(),
            Self::Changed(changes) => format!(
                "It is asked again, because something changed since this was shown: {}. Your answer was not recorded.",
                changes.join("; ")
            ),
            Self::Superseded => {
                "Already decided: this question was superseded, and another message asks if somebody still has to answer."
                    .to_owned()
            }
            Self::Over => "Already decided: the execution is over.".to_owned(),
            Self::NotAllowed(why) => format!("Not recorded: {why}."),
            Self::UnknownInput(input) => format!(
                "Not recorded: `{input}` is no choice of this judgment. One of: {}.",
                approval.question.options.join(", ")
            ),
        }
    }

    fn to_json(&self, approval: &Approval) -> Value {
        let stage = &approval.question.stage;
        let problem = |code: &str, path: &str, message: String| {
            refused(&Problem::error(code, path, message).at_stage(stage))
        };
        match self {
            Self::Decided(decision) => json!({ "decided": decision }),
            Self::Counted { missing } => json!({ "counted": true, "missing": missing }),
            Self::Already(decision) => json!({ "already": decision }),
            Self::Expired => problem(
                "judgment-expired",
                "$.stage",
                "the time to decide is over".to_owned(),
            ),
            Self::Changed(changes) => problem(
                "changed-since-shown",
                "$.stage",
                format!("it is asked again: {}", changes.join("; ")),
            ),
            Self::Superseded => problem(
                "not-waiting",
                "$.stage",
                "this stage asks nobody now".to_owned(),
            ),
            Self::Over => problem(
                "execution-ended",
                "$.execution",
                "the execution is over or ending".to_owned(),
            ),
            Self::NotAllowed(why) => problem("not-allowed", "$.caller", why.to_string()),
            Self::UnknownInput(input) => refused(
                &Problem::error(
                    "unknown-input",
                    "$.input",
                    format!("`{input}` is no choice of this judgment"),
                )
                .at_stage(stage)
                .with_hint(format!("one of: {}", approval.question.options.join(", "))),
            ),
        }
    }
}

impl Decide {
    /// The person who has that id in Slack.
    pub(crate) async fn slack_person(&self, id: &str) -> Result<Person, CloudError> {
        let known = User::of_identity(&self.store, Identity::Slack, id).await?;
        Ok(known.map_or_else(
            || Person::stranger(format!("slack:{id}")),
            |known| known.person(),
        ))
    }

    /// The question of a stage in the run that works on it.
    async fn question_of(&self, run: &Run, ref_id: &str) -> Result<Option<Approval>, CloudError> {
        let record = self.store.stage(&run.execution, ref_id).await?;
        let works = record.map_or_else(|| run.clone(), |record| works_in(run, &record));
        self.store.approval(&works, ref_id).await
    }

    /// An answer by a call of this function.
    pub(crate) async fn judge_stage(
        &self,
        execution: &Execution,
        run: &Run,
        ref_id: &str,
        asked: Asked<'_>,
        person: &Person,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let plan = self.plan(execution).await?;
        if let Err(problem) = self.open_stage(execution, &plan, ref_id) {
            return Ok(refused(&problem));
        }
        let Some(approval) = self.question_of(run, ref_id).await? else {
            let problem = Problem::error("not-waiting", "$.stage", "this stage asks nobody now");
            return Ok(refused(&problem.at_stage(ref_id)));
        };
        let given = Given {
            asked,
            person,
            via: Via::Call,
            round: None,
            at: now,
        };
        let verdict = self.judge(&approval, &given).await?;
        Ok(verdict.to_json(&approval))
    }

    /// Takes one answer: the first that decides counts, and the stage is called to read it.
    pub(crate) async fn judge(
        &self,
        approval: &Approval,
        given: &Given<'_>,
    ) -> Result<Verdict, FunctionError> {
        let question = &approval.question;
        let execution = self.store.execution(&question.run.execution).await?;
        let Some(execution) = execution else {
            return Ok(Verdict::Superseded);
        };
        let plan = self.plan(&execution).await?;
        if approval.is_pending()
            && let Some(verdict) = self.standing(approval, &execution, &plan, given).await?
        {
            return Ok(verdict);
        }
        let vote = Vote {
            choice: given.asked.choice,
            input: given.asked.input.map(str::to_owned),
            reason: given
                .asked
                .reason
                .map(|reason| reason.chars().take(REASON_CHARACTERS).collect()),
            by: given.person.shown().to_owned(),
            roles: given.person.roles.clone(),
            via: given.via,
            at: given.at,
        };
        let round = Some(given.round.unwrap_or(approval.round));
        let verdict = match self.store.vote(&approval.id, round, &vote).await? {
            VoteAnswer::Decided(decision) => Verdict::Decided(decision),
            VoteAnswer::Counted { missing } => Verdict::Counted { missing },
            VoteAnswer::Already(decision) => Verdict::Already(decision),
            VoteAnswer::Expired => Verdict::Expired,
            VoteAnswer::AskedAgain(now) => Verdict::Changed(now.question.changes),
            VoteAnswer::NotAsked => Verdict::Superseded,
        };
        tracing::info!(execution = %execution.id, stage = question.stage, by = vote.by, via = ?vote.via, choice = vote.choice.as_str(), verdict = verdict.name(), "answered");
        if matches!(verdict, Verdict::Decided(_) | Verdict::Already(_)) {
            // Whoever decided: a call that died after it recorded its decision called nobody.
            self.call_judgment(&execution, &plan, &question.run, &question.stage)
                .await?;
        }
        Ok(verdict)
    }

    /// Why a pending question takes no answer of this person now; none if it does.
    async fn standing(
        &self,
        approval: &Approval,
        execution: &Execution,
        plan: &Plan,
        given: &Given<'_>,
    ) -> Result<Option<Verdict>, FunctionError> {
        let question = &approval.question;
        let records = self.store.stages(&execution.id).await?;
        let record = records.get(&question.stage);
        let current = execution.id.run(execution.run);
        let works = record.map_or_else(|| current.clone(), |record| works_in(&current, record));
        if works != question.run {
            return Ok(Some(Verdict::Superseded));
        }
        if execution.status.is_complete() || execution.ending.is_some() {
            return Ok(Some(Verdict::Over));
        }
        if record.is_some_and(|record| record.status.is_complete()) {
            return Ok(Some(Verdict::Superseded));
        }
        if given.at > question.expires_at {
            // The stage closes it when it is called.
            self.call_judgment(execution, plan, &question.run, &question.stage)
                .await?;
            return Ok(Some(Verdict::Expired));
        }
        if let Err(why) = question.rules.allow(
            given.person,
            question.requester.as_deref(),
            given.asked.choice,
        ) {
            tracing::warn!(execution = %execution.id, stage = question.stage, reason = %why, "an answer was refused");
            return Ok(Some(Verdict::NotAllowed(why)));
        }
        if let Some(input) = given.asked.input
            && !question.options.is_empty()
            && !question.options.iter().any(|option| option == input)
        {
            return Ok(Some(Verdict::UnknownInput(input.to_owned())));
        }
        if given.round.is_some_and(|round| round != approval.round) {
            return Ok(Some(Verdict::Changed(question.changes.clone())));
        }
        let trigger = self.store.trigger(&execution.id).await?;
        let parent = Parent {
            execution,
            plan,
            records: &records,
            trigger: &trigger.unwrap_or_default(),
        };
        let shown = Shown::of(&execution.plan_hash, parent, &question.stage);
        if shown.binding() == question.shown.binding() {
            return Ok(None);
        }
        // The stage asks again when it is called.
        self.call_judgment(execution, plan, &question.run, &question.stage)
            .await?;
        Ok(Some(Verdict::Changed(shown.changes_since(&question.shown))))
    }

    async fn call_judgment(
        &self,
        execution: &Execution,
        plan: &Plan,
        run: &Run,
        ref_id: &str,
    ) -> Result<(), FunctionError> {
        match self.open_stage(execution, plan, ref_id) {
            Ok(stage) => self.call_stage(run, stage).await,
            // Over: nobody waits for the answer.
            Err(_) => Ok(()),
        }
    }

    /// How an approval stands for somebody who looks at it.
    pub(crate) async fn stands(
        &self,
        approval: &Approval,
    ) -> Result<Option<Verdict>, FunctionError> {
        match &approval.state {
            State::Decided(decision) => return Ok(Some(Verdict::Already(decision.clone()))),
            State::Expired { .. } => return Ok(Some(Verdict::Expired)),
            State::Pending => {}
        }
        let question = &approval.question;
        let Some(execution) = self.store.execution(&question.run.execution).await? else {
            return Ok(Some(Verdict::Superseded));
        };
        let current = execution.id.run(execution.run);
        let record = self.store.stage(&execution.id, &question.stage).await?;
        let works = record
            .as_ref()
            .map_or_else(|| current.clone(), |record| works_in(&current, record));
        if works != question.run || record.is_some_and(|record| record.status.is_complete()) {
            return Ok(Some(Verdict::Superseded));
        }
        let over = execution.status.is_complete() || execution.ending.is_some();
        Ok(over.then_some(Verdict::Over))
    }

    /// A personal link to the page of a judgment.
    pub(crate) async fn personal_page(
        &self,
        execution: &Execution,
        run: &Run,
        ref_id: &str,
        person: &Person,
        now: i64,
    ) -> Result<Value, FunctionError> {
        let plan = self.plan(execution).await?;
        if let Err(problem) = self.open_stage(execution, &plan, ref_id) {
            return Ok(refused(&problem));
        }
        let approval = self.question_of(run, ref_id).await?;
        let Some(approval) = approval else {
            let problem = Problem::error("not-waiting", "$.stage", "this stage asks nobody now");
            return Ok(refused(&problem.at_stage(ref_id)));
        };
        let Some(name) = &person.name else {
            return Ok(refused(&Problem::error(
                "not-allowed",
                "$.caller",
                "a personal link is for a person with a name, and nobody can tell who asks",
            )));
        };
        self.personal_link(&approval, name, now).await
    }
}

impl Verdict {
    /// A word for logs and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Decided(_) => "decided",
            Self::Counted { .. } => "counted",
            Self::Already(_) => "already",
            Self::Expired => "expired",
            Self::Changed(_) => "changed",
            Self::Superseded => "superseded",
            Self::Over => "over",
            Self::NotAllowed(_) => "not-allowed",
            Self::UnknownInput(_) => "unknown-input",
        }
    }
}
