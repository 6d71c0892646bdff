//! What vipcast asks of gobgpd, whatever the version of its API: each version is one implementation of [`Api`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::stream::BoxStream;

use crate::model::bgp::{Export, Flavour, Global, Path, Peer, PeerName, SessionState};
use crate::model::{Family, Prefix};

/// Why gobgpd did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no connection, or no answer in time; what was asked may have been done.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody listens where its API should be: the socket is missing, or the connection is refused.
    #[error("{0}")]
    Absent(String),
    /// gobgpd does not speak this version of the API, and did nothing.
    #[error("{0}")]
    Unspoken(String),
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
    /// The sessions with all of them.
    pub(crate) sessions: BTreeMap<PeerName, Listed>,
}

impl Peers {
    /// Are routes exchanged with this peer?
    pub(crate) fn is_established(&self, name: &PeerName) -> bool {
        self.sessions.get(name).is_some_and(|listed| listed.state == SessionState::Established)
    }
}

/// What gobgpd lists about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its state.
    pub(crate) state: SessionState,
    /// Why gobgpd does not try to establish it.
    pub(crate) shut: Option<&'static str>,
    /// When it came up, in seconds since 1970, while it is established.
    pub(crate) since: Option<i64>,
    /// This node's end, while it is established.
    pub(crate) local_address: Option<IpAddr>,
    /// The families that both sides carry, while it is established.
    pub(crate) families: BTreeSet<Family>,
    /// Does the peer keep our routes while gobgpd restarts? It says so in its OPEN, if at all.
    pub(crate) keeps_routes: bool,
    /// NOTIFICATIONs since the peer was added.
    pub(crate) notifications: Notifications,
}

/// How many NOTIFICATION messages there were (RFC 4271 section 4.5): each ends a session, or an attempt at one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Notifications {
    /// From the peer.
    pub(crate) received: u64,
    /// From gobgpd.
    pub(crate) sent: u64,
}

/// What gobgpd tells unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A session has this state. (GoBGP 4.8 knows why, and does not tell: its message has fields for it that stay empty.)
    Session(PeerName, SessionState),
    /// The local path of a prefix is this now, or gone.
    Path(Prefix, Option<Path>),
}

/// One version of GoBGP's API. No call waits for longer than a few seconds.
///
/// Two of GoBGP's traps cannot be fallen into from here: nothing deletes paths without naming them, and no call changes
/// a peer in place (GoBGP before 3.15 resets the session even if nothing changes).
#[tonic::async_trait]
pub(crate) trait Api: Send + Sync {
    /// The version.
    fn flavour(&self) -> Flavour;

    /// Who gobgpd is; `None` before its BGP was started.
    async fn identity(&mut self) -> Result<Option<Global>, Failure>;

    /// Starts BGP. The caller has seen that it is not running.
    async fn start(&mut self, global: Global) -> Result<(), Failure>;

    /// Stops BGP: ends all sessions and forgets peers and paths. With GoBGP 4 its process answers nothing any more then.
    async fn stop(&mut self) -> Result<(), Failure>;

    /// The neighbours whose routes our import policy rejects, in the form of [`Bgp::rejected`]. It is in force if it
    /// comes before all other import policies.
    ///
    /// [`Bgp::rejected`]: crate::model::bgp::Bgp::rejected
    async fn rejected(&mut self) -> Result<Option<BTreeSet<Prefix>>, Failure>;

    /// Puts a policy first that rejects what comes from just these neighbours; for none, removes ours. Policies of
    /// others stay as they are, in their order.
    async fn reject_imports(&mut self, neighbors: &BTreeSet<Prefix>) -> Result<(), Failure>;

    /// What is changed on the way to which peer, in the form of [`Bgp::exports`].
    ///
    /// [`Bgp::exports`]: crate::model::bgp::Bgp::exports
    async fn exports(&mut self) -> Result<Option<BTreeMap<IpAddr, Export>>, Failure>;

    /// Puts a policy first that makes just these changes on the way out, and has everything sent again to those of `ours`,
    /// the peers of ours with an established session, for whom that changes something; for none, removes all that does
    /// so. Policies of others stay as they are, in their order. There is no moment in between when no such policy is in
    /// force.
    async fn set_exports(
        &mut self,
        exports: &BTreeMap<IpAddr, Export>,
        ours: &BTreeSet<PeerName>,
    ) -> Result<(), Failure>;

    /// Sends a peer everything again.
    async fn resend(&mut self, name: &PeerName) -> Result<(), Failure>;

    /// The paths that gobgpd sends to a peer with an established session, for these prefixes or for all.
    async fn sent(&mut self, name: &PeerName, of: Option<&BTreeSet<Prefix>>)
    -> Result<BTreeMap<Prefix, Path>, Failure>;

    /// All peers.
    async fn peers(&mut self) -> Result<Peers, Failure>;

    /// Adds a peer of ours to a gobgpd of AS `asn`. [`Failure::Moved`] if there is one of that name. `restarting`: the peer
    /// knows a former gobgpd that ended without a word, and may keep the routes that it had from it until this one has sent its
    /// own (RFC 4724), where that was negotiated.
    async fn add_peer(&mut self, asn: u32, name: &PeerName, peer: &Peer, restarting: bool) -> Result<(), Failure>;

    /// Deletes a peer; it is no failure if there is none.
    async fn delete_peer(&mut self, name: &PeerName) -> Result<(), Failure>;

    /// Ends the session with a peer, which is told `why`, and keeps it down until the peer is deleted and added again.
    async fn disable_peer(&mut self, name: &PeerName, why: &str) -> Result<(), Failure>;

    /// The local paths of these prefixes, or of all.
    async fn paths(&mut self, of: Option<&BTreeSet<Prefix>>) -> Result<BTreeMap<Prefix, Path>, Failure>;

    /// Announces each path, in place of the local one that is there, or withdraws it (`None`). If one is refused, some
    /// of the others may have been done. Success is no proof that gobgpd holds them: a policy may have dropped them.
    async fn change_paths(&mut self, changes: &[(Prefix, Option<Path>)]) -> Result<(), Failure>;

    /// Watches sessions, beginning with the state of each, and local paths, beginning with the next change. The end of
    /// the stream is the end of the connection.
    async fn watch(&mut self) -> Result<BoxStream<'static, Result<Event, Failure>>, Failure>;
}
