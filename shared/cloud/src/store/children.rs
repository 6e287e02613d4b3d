//! Executions that start or wait for other executions.
//!
//! `EXEC#<id>`, `WATCH#<run>#<refId>` is a stage of another execution that waits for the end of this one: whoever ends it
//! calls the stage's function, which looks for itself.

use gennaker_domain::{Execution, ExecutionId, Run, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{RUNNING, Store, execution_item, held, object, read, text};
use crate::store::slots::{Queued, queue_key};
use crate::{CloudError, Condition, Index, Key, Write};

/// A stage that waits for the end of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watcher {
    /// The stage's run.
    pub run: Run,
    /// Its `refId`.
    pub stage: String,
    /// Its function, such as `pipeline`.
    pub function: String,
}

/// Answer of [`Store::create_child`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildAnswer {
    /// Created now.
    Created,
    /// It is there already.
    Known,
    /// The parent is ending or on another run: nothing new may begin.
    ParentEnding,
}

impl Store {
    /// Has the end of an execution told to a stage of another one. A second call changes nothing.
    ///
    /// The execution need not be there yet. Look at it *after* this call: an end before is told to nobody.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn watch(&self, id: &ExecutionId, watcher: &Watcher) -> Result<(), CloudError> {
        let key = Key::new(
            Key::execution_partition(id),
            format!("WATCH#{}#{}", watcher.run, watcher.stage),
        );
        self.table
            .write(Write::put(key, object(json!(watcher))))
            .await
    }

    /// The stages that wait for the end of an execution, or did.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn watchers(&self, id: &ExecutionId) -> Result<Vec<Watcher>, CloudError> {
        let items = self
            .table
            .query(&Key::execution_partition(id), "WATCH#")
            .await?;
        items
            .into_iter()
            .map(|item| read("watcher", Value::Object(item)))
            .collect()
    }

    /// Creates the child of a stage, with what started it and, if it is to wait for a slot, its place in the queue, in one
    /// transaction with the fence of its parent: the run is the current one and nobody has set `ending`. Without a
    /// fence nothing is asked of the parent.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn create_child(
        &self,
        execution: &Execution,
        trigger: &Value,
        fence: Option<&Run>,
    ) -> Result<ChildAnswer, CloudError> {
        let mut item = execution_item(execution)?;
        if execution.status.is_complete() {
            // It failed before it began; whoever waits for it is told like of every other end.
            item.insert(Index::Running.attribute().to_owned(), RUNNING.into());
        }
        let mut writes = vec![
            Write::put(Key::execution(&execution.id), item).only_if(Condition::no_item()),
            Write::put(
                Key::trigger(&execution.id),
                object(json!({ "trigger": text(trigger)? })),
            ),
        ];
        if execution.status == Status::NotStarted {
            let queued = Queued {
                execution: execution.id.clone(),
                at: execution.build_time,
            };
            writes.push(Write::put(
                queue_key(&execution.pipeline_id, &queued),
                object(json!({ "execution": queued.execution, "at": queued.at })),
            ));
        }
        if let Some(parent) = fence {
            writes.push(
                Write::check(Key::execution(&parent.execution))
                    .only_if(Condition::equals("run", parent.number))
                    .only_if(Condition::Absent("ending".to_owned())),
            );
        }
        match self.table.transact(writes).await {
            Ok(()) => Ok(ChildAnswer::Created),
            Err(CloudError::ConditionFailed { .. }) => {
                Ok(match self.execution(&execution.id).await? {
                    Some(_) => ChildAnswer::Known,
                    None => ChildAnswer::ParentEnding,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Has a stage wait, in its next run, for a child that is there already (`EXEC#<id>`, `CHILD#<refId>`).
    ///
    /// # Errors
    /// Those of the table.
    pub async fn adopt(
        &self,
        run: &Run,
        ref_id: &str,
        child: &ExecutionId,
    ) -> Result<(), CloudError> {
        let item = object(json!({ "run": run.number, "execution": child }));
        self.table
            .write(Write::put(child_key(run, ref_id), item))
            .await
    }

    /// The child that a stage has to wait for in this run instead of starting one.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn adopted(
        &self,
        run: &Run,
        ref_id: &str,
    ) -> Result<Option<ExecutionId>, CloudError> {
        let item = self.table.get(&child_key(run, ref_id)).await?;
        let Some(item) = item.filter(|item| item.get("run") == Some(&run.number.into())) else {
            return Ok(None);
        };
        let id = item.get("execution").cloned().unwrap_or(Value::Null);
        read("execution", id).map(Some)
    }

    /// Notes that an ended execution's end was told to everybody: it leaves the index that the sweep reads.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn followed_up(&self, execution: &Execution) -> Result<(), CloudError> {
        let write = Write::set(Key::execution(&execution.id), serde_json::Map::new())
            .removing(Index::Running.attribute())
            .only_if(Condition::equals("status", execution.status.as_str()))
            .only_if(Condition::equals("run", execution.run));
        held(self.table.write(write).await).map(|_| ())
    }
}

fn child_key(run: &Run, ref_id: &str) -> Key {
    Key::new(
        Key::execution_partition(&run.execution),
        format!("CHILD#{ref_id}"),
    )
}
