//! Starting, finding and ending a local cloud.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::children::{Program, go_on};
use crate::session::Session;
use crate::surroundings;
use crate::{Error, Progress, Python, Step, World};

/// The processes that are waited for, for the progress bar.
const PROCESSES: u64 = 3;
/// The supervisor needs at most 5 s for a polite end and a moment for the rest.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How long the logs of a cloud that failed are kept.
const KEPT_LOGS: Duration = Duration::from_secs(3600);

/// How a cloud is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cargo's target directory; everything is below its `local`.
    pub target_dir: PathBuf,
    /// The port of the main emulator; `None` takes a free one.
    pub port: Option<u16>,
    /// Factor on the waits and retry intervals of Step Functions: 0.05 is twenty times faster.
    pub wait_scale: f64,
    /// How images behave. Its clusters are created by [`LocalCloud::seed`], not by the start.
    pub world: World,
    /// True for `gennaker local up`: the cloud outlives this process and is written to the state file.
    pub detached: bool,
    /// What the functions have in their environment besides. `AWS_ENDPOINT_URL_DYNAMODB` leads one service's calls
    /// through a test's own process, and nobody's else: [`LocalCloud::environment`] does not have it.
    pub function_environment: BTreeMap<String, String>,
}

impl Options {
    /// A cloud on free ports with unscaled waits that ends with this process.
    #[must_use]
    pub fn new(target_dir: impl Into<PathBuf>) -> Self {
        Self {
            target_dir: target_dir.into(),
            port: None,
            wait_scale: 1.0,
            world: World::default(),
            detached: false,
            function_environment: BTreeMap::new(),
        }
    }
}

/// Where the services answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Everything that has no endpoint of its own.
    pub aws: String,
    /// EC2.
    pub ec2: String,
    /// Auto Scaling.
    pub autoscaling: String,
    /// Elastic Load Balancing, version 2.
    pub elasticloadbalancing: String,
    /// STS.
    pub sts: String,
    /// CodeBuild.
    pub codebuild: String,
}

/// A cloud that is up, as `target/local/cloud.json` has it and as the supervisor reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Where the services answer.
    pub endpoints: Endpoints,
    /// The supervisor first, then the processes it started. Functions come and go and are not listed.
    pub pids: Vec<u32>,
    /// What makes an AWS SDK talk to this cloud.
    pub environment: BTreeMap<String, String>,
    /// Where logs, builds and unpacked functions are.
    #[serde(default)]
    pub run: PathBuf,
    /// What callers add: table, bus, and whatever they need later.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// A running local cloud. Dropping it ends it, unless it was started detached.
#[derive(Debug)]
pub struct LocalCloud {
    python: Python,
    state: StateFile,
    state_path: PathBuf,
    // `None` for a cloud that another process started.
    owner: Option<Owner>,
    // Idle ones. Made when a call finds none: many commands make no call, and a call may take long.
    sessions: Mutex<Vec<Session>>,
}

/// The supervisor as its parent sees it. Its standard input is what keeps it alive.
#[derive(Debug)]
struct Owner {
    supervisor: Program,
    detached: bool,
    news: Arc<News>,
}

/// The supervisor's report that it gave up.
#[derive(Debug, Default)]
struct News {
    problem: Mutex<Option<Report>>,
    changed: Condvar,
}

/// One line from the supervisor.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Report {
    Waiting {
        name: String,
    },
    Ready(Box<StateFile>),
    Failed {
        name: String,
        reason: String,
        log: String,
    },
    Died {
        name: String,
        reason: String,
        log: String,
    },
}

impl Report {
    fn error(self) -> Option<Error> {
        match self {
            Self::Failed { name, reason, log } => Some(Error::Start { name, reason, log }),
            Self::Died { name, reason, log } => Some(Error::Died { name, reason, log }),
            Self::Waiting { .. } | Self::Ready(_) => None,
        }
    }
}

