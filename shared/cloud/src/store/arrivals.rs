//! When events arrived first (`EVENT#<hash>`, `META`), where they do not say when they happened: the same event again has
//! the same time, and so leads to the same executions.

use serde_json::{Value, json};

use super::{Store, object};
use crate::{CloudError, Condition, Key, Write};

/// Milliseconds in a second.
const SECOND: i64 = 1_000;

impl Store {
    /// When this event (a hash of what tells it from all others) arrived first, UTC milliseconds: `now`, unless it did
    /// within `window_millis` before. Two callers get the same answer.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn first_seen(
        &self,
        event: &str,
        window_millis: i64,
        now: i64,
    ) -> Result<i64, CloudError> {
        let key = Key::new(format!("EVENT#{event}"), "META");
        let known = |item: Option<&crate::Item>| {
            item.and_then(|item| item.get("at").and_then(Value::as_i64))
                .filter(|at| now.saturating_sub(*at) < window_millis)
        };
        if let Some(at) = known(self.table.get(&key).await?.as_ref()) {
            return Ok(at);
        }
        let forgotten = now.saturating_sub(window_millis).saturating_add(1);
        let write = Write::put(
            key.clone(),
            object(json!({
                "at": now,
                "expires": now.saturating_add(window_millis) / SECOND + 1,
            })),
        )
        .only_if(Condition::Any(vec![
            Condition::no_item(),
            Condition::LessThan("at".to_owned(), forgotten),
        ]));
        if super::held(self.table.write(write).await)? {
            return Ok(now);
        }
        // Somebody else was faster by a moment.
        Ok(known(self.table.get(&key).await?.as_ref()).unwrap_or(now))
    }
}
