//! `gennaker local`: starting, finding and ending a whole installation on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gennaker_cloud::Connection;
use gennaker_domain::Problem;
use gennaker_local::{Error, LocalCloud, Options, Progress, Python, World, functions};
use serde_json::{Value, json};

use crate::arguments::Local;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::Output;
use crate::progress::Bar;
use crate::surroundings::{target_directory, workspace_directory};

/// The account of everything in a local cloud.
pub(crate) const ACCOUNT: &str = "123456789012";
/// Its region, but for what a pipeline places elsewhere.
pub(crate) const REGION: &str = "us-east-1";
/// Time-out of a function there, and so how long a killed one's lease keeps others away.
const FUNCTION_TIMEOUT_SECONDS: u32 = 20;
/// `disableCluster` waits 90 s on AWS, so that connections drain; nothing drains here.
const DISABLE_CLUSTER_MIN_SECONDS: u32 = 2;

/// How long after a failed call it may take until a dead emulator is reported: the rest is ended first.
const DEATH_PATIENCE: Duration = Duration::from_secs(8);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message = format!("{message}: {source}");
        }
        if matches!(error, Error::Interrupted) {
            Self::Interrupted
        } else if error.exit_status() == 2 {
            Self::input(Problem::error("invalid-local-input", "$", message))
        } else {
            Self::environment(message)
        }
    }
}

/// Runs the command.
pub(crate) async fn run(command: Local, prefix: &str, output: &Output) -> Result<(), Failure> {
    match command {
        Local::Up {
            world,
            port,
            wait_scale,
        } => up(prefix, world.as_deref(), port, wait_scale, output).await,
        Local::Down => down(output).await,
        Local::Status => status(output).await,
        Local::Env => env(prefix, output).await,
        Local::Event { file, times } => crate::event::run(&file, times, output).await,
        Local::Demo(arguments) => crate::demo::run(arguments, prefix, output).await,
        Local::Run(arguments) => crate::run::run(arguments, prefix, output).await,
    }
}

/// A local cloud with Gennaker deployed in it.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The cloud; it ends with the last of these.
    pub cloud: Arc<LocalCloud>,
    /// Made for this command, not found.
    pub own: bool,
}

/// What a new cloud is like.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub prefix: String,
    pub world: World,
    pub port: Option<u16>,
    pub wait_scale: f64,
    pub detached: bool,
}

impl Ground {
    /// Does something slow with the cloud. If nobody waits for it any more, it goes on to its end and the cloud ends
    /// after it.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalCloud) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let cloud = Arc::clone(&self.cloud);
        blocking(move || work(&cloud).map_err(Failure::from)).await
    }

    /// What ended a command that failed in this cloud: an emulator that died, if one did, is the better explanation.
    pub(crate) async fn explain<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        match outcome {
            Err(failure @ Failure::Environment { .. }) => {
                let found = self.with(|cloud| cloud.check_for(DEATH_PATIENCE)).await;
                Err(found.err().unwrap_or(failure))
            }
            other => other,
        }
    }

    /// The installation in it.
    pub(crate) async fn installation(&self, prefix: &str) -> Installation {
        let connection =
            Connection::from_env()
                .await
                .at(&self.cloud.endpoints().aws, REGION, ACCOUNT);
        Installation::on(connection, prefix)
    }
}

/// Says that a cloud stays up, however the command ends that was to keep it.
pub(crate) struct StaysUp(pub Output);

impl Drop for StaysUp {
    fn drop(&mut self) {
        self.0.say(
            "the local cloud stays up: eval \"$(gennaker local env)\"; gennaker local down ends it",
        );
    }
}

/// Runs something slow on a thread where it may be.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Failure::environment(format!(
                "a thread ended early: {error}"
            )))
        })
}

/// The cloud whose state file `GENNAKER_LOCAL` names, else the one that `local up` left up.
fn find() -> Result<Option<LocalCloud>, Error> {
    let target = target_directory();
    match crate::surroundings::variable("GENNAKER_LOCAL") {
        Some(path) => LocalCloud::find_at(&target, PathBuf::from(path)),
        None => LocalCloud::find(&target),
    }
}

/// The cloud that is up, if there is one.
pub(crate) async fn found() -> Result<Option<Ground>, Failure> {
    blocking(|| {
        Ok(find()?.map(|cloud| Ground {
            cloud: Arc::new(cloud),
            own: false,
        }))
    })
    .await
}

/// Starts a cloud and deploys the template in it.
pub(crate) async fn start(setting: Setting, output: &Output) -> Result<Ground, Failure> {
    let output = *output;
    blocking(move || {
        let bar = Bar::new(&output);
        let started = start_blocking(&setting, &bar);
        bar.finish();
        started
    })
    .await
}

fn start_blocking(setting: &Setting, progress: &dyn Progress) -> Result<Ground, Failure> {
    let workspace = workspace_directory()?;
    let target = target_directory();
    // First what a person may have to install: a build takes minutes.
    Python::set_up(&target, progress)?;
    let built = functions::build(&workspace, "dev", progress)?;
    let mut options = Options::new(&target);
    options.port = setting.port;
    options.wait_scale = setting.wait_scale;
    options.world = setting.world.clone();
    options.detached = setting.detached;
    let mut cloud = LocalCloud::start(&options, progress)?;
    let outcome = deploy(&mut cloud, setting, &workspace, &target, &built, progress);
    match outcome {
        Ok(()) => Ok(Ground {
            cloud: Arc::new(cloud),
            own: true,
        }),
        Err(failure) => {
            // A detached cloud would stay up without anything in it.
            cloud.stop()?;
            Err(failure)
        }
    }
}

