//! What gobgpd is told: itself, its peers, its policies and the paths. Neutral towards GoBGP's API versions.

mod path;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

pub use self::path::{Attributes, Community, LargeCommunity, NextHop, Path};
pub use self::peer::{Export, Peer, PeerName, SHUT_DOWN, SecretKey, Session, SessionState, Ttl};
use super::prefix::Prefix;

/// Everything in gobgpd that concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bgp {
    /// The version of GoBGP's API that was spoken.
    pub flavour: Flavour,
    /// gobgpd's own identity; `None` before it is started.
    pub global: Option<Global>,
    /// The neighbours whose routes our import policy rejects, as prefixes of their addresses: none while it is not in
    /// force, and `None` if there is nothing of it.
    pub rejected: Option<BTreeSet<Prefix>>,
    /// What our export policy changes on the way to which peer: nothing while it is not in force as it was made, and
    /// `None` if there is nothing of it.
    pub exports: Option<BTreeMap<IpAddr, Export>>,
    /// Our peers. A peer is ours if its description carries our mark.
    pub peers: BTreeMap<PeerName, Peer>,
    /// Peers that are somebody else's.
    pub foreign_peers: BTreeSet<PeerName>,
    /// Local paths, by prefix.
    pub paths: BTreeMap<Prefix, Path>,
    /// The Adj-RIB-Out of each of our peers whose session is established (RFC 4271 section 3.2): what it was sent.
    pub sent: BTreeMap<PeerName, BTreeMap<Prefix, Path>>,
}

/// A version of GoBGP's API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// GoBGP 3.
    #[default]
    V3,
    /// GoBGP 4.
    V4,
}

impl Flavour {
    /// What this version cannot do that another one can, in words.
    pub fn shortcomings(self) -> &'static [&'static str] {
        match self {
            Flavour::V3 => &[],
            Flavour::V4 => &["start BGP anew without a new process, once it was stopped"],
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::V3 => "GoBGP 3",
            Flavour::V4 => "GoBGP 4",
        })
    }
}

/// The BGP speaker's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Global {
    /// Autonomous system number.
    pub asn: u32,
    /// BGP identifier (RFC 4271 section 4.2).
    pub router_id: Ipv4Addr,
    /// The port to listen on; `None`: only connect.
    pub listen_port: Option<u16>,
}
