//! Whether a webhook comes from who knows the secret.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// Which triggers take a signature made with SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sha1Policy {
    /// Only those whose `signatureAlgorithm` is `sha1`: what GitHub recommends.
    #[default]
    WhereTriggerSaysSo,
    /// All, as Echo, which knows nothing else.
    Always,
}

/// Why a signature was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum SignatureError {
    /// The trigger has a secret and the request no signature.
    #[error("the trigger has a secret and the request is not signed")]
    Missing,
    /// It is no signature in hexadecimal digits.
    #[error("the header `{0}` holds no signature")]
    Malformed(&'static str),
    /// It was made with another secret, or of another body.
    #[error("the signature in `{0}` is not that of this body and secret")]
    Wrong(&'static str),
    /// There is only a signature made with SHA-1.
    #[error(
        "the request is signed with SHA-1 only; a trigger takes that if its `signatureAlgorithm` is `sha1`"
    )]
    OnlySha1,
}

/// Header that carries a GitHub signature, as Echo knows it.
pub(crate) const HUB: &str = "x-hub-signature";
const HUB_SHA256: &str = "x-hub-signature-256";
const GITEA: &str = "x-gitea-signature";
const GOGS: &str = "x-gogs-signature";
const GITLAB: &str = "x-gitlab-token";

/// Whether the bytes are the HMAC of the body, compared in constant time.
fn is_sha256(secret: &[u8], body: &[u8], signature: &[u8]) -> bool {
    Hmac::<Sha256>::new_from_slice(secret)
        .is_ok_and(|mac| mac.chain_update(body).verify_slice(signature).is_ok())
}

fn is_sha1(secret: &[u8], body: &[u8], signature: &[u8]) -> bool {
    Hmac::<Sha1>::new_from_slice(secret)
        .is_ok_and(|mac| mac.chain_update(body).verify_slice(signature).is_ok())
}

/// Whether two secrets are the same, in a time that tells nothing of where they differ.
#[must_use]
pub fn same(secret: &[u8], token: &[u8]) -> bool {
    let of = |text: &[u8]| {
        Hmac::<Sha256>::new_from_slice(secret).map(|mac| mac.chain_update(text).finalize())
    };
    match (of(secret), of(token)) {
        (Ok(wanted), Ok(found)) => wanted == found,
        _ => false,
    }
}

/// Checks a request against a secret.
///
/// `header` gives the first value of a header by its lower-case name. GitHub, Bitbucket (`sha256=` in
/// `x-hub-signature`), Gitea and Gogs sign the raw body; GitLab sends the secret itself.
///
/// # Errors
/// [`SignatureError`]; the request is then not taken.
pub fn verify<'a>(
    secret: &str,
    body: &[u8],
    header: impl Fn(&str) -> Option<&'a str>,
    sha1: bool,
) -> Result<(), SignatureError> {
    let secret = secret.as_bytes();
    let checked = |name: &'static str, hex: &str, right: fn(&[u8], &[u8], &[u8]) -> bool| {
        let signature = hex::decode(hex.trim()).map_err(|_| SignatureError::Malformed(name))?;
        if right(secret, body, &signature) {
            Ok(())
        } else {
            Err(SignatureError::Wrong(name))
        }
    };
    // The stronger signature decides where there are two.
    if let Some(value) = header(HUB_SHA256) {
        let hex = value.strip_prefix("sha256=").unwrap_or(value);
        return checked(HUB_SHA256, hex, is_sha256);
    }
    for name in [GITEA, GOGS] {
        if let Some(value) = header(name) {
            return checked(name, value, is_sha256);
        }
    }
    if let Some(value) = header(HUB) {
        if let Some(hex) = value.strip_prefix("sha256=") {
            return checked(HUB, hex, is_sha256);
        }
        if !sha1 {
            return Err(SignatureError::OnlySha1);
        }
        return checked(HUB, value.strip_prefix("sha1=").unwrap_or(value), is_sha1);
    }
    if let Some(token) = header(GITLAB) {
        return if same(secret, token.as_bytes()) {
            Ok(())
        } else {
            Err(SignatureError::Wrong(GITLAB))
        };
    }
    Err(SignatureError::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        secret: &str,
        body: &str,
        headers: &[(&str, &str)],
        sha1: bool,
    ) -> Result<(), SignatureError> {
        verify(
            secret,
            body.as_bytes(),
            |name| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v),
            sha1,
        )
    }

    /// The example of GitHub's documentation on validating deliveries.
    const EXAMPLE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn the_example_of_githubs_documentation_is_taken_and_nothing_near_it() {
        let secret = "It's a Secret to Everybody";
        for header in [HUB_SHA256, HUB] {
            assert_eq!(
                check(secret, "Hello, World!", &[(header, EXAMPLE)], false),
                Ok(())
            );
            assert_eq!(
                check(secret, "Hello, World?", &[(header, EXAMPLE)], false),
                Err(SignatureError::Wrong(if header == HUB {
                    HUB
                } else {
                    HUB_SHA256
                }))
            );
        }
        assert!(check("other", "Hello, World!", &[(HUB_SHA256, EXAMPLE)], true).is_err());
        assert!(check(secret, "Hello, World!", &[(HUB_SHA256, "sha256=75")], true).is_err());
        assert!(check(secret, "Hello, World!", &[(HUB_SHA256, "")], true).is_err());
    }

    #[test]
    fn sha1_is_taken_where_it_is_allowed_and_never_beside_a_wrong_sha256() {
        // RFC 2202, test case 2.
        let signed = [(HUB, "sha1=EFFCDF6AE5EB2FA2D27416D5F184DF9C259A7C79")];
        let body = "what do ya want for nothing?";
        assert_eq!(check("Jefe", body, &signed, true), Ok(()));
        assert_eq!(
            check("Jefe", body, &signed, false),
            Err(SignatureError::OnlySha1)
        );
        let both = [signed[0], (HUB_SHA256, EXAMPLE)];
        assert!(check("Jefe", body, &both, true).is_err());
    }

    #[test]
    fn gitlab_sends_the_secret_itself() {
        assert_eq!(check("s", "", &[(GITLAB, "s")], false), Ok(()));
        assert!(check("s", "", &[(GITLAB, "t")], false).is_err());
        assert_eq!(check("s", "", &[], true), Err(SignatureError::Missing));
    }
}
