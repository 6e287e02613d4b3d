//! `gennaker package`: every function built for Lambda, zipped, with the template that `sam deploy` takes.
//!
//! Zig links: it carries the C libraries of every architecture in every version, so that neither a cross compiler nor a
//! container is needed, and what was linked on a newer Linux still starts on Lambda's. It comes from PyPI, as does the
//! program that hands it to Cargo; both live below the target directory.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gennaker_domain::Problem;
use gennaker_local::{Error, FunctionArtifact, Progress, Step, functions};
use serde_json::json;

use crate::arguments::{Architecture, Package, Profile};
use crate::elf::{self, Needs};
use crate::failure::Failure;
use crate::local::blocking;
use crate::output::Output;
use crate::progress::Bar;
use crate::surroundings::{path_with, target_directory, workspace_directory};

/// Zig, from PyPI, links for any glibc and architecture; cargo-zigbuild tells Cargo so.
const PINS: [&str; 2] = ["cargo-zigbuild==0.23.0", "ziglang==0.15.2"];
/// The C library of Amazon Linux 2023, which `provided.al2023` is: 2.34.
const GLIBC_MINOR: u32 = 34;
/// What `provided.al2023` has beside the function: the C library's parts and its dynamic linkers.
const LIBRARIES: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libgcc_s.so.1",
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
];

impl Architecture {
    fn target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    fn elf_machine(self) -> u16 {
        match self {
            Self::Arm64 => elf::AARCH64,
            Self::X86_64 => elf::X86_64,
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
                "sam deploy --template-file {} --stack-name gennaker --resolve-s3 --capabilities CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND",
                template.display(),
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
    let all = functions::names(&workspace).map_err(build_failed)?;
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
    standard_library(&workspace, arguments.architecture, progress)?;
    let built = build(&workspace, arguments, progress)?;
    std::fs::create_dir_all(&arguments.out).map_err(|error| file(&arguments.out, &error))?;
    let mut zips = Vec::new();
    for FunctionArtifact { name, binary } in &built {
        let bytes = std::fs::read(binary).map_err(|error| file(binary, &error))?;
        runs_on_lambda(&bytes, arguments.architecture, name)?;
        let zip = arguments.out.join(format!("{name}.zip"));
        write(&zip, &zipped(&bytes)?)?;
        zips.push(zip);
    }
    // A template beside some of the zips would deploy the others' old ones, perhaps of another architecture.
    let template = if arguments.functions.is_empty() {
        Some(write_template(
            &workspace,
            &arguments.out,
            arguments.architecture,
        )?)
    } else {
        None
    };
    Ok((zips, template))
}

fn file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::environment(format!("`{}`: {error}", path.display()))
}

/// Writes what is not there already: an unchanged file keeps its time.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(|error| file(path, &error))
}

fn build_failed(error: Error) -> Failure {
    Failure::environment(error.to_string())
}

/// Whether the standard library for the target is installed for the toolchain that the workspace pins.
fn has_standard_library(workspace: &Path, target: &str) -> Result<bool, Failure> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::environment(format!("`rustc` cannot be run: {error}")))?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(output.status.success() && directory.is_dir())
}

/// Installs the standard library for the target if it is missing.
fn standard_library(
    workspace: &Path,
    architecture: Architecture,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let target = architecture.target();
    if has_standard_library(workspace, target)? {
        return Ok(());
    }
    progress.report(Step {
        title: "installing the standard library".to_owned(),
        detail: target.to_owned(),
        done: None,
    });
    let installed = said(
        Command::new("rustup")
            .args(["target", "add", target])
            .current_dir(workspace),
        "rustup target add",
    );
    if installed.is_ok() && has_standard_library(workspace, target)? {
        return Ok(());
    }
    let why = installed.err().map(|failure| format!(": {failure}"));
    Err(Failure::environment_with_hint(
        format!(
            "Rust's standard library for `{target}` is not installed{}",
            why.unwrap_or_default()
        ),
        format!("rustup target add {target}"),
    ))
}

/// The directory of `cargo-zigbuild` and Zig, and where they keep what they make: all below the target directory.
struct Zig {
    bin: PathBuf,
    cache: PathBuf,
}

