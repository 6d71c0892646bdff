//! What was tried: which keys have steps under way, which failed, and when they may be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::model::addr::{LINK, PROBE_LINK};
use crate::model::bgp::PeerName;
use crate::model::ipvs::{DestinationKey, ServerKey};
use crate::model::sysctl::Sysctl;
use crate::model::{Family, Prefix, Time};

use super::step::Step;

/// What a step is about. What is tried again, with back-off, is a key, never a step. The order matters: first what
/// [`Key::is_host`], so that it can be found fast.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A kernel parameter.
    Sysctl(Sysctl),
    /// The timeouts of IPVS.
    Timeouts,
    /// The dummy link.
    Link,
    /// The probe's link.
    Probe,
    /// The nftables table.
    Table,
    /// The classic SNAT rule of a family.
    ClassicSnat(Family),
    /// A local route.
    Route(Prefix),
    /// A virtual server.
    Server(ServerKey),
    /// A destination of a virtual server.
    Destination(ServerKey, DestinationKey),
    /// UDP flows to a virtual server that a destination answers.
    Flows(ServerKey, DestinationKey),
    /// gobgpd's identity.
    Global,
    /// The import policy.
    Imports,
    /// The export policy.
    Exports,
    /// A BGP peer.
    Peer(PeerName),
    /// Sending a peer its routes again.
    Resending(PeerName),
    /// A BGP path.
    Path(Prefix),
    /// Reading the host.
    HostReading,
    /// Listing the virtual servers.
    Listing,
    /// Reading a virtual server.
    ServerReading(ServerKey),
    /// Counting connections.
    TrafficReading,
    /// Reading gobgpd.
    SpeakerReading,
    /// Reading what a peer was sent.
    SentReading(PeerName),
}

impl Step {
    /// What the step is about.
    pub fn key(&self) -> Key {
        match self {
            Step::SetSysctl(name, _) => Key::Sysctl(name.clone()),
            Step::SetTimeouts(_) => Key::Timeouts,
            Step::EnsureLink | Step::DeleteLink => Key::Link,
            Step::EnsureProbe(_) | Step::DeleteProbe => Key::Probe,
            Step::ReplaceTable(_) | Step::EditTable { .. } | Step::DeleteTable => Key::Table,
            Step::SetClassicSnat(family) | Step::DeleteClassicSnat(family) => Key::ClassicSnat(*family),
            Step::AddServer(key, _) | Step::SetServer(key, _) | Step::DeleteServer(key) => Key::Server(*key),
            Step::AddDestination(key, destination, _)
            | Step::SetDestination(key, destination, _)
            | Step::DeleteDestination(key, destination) => Key::Destination(*key, *destination),
            Step::Forget(key, destination) => Key::Flows(*key, *destination),
            Step::SetRoute(prefix, _) | Step::DeleteRoute(prefix) => Key::Route(*prefix),
            Step::StartBgp(_) | Step::StopBgp => Key::Global,
            Step::RejectImports(_) => Key::Imports,
            Step::SetExports(_) => Key::Exports,
            Step::AddPeer(name, _) | Step::DeletePeer(name) => Key::Peer(name.clone()),
            Step::Resend(name) => Key::Resending(name.clone()),
            Step::Announce(prefix, _) | Step::Withdraw(prefix) => Key::Path(*prefix),
            Step::ReadHost => Key::HostReading,
            Step::ListServers => Key::Listing,
            Step::ReadServer(key) => Key::ServerReading(*key),
            Step::ReadTraffic => Key::TrafficReading,
            Step::ReadSpeaker => Key::SpeakerReading,
            Step::ReadSent(name, _) => Key::SentReading(name.clone()),
        }
    }
}

impl Key {
    /// Is it something in the kernel that [`Step::ReadHost`] reads back?
    pub fn is_host(&self) -> bool {
        use Key::{ClassicSnat, Link, Probe, Route, Sysctl, Table, Timeouts};
        matches!(self, Sysctl(_) | Timeouts | Link | Probe | Table | ClassicSnat(_) | Route(_))
    }

    /// Is it something in gobgpd?
    pub fn is_speaker(&self) -> bool {
        use Key::{Exports, Global, Imports, Path, Peer, Resending, SentReading, SpeakerReading};
        matches!(self, Global | Imports | Exports | Peer(_) | Resending(_) | Path(_) | SpeakerReading | SentReading(_))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Sysctl(name) => write!(f, "kernel parameter {name}"),
            Key::Timeouts => f.write_str("IPVS timeouts"),
            Key::Link => write!(f, "link {LINK}"),
            Key::Probe => write!(f, "link {PROBE_LINK}"),
            Key::Table => f.write_str("nftables table inet vipcast"),
            Key::ClassicSnat(family) => write!(f, "{family} iptables SNAT rule"),
            Key::Server(server) => write!(f, "virtual server {server}"),
            Key::Destination(server, name) => write!(f, "destination {name} of {server}"),
            Key::Flows(server, name) => write!(f, "flows to {server} that {name} answers"),
            Key::Route(prefix) => write!(f, "local route {prefix}"),
            Key::Global => f.write_str("BGP identity"),
            Key::Imports => f.write_str("BGP import policy"),
            Key::Exports => f.write_str("BGP export policy"),
            Key::Peer(name) => write!(f, "BGP peer {name}"),
            Key::Resending(name) => write!(f, "sending peer {name} its routes again"),
            Key::Path(prefix) => write!(f, "route {prefix}"),
            Key::HostReading => f.write_str("reading the host"),
            Key::Listing => f.write_str("listing virtual servers"),
            Key::ServerReading(server) => write!(f, "reading virtual server {server}"),
            Key::TrafficReading => f.write_str("counting connections"),
            Key::SpeakerReading => f.write_str("reading gobgpd"),
            Key::SentReading(name) => write!(f, "reading what peer {name} was sent"),
        }
    }
}

