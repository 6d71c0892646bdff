//! Peers and their sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path::Attributes;
use crate::model::prefix::Family;
use crate::model::secret::Secret;

/// What a peer is known by. To serde it is text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PeerName {
    /// Its address.
    Address(IpAddr),
    /// The interface at whose other end it is (unnumbered): its link-local address is found there.
    Interface(Arc<str>),
}

impl PeerName {
    /// Its address, if it is known by that.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            PeerName::Address(address) => Some(*address),
            PeerName::Interface(_) => None,
        }
    }
}

impl From<IpAddr> for PeerName {
    fn from(address: IpAddr) -> PeerName {
        PeerName::Address(address)
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for PeerName {
    type Error = <PeerName as FromStr>::Err;

    fn try_from(text: String) -> Result<PeerName, Self::Error> {
        text.parse()
    }
}

impl FromStr for PeerName {
    type Err = &'static str;

    /// An address, else the name of an interface (`dev_valid_name` in `net/core/dev.c`).
    fn from_str(text: &str) -> Result<PeerName, &'static str> {
        if let Ok(address) = text.parse() {
            return Ok(PeerName::Address(address));
        }
        let is_interface = (1..=15).contains(&text.len())
            && !matches!(text, "." | "..")
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
        if is_interface {
            Ok(PeerName::Interface(text.into()))
        } else {
            Err("neither an IP address nor an interface's name")
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerName::Address(address) => write!(f, "{address}"),
            PeerName::Interface(name) => f.write_str(name),
        }
    }
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its autonomous system number.
    pub asn: u32,
    /// The AS number that this node has towards it; `None`: the speaker's own.
    pub local_asn: Option<u32>,
    /// The port to connect to.
    pub port: u16,
    /// The address to connect from.
    pub local_address: Option<IpAddr>,
    /// Hold time (RFC 4271 section 4.2), whole seconds.
    pub hold_time: Duration,
    /// Keepalive interval, whole seconds.
    pub keepalive: Duration,
    /// The pause between attempts to connect (ConnectRetryTime of RFC 4271 section 8), whole seconds.
    pub connect_retry: Duration,
    /// TCP MD5 password (RFC 2385).
    pub password: Option<Secret>,
    /// How far away it may be.
    pub ttl: Ttl,
    /// For how long it keeps the routes of a gobgpd that ended without a word (RFC 4724), whole seconds; `None`: not at all.
    pub graceful_restart: Option<Duration>,
    /// Address families to negotiate (RFC 4760).
    pub families: BTreeSet<Family>,
}

impl Peer {
    /// A peer in `asn` with which `families` are negotiated, everything else being as where the file says nothing.
    ///
    /// RFC 4271 section 10 suggests a hold time of 90 s, for routers; here it bounds how long the ToR sends packets to a node
    /// that died without a word. GoBGP's own pause between attempts, 120 s, would keep a session down for minutes after the
    /// peer is back; 5 s is the least that it accepts.
    pub fn new(asn: u32, families: impl IntoIterator<Item = Family>) -> Peer {
        Peer {
            asn,
            local_asn: None,
            port: 179,
            local_address: None,
            hold_time: Duration::from_secs(9),
            keepalive: Duration::from_secs(3),
            connect_retry: Duration::from_secs(5),
            password: None,
            ttl: Ttl::Default,
            graceful_restart: None,
            families: families.into_iter().collect(),
        }
    }
}

/// How far away a peer may be, in terms of the IP header's TTL or hop limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ttl {
    /// As BGP has it: a peer of another AS is one hop away, one of the same AS anywhere.
    #[default]
    Default,
    /// Packets to a peer of another AS leave with this TTL.
    Multihop(u8),
    /// Generalized TTL security (RFC 5082): packets leave with 255, and have to arrive with the trace of so many hops at
    /// most.
    Security(u8),
}

/// What is changed in paths on their way to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Communities to add, and what else to set.
    pub attributes: Attributes,
    /// The next hop of the routes of a family.
    pub next_hops: BTreeMap<Family, IpAddr>,
}

impl Export {
    /// Is nothing changed?
    pub fn is_empty(&self) -> bool {
        *self == Export::default()
    }
}

/// A key of a Kubernetes Secret that holds a password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// The key in `data`.
    pub key: Arc<str>,
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}[{}]", self.namespace, self.name, self.key)
    }
}

/// A BGP session as gobgpd sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its state.
    pub state: SessionState,
    /// Why it ended the last time, as far as gobgpd tells.
    pub reason: Option<String>,
    /// Since when it is established, in seconds since 1970.
    pub since: Option<i64>,
    /// How often it has ended.
    pub flaps: u32,
    /// This node's end of an established one.
    pub local_address: Option<IpAddr>,
    /// The families that the other side carries too, while it is established.
    pub families: BTreeSet<Family>,
}

impl Session {
    /// A session in this state, of which nothing else is known.
    pub fn new(state: SessionState) -> Session {
        Session { state, reason: None, since: None, flaps: 0, local_address: None, families: BTreeSet::new() }
    }

    /// Are routes exchanged?
    pub fn is_established(&self) -> bool {
        self.state == SessionState::Established
    }
}

/// Why there is no session with a peer that gobgpd was told to leave alone (DisablePeer): whoever did that, it knows no more.
pub const SHUT_DOWN: &str = "shut down in gobgpd";

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
