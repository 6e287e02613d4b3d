#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_cloud::auto_scaling::WarmPool;
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::undo_text;
use gennaker_server_groups::{AwsClouds, Clouds, clouds, config, observe, targets};
use serde_json::{Map, Value, json};

/// Spinnaker's time-out of the wait: 20 minutes.
const TIME_LIMIT_MINUTES: i64 = 20;

/// The states that instances of a pool can have.
pub const STATES: [&str; 3] = ["Hibernated", "Running", "Stopped"];

/// Makes, changes or deletes the warm pool of a server group.
pub struct ModifyWarmPool {
    clouds: Arc<dyn Clouds>,
}

impl ModifyWarmPool {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>) -> Self {
        Self { clouds }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsClouds::new(connection)))
    }
}

/// What a stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The pool is there, and has what is said of it.
    Upsert(WarmPool),
    /// There is no pool.
    Delete,
}

fn number(context: &Map<String, Value>, key: &str, least: i64) -> Result<Option<i32>, StageError> {
    let value = match context.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => value,
    };
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| *number >= least)
        .and_then(|number| i32::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| {
            StageError::invalid(
                key,
                format!("{value} is not a whole number from {least} on"),
            )
        })
}

/// Reads what the stage asks for.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] naming the field and what there is.
pub fn asked(context: &Map<String, Value>) -> Result<Action, StageError> {
    match context.get("action").and_then(Value::as_str) {
        Some("delete") => return Ok(Action::Delete),
        Some("upsert") => {}
        other => {
            return Err(StageError::invalid(
                "action",
                format!(
                    "`{}` is no action; there are upsert, delete",
                    other.unwrap_or_default()
                ),
            ));
        }
    }
    let state = match context.get("poolState").and_then(Value::as_str) {
        None | Some("") => None,
        Some(state) => Some(
            STATES
                .iter()
                .find(|known| known.eq_ignore_ascii_case(state))
                .ok_or_else(|| {
                    StageError::invalid(
                        "poolState",
                        format!(
                            "`{state}` is no state of a warm pool; there are {}",
                            STATES.join(", ")
                        ),
                    )
                })?,
        ),
    };
    let reuse = match context.get("reuseOnScaleIn") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Some(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Some(false),
        Some(other) => {
            return Err(StageError::invalid(
                "reuseOnScaleIn",
                format!("{other} is neither true nor false"),
            ));
        }
    };
    Ok(Action::Upsert(WarmPool {
        state: state.map(|state| (*state).to_owned()),
        min_size: number(context, "minSize", 0)?,
        // -1 is the group's maximum.
        max_prepared: number(context, "maxGroupPreparedCapacity", -1)?,
        reuse_on_scale_in: reuse,
        deleting: false,
    }))
}

/// Whether the pool is as asked; what is not said may be anything.
fn holds(asked: &WarmPool, pool: &WarmPool) -> bool {
    fn same<T: PartialEq>(asked: Option<&T>, there: Option<&T>) -> bool {
        asked.is_none() || asked == there
    }
    let prepared = asked.max_prepared.filter(|most| *most >= 0);
    !pool.deleting
        && same(asked.state.as_ref(), pool.state.as_ref())
        && same(asked.min_size.as_ref(), pool.min_size.as_ref())
        && same(prepared.as_ref(), pool.max_prepared.as_ref())
        && same(
            asked.reuse_on_scale_in.as_ref(),
            pool.reuse_on_scale_in.as_ref(),
        )
}

fn to_json(pool: &WarmPool) -> Value {
    json!({
        "state": pool.state,
        "minSize": pool.min_size,
        "maxPrepared": pool.max_prepared,
        "reuseOnScaleIn": pool.reuse_on_scale_in,
    })
}

fn from_json(value: &Value) -> Option<WarmPool> {
    let object = value.as_object()?;
    let number = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_i64)
            .and_then(|number| i32::try_from(number).ok())
    };
    Some(WarmPool {
        state: object
            .get("state")
            .and_then(Value::as_str)
            .map(str::to_owned),
        min_size: number("minSize"),
        max_prepared: number("maxPrepared"),
        reuse_on_scale_in: object.get("reuseOnScaleIn").and_then(Value::as_bool),
        deleting: false,
    })
}

