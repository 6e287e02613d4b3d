//! The Python environment with the pinned emulators, made once below the target directory.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::children::{Program, go_on};
use crate::{Error, Progress, Step};

/// What is installed. Both emulators move fast, so every version is pinned; nothing else is installed, because
/// pip's resolver slows down with each further name.
pub const PINS: [&str; 4] = [
    "ministack==1.5.33",
    "moto[server]==5.2.5",
    "aws-sam-translator==1.115.0",
    // The protocol of the SDK's CloudWatch, which ministack reads only with this beside it.
    "cbor2==6.2.1",
];

/// How often it is looked whether another process has made the environment.
const LOCK_TICK: Duration = Duration::from_millis(50);

/// About how many packages pip collects for [`PINS`], for the progress bar.
const PACKAGES: u64 = 47;

/// The scripts of this crate: they are written next to the environment, so that an installed binary has them too.
const SCRIPTS: [(&str, &str); 7] = [
    ("supervisor.py", include_str!("../python/supervisor.py")),
    ("emulator.py", include_str!("../python/emulator.py")),
    ("world.py", include_str!("../python/world.py")),
    ("codebuild.py", include_str!("../python/codebuild.py")),
    ("packer.py", include_str!("../python/packer.py")),
    ("cloud.py", include_str!("../python/cloud.py")),
    ("seed.py", include_str!("../python/seed.py")),
];

/// A Python environment that has the emulators, and the directory with this crate's scripts.
#[derive(Debug, Clone)]
pub struct Python {
    bin: PathBuf,
    scripts: PathBuf,
}

impl Python {
    /// Makes the environment below `target_dir` (`local/venv`), or finds it made already.
    ///
    /// Takes about a minute the first time and needs the network then. Several processes may call it at once: one
    /// makes it, the others wait for a lock file. An environment made for other versions, or left half made, is made
    /// anew.
    ///
    /// # Errors
    /// [`Error::Python`] without a usable `python3`, [`Error::Install`] when pip fails, [`Error::File`].
    pub fn set_up(target_dir: &Path, progress: &dyn Progress) -> Result<Self, Error> {
        let local = target_dir.join("local");
        fs::create_dir_all(&local).map_err(Error::file(&local))?;
        let local = fs::canonicalize(&local).map_err(Error::file(&local))?;
        // It may be a link to an environment that is shared with another target directory.
        let venv = local.join("venv");
        let venv = fs::canonicalize(&venv).unwrap_or(venv);
        let marker = venv.join("gennaker-ready");
        // An environment holds absolute paths: it is another one when the checkout was moved.
        let key = format!("{}\n{}\n", PINS.join("\n"), venv.display());
        let lock_path = local.join("venv.lock");
        let lock = File::create(&lock_path).map_err(Error::file(&lock_path))?;
        take(&lock, &lock_path)?;
        if fs::read_to_string(&marker).ok().as_deref() != Some(&key) {
            make(&venv, progress)?;
            fs::write(&marker, &key).map_err(Error::file(&marker))?;
        }
        let scripts = write_scripts(&local)?;
        drop(lock);
        Ok(Self {
            bin: venv.join("bin"),
            scripts,
        })
    }

    /// The environment's `bin` directory.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The directory with this crate's scripts.
    #[must_use]
    pub fn scripts(&self) -> &Path {
        &self.scripts
    }

    /// A command that runs one of the scripts, with nothing of Python's own settings.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join("python"));
        command
            .arg(self.scripts.join(name))
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME");
        command
    }
}

fn make(venv: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let title = "installing the emulators";
    let say = |detail: &str, count: u64| {
        progress.report(Step {
            title: title.to_owned(),
            detail: detail.to_owned(),
            done: Some((count.min(PACKAGES), PACKAGES)),
        });
    };
    say("python3 -m venv", 0);
    if venv.exists() {
        fs::remove_dir_all(venv).map_err(Error::file(venv))?;
    }
    let check =
        "import sys; sys.exit(0 if sys.version_info >= (3, 10) else 'python3 is ' + sys.version)";
    run(Command::new("python3").args(["-c", check]))?;
    // Pip in a step of its own: `venv` keeps to itself why it could not be put in.
    run(Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(venv))?;
    run(Command::new(venv.join("bin/python")).args(["-Im", "ensurepip", "--default-pip"]))?;
    install(venv, &say)
}

