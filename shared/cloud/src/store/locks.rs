//! Locks of clusters: `LOCK#<account>/<region>/<cluster>`, and beside each one `EXEC#<id>`, `LOCK#…`, by which its
//! execution finds it again.
//!
//! What a lock means, and how long it holds, is decided by `gennaker_domain::deployment::cluster_lock`.

use gennaker_domain::deployment::cluster_lock::{ClusterLock, LockedCluster};
use gennaker_domain::{ExecutionId, Run};
use serde_json::{Value, json};

use super::{Store, held, object, read};
use crate::{CloudError, Condition, Item, Key, Write};

/// Answer of [`Store::take_lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// It is the execution's.
    Taken,
    /// Somebody else wrote it meanwhile: look again.
    Changed,
    /// The execution is ending or on another run: nothing new may begin.
    Ending,
}

const PREFIX: &str = "LOCK#";

fn lock_key(name: &str) -> Key {
    Key::new(format!("{PREFIX}{name}"), "META")
}

fn entry_key(id: &ExecutionId, name: &str) -> Key {
    Key::new(Key::execution_partition(id), format!("{PREFIX}{name}"))
}

impl Store {
    /// The lock of a cluster, whether it still holds or not.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn lock(&self, cluster: &LockedCluster) -> Result<Option<ClusterLock>, CloudError> {
        self.table
            .get(&lock_key(&cluster.to_string()))
            .await?
            .map(|item| read("lock of a cluster", Value::Object(item)))
            .transpose()
    }

    /// Writes a lock in place of `before`, as it was read, in one transaction with the fence of its execution: `run` is
    /// the current one and nobody has set `ending`.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn take_lock(
        &self,
        run: &Run,
        cluster: &LockedCluster,
        before: Option<&ClusterLock>,
        lock: &ClusterLock,
    ) -> Result<LockAnswer, CloudError> {
        let name = cluster.to_string();
        let fence = Write::check(Key::execution(&run.execution))
            .only_if(Condition::equals("run", run.number))
            .only_if(Condition::Absent("ending".to_owned()));
        let mut put = Write::put(lock_key(&name), object(json!(lock)));
        put.conditions = match before {
            None => vec![Condition::no_item()],
            // The version alone begins anew with each holder.
            Some(before) => vec![
                Condition::equals("execution", before.execution.as_str()),
                Condition::equals("since", before.since),
                Condition::equals("version", before.version),
            ],
        };
        let entry = Write::put(entry_key(&run.execution, &name), Item::new());
        match self.table.transact(vec![fence, put, entry]).await {
            Ok(()) => Ok(LockAnswer::Taken),
            Err(CloudError::ConditionFailed { .. }) => {
                let execution = self.execution(&run.execution).await?;
                let goes_on = execution.is_some_and(|execution| {
                    execution.run == run.number && execution.ending.is_none()
                });
                Ok(if goes_on {
                    LockAnswer::Changed
                } else {
                    LockAnswer::Ending
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The clusters that an execution locked, as `account/region/cluster`, whether the locks still hold or not.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn locked_by(&self, id: &ExecutionId) -> Result<Vec<String>, CloudError> {
        let items = self
            .table
            .query(&Key::execution_partition(id), PREFIX)
            .await?;
        Ok(items
            .iter()
            .filter_map(|item| item.get("SK")?.as_str()?.strip_prefix(PREFIX))
            .map(str::to_owned)
            .collect())
    }

    /// Of the clusters that an execution locked, those that nobody has taken over since.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn locks_of(&self, id: &ExecutionId) -> Result<Vec<String>, CloudError> {
        let mut own = Vec::new();
        for name in self.locked_by(id).await? {
            let item = self.table.get(&lock_key(&name)).await?;
            let holder = item.and_then(|item| Some(item.get("execution")?.as_str()?.to_owned()));
            if holder.as_deref() == Some(id.as_str()) {
                own.push(name);
            }
        }
        Ok(own)
    }

    /// Gives back every lock of an execution; those that another one has taken over stay. Again is the same.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn release_locks(&self, id: &ExecutionId) -> Result<(), CloudError> {
        for name in self.locked_by(id).await? {
            let own =
                Write::delete(lock_key(&name)).only_if(Condition::equals("execution", id.as_str()));
            held(self.table.write(own).await)?;
            // Last: until it is gone, a retry finds the lock again.
            self.table
                .write(Write::delete(entry_key(id, &name)))
                .await?;
        }
        Ok(())
    }
}
