//! What the status says of BGP: gobgpd, its peers with what they were sent, and the routes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::bgp::{NextHop, Path, PeerName, SessionState};
use crate::model::settings::Announce;
use crate::model::{Prefix, ServiceKey};
use crate::plan::planner::Planner;
use crate::plan::role::Role;

/// BGP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpStatus {
    /// What keeps it from doing its part.
    pub problem: Option<String>,
    /// The AS number that gobgpd runs with.
    pub asn: Option<u32>,
    /// The router ID that gobgpd runs with.
    pub router_id: Option<String>,
    /// gobgpd's version, as far as its API tells; `null` while it has not been read.
    pub flavour: Option<String>,
    /// What this version cannot do that another one can.
    pub shortcomings: Vec<String>,
    /// How often something in gobgpd was put right that somebody else had changed or that had gone wrong, by kind: `path`,
    /// `peer`, `policy`, `sent` (what a peer was sent).
    pub repairs: BTreeMap<String, u64>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
    /// The routes that gobgpd holds.
    pub routes: Vec<RouteStatus>,
    /// Local routes of somebody else's in a shared gobgpd; they are left alone.
    pub foreign_routes: Vec<ForeignRouteStatus>,
}

/// A peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its address, or the interface at whose other end it is.
    pub name: String,
    /// Its AS number.
    pub asn: u32,
    /// The session's state.
    pub state: String,
    /// Since when it is established (RFC 3339).
    pub since: Option<String>,
    /// How often it has ended since the agent was started.
    pub flaps: u32,
    /// The last reason for its end.
    pub reason: Option<String>,
    /// The families that are to be negotiated with it.
    pub families: Vec<String>,
    /// Those of them that it carries too, while the session is established.
    pub negotiated: Vec<String>,
    /// How many routes it should be sent; `null` while the session is not established.
    pub desired: Option<usize>,
    /// How many it was sent (its Adj-RIB-Out); `null` where that is not known.
    pub sent: Option<usize>,
    /// What it was sent otherwise than it should be, or not, or should not be.
    pub astray: Vec<AstrayStatus>,
    /// What is wrong with it, beside the session's state.
    pub problem: Option<String>,
}

/// A route that a peer was not sent as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AstrayStatus {
    /// The prefix.
    pub prefix: String,
    /// How it differs.
    pub problem: String,
}

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// A range.
    Aggregate,
    /// A VIP that differs from the range around it, which is announced too.
    Specific,
    /// A VIP.
    Host,
}

impl RouteKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Aggregate => "aggregate",
            RouteKind::Specific => "specific",
            RouteKind::Host => "host",
        }
    }
}

/// A route that gobgpd holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: String,
    /// `aggregate` for a range; `specific` for a VIP in such a range, `host` for any other.
    pub kind: RouteKind,
    /// The Services that have the VIP, the oldest first.
    pub services: Vec<String>,
    /// `self` or an address.
    pub next_hop: String,
    /// How often the own AS number was put in front.
    pub prepend: usize,
    /// Its communities.
    pub communities: Vec<String>,
    /// Its large communities.
    pub large_communities: Vec<String>,
    /// Its MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Its LOCAL_PREF.
    pub local_pref: Option<u32>,
}

/// A route of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignRouteStatus {
    /// The prefix.
    pub prefix: String,
    /// `self` or an address.
    pub next_hop: String,
}

