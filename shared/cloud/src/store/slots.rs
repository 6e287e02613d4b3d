//! Concurrency: the slots of a pipeline, and who waits for one.
//!
//! `PIPELINE#<id>`, `SLOTS` names the executions that run; `PIPELINE#<id>`, `QUEUE#<time>#<execution>` is one that
//! waits. An execution that is queued has status `NOT_STARTED`, and its record, its place in the queue and its slot
//! only ever change in one transaction.

use gennaker_domain::{Ending, Execution, ExecutionId, Status};
use serde_json::{Value, json};

use super::approvals::skip_key;
use super::{RUNNING, Store, execution_item, held, object, read, text};
use crate::{CloudError, Condition, Index, Key, Write};

/// Who has a slot now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Executions that have one.
    pub holders: Vec<ExecutionId>,
    /// Grows with every change; 0 if there was none.
    pub version: u64,
}

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The execution.
    pub execution: ExecutionId,
    /// When it was asked for, UTC milliseconds.
    pub at: i64,
}

fn slots_key(pipeline_id: &str) -> Key {
    Key::new(format!("PIPELINE#{pipeline_id}"), "SLOTS")
}

pub(super) fn queue_key(pipeline_id: &str, queued: &Queued) -> Key {
    Key::new(
        format!("PIPELINE#{pipeline_id}"),
        // Zeros in front, so that the order of the keys is that of the times (13 digits until the year 2286).
        format!("QUEUE#{:015}#{}", queued.at.max(0), queued.execution),
    )
}

