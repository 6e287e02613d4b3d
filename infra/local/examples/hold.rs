//! Starts a local cloud, prints its run directory, and holds it until standard input ends.
//!
//! `cargo run -p gennaker-local --example hold`

use std::io::Read;

use gennaker_local::{LocalCloud, Options, Silent};

fn main() -> Result<(), gennaker_local::Error> {
    let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let cloud = LocalCloud::start(&Options::new(target), &Silent)?;
    println!("{}", cloud.run_directory().display());
    let mut nothing = Vec::new();
    // A broken input is an end as well.
    let _ = std::io::stdin().read_to_end(&mut nothing);
    cloud.stop()
}