impl Planner {
    pub(super) fn bgp_status(&self) -> Option<BgpStatus> {
        self.settings.bgp.as_ref()?;
        let peers = self.peers.keys().map(|name| self.peer_status(name)).collect();
        let problem = self.bgp_problem().filter(|_| self.role == Role::Serving);
        let Some(actual) = &self.actual.bgp else { return Some(BgpStatus { problem, peers, ..BgpStatus::default() }) };
        let foreign = self.speaker.foreign.iter();
        Some(BgpStatus {
            problem,
            asn: actual.global.map(|global| global.asn),
            router_id: actual.global.map(|global| global.router_id.to_string()),
            flavour: Some(actual.flavour.to_string()),
            shortcomings: actual.flavour.shortcomings().iter().map(|text| (*text).to_owned()).collect(),
            repairs: self.repairs().by_kind().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            peers,
            routes: actual.paths.iter().map(|(prefix, path)| self.route_status(*prefix, path)).collect(),
            foreign_routes: foreign
                .map(|(prefix, path)| ForeignRouteStatus {
                    prefix: prefix.to_string(),
                    next_hop: next_hop(path.next_hop),
                })
                .collect(),
        })
    }

    fn peer_status(&self, name: &PeerName) -> PeerStatus {
        let words = |families: &BTreeSet<_>| families.iter().map(ToString::to_string).collect();
        let session = self.speaker.sessions.get(name);
        let established = session.filter(|session| session.is_established());
        let peer = self.peers.get(name);
        let astray = self.astray(name).map(|(prefix, difference)| (prefix.to_string(), difference));
        let astray = astray.map(|(prefix, difference)| AstrayStatus { prefix, problem: difference.to_string() });
        PeerStatus {
            name: name.to_string(),
            asn: peer.map_or(0, |peer| peer.asn),
            state: session.map_or(SessionState::Idle, |session| session.state).to_string(),
            since: established.and_then(|session| session.since).and_then(rfc3339),
            flaps: session.map_or(0, |session| session.flaps),
            reason: self.session_reason(name),
            families: peer.map(|peer| words(&peer.families)).unwrap_or_default(),
            negotiated: established.map(|session| words(&session.families)).unwrap_or_default(),
            desired: established.map(|_| self.desired_sent(name).len()),
            sent: established.and(self.sent(name)).map(BTreeMap::len),
            astray: astray.collect(),
            problem: self.peer_problem(name).or_else(|| self.sending_problem(name)).or_else(|| self.bfd_problem(name)),
        }
    }

    fn route_status(&self, prefix: Prefix, path: &Path) -> RouteStatus {
        RouteStatus {
            prefix: prefix.to_string(),
            kind: self.route_kind(prefix),
            services: self.services_of(prefix).into_iter().map(ToString::to_string).collect(),
            next_hop: next_hop(path.next_hop),
            prepend: path.as_path.len(),
            communities: path.communities.iter().map(ToString::to_string).collect(),
            large_communities: path.large_communities.iter().map(ToString::to_string).collect(),
            med: path.med,
            local_pref: path.local_pref,
        }
    }

    /// What a route for `prefix` is for.
    pub(in crate::plan) fn route_kind(&self, prefix: Prefix) -> RouteKind {
        let range = self.ranges.covering(prefix.address());
        match range {
            Some(range) if range.prefix != prefix && range.announce == Announce::Aggregate => RouteKind::Specific,
            Some(range) if range.prefix == prefix && range.announce == Announce::Aggregate => RouteKind::Aggregate,
            _ if prefix.is_host() => RouteKind::Host,
            _ => RouteKind::Aggregate,
        }
    }

    /// The Services that have the VIP of the route for `prefix`, the oldest first; none for a range.
    fn services_of(&self, prefix: Prefix) -> Vec<&ServiceKey> {
        if self.route_kind(prefix) == RouteKind::Aggregate {
            return Vec::new();
        }
        let owners = self.ledger.claimed_in(prefix).filter_map(|(_, claimants)| claimants.first());
        let owners: BTreeSet<_> = owners.map(|(created, service)| (created, service)).collect();
        owners.into_iter().map(|(_, service)| service).collect()
    }
}

/// A next hop in words.
pub(in crate::plan) fn next_hop(next_hop: NextHop) -> String {
    match next_hop {
        NextHop::Own => "self".to_owned(),
        NextHop::Address(address) => address.to_string(),
    }
}

/// A moment, in seconds since 1970, as RFC 3339 writes it.
pub(super) fn rfc3339(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|moment| moment.to_string())
}
