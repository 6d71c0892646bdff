//! gobgpd, over gRPC: the executor of the steps on it, and the sensor of what happens in it.

mod api;
mod endpoint;
mod ledger;
mod v3;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use self::api::{Api, Failure};
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::ledger::Ledger;
use self::v3::V3;
pub use self::watch::watch;
use crate::model::Prefix;
use crate::model::bgp::{Bgp, Global, Path, Peer, PeerName};
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
    api: Box<dyn Api>,
    ledger: Ledger,
}

impl Speaker {
    /// The writer of the gobgpd at `endpoint`, which is connected to when there is something to do. To be called
    /// within a Tokio runtime.
    pub fn new(endpoint: Endpoint) -> Speaker {
        let api = connect(&endpoint);
        Speaker { endpoint, api, ledger: Ledger::default() }
    }

    /// What this writer believes gobgpd to hold, for [`watch()`].
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Performs one step that is not about a path.
    async fn step(&mut self, step: &Step) -> Result<Outcome, Failure> {
        match step {
            Step::StartBgp(global) => self.start(*global).await?,
            Step::StopBgp => {
                if self.api.identity().await?.is_some() {
                    self.ledger.forget();
                    self.api.stop().await?;
                }
            }
            Step::RejectImports(neighbors) => self.api.reject_imports(neighbors).await?,
            Step::AddPeer(name, peer) => self.add_peer(name, peer).await?,
            Step::DeletePeer(name) => self.delete_peer(name).await?,
            Step::ReadSpeaker => {
                let found = self.read().await?;
                return Ok(Outcome::Read(Observation::Speaker(Box::new(found))));
            }
            other => {
                return Ok(Outcome::Refused(format!("gobgpd does not perform {} steps", other.target().name())));
            }
        }
        Ok(Outcome::Done)
    }

    /// Starts BGP, having made sure that it does not run.
    async fn start(&mut self, wanted: Global) -> Result<(), Failure> {
        match self.api.identity().await? {
            None => {
                self.ledger.forget();
                self.api.start(wanted).await
            }
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(Failure::Moved(format!("it runs already, as {}", show(found)))),
        }
    }

    async fn add_peer(&mut self, name: &PeerName, peer: &Peer) -> Result<(), Failure> {
        let Some(global) = self.api.identity().await? else {
            return Err(Failure::Moved("its BGP is not started".to_owned()));
        };
        self.api.add_peer(global.asn, name, peer).await
    }

    /// Deletes a peer, having made sure that it is ours.
    async fn delete_peer(&mut self, name: &PeerName) -> Result<(), Failure> {
        if self.api.peers().await?.foreign.contains(name) {
            return Err(Failure::Moved(format!("the peer {name} is not ours")));
        }
        self.api.delete_peer(name).await
    }

    async fn read(&mut self) -> Result<Bgp, Failure> {
        self.ledger.forget();
        let global = self.api.identity().await?;
        let mut found = Bgp { global, ..Bgp::default() };
        if global.is_some() {
            let peers = self.api.peers().await?;
            found.peers = peers.ours;
            found.foreign_peers = peers.foreign;
            found.rejected = self.api.rejected().await?;
            found.paths = self.api.paths(None).await?;
        }
        self.ledger.learn(&found.paths);
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
        let refusal = match self.api.change_paths(changes).await {
            Ok(()) => None,
            Err(Failure::Refused(reason)) => Some(reason),
            Err(failure) => return Err(failure),
        };
        // Of several changes of one prefix the last one counts.
        let wanted: BTreeMap<Prefix, Option<&Path>> = changes.iter().map(|(p, path)| (*p, path.as_ref())).collect();
        let held = self.api.paths(Some(&BTreeSet::from_iter(wanted.keys().copied()))).await?;
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

    fn outcome(&self, failure: Failure) -> Outcome {
        match failure {
            Failure::Unreachable(why) | Failure::Absent(why) => {
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
                let outcome = self.step(step).await.unwrap_or_else(|failure| self.outcome(failure));
                outcomes.push(outcome);
            } else {
                outcomes.extend(self.change_paths(&paths).await);
            }
        }
        steps.into_iter().zip(outcomes).map(|(step, outcome)| Report { step, outcome }).collect()
    }
}

/// A connection to the gobgpd at `endpoint`.
fn connect(endpoint: &Endpoint) -> Box<dyn Api> {
    Box::new(V3::new(endpoint))
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
