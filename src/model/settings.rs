//! The part of the configuration that decisions depend on. `config` builds it from the file; no strings past there.

mod failover;
mod fit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub use self::failover::{Bfd, BfdEntry, Brake, Drain, Lease, PeerBfd, Proof, Taint};
pub use self::fit::Misfit;
use super::bgp::{Attributes, Export, NextHop, Peer, PeerName, SecretKey};
use super::ipvs::{Scheduler, Timeouts};
use super::labels::{Labels, Selector};
use super::nft::Mss;
use super::prefix::{Family, Prefix};

/// What the operator asked of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name of this node's Node object.
    pub node: String,
    /// Which Nodes are LB nodes. Empty: every one, whether it has a Node object or not.
    pub node_selector: Selector,
    /// The node's addresses in order of preference; empty: from the Node object, then from the default route's link.
    pub node_ips: Vec<IpAddr>,
    /// The ClusterIP ranges; `None`: from the ServiceCIDR objects, announced as aggregates.
    pub cluster_ips: Option<Vec<Range>>,
    /// Where external and load-balancer IPs may come from.
    pub allowed: Vec<Range>,
    /// How traffic is forwarded.
    pub dataplane: Dataplane,
    /// BGP; `None`: nothing is announced.
    pub bgp: Option<BgpSettings>,
    /// BFD sessions.
    pub bfd: Bfd,
    /// How long routes outlive the agent.
    pub lease: Lease,
    /// How the data plane is proved.
    pub proof: Proof,
    /// What counts as too many endpoints gone at once.
    pub brake: Brake,
    /// How a node leaves.
    pub drain: Drain,
    /// How long peers get to hear a withdrawal before what the route promised is removed.
    pub withdraw_delay: Duration,
    /// The period of the full read-back.
    pub resync: Duration,
}

/// How traffic is forwarded, where a Service does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataplane {
    /// The scheduler of a virtual server whose Service names none.
    pub scheduler: Scheduler,
    /// Are the hints of EndpointSlices followed where a Service does not say?
    pub topology_hints: bool,
    /// NodePorts; `None`: they are not served.
    pub node_ports: Option<NodePorts>,
    /// How the client's address is replaced so that replies come back through this node.
    pub snat: Snat,
    /// What the client's address becomes under [`Snat::Nftables`].
    pub snat_pool: Vec<PoolEntry>,
    /// The first and the last port that a client gets under [`Snat::Nftables`]; `None`: any from 1024 on, and for a client
    /// with a port below that one below (`nf_nat_l4proto_unique_tuple` in `net/netfilter/nf_nat_core.c`).
    pub snat_ports: Option<(u16, u16)>,
    /// The clamp on the segment size of TCP connections to VIPs.
    pub mss: Option<Mss>,
    /// How long a destination that is gone from the cluster keeps its connections, at most.
    pub drain: Duration,
    /// After how long IPVS forgets idle connections.
    pub timeouts: Timeouts,
}

impl Default for Dataplane {
    /// As where the file has no `dataplane`.
    fn default() -> Dataplane {
        Dataplane {
            scheduler: Scheduler::default(),
            topology_hints: false,
            node_ports: None,
            snat: Snat::Nftables,
            snat_pool: Vec::new(),
            snat_ports: None,
            mss: None,
            drain: Duration::from_secs(30),
            timeouts: Timeouts::default(),
        }
    }
}

/// A range of VIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The addresses.
    pub prefix: Prefix,
    /// What they may be used for.
    pub uses: BTreeSet<Use>,
    /// How it is announced.
    pub announce: Announce,
    /// The attributes of its routes; what they leave open, those of all routes say.
    pub attributes: Attributes,
    /// Which nodes announce it; the others forward all the same.
    pub node_selector: Selector,
}

/// What an address of a range may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancerIp,
}

impl Use {
    /// All of them.
    pub const ALL: [Use; 3] = [Use::ClusterIp, Use::ExternalIp, Use::LoadBalancerIp];

    /// The key of the file that has the ranges for it.
    pub fn key(self) -> &'static str {
        match self {
            Use::ClusterIp => "ranges.clusterIPs",
            Use::ExternalIp => "ranges.externalIPs",
            Use::LoadBalancerIp => "ranges.loadBalancerIPs",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Use::ClusterIp => "ClusterIP",
            Use::ExternalIp => "external IP",
            Use::LoadBalancerIp => "load-balancer IP",
        })
    }
}

impl Range {
    /// The addresses of `prefix` for one `usage`, announced in this way on all nodes.
    pub fn new(prefix: Prefix, usage: Use, announce: Announce) -> Range {
        Range {
            prefix,
            uses: BTreeSet::from([usage]),
            announce,
            attributes: Attributes::default(),
            node_selector: Selector::default(),
        }
    }

    /// Is all of the range local on this node, whether a Service has an address or not? Ranges of ClusterIPs are, and
    /// those that are announced by one route, since packets to unused addresses would go back to where they came from.
    /// In other ranges each VIP has a local route of its own.
    pub fn is_whole(&self) -> bool {
        self.uses.contains(&Use::ClusterIp) || self.announce == Announce::Aggregate || self.is_canary()
    }

    /// Is it the VIP of a canary? It is of no use to Services, and nobody announces it.
    pub fn is_canary(&self) -> bool {
        self.uses.is_empty() && self.announce == Announce::None
    }
}

