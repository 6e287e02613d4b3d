//! `gennaker package`: every function built for Lambda, zipped, with the template that `sam deploy` takes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gennaker_domain::Problem;
use gennaker_local::{Progress, Step};
use serde_json::json;

use crate::arguments::{Architecture, Package};
use crate::failure::Failure;
use crate::local::blocking;
use crate::output::Output;
use crate::progress::Bar;
use crate::surroundings::{target_directory, workspace_directory};

/// Zig, from PyPI, links for any glibc and architecture; cargo-zigbuild tells Cargo so.
const PINS: [&str; 2] = ["cargo-zigbuild==0.23.0", "ziglang==0.15.2"];
/// The C library of Amazon Linux 2023, which `provided.al2023` is.
const GLIBC: &str = "2.34";

impl Architecture {
    fn target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// `e_machine` of an ELF header.
    fn elf_machine(self) -> u16 {
        match self {
            Self::Arm64 => 0xB7,
            Self::X86_64 => 0x3E,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(arguments: Package, output: &Output) -> Result<(), Failure> {
    let output = *output;
    blocking(move || {
        let bar = Bar::new(&output);
        let outcome = package(&arguments, &bar);
        bar.finish();
        let (zips, template) = outcome?;
        if output.json {
            return output.data(&json!({
                "architecture": arguments.architecture.as_str(),
                "functions": zips,
                "template": template,
            }));
        }
        for zip in &zips {
            output.line(&zip.display().to_string())?;
        }
        if let Some(template) = template {
            output.line(&template.display().to_string())?;
            output.say(&format!(
                "sam deploy --template-file {} --stack-name gennaker --resolve-s3 --capabilities CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides Architecture={}",
                template.display(),
                arguments.architecture.as_str()
            ));
        }
        Ok(())
    })
    .await
}

fn package(
    arguments: &Package,
    progress: &dyn Progress,
) -> Result<(Vec<PathBuf>, Option<PathBuf>), Failure> {
    let workspace = workspace_directory()?;
    let all = functions(&workspace)?;
    for name in &arguments.functions {
        if !all.contains(name) {
            return Err(Failure::input(
                Problem::error(
                    "unknown-function",
                    "$",
                    format!("there is no function `{name}`"),
                )
                .with_hint(format!("there are {}", all.join(", "))),
            ));
        }
    }
    let wanted: Vec<String> = if arguments.functions.is_empty() {
        all
    } else {
        arguments.functions.clone()
    };
    standard_library(arguments.architecture)?;
    let target = target_directory();
    let bin = zig(&target, progress)?;
    build(
        &workspace,
        &target,
        &bin,
        arguments.architecture,
        &wanted,
        progress,
    )?;
    std::fs::create_dir_all(&arguments.out).map_err(|error| file(&arguments.out, &error))?;
    let mut zips = Vec::new();
    for name in &wanted {
        let binary = target
            .join(arguments.architecture.target())
            .join("release")
            .join(name);
        let bytes = std::fs::read(&binary).map_err(|error| file(&binary, &error))?;
        check_machine(&bytes, arguments.architecture, name)?;
        let zip = arguments.out.join(format!("{name}.zip"));
        std::fs::write(&zip, zipped(&bytes)?).map_err(|error| file(&zip, &error))?;
        zips.push(zip);
    }
    let template = if arguments.functions.is_empty() {
        Some(write_template(&workspace, &arguments.out)?)
    } else {
        None
    };
    Ok((zips, template))
}

fn file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::environment(format!("`{}`: {error}", path.display()))
}

/// Folders of `functions/` that have a binary, in order.
fn functions(workspace: &Path) -> Result<Vec<String>, Failure> {
    let directory = workspace.join("functions");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(|error| file(&directory, &error))? {
        let path = entry.map_err(|error| file(&directory, &error))?.path();
        if path.join("src").join("main.rs").is_file()
            && let Some(name) = path.file_name()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether the standard library for the target is installed.
fn standard_library(architecture: Architecture) -> Result<(), Failure> {
    let target = architecture.target();
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::environment(format!("`rustc` cannot be run: {error}")))?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && directory.is_dir() {
        Ok(())
    } else {
        Err(Failure::environment_with_hint(
            format!("Rust's standard library for `{target}` is not installed"),
            format!("rustup target add {target}"),
        ))
    }
}

/// The directory with `cargo-zigbuild`, installed at the first call.
fn zig(target: &Path, progress: &dyn Progress) -> Result<PathBuf, Failure> {
    let venv = target.join("local").join("zig");
    let marker = venv.join("gennaker-ready");
    let key = PINS.join(" ");
    if std::fs::read_to_string(&marker).ok().as_deref() == Some(&key) {
        return Ok(venv.join("bin"));
    }
    progress.report(Step {
        title: "installing the linker".to_owned(),
        detail: key.clone(),
        done: None,
    });
    std::fs::create_dir_all(&venv).map_err(|error| file(&venv, &error))?;
    said(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "python3 -m venv",
    )?;
    said(
        Command::new(venv.join("bin").join("python"))
            .args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-input",
                "--quiet",
            ])
            .args(PINS),
        "pip install",
    )?;
    std::fs::write(&marker, key).map_err(|error| file(&marker, &error))?;
    Ok(venv.join("bin"))
}

/// Runs a program; what it said if it failed.
fn said(command: &mut Command, name: &str) -> Result<(), Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::environment(format!("`{name}` cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.trim().lines().rev().take(12).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Failure::environment(format!(
        "`{name}` failed:\n  | {}",
        last.join("\n  | ")
    )))
}

