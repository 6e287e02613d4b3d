//! Accounts of webhooks: headers that the installation sends in a stage's place, to the account's own hosts only.

use gennaker_lambda::{Invocation, StageError};
use serde_json::Value;
use url::Url;

use crate::config::{Config, headers};

/// Takes the headers of the stage's account in, which win over the stage's own. Does nothing without an account.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] if there is no such account, or an address is of none of its hosts: a pipeline
/// must not be able to send an account's secrets elsewhere.
pub(crate) async fn apply(
    invocation: &Invocation<'_>,
    config: &mut Config,
) -> Result<(), StageError> {
    let Some(name) = config.account.clone() else {
        return Ok(());
    };
    let account = invocation.store().webhook_account(&name).await?;
    let Some(account) = account else {
        return Err(StageError::invalid(
            "account",
            format!("there is no webhook account `{name}`; `gennaker webhook save` adds one"),
        ));
    };
    config.hosts = Some(hosts(&account));
    let own = headers(account.get("headers"), "headers")?;
    config.headers.retain(|(known, _)| {
        !own.iter()
            .any(|(name, _)| name.trim().eq_ignore_ascii_case(known.trim()))
    });
    config.headers.extend(own);
    check(config, &config.url)
}

/// Whether an address may be called with the headers of the stage's account.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] if it is of none of the account's hosts.
pub(crate) fn check(config: &Config, url: &str) -> Result<(), StageError> {
    let Some(hosts) = &config.hosts else {
        return Ok(());
    };
    let host = Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_lowercase))
        .unwrap_or_default();
    if hosts.contains(&host) {
        return Ok(());
    }
    Err(StageError::invalid(
        "account",
        format!(
            "the headers of the account are for {}, not for `{host}`",
            hosts.join(", ")
        ),
    ))
}

fn hosts(account: &Value) -> Vec<String> {
    let listed = account.get("hosts").and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(|host| host.as_str().map(str::to_lowercase))
        .collect()
}
