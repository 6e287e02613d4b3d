//! The cloud as a set of processes: it comes up, and nothing of it is left in any way it can end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gennaker_local::{Error, LocalCloud, Options, Python, Silent};

/// The target directory that Cargo builds into: the Python environment is shared by all test binaries.
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every living process whose home is this run directory: the emulators and all they started.
fn processes_of(run: &Path) -> Vec<u32> {
    let home = format!("HOME={}", run.display());
    let supervisor = run.join("cloud.json").display().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let has = |bytes: Vec<u8>, word: &str| {
                bytes
                    .split(|byte| *byte == 0)
                    .any(|part| part == word.as_bytes())
            };
            has(read("environ"), &home) || has(read("cmdline"), &supervisor)
        })
        .collect()
}

fn eventually_none(run: &Path) -> Result<(), Vec<u32>> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let left = processes_of(run);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(left);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The example program that starts a cloud and holds it.
fn hold_example() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .with_file_name("../examples/hold")
}

fn kill(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn two_clouds_run_side_by_side_and_leave_nothing_behind() {
    let options = Options::new(target_dir());
    let first = LocalCloud::start(&options, &Silent).unwrap();
    let second = LocalCloud::start(&options, &Silent).unwrap();
    assert_ne!(first.endpoints(), second.endpoints());
    first.check().unwrap();
    let runs = [
        first.run_directory().to_owned(),
        second.run_directory().to_owned(),
    ];
    assert_eq!(
        processes_of(&runs[0]).len(),
        4,
        "supervisor, ministack, world, codebuild"
    );
    first.stop().unwrap();
    assert_eq!(processes_of(&runs[0]), Vec::<u32>::new());
    assert!(!runs[0].exists(), "the run directory is removed");
    assert_eq!(processes_of(&runs[1]).len(), 4, "the other cloud goes on");
    drop(second);
    assert_eq!(processes_of(&runs[1]), Vec::<u32>::new());
}

#[test]
fn nothing_is_left_when_the_process_that_started_it_is_killed() {
    let hold = hold_example();
    let mut parent = Command::new(&hold)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", hold.display()));
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let run = PathBuf::from(line.trim());
    assert_eq!(processes_of(&run).len(), 4);
    kill("-KILL", parent.id());
    parent.wait().unwrap();
    assert_eq!(eventually_none(&run), Ok(()));
}

#[test]
fn old_run_directories_are_removed_unless_their_cloud_is_up() {
    let target = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::create_dir_all(target.path().join("local/run-1-0")).unwrap();
    Python::set_up(&target_dir(), &Silent).unwrap();
    std::os::unix::fs::symlink(
        target_dir().join("local/venv"),
        target.path().join("local/venv"),
    )
    .unwrap();
    let options = Options::new(target.path());
    let up = LocalCloud::start(&options, &Silent).unwrap();
    let dead = target.path().join("local/run-1-0");
    let fresh = target.path().join("local/run-1-1");
    fs::create_dir_all(&fresh).unwrap();
    for directory in [&dead, up.run_directory()] {
        let touched = Command::new("touch")
            .args(["-d", "2 hours ago"])
            .arg(directory)
            .status();
        assert!(touched.unwrap().success());
    }
    let other = LocalCloud::start(&options, &Silent).unwrap();
    assert!(!dead.exists());
    assert!(fresh.exists(), "its logs may still be read");
    assert!(up.run_directory().exists());
    up.check().unwrap();
    other.check().unwrap();
}

#[test]
fn nothing_is_left_when_the_supervisor_is_killed() {
    let cloud = LocalCloud::start(&Options::new(target_dir()), &Silent).unwrap();
    let run = cloud.run_directory().to_owned();
    kill("-KILL", cloud.state().pids[0]);
    assert_eq!(eventually_none(&run), Ok(()));
}

#[test]
fn an_emulator_that_dies_is_one_clear_error_and_ends_the_rest() {
    let cloud = LocalCloud::start(&Options::new(target_dir()), &Silent).unwrap();
    let run = cloud.run_directory().to_owned();
    kill("-KILL", cloud.state().pids[1]);
    let error = cloud.check_for(Duration::from_secs(15)).unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error}");
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
    assert_eq!(error.exit_status(), 3);
    assert_eq!(eventually_none(&run), Ok(()));
}

#[test]
fn a_port_in_use_is_an_error_of_the_environment() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = Options {
        port: Some(port),
        ..Options::new(target_dir())
    };
    let error = LocalCloud::start(&options, &Silent).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("port {port} is in use")),
        "{error}"
    );
    assert_eq!(error.exit_status(), 3);
}

#[test]
fn a_detached_cloud_is_found_refused_twice_and_stopped() {
    // A target directory of its own: the state file is one per target directory. The environment is shared.
    let target = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::create_dir_all(target.path().join("local")).unwrap();
    Python::set_up(&target_dir(), &Silent).unwrap();
    std::os::unix::fs::symlink(
        target_dir().join("local/venv"),
        target.path().join("local/venv"),
    )
    .unwrap();
    let options = Options {
        detached: true,
        ..Options::new(target.path())
    };
    drop(LocalCloud::start(&options, &Silent).unwrap());
    let again = LocalCloud::start(&options, &Silent).unwrap_err();
    assert!(matches!(again, Error::AlreadyUp { .. }), "{again}");
    let mut found = LocalCloud::find(target.path()).unwrap().unwrap();
    found.check().unwrap();
    found.remember("table", "shop".into()).unwrap();
    let state = fs::read_to_string(target.path().join("local/cloud.json")).unwrap();
    assert!(state.contains("\"table\": \"shop\""), "{state}");
    let run = found.run_directory().to_owned();
    assert_eq!(processes_of(&run).len(), 4);
    found.stop().unwrap();
    assert_eq!(eventually_none(&run), Ok(()));
    assert!(LocalCloud::find(target.path()).unwrap().is_none());
    assert!(!target.path().join("local/cloud.json").exists());
}

#[test]
fn without_python_there_is_one_clear_error_of_the_environment() {
    let target = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new(hold_example())
        .arg(target.path())
        .env("PATH", "/nowhere")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("install Python 3.10 or later"),
        "{message}"
    );
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn emulators_that_cannot_be_installed_are_one_clear_error_of_the_environment() {
    let target = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new(hold_example())
        .arg(target.path())
        .env("PIP_NO_INDEX", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("cannot install the emulators (ministack=="),
        "{message}"
    );
    assert_eq!(output.status.code(), Some(3));
    // Nothing half made is taken for an environment later.
    assert!(!target.path().join("local/venv/gennaker-ready").exists());
}
