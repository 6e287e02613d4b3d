//! The command line as a person uses it, each command with a local cloud of its own: what it says, its exit status,
//! and that nothing is left running.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gennaker_tests::{built, command, deploy, file, pipeline, target, workspace};
use serde_json::{Value, json};

/// A command in a terminal of its own: a process group, so that Ctrl-C reaches what a terminal would send it to.
struct Typed {
    child: Child,
    said: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

/// How it ended.
#[derive(Debug)]
struct Ended {
    status: Option<i32>,
    out: String,
    said: String,
}

impl Ended {
    fn last_line(&self) -> Value {
        let line = self
            .out
            .lines()
            .last()
            .unwrap_or_else(|| panic!("{self:#?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// What comes out of a pipe so far, and who reads it to its end.
fn follow(pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let writer = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut text = writer.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    (text, reader)
}

impl Typed {
    fn new(arguments: &[&str], environment: &[(&str, &Path)]) -> Self {
        // What takes minutes the first time is not what is waited for here.
        let _ = built();
        let mut gennaker = Command::new(command());
        gennaker
            .args(arguments)
            .current_dir(workspace())
            // A cloud that somebody has up is not ours.
            .env("GENNAKER_LOCAL", "/nowhere/cloud.json")
            .env_remove("AWS_ENDPOINT_URL")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = gennaker.spawn().unwrap();
        let (said, said_to_its_end) = follow(child.stderr.take().unwrap());
        let (out, out_to_its_end) = follow(child.stdout.take().unwrap());
        Self {
            said,
            out,
            readers: [said_to_its_end, out_to_its_end],
            child,
        }
    }

    /// Everything of it that runs: itself, what it started, and its local cloud, which has an environment of its own.
    fn processes(&self) -> BTreeMap<u32, String> {
        let cloud = format!("/local/run-{}-", self.child.id());
        let mut found = BTreeMap::new();
        let mut parents = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let read = |file: &str| {
                let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let stat = read("stat");
            let Some((_, fields)) = stat.rsplit_once(") ") else {
                continue;
            };
            let mut fields = fields.split(' ');
            let (state, parent) = (
                fields.next().unwrap(),
                fields.next().unwrap().parse::<u32>().unwrap(),
            );
            if state == "Z" {
                continue;
            }
            parents.insert(pid, parent);
            let line = read("cmdline");
            if read("environ").contains(&cloud) || line.contains(&cloud) {
                found.insert(pid, line);
            }
        }
        for pid in parents.keys() {
            let mut above = *pid;
            while let Some(parent) = parents.get(&above) {
                if above == self.child.id() {
                    found
                        .entry(*pid)
                        .or_insert_with(|| "started by the command".to_owned());
                }
                above = *parent;
            }
        }
        found
    }

    /// Waits until it has said this.
    fn until_said(&mut self, text: &str) {
        let began = Instant::now();
        loop {
            if self.said.lock().unwrap().contains(text) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < Duration::from_secs(300),
                "`{text}` was not said: {:?} {}",
                ended,
                self.said.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end. Nothing of it may be left then.
    fn end(mut self) -> Ended {
        let cloud = self.processes();
        let status = self.child.wait().unwrap().code();
        let began = Instant::now();
        let mut left = self.left(&cloud);
        // What was killed last may need a moment to be gone.
        while !left.is_empty() && began.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(20));
            left = self.left(&cloud);
        }
        // Nobody holds the pipes any more: they are read to their end, as soon as their readers get their turn.
        let read = Instant::now();
        while !self.readers.iter().all(JoinHandle::is_finished)
            && read.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = Ended {
            status,
            out: self.out.lock().unwrap().clone(),
            said: self.said.lock().unwrap().clone(),
        };
        assert_eq!(left, BTreeMap::new(), "left behind by {ended:#?}");
        ended
    }

    /// What still runs of its cloud, and of what it had started when it was last looked at.
    fn left(&self, before: &BTreeMap<u32, String>) -> BTreeMap<u32, String> {
        let mut left = self.processes();
        for (pid, line) in before {
            let now = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let now = String::from_utf8_lossy(&now).replace('\0', " ");
            // Another process may have the number by now.
            if !now.is_empty() && now == *line {
                left.insert(*pid, now);
            }
        }
        left
    }

    /// Ctrl-C, and what is left of it.
    fn interrupt(self) -> Ended {
        let running = self.processes();
        let began = Instant::now();
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill").args(["-INT", "--", &group]).status();
        assert!(sent.unwrap().success());
        let ended = self.end();
        assert_eq!(ended.status, Some(130), "{ended:#?}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?} for {running:#?}",
            began.elapsed()
        );
        for pid in running.keys() {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let lives = state
                .rsplit_once(") ")
                .is_some_and(|(_, rest)| !rest.starts_with('Z'));
            assert!(!lives, "{pid} of {running:#?} is left");
        }
        ended
    }
}

impl Drop for Typed {
    /// A test that failed leaves nothing running either: what the command started ends with it.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill")
                .arg(self.child.id().to_string())
                .status();
            let _ = self.child.wait();
        }
    }
}

fn demo(world: Option<&Value>) -> Ended {
    let world = world.map(file);
    let mut arguments = vec!["local", "demo", "--approve", "--json"];
    if let Some(world) = &world {
        arguments.extend(["--world", world.to_str().unwrap()]);
    }
    Typed::new(&arguments, &[]).end()
}

/// Name, enabled, healthy and in traffic of each server group of the demo's cluster.
fn groups(ended: &Ended) -> Vec<(String, bool, u64, u64)> {
    let summary = ended.last_line();
    let clusters = summary["clusters"].as_array().unwrap().clone();
    let cluster = clusters
        .iter()
        .find(|cluster| cluster["name"] == "shop-prod-web");
    cluster.unwrap()["serverGroups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            (
                group["name"].as_str().unwrap().to_owned(),
                group["enabled"].as_bool().unwrap(),
                group["healthy"].as_u64().unwrap(),
                group["inTraffic"]["shop-web"].as_u64().unwrap_or(0),
            )
        })
        .collect()
}

/// The demo's world with its one server group under another name, and what more there is to say of the new image.
fn world(name: &str, new_image: Value) -> Value {
    json!({
        "clusters": [{ "account": "prod", "region": "us-east-1", "name": "shop-prod-web", "serverGroups": [{
            "name": name, "image": "shop-web-v1", "capacity": { "min": 2, "desired": 3, "max": 6 },
            "enabled": true, "targetGroups": ["shop-web"],
        }] }],
        "images": [{ "name": "shop-web-v1" }, new_image],
    })
}

#[test]
fn the_demo_twice_in_a_row_ends_the_same() {
    for _ in 0..2 {
        let ended = demo(None);
        assert_eq!(ended.status, Some(0), "{ended:#?}");
        assert_eq!(ended.last_line()["status"], "SUCCEEDED");
        assert_eq!(
            groups(&ended),
            [
                ("shop-prod-web-v000".to_owned(), false, 3, 0),
                ("shop-prod-web-v001".to_owned(), true, 3, 3)
            ]
        );
    }
}

#[test]
fn the_demos_names_wrap_after_v999() {
    for (old, new) in [("v998", "v999"), ("v999", "v000")] {
        let good = json!({ "name": "shop-web-v2*", "bootSeconds": 1 });
        let ended = demo(Some(&world(&format!("shop-prod-web-{old}"), good)));
        assert_eq!(ended.status, Some(0), "{ended:#?}");
        let left: Vec<_> = groups(&ended)
            .into_iter()
            .map(|(name, enabled, ..)| (name, enabled))
            .collect();
        assert_eq!(
            left,
            [
                (format!("shop-prod-web-{old}"), false),
                (format!("shop-prod-web-{new}"), true)
            ]
        );
    }
}

#[test]
fn the_demo_with_a_bad_image_says_why_it_failed_and_the_old_group_serves() {
    let bad = json!({ "name": "shop-web-v2*", "bootSeconds": 1, "healthy": false });
    let ended = demo(Some(&world("shop-prod-web-v000", bad)));
    assert_eq!(ended.status, Some(1), "{ended:#?}");
    let summary = ended.last_line();
    assert_eq!(summary["status"], "TERMINAL", "{ended:#?}");
    let reason = summary["reason"].as_str().unwrap();
    assert!(reason.contains("0 of 3 instances healthy"), "{reason}");
    assert!(
        ended.said.contains(reason),
        "a person reads it too: {ended:#?}"
    );
    let groups = groups(&ended);
    assert_eq!(groups[0], ("shop-prod-web-v000".to_owned(), true, 3, 3));
    assert!(
        groups[1..]
            .iter()
            .all(|(_, enabled, _, serving)| !enabled && *serving == 0),
        "{groups:?}"
    );
}

/// A directory for PATH with these scripts, and what else is on PATH behind it if `more`.
fn path_with(scripts: &[(&str, String)], more: bool) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in scripts {
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut path = vec![directory.path().to_owned()];
    if more {
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    }
    let joined = PathBuf::from(std::env::join_paths(path).unwrap());
    (directory, joined)
}

/// A target directory without anything but the emulators, if they are wanted.
fn fresh_target(emulators: bool) -> tempfile::TempDir {
    let directory = tempfile::tempdir_in(target()).unwrap();
    if emulators {
        gennaker_local::Python::set_up(&target(), &gennaker_local::Silent).unwrap();
        fs::create_dir_all(directory.path().join("local")).unwrap();
        std::os::unix::fs::symlink(
            target().join("local/venv"),
            directory.path().join("local/venv"),
        )
        .unwrap();
    }
    directory
}

#[test]
fn ctrl_c_during_a_build_ends_its_compilers() {
    let target = fresh_target(true);
    let mut typed = Typed::new(
        &["local", "demo", "--approve"],
        &[("CARGO_TARGET_DIR", target.path())],
    );
    typed.until_said("building the functions");
    let began = Instant::now();
    let compiles = |typed: &Typed| {
        typed.processes().keys().any(|pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("bin/rustc"))
        })
    };
    while !compiles(&typed) {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "no compiler: {:#?}",
            typed.processes()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = typed.interrupt();
    assert!(ended.said.contains("interrupted"), "{ended:#?}");
    assert_eq!(ended.out, "");
}

