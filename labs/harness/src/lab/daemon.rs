//! A process that runs until it is told to end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::NsCommand;
use crate::wait_for;

/// A daemon inside a node. Dropped, it is killed (it alone: not what it started).
#[derive(Debug)]
pub struct Daemon {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command, both of its outputs appended to `log`.
    pub(super) fn start(name: &str, command: NsCommand<'_>, log: PathBuf) -> Result<Self> {
        let file = open(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        Self::over(name, child, log)
    }

    /// The same outside of a node: in the network namespace of this thread.
    pub(crate) fn spawn(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Self::over(name, child, log)
    }

    fn over(name: &str, child: Child, log: PathBuf) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id")?);
        Ok(Self { name: name.to_owned(), pid, child: Mutex::new(child), log })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The file of its log.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().with_context(|| format!("ask for {}", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Under the lock, so that the process id cannot have become somebody else's meanwhile.
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(self.pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        wait_for(timeout, &format!("the end of {}", self.name), || {
            Ok(self.ended()?.ok_or("still running").map_err(|state| format!("{state}\n{}", self.log())))
        })
    }

    /// Asks it to end (SIGTERM), and waits.
    pub fn terminate(&self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(timeout)
    }

    /// Kills it (SIGKILL), and waits.
    pub fn kill(&self) -> Result<ExitStatus> {
        let mut child = self.child();
        child.kill().and_then(|()| child.wait()).with_context(|| format!("kill {}", self.name))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log to append to.
fn open(log: &Path) -> Result<File> {
    File::options().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.kill();
    }
}
