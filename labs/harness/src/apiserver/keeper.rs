//! Daemons that do not outlive this process, however it ends: a test binary that is killed, or that keeps a control
//! plane in a static (statics are never dropped), leaves nothing behind.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use super::locked;
use crate::lab::Daemon;

/// Reads `+ PID` and `- PID`. At the end of its input, which is the end of who wrote it, it kills those that were not
/// taken back, and removes the folder.
const SCRIPT: &str = r#"
pids=' '
while read -r sign pid; do
    case $sign in
        +) pids="$pids$pid " ;;
        -) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
for pid in $pids; do kill -KILL "$pid"; done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// The process that outlives us to tidy up.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    child: Arc<Mutex<Guardian>>,
}

#[derive(Debug)]
struct Guardian(Child);

/// A daemon that the keeper knows. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Kept {
    daemon: Daemon,
    keeper: Keeper,
}

impl Keeper {
    /// Starts the keeper of `folder`, which is removed in the end.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "vipcast-lab-keeper"]).arg(folder).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, so that Ctrl-C ends us and not the keeper.
        let child = command.process_group(0).spawn().context("start the keeper of the daemons")?;
        Ok(Self { child: Arc::new(Mutex::new(Guardian(child))) })
    }

    /// Starts a daemon that ends with us at the latest.
    pub(super) fn spawn(&self, name: &str, command: Command, log: PathBuf) -> Result<Kept> {
        let daemon = Daemon::spawn(name, command, log)?;
        self.tell('+', daemon.pid()).inspect_err(|_| drop(daemon.kill()))?;
        Ok(Kept { daemon, keeper: self.clone() })
    }

    fn tell(&self, sign: char, pid: u32) -> Result<()> {
        let mut guardian = locked(&self.child);
        let pipe = guardian.0.stdin.as_mut().context("the keeper of the daemons has no input")?;
        writeln!(pipe, "{sign} {pid}").context("tell the keeper of a daemon")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It removes the folder and ends.
        let _ = self.0.wait();
    }
}

impl Kept {
    pub(super) fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        // Where the keeper is gone, nobody can mistake the process id any more.
        let _ = self.keeper.tell('-', self.daemon.pid());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::netns::process_exists;
    use crate::wait_until;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("1000");
        command
    }

    #[test]
    fn what_is_not_taken_back_ends_with_the_keeper() {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let keeper = Keeper::start(&folder).expect("a keeper");
        let spawn = |name: &str| keeper.spawn(name, sleeper(), folder.join("log")).expect("a daemon");
        let (forgotten, dropped, last) = (spawn("forgotten"), spawn("dropped"), spawn("last"));
        drop(dropped);
        // As at the end of a process that drops nothing: the pipe closes.
        drop(locked(&keeper.child).0.stdin.take());
        for kept in [&forgotten, &last] {
            kept.daemon().wait(Duration::from_secs(10)).expect("it was killed");
        }
        wait_until(Duration::from_secs(10), "the folder's end", || Ok(!folder.exists())).expect("removed");
    }

    #[test]
    fn a_dropped_daemon_is_gone() {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let keeper = Keeper::start(&folder).expect("a keeper");
        let kept = keeper.spawn("sleeper", sleeper(), folder.join("log")).expect("a daemon");
        let pid = kept.daemon().pid();
        assert!(process_exists(pid));
        drop(kept);
        assert!(!process_exists(pid));
        drop(keeper);
        assert!(!folder.exists());
    }
}
