//! What vipcast asks of gobgpd, whatever the version of its API: each version is one implementation of [`Api`].

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::BoxStream;

use crate::model::Prefix;
use crate::model::bgp::{Global, Path, Peer, PeerName, Session};

/// Why gobgpd did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no connection, or no answer in time; what was asked may have been done.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody listens where its API should be: the socket is missing, or the connection is refused.
    #[error("{0}")]
    Absent(String),
    /// gobgpd is not as the caller believed.
    #[error("{0}")]
    Moved(String),
    /// gobgpd says no.
    #[error("{0}")]
    Refused(String),
}

/// The peers that gobgpd has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Peers {
    /// Those that carry our mark.
    pub(crate) ours: BTreeMap<PeerName, Peer>,
    /// All others.
    pub(crate) foreign: BTreeSet<PeerName>,
}

/// What gobgpd tells unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A session has this state.
    Session(PeerName, Session),
    /// The local path of a prefix is this now, or gone.
    Path(Prefix, Option<Path>),
}

/// One version of GoBGP's API. No call waits for longer than a few seconds.
///
/// Two of GoBGP's traps cannot be fallen into from here: nothing deletes paths without naming them, and no call changes
/// a peer in place (GoBGP before 3.15 resets the session even if nothing changes).
#[tonic::async_trait]
pub(crate) trait Api: Send + Sync {
    /// Who gobgpd is; `None` before its BGP was started.
    async fn identity(&mut self) -> Result<Option<Global>, Failure>;

    /// Starts BGP. The caller has seen that it is not running.
    async fn start(&mut self, global: Global) -> Result<(), Failure>;

    /// Stops BGP: ends all sessions and forgets peers and paths.
    async fn stop(&mut self) -> Result<(), Failure>;

    /// The neighbours whose routes our import policy rejects, in the form of [`Bgp::rejected`]. It is in force if it
    /// comes before all other import policies.
    ///
    /// [`Bgp::rejected`]: crate::model::bgp::Bgp::rejected
    async fn rejected(&mut self) -> Result<Option<BTreeSet<Prefix>>, Failure>;

    /// Puts a policy first that rejects what comes from just these neighbours; for none, removes ours. Policies of
    /// others stay as they are, in their order.
    async fn reject_imports(&mut self, neighbors: &BTreeSet<Prefix>) -> Result<(), Failure>;

    /// All peers.
    async fn peers(&mut self) -> Result<Peers, Failure>;

    /// Adds a peer of ours to a gobgpd of AS `asn`. [`Failure::Moved`] if there is one of that name.
    async fn add_peer(&mut self, asn: u32, name: &PeerName, peer: &Peer) -> Result<(), Failure>;

    /// Deletes a peer; it is no failure if there is none.
    async fn delete_peer(&mut self, name: &PeerName) -> Result<(), Failure>;

    /// The local paths of these prefixes, or of all.
    async fn paths(&mut self, of: Option<&BTreeSet<Prefix>>) -> Result<BTreeMap<Prefix, Path>, Failure>;

    /// Announces each path, in place of the local one that is there, or withdraws it (`None`). If one is refused, some
    /// of the others may have been done. Success is no proof that gobgpd holds them: a policy may have dropped them.
    async fn change_paths(&mut self, changes: &[(Prefix, Option<Path>)]) -> Result<(), Failure>;

    /// Watches sessions, beginning with the state of each, and local paths, beginning with the next change. The end of
    /// the stream is the end of the connection.
    async fn watch(&mut self) -> Result<BoxStream<'static, Result<Event, Failure>>, Failure>;
}
