//! The environment of a function, read where a function starts and nowhere else.

/// A setting of the function: an environment variable that the template sets. An empty one counts as absent.
#[must_use]
#[allow(clippy::disallowed_methods)] // This is the one place.
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Name of the table: `TABLE_NAME`, `gennaker` if it is not set.
#[must_use]
pub fn table_name() -> String {
    setting("TABLE_NAME").unwrap_or_else(|| "gennaker".to_owned())
}

/// Prefix of this installation's functions and machines: `PREFIX`, `gennaker` if it is not set.
#[must_use]
pub fn prefix() -> String {
    setting("PREFIX").unwrap_or_else(|| "gennaker".to_owned())
}

/// Now, UTC milliseconds.
#[must_use]
#[allow(clippy::disallowed_methods)] // The clock of every function.
pub fn now_millis() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}
