//! What was told of an occasion: one item beside the execution, so that nothing is told twice and nothing is lost.

use gennaker_cloud::{CloudError, Condition, Key, Store, Write};
use gennaker_domain::{Execution, Run};
use serde_json::{Map, Value};

/// How long one invocation has an occasion for itself: longer than telling everybody takes.
const CLAIM_MILLIS: i64 = 120_000;

/// One occasion of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The run it belongs to.
    pub run: Run,
    /// The stage, if it is about one.
    pub stage: Option<String>,
    /// `stage.failed`.
    pub when: String,
    /// Which one, where there are several of the kind: a judgment's round and reminder.
    pub part: Option<String>,
}

impl Occasion {
    /// The same for every repetition: `<run>/<stage>/<when>/<part>`.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = self.run.to_string();
        for part in [self.stage.as_ref(), Some(&self.when), self.part.as_ref()]
            .into_iter()
            .flatten()
        {
            id.push('/');
            id.push_str(part);
        }
        id
    }

    fn key(&self) -> Key {
        Key::new(
            Key::execution_partition(&self.run.execution),
            format!("TOLD#{}", self.id()),
        )
    }
}

/// What became of each recipient, by the recipient's place; `bus` is the bus.
pub type Outcomes = Map<String, Value>;

/// A claim on an occasion.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// It is this invocation's; these are told already.
    Taken(Outcomes),
    /// Everybody is told, or another invocation tells.
    Over,
}

/// Takes an occasion for this invocation.
///
/// # Errors
/// Those of the table.
pub async fn claim(store: &Store, occasion: &Occasion, now: i64) -> Result<Claim, CloudError> {
    let key = occasion.key();
    let mut set = Map::new();
    set.insert(
        "claimedUntil".to_owned(),
        now.saturating_add(CLAIM_MILLIS).into(),
    );
    let write = Write::set(key.clone(), set)
        .only_if(Condition::Absent("complete".to_owned()))
        .only_if(Condition::Any(vec![
            Condition::Absent("claimedUntil".to_owned()),
            Condition::LessThan("claimedUntil".to_owned(), now),
        ]));
    match store.table().write(write).await {
        Ok(()) => {}
        Err(CloudError::ConditionFailed { .. }) => return Ok(Claim::Over),
        Err(error) => return Err(error),
    }
    let item = store.table().get(&key).await?;
    let outcomes = item.as_ref().and_then(|item| item.get("outcomes"));
    Ok(Claim::Taken(
        outcomes
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    ))
}

/// Notes what was told, and gives the occasion back if somebody is left.
///
/// # Errors
/// Those of the table.
pub async fn note(
    store: &Store,
    occasion: &Occasion,
    outcomes: Outcomes,
    complete: bool,
) -> Result<(), CloudError> {
    let mut set = Map::new();
    set.insert("outcomes".to_owned(), Value::Object(outcomes));
    if complete {
        set.insert("complete".to_owned(), true.into());
    }
    let write = Write::set(occasion.key(), set).removing("claimedUntil");
    store.table().write(write).await
}

/// Ids of the occasions of an execution of which everybody was told.
///
/// # Errors
/// Those of the table.
pub async fn complete(store: &Store, execution: &Execution) -> Result<Vec<String>, CloudError> {
    let partition = Key::execution_partition(&execution.id);
    let items = store.table().query(&partition, "TOLD#").await?;
    Ok(items
        .iter()
        .filter(|item| item.get("complete").is_some())
        .filter_map(|item| item.get("SK")?.as_str()?.strip_prefix("TOLD#"))
        .map(str::to_owned)
        .collect())
}
