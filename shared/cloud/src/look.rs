//! A call that only looks: it may read what is a few seconds old, and can change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::table::{Index, Item, Table, Write};
use crate::{CloudError, Key, Store};

/// How one call of a stage sees the world.
#[derive(Clone, Debug)]
pub struct Look {
    call: u64,
    since: i64,
    made: i64,
    /// None for a call that acts; else whether it tried to change something.
    refused: Option<Arc<AtomicBool>>,
}

impl Look {
    /// A call that acts: it sees what it has read itself, and nothing older. `call` is a number that no other call of
    /// this process has; `since` is when the stage looked last, UTC milliseconds: whatever is as old tells it nothing.
    /// `made` is until when others may have made what this call must not miss: a list that is as old may lack it.
    #[must_use]
    pub fn acting(call: u64, since: i64, made: i64) -> Self {
        Self {
            call,
            since,
            made,
            refused: None,
        }
    }

    /// The same call, at first only looking.
    #[must_use]
    pub fn glance(&self) -> Self {
        Self {
            refused: Some(Arc::default()),
            ..*self
        }
    }

    /// The number of the call.
    #[must_use]
    pub fn call(&self) -> u64 {
        self.call
    }

    /// When the stage looked last.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Until when others may have made what this call must not miss.
    #[must_use]
    pub fn made(&self) -> i64 {
        self.made
    }

    /// Whether the call only looks.
    #[must_use]
    pub fn is_glance(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether the call only looks and tried to change something: what it answers counts for nothing then, even where
    /// it went on after the refusal.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.refused
            .as_ref()
            .is_some_and(|refused| refused.load(Ordering::Relaxed))
    }

    /// Asked before anything is changed.
    ///
    /// # Errors
    /// [`CloudError::OnlyLooking`] while the call only looks.
    pub fn may_change(&self) -> Result<(), CloudError> {
        match &self.refused {
            None => Ok(()),
            Some(refused) => {
                refused.store(true, Ordering::Relaxed);
                Err(CloudError::OnlyLooking)
            }
        }
    }

    /// The store as this call may use it.
    #[must_use]
    pub fn store(&self, store: &Store) -> Store {
        store.over(|table| {
            Arc::new(LookedAt {
                table,
                look: self.clone(),
            })
        })
    }
}

/// A table that is written only by calls that act.
struct LookedAt {
    table: Arc<dyn Table>,
    look: Look,
}

#[async_trait]
impl Table for LookedAt {
    async fn get(&self, key: &Key) -> Result<Option<Item>, CloudError> {
        self.table.get(key).await
    }

    async fn query(&self, partition: &str, prefix: &str) -> Result<Vec<Item>, CloudError> {
        self.table.query(partition, prefix).await
    }

    async fn query_after(
        &self,
        partition: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        self.table.query_after(partition, after, limit).await
    }

    async fn query_index(
        &self,
        index: Index,
        partition: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        self.table.query_index(index, partition, limit).await
    }

    async fn write(&self, write: Write) -> Result<(), CloudError> {
        self.look.may_change()?;
        self.table.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CloudError> {
        self.look.may_change()?;
        self.table.transact(writes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_remembers_that_it_tried_to_change_something_and_an_act_may() {
        let act = Look::acting(7, 0, 0);
        assert!(act.may_change().is_ok());
        let glance = act.glance();
        assert!(!glance.has_refused());
        assert_eq!(
            glance.clone().may_change(),
            Err(CloudError::OnlyLooking),
            "a clone is the same glance"
        );
        assert!(glance.has_refused());
        assert!(!act.has_refused() && act.call() == glance.call());
    }
}