/// A failure that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How often in a row.
    pub count: u32,
    /// The last reason.
    pub reason: String,
    /// When the key may be tried again.
    pub retry_at: Time,
    /// The last try was refused, so that the next one will be too until something changes.
    pub refused: bool,
}

impl Failure {
    /// Is it more than one of those that the next try mends?
    pub fn lasts(&self) -> bool {
        self.refused || self.count >= LASTING
    }

    /// Has the last try made it one that lasts?
    pub fn begins_to_last(&self) -> bool {
        !self.refused && self.count == LASTING
    }
}

/// Steps under way and failures, by key.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    in_flight: BTreeMap<Key, u32>,
    failures: BTreeMap<Key, Failure>,
    alarms: BTreeSet<(Time, Key)>,
    /// How many steps about paths are under way.
    paths: usize,
}

/// Delays between tries: doubled each time from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// A failure that was not refused lasts when so many tries in a row have failed.
const LASTING: u32 = 3;

impl Memory {
    /// A step about `key` is on its way.
    pub fn sent(&mut self, key: Key) {
        self.paths += usize::from(matches!(key, Key::Path(_)));
        *self.in_flight.entry(key).or_default() += 1;
    }

    /// A step about `key` came back.
    pub fn returned(&mut self, key: &Key) {
        if let Some(count) = self.in_flight.get_mut(key) {
            self.paths -= usize::from(matches!(key, Key::Path(_)));
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(key);
            }
        }
    }

    /// Nothing about `key` is under way, and nothing forbids a try now.
    pub fn may_try(&self, key: &Key, now: Time) -> bool {
        !self.in_flight.contains_key(key) && self.failures.get(key).is_none_or(|failure| failure.retry_at <= now)
    }

    /// Is a step about `key` under way?
    pub fn is_in_flight(&self, key: &Key) -> bool {
        self.in_flight.contains_key(key)
    }

    /// The keys that have a step under way.
    pub fn in_flight(&self) -> impl Iterator<Item = &Key> {
        self.in_flight.keys()
    }

    /// How many steps about paths are under way.
    pub fn paths_in_flight(&self) -> usize {
        self.paths
    }

    /// Is something under way that [`Step::ReadHost`] reads back?
    pub fn is_writing_host(&self) -> bool {
        self.in_flight.keys().next().is_some_and(Key::is_host)
    }

    /// A try for `key` failed at `now`; `refused` if the next one will too until something changes.
    pub fn failed(&mut self, key: Key, reason: String, refused: bool, now: Time) {
        let count = self.failures.get(&key).map_or(0, |failure| failure.count) + 1;
        let delay = FIRST_RETRY.saturating_mul(1 << (count - 1).min(16)).min(LAST_RETRY);
        self.forget(&key);
        self.alarms.insert((now + delay, key.clone()));
        self.failures.insert(key, Failure { count, reason, retry_at: now + delay, refused });
    }

    /// `key` is well, or no longer matters.
    pub fn forget(&mut self, key: &Key) {
        if let Some(failure) = self.failures.remove(key) {
            self.alarms.remove(&(failure.retry_at, key.clone()));
        }
    }

    /// The failure of `key`.
    pub fn failure(&self, key: &Key) -> Option<&Failure> {
        self.failures.get(key)
    }

    /// All failures.
    pub fn failures(&self) -> impl Iterator<Item = (&Key, &Failure)> {
        self.failures.iter()
    }

    /// Forgets all failures of a virtual server and its destinations: what is asked of it changed.
    pub fn forget_server(&mut self, key: &ServerKey) {
        self.forget(&Key::Server(*key));
        let failed: Vec<Key> = self.failed_destinations(key).map(|(key, _)| key.clone()).collect();
        failed.iter().for_each(|key| self.forget(key));
    }

    /// Forgets all failures of gobgpd: it is another one, or the same again.
    pub fn forget_speaker(&mut self) {
        let failed: Vec<Key> = self.failures.keys().filter(|key| key.is_speaker()).cloned().collect();
        failed.iter().for_each(|key| self.forget(key));
    }

    /// The failures of a virtual server's destinations.
    pub fn failed_destinations(&self, key: &ServerKey) -> impl Iterator<Item = (&Key, &Failure)> {
        let key = *key;
        let first = DestinationKey { address: Ipv4Addr::UNSPECIFIED.into(), port: 0 };
        let after = self.failures.range(Key::Destination(key, first)..);
        after.take_while(move |(found, _)| matches!(found, Key::Destination(server, _) if *server == key))
    }

    /// Takes the keys whose time has come.
    pub fn due(&mut self, now: Time) -> Vec<Key> {
        let mut due = Vec::new();
        while self.alarms.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.alarms.pop_first().map(|(_, key)| key));
        }
        due
    }

    /// When the next key's time comes.
    pub fn next_alarm(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }
}