impl Zig {
    /// Installs them at the first call; one process does, others wait for it.
    fn set_up(target: &Path, progress: &dyn Progress) -> Result<Self, Failure> {
        let local = target.join("local");
        std::fs::create_dir_all(&local).map_err(|error| file(&local, &error))?;
        let local = local.canonicalize().map_err(|error| file(&local, &error))?;
        let venv = local.join("zig");
        let this = Self {
            bin: venv.join("bin"),
            cache: venv.join("cache"),
        };
        let marker = venv.join("gennaker-ready");
        // An environment holds absolute paths: it is another one when the checkout was moved.
        let key = format!("{}\n{}\n", PINS.join("\n"), venv.display());
        let lock_path = local.join("zig.lock");
        let lock = File::create(&lock_path).map_err(|error| file(&lock_path, &error))?;
        lock.lock().map_err(|error| file(&lock_path, &error))?;
        if std::fs::read_to_string(&marker).ok().as_deref() == Some(&key) {
            return Ok(this);
        }
        progress.report(Step {
            title: "installing the linker".to_owned(),
            detail: PINS.join(", "),
            done: None,
        });
        if venv.exists() {
            std::fs::remove_dir_all(&venv).map_err(|error| file(&venv, &error))?;
        }
        let hint = |failure: Failure| {
            Failure::environment_with_hint(
                failure.to_string(),
                "Python 3 with venv and pip is needed, and the network the first time: the linker comes from PyPI",
            )
        };
        said(
            Command::new("python3").args(["-m", "venv"]).arg(&venv),
            "python3 -m venv",
        )
        .map_err(hint)?;
        said(
            Command::new(this.bin.join("python"))
                .args(["-m", "pip", "install", "--disable-pip-version-check"])
                .args(["--no-input", "--quiet"])
                .args(PINS),
            "pip install",
        )
        .map_err(hint)?;
        std::fs::write(&marker, key).map_err(|error| file(&marker, &error))?;
        Ok(this)
    }

    /// `cargo zigbuild` for the architecture.
    fn cargo(&self, architecture: Architecture, profile: Profile, target: &Path) -> Command {
        let mut cargo = gennaker_local::functions::cargo();
        cargo
            .args(["zigbuild", "--locked", "--profile", profile.as_str()])
            .args([
                "--target",
                &format!("{}.2.{GLIBC_MINOR}", architecture.target()),
            ])
            .arg("--target-dir")
            .arg(target)
            .env("PATH", path_with(&self.bin))
            .env("CARGO_ZIGBUILD_CACHE_DIR", &self.cache)
            .env("ZIG_GLOBAL_CACHE_DIR", self.cache.join("zig"));
        cargo
    }
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
    let lines: Vec<&str> = text.trim().lines().collect();
    let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or(&[]);
    Err(Failure::environment(format!(
        "`{name}` failed:\n  | {}",
        last.join("\n  | ")
    )))
}

/// Builds the functions that were asked for; in order of their names.
fn build(
    workspace: &Path,
    arguments: &Package,
    progress: &dyn Progress,
) -> Result<Vec<FunctionArtifact>, Failure> {
    let target = target_directory();
    let zig = Zig::set_up(&target, progress)?;
    let target = target
        .canonicalize()
        .map_err(|error| file(&target, &error))?;
    let cargo = zig.cargo(arguments.architecture, arguments.profile, &target);
    functions::build_with(cargo, workspace, &arguments.functions, progress).map_err(build_failed)
}

/// Refuses a binary that would not start: of another architecture, or linked for a C library or with a shared library
/// that `provided.al2023` does not have.
fn runs_on_lambda(binary: &[u8], architecture: Architecture, name: &str) -> Result<(), Failure> {
    let refused = |reason: String| {
        Err(Failure::environment(format!(
            "the binary of `{name}` would not start on {}: {reason}",
            architecture.as_str()
        )))
    };
    let Some(needs) = Needs::of(binary) else {
        return refused("it is no 64-bit ELF file".to_owned());
    };
    if needs.machine != architecture.elf_machine() {
        return refused(format!("its ELF machine is {:#x}", needs.machine));
    }
    let missing: Vec<&str> = needs
        .libraries
        .iter()
        .map(String::as_str)
        .filter(|library| !LIBRARIES.contains(library))
        .collect();
    if !missing.is_empty() {
        return refused(format!("it needs {}", missing.join(", ")));
    }
    let beyond = needs.beyond_glibc(GLIBC_MINOR);
    if !beyond.is_empty() {
        return refused(format!(
            "it needs {}, and glibc is 2.{GLIBC_MINOR} there",
            beyond.join(", ")
        ));
    }
    Ok(())
}

