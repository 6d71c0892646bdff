//! gobgpd's parent: a small process that outlives the agent, so that nothing that happens to the agent touches a BGP
//! session.
//!
//! It starts gobgpd, which listens on a unix socket in the runtime folder, and starts it again when it ends. What
//! gobgpd is told is none of its business: that is between the agent and gobgpd. If the speaker itself is killed,
//! gobgpd goes on, and the next speaker adopts it.

pub mod bfd;
mod gobgpd;
mod handle;
mod log;
mod process;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use self::gobgpd::{Program, finish};
pub use self::handle::{ensure, is_running, leftover, stop};
use crate::runtime::{self, Lock};

/// What the speaker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakerOptions {
    /// The program to run.
    pub gobgpd: PathBuf,
    /// Where the socket, the lock and the logs are.
    pub runtime_dir: PathBuf,
}

/// The name of the speaker's lock.
const LOCK: &str = "speaker";

/// The pause before gobgpd is started again; it doubles each time that gobgpd ends early.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A gobgpd that lived for this long did not end early.
const SETTLED: Duration = Duration::from_secs(60);

/// How often the logs are looked at.
const TRIM: Duration = Duration::from_secs(60);

/// The socket of the gobgpd that the speaker of this runtime folder starts.
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("gobgpd.sock")
}

/// Runs gobgpd until SIGTERM or SIGINT ends both. Fails if another speaker runs in the same runtime folder.
///
/// This changes the whole process: its umask, so that only its owner can reach gobgpd, and its session, so that the
/// agent's terminal has no hold on it.
pub async fn run(options: &SpeakerOptions) -> anyhow::Result<()> {
    let folder = runtime::prepare(&options.runtime_dir).context("runtimeDir")?;
    let _lock = Lock::take(&folder, LOCK)?;
    // A process group's leader cannot leave its session: then it was not the agent that started it.
    let _ = setsid();
    umask(Mode::RWXG | Mode::RWXO);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let _ignored = signal(SignalKind::hangup())?;
    let told_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let program = Program::new(&options.gobgpd, &folder);
    let socket = socket(&folder);
    info!(gobgpd = %options.gobgpd.display(), socket = %socket.display(), "speaker started");
    tokio::select! {
        () = supervise(&program, &socket, told_to_end) => {}
        never = log::keep_small(&folder, TRIM) => match never {},
    }
    info!("speaker ended");
    Ok(())
}

/// Keeps gobgpd running until told to end.
async fn supervise(program: &Program, socket: &Path, told_to_end: impl Future<Output = ()>) {
    let mut told_to_end = pin!(told_to_end);
    let mut pause = FIRST_PAUSE;
    let mut said = None;
    loop {
        let begun = Instant::now();
        match program.adopt_or_start().await {
            Ok(mut gobgpd) => {
                info!(pid = gobgpd.pid(), adopted = gobgpd.is_adopted(), "gobgpd runs");
                said = None;
                tokio::select! {
                    end = gobgpd.ended() => warn!(pid = gobgpd.pid(), "gobgpd {end}"),
                    () = program.deaf() => {
                        error!(pid = gobgpd.pid(), "gobgpd does not listen on {}; its log: {}", socket.display(), program.log());
                        if let Err(failure) = finish(socket, gobgpd).await {
                            error!("{failure:#}");
                        }
                    }
                    () = &mut told_to_end => {
                        if let Err(failure) = finish(socket, gobgpd).await {
                            error!("{failure:#}");
                        }
                        return;
                    }
                }
            }
            // Said once, not on every attempt.
            Err(failure) => {
                let failure = format!("{failure:#}");
                if said.as_ref() != Some(&failure) {
                    error!("{failure}");
                    said = Some(failure);
                }
            }
        }
        if begun.elapsed() >= SETTLED {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut told_to_end => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
