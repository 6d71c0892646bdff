//! What the keeper does to the world, behind a trait, so that its tests can break the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::warn;

use super::sessions::Sessions;
use crate::apply::bgp::{Endpoint, Speaker};
use crate::apply::probe::Prober;
use crate::model::Prefix;
use crate::model::bfd::Session;
use crate::model::bgp::PeerName;
use crate::model::canary::Canary;

/// How long gobgpd may take to say who its peers are.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the module. All of it is done beside the keeper's loop.
pub(super) trait Hands: Clone + Send + Sync + 'static {
    /// Tries the data path by each canary; none at all prove nothing.
    ///
    /// # Errors
    /// Why it is not proved, in words.
    fn probe(&self, canaries: Vec<Canary>) -> impl Future<Output = Result<(), String>> + Send;

    /// Withdraws all routes of ours: those in `owned`, or all. Answers how many there were.
    ///
    /// # Errors
    /// Why some may still be out, in words.
    fn withdraw(&self, owned: Option<BTreeSet<Prefix>>) -> impl Future<Output = Result<usize, String>> + Send;

    /// Ends a gobgpd that hangs, if it is ours, so that its peers forget what it told them.
    fn end_gobgpd(&self) -> impl Future<Output = ()> + Send;

    /// Ends gobgpd, without a word to its peers if `graceful`, and starts it anew.
    ///
    /// # Errors
    /// Why not, in words.
    fn restart_gobgpd(&self, graceful: bool) -> impl Future<Output = Result<(), String>> + Send;

    /// Says which BFD sessions there should be from now on.
    fn want_sessions(&self, sessions: BTreeMap<PeerName, Session>);

    /// Says which BGP sessions are to be held down from now on, and why.
    fn hold_peers(&self, held: BTreeMap<PeerName, String>);
}

/// What whoever looks after gobgpd is told.
#[derive(Debug)]
pub(super) enum Word {
    /// It hangs: end it at once.
    Kill,
    /// End it, without a word to its peers if `graceful`, and start it anew.
    Restart {
        /// See above.
        graceful: bool,
        /// Where is said that another one runs.
        done: oneshot::Sender<()>,
    },
}

/// The hands of the speaker itself.
#[derive(Clone)]
pub(super) struct OwnHands {
    /// gobgpd's writer; `None` without BGP.
    gobgpd: Option<Arc<Mutex<Speaker>>>,
    /// Where whoever looks after a gobgpd of ours hears that it is to end; `None`: it is somebody else's.
    end: Option<mpsc::Sender<Word>>,
    sessions: Sessions,
}

impl OwnHands {
    /// Those for the gobgpd at `endpoint`, which is ended by a word to `end` if it is ours.
    pub(super) fn new(endpoint: Option<Endpoint>, end: Option<mpsc::Sender<Word>>, sessions: Sessions) -> OwnHands {
        OwnHands { gobgpd: endpoint.map(|endpoint| Arc::new(Mutex::new(Speaker::new(endpoint)))), end, sessions }
    }
}

impl OwnHands {
    /// Would all peers whose sessions are up keep our routes while gobgpd restarts?
    ///
    /// # Errors
    /// Who would not.
    async fn keep_routes(&self) -> Result<(), String> {
        let Some(gobgpd) = &self.gobgpd else { return Ok(()) };
        let asked = async { gobgpd.lock().await.forgetful_peers().await };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        let forgetful = asked.unwrap_or_else(|_| Err("gobgpd does not answer".to_owned())).unwrap_or_else(|problem| {
            // It hangs, which is what it is restarted for; those who keep its routes do so in any case.
            warn!("cannot ask which peers keep the routes: {problem}");
            Vec::new()
        });
        if forgetful.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = forgetful.iter().map(ToString::to_string).collect();
        Err(format!(
            "{} would drop this node's routes until gobgpd is back: no graceful restart on that side (`vipcast switch-config` \
             prints what it takes there); --force ends the sessions with all peers",
            names.join(", ")
        ))
    }
}

impl Hands for OwnHands {
    async fn probe(&self, canaries: Vec<Canary>) -> Result<(), String> {
        for canary in &canaries {
            Prober::new(canary).probe().await.map_err(|fault| fault.to_string())?;
        }
        if canaries.is_empty() { Err("there is no canary".to_owned()) } else { Ok(()) }
    }

    async fn withdraw(&self, owned: Option<BTreeSet<Prefix>>) -> Result<usize, String> {
        match &self.gobgpd {
            Some(gobgpd) => gobgpd.lock().await.withdraw_all(owned.as_ref()).await,
            None => Ok(0),
        }
    }

    async fn end_gobgpd(&self) {
        if let Some(end) = &self.end {
            // Whoever looks after it lives as long as the speaker; one word is enough.
            let _ = end.try_send(Word::Kill);
        }
    }

    async fn restart_gobgpd(&self, graceful: bool) -> Result<(), String> {
        let Some(end) = &self.end else { return Err("gobgpd is not vipcast's".to_owned()) };
        if graceful {
            self.keep_routes().await?;
        }
        let (done, is_done) = oneshot::channel();
        let sent = end.send(Word::Restart { graceful, done }).await.is_ok();
        if sent && is_done.await.is_ok() {
            Ok(())
        } else {
            Err("gobgpd was not restarted; see the speaker's log".to_owned())
        }
    }

    fn want_sessions(&self, sessions: BTreeMap<PeerName, Session>) {
        self.sessions.want(sessions);
    }

    fn hold_peers(&self, held: BTreeMap<PeerName, String>) {
        self.sessions.hold(held);
    }
}