#[test]
fn ctrl_c_while_the_emulators_are_installed_ends_the_installation() {
    let target = fresh_target(false);
    // An installation that hangs, with a process of its own.
    let (_scripts, path) = path_with(
        &[("python3", "#!/bin/sh\nsleep 600 &\nwait\n".to_owned())],
        true,
    );
    let mut typed = Typed::new(
        &["local", "demo", "--approve"],
        &[("CARGO_TARGET_DIR", target.path()), ("PATH", &path)],
    );
    typed.until_said("installing the emulators");
    while typed.processes().len() < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    typed.interrupt();
    assert!(!target.path().join("local/venv/gennaker-ready").exists());
}

#[test]
fn ctrl_c_at_any_moment_of_the_demo_leaves_nothing_behind() {
    for (moment, later) in [
        ("starting the local cloud", 0),
        ("starting the local cloud", 400),
        ("deploying the stack", 0),
        ("deploying the stack", 700),
        ("saved the pipeline", 0),
        ("pushed shop/web:v2", 0),
        ("pushed shop/web:v2", 3_000),
    ] {
        let mut typed = Typed::new(&["local", "demo", "--approve"], &[]);
        typed.until_said(moment);
        std::thread::sleep(Duration::from_millis(later));
        let run = typed.child.id();
        typed.interrupt();
        let runs = fs::read_dir(target().join("local")).unwrap().flatten();
        let left: Vec<_> = runs
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(&format!("run-{run}-"))
            })
            .collect();
        assert!(left.is_empty(), "{moment} + {later} ms: {left:?}");
    }
}

