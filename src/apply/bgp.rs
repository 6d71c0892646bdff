//! gobgpd, over gRPC: the executor of the steps on it, and the sensor of what happens in it.

mod api;
mod calls;
mod dial;
mod endpoint;
mod herald;
mod ledger;
mod process;
mod tally;
mod urgent;
mod v3;
mod v4;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use self::api::{Api, Failure, Peers};
use self::dial::dial;
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::ledger::Ledger;
pub use self::watch::watch;
use crate::model::Prefix;
use crate::model::bgp::{Bgp, Export, Flavour, Global, Path, Peer, PeerName};
use crate::plan::step::Executor;
use crate::plan::{Observation, Outcome, Report, Step};

/// A path to announce, or a prefix to withdraw.
type PathChange = (Prefix, Option<Path>);

/// The single writer of one gobgpd.
///
/// Paths that follow each other in a batch travel together, and are read back: gobgpd accepts paths that its import
/// policy then drops. Once gobgpd did not answer, the rest of the batch is not tried.
pub struct Speaker {
    endpoint: Endpoint,
    /// While it is not known that the connection was lost.
    api: Option<Box<dyn Api>>,
    ledger: Ledger,
    /// The gobgpd that was seen last has peers, so that they know the next one's routes, if it ends without a word.
    has_peers: bool,
    /// Since when another one runs in its place.
    restarted: Option<Instant>,
    /// Peers that were deleted to be added again at once, which failed.
    detached: BTreeMap<PeerName, Peer>,
}

impl Speaker {
    /// The writer of the gobgpd at `endpoint`, which is connected to when there is something to do.
    pub fn new(endpoint: Endpoint) -> Speaker {
        Speaker {
            endpoint,
            api: None,
            ledger: Ledger::default(),
            has_peers: false,
            restarted: None,
            detached: BTreeMap::new(),
        }
    }

    /// What this writer believes gobgpd to hold, for [`watch()`].
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// gobgpd, in the version of its API that it speaks.
    async fn api(&mut self) -> Result<&mut dyn Api, Failure> {
        let api = match self.api.take() {
            Some(api) => api,
            None => dial(&self.endpoint).await?,
        };
        Ok(&mut **self.api.insert(api))
    }

    /// Performs one step that is not about a path.
    async fn step(&mut self, step: &Step) -> Result<Outcome, Failure> {
        match step {
            Step::StartBgp(global) => self.start(*global).await?,
            Step::StopBgp => self.stop().await?,
            Step::RejectImports(neighbors) => self.api().await?.reject_imports(neighbors).await?,
            Step::SetExports(exports) => self.set_exports(exports).await?,
            Step::AddPeer(name, peer) => self.add_peer(name, peer).await?,
            Step::DeletePeer(name) => self.delete_peer(name).await?,
            Step::Resend(name) => self.resend(name).await?,
            Step::ReadSpeaker => {
                let found = self.read().await?;
                return Ok(Outcome::Read(Observation::Speaker(Box::new(found))));
            }
            Step::ReadSent(name, prefixes) => {
                let found = self.sent(name, prefixes).await?;
                return Ok(Outcome::Read(Observation::Sent(found)));
            }
            other => {
                return Ok(Outcome::Refused(format!("gobgpd does not perform {} steps", other.target().name())));
            }
        }
        Ok(Outcome::Done)
    }

    /// Starts BGP, having made sure that it does not run.
    async fn start(&mut self, wanted: Global) -> Result<(), Failure> {
        match self.api().await?.identity().await? {
            None => {
                self.ledger.forget();
                self.api().await?.start(wanted).await?;
                self.restarted = std::mem::take(&mut self.has_peers).then(Instant::now);
                Ok(())
            }
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(Failure::Moved(format!("it runs already, as {}", show(found)))),
        }
    }

    /// Stops BGP, if it runs, so that it can be started again: with GoBGP 4 that takes another process, since it answers
    /// nothing any more once its BGP was stopped. Whoever looks after gobgpd starts it.
    async fn stop(&mut self) -> Result<(), Failure> {
        let api = self.api().await?;
        if api.identity().await?.is_none() {
            return Ok(());
        }
        let flavour = api.flavour();
        self.ledger.forget();
        // Its peers hear of this end, and forget its routes.
        self.has_peers = false;
        match flavour {
            Flavour::V3 => self.api().await?.stop().await,
            Flavour::V4 => {
                self.api = None;
                process::end(&self.endpoint).await
            }
        }
    }

    async fn set_exports(&mut self, exports: &BTreeMap<IpAddr, Export>) -> Result<(), Failure> {
        let api = self.api().await?;
        let peers = api.peers().await?;
        let ours = peers.ours.keys().filter(|name| peers.is_established(name)).cloned().collect();
        api.set_exports(exports, &ours).await
    }

    async fn add_peer(&mut self, name: &PeerName, peer: &Peer) -> Result<(), Failure> {
        let restarting = self.restarted.zip(peer.graceful_restart).is_some_and(|(at, time)| at.elapsed() < time);
        let api = self.api().await?;
        let Some(global) = api.identity().await? else {
            return Err(Failure::Moved("its BGP is not started".to_owned()));
        };
        api.add_peer(global.asn, name, peer, restarting).await?;
        self.has_peers = true;
        Ok(())
    }

    /// Deletes a peer, having made sure that it is ours.
    async fn delete_peer(&mut self, name: &PeerName) -> Result<(), Failure> {
        let api = self.api().await?;
        if api.peers().await?.foreign.contains(name) {
            return Err(not_ours(name));
        }
        api.delete_peer(name).await
    }