impl Store {
    /// Who has a slot of the pipeline.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn slots(&self, pipeline_id: &str) -> Result<Slots, CloudError> {
        let Some(item) = self.table.get(&slots_key(pipeline_id)).await? else {
            return Ok(Slots::default());
        };
        let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
        Ok(Slots {
            holders: read("holders", field("holders"))?,
            version: read("version", field("version"))?,
        })
    }

    /// Who waits for a slot of the pipeline, oldest first.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn queue(&self, pipeline_id: &str) -> Result<Vec<Queued>, CloudError> {
        let items = self
            .table
            .query(&format!("PIPELINE#{pipeline_id}"), "QUEUE#")
            .await?;
        items
            .iter()
            .map(|item| {
                let field = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
                Ok(Queued {
                    execution: read("execution", field("execution"))?,
                    at: read("at", field("at"))?,
                })
            })
            .collect()
    }

    /// Creates an execution that waits for a slot, with what started it and its place in the queue. False if the
    /// execution is there already.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn create_queued(
        &self,
        execution: &Execution,
        trigger: &Value,
    ) -> Result<bool, CloudError> {
        let queued = Queued {
            execution: execution.id.clone(),
            at: execution.build_time,
        };
        let writes = vec![
            Write::put(Key::execution(&execution.id), execution_item(execution)?)
                .only_if(Condition::no_item()),
            Write::put(
                Key::trigger(&execution.id),
                object(json!({ "trigger": text(trigger)? })),
            ),
            Write::put(
                queue_key(&execution.pipeline_id, &queued),
                object(json!({ "execution": queued.execution, "at": queued.at })),
            ),
        ];
        held(self.table.transact(writes).await)
    }

    /// Gives executions' slots back, and the first slot to a queued execution if `next` names one: it is then RUNNING
    /// in its next run. All or nothing; false if anything changed since `slots` was read.
    ///
    /// # Errors
    /// Those of the table.
    pub(crate) async fn change_slots(
        &self,
        pipeline_id: &str,
        slots: &Slots,
        give_back: &[ExecutionId],
        next: Option<(&Queued, &Execution, i64)>,
    ) -> Result<bool, CloudError> {
        let mut holders: Vec<ExecutionId> = slots
            .holders
            .iter()
            .filter(|holder| !give_back.contains(holder))
            .cloned()
            .collect();
        if let Some((queued, _, _)) = next
            && !holders.contains(&queued.execution)
        {
            holders.push(queued.execution.clone());
        }
        let unchanged = if slots.version == 0 {
            Condition::no_item()
        } else {
            Condition::equals("version", slots.version)
        };
        let mut writes = vec![
            Write::put(
                slots_key(pipeline_id),
                object(json!({ "holders": holders, "version": slots.version.saturating_add(1) })),
            )
            .only_if(unchanged),
        ];
        if let Some((queued, execution, now)) = next {
            let started = Execution {
                status: Status::Running,
                run: execution.run.saturating_add(1),
                start_time: execution.start_time.or(Some(now)),
                ..execution.clone()
            };
            writes.push(Write::delete(queue_key(pipeline_id, queued)));
            writes.push(
                Write::put(Key::execution(&execution.id), execution_item(&started)?)
                    .only_if(Condition::equals("status", Status::NotStarted.as_str()))
                    .only_if(Condition::equals("run", execution.run)),
            );
        }
        held(self.table.transact(writes).await)
    }

    /// Takes somebody who waits no more out of the queue. An absent one is fine.
    ///
    /// # Errors
    /// Those of the table.
    pub(crate) async fn leave_queue(
        &self,
        pipeline_id: &str,
        queued: &Queued,
    ) -> Result<(), CloudError> {
        self.table
            .write(Write::delete(queue_key(pipeline_id, queued)))
            .await
    }

    /// Cancels an execution that waits: it ends without having run. False if it waits no more.
    ///
    /// With `keeps_place` it stays in the queue until the next slot is given away: it still supersedes those that are
    /// older, and is superseded by a newer one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn cancel_queued(
        &self,
        execution: &Execution,
        queued: &Queued,
        ending: &Ending,
        keeps_place: bool,
    ) -> Result<bool, CloudError> {
        let ended = Execution {
            status: Status::Canceled,
            ending: Some(ending.clone()),
            end_time: Some(ending.at),
            ..execution.clone()
        };
        let mut item = execution_item(&ended)?;
        // Somebody may wait for its end, or hear it: see `Store::followed_up`.
        item.insert(Index::Running.attribute().to_owned(), RUNNING.into());
        let mut writes = vec![
            Write::put(Key::execution(&execution.id), item)
                .only_if(Condition::equals("status", Status::NotStarted.as_str()))
                .only_if(Condition::equals("run", execution.run)),
        ];
        if !keeps_place {
            writes.push(Write::delete(queue_key(&execution.pipeline_id, queued)));
        }
        held(self.table.transact(writes).await)
    }

    /// Gives an execution that was cancelled while it waited the reason of one that a newer one superseded, and takes
    /// it out of the queue. Who cancelled it, and when, stays. False if it began anew.
    ///
    /// # Errors
    /// Those of the table.
    pub(crate) async fn supersede_canceled(
        &self,
        execution: &Execution,
        queued: &Queued,
        ending: &Ending,
    ) -> Result<bool, CloudError> {
        let writes = vec![
            Write::set(
                Key::execution(&execution.id),
                object(json!({ "ending": ending })),
            )
            .only_if(Condition::equals("status", Status::Canceled.as_str()))
            .only_if(Condition::equals("run", execution.run)),
            Write::delete(queue_key(&execution.pipeline_id, queued)),
        ];
        held(self.table.transact(writes).await)
    }

    /// Begins an ended execution anew, or a running one beside what runs: removes the records of `stages` and makes it RUNNING in its next run, or puts
    /// it into the queue of its pipeline. False if it has not ended, or began anew since it was read.
    ///
    /// Records beyond what one transaction takes are removed before it; a call that died in between is repeated.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn restart_execution(
        &self,
        execution: &Execution,
        stages: &[String],
        queue: bool,
        now: i64,
    ) -> Result<bool, CloudError> {
        // 100 writes make a transaction; two are the record and the place in the queue, and each stage takes two.
        const TOGETHER: usize = 49;
        let split = stages.len().saturating_sub(TOGETHER);
        let (first, last) = stages.split_at(split);
        for stage in first {
            self.reset_stage(&execution.id, stage).await?;
            self.table
                .write(Write::delete(skip_key(&execution.id, stage)))
                .await?;
        }
        let mut again = Execution {
            ending: None,
            end_time: None,
            paused: false,
            canceled: false,
            ..execution.clone()
        };
        if queue {
            again.status = Status::NotStarted;
        } else {
            again.status = Status::Running;
            again.run = execution.run.saturating_add(1);
        }
        let mut meta = Write::put(Key::execution(&execution.id), execution_item(&again)?)
            .only_if(Condition::equals("status", execution.status.as_str()))
            .only_if(Condition::equals("run", execution.run));
        if !execution.status.is_complete() {
            // Whoever ends it meanwhile is heard.
            meta = meta.only_if(Condition::Absent("ending".to_owned()));
        }
        let mut writes = vec![meta];
        for stage in last {
            writes.push(Write::delete(Key::stage(&execution.id, stage)));
            writes.push(Write::delete(skip_key(&execution.id, stage)));
        }
        if queue {
            let queued = Queued {
                execution: execution.id.clone(),
                at: now,
            };
            writes.push(Write::put(
                queue_key(&execution.pipeline_id, &queued),
                object(json!({ "execution": queued.execution, "at": queued.at })),
            ));
        }
        held(self.table.transact(writes).await)
    }
}
