//! IPVS virtual servers and their destinations, as the kernel keeps them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A transport protocol that a Service port can have (Kubernetes `spec.ports[].protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number (IANA).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol of an IP protocol number.
    pub fn from_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

/// What identifies a virtual server. Ordered by address first, so that a range of addresses is a range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey {
    /// The VIP.
    pub address: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port of the VIP.
    pub port: u16,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// A scheduler by its kernel name (module `ip_vs_NAME`), at most 15 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheduler(pub Arc<str>);

impl Default for Scheduler {
    /// The one that takes turns.
    fn default() -> Scheduler {
        Scheduler::new("rr")
    }
}

impl Scheduler {
    /// The scheduler called `name`.
    pub fn new(name: &str) -> Scheduler {
        Scheduler(Arc::from(name))
    }

    /// The scheduler that is like this one but minds weights, where there is such a twin.
    pub fn weighted(&self) -> Scheduler {
        match &*self.0 {
            "rr" => Scheduler::new("wrr"),
            "lc" => Scheduler::new("wlc"),
            _ => self.clone(),
        }
    }

    /// The schedulers of Linux (`net/netfilter/ipvs/Kconfig`). A kernel need not have all of them, and may have others.
    pub const OF_LINUX: [&str; 14] =
        ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];

    /// The scheduler that `text` names, if a scheduler can have that name: at most 15 of `a-z`, `0-9` and `_`
    /// (`IP_VS_SCHEDNAME_MAXLEN` in `include/uapi/linux/ip_vs.h` counts the NUL). `none` is the kernel's word for a virtual
    /// server that takes no connections.
    pub fn named(text: &str) -> Option<Scheduler> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let valid = !text.is_empty() && text.len() <= 15 && text.bytes().all(letter) && text != "none";
        valid.then(|| Scheduler::new(text))
    }

    /// Does this scheduler rebuild a hash table on each change of its destinations (`ip_vs_mh.c`, `ip_vs_sh.c`)? Such a
    /// virtual server is filled under the scheduler `none` first, so that the table is built once.
    pub fn builds_table(&self) -> bool {
        matches!(&*self.0, "mh" | "sh")
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Flags of a virtual server (`include/uapi/linux/ip_vs.h`); those that the kernel owns are never in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerFlags(pub u32);

impl ServerFlags {
    /// `IP_VS_SVC_F_PERSISTENT`: a client keeps its destination until the timeout has passed.
    pub const PERSISTENT: u32 = 0x1;
    /// `IP_VS_SVC_F_HASHED`: set by the kernel, of no meaning to anybody else.
    pub const KERNEL_OWNED: u32 = 0x2;
    /// `IP_VS_SVC_F_SCHED_MH_FALLBACK` (and of `sh`): a client whose destination has weight 0 goes to another one.
    pub const MH_FALLBACK: u32 = 0x8;
    /// `IP_VS_SVC_F_SCHED_MH_PORT` (and of `sh`): hash the client's port too.
    pub const MH_PORT: u32 = 0x10;
}

/// What a virtual server is, its destinations apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// How destinations are chosen.
    pub scheduler: Scheduler,
    /// Its flags.
    pub flags: ServerFlags,
    /// Persistence timeout in seconds; 0 where the virtual server is not persistent.
    pub timeout: u32,
}

/// A virtual server with its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualServer {
    /// Its settings.
    pub settings: ServerSettings,
    /// Its destinations.
    pub destinations: BTreeMap<DestinationKey, Destination>,
}

/// What identifies a destination within its virtual server. The order is the canonical one for `mh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey {
    /// The endpoint's address.
    pub address: IpAddr,
    /// The endpoint's port.
    pub port: u16,
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// How packets reach a destination (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// NAT.
    Masquerade,
    /// To a local socket.
    Local,
    /// In a tunnel.
    Tunnel,
    /// By rewriting the link-layer address.
    DirectRouting,
    /// Past the virtual server.
    Bypass,
}

/// A destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Its share among the others; 0 takes no new connections.
    pub weight: u32,
    /// How packets reach it.
    pub forwarding: Forwarding,
}

/// How many connections the destinations of a virtual server have, active and inactive ones (`IPVS_DEST_ATTR_ACTIVE_CONNS`
/// and `IPVS_DEST_ATTR_INACT_CONNS`). Only destinations with connections are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connections(BTreeMap<DestinationKey, u64>);

impl Connections {
    /// How many `destination` has.
    pub fn of(&self, destination: &DestinationKey) -> u64 {
        self.0.get(destination).copied().unwrap_or_default()
    }

    /// `destination` has so many.
    pub fn set(&mut self, destination: DestinationKey, count: u64) {
        if count > 0 {
            self.0.insert(destination, count);
        } else {
            self.0.remove(&destination);
        }
    }

    /// The destinations that have connections, and how many.
    pub fn iter(&self) -> impl Iterator<Item = (&DestinationKey, u64)> {
        self.0.iter().map(|(destination, count)| (destination, *count))
    }
}

impl FromIterator<(DestinationKey, u64)> for Connections {
    fn from_iter<T: IntoIterator<Item = (DestinationKey, u64)>>(counts: T) -> Connections {
        Connections(counts.into_iter().filter(|(_, count)| *count > 0).collect())
    }
}

/// After how long IPVS forgets idle connections, in seconds (`IPVS_CMD_SET_CONFIG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, established.
    pub tcp: u32,
    /// TCP, after a FIN.
    pub tcp_fin: u32,
    /// UDP.
    pub udp: u32,
}

impl Default for Timeouts {
    /// TCP outlives the two hours after which most systems send their first keepalive; FIN and UDP as conntrack has them.
    fn default() -> Timeouts {
        Timeouts { tcp: 7500, tcp_fin: 120, udp: 120 }
    }
}
