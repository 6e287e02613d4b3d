//! Where a webhook was sent to.

use gennaker_triggers::inbound;
use percent_encoding::percent_decode_str;

/// Longest part of a path: names of sources are short.
const MOST_BYTES: usize = 256;

/// What the address of a webhook says: `/webhooks/{type}/{source}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `git`, `webhook`, `cdevents`, `sns`, or one of `gennaker_triggers::inbound::TYPES`.
    pub kind: String,
    /// `github`, the name of a webhook, of an account, a master or a search.
    pub source: String,
}

/// Types of webhooks that the internet may send. What Echo takes besides (`manual`, `pubsub`, `build`, …) are events of
/// its own services: whoever could post them here would start any pipeline.
const TYPES: [&str; 4] = ["git", "webhook", "cdevents", SNS];

/// Type of the address that topics of SNS are subscribed to.
pub const SNS: &str = "sns";

/// Reads a path. A stage of the API may stand before it.
#[must_use]
pub fn address(path: &str) -> Option<Address> {
    let mut parts = path
        .split('/')
        .filter(|part| !part.is_empty())
        .skip_while(|part| *part != "webhooks")
        .skip(1);
    let mut part = || {
        let text = percent_decode_str(parts.next()?).decode_utf8().ok()?;
        (text.len() <= MOST_BYTES).then(|| text.into_owned())
    };
    let address = Address {
        kind: part()?,
        source: part()?,
    };
    let kind = address.kind.as_str();
    let is_known = TYPES.contains(&kind) || inbound::TYPES.contains(&kind);
    (parts.next().is_none() && is_known).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<(String, String)> {
        address(path).map(|address| (address.kind, address.source))
    }

    #[test]
    fn a_webhook_has_a_type_and_a_source() {
        let found = |kind: &str, source: &str| Some((kind.to_owned(), source.to_owned()));
        assert_eq!(read("/webhooks/git/github"), found("git", "github"));
        assert_eq!(
            read("/live/webhooks/webhook/a%20b/"),
            found("webhook", "a b")
        );
        for path in [
            "/",
            "/webhooks",
            "/webhooks/git",
            "/webhooks/git/github/x",
            "/webhooks/webhook/%FF",
            "/hooks/git/github",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
        assert_eq!(read(&format!("/webhooks/git/{}", "x".repeat(300))), None);
    }

    #[test]
    fn events_of_spinnakers_own_services_are_no_webhooks() {
        for kind in ["manual", "pubsub", "build", "pipeline", "Git", "plugin"] {
            assert_eq!(read(&format!("/webhooks/{kind}/x")), None, "{kind}");
        }
    }
}