impl LocalCloud {
    /// Sets up the Python environment if needed, starts the emulators and waits until all of them answer (1 to 2 s).
    ///
    /// However this process ends, the cloud ends with it, unless `detached`.
    ///
    /// # Errors
    /// [`Error::Python`] and [`Error::Install`] from the set-up, [`Error::Start`] when a process does not come up or
    /// the port is in use, [`Error::AlreadyUp`] for a second detached cloud, [`Error::File`], [`Error::Interrupted`].
    pub fn start(options: &Options, progress: &dyn Progress) -> Result<Self, Error> {
        let python = Python::set_up(&options.target_dir, progress)?;
        let local = options.target_dir.join("local");
        let local = fs::canonicalize(&local).map_err(Error::file(&local))?;
        let state_path = local.join("cloud.json");
        if options.detached
            && let Some(state) = read_live_state(&state_path)?
        {
            return Err(Error::AlreadyUp {
                pid: state.pids.first().copied().unwrap_or(0),
            });
        }
        let run = local.join(surroundings::run_name());
        if run.exists() {
            // Left by a process that had our id before.
            fs::remove_dir_all(&run).map_err(Error::file(&run))?;
        }
        fs::create_dir_all(&run).map_err(Error::file(&run))?;
        forget_old_runs(&local);
        write_json(&run.join("world.json"), &options.world)?;
        let specification = serde_json::json!({
            "run": run,
            "scripts": python.scripts(),
            "bin": python.bin(),
            "port": options.port.unwrap_or(0),
            "wait_scale": options.wait_scale,
            "detached": options.detached,
            "state": options.detached.then_some(&state_path),
            "path": surroundings::path().to_string_lossy(),
            "function_environment": options.function_environment,
        });
        let specification_path = run.join("cloud.json");
        write_json(&specification_path, &specification)?;
        let log_path = run.join("supervisor.log");
        let log = fs::File::create(&log_path).map_err(Error::file(&log_path))?;
        let mut command = python.script("supervisor.py");
        command
            .arg(&specification_path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut supervisor = Program::start(&mut command).map_err(|why| {
            why.or(|error| Error::Python {
                reason: error.to_string(),
            })
        })?;
        let outcome = wait_until_ready(&mut supervisor.child, progress, &log_path);
        let outcome = outcome.or_else(|error| go_on().and(Err(error)));
        supervisor.release();
        let (mut state, news) = match outcome {
            Ok(ready) => ready,
            Err(error) => {
                request_stop(&run);
                end(&mut supervisor.child);
                return Err(error);
            }
        };
        state.run = run;
        Ok(Self {
            python,
            state,
            state_path,
            owner: Some(Owner {
                supervisor,
                detached: options.detached,
                news,
            }),
            sessions: Mutex::default(),
        })
    }

    /// The detached cloud that is up below this target directory, if there is one.
    ///
    /// # Errors
    /// [`Error::File`], and the errors of [`Python::set_up`].
    pub fn find(target_dir: &Path) -> Result<Option<Self>, Error> {
        Self::find_at(target_dir, target_dir.join("local").join("cloud.json"))
    }

    /// The cloud that another process wrote to `state_path`, if it is up: tests hand theirs to the commands they run.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_at(target_dir: &Path, state_path: PathBuf) -> Result<Option<Self>, Error> {
        let Some(state) = read_live_state(&state_path)? else {
            return Ok(None);
        };
        let python = Python::set_up(target_dir, &crate::Silent)?;
        Ok(Some(Self {
            python,
            state,
            state_path,
            owner: None,
            sessions: Mutex::default(),
        }))
    }

