//! A cluster's launch template: its name, and tokens for its versions.

use sha2::{Digest, Sha256};

/// A client token from what makes the call unique: the same try and its retry have the same.
#[must_use]
pub fn token(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    // 64 characters are the most that EC2 takes.
    hex::encode(hash.finalize())
}

/// A launch template's name: 3 to 128 characters of a few kinds.
#[must_use]
pub fn name(cluster: &str) -> String {
    let safe: String = cluster
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "().-/_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(118)
        .collect();
    format!("gennaker-{safe}")
}
