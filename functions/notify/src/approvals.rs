//! Approvals: who is asked, what the question looks like, and that it asks no more once it is decided, superseded or left
//! open by an execution that ended.

use gennaker_cloud::store::approvals::approval_id;
use gennaker_cloud::{CloudError, Key, Store, Write};
use gennaker_domain::approval::Approval;
use gennaker_domain::{Execution, Status};
use gennaker_lambda::FunctionError;
use gennaker_messages::Announcement;
use gennaker_messages::approval::{Standing, announcement};
use serde_json::{Value, json};

use crate::channel::{ChannelError, Posted};
use crate::message::Message;
use crate::{Notify, Situation};

/// The occasion that asks; the others say what became of it.
const ASKS: &str = "manualJudgment";

/// The stage that asks.
const JUDGMENT: &str = "manualJudgment";

/// Runs before this one whose messages are looked for.
const EARLIER_RUNS: u32 = 20;

/// An approval that an occasion is about.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    approval: Approval,
    /// The page's address, if there is a page.
    url: Option<String>,
    /// Tells the rounds and the reminders apart.
    pub(crate) part: String,
}

/// Whether a setting of the stage wants to hear of the occasion. One without `when` is of Spinnaker's older kind, and
/// hears only that somebody is asked.
fn hears(setting: &Value, when: &str) -> bool {
    match setting.get("when") {
        None | Some(Value::Null) => when == ASKS,
        Some(_) => crate::setting::hears(setting, when),
    }
}

/// Whether nobody can answer a question of the execution any more.
fn is_over(execution: &Execution) -> bool {
    execution.status.is_complete() || execution.ending.is_some()
}

impl Asked {
    /// The settings that want to hear of the occasion: the stage's own, resolved when it asked, and the installation's
    /// topic for whoever is asked.
    pub(crate) fn settings(&self, when: &str, topic: Option<&str>) -> Vec<Value> {
        let question = &self.approval.question;
        // Orca tells what became of a judgment only where the stage has notifications of the newer kind.
        let told = when == ASKS || question.tells_outcome;
        let own = question.notifications.iter();
        let mut settings: Vec<Value> = own
            .filter(|setting| told && hears(setting, when))
            .cloned()
            .collect();
        if let Some(topic) = topic.filter(|_| when == ASKS) {
            settings.push(json!({ "type": "sns", "address": topic }));
        }
        settings
    }

    /// The message with what the approval says: the page is where it leads, and Slack has buttons.
    pub(crate) fn fill(&self, mut message: Message) -> Message {
        let mut said = announcement(&self.approval, Standing::AsStored, self.url.as_deref());
        let facts = said
            .facts
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let facts = facts.collect::<Vec<_>>().join("\n");
        let plain: Vec<String> = message
            .text
            .iter()
            .chain(&said.text)
            .cloned()
            .chain([facts])
            .collect();
        if let Some(own) = message.text.take() {
            said.text.insert(0, own);
        }
        message.text = Some(plain.join("\n\n"));
        message.link = said.link.as_ref().map(|link| link.url.clone());
        message.ask = Some(said);
        message
    }
}

impl Notify {
    /// The approval that an event is about, if the event is not late. Messages that ask the same before ask no more.
    ///
    /// # Errors
    /// What may pass.
    pub(crate) async fn asked(
        &self,
        event: &Value,
        id: &str,
        when: &str,
        (execution, now): (&Execution, i64),
    ) -> Result<Option<Asked>, FunctionError> {
        let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or(0);
        let Some(approval) = self.store.approval_by_id(id).await? else {
            return Ok(None);
        };
        let is_current = u64::from(approval.round) == number("round");
        if !is_current || (when == ASKS) != approval.is_pending() {
            // Another event says what is so now.
            return Ok(None);
        }
        if when == ASKS && is_over(execution) {
            // Nobody has to answer any more. What a call before this one may have posted asks no more, either.
            self.close(&approval, execution, now).await?;
            return Ok(None);
        }
        if when == ASKS {
            self.supersede(&approval, now).await?;
        } else {
            let said = announcement(&approval, Standing::AsStored, None);
            self.replace(&approval.id, "", &said, now).await?;
        }
        let public_url = self.channels.settings.public_url.as_deref();
        let url = public_url.map(|url| {
            let url = url.trim_end_matches('/');
            format!("{url}/approvals/{}", approval.reference())
        });
        Ok(Some(Asked {
            part: format!("{}/{}", approval.round, number("reminder")),
            url,
            approval,
        }))
    }