#[test]
fn ctrl_c_leaves_no_cloud_that_was_to_stay_up() {
    let target = fresh_target(true);
    let (_scripts, path) = path_with(&[("cargo", shared_cargo())], true);
    let mut typed = Typed::new(
        &["local", "up"],
        &[("CARGO_TARGET_DIR", target.path()), ("PATH", &path)],
    );
    typed.until_said("deploying the stack");
    typed.interrupt();
    assert!(!target.path().join("local/cloud.json").exists());
}

/// A Cargo that builds into the usual target directory, whatever directory the command has.
fn shared_cargo() -> String {
    format!(
        "#!/bin/sh\nCARGO_TARGET_DIR='{}' exec '{}' \"$@\"\n",
        target().display(),
        env!("CARGO")
    )
}

#[test]
fn a_port_in_use_is_one_clear_message() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let target = fresh_target(true);
    let (_scripts, path) = path_with(&[("cargo", shared_cargo())], true);
    let ended = Typed::new(
        &["local", "up", "--port", &port],
        &[("CARGO_TARGET_DIR", target.path()), ("PATH", &path)],
    )
    .end();
    assert_eq!(ended.status, Some(3), "{ended:#?}");
    assert!(
        ended.said.contains(&format!("port {port} is in use")),
        "{ended:#?}"
    );
    assert!(!target.path().join("local/cloud.json").exists());
}

