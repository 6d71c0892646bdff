//! The agent's side: is there a speaker, start one, stop it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};

use super::gobgpd::{adopt, finish};
use super::log::{Log, of_speaker};
use super::process::Process;
use super::{LOCK, socket};
use crate::runtime::{self, Lock};

/// How long a speaker may take to end: longer than it gives gobgpd.
const PATIENCE: Duration = Duration::from_secs(30);

/// The speakers that this process started, by runtime folder. They are its children, so it has to look after them when
/// they end.
static STARTED: Mutex<BTreeMap<PathBuf, Child>> = Mutex::new(BTreeMap::new());

/// Starts a speaker, detached, as `vipcast speaker --config CONFIG`, unless one runs in this runtime folder. What it
/// says goes to `speaker.log` there. Answers with the process ID of one that was started; to be called again from time
/// to time.
pub fn ensure(runtime_dir: &Path, config: &Path) -> anyhow::Result<Option<u32>> {
    let folder = runtime::prepare(runtime_dir).context("runtimeDir")?;
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(child) = started.get_mut(&folder) {
        let Some(status) = child.try_wait().context("speaker")? else {
            return Ok(None);
        };
        started.remove(&folder);
        if is_running(&folder).is_none() {
            let log = of_speaker(&folder);
            bail!("the speaker ended with {status}; it is started again; its log is {}", log.display());
        }
    }
    if is_running(&folder).is_some() {
        return Ok(None);
    }
    // The file that this process was started from may have been replaced since.
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let program = program.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let log = Log::open(&of_speaker(&folder)).with_context(|| format!("{}", of_speaker(&folder).display()))?;
    let child = Command::new(&program)
        .arg("speaker")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.writer()?)
        .stderr(log.writer()?)
        .spawn()
        .with_context(|| format!("{}", program.display()))?;
    let pid = child.id();
    started.insert(folder, child);
    Ok(Some(pid))
}

/// The process ID of the speaker of this runtime folder, as that process knows it (0 if it does not tell); `None` if
/// there is no speaker.
pub fn is_running(runtime_dir: &Path) -> Option<u32> {
    Lock::holder(runtime_dir, LOCK).map(|holder| holder.pid.unwrap_or_default())
}

/// The process ID of the gobgpd that listens in this runtime folder, whether or not a speaker looks after it: it outlives
/// a speaker that was killed. `None` if nobody listens. To be called within a Tokio runtime.
///
/// # Errors
/// When somebody listens who is no gobgpd of ours, or when it cannot be told who does.
pub async fn leftover(runtime_dir: &Path) -> anyhow::Result<Option<i32>> {
    let Some(folder) = existing(runtime_dir)? else {
        return Ok(None);
    };
    Ok(adopt(&socket(&folder)).await?.map(|gobgpd| gobgpd.pid()))
}

/// Stops the speaker of this runtime folder, if there is one, and with it gobgpd: also one whose speaker was killed. To
/// be called within a Tokio runtime.
///
/// # Errors
/// When one of the two goes on, or somebody else listens on gobgpd's socket.
pub async fn stop(runtime_dir: &Path) -> anyhow::Result<()> {
    stop_speaker(runtime_dir).await?;
    let Some(folder) = existing(runtime_dir)? else {
        return Ok(());
    };
    let socket = socket(&folder);
    let Some(gobgpd) = adopt(&socket).await? else {
        return Ok(());
    };
    // No new speaker may adopt it meanwhile, and start another one when this one ends.
    let _lock = Lock::take(&folder, LOCK)?;
    finish(&socket, gobgpd).await
}

/// The folder's path as a speaker knows it (see [`runtime::prepare`]), and gobgpd from its arguments; `None` if there is
/// no such folder.
fn existing(runtime_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    match runtime_dir.canonicalize() {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}", runtime_dir.display())),
    }
}

async fn stop_speaker(runtime_dir: &Path) -> anyhow::Result<()> {
    let Some(told) = is_running(runtime_dir) else {
        return Ok(());
    };
    let Some(pid) = i32::try_from(told).ok().and_then(Pid::from_raw) else {
        bail!("the speaker of {} does not tell its process ID", runtime_dir.display());
    };
    let mut process = match Process::open(pid) {
        Ok(process) => process,
        Err(_) if is_running(runtime_dir).is_none() => return Ok(()),
        Err(error) => bail!("the speaker, process {told}: {error}"),
    };
    if !runtime::has_open(runtime_dir, LOCK, told) {
        if is_running(runtime_dir).is_none() {
            return Ok(());
        }
        bail!("the speaker says that it is process {told}, which is another one here: stop it where it runs");
    }
    process.signal(Signal::TERM).with_context(|| format!("the speaker, process {told}"))?;
    match tokio::time::timeout(PATIENCE, process.ended()).await {
        Ok(ended) => ended.context("speaker"),
        Err(_) => bail!("the speaker, process {told}, goes on {} s after SIGTERM", PATIENCE.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_speaker_runs_none_is_started() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path(), LOCK).unwrap();
        assert_eq!(is_running(folder.path()), Some(std::process::id()));
        assert_eq!(ensure(folder.path(), Path::new("none.yaml")).unwrap(), None);
        drop(lock);
        assert_eq!(is_running(folder.path()), None);
    }

    #[test]
    fn a_speaker_that_ends_at_once_is_told_of_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        // This test program knows no --config, and says so.
        let pid = ensure(folder.path(), Path::new("none.yaml")).unwrap();
        assert!(pid.is_some());
        let error = loop {
            match ensure(folder.path(), Path::new("none.yaml")) {
                Ok(started) => assert_eq!(started, None),
                Err(error) => break error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(error.starts_with("the speaker ended with exit status"), "{error}");
        assert!(error.ends_with("/speaker.log"), "{error}");
        let log = std::fs::read_to_string(of_speaker(folder.path())).unwrap();
        assert!(log.contains("config"), "{log}");
    }

    #[tokio::test]
    async fn a_process_that_only_has_the_speakers_id_is_not_stopped() {
        let folder = tempfile::tempdir().unwrap();
        stop(folder.path()).await.unwrap();
        let _lock = Lock::take(folder.path(), LOCK).unwrap();
        let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(folder.path().join("speaker.lock"), other.id().to_string()).unwrap();
        let error = stop(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("process {}, which is another one", other.id())), "{error}");
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
