//! What people are asked and what they answered: approvals of manual judgments, and waits that are skipped.

use gennaker_domain::{ExecutionId, Run};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Store, from_text, held, object, read, text};
use crate::{CloudError, Condition, Item, Key, Write};

/// A question to people (`APPROVAL#<id>`, `META`): PENDING until `decision` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Run that asks.
    pub run: Run,
    /// `refId` of the manual judgment.
    pub stage: String,
    /// What people read.
    #[serde(default)]
    pub instructions: String,
    /// Inputs to choose from; empty if any or none will do.
    #[serde(default)]
    pub options: Vec<String>,
    /// When it was asked, UTC milliseconds.
    pub asked_at: i64,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

fn approval_item(approval: &Approval) -> Result<Item, CloudError> {
    Ok(object(json!({
        "status": if approval.decision.is_some() { "DECIDED" } else { "PENDING" },
        "approval": text(approval)?,
    })))
}

fn approval_of(item: &Item) -> Result<Approval, CloudError> {
    from_text(item, "approval")?.ok_or_else(|| CloudError::Unreadable {
        what: "approval".to_owned(),
        message: "no attribute `approval`".to_owned(),
    })
}

impl Store {
    /// Keeps a question before the first message about it goes out. False if it was asked before: ask only once.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn ask_approval(&self, approval: &Approval) -> Result<bool, CloudError> {
        let key = Key::approval(&approval_id(&approval.run, &approval.stage));
        let write = Write::put(key, approval_item(approval)?).only_if(Condition::no_item());
        held(self.table.write(write).await)
    }

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
            let decided = Approval {
                decision: Some(decision.clone()),
                ..asked
            };
            let write = Write::put(
                Key::approval(&approval_id(run, stage)),
                approval_item(&decided)?,
            )
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

    /// Asks a waiting stage to wait no more (`EXEC#<id>`, `SKIP#<refId>`). A second call changes nothing.
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
        let write = Write::put(
            skip_key(&run.execution, ref_id),
            object(json!({ "by": by, "at": at, "run": run.number })),
        )
        .only_if(Condition::Differs("run".to_owned(), run.number.into()));
        held(self.table.write(write).await).map(|_| ())
    }

    /// Who asked the stage to wait no more in this run, if somebody did.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn skipped_by(&self, run: &Run, ref_id: &str) -> Result<Option<String>, CloudError> {
        let Some(item) = self.table.get(&skip_key(&run.execution, ref_id)).await? else {
            return Ok(None);
        };
        if item.get("run") != Some(&run.number.into()) {
            return Ok(None);
        }
        read("by", item.get("by").cloned().unwrap_or_default())
    }
}

fn skip_key(id: &ExecutionId, ref_id: &str) -> Key {
    Key::new(Key::execution_partition(id), format!("SKIP#{ref_id}"))
}
