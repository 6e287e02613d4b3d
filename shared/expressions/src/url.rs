//! Which URLs may be fetched at all. The fetcher checks again after name resolution and redirects.

use crate::fault::{Eval, Fault};

/// Host names and suffixes that stand for things inside.
const INSIDE: [&str; 4] = ["spinnaker", "local", "localdomain", "internal"];

/// Refuses everything but http(s) to a named host outside; where somebody else checks hosts, everything but http(s).
pub(crate) fn check(url: &str, hosts_checked: bool) -> Eval<()> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| Fault::new(format!("unsupported URI scheme {url}")))?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(Fault::new(format!("unsupported URI scheme {url}")));
    }
    if url.chars().any(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\\' | '<' | '>' | '"' | '{' | '}' | '|' | '^' | '`')
    }) {
        return Err(Fault::new(format!("Illegal character in URL: {url}")));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let host = if host_and_port.starts_with('[') {
        host_and_port
    } else {
        host_and_port.split(':').next().unwrap_or_default()
    };
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    if host.is_empty() {
        return Err(Fault::new(format!(
            "Unable to determine host for the url provided {url}"
        )));
    }
    if hosts_checked {
        return Ok(());
    }
    let numeric = host.starts_with('[')
        || host.rsplit('.').next().is_some_and(|label| {
            label.starts_with("0x") || label.bytes().all(|b| b.is_ascii_digit())
        });
    if numeric {
        return Err(Fault::new("Verbatim IP addresses are not allowed"));
    }
    let labels: Vec<&str> = host.split('.').collect();
    let inside = labels.last().is_some_and(|label| INSIDE.contains(label));
    if host == "localhost" || labels.len() < 2 || inside || labels.last() == Some(&"localhost") {
        return Err(Fault::new(format!("Host not allowed: {host}")));
    }
    Ok(())
}
