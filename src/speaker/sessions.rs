//! The BFD sessions of this speaker, what it holds down because of them, and the file by which the next speaker goes on with
//! both unnoticed: `bfd.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::bfd::{Engine, News, Saved};
use crate::model::bfd::Session;
use crate::model::bgp::PeerName;
use crate::runtime;

/// What lies in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    /// The sessions.
    bfd: Saved,
    /// The BGP sessions that are held down, or may be.
    held: BTreeSet<PeerName>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Sessions {
    engine: Arc<Engine>,
    held: watch::Sender<BTreeMap<PeerName, String>>,
    /// Those that gobgpd may hold down, wanted or not.
    down: Arc<Mutex<BTreeSet<PeerName>>>,
    file: PathBuf,
}

impl Sessions {
    /// Starts the engine with what a former speaker left in `folder`. Answers with the BGP sessions that it held down, too.
    ///
    /// # Errors
    /// When the engine cannot be started.
    pub(super) fn start(folder: &Path) -> anyhow::Result<(Sessions, BTreeSet<PeerName>)> {
        let file = folder.join("bfd.json");
        let Kept { bfd, held } = load(&file).unwrap_or_else(|problem| {
            warn!("{}: {problem}; BFD sessions begin anew", file.display());
            Kept::default()
        });
        let engine = Engine::resume(bfd).context("cannot start the BFD engine")?;
        let wanted = held.iter().map(|peer| (peer.clone(), String::new())).collect();
        let down = Arc::new(Mutex::new(held.clone()));
        let sessions = Sessions { engine: Arc::new(engine), held: watch::channel(wanted).0, down, file };
        Ok((sessions, held))
    }

    /// There should be these sessions.
    pub(super) fn want(&self, sessions: BTreeMap<PeerName, Session>) {
        self.engine.want(sessions);
    }

    /// These BGP sessions are to be held down, and why.
    pub(super) fn hold(&self, held: BTreeMap<PeerName, String>) {
        self.held.send_replace(held);
        self.save();
    }

    /// These BGP sessions gobgpd may hold down, whether that is wanted still or not.
    pub(super) fn keep_held(&self, down: &BTreeSet<PeerName>) {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone_from(down);
        self.save();
    }

    /// Tells which BGP sessions are to be held down.
    pub(super) fn held(&self) -> watch::Receiver<BTreeMap<PeerName, String>> {
        self.held.subscribe()
    }

    /// Tells of each change of a session, once it is written down.
    pub(super) async fn tell(self, hand: mpsc::UnboundedSender<News>) {
        let mut news = self.engine.news();
        while let Some(told) = news.recv().await {
            self.save();
            if hand.send(told).is_err() {
                return;
            }
        }
    }

    /// Makes the other sides wait for `silence`, and writes down what a process needs that goes on within it.
    ///
    /// # Errors
    /// When some do not agree to wait: nothing is changed then.
    pub(super) async fn prepare_hand_over(&self, silence: Duration) -> Result<(), String> {
        let stubborn = self.engine.stretch(silence).await;
        if !stubborn.is_empty() {
            self.engine.relax().await;
            let names: Vec<String> = stubborn.iter().map(ToString::to_string).collect();
            return Err(format!("no answer to the slower BFD timers from {}", names.join(", ")));
        }
        self.save();
        Ok(())
    }

    /// Takes [`Sessions::prepare_hand_over`] back.
    pub(super) async fn stay(&self) {
        self.engine.relax().await;
    }

    /// Ends all sessions, and says so to the other sides.
    pub(super) fn close(&self) {
        self.engine.close();
        let _ = fs::remove_file(&self.file);
    }

    fn save(&self) {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let held = self.held.borrow().keys().cloned().chain(down).collect();
        let kept = Kept { bfd: self.engine.saved(), held };
        if let Err(problem) = save(&self.file, &kept) {
            warn!("{}: {problem}; BFD sessions would not survive a restart of the speaker", self.file.display());
        }
    }
}

fn load(file: &Path) -> io::Result<Kept> {
    match fs::read_to_string(file) {
        Ok(text) => super::wire::parse(&text).map_err(io::Error::other),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error),
    }
}

fn save(file: &Path, kept: &Kept) -> io::Result<()> {
    runtime::replace(file, &serde_json::to_vec(kept)?)
}
