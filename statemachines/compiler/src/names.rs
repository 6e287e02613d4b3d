//! Names of states: the stage's type and its encoded `refId`, never text that a person chose freely.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest name of a state (`CreateStateMachine`).
pub const MAX_CHARACTERS: usize = 80;

/// The name of a state for a stage: `wait-3`, `disableCluster-3.b1.a2` for `3<1>2`.
///
/// Letters and digits of the `refId` stand for themselves, `<` is `.b` (before), `>` is `.a` (after), every other
/// byte is `_` and two hexadecimal digits. A name that would be longer than 80 characters ends in the first 20
/// digits of the `refId`'s SHA-256 instead, after `_h`, which no encoded byte begins with. Different stages have
/// different names: the last `-` ends the kind, and the rest can be decoded.
#[must_use]
pub fn state(kind: &str, ref_id: &str) -> String {
    let kind = encoded(kind, MAX_CHARACTERS / 2);
    let rest = encoded(ref_id, MAX_CHARACTERS - 1 - kind.len());
    format!("{kind}-{rest}")
}

fn encoded(text: &str, room: usize) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(byte)),
            b'<' => name.push_str(".b"),
            b'>' => name.push_str(".a"),
            _ => {
                let _ = write!(name, "_{byte:02x}");
            }
        }
        if name.len() > room {
            let mut hash = hex::encode(Sha256::digest(text.as_bytes()));
            hash.truncate(20);
            return format!("_h{hash}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_safe_and_different() {
        assert_eq!(state("wait", "3"), "wait-3");
        assert_eq!(state("disableCluster", "3<1>2"), "disableCluster-3.b1.a2");
        assert_eq!(state("wait", "a-b c"), "wait-a_2db_20c");
        let long = "x".repeat(500);
        assert!(state("wait", &long).len() <= MAX_CHARACTERS);
        assert_ne!(state("wait", &long), state("wait", &format!("{long}y")));
        assert_ne!(state("wait", ".b"), state("wait", "<"));
        assert_ne!(state("wait", "ä"), state("wait", "a"));
    }
}
