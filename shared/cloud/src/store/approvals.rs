//! What people are asked and what they answered: approvals of manual judgments, and waits that are skipped.

use gennaker_domain::approval::{Approval, Decision, Question, State, Tally, Vote};
use gennaker_domain::{ExecutionId, Run};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Store, from_text, held, object, text};
use crate::{CloudError, Condition, Item, Key, Write};

pub use gennaker_domain::approval::Choice;

/// Writes that are tried while other people answer at the same moment.
const TRIES: usize = 20;

/// Most answers that are kept: nobody's rules need more.
const MOST_VOTES: usize = 200;

/// Answer of [`Store::vote`].
#[derive(Clone, Debug, PartialEq)]
pub enum VoteAnswer {
    /// This answer decided, or repeats the one that did.
    Decided(Decision),
    /// It counts, and more are needed.
    Counted {
        /// What a person reads: `1 more person`.
        missing: String,
    },
    /// Another decision was first.
    Already(Decision),
    /// The time ran out first.
    Expired,
    /// It was asked again since: what was shown is not what is asked now.
    AskedAgain(Box<Approval>),
    /// Nobody was asked.
    NotAsked,
}

/// Id of the approval that a stage asks for in a run: the same whoever derives it.
///
/// The first 32 hexadecimal digits of the SHA-256 of `<run>/<stage>`. Whoever knows the run knows it: a link ends with
/// the approval's `code` too.
#[must_use]
pub fn approval_id(run: &Run, stage: &str) -> String {
    let digest = Sha256::digest(format!("{run}/{stage}"));
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn approval_of(id: &str, item: &Item) -> Result<Approval, CloudError> {
    let missing = || CloudError::Unreadable {
        what: format!("approval {id}"),
        message: "it has no question".to_owned(),
    };
    let number = |name: &str| item.get(name).and_then(Value::as_i64).unwrap_or_default();
    Ok(Approval {
        id: id.to_owned(),
        code: item
            .get("code")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        round: u32::try_from(number("round")).unwrap_or_default(),
        version: number("version"),
        question: from_text(item, "question")?.ok_or_else(missing)?,
        votes: from_text(item, "votes")?.unwrap_or_default(),
        state: from_text(item, "state")?.unwrap_or(State::Pending),
    })
}

/// The item without its key. `status` is for whoever looks at the table; `state` is what is read.
fn item_of(approval: &Approval) -> Result<Item, CloudError> {
    let status = match approval.state {
        State::Pending => "PENDING",
        State::Decided(_) => "DECIDED",
        State::Expired { .. } => "EXPIRED",
    };
    Ok(object(json!({
        "status": status,
        "code": approval.code,
        "round": approval.round,
        "version": approval.version,
        "run": approval.question.run,
        "stage": approval.question.stage,
        "question": text(&approval.question)?,
        "votes": text(&approval.votes)?,
        "state": text(&approval.state)?,
    })))
}

/// The approval as this vote leaves it, and what is answered; no approval where nothing changes.
fn after_vote(
    before: &Approval,
    round: Option<u32>,
    vote: &Vote,
) -> (Option<Approval>, VoteAnswer) {
    let repeats = |vote: &Vote| before.votes.iter().any(|known| known.repeats(vote));
    match &before.state {
        State::Decided(decision) if repeats(vote) && decision.choice == vote.choice => {
            return (None, VoteAnswer::Decided(decision.clone()));
        }
        State::Decided(decision) => return (None, VoteAnswer::Already(decision.clone())),
        State::Expired { .. } => return (None, VoteAnswer::Expired),
        State::Pending => {}
    }
    if round.is_some_and(|round| round != before.round) {
        return (None, VoteAnswer::AskedAgain(Box::new(before.clone())));
    }
    let mut after = before.clone();
    if !repeats(vote) {
        // Who answers again changes their mind.
        after
            .votes
            .retain(|known| !known.by.eq_ignore_ascii_case(&vote.by));
        after.votes.push(vote.clone());
        if after.votes.len() > MOST_VOTES {
            after.votes.remove(0);
        }
    }
    match after.question.rules.tally(&after.votes) {
        Tally::Missing { what } => {
            let changed = after.votes != before.votes;
            (
                changed.then_some(after),
                VoteAnswer::Counted { missing: what },
            )
        }
        Tally::Decided {
            vote: at,
            approvers,
        } => {
            let deciding = after.votes.get(at).unwrap_or(vote);
            let decision = Decision {
                choice: deciding.choice,
                input: deciding.input.clone(),
                reason: deciding.reason.clone(),
                by: deciding.by.clone(),
                approvers,
                at: deciding.at,
            };
            after.state = State::Decided(decision.clone());
            (Some(after), VoteAnswer::Decided(decision))
        }
    }
}

impl Store {
    /// The question that a stage asked in a run, with what became of it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn approval(&self, run: &Run, stage: &str) -> Result<Option<Approval>, CloudError> {
        self.approval_by_id(&approval_id(run, stage)).await
    }

    /// The approval of that id.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn approval_by_id(&self, id: &str) -> Result<Option<Approval>, CloudError> {
        self.table
            .get(&Key::approval(id))
            .await?
            .map(|item| approval_of(id, &item))
            .transpose()
    }

    /// Asks, if nobody asked before; the approval as it is stored. `code` is random: that of the first call stays.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn ask(&self, question: Question, code: &str) -> Result<Approval, CloudError> {
        let id = approval_id(&question.run, &question.stage);
        let approval = Approval {
            id: id.clone(),
            code: code.to_owned(),
            round: 1,
            version: 1,
            question,
            votes: Vec::new(),
            state: State::Pending,
        };
        let write =
            Write::put(Key::approval(&id), item_of(&approval)?).only_if(Condition::no_item());
        if held(self.table.write(write).await)? {
            return Ok(approval);
        }
        Ok(self.approval_by_id(&id).await?.unwrap_or(approval))
    }

    /// Asks again because something changed: what was answered before counts no more. The approval as it is stored,
    /// which is another one where somebody answered or asked in between.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn ask_again(
        &self,
        before: &Approval,
        question: Question,
    ) -> Result<Approval, CloudError> {
        let after = Approval {
            round: before.round.saturating_add(1),
            question,
            votes: Vec::new(),
            state: State::Pending,
            ..before.clone()
        };
        self.replace(before, after).await
    }

    /// Closes the question because its time ran out. The approval as it is stored: an answer in time may have been
    /// first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn expire(&self, before: &Approval, at: i64) -> Result<Approval, CloudError> {
        let after = Approval {
            state: State::Expired { at },
            ..before.clone()
        };
        self.replace(before, after).await
    }

    /// Writes `after` if `before` is what is stored; what is stored then.
    async fn replace(&self, before: &Approval, after: Approval) -> Result<Approval, CloudError> {
        if self.write_over(before, &after).await? {
            return Ok(Approval {
                version: before.version.saturating_add(1),
                ..after
            });
        }
        let stored = self.approval_by_id(&before.id).await?;
        Ok(stored.unwrap_or_else(|| before.clone()))
    }

    async fn write_over(&self, before: &Approval, after: &Approval) -> Result<bool, CloudError> {
        let item = item_of(&Approval {
            version: before.version.saturating_add(1),
            ..after.clone()
        })?;
        let write = Write::put(Key::approval(&before.id), item)
            .only_if(Condition::equals("version", before.version));
        held(self.table.write(write).await)
    }

    /// Records an answer of somebody who may give one. `round` is that of what the person saw; none is the present
    /// one. The same answer again (its own may have been lost) is answered as the first time.
    ///
    /// # Errors
    /// Those of the table; `Conflict` if others answered at every try.
    pub async fn vote(
        &self,
        id: &str,
        round: Option<u32>,
        vote: &Vote,
    ) -> Result<VoteAnswer, CloudError> {
        for _ in 0..TRIES {
            let Some(before) = self.approval_by_id(id).await? else {
                return Ok(VoteAnswer::NotAsked);
            };
            let (after, answer) = after_vote(&before, round, vote);
            let Some(after) = after else {
                return Ok(answer);
            };
            if self.write_over(&before, &after).await? {
                return Ok(answer);
            }
        }
        Err(CloudError::Conflict)
    }

    /// Asks a waiting stage to wait no more (`EXEC#<id>`, `SKIP#<refId>`). A second call changes nothing; a restart
    /// of the stage removes it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn skip_stage(
        &self,
        run: &Run,
        ref_id: &str,
        by: &str,
        at: i64,
    ) -> Result<(), CloudError> {
        let skip = json!({ "by": by, "at": at, "run": run.number });
        self.put_skip(run, ref_id, skip).await
    }

    /// Skips a whole stage that runs: the runtime ends it SKIPPED when its function is called next. As
    /// [`Store::skip_stage`] otherwise.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn skip_whole_stage(
        &self,
        run: &Run,
        ref_id: &str,
        by: &str,
        at: i64,
    ) -> Result<(), CloudError> {
        let skip = json!({ "by": by, "at": at, "run": run.number, "manual": true });
        self.put_skip(run, ref_id, skip).await
    }

    async fn put_skip(&self, run: &Run, ref_id: &str, skip: Value) -> Result<(), CloudError> {
        let write = Write::put(skip_key(&run.execution, ref_id), object(skip))
            .only_if(Condition::Differs("run".to_owned(), run.number.into()));
        held(self.table.write(write).await).map(|_| ())
    }
}

pub(super) fn skip_key(id: &ExecutionId, ref_id: &str) -> Key {
    Key::new(Key::execution_partition(id), format!("SKIP#{ref_id}"))
}
