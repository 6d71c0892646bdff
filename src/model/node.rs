//! What is known of this node: its Node object and what the kernel says about it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::labels::Labels;
use super::prefix::Prefix;

/// This node's Node object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `status.addresses` of type InternalIP.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<Prefix>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// kubelet says that the machine is going down.
    pub shutting_down: bool,
}

/// What the kernel says about this node, beside what is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// All addresses on the node's links, our link apart and those on which kube-proxy and kube-router keep VIPs.
    /// Loopback and link-local ones are left out, and IPv6 ones that are not usable yet.
    pub addresses: BTreeSet<IpAddr>,
    /// The addresses of the links that the default routes lead to, in the kernel's order; IPv6 privacy addresses, which
    /// do not last, are left out.
    pub default_addresses: Vec<IpAddr>,
    /// Links that learned an IPv6 default route by router advertisement and would lose it when forwarding goes on
    /// (`accept_ra` is 1).
    pub router_advertised_links: BTreeSet<String>,
}
