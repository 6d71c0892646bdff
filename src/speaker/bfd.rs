//! The BFD engine: sessions on real sockets, with a thread of its own, so that nothing else in the process delays a
//! packet. What a session does is decided by the pure [`crate::bfd`].

mod discards;
mod finder;
mod socket;
mod watched;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc as channel, oneshot};

use self::worker::{Line, Order, Worker};
use crate::bfd;
use crate::model::bfd::{BfdStatus, Distance, Session};
use crate::model::bgp::PeerName;

/// A session changed: its state, its timing, what damps it, or what keeps it from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whose session.
    pub peer: PeerName,
    /// How it stands now; `None`: there is none any more.
    pub status: Option<BfdStatus>,
}

/// What the sessions have to remember so that another process goes on with them unnoticed. To be written down at each
/// [`News`]: with a process that is killed, that is what is left.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// The sessions, by peer.
    pub sessions: Vec<SavedSession>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedSession {
    /// Whose it is.
    pub peer: PeerName,
    /// Where the other side is.
    pub remote: SocketAddr,
    /// The kind of session.
    pub distance: Distance,
    /// The port that its packets come from: one and the same all its life (RFC 5881 section 4).
    pub source_port: Option<u16>,
    /// The state machine.
    pub session: bfd::Saved,
}

/// Runs sessions. Dropping it ends its thread without a word to the other sides, as the death of the process does: another
/// engine may [`Engine::resume`] them. [`Engine::close`] says good-bye.
#[derive(Debug)]
pub struct Engine {
    line: Line,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread, with no session.
    ///
    /// # Errors
    /// There is no thread, or no file descriptor to wake it by.
    pub fn start() -> io::Result<Engine> {
        Engine::resume(Saved::default())
    }

    /// Starts the thread. Sessions that were saved go on as soon as they are wanted; those that the first call of
    /// [`Engine::want`] does not name are forgotten.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn resume(saved: Saved) -> io::Result<Engine> {
        let (line, orders) = Line::new()?;
        let worker = Worker::new(line.clone(), orders, saved);
        let thread = std::thread::Builder::new().name("bfd".to_owned()).spawn(move || worker.run())?;
        Ok(Engine { line, thread: Some(thread) })
    }

    /// These sessions there should be. Timers that differ are negotiated, a session that is not enabled any more is held
    /// in AdminDown, and so is for a moment one that is not wanted any more.
    pub fn want(&self, sessions: BTreeMap<PeerName, Session>) {
        self.line.say(Order::Want(sessions));
    }

    /// A subscription: first how each session stands, then each change.
    pub fn news(&self) -> channel::UnboundedReceiver<News> {
        let (sender, receiver) = channel::unbounded_channel();
        self.line.say(Order::Subscribe(sender));
        receiver
    }

    /// How the sessions stand.
    pub fn snapshot(&self) -> BTreeMap<PeerName, BfdStatus> {
        self.ask(Order::Snapshot).unwrap_or_default()
    }

    /// What another process needs to go on with the sessions.
    pub fn saved(&self) -> Saved {
        self.ask(Order::Save).unwrap_or_default()
    }

    /// Makes the other sides wait for `silence` before they take this one for gone, counted from their answer: then this
    /// process may end, and another one has so much time to resume the sessions with what is [`Engine::saved`] afterwards.
    /// Answers with the sessions that are up and did not agree within two seconds.
    pub async fn stretch(&self, silence: Duration) -> BTreeSet<PeerName> {
        let (sender, receiver) = oneshot::channel();
        self.line.say(Order::Stretch(Some(silence), sender));
        receiver.await.unwrap_or_default()
    }

    /// Takes [`Engine::stretch`] back.
    pub async fn relax(&self) {
        let (sender, receiver) = oneshot::channel();
        self.line.say(Order::Stretch(None, sender));
        let _ = receiver.await;
    }

    /// Tells all other sides that the sessions are held down on purpose (AdminDown), and ends.
    pub fn close(&self) {
        self.line.say(Order::Close);
        // Nobody answers any more once the thread has ended, and not before that.
        let _ = self.ask(Order::Snapshot);
    }

    fn ask<T>(&self, order: impl FnOnce(mpsc::Sender<T>) -> Order) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        self.line.say(order(sender));
        receiver.recv().ok()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.line.say(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
