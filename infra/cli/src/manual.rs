//! Completions and manual pages, made of the same definition as the help.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output::Output;

/// Prints the completion script of a shell.
pub(crate) fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gennaker", &mut script);
    print(&script)
}

/// Writes a page a command to a directory, or the main page to standard output.
pub(crate) fn pages(directory: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let command = Arguments::command();
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure::environment(error.to_string()))?;
        return print(&page);
    };
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(|error| Failure::environment(format!("`{}`: {error}", directory.display())))?;
    output.say(&format!("manual pages are in {}", directory.display()));
    Ok(())
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    std::io::stdout()
        .lock()
        .write_all(bytes)
        .map_err(|error| Failure::environment(format!("standard output: {error}")))
}
