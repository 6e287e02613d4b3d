//! The table in memory, with DynamoDB's semantics that matter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::{Action, CloudError, Index, Item, Key, Table, Write};
use serde_json::Value;

use crate::Faults;

/// Most writes that one DynamoDB transaction takes.
const TRANSACTION_WRITES: usize = 100;

/// A table in memory. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub struct MemoryTable {
    items: Arc<Mutex<BTreeMap<(String, String), Item>>>,
    faults: Faults,
}

impl MemoryTable {
    /// An empty table that never fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table whose calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            items: Arc::default(),
            faults,
        }
    }

    /// The same table through calls that never fail and are not counted.
    #[must_use]
    pub fn without_faults(&self) -> Self {
        Self {
            items: Arc::clone(&self.items),
            faults: Faults::none(),
        }
    }

    /// Everything that is stored, in the order of the keys.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(key: &Key) -> (String, String) {
    (key.partition.clone(), key.sort.clone())
}

fn resource(key: &Key) -> String {
    format!("{} {}", key.partition, key.sort)
}

fn with_key(key: &Key, mut item: Item) -> Item {
    item.insert("PK".to_owned(), key.partition.clone().into());
    item.insert("SK".to_owned(), key.sort.clone().into());
    item
}

fn operation(write: &Write) -> &'static str {
    match write.action {
        Action::Put(_) => "dynamodb:PutItem",
        Action::Update { .. } => "dynamodb:UpdateItem",
        Action::Delete => "dynamodb:DeleteItem",
        Action::Check => "dynamodb:ConditionCheckItem",
    }
}

fn refused(operation: &str, resource: &str, message: String) -> CloudError {
    CloudError::Refused {
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        code: "ValidationException".to_owned(),
        message,
        request_id: "memory".to_owned(),
    }
}

/// Makes one write whose conditions hold.
fn apply(items: &mut BTreeMap<(String, String), Item>, write: Write) -> Result<(), CloudError> {
    let at = key_of(&write.key);
    match write.action {
        Action::Put(item) => {
            items.insert(at, with_key(&write.key, item));
        }
        Action::Update { set, remove, add } => {
            let item = items
                .entry(at)
                .or_insert_with(|| with_key(&write.key, Item::new()));
            for (name, value) in set {
                item.insert(name, value);
            }
            for name in remove {
                item.shift_remove(&name);
            }
            for (name, amount) in add {
                let before = match item.get(&name) {
                    None => 0,
                    Some(value) => value.as_i64().ok_or_else(|| {
                        refused(
                            "dynamodb:UpdateItem",
                            &resource(&write.key),
                            format!("`{name}` is not a number"),
                        )
                    })?,
                };
                item.insert(name, Value::from(before.saturating_add(amount)));
            }
        }
        Action::Delete => {
            items.remove(&at);
        }
        Action::Check => {}
    }
    Ok(())
}

/// All of the writes or, if a condition does not hold or one of them cannot be made, none.
fn write_all(
    items: &mut BTreeMap<(String, String), Item>,
    writes: Vec<Write>,
) -> Result<(), CloudError> {
    for (position, write) in writes.iter().enumerate() {
        let stored = items.get(&key_of(&write.key));
        if !write
            .conditions
            .iter()
            .all(|condition| condition.holds(stored))
        {
            return Err(CloudError::ConditionFailed { position });
        }
    }
    // Nothing is made if one of them cannot be made.
    for write in &writes {
        if let Action::Update { add, .. } = &write.action {
            let stored = items.get(&key_of(&write.key));
            let wrong = add.iter().find(|(name, _)| {
                stored
                    .and_then(|item| item.get(name))
                    .is_some_and(|value| value.as_i64().is_none())
            });
            if let Some((name, _)) = wrong {
                let message = format!("`{name}` is not a number");
                let resource = resource(&write.key);
                return Err(refused("dynamodb:UpdateItem", &resource, message));
            }
        }
    }
    for write in writes {
        apply(items, write)?;
    }
    Ok(())
}

