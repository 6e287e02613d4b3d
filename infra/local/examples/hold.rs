//! Starts a local cloud, prints its run directory, and holds it until standard input ends.
//!
//! `cargo run -p gennaker-local --example hold [TARGET_DIRECTORY]`

#![allow(
    clippy::disallowed_methods,
    reason = "a program reads its own arguments"
)]

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use gennaker_local::{Error, LocalCloud, Options, Silent};

fn hold() -> Result<(), Error> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
    let target = std::env::args_os()
        .nth(1)
        .map_or_else(default, PathBuf::from);
    let cloud = LocalCloud::start(&Options::new(target), &Silent)?;
    println!("{}", cloud.run_directory().display());
    let mut nothing = Vec::new();
    // A broken input is an end as well.
    let _ = std::io::stdin().read_to_end(&mut nothing);
    cloud.stop()
}

fn main() -> ExitCode {
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_status())
        }
    }
}
