//! The gobgpd process: started here, or by an earlier speaker that was killed.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tracing::{info, warn};

use super::log::Log;
use super::process::Process;

/// How long gobgpd may take to say goodbye to its peers.
const GOODBYE: Duration = Duration::from_secs(10);

/// How long gobgpd may take to listen on its socket. GoBGP 4 goes on without one if it cannot.
const HEARING: Duration = Duration::from_secs(15);

/// How often it is looked whether it listens.
const KNOCK: Duration = Duration::from_millis(200);

/// What newer gobgpds take so that they serve no metrics of their own on a TCP port.
const NO_METRICS: &str = "--metrics-path=";

/// What to run, and where.
pub(super) struct Program {
    gobgpd: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

/// A running gobgpd. Dropping it does not end it.
pub(super) struct Gobgpd {
    process: Process,
    /// Our child with its log; `None`: an earlier speaker's child.
    child: Option<(Child, Log)>,
}

/// How a gobgpd ended.
pub(super) enum End {
    /// With this status, after these last words.
    Ended(io::Result<ExitStatus>, Option<String>),
    /// Nobody knows: only a parent is told.
    Unknown,
}

impl Program {
    /// The program `gobgpd`, with its socket and its log in `folder`.
    pub(super) fn new(gobgpd: &Path, folder: &Path) -> Program {
        Program { gobgpd: gobgpd.to_owned(), socket: super::socket(folder), log: super::log::of_gobgpd(folder) }
    }

    /// The file that gobgpd writes its log to.
    pub(super) fn log(&self) -> std::path::Display<'_> {
        self.log.display()
    }

    /// The gobgpd that an earlier speaker left behind, or else a new one.
    pub(super) async fn adopt_or_start(&self) -> anyhow::Result<Gobgpd> {
        match adopt(&self.socket).await? {
            Some(gobgpd) => Ok(gobgpd),
            None => self.start().await,
        }
    }

    async fn start(&self) -> anyhow::Result<Gobgpd> {
        // gobgpd writes the file itself: a pipe to the speaker would kill it when the speaker is killed.
        let log = Log::open(&self.log).with_context(|| format!("{}", self.log.display()))?;
        let metrics = self.knows(NO_METRICS).await.then_some(NO_METRICS);
        let child = Command::new(&self.gobgpd)
            .args([&api_hosts(&self.socket), "--pprof-disable", "--log-level=info"])
            .args(metrics)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.writer()?)
            .stderr(log.writer()?)
            .spawn();
        let child = child.map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!(
                "there is no gobgpd at {}: install it (Debian package gobgpd), or say in bgp.gobgpd where it is",
                self.gobgpd.display()
            ),
            _ => anyhow!("{}: {error}", self.gobgpd.display()),
        })?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("gobgpd has no process ID")?;
        Ok(Gobgpd { process: Process::open(pid)?, child: Some((child, log)) })
    }

    /// Does the program have this option, as far as it tells?
    async fn knows(&self, option: &str) -> bool {
        let help = Command::new(&self.gobgpd).arg("--help").stdin(Stdio::null()).kill_on_drop(true).output();
        match tokio::time::timeout(HEARING, help).await {
            Ok(Ok(help)) => String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).contains(option),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Ends once gobgpd has had its time and does not listen: then nobody can reach it. Never, where it listens.
    pub(super) async fn deaf(&self) {
        let knock = async {
            while UnixStream::connect(&self.socket).await.is_err() {
                tokio::time::sleep(KNOCK).await;
            }
        };
        if tokio::time::timeout(HEARING, knock).await.is_ok() {
            std::future::pending().await
        }
    }
}

/// Who listens on the socket, if it is a gobgpd that was started for it. Nobody else can be ours, whatever a file
/// may say about process IDs.
pub(super) async fn adopt(socket: &Path) -> anyhow::Result<Option<Gobgpd>> {
    let listener = match UnixStream::connect(socket).await {
        Ok(stream) => stream.peer_cred().map(|owner| owner.pid()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            remove_socket(socket);
            return Ok(None);
        }
        Err(error) => Err(error),
    };
    let name = socket.display();
    let pid = listener.with_context(|| format!("{name}"))?.and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| anyhow!("{name} is in use by a process that cannot be seen from here"))?;
    // Of two steps that could hit another process of the same ID, the second proves the first.
    let process = Process::open(pid).with_context(|| format!("{name} is in use by process {pid}"))?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let api_hosts = api_hosts(socket);
    if !command.split(|byte| *byte == 0).any(|word| word == api_hosts.as_bytes()) {
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        bail!("{name} is in use by process {pid}, which is no gobgpd of ours: {}", command.trim_end());
    }
    Ok(Some(Gobgpd { process, child: None }))
}

/// Removes the socket of a gobgpd that is gone: gobgpd does not start over a dead one.
pub(super) fn remove_socket(socket: &Path) {
    let _ = std::fs::remove_file(socket);
}

/// The argument that says where gobgpd listens: also what tells ours from others.
fn api_hosts(socket: &Path) -> String {
    format!("--api-hosts=unix://{}", socket.display())
}

impl Gobgpd {
    /// Its process ID.
    pub(super) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Was it started by an earlier speaker?
    pub(super) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    /// Waits until it ends.
    pub(super) async fn ended(&mut self) -> End {
        match &mut self.child {
            Some((child, log)) => {
                let status = child.wait().await;
                End::Ended(status, log.last_line())
            }
            None => {
                let ended = self.process.ended().await;
                // A speaker that took its own place is the parent of what it adopts.
                self.process.reap();
                ended.map_or_else(|error| End::Ended(Err(error), None), |()| End::Unknown)
            }
        }
    }

    /// Sends a signal. It is no error if it has ended already.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }
}

/// Ends the gobgpd that listens on `socket`, gently at first, and removes the socket.
pub(super) async fn finish(socket: &Path, gobgpd: Gobgpd) -> anyhow::Result<()> {
    end(socket, gobgpd, &[Signal::TERM, Signal::KILL]).await
}

/// The same without a word to the peers.
pub(super) async fn finish_at_once(socket: &Path, gobgpd: Gobgpd) -> anyhow::Result<()> {
    end(socket, gobgpd, &[Signal::KILL]).await
}

async fn end(socket: &Path, mut gobgpd: Gobgpd, signals: &[Signal]) -> anyhow::Result<()> {
    for signal in signals.iter().copied() {
        if let Err(error) = gobgpd.signal(signal) {
            warn!(pid = gobgpd.pid(), "gobgpd cannot be sent {signal:?}: {error}");
        }
        match tokio::time::timeout(GOODBYE, gobgpd.ended()).await {
            Ok(end) => {
                info!(pid = gobgpd.pid(), "gobgpd {end}");
                remove_socket(socket);
                return Ok(());
            }
            Err(_) => warn!(pid = gobgpd.pid(), "gobgpd goes on after {signal:?}"),
        }
    }
    // With its socket, so that it can still be found.
    bail!("gobgpd, process {}, does not end", gobgpd.pid())
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Ended(Ok(status), _) => write!(f, "ended with {status}")?,
            End::Ended(Err(error), _) => write!(f, "ended, and its status is lost: {error}")?,
            End::Unknown => write!(f, "ended")?,
        }
        match self {
            End::Ended(_, Some(words)) => write!(f, "; its last words: {words}"),
            End::Ended(_, None) | End::Unknown => Ok(()),
        }
    }
}
