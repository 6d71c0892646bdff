//! What gobgpd is told: itself, its peers, the import policy and the paths. Neutral towards GoBGP's API versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use super::prefix::{Family, Prefix};
use super::secret::Secret;

/// Everything in gobgpd that concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bgp {
    /// gobgpd's own identity; `None` before it is started.
    pub global: Option<Global>,
    /// The neighbours whose routes our import policy rejects, as prefixes of their addresses: none while it is not in
    /// force, and `None` if there is nothing of it.
    pub rejected: Option<BTreeSet<Prefix>>,
    /// Our peers, by address. A peer is ours if its description carries our mark.
    pub peers: BTreeMap<IpAddr, Peer>,
    /// Addresses of peers that are somebody else's.
    pub foreign_peers: BTreeSet<IpAddr>,
    /// Local paths, by prefix.
    pub paths: BTreeMap<Prefix, Path>,
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

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its autonomous system number.
    pub asn: u32,
    /// The port to connect to.
    pub port: u16,
    /// The address to connect from.
    pub local_address: Option<IpAddr>,
    /// Hold time (RFC 4271 section 4.2), whole seconds.
    pub hold_time: Duration,
    /// Keepalive interval, whole seconds.
    pub keepalive: Duration,
    /// TCP MD5 password (RFC 2385).
    pub password: Option<Secret>,
    /// TTL of an eBGP multihop session.
    pub multihop: Option<u8>,
    /// Address families to negotiate (RFC 4760).
    pub families: BTreeSet<Family>,
}

/// The next hop of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// The local address of the session that the path is sent over.
    Own,
    /// This address.
    Address(IpAddr),
}

/// What is announced for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The next hop.
    pub next_hop: NextHop,
    /// Standard communities (RFC 1997).
    pub communities: BTreeSet<Community>,
}

/// A standard community (RFC 1997): two halves of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl FromStr for Community {
    type Err = String;

    fn from_str(text: &str) -> Result<Community, String> {
        let halves = text.split_once(':').and_then(|(high, low)| Some((high.parse().ok()?, low.parse().ok()?)));
        let (high, low): (u16, u16) = halves.ok_or("not a community such as 65001:100 (two numbers up to 65535)")?;
        Ok(Community(u32::from(high) << 16 | u32::from(low)))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// The state of a session (RFC 4271 section 8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Nothing is tried.
    Idle,
    /// A TCP connection is being made.
    Connect,
    /// A TCP connection is awaited.
    Active,
    /// OPEN was sent.
    OpenSent,
    /// OPEN was received.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SessionState::Idle => "Idle",
            SessionState::Connect => "Connect",
            SessionState::Active => "Active",
            SessionState::OpenSent => "OpenSent",
            SessionState::OpenConfirm => "OpenConfirm",
            SessionState::Established => "Established",
        })
    }
}
