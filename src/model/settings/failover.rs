//! What is asked for the day on which something dies, or leaves.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::PeerEntry;
use crate::model::bfd::{self, Distance, Timers};
use crate::model::bgp::{PeerName, Ttl};
use crate::model::labels::Selector;
use crate::model::prefix::Prefix;

/// `lease`: how long routes outlive the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Where nothing proves the data plane, as configured; see [`Lease::ttl`].
    pub ttl: Option<Duration>,
    /// While the speaker's own probe proves it.
    pub fail_static: Duration,
}

impl Lease {
    /// By default, where there are canaries.
    pub const TTL: Duration = Duration::from_secs(5);

    /// By default, where there are none, so that nothing proves the data plane while the agent is upgraded: as long as that
    /// takes, with the pull of an image.
    pub const BLIND_TTL: Duration = Duration::from_secs(120);

    /// How long routes outlive an agent, on a node that has canaries or not.
    pub fn ttl(&self, has_canaries: bool) -> Duration {
        self.ttl.unwrap_or(if has_canaries { Lease::TTL } else { Lease::BLIND_TTL })
    }
}

impl Default for Lease {
    fn default() -> Lease {
        Lease { ttl: None, fail_static: Duration::from_secs(3600) }
    }
}

/// `proof`: how the data plane is proved, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The internal ranges of the canaries, at most one of each family, of at least 8 addresses; none: no probe.
    pub canaries: Vec<Prefix>,
    /// The pause between probes.
    pub interval: Duration,
    /// So many probes in a row that failed break the proof.
    pub fail: u32,
    /// So many probes in a row that were answered prove.
    pub pass: u32,
}

impl Default for Proof {
    /// 169.254.77.0/29 is link-local (RFC 3927), the other one a unique local range (RFC 4193) that spells the name.
    fn default() -> Proof {
        let ranges = ["169.254.77.0/29", "fd76:6970:6361:7374::/125"];
        Proof {
            canaries: ranges.iter().filter_map(|range| range.parse().ok()).collect(),
            interval: Duration::from_secs(1),
            fail: 3,
            pass: 2,
        }
    }
}

/// `brake`: what counts as too many endpoints gone at once to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// More than so many of a hundred endpoints within [`Brake::window`] are held; 0 to 100, at 100 none ever.
    pub share: u8,
    /// The time within which they count as one batch.
    pub window: Duration,
    /// How long they are held, unless somebody confirms or they come back. A source that turned empty is held for ever.
    pub hold: Duration,
}

impl Default for Brake {
    fn default() -> Brake {
        Brake { share: 50, window: Duration::from_secs(5), hold: Duration::from_secs(60) }
    }
}

/// `drain`: how a node leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// How many LB nodes of the fleet may be away at once.
    pub max_unavailable: u32,
    /// How long connections get to end, from the withdrawal on.
    pub deadline: Duration,
    /// No new connection for so long means that switches send none any more.
    pub quiet: Duration,
    /// How long is waited for that at most.
    pub patience: Duration,
    /// How often the own AS number is prepended while the node drains, besides the community GRACEFUL_SHUTDOWN.
    pub prepend: u8,
    /// The fleet whose nodes agree who may leave; `None`: this node leaves when it is told to.
    pub fleet: Option<String>,
    /// Taints of the Node that drain it.
    pub taints: Vec<Taint>,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            max_unavailable: 1,
            deadline: Duration::from_secs(300),
            quiet: Duration::from_secs(2),
            patience: Duration::from_secs(30),
            prepend: 0,
            fleet: None,
            taints: Vec::new(),
        }
    }
}

impl Taint {
    /// Does this select `taint` of a Node?
    pub fn selects(&self, taint: &Taint) -> bool {
        let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        self.key == taint.key && fits(&self.value, &taint.value) && fits(&self.effect, &taint.effect)
    }
}

impl fmt::Display for Taint {
    /// As kubectl writes it: `key=value:effect`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        self.value.iter().try_for_each(|value| write!(f, "={value}"))?;
        self.effect.iter().try_for_each(|effect| write!(f, ":{effect}"))
    }
}

/// A taint of a Node (`spec.taints`), or what selects some: what is not given matches all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// `key`.
    pub key: String,
    /// `value`.
    pub value: Option<String>,
    /// `effect`.
    pub effect: Option<String>,
}

