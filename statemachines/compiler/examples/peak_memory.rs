//! How much memory compiling takes: `cargo run --release -p gennaker-compiler --example peak_memory [FOLDER]`.
//!
//! Compiles a pipeline of 1,000 stages, has one of 10,000 refused, compiles every file of the folder, and prints the
//! most memory that the process ever had (`VmHWM`; Linux only) and how long each part took.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures itself"
)]

use std::time::Instant;

use gennaker_compiler::{Options, compile, compile_text};
use serde_json::{Value, json};

/// Stages that each wait for at most two earlier ones. With three, so regular a graph needs over 20,000 events.
fn graph(stages: u64) -> Value {
    let stages: Vec<Value> = (0..stages)
        .map(|at| {
            let requisites: Vec<u64> = [1, 7, 31]
                .into_iter()
                .filter_map(|back| at.checked_sub(back))
                .take(usize::try_from(at % 3).unwrap_or(0))
                .collect();
            json!({"refId": at, "type": "wait", "waitTime": 10, "requisiteStageRefIds": requisites})
        })
        .collect();
    json!({"application": "shop", "name": "graph", "stages": stages})
}

fn timed<T>(what: &str, of: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = of();
    println!("{what}: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    answer
}

fn main() -> std::io::Result<()> {
    let options = Options::default();
    for stages in [1_000, 10_000] {
        let pipeline = graph(stages);
        let compiled = timed(&format!("{stages} stages"), || compile(&pipeline, &options));
        match compiled {
            Ok(compiled) => println!("  compiles to {} bytes", compiled.figures.bytes),
            Err(problems) => println!("  refused: {}", problems.len()),
        }
    }
    if let Some(folder) = std::env::args_os().nth(1) {
        let texts = std::fs::read_dir(folder)?
            .map(|entry| std::fs::read_to_string(entry?.path()))
            .collect::<Result<Vec<String>, _>>()?;
        let compiled = timed(&format!("{} files", texts.len()), || {
            texts
                .iter()
                .filter(|text| compile_text(text, &options).is_ok())
                .count()
        });
        println!("  {compiled} compile");
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or("VmHWM: not told here"));
    Ok(())
}