/// Runs Python itself, for the set-up.
fn run(command: &mut Command) -> Result<(), Error> {
    let failed = |reason: String| Error::Python { reason };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program =
        Program::start(command).map_err(|why| why.or(|error| failed(error.to_string())))?;
    // Little is said: one pipe after the other.
    let mut text = String::new();
    if let Some(mut pipe) = program.child.stdout.take() {
        let _ = pipe.read_to_string(&mut text);
    }
    if let Some(mut pipe) = program.child.stderr.take() {
        let _ = pipe.read_to_string(&mut text);
    }
    if program.wait(failed)? {
        Ok(())
    } else {
        Err(failed(reason(&text)))
    }
}

/// Why a program of Python failed: what pip calls its error, or else the end of what was said. Pip's errors are followed
/// by the traceback of whoever called it, which names no reason.
fn reason(text: &str) -> String {
    let errors: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("ERROR: "))
        .collect();
    match errors.as_slice() {
        [] => last_lines(text, 4),
        errors => last_lines(&errors.join("\n"), 4),
    }
}

/// Waits for the lock that another process may hold while it makes the environment.
fn take(lock: &File, path: &Path) -> Result<(), Error> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {
                go_on()?;
                std::thread::sleep(LOCK_TICK);
            }
            Err(TryLockError::Error(error)) => return Err(Error::file(path)(error)),
        }
    }
}

/// Runs pip and counts what it collects.
fn install(venv: &Path, say: &dyn Fn(&str, u64)) -> Result<(), Error> {
    let failed = |reason: String| Error::Install {
        pins: PINS.join(" "),
        reason,
    };
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
    ])
    .args(PINS)
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped());
    let mut program =
        Program::start(&mut pip).map_err(|why| why.or(|error| failed(error.to_string())))?;
    // Both pipes are read at once: a full one would stop pip.
    let errors = program.child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is not shown; pip's exit status decides.
            let _ = pipe.read_to_string(&mut text);
            text
        })
    });
    let mut count = 0;
    if let Some(pipe) = program.child.stdout.take() {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(package) = line.strip_prefix("Collecting ") {
                count += 1;
                say(package.split_whitespace().next().unwrap_or(package), count);
            } else if line.starts_with("Installing collected") {
                say("unpacking", PACKAGES);
            }
        }
    }
    let succeeded = program.wait(failed)?;
    let errors = errors
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    if succeeded {
        Ok(())
    } else {
        Err(failed(reason(&errors)))
    }
}

/// Writes the scripts into a directory named by their content, so that clouds of different versions do not disturb
/// each other, and a second call finds them there.
fn write_scripts(local: &Path) -> Result<PathBuf, Error> {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for (name, text) in SCRIPTS {
        hash.update(name);
        hash.update(text);
    }
    let short: String = hex::encode(hash.finalize()).chars().take(16).collect();
    let directory = local.join(format!("scripts-{short}"));
    fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
    for (name, text) in SCRIPTS {
        let path = directory.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
    }
    Ok(directory)
}

/// The last lines of a program's output, for a message: one line as it is, several set off from the message.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines.iter().skip(lines.len().saturating_sub(count));
    match lines.len() {
        0 => "it said nothing".to_owned(),
        1 => last.map(|line| line.trim()).collect(),
        _ => last
            .map(|line| format!("\n  | {}", line.trim_end()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{last_lines, reason};

    #[test]
    fn a_full_disk_is_the_reason_and_not_the_traceback_after_it() {
        let said = "Installing collected packages: setuptools, pip\n\
            ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n\
            Traceback (most recent call last):\n  File \"runpy.py\", line 198\n\
            subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.\n";
        assert_eq!(
            reason(said),
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
        );
        assert_eq!(
            reason("No module named ensurepip\n"),
            "No module named ensurepip"
        );
    }

    #[test]
    fn the_end_of_an_output_is_shown_as_it_was() {
        assert_eq!(last_lines("", 2), "it said nothing");
        assert_eq!(
            last_lines("no module named venv\n", 2),
            "no module named venv"
        );
        assert_eq!(last_lines("a\n\nb\n  c\n", 2), "\n  | b\n  |   c");
    }
}
