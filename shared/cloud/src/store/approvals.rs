//! What people are asked and what they answered: approvals of manual judgments, and waits that are skipped.

use gennaker_domain::{ExecutionId, Run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Store, from_text, held, object, read};
use crate::{CloudError, Condition, Item, Key, Write};

/// A question to people (`APPROVAL#<id>`, `META`), as `manual-judgment` asked it: PENDING until it is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// Run that asks.
    pub run: Run,
    /// `refId` of the manual judgment.
    pub stage: String,
    /// What people read.
    pub instructions: String,
    /// Inputs to choose from; empty if any or none will do.
    pub options: Vec<String>,
    /// When it was asked, UTC milliseconds.
    pub asked_at: i64,
    /// The answer.
    pub decision: Option<Decision>,
}

/// What a person answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Continue or stop.
    pub choice: Choice,
    /// One of the options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Who.
    pub by: String,
    /// When, UTC milliseconds.
    pub at: i64,
}

/// Answer to a manual judgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The pipeline goes on.
    Continue,
    /// The stage fails.
    Stop,
}

/// Answer of [`Store::decide_approval`].
#[derive(Clone, Debug, PartialEq)]
pub enum DecideAnswer {
    /// This decision counts.
    Decided,
    /// Another decision was first.
    Already(Decision),
    /// Nobody was asked.
    NotAsked,
}

/// Id of the approval that a stage asks for in a run: opaque, and the same whoever derives it.
///
/// The first 32 hexadecimal digits of the SHA-256 of `<run>/<stage>`: 128 bits.
#[must_use]
pub fn approval_id(run: &Run, stage: &str) -> String {
    let digest = Sha256::digest(format!("{run}/{stage}"));
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn approval_of(item: &Item) -> Result<Approval, CloudError> {
    let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let instructions: Option<Value> = from_text(item, "instructions")?;
    let inputs: Option<Value> = from_text(item, "inputs")?;
    // `judgmentInputs` are objects with a `value`; plain texts are taken too.
    let options = inputs
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|input| input.get("value").unwrap_or(input).as_str())
        .map(str::to_owned)
        .collect();
    let choice = match text("judgmentStatus").as_deref() {
        Some("continue") => Some(Choice::Continue),
        Some(_) => Some(Choice::Stop),
        None => None,
    };
    Ok(Approval {
        run: read("run", field("run"))?,
        stage: read("stage", field("stage"))?,
        instructions: instructions
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        options,
        asked_at: item.get("askedAt").and_then(Value::as_i64).unwrap_or(0),
        decision: choice.map(|choice| Decision {
            choice,
            input: text("judgmentInput"),
            by: text("decidedBy").unwrap_or_default(),
            at: item.get("decidedAt").and_then(Value::as_i64).unwrap_or(0),
        }),
    })
}

impl Store {
    /// The question that a stage asked in a run, with its answer if there is one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn approval(&self, run: &Run, stage: &str) -> Result<Option<Approval>, CloudError> {
        self.table
            .get(&Key::approval(&approval_id(run, stage)))
            .await?
            .map(|item| approval_of(&item))
            .transpose()
    }

    /// Records an answer, if nobody answered before. The same decision again (its answer may have been lost) counts.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn decide_approval(
        &self,
        run: &Run,
        stage: &str,
        decision: &Decision,
    ) -> Result<DecideAnswer, CloudError> {
        let Some(asked) = self.approval(run, stage).await? else {
            return Ok(DecideAnswer::NotAsked);
        };
        if asked.decision.is_none() {
            let mut set = object(json!({
                "status": "DECIDED",
                "judgmentStatus": decision.choice,
                "decidedBy": decision.by,
                "decidedAt": decision.at,
            }));
            if let Some(input) = &decision.input {
                set.insert("judgmentInput".to_owned(), input.as_str().into());
            }
            let write = Write::set(Key::approval(&approval_id(run, stage)), set)
                .only_if(Condition::equals("status", "PENDING"));
            if held(self.table.write(write).await)? {
                return Ok(DecideAnswer::Decided);
            }
        }
        let known = self
            .approval(run, stage)
            .await?
            .and_then(|known| known.decision);
        Ok(match known {
            Some(known) if known == *decision => DecideAnswer::Decided,
            Some(known) => DecideAnswer::Already(known),
            None => DecideAnswer::NotAsked,
        })
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