    /// Sends a peer everything again, having made sure that it is ours. It is no failure if there is no session: when it
    /// comes up, all is sent.
    async fn resend(&mut self, name: &PeerName) -> Result<(), Failure> {
        let api = self.api().await?;
        let peers = api.peers().await?;
        if peers.foreign.contains(name) {
            return Err(not_ours(name));
        }
        if peers.is_established(name) { api.resend(name).await } else { Ok(()) }
    }

    async fn sent(
        &mut self,
        name: &PeerName,
        of: &BTreeSet<Prefix>,
    ) -> Result<Option<BTreeMap<Prefix, Path>>, Failure> {
        let api = self.api().await?;
        if !api.peers().await?.is_established(name) {
            return Ok(None);
        }
        api.sent(name, Some(of)).await.map(Some)
    }

    async fn read(&mut self) -> Result<Bgp, Failure> {
        self.ledger.forget();
        let api = self.api().await?;
        let global = api.identity().await?;
        let mut found = Bgp { flavour: api.flavour(), global, ..Bgp::default() };
        if global.is_some() {
            found.rejected = api.rejected().await?;
            found.exports = api.exports().await?;
            found.paths = api.paths(None).await?;
            let peers = api.peers().await?;
            for name in peers.ours.keys().filter(|name| peers.is_established(name)) {
                found.sent.insert(name.clone(), api.sent(name, None).await?);
            }
            Peers { ours: found.peers, foreign: found.foreign_peers, .. } = peers;
        }
        self.ledger.learn(&found.paths);
        if found.global.is_some() {
            self.has_peers = !found.peers.is_empty();
        }
        Ok(found)
    }

    /// Performs changes of paths. If gobgpd refuses one, the others are tried alone.
    async fn change_paths(&mut self, changes: &[PathChange]) -> Vec<Outcome> {
        let mut outcomes = self.try_paths(changes).await;
        if changes.len() == 1 {
            return outcomes;
        }
        for (change, outcome) in changes.iter().zip(&mut outcomes) {
            if matches!(outcome, Outcome::Refused(_)) {
                *outcome = self.try_paths(std::slice::from_ref(change)).await.remove(0);
            }
            if matches!(outcome, Outcome::Later(_)) {
                break;
            }
        }
        outcomes
    }

    async fn try_paths(&mut self, changes: &[PathChange]) -> Vec<Outcome> {
        match self.send_paths(changes).await {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                self.ledger.forget();
                vec![self.outcome(failure); changes.len()]
            }
        }
    }

    /// Sends changes of paths and compares what gobgpd holds then.
    async fn send_paths(&mut self, changes: &[PathChange]) -> Result<Vec<Outcome>, Failure> {
        for (prefix, path) in changes {
            self.ledger.expect(*prefix, path.as_ref());
        }
        let api = self.api().await?;
        let refusal = match api.change_paths(changes).await {
            Ok(()) => None,
            Err(Failure::Refused(reason)) => Some(reason),
            Err(failure) => return Err(failure),
        };
        // Of several changes of one prefix the last one counts.
        let wanted: BTreeMap<Prefix, Option<&Path>> = changes.iter().map(|(p, path)| (*p, path.as_ref())).collect();
        let held = api.paths(Some(&BTreeSet::from_iter(wanted.keys().copied()))).await?;
        Ok(changes
            .iter()
            .map(|(prefix, _)| {
                let wanted = wanted.get(prefix).copied().flatten();
                match (held.get(prefix), &refusal) {
                    (found, _) if found == wanted => Outcome::Done,
                    (found, None) if wanted.is_some() && found.is_none() => Outcome::Refused(format!(
                        "gobgpd took the path of {prefix} and does not hold it: one of its import policies rejects it"
                    )),
                    (_, None) => Outcome::Drifted(format!("gobgpd holds another path of {prefix} than it was given")),
                    (_, Some(reason)) => Outcome::Refused(format!("gobgpd: {reason}")),
                }
            })
            .collect())
    }

    fn outcome(&mut self, failure: Failure) -> Outcome {
        match failure {
            Failure::Unreachable(why) | Failure::Absent(why) | Failure::Unspoken(why) => {
                self.api = None;
                Outcome::Later(format!("gobgpd at {}: {why}", self.endpoint))
            }
            Failure::Moved(what) => Outcome::Drifted(format!("gobgpd: {what}")),
            Failure::Refused(why) => Outcome::Refused(format!("gobgpd: {why}")),
        }
    }
}

impl Executor for Speaker {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(steps.len());
        while let Some(step) = steps.get(outcomes.len()) {
            if let Some(Outcome::Later(why)) = outcomes.last() {
                outcomes.resize(steps.len(), Outcome::Later(why.clone()));
                break;
            }
            let paths: Vec<_> = steps.iter().skip(outcomes.len()).map_while(path_change).collect();
            if paths.is_empty() {
                let done = self.step(step).await;
                outcomes.push(done.unwrap_or_else(|failure| self.outcome(failure)));
            } else {
                outcomes.extend(self.change_paths(&paths).await);
            }
        }
        steps.into_iter().zip(outcomes).map(|(step, outcome)| Report { step, outcome }).collect()
    }
}

fn not_ours(name: &PeerName) -> Failure {
    Failure::Moved(format!("the peer {name} is not ours"))
}

fn path_change(step: &Step) -> Option<PathChange> {
    match step {
        Step::Announce(prefix, path) => Some((*prefix, Some(path.clone()))),
        Step::Withdraw(prefix) => Some((*prefix, None)),
        _ => None,
    }
}

fn show(global: Global) -> String {
    let Global { asn, router_id, listen_port } = global;
    let port = listen_port.map_or_else(|| "without a listener".to_owned(), |port| format!("listening on port {port}"));
    format!("AS {asn} with router ID {router_id}, {port}")
}