/// What `bgp.peers[].bfd` says of the session that watches the way to a peer; what it leaves open follows from the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerBfd {
    /// The interval; `None`: that of [`Bfd::timers`].
    pub interval: Option<Duration>,
    /// The multiplier; `None`: that of [`Bfd::timers`].
    pub multiplier: Option<u8>,
    /// The least TTL of packets from a peer beyond routers; `None`: as the BGP session has it.
    pub multihop: Option<u8>,
}

/// `bfd`: sessions of their own, for switches with static routes, and the timers of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bfd {
    /// The timers of sessions that say none.
    pub timers: bfd::Timers,
    /// The sessions that belong to no BGP peer.
    pub peers: Vec<BfdEntry>,
}

/// An entry of `bfd.peers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdEntry {
    /// What the other side is known by.
    pub name: PeerName,
    /// Which nodes have this session. Of several entries for one peer, the first that selects a node counts there.
    pub node_selector: Selector,
    /// How fast.
    pub timers: bfd::Timers,
    /// The address to send from.
    pub local_address: Option<IpAddr>,
    /// How far away it may be.
    pub distance: bfd::Distance,
}

impl Bfd {
    /// The session that watches the way to a BGP peer, if there should be one. It ends where the BGP session ends: by
    /// default at the other end of a link, as routers take it for a peer with an address of a connected network, of another
    /// AS or of the same one. A BGP peer beyond routers is watched over them; from how far away its packets come is not known
    /// then, since some leave with a TTL of 64 (BIRD), and routers that prove their distance (GTSM) prove it here too.
    pub fn watching(&self, entry: &PeerEntry) -> Option<bfd::Session> {
        let PeerBfd { interval, multiplier, multihop } = entry.bfd?;
        let distance = match (multihop, entry.peer.ttl) {
            (Some(least), _) => Distance::Multihop(least),
            (None, Ttl::Default | Ttl::Security(1)) => Distance::SingleHop,
            (None, Ttl::Security(hops)) => Distance::Multihop(u8::MAX - hops.saturating_sub(1)),
            (None, Ttl::Multihop(_)) => Distance::Multihop(1),
        };
        Some(bfd::Session {
            timers: Timers {
                interval: interval.unwrap_or(self.timers.interval),
                multiplier: multiplier.unwrap_or(self.timers.multiplier),
            },
            local_address: entry.peer.local_address,
            distance,
            enabled: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bgp::Peer;

    #[test]
    fn a_session_with_a_bgp_peer_is_as_the_peer_is_where_nothing_else_is_said() {
        let bfd = Bfd { timers: Timers { interval: Duration::from_millis(100), multiplier: 4 }, peers: Vec::new() };
        let address: IpAddr = "10.0.1.1".parse().unwrap();
        let mut entry = PeerEntry::new(address, Peer::new(65000, []));
        assert_eq!(bfd.watching(&entry), None);
        let own = PeerBfd { interval: Some(Duration::from_millis(50)), multiplier: Some(5), multihop: None };
        let far = PeerBfd { multihop: Some(250), ..PeerBfd::default() };
        for (given, ttl, interval, multiplier, distance) in [
            (PeerBfd::default(), Ttl::Default, 100, 4, Distance::SingleHop),
            (own, Ttl::Default, 50, 5, Distance::SingleHop),
            (PeerBfd::default(), Ttl::Security(1), 100, 4, Distance::SingleHop),
            (PeerBfd::default(), Ttl::Security(3), 100, 4, Distance::Multihop(253)),
            (PeerBfd::default(), Ttl::Multihop(2), 100, 4, Distance::Multihop(1)),
            (far, Ttl::Default, 100, 4, Distance::Multihop(250)),
            (far, Ttl::Security(1), 100, 4, Distance::Multihop(250)),
        ] {
            entry.bfd = Some(given);
            entry.peer.ttl = ttl;
            let session = bfd.watching(&entry).unwrap();
            let timers = Timers { interval: Duration::from_millis(interval), multiplier };
            assert_eq!((session.timers, session.distance), (timers, distance), "{given:?} {ttl:?}");
        }
    }
}