    /// The questions that were left open when the execution ended ask no more.
    ///
    /// # Errors
    /// What may pass.
    pub(crate) async fn close_questions(
        &self,
        situation: &Situation,
        now: i64,
    ) -> Result<(), FunctionError> {
        let execution = &situation.execution;
        let judgments = situation.plan.stages.iter();
        for stage in judgments.filter(|stage| stage.stage_type == JUDGMENT) {
            let Some(record) = situation.records.get(&stage.ref_id) else {
                continue;
            };
            let number = if record.run == 0 {
                execution.run
            } else {
                record.run
            };
            let id = approval_id(&execution.id.run(number), &stage.ref_id);
            if let Some(approval) = self.store.approval_by_id(&id).await? {
                self.close(&approval, execution, now).await?;
            }
        }
        Ok(())
    }

    /// What was posted in the meantime of an execution that ended in the meantime asks no more: whoever ended it may have
    /// looked before it was noted.
    ///
    /// # Errors
    /// What may pass.
    pub(crate) async fn close_late(&self, asked: &Asked, now: i64) -> Result<(), FunctionError> {
        let id = &asked.approval.question.run.execution;
        match self.store.execution(id).await? {
            Some(execution) if is_over(&execution) => {
                self.close(&asked.approval, &execution, now).await
            }
            _ => Ok(()),
        }
    }

    async fn close(
        &self,
        approval: &Approval,
        execution: &Execution,
        now: i64,
    ) -> Result<(), FunctionError> {
        if !approval.is_pending() {
            return Ok(());
        }
        let ended = execution.ending.as_ref().map(|ending| ending.status);
        let standing = match ended.unwrap_or(execution.status) {
            Status::Canceled => Standing::Canceled,
            _ => Standing::Over,
        };
        let said = announcement(approval, standing, None);
        self.replace(&approval.id, "", &said, now).await
    }

    /// The messages of earlier rounds, and of earlier runs of the same stage, ask no more.
    async fn supersede(&self, approval: &Approval, now: i64) -> Result<(), FunctionError> {
        for round in 1..approval.round {
            let said = announcement(approval, Standing::Superseded, None);
            self.replace(&approval.id, &format!("{round}/"), &said, now)
                .await?;
        }
        let question = &approval.question;
        let first = question.run.number.saturating_sub(EARLIER_RUNS).max(1);
        for number in first..question.run.number {
            let run = question.run.execution.run(number);
            let id = approval_id(&run, &question.stage);
            if let Some(earlier) = self.store.approval_by_id(&id).await?
                && earlier.is_pending()
            {
                let said = announcement(&earlier, Standing::Superseded, None);
                self.replace(&id, "", &said, now).await?;
            }
        }
        Ok(())
    }

    /// Replaces what was posted, where the channel can. Doing it again changes nothing.
    async fn replace(
        &self,
        id: &str,
        part: &str,
        said: &Announcement,
        now: i64,
    ) -> Result<(), FunctionError> {
        let key = Key::approval_message(id, part);
        let items = self.store.table().query(&key.partition, &key.sort).await?;
        for item in items {
            let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
            let (Some(channel), Some(ts)) = (text("channel"), text("ts")) else {
                continue;
            };
            match self
                .channels
                .replace(&Posted { channel, ts }, said, now)
                .await
            {
                Ok(()) => {}
                Err(ChannelError::Passing(message)) => {
                    let operation = "notify".to_owned();
                    return Err(CloudError::Throttled { operation, message }.into());
                }
                Err(error) => {
                    tracing::error!(reason = %error, "a message could not be replaced");
                }
            }
        }
        Ok(())
    }
}

/// Notes where a message was posted, to replace it later.
///
/// # Errors
/// Those of the table.
pub(crate) async fn note(store: &Store, asked: &Asked, posted: &Posted) -> Result<(), CloudError> {
    let name = format!("{}/{}/{}", asked.part, posted.channel, posted.ts);
    let item = json!({ "channel": posted.channel, "ts": posted.ts });
    let item = item.as_object().cloned().unwrap_or_default();
    let key = Key::approval_message(&asked.approval.id, &name);
    store.table().write(Write::put(key, item)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_without_when_hears_only_that_somebody_is_asked() {
        let old = json!({"type": "slack", "address": "#a"});
        assert!(hears(&old, ASKS) && !hears(&old, "manualJudgmentStop"));
        let new = json!({"when": ["manualJudgmentStop"]});
        assert!(!hears(&new, ASKS) && hears(&new, "manualJudgmentStop"));
    }
}
