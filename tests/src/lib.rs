#![doc = include_str!("../README.md")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
// A harness ends a test by a panic that says what is wrong.

pub mod events;
pub mod executions;
pub mod gate;
pub mod observed;
pub mod reach;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use gennaker_local::{FunctionArtifact, LocalCloud, Options, Silent, World, functions};
use serde_json::{Value, json};
use tempfile::TempPath;

/// Polls and retries are twenty times faster than on AWS.
pub const WAIT_SCALE: f64 = 0.05;

/// A local cloud with Gennaker deployed in it, shared by the tests of one binary.
#[derive(Debug)]
pub struct System {
    /// The cloud, for what the command line cannot do.
    pub cloud: LocalCloud,
    /// What the command finds the cloud by: in the cloud's own directory, and gone with it.
    state: PathBuf,
    gennaker: PathBuf,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// What standard output holds: one JSON value, or JSON lines.
    pub lines: Vec<Value>,
    /// Standard error.
    pub said: String,
}

impl Answer {
    /// The last line: the summary of a run.
    #[must_use]
    pub fn summary(&self) -> &Value {
        self.lines
            .last()
            .unwrap_or_else(|| panic!("no JSON line; status {}, said:\n{}", self.status, self.said))
    }

    /// The id of the execution that ran.
    #[must_use]
    pub fn execution(&self) -> &str {
        let id = self.summary()["execution"].as_str();
        id.unwrap_or_else(|| panic!("no execution: {self:#?}"))
    }

    /// Why it ended as it did.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.summary()["reason"].as_str().unwrap_or_default()
    }

    /// The server groups of a cluster, oldest first.
    #[must_use]
    pub fn server_groups(&self, cluster: &str) -> Vec<&Value> {
        let clusters = self.summary()["clusters"].as_array();
        clusters
            .into_iter()
            .flatten()
            .filter(|found| found["name"] == cluster)
            .filter_map(|found| found["serverGroups"].as_array())
            .flatten()
            .collect()
    }

    /// Name of each server group of a cluster, whether it is in traffic, and how many of its instances are healthy.
    #[must_use]
    pub fn groups(&self, cluster: &str) -> Vec<(&str, bool, u64)> {
        let groups = self.server_groups(cluster);
        groups
            .into_iter()
            .map(|group| {
                (
                    group["name"].as_str().unwrap(),
                    group["enabled"].as_bool().unwrap(),
                    group["healthy"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    /// Status of a stage.
    #[must_use]
    pub fn stage(&self, ref_id: &str) -> String {
        let stages = self.summary()["stages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        stages
            .iter()
            .find(|stage| stage["refId"] == ref_id)
            .and_then(|stage| stage["status"].as_str())
            .unwrap_or("none")
            .to_owned()
    }
}

/// The checkout.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The directory with other people's pipelines, if it is there.
#[must_use]
#[allow(clippy::disallowed_methods)] // Tests are told where the corpus is by the environment.
pub fn corpus() -> Option<PathBuf> {
    let directory = std::env::var_os("GENNAKER_CORPUS")
        .map_or_else(|| workspace().join("../shared/corpus"), PathBuf::from);
    directory.is_dir().then_some(directory)
}

/// The command, built once.
#[must_use]
pub fn command() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let status = functions::cargo()
                .args(["build", "--quiet", "--package", "gennaker"])
                .current_dir(workspace())
                .status()
                .unwrap();
            assert!(status.success(), "the command line does not build");
            target().join("debug").join("gennaker")
        })
        .clone()
}

/// The functions, built once.
#[must_use]
pub fn built() -> &'static [FunctionArtifact] {
    static BUILT: OnceLock<Vec<FunctionArtifact>> = OnceLock::new();
    BUILT.get_or_init(|| functions::build(&workspace(), "dev", &Silent).unwrap())
}

/// Cargo's target directory: a test binary is in `<target>/debug/deps`.
#[must_use]
pub fn target() -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    binary.ancestors().nth(3).unwrap().to_owned()
}

/// The system of this test binary: started by the first test that asks, ended with the process.
///
/// `images`: patterns of images that never become healthy begin with `bad-`.
#[must_use]
pub fn system() -> &'static System {
    static SYSTEM: OnceLock<System> = OnceLock::new();
    SYSTEM.get_or_init(|| System::start(&[]))
}

/// The same for a binary whose stages call servers of this machine.
#[must_use]
pub fn system_that_calls_here() -> &'static System {
    static SYSTEM: OnceLock<System> = OnceLock::new();
    SYSTEM.get_or_init(|| System::start(&[("AllowedHosts", "127.0.0.0/8")]))
}

impl System {
    /// Starts a local cloud and deploys the template, with parameters of the template's own.
    #[must_use]
    pub fn start(parameters: &[(&str, &str)]) -> Self {
        Self::start_with(parameters, BTreeMap::new())
    }