#[async_trait]
impl Stage for ModifyWarmPool {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let asked = asked(&context)?;
        let mut waiting = Vec::new();
        for found in targets::find(&*self.clouds, invocation, "modify-").await? {
            let (place, name) = (&found.place, found.name.as_str());
            if found.group.is_none() {
                return Ok(Step::failed(format!("server group `{name}` is gone")));
            }
            let pool = place.auto_scaling.warm_pool(name).await?;
            if found.intent.as_ref().is_none_or(|intent| !intent.done) {
                let own = format!("modify-warm-pool {} {name}", place.region);
                let undo = json!({
                    "before": pool.as_ref().filter(|pool| !pool.deleting).map(to_json),
                });
                let undo = place.undo(name, undo);
                match (&asked, &pool) {
                    (Action::Upsert(_), Some(pool)) if pool.deleting => {
                        waiting.push(format!("the warm pool of `{name}` is being deleted"));
                        continue;
                    }
                    (Action::Upsert(wanted), _) => {
                        invocation.intend(&own, undo).await?;
                        place.auto_scaling.put_warm_pool(name, wanted).await?;
                    }
                    (Action::Delete, Some(pool)) if !pool.deleting => {
                        invocation.intend(&own, undo).await?;
                        place.auto_scaling.delete_warm_pool(name).await?;
                    }
                    // Nothing to delete: nothing to undo.
                    (Action::Delete, _) => {
                        if found.intent.is_none() {
                            if pool.is_some() {
                                waiting.push(format!("the warm pool of `{name}` is being deleted"));
                            }
                            continue;
                        }
                    }
                }
                invocation.done(&own).await?;
                waiting.push(format!("the warm pool of `{name}` changed"));
                continue;
            }
            let ready = match (&asked, &pool) {
                (Action::Delete, None) => true,
                (Action::Delete, Some(_)) | (Action::Upsert(_), None) => false,
                (Action::Upsert(wanted), Some(pool)) => holds(wanted, pool),
            };
            if !ready {
                waiting.push(format!("the warm pool of `{name}` is not as asked yet"));
            }
        }
        Ok(config::wait_for(invocation, TIME_LIMIT_MINUTES, &waiting))
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let name = undo_text(intent, "serverGroup");
        let done = |result: String| Ok(Undo::Done { result });
        let place = clouds::place_of(&*self.clouds, invocation, intent).await?;
        if observe::group(&place, name).await?.is_none() {
            return done(format!("server group `{name}` is gone"));
        }
        let pool = place.auto_scaling.warm_pool(name).await?;
        match (intent.undo.get("before").and_then(from_json), pool) {
            (Some(_), Some(pool)) if pool.deleting => Ok(Undo::Waiting {
                reason: format!("the warm pool of `{name}` is being deleted, then made again"),
            }),
            (Some(before), pool) => {
                if pool.is_none_or(|pool| !holds(&before, &pool)) {
                    // A maximum that was not set is said as -1.
                    let whole = WarmPool {
                        max_prepared: before.max_prepared.or(Some(-1)),
                        ..before
                    };
                    place.auto_scaling.put_warm_pool(name, &whole).await?;
                }
                done(format!("the warm pool of `{name}` is as it was"))
            }
            (None, Some(pool)) => {
                if !pool.deleting {
                    place.auto_scaling.delete_warm_pool(name).await?;
                }
                done(format!("the warm pool of `{name}` is deleted again"))
            }
            (None, None) => done(format!("`{name}` has no warm pool, as before")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_checked_before_anything_is_called() {
        let read = |value: Value| asked(value.as_object().unwrap());
        assert_eq!(read(json!({"action": "delete"})).unwrap(), Action::Delete);
        let pool = read(json!({"action": "upsert", "poolState": "stopped", "minSize": "2"}));
        let Action::Upsert(pool) = pool.unwrap() else {
            unreachable!();
        };
        assert_eq!(
            (pool.state.as_deref(), pool.min_size),
            (Some("Stopped"), Some(2))
        );
        for (wrong, word) in [
            (json!({"action": "make"}), "upsert"),
            (
                json!({"action": "upsert", "poolState": "Warm"}),
                "Hibernated",
            ),
            (json!({"action": "upsert", "minSize": -1}), "minSize"),
            (
                json!({"action": "upsert", "reuseOnScaleIn": 3}),
                "reuseOnScaleIn",
            ),
        ] {
            let said = read(wrong).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
