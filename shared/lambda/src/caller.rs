//! The person who calls a function.

use gennaker_cloud::{Store, User};
use gennaker_domain::Problem;
use gennaker_domain::approval::Person;
use gennaker_http::caller::FIELD;
use gennaker_http::{CallerError, Callers};
use serde_json::Value;

use crate::FunctionError;

/// Who sends an event to a function (its name beside the event): the person whose signature the event carries as
/// `caller`, unattributed without one. What an event says of its sender in any other field is nobody's name.
///
/// A signature that is none is a problem, not the same as none: whoever meant to be named is told why not.
///
/// # Errors
/// Those of STS and of the table.
pub async fn caller(
    callers: Option<&dyn Callers>,
    store: &Store,
    (function, event): (&str, &Value),
    now: i64,
) -> Result<Result<Person, Problem>, FunctionError> {
    let asked = match callers {
        Some(callers) => callers.caller(function, event, now).await,
        None if event.get(FIELD).is_none() => Ok(None),
        None => Err(CallerError::NotProven("nobody here asks STS")),
    };
    match asked {
        Ok(None) => Ok(Ok(Person::unattributed())),
        Ok(Some(arn)) => {
            let known = User::called(store, &arn).await?;
            let person = known.map_or_else(|| Person::stranger(arn), |user| user.person());
            Ok(Ok(person))
        }
        Err(CallerError::Cloud(error)) => Err(error.into()),
        Err(CallerError::NotProven(reason)) => {
            tracing::warn!(function, reason, "who calls is not proven");
            Ok(Err(Problem::error(
                "caller-not-proven",
                "$.caller",
                format!("who calls is not proven: {reason}"),
            )
            .with_hint(
                "call by `gennaker execution`, which signs each call",
            )))
        }
    }
}
