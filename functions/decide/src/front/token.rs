//! What this function said and reads back: forms and personal links, signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Longest token that is read: a person's name is the only part whose length somebody chooses.
const MOST_CHARACTERS: usize = 2_048;

/// What a token is for. One is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// A form that was shown.
    Form,
    /// A link that was given to a person.
    Person,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    /// What it is for.
    #[serde(rename = "p")]
    pub purpose: Purpose,
    /// Id of the approval.
    #[serde(rename = "a")]
    pub approval: String,
    /// Round that was shown.
    #[serde(rename = "r")]
    pub round: u32,
    /// Hash of what was shown.
    #[serde(rename = "b")]
    pub binding: String,
    /// Who looks at it; none if nobody can tell.
    #[serde(rename = "u")]
    pub person: Option<String>,
    /// Until when, UTC milliseconds.
    #[serde(rename = "e")]
    pub expires: i64,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It was not made here, or for something else.
    #[error("it was not made here")]
    Wrong,
    /// Its time is over.
    #[error("its time is over")]
    Expired,
}

fn mac(key: &[u8], text: &str) -> Option<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    Some(mac.chain_update(text.as_bytes()))
}

/// The claims with their signature: `<claims>.<hexadecimal digits>`.
pub(crate) fn seal(key: &[u8], claims: &Claims) -> String {
    // Neither can fail: claims are texts and numbers, and a MAC takes a key of any length.
    let json = serde_json::to_vec(claims).unwrap_or_default();
    let text = URL_SAFE_NO_PAD.encode(json);
    let signature = mac(key, &text).map(|mac| hex::encode(mac.finalize().into_bytes()));
    format!("{text}.{}", signature.unwrap_or_default())
}

/// The claims of a token for this purpose and this approval.
pub(crate) fn open(
    key: &[u8],
    token: &str,
    purpose: Purpose,
    approval: &str,
    now: i64,
) -> Result<Claims, TokenError> {
    if token.len() > MOST_CHARACTERS {
        return Err(TokenError::Wrong);
    }
    let (text, signature) = token.split_once('.').ok_or(TokenError::Wrong)?;
    let signature = hex::decode(signature).map_err(|_| TokenError::Wrong)?;
    let mac = mac(key, text).ok_or(TokenError::Wrong)?;
    mac.verify_slice(&signature)
        .map_err(|_| TokenError::Wrong)?;
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Wrong)?;
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| TokenError::Wrong)?;
    if claims.purpose != purpose || claims.approval != approval {
        return Err(TokenError::Wrong);
    }
    if claims.expires < now {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            purpose: Purpose::Form,
            approval: "a".to_owned(),
            round: 1,
            binding: "b".to_owned(),
            person: Some("ada".to_owned()),
            expires: 100,
        }
    }

    #[test]
    fn a_token_is_read_back_by_who_made_it_for_what_it_was_made_and_in_time() {
        let token = seal(b"key", &claims());
        let read = |key: &[u8], purpose, approval, now| open(key, &token, purpose, approval, now);
        assert_eq!(read(b"key", Purpose::Form, "a", 100), Ok(claims()));
        assert_eq!(
            read(b"key", Purpose::Form, "a", 101),
            Err(TokenError::Expired)
        );
        assert_eq!(
            read(b"other", Purpose::Form, "a", 1),
            Err(TokenError::Wrong)
        );
        assert_eq!(
            read(b"key", Purpose::Person, "a", 1),
            Err(TokenError::Wrong)
        );
        assert_eq!(read(b"key", Purpose::Form, "z", 1), Err(TokenError::Wrong));
    }

    #[test]
    fn a_token_with_another_letter_is_none() {
        let token = seal(b"key", &claims());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            // A hexadecimal digit may be a capital letter.
            let same = forged.eq_ignore_ascii_case(&token);
            assert_eq!(open(b"key", &forged, Purpose::Form, "a", 1).is_ok(), same);
        }
        for text in ["", ".", "a.b", "a", &"x".repeat(10_000), "\u{1F600}.00"] {
            assert_eq!(
                open(b"key", text, Purpose::Form, "a", 1),
                Err(TokenError::Wrong)
            );
        }
    }
}
