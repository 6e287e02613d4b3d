//! Where AWS's services answer, for the calls that are made without the SDK's crates.

use gennaker_cloud::Connection;

/// Whether a text has the form of a region. It becomes a part of a host's name.
pub(crate) fn is_region(text: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 32 && text.chars().all(known)
}

/// The region that is asked for, else the connection's own.
pub(crate) fn region(connection: &Connection, asked: Option<&str>) -> Option<String> {
    let own = || connection.config().region().map(ToString::to_string);
    asked.map(str::to_owned).or_else(own)
}

/// The address of a service in a region, without a `/` at its end: the connection's endpoint, if it has one.
pub(crate) fn endpoint(connection: &Connection, service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    connection.config().endpoint_url().map_or_else(
        || format!("https://{service}.{region}.{domain}"),
        |endpoint| endpoint.trim_end_matches('/').to_owned(),
    )
}
