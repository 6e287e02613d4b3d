#![doc = include_str!("../README.md")]

mod accounts;
mod arguments;
mod canary;
mod cluster;
mod decision;
mod demo;
mod difference;
mod elf;
mod execution;
mod expression;
mod failure;
mod input;
mod installation;
mod local;
mod manual;
mod output;
mod package;
mod pipeline;
mod progress;
mod run;
mod saved;
mod spinnaker;
mod surroundings;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(
        arguments.json,
        arguments.color,
        surroundings::variable("NO_COLOR").is_some(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        // Dropping the runtime waits for what still works in it: a local cloud ends before we do.
        Ok(runtime) => runtime.block_on(until_interrupted(arguments, output)),
        Err(error) => Err(Failure::environment(format!(
            "threads cannot be started: {error}"
        ))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.status())
        }
    }
}

/// Runs the command until it ends or Ctrl-C does it: what the command holds is dropped then, a local cloud with all
/// its processes.
async fn until_interrupted(arguments: Arguments, output: Output) -> Result<(), Failure> {
    tokio::select! {
        outcome = run(arguments, output) => outcome,
        signal = tokio::signal::ctrl_c() => match signal {
            Ok(()) => Err(Failure::Interrupted),
            Err(error) => Err(Failure::environment(format!("signals cannot be heard: {error}"))),
        },
        () = terminated() => Err(Failure::Interrupted),
    }
}

/// Ends when somebody asks this process to end.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut stream) => {
            stream.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let prefix = arguments
        .prefix
        .or_else(|| surroundings::variable("GENNAKER_PREFIX"))
        .unwrap_or_else(|| "gennaker".to_owned());
    match arguments.command {
        Command::Pipeline(command) => pipeline::run(command, &prefix, &output).await,
        Command::Expression(command) => expression::run(command, &output),
        Command::Canary(command) => canary::run(command, &output),
        Command::Decision(command) => decision::run(command, &output),
        Command::Execution(command) => {
            execution::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::Local(command) => local::run(command, &prefix, &output).await,
        Command::Package(arguments) => package::run(arguments, &output).await,
        Command::Completion { shell } => manual::completion(shell),
        Command::Man { out } => manual::pages(out.as_deref(), &output),
    }
}
