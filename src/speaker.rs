//! The holder of what is announced: a small process that outlives the agent, so that nothing that happens to the agent
//! touches a BGP session, and no route outlives the data plane that it stands for.
//!
//! It is gobgpd's parent, unless that is somebody else's: it starts gobgpd, which listens on a unix socket in the runtime
//! folder, and starts it again when it ends. What gobgpd is told is between the agent and gobgpd, with two exceptions. The
//! speaker holds the announcement lease (`lease`, `keeper`), which the agent renews over a socket of the speaker's own
//! (`wire`, `socket`): when it lapses, the speaker withdraws what is out. And it speaks BFD. If the speaker itself is
//! killed, gobgpd goes on, and the next speaker adopts it and goes on with the last orders (`store`).

pub mod bfd;
mod gobgpd;
mod hand_over;
mod handle;
mod hands;
mod holder;
mod keeper;
mod lease;
mod log;
mod process;
mod reach;
mod sessions;
mod socket;
mod store;
pub mod wire;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::OptionFuture;
use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use self::gobgpd::{Program, finish, finish_at_once};
pub use self::handle::{ensure, is_running, leftover, stop};
use self::hands::{OwnHands, Word};
use self::keeper::Keeper;
use self::sessions::Sessions;
use self::store::Store;
use crate::apply::bgp::Endpoint;
use crate::config::Gobgpd;
use crate::runtime::{self, Lock};

/// What the speaker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakerOptions {
    /// The gobgpd to run, or to reach; `None`: there is no BGP.
    pub gobgpd: Option<Gobgpd>,
    /// Where the sockets, the lock and the logs are.
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

/// The socket on which the speaker of this runtime folder hears its agent.
pub fn own_socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("speaker.sock")
}

/// How many of the agent's words may wait.
const VISITS: usize = 256;

/// Holds what is announced, and runs gobgpd if that is ours, until SIGTERM or SIGINT ends both. Fails if another speaker runs
/// in the same runtime folder.
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
    let mut hangup = signal(SignalKind::hangup())?;
    let told_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let gobgpd_socket = socket(&folder);
    let (endpoint, program) = match &options.gobgpd {
        Some(Gobgpd::Spawn(path)) => (Some(Endpoint::unix(&gobgpd_socket)?), Some(Program::new(path, &folder))),
        Some(Gobgpd::Address(address)) => (Some(address.parse()?), None),
        None => (None, None),
    };
    let (end, words) = mpsc::channel(1);
    let (sessions, held) = Sessions::start(&folder)?;
    let (hand, news) = mpsc::unbounded_channel();
    let holder = endpoint.clone().map(|endpoint| holder::hold(endpoint, held.clone(), sessions.clone()));
    let hands = OwnHands::new(endpoint, program.is_some().then_some(end), sessions.clone());
    let own_socket = own_socket(&folder);
    let listener = socket::bind(&own_socket).with_context(|| format!("{}", own_socket.display()))?;
    let (desk, visits) = mpsc::channel(VISITS);
    info!(socket = %own_socket.display(), "speaker started");
    let look_after = async {
        match &program {
            Some(program) => supervise(program, &gobgpd_socket, words, told_to_end).await,
            None => told_to_end.await,
        }
    };
    tokio::select! {
        () = look_after => {}
        () = Keeper::new(hands, Store::new(&folder), held).keep(visits, news) => {}
        () = socket::serve(listener, desk) => {}
        () = sessions.clone().tell(hand) => {}
        Some(()) = OptionFuture::from(holder) => {}
        () = async { while hangup.recv().await.is_some() { hand_over::hand_over(&sessions).await } } => {}
        never = log::keep_small(&folder, TRIM) => match never {},
    }
    // After gobgpd's good-bye: who sees BFD end first drops the routes without having heard of it.
    sessions.close();
    // The next speaker makes it anew; until then nobody is to wait at a dead one.
    let _ = std::fs::remove_file(own_socket);
    info!("speaker ended");
    Ok(())
}

/// Keeps gobgpd running until told to end; one that hangs or is to be another one is ended at a word from `words`.
async fn supervise(
    program: &Program,
    socket: &Path,
    mut words: mpsc::Receiver<Word>,
    told_to_end: impl Future<Output = ()>,
) {
    let mut told_to_end = pin!(told_to_end);
    let mut pause = FIRST_PAUSE;
    let mut said = None;
    let mut restarting: Option<oneshot::Sender<()>> = None;
    loop {
        let begun = Instant::now();
        let started = program.adopt_or_start().await;
        // What was said of the one before is not for this one. Who waits for a restart hears that there was none.
        while words.try_recv().is_ok() {}
        match started {
            Ok(mut gobgpd) => {
                info!(pid = gobgpd.pid(), adopted = gobgpd.is_adopted(), "gobgpd runs");
                said = None;
                if let Some(done) = restarting.take() {
                    // Whoever asked for it may have gone away.
                    let _ = done.send(());
                }
                tokio::select! {
                    end = gobgpd.ended() => warn!(pid = gobgpd.pid(), "gobgpd {end}"),
                    () = program.deaf() => {
                        error!(pid = gobgpd.pid(), "gobgpd does not listen on {}; its log: {}", socket.display(), program.log());
                        if let Err(failure) = finish(socket, gobgpd).await {
                            error!("{failure:#}");
                        }
                    }
                    Some(word) = words.recv() => {
                        let at_once = match word {
                            Word::Kill => {
                                error!(pid = gobgpd.pid(), "gobgpd hangs, and its routes have to go: it is killed");
                                true
                            }
                            Word::Restart { graceful, done } => {
                                info!(pid = gobgpd.pid(), graceful, "told to restart gobgpd");
                                restarting = Some(done);
                                graceful
                            }
                        };
                        let finished =
                            if at_once { finish_at_once(socket, gobgpd).await } else { finish(socket, gobgpd).await };
                        if let Err(failure) = finished {
                            error!("{failure:#}");
                            // It runs still, and is adopted again: that is no restart.
                            restarting = None;
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
                restarting = None;
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

#[cfg(test)]
mod tests;
