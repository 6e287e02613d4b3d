//! Records that stand under a key of their own and, for lists, in one partition with the others of their kind.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{CloudError, Item, Key, Store, Write};

fn unreadable(what: &str, error: &serde_json::Error) -> CloudError {
    CloudError::Unreadable {
        what: what.to_owned(),
        message: error.to_string(),
    }
}

/// The record of that key, or none; `what` names it in an error.
pub(crate) async fn find<T: DeserializeOwned>(
    store: &Store,
    key: &Key,
    what: &str,
) -> Result<Option<T>, CloudError> {
    let Some(item) = store.table().get(key).await? else {
        return Ok(None);
    };
    serde_json::from_value(Value::Object(item))
        .map(Some)
        .map_err(|error| unreadable(what, &error))
}

/// The writes of a record and of its entry in the list, over what was there.
pub(crate) fn writes(
    record: &impl Serialize,
    what: &str,
    [own, entry]: [Key; 2],
) -> Result<[Write; 2], CloudError> {
    let item = match serde_json::to_value(record) {
        Ok(Value::Object(item)) => item,
        Ok(_) => Item::new(),
        Err(error) => return Err(unreadable(what, &error)),
    };
    Ok([Write::put(own, item.clone()), Write::put(entry, item)])
}

/// Every record that has an entry in the list, in the order of the keys.
pub(crate) async fn all<T: DeserializeOwned>(
    store: &Store,
    list: &str,
    what: &str,
) -> Result<Vec<T>, CloudError> {
    let items = store.table().query(list, "").await?;
    items
        .into_iter()
        .map(|item| {
            serde_json::from_value(Value::Object(item)).map_err(|error| unreadable(what, &error))
        })
        .collect()
}