/// NodePorts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePorts {
    /// They are served on this node's addresses in these prefixes.
    pub addresses: Vec<Prefix>,
    /// The first and the last port that may be a NodePort (the API server's `--service-node-port-range`); virtual servers
    /// on these ports of these addresses are ours.
    pub ports: (u16, u16),
}

impl Dataplane {
    /// The SNAT pool in `family` of a node that has these labels: its first and its last address.
    pub fn pool(&self, family: Family, labels: &Labels) -> Option<(IpAddr, IpAddr)> {
        let mut entries = self.snat_pool.iter().filter(|entry| Family::of(entry.first) == family);
        let ours = entries.find(|entry| entry.node_selector.matches(labels))?;
        Some((ours.first, ours.last))
    }
}

/// A part of the SNAT pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    /// The first address.
    pub first: IpAddr,
    /// The last address, of the same family.
    pub last: IpAddr,
    /// The nodes whose pool this is. Of several entries of one family, the first that selects a node counts there.
    pub node_selector: Selector,
}

impl PoolEntry {
    /// How many addresses there are from `first` to `last`; 0 if `last` comes before.
    pub fn count(first: IpAddr, last: IpAddr) -> u128 {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        number(last).checked_sub(number(first)).map_or(0, |distance| distance.saturating_add(1))
    }
}

/// How a range is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// One route for the range.
    Aggregate,
    /// A route for each VIP in use.
    Host,
    /// Not at all.
    None,
}

/// Source NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snat {
    /// None: replies find their way back by routing.
    None,
    /// Masquerade by an nftables rule on the connection's original destination.
    Nftables,
    /// Masquerade by the classic iptables rule with the `ipvs` match.
    IpvsMatch,
}

/// BGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpSettings {
    /// This node's autonomous system number.
    pub asn: u32,
    /// The BGP identifier; `None`: the node's first IPv4 address.
    pub router_id: Option<Ipv4Addr>,
    /// The port to listen on; `None`: only connect.
    pub listen_port: Option<u16>,
    /// Is gobgpd ours alone (the speaker's child), so that all that is in it is ours?
    pub exclusive: bool,
    /// Next hop of IPv4 paths.
    pub next_hop_ipv4: NextHop,
    /// Next hop of IPv6 paths.
    pub next_hop_ipv6: NextHop,
    /// The attributes of all routes.
    pub attributes: Attributes,
    /// How many VIPs inside ranges that are announced as aggregates may have a route of their own.
    pub max_specifics: usize,
    /// For how long peers keep the routes of a gobgpd that ended without a word, until it is back (graceful restart, RFC
    /// 4724), whole seconds; `None`: not at all.
    pub graceful_restart: Option<Duration>,
    /// The entries of `bgp.peers`, in their order.
    pub peers: Vec<PeerEntry>,
}

/// An entry of `bgp.peers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// What the peer is known by.
    pub name: PeerName,
    /// Which nodes have this peer. Of several entries for one peer, the first that selects a node counts there.
    pub node_selector: Selector,
    /// The peer.
    pub peer: Peer,
    /// The Secret that holds its password; it is not in `peer` then.
    pub secret: Option<SecretKey>,
    /// What is changed in routes on their way to it.
    pub export: Export,
    /// The BFD session that watches the way to it; `None`: none does.
    pub bfd: Option<PeerBfd>,
}

impl PeerEntry {
    /// A peer of all nodes.
    pub fn new(name: impl Into<PeerName>, peer: Peer) -> PeerEntry {
        PeerEntry {
            name: name.into(),
            node_selector: Selector::default(),
            peer,
            secret: None,
            export: Export::default(),
            bfd: None,
        }
    }
}

impl Settings {
    /// Does something depend on this node's labels, so that nothing can be decided before they are known?
    pub fn selects_by_labels(&self) -> bool {
        let ranges = self.cluster_ips.iter().flatten().chain(&self.allowed).map(|range| &range.node_selector);
        let pools = self.dataplane.snat_pool.iter().map(|entry| &entry.node_selector);
        let peers = self.bgp.iter().flat_map(|bgp| &bgp.peers).map(|entry| &entry.node_selector);
        let watched = self.bfd.peers.iter().map(|entry| &entry.node_selector);
        ranges
            .chain(pools)
            .chain(peers)
            .chain(watched)
            .chain([&self.node_selector])
            .any(|selector| !selector.is_empty())
    }

    /// The same, as if this node had the labels of `node_selector`. Peers and ranges with selectors of their own go by the
    /// labels that it has.
    pub fn as_lb_node(self) -> Settings {
        Settings { node_selector: Selector::default(), ..self }
    }
}

impl BgpSettings {
    /// The peers of a node that has these labels.
    pub fn peers_of(&self, labels: &Labels) -> BTreeMap<PeerName, PeerEntry> {
        let selected = self.peers.iter().filter(|entry| entry.node_selector.matches(labels));
        // Going backwards, so that the first of a peer is the one that stays.
        selected.rev().map(|entry| (entry.name.clone(), entry.clone())).collect()
    }

    /// Peers for which more than one entry selects a node that has these labels, with the numbers of these entries.
    pub fn rival_entries(&self, labels: &Labels) -> BTreeMap<PeerName, Vec<usize>> {
        let mut entries: BTreeMap<PeerName, Vec<usize>> = BTreeMap::new();
        for (number, entry) in self.peers.iter().enumerate().filter(|(_, e)| e.node_selector.matches(labels)) {
            entries.entry(entry.name.clone()).or_default().push(number);
        }
        entries.retain(|_, numbers| numbers.len() > 1);
        entries
    }
}