    /// Where the services answer.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.state.endpoints
    }

    /// What makes an AWS SDK talk to this cloud: endpoints, region and credentials. The functions have the same.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.state.environment
    }

    /// All that is known about this cloud.
    #[must_use]
    pub fn state(&self) -> &StateFile {
        &self.state
    }

    /// The Python environment of this cloud.
    #[must_use]
    pub fn python(&self) -> &Python {
        &self.python
    }

    /// The directory with the logs (`ministack.log`, `world.log`, `codebuild.log`) and builds of this cloud. It is
    /// removed with the cloud.
    #[must_use]
    pub fn run_directory(&self) -> &Path {
        &self.state.run
    }

    /// Remembers something for later commands (`table`, `bus`): in the state file of a detached cloud, else only in
    /// this value.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remember(&mut self, name: &str, value: serde_json::Value) -> Result<(), Error> {
        self.state.more.insert(name.to_owned(), value);
        if self.is_detached() {
            let mut state = serde_json::to_value(&self.state).unwrap_or_default();
            if let (Some(object), Some(pid)) = (state.as_object_mut(), self.state.pids.first()) {
                // The supervisor removes the file only if it is its own.
                object.insert("supervisor".to_owned(), (*pid).into());
            }
            write_json(&self.state_path, &state)?;
        }
        Ok(())
    }

    fn is_detached(&self) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner.detached)
    }

    /// Replaces what images do from now on. Instances that run keep what they have.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_world(&self, world: &World) -> Result<(), Error> {
        write_json(&self.state.run.join("world.json"), world)
    }

    /// One call of `cloud.py`. Calls from several threads go on at once, each in a session of its own.
    pub(crate) fn operate(
        &self,
        operation: &str,
        arguments: &serde_json::Value,
        title: &str,
        progress: &dyn Progress,
    ) -> Result<serde_json::Value, Error> {
        let idle = || self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = idle().pop();
        let mut session = match session {
            Some(session) => session,
            None => Session::start(&self.python, &self.state.environment)?,
        };
        let result = session.call(operation, arguments, title, progress);
        if session.is_over() {
            // A dead emulator is the better explanation.
            self.check()?;
        } else {
            idle().push(session);
        }
        result
    }

    /// Fails once a process of this cloud has died (the rest is ended then).
    ///
    /// # Errors
    /// [`Error::Died`].
    pub fn check(&self) -> Result<(), Error> {
        self.check_for(Duration::ZERO)
    }

    /// As [`Self::check`], but waits up to `patience` for a process to die.
    ///
    /// # Errors
    /// [`Error::Died`].
    pub fn check_for(&self, patience: Duration) -> Result<(), Error> {
        let Some(owner) = &self.owner else {
            let pid = self.state.pids.first().copied().unwrap_or(0);
            return if is_supervisor(pid, &self.state.run) {
                Ok(())
            } else {
                Err(Error::Died {
                    name: "supervisor".to_owned(),
                    reason: "it is not running any more".to_owned(),
                    log: String::new(),
                })
            };
        };
        let problem = owner
            .news
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (problem, _) = owner
            .news
            .changed
            .wait_timeout_while(problem, patience, |problem| problem.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        problem.clone().and_then(Report::error).map_or(Ok(()), Err)
    }

    /// Ends the cloud and waits until every process of it has ended.
    ///
    /// # Errors
    /// [`Error::Call`] when a cloud that another process started does not end within 15 s.
    pub fn stop(mut self) -> Result<(), Error> {
        if let Some(owner) = &mut self.owner {
            request_stop(&self.state.run);
            end(&mut owner.supervisor.child);
            self.owner = None;
            return Ok(());
        }
        let pid = self.state.pids.first().copied().unwrap_or(0);
        request_stop(&self.state.run);
        let tick = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        while is_supervisor(pid, &self.state.run) {
            if waited > STOP_PATIENCE {
                return Err(Error::Call {
                    operation: "stop".to_owned(),
                    reason: format!(
                        "process {pid} did not end within {} s",
                        STOP_PATIENCE.as_secs()
                    ),
                });
            }
            std::thread::sleep(tick);
            waited += tick;
        }
        Ok(())
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        if let Some(owner) = &mut self.owner
            && !owner.detached
        {
            end(&mut owner.supervisor.child);
        }
    }
}