#[async_trait]
impl Table for MemoryTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, CloudError> {
        let call = self.faults.before("dynamodb:GetItem", &resource(key))?;
        let item = self.lock().get(&key_of(key)).cloned();
        self.faults
            .after(call, "dynamodb:GetItem", &resource(key))?;
        Ok(item)
    }

    async fn query(&self, partition: &str, prefix: &str) -> Result<Vec<Item>, CloudError> {
        let call = self.faults.before("dynamodb:Query", partition)?;
        let items = self
            .lock()
            .range((partition.to_owned(), prefix.to_owned())..)
            .take_while(|((pk, sk), _)| pk == partition && sk.starts_with(prefix))
            .map(|(_, item)| item.clone())
            .collect();
        self.faults.after(call, "dynamodb:Query", partition)?;
        Ok(items)
    }

    async fn query_after(
        &self,
        partition: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        let call = self.faults.before("dynamodb:Query", partition)?;
        let items = self
            .lock()
            .range((partition.to_owned(), after.to_owned())..)
            .skip_while(|((_, sk), _)| sk == after)
            .take_while(|((pk, _), _)| pk == partition)
            .take(limit)
            .map(|(_, item)| item.clone())
            .collect();
        self.faults.after(call, "dynamodb:Query", partition)?;
        Ok(items)
    }

    async fn query_index(
        &self,
        index: Index,
        partition: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError> {
        let call = self.faults.before("dynamodb:Query", partition)?;
        // Sparse: an item without both of the index's keys is not in it.
        let mut found: Vec<(i64, Item)> = self
            .lock()
            .values()
            .filter(|item| item.get(index.attribute()).and_then(Value::as_str) == Some(partition))
            .filter_map(|item| Some((item.get("timeKey")?.as_i64()?, item.clone())))
            .collect();
        found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        self.faults.after(call, "dynamodb:Query", partition)?;
        Ok(found
            .into_iter()
            .take(limit)
            .map(|(_, item)| item)
            .collect())
    }

    async fn write(&self, write: Write) -> Result<(), CloudError> {
        let operation = operation(&write);
        let resource = resource(&write.key);
        let call = self.faults.before(operation, &resource)?;
        let answer = write_all(&mut self.lock(), vec![write]);
        // An answer that says no can be lost too.
        self.faults.after(call, operation, &resource)?;
        answer
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CloudError> {
        const OPERATION: &str = "dynamodb:TransactWriteItems";
        let resource = writes
            .last()
            .map_or_else(String::new, |write| resource(&write.key));
        let call = self.faults.before(OPERATION, &resource)?;
        if writes.is_empty() || writes.len() > TRANSACTION_WRITES {
            let message = format!("1 to {TRANSACTION_WRITES} writes, not {}", writes.len());
            return Err(refused(OPERATION, &resource, message));
        }
        for (n, write) in writes.iter().enumerate() {
            if writes.iter().take(n).any(|other| other.key == write.key) {
                let message = "one item twice in a transaction".to_owned();
                return Err(refused(OPERATION, &resource, message));
            }
        }
        let answer = write_all(&mut self.lock(), writes);
        self.faults.after(call, OPERATION, &resource)?;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Moment};
    use gennaker_cloud::Condition;
    use serde_json::json;

    fn item(value: Value) -> Item {
        value.as_object().cloned().unwrap()
    }

    #[tokio::test]
    async fn a_transaction_whose_last_condition_fails_changes_nothing() {
        let table = MemoryTable::new();
        let (one, two) = (Key::new("A", "1"), Key::new("A", "2"));
        table
            .write(Write::put(two.clone(), item(json!({"n": 1}))))
            .await
            .unwrap();
        let answer = table
            .transact(vec![
                Write::put(one.clone(), item(json!({"n": 1}))),
                Write::put(two, item(json!({"n": 2}))).only_if(Condition::no_item()),
            ])
            .await;
        assert_eq!(answer, Err(CloudError::ConditionFailed { position: 1 }));
        assert_eq!(table.get(&one).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_update_sets_removes_and_adds() {
        let table = MemoryTable::new();
        let key = Key::new("A", "1");
        let update = Write::set(key.clone(), item(json!({"a": 1})))
            .removing("b")
            .adding("n", 2);
        table
            .write(Write::put(key.clone(), item(json!({"b": 1, "n": 1}))))
            .await
            .unwrap();
        table.write(update).await.unwrap();
        let stored = table.get(&key).await.unwrap().unwrap();
        assert_eq!(stored.get("a"), Some(&json!(1)));
        assert_eq!(stored.get("b"), None);
        assert_eq!(stored.get("n"), Some(&json!(3)));
    }

    #[tokio::test]
    async fn an_index_has_only_items_with_its_keys_newest_first() {
        let table = MemoryTable::new();
        for (sort, time) in [("1", 10), ("2", 30), ("3", 20)] {
            let attributes = item(json!({"runningKey": "RUNNING", "timeKey": time}));
            table
                .write(Write::put(Key::new("E", sort), attributes))
                .await
                .unwrap();
        }
        table
            .write(Write::put(Key::new("E", "4"), item(json!({"timeKey": 40}))))
            .await
            .unwrap();
        let found = table
            .query_index(Index::Running, "RUNNING", 2)
            .await
            .unwrap();
        let times: Vec<i64> = found
            .iter()
            .filter_map(|item| item.get("timeKey")?.as_i64())
            .collect();
        assert_eq!(times, [30, 20]);
    }

    #[tokio::test]
    async fn a_fault_after_the_call_loses_the_answer_and_not_the_write() {
        let faults = Faults::none();
        let table = MemoryTable::with_faults(faults.clone());
        faults.plan(0, Moment::After, Fault::Crash);
        let key = Key::new("A", "1");
        let answer = table.write(Write::put(key.clone(), Item::new())).await;
        assert!(matches!(answer, Err(CloudError::NoAnswer { .. })));
        // The process is dead: nothing works until it is started again.
        assert!(table.get(&key).await.is_err());
        faults.revive();
        assert!(table.get(&key).await.unwrap().is_some());
        assert_eq!(faults.struck(), 1);
    }
}
