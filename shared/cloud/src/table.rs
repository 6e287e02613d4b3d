//! The port to the one DynamoDB table: the few calls that everything else is made of.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::{CloudError, Key};

/// Attributes of an item, its key included (`PK`, `SK`).
pub type Item = Map<String, Value>;

/// A secondary index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// `applicationKey`, `timeKey`: executions of an application by time.
    ApplicationTime,
    /// `pipelineKey`, `timeKey`: executions of a pipeline by time.
    PipelineTime,
    /// `runningKey`, `timeKey`: executions that have not ended; sparse, the attribute goes away at the end.
    Running,
}

impl Index {
    /// Name of the index.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApplicationTime => "application-time",
            Self::PipelineTime => "pipeline-time",
            Self::Running => "running",
        }
    }

    /// Attribute that is its partition key; the sort key is `timeKey` (a number) in all of them.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::ApplicationTime => "applicationKey",
            Self::PipelineTime => "pipelineKey",
            Self::Running => "runningKey",
        }
    }
}

/// One write, with what must hold for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The item.
    pub key: Key,
    /// What to do.
    pub action: Action,
    /// All of these must hold of the stored item (an absent item has no attributes).
    pub conditions: Vec<Condition>,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Replaces the whole item; the key attributes are added. (`dynamodb:PutItem`)
    Put(Item),
    /// Sets and removes attributes; makes the item if it is absent. (`dynamodb:UpdateItem`)
    Update {
        /// Attributes to set.
        set: Item,
        /// Attributes to remove.
        remove: Vec<String>,
        /// Numbers to add to (an absent attribute counts as 0).
        add: Vec<(String, i64)>,
    },
    /// Removes the item; an absent one is fine. (`dynamodb:DeleteItem`)
    Delete,
    /// Only looks at the conditions. (`dynamodb:ConditionCheckItem`)
    Check,
}

/// A condition on top-level attributes.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The attribute is not there. `Absent("PK")`: the item is not there.
    Absent(String),
    /// The attribute is there.
    Present(String),
    /// Equal.
    Equals(String, Value),
    /// There and not equal, or not there.
    Differs(String, Value),
    /// There and less than the number.
    LessThan(String, i64),
    /// There and equal to one of these.
    In(String, Vec<Value>),
    /// At least one holds.
    Any(Vec<Condition>),
}

impl Condition {
    /// The item is not there.
    #[must_use]
    pub fn no_item() -> Self {
        Self::Absent("PK".to_owned())
    }

    /// The item is there.
    #[must_use]
    pub fn item() -> Self {
        Self::Present("PK".to_owned())
    }

    /// The attribute equals the value.
    pub fn equals(attribute: &str, value: impl Into<Value>) -> Self {
        Self::Equals(attribute.to_owned(), value.into())
    }

    /// Whether it holds of an item; the reference for every table that is not DynamoDB.
    #[must_use]
    pub fn holds(&self, item: Option<&Item>) -> bool {
        let get = |name: &str| item.and_then(|item| item.get(name));
        match self {
            Self::Absent(name) => get(name).is_none(),
            Self::Present(name) => get(name).is_some(),
            Self::Equals(name, value) => get(name) == Some(value),
            Self::Differs(name, value) => get(name) != Some(value),
            Self::LessThan(name, bound) => get(name)
                .and_then(Value::as_i64)
                .is_some_and(|n| n < *bound),
            Self::In(name, values) => get(name).is_some_and(|value| values.contains(value)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(item)),
        }
    }
}

impl Write {
    /// Replaces the whole item.
    pub fn put(key: Key, item: Item) -> Self {
        Self {
            key,
            action: Action::Put(item),
            conditions: Vec::new(),
        }
    }

    /// Sets attributes.
    pub fn set(key: Key, set: Item) -> Self {
        Self {
            key,
            action: Action::Update {
                set,
                remove: Vec::new(),
                add: Vec::new(),
            },
            conditions: Vec::new(),
        }
    }

    /// Removes the item.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        Self {
            key,
            action: Action::Delete,
            conditions: Vec::new(),
        }
    }

    /// Only looks.
    #[must_use]
    pub fn check(key: Key) -> Self {
        Self {
            key,
            action: Action::Check,
            conditions: Vec::new(),
        }
    }

    /// The same write, only if the condition holds too.
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The same update, removing an attribute too. Of another kind of write: unchanged.
    #[must_use]
    pub fn removing(mut self, attribute: &str) -> Self {
        if let Action::Update { remove, .. } = &mut self.action {
            remove.push(attribute.to_owned());
        }
        self
    }

    /// The same update, adding to a number too. Of another kind of write: unchanged.
    #[must_use]
    pub fn adding(mut self, attribute: &str, amount: i64) -> Self {
        if let Action::Update { add, .. } = &mut self.action {
            add.push((attribute.to_owned(), amount));
        }
        self
    }
}

/// The table. Reads are consistent, but for the indexes.
#[async_trait]
pub trait Table: Send + Sync {
    /// One item. (`dynamodb:GetItem`)
    async fn get(&self, key: &Key) -> Result<Option<Item>, CloudError>;

    /// All items of a partition whose sort key begins with `prefix`, in the order of the sort key.
    /// (`dynamodb:Query`)
    async fn query(&self, partition: &str, prefix: &str) -> Result<Vec<Item>, CloudError>;

    /// At most `limit` items of a partition whose sort key is greater than `after`, in the order of the sort key.
    /// (`dynamodb:Query`)
    async fn query_after(
        &self,
        partition: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError>;

    /// Items of an index's partition by time, newest first, at most `limit`. (`dynamodb:Query`)
    async fn query_index(
        &self,
        index: Index,
        partition: &str,
        limit: usize,
    ) -> Result<Vec<Item>, CloudError>;

    /// One write. [`CloudError::ConditionFailed`] if a condition does not hold.
    /// (the action of the write: [`write_calls`])
    async fn write(&self, write: Write) -> Result<(), CloudError>;

    /// All of the writes or none, at most 100, each on another item. (the actions of the writes:
    /// [`write_calls`])
    async fn transact(&self, writes: Vec<Write>) -> Result<(), CloudError>;
}

/// The calls of [`Table`], with the IAM actions that they need. What a write needs is said by what it writes.
pub mod calls {
    crate::iam::calls! { "Table":
        GET = "get" => ["dynamodb:GetItem"];
        QUERY = "query" => ["dynamodb:Query"];
        QUERY_AFTER = "query_after" => ["dynamodb:Query"];
        QUERY_INDEX = "query_index" => ["dynamodb:Query"];
        WRITE = "write" => [];
        TRANSACT = "transact" => [];
    }
}

/// What makes a [`Write`], with the IAM action that the write needs.
pub mod write_calls {
    crate::iam::calls! { "Write":
        PUT = "put" => ["dynamodb:PutItem"];
        SET = "set" => ["dynamodb:UpdateItem"];
        DELETE = "delete" => ["dynamodb:DeleteItem"];
        CHECK = "check" => ["dynamodb:ConditionCheckItem"];
    }
}