#[test]
fn without_python_there_is_one_clear_message_before_anything_is_built() {
    let target = fresh_target(false);
    let (_scripts, path) = path_with(&[("cargo", shared_cargo())], false);
    let ended = Typed::new(
        &["local", "demo", "--approve"],
        &[("CARGO_TARGET_DIR", target.path()), ("PATH", &path)],
    )
    .end();
    assert_eq!(ended.status, Some(3), "{ended:#?}");
    assert!(
        ended.said.contains("install Python 3.10 or later"),
        "{ended:#?}"
    );
    assert!(!ended.said.contains("building"), "{ended:#?}");
}

#[test]
fn an_emulator_that_dies_during_a_run_is_what_the_command_says() {
    let wait = json!({ "refId": "1", "type": "wait", "waitTime": 600, "requisiteStageRefIds": [] });
    let read = file(&pipeline("dies", &[wait]));
    for (script, name) in [("emulator.py", "ministack"), ("world.py", "world")] {
        let mut typed = Typed::new(&["local", "run", read.to_str().unwrap(), "--json"], &[]);
        let began = Instant::now();
        while !typed.out.lock().unwrap().contains("RUNNING") {
            assert!(
                typed.child.try_wait().unwrap().is_none()
                    && began.elapsed() < Duration::from_secs(120),
                "{}",
                typed.said.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let processes = typed.processes();
        // Functions have the emulator's directory in their environment, not on their command line.
        let (pid, _) = processes
            .iter()
            .find(|(_, line)| line.contains(script))
            .unwrap_or_else(|| panic!("{processes:#?}"));
        assert!(
            Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
        let ended = typed.end();
        assert_eq!(ended.status, Some(3), "{ended:#?}");
        assert!(
            ended.said.contains(&format!(
                "`{name}` of the local cloud died: killed by signal 9"
            )),
            "{ended:#?}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_pipeline_is_said_with_its_place_before_anything_starts() {
    let said = |text: &str| {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        fs::write(file.path(), text).unwrap();
        let ended = Typed::new(
            &["local", "run", &file.path().to_string_lossy(), "--json"],
            &[],
        )
        .end();
        assert_eq!(ended.status, Some(2), "{ended:#?}");
        assert!(
            !ended.said.contains("starting the local cloud"),
            "{ended:#?}"
        );
        let answer: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
        let problem = answer["problems"][0].clone();
        assert!(
            problem["hint"]
                .as_str()
                .is_some_and(|hint| !hint.is_empty()),
            "{problem:#}"
        );
        problem
    };
    let problem = said("{\n  \"stages\": [\n    ,\n  ]\n}\n");
    assert_eq!(problem["code"], "invalid-json");
    assert!(
        problem["message"]
            .as_str()
            .unwrap()
            .contains("line 3 column 5"),
        "{problem:#}"
    );

    let mut unknown = pipeline("typo", &[deploy("1", &[], "typo", "web-v2", &json!({}))]);
    unknown["stages"][0]["type"] = json!("depoly");
    let problem = said(&unknown.to_string());
    assert_eq!(
        (
            problem["code"].as_str(),
            problem["stage"].as_str(),
            problem["path"].as_str()
        ),
        (
            Some("unknown-stage-type"),
            Some("1"),
            Some("$.stages[0].type")
        )
    );
    assert!(
        problem["hint"].as_str().unwrap().contains("deploy"),
        "{problem:#}"
    );

    let missing = Typed::new(&["local", "run", "/nowhere/release.json"], &[]).end();
    assert_eq!(missing.status, Some(2), "{missing:#?}");
    assert!(
        missing
            .said
            .contains("`/nowhere/release.json` cannot be read"),
        "{missing:#?}"
    );
}