    /// As [`Self::start`], and the functions reach their table through a gate. It lasts as long as the process.
    #[must_use]
    pub fn start_behind(gate: &gate::Gate, parameters: &[(&str, &str)]) -> &'static Self {
        let (name, endpoint) = gate.environment();
        let environment = BTreeMap::from([(name.to_owned(), endpoint)]);
        let system: &'static Self = Box::leak(Box::new(Self::start_with(parameters, environment)));
        gate.lead_to(&system.cloud);
        system
    }

    fn start_with(
        parameters: &[(&str, &str)],
        function_environment: BTreeMap<String, String>,
    ) -> Self {
        let gennaker = command();
        let target = target();
        let built = built();
        let mut options = Options::new(&target);
        options.wait_scale = WAIT_SCALE;
        options.function_environment = function_environment;
        options.world = World::parse(
            &json!({ "images": [
                { "name": "bad-*", "healthy": false, "bootSeconds": 1 },
                { "name": "*", "bootSeconds": 1 },
            ] })
            .to_string(),
            "the tests' world",
        )
        .unwrap();
        let mut cloud = LocalCloud::start(&options, &Silent).unwrap();
        let zips = cloud
            .package(built, &target.join("local").join("functions"), &Silent)
            .unwrap();
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x86_64"
        };
        let parameters: BTreeMap<String, String> = [
            ("Architecture", architecture),
            ("EventSource", "gennaker.local.ecr"),
            ("MessageQueue", "true"),
            ("SweepRate", "rate(1 minute)"),
            // The emulator reads schedules in UTC: each minute it is looked whether a trigger is due.
            ("CronSchedule", "cron(* * * * ? *)"),
            ("DisableClusterMinSeconds", "1"),
            ("FunctionTimeoutSeconds", "10"),
        ]
        .iter()
        .chain(parameters)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        let template = workspace().join("infra").join("template.yaml");
        let stack = cloud
            .deploy("gennaker", &template, &parameters, &zips, &Silent)
            .unwrap();
        let public = stack.outputs["PublicAddress"].clone();
        cloud.remember("publicAddress", public.into()).unwrap();
        // What all tests share is made before two of them try at once.
        let shared = pipeline(
            "shared",
            &[deploy("1", &[], "shared", "web-v2", &json!({}))],
        );
        cloud.seed_for_pipeline(&shared, false).unwrap();
        cloud.set_world(&options.world).unwrap();
        let state = cloud.run_directory().join("state.json");
        fs::write(&state, serde_json::to_string(cloud.state()).unwrap()).unwrap();
        Self {
            cloud,
            state,
            gennaker,
        }
    }

    /// Runs the command in this cloud.
    #[must_use]
    pub fn gennaker(&self, arguments: &[&str]) -> Answer {
        self.spawn(arguments).finish()
    }

    /// Runs the command as if this were AWS: only the table's endpoint is set, which is not how a local cloud looks.
    #[must_use]
    pub fn gennaker_on_aws(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(&self.gennaker);
        let environment = self.cloud.environment();
        command
            .args(arguments)
            .envs(
                environment
                    .iter()
                    .filter(|(name, _)| !name.contains("ENDPOINT")),
            )
            .env_remove("AWS_ENDPOINT_URL")
            .env(
                "AWS_ENDPOINT_URL_DYNAMODB",
                &environment["AWS_ENDPOINT_URL"],
            )
            .current_dir(workspace());
        Running::of(command).finish()
    }

    /// Starts the command in this cloud; it runs while the test goes on.
    #[must_use]
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new(&self.gennaker);
        command
            .args(arguments)
            .envs(self.cloud.environment())
            .env("GENNAKER_LOCAL", &self.state)
            .current_dir(workspace());
        Running::of(command)
    }

    /// Runs a pipeline and answers its judgments with continue.
    #[must_use]
    pub fn run(&self, pipeline: &Value, more: &[&str]) -> Answer {
        self.start_run(pipeline, more).finish()
    }

    /// Starts a run of a pipeline.
    #[must_use]
    pub fn start_run(&self, pipeline: &Value, more: &[&str]) -> Running {
        let read = file(pipeline);
        let mut arguments = vec![
            "local",
            "run",
            read.to_str().unwrap(),
            "--json",
            "--wait-scale",
            "0.05",
        ];
        if !more.contains(&"--time-limit") {
            arguments.extend(["--time-limit", "3m"]);
        }
        if !more.contains(&"--judgment") {
            arguments.push("--approve");
        }
        arguments.extend(more);
        let running = self.spawn(&arguments);
        Running {
            read: Some(read),
            ..running
        }
    }
}

/// A file of this JSON, removed with the value: whoever starts a command with it keeps it until the command has ended.
#[must_use]
pub fn file(content: &Value) -> TempPath {
    let file = tempfile::Builder::new()
        .suffix(".json")
        .tempfile_in(target())
        .unwrap();
    fs::write(file.path(), content.to_string()).unwrap();
    file.into_temp_path()
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The file that it reads.
    read: Option<TempPath>,
}

impl Running {
    fn of(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            child: command.spawn().unwrap(),
            read: None,
        }
    }

    /// Waits for its end.
    #[must_use]
    pub fn finish(self) -> Answer {
        let Self { child, read } = self;
        let output = child.wait_with_output().unwrap();
        drop(read);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Answer {
            status: output.status.code().unwrap_or(-1),
            lines: match serde_json::from_str(&text) {
                Ok(whole) => vec![whole],
                Err(_) => text
                    .lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect(),
            },
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A deploy stage of one cluster in us-east-1 with a target group of the cluster's name.
#[must_use]
pub fn deploy(ref_id: &str, after: &[&str], application: &str, image: &str, more: &Value) -> Value {
    let mut cluster = json!({
        "account": "prod", "application": application, "stack": "prod", "freeFormDetails": "", "cloudProvider": "aws",
        "strategy": "redblack", "maxRemainingAsgs": 2, "capacity": { "min": 2, "desired": 2, "max": 4 },
        "availabilityZones": { "us-east-1": ["us-east-1a"] }, "subnetType": "internal",
        "targetGroups": [format!("{application}-prod")], "instanceType": "t3.micro", "amiName": image,
    });
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        cluster[name.as_str()] = value;
    }
    json!({
        "refId": ref_id, "type": "deploy", "name": format!("Deploy {ref_id}"), "requisiteStageRefIds": after,
        "clusters": [cluster],
    })
}

/// A pipeline of these stages.
#[must_use]
pub fn pipeline(application: &str, stages: &[Value]) -> Value {
    json!({ "application": application, "name": format!("release {application}"), "stages": stages })
}
