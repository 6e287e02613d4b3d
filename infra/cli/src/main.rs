#![doc = include_str!("../README.md")]

mod account;
mod accounts;
mod application;
mod arguments;
mod artifact;
mod build_service;
mod canary;
mod canary_metrics;
mod canary_report;
mod canary_saved;
mod cluster;
mod decision;
mod demo;
mod difference;
mod elf;
mod evaluation;
mod event;
mod execution;
mod explanation;
mod expression;
mod failure;
mod input;
mod installation;
mod local;
mod manual;
mod monitor;
mod output;
mod package;
mod pipeline;
mod progress;
mod records;
mod redrive;
mod run;
mod saved;
mod subscription;
mod surroundings;
mod trigger;
mod user;
mod view;
mod webhooks;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Arguments, Command, Execution};
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
/// its processes; what works on a thread, a build above all, is ended.
async fn until_interrupted(arguments: Arguments, output: Output) -> Result<(), Failure> {
    // Heard from the first moment, not only once something else had to wait.
    let mut signals = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .map(signal);
    let [Ok(interrupted), Ok(terminated), Ok(hung_up)] = &mut signals else {
        return Err(Failure::environment("signals cannot be heard"));
    };
    tokio::select! {
        outcome = run(arguments, output) => return outcome,
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
    }
    gennaker_local::interrupt();
    Err(Failure::Interrupted)
}

async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let prefix = arguments
        .prefix
        .or_else(|| surroundings::variable("GENNAKER_PREFIX"))
        .unwrap_or_else(|| "gennaker".to_owned());
    match arguments.command {
        Command::Pipeline(command) => pipeline::run(command, &prefix, &output).await,
        Command::Expression(command) => expression::run(command, &output),
        Command::Canary(command) => canary::run(command, &prefix, &output).await,
        Command::Decision(command) => decision::run(command, &output),
        Command::Trigger(command) => trigger::run(command, &prefix, &output).await,
        Command::Webhook(command) => webhooks::run(command, &prefix, &output).await,
        Command::Artifact(command) => artifact::run(command, &prefix, &output).await,
        Command::Cron(command) => trigger::cron(command, &output),
        Command::Execution(Execution::Evaluate { cases }) => evaluation::run(&cases, &output).await,
        Command::Execution(command) => {
            execution::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::Local(command) => local::run(command, &prefix, &output).await,
        Command::Account(command) => {
            account::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::Application(command) => {
            application::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::Subscription(command) => {
            subscription::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::Monitor(command) => {
            monitor::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::User(command) => {
            user::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::BuildService(command) => {
            build_service::run(command, &Installation::connect(&prefix).await, &output).await
        }
        Command::Package(arguments) => package::run(arguments, &output).await,
        Command::Completion { shell } => manual::completion(shell),
        Command::Man { out } => manual::pages(out.as_deref(), &output),
    }
}