fn deploy(
    cloud: &mut LocalCloud,
    setting: &Setting,
    workspace: &Path,
    target: &Path,
    built: &[gennaker_local::FunctionArtifact],
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let zips = cloud.package(built, &target.join("local").join("functions"), progress)?;
    let parameters = BTreeMap::from(
        [
            ("Prefix", setting.prefix.clone()),
            (
                "Architecture",
                if cfg!(target_arch = "aarch64") {
                    "arm64"
                } else {
                    "x86_64"
                }
                .to_owned(),
            ),
            ("EventSource", "gennaker.local.ecr".to_owned()),
            ("MessageQueue", "true".to_owned()),
            ("SweepRate", "rate(1 minute)".to_owned()),
            // The emulator reads schedules in UTC: each minute it is looked whether a trigger is due.
            ("CronSchedule", "cron(* * * * ? *)".to_owned()),
            (
                "DisableClusterMinSeconds",
                DISABLE_CLUSTER_MIN_SECONDS.to_string(),
            ),
            (
                "FunctionTimeoutSeconds",
                FUNCTION_TIMEOUT_SECONDS.to_string(),
            ),
            // Stages that call an address may call this machine: it is the whole cloud.
            ("AllowedHosts", "127.0.0.0/8,::1,localhost".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let template = workspace.join("infra").join("template.yaml");
    let stack = cloud.deploy(&setting.prefix, &template, &parameters, &zips, progress)?;
    cloud.seed(&setting.world)?;
    for (name, output) in [
        ("table", "TableName"),
        ("bus", "BusName"),
        ("publicAddress", "PublicAddress"),
    ] {
        if let Some(value) = stack.outputs.get(output) {
            cloud.remember(name, value.clone().into())?;
        }
    }
    cloud.remember("prefix", setting.prefix.clone().into())?;
    Ok(())
}

/// A world from a file, or an empty one.
pub(crate) fn world(file: Option<&Path>) -> Result<World, Failure> {
    match file {
        Some(file) => Ok(World::parse(
            &input::text(file)?,
            &format!("world file `{}`", file.display()),
        )?),
        None => Ok(World::default()),
    }
}

async fn up(
    prefix: &str,
    world_file: Option<&Path>,
    port: Option<u16>,
    wait_scale: f64,
    output: &Output,
) -> Result<(), Failure> {
    let ground = start(
        Setting {
            prefix: prefix.to_owned(),
            world: world(world_file)?,
            port,
            wait_scale,
            detached: true,
        },
        output,
    )
    .await?;
    let state = state(&ground).await?;
    if output.json {
        output.data(&state)?;
    } else {
        output.line(&format!(
            "the local cloud is up at {}",
            ground.cloud.endpoints().aws
        ))?;
        if let Some(address) = state.get("publicAddress").and_then(Value::as_str) {
            output.line(&format!("what the internet would call is at {address}"))?;
        }
    }
    output.say("eval \"$(gennaker local env)\" makes aws and gennaker talk to it; gennaker local down ends it");
    Ok(())
}

pub(crate) fn none_is_up() -> Failure {
    Failure::environment_with_hint("no local cloud is up", "gennaker local up starts one")
}

async fn down(output: &Output) -> Result<(), Failure> {
    let ended = blocking(|| {
        let Some(cloud) = find()? else {
            return Ok(false);
        };
        cloud.stop()?;
        Ok(true)
    })
    .await?;
    output.say(if ended {
        "the local cloud has ended"
    } else {
        "no local cloud is up"
    });
    Ok(())
}

/// What `local status --json` prints.
async fn state(ground: &Ground) -> Result<Value, Failure> {
    let machines = ground.with(LocalCloud::state_machines).await?;
    let mut state = serde_json::to_value(ground.cloud.state())
        .map_err(|error| Failure::environment(error.to_string()))?;
    if let Some(object) = state.as_object_mut() {
        object.insert("stateMachines".to_owned(), json!(machines));
    }
    Ok(state)
}

async fn status(output: &Output) -> Result<(), Failure> {
    let Some(ground) = found().await? else {
        if output.json {
            output.data(&json!({ "endpoints": {}, "table": null, "bus": null, "stateMachines": [], "pids": [] }))?;
        }
        return Err(Failure::No("no local cloud is up".to_owned()));
    };
    let state = state(&ground).await?;
    if output.json {
        return output.data(&state);
    }
    let text = |name: &str| state.get(name).map(crate::output::bare).unwrap_or_default();
    output.line(&format!("up at {}", ground.cloud.endpoints().aws))?;
    output.line(&format!("table {}, bus {}", text("table"), text("bus")))?;
    output.line(&format!(
        "webhooks are posted to {}/webhooks/{{type}}/{{source}}",
        text("publicAddress")
    ))?;
    output.line(&format!("processes {}", text("pids")))?;
    for machine in state
        .get("stateMachines")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        output.line(&format!("state machine {}", crate::output::bare(machine)))?;
    }
    Ok(())
}

async fn env(prefix: &str, output: &Output) -> Result<(), Failure> {
    let ground = found().await?.ok_or_else(none_is_up)?;
    let mut settings = ground.cloud.environment().clone();
    let prefix = ground
        .cloud
        .state()
        .more
        .get("prefix")
        .and_then(Value::as_str)
        .unwrap_or(prefix);
    settings.insert("GENNAKER_PREFIX".to_owned(), prefix.to_owned());
    if output.json {
        return output.data(&settings);
    }
    for (name, value) in &settings {
        output.line(&format!("export {name}='{}'", value.replace('\'', "'\\''")))?;
    }
    Ok(())
}
