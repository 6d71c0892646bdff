//! What claims depend on beside Services and ranges: this node, and who else has addresses. An address that is in use for
//! something else must not become a VIP here: a whole node would be hijacked, or a session cut.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::node::Host;
use crate::model::service::Endpoint;
use crate::model::{Cluster, Prefix, Settings};

/// The label of a Node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// This node as Services see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its name.
    pub node: Arc<str>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// All its addresses: those on its links and those of its Node object.
    pub addresses: BTreeSet<IpAddr>,
    /// Its pod ranges.
    pub pod_ranges: BTreeSet<Prefix>,
    /// The addresses on which it serves NodePorts.
    pub node_port_addresses: BTreeSet<IpAddr>,
}

impl Surroundings {
    /// What is known of this node; `node_ips` are its addresses in order of preference.
    pub fn of(settings: &Settings, cluster: &Cluster, host: &Host, node_ips: &[IpAddr]) -> Surroundings {
        let node = cluster.node();
        let served = |address: &&IpAddr| {
            let prefixes = settings.dataplane.node_ports.iter().flat_map(|ports| &ports.addresses);
            prefixes.into_iter().any(|prefix| prefix.contains(**address))
        };
        Surroundings {
            node: Arc::from(settings.node.as_str()),
            zone: node.and_then(|node| node.labels.get(ZONE)).map(|zone| Arc::from(zone.as_str())),
            addresses: host.addresses.iter().chain(node_ips).copied().collect(),
            pod_ranges: node.into_iter().flat_map(|node| node.pod_cidrs.iter().copied()).collect(),
            node_port_addresses: host.addresses.iter().filter(served).copied().collect(),
        }
    }

    /// Is `endpoint` on this node?
    pub fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref() == Some(&self.node)
    }

    /// What `address` is in use for, in words, so that it must not become a VIP; every node has to say the same, since the
    /// owner of the Service is told.
    pub fn in_use(&self, address: IpAddr, settings: &Settings, cluster: &Cluster) -> Option<String> {
        let own = Some(&*self.node).filter(|_| self.addresses.contains(&address));
        if let Some(node) = cluster.node_owning(address).or(own) {
            return Some(format!("it is an address of the node {node}"));
        }
        if let Some((pods, node)) = cluster.pod_range_holding(address) {
            return Some(format!("it lies in the pod range {pods} of the node {node}"));
        }
        let bgp = settings.bgp.as_ref()?;
        if bgp.peers.iter().any(|entry| entry.name.address() == Some(address)) {
            return Some("it is a BGP peer's".to_owned());
        }
        bgp.router_id.filter(|id| IpAddr::from(*id) == address).map(|_| "it is the router ID".to_owned())
    }
}
