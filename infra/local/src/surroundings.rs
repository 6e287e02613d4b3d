//! The little that this crate reads from the process it runs in.

#![allow(
    clippy::disallowed_methods,
    reason = "the local cloud starts programs: it has to know where they are"
)]

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where programs are searched; functions and builds in the local cloud get the same.
pub(crate) fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"))
}

/// The variables by which Cargo tells a program that it runs which package that is.
pub(crate) fn of_outer_cargo() -> Vec<OsString> {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| {
            let name = name.to_string_lossy();
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect()
}

/// A name that no other cloud on this machine has while this process lives.
pub(crate) fn run_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("run-{}-{number}", std::process::id())
}
