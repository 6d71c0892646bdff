//! The part of the configuration that decisions depend on. `config` builds it from the file; no strings past there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::bgp::{Community, NextHop, Peer};
use super::ipvs::Scheduler;
use super::labels::{Labels, Selector};
use super::prefix::Prefix;

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
    /// The scheduler of every virtual server.
    pub scheduler: Scheduler,
    /// How the client's address is replaced so that replies come back through this node.
    pub snat: Snat,
    /// BGP; `None`: nothing is announced.
    pub bgp: Option<BgpSettings>,
    /// How long peers get to hear a withdrawal before what the route promised is removed.
    pub withdraw_delay: Duration,
    /// The period of the full read-back.
    pub resync: Duration,
}

/// A range of ClusterIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The addresses.
    pub prefix: Prefix,
    /// How it is announced.
    pub announce: Announce,
    /// Communities on its routes, besides those of all routes.
    pub communities: BTreeSet<Community>,
    /// Which nodes announce it; the others forward all the same.
    pub node_selector: Selector,
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
    /// Communities on all paths.
    pub communities: BTreeSet<Community>,
    /// The entries of `bgp.peers`, in their order.
    pub peers: Vec<PeerEntry>,
}

/// An entry of `bgp.peers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// The peer's address.
    pub address: IpAddr,
    /// Which nodes have this peer. Of several entries for one address, the first that selects a node counts there.
    pub node_selector: Selector,
    /// The peer.
    pub peer: Peer,
}

impl Settings {
    /// Does something depend on this node's labels, so that nothing can be decided before they are known?
    pub fn selects_by_labels(&self) -> bool {
        let ranges = self.cluster_ips.iter().flatten().map(|range| &range.node_selector);
        let peers = self.bgp.iter().flat_map(|bgp| &bgp.peers).map(|entry| &entry.node_selector);
        ranges.chain(peers).chain([&self.node_selector]).any(|selector| !selector.is_empty())
    }

    /// The same, as if this node had the labels of `node_selector`. Peers and ranges with selectors of their own go by the
    /// labels that it has.
    pub fn as_lb_node(self) -> Settings {
        Settings { node_selector: Selector::default(), ..self }
    }
}

impl BgpSettings {
    /// The peers of a node that has these labels.
    pub fn peers_of(&self, labels: &Labels) -> BTreeMap<IpAddr, Peer> {
        let selected = self.peers.iter().filter(|entry| entry.node_selector.matches(labels));
        // Going backwards, so that the first of an address is the one that stays.
        selected.rev().map(|entry| (entry.address, entry.peer.clone())).collect()
    }

    /// Addresses for which more than one entry selects a node that has these labels, with the numbers of these entries.
    pub fn rival_entries(&self, labels: &Labels) -> BTreeMap<IpAddr, Vec<usize>> {
        let mut entries: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
        for (number, entry) in self.peers.iter().enumerate().filter(|(_, e)| e.node_selector.matches(labels)) {
            entries.entry(entry.address).or_default().push(number);
        }
        entries.retain(|_, numbers| numbers.len() > 1);
        entries
    }
}