/// A zip with an executable `bootstrap`, the same bytes for the same binary.
fn zipped(binary: &[u8]) -> Result<Vec<u8>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::environment(format!("zip: {error}"));
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o755);
    zip.start_file("bootstrap", options)
        .map_err(|error| wrong(&error))?;
    zip.write_all(binary).map_err(|error| wrong(&error))?;
    Ok(zip.finish().map_err(|error| wrong(&error))?.into_inner())
}

/// The template beside the zips, with the paths that it has there.
fn write_template(
    workspace: &Path,
    out: &Path,
    architecture: Architecture,
) -> Result<PathBuf, Failure> {
    let source = workspace.join("infra").join("template.yaml");
    let text = std::fs::read_to_string(&source).map_err(|error| file(&source, &error))?;
    let machine = workspace.join("statemachines").join("finalize.asl.json");
    let definition = std::fs::read(&machine).map_err(|error| file(&machine, &error))?;
    write(&out.join("finalize.asl.json"), &definition)?;
    let template = out.join("template.yaml");
    write(&template, packaged(&text, architecture).as_bytes())?;
    Ok(template)
}

/// The template with `CodeUri: <function>.zip`, `DefinitionUri: finalize.asl.json` and the architecture of the zips as
/// the default of its parameter.
fn packaged(template: &str, architecture: Architecture) -> String {
    let mut text = String::with_capacity(template.len());
    let mut parameter = false;
    for line in template.lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        if indent.len() <= 2 && !rest.is_empty() {
            parameter = line == "  Architecture:";
        }
        if let Some(folder) = rest.strip_prefix("CodeUri: ../target/lambda/") {
            text.push_str(&format!(
                "{indent}CodeUri: {}.zip",
                folder.trim_end_matches('/')
            ));
        } else if rest == "DefinitionUri: ../statemachines/finalize.asl.json" {
            text.push_str(&format!("{indent}DefinitionUri: finalize.asl.json"));
        } else if parameter && rest.starts_with("Default:") {
            text.push_str(&format!("{indent}Default: {}", architecture.as_str()));
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

    fn template() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap()
    }

    #[test]
    fn the_packaged_template_points_at_the_zips_beside_it() {
        let packaged = packaged(&template(), Architecture::Arm64);
        assert!(packaged.contains("      CodeUri: resize-server-group.zip\n"));
        assert!(packaged.contains("      DefinitionUri: finalize.asl.json\n"));
        assert!(!packaged.contains("../"), "a path leads out of the package");
    }

    #[test]
    fn the_packaged_template_deploys_the_architecture_of_its_zips() {
        let source = template();
        for architecture in [Architecture::Arm64, Architecture::X86_64] {
            let packaged = packaged(&source, architecture);
            let parameter = format!(
                "  Architecture:\n    Type: String\n    Default: {}\n",
                architecture.as_str()
            );
            assert!(packaged.contains(&parameter), "{parameter}");
            let defaults = |text: &str| text.matches("    Default: gennaker\n").count();
            assert_eq!(
                defaults(&packaged),
                defaults(&source),
                "another default changed"
            );
        }
    }

    #[test]
    fn a_binary_that_lambda_cannot_start_is_refused() {
        // A static binary of one architecture: header and an empty table of segments.
        let mut arm = vec![0x7f, b'E', b'L', b'F', 2, 1];
        arm.resize(64, 0);
        arm[18] = 0xB7;
        assert!(runs_on_lambda(&arm, Architecture::Arm64, "wait").is_ok());
        assert!(runs_on_lambda(&arm, Architecture::X86_64, "wait").is_err());
        assert!(runs_on_lambda(b"#!/bin/sh", Architecture::X86_64, "wait").is_err());
    }

    #[test]
    fn the_same_binary_gives_the_same_zip_and_the_zip_gives_it_back() {
        let binary: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        let zip = zipped(&binary).unwrap();
        assert_eq!(zip, zipped(&binary).unwrap());
        assert!(zip.len() < binary.len());
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
        assert_eq!(archive.len(), 1);
        let mut bootstrap = archive.by_name("bootstrap").unwrap();
        assert_eq!(bootstrap.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        let mut back = Vec::new();
        std::io::copy(&mut bootstrap, &mut back).unwrap();
        assert_eq!(back, binary);
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bootstrap");
        write(&path, b"one").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(old)
            .unwrap();
        write(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), old);
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