fn build(
    workspace: &Path,
    target: &Path,
    bin: &Path,
    architecture: Architecture,
    functions: &[String],
    progress: &dyn Progress,
) -> Result<(), Failure> {
    progress.report(Step {
        title: format!("building for {}", architecture.as_str()),
        detail: format!("{} functions, release profile", functions.len()),
        done: None,
    });
    let path = crate::surroundings::path_with(bin);
    let mut cargo = Command::new("cargo");
    cargo
        .args(["zigbuild", "--release", "--target"])
        .arg(format!("{}.{GLIBC}", architecture.target()))
        .arg("--target-dir")
        .arg(target)
        .env("PATH", path)
        .current_dir(workspace);
    for name in functions {
        cargo.args(["--bin", name]);
    }
    said(&mut cargo, "cargo zigbuild")
}

/// Refuses a binary of another architecture than the function will run on.
fn check_machine(binary: &[u8], architecture: Architecture, name: &str) -> Result<(), Failure> {
    let machine = match binary {
        [0x7f, b'E', b'L', b'F', ..] => binary
            .get(18..20)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u16::from_le_bytes),
        _ => None,
    };
    if machine == Some(architecture.elf_machine()) {
        Ok(())
    } else {
        Err(Failure::environment(format!(
            "the binary of `{name}` is not for {}: ELF machine {machine:?}",
            architecture.as_str()
        )))
    }
}

/// A zip with an executable `bootstrap`, the same bytes for the same binary.
fn zipped(binary: &[u8]) -> Result<Vec<u8>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::environment(format!("zip: {error}"));
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o755);
    zip.start_file("bootstrap", options)
        .map_err(|error| wrong(&error))?;
    zip.write_all(binary).map_err(|error| wrong(&error))?;
    Ok(zip.finish().map_err(|error| wrong(&error))?.into_inner())
}

/// The template beside the zips, with the paths that it has there.
fn write_template(workspace: &Path, out: &Path) -> Result<PathBuf, Failure> {
    let source = workspace.join("infra").join("template.yaml");
    let text = std::fs::read_to_string(&source).map_err(|error| file(&source, &error))?;
    let machine = workspace.join("statemachines").join("finalize.asl.json");
    let copy = out.join("finalize.asl.json");
    std::fs::copy(&machine, &copy).map_err(|error| file(&machine, &error))?;
    let template = out.join("template.yaml");
    std::fs::write(&template, packaged(&text)).map_err(|error| file(&template, &error))?;
    Ok(template)
}

/// The template with `CodeUri: <function>.zip` and `DefinitionUri: finalize.asl.json`.
fn packaged(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    for line in template.lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        if let Some(folder) = rest.strip_prefix("CodeUri: ../target/lambda/") {
            text.push_str(&format!(
                "{indent}CodeUri: {}.zip",
                folder.trim_end_matches('/')
            ));
        } else if rest == "DefinitionUri: ../statemachines/finalize.asl.json" {
            text.push_str(&format!("{indent}DefinitionUri: finalize.asl.json"));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_template_points_at_the_zips_beside_it() {
        let template =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml"))
                .unwrap();
        let packaged = packaged(&template);
        assert!(packaged.contains("      CodeUri: resize-server-group.zip\n"));
        assert!(packaged.contains("      DefinitionUri: finalize.asl.json\n"));
        assert!(!packaged.contains("../"), "a path leads out of the package");
    }

    #[test]
    fn a_binary_of_another_architecture_is_refused() {
        let mut arm = vec![0x7f, b'E', b'L', b'F'];
        arm.resize(18, 0);
        arm.extend([0xB7, 0]);
        assert!(check_machine(&arm, Architecture::Arm64, "wait").is_ok());
        assert!(check_machine(&arm, Architecture::X86_64, "wait").is_err());
        assert!(check_machine(b"#!/bin/sh", Architecture::X86_64, "wait").is_err());
    }

    #[test]
    fn the_same_binary_gives_the_same_zip() {
        assert_eq!(zipped(b"x").unwrap(), zipped(b"x").unwrap());
    }
}
