//! The `gennaker` command.
fn main() {}
