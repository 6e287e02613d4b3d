//! Who may use a preconfigured webhook: the compiler writes the roles into the stage's context.

use gennaker_cloud::{CloudError, User};
use gennaker_lambda::Invocation;
use serde_json::Value;

/// Why whoever started the execution may not use the webhook; none if they may.
///
/// # Errors
/// Those of the table.
pub(crate) async fn refusal(invocation: &Invocation<'_>) -> Result<Option<String>, CloudError> {
    let listed = invocation
        .context
        .get("allowedRoles")
        .and_then(Value::as_array);
    let roles: Vec<&str> = listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if roles.is_empty() {
        return Ok(None);
    }
    let name = invocation.trigger.get("user").and_then(Value::as_str);
    let name = name.unwrap_or("anonymous");
    let user = User::find(invocation.store(), name).await?;
    let has = |role: &&str| {
        let mut own = user.iter().flat_map(|user| &user.roles);
        own.any(|own| own.eq_ignore_ascii_case(role))
    };
    if roles.iter().any(has) {
        return Ok(None);
    }
    Ok(Some(format!(
        "`{name}` may not use `{}`: it takes one of the roles {}",
        invocation.stage.stage_type,
        roles.join(", ")
    )))
}