/// Removes what clouds left that could not clean up (their logs stay for an hour).
fn forget_old_runs(local: &Path) {
    for entry in fs::read_dir(local).into_iter().flatten().flatten() {
        let run = entry.path();
        let is_run = entry.file_name().to_string_lossy().starts_with("run-");
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT_LOGS));
        if !is_run || !is_old {
            continue;
        }
        let pid = fs::read_to_string(run.join("supervisor.pid"));
        let lives =
            pid.is_ok_and(|pid| pid.trim().parse().is_ok_and(|pid| is_supervisor(pid, &run)));
        if !lives {
            // Another process may be doing the same.
            let _ = fs::remove_dir_all(&run);
        }
    }
}

/// A detached supervisor does not look at its standard input; this file is what it looks for.
fn request_stop(run: &Path) {
    // When the directory is gone, the cloud is.
    let _ = fs::write(run.join("stop"), "");
}

/// Closes the supervisor's standard input and waits for its end; kills it if that takes too long (the processes it
/// started end with it then, by their parent-death signal).
fn end(child: &mut Child) {
    drop(child.stdin.take());
    let tick = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    while let Ok(None) = child.try_wait() {
        if waited > STOP_PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(tick);
        waited += tick;
    }
}

/// Reads reports until the cloud is ready; later reports are read by a thread of their own.
fn wait_until_ready(
    child: &mut Child,
    progress: &dyn Progress,
    log_path: &Path,
) -> Result<(StateFile, Arc<News>), Error> {
    let ended = |log_path: &Path| Error::Start {
        name: "supervisor".to_owned(),
        reason: "it ended without a word".to_owned(),
        log: fs::read_to_string(log_path).unwrap_or_default(),
    };
    let Some(pipe) = child.stdout.take() else {
        return Err(ended(log_path));
    };
    let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
    let mut answering = 0;
    for line in lines.by_ref() {
        match serde_json::from_str::<Report>(&line) {
            Ok(Report::Waiting { name }) => {
                progress.report(Step {
                    title: "starting the local cloud".to_owned(),
                    detail: name,
                    done: Some((answering, PROCESSES)),
                });
                answering += 1;
            }
            Ok(Report::Ready(state)) => {
                let news = Arc::new(News::default());
                let sender = Arc::clone(&news);
                std::thread::spawn(move || {
                    for line in lines {
                        if let Ok(report) = serde_json::from_str::<Report>(&line) {
                            *sender
                                .problem
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner) = Some(report);
                            sender.changed.notify_all();
                        }
                    }
                });
                return Ok((*state, news));
            }
            Ok(report) => return Err(report.error().unwrap_or_else(|| ended(log_path))),
            Err(_) => {}
        }
    }
    Err(ended(log_path))
}

/// The state file's content, if the cloud it speaks of is up. A stale file is removed.
fn read_live_state(path: &Path) -> Result<Option<StateFile>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    let live = serde_json::from_str::<StateFile>(&text)
        .ok()
        .filter(|state| is_supervisor(state.pids.first().copied().unwrap_or(0), &state.run));
    if live.is_none() {
        let _ = fs::remove_file(path);
    }
    Ok(live)
}

/// Whether this process is the supervisor of that run. A process id alone may belong to anybody by now.
fn is_supervisor(pid: u32, run: &Path) -> bool {
    // Linux first: small systems have no `ps`.
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok().or_else(|| {
        let mut ps = Command::new("ps");
        ps.args(["-ww", "-o", "args=", "-p", &pid.to_string()]);
        ps.output().ok().map(|output| output.stdout)
    });
    line.is_some_and(|line| {
        let line = String::from_utf8_lossy(&line);
        line.contains("supervisor.py") && line.contains(&*run.to_string_lossy())
    })
}

/// Writes a file in one piece: a reader sees the old or the new content.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Input {
        what: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(Error::file(&new))?;
    fs::rename(&new, path).map_err(Error::file(path))
}
